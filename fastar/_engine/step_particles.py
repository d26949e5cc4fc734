"""Completions and marginals of sequences: particles that go through time with their state."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from fastar._core.parameters import Array
from fastar._core.sharpness import AS_FITTED, Sharpness
from fastar._data.packed import Steps
from fastar._data.sequence_layouts import SequenceLayout
from fastar._data.sequences import Block, Sequences, SequenceTable
from fastar._data.table import BLOCK_ROWS
from fastar._engine.completions import copies
from fastar._engine.particles import (
    draw_by_weight,
    effective_sample_size,
    normalise_log_weights,
    particle_blocks,
    resample_poor,
)
from fastar._engine.scores import score_rows
from fastar._engine.steps import SequenceModel, check_steps
from fastar._kernels._conditionals import OBSERVED, SAMPLED, WEIGHTED
from fastar.conditionals import Conditional
from fastar.networks import RecurrentFrames
from fastar.networks._recurrent_layers import State

_WALKED_STEPS = 32
"""Steps that particles take together where nothing weighs them."""


# ---- sequences with gaps


def check_known_steps(
    conditional: Conditional, table: SequenceTable, name: str, layout: SequenceLayout
) -> None:
    """Raise ValueError where a value that is not missing leaves the support."""
    values = table.sequences.values
    neutral = _placeholder(conditional, np.dtype(np.float64))[:, int(table.ends) :]
    filled = np.where(table.known, values, neutral)
    whole = SequenceTable(Sequences(filled, table.sequences.offsets, gaps=True), table.ends)
    check_steps(conditional, whole, name, layout)


def incomplete_sequences(table: SequenceTable) -> Array:
    """Return which of a table's sequences (n,) miss a value."""
    sequences = table.sequences
    gaps = ~table.known.all(axis=1)
    owner = np.repeat(np.arange(len(sequences)), sequences.lengths)
    return np.bincount(owner, gaps, len(sequences)) > 0


def _known(table: SequenceTable, rows: Array, block: Block) -> Array:
    """Return where (N, F) the values of some sequences are known; those of an end are none."""
    if not table.ends:
        return table.known[table.places(rows)[0]]
    known = np.ones(block.values.shape, bool)
    there = np.ones(len(known), bool)
    there[np.cumsum(block.lengths) - 1] = False
    known[there, 1:] = table.known[table.places(rows)[0]]
    return known


def _placeholder(conditional: Conditional, dtype: np.dtype) -> Array:
    """Return a step (1, F) of values of the support, no end."""
    return conditional.decode(np.zeros((1, conditional.n_features), dtype))


# ---- particles


@dataclass
class _Stretch:
    """Some steps that particles took together."""

    codes: Array
    """(m N, T, F), of the m sequences that are so long."""
    source: Array | None = None
    """Which of these particles comes before each (n N,) of the next stretch; None: itself."""


@dataclass
class StepParticles:
    """Samples of n sequences, N of each, from the first step that misses a value on.

    The sequence with the most steps left comes first.
    """

    number: int
    """N."""
    rows: Array
    """Which (n,) of the table's sequences they are."""
    start: Array
    """The first step (n,) of each that misses a value."""
    log_weight: Array
    """(n N,)."""
    stretches: list[_Stretch] = field(default_factory=list)

    def log_weights(self) -> Array:
        """Return the log-weights (n, N)."""
        return self.log_weight.reshape(-1, self.number)

    def codes(self, chosen: Array) -> Array:
        """Return the steps (n, S, F) of particle chosen[i] of each sequence i."""
        place = np.arange(len(chosen)) * self.number + chosen
        found = []
        for stretch in reversed(self.stretches):
            if stretch.source is not None:
                place = stretch.source[place]
            alive = len(stretch.codes) // self.number
            steps = np.zeros((len(place), *stretch.codes.shape[1:]), stretch.codes.dtype)
            steps[:alive] = stretch.codes[place[:alive]]
            found.append(steps)
        return np.concatenate(found[::-1], axis=1)


