"""Questions about one column given the others: p(x_c | x_known) in one form for all models.

The answer is a set of values of the column with weights, whose sum is p(x_known). A column of
levels has each of them, scored with the row around it. Another column has points drawn from
p(x_c | those before it), weighed by the probability of those after it: self-normalised importance
sampling, exact in the limit of many points. Other gaps of a row are filled by particles.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp, ndtri

from fastar._core.limits import check_memory
from fastar._core.parameters import Array
from fastar._data.table import Table
from fastar._engine.completions import Part, propose
from fastar._engine.level_scores import score_levels
from fastar._engine.marginals import marginals
from fastar._engine.model import Model
from fastar._engine.particles import (
    Particles,
    Walkers,
    advance,
    effective_sample_size,
    normalise_log_weights,
    particle_blocks,
)
from fastar._engine.sampling import blocks_by_member
from fastar._engine.scores import coded_blocks
from fastar._kernels import _cpu
from fastar._kernels._conditionals import OBSERVED, SAMPLED, WEIGHTED


@dataclass
class Answer:
    """Values of a column, (n, G) or (G,) for all rows, and log p(value, x_known) (n, G)."""

    values: Array
    log_joint: Array
    ess: Array
    """Effective numbers (n,) of points or particles; the number asked for where exact."""

    @property
    def share(self) -> Array:
        """The probabilities (n, G) of the values given x_known; equal where nothing is possible."""
        return normalise_log_weights(self.log_joint)[0]


def levels_of(parts: list[Part], column: int) -> Array | None:
    """Return all values that a column can have in some part; None where they are too many."""
    found = [part.levels(column) for part in parts]
    known = [each for each in found if each is not None]
    return np.unique(np.concatenate(known)) if len(known) == len(found) else None


def ask(
    parts: list[Part],
    values: Array,
    missing: Array,
    column: int,
    n_particles: int,
    rng: np.random.Generator,
    n_threads: int,
) -> Answer:
    """Return the values of a column, with weights, given the cells (n, C) that are not missing.

    The column is missing everywhere, and `values` has placeholders in it.
    """
    levels = levels_of(parts, column)
    width = n_particles if levels is None else len(levels)
    check_memory("X", f"{len(values)} rows", 16 * len(parts) * len(values) * width)
    answers = [
        _of_part(part, values, missing, column, levels, n_particles, rng, n_threads)
        for part in parts
    ]
    if levels is not None:
        joint = np.logaddexp.reduce([each.log_joint for each in answers], axis=0)
        weight = np.stack([_log_sum(each.log_joint) for each in answers], axis=1)
        ess = (normalise_log_weights(weight)[0] * np.stack([a.ess for a in answers], 1)).sum(axis=1)
        return Answer(levels, joint, ess)
    joint = np.concatenate([each.log_joint for each in answers], axis=1)
    ess = effective_sample_size(normalise_log_weights(joint)[0])
    return Answer(np.concatenate([each.values for each in answers], axis=1), joint, ess)


def _of_part(
    part: Part,
    values: Array,
    missing: Array,
    column: int,
    levels: Array | None,
    n_particles: int,
    rng: np.random.Generator,
    n_threads: int,
) -> Answer:
    """Return the answer of one part."""
    n, model = len(values), part.model
    others = np.arange(missing.shape[1]) != column
    gapped = (missing & others).sum(axis=1) > 0
    if model.network.any_evidence:  # gaps stay unknown: no sample is needed
        gapped[:] = False if part.bounds is None else part.bounds.bounded.any(axis=1)
    number = n_particles * (model.network.n_members if levels is None else 1)
    width = number if levels is None else len(levels)
    values_at = np.empty((n, width)) if levels is None else levels
    answer = Answer(values_at, np.empty((n, width)), np.full(n, float(n_particles)))
    whole, incomplete = np.flatnonzero(~gapped), np.flatnonzero(gapped)
    if levels is not None:
        own = missing[whole] & others
        answer.log_joint[whole] = score_levels(
            part.take(whole), values[whole], own, column, levels, n_threads
        )
    else:
        for rows in particle_blocks(whole, model.n_features, number):
            own = missing[rows] & others
            drawn = points(part.take(rows), values[rows], own, column, n_particles, n_threads)
            _take_points(answer, drawn, part, column, rows)
    per_row = model.n_features * (1 if levels is None else 2)
    for rows in particle_blocks(incomplete, per_row, number):
        here, how = part.take(rows), {"n_particles": number, "rng": rng, "n_threads": n_threads}
        found = here.particles(values[rows], missing[rows], there=part.there(column), **how)
        if levels is None:
            _take_points(answer, found, part, column, rows)
            continue
        completed = _completed(found, values[rows], missing[rows])
        answer.log_joint[rows] = part.log_weight + _level_joint(
            here, found, completed, column, levels, n_threads
        )
        share, _ = normalise_log_weights(found.log_weights())
        answer.ess[rows] = effective_sample_size(share)
    return answer


def _level_joint(
    part: Part, found: Particles, completed: Array, column: int, levels: Array, n_threads: int
) -> Array:
    """Return log p(level, x_known) (n, K) from particles: completed rows (n N, C) and weights.

    A particle's own level gives way to the probabilities of all levels given its other cells.
    """
    number, none = found.number, np.zeros(completed.shape, bool)
    scores = score_levels(part.repeat(number), completed, none, column, levels, n_threads)
    scores -= np.where(np.isfinite(top := _log_sum(scores)), top, 0)[:, None]
    weighed = scores.reshape(-1, number, len(levels)) + found.log_weights()[:, :, None]
    joint: Array = logsumexp(weighed, axis=1) - np.log(number)
    return joint


def _log_sum(scores: Array) -> Array:
    total: Array = np.logaddexp.reduce(scores, axis=1)
    return total


def _completed(found: Particles, values: Array, missing: Array) -> Array:
    """Return rows (n N, C) that hold values where these are not missing."""
    held, given = (np.repeat(each, found.number, axis=0) for each in (~missing, values))
    return np.where(held, given, found.all_values())


def _take_points(answer: Answer, found: Particles, part: Part, column: int, rows: Array) -> None:
    """Write particles' values of a column, and their weights, as the answer about some rows."""
    answer.values[rows] = found.all_values()[:, column].reshape(len(rows), -1)
    log_weights = found.log_weights()
    answer.log_joint[rows] = log_weights - np.log(found.number) + part.log_weight


