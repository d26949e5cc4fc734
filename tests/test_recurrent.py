"""Recurrent networks and densities of sequences."""

import itertools
import pickle

import numpy as np
import pytest
from common import assert_same_bits, fit
from frequencies import chi_square
from recurrent_models import (
    CELLS,
    DATA,
    every_cell,
    every_depth,
    every_kind,
    make,
    sequences,
    textbook,
    unconverged,
)
from sklearn.utils.estimator_checks import parametrize_with_checks

import fastar
from fastar.conditionals import Categorical
from fastar.models.rnn import Sequences

pytestmark = pytest.mark.kernels


def composed(cell, layers, kind, **settings):
    """Return a model whose parameters are away from their start, and the steps of its data."""
    X = DATA[kind]()
    estimator = fit(make(cell, n_layers=layers, dtype="float64", max_iter=1, **settings), X)
    model = estimator._model()
    model.theta[:] += 0.3 * np.random.default_rng(1).standard_normal(model.theta.size)
    steps = model.codes(estimator._table(X[:9]).take(slice(None)))
    return estimator, model, steps, X[:9]


@unconverged
@parametrize_with_checks([make(cell) for cell in CELLS])
def test_scikit_learns_own_checks_pass(estimator, check):
    check(estimator)


# ---- the network


@every_kind
@every_depth
@every_cell
def test_outputs_are_the_textbooks_one_sequence_at_a_time(cell, layers, kind):
    _, model, steps, _ = composed(cell, layers, kind)
    raw, _ = model.network.forward(model.params, steps, 1)
    for sequence in range(9):
        mine = steps.sequence == sequence
        expected = textbook(model.network, model.params, steps.codes[mine])
        np.testing.assert_allclose(raw[mine], expected, rtol=1e-9, atol=1e-11)


@every_kind
@every_depth
@every_cell
def test_the_gradient_is_finite_differences(cell, layers, kind):
    _, model, steps, _ = composed(cell, layers, kind)
    rng = np.random.default_rng(0)
    scale = rng.uniform(-1, 1, len(steps))
    raw, cache = model.network.forward(model.params, steps, 2, rng=rng)
    _, graw = model.conditional.gradient(raw, steps, scale, 1)
    gradient = np.full_like(model.theta, np.nan)
    model.network.backward(model.params, cache, graw, model.layout.views(gradient), 2)

    def loss():
        raw, _ = model.network.forward(model.params, steps, 1)
        return float((scale * model.conditional.log_prob(raw, steps, 1)[1]).sum())

    start, eps = model.theta.copy(), 1e-6
    for _ in range(5):
        direction = rng.standard_normal(start.size)
        ends = []
        for step in (eps, -eps):
            model.theta[:] = start + step * direction
            ends.append(loss())
        model.theta[:] = start
        np.testing.assert_allclose(
            gradient @ direction, (ends[0] - ends[1]) / (2 * eps), rtol=1e-5, atol=1e-6
        )


@every_cell
def test_truncated_gradients_are_those_of_the_pieces(cell):
    X = np.random.default_rng(0).integers(0, 3, (6, 12))
    estimator = fit(make(cell, bptt=4, dtype="float64", max_iter=1), X)
    model, network = estimator._model(), estimator.network_
    steps = model.codes(estimator._table(X).take(slice(None)))
    raw, cache = network.forward(model.params, steps, 1, rng=np.random.default_rng(0))
    graw = np.random.default_rng(1).standard_normal(raw.shape)
    found, expected = np.zeros_like(model.theta), np.zeros_like(model.theta)
    network.backward(model.params, cache, graw, model.layout.views(found), 1)
    # the same by pieces whose initial states are constants
    state, piece = network.start(6), np.zeros_like(model.theta)
    whole = type(network)(
        network.output_offsets, network.inputs, **network.settings() | {"bptt": None}
    )
    for first in range(0, 12, 4):
        last = min(first + 5, 12)  # outputs at a piece's last state belong to it
        part = estimator._table(np.pad(X[:, first:last], ((0, 0), (0, 12 - last + first))))
        codes = model.codes(part.take(slice(None))).codes[: 6 * (last - first)]
        own = type(steps)(codes, steps.counts[: last - first], steps.sequence[: len(codes)])
        raw, cache = whole.forward(model.params, own, 1, rng=np.random.default_rng(0), state=state)
        g = np.zeros_like(raw)
        begin = 6 if first else 0  # the first output is that of the piece before
        g[begin:] = graw[6 * first + begin : 6 * last]
        whole.backward(model.params, cache, g, model.layout.views(piece), 1)
        expected += piece
        four = type(steps)(codes[:24], steps.counts[:4], steps.sequence[:24])
        _, state = network.step(model.params, four, state, 1)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-10)


