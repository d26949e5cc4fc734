"""Mixtures: what members are, and the threads that they share."""

import threading

import numpy as np
import pandas as pd
import pytest
from common import assert_same, assert_same_bits, bits, fit, fitted, make, reals, snapshot, states
from mixtures import (
    Recorder,
    assert_follows,
    biased,
    every_model,
    fitted_mixture,
    frozen,
    members_scores,
    mixed,
)
from sklearn import config_context, get_config
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastar import Mixture
from fastar._core import threads
from fastar.models._em import best_weights

# ---- members


@every_model
def test_members_have_seeds_and_orders_of_their_own(name):
    mixture, X = fitted_mixture(name, D=8)
    assert len({member.random_state for member in mixture.estimators_}) == 3
    assert len({tuple(member.order_) for member in mixture.estimators_}) == 3
    again, _ = fitted_mixture(name, D=8)
    for member, other in zip(mixture.estimators_, again.estimators_, strict=True):
        assert_same_bits(member.theta_, other.theta_)
    for member in mixture.estimators_:
        assert_same_bits(fit(clone(member), X).theta_, member.theta_)
    other = fit(mixed(name).set_params(random_state=1), X)
    assert (other.score_samples(X) != mixture.score_samples(X)).any()


def test_a_list_keeps_its_seeds_and_gets_those_it_has_not():
    X = bits(60, 4)
    listed = [make(random_state=5), make(random_state=None), make(random_state=5)]
    mixture = fit(Mixture(listed, random_state=0), X)
    assert [member.random_state for member in listed] == [5, None, 5]
    seeds = [member.random_state for member in mixture.estimators_]
    assert seeds[0] == seeds[2] == 5
    assert isinstance(seeds[1], int)
    assert_same_bits(mixture.estimators_[0].theta_, mixture.estimators_[2].theta_)
    assert_same_bits(fit(make(random_state=5), X).theta_, mixture.estimators_[0].theta_)
    assert not any(hasattr(member, "theta_") for member in listed)


@pytest.mark.parametrize(("n_members", "expected"), [(None, 8), (1, 1), (3, 3)])
def test_one_estimator_is_cloned(n_members, expected):
    X = bits(40, 3)
    mixture = fit(mixed(n_members=n_members), X)
    assert len(mixture.estimators_) == expected
    np.testing.assert_allclose(mixture.weights_, 1 / expected)
    parts = sum(member.n_parameters_ for member in mixture.estimators_)
    assert mixture.n_parameters_ == parts
    found = fit(mixture.set_params(weights="em"), X)
    assert found.n_parameters_ == parts + expected - 1
    assert mixture.n_features_in_ == 3


@every_model
def test_the_parameters_are_stored_untouched(name):
    estimator, weights = make(name), [1, 2]
    mixture = Mixture(estimator, n_members=2, weights=weights)
    assert mixture.estimator is estimator
    before = snapshot(estimator)
    fit(mixture, bits(60, 3)).sample(3)
    assert mixture.weights is weights
    assert weights == [1, 2]
    assert_same(before, snapshot(estimator))
    assert all(f"{key} :" in Mixture.__doc__ for key in mixture.get_params(deep=False))
    with pytest.raises(TypeError, match="positional"):
        Mixture(estimator, 3)


def test_frozen_members_stay_as_they_are():
    first, X = fitted(order="random", random_state=1)
    second, _ = fitted(random_state=2)
    states_before = snapshot(first), snapshot(second)
    scores = np.exp(np.column_stack([first.score_samples(X), second.score_samples(X)]))
    mixture = frozen(first, second, X=X)
    np.testing.assert_allclose(mixture.score_samples(X), np.log(scores.mean(axis=1)), rtol=1e-9)
    mixture.sample(30, random_state=0)
    mixture.impute(np.where(X[:5] > 0, np.nan, 0), random_state=0)
    assert_same(states_before, (snapshot(first), snapshot(second)))
    mixture = fit(Mixture([FrozenEstimator(first), make(random_state=3)], weights="em"), X)
    assert mixture.estimators_[0].estimator is first
    assert_same_bits(mixture.estimators_[0].theta_, first.theta_)
    assert mixture.n_parameters_ == 2 * first.n_parameters_ + 1


def test_all_rows_judge_frozen_members():
    good, X = fitted(max_iter=60)
    mixture = frozen(good, biased(0.5, D=5), weights="em", X=X)
    scores = members_scores(mixture, X)
    weights, curve = best_weights(scores, np.ones(len(X)))
    assert_same_bits(mixture.weights_, weights)
    assert mixture.validation_curve_ == curve
    weight = np.arange(len(X)) % 3
    again = fit(clone(mixture), X, sample_weight=weight)
    assert_same_bits(again.weights_, best_weights(scores, weight.astype(float))[0])


def test_frozen_members_must_be_fitted_and_fit_the_table():
    model, _ = fitted(D=5)
    with pytest.raises(NotFittedError):
        Mixture([FrozenEstimator(make())]).fit(bits(20, 5))
    with pytest.raises(ValueError, match="X has 4 features, but NADE is expecting 5 features"):
        Mixture([FrozenEstimator(model)]).fit(bits(20, 4))
    frame = pd.DataFrame(bits(60, 2), columns=["a", "b"])
    named = fit(make(), frame)
    mixture = Mixture([FrozenEstimator(named)]).fit(frame)
    assert_same_bits(mixture.score_samples(frame), named.score_samples(frame))
    with pytest.raises(ValueError, match="feature names"):
        Mixture([FrozenEstimator(named)]).fit(frame.rename(columns={"b": "c"}))
    unnamed = fit(make(), frame.to_numpy())
    mixture = Mixture([FrozenEstimator(unnamed), FrozenEstimator(named)]).fit(frame)
    assert np.isfinite(mixture.score(frame))


