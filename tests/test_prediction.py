"""One column of a density of rows, predicted as scikit-learn's estimators do."""

import pickle

import numpy as np
import pandas as pd
import polars
import pytest
from common import DATA, fit, fitted, make
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KernelDensity
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastar import NADE, GenerativeRNN, Mixture, as_classifier, as_regressor
from fastar.tools import ColumnClassifier, ColumnRegressor

unconverged = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
D, nan = 4, np.nan
QUICK = {"n_hidden": 10, "max_iter": 100, "learning_rate_init": 0.02, "random_state": 0}


@unconverged
@parametrize_with_checks(
    [
        ColumnClassifier(NADE(**QUICK, activation="tanh"), random_state=0),
        # the checks score the rows of training; the few rows that early stopping would set aside
        # from their 200 end training before the mean is learnt
        ColumnRegressor(
            NADE(**QUICK, activation="tanh", early_stopping=False), n_particles=64, random_state=0
        ),
    ]
)
def test_scikit_learns_own_checks_pass(estimator, check):
    check(estimator)


@pytest.mark.parametrize("mixed", [False, True])
def test_a_fitted_density_predicts_a_column(mixed):
    X = DATA["categorical"](300, D)
    model = fit(Mixture(make(), n_members=2, random_state=0) if mixed else make(), X)
    classifier = as_classifier(model, 1)
    rows = np.delete(X[:50], 1, axis=1)
    p = model.predict_proba(X[:50], target=1, n_particles=256, random_state=0)
    for given in (rows, X[:50]):
        np.testing.assert_array_equal(classifier.predict_proba(given), p)
        np.testing.assert_array_equal(classifier.predict(given), p.argmax(axis=1))
    assert classifier.classes_.tolist() == [0, 1, 2]
    assert classifier.n_features_in_ == D - 1
    assert 0 < classifier.score(rows, X[:50, 1]) < 1
    gaps = rows.astype(float)
    gaps[:, 0] = nan
    np.testing.assert_allclose(classifier.predict_proba(gaps).sum(axis=1), 1)
    again = pickle.loads(pickle.dumps(classifier))
    np.testing.assert_array_equal(again.predict_proba(rows), p)
    assert model.predict_proba(X[:1], target=0).shape == (1, 3)


def test_a_fitted_density_predicts_numbers():
    model, X = fitted("NADE", "gaussian", D=D)
    regressor = as_regressor(model, 2, n_particles=100)
    rows = np.delete(X[:50], 2, axis=1)
    expected = model.predict(X[:50], target=2, n_particles=100)
    np.testing.assert_array_equal(regressor.predict(rows), expected)
    low, high = (regressor.predict(rows, kind="quantile", quantile=q) for q in (0.05, 0.95))
    assert (low < expected).all()
    assert (expected < high).all()


@pytest.mark.parametrize("library", [pd, polars])
def test_a_frame_predicts_labels_of_any_type(library):
    rng = np.random.default_rng(0)
    state = np.array(["CA", "NY"])[rng.integers(0, 2, 400)]
    values = {"state": state, "age": rng.integers(20, 30, 400), "target": rng.normal(size=400)}
    X = library.DataFrame(values)
    y = np.where((state == "NY") ^ (rng.random(400) < 0.1), "rich", "poor")
    model = fit(ColumnClassifier(make(max_iter=60), random_state=0), X, y=y)
    assert model.target_ == "target_"
    assert model.score(X, y) > 0.85
    empty = library.DataFrame({**values, "state": [None] * 400})
    assert model.predict_proba(empty)[:, 1].mean() == pytest.approx((y == "rich").mean(), abs=0.1)
    fitted_table = fit(make(max_iter=60), X)
    by_name = as_classifier(fitted_table, "state")
    assert by_name.feature_names_in_.tolist() == ["age", "target"]
    p = by_name.predict_proba(X.head(5))
    np.testing.assert_array_equal(by_name.predict_proba(X.head(5)[["age", "target"]]), p)


@unconverged
@pytest.mark.parametrize("distribution", ["auto", "gaussian", ["gaussian"] * 3, {0: "laplace"}])
def test_the_column_of_labels_has_levels_whatever_the_others_have(distribution):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 3))
    y = np.where(X[:, 0] > 0, "up", "down")
    density = NADE(distribution=distribution, max_iter=60, n_jobs=1, random_state=0)
    model = ColumnClassifier(density, random_state=0)
    assert model.fit(X, y).score(X, y) > 0.8
    assert cross_val_score(clone(model), X, y, cv=2).mean() > 0.8


def test_other_densities_are_refused():
    X = np.random.default_rng(0).normal(size=(30, 2))
    with pytest.raises(TypeError, match=r"as_classifier needs a model of rows .* GenerativeRNN"):
        as_classifier(GenerativeRNN(), 0)
    with pytest.raises(TypeError, match=r"as_regressor needs a model of rows .* KernelDensity"):
        as_regressor(KernelDensity().fit(X), 0)
    with pytest.raises(NotFittedError):
        as_regressor(NADE(), 0)
    with pytest.raises(ValueError, match=r"must be a model of rows .* Got KernelDensity"):
        ColumnClassifier(KernelDensity()).fit(X, X[:, 0] > 0)
    model, _ = fitted("NADE", "gaussian", D=D)
    with pytest.raises(ValueError, match="must be about a column of levels"):
        as_classifier(model, 0)
    with pytest.raises(ValueError, match=r"target must be a place from 0 to 3. Got 'price'"):
        as_regressor(model, "price")
