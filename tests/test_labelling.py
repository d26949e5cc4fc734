"""Labels of the steps of sequences."""

import pickle

import numpy as np
import pytest
from common import assert_same_bits, assert_slopes, fit
from recurrent_models import CELLS, every_cell, every_depth, textbook, unconverged
from scipy.special import log_softmax
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import fastar
from fastar import SequenceLabeller
from fastar._data.sequences import Sequences
from fastar.conditionals import Categorical

pytestmark = pytest.mark.kernels


def make(cell="gru", **settings):
    small = {"n_hidden": 7, "max_iter": 5, "learning_rate_init": 0.02}
    return SequenceLabeller(cell=cell, **small | {"random_state": 0, "n_jobs": 1} | settings)


def bits(rng, length):
    return rng.integers(0, 2, length).astype(np.uint8)


def levels(rng, length):
    return rng.integers(5, 9, length)


def reals(rng, length):
    return 100 + 10 * rng.standard_normal((length, 2))


def mixed(rng, length):
    return np.column_stack([rng.standard_normal(length), rng.integers(0, 3, length)])


DATA = {"bits": bits, "levels": levels, "real": reals, "mixed": mixed}
INPUTS = {"mixed": ["gaussian", "categorical"]}
every_kind = pytest.mark.parametrize("kind", DATA)


def labelled(kind="levels", n=40, K=3, seed=0):
    """Return sequences of 1 to 8 steps, and labels of K kinds that depend on all steps so far."""
    rng = np.random.default_rng(seed)
    X = [DATA[kind](rng, length) for length in rng.integers(1, 9, n)]
    y = [(np.cumsum(np.reshape(x, (len(x), -1))[:, 0]) / 2).astype(int) % K for x in X]
    return X, y


def composed(cell, layers, kind, K=3):
    """Return a labeller whose parameters are away from their start, and the steps of its data."""
    X, y = labelled(kind, K=K)
    inputs = INPUTS.get(kind, "auto")
    labeller = make(cell, n_layers=layers, dtype="float64", max_iter=1, inputs=inputs)
    labeller = fit(labeller, X, y=y)
    labeller.theta_ += 0.3 * np.random.default_rng(1).standard_normal(labeller.theta_.size)
    return labeller, X[:9], y[:9]


NOT_OURS = {
    "check_sample_weight_equivalence_on_dense_data": "training is by random minibatches",
}


@unconverged
@parametrize_with_checks(
    [make(cell, max_iter=40) for cell in CELLS], expected_failed_checks=lambda _: NOT_OURS
)
def test_scikit_learns_own_checks_pass(estimator, check):
    check(estimator)


@every_kind
@every_depth
@every_cell
def test_probabilities_are_the_textbooks(cell, layers, kind):
    K = 2 if kind == "bits" else 3
    labeller, X, _ = composed(cell, layers, kind, K)
    for x, found in zip(X, labeller.predict_log_proba(X), strict=True):
        x = x.reshape(len(x), -1)
        codes = labeller.inputs_.encode(x, np.dtype("float64"))
        # the state after the last step is that before one more
        longer = np.concatenate([codes, codes[-1:]])
        raw = textbook(labeller.network_, labeller.params_, longer)[1:]
        logits = np.column_stack([np.zeros(len(x)), raw]) if K == 2 else raw
        np.testing.assert_allclose(found, log_softmax(logits, axis=1), rtol=1e-9, atol=1e-10)


@every_kind
@every_depth
@every_cell
def test_the_gradient_is_finite_differences(cell, layers, kind):
    labeller, X, y = composed(cell, layers, kind)
    model, rng = labeller._model(), np.random.default_rng(0)
    sequences, _ = labeller._sequences(X, reset=False)
    table = labeller._labelled(sequences, np.concatenate(y), False, "y")
    steps = model.codes(table.take(slice(None)))
    scale = rng.uniform(-1, 1, len(X))
    raw, cache = model.network.forward(model.params, steps, 2, rng=rng)
    total, graw = model.conditional.gradient(raw, steps, scale, 1)
    log_p = zip(labeller.predict_log_proba(X), y, strict=True)
    expected = [p[np.arange(len(of)), np.searchsorted([0, 1, 2], of)].sum() for p, of in log_p]
    np.testing.assert_allclose(total, expected, rtol=1e-9)
    gradient = np.full_like(model.theta, np.nan)
    model.network.backward(model.params, cache, graw, model.layout.views(gradient), 2)

    def loss():
        raw, _ = model.network.forward(model.params, steps, 1)
        return float((scale * model.conditional.log_prob(raw, steps, 1)[1]).sum())

    assert_slopes(model, gradient, loss, rng)


