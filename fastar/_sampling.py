"""Draws: samples, and particles that estimate what is not in closed form."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from fastar._inference import log_probs, score_rows
from fastar._kernels import _cpu
from fastar._kernels._conditionals import FREE, HELD, WEIGHED
from fastar._model import Model
from fastar._parameters import Array
from fastar._table import BLOCK_ROWS, Table, block_rows

_STAGES = 3
"""Parts of the order after each of which particles may be resampled."""


def sample(
    model: Model,
    n: int,
    evidence: Array | None,
    held: Array | None,
    temperature: float,
    rng: np.random.Generator,
    n_threads: int,
    context: Array | None = None,
) -> Array:
    """Return n values (n, D) in the order of the columns.

    evidence (1 or n, D), held (as evidence): values that stay, and where; in the order of the
    columns. context (n, C). Which of the networks that share the parameters draws a row is drawn
    given what is held before all else in their orders.
    """
    conditional, network = model.conditional, model.network
    capsule = conditional.kernel.draw(model.dtype, temperature)
    values: Array = np.empty((0, model.n_features))
    members = np.zeros(n, np.intp)
    if network.n_members > 1:
        if evidence is None or held is None:
            members = rng.integers(network.n_members, size=n)
        else:
            share, _ = _posterior(model, evidence, held, n_threads, context)
            members = _draw_members(np.broadcast_to(share, (network.n_members, n)), rng)
    for weights, rows, m in _blocks_by_member(model, members, n_threads):
        codes = _cpu.aligned_empty((m, model.n_features), model.dtype)
        flags, weight = None, None
        if evidence is not None and held is not None:
            which = rows if len(evidence) > 1 else slice(None)
            codes[:], flags = _held_codes(model, evidence[which], held[which], codes.shape)
            weight = np.zeros(m)
        noise = _noise(model, rng, m, n_threads)
        own = None if context is None else np.ascontiguousarray(context[rows])
        network.sample(weights, capsule, noise, flags, codes, n_threads, context=own, weight=weight)
        drawn = model.to_columns(conditional.decode(codes))
        if m == n:
            values = drawn
            break
        if len(values) == 0:
            values = np.empty((n, model.n_features), drawn.dtype)
        values[rows] = drawn
    if evidence is not None and held is not None:
        np.copyto(values, evidence, where=held, casting="unsafe")
    return values


def _blocks_by_member(
    model: Model, members: Array, n_threads: int
) -> Iterator[tuple[Any, Array | slice, int]]:
    """Yield (a member's weights, rows that are its own, how many), block after block."""
    size = block_rows(model.n_features)
    for member in range(model.network.n_members):
        mine = np.flatnonzero(members == member)
        weights = model.network.prepare(model.params, n_threads, member) if len(mine) else None
        for start in range(0, len(mine), size):
            end = min(start + size, len(mine))
            # of all rows a slice, which copies nothing
            whole = len(mine) == len(members)
            yield weights, slice(start, end) if whole else mine[start:end], end - start


def _noise(model: Model, rng: np.random.Generator, n: int, n_threads: int) -> Array:
    """Return the random numbers of n rows; every BLOCK_ROWS rows have a stream of their own."""
    shape = (n, model.n_features, model.conditional.kernel.n_noise)
    noise = _cpu.aligned_empty(shape, model.dtype)
    model.conditional.fill_noise(rng, noise, BLOCK_ROWS, n_threads)
    return noise


def _held_codes(
    model: Model, evidence: Array, held: Array, shape: tuple[int, ...]
) -> tuple[Array, Array]:
    """Return codes (1 or m, D) of evidence, in model order, and HELD or FREE (m, D)."""
    is_held = held[:, model.order]
    codes = np.where(is_held, model.codes(evidence[:, model.order]), 0).astype(model.dtype)
    flags = np.where(is_held, np.uint8(HELD), np.uint8(FREE))
    return codes, np.ascontiguousarray(np.broadcast_to(flags, shape))


# ---- members: networks that share the parameters


def _leading(model: Model, held: Array, member: int) -> Array:
    """Return where (n, D) what is held has nothing free before it in the member's order."""
    if model.network.any_evidence:
        return held
    order = model.order[model.network.member_order(member)]
    leading = np.empty_like(held)
    leading[:, order] = np.logical_and.accumulate(held[:, order], axis=1)
    return leading


def _posterior(
    model: Model, evidence: Array, held: Array, n_threads: int, context: Array | None
) -> tuple[Array, Array]:
    """Return the members' shares (M, n) given what is held before all else in their orders.

    And the logarithm (n,) of the mean over members of the probability that they give to that.
    """
    n = max(len(evidence), 1 if context is None else len(context))
    held = np.broadcast_to(held, (n, held.shape[1]))
    M = model.network.n_members
    joint = np.full((M, n), -np.log(M))
    if model.network.any_evidence:  # what is free is no evidence, nor may a placeholder be
        evidence = np.where(held, evidence, np.nan)
    for member in range(M):
        leading = _leading(model, held, member)[:, model.order]
        if leading.any():
            table = Table(np.broadcast_to(evidence, held.shape), model.order, context=context)
            for where, logp, _ in log_probs(model, table, n_threads, member):
                joint[member, where] += np.where(leading[where], logp, 0).sum(axis=1)
    total = np.logaddexp.reduce(joint, axis=0)
    # evidence that no member makes possible tells them not apart
    possible = np.isfinite(total)
    share: Array = np.where(possible, np.exp(joint - np.where(possible, total, 0)), 1 / M)
    return share, total


def _draw_members(share: Array, rng: np.random.Generator) -> Array:
    """Return a member for each of n rows by their shares (M, n)."""
    members: Array = (rng.random(share.shape[1]) >= np.cumsum(share, axis=0)[:-1]).sum(axis=0)
    return members


# ---- sequential Monte Carlo


@dataclass
class Particles:
    """Samples (n N, D) as codes in model order, N for each of n rows, and their log-weights."""

    model: Model
    number: int
    """N."""
    codes: Array
    flags: Array
    """Which (n N, D) are FREE, HELD and WEIGHED."""
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
) -> Particles:
    """Return n_particles samples for each of n rows that hold X where not `missing`.

    The mean of a row's weights estimates the probability of what is held, without bias: that of
    what has nothing free before it exactly, and that of the rest by sequential Monte Carlo. A
    sample is weighed by p(x_d | those before it) of what it holds, by the member that drew it. In
    between, where the effective number of a row's samples falls below half of them, samples are
    drawn anew from them by weight (systematic resampling), and all get their mean weight.

    marginal: only the weights are wanted; what comes after all that is held is not drawn.
    """
    order = model.order
    # any value of the support may stand where nothing is held
    evidence = np.where(missing, placeholder(model), X)
    share, log_weight = _posterior(model, evidence, ~missing, n_threads, context)
    members = _draw_members(np.repeat(share, n_particles, axis=1), rng)
    by_member = np.full((model.network.n_members, *X.shape), FREE, np.uint8)
    for member in np.unique(members):
        leading = _leading(model, ~missing, member)
        by_member[member][~missing] = WEIGHED
        by_member[member][leading] = HELD
    flags = by_member[members, np.repeat(np.arange(len(X)), n_particles)]
    state = Particles(
        model,
        n_particles,
        np.repeat(model.codes(evidence[:, order]), n_particles, axis=0),
        np.ascontiguousarray(flags[:, order]),
        members,
        np.repeat(log_weight, n_particles),
        None if context is None else np.repeat(context, n_particles, axis=0),
    )
    capsule = model.conditional.kernel.draw(model.dtype, temperature)
    noise = _noise(model, rng, len(members), n_threads)
    stages = _stages(model, state, marginal)
    for stage, wanted in enumerate(stages):
        for weights, rows, _ in _blocks_by_member(model, state.members, n_threads):
            _advance(model, state, weights, rows, wanted, capsule, noise, n_threads)
        if stage + 1 < len(stages):
            _resample(state, rng)
    return state


