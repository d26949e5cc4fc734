"""Mixtures of density estimators that are trained apart from each other."""

from __future__ import annotations

import os
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
    check_is_fitted,
    has_fit_parameter,
)

from fastar._core.parameters import Array
from fastar._core.random import generator, set_random_states
from fastar._core.threads import effective_n_threads
from fastar._core.validation import (
    check_count,
    check_temperature,
    check_weight,
    unchanged_on_error,
    unwrap_frozen,
)
from fastar._data.containers import Container
from fastar._data.frame_types import as_frame, frame_kind
from fastar._data.frames import Schema
from fastar._data.reading import dense, read, read_evidence, read_numbers, table_like
from fastar._engine.particles import (
    PARTICLES,
    Particles,
    impute,
    is_exact,
    marginals,
    particles,
    warn_of_few,
)
from fastar._engine.support import check_evidence, check_known
from fastar.models._base import AutoregressiveDensity
from fastar.models._em import best_weights
from fastar.models._parallel import call_each, fit_each, on_threads

_DEFAULT_MEMBERS = 8


class Mixture(MetaEstimatorMixin, DensityMixin, BaseEstimator):  # type: ignore[misc]
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
        drawn with that of the mixture. Of a list each estimator is cloned once, and gets one where
        it has None. A fitted estimator is cloned and fitted again, unless it is wrapped in
        scikit-learn's ``FrozenEstimator``: such a member stays as it is.
    n_members : int or None, default=None
        Clones of a single estimator; None stands for 8, or for the length of the list.
    weights : {"equal", "em"} or array-like of shape (n_members,), default="equal"
        "em" finds, by expectation maximisation [2]_, the weights with the largest log-likelihood of
        rows that no member was trained on: X_val, or rows held out from X, or all of X where all
        members are frozen. An array is divided by its sum.
    validation_fraction : float, default=0.1
        Rows that "em" holds out from all members when `fit` gets no X_val. What members hold out
        for early stopping comes from the others.
    random_state : int, RandomState instance or None, default=None
    n_jobs : int or None, default=None
        Threads, shared out among the members; None and -1 stand for all cores this process may use.
        The results are the same for any number. It takes the place of the `n_jobs` of members;
        those inside other estimators, as in a pipeline, keep their own in scoring and sampling.

    Attributes
    ----------
    estimators_ : list
        The fitted members.
    weights_ : array (n_members,), float64
    n_parameters_ : int
        Of all members, and the free weights that "em" has found.
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
        "n_members": [Interval(Integral, 1, None, closed="left"), None],
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

    def fit(self, X: Any, y: Any = None, *, sample_weight: Any = None, X_val: Any = None) -> Self:
        """Train every member on its own, then find the weights.

        Parameters
        ----------
        X : array-like, DataFrame or CSR matrix of shape (n, D)
        y : ignored
        sample_weight : array-like of shape (n,), optional
            A row of weight 2 counts like two rows.
        X_val : array-like of shape (m, D), optional
            Rows for the members' early stopping, and for the weights if these are "em".

        Returns
        -------
        self

        Raises
        ------
        ValueError
            A parameter of the mixture or of a member, X, X_val or sample_weight breaks a rule that
            the message names.
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
            self._fit(X, sample_weight, X_val)
        return self

    def _fit_with_gaps(self, X: Any) -> Self:
        """Do what `fit` does, for an array with NaN where values are missing."""
        self._validate_params()
        if isinstance(self.weights, str) and self.weights == "em":
            raise ValueError(
                "The 'weights' parameter of Mixture must be 'equal' or an array where X is an "
                "array with NaN, whose rows have no score to find weights by. Got 'em' instead."
            )
        with unchanged_on_error(self):
            self._fit(X, None, None, gaps=True)
        return self

    def _fit(self, X: Any, sample_weight: Any, X_val: Any, gaps: bool = False) -> None:
        rng = check_random_state(self.random_state)
        X = as_frame(X)
        rows = _Rows(X, read(self, X, reset=True, gaps=gaps), gaps)
        rows_val = None if X_val is None else self._rows(X_val)
        weight = check_weight(sample_weight, len(rows))
        members = self._unfitted_members(rng)
        weights = self._given_weights(len(members))
        held = np.empty(0, np.intp)
        judges, judges_weight = rows, weight  # for "em": rows that no member is trained on
        if rows_val is not None:
            judges, judges_weight = rows_val, np.ones(len(rows_val))
        elif weights is None and not all(isinstance(one, FrozenEstimator) for one in members):
            held = self._held_out(weight, rng)
            judges, judges_weight = rows.take(held), weight[held]
        sample_weight = None if sample_weight is None else weight
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
                jobs[place] = (member, X, arguments)
        method = "_fit_with_gaps" if rows.gaps else "fit"
        trained = fit_each(jobs, effective_n_threads(self.n_jobs), method) if jobs else []
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
        """How many numbers the members and the mixture have learnt."""
        check_is_fitted(self, "estimators_")
        free = len(self.weights_) - 1 if hasattr(self, "validation_curve_") else 0
        return free + sum(int(member.n_parameters_) for member in self.estimators_)

    def _rows(self, X: Any) -> _Rows:
        X = as_frame(X)
        return _Rows(X, read(self, X))

    def _scores(self, rows: _Rows) -> Array:
        """Return log p_k(x) (n, K)."""
        found = call_each(
            lambda _, member: member.score_samples(rows.known_to(member)),
            self.estimators_,
            effective_n_threads(self.n_jobs),
            len(rows),
        )
        return np.stack(found, axis=1).astype(np.float64, copy=False)

    def _log_joint(self, X: Any) -> Array:
        """Return log w_k + log p_k(x) (n, K)."""
        check_is_fitted(self, "estimators_")
        return self._scores(self._rows(X)) + _log(self.weights_)

    def score_samples(self, X: Any) -> Array:
        """Return log p(x) of each row.

        Parameters
        ----------
        X : array-like, DataFrame or CSR matrix of shape (n, D)

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
        total: Array = logsumexp(self._log_joint(X), axis=1)
        return total

    def score(self, X: Any, y: Any = None, *, sample_weight: Any = None) -> float:
        """Return the mean log p(x) in nats.

        Parameters
        ----------
        X : array-like, DataFrame or CSR matrix of shape (n, D)
        y : ignored
        sample_weight : array-like of shape (n,), optional

        Returns
        -------
        float
        """
        scores = self.score_samples(X)
        return float(np.average(scores, weights=check_weight(sample_weight, len(scores))))

    def responsibilities(self, X: Any) -> Array:
        r"""Return the posterior probability of each member given each row.

        .. math::
            p(k \mid x) = w_k \, p_k(x) \, / \, p(x)

        Parameters
        ----------
        X : array-like, DataFrame or CSR matrix of shape (n, D)

        Returns
        -------
        ndarray of shape (n, n_members), float64
            Rows sum to one. A row that no member makes possible tells the members not apart, and
            gets `weights_`.
        """
        joint = self._log_joint(X)
        total = logsumexp(joint, axis=1, keepdims=True)
        possible = np.isfinite(total)
        posterior: Array = np.exp(joint - np.where(possible, total, 0))
        return np.where(possible, posterior, self.weights_)

    def score_features(self, X: Any) -> Array:
        """Return log p(x_d | those before it), whose rows sum to `score_samples`.

        For members with one order of the columns alone: p(x_d | x_<d) of a mixture is
        p(x_1 .. x_d) / p(x_1 .. x_d-1), each a weighted sum over the members.

        Parameters
        ----------
        X : array-like, DataFrame or CSR matrix of shape (n, D)

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
        orders = {tuple(model.order_.tolist()) for _, model in models}
        if len(orders) > 1:
            raise ValueError(
                "score_features must be given a mixture whose members have one order of the "
                "columns: p(x_d | those before it) is a ratio of two probabilities, of which "
                f"members of other orders have no closed form. Got {len(orders)} orders instead."
            )
        rows, n_threads = self._rows(X), effective_n_threads(self.n_jobs)
        order = np.array(orders.pop())
        prefix = np.full((len(rows), len(order) + 1), -np.inf)  # log p(x_1 .. x_d)
        for weight, model in models:
            terms = on_threads(model, n_threads).score_features(rows.known_to(model))
            prefix[:, 0] = np.logaddexp(prefix[:, 0], np.log(weight))
            member_prefix = np.log(weight) + np.cumsum(terms[:, order], axis=1)
            np.logaddexp(prefix[:, 1:], member_prefix, out=prefix[:, 1:])
        scores = np.empty((len(rows), len(order)))
        scores[:, order] = np.diff(prefix, axis=1)
        return scores

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
                    f"{purpose} needs members that are models of this library. "
                    f"Got a {type(member).__name__} instead."
                )
        return [pair for pair in found if pair[0] > 0]

    # ---- marginals, samples and completions

    def _known_values(self, models: list[tuple[float, AutoregressiveDensity]], X: Any) -> Array:
        """Return X as numbers, NaN where missing, whose categories all models take."""
        table = read_numbers(self, X, gaps=True)
        for _, model in models:
            check_known(model.distribution_, table, model.order_)
        return dense(table)

    def log_marginal(self, X: Any, *, n_particles: int = 64, random_state: Any = None) -> Array:
        """Return log p(x_known) of each row: its missing values (NaN) are integrated out.

        The mixture of what its members say, each of which may be an estimate: see theirs.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n, D)
        n_particles : int, default=64
            Samples of each member for each row.
        random_state : int, RandomState instance or None

        Returns
        -------
        ndarray of shape (n,), float64
            Nats.
        """
        models = self._models("log_marginal")
        n_particles = check_count("n_particles", n_particles)
        X = self._known_values(models, X)
        values, held = _checked_evidence(models, X, len(X), "X")
        rng, n_threads = generator(random_state), effective_n_threads(self.n_jobs)
        parts = [
            np.log(weight)
            + marginals(model._model(), values, ~held, n_particles, rng, n_threads)[0]
            for weight, model in models
        ]
        total: Array = logsumexp(parts, axis=0)
        return total

    def sample(
        self,
        n_samples: int = 1,
        *,
        evidence: Any = None,
        temperature: float = 1.0,
        random_state: Any = None,
    ) -> Any:
        """Draw rows, each by a member that is drawn by weight.

        Parameters
        ----------
        n_samples : int, default=1
        evidence : array-like of shape (D,) or (n_samples, D), optional
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
            Of the type that `fit` was given; the members' rows in random order.

        Raises
        ------
        NotFittedError, ValueError
            The mixture is not fitted; an argument breaks a rule that the message names.
        TypeError
            There is evidence, and a member is not a model of this library.
        """
        check_is_fitted(self, "estimators_")
        n_samples = check_count("n_samples", n_samples)
        temperature = check_temperature(temperature)
        rng = generator(random_state)
        if evidence is None:
            return self._container.wrap(self._draw(n_samples, temperature, rng))
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
        )
        if not exact:
            warn_of_few(ess, number * len(models))
        return self._container.wrap(completed[0])

    def _draw(self, n: int, temperature: float, rng: np.random.Generator) -> Array:
        """Return n values (n, D)."""
        K = len(self.weights_)
        chosen = rng.choice(K, size=n, p=self.weights_)
        counts, seeds = np.bincount(chosen, minlength=K), rng.integers(2**31, size=K)
        # members of other libraries know no temperature
        arguments = {} if temperature == 1 else {"temperature": temperature}

        def draw(place: int, member: Any) -> Array | None:
            if counts[place] == 0:
                return None
            seed = int(seeds[place])
            drawn = member.sample(int(counts[place]), random_state=seed, **arguments)
            if isinstance(self._container, Schema) and frame_kind(drawn) is not None:
                return self._container.read(drawn, "a member's sample")[:]
            table = check_array(drawn, accept_sparse="csr", ensure_all_finite=False)
            return dense(self._container.to_numbers(table))

        drawn = call_each(draw, self.estimators_, effective_n_threads(self.n_jobs), n)
        by_member = np.concatenate([values for values in drawn if values is not None])
        values = np.empty_like(by_member)
        values[np.argsort(chosen, kind="stable")] = by_member
        return values

    def impute(
        self, X: Any, *, n_draws: int = 1, n_particles: int = 16, random_state: Any = None
    ) -> Any:
        """Return X with each missing value (NaN) drawn given the values that are there.

        A completion is drawn from the posterior over members and completions. Each member completes
        a row `n_particles` times along its own order; all these samples are resampled together, in
        proportion to the member's weight times the probability that it gives to the row's evidence
        (sampling importance resampling [1]_). This is exact where the evidence comes first in the
        orders of all members; `impute_ess_` tells each row's effective number of samples.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n, D)
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
        n_draws = check_count("n_draws", n_draws)
        n_particles = check_count("n_particles", n_particles)
        given, X = X, self._known_values(models, X)
        values, held = _checked_evidence(models, X, len(X), "X")
        completed, self.impute_ess_ = self._complete(
            models, values, ~held, n_draws, n_particles, generator(random_state)
        )
        if n_draws > 1:
            return completed
        kept = np.broadcast_to(held, completed[0].shape)
        return table_like(given, self._container, completed[0], kept)

    def _complete(
        self,
        models: list[tuple[float, AutoregressiveDensity]],
        X: Array,
        missing: Array,
        n_draws: int,
        n_particles: int,
        rng: np.random.Generator,
        temperature: float = 1.0,
    ) -> tuple[Array, Array]:
        """Return completions (n_draws, n, D) of X where `missing`, and effective sample sizes (n,).

        A sample's weight is log w_k + log p_k(evidence), the latter as its member estimates it: so
        each member's samples weigh together, on average, as much as its posterior probability.
        """
        n_threads = effective_n_threads(self.n_jobs)

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
                    ),
                )
                for weight, model in models
            ]

        return impute(propose, X, missing, n_draws, rng, n_particles * len(models))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted mixture to a file that holds no code; `fastar.load` reads it.

        Parameters
        ----------
        path : str or path
            Written beside it and renamed, so that a crash leaves no half a mixture.

        Raises
        ------
        NotFittedError, ValueError
            The mixture is not fitted; a member is not a model of this library.
        """
        from fastar.persistence import save

        save(self, path)

    def __sklearn_tags__(self) -> Any:
        """Return scikit-learn's tags: sparse input is welcome where all members take it."""
        tags = super().__sklearn_tags__()
        found = self.estimator if isinstance(self.estimator, list | tuple) else [self.estimator]
        # what is no estimator is for `fit` to refuse
        members = [member for member in found if isinstance(member, BaseEstimator)]
        tags.input_tags.sparse = all(get_tags(member).input_tags.sparse for member in members)
        return tags


