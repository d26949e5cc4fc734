"""Sequential Monte Carlo: completions and marginals that have no closed form."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from fastar._core.parameters import Array
from fastar._data.table import Table, block_rows
from fastar._engine.model import Model
from fastar._engine.sampling import (
    blocks_by_member,
    draw_members,
    draw_noise,
    leading_evidence,
    posterior_over_members,
    walk,
)
from fastar._engine.scores import score_rows
from fastar._kernels._conditionals import OBSERVED, SAMPLED, WEIGHTED

_STAGES = 3
"""Parts of the order after each of which particles may be resampled."""
LEAST_EFFECTIVE = 0.5
"""Share of a row's particles below which their effective number leads to resampling."""


# ---- sequential Monte Carlo


@dataclass
class Particles:
    """Samples (n N, D) as codes in model order, N for each of n rows, and their log-weights."""

    model: Model
    number: int
    """N."""
    codes: Array
    flags: Array
    """Which (n N, D) are SAMPLED, OBSERVED and WEIGHTED."""
    members: Array
    log_weight: Array
    context: Array | None

    def log_weights(self) -> Array:
        """Return the log-weights (n, N)."""
        return self.log_weight.reshape(-1, self.number)

    def values(self, rows: Array, which: Array) -> Array:
        """Return sample which[i] of row rows[i], as values (m, D) in the order of the columns."""
        model = self.model
        return model.to_columns(model.conditional.decode(self.codes[rows * self.number + which]))


def particles(
    model: Model,
    X: Array,
    missing: Array,
    *,
    n_particles: int,
    rng: np.random.Generator,
    n_threads: int,
    temperature: float = 1.0,
    context: Array | None = None,
    marginal: bool = False,
    there: Array | None = None,
) -> Particles:
    """Return n_particles samples for each of n rows that hold X where not `missing`.

    The mean of a row's weights estimates the probability of what is held, without bias: that of
    what has nothing free before it exactly, and that of the rest by sequential Monte Carlo. A
    sample is weighed by p(x_d | those before it) of what it holds, by the member that drew it. In
    between, where the effective number of a row's samples falls below half of them, samples are
    drawn anew from them by weight (systematic resampling), and all get their mean weight.

    marginal: only the weights are wanted; what comes after all that is held is not drawn.
    there: flags (D,) of marks of gaps, none of which a sample is to have; SAMPLED where it may.
    """
    order = model.order
    # any value of the support may stand where nothing is held
    evidence = np.where(missing, model.placeholder(), X)
    share, log_weight = posterior_over_members(model, evidence, ~missing, n_threads, context)
    members = draw_members(np.repeat(share, n_particles, axis=1), rng)
    by_member = np.full((model.network.n_members, *X.shape), SAMPLED, np.uint8)
    for member in np.unique(members):
        leading = leading_evidence(model, ~missing, member)
        by_member[member][~missing] = WEIGHTED
        by_member[member][leading] = OBSERVED
    flags = by_member[members, np.repeat(np.arange(len(X)), n_particles)]
    by_feature = model.conditional.by_feature(flags[:, order])
    if there is not None:
        by_feature = np.where((there != SAMPLED) & (by_feature == SAMPLED), there, by_feature)
    state = Particles(
        model,
        n_particles,
        np.repeat(model.codes(evidence[:, order]), n_particles, axis=0),
        np.ascontiguousarray(by_feature),
        members,
        np.repeat(log_weight, n_particles),
        None if context is None else np.repeat(context, n_particles, axis=0),
    )
    capsule = model.conditional.kernel.draw(model.dtype, temperature)
    noise = draw_noise(model, rng, len(members), n_threads)
    stages = _stages(model, state, marginal)
    for stage, wanted in enumerate(stages):
        for weights, rows, _ in blocks_by_member(model, state.members, n_threads):
            advance(model, state, weights, rows, wanted, capsule, noise, n_threads)
        if stage + 1 < len(stages):
            _resample(state, rng)
    return state