def points(
    part: Part,
    values: Array,
    unknown: Array,
    column: int,
    n_points: int,
    n_threads: int,
    *,
    leading: bool = False,
) -> Walkers:
    """Return particles that hold all cells but one column, and n_points draws of that.

    Each member draws n_points, from the same evenly spread noise for every row, so that the answer
    about a row does not depend on the rows beside it. unknown: as in `score_levels`. leading:
    whether only the cells before the column are known, and nothing is weighed.
    """
    model = part.model
    M, n, D = model.network.n_members, len(values), model.n_features
    number, features = M * n_points, part.features(column)
    codes = model.codes(values[:, model.order]).copy()
    codes[model.conditional.by_feature(unknown[:, model.order])] = np.nan
    flags = np.full((n * number, D), OBSERVED if leading else WEIGHTED, np.uint8)
    flags[:, features] = OBSERVED if leading else part.there(column)[features]
    flags[:, features][:, ~model.conditional.marks[features]] = SAMPLED
    codes[:, features] = 0
    state = Walkers(
        model,
        number,
        np.repeat(codes, number, axis=0),
        np.zeros(n * number),
        None,
        flags,
        np.tile(np.repeat(np.arange(M), n_points), n),
        part.repeat(number).context,
    )
    own = np.full((number, D, model.conditional.kernel.n_noise), 0.5, model.dtype)
    own[:, features] = np.tile(even_noise(model, features, n_points), (M, 1, 1))
    noise = _cpu.aligned_empty((n * number, *own.shape[1:]), model.dtype)
    noise.reshape(n, *own.shape)[...] = own
    capsule = model.conditional.kernel.draw(model.dtype, 1.0)
    everywhere = np.ones((M, D), bool)
    for weights, rows, _ in blocks_by_member(model, state.members, n_threads):
        advance(model, state, weights, rows, everywhere, capsule, noise, n_threads)
    return state


