"""One conditional a column."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastar._core.inputs import Inputs
from fastar._core.integers import cast
from fastar._core.lazy import lazy
from fastar._core.offsets import positions
from fastar._core.parameters import Array
from fastar._core.schema import EntryError, Listed, Rule, inside, within
from fastar._data.frame_types import Column
from fastar._data.regions import Region
from fastar._data.table import Table
from fastar._kernels._cpu import aligned_empty
from fastar.conditionals._conditional import CodedRegion, Conditional
from fastar.conditionals._names import SETTINGS, from_name


class Mixed(Conditional):
    """One conditional for each column, for tables of mixed data.

    Columns that have the same conditional are handled as one table of their own.

    Parameters
    ----------
    columns : list of Conditional
        In the order of the columns of a table, that is, of the model.
    """

    name = "mixed"
    support = "values of each column's own support"

    def __init__(self, columns: list[Any]) -> None:
        self.columns = [from_name(each) for each in columns]

    def settings(self) -> dict[str, Any]:
        """Return the constructor's arguments, without objects."""
        return {"columns": [{"name": each.name, **each.settings()} for each in self.columns]}

    @classmethod
    def _settings_rules(cls) -> dict[str, Rule]:
        return {"columns": Listed(SETTINGS)}

    def check_arrays(self, arrays: dict[str, Array], n_columns: int) -> None:
        """Raise EntryError unless these are what `arrays` gives of so many columns."""
        if len(self.columns) != n_columns:
            raise EntryError("columns", f"must be {n_columns}. Got {len(self.columns)}.")
        rest = {name: array for name, array in arrays.items() if "." not in name}
        super().check_arrays(rest, n_columns)
        groups = self._groups()
        for name in arrays.keys() - rest.keys():
            if name.partition(".")[0] not in map(str, range(len(groups))):
                raise EntryError(name, "is no array that this fastar knows.")
        for place, (each, d) in enumerate(groups):
            with inside(str(place)):
                each.check_arrays(within(arrays, f"{place}."), len(d))

    def unsplit(self) -> Mixed:
        """Return a conditional that makes each column one feature."""
        return Mixed([each.unsplit() for each in self.columns])

    def __repr__(self) -> str:
        return f"Mixed({self.columns!r})"

    def _learn(self, table: Table, weight: Array) -> dict[str, Array]:
        if len(self.columns) != len(table.order):
            raise ValueError(
                f"A list of conditionals must have one for each of {len(table.order)} columns. "
                f"Got {len(self.columns)} instead."
            )
        learnt: dict[str, Array] = {}
        for place, (each, d) in enumerate(self._groups()):
            arrays = each.fitted(table.columns(d), weight).arrays()
            learnt |= {f"{place}.{name}": array for name, array in arrays.items()}
        return learnt

    def _groups(self) -> list[tuple[Conditional, Array]]:
        """Return each different conditional and the columns that have it."""
        found: dict[str, tuple[Conditional, list[int]]] = {}
        for d, each in enumerate(self.columns):
            found.setdefault(repr(each), (each, []))[1].append(d)
        return [(each, np.array(d)) for each, d in found.values()]

    def restored(self, arrays: dict[str, Array], n_columns: int) -> Mixed:
        """Return a copy with what `arrays` gave."""
        new = super().restored(arrays, n_columns)
        missing = np.zeros(n_columns, bool)
        new.groups = []
        for place, (each, d) in enumerate(self._groups()):
            group = each.restored(within(arrays, f"{place}."), len(d))
            missing[d] = group.missing
            new.groups.append((group, d))
        new.missing = missing
        return new

    @property
    def zero_init_output(self) -> bool:  # type: ignore[override]
        """Whether any column's first outputs would be spoilt."""
        return any(each.zero_init_output for each in self.columns)

    groups: list[tuple[Conditional, Array]]
    """Each different conditional, fitted, and the columns that have it."""

    def of_column(self, d: int) -> tuple[Conditional, int]:
        """Return the conditional of a column, and the column's place among those that have it."""
        for group, columns in self.groups:
            place = np.flatnonzero(columns == d)
            if place.size:
                return group, int(place[0])
        raise IndexError(d)

    def decided(self, c: int, offset: int = 0, column: Column | None = None) -> dict[str, Any]:
        """Return what was decided on column c, as its own conditional says."""
        group, place = self.of_column(c)
        return group.decided(place, offset, column)

    def _feature_counts(self) -> Array:
        """Return how many features each column (C,) is."""
        return self._of_columns(lambda group: np.diff(group.column_offsets))

    @lazy
    def features_of_groups(self) -> list[Array]:
        """The features of each group's columns."""
        return [positions(self.column_offsets, d) for _, d in self.groups]

    def _of_columns(self, of_group: Callable[[Conditional], Array]) -> Array:
        """Return the answers of all groups in one array over all columns."""
        return self._united([d for _, d in self.groups], of_group)

    def _of_features(self, of_group: Callable[[Conditional], Array]) -> Array:
        """Return the answers of all groups in one array over all features."""
        return self._united(self.features_of_groups, of_group)

    def _united(self, places: list[Array], of_group: Callable[[Conditional], Array]) -> Array:
        parts = [of_group(group) for group, _ in self.groups]
        out = np.empty(sum(map(len, places)), parts[0].dtype)
        for part, d in zip(parts, places, strict=True):
            out[d] = part
        return out

    @lazy
    def may_miss(self) -> Array:
        """Which features (D,) may have NaN for a code."""
        return self._of_features(lambda group: group.may_miss)

    def unsupported(self, block: Array) -> Array:
        """Return where (n, C) the values lie outside the support of their column."""
        out = np.empty(block.shape, bool)
        for group, d in self.groups:
            out[:, d] = group.unsupported(block.take(d, axis=1))
        return out

    def _outside(self, block: Array) -> Array:
        return self.unsupported(block)

    def takes_unknown(self) -> Array:
        """Return which columns (C,) may hold values that `fit` has not seen."""
        return self._of_columns(lambda group: group.takes_unknown())

    def encode(self, block: Array, dtype: np.dtype[Any]) -> Array:
        """Return codes (n, D) of values (n, C)."""
        codes: Array = aligned_empty((len(block), self.n_features), dtype)
        for (group, d), features in zip(self.groups, self.features_of_groups, strict=True):
            codes[:, features] = group.encode(block.take(d, axis=1), dtype)
        return codes

    def decode(self, codes: Array) -> Array:
        """Return values (n, C) of codes (n, D)."""
        dtype = self.value_dtype
        out = np.empty((len(codes), self.n_columns), dtype)
        for (group, d), features in zip(self.groups, self.features_of_groups, strict=True):
            out[:, d] = cast(group.decode(np.ascontiguousarray(codes[:, features])), dtype)
        return out

    @property
    def value_dtype(self) -> np.dtype[Any]:
        """Type that holds all columns: integers if the levels of one need them."""
        own = [group.value_dtype for group, _ in self.groups]
        return next((dtype for dtype in own if dtype.kind != "f"), np.dtype(np.float64))

    def interval(self, block: Array, radius: Array, dtype: np.dtype[Any]) -> tuple[Array, Array]:
        """Return the lowest and highest codes (n, D) within radius (C,) of the values."""
        shape = len(block), self.n_features
        low, high = np.empty(shape, dtype), np.empty(shape, dtype)
        for (group, d), features in zip(self.groups, self.features_of_groups, strict=True):
            low[:, features], high[:, features] = group.interval(block[:, d], radius[d], dtype)
        return low, high

    def levels_of(self, d: int) -> Array | None:
        """Return all values that column d can have; None where they are too many."""
        group, place = self.of_column(d)
        return group.levels_of(place)

    def has_mass(self, c: int, values: Array) -> Array:
        """Return which values of column c have a probability, as its own conditional says."""
        group, place = self.of_column(c)
        return group.has_mass(place, values)

    def region(self, c: int, region: Region) -> CodedRegion:
        """Return the codes that column c may have in a region."""
        group, place = self.of_column(c)
        return group.region(place, region)

    def log_jacobian(self, codes: Array) -> Array:
        """Return log ``|d code / d value|`` at codes (n, D), 0 of NaN and of discrete features."""
        out = self._brief_log_jacobian(codes)
        return out if out.ndim > 1 else np.tile(out, (len(codes), 1))

    def _brief_log_jacobian(self, codes: Array) -> Array:
        same, others = self._log_jacobians
        found = [
            (features, group._brief_log_jacobian(codes.take(features, axis=1)))
            for group, features in others
        ]
        parts = [(features, own) for features, own in found if own is not None]
        if not parts:
            return same
        is_same = all(own.ndim == 1 for _, own in parts)
        out = np.broadcast_to(same, same.shape if is_same else codes.shape).copy()
        for features, own in parts:
            out[..., features] = own
        return out

    @lazy
    def _log_jacobians(self) -> tuple[Array, list[tuple[Conditional, Array]]]:
        """Terms (D,) that all codes share, else 0, and the groups of other ones, with features."""
        same, others = np.zeros(self.n_features), []
        for (group, _), features in zip(self.groups, self.features_of_groups, strict=True):
            own = None if self.may_miss.any() else group._same_log_jacobian()
            if own is None:
                others.append((group, features))
            else:
                same[features] = own
        return same, others

    @property
    def n_levels(self) -> Array:
        """Return how many rows of input weights each feature (D,) uses when it is there."""
        return self._of_features(lambda group: group.n_levels)

    @lazy
    def inputs(self) -> Inputs:
        """How codes enter a network."""
        flags = self._of_features(lambda group: group.inputs.input_flags)
        return self._inputs(flags, all(group.binary_inputs for group, _ in self.groups))

    def constant(self, table: Table, weight: Array) -> Array:
        """Return the raw outputs (sum of P,) of good constant models."""
        out = np.zeros(self.output_offsets[-1])
        for (group, d), features in zip(self.groups, self.features_of_groups, strict=True):
            of_group = positions(self.output_offsets, features)
            out[of_group] = group.constant(table.columns(d), weight)
        return out

    def features(self) -> Array:
        """Return the record of each feature (D,) for the kernels."""
        return self._of_features(lambda group: group.features())

    def normal_noise(self) -> Array:
        """Return which (D, m) of the numbers that draws use up are normal, not uniform."""
        own = [group.normal_noise() for group, _ in self.groups]
        parts = list(zip(own, self.features_of_groups, strict=True))
        out = np.zeros((self.n_features, max(part.shape[1] for part, _ in parts)), bool)
        for part, d in parts:
            out[d, : part.shape[1]] = part
        return out

    def distribution_params(self, raw: Array, codes: Array) -> list[Any]:
        """Return the distribution of each column, without the axis of columns."""
        out: list[Any] = [None] * self.n_columns
        for (group, d), features in zip(self.groups, self.features_of_groups, strict=True):
            own = raw[:, positions(self.output_offsets, features)]
            said = group.distribution_params(own, codes[:, features])
            for place, column in enumerate(d):
                out[column] = said_of_column(said, place)
        return out


def said_of_column(said: Any, place: int) -> Any:
    """Return what a description of columns says of one, without the axis of columns."""
    if isinstance(said, dict):
        return {key: said_of_column(each, place) for key, each in said.items()}
    return said[place] if isinstance(said, list) else said[:, place]