def _stages(model: Model, state: Particles, marginal: bool) -> list[Array]:
    """Return for each stage where (M, D), in members' networks, it draws and weighs features.

    Stages end after equal shares of the features that some row weighs.
    """
    orders = [model.network.member_order(member) for member in range(model.network.n_members)]
    weighed = state.flags == WEIGHTED
    n_weighed = weighed.sum(axis=1).max(initial=0)
    if n_weighed == 0 and marginal:
        return []
    D = model.n_features
    some = np.zeros(D, bool)
    for member in np.unique(state.members):
        some |= weighed[state.members == member].any(axis=0)[orders[member]]
    done = np.cumsum(some)
    n_stages = int(min(_STAGES, max(1, n_weighed)))
    ends = [int(np.searchsorted(done, done[-1] * k / n_stages)) + 1 for k in range(1, n_stages)]
    last = int(np.flatnonzero(some)[-1]) + 1 if marginal else D
    limits = np.unique([0, *ends, last])
    found = []
    for start, end in pairwise(limits):
        wanted = np.zeros((len(orders), D), bool)
        for member, order in enumerate(orders):
            wanted[member, order[start:end]] = True
        found.append(wanted)
    return found


def advance(
    model: Model,
    state: Particles,
    weights: Any,
    rows: Array | slice,
    wanted: Array,
    capsule: object,
    noise: Array,
    n_threads: int,
) -> None:
    """Draw and weigh the features of one stage for a block of one member's particles."""
    mine = wanted[state.members[rows][0]]
    flags = state.flags[rows] * mine  # OBSERVED is 0
    codes, weight = np.ascontiguousarray(state.codes[rows]), np.zeros(len(flags))
    walk(
        model,
        weights,
        capsule,
        np.ascontiguousarray(noise[rows]),
        flags,
        codes,
        n_threads,
        context=None if state.context is None else np.ascontiguousarray(state.context[rows]),
        weight=weight,
    )
    state.codes[rows] = codes
    log_jacobian = model.conditional.log_jacobian(codes)
    if log_jacobian is not None:
        weight += np.where(flags == WEIGHTED, log_jacobian, 0).sum(axis=1)
    state.log_weight[rows] += weight


def _resample(state: Particles, rng: np.random.Generator) -> None:
    """Draw the particles of rows with few effective ones anew."""
    source = resample_poor(state.log_weights(), rng)
    moved = np.flatnonzero(source != np.arange(len(source)))
    for array in (state.codes, state.flags, state.members):
        array[moved] = array[source[moved]]


def complete_rows(model: Model) -> Array:
    """Return flags (D,) of marks that keep samples free of gaps, whatever gaps are like."""
    return np.where(model.conditional.marks, np.uint8(OBSERVED), np.uint8(SAMPLED))


# ---- weights, whatever the particles are


def resample_poor(log_weight: Array, rng: np.random.Generator) -> Array:
    """Return which of all particles (n N,) each one is to be replaced by.

    Where few of a row's particles have most of the weight, they are drawn anew by weight
    (systematic resampling), and log_weight (n, N) gets the logarithm of their mean weight.
    """
    n, n_particles = log_weight.shape
    share, mean = normalise_log_weights(log_weight)
    at = (rng.random((n, 1)) + np.arange(n_particles)) / n_particles
    source = np.arange(n * n_particles).reshape(n, n_particles)
    for row in np.flatnonzero(effective_sample_size(share) < LEAST_EFFECTIVE * n_particles):
        chosen = np.searchsorted(np.cumsum(share[row])[:-1], at[row], side="right")
        source[row] = row * n_particles + chosen
        log_weight[row] = mean[row]
    return source.ravel()


def draw_by_weight(share: Array, rng: np.random.Generator) -> Array:
    """Return one of N particles for each of n rows, by their shares (n, N)."""
    below = np.cumsum(share, axis=1)[:, :-1]
    chosen: Array = (rng.random((len(share), 1)) >= below).sum(axis=1)
    return chosen


def normalise_log_weights(log_weight: Array) -> tuple[Array, Array]:
    """Return the shares (n, N) that log-weights stand for, and the logarithms (n,) of their means.

    Shares are equal where no particle is possible.
    """
    best = log_weight.max(axis=1, keepdims=True)
    possible = np.isfinite(best)
    weight = np.where(possible, np.exp(log_weight - np.where(possible, best, 0)), 1)
    total = weight.sum(axis=1, keepdims=True)
    mean = np.where(possible, best + np.log(total / log_weight.shape[1]), -np.inf)
    return weight / total, mean[:, 0]


def effective_sample_size(share: Array) -> Array:
    """Return the effective numbers (n,) of samples of these shares (n, N)."""
    number: Array = 1 / (share**2).sum(axis=1)
    return number


