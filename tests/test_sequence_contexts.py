"""Densities of sequences given contexts, samples that go on, and what conditionals say."""

import itertools
import pickle

import numpy as np
import pytest
from common import assert_same_bits, assert_slopes, fit
from frequencies import chi_square
from recurrent_models import DATA, every_cell, every_depth, every_kind, make, sequences
from scipy.stats import norm
from sklearn import config_context
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

import fastar
from fastar.conditionals import Categorical

pytestmark = pytest.mark.kernels

NAMES = np.array(["a", "b"], object)


def given(n=60, C=2, seed=0):
    """Return sequences that climb faster where the context says so, and the context."""
    rng = np.random.default_rng(seed)
    context = np.column_stack([rng.normal(size=n), rng.integers(0, 2, n)])[:, :C]
    X = [
        np.cumsum(rng.random(length) < (0.9 if each[-1] > 0 else 0.2)) % 3
        for each, length in zip(context, rng.integers(1, 9, n), strict=True)
    ]
    return X, context


def composed(cell, layers, **settings):
    """Return a model of p(x given context) whose parameters are away from their start."""
    X, context = given()
    estimator = make(cell, n_layers=layers, dtype="float64", max_iter=1, **settings)
    estimator = fit(estimator, X, context=context)
    estimator.theta_ += 0.3 * np.random.default_rng(1).standard_normal(estimator.theta_.size)
    return estimator, X[:9], context[:9]


# ---- contexts


@every_depth
@every_cell
def test_the_gradient_with_a_context_is_finite_differences(cell, layers):
    estimator, X, context = composed(cell, layers)
    model, rng = estimator._model(), np.random.default_rng(0)
    table = estimator._table(X, context)
    steps, own = model.codes(table.take(slice(None))), table.context(slice(None))
    scale = rng.uniform(-1, 1, len(X))
    raw, cache = model.network.forward(model.params, steps, 2, context=own, rng=rng)
    _, graw = model.conditional.gradient(raw, steps, scale, 1)
    gradient = np.full_like(model.theta, np.nan)
    model.network.backward(model.params, cache, graw, model.layout.views(gradient), 2)

    def loss():
        raw, _ = model.network.forward(model.params, steps, 1, context=own)
        return float((scale * model.conditional.log_prob(raw, steps, 1)[1]).sum())

    assert_slopes(model, gradient, loss, rng)


@every_cell
def test_a_context_is_more_biases(cell):
    estimator, X, context = composed(cell, 2)
    params, plain = estimator.params_, fit(make(cell, n_layers=2, dtype="float64"), given()[0])
    for x, row in zip(X, context, strict=True):
        own = estimator.context_.encode(row[None], 1, np.float64)[0]
        for name, values in plain.params_.items():
            values[...] = params[name]
            if name in ("c0", "c1"):
                values += own @ params[f"U{name[1]}"]
        plain.params_["b"][...] += np.tensordot(own, params["B"], 1)
        expected = plain.score_samples([x])
        np.testing.assert_allclose(estimator.score_samples([x], context=row[None]), expected)


@every_depth
@every_cell
def test_mixed_lengths_with_contexts_are_one_by_one_bit_for_bit(cell, layers):
    estimator, X, context = composed(cell, layers)
    scores = estimator.score_samples(X, context=context)
    assert_same_bits(estimator.set_params(n_jobs=3).score_samples(X, context=context), scores)
    alone = [
        estimator.score_samples([x], context=row[None])[0]
        for x, row in zip(X, context, strict=True)
    ]
    assert_same_bits(np.array(alone), scores)
    shared = estimator.score_samples(X, context=context[:1])
    assert_same_bits(estimator.score_samples(X, context=context[[0] * 9]), shared)
    assert (shared[1:] != scores[1:]).all()


def test_training_with_contexts_has_the_same_bits_on_any_threads():
    X, context = given()
    thetas = [
        fit(make(n_hidden=40, n_layers=2, n_jobs=n), X, context=context).theta_ for n in (1, 2, 3)
    ]
    assert_same_bits(thetas[0], thetas[1])
    assert_same_bits(thetas[0], thetas[2])


