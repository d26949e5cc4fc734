"""Repair: in order, each value becomes the most probable one near it."""

from __future__ import annotations

import numpy as np

from fastar._core.parameters import Array
from fastar._data.table import Table
from fastar._engine.model import Model
from fastar._engine.sampling import walk
from fastar._engine.scores import score_rows
from fastar._engine.support import told
from fastar._kernels import _cpu
from fastar._kernels._conditionals import OBSERVED, SAMPLED


def purify(model: Model, table: Table, radius: Array, n_threads: int) -> Array:
    """Return the values (n, D) within radius (D,) that are most probable given those before them.

    radius and values in the order of the columns. Missing values stay missing. Each member repairs
    all rows, and a row gets its most probable repair.
    """
    everything = np.arange(len(table))
    best = np.empty(0)
    score = np.full(len(table), -np.inf)
    for member in range(model.network.n_members):
        repaired = _by_member(model, table, radius, n_threads, member)
        if model.network.n_members == 1:
            return repaired
        of_repaired = Table(repaired, model.order, context=table.context(everything))
        scored = score_rows(model, of_repaired, n_threads)
        best = repaired if member == 0 else np.where((scored > score)[:, None], repaired, best)
        score = np.maximum(scored, score)
    return best


def _by_member(model: Model, table: Table, radius: Array, n_threads: int, member: int) -> Array:
    network, conditional = model.network, model.conditional
    weights = network.materialise_weights(model.params, n_threads, member)
    capsule = conditional.kernel.mode(model.dtype)
    radius = radius[model.order]
    parts = []
    for where, block in table.blocks():
        with np.errstate(over="ignore"):  # what is beyond a code's type is outside the support
            low, high = conditional.interval(block, radius, model.dtype)
        missing = _missing(model, table, where.start, block, low, high)
        codes = _cpu.aligned_empty(low.shape, model.dtype)
        bounds = _cpu.aligned_empty((*low.shape, 2), model.dtype)
        bounds[:, :, 0], bounds[:, :, 1] = low, high
        flags = None
        if missing is not None:
            codes[:] = np.nan
            flags = np.where(missing, np.uint8(OBSERVED), np.uint8(SAMPLED))
        context = table.context(where)
        walk(model, weights, capsule, bounds, flags, codes, n_threads, context=context)
        if missing is not None:
            values = conditional.decode(np.where(missing, 0, codes))
            values = np.where(missing[:, conditional.column_offsets[:-1]], np.nan, values)
        else:
            values = conditional.decode(codes)
        if conditional.log_jacobian(codes) is not None:
            # a code in single precision may lie beyond its bound by half a place
            values = np.clip(values, block - radius, block + radius)
        parts.append(model.to_columns(values))
    return np.concatenate(parts)


def _missing(
    model: Model, table: Table, start: int, block: Array, low: Array, high: Array
) -> Array | None:
    """Return where (n, D) features are that do not apply, as those of missing values.

    None if nowhere. start: the row of the table with which the block begins.

    Raises
    ------
    ValueError
        Where the support has nothing between the codes low and high.
    """
    there = low <= high
    if there.all():
        return None
    missing = np.isnan(low)
    wrong = ~there & ~(missing & model.conditional.may_miss)
    if not wrong.any():
        return missing
    row, d = np.argwhere(wrong)[0]
    c = int(np.searchsorted(model.conditional.column_offsets, d, side="right")) - 1
    own, _ = model.conditional.of_column(c)
    value, place = told(model.labels, int(model.order[c]), block[row, c], start + row, table)
    raise ValueError(
        f"X must have a value of the support ({own.support}) within epsilon of each value. "
        f"Got {value} in {place}."
    )
