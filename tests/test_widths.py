"""NADE and RNADE over features that differ wildly in outputs and in rows of input weights.

Masked networks are in test_masked_widths.py, all others in test_unequal_widths.py.
"""

import numpy as np
import pytest
import reference
from common import ACTIVATIONS, DTYPES, all_states, assert_same, assert_same_bits, fit, make, walked
from test_conditionals import draw
from test_kernels import KINDS, RESCALED, close, problem, raw_of_any_threads, results, textbook
from uneven_tables import DISTRIBUTION, ORDERS, K, P, Q, shaken, table

from fastar._core.inputs import MAY_MISS, Inputs
from fastar._core.offsets import offsets_of
from fastar._core.parameters import ParamLayout
from fastar.conditionals import Categorical
from fastar.networks import SharedHidden

pytestmark = [pytest.mark.kernels, pytest.mark.usefixtures("threads_for_small_work")]

# Outputs P and rows of input weights Q of each feature. The kernels for few outputs are taken
# where there are fewer than four a feature; those for many take panels of 256.
SHAPES = {
    "few": ([1, 2, 1, 3, 1, 2, 1, 1, 6], [1, 3, 2, 1, 4, 1, 1, 2, 1]),
    "few, but one": ([1, 2] * 10 + [60] + [1] * 10, [1] * 10 + [5, 1, 40] + [1] * 18),
    "many": ([1, 2, 300, 3], [2, 1, 300, 3]),
    "within a panel": ([256, 1, 2, 255, 4], [256, 1, 2, 1, 4]),
    "beyond a panel": ([257, 1, 513, 2, 256, 3], [300, 1, 513, 2, 256, 3]),
    "first": ([700, 1, 2], [700, 3, 1]),
    "last": ([2, 1, 700], [1, 3, 700]),
    "alone": ([300], [300]),
}
ROWS = [1, 2, 7, 51, 201]
every_shape = pytest.mark.parametrize("shape", SHAPES)
every_dtype = pytest.mark.parametrize("dtype", DTYPES)
every_kind = pytest.mark.parametrize("kind", KINDS)


def uneven(shape, n, kind="sigmoid", dtype="float64", H=19, **settings):
    """Return a network of these widths, its random parameters and codes."""
    P, Q = (np.array(widths) for widths in SHAPES[shape])
    network, params, codes = problem(len(P), H, P, Q, n, kind=kind, dtype=dtype, **settings)
    assert np.diff(network.output_offsets).tolist() == P.tolist()
    assert np.diff(network.inputs.offsets).tolist() == Q.tolist()
    return network, params, codes


# ---- kernels


@RESCALED
@every_dtype
@every_kind
@every_shape
def test_outputs_and_gradients_are_the_textbooks(shape, kind, dtype, rescaled):
    for n, markov_order in zip(ROWS, [None, 2, None, 1, None], strict=True):
        network, params, codes = uneven(
            shape, n, kind, dtype, markov_order=markov_order, rescaled=rescaled
        )
        raw, graw, grads = results(network, params, codes, 2)
        twin, double, x = textbook(network, params, codes)
        assert raw.shape == (n, sum(SHAPES[shape][0]))
        close(raw, twin.raw_outputs(double, x), dtype)
        if kind == "relu" and dtype == "float32":
            # a unit within rounding of zero has either derivative
            a = [twin.pre_activation(double, x, d) for d in range(1, network.n_features)]
            if a and (np.abs(a) < 1e-6).any():
                continue
        expected = twin.backward(double, x, graw.astype(float))
        assert grads.keys() == expected.keys() == network.shapes.keys()
        for name, grad in grads.items():
            close(grad, expected[name], dtype)


@RESCALED
@pytest.mark.parametrize("activation", ["sigmoid", "tanh"])
@every_shape
def test_gradients_are_finite_differences(shape, activation, rescaled):
    network, params, codes = uneven(shape, 23, activation, rescaled=rescaled)
    _, graw, grads = results(network, params, codes, 2)
    start, rng = {name: array.copy() for name, array in params.items()}, np.random.default_rng(0)
    for _ in range(4):
        slope, ends = 0.0, [0.0, 0.0]
        direction = {name: rng.standard_normal(array.shape) for name, array in start.items()}
        for i, step in enumerate((1e-6, -1e-6)):
            moved = {name: array + step * direction[name] for name, array in start.items()}
            ends[i] = (graw * network.forward(moved, codes, 1)[0]).sum()
        slope = sum((grads[name] * direction[name]).sum() for name in grads)
        np.testing.assert_allclose(slope, (ends[0] - ends[1]) / 2e-6, rtol=1e-5, atol=1e-6)