@every_kind
@every_depth
@every_cell
def test_mixed_lengths_are_one_by_one_bit_for_bit_on_any_threads(cell, layers, kind):
    estimator, _, _, X = composed(cell, layers, kind)
    scores = estimator.score_samples(X)
    for n_jobs in (2, 5):
        assert_same_bits(estimator.set_params(n_jobs=n_jobs).score_samples(X), scores)
    alone = [estimator.score_samples([each])[0] for each in X]
    assert_same_bits(np.array(alone), scores)
    for total, steps in zip(scores, estimator.score_features(X), strict=True):
        assert steps.sum() == pytest.approx(total, rel=1e-12)


@every_cell
def test_training_has_the_same_bits_on_any_threads(cell):
    X = sequences()
    thetas = [
        fit(make(cell, n_hidden=40, n_layers=2, n_jobs=n_jobs), X).theta_ for n_jobs in (1, 2, 3)
    ]
    assert_same_bits(thetas[0], thetas[1])
    assert_same_bits(thetas[0], thetas[2])


# ---- the density


@every_cell
def test_all_sequences_and_what_goes_on_after_them_have_probability_one(cell):
    settings = {"dtype": "float64", "max_iter": 10, "distribution": Categorical("error")}
    model = fit(make(cell, **settings), sequences())
    short = [np.array(s, int) for k in range(9) for s in itertools.product(range(3), repeat=k)]
    total = np.exp(model.score_samples(short)).sum()
    by_step = model.score_features([each for each in short if len(each) == 8])
    goes_on = sum(np.exp(each[:-1].sum()) * -np.expm1(each[-1]) for each in by_step)
    assert total + goes_on == pytest.approx(1, abs=1e-9)
    assert 0.3 < total < 1


@every_cell
def test_sequences_of_one_length_have_probability_one(cell):
    levels = Categorical("error")
    X = np.random.default_rng(0).integers(0, 3, (50, 4))
    model = fit(make(cell, dtype="float64", distribution=levels), X)
    rows = np.array(list(itertools.product(range(3), repeat=4)))
    assert np.exp(model.score_samples(rows)).sum() == pytest.approx(1, abs=1e-9)


@every_cell
def test_samples_have_the_models_own_probabilities(cell):
    model = fit(make(cell, max_iter=20), sequences(200, longest=4))
    drawn = model.sample(6000, random_state=0)
    assert max(map(len, drawn)) <= 3  # cut at the longest of fit
    short = [np.array(s, int) for k in range(3) for s in itertools.product(range(3), repeat=k)]
    names = {tuple(each): place for place, each in enumerate(short)}
    places = [names.get(tuple(each), len(short)) for each in drawn]
    p = np.exp(model.score_samples(short))
    observed = np.bincount(places, minlength=len(short) + 1)
    assert chi_square(observed, np.append(p, 1 - p.sum())) > 1e-4


@every_cell
def test_streams_in_chunks_are_the_whole(cell):
    X = np.random.default_rng(0).integers(0, 3, (5, 23))
    model = fit(make(cell, n_hidden=6, n_layers=2), X)
    state, found = None, []
    for chunk in np.split(X, [1, 9, 9, 10], axis=1):
        scores, state = model.score_stream(chunk, state)
        found.append(scores)
    assert_same_bits(np.concatenate(found, axis=1), model.score_features(X))
    with pytest.raises(ValueError, match="end_symbol=False"):
        fit(make(cell), sequences()).score_stream(X)


@every_cell
def test_a_markov_chain_is_learnt_to_its_entropy_rate(cell):
    rng = np.random.default_rng(0)
    P = np.array([[0.8, 0.1, 0.1], [0.1, 0.2, 0.7], [0.5, 0.4, 0.1]])
    X = np.zeros((3000, 40), int)
    for t in range(1, 40):
        X[:, t] = (rng.random(3000)[:, None] > np.cumsum(P[X[:, t - 1]], axis=1)).sum(axis=1)
    model = fit(
        make(cell, n_hidden=16, max_iter=12, learning_rate="linear", n_jobs=None),
        X[:2000],
    )
    entropy = -(P * np.log(P)).sum(axis=1)[X[2000:, :-1]].sum(axis=1).mean()
    assert -model.score(X[2000:]) < 1.01 * entropy + 0.05


@every_kind
def test_draws_are_of_the_type_of_the_data(kind):
    X = DATA[kind]()
    model = fit(make(), X)
    drawn = model.sample(5, random_state=0, max_length=30)
    assert all(each.dtype == X[0].dtype and each.shape[1:] == X[0].shape[1:] for each in drawn)
    assert np.isfinite(model.score_samples(drawn)).all()
    array = np.random.default_rng(0).integers(0, 2, (30, 6)).astype(np.uint8)
    rows = fit(make(), array).sample(4, random_state=0)
    assert rows.shape == (4, 6)
    assert rows.dtype == np.uint8


