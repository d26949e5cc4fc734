"""Masked networks and their kernels against the textbook: masks, products, gradients, draws.

What a mask hides holds NaN here, so that a kernel that read it could not go unnoticed. Run under
FASTAR_ISA for every instruction set by test_isa.py.
"""

from dataclasses import dataclass

import hypothesis
import numpy as np
import pytest
import reference
from common import (
    ACTIVATIONS,
    CONDITIONALS,
    DISCRETE,
    DTYPES,
    MARKOV_ORDERS,
    assert_same_bits,
    ulps,
    walked,
)
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from test_conditionals import columns_of, draw
from test_conditionals import fitted as fitted_conditional
from test_kernels import EXACT, LIMIT, WIDER, close, wide_range

from fastar._core.inputs import Inputs
from fastar._core.offsets import offsets_of, positions
from fastar._core.parameters import ParamLayout
from fastar._kernels import _cpu, _masked
from fastar.networks import Masked
from fastar.networks._masks import MaskSet

pytestmark = [pytest.mark.kernels, pytest.mark.usefixtures("threads_for_small_work")]

every_dtype = pytest.mark.parametrize("dtype", DTYPES)
every_activation = pytest.mark.parametrize("activation", ACTIVATIONS)
examples = hypothesis.settings(
    max_examples=100, suppress_health_check=list(HealthCheck), derandomize=True
)
ROWS = [1, 2, 11, 12, 13, 100, 257]


# ---- networks


def network_of(D, layers=(), P=1, inputs=None, **settings):
    """Return a masked network, of binary features by default. P: of all features, or (D,)."""
    inputs = inputs_of(D) if inputs is None else inputs
    settings = {"markov_order": D, "dtype": "float64"} | settings
    outputs = offsets_of(np.broadcast_to(P, D))
    return Masked(outputs, inputs, hidden_layer_sizes=layers, **settings)


def inputs_of(D, Q=1, input_flags=0, binary_inputs=True):
    """Return inputs of D features. Q, input_flags: of all of them, or (D,)."""
    flags = np.broadcast_to(input_flags, D).astype(np.uint8)
    return Inputs(offsets_of(np.broadcast_to(Q, D)), flags, binary_inputs)


def parameters_of(network, member, scale=1.0):
    """Return random parameters of the network, NaN where the member's masks hide them; its twin."""
    layout = ParamLayout(network.shapes, 0)
    theta = _cpu.aligned_empty((layout.size,), network.dtype)
    theta[:] = np.random.default_rng(0).standard_normal(layout.size) * scale
    params, twin = layout.views(theta), reference.Masked.of(network, member)
    for name, mask in twin.masks.items():
        weights = params[name].reshape(mask.shape)
        weights /= np.sqrt(max(1, mask.sum(axis=0).max()))
        weights[~mask] = np.nan
    return params, twin


def codes_of(network, n):
    """Return random codes as the network's inputs allow them."""
    rng, inputs, D = np.random.default_rng(n), network.inputs, network.n_features
    factors = [1.0] if inputs.binary_inputs else [1, 1, -0.5, 2]
    codes = np.where(rng.random((n, D)) < 0.5, rng.choice(factors, (n, D)), 0)
    codes = np.where(inputs.input_flags, rng.integers(0, np.diff(inputs.offsets), (n, D)), codes)
    return codes.astype(network.dtype)


def doubled(params):
    return {name: array.astype(np.float64) for name, array in params.items()}


