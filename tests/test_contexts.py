"""p(x given context): what a context becomes, the laws given one, and its way through pipelines."""

import pickle
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from common import (
    COMPOSITIONS,
    DATA,
    MODELS,
    assert_same_bits,
    distribution,
    fit,
    fitted,
    make,
    states,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from test_laws import every_network

import fastar
from fastar import Mixture
from fastar._data.context import Context

pytestmark = pytest.mark.kernels

every_model = pytest.mark.parametrize("name", MODELS)
every_composition = pytest.mark.parametrize(("name", "conditional"), COMPOSITIONS)


def context(n, seed=0):
    """Return numbers of different scales: a copy of the first column's trend and noise."""
    rng = np.random.default_rng(seed)
    return np.column_stack([np.linspace(-1, 1, n), 100 + 7 * rng.standard_normal(n)])


def given(name="NADE", conditional="bernoulli", n=60, D=4, **settings):
    """Return a model fitted with a context, its data and the context."""
    X = DATA[conditional](n, D)
    settings = {"distribution": distribution(conditional, D), "max_iter": 3} | settings
    return fit(make(name, **settings), X, context=context(n)), X, context(n)


def shaken(model, size=0.3):
    """Add noise to the parameters: a context then matters to every output."""
    model.theta_ += size * np.random.default_rng(1).standard_normal(model.theta_.size)
    return model


# ---- the laws


@every_composition
def test_the_gradient_by_all_parameters_is_finite_differences(name, conditional):
    model, X, y = given(name, conditional, dtype="float64")
    model = shaken(model)._model()
    codes = model.codes(np.ascontiguousarray(X[:9][:, model.order]))
    rows = np.ascontiguousarray(y[:9] - y[:9].mean(axis=0))
    scale = np.random.default_rng(0).uniform(-1, 1, 9)
    network = model.network

    def forward():
        weights = network.materialise_weights(model.params, 1)
        return weights, *network.forward(weights, codes, 1, context=rows)

    weights, raw, cache = forward()
    _, graw = model.conditional.kernel.gradient(raw, codes, scale, 1)
    gradient = np.zeros_like(model.theta)
    network.backward(weights, cache, graw, model.layout.views(gradient), 1)
    start = model.theta.copy()
    for parameter in [key for key in model.params if key[0] in "UB"]:
        direction = np.zeros_like(start)
        part = model.layout.views(direction)[parameter]
        part[...] = np.random.default_rng(2).standard_normal(part.shape)
        ends = []
        for step in (1e-6, -1e-6):
            model.theta[:] = start + step * direction
            _, raw, _ = forward()
            ends.append((scale * model.conditional.kernel.log_prob(raw, codes, 1)[1]).sum())
        model.theta[:] = start
        slope = (ends[0] - ends[1]) / 2e-6
        np.testing.assert_allclose(gradient @ direction, slope, rtol=1e-5, atol=1e-6)


@every_network
@pytest.mark.parametrize("conditional", ["bernoulli", "categorical"])
def test_probabilities_given_any_context_sum_to_one(name, variant, conditional):
    model, _, y = given(name, conditional, D=3, **variant)
    everything = states(conditional, 3)
    totals = []
    for row in y[:3]:
        scores = shaken(model).score_samples(everything, context=[row])
        np.testing.assert_allclose(np.exp(scores).sum(), 1, rtol=1e-5)
        totals.append(scores)
    assert np.abs(totals[0] - totals[1]).max() > 1e-3  # and the context tells


@every_composition
def test_every_number_has_the_same_bits_for_any_threads_and_any_block_of_rows(name, conditional):
    model, X, y = given(name, conditional)
    twin, *_ = given(name, conditional, n_jobs=3)
    assert_same_bits(twin.theta_, model.theta_)
    scores = model.score_samples(X, context=y)
    assert_same_bits(twin.score_samples(X[7:20], context=y[7:20]), scores[7:20])
    np.testing.assert_allclose(model.score_features(X, context=y).sum(axis=1), scores, rtol=1e-4)
    drawn = [each.sample(60, context=y, random_state=0) for each in (model, twin)]
    assert_same_bits(*drawn)


@every_network
def test_samples_follow_the_probabilities_given_their_own_context(name, variant):
    model, _, y = given(name, D=3, **variant)
    model, everything, n = shaken(model), states("bernoulli", 3), 20_000
    rows = np.repeat(y[[0, 40]], n, axis=0)
    drawn = model.sample(2 * n, context=rows, random_state=0).reshape(2, n, 3)
    for own, row in zip(drawn, y[[0, 40]], strict=True):
        p = np.exp(model.score_samples(everything, context=[row]))
        share = np.bincount(own @ [4, 2, 1], minlength=8) / n
        np.testing.assert_allclose(share, p, atol=5 * np.sqrt(0.25 / n))


@every_model
def test_draws_are_the_quantiles_that_conditionals_tell(name):
    model, _, y = given(name, "gaussian", D=2, max_iter=40)
    drawn = model.sample(60, context=y, random_state=0)
    cdf = model.conditionals(drawn, context=y)["cdf"]
    assert 0.35 < cdf.mean() < 0.65
    assert cdf.std() == pytest.approx(1 / np.sqrt(12), abs=0.06)


def test_a_context_that_decides_x_is_learnt():
    rng = np.random.default_rng(0)
    label = rng.choice(["a", "b", "c"], 3000)
    p = {"a": [0.9, 0.1, 0.5], "b": [0.1, 0.9, 0.5], "c": [0.5, 0.5, 0.05]}
    p = np.array([p[each] for each in label])
    X = (rng.random(p.shape) < p).astype(np.uint8)
    truth = (X * np.log(p) + (1 - X) * np.log(1 - p)).sum(axis=1).mean()
    for name in MODELS:
        model = fit(make(name, distribution="bernoulli", max_iter=30), X, context=label)
        assert model.score(X, context=label) == pytest.approx(truth, abs=0.02)
        assert model.score(X, context=label) > fit(make(name), X).score(X) + 0.3


# ---- what a context becomes


def test_numbers_are_standardised_and_categories_one_hot():
    rows = np.array([[1.0, 10.0], [3.0, 10.0]])
    learnt = Context.of(rows, 2)
    np.testing.assert_allclose(learnt.encode(rows, 2, np.float32), [[-1, 0], [1, 0]])
    words = np.array(["b", "a", "b"])
    learnt = Context.of(words, 3)
    assert learnt.size == 2
    np.testing.assert_array_equal(learnt.encode(words, 3, np.float32), [[0, 1], [1, 0], [0, 1]])
    numbers = np.array([7, 3, 7], object)
    np.testing.assert_array_equal(
        Context.of(numbers, 3).encode(numbers, 3, np.float32), [[0, 1], [1, 0], [0, 1]]
    )


def test_a_frame_may_have_missing_values_where_it_had_some_in_fit():
    frame = pd.DataFrame({"size": [1.0, np.nan, 3.0], "kind": ["x", "y", None]})
    learnt = Context.of(frame, 3)
    assert learnt.size == 2 + 3
    np.testing.assert_allclose(
        learnt.encode(frame, 3, np.float64),
        [[-1, 0, 1, 0, 0], [0, 1, 0, 1, 0], [1, 0, 0, 0, 1]],
    )
    whole = Context.of(frame.iloc[[0, 2]][["size"]], 2)
    with pytest.raises(ValueError, match=r"context may have missing values only where .*'size'"):
        whole.encode(frame[["size"]], 3, np.float64)


@every_model
def test_frames_categories_and_vectors_are_the_same_as_arrays(name):
    X = DATA["bernoulli"](40, 4)
    kind = np.array(["u", "v"] * 20)
    as_frame = pd.DataFrame({"kind": kind})
    models = [fit(make(name), X, context=each) for each in (kind, kind[:, None], as_frame)]
    for model, each in zip(models, (kind, kind[:, None], as_frame), strict=True):
        assert_same_bits(model.theta_, models[0].theta_)
        assert_same_bits(
            model.score_samples(X, context=each), models[0].score_samples(X, context=kind)
        )


# ---- the estimator


@every_model
def test_a_saved_and_a_pickled_model_know_their_context(name, tmp_path):
    X, y = DATA["bernoulli"](40, 4), pd.DataFrame({"a": np.arange(40.0), "b": ["u", "v"] * 20})
    model = fit(make(name), X, context=y)
    model.save(tmp_path / "model")
    for again in (fastar.load(tmp_path / "model"), pickle.loads(pickle.dumps(model))):
        assert_same_bits(again.score_samples(X, context=y), model.score_samples(X, context=y))
        drawn = again.sample(4, context=y[:4], random_state=0)
        assert_same_bits(drawn, model.sample(4, context=y[:4], random_state=0))


def test_one_row_of_context_serves_all_samples():
    model, _, y = given()
    drawn = model.sample(50, context=y[3], random_state=0)
    assert_same_bits(drawn, model.sample(50, context=np.repeat(y[3:4], 50, axis=0), random_state=0))


CONTEXTS = {
    "numbers": lambda C: C,
    "a list": lambda C: C.tolist(),
    "pandas": lambda C: pd.DataFrame(C, columns=["a", "b"]),
    "polars": lambda C: pl.DataFrame(C, schema=["a", "b"]),
}


@pytest.mark.parametrize("kind", CONTEXTS)
@pytest.mark.parametrize("model", ["NADE", "a mixture"])
def test_samples_have_one_context_or_one_each(model, kind, tmp_path):
    X, C, convert = DATA["gaussian"](40, 3), context(40), CONTEXTS[kind]
    own = make(max_iter=1)
    own = Mixture(own, n_members=3, random_state=0, n_jobs=1) if model == "a mixture" else own
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        own.fit(X, context=convert(C))
    for how in ({}, {"exclude": X}, {"out": tmp_path / "drawn.parquet"}):
        own.sample(2, context=convert(C[:2]), **how)
        for n_given, n in ((3, 5), (5, 3), (2, 1)):
            message = rf"context must have shape .*\({n}, 2\).* Got \({n_given}, 2\)"
            with pytest.raises(ValueError, match=message):
                own.sample(n, context=convert(C[:n_given]), **how)
        for bad in (1.5, {1, 2}, (each for each in C[:3])):
            with pytest.raises((TypeError, ValueError), match="context must "):
                own.sample(3, context=bad, **how)
    if kind in ("numbers", "a list"):  # a vector of as many values as rows is one row
        drawn = [own.sample(2, context=c, random_state=0) for c in (C[3], C[[3, 3]])]
        assert_same_bits(*drawn)
        own.sample(2, context=C[3], exclude=X)


def test_partial_fit_and_warm_start_go_on_with_the_context_of_the_first_fit():
    X, y = DATA["bernoulli"](60, 4), context(60)
    model = make().partial_fit(X[:30], context=y[:30]).partial_fit(X[30:], context=y[30:])
    np.testing.assert_allclose(model.context_.location, y[:30].mean(axis=0))
    warm, _, _ = given(warm_start=True)
    before = warm.context_
    fit(warm, X, context=y + 1)
    assert warm.context_ is before


def test_held_out_rows_have_a_context_of_their_own():
    X, y = DATA["bernoulli"](60, 4), context(60)
    model = fit(make(max_iter=2), X[:40], context=y[:40], X_val=X[40:], context_val=y[40:])
    assert min(model.validation_curve_) == pytest.approx(-model.score(X[40:], context=y[40:]))
    with pytest.raises(ValueError, match="context_val must be given"):
        fit(make(), X[:40], context=y[:40], X_val=X[40:])


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (None, r"context must be given for a model of p\(x given context\)"),
        (
            context(59),
            r"context must have shape \(60, 2\), a row for each row of X\. Got \(59, 2\)",
        ),
        (context(60)[:, :1].repeat(3, axis=1), r"context must have 2 columns, as in fit\. Got 3"),
        (np.full((60, 2), np.nan), r"missing values only where it had some in fit"),
        (np.full((60, 2), np.inf), r"context must hold finite numbers"),
        (np.full((60, 2), "a"), r"context must hold numbers, as in fit"),
        (np.zeros((60, 2, 2)), r"context must be a table .* Got an array of shape \(60, 2, 2\)"),
    ],
)
def test_a_context_unlike_that_of_fit_is_refused(bad, message):
    model, X, _ = given()
    with pytest.raises(ValueError, match=message):
        model.score_samples(X, context=bad)


