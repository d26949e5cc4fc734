"""The interface of conditionals."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self

import numpy as np

from fastar._core.inputs import MAY_MISS, Inputs
from fastar._core.lazy import lazy, state_without_lazy
from fastar._core.offsets import offsets_of
from fastar._core.parameters import Array
from fastar._core.schema import ArrayOf, Record, Rule, check_arrays
from fastar._core.threads import ThreadPool, useful_n_threads
from fastar._data.frame_types import Column
from fastar._data.regions import Region
from fastar._data.table import Table
from fastar._kernels import _conditionals, _uniforms

QUANTILES = (0.05, 0.5, 0.95)
"""Probabilities whose quantiles `distribution_params` gives."""


@dataclass(frozen=True)
class CodedRegion:
    """The codes of a column that a region allows.

    Parameters
    ----------
    runs : list of list of array (m, 2) or (m, 3)
        For each of the column's features its runs of codes, first and last, rising; of a feature
        that applies where its parent's code is a level, one array for each of these. Else, where a
        feature has several arrays, the third number of a run of the feature before it says which
        one it leads to.
    least, most : float
        The ends of what drawn values may be, where they are not whole numbers of codes.
    boxes : (array (S, F), array (S, F)) or None
        A partition of the region, from which its probability is summed: codes of the column's F
        features, of a BOUNDED one the place of its array, and flags, as walks have them. None: the
        one feature, or each code of the first of two.
    """

    runs: list[list[Array]]
    least: float = -np.inf
    most: float = np.inf
    boxes: tuple[Array, Array] | None = None

    def partition(self) -> tuple[Array, Array]:
        """Return `boxes`, or those of one feature or of each code of the first of two."""
        if self.boxes is not None:
            return self.boxes
        if len(self.runs) == 1:
            return np.zeros((1, 1)), np.array([[_conditionals.BOUNDED]], np.uint8)
        first = [run[0] + np.arange(run[1] - run[0] + 1) for run in self.runs[0][0]]
        codes = np.concatenate([np.empty(0), *first])
        pairs = np.column_stack([codes, np.zeros(len(codes))])
        flags = np.array([_conditionals.WEIGHTED, _conditionals.BOUNDED], np.uint8)
        return pairs, np.tile(flags, (len(codes), 1))


class Likelihood(Protocol):
    """The methods of a conditional that training and scores call, of rows or of sequences."""

    @property
    def zero_init_output(self) -> bool:
        """Whether a network's random first outputs would spoil what `constant` gives."""

    def arrays(self) -> dict[str, Array]:
        """Return the learnt arrays, by name."""

    def encode(self, block: Any, dtype: np.dtype[Any]) -> Any:
        """Return the codes of a table's block."""

    def constant(self, table: Any, weight: Array) -> Array:
        """Return the raw outputs of the best constant model, or a good one."""

    def distribution_params(self, raw: Array, codes: Any) -> Any:
        """Return the distributions that raw outputs describe, as users see them."""

    def log_prob(self, raw: Array, codes: Any, n_threads: int) -> tuple[Array, Array]:
        """Return log-densities, and their sum (n,) of each example."""

    def gradient(self, raw: Array, codes: Any, scale: Array, n_threads: int) -> tuple[Array, Array]:
        """Return the sums (n,), and scale (n,) times the gradient by raw."""