def step_particles(
    model: SequenceModel,
    table: SequenceTable,
    rows: Array,
    *,
    n_particles: int,
    rng: np.random.Generator,
    n_threads: int,
    known: int = WEIGHTED,
    sharpness: Sharpness = AS_FITTED,
    marginal: bool = False,
    complete: bool = False,
) -> StepParticles:
    """Return n_particles samples for each of the sequences `rows`, which miss values.

    The mean of a sequence's weights is an unbiased estimate of the probability of its known values.
    Those before all gaps have their exact probability. The weight of a particle is the product of
    p(x_td | those before it) of the known values after that. Where the effective number falls below
    half, particles are resampled, and their states with them.

    known: WEIGHTED, or OBSERVED where known values after a gap do not weigh samples.
    marginal: only the weights are wanted, and steps after all known values are not drawn.
    complete: samples have no gaps, whatever the probability of gaps is.
    """
    network, conditional = model.network, model.conditional.conditional
    kernel, F = conditional.kernel, network.n_features
    begun = _begin(model, table, rows, n_threads, known, marginal)
    if complete:
        begun.flags[conditional.marks & (begun.flags == SAMPLED)] = OBSERVED
    S = begun.flags.shape[1]
    state = [
        (np.repeat(h, n_particles, axis=0), np.repeat(s, n_particles, axis=0))
        for h, s in begun.state
    ]
    context = None if begun.context is None else np.repeat(begun.context, n_particles, axis=0)
    found = StepParticles(
        n_particles, begun.rows, begun.start, np.repeat(begun.log_weight, n_particles)
    )
    capsule = sharpness.draw(kernel, model.dtype)
    weighs = (begun.flags == WEIGHTED).any(axis=(0, 2))
    first = 0
    while first < S:
        end = min(S, first + _WALKED_STEPS)
        if weighs[first:end].any():
            end = first + int(weighs[first:end].argmax()) + 1
        T, m = end - first, int((begun.remaining > first).sum())
        alive = slice(m * n_particles)
        codes, flags = (
            np.repeat(each[:m, first:end].reshape(m, T * F), n_particles, axis=0)
            for each in (begun.codes, begun.flags)
        )
        noise = np.empty((len(codes) * T, F, kernel.n_noise), model.dtype)
        conditional.fill_noise(rng, noise, BLOCK_ROWS, n_threads)
        weight = np.zeros(len(codes))
        network.sample(
            model.params, capsule, noise.reshape(len(codes), T * F, -1), flags, codes, n_threads,
            context=None if context is None else context[alive], weight=weight,
            state=[(h[alive], s[alive]) for h, s in state],
        )  # fmt: skip
        log_jacobian = conditional.log_jacobian(codes.reshape(-1, F))
        if log_jacobian is not None:
            terms = np.where(flags == WEIGHTED, log_jacobian.reshape(codes.shape), 0)
            weight += terms.sum(axis=1)
        found.log_weight[alive] += weight
        stretch = _Stretch(codes.reshape(-1, T, F))
        if not marginal:
            found.stretches.append(stretch)
        going = int((begun.remaining > end).sum())
        if weighs[end - 1] and going:
            stretch.source = _draw_anew(found.log_weights()[:going], state, rng)
        first = end
    return found


def _draw_anew(log_weight: Array, state: State, rng: np.random.Generator) -> Array | None:
    """Resample the first particles of `state` where log_weight (n, N) asks for it.

    Return which of all particles each one now goes on from, or None if each does from itself.
    """
    source = resample_poor(log_weight, rng)
    moved = np.flatnonzero(source != np.arange(len(source)))
    if not len(moved):
        return None
    for array in (each for pair in state for each in pair):
        array[moved] = array[source[moved]]
    return np.concatenate([source, np.arange(len(source), len(state[0][0]))])


@dataclass
class _Begun:
    """Sequences at their first steps that miss a value, the one with the most steps left first."""

    rows: Array
    start: Array
    remaining: Array
    """How many steps (n,) are to be walked."""
    codes: Array
    """(n, S, F)."""
    flags: Array
    """(n, S, F): SAMPLED, OBSERVED, WEIGHTED; OBSERVED after the last step."""
    log_weight: Array
    """log p (n,) of what is known before all that is missing."""
    state: State
    context: Array | None


def _begin(
    model: SequenceModel,
    table: SequenceTable,
    rows: Array,
    n_threads: int,
    known: int,
    marginal: bool,
) -> _Begun:
    """Return the sequences `rows` where their gaps begin."""
    network, conditional = model.network, model.conditional.conditional
    block = table.take(rows)
    is_known, lengths = _known(table, rows, block), block.lengths
    values = np.where(is_known, block.values, _placeholder(conditional, model.dtype))
    codes = conditional.encode(values, model.dtype)
    base = np.cumsum(lengths) - lengths
    step = np.arange(len(codes)) - np.repeat(base, lengths)
    start = np.minimum.reduceat(np.where(is_known.all(axis=1), len(codes), step), base)
    first = base + start
    is_known_code = conditional.by_feature(is_known)
    # what nothing free comes before: the values of a step are independent but in a NADE
    leading = is_known_code[first]
    if isinstance(network, RecurrentFrames):
        leading = np.logical_and.accumulate(leading, axis=1)
    flags = np.where(is_known_code, np.uint8(known), np.uint8(SAMPLED))
    flags[first] = np.where(leading, np.uint8(OBSERVED), flags[first])
    end = lengths
    if marginal:
        weighs = (flags == WEIGHTED).any(axis=1)
        end = np.maximum.reduceat(np.where(weighs, step + 1, 0), base)
    remaining = np.maximum(end - start, 0)

    before = step <= np.repeat(start, lengths)
    counted = np.ones(codes.shape, bool)
    counted[first] = leading
    context = table.context(rows)
    log_weight, state = _pass_known(
        model, codes[before], counted[before], start + 1, context, n_threads
    )

    order = np.argsort(-remaining, kind="stable")
    walked = np.arange(remaining.max(initial=0)) < remaining[order, None]
    place = (first[order, None] + np.arange(walked.shape[1]))[walked]
    walked_codes = np.zeros((*walked.shape, codes.shape[1]), model.dtype)
    walked_flags = np.full(walked_codes.shape, OBSERVED, np.uint8)
    walked_codes[walked], walked_flags[walked] = codes[place], flags[place]
    return _Begun(
        rows[order], start[order], remaining[order], walked_codes, walked_flags, log_weight[order],
        [(h[order], s[order]) for h, s in state], None if context is None else context[order],
    )  # fmt: skip


