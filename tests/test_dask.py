"""Fits and answers on clusters of Dask."""

import os
import random
import signal
import threading
import time
from typing import ClassVar
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from common import assert_same_fit
from local_parts import LocalParts
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from streamed import uneven_frame

pytest.importorskip("distributed")

import dask
import dask.array as da
import dask.bag as db
import dask.dataframe as dd
import joblib
from distributed import CancelledError, Client, LocalCluster
from sklearn.model_selection import GridSearchCV

import fastar.dask
from fastar import NADE, GenerativeRNN, Mixture
from fastar.callbacks import Callback
from fastar.dask import _fit

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:Running on a single-machine scheduler:UserWarning"),
]

N, D = 400, 4


def binary(n=N, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.random((n, D)) < [0.2, 0.5, 0.7, 0.4]).astype(np.uint8)


def nade(**how):
    return NADE(**{"n_hidden": 4, "max_iter": 2, "batch_size": 100, "random_state": 0, **how})


def clients(n_workers):
    """Yield a client of workers that are threads of this process."""
    how = {"processes": False, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}
    with LocalCluster(n_workers=n_workers, **how) as cluster, Client(cluster) as client:
        yield client


@pytest.fixture(scope="module")
def client():
    yield from clients(2)


@pytest.fixture(scope="module")
def frame():
    return uneven_frame(300).drop(columns=["apart", "huge"])


@pytest.fixture(scope="module")
def fitted_frame(client, frame):
    return fastar.dask.fit(client, nade(max_iter=1), dd.from_pandas(frame, npartitions=3))


# ---- fits


@pytest.mark.parametrize("n_workers", [1, 2, 3, 8])
def test_a_fit_has_the_same_bits_for_any_number_of_workers(n_workers):
    X = binary()
    expected = nade().fit(LocalParts.of([X]))
    for client in clients(n_workers):
        fitted = fastar.dask.fit(client, nade(), da.from_array(X, chunks=(90 + n_workers, 2)))
        assert_same_fit(fitted, expected)
        assert fitted.get_params() == nade().get_params()
        assert fitted.sample(2).dtype == np.uint8


def test_a_frame_with_odd_partitions(client, frame, fitted_frame):
    parts = [frame[:0], frame[:1], frame[1:200][frame.columns[::-1]], frame[200:]]
    data = dd.from_delayed([dask.delayed(each) for each in parts], meta=frame, verify_meta=False)
    assert_same_fit(fastar.dask.fit(client, nade(max_iter=1), data), fitted_frame)
    assert list(fitted_frame.feature_names_in_) == list(frame.columns)
    assert fitted_frame.sample(3).shape == (3, frame.shape[1])


def test_contexts_and_weights_are_columns(client, frame):
    context, others = ["gaps", "word", "level"], ["real", "small", "count", "flag"]
    whole = frame[[*others, *context]].assign(weight=np.arange(300) % 3)
    roles = {"context": context, "sample_weight": "weight"}
    data = dd.from_pandas(whole, npartitions=3)
    model = fastar.dask.fit(client, nade(max_iter=1), data, **roles)
    parts = [data.get_partition(k).compute(scheduler="sync") for k in range(3)]
    assert_same_fit(model, nade(max_iter=1).fit(LocalParts.of(parts), **roles))
    rows = data.drop(columns="weight")
    scores = fastar.dask.score_samples(model, rows, context=context).compute(scheduler="sync")
    expected = model.score_samples(whole[others], context=whole[context])
    np.testing.assert_array_equal(scores, expected)
    filled = fastar.dask.impute(model, rows, context=context, random_state=0, n_particles=2)
    found = filled.compute(scheduler="sync")
    assert not found[others].isna().any(axis=None)
    pd.testing.assert_frame_equal(found[context], whole[context], check_dtype=False)
    drawn = fastar.dask.sample(model, 30, context=whole[context][:1], rows_per_partition=20)
    assert drawn.npartitions == 2
    X = np.column_stack([binary(), np.arange(N) % 2]).astype(np.float32)
    X[::7, 0] = np.nan
    array = da.from_array(X, chunks=(150, D))
    model = nade(max_iter=1, missing="marked").fit(X[:, [0, 2, 3, 4]], context=X[:, [1]])
    scores = fastar.dask.score_samples(model, array, context=[1]).compute(scheduler="sync")
    expected = model.score_samples(X[:, [0, 2, 3, 4]], context=X[:, [1]])
    np.testing.assert_array_equal(scores, expected)
    filled = fastar.dask.impute(model, array, context=[1], random_state=0)
    found = filled.compute(scheduler="sync")
    there = ~np.isnan(X)
    np.testing.assert_array_equal(found[there], X[there])
    assert not np.isnan(found).any()


