"""Frames whose values follow one another in a NADE: RNN-NADE."""

import itertools
import pickle

import numpy as np
import pytest
from common import assert_same_bits, assert_slopes, fit
from recurrent_models import every_cell, frames, make, sigmoid, unconverged
from reference import by_feature, entered
from sklearn.utils.estimator_checks import parametrize_with_checks

import fastar

pytestmark = pytest.mark.kernels

every_depth = pytest.mark.parametrize("n_layers", [1, 2])


def framed(cell="gru", X=None, **settings):
    """Return a fitted model far from its start."""
    small = {"frame": "nade", "n_frame_hidden": 5, "dtype": "float64", "max_iter": 2}
    model = fit(make(cell, **small | settings), frames(F=3) if X is None else X)
    model.theta_ += 0.4 * np.random.default_rng(1).standard_normal(model.theta_.size)
    return model


def rows(X):
    """Return (n, T, F) as a list of sequences."""
    return [*np.asarray(X)]


@unconverged
@parametrize_with_checks([make("gru", frame="nade", n_frame_hidden=5)])
def test_scikit_learns_own_checks_pass(estimator, check):
    check(estimator)


def nade(network, p, u, codes):
    """Return raw (sum of P,) of one frame, codes (F,)."""
    ends = network.output_offsets[1:]
    V = by_feature(p["V"], ends - ends[0])
    before = network.inputs.at(np.arange(len(codes) - 1))
    a = p["c"] + u @ p["U"]
    raw = np.split(p["b"].ravel() + u @ p["B"].reshape(len(u), -1), ends[:-1])
    for f in range(1, len(codes)):
        a = a + entered(before, p["W"], f - 1, codes[f - 1])
        raw[f] += V[f - 1] @ sigmoid(a)
    return np.concatenate(raw)


def textbook(network, p, steps):
    """Return raw (l, sum of P) of the steps (l, F) of one sequence, of tanh cells."""
    out, h = [], [np.zeros(H) for H in network.hidden_layer_sizes]
    for codes in steps:
        out.append(nade(network, p, h[-1], codes))
        x = sum(entered(network.inputs, p["W_xh0"], f, code) for f, code in enumerate(codes))
        for layer in range(len(h)):
            x = h[layer - 1] @ p[f"W_xh{layer}"] if layer else x
            h[layer] = np.tanh(x + p[f"c{layer}"] + h[layer] @ p[f"W_hh{layer}"])
    return np.array(out)


@every_depth
def test_outputs_are_the_textbooks(n_layers):
    model = framed("tanh", n_layers=n_layers)
    X = frames(F=3, seed=3)[:5]
    steps = model._model().codes(model._table(X).take(slice(None)))
    raw, _ = model.network_.forward(model.params_, steps, 1)
    for sequence in range(5):
        mine = steps.sequence == sequence
        expected = textbook(model.network_, model.params_, steps.codes[mine])
        np.testing.assert_allclose(raw[mine], expected, rtol=1e-9)


@every_depth
@every_cell
def test_the_gradient_is_finite_differences(cell, n_layers):
    estimator = framed(cell, n_layers=n_layers)
    model, rng = estimator._model(), np.random.default_rng(0)
    steps = model.codes(estimator._table(frames(F=3)[:9]).take(slice(None)))
    scale = rng.uniform(-1, 1, 9)

    def loss():
        raw, _ = model.network.forward(model.params, steps, 1)
        return (scale * model.conditional.log_prob(raw, steps, 1)[1]).sum()

    raw, cache = model.network.forward(model.params, steps, 1, rng=rng)
    _, graw = model.conditional.gradient(raw, steps, scale, 1)
    gradient = np.nan * model.theta
    model.network.backward(model.params, cache, graw, model.layout.views(gradient), 1)
    assert_slopes(model, gradient, loss, rng)


