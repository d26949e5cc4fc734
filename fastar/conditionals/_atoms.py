"""The base of conditionals of numbers some of which are atoms: values that many rows share."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from fastar._core.inputs import MAY_MISS, ONE_HOT, Inputs
from fastar._core.lazy import lazy
from fastar._core.offsets import offsets_of
from fastar._core.parameters import Array
from fastar._core.schema import ArrayOf, require
from fastar._data.regions import Region
from fastar._data.table import Table
from fastar._kernels import _conditionals
from fastar.conditionals._conditional import (
    CodedRegion,
    Conditional,
    log_masses,
    runs_of,
    sampled_columns,
)
from fastar.conditionals._levels import LevelEncoder

_SHARE, _ROWS = 0.001, 10
"""Share of the rows, and rows, that have a value exactly which is an atom."""
_EXCESS, _ERRORS = 1.5, 4
"""How often an atom is as common as the median of the values around, and how many of its own
standard errors more: steps alone are not, and an atom beside it does not hide it."""
OFFSETS = np.array([*range(-5, 0), *range(1, 6)])
"""Where the values around lie."""

ALL_OTHERS = -(2.0**40)
"""The choice that stands for all values outside a support, where each of them is less far."""

_LEAST_ROWS, _LOOKED_AT = 2000, 1 << 22
"""Numbers of a table that are looked at, and at least so many rows of it."""


class NumberOrAtom(Conditional):
    """Base of conditionals whose columns are one of some atoms, or another number.

    A column with atoms, or with some probability outside its support, is two features: a choice,
    which is the place of the atom from 1, 0 where the value is none, or negative outside the
    support; and the number where the choice is 0.
    """

    number_kind: ClassVar[str]
    """The kernel of numbers that are no atoms."""
    atoms: bool
    """Whether columns may have atoms."""

    def _atom_rules(self, n_columns: int) -> dict[str, ArrayOf]:
        """Return what the arrays of atoms must be."""
        return {
            "other": ArrayOf("f", (n_columns,), 0, 1),
            "atoms": ArrayOf("f", (None,)),
            "n_atoms": ArrayOf("i", (n_columns,), 0),
        }

    def check_arrays(self, arrays: dict[str, Array], n_columns: int) -> None:
        """Raise EntryError unless these are what `arrays` gives of so many columns."""
        super().check_arrays(arrays, n_columns)
        atoms, counted = arrays["atoms"], arrays["n_atoms"].astype(np.int64)
        require("atoms", len(atoms) == counted.sum(), "must be as many as n_atoms counts.")
        owner = np.repeat(np.arange(n_columns), counted)
        rises = (atoms[1:] > atoms[:-1]) | (owner[1:] > owner[:-1])
        require("atoms", rises.all(), "must be sorted and different in each column.")

    @property
    def n_atoms(self) -> Array:
        """How many atoms each column (C,) has."""
        return self._learnt["n_atoms"]

    @lazy
    def atoms_of_columns(self) -> list[Array]:
        """The atoms of each column, sorted."""
        return np.split(self._learnt["atoms"], np.cumsum(self.n_atoms)[:-1])

    # ---- columns and their features

    def _feature_counts(self) -> Array:
        """Return how many features each column (C,) is."""
        counts = np.ones(self.n_columns, np.int64)
        counts[self._with_choice] = 2
        return counts

    @property
    def _other(self) -> Array:
        """Return the probability (C,) of all values outside the support."""
        return self._learnt["other"]

    @lazy
    def _with_choice(self) -> Array:
        """The columns that have atoms, or some probability outside their support."""
        return np.flatnonzero((self.n_atoms > 0) | (self._other > 0))

    @lazy
    def _choices(self) -> Array:
        """The features that say which atom a value is, none, or outside the support."""
        return self.column_offsets[self._with_choice]

    @lazy
    def _numbers(self) -> Array:
        """The feature that is the number of each column (C,)."""
        return self.column_offsets[1:] - 1

    @lazy
    def may_miss(self) -> Array:
        """Which features (D,) may have NaN for a code: numbers where a value is an atom."""
        may_miss = self.by_feature(self.missing).copy()
        may_miss[self._choices + 1] = True
        return may_miss

    @property
    def n_levels(self) -> Array:
        """Return how many rows of input weights each feature (D,) uses when it is there."""
        counted = np.ones(self.n_features, np.int32)
        counted[self._choices] = self.n_atoms[self._with_choice] + 1
        return counted

    @lazy
    def inputs(self) -> Inputs:
        """How codes enter a network."""
        flags = (MAY_MISS * self.may_miss).astype(np.uint8)
        flags[self._choices] |= ONE_HOT
        return self._inputs(flags, False)

    def _records(self, count: int) -> Array:
        """Return the records of all features (D,), of numbers of so many components."""
        features = np.zeros(self.n_features, _conditionals.FEATURE)
        numbers, choices = self._numbers, self._choices
        features["unit"] = features["floor"] = 1.0
        features["kind"][numbers] = _conditionals.KINDS.index(self.number_kind)
        features["count"][numbers] = count
        features["kind"][choices] = _conditionals.KINDS.index("categorical")
        features["count"][choices] = self.n_levels[choices]
        features["low"][choices], features["high"][choices] = log_masses(
            self._other[self._with_choice]
        )
        features["parent"][choices + 1] = 1  # and applies is 0: it is no atom
        return features

    def normal_noise(self) -> Array:
        """Return which (D, m) of the numbers that draws use up are normal, not uniform."""
        normal = super().normal_noise()
        normal[self._choices] = False
        return normal

    # ---- values and codes

    @lazy
    def _encoder(self) -> LevelEncoder:
        counted = self.n_atoms[self.n_atoms > 0]
        return LevelEncoder(self._learnt["atoms"], offsets_of(counted))

    def _places(self, block: Array) -> Array:
        """Return choices (n, columns that have one) of values (n, C), NaN of missing ones."""
        columns = self._with_choice
        places = np.where(np.isnan(block[:, columns]), np.nan, 0.0)
        if (own := self.n_atoms[columns] > 0).any():
            with_atoms = np.ascontiguousarray(block[:, columns[own]])
            places[:, own] = self._encoder.encode(with_atoms, np.float64)[0] + 1
        return places

    def _joined(self, block: Array, y: Array, dtype: np.dtype[Any]) -> Array:
        """Return codes (n, D) of values (n, C) whose numbers have the codes y (n, C)."""
        codes = np.empty((len(block), self.n_features), dtype)
        if len(self._with_choice):
            places = self._places(block)
            codes[:, self._choices] = places
            y[:, self._with_choice] = np.where(places == 0, y[:, self._with_choice], np.nan)
        codes[:, self._numbers] = y
        return codes

    def _atoms_or(self, codes: Array, values: Array) -> Array:
        """Return values (n, C), or the atoms that codes (n, D) say. Changes values."""
        for c, choice in zip(self._with_choice, self._choices, strict=True):
            places = np.nan_to_num(codes[:, choice]).astype(np.int64)
            atoms = np.concatenate([[0.0], self.atoms_of_columns[c]])
            values[:, c] = np.where(places > 0, atoms[np.maximum(places, 0)], values[:, c])
        return values

    def _coded_region(
        self, c: int, region: Region, numbers: Array, ends: tuple[float, float], has_other: bool
    ) -> CodedRegion:
        """Return the codes of a region: those of atoms, and runs (m, 2) of numbers.

        ends: of what may be drawn. has_other: whether all values outside the support are in it.
        """
        if c not in self._with_choice:
            return CodedRegion([[numbers]], *ends)
        allowed = np.flatnonzero(region.holds(self.atoms_of_columns[c])) + 1
        none = [0] if len(numbers) else []
        # what is outside the support is a run of its own
        other = runs_of(np.array([ALL_OTHERS] if has_other and self._other[c] > 0 else []))
        choices = np.concatenate([other, runs_of(np.array([*none, *allowed]))])
        return CodedRegion([[choices], [numbers]], *ends)

    # ---- the constant model

    def _choice_shares(self, table: Table, weight: Array) -> list[Array]:
        """Return the log of the share of each value of each choice, with half a row more."""
        mass = [np.full(K, 0.5) for K in self.n_levels[self._choices]]
        for where, block in table.blocks():
            if not mass:
                break
            places = self._places(block)
            for own, column in zip(mass, places.T, strict=True):
                there = column >= 0
                own += np.bincount(
                    column[there].astype(np.int64), weight[where][there], minlength=len(own)
                )
        return [np.log(own / own.sum()) for own in mass]

    def _by_column(self, found: list[dict[str, Array]]) -> dict[str, Any]:
        """Return what is said of each column in one, the probabilities of atoms in a list."""
        atoms = [each.pop("atoms") for each in found]
        said: dict[str, Any] = {
            key: np.stack([each[key] for each in found], axis=1) for key in found[0]
        }
        return said | {"atoms": atoms} if self.atoms else said

    def _with_components(
        self, table: Table, weight: Array, components: tuple[Array, Array, Array]
    ) -> Array:
        """Return raw outputs, of numbers log weights, locations and log scales (C, K)."""
        parts: list[Any] = [None] * self.n_features
        for d, share in zip(self._choices, self._choice_shares(table, weight), strict=True):
            parts[d] = share
        for d, *raw in zip(self._numbers, *components, strict=True):
            parts[d] = np.concatenate(raw)
        return np.concatenate(parts)


def common_values(values: Array, weight: Array) -> tuple[Array, Array, Array, Array]:
    """Return the values (L,), their masses, their rows, and the places of those common enough."""
    levels, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    mass = np.bincount(place, weight, minlength=len(levels))
    common = np.flatnonzero((mass >= _SHARE * weight.sum()) & (counts >= _ROWS))
    return levels, mass, counts, common


def stands_out(mass: Array, counts: Array, around: Array) -> Array:
    """Return which values (L,) are more common than those around, whose masses are (L, m).

    NaN in place of a mass is no neighbour.
    """
    usual = np.nanmedian(around, axis=1)
    error = mass / np.sqrt(counts)
    found: Array = (mass >= _EXCESS * usual) & (mass - usual >= _ERRORS * error)
    return found


def looked_at(table: Table, weight: Array) -> tuple[Array, Array]:
    """Return the rows (m, C) from which atoms and maps are learnt, and their weights (m,)."""
    most = max(_LEAST_ROWS, _LOOKED_AT // len(table.order))
    if len(table) <= most:
        return table.take(slice(None)), weight
    return sampled_columns(table, weight, most), np.ones(most)
