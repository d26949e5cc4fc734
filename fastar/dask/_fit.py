"""Fits that a worker coordinates."""

from __future__ import annotations

import copy
import pickle
import time
import warnings
from operator import itemgetter
from typing import Any
from uuid import uuid4

import cloudpickle
import numpy as np
from dask import delayed
from distributed import Client, Event, Variable, get_client, get_worker, secede
from sklearn.exceptions import ConvergenceWarning

from fastar._core.validation import check_count
from fastar._engine.sharded import ShardedTraining
from fastar.callbacks import callbacks_of
from fastar.dask._collections import partitions
from fastar.dask._parts import LOST, DaskParts, same
from fastar.models import GenerativeRNN
from fastar.models._density import AutoregressiveDensity

_ATTEMPTS = 10
_SAVE_SECONDS = 10.0
_LOOK_SECONDS = 1.0


def fit(
    client: Client | None,
    model: Any,
    data: Any,
    *,
    context: Any = None,
    sample_weight: Any = None,
    X_val: Any = None,
    context_val: Any = None,
    n_shards: int = 8,
    sync: bool = True,
) -> Any:
    """Fit a model to a Dask collection; each step is shared out among the workers.

    A row belongs to one of `n_shards` shards, by a hash of its number. A step takes its share of
    rows from every shard, and the gradients g_s of shards are added along a binary tree whose
    leaves they are:

        g = ((g_0 + g_1) + (g_2 + g_3)) + ((g_4 + g_5) + (g_6 + g_7))

    The fit therefore has the same bits for any number of workers and threads, and any partitions of
    the same rows, if the processors have one instruction set. Other `n_shards` round differently,
    and visit the rows in another order.

    Parameters
    ----------
    client : distributed.Client or None
        None: the current one.
    model : estimator
        A model of rows, or a GenerativeRNN. It stays as it is. With `n_jobs=None` a task uses as
        many threads as a worker has. Its `callbacks` act on the worker that coordinates, on copies.
    data : dask DataFrame, or dask Array of shape (n, D); of a GenerativeRNN, Bag of sequences
        Read once if it fits into the workers' memory. A partition may have no rows, or the columns
        in another order.
    context : list of names, optional
        The columns of data (by their places, in an Array) that are the context of the others.
    sample_weight : str or int, optional
        The column of data that has the weights of rows. Sequences have neither.
    X_val : the same as data, or a table in memory, optional
        Rows for early stopping; without them `validation_fraction` of the rows are held out. A
        collection has the columns of data.
    context_val : array-like or DataFrame, optional
        The context of X_val if that is in memory.
    n_shards : int, default=8
        At most as many workers train at a time.
    sync : bool, default=True
        Whether to wait for the result.

    Returns
    -------
    estimator, or distributed.Future of one with sync=False
        An ordinary fitted model. A fit whose Future is published, as in the user guide, goes on
        when the client is gone.

    Raises
    ------
    TypeError, ValueError
        As from `fit` of the model; about values, with the row in the whole table.
    FloatingPointError
        The log-likelihood became NaN or infinite.

    Warns
    -----
    ConvergenceWarning
        Training reached `max_iter` before it settled, or was interrupted by Ctrl-C, which keeps the
        best model so far. (Not with sync=False.)

    Examples
    --------
    >>> import dask.array as da
    >>> import numpy as np
    >>> from distributed import Client
    >>> import fastar.dask
    >>> from fastar import NADE
    >>> client = Client(processes=False, n_workers=2, dashboard_address="127.0.0.1:0")
    >>> X = da.from_array(np.random.default_rng(0).integers(0, 2, (1000, 4)), chunks=(300, 4))
    >>> nade = NADE(n_hidden=4, learning_rate="cosine", max_iter=5, random_state=0)
    >>> model = fastar.dask.fit(client, nade, X)
    >>> fastar.dask.score_samples(model, X).compute().shape
    (1000,)
    >>> client.close()
    """
    if not isinstance(model, AutoregressiveDensity | GenerativeRNN):
        raise TypeError(
            f"model must be a model of rows, or a GenerativeRNN. Got {type(model).__name__} "
            "instead: the members of a Mixture are fitted one by one, or through joblib."
        )
    n_shards = check_count("n_shards", n_shards)
    of_sequences = isinstance(model, GenerativeRNN)
    tables = {"X": partitions(data, "data", of_sequences)}
    if hasattr(X_val, "dask"):
        tables["X_val"] = partitions(X_val, "X_val", of_sequences)
        X_val = None
    client = get_client() if client is None else client
    name = f"fastar-fit-{uuid4().hex}"
    Variable(name, client).set(None)
    # as bytes, so that whoever carries them sees no collections in them
    given = {
        "context": context,
        "sample_weight": sample_weight,
        "X_val": X_val,
        "context_val": context_val,
    }
    asked = cloudpickle.dumps((_seeded(model), tables, given, n_shards, model.random_state))
    future = client.submit(_coordinate, name, asked, key=name)
    if not sync:
        return client.submit(itemgetter(0), future, key=f"{name}-model")
    try:
        fitted, messages = future.result()
    except KeyboardInterrupt:
        Event(name, client).set()
        fitted, messages = future.result()
        if fitted is None:
            raise
    for message in messages:
        warnings.warn(message, ConvergenceWarning, stacklevel=2)
    return fitted