@every_cell
@pytest.mark.parametrize("frame", ["nade", "independent"])
def test_the_gradient_of_what_dropout_leaves_is_finite_differences(cell, frame):
    estimator = framed(cell, frame=frame, n_layers=2, dropout=0.4)
    model = estimator._model()
    steps = model.codes(estimator._table(frames(F=3)[:9]).take(slice(None)))
    scale = np.random.default_rng(0).uniform(-1, 1, 9)

    def training():
        # the same units are hidden each time
        return model.network.forward(model.params, steps, 1, rng=np.random.default_rng(3))

    raw, cache = training()
    hidden = [np.mean(layer.mask == 0) for layer in cache.layers]
    assert all(0.3 < share < 0.5 for share in hidden)
    assert (raw != model.network.forward(model.params, steps, 1)[0]).any()
    _, graw = model.conditional.gradient(raw, steps, scale, 1)
    gradient = np.nan * model.theta
    model.network.backward(model.params, cache, graw, model.layout.views(gradient), 1)

    def loss():
        return (scale * model.conditional.log_prob(training()[0], steps, 1)[1]).sum()

    assert_slopes(model, gradient, loss, np.random.default_rng(0), 4)


@every_cell
def test_all_sequences_have_probability_one(cell):
    states = np.array(list(itertools.product([0, 1], repeat=6))).reshape(-1, 2, 3)
    array = framed(cell, end_symbol=False)
    assert np.exp(array.score_samples(rows(states))).sum() == pytest.approx(1, abs=1e-9)
    model = framed(cell)
    total = sum(
        np.exp(model.score_samples(rows(s))).sum() for s in (np.zeros((1, 0, 3)), states[:8, 1:])
    )
    by_step = model.score_features(rows(states))
    goes_on = sum(np.exp(each[:-1].sum()) for each in by_step)
    ends_at_one = np.exp(model.score_samples(rows(states[:8, 1:]))).sum()
    nothing = np.exp(model.score_samples(rows(np.zeros((1, 0, 3))))).sum()
    assert nothing + ends_at_one + goes_on == pytest.approx(1, abs=1e-9)
    assert total == pytest.approx(nothing + ends_at_one)


@every_cell
def test_contexts_reach_every_frame(cell):
    """The first one, whose state is zero, too."""
    X, context = frames(40, F=3), np.random.default_rng(4).normal(size=(40, 2))
    model = fit(make(cell, frame="nade", n_frame_hidden=5, dtype="float64", max_iter=2, n_layers=2),
                X, context=context)  # fmt: skip
    model.theta_ += 0.4 * np.random.default_rng(1).standard_normal(model.theta_.size)
    composition, rng = model._model(), np.random.default_rng(0)
    steps = composition.codes(model._table(X[:9], context[:9]).take(slice(None)))
    own, network = np.ascontiguousarray(context[:9]), composition.network
    scale = rng.uniform(-1, 1, 9)

    def loss():
        raw, _ = network.forward(composition.params, steps, 1, context=own)
        return (scale * composition.conditional.log_prob(raw, steps, 1)[1]).sum()

    raw, cache = network.forward(composition.params, steps, 1, context=own, rng=rng)
    _, graw = composition.conditional.gradient(raw, steps, scale, 1)
    gradient = np.nan * composition.theta
    network.backward(composition.params, cache, graw, composition.layout.views(gradient), 1)
    assert_slopes(composition, gradient, loss, rng, 4)
    first = [model.score_features(X[:1], context=context[i : i + 1])[0][0] for i in (0, 1)]
    assert first[0] != first[1]
    n = 6000
    drawn = model.sample(n, context=np.repeat(context[:1], n, axis=0), random_state=0)
    states = np.array(list(itertools.product([0, 1], repeat=3)))
    p = [np.exp(model.score_features([each[None]], context=context[:1])[0][0]) for each in states]
    begun = np.array([each[0] for each in drawn if len(each)]) @ [4, 2, 1]
    np.testing.assert_allclose(np.bincount(begun, minlength=8) / n, p, atol=0.03)


