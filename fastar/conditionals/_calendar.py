"""The conditional of moments and times of day: a trend, then the parts of a calendar."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import softmax

from fastar._core.inputs import MAY_MISS, NEAR, ONE_HOT, Inputs
from fastar._core.lazy import lazy
from fastar._core.parameters import Array
from fastar._core.schema import SMALLEST, ArrayOf, Rule, require
from fastar._data.calendars import (
    PARTS,
    Zone,
    split,
)
from fastar._data.clocks import LARGEST_NUMBER
from fastar._data.frame_types import Column
from fastar._data.regions import Region
from fastar._data.table import Table
from fastar._kernels import _conditionals
from fastar.conditionals._calendar_columns import MOST, joined, learnt_column
from fastar.conditionals._conditional import (
    CodedRegion,
    Conditional,
    log_masses,
    sampled_columns,
    share_of_others,
)
from fastar.conditionals._number import Number
from fastar.conditionals._real import (
    COMPONENTS,
    check_components,
    spread_logistic_components,
)
from fastar.conditionals._stretches import DigitRegions, Stretch, joined_stretches

_SCALE_FLOOR = 0.1
"""Smallest scale of a component, in weeks or years."""
_FAR = {"year": 5, "week": 52}
"""Scale at which the rare component begins that later dates have their probability from."""


class Calendar(Conditional):
    r"""Moments and times of day, part by part as calendars have them.

    A moment is several features: the week, counted on and on, then weekday, hour, minute, second
    and decimal digits of a second, as fine as its column is. Where a column reaches over more than
    104 weeks, the week is two features, the number of a year of 52 weeks and the week in it. The
    trend, that is, the week or the year, has a mixture of K logistic densities over whole numbers
    [1]_, with tails over all years from 1 to 9999; one of them starts as wide as a year of weeks or
    five years, with a weight of 1 / (2 n + 2), so that dates soon after those of `fit`, n rows, are
    not beyond comparison. Later features see a trend up to eight deviations from its mean, and what
    lies beyond as that. Every other part is a softmax over its values. A time of day has no trend.
    Periods of months and quarters are the year, then the month or quarter in it, and so are moments
    that in `fit` all begin a month.

    .. math::
        p(x) = p(week) p(weekday \mid week) p(hour \mid week, weekday) \ldots \cdot
        \begin{cases}
        1 - q & \text{on a tick} \\
        q / (m - 1) & \text{off the ticks}
        \end{cases}

    p(x) is a probability. A tick is the longest of a day, whole hours, minutes, seconds and powers
    of ten of a second of which all values of `fit` are multiples. Parts at the end that do not vary
    in `fit`, such as the hour of daily rows, are no features: there is a tick a day. Where the
    column's type tells m > 1 values apart from one tick to the next, those between have
    q = 1 / (2 n + 2) altogether, n the rows of fit, and are never drawn: whether a value is on a
    tick is the last feature.

    With a zone, the clock on its wall decides on all parts. Of an hour that a clock shows twice,
    both times share the probability of the reading equally, and the first is drawn; readings that
    a clock skips keep the probability that the model gives them, and are drawn as the moments one
    hour on.

    Parameters
    ----------
    n_components : int, default=10
        K.

    References
    ----------
    .. [1] T. Salimans, A. Karpathy, X. Chen, D. P. Kingma, "PixelCNN++", ICLR 2017.
    """

    name = "calendar"
    noise = ("uniform", "uniform")
    zero_init_output = True
    support = "moments from the year 1 to 9999 or times of day"

    def __init__(self, n_components: int = 10) -> None:
        self.n_components = n_components

    def settings(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"n_components": self.n_components}

    @classmethod
    def _settings_rules(cls) -> dict[str, Rule]:
        return {"n_components": COMPONENTS}

    def unsplit(self) -> Number:
        """Return a conditional that makes each column one feature: a density over its ticks."""
        return Number(self.n_components, atoms=False)

    # ---- learning from the data

    def _learn(self, table: Table, weight: Array) -> dict[str, Array]:
        check_components(self, self.n_components)
        columns = []
        for place, described in enumerate(table.described()):
            if described is None or described.type not in ("moment", "time"):
                raise ValueError(
                    "Calendar must be the conditional of moments or times of day, in a DataFrame. "
                    f"Got it for column {int(table.order[place])} instead."
                )
            columns.append(learnt_column(table, place, described))
        trend = self._trend_of(table, columns, weight)
        learnt = joined(columns)
        other = np.where(learnt["size"] > 1, share_of_others(weight), 0)
        return {**learnt, **trend, "other": other}

    def _trend_of(
        self, table: Table, columns: list[dict[str, Any]], weight: Array
    ) -> dict[str, Array]:
        """Return centre and spread (C,) of the trends."""
        n_columns = len(columns)
        neutral = {"centre": np.zeros(n_columns), "spread": np.ones(n_columns)}
        draft = self.restored({**joined(columns), **neutral, "missing": table.missing}, n_columns)
        codes = draft.encode(sampled_columns(table, weight).astype(float), np.dtype(float))
        for c in np.flatnonzero(draft._has_trend):
            trend = codes[:, draft._trends[c]]
            trend = trend[~np.isnan(trend)]
            if trend.size:
                neutral["centre"][c] = np.rint(trend.mean())
                neutral["spread"][c] = max(float(trend.std()), 0.5)
        return neutral

    def _learnt_rules(self, n_columns: int) -> dict[str, ArrayOf]:
        whole = ArrayOf("i", (n_columns,), -MOST, MOST)
        return {
            "shift": whole,
            "grid": ArrayOf("i", (n_columns,), 1, MOST),
            "size": ArrayOf("i", (n_columns,), 1, MOST),
            "phase": ArrayOf("i", (n_columns,), 0, MOST),
            "low": whole,
            "high": whole,
            "trend": ArrayOf("i", (n_columns,), 0, len(_TRENDS)),
            "n_parts": ArrayOf("i", (n_columns,), 0, len(PARTS)),
            "part": ArrayOf("i", (None,), 0, len(PARTS) - 1),
            "radix": ArrayOf("i", (None,), 2, 60),
            "n_changes": ArrayOf("i", (n_columns,), 0),
            "change": ArrayOf("f", (None,), -(2.0**53) * 2**10, 2.0**53 * 2**10),
            "ahead": ArrayOf("f", (None,), -(2.0**53), 2.0**53),
            "centre": ArrayOf("f", (n_columns,)),
            "spread": ArrayOf("f", (n_columns,), SMALLEST),
            "other": ArrayOf("f", (n_columns,), 0, 1),
        }

    def check_arrays(self, arrays: dict[str, Array], n_columns: int) -> None:
        """Raise EntryError unless these are what `arrays` gives of so many columns."""
        super().check_arrays(arrays, n_columns)
        for name, counted in (("part", "n_parts"), ("radix", "n_parts"), ("change", "n_changes")):
            fits = len(arrays[name]) == arrays[counted].astype(np.int64).sum()
            require(name, fits, f"must be as many as {counted} counts.")
        as_many = len(arrays["ahead"]) == len(arrays["change"])
        require("ahead", as_many, "must be as many as change.")
        require("phase", (arrays["phase"] < arrays["grid"]).all(), "must be below grid.")
        require("high", (arrays["low"] <= arrays["high"]).all(), "must not be below low.")
        between = (arrays["other"] == 0) | (arrays["size"] > 1)
        require("other", between.all(), "must be 0 where nothing is between two ticks.")
        some = (arrays["trend"] > 0) | (arrays["n_parts"] > 0)
        require("n_parts", some.all(), "must not be 0 in a column without a trend.")
        for own in np.split(arrays["change"], np.cumsum(arrays["n_changes"])[:-1]):
            require("change", (np.diff(own) > 0).all(), "must be sorted in each column.")
        restored = self.restored(arrays, n_columns)
        for c in range(n_columns):
            product = int(arrays["grid"][c])
            for radix in restored._radix[c].tolist():
                product *= radix
            ends = (abs(int(arrays[name][c])) + 1 for name in ("low", "high"))
            require("radix", product * max(ends) < MOST, "must not count beyond int64.")

    # ---- columns and their features

    @lazy
    def _radix(self) -> list[Array]:
        """How many values each part of each column has."""
        return np.split(self._learnt["radix"], np.cumsum(self._learnt["n_parts"])[:-1])

    @lazy
    def _parts(self) -> list[Array]:
        """Which of `PARTS` each part of each column is."""
        return np.split(self._learnt["part"], np.cumsum(self._learnt["n_parts"])[:-1])

    @lazy
    def _zones(self) -> list[Zone | None]:
        """How the clock on the wall of each column goes; None where it shows the ticks."""
        ends = np.cumsum(self._learnt["n_changes"])[:-1]
        pairs = zip(
            np.split(self._learnt["change"], ends),
            np.split(self._learnt["ahead"], ends),
            strict=True,
        )
        return [Zone(change, ahead) if len(change) else None for change, ahead in pairs]

    @property
    def _has_choice(self) -> Array:
        """Which columns (C,) tell values apart that are on no tick."""
        return self._learnt["size"] > 1

    @property
    def _has_trend(self) -> Array:
        return self._learnt["trend"] > 0

    @lazy
    def _has_fold(self) -> Array:
        """Which columns (C,) have a zone that shows some times twice."""
        return np.array([zone is not None and zone.has_folds for zone in self._zones], bool)

    def _feature_counts(self) -> Array:
        """Return how many features each column (C,) is: trend, parts, fold, on a tick."""
        flags = self._has_choice.astype(np.int64) + self._has_trend + self._has_fold
        counts: Array = flags + self._learnt["n_parts"]
        return counts

    @property
    def _choices(self) -> Array:
        """The feature of each column (C,) that says whether a value is on a tick, if one does."""
        return self.column_offsets[1:] - 1

    @property
    def _folds(self) -> Array:
        """The feature of each column (C,) that tells equal readings apart, if one does."""
        return self._choices - self._has_choice

    @property
    def _trends(self) -> Array:
        """The feature of each column (C,) that is its trend, where it has one."""
        return self.column_offsets[:-1]

    def _part_features(self, c: int) -> Array:
        """Return the features that are the parts of column c."""
        start = int(self._trends[c]) + int(self._has_trend[c])
        return np.arange(start, start + len(self._radix[c]))

    @lazy
    def may_miss(self) -> Array:
        """Which features (D,) may have NaN for a code: those of columns with missing values."""
        return self.by_feature(self.missing)

    @property
    def n_levels(self) -> Array:
        """Return how many rows of input weights each feature (D,) uses when it is there."""
        counted = np.ones(self.n_features, np.int32)
        for c in range(self.n_columns):
            counted[self._part_features(c)] = self._radix[c]
        return counted

    @lazy
    def inputs(self) -> Inputs:
        """How codes enter a network."""
        flags = (MAY_MISS * self.may_miss).astype(np.uint8)
        flags[self._trends[self._has_trend]] |= NEAR
        for c in range(self.n_columns):
            flags[self._part_features(c)] |= ONE_HOT
        return self._inputs(flags, False)

    def features(self) -> Array:
        """Return the record of each feature (D,) for the kernels."""
        features = np.zeros(self.n_features, _conditionals.FEATURE)
        features["kind"] = _conditionals.KINDS.index("categorical")
        features["count"] = self.n_levels
        features["unit"] = features["floor"] = 1.0
        features["low"], features["high"] = -np.inf, 0.0
        own, with_choice = self._learnt, self._has_choice
        choices = self._choices[with_choice]
        other, known = log_masses(own["other"][with_choice])
        features["low"][choices] = other - np.log(own["size"][with_choice] - 1)
        features["high"][choices] = known
        # of a reading that is shown once the code is 0; else each has half of the probability
        features["low"][self._folds[self._has_fold]] = np.log(0.5)
        with_trend = np.flatnonzero(self._has_trend)
        trends, unit = self._trends[with_trend], 0.5 / own["spread"][with_trend]
        features["kind"][trends] = _conditionals.KINDS.index("logistic_mixture")
        features["count"][trends] = self.n_components
        features["unit"][trends], features["floor"][trends] = unit, 2 * unit * _SCALE_FLOOR
        for name in ("low", "high"):
            features[name][trends] = self._trend_code(own[name], with_trend)
        return features

    def _trend_code(self, trend: Array, columns: Any) -> Array:
        centre, spread = self._learnt["centre"][columns], self._learnt["spread"][columns]
        code: Array = (trend[columns] - centre) / spread
        return code

    def decided(self, c: int, offset: int = 0, column: Column | None = None) -> dict[str, Any]:
        """Return what was decided on column c."""
        kind = int(self._learnt["trend"][c])
        trend = [f"{_TRENDS[kind - 1]} as a number"] if kind else []
        parts = trend + [PARTS[k] for k in self._parts[c]]
        said = super().decided(c) | {"why": "dates or times: " + ", ".join(parts)}
        if column is not None and column.clock is not None:
            held = "times of day" if column.type == "time" else "moments from the year 1 to 9999"
            said["support"] = f"{held}, by the {column.clock.resolution}"
        return said

    # ---- values and codes

    def _outside(self, block: Array) -> Array:
        wrong = np.empty(block.shape, bool)
        for c, column in enumerate(block.T):
            trend, _ = self._trend_and_parts(c, column)
            far = np.abs(column) > LARGEST_NUMBER - 1
            low, high = self._learnt["low"][c], self._learnt["high"][c]
            wrong[:, c] = far | (trend < low) | (trend > high) | ~np.isfinite(column)
            if not self._has_choice[c]:
                wrong[:, c] |= column != np.rint(column)
        return wrong

    def encode(self, block: Array, dtype: np.dtype[Any]) -> Array:
        """Return codes (n, D): the trend; the parts; the fold; 0 on a tick and -1 off it.

        The fold is 0 of a reading that a clock shows once, -1 and -2 of the first and the second of
        two. A value off the ticks has the codes of the tick before it.
        """
        codes = np.empty((len(block), self.n_features))
        for c, column in enumerate(block.T):
            start, end = self.column_offsets[c : c + 2]
            trend, codes[:, start:end] = self._trend_and_parts(c, column)
            if self._has_trend[c]:
                own = trend - self._learnt["centre"][c]
                codes[:, self._trends[c]] = own / self._learnt["spread"][c]
            codes[np.isnan(column), start:end] = np.nan
        return np.ascontiguousarray(codes, dtype)

    def _trend_and_parts(self, c: int, column: Array) -> tuple[Array, Array]:
        """Return the trend (n,) of a column's numbers, and the codes of its other features."""
        start, end = self.column_offsets[c : c + 2]
        codes, own = np.zeros((len(column), end - start)), self._learnt
        known = np.where(np.abs(column) <= LARGEST_NUMBER, column, 0)  # 0 also of NaN
        ticks = np.floor(known)
        wall, zone = ticks.astype(np.int64), self._zones[c]
        if zone is not None:
            ahead, fold = zone.reading(ticks)
            wall += np.rint(ahead).astype(np.int64)
            if self._has_fold[c]:
                codes[:, self._folds[c] - start] = fold
        rest, phase = np.divmod(wall + own["shift"][c], own["grid"][c])
        if self._has_choice[c]:
            codes[:, -1] = np.where((known == ticks) & (phase == own["phase"][c]), 0, -1)
        features = self._part_features(c)
        trend, parts = split(rest, self._radix[c].tolist())
        codes[:, features - start] = parts
        return trend, codes

    def decode(self, codes: Array) -> Array:
        """Return the numbers of codes: off the ticks, that of the tick before."""
        values = np.empty((len(codes), self.n_columns))
        own, codes = self._learnt, codes.astype(np.float64)
        for c in range(self.n_columns):
            start, end = self.column_offsets[c : c + 2]
            found = np.nan_to_num(codes[:, start:end])
            whole = np.zeros(len(codes), np.int64)
            if self._has_trend[c]:
                code = found[:, self._trends[c] - start]
                trend = np.rint(code * own["spread"][c] + own["centre"][c])
                whole = np.clip(trend, own["low"][c], own["high"][c]).astype(np.int64)
            wall = self._whole(c, whole, found) * own["grid"][c] + own["phase"][c] - own["shift"][c]
            zone = self._zones[c]
            fold = found[:, self._folds[c] - start]
            values[:, c] = wall if zone is None else zone.ticks(wall, fold == -2)
        return values

    def _whole(self, c: int, trend: Array, codes: Array) -> Array:
        """Return the trend (n,) of column c and its parts, among codes (n, F), as one number."""
        whole = trend
        for d, radix in zip(self._part_features(c) - self._trends[c], self._radix[c], strict=True):
            whole = whole * radix + codes[:, d].astype(np.int64)
        return whole

    def interval(self, block: Array, radius: Array, dtype: np.dtype[Any]) -> tuple[Array, Array]:
        """Return the codes (n, D) of the ticks of the values twice: parts do not go by distance.

        Nothing where the tick is not within radius (C,).
        """
        low = self.encode(block, dtype)
        high, beyond = low.copy(), np.abs(block - self.decode(low)) > radius
        low[self.by_feature(beyond)], high[self.by_feature(beyond)] = 1, 0
        return low, high

    def has_mass(self, c: int, values: Array) -> Array:
        """Return which values (m,) of column c are on a tick; others share a probability."""
        block = np.zeros((len(values), self.n_columns))
        block[:, c] = values
        _, codes = self._trend_and_parts(c, block[:, c])
        on_tick = codes[:, -1] == 0 if self._has_choice[c] else True
        found: Array = ~self._outside(block)[:, c] & on_tick
        return found

    def region(self, c: int, region: Region) -> CodedRegion:
        """Return the codes that column c may have in a region.

        An interval has all values of the ticks in it, those between two ticks with the former;
        what a clock skips is in the interval that has the moments it is drawn as.
        """
        radix, has_trend = self._radix[c].tolist(), bool(self._has_trend[c])
        digits = DigitRegions(radix if has_trend else radix[1:])
        digits.add(self._stretches_of(c, region))
        boxes = digits.boxes()
        runs = [[np.array(each, np.float64).reshape(-1, 3) for each in d] for d in digits.regions]
        if not has_trend:
            center, spread = 0.0, 1.0
        else:
            center, spread = (float(self._learnt[name][c]) for name in ("centre", "spread"))
        for each in runs[0]:
            each[:, :2] = (each[:, :2] - center) / spread
        everything = np.array([[-np.inf, np.inf]])
        if self._has_fold[c]:  # by mark
            runs.append([everything, np.array([[-1.0, -1.0]]), np.array([[-2.0, -2.0]])])
        if self._has_choice[c]:
            runs.append([everything if region.values is None else np.zeros((1, 2))])
        codes = np.zeros((len(boxes), len(runs)))
        flags = np.full(codes.shape, _conditionals.OBSERVED, np.uint8)
        flags[:, len(digits.regions) :] = _conditionals.BOUNDED
        for i, (before, place, mark) in enumerate(boxes):
            depth = len(before)
            codes[i, : depth + 1] = [*before, place]
            flags[i, :depth], flags[i, depth] = _conditionals.WEIGHTED, _conditionals.BOUNDED
            if depth:
                codes[i, 0] = (codes[i, 0] - center) / spread
            if self._has_fold[c]:
                codes[i, len(digits.regions)] = mark
        return CodedRegion(runs, boxes=(codes, flags))

    def _stretches_of(self, c: int, region: Region) -> list[Stretch]:
        """Return the trend and parts of column c, as one whole number, of what a region allows."""
        own, size = self._learnt, int(np.prod(self._radix[c], dtype=np.int64))
        least, end_of_all = int(own["low"][c]) * size, (int(own["high"][c]) + 1) * size
        shift, grid = int(own["shift"][c] - own["phase"][c]), int(own["grid"][c])
        zone = self._zones[c]
        if region.values is not None:
            trend, codes = self._trend_and_parts(c, np.array(region.values, np.float64))
            wholes = self._whole(c, trend.astype(np.int64), codes)
            kinds = np.zeros(len(wholes), np.int64)
            if self._has_fold[c]:
                kinds = -codes[:, self._folds[c] - self._trends[c]].astype(np.int64)
            return joined_stretches(wholes, wholes + 1, kinds)
        ends = (region.low, region.high)
        low, high = (int(np.ceil(np.clip(x, -LARGEST_NUMBER, LARGEST_NUMBER))) for x in ends)
        first, end, kinds = np.array([low]), np.array([high]), np.zeros(1, np.int64)
        if zone is not None:
            first, end, kinds = zone.stretches(low, high)
        # a tick is the number -shift modulo grid
        first, end = (np.clip(-(-(x + shift) // grid), least, end_of_all) for x in (first, end))
        some = first < end
        return joined_stretches(first[some], end[some], kinds[some])

    # ---- densities

    def constant(self, table: Table, weight: Array) -> Array:
        """Return the log of each part's shares, and components over the quantiles of trends."""
        parts = [np.zeros(1) for _ in range(self.n_features)]
        features = np.concatenate([self._part_features(c) for c in range(self.n_columns)])
        mass = {d: np.full(self.n_levels[d], 0.5) for d in features.tolist()}
        for where, block in table.blocks():
            codes = self.encode(block.astype(np.float64), np.dtype(np.float64))
            for d, own in mass.items():
                there = ~np.isnan(codes[:, d])
                found = codes[there, d].astype(np.int64)
                own += np.bincount(found, weight[where][there], minlength=len(own))
        for d, own in mass.items():
            parts[d] = np.log(own / own.sum())
        with_trend = np.flatnonzero(self._has_trend)
        if len(with_trend):
            rows = sampled_columns(table, weight).astype(np.float64)
            codes = self.encode(rows, np.dtype(np.float64))[:, self._trends[with_trend]]
            narrow = 0.5 / self._learnt["spread"][with_trend]
            n_near = max(1, self.n_components - 1)
            log_weight, mean, s = spread_logistic_components(codes, n_near, narrow / 4)
            floor = 2 * narrow[:, None] * _SCALE_FLOOR  # kernels add it
            s = np.log(np.maximum(np.exp(s) - floor, floor / 20))
            if n_near < self.n_components:
                rare = np.log(share_of_others(weight))
                far = np.array([_FAR[_TRENDS[k - 1]] for k in self._learnt["trend"][with_trend]])
                wide = np.log(np.maximum(2 * narrow * far, 5))
                log_weight, mean = (np.pad(x, ((0, 0), (0, 1))) for x in (log_weight, mean))
                log_weight[:, -1], s = rare, np.column_stack([s, wide])
            for d, *raw in zip(self._trends[with_trend], log_weight, mean, s, strict=True):
                parts[d] = np.concatenate(raw)
        return np.concatenate(parts)

    def distribution_params(self, raw: Array, codes: Array) -> list[dict[str, Array]]:
        """Return a dict by column: "probability" (n,), and (n, K) of each part by its name.

        The probability is that of the value; those of a part are given the value's own coarser
        parts. NaN where the value is missing.
        """
        logp, _ = self.log_prob(np.ascontiguousarray(raw), np.ascontiguousarray(codes), 1)
        probability = np.exp(self.by_column(logp.astype(np.float64)))
        by_feature = np.split(raw.astype(np.float64), self.output_offsets[1:-1], axis=1)
        found = []
        for c in range(self.n_columns):
            is_missing = np.isnan(codes[:, self.column_offsets[c]])
            said = {"probability": np.where(is_missing, np.nan, probability[:, c])}
            for k, d in zip(self._parts[c], self._part_features(c), strict=True):
                shares = softmax(by_feature[d], axis=1)
                said[PARTS[k]] = np.where(is_missing[:, None], np.nan, shares)
            found.append(said)
        return found


_TRENDS = ("year", "week")
"""Units that a trend counts, by number from 1 on."""