class _Rows:
    """A table as the user gave it, whose columns may have names, and as the array in it.

    gaps: whether NaN in an array stands for a value that is missing.
    """

    def __init__(self, given: Any, checked: Any, gaps: bool = False) -> None:
        self.given, self.checked, self.gaps = given, checked, gaps

    def __len__(self) -> int:
        return int(self.checked.shape[0])

    def as_known(self, named: bool) -> Any:
        """Return the table for an estimator that knows names of the columns, or does not."""
        return self.given if named else self.checked

    def known_to(self, member: Any) -> Any:
        """Return the table for a fitted estimator."""
        return self.as_known(hasattr(member, "feature_names_in_"))

    def take(self, which: Array) -> _Rows:
        """Return some of the rows."""
        checked = self.checked[which]
        framed = hasattr(self.given, "columns")
        return _Rows(_safe_indexing(self.given, which) if framed else checked, checked)


def _fit_arguments(
    member: Any, rows: _Rows, sample_weight: Array | None, held: Array, named: bool
) -> tuple[Any, dict[str, Any]]:
    """Return X and keyword arguments of `fit` for a member that is not to see the rows `held`."""
    if sample_weight is not None and not has_fit_parameter(member, "sample_weight"):
        raise ValueError(
            "sample_weight must be None for members whose fit has no sample_weight, such as "
            f"{type(member).__name__}. Got weights instead."
        )
    if len(held) and isinstance(member, AutoregressiveDensity | Mixture):
        # A weight of zero leaves the row in X, so that a level seen in it alone is no level that
        # the member does not know.
        sample_weight = np.ones(len(rows)) if sample_weight is None else sample_weight.copy()
        sample_weight[held] = 0
    elif len(held):
        seen = np.setdiff1d(np.arange(len(rows)), held)
        rows = rows.take(seen)
        sample_weight = None if sample_weight is None else sample_weight[seen]
    return rows.as_known(named), {} if sample_weight is None else {"sample_weight": sample_weight}


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
