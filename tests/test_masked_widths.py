"""Masked networks over tables whose features differ wildly in outputs and rows of input weights."""

import numpy as np
import pytest
import reference
import uneven_tables
from common import DTYPES, all_states, assert_same, assert_same_bits, fit, walked
from scipy.special import logsumexp
from test_conditionals import draw
from test_masked_kernels import close
from uneven_tables import DISTRIBUTION, ORDERS, K, P, Q, table

from fastar._core.inputs import MAY_MISS, Inputs
from fastar._core.offsets import offsets_of, positions
from fastar._core.parameters import ParamLayout
from fastar._kernels import _masked
from fastar.conditionals import Categorical
from fastar.networks import Masked

pytestmark = [pytest.mark.kernels, pytest.mark.usefixtures("threads_for_small_work")]

VARIANTS = {
    "linear": ("FVSBN", {}),
    "deep": ("MADE", {"hidden_layer_sizes": (40, 21)}),
    "layers alone": ("MADE", {"direct_connections": False}),
    "sets": ("MADE", {"n_masks": 3}),
    "orders": ("MADE", {"n_masks": 3, "order_agnostic": True}),
    "markov": ("MADE", {"hidden_layer_sizes": (30,), "markov_order": 2}),
}
every_variant = pytest.mark.parametrize("variant", VARIANTS)
every_order = pytest.mark.parametrize("order", ORDERS)
every_dtype = pytest.mark.parametrize("dtype", DTYPES)


def shaken(variant, X, **settings):
    """Return a model after a short fit, with larger random parameters."""
    name, chosen = VARIANTS[variant]
    smooth = {"activation": "tanh"} if name == "MADE" else {}
    return uneven_tables.shaken(name, X, **chosen | settings | smooth)


def mixed(variant, order, **settings):
    """Return a model of the table, and the table."""
    X = table()
    settings |= {"order": ORDERS[order], "distribution": DISTRIBUTION}
    return shaken(variant, X, **settings), X


@every_order
@every_variant
def test_no_weight_is_padding(variant, order):
    model, _ = mixed(variant, order)
    outputs, inputs = P[ORDERS[order]], Q[ORDERS[order]]
    assert_same_bits(np.diff(model.network_.output_offsets), outputs)
    assert_same_bits(np.diff(model.network_.inputs.offsets), inputs)
    sizes = [inputs.sum(), *model.network_.hidden_layer_sizes, outputs.sum()]
    shapes = {"b": (sizes[-1],)}
    for layer, H in enumerate(sizes[1:-1]):
        shapes |= {f"W{layer}": (sizes[layer], H), f"c{layer}": (H,)}
    if len(sizes) > 2:
        shapes[f"W{len(sizes) - 2}"] = (sizes[-2], sizes[-1])
    if model.network_.direct_connections:
        shapes["L"] = (sizes[-1], sizes[0])
    assert {name: array.shape for name, array in model.params_.items()} == shapes


@every_order
@every_variant
def test_scores_are_the_textbooks(variant, order):
    model, X = mixed(variant, order)
    inner = model._model()
    codes = inner.codes(np.ascontiguousarray(X[:, model.order_]))
    params = {name: array.astype(float) for name, array in inner.params.items()}
    law = reference.conditional_of(model.distribution_)
    scores = []
    for member in range(model.network_.n_members):
        twin = reference.Masked.of(model.network_, member)
        raw = twin.raw_outputs(params, twin.inputs(codes, inner.network.inputs.input_flags))
        logp = law.log_prob(twin.by_feature(raw), np.nan_to_num(codes))
        scores.append(np.where(np.isnan(codes), 0, logp + model.distribution_.log_jacobian(codes)))
    expected = logsumexp(np.sum(scores, axis=2), axis=0) - np.log(len(scores))
    np.testing.assert_allclose(model.score_samples(X), expected, rtol=1e-9, atol=1e-9)


