"""Mixtures: exact sums of their members, whatever these are and however they are trained."""

import copy
import os
import pickle
import signal
import threading
import time
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
from common import (
    COMPOSITIONS,
    DATA,
    DISCRETE,
    MODELS,
    assert_same,
    assert_same_bits,
    bits,
    distribution,
    fit,
    fitted,
    levels,
    make,
    reals,
    snapshot,
    states,
)
from scipy import sparse, stats
from scipy.optimize import minimize
from sklearn import config_context, get_config
from sklearn.base import BaseEstimator, DensityMixin, clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Binarizer, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import fastar
from fastar import Mixture, conditionals
from fastar._core import threads
from fastar._core.files import read_arrays, write_arrays
from fastar.models._em import best_weights

every_model = pytest.mark.parametrize("name", MODELS)
every_composition = pytest.mark.parametrize(("name", "conditional"), COMPOSITIONS)
every_discrete = pytest.mark.parametrize("conditional", DISCRETE)
every_weights = pytest.mark.parametrize("weights", ["equal", "em", [0.2, 0, 1.3]], ids=str)
unconverged = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def mixed(name="NADE", n_members=3, weights="equal", n_jobs=1, **parameters):
    """Return an unfitted mixture of small models with orders of their own."""
    member = make(name, **{"order": "random"} | parameters)
    settings = {"n_members": n_members, "weights": weights, "n_jobs": n_jobs}
    return Mixture(member, **settings, random_state=0)


def fitted_mixture(name="NADE", conditional="bernoulli", n=300, D=5, **parameters):
    """Return a fitted one and its data."""
    X = DATA[conditional](n, D)
    chosen = distribution(conditional, D)
    return fit(mixed(name, distribution=chosen, **parameters), X), X


def frozen(*members, weights="equal", X=None):
    """Return a mixture of members that are fitted already."""
    D = members[0].n_features_in_
    listed = [FrozenEstimator(member) for member in members]
    return Mixture(listed, weights=weights, n_jobs=1).fit(bits(4, D) if X is None else X)


def members_scores(mixture, X):
    return np.column_stack([member.score_samples(X) for member in mixture.estimators_])


def assert_follows(drawn, rows, probability, significance=1e-3):
    """Compare drawn rows with the probabilities of all `rows` there can be by a chi-square test."""
    found, counts = np.unique(drawn, axis=0, return_counts=True)
    observed = np.zeros(len(rows))
    for row, count in zip(found, counts, strict=True):
        observed[(rows == row).all(axis=1)] = count
    assert observed.sum() == len(drawn)
    expected = probability / probability.sum() * len(drawn)
    rare = expected < 5
    if rare.any():
        observed = np.append(observed[~rare], observed[rare].sum())
        expected = np.append(expected[~rare], expected[rare].sum())
    assert stats.chisquare(observed, expected).pvalue > significance


@unconverged
@parametrize_with_checks(
    [
        mixed(name, n_members=2, n_jobs=2, weights=weights)
        for name in MODELS[:1]
        for weights in ("equal", "em")
    ]
)
def test_scikit_learns_own_checks_pass(estimator, check):
    check(estimator)


# ---- the density


@pytest.mark.parametrize("weights", ["equal", "em"])
@every_composition
def test_the_density_is_the_weighted_sum_of_the_members(name, conditional, weights):
    mixture, X = fitted_mixture(name, conditional, weights=weights)
    density = np.exp(members_scores(mixture, X)) @ mixture.weights_
    scores = mixture.score_samples(X)
    np.testing.assert_allclose(scores, np.log(density), rtol=1e-10)
    assert scores.dtype == np.float64
    assert isinstance(mixture.score(X), float)
    assert mixture.score(X) == pytest.approx(scores.mean(), rel=1e-12)
    weight = np.random.default_rng(0).integers(0, 4, len(X))
    again = mixture.score(np.repeat(X, weight, axis=0))
    assert mixture.score(X, sample_weight=weight) == pytest.approx(again, rel=1e-12)


@every_weights
@every_discrete
@every_model
def test_probabilities_of_all_states_sum_to_one(name, conditional, weights):
    mixture, _ = fitted_mixture(name, conditional, weights=weights, dtype="float64")
    total = np.exp(mixture.score_samples(states(conditional, 5))).sum()
    assert total == pytest.approx(1, abs=1e-10)


def test_scores_far_below_the_smallest_number_are_finite():
    model, X = fitted("NADE", "gaussian")
    far = X + 1e4
    scores = frozen(model, model, X=X).score_samples(far)
    assert (scores < -1e6).all()
    np.testing.assert_allclose(scores, model.score_samples(far), rtol=1e-12)


def test_the_same_bits_for_any_batch_of_scoring():
    mixture, X = fitted_mixture(n=700, D=30)
    scores = mixture.score_samples(X)
    for size in (1, 7, 255, 257):
        some = [mixture.score_samples(X[start : start + size]) for start in range(0, 700, size)]
        assert_same_bits(np.concatenate(some[:20]), scores[: 20 * size])


