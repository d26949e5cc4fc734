"""Answers of fitted estimators about tables that are read batch by batch."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fastar._core.parameters import Array
from fastar._core.random import check_state
from fastar._core.validation import check_count, mean_score
from fastar._data.context import context_of_rows
from fastar._data.parquet import parquet_file
from fastar._data.roles import NO_ROLES, Roles
from fastar._data.streams import Stream, as_stream, batch_rows, is_stream, recut, rows_told
from fastar.models._streamed import batches, check_context

Path = str | os.PathLike[str]


def is_batched(X: Any, out: Path | None) -> bool:
    """Return whether rows are read, or what is said of them is written, batch by batch."""
    return out is not None or (not isinstance(X, np.ndarray) and is_stream(X))


def _asked(
    model: Any, X: Any, context: Any, sample_weight: Any = None, *, even: bool = False
) -> Iterator[tuple[int, Any, dict[str, Any], Array | None]]:
    """Yield (number of the first row, rows, keyword arguments, weights) of a source's batches.

    even: in batches that do not depend on how the source is cut.
    """
    if not is_stream(X):  # a table in memory, whose context is another one
        n = X.shape[0] if hasattr(X, "shape") else len(X)
        for first, rows, _, _ in batches(model, as_stream(X)):
            yield first, rows, _context_of_rows(model, context, first, rows.shape[0], n), None
        return
    stream, roles = Stream.of(X), Roles.of(context, sample_weight)
    check_context(model, roles)
    for first, rows, own, weight in batches(model, recut(stream) if even else stream, roles):
        yield first, rows, {} if own is None else {"context": own}, weight


def _context_of_rows(model: Any, context: Any, first: int, n: int, n_all: int) -> dict[str, Any]:
    """Return the context of n of n_all rows as a keyword argument."""
    if context is None:
        return {}
    fitted = getattr(model, "_fitted_context", None)
    return {"context": context_of_rows(fitted, context, np.arange(first, first + n), n_all)}


def score_streamed(model: Any, X: Any, context: Any, out: Path | None) -> Array | None:
    """Return log p(x) of each row of a source, or write them to a file."""
    return collected((scores for scores, _ in _scores(model, X, context)), X, out, "log_density")


def answer_streamed(
    estimator: Any,
    X: Any,
    out: Path | None,
    columns: str | list[str],
    answer: Callable[[Any], Array],
    roles: Roles = NO_ROLES,
) -> Array | None:
    """Return what is answered of the rows (n,) or (n, K) of a source, or write it to a file.

    columns: of the file, one or K.
    """
    return collected(answers(estimator, X, answer, roles), X, out, columns)


def answers(
    estimator: Any, X: Any, answer: Callable[[Any], Any], roles: Roles = NO_ROLES
) -> Iterator[Any]:
    """Yield what is answered of the rows of a source, or of a table in memory, batch by batch.

    The batches do not depend on how the source is cut, for estimates depend on the rows beside.
    """
    stream = as_stream(X)
    for first, rows, _, _ in batches(estimator, recut(stream), roles):
        with rows_told(stream.name, first):
            found = answer(rows)
        yield found


def collected(
    found: Iterator[Array], X: Any, out: Path | None, columns: str | list[str]
) -> Array | None:
    """Return arrays in one, or write each to a file, which is another one than that of X."""
    if out is None:
        return np.concatenate(list(found))
    with parquet_file(out, apart_from=X) as file:
        for each in found:
            parts = [each] if isinstance(columns, str) else list(each.T)
            names = [columns] if isinstance(columns, str) else columns
            file.write(dict(zip(names, map(np.ascontiguousarray, parts), strict=True)))
    return None


def mean_score_streamed(model: Any, X: Any, context: Any, sample_weight: Any) -> float:
    """Return the mean log p(x) of the rows of a source, by weights that are one of its columns."""
    found = list(_scores(model, X, context, sample_weight))
    scores = np.concatenate([each for each, _ in found])
    weights = [each for _, each in found if each is not None]
    return mean_score(scores, np.concatenate(weights) if weights else None)


def _scores(
    model: Any, X: Any, context: Any, sample_weight: Any = None
) -> Iterator[tuple[Array, Array | None]]:
    """Yield log p(x) and weights of the rows of each batch."""
    name = as_stream(X).name
    for first, rows, given, weight in _asked(model, X, context, sample_weight):
        with rows_told(name, first):
            found = model.score_samples(rows, **given)
        yield found, weight


def sample_streamed(
    model: Any,
    n_samples: int,
    context: Any,
    out: Path,
    unique: bool,
    random_state: Any,
    **how: Any,
) -> None:
    """Write samples to a file; unique: whether no two may be equal, which is refused."""
    n_samples = check_count("n_samples", n_samples)
    if unique is not False:
        raise ValueError(f"unique must be False with 'out'. Got {unique!r} instead.")
    state = check_state(random_state)
    with parquet_file(out) as file:
        size = batch_rows(model.n_features_in_)
        for start in range(0, n_samples, size):
            n = min(size, n_samples - start)
            given = _context_of_rows(model, context, start, n, n_samples)
            file.write(model.sample(n, random_state=state, **given, **how))


def impute_streamed(
    model: Any, X: Any, context: Any, out: Path, n_draws: int, random_state: Any, **how: Any
) -> None:
    """Write a source's rows to a file, with missing values drawn."""
    if n_draws != 1:
        raise ValueError(f"n_draws must be 1 with 'out'. Got {n_draws!r} instead.")
    state, name = check_state(random_state), as_stream(X).name
    with parquet_file(out, apart_from=X) as file:
        for first, rows, given, _ in _asked(model, X, context, even=True):
            with rows_told(name, first):
                completed = model.impute(rows, random_state=state, **given, **how)
            file.write(completed)
