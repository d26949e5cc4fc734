"""Mixtures of density estimators that are trained apart from each other."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator as AnyEstimator
from sklearn.base import MetaEstimatorMixin, clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from sklearn.utils import check_random_state, get_tags
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import _check_feature_names, _check_n_features

from fastar._core.estimators import BaseEstimator, DensityMixin
from fastar._core.limits import MOST_MEMBERS
from fastar._core.parameters import Array
from fastar._core.random import set_random_states
from fastar._core.schema import inside, require
from fastar._core.threads import effective_n_threads
from fastar._core.validation import check_weight, unchanged_on_error, unwrap_frozen
from fastar._data.evidence import column_names
from fastar._data.frame_types import as_frame
from fastar._data.reading import read
from fastar._data.streams import Stream, is_stream, rows_told
from fastar.models._base import FitData
from fastar.models._em import best_weights
from fastar.models._fitted_mixture import FittedMixture
from fastar.models._mixture_file import MixtureFile
from fastar.models._parallel import fit_each
from fastar.models._rows import Rows, held_out, member_arguments
from fastar.models._streamed import adopt_table, batches, roles_held_out
from fastar.persistence import FrozenMembers, from_template, template

_DEFAULT_MEMBERS = 8


class Mixture(FittedMixture, MixtureFile, MetaEstimatorMixin, DensityMixin, BaseEstimator):  # type: ignore[misc]
    r"""Mixture of density estimators that are trained independently of each other.

    .. math::
        p(x) = \sum_k w_k \, p_k(x), \quad w_k \ge 0, \quad \sum_k w_k = 1

    The density is exact and normalised. As the logarithm is concave, log p(x) of a row is at least
    the weighted mean of the members' log p_k(x). Members that see the columns in different orders
    make an ensemble of orders [1]_: ``Mixture(NADE(order="random"), n_members=8)``.

    Parameters
    ----------
    estimator : density estimator, or list of them
        A single estimator is cloned `n_members` times; the `random_state` of each clone is drawn
        from that of the mixture. Each estimator of a list is cloned once, and its `random_state` is
        drawn only where it is None. Fitted estimators are cloned and fitted again, unless they are
        wrapped in scikit-learn's ``FrozenEstimator``: these members stay as they are.
    n_members : int or None, default=None
        Clones of a single estimator; None: 8, or the length of the list.
    weights : {"equal", "em"} or array-like of shape (n_members,), default="equal"
        "em" finds, by expectation maximisation [2]_, the weights with the largest log-likelihood of
        rows that no member was trained on: X_val, rows held out from X, or all of X if all members
        are frozen. An array is divided by its sum.
    validation_fraction : float, default=0.1
        Share of the rows that "em" holds out from all members when `fit` gets no X_val. Members
        hold out rows for early stopping from the rest.
    random_state : int, RandomState instance or None, default=None
    n_jobs : int or None, default=None
        Threads, divided among the members; None and -1: all cores that this process may use. The
        results are the same for any number. It overrides the `n_jobs` of members, but not that of
        estimators inside of members, such as the steps of a pipeline, in scoring and sampling.

    Attributes
    ----------
    estimators_ : list
        The fitted members.
    weights_ : array (n_members,), float64
    schema_ : list of dict
        Decisions of `fit` on each column, where all members decided the same.
    n_parameters_ : int
        Parameters of all members, and the free weights of "em".
    validation_curve_ : list of float
        With "em": mean negative log-likelihood in nats of the held-out rows, an entry an iteration;
        the first is for equal weights.
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

    _fits_streams = True

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
        X : array-like, DataFrame, CSR matrix of shape (n, D), or table read batch by batch
            As in the models of rows, which all members then are; each reads it for itself.
        y : ignored
        context : array-like or DataFrame of shape (n, C), optional
            Context of each row; every member sees it.
        sample_weight : array-like of shape (n,), optional
            A row of weight 2 counts like two rows.
            Where X is read batch by batch, this and `context` are names of its columns.
        X_val : array-like of shape (m, D), or table read batch by batch, optional
            Rows for the members' early stopping, and for the weights if these are "em", which
            needs them where X is read batch by batch.
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
        if is_stream(data.X):
            self._fit_streamed(data, rng)
            return
        X = as_frame(data.X)
        rows = Rows(X, read(self, X, reset=True), data.context)
        rows_val = None if data.X_val is None else self._rows(data.X_val, data.context_val)
        weight = check_weight(data.sample_weight, len(rows))
        members = self._unfitted_members(rng)
        weights = self._given_weights(len(members))
        held = np.empty(0, np.intp)
        judges, judges_weight = rows, weight  # for "em": rows that no member is trained on
        if rows_val is not None:
            judges, judges_weight = rows_val, np.ones(len(rows_val))
        elif weights is None and not all(isinstance(one, FrozenEstimator) for one in members):
            held = held_out(weight, self.validation_fraction, rng, "weights='em'")
            judges, judges_weight = rows.take(held), weight[held]
        sample_weight = None if data.sample_weight is None else weight
        named = hasattr(self, "feature_names_in_")
        jobs = {}
        for place, member in enumerate(members):
            if isinstance(member, FrozenEstimator):
                self._check_frozen(member, rows)
                continue
            arguments = member_arguments(member, rows, sample_weight, rows_val, held, named)
            jobs[place] = (member, *arguments)
        kept = self._train(members, jobs)
        self._set_weights(weights, kept, lambda: (self._scores(judges), judges_weight))

    def _fit_streamed(self, data: FitData, rng: np.random.RandomState) -> None:
        """Fit to a table that is read batch by batch, by each member for itself."""
        members = self._unfitted_members(rng)
        weights = self._given_weights(len(members))
        given = {key: value for key, value in vars(data).items() if key != "X"}
        given = {key: value for key, value in given.items() if value is not None}
        jobs = {}
        for place, member in enumerate(members):
            if not getattr(unwrap_frozen(member), "_fits_streams", False):
                raise ValueError(
                    "The members of a Mixture must be models of rows where X is read batch by "
                    f"batch. Got {type(unwrap_frozen(member)).__name__} in place {place} instead."
                )
            if not isinstance(member, FrozenEstimator):
                jobs[place] = (member, data.X, given)
        if weights is None and data.X_val is None:
            raise ValueError(
                "weights='em' must have X_val where X is read batch by batch. Got none."
            )
        kept = self._train(members, jobs)
        trained = next((place for place in kept if place in jobs), 0)
        self._check_columns(unwrap_frozen(members[trained]))
        adopt_table(self, unwrap_frozen(members[trained]))

        def judged() -> tuple[Array, Array]:
            scores = self._scores_streamed(data)
            return scores, np.ones(len(scores))

        self._set_weights(weights, kept, judged)

    def _set_weights(
        self, given: Array | None, kept: list[int], judged: Callable[[], tuple[Array, Array]]
    ) -> None:
        """Set the weights of the members kept to those given; None: to the best ones.

        judged: returns log p_k(x) (m, K) of rows that judge the members, and their weights (m,).
        """
        if given is None:
            self.weights_, self.validation_curve_ = best_weights(*judged())
        else:
            self.weights_ = given[kept] / given[kept].sum()

    def _check_columns(self, trained: Any) -> None:
        """Raise ValueError if some member has other columns than one that was trained."""
        for member in map(unwrap_frozen, self.estimators_):
            if column_names(member) != column_names(trained):
                raise ValueError(
                    f"Frozen members must have the columns of X, {column_names(trained)!r:.80}. "
                    f"Got one with {column_names(member)!r:.80}."
                )

    def _scores_streamed(self, data: FitData) -> Array:
        """Return log p_k(x) (m, K) of the rows of X_val."""
        if not is_stream(data.X_val):
            return self._scores(self._rows(data.X_val, data.context_val))
        stream, roles = Stream.of(data.X_val, "X_val"), roles_held_out(data)
        found = []
        for first, rows, context, _ in batches(self, stream, roles):
            with rows_told(stream.name, first):
                found.append(self._scores(self._rows(rows, context)))
        return np.concatenate(found)

    def _least_counts(self, names: list[Any]) -> dict[Any, int]:
        """Return how often a level must occur to be one of its own, if all members say the same."""
        listed = isinstance(self.estimator, list | tuple)
        members = map(unwrap_frozen, self.estimator if listed else [self.estimator])
        asked = (getattr(each, "_least_counts", None) for each in members)
        found = [{} if ask is None else ask(names) for ask in asked]
        return found[0] if all(each == found[0] for each in found) else {}

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

    def _train(self, members: list[Any], jobs: dict[int, Any]) -> list[int]:
        """Run the jobs, by the places of members; keep those fitted, and return their places."""
        trained = fit_each(jobs, effective_n_threads(self.n_jobs)) if jobs else []
        frozen = [place for place in range(len(members)) if place not in jobs]
        if len(trained) < len(jobs):
            warnings.warn(
                f"Training was interrupted; the mixture has the {len(frozen) + len(trained)} of "
                f"{len(members)} members that had begun.",
                ConvergenceWarning,
                stacklevel=4,
            )
        kept = sorted(frozen + trained)
        self.estimators_ = [members[place] for place in kept]
        self.__dict__.pop("validation_curve_", None)
        return kept

    def _check_frozen(self, member: FrozenEstimator, rows: Rows) -> None:
        member.fit(rows.checked, None)  # an unfitted one raises NotFittedError
        inside = unwrap_frozen(member)
        if hasattr(inside, "n_features_in_"):
            _check_n_features(inside, rows.checked, reset=False)
        if hasattr(inside, "feature_names_in_") and hasattr(self, "feature_names_in_"):
            _check_feature_names(inside, rows.given, reset=False)

    def __sklearn_tags__(self) -> Any:
        """Return scikit-learn's tags: sparse input is welcome where all members take it."""
        tags = super().__sklearn_tags__()
        found = self.estimator if isinstance(self.estimator, list | tuple) else [self.estimator]
        # what is no estimator is for `fit` to refuse
        members = [member for member in found if isinstance(member, AnyEstimator)]
        tags.input_tags.sparse = all(get_tags(member).input_tags.sparse for member in members)
        tags.input_tags.allow_nan = self._marks_missing
        return tags

    @property
    def _marks_missing(self) -> bool:
        """Whether NaN in an array is a missing value to every member."""
        found = self.estimator if isinstance(self.estimator, list | tuple) else [self.estimator]
        return all(getattr(unwrap_frozen(each), "_marks_missing", False) for each in found)

    # ---- files

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
