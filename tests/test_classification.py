"""Bayes' rule over densities."""

import pickle

import numpy as np
import pandas as pd
import pytest
from common import DATA, MODELS, assert_same_bits, fit, make
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Binarizer
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastar import NADE, GenerativeClassifier, Mixture

unconverged = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
KINDS = {"one a class": {}, "shared": {"shared": True}, "abstaining": {"abstention": 0.2}}
every_kind = pytest.mark.parametrize("kind", KINDS)


def classifier(kind="one a class", name="NADE", **settings):
    return GenerativeClassifier(make(name, **settings), random_state=0, **KINDS[kind])


def two_patterns(n=300, D=6, flips=0.15, seed=0):
    """Return rows near 010101 or near 101010, and which: names."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    X = (np.arange(D) + y[:, None]) % 2 ^ (rng.random((n, D)) < flips)
    return X.astype(np.uint8), np.array(["even", "odd"])[y]


NOT_OURS = {
    "check_sample_weight_equivalence_on_dense_data": "training is by random minibatches",
    "check_sample_weight_equivalence_on_sparse_data": "training is by random minibatches",
    "check_estimators_nan_inf": "what is missing in predict is integrated out",
}


@unconverged
@parametrize_with_checks(
    [classifier(kind) for kind in KINDS], expected_failed_checks=lambda _: NOT_OURS
)
def test_scikit_learns_own_checks_pass(estimator, check):
    check(estimator)


@every_kind
@pytest.mark.parametrize("name", MODELS)
def test_probabilities_follow_from_densities_by_bayes_rule(name, kind):
    X, y = two_patterns()
    y = np.where(np.arange(len(y)) < 40, "third", y)
    model = fit(classifier(kind, name), X, y=y)
    assert list(model.classes_) == ["even", "odd", "third"]
    weight = np.unique(y, return_counts=True)[1] / len(y)
    if kind != "abstaining":
        np.testing.assert_allclose(model.class_prior_, weight)
    joint = np.empty((len(X), 3))
    for k in range(3):
        if kind == "shared":
            context = np.full((len(X), 1), k, object)
            joint[:, k] = model.densities_[0].score_samples(X, context=context)
        else:
            joint[:, k] = model.densities_[k].score_samples(X)
    joint += np.log(model.class_prior_)
    total = np.logaddexp.reduce(joint, axis=1)
    np.testing.assert_allclose(model.score_samples(X), total)
    np.testing.assert_allclose(model.predict_log_proba(X), joint - total[:, None])
    np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1)
    assert_same_bits(model.predict(X), model.classes_[joint.argmax(axis=1)])


@every_kind
def test_patterns_are_told_apart_with_half_of_a_row_missing_too(kind):
    X, y = two_patterns()
    new, truth = two_patterns(200, seed=1)
    model = fit(classifier(kind, max_iter=60), X, y=y)
    assert model.score(new, truth) > 0.93
    gaps = np.where(np.arange(6) < 3, np.nan, new)
    rule = new[:, 3:].astype(int)
    expected = np.where((rule == (np.arange(3, 6) + 1) % 2).sum(axis=1) > 1.5, "odd", "even")
    assert (model.predict(gaps) == expected).mean() > 0.9
    assert np.isfinite(model.predict_log_proba(gaps)).all()


def test_a_level_that_one_class_lacks_makes_it_improbable_not_an_error():
    X = np.array([[0, 1], [1, 2], [2, 0], [2, 2]] * 30)
    y = np.array([0, 0, 1, 1] * 30)
    model = fit(classifier(max_iter=100), X, y=y)
    assert model.predict_proba([[2, 2]])[0, 1] > 0.8
    assert np.isfinite(model.predict_log_proba(X)).all()


def test_rows_like_none_in_fit_are_abstained_from():
    X, y = two_patterns(2000)
    model = fit(classifier("abstaining", max_iter=60), X, y=y)
    fresh, _ = two_patterns(2000, seed=2)
    assert 0.1 < model.abstains(fresh).mean() < 0.3
    noise = np.random.default_rng(0).integers(0, 2, (2000, 6)).astype(np.uint8)
    assert model.abstains(noise).mean() > 0.5
    assert not fit(classifier(max_iter=5), X, y=y).abstains(noise).any()


def test_a_random_state_decides_all():
    X, y = two_patterns(60)
    pair = [GenerativeClassifier(NADE(n_hidden=4, max_iter=3), random_state=0) for _ in range(2)]
    first, second = (fit(model, X, y=y).predict_proba(X) for model in pair)
    assert_same_bits(first, second)


def test_weights_of_rows_are_weights_of_classes():
    X, y = two_patterns()
    weight = np.where(y == "odd", 3.0, 1.0)
    model = GenerativeClassifier(make(), random_state=0)
    fit(model, X, y=y, sample_weight=weight)
    odd = weight[y == "odd"].sum() / weight.sum()
    np.testing.assert_allclose(model.class_prior_, [1 - odd, odd])


def test_frames_with_gaps_and_names_of_categories():
    X, y = two_patterns(D=4)
    frame = pd.DataFrame({f"column {d}": np.array(["no", "yes"])[X[:, d]] for d in range(4)})
    model = fit(classifier(max_iter=60), frame, y=y)
    assert list(model.feature_names_in_) == list(frame.columns)
    gaps = frame.head(40).copy()
    gaps.iloc[:, 0] = None
    assert (model.predict(gaps) == y[:40]).mean() > 0.8


def test_an_ensemble_can_be_the_density():
    X, y = two_patterns()
    model = GenerativeClassifier(Mixture(make(max_iter=10), n_members=2, random_state=0))
    assert fit(model, X, y=y).score(X, y) > 0.9


@every_kind
def test_real_columns_need_no_scaler(kind):
    X = DATA["gaussian"](300, 3)
    y = (X[:, 0] > X[:, 0].mean()).astype(int)
    assert fit(classifier(kind, max_iter=40), X, y=y).score(X, y) > 0.85


@unconverged
def test_it_works_inside_pipelines_searches_and_pickles():
    X, y = two_patterns()
    search = GridSearchCV(classifier(), {"density__n_hidden": [3, 7]}, cv=2).fit(X, y)
    assert search.best_score_ > 0.9
    whole = make_pipeline(Binarizer(), classifier())
    assert cross_val_score(whole, X, y, cv=2).mean() > 0.9
    model = fit(classifier(), X, y=y)
    again = pickle.loads(pickle.dumps(model))
    assert_same_bits(again.predict_log_proba(X), model.predict_log_proba(X))
    assert_same_bits(fit(clone(model), X, y=y).predict_proba(X), model.predict_proba(X))


@pytest.mark.parametrize(
    ("y", "settings", "message"),
    [
        (np.zeros(9), {}, "y must have a class for each of 10 rows of X. Got 9"),
        (np.linspace(0, 1, 10), {}, "Unknown label type: continuous"),
        (np.arange(10), {"abstention": 0.1}, "abstention must have rows that calibrate it"),
        (np.zeros(10), {"abstention": 1.0}, "'abstention' parameter"),
        (np.zeros(10), {"n_particles": 0}, "'n_particles' parameter"),
        (np.zeros(10), {"density": 3}, "'density' parameter"),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(y, settings, message):
    model = GenerativeClassifier(make(), random_state=0).set_params(**settings)
    with pytest.raises(ValueError, match=message):
        model.fit(DATA["bernoulli"](10, 3), y)
    assert not [name for name in vars(model) if name.endswith("_")]


def test_a_class_without_weight_is_refused():
    X, y = two_patterns()
    with pytest.raises(ValueError, match=r"every class some weight\. Got none for .*odd"):
        classifier().fit(X, y, sample_weight=y == "even")


@unconverged
def test_abstention_on_rows_with_gaps_depends_on_neither_units_nor_their_number():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 600)
    X = rng.normal(size=(600, 3)) + y[:, None]
    gap = rng.random(X.shape) < 0.3
    gap[:300] = gap[:, 0] = False
    shares = []
    for unit in (1.0, 1e-3, 1e6):
        classifier = GenerativeClassifier(make(), abstention=0.1, random_state=0)
        classifier.fit(unit * X[:300], y[:300])
        abstains = classifier.abstains(np.where(gap, np.nan, unit * X)[300:])
        shares.append([abstains[gap[300:].sum(axis=1) == k].mean() for k in range(3)])
    np.testing.assert_allclose(shares[1:], [shares[0]] * 2, atol=0.04)
    assert np.max(shares) < 0.3


def test_a_class_without_weight_is_named_as_the_user_has_it():
    X, y = np.arange(8)[:, None] % 3, np.array(["a", "b"] * 4)
    with pytest.raises(ValueError, match=r"every class some weight\. Got none for 'b'\."):
        GenerativeClassifier().fit(X, y, sample_weight=y == "a")