def _irrational(n_axes: int) -> float:
    """Return 1 / g, where g^(n + 1) = g + 1: no sum of whole multiples of its n powers is whole.

    As g^(n + 1) - g - 1 is irreducible [E. S. Selmer, Math. Scand. 4, 1956].
    """
    g = 1.5
    for _ in range(50):  # each step takes at least two thirds of the error
        g = (1 + g) ** (1 / (n_axes + 1))
    return 1 / g


def even_noise(model: Model, features: slice, n_points: int) -> Array:
    """Return noise (n_points, features, m) that fills the cube evenly, without chance."""
    normal = model.conditional.normal_noise()[features]
    j = np.arange(n_points)
    axes = np.arange(normal.size).reshape(normal.shape)
    # the first axis in equal steps; the others are a Kronecker sequence
    ratio = _irrational(max(normal.size - 1, 1))
    spread = (0.5 + j[:, None, None] * ratio ** np.maximum(axes, 1)) % 1
    uniform = np.where(axes == 0, ((j + 0.5) / n_points)[:, None, None], spread)
    uniform = np.clip(uniform, 1e-6, 1 - 1e-6)
    return np.where(normal, ndtri(uniform), uniform).astype(model.dtype)


def log_probabilities(
    parts: list[Part],
    values: Array,
    missing: Array,
    n_particles: int,
    rng: np.random.Generator,
    n_threads: int,
) -> tuple[Array, Array]:
    """Return log p (n,) of all that is known of rows, and effective sample sizes (n,)."""
    found = [
        marginals(
            part.model, values, missing, n_particles, rng, n_threads, part.context, part.bounds
        )
        for part in parts
    ]
    log_p = np.stack(
        [part.log_weight + own for part, (own, _) in zip(parts, found, strict=True)], axis=1
    )
    ess = (normalise_log_weights(log_p)[0] * np.stack([own for _, own in found], axis=1)).sum(
        axis=1
    )
    total: Array = np.logaddexp.reduce(log_p, axis=1)
    return total, ess


def explain(
    parts: list[Part],
    values: Array,
    missing: Array,
    n_particles: int,
    rng: np.random.Generator,
    n_threads: int,
) -> Array:
    """Return log p(x_c | all other known cells) (n, C), NaN where a cell is missing."""
    scores = np.full(values.shape, np.nan)
    values, missing, alien = without_impossible(parts, values, missing, n_threads)
    total, _ = log_probabilities(parts, values, missing, n_particles, rng, n_threads)
    gapped = missing.sum(axis=1) > 0
    for column in range(values.shape[1]):
        rows = np.flatnonzero(~missing[:, column])
        free = missing[rows].copy()
        free[:, column] = True
        own = [part.take(rows) for part in parts]
        answer = ask(own, values[rows], free, column, n_particles, rng, n_threads)
        without = _log_sum(answer.log_joint)
        if answer.values.ndim == 2:
            scores[rows, column] = total[rows] - without
            continue
        at = answer.values == values[rows, column][:, None]
        # a value that is no level has a probability beside those of the levels
        unlisted = ~at.any(axis=1)
        log_p = np.where(at, answer.log_joint, -np.inf).max(axis=1)
        exact = unlisted | ~gapped[rows]
        log_p = np.where(exact, total[rows], log_p)
        without = np.where(unlisted, np.logaddexp(without, total[rows]), without)
        possible = np.isfinite(log_p)
        scores[rows, column] = np.where(possible, log_p - np.where(possible, without, 0), -np.inf)
    scores[alien] = -np.inf
    return scores


