"""Draws of mixtures: rows by members that are drawn by weight, and completions by all of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import check_array

from fastar._core.parameters import Array
from fastar._core.sharpness import Sharpness
from fastar._core.threads import effective_n_threads
from fastar._data.containers import Container
from fastar._data.context import context_of_rows
from fastar._data.frame_types import frame_kind
from fastar._data.frames import Schema
from fastar._data.reading import dense
from fastar._engine.support import check_evidence
from fastar.models._density import AutoregressiveDensity
from fastar.models._parallel import call_each


def draw_rows(
    mixture: Any, n: int, sharpness: Sharpness, rng: np.random.Generator, context: Any
) -> Array:
    """Return n rows of numbers (n, D), each by a member that is drawn by weight."""
    container, K = mixture._container, len(mixture.weights_)
    chosen = rng.choice(K, size=n, p=mixture.weights_)
    counts, seeds = np.bincount(chosen, minlength=K), rng.integers(2**31, size=K)
    # members of other libraries know none of these
    changed = {
        "temperature": (sharpness.temperature, 1),
        "top_p": (sharpness.top_p, 1),
        "top_k": (sharpness.top_k, 0),
    }
    arguments = {name: value for name, (value, usual) in changed.items() if value != usual}

    fitted = mixture._fitted_context
    if context is not None and fitted is not None:
        fitted.numbers(context, n)  # of its own rows alone, a member cannot tell how many there are

    def draw(place: int, member: Any) -> Array | None:
        if counts[place] == 0:
            return None
        own = {"random_state": int(seeds[place]), **arguments}
        if context is not None:
            own["context"] = context_of_rows(fitted, context, np.flatnonzero(chosen == place), n)
        drawn = member.sample(int(counts[place]), **own)
        if isinstance(container, Schema) and frame_kind(drawn) is not None:
            return container.read(drawn, "a member's sample")[:]
        table = check_array(drawn, accept_sparse="csr", ensure_all_finite=False)
        assert isinstance(container, Container)
        return dense(container.to_numbers(table))

    drawn = call_each(draw, mixture.estimators_, effective_n_threads(mixture.n_jobs), n)
    by_member = np.concatenate([values for values in drawn if values is not None])
    values = np.empty_like(by_member)
    values[np.argsort(chosen, kind="stable")] = by_member
    return values


def checked_evidence(
    models: list[tuple[float, AutoregressiveDensity]], evidence: Any, n: int, name: str
) -> tuple[Array, Array]:
    """Return (values, held), each (1 or n, D), of evidence that lies in every model's support."""
    for _, model in models:
        values, held = check_evidence(evidence, n, model._model(), name)
    assert values is not None
    assert held is not None
    return values, held
