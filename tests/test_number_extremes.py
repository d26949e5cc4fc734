"""Real columns at the ends of float64, constant ones, and a value far from all others."""

import numpy as np
import pytest
from common import fit, make
from real_columns import F8, table

pytestmark = pytest.mark.kernels


EXTREMES = {
    "tiny": lambda rng: rng.lognormal(0, 1, 50) * 1e-300,
    "huge": lambda rng: rng.lognormal(0, 1, 50) * 1e299,
    "of all sizes": lambda rng: 10.0 ** rng.uniform(-300, 300, 50),
    "of all sizes and signs": lambda rng: (
        10.0 ** rng.uniform(-300, 300, 50) * rng.choice([-1, 1], 50)
    ),
    "from the smallest to the largest": lambda rng: np.array([5e-324, 1.0, 1e300]),
    "between the largest": lambda rng: np.array([-1e300, 1e300]),
    "one row": lambda rng: np.array([3.7]),
    "constant": lambda rng: np.full(50, 1e-5),
    "constant and negative": lambda rng: np.full(50, -1e5),
    "zero": lambda rng: np.zeros(50),
    "zeros but one": lambda rng: np.eye(1, 50)[0] * 5,
    "offset": lambda rng: 1.7e9 + rng.integers(0, 100, 50),
    "two atoms": lambda rng: np.repeat([0.5, -2.5], 25),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", EXTREMES)
def test_extreme_columns_have_finite_scores_and_samples_of_their_support(name, dtype):
    x = EXTREMES[name](np.random.default_rng(0))
    X = np.column_stack([x, np.arange(len(x)) % 2, x])
    own = fit(make(distribution="number", dtype=dtype, max_iter=5), X)
    assert np.isfinite(own.score_samples(X)).all()
    drawn = own.sample(200, random_state=0)
    assert np.isfinite(drawn).all()
    assert (drawn >= 0).all() or x.min() < 0
    assert np.isfinite(own.score_samples(drawn)).all()
    if name.startswith("constant"):
        assert np.abs(drawn[:, 0] / x[0] - 1).max() < 1e-2
    said = own.conditionals(X)
    assert np.isfinite(said["quantiles"]).all()
    assert ((said["cdf"] >= 0) & (said["cdf"] <= 1 + 1e-6)).all()


def test_numbers_near_the_end_of_float64_are_refused_by_name():
    X = table(50)
    X[7, 4] = -1.5e300
    with pytest.raises(ValueError, match=r"Got -1.5e\+300 in column 4"):
        fit(make(distribution="number"), X)


def test_one_cell_does_not_flatten_its_column():
    X = np.random.default_rng(0).normal(40, 5, (500, 1))
    plain = fit(make(distribution="number", max_iter=30), X).score(X[1:])
    X[0] = 999_999_999
    own = fit(make(distribution="number", max_iter=30), X)
    codes = own.distribution_.encode(X, F8)
    assert 0.5 < codes[1:, -1].std() < 2
    assert codes[0, -1] < 150
    assert own.score(X[1:]) > plain - 0.1
    assert own.score_samples(X[:1])[0] > -500


def test_a_column_with_one_value_among_gaps():
    X = table(100)
    X[1:, 0] = np.nan
    own = fit(make(distribution="number", missing="marked"), X)
    assert np.isfinite(own.score_samples(X)).all()
    drawn = own.sample(50, random_state=0)
    np.testing.assert_allclose(drawn[:, 0], X[0, 0], rtol=0.05)