@every_order
@every_variant
def test_the_gradient_is_finite_differences_along_random_directions(variant, order):
    model, X = mixed(variant, order)
    inner = model._model()
    network, kernel = inner.network, inner.conditional.kernel
    codes = inner.codes(np.ascontiguousarray(X[:60, model.order_]))
    rng, member = np.random.default_rng(0), network.n_members - 1
    scale = rng.uniform(-1, 1, len(codes))

    def loss():
        weights = network.materialise_weights(inner.params, 2, member)
        raw, cache = network.forward(weights, codes, 2)
        return (scale * kernel.log_prob(raw, codes, 1)[1]).sum(), (raw, cache, weights)

    raw, cache, weights = loss()[1]
    _, graw = kernel.gradient(raw, codes, scale, 1)
    gradient = np.zeros_like(inner.theta)
    network.backward(weights, cache, graw, inner.layout.views(gradient), 2)
    start, eps = inner.theta.copy(), 1e-6
    for _ in range(6):
        direction, ends = rng.standard_normal(start.size), []
        for step in (eps, -eps):
            inner.theta[:] = start + step * direction
            ends.append(loss()[0])
        inner.theta[:] = start
        np.testing.assert_allclose(
            gradient @ direction, (ends[0] - ends[1]) / (2 * eps), rtol=1e-5, atol=1e-6
        )


@pytest.mark.parametrize("order", [[1, 0, 2, 3], [0, 2, 3, 1], [3, 1, 2, 0]], ids=str)
@every_variant
def test_probabilities_of_all_states_sum_to_one(variant, order):
    levels = [2, K, 3, 2]
    n = 2 * K
    X = np.arange(n)[:, None] // [1, 1, 7, 3] % levels * 1.0
    X[::5, 2] = np.nan
    distribution = ["bernoulli", Categorical("error"), Categorical("error"), "bernoulli"]
    model = shaken(variant, X, order=order, distribution=distribution)
    rows = all_states([np.arange(each) for each in levels]).astype(float)
    assert np.exp(model.score_samples(rows)).sum() == pytest.approx(1, abs=1e-10)


@every_order
@every_variant
def test_a_feature_and_those_after_it_leave_outputs_up_to_it_bitwise_unchanged(variant, order):
    model, X = mixed(variant, order, dtype="float32")
    inner = model._model()
    network = inner.network
    codes = inner.codes(np.ascontiguousarray(X[:30, model.order_]))
    for member in range(network.n_members):
        weights = network.materialise_weights(inner.params, 2, member)
        raw, _ = network.forward(weights, codes, 2)
        own = network.member_order(member)
        for d in range(len(own)):
            changed = codes.copy()
            changed[:, own[d:]] = inner.codes(X[30:60, model.order_])[:, own[d:]]
            other, _ = network.forward(weights, changed, 2)
            seen = positions(network.output_offsets, own[: d + 1])
            assert_same_bits(other[:, seen], raw[:, seen])
            rest = np.setdiff1d(np.arange(raw.shape[1]), seen)
            assert d == len(own) - 1 or (other[:, rest] != raw[:, rest]).any()


@every_dtype
@every_order
@every_variant
def test_everything_has_the_same_bits_for_any_number_of_jobs(variant, order, dtype):
    def life(n_jobs):
        model, X = mixed(variant, order, dtype=dtype, n_jobs=n_jobs, max_iter=2)
        fit(model.set_params(warm_start=True), X)
        drawn = model.sample(150, random_state=1)
        return [model.theta_, model.score_samples(X), drawn, model.score_samples(drawn)]

    alone = life(1)
    for n_jobs in (2, 3):
        assert_same(life(n_jobs), alone)


@every_order
@every_variant
def test_samples_are_those_of_whole_passes_fed_with_the_same_noise(variant, order):
    model, X = mixed(variant, order)
    inner = model._model()
    network, conditional, n = inner.network, inner.conditional, 70
    evidence = inner.codes(np.ascontiguousarray(X[-n:, model.order_]))
    held = np.random.default_rng(3).random(evidence.shape) < 0.3
    params = {name: array.astype(float) for name, array in inner.params.items()}
    noise = np.empty((n, len(P), conditional.kernel.n_noise))
    conditional.fill_noise(np.random.default_rng(1), noise, n, 1)
    for member in range(network.n_members):
        weights = network.materialise_weights(inner.params, 1, member)
        start = np.where(held, evidence, 0)
        codes = draw(network, weights, conditional, noise, walked(held), start, 0.7, 2)
        expected = reference.Masked.of(network, member).sample(
            params, noise, reference.conditional_of(conditional), network.inputs.input_flags,
            temperature=0.7, evidence=evidence, held=held,
        )  # fmt: skip
        np.testing.assert_allclose(codes, expected, rtol=1e-9, atol=1e-9)
        alone = draw(network, weights, conditional, noise[:1], walked(held[:1]), start[:1], 0.7, 1)
        assert_same_bits(alone, codes[:1])