def _pass_known(
    model: SequenceModel,
    codes: Array,
    counted: Array,
    lengths: Array,
    context: Array | None,
    n_threads: int,
) -> tuple[Array, State]:
    """Return log p (n,) of codes (N, F) where `counted`, and the state before the last steps."""
    network, conditional = model.network, model.conditional.conditional
    steps, start = Steps.of(codes, lengths), network.start(len(lengths))
    raw, state = network.unroll(model.params, steps, start, n_threads, context)
    logp, _ = conditional.log_prob(raw, steps.codes, n_threads)
    terms = np.where(Steps.of(counted, lengths).codes, logp, 0)
    return steps.sums(terms.sum(axis=1, dtype=np.float64)), state


# ---- what models ask for


def _blocks(model: SequenceModel, table: SequenceTable, n_particles: int) -> Iterator[Array]:
    """Yield the sequences that miss values, in blocks whose particles fit into work space."""
    sequences, network = table.sequences, model.network
    longest = int(sequences.lengths.max(initial=0)) + table.ends
    n_numbers = longest * network.n_features + sum(network.hidden_layer_sizes)
    incomplete = np.flatnonzero(incomplete_sequences(table))
    yield from particle_blocks(incomplete, n_numbers, n_particles)


def step_marginals(
    model: SequenceModel,
    table: SequenceTable,
    n_particles: int,
    rng: np.random.Generator,
    n_threads: int,
) -> tuple[Array, Array]:
    """Return log p of what is known of each sequence, and effective sample sizes (n,)."""
    scores, ess = np.zeros(len(table)), np.full(len(table), float(n_particles))
    complete = np.flatnonzero(~incomplete_sequences(table))
    if len(complete):
        scores[complete] = score_rows(model, table.subset(complete), n_threads)
    for rows in _blocks(model, table, n_particles):
        found = step_particles(
            model, table, rows, n_particles=n_particles, rng=rng, n_threads=n_threads,
            marginal=True,
        )  # fmt: skip
        share, scores[found.rows] = normalise_log_weights(found.log_weights())
        ess[found.rows] = effective_sample_size(share)
    return scores, ess


def complete_steps(
    model: SequenceModel,
    table: SequenceTable,
    rng: np.random.Generator,
    n_threads: int,
    *,
    n_draws: int = 1,
    n_particles: int = 1,
    known: int = WEIGHTED,
    sharpness: Sharpness = AS_FITTED,
    complete: bool = False,
) -> tuple[Array, Array]:
    """Return completions (n_draws, N, F) of all steps, and effective sample sizes (n,).

    known, complete: as `step_particles` takes them.
    """
    sequences, ends = table.sequences, int(table.ends)
    conditional = model.conditional.conditional
    missing = ~table.known
    completed = copies(sequences.values, n_draws)
    ess = np.full(len(table), float(n_particles))
    for rows in _blocks(model, table, n_particles):
        found = step_particles(
            model, table, rows, n_particles=n_particles, rng=rng, n_threads=n_threads,
            known=known, sharpness=sharpness, complete=complete,
        )  # fmt: skip
        share, _ = normalise_log_weights(found.log_weights())
        ess[found.rows] = effective_sample_size(share)
        remaining = sequences.lengths[found.rows] - found.start
        walked = np.arange(remaining.max()) < remaining[:, None]
        place = (sequences.offsets[found.rows] + found.start)[:, None] + np.arange(walked.shape[1])
        place = place[walked]
        for draw in completed:
            codes = found.codes(draw_by_weight(share, rng))[:, : walked.shape[1]][walked]
            values = conditional.decode(codes)[:, ends:]
            draw[place] = np.where(missing[place], values, draw[place])
    return completed, ess


def sample_steps(
    model: SequenceModel,
    table: SequenceTable,
    sharpness: Sharpness,
    rng: np.random.Generator,
    n_threads: int,
) -> Array:
    """Return all steps (N, F) with what is missing drawn given what is before it."""
    values, _ = complete_steps(model, table, rng, n_threads, known=OBSERVED, sharpness=sharpness)
    filled: Array = values[0]
    return filled