@RESCALED
@every_dtype
@every_kind
@every_shape
def test_any_threads_and_rows_beside_leave_the_bits(shape, kind, dtype, rescaled):
    network, params, codes = uneven(shape, 201, kind, dtype, H=130, rescaled=rescaled)
    raw = raw_of_any_threads(network, params, codes)
    for rows in (slice(0, 1), slice(3, 5), slice(7, 20), slice(100, 201)):
        assert_same_bits(network.forward(params, codes[rows].copy(), 1)[0], raw[rows])


@pytest.mark.parametrize("markov_order", [None, 2])
@RESCALED
@every_shape
def test_no_code_reaches_the_outputs_up_to_its_own(shape, rescaled, markov_order):
    settings = {"rescaled": rescaled, "markov_order": markov_order}
    network, params, codes = uneven(shape, 5, "tanh", "float32", **settings)
    raw, _ = network.forward(params, codes, 1)
    ends, is_level = network.output_offsets[1:], network.inputs.input_flags & 1
    for d in range(network.n_features):
        changed = codes.copy()
        n_levels = np.diff(network.inputs.offsets)[d]
        changed[:, d] = (codes[:, d] + 1) % n_levels if is_level[d] else codes[:, d] + 1
        found, _ = network.forward(params, changed, 1)
        assert_same_bits(found[:, : ends[d]], raw[:, : ends[d]])
        if d + 1 < network.n_features:
            following = slice(ends[d], ends[d + 1])
            assert (found[:, following] != raw[:, following]).any(axis=1).all()
        if markov_order and d + markov_order + 1 < network.n_features:
            # what has left the window is taken away again, but for rounding
            beyond = ends[d + markov_order]
            close(found[:, beyond:], raw[:, beyond:], "float32")


def padded(network, params):
    """Return a network that pads every feature to the widest, with these parameters in place."""
    P, Q = np.diff(network.output_offsets), np.diff(network.inputs.offsets)
    D, most, most_rows = len(P), P.max(), Q.max() + 1
    flags, binary = network.inputs.input_flags, network.inputs.binary_inputs
    inputs = Inputs(np.arange(D + 1) * most_rows, flags, binary)
    wide = SharedHidden(np.arange(D + 1) * most, inputs, **network.settings())
    output, row = (
        np.concatenate([d * each + np.arange(width) for d, width in enumerate(widths)])
        for widths, each in ((P, most), (Q, most_rows))
    )
    may_miss = np.flatnonzero(flags & MAY_MISS)  # whose last row comes last
    row[network.inputs.offsets[may_miss + 1] - 1] = (may_miss + 1) * most_rows - 1
    places = {"b": output, "V": output[P[0] :] - most, "W": row[: network.inputs.offsets[-2]]}
    spare = np.random.default_rng(9).standard_normal(ParamLayout(wide.shapes, 0).size)
    of_wide = ParamLayout(wide.shapes, 0).views(spare.astype(network.dtype))
    for name, array in params.items():
        own = places.get(name, slice(None))
        matrix(of_wide[name], wide, name)[own] = matrix(array, network, name)
    return wide, of_wide, places


def matrix(array, network, name):
    """Return a view on a parameter with one axis for all outputs, or all rows."""
    return array.reshape(-1, network.n_hidden) if name in ("W", "V") else array.reshape(-1)


