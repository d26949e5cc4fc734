"""The forms of the sequences of `fit`: a list, rows of an array, or groups of a long frame.

Methods read what they are given, and return what they make, as the layout says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from fastar._core.integers import Offsets, add, check_range, subtract
from fastar._core.limits import MOST_STEPS
from fastar._core.parameters import Array
from fastar._core.schema import FLAG, OBJECT, Listed, Maybe, Record, Whole, inside, require
from fastar._core.validation import as_array, unmask
from fastar._data.column_labels import users_number
from fastar._data.containers import DTYPE, OFFSETS, check_dtype
from fastar._data.frame_types import as_frame
from fastar._data.long_frames import LongFrame, columns_of
from fastar._data.sequences import Sequences, SequenceTable, fill_gaps, is_ragged
from fastar._data.table import Table

_STEPS = Whole(1, MOST_STEPS)
_DESCRIBED = Record(
    {"width": _STEPS, "ends": FLAG, "length": Maybe(_STEPS), "longest": _STEPS, "dtype": DTYPE},
    {"offsets": OFFSETS, "frame": OBJECT, "missing": Listed(FLAG)},
)


@dataclass(frozen=True, kw_only=True)
class SequenceLayout:
    """The form of the sequences of `fit`: a list, unless a subclass says otherwise.

    Parameters
    ----------
    width : int
        F, values of a step.
    ends : bool
        Whether they have an end symbol.
    longest : int
        Steps of the longest one.
    dtype : str
        Type of the values.
    offsets : sequence of int or None
        Numbers that models subtract from the F values, where float64 does not hold these.
    missing : sequence of bool or None
        Which of the F values of a step were missing somewhere; None: none was.
    """

    width: int
    ends: bool
    longest: int
    dtype: str = "<f8"
    offsets: Offsets = None
    missing: tuple[bool, ...] | None = None

    of_rows: ClassVar[bool] = False
    """Whether they were the rows of an array."""

    # ---- the values of a step

    n_timed: ClassVar[Any] = 0
    """How many values of a step, its first ones, are there or not by its place alone."""
    names: ClassVar[Any] = None
    """Names of the F values of a step; None: they have none."""
    value_offsets: ClassVar[Any] = ()
    """The user's numbers less those of the F values; () where they are the same."""

    @property
    def n_features_in(self) -> int:
        """What scikit-learn counts as the features of X."""
        return self.width

    def name_of(self, d: int) -> str:
        """Return what errors call value d of a step."""
        return f"value {d}"

    def shown(self, d: int, number: Any) -> Any:
        """Return a number of value d as errors show it to the user."""
        return users_number(number, self.dtype, (self.offsets or {d: 0})[d])

    def to_numbers(self, sequences: Sequences) -> Sequences:
        """Return sequences as models see them, whose numbers float64 holds."""
        if self.offsets is None:
            return sequences
        numbers = subtract(sequences.values, self.offsets)
        return Sequences(numbers, sequences.offsets, gaps=True)

    def table(self, sequences: Sequences) -> SequenceTable:
        """Return sequences as training and scores take them."""
        return SequenceTable(sequences, self.ends)

    def steps(self, values: Array) -> Table:
        """Return steps (N, F) as rows of a table, from which a conditional is chosen."""
        return Table(values, np.arange(self.width))

    def check_columns(self, values: Array) -> None:
        """Raise ValueError where one of the F values of steps (N, F) is missing everywhere."""
        empty = np.flatnonzero((values != values).all(axis=0) & (len(values) > 0))
        if len(empty):
            raise ValueError(
                f"X must have a value somewhere in {self.name_of(int(empty[0]))} of a step: leave "
                "out what is missing there."
            )

    def check_gaps(self, sequences: Sequences, name: str) -> None:
        """Raise ValueError where a value is missing that never was in `fit`."""
        found = missing_columns(sequences.values[:, self.n_timed :])
        known = (False,) * self.width if self.missing is None else self.missing
        for d, missing in enumerate(found or (), self.n_timed):
            if missing and not known[d]:
                step = int(np.isnan(sequences.values[:, d]).argmax())
                place = int(np.searchsorted(sequences.offsets, step, side="right")) - 1
                step -= int(sequences.offsets[place])
                raise ValueError(
                    f"{name} may have missing values only where some were missing in fit. "
                    f"Got one in {self.name_of(d)} of step {step} of sequence {place}."
                )

    # ---- reading

    def read_prefix(self, given: Any, n: int) -> Sequences:
        """Return the one prefix that n samples are given, or that of each.

        Raises
        ------
        ValueError
            There are other than 1 or n, or a step is none that models of these sequences take.
        """
        found = self._read_given(given, n, "prefix", gaps=self.missing is not None)
        self.check_gaps(found, "prefix")
        return self.to_numbers(found)

    def read_evidence(self, given: Any, n: int) -> Sequences:
        """Return the one sequence with gaps that n samples are given, or that of each.

        Raises
        ------
        ValueError
            As of `read_prefix`.
        """
        return self.to_numbers(self._read_given(given, n, "evidence", gaps=True))

    def _read_given(self, given: Any, n: int, name: str, *, gaps: bool) -> Sequences:
        is_list = is_ragged(given, name) or not as_array(given, name).ndim
        found = Sequences.of(given if is_list else self._listed(given), name, gaps=gaps)
        if len(found) not in (1, n) or found.values.shape[1] != self.width:
            raise ValueError(
                f"{name} must be one sequence, or one for each of {n} samples, of {self.width} "
                f"values a step. Got {len(found)} of {found.values.shape[1]} values a step."
            )
        for f, column in enumerate(found.values.T):
            check_range(column, self.dtype, 0, f, name)
        return found

    def _listed(self, given: Any) -> list[Array]:
        """Return an array that samples are given as a list of sequences."""
        return [np.asarray(given)]

    def read_streams(self, X: Any) -> tuple[Sequences, int, int]:
        """Return the next steps (n T, F) of n streams, n and T."""
        if self.ends:
            raise ValueError("score_stream must have a model with end_symbol=False. Got ends.")
        array = as_array(unmask(X, "X"), "X")
        if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] == 0):
            raise ValueError(
                "X must have shape (n, T) or (n, T, F): the next steps of n streams. "
                f"Got {array.shape} instead."
            )
        n, T = array.shape[:2]
        values = array.reshape(n * T, -1 if array.size else 1)
        sequences = Sequences(values, np.arange(n + 1) * T, gaps=self.missing is not None)
        if array.size:
            self.check_width(sequences, "X")
        self.check_gaps(sequences, "X")
        return self.to_numbers(sequences), n, T

    def check_width(self, sequences: Sequences, name: str) -> None:
        """Raise ValueError unless steps have F values."""
        width = sequences.values.shape[1]
        if width != self.width:
            raise ValueError(
                f"{name} must have {self.width} values a step, as in fit. Got {width} instead."
            )

    # ---- what methods return

    def by_sequence(self, said: Any, lengths: Array) -> Any:
        """Return what is said of all steps (N, ..), in dicts or not, as that of each sequence."""
        ends = np.cumsum(lengths)
        return [
            mapped(said, lambda values, part=slice(end - length, end): values[part])  # type: ignore[misc]
            for length, end in zip(lengths, ends, strict=True)
        ]

    def of_values(self, said: Any) -> Any:
        """Return what is said of F values of a step as `conditionals` gives it to users.

        said: of all values together, or a list of each.
        """
        if isinstance(said, list):
            return said[0] if self.width == 1 else dict(enumerate(said))
        return mapped(said, lambda values: values[:, 0]) if self.width == 1 else said

    def wrap(self, drawn: list[Array], prefix: Sequences | None = None) -> Any:
        """Return draws (l, F), after their prefixes, as what `fit` was given."""
        if self.offsets is None:
            drawn = [each.astype(np.dtype(self.dtype)) for each in drawn]
        parts = drawn if prefix is None else _prepended(drawn, prefix)
        if self.offsets is not None:
            parts = [add(part, self.offsets, self.dtype) for part in parts]
        return [part[:, 0] for part in parts] if self.width == 1 else parts

    def fill(self, X: Any, sequences: Sequences, drawn: Iterable[Array]) -> Any:
        """Return X, read as `sequences`, with draws (N, F) in its gaps; a list if several."""
        return _only([fill_gaps(X, sequences, values) for values in drawn])

    # ---- files

    def to_json(self) -> dict[str, Any]:
        """Return the layout as objects that JSON can hold."""
        described = {
            "width": self.width,
            "ends": self.ends,
            "length": None,
            "longest": self.longest,
            "dtype": self.dtype,
            "offsets": self.offsets,
        }
        return described if self.missing is None else {**described, "missing": self.missing}

    @classmethod
    def from_json(cls, described: dict[str, Any]) -> SequenceLayout:
        """Return the layout that a file describes; EntryError if it is none."""
        _DESCRIBED.check(described, "")
        check_dtype(described["dtype"])
        own = dict(described)
        for name in ("offsets", "missing"):
            if own.get(name) is not None:
                wide = len(own[name]) == described["width"]
                require(name, wide, "must be as many as a step has values.")
                own[name] = tuple(own[name])
        if "frame" in own:
            with inside("frame"):
                own["frame"] = LongFrame.from_json(own["frame"])
            fits = len(own["frame"].columns) == described["width"]
            require("frame", fits, "must have a column for each value of a step.")
            require("length", own.pop("length") is None, "must be null for a frame.")
            return FrameLayout(**own)
        if own["length"] is not None:
            return ArrayLayout(**own)
        del own["length"]
        return SequenceLayout(**own)


