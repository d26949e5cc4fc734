"""Training on rows in shards: what it depends on, without a cluster."""

import pickle

import numpy as np
import pandas as pd
import pytest
from common import assert_same_fit
from local_parts import LocalParts
from streamed import uneven_frame

from fastar import MADE, NADE, DeepNADE
from fastar._data.parts import merge_siblings
from fastar._engine.sharded import Place
from fastar.callbacks import Callback, Checkpoint

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def binary(n=500, D=5, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.random((n, 1)) < rng.random((2, D))[rng.integers(2, size=n)]).astype(np.uint8)


def nade(**how):
    return NADE(**{"n_hidden": 6, "max_iter": 3, "batch_size": 64, "random_state": 0, **how})


MODELS = {
    "nade": nade,
    "made": lambda: MADE(
        hidden_layer_sizes=(8,), n_masks=2, dropout=0.2, max_iter=3, batch_size=64, random_state=0
    ),
    "deep nade": lambda: DeepNADE(
        hidden_layer_sizes=(8,), max_iter=2, batch_size=64, order="random", random_state=0
    ),
}


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 13])
def test_what_is_merged_with_what_depends_on_the_number_of_parts_alone(n):
    def merge(one, other):
        return f"({one}{other})"

    leaves = {(0, k): chr(97 + k) for k in range(n)}
    whole = merge_siblings(leaves, n, merge)
    assert len(whole) == 1
    rng = np.random.default_rng(0)
    for _ in range(10):
        holder = rng.integers(3, size=n)
        found = {}
        for each in range(3):
            mine = {node: leaf for node, leaf in leaves.items() if holder[node[1]] == each}
            found |= merge_siblings(mine, n, merge)
        assert merge_siblings(found, n, merge) == whole


@pytest.mark.parametrize("model", MODELS)
def test_a_fit_does_not_depend_on_the_partitions(model):
    X = binary()
    fitted = MODELS[model]().fit(LocalParts.of([X]))
    for cuts in ([], [1, 7], [0, 100, 100, 499, 500]):
        assert_same_fit(MODELS[model]().fit(LocalParts.of(np.split(X, cuts))), fitted)


def test_a_frame_may_be_cut_anywhere_and_its_columns_be_in_any_order():
    frame = uneven_frame(300)
    fitted = nade(max_iter=1).fit(LocalParts.of([frame]))
    cuts = [frame[:1], frame[1:1], frame[1:200][frame.columns[::-1]], frame[200:]]
    parted = nade(max_iter=1).fit(LocalParts.of(cuts))
    assert_same_fit(parted, fitted)
    assert parted._container == fitted._container


def test_a_step_of_all_rows_is_that_of_a_table_in_memory():
    X = binary()
    how = {"batch_size": len(X), "early_stopping": False, "solver": "sgd", "max_iter": 4}
    how |= {"dtype": "float64"}
    whole = nade(**how).fit(X)
    for n_shards in (1, 3, 8):
        parted = nade(**how).fit(LocalParts.of([X], n_shards))
        np.testing.assert_allclose(parted.theta_, whole.theta_, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(parted.loss_curve_, whole.loss_curve_, rtol=1e-12)


def test_an_epoch_visits_every_row_once():
    X = np.arange(300.0).reshape(-1, 1)
    shards = []

    class Watched(LocalParts):
        def regroup(self, split, join, n):
            parts = super().regroup(split, join, n)
            shards.extend(parts.parts[: self.n_shards])
            return parts

    seen = []

    class See(Callback):
        def on_step_end(self, training):
            step = training.position[0] - 1
            at = Place(training.entropy, training.progress.epoch, step, training.n_batches, 1, 0)
            rows = [shard.table.take(shard.visited(at)).ravel() for shard in shards]
            seen.append(np.concatenate(rows))

    nade(max_iter=1, early_stopping=False, callbacks=See()).fit(Watched([(0, X)]))
    assert len(seen) == 5
    np.testing.assert_array_equal(np.sort(np.concatenate(seen)), X.ravel())
    assert max(map(len, seen)) - min(map(len, seen)) <= 8


def test_rows_for_early_stopping_may_be_in_parts_or_in_memory():
    X, held = binary(), binary(100, seed=1)
    parts = nade().fit(LocalParts.of([X]), X_val=LocalParts.of([held[:30], held[30:]]))
    memory = nade().fit(LocalParts.of([X]), X_val=held)
    np.testing.assert_array_equal(parts.theta_, memory.theta_)
    np.testing.assert_allclose(parts.validation_curve_, memory.validation_curve_, rtol=1e-6)


def test_few_rows_leave_shards_empty():
    X = binary(5)
    fitted = nade(early_stopping=False).fit(LocalParts.of([X], n_shards=16))
    assert np.isfinite(fitted.score_samples(X)).all()


class StoppedError(Exception):
    pass


class Snapshots(Callback):
    """A callback that takes up a state, if any, and keeps the state of some step before it ends."""

    def __init__(self, stop_at=None, state=None):
        self.stop_at, self.state, self.n_steps = stop_at, state, 0

    def on_fit_begin(self, training):
        if self.state is not None:
            header, arrays, training.position = pickle.loads(self.state)
            training.restore(header, arrays)

    def on_step_end(self, training):
        self.n_steps += 1
        if self.n_steps == self.stop_at:
            self.state = pickle.dumps((*training.snapshot(), training.position))
            raise StoppedError


@pytest.mark.parametrize("stop_at", [1, 7, 8, 12])
def test_training_goes_on_from_any_step_with_the_same_bits(stop_at):
    X = binary()
    fitted = nade().fit(LocalParts.of([X]))
    watch = Snapshots(stop_at)
    with pytest.raises(StoppedError):
        nade(callbacks=watch).fit(LocalParts.of([X]))
    resumed = nade(callbacks=Snapshots(state=watch.state)).fit(LocalParts.of([X]))
    assert_same_fit(resumed, fitted)


def test_a_checkpoint_goes_on_and_knows_its_rows(tmp_path):
    X, path = binary(), tmp_path / "state.fastar"
    nade(max_iter=1, learning_rate="constant", callbacks=Checkpoint(path)).fit(LocalParts.of([X]))
    how = {"learning_rate": "constant"}
    resumed = nade(callbacks=Checkpoint(path), **how).fit(LocalParts.of([X[:9], X[9:]]))
    assert_same_fit(resumed, nade(**how).fit(LocalParts.of([X])))
    with pytest.raises(ValueError, match="data"):
        nade(callbacks=Checkpoint(path), **how).fit(LocalParts.of([binary(seed=1)]))


def test_errors_name_the_row_of_the_whole_table():
    frames = [pd.DataFrame({"a": [0.0, 1.0]}), pd.DataFrame({"a": [2.0, np.inf]})]
    with pytest.raises(ValueError, match=r"(?s)column 'a'.*row 3"):
        nade().fit(LocalParts.of(frames))
    frames[1] = pd.DataFrame({"b": [1.0]})
    with pytest.raises(ValueError, match="'a' from row 0 on, but not in every"):
        nade().fit(LocalParts.of(frames))
    with pytest.raises(ValueError, match="X must have rows"):
        nade().fit(LocalParts.of([pd.DataFrame({"a": [1.0]})[:0]]))
