"""Mixtures of density estimators that are trained apart from each other."""

from __future__ import annotations

import warnings
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from scipy.special import logsumexp
from sklearn.base import BaseEstimator, DensityMixin, MetaEstimatorMixin, clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from sklearn.utils import _safe_indexing, check_array, check_random_state, get_tags
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import (
    _check_feature_names,
    _check_n_features,
    _num_samples,
    check_is_fitted,
    has_fit_parameter,
)

from fastar._core.limits import MOST_MEMBERS
from fastar._core.parameters import Array
from fastar._core.random import generator, set_random_states
from fastar._core.schema import (
    FLAG,
    OBJECT,
    ArrayOf,
    Listed,
    Maybe,
    Record,
    Whole,
    check_arrays,
    inside,
    require,
    within,
)
from fastar._core.threads import effective_n_threads
from fastar._core.validation import (
    check_count,
    check_temperature,
    check_weight,
    unchanged_on_error,
    unwrap_frozen,
)
from fastar._data.columns import Columns
from fastar._data.containers import Container
from fastar._data.evidence import as_given, is_named, n_rows, read_evidence
from fastar._data.frame_types import as_frame, frame_kind
from fastar._data.frames import Schema
from fastar._data.reading import dense, read, read_numbers, table_like
from fastar._engine.particles import (
    PARTICLES,
    Particles,
    complete_rows,
    impute,
    is_exact,
    marginals,
    particles,
    warn_of_few,
)
from fastar._engine.scores import average_conditionals
from fastar._engine.support import check_evidence, check_known
from fastar.conditionals import Mixed
from fastar.conditionals._gaps import ModelledGaps
from fastar.models._base import AutoregressiveDensity, FitData
from fastar.models._em import best_weights
from fastar.models._fitting import fit_arguments
from fastar.models._parallel import call_each, fit_each, on_threads
from fastar.models._questions import AnswersQuestions
from fastar.persistence import (
    COMMON,
    NUMBERS,
    FrozenMembers,
    Persistent,
    SavedState,
    check_names,
    check_prefixes,
    container_to_json,
    describe,
    from_template,
    prefixed,
    restore,
    table_container,
    template,
)

_DEFAULT_MEMBERS = 8


