"""The types of pandas, polars and arrow come back."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from frame_cases import POLARS_SERIES, assert_same_frame, make, of_both, restored

from fastar._data.frames import Schema

PANDAS_SERIES = {
    "bool": pd.Series([True, False]),
    "object strings": pd.Series(["b", "a", np.nan], dtype=object),
    "string": pd.Series(["b", "a", None], dtype="string"),
    "string[python]": pd.Series(["b", "a", None], dtype="string[python]"),
    "default strings": pd.Series(["b", "a", ""]),
    "float16": pd.Series([0.5, np.nan], dtype="float32"),
    "Float32": pd.Series([0.5, None], dtype="Float32"),
    "uint64": pd.Series([0, 2**53], dtype="uint64"),
    "UInt8": pd.Series([255, None], dtype="UInt8"),
    "int categories": pd.Series([3, 1, None], dtype=pd.CategoricalDtype([3, 2, 1])),
    "int8 categories": pd.Series(pd.Categorical.from_codes([0], pd.Index([3, 1], dtype="int8"))),
    "Int64 categories": pd.Series(pd.Categorical(pd.array([3, None, 1], "Int64"))),
    "float categories": pd.Series([0.5, None], dtype=pd.CategoricalDtype([0.5, 0.25], True)),
    "bool categories": pd.Series([True, None], dtype=pd.CategoricalDtype([True, False])),
    "object categories": pd.Series(
        ["a", None], dtype=pd.CategoricalDtype(pd.Index(["b", "a"], dtype=object))
    ),
    "string categories": pd.Series(
        ["a", None], dtype=pd.CategoricalDtype(pd.Index(["b", "a"], dtype="string[python]"))
    ),
    "no categories": pd.Series([None, None], dtype="category"),
    "nothing": pd.Series([None, None], dtype="Float64"),
}


@pytest.mark.parametrize("name", PANDAS_SERIES)
def test_types_of_pandas_come_back(name):
    frame = pd.DataFrame({"x": PANDAS_SERIES[name]})
    schema = restored(Schema.of(frame))
    assert_same_frame(schema.wrap(schema.read(frame)[:]), frame)


@pytest.mark.parametrize("name", POLARS_SERIES)
def test_types_of_polars_come_back(name):
    frame = pl.DataFrame({"x": POLARS_SERIES[name]})
    schema = restored(Schema.of(frame))
    assert_same_frame(schema.wrap(schema.read(frame)[:]), frame)


@pytest.mark.parametrize(
    "dtype",
    ["string[pyarrow]", "arrow string", "large_string", "int8[pyarrow]", "double[pyarrow]",
     "float[pyarrow]", "bool[pyarrow]", "str"],
)  # fmt: skip
def test_types_of_arrow_come_back(dtype):
    pa = pytest.importorskip("pyarrow")
    if dtype == "str" and int(pd.__version__.partition(".")[0]) < 3:
        pytest.skip("'str' is a type of pandas 3")
    arrow = {"arrow string": "string", "large_string": "large_string"}
    if dtype in arrow:
        dtype = pd.ArrowDtype(pa.type_for_alias(arrow[dtype]))
    values = ["b", "a", None] if "str" in str(dtype) else [1, 0, None]
    frame = pd.DataFrame({"x": pd.Series(values, dtype=dtype), "y": [1, 2, 3]})
    schema = restored(Schema.of(frame))
    assert_same_frame(schema.wrap(schema.read(frame)[:]), frame)


@pytest.mark.parametrize("gap", [None, np.nan, pd.NA])
@pytest.mark.parametrize(
    ("value", "dtype"),
    [(True, "boolean"), (2**60 + 1, "Int64"), (2**63 + 1, "UInt64"), (1.5, "Float64")],
)
def test_objects_of_one_kind_have_its_type(value, dtype, gap):
    frame = pd.DataFrame({"c": pd.Series([value, gap, value], dtype=object)})
    schema = Schema.of(frame)
    assert schema == Schema.of(frame.astype({"c": dtype}))
    again = schema.wrap(schema.read(frame)[:])
    assert again["c"].dtype == dtype
    assert (again["c"][0] == value, again["c"].isna().tolist()) == (True, [False, True, False])


def test_integers_as_names_come_back():
    frame = pd.DataFrame(np.array([[1.0, 0.5], [2, np.nan]]), columns=[1, 0])
    schema = restored(Schema.of(frame))
    assert_same_frame(schema.wrap(schema.read(frame)[:]), frame)


def test_what_pandas_cannot_hold_missing_gets_the_type_that_pandas_makes_of_it():
    frame = pd.DataFrame({"a": pd.Series([1, 2], dtype="uint8"), "b": [True, False]})
    drawn = Schema.of(frame).wrap(np.array([[1.4, np.nan], [np.nan, 0.0]]))
    expected = {"a": [1.0, np.nan], "b": pd.Series([np.nan, False], dtype=object)}
    assert_same_frame(drawn, pd.DataFrame(expected))


def test_polars_holds_what_is_missing_in_any_type():
    frame = pl.DataFrame({"a": pl.Series([1, 2], dtype=pl.UInt8), "b": [True, False]})
    drawn = Schema.of(frame).wrap(np.array([[1.4, np.nan], [np.nan, 0.0]]))
    expected = {"a": pl.Series([1, None], dtype=pl.UInt8), "b": [None, False]}
    assert_same_frame(drawn, pl.DataFrame(expected))


@of_both
def test_integers_are_rounded_and_kept_to_their_range(kind):
    library, dtype = (pd, "int8") if kind == "pandas" else (pl, pl.Int8)
    frame = make(kind, {"a": library.Series([1, 2], dtype=dtype), "b": [True, False]})
    drawn = Schema.of(frame).wrap(np.array([[1.6, 0.4], [-1000, 0.6], [1e30, 9]]))
    expected = {"a": library.Series([2, -128, 127], dtype=dtype), "b": [False, True, True]}
    assert_same_frame(drawn, make(kind, expected))


@of_both
@pytest.mark.parametrize("value", [2.0, -1.0, 0.5, np.inf])
def test_frames_are_made_of_known_categories_alone(kind, value):
    schema = Schema.of(make(kind, {"a": ["x", "y"]}))
    with pytest.raises(ValueError, match=rf"0 to 1, in column 'a'\. Got {value} instead"):
        schema.wrap(np.array([[0.0], [value]]))


@of_both
def test_frames_are_made_of_as_many_columns_as_fit_saw(kind):
    schema = Schema.of(make(kind, {"a": ["x", "y"]}))
    with pytest.raises(ValueError, match=r"shape \(n, 1\)\. Got \(3, 2\) instead"):
        schema.wrap(np.zeros((3, 2)))
    assert len(schema.wrap(np.zeros((0, 1)))) == 0
