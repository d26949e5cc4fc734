"""The conditional of real columns as people have them: atoms, a support, heavy tails, steps."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri, softmax

from fastar._core.lazy import lazy
from fastar._core.parameters import Array
from fastar._core.schema import FLAG, SMALLEST, ArrayOf, Rule, require
from fastar._core.spread import does_not_vary
from fastar._data.frame_types import Column
from fastar._data.regions import Region
from fastar._data.table import Table
from fastar.conditionals._atoms import (
    ALL_OTHERS,
    OFFSETS,
    NumberOrAtom,
    common_values,
    looked_at,
    stands_out,
)
from fastar.conditionals._conditional import (
    QUANTILES,
    CodedRegion,
    run_of,
    sampled_columns,
    share_of_others,
)
from fastar.conditionals._maps import LEAST, MAPS, Maps, fitted_maps
from fastar.conditionals._real import (
    COMPONENTS,
    FLOOR,
    NEEDLE,
    check_components,
    check_floor,
    spread_components,
)

_FEW_VALUES = 10
"""Values of a column that may all be atoms."""

_MOST_DECIMALS = 4
_LARGEST = 1e300
_SMALLEST = float(np.finfo(np.float64).tiny)
"""Below it float64 has fewer digits the nearer to 0."""
_MOST = float(np.finfo(np.float64).max)

_NODES = ndtri((np.arange(32) + 0.5) / 32)
_NODES = _NODES / np.sqrt((_NODES**2).mean())


class Number(NumberOrAtom):
    r"""Atoms, and a mixture of K Gaussians on a scale on which a real column is smooth.

    An atom is a value that a thousandth of the rows, and at least 10, have exactly, and that
    stands out: it is 1.5 times as common as the median of the five values on either side, and more
    common by four of its own standard errors; or one of no more than ten.
    0 is one wherever it occurs in a column that is never negative. A column with atoms is two
    features: which atom or none, and the number where it is none. Its density is with respect to
    counting measure at the atoms and to length elsewhere.

    A column that is never negative has the support x > 0 beside the atom 0. There t(x) is log x or
    s log(expm1(x / s)), the inverse of softplus, s a robust deviation of the column, whichever
    gives the column the higher likelihood if it is Gaussian then; elsewhere t(x) = x. All values
    below the support share the probability 1 / (2 n + 2), n the rows of fit, by the density
    s / (s + d)^2 of their distance d from it, and are never drawn: which atom a value is, none, or
    below the support, is a feature of such a column, too. With
    u = (t(x) - median) / robust deviation, the mixture is one in y = u for \|u\| up to c = 6, and
    in y = sign(u) (c + c log(\|u\| / c)) beyond. The density is that of x, by the chain rule.

    Where all numbers of a column are multiples of 10^-p, p = 0 .. 4, and some are repeated, samples
    are rounded to such multiples that are no atom. The density is still one of real numbers.
    Durations are numbers of ticks, of which they are multiples: the longest of a day, whole hours,
    minutes, seconds and powers of ten of a second that divides all durations of `fit`.

    Parameters
    ----------
    n_components : int, default=20
        K.
    atoms : bool, default=True
        Whether columns may have atoms. Without them a column that has zeros may be negative, and
        values below the support are an error.
    variance_floor : float, default=1e-6
        Smallest variance of a component, as a share of the column's on the mapped scale. Where a
        column goes in steps, a component is at least as wide as a step at the median.

    Notes
    -----
    Atoms, maps and steps are learnt from all rows, or from some that are spread evenly over them
    where a table has more than four million numbers. A temperature raises the weights' and each
    component's density to its power, on the mapped scale. So does `purify` look for the most
    probable number there, and keeps atoms.
    """

    name = "number"
    number_kind = "gaussian_mixture"
    noise = ("uniform", "normal")
    zero_init_output = True
    moves_with_values = False  # zero is where the support ends
    support = (
        "finite numbers, and none below those of fit where they show that the column is positive"
    )

    def __init__(
        self, n_components: int = 20, atoms: bool = True, variance_floor: float = 1e-6
    ) -> None:
        self.n_components = n_components
        self.atoms = atoms
        self.variance_floor = variance_floor

    def settings(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            "n_components": self.n_components,
            "atoms": self.atoms,
            "variance_floor": self.variance_floor,
        }

    @classmethod
    def _settings_rules(cls) -> dict[str, Rule]:
        return {"n_components": COMPONENTS, "atoms": FLAG, "variance_floor": FLOOR}

    def unsplit(self) -> Number:
        """Return a conditional that makes each column one feature."""
        return Number(self.n_components, False, self.variance_floor)

    # ---- learning from the data

    def _learn(self, table: Table, weight: Array) -> dict[str, Array]:
        check_components(self, self.n_components)
        check_floor("variance_floor", self, self.variance_floor)
        lowest, size = np.full(len(table.order), np.inf), np.zeros(len(table.order))
        for _, block in table.blocks():
            block = block.astype(np.float64)
            _check_largest(block, table)
            size = np.fmax(size, np.fmax.reduce(np.abs(block), axis=0))
            lowest = np.fmin(lowest, np.fmin.reduce(block, axis=0))
        _check_smallest(size, table)
        positive = lowest >= 0 if self.atoms else lowest > 0
        other = share_of_others(weight)
        rows, weight = looked_at(table, weight)
        atoms, decimals, rest = [], [], []
        for column, low, described in zip(rows.T, lowest, table.described(), strict=True):
            there = ~np.isnan(column)
            values, mass = column[there].astype(np.float64), weight[there]
            own = _atoms(values, mass, low) if self.atoms else np.empty(0)
            atoms.append(own)
            is_time = described is not None and described.clock is not None
            decimals.append(0 if is_time else _decimals(values))
            free = ~np.isin(values, own)
            if not free.any():  # the numbers beyond the atoms are like these
                free = values > 0 if low >= 0 else np.ones_like(free)
            rest.append((values[free], mass[free]))
        maps = fitted_maps(rest, positive)
        return {
            "map": maps.kind,
            "spread": maps.spread,
            "location": maps.location,
            "scale": maps.scale,
            "decimals": np.array(decimals, np.int32),
            # without atoms a column is one feature, which cannot say that a value is below
            "other": np.where(maps.is_positive & self.atoms, other, 0),
            "atoms": np.concatenate(atoms),
            "n_atoms": np.array([len(each) for each in atoms], np.int32),
        }

    def _learnt_rules(self, n_columns: int) -> dict[str, ArrayOf]:
        size = ArrayOf("f", (n_columns,), SMALLEST)
        return {
            "map": ArrayOf("i", (n_columns,), 0, len(MAPS) - 1),
            "spread": size,
            "location": ArrayOf("f", (n_columns,)),
            "scale": size,
            "decimals": ArrayOf("i", (n_columns,), -1, _MOST_DECIMALS),
            **self._atom_rules(n_columns),
        }

    def check_arrays(self, arrays: dict[str, Array], n_columns: int) -> None:
        """Raise EntryError unless these are what `arrays` gives of so many columns."""
        super().check_arrays(arrays, n_columns)
        atoms, owner = arrays["atoms"], np.repeat(np.arange(n_columns), arrays["n_atoms"])
        below = (arrays["other"] == 0) | (arrays["map"] > 0)
        require("other", below.all(), "must be 0 in a column that may be negative.")
        inside = (atoms >= 0) | (arrays["map"][owner] == 0)
        require("atoms", inside.all(), "must not be negative in a column that is never negative.")

    @lazy
    def maps(self) -> Maps:
        """The map of each column."""
        learnt = self._learnt
        return Maps(learnt["map"], learnt["spread"], learnt["location"], learnt["scale"])

    @property
    def decimals(self) -> Array:
        """How many decimals the numbers of each column (C,) have; -1: any number."""
        return self._learnt["decimals"]

    def decided(self, c: int, offset: int = 0, column: Column | None = None) -> dict[str, Any]:
        """Return what was decided on column c."""
        positive = bool(self.maps.is_positive[c])
        clock = None if column is None else column.clock
        kind = "real numbers" if clock is None else f"durations by the {clock.resolution}"
        why = [kind, *["never negative"] * positive]
        if self.decimals[c] >= 0:
            why.append(f"in steps of {10.0 ** -self.decimals[c]:g}")
        support = ("above 0, and 0" if self._has_zero[c] else "above 0") if positive else "all"
        atoms = self.atoms_of_columns[c].tolist()
        return super().decided(c) | {
            "map": MAPS[self.maps.kind[c]],
            "atoms": atoms if column is None or clock is None else [*map(column.value, atoms)],
            "support": support,
            "why": ", ".join(why),
        }

    def features(self) -> Array:
        """Return the record of each feature (D,) for the kernels."""
        features = self._records(self.n_components)
        features["floor"][self._numbers] = self._floor
        return features

    @lazy
    def _floor(self) -> Array:
        """Smallest variance (C,) of a component."""
        middle = np.zeros((1, self.n_columns))
        with np.errstate(over="ignore"):
            step = np.exp(self.maps.log_slope(middle)[0] + np.log(10.0) * -self.decimals)
        # uniform numbers over a step; where it is wider than the column, all is one value
        cell = np.where(self.decimals >= 0, np.minimum(step, 1.0) ** 2 / 12, 0)
        return np.maximum(cell, self.variance_floor)

    # ---- values and codes

    @lazy
    def _has_zero(self) -> Array:
        """Which columns (C,) are never negative and have the atom 0."""
        first = [len(atoms) > 0 and atoms[0] == 0 for atoms in self.atoms_of_columns]
        return np.array(first) & self.maps.is_positive

    def _below(self, block: Array) -> Array:
        """Return where (n, C) values lie below a support."""
        below: Array = self.maps.is_positive & np.where(self._has_zero, block < 0, block <= 0)
        return below

    def _outside(self, block: Array) -> Array:
        outside: Array = (self._below(block) & (self._other == 0)) | ~np.isfinite(block)
        return outside

    def _places(self, block: Array) -> Array:
        """Return choices (n, columns that have one) of values (n, C).

        That of a value that lies z robust deviations below the support is -1 - log(1 + z).
        """
        places, columns = super()._places(block), self._with_choice
        below = self._below(block)[:, columns]
        if below.any():
            with np.errstate(over="ignore"):
                z = np.maximum(-block[:, columns], 0) / self.maps.spread[columns]
            places = np.where(below, -1 - np.log1p(np.minimum(z, _MOST)), places)
        return places

    def encode(self, block: Array, dtype: np.dtype[Any]) -> Array:
        """Return y, NaN of atoms and below the support, after the choice where a column has one."""
        return self._joined(block, self.maps.codes(block), dtype)

    def decode(self, codes: Array) -> Array:
        """Return atoms, and the numbers of other codes, in the column's steps; NaN of no number."""
        values = self.maps.values(codes[:, self._numbers])
        for c in np.flatnonzero(self.decimals >= 0):
            values[:, c] = self._in_steps(values[:, c], c)
        return self._atoms_or(codes, values)

    def _in_steps(self, values: Array, c: Any) -> Array:
        """Return the nearest multiples of a column's step that are numbers of it and no atom."""
        per_one = 10.0 ** self.decimals[c]
        least = 1.0 if self.maps.is_positive[c] else -np.inf
        atoms = np.rint(self.atoms_of_columns[c] * per_one)
        steps = values * per_one
        nearest = np.maximum(np.rint(steps), least)
        onward = np.where((steps < nearest) & (nearest > least), -1.0, 1.0)
        exact = np.abs(nearest) < 2.0**52
        for _ in range(2 * len(atoms)):
            taken = np.isin(nearest, atoms)
            if not taken.any():
                break
            nearest[taken] += onward[taken]
            turned = nearest < least
            nearest[turned], onward[turned] = least, 1.0
        return np.where(exact, nearest / per_one, values)

    def interval(self, block: Array, radius: Array, dtype: np.dtype[Any]) -> tuple[Array, Array]:
        """Return the lowest and highest codes (n, D) within radius (C,) of the values.

        An atom has no other one near it, and a value below the support has nothing.
        """
        x = block.astype(np.float64)
        per_one = 10.0 ** np.maximum(self.decimals, 0)
        ends = []
        for side, whole in ((-1, np.ceil), (1, np.floor)):
            end = np.clip(x + side * radius, -_MOST, _MOST)
            step = whole(end * per_one + side * 1e-6) / per_one
            beyond = (step - x) * side >= 0  # the value itself is within reach, step or not
            end = np.where(self.decimals >= 0, np.where(beyond, step, x), end)
            ends.append(np.where(self.maps.is_positive, np.maximum(end, LEAST), end))
        codes = [self.encode(x, dtype) for _ in ends]
        wrong = self.by_feature(self._below(x))
        codes[0][wrong], codes[1][wrong] = 1, 0
        for own, end in zip(codes, ends, strict=True):
            numbers = own[:, self._numbers]
            inside = ~(np.isnan(numbers) | wrong[:, self._numbers])
            own[:, self._numbers] = np.where(inside, self.maps.codes(end), numbers)
        return codes[0], codes[1]

    def has_mass(self, c: int, values: Array) -> Array:
        """Return which values are atoms of column c."""
        return np.isin(values, self.atoms_of_columns[c])

    def region(self, c: int, region: Region) -> CodedRegion:
        """Return the codes that column c may have in a region: atoms, and numbers of an interval.

        In a column of steps an interval has the numbers that samples round to its steps.
        """
        numbers, least, most = np.empty((0, 2)), -np.inf, np.inf
        if region.values is None:
            least, most = region.low, float(np.nextafter(region.high, -np.inf))
            low, high = region.low, region.high
            if self.decimals[c] >= 0:
                low, high, least, most = self._ends_of_steps(c, low, high)
            if low < high and (high > 0 or not self.maps.is_positive[c]):
                numbers = self._run_of_numbers(c, low, high)
        below = self._has_below(c, region)
        return self._coded_region(c, region, numbers, (least, most), below)

    def _has_below(self, c: int, region: Region) -> bool:
        """Return whether a region has all that is below a column's support."""
        reached = region.high >= 0 if self._has_zero[c] else region.high > 0
        return region.values is None and region.low == -np.inf and reached

    def _run_of_numbers(self, c: int, low: float, high: float) -> Array:
        ends = self.maps.of_column(c).codes(np.clip([[low], [high]], -_MOST, _MOST))[:, 0]
        none_below = low == -np.inf or (self.maps.is_positive[c] and low <= 0)
        first = -np.inf if none_below else ends[0]
        return run_of(first, np.inf if high == np.inf else ends[1])

    def _ends_of_steps(self, c: int, low: float, high: float) -> tuple[float, float, float, float]:
        """Return what of the line is rounded to steps of [low, high), and the outer ones of these.

        A value that is nearest to an atom is rounded to the steps beside it.
        """
        per_one = 10.0 ** self.decimals[c]
        atoms = np.rint(self.atoms_of_columns[c] * per_one)
        with np.errstate(over="ignore"):
            first, end = (np.ceil(each * per_one - 1e-6) for each in (low, high))

        def edge(step: float) -> float:  # below this step, above the one before it
            shift = 0.0 if step in atoms else 1.0 if step - 1 in atoms else 0.5
            return float((step - shift if abs(step) < 2.0**52 else step) / per_one)

        least = -np.inf if self.maps.is_positive[c] and first <= 1 else edge(first)
        return least, edge(end), first / per_one, (end - 1) / per_one

    def log_jacobian(self, codes: Array) -> Array:
        """Return log dy / dx at codes (n, D), 0 of atoms and where a code is NaN.

        For a choice below the support: the log density of its place among all values there.
        """
        out = np.zeros(codes.shape)
        slope = self.maps.log_slope(codes[:, self._numbers])
        out[:, self._numbers] = np.where(np.isnan(slope), 0, slope)
        choice = codes[:, self._choices].astype(np.float64)
        if (choice < 0).any():
            density = 2 * (choice + 1) - np.log(self.maps.spread[self._with_choice])
            is_one = (choice < 0) & (choice > ALL_OTHERS)
            out[:, self._choices] = np.where(is_one, density, 0)
        return out

    # ---- densities

    def constant(self, table: Table, weight: Array) -> Array:
        """Return the log of each atom's share, and components over the quantiles of the numbers."""
        codes = self.encode(sampled_columns(table, weight), np.dtype(np.float64))
        narrow = np.maximum(NEEDLE, 2 * np.sqrt(self._floor))
        log_weight, mean, width = spread_components(
            codes[:, self._numbers], self.n_components, narrow
        )
        components = log_weight, mean, 2 * np.log(width)
        return self._with_components(table, weight, components)

    def distribution_params(self, raw: Array, codes: Array) -> dict[str, Any]:
        """Return mean, variance, cdf (n, C) and quantiles (n, C, 3) in the user's units.

        They count the atoms. atoms, where columns may have some: the probabilities (n, A) of the A
        atoms of each column, in a list. The CDF also counts the probability of all values below the
        support, and at one of these is that probability. Moments and quantiles are those of values
        in the support. Moments are those of 32 nodes a component that have equal shares, and the
        component's mean and variance on the mapped scale: log-normal mixtures may have none.
        """
        by_feature = np.split(raw.astype(np.float64), self.output_offsets[1:-1], axis=1)
        found = [self._column_params(c, by_feature, codes) for c in range(self.n_columns)]
        return self._by_column(found)

    def _column_params(self, c: int, by_feature: list[Array], codes: Array) -> dict[str, Array]:
        law, other = _Law.of(self, c, by_feature), self._other[c]
        y = codes[:, self._numbers[c]].astype(np.float64)
        place, choice = np.zeros(len(y), np.int64), np.zeros(len(y))
        if c in self._with_choice:
            choice = np.nan_to_num(codes[:, self._numbers[c] - 1].astype(np.float64))
            place = np.maximum(choice, 0).astype(np.int64)
            y = np.where(place > 0, np.concatenate([[np.nan], law.at])[place], y)
        mean, variance = law.moments()
        return {
            "mean": mean,
            "variance": variance,
            "cdf": np.where(
                choice < 0, other * np.exp(choice + 1), other + (1 - other) * law.cdf(y)
            ),
            "quantiles": np.stack([law.quantile(q) for q in QUANTILES], axis=1),
            "atoms": (1 - other) * law.atom_share,
        }


