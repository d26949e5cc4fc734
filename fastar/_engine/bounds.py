"""Regions of columns as the codes of a model's features."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fastar._core.inputs import ONE_HOT
from fastar._core.offsets import offsets_of
from fastar._core.parameters import Array
from fastar._core.sharpness import Sharpness
from fastar._data.regions import Region, Regions
from fastar._engine.model import Model
from fastar._engine.support import called
from fastar._kernels._conditionals import BOUNDED


@dataclass(frozen=True)
class Bounds:
    """The regions of the features of n rows.

    Parameters
    ----------
    cells : int array (n, C)
        Place of each cell's region in `ends`, -1 where it has none; in the order of the columns.
    numbers : int array (n, D)
        Number of each feature's region in model order; anything where it has none.
    begin, runs, further : arrays (R + 1,), (m, 2), (m,)
        Region i of a feature is the codes runs[begin[i]] to runs[begin[i + 1] - 1]. Where a code is
        of run j, the number of the next feature's region is larger by further[j].
    boxes : list of (array (S, F), array (S, F))
        Partitions of the regions of `ends`: codes of the column's features (for a BOUNDED one, the
        number of its region), and flags, as walks have them.
    ends : array (.., 2)
        The least and the largest value that may be drawn.
    """

    cells: Array
    numbers: Array
    begin: Array
    runs: Array
    further: Array
    boxes: list[tuple[Array, Array]]
    ends: Array

    @property
    def bounded(self) -> Array:
        """Which cells (n, C) are held to a region."""
        found: Array = self.cells >= 0
        return found

    @property
    def regions(self) -> tuple[Array, Array, Array]:
        """The arrays that describe all regions to kernels."""
        return self.begin, self.runs, self.further

    def take(self, rows: Array) -> Bounds:
        """Return the bounds of some of the rows."""
        return replace(self, cells=self.cells[rows], numbers=self.numbers[rows])

    def clip(self, values: Array, rows: Array) -> Array:
        """Return values (m, C) of rows (m,), which are overwritten, within their regions.

        A code in single precision may lie beyond the end of its region by half a place.
        """
        cells = self.cells[rows]
        low, high = np.moveaxis(self.ends[cells], 2, 0)
        real = (cells >= 0) & ((low > -np.inf) | (high < np.inf))
        if real.any():
            values[real] = np.clip(values[real], low[real], high[real])
        return values


def bounds_of(
    model: Model, regions: Regions | None, n: int, name: str, *, drawn: bool
) -> Bounds | None:
    """Return the bounds of n rows.

    drawn: whether values are to be drawn, so that no region may be empty.

    Raises
    ------
    ValueError
        A member of a set has no probability, or nothing is left to draw.
    """
    if regions is None or not regions.regions:
        return None
    conditional = model.conditional
    runs: list[Array] = []
    feature_numbers = np.zeros((len(regions.regions), model.n_features), np.int64)
    boxes, ends = [], []
    for i, region in enumerate(regions.regions):
        place = int(np.flatnonzero(model.order == region.column)[0])
        _check_set(model, region, place, name)
        coded = conditional.region(place, region)
        start = conditional.column_offsets[place]
        for f, of_feature in enumerate(coded.runs):
            own = of_feature
            if drawn and conditional.inputs.input_flags[start + f] & ONE_HOT:
                own = [each[each[:, 0] >= 0] for each in own]  # -1 stands for no value
            feature_numbers[i, start + f] = len(runs)
            runs += own
        mine = feature_numbers[i, start : start + len(coded.runs)]
        codes, flags = coded.partition()
        boxes.append((np.where(flags == BOUNDED, codes + mine, codes), flags))
        if drawn and not len(runs[mine[0]]):
            column = called(model.labels, region.column)
            raise ValueError(
                f"{name} must leave something to draw in column {column}. "
                f"Got {region.said} instead."
            )
        ends.append((coded.least, coded.most))
    cells = np.broadcast_to(regions.number, (n, model.n_columns))
    number = conditional.by_feature(cells[:, model.order])
    numbers = np.take_along_axis(feature_numbers, np.maximum(number, 0), axis=0)
    begin = offsets_of(np.array([len(each) for each in runs]))
    all_runs = np.concatenate([np.pad(each, ((0, 0), (0, 3 - each.shape[1]))) for each in runs])
    further = all_runs[:, 2].astype(np.int64)
    return Bounds(cells, numbers, begin, all_runs[:, :2].copy(), further, boxes, np.array(ends))


def check_no_cut(sharpness: Sharpness, regions: Regions | None) -> None:
    """Raise ValueError where levels are to be left out of regions."""
    if sharpness.cuts and regions is not None and regions.regions:
        raise ValueError(
            "top_p and top_k must be None where evidence has sets or intervals. Got others instead."
        )


def _check_set(model: Model, region: Region, place: int, name: str) -> None:
    """Raise ValueError where a member of a set has no probability."""
    if not region.values:
        return
    values = np.array(region.values)
    alien = values[~model.conditional.has_mass(place, values)]
    if len(alien):
        own, _ = model.conditional.of_column(place)
        value = str(alien[0])
        if model.labels is not None:
            value = model.labels.value(region.column, alien[0])
        column = called(model.labels, region.column)
        raise ValueError(
            f"{name} must hold sets of values that have a probability of their own, "
            f"in column {column}, of which the conditional is {own.name}: levels, ticks of dates "
            "and times, or the atoms of real numbers. "
            f"Got {value} in {region.said} instead; an interval is (low, high)."
        )
