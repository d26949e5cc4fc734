"""Questions about several columns together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fastar._core.parameters import Array
from fastar._core.random import generator
from fastar._core.threads import effective_n_threads
from fastar._core.validation import check_count
from fastar._data import column_values
from fastar._data.evidence import (
    as_given,
    find_column,
    is_one_row,
)
from fastar._engine import beam
from fastar._engine import questions as asking
from fastar._engine.particles import effective_sample_size
from fastar.models._queries import Queries


class Expectation(NamedTuple):
    """An expectation and its standard error: numbers, or arrays with an entry a query."""

    value: Any
    standard_error: Any


class JointQuestions(Queries):
    """Mixin that answers about several columns together."""

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
        self._report(ess, n_particles, "n_particles", stacklevel=2)
        return log_p

    def complete(self, X: Any, *, context: Any = None, width: int = 16) -> Any:
        """Return X with its missing values replaced by their most probable joint values.

        Beam search along the order keeps the `width` best completions so far, judged by all that is
        known before the next gap. A column of up to 64 levels is tried level by level; of
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

        `n_draws` rows x_i hold the evidence, and have weights w_i that sum to one. The mean is
        sum w_i f(x_i), its error (sum w_i^2 (f(x_i) - E)^2)^(1/2). Weights are equal where the
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
        self._report(ess, n_draws, "n_draws", stacklevel=2)
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
