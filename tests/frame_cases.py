"""Frames of pandas and polars with a column of each kind."""

import json

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import strategies as st

from fastar._data.frames import Schema

PANDAS = {
    "kept": pd.Series([True, False, True]),
    "count": pd.Series([3, 1, 2], dtype="int16"),
    "size": pd.Series([0.5, np.nan, -2.0]),
    "colour": pd.Series(["red", None, "blue"]),
    "grade": pd.Categorical(["low", "high", None], ["low", "mid", "high"], ordered=True),
    "level": pd.Series([3, None, 1], dtype="Int64"),
    "maybe": pd.Series([None, True, False], dtype="boolean"),
}
POLARS = {
    "kept": pl.Series([True, False, True]),
    "count": pl.Series([3, 1, 2], dtype=pl.Int16),
    "size": pl.Series([0.5, None, -2.0]),
    "colour": pl.Series(["red", None, "blue"]),
    "grade": pl.Series(["low", "high", None], dtype=pl.Enum(["low", "mid", "high"])),
    "level": pl.Series([3, None, 1], dtype=pl.Int64),
    "maybe": pl.Series([None, True, False]),
}
FRAMES = {"pandas": lambda: pd.DataFrame(PANDAS), "polars": lambda: pl.DataFrame(POLARS)}
CODED = np.array(
    [
        [1, 3, 0.5, 1, 0, 3, np.nan],
        [0, 1, np.nan, np.nan, 2, np.nan, 1],
        [1, 2, -2, 0, np.nan, 1, 0],
    ]
)
of_both = pytest.mark.parametrize("kind", FRAMES)


def make(kind, columns):
    return pd.DataFrame(columns) if kind == "pandas" else pl.DataFrame(columns)


def replaced(frame, name, values):
    """Return the frame with other values in a column."""
    if isinstance(frame, pl.DataFrame):
        return frame.with_columns(pl.Series(name, values))
    frame = frame.copy()
    frame[name] = pd.Series(values)
    return frame


def assert_same_frame(actual, expected):
    assert type(actual) is type(expected)
    if isinstance(expected, pl.DataFrame):
        assert actual.schema == expected.schema
        # by value: in polars 1 the numbers of categories are each frame's own
        texts = pl.col(pl.Categorical).cast(pl.String)
        assert actual.with_columns(texts).equals(expected.with_columns(texts), null_equal=True)
    else:
        expected = expected.copy()
        for name in expected.columns[[dtype.kind == "O" for dtype in expected.dtypes]]:
            expected[name] = expected[name].where(expected[name].notna(), np.nan)
        pd.testing.assert_frame_equal(actual, expected, check_exact=True)


def restored(schema):
    return Schema.from_json(json.loads(json.dumps(schema.to_json())))


POLARS_SERIES = {
    "Boolean": pl.Series([True, None]),
    "Float32": pl.Series([0.5, None], dtype=pl.Float32),
    "UInt64": pl.Series([0, 2**53], dtype=pl.UInt64),
    "String": pl.Series(["b", None, ""]),
    "Categorical": pl.Series(["b", None, "a"], dtype=pl.Categorical),
    "Enum": pl.Series(["b", None, "a"], dtype=pl.Enum(["c", "b", "a"])),
    "nothing": pl.Series([None, None], dtype=pl.Enum(["a"])),
    "no strings": pl.Series([None, None], dtype=pl.String),
    "chunks": pl.concat([pl.Series([1, 2]), pl.Series([3, None])]),
}
if hasattr(pl, "Categories"):
    named = pl.Categorical(pl.Categories("fruits", "shop", pl.UInt8))
    POLARS_SERIES["Categories"] = pl.Series(["b", None, "a"], dtype=named)
else:
    POLARS_SERIES["lexical"] = pl.Series(["b", None, "a"], dtype=pl.Categorical("lexical"))


texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5)
