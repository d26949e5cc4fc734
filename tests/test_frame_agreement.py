"""Frames that are read after `fit`: what agrees with its columns, and what is refused."""

import builtins

import numpy as np
import pandas as pd
import polars as pl
import pytest
from frame_cases import CODED, FRAMES, make, of_both, replaced

from fastar._data.frames import Schema


@of_both
def test_numbers_that_agree_are_taken(kind):
    schema = Schema.of(make(kind, {"f": [0.5, 1.5], "i": [3, 4], "b": [True, False]}))
    for other in (
        {"f": [1, 2], "i": [3.0, None], "b": [1, 0]},
        {"f": [True, False], "i": [True, False], "b": [1.0, None]},
        {"f": [None, 1], "i": [None, None], "b": [None, None]},
    ):
        block = schema.read(make(kind, other))[:]
        expected = np.array(list(other.values()), float).T
        np.testing.assert_array_equal(block, expected)


@of_both
def test_either_library_reads_the_others_schema(kind):
    other = FRAMES["polars" if kind == "pandas" else "pandas"]()
    np.testing.assert_array_equal(Schema.of(FRAMES[kind]()).read(other)[:], CODED)


@of_both
def test_categories_agree_by_value(kind):
    schema = Schema.of(make(kind, {"a": ["x", "y", "z"]}))
    if kind == "pandas":
        series = pd.Series(["z", None, "x"], dtype=pd.CategoricalDtype(["q", "z", "x"]))
    else:
        series = pl.Series(["z", None, "x"], dtype=pl.Enum(["q", "z", "x"]))
    columns = schema.read(make(kind, {"a": series}))
    np.testing.assert_array_equal(columns[:][:, 0], [2, np.nan, 0])
    assert not columns.unknown.any()  # "q" is declared but does not occur


@of_both
def test_unknown_categories_are_marked_and_told(kind):
    schema = Schema.of(make(kind, {"n": [1, 2, 3], "a": ["x", "y", None]}))
    columns = schema.read(make(kind, {"n": [1, 2, 3], "a": ["x", None, "new"]}), "X_val")
    assert columns.unknown.tolist() == [False, True]
    assert columns.first_unknown == {1: (2, "new")}
    np.testing.assert_array_equal(columns[:][:, 1], [0, np.nan, -1])
    message = r"X_val must hold categories .* in column 'a': 'x', 'y'\. Got 'new' in row 2 instead"
    with pytest.raises(ValueError, match=message):
        columns.check_known()


@of_both
def test_python_objects_are_read_by_their_values(kind):
    schema = Schema.of(FRAMES["pandas"]())
    frame = FRAMES["pandas"]().astype(object)
    np.testing.assert_array_equal(schema.read(frame)[:], CODED)
    holes = frame.mask(pd.DataFrame(np.ones(frame.shape, bool), columns=frame.columns))
    assert np.isnan(schema.read(holes)[:]).all()


@of_both
@pytest.mark.parametrize(
    ("column", "values", "error", "message"),
    [
        ("colour", [0.5, 1.0, 2.0], TypeError, "categories in column 'colour', as in fit. Got"),
        ("size", ["a", "b", "c"], TypeError, "numbers in column 'size', as in fit. Got"),
        ("kept", ["a", "b", "c"], TypeError, "bools in column 'kept', as in fit. Got"),
        ("count", [1.0, 2.5, 3.0], ValueError, "whole numbers in column 'count'. Got 2.5 in row 1"),
        ("kept", [0, 1, 2], ValueError, "bools in column 'kept'. Got 2 in row 2"),
        ("kept", [0.0, None, 0.5], ValueError, "bools in column 'kept'. Got 0.5 in row 2"),
        ("size", [0.0, None, np.inf], ValueError, "finite numbers in column 'size'. Got inf in"),
    ],
)
def test_columns_that_do_not_agree_are_named(kind, column, values, error, message):
    frame = FRAMES[kind]()
    schema = Schema.of(frame)
    with pytest.raises(error, match=f"X_val must hold {message}"):
        schema.read(replaced(frame, column, values), "X_val")


@of_both
def test_names_must_be_those_of_fit(kind):
    schema = Schema.of(make(kind, {"a": [1], "b": [2]}))
    with pytest.raises(ValueError, match=r"(?s)names of X should.*unseen at fit time:\n- c\n$"):
        schema.read(make(kind, {"a": [1], "b": [2], "c": [3]}))
    with pytest.raises(ValueError, match=r"(?s)seen at fit time, yet now missing:\n- b\n$"):
        schema.read(make(kind, {"a": [1]}))
    with pytest.raises(ValueError, match=r"must be in the same order as they were in fit"):
        schema.read(make(kind, {"b": [1], "a": [2]}))
    many = {f"c{number}": [0] for number in range(9)}
    with pytest.raises(ValueError, match=r"(?s)- c4\n- \.\.\.\nFeature names seen at fit time"):
        schema.read(make(kind, many))


