"""The base of questions to models of rows, and to mixtures of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from fastar._core.parameters import Array
from fastar._core.validation import check_count
from fastar._data.containers import Container
from fastar._data.evidence import (
    is_named,
    n_rows,
    read_query,
)
from fastar._data.frames import Schema
from fastar._data.reading import dense, read_numbers
from fastar._engine.bounds import bounds_of
from fastar._engine.completions import Part, warn_of_few
from fastar._engine.support import check_evidence, check_known


def _without(array: Array, column: int, models: list[Any]) -> Array:
    """Return a copy of rows that holds no value of a column: NaN, or among integers any value."""
    if array.dtype.kind in "biu" and len(models) == 1:
        value = models[0]._model().placeholder()[0, column]
        if array.dtype.type(value) == value:  # integers are faster to read
            array = array.copy()
            array[:, column] = value
            return array
    array = array.astype(np.float64)
    array[:, column] = np.nan
    return array


class Queries:
    """Base of mixins with questions."""

    n_features_in_: int
    n_jobs: int | None
    _container: Container | Schema

    def _models(self, purpose: str) -> list[tuple[float, Any]]:
        """Return (weight, model) of all models of which the density is the mixture."""
        check_is_fitted(self, "theta_")
        return [(1.0, self)]

    def _parts(self, purpose: str, context: Any = None, n: int = 0) -> list[Part]:
        """Return what answers about n rows."""
        return [
            Part(
                float(np.log(weight)),
                model._model(),
                model._encoded(context, n) if n else None,
            )
            for weight, model in self._models(purpose)
        ]

    def _query(
        self,
        X: Any,
        context: Any,
        purpose: str,
        column: int | None = None,
        *,
        strict: bool = False,
        evidence: str | None = None,
        regions: bool = True,
        drawn: bool = True,
    ) -> tuple[list[Part], Array, Array]:
        """Return what answers, the rows as numbers (n, C), and where they are missing.

        column: is missing whatever X holds in it. strict: X is read as `score_samples` reads it.
        evidence: what errors call X if it need not be a table. regions: whether X may hold sets and
        intervals. drawn: as in `bounds_of`.
        """
        models, name, given = self._models(purpose), evidence or "X", None
        if evidence and X is None:
            raise ValueError(f"{purpose} must be given what is known as {name}. Got None instead.")
        if evidence or is_named(X):
            n = n_rows(X, name)
            array, given = read_query(self, X, n, name)
            if given is not None and not regions:
                raise ValueError(f"{name} of {purpose} must hold values, no sets or intervals.")
        else:
            table = read_numbers(self, X, gaps=None if strict else True)
            for _, model in models:
                check_known(model.distribution_, table, model.order_)
            array, n = dense(table), table.shape[0]
            if column is not None:
                array = _without(array, column, [model for _, model in models])
        parts = self._parts(purpose, context, n)
        for place, part in enumerate(parts):
            values, held = check_evidence(array, n, part.model, name)
            bounds = bounds_of(part.model, given, n, name, drawn=drawn)
            parts[place] = replace(part, bounds=bounds)
        assert values is not None
        assert held is not None
        shape = (n, self.n_features_in_)
        missing = ~np.broadcast_to(held, shape)
        if column is not None:
            missing[:, column] = True
        return parts, np.broadcast_to(values, shape), missing

    def _n_particles(self, n_particles: Any) -> int:
        return check_count("n_particles", n_particles, numbers=2 * self._n_columns())

    def _n_columns(self) -> int:
        """Return how many columns there are; NotFittedError before `fit`."""
        check_is_fitted(self, "n_features_in_")
        return self.n_features_in_

    def _report(self, ess: Array, number: int, parameter: str, stacklevel: int) -> None:
        """Keep effective sample sizes, and warn of few as `warn_of_few` does."""
        self.answer_ess_ = ess
        warn_of_few(ess, number, parameter, stacklevel + 1)