@every_weights
def test_responsibilities_follow_from_bayes(weights):
    mixture, X = fitted_mixture(weights=weights)
    joint = np.exp(members_scores(mixture, X)) * mixture.weights_
    posterior = mixture.responsibilities(X)
    np.testing.assert_allclose(posterior, joint / joint.sum(axis=1, keepdims=True), rtol=1e-9)
    np.testing.assert_allclose(posterior.sum(axis=1), 1)


def test_a_row_that_no_member_makes_possible_tells_them_not_apart():
    X = reals(50, 2)
    boxes = [KernelDensity(kernel="tophat", bandwidth=width) for width in (5, 9)]
    mixture = Mixture(boxes, weights=[1, 3]).fit(X)
    far = np.array([[1e6, 1e6]])
    assert mixture.score_samples(far) == -np.inf
    np.testing.assert_allclose(mixture.responsibilities(far), [[0.25, 0.75]])


@pytest.mark.parametrize("order", ["natural", [2, 0, 3, 1]])
@every_discrete
@every_model
def test_the_terms_of_columns_are_ratios_of_marginals(name, conditional, order):
    settings = {"order": order, "weights": [1, 2, 4], "dtype": "float64"}
    mixture, _ = fitted_mixture(name, conditional, D=4, **settings)
    rows = states(conditional, 4)
    p, terms = np.exp(mixture.score_samples(rows)), mixture.score_features(rows)
    np.testing.assert_allclose(terms.sum(axis=1), np.log(p), rtol=1e-10)
    columns = np.arange(4) if order == "natural" else np.array(order)
    for d in range(4):
        marginals = []
        for known in (columns[: d + 1], columns[:d]):
            same = (rows[:, None, known] == rows[None, :, known]).all(axis=2)
            marginals.append(same @ p)
        expected = np.log(marginals[0] / marginals[1])
        np.testing.assert_allclose(terms[:, columns[d]], expected, rtol=1e-8, atol=1e-12)


def test_members_of_several_orders_have_no_terms_of_columns():
    mixture, X = fitted_mixture(D=6)
    with pytest.raises(ValueError, match=r"one order of the columns.* Got 3 orders instead"):
        mixture.score_features(X)


# ---- samples


@every_weights
@every_discrete
@every_model
def test_samples_follow_the_density(name, conditional, weights):
    mixture, X = fitted_mixture(name, conditional, D=4, weights=weights)
    rows = states(conditional, 4)
    drawn = mixture.sample(20_000, random_state=1)
    assert drawn.dtype == X.dtype
    assert_follows(drawn, rows, np.exp(mixture.score_samples(rows)))


def biased(p, D=3, **parameters):
    """Return a model of independent columns of which a share p is one."""
    X = (np.arange(200)[:, None] % 100 < 100 * p).repeat(D, axis=1).astype(np.uint8)
    rng = np.random.default_rng(0)
    X = rng.permuted(X, axis=0)
    model = fit(make("NADE", early_stopping=False, max_iter=1, **parameters), X)
    model.theta_[:] = 0
    model.params_["b"][:] = np.log(p / (1 - p))
    return model


def test_members_rows_come_in_random_order():
    mixture = frozen(biased(0.001), biased(0.999), weights=[1, 3])
    drawn = mixture.sample(8_000, random_state=0).mean(axis=1) > 0.5
    assert drawn.mean() == pytest.approx(0.75, abs=0.03)
    for part in np.split(drawn, 8):
        assert part.mean() == pytest.approx(0.75, abs=0.07)
    assert np.corrcoef(drawn[1:], drawn[:-1])[0, 1] == pytest.approx(0, abs=0.05)


def test_temperature_sharpens_the_members_and_leaves_the_weights():
    mixture = frozen(biased(0.3), biased(0.9), weights=[1, 1])
    cold = mixture.sample(2_000, temperature=0.05, random_state=0)
    assert (cold == cold[:, :1]).all()
    assert cold[:, 0].mean() == pytest.approx(0.5, abs=0.05)


def test_the_same_seed_gives_the_same_samples():
    mixture, _ = fitted_mixture()
    drawn = mixture.sample(50, random_state=3)
    assert_same_bits(mixture.sample(50, random_state=np.random.RandomState(3)), drawn)
    assert (mixture.sample(50, random_state=4) != drawn).any()


@every_model
def test_evidence_first_in_all_orders_is_exact(name):
    mixture, _ = fitted_mixture(name, D=5, order="natural", weights=[1, 2, 3], max_iter=60)
    rows = states("bernoulli", 5)
    rows = rows[(rows[:, :2] == [1, 0]).all(axis=1)]
    held = [1, 0, np.nan, np.nan, np.nan]
    drawn = mixture.sample(20_000, evidence=held, random_state=0)
    assert drawn.dtype == np.uint8
    assert_follows(drawn, rows, np.exp(mixture.score_samples(rows)))
    each_its_own = np.tile(np.array(held), (40, 1))
    each_its_own[:20, 0] = 0
    drawn = mixture.sample(40, evidence=each_its_own, random_state=0)
    assert_same_bits(drawn[:, 0], np.repeat(np.array([0, 1], np.uint8), 20))