def _seeded(model: Any) -> Any:
    """Return a copy with a seed, so that a fit that begins anew is the same."""
    model = copy.copy(model)
    if model.random_state is None:
        model.random_state = int(np.random.default_rng().integers(2**32))
    return model


def _coordinate(name: str, asked: bytes) -> tuple[Any, list[str]]:
    """Return the fitted model, None where it was interrupted too early, and warnings."""
    client = get_client()
    watch = _Watch(client, name)
    secede()  # the worker has its threads for tasks
    try:
        for _ in range(_ATTEMPTS - 1):
            try:
                return _fitted(client, asked, watch), watch.messages
            except LOST:  # also the partitions; training goes on from the state that was kept
                time.sleep(_LOOK_SECONDS)
        return _fitted(client, asked, watch), watch.messages
    except KeyboardInterrupt:
        return None, []
    finally:
        watch.forget()


def _fitted(client: Client, asked: bytes, watch: _Watch) -> Any:
    """Return the fitted model, the same each time."""
    model, tables, given, n_shards, random_state = pickle.loads(asked)
    own = model.callbacks, model.n_jobs
    model.callbacks = [watch, *callbacks_of(own[0])]
    if model.n_jobs is None:
        model.n_jobs = get_worker().state.nthreads
    data = {
        key: DaskParts.of_tables(client, _computed(client, parts), key, n_shards, watch.check)
        for key, parts in tables.items()
    }
    model.fit(**given | data)
    model.callbacks, model.n_jobs = own
    model.random_state = random_state
    return model


def _computed(client: Client, parts: list[Any]) -> list[Any]:
    """Return futures of partitions under new keys, for old ones may just be forgotten."""
    renamed = delayed(same, pure=False)
    futures: list[Any] = client.compute([renamed(part) for part in parts])
    return futures


class _Watch:
    """A callback that keeps the state of training with the scheduler, and ends what is not wanted.

    If the worker that coordinates dies, the next one goes on from the state.
    """

    def __init__(self, client: Client, name: str) -> None:
        self._state = Variable(name, client)
        self._stop = Event(name, client)
        self._task = get_worker().state.tasks[name]
        self._saved = self._looked = time.monotonic()
        self.messages: list[str] = []

    def check(self) -> None:
        """Raise KeyboardInterrupt if the fit is to end."""
        if time.monotonic() - self._looked < _LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        if self._task.state == "cancelled" or self._stop.is_set():
            raise KeyboardInterrupt

    def forget(self) -> None:
        """Let the scheduler forget the state."""
        self._state.delete()

    def on_fit_begin(self, training: ShardedTraining) -> None:
        """Take up the state that was kept."""
        state = self._state.get()
        if state is not None:
            header, arrays, training.position = pickle.loads(state)
            training.restore(header, arrays)

    def on_step_end(self, training: ShardedTraining) -> None:
        """Keep the state now and then."""
        if time.monotonic() - self._saved >= _SAVE_SECONDS:
            self._state.set(pickle.dumps((*training.snapshot(), training.position)))
            self._saved = time.monotonic()

    def on_fit_end(self, training: ShardedTraining) -> None:
        """Keep the warnings."""
        self.messages = training.messages
