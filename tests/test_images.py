"""PixelRNN: the laws of its networks, and images as users have them."""

import itertools
import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
from common import COUNTS, DATA, REAL, assert_same_bits, assert_slopes, distribution, fit
from recurrent_models import cell_step, lstm
from scipy import stats
from sklearn.utils.estimator_checks import parametrize_with_checks

import fastar
from fastar import PixelRNN
from fastar.conditionals import Categorical

pytestmark = pytest.mark.kernels

NETWORKS = ["recurrent", "row_lstm", "diagonal_bilstm"]
VARIANTS = [("recurrent", {"cell": cell}) for cell in ("tanh", "gru", "lstm")]
VARIANTS += [(name, {}) for name in NETWORKS[1:]]
every_network = pytest.mark.parametrize("network", NETWORKS)
every_variant = pytest.mark.parametrize(("network", "settings"), VARIANTS, ids=str)
every_depth = pytest.mark.parametrize("n_layers", [1, 2])
every_context = pytest.mark.parametrize("with_context", [False, True])
unconverged = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
SHAPES = {"bernoulli": (3, 4), "categorical": (2, 2, 2)}


def make(network="recurrent", **settings):
    small = {"n_hidden": 7, "max_iter": 3, "learning_rate_init": 0.02, "dtype": "float64"}
    return PixelRNN(network=network, **small | {"random_state": 0, "n_jobs": 1} | settings)


def images(conditional="bernoulli", n=60):
    shape = SHAPES[conditional]
    return DATA[conditional](n, int(np.prod(shape))).reshape(n, *shape)


def contexts(n=60):
    return np.random.default_rng(5).normal(size=(n, 2))


def far(model, size=0.5):
    """Move the parameters of a fitted model away from where they are."""
    model.theta_ += size * np.random.default_rng(1).standard_normal(model.theta_.size)
    return model


def composed(network, conditional="bernoulli", with_context=False, **settings):
    """Return a model far from its start, codes, and their context."""
    X, context = images(conditional), contexts() if with_context else None
    estimator = far(fit(make(network, n_levels=3, **settings), X, context=context))
    model = estimator._model()
    codes = model.codes(X.reshape(len(X), -1)[:19])
    return estimator, model, codes, None if context is None else context[:19]


# ---- textbooks: one pixel after the other


def outputs(network, p, h, context):
    """Return raw (sum of P,) of units h (D, H): each value takes the first columns of V and B."""
    raw = []
    for unit, P in zip(h, np.diff(network.output_offsets), strict=True):
        raw.append(unit @ p["V"][:, :P] + (0 if context is None else context @ p["B"][:, :P]))
    return np.concatenate(raw) + p["b"].ravel()


def recurrent(network, p, codes, context):
    """Return raw (sum of P,) of one image."""
    height, width, C = network.image_shape
    L, H = network.hidden_layer_sizes, network.hidden_layer_sizes[0]
    h, m = np.zeros((len(L), H)), np.zeros((len(L), H))
    input_flags, offsets = network.inputs.input_flags[0] & 1, network.layers.inputs.offsets
    out, W = [], np.split(p["W_xh0"].reshape(offsets[-1], -1), offsets[1:-1])
    for d, (i, j, k) in enumerate(np.ndindex(height, width, C)):
        if d:
            image = codes.reshape(height, width, C)
            before = codes[d - C] if d >= C else None
            values = [before, image[i - 1, j, k] if i else None]
            values += [image[i, j, k - s] if k >= s else None for s in range(1, C)]
            x = np.zeros(W[0].shape[-1])
            for e, value in enumerate(values):
                if value is not None:
                    x = x + (W[e][int(value)] if input_flags else value * W[e][0])
            for e, place in enumerate((i, j, k)[: 3 if C > 1 else 2]):
                x = x + W[len(values) + e][place]
            for layer in range(len(L)):
                x = h[layer - 1] @ p[f"W_xh{layer}"] if layer else x
                x = x + p[f"c{layer}"]
                x = x if context is None else x + context @ p[f"U{layer}"]
                a = h[layer] @ p[f"W_hh{layer}"]
                own = p.get(f"d{layer}")
                h[layer], m[layer] = cell_step(network.cell, x, a, own, h[layer], m[layer])
        out.append(h[-1].copy())
    return outputs(network, p, np.array(out), context)