def sequences(n=60):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 3, rng.integers(1, 6)) for _ in range(n)]


def test_bags_of_sequences(client):
    X = sequences()
    model = GenerativeRNN(n_hidden=4, max_iter=1, batch_size=20, random_state=0)
    expected = model.fit(LocalParts.of([X[:17], X[17:]]))
    fitted = fastar.dask.fit(client, model, db.from_sequence(X, npartitions=4))
    assert_same_fit(fitted, expected)
    held = db.from_sequence(X[:20], npartitions=3)
    fitted = fastar.dask.fit(client, model, db.from_sequence(X, npartitions=4), X_val=held)
    assert_same_fit(fitted, model.fit(LocalParts.of([X]), X_val=LocalParts.of([X[:20]])))
    bad = [*X[:30], np.array([1.0, np.inf])]
    with pytest.raises(ValueError, match=r"X\[30\] must be finite"):
        fastar.dask.fit(client, model, db.from_sequence(bad, npartitions=3))


def test_samples_and_completions_of_sequences():
    X = sequences()
    model = GenerativeRNN(n_hidden=4, max_iter=1, random_state=0).fit(X)
    lazy = fastar.dask.sample(model, 25, random_state=0, rows_per_partition=10)
    assert lazy.npartitions == 3
    found = lazy.compute(scheduler="sync")
    assert len(found) == 25
    assert all(map(np.array_equal, found, lazy.compute(scheduler="threads")))
    gaps = [each.astype(float) for each in X]
    for each in gaps[::3]:
        each[0] = np.nan
    bag = db.from_sequence(gaps, npartitions=3)
    for ask in (fastar.dask.score_samples, fastar.dask.impute):
        with pytest.raises(ValueError, match="context must be None for a Bag"):
            ask(model, bag, context=["age"])
    filled = fastar.dask.impute(model, bag, random_state=0, n_particles=2)
    found = filled.compute(scheduler="sync")
    for one, given in zip(found, gaps, strict=True):
        there = ~np.isnan(given)
        np.testing.assert_array_equal(one[there], given[there])
        assert not np.isnan(one).any()


def test_rows_for_early_stopping(client):
    X, held = binary(), binary(80, seed=1)
    data = da.from_array(X, chunks=(150, D))
    expected = nade().fit(LocalParts.of([X]), X_val=LocalParts.of([held]))
    lazy = fastar.dask.fit(client, nade(), data, X_val=da.from_array(held, chunks=(30, D)))
    assert_same_fit(lazy, expected)
    expected = nade().fit(LocalParts.of([X]), X_val=held)
    assert_same_fit(fastar.dask.fit(client, nade(), data, X_val=held), expected)


def test_the_model_that_is_given_stays_and_warnings_come_back(client):
    model = nade(learning_rate="constant", max_iter=1)
    with pytest.warns(ConvergenceWarning, match="max_iter=1"):
        fitted = fastar.dask.fit(client, model, da.from_array(binary(), chunks=(200, D)))
    assert not hasattr(model, "theta_")
    assert fitted.n_jobs is None
    assert fitted.callbacks is None


def test_errors_are_those_of_a_table_in_memory(client):
    bad = pd.DataFrame({"a": [0.0, 1.0, 2.0, np.inf, 3.0]})
    with pytest.raises(ValueError, match=r"(?s)X must hold finite numbers in column 'a'.*row 3"):
        fastar.dask.fit(client, nade(), dd.from_pandas(bad, npartitions=2))
    parts = [pd.DataFrame({"a": [1.0]}), pd.DataFrame({"a": ["word"]})]
    mixed = dd.from_delayed(
        [dask.delayed(each) for each in parts], meta=parts[0], verify_meta=False
    )
    with pytest.raises(TypeError, match="values of one type in column 'a'"):
        fastar.dask.fit(client, nade(), mixed)
    with pytest.raises(ValueError, match="X must have rows"):
        fastar.dask.fit(client, nade(), dd.from_pandas(bad[:0], npartitions=1))
    for empty in ([[], []], [np.zeros(0)] * 3):
        with pytest.raises(ValueError, match=f"at least one step. Got {len(empty)} empty"):
            fastar.dask.fit(client, GenerativeRNN(), db.from_sequence(empty))
    with pytest.raises(ValueError, match="n_hidden"):
        fastar.dask.fit(client, nade(n_hidden=-1), da.from_array(binary(), chunks=(200, D)))


