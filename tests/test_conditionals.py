"""The compiled conditionals, and draws through a network, against the textbook."""

import numpy as np
import pytest
import reference
from common import (
    ACTIVATIONS,
    CONDITIONALS,
    DATA,
    DTYPES,
    assert_same_bits,
    make,
    ulps,
    unfitted,
    walked,
)
from common import distribution as distribution_of
from common import fit as fit_any
from scipy.special import softmax
from test_kernels import LIMIT, SIZES, WIDER, problem, textbook, wide_range

from fastar import conditionals
from fastar._data.table import Table
from fastar._kernels import _conditionals
from fastar._kernels._conditionals import OBSERVED, SAMPLED, WEIGHTED
from fastar.networks import SharedHidden

pytestmark = [pytest.mark.kernels, pytest.mark.usefixtures("threads_for_small_work")]

SHAPES = [(1, 1), (7, 2), (8, 3), (9, 17), (65, 100), (3, 16)]
TOLERANCE = {"float32": 2e-6, "float64": 1e-14}


def columns_of(name, D, n=40):
    """Return data whose columns, where categorical, have from one level on."""
    X = DATA[name](n, D)
    if name == "logistic_mixture":
        return X * np.arange(1, D + 1)
    return X % np.arange(1, D + 1) % 20 if name == "categorical" else X


def fitted(name, D, **settings):
    X = columns_of(name, D)
    return unfitted(name, D, **settings).fitted(Table(X, np.arange(D)), np.ones(len(X)))


def problem_of(name, n, D, dtype="float64", scale=3.0):
    """Return a fitted conditional, raw outputs (n, sum P) and codes (n, D)."""
    conditional = fitted(name, D)
    rng = np.random.default_rng([n, D])
    raw = (rng.standard_normal((n, conditional.output_offsets[-1])) * scale).astype(dtype)
    codes = conditional.encode(columns_of(name, D)[rng.integers(0, 40, n)], np.dtype(dtype))
    return conditional, raw, codes


def textbook_of(conditional, raw, codes):
    """Return log-densities (n, D) and their gradient by raw (n, sum P), in float64."""
    P, law = np.diff(conditional.output_offsets), reference.conditional_of(conditional)
    wide, codes = reference.padded(raw.astype(float), P), codes.astype(float)
    gradient = reference.without_padding(law.gradient(wide, codes), P)
    return law.log_prob(wide, codes), gradient


def close(actual, expected, dtype):
    scale = max(1.0, np.abs(expected).max(initial=0))
    np.testing.assert_allclose(
        actual, expected, rtol=4 * TOLERANCE[dtype], atol=TOLERANCE[dtype] * scale
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", CONDITIONALS)
def test_log_probabilities_are_the_textbooks(name, shape, dtype):
    conditional, raw, codes = problem_of(name, *shape, dtype)
    logp, total = conditional.kernel.log_prob(raw, codes, 2)
    expected, _ = textbook_of(conditional, raw, codes)
    assert logp.dtype == dtype
    assert total.dtype == np.float64
    close(logp, expected, dtype)
    np.testing.assert_allclose(total, logp.astype(np.float64).sum(axis=1), rtol=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", CONDITIONALS)
def test_gradients_are_the_textbooks(name, shape, dtype):
    conditional, raw, codes = problem_of(name, *shape, dtype)
    scale = np.random.default_rng(0).uniform(-2, 2, len(raw)).astype(dtype)
    total, graw = conditional.kernel.gradient(raw, codes, scale, 2)
    _, expected = textbook_of(conditional, raw, codes)
    close(graw, expected * scale[:, None], dtype)
    assert_same_bits(total, conditional.kernel.log_prob(raw, codes, 1)[1])


@pytest.mark.parametrize("name", CONDITIONALS)
def test_gradients_are_finite_differences(name):
    conditional, raw, codes = problem_of(name, 9, 6)
    rng = np.random.default_rng(0)
    _, graw = conditional.kernel.gradient(raw, codes, np.ones(9), 1)
    for _ in range(5):
        direction = rng.standard_normal(raw.shape)
        difference = [
            conditional.kernel.log_prob(raw + step * direction, codes, 1)[1].sum()
            for step in (1e-6, -1e-6)
        ]
        np.testing.assert_allclose(
            (graw * direction).sum(), (difference[0] - difference[1]) / 2e-6, rtol=1e-6
        )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CONDITIONALS)
def test_extreme_raw_outputs_stay_finite(name, dtype):
    conditional, raw, codes = problem_of(name, 64, 5, dtype)
    raw = np.random.default_rng(1).choice([-1e4, -90, 0, 90, 1e4], raw.shape).astype(dtype)
    logp, total = conditional.kernel.log_prob(raw, codes, 1)
    other, graw = conditional.kernel.gradient(raw, codes, np.ones(64, dtype), 1)
    for array in (logp, total, other, graw):
        assert np.isfinite(array).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CONDITIONALS)