def marginals(
    model: Model,
    X: Array,
    missing: Array,
    n_particles: int,
    rng: np.random.Generator,
    n_threads: int,
    context: Array | None = None,
) -> tuple[Array, Array]:
    """Return log p of the known values of each row of X, and effective sample sizes (n,)."""
    scores, ess = np.zeros(len(X)), np.full(len(X), float(n_particles))
    complete = np.flatnonzero(~missing.any(axis=1))
    table = Table(X, model.order, complete, context)
    scores[complete] = score_rows(model, table, n_threads)
    incomplete = np.flatnonzero(missing.any(axis=1))
    for rows in particle_blocks(incomplete, X.shape[1], n_particles):
        found = particles(
            model,
            X[rows],
            missing[rows],
            n_particles=n_particles,
            rng=rng,
            n_threads=n_threads,
            context=None if context is None else context[rows],
            marginal=True,
        )
        share, scores[rows] = normalise_log_weights(found.log_weights())
        ess[rows] = effective_sample_size(share)
    return scores, ess


def impute(
    propose: Callable[[Array], list[tuple[float, Particles]]],
    X: Array,
    missing: Array,
    n_draws: int,
    rng: np.random.Generator,
    n_particles: int,
) -> tuple[Array, Array]:
    """Return completions (n_draws, n, D) of X where `missing`, and effective sample sizes (n,).

    propose(rows): for each of some models an offset of the log-weights, and the particles of rows
    of X; n_particles a row in all. Completions are drawn from them by weight.
    """
    completed = copies(X, n_draws)
    ess = np.full(len(X), float(n_particles))
    incomplete = np.flatnonzero(missing.any(axis=1))
    for rows in particle_blocks(incomplete, X.shape[1], n_particles):
        found = propose(rows)
        share, mean = normalise_log_weights(
            np.concatenate([prior + each.log_weights() for prior, each in found], axis=1)
        )
        ess[rows] = np.where(np.isfinite(mean), effective_sample_size(share), 0)
        for draw in completed:
            chosen = draw_by_weight(share, rng)
            start = 0
            for _, each in found:
                mine = np.flatnonzero((start <= chosen) & (chosen < start + each.number))
                drawn = each.values(mine, chosen[mine] - start)
                draw[rows[mine]] = np.where(missing[rows[mine]], drawn, draw[rows[mine]])
                start += each.number
    return completed, ess


def copies(X: Array, number: int) -> Array:
    """Return X so many times (number, ..), one after the other: they may fill the memory."""
    found = np.empty((number, *X.shape), X.dtype)
    for each in found:
        each[...] = X
    return found


PARTICLES = 64
"""Samples of a row from which one is drawn, where its evidence does not come first."""
FEW_EFFECTIVE = 0.05
"""Share of a row's particles; where fewer are effective, its draws repeat or miss what is there."""


def sample_given(
    model: Model,
    evidence: Array,
    held: Array,
    n_particles: int,
    temperature: float,
    rng: np.random.Generator,
    n_threads: int,
    context: Array | None = None,
) -> Array:
    """Return n rows given what is `held` of evidence (n, D), wherever it stands in the order."""

    def propose(rows: Array) -> list[tuple[float, Particles]]:
        found = particles(
            model,
            evidence[rows],
            ~held[rows],
            n_particles=n_particles,
            rng=rng,
            n_threads=n_threads,
            temperature=temperature,
            context=None if context is None else context[rows],
        )
        return [(0.0, found)]

    completed, ess = impute(propose, evidence, ~held, 1, rng, n_particles)
    warn_of_few(ess, n_particles)
    return np.asarray(completed[0])


def warn_of_few(ess: Array, n_particles: int) -> None:
    """Warn if few of the particles of some rows are effective."""
    few = int((ess < FEW_EFFECTIVE * n_particles).sum())
    if few:
        warnings.warn(
            f"{few} of {len(ess)} rows have evidence that hardly any of their {n_particles} "
            "particles agrees with: their samples are rough. `order` can put known columns first.",
            UserWarning,
            stacklevel=3,
        )


def is_exact(model: Model, held: Array) -> bool:
    """Return whether all that is held has nothing free before it, in the orders of all members."""
    members = range(model.network.n_members)
    return all((leading_evidence(model, held, member) == held).all() for member in members)


def particle_blocks(rows: Array, n_numbers: int, n_particles: int) -> Iterator[Array]:
    """Yield rows in blocks whose particles fit into work space; n_numbers: of one particle."""
    size = max(1, block_rows(n_numbers) // n_particles)
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