class Conditional(ABC):
    """One family of densities for every feature.

    `fitted` returns a copy with what depends on the data alone (levels, location and scale, which
    columns have missing values). Every other method is for such a copy and takes arrays in model
    order. NaN is a missing value, among values and among codes.

    Users have C columns of values; networks see D features, that is, codes. Most columns are one
    feature. A column that is several has them one after the other, by the chain rule: a feature
    that does not apply to a value has NaN for its code, and no term.
    """

    name: ClassVar[str]
    noise: ClassVar[tuple[str, ...]] = ("uniform",)
    """The random numbers of one draw: "uniform" in [0, 1), or standard "normal"."""
    binary_inputs: ClassVar[bool] = False
    """Whether no code is a factor other than 0 and 1."""
    one_hot: ClassVar[bool] = False
    """Whether a code is the number of a row of weights."""

    zero_init_output: ClassVar[bool] = False
    """Whether output weights start at zero, for random ones would spoil what `constant` gives."""

    moves_with_values: ClassVar[bool] = True
    """Whether values that are all less by one number have the same densities."""

    has_levels: ClassVar[bool] = False
    """Whether a value is one of a list, as those of a column of categories are."""

    missing: Array
    """Which columns (C,) may be missing."""
    _learnt: dict[str, Array]

    def __repr__(self) -> str:
        settings = ", ".join(f"{key}={value!r}" for key, value in self.settings().items())
        return f"{type(self).__name__}({settings})"

    def __getstate__(self) -> dict[str, Any]:
        # what is computed from the rest stays with the object: a copy may learn from other data
        return state_without_lazy(self)

    def settings(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {}

    @classmethod
    def settings_rule(cls) -> Record:
        """Return what `settings` may be in a file."""
        return Record.of_arguments(cls, cls._settings_rules())

    @classmethod
    def _settings_rules(cls) -> dict[str, Rule]:
        return {}

    # ---- learning from the data

    def fitted(self, table: Table, weight: Array, *, split: bool = True) -> Conditional:
        """Return a copy that knows the data's levels or scale. weight (n,).

        split: whether a column may be several features.
        """
        learnt = {**self._learn(table, weight), "missing": table.missing}
        fitted = self.restored(learnt, len(table.order))
        if split or fitted.n_features == fitted.n_columns:
            return fitted
        return self.unsplit().fitted(table, weight)

    def unsplit(self) -> Conditional:
        """Return a conditional that makes each column one feature."""
        return self

    @abstractmethod
    def _learn(self, table: Table, weight: Array) -> dict[str, Array]:
        """Return what depends on the data alone, by name."""

    def arrays(self) -> dict[str, Array]:
        """Return what `fitted` learnt, by name, for a file."""
        return {**self._learnt, "missing": self.missing}

    def check_arrays(self, arrays: dict[str, Array], n_columns: int) -> None:
        """Raise EntryError unless these are what `arrays` gives of so many columns."""
        rules = self._learnt_rules(n_columns)
        if "missing" in arrays:  # early files are without it where nothing is missing
            rules = rules | {"missing": ArrayOf("b", (n_columns,))}
        check_arrays(arrays, rules)

    def _learnt_rules(self, n_columns: int) -> dict[str, ArrayOf]:
        """Return what the arrays of `_learn` must be."""
        return {}

    def restored(self, arrays: dict[str, Array], n_columns: int) -> Self:
        """Return a copy with what `arrays` gave."""
        new = copy.copy(self)
        new._learnt = {name: array for name, array in arrays.items() if name != "missing"}
        new.missing = np.broadcast_to(arrays.get("missing", np.bool_(False)), (n_columns,))
        return new

    def with_gaps(self) -> Self:
        """Return a copy for which every column may be missing."""
        arrays = {
            name: np.ones(array.shape, bool) if name.split(".")[-1] == "missing" else array
            for name, array in self.arrays().items()
        }
        return self.restored(arrays, self.n_columns)

    @property
    def n_columns(self) -> int:
        """C."""
        return len(self.missing)

    @property
    def n_features(self) -> int:
        """D."""
        return int(self.column_offsets[-1])

    # ---- columns and their features

    def _feature_counts(self) -> Array:
        """Return how many features each column (C,) is."""
        return np.ones(self.n_columns, np.int64)

    @lazy
    def column_offsets(self) -> Array:
        """Where the features of each column begin, and the end of the last: (C + 1,)."""
        return offsets_of(self._feature_counts())

    def by_feature(self, of_columns: Array) -> Array:
        """Return what is said of columns, last axis C, of each of their features, D."""
        if self.n_features == self.n_columns:
            return of_columns
        return np.repeat(of_columns, np.diff(self.column_offsets), axis=-1)

    def by_column(self, of_features: Array) -> Array:
        """Return the sums over each column's features, last axis D, of their numbers: C."""
        if self.n_features == self.n_columns:
            return of_features
        sums: Array = np.add.reduceat(of_features, self.column_offsets[:-1], axis=-1)
        return sums

    @lazy
    def may_miss(self) -> Array:
        """Which features (D,) may have NaN for a code."""
        return self.missing

    @lazy
    def marks(self) -> Array:
        """Which features (D,) say that a value is missing, by 1."""
        return np.zeros(self.n_features, bool)

    # ---- values and codes

    @property
    @abstractmethod
    def support(self) -> str:
        """The support, for error messages."""

    def of_column(self, d: int) -> tuple[Conditional, int]:
        """Return the conditional of a column, and the column's place among those that have it."""
        return self, d

    def unsupported(self, block: Array) -> Array:
        """Return where (n, C) the values lie outside the support, or are missing for once."""
        wrong = self._outside(block)
        if block.dtype.kind != "f":
            return wrong
        gaps = np.isnan(block)
        return np.where(gaps, ~self.missing, wrong) if gaps.any() else wrong

    @abstractmethod
    def _outside(self, block: Array) -> Array:
        """Return where (n, C) the values lie outside the support; anything where NaN."""

    def takes_unknown(self) -> Array:
        """Return which columns (C,) may hold values that `fit` has not seen."""
        return np.zeros(self.n_columns, bool)

    @abstractmethod
    def encode(self, block: Array, dtype: np.dtype[Any]) -> Array:
        """Return codes (n, D) of values (n, C)."""

    @property
    def value_dtype(self) -> np.dtype[Any]:
        """Type that holds the values among those of other columns."""
        return np.dtype(np.float64)

    @abstractmethod
    def decode(self, codes: Array) -> Array:
        """Return values (n, C) of codes (n, D)."""

    def interval(self, block: Array, radius: Array, dtype: np.dtype[Any]) -> tuple[Array, Array]:
        """Return the lowest and highest codes (n, D) within radius (C,) of the values of a block.

        The lowest is above the highest where no value is there, and both are NaN where one is
        missing.
        """
        return self.encode(block - radius, dtype), self.encode(block + radius, dtype)

    def levels_of(self, d: int) -> Array | None:
        """Return all values that column d can have, in order; None where they are too many."""
        return None

    def has_mass(self, c: int, values: Array) -> Array:
        """Return which values (m,) of column c have a probability, not only a density or none."""
        levels = self.levels_of(c)
        if levels is not None:
            return np.isin(values, levels)
        block = np.repeat(self.decode(np.zeros((1, self.n_features))), len(values), axis=0)
        block[:, c] = values
        return ~self._outside(block)[:, c]

    def region(self, c: int, region: Region) -> CodedRegion:
        """Return the codes that column c may have in a region."""
        levels = self.levels_of(c)
        assert levels is not None
        return CodedRegion([[runs_of(np.flatnonzero(region.holds(levels)))]])

    def log_jacobian(self, codes: Array) -> Array | None:
        """Return log ``|d code / d value|`` at codes (n, D), 0 where NaN; None if discrete."""
        return None

    def _brief_log_jacobian(self, codes: Array) -> Array | None:
        """Return `log_jacobian`, or (D,) where all rows have the same."""
        same = self._same_log_jacobian()
        return self.log_jacobian(codes) if same is None or np.isnan(codes).any() else same

    def _same_log_jacobian(self) -> Array | None:
        """Return the `log_jacobian` (D,) of any codes without NaN; None where they differ."""
        return None

    def decided(self, c: int, offset: int = 0, column: Column | None = None) -> dict[str, Any]:
        """Return what was decided on column c, whose numbers are less by an offset than the user's.

        kind, map, atoms, levels (their number), support, why. column: what it is in a frame.
        """
        return {
            "kind": self.name,
            "map": None,
            "atoms": [],
            "levels": None,
            "support": self.support,
            "why": "",
        }

    # ---- what networks need to know

    @property
    def output_offsets(self) -> Array:
        """Where the raw outputs of each feature begin, and the end of the last: (D + 1,)."""
        return self.kernel.output_offsets

    @property
    def n_levels(self) -> Array:
        """Return how many rows of input weights each feature (D,) uses when it is there."""
        return np.ones(self.n_features, np.int32)

    @lazy
    def inputs(self) -> Inputs:
        """How codes enter a network."""
        flags = np.full(self.n_features, self.one_hot, np.uint8) | (MAY_MISS * self.may_miss)
        return self._inputs(flags.astype(np.uint8), self.binary_inputs)

    def _inputs(self, flags: Array, binary_inputs: bool) -> Inputs:
        # the last row of a feature that may be missing is what its missing value adds
        offsets = offsets_of(self.n_levels + self.may_miss)
        return Inputs(offsets, flags, binary_inputs, self.column_offsets)

    @abstractmethod
    def constant(self, table: Table, weight: Array) -> Array:
        """Return the raw outputs (sum of P,) of the best constant model, or a good one."""

    # ---- densities

    @abstractmethod
    def distribution_params(self, raw: Array, codes: Array) -> Any:
        """Return the distributions that raw outputs (n, sum of P) describe, by column.

        codes (n, D): the values at which densities evaluate their CDF.
        """

    def _split_outputs(self, raw: Array) -> Array:
        """Return raw outputs (n, D P) as float64 (n, D, P), of features that have as many."""
        return raw.reshape(len(raw), self.n_features, -1).astype(np.float64)

    def features(self) -> Array:
        """Return the record of each feature (D,) for the kernels."""
        return self._features()

    def _features(self, count: Any = 0, unit: Any = 1.0, floor: Any = 1.0) -> Array:
        features = np.zeros(self.n_features, _conditionals.FEATURE)
        features["kind"] = _conditionals.KINDS.index(self.name)
        features["count"], features["unit"], features["floor"] = count, unit, floor
        return features

    @lazy
    def kernel(self) -> _conditionals.Kernel:
        """The compiled log-density, its gradient and its draws."""
        return _conditionals.Kernel(
            self.features(), self.normal_noise().shape[1], bool(self.may_miss.any())
        )

    def kernel_from(self, start: int) -> _conditionals.Kernel:
        """Return the kernel of the features from `start`, the first of a column, on."""
        noise, missing = self.normal_noise().shape[1], bool(self.may_miss.any())
        return _conditionals.Kernel(self.features()[start:].copy(), noise, missing)

    def log_prob(self, raw: Array, codes: Array, n_threads: int) -> tuple[Array, Array]:
        """Return log-densities (n, D) of the values of codes (n, D), and row sums (n,)."""
        logp, total = self.kernel.log_prob(raw, codes, _threads(raw, n_threads))
        log_jacobian = self._brief_log_jacobian(codes)
        if log_jacobian is not None:
            logp = logp + log_jacobian
            total += log_jacobian.sum(axis=-1)
        return logp, total

    def gradient(
        self, raw: Array, codes: Array, scale: Array, n_threads: int
    ) -> tuple[Array, Array]:
        """Return row sums of log-densities (n,) and scale[r] times their gradient by raw."""
        total, graw = self.kernel.gradient(raw, codes, scale, _threads(raw, n_threads))
        log_jacobian = self._brief_log_jacobian(codes)
        if log_jacobian is not None:
            total += log_jacobian.sum(axis=-1)
        return total, graw

    # ---- draws

    def normal_noise(self) -> Array:
        """Return which (D, m) of the numbers that draws use up are normal, not uniform."""
        return np.tile(np.array(self.noise) == "normal", (self.n_features, 1))

    def fill_noise(self, rng: np.random.Generator, out: Array, rows: int, n_threads: int) -> None:
        """Fill `out` (n, D, m) with what n draws of every feature use up.

        Every `rows` rows of it have a stream of their own, seeded by `rng`.
        """
        normal, n_blocks = self.normal_noise(), -(-len(out) // rows)
        n_threads = max(1, min(n_threads, n_blocks))
        if not normal.all():
            seeds = rng.bit_generator.random_raw(n_blocks * _uniforms.N_SEEDS)
            flat = out.reshape(len(out), -1)
            _uniforms.fill(seeds.reshape(n_blocks, _uniforms.N_SEEDS), flat, rows, n_threads)
        if not normal.any():
            return
        streams = rng.spawn(n_blocks)

        def fill(i: int) -> None:
            mine = out[i * rows : (i + 1) * rows]
            if normal.all():
                streams[i].standard_normal(out=mine, dtype=out.dtype)
            else:
                mine[:, normal] = streams[i].standard_normal(
                    (len(mine), int(normal.sum())), dtype=out.dtype
                )

        if n_threads == 1:
            for i in range(n_blocks):
                fill(i)
            return
        with ThreadPool(n_threads) as pool:  # NumPy draws without the interpreter's lock
            pool.map(fill, range(n_blocks))


def runs_of(whole: Array) -> Array:
    """Return the runs (m, 2), first and last, of sorted whole numbers (n,)."""
    whole = np.asarray(whole, np.float64)
    if not len(whole):
        return np.empty((0, 2))
    gap = np.flatnonzero(np.diff(whole) > 1)
    return np.stack([whole[np.append(0, gap + 1)], whole[np.append(gap, len(whole) - 1)]], axis=1)


def run_of(first: float, last: float) -> Array:
    """Return the run (1, 2) from first to last, (0, 2) if the last one comes before the first."""
    return np.array([[first, last]]) if first <= last else np.empty((0, 2))


def whole_near(block: Array, radius: Array) -> tuple[Array, Array]:
    """Return the lowest and highest whole numbers within radius of a block, but for rounding."""
    wide = (radius + 1e-6).astype(block.dtype)
    return np.ceil(block - wide), np.floor(block + wide)


def share_of_others(weight: Array) -> float:
    """Return the probability of all values that `fit` did not see, by rows of weight (n,)."""
    share: float = 0.5 / (weight.sum() + 1)
    return share


def distance_beyond(block: Array, low: Array, high: Array) -> Array:
    """Return how far (n, C) values lie below the lowest or above the highest number, or 0."""
    beyond: Array = np.maximum(np.maximum(low - block, block - high), 0)
    return beyond


def share_beyond(distance: Array | float, s: Array) -> Array:
    """Return the log of the share that an integer beyond a range has of all those beyond.

    Half of it is on either side. What is beyond a distance of r falls like s / (s + r).
    """
    share: Array = np.log(s / 2) - np.log(s + distance - 1) - np.log(s + distance)
    return share


def log_masses(other: Array) -> tuple[Array, Array]:
    """Return the logarithms of the probabilities of other values, and of those that are known."""
    with np.errstate(divide="ignore"):
        return np.log(other), np.log1p(-other)


def _threads(raw: Array, n_threads: int) -> int:
    return useful_n_threads(n_threads, 20 * raw.size)


def weighted_mean(table: Table, weight: Array, code: Any) -> Array:
    """Return the mean (D,) of code(block) over the rows, without missing values; 0 of none."""
    total, mass = np.zeros(len(table.order)), np.zeros(len(table.order))
    for where, block in table.blocks():
        coded = np.asarray(code(block), np.float64)
        there = ~np.isnan(coded)
        # not a matrix product: BLAS may add in another order for another number of threads
        total += np.einsum("i,ij->j", weight[where], np.where(there, coded, 0))
        mass += np.einsum("i,ij->j", weight[where], there)
    mean: Array = total / np.where(mass > 0, mass, 1)
    return mean


def sampled_columns(table: Table, weight: Array, n: int = 2000) -> Array:
    """Return n rows (n, D) of the table, each as often as it weighs."""
    total = np.cumsum(weight)
    at = (np.arange(n) + 0.5) / n * total[-1]
    return table.take(np.minimum(np.searchsorted(total, at), np.flatnonzero(weight)[-1]))
