"""Sequences that others hold in parts: a fit depends on the shards alone."""

from itertools import pairwise

import numpy as np
import pytest
from local_parts import LocalParts
from streamed import assert_same_fit

from fastar import GenerativeRNN, load
from fastar.callbacks import Checkpoint
from fastar.conditionals import GaussianMixture
from fastar.models import _sequences_in_parts

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def rnn(**how):
    settings = {"n_hidden": 6, "max_iter": 2, "batch_size": 32, "random_state": 0}
    settings["learning_rate"] = "constant"
    return GenerativeRNN(**settings | how)


def levels(rng, n):
    return rng.integers(0, 4, n)


def frames(rng, n):
    return np.column_stack([rng.normal(size=n), rng.normal(size=n)]).astype(np.float32)


KINDS = {
    "levels": (levels, {}),
    "frames": (frames, {"distribution": GaussianMixture(2)}),
    "nade frames": (lambda rng, n: rng.integers(0, 2, (n, 3)), {"frame": "nade"}),
    "without an end": (levels, {"end_symbol": False}),
    "large": (lambda rng, n: 2**60 + rng.integers(0, 3, n), {}),
}


def drawn(kind, n=120, seed=0):
    rng = np.random.default_rng(seed)
    make, _ = KINDS[kind]
    return [make(rng, rng.integers(1, 9)) for _ in range(n)]


def parted(X, cuts=(), n_shards=8):
    ends = [0, *cuts, len(X)]
    return LocalParts.of([X[a:b] for a, b in pairwise(ends)], n_shards)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sampled", [1 << 21, 40])
def test_a_fit_does_not_depend_on_the_partitions(kind, sampled, monkeypatch):
    monkeypatch.setattr(_sequences_in_parts, "SAMPLE_VALUES", sampled)
    X, (_, how) = drawn(kind), KINDS[kind]
    fitted = rnn(**how).fit(parted(X))
    for cuts in ([1, 1, 7], [60], [119]):
        assert_same_fit(rnn(**how).fit(parted(X, cuts)), fitted)
    assert np.isfinite(fitted.score_samples(X)).all()
    assert type(fitted.sample(2, random_state=0)) is list


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_of_all_sequences_is_that_of_memory(kind):
    X, (_, how) = drawn(kind), KINDS[kind]
    how = {**how, "batch_size": len(X), "early_stopping": False, "solver": "sgd", "max_iter": 3}
    whole = rnn(**how, dtype="float64").fit(X)
    for n_shards in (1, 8):
        found = rnn(**how, dtype="float64").fit(parted(X, [50], n_shards))
        np.testing.assert_allclose(found.theta_, whole.theta_, rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(found.loss_curve_, whole.loss_curve_, rtol=1e-10)
        assert found._container == whole._container


def test_sequences_for_early_stopping():
    X, held = drawn("levels"), drawn("levels", 40, seed=1)
    parts = rnn().fit(parted(X), X_val=parted(held, [13]))
    memory = rnn().fit(parted(X), X_val=held)
    assert len(parts.validation_curve_) == 2
    np.testing.assert_array_equal(parts.theta_, memory.theta_)
    np.testing.assert_allclose(parts.validation_curve_, memory.validation_curve_, rtol=1e-6)


def test_levels_that_no_sampled_sequence_has_are_learnt(monkeypatch):
    monkeypatch.setattr(_sequences_in_parts, "SAMPLE_VALUES", 30)
    X = drawn("levels")
    X[77] = np.array([3, 9, 1])
    model = rnn().fit(parted(X, [50]))
    assert np.isfinite(model.score_samples([[9, 9]])).all()


def test_checkpoints_files_and_warm_starts(tmp_path):
    X = drawn("levels")
    whole = rnn(max_iter=4).fit(parted(X))
    for n_epochs in (2, 4):
        model = rnn(max_iter=n_epochs, callbacks=Checkpoint(str(tmp_path / "c")))
        model.fit(parted(X, [30]))
    assert_same_fit(model, whole)
    with pytest.raises(ValueError, match=r"is of another fit: it has other .*data"):
        rnn(max_iter=5, callbacks=Checkpoint(str(tmp_path / "c"))).fit(parted(X[1:]))
    model.save(tmp_path / "m.fastar")
    read = load(tmp_path / "m.fastar")
    np.testing.assert_array_equal(read.score_samples(X), model.score_samples(X))
    warm = rnn(warm_start=True, early_stopping=False)
    before = warm.fit(parted(X)).theta_.copy()
    assert not np.array_equal(warm.fit(parted(X, [9])).theta_, before)


def test_errors_name_the_sequence_among_all():
    X = [np.array([0, 1]), np.array([1, 1, 0]), np.array([0.0, np.nan])]
    with pytest.raises(ValueError, match=r"X\[2\] must be finite"):
        rnn().fit(parted(X, [1]))
    X = [each % 2 for each in drawn("levels")]
    model = rnn(distribution="bernoulli", warm_start=True).fit(parted(X))
    X[100] = np.array([0, 17])
    for ask in (model.fit, rnn(distribution="bernoulli").fit):
        with pytest.raises(ValueError, match=r"Got 17 in step 1 of sequence 100"):
            ask(parted(X, [60]))
    with pytest.raises(ValueError, match=r"same number of values a step. Got \[1, 2\]"):
        rnn().fit(parted([np.zeros(3), np.zeros((3, 2))], [1]))
    with pytest.raises(ValueError, match=r"at least one sequence. Got none"):
        rnn().fit(parted([]))
    with pytest.raises(ValueError, match=r"one step or more. Got an empty one"):
        rnn(end_symbol=False).fit(parted([np.zeros(3, int), np.zeros(0, int)]))
    with pytest.raises(ValueError, match="context must be None for sequences that others hold"):
        rnn().fit(parted(X), context=np.ones((len(X), 1)))


def test_few_sequences_leave_shards_empty():
    X = drawn("levels", 3)
    fitted = rnn(early_stopping=False).fit(parted(X, n_shards=16))
    assert np.isfinite(fitted.score_samples(X)).all()