def grid(network, p, codes, context):
    """Return raw (sum of P,) of one image."""
    height, width = network.image_shape[0], network.image_shape[1] * network.image_shape[2]
    H, reach = network.n_hidden, 3 * network.image_shape[2]
    is_level = (network.inputs.input_flags & 1).any()
    highest = np.diff(network.inputs.offsets).max() - 1
    image = codes.reshape(height, width) / (highest if is_level else 1)
    around = np.zeros((height + 3, width + 2 * reach + network.image_shape[2] - 1))
    around[3:, reach : reach + width] = image
    columns = 2 * reach + network.image_shape[2]
    below = None
    for layer in range(network.n_layers):
        u = np.zeros((height, width, H)) if below is None else below.copy()
        for each in network.passes:
            name = f"{layer}{each.suffix}"
            s, m = np.zeros((height + 1, width + 2, H)), np.zeros((height + 1, width + 2, H))
            for i in range(height):
                for j in range(width)[:: -1 if each.along > 0 else 1]:
                    a = p[f"c{name}"].copy()
                    if context is not None:
                        a += context @ p[f"U{name}"]
                    if below is None:
                        window = around[i : i + 3, j : j + columns].ravel()
                        window = np.append(window, around[i + 3, j : j + reach])
                        W = p[f"W_xh{name}"]
                        a += np.nan_to_num(window) @ W[:, 0] + np.isnan(window) @ W[:, -1]
                    for tap in range(0 if below is None else network.taps):
                        if j >= tap:
                            a += below[i, j - tap] @ p[f"W_xh{name}"][tap]
                    seen = [s[i, j + 1 + shift] for shift in each.above]
                    memory = m[i, j + 1]
                    if each.along:
                        seen.append(s[i + 1, j + 1 + each.along])
                        memory = m[i + 1, j + 1 + each.along]
                    for W, neighbour in zip(p[f"W_hh{name}"], seen, strict=True):
                        a += neighbour @ W
                    s[i + 1, j + 1], m[i + 1, j + 1] = lstm(a, memory)
            u += s[:-1, 1:-1] if each.below else s[1:, 1:-1]
        below = u
    return outputs(network, p, below.reshape(-1, H), context)


@unconverged
@parametrize_with_checks([make(name, dtype="float32") for name in NETWORKS])
def test_scikit_learns_own_checks_pass(estimator, check):
    check(estimator)


@every_context
@pytest.mark.parametrize("conditional", SHAPES)
@every_depth
@every_variant
def test_outputs_are_the_textbooks(network, settings, n_layers, conditional, with_context):
    _, model, codes, context = composed(
        network, conditional, with_context, n_layers=n_layers, **settings
    )
    raw, _ = model.network.forward(model.params, codes, 1, context=context)
    textbook = recurrent if network == "recurrent" else grid
    for r in (0, 7, 18):
        own = None if context is None else context[r]
        expected = textbook(model.network, model.params, codes[r], own)
        np.testing.assert_allclose(raw[r], expected, rtol=1e-9, atol=1e-11)


@every_context
@pytest.mark.parametrize("conditional", SHAPES)
@every_depth
@every_variant
def test_the_gradient_is_finite_differences(network, settings, n_layers, conditional, with_context):
    _, model, codes, context = composed(
        network, conditional, with_context, n_layers=n_layers, **settings
    )
    rng = np.random.default_rng(0)
    scale = rng.uniform(-1, 1, len(codes))

    def loss():
        raw, _ = model.network.forward(model.params, codes, 1, context=context)
        return (scale * model.conditional.kernel.log_prob(raw, codes, 1)[1]).sum()

    raw, cache = model.network.forward(model.params, codes, 1, context=context, rng=rng)
    _, graw = model.conditional.kernel.gradient(raw, codes, scale, 1)
    gradient = np.nan * model.theta
    model.network.backward(model.params, cache, graw, model.layout.views(gradient), 1)
    assert_slopes(model, gradient, loss, rng, 4)


@every_depth
@every_variant
def test_a_value_never_reaches_what_comes_before(network, settings, n_layers):
    _, model, codes, _ = composed(network, n_layers=n_layers, **settings)
    raw, _ = model.network.forward(model.params, codes, 1)
    for d in range(codes.shape[1]):
        changed = codes.copy()
        changed[:, d] = 1 - changed[:, d]
        found, _ = model.network.forward(model.params, changed, 1)
        known = model.network.output_offsets[d + 1]
        assert_same_bits(found[:, :known], raw[:, :known])
        if d + 1 < codes.shape[1]:
            assert (found[:, known:] != raw[:, known:]).any()