class Mixture(AnswersQuestions, Persistent, MetaEstimatorMixin, DensityMixin, BaseEstimator):  # type: ignore[misc]
    r"""Mixture of density estimators that are trained independently of each other.

    .. math::
        p(x) = \sum_k w_k \, p_k(x), \quad w_k \ge 0, \quad \sum_k w_k = 1

    The density is exact and normalised, and by the concavity of the logarithm no row scores below
    the weighted mean of what the members give it. Members that see the columns in different orders
    make an ensemble of orders [1]_: ``Mixture(NADE(order="random"), n_members=8)``.

    Parameters
    ----------
    estimator : density estimator, or list of them
        One estimator is cloned `n_members` times, and every clone gets a `random_state` of its own,
        drawn with that of the mixture. Each estimator of a list is cloned once, and gets one where
        it has None. A fitted estimator is cloned and fitted again, unless it is wrapped in
        scikit-learn's ``FrozenEstimator``: such a member stays as it is.
    n_members : int or None, default=None
        Clones of a single estimator; None: 8, or the length of the list.
    weights : {"equal", "em"} or array-like of shape (n_members,), default="equal"
        "em" finds, by expectation maximisation [2]_, the weights with the largest log-likelihood of
        rows that no member was trained on: X_val, or rows held out from X, or all of X where all
        members are frozen. An array is divided by its sum.
    validation_fraction : float, default=0.1
        Rows that "em" holds out from all members when `fit` gets no X_val. What members hold out
        for early stopping comes from the others.
    random_state : int, RandomState instance or None, default=None
    n_jobs : int or None, default=None
        Threads, shared out among the members; None and -1: all cores this process may use.
        The results are the same for any number. It takes the place of the `n_jobs` of members;
        those inside other estimators, as in a pipeline, keep their own in scoring and sampling.

    Attributes
    ----------
    estimators_ : list
        The fitted members.
    weights_ : array (n_members,), float64
    n_parameters_ : int
        Those of all members, and the free weights of "em".
    validation_curve_ : list of float
        With "em": mean negative log-likelihood of its rows in nats, from equal weights on, an entry
        an iteration.
    n_features_in_, feature_names_in_ : as in scikit-learn
    impute_ess_ : array (n,)
        Effective sample sizes of the last `impute`.

    References
    ----------
    .. [1] B. Uria, I. Murray, H. Larochelle, "A deep and tractable density estimator", ICML 2014.
    .. [2] A. P. Dempster, N. M. Laird, D. B. Rubin, "Maximum likelihood from incomplete data via
       the EM algorithm", Journal of the Royal Statistical Society B 39, 1977.

    Examples
    --------
    >>> import numpy as np
    >>> from fastar import NADE, Mixture
    >>> bits = np.random.default_rng(0).integers(0, 2, (200, 3))
    >>> X = np.column_stack([bits, bits.sum(axis=1) % 2])  # the last one is the others' parity
    >>> nade = NADE(n_hidden=16, order="random", learning_rate_init=0.03)
    >>> model = Mixture(nade, n_members=3, weights="em", random_state=0).fit(X)
    >>> len({tuple(member.order_) for member in model.estimators_})
    3
    >>> bool(model.score(X) > -2.3)  # at best -3 log 2 = -2.08; independent columns give -2.77
    True
    >>> model.sample(2, random_state=0).shape
    (2, 4)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "estimator": [HasMethods(["fit", "score_samples"]), list, tuple],
        "n_members": [Interval(Integral, 1, MOST_MEMBERS, closed="both"), None],
        "weights": [StrOptions({"equal", "em"}), "array-like"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "random_state": ["random_state"],
        "n_jobs": [Integral, None],
    }

    def __init__(
        self,
        estimator: Any,
        *,
        n_members: int | None = None,
        weights: Any = "equal",
        validation_fraction: float = 0.1,
        random_state: Any = None,
        n_jobs: int | None = None,
    ) -> None:
        self.estimator = estimator
        self.n_members = n_members
        self.weights = weights
        self.validation_fraction = validation_fraction
        self.random_state = random_state
        self.n_jobs = n_jobs

    # ---- fitting

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        context: Any = None,
        sample_weight: Any = None,
        X_val: Any = None,
        context_val: Any = None,
    ) -> Self:
        """Train every member on its own, then find the weights.

        Parameters
        ----------
        X : array-like, DataFrame or CSR matrix of shape (n, D)
        y : ignored
        context : array-like or DataFrame of shape (n, C), optional
            What each row is given; every member sees it.
        sample_weight : array-like of shape (n,), optional
            A row of weight 2 counts like two rows.
        X_val : array-like of shape (m, D), optional
            Rows for the members' early stopping, and for the weights if these are "em".
        context_val : array-like or DataFrame of shape (m, C), optional
            The context of X_val.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            A parameter of the mixture or of a member, or an argument breaks a rule that the message
            names; a member's fit has no context and there is one.
        FloatingPointError
            A member's log-likelihood became NaN or infinite; the mixture stays as it was.

        Warns
        -----
        ConvergenceWarning
            A member reached its `max_iter` before it settled; or training was interrupted by
            Ctrl-C, and the mixture has the members that had begun.
        """
        self._validate_params()
        with unchanged_on_error(self):
            self._fit(FitData(X, context, sample_weight, X_val, context_val))
        return self

    def _fit(self, data: FitData) -> None:
        rng = check_random_state(self.random_state)
        X = as_frame(data.X)
        rows = _Rows(X, read(self, X, reset=True), data.context)
        rows_val = None if data.X_val is None else self._rows(data.X_val, data.context_val)
        weight = check_weight(data.sample_weight, len(rows))
        members = self._unfitted_members(rng)
        weights = self._given_weights(len(members))
        held = np.empty(0, np.intp)
        judges, judges_weight = rows, weight  # for "em": rows that no member is trained on
        if rows_val is not None:
            judges, judges_weight = rows_val, np.ones(len(rows_val))
        elif weights is None and not all(isinstance(one, FrozenEstimator) for one in members):
            held = self._held_out(weight, rng)
            judges, judges_weight = rows.take(held), weight[held]
        sample_weight = None if data.sample_weight is None else weight
        kept = self._train(members, rows, sample_weight, rows_val, held)
        self.estimators_ = [members[place] for place in kept]
        self.__dict__.pop("validation_curve_", None)
        if weights is None:
            scores = self._scores(judges)
            self.weights_, self.validation_curve_ = best_weights(scores, judges_weight)
        else:
            self.weights_ = weights[kept] / weights[kept].sum()

    def _unfitted_members(self, rng: np.random.RandomState) -> list[Any]:
        """Return clones of what is to be trained, each with a random_state of its own."""
        listed = isinstance(self.estimator, list | tuple)
        found = list(self.estimator) if listed else [self.estimator]
        rule = (
            "The 'estimator' parameter of Mixture must be a density estimator, with fit and "
            "score_samples, or a list of at least one."
        )
        if not found:
            raise ValueError(f"{rule} Got an empty list instead.")
        for place, one in enumerate(found):
            able = hasattr(one, "fit") and hasattr(one, "score_samples")
            if isinstance(one, type) or not able:
                raise ValueError(f"{rule} Got {one!r} in place {place} instead.")
        if not listed:
            found *= self.n_members or _DEFAULT_MEMBERS
        elif self.n_members not in (None, len(found)):
            raise ValueError(
                "The 'n_members' parameter of Mixture must be None or the length of the list of "
                f"estimators, {len(found)}. Got {self.n_members!r} instead."
            )
        members = [clone(one) for one in found]
        for member in members:
            set_random_states(member, rng, replace=not listed)
        return members

    def _given_weights(self, n_members: int) -> Array | None:
        """Return the weights that the parameter says, None where they are to be found."""
        if isinstance(self.weights, str):
            return np.ones(n_members) if self.weights == "equal" else None
        try:
            weights = np.asarray(self.weights, np.float64)
        except (TypeError, ValueError):
            weights = np.full(n_members, np.nan)
        shaped = weights.shape == (n_members,)
        if not shaped or not np.isfinite(weights).all() or (weights < 0).any() or not weights.any():
            raise ValueError(
                "The 'weights' parameter of Mixture must be 'equal', 'em' or one weight for each "
                f"of the {n_members} members: finite, none negative, at least one positive. "
                f"Got {self.weights!r} instead."
            )
        return weights

    def _held_out(self, weight: Array, rng: np.random.RandomState) -> Array:
        """Return the rows on which weights are found: a share of those with a positive weight."""
        rows = rng.permutation(np.flatnonzero(weight))
        if len(rows) < 2:
            raise ValueError(
                "weights='em' needs rows to hold out: X_val, or at least 2 rows of a positive "
                f"weight in X. Got n_samples={len(rows)} instead."
            )
        n_held = min(max(1, round(self.validation_fraction * len(rows))), len(rows) - 1)
        return np.sort(rows[:n_held])

    def _train(
        self,
        members: list[Any],
        rows: _Rows,
        sample_weight: Array | None,
        rows_val: _Rows | None,
        held: Array,
    ) -> list[int]:
        """Fit the members that are not frozen; return the places of those that are fitted now."""
        named = hasattr(self, "feature_names_in_")
        frozen, jobs = [], {}
        for place, member in enumerate(members):
            if isinstance(member, FrozenEstimator):
                self._check_frozen(member, rows)
                frozen.append(place)
            else:
                X, arguments = _fit_arguments(member, rows, sample_weight, held, named)
                if rows_val is not None and has_fit_parameter(member, "X_val"):
                    arguments["X_val"] = rows_val.as_known(named)
                    if rows_val.context is not None:
                        arguments["context_val"] = rows_val.context
                jobs[place] = (member, X, arguments)
        trained = fit_each(jobs, effective_n_threads(self.n_jobs)) if jobs else []
        if len(trained) < len(jobs):
            warnings.warn(
                f"Training was interrupted; the mixture has the {len(frozen) + len(trained)} of "
                f"{len(members)} members that had begun.",
                ConvergenceWarning,
                stacklevel=4,
            )
        return sorted(frozen + trained)

    def _check_frozen(self, member: FrozenEstimator, rows: _Rows) -> None:
        member.fit(rows.checked, None)  # an unfitted one raises NotFittedError
        inside = unwrap_frozen(member)
        if hasattr(inside, "n_features_in_"):
            _check_n_features(inside, rows.checked, reset=False)
        if hasattr(inside, "feature_names_in_") and hasattr(self, "feature_names_in_"):
            _check_feature_names(inside, rows.given, reset=False)

    # ---- the fitted mixture

    @property
    def n_parameters_(self) -> int:
        """The number of parameters of the members and the mixture."""
        check_is_fitted(self, "estimators_")
        free = len(self.weights_) - 1 if hasattr(self, "validation_curve_") else 0
        return free + sum(int(member.n_parameters_) for member in self.estimators_)

    def _rows(self, X: Any, context: Any = None) -> _Rows:
        X = as_frame(X)
        return _Rows(X, read(self, X), context)

    def _scores(self, rows: _Rows) -> Array:
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

    def score_samples(self, X: Any, *, context: Any = None) -> Array:
        """Return log p(x) of each row, or log p(x given context).

        Parameters
        ----------
        X : array-like, DataFrame or CSR matrix of shape (n, D)
        context : array-like or DataFrame of shape (n, C), optional
            For a mixture that was fitted with one: of the same columns.

        Returns
        -------
        ndarray of shape (n,), float64
            Nats; for real columns of a density in the units of X.

        Raises
        ------
        NotFittedError, ValueError
            The mixture is not fitted; X has another shape, other names or values outside the
            support of a member.
        """
        total: Array = logsumexp(self._log_joint(X, context), axis=1)
        return total

    def score(
        self, X: Any, y: Any = None, *, context: Any = None, sample_weight: Any = None
    ) -> float:
        """Return the mean log p(x), or log p(x given context), in nats.

        Parameters
        ----------
        X : array-like, DataFrame or CSR matrix of shape (n, D)
        y : ignored
        context : array-like or DataFrame of shape (n, C), optional
        sample_weight : array-like of shape (n,), optional

        Returns
        -------
        float
        """
        scores = self.score_samples(X, context=context)
        return float(np.average(scores, weights=check_weight(sample_weight, len(scores))))

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
        self, models: list[tuple[float, AutoregressiveDensity]], rows: _Rows, order: Array
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
            on_threads(model, n_threads).conditionals(rows.known_to(model), **rows.given_context)
            for _, model in models
        ]
        if isinstance(models[0][1].distribution_, Mixed | ModelledGaps):  # a dict by column
            by_column = average_conditionals([list(each.values()) for each in found], share)
            return dict(zip(found[0], by_column, strict=True))
        return average_conditionals(found, share)

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
            Of each row the most probable repair under the mixture. Of the type of X.

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
            if isinstance(member, Mixture):
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

    def _known_values(self, models: list[tuple[float, AutoregressiveDensity]], X: Any) -> Array:
        """Return X as numbers, NaN where missing, whose categories all models take."""
        if is_named(X):
            return np.atleast_2d(read_evidence(self, X, n_rows(X, "X"), "X"))
        table = read_numbers(self, X, gaps=True)
        for _, model in models:
            check_known(model.distribution_, table, model.order_)
        return dense(table)

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
        X = self._known_values(models, X)
        values, held = _checked_evidence(models, X, len(X), "X")
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
            )[0]
            for weight, model in models
        ]
        total: Array = logsumexp(parts, axis=0)
        return total

    def sample(
        self,
        n_samples: int = 1,
        *,
        context: Any = None,
        evidence: Any = None,
        temperature: float = 1.0,
        random_state: Any = None,
    ) -> Any:
        """Draw rows, each by a member that is drawn by weight.

        Parameters
        ----------
        n_samples : int, default=1
        context : array-like or DataFrame of shape (n_samples, C) or (1, C), optional
        evidence : mapping, array-like of shape (D,) or (n_samples, D), or DataFrame, optional
            Values to hold, NaN (or None) where free. Every member draws the free values of a row
            given those before them in its order, and of these draws one is taken in proportion to
            the member's weight times the probability that it gives to what is held. Exact where
            the held columns come first in the orders of all members; where they do not, members
            draw 64 particles together, and a warning says where few of them agree with it.
        temperature : float, default=1
            Each conditional of each member is raised to the power 1 / temperature and normalised;
            the weights stay.
        random_state : int, RandomState instance or None

        Returns
        -------
        ndarray, DataFrame or CSR matrix of shape (n_samples, D)
            In the container that `fit` was given; the members' rows in random order.

        Raises
        ------
        NotFittedError, ValueError
            The mixture is not fitted; an argument breaks a rule that the message names.
        TypeError
            There is evidence, and a member is not a model of this library.
        """
        check_is_fitted(self, "estimators_")
        n_samples = check_count("n_samples", n_samples, numbers=self.n_features_in_)
        temperature = check_temperature(temperature)
        rng = generator(random_state)
        if evidence is None:
            return self._container.wrap(self._draw(n_samples, temperature, rng, context))
        models = self._models("sample with evidence")
        evidence = read_evidence(self, evidence, n_samples)
        values, held = _checked_evidence(models, evidence, n_samples, "evidence")
        shape = (n_samples, self.n_features_in_)
        exact = all(is_exact(model._model(), held) for _, model in models)
        number = 1 if exact else -(-PARTICLES // len(models))
        completed, ess = self._complete(
            models,
            np.broadcast_to(values, shape),
            ~np.broadcast_to(held, shape),
            1,
            number,
            rng,
            temperature,
            context,
        )
        if not exact:
            warn_of_few(ess, number * len(models))
        return self._container.wrap(completed[0])

    def _draw(self, n: int, temperature: float, rng: np.random.Generator, context: Any) -> Array:
        """Return n values (n, D)."""
        K = len(self.weights_)
        chosen = rng.choice(K, size=n, p=self.weights_)
        counts, seeds = np.bincount(chosen, minlength=K), rng.integers(2**31, size=K)
        # members of other libraries know no temperature
        arguments = {} if temperature == 1 else {"temperature": temperature}

        def draw(place: int, member: Any) -> Array | None:
            if counts[place] == 0:
                return None
            own = {"random_state": int(seeds[place]), **arguments}
            if context is not None:
                several = _num_samples(context) > 1
                rows = np.flatnonzero(chosen == place)
                own["context"] = _safe_indexing(context, rows) if several else context
            drawn = member.sample(int(counts[place]), **own)
            if isinstance(self._container, Schema) and frame_kind(drawn) is not None:
                return self._container.read(drawn, "a member's sample")[:]
            table = check_array(drawn, accept_sparse="csr", ensure_all_finite=False)
            assert isinstance(self._container, Container)
            return dense(self._container.to_numbers(table))

        drawn = call_each(draw, self.estimators_, effective_n_threads(self.n_jobs), n)
        by_member = np.concatenate([values for values in drawn if values is not None])
        values = np.empty_like(by_member)
        values[np.argsort(chosen, kind="stable")] = by_member
        return values

    def impute(
        self,
        X: Any,
        *,
        context: Any = None,
        n_draws: int = 1,
        n_particles: int = 16,
        random_state: Any = None,
    ) -> Any:
        """Return X with each missing value (NaN) drawn given the values that are there.

        A completion is drawn from the posterior over members and completions. Each member completes
        a row `n_particles` times along its own order; all these samples are resampled together, in
        proportion to the member's weight times the probability that it gives to the row's evidence
        (sampling importance resampling [1]_). This is exact where the evidence comes first in the
        orders of all members; `impute_ess_` tells each row's effective number of samples.

        Parameters
        ----------
        X : array-like, DataFrame, mapping or list of mappings of shape (n, D)
        context : array-like or DataFrame of shape (n, C), optional
        n_draws : int, default=1
            Completions of each row.
        n_particles : int, default=16
            Samples by each member from which a row's completions are drawn; more are more exact.
        random_state : int, RandomState instance or None

        Returns
        -------
        ndarray or DataFrame of shape (n, D), or ndarray of shape (n_draws, n, D) if n_draws > 1

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
        n_particles = check_count("n_particles", n_particles, numbers=2 * self.n_features_in_)
        given, X = X, self._known_values(models, X)
        n_draws = check_count("n_draws", n_draws, numbers=X.size)
        values, held = _checked_evidence(models, X, len(X), "X")
        completed, self.impute_ess_ = self._complete(
            models,
            values,
            ~held,
            n_draws,
            n_particles,
            generator(random_state),
            context=context,
            gapless=True,
        )
        if n_draws > 1:
            return completed
        kept = np.broadcast_to(held, completed[0].shape)
        return as_given(given, self._container, completed[0], kept)

    def _complete(
        self,
        models: list[tuple[float, AutoregressiveDensity]],
        X: Array,
        missing: Array,
        n_draws: int,
        n_particles: int,
        rng: np.random.Generator,
        temperature: float = 1.0,
        context: Any = None,
        gapless: bool = False,
    ) -> tuple[Array, Array]:
        """Return completions (n_draws, n, D) of X where `missing`, and effective sample sizes (n,).

        A sample's weight is log w_k + log p_k(evidence), the latter as its member estimates it: so
        each member's samples weigh together, on average, as much as its posterior probability.
        """
        n_threads = effective_n_threads(self.n_jobs)
        encoded = [model._encoded(context, len(X)) for _, model in models]

        def propose(rows: Array) -> list[tuple[float, Particles]]:
            return [
                (
                    float(np.log(weight)),
                    particles(
                        model._model(),
                        X[rows],
                        missing[rows],
                        n_particles=n_particles,
                        rng=rng,
                        n_threads=n_threads,
                        temperature=temperature,
                        context=None if given is None else given[rows],
                        there=complete_rows(model._model()) if gapless else None,
                    ),
                )
                for (weight, model), given in zip(models, encoded, strict=True)
            ]

        return impute(propose, X, missing, n_draws, rng, n_particles * len(models))

    def __sklearn_tags__(self) -> Any:
        """Return scikit-learn's tags: sparse input is welcome where all members take it."""
        tags = super().__sklearn_tags__()
        found = self.estimator if isinstance(self.estimator, list | tuple) else [self.estimator]
        # what is no estimator is for `fit` to refuse
        members = [member for member in found if isinstance(member, BaseEstimator)]
        tags.input_tags.sparse = all(get_tags(member).input_tags.sparse for member in members)
        tags.input_tags.allow_nan = self._marks_missing
        return tags

    def _impossible(self, X: Any) -> Array:
        """Return which rows (n,) of X have values outside the support of a member."""
        rows = self._rows(X)
        found = np.zeros(len(rows), bool)
        for member in map(unwrap_frozen, self.estimators_):
            if hasattr(member, "_impossible"):
                found |= member._impossible(rows.known_to(member))
        return found

    @property
    def _marks_missing(self) -> bool:
        """Whether NaN in an array is a missing value to every member."""
        found = self.estimator if isinstance(self.estimator, list | tuple) else [self.estimator]
        return all(getattr(unwrap_frozen(each), "_marks_missing", False) for each in found)

    # ---- files

    def _state(self) -> SavedState:
        """Return the header and the arrays of a file; those of member k as "members.k.name"."""
        check_is_fitted(self, "estimators_")
        described = [describe(unwrap_frozen(member)) for member in self.estimators_]
        header = {
            "parameters": self._parameters_to_json(_frozen_members(self)),
            "n_features": self.n_features_in_,
            "feature_names": list(getattr(self, "feature_names_in_", [])),
            "container": container_to_json(self._container),
            "members": [member for member, _ in described],
            "frozen": [isinstance(member, FrozenEstimator) for member in self.estimators_],
            "validation_curve": getattr(self, "validation_curve_", None),
        }
        arrays = {"weights": self.weights_}
        for place, (_, own) in enumerate(described):
            arrays |= prefixed(f"members.{place}.", own)
        return header, arrays

    @classmethod
    def _from_state(cls, header: dict[str, Any], arrays: dict[str, Array]) -> Self:
        """Return the fitted mixture that `_state` described; EntryError if it is damaged."""
        n_members = len(header["frozen"]) if isinstance(header.get("frozen"), list) else 0
        rules = {
            "n_features": Whole(1),
            "members": Listed(OBJECT, n_members),
            "frozen": Listed(FLAG),
            "validation_curve": Maybe(NUMBERS),
        }
        Record({**COMMON, **rules}).check(header, "")
        own = {name: array for name, array in arrays.items() if not name.startswith("members.")}
        check_arrays(own, {"weights": ArrayOf("f", (n_members,), 0)})
        check_prefixes(arrays, tuple(f"members.{place}." for place in range(n_members)))
        require("weights", np.isclose(arrays["weights"].sum(), 1), "must sum to 1.")
        n_features, members = header["n_features"], []
        for place, described in enumerate(header["members"]):
            with inside(f"members.{place}"):
                member = restore(described, within(arrays, f"members.{place}."))
                fits = getattr(member, "n_features_in_", None) == n_features
                require("n_features", fits, f"must be {n_features}.")
                require("class", hasattr(member, "score_samples"), "must be a density.")
            members.append(FrozenEstimator(member) if header["frozen"][place] else member)
        with inside("parameters"):
            mixture = cls._from_parameters(header["parameters"], members)
        mixture.weights_, mixture.estimators_ = arrays["weights"], members
        mixture.n_features_in_ = n_features
        mixture._container = table_container(header["container"], n_features)
        check_names(header["feature_names"], mixture._container, n_features)
        if header["feature_names"]:
            mixture.feature_names_in_ = np.array(header["feature_names"], object)
        if header["validation_curve"] is not None:
            mixture.validation_curve_ = header["validation_curve"]
        return mixture

    def _parameters_to_json(self, frozen: FrozenMembers) -> dict[str, Any]:
        """Return the parameters, with templates of the members' estimators."""
        given, weights = self.estimator, self.weights
        is_list = isinstance(given, list | tuple)
        return super()._parameters_to_json(frozen) | {
            "estimator": [template(each, frozen) for each in given]
            if is_list
            else template(given, frozen),
            "weights": weights if isinstance(weights, str) else np.asarray(weights, float).tolist(),
        }

    @classmethod
    def _parameters_from_json(cls, described: dict[str, Any], members: list[Any]) -> dict[str, Any]:
        """Return the parameters that `_parameters_to_json` described."""
        own = {name: value for name, value in described.items() if name != "estimator"}
        found = super()._parameters_from_json(own, members)
        require("estimator", "estimator" in described, "must be among the parameters.")
        given = described["estimator"]
        with inside("estimator"):
            found["estimator"] = (
                [from_template(each, members) for each in given]
                if isinstance(given, list)
                else from_template(given, members)
            )
        return found


