"""Sequential Monte Carlo: completions and marginals that have no closed form."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from fastar._core.parameters import Array
from fastar._core.sharpness import AS_FITTED, Sharpness
from fastar._data.table import block_rows
from fastar._engine.bounds import Bounds
from fastar._engine.model import Model
from fastar._engine.sampling import (
    blocks_by_member,
    draw_members,
    draw_noise,
    leading_evidence,
    parts_of_walk,
    posterior_over_members,
    walk,
)
from fastar._kernels import _cpu
from fastar._kernels._conditionals import BOUNDED, OBSERVED, SAMPLED, WEIGHTED
from fastar.networks import Stages

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
    log_weight: Array
    bounds: Bounds | None
    """The bounds of the n rows."""

    def log_weights(self) -> Array:
        """Return the log-weights (n, N)."""
        return self.log_weight.reshape(-1, self.number)

    def values(self, rows: Array, which: Array) -> Array:
        """Return sample which[i] of row rows[i], as values (m, D) in the order of the columns."""
        codes = self.codes[rows * self.number + which]
        values = self.model.to_columns(self.model.conditional.decode(codes))
        return values if self.bounds is None else self.bounds.clip(values, rows)

    def all_values(self) -> Array:
        """Return all samples as values (n N, D) in the order of the columns."""
        n = len(self.codes) // self.number
        return self.values(np.repeat(np.arange(n), self.number), np.tile(np.arange(self.number), n))


@dataclass
class Walkers(Particles):
    """Particles that take stage after stage."""

    flags: Array
    """Which (n N, D) are SAMPLED, OBSERVED, WEIGHTED and BOUNDED."""
    members: Array
    context: Array | None


def particles(
    model: Model,
    X: Array,
    missing: Array,
    *,
    n_particles: int,
    rng: np.random.Generator,
    n_threads: int,
    sharpness: Sharpness = AS_FITTED,
    context: Array | None = None,
    bounds: Bounds | None = None,
    marginal: bool = False,
    there: Array | None = None,
) -> Particles:
    """Return n_particles samples for each of n rows that hold X where not `missing`.

    The mean of a row's weights is an unbiased estimate of the probability of the held values. The
    values with nothing free before them have their exact probability, and the others are estimated
    by sequential Monte Carlo: the weight of a sample is the product of p(x_d | those before it) of
    the values that it holds, by the member that drew it. A cell of `bounds`, which is missing, is
    drawn within its region, whose probability is one more factor. Where the effective number of a
    row's samples falls below half of them after a stage, they are resampled by weight (systematic
    resampling), and all get their mean weight.

    marginal: only the weights are wanted, and features after all held ones are not drawn.
    there: flags (D,) of marks of gaps, which samples may have where they are SAMPLED.
    """
    # any value of the support may stand where nothing is held
    evidence = np.where(missing, model.placeholder(), X)
    if n_particles <= model.network.most_particles:
        capsule = _draw(model, sharpness, bounds)
        return _at_once(
            model, evidence, missing, n_particles, rng, n_threads, capsule, context, bounds,
            marginal, there,
        )  # fmt: skip
    # a marginal is to be the sum of those of values, which are known one after the other
    bounded = bounds.bounded if bounds is not None and marginal else None
    share, log_weight = posterior_over_members(
        model, evidence, ~missing, n_threads, context, bounded
    )
    members = draw_members(np.repeat(share, n_particles, axis=1), rng)
    codes = first_codes(model, evidence, missing, bounds, marginal)
    flags = _flags_by_member(
        model, missing, np.unique(members), marginal=marginal, bounds=bounds, there=there
    )
    state = Walkers(
        model,
        n_particles,
        np.repeat(codes, n_particles, axis=0),
        np.repeat(log_weight, n_particles),
        bounds,
        flags[members, np.repeat(np.arange(len(X)), n_particles)],
        members,
        None if context is None else np.repeat(context, n_particles, axis=0),
    )
    capsule = _draw(model, sharpness, bounds)
    noise = draw_noise(model, rng, len(members), n_threads)
    stages = _stages(model, flags, members.reshape(len(X), -1), marginal)
    for stage, wanted in enumerate(stages):
        for weights, rows, _ in blocks_by_member(model, state.members, n_threads):
            advance(model, state, weights, rows, wanted, capsule, noise, n_threads)
        if stage + 1 < len(stages):
            _resample(state, rng)
    return state


def _flags_by_member(
    model: Model,
    missing: Array,
    members: Array,
    *,
    marginal: bool,
    bounds: Bounds | None,
    there: Array | None,
) -> Array:
    """Return how the walks of each member (M, n, D) treat codes, right for those of `members`."""
    bounded = bounds.bounded if bounds is not None and marginal else None
    by_member = np.full((model.network.n_members, *missing.shape), SAMPLED, np.uint8)
    for member in members:
        leading = leading_evidence(model, ~missing, member, bounded)
        by_member[member][~missing] = WEIGHTED
        by_member[member][leading] = OBSERVED
    if marginal and model.network.any_evidence:  # what is not asked for stays unknown
        by_member[:, missing] = OBSERVED
    if bounds is not None:
        by_member[:, bounds.bounded] = BOUNDED
    by_column = by_member.reshape(-1, missing.shape[1])[:, model.order]
    by_feature = model.conditional.by_feature(by_column)
    if there is not None:
        by_feature = np.where((there != SAMPLED) & (by_feature == SAMPLED), there, by_feature)
    return np.ascontiguousarray(by_feature).reshape(len(by_member), len(missing), -1)


def _draw(model: Model, sharpness: Sharpness, bounds: Bounds | None) -> object:
    regions = None if bounds is None else bounds.regions
    return sharpness.draw(model.conditional.kernel, model.dtype, regions)


def _at_once(
    model: Model,
    evidence: Array,
    missing: Array,
    n_particles: int,
    rng: np.random.Generator,
    n_threads: int,
    capsule: object,
    context: Array | None,
    bounds: Bounds | None,
    marginal: bool,
    there: Array | None,
) -> Particles:
    """Return what `particles` does, of a network that takes them through all stages in one call.

    It has one member, and weighs all that is held. It draws the same random numbers.
    """
    n, of_features = len(evidence), model.conditional.by_feature
    held = of_features(~missing[:, model.order])
    flags = np.full(held.shape, SAMPLED, np.uint8)
    if there is not None:
        flags[...] = there
    flags[held] = WEIGHTED
    if bounds is not None:
        flags[of_features(bounds.bounded[:, model.order])] = BOUNDED
    # stages are as long as if what comes before all gaps were known to begin with
    leading = np.logical_and.accumulate(held, axis=1)
    limits = _limits(((flags & WEIGHTED) != 0) & ~leading, marginal)
    if marginal:
        later = flags[:, limits[-1] :]
        later[later == SAMPLED] = OBSERVED
    begun = np.ascontiguousarray(first_codes(model, evidence, missing, bounds, marginal))
    draw_members(np.ones((1, n * n_particles)), rng)
    noise = draw_noise(model, rng, n * n_particles, n_threads)
    stages = Stages(limits[1:-1], rng.random((max(0, len(limits) - 2), n)), LEAST_EFFECTIVE)
    codes = _cpu.aligned_empty((n * n_particles, model.n_features), model.dtype)
    log_weight = np.zeros(len(codes))
    if context is not None:
        context = np.repeat(context, n_particles, axis=0)
    weights = model.network.materialise_weights(model.params, n_threads)
    for rows in parts_of_walk(n, n_particles * model.network.row_work):
        of_rows = slice(n_particles * rows.start, n_particles * rows.stop)
        model.network.sample_particles(
            weights, capsule, noise[of_rows], flags[rows], begun[rows], stages.take(rows),
            codes[of_rows], log_weight[of_rows], n_threads,
            context=None if context is None else context[of_rows],
        )  # fmt: skip
    log_jacobian = model.conditional.log_jacobian(begun)
    if log_jacobian is not None:
        of_held = np.where(flags == WEIGHTED, log_jacobian, 0).sum(axis=1)
        log_weight += np.repeat(of_held, n_particles)
    return Particles(model, n_particles, codes, log_weight, bounds)


def first_codes(
    model: Model, evidence: Array, missing: Array, bounds: Bounds | None, marginal: bool
) -> Array:
    """Return the codes (n, D) with which the particles of n rows begin, in model order."""
    codes, by_feature = model.codes(evidence[:, model.order]), model.conditional.by_feature
    if marginal and model.network.any_evidence:
        codes = np.where(by_feature(missing[:, model.order]), np.nan, codes)
    if bounds is not None:
        codes = np.where(by_feature(bounds.bounded[:, model.order]), bounds.numbers, codes)
    started: Array = codes.astype(model.dtype, copy=False)
    return started


def _stages(model: Model, flags: Array, members: Array, marginal: bool) -> list[Array]:
    """Return for each stage where (M, D), in members' networks, it draws and weighs features.

    flags (M, n, D), of rows by member; members (n, N) of the particles.
    """
    orders = [model.network.member_order(member) for member in range(model.network.n_members)]
    weighed = (flags == WEIGHTED) | (flags == BOUNDED)
    for member, own in enumerate(weighed):
        own &= (members == member).any(axis=1)[:, None]
    D = model.n_features
    along = [own[:, order] for own, order in zip(weighed, orders, strict=True)]
    limits = _limits(np.concatenate(along), marginal)
    if model.network.any_evidence:  # to which the codes of later stages would be known
        limits = np.unique(limits[[0, -1]])
    found = []
    for start, end in pairwise(limits):
        wanted = np.zeros((len(orders), D), bool)
        for member, order in enumerate(orders):
            wanted[member, order[start:end]] = True
        found.append(wanted)
    return found


def _limits(weighed: Array, marginal: bool) -> Array:
    """Return where stages begin, and the end, by what some rows (.., D) weigh along the order.

    Stages end after equal shares of the features that some row weighs.
    """
    n_weighed = int(weighed.sum(axis=1).max(initial=0))
    if n_weighed == 0:
        return np.array([0] if marginal else [0, weighed.shape[1]])
    some = np.asarray(weighed.any(axis=0))
    done = np.cumsum(some)
    n_stages = min(_STAGES, n_weighed)
    ends = [int(np.searchsorted(done, done[-1] * k / n_stages)) + 1 for k in range(1, n_stages)]
    last = int(np.flatnonzero(some)[-1]) + 1 if marginal else len(some)
    return np.unique([0, *ends, last])


def advance(
    model: Model,
    state: Walkers,
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
    codes, weight = state.codes[rows], np.zeros(len(flags))
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
    if not isinstance(rows, slice):  # of which the codes are a view
        state.codes[rows] = codes
    log_jacobian = model.conditional.log_jacobian(codes)
    if log_jacobian is not None:
        weight += np.where(flags == WEIGHTED, log_jacobian, 0).sum(axis=1)
    state.log_weight[rows] += weight


def _resample(state: Walkers, rng: np.random.Generator) -> None:
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


def only_last(model: Model, held: Array, bounded: Array) -> Array:
    """Return which rows (n,) have one bounded cell, and nothing free before it and what is held."""
    found: Array = bounded.sum(axis=1) == 1
    for member in range(model.network.n_members):
        found &= (leading_evidence(model, held, member, bounded) == held).all(axis=1)
        if not model.network.any_evidence:
            known = held | bounded
            found &= (leading_evidence(model, known, member) == known).all(axis=1)
    return found


def is_exact(model: Model, held: Array, bounds: Bounds | None = None) -> bool:
    """Return whether all that is held has nothing free before it, in the orders of all members.

    With bounds, whether each row also has one bounded cell after it, of one feature.
    """
    members = range(model.network.n_members)
    if bounds is None:
        return all((leading_evidence(model, held, member) == held).all() for member in members)
    one_feature = np.diff(model.conditional.column_offsets)[np.argsort(model.order)] == 1
    return bool(
        only_last(model, held, bounds.bounded).all()
        and one_feature[bounds.bounded.any(axis=0)].all()
    )


def particle_blocks(rows: Array, n_numbers: int, n_particles: int) -> Iterator[Array]:
    """Yield rows in blocks whose particles fit into work space; n_numbers: of one particle."""
    size = max(1, block_rows(n_numbers) // n_particles)
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
