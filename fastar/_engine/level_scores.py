"""Rows scored with one column at each of its levels."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from fastar._core.parameters import Array
from fastar._data.table import Table
from fastar._engine.completions import Part
from fastar._engine.model import Model
from fastar._engine.sampling import parts_of_walk
from fastar._engine.scores import coded_blocks


def score_levels(
    part: Part, values: Array, unknown: Array, column: int, levels: Array, n_threads: int
) -> Array:
    """Return log weight + log p(x) (n, K) of rows with the column at each of K levels.

    Each member takes K forward passes. They begin at the column, after one pass of the features
    before it, where the network can begin there. Rows are encoded once. unknown (n, C): cells that
    stay unknown to a network of all orders. A level that the part does not know is impossible.
    """
    model, conditional = part.model, part.model.conditional
    place, features = part.place(column), part.features(column)
    rows = np.repeat(model.placeholder().astype(conditional.value_dtype), len(levels), axis=0)
    rows[:, column] = levels
    possible = np.flatnonzero(~conditional.unsupported(rows[:, model.order])[:, place])
    at_levels = model.codes(rows[possible][:, model.order])[:, features].copy()
    scores, M = np.full((len(values), len(levels)), -np.inf), model.network.n_members
    free = conditional.by_feature(unknown[:, model.order]) if unknown.any() else None
    table = Table(values, model.order, context=part.context)
    for member in range(M):
        weights = model.network.materialise_weights(model.params, n_threads, member)
        for where, block, context in coded_blocks(model, table):
            codes = block.copy()
            if free is not None:
                codes[free[where]] = np.nan
            rescored = _rescored(model, weights, codes, features, at_levels, context, n_threads)
            for k, total in zip(possible, rescored, strict=True):
                scores[where, k] = np.logaddexp(scores[where, k], total) if M > 1 else total
    scores += part.log_weight - np.log(M)
    return scores


def _branched(
    model: Model,
    weights: object,
    codes: Array,
    feature: int,
    levels: Array,
    context: Array | None,
    n_threads: int,
) -> Array | None:
    """Return the result of `Network.score_levels`, block of rows by block; None if it has none."""
    draw, network = model.conditional.kernel.draw(model.dtype, 1.0), model.network
    found = []
    for rows in parts_of_walk(len(codes), network.row_work * len(levels)):
        own = None if context is None else context[rows]
        scores = network.score_levels(
            weights,
            draw,
            codes[rows],
            feature,
            np.ascontiguousarray(levels),
            n_threads,
            context=own,
        )
        if scores is None:
            return None
        found.append(scores)
    return np.concatenate(found)


def _rescored(
    model: Model,
    weights: object,
    codes: Array,
    features: slice,
    at_levels: Array,
    context: Array | None,
    n_threads: int,
) -> Iterator[Array]:
    """Yield log p (n,) of one member with the features of a column at each level. Changes codes."""
    start, D = features.start, model.n_features
    if not len(at_levels):
        return
    codes[:, features] = at_levels[0]
    if features.stop == start + 1:
        scores = _branched(model, weights, codes, start, at_levels[:, 0], context, n_threads)
        if scores is not None:
            jacobian = model.conditional.log_jacobian(codes)
            yield from (scores if jacobian is None else scores + jacobian.sum(axis=1)[:, None]).T
            return
    begun = None
    # from the column on, K passes are (D - start) / D of whole ones; one more finds what is before
    if len(at_levels) * start > D:
        begun = model.network.forward_from(weights, codes, start, n_threads, context=context)
    if begun is not None:
        yield from _from_feature(model, *begun, codes, features, at_levels, n_threads)
        return
    for code in at_levels:
        codes[:, features] = code
        yield model.log_prob(weights, codes, n_threads, context)[1]


def _from_feature(
    model: Model,
    raw: Array,
    tail: Callable[[Array], Array],
    codes: Array,
    features: slice,
    at_levels: Array,
    n_threads: int,
) -> Iterator[Array]:
    """Yield as `_rescored` does. raw, tail: the results of `Network.forward_from`."""
    conditional, start = model.conditional, features.start
    logp, _ = conditional.log_prob(raw, codes, n_threads)
    before = logp[:, :start].sum(axis=1, dtype=np.float64)
    first, end = conditional.output_offsets[start : start + 2]
    kernel = conditional.kernel_from(start)
    later = np.ascontiguousarray(codes[:, start:])
    jacobian = conditional.log_jacobian(codes)
    if jacobian is not None:
        before += np.broadcast_to(jacobian, codes.shape)[:, start:].sum(axis=1)
    for code in at_levels:
        later[:, : features.stop - start] = code
        own = tail(later)
        own[:, : end - first] = raw[:, first:end]
        yield before + kernel.log_prob(own, later, n_threads)[1]
