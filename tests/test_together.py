"""A table as people have it, with columns of every kind, through all that takes tables."""

import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
from common import assert_same_bits, fit, make

import fastar
from fastar import (
    AutoDensity,
    DeepNADE,
    DensityImputer,
    DensityOutlierDetector,
    Mixture,
    as_classifier,
    as_regressor,
)
from fastar.cli import main

N = 360
JUNE = pd.Timestamp("2023-06-01"), pd.Timestamp("2023-07-01")


def people(n=N):
    rng = np.random.default_rng(1)
    minute = rng.integers(480, 1080, n)
    frame = pd.DataFrame(
        {
            "when": pd.Timestamp("2023-01-01")
            + pd.to_timedelta(rng.integers(0, 600, n) * 1440 + minute, unit="min"),
            "city": rng.choice(["Oslo", "Rome", "Lima"], n, p=[0.5, 0.3, 0.2]),
            "age": rng.integers(18, 90, n),
            "amount": np.round(np.exp(rng.normal(3, 1, n)), 2),
            "claims": np.where(rng.random(n) < 0.7, 0, np.round(rng.exponential(200, n), 2)),
            "vip": rng.random(n) < 0.3,
            "code": rng.choice([f"Z{i:03}" for i in range(60)], n),
            "stay": pd.to_timedelta(rng.integers(1, 30, n), unit="D"),
        }
    )
    frame.loc[rng.random(n) < 0.1, "amount"] = np.nan
    frame.loc[rng.random(n) < 0.1, "city"] = None
    frame.loc[rng.random(n) < 0.1, "when"] = pd.NaT
    return frame


FRAME = people()
LIBRARIES = {"pandas": FRAME, "polars": pl.from_pandas(FRAME)}
SMALL = {"max_iter": 3}
ESTIMATORS = {
    "NADE": lambda: make("NADE", **SMALL),
    "MADE": lambda: make("MADE", **SMALL),
    "FVSBN": lambda: make("FVSBN", **SMALL),
    "DeepNADE": lambda: DeepNADE(hidden_layer_sizes=(7,), random_state=0, n_jobs=1, **SMALL),
    "Mixture": lambda: Mixture([make("NADE", **SMALL), make("MADE", **SMALL)], random_state=0),
    "AutoDensity": lambda: AutoDensity(max_trials=2, random_state=0, n_jobs=1),
}
_fitted = {}


def density(name, library="pandas"):
    """Return a fitted model, the same one for every test."""
    if (name, library) not in _fitted:
        _fitted[name, library] = fit(ESTIMATORS[name](), LIBRARIES[library])
    return _fitted[name, library]


@pytest.fixture(autouse=True)
def _few_effective_particles_are_no_matter_here():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".* particles", UserWarning)
        yield


each_model = pytest.mark.parametrize("name", ESTIMATORS)
each_library = pytest.mark.parametrize("library", LIBRARIES)


def same_types(drawn, frame):
    if isinstance(frame, pl.DataFrame):
        assert drawn.schema == frame.schema
    else:
        assert (drawn.dtypes == frame.dtypes).all()


@each_library
@each_model
def test_scores_samples_and_completions(name, library):
    model, frame = density(name, library), LIBRARIES[library]
    scores = model.score_samples(frame)
    assert scores.shape == (N,)
    assert np.isfinite(scores).all()
    assert_same_bits(model.score_samples(frame[100:200]), scores[100:200])
    if len({tuple(each.order_) for each in getattr(model, "estimators_", [model])}) > 1:
        for call in (model.score_features, model.conditionals):
            with pytest.raises(ValueError, match="one order of the columns"):
                call(frame)
    else:
        terms = np.asarray(model.score_features(frame))
        np.testing.assert_allclose(terms.sum(axis=1), scores, atol=1e-3)
        assert set(model.conditionals(frame[:3])) == set(FRAME.columns)
    drawn = model.sample(50, random_state=0)
    same_types(drawn, frame)
    assert np.isfinite(model.score_samples(drawn)).all()
    full = model.impute(frame[:20], random_state=0)
    same_types(full, frame)
    is_null = (
        full.null_count().sum_horizontal()[0] if library == "polars" else full.isna().sum().sum()
    )
    assert is_null == 0
    assert np.isfinite(model.log_marginal(frame[:20], random_state=0)).all()
    assert len(model.explain(frame[:3])) == 3


@each_library
@each_model
def test_queries_and_evidence(name, library):
    model = density(name, library)
    queries = [
        {"when": JUNE},
        {"when": JUNE, "city": {"Oslo", "Lima"}, "vip": True},
        {"age": (20, 60), "amount": (None, 20.0)},
        {"claims": (0, 1) if name == "DeepNADE" else {0}, "code": {"Z001", "Z002"}},
        {"stay": (pd.Timedelta(days=2), pd.Timedelta(days=9)), "age": 40},
        {},
    ]
    found = model.log_probability(queries, random_state=0)
    assert np.isfinite(found).all()
    assert found[1] < found[0] < found[-1] == pytest.approx(0, abs=1e-6)
    drawn = model.sample(8, evidence=queries[1], random_state=0)
    rows = drawn.to_dicts() if library == "polars" else drawn.to_dict("records")
    for row in rows:
        assert JUNE[0] <= row["when"] < JUNE[1]
        assert row["city"] in {"Oslo", "Lima"}
        assert row["vip"]
    full = model.impute(queries, random_state=0)
    assert JUNE[0] <= full["when"][0] < JUNE[1]
    some = [{"when": JUNE, "age": 33}, {"city": "Rome"}]
    for target in ("city", "vip", "code"):
        p = model.predict_proba(some, target=target, random_state=0)
        np.testing.assert_allclose(np.asarray(p).sum(axis=1), 1, atol=1e-5)
    for target in FRAME.columns:
        assert len(model.predict(some, target=target, random_state=0)) == 2
    mean, error = model.expectation("amount", evidence={"when": JUNE}, random_state=0)
    assert mean > 0
    assert error > 0


