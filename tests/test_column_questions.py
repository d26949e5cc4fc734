"""Predictions of a column given the others: Bayes' rule by hand, sums and integrals."""

import numpy as np
import pytest
from common import COUNTS, DATA, DEEP, DISCRETE, MASKS, MODELS, REAL, VARIANTS, fit, fitted, make
from question_cases import D, by_bayes, gapped, mixture, nan, on_a_grid, shares

from fastar import DeepNADE
from fastar.conditionals import Categorical

# ---- levels


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("conditional", DISCRETE)
@pytest.mark.parametrize("name", MODELS)
def test_probabilities_are_those_of_bayes_rule(name, conditional, variant):
    model, X = fitted(name, conditional, D=D, **VARIANTS[variant])
    for column in range(D):
        found = model.predict_proba(X[:20], target=column)
        np.testing.assert_allclose(found, by_bayes(model, X[:20], column), rtol=1e-5, atol=1e-7)
        assert (model.answer_ess_ == 64).all()
        best = model.levels(column)[found.argmax(axis=1)]
        np.testing.assert_array_equal(model.predict(X[:20], target=column, kind="mode"), best)


@pytest.mark.parametrize("variant", MASKS)
@pytest.mark.parametrize("conditional", DISCRETE)
def test_members_are_averaged(conditional, variant):
    model, X = fitted("MADE", conditional, D=D, **MASKS[variant])
    for column in range(D):
        found = model.predict_proba(X[:20], target=column)
        np.testing.assert_allclose(found, by_bayes(model, X[:20], column), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("conditional", DISCRETE)
def test_a_mixture_answers_as_one_density(conditional):
    model, X = mixture(conditional)
    for column in range(D):
        found = model.predict_proba(X[:20], target=column)
        np.testing.assert_allclose(found, by_bayes(model, X[:20], column), rtol=1e-5, atol=1e-7)
    row = gapped(X[:1], 0, 3)[0]
    agree, p = shares(model, row, conditional)
    exact = [p[agree[:, 3] == level].sum() for level in model.levels(3)]
    found = model.predict_proba([row], target=3, n_particles=4000, random_state=0)[0]
    np.testing.assert_allclose(found, exact, atol=0.02)


@pytest.mark.parametrize("name", MODELS)
def test_a_context_is_given_to_every_level(name):
    X = DATA["bernoulli"](300, D)
    context = X[:, :1] + np.random.default_rng(0).normal(size=(300, 1))
    model = fit(make(name), X, context=context)
    given = {"context": context[:20]}
    for column in range(D):
        found = model.predict_proba(X[:20], target=column, **given)
        np.testing.assert_allclose(found, by_bayes(model, X[:20], column, **given), rtol=1e-4)
    found = model.predict_proba(X[:20], target=1, **given)
    other = model.predict_proba(X[:20], target=1, context=context[:20] + 1)
    assert (np.abs(other - found) > 1e-6).any()


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("conditional", DISCRETE)
def test_other_gaps_are_summed_out(name, conditional):
    model, X = fitted(name, conditional, D=D, order="random")
    rows = gapped(X[:4], 0, 2)
    found = model.predict_proba(rows, target=1, n_particles=4000, random_state=0)
    for row, p in zip(rows, found, strict=True):
        row[1] = nan
        agree, share = shares(model, row, conditional)
        exact = [share[agree[:, 1] == level].sum() for level in model.levels(1)]
        np.testing.assert_allclose(p, exact, atol=0.03)
    assert (model.answer_ess_ > 100).all()
    assert (model.answer_ess_ <= 4000).all()


@pytest.mark.parametrize("n_orders", [1, 3])
def test_a_network_of_all_orders_needs_no_particles(n_orders):
    X = DATA["categorical"](300, D)
    model = fit(DeepNADE(**DEEP, distribution=Categorical("error")), X).with_orders(n_orders)
    for rows in (X[:20], gapped(X[:20], 0, 3)):
        found = model.predict_proba(rows, target=1, n_particles=1)
        parts = []
        for level in range(3):
            one = rows.astype(float)
            one[:, 1] = level
            parts.append(np.exp(model.log_marginal(one, n_particles=1)))
        exact = np.stack(parts, axis=1)
        np.testing.assert_allclose(found, exact / exact.sum(axis=1, keepdims=True), rtol=1e-4)


def test_a_column_of_two_digits_is_one_column():
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.integers(0, 2, 400), rng.integers(0, 9, 400), rng.integers(0, 2, 400)])
    model = fit(make("NADE", distribution=Categorical("error", digits=True)), X)
    assert model.distribution_.n_features > 3
    for column in range(3):
        found = model.predict_proba(X[:20], target=column)
        np.testing.assert_allclose(found, by_bayes(model, X[:20], column), rtol=1e-5, atol=1e-7)


def test_what_is_in_the_target_is_ignored():
    model, X = fitted("MADE", "categorical", D=D)
    expected = model.predict_proba(X[:20], target=2)
    for junk in (nan, 77.0, np.inf):
        rows = X[:20].astype(float)
        rows[:, 2] = junk
        np.testing.assert_array_equal(model.predict_proba(rows, target=2), expected)
    np.testing.assert_array_equal(model.predict_proba(np.delete(X[:20], 2, 1), target=2), expected)
    np.testing.assert_array_equal(model.predict_proba(X[:20], target=-2), expected)
    last = model.predict_proba(X[:20], target=D - 1)
    np.testing.assert_array_equal(model.predict_proba(X[:20]), last)


