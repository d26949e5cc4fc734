"""What a first pass over a table that is read batch by batch finds out."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
from streamed import LIBRARIES, calendar_frame, uneven_frame

from fastar._data import column_summary
from fastar._data.frames import Schema
from fastar._data.summary import Summary, row_hashes

pytestmark = pytest.mark.filterwarnings(
    "ignore:Training stopped at max_iter:sklearn.exceptions.ConvergenceWarning"
)


def sampled_rows(n, k):
    return np.argsort(row_hashes(np.arange(n)))[:k]


def summarised(frame, cuts, **how):
    summary = Summary(**how)
    for start, stop in zip([0, *cuts], [*cuts, len(frame)], strict=True):
        summary.update(frame[start:stop], start)
    return summary


def sampled(summary):
    return summary.sample(summary.container())


def assert_same(summary, other):
    assert summary.container() == other.container()
    assert summary.n_rows == other.n_rows
    assert summary.columns == other.columns
    mine, theirs = (each.sample(each.container()) for each in (summary, other))
    np.testing.assert_array_equal(mine.X[:], theirs.X[:])
    np.testing.assert_array_equal(mine.rows, theirs.rows)
    np.testing.assert_array_equal(mine.weight, theirs.weight)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("most_levels", [10, 10**5])
def test_times_and_decimals_are_summarised_as_in_memory(library, most_levels, monkeypatch):
    monkeypatch.setattr(column_summary, "MOST_LEVELS", most_levels)
    # there are fewer months than levels that are counted
    frame = LIBRARIES[library](calendar_frame().drop(columns=["month"] * (most_levels < 100)))
    summary = summarised(frame, [3, 4, 90])
    assert summary.container() == Schema.of(frame)
    read = Schema.of(frame).read(frame)
    np.testing.assert_array_equal(sampled(summary).X[:], read[:])
    assert_same(summarised(frame, [200], n_sampled=100), summarised(frame, [], n_sampled=100))


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("size", [1, 7, 300])
def test_a_summary_does_not_depend_on_the_cut(library, size):
    frame = LIBRARIES[library](uneven_frame(200 * min(size, 5)))
    whole = summarised(frame, [], n_sampled=100)
    assert_same(summarised(frame, range(size, len(frame), size), n_sampled=100), whole)


@pytest.mark.parametrize("library", LIBRARIES)
def test_summaries_merge_in_any_order(library):
    frame = LIBRARIES[library](uneven_frame())
    whole = summarised(frame, [], n_sampled=400)
    rng = np.random.default_rng(0)
    for _ in range(5):
        ends = np.unique(rng.integers(1, len(frame), 6))
        parts = []
        for start, stop in zip([0, *ends], [*ends, len(frame)], strict=True):
            part = Summary(n_sampled=400)
            part.update(frame[int(start) : int(stop)], int(start))
            parts.append(pickle.loads(pickle.dumps(part)))
        parts.append(Summary(n_sampled=400))  # of a partition without rows
        while len(parts) > 1:
            one = parts.pop(rng.integers(len(parts)))
            parts[rng.integers(len(parts))].merge(one)
        assert_same(parts[0], whole)


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_summary_of_few_rows_is_the_table(library):
    frame = LIBRARIES[library](uneven_frame())
    summary = summarised(frame, [1000])
    schema = Schema.of(frame)
    assert summary.container() == schema
    found = sampled(summary)
    np.testing.assert_array_equal(found.X[:], schema.read(frame)[:])
    np.testing.assert_array_equal(found.rows, np.arange(len(frame)))
    assert (found.weight == 1).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32, bool])
def test_a_summary_of_arrays(dtype):
    X = np.random.default_rng(0).integers(0, 2, (500, 3)).astype(dtype)
    summary = summarised(X, [100, 101])
    assert summary.container().dtype == np.dtype(dtype).str
    found = sampled(summary).X
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, X)


def test_counts_and_ranges_are_those_of_all_rows():
    frame = uneven_frame()
    columns = summarised(frame, [1000], n_sampled=10).columns
    assert columns["word"].levels == frame["word"].value_counts().to_dict()
    assert columns["whole"].levels == frame["whole"].value_counts().to_dict()
    assert columns["small"].levels == frame["small"].value_counts().to_dict()
    assert columns["real"].levels is None
    for name in ("real", "gaps", "huge", "count"):
        assert (columns[name].low, columns[name].high) == (frame[name].min(), frame[name].max())
        assert columns[name].n_missing == frame[name].isna().sum()


def test_a_sample_has_every_level_and_both_ends_of_ranges():
    frame = uneven_frame()
    summary = summarised(frame, [1000], n_sampled=50)
    found = sampled(summary)
    assert (found.rows[:50] >= 0).all()
    assert (found.rows[50:] == -1).all()
    assert (found.weight[50:] == 0).all()
    assert found.weight.sum() == pytest.approx(len(frame))
    schema, values = summary.container(), found.X[:]
    for d, column in enumerate(schema.columns):
        expected = set(frame[column.name].dropna())
        if column.type == "category":
            expected = {column.numbers[value] for value in expected}
        number = int if column.type == "integer" else float
        there = {number(value) + column.offset for value in values[:, d] if value == value}
        assert min(there) == min(expected)
        assert max(there) == max(expected)
        if column.name not in ("real", "single", "gaps"):
            assert there == expected


def test_sampled_rows_have_the_smallest_hashes():
    found = sampled(summarised(uneven_frame(), [10, 2000], n_sampled=100))
    expected = np.sort(sampled_rows(3000, 100))
    np.testing.assert_array_equal(found.rows[found.rows >= 0], expected)


def test_row_hashes_are_those_of_splitmix64():
    # the first numbers of the generator that is seeded with 1234567, as its authors' code prints
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    np.testing.assert_array_equal(row_hashes(np.arange(1, 4), seed=1234567), expected)
    hashes = row_hashes(np.arange(10**5), seed=3)
    assert len(np.unique(hashes)) == 10**5
    share = np.bincount((hashes >> np.uint64(60)).astype(int), minlength=16) / 10**5
    np.testing.assert_allclose(share, 1 / 16, atol=0.005)


def test_of_too_many_levels_those_that_a_sample_has_twice_are_kept(monkeypatch):
    monkeypatch.setattr(column_summary, "MOST_LEVELS", 20)
    numbers = np.random.default_rng(0).geometric(0.02, 1000)
    words = np.array([f"w{k:03}" for k in numbers])
    frame = pd.DataFrame({"word": words, "whole": np.arange(1000.0)})
    whole = summarised(frame, [], n_sampled=100)
    assert whole.columns["word"].levels is None
    levels, counts = np.unique(words[whole.sampled_rows], return_counts=True)
    column = whole.container().columns[0]
    assert column.has_other
    assert column.categories == (*levels[counts > 1], "other")
    assert_same(summarised(frame, [1, 500], n_sampled=100), whole)
    apart = Summary(n_sampled=100)
    apart.merge(summarised(frame, [], n_sampled=100))
    assert_same(apart, whole)


def test_columns_without_values_in_a_batch_take_the_type_of_others():
    frame = pl.DataFrame({"a": [None, None, 1, 2], "b": ["x", None, None, "y"]})
    parts = [frame[:2].with_columns(a=pl.lit(None)), frame[2:3].with_columns(b=pl.lit(None))]
    summary = Summary()
    summary.update(parts[1], 2)
    summary.update(parts[0], 0)
    summary.update(frame[3:], 3)
    assert summary.container() == Schema.of(frame)
    np.testing.assert_array_equal(sampled(summary).X[:], Schema.of(frame).read(frame)[:])


def test_integers_with_gaps_in_some_batches_are_numbers():
    whole = pd.DataFrame({"a": [1.0, np.nan, 3.0, 4.0]})
    summary = Summary()
    summary.update(whole[:2], 0)
    summary.update(whole[2:].astype(np.int64), 2)
    assert summary.container() == Schema.of(whole)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (pd.DataFrame({"a": [1.0]}), "column 'b' from row 0 on, but not in every other"),
        (pd.DataFrame({"a": ["x"], "b": ["y"]}), r"one type in column 'a'. Got .* type float"),
        (pd.DataFrame({"a": [np.inf], "b": ["y"]}), "Got inf in row 7"),
        (pd.DataFrame({"a": [1j], "b": ["y"]}), "Got column 'a' of dtype complex128"),
        (np.ones((1, 2)), "batches of one kind. Got pandas and array"),
    ],
)
def test_batches_that_do_not_go_together_change_nothing(other, message):
    frame = pd.DataFrame({"a": [0.5, 1.5], "b": ["x", "y"]})
    summary = summarised(frame, [])
    with pytest.raises((TypeError, ValueError), match=message):
        summary.update(other, 7)
    assert_same(summary, summarised(frame, []))
