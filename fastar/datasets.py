"""Data sets with fixed training, validation and test rows.

`load_binary_digits` needs no file. `load_dataset` reads a folder of ``.npz`` files, named by its
argument or by the environment variable ``FASTAR_DATA``; none of them comes with the package.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from fastar._core.parameters import Array

__all__ = ["Dataset", "dataset_names", "load_binary_digits", "load_dataset"]

SPLITS = ("train", "valid", "test")
N_FOLDS = 10

Rows = Array | list[Array]


@dataclass(frozen=True)
class Dataset:
    """Rows for training, validation and testing, and what is known about them.

    Parameters
    ----------
    name : str
    kind : str
        The kind of the rows:

        - ``"binary"``: (n, D) uint8, 0 and 1;
        - ``"grey"``: (n, D) uint8, 0 to 255;
        - ``"real"``: (n, D) float64, split by `fold`;
        - ``"mixed"``: (n, D) float64; a category is its number, a missing cell NaN;
        - ``"text"``: (n,) uint8, numbers of characters;
        - ``"rolls"``: a list of pieces (T, 88) uint8, 0 and 1;
        - ``"voices"``: a list of pieces (T, 4) int16, -1 where a voice is silent.
    train, valid, test : ndarray or list of ndarray
    labels : dict
        Integer labels (n,) of the splits that have them, by the split's name.
    columns, column_kinds : tuple of str
        Names of the columns, and "real", "integer" or "categorical" for each; empty where not
        known.
    categories : dict
        For each categorical column by name, the names of its categories in the order of their
        numbers.
    shape : tuple of int
        Rows and columns of an image; empty where rows are no images.
    vocabulary : tuple of str
        The character for each number of a text.
    """

    name: str
    kind: str
    train: Rows
    valid: Rows
    test: Rows
    labels: dict[str, Array] = field(default_factory=dict)
    columns: tuple[str, ...] = ()
    column_kinds: tuple[str, ...] = ()
    categories: dict[str, list[str]] = field(default_factory=dict)
    shape: tuple[int, ...] = ()
    vocabulary: tuple[str, ...] = ()

    def __repr__(self) -> str:
        sizes = " / ".join(str(len(getattr(self, split))) for split in SPLITS)
        return f"<{self.name}: {self.kind}, {sizes} rows>"


def _folder(directory: str | os.PathLike[str] | None) -> Path:
    named = os.environ.get("FASTAR_DATA") if directory is None else directory
    if not named:
        raise ValueError(
            "There is no data folder: set the environment variable FASTAR_DATA to one, "
            "or give 'directory'."
        )
    folder = Path(named)
    if not folder.is_dir():
        source = "FASTAR_DATA" if directory is None else "The 'directory' parameter"
        raise FileNotFoundError(f"{source} must name a folder. Got {str(folder)!r}, which is none.")
    return folder


def dataset_names(directory: str | os.PathLike[str] | None = None) -> list[str]:
    """Return the names of the data sets of a folder, sorted.

    Parameters
    ----------
    directory : str or path, optional
        The folder; by default the one that the environment variable ``FASTAR_DATA`` names.

    Returns
    -------
    list of str

    Raises
    ------
    ValueError
        No folder is named.
    FileNotFoundError
        The folder does not exist.

    Examples
    --------
    >>> import tempfile
    >>> from fastar.datasets import dataset_names
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     dataset_names(folder)
    []
    """
    return sorted(file.stem for file in _folder(directory).glob("*.npz"))


def load_dataset(
    name: str, directory: str | os.PathLike[str] | None = None, *, fold: int = 0
) -> Dataset:
    """Read a data set from a folder.

    Parameters
    ----------
    name : str
        Name of the file without ``.npz``.
    directory : str or path, optional
        The folder; by default the one that the environment variable ``FASTAR_DATA`` names.
    fold : int, default=0
        For a set of kind "real", which of its ten folds is tested. The next one is for validation.

    Returns
    -------
    Dataset

    Raises
    ------
    ValueError
        No folder is named, `fold` is out of range, or the file is no data set.
    FileNotFoundError
        The folder or the file does not exist.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from fastar.datasets import load_dataset
    >>> bits = np.eye(6, 12, dtype=np.uint8)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "steps.npz")
    ...     parts = {split: np.packbits(bits, axis=1) for split in ("train", "valid", "test")}
    ...     np.savez(path, kind="binary", n_features=12, **parts)
    ...     load_dataset("steps", folder)
    <steps: binary, 6 / 6 / 6 rows>
    """
    if fold not in range(N_FOLDS):
        raise ValueError(f"fold must be an int from 0 to {N_FOLDS - 1}. Got {fold!r} instead.")
    folder = _folder(directory)
    path = folder / f"{name}.npz"
    if not path.is_file():
        known = ", ".join(dataset_names(folder)) or "none"
        raise FileNotFoundError(f"{str(folder)!r} holds no data set {name!r}. It holds: {known}.")
    try:
        with np.load(path, allow_pickle=False) as file:
            stored = {key: file[key] for key in file.files}
        return _dataset(name, stored, fold)
    except (BadZipFile, KeyError, EOFError, OSError, TypeError, ValueError) as error:
        raise ValueError(
            f"The file {str(path)!r} is damaged or no data set ({error!r})."
        ) from error


def _dataset(name: str, stored: dict[str, Array], fold: int) -> Dataset:
    kind = str(stored["kind"])
    train, valid, test = _splits(kind, stored, fold)
    return Dataset(
        name,
        kind,
        train,
        valid,
        test,
        labels={s: stored[f"{s}_labels"] for s in SPLITS if f"{s}_labels" in stored},
        columns=_words(stored, "columns"),
        column_kinds=_words(stored, "kinds"),
        categories=json.loads(str(stored.get("categories", "{}"))),
        shape=tuple(int(side) for side in stored.get("shape", ())),
        vocabulary=_words(stored, "vocab"),
    )


def _splits(kind: str, stored: dict[str, Array], fold: int) -> Iterator[Rows]:
    """Yield the rows of each split as they are used."""
    if kind == "real":
        # how far each row's fold lies after the tested one: 0 tests, 1 validates, the others train
        distance = (stored["folds"] - fold) % N_FOLDS
        for chosen in (distance > 1, distance == 1, distance == 0):
            yield stored["data"][chosen]
        return
    for split in SPLITS:
        rows = stored[split]
        if kind in ("binary", "rolls"):  # kept eight values a byte
            rows = np.unpackbits(rows, axis=1, count=int(stored["n_features"]))
        if kind in ("rolls", "voices"):  # kept one piece after the other
            ends = np.cumsum(stored[f"{split}_lengths"])
            yield np.split(rows, ends[:-1])
        else:
            yield rows


def _words(stored: dict[str, Any], key: str) -> tuple[str, ...]:
    return tuple(str(word) for word in stored.get(key, ()))


def load_binary_digits() -> Dataset:
    """Return scikit-learn's 8 x 8 handwritten digits in black and white.

    A pixel is 1 from half of the full intensity on. The rows are shuffled once and for all.

    Returns
    -------
    Dataset
        Its kind is "binary". It has 1297 rows for training, 250 for validation, 250 for testing,
        64 columns, and the digits as labels.

    Examples
    --------
    >>> from fastar.datasets import load_binary_digits
    >>> digits = load_binary_digits()
    >>> digits
    <digits: binary, 1297 / 250 / 250 rows>
    >>> digits.train.shape, digits.train.dtype, digits.shape
    ((1297, 64), dtype('uint8'), (8, 8))
    """
    from sklearn.datasets import load_digits

    grey, digit = load_digits(return_X_y=True)
    # a legacy generator: its permutations are frozen across versions of NumPy
    rows = np.random.RandomState(0).permutation(len(grey))
    bits = (grey[rows] >= 8).astype(np.uint8)
    bounds = [len(rows) - 500, len(rows) - 250]
    train, valid, test = np.split(bits, bounds)
    labels = dict(zip(SPLITS, np.split(digit[rows], bounds), strict=True))
    return Dataset("digits", "binary", train, valid, test, labels=labels, shape=(8, 8))