@each_library
@each_model
def test_most_probable_values(name, library):
    model, frame = density(name, library), LIBRARIES[library]
    full = model.complete(frame[:4])
    same_types(full, frame)
    assert np.isfinite(model.score_samples(full)).all()
    assert set(model.repair_suggestions(frame[:2], 2)) == set(FRAME.columns)
    same_types(model.purify(frame[:2], 0.1), frame)
    assert model.levels("city").tolist() == ["Lima", "Oslo", "Rome"]
    for call in (model.levels, lambda target: model.predict_proba(frame[:2], target=target)):
        with pytest.raises(ValueError, match="column of levels, and column 'when'"):
            call("when")


@each_model
def test_files_keep_everything(name, tmp_path):
    model = density(name)
    model.save(tmp_path / "model")
    again = fastar.load(tmp_path / "model")
    assert_same_bits(again.score_samples(FRAME), model.score_samples(FRAME))
    pd.testing.assert_frame_equal(again.sample(9, random_state=3), model.sample(9, random_state=3))
    query = [{"when": JUNE, "vip": True}]
    assert again.log_probability(query, random_state=0) == model.log_probability(
        query, random_state=0
    )


@pytest.mark.parametrize("name", ["NADE", "MADE"])
def test_streams_are_the_frames_they_hold(name, tmp_path):
    path, whole = tmp_path / "people.parquet", density(name)
    FRAME.to_parquet(path)
    streamed = fit(ESTIMATORS[name](), str(path))
    for ours, theirs in zip(streamed.schema_, whole.schema_, strict=True):
        assert ours == theirs
    same = whole.score_samples(FRAME)
    whole.score_samples(str(path), out=tmp_path / "scores.parquet")
    scores = pd.read_parquet(tmp_path / "scores.parquet")
    np.testing.assert_array_equal(scores.to_numpy()[:, -1], same)
    np.testing.assert_array_equal(whole.score_samples(str(path)), same)
    streamed.sample(70, out=tmp_path / "drawn.parquet", random_state=0)
    drawn = pd.read_parquet(tmp_path / "drawn.parquet")
    assert drawn.shape == (70, FRAME.shape[1])
    assert np.isfinite(streamed.score_samples(drawn)).all()
    streamed.impute(str(path), out=tmp_path / "full.parquet", random_state=0)
    full = pd.read_parquet(tmp_path / "full.parquet")
    assert not full.isna().any().any()
    known = FRAME.notna()
    pd.testing.assert_series_equal(full["when"][known["when"]], FRAME["when"][known["when"]])
    streamed.sample(5, evidence={"when": JUNE}, out=tmp_path / "june.parquet", random_state=0)
    assert pd.read_parquet(tmp_path / "june.parquet")["when"].between(*JUNE).all()


def test_graphs_are_refused_by_name(tmp_path):
    export = pytest.importorskip("fastar.onnx").export
    pytest.importorskip("onnx")
    for name in ("NADE", "Mixture"):
        with pytest.raises(ValueError, match="Column 'when' has values of type moment"):
            export(density(name), tmp_path / "model.onnx")
    export(fit(ESTIMATORS["NADE"](), FRAME.drop(columns=["when", "stay"])), tmp_path / "model.onnx")


@each_library
def test_tools(library):
    frame, model = LIBRARIES[library], density("NADE", library)
    detector = fit(DensityOutlierDetector(ESTIMATORS["NADE"]()), frame)
    assert set(detector.predict(frame)) <= {-1, 1}
    full = fit(DensityImputer(ESTIMATORS["NADE"]()), frame).transform(frame)
    same_types(full, frame)
    others = frame.drop(["vip"]) if library == "polars" else frame.drop(columns=["vip"])
    answers = as_classifier(model, "vip").predict(others[:10])
    assert set(np.asarray(answers).tolist()) <= {False, True}
    others = frame.drop(["age"]) if library == "polars" else frame.drop(columns=["age"])
    assert as_regressor(model, "age").predict(others[:3]).shape == (3,)


def test_the_command_line(tmp_path):
    table, model = str(tmp_path / "people.csv"), str(tmp_path / "model.fastar")
    FRAME.drop(columns=["stay"]).to_csv(table, index=False)
    settings = ["--random-state", "0", "--set", "n_hidden=8", "max_iter=3"]
    assert main(["fit", table, "--model", "NADE", "-o", model, *settings]) == 0
    assert main(["score", model, table, "-o", str(tmp_path / "scores.csv")]) == 0
    assert len(pd.read_csv(tmp_path / "scores.csv")) == N
    assert main(["impute", model, table, "-o", str(tmp_path / "full.csv")]) == 0
    assert pd.read_csv(tmp_path / "full.csv")["when"].notna().all()
    assert main(["sample", model, "-n", "9", "-o", str(tmp_path / "drawn.csv")]) == 0
    assert pd.to_datetime(pd.read_csv(tmp_path / "drawn.csv")["when"]).notna().all()
    assert len(fastar.load(model).schema_) == FRAME.shape[1] - 1
