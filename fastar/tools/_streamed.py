"""Tools over tables that are read batch by batch: rows kept from a density, fitted attributes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from fastar._core.parameters import Array
from fastar._data.frame_types import frame_kind
from fastar._data.stores import HeldOut
from fastar._data.streams import Stream


def check_reads_batches(density: Any, tool: Any) -> None:
    """Raise ValueError if a density cannot be fitted batch by batch."""
    if not getattr(density, "_fits_streams", False):
        raise ValueError(
            f"The 'density' of {type(tool).__name__} must be a model of rows, or a Mixture, where "
            f"X is read batch by batch. Got {type(density).__name__} instead."
        )


def n_rows_of(stream: Stream) -> int:
    """Return how many rows a stream has, by a pass over them."""
    return sum(len(batch) for _, batch in stream)


def new_name(names: list[Any]) -> Any:
    """Return a name for a further column that no column has, of the type of the others."""
    if all(isinstance(each, int | np.integer) for each in names):
        return int(max(names)) + 1
    name = "target"
    while name in names:
        name += "_"
    return name


def with_column(frame: Any, name: Any, values: Array) -> Any:
    """Return a frame with one more column."""
    if frame_kind(frame) == "pandas":
        frame = frame.copy(deep=False)
        frame[name] = values
        return frame
    import polars

    return frame.with_columns(polars.Series(name, values))


def with_weights(stream: Stream, kept: HeldOut) -> tuple[Stream, Any]:
    """Return the stream with a further column of weights, 0 of the rows `kept`, and its name."""
    name = new_name(stream.names())
    return replace(stream, opened=partial(_weighted, stream, kept, name)), name


def _weighted(stream: Stream, kept: HeldOut, name: Any) -> Iterator[Any]:
    for first, batch in stream:
        weight = (~kept(np.arange(first, first + len(batch)))).astype(np.uint8)
        if frame_kind(batch) is None:
            yield np.column_stack([batch, weight.astype(batch.dtype)])
        else:
            yield with_column(batch, name, weight)
