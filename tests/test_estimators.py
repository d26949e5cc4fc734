"""The estimators as scikit-learn's users see them; containers are in test_containers.py."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
from common import (
    CONDITIONALS,
    DATA,
    DTYPES,
    ESTIMATORS,
    MODELS,
    ORDERS,
    SMALL,
    assert_same,
    assert_same_bits,
    bits,
    distribution,
    fit,
    fitted,
    ids,
    levels,
    make,
    reals,
    sizes,
    unfitted,
)
from sklearn.base import BaseEstimator, DensityMixin, TransformerMixin, clone
from sklearn.compose import ColumnTransformer
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import Binarizer, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastar import conditionals, models

every_model = pytest.mark.parametrize("name", MODELS)
every_estimator = pytest.mark.parametrize("estimator", ESTIMATORS, ids=ids)
every_conditional = pytest.mark.parametrize("conditional", CONDITIONALS)
unconverged = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@unconverged
@parametrize_with_checks(
    [
        *ESTIMATORS,
        *(make(name, dtype="float64") for name in MODELS if name != "RNADE"),
        models.RNADE(n_hidden=7, n_components=2, max_iter=5, random_state=0, n_jobs=1),
    ]
)
def test_scikit_learns_own_checks_pass(estimator, check):
    check(estimator)


@every_model
def test_defaults_fit_whatever_numbers_they_are_given(name):
    for X in DATA.values():
        model = models.BY_NAME[name](random_state=0, n_jobs=1, max_iter=30)
        rows = X(60, 3)
        assert fit(model, rows) is model
        assert np.isfinite(model.score(rows))


def test_rnade_has_mixtures_of_its_number_of_components_by_default():
    X = reals(60, 3)
    model = fit(models.RNADE(n_hidden=5, n_components=4, max_iter=3, random_state=0), X)
    assert model.distribution_.name == "gaussian_mixture"
    assert model.params_["b"].shape == (3, 12)
    assert model.conditionals(X)["weights"].shape == (60, 3, 4)
    model.set_params(distribution="laplace_mixture", n_components=2)
    assert fit(model, X).params_["b"].shape == (3, 6)
    model.set_params(distribution=conditionals.GaussianMixture(3))  # an object has its own
    assert fit(model, X).params_["b"].shape == (3, 9)
    assert fit(model.set_params(distribution="laplace"), X).params_["b"].shape == (3, 2)


@every_estimator
def test_an_estimator_is_a_density_that_repr_shows(estimator):
    assert isinstance(estimator, BaseEstimator)
    assert isinstance(estimator, DensityMixin)
    assert type(estimator).__name__ in repr(estimator)
    assert eval(repr(estimator), dict(models.BY_NAME)).get_params() == estimator.get_params()


# ---- what "auto" chooses


@every_model
@pytest.mark.parametrize(
    ("X", "chosen"),
    [
        (bits(30, 3), "bernoulli"),
        (bits(30, 3).astype(bool), "bernoulli"),
        (bits(30, 3).astype(float), "bernoulli"),
        (bits(30, 3).astype(np.int64), "bernoulli"),
        (levels(30, 3), "categorical"),
        (levels(30, 3).astype(np.uint8), "categorical"),
        (-levels(30, 3), "categorical"),
        (levels(30, 3).astype(float), "categorical"),
        (reals(30, 3), "number"),
        (reals(30, 3).astype(np.float32), "number"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.dtype.name,
)
def test_auto_looks_at_the_data(name, X, chosen):
    assert fit(make(name), X).distribution_.name == chosen


@every_conditional
@every_model
def test_a_distribution_is_named_or_an_object(name, conditional):
    X = DATA[conditional](50, 3)
    given = distribution(conditional, 3)
    settings = {"n_components": 3} if name == "RNADE" and isinstance(given, str | list) else {}
    by_name = fit(make(name, distribution=given), X)
    by_object = fit(make(name, distribution=unfitted(conditional, 3, **settings)), X)
    assert by_name.distribution_.name == conditional
    assert_same_bits(by_name.theta_, by_object.theta_)


@every_model
def test_a_fit_leaves_the_users_objects_untouched(name):
    conditional, order = conditionals.Gaussian(1e-3), np.array([2, 0, 1])
    model, X = make(name, distribution=conditional, order=order), reals(50, 3)
    parameters, rows = copy.deepcopy(model.get_params()), X.copy()
    fit(model, X).sample(3)
    assert vars(conditional) == {"variance_floor": 1e-3}
    assert_same(model.get_params() | {"distribution": None}, parameters | {"distribution": None})
    assert model.order is order
    assert_same_bits(X, rows)


# ---- the contract's attributes


@every_conditional
@pytest.mark.parametrize("D", [1, 2, 6])
def test_nades_parameters_have_the_textbooks_shapes(conditional, D):
    X, H = DATA[conditional](40, D), 5
    model = fit(make("NADE", n_hidden=H, distribution=distribution(conditional, D)), X)
    P, Q = sizes(conditional, D)
    rows = (Q[:-1].sum(),) if (Q[0] != Q).any() else (D - 1,) if Q[0] == 1 else (D - 1, Q[0])
    V, b = ((D - 1, P[0], H), (D, P[0])) if (P[0] == P).all() else ((P[1:].sum(), H), (P.sum(),))
    shapes = {"W": (*rows, H), "c": (H,), "V": V, "b": b}
    assert {name: array.shape for name, array in model.params_.items()} == shapes
    if conditional == "bernoulli":
        assert model.n_parameters_ == 2 * (D - 1) * H + H + D
    assert model.n_parameters_ == model.theta_.size == sum(map(np.size, model.params_.values()))


@pytest.mark.parametrize("dtype", DTYPES)
@every_conditional
@every_model
def test_fitted_attributes_are_what_the_contract_says(name, conditional, dtype):
    model, X = fitted(name, conditional, dtype=dtype)
    assert model.theta_.ndim == 1
    assert model.theta_.dtype == dtype
    assert all(np.shares_memory(array, model.theta_) for array in model.params_.values())
    assert model.n_features_in_ == X.shape[1]
    assert not hasattr(model, "feature_names_in_")
    assert model.n_iter_ == len(model.loss_curve_) == len(model.validation_curve_) <= 20
    assert model.best_iter_ == np.argmin(model.validation_curve_) + 1
    assert_same_bits(model.order_, np.arange(X.shape[1]))
    assert isinstance(model.n_parameters_, int)


@every_model
def test_params_are_views_so_that_writing_to_them_changes_scores(name):
    model, X = fitted(name)
    before = model.score_samples(X)
    model.params_["b"][0] = 3.0
    assert (model.score_samples(X) != before).all()
    first = model.order_[0]
    np.testing.assert_allclose(model.conditionals(X)[:, first], 1 / (1 + np.exp(-3.0)), rtol=1e-6)


@pytest.mark.parametrize("order", ORDERS)
@every_model
def test_order_says_which_column_comes_when(name, order):
    model, _ = fitted(name, D=6, order=ORDERS[order](6))
    assert_same_bits(np.sort(model.order_), np.arange(6))
    if order != "random":
        expected = np.arange(6) if order == "natural" else np.asarray(ORDERS[order](6))
        assert_same_bits(model.order_, expected)
    other, _ = fitted(name, D=6, order=ORDERS[order](6))
    assert_same_bits(other.order_, model.order_)


@pytest.mark.parametrize(
    "later",
    [
        {"n_hidden": 9},
        {"hidden_layer_sizes": (9,), "n_masks": 2, "degrees": "random"},
        {"activation": "tanh"},
        {"markov_order": 1},
        {"dtype": "float64"},
    ],
    ids=str,
)
@every_model
def test_parameters_set_after_a_fit_wait_for_the_next_fit(name, later):
    model, X = fitted(name)
    if not set(later) <= set(model.get_params()):
        pytest.skip(f"{name} has no {set(later)}")
    before = model.score_samples(X)
    assert_same_bits(model.set_params(**later).score_samples(X), before)
    assert np.isfinite(fit(model, X).score(X))


# ---- scores


@pytest.mark.parametrize("order", ["natural", "random"])
@every_conditional
@every_model
def test_scores_of_features_rows_and_tables_agree(name, conditional, order):
    model, X = fitted(name, conditional, order=ORDERS[order](5), dtype="float64")
    features, rows = model.score_features(X), model.score_samples(X)
    assert features.shape == X.shape
    assert features.dtype == rows.dtype == np.float64
    np.testing.assert_allclose(features.sum(axis=1), rows, rtol=1e-12, atol=1e-12)
    assert isinstance(model.score(X), float)
    assert model.score(X) == pytest.approx(rows.mean(), rel=1e-12)
    assert model.score(X, np.zeros(len(X))) == model.score(X)
    weight = np.random.default_rng(0).integers(0, 4, len(X))
    weighted = model.score(X, sample_weight=weight)
    assert weighted == pytest.approx(model.score(np.repeat(X, weight, axis=0)), rel=1e-12)


@pytest.mark.parametrize("order", ORDERS)
@every_model
def test_conditionals_say_the_probabilities_that_scores_use(name, order):
    model, X = fitted(name, "bernoulli", order=ORDERS[order](5))
    p = model.conditionals(X)
    assert p.shape == X.shape
    np.testing.assert_allclose(np.log(np.where(X, p, 1 - p)), model.score_features(X), rtol=1e-4)
    model, X = fitted(name, "categorical", order=ORDERS[order](5))
    p = model.conditionals(X)
    assert p.shape == (*X.shape, 3)
    np.testing.assert_allclose(p.sum(axis=2), 1)
    chosen = np.take_along_axis(p, X[:, :, None], 2)[:, :, 0]
    np.testing.assert_allclose(np.log(chosen), model.score_features(X), rtol=1e-4, atol=1e-6)
    model, X = fitted(name, "gaussian", order=ORDERS[order](5))
    said = model.conditionals(X)
    assert said["mean"].shape == said["variance"].shape == X.shape
    square = (X - said["mean"]) ** 2 / said["variance"]
    logp = -(np.log(2 * np.pi * said["variance"]) + square) / 2
    np.testing.assert_allclose(logp, model.score_features(X), rtol=1e-4, atol=1e-4)


@every_model
def test_levels_may_differ_from_column_to_column(name):
    X = levels(60, 4)
    X[:, 1] %= 2
    X[:, 2] = X[:, 2] * 10 - 7
    X[:, 3] = 5
    model = fit(make(name, distribution=conditionals.Categorical("error")), X)
    p = model.conditionals(X)
    assert {column: each.shape for column, each in p.items()} == {
        0: (60, 3), 1: (60, 2), 2: (60, 3), 3: (60, 1)
    }  # fmt: skip
    for each in p.values():
        np.testing.assert_allclose(each.sum(axis=1), 1, rtol=1e-6)
    drawn = model.sample(500, random_state=0)
    assert [set(column) for column in drawn.T] == [set(column) for column in X.T]


# ---- scikit-learn's tools


@unconverged
@every_model
@pytest.mark.parametrize("kind", ["integers", "strings", "numbers", "a frame"])
def test_a_fold_may_hold_a_value_that_the_others_lack(name, kind):
    rng = np.random.default_rng(0)
    X = rng.integers(0, 4, (80, 2))
    X[3] = [97, -5]
    if kind == "numbers":
        X = np.where(X == 97, 1e3, X + rng.random(X.shape))
    if kind in ("strings", "a frame"):
        X = pd.DataFrame(X, columns=["a", "b"]).astype({"a": str})
        X = X.astype({"b": str}) if kind == "strings" else X
    assert np.isfinite(cross_val_score(make(name), X, cv=4)).all()


@unconverged
@every_model
def test_pipelines_grid_searches_and_cross_validation_take_estimators(name):
    X = reals(90, 3)
    model = make(name, distribution="gaussian")
    pipeline = Pipeline([("scale", StandardScaler()), ("density", model)])
    assert np.isfinite(pipeline.fit(X).score(X))
    assert pipeline.score_samples(X).shape == (90,)
    assert cross_val_score(make(name), X, cv=3).shape == (3,)
    search = GridSearchCV(pipeline, {"density__learning_rate_init": [1e-6, 0.05]}, cv=3).fit(X)
    assert search.best_params_ == {"density__learning_rate_init": 0.05}
    assert np.isfinite(search.score(X))
    binary = make_pipeline(Binarizer(threshold=100.0), make(name)).fit(X)
    assert binary[-1].distribution_.name == "bernoulli"


@unconverged
@every_model
def test_estimators_work_in_a_column_transformer(name):
    class Score(TransformerMixin, BaseEstimator):
        def fit(self, X, y=None):
            self.model_ = make(name).fit(X)
            return self

        def transform(self, X):
            return self.model_.score_samples(X)[:, None]

    X = np.hstack([bits(60, 3), levels(60, 2)])
    scored = ColumnTransformer([("a", Score(), [0, 1, 2]), ("b", Score(), [3, 4])]).fit_transform(X)
    assert scored.shape == (60, 2)


@every_model
def test_a_clone_is_unfitted_with_the_same_parameters(name):
    model, X = fitted(name, order="random", markov_order=2)
    again = clone(model)
    assert_same(again.get_params(), model.get_params())
    assert not hasattr(again, "theta_")
    assert_same_bits(fit(again, X).theta_, model.theta_)


@pytest.mark.parametrize("copier", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
@every_conditional
@every_model
def test_copies_and_pickles_behave_alike_and_own_their_parameters(name, conditional, copier):
    model, X = fitted(name, conditional, order="random")
    again, before = copier(model), model.score_samples(X)
    assert_same_bits(again.score_samples(X), before)
    assert_same_bits(again.sample(5, random_state=0), model.sample(5, random_state=0))
    assert all(np.shares_memory(array, again.theta_) for array in again.params_.values())
    again.params_["b"][...] += 1
    assert (again.score_samples(X) != before).any()
    assert_same_bits(model.score_samples(X), before)


@every_model
def test_an_unpickled_model_learns_on(name):
    model, X = fitted(name)
    model.partial_fit(X)
    again = pickle.loads(pickle.dumps(model))
    assert_same_bits(again.partial_fit(X).theta_, model.partial_fit(X).theta_)


@every_model
def test_the_same_seed_gives_the_same_model_and_samples(name):
    first, _ = fitted(name, order="random", random_state=3)
    second, _ = fitted(name, order="random", random_state=np.random.RandomState(3))
    other, _ = fitted(name, order="random", random_state=4)
    assert_same_bits(first.theta_, second.theta_)
    assert (first.theta_ != other.theta_).any()
    drawn = first.sample(20, random_state=5)
    assert_same_bits(first.sample(20, random_state=np.random.RandomState(5)), drawn)
    assert (first.sample(20, random_state=6) != drawn).any()


@every_model
def test_every_parameter_is_documented_keyword_only_and_stored_untouched(name):
    sentinel = {key: object() for key in make(name).get_params()}
    model = models.BY_NAME[name](**sentinel)
    assert all(getattr(model, key) is value for key, value in sentinel.items())
    assert all(f"{key} :" in models.BY_NAME[name].__doc__ for key in sentinel)
    assert set(SMALL[name]) <= set(sentinel)
    with pytest.raises(TypeError, match="positional"):
        models.BY_NAME[name](10)
