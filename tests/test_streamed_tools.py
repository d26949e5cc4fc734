"""Tables that are read batch by batch: mixtures, and tools over a density."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.frozen import FrozenEstimator
from sklearn.neighbors import KernelDensity
from sklearn.utils import check_random_state
from streamed import LIBRARIES, assert_same_fit, assert_same_rows, cut, nade, uneven_frame

from fastar import (
    MADE,
    AutoDensity,
    DensityImputer,
    DensityOutlierDetector,
    GenerativeClassifier,
    GenerativeRNN,
    Mixture,
    PixelRNN,
    as_classifier,
    load,
)
from fastar._core.random import generator
from fastar._data import streams
from fastar._data.stores import HeldOut
from fastar.tools import ColumnClassifier, ColumnRegressor

pytestmark = pytest.mark.filterwarnings(
    "ignore:Training stopped at max_iter:sklearn.exceptions.ConvergenceWarning"
)

COLUMNS = ["real", "small", "word", "flag", "level", "gaps"]


@pytest.fixture(scope="module")
def whole():
    return uneven_frame(300)[COLUMNS]


@pytest.fixture(params=LIBRARIES)
def frame(request, whole):
    return LIBRARIES[request.param](whole)


def read(out):
    return pl.read_parquet(out)


# ---- mixtures


def test_a_mixture_has_the_members_of_one_in_memory(frame, tmp_path):
    members = [nade(early_stopping=False, random_state=k) for k in range(2)]
    fitted, held = Mixture(members).fit(frame), frame[:50]
    streamed = Mixture(members).fit(cut(frame, 70))
    for one, other in zip(streamed.estimators_, fitted.estimators_, strict=True):
        assert_same_fit(one, other)
    expected = fitted.score_samples(frame)
    np.testing.assert_array_equal(streamed.score_samples(frame), expected)
    np.testing.assert_array_equal(streamed.score_samples(cut(frame, 33)), expected)
    assert streamed.score(cut(frame, 33)) == fitted.score(frame)
    out = tmp_path / "o.parquet"
    streamed.score_samples(cut(frame, 33), out=out)
    np.testing.assert_array_equal(read(out)["log_density"], expected)
    streamed.sample(40, out=out, random_state=0)
    assert read(out).columns == COLUMNS
    streamed.impute(cut(frame, 33), out=out, random_state=0)
    assert not any(read(out).null_count().row(0))
    streamed.save(tmp_path / "m.fastar")
    np.testing.assert_array_equal(load(tmp_path / "m.fastar").score_samples(frame), expected)
    fitted = Mixture(members, weights="em").fit(frame, X_val=held)
    for X_val in (held, cut(held, 20)):
        streamed = Mixture(members, weights="em").fit(cut(frame, 70), X_val=X_val)
        np.testing.assert_array_equal(streamed.weights_, fitted.weights_)
        assert streamed.n_parameters_ == fitted.n_parameters_


def test_a_mixture_has_contexts_and_weights(whole):
    frame = whole.assign(weight=np.arange(len(whole)) % 3)
    rows, context = frame[["real", "small"]], frame[["word", "gaps"]]
    given = frame[["real", "small", "word", "gaps", "weight"]]
    roles = {"context": ["word", "gaps"], "sample_weight": "weight"}
    mixture = Mixture(nade(early_stopping=False), n_members=2, random_state=0)
    streamed = mixture.fit(cut(given, 70), **roles)
    scores = streamed.score_samples(cut(given.drop(columns="weight"), 70), context=["word", "gaps"])
    fitted = mixture.fit(rows, context=context, sample_weight=frame["weight"])
    np.testing.assert_array_equal(scores, fitted.score_samples(rows, context=context))


def test_what_mixtures_do_not_read(whole):
    source = cut(whole, 70)
    with pytest.raises(ValueError, match=r"weights='em' must have X_val where X is read batch"):
        Mixture(nade(), weights="em").fit(source)
    for member in (GenerativeRNN(), PixelRNN(), KernelDensity()):
        with pytest.raises(ValueError, match=r"members of a Mixture must be models of rows"):
            Mixture([nade(), member]).fit(source)
    frozen = FrozenEstimator(nade().fit(whole))
    assert Mixture([frozen, nade()]).fit(source).score_samples(whole).shape == (300,)
    with pytest.raises(ValueError, match=r"Frozen members must have the columns of X, .*'gaps'"):
        Mixture([nade(), frozen]).fit(cut(whole[COLUMNS[::-1]], 70))
    context = FrozenEstimator(nade(max_iter=1).fit(whole[["real"]], context=whole[["word"]]))
    mixture = Mixture([context]).fit(cut(whole[["real", "word"]], 70), context=["word"])
    assert mixture._container.names == ["real"]


# ---- outliers


@pytest.mark.parametrize("statistic", ["standardised", "likelihood", "typicality"])
def test_a_detector_does_not_depend_on_the_cut(frame, statistic, tmp_path):
    def fitted(source):
        detector = DensityOutlierDetector(nade(), statistic=statistic, random_state=0)
        return detector.fit(source)

    detector = fitted(cut(frame, 70))
    for source in (cut(frame, 7), lambda: [frame]):
        other = fitted(source)
        assert other.offset_ == detector.offset_
        np.testing.assert_array_equal(other.calibration_scores_, detector.calibration_scores_)
        assert_same_fit(other.density_, detector.density_)
    assert (detector.predict(frame) == -1).mean() == pytest.approx(0.1, abs=0.01)
    assert 0.1 < len(detector.calibration_scores_) / 300 < 0.3
    out = tmp_path / "o.parquet"
    for method, column in (
        ("predict", "prediction"),
        ("p_values", "p_value"),
        ("score_samples", "score"),
        ("decision_function", "decision"),
    ):
        ask = getattr(detector, method)
        expected = ask(frame)
        np.testing.assert_array_equal(ask(cut(frame, 33)), expected)
        for X in (cut(frame, 33), frame):
            assert ask(X, out=out) is None
            np.testing.assert_array_equal(read(out)[column], expected)
    detector.save(tmp_path / "d.fastar")
    loaded = load(tmp_path / "d.fastar")
    np.testing.assert_array_equal(loaded.p_values(cut(frame, 33)), detector.p_values(frame))


def test_the_density_of_a_detector_never_sees_the_rows_kept(frame):
    detector = DensityOutlierDetector(nade(random_state=3), random_state=0).fit(cut(frame, 70))
    seed = int(generator(check_random_state(0)).spawn(1)[0].integers(2**63))
    kept = HeldOut(0.2, seed, 300)(np.arange(300))
    library = "polars" if isinstance(frame, pl.DataFrame) else "pandas"
    table = LIBRARIES[library](_as_pandas(frame).assign(w=(~kept).astype(np.uint8)))
    alone = nade(random_state=3).fit(cut(table, 70), sample_weight="w")
    assert_same_fit(detector.density_, alone)
    assert len(detector.calibration_scores_) == kept.sum()


def _as_pandas(frame):
    return frame if isinstance(frame, pd.DataFrame) else uneven_frame(300)[COLUMNS]


def test_a_detector_of_arrays():
    X = np.random.default_rng(0).integers(0, 2, (200, 4)).astype(np.uint8)
    detector = DensityOutlierDetector(nade(), random_state=0).fit(cut(X, 70))
    assert detector.n_features_in_ == 4
    np.testing.assert_array_equal(detector.p_values(cut(X, 33)), detector.p_values(X))


def test_what_detectors_do_not_read(whole):
    with pytest.raises(ValueError, match=r"likelihood_ratio' must have X in memory"):
        DensityOutlierDetector(nade(), statistic="likelihood_ratio").fit(cut(whole, 70))
    with pytest.raises(ValueError, match=r"must be a model of rows, or a Mixture"):
        DensityOutlierDetector(AutoDensity()).fit(cut(whole, 70))
    with pytest.raises(ValueError, match=r"another one to judge by. Got n_samples=1"):
        DensityOutlierDetector(nade()).fit(cut(whole[:1], 70))


# ---- completions


@pytest.mark.parametrize("density", [None, nade(), Mixture(nade(), n_members=2)])
@pytest.mark.parametrize("strategy", ["estimate", "draw"])
def test_an_imputer_does_not_depend_on_the_cut(frame, density, strategy, tmp_path, monkeypatch):
    monkeypatch.setattr(streams, "BATCH_ROWS", 100)

    def filled(size):
        how = {"n_draws": 3, "n_particles": 4, "random_state": 0}
        imputer = DensityImputer(density, strategy=strategy, **how)
        if density is None:
            monkeypatch.setattr("fastar.tools.imputation.NADE", lambda order: nade(order=order))
        imputer.fit(cut(frame, size))
        imputer.transform(cut(frame, size), out=tmp_path / "o.parquet")
        return imputer, read(tmp_path / "o.parquet")

    imputer, found = filled(7)
    assert_same_rows(found, filled(230)[1])
    assert not found["gaps"].is_null().any()
    assert not found["gaps"].is_nan().any()
    there = ~_as_pandas(frame)["gaps"].isna().to_numpy()
    np.testing.assert_array_equal(
        found["gaps"].to_numpy()[there], _as_pandas(frame)["gaps"].to_numpy()[there]
    )
    assert type(imputer.transform(frame)) is type(frame)
    if density is None:
        assert imputer.density_.order_.tolist() == list(range(6))


def test_a_file_is_not_put_into_a_frame(whole, tmp_path):
    imputer = DensityImputer(nade()).fit(whole[["real", "gaps"]]).set_output(transform="pandas")
    with pytest.raises(ValueError, match=r"out must be None where set_output asks for frames"):
        imputer.transform(whole[["real", "gaps"]], out=tmp_path / "o.parquet")
    assert not (tmp_path / "o.parquet").exists()


# ---- a column from the others


def test_a_classifier_of_a_column_of_the_file(frame, tmp_path):
    source = cut(frame, 70)
    how = {"n_particles": 16, "random_state": 0}
    classifier = ColumnClassifier(nade(), **how).fit(source, "word")
    assert classifier.classes_.tolist() == ["no", "yes"]
    assert list(classifier.feature_names_in_) == [name for name in COLUMNS if name != "word"]
    by_hand = as_classifier(classifier.density_, "word", n_particles=16)
    rows = frame[[name for name in COLUMNS if name != "word"]]
    expected = by_hand.predict_proba(rows)
    for X in (rows, frame, cut(rows, 33), source):
        np.testing.assert_allclose(classifier.predict_proba(X), expected, rtol=1e-12)
    out = tmp_path / "o.parquet"
    classifier.predict(source, out=out)
    np.testing.assert_array_equal(read(out)["prediction"], classifier.predict(source))
    classifier.predict_proba(source, out=out)
    assert read(out).columns == ["no", "yes"]


def test_a_regressor_of_a_column_of_the_file(frame, tmp_path):
    regressor = ColumnRegressor(nade(distribution="gaussian_mixture"), n_particles=16)
    frame = frame[["real", "gaps", "small"]]
    source = cut(frame, 70)
    regressor.fit(source, "real")
    expected = regressor.predict(frame)
    assert np.isfinite(expected).all()
    regressor.predict(source, out=tmp_path / "o.parquet")
    np.testing.assert_allclose(read(tmp_path / "o.parquet")["prediction"], expected, rtol=1e-12)
    X = np.random.default_rng(0).normal(size=(200, 3))
    streamed = ColumnRegressor(nade(), n_particles=16).fit(cut(X, 70), 1)
    np.testing.assert_allclose(
        streamed.predict(cut(X[:, [0, 2]], 70)), streamed.predict(X[:, [0, 2]]), rtol=1e-12
    )


def test_what_predictors_do_not_read(whole):
    for target in ("age", np.zeros(300)):
        with pytest.raises(ValueError, match=r"y must name a column of X"):
            ColumnClassifier(nade()).fit(cut(whole, 70), target)
    for tool in (GenerativeClassifier(MADE()), AutoDensity(), PixelRNN()):
        with pytest.raises(ValueError, match=rf"a table in memory.* {type(tool).__name__} is"):
            tool.fit(cut(whole, 70), np.zeros(300))