@RESCALED
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("gaps", [False, True])
@every_shape
def test_a_network_padded_to_the_widest_feature_agrees(shape, gaps, activation, rescaled):
    network, params, codes = uneven(shape, 60, activation, rescaled=rescaled)
    if gaps:
        flags = network.inputs.input_flags | MAY_MISS
        flags[1:2] &= 1
        codes[np.random.default_rng(2).random(codes.shape) < 0.3] = np.nan
        codes[:, 1:2] = np.nan_to_num(codes[:, 1:2])
        widths = np.diff(network.inputs.offsets) + (flags & MAY_MISS > 0)
        network = SharedHidden(
            network.output_offsets, Inputs(offsets_of(widths), flags), **network.settings()
        )
        params = dict(params, W=np.random.default_rng(3).standard_normal(network.shapes["W"]))
    wide, of_wide, places = padded(network, params)
    raw, graw, grads = results(network, params, codes, 2)
    wide_raw, cache = wide.forward(of_wide, codes, 2)
    close(wide_raw[:, places["b"]], raw, "float64")
    wide_graw = np.zeros(wide_raw.shape)
    wide_graw[:, places["b"]] = graw
    wide_grads = {name: np.empty_like(array) for name, array in of_wide.items()}
    wide.backward(of_wide, cache, wide_graw, wide_grads, 2)
    for name, grad in grads.items():
        found = matrix(wide_grads[name], wide, name)
        own = places.get(name, np.arange(len(found)))
        close(found[own], matrix(grad, network, name), "float64")
        assert (np.delete(found, own, axis=0) == 0).all()


# ---- models of a table: categorical columns beside mixtures beside counts, gaps in some

VARIANTS = [
    *[("NADE", {"activation": activation}) for activation in ACTIVATIONS],
    ("RNADE", {}),
    ("NADE", {"markov_order": 2}),
]
every_order = pytest.mark.parametrize("order", ORDERS)
every_variant = pytest.mark.parametrize(("name", "variant"), VARIANTS, ids=str)


def mixed(name, order, **settings):
    """Return a model of the table, and the table."""
    X = table()
    return shaken(name, X, order=ORDERS[order], distribution=DISTRIBUTION, **settings), X


@every_order
@pytest.mark.parametrize("name", ["NADE", "RNADE"])
def test_no_parameter_is_padding(name, order):
    H, (model, _) = 7, mixed(name, order)
    outputs, rows = P[ORDERS[order]], Q[ORDERS[order]]
    shapes = {"W": (rows[:-1].sum(), H), "c": (H,), "V": (outputs[1:].sum(), H)}
    shapes |= {"b": (outputs.sum(),)} | ({"rho": (5,)} if name == "RNADE" else {})
    assert {name: array.shape for name, array in model.params_.items()} == shapes
    count = (rows[:-1].sum() + 1 + outputs[1:].sum()) * H + outputs.sum() + 5 * (name == "RNADE")
    assert model.n_parameters_ == model.theta_.size == count
    np.testing.assert_array_equal(model.output_offsets_, offsets_of(outputs))
    np.testing.assert_array_equal(model.input_offsets_, offsets_of(rows))


@every_order
@pytest.mark.parametrize("name", ["NADE", "RNADE", "MADE", "FVSBN"])
def test_offsets_say_which_column_a_parameter_belongs_to(name, order):
    model, X = mixed(name, order)
    scores, start = model.score_features(X), model.theta_.copy()

    def moved():
        columns = (model.score_features(X) != scores).any(axis=0)
        model.theta_[:] = start
        return set(np.flatnonzero(columns))

    for place, column in enumerate(ORDERS[order]):
        own = slice(*model.output_offsets_[place : place + 2])
        model.params_["b"][own] += np.linspace(0.1, 1, P[column])
        assert moved() == {column}
        rows = slice(*model.input_offsets_[place : place + 2])
        weights = {"NADE": "W", "RNADE": "W", "FVSBN": "L"}.get(name, "W0")
        axes = (slice(None), rows) if name == "FVSBN" else rows
        model.params_[weights][axes] += 0.5
        later = set(ORDERS[order][place + 1 :])
        found = moved()
        assert found <= later
        assert found or not later


