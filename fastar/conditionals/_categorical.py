"""The conditional of levels."""

from __future__ import annotations

import warnings
from itertools import pairwise
from numbers import Integral
from typing import Any

import numpy as np
from scipy.special import softmax

from fastar._core.integers import LARGEST_EXACT
from fastar._core.lazy import lazy
from fastar._core.offsets import common_width, offsets_of
from fastar._core.parameters import Array
from fastar._core.schema import (
    FLAG,
    ArrayOf,
    Either,
    Maybe,
    OneOf,
    Rule,
    Whole,
    check_arrays,
    require,
)
from fastar._data.columns import MANY_LEVELS
from fastar._data.frame_types import Column
from fastar._data.regions import Region
from fastar._data.table import Table
from fastar._kernels._levels import UNKNOWN
from fastar.conditionals._conditional import (
    CodedRegion,
    Conditional,
    distance_beyond,
    log_masses,
    share_beyond,
    share_of_others,
)
from fastar.conditionals._digits import MOST_WHOLE, Digits, base_of, numbers_by_frequency
from fastar.conditionals._levels import LevelEncoder, distinct_values

_SHOWN = 5
"""Levels that are named where all would be too many."""
_UNKNOWN = ("other", "error", "impossible")


class Categorical(Conditional):
    """p(x = level k) = softmax(z)_k over the levels of each column seen in `fit`.

    A level enters the network by a row of weights of its own. A column of very many levels is two
    features, the digits of its level's number: p(x) = p(first digit) p(second digit | first), each
    a softmax over about sqrt(K) values, so that a row costs sqrt(K) instead of K. The number of a
    level is its place by falling frequency; numbers beyond K - 1 have no probability. A
    temperature applies to each digit.

    Parameters
    ----------
    unknown : {"other", "error", "impossible"}, default="other"
        Treatment of values that are no levels. "other": they share a small probability that does
        not depend on the columns before, 1 / (2 n + 2) of n rows; the levels share what is
        left, so that all sums to one. Where the levels are whole numbers the others are, too: half
        of their share is spread evenly over those between levels; the other half, or all where no
        one lies between, goes to those beyond the levels, which span s: at a distance of r it is
        s / (2 (s + r - 1) (s + r)). A value that is no level tells the columns after it
        nothing, and is never drawn. Where the type of a DataFrame's column declares the levels, or
        `cardinality` does, there is nothing else, and other values are an error. "impossible":
        probability zero, with a warning. "error": a ValueError.
    cardinality : int or None, default=None
        The levels are 0 .. cardinality - 1, seen in `fit` or not; None: those that were seen, or
        that the type of a DataFrame's column declares.
    digits : "auto" or bool, default="auto"
        Whether a column is two features. "auto": where it has more than 4,096 levels, and the model
        takes columns one after the other, without a Markov order.
    min_count : int, default=1
        How many rows of `fit` must have a string of a DataFrame's column for it to be a level of
        its own. Rarer ones become one level, "other", as does whatever `fit` has not seen, so that
        `unknown` has no say: such a value has the probability of all of them together, and a sample
        shows it as "other". What is called "other" in the data is one of them.
    """

    name = "categorical"
    has_levels = True
    binary_inputs = True
    one_hot = True

    def __init__(
        self,
        unknown: str = "other",
        cardinality: int | None = None,
        digits: str | bool = "auto",
        min_count: int = 1,
    ) -> None:
        self.unknown = unknown
        self.cardinality = cardinality
        self.digits = digits
        self.min_count = min_count

    def settings(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        settings = {"unknown": self.unknown, "cardinality": self.cardinality}
        settings |= {} if self.digits == "auto" else {"digits": self.digits}
        return settings | ({} if self.min_count == 1 else {"min_count": self.min_count})

    @classmethod
    def _settings_rules(cls) -> dict[str, Rule]:
        return {
            "unknown": OneOf(_UNKNOWN),
            "cardinality": Maybe(Whole(1)),
            "digits": Either(FLAG, OneOf(("auto",))),
            "min_count": Whole(1),
        }

    def unsplit(self) -> Categorical:
        """Return a conditional that makes each column one feature."""
        if self.digits is True:
            raise ValueError(
                "digits of Categorical must not be True for a model that sees columns in several "
                "orders, by a Markov order, or as steps. Got True instead."
            )
        return Categorical(self.unknown, self.cardinality, digits=False, min_count=self.min_count)

    def check_arrays(self, arrays: dict[str, Array], n_columns: int) -> None:
        """Raise EntryError unless these are what `arrays` gives of so many columns."""
        digits: dict[str, Array] = {
            name: arrays[name] for name in ("base", "number") if name in arrays
        }
        rest = {k: v for k, v in arrays.items() if k not in digits}
        if "whole" in rest:
            check_arrays({"whole": rest.pop("whole")}, {"whole": ArrayOf("b", (n_columns,))})
            require("whole", "other" in rest, "must be none where other values are an error.")
        super().check_arrays(rest, n_columns)
        levels, counted = arrays["levels"], arrays["n_levels"].astype(np.int64)
        require("levels", len(levels) == counted.sum(), "must be as many as n_levels counts.")
        rises = levels[1:] > levels[:-1]
        rises[np.cumsum(counted)[:-1] - 1] = True  # between two columns
        require("levels", rises.all(), "must be sorted and different in each column.")
        if self.cardinality is not None:
            whole = np.tile(np.arange(counted[0]), n_columns)
            fits = (counted == self.cardinality).all() and np.array_equal(levels, whole)
            require("levels", fits, f"must be 0 to {self.cardinality - 1}, by cardinality.")
        if digits:
            rules = {"base": ArrayOf("i", (n_columns,), 0), "number": ArrayOf("i", (None,), 0)}
            check_arrays(digits, rules)
            self._check_digits(counted, **digits)

    @staticmethod
    def _check_digits(n_levels: Array, base: Array, number: Array) -> None:
        require("base", (base <= n_levels).all(), "must be at most n_levels.")
        require("number", len(number) == n_levels.sum(), "must be as many as n_levels counts.")
        columns = np.repeat(np.arange(len(n_levels)), n_levels)
        at = offsets_of(n_levels)[columns] + number
        all_there = (number < n_levels[columns]).all() and len(np.unique(at)) == len(at)
        require("number", all_there, "must have 0 .. n_levels - 1 of each column.")

    def _learnt_rules(self, n_columns: int) -> dict[str, ArrayOf]:
        rules = {"n_levels": ArrayOf("i", (n_columns,), 1), "levels": ArrayOf("biuf", (None,))}
        if self.unknown == "other" and self.cardinality is None:
            rules["other"] = ArrayOf("f", (n_columns,), 0, 1)
        return rules

    @lazy
    def _ranges(self) -> tuple[Array, Array]:
        """The lowest and the highest level of each column (C,) of whole numbers, else 0."""
        ends = [
            (own[0], own[-1]) if w else (0, 0)
            for own, w in zip(self.levels, self.whole, strict=True)
        ]
        low, high = np.array(ends, np.float64).T
        return low, high

    @property
    def whole(self) -> Array:
        """Which columns (C,) are of whole numbers, whose other values are the other ones."""
        return self._learnt.get("whole", np.zeros(self.n_columns, bool))

    @lazy
    def _any_whole(self) -> bool:
        return bool(self.whole.any())

    @property
    def support(self) -> str:
        """The levels, for error messages."""
        if self.cardinality is None:
            return "one of the levels seen in fit"
        return f"whole numbers from 0 to {self.cardinality - 1}"

    def _learn(self, table: Table, weight: Array) -> dict[str, Array]:
        if self.unknown not in _UNKNOWN:
            raise ValueError(
                "unknown of Categorical must be 'other', 'error' or 'impossible'. "
                f"Got {self.unknown!r} instead."
            )
        self._check_min_count(table)
        if self.cardinality is not None:
            K, D = self.cardinality, len(table.order)
            if not isinstance(K, Integral) or K < 1:
                raise ValueError(
                    f"cardinality of Categorical must be an int of at least 1. Got {K!r} instead."
                )
            if table.dtype.kind in "iu" and np.iinfo(table.dtype).max < K - 1:
                raise ValueError(
                    f"cardinality of Categorical must be at most {np.iinfo(table.dtype).max + 1} "
                    f"for columns of {table.dtype}, which hold no more. Got {K!r} instead."
                )
            levels = np.tile(np.arange(K, dtype=np.int64), D)
            return self._with_digits(
                {"levels": levels, "n_levels": np.full(D, K, np.int32)}, table, weight
            )
        declared = np.array(table.n_declared())
        known = [
            np.union1d(values, np.arange(n, dtype=table.dtype)) if n else values
            for values, n in zip(distinct_values(table), declared, strict=True)
        ]
        known = [values if len(values) else np.zeros(1, table.dtype) for values in known]
        learnt = {
            "levels": np.concatenate(known),
            "n_levels": np.array([len(each) for each in known], np.int32),
        }
        if self.unknown == "other":
            learnt["other"] = np.where(declared > 0, 0, share_of_others(weight))
            numbers = table.holds_numbers() & (declared == 0)
            is_whole = [bool((np.rint(own) == own).all()) for own in known]
            if (whole := numbers & is_whole).any():
                learnt["whole"] = whole
        return self._with_digits(learnt, table, weight)

    def _check_min_count(self, table: Table) -> None:
        least = self.min_count
        if isinstance(least, bool) or not isinstance(least, Integral) or least < 1:
            raise ValueError(
                f"min_count of Categorical must be an int of at least 1. Got {least!r} instead."
            )
        if least == 1:
            return
        if self.unknown != "other" or self.cardinality is not None:
            raise ValueError(
                "min_count of Categorical must be 1 beside a cardinality, or unknown='error' or "
                f"'impossible': what is rare and what is unknown are one level. Got {least!r} "
                "instead."
            )
        described = getattr(table.X, "described", None)
        for column in table.order.tolist():
            texts = None if described is None else described[column].categories
            if texts is None or not all(isinstance(each, str) for each in texts) or not texts:
                name = column if described is None else described[column].name
                raise ValueError(
                    "min_count of Categorical must be 1 for all but columns of strings in a "
                    "DataFrame, where rare levels can be called 'other'. Got "
                    f"{least!r} for column {name!r} instead."
                )

    def _with_digits(
        self, learnt: dict[str, Array], table: Table, weight: Array
    ) -> dict[str, Array]:
        """Return also the bases and numbers of digits, if a column is to be two features."""
        if not (self.digits == "auto" or isinstance(self.digits, bool)):
            raise ValueError(
                f"digits of Categorical must be 'auto', True or False. Got {self.digits!r} instead."
            )
        n_levels = learnt["n_levels"].astype(np.int64)
        least = (
            MOST_WHOLE if self.digits == "auto" else 3
        )  # two digits of fewer levels save nothing
        split = (n_levels > least) & (self.digits is not False)
        if not split.any():
            return learnt
        mass = np.split(
            self._level_mass(LevelEncoder(learnt["levels"], offsets_of(n_levels)), table, weight),
            np.cumsum(n_levels)[:-1],
        )
        base = np.where(split, [base_of(K) for K in n_levels], 0).astype(np.int32)
        number = [
            numbers_by_frequency(own) if two else np.arange(len(own))
            for own, two in zip(mass, split, strict=True)
        ]
        return {**learnt, "base": base, "number": np.concatenate(number).astype(np.int32)}

    @lazy
    def _digits(self) -> Digits | None:
        """How columns are split, if one is."""
        if "base" not in self._learnt:
            return None
        return Digits(self.n_levels_of_columns, self._learnt["base"], self._learnt["number"])

    def _feature_counts(self) -> Array:
        """Return how many features each column (C,) is."""
        return super()._feature_counts() if self._digits is None else self._digits.counts

    @lazy
    def may_miss(self) -> Array:
        """Which features (D,) may have NaN for a code: second digits where a value is no level."""
        missing = self.by_feature(self.missing)
        return missing if self._digits is None else missing | self._digits.is_second

    @lazy
    def levels(self) -> list[Array]:
        """The levels of each column, sorted."""
        return np.split(self._learnt["levels"], np.cumsum(self.n_levels_of_columns)[:-1])

    def levels_of(self, d: int) -> Array:
        """Return the levels of column d."""
        return self.levels[d]

    def region(self, c: int, region: Region) -> CodedRegion:
        """Return the codes that column c may have in a region: those of levels."""
        if self._digits is None:
            return super().region(c, region)
        places = np.flatnonzero(region.holds(self.levels[c]))
        return CodedRegion(self._digits.runs(c, places))

    def decided(self, c: int, offset: int = 0, column: Column | None = None) -> dict[str, Any]:
        """Return what was decided on column c."""
        return super().decided(c) | {
            "levels": int(self.n_levels_of_columns[c]),
            "support": self._support_of(c, offset, column),
            "why": self._why(c, column),
        }

    def _support_of(self, c: int, offset: int, column: Column | None) -> str:
        """Return the levels of column c as the user has them, and what other values are."""
        if self.cardinality is not None:
            return self.support
        levels = self.levels[c]
        said = [_said(level, offset, column) for level in levels[:_SHOWN].tolist()]
        if len(levels) > _SHOWN:
            said.append(f"... ({len(levels)} levels)")
        rest = "any other whole number" if self.whole[c] else "any other value"
        # without its share, in which members of a mixture differ that are trained on other rows
        return ", ".join(said) + (f"; rarely {rest}" if self._other[c] else "; nothing else")

    def _why(self, c: int, column: Column | None) -> str:
        """Return the rule by which column c has levels."""
        n_levels = int(self.n_levels_of_columns[c])
        if column is not None and column.type == "category":
            if column.holds_integers:
                return "whole numbers beyond 2**53 and far apart, as names"
            if column.has_other:
                return "text, the rare values of which are one level"
            return "categories that the type declares" if column.is_declared else "text"
        if n_levels > MANY_LEVELS:
            return f"whole numbers that lie apart, {MANY_LEVELS} of which are nearly all rows"
        if np.array_equal(self.levels[c], [0, 1]):
            return "0 and 1, beside columns of other kinds"
        return f"whole numbers, at most {MANY_LEVELS} different ones"

    @property
    def n_levels_of_columns(self) -> Array:
        """How many levels each column (C,) has."""
        return self._learnt["n_levels"]

    @property
    def n_levels(self) -> Array:
        """How many levels each feature (D,) has: those of its column, or the values of a digit."""
        return self.n_levels_of_columns if self._digits is None else self._digits.n_digits

    @property
    def value_dtype(self) -> np.dtype[Any]:
        """Type of the values: that of the levels if float64 does not hold them."""
        levels = self._learnt["levels"]
        if levels.dtype.kind in "iu" and max(abs(int(k)) for k in (levels.min(), levels.max())) > (
            LARGEST_EXACT
        ):
            return levels.dtype
        return super().value_dtype

    def features(self) -> Array:
        """Return what the compiled side knows of each feature (D,)."""
        features = self._features(count=self.n_levels)
        other = self.by_feature(self._other).copy()
        if self._digits is not None:
            second = self._digits.is_second
            other[second] = 0  # the first digit says whether a value is a level
            features["parent"][second], features["applies"][second] = 1, -1
            features["last"][second], features["last_count"][second] = self._digits.last
        features["low"], features["high"] = log_masses(other)
        return features

    @property
    def _other(self) -> Array:
        """Return the probability (C,) of all that is no level."""
        return self._learnt.get("other", np.zeros(self.n_columns))

    @lazy
    def _encoder(self) -> LevelEncoder:
        return LevelEncoder(self._learnt["levels"], offsets_of(self.n_levels_of_columns))

    def _outside(self, block: Array) -> Array:
        known = self.takes_unknown()
        if known.all():
            return np.zeros(block.shape, bool)
        codes, unknown = self._encoder.encode(block, np.float32)
        return (codes == UNKNOWN) & ~known if unknown else np.zeros(block.shape, bool)

    def takes_unknown(self) -> Array:
        """Return which columns (C,) may hold values that `fit` has not seen."""
        return (self._other > 0) | (self.unknown == "impossible")

    def encode(self, block: Array, dtype: np.dtype[Any]) -> Array:
        """Return the place of each level, or its digits; -1 for an unknown one.

        Or, in a column of whole numbers, -1 - r for one r beyond the lowest or the highest level.
        """
        codes, unknown = self._encoder.encode(block, dtype)
        if unknown and self.whole.any():
            beyond = distance_beyond(block.astype(np.float64), *self._ranges)
            codes = np.where((codes == UNKNOWN) & self.whole, UNKNOWN - np.rint(beyond), codes)
            codes = codes.astype(dtype, copy=False)
        if unknown and self.unknown == "impossible":
            warnings.warn(
                f"{unknown} values are no level that was seen in fit; their log-probability is "
                "-inf.",
                UserWarning,
                stacklevel=2,
            )
        return codes if self._digits is None else self._digits.split(codes)

    def decode(self, codes: Array) -> Array:
        """Return the levels with these places or digits."""
        if self._digits is not None:
            codes = self._digits.join(codes).astype(np.float64)
        return self._encoder.decode(codes)

    def interval(self, block: Array, radius: Array, dtype: np.dtype[Any]) -> tuple[Array, Array]:
        """Return the lowest and highest codes (n, D) within radius (C,) of the values.

        Digits do not go by distance: a column that is split keeps its values.
        """
        low, high = np.empty(block.shape, dtype), np.empty(block.shape, dtype)
        for c, levels in enumerate(self.levels):
            column, wide = block[:, c].astype(np.float64), radius[c] + 1e-6
            low[:, c] = np.searchsorted(levels, column - wide)
            high[:, c] = np.searchsorted(levels, column + wide, side="right") - 1
        if block.dtype.kind == "f":
            low[np.isnan(block)] = high[np.isnan(block)] = np.nan
        if self._digits is None:
            return low, high
        codes, _ = self._encoder.encode(block, dtype)
        own, unknown = self._digits.split(codes), self.by_feature(codes == UNKNOWN)
        kept = self.by_feature(self._digits.base > 0)
        return (
            np.where(kept, np.where(unknown, 1, own), self.by_feature(low)),
            np.where(kept, np.where(unknown, 0, own), self.by_feature(high)),
        )

    def log_jacobian(self, codes: Array) -> Array | None:
        """Return the log of the share that a whole number has of all that are no level, else 0."""
        if not self._any_whole or not (codes < 0).any():
            return None
        out = np.zeros(codes.shape)
        low, high = self._ranges
        gaps = np.where(self.whole, high - low + 1 - self.n_levels_of_columns, 0)
        s = np.maximum(high - low, 1)
        first = codes[:, self.column_offsets[:-1]].astype(np.float64)
        r = np.maximum(UNKNOWN - first, 0)
        inside = np.where(gaps > 0, np.log(0.5 / np.maximum(gaps, 1)), share_beyond(1.0, s))
        beyond = share_beyond(np.maximum(r, 1), s) + np.log(np.where(gaps > 0, 0.5, 1))
        share = np.where(r > 0, beyond, inside)
        out[:, self.column_offsets[:-1]] = np.where((first < 0) & self.whole, share, 0)
        return out

    def constant(self, table: Table, weight: Array) -> Array:
        """Return the log of each level's share."""
        shares = self._level_mass(self._encoder, table, weight)
        if self._digits is not None:
            shares = self._digits.mass(shares)
        # a level without weight gets half of the smallest share
        least = shares[shares > 0].min() if shares.any() else 1.0
        log_share: Array = np.log(np.where(shares == 0, least / 2, shares) / weight.sum())
        return log_share

    @staticmethod
    def _level_mass(encoder: LevelEncoder, table: Table, weight: Array) -> Array:
        """Return the weight (sum of K,) of the rows that have each level."""
        mass = np.zeros(len(encoder.levels))
        for where, block in table.blocks():
            codes, _ = encoder.encode(block, np.float64)
            encoder.add_mass(codes, weight[where], mass)
        return mass

    def distribution_params(self, raw: Array, codes: Array) -> Array | list[Array]:
        """Return probabilities (n, C, K), or a list of (n, K) by column where K differs.

        They sum to one less what is left for other values. A column that is split has a dict:
        "first" (n, K'), the probabilities of the first digits, "second" (n, K''), those of the
        second digits that go with the first one of the value, and "probability" (n,) of the value,
        NaN where it is missing.
        """
        known = 1 - self._other
        if self._digits is not None:
            return self._params_of_digits(raw, codes, known)
        if common_width(self.output_offsets) is not None:
            probability: Array = softmax(self._split_outputs(raw), axis=2) * known[:, None]
            return probability
        by_feature = np.split(raw.astype(np.float64), self.output_offsets[1:-1], axis=1)
        return [softmax(z, axis=1) * mass for z, mass in zip(by_feature, known, strict=True)]

    def _params_of_digits(self, raw: Array, codes: Array, known: Array) -> list[Any]:
        assert self._digits is not None
        logp, _ = self.log_prob(np.ascontiguousarray(raw), np.ascontiguousarray(codes), 1)
        probability = np.exp(self.by_column(logp.astype(np.float64)))
        by_feature = np.split(raw.astype(np.float64), self.output_offsets[1:-1], axis=1)
        second = self.features()
        found: list[Any] = []
        for c, (start, end) in enumerate(pairwise(self.column_offsets.tolist())):
            first = softmax(by_feature[start], axis=1) * known[c]
            if end == start + 1:
                found.append(first)
                continue
            z = by_feature[start + 1].copy()
            is_last = codes[:, start] == second["last"][start + 1]
            z[is_last, second["last_count"][start + 1] :] = -np.inf
            own = np.where(np.isnan(codes[:, start]), np.nan, probability[:, c])
            found.append({"first": first, "second": softmax(z, axis=1), "probability": own})
        return found


def _said(level: Any, offset: int, column: Column | None) -> str:
    """Return a level as the user has it."""
    if column is not None:
        return str(column.value(level))
    return str(int(level) + offset if float(level).is_integer() else level)
