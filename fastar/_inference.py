"""Scores, conditionals, samples and imputations of a model, block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fastar._kernels import _cpu
from fastar._model import Model
from fastar._parameters import Array
from fastar._table import BLOCK_ROWS, Table, block_rows
from fastar._validation import check_support


def _coded_blocks(model: Model, table: Table) -> Iterator[tuple[slice, Array]]:
    """Yield (rows, codes) of a table whose values lie in the support."""
    for where, block in table.blocks():
        check_support(model.conditional, block, model.order, where.start)
        yield where, model.codes(block)


def _log_probs(
    model: Model, table: Table, n_threads: int, member: int = 0
) -> Iterator[tuple[slice, Array, Array]]:
    """Yield (rows, log p(x_d | x_<d) (m, D), row sums (m,)) in model order, of one member."""
    weights = model.network.prepare(model.params, n_threads, member)
    for where, codes in _coded_blocks(model, table):
        raw, _ = model.network.forward(weights, codes, n_threads)
        yield where, *model.conditional.log_prob(raw, codes, n_threads)


def score_rows(model: Model, table: Table, n_threads: int) -> Array:
    """Return log p(x) (n,), the log of the mean of p(x) over the members."""
    scores, M = np.full(len(table), -np.inf), model.network.n_members
    for member in range(M):
        for where, _, total in _log_probs(model, table, n_threads, member):
            scores[where] = np.logaddexp(scores[where], total) if M > 1 else total
    return scores - np.log(M) if M > 1 else scores


def total_log_prob(model: Model, table: Table, weight: Array, n_threads: int) -> float:
    """Return sum over rows of weight * log p(x)."""
    if model.network.n_members > 1:
        return float((weight * score_rows(model, table, n_threads)).sum())
    return float(
        sum(
            (weight[where] * total).sum() for where, _, total in _log_probs(model, table, n_threads)
        )
    )


def score_features(model: Model, table: Table, n_threads: int) -> Array:
    """Return log p(x_d | those before it) (n, D) in the order of the columns."""
    scores = np.empty((len(table), model.n_features))
    if model.network.n_members > 1:
        # log p(x_1 .. x_d) - log p(x_1 .. x_d-1), each a mean over members
        for _, where, _, prefixes in _blocks_of_members(model, table, n_threads):
            scores[where, model.order] = np.diff(np.logaddexp.reduce(prefixes, axis=0), axis=1)
        return scores
    for where, logp, _ in _log_probs(model, table, n_threads):
        scores[where, model.order] = logp
    return scores


def score_drawn(model: Model, drawn: Array, members: Array, n_threads: int) -> Array:
    """Return log p(x_d | those before it) (n, D), each row's by the member that drew it."""
    scores = np.empty(drawn.shape)
    for member in np.unique(members):
        rows = np.flatnonzero(members == member)
        table = Table(drawn, model.order, rows)
        for where, logp, _ in _log_probs(model, table, n_threads, member):
            scores[rows[where, None], model.order] = logp
    return scores


def _blocks_of_members(
    model: Model, table: Table, n_threads: int
) -> Iterator[tuple[Array, slice, list[Array], Array]]:
    """Yield (codes, rows, members' raw outputs, and their log p(x_1 .. x_d) (M, m, D + 1))."""
    network, conditional = model.network, model.conditional
    if network.order_agnostic:
        raise ValueError(
            "A mixture over orders has no p(x_d | those before it): with order_agnostic=True only "
            "whole rows can be scored."
        )
    weights = [
        network.prepare(model.params, n_threads, member) for member in range(network.n_members)
    ]
    for where, codes in _coded_blocks(model, table):
        raws = [network.forward(each, codes, n_threads)[0] for each in weights]
        prefixes = np.zeros((len(raws), len(codes), model.n_features + 1))
        for raw, prefix in zip(raws, prefixes, strict=True):
            logp, _ = conditional.log_prob(raw, codes, n_threads)
            np.cumsum(logp, axis=1, out=prefix[:, 1:])
        yield codes, where, raws, prefixes


def describe(model: Model, table: Table, n_threads: int) -> Any:
    """Return what each p(x_d | those before it) is, in the order of the columns.

    A list with an entry for each column if the columns have conditionals of their own.
    """
    parts = list(_descriptions(model, table, n_threads))
    if not isinstance(parts[0], list):
        return _joined(parts, model.to_columns)
    by_feature = [_joined(list(each), lambda values: values) for each in zip(*parts, strict=True)]
    return [by_feature[place] for place in np.argsort(model.order)]


