"""Rules for the contents of files: entries of a header and arrays, checked before use.

A rule is declared beside the class whose state it is about. What breaks one raises `EntryError`,
which names the entry.
"""

from __future__ import annotations

import inspect
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastar._core.parameters import Array

_LARGEST = 2**63 - 1
_SHOWN = 60


class EntryError(ValueError):
    """An entry of a file says what it may not.

    Parameters
    ----------
    entry : str
        Its name, and before it those of the entries around it.
    problem : str
        The rule that it breaks: "must be ...".
    """

    def __init__(self, entry: str, problem: str) -> None:
        super().__init__(f"{entry} {problem}")
        self.entry, self.problem = entry, problem


@contextmanager
def inside(entry: str) -> Iterator[None]:
    """Name the entry around what raises a ValueError in the body."""
    try:
        yield
    except EntryError as error:
        raise EntryError(f"{entry}.{error.entry}".strip("."), error.problem) from error
    except ValueError as error:
        raise EntryError(entry, f"is refused: {error}") from error


def require(entry: str, holds: Any, rule: str) -> None:
    """Raise EntryError unless the rule holds: "must be ..."."""
    if not holds:
        raise EntryError(entry, rule)


class Rule(ABC):
    """A rule for a value of a header."""

    @property
    @abstractmethod
    def said(self) -> str:
        """The rule in words, after "must be"."""

    @abstractmethod
    def holds(self, value: Any) -> bool:
        """Return whether the value itself is right; `check` looks at what is inside."""

    def check(self, value: Any, entry: str) -> None:
        """Raise EntryError where the value, or one inside of it, breaks its rule."""
        if not self.holds(value):
            shown = repr(value)
            shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
            raise EntryError(entry, f"must be {self.said}. Got {shown} instead.")


@dataclass(frozen=True)
class Whole(Rule):
    """An int from `low` to `high`."""

    low: int = -_LARGEST
    high: int = _LARGEST

    @property
    def said(self) -> str:
        """The rule in words, after "must be"."""
        return f"an int from {self.low} to {self.high}"

    def holds(self, value: Any) -> bool:
        """Return whether it is one."""
        return type(value) is int and self.low <= value <= self.high


@dataclass(frozen=True)
class Number(Rule):
    """An int or a float from `low` to `high`; NaN where there are no limits alone."""

    low: float | None = None
    high: float | None = None

    @property
    def said(self) -> str:
        """The rule in words, after "must be"."""
        return "a number" if self.low is None else f"a number from {self.low} to {self.high}"

    def holds(self, value: Any) -> bool:
        """Return whether it is one."""
        if type(value) not in (int, float):
            return False
        return (self.low is None or self.low <= value) and (self.high is None or value <= self.high)


@dataclass(frozen=True)
class Text(Rule):
    """A str, of a form if there is a pattern."""

    pattern: str = r"(?s).*"

    @property
    def said(self) -> str:
        """The rule in words, after "must be"."""
        return f"a str like {self.pattern}"

    def holds(self, value: Any) -> bool:
        """Return whether it is one."""
        return isinstance(value, str) and re.fullmatch(self.pattern, value) is not None


@dataclass(frozen=True)
class OneOf(Rule):
    """One of these strings, bools or None."""

    values: Collection[Any]

    @property
    def said(self) -> str:
        """The rule in words, after "must be"."""
        return "one of " + ", ".join(repr(each) for each in self.values)

    def holds(self, value: Any) -> bool:
        """Return whether it is one."""
        return isinstance(value, str | bool | None) and value in self.values


FLAG = OneOf((False, True))
SCALAR_TYPES = (str, int, float, bool)


@dataclass(frozen=True)
class Anything(Rule):
    """A value of one of these types, which is checked elsewhere."""

    types: tuple[type, ...] = (object,)

    @property
    def said(self) -> str:
        """The rule in words, after "must be"."""
        return " or ".join(each.__name__ for each in self.types)

    def holds(self, value: Any) -> bool:
        """Return whether it is of a type."""
        return isinstance(value, self.types)


OBJECT = Anything((dict,))


@dataclass(frozen=True)
class Maybe(Rule):
    """None, or what another rule says."""

    rule: Rule

    @property
    def said(self) -> str:
        """The rule in words, after "must be"."""
        return f"null or {self.rule.said}"

    def holds(self, value: Any) -> bool:
        """Return whether it is one of both."""
        return value is None or self.rule.holds(value)

    def check(self, value: Any, entry: str) -> None:
        """Raise EntryError where the value, or one inside of it, breaks its rule."""
        if value is not None:
            self.rule.check(value, entry)


@dataclass(frozen=True)
class Either(Rule):
    """A value that keeps one of two rules, neither of which looks inside."""

    first: Rule
    second: Rule

    @property
    def said(self) -> str:
        """The rule in words, after "must be"."""
        return f"{self.first.said} or {self.second.said}"

    def holds(self, value: Any) -> bool:
        """Return whether it is one of both."""
        return self.first.holds(value) or self.second.holds(value)