def test_arguments_are_checked_before_anything_is_sent(client):
    X = da.from_array(binary(), chunks=(200, D))
    for answer in (fastar.dask.score_samples, fastar.dask.impute):
        with pytest.raises(NotFittedError, match="This NADE instance is not fitted yet"):
            answer(nade(), X)
    with pytest.raises(TypeError, match=r"or a GenerativeRNN\. Got Mixture"):
        fastar.dask.fit(client, Mixture([nade()]), X)
    with pytest.raises(TypeError, match=r"a dask Bag of sequences for a GenerativeRNN"):
        fastar.dask.fit(client, GenerativeRNN(), X)
    with pytest.raises(TypeError, match="Got ndarray"):
        fastar.dask.fit(client, nade(), binary())
    with pytest.raises(TypeError, match="Got a Bag"):
        fastar.dask.fit(client, nade(), db.from_sequence([[1]]))
    with pytest.raises(ValueError, match="n_shards"):
        fastar.dask.fit(client, nade(), X, n_shards=0)


def test_ctrl_c_keeps_the_best_model(client, monkeypatch):
    monkeypatch.setattr(_fit, "_LOOK_SECONDS", 0.0)
    X = binary()
    main = threading.main_thread().ident

    class Interrupts(Callback):
        def on_epoch_end(self, training):
            if training.progress.epoch == 2:
                signal.pthread_kill(main, signal.SIGINT)
                time.sleep(1)

        def __reduce__(self):
            return Interrupts, ()

    model = nade(max_iter=10_000, n_iter_no_change=10_000, callbacks=[Interrupts()])
    with pytest.warns(ConvergenceWarning, match="interrupted"):
        fitted = fastar.dask.fit(client, model, da.from_array(X, chunks=(200, D)))
    assert np.isfinite(fitted.score_samples(X)).all()


def test_a_fit_that_nobody_waits_for_ends(client, monkeypatch):
    monkeypatch.setattr(_fit, "_LOOK_SECONDS", 0.0)
    model = nade(max_iter=10**6, n_iter_no_change=10**6)
    data = da.from_array(binary(), chunks=(200, D))
    future = fastar.dask.fit(client, model, data, sync=False)
    time.sleep(1)
    assert any(client.call_stack().values())
    future.cancel()
    for _ in range(100):
        time.sleep(0.1)
        if not any(client.call_stack().values()):
            break
    assert not any(client.call_stack().values())


class DiesOnce(Callback):
    """Fails once, as a worker's death fails the tasks that wait for it."""

    began: ClassVar[list[int]] = []
    died: ClassVar[list[int]] = []

    def on_fit_begin(self, training):
        self.began.append(training.progress.step)

    def on_step_end(self, training):
        if training.progress.step == 6 and not self.died:
            self.died.append(training.progress.step)
            raise CancelledError


def test_a_fit_goes_on_from_the_state_that_was_kept(client, monkeypatch):
    monkeypatch.setattr(_fit, "_SAVE_SECONDS", 0.0)
    X = binary()
    data = da.from_array(X, chunks=(200, D))
    fitted = fastar.dask.fit(client, nade(callbacks=[DiesOnce()]), data)
    assert DiesOnce.died == [6]
    assert DiesOnce.began == [0, 6]
    assert_same_fit(fitted, nade().fit(LocalParts.of([X])))


# ---- what fitted models answer


def test_scores_are_lazy_and_those_of_memory(frame, fitted_frame):
    data = dd.from_pandas(frame, npartitions=3)
    expected = fitted_frame.score_samples(frame)
    for given in (data, data[list(frame.columns[::-1])]):
        scores = fastar.dask.score_samples(fitted_frame, given)
        assert scores.name == "log_density"
        assert scores.npartitions == 3
        found = scores.compute(scheduler="threads")
        np.testing.assert_array_equal(found, expected)
        assert found.index.equals(frame.index)
    few = data[data.real > 1e9]
    assert len(fastar.dask.score_samples(fitted_frame, few).compute(scheduler="threads")) == 0