class _Law:
    """The distributions of one column in n rows, of values in the support.

    Parameters
    ----------
    share : array (n, K)
        Mass of each component.
    mean, deviation : array (n, K)
        Mean and deviation of y.
    maps : Maps
        Map of the column.
    atoms : array (A,)
    atom_share : array (n, A)
    """

    def __init__(
        self,
        share: Array,
        mean: Array,
        deviation: Array,
        maps: Maps,
        atoms: Array,
        atom_share: Array,
    ) -> None:
        self.share, self.mean, self.deviation = share, mean, deviation
        self.maps, self.atoms, self.atom_share = maps, atoms, atom_share
        at = maps.codes(atoms[:, None])[:, 0]
        self.at = np.where((atoms == 0) & maps.is_positive, -np.inf, at)

    @classmethod
    def of(cls, conditional: Number, c: int, by_feature: list[Array]) -> _Law:
        """Return that of column c by the raw outputs (n, P) of each feature."""
        number = conditional._numbers[c]
        z, mean, s = np.split(by_feature[number], 3, axis=1)
        share, atoms = softmax(z, axis=1), np.zeros((len(z), 0))
        if conditional.n_atoms[c]:
            choice = softmax(by_feature[number - 1], axis=1)
            share, atoms = share * choice[:, :1], choice[:, 1:]
        deviation = np.sqrt(np.exp(s) + conditional._floor[c])
        own = conditional.atoms_of_columns[c]
        return cls(share, mean, deviation, conditional.maps.of_column(c), own, atoms)

    def cdf(self, y: Array) -> Array:
        """Return P(at most y) (n,)."""
        smooth = self.share * ndtr((y[:, None] - self.mean) / self.deviation)
        reached = np.where(self.at <= y[:, None], self.atom_share, 0)
        total: Array = smooth.sum(axis=1) + reached.sum(axis=1)
        return total

    def quantile(self, probability: float) -> Array:
        """Return the value (n,) at which the CDF reaches a probability, to rounding."""
        ends = self.at[np.isfinite(self.at)]
        low = np.minimum((self.mean - 40 * self.deviation).min(axis=1), ends.min(initial=np.inf))
        high = np.maximum((self.mean + 40 * self.deviation).max(axis=1), ends.max(initial=-np.inf))
        for _ in range(60):
            middle = (low + high) / 2
            below = self.cdf(middle) < probability
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        value = self.maps.values(high[:, None])[:, 0]
        for atom, at, mass in zip(self.atoms, self.at, self.atom_share.T, strict=True):
            reached = self.cdf(np.full(len(value), at))
            value = np.where((reached - mass < probability) & (probability <= reached), atom, value)
        return value

    def moments(self) -> tuple[Array, Array]:
        """Return mean and variance (n,)."""

        def expected(of: Any) -> Array:
            total: Array = (self.atom_share * of(self.atoms)).sum(axis=1)
            for node in _NODES:
                x = self.maps.values((self.mean + node * self.deviation).reshape(-1, 1))
                total += (self.share * of(x.reshape(self.mean.shape))).sum(axis=1) / len(_NODES)
            return total

        with np.errstate(over="ignore"):
            mean = expected(lambda x: x)
            centre = mean[:, None]
            return mean, expected(lambda x: (x - centre) ** 2)


