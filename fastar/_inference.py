"""Scores, conditionals, samples and imputations of a model, block by block."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from fastar._model import Model
from fastar._parameters import Array
from fastar._table import BLOCK_ROWS, Table
from fastar._validation import check_support


def _log_probs(model: Model, table: Table, n_threads: int) -> Iterator[tuple[slice, Array, Array]]:
    """Yield (rows, log p(x_d | x_<d) (m, D), row sums (m,)) in model order."""
    params = model.params
    log_scale = model.conditional.log_scale()
    for where, block in table.blocks():
        check_support(model.conditional, block, model.order, where.start)
        codes = model.codes(block)
        raw, _ = model.network.forward(params, codes, n_threads)
        logp, total = model.conditional.log_prob(raw, codes, n_threads)
        if log_scale is not None:
            logp = logp + log_scale
            total += log_scale.sum()
        yield where, logp, total


def score_rows(model: Model, table: Table, n_threads: int) -> Array:
    """Return log p(x) (n,)."""
    scores = np.empty(len(table))
    for where, _, total in _log_probs(model, table, n_threads):
        scores[where] = total
    return scores


def total_log_prob(model: Model, table: Table, weight: Array, n_threads: int) -> float:
    """Return sum over rows of weight * log p(x)."""
    return float(
        sum(
            (weight[where] * total).sum() for where, _, total in _log_probs(model, table, n_threads)
        )
    )


def score_features(model: Model, table: Table, n_threads: int) -> Array:
    """Return log p(x_d | those before it) (n, D) in the order of the columns."""
    scores = np.empty((len(table), model.n_features))
    for where, logp, _ in _log_probs(model, table, n_threads):
        scores[where, model.order] = logp
    return scores


def describe(model: Model, table: Table, n_threads: int) -> Any:
    """Return what each p(x_d | those before it) is, in the order of the columns."""
    parts = []
    for where, block in table.blocks():
        check_support(model.conditional, block, model.order, where.start)
        raw, _ = model.network.forward(model.params, model.codes(block), n_threads)
        parts.append(model.conditional.describe(raw))
    if isinstance(parts[0], dict):
        return {
            key: model.to_columns(np.concatenate([part[key] for part in parts])) for key in parts[0]
        }
    return model.to_columns(np.concatenate(parts))


def sample(
    model: Model,
    n: int,
    evidence: Array | None,
    held: Array | None,
    temperature: float,
    rng: np.random.Generator,
    n_threads: int,
) -> Array:
    """Return n values (n, D) in the order of the columns.

    evidence (1 or n, D), held (as evidence): values that stay, and where; in the order of the
    columns.
    """
    conditional, D = model.conditional, model.n_features
    draw, params = conditional.kernel, model.params
    capsule = draw.draw(model.dtype, temperature)
    values = None
    for start in range(0, n, BLOCK_ROWS):
        m = min(BLOCK_ROWS, n - start)
        codes = np.zeros((m, D), model.dtype)
        is_held = None
        if evidence is not None and held is not None:
            rows = slice(start, start + m) if len(evidence) > 1 else slice(None)
            is_held = np.ascontiguousarray(np.broadcast_to(held[rows], (m, D))[:, model.order])
            codes[:] = np.where(is_held, model.codes(evidence[rows][:, model.order]), 0)
            is_held = is_held.view(np.uint8)
        noise = conditional.noise(rng, m, D, model.dtype)
        model.network.sample(params, capsule, noise, is_held, codes, n_threads)
        block = model.to_columns(conditional.decode(codes))
        if values is None:
            values = np.empty((n, D), block.dtype)
        values[start : start + m] = block
    if values is None:
        return conditional.decode(np.zeros((0, D), model.dtype))
    if evidence is not None and held is not None:
        np.copyto(values, evidence, where=held, casting="unsafe")
    return values


def impute(
    model: Model,
    X: Array,
    missing: Array,
    n_draws: int,
    n_particles: int,
    rng: np.random.Generator,
    n_threads: int,
) -> tuple[Array, Array]:
    """Return completions (n_draws, n, D) of X where `missing`, and effective sample sizes (n,).

    Each row gets `n_particles` samples that hold its evidence. A sample's weight is the product of
    p(x_d | those before it) over the evidence, up to a factor that is the same for all of them;
    completions are drawn from the samples by weight. With the evidence first in the order all
    weights are equal, and the completions exact.
    """
    n, D = X.shape
    completed = np.repeat(X[None], n_draws, axis=0)
    ess = np.full(n, float(n_particles))
    incomplete = np.flatnonzero(missing.any(axis=1))
    per_block = max(1, BLOCK_ROWS // n_particles)
    for start in range(0, len(incomplete), per_block):
        rows = incomplete[start : start + per_block]
        held = np.repeat(~missing[rows], n_particles, axis=0)
        # any value of the support may stand where nothing is held
        evidence = np.where(held, np.repeat(X[rows], n_particles, axis=0), _placeholder(model))
        drawn = sample(model, len(evidence), evidence, held, 1.0, rng, n_threads)
        logp = score_features(model, Table(drawn, model.order), n_threads)
        log_weight = np.where(held, logp, 0).sum(axis=1).reshape(len(rows), n_particles)
        best = log_weight.max(axis=1, keepdims=True)
        # evidence that no sample makes possible tells the samples not apart
        weight = np.where(
            np.isfinite(best), np.exp(log_weight - np.where(np.isfinite(best), best, 0)), 1
        )
        weight /= weight.sum(axis=1, keepdims=True)
        ess[rows] = 1 / (weight**2).sum(axis=1)
        drawn = drawn.reshape(len(rows), n_particles, D)
        for i, row in enumerate(rows):
            chosen = rng.choice(n_particles, n_draws, p=weight[i])
            completed[:, row] = drawn[i, chosen]
    return completed, ess


def _placeholder(model: Model) -> Array:
    values: Array = model.to_columns(
        model.conditional.decode(np.zeros((1, model.n_features), model.dtype))
    )
    return values