# ---- against a network that pads every feature to the widest


def parts(network, row, output):
    """Return where each parameter has these rows of input weights and these outputs."""
    layers = [row, *map(np.arange, network.hidden_layer_sizes), output]
    ends = {f"W{layer}": (layer, layer + 1) for layer in range(len(layers) - 1)}
    ends |= {f"c{layer}": (layer + 1,) for layer in range(len(layers) - 2)}
    ends |= {"L": (0, -1), "b": (-1,)}
    return {name: np.ix_(*(layers[end] for end in ends[name])) for name in network.shapes}


def matrix(name, array, network):
    """Return a parameter with an axis for all rows of input weights, and one for all outputs."""
    if name[0] in "cb":
        return array.ravel()
    first = network.inputs.n_rows if name in ("L", "W0") else len(array)
    return array.reshape(first, -1)


@every_order
@every_variant
def test_raw_outputs_and_gradients_are_those_of_a_padded_network(variant, order):
    model, X = mixed(variant, order)
    inner, D = model._model(), len(P)
    network, flags = inner.network, inner.network.inputs.input_flags
    most_outputs, most_rows = P.max(), Q.max() + 1
    inputs = Inputs(np.arange(D + 1) * most_rows, flags, network.inputs.binary_inputs)
    wide = Masked(np.arange(D + 1) * most_outputs, inputs, **network.settings())
    output, row = (
        np.concatenate([d * most + np.arange(width) for d, width in enumerate(np.diff(offsets))])
        for offsets, most in (
            (network.output_offsets, most_outputs), (network.inputs.offsets, most_rows)
        )
    )  # fmt: skip
    may_miss = np.flatnonzero(flags & MAY_MISS)
    row[network.inputs.offsets[may_miss + 1] - 1] = (may_miss + 1) * most_rows - 1
    layout = ParamLayout(wide.shapes, 0)
    theta = np.random.default_rng(5).standard_normal(layout.size)
    params, places = layout.views(theta), parts(network, row, output)
    for name, array in inner.params.items():
        matrix(name, params[name], wide)[places[name]] = matrix(name, array, network)

    codes = inner.codes(np.ascontiguousarray(X[:90, model.order_]))
    graw = np.random.default_rng(6).standard_normal((len(codes), len(output)))
    wide_graw = np.zeros((len(codes), D * most_outputs))
    wide_graw[:, output] = graw
    for member in range(network.n_members):
        found = []
        for each, own, g in ((network, inner.params, graw), (wide, params, wide_graw)):
            weights = each.materialise_weights(own, 2, member)
            raw, cache = each.forward(weights, codes, 2)
            grads = {name: np.zeros_like(array) for name, array in own.items()}
            each.backward(weights, cache, g, grads, 2)
            found.append((raw, grads))
        (raw, grads), (wide_raw, wide_grads) = found
        close(wide_raw[:, output], raw, "float64")
        for name, grad in grads.items():
            of_wide = matrix(name, wide_grads[name], wide)[places[name]]
            close(of_wide, matrix(name, grad, network), "float64")


# ---- blocks of the walk


@every_dtype
@pytest.mark.parametrize("width", [1, 2, 30])
@pytest.mark.parametrize("D", [1, 2, 5, 40, 784])
def test_blocks_of_features_of_one_width_are_alike(D, width, dtype):
    begin = _masked.sample_blocks(dtype, np.arange(D + 1) * width)
    assert begin[0] == 0
    assert begin[-1] == D
    sizes = np.diff(begin)
    assert (sizes[:-1] == sizes[0]).all()
    assert 1 <= sizes[-1] <= sizes[0] < 2 * np.sqrt(D) + 6


@every_dtype
def test_a_feature_of_many_outputs_begins_a_block(dtype):
    for widths in ([1, 2, 300, 3], [1] * 20 + [2000], [2000] + [1] * 20, [1] * 9 + [500] + [1] * 9):
        begin = _masked.sample_blocks(dtype, offsets_of(np.array(widths)))
        assert begin[0] == 0
        assert begin[-1] == len(widths)
        assert (np.diff(begin) > 0).all()
        assert np.argmax(widths) in begin