@every_cell
def test_sequences_have_probability_one_given_each_context(cell):
    X = np.random.default_rng(0).integers(0, 3, (50, 4))
    label = NAMES[X[:, 0] % 2]
    levels = Categorical("error")
    model = fit(make(cell, dtype="float64", distribution=levels), X, context=label)
    rows = np.array(list(itertools.product(range(3), repeat=4)))
    for name in NAMES:
        p = np.exp(model.score_samples(rows, context=np.full(len(rows), name, object)))
        assert p.sum() == pytest.approx(1, abs=1e-9)


@every_cell
def test_samples_have_the_probabilities_of_their_context(cell):
    X, context = given(300)
    model = fit(make(cell, max_iter=20), X, context=context)
    short = [np.array(s, int) for k in range(3) for s in itertools.product(range(3), repeat=k)]
    names = {tuple(each): place for place, each in enumerate(short)}
    rows = np.array([[0.3, 0], [-0.5, 1]])
    drawn = model.sample(8000, context=np.tile(rows, (4000, 1)), max_length=3, random_state=0)
    for i, row in enumerate(rows):
        places = [names.get(tuple(each), len(short)) for each in drawn[i::2]]
        p = np.exp(model.score_samples(short, context=row[None]))
        observed = np.bincount(places, minlength=len(short) + 1)
        assert chi_square(observed, np.append(p, 1 - p.sum())) > 1e-4


def test_what_a_context_tells_is_learnt():
    X, context = given(600)
    settings = {"max_iter": 20, "n_hidden": 16}
    with_it = fit(make(**settings), X[:400], context=context[:400])
    without = fit(make(**settings), X[:400])
    score = with_it.score(X[400:], context=context[400:])
    assert score > without.score(X[400:]) + 0.5
    assert score > with_it.score(X[400:], context=context[400:][::-1])


def test_streams_files_pickles_and_chunks_keep_the_context(tmp_path):
    rng = np.random.default_rng(0)
    X, label = rng.integers(0, 3, (40, 7)), NAMES[rng.integers(0, 2, 40)]
    model = fit(make(n_layers=2), X, context=label, X_val=X, context_val=label)
    scores = model.score_features(X, context=label)
    first, state = model.score_stream(X[:, :3], context=label)
    rest, _ = model.score_stream(X[:, 3:], state, context=label)
    assert_same_bits(np.concatenate([first, rest], axis=1), scores)
    model.save(tmp_path / "model.fastar")
    for again in (fastar.load(tmp_path / "model.fastar"), pickle.loads(pickle.dumps(model))):
        assert_same_bits(again.score_features(X, context=label), scores)
        drawn = [each.sample(3, context=label[:3], random_state=0) for each in (again, model)]
        assert_same_bits(*drawn)
    chunks = make().partial_fit(X[:20], context=label[:20]).partial_fit(X[20:], context=label[20:])
    assert np.isfinite(chunks.score(X, context=label))
    with pytest.raises(ValueError, match="context must be given"):
        model.score(X)
    with pytest.raises(ValueError, match="context must be None"):
        fit(make(), X).score(X, context=label)


def test_pipelines_route_a_context_by_its_name():
    X, context = np.random.default_rng(0).integers(0, 2, (40, 5)), np.arange(40.0)[:, None]
    with config_context(enable_metadata_routing=True):
        model = make().set_fit_request(context=True).set_score_request(context=True)
        pipeline = fit(make_pipeline(FunctionTransformer(), model), X, context=context)
        score = pipeline.score(X, context=context)
    assert score == pipeline[-1].score(X, context=context)


# ---- samples that go on


@every_cell
def test_samples_go_on_with_the_probabilities_of_the_rest(cell):
    model = fit(make(cell, max_iter=20), sequences(200, longest=5))
    heads = [np.array([0, 1]), np.array([2]), np.zeros(0, int)]
    drawn = model.sample(6000, prefix=heads * 2000, max_length=2, random_state=0)
    short = [np.array(s, int) for k in range(2) for s in itertools.product(range(3), repeat=k)]
    names = {tuple(each): place for place, each in enumerate(short)}
    for i, head in enumerate(heads):
        mine = drawn[i::3]
        assert all((each[: len(head)] == head).all() for each in mine)
        places = [names.get(tuple(each[len(head) :]), len(short)) for each in mine]
        whole = model.score_samples([np.concatenate([head, each]) for each in short])
        begun = model.score_features([head])[0][:-1].sum()
        p = np.exp(whole - begun)
        assert chi_square(
            np.bincount(places, minlength=len(short) + 1), np.append(p, 1 - p.sum())
        ) > 1e-4  # fmt: skip