@every_cell
def test_values_of_a_frame_depend_on_one_another(cell):
    bit = np.random.default_rng(0).integers(0, 2, (300, 4, 1))
    X = rows(np.concatenate([bit, bit, 1 - bit], axis=2))
    settings = {"max_iter": 40, "n_hidden": 8, "end_symbol": False, "learning_rate_init": 0.05}
    dependent = fit(make(cell, frame="nade", n_frame_hidden=8, **settings), X)
    independent = fit(make(cell, **settings), X)
    assert dependent.score(X) > 4 * np.log(0.5) - 0.4
    assert independent.score(X) < 3 * 4 * np.log(0.5) + 0.2


@every_cell
def test_mixed_lengths_are_one_by_one_bit_for_bit_on_any_threads(cell):
    model, X = framed(cell), frames(F=3)
    scores = model.score_samples(X)
    for n_jobs in (2, 3):
        model.n_jobs = n_jobs
        assert_same_bits(model.score_samples(X), scores)
        assert_same_bits(np.concatenate([model.score_samples([each]) for each in X]), scores)
    thetas = [framed(cell, n_hidden=30, n_jobs=n_jobs).theta_ for n_jobs in (1, 2, 5)]
    assert_same_bits(thetas[1], thetas[0])
    assert_same_bits(thetas[2], thetas[0])


@every_cell
def test_streams_in_chunks_are_the_whole(cell):
    X = np.random.default_rng(0).integers(0, 2, (5, 17, 3))
    model = framed(cell, rows(X), end_symbol=False, n_layers=2)
    state, found = None, []
    for chunk in np.split(X, [1, 8, 9], axis=1):
        scores, state = model.score_stream(chunk, state)
        found.append(scores)
    whole = np.array(model.score_features(rows(X)))
    assert_same_bits(np.concatenate(found, axis=1), whole)


@every_depth
@every_cell
def test_samples_have_the_models_own_probabilities(cell, n_layers):
    from scipy import stats

    model, n = framed(cell, end_symbol=False, n_layers=n_layers), 8000
    drawn = np.array(model.sample(n, max_length=2, random_state=0)).reshape(n, 6)
    states = np.array(list(itertools.product([0, 1], repeat=6)))
    p = np.exp(model.score_samples(rows(states.reshape(-1, 2, 3))))
    observed = np.bincount(drawn @ 2 ** np.arange(6)[::-1], minlength=64)
    often = n * p > 5
    observed = np.append(observed[often], observed[~often].sum())
    expected = n * np.append(p[often], p[~often].sum() + 1e-12)
    assert stats.chisquare(observed, expected * n / expected.sum()).pvalue > 1e-4


def test_ends_are_drawn():
    model = framed()
    drawn = model.sample(200, random_state=0)
    assert {each.shape[1] for each in drawn} == {3}
    assert 0 < np.mean([len(each) for each in drawn]) < 8
    assert np.isfinite(model.score_samples(drawn)).all()


def test_values_may_be_real():
    rng = np.random.default_rng(0)
    X = [rng.normal(size=(length, 2)) for length in rng.integers(2, 6, 40)]
    model = framed(X=X)
    drawn = model.sample(5, random_state=0)
    assert np.isfinite(model.score_samples(drawn)).all()


@every_cell
def test_files_and_pickles_keep_everything(cell, tmp_path):
    model, X = framed(cell, n_layers=2, bptt=3), frames(F=3)
    model.save(tmp_path / "model.fastar")
    for again in (fastar.load(tmp_path / "model.fastar"), pickle.loads(pickle.dumps(model))):
        assert_same_bits(again.score_samples(X), model.score_samples(X))
        mine, kept = model.sample(3, random_state=0), again.sample(3, random_state=0)
        for one, other in zip(mine, kept, strict=True):
            assert_same_bits(other, one)