def _check_largest(block: Array, table: Table) -> None:
    """Raise ValueError where numbers come near the end of float64."""
    wrong = np.abs(block) > _LARGEST
    if wrong.any():
        row, d = np.argwhere(wrong)[0]
        raise ValueError(
            f"X must hold numbers of at most {_LARGEST:g} in size. Got {block[row, d]!s} in column "
            f"{int(table.order[d])}: mend it, or choose other units."
        )


def _check_smallest(size: Array, table: Table) -> None:
    """Raise ValueError where all numbers of a column, of this size at most, have lost digits."""
    wrong = (size > 0) & (size < _SMALLEST)
    if wrong.any():
        d = int(np.argmax(wrong))
        raise ValueError(
            f"X must hold numbers of {_SMALLEST:.3g} or more in size, or zeros alone. Got at most "
            f"{size[d]!s} in column {int(table.order[d])}: choose other units."
        )


def _atoms(values: Array, weight: Array, lowest: float) -> Array:
    """Return the values that stand out, sorted; with 0 if it is the lowest of the column.

    A column that does not vary, but at 0, has none: what differs from its value by rounding is no
    other one.
    """
    if lowest != 0 and values.size and does_not_vary(values.min(), values.max()):
        return np.empty(0)
    levels, mass, counts, common = common_values(values, weight)
    if len(levels) > _FEW_VALUES:
        beside = common[:, None] + OFFSETS
        inside = (beside >= 0) & (beside < len(levels))
        around = np.where(inside, mass[np.where(inside, beside, 0)], np.nan)
        common = common[stands_out(mass[common], counts[common], around)]
    found = levels[common]
    return np.union1d(found, [0.0]) if lowest == 0 else found


def _decimals(values: Array) -> int:
    """Return p, up to 4, if all values are multiples of 10^-p and one is repeated; else -1."""
    levels = np.unique(values)
    if len(levels) == len(values):
        return -1
    single = np.array_equal(levels.astype(np.float32), levels)
    for p in range(_MOST_DECIMALS + 1):
        with np.errstate(over="ignore"):
            scaled = levels * 10.0**p
        # what a multiple may be off by rounding, which must be less than any number may be
        reach = 8 * np.finfo(np.float32 if single and p else np.float64).eps * np.abs(scaled)
        if reach.max() > 0.05:
            return -1
        if (np.abs(scaled - np.rint(scaled)) <= reach).all():
            return p
    return -1
