"""Samples, completions and repairs of columns of two digits."""

import numpy as np
import pytest
from common import all_states as combinations
from common import assert_same_bits
from frequencies import chi_square, counts
from many_levels import LEVELS, SPLIT, every_model, every_order, every_row, shaken, words
from scipy.special import logsumexp

from fastar._core.inputs import MAY_MISS

pytestmark = [pytest.mark.kernels, pytest.mark.usefixtures("threads_for_small_work")]


# ---- samples


@pytest.mark.parametrize("order", ["natural", [2, 0, 1]], ids=str)
@every_model
def test_samples_are_levels_as_often_as_the_density_says(kind, order):
    model, rows = shaken(kind, unknown="other", order=order), every_row()
    drawn = model.sample(20_000, random_state=0)
    p = np.exp(model.score_samples(rows))
    assert chi_square(counts(drawn, rows), p / p.sum()) > 1e-4


@pytest.mark.parametrize("temperature", [0.3, 1.0, 5.0])
@pytest.mark.parametrize("kind", ["NADE", "MADE", "FVSBN"])
def test_only_levels_are_drawn_at_any_temperature(kind, temperature):
    model = shaken(kind)
    # the second digits that stand for no level would be most probable
    model.params_["b"].reshape(-1)[[8, 9]] = 50
    drawn = model.sample(3000, temperature=temperature, random_state=0)
    for column, own in zip(drawn.T, LEVELS, strict=True):
        assert set(np.unique(column)) <= set(own)
    assert np.isfinite(model.score_samples(drawn)).all()


@pytest.mark.parametrize("kind", ["NADE", "RNADE", "FVSBN", "MADE", "MADE sets"])
def test_evidence_in_front_is_exact(kind):
    model, rows = shaken(kind, unknown="other"), every_row()
    drawn = model.sample(10_000, evidence=[LEVELS[0][4], np.nan, np.nan], random_state=0)
    assert (drawn[:, 0] == LEVELS[0][4]).all()
    scores = np.where(rows[:, 0] == LEVELS[0][4], model.score_samples(rows), -np.inf)
    p = np.exp(scores - logsumexp(scores))
    assert chi_square(counts(drawn, rows), p) > 1e-4
    held = model.sample(20, evidence=[1234, np.nan, np.nan], random_state=0)
    assert (held[:, 0] == 1234).all()
    assert np.isin(held[:, 2], LEVELS[2]).all()


@pytest.mark.parametrize("free", [[0], [0, 1], [1, 2], [2], [0, 2]], ids=str)
@every_model
def test_marginals_are_sums_over_what_is_free(kind, free):
    model, rows = shaken(kind, unknown="other"), every_row()
    given = words(60, seed=9)[50:56].astype(float)
    p, expected = model.score_samples(rows), []
    for row in given:
        fits = (np.delete(rows, free, axis=1) == np.delete(row, free)).all(axis=1)
        expected.append(logsumexp(p[fits]))
    given[:, free] = np.nan
    found = model.log_marginal(given, n_particles=4000, random_state=0)
    # other values of what is free have a small share, too
    np.testing.assert_allclose(found, expected, atol=0.12)
    if free in ([2], [1, 2]) and kind != "MADE orders":
        exact = np.log(1 - 1 / 602) * len(free)
        np.testing.assert_allclose(found + exact, expected, atol=1e-9)


@every_model
def test_gaps_are_imputed_by_levels_as_often_as_the_density_says(kind):
    model, rows = shaken(kind), every_row()
    row = words(40, seed=4)[31].astype(float)
    for free in ([2], [0]):
        gapped = row.copy()
        gapped[free] = np.nan
        drawn = model.impute(
            np.tile(gapped, (2000, 1)), n_particles=1 if free == [2] else 60, random_state=0
        )
        kept = np.delete(np.arange(3), free)
        assert (drawn[:, kept] == row[kept]).all()
        assert np.isin(drawn[:, free[0]], LEVELS[free[0]]).all()
        if kind == "MADE orders" and free == [2]:
            continue  # of which one particle knows nothing
        fits = (rows[:, kept] == row[kept]).all(axis=1)
        scores = np.where(fits, model.score_samples(rows), -np.inf)
        p = np.exp(scores - logsumexp(scores))
        seen = counts(drawn.astype(int), rows) / 2000
        assert np.abs(seen - p).max() < 0.05
        if free == [2]:
            assert chi_square(counts(drawn.astype(int), rows), p) > 1e-4


# ---- missing values


@every_order
@every_model
def test_a_column_of_digits_may_have_gaps(kind, order):
    X = words(gaps=[0, 1, 2])
    model = shaken(kind, X, missing="marked", order=order)
    flags = model.network_.inputs.input_flags
    assert (flags & MAY_MISS).all()
    rows = every_row().astype(float)
    assert np.exp(model.score_samples(rows)).sum() == pytest.approx(1, abs=1e-10)
    rows = combinations([[np.nan], *LEVELS[1:]])
    total = np.exp(model.score_samples(rows)).sum()
    assert total == pytest.approx(1, abs=1e-10)  # given that there is a gap
    if kind != "MADE orders":
        features = model.score_features(X)
        assert (features[np.isnan(X)] == 0).all()
        total = features.sum(axis=1)
        np.testing.assert_allclose(total, model.score_samples(X), rtol=1e-12, atol=1e-12)
    drawn = model.sample(500, random_state=0)
    for column, own in zip(drawn.T, LEVELS, strict=True):
        assert np.isin(column, own).all()
    filled = model.impute(X[:60], random_state=0)
    there = ~np.isnan(X[:60])
    assert (filled[there] == X[:60][there]).all()
    assert np.isin(filled[:, 0], LEVELS[0]).all()


# ---- repair


@pytest.mark.parametrize("kind", ["NADE", "MADE", "MADE sets"])
def test_repair_keeps_the_values_of_digits_and_repairs_the_rest(kind):
    model, X = shaken(kind, words(gaps=[2]), missing="marked"), words(60, seed=8, gaps=[2])
    repaired = model.purify(X, 1)
    assert_same_bits(repaired[:, SPLIT], X[:, SPLIT])
    changed = X.copy()
    changed[:, 1] = 1 - X[:, 1]
    better = np.maximum(model.score_features(X)[:, 1], model.score_features(changed)[:, 1])
    if kind != "MADE sets":
        np.testing.assert_allclose(model.score_features(repaired)[:, 1], better, rtol=1e-12)
    X[3, 0] = 1234
    with pytest.raises(ValueError, match=r"Got 1234.* in row 3, column 0"):
        model.purify(X, 1)
