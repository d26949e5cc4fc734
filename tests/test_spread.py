"""Rounding must not be taken for a spread, nor a tiny spread for none."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import sparse

import fastar
from fastar import NADE, GenerativeRNN, PixelRNN, SequenceLabeller
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


MODELS = {
    **{name: (name, {}) for name in ("NADE", "RNADE", "MADE", "FVSBN", "DeepNADE")},
    "sets of masks": ("MADE", {"n_masks": 2, "order_agnostic": True}),
    "float64": ("NADE", {"dtype": "float64"}),
}
TABLES = {
    "array": np.asarray,
    "single": lambda X: X.astype(np.float32),
    "objects": lambda X: X.astype(object),
    "sparse": sparse.csr_array,
    "pandas": pd.DataFrame,
    "gaps": lambda X: pd.DataFrame(X).mask(np.arange(len(X))[:, None] % [7, 11] == 1),
    "polars": lambda X: pl.DataFrame(X, schema=["a", "b"]),
}


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize("name", MODELS)
def test_a_constant_column_is_one_in_every_model_and_container(name, kind):
    model, settings = MODELS[name]
    settings = {"max_iter": 3, "early_stopping": False, "random_state": 0, "n_jobs": 1, **settings}
    for value in (0.1, 1e-7):
        X = np.column_stack([np.full(300, value), np.random.default_rng(0).normal(size=300)])
        own = fastar.models.BY_NAME[model](**settings).fit(TABLES[kind](X))
        drawn = own.sample(100, random_state=0)
        drawn = np.asarray(drawn.toarray() if sparse.issparse(drawn) else drawn, np.float64)
        assert np.abs(drawn[:, 0] / value - 1).max() < 0.02
        assert np.isfinite(drawn).all()
        # the spread that is assumed is a thousandth of the value, the least width one of that
        if name == "sets of masks":  # whole rows can be scored alone
            continue
        assert own.score_features(TABLES[kind](X))[0, 0] < -np.log(1e-6 * value)


@pytest.mark.parametrize("n", [30, 200])
def test_constant_steps_and_images_are_constant(n):
    settings = {"n_hidden": 4, "max_iter": 2, "random_state": 0, "n_jobs": 1}
    recurrent = GenerativeRNN(**settings).fit([np.full(length % 9 + 1, 0.1) for length in range(n)])
    assert np.abs(np.concatenate(recurrent.sample(20, random_state=0)) / 0.1 - 1).max() < 0.02
    images = PixelRNN(**settings).fit(np.full((n, 2, 2), 0.1))
    assert np.abs(images.sample(20, random_state=0) / 0.1 - 1).max() < 0.02
