"""Scores and conditionals of a model, block by block."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from fastar._core.parameters import Array
from fastar._data.table import Examples
from fastar._engine.model import Composition

_BLOCK_OUTPUTS, _LEAST_ROWS = 1 << 24, 32
"""Raw outputs of a block of scoring, unless it has no more rows than so many."""


def coded_blocks(model: Composition, table: Examples) -> Iterator[tuple[slice, Any, Array | None]]:
    """Yield (rows, codes, context) of a table whose values lie in the support."""
    rows = max(_LEAST_ROWS, _BLOCK_OUTPUTS // model.network.n_outputs)
    for where, block in table.blocks(rows):
        model.check(block, where.start)
        yield where, model.codes(block), table.context(where)


def log_probs(
    model: Composition, table: Examples, n_threads: int, member: int = 0
) -> Iterator[tuple[slice, Array, Array]]:
    """Yield (rows, log p(x_d | x_<d) (m, D), row sums (m,)) in model order, of one member."""
    weights = model.network.materialise_weights(model.params, n_threads, member)
    for where, codes, context in coded_blocks(model, table):
        yield where, *model.log_prob(weights, codes, n_threads, context)


def score_rows(model: Composition, table: Examples, n_threads: int) -> Array:
    """Return log p(x) (n,), the log of the mean of p(x) over the members."""
    scores, M = np.full(len(table), -np.inf), model.network.n_members
    for member in range(M):
        for where, _, total in log_probs(model, table, n_threads, member):
            scores[where] = np.logaddexp(scores[where], total) if M > 1 else total
    return scores - np.log(M) if M > 1 else scores


def total_log_prob(model: Composition, table: Examples, weight: Array, n_threads: int) -> float:
    """Return sum over rows of weight * log p(x); estimated for a network of all orders."""
    if model.network.any_evidence:
        return _mean_over_orders(model, table, weight, n_threads)
    if model.network.n_members > 1:
        return float((weight * score_rows(model, table, n_threads)).sum())
    return float(
        sum((weight[where] * total).sum() for where, _, total in log_probs(model, table, n_threads))
    )


_ESTIMATES = 4
"""Times that each row is scored given a random part of it, where an order would cost D passes."""


def _mean_over_orders(model: Composition, table: Examples, weight: Array, n_threads: int) -> float:
    network, total = model.network, 0.0
    weights = network.materialise_weights(model.params, n_threads)
    for where, codes, context in coded_blocks(model, table):
        for k in range(_ESTIMATES):
            # the same parts each time, so that scores of one training can be compared
            rng = np.random.default_rng([where.start, k])
            raw, cache = network.forward(weights, codes, n_threads, context=context, rng=rng)
            targets, factor = network.loss_targets(cache, codes)
            assert factor is not None
            _, logp = model.conditional.log_prob(raw, targets, n_threads)
            total += float((weight[where] * factor * logp).sum()) / _ESTIMATES
    return total


def score_features(model: Composition, table: Examples, n_threads: int) -> Array:
    """Return log p(x_c | those before it) (n, C) in the order of the columns."""
    scores = np.empty((len(table), model.n_columns))
    if model.network.n_members > 1:
        # log p(x_1 .. x_d) - log p(x_1 .. x_d-1), each a mean over members
        for _, where, _, prefixes in _blocks_of_members(model, table, n_threads):
            scores[where, model.order] = np.diff(np.logaddexp.reduce(prefixes, axis=0), axis=1)
        return scores
    for where, logp, _ in log_probs(model, table, n_threads):
        scores[where, model.order] = model.by_column(logp)
    return scores


def _blocks_of_members(
    model: Composition, table: Examples, n_threads: int
) -> Iterator[tuple[Any, slice, list[Array], Array]]:
    """Yield (codes, rows, members' raw outputs, and their log p(x_1 .. x_c) (M, m, C + 1))."""
    network, conditional = model.network, model.conditional
    if network.order_agnostic:
        raise ValueError(
            "A mixture over orders has no p(x_d | those before it): with order_agnostic=True only "
            "whole rows can be scored."
        )
    weights = [
        network.materialise_weights(model.params, n_threads, member)
        for member in range(network.n_members)
    ]
    for where, codes, context in coded_blocks(model, table):
        raws = [network.forward(each, codes, n_threads, context=context)[0] for each in weights]
        prefixes = np.zeros((len(raws), len(codes), model.n_columns + 1))
        for raw, prefix in zip(raws, prefixes, strict=True):
            logp, _ = conditional.log_prob(raw, codes, n_threads)
            np.cumsum(model.by_column(logp), axis=1, out=prefix[:, 1:])
        yield codes, where, raws, prefixes


def describe(model: Composition, table: Examples, n_threads: int) -> Any:
    """Return what each p(x_d | those before it) is, in the order of the columns.

    A list with an entry for each column if the columns have conditionals of their own.
    """
    places = np.argsort(model.order)
    natural = np.array_equal(places, np.arange(len(places)))
    return _joined(list(_descriptions(model, table, n_threads)), None if natural else places)


def _joined(parts: list[Any], places: Array | None) -> Any:
    """Return what was said of blocks of rows in one.

    places: of the columns in lists or second axes; None: they stay where they are.
    """
    if isinstance(parts[0], dict):
        return {key: _joined([part[key] for part in parts], places) for key in parts[0]}
    if isinstance(parts[0], list):
        columns = [_joined(list(each), None) for each in zip(*parts, strict=True)]
        return columns if places is None else [columns[place] for place in places]
    whole = np.concatenate(parts)
    return whole if places is None else whole[:, places]


def _descriptions(model: Composition, table: Examples, n_threads: int) -> Iterator[Any]:
    """Yield what the conditional says of each block, in model order."""
    conditional = model.conditional
    if model.network.n_members > 1:
        for codes, _, raws, prefixes in _blocks_of_members(model, table, n_threads):
            before = prefixes[:, :, :-1]
            share = np.exp(before - np.logaddexp.reduce(before, axis=0))
            yield average_conditionals(
                [conditional.distribution_params(raw, codes) for raw in raws], share
            )
        return
    weights = model.network.materialise_weights(model.params, n_threads)
    for _, codes, context in coded_blocks(model, table):
        raw = model.raw(weights, codes, n_threads, context)
        yield conditional.distribution_params(raw, codes)


def average_conditionals(found: list[Any], share: Array) -> Any:
    """Return a mixture's conditional from those of its members. share (M, n, D).

    For densities: moments and CDFs, which are averages over the members; for columns of several
    levels, what does not depend on another one: their first digit, and the value's probability.
    """
    if isinstance(found[0], list):
        columns = zip(*found, np.moveaxis(share, 2, 0), strict=True)
        return [average_conditionals(list(each), own) for *each, own in columns]
    if not isinstance(found[0], dict):
        return _mean(found, share)
    if "probability" in found[0]:
        kept = [key for key in ("first", "probability") if key in found[0]]
        return {key: _mean([each[key] for each in found], share) for key in kept}
    if "present" in found[0]:
        missing = np.stack([each["missing"] for each in found])
        there = share * (1 - missing)
        there = there / np.maximum(there.sum(axis=0), np.finfo(float).tiny)
        present = average_conditionals([each["present"] for each in found], there)
        return {"missing": (share * missing).sum(axis=0), "present": present}
    mean = _mean([each["mean"] for each in found], share)
    said = {"mean": mean}
    if "variance" in found[0]:
        second = [each["variance"] + (each["mean"] - mean) ** 2 for each in found]
        said["variance"] = _mean(second, share)
    return said | {"cdf": _mean([each["cdf"] for each in found], share)}


def _mean(found: list[Array], share: Array) -> Array:
    mean: Array = np.sum(
        [
            w.reshape(w.shape + (1,) * (each.ndim - w.ndim)) * each
            for w, each in zip(share, found, strict=True)
        ],
        axis=0,
    )
    return mean