def test_evidence_tells_which_member_completes_a_row():
    mixture = frozen(biased(0.01), biased(0.99))
    drawn = mixture.sample(500, evidence=[1, np.nan, np.nan], random_state=0)
    assert drawn[:, 1:].mean() > 0.9


# ---- imputation


@every_discrete
@every_model
def test_completions_follow_the_posterior_where_the_evidence_comes_first(name, conditional):
    settings = {"order": [3, 0, 1, 2], "weights": [1, 2, 3], "max_iter": 60}
    mixture, _ = fitted_mixture(name, conditional, D=4, **settings)
    X = np.tile([1, np.nan, np.nan, 0], (8_000, 1))
    rows = states(conditional, 4)
    rows = rows[(rows[:, 0] == 1) & (rows[:, 3] == 0)]
    full = mixture.impute(X, n_particles=1, random_state=0)
    assert_follows(full, rows, np.exp(mixture.score_samples(rows)))


@pytest.mark.parametrize("held", [[0], [3], [1, 2], [0, 2, 3]])
@every_model
def test_completions_follow_the_posterior_in_any_order(name, held):
    mixture, _ = fitted_mixture(name, D=4, weights=[1, 2, 3], max_iter=60)
    row = np.full(4, np.nan)
    row[held] = np.array([1, 0, 1, 0])[held]
    rows = states("bernoulli", 4)
    rows = rows[(rows[:, held] == row[held]).all(axis=1)]
    full = mixture.impute(np.tile(row, (1_000, 1)), n_particles=64, random_state=0)
    assert_follows(full, rows, np.exp(mixture.score_samples(rows)), significance=1e-4)


def test_the_posterior_weighs_members_by_weight_and_evidence():
    mixture = frozen(biased(0.2), biased(0.8), weights=[3, 1])
    X = np.tile([1.0, np.nan, np.nan], (8_000, 1))
    p = mixture.responsibilities(states("bernoulli", 3))
    assert p.shape == (8, 2)
    share = np.array([3 * 0.2, 1 * 0.8]) / (3 * 0.2 + 1 * 0.8)
    full = mixture.impute(X, n_particles=4, random_state=0)
    assert full[:, 1].mean() == pytest.approx(share @ [0.2, 0.8], abs=0.03)
    weight = np.repeat(share / 4, 4)
    np.testing.assert_allclose(mixture.impute_ess_, 1 / (weight**2).sum(), rtol=1e-5)


def test_several_draws_and_complete_rows():
    mixture, X = fitted_mixture(D=5)
    holed = X[:30].astype(float)
    holed[:20, 2] = np.nan
    drawn = mixture.impute(holed, n_draws=4, random_state=0)
    assert drawn.shape == (4, 30, 5)
    assert np.isin(drawn, (0, 1)).all()
    known = ~np.isnan(holed)
    assert all((each[known] == holed[known]).all() for each in drawn)
    assert mixture.impute_ess_.shape == (30,)
    assert (mixture.impute_ess_[20:] == 3 * 16).all()
    assert ((mixture.impute_ess_ >= 1) & (mixture.impute_ess_ <= 48 + 1e-9)).all()
    frame = pd.DataFrame(holed, columns=list("abcde"))
    named = fit(mixed(), frame.fillna(0))
    full = named.impute(frame, random_state=0)
    assert isinstance(full, pd.DataFrame)
    assert list(full.columns) == list("abcde")


# ---- weights


