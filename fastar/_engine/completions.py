"""Completions of rows by the particles of a model, or of all models of a mixture."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastar._core.parameters import Array
from fastar._core.sharpness import AS_FITTED, Sharpness
from fastar._data.table import Table
from fastar._engine.bounds import Bounds
from fastar._engine.model import Model
from fastar._engine.particles import (
    Particles,
    complete_rows,
    draw_by_weight,
    effective_sample_size,
    normalise_log_weights,
    particle_blocks,
    particles,
)
from fastar._engine.scores import score_rows
from fastar._kernels._conditionals import SAMPLED, WEIGHTED

PARTICLES = 64
"""Samples of a row from which one is drawn, where its evidence does not come first."""
FEW_EFFECTIVE = 0.05
"""Share of a row's particles; where fewer are effective, its draws repeat or miss what is there."""


@dataclass(frozen=True)
class Part:
    """One model of a mixture, or the only one, with the context of the rows that are asked about.

    Parameters
    ----------
    log_weight : float
        The logarithm of its weight in the mixture.
    model : Model
    context : array (n, C) or None
    bounds : Bounds or None
        Regions of the rows.
    """

    log_weight: float
    model: Model
    context: Array | None = None
    bounds: Bounds | None = None

    def take(self, rows: Array) -> Part:
        """Return the part for some of the rows."""
        context = None if self.context is None else self.context[rows]
        bounds = None if self.bounds is None else self.bounds.take(rows)
        return Part(self.log_weight, self.model, context, bounds)

    def particles(self, X: Array, missing: Array, **how: Any) -> Particles:
        """Return samples of rows X (n, C) where `missing`, as `particles` does."""
        return particles(self.model, X, missing, context=self.context, bounds=self.bounds, **how)

    def repeat(self, number: int) -> Part:
        """Return the part for each row so many times, one after the other, without bounds."""
        context = None if self.context is None else np.repeat(self.context, number, axis=0)
        return Part(self.log_weight, self.model, context)

    def place(self, column: int) -> int:
        """Return the place of a column in the model's order."""
        return int(np.flatnonzero(self.model.order == column)[0])

    def features(self, column: int) -> slice:
        """Return the features that a column is."""
        place = self.place(column)
        return slice(*self.model.conditional.column_offsets[place : place + 2])

    def there(self, column: int) -> Array:
        """Return flags (D,) of marks by which the column is there, which is weighed."""
        of_column = np.zeros(self.model.n_features, bool)
        of_column[self.features(column)] = True
        weighed = of_column & self.model.conditional.marks
        return np.where(weighed, np.uint8(WEIGHTED), np.uint8(SAMPLED))

    def levels(self, column: int) -> Array | None:
        """Return all values that a column can have, None where they are too many."""
        return self.model.conditional.levels_of(self.place(column))

    def score(self, values: Array, n_threads: int) -> Array:
        """Return log weight + log p(x) of whole rows (n, C)."""
        table = Table(values, self.model.order, context=self.context)
        return self.log_weight + score_rows(self.model, table, n_threads)


def propose(
    parts: list[Part],
    X: Array,
    missing: Array,
    rows: Array,
    n_particles: int,
    rng: np.random.Generator,
    n_threads: int,
    *,
    sharpness: Sharpness = AS_FITTED,
    gapless: bool = False,
) -> tuple[list[Particles], Array]:
    """Return n_particles samples of rows of X by each part, and the log-weights (m, N) of all.

    gapless: no sample has a gap, whatever gaps are like.
    """
    found = [
        part.take(rows).particles(
            X[rows],
            missing[rows],
            n_particles=n_particles,
            rng=rng,
            n_threads=n_threads,
            sharpness=sharpness,
            there=complete_rows(part.model) if gapless else None,
        )
        for part in parts
    ]
    of_parts = [p.log_weight + each.log_weights() for p, each in zip(parts, found, strict=True)]
    return found, np.concatenate(of_parts, axis=1)


def impute(
    parts: list[Part],
    X: Array,
    missing: Array,
    n_draws: int,
    n_particles: int,
    rng: np.random.Generator,
    n_threads: int,
    *,
    sharpness: Sharpness = AS_FITTED,
    gapless: bool = False,
) -> tuple[Array, Array]:
    """Return completions (n_draws, n, D) of X where `missing`, and effective sample sizes (n,).

    They are drawn by weight from n_particles of each part. A particle's weight is log w_k +
    log p_k(evidence), the latter as its part estimates it: so each part's particles weigh
    together, on average, as much as its posterior probability.
    """
    completed, number = copies(X, n_draws), n_particles * len(parts)
    ess = np.full(len(X), float(number))
    incomplete = np.flatnonzero(missing.any(axis=1))
    for rows in particle_blocks(incomplete, X.shape[1], number):
        found, log_weight = propose(
            parts, X, missing, rows, n_particles, rng, n_threads,
            sharpness=sharpness, gapless=gapless,
        )  # fmt: skip
        share, mean = normalise_log_weights(log_weight)
        ess[rows] = np.where(np.isfinite(mean), effective_sample_size(share), 0)
        for draw in completed:
            chosen = draw_by_weight(share, rng)
            start = 0
            for each in found:
                mine = np.flatnonzero((start <= chosen) & (chosen < start + each.number))
                drawn = each.values(mine, chosen[mine] - start)
                draw[rows[mine]] = np.where(missing[rows[mine]], drawn, draw[rows[mine]])
                start += each.number
    return completed, ess


def copies(X: Array, number: int) -> Array:
    """Return X so many times (number, ..), one after the other: they may fill the memory."""
    found = np.empty((number, *X.shape), X.dtype)
    for each in found:
        each[...] = X
    return found


def warn_of_few(ess: Array, number: int, parameter: str | None, stacklevel: int) -> None:
    """Warn if few of the particles of some rows are effective.

    parameter: that of the public method which sets their number, if one does. stacklevel: as that
    of `warnings.warn`.
    """
    few = int((ess < FEW_EFFECTIVE * number).sum())
    if few:
        more = f"a larger `{parameter}` makes them more exact, and " if parameter else ""
        warnings.warn(
            f"{few} of {len(ess)} rows hold values that hardly any of their {number} particles "
            f"agrees with, so that their answers are rough: {more}an `order` that puts known "
            "columns first makes them exact.",
            UserWarning,
            stacklevel=stacklevel + 1,
        )
