"""Tables as the user has them, checked and made into what a `Table` takes."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.utils.validation import _check_feature_names, _check_n_features, validate_data

from fastar._core.integers import whole_objects
from fastar._core.parameters import Array
from fastar._core.validation import as_array, check_finite, unmask
from fastar._data.columns import Columns
from fastar._data.containers import Container
from fastar._data.frame_types import UNKNOWN, as_frame, frame_kind, to_python_scalar
from fastar._data.frames import Schema, check_names
from fastar._data.kept_cells import keep_cells
from fastar._data.streams import is_stream, rows_told


def read(
    estimator: Any, X: Any, *, reset: bool = False, gaps: bool | None = None, name: str = "X"
) -> Any:
    """Return X as an array, a CSR matrix or the columns of a frame.

    Parameters
    ----------
    estimator : object
        Its `_container` tells what `fit` was given, its attributes the names of the columns,
        `_marks_missing` whether NaN in an array is a missing value, and `_least_counts` how often
        categories must occur to stay ones of their own.
    X : array-like, DataFrame or CSR matrix
    reset : bool
        Whether this is what `fit` is given, to be remembered.
    gaps : bool, optional
        Whether NaN in an array stands for a value that is not known; by default as the estimator
        says.
    name : str
        The name of X in errors.

    Raises
    ------
    TypeError, ValueError
        X is no table, or has other columns than `fit` saw.
    """
    marked = getattr(estimator, "_marks_missing", False) if gaps is None else gaps
    X = as_frame(unmask(X, name, gaps=marked), name)
    if not reset and _is_fit_for_use(estimator, X):
        return X
    if not isinstance(X, np.ndarray) and is_stream(X):
        raise ValueError(
            f"{name} must be a table in memory. Got {X!r:.80} instead: {type(estimator).__name__} "
            "is asked for what needs all rows at once. fit, score_samples and impute of models of "
            "rows, among others, read batch by batch; the docstrings say which."
        )
    if is_ragged_list(X):
        raise ValueError(
            f"{name} must be a table, whose rows are as long as one another. Got sequences of "
            "several lengths instead, of which GenerativeRNN and SequenceLabeller are models."
        )
    if len(getattr(X, "shape", ())) > 2:
        raise ValueError(
            f"{name} must be a table of rows and columns. Got an array of {X.ndim} dimensions, "
            f"{X.shape}, instead: {name}.reshape(len({name}), -1) has a row for each image, "
            "and PixelRNN(image_shape=...) knows its shape."
        )
    _check_numbers(X, name)
    is_frame = frame_kind(X) is not None
    known = None if reset else getattr(estimator, "_container", None)
    if is_frame and (reset or isinstance(known, Schema)):
        schema = Schema.of(X, name, _least_counts(estimator, X)) if reset else known
        assert isinstance(schema, Schema)
        if reset or list(X.columns) != schema.names:  # scikit-learn takes its time
            check_names(X, name)
            if name == "X":  # its messages have no other; `read` checks the names, too
                _check_feature_names(estimator, X, reset=reset)
                _check_n_features(estimator, X, reset=reset)
        estimator._container = schema
        return _narrowest(X, schema.read(X, name))
    if isinstance(known, Schema) and any(each.type == "category" for each in known.columns):
        place = [each.type for each in known.columns].index("category")
        raise ValueError(
            f"{name} must be a DataFrame as in fit, where column {known.names[place]!r} had "
            f"categories. Got {type(X).__name__} instead."
        )
    X = whole_objects(X)
    called = nullcontext() if name == "X" else rows_told(name, 0)
    with np.errstate(invalid="ignore"), called:  # it adds up large numbers of both signs
        checked = validate_data(
            estimator,
            X,
            accept_sparse=False if gaps else "csr",
            dtype="numeric",
            # in C order, for training takes rows in random order many times
            order="C",
            ensure_all_finite=False,
            reset=reset,
        )
    if checked.dtype.kind not in "biuf":
        raise ValueError(f"{name} must hold numbers in an array. Got {checked.dtype} instead.")
    _check_cells(checked, name, gaps=marked)
    if reset:
        estimator._container = Container.of(X, checked)
    return checked


def _least_counts(estimator: Any, frame: Any) -> Mapping[Any, int]:
    """Return how often a category must occur in the columns of a frame, by their names."""
    ask = getattr(estimator, "_least_counts", None)
    return {} if ask is None else ask([to_python_scalar(each) for each in frame.columns])


def _check_numbers(X: Any, name: str) -> None:
    """Raise ValueError if X holds columns by name, or text, and is no DataFrame."""
    got = None
    if isinstance(X, Mapping) and not sparse.issparse(X):  # a DOK matrix is a mapping, too
        got = "a mapping"
    elif isinstance(X, list) and X and isinstance(X[0], Mapping):
        got = "a list of mappings"
    elif isinstance(X, np.ndarray | list | tuple):
        array = as_array(X, name)
        if array.dtype.names is not None:
            got = "an array with named fields"
        elif array.dtype.kind in "USO":
            is_text = array.dtype.kind != "O"
            cells = (each for each in array.ravel().tolist() if is_text or _is_words(each))
            text = next(cells, None)
            got = None if text is None else f"the text {text!r:.80}"
    if got is not None:
        raise ValueError(
            f"{name} must hold numbers, or be a DataFrame, whose columns have names and may hold "
            f"text. Got {got} instead."
        )


def _is_words(value: Any) -> bool:
    """Return whether a value is text that is no number."""
    if not isinstance(value, str | bytes):
        return False
    try:
        float(value)
    except ValueError:
        return True
    return False


def _check_cells(table: Any, name: str, *, gaps: bool) -> None:
    """Raise ValueError where a cell is infinite, or NaN unless there may be gaps."""
    if table.dtype.kind != "f":
        return
    with np.errstate(over="ignore", invalid="ignore"):  # of large numbers of both signs
        if np.isfinite(np.sum(table.data)):
            return
    cells = dense(table)
    check_finite(cells, name, ("row", "column"), gaps=True)
    found = np.argwhere(np.isnan(cells))
    if gaps or not len(found):
        return
    row, column = found[0]
    raise ValueError(
        f"Input {name} contains NaN in row {row}, column {column}. NaN in an array is a missing "
        "value to models with missing='marked' or 'modelled' alone; in a DataFrame it always is."
    )


def is_ragged_list(X: Any) -> bool:
    """Return whether X is a list, or an array of objects, of sequences of several lengths."""
    listed = isinstance(X, list | tuple) or (
        isinstance(X, np.ndarray) and X.dtype == object and X.ndim == 1
    )
    return (
        listed and len({len(each) for each in X if isinstance(each, list | tuple | np.ndarray)}) > 1
    )


def _is_fit_for_use(estimator: Any, X: Any) -> bool:
    """Whether X is what validation would return: it takes longer than scoring some rows."""
    return (
        type(X) is np.ndarray
        and X.ndim == 2
        and len(X) > 0
        and X.shape[1] == getattr(estimator, "n_features_in_", 0)
        and X.flags.c_contiguous
        and X.dtype.isnative
        and (X.dtype.kind in "biu" or (X.dtype.kind == "f" and bool(np.isfinite(X).all())))
        and not hasattr(estimator, "feature_names_in_")
        and not isinstance(estimator._container, Schema)
    )


def _narrowest(frame: Any, columns: Columns) -> Any:
    """Return a frame of numbers of one type without gaps as the array that it is."""
    known = columns.described
    if columns.missing.any() or any(each.type == "category" or each.offset for each in known):
        return columns
    if len({str(each) for each in frame.dtypes}) > 1:
        return columns
    array = frame.to_numpy()
    return np.ascontiguousarray(array) if array.dtype.kind in "biuf" else columns


def array_dtype(schema: Schema) -> np.dtype[Any] | None:
    """Return the type of the array as which `read` returns a frame of these columns, if as one."""
    if any(each.missing for each in schema.columns):
        return None
    row = schema.wrap(np.zeros((1, len(schema.columns))))
    found = _narrowest(row, schema.read(row))
    return found.dtype if isinstance(found, np.ndarray) else None


def read_numbers(estimator: Any, X: Any, name: str = "X", **how: Any) -> Any:
    """Return what `read` does, as models see it: without integers that float64 does not hold."""
    table = read(estimator, X, name=name, **how)
    container = estimator._container
    return table if isinstance(container, Schema) else container.to_numbers(table, name)


def dense(table: Any) -> Array:
    """Return what `read` returned as an array."""
    whole: Array = table.toarray() if sparse.issparse(table) else table[:]
    return whole


def table_like(
    X: Any, container: Container | Schema, values: Array, kept: Array | None = None
) -> Any:
    """Return values as a table of the kind that X is; container: of what `fit` was given.

    kept (n, D): cells that stay as they are in X, bit for bit.
    """
    X = as_frame(X)
    kind = frame_kind(X)
    if kind is None:
        given = X if sparse.issparse(X) else np.asarray(X)
        offsets = None if isinstance(container, Schema) else container.offsets
        table = Container.like(X, given, offsets).wrap(values)
        if kept is not None and isinstance(table, np.ndarray):
            np.copyto(table, given.reshape(table.shape), where=kept.reshape(table.shape))
        return table
    schema = container if isinstance(container, Schema) else Schema.of(X)
    if kept is not None:  # categories that fit has not seen are kept, or were refused
        nominal = np.array([column.type == "category" for column in schema.columns])
        values = np.where(kept & nominal & (values == UNKNOWN), np.nan, values)
    frame = schema.wrap(values, kind)
    if kind == "pandas":
        frame.index = X.index
    return frame if kept is None else keep_cells(X, frame, kept)
