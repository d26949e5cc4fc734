"""The most probable completion of a row, by beam search along the order."""

from __future__ import annotations

import numpy as np

from fastar._core.parameters import Array
from fastar._data.table import Table
from fastar._engine.completions import Part
from fastar._engine.particles import particle_blocks
from fastar._engine.questions import points
from fastar._engine.scores import log_probs

MOST_CANDIDATES = 64
"""Values of a cell that a beam tries: all levels where they are no more."""


def complete(
    parts: list[Part], values: Array, missing: Array, width: int, n_threads: int
) -> tuple[Array, Array]:
    """Return the best completion found (n, C), and its log p(x) (n,), of rows with gaps.

    Every member of every part searches along its own order; of what they find the completion is
    taken that is the most probable under all of them together.
    """
    best, best_score = np.array(values), np.empty(len(values))
    n_beams = width * sum(part.model.network.n_members for part in parts)
    most = max(n_beams, width * MOST_CANDIDATES)
    for rows in particle_blocks(np.arange(len(values)), values.shape[1], most):
        own = [part.take(rows) for part in parts]
        found = np.concatenate(
            [
                _search(part, member, values[rows], missing[rows], width, n_threads)
                for part in own
                for member in range(part.model.network.n_members)
            ],
            axis=1,
        )
        B = found.shape[1]
        flat = found.reshape(-1, values.shape[1])
        scores = np.logaddexp.reduce(
            [each.repeat(B).score(flat, n_threads) for each in own], axis=0
        )
        scores = scores.reshape(len(rows), B)
        chosen = scores.argmax(axis=1)
        best[rows] = found[np.arange(len(rows)), chosen]
        best_score[rows] = scores[np.arange(len(rows)), chosen]
    return best, best_score


def _search(
    part: Part, member: int, values: Array, missing: Array, width: int, n_threads: int
) -> Array:
    """Return `width` completions (n, width, C) that a member finds the best along its order.

    Those of a row may be fewer, and are then repeated. A gap's candidates are judged by all that
    comes before the next gap of the row.
    """
    order = part.model.member_columns(member)
    n, C = values.shape
    beams = np.repeat(values[:, None], width, axis=1)
    alive = np.zeros((n, width), bool)
    alive[:, 0] = True
    gaps = missing[:, order]
    for j in np.flatnonzero(gaps.any(axis=0)).tolist():
        rows = np.flatnonzero(gaps[:, j])
        # everything up to the next gap counts
        later = np.cumsum(gaps[rows], axis=1) <= np.cumsum(gaps[rows], axis=1)[:, j : j + 1]
        own = part.take(rows).repeat(width)
        hypotheses = beams[rows].reshape(-1, C)
        tried = _candidates(own, member, hypotheses, gaps[rows], j, width, n_threads)
        K = tried.shape[1]
        expanded = np.repeat(hypotheses, K, axis=0)
        expanded[:, order[j]] = tried.ravel()
        counted = np.repeat(later, width * K, axis=0)
        scores = _prefix_scores(own.repeat(K), member, expanded, counted, order, n_threads)
        scores = scores.reshape(len(rows), width, K)
        scores[~alive[rows]] = -np.inf
        flat = scores.reshape(len(rows), -1)
        kept = np.argsort(-flat, axis=1, kind="stable")[:, :width]
        expanded = expanded.reshape(len(rows), width * K, C)
        beams[rows, : kept.shape[1]] = np.take_along_axis(expanded, kept[:, :, None], axis=1)
        alive[rows] = False
        alive[rows, : kept.shape[1]] = np.take_along_axis(flat, kept, axis=1) > -np.inf
        alive[rows, 0] = True
        dead = ~alive[rows]
        beams[rows] = np.where(dead[:, :, None], beams[rows][:, :1], beams[rows])
    return beams


def _candidates(
    part: Part, member: int, rows: Array, gaps: Array, j: int, width: int, n_threads: int
) -> Array:
    """Return values (m, K) to try in the column that comes j-th for a member."""
    model = part.model
    column = int(model.member_columns(member)[j])
    levels = part.levels(column)
    if levels is not None and len(levels) <= MOST_CANDIDATES:
        return np.broadcast_to(levels, (len(rows), len(levels)))
    unknown = np.zeros(rows.shape, bool)
    if model.network.any_evidence:  # gaps yet to be filled are no evidence
        unknown[:, model.member_columns(member)[j:]] = np.repeat(gaps, width, axis=0)[:, j:]
    found = points(part, rows, unknown, column, MOST_CANDIDATES, n_threads, leading=True)
    drawn = model.conditional.decode(found.codes)[:, part.place(column)]
    mine = found.members.reshape(len(rows), -1)[0] == member
    return drawn.reshape(len(rows), -1)[:, mine]


def _prefix_scores(
    part: Part, member: int, values: Array, counted: Array, order: Array, n_threads: int
) -> Array:
    """Return the sums (m,) of log p(x_c | those before it) over the columns that count."""
    model, scores = part.model, np.zeros(len(values))
    in_model_order = counted[:, np.argsort(order)[model.order]]
    table = Table(values, model.order, context=part.context)
    for where, logp, _ in log_probs(model, table, n_threads, member):
        terms = np.where(in_model_order[where], model.by_column(logp), 0)
        scores[where] = terms.sum(axis=1)
    return scores