@every_context
@every_depth
@every_variant
def test_probabilities_of_all_images_sum_to_one(network, settings, n_layers, with_context):
    estimator, _, _, context = composed(
        network, with_context=with_context, n_layers=n_layers, **settings
    )
    every = np.array(list(itertools.product([0, 1], repeat=12)))
    if with_context:
        context = np.repeat(context[:1], len(every), axis=0)
    scores = estimator.score_samples(every, context=context)
    assert np.exp(scores).sum() == pytest.approx(1, abs=1e-9)


@every_context
@every_depth
@every_variant
def test_samples_have_the_models_own_probabilities(network, settings, n_layers, with_context):
    estimator, _, _, context = composed(
        network, with_context=with_context, n_layers=n_layers, **settings
    )
    n = 8_000
    own = None if context is None else np.repeat(context[:1], n, axis=0)
    drawn = estimator.sample(n, context=own, random_state=0).reshape(n, -1)
    every = np.array(list(itertools.product([0, 1], repeat=12)))
    own = None if context is None else np.repeat(context[:1], len(every), axis=0)
    expected = n * np.exp(estimator.score_samples(every, context=own))
    observed = np.bincount(drawn @ 2 ** np.arange(12)[::-1], minlength=4096)
    often = expected > 5
    observed = np.append(observed[often], observed[~often].sum())
    expected = np.append(expected[often], expected[~often].sum())
    assert stats.chisquare(observed, expected * n / expected.sum()).pvalue > 1e-4


@pytest.mark.parametrize("conditional", [*REAL, *COUNTS, "logistic_mixture"])
@every_network
def test_any_conditional_draws_what_it_says(network, conditional):
    X = DATA[conditional](80, 6)
    X = X - X.min() if conditional == "logistic_mixture" else X  # levels begin at 0
    model = fit(make(network, image_shape=(2, 3), distribution=conditional), X)
    noise_free = model.sample(40, random_state=0)
    assert np.isfinite(model.score_samples(noise_free)).all()
    assert noise_free.dtype == X.dtype


def test_columns_may_have_conditionals_of_their_own():
    X = DATA["gaussian"](60, 4)
    model = fit(make(distribution=["gaussian", "laplace", "gaussian_mixture", "gaussian"]), X)
    assert np.isfinite(model.score_samples(X)).all()
    kinds = distribution("mixed", 4)
    with pytest.raises(ValueError, match="all in one way"):
        make(distribution=[*kinds[:3], "categorical"]).fit(DATA["mixed"](60, 4))


@every_depth
@every_variant
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_same_bits_on_any_threads(network, settings, n_layers, dtype):
    X, settings = images("categorical", 50), {"n_layers": n_layers, "dtype": dtype, **settings}
    one = fit(make(network, n_jobs=1, n_hidden=20, **settings), X)
    for n_jobs in (2, 3):
        other = fit(make(network, n_jobs=n_jobs, n_hidden=20, **settings), X)
        assert_same_bits(other.theta_, one.theta_)
        assert_same_bits(other.score_samples(X), one.score_samples(X))
        assert_same_bits(other.sample(50, random_state=0), one.sample(50, random_state=0))
    assert_same_bits(one.score_samples(X[:1]), one.score_samples(X)[:1])


@every_network
def test_files_and_pickles_keep_everything(network, tmp_path):
    X, context = images("categorical"), contexts()
    model = fit(make(network, n_levels=5), X, context=context)
    model.save(tmp_path / "model.fastar")
    for again in (fastar.load(tmp_path / "model.fastar"), pickle.loads(pickle.dumps(model))):
        for name in ("score_samples", "score_features", "conditionals"):
            mine, kept = getattr(model, name), getattr(again, name)
            assert_same_bits(kept(X, context=context), mine(X, context=context))
        own = {"context": context[:3], "random_state": 0}
        assert_same_bits(again.sample(3, **own), model.sample(3, **own))
        assert_same_bits(again.complete(X[:3], np.eye(2) > 0, **own),
                         model.complete(X[:3], np.eye(2) > 0, **own))  # fmt: skip