def test_scores_of_arrays_and_of_sequences():
    X = binary()
    model = nade().fit(X)
    scores = fastar.dask.score_samples(model, da.from_array(X, chunks=(150, 2)))
    assert scores.shape == (N,)
    np.testing.assert_array_equal(scores.compute(scheduler="threads"), model.score_samples(X))
    rng = np.random.default_rng(0)
    sequences = [rng.integers(0, 3, rng.integers(1, 6)).tolist() for _ in range(30)]
    model = GenerativeRNN(n_hidden=4, max_iter=1, random_state=0).fit(sequences)
    scores = fastar.dask.score_samples(model, db.from_sequence(sequences, npartitions=4))
    np.testing.assert_array_equal(
        scores.compute(scheduler="threads"), model.score_samples(sequences)
    )


def test_completions_keep_what_is_known(frame, fitted_frame):
    data = dd.from_pandas(frame, npartitions=3)
    lazy = fastar.dask.impute(fitted_frame, data, random_state=0)
    found = lazy.compute(scheduler="threads")
    assert not found.isna().any().any()
    known = frame.notna()
    pd.testing.assert_frame_equal(
        found.astype(object).where(known), frame.astype(object).where(known), check_dtype=False
    )
    again = fastar.dask.impute(fitted_frame, data, random_state=0).compute(scheduler="sync")
    pd.testing.assert_frame_equal(again, found)


def test_samples_do_not_depend_on_who_draws_them(fitted_frame):
    lazy = fastar.dask.sample(fitted_frame, 50, random_state=0, rows_per_partition=20)
    assert lazy.npartitions == 3
    found = lazy.compute(scheduler="threads")
    assert found.index.tolist() == list(range(50))
    assert dict(found.dtypes) == dict(fitted_frame.sample(1).dtypes)
    pd.testing.assert_frame_equal(found, lazy.compute(scheduler="sync"))
    X = fastar.dask.sample(nade().fit(binary()), 50, random_state=0, rows_per_partition=20)
    assert X.shape == (50, D)
    assert X.compute(scheduler="threads").dtype == np.uint8


# ---- what scikit-learn does on clusters


def test_searches_and_ensembles_run_through_joblib(client):
    X = binary(100)
    search = GridSearchCV(nade(max_iter=1), {"n_hidden": [2, 3]}, cv=2)
    mixture = Mixture([nade(max_iter=1, random_state=k) for k in range(2)], n_jobs=2)
    expected = GridSearchCV(nade(max_iter=1), {"n_hidden": [2, 3]}, cv=2).fit(X)
    alone = Mixture([nade(max_iter=1, random_state=k) for k in range(2)]).fit(X)
    with joblib.parallel_backend("dask", client=client):
        search.fit(X)
        mixture.fit(X)
    assert search.best_params_ == expected.best_params_
    np.testing.assert_array_equal(search.score_samples(X), expected.score_samples(X))
    np.testing.assert_array_equal(mixture.score_samples(X), alone.score_samples(X))


# ---- workers that die, clients that go


@pytest.fixture
def cluster():
    # of another machine one would wait less for a worker that starts again
    with (
        mock.patch.dict(os.environ),  # in which the processes' number of threads is written
        dask.config.set({"distributed.deploy.lost-worker-timeout": "10 minutes"}),
        LocalCluster(
            n_workers=3,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
        ) as cluster,
    ):
        yield cluster


def test_a_fit_survives_its_client_and_workers_that_are_killed(cluster):
    X = binary(1000)
    how = {"max_iter": 12, "n_iter_no_change": 100, "batch_size": 200}
    expected = nade(**how).fit(LocalParts.of([X]))
    with Client(cluster) as client:
        future = fastar.dask.fit(client, nade(**how), da.from_array(X, chunks=(300, D)), sync=False)
        client.publish_dataset(model=future)
        workers = client.run(os.getpid)
    chance = random.Random(0)
    with Client(cluster) as client:
        future = client.get_dataset("model")
        for pid in chance.sample(sorted(workers.values()), 2):
            time.sleep(chance.uniform(0.2, 1.5))
            os.kill(pid, signal.SIGKILL)
        assert_same_fit(future.result(timeout=300), expected)
