"""The kind of array that the user gave, so that samples come back as the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from fastar._core.integers import Offsets, add, check_range, find_offsets, subtract
from fastar._core.parameters import Array
from fastar._core.schema import Listed, Maybe, OneOf, Record, Text, Whole, require

DTYPE = Text(r"[<|][biuf]\d{1,2}")
"""Types of a table's values in files."""
OFFSET = Whole(-(2**63), 2**64 - 1)
"""Offsets of integers: any integer of 64 bits."""
OFFSETS = Maybe(Listed(OFFSET))
"""What a file may say of what models take from integers."""


@dataclass(frozen=True)
class Container:
    """The kind of a table and the type of its values.

    Parameters
    ----------
    kind : {"array", "csr"}
    dtype : str
    shape : tuple of int or None
        Shape of a row as the user has it, if not (D,).
    offsets : sequence of int or None
        Numbers that models subtract from the values of each column, where float64 does not hold
        these.
    """

    kind: str
    dtype: str
    shape: tuple[int, ...] | None = None
    offsets: Offsets = None

    @classmethod
    def of(cls, X: Any, checked: Any) -> Container:
        """Return the container of X; checked: X as scikit-learn's validation returned it."""
        rows = checked.reshape(len(checked), -1) if checked.ndim > 2 else checked
        return cls.like(X, checked, find_offsets(rows))

    @classmethod
    def like(cls, X: Any, array: Any, offsets: Offsets) -> Container:
        """Return the container of X with these offsets; array: X as an array or CSR matrix."""
        shape = array.shape[1:] if array.ndim > 2 else None
        return cls("csr" if sparse.issparse(X) else "array", array.dtype.str, shape, offsets)

    def to_numbers(self, X: Any, name: str = "X") -> Any:
        """Return a table as models see it, whose numbers float64 holds; name: what errors say."""
        return subtract(X, self.offsets, name)

    def check_range(self, evidence: Any, name: str) -> None:
        """Raise ValueError if a number of evidence is none that the table's type holds."""
        try:
            given = evidence.to_numpy() if hasattr(evidence, "to_numpy") else evidence
            numbers = np.atleast_2d(np.asarray(given, np.float64))
        except (TypeError, ValueError):  # whoever checks that they are numbers says so
            return
        offsets = self.offsets or [0] * numbers.shape[1]
        if numbers.ndim == 2 and len(offsets) == numbers.shape[1]:  # else others say what is wrong
            for d, (column, offset) in enumerate(zip(numbers.T, offsets, strict=True)):
                check_range(column, self.dtype, offset, d, name)

    @classmethod
    def from_json(cls, described: dict[str, Any]) -> Container:
        """Return the container that a file describes; EntryError if it is none."""
        kind, of_a_row = OneOf(("array", "csr")), Maybe(Listed(Whole(1)))
        optional = {"shape": of_a_row, "offsets": OFFSETS}
        Record({"kind": kind, "dtype": DTYPE}, optional).check(described, "")
        check_dtype(described["dtype"])
        tuples = {key: described.get(key) for key in optional}
        tuples = {key: None if each is None else tuple(each) for key, each in tuples.items()}
        return cls(**described | tuples)

    def wrap(self, values: Array) -> Any:
        """Return values (n, D) as this container, in its type."""
        cast_values = add(values, self.offsets, self.dtype)
        if self.shape is not None:
            return cast_values.reshape(len(values), *self.shape)
        return sparse.csr_array(cast_values) if self.kind == "csr" else cast_values


def check_dtype(described: str) -> None:
    """Raise EntryError where NumPy has no such type."""
    try:
        np.dtype(described)
    except TypeError:
        require("dtype", False, f"must be a type of NumPy's. Got {described!r} instead.")