# ---- numbers


@pytest.mark.parametrize("conditional", REAL)
@pytest.mark.parametrize("name", MODELS)
def test_numbers_are_predicted_by_integrals(name, conditional):
    model, X = fitted(name, conditional, D=2, dtype="float64")
    X = X[:5]
    for column in range(2):
        grid, p = on_a_grid(model, X, column)
        spread = np.sqrt(p @ grid**2 - (p @ grid) ** 2).max()
        settings = {"target": column, "n_particles": 4000}
        mean = model.predict(X, **settings)
        np.testing.assert_allclose(mean, p @ grid, atol=0.03 * spread)
        for q in (0.05, 0.5, 0.9):
            found = model.predict(X, kind="quantile", quantile=q, **settings)
            below = (p * (grid <= found[:, None])).sum(axis=1)
            np.testing.assert_allclose(below, q, atol=0.02)
        median = model.predict(X, kind="median", **settings)
        half = model.predict(X, kind="quantile", quantile=0.5, **settings)
        np.testing.assert_array_equal(median, half)


@pytest.mark.parametrize("kind", ["orders", "mixture"])
def test_members_propose_numbers_together(kind):
    if kind == "mixture":
        model, X = mixture("gaussian", dtype="float64")
    else:
        model, X = fitted("MADE", "gaussian", D=D, dtype="float64", **MASKS["orders"])
    grid, p = on_a_grid(model, X[:5], 1)
    found = model.predict(X[:5], target=1, n_particles=4000)
    spread = np.sqrt(p @ grid**2 - (p @ grid) ** 2).max()
    np.testing.assert_allclose(found, p @ grid, atol=0.05 * spread)


@pytest.mark.parametrize("conditional", COUNTS)
def test_counts_are_predicted_by_sums(conditional):
    model, X = fitted("NADE", conditional, D=3)
    every = np.arange(200)
    for row in X[:4]:
        rows = np.repeat(row[None], 200, axis=0)
        rows[:, 0] = every
        p = np.exp(model.score_samples(rows))
        p /= p.sum()
        found = model.predict(row[None], target=0, n_particles=8000)[0]
        assert found == pytest.approx(p @ every, abs=0.05 * np.sqrt(p @ every**2) + 0.02)
        median = model.predict(row[None], target=0, kind="median", n_particles=8000)[0]
        assert median.dtype == X.dtype
        assert p[every <= median].sum() > 0.45
        assert p[every < median].sum() < 0.55


def test_gaps_beside_a_number_are_integrated_out():
    model, X = fitted("NADE", "gaussian", D=3, dtype="float64")
    row = X[:1].copy()
    # p(x_1 | x_0) needs no sum over x_2, which comes last
    grid = np.linspace(X[:, 1].min() - 20, X[:, 1].max() + 20, 4001)
    rows = np.repeat(row, 4001, axis=0)
    rows[:, 1] = grid
    log_p = model.score_features(rows)[:, :2].sum(axis=1)
    p = np.exp(log_p - log_p.max())
    exact = p @ grid / p.sum()
    row[0, 2] = nan
    found = model.predict(row, target=1, n_particles=20_000, random_state=0)[0]
    assert found == pytest.approx(exact, abs=0.03 * X[:, 1].std())


def test_a_network_of_all_orders_integrates_gaps_beside_a_number_exactly():
    X = DATA["gaussian"](300, 3)
    model = fit(DeepNADE(**DEEP, dtype="float64", distribution="gaussian"), X)
    grid, p = on_a_grid(model, X[:5], 1)
    found = model.predict(X[:5], target=1, n_particles=4000)
    np.testing.assert_allclose(found, p @ grid, atol=0.05 * X[:, 1].std())
    rows = gapped(X[:5], 0)
    beside = np.repeat(rows, len(grid), axis=0)
    beside[:, 1] = np.tile(grid, 5)
    log_p = model.log_marginal(beside, n_particles=1).reshape(5, -1)
    p = np.exp(log_p - np.logaddexp.reduce(log_p, axis=1, keepdims=True))
    found = model.predict(rows, target=1, n_particles=4000)
    np.testing.assert_allclose(found, p @ grid, atol=0.05 * X[:, 1].std())


@pytest.mark.parametrize("name", MODELS)
def test_a_gap_is_integrated_out_even_where_fit_had_a_mark_for_it(name):
    X = DATA["categorical"](300, D)
    holes = X.astype(float)
    holes[np.random.default_rng(0).random(X.shape) < 0.1] = nan
    model = fit(make(name, missing="marked", distribution=Categorical("error")), holes)
    whole = X[:10].astype(float)
    found = model.predict_proba(whole, target=1)
    np.testing.assert_allclose(found, by_bayes(model, whole, 1), rtol=1e-5)
    row = gapped(X[:1], 0, 1)[0]
    agree, p = shares(model, row, "categorical")
    exact = [p[agree[:, 1] == level].sum() for level in range(3)]
    found = model.predict_proba([row], target=1, n_particles=4000, random_state=0)[0]
    np.testing.assert_allclose(found, exact, atol=0.03)


def test_answers_of_whole_rows_do_not_depend_on_the_rows_beside_them():
    model, X = fitted("RNADE", "gaussian_mixture", D=D)
    whole = model.predict(X[:30], target=1)
    parts = [model.predict(X[i : i + 1], target=1)[0] for i in range(30)]
    np.testing.assert_array_equal(whole, parts)