@dataclass(frozen=True, kw_only=True)
class ArrayLayout(SequenceLayout):
    """Sequences that are the rows of an array (n, D).

    Parameters
    ----------
    length : int
        D.
    """

    length: int

    of_rows = True

    @property
    def n_features_in(self) -> int:
        """What scikit-learn counts as the features of X."""
        return self.length

    def read_evidence(self, given: Any, n: int) -> Sequences:
        """Return the one row with gaps that n samples are given, or that of each; or a list."""
        found = super().read_evidence(given, n)
        if not is_ragged(given) and (found.lengths != self.length).any():
            raise ValueError(
                f"evidence must have shape ({self.length},) or ({n}, {self.length}). "
                f"Got {np.shape(given)} instead."
            )
        return found

    def _listed(self, given: Any) -> list[Array]:
        array = np.asarray(given)
        return [*array] if array.ndim == 2 else [array]

    def by_sequence(self, said: Any, lengths: Array) -> Any:
        """Return what is said of all steps as arrays (n, T, ..); a list where lengths differ."""
        if len({*lengths.tolist()}) > 1:
            return super().by_sequence(said, lengths)
        return mapped(said, lambda values: values.reshape(len(lengths), -1, *values.shape[1:]))

    def wrap(self, drawn: list[Array], prefix: Sequences | None = None) -> Any:
        """Return draws, after their prefixes, as an array; as a list where they may end."""
        parts = super().wrap(drawn, prefix)
        return np.array(parts) if not self.ends and len({*map(len, parts)}) == 1 else parts

    def fill(self, X: Any, sequences: Sequences, drawn: Iterable[Array]) -> Any:
        """Return X with draws in its gaps: arrays, or lists where X is one."""
        found = super().fill(X, sequences, drawn)
        return found if is_ragged(X) else np.array(found)

    def to_json(self) -> dict[str, Any]:
        """Return the layout as objects that JSON can hold."""
        return {**super().to_json(), "length": self.length}


