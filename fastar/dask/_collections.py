"""Collections of Dask as partitions."""

from __future__ import annotations

from typing import Any

from dask import delayed


def partitions(data: Any, name: str, of_sequences: bool = False) -> list[Any]:
    """Return the partitions of a DataFrame, of the rows of an Array, or of a Bag, each delayed."""
    if of_sequences:
        if collection_kind(data, name) != "bag":
            raise TypeError(
                f"{name} must be a dask Bag of sequences for a GenerativeRNN. "
                f"Got {type(data).__name__} instead."
            )
        return [delayed(list)(each) for each in data.to_delayed()]
    if rows_kind(data, name) == "frame":
        return list(data.to_delayed())
    return list(whole_rows(data).to_delayed().ravel())


def whole_rows(data: Any) -> Any:
    """Return an Array of two dimensions whose chunks have whole rows."""
    return data.rechunk({1: -1})


def rows_kind(data: Any, name: str) -> str:
    """Return "frame" or "array" of a Dask collection of rows; TypeError of anything else."""
    kind = collection_kind(data, name)
    if kind == "bag":
        raise TypeError(f"{name} must be a dask DataFrame or Array. Got a Bag instead.")
    return kind


def collection_kind(data: Any, name: str) -> str:
    """Return "frame", "array" or "bag" of a Dask collection; TypeError of anything else."""
    if type(data).__module__.startswith("dask"):
        if hasattr(data, "to_bag") and hasattr(data, "columns") and hasattr(data, "dtypes"):
            return "frame"
        if hasattr(data, "rechunk"):
            if data.ndim != 2:
                raise ValueError(f"{name} must have two dimensions. Got {data.ndim} instead.")
            return "array"
        if hasattr(data, "pluck"):
            return "bag"
    raise TypeError(
        f"{name} must be a dask DataFrame, Array or Bag. Got {type(data).__name__} instead."
    )
