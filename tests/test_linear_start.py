"""On few rows NADE starts from regressions of real columns, too, and held-out rows choose."""

import numpy as np
import pytest
from common import correlated
from scipy.stats import norm

from fastar import NADE
from fastar._core.factors import cholesky
from fastar._engine import linear_start
from fastar.conditionals import GaussianMixture, Number

pytestmark = pytest.mark.kernels

STANDING = {
    "learning_rate_init": 1e-9,
    "learning_rate": "constant",
    "max_iter": 1,
}
"""Settings with which parameters stay where training starts."""


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("mixture", [Number(), GaussianMixture(), Number(5)])
def test_before_any_step_a_gaussian_is_nearly_known(mixture):
    """What is linear is there at the start, but for the shape of what is left."""
    X, best = correlated(900)
    model = NADE(distribution=mixture, random_state=0, **STANDING).fit(X)
    alone = norm(0, X.std(axis=0)).logpdf(X).sum(axis=1).mean()
    assert alone + 2 < best - 0.5 < model.score(X) < best + 0.1


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_positive_columns_are_regressed_on_their_own_scale():
    """What is linear between logarithms is known, in columns with zeros, too."""
    z, _ = correlated(900)
    X = np.exp(z)
    X[:30, -1] = 0
    model = NADE(random_state=0, **STANDING).fit(X)
    found = (model.score_features(X) + z)[30:].sum(axis=1).mean()
    alone = norm(0, z.std(axis=0)).logpdf(z[30:]).sum(axis=1).mean()
    assert alone + 2 < found


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_curves_are_followed_in_pieces():
    """Regions of the fit have regressions of their own."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=900)
    X = np.column_stack([x, np.exp(x) - 1 + 0.1 * rng.normal(size=900)])
    model = NADE(random_state=0, **STANDING).fit(X)
    residual = X[:, 1] - np.polyval(np.polyfit(x, X[:, 1], 1), x)
    straight = norm(0, residual.std()).logpdf(residual).mean()
    assert model.score_features(X)[:, 1].mean() > straight + 0.3


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_independent_columns_stay_constant():
    """Where regressions tell nothing, every row has the same conditionals."""
    X = np.random.default_rng(0).standard_t(2, size=(500, 3))
    model = NADE(random_state=0, **STANDING).fit(X)
    assert np.ptp(model.conditionals(X)["mean"], axis=0).max() < 1e-3


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_gaps_have_no_part_in_a_number():
    """A number is regressed over the rows where it is one."""
    X, _ = correlated(900, 2)
    gaps = np.random.default_rng(1).random(900) < 0.4
    model = NADE(random_state=0, **STANDING).fit(X[~gaps])
    with_gaps = X.copy()
    with_gaps[gaps, 1] = np.nan
    other = NADE(missing="marked", random_state=0, **STANDING).fit(with_gaps)
    means = [each.conditionals(X[~gaps])["mean"][:, 1] for each in (model, other)]
    np.testing.assert_allclose(*means, atol=0.05 * X[:, 1].std())


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_columns_of_categories_are_inputs():
    """What a category says of a number after it is there at the start."""
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 3, 900)
    X = np.column_stack([kind, 5.0 * kind + rng.normal(size=900)])
    model = NADE(distribution=["categorical", GaussianMixture()], random_state=0, **STANDING)
    known = norm(0, 1).logpdf(X[:, 1] - 5 * kind).mean()
    assert model.fit(X).score_features(X)[:, 1].mean() > known - 0.4


def test_regressions_are_ridge_regressions_without_the_row_itself():
    """Slopes are those of the normal equations, errors nearly those of fits to the other rows."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 4)) @ rng.normal(size=(4, 4))
    weight, ridge = rng.uniform(0.5, 2, 60), 3.0
    own = linear_start.Projections(X, weight, ridge).regression(3)

    def fit(rows):
        w = weight[rows] / weight.mean()
        centred = X[rows] - np.average(X[rows], axis=0, weights=w)
        gram = centred[:, :3].T @ (w[:, None] * centred[:, :3]) + ridge * np.eye(3)
        slopes = np.linalg.solve(gram, centred[:, :3].T @ (w * centred[:, 3]))
        mean = np.average(X[rows], axis=0, weights=w)
        return slopes, mean[3] - slopes @ mean[:3]

    slopes, intercept = fit(np.arange(60))
    np.testing.assert_allclose(own.slopes, slopes, rtol=1e-9)
    np.testing.assert_allclose(own.intercept, intercept, rtol=1e-9, atol=1e-12)
    for row in range(60):
        slopes, intercept = fit(np.delete(np.arange(60), row))
        assert own.error[row] == pytest.approx(
            X[row, 3] - X[row, :3] @ slopes - intercept, rel=0.02
        )


def test_factor_and_inverse_are_those_of_the_matrix():
    """L L' is the matrix, and the second one L's inverse."""
    A = np.random.default_rng(0).normal(size=(30, 12))
    gram = A.T @ A + np.eye(12)
    factor, inverse = cholesky(gram)
    np.testing.assert_allclose(factor, np.linalg.cholesky(gram), atol=1e-12)
    np.testing.assert_allclose(factor @ inverse, np.eye(12), atol=1e-12)