@every_order
@every_variant
def test_scores_are_the_textbooks(name, variant, order):
    model, X = mixed(name, order, **variant)
    inner = model._model()
    codes = inner.codes(np.ascontiguousarray(X[:, model.order_]))
    twin, law = (
        reference.SharedHidden.of(inner.network),
        reference.conditional_of(inner.conditional),
    )
    x = twin.inputs(codes, inner.network.inputs.input_flags)
    raw = twin.by_feature(twin.raw_outputs(reference.as_double(inner.params), x))
    logp = law.log_prob(raw, np.nan_to_num(codes)) + inner.conditional.log_jacobian(codes)
    expected = np.where(np.isnan(codes), 0, logp)
    features = model.score_features(X)[:, model.order_]
    np.testing.assert_allclose(features, expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(model.score_samples(X), expected.sum(axis=1), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["NADE", "RNADE"])
def test_a_context_is_more_biases(name):
    X, context = table(), np.random.default_rng(5).standard_normal((400, 2))
    model = make(name, distribution=DISTRIBUTION, missing="marked", max_iter=1, dtype="float64")
    fit(model, X, context=context)
    model.theta_ += np.random.default_rng(1).standard_normal(model.theta_.size) * 0.3
    inner = model._model()
    twin, law = (
        reference.SharedHidden.of(inner.network),
        reference.conditional_of(inner.conditional),
    )
    params, codes = reference.as_double(inner.params), inner.codes(X)
    assert params["B"].shape == (2, P.sum())
    scores = model.score_features(X, context=context)
    given = model._encoded(context, len(X))
    x = twin.inputs(codes, inner.network.inputs.input_flags)
    jacobian = inner.conditional.log_jacobian(codes)
    for r in range(0, 400, 37):
        own = params | {key: params[key] + given[r] @ params[of] for key, of in ("cU", "bB")}
        raw = twin.by_feature(twin.raw_outputs(own, x[r : r + 1]))
        logp = law.log_prob(raw, np.nan_to_num(codes[r : r + 1]))[0] + jacobian[r]
        expected = np.where(np.isnan(codes[r]), 0, logp)
        np.testing.assert_allclose(scores[r], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("order", [[1, 0, 2, 3], [0, 2, 3, 1], [3, 1, 2, 0]], ids=str)
@every_variant
def test_probabilities_of_all_states_sum_to_one(name, variant, order):
    levels, n = [2, K, 3, 2], 2 * K
    X = np.arange(n)[:, None] // [1, 1, 7, 3] % levels * 1.0
    X[::5, 2] = np.nan
    distribution = ["bernoulli", Categorical("error"), Categorical("error"), "bernoulli"]
    model = shaken(name, X, order=order, distribution=distribution, **variant)
    rows = all_states([np.arange(each) for each in levels]).astype(float)
    assert np.exp(model.score_samples(rows)).sum() == pytest.approx(1, abs=1e-10)


@every_dtype
@every_order
@every_variant
def test_everything_has_the_same_bits_for_any_number_of_jobs(name, variant, order, dtype):
    def life(n_jobs):
        model, X = mixed(name, order, dtype=dtype, n_jobs=n_jobs, max_iter=2, **variant)
        fit(model.set_params(warm_start=True), X)
        drawn = model.sample(150, random_state=1)
        return [model.theta_, model.score_samples(X), drawn, model.score_samples(drawn)]

    alone = life(1)
    for n_jobs in (2, 3):
        assert_same(life(n_jobs), alone)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@every_order
@every_variant
def test_samples_are_the_textbooks_for_the_same_noise(name, variant, order, temperature):
    model, X = mixed(name, order, **variant)
    inner, n = model._model(), 70
    conditional, flags = inner.conditional, inner.network.inputs.input_flags
    evidence = inner.codes(np.ascontiguousarray(X[-n:, model.order_]))
    held = np.random.default_rng(3).random(evidence.shape) < 0.3
    noise = np.empty((n, len(P), conditional.kernel.n_noise))
    conditional.fill_noise(np.random.default_rng(1), noise, n, 1)
    start = np.where(held, evidence, 0)
    codes = draw(
        inner.network, inner.params, conditional, noise, walked(held), start, temperature, 2
    )
    expected = reference.SharedHidden.of(inner.network).sample(
        reference.as_double(inner.params), noise, reference.conditional_of(conditional), flags,
        temperature=temperature, evidence=evidence, held=held,
    )  # fmt: skip
    np.testing.assert_allclose(codes, expected, rtol=1e-9, atol=1e-9)
    alone = draw(
        inner.network, inner.params, conditional, noise[:1], walked(held[:1]), start[:1],
        temperature, 1,
    )  # fmt: skip
    assert_same_bits(alone, codes[:1])