def test_a_context_is_refused_by_a_model_without_and_a_bad_one_leaves_fit_undone():
    model, X = fitted(n=60, D=4)
    with pytest.raises(ValueError, match="context must be None for a model"):
        model.score_samples(X, context=context(60))
    before = model.theta_.copy()
    with pytest.raises(ValueError, match="context must have no NaN"):
        model.fit(X, context=np.full((60, 1), np.nan))
    with pytest.raises(TypeError, match="Got int, str"):
        model.fit(X, context=np.array([1, "a"] * 30, object))
    assert model.context_ is None
    assert_same_bits(model.theta_, before)
    with pytest.raises(ValueError, match=r"seen in fit in column 0: 'a'\. Got 'z' in row 1"):
        fit(make(), X, context=["a"] * 60).score_samples(X[:2], context=["a", "z"])


# ---- scikit-learn's metadata routing


def test_routing_carries_a_context_through_pipelines_and_searches():
    X, y = DATA["bernoulli"](90, 4), context(90)
    with sklearn.config_context(enable_metadata_routing=True):
        nade = make(max_iter=2).set_fit_request(context=True).set_score_request(context=True)
        pipeline = make_pipeline(FunctionTransformer(), nade)
        fit(pipeline, X, context=y)
        assert pipeline.score(X, context=y) == pytest.approx(
            fit(make(max_iter=2), X, context=y).score(X, context=y)
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            search = GridSearchCV(nade, {"n_hidden": [2, 5]}, cv=2).fit(X, context=y)
            scores = cross_validate(nade, X, cv=2, params={"context": y})
    assert search.best_estimator_.context_.size == y.shape[1]
    assert np.isfinite(scores["test_score"]).all()


@pytest.mark.parametrize("library", ["pandas", "polars"])
@pytest.mark.parametrize("values", [["u", "v"], [3, 4], [0.5, 2.5]])
@pytest.mark.parametrize("nominal", [False, True])
def test_a_series_is_a_context_as_a_frame_of_it_is(library, values, nominal):
    X = DATA["bernoulli"](60, 3)
    series = pd.Series(values * 30, name="c")
    if nominal and library == "pandas":
        series = series.astype("category")
    if library == "polars":
        if nominal and isinstance(values[0], str):
            series = pl.Series("c", series.tolist(), dtype=pl.Enum(values))
        else:
            series = pl.Series("c", series.tolist())
    model = fit(make("NADE", max_iter=3), X, context=series)
    framed = fit(make("NADE", max_iter=3), X, context=series.to_frame())
    assert_same_bits(model.theta_, framed.theta_)
    scores = framed.score_samples(X, context=series.to_frame())
    for given_again in (series, series.to_frame(), series.to_list(), series.to_numpy()[:, None]):
        assert_same_bits(model.score_samples(X, context=given_again), scores)
    nameless = series.rename(None) if library == "pandas" else series.alias("")
    assert_same_bits(model.score_samples(X, context=nameless), scores)


@pytest.mark.parametrize("estimator", [fastar.NADE, fastar.GenerativeRNN, fastar.Mixture])
@pytest.mark.parametrize("context", [["age"], [3], [[3.0]], pd.DataFrame({"age": [3]})])
def test_one_context_is_not_that_of_all_rows_of_a_fit(estimator, context):
    model = estimator() if estimator is not fastar.Mixture else estimator([make(max_iter=1)])
    with pytest.raises(ValueError, match=r"context must have shape \(60, 1\).*no names of columns"):
        model.fit(DATA["bernoulli"](60, 3), context=context)


@pytest.mark.parametrize("made", [np.asarray, lambda x: pd.DataFrame({"c": x}).astype("Int64")])
def test_a_context_far_from_all_others_enters_as_one_that_is_near(made):
    x = np.arange(300) - 150
    model = fit(make("NADE", max_iter=3), DATA["bernoulli"](300, 4), context=made(x))
    rows = DATA["bernoulli"](3, 4)
    far = [model.score_samples(rows, context=made(np.full(3, 10**k))) for k in (5, 9, 18)]
    assert np.isfinite(far).all()
    np.testing.assert_array_equal(far[0], far[1])
    np.testing.assert_array_equal(far[0], far[2])
    near = [model.score_samples(rows, context=made(np.full(3, k))) for k in (150, 300)]
    assert (near[0] != near[1]).all()
