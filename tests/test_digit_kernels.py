"""Kernels of columns of two digits: gradients, threads, what outputs depend on."""

import numpy as np
import pytest
from common import assert_same, assert_same_bits, assert_slopes, fit
from many_levels import every_model, every_order, every_row, shaken, words
from scipy.special import log_softmax

from fastar._data.table import Table
from fastar.conditionals import Categorical

pytestmark = [pytest.mark.kernels, pytest.mark.usefixtures("threads_for_small_work")]


def layers(model):
    inner = model._model()
    return inner, inner.network, inner.conditional


@every_model
def test_the_gradient_is_finite_differences(kind):
    X = words(60, gaps=[0, 1])
    X[30, 2] = 1234
    model = shaken(kind, words(gaps=[0, 1]), unknown="other", missing="marked")
    inner, network, conditional = layers(model)
    codes = inner.codes(X[:, model.order_])
    scale = np.random.default_rng(0).uniform(-1, 1, 60)

    def loss():
        weights = network.materialise_weights(inner.params, 2, 0)
        raw, cache = network.forward(weights, codes, 2)
        return (scale * conditional.kernel.log_prob(raw, codes, 2)[1]).sum(), raw, cache, weights

    _, raw, cache, weights = loss()
    total, graw = conditional.kernel.gradient(raw, codes, scale, 2)
    np.testing.assert_allclose(total, conditional.kernel.log_prob(raw, codes, 1)[1], rtol=1e-12)
    gradient = np.zeros_like(inner.theta)
    network.backward(weights, cache, graw, inner.layout.views(gradient), 2)
    rng = np.random.default_rng(2)
    assert_slopes(inner, gradient, lambda: loss()[0], rng, 4, step=1e-7, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_log_probabilities_are_softmaxes_over_the_digits_that_exist(dtype):
    X = words(50, seed=2)[:, :1]
    fitted = Categorical(digits=True).fitted(Table(words()[:, :1], np.arange(1)), np.ones(300))
    codes = fitted.encode(np.append(X, [[999]], axis=0), np.dtype(dtype))
    raw = (np.random.default_rng(0).standard_normal((51, 10)) * 3).astype(dtype)
    logp, total = fitted.kernel.log_prob(raw, codes, 1)
    other = 1 / (2 * 300 + 2)
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    for r in range(50):
        a, b = codes[r].astype(int)
        first = log_softmax(raw[r, :5].astype(float))[a] + np.log1p(-other)
        second = log_softmax(raw[r, 5 : 5 + (3 if a == 4 else 5)].astype(float))[b]
        np.testing.assert_allclose(logp[r], [first, second], rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(logp[50], [np.log(other), 0], rtol=tolerance)
    np.testing.assert_allclose(total, logp.astype(float).sum(axis=1), rtol=1e-12)
    _, graw = fitted.kernel.gradient(raw, codes, np.ones(51, dtype), 1)
    assert (graw[50] == 0).all()
    assert (graw[:50][codes[:50, 0] == 4, 8:] == 0).all()
    np.testing.assert_allclose(graw[:, :5].sum(axis=1), 0, atol=tolerance)
    np.testing.assert_allclose(graw[:, 5:].sum(axis=1), 0, atol=tolerance)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@every_model
def test_everything_has_the_same_bits_for_any_number_of_jobs(kind, dtype):
    def life(n_jobs):
        X = words(gaps=[0, 2])
        model = shaken(kind, X, unknown="other", missing="marked", dtype=dtype, n_jobs=n_jobs)
        fit(model.set_params(warm_start=True), X)
        drawn = model.sample(150, random_state=1)
        held = model.sample(80, evidence=[np.nan, 1, 30], random_state=1)
        return [model.theta_, model.score_samples(X), drawn, held, model.score_samples(drawn)]

    alone = life(1)
    for n_jobs in (2, 3):
        assert_same(life(n_jobs), alone)


@every_order
@every_model
def test_no_column_reaches_the_outputs_before_it(kind, order):
    model = shaken(kind, unknown="other", order=order)
    inner, network, conditional = layers(model)
    rows, other = every_row()[::5], every_row()[::-5]
    codes, changes = (inner.codes(X[:, model.order_]) for X in (rows, other))
    assert len(codes) == len(changes)
    for member in range(network.n_members):
        weights, own = (
            network.materialise_weights(inner.params, 2, member),
            network.member_order(member),
        )
        raw, _ = network.forward(weights, codes, 2)
        columns = conditional.by_feature(np.arange(3))[own]
        # digits of a column stay together, in their own order
        starts = np.flatnonzero(np.isin(own, conditional.column_offsets[:-1]))
        assert len(starts) == 3
        for place, d in enumerate(own):
            if d not in conditional.column_offsets:
                assert own[place - 1] == d - 1
                assert columns[place - 1] == columns[place]
            changed = codes.copy()
            changed[:, own[place:]] = changes[:, own[place:]]
            found, _ = network.forward(weights, changed, 2)
            for seen in own[: place + 1]:
                where = slice(*network.output_offsets[seen : seen + 2])
                assert_same_bits(found[:, where], raw[:, where])
