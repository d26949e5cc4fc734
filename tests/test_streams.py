"""Tables that are read batch by batch: sources, and training."""

import itertools
import threading
import tracemalloc
from functools import partial

import numpy as np
import polars as pl
import pytest
from streamed import LIBRARIES, assert_same_fit, calendar_frame, cut, nade, uneven_frame

from fastar import MADE, DeepNADE
from fastar._data import column_summary, stores, streams
from fastar._data import summary as summaries
from fastar._data.stores import HeldOut
from fastar._data.streams import Stream, is_stream
from fastar._data.summary import Summary
from fastar._data.table import Table
from fastar._engine import scores
from fastar._engine.training import Training
from fastar.callbacks import Checkpoint
from fastar.models import _streamed

pytestmark = pytest.mark.filterwarnings(
    "ignore:Training stopped at max_iter:sklearn.exceptions.ConvergenceWarning"
)


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
READS_QUERIES = hasattr(pl.LazyFrame, "collect_batches")
if READS_QUERIES:
    SOURCES["lazy frame"] = lambda frame, path: pl.scan_parquet(path)


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


def test_relations_of_duckdb_are_read_again_and_again(tmp_path):
    duckdb = pytest.importorskip("duckdb")
    frame = pl.from_pandas(uneven_frame(300)[["real", "small", "word", "count"]])
    frame.write_parquet(tmp_path / "t.parquet")
    relation = duckdb.sql(f"select * from '{tmp_path}/t.parquet' where small < 40")
    kept = frame.filter(pl.col("small") < 40)
    assert is_stream(relation)
    model = nade(max_iter=1).fit(relation)
    assert_same_fit(model, nade(max_iter=1).fit(cut(kept, 90)))
    np.testing.assert_array_equal(model.score_samples(relation), model.score_samples(kept))


@pytest.mark.skipif(not READS_QUERIES, reason="an older polars")
def test_queries_of_polars_are_read_again_and_again(tmp_path):
    frame = pl.from_pandas(uneven_frame(300)[["real", "small", "word", "count"]])
    frame.write_parquet(tmp_path / "t.parquet")
    query = pl.scan_parquet(tmp_path / "t.parquet").filter(pl.col("small") < 40)
    kept = frame.filter(pl.col("small") < 40)
    model = nade(max_iter=1).fit(query)
    assert_same_fit(model, nade(max_iter=1).fit(cut(kept, 90)))
    np.testing.assert_array_equal(model.score_samples(query), model.score_samples(kept))


# ---- fits


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


def test_columns_called_by_numbers_are_fitted_as_in_memory():
    pd = pytest.importorskip("pandas")
    days = pd.Series(pd.date_range("2026-01-01", periods=60))
    frame = pd.DataFrame({7: days, 1: np.random.default_rng(0).normal(size=60), 0: days.diff()})
    frame = frame.fillna({0: pd.Timedelta("1D")})
    for rows in (frame, frame.to_numpy(), frame[[7]].to_numpy()):
        streamed = nade(max_iter=2).fit(lambda rows=rows: iter([rows[:25], rows[25:]]), X_val=rows)
        whole = nade(max_iter=2).fit(rows, X_val=rows)
        assert (streamed.score_samples(rows) == whole.score_samples(rows)).all()


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
        model = nade(max_iter=5, callbacks=Interrupt(), activation="relu").fit(source)
    assert_same_fit(model, nade(max_iter=2, activation="relu").fit(source))


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


@pytest.mark.usefixtures("few_sampled")
def test_too_many_categories_are_told_of_and_the_rest_is_one(monkeypatch):
    monkeypatch.setattr(column_summary, "MOST_LEVELS", 20)
    words = [f"w{k:03}" for k in np.random.default_rng(0).geometric(0.02, 1000)]
    frame = pl.DataFrame({"word": words, "flag": [True, False] * 500})
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


def test_a_full_disk_is_told_of(monkeypatch):
    class Full:
        def write(self, data):
            raise OSError(28, "No space left on device")

        def close(self):
            pass

    monkeypatch.setattr(stores.tempfile, "TemporaryFile", lambda **_: Full())
    with pytest.raises(OSError, match=r"No space left on device: .* TMPDIR may name a folder"):
        nade().fit(cut(uneven_frame(100), 90))