@st.composite
def networks(draw, widest=70, most_levels=200, **chosen):
    """Return a network of any shape, and one of its members."""
    D = draw(st.integers(1, 40))
    P, Q = draw(st.integers(1, 3)), draw(st.sampled_from([1, 1, 3]))
    layers = tuple(draw(st.lists(st.integers(1, widest), max_size=3)))
    input_flags = np.array(draw(st.lists(st.booleans(), min_size=D, max_size=D))) * (Q > 1)
    if draw(st.booleans()):
        widths = st.lists(st.sampled_from([1, 1, 2, 3, 20, most_levels]), min_size=D, max_size=D)
        P, levels = np.array(draw(widths)), np.array(draw(widths))
        input_flags = levels > 2
        Q = np.where(input_flags, levels, 1)
    n_masks = draw(st.sampled_from([1, 1, 3, "unlimited"]))
    settings = {
        "activation": draw(st.sampled_from(ACTIVATIONS)),
        "direct_connections": draw(st.booleans()) or not layers,
        "degrees": draw(st.sampled_from(["even", "random"])),
        "redrawn": draw(st.sampled_from([1, 1, 0.3])),
        "n_masks": n_masks,
        "order_agnostic": n_masks != 1 and draw(st.booleans()),
        "markov_order": draw(st.integers(1, D)) if draw(st.booleans()) else D,
        "dropout": draw(st.sampled_from([0, 0, 0.3])),
        "seed": draw(st.integers(0, 99)),
        "dtype": draw(st.sampled_from(DTYPES)),
    }
    inputs = inputs_of(D, Q, input_flags, draw(st.booleans()))
    network = network_of(D, layers, P, inputs, **settings | chosen)
    return network, draw(st.integers(0, 2)) if n_masks != 1 else 0


def kept_of(network, weights, cache):
    """Return what dropout multiplied the hidden layers by, units as they are stored."""
    kept = []
    left_out = round(network.dropout * 65536)
    for units, chances in zip(weights.wiring.masks.units, cache.chances, strict=False):
        kept.append(np.empty(chances.shape))
        kept[-1][:, units] = (chances >= left_out) / (1 - left_out / 65536)
    return kept


@examples
@given(networks(), st.sampled_from(ROWS), st.sampled_from([1, 2, 3]))
def test_forward_and_backward_are_the_textbooks(drawn, n, n_threads):
    network, member = drawn
    params, twin = parameters_of(network, member)
    codes = codes_of(network, n)
    weights = network.materialise_weights(params, n_threads, member)
    raw, cache = network.forward(weights, codes, n_threads, rng=np.random.default_rng(0))
    kept = kept_of(network, weights, cache)
    assert len(kept) == (len(network.hidden_layer_sizes) if network.dropout else 0)
    double = doubled(params)
    x = twin.inputs(codes.astype(float), network.inputs.input_flags)
    assert raw.dtype == network.dtype
    close(raw, twin.raw_outputs(double, x, kept), network.dtype.name)

    graw = np.random.default_rng(1).standard_normal(raw.shape).astype(network.dtype)
    grads = {name: np.full_like(array, np.inf) for name, array in params.items()}
    network.backward(weights, cache, graw, grads, n_threads)
    if network.activation == "relu" and network.dtype == np.float32:
        # a unit within rounding of zero has either derivative
        active, _ = twin.layers(double, x, kept)
        hypothesis.assume(not any(((h > 0) & (h < 1e-5)).any() for h in active))
    expected = twin.backward(double, x, graw.astype(np.float64), kept)
    for name, grad in grads.items():
        shown = twin.masks.get(name, np.ones(grad.size, bool)).reshape(grad.shape)
        close(grad[shown], expected[name][shown], network.dtype.name)
        # nothing is written where nothing is learnt; members share a vector that all write
        assert (grad[~shown] == (np.inf if network.n_masks == 1 else 0)).all()


