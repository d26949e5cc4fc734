"""The conditional of whole numbers as people have them: atoms, heavy tails, any integer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit, logit, softmax

from fastar._core.lazy import lazy
from fastar._core.parameters import Array
from fastar._core.schema import FLAG, ArrayOf, Rule, require
from fastar._data.columns import MANY_LEVELS
from fastar._data.frame_types import Column
from fastar._data.regions import Region
from fastar._data.table import Table
from fastar.conditionals._atoms import (
    OFFSETS,
    NumberOrAtom,
    common_values,
    looked_at,
    stands_out,
)
from fastar.conditionals._conditional import (
    QUANTILES,
    CodedRegion,
    distance_beyond,
    run_of,
    runs_of,
    sampled_columns,
    share_beyond,
    share_of_others,
    whole_near,
)
from fastar.conditionals._integer import MOST_LISTED
from fastar.conditionals._maps import robust_location_and_scale
from fastar.conditionals._real import (
    COMPONENTS,
    FLOOR,
    check_components,
    check_floor,
    spread_logistic_components,
)

_MOST = 1e300
_NODES = logit((np.arange(32) + 0.5) / 32)


class Integer(NumberOrAtom):
    r"""Atoms, and a mixture of K logistic densities discretised to the integers, on an asinh scale.

    An atom is a value that a thousandth of the rows, and at least 10, have, and that stands out: it
    is 1.5 times as common as the median of the five integers on either side, and more common by
    four of its own standard errors. A column is two features: which atom or none, and the integer
    where it is none. The other integers are counted without the atoms: j, with the median m and a
    robust deviation s. For t(j) = asinh((j - m) / s),

    p(j) = sum_k softmax(z)_k (F((t(j + 1/2) - mu_k) / b_k) - F((t(j - 1/2) - mu_k) / b_k)),

    F the sigmoid, b_k = exp(s_k) + scale_floor t's slope at m. What is drawn lies in the range of
    fit, whose lowest integer takes all below it, the highest all above; the mixture goes on where
    single precision does not tell such an end from its neighbours. The integers beyond the ends
    share the probability 1 / (2 n + 2), n the rows of fit: the one at a distance of r has half of
    it times s / ((s + r - 1) (s + r)). All integers together have probability one.

    Parameters
    ----------
    n_components : int, default=10
        K.
    atoms : bool, default=True
        Whether columns may have atoms. Without them a column is one feature whose mixture has no
        ends, but 0 where fit saw nothing below: what is then negative is an error.
    scale_floor : float, default=0.05
        Smallest b_k, in integers at the median.

    Examples
    --------
    >>> import numpy as np
    >>> from fastar import NADE
    >>> rng = np.random.default_rng(0)
    >>> hours = np.where(rng.random(1000) < 0.5, 40, rng.integers(0, 300, 1000))
    >>> model = NADE(random_state=0, max_iter=20).fit(hours[:, None])
    >>> model.schema_[0]["kind"], model.schema_[0]["atoms"]
    ('integer', [40])
    >>> bool(np.isfinite(model.score_samples([[40], [1000], [-(10**6)]])).all())
    True
    """

    name = "integer"
    number_kind = "integer"
    noise = ("uniform", "uniform")
    zero_init_output = True

    def __init__(
        self, n_components: int = 10, atoms: bool = True, scale_floor: float = 0.05
    ) -> None:
        self.n_components = n_components
        self.atoms = atoms
        self.scale_floor = scale_floor

    def settings(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            "n_components": self.n_components,
            "atoms": self.atoms,
            "scale_floor": self.scale_floor,
        }

    @classmethod
    def _settings_rules(cls) -> dict[str, Rule]:
        return {"n_components": COMPONENTS, "atoms": FLAG, "scale_floor": FLOOR}

    def unsplit(self) -> Integer:
        """Return a conditional that makes each column one feature."""
        return Integer(self.n_components, False, self.scale_floor)

    # ---- learning from the data

    def _learn(self, table: Table, weight: Array) -> dict[str, Array]:
        check_components(self, self.n_components)
        check_floor("scale_floor", self, self.scale_floor)
        low, high = np.full(len(table.order), np.inf), np.full(len(table.order), -np.inf)
        for _, block in table.blocks():
            block = block.astype(np.float64)
            finite = np.where(np.isfinite(block), block, np.nan)
            low = np.fmin(low, np.fmin.reduce(finite, axis=0))
            high = np.fmax(high, np.fmax.reduce(finite, axis=0))
        low, high = np.where(np.isfinite(low), low, 0.0), np.where(np.isfinite(high), high, 0.0)
        other = share_of_others(weight)
        rows, weight = looked_at(table, weight)
        atoms, centred = [], []
        for column in rows.T.astype(np.float64):
            there = np.isfinite(column)
            values, mass = column[there], weight[there]
            own = _atoms(values, mass) if self.atoms else np.empty(0)
            atoms.append(own)
            free = ~np.isin(values, own)
            if not (free & (mass > 0)).any():  # the integers beside the atoms are like these
                free[:] = True
            numbers = values[free] - np.searchsorted(own, values[free])
            found = robust_location_and_scale(numbers, mass[free]) if mass[free].any() else None
            location, scale = found or (numbers[0] if len(numbers) else 0.0, 1.0)
            centred.append((np.rint(location), max(scale, 1.0)))
        n_atoms = np.array([len(each) for each in atoms], np.int32)
        location, scale = np.array(centred).T
        if not self.atoms:
            low, high = np.where(low >= 0, 0.0, -_MOST), np.full_like(high, _MOST)
        return {
            "low": low,
            "high": np.maximum(high, low + n_atoms),  # at least one integer is no atom
            "location": location,
            "scale": scale,
            "other": np.full(len(low), other if self.atoms else 0.0),
            "atoms": np.concatenate(atoms),
            "n_atoms": n_atoms,
        }

    def _learnt_rules(self, n_columns: int) -> dict[str, ArrayOf]:
        each = ArrayOf("f", (n_columns,))
        return {
            "low": each,
            "high": each,
            "location": each,
            "scale": ArrayOf("f", (n_columns,), 1),
            **self._atom_rules(n_columns),
        }

    def check_arrays(self, arrays: dict[str, Array], n_columns: int) -> None:
        """Raise EntryError unless these are what `arrays` gives of so many columns."""
        super().check_arrays(arrays, n_columns)
        for name in ("low", "high", "location", "atoms"):
            require(name, (arrays[name] == np.rint(arrays[name])).all(), "must be whole numbers.")
        counted = arrays["n_atoms"]
        room = arrays["high"] - arrays["low"] >= counted
        require("high", room.all(), "must be above low, with room for an integer that is no atom.")
        owner, atoms = np.repeat(np.arange(n_columns), counted), arrays["atoms"]
        inside = (atoms >= arrays["low"][owner]) & (atoms <= arrays["high"][owner])
        require("atoms", inside.all(), "must lie from low to high.")

    def decided(self, c: int, offset: int = 0, column: Column | None = None) -> dict[str, Any]:
        """Return what was decided on column c."""
        bounded = self._learnt["low"][c] > -_MOST
        return super().decided(c) | {
            "map": "asinh",
            "atoms": [int(each) + offset for each in self.atoms_of_columns[c]],
            "support": "from 0 on" if bounded and not self._other[c] else "all whole numbers",
            "why": f"whole numbers, more than {MANY_LEVELS} different ones",
        }

    def features(self) -> Array:
        """Return the record of each feature (D,) for the kernels."""
        features, numbers = self._records(self.n_components), self._numbers
        unit = 0.5 / self._learnt["scale"]
        features["unit"][numbers] = unit
        features["floor"][numbers] = self._floor
        low, high = self._limits
        features["low"][numbers] = self._in_deviations(low)
        features["high"][numbers] = self._in_deviations(high - self.n_atoms)
        return features

    @property
    def _floor(self) -> Array:
        """Smallest b (C,) of a component."""
        return self.scale_floor / self._learnt["scale"]

    @lazy
    def _ends(self) -> tuple[Array, Array]:
        """The lowest and the highest place j of each column (C,)."""
        return self._learnt["low"], self._learnt["high"] - self.n_atoms

    @lazy
    def _limits(self) -> tuple[Array, Array]:
        """The lowest and the highest integer of each column (C,) that the mixture ends at.

        Infinite where codes in single precision do not tell it from its neighbours.
        """
        found, s = [], self._learnt["scale"]
        for end, of_end, infinite in zip(
            ("low", "high"), self._ends, (-np.inf, np.inf), strict=True
        ):
            z = self._in_deviations(of_end)
            error = 2.0**-24 * np.maximum(np.abs(np.arcsinh(z)), 1) * np.hypot(1, z) * s
            found.append(np.where(error <= 0.25, self._learnt[end], infinite))
        return found[0], found[1]

    def _in_deviations(self, places: Array) -> Array:
        """Return (j - m) / s of places (..., C)."""
        deviations: Array = (places - self._learnt["location"]) / self._learnt["scale"]
        return deviations

    # ---- values and codes

    @property
    def support(self) -> str:
        """The support, for error messages."""
        return "whole numbers" if self.atoms else "whole numbers, not below 0 where fit saw none"

    def _outside(self, block: Array) -> Array:
        inside = (block == np.rint(block)) & np.isfinite(block)
        inside &= (block >= self._limits[0]) | (self._other > 0)
        outside: Array = ~inside
        return outside

    def _beyond(self, block: Array) -> Array:
        """Return how far (n, C) values lie below the lowest or above the highest integer, or 0."""
        return distance_beyond(block, *self._limits)

    def _places(self, block: Array) -> Array:
        """Return choices (n, columns that have one) of values (n, C).

        That of a value r below the lowest integer is -2 r, that of one r above the highest 1 - 2 r.
        """
        places, columns = super()._places(block), self._with_choice
        r = self._beyond(block)[:, columns]
        above = block[:, columns] > self._limits[1][columns]
        return np.where(r > 0, above - 2 * r, places)

    def _counted(self, values: Array) -> Array:
        """Return j (n, C): values less the number of the atoms below."""
        places = values.astype(np.float64)
        for c in np.flatnonzero(self.n_atoms):
            places[:, c] -= np.searchsorted(self.atoms_of_columns[c], values[:, c])
        return places

    def _uncounted(self, places: Array) -> Array:
        """Return the values (n, C) at places j (n, C). Changes places."""
        for c in np.flatnonzero(self.n_atoms):
            atoms = self.atoms_of_columns[c]
            places[:, c] += np.searchsorted(atoms - np.arange(len(atoms)), places[:, c], "right")
        return places

    def encode(self, block: Array, dtype: np.dtype[Any]) -> Array:
        """Return t(j), NaN of atoms and beyond the range, after the choice where there is one."""
        block = block.astype(np.float64)
        return self._joined(block, np.arcsinh(self._in_deviations(self._counted(block))), dtype)

    def of_one_column(self, c: int) -> Integer:
        """Return the conditional of one column."""
        arrays = {k: v[c : c + 1] for k, v in self._learnt.items() if k != "atoms"}
        return self.restored(arrays | {"atoms": self.atoms_of_columns[c]}, 1)

    def _integers(self, y: Array) -> Array:
        """Return the integers (n, C) that are no atoms at t(j) = y (n, C)."""
        with np.errstate(over="ignore"):
            deviations = np.sinh(y.astype(np.float64)) * self._learnt["scale"]
        places = np.rint(np.clip(deviations + self._learnt["location"], *self._ends))
        return self._uncounted(places)

    def decode(self, codes: Array) -> Array:
        """Return atoms, and the integers of other codes; NaN of no number."""
        return self._atoms_or(codes, self._integers(codes[:, self._numbers]))

    def levels_of(self, d: int) -> Array | None:
        """Return the integers from the lowest of column d to the highest, unless too many."""
        low, high = self._learnt["low"][d], self._learnt["high"][d]
        return np.arange(low, high + 1) if high - low < MOST_LISTED else None

    def interval(self, block: Array, radius: Array, dtype: np.dtype[Any]) -> tuple[Array, Array]:
        """Return the lowest and highest codes (n, D) within radius (C,) of the values.

        An atom has no other one near it, and a value beyond the range has nothing.
        """
        x = block.astype(np.float64)
        low, high = whole_near(x, radius)
        codes = [self.encode(x, dtype) for _ in range(2)]
        # the first integer that is no atom from `low` on, and the last one up to `high`
        for own, places in zip(
            codes, (self._counted(low), self._counted(high + 1) - 1), strict=True
        ):
            near = np.arcsinh(self._in_deviations(np.clip(places, *self._ends)))
            numbers = own[:, self._numbers]
            own[:, self._numbers] = np.where(np.isnan(numbers), numbers, near)
        nothing = self._outside(x) | (self._beyond(x) > 0) & (self._other > 0)
        wrong = self.by_feature(nothing & ~np.isnan(x))
        codes[0][wrong], codes[1][wrong] = 1, 0
        return codes[0], codes[1]

    def region(self, c: int, region: Region) -> CodedRegion:
        """Return the codes that column c may have in a region: atoms, and runs of integers.

        Integers beyond the range are in none.
        """
        column, atoms = self.of_one_column(c), self.atoms_of_columns[c]
        ends = (-np.inf, np.inf)
        if region.values is None:
            first, last = np.ceil([region.low, region.high]) - [0, 1]
            ends = first, last
            runs = run_of(
                max(first - np.searchsorted(atoms, first), column._ends[0][0]),
                min(last - np.searchsorted(atoms, last, "right"), column._ends[1][0]),
            )
        else:
            numbers = np.setdiff1d(region.values, atoms)
            numbers = numbers[~column._outside(numbers[:, None])[:, 0]]
            numbers = numbers[column._beyond(numbers[:, None])[:, 0] == 0]
            runs = runs_of(column._counted(numbers[:, None])[:, 0])
        codes = np.arcsinh(column._in_deviations(runs.reshape(-1, 1))).reshape(-1, 2)
        return self._coded_region(c, region, codes, ends, False)

    def log_jacobian(self, codes: Array) -> Array | None:
        """Return the log of the share that an integer has of all beyond the range, 0 of others."""
        if not len(self._choices):
            return None
        out = np.zeros(codes.shape)
        choice = codes[:, self._choices].astype(np.float64)
        if (choice < 0).any():
            r, s = np.ceil(-choice / 2), self._learnt["scale"][self._with_choice]
            share = share_beyond(np.maximum(r, 1), s)
            out[:, self._choices] = np.where(choice < 0, share, 0)
        return out

    # ---- densities

    def constant(self, table: Table, weight: Array) -> Array:
        """Return the log of each atom's share, and components over the quantiles of the numbers."""
        codes = self.encode(sampled_columns(table, weight), np.dtype(np.float64))
        least = np.maximum(0.25 / self._learnt["scale"], self._floor)
        components = spread_logistic_components(codes[:, self._numbers], self.n_components, least)
        return self._with_components(table, weight, components)

    def distribution_params(self, raw: Array, codes: Array) -> dict[str, Any]:
        """Return mean, variance, cdf (n, C) and quantiles (n, C, 3) in the user's units.

        They count the atoms. atoms, where columns may have some: the probabilities (n, A) of the A
        atoms of each column, in a list. The CDF also counts the integers beyond the range. Moments
        and quantiles are those of integers in the range; moments are those of 32 nodes a component
        that have equal shares.
        """
        by_feature = np.split(raw.astype(np.float64), self.output_offsets[1:-1], axis=1)
        values = self.decode(codes)
        found = [self._column_params(c, by_feature, codes, values) for c in range(self.n_columns)]
        return self._by_column(found)

    def _column_params(
        self, c: int, by_feature: list[Array], codes: Array, values: Array
    ) -> dict[str, Array]:
        law, other = _Law.of(self, c, by_feature), self._other[c]
        cdf = other / 2 + (1 - other) * law.cdf(values[:, c])
        if other:
            choice, s = codes[:, self._numbers[c] - 1].astype(np.float64), self._learnt["scale"][c]
            r, is_above = np.maximum(np.ceil(-choice / 2), 1), choice % 2 == 1
            beyond = np.where(is_above, 1 - other / 2 * s / (s + r), other / 2 * s / (s + r - 1))
            cdf = np.where(choice < 0, beyond, cdf)
        mean, variance = law.moments()
        return {
            "mean": mean,
            "variance": variance,
            "cdf": cdf,
            "quantiles": np.stack([law.quantile(q) for q in QUANTILES], axis=1),
            "atoms": (1 - other) * law.atom_share,
        }


