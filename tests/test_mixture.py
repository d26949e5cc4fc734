"""Mixtures: exact sums of their members' densities, and samples and completions from them."""

import numpy as np
import pandas as pd
import pytest
from common import assert_same_bits, fit, fitted, levels, make, reals, states
from mixtures import (
    assert_follows,
    biased,
    every_composition,
    every_discrete,
    every_model,
    every_weights,
    fitted_mixture,
    frozen,
    members_scores,
    mixed,
)
from sklearn.neighbors import KernelDensity

from fastar import Mixture

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
