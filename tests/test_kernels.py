"""The compiled network kernels against the textbook, one block of rows at a time.

Run under FASTAR_ISA for every instruction set by test_isa.py.
"""

import numpy as np
import pytest
import reference
from common import ACTIVATIONS, DTYPES, assert_same_bits, ulps

from fastar._core.inputs import MAY_MISS, NEAR, REACH, Inputs
from fastar._core.offsets import offsets_of
from fastar._core.parameters import ParamLayout
from fastar._kernels import _cpu, _inputs
from fastar.conditionals import Categorical
from fastar.networks import SharedHidden

pytestmark = [pytest.mark.kernels, pytest.mark.usefixtures("threads_for_small_work")]

ROWS = [1, 7, 8, 9, 65]
TOLERANCE = {"float32": 2e-5, "float64": 1e-12}

# D, H, P, Q, n, markov_order
SIZES = [
    (1, 16, 1, 1, 9, None),
    (2, 1, 1, 1, 7, None),
    (3, 3, 2, 1, 8, 1),
    (17, 33, 1, 1, 65, None),
    (17, 130, 3, 1, 9, 4),
    (100, 16, 1, 1, 65, None),
    (100, 130, 2, 1, 8, None),
    (100, 33, 1, 1, 1, 31),
    (3, 130, 5, 4, 1, None),
    (17, 16, 4, 4, 8, 2),
    (100, 3, 3, 2, 7, 99),
    (70, 5, 65, 1, 9, None),
]


# The sigmoid has another path where every change is by 1 or -1, or, with many outputs, some are.
UNIT = "sigmoid of units"
KINDS = [*ACTIVATIONS, UNIT]


def problem(
    D, H, P, Q, n, markov_order=None, kind="sigmoid", dtype="float64", scale=1.0, seed=0,
    rescaled=False,
):  # fmt: skip
    """Return a network, its random parameters and codes; with Q > 1 other features are one-hot.

    P, Q: of all features, or (D,).
    """
    rng = np.random.default_rng([seed, D, H, *np.ravel(P), *np.ravel(Q), n])
    P, Q = np.broadcast_to(P, D), np.broadcast_to(Q, D)
    input_flags = (np.arange(D) % 2 == 0).astype(np.uint8) * (Q > 1)
    factors = [1] if kind == UNIT else [1, 1, 1, -0.5, 2]
    codes = np.where(rng.random((n, D)) < 0.4, rng.choice(factors, (n, D)), 0)
    codes = np.where(input_flags, rng.integers(0, Q, (n, D)), codes).astype(dtype)
    inputs = Inputs(offsets_of(Q), input_flags.astype(np.uint8), kind == UNIT)
    network = SharedHidden(
        offsets_of(P), inputs, n_hidden=H, activation=kind.split()[0],
        markov_order=markov_order or D, dtype=np.dtype(dtype), rescaled=rescaled,
    )  # fmt: skip
    layout = ParamLayout(network.shapes, 0)
    theta = _cpu.aligned_empty((layout.size,), np.dtype(dtype))
    theta[:] = rng.standard_normal(layout.size) / np.sqrt(D)
    params = layout.views(theta)
    params["W"] *= scale
    if rescaled:
        params["rho"][...] = rng.uniform(0.3, 1.5, D - 1) * rng.choice([1, 1, -1], D - 1)
    return network, params, codes


def textbook(network, params, codes):
    """Return the network's twin, and its params and inputs for the problem."""
    twin = reference.SharedHidden.of(network)
    x = twin.inputs(codes.astype(np.float64), network.inputs.input_flags)
    return twin, reference.as_double(params), x