# ---- images


@pytest.mark.parametrize("network", NETWORKS)
def test_images_and_rows_are_the_same(network):
    X = images("categorical")
    rows = X.reshape(len(X), -1)
    model = fit(make(network, n_levels=3), X)
    flat = fit(make(network, n_levels=3, image_shape=(2, 2, 2)), rows)
    assert_same_bits(model.theta_, flat.theta_)
    assert_same_bits(model.score_samples(X), flat.score_samples(rows))
    assert_same_bits(model.score_samples(rows), flat.score_samples(X))
    drawn = model.sample(5, random_state=0)
    assert drawn.shape == (5, 2, 2, 2)
    assert_same_bits(drawn.reshape(5, -1), flat.sample(5, random_state=0))


def test_shapes_are_guessed_and_checked():
    X = DATA["bernoulli"](30, 16)
    assert fit(make(), X).image_shape_ == (4, 4, 1)
    assert fit(make(), X[:, :12]).image_shape_ == (1, 12, 1)
    assert fit(make(image_shape=(2, 8)), X).image_shape_ == (2, 8, 1)
    assert fit(make(), X.reshape(-1, 2, 4, 2)).image_shape_ == (2, 4, 2)
    with pytest.raises(ValueError, match="image_shape must be the height and width"):
        make(image_shape=(3, 5)).fit(X)
    with pytest.raises(ValueError, match=r"images of shape \(2, 8\), by image_shape"):
        make(image_shape=(2, 8)).fit(X.reshape(-1, 4, 4))
    with pytest.raises(ValueError, match="two axes"):
        make().fit(X.reshape(-1, 2, 2, 2, 2))
    with pytest.raises(ValueError, match="as in fit"):
        fit(make(), X.reshape(-1, 4, 4)).score_samples(X.reshape(-1, 2, 8))


def test_levels_are_those_of_n_levels_whatever_fit_saw():
    X = images("categorical")
    model = fit(make(n_levels=6), X)
    assert repr(model.distribution_) == "Categorical(unknown='other', cardinality=6)"
    assert np.isfinite(model.score_samples(X + 3)).all()
    assert model.conditionals(X[:2]).shape == (2, 8, 6)
    np.testing.assert_allclose(model.conditionals(X[:2]).sum(axis=2), 1)
    with pytest.raises(ValueError, match="whole numbers from 0 to 5"):
        model.score_samples(X + 4)
    with pytest.raises(ValueError, match="cardinality of Categorical must be"):
        make(distribution=Categorical(cardinality=0)).fit(X)


@every_network
def test_what_is_known_stays_and_the_rest_is_drawn_given_it(network):
    X = images(n=300)
    model = far(fit(make(network), X), 0.3)
    lower = np.arange(3)[:, None] >= np.array([2] * 4)
    completed = model.complete(X[:5], lower, n_draws=3, random_state=0)
    assert completed.shape == (5, 3, 3, 4)
    assert completed.dtype == X.dtype
    assert (completed[:, :, :2] == X[:5, None, :2]).all()
    # p(last row | first rows), against all of its 16 states
    n = 4000
    drawn = model.complete(X[:1], lower, n_draws=n, random_state=0)[0, :, 2]
    rows = np.array(list(itertools.product([0, 1], repeat=4)), np.uint8)
    every = np.repeat(X[:1], 16, axis=0)
    every[:, 2] = rows
    p = np.exp(model.score_samples(every))
    observed = np.bincount(drawn @ [8, 4, 2, 1], minlength=16)
    assert stats.chisquare(observed, n * p / p.sum()).pvalue > 1e-4


@every_network
def test_what_is_hidden_first_is_weighed_by_what_comes_after(network):
    X = images(n=300)
    model = far(fit(make(network), X), 0.5)
    upper = np.arange(3)[:, None] < np.array([1] * 4)
    n = 2000
    drawn = model.complete(X[:1], upper, n_draws=n, n_particles=8_000, random_state=0)[0]
    assert (drawn[:, 1:] == X[0, 1:]).all()
    every = np.repeat(X[:1], 16, axis=0)
    every[:, 0] = list(itertools.product([0, 1], repeat=4))
    p = np.exp(model.score_samples(every))
    observed = np.bincount(drawn[:, 0] @ [8, 4, 2, 1], minlength=16)
    np.testing.assert_allclose(observed / n, p / p.sum(), atol=0.06)
    known = np.where(upper, np.nan, X[:1].astype(float)).reshape(1, -1)
    exact = np.log(p.sum())
    assert model.log_marginal(known, n_particles=8_000, random_state=0) == pytest.approx(
        exact, abs=0.05
    )


