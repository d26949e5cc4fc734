"""Recurrent kernels and networks against float64 cells written like the papers."""

import numpy as np
import pytest
import reference

from fastar._parameters import Layout
from fastar._table import Table
from fastar.conditionals import Bernoulli, Categorical, Gaussian
from fastar.networks._inputs import Inputs
from fastar.networks._recurrent import CELLS, Recurrent, Steps

LENGTHS = np.array([9, 7, 7, 4, 2, 1, 1])


def one_hot(K):
    return Inputs(K + 1, np.array([3], np.uint8), True)


FACTORS = Inputs(1, np.zeros(3, np.uint8))
KINDS = {"levels": (1, 5, one_hot(5)), "factors": (3, 2, FACTORS)}


def network(kind, cell, **settings):
    D, P, inputs = KINDS[kind]
    settings = {"n_hidden": 37, "dtype": "float64"} | settings
    return Recurrent(D, P, inputs, cell=cell, **settings)


def codes_of(kind, n, rng, dtype="float64"):
    if kind == "levels":
        codes = rng.integers(0, 5, (n, 1)).astype(dtype)
        codes[rng.random(n) < 0.1] = np.nan
        return codes
    return rng.standard_normal((n, 3)).astype(dtype)


def params_of(net, rng):
    theta = net.zeros()
    params = Layout(net.shapes, 0).views(theta)
    net.initialise(params, rng)
    theta += 0.1 * rng.standard_normal(theta.size).astype(theta.dtype)
    return theta, params


def rows_of(steps, r):
    """The rows of a sequence's steps."""
    return np.flatnonzero(steps.sequence == r)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("n_layers", [1, 2])