def _frozen_members(mixture: Mixture) -> dict[int, list[int]]:
    """Return by id of each frozen model where it is: the places to take from member to member."""
    found = {}
    for place, member in enumerate(mixture.estimators_):
        inside = unwrap_frozen(member)
        if member is not inside:
            found[id(inside)] = [place]
        elif isinstance(inside, Mixture):
            found |= {key: [place, *rest] for key, rest in _frozen_members(inside).items()}
    return found


class _Rows:
    """A table as the user gave it, whose columns may have names, and as the array in it."""

    def __init__(self, given: Any, checked: Any, context: Any = None) -> None:
        self.given, self.checked, self.context = given, checked, context

    def __len__(self) -> int:
        return int(self.checked.shape[0])

    def as_known(self, named: bool) -> Any:
        """Return the table for an estimator that knows names of the columns, or does not."""
        return self.given if named or isinstance(self.checked, Columns) else self.checked

    def known_to(self, member: Any) -> Any:
        """Return the table for a fitted estimator."""
        return self.as_known(hasattr(member, "feature_names_in_"))

    @property
    def given_context(self) -> dict[str, Any]:
        """The context, if there is one, as a keyword argument."""
        return {} if self.context is None else {"context": self.context}

    def take(self, which: Array) -> _Rows:
        """Return some of the rows."""
        checked = self.checked[which]
        framed = hasattr(self.given, "columns")
        context = None if self.context is None else _safe_indexing(self.context, which)
        return _Rows(_safe_indexing(self.given, which) if framed else checked, checked, context)


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


def _fit_arguments(
    member: Any, rows: _Rows, sample_weight: Array | None, held: Array, named: bool
) -> tuple[Any, dict[str, Any]]:
    """Return X and keyword arguments of `fit` for a member that is not to see the rows `held`."""
    seen = None
    if len(held):
        seen = np.ones(len(rows), bool)
        seen[held] = False
    return fit_arguments(
        member,
        rows.as_known(named),
        seen,
        sample_weight=sample_weight,
        context=rows.context,
        name="member",
    )


def _checked_evidence(
    models: list[tuple[float, AutoregressiveDensity]], evidence: Any, n: int, name: str
) -> tuple[Array, Array]:
    """Return (values, held), each (1 or n, D), of evidence that lies in every model's support."""
    for _, model in models:
        values, held = check_evidence(evidence, n, model._model(), name)
    assert values is not None
    assert held is not None
    return values, held


def _log(weights: Array) -> Array:
    with np.errstate(divide="ignore"):
        return np.log(weights)