def random_scores(n=200, K=4, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(-20, 2, (n, 1)) + rng.normal(0, 3, (n, K)), rng.integers(0, 3, n) * 0.5


@pytest.mark.parametrize("seed", range(5))
def test_em_never_loses_likelihood_and_ends_at_the_best_weights(seed):
    scores, row_weight = random_scores(seed=seed)
    weights, curve = best_weights(scores, row_weight)
    assert (weights >= 0).all()
    assert weights.sum() == pytest.approx(1, abs=1e-12)
    assert (np.diff(curve) <= 1e-12).all()

    def loss(w):
        return -np.average(np.log(np.exp(scores) @ w), weights=row_weight)

    assert curve[0] == pytest.approx(loss(np.full(4, 0.25)), rel=1e-12)
    assert curve[-1] == pytest.approx(loss(weights), rel=1e-12)
    simplex = {"type": "eq", "fun": lambda w: w.sum() - 1}
    start = np.full(4, 0.25)
    best = minimize(loss, start, bounds=[(1e-12, 1)] * 4, constraints=simplex, tol=1e-12)
    assert loss(weights) <= best.fun + 1e-6


def test_em_counts_a_row_of_weight_two_twice_and_of_weight_zero_not():
    scores, _ = random_scores()
    count = np.random.default_rng(1).integers(0, 4, len(scores))
    weights, curve = best_weights(scores, count.astype(float))
    repeated = np.repeat(scores, count, axis=0)
    again, curve_again = best_weights(repeated, np.ones(len(repeated)))
    np.testing.assert_allclose(weights, again, atol=1e-10)
    np.testing.assert_allclose(curve[-1], curve_again[-1], rtol=1e-10)
    scores[count == 0] = -np.inf
    assert_same_bits(best_weights(scores, count.astype(float))[0], weights)


def test_em_goes_by_the_rows_that_a_member_makes_possible():
    scores, row_weight = random_scores()
    row_weight += 1
    weights, _ = best_weights(scores[1:], row_weight[1:])
    scores[0] = -np.inf
    again, curve = best_weights(scores, row_weight)
    np.testing.assert_allclose(again, weights, atol=1e-12)
    assert curve[-1] == np.inf
    again, curve = best_weights(np.full((3, 2), -np.inf), np.ones(3))
    assert again.tolist() == [0.5, 0.5]
    assert curve == [np.inf]


def test_em_takes_to_the_one_good_member():
    weights, _ = best_weights(np.array([[-1.0, -50.0]] * 10), np.ones(10))
    np.testing.assert_allclose(weights, [1, 0], atol=1e-6)


@every_model
def test_em_beats_equal_weights_on_the_rows_it_was_given(name):
    X, X_val = bits(300, 6), bits(120, 6, seed=1)
    good, bad = make(name, max_iter=40), make(name, max_iter=1, learning_rate_init=1e-6)
    settings = {"random_state": 0, "n_jobs": 1}
    mixture = fit(Mixture([good, bad], weights="em", **settings), X, X_val=X_val)
    equal = fit(Mixture([good, bad], **settings), X, X_val=X_val)
    assert mixture.score(X_val) > equal.score(X_val)
    curve = mixture.validation_curve_
    assert (np.diff(curve) <= 1e-12).all()
    assert curve[0] == pytest.approx(-equal.score(X_val), rel=1e-9)
    assert curve[-1] == pytest.approx(-mixture.score(X_val), rel=1e-9)
    assert mixture.weights_[0] > 0.8
    assert not hasattr(equal, "validation_curve_")
    assert not hasattr(fit(mixture.set_params(weights="equal"), X), "validation_curve_")
    assert_same_bits(mixture.weights_, [0.5, 0.5])


class Recorder(DensityMixin, BaseEstimator):
    """Remembers what it was fitted with."""

    def fit(self, X, y=None, sample_weight=None):
        self.X_, self.sample_weight_ = X, sample_weight
        return self

    def score_samples(self, X):
        return np.zeros(len(X))


class Unweighted(Recorder):
    def fit(self, X, y=None):
        return super().fit(X)


def test_rows_for_em_are_held_out_from_all_members():
    X = np.arange(40.0)[:, None]
    weight = np.linspace(0, 2, 40)
    mixture = Mixture([Recorder(), Recorder()], weights="em", validation_fraction=0.25)
    first, second = mixture.fit(X, sample_weight=weight).estimators_
    assert_same_bits(first.X_, second.X_)
    assert len(first.X_) == 30
    assert first.X_[0] == 0  # no row without weight can be held out
    assert_same_bits(first.sample_weight_, weight[first.X_[:, 0].astype(int)])
    assert mixture.fit(X).estimators_[0].sample_weight_ is None
    assert_same_bits(mixture.set_params(weights="equal").fit(X).estimators_[0].X_, X)


def test_rows_for_em_change_no_parameter_of_a_member():
    seen = {}

    class Watch:
        def __deepcopy__(self, memo):
            return self

        def on_fit_begin(self, training):
            seen["rows"] = training.table.rows

        def on_epoch_end(self, training):
            pass

    X = bits(100, 4)
    callbacks = [Watch()]
    mixture = mixed(weights="em", n_members=1, early_stopping=False, callbacks=callbacks)
    fit(mixture, X)
    held = ~np.isin(np.arange(100), seen["rows"])
    assert held.sum() == 10
    flipped = np.where(held[:, None], 1 - X, X)
    again = fit(clone(mixture), flipped)
    assert_same_bits(again.estimators_[0].theta_, mixture.estimators_[0].theta_)


def test_a_level_that_is_seen_in_held_out_rows_alone_is_known_to_members():
    X = np.column_stack([np.arange(30), levels(30, 2)[:, 0]])
    mixture = mixed(distribution="categorical", weights="em").set_params(validation_fraction=0.5)
    assert np.isfinite(fit(mixture, X).score(X))


def test_validation_rows_reach_the_members_early_stopping():
    X, X_val = bits(200, 4), bits(60, 4, seed=1)
    mixture = fit(mixed(order="natural"), X, X_val=X_val)
    for member in mixture.estimators_:
        assert member.validation_curve_[member.best_iter_ - 1] == pytest.approx(
            -member.score(X_val), rel=1e-5
        )


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


# ---- interruptions and errors


class Interrupt:
    """Sends what Ctrl-C sends in the second epoch of the given fits, which have no end."""

    def __init__(self, fits=(1,)):
        self.fits = fits
        self.begun = 0

    def __deepcopy__(self, memo):
        return self

    def on_fit_begin(self, training):
        self.begun += 1

    def on_epoch_end(self, training):
        if self.begun in self.fits and training.progress.epoch == 2:
            signal.raise_signal(signal.SIGINT)
        elif self.begun not in self.fits and training.progress.epoch == 3:
            return True
        return None


ENDLESS = {"max_iter": 10**6, "n_iter_no_change": 10**6}


@pytest.mark.parametrize("weights", ["equal", "em", [1, 2, 5]], ids=str)
@pytest.mark.parametrize("depth", [1, 2])
def test_ctrl_c_keeps_the_members_that_had_begun(weights, depth):
    X = bits(100, 4)
    mixture = mixed(weights=weights, callbacks=Interrupt((2,)), **ENDLESS)
    if depth == 2:
        mixture = Mixture([mixture, make()], random_state=0, n_jobs=1)
    with pytest.warns(ConvergenceWarning) as caught:
        mixture.fit(X)
    messages = " ".join(str(each.message) for each in caught)
    assert "Training was interrupted in epoch" in messages
    assert "the mixture has the 2 of 3 members that had begun" in messages
    if depth == 2:
        assert "the mixture has the 1 of 2 members that had begun" in messages
        mixture = mixture.estimators_[0]
    assert len(mixture.estimators_) == len(mixture.weights_) == 2
    assert mixture.weights_.sum() == pytest.approx(1)
    assert np.exp(mixture.score_samples(states("bernoulli", 4))).sum() == pytest.approx(1, 1e-5)
    if weights == [1, 2, 5]:
        np.testing.assert_allclose(mixture.weights_, [1 / 3, 2 / 3])
    assert all(isinstance(member.callbacks, Interrupt) for member in mixture.estimators_)


class InterruptSoon(Interrupt):
    """Sends it soon after the second fit has begun."""

    def on_fit_begin(self, training):
        self.begun += 1
        if self.begun == 2:
            threading.Timer(0.2, self.send).start()

    def send(self):
        self.sent = time.monotonic()
        signal.raise_signal(signal.SIGINT)

    def on_epoch_end(self, training):
        pass


def test_ctrl_c_stops_members_in_the_midst_of_an_epoch():
    interrupt = InterruptSoon()
    settings = {"n_hidden": 50, "batch_size": 1, "max_iter": 2, "callbacks": interrupt}
    mixture = mixed(n_members=2, n_jobs=2, **settings)
    with pytest.warns(ConvergenceWarning, match="interrupted in epoch 1"):
        mixture.fit(bits(100_000, 60))
    assert time.monotonic() - interrupt.sent < 1
    assert [member.n_iter_ for member in mixture.estimators_] == [0, 0]


class Endless:
    """Notes that a training has begun that only an error elsewhere can end."""

    begun = threading.Event()

    def __deepcopy__(self, memo):
        return self

    def on_epoch_end(self, training):
        self.begun.set()


class Fail:
    def on_epoch_end(self, training):
        Endless.begun.wait(10)
        raise OSError("disk full")


def test_an_error_in_a_member_ends_all_and_changes_nothing():
    X = bits(100, 4)
    mixture = fit(mixed(), X)
    listed = [make(callbacks=Endless(), **ENDLESS), make(callbacks=[Fail()]), make()]
    mixture.set_params(estimator=listed, n_members=None, n_jobs=2)
    before = snapshot(mixture)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(OSError, match="disk full") as caught:
            mixture.fit(X)
    assert caught.value.__notes__ == ["This happened in member 1, a NADE."]
    assert_same(before["estimators_"], snapshot(mixture)["estimators_"])
    assert before.keys() == vars(mixture).keys()


def test_divergence_in_a_member_is_an_error_that_changes_nothing():
    mixture, X = fitted_mixture(conditional="gaussian", D=3)
    mixture.set_params(estimator__solver="sgd", estimator__learning_rate_init=1e30)
    before = snapshot(mixture)
    with np.errstate(all="ignore"), pytest.raises(FloatingPointError, match="learning rate"):
        fit(mixture, X)
    assert_same(before, snapshot(mixture))


def refuse(mixture, call, match, error=ValueError):
    before = snapshot(mixture)
    with pytest.raises(error, match=match):
        call(mixture)
    assert_same(before, snapshot(mixture))


BAD_PARAMETERS = [
    ("estimator", None),
    ("estimator", "NADE"),
    ("estimator", fastar.NADE),
    ("estimator", []),
    ("estimator", [make(), StandardScaler()]),
    ("estimator", [make(), 3]),
    ("n_members", 0),
    ("n_members", 2.5),
    ("weights", "uniform"),
    ("weights", None),
    ("weights", [1, 2]),
    ("weights", [1, 2, -1]),
    ("weights", [0, 0, 0]),
    ("weights", [1, 2, np.inf]),
    ("weights", ["a", "b", "c"]),
    ("weights", [[1, 2, 3]]),
    ("validation_fraction", 0.0),
    ("validation_fraction", 1),
    ("random_state", "seed"),
    ("n_jobs", 0),
    ("n_jobs", 1.5),
]


@pytest.mark.parametrize(("parameter", "value"), BAD_PARAMETERS, ids=str)
def test_each_parameter_out_of_range_is_named_with_its_rule(parameter, value):
    match = rf"The '{parameter}' parameter .*must be .* Got .*"
    refuse(mixed().set_params(**{parameter: value}), lambda m: m.fit(bits(30, 5)), match)
    mixture, X = fitted_mixture()
    refuse(mixture.set_params(**{parameter: value}), lambda m: m.fit(X), match)


def test_every_parameter_has_a_bad_value_here():
    assert {name for name, _ in BAD_PARAMETERS} == set(mixed().get_params(deep=False))


def test_n_members_must_fit_a_list():
    mixture = Mixture([make(), make()], n_members=3)
    refuse(mixture, lambda m: m.fit(bits(30, 3)), r"None or the length of the list.* 2\. Got 3")
    assert len(fit(mixture.set_params(n_members=2), bits(30, 3)).estimators_) == 2


def test_a_members_bad_parameter_is_named():
    mixture, X = fitted_mixture()
    mixture.set_params(estimator__alpha=-1.0)
    refuse(mixture, lambda m: m.fit(X), "The 'alpha' parameter of NADE must be")
    mixture.set_params(estimator__alpha=0.0, estimator__callbacks=3)
    refuse(mixture, lambda m: m.fit(X), "The 'callbacks' parameter of NADE must be")


BAD_CALLS = {
    "NaN in X": (lambda m, X: m.fit(np.where(X, np.nan, 0)), "contains NaN"),
    "X of one dimension": (lambda m, X: m.fit(X[0]), "Expected 2D array"),
    "X_val of other columns": (lambda m, X: m.fit(X, X_val=X[:, :3]), "X has 3 features"),
    "NaN in X_val": (lambda m, X: m.fit(X, X_val=np.where(X, np.nan, 0)), "contains NaN"),
    "support of X_val": (lambda m, X: m.fit(X, X_val=X + 1), "X_val must hold 0 or 1 .* Got 2"),
    "support": (lambda m, X: m.score_samples(X + 1), "X must hold 0 or 1 .* Got 2 in row 0"),
    "columns": (lambda m, X: m.score_samples(X[:, :3]), "X has 3 features, but Mixture"),
    "sample_weight": (lambda m, X: m.fit(X, sample_weight=[1, 2]), "sample_weight must have shape"),
    "negative weight": (lambda m, X: m.fit(X, sample_weight=-np.ones(300)), "not negative"),
    "n_samples": (lambda m, X: m.sample(0), r"n_samples must be an int of at least 1\. Got 0"),
    "temperature": (lambda m, X: m.sample(temperature=0), "temperature must be a finite number"),
    "evidence": (lambda m, X: m.sample(evidence=[1, 0]), r"evidence must have shape \(5,\)"),
    "its support": (lambda m, X: m.sample(evidence=[7, *[np.nan] * 4]), "evidence must hold 0 or"),
    "n_draws": (lambda m, X: m.impute(X, n_draws=0), "n_draws must be an int of at least 1"),
    "n_particles": (lambda m, X: m.impute(X, n_particles=0), "n_particles must be an int"),
    "impute": (lambda m, X: m.impute(X + 7.0), "X must hold 0 or 1"),
}


@pytest.mark.parametrize("case", BAD_CALLS)
def test_bad_input_is_refused_and_changes_nothing(case):
    mixture, X = fitted_mixture()
    call, match = BAD_CALLS[case]
    refuse(mixture, lambda m: call(m, X), match)


def test_an_unfitted_mixture_says_so():
    mixture, X = mixed(), bits(10, 3)
    for call in (
        lambda m: m.score_samples(X),
        lambda m: m.score(X),
        lambda m: m.responsibilities(X),
        lambda m: m.score_features(X),
        lambda m: m.sample(),
        lambda m: m.impute(X),
        lambda m: m.save("nowhere"),
        lambda m: m.n_parameters_,
    ):
        refuse(mixture, call, "not fitted", NotFittedError)


def test_em_needs_rows_to_hold_out():
    mixture, X = fitted_mixture(weights="em")
    refuse(mixture, lambda m: m.fit(X[:1]), r"rows to hold out.* Got n_samples=1")
    weight = np.zeros(len(X))
    weight[3] = 1
    refuse(mixture, lambda m: m.fit(X, sample_weight=weight), r"Got n_samples=1")


def test_members_that_take_no_weights_are_given_none():
    mixture = Mixture([Recorder(), Unweighted()])
    X = reals(10, 2)
    match = "sample_weight must be None .* such as Unweighted"
    refuse(mixture, lambda m: m.fit(X, sample_weight=np.ones(10)), match)


# ---- containers


@pytest.mark.parametrize("kind", ["pandas", "polars", "csr", "array"])
def test_samples_are_of_the_kind_that_fit_was_given(kind):
    X = bits(80, 3)
    table = {
        "pandas": lambda: pd.DataFrame(X, columns=["a", "b", "c"]).astype(
            {"b": bool, "c": "Int64"}
        ),
        "polars": lambda: pl.DataFrame(X, schema=["a", "b", "c"]),
        "csr": lambda: sparse.csr_array(X),
        "array": lambda: X,
    }[kind]()
    mixture = fit(mixed(weights="em"), table)
    drawn = mixture.sample(20, random_state=0)
    assert type(drawn) is type(table)
    assert drawn.shape == (20, 3)
    plain = fit(mixed(weights="em"), X)
    assert_same_bits(mixture.score_samples(table), plain.score_samples(X))
    values = drawn.toarray() if kind == "csr" else np.asarray(drawn).astype(int)
    np.testing.assert_array_equal(values, plain.sample(20, random_state=0))
    held = mixture.sample(4, evidence=[1, np.nan, 0], random_state=0)
    assert type(held) is type(table)
    if kind in ("pandas", "polars"):
        assert list(drawn.columns) == mixture.feature_names_in_.tolist() == ["a", "b", "c"]
        assert list(drawn.dtypes) == list(table.dtypes)
        assert all(
            member.feature_names_in_.tolist() == ["a", "b", "c"] for member in mixture.estimators_
        )
        with pytest.raises(ValueError, match="feature names"):
            mixture.score(table[["c", "b", "a"]])


def test_frames_may_have_validation_frames():
    frame, other = (pd.DataFrame(bits(80, 2, seed), columns=["a", "b"]) for seed in (0, 1))
    mixture = fit(mixed(weights="em"), frame, X_val=other)
    assert mixture.validation_curve_[-1] == pytest.approx(-mixture.score(other), rel=1e-9)


# ---- scikit-learn's tools


@pytest.mark.parametrize("copier", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
@every_weights
def test_copies_and_pickles_behave_alike(weights, copier):
    mixture, X = fitted_mixture(weights=weights)
    again = copier(mixture)
    assert_same_bits(again.score_samples(X), mixture.score_samples(X))
    assert_same_bits(again.sample(20, random_state=0), mixture.sample(20, random_state=0))


def test_a_clone_is_unfitted_and_fits_alike():
    mixture, X = fitted_mixture(weights="em")
    again = clone(mixture)
    assert not hasattr(again, "estimators_")
    assert_same_bits(fit(again, X).score_samples(X), mixture.score_samples(X))
    assert "NADE" in repr(mixture)


@unconverged
def test_grid_searches_reach_the_members_parameters():
    X = bits(120, 4)
    grid = {"estimator__learning_rate_init": [1e-7, 0.05], "n_members": [2]}
    search = GridSearchCV(mixed(), grid, cv=2).fit(X)
    assert search.best_params_ == {"estimator__learning_rate_init": 0.05, "n_members": 2}
    assert len(search.best_estimator_.estimators_) == 2
    wide = mixed().set_params(estimator__n_hidden=3).fit(X)
    assert {member.n_hidden for member in wide.estimators_} == {3}
    pipeline = make_pipeline(Binarizer(), mixed()).fit(X)
    assert pipeline.score_samples(X).shape == (120,)
    assert cross_val_score(mixed(), X, cv=2).shape == (2,)


# ---- files


def same_mixture(again, mixture, X):
    assert type(again) is Mixture
    assert_same_bits(again.score_samples(X), mixture.score_samples(X))
    assert_same_bits(again.weights_, mixture.weights_)
    assert again.n_parameters_ == mixture.n_parameters_
    assert again.n_features_in_ == mixture.n_features_in_
    assert_same(again.sample(20, random_state=0), mixture.sample(20, random_state=0))
    assert [type(member) for member in again.estimators_] == [
        type(member) for member in mixture.estimators_
    ]
    assert getattr(again, "validation_curve_", None) == getattr(mixture, "validation_curve_", None)


def described(value):
    """Return parameters with what stands for each conditional in its place."""
    if isinstance(value, dict):
        return {key: described(each) for key, each in value.items()}
    if isinstance(value, list):
        return [described(each) for each in value]
    return repr(value) if isinstance(value, conditionals.Conditional) else value


@pytest.mark.parametrize("weights", ["em", [0.2, 0, 1.3]], ids=str)
@every_composition
def test_a_loaded_mixture_is_the_saved_one(name, conditional, weights, tmp_path):
    mixture, X = fitted_mixture(name, conditional, weights=weights)
    mixture.save(tmp_path / "mixture")
    again = fastar.load(tmp_path / "mixture")
    same_mixture(again, mixture, X)
    assert os.listdir(tmp_path) == ["mixture"]
    assert_same_bits(fit(again, X).score_samples(X), fit(mixture, X).score_samples(X))
    parameters, others = again.get_params(), mixture.get_params()
    assert type(parameters.pop("estimator")) is type(others.pop("estimator"))
    assert described(parameters) == described(others)


def test_lists_frozen_members_and_mixtures_of_mixtures_are_saved_too(tmp_path):
    first, X = fitted(random_state=1)
    second, _ = fitted(random_state=2)
    inner = Mixture([make(n_hidden=3), FrozenEstimator(second)], weights=np.array([1, 3.0]))
    mixture = fit(Mixture([inner, FrozenEstimator(first), make()], weights="em", random_state=0), X)
    mixture.save(tmp_path / "mixture")
    again = fastar.load(tmp_path / "mixture")
    same_mixture(again, mixture, X)
    assert again.estimator[1] is again.estimators_[1]
    assert again.estimator[0].estimator[1] is again.estimators_[0].estimators_[1]
    assert_same_bits(again.estimators_[1].theta_, first.theta_)
    assert again.estimator[0].estimator[0].n_hidden == 3
    assert_same_bits(fit(again, X).score_samples(X), fit(mixture, X).score_samples(X))


def test_names_and_frames_survive(tmp_path):
    frame = pd.DataFrame(bits(60, 2), columns=["a", "b"])
    mixture = fit(mixed(), frame)
    mixture.save(tmp_path / "mixture")
    again = fastar.load(tmp_path / "mixture")
    assert again.feature_names_in_.tolist() == ["a", "b"]
    drawn = again.sample(5, random_state=0)
    pd.testing.assert_frame_equal(drawn, mixture.sample(5, random_state=0))
    assert_same_bits(again.score_samples(frame), mixture.score_samples(frame))


def test_what_is_not_the_librarys_is_not_saved(tmp_path):
    mixture = fit(Mixture([KernelDensity(), make()], random_state=0), reals(40, 2))
    with pytest.raises(ValueError, match=r"cannot hold KernelDensity\(\).*none of the library's"):
        mixture.save(tmp_path / "mixture")
    mixture, _ = fitted_mixture()
    mixture.set_params(estimator=[FrozenEstimator(fitted()[0])])
    with pytest.raises(ValueError, match="cannot hold FrozenEstimator"):
        mixture.save(tmp_path / "mixture")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "value", "blamed"),
    [
        ("weights", np.array([0.5, 0.5]), "weights"),
        ("weights", np.array([0.5, 0.6, -0.1]), "weights"),
        ("weights", np.array([0.5, 0.5, np.nan]), "weights"),
        ("members.1.theta", np.zeros(99, np.float32), "members.1.theta"),
        # no size is larger than all parameters together
        ("members.1.theta", np.zeros(3, np.float32), "members.1.network.n_hidden"),
        ("members.1.order", np.zeros(5, np.int64), "members.1.order"),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(name, value, blamed, tmp_path):
    path = str(tmp_path / "mixture")
    fitted_mixture()[0].save(path)
    header, arrays = read_arrays(path, "model")
    write_arrays(path, "model", header, arrays | {name: value})
    with pytest.raises(ValueError, match=rf"mixture' is damaged: {blamed} must "):
        fastar.load(path)


def test_a_crash_while_saving_leaves_the_old_file(monkeypatch, tmp_path):
    mixture, X = fitted_mixture()
    mixture.save(tmp_path / "mixture")
    before = (tmp_path / "mixture").read_bytes()

    def crash(*arguments):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", crash)
        with pytest.raises(OSError, match="disk full"):
            fit(mixture.set_params(random_state=1), X).save(tmp_path / "mixture")
    assert (tmp_path / "mixture").read_bytes() == before
    assert os.listdir(tmp_path) == ["mixture"]


def test_a_truncated_file_is_refused(tmp_path):
    fitted_mixture()[0].save(tmp_path / "mixture")
    whole = (tmp_path / "mixture").read_bytes()
    (tmp_path / "mixture").write_bytes(whole[:-7])
    with pytest.raises(ValueError, match="mixture' is damaged"):
        fastar.load(tmp_path / "mixture")


def test_conditionals_of_levels_that_differ_in_number_are_told_by_column():
    X = np.column_stack([levels(60, 1, K=3)[:, 0], levels(60, 1, seed=1, K=5)[:, 0]])
    mixture = fit(Mixture(make(), n_members=2, random_state=0), X)
    said = mixture.conditionals(X)
    for column in (0, 1):
        chosen = np.take_along_axis(said[column], X[:, [column]], axis=1)[:, 0]
        if column == 0:
            np.testing.assert_allclose(
                np.log(chosen), mixture.log_marginal(np.where([1, 0], X, np.nan)), rtol=1e-4
            )
        np.testing.assert_allclose(said[column].sum(axis=1), 1, atol=0.02)