@examples
@given(networks(), st.sampled_from(ROWS))
def test_every_number_has_the_same_bits_for_any_threads_and_any_block_of_rows(drawn, n):
    network, member = drawn
    params, _ = parameters_of(network, member)
    codes = codes_of(network, n)
    found = []
    for n_threads in (1, 2, 3, 8):
        weights = network.materialise_weights(params, n_threads, member)
        raw, cache = network.forward(weights, codes, n_threads, rng=np.random.default_rng(0))
        grads = {name: np.full_like(array, np.inf) for name, array in params.items()}
        network.backward(weights, cache, raw, grads, n_threads)
        found.append([raw, *grads.values()])
    for other in found[1:]:
        for array, expected in zip(other, found[0], strict=True):
            assert_same_bits(array, expected)
    raw, _ = network.forward(weights, codes, 1)
    for rows in (slice(0, 1), slice(n // 3, n), slice(n - 1, n)):
        assert_same_bits(network.forward(weights, codes[rows].copy(), 2)[0], raw[rows])


@examples
@given(networks(), st.integers(0, 39))
def test_no_feature_changes_an_output_up_to_it(drawn, position):
    network, member = drawn
    params, twin = parameters_of(network, member)
    codes = codes_of(network, 30)
    late, early = np.split(twin.order, [position])[::-1]
    changed = codes.copy()
    changed[:, late] = codes[::-1, late]
    weights = network.materialise_weights(params, 2, member)
    raws = [network.forward(weights, each, 2)[0] for each in (codes, changed)]
    seen = [*early, *late[:1]]
    seen = positions(network.output_offsets, np.array(seen, int))
    assert_same_bits(raws[1][:, seen], raws[0][:, seen])


@every_dtype
@pytest.mark.parametrize("layers", [(), (5,), (5, 3)])
@pytest.mark.parametrize("binary_inputs", [True, False])
def test_no_rows_give_no_outputs(binary_inputs, layers, dtype):
    inputs = inputs_of(4, binary_inputs=binary_inputs)
    network = network_of(4, layers, inputs=inputs, dtype=dtype)
    params, _ = parameters_of(network, 0)
    raw, _ = network.forward(network.materialise_weights(params, 2), np.empty((0, 4), dtype), 2)
    assert raw.shape == (0, 4)


def test_dropout_leaves_out_its_share_and_keeps_the_mean():
    network = network_of(9, (100, 100), dropout=0.3)
    params, _ = parameters_of(network, 0)
    weights, codes = network.materialise_weights(params, 1), codes_of(network, 500)
    _, cache = network.forward(weights, codes, 1, rng=np.random.default_rng(0))
    for h, left in zip(cache.hidden, cache.given, strict=True):
        found = left[h > 0] / h[h > 0]
        np.testing.assert_allclose(np.unique(np.round(found, 9)), [0, 1 / 0.7], rtol=1e-5)
        assert (found == 0).mean() == pytest.approx(0.3, abs=0.01)
    plain, cache = network.forward(weights, codes, 1)
    assert cache.chances == []
    assert_same_bits(network.forward(weights, codes, 1)[0], plain)


@every_activation
@pytest.mark.parametrize("conditional", reference.CONDITIONALS)
@pytest.mark.parametrize("markov_order", MARKOV_ORDERS)
@pytest.mark.parametrize("degrees", [[], [[1, 3, 2, 3, 1]], [[2, 1, 3], [3, 3, 2, 1]]], ids=str)
def test_the_textbooks_gradient_is_its_complex_step(degrees, markov_order, conditional, activation):
    rng, D, n, Q = np.random.default_rng(0), 4, 6, 3 if conditional == "categorical" else 1
    law, input_flags = reference.CONDITIONALS[conditional](D), [Q > 1] * D
    twin = reference.Masked(
        rng.permutation(D), degrees, law.P, Q, activation, markov_order, direct=len(degrees) != 1
    )
    sizes = {name: mask.size for name, mask in twin.masks.items()} | {"b": D * law.P}
    sizes |= {f"c{layer}": len(each) for layer, each in enumerate(degrees)}
    params = {name: rng.standard_normal(size) for name, size in sizes.items()}
    codes = rng.integers(0, max(2, Q), (n, D)) * 1.0
    grads = twin.gradients(params, codes, law, input_flags)
    for name, array in params.items():
        direction = {other: np.zeros(len(params[other])) for other in params}
        direction[name] = rng.standard_normal(array.shape)
        derivative = twin.complex_step(params, direction, codes, law, input_flags)
        np.testing.assert_allclose(
            grads[name] @ direction[name], derivative, rtol=1e-10, atol=1e-13
        )


# ---- masks


def paths(masks, place, inputs, outputs):
    """Return where a path leads from one feature to another's output, by places in the order.

    inputs, outputs (D + 1,): offsets.
    """
    names = sorted(name for name in masks if name != "L")
    reached = np.zeros((inputs[-1], outputs[-1]), bool)
    if names:
        # a unit's number of paths from an input may be large, that there are any is the question
        found = masks[names[0]].reshape(inputs[-1], -1)
        for name in names[1:]:
            found = found.astype(float) @ masks[name].reshape(found.shape[1], -1) > 0
        reached |= found
    if "L" in masks:
        reached |= masks["L"].reshape(outputs[-1], inputs[-1]).T
    features = reached[np.ix_(inputs[:-1], outputs[:-1])]
    every = np.repeat(np.repeat(features, np.diff(inputs), axis=0), np.diff(outputs), axis=1)
    assert (reached == every).all()
    return features[np.ix_(place, place)]


def test_the_papers_example_is_masked_as_the_paper_has_it():
    # The figure of the paper has p(x_2) p(x_3 | x_2) p(x_1 | x_2, x_3) and these degrees.
    degrees = [np.array([2, 1, 2, 2]), np.array([1, 2, 2, 1])]
    network = network_of(3, (4, 4), n_masks=2, direct_connections=False)
    each = np.arange(4)
    network.masks = lambda member: MaskSet(each, each, np.array([1, 2, 0]), degrees, 3)
    masks = network.mask_arrays()[0]
    first = [[0, 0, 0, 0], [1, 1, 1, 1], [1, 0, 1, 1]]  # from x_1, x_2, x_3
    second = [[0, 1, 1, 0], [1, 1, 1, 1], [0, 1, 1, 0], [0, 1, 1, 0]]
    outputs = [[1, 0, 1], [1, 0, 0], [1, 0, 0], [1, 0, 1]]
    assert_same_bits(masks["W0"], np.array(first, bool))
    assert_same_bits(masks["W1"], np.array(second, bool))
    assert_same_bits(masks["W2"][:, :, 0], np.array(outputs, bool))
    sees = [[0, 0, 0], [1, 0, 1], [1, 0, 0]]  # x_2 is seen by x_1 and x_3, x_3 by x_1
    assert_same_bits(paths(masks, np.arange(3), each, each), np.array(sees, bool))


@examples
@given(networks(widest=12, dtype="float64"))
def test_no_path_leads_to_an_output_but_from_the_features_that_it_may_see(drawn):
    network, member = drawn
    D, k = network.n_features, network.markov_order
    order, arrays = network.member_order(member), network._mask_arrays(member)
    found = paths(arrays, order, network.inputs.offsets, network.output_offsets)
    behind = np.arange(D) - np.arange(D)[:, None]  # of the feature behind the output
    assert not found[(behind < 1) | (behind > k)].any()
    if network.direct_connections or (
        network.degrees == "even" and min(network.hidden_layer_sizes) >= D - 1
    ):
        assert_same_bits(found, (behind >= 1) & (behind <= k))
    elif k >= D - 1:
        assert found[:-1].any(axis=1).all()


@examples
@given(networks(widest=12, dtype="float64"))
def test_masks_follow_from_the_degrees_as_the_paper_says(drawn):
    network, member = drawn
    twin = reference.Masked.of(network, member)
    found = network._mask_arrays(member)
    D, n_rows = network.n_features, network.inputs.n_rows
    if "L" in found:
        found["L"] = found["L"].reshape(-1, n_rows).T
    assert found.keys() == twin.masks.keys()
    for name, mask in found.items():
        assert_same_bits(mask.reshape(twin.masks[name].shape), twin.masks[name])
    for degrees in network.masks(member).degrees:
        assert degrees.min() >= 1
        assert degrees.max() == max(1, D - 1)


@pytest.mark.parametrize(
    "settings", [{"n_masks": 1}, {"n_masks": 3}, {"n_masks": 3, "redrawn": 0.5}]
)
@pytest.mark.parametrize("D", [1, 2, 3, 17, 40])
@pytest.mark.parametrize("H", [1, 2, 15, 16, 17, 100])
def test_even_degrees_are_shared_out_evenly(H, D, settings):
    network = network_of(D, (H, H), **settings)
    for degrees in network.masks(0).degrees:
        count = np.bincount(degrees, minlength=D)[1:D]
        if H >= D - 1:
            assert D == 1 or np.ptp(count) <= 1
        else:
            assert count.max() == 1
            assert np.diff(np.flatnonzero(count)).max(initial=0) <= -(-(D - 1) // H)


def test_sets_of_masks_differ_and_a_seed_fixes_them():
    for settings in ({}, {"order_agnostic": True}, {"degrees": "random"}):
        settings |= {"n_masks": "unlimited"}
        network = network_of(9, (20, 20), seed=3, **settings)
        sets = [network._mask_arrays(member) for member in range(5)]
        for a in range(5):
            for b in range(a):
                assert any((sets[a][name] != sets[b][name]).any() for name in sets[a])
        again = network_of(9, (20, 20), seed=3, **settings)._mask_arrays(4)
        other = network_of(9, (20, 20), seed=4, **settings)._mask_arrays(4)
        assert all((again[name] == sets[4][name]).all() for name in again)
        assert any((other[name] != sets[4][name]).any() for name in other)


@pytest.mark.parametrize("degrees", ["even", "random"])
@pytest.mark.parametrize("redrawn", [0, 0.2, 0.7, 1])
def test_units_that_are_not_redrawn_have_the_same_degrees_in_all_sets(redrawn, degrees):
    D, H, M = 300, 20_000, 4
    network = network_of(D, (H, H), n_masks=M, degrees=degrees, redrawn=redrawn)
    for layer in range(2):
        sets = np.array([network.masks(member).degrees[layer] for member in range(M)])
        # a unit is kept by both of two sets, or has the same degree by chance
        same = (1 - redrawn) ** 2 + (1 - (1 - redrawn) ** 2) / D
        for a in range(M):
            for b in range(a):
                assert np.mean(sets[a] == sets[b]) == pytest.approx(same, abs=0.02)


def test_training_visits_every_member_in_turn():
    assert [network_of(5, (4,), n_masks=3).training_member(step) for step in range(7)] == [
        *[0, 1, 2, 0, 1, 2, 0]
    ]
    unlimited = network_of(5, (4,), n_masks="unlimited", n_scoring_masks=2)
    assert [unlimited.training_member(step) for step in (0, 1, 99)] == [0, 1, 99]
    assert unlimited.n_members == 2


# ---- kernels, one by one, on staircases that no network has

# rows and columns of W, rows of data: around tiles, panels, slabs and the depths of one pass
SIZES = [(1, 1, 1), (2, 3, 11), (17, 33, 12), (33, 17, 13), (300, 40, 7), (600, 130, 5)]
SIZES += [(5, 700, 9), (4, 3, 100)]


def staircase(K, N, seed):
    """Return a random staircase, rows and columns that reach nothing among its own; its mask."""
    rng = np.random.default_rng([seed, K, N])
    begin, end = np.sort(rng.integers(0, N + 1, (2, K)), axis=1)
    stairs = _masked.Staircase(begin, np.maximum(begin, end), N)
    j = np.arange(N)
    mask = (begin[:, None] <= j) & (j < end[:, None])
    assert_same_bits(stairs.mask(), mask)
    return stairs, mask


def problems(dtype):
    """Yield stairs, their mask, W with NaN where they hide it, inputs of which many are 0, and G.

    G (n, columns): outputs, gradients or whatever else has their shape.
    """
    for K, N, n in SIZES:
        for seed in range(3):
            stairs, mask = staircase(K, N, seed)
            rng = np.random.default_rng(seed)
            W = np.where(mask, rng.standard_normal((K, N)) / np.sqrt(K), np.nan)
            # from some row on so few that copies of W are not worth it
            share = np.where(np.arange(K) < 150 * (seed + 1), 0.4, 0.01)
            A = rng.standard_normal((n, K)) * (rng.random((n, K)) < share)
            G = rng.standard_normal((n, N))
            yield stairs, mask, W.astype(dtype), A.astype(dtype), G.astype(dtype)


def listed(A, spare=2):
    """Return those of the inputs that are not zero as `gather` and `scatter` want them."""
    n, K = A.shape
    row = np.zeros((n, K + spare), np.int32)
    value = np.full((n, K + spare), np.nan, A.dtype)
    count = np.array([np.count_nonzero(a) for a in A], np.int32)
    for r, a in enumerate(A):
        row[r, : count[r]] = np.flatnonzero(a)
        value[r, : count[r]] = a[a != 0]
    return _masked.listed((count, row, row, value), K, 1)


def exact(mask, W):
    return np.where(mask, W, 0).astype(np.float64)


def test_the_columns_of_a_staircase_are_those_of_its_mask():
    for stairs, mask, *_ in problems("float64"):
        begin, end, column_begin, column_end = stairs.limits()
        for limits in (begin, end, column_begin, column_end):
            assert (np.diff(limits) >= 0).all()
        rows = np.arange(len(mask))[:, None]
        assert_same_bits((column_begin <= rows) & (rows < column_end), mask)


@pytest.mark.parametrize(
    ("begin", "end"),
    [([2, 1], [3, 3]), ([0, 1], [3, 2]), ([0, 2], [1, 1]), ([0, 0], [1, 4]), ([-1, 0], [1, 1])],
)
def test_stairs_that_fall_or_leave_the_matrix_are_refused(begin, end):
    with pytest.raises(ValueError, match="rising columns"):
        _masked.Staircase(np.array(begin), np.array(end), 3)
    with pytest.raises(ValueError, match="rising columns"):
        _masked.Staircase(np.array([0, 0]), np.array([1]), 3)


@dataclass
class Out:
    """Stands for the array that a kernel writes to, and says what is in it before."""

    start: np.ndarray


def same_for_any_threads(kernel, *arguments):
    """Return what the kernel writes to the argument that is an `Out`."""
    place = next(i for i, each in enumerate(arguments) if isinstance(each, Out))
    found = []
    for n_threads in (1, 2, 3):
        found.append(arguments[place].start.copy())
        kernel(*arguments[:place], found[-1], *arguments[place + 1 :], n_threads)
        assert_same_bits(found[-1], found[0])
    return found[0]


@every_dtype
@pytest.mark.parametrize("name", ["forward", "gather"])
@pytest.mark.parametrize("activation", [*ACTIVATIONS, None])
def test_a_layer_is_the_product_with_what_the_stairs_show(activation, name, dtype):
    number = -1 if activation is None else _masked.ACTIVATIONS.index(activation)
    g = reference.ACTIVATIONS[activation][0] if activation else lambda a: a
    for stairs, mask, W, A, G in problems(dtype):
        source = A if name == "forward" else listed(A)
        product = A.astype(np.float64) @ exact(mask, W)
        # from a bias, or added to what is there
        for bias, start in ((G[0], G[0]), (None, G)):
            kernel = getattr(_masked, name)
            out = same_for_any_threads(kernel, source, stairs, W, bias, Out(G), number)
            close(out, g(start + product), dtype)


@every_dtype
@every_activation
def test_the_gradient_by_a_layer_is_the_transposed_product(activation, dtype):
    g, derivative = reference.ACTIVATIONS[activation]
    number = _masked.ACTIVATIONS.index(activation)
    for stairs, mask, W, A, G in problems(dtype):
        h = g(A)
        out = Out(np.full_like(h, np.nan))
        out = same_for_any_threads(_masked.backward, G, stairs, W, h, out, number)
        close(out, G.astype(float) @ exact(mask, W).T * derivative(h.astype(float)), dtype)


@every_dtype
@pytest.mark.parametrize("name", ["outer", "scatter"])
def test_the_gradient_by_the_weights_is_an_outer_product_within_the_stairs(name, dtype):
    for stairs, mask, W, A, G in problems(dtype):
        out = Out(np.full_like(W, np.inf))
        if name == "outer":
            out = same_for_any_threads(_masked.outer, A, G, stairs, out)
        else:
            out = same_for_any_threads(_masked.scatter, listed(A), stairs, G, out)
        close(out[mask], (A.astype(float).T @ G)[mask], dtype)
        assert (out[~mask] == np.inf).all()


@every_dtype
@pytest.mark.parametrize("n", [0, 1, 7])
@pytest.mark.parametrize("width", [1, 16, 127, 128, 300])
def test_sums_of_columns(width, n, dtype):
    G = np.random.default_rng(0).standard_normal((n, width)).astype(dtype)
    sums = same_for_any_threads(_masked.column_sums, G, Out(np.full(width, np.nan, dtype)))
    close(sums, G.astype(float).sum(axis=0), dtype)


@every_dtype
def test_members_take_their_weights_and_give_back_their_gradients(dtype):
    for stairs, mask, *_ in problems(dtype):
        rng, (K, N) = np.random.default_rng(0), mask.shape
        W = rng.standard_normal((K, N)).astype(dtype)
        rows, columns = rng.permutation(K), rng.permutation(N)
        sorted_weights = W[np.ix_(rows, columns)]
        shown = np.zeros((K, N), bool)
        shown[np.ix_(rows, columns)] = mask
        for n_threads in (1, 2, 3):
            taken = _masked.gather_masked(W, rows, columns, stairs, n_threads)
            assert_same_bits(taken, np.where(mask, sorted_weights, 0))
        start = Out(np.full_like(W, np.inf))
        back = same_for_any_threads(
            _masked.scatter_masked, sorted_weights, rows, columns, stairs, start
        )
        assert_same_bits(back, np.where(shown, W, 0))


@every_dtype
@pytest.mark.parametrize("listed", [False, True], ids=["products", "listed"])
def test_sampling_packs_the_weights_that_a_block_reads_and_no_others(listed, dtype):
    for stairs, mask, W, *_ in problems(dtype):
        rng, (K, N) = np.random.default_rng(0), mask.shape
        columns = np.r_[0, np.sort(rng.integers(0, N + 1, 2)), N]
        rows = np.r_[0, np.sort(rng.integers(0, K + 1, 2)), K]
        blocks = _masked.Blocks(stairs, rows, columns, listed, np.dtype(dtype))
        packed = _masked.pack(stairs, blocks, W, 1)[: blocks.size]
        assert_same_bits(_masked.pack(stairs, blocks, W, 3)[: blocks.size], packed)
        read = np.full((K, N), listed)
        for block in range(3):
            read[: rows[block + 1], columns[block] : columns[block + 1]] = True
        assert_same_bits(np.sort(packed[packed != 0]), np.sort(W[mask & read]))


@every_dtype
def test_shapes_that_do_not_fit_are_refused(dtype):
    stairs, _ = staircase(4, 3, 0)
    good = {
        "forward": [(2, 4), stairs, (4, 3), (3,), (2, 3), 0, 1],
        "backward": [(2, 3), stairs, (4, 3), (2, 4), (2, 4), 0, 1],
        "outer": [(2, 4), (2, 3), stairs, (4, 3), 1],
    }
    for name, arguments in good.items():
        shapes = [i for i, each in enumerate(arguments) if isinstance(each, tuple)]
        arrays = [np.zeros(x, dtype) if isinstance(x, tuple) else x for x in arguments]
        getattr(_masked, name)(*arrays)
        for i in shapes:
            wrong = list(arrays)
            wrong[i] = np.zeros(tuple(size + 1 for size in arguments[i]), dtype)
            with pytest.raises(ValueError, match="do not fit together"):
                getattr(_masked, name)(*wrong)


# ---- accuracy: with W = 1 and no bias a unit is g(x) itself


def activations_of(x, activation):
    """Return g(x) as the kernels compute it, the same in every unit of a layer."""
    N = 19
    stairs = _masked.Staircase(np.array([0]), np.array([N]), N)
    out = np.empty((len(x), N), x.dtype)
    number = _masked.ACTIVATIONS.index(activation)
    ones, zeros = np.ones((1, N), x.dtype), np.zeros(N, x.dtype)
    _masked.forward(x[:, None], stairs, ones, zeros, out, number, 1)
    assert ((out == out[:, :1]) | np.isnan(out)).all()
    return out[:, 0]


@every_dtype
@every_activation
def test_activations_are_within_four_ulp(activation, dtype):
    x = wide_range(dtype, LIMIT[dtype])
    error = ulps(activations_of(x, activation), EXACT[activation](x.astype(WIDER[dtype])))
    assert error.max() <= (0 if activation == "relu" else 4), x[error.argmax()]


@every_dtype
@every_activation
def test_nan_goes_through(activation, dtype):
    x = np.array([0.5, np.nan, -0.5], dtype)
    assert np.isnan(activations_of(x, activation)).tolist() == [False, True, False]


# ---- draws: the walk over the features against D whole passes, fed with the same noise

FEATURES = [1, 2, 31, 32, 33, 70]  # around one block of the walk, and more
# Of the parameters: numbers that grow from feature to feature would overflow after dozens of them.
SCALE = {name: 1.0 if name in ("bernoulli", "categorical") else 0.1 for name in CONDITIONALS}


@st.composite
def draws(draw, dtypes=("float64",)):
    """Return a conditional, a network whose outputs it takes, a member, noise and a temperature."""
    name, D = draw(st.sampled_from(CONDITIONALS)), draw(st.sampled_from(FEATURES))
    conditional = fitted_conditional(name, D)
    layers = tuple(draw(st.lists(st.sampled_from([1, 3, 20, 71, 150]), max_size=3)))
    n_masks = draw(st.sampled_from([1, 1, 3]))
    dtype = draw(st.sampled_from(dtypes))
    inputs = conditional.inputs
    if name == "bernoulli" and draw(st.booleans()):
        inputs = inputs_of(D, 2, np.arange(D) % 3 == 0)
    network = network_of(
        D, layers, np.diff(conditional.output_offsets), inputs, dtype=dtype, n_masks=n_masks,
        activation=draw(st.sampled_from(ACTIVATIONS)),
        direct_connections=draw(st.booleans()) or not layers,
        degrees=draw(st.sampled_from(["even", "random"])),
        order_agnostic=n_masks != 1 and draw(st.booleans()),
        markov_order=draw(st.sampled_from([1, 5, 40, D])),
    )  # fmt: skip
    n = draw(st.sampled_from([1, 15, 16, 17, 65, 100]))
    noise = np.empty((n, D, conditional.kernel.n_noise), dtype)
    conditional.fill_noise(np.random.default_rng(1), noise, n, 1)
    member = draw(st.integers(0, 2)) if n_masks != 1 else 0
    return conditional, network, member, noise, draw(st.sampled_from([1.0, 0.3]))


def held_of(conditional, noise):
    """Return some evidence and where it is."""
    n, D = noise.shape[:2]
    rng = np.random.default_rng(2)
    rows = columns_of(conditional.name, D)[rng.integers(0, 40, n)]
    return conditional.encode(rows, noise.dtype), rng.random((n, D)) < 0.4


@examples
@given(draws(), st.booleans())
def test_samples_are_those_of_whole_passes_fed_with_the_same_noise(drawn, with_evidence):
    conditional, network, member, noise, temperature = drawn
    params, twin = parameters_of(network, member, SCALE[conditional.name])
    weights = network.materialise_weights(params, 1, member)
    evidence, held = held_of(conditional, noise) if with_evidence else (None, None)
    start = None if held is None else np.where(held, evidence, 0)
    codes = draw(
        network, weights, conditional, noise, None if held is None else walked(held), start,
        temperature, 2,
    )  # fmt: skip
    expected = twin.sample(
        doubled(params), noise, reference.conditional_of(conditional), network.inputs.input_flags,
        temperature=temperature, evidence=evidence, held=held,
    )  # fmt: skip
    if conditional.name not in DISCRETE:
        scale = max(1, np.abs(expected).max())
        np.testing.assert_allclose(codes, expected, rtol=0, atol=1e-10 * scale)
    else:
        assert_same_bits(codes, expected)
    if with_evidence:
        assert_same_bits(codes[held], evidence[held])


@examples
@given(draws(DTYPES), st.booleans())
def test_samples_have_the_same_bits_alone_and_for_any_thread_count(drawn, with_evidence):
    conditional, network, member, noise, temperature = drawn
    params, _ = parameters_of(network, member, SCALE[conditional.name])
    weights = network.materialise_weights(params, 1, member)
    held = start = None
    if with_evidence:
        start, held = held_of(conditional, noise)
        held = walked(held)

    def sampled(rows, n_threads):
        given = (None, None) if held is None else (held[rows].copy(), start[rows].copy())
        return draw(
            network, weights, conditional, noise[rows].copy(), *given, temperature, n_threads
        )

    whole, n = sampled(slice(None), 1), len(noise)
    for n_threads in (2, 3, 8):
        assert_same_bits(sampled(slice(None), n_threads), whole)
    for rows in (slice(0, 1), slice(n // 3, n), slice(n - 1, n)):
        assert_same_bits(sampled(rows, 2), whole[rows])
