"""Rounding must not be taken for a spread, nor a tiny spread for none."""

import numpy as np
import pandas as pd
import pytest

from fastar import NADE, GenerativeRNN, SequenceLabeller
from fastar._core.spread import does_not_vary, location_and_scale

QUICK = {"n_hidden": 8, "max_iter": 5, "early_stopping": False, "random_state": 0, "n_jobs": 1}
ROWS = (1, 50, 100, 300, 5000)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def _of(values):
    table = np.reshape(values, (-1, 1))
    location, scale = location_and_scale(lambda: [(np.ones(len(table)), table)], 1)
    return location[0], scale[0]


@pytest.mark.parametrize("value", [0.1, -0.1, 1e-300, 1e300, 123456.789, float(np.float32(0.1))])
def test_a_constant_has_one_location_and_scale_for_any_number_of_rows(value):
    found = {_of(np.full(n, value)) for n in ROWS}
    assert found == {(value, 1e-3 * abs(value))}
    assert _of(np.zeros(300)) == (0, 1)


@pytest.mark.parametrize("unit", [1e-300, 1e-170, 1.0, 1e150])
def test_a_spread_is_real_in_any_unit(unit):
    values = np.random.default_rng(0).normal(size=300)
    location, scale = _of(unit * values)
    np.testing.assert_allclose([location / unit, scale / unit], [values.mean(), values.std()])


def test_rounding_does_not_vary_and_the_next_digit_does():
    low = np.array([1.0, 1e-170, -3.0, 0.0])
    assert does_not_vary(low, low * (1 + 4e-16 * np.sign(low))).all()
    assert not does_not_vary(low - 1e-14 * np.abs(low) - 1e-308, low).any()


def test_rows_without_weight_or_value_do_not_count():
    table = np.array([[0.1, np.nan], [0.1, np.nan], [7.0, np.nan]])
    location, scale = location_and_scale(lambda: [(np.array([1.0, 2.0, 0.0]), table)], 2)
    assert location.tolist() == [0.1, 0]
    assert scale.tolist() == [1e-3 * 0.1, 1]


@pytest.mark.parametrize("distribution", ["gaussian", "laplace", "gaussian_mixture"])
@pytest.mark.parametrize("kind", [np.asarray, lambda X: pd.DataFrame(X, columns=["a", "b"])])
def test_a_constant_column_is_sampled_and_scored_alike_for_any_number_of_rows(distribution, kind):
    for n in (100, 300):
        X = np.column_stack([np.full(n, 1e-5), np.arange(n)])
        model = NADE(**QUICK, distribution=distribution).fit(kind(X))
        drawn = np.asarray(model.sample(100, random_state=0))[:, 0]
        assert np.abs(drawn / 1e-5 - 1).max() < 0.02
        near = np.array([[1e-5, 0], [1e-5 * (1 + 1e-10), 0]])
        assert np.ptp(model.score_samples(kind(near))) < 0.1


@pytest.mark.parametrize("kind", [np.asarray, lambda C: pd.DataFrame(C, columns=["c"])])
def test_a_constant_context_tells_nothing_for_any_number_of_rows(kind):
    X = np.random.default_rng(0).normal(size=(300, 2))
    context = kind(np.full((300, 1), 0.1))
    model = NADE(**QUICK).fit(X, context=context)
    scores = [model.score(X, context=kind(np.full((300, 1), c))) for c in (0.1, 0.1 + 1e-12)]
    assert abs(scores[0] - scores[1]) < 1e-3
    sequences = list(X)
    recurrent = GenerativeRNN(**QUICK).fit(sequences, context=context)
    shifted = recurrent.score(sequences, context=kind(np.full((300, 1), 0.1 + 1e-12)))
    assert abs(recurrent.score(sequences, context=context) - shifted) < 1e-3


def test_a_constant_input_of_a_labeller_tells_nothing():
    rng = np.random.default_rng(0)
    X = np.stack([np.full((50, 8), 0.1), rng.normal(size=(50, 8))], axis=2)
    y = (X[:, :, 1] > 0).astype(int)
    model = SequenceLabeller(**QUICK).fit(X, y)
    moved = X + np.array([1e-12, 0])
    difference = model.predict_proba(moved) - model.predict_proba(X)
    assert np.abs(difference).max() < 1e-3
