"""Samples, and the draws that particles share with them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from fastar._core.parameters import Array
from fastar._core.sharpness import Sharpness
from fastar._core.threads import check_stopped
from fastar._data.table import BLOCK_ROWS, Table, block_rows
from fastar._engine.model import Model
from fastar._engine.scores import log_probs
from fastar._kernels import _cpu
from fastar._kernels._conditionals import OBSERVED, SAMPLED


def sample(
    model: Model,
    n: int,
    evidence: Array | None,
    held: Array | None,
    sharpness: Sharpness,
    rng: np.random.Generator,
    n_threads: int,
    context: Array | None = None,
) -> Array:
    """Return n values (n, D) in the order of the columns.

    evidence (1 or n, D), held (as evidence): values that stay, and where; in the order of the
    columns. context (n, C). The member that draws a row is itself drawn, given the evidence that
    comes first in the members' orders.
    """
    conditional, network = model.conditional, model.network
    capsule = sharpness.draw(conditional.kernel, model.dtype)
    values: Array = np.empty((0, model.n_columns))
    members = np.zeros(n, np.intp)
    if network.n_members > 1:
        if evidence is None or held is None:
            members = rng.integers(network.n_members, size=n)
        else:
            share, _ = posterior_over_members(model, evidence, held, n_threads, context)
            members = draw_members(np.broadcast_to(share, (network.n_members, n)), rng)
    for weights, rows, m in blocks_by_member(model, members, n_threads):
        codes = _cpu.aligned_empty((m, model.n_features), model.dtype)
        flags, weight = None, None
        if evidence is not None and held is not None:
            which = rows if len(evidence) > 1 else slice(None)
            codes[:], flags = _held_codes(model, evidence[which], held[which], codes.shape)
            weight = np.zeros(m)
        noise = draw_noise(model, rng, m, n_threads)
        own = None if context is None else np.ascontiguousarray(context[rows])
        walk(model, weights, capsule, noise, flags, codes, n_threads, context=own, weight=weight)
        drawn = model.to_columns(conditional.decode(codes))
        if m == n:
            values = drawn
            break
        if len(values) == 0:
            values = np.empty((n, model.n_columns), drawn.dtype)
        values[rows] = drawn
    if evidence is not None and held is not None:
        return np.where(held, evidence, values)
    return values


_WALK_WORK, _LEAST_WALK = 1 << 31, 32
"""Multiply-adds between which Ctrl-C is looked for, unless they are of so few rows."""


def parts_of_walk(n_rows: int, row_work: int) -> Iterator[slice]:
    """Yield the rows that are walked together, and look for Ctrl-C before them."""
    size = max(_LEAST_WALK, _WALK_WORK // row_work)
    for start in range(0, n_rows, size):
        check_stopped()
        yield slice(start, start + size)


def walk(
    model: Model,
    weights: Any,
    capsule: object,
    noise: Array,
    flags: Array | None,
    codes: Array,
    n_threads: int,
    *,
    context: Array | None = None,
    weight: Array | None = None,
) -> None:
    """Do what `Network.sample` does, some of the rows after the others."""
    for rows in parts_of_walk(len(codes), model.network.row_work):
        of_rows = [None if each is None else each[rows] for each in (flags, context, weight)]
        own_flags, own_context, own_weight = of_rows
        model.network.sample(
            weights, capsule, noise[rows], own_flags, codes[rows], n_threads,
            context=own_context, weight=own_weight,
        )  # fmt: skip


def blocks_by_member(
    model: Model, members: Array, n_threads: int
) -> Iterator[tuple[Any, Array | slice, int]]:
    """Yield (a member's weights, rows that are its own, how many), block after block."""
    size = block_rows(model.n_features)
    for member in range(model.network.n_members):
        mine = np.flatnonzero(members == member)
        weights = (
            model.network.materialise_weights(model.params, n_threads, member)
            if len(mine)
            else None
        )
        for start in range(0, len(mine), size):
            end = min(start + size, len(mine))
            # of all rows a slice, which copies nothing
            whole = len(mine) == len(members)
            yield weights, slice(start, end) if whole else mine[start:end], end - start


def draw_noise(model: Model, rng: np.random.Generator, n: int, n_threads: int) -> Array:
    """Return the random numbers of n rows; every BLOCK_ROWS rows have a stream of their own."""
    shape = (n, model.n_features, model.conditional.kernel.n_noise)
    noise = _cpu.aligned_empty(shape, model.dtype)
    model.conditional.fill_noise(rng, noise, BLOCK_ROWS, n_threads)
    return noise


def _held_codes(
    model: Model, evidence: Array, held: Array, shape: tuple[int, ...]
) -> tuple[Array, Array]:
    """Return codes (1 or m, D) of evidence, in model order, and OBSERVED or SAMPLED (m, D)."""
    is_held = model.conditional.by_feature(held[:, model.order])
    codes = np.where(is_held, model.codes(evidence[:, model.order]), 0).astype(model.dtype)
    flags = np.where(is_held, np.uint8(OBSERVED), np.uint8(SAMPLED))
    return codes, np.ascontiguousarray(np.broadcast_to(flags, shape))


# ---- members: networks that share the parameters


def leading_evidence(model: Model, held: Array, member: int, bounded: Array | None = None) -> Array:
    """Return where (n, D) held values have no free one before them in the member's order.

    bounded (n, D): cells that a network of all orders, to which free ones may stay unknown, is to
    take before the held values that come after them.
    """
    if model.network.any_evidence and bounded is None:
        return held
    order = model.member_columns(member)
    leading = np.empty_like(held)
    if model.network.any_evidence and bounded is not None:
        leading[:, order] = ~np.logical_or.accumulate(bounded[:, order], axis=1)
        return leading & held
    leading[:, order] = np.logical_and.accumulate(held[:, order], axis=1)
    return leading


def posterior_over_members(
    model: Model,
    evidence: Array,
    held: Array,
    n_threads: int,
    context: Array | None,
    bounded: Array | None = None,
) -> tuple[Array, Array]:
    """Return the members' shares (M, n) given the evidence that comes first in their orders.

    Return also the logarithm (n,) of its mean probability over the members. bounded: as in
    `leading_evidence`.
    """
    n = max(len(evidence), 1 if context is None else len(context))
    held = np.broadcast_to(held, (n, held.shape[1]))
    M = model.network.n_members
    joint = np.full((M, n), -np.log(M))
    if model.network.any_evidence:  # neither free values nor placeholders are evidence
        evidence = np.where(held, evidence, np.nan)
    for member in range(M):
        leading = leading_evidence(model, held, member, bounded)[:, model.order]
        if leading.any():
            table = Table(np.broadcast_to(evidence, held.shape), model.order, context=context)
            for where, logp, _ in log_probs(model, table, n_threads, member):
                joint[member, where] += np.where(leading[where], model.by_column(logp), 0).sum(
                    axis=1
                )
    total = np.logaddexp.reduce(joint, axis=0)
    # evidence that is impossible for all members does not tell them apart
    possible = np.isfinite(total)
    share: Array = np.where(possible, np.exp(joint - np.where(possible, total, 0)), 1 / M)
    return share, total


def draw_members(share: Array, rng: np.random.Generator) -> Array:
    """Return a member for each of n rows by their shares (M, n)."""
    members: Array = (rng.random(share.shape[1]) >= np.cumsum(share, axis=0)[:-1]).sum(axis=0)
    return members
