"""Recurrent kernels: what the laws of sequences do not reach. `test_recurrent.py` has these."""

import numpy as np
import pytest
from common import assert_same_bits

from fastar._core.inputs import Inputs
from fastar._core.parameters import ParamLayout
from fastar._data.packed import Steps
from fastar._data.table import Table
from fastar._kernels import _recurrent
from fastar.conditionals import Bernoulli, Categorical, Gaussian
from fastar.networks import Recurrent, _recurrent_layers
from fastar.networks._recurrent import CELLS

pytestmark = pytest.mark.kernels

LENGTHS = np.array([1, 9, 7, 4, 7, 2, 1])
LEVELS = 5
# levels that may be missing
INPUTS = Inputs(np.array([0, LEVELS + 1]), np.array([3], np.uint8), True)
every_cell = pytest.mark.parametrize("cell", CELLS)
every_type = pytest.mark.parametrize("dtype", ["float32", "float64"])


def network(cell, conditional=None, sizes=(37, 21), dtype="float64", C=0):
    offsets, inputs = np.array([0, LEVELS]), INPUTS
    if conditional is not None:
        offsets, inputs = conditional.output_offsets, conditional.inputs
    net = Recurrent(offsets, inputs, cell=cell, hidden_layer_sizes=sizes, n_context=C, dtype=dtype)
    theta, rng = net.zeros(), np.random.default_rng(0)
    params = ParamLayout(net.shapes, 0).views(theta)
    net.initialise(params, rng)
    theta += 0.1 * rng.standard_normal(theta.size).astype(dtype)
    return net, params


def codes_of(n, dtype="float64", seed=1):
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, LEVELS, (n, 1)).astype(dtype)
    codes[rng.random(n) < 0.1] = np.nan
    return codes


def fitted(conditional, X):
    return conditional.fitted(Table(X, np.arange(X.shape[1])), np.ones(len(X)))


@pytest.mark.parametrize("n_threads", [1, 2, 3])
@pytest.mark.parametrize(
    "lengths", [np.full(64, 20), np.linspace(1, 90, 50).astype(int), np.arange(300)]
)
def test_no_thread_has_more_than_its_share_of_the_steps(lengths, n_threads):
    steps = Steps.of(codes_of(lengths.sum()), lengths)
    begin = _recurrent.shares(steps.first, len(steps), n_threads)
    assert (begin[0], begin[-1]) == (0, len(steps))
    assert (np.diff(begin) > 0).all()
    longest_first = np.append(0, np.cumsum(-np.sort(-lengths)))
    most = np.diff(longest_first[begin]).max()
    assert most <= lengths.sum() / n_threads + 4 * lengths.max()


@every_type
@every_cell
def test_gradients_have_the_same_bits_on_any_threads(cell, dtype):
    net, params = network(cell, dtype=dtype)
    lengths = np.random.default_rng(2).integers(1, 40, 50)
    steps = Steps.of(codes_of(lengths.sum(), dtype), lengths)
    found = []
    for n_threads in (1, 2, 3, 7):
        raw, cache = net.forward(params, steps, n_threads, rng=np.random.default_rng(0))
        gradient = net.zeros()
        net.backward(params, cache, raw, ParamLayout(net.shapes, 0).views(gradient), n_threads)
        found.append((raw, gradient))
    for raw, gradient in found[1:]:
        assert_same_bits(raw, found[0][0])
        assert_same_bits(gradient, found[0][1])


@every_type
@every_cell
def test_what_is_kept_for_the_gradient_changes_no_bit(cell, dtype):
    net, params = network(cell, dtype=dtype)
    steps = Steps.of(codes_of(LENGTHS.sum(), dtype), LENGTHS)
    kept, _ = net.forward(params, steps, 1, rng=np.random.default_rng(0))
    assert_same_bits(net.forward(params, steps, 1)[0], kept)


