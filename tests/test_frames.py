"""Columns of any kind become numbers and come back as they were."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from frame_cases import CODED, FRAMES, assert_same_frame, make, of_both, restored

from fastar._data.columns import Columns
from fastar._data.frame_types import Column
from fastar._data.frames import Schema

# ---- schemas


@of_both
def test_a_schema_tells_types_categories_and_what_is_missing(kind):
    schema = Schema.of(FRAMES[kind]())
    assert schema.kind == kind
    assert schema.names == ["kept", "count", "size", "colour", "grade", "level", "maybe"]
    assert [each.type for each in schema.columns] == [
        "bool",
        "integer",
        "float",
        "category",
        "category",
        "integer",
        "bool",
    ]
    assert [each.missing for each in schema.columns] == [False, False, True, True, True, True, True]
    assert schema.columns[3].categories == ("blue", "red")
    assert schema.columns[4].categories == ("low", "mid", "high")
    assert not any(schema.columns[d].categories for d in (0, 1, 2, 5, 6))


@of_both
def test_a_schema_survives_json(kind):
    schema = Schema.of(FRAMES[kind]())
    assert restored(schema) == schema
    assert isinstance(schema.columns[0], Column)


@of_both
def test_values_are_coded_and_come_back(kind):
    frame = FRAMES[kind]()
    schema = Schema.of(frame)
    columns = schema.read(frame)
    assert isinstance(columns, Columns)
    assert columns.shape == (3, 7)
    assert columns.ndim == 2
    assert columns.dtype == np.float64
    assert len(columns) == 3
    np.testing.assert_array_equal(columns[:], CODED)
    np.testing.assert_array_equal(np.asarray(columns), CODED)
    assert columns.missing.tolist() == [False, False, True, True, True, True, True]
    assert not columns.unknown.any()
    columns.check_known()
    assert_same_frame(restored(schema).wrap(columns[:]), frame)


@of_both
def test_rows_are_taken_by_slice_int_or_bool(kind):
    frame = FRAMES[kind]()
    columns = Schema.of(frame).read(frame)
    for rows in (
        slice(1, 3),
        slice(None, None, -1),
        slice(0, 3, 2),
        slice(2, 1),
        slice(-1, 10),
        [2, 0, 2],
        np.array([1], np.uint8),
        np.array([-1, 0]),
        np.array([True, False, True]),
        np.array([], int),
    ):
        block = columns[rows]
        assert block.dtype == np.float64
        assert block.flags.c_contiguous
        np.testing.assert_array_equal(block, CODED[rows])
    for wrong in (1, [0.5], np.zeros((2, 2), int), "a"):
        with pytest.raises(IndexError, match="rows must be a slice"):
            columns[wrong]
    with pytest.raises(IndexError, match="out of bounds"):
        columns[[3]]


@of_both
def test_many_rows_are_taken_part_after_part(kind):
    rng = np.random.default_rng(0)
    values = {"a": rng.normal(size=40_000), "b": rng.choice(["x", "y"], 40_000).tolist()}
    frame = make(kind, values)
    columns = Schema.of(frame).read(frame)
    whole = np.column_stack([values["a"], np.array(values["b"]) == "y"])
    np.testing.assert_array_equal(columns[:], whole)
    np.testing.assert_array_equal(columns[7:39_000], whole[7:39_000])
    rows = rng.permutation(40_000)
    np.testing.assert_array_equal(columns[rows], whole[rows])


@of_both
@pytest.mark.parametrize(
    ("n_categories", "storage"), [(254, "u1"), (255, "u2"), (65_534, "u2"), (65_535, "i4")]
)
def test_numbers_of_categories_are_as_narrow_as_they_can_be(kind, n_categories, storage):
    names = [f"{number:06}" for number in range(n_categories)]
    frame = make(kind, {"a": [*names, None]})
    schema = Schema.of(frame)
    assert schema.columns[0].storage == np.dtype(storage)
    columns = schema.read(frame)
    np.testing.assert_array_equal(columns[:][:, 0], [*range(n_categories), np.nan])
    assert_same_frame(schema.wrap(columns[-2:]), make(kind, {"a": [names[-1], None]}))
    unknown = schema.read(make(kind, {"a": ["new", None]}))
    np.testing.assert_array_equal(unknown[:][:, 0], [-1, np.nan])


def test_numbers_without_gaps_are_not_copied():
    values = np.random.default_rng(0).normal(size=100)
    holes = np.where(values > 1, np.nan, values)
    whole = np.arange(100, dtype=np.int16)
    pandas_frame = pd.DataFrame({"a": values, "b": holes, "c": whole}, copy=False)
    polars_frame = pl.DataFrame({"a": values, "b": holes, "c": whole})
    for frame in (pandas_frame, polars_frame):
        columns = Schema.of(frame).read(frame)
        for d, name in enumerate("abc"):
            assert np.shares_memory(columns._columns[d], frame[name].to_numpy())
        assert columns._columns[2].dtype == np.int16
    nullable = pd.DataFrame({"a": pd.array([1, 2], "Int64")})
    columns = Schema.of(nullable).read(nullable)
    assert np.shares_memory(columns._columns[0], nullable["a"].array._data)


@of_both
def test_small_integers_with_gaps_are_kept_in_four_bytes(kind):
    dtype = "Int8" if kind == "pandas" else pl.Int8
    series = (pd if kind == "pandas" else pl).Series([1, None, -5], dtype=dtype)
    frame = make(kind, {"a": series})
    columns = Schema.of(frame).read(frame)
    assert columns._columns[0].dtype == np.float32
    np.testing.assert_array_equal(columns[:][:, 0], [1, np.nan, -5])


@of_both
def test_a_minibatch_does_not_depend_on_the_number_of_rows(kind):
    values = np.random.default_rng(0).normal(size=(50, 3))
    frame = make(kind, {name: values[:, d] for d, name in enumerate("abc")})
    columns = Schema.of(frame).read(frame)
    columns[:][:] = 0  # a block is a copy
    np.testing.assert_array_equal(columns[10:20], values[10:20])


# ---- counting


@of_both
def test_distinct_values_are_counted_up_to_a_limit(kind):
    n = 5000
    values = {
        "a": np.arange(n),
        "b": [None, *np.tile([0.5, 1.5, 2.5], n)[: n - 1].tolist()],
        "c": [None, *np.tile(["x", "y"], n)[: n - 1].tolist()],
        "d": [None] * n,
    }
    frame = make(kind, values)
    if kind == "pandas":
        frame["d"] = frame["d"].astype("Float64")
    else:
        frame = frame.with_columns(pl.col("d").cast(pl.Float64))
    columns = Schema.of(frame).read(frame)
    assert [columns.n_distinct(d) for d in range(4)] == [n, 3, 2, 0]
    assert [columns.n_distinct(d, 2) for d in range(4)] == [3, 3, 2, 0]
    assert [columns.n_distinct(d, 100) for d in range(4)] == [101, 3, 2, 0]
