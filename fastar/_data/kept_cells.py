"""Cells of a given frame that stay as they are where a model has filled the others."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastar._core.parameters import Array
from fastar._data.frame_types import frame_kind, narwhals_module


def keep_cells(given: Any, filled: Any, kept: Array) -> Any:
    """Return a frame with those cells of `given` that are to stay, where the types are the same.

    Others are the same values already, but for integers too far apart for float64.
    """
    is_pandas_frame = frame_kind(given) == "pandas"
    for d, name in enumerate(list(given.columns)):
        before, after, stays = given[name], filled[name], kept[:, d]
        if is_pandas_frame:
            lost = before.notna().to_numpy() & after.isna().to_numpy() & stays
        else:
            lost = (before.is_not_null() & after.is_null()).to_numpy() & stays
        if not lost.any() and before.dtype != after.dtype:
            before, after = _with_all_values(before, after, stays, is_pandas_frame)
        elif lost.any():  # the type of fit has no place for a category that fit has not seen
            if is_pandas_frame:
                before, after = before.astype(object), after.astype(object)
            else:
                before, after = before.cast(str), after.cast(str)
        if before.dtype != after.dtype:
            continue
        if is_pandas_frame:
            filled[name] = before if stays.all() else after.mask(stays, before)
        else:
            import polars

            filled = filled.with_columns(before.zip_with(polars.Series(stays), after))
    return filled


def _with_all_values(
    before: Any, after: Any, stays: Array, is_pandas_frame: bool
) -> tuple[Any, Any]:
    """Return two series in a type that holds the values of both, if one of `before` is to stay.

    They are returned as they are unless a text or an integer in `after` is another one.
    """
    nw = narwhals_module()
    types = [nw.from_native(each, series_only=True).dtype for each in (before, after)]
    if all(each.is_temporal() for each in types):  # units differ, and polars has no text of all
        return before, after
    texts = [each.astype(object) if is_pandas_frame else each.cast(str) for each in (before, after)]
    there = (before.notna() if is_pandas_frame else before.is_not_null()).to_numpy()
    given, filled = (np.asarray(each, object) for each in texts)
    differ = [i for i in np.flatnonzero(stays & there) if given[i] != filled[i]]
    if differ and all(each.is_integer() for each in types):
        return _with_all_integers(before, after, is_pandas_frame)
    if not any(isinstance(filled[i], str) for i in differ):
        return before, after
    if is_pandas_frame:
        import pandas

        kinds = [each.dtype for each in (before, after)]
        if all(isinstance(kind, pandas.CategoricalDtype) for kind in kinds):
            values = list(dict.fromkeys([*kinds[0].categories, *kinds[1].categories]))
            both = pandas.CategoricalDtype(values, kinds[0].ordered)
            return before.astype(both), after.astype(both)
        return texts[0], texts[1]
    import polars

    if all(isinstance(each.dtype, polars.Enum) for each in (before, after)):
        values = [each.dtype.categories.to_list() for each in (before, after)]
        both = polars.Enum(list(dict.fromkeys(values[0] + values[1])))
        return before.cast(both), after.cast(both)
    return texts[0], texts[1]


def _with_all_integers(before: Any, after: Any, is_pandas_frame: bool) -> tuple[Any, Any]:
    """Return two series of numbers in the type that their library has for both."""
    if is_pandas_frame:
        import pandas

        both = pandas.concat([before, after]).dtype
        return before.astype(both), after.astype(both)
    import polars

    frames = [polars.DataFrame({"x": each}) for each in (before, after)]
    both = polars.concat(frames, how="vertical_relaxed").schema["x"]
    return before.cast(both), after.cast(both)