def test_lists_offsets_and_arrays_are_the_same():
    X = sequences()
    model = fit(make(), X)
    flat = Sequences(np.concatenate(X), np.cumsum([0, *map(len, X)]))
    assert_same_bits(model.score_samples(flat), model.score_samples(X))
    assert_same_bits(fit(make(), flat).theta_, model.theta_)
    rows = np.random.default_rng(0).integers(0, 2, (20, 5))
    without = fit(make(end_symbol=False), [*rows])
    assert_same_bits(without.theta_, fit(make(), rows).theta_)
    assert_same_bits(without.score_samples(rows), without.score_samples([*rows]))


def test_weights_count_like_repeated_sequences_in_scores():
    X, weight = sequences(), np.random.default_rng(0).integers(0, 3, 60)
    model = fit(make(), X, sample_weight=weight)
    repeated = [each for each, times in zip(X, weight, strict=True) for _ in range(times)]
    assert model.score(X, sample_weight=weight) == pytest.approx(model.score(repeated))


def test_values_of_a_step_may_have_conditionals_of_their_own():
    rng = np.random.default_rng(0)
    X = [np.column_stack([rng.normal(size=5), rng.integers(0, 4, 5)]) for _ in range(30)]
    model = fit(make(distribution=["gaussian", "categorical"]), X)
    assert [each.name for each in model.distribution_.columns] == [
        "bernoulli", "gaussian", "categorical",
    ]  # fmt: skip
    assert set(np.unique(np.concatenate(model.sample(20, random_state=0))[:, 1])) <= {0, 1, 2, 3}


def test_values_of_a_step_may_have_different_numbers_of_levels():
    rng = np.random.default_rng(0)
    X = [np.column_stack([rng.integers(0, K, 5) for K in (3, 7)]) for _ in range(30)]
    model = fit(make(distribution=Categorical(unknown="error")), X)
    (said,) = model.conditionals(X[:1])
    assert [said["values"][d].shape for d in range(2)] == [(6, 3), (6, 7)]
    np.testing.assert_allclose(said["values"][1].sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("array", [False, True])
@every_cell
def test_files_and_pickles_keep_everything(cell, array, tmp_path):
    X = np.random.default_rng(0).integers(0, 3, (30, 5)) if array else sequences()
    model = fit(make(cell, n_hidden=6, n_layers=2, bptt=3), X)
    model.save(tmp_path / "model.fastar")
    for again in (fastar.load(tmp_path / "model.fastar"), pickle.loads(pickle.dumps(model))):
        assert_same_bits(again.score_samples(X), model.score_samples(X))
        for one, other in zip(
            again.sample(3, random_state=0), model.sample(3, random_state=0), strict=True
        ):
            assert_same_bits(one, other)


@unconverged
def test_training_goes_on():
    X = sequences()
    model = make(warm_start=True).fit(X)
    before = model.theta_.copy()
    assert (model.fit(X).theta_ != before).any()
    chunks = make().partial_fit(X[:30]).partial_fit(X[30:])
    assert np.isfinite(chunks.score(X))


@pytest.mark.parametrize(
    ("X", "message"),
    [
        ([np.zeros((3, 2)), np.zeros((4, 3))], "same number of values a step"),
        ([np.array(["a"]), np.array([1.0])], r"X\[0\] must hold numbers"),
        ([np.array([np.nan]), np.array([1.0, 2.0])], r"X\[0\] must be finite"),
        ("abc", "must hold sequences of numbers"),
    ],
)
def test_what_is_no_sequence_is_refused(X, message):
    with pytest.raises(ValueError, match=message):
        make().fit(X)


def test_values_outside_the_support_are_named():
    model = fit(make(distribution=Categorical("error")), sequences())
    with pytest.raises(ValueError, match=r"Got 9 in step 1 of sequence 1"):
        model.score_samples([np.array([0]), np.array([1, 9, 1])])
    with pytest.raises(ValueError, match="values a step"):
        model.score_samples([np.zeros((2, 2), int)])
    with pytest.raises(ValueError, match="offsets must be whole numbers that rise"):
        Sequences([1, 2, 3], [0, 2])
    with pytest.raises(ValueError, match="Got an empty one"):
        fit(make(end_symbol=False), sequences()).score_samples([np.zeros(0, int), np.array([1])])


@pytest.mark.parametrize(
    "settings", [{"cell": "rnn"}, {"bptt": 0}, {"n_hidden": 0}, {"n_layers": 0}, {"end_symbol": 3}]
)
def test_parameters_that_make_no_sense_are_refused(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        make(**settings).fit(sequences())
