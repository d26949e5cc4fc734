"""Questions that every model of rows, and every mixture of them, answers about some columns."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from fastar._core.parameters import Array
from fastar._core.random import generator
from fastar._core.threads import effective_n_threads
from fastar._core.validation import check_count
from fastar._data import column_values
from fastar._data.containers import Container
from fastar._data.evidence import (
    as_given,
    column_names,
    find_column,
    is_named,
    is_one_row,
    n_rows,
    read_query,
    without_column,
)
from fastar._data.frames import Schema
from fastar._data.reading import dense, read_numbers
from fastar._engine import beam
from fastar._engine import questions as asking
from fastar._engine.bounds import bounds_of
from fastar._engine.particles import FEW_EFFECTIVE, effective_sample_size
from fastar._engine.questions import Answer, Part
from fastar._engine.support import check_evidence, check_known

_KINDS = ("auto", "mean", "median", "quantile", "mode")


class Expectation(NamedTuple):
    """An expectation and its standard error: numbers, or arrays with an entry a query."""

    value: Any
    standard_error: Any


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


class AnswersQuestions:
    """Mixin of models of rows, and of mixtures of them."""

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

    # ---- one column

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
        What else is missing is drawn by `n_particles` particles, one set for all levels, each of
        which answers exactly.

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
        if kind not in _KINDS:
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

        Beside `explain`, which says of the values that are there how probable they are.

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

    # ---- several columns

    def log_probability(
        self,
        evidence: Any,
        *,
        context: Any = None,
        n_particles: int = 1000,
        random_state: Any = None,
    ) -> Array:
        r"""Return log P(evidence): of values, sets and intervals, whatever the other columns hold.

        .. math::
            \log P = \log \int 1[x_S \in R_S] \, p(x_S, x_V) \, dx_S,

        a density over the columns V that are given by a value, a probability over those S that are
        given by a set or an interval. All others are integrated out. With sets and intervals alone
        it is the share of rows that fall into a box: the selectivity of a query.

        Exact where the values come first in `order_` and one set or interval after them, or only
        values. Elsewhere the logarithm of an unbiased estimate of P by sequential Monte Carlo:
        along the order, each of `n_particles` particles is weighed by the probability that its
        conditional gives to the region, and drawn within it; what is free is drawn, and what comes
        after all that is named is left out (progressive sampling [1]_).

        Parameters
        ----------
        evidence : mapping, list of mappings, DataFrame or array-like
            A mapping goes from columns (their names, or their places where they have none) to what
            is known of them: a value, a set of values, or a tuple (low, high) for the half-open
            interval low <= x < high, with None or an infinity for an open end. A list of mappings
            has a query each; so has a DataFrame a row, whose cells may hold the same. NaN or None
            is free, and so are columns that a DataFrame is without.
        context : array-like or DataFrame of shape (n, C), optional
        n_particles : int, default=1000
        random_state : int, RandomState instance or None

        Returns
        -------
        ndarray of shape (n,), float64
            Nats; -inf of what cannot be, such as an empty set. `answer_ess_` (n,) has the effective
            numbers of particles, `n_particles` where the answer is exact.

        Raises
        ------
        ValueError
            A value, a set or an interval is none that its column can have: low is above high, a
            member of a set is unknown or has a density but no probability, or an interval is of
            categories without an order.

        Notes
        -----
        An interval of a column of levels has those levels that lie in it, and what is left for
        values that `fit` did not see lies in no interval and in no set. Where all numbers of a real
        column are multiples of a step, an interval has the numbers that are rounded to its steps;
        one of dates or times has its ticks, with the values from each to the next one. Readings
        that a clock skips belong to the moments as which they are drawn.

        References
        ----------
        .. [1] Z. Yang, E. Liang, A. Kamsetty, C. Wu, Y. Duan, X. Chen, P. Abbeel, J. M.
           Hellerstein, S. Krishnan, I. Stoica, "Deep unsupervised cardinality estimation", VLDB
           2019.

        Examples
        --------
        >>> import numpy as np
        >>> from fastar import NADE
        >>> X = np.array([[1, 0], [0, 1], [1, 1], [1, 0], [1, 0]] * 20)
        >>> model = NADE(distribution="bernoulli", random_state=0).fit(X)
        >>> np.exp(model.log_probability([{0: {0, 1}}, {0: (1, None)}, {0: (2, 5)}])).round(1)
        array([1. , 0.8, 0. ])
        """
        n_particles = self._n_particles(n_particles)
        query = self._query(evidence, context, "log_probability", evidence="evidence", drawn=False)
        rng, n_threads = generator(random_state), effective_n_threads(self.n_jobs)
        log_p, ess = asking.log_probabilities(*query, n_particles, rng, n_threads)
        self._report(ess, n_particles)
        return log_p

    def complete(self, X: Any, *, context: Any = None, width: int = 16) -> Any:
        """Return X with its missing values replaced by their most probable joint values.

        By beam search: along the order, the `width` best completions so far are kept, judged by all
        that is known before the next gap. A column of up to 64 levels is tried level by level; of
        another one 64 points of p(x_d | those before it) are tried. With `width` completions or
        more to keep, that is, for few gaps of few levels, the result is exact. `impute` draws
        completions instead.

        Parameters
        ----------
        X : array-like, DataFrame, mapping or list of mappings of shape (n, D)
            NaN (None in a DataFrame) where a value is missing.
        context : array-like or DataFrame of shape (n, C), optional
        width : int, default=16

        Returns
        -------
        ndarray or DataFrame of shape (n, D)
            In the container of X.
        """
        width = check_count("width", width, numbers=beam.MOST_CANDIDATES * self._n_columns())
        parts, values, missing = self._query(X, context, "complete", regions=False)
        n_threads = effective_n_threads(self.n_jobs)
        completed, _ = beam.complete(parts, values, missing, width, n_threads)
        return as_given(X, self._container, completed, ~missing)

    def expectation(
        self,
        function: Callable[[Any], Any] | str | int,
        *,
        evidence: Any = None,
        context: Any = None,
        n_draws: int = 1000,
        random_state: Any = None,
        given: Any = None,
    ) -> Expectation:
        r"""Return E[f(x) | evidence], with its standard error.

        Of `n_draws` rows x_i that hold the evidence, with weights w_i that sum to one, it is
        sum w_i f(x_i) with the error (sum w_i^2 (f(x_i) - E)^2)^(1/2). Weights are equal where the
        evidence comes first in the order; elsewhere rows are drawn as by `impute`.

        Parameters
        ----------
        function : callable, str or int
            Gets rows in the container of `fit`, and returns a number for each; or the name of a
            column of numbers, or its place where columns have no names.
        evidence : mapping, list of mappings, DataFrame or array-like, optional
            As in `log_probability`: of one row, or of n.
        context : array-like or DataFrame of shape (n, C), optional
        n_draws : int, default=1000
        random_state : int, RandomState instance or None
        given : optional
            Another name of `evidence`.

        Returns
        -------
        Expectation
            (value, standard_error): floats where evidence is of one row or None, else arrays (n,).
            `answer_ess_` has the effective numbers of draws.
        """
        if given is not None:
            if evidence is not None:
                raise ValueError("given must be None where there is evidence: they are one.")
            evidence = given
        of_column = None if callable(function) else self._column_of_numbers(function)
        n_draws = check_count("n_draws", n_draws, numbers=2 * self.n_features_in_)
        evidence = {} if evidence is None else evidence
        query = self._query(evidence, context, "expectation", evidence="evidence")
        rng, n_threads = generator(random_state), effective_n_threads(self.n_jobs)
        value, error, ess = np.empty((3, len(query[1])))
        for rows, drawn, share in asking.draws(*query, n_draws, rng, n_threads):
            flat = drawn.reshape(-1, self.n_features_in_)
            outcome = self._outcome(function, of_column, flat).reshape(share.shape)
            value[rows] = (share * outcome).sum(axis=1)
            deviation = outcome - value[rows][:, None]
            error[rows] = np.sqrt((share**2 * deviation**2).sum(axis=1))
            ess[rows] = effective_sample_size(share)
        self._report(ess, n_draws)
        if is_one_row(evidence, "evidence"):
            return Expectation(float(value[0]), float(error[0]))
        return Expectation(value, error)

    def _outcome(self, function: Any, of_column: int | None, rows: Array) -> Array:
        """Return f(x) of each row of numbers, as float64."""
        if of_column is not None:
            return rows[:, of_column].astype(np.float64) + column_values.offset(
                self._container, of_column
            )
        found = np.asarray(function(self._container.wrap(rows)))
        if found.shape != (len(rows),) or found.dtype.kind not in "biuf":
            raise ValueError(
                f"function must return one number for each of {len(rows)} rows. "
                f"Got {found.dtype} of shape {found.shape} instead."
            )
        return found.astype(np.float64)

    # ---- what the questions share

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

    def _n_particles(self, n_particles: Any) -> int:
        return check_count("n_particles", n_particles, numbers=2 * self._n_columns())

    def _n_columns(self) -> int:
        """Return how many columns there are; NotFittedError before `fit`."""
        check_is_fitted(self, "n_features_in_")
        return self.n_features_in_

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
            self._report(answer.ess, n_particles)
        return answer

    def _report(self, ess: Array, n_particles: int) -> None:
        """Keep effective sample sizes, and warn where few particles are effective."""
        self.answer_ess_ = ess
        few = int((ess < FEW_EFFECTIVE * n_particles).sum())
        if few:
            warnings.warn(
                f"{few} of {len(ess)} rows hold what hardly any of their {n_particles} particles "
                "agrees with: their answers are rough. More particles, or an `order` that puts "
                "known columns first, make them exact.",
                UserWarning,
                stacklevel=4,
            )

    def _is_nominal(self, column: int) -> bool:
        """Return whether a column's values are names, not numbers."""
        container = self._container
        if isinstance(container, Schema) and container.columns[column].type in ("category", "bool"):
            return True
        part = self._parts("predict")[0]
        kind = part.model.conditional.of_column(part.place(column))[0].name
        return kind in ("bernoulli", "categorical")

    def _column_of_numbers(self, name: Any) -> int:
        """Return the place of the column that `function` names."""
        self._models("expectation")
        column = find_column(self, name, "function")
        if column_values.has_categories(self._container, column):
            raise ValueError(
                "function must be the name of a column of numbers, or a callable. "
                f"Got {name!r}, which has categories."
            )
        if column_values.is_time(self._container, column):
            raise ValueError(
                "function must be the name of a column of numbers, or a callable, which gets "
                f"frames. Got {name!r}, which has dates, times or durations."
            )
        return column

    def _no_levels(self, column: int, what: str) -> str:
        return (
            f"{what} must be about a column of levels, and column {column_names(self)[column]!r} "
            "has none, or too many: predict gives its mean, median and quantiles."
        )