@every_kind
@every_depth
@every_cell
def test_bits_depend_on_no_later_step_nor_other_sequence_nor_threads(cell, layers, kind):
    labeller, X, _ = composed(cell, layers, kind)
    found = labeller.predict_log_proba(X)
    for x, log_p in zip(X, found, strict=True):
        assert_same_bits(labeller.predict_log_proba([x])[0], log_p)
        changed = np.concatenate([x[: len(x) // 2], x[len(x) // 2 :][::-1]])
        earlier = labeller.predict_log_proba([changed])[0][: len(x) // 2]
        assert_same_bits(earlier, log_p[: len(x) // 2])
    labeller.set_params(n_jobs=3)
    for log_p, again in zip(found, labeller.predict_log_proba(X), strict=True):
        assert_same_bits(again, log_p)


@every_cell
def test_training_has_the_same_bits_on_any_threads(cell):
    X, y = labelled()
    thetas = [fit(make(cell, n_hidden=40, n_jobs=n), X, y=y).theta_ for n in (1, 2, 3)]
    assert_same_bits(thetas[0], thetas[1])
    assert_same_bits(thetas[0], thetas[2])


# ---- what is learnt

LEARNER = {"n_hidden": 24, "learning_rate_init": 0.02, "learning_rate": "linear", "max_iter": 30}


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_parity_of_the_bits_so_far_is_learnt(cell):
    rng = np.random.default_rng(0)
    X = [bits(rng, length) for length in rng.integers(1, 16, 1200)]
    y = [np.array(["even", "odd"])[np.cumsum(x) % 2] for x in X]
    labeller = fit(make(cell, **LEARNER | {"max_iter": 60}), X[:1000], y=y[:1000])
    assert labeller.classes_.tolist() == ["even", "odd"]
    assert labeller.score(X[1000:], y[1000:]) > 0.99
    assert labeller.predict(X[1000:])[3].dtype == y[0].dtype


@every_cell
def test_the_level_two_steps_before_is_learnt(cell):
    X = np.random.default_rng(0).integers(0, 4, (900, 12))
    y = np.concatenate([np.full((900, 2), 9), X[:, :-2]], axis=1)
    labeller = fit(make(cell, **LEARNER), X[:700], y=y[:700])
    assert labeller.predict(X[700:]).shape == (200, 12)
    assert labeller.score(X[700:], y[700:]) > 0.99


def test_one_label_a_sequence_is_that_of_its_last_step():
    rng = np.random.default_rng(0)
    X = [levels(rng, length) for length in rng.integers(2, 9, 900)]
    y = np.array([x[0] for x in X]).astype(str)  # what came first
    labeller = fit(make(**LEARNER), X[:700], y=y[:700])
    assert labeller.predict_proba(X[700:]).shape == (200, 4)
    assert labeller.score(X[700:], y[700:]) > 0.99
    with pytest.raises(ValueError, match="a label for each sequence"):
        labeller.set_params(warm_start=True).fit(X[:2], [np.array(["5"] * len(x)) for x in X[:2]])


def test_weights_of_sequences_count():
    rng = np.random.default_rng(0)
    X = [bits(rng, 6) for _ in range(300)]
    y = [x if i % 2 else 1 - x for i, x in enumerate(X)]
    weight = np.where(np.arange(300) % 2, 1.0, 0.1)
    labeller = fit(make(max_iter=30), X, y=y, sample_weight=weight)
    assert labeller.score(X, y) == pytest.approx(0.5, abs=0.01)
    assert labeller.score(X, y, sample_weight=weight) > 0.9


# ---- data and labels of every form


def test_lists_arrays_and_offsets_are_the_same():
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 3, (30, 6)), rng.integers(0, 3, (30, 6))
    labeller = fit(make(), X, y=y)
    flat = Sequences(X.ravel(), np.arange(31) * 6)
    p = labeller.predict_proba(X)
    assert p.shape == (30, 6, 3)
    np.testing.assert_allclose(p.sum(axis=2), 1, rtol=1e-12)
    for form, labels in [([*X], [*y]), (flat, y.tolist()), (X[:, :, None], y)]:
        same = fit(make(), form, y=labels)
        assert_same_bits(same.theta_, labeller.theta_)
        assert_same_bits(np.array(same.predict_proba(form)), p)
        assert_same_bits(np.array(same.predict_proba(X[:, :4])), p[:, :4])
    assert isinstance(labeller.predict(flat), list)


@unconverged
def test_labels_that_come_later_may_be_named_at_first():
    X, y = labelled(K=3)
    labeller = make().partial_fit(X[:2], [each * 0 for each in y[:2]], classes=[2, 1, 0])
    labeller.partial_fit(X, y)
    assert labeller.classes_.tolist() == [0, 1, 2]
    before = labeller.theta_.copy()
    assert (labeller.set_params(warm_start=True).fit(X, y, X_val=X, y_val=y).theta_ != before).any()
    with pytest.raises(ValueError, match=r"classes must stay \[0, 1, 2\]"):
        labeller.partial_fit(X, y, classes=[0, 1])


@every_cell
def test_streams_in_chunks_are_the_whole(cell):
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 3, (5, 23)), rng.integers(0, 3, (5, 23))
    labeller = fit(make(cell, n_hidden=6, n_layers=2), X, y=y)
    state, found = None, []
    for chunk in np.split(X, [1, 9, 9, 10], axis=1):
        log_p, state = labeller.predict_log_proba_stream(chunk, state)
        found.append(log_p)
    assert_same_bits(np.concatenate(found, axis=1), labeller.predict_log_proba(X))
    assert_same_bits(labeller.predict_stream(X)[0], labeller.predict(X))


@pytest.mark.parametrize("kind", ["levels", "mixed"])
@pytest.mark.parametrize("names", [["a", "b", "c"], [1.0, 2.0, 4.0], [False, True, True]])
def test_files_pickles_and_clones_keep_everything(kind, names, tmp_path):
    X, y = labelled(kind)
    y = [np.array(names)[each] for each in y]
    inputs = INPUTS.get(kind, "auto")
    labeller = fit(make(n_layers=2, inputs=inputs, bptt=3), X, y=y.copy())
    labeller.save(tmp_path / "labeller.fastar")
    again = fastar.load(tmp_path / "labeller.fastar")
    for other in (again, pickle.loads(pickle.dumps(labeller)), fit(clone(labeller), X, y=y)):
        assert_same_bits(other.classes_, labeller.classes_)
        for one, expected in zip(other.predict_proba(X), labeller.predict_proba(X), strict=True):
            assert_same_bits(one, expected)
        for one, expected in zip(other.predict(X), labeller.predict(X), strict=True):
            assert_same_bits(one, expected)
    np.testing.assert_equal(again.get_params(), labeller.get_params())


def test_it_ends_a_pipeline():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 5)).cumsum(axis=1)
    y = np.where(X > 0, "up", "down")
    pipeline = fit(make_pipeline(StandardScaler(), make(max_iter=30)), X, y=y)
    assert pipeline.predict(X).shape == (60, 5)
    assert pipeline.score(X, y) > 0.8


# ---- what is refused


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        ([[1, 2], [1]], [[0, 1], [0, 1]], "Got 2 for the 1 steps of sequence 1"),
        ([[1, 2], [1]], [[0, 1]], "an entry for each of 2 sequences"),
        ([[1, 2], [1]], [[0, 1], 0], "Got entries with"),
        ([[1, 2], [1]], np.zeros((2, 2, 1)), "Got entries with"),
        ([[1, 2], [1]], 3, "an entry for each of 2 sequences"),
        ([[1, 2], []], [[0, 1], []], "Got none in sequence 1"),
        ([[1, 2], [1]], [[0.1, 1.7], [2.5]], "Unknown label type"),
        ([[1, 2], [1]], [[0, np.nan], [1]], "y.* must have a label everywhere"),
    ],
)
def test_labels_that_do_not_fit_are_refused(X, y, message):
    with pytest.raises(ValueError, match=message):
        make().fit([np.array(x) for x in X], y)


def test_what_was_not_seen_in_fit_is_named():
    X, y = labelled()
    labeller = fit(make(inputs=Categorical("error")), X, y=y)
    before = labeller.theta_.copy()
    with pytest.raises(ValueError, match=r"Got 4 in step 1 of sequence 1"):
        labeller.predict([np.array([5]), np.array([6, 4])])
    with pytest.raises(ValueError, match=r"labels that are known: \[0, 1, 2\]. Got .*7"):
        labeller.partial_fit(X[:1], [np.full(len(X[0]), 7)])
    with pytest.raises(ValueError, match="1 values a step"):
        labeller.predict([np.zeros((2, 2), int)])
    with pytest.raises(ValueError, match="X_val and y_val"):
        labeller.fit(X, y, X_val=X)
    with pytest.raises(ValueError, match="list as 'inputs' must have an entry for each of 1 col"):
        labeller.set_params(inputs=["gaussian", "gaussian"]).fit(X, y)
    assert_same_bits(labeller.theta_, before)