def test_the_outputs_are_those_of_the_textbook_cell(kind, cell, n_layers):
    rng = np.random.default_rng(0)
    net = network(kind, cell, n_layers=n_layers, n_context=2)
    _, params = params_of(net, rng)
    codes = codes_of(kind, LENGTHS.sum(), rng)
    context = rng.standard_normal((len(LENGTHS), 2))
    raw, _ = net.forward(net.prepare(params, 1), codes, 1, context=context, lengths=LENGTHS)
    steps = Steps.of(LENGTHS)
    for r, y in enumerate(context):
        mine = rows_of(steps, r)
        want = reference.recurrent(net, params, codes[mine], y)
        np.testing.assert_allclose(raw[mine], want, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("n_layers", [1, 2])
def test_the_gradient_is_that_of_finite_differences(kind, cell, n_layers):
    rng = np.random.default_rng(1)
    net = network(kind, cell, n_layers=n_layers, n_context=2, n_hidden=11)
    theta, params = params_of(net, rng)
    codes = codes_of(kind, LENGTHS.sum(), rng)
    context = rng.standard_normal((len(LENGTHS), 2))
    weight = rng.standard_normal((len(codes), net.n_features, net.n_outputs))

    def value(vector):
        views = Layout(net.shapes, 0).views(vector)
        raw, cache = net.forward(net.prepare(views, 1), codes, 1, context=context, lengths=LENGTHS)
        return (weight * raw).sum(), cache

    gradient = np.full_like(theta, np.nan)
    grads = Layout(net.shapes, 0).views(gradient)
    net.backward(net.prepare(params, 1), value(theta)[1], weight, grads, 1)
    for name, view in grads.items():
        direction = np.zeros_like(theta)
        Layout(net.shapes, 0).views(direction)[name][...] = rng.standard_normal(view.shape)
        step = 1e-6
        want = (value(theta + step * direction)[0] - value(theta - step * direction)[0]) / (
            2 * step
        )
        assert gradient @ direction == pytest.approx(want, rel=1e-6, abs=1e-7), name


@pytest.mark.parametrize("cell", CELLS)
def test_nothing_flows_past_a_cut(cell):
    """Two chunks of four steps, the second from the state that the first left, as constants."""
    rng = np.random.default_rng(2)
    net = network("levels", cell, bptt=4, n_layers=2)
    _, params = params_of(net, rng)
    codes, lengths = codes_of("levels", 24, rng), np.full(3, 8)
    graw = rng.standard_normal((24, 1, 5))
    whole, total = net.zeros(), net.zeros()
    weights = net.prepare(params, 1)
    _, cache = net.forward(weights, codes, 1, lengths=lengths)
    net.backward(weights, cache, graw, Layout(net.shapes, 0).views(whole), 1)
    state = net.initial_state(3)
    for part in (slice(0, 12), slice(12, 24)):
        _, cache, state = net._run(weights, codes[part], 1, None, np.full(3, 4), state, True)
        gradient = net.zeros()
        net.backward(weights, cache, graw[part], Layout(net.shapes, 0).views(gradient), 1)
        total += gradient
    np.testing.assert_allclose(whole, total, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cell", CELLS)
def test_mixed_lengths_are_the_sequences_one_by_one_bit_for_bit(cell, dtype):
    rng = np.random.default_rng(3)
    net = network("levels", cell, n_layers=2, dtype=dtype)
    weights = net.prepare(params_of(net, rng)[1], 1)
    codes, steps = codes_of("levels", LENGTHS.sum(), rng, dtype), Steps.of(LENGTHS)
    raw, _ = net.forward(weights, codes, 1, lengths=LENGTHS)
    for r, length in enumerate(LENGTHS):
        mine = rows_of(steps, r)
        alone, _ = net.forward(weights, codes[mine], 1, lengths=np.array([length]))
        assert (raw[mine] == alone).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cell", CELLS)
def test_chunks_with_the_state_carried_over_are_the_whole_bit_for_bit(cell, dtype):
    rng = np.random.default_rng(4)
    net = network("factors", cell, n_layers=2, dtype=dtype)
    weights = net.prepare(params_of(net, rng)[1], 1)
    codes = codes_of("factors", 5 * 13, rng, dtype)
    whole, end = net.score(weights, codes, 1, lengths=np.full(5, 13))
    state, parts = net.initial_state(5), []
    for start, stop in ((0, 4), (4, 5), (5, 13)):
        raw, state = net.score(
            weights, codes[5 * start : 5 * stop], 1, lengths=np.full(5, stop - start), state=state
        )
        parts.append(raw)
    assert (np.concatenate(parts) == whole).all()
    assert (state == end).all()


@pytest.mark.parametrize("cell", CELLS)
def test_threads_do_not_change_a_bit(cell):
    rng = np.random.default_rng(5)
    net = network("levels", cell, n_layers=2, dtype="float32", n_hidden=64)
    _, params = params_of(net, rng)
    lengths = np.sort(rng.integers(1, 40, 50))[::-1].copy()
    codes = codes_of("levels", lengths.sum(), rng, "float32")
    found = []
    for n_threads in (1, 2, 3, 7):
        weights = net.prepare(params, n_threads)
        raw, cache = net.forward(weights, codes, n_threads, lengths=lengths)
        gradient = net.zeros()
        net.backward(weights, cache, raw, Layout(net.shapes, 0).views(gradient), n_threads)
        found.append((raw, gradient))
    for raw, gradient in found[1:]:
        assert (raw == found[0][0]).all()
        assert (gradient == found[0][1]).all()


def fitted(conditional, X):
    return conditional.fitted(Table(X, np.arange(X.shape[1])), np.ones(len(X)))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("n_layers", [1, 2])
def test_samples_follow_the_outputs_that_forward_gives_them(cell, n_layers):
    """With the same noise, drawing from forward's outputs gives the walk's codes back."""
    rng = np.random.default_rng(6)
    conditional = fitted(Categorical(), np.arange(5)[:, None])
    net = Recurrent(1, 5, conditional.inputs, n_hidden=20, cell=cell, dtype="float64",
                    n_layers=n_layers, n_context=2)  # fmt: skip
    weights = net.prepare(params_of(net, rng)[1], 1)
    n, T = 70, 6
    draw, noise = conditional.kernel.draw(net.dtype, 1.0), rng.random((n, T, 1))
    codes, context = np.empty((n, T)), rng.standard_normal((n, 2))
    net.sample(weights, draw, noise, None, codes, 1, context=context)
    packed = codes.T.reshape(-1, 1)
    raw, _ = net.forward(weights, packed, 1, context=context, lengths=np.full(n, T))
    cumulative = np.exp(raw[:, 0]).cumsum(axis=1)
    cumulative /= cumulative[:, -1:]
    assert ((noise[:, :, 0].T.reshape(-1, 1) > cumulative).sum(axis=1) == packed[:, 0]).all()
    for n_threads in (2, 5):
        again = np.empty_like(codes)
        net.sample(weights, draw, noise, None, again, n_threads, context=context)
        assert (again == codes).all()


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("kind", ["bernoulli", "gaussian"])
def test_what_is_held_stays_and_is_weighed(cell, kind):
    rng = np.random.default_rng(7)
    X = rng.integers(0, 2, (50, 3)) if kind == "bernoulli" else rng.standard_normal((50, 3))
    conditional = fitted(Bernoulli() if kind == "bernoulli" else Gaussian(), X)
    net = Recurrent(3, conditional.n_outputs, conditional.inputs, n_hidden=9, cell=cell,
                    dtype="float64")  # fmt: skip
    weights = net.prepare(params_of(net, rng)[1], 1)
    n, T = 10, 4
    values = (
        rng.integers(0, 2, (n * T, 3)) if kind == "bernoulli" else rng.standard_normal((n * T, 3))
    )
    codes = conditional.encode(values, net.dtype)
    walked = codes.reshape(T, n, 3).swapaxes(0, 1).reshape(n, -1).copy()
    held, weight, kept = np.full(walked.shape, 2, np.uint8), np.zeros(n), walked.copy()
    noise = rng.random((n, 3 * T, conditional.kernel.n_noise))
    net.sample(
        weights, conditional.kernel.draw(net.dtype, 1.0), noise, held, walked, 1, weight=weight
    )
    assert (walked == kept).all()
    raw, _ = net.forward(weights, codes, 1, lengths=np.full(n, T))
    logp, _ = conditional.kernel.log_prob(raw, codes, 1)
    np.testing.assert_allclose(weight, logp.reshape(T, n, 3).sum(axis=(0, 2)), rtol=1e-10)


@pytest.mark.parametrize("lengths", [[], [3, 4], [2, 0]])
def test_lengths_that_do_not_fall_are_refused(lengths):
    with pytest.raises(ValueError, match="lengths must fall"):
        Steps.of(np.array(lengths))


def test_lengths_that_are_not_the_codes_are_refused():
    net = network("levels", "tanh")
    with pytest.raises(ValueError, match=r"lengths must add up to the number of steps, 4\. Got 3"):
        net.steps_of(np.zeros((4, 1)), np.array([2, 1]))
