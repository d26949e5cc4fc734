"""The methods of a fitted mixture: scores, samples, completions, repairs."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from scipy.special import logsumexp
from sklearn.utils.validation import check_is_fitted

from fastar._core.parameters import Array
from fastar._core.random import generator
from fastar._core.sharpness import check_sharpness
from fastar._core.threads import effective_n_threads
from fastar._core.validation import (
    check_count,
    unwrap_frozen,
)
from fastar._data.containers import Container
from fastar._data.context import Context
from fastar._data.evidence import as_given, column_names, is_named, n_rows, read_query
from fastar._data.frame_types import as_frame
from fastar._data.frames import Schema
from fastar._data.reading import dense, read, read_numbers, table_like
from fastar._data.regions import Regions
from fastar._engine.bounds import bounds_of, check_no_cut
from fastar._engine.completions import PARTICLES, Part, impute, warn_of_few
from fastar._engine.marginals import marginals
from fastar._engine.particles import is_exact
from fastar._engine.scores import average_conditionals
from fastar._engine.support import check_known
from fastar.models._density import AutoregressiveDensity
from fastar.models._documentation import documented
from fastar.models._exclusion import sample_outside
from fastar.models._fitted import ScoreMixin, by_name
from fastar.models._mixture_draws import checked_evidence, draw_rows
from fastar.models._parallel import call_each, on_threads
from fastar.models._questions import AnswersQuestions
from fastar.models._rows import Rows
from fastar.models._streamed_answers import (
    impute_streamed,
    is_batched,
    sample_streamed,
    score_streamed,
)


class FittedMixture(ScoreMixin, AnswersQuestions):
    """Base of weighted sums of fitted densities."""

    estimators_: list[Any]
    weights_: Array

    @property
    def n_parameters_(self) -> int:
        """The number of parameters of the members and the mixture."""
        check_is_fitted(self, "estimators_")
        free = len(self.weights_) - 1 if hasattr(self, "validation_curve_") else 0
        return free + sum(int(member.n_parameters_) for member in self.estimators_)

    @property
    def _fitted_context(self) -> Context | None:
        """The context as the members learnt it, if there was one."""
        members = map(unwrap_frozen, self.estimators_)
        found = (getattr(each, "_fitted_context", None) for each in members)
        return next((each for each in found if each is not None), None)

    @property
    def schema_(self) -> list[dict[str, Any]]:
        """The decisions of `fit` on each column, as the members' `schema_` gives them.

        AttributeError where members decided differently, or are not models of this library.
        """
        check_is_fitted(self, "estimators_")
        first, *others = (unwrap_frozen(member).schema_ for member in self.estimators_)
        if any(each != first for each in others):
            raise AttributeError(
                "schema_ must be the same for all members. Got several: "
                "ask each of `estimators_` for its own."
            )
        schema: list[dict[str, Any]] = first
        return schema

    def _rows(self, X: Any, context: Any = None) -> Rows:
        X = as_frame(X)
        return Rows(X, read(self, X), context)

    def _scores(self, rows: Rows) -> Array:
        """Return log p_k(x) (n, K)."""
        found = call_each(
            lambda _, member: member.score_samples(rows.known_to(member), **rows.given_context),
            self.estimators_,
            effective_n_threads(self.n_jobs),
            len(rows),
        )
        return np.stack(found, axis=1).astype(np.float64, copy=False)

    def _log_joint(self, X: Any, context: Any) -> Array:
        """Return log w_k + log p_k(x) (n, K)."""
        check_is_fitted(self, "estimators_")
        return self._scores(self._rows(X, context)) + _log(self.weights_)

    @documented
    def score_samples(self, X: Any, *, context: Any = None, out: Any = None) -> Any:
        """Return log p(x) of each row, or log p(x given context).

        Parameters
        ----------
        {rows_to_score}

        Returns
        -------
        ndarray of shape (n,), float64; None with `out`
            Nats; for real columns of a density in the units of X.

        Raises
        ------
        NotFittedError, ValueError
            The mixture is not fitted; X has another shape, other names or values outside the
            support of a member.
        """
        check_is_fitted(self, "estimators_")
        if is_batched(X, out):
            return score_streamed(self, X, context, out)
        total: Array = logsumexp(self._log_joint(X, context), axis=1)
        return total

    def responsibilities(self, X: Any, *, context: Any = None) -> Array:
        r"""Return the posterior probability of each member given each row.

        .. math::
            p(k \mid x) = w_k \, p_k(x) \, / \, p(x)

        Parameters
        ----------
        X : array-like, DataFrame or CSR matrix of shape (n, D)
        context : array-like or DataFrame of shape (n, C), optional

        Returns
        -------
        ndarray of shape (n, n_members), float64
            Rows sum to one. A row that is impossible for all members gets `weights_`.
        """
        joint = self._log_joint(X, context)
        total = logsumexp(joint, axis=1, keepdims=True)
        possible = np.isfinite(total)
        posterior: Array = np.exp(joint - np.where(possible, total, 0))
        return np.where(possible, posterior, self.weights_)

    def score_features(self, X: Any, *, context: Any = None) -> Array:
        """Return log p(x_d | those before it), whose rows sum to `score_samples`.

        For members with one order of the columns alone: p(x_d | x_<d) of a mixture is
        p(x_1 .. x_d) / p(x_1 .. x_d-1), each a weighted sum over the members.

        Parameters
        ----------
        X : array-like, DataFrame or CSR matrix of shape (n, D)
        context : array-like or DataFrame of shape (n, C), optional

        Returns
        -------
        ndarray of shape (n, D), float64
            Nats, in the order of the columns of X.

        Raises
        ------
        ValueError
            The members have several orders: then "those before it" differ from member to member.
        TypeError
            A member is not a model of this library.
        """
        models = self._models("score_features")
        order = _common_order(models, "score_features")
        rows = self._rows(X, context)
        prefix = np.logaddexp.reduce(self._log_prefixes(models, rows, order), axis=0)
        scores = np.empty((len(rows), len(order)))
        scores[:, order] = np.diff(prefix, axis=1)
        return scores

    def _log_prefixes(
        self, models: list[tuple[float, AutoregressiveDensity]], rows: Rows, order: Array
    ) -> Array:
        """Return log w_k + log p_k(x_1 .. x_d) (K, n, D + 1), d = 0 first, along the order."""
        n_threads = effective_n_threads(self.n_jobs)
        prefixes = np.empty((len(models), len(rows), len(order) + 1))
        for (weight, model), prefix in zip(models, prefixes, strict=True):
            terms = on_threads(model, n_threads).score_features(
                rows.known_to(model), **rows.given_context
            )
            prefix[:, 0] = np.log(weight)
            prefix[:, 1:] = np.log(weight) + np.cumsum(terms[:, order], axis=1)
        return prefixes

    def conditionals(self, X: Any, *, context: Any = None) -> Any:
        """Return the parameters of each p(x_d | those before it), for members with one order.

        A member's share of p(x_d | x_<d) is its weight times the probability that it gives to x_<d.

        Parameters
        ----------
        X : array-like, DataFrame or CSR matrix of shape (n, D)
        context : array-like or DataFrame of shape (n, C), optional

        Returns
        -------
        ndarray or dict
            As `NADE.conditionals` gives it; of real columns and counts the mean, variance and CDF
            alone.

        Raises
        ------
        ValueError
            The members have several orders, or conditionals of several kinds.
        TypeError
            A member is not a model of this library.
        """
        models = self._models("conditionals")
        order = _common_order(models, "conditionals")
        kinds = {repr(model.distribution_) for _, model in models}
        if len(kinds) > 1:
            raise ValueError(
                "conditionals must be given a mixture whose members have one distribution a "
                f"column. Got {len(kinds)} kinds instead."
            )
        rows = self._rows(X, context)
        before = self._log_prefixes(models, rows, order)[:, :, :-1]
        share = np.empty(before.shape)
        share[:, :, order] = np.exp(before - np.logaddexp.reduce(before, axis=0))
        n_threads = effective_n_threads(self.n_jobs)
        found = [
            on_threads(model, n_threads)._described(rows.known_to(model), **rows.given_context)
            for _, model in models
        ]
        return by_name(average_conditionals(found, share), column_names(models[0][1]))

    def purify(self, X: Any, epsilon: Any, *, context: Any = None) -> Any:
        """Return X repaired as by PixelDefend: each member repairs it, and the best is taken.

        Parameters
        ----------
        X : array-like, DataFrame or CSR matrix of shape (n, D)
        epsilon : float or array-like of shape (D,)
            The largest change of a value, as `NADE.purify` has it.
        context : array-like or DataFrame of shape (n, C), optional

        Returns
        -------
        ndarray, DataFrame or CSR matrix of shape (n, D)
            The most probable repair of each row under the mixture, in the container of X.

        Raises
        ------
        NotFittedError, ValueError
            The mixture is not fitted; X or epsilon breaks a rule that the message names.
        TypeError
            A member is not a model of this library.
        """
        models, rows = self._models("purify"), self._rows(X, context)
        n_threads = effective_n_threads(self.n_jobs)
        best, best_score = np.empty(0), np.full(len(rows), -np.inf)
        for place, (_, model) in enumerate(models):
            repaired = on_threads(model, n_threads).purify(
                rows.known_to(model), epsilon, **rows.given_context
            )
            values = dense(read(self, repaired))
            score = self.score_samples(repaired, context=context)
            better = (score > best_score)[:, None]
            best = values if place == 0 else np.where(better, values, best)
            best_score = np.maximum(score, best_score)
        return table_like(X, self._container, best)

    def _models(self, purpose: str) -> list[tuple[float, AutoregressiveDensity]]:
        """Return (weight, model) of all models at any depth: a mixture of mixtures is a mixture."""
        check_is_fitted(self, "estimators_")
        found: list[tuple[float, AutoregressiveDensity]] = []
        for weight, member in zip(
            self.weights_.tolist(), map(unwrap_frozen, self.estimators_), strict=True
        ):
            if isinstance(member, FittedMixture):
                found += [(weight * inner, model) for inner, model in member._models(purpose)]
            elif isinstance(member, AutoregressiveDensity):
                own, theirs = self._container, member._container
                if isinstance(own, Schema) and theirs != own:
                    raise ValueError(
                        f"{purpose} needs members that were fitted to frames of the same columns, "
                        "types and categories. Got others instead."
                    )
                if isinstance(own, Container) and own.offsets != getattr(theirs, "offsets", None):
                    raise ValueError(
                        f"{purpose} needs members that were fitted to the same integers, where "
                        "these are beyond 2**53. Got others instead."
                    )
                found.append((weight, member))
            else:
                raise TypeError(
                    f"{purpose} needs members that are models of rows of this library. "
                    f"Got a {type(member).__name__} instead."
                )
        return [pair for pair in found if pair[0] > 0]

    # ---- marginals, samples and completions

    def _bounded_parts(
        self, purpose: str, context: Any, n: int, regions: Regions | None, name: str
    ) -> list[Part]:
        """Return what answers about n rows, with the bounds of cells that are drawn."""
        return [
            replace(part, bounds=bounds_of(part.model, regions, n, name, drawn=True))
            for part in self._parts(purpose, context, n)
        ]

    def _known_values(
        self, models: list[tuple[float, AutoregressiveDensity]], X: Any
    ) -> tuple[Array, Regions | None]:
        """Return X as numbers, NaN where missing, whose categories all models take; its regions."""
        if is_named(X):
            values, regions = read_query(self, X, n_rows(X, "X"), "X")
            return np.atleast_2d(values), regions
        table = read_numbers(self, X, gaps=True)
        for _, model in models:
            check_known(model.distribution_, table, model.order_)
        return dense(table), None

    def log_marginal(
        self, X: Any, *, context: Any = None, n_particles: int = 64, random_state: Any = None
    ) -> Array:
        """Return log p(x_known) of each row: its missing values (NaN) are integrated out.

        The mixture of its members' marginals, which may be estimates: see theirs.

        Parameters
        ----------
        X : array-like, DataFrame, mapping or list of mappings of shape (n, D)
        context : array-like or DataFrame of shape (n, C), optional
        n_particles : int, default=64
            Samples of each member for each row.
        random_state : int, RandomState instance or None

        Returns
        -------
        ndarray of shape (n,), float64
            Nats.
        """
        models = self._models("log_marginal")
        n_particles = check_count("n_particles", n_particles, numbers=2 * self.n_features_in_)
        X, regions = self._known_values(models, X)
        values, held = checked_evidence(models, X, len(X), "X")
        rng, n_threads = generator(random_state), effective_n_threads(self.n_jobs)
        parts = [
            np.log(weight)
            + marginals(
                model._model(),
                values,
                ~held,
                n_particles,
                rng,
                n_threads,
                model._encoded(context, len(X)),
                bounds_of(model._model(), regions, len(X), "X", drawn=False),
            )[0]
            for weight, model in models
        ]
        total: Array = logsumexp(parts, axis=0)
        return total

    @documented
    def sample(
        self,
        n_samples: int = 1,
        *,
        context: Any = None,
        evidence: Any = None,
        temperature: float = 1.0,
        top_p: float | None = None,
        top_k: int | None = None,
        exclude: Any = None,
        unique: bool = False,
        random_state: Any = None,
        out: Any = None,
    ) -> Any:
        """Draw rows, each by a member that is drawn by weight.

        Parameters
        ----------
        n_samples : int, default=1
        context : array-like or DataFrame of shape (n_samples, C) or (1, C), optional
        evidence : mapping, array-like of shape (D,) or (n_samples, D), or DataFrame, optional
            Values to hold, NaN (or None) where free; of a mapping also sets and half-open intervals
            (low, high), as in `log_probability`. Every member draws the free values of a row
            given those before them in its order, and of these draws one is taken in proportion to
            the member's weight times the probability that it gives to what is held. Exact where
            the held columns come first in the orders of all members; where they do not, or in sets
            and intervals, members draw 64 particles together, and a warning says where few of them
            agree with it.
        temperature : float, default=1
            Each conditional of each member is raised to the power 1 / temperature and normalised;
            the weights stay.
        {top_p_and_top_k}
        {exclude_and_unique}
        random_state : int, RandomState instance or None
        {out_of_sample}

        Returns
        -------
        ndarray, DataFrame or CSR matrix of shape (n_samples, D); None with `out`
            In the container that `fit` was given; the members' rows in random order.

        Raises
        ------
        NotFittedError, ValueError
            The mixture is not fitted; an argument breaks a rule that the message names; or rows of
            `exclude` were drawn a hundred times in a row.
        TypeError
            There is evidence, and a member is not a model of this library.
        """
        check_is_fitted(self, "estimators_")
        how = {"temperature": temperature, "top_p": top_p, "top_k": top_k}
        if out is not None:
            how |= {"evidence": evidence, "exclude": exclude}
            return sample_streamed(self, n_samples, context, out, unique, random_state, **how)
        n_samples = check_count("n_samples", n_samples, numbers=self.n_features_in_)
        if exclude is not None or unique is not False:
            how |= {"context": context, "evidence": evidence, "random_state": random_state}
            read_table = partial(read_numbers, self)
            return sample_outside(self, read_table, exclude, unique, n_samples, **how)
        sharpness = check_sharpness(temperature, top_p, top_k)
        rng = generator(random_state)
        if evidence is None:
            return self._container.wrap(draw_rows(self, n_samples, sharpness, rng, context))
        models = self._models("sample with evidence")
        evidence, regions = read_query(self, evidence, n_samples)
        check_no_cut(sharpness, regions)
        values, held = checked_evidence(models, evidence, n_samples, "evidence")
        shape = (n_samples, self.n_features_in_)
        exact = regions is None and all(is_exact(model._model(), held) for _, model in models)
        number = 1 if exact else -(-PARTICLES // len(models))
        values, missing = np.broadcast_to(values, shape), ~np.broadcast_to(held, shape)
        parts = self._bounded_parts("sample with evidence", context, n_samples, regions, "evidence")
        n_threads = effective_n_threads(self.n_jobs)
        completed, ess = impute(
            parts, values, missing, 1, number, rng, n_threads, sharpness=sharpness
        )
        if not exact:
            warn_of_few(ess, number * len(models), None, stacklevel=2)
        return self._container.wrap(completed[0])

    @documented
    def impute(
        self,
        X: Any,
        *,
        context: Any = None,
        n_draws: int = 1,
        n_particles: int = 16,
        random_state: Any = None,
        out: Any = None,
    ) -> Any:
        """Return X with each missing value (NaN) drawn given the values that are there.

        A completion is drawn from the posterior over members and completions. Each member completes
        a row `n_particles` times along its own order; all these samples are resampled together, in
        proportion to the member's weight times the probability that it gives to the row's evidence
        (sampling importance resampling [1]_). This is exact where the evidence comes first in the
        orders of all members; `impute_ess_` tells each row's effective number of samples.

        Parameters
        ----------
        {rows_to_impute}
        n_particles : int, default=16
            Samples by each member from which a row's completions are drawn; more are more exact.
        random_state : int, RandomState instance or None
        {out_of_impute}

        Returns
        -------
        {imputed}

        Raises
        ------
        NotFittedError, ValueError
            The mixture is not fitted; X or an argument breaks a rule that the message names.
        TypeError
            A member is not a model of this library.

        References
        ----------
        .. [1] D. B. Rubin, "Using the SIR algorithm to simulate posterior distributions", Bayesian
           Statistics 3, 1988.
        """
        models = self._models("impute")
        if out is not None:
            how = {"n_particles": n_particles}
            return impute_streamed(self, X, context, out, n_draws, random_state, **how)
        n_particles = check_count("n_particles", n_particles, numbers=2 * self.n_features_in_)
        given = X
        X, regions = self._known_values(models, X)
        n_draws = check_count("n_draws", n_draws, numbers=X.size)
        values, held = checked_evidence(models, X, len(X), "X")
        parts = self._bounded_parts("impute", context, len(X), regions, "X")
        rng, n_threads = generator(random_state), effective_n_threads(self.n_jobs)
        completed, self.impute_ess_ = impute(
            parts, values, ~held, n_draws, n_particles, rng, n_threads, gapless=True
        )
        if n_draws > 1:
            return completed
        kept = np.broadcast_to(held, completed[0].shape)
        return as_given(given, self._container, completed[0], kept)

    def _impossible(self, X: Any) -> Array:
        """Return which rows (n,) of X have values outside the support of a member."""
        rows = self._rows(X)
        found = np.zeros(len(rows), bool)
        for member in map(unwrap_frozen, self.estimators_):
            if hasattr(member, "_impossible"):
                found |= member._impossible(rows.known_to(member))
        return found


def _common_order(models: list[tuple[float, AutoregressiveDensity]], purpose: str) -> Array:
    """Return the one order of the columns that all models have."""
    orders = {tuple(model.order_.tolist()) for _, model in models}
    if len(orders) > 1:
        raise ValueError(
            f"{purpose} must be given a mixture whose members have one order of the columns: "
            "p(x_d | those before it) is a ratio of two probabilities, of which members of other "
            f"orders have no closed form. Got {len(orders)} orders instead."
        )
    return np.array(orders.pop())


def _log(weights: Array) -> Array:
    with np.errstate(divide="ignore"):
        return np.log(weights)
