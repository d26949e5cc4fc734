"""Where each feature's numbers begin among those of all features."""

from __future__ import annotations

import numpy as np

from fastar._core.parameters import Array


def offsets_of(widths: Array) -> Array:
    """Return where each of these stretches begins, and the end of the last: int64 (D + 1,)."""
    return np.concatenate([[0], np.cumsum(widths, dtype=np.int64)])


def common_width(offsets: Array) -> int | None:
    """Return the width that all features have, or None where they differ."""
    widths = np.diff(offsets)
    return int(widths[0]) if (widths == widths[0]).all() else None


def output_axes(offsets: Array) -> tuple[int, ...]:
    """Return the axes of one number for each output: (D, P), or (sum of P,) where P differs."""
    width = common_width(offsets)
    return (int(offsets[-1]),) if width is None else (len(offsets) - 1, width)


def input_axes(offsets: Array) -> tuple[int, ...]:
    """Return the axes of one number for each row of input weights: (D,), (D, Q) or (sum of Q,)."""
    axes = output_axes(offsets)
    return axes[:1] if axes[1:] == (1,) else axes


def positions(offsets: Array, features: Array) -> Array:
    """Return where the numbers of these features lie, one feature after the other."""
    widths = np.diff(offsets)[features]
    shift = np.asarray(offsets)[features] - offsets_of(widths)[:-1]
    return np.repeat(shift, widths) + np.arange(widths.sum())
