"""Classification by densities: p(y given x) by Bayes' rule from p(x given y)."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from scipy import sparse
from sklearn.base import ClassifierMixin, clone
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing, check_random_state
from sklearn.utils._param_validation import HasMethods, Interval
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d, has_fit_parameter

from fastar._core.estimators import BaseEstimator
from fastar._core.parameters import Array
from fastar._core.random import generator, set_random_states
from fastar._core.schema import OBJECT, SMALLEST, ArrayOf, Listed, Number, Record, Rule, require
from fastar._core.validation import check_weight, mean_score, unchanged_on_error
from fastar._data.columns import Columns
from fastar._data.frame_types import as_frame, frame_kind
from fastar._data.labels import check_labels
from fastar._data.reading import dense, read
from fastar.models import NADE
from fastar.models._fitting import fit_clone
from fastar.tools._persistent import PersistentTool

__all__ = ["GenerativeClassifier"]


class GenerativeClassifier(PersistentTool, ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    r"""Classifier by Bayes' rule, with a density for each class.

    .. math::
        p(y \mid x) = \frac{p(y) \, p(x \mid y)}{\sum_{y'} p(y') \, p(x \mid y')}

    with the frequencies of the classes as p(y). A row with missing values has the marginal
    p(x_known | y) and needs no imputation. Since p(x) is known too, `abstains` finds rows that are
    improbable in every class.

    Parameters
    ----------
    density : density estimator or None, default=None
        For p(x | y); by default `NADE()`. A clone is fitted; its `random_state` is set if None.
    shared : bool, default=False
        Whether one density with the class as its context serves all classes, or each class has one
        of its own. One learns what classes have in common, which pays where they have few rows.
    abstention : float, default=0
        Share of fresh rows like those of `fit` on which `abstains` is true.
    calibration_fraction : float, default=0.1
        Share of the rows that is kept from the densities to find `threshold_`, if there is
        abstention.
    n_particles : int, default=64
        Samples a row with missing values and class, see `log_marginal` of the density.
    random_state : int, RandomState instance or None, default=None
        Decides on the densities, the rows for calibration and the samples for missing values.

    Attributes
    ----------
    classes_ : array (K,)
    class_prior_ : array (K,)
        p(y).
    densities_ : list of fitted estimators
        One a class, or one for all.
    threshold_ : float
        `abstains` is true where `score_samples` is below it.
    n_features_in_, feature_names_in_ : as in scikit-learn

    References
    ----------
    .. [1] A. Y. Ng, M. I. Jordan, "On discriminative vs. generative classifiers: a comparison of
       logistic regression and naive Bayes", NIPS 2001.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_digits
    >>> from fastar import NADE, GenerativeClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> X = (X > 7).astype(np.uint8)
    >>> density = NADE(n_hidden=50, max_iter=20, learning_rate="linear", random_state=0)
    >>> classifier = GenerativeClassifier(density, random_state=0).fit(X[:1500], y[:1500])
    >>> bool(classifier.score(X[1500:], y[1500:]) > 0.8)
    True
    >>> half = X[1500:1600].astype(float)
    >>> half[:, :32] = np.nan
    >>> bool(classifier.score(half, y[1500:1600]) > 0.5)
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "density": [HasMethods(["fit", "score_samples"]), None],
        "shared": ["boolean"],
        "abstention": [Interval(Real, 0, 1, closed="left")],
        "calibration_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_particles": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        density: Any = None,
        *,
        shared: bool = False,
        abstention: float = 0.0,
        calibration_fraction: float = 0.1,
        n_particles: int = 64,
        random_state: Any = None,
    ) -> None:
        self.density = density
        self.shared = shared
        self.abstention = abstention
        self.calibration_fraction = calibration_fraction
        self.n_particles = n_particles
        self.random_state = random_state

    _densities = Record({"densities_": Listed(OBJECT)})
    _labels = Record({}, {"classes_": OBJECT})

    @classmethod
    def _learnt_rules(cls, n_features: int) -> dict[str, Rule | ArrayOf]:
        """Return what its own attributes may be in a file."""
        return {
            "classes_": ArrayOf("biuf", (None,)),
            "class_prior_": ArrayOf("f", (None,), SMALLEST, 1),
            "threshold_": Number(),
            "_feature_centre": ArrayOf("f", (n_features,)),
        }

    def _check_densities(self) -> None:
        """Raise EntryError where the densities are not those that the tool has."""
        K = len(self.classes_)
        rises = (self.classes_[1:] > self.classes_[:-1]).all()
        require("own.classes_", K > 0 and rises, "must be sorted and different.")
        sums = len(self.class_prior_) == K and np.isclose(self.class_prior_.sum(), 1)
        require("own.class_prior_", sums, f"must be {K} numbers that sum to 1.")
        n = 1 if self.shared else K
        require("densities.densities_", len(self.densities_) == n, f"must be {n}.")

    def fit(self, X: Any, y: Any, *, sample_weight: Any = None) -> Self:
        """Fit p(x | y) of every class.

        Parameters
        ----------
        X : array-like, DataFrame or CSR matrix of shape (n, D)
        y : array-like of shape (n,)
        sample_weight : array-like of shape (n,), optional

        Returns
        -------
        self

        Raises
        ------
        ValueError
            y has another length than X, or is continuous; the density refuses X.
        """
        self._validate_params()
        with unchanged_on_error(self):
            n = read(self, X, reset=True).shape[0]
            y = _classes(y, n)
            check_classification_targets(y)
            weight = check_weight(sample_weight, n)
            self.classes_, number = np.unique(y, return_inverse=True)
            mass = np.bincount(number, weight, len(self.classes_))
            if not mass.all():
                raise ValueError(
                    "sample_weight must leave every class some weight. "
                    f"Got none for {self.classes_[mass == 0].tolist()[0]!r}."
                )
            self.class_prior_ = mass / mass.sum()
            kept = self._kept(number)
            given = None if sample_weight is None else weight
            self._fit_densities(X, number, ~kept, given)
            self.threshold_, self._feature_centre = -np.inf, np.zeros(self.n_features_in_)
            if kept.any():
                self._feature_centre = self._usual_scores(X, kept)
                scores = self.score_samples(X)[kept]
                self.threshold_ = float(np.quantile(scores, self.abstention))
        return self

    def _usual_scores(self, X: Any, kept: Array) -> Array:
        """Return the mean (D,) of each column's terms of log p(x) over the rows kept.

        Each class weighs by its posterior. Zeros where the densities do not score features.
        """
        X = as_frame(X)
        X = read(self, X) if frame_kind(X) is None else X  # of a kind that has rows
        rows = _safe_indexing(X, np.flatnonzero(kept))
        posterior = self.predict_proba(rows)
        total = np.zeros(self.n_features_in_)
        try:
            for k in range(len(self.classes_)):
                density = self.densities_[0 if self.shared else k]
                arguments = {"context": _context(np.full(len(posterior), k))} if self.shared else {}
                terms = density.score_features(rows, **arguments)
                total += np.where(np.isfinite(terms), terms, 0).T @ posterior[:, k]
        except (AttributeError, ValueError):
            return np.zeros(self.n_features_in_)
        return total / len(posterior)

    def _kept(self, number: Array) -> Array:
        """Return which rows (n,) densities do not see: of each class a share."""
        kept = np.zeros(len(number), bool)
        if not self.abstention:
            return kept
        rng = generator(self.random_state)
        for k in range(len(self.classes_)):
            rows = rng.permutation(np.flatnonzero(number == k))
            share = int(np.ceil(self.calibration_fraction * len(rows)))
            kept[rows[: min(share, len(rows) - 1)]] = True
        if not kept.any():
            raise ValueError(
                "abstention must have rows that calibrate it beside one of each class. Got "
                f"n_samples={len(number)} of {len(self.classes_)} classes."
            )
        return kept

    def _fit_densities(
        self, X: Any, number: Array, seen: Array, sample_weight: Array | None
    ) -> None:
        density = clone(NADE() if self.density is None else self.density)
        if isinstance(density, Pipeline) and not self.shared:
            raise ValueError(
                "The 'density' of GenerativeClassifier must be no pipeline, whose steps would give "
                "each class densities in units of its own. Put the steps before the classifier: "
                "make_pipeline(..., GenerativeClassifier(...))."
            )
        set_random_states(density, check_random_state(self.random_state))
        if self.shared:
            if not has_fit_parameter(density, "context"):
                raise ValueError(
                    "The 'density' of GenerativeClassifier must have a fit that takes a context "
                    f"if shared=True. Got {type(density).__name__} instead; with shared=False each "
                    "class has a density of its own."
                )
            self.densities_ = [
                fit_clone(density, X, seen, sample_weight=sample_weight, context=_context(number))
            ]
            return
        # rows of no weight still tell levels and names, so that each knows what others have seen
        self.densities_ = [
            fit_clone(density, X, seen & (number == k), sample_weight=sample_weight)
            for k in range(len(self.classes_))
        ]

    def _joint(self, X: Any) -> Array:
        """Return log p(x, y) (n, K)."""
        check_is_fitted(self, "densities_")
        table = read(self, X, gaps=not sparse.issparse(X))
        n = table.shape[0]
        gaps = bool(table.missing.any()) if isinstance(table, Columns) else _has_nan(table)
        seed = int(generator(self.random_state).integers(2**31))
        joint = np.empty((n, len(self.classes_)))
        for k in range(len(self.classes_)):
            density = self.densities_[0 if self.shared else k]
            settings: dict[str, Any] = {}
            if self.shared:
                settings["context"] = _context(np.full(n, k))
            if gaps:
                # the same random numbers for every class, so that they tell none apart
                if not hasattr(density, "log_marginal"):
                    raise ValueError(
                        "X must have no missing values for a density without log_marginal, such "
                        f"as {type(density).__name__}. Got some instead."
                    )
                settings |= {"n_particles": self.n_particles, "random_state": seed}
                joint[:, k] = density.log_marginal(X, **settings)
            else:
                joint[:, k] = density.score_samples(X, **settings)
        joint += np.log(self.class_prior_)
        return joint

    def score_samples(self, X: Any) -> Array:
        """Return log p(x) = log sum_y p(y) p(x | y) of each row, in nats.

        Parameters
        ----------
        X : array-like, DataFrame or CSR matrix of shape (n, D)
            NaN (None in a DataFrame) where a value is missing; such values are integrated out.

        Returns
        -------
        ndarray of shape (n,), float64
        """
        total: Array = np.logaddexp.reduce(self._joint(X), axis=1)
        return total

    def predict_log_proba(self, X: Any) -> Array:
        """Return log p(y | x) (n, K), classes in the order of `classes_`.

        Parameters
        ----------
        X : array-like, DataFrame or CSR matrix of shape (n, D)
            As in `score_samples`. A row that no class makes possible gets p(y).

        Returns
        -------
        ndarray of shape (n, K), float64
        """
        joint = self._joint(X)
        possible = np.isfinite(joint).any(axis=1, keepdims=True)
        joint = np.where(possible, joint, np.log(self.class_prior_))
        posterior: Array = joint - np.logaddexp.reduce(joint, axis=1, keepdims=True)
        return posterior

    def predict_proba(self, X: Any) -> Array:
        """Return p(y | x) (n, K), classes in the order of `classes_`.

        Parameters
        ----------
        X : array-like, DataFrame or CSR matrix of shape (n, D)
            As in `score_samples`.

        Returns
        -------
        ndarray of shape (n, K), float64
        """
        return np.exp(self.predict_log_proba(X))

    def predict(self, X: Any) -> Array:
        """Return each row's most probable class.

        Parameters
        ----------
        X : array-like, DataFrame or CSR matrix of shape (n, D)
            As in `score_samples`.

        Returns
        -------
        ndarray of shape (n,)
        """
        best = self.predict_log_proba(X).argmax(axis=1)
        return np.asarray(self.classes_[best])

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the share of rows whose class `predict` finds.

        Parameters
        ----------
        X : array-like, DataFrame or CSR matrix of shape (n, D)
            As in `score_samples`.
        y : array-like of shape (n,)
        sample_weight : array-like of shape (n,), optional

        Returns
        -------
        float
        """
        predicted = self.predict(X)
        return mean_score(predicted == _classes(y, len(predicted)), sample_weight)

    def abstains(self, X: Any) -> Array:
        """Return where p(x) is so small that no class should be predicted.

        Parameters
        ----------
        X : array-like, DataFrame or CSR matrix of shape (n, D)
            A missing value counts as its column's term of log p(x) does on average over the rows
            kept for calibration, so that neither units nor the number of gaps decide.

        Returns
        -------
        bool ndarray of shape (n,)
        """
        table = read(self, X, gaps=not sparse.issparse(X))
        scores = self.score_samples(X)
        if isinstance(table, Columns) or _has_nan(table):
            missing = np.isnan(dense(table))
            scores = scores + np.where(missing, self._feature_centre, 0).sum(axis=1)
        below: Array = scores < self.threshold_
        return below

    def __sklearn_tags__(self) -> Any:
        """Return scikit-learn's tags: sparse input is welcome."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def _classes(y: Any, n: int) -> Array:
    """Return a class for each of n rows."""
    classes: Array = column_or_1d(check_labels(y), warn=True)
    if len(classes) != n:
        raise ValueError(
            f"y must have a class for each of {n} rows of X. Got {len(classes)} instead."
        )
    return classes


def _context(number: Array) -> Array:
    """Return classes by number as a context of categories (n, 1)."""
    return number.astype(object)[:, None]


def _has_nan(table: Any) -> bool:
    array = dense(table)
    return array.dtype.kind == "f" and bool(np.isnan(array).any())