@every_cell
def test_one_beginning_is_that_of_each(cell):
    X = np.random.default_rng(0).integers(0, 3, (40, 7))
    model, context = fit(make(cell, n_layers=2), X), np.arange(40.0)
    once = model.sample(4, prefix=[1, 2, 0], random_state=0)
    assert once.shape == (4, 7)
    assert once.dtype == X.dtype
    assert_same_bits(once[:, :3], np.tile([1, 2, 0], (4, 1)))
    assert_same_bits(model.sample(4, prefix=np.tile([1, 2, 0], (4, 1)), random_state=0), once)
    assert_same_bits(model.sample(4, prefix=[], random_state=0), model.sample(4, random_state=0))
    assert model.sample(2, prefix=X[0], random_state=0).shape == (2, 8)
    assert [len(each) for each in model.sample(2, prefix=[X[0], X[1, :2]], max_length=3)] == [10, 5]
    model = fit(make(cell), X, context=context)
    own = {"context": context[:4], "random_state": 0}
    assert_same_bits(
        model.sample(4, prefix=[1, 2], **own), model.sample(4, prefix=[[1, 2]] * 4, **own)
    )


@pytest.mark.parametrize(
    ("prefix", "message"),
    [
        ([np.array([1]), np.array([1, 2])], "one for each of 3 samples"),
        (np.zeros((4, 2), int), "of 1 values a step"),
        (np.array([0, 7]), r"prefix must hold one of the levels .* Got 7 in step 1"),
    ],
)
def test_beginnings_that_do_not_fit_are_refused(prefix, message):
    with pytest.raises(ValueError, match=message):
        fit(make(distribution=Categorical("error")), sequences()).sample(3, prefix=prefix)


# ---- conditionals


def log_density(said, values):
    """Return log p of values (l,) or (l, F) by what `conditionals` says of them."""
    if isinstance(said, dict):
        return norm.logpdf(values, said["mean"], np.sqrt(said["variance"]))
    if said.ndim == values.ndim:
        return np.log(np.where(values == 1, said, 1 - said))
    return np.log(np.take_along_axis(said, values[..., None], axis=-1)[..., 0])


@every_kind
@pytest.mark.parametrize("ends", [True, False])
def test_conditionals_give_the_scores(kind, ends):
    X = DATA[kind]()
    model = fit(make(dtype="float64", end_symbol=ends), X)
    for x, said, by_step in zip(X, model.conditionals(X), model.score_features(X), strict=True):
        expected = np.zeros(len(by_step))
        if ends:
            end, said = said["end"], said["values"]
            assert end.shape == (len(x) + 1,)
            expected = np.log(np.append(1 - end[:-1], end[-1]))
            said = {k: v[:-1] for k, v in said.items()} if kind == "real" else said[:-1]
        found = log_density(said, x).reshape(len(x), -1).sum(axis=1)
        expected[: len(x)] += found
        np.testing.assert_allclose(by_step, expected, rtol=1e-6, atol=1e-7)


def test_conditionals_of_arrays_are_arrays():
    X = np.random.default_rng(0).integers(0, 3, (20, 5))
    model = fit(make(dtype="float64", distribution=Categorical("error")), X)
    said = model.conditionals(X)
    assert said.shape == (20, 5, 3)
    np.testing.assert_allclose(said.sum(axis=2), 1)
    np.testing.assert_allclose(log_density(said, X), model.score_features(X), rtol=1e-9)
    assert [each.shape for each in model.conditionals([X[0], X[1, :2]])] == [(5, 3), (2, 3)]


@pytest.mark.parametrize("ends", [True, False])
def test_values_with_conditionals_of_their_own_are_told_by_place(ends):
    rng = np.random.default_rng(0)
    X = [np.column_stack([rng.normal(size=k), rng.integers(0, 4, k)]) for k in (3, 5, 2)] * 9
    settings = {"distribution": ["gaussian", "categorical"], "end_symbol": ends}
    model = fit(make(dtype="float64", **settings), X)
    said = model.conditionals(X)[1]
    said = said["values"] if ends else said
    assert sorted(said) == [0, 1]
    assert said[0]["mean"].shape == (5 + ends,)
    assert said[1].shape == (5 + ends, 4)
