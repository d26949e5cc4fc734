"""Sequences and the labels of their steps: how they are read, and how the loop sees them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from fastar._core.integers import whole_objects
from fastar._core.parameters import Array
from fastar._core.validation import as_array, check_finite, unmask
from fastar._data.frame_types import is_missing
from fastar._data.sequences import Block, Sequences, SequenceTable
from fastar._data.table import Table


def check_labels(y: Any, name: str = "y") -> Any:
    """Return labels that are there and can be told apart, as the user gave them but for a mask.

    Integers are an array of them, whatever holds them.

    Raises
    ------
    ValueError
        A label is missing or infinite, or some are strings and others are not.
    """
    y = unmask(y, name)
    array = whole_objects(as_array(y, name))
    if array.dtype.kind in "iub":  # scikit-learn makes floats of those of pandas
        return array
    if y is None or array.dtype.kind not in "OmMf":
        return y
    if array.dtype.kind == "O":
        missing = [i for i, each in enumerate(array.ravel()) if is_missing(each)]
    else:
        missing = np.flatnonzero(array.ravel() != array.ravel()).tolist()
    if missing:
        raise ValueError(
            f"{name} must have a label everywhere. Got a missing one, "
            f"{array.ravel()[missing[0]]}, in row {missing[0]}."
        )
    check_finite(array.ravel(), name)
    if array.dtype.kind == "O" and len({isinstance(each, str) for each in array.ravel()}) > 1:
        kinds = sorted({type(each).__name__ for each in array.ravel()})
        raise ValueError(
            f"{name} must hold labels that are all str or all numbers. Got {', '.join(kinds)}."
        )
    return array if isinstance(y, np.ndarray) else y


def read_labels(y: Any, sequences: Sequences, name: str = "y") -> tuple[Array, bool]:
    """Return the labels (N,) of all steps, or one of each sequence (n,); and whether the latter.

    Raises
    ------
    ValueError
        y has other than one label a step, or one a sequence; or labels are not discrete.
    """
    if y is None:
        raise ValueError(f"This labeller requires y to be passed, but the target {name} is None.")
    n, lengths = len(sequences), sequences.lengths
    y = unmask(y, name)
    if not isinstance(y, list | tuple):
        y = np.atleast_1d(np.asarray(y))
    if len(y) != n:
        raise ValueError(f"{name} must have an entry for each of {n} sequences. Got {len(y)}.")
    axes = {np.ndim(each) for each in y}
    if axes not in ({0}, {1}):
        raise ValueError(
            f"{name} must be a list of arrays of shape (l,), an array of shape (n, T), or one of "
            f"shape (n,). Got entries with {sorted(axes)} axes."
        )
    sizes = np.array([np.size(each) for each in y])
    wrong = np.flatnonzero(sizes != lengths)
    if axes == {0} or (len(wrong) and (sizes == 1).all()):  # a column, too
        flat, of_sequences = column_or_1d(np.asarray(check_labels(y, name)), warn=True), True
    elif len(wrong):
        i = int(wrong[0])
        raise ValueError(
            f"{name} must have a label for each step. Got {sizes[i]} for the {lengths[i]} "
            f"steps of sequence {i}."
        )
    else:
        parts = [np.asarray(check_labels(each, f"{name}[{i}]")) for i, each in enumerate(y)]
        flat, of_sequences = check_labels(np.concatenate(parts), name), False
    check_classification_targets(flat)
    return flat, of_sequences


def label_numbers(labels: Array, classes: Array, name: str = "y") -> Array:
    """Return the places of labels among the sorted classes.

    Raises
    ------
    ValueError
        A label is none of the classes.
    """
    found = np.minimum(np.searchsorted(classes, labels), len(classes) - 1)
    strange = classes[found] != labels
    if strange.any():
        raise ValueError(
            f"{name} must hold labels that are known: {classes.tolist()}. "
            f"Got {labels[strange][0]!r}."
        )
    return found


@dataclass(frozen=True)
class LabelledBlock(Block):
    """Some sequences, and the numbers (N,) of their labels, NaN where there is none."""

    labels: Array


class LabelledTable(SequenceTable):
    """Sequences whose steps have labels.

    Parameters
    ----------
    sequences : Sequences
    labels : float array (N,)
        Numbers of classes, NaN where there is none.
    rows : int array or None
        The sequences that belong to the table, all of them by default.
    """

    def __init__(self, sequences: Sequences, labels: Array, rows: Array | None = None) -> None:
        super().__init__(sequences, False, rows)
        self.labels = labels

    @classmethod
    def of(cls, sequences: Sequences, numbers: Array | None, of_sequences: bool) -> LabelledTable:
        """Return the table of labels of all steps, of the last ones alone, or of no labels."""
        labels = np.full(len(sequences.values), np.nan)
        if numbers is not None:
            labels[sequences.offsets[1:] - 1 if of_sequences else slice(None)] = numbers
        return cls(sequences, labels)

    def subset(self, which: Array) -> LabelledTable:
        """Return the table of some of the sequences."""
        return LabelledTable(self.sequences, self.labels, self.rows[which])

    def take(self, which: Array | slice) -> LabelledBlock:
        """Return some of the sequences and their labels."""
        places, lengths = self.places(which)
        return LabelledBlock(self.sequences.values[places], lengths, self.labels[places])

    def of_labels(self, weight: Array) -> tuple[Table, Array]:
        """Return all labels as rows of a table, and their weights."""
        block = self.take(slice(None))
        known = ~np.isnan(block.labels)
        return Table(block.labels[known, None], np.arange(1)), np.repeat(weight, block.lengths)[
            known
        ]
