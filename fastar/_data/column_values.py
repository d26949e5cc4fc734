"""Values of one column of the table of `fit`, and the numbers that stand for them."""

from __future__ import annotations

import numpy as np

from fastar._core.integers import add
from fastar._core.parameters import Array
from fastar._data.containers import Container
from fastar._data.frame_types import NOT_NUMBERS
from fastar._data.frames import Schema


def offset(container: Schema | Container, column: int) -> int:
    """Return what a column's numbers are less than the user's."""
    if isinstance(container, Schema):
        return container.columns[column].offset
    return 0 if container.offsets is None else int(container.offsets[column])


def has_categories(container: Schema | Container, column: int) -> bool:
    """Return whether a column's values are categories."""
    return isinstance(container, Schema) and container.columns[column].type == "category"


def is_time(container: Schema | Container, column: int) -> bool:
    """Return whether a column's values are dates, times or durations."""
    return isinstance(container, Schema) and container.columns[column].clock is not None


def as_users(container: Schema | Container, numbers: Array, column: int) -> Array:
    """Return values (m,) of a column as the user has them."""
    if not isinstance(container, Schema):
        dtype = np.dtype(container.dtype)
        own = None if container.offsets is None else (container.offsets[column],)
        found: Array = add(numbers[:, None], own, dtype)[:, 0]
        return found
    described = container.columns[column]
    if described.type in NOT_NUMBERS:
        whole = numbers if described.clock is None else np.rint(numbers)  # a mean is no tick
        only = Schema(container.kind, (described,)).wrap(whole[:, None].astype(np.float64))
        series = only[described.name]
        if container.kind == "polars" and described.clock is not None and described.clock.zone:
            return np.array(series.to_list(), object)  # NumPy's moments have no zone
        given: Array = series.to_numpy()
        return given
    if described.type == "category":
        return np.array(described.categories)[numbers.astype(np.intp)]
    if described.type == "bool":
        return numbers.astype(bool)
    if described.type == "integer":
        is_unsigned = described.number_dtype == np.uint64
        by = (described.offset,) if described.offset else None
        return add(numbers[:, None], by, np.uint64 if is_unsigned else np.int64)[:, 0]
    return numbers.astype(np.float64)
