"""Columns with gaps, whose probability is part of the model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from scipy.special import expit

from fastar._core.inputs import MAY_MISS, Inputs
from fastar._core.lazy import lazy
from fastar._core.offsets import positions
from fastar._core.parameters import Array
from fastar._core.schema import FLAG, ArrayOf, Named, Rule, Whole, inside, within
from fastar._data.frame_types import Column
from fastar._data.regions import Region
from fastar._data.table import Table
from fastar._kernels import _conditionals
from fastar.conditionals._conditional import CodedRegion, Conditional, run_of, weighted_mean
from fastar.conditionals._mixed import Mixed, said_of_column
from fastar.conditionals._names import OF_A_COLUMN, from_name


class ModelledGaps(Conditional):
    """Another conditional, and the probability that a value is missing.

    A column that has gaps in `fit` has one more feature, before those of its values: the mark,
    which is 1 where the value is missing, a Bernoulli. Those of the value apply where it is 0:
    p(missing) = m, and p(x) = (1 - m) p(x | it is there).

    Parameters
    ----------
    of : Conditional
        Conditional of the values that are there.
    ends : bool, default=False
        Whether the first column says by 1 that a sequence ends: the values of such a row do not
        apply, nor do their marks, whose codes are NaN.
    skipped : int, default=0
        How many of the next columns have no marks, because it is known where they are missing.
    """

    name = "modelled_gaps"

    def __init__(self, of: Any, ends: bool = False, skipped: int = 0) -> None:
        is_mixed = isinstance(of, dict) and of.get("name") == Mixed.name
        self.of: Conditional = Mixed(of["columns"]) if is_mixed else from_name(of)
        self.ends = ends
        self.skipped = skipped

    def settings(self) -> dict[str, Any]:
        """Return the constructor's arguments, without objects."""
        own = {"of": {"name": self.of.name, **self.of.settings()}}
        of_steps = {"ends": self.ends, "skipped": self.skipped}
        return own | (of_steps if self._of_steps else {})

    @classmethod
    def _settings_rules(cls) -> dict[str, Rule]:
        kinds: dict[str, type[Conditional]] = {**OF_A_COLUMN, Mixed.name: Mixed}
        return {
            "of": Named({key: kind.settings_rule for key, kind in kinds.items()}),
            "ends": FLAG,
            "skipped": Whole(0),
        }

    def __repr__(self) -> str:
        of_steps = f", ends={self.ends}, skipped={self.skipped}" if self._of_steps else ""
        return f"ModelledGaps({self.of!r}{of_steps})"

    @property
    def _of_steps(self) -> bool:
        """Whether not every gap is modelled."""
        return self.ends or self.skipped > 0

    # ---- learning from the data

    def _learn(self, table: Table, weight: Array) -> dict[str, Array]:
        own = self.of.fitted(table, weight)
        learnt = {f"of.{name}": array for name, array in own.arrays().items()}
        if self._of_steps:
            gaps = [self._gaps(block).any(axis=0) for _, block in table.blocks()]
            learnt["marked"] = np.logical_or.reduce(gaps)
        return learnt

    def _learnt_rules(self, n_columns: int) -> dict[str, ArrayOf]:
        """Return what the arrays of `_learn` must be, but for those of the values."""
        return {"marked": ArrayOf("b", (n_columns,))} if self._of_steps else {}

    def _ended(self, block: Array) -> Array:
        """Return which rows (n,) of values have an end."""
        ended: Array = block[:, 0] == 1 if self.ends else np.zeros(len(block), bool)
        return ended

    def _gaps(self, block: Array) -> Array:
        """Return where (n, C) values are missing that could be there."""
        missing: Array = block != block
        missing[self._ended(block)] = False
        missing[:, self.ends : self.ends + self.skipped] = False
        return missing

    def check_arrays(self, arrays: dict[str, Array], n_columns: int) -> None:
        """Raise EntryError unless these are what `arrays` gives of so many columns."""
        own = within(arrays, "of.")
        super().check_arrays(
            {k: v for k, v in arrays.items() if not k.startswith("of.")}, n_columns
        )
        with inside("of"):
            self.of.check_arrays(own, n_columns)

    def restored(self, arrays: dict[str, Array], n_columns: int) -> ModelledGaps:
        """Return a copy with what `arrays` gave."""
        new = super().restored(arrays, n_columns)
        new.of = self.of.restored(within(arrays, "of."), n_columns)
        new.missing = arrays["marked"] if self._of_steps else new.of.missing
        return new

    def of_column(self, d: int) -> tuple[Conditional, int]:
        """Return the conditional of a column's values, and its place among those that have it."""
        return self.of.of_column(d)

    def decided(self, c: int, offset: int = 0, column: Column | None = None) -> dict[str, Any]:
        """Return what was decided on column c."""
        said = self.of.decided(c, offset, column)
        if self.missing[c]:
            said["why"] = ", ".join([*filter(None, [said["why"]]), "gaps are modelled"])
        return said

    @property
    def zero_init_output(self) -> bool:  # type: ignore[override]
        """Whether random first outputs would spoil what `constant` gives."""
        return self.of.zero_init_output

    # ---- columns and their features

    def _feature_counts(self) -> Array:
        """Return how many features each column (C,) is."""
        return np.diff(self.of.column_offsets) + self.missing

    @lazy
    def marks(self) -> Array:
        """Which features (D,) say that a value is missing."""
        marks = np.zeros(self.n_features, bool)
        marks[self.column_offsets[:-1][self.missing]] = True
        return marks

    @lazy
    def _values(self) -> Array:
        """The features of the values."""
        return np.flatnonzero(~self.marks)

    def _with_marks(self, of_values: Array, of_marks: Any) -> Array:
        """Return what is said of the features of values and of marks, in one array (D, ..)."""
        out = np.empty((self.n_features, *of_values.shape[1:]), of_values.dtype)
        out[self._values], out[self.marks] = of_values, of_marks
        return out

    @lazy
    def may_miss(self) -> Array:
        """Which features (D,) may have NaN for a code: all but marks, unless there are ends."""
        return self._with_marks(self.of.may_miss, self.ends)

    @property
    def n_levels(self) -> Array:
        """Return how many rows of input weights each feature (D,) uses when it is there."""
        return self._with_marks(self.of.n_levels, 1)

    @lazy
    def inputs(self) -> Inputs:
        """How codes enter a network."""
        own = self.of.inputs
        flag = np.uint8(MAY_MISS if self.ends else 0)
        return self._inputs(self._with_marks(own.input_flags, flag), own.binary_inputs)

    def features(self) -> Array:
        """Return the record of each feature (D,) for the kernels."""
        mark = np.zeros(1, _conditionals.FEATURE)
        mark["kind"] = _conditionals.KINDS.index("bernoulli")
        mark["unit"] = mark["floor"] = 1.0
        features = self._with_marks(self.of.features(), mark)
        # what no other feature decides on applies where its mark is 0, whatever its levels are
        start = np.repeat(self.column_offsets[:-1], np.diff(self.column_offsets))
        own = (features["parent"] == 0) & ~self.marks & self.by_feature(self.missing)
        features["parent"][own] = (np.arange(self.n_features) - start)[own]
        features["applies"][own], features["last"][own] = 0, -1
        return features

    def normal_noise(self) -> Array:
        """Return which (D, m) of the numbers that draws use up are normal, not uniform."""
        return self._with_marks(self.of.normal_noise(), False)

    # ---- values and codes

    @property
    def support(self) -> str:
        """The support, for error messages."""
        return self.of.support

    def unsupported(self, block: Array) -> Array:
        """Return where (n, C) the values lie outside the support, or are missing for once."""
        return self.of.unsupported(block)

    def _outside(self, block: Array) -> Array:
        return self.of.unsupported(block)

    def takes_unknown(self) -> Array:
        """Return which columns (C,) may hold values that `fit` has not seen."""
        return self.of.takes_unknown()

    def _joined(self, of_values: Array, missing: Array) -> Array:
        """Return codes (n, D) by those of values and by which values (n, C) are missing."""
        codes = np.empty((len(of_values), self.n_features), of_values.dtype)
        codes[:, self._values], codes[:, self.marks] = of_values, missing[:, self.missing]
        return codes

    def encode(self, block: Array, dtype: np.dtype[Any]) -> Array:
        """Return the codes of values, NaN where they are missing, after their marks."""
        codes = self._joined(self.of.encode(block, dtype), block != block)
        if self.ends:
            codes[np.ix_(self._ended(block), self.marks)] = np.nan
        return codes

    def decode(self, codes: Array) -> Array:
        """Return values (n, C), NaN where a mark says so."""
        missing = np.zeros((len(codes), self.n_columns), bool)
        missing[:, self.missing] = codes[:, self.marks] > 0
        of_values = np.where(self.of.by_feature(missing), 0, codes[:, self._values])
        values = self.of.decode(np.ascontiguousarray(of_values, codes.dtype))
        return np.where(missing, np.nan, values)

    def interval(self, block: Array, radius: Array, dtype: np.dtype[Any]) -> tuple[Array, Array]:
        """Return the lowest and highest codes (n, D) within radius (C,) of the values."""
        low, high = self.of.interval(block, radius, dtype)
        missing = block != block
        return self._joined(low, missing), self._joined(high, missing)

    def levels_of(self, d: int) -> Array | None:
        """Return all values that column d can have, in order; None where they are too many."""
        return self.of.levels_of(d)

    def has_mass(self, c: int, values: Array) -> Array:
        """Return which values of column c have a probability, not a density."""
        return self.of.has_mass(c, values)

    def region(self, c: int, region: Region) -> CodedRegion:
        """Return the codes that column c may have in a region, where its value is there."""
        own = self.of.region(c, region)
        if not self.missing[c]:
            return own
        there = run_of(0, 0) if len(own.runs[0][0]) else run_of(0, -1)
        codes, flags = own.partition()
        boxes = np.insert(codes, 0, 0, axis=1), np.insert(flags, 0, _conditionals.WEIGHTED, axis=1)
        return replace(own, runs=[[there], *own.runs], boxes=boxes)

    def log_jacobian(self, codes: Array) -> Array | None:
        """Return what the conditional of the values does, 0 of marks."""
        own = self.of.log_jacobian(codes[:, self._values])
        if own is None:
            return None
        out = np.zeros(codes.shape)
        out[:, self._values] = own
        return out

    # ---- densities

    def constant(self, table: Table, weight: Array) -> Array:
        """Return the raw outputs (sum of P,) of good constant models."""
        share = weighted_mean(table, weight, self._gaps)[self.missing]
        edge = min(0.5 / (weight.sum() + 1), 0.01)
        share = np.clip(share, edge, 1 - edge)
        out = np.empty(self.output_offsets[-1])
        out[positions(self.output_offsets, self._values)] = self.of.constant(table, weight)
        out[self.output_offsets[:-1][self.marks]] = np.log(share / (1 - share))
        return out

    def distribution_params(self, raw: Array, codes: Array) -> list[Any]:
        """Return the distribution of each column, without the axis of columns.

        A column with gaps has a dict: "missing" (n,), the probability of a gap, and "present", the
        distribution of a value that is there.
        """
        own = raw[:, positions(self.output_offsets, self._values)]
        said = self.of.distribution_params(own, np.ascontiguousarray(codes[:, self._values]))
        found = [said_of_column(said, c) for c in range(self.n_columns)]
        missing = expit(raw[:, self.output_offsets[:-1][self.marks]], dtype=np.float64)
        for c, own in zip(np.flatnonzero(self.missing), missing.T, strict=True):
            found[c] = {"missing": own, "present": found[c]}
        return found