def test_nan_goes_through_every_output(name, dtype):
    conditional, raw, codes = problem_of(name, 3, 7, dtype)
    clean, _ = conditional.kernel.log_prob(raw, codes, 1)
    own = range(*conditional.output_offsets[5:7])
    for p in own:
        spoilt = raw.copy()
        spoilt[1, p] = np.nan
        logp, total = conditional.kernel.log_prob(spoilt, codes, 1)
        _, graw = conditional.kernel.gradient(spoilt, codes, np.ones(3, dtype), 1)
        assert np.isnan(logp[1, 5])
        assert np.isnan(total[1])
        assert np.isnan(graw[1, own]).any()
        assert not np.isnan(np.delete(graw[1], own)).any()
        logp[1, 5] = clean[1, 5]
        assert_same_bits(logp, clean)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CONDITIONALS)
def test_the_same_bits_alone_and_for_any_thread_count(name, dtype):
    conditional, raw, codes = problem_of(name, 65, 17, dtype)
    scale = np.linspace(0.1, 1, 65).astype(dtype)
    logp, total = conditional.kernel.log_prob(raw, codes, 1)
    _, graw = conditional.kernel.gradient(raw, codes, scale, 1)
    for n_threads in (2, 3, 8):
        for r in (slice(0, 1), slice(7, 65), slice(None)):
            part = (np.ascontiguousarray(raw[r]), np.ascontiguousarray(codes[r]))
            assert_same_bits(conditional.kernel.log_prob(*part, n_threads)[0], logp[r])
            assert_same_bits(conditional.kernel.log_prob(*part, n_threads)[1], total[r])
            assert_same_bits(
                conditional.kernel.gradient(*part, scale[r].copy(), n_threads)[1], graw[r]
            )


# ---- accuracy of exp and log1p, through the Bernoulli: log p(0) = -softplus(z)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("x", [0, 1])
def test_softplus_and_its_gradient_are_within_four_ulp(x, dtype):
    z = wide_range(dtype, LIMIT[dtype])[:, None]
    codes = np.full(z.shape, x, dtype)
    kernel = conditionals.Bernoulli().restored({}, 1).kernel
    logp, _ = kernel.log_prob(z, codes, 1)
    _, graw = kernel.gradient(z, codes, np.ones(len(z), dtype), 1)
    sign = 1 - 2 * x
    s = sign * z.astype(WIDER[dtype])
    softplus = np.maximum(s, 0) + np.log1p(np.exp(-np.abs(s)))
    assert ulps(logp, -softplus).max() <= 4
    assert ulps(graw, -sign / (1 + np.exp(-s))).max() <= 4


# ---- draws: the network's sample against the textbook's, fed with the same noise


def draw(network, params, conditional, noise, held=None, codes=None, temperature=1.0, n_threads=1):
    codes = np.zeros(noise.shape[:2], noise.dtype) if codes is None else codes.copy()
    kernel = conditional.kernel
    network.sample(params, kernel.draw(noise.dtype, temperature), noise, held, codes, n_threads)
    return codes


def sampling_problem(name, D, H, n, markov_order, activation, dtype="float64"):
    conditional = fitted(name, D)
    P = np.diff(conditional.output_offsets)
    network, params, _ = problem(D, H, P, 1, n, markov_order, activation, dtype)
    if name not in ("bernoulli", "categorical", "gaussian"):
        params["V"] *= 0.1  # numbers that grow from feature to feature would overflow
    network = SharedHidden(network.output_offsets, conditional.inputs, **network.settings())
    if conditional.inputs.n_rows > D:
        W = np.random.default_rng(0).standard_normal(network.shapes["W"])
        params = dict(params, W=W.astype(dtype))
    noise = np.empty((n, D, conditional.kernel.n_noise), dtype)
    conditional.fill_noise(np.random.default_rng(1), noise, max(1, n), 1)
    return conditional, network, params, noise