def close(actual, expected, dtype):
    scale = max(1.0, np.abs(expected).max(initial=0))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=TOLERANCE[dtype] * scale)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_forward_is_the_textbook(sizes, kind, dtype):
    network, params, codes = problem(*sizes, kind, dtype)
    raw, _ = network.forward(params, codes, 2)
    assert raw.dtype == dtype
    twin, double, x = textbook(network, params, codes)
    close(raw, twin.raw_outputs(double, x), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_backward_is_the_textbook(sizes, kind, dtype):
    network, params, codes = problem(*sizes, kind, dtype)
    raw, cache = network.forward(params, codes, 2)
    graw = np.random.default_rng(1).standard_normal(raw.shape).astype(dtype)
    grads = {name: np.full_like(array, np.nan) for name, array in params.items()}  # overwritten
    network.backward(params, cache, graw, grads, 2)
    twin, double, x = textbook(network, params, codes)
    expected = twin.backward(double, x, graw.astype(np.float64))
    if kind == "relu" and dtype == "float32":
        # a unit within rounding of zero has either derivative
        a = [twin.hidden(double, x, d) for d in range(1, network.n_features)]
        assert not a or not ((np.array(a) > 0) & (np.array(a) < 1e-6)).any()
    for name, grad in grads.items():
        close(grad, expected[name], dtype)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("conditional", reference.CONDITIONALS)
@pytest.mark.parametrize("markov_order", [None, 2])
@pytest.mark.parametrize("rescaled", [False, True])
def test_the_textbooks_gradient_is_its_complex_step(
    activation, conditional, markov_order, rescaled
):
    rng = np.random.default_rng(0)
    D, H, n = 4, 5, 6
    Q = 3 if conditional == "categorical" else 1
    law = reference.CONDITIONALS[conditional](D)
    twin = reference.SharedHidden([law.P] * D, [Q] * D, activation, markov_order)
    codes = rng.integers(0, max(2, Q), (n, D)) * 1.0
    shapes = {"W": (D - 1, Q, H), "c": (H,), "V": (D - 1, law.P, H), "b": (D, law.P)}
    if rescaled:
        shapes["rho"] = (D - 1,)
    params = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
    grads = twin.gradients(params, codes, law, [Q > 1] * D)
    for name, array in params.items():
        direction = {other: np.zeros(params[other].shape) for other in params}
        direction[name] = rng.standard_normal(array.shape)
        derivative = twin.complex_step(params, direction, codes, law, [Q > 1] * D)
        np.testing.assert_allclose(
            (grads[name] * direction[name]).sum(), derivative, rtol=1e-10, atol=1e-13
        )


@pytest.mark.parametrize("dtype", DTYPES)
def test_no_rows_give_no_outputs(dtype):
    network, params, codes = problem(5, 7, 2, 1, 0, dtype=dtype)
    raw, cache = network.forward(params, codes, 2)
    assert raw.shape == (0, 10)
    grads = {name: np.full_like(array, np.nan) for name, array in params.items()}
    network.backward(params, cache, raw, grads, 2)
    assert all((grad == 0).all() for grad in grads.values())


@pytest.mark.parametrize("markov_order", [None, 1, 3])
@pytest.mark.parametrize("Q", [1, 3])
def test_changes_add_up_to_what_each_feature_sees(Q, markov_order):
    network, _, codes = problem(8, 1, 1, Q, 20, markov_order)
    window = markov_order or 8
    flags, offsets = network.inputs.input_flags, network.inputs.offsets
    count, at, row, value = _inputs.changes(codes, flags, offsets, window, 2)
    x = reference.SharedHidden.of(network).inputs(codes, flags).reshape(len(codes), 8, Q)
    for r in range(len(codes)):
        assert (np.diff(at[r, : count[r]]) >= 0).all()
        assert (value[r, : count[r]] != 0).all()
        seen = np.zeros((8, Q))
        for d in range(8):
            now = at[r, : count[r]] == d
            np.add.at(seen.reshape(-1), row[r, : count[r]][now], value[r, : count[r]][now])
            expected = x[r] * ((np.arange(8) < d) & (np.arange(8) >= d - window))[:, None]
            assert_same_bits(seen, expected)


@pytest.mark.parametrize("markov_order", [1, 5])
@pytest.mark.parametrize("dtype", DTYPES)
def test_numbers_enter_up_to_a_reach_where_flags_say_so(dtype, markov_order):
    codes = np.array([[100, 100, -9, 7.5, 0], [-1e30, -8, np.inf, np.nan, 8.5]], dtype)
    flags = np.array([NEAR, 0, NEAR, NEAR | MAY_MISS, NEAR], np.uint8)
    near = np.where(flags & NEAR, np.clip(codes, -REACH, REACH), codes)
    offsets = np.array([0, 1, 2, 3, 5, 6])
    found = _inputs.changes(codes, flags, offsets, markov_order, 1)
    expected = _inputs.changes(near, flags & MAY_MISS, offsets, markov_order, 1)
    assert (found[0] == expected[0]).all()
    for row, count in enumerate(found[0]):
        for mine, theirs in zip(found[1:], expected[1:], strict=True):
            assert_same_bits(mine[row, :count], theirs[row, :count])


# ---- many outputs a feature, and features whose pre-activation is rescaled

# P, H, Q, n, markov_order: every remainder of the tiles of rows and outputs
SHAPES = [
    (P, H, Q, n, markov_order)
    for P, H in [(1, 33), (2, 129), (3, 17), (4, 65), (5, 31), (16, 67), (60, 33)]
    for Q, markov_order in [(1, None), (3, 2)]
    for n in [*range(1, 21), 53, 103, 253]
    if (P + Q + n) % 3 == 0 or n in (20, 53, 253)
]
RESCALED = pytest.mark.parametrize("rescaled", [False, True])


def results(network, params, codes, n_threads, seed=1):
    """Return raw, and the gradients of a random combination of it."""
    raw, cache = network.forward(params, codes, n_threads)
    graw = np.random.default_rng(seed).standard_normal(raw.shape).astype(raw.dtype)
    grads = {name: np.full_like(array, np.nan) for name, array in params.items()}
    network.backward(params, cache, graw, grads, n_threads)
    return raw, graw, grads


def raw_of_any_threads(network, params, codes):
    """Return raw, where one, two and three threads give it and the gradients the same bits."""
    raw, _, grads = results(network, params, codes, 1)
    for n_threads in (2, 3):
        other, _, others = results(network, params, codes, n_threads)
        assert_same_bits(other, raw)
        for name in grads:
            assert_same_bits(others[name], grads[name])
    return raw


@RESCALED
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_any_number_of_outputs_and_rows_is_the_textbook(kind, dtype, rescaled):
    for P, H, Q, n, markov_order in SHAPES:
        network, params, codes = problem(
            6, H, P, Q, n, markov_order, kind, dtype, rescaled=rescaled, seed=3
        )
        raw, graw, grads = results(network, params, codes, 2)
        twin, double, x = textbook(network, params, codes)
        close(raw, twin.raw_outputs(double, x), dtype)
        expected = twin.backward(double, x, graw.astype(np.float64))
        assert grads.keys() == expected.keys() == network.shapes.keys()
        if kind == "relu" and dtype == "float32":
            # as above; the pre-activation is what has to be clear of zero
            a = [twin.pre_activation(double, x, d) for d in range(1, 6)]
            if (np.abs(a) < 1e-6).any():
                continue
        for name, grad in grads.items():
            close(grad, expected[name], dtype)


@RESCALED
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("P", [1, 2, 3, 4, 5, 16, 60])
def test_tiles_of_any_shape_and_any_threads_give_the_same_bits(P, kind, dtype, rescaled):
    for H, Q, markov_order in [(37, 1, None), (130, 3, 2)]:
        network, params, codes = problem(
            7, H, P, Q, 65, markov_order, kind, dtype, rescaled=rescaled
        )
        raw = raw_of_any_threads(network, params, codes)
        for n in range(1, 21):
            part = network.forward(params, codes[n : 2 * n].copy(), 1)[0]
            assert_same_bits(part, raw[n : 2 * n])


@pytest.mark.parametrize("P", [1, 4, 5])
@pytest.mark.parametrize("kind", ["sigmoid", "tanh", "relu"])
def test_rescaling_by_one_changes_no_bit_of_the_outputs(kind, P):
    # of numbers alone: where levels are among them, the sigmoid has its other path
    network, params, codes = problem(9, 33, P, 1, 20, None, kind, "float32")
    scaled, _, _ = problem(9, 33, P, 1, 20, None, kind, "float32", rescaled=True)
    ones = params | {"rho": np.ones(8, np.float32)}
    assert_same_bits(scaled.forward(ones, codes, 2)[0], network.forward(params, codes, 2)[0])


@RESCALED
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("markov_order", [None, 2])
@pytest.mark.parametrize("kind", ["sigmoid", "relu"])
@pytest.mark.parametrize("levels", [2, 3, 5, 16])
def test_samples_are_those_of_one_pass_a_feature(levels, kind, markov_order, dtype, rescaled):
    D, n = 9, 37
    conditional = Categorical().restored(
        {"levels": np.tile(np.arange(levels), D), "n_levels": np.full(D, levels)}, D
    )
    network = SharedHidden(
        conditional.output_offsets, conditional.inputs, n_hidden=35, activation=kind,
        markov_order=markov_order or D, dtype=np.dtype(dtype), rescaled=rescaled,
    )  # fmt: skip
    rng = np.random.default_rng(levels)
    params = {
        name: rng.standard_normal(shape).astype(dtype) for name, shape in network.shapes.items()
    }
    kernel = conditional.kernel
    noise = rng.random((n, D, kernel.n_noise)).astype(dtype)
    draw = kernel.draw(np.dtype(dtype), 1.0)
    codes = np.zeros((n, D), dtype)
    network.sample(params, draw, noise, None, codes, 2)
    again = np.zeros((n, D), dtype)
    for d in range(D):
        raw = network.forward(params, again, 2)[0][:, d * levels : (d + 1) * levels]
        p = np.exp(raw.astype(np.float64))
        p /= p.sum(axis=1, keepdims=True)
        again[:, d] = np.minimum((noise[:, d] >= np.cumsum(p, axis=1)).sum(axis=1), levels - 1)
    assert_same_bits(codes, again)
    alone = np.zeros((1, D), dtype)
    network.sample(params, draw, noise[5:6].copy(), None, alone, 1)
    assert_same_bits(alone, codes[5:6])


def test_rho_begins_by_keeping_the_variance_and_is_not_decayed():
    network, params, _ = problem(10, 4, 2, 1, 1, rescaled=True)
    network.initialise(params, np.random.default_rng(0))
    np.testing.assert_allclose(params["rho"], 1 / np.sqrt(np.arange(1, 10)))
    assert list(network.shapes) == ["W", "V", "c", "b", "rho"]
    assert "rho" not in network.decayed
    assert network.settings()["rescaled"] is True


# ---- the same bits


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sizes", [(17, 33, 1, 1), (100, 130, 2, 1), (9, 16, 3, 3)], ids=str)
def test_a_row_has_the_same_bits_alone_and_in_any_tile(sizes, kind, dtype):
    network, params, codes = problem(*sizes, 65, None, kind, dtype)
    raw, _ = network.forward(params, codes, 1)
    for n in ROWS:
        start = 65 - n
        assert_same_bits(network.forward(params, codes[start:].copy(), 1)[0], raw[start:])
    for r in (0, 3, 64):
        assert_same_bits(network.forward(params, codes[r : r + 1].copy(), 1)[0], raw[r : r + 1])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_forward_and_backward_have_the_same_bits_for_any_thread_count(kind, dtype):
    network, params, codes = problem(40, 261, 2, 1, 65, None, kind, dtype)
    results = []
    for n_threads in (1, 2, 3, 8):
        raw, cache = network.forward(params, codes, n_threads)
        grads = {name: np.full_like(array, np.nan) for name, array in params.items()}
        network.backward(params, cache, raw, grads, n_threads)
        results.append([raw, *grads.values()])
    for other in results[1:]:
        for array, expected in zip(other, results[0], strict=True):
            assert_same_bits(array, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("markov_order", [None, 3])
@pytest.mark.parametrize("Q", [1, 3])
@pytest.mark.parametrize("scale", [10.0, 100.0, 2000.0])
@pytest.mark.parametrize("P", [2, 5])
@pytest.mark.parametrize("kind", [UNIT, "sigmoid", "tanh"])
def test_pre_activations_that_saturate_and_return_are_the_textbooks(
    kind, P, scale, Q, markov_order, dtype
):
    network, params, codes = problem(17, 33, P, Q, 65, markov_order, kind, dtype, scale)
    twin, double, x = textbook(network, params, codes)
    raw, cache = network.forward(params, codes, 2)
    with np.errstate(over="ignore"):
        expected = twin.raw_outputs(double, x)
        # a sum of n terms of this size is rounded by so much; g grows by at most as much
        rounding = np.finfo(dtype).eps * scale * 17 * 4
        atol = max(TOLERANCE[dtype], rounding * np.abs(double["V"]).sum(axis=2).max())
        np.testing.assert_allclose(raw, expected, rtol=0, atol=atol)
        graw = np.random.default_rng(1).standard_normal(raw.shape).astype(dtype)
        grads = {name: np.full_like(array, np.nan) for name, array in params.items()}
        network.backward(params, cache, graw, grads, 2)
        slopes = twin.backward(double, x, graw.astype(np.float64))
    for name, grad in grads.items():
        np.testing.assert_allclose(grad, slopes[name], rtol=0, atol=10 * atol * np.sqrt(len(codes)))
    for r in (0, 31, 64):
        assert_same_bits(network.forward(params, codes[r : r + 1].copy(), 1)[0], raw[r : r + 1])


# ---- accuracy: with W = 1, c = 0 and V = 1 the second raw output is g(x_1) itself


def activations_of(x, activation):
    """Return g(x) as the kernels compute it, the same in every unit of a vector."""
    H = 5
    network, params, _ = problem(2, H, H, 1, 1, None, activation, x.dtype.name)
    for name, value in (("W", 1), ("c", 0), ("V", np.eye(H)), ("b", 0)):
        params[name][...] = value
    raw, _ = network.forward(params, np.stack([x, x], axis=1), 1)
    second = raw[:, H:]
    assert ((second == second[:, :1]) | np.isnan(second)).all()
    return second[:, 0]


def wide_range(dtype, limit):
    x = np.concatenate(
        [np.linspace(0, 1, 20001), np.linspace(0, limit, 30001), np.logspace(-30, 0, 5001)]
    )
    return np.concatenate([-x, x]).astype(dtype)


EXACT = {
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
}
LIMIT = {"float32": 87.0, "float64": 708.0}
WIDER = {"float32": np.float64, "float64": np.longdouble}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_are_within_four_ulp(activation, dtype):
    x = wide_range(dtype, LIMIT[dtype])
    error = ulps(activations_of(x, activation), EXACT[activation](x.astype(WIDER[dtype])))
    assert error.max() <= (0 if activation == "relu" else 4), x[error.argmax()]


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_sigmoid_of_units_begins_within_four_ulp(dtype):
    H = 500
    network, params, codes = problem(2, H, H, 1, 1, None, UNIT, dtype)
    for name, value in (("V", np.eye(H)), ("b", 0)):
        params[name][...] = value
    x = wide_range(dtype, LIMIT[dtype])[:110_000:11]
    for start in range(0, len(x), H):
        params["c"][...] = x[start : start + H]
        raw, _ = network.forward(params, np.zeros_like(codes), 1)
        expected = EXACT["sigmoid"](x[start : start + H].astype(WIDER[dtype]))
        assert ulps(raw[0, H:], expected).max() <= 4


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_errors_do_not_pile_up_over_many_changes(kind, dtype):
    D, H = 1500, 17
    network, params, _ = problem(D, H, 1, 1, 9, None, kind, dtype)
    codes = (np.random.default_rng(0).random((9, D)) < 0.9).astype(dtype)
    params["V"][...] = 1 / H
    raw, _ = network.forward(params, codes, 1)
    double = reference.as_double(params)
    a = double["c"] + np.cumsum(codes[:, :-1, None].astype(float) * double["W"], axis=1)
    h = reference.ACTIVATIONS[kind.split()[0]][0](a)
    error = raw[:, 1:] - double["b"][1:, 0] - h.mean(axis=2)
    assert np.abs(error).max() < {"float32": 5e-6, "float64": 1e-14}[dtype]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_saturate_beyond_the_range_of_exp(activation, dtype):
    x = np.array([-1e30, -1e4, 1e4, 1e30], dtype)
    with np.errstate(over="ignore"):
        expected = EXACT[activation](x)
    got = activations_of(x, activation)
    np.testing.assert_allclose(got[:2], expected[:2], rtol=0, atol=2e-38)
    assert_same_bits(got[2:], expected[2:])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_nan_goes_through(activation, dtype):
    x = np.array([0.5, np.nan, -0.5], dtype)
    got = activations_of(x, activation)
    assert np.isnan(got).tolist() == [False, True, False]


@pytest.mark.parametrize("sign", [1, -1])
def test_two_changes_at_one_feature_are_taken_back_in_turn(sign):
    # Undone in the wrong order, exp(-a) would overflow between them though it never did in forward.
    def gradients(dtype):
        inputs = Inputs(np.arange(6), np.zeros(5, np.uint8), binary_inputs=True)
        network = SharedHidden(
            np.arange(6), inputs, n_hidden=1, activation="sigmoid", markov_order=2, dtype=dtype
        )
        params = {
            "W": sign * np.array([[65], [-70], [70], [0]], dtype),
            "V": np.ones((4, 1, 1), dtype),
            "c": sign * np.array([-30], dtype),
            "b": np.zeros((5, 1), dtype),
        }
        _, cache = network.forward(params, np.array([[1, 1, 1, 0, 0]], dtype), 1)
        grads = {name: np.empty_like(value) for name, value in params.items()}
        network.backward(params, cache, np.ones((1, 5), dtype), grads, 1)
        return grads

    single, double = gradients(np.float32), gradients(np.float64)
    for name in double:
        np.testing.assert_allclose(single[name], double[name], rtol=1e-4, atol=1e-7)


def test_work_space_that_is_not_there_is_said_with_its_size():
    error = _cpu.no_memory(3_000_000_000)
    assert isinstance(error, MemoryError)
    assert str(error).startswith("Unable to allocate 3 GB of work space. A smaller batch_size, ")
