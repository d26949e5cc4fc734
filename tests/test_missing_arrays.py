"""NaN in arrays: refused by default, and what it is in a frame where missing="marked"."""

import numpy as np
import pandas as pd
import pytest
from common import DATA, MODELS, assert_same_bits, fit, make
from scipy import sparse

from fastar import DeepNADE, DensityOutlierDetector, GenerativeClassifier, Mixture

MAKERS = {name: (lambda name=name, **more: make(name, **more)) for name in MODELS}
MAKERS["DeepNADE"] = lambda **more: DeepNADE(
    hidden_layer_sizes=(7,), max_iter=5, random_state=0, n_jobs=1, **more
)
MAKERS["Mixture"] = lambda **more: Mixture([make(**more), make("MADE", **more)], random_state=0)
every_model = pytest.mark.parametrize("name", MAKERS)


def gappy(n=80, D=4):
    X = DATA["gaussian"](n, D)
    X[np.random.default_rng(0).random(X.shape) < 0.2] = np.nan
    X[:, 0] = np.where(np.isnan(X[:, 0]), 1.0, X[:, 0])
    return X


@every_model
def test_nan_is_refused_with_the_keyword_that_takes_it(name):
    X = DATA["gaussian"](30, 4)
    X[0, 3] = np.nan
    with pytest.raises(ValueError, match=r"contains NaN in row 0, column 3.*missing='marked'") as e:
        MAKERS[name]().fit(X)
    assert "HistGradientBoosting" not in str(e.value)


@every_model
def test_marked_arrays_are_frames(name):
    X = gappy()
    frame = pd.DataFrame(X)
    marked = fit(MAKERS[name](missing="marked"), X)
    framed = fit(MAKERS[name](), frame)
    assert_same_bits(marked.score_samples(X), framed.score_samples(frame))
    filled = marked.impute(X, random_state=0)
    assert_same_bits(filled, framed.impute(frame, random_state=0).to_numpy())
    assert_same_bits(filled[~np.isnan(X)], X[~np.isnan(X)])
    whole = np.where(np.isnan(X), 0.5, X)
    assert_same_bits(marked.score_samples(whole), framed.score_samples(pd.DataFrame(whole)))


@pytest.mark.parametrize("name", MODELS)
def test_marked_arrays_are_taken_by_every_way_of_training(name):
    X = gappy()
    model = make(name, missing="marked", early_stopping=True)
    assert np.isfinite(fit(model, X[:60], X_val=X[60:]).score(X))
    assert np.isfinite(make(name, missing="marked").partial_fit(X).partial_fit(X).score(X))


def test_only_columns_that_had_gaps_in_fit_may_have_them():
    X = gappy()
    model = fit(make(missing="marked"), X)
    X[5, 0] = np.nan
    with pytest.raises(ValueError, match="row 5, column 0"):
        model.score_samples(X)


def test_infinity_stays_an_error():
    X = gappy()
    X[2, 1] = np.inf
    with pytest.raises(ValueError, match="infinity"):
        make(missing="marked").fit(X)


def test_sparse_rows_are_still_welcome():
    X = DATA["bernoulli"](60, 5).astype(float)
    marked, plain = (fit(make(missing=each), sparse.csr_array(X)) for each in ("marked", "error"))
    assert_same_bits(marked.theta_, plain.theta_)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_tools_take_what_their_density_takes():
    X = gappy(120)
    y = np.arange(120) % 2
    detector = DensityOutlierDetector(make(missing="marked"), random_state=0).fit(X)
    assert np.isfinite(detector.score_samples(X)).all()
    assert (detector.explain(X)[np.isnan(X)] == 0).all()
    assert np.isfinite(
        GenerativeClassifier(make(missing="marked")).fit(X, y).predict_proba(X)
    ).all()
    with pytest.raises(ValueError, match="missing='marked'"):
        DensityOutlierDetector(make(), random_state=0).fit(X)