@dataclass(frozen=True, kw_only=True)
class FrameLayout(SequenceLayout):
    """Sequences that are the groups of a long frame.

    Parameters
    ----------
    frame : LongFrame
        The frame whose rows they were.
    """

    frame: LongFrame

    @classmethod
    def of(cls, values: Array, offsets: Array, frame: LongFrame, ends: bool) -> FrameLayout:
        """Return the layout of the steps (N, F) of a frame, whose sequences begin at `offsets`."""
        missing = missing_columns(values[:, frame.n_timed :])
        return cls(
            width=values.shape[1],
            ends=ends,
            longest=int(np.diff(offsets).max()),
            missing=None if missing is None else (False,) * frame.n_timed + missing,
            frame=frame,
        )

    # ---- the values of a step

    @property
    def n_timed(self) -> int:
        """How many values of a step, its first ones, are there or not by its place alone."""
        return self.frame.n_timed

    @property
    def names(self) -> list[Any]:
        """Names of the F values of a step."""
        return [each.name for each in self.frame.columns]

    @property
    def value_offsets(self) -> list[int]:
        """The user's numbers less those of the F values."""
        return [each.offset for each in self.frame.columns]

    def name_of(self, d: int) -> str:
        """Return what errors call value d of a step."""
        return repr(self.frame.columns[d].name)

    def shown(self, d: int, number: Any) -> Any:
        """Return a number of value d as errors show it to the user."""
        return self.frame.columns[d].value(number)

    def table(self, sequences: Sequences) -> SequenceTable:
        """Return sequences as training and scores take them."""
        return SequenceTable(sequences, self.ends, frame=self.frame)

    def steps(self, values: Array) -> Table:
        """Return steps (N, F) as rows of a table of columns."""
        return Table(columns_of(self.frame.columns, values), np.arange(self.width))

    def check_columns(self, values: Array) -> None:
        """Raise ValueError where one of the F values of steps (N, F) is missing everywhere."""
        timed = values[:, : self.n_timed]
        if len(values) and (timed != timed).all(axis=0).any():
            raise ValueError(
                "X must have a group of two rows or more where order_by is a column. Got none: "
                "one row of each group is a table, which NADE takes."
            )
        super().check_columns(values)

    # ---- reading

    def read_streams(self, X: Any) -> tuple[Sequences, int, int]:
        """Raise ValueError: a stream has no groups."""
        raise ValueError(
            "score_stream must have a model of arrays. Got one of a DataFrame, whose groups "
            "score_samples takes whole."
        )

    # ---- what methods return

    def of_values(self, said: Any) -> dict[Any, Any]:
        """Return what is said of F values of a step, by column."""
        if not isinstance(said, list):
            said = [_of_value(said, d) for d in range(self.width)]
        return dict(zip(self.names, said, strict=True))

    def wrap(self, drawn: list[Array], prefix: Sequences | None = None) -> Any:
        """Return draws, after their prefixes, as a long frame whose groups are numbered from 0."""
        parts = drawn if prefix is None else _prepended(drawn, prefix)
        return self.frame.wrap(np.concatenate(parts), np.array([len(each) for each in parts]))

    def fill(self, X: Any, sequences: Sequences, drawn: Iterable[Array]) -> Any:
        """Return the frame X with draws in its gaps; a list if several."""
        X = as_frame(X)
        _, rows, offsets = self.frame.read(X, "X")
        return _only([self.frame.fill(X, rows, values, offsets) for values in drawn])

    def to_json(self) -> dict[str, Any]:
        """Return the layout as objects that JSON can hold."""
        return {**super().to_json(), "frame": self.frame.to_json()}


def missing_columns(values: Array) -> tuple[bool, ...] | None:
    """Return which of the F values of steps (N, F) are missing somewhere; None: none is."""
    if values.dtype.kind != "f":
        return None
    missing = np.atleast_1d(np.isnan(values).any(axis=0))
    return tuple(map(bool, missing)) if missing.any() else None


def mapped(said: Any, change: Callable[[Array], Any]) -> Any:
    """Return a function of an array, or of each array of nested dicts."""
    if isinstance(said, dict):
        return {key: mapped(each, change) for key, each in said.items()}
    return change(said)


def _of_value(said: Any, d: int) -> Any:
    """Return what is said of value d of all values together."""
    return mapped(said, lambda each: each[d] if isinstance(each, list) else each[:, d])


def _prepended(parts: list[Array], prefix: Sequences) -> list[Array]:
    """Return samples (l, F), each after its prefix."""
    heads = np.split(prefix.values.astype(parts[0].dtype), prefix.offsets[1:-1])
    heads = heads * (len(parts) // len(heads))
    return [np.concatenate(pair) for pair in zip(heads, parts, strict=True)]


def _only(found: list[Any]) -> Any:
    return found[0] if len(found) == 1 else found
