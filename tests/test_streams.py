"""Tables that are read batch by batch: what a first pass finds out, training, scores, samples."""

import itertools
import pickle
import sys
import threading
import tracemalloc
from decimal import Decimal
from functools import partial

import numpy as np
import pandas as pd
import polars as pl
import pytest

from fastar import MADE, NADE, DeepNADE, DensityOutlierDetector, Mixture, PixelRNN
from fastar._data import stores, streams
from fastar._data import summary as summaries
from fastar._data.frames import Schema
from fastar._data.stores import HeldOut
from fastar._data.streams import Stream, is_stream
from fastar._data.summary import Summary, row_hashes
from fastar._data.table import Table
from fastar._engine import scores
from fastar._engine.training import Training
from fastar.callbacks import Checkpoint
from fastar.conditionals import Categorical
from fastar.models import _streamed


def uneven_frame(n=3000, seed=0):
    """Return a pandas frame with a column of each kind, some with gaps."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "real": rng.normal(size=n),
            "single": rng.normal(size=n).astype(np.float32),
            "gaps": np.where(rng.random(n) < 0.1, np.nan, rng.normal(size=n)),
            "whole": rng.integers(0, 9, n).astype(float),
            "small": rng.integers(0, 50, n),
            "huge": 2**60 + rng.integers(0, 2**40, n),
            "apart": rng.choice([-(2**62), 5, 2**62], n),
            "word": rng.choice(["no", "yes", "perhaps"], n, p=[0.7, 0.299, 0.001]),
            "flag": rng.random(n) < 0.3,
        }
    )
    frame["level"] = pd.Categorical(rng.choice(list("xyz"), n), categories=list("zyxw"))
    counts = pd.array(rng.integers(0, 300, n), dtype="Int64")
    counts[rng.random(n) < 0.2] = pd.NA
    frame["count"] = counts
    return frame


LIBRARIES = {"pandas": lambda frame: frame, "polars": pl.from_pandas}


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


def calendar_frame(n=400):
    """Return a pandas frame with times of each kind, and decimals."""
    rng = np.random.default_rng(0)
    start = np.datetime64("2021-03-05")
    seconds = rng.integers(0, 10**8, n).astype("timedelta64[s]")
    frame = pd.DataFrame(
        {
            "moment": (start + seconds).astype("datetime64[us]"),
            "day": (start + rng.integers(0, 900, n)).astype("datetime64[s]"),
            "month": (np.datetime64("2001-02") + rng.integers(0, 90, n)).astype("datetime64[us]"),
            "wait": (60 * rng.integers(-90, 900, n)).astype("timedelta64[s]"),
        }
    )
    frame["zoned"] = frame["moment"].dt.tz_localize("UTC").dt.tz_convert("Europe/Berlin")
    frame["price"] = [Decimal(int(cents)) / 100 for cents in rng.integers(0, 9999, n)]
    frame.loc[rng.random(n) < 0.1, "day"] = pd.NaT
    return frame


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("most_levels", [10, 10**5])
def test_times_and_decimals_are_summarised_as_in_memory(library, most_levels, monkeypatch):
    monkeypatch.setattr(summaries, "MOST_LEVELS", most_levels)
    # there are fewer months than levels that are counted
    frame = LIBRARIES[library](calendar_frame().drop(columns=["month"] * (most_levels < 100)))
    summary = summarised(frame, [3, 4, 90])
    assert summary.container() == Schema.of(frame)
    read = Schema.of(frame).read(frame)
    np.testing.assert_array_equal(sampled(summary).X[:], read[:])
    assert_same(summarised(frame, [200], n_sampled=100), summarised(frame, [], n_sampled=100))


@pytest.mark.parametrize("library", LIBRARIES)
def test_times_and_decimals_are_fitted_as_in_memory_and_come_back(library, tmp_path):
    frame = LIBRARIES[library](calendar_frame())
    if library == "polars":
        frame = frame.with_columns(pl.col("price").cast(pl.Decimal(12, 2)))
    fitted = nade(early_stopping=False, max_iter=1).fit(frame)
    assert_same_fit(nade(early_stopping=False, max_iter=1).fit(cut(frame, 90)), fitted)
    if library == "pandas":
        return
    frame.write_parquet(tmp_path / "t.parquet", row_group_size=61)
    streamed = nade(early_stopping=False, max_iter=1).fit(tmp_path / "t.parquet")
    assert_same_fit(streamed, fitted)
    streamed.sample(10, out=tmp_path / "s.parquet")
    assert pl.read_parquet(tmp_path / "s.parquet").schema == frame.schema


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
    monkeypatch.setattr(summaries, "MOST_LEVELS", 20)
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


# ---- streams


def test_a_stream_gives_its_batches_again_and_again(monkeypatch):
    frame = uneven_frame(100)
    stream = Stream.of(lambda: (frame[k : k + 30] for k in range(0, 100, 30)))
    for _ in range(2):
        assert [(first, len(batch)) for first, batch in stream] == [
            (0, 30),
            (30, 30),
            (60, 30),
            (90, 10),
        ]


SOURCES = {
    "path": lambda frame, path: path,
    "string": lambda frame, path: str(path),
    "dataset": lambda frame, path: __import__("pyarrow.dataset").dataset.dataset(path),
    "callable of frames": lambda frame, path: lambda: iter([frame[:40], frame[40:]]),
    "callable of tables": lambda frame, path: lambda: [frame.to_arrow()],
    "callable of record batches": lambda frame, path: lambda: iter(frame.to_arrow().to_batches()),
    "arrow stream": lambda frame, path: _ArrowStream(frame),
}


class _ArrowStream:
    def __init__(self, frame):
        self.frame = frame

    def __arrow_c_stream__(self, requested_schema=None):
        return self.frame.to_arrow().__arrow_c_stream__(requested_schema)


@pytest.mark.parametrize("kind", SOURCES)
def test_sources(kind, tmp_path):
    pytest.importorskip("pyarrow")
    frame = pl.from_pandas(uneven_frame(100))
    frame.write_parquet(tmp_path / "t.parquet", row_group_size=17)
    source = SOURCES[kind](frame, tmp_path / "t.parquet")
    assert is_stream(source)
    for _ in range(2):
        batches = [batch for _, batch in Stream.of(source)]
        assert pl.concat(batches).equals(frame)


# ---- fits


@pytest.fixture
def small_blocks(monkeypatch):
    """Shuffle few rows at a time, so that small tables fill several buffers."""
    monkeypatch.setattr(stores, "BLOCK_ROWS", 16)
    monkeypatch.setattr(stores, "BUFFER_ROWS", 64)


@pytest.fixture
def few_sampled(monkeypatch):
    monkeypatch.setattr(_streamed, "Summary", partial(Summary, n_sampled=100))


def cut(table, size):
    """Return a callable that gives the table in batches of so many rows."""
    return lambda: (table[k : k + size] for k in range(0, len(table), size))


def nade(**how):
    settings = {"n_hidden": 4, "max_iter": 3, "batch_size": 50, "learning_rate": "constant"}
    return NADE(**settings | {"random_state": 0} | how)


def assert_same_fit(model, other):
    np.testing.assert_array_equal(model.theta_, other.theta_)
    assert model.loss_curve_ == other.loss_curve_
    assert model.validation_curve_ == other.validation_curve_
    mine, theirs = model.distribution_.arrays(), other.distribution_.arrays()
    assert mine.keys() == theirs.keys()
    for name, array in mine.items():
        np.testing.assert_array_equal(array, theirs[name])


pytestmark = pytest.mark.filterwarnings(
    "ignore:Training stopped at max_iter:sklearn.exceptions.ConvergenceWarning"
)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("early_stopping", [True, False])
@pytest.mark.usefixtures("small_blocks", "few_sampled")
def test_a_fit_does_not_depend_on_the_cut(library, early_stopping, tmp_path):
    frame = LIBRARIES[library](uneven_frame(400))
    whole = nade(early_stopping=early_stopping).fit(lambda: [frame])
    sources = [cut(frame, 7), cut(frame, 10_000), cut(frame, 133)]
    if library == "polars":
        frame.write_parquet(tmp_path / "t.parquet", row_group_size=61)
        sources.append(tmp_path / "t.parquet")
    for source in sources:
        assert_same_fit(nade(early_stopping=early_stopping).fit(source), whole)


@pytest.mark.usefixtures("small_blocks", "few_sampled")
@pytest.mark.parametrize("size", [1, 100])
def test_a_fit_of_arrays_does_not_depend_on_the_cut(size):
    X = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)
    assert_same_fit(nade().fit(cut(X, size)), nade().fit(lambda: [X]))


MODELS = {
    "nade": nade,
    "made": lambda **how: MADE(hidden_layer_sizes=(8,), max_iter=3, random_state=0, **how),
    "deep nade": lambda **how: DeepNADE(
        hidden_layer_sizes=(8,), max_iter=3, random_state=0, order="random", **how
    ),
}


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("model", MODELS)
def test_a_small_table_is_fitted_as_in_memory(library, model):
    frame = LIBRARIES[library](uneven_frame(400))
    fitted = MODELS[model](early_stopping=False).fit(frame)
    streamed = MODELS[model](early_stopping=False).fit(cut(frame, 90))
    assert_same_fit(streamed, fitted)
    assert streamed._container == fitted._container
    np.testing.assert_array_equal(streamed.score_samples(frame), fitted.score_samples(frame))
    held_out = LIBRARIES[library](uneven_frame(100, seed=1))
    fitted = MODELS[model]().fit(frame, X_val=held_out)
    assert_same_fit(MODELS[model]().fit(cut(frame, 90), X_val=held_out), fitted)
    assert_same_fit(MODELS[model]().fit(cut(frame, 90), X_val=cut(held_out, 70)), fitted)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32, bool])
def test_a_small_array_is_fitted_as_in_memory(dtype):
    X = np.random.default_rng(0).integers(0, 2, (300, 4)).astype(dtype)
    fitted = nade(early_stopping=False).fit(X)
    assert_same_fit(nade(early_stopping=False).fit(cut(X, 70)), fitted)
    assert fitted.sample(2).dtype == dtype


def test_frames_of_one_type_are_fitted_as_in_memory():
    frame = pl.DataFrame(np.random.default_rng(0).normal(size=(300, 3)).astype(np.float32))
    fitted = nade(early_stopping=False).fit(frame)
    assert_same_fit(nade(early_stopping=False).fit(cut(frame, 70)), fitted)


@pytest.mark.usefixtures("small_blocks")
def test_rows_in_memory_that_are_visited_in_the_same_order_train_to_the_same_bits(monkeypatch):
    frame = uneven_frame(400)
    streamed = nade(early_stopping=False).fit(cut(frame, 90))
    assert not np.array_equal(streamed.theta_, nade(early_stopping=False).fit(frame).theta_)

    def batches(table, rng, size):
        blocks = rng.permutation(25)
        buffers = [
            np.concatenate([16 * k + np.arange(16) for k in blocks[start : start + 4]])
            for start in range(0, 25, 4)
        ]
        orders = [each.permutation(len(b)) for each, b in zip(rng.spawn(7), buffers, strict=True)]
        rows = np.concatenate([b[order] for b, order in zip(buffers, orders, strict=True)])
        for which in np.split(rows, range(size, 400, size)):
            yield which, table.take(which), None

    monkeypatch.setattr(Table, "batches", batches)
    assert_same_fit(nade(early_stopping=False).fit(frame), streamed)


@pytest.mark.usefixtures("few_sampled")
def test_what_no_sampled_row_has_is_learnt():
    frame = uneven_frame(3000).drop(columns=["huge", "apart"])
    frame.loc[17, "real"], frame.loc[18, "small"] = -50.0, 99
    model = nade(max_iter=1).fit(cut(frame, 1000))
    assert np.isfinite(model.score_samples(frame)).all()
    assert model.schema_[list(frame).index("word")]["levels"] == 3
    assert model.schema_[list(frame).index("small")]["levels"] == 51
    assert "above 0" not in model.schema_[0]["support"]


@pytest.mark.parametrize("n", [2, 5, 1000, 30_000])
def test_held_out_rows_depend_on_the_seed_and_their_numbers_alone(n):
    rows = np.arange(n)
    held = HeldOut(0.1, 3, n)(rows)
    np.testing.assert_array_equal(HeldOut(0.1, 3, n)(rows[::-1])[::-1], held)
    assert 1 <= held.sum() < n
    assert abs(held.sum() - 0.1 * n) <= 1 + 4 * np.sqrt(0.09 * n)
    assert n < 100 or not np.array_equal(HeldOut(0.1, 4, n)(rows), held)


@pytest.mark.usefixtures("small_blocks")
def test_an_epoch_visits_every_row_once():
    X = np.arange(400.0).reshape(-1, 1)
    layout = stores.Layout.of_array(1, X.dtype)
    store = stores.Store(layout)
    for part in np.split(X, [3, 100, 101]):
        store.append(layout.split(part))
    store.close()
    table = stores.StoredTable(store, np.arange(1), (Table(X, np.arange(1)), np.ones(400)))
    for size in (1, 30, 64, 1000):
        batches = list(table.batches(np.random.default_rng(0), size))
        assert [len(block) for _, block, _ in batches[:-1]] == [size] * (len(batches) - 1)
        seen = np.concatenate([block for _, block, _ in batches])[:, 0]
        assert not np.array_equal(seen, X[:, 0])
        np.testing.assert_array_equal(np.sort(seen), X[:, 0])
        in_order = np.concatenate([block for _, block, _ in table.batches(None, size)])
        np.testing.assert_array_equal(in_order, X)
    np.testing.assert_array_equal(table.take(slice(30, 70)), X[30:70])
    for most in (7, 16, 1000):
        blocks = np.concatenate([block for _, block in table.blocks(most)])
        np.testing.assert_array_equal(blocks, X)


def test_wide_tables_have_few_rows_at_a_time(monkeypatch):
    layout = stores.Layout.of_array(10**5, np.dtype(np.float64))
    assert layout.row_bytes == 8e5
    assert layout.block_rows * layout.row_bytes <= stores.BLOCK_BYTES
    assert layout.block_rows * layout.buffer_blocks * layout.row_bytes <= stores.BUFFER_BYTES
    assert streams.batch_rows(10**5) * 10**5 <= streams.BATCH_VALUES
    monkeypatch.setattr(summaries, "SAMPLE_VALUES", 1000)
    summary = Summary()
    summary.update(np.zeros((200, 100)), 0)
    assert len(summary.sampled_rows) == 10


@pytest.mark.usefixtures("small_blocks")
def test_a_checkpoint_resumes_to_the_same_bits(tmp_path):
    source = cut(uneven_frame(400), 90)
    whole = nade(max_iter=4).fit(source)
    for n_epochs in (2, 4):
        model = nade(max_iter=n_epochs, callbacks=Checkpoint(str(tmp_path / "c")))
        model.fit(source)
    assert_same_fit(model, whole)
    other = cut(uneven_frame(400, seed=1), 90)
    with pytest.raises(ValueError, match="data"):
        nade(max_iter=5, callbacks=Checkpoint(str(tmp_path / "c"))).fit(other)


@pytest.mark.usefixtures("small_blocks")
def test_ctrl_c_keeps_the_best_model():
    class Interrupt:
        def on_epoch_end(self, training):
            if training.progress.epoch == 2:
                raise KeyboardInterrupt

    source = cut(uneven_frame(400), 90)
    with pytest.warns(match="interrupted in epoch 3"):
        model = nade(max_iter=5, callbacks=Interrupt()).fit(source)
    assert_same_fit(model, nade(max_iter=2).fit(source))


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_epoch_that_ends_early_ends_the_thread_that_reads(error, monkeypatch):
    step, n_steps = Training._step, itertools.count()

    def fail(training, batch):
        if next(n_steps) == 3:
            raise error
        return step(training, batch)

    monkeypatch.setattr(Training, "_step", fail)
    before = threading.active_count()
    ends = {
        KeyboardInterrupt: pytest.warns(match="interrupted in epoch 1"),
        MemoryError: pytest.raises(MemoryError),
    }
    with ends[error]:
        nade().fit(cut(uneven_frame(400), 90))
    assert threading.active_count() == before


def test_partial_fit_and_warm_start_take_streams():
    frame = uneven_frame(400)
    fitted = nade().partial_fit(frame).partial_fit(frame)
    streamed = nade().partial_fit(cut(frame, 90)).partial_fit(cut(frame, 70))
    np.testing.assert_array_equal(streamed.theta_, fitted.theta_)
    fitted = nade(warm_start=True, early_stopping=False)
    streamed = nade(warm_start=True, early_stopping=False)
    for _ in range(2):
        fitted.fit(frame)
        streamed.fit(cut(frame, 90))
    np.testing.assert_array_equal(streamed.theta_, fitted.theta_)


def test_peak_memory_does_not_grow_with_the_rows(monkeypatch, tmp_path):
    monkeypatch.setattr(streams, "BATCH_ROWS", 2048)
    monkeypatch.setattr(stores, "BLOCK_ROWS", 1024)
    monkeypatch.setattr(stores, "BUFFER_ROWS", 4096)
    monkeypatch.setattr(stores, "_HASHED", 4096)
    monkeypatch.setattr(scores, "_BLOCK_OUTPUTS", 1 << 16)
    monkeypatch.setattr(_streamed, "Summary", partial(Summary, n_sampled=2000))

    def batches(n):
        rng = np.random.default_rng(0)
        for _ in range(0, n, 2048):
            x = rng.normal(size=(2048, 12))
            x[:, :4] = rng.integers(0, 9, (2048, 4))
            yield pl.DataFrame(x).with_columns(pl.col("column_0").cast(pl.String))

    def peak(n):
        model = nade(max_iter=1, batch_size=1000, distribution="auto")
        tracemalloc.start()
        model.fit(lambda: batches(n))
        model.score_samples(lambda: batches(n), out=tmp_path / "scores.parquet")
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(4096)  # what is imported and kept
    assert peak(20 * 4096) < 1.1 * peak(5 * 4096) + 20_000


def test_a_file_of_many_row_groups_takes_the_memory_of_few(tmp_path):
    import pyarrow as pa

    words = pl.Series([f"w{k}" for k in range(5000)], dtype=pl.Categorical)
    columns = {str(d): words.sample(80_000, with_replacement=True, seed=d) for d in range(4)}
    pl.DataFrame(columns).write_parquet(tmp_path / "many.parquet", row_group_size=2000)
    pl.DataFrame(columns)[:10_000].write_parquet(tmp_path / "few.parquet", row_group_size=2000)

    def most_taken(name):
        before = pa.total_allocated_bytes()
        return max(pa.total_allocated_bytes() - before for _ in Stream.of(tmp_path / name))

    most_taken("few.parquet")
    assert most_taken("many.parquet") < 1.5 * most_taken("few.parquet")


# ---- scores, samples, completions


@pytest.fixture(scope="module")
def frame():
    return pl.from_pandas(uneven_frame(400).drop(columns="apart"))


@pytest.fixture(scope="module")
def fitted(frame):
    return nade().fit(frame)


@pytest.fixture
def parquet(frame, tmp_path):
    frame.write_parquet(tmp_path / "table.parquet", row_group_size=61)
    return tmp_path / "table.parquet"


def test_scores_of_a_file_are_those_of_the_frame(frame, fitted, parquet, tmp_path):
    expected = fitted.score_samples(frame)
    np.testing.assert_array_equal(fitted.score_samples(parquet), expected)
    assert fitted.score(parquet) == fitted.score(frame)
    out = tmp_path / "scores.parquet"
    for X in (parquet, frame, cut(frame, 7)):
        assert fitted.score_samples(X, out=out) is None
        np.testing.assert_array_equal(pl.read_parquet(out)["log_density"].to_numpy(), expected)


def test_scores_never_take_the_place_of_the_rows(frame, fitted, parquet):
    with pytest.raises(ValueError, match=r"out must be another file than X.*table\.parquet"):
        fitted.score_samples(parquet, out=str(parquet))
    assert pl.read_parquet(parquet).equals(frame)


def test_columns_may_have_another_order(frame, fitted, tmp_path):
    path = tmp_path / "reversed.parquet"
    frame.select(reversed(frame.columns)).write_parquet(path)
    np.testing.assert_array_equal(fitted.score_samples(path), fitted.score_samples(frame))


@pytest.mark.parametrize("library", LIBRARIES)
def test_samples_in_a_file_have_the_types_of_fit(library, tmp_path, monkeypatch):
    monkeypatch.setattr(streams, "BATCH_ROWS", 30)
    frame = LIBRARIES[library](uneven_frame(200))
    model, out = nade(max_iter=1).fit(frame), tmp_path / "samples.parquet"
    assert model.sample(100, out=out, random_state=0) is None
    read = {"pandas": pd.read_parquet, "polars": pl.read_parquet}[library]
    found = read(out)
    assert found.shape == (100, frame.shape[1])
    own = model.sample(1)
    assert list(map(str, found.dtypes)) == list(map(str, own.dtypes))
    model.sample(100, out=tmp_path / "again.parquet", random_state=0)
    assert found.equals(read(tmp_path / "again.parquet"))
    assert len(set(found["real"])) == 100


def test_samples_in_a_file_obey_all_settings(tmp_path):
    model, out = nade(max_iter=1).fit(np.eye(3)[np.arange(60) % 3]), tmp_path / "s.parquet"
    model.sample(50, top_k=1, out=out, random_state=0)
    assert len(pl.read_parquet(out).unique()) == 1
    with pytest.raises(ValueError, match="top_p must be"):
        model.sample(5, top_p=2, out=out)


def test_samples_of_arrays_have_columns_by_number(tmp_path):
    model = nade(max_iter=1).fit(np.random.default_rng(0).integers(0, 2, (50, 3)))
    model.sample(5, evidence=[1, np.nan, np.nan], out=tmp_path / "s.parquet")
    found = pl.read_parquet(tmp_path / "s.parquet")
    assert found.columns == ["0", "1", "2"]
    assert found["0"].to_list() == [1] * 5


def test_completions_do_not_depend_on_the_cut(frame, fitted, parquet, tmp_path, monkeypatch):
    monkeypatch.setattr(streams, "BATCH_ROWS", 150)
    outs = [tmp_path / f"{k}.parquet" for k in range(3)]
    for source, out in zip((parquet, cut(frame, 7), cut(frame, 400)), outs, strict=True):
        assert fitted.impute(source, out=out, random_state=0) is None
    found = [pl.read_parquet(out) for out in outs]
    assert found[0].equals(found[1])
    assert found[0].equals(found[2])
    assert not any(found[0].null_count().row(0))
    assert found[0].dtypes == frame.dtypes
    there = frame["gaps"].is_not_null() & frame["gaps"].is_not_nan()
    assert found[0]["gaps"].filter(there).equals(frame["gaps"].filter(there))


def test_types_come_back_from_parquet(frame, fitted, parquet):
    streamed = nade().fit(parquet)
    assert streamed._container == fitted._container
    assert streamed.sample(3).dtypes == frame.dtypes


@pytest.mark.parametrize("size", [61, 1000])
def test_without_polars_frames_are_those_of_pandas(size, tmp_path, monkeypatch):
    frame = uneven_frame(400).drop(columns="apart")
    frame["flag"] = frame["flag"].astype("boolean").mask(frame["small"] == 3)
    frame.to_parquet(tmp_path / "t.parquet", row_group_size=size)
    monkeypatch.setattr(streams, "find_spec", lambda name: None)
    model = nade(max_iter=1).fit(tmp_path / "t.parquet")
    assert model._container.kind == "pandas"
    by_name = {column.name: column for column in model._container.columns}
    assert by_name["level"].categories == ("w", "x", "y", "z")
    assert by_name["small"].dtype == "Int64"
    assert by_name["flag"].dtype == "boolean"
    given = frame.astype({"small": "Int64", "huge": "Int64"})
    given["level"] = given["level"].cat.set_categories(list("wxyz"))
    assert_same_fit(nade(max_iter=1).fit(cut(given, 1000)), model)
    model.impute(tmp_path / "t.parquet", out=tmp_path / "o.parquet")
    assert not pd.read_parquet(tmp_path / "o.parquet").isna().any(axis=None)


@pytest.mark.parametrize("has_polars", [True, False])
def test_ordered_categories_keep_their_order(has_polars, tmp_path, monkeypatch):
    import pyarrow as pa

    sizes = pd.CategoricalDtype(["S", "M", "L", "XL"], ordered=True)
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"size": pd.Series(rng.choice(["L", "S", "M"], 90), dtype=sizes)})
    frame["x"] = rng.normal(size=90)
    path, out = tmp_path / "t.parquet", tmp_path / "drawn.parquet"
    frame.to_parquet(path, row_group_size=20)
    if not has_polars:
        monkeypatch.setattr(streams, "find_spec", lambda name: None)
    for source in (path, pa.Table.from_pandas(frame), pa.RecordBatch.from_pandas(frame)):
        model = nade().fit(source)
        column = model._container.columns[0]
        assert column.categories == ("S", "M", "L", "XL")
        assert column.is_ordered
        np.testing.assert_array_equal(model.score_samples(path), model.score_samples(frame))
        known = [{"size": ("M", None)}, {"size": {"M", "L", "XL"}}]
        share = np.exp(model.log_probability(known))
        np.testing.assert_allclose(share[0], share[1])
        model.sample(20, out=out, random_state=0)
        assert pd.read_parquet(out)["size"].dtype == sizes


# ---- errors


def test_errors_name_the_file(frame, fitted, tmp_path):
    path, out = tmp_path / "t.parquet", tmp_path / "out.parquet"
    with pytest.raises(FileNotFoundError, match=r"t\.parquet"):
        fitted.score_samples(path, out=out)
    path.write_bytes(b"a,b\n1,2\n")
    for method in (nade().fit, fitted.score_samples, partial(fitted.impute, out=out)):
        with pytest.raises(ValueError, match=r"X must be a path of Parquet, which '.*t\.parquet'"):
            method(path)
    with pytest.raises(ValueError, match=r"X_val must be a path of Parquet, .* Read CSV"):
        nade().fit(frame, X_val=str(path))
    path.write_bytes(b"PAR1 and no Parquet, but longer than the marks at its ends")
    with pytest.raises(ValueError, match=r"X from '.*t\.parquet' cannot be read as Parquet"):
        fitted.score_samples(path, out=out)
    frame.write_parquet(path)
    content = bytearray(path.read_bytes())
    content[20:4000] = bytes(3980)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"X from '.*t\.parquet'"):
        nade().fit(path)
    frame.drop("word").write_parquet(path)
    with pytest.raises(ValueError, match=r"(?s)X from '.*t\.parquet'.* now missing:\n- word"):
        fitted.score_samples(path)
    frame.with_columns(more=1).write_parquet(path)
    with pytest.raises(
        ValueError, match=r"(?s)X from '.*t\.parquet'.* unseen at fit time:\n- more"
    ):
        fitted.impute(path, out=out)
    frame[:0].write_parquet(path)
    with pytest.raises(ValueError, match=r"X from '.*t\.parquet' must have rows"):
        nade().fit(path)
    assert not out.exists()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["t.parquet"]


def test_only_parquet_is_written(frame, fitted, parquet, tmp_path):
    for name in ("drawn.csv", "drawn", "drawn.parquet.gz"):
        out = tmp_path / name
        for method in (
            partial(fitted.sample, 3),
            partial(fitted.score_samples, parquet),
            partial(fitted.impute, frame),
        ):
            with pytest.raises(ValueError, match=r"out must be a name in \.parquet or \.pq"):
                method(out=out)
        assert not out.exists()


def test_rows_of_errors_are_those_of_the_table(frame):
    parts = [frame[:100], frame[100:].with_columns(real=pl.lit(np.inf))]
    for method in (nade().fit, nade().fit(frame).score_samples):
        with pytest.raises(ValueError, match=r"in column 'real'. Got inf in row 100 "):
            method(lambda: iter(parts))
    X = np.zeros((10, 2))
    X[7, 1] = np.nan
    with pytest.raises(ValueError, match="contains NaN in row 7, column 1"):
        nade().fit(cut(X, 3))
    levels = Categorical(unknown="error")
    model = NADE(distribution={"word": levels}, max_iter=1).fit(frame)
    parts = [frame[:50], frame[50:].with_columns(word=pl.lit("new"))]
    with pytest.raises(ValueError, match="Got 'new' in row 50 "):
        model.score_samples(lambda: iter(parts))


def test_files_of_a_folder_must_agree(frame, tmp_path):
    frame[:200].write_parquet(tmp_path / "0.parquet")
    frame[200:].write_parquet(tmp_path / "1.parquet")
    assert_same_fit(nade().fit(tmp_path), nade().fit(cut(frame, 90)))
    frame[200:].drop("flag").write_parquet(tmp_path / "1.parquet")
    with pytest.raises(ValueError, match=r"1\.parquet' must have .* none that is called 'flag'"):
        nade().fit(tmp_path)
    frame[200:].with_columns(more=1).write_parquet(tmp_path / "1.parquet")
    with pytest.raises(ValueError, match=r"1\.parquet' must have .* Got 'more', too"):
        nade().fit(tmp_path)


def test_columns_of_folders_are_columns(frame, tmp_path):
    import pyarrow.dataset as ds

    for value in ("no", "yes"):
        part = frame.filter(pl.col("word") == value).drop("word")
        (tmp_path / f"word={value}").mkdir()
        part.write_parquet(tmp_path / f"word={value}" / "0.parquet")
    source = ds.dataset(tmp_path, partitioning="hive")
    model = nade(max_iter=1).fit(source)
    assert model.schema_[-1]["column"] == "word"
    assert model.schema_[-1]["levels"] == 2
    assert len(model.score_samples(source)) == frame["word"].is_in(["no", "yes"]).sum()
    few = nade(max_iter=1).fit(source.filter(ds.field("small") < 5))
    assert few.schema_[list(few.feature_names_in_).index("small")]["levels"] == 5


def test_batches_of_a_later_fit_are_of_the_same_kind(frame):
    model = nade(warm_start=True).fit(frame[["real", "gaps"]])
    with pytest.raises(TypeError, match=r"batches of the kind of fit. Got arrays instead"):
        model.fit(lambda: iter([np.ones((5, 2))]))
    model = nade(warm_start=True).fit(np.ones((5, 1)))
    with pytest.raises(TypeError, match=r"batches of the kind of fit. Got data frames instead"):
        model.fit(lambda: iter([frame[["real"]]]))


def test_what_can_be_read_once_is_refused(frame):
    reader = frame.to_arrow().to_reader()
    with pytest.raises(ValueError, match="Got a RecordBatchReader instead: give a callable"):
        nade().fit(reader)
    used = iter([frame])
    with pytest.raises(ValueError, match=r"must have rows. Got none"):
        nade().fit(lambda: used)


def test_a_source_that_changes_is_refused(frame):
    n = iter([400, 300])
    with pytest.raises(ValueError, match=r"same rows each time. Got 400 rows at first and 300"):
        nade().fit(lambda: iter([frame[: next(n)]]))


@pytest.mark.parametrize("given", [3, "rows", [[1.0, 2.0]]])
def test_callables_must_give_tables(given):
    with pytest.raises((TypeError, ValueError), match=r"Got (int|str|list) instead"):
        nade().fit(lambda: given)


def test_what_streams_do_not_have(frame, fitted, parquet, tmp_path):
    for name in ("sample_weight", "context"):
        with pytest.raises(ValueError, match=f"{name} must be None where X is read batch by batch"):
            nade().fit(parquet, **{name: np.ones(400)})
    with pytest.raises(ValueError, match="context must be None"):
        fitted.sample(3, context=np.ones((3, 1)), out=tmp_path / "o")
    with pytest.raises(ValueError, match="n_draws must be 1"):
        fitted.impute(parquet, out=tmp_path / "o", n_draws=2)
    others = [PixelRNN(max_iter=1), Mixture(nade()), DensityOutlierDetector(nade())]
    for ask in (fitted.score_features, fitted.impute, *(each.fit for each in others)):
        with pytest.raises(ValueError, match=r"X must be a table in memory. Got "):
            ask(parquet)


def test_without_pyarrow_an_error_says_so(parquet, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "pyarrow.dataset", raising=False)
    with pytest.raises(ValueError, match=r"needs the package pyarrow: pip install .*\[arrow\]"):
        nade().fit(parquet)


def test_too_many_categories_are_told_of_and_the_rest_is_one(monkeypatch):
    monkeypatch.setattr(summaries, "MOST_LEVELS", 20)
    words = [f"w{k:03}" for k in np.random.default_rng(0).geometric(0.02, 1000)]
    frame = pl.DataFrame({"word": words, "flag": [True, False] * 500})
    monkeypatch.setattr(_streamed, "Summary", partial(Summary, n_sampled=100))
    with pytest.warns(match="'word'. Those that occur twice or more in a sample of 100 rows"):
        model = nade(max_iter=50, learning_rate_init=0.05).fit(cut(frame, 90))
    kept = model._container.columns[0].categories
    share = 1 - frame["word"].is_in(kept).mean()
    drawn = model.sample(1000, random_state=0)
    assert (drawn["word"] == "other").mean() == pytest.approx(share, abs=0.1)
    assert np.isfinite(model.score_samples(frame)).all()


@pytest.mark.parametrize("library", LIBRARIES)
def test_rare_levels_are_cut_as_in_memory(library):
    frame = uneven_frame(400)
    frame.loc[:5, "word"] = "rare"
    frame = LIBRARIES[library](frame)
    fitted = nade(early_stopping=False, max_iter=1, min_count=10).fit(frame)
    streamed = nade(early_stopping=False, max_iter=1, min_count=10).fit(cut(frame, 90))
    assert any(column.has_other for column in fitted._container.columns)
    assert streamed._container == fitted._container
    assert_same_fit(streamed, fitted)


def sampled_rows(n, k):
    return np.argsort(row_hashes(np.arange(n)))[:k]


def test_a_full_disk_is_told_of(monkeypatch):
    class Full:
        def write(self, data):
            raise OSError(28, "No space left on device")

        def close(self):
            pass

    monkeypatch.setattr(stores.tempfile, "TemporaryFile", lambda **_: Full())
    with pytest.raises(OSError, match=r"No space left on device: .* TMPDIR may name a folder"):
        nade().fit(cut(uneven_frame(100), 90))


def test_large_memory_maps_are_streamed(tmp_path, monkeypatch):
    monkeypatch.setattr(streams, "LARGE_MAP", 1000)
    X = np.random.default_rng(0).normal(size=(300, 3)).astype(np.float32)
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert is_stream(mapped)
    assert not is_stream(mapped[:10])
    assert_same_fit(nade().fit(mapped), nade().fit(cut(X, 70)))
    model = nade(max_iter=1).fit(mapped)
    np.testing.assert_array_equal(model.score_samples(mapped), model.score_samples(X))
