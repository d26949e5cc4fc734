"""Mixtures: weights that are given, or that EM finds on held-out rows."""

import numpy as np
import pytest
from common import assert_same_bits, bits, fit, levels, make
from mixtures import Recorder, every_model, mixed
from scipy.optimize import minimize
from sklearn.base import clone

from fastar import Mixture
from fastar.models._em import best_weights

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