def test_members_may_be_any_density_estimators():
    X = reals(120, 2)
    pipeline = make_pipeline(StandardScaler(), make(distribution="gaussian"))
    listed = [KernelDensity(bandwidth=2.0), make(distribution="gaussian")]
    mixture = fit(Mixture([*listed, pipeline], weights="em", random_state=0), X)
    expected = np.log(np.exp(members_scores(mixture, X)) @ mixture.weights_)
    np.testing.assert_allclose(mixture.score_samples(X), expected, rtol=1e-9)
    mixture = fit(Mixture(listed, random_state=0), X)
    drawn = mixture.sample(4_000, random_state=0)
    np.testing.assert_allclose(drawn.mean(axis=0), X.mean(axis=0), atol=0.15 * X.std())
    for call in (
        lambda: mixture.impute(X),
        lambda: mixture.sample(2, evidence=[1, np.nan]),
        lambda: mixture.score_features(X),
    ):
        with pytest.raises(
            TypeError, match=r"models of rows of this library\. Got a KernelDensity"
        ):
            call()


def test_a_mixture_of_mixtures_is_the_mixture_of_their_members():
    X = bits(200, 4)
    inner = Mixture(make(order="random"), n_members=2, weights=[1, 3], n_jobs=1)
    outer = fit(Mixture([inner, make()], weights=[2, 1], random_state=0, n_jobs=2), X)
    members = [*outer.estimators_[0].estimators_, outer.estimators_[1]]
    flat = frozen(*members, weights=[2 / 4, 6 / 4, 1], X=X)
    np.testing.assert_allclose(outer.score_samples(X), flat.score_samples(X), rtol=1e-12)
    assert outer.n_parameters_ == flat.n_parameters_
    holed = np.where(np.arange(4) == 1, np.nan, X[:50])
    full = outer.impute(holed, random_state=0)
    np.testing.assert_allclose(full, flat.impute(holed, random_state=0))
    rows = states("bernoulli", 4)
    drawn = outer.sample(10_000, random_state=0)
    assert_follows(drawn, rows, np.exp(outer.score_samples(rows)))


# ---- threads


def life(n_jobs, **parameters):
    """Return all that a mixture computes in its life."""
    mixture, X = fitted_mixture(n=300, D=7, n_jobs=n_jobs, weights="em", max_iter=3, **parameters)
    held = np.where(np.arange(7) % 3 == 0, X[0].astype(float), np.nan)
    return {
        "members": [member.theta_ for member in mixture.estimators_],
        "weights": mixture.weights_,
        "rows": mixture.score_samples(X),
        "responsibilities": mixture.responsibilities(X),
        "sample": mixture.sample(300, random_state=1),
        "evidence": mixture.sample(50, evidence=held, random_state=1),
        "imputed": mixture.impute(np.repeat(held[None], 30, axis=0), random_state=1),
    }


@pytest.mark.parametrize("n_jobs", [2, 3, 8, None, -1])
def test_the_same_bits_for_any_number_of_jobs(n_jobs, monkeypatch):
    monkeypatch.setattr(threads, "_WORTH_A_THREAD", 1)
    assert_same(life(1, n_hidden=261), life(n_jobs, n_hidden=261))


class Configured(Recorder):
    """Remembers scikit-learn's configuration."""

    def fit(self, X, y=None):
        self.n_features_in_ = X.shape[1]
        self.assume_finite_ = get_config()["assume_finite"]
        return self

    def score_samples(self, X):
        return np.full(len(X), float(get_config()["assume_finite"]))


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_scikit_learns_configuration_reaches_the_members(n_jobs):
    mixture = Mixture(Configured(), n_members=2, n_jobs=n_jobs)
    with config_context(assume_finite=True):
        mixture.fit(reals(10, 2))
        for n in (10, 1000):
            assert mixture.score(reals(n, 2)) == pytest.approx(1)
    assert all(member.assume_finite_ for member in mixture.estimators_)
    assert mixture.score(reals(10, 2)) == pytest.approx(0)


class Threads:
    """Counts the threads of the trainings that run at the same time.

    Each training waits until as many have been seen as are expected, or for a while.
    """

    change = threading.Condition()

    def __init__(self, seen, expected):
        self.seen, self.expected = seen, expected

    def __deepcopy__(self, memo):
        return self

    def on_fit_begin(self, training):
        with self.change:
            self.seen["now"] += training.n_threads
            self.seen["most"] = max(self.seen["most"], self.seen["now"])
            self.change.notify_all()
            self.change.wait_for(lambda: self.seen["most"] >= self.expected, timeout=10)

    def on_epoch_end(self, training):
        pass

    def on_fit_end(self, training):
        with self.change:
            self.seen["now"] -= training.n_threads


@pytest.mark.parametrize(("n_jobs", "n_members"), [(1, 3), (2, 5), (5, 2), (4, 4), (7, 3)])
def test_members_share_n_jobs_threads_among_them(n_jobs, n_members):
    seen = {"now": 0, "most": 0}
    callback = Threads(seen, min(n_jobs, n_members))
    mixture = mixed(n_members=n_members, n_jobs=n_jobs, max_iter=2, callbacks=callback)
    mixture.estimator.n_jobs = 3
    fit(mixture, bits(60, 4))
    assert seen["now"] == 0
    assert seen["most"] <= n_jobs
    assert seen["most"] >= min(n_jobs, n_members)
    for member in mixture.estimators_:
        assert member.n_jobs == 3
        assert member.callbacks is callback