@pytest.mark.parametrize(("rows", "n_parts"), [(1, 9), (9, 4), (1000, 1)])
@pytest.mark.parametrize("C", [0, 2])
@every_cell
def test_parts_in_time_are_the_whole_bit_for_bit(cell, C, rows, n_parts, monkeypatch):
    monkeypatch.setattr(_recurrent_layers, "_ROWS", rows)
    net, params = network(cell, C=C)
    steps = Steps.of(codes_of(LENGTHS.sum()), LENGTHS)
    context = np.random.default_rng(3).normal(size=(len(LENGTHS), C)) if C else None
    parts = list(net.bptt_segments(params, steps, 2, context))
    assert len(parts) == n_parts
    whole, _ = net.forward(params, steps, 1, context=context)
    assert_same_bits(np.concatenate([raw for _, raw in parts]), whole)
    rows_of_parts = np.concatenate([np.arange(where.start, where.stop) for where, _ in parts])
    np.testing.assert_array_equal(rows_of_parts, np.arange(len(steps.codes)))


@every_cell
def test_the_state_after_sequences_is_what_goes_on(cell):
    net, params = network(cell)
    codes = codes_of(5 * 13)
    whole = Steps.of(codes, np.full(5, 13))
    raw, end = net.step(params, whole, net.start(5), 1)
    assert_same_bits(raw, net.forward(params, whole, 1)[0])
    state, parts = net.start(5), []
    for first, last in ((0, 4), (4, 5), (5, 13)):
        part = codes.reshape(5, 13, 1)[:, first:last].reshape(-1, 1)
        found, state = net.step(params, Steps.of(part, np.full(5, last - first)), state, 1)
        parts.append(found)
    assert_same_bits(np.concatenate(parts), raw)
    for one, other in zip(state, end, strict=True):
        assert_same_bits(one[0], other[0])
        assert_same_bits(one[1], other[1])


@every_cell
@pytest.mark.parametrize("sizes", [(20,), (20, 33)])
def test_a_walk_draws_from_the_outputs_that_forward_gives_its_codes(cell, sizes):
    conditional = fitted(Categorical(), np.arange(LEVELS)[:, None])
    net, params = network(cell, conditional, sizes)
    n, T = 70, 6
    draw = conditional.kernel.draw(net.dtype, 1.0)
    noise, codes = np.random.default_rng(6).random((n, T, 1)), np.empty((n, T))
    net.sample(params, draw, noise, None, codes, 1)
    raw, _ = net.forward(params, Steps.of(codes.reshape(-1, 1), np.full(n, T)), 1)
    share = np.exp(raw).cumsum(axis=1)
    share /= share[:, -1:]
    drawn = (noise[:, :, 0].T.reshape(-1, 1) > share).sum(axis=1)
    assert_same_bits(drawn.reshape(T, n).T.astype(float), codes)
    for n_threads in (2, 5):
        again = np.empty_like(codes)
        net.sample(params, draw, noise, None, again, n_threads)
        assert_same_bits(again, codes)
    # the same in two walks, the second from the state that the first left
    state, again = net.start(n), np.empty_like(codes)
    for part in (slice(0, 2), slice(2, 6)):
        walked = np.empty((n, part.stop - part.start))
        mine = np.ascontiguousarray(noise[:, part])
        net.sample(params, draw, mine, None, walked, 1, state=state)
        again[:, part] = walked
    assert_same_bits(again, codes)


@every_cell
@pytest.mark.parametrize("conditional", [Bernoulli(), Gaussian()], ids=lambda each: each.name)
def test_what_is_held_stays_and_is_weighed(cell, conditional):
    from fastar._kernels._conditionals import WEIGHTED

    rng, n, T = np.random.default_rng(7), 10, 4
    X = rng.integers(0, 2, (n * T, 3))
    conditional = fitted(conditional, X)
    net, params = network(cell, conditional)
    values = conditional.encode(X, net.dtype)
    codes = values.reshape(n, T * 3).copy()
    held, weight = np.full(codes.shape, WEIGHTED, np.uint8), np.zeros(n)
    noise = rng.random((n, 3 * T, conditional.kernel.n_noise))
    draw = conditional.kernel.draw(net.dtype, 1.0)
    net.sample(params, draw, noise, held, codes, 1, weight=weight)
    assert_same_bits(codes, values.reshape(n, T * 3))
    steps = Steps.of(values, np.full(n, T))
    logp = conditional.kernel.log_prob(net.forward(params, steps, 1)[0], steps.codes, 1)[1]
    np.testing.assert_allclose(weight, steps.sums(logp), rtol=1e-10)