def _joined(parts: list[Any], arrange: Callable[[Array], Array]) -> Any:
    """Return what was said of blocks of rows in one."""
    if isinstance(parts[0], dict):
        return {key: arrange(np.concatenate([part[key] for part in parts])) for key in parts[0]}
    return arrange(np.concatenate(parts))


def _descriptions(model: Model, table: Table, n_threads: int) -> Iterator[Any]:
    """Yield what the conditional says of each block, in model order."""
    conditional = model.conditional
    if model.network.n_members > 1:
        for codes, _, raws, prefixes in _blocks_of_members(model, table, n_threads):
            before = prefixes[:, :, :-1]
            share = np.exp(before - np.logaddexp.reduce(before, axis=0))
            yield _averaged([conditional.describe(raw, codes) for raw in raws], share)
        return
    weights = model.network.prepare(model.params, n_threads)
    for _, codes in _coded_blocks(model, table):
        yield conditional.describe(model.network.forward(weights, codes, n_threads)[0], codes)


def _averaged(found: list[Any], share: Array) -> Any:
    """Return what a mixture's conditional is, of those of its members. share (M, n, D).

    Of densities: moments and CDFs, which are averages over the members.
    """
    if isinstance(found[0], list):
        columns = zip(*found, np.moveaxis(share, 2, 0), strict=True)
        return [_averaged(list(each), own) for *each, own in columns]
    if not isinstance(found[0], dict):
        return _mean(found, share)
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


def sample(
    model: Model,
    n: int,
    evidence: Array | None,
    held: Array | None,
    temperature: float,
    rng: np.random.Generator,
    n_threads: int,
    members: Array | None = None,
) -> Array:
    """Return n values (n, D) in the order of the columns.

    evidence (1 or n, D), held (as evidence): values that stay, and where; in the order of the
    columns. members (n,): which of the networks that share the parameters draws each row; by
    default they are drawn, given what is held before all else in their orders.
    """
    conditional, network = model.conditional, model.network
    capsule = conditional.kernel.draw(model.dtype, temperature)
    kind = conditional.decode(np.zeros((1, model.n_features), model.dtype)).dtype
    values = np.empty((n, model.n_features), kind)
    if members is None and network.n_members > 1:
        if evidence is None or held is None:
            members = rng.integers(network.n_members, size=n)
        else:
            share, _ = _posterior(model, evidence, held, n_threads)
            members = _draw_members(np.broadcast_to(share, (network.n_members, n)), rng)
    for member in range(network.n_members):
        size = block_rows(model.n_features)
        mine = None if members is None else np.flatnonzero(members == member)
        weights = network.prepare(model.params, n_threads, member)
        for start in range(0, n if mine is None else len(mine), size):
            block: Any = slice(start, min(start + size, n))
            if mine is not None:
                block = mine[start : start + size]
            m = len(values[block])
            codes, is_held = _held_codes(model, evidence, held, block, m)
            noise = _noise(model, rng, m, n_threads)
            network.sample(weights, capsule, noise, is_held, codes, n_threads)
            values[block] = model.to_columns(conditional.decode(codes))
    if evidence is not None and held is not None:
        np.copyto(values, evidence, where=held, casting="unsafe")
    return values


def _leading(model: Model, held: Array, member: int) -> Array:
    """Return where (n, D) what is held has nothing free before it in the member's order."""
    order = model.order[model.network.member_order(member)]
    leading = np.empty_like(held)
    leading[:, order] = np.logical_and.accumulate(held[:, order], axis=1)
    return leading


def _posterior(model: Model, evidence: Array, held: Array, n_threads: int) -> tuple[Array, Array]:
    """Return the members' shares (M, n) given what is held before all else in their orders.

    And the logarithm (n,) of the mean over members of the probability that they give to that.
    """
    M = model.network.n_members
    joint = np.full((M, len(evidence)), -np.log(M))
    for member in range(M):
        leading = _leading(model, held, member)[:, model.order]
        if leading.any():
            table = Table(evidence, model.order)
            for where, logp, _ in _log_probs(model, table, n_threads, member):
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