def test_names_must_be_different_and_of_one_kind():
    twice = pd.DataFrame(np.zeros((2, 2)), columns=["a", "a"])
    with pytest.raises(ValueError, match=r"The columns of X must have different names\. Got 'a'"):
        Schema.of(twice)
    once = Schema.of(pd.DataFrame({"a": [1.0]}))
    with pytest.raises(ValueError, match=r"occur more than once:\n- a"):
        once.read(twice)
    with pytest.raises(TypeError, match=r"all have int names\. Got int, str instead"):
        Schema.of(pd.DataFrame({"a": [1], 0: [2]}))
    with pytest.raises(TypeError, match=r"Got tuple instead"):
        Schema.of(pd.DataFrame(np.zeros((1, 1)), columns=pd.MultiIndex.from_tuples([(1, 2)])))


@of_both
def test_frames_need_rows_and_columns(kind):
    frame = FRAMES[kind]()
    with pytest.raises(ValueError, match=r"found 0 sample\(s\)"):
        Schema.of(frame[:0])
    with pytest.raises(ValueError, match=r"found 0 sample\(s\)"):
        Schema.of(frame).read(frame[:0])
    with pytest.raises(ValueError, match=r"X must not be empty"):
        Schema.of(make(kind, {}))


@pytest.mark.parametrize(
    "value", [np.zeros((2, 2)), [[1]], pd.Series([1]), pl.LazyFrame({"a": []})]
)
def test_nothing_but_frames_is_taken(value):
    with pytest.raises(TypeError, match=r"X must be a pandas or polars DataFrame\. Got"):
        Schema.of(value)
    with pytest.raises(TypeError, match=r"X_val must be a pandas or polars DataFrame, as in fit"):
        Schema.of(pd.DataFrame({"a": [1]})).read(value, "X_val")


OTHER_PANDAS = {
    "complex128": pd.Series([1j]),
    "objects such as 1, 'a'": pd.Series([1, "a"], dtype=object),
    "objects": pd.Series([["a"]]),
    "objects such as 'a', 1": pd.Series(["a"] * 200 + [1], dtype=object),
    r"objects such as \['a'\]": pd.Series([None] * 200 + [["a"]], dtype=object),
    "objects such as 20000000000000000000000": pd.Series([2 * 10**22, None], dtype=object),
    "objects such as 10000000000000000000000": pd.Series([10**22], dtype=object),
    "Sparse": pd.Series([1.0], dtype="Sparse[float]"),
    "interval": pd.Series([pd.Interval(0, 1)]),
}
OTHER_POLARS = {
    "List": pl.Series([[1]]),
    "Struct": pl.Series([{"a": 1}]),
    "Binary": pl.Series([b"a"]),
    "Null": pl.Series([None]),
    "objects such as|Object": pl.Series([object()], dtype=pl.Object),
}


@pytest.mark.parametrize(
    ("dtype", "series"), [*OTHER_PANDAS.items(), *OTHER_POLARS.items()]
)  # fmt: skip
def test_columns_of_other_kinds_are_named(dtype, series):
    frame = (
        pd.DataFrame({"x": series})
        if isinstance(series, pd.Series)
        else pl.DataFrame({"x": series})
    )
    with pytest.raises(TypeError, match=rf"(?s)X must hold bool.*column 'x' of.*({dtype})"):
        Schema.of(frame)


@pytest.mark.parametrize(
    "categories", [[1, "a"], [pd.Timestamp(0)], pd.interval_range(0, 2), [True, "a"], [0.5, "a"]]
)
def test_categories_are_of_one_kind(categories):
    frame = pd.DataFrame({"x": pd.Categorical([categories[0]], categories=categories)})
    with pytest.raises(TypeError, match=r"X must hold categories that are all str.*column 'x'"):
        Schema.of(frame)


def test_narwhals_is_asked_for(monkeypatch):
    original = builtins.__import__

    def without(name, *rest, **settings):
        if name == "narwhals":
            raise ImportError(name)
        return original(name, *rest, **settings)

    frame = pd.DataFrame({"a": [1]})
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match="need the package narwhals"):
        Schema.of(frame)
