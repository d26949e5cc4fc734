"""Tables that are read batch by batch: scores, samples, completions, errors."""

import sys
from functools import partial

import numpy as np
import pandas as pd
import polars as pl
import pytest
from streamed import LIBRARIES, assert_same_fit, assert_same_rows, cut, nade, uneven_frame

from fastar import NADE, AutoDensity, GenerativeClassifier, PixelRNN
from fastar._data import streams
from fastar._data.streams import Stream, is_stream
from fastar.conditionals import Categorical

pytestmark = pytest.mark.filterwarnings(
    "ignore:Training stopped at max_iter:sklearn.exceptions.ConvergenceWarning"
)


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


@pytest.mark.parametrize("method", ["score_samples", "impute"])
def test_answers_never_take_the_place_of_the_rows(method, frame, fitted, parquet):
    link = parquet.with_name("link.parquet")
    link.symlink_to(parquet)
    sources = [parquet, link, dataset_of(parquet), Stream.of(parquet).columns(frame.columns)]
    for source in sources:
        with pytest.raises(ValueError, match=r"out must be another file than X.*table\.parquet"):
            getattr(fitted, method)(source, out=str(parquet))
    with pytest.raises(ValueError, match="and outside of its folder"):
        getattr(fitted, method)(parquet.parent, out=parquet.with_name("other.parquet"))
    assert_same_rows(pl.read_parquet(parquet), frame)
    assert sorted(each.name for each in parquet.parent.iterdir()) == [link.name, parquet.name]


def dataset_of(path):
    return pytest.importorskip("pyarrow.dataset").dataset(path)


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
    assert_same_rows(pl.read_parquet(out), pl.read_parquet(tmp_path / "again.parquet"))
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
    assert_same_rows(found[0], found[1])
    assert_same_rows(found[0], found[2])
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
        with pytest.raises(ValueError, match=f"{name} must name columns of X where X is"):
            nade().fit(parquet, **{name: np.ones(400)})
    with pytest.raises(
        ValueError, match="context must be None for a model that was fitted without"
    ):
        fitted.sample(3, context=np.ones((3, 1)), out=tmp_path / "o.parquet")
    with pytest.raises(ValueError, match="n_draws must be 1"):
        fitted.impute(parquet, out=tmp_path / "o.parquet", n_draws=2)
    others = [PixelRNN(max_iter=1), AutoDensity(), GenerativeClassifier(nade())]
    for ask in (
        fitted.score_features,
        fitted.impute,
        *(partial(each.fit, y=[0]) for each in others),
    ):
        with pytest.raises(ValueError, match=r"X must be a table in memory. Got "):
            ask(parquet)


def test_without_pyarrow_an_error_says_so(parquet, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "pyarrow.dataset", raising=False)
    with pytest.raises(ValueError, match=r"needs the package pyarrow: pip install .*\[arrow\]"):
        nade().fit(parquet)


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


def test_callables_are_called_without_arguments():
    with pytest.raises(TypeError, match=r"X must be callable without arguments.*argument: 'n'"):
        nade().fit(lambda n: [np.zeros((n, 2))])
