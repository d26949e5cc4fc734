"""Questions about one column, given the others."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from numbers import Real
from typing import Any, NamedTuple

from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from fastar._core.parameters import Array
from fastar._core.random import generator
from fastar._core.threads import effective_n_threads
from fastar._core.validation import check_count
from fastar._data import column_values
from fastar._data.evidence import (
    column_names,
    find_column,
    without_column,
)
from fastar._data.frames import Schema
from fastar._engine import questions as asking
from fastar._engine.questions import Answer
from fastar.models._queries import Queries

_KINDS = ("auto", "mean", "median", "quantile", "mode")


class Suggestions(NamedTuple):
    """Values of a column beside which a cell can be held, (n, k), and their log p (n, k)."""

    values: Any
    log_probability: Any


class _OfFitted:
    """A method of fitted densities that a check finds to have it, as by `available_if`.

    Its error about others would be that there is no such method.
    """

    def __init__(self, method: Callable[..., Any], check: Callable[[Any], bool]) -> None:
        self._method = available_if(check)(method)

    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is not None:
            check_is_fitted(instance, "n_features_in_")
        return self._method.__get__(instance, owner)


def _answers(density: Any) -> bool:
    """Return whether a fitted density has models to ask: a mixture of others has none."""
    try:
        density._models("a question")
    except TypeError as error:
        raise AttributeError(str(error)) from error
    return True


def _has_levels(density: Any) -> bool:
    """Return whether some column of a fitted density has levels."""
    if _answers(density) and density._last_of_levels() is None:
        raise AttributeError("predict_proba needs a column of levels, and no column has any.")
    return True


class ColumnQuestions(Queries):
    """Mixin that answers about one column."""

    @partial(_OfFitted, check=_has_levels)
    def predict_proba(
        self,
        X: Any,
        *,
        target: Any = None,
        context: Any = None,
        n_particles: int = 64,
        random_state: Any = None,
    ) -> Array:
        r"""Return the probabilities of the levels of a column given the other columns.

        .. math::
            p(x_c = k \mid x_others) = p(x_c = k, x_others) / \sum_l p(x_c = l, x_others)

        Exact where the others are known: each of K levels is scored with the row around it, which
        takes K forward passes, or one and K parts of one from the column on where that is less.
        Other missing cells are drawn by `n_particles` particles, one set for all levels, and each
        particle answers exactly.

        Parameters
        ----------
        X : array-like, DataFrame, mapping or list of mappings of shape (n, D)
            NaN (None in a DataFrame) where a value is not known. What X holds in the target is
            ignored; a table may also be without that column.
        target : str or int, default=None
            The name of a column, or its place where columns have no names. None: the last one that
            has levels, and X is read as `score_samples` reads it.
        context : array-like or DataFrame of shape (n, C), optional
        n_particles : int, default=64
        random_state : int, RandomState instance or None
            Decides on the particles.

        Returns
        -------
        ndarray of shape (n, K), float64
            Rows sum to one; the levels are `levels(target)`. Where a target is named, `answer_ess_`
            (n,) has the effective number of particles of each row, `n_particles` where the answer
            is exact.

        Raises
        ------
        ValueError
            The column has no list of levels, or an argument breaks a rule that the message names.
        """
        column = self._column_of_levels(target, "predict_proba")
        answer = self._ask(X, column, target is None, context, n_particles, random_state)
        return answer.share

    @partial(_OfFitted, check=_answers)
    def predict(
        self,
        X: Any,
        *,
        target: Any = None,
        kind: str = "auto",
        quantile: float = 0.5,
        context: Any = None,
        n_particles: int = 256,
        random_state: Any = None,
    ) -> Array:
        """Return a column's value, given what a row holds in the others.

        A column of levels is answered as by `predict_proba`. Another one has `n_particles` points
        drawn from p(x_c | those before it), evenly and without chance, and weighed by the
        probability of what comes after it (self-normalised importance sampling): the more points,
        the more exact. Where more is missing, particles of it and the column are drawn together.

        Parameters
        ----------
        X : array-like, DataFrame, mapping or list of mappings of shape (n, D)
            As in `predict_proba`.
        target : str or int, default=None
            As in `predict_proba`; None: the last column.
        kind : {"auto", "mean", "median", "quantile", "mode"}, default="auto"
            "mode" is the most probable level, and needs levels; the others need numbers. "auto":
            "mode" of categories, bools and what has a Bernoulli or categorical conditional, and
            "mean" of all else.
        quantile : float, default=0.5
            The probability below the value of kind="quantile".
        context : array-like or DataFrame of shape (n, C), optional
        n_particles : int, default=256
        random_state : int, RandomState instance or None
            Decides on the particles; without other gaps nothing is left to chance.

        Returns
        -------
        ndarray of shape (n,)
            Levels as the user has them, dates and times as their column's `to_numpy` gives them,
            moments with a zone as objects that have it, and float64 for a mean of numbers.
            `answer_ess_` as in `predict_proba`.

        Raises
        ------
        ValueError
            An argument breaks a rule that the message names.
        """
        column = self._column(target)
        if not isinstance(kind, str) or kind not in _KINDS:
            raise ValueError(
                f"kind must be one of {', '.join(map(repr, _KINDS))}. Got {kind!r} instead."
            )
        if not isinstance(quantile, Real) or not 0 <= float(quantile) <= 1:
            raise ValueError(f"quantile must be a number from 0 to 1. Got {quantile!r} instead.")
        answer = self._ask(X, column, target is None, context, n_particles, random_state)
        if kind == "auto":
            kind = "mode" if self._is_nominal(column) else "mean"
        if kind == "mode":
            if answer.values.ndim == 2:
                raise ValueError(self._no_levels(column, "kind='mode'"))
            return column_values.as_users(self._container, asking.mode(answer), column)
        if column_values.has_categories(self._container, column):
            raise ValueError(
                f"kind must be 'mode' for the categories of column "
                f"{column_names(self)[column]!r}. Got {kind!r} instead."
            )
        if kind == "mean" and not column_values.is_time(self._container, column):
            return asking.mean(answer) + column_values.offset(self._container, column)
        if kind == "mean":
            return column_values.as_users(self._container, asking.mean(answer), column)
        probability = 0.5 if kind == "median" else float(quantile)
        return column_values.as_users(self._container, asking.quantile(answer, probability), column)

    def levels(self, target: Any = None) -> Array:
        """Return the values of a column, in the order of `predict_proba`.

        Parameters
        ----------
        target : str or int, default=None
            As in `predict_proba`.

        Returns
        -------
        ndarray of shape (K,)

        Raises
        ------
        ValueError
            The column has no list of levels.
        """
        column = self._column_of_levels(target, "levels")
        found = asking.levels_of(self._parts("levels"), column)
        assert found is not None
        return column_values.as_users(self._container, found, column)

    def explain(
        self, X: Any, *, context: Any = None, n_particles: int = 64, random_state: Any = None
    ) -> Array:
        """Return log p(x_d | all other cells) of each cell: which one does not fit its row.

        Not only given those before it in the order, as by `score_features`. A column of K levels
        takes K forward passes; another one `n_particles` points a row, as in `predict`. A value
        that is impossible whatever the other cells hold has -inf, and the other cells of its row
        are explained as if it was not known.

        Parameters
        ----------
        X : array-like, DataFrame, mapping or list of mappings of shape (n, D)
            NaN (None in a DataFrame) where a value is not known: it is integrated out.
        context : array-like or DataFrame of shape (n, C), optional
        n_particles : int, default=64
        random_state : int, RandomState instance or None

        Returns
        -------
        ndarray of shape (n, D), float64
            Nats, densities in the units of X; NaN where a cell is missing.
        """
        n_particles = self._n_particles(n_particles)
        query = self._query(X, context, "explain", regions=False)
        rng, n_threads = generator(random_state), effective_n_threads(self.n_jobs)
        return asking.explain(*query, n_particles, rng, n_threads)

    def repair_suggestions(
        self,
        X: Any,
        k: int = 3,
        *,
        context: Any = None,
        n_particles: int = 64,
        random_state: Any = None,
    ) -> dict[Any, Suggestions]:
        """Return what each cell might rather hold: its most probable values given all other cells.

        `explain` says how probable the values are that the cells hold.

        Parameters
        ----------
        X : array-like, DataFrame, mapping or list of mappings of shape (n, D)
            NaN (None in a DataFrame) where a value is not known: it is suggested, too.
        k : int, default=3
            Suggestions a cell.
        context : array-like or DataFrame of shape (n, C), optional
        n_particles : int, default=64
            As in `explain`.
        random_state : int, RandomState instance or None

        Returns
        -------
        dict
            For each column, by its name or place, (values, log_probability), both (n, k): the most
            probable levels, the best first, in nats, as many as there are; or of a column of
            numbers the quantiles (i + 1/2) / k for i = 0 .. k - 1, whose log_probability is NaN.
        """
        n_particles = self._n_particles(n_particles)
        k = check_count("k", k, numbers=2 * self._n_columns())
        query = self._query(X, context, "repair_suggestions", regions=False)
        rng, n_threads = generator(random_state), effective_n_threads(self.n_jobs)
        found = {}
        each = asking.suggestions(*query, k, n_particles, rng, n_threads)
        for column, (values, log_p) in enumerate(each):
            own = column_values.as_users(self._container, values.ravel(), column).reshape(
                values.shape
            )
            found[column_names(self)[column]] = Suggestions(own, log_p)
        return found

    def _column(self, target: Any) -> int:
        self._models("a question")
        return self.n_features_in_ - 1 if target is None else find_column(self, target)

    def _last_of_levels(self) -> int | None:
        """Return the last column that has levels."""
        parts = self._parts("a question")
        columns = range(self.n_features_in_ - 1, -1, -1)
        return next((c for c in columns if asking.levels_of(parts, c) is not None), None)

    def _column_of_levels(self, target: Any, what: str) -> int:
        """Return the place of a column that has levels, by default the last one."""
        column = self._column(target)
        if target is None:
            last = self._last_of_levels()
            column = column if last is None else last
        if asking.levels_of(self._parts(what), column) is None:
            raise ValueError(self._no_levels(column, what))
        return column

    def _ask(
        self,
        X: Any,
        column: int,
        strict: bool,
        context: Any,
        n_particles: Any,
        random_state: Any,
    ) -> Answer:
        n_particles = self._n_particles(n_particles)
        if not strict:
            X = without_column(self, X, column)
        parts, values, missing = self._query(X, context, "predict", column, strict=strict)
        rng, n_threads = generator(random_state), effective_n_threads(self.n_jobs)
        values, missing, _ = asking.without_impossible(parts, values, missing, n_threads)
        answer = asking.ask(parts, values, missing, column, n_particles, rng, n_threads)
        if not strict:  # scikit-learn's own calls leave an estimator as it is
            self._report(answer.ess, n_particles, "n_particles", stacklevel=3)
        return answer

    def _is_nominal(self, column: int) -> bool:
        """Return whether a column's values are names, not numbers."""
        container = self._container
        if isinstance(container, Schema) and container.columns[column].type in ("category", "bool"):
            return True
        part = self._parts("predict")[0]
        kind = part.model.conditional.of_column(part.place(column))[0].name
        return kind in ("bernoulli", "categorical")

    def _no_levels(self, column: int, what: str) -> str:
        return (
            f"{what} must be about a column of levels, and column {column_names(self)[column]!r} "
            "has none, or too many: predict gives its mean, median and quantiles."
        )
