"""Completions by beam search, and expectations."""

import numpy as np
import pytest
from common import DATA, DEEP, MASKS, MODELS, fit, fitted, make, states
from question_cases import D, gapped, mixture, nan, shares

from fastar import DeepNADE

# ---- completions


@pytest.mark.parametrize("kind", [*MODELS, "orders", "mixture", "DeepNADE"])
@pytest.mark.parametrize("conditional", ["bernoulli", "categorical"])
def test_a_wide_beam_finds_the_most_probable_completion(kind, conditional):
    if kind == "mixture":
        model, X = mixture(conditional)
    elif kind == "orders":
        model, X = fitted("MADE", conditional, D=D, **MASKS["orders"])
    elif kind == "DeepNADE":
        X = DATA[conditional](300, D)
        model = fit(DeepNADE(**DEEP, n_orders=2), X)
    else:
        model, X = fitted(kind, conditional, D=D, order="random")
    rows = X[:12].astype(float)
    rows[np.random.default_rng(0).random(rows.shape) < 0.5] = nan
    full = model.complete(rows, width=81)
    known = ~np.isnan(rows)
    np.testing.assert_array_equal(full[known], rows[known])
    for row, score in zip(rows, model.score_samples(full.astype(X.dtype)), strict=True):
        everything = states(conditional, D)
        agree = everything[(np.isnan(row) | (row == everything)).all(axis=1)]
        assert score == pytest.approx(model.score_samples(agree).max(), abs=1e-5)


def test_a_narrow_beam_is_at_least_greedy_and_a_wider_one_no_worse():
    X = DATA["categorical"](400, 8)
    model = fit(make(max_iter=60), X)
    rows = gapped(X[:50], 1, 2, 4, 6)
    scores = [
        model.score_samples(model.complete(rows, width=width).astype(int)) for width in (1, 4, 81)
    ]
    assert scores[0].mean() <= scores[1].mean() + 1e-6 <= scores[2].mean() + 2e-6
    drawn = model.score_samples(model.impute(rows, random_state=0).astype(int))
    assert (scores[2] >= drawn - 1e-5).all()


def test_numbers_are_completed_near_their_mode():
    model, X = fitted("NADE", "gaussian", D=3, dtype="float64")
    rows = gapped(X[:10], 2)
    found = model.score_samples(model.complete(rows))
    draws = [model.score_samples(model.impute(rows, random_state=seed)) for seed in range(20)]
    assert (found >= np.max(draws, axis=0) - 0.05).all()


# ---- expectations


@pytest.mark.parametrize("kind", [*MODELS, "mixture"])
def test_an_expectation_is_within_its_error(kind):
    model, _ = mixture("categorical") if kind == "mixture" else fitted(kind, "categorical", D=D)
    for given in ({}, {0: 1}, {3: 2}, {1: 0, 3: 0}):
        row = np.array([given.get(column, nan) for column in range(D)])
        agree, p = shares(model, row, "categorical")
        value, error = model.expectation(
            lambda rows: rows[:, 0] + rows[:, 2] ** 2, evidence=given, n_draws=4000, random_state=0
        )
        exact = p @ (agree[:, 0] + agree[:, 2] ** 2)
        assert abs(value - exact) < 5 * error
        assert error < 0.1


def test_the_standard_error_is_that_of_many_repetitions():
    model, _ = fitted("NADE", "categorical", D=D, max_iter=60)
    found = [
        model.expectation(0, evidence={3: 1}, n_draws=300, random_state=seed) for seed in range(200)
    ]
    values, errors = np.array(found).T
    assert values.std() == pytest.approx(errors.mean(), rel=0.3)


def test_each_row_of_evidence_has_an_expectation():
    model, X = fitted("NADE", "categorical", D=D)
    rows = gapped(X[:5], 2, 3)
    value, error = model.expectation(2, evidence=rows, random_state=0)
    assert value.shape == error.shape == model.answer_ess_.shape == (5,)
    np.testing.assert_allclose(model.expectation(0, evidence=rows).value, rows[:, 0])
    one = model.expectation(2, evidence=rows[0], random_state=0)
    assert isinstance(one.value, float)
    assert abs(one.value - value[0]) < 5 * (one.standard_error + error[0])
