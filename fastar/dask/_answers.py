"""Answers of fitted models about collections of Dask, lazily."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
from dask import delayed
from distributed import Future
from sklearn.utils.validation import check_is_fitted

from fastar._core.parameters import Array
from fastar._core.random import generator
from fastar._core.validation import check_count
from fastar._data.frame_types import frame_kind
from fastar._data.frames import Schema
from fastar._data.roles import Roles
from fastar._data.streams import BATCH_ROWS, arranged
from fastar.dask._collections import collection_kind, whole_rows

_SEED = 2**31


def score_samples(model: Any, data: Any, *, context: Any = None) -> Any:
    """Return log p(x) of each row of a Dask collection, lazily.

    Parameters
    ----------
    model : fitted density, or distributed.Future of one
        A density of rows, for DataFrames and Arrays, or of sequences, for Bags of them.
    data : dask DataFrame, Array of shape (n, D), or Bag of sequences
        Columns of a DataFrame may have another order than in `fit`.
    context : list of names, optional
        The columns of data (by their places, in an Array) that are the context of the others.

    Returns
    -------
    dask Series "log_density" with the index of data, Array of shape (n,), or Bag of float
        Nats, as from `score_samples` of the model. Computing it raises what that raises.

    Raises
    ------
    TypeError, ValueError
        data is no such collection.

    Examples
    --------
    >>> import dask.array as da
    >>> import numpy as np
    >>> import fastar.dask
    >>> from fastar import NADE
    >>> X = np.random.default_rng(0).integers(0, 2, (100, 4))
    >>> nade = NADE(n_hidden=4, learning_rate="cosine", max_iter=5, random_state=0)
    >>> model = nade.fit(X)
    >>> scores = fastar.dask.score_samples(model, da.from_array(X, chunks=(30, 2)))
    >>> scores.shape
    (100,)
    >>> bool((scores.compute(scheduler="threads") == model.score_samples(X)).all())
    True
    """
    kind, lent = _kind_of(model, data, context), delayed(model, traverse=False)
    if kind == "bag":
        return data.map_partitions(_scores_of_sequences, lent)
    if kind == "array":
        rows = whole_rows(data)
        how = {"drop_axis": 1, "dtype": float, "meta": np.empty(0)}
        return rows.map_blocks(_scores, lent, context=context, **how)
    pandas = import_module("pandas")
    meta = pandas.Series([], dtype=float, name="log_density", index=data._meta.index)
    return data.map_partitions(_scores, lent, context=context, meta=meta)


def impute(
    model: Any,
    data: Any,
    *,
    context: Any = None,
    random_state: Any = None,
    n_particles: int = 16,
) -> Any:
    """Return the rows of a Dask collection with each missing value drawn, lazily.

    Parameters
    ----------
    model : fitted density, or distributed.Future of one
    data : dask DataFrame, Array of shape (n, D), or Bag of sequences
    context : list of names, optional
        As in `score_samples`; these columns stay as they are.
    random_state : int, RandomState instance or None
        Each partition has a stream of its own: what is drawn depends on the partitions, and not on
        who computes them.
    n_particles : int, default=16
        As in `impute` of the model.

    Returns
    -------
    dask DataFrame, Array or Bag
        With the types and partitions of data.

    Raises
    ------
    TypeError, ValueError
        data is no such collection.
    """
    kind, lent = _kind_of(model, data, context), delayed(model, traverse=False)
    data = whole_rows(data) if kind == "array" else data
    seeds = generator(random_state).integers(_SEED, size=data.npartitions).tolist()
    fill = delayed(_impute_sequences if kind == "bag" else _impute)
    parts = [
        fill(lent, part, context, seed, n_particles)
        for part, seed in zip(np.ravel(data.to_delayed()), seeds, strict=True)
    ]
    if kind == "bag":
        return import_module("dask.bag").from_delayed(parts)
    if kind == "frame":
        frames = import_module("dask.dataframe")
        divisions = data.divisions if data.known_divisions else None
        return frames.from_delayed(parts, meta=data._meta, divisions=divisions, verify_meta=False)
    return _stacked(parts, data.chunks[0], data.shape[1], data.dtype)


def sample(
    model: Any,
    n_samples: int = 1,
    *,
    random_state: Any = None,
    rows_per_partition: int = BATCH_ROWS,
    **how: Any,
) -> Any:
    """Return samples as a Dask collection, drawn when it is computed.

    Parameters
    ----------
    model : fitted density, or distributed.Future of one
    n_samples : int, default=1
    random_state : int, RandomState instance or None
        Each partition has a stream of its own.
    rows_per_partition : int, default=65536
    **how : context, evidence, temperature, top_p, top_k
        As in `sample` of the model; of context and evidence one row.

    Returns
    -------
    dask DataFrame, Array of shape (n_samples, D), or Bag of sequences
        As the model was fitted to. Frames of polars become frames of pandas.
    """
    if isinstance(model, Future):
        model = model.result()
    n_samples = check_count("n_samples", n_samples)
    size = check_count("rows_per_partition", rows_per_partition)
    sizes = [min(size, n_samples - start) for start in range(0, n_samples, size)]
    seeds = generator(random_state).integers(_SEED, size=len(sizes)).tolist()
    lent = delayed(model, traverse=False)
    starts = [*range(0, n_samples, size)]
    parts = [
        delayed(_sample)(lent, n, start, seed, how)
        for n, start, seed in zip(sizes, starts, seeds, strict=True)
    ]
    one = _sample(model, 1, 0, 0, how)
    if isinstance(one, list):
        return import_module("dask.bag").from_delayed(parts)
    if not isinstance(model._container, Schema):
        return _stacked(parts, sizes, one.shape[1], one.dtype)
    frames = import_module("dask.dataframe")
    divisions = (*starts, n_samples - 1)
    return frames.from_delayed(parts, meta=one.iloc[:0], divisions=divisions, verify_meta=False)


def _kind_of(model: Any, data: Any, context: Any) -> str:
    """Return what `collection_kind` does.

    Raises
    ------
    ValueError
        Sequences are given a context; the model, if it is here, is not fitted.
    """
    if not isinstance(model, Future):
        check_is_fitted(model)
    kind = collection_kind(data, "data")
    if kind == "bag" and context is not None:
        raise ValueError("context must be None for a Bag of sequences. Got one.")
    return kind


def _stacked(parts: list[Any], sizes: Any, D: int, dtype: Any) -> Any:
    """Return the Array of delayed blocks of rows."""
    array = import_module("dask.array")
    blocks = [
        array.from_delayed(part, (n, D), dtype=dtype) for part, n in zip(parts, sizes, strict=True)
    ]
    return array.concatenate(blocks)


# ---- what workers are asked


def _as_fitted(model: Any, rows: Any, context: Any) -> tuple[Any, dict[str, Any]]:
    """Return rows, with columns in the order of `fit`, and their context as a keyword argument."""
    container = getattr(model, "_container", None)
    rows, own, _ = Roles.of(context, table="data").split(rows)
    if isinstance(container, Schema):
        rows = arranged(rows, container.names)
    return rows, {} if own is None else {"context": own}


def _scores(rows: Any, model: Any, context: Any) -> Any:
    found: Array = np.empty(0)
    if len(rows):
        given, how = _as_fitted(model, rows, context)
        found = model.score_samples(given, **how)
    if frame_kind(rows) is None:
        return found
    return import_module("pandas").Series(found, index=rows.index, name="log_density")


def _scores_of_sequences(part: Any, model: Any) -> list[float]:
    sequences = list(part)
    scores: list[float] = model.score_samples(sequences).tolist() if sequences else []
    return scores


def _impute_sequences(model: Any, part: Any, _: Any, seed: int, n_particles: int) -> list[Array]:
    sequences = list(part)
    if not sequences:
        return sequences
    found: list[Array] = model.impute(sequences, random_state=seed, n_particles=n_particles)
    return found


def _impute(model: Any, rows: Any, context: Any, seed: int, n_particles: int) -> Any:
    if not len(rows):
        return rows
    given, how = _as_fitted(model, rows, context)
    filled = model.impute(given, random_state=seed, n_particles=n_particles, **how)
    if frame_kind(rows) is not None:
        parts = [filled, *how.values()]
        return import_module("pandas").concat(parts, axis=1)[list(rows.columns)]
    if not how:
        return filled
    whole = rows.copy()
    whole[:, np.setdiff1d(np.arange(rows.shape[1]), context)] = filled
    return whole


def _sample(model: Any, n: int, start: int, seed: int, how: dict[str, Any]) -> Any:
    drawn = model.sample(n, random_state=seed, **how)
    if frame_kind(drawn) is None:
        return drawn
    drawn = drawn if frame_kind(drawn) == "pandas" else drawn.to_pandas()
    return drawn.set_axis(range(start, start + n), axis=0)