def _noise(model: Model, rng: np.random.Generator, n: int, n_threads: int) -> Array:
    """Return the random numbers of n rows; every BLOCK_ROWS rows have a stream of their own."""
    shape = (n, model.n_features, model.conditional.kernel.n_noise)
    noise = _cpu.aligned_empty(shape, model.dtype)
    streams = rng.spawn(-(-n // BLOCK_ROWS))
    model.conditional.fill_noise(streams, noise, BLOCK_ROWS, n_threads)
    return noise


def _held_codes(
    model: Model, evidence: Array | None, held: Array | None, rows: Array | slice, m: int
) -> tuple[Array, Array | None]:
    """Return codes (m, D) with the evidence of these rows, and where it is, in model order."""
    codes = _cpu.aligned_empty((m, model.n_features), model.dtype)
    if evidence is None or held is None:
        return codes, None
    which = rows if len(evidence) > 1 else slice(None)
    is_held = np.ascontiguousarray(np.broadcast_to(held[which], codes.shape)[:, model.order])
    codes[:] = np.where(is_held, model.codes(evidence[which][:, model.order]), 0)
    return codes, is_held.view(np.uint8)


def particles(
    model: Model,
    X: Array,
    missing: Array,
    *,
    n_particles: int,
    rng: np.random.Generator,
    n_threads: int,
    temperature: float = 1.0,
) -> tuple[Array, Array]:
    """Return samples (n, n_particles, D) that hold X where not `missing`, and log-weights of them.

    A sample's weight is the product of p(x_d | those before it) over what it holds, by the member
    that drew it. Members are drawn given what is held before all else in their orders, so that of
    this each weight has the mean probability over them. The mean of a row's weights estimates the
    probability of what is held, without bias; where that comes first, all weights are equal to it.
    """
    # any value of the support may stand where nothing is held
    evidence = np.where(missing, _placeholder(model), X)
    held, M = np.repeat(~missing, n_particles, axis=0), model.network.n_members
    members, log_weight, weighed = np.zeros(len(held), np.intp), np.zeros(len(held)), held
    if M > 1:
        share, total = _posterior(model, evidence, ~missing, n_threads)
        members = _draw_members(np.repeat(share, n_particles, axis=1), rng)
        log_weight = np.repeat(total, n_particles)
        leading = np.stack([_leading(model, held, member) for member in range(M)])
        weighed = held & ~leading[members, np.arange(len(held))]
    evidence = np.repeat(evidence, n_particles, axis=0)
    drawn = sample(model, len(evidence), evidence, held, temperature, rng, n_threads, members)
    logp = score_drawn(model, drawn, members, n_threads)
    log_weight = log_weight + np.where(weighed, logp, 0).sum(axis=1)
    return drawn.reshape(len(X), n_particles, -1), log_weight.reshape(len(X), n_particles)


def impute(
    propose: Callable[[Array, Array], tuple[Array, Array]],
    X: Array,
    missing: Array,
    n_draws: int,
    n_particles: int,
    rng: np.random.Generator,
    n_models: int = 1,
) -> tuple[Array, Array]:
    """Return completions (n_draws, n, D) of X where `missing`, and effective sample sizes (n,).

    propose(X, missing): `particles` of each row, so many by each of `n_models`, and their weights.
    Completions are drawn from them by weight.
    """
    completed = np.repeat(X[None], n_draws, axis=0)
    ess = np.full(len(X), float(n_particles * n_models))
    incomplete = np.flatnonzero(missing.any(axis=1))
    per_block = max(1, BLOCK_ROWS // n_particles)
    for start in range(0, len(incomplete), per_block):
        rows = incomplete[start : start + per_block]
        drawn, log_weight = propose(X[rows], missing[rows])
        best = log_weight.max(axis=1, keepdims=True)
        # evidence that no sample makes possible tells the samples not apart
        weight = np.where(
            np.isfinite(best), np.exp(log_weight - np.where(np.isfinite(best), best, 0)), 1
        )
        weight /= weight.sum(axis=1, keepdims=True)
        ess[rows] = 1 / (weight**2).sum(axis=1)
        for i, row in enumerate(rows):
            chosen = rng.choice(drawn.shape[1], n_draws, p=weight[i])
            completed[:, row] = drawn[i, chosen]
    return completed, ess


def _placeholder(model: Model) -> Array:
    values: Array = model.to_columns(
        model.conditional.decode(np.zeros((1, model.n_features), model.dtype))
    )
    return values