def test_masks_are_checked():
    X = images("categorical")
    model = fit(make(n_levels=3), X)
    assert model.complete(X[:2], np.eye(2) > 0, n_draws=1).shape == (2, 1, 2, 2, 2)
    each = np.random.default_rng(0).random((2, 2, 2, 2)) < 0.5
    completed = model.complete(X[:2], each, n_draws=2, random_state=0)
    assert (completed[:, 0][~each] == X[:2][~each]).all()
    with pytest.raises(ValueError, match="mask must have the shape of an image"):
        model.complete(X[:2], np.eye(3) > 0)
    for value in (0.5, 2, np.nan):
        with pytest.raises(ValueError, match=f"mask must hold True and False, .*Got {value} "):
            model.complete(X[:2], np.where(np.eye(2) > 0, value, 0))


def test_images_that_are_none_are_named():
    X = images()
    model = fit(make(), X)
    with pytest.raises(ValueError, match=r"images of 12 values. Got \(3, 'a'\)"):
        make(image_shape=(3, "a")).fit(X)
    with pytest.raises(ValueError, match=r"evidence must hold 0 or 1.*Got a in"):
        model.sample(2, evidence=np.full((3, 4), "a"))
    known = np.where(X[0] == 1, 1.0, np.nan)
    free = np.where(X[0] == 1, 1, None)  # as objects
    drawn = [model.sample(9, evidence=each, random_state=0) for each in (known, free)]
    assert (drawn[0] == drawn[1]).all()
    for method in (model.fit, model.score_samples, model.impute):
        with pytest.raises(ValueError, match=r"X must have a pixel or more.*\(0, 3, 4\)"):
            method(X[:0])
        with pytest.raises(ValueError, match="X must be an array, whose parts are as long as one"):
            method([X[0], X[1, :2]])


@pytest.mark.parametrize("convert", [np.asarray, list, pd.DataFrame, pl.DataFrame])
@pytest.mark.parametrize("last", [True, False])
def test_completions_repeat_the_one_row_of_a_context(convert, last):
    X = images()
    given = contexts()
    model = fit(make(), X, context=convert(given))
    hidden = np.arange(12).reshape(3, 4) >= 6 if last else np.eye(3, 4) > 0
    how = {"n_draws": 3, "random_state": 0}
    found = [
        model.complete(X[:5], hidden, context=convert(given[rows]), **how)
        for rows in ([0], [0] * 5)
    ]
    assert (found[0] == found[1]).all()
    with pytest.raises(ValueError, match=r"context must have shape.* \(5, 2\).*Got \(3, 2\)"):
        model.complete(X[:5], hidden, context=convert(given[:3]), **how)


@every_network
def test_repair_undoes_what_is_improbable(network):
    X = np.repeat(np.array([[[0, 0], [1, 1]], [[1, 1], [0, 0]]], np.uint8), 60, axis=0)
    model = fit(make(network, max_iter=200, n_hidden=16, early_stopping=False, tol=0), X)
    assert model.score(X) > -0.8
    spoilt = X[:1].copy()
    spoilt[0, 1, 1] = 0
    assert_same_bits(model.purify(spoilt, [0, 0, 1, 1]), X[:1])


def test_bars_are_learnt():
    rng = np.random.default_rng(0)
    X = np.repeat(rng.integers(0, 2, (400, 1, 5)), 5, axis=1).astype(np.uint8)
    for network in NETWORKS:
        model = fit(make(network, n_hidden=16, max_iter=25), X)
        assert model.score(X) > -5 * np.log(2) - 0.3


@every_network
def test_gaps_in_some_pixels_alone_are_learnt(network):
    X = images(n=80).astype(float)
    X[::3, 0, 1] = np.nan
    model = fit(make(network, missing="marked"), X)
    assert np.isfinite(model.score_samples(X)).all()
    full = model.impute(X, random_state=0)
    known = ~np.isnan(X)
    assert (full[known] == X[known]).all()
    assert np.isin(full, [0, 1]).all()