@dataclass(frozen=True)
class _Law:
    """The distributions of one column in n rows, of integers in the range.

    Parameters
    ----------
    share : array (n, K)
        Mass of each component.
    mean, scale : array (n, K)
        Mean and scale of t.
    atom_share : array (n, A)
    atoms : array (A,)
    integers : callable
        From t (n,) to integers that are no atoms.
    of_place : callable
        From j (n,) to t.
    ends : (low, high)
        Ends of the range of the integers.
    """

    share: Array
    mean: Array
    scale: Array
    atom_share: Array
    atoms: Array
    integers: Callable[[Array], Array]
    of_place: Callable[[Array], Array]
    ends: tuple[float, float]

    @classmethod
    def of(cls, conditional: Integer, c: int, by_feature: list[Array]) -> _Law:
        """Return that of column c by the raw outputs (n, P) of each feature."""
        number, column = conditional._numbers[c], conditional.of_one_column(c)
        z, mean, s = np.split(by_feature[number], 3, axis=1)
        share, atom_share = softmax(z, axis=1), np.zeros((len(z), 0))
        if c in conditional._with_choice:
            choice = softmax(by_feature[number - 1], axis=1)
            share, atom_share = share * choice[:, :1], choice[:, 1:]
        return cls(
            share,
            mean,
            np.exp(s) + conditional._floor[c],
            atom_share,
            conditional.atoms_of_columns[c],
            lambda y: column._integers(y[:, None])[:, 0],
            lambda j: np.arcsinh(column._in_deviations(j[:, None]))[:, 0],
            (conditional._limits[0][c], conditional._limits[1][c]),
        )

    def cdf(self, x: Array) -> Array:
        """Return P(at most x) (n,) of integers x in the range."""
        place = x - np.searchsorted(self.atoms, x, "right")
        upper = np.where(place < self.ends[0], -np.inf, self.of_place(place + 0.5))
        smooth = self.share * expit((upper[:, None] - self.mean) / self.scale)
        total = np.where(x >= self.ends[1], self.share.sum(axis=1), smooth.sum(axis=1))
        reached: Array = total + np.where(self.atoms <= x[:, None], self.atom_share, 0).sum(axis=1)
        return np.where(np.isnan(x), np.nan, reached)

    def quantile(self, probability: float) -> Array:
        """Return the least integer (n,) at which the CDF reaches a probability."""
        far = 40 * self.scale
        low = self.integers((self.mean - far).min(axis=1))
        high = self.integers((self.mean + far).max(axis=1))
        low = np.maximum(np.minimum(low, self.atoms.min(initial=np.inf)) - 1, self.ends[0] - 1)
        high = np.minimum(np.maximum(high, self.atoms.max(initial=-np.inf)), self.ends[1])
        for _ in range(64):
            middle = np.floor((low + high) / 2)
            reached = self.cdf(middle) >= probability
            low, high = np.where(reached, low, middle), np.where(reached, middle, high)
        found: Array = high
        return found

    def moments(self) -> tuple[Array, Array]:
        """Return mean and variance (n,)."""
        nodes = [
            self.integers((self.mean + node * self.scale).ravel()).reshape(self.mean.shape)
            for node in _NODES
        ]
        mean = (self.atom_share * self.atoms).sum(axis=1)
        mean += np.mean([(self.share * x).sum(axis=1) for x in nodes], axis=0)
        variance = (self.atom_share * (self.atoms - mean[:, None]) ** 2).sum(axis=1)
        squares = [(self.share * (x - mean[:, None]) ** 2).sum(axis=1) for x in nodes]
        return mean, variance + np.mean(squares, axis=0)


def _atoms(values: Array, weight: Array) -> Array:
    """Return the values of whole numbers that stand out, sorted."""
    levels, mass, counts, common = common_values(values, weight)
    if len(levels) < 2 or not common.size:
        return levels[common]
    beside = levels[common, None] + OFFSETS
    place = np.minimum(np.searchsorted(levels, beside), len(levels) - 1)
    around = np.where(levels[place] == beside, mass[place], 0)
    around[(beside < levels[0]) | (beside > levels[-1])] = np.nan
    return levels[common[stands_out(mass[common], counts[common], around)]]