@pytest.mark.parametrize(
    ("activation", "temperature"), [("sigmoid", 1.0), ("tanh", 0.3), ("relu", 1.0)]
)
@pytest.mark.parametrize("sizes", [each for each in SIZES if each[1] < 100], ids=str)
@pytest.mark.parametrize("name", CONDITIONALS)
def test_samples_are_the_textbooks_for_the_same_noise(name, sizes, activation, temperature):
    D, H, _, _, n, markov_order = sizes
    conditional, network, params, noise = sampling_problem(name, D, H, n, markov_order, activation)
    twin, double, _ = textbook(network, params, np.zeros((1, D)))
    law, flags = reference.conditional_of(conditional), conditional.inputs.input_flags
    expected = twin.sample(double, noise, law, flags, temperature=temperature)
    codes = draw(network, params, conditional, noise, temperature=temperature)
    np.testing.assert_allclose(codes, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("K", [1, 2, 7, 8, 9, 15, 16, 17, 64, 300])
def test_a_level_is_drawn_where_its_uniform_falls_among_the_cumulative_probabilities(K, dtype):
    rng, n = np.random.default_rng(K), 500
    features = np.zeros(1, _conditionals.FEATURE)
    features["kind"], features["count"] = _conditionals.KINDS.index("categorical"), K
    raw = rng.standard_normal((n, K)).astype(dtype)
    raw[:, 1:][rng.random((n, K - 1)) < 0.3] = -1e4
    noise = rng.random((n, 1)).astype(dtype)
    noise[:2, 0] = 0, 1 - np.finfo(dtype).eps
    codes, kernel = np.empty(n, dtype), _conditionals.Kernel(features, 1, False)
    draw = kernel.draw(noise.dtype, 1.0)
    _conditionals.choose(draw, 0, raw.copy(), noise, None, codes, np.zeros(n))
    p = softmax(raw.astype(float), axis=1)
    # the last level takes what rounding leaves
    assert ((p[np.arange(n), codes.astype(int)] > 0) | (codes == K - 1)).all()
    ends = np.cumsum(p, axis=1)
    differs = codes != np.minimum((ends <= noise).sum(axis=1), K - 1)
    assert (np.abs(ends - noise).min(axis=1)[differs] < 100 * np.finfo(dtype).eps).all()


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("name", CONDITIONALS)
def test_held_codes_stay_and_the_rest_follows_them(name, activation):
    conditional, network, params, noise = sampling_problem(name, 9, 5, 40, 3, activation)
    rng = np.random.default_rng(2)
    held = rng.random(noise.shape[:2]) < 0.4
    evidence = conditional.encode(columns_of(name, 9), np.dtype("float64"))
    codes = draw(network, params, conditional, noise, walked(held), np.where(held, evidence, 0))
    twin, double, _ = textbook(network, params, np.zeros((1, 9)))
    law, flags = reference.conditional_of(conditional), conditional.inputs.input_flags
    expected = twin.sample(double, noise, law, flags, evidence=evidence, held=held)
    assert_same_bits(codes[held], evidence[held])
    np.testing.assert_allclose(codes, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("name", CONDITIONALS)
def test_samples_have_the_same_bits_alone_and_for_any_thread_count(name, activation, dtype):
    conditional, network, params, noise = sampling_problem(name, 20, 33, 65, 7, activation, dtype)
    codes = draw(network, params, conditional, noise)
    for n_threads in (1, 2, 3, 8):
        for r in (slice(0, 1), slice(7, 65), slice(None)):
            assert_same_bits(
                draw(network, params, conditional, noise[r].copy(), n_threads=n_threads), codes[r]
            )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [1, 30])
@pytest.mark.parametrize("markov_order", [None, 3])
@pytest.mark.parametrize("activation", ["sigmoid", "relu"])
@pytest.mark.parametrize("name", CONDITIONALS)
def test_walks_past_evidence_have_the_same_bits_alone_and_for_any_thread_count(
    name, activation, markov_order, scale, dtype
):
    conditional, network, params, noise = sampling_problem(
        name, 12, 33, 40, markov_order, activation, dtype
    )
    params = params | {"W": params["W"] * scale}
    evidence = draw(network, params, conditional, noise)
    flags = np.random.default_rng(2).choice([OBSERVED, WEIGHTED, SAMPLED], (40, 12))
    flags[:, :8] = OBSERVED  # of most rows, so that others begin where the rows beside them do
    flags[::17, 2], flags[5::9, 6] = SAMPLED, WEIGHTED
    flags = np.ascontiguousarray(conditional.by_feature(flags.astype(np.uint8)))

    def walk(rows, n_threads):
        codes, weight = evidence[rows].copy(), np.zeros(len(evidence[rows]))
        capsule = conditional.kernel.draw(noise.dtype, 1.0)
        network.sample(
            params, capsule, noise[rows].copy(), flags[rows].copy(), codes, n_threads, weight=weight
        )
        return codes, weight

    with np.errstate(over="ignore"):
        expected = walk(slice(None), 1)
        for n_threads in (1, 2, 3, 8):
            for rows in (slice(0, 1), slice(6, 40), slice(None)):
                for found, array in zip(walk(rows, n_threads), expected, strict=True):
                    assert_same_bits(found, array[rows])


# ---- values and codes


@pytest.mark.parametrize("name", CONDITIONALS)
def test_decode_undoes_encode(name):
    X = columns_of(name, 6)
    conditional = fitted(name, 6)
    decoded = conditional.decode(conditional.encode(X, np.dtype("float64")))
    np.testing.assert_allclose(decoded, X, rtol=1e-14)
    assert not conditional.unsupported(X).any()


@pytest.mark.parametrize("name", CONDITIONALS)
def test_a_file_of_arrays_restores_a_conditional(name):
    X = columns_of(name, 6)
    conditional = fitted(name, 6)
    kind = conditionals.Mixed if name == "mixed" else conditionals.BY_NAME[name]
    again = kind(**conditional.settings()).restored(conditional.arrays(), 6)
    assert repr(again) == repr(conditional)
    assert_same_bits(
        again.encode(X, np.dtype("float64")), conditional.encode(X, np.dtype("float64"))
    )
    assert_same_bits(again.inputs.offsets, conditional.inputs.offsets)
    assert_same_bits(again.output_offsets, conditional.output_offsets)


def beginning(name, X):
    """Return the fitted conditional, and the raw outputs (n, sum P) with which training begins."""
    n, D = X.shape
    start = {}

    class Watch:
        def on_fit_begin(self, training):
            start.update({key: array.copy() for key, array in training.model.params.items()})

    settings = {"callbacks": [Watch()], "early_stopping": False, "dtype": "float64", "max_iter": 1}
    fit_any(make(distribution=distribution_of(name, D), **settings), X)
    conditional = unfitted(name, D).fitted(Table(X, np.arange(D)), np.ones(n))
    return conditional, np.tile(start["b"].ravel(), (n, 1))


@pytest.mark.parametrize("name", ["bernoulli", "categorical", "gaussian", "poisson"])
def test_training_begins_with_the_best_constant_model(name):
    X = DATA[name](200, 4)
    conditional, raw = beginning(name, X)
    codes = conditional.encode(X, np.dtype("float64"))
    _, graw = conditional.kernel.gradient(raw, codes, np.full(200, 1 / 200), 1)
    np.testing.assert_allclose(graw.sum(axis=0), 0, atol=1e-5)


# For each other, a constant model that it is to begin no worse than.
@pytest.mark.parametrize(
    ("name", "simpler"),
    [
        ("laplace", "gaussian"),
        ("gaussian_mixture", "gaussian"),
        ("laplace_mixture", "gaussian"),
        ("logistic_mixture", "uniform"),
        ("integer", "logistic_mixture"),
        ("negative_binomial", "poisson"),
        ("mixed", "mixed"),
    ],
)
def test_training_begins_with_a_good_constant_model(name, simpler):
    X = DATA[name](400, 4)

    def likelihood(kind):
        if kind == "uniform":
            return -np.log(len(np.unique(X)))
        conditional, raw = beginning(kind, X)
        codes = conditional.encode(X, np.dtype("float64"))
        logp, _ = conditional.log_prob(raw, codes, 1)
        return logp.mean(axis=0)

    if name == "mixed":  # every column begins like a table of its own
        for d, kind in enumerate(distribution_of("mixed", 4)):
            conditional, raw = beginning(kind, np.ascontiguousarray(X[:, d : d + 1]))
            codes = conditional.encode(X[:, d : d + 1], np.dtype("float64"))
            alone = conditional.log_prob(raw, codes, 1)[0].mean()
            assert likelihood("mixed")[d] == pytest.approx(alone, rel=1e-12)
    else:
        assert (likelihood(name) > likelihood(simpler) - 0.1).all()