def _stages(model: Model, state: Particles, marginal: bool) -> list[Array]:
    """Return for each stage where (M, D), in members' networks, it draws and weighs features.

    Stages end after equal shares of the features that some row weighs.
    """
    orders = [model.network.member_order(member) for member in range(model.network.n_members)]
    weighed = state.flags == WEIGHED
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


def _advance(
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
    flags = state.flags[rows] * mine  # HELD is 0
    codes, weight = np.ascontiguousarray(state.codes[rows]), np.zeros(len(flags))
    model.network.sample(
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
    scale = model.conditional.log_scale()
    if scale is not None:
        weight += np.where(flags == WEIGHED, scale, 0).sum(axis=1)
    state.log_weight[rows] += weight


def _resample(state: Particles, rng: np.random.Generator) -> None:
    """Draw the particles of rows with few effective ones anew, systematically."""
    log_weight, n_particles = state.log_weights(), state.number
    share, mean = normalised(log_weight)
    poor = np.flatnonzero(effective(share) < n_particles / 2)
    at = (rng.random((len(log_weight), 1)) + np.arange(n_particles)) / n_particles
    for row in poor:
        chosen = np.searchsorted(np.cumsum(share[row])[:-1], at[row], side="right")
        source = row * n_particles + chosen
        target = slice(row * n_particles, (row + 1) * n_particles)
        for array in (state.codes, state.flags, state.members):
            array[target] = array[source]
        log_weight[row] = mean[row]


def normalised(log_weight: Array) -> tuple[Array, Array]:
    """Return the shares (n, N) that log-weights stand for, and the logarithms (n,) of their means.

    Shares are equal where no particle is possible.
    """
    best = log_weight.max(axis=1, keepdims=True)
    possible = np.isfinite(best)
    weight = np.where(possible, np.exp(log_weight - np.where(possible, best, 0)), 1)
    total = weight.sum(axis=1, keepdims=True)
    mean = np.where(possible, best + np.log(total / log_weight.shape[1]), -np.inf)
    return weight / total, mean[:, 0]


def effective(share: Array) -> Array:
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
    """Return log p of what is not `missing` of each row of X, and effective sample sizes (n,)."""
    scores, ess = np.zeros(len(X)), np.full(len(X), float(n_particles))
    complete = np.flatnonzero(~missing.any(axis=1))
    table = Table(X, model.order, complete, context)
    scores[complete] = score_rows(model, table, n_threads)
    for rows in particle_blocks(missing, n_particles):
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
        share, scores[rows] = normalised(found.log_weights())
        ess[rows] = effective(share)
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

    propose(rows): what is added to log-weights, and the particles of rows of X, for each of some
    models; n_particles a row in all. Completions are drawn from them by weight.
    """
    completed = np.repeat(X[None], n_draws, axis=0)
    ess = np.full(len(X), float(n_particles))
    for rows in particle_blocks(missing, n_particles):
        found = propose(rows)
        share, _ = normalised(
            np.concatenate([prior + each.log_weights() for prior, each in found], axis=1)
        )
        ess[rows] = effective(share)
        below = np.cumsum(share, axis=1)[:, :-1]
        for draw in completed:
            chosen = (rng.random((len(rows), 1)) >= below).sum(axis=1)
            start = 0
            for _, each in found:
                mine = np.flatnonzero((start <= chosen) & (chosen < start + each.number))
                drawn = each.values(mine, chosen[mine] - start)
                draw[rows[mine]] = np.where(missing[rows[mine]], drawn, draw[rows[mine]])
                start += each.number
    return completed, ess


def particle_blocks(missing: Array, n_particles: int) -> Iterator[Array]:
    """Yield the rows that miss values, in blocks of which all particles fit into work space."""
    incomplete = np.flatnonzero(missing.any(axis=1))
    size = max(1, block_rows(missing.shape[1]) // n_particles)
    for start in range(0, len(incomplete), size):
        yield incomplete[start : start + size]


def placeholder(model: Model) -> Array:
    """Return a row (1, D) of values of the support."""
    values: Array = model.to_columns(
        model.conditional.decode(np.zeros((1, model.n_features), model.dtype))
    )
    return values