@dataclass(frozen=True)
class Listed(Rule):
    """A list, each entry of which follows a rule; of a length, or of `least` entries or more."""

    rule: Rule
    length: int | None = None
    least: int = 0

    @property
    def said(self) -> str:
        """The rule in words, after "must be"."""
        known = f"{self.least} or more" if self.length is None else self.length
        return f"a list of {known} entries"

    def holds(self, value: Any) -> bool:
        """Return whether it is a list of that length."""
        if not isinstance(value, list) or len(value) < self.least:
            return False
        return self.length in (None, len(value))

    def check(self, value: Any, entry: str) -> None:
        """Raise EntryError where the value, or one inside of it, breaks its rule."""
        super().check(value, entry)
        for place, each in enumerate(value):
            self.rule.check(each, f"{entry}.{place}")


@dataclass(frozen=True)
class Record(Rule):
    """A JSON object with these entries and no others; those of `optional` may be left out."""

    entries: Mapping[str, Rule]
    optional: Mapping[str, Rule] = field(default_factory=dict)

    @classmethod
    def of_arguments(cls, made: type[Any], rules: Mapping[str, Rule]) -> Record:
        """Return the rule for arguments of a class; those with a default may be left out.

        A constructor may hand arguments on to those of its bases.
        """
        known: dict[str, inspect.Parameter] = {}
        for base in reversed(made.__mro__):
            known |= inspect.signature(vars(base).get("__init__", object.__init__)).parameters
        needed = {name for name in rules if known[name].default is inspect.Parameter.empty}
        return cls(
            {name: rule for name, rule in rules.items() if name in needed},
            {name: rule for name, rule in rules.items() if name not in needed},
        )

    @property
    def said(self) -> str:
        """The rule in words, after "must be"."""
        return "an object"

    def holds(self, value: Any) -> bool:
        """Return whether it is an object."""
        return isinstance(value, dict)

    def check(self, value: Any, entry: str) -> None:
        """Raise EntryError where the value, or one inside of it, breaks its rule."""
        super().check(value, entry)
        rules = {**self.entries, **self.optional}
        for name in {**self.entries, **value}:
            inner = f"{entry}.{name}" if entry else name
            require(inner, name in value, "must be among the entries.")
            require(inner, name in rules, "is no entry that this fastar knows.")
            rules[name].check(value[name], inner)


@dataclass(frozen=True)
class Named(Rule):
    """An object whose entry "name" says which of several kinds of `Record` the rest is."""

    kinds: Mapping[str, Callable[[], Record]]

    @property
    def said(self) -> str:
        """The rule in words, after "must be"."""
        return f"an object whose name is one of {', '.join(self.kinds)}"

    def holds(self, value: Any) -> bool:
        """Return whether it is an object of a known name."""
        return (
            isinstance(value, dict)
            and isinstance(value.get("name"), str)
            and value["name"] in self.kinds
        )

    def check(self, value: Any, entry: str) -> None:
        """Raise EntryError where the value, or one inside of it, breaks its rule."""
        super().check(value, entry)
        rest = {key: each for key, each in value.items() if key != "name"}
        self.kinds[value["name"]]().check(rest, entry)


@dataclass(frozen=True)
class ArrayOf:
    """An array of a shape, whose numbers are finite (if `finite`) and from `low` to `high`.

    Parameters
    ----------
    kinds : str
        The kinds of its type, as NumPy's letters.
    shape : tuple of (int or None)
        None: any length.
    low, high : float or None
    finite : bool
    """

    kinds: str
    shape: tuple[int | None, ...]
    low: float | None = None
    high: float | None = None
    finite: bool = True

    def check(self, array: Array, entry: str) -> None:
        """Raise EntryError where the array breaks the rule."""
        known = len(array.shape) == len(self.shape) and all(
            asked in (None, found) for asked, found in zip(self.shape, array.shape, strict=True)
        )
        if not known or array.dtype.kind not in self.kinds:
            wanted = tuple("any" if each is None else each for each in self.shape)
            raise EntryError(
                entry,
                f"must be an array of shape {wanted} and of a type of kind {self.kinds}. "
                f"Got {array.shape} and {array.dtype} instead.",
            )
        if array.dtype.kind == "b":  # another byte would be neither
            require(entry, (array.view(np.uint8) <= 1).all(), "must hold bools.")
        if self.finite:
            require(entry, np.isfinite(array).all(), "must hold finite numbers.")
        if self.low is not None:
            require(entry, (array >= self.low).all(), f"must hold numbers from {self.low} on.")
        if self.high is not None:
            require(entry, (array <= self.high).all(), f"must hold numbers up to {self.high}.")


def check_arrays(arrays: Mapping[str, Array], rules: Mapping[str, ArrayOf]) -> None:
    """Raise EntryError unless there are these arrays and no others, each by its rule."""
    for name in {**rules, **arrays}:
        require(name, name in rules, "is no array that this fastar knows.")
        require(name, name in arrays, "must be among the arrays.")
        rules[name].check(arrays[name], name)


SMALLEST = float(np.finfo(np.float64).smallest_subnormal)
"""The smallest number above zero."""


def within(arrays: dict[str, Array], prefix: str) -> dict[str, Array]:
    """Return the arrays whose names begin so, by the rest of their names."""
    return {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix)
    }