def without_impossible(
    parts: list[Part], values: Array, missing: Array, n_threads: int
) -> tuple[Array, Array, Array]:
    """Return (values, missing) without known values that no part gives a probability, and where.

    Nothing is possible beside one of these, so questions about other cells take it as unknown.
    """
    found = ~missing
    for model in (part.model for part in parts):
        conditional = model.conditional
        if not conditional.takes_unknown().any():
            found[:] = False
            continue
        for where, codes, _ in coded_blocks(model, Table(values, model.order)):
            # a value is impossible whatever the raw outputs are
            raw = np.zeros((len(codes), int(conditional.output_offsets[-1])), codes.dtype)
            logp, _ = conditional.log_prob(raw, codes, n_threads)
            found[where, model.order] &= model.by_column(logp) == -np.inf
    return np.where(found, parts[0].model.placeholder(), values), missing | found, found


def suggestions(
    parts: list[Part],
    values: Array,
    missing: Array,
    k: int,
    n_particles: int,
    rng: np.random.Generator,
    n_threads: int,
) -> Iterator[tuple[Array, Array]]:
    """Yield for each column k values (n, k) given all other known cells, and their log p (n, k).

    These are the k most probable levels, or k quantiles of a column of numbers, whose log p is NaN.
    """
    values, missing, _ = without_impossible(parts, values, missing, n_threads)
    for column in range(values.shape[1]):
        free = missing.copy()
        free[:, column] = True
        answer = ask(parts, values, free, column, n_particles, rng, n_threads)
        if answer.values.ndim == 2:
            found = [quantile(answer, (i + 0.5) / k) for i in range(k)]
            yield np.stack(found, axis=1), np.full((len(values), k), np.nan)
            continue
        share = answer.share
        best = np.argsort(-share, axis=1, kind="stable")[:, :k]
        with np.errstate(divide="ignore"):
            yield answer.values[best], np.log(np.take_along_axis(share, best, axis=1))


def draws(
    parts: list[Part],
    values: Array,
    missing: Array,
    n_draws: int,
    rng: np.random.Generator,
    n_threads: int,
) -> Iterator[tuple[Array, Array, Array]]:
    """Yield (rows, n_draws or more completions of each (m, N, C), and their shares (m, N))."""
    number = -(-n_draws // len(parts))
    for rows in particle_blocks(np.arange(len(values)), values.shape[1], n_draws):
        found, log_weight = propose(
            parts, values, missing, rows, number, rng, n_threads, gapless=True
        )
        share, _ = normalise_log_weights(log_weight)
        drawn = [_completed(each, values[rows], missing[rows]) for each in found]
        by_row = [each.reshape(len(rows), number, -1) for each in drawn]
        yield rows, np.concatenate(by_row, axis=1), share


# ---- what an answer says


def mean(answer: Answer) -> Array:
    """Return the mean (n,) of the column."""
    found: Array = (answer.share * answer.values).sum(axis=1)
    return found


def quantile(answer: Answer, probability: float) -> Array:
    """Return the least value (n,) at which the CDF is at least `probability`."""
    values = np.broadcast_to(answer.values, answer.log_joint.shape)
    order = np.argsort(values, axis=1, kind="stable")
    below = np.cumsum(np.take_along_axis(answer.share, order, axis=1), axis=1)
    # sums of shares are 1 but for rounding
    first = np.minimum((below < probability * (1 - 1e-12)).sum(axis=1), values.shape[1] - 1)
    found: Array = np.take_along_axis(values, np.take_along_axis(order, first[:, None], 1), 1)[:, 0]
    return found


def mode(answer: Answer) -> Array:
    """Return the most probable level (n,)."""
    found: Array = answer.values[answer.log_joint.argmax(axis=1)]
    return found
