"""Rows scored with one feature at each of its levels in one pass: beside a pass a level."""

import numpy as np
import pytest
from common import ACTIVATIONS, DATA, DTYPES, assert_same_bits, distribution, fit, fitted, make

from fastar import NADE, RNADE
from fastar.conditionals import Categorical

pytestmark = [pytest.mark.kernels, pytest.mark.usefixtures("threads_for_small_work")]


def asked(estimator, codes, feature, levels, n_threads=1, context=None):
    model = estimator._model()
    weights = model.network.materialise_weights(model.params, 1)
    return model.network.score_levels(
        weights,
        model.conditional.kernel.draw(model.dtype, 1.0),
        codes,
        feature,
        np.array(levels, model.dtype),
        n_threads,
        context=context,
    )


def by_passes(estimator, codes, feature, levels, context=None):
    """Return the same (n, K) from K whole passes, without what maps of numbers add."""
    model = estimator._model()
    weights = model.network.materialise_weights(model.params, 1)
    found = []
    for level in levels:
        codes = codes.copy()
        codes[:, feature] = level
        raw = model.raw(weights, codes, 1, context)
        found.append(model.conditional.kernel.log_prob(raw, codes, 1)[1])
    return np.stack(found, axis=1)


def codes_of(estimator, X):
    model = estimator._model()
    return model.codes(X[:, model.order]).copy()


@pytest.mark.parametrize("K", [4, 5, 7, 19])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_levels_have_the_scores_of_whole_passes(dtype, activation, K):
    X = np.random.default_rng(0).integers(0, K, (120, 6))
    settings = {"n_hidden": 21, "activation": activation, "dtype": dtype, "order": "random"}
    model = fit(make("NADE", distribution=Categorical("error"), **settings), X)
    codes = codes_of(model, X[:37])
    for feature in range(6):
        found = asked(model, codes, feature, range(K))
        exact = by_passes(model, codes, feature, range(K))
        np.testing.assert_allclose(found, exact, rtol=1e-4 if dtype == "float32" else 1e-10)


@pytest.mark.parametrize("name", [NADE, RNADE])
def test_columns_of_every_kind_come_after_levels(name):
    estimator, X = fitted(name.__name__, "mixed", D=12, dtype="float64")
    codes = codes_of(estimator, X[:20])
    for feature, levels in ((0, [0, 1]), (3, [0, 1, 2])):
        found = asked(estimator, codes, feature, levels)
        exact = by_passes(estimator, codes, feature, levels)
        np.testing.assert_allclose(found, exact, rtol=1e-9)


def test_missing_values_have_a_row_of_weights_and_no_density():
    X = np.random.default_rng(0).integers(0, 6, (200, 5)).astype(float)
    X[np.random.default_rng(1).random(X.shape) < 0.2] = np.nan
    own = {"missing": "marked", "distribution": Categorical("error"), "dtype": "float64"}
    model = fit(make("NADE", **own), X)
    codes = codes_of(model, X[:40])
    for feature in range(5):
        found = asked(model, codes, feature, range(6))
        np.testing.assert_allclose(found, by_passes(model, codes, feature, range(6)), rtol=1e-9)


def test_contexts_shift_hidden_units_and_outputs():
    X = DATA["categorical"](300, 4) + 3 * DATA["categorical"](300, 4, seed=1)
    context = X[:, :1] + np.random.default_rng(0).normal(size=(300, 1))
    own = {"distribution": Categorical("error"), "dtype": "float64"}
    model = fit(make("NADE", **own), X, context=context)
    codes, given = codes_of(model, X[:19]), model._encoded(context[:19], 19)
    for feature in range(4):
        found = asked(model, codes, feature, range(9), context=given)
        exact = by_passes(model, codes, feature, range(9), context=given)
        np.testing.assert_allclose(found, exact, rtol=1e-9)


def test_levels_that_fit_did_not_see_and_columns_of_two_digits():
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.integers(0, 6, 400), rng.integers(0, 30, 400)])
    model = fit(make("NADE", distribution=Categorical("other", digits=True), dtype="float64"), X)
    codes = codes_of(model, X[:20])
    assert codes.shape[1] == 4
    codes[:5, 0] = -1
    for feature in (0, 2):  # each the first of its column
        own = codes.copy()
        own[:, feature + 1] = np.where(np.isnan(own[:, feature + 1]), 0, own[:, feature + 1])
        found = asked(model, own, feature, [0, 1, -1])
        np.testing.assert_allclose(found, by_passes(model, own, feature, [0, 1, -1]), rtol=1e-9)


def test_a_row_has_the_same_bits_alone_and_for_any_threads():
    X = DATA["mixed"](300, 12)
    model = fit(make("NADE", distribution=distribution("mixed", 12)), X)
    codes = codes_of(model, X[:50])
    whole = asked(model, codes, 3, [0, 1, 2])
    for n_threads in (2, 3):
        assert_same_bits(asked(model, codes, 3, [0, 1, 2], n_threads), whole)
    for row in range(50):
        assert_same_bits(asked(model, codes[row : row + 1], 3, [0, 1, 2])[0], whole[row])
    for level in range(3):
        assert_same_bits(asked(model, codes, 3, [level])[:, 0], whole[:, level])


def test_few_outputs_and_windows_have_no_such_pass():
    for settings in ({"conditional": "bernoulli"}, {"markov_order": 1}):
        own = {"conditional": "categorical"} | settings
        model, X = fitted("NADE", D=5, **own)
        assert asked(model, codes_of(model, X), 1, [0, 1]) is None
    model, X = fitted("NADE", "mixed", D=12)
    with pytest.raises(ValueError, match="do not fit together"):
        asked(model, codes_of(model, X)[:, :3].copy(), 1, [0, 1])
    with pytest.raises(ValueError, match="do not fit together"):
        asked(model, codes_of(model, X), 12, [0, 1])
