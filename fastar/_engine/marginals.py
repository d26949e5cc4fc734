"""Marginals: the probability of what is known of a row, exactly or by sequential Monte Carlo."""

from __future__ import annotations

import numpy as np

from fastar._core.parameters import Array
from fastar._data.table import Table
from fastar._engine.bounds import Bounds
from fastar._engine.model import Model
from fastar._engine.particles import (
    Walkers,
    advance,
    effective_sample_size,
    first_codes,
    normalise_log_weights,
    only_last,
    particle_blocks,
    particles,
)
from fastar._engine.sampling import blocks_by_member, posterior_over_members
from fastar._engine.scores import score_rows
from fastar._kernels import _cpu
from fastar._kernels._conditionals import OBSERVED


def marginals(
    model: Model,
    X: Array,
    missing: Array,
    n_particles: int,
    rng: np.random.Generator,
    n_threads: int,
    context: Array | None = None,
    bounds: Bounds | None = None,
) -> tuple[Array, Array]:
    """Return log p of what is known of each row of X, and effective sample sizes (n,).

    bounds: regions of some of the cells that are missing.
    """
    scores, ess = np.zeros(len(X)), np.full(len(X), float(n_particles))
    complete = np.flatnonzero(~missing.any(axis=1))
    table = Table(X, model.order, complete, context)
    scores[complete] = score_rows(model, table, n_threads)
    incomplete = missing.any(axis=1)
    if bounds is not None:
        last = only_last(model, ~missing, bounds.bounded)
        _score_last_regions(model, X, missing, bounds, last, scores, n_threads, context)
        incomplete &= ~last
    for rows in particle_blocks(np.flatnonzero(incomplete), X.shape[1], n_particles):
        found = particles(
            model,
            X[rows],
            missing[rows],
            n_particles=n_particles,
            rng=rng,
            n_threads=n_threads,
            context=None if context is None else context[rows],
            bounds=None if bounds is None else bounds.take(rows),
            marginal=True,
        )
        share, scores[rows] = normalise_log_weights(found.log_weights())
        ess[rows] = effective_sample_size(share)
    return scores, ess


def _score_last_regions(
    model: Model,
    X: Array,
    missing: Array,
    bounds: Bounds,
    which: Array,
    scores: Array,
    n_threads: int,
    context: Array | None,
) -> None:
    """Write log p of what is known of rows for which `only_last` is true into scores (n,), exactly.

    Each member has a particle for each box of the region.
    """
    cells = bounds.cells.max(axis=1)
    for cell in np.unique(cells[which]):
        mine = np.flatnonzero(which & (cells == cell))
        place = int(np.flatnonzero(model.order == bounds.cells[mine[0]].argmax())[0])
        first, end = model.conditional.column_offsets[place : place + 2]
        n_boxes = len(bounds.boxes[cell][0])
        if not n_boxes:
            scores[mine] = -np.inf
            continue
        number = model.network.n_members * n_boxes
        for rows in particle_blocks(mine, model.n_features, number):
            given = None if context is None else context[rows]
            own = bounds.take(rows)
            column = slice(first, end)
            state = _listed(
                model, X[rows], missing[rows], own, column, bounds.boxes[cell], n_threads, given
            )
            _weigh_all(state, own, n_threads)
            scores[rows] = np.logaddexp.reduce(state.log_weights(), axis=1)


def _listed(
    model: Model,
    X: Array,
    missing: Array,
    bounds: Bounds,
    features: slice,
    boxes: tuple[Array, Array],
    n_threads: int,
    context: Array | None,
) -> Walkers:
    """Return particles with each of the boxes (S, F) in the features of a bounded column.

    They hold what is known before the column, each member's so many, weighed by its probability.
    """
    M, S, n = model.network.n_members, len(boxes[0]), len(X)
    evidence = np.where(missing, model.placeholder(), X)
    share, total = posterior_over_members(
        model, evidence, ~missing, n_threads, context, bounds.bounded
    )
    with np.errstate(divide="ignore"):
        log_weight = np.log(share) + total
    codes = np.repeat(first_codes(model, evidence, missing, bounds, True), M * S, axis=0)
    codes[:, features] = np.tile(boxes[0], (M * n, 1))
    flags = np.full(codes.shape, OBSERVED, np.uint8)
    flags[:, features] = np.tile(boxes[1], (M * n, 1))
    members = np.tile(np.repeat(np.arange(M), S), n)
    context = None if context is None else np.repeat(context, M * S, axis=0)
    log_weights = np.repeat(log_weight.T, S, axis=1).ravel()
    return Walkers(model, M * S, codes, log_weights, bounds, flags, members, context)


def _weigh_all(state: Walkers, bounds: Bounds, n_threads: int) -> None:
    """Weigh particles for which nothing is drawn that matters."""
    model = state.model
    shape = (len(state.codes), model.n_features, model.conditional.kernel.n_noise)
    noise = _cpu.aligned_empty(shape, model.dtype)
    noise[...] = 0.5
    capsule = model.conditional.kernel.draw(model.dtype, 1.0, bounds.regions)
    everywhere = np.ones((model.network.n_members, model.n_features), bool)
    for weights, rows, _ in blocks_by_member(model, state.members, n_threads):
        advance(model, state, weights, rows, everywhere, capsule, noise, n_threads)
