"""Classifiers and regressors that predict one column of a density of whole rows."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, clone
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import HasMethods, Interval
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d

from fastar._core.integers import Offsets
from fastar._core.parameters import Array
from fastar._core.random import set_random_states
from fastar._core.validation import check_finite, unchanged_on_error
from fastar._data.column_values import has_categories
from fastar._data.containers import Container
from fastar._data.evidence import column_names, find_column
from fastar._data.frame_types import as_frame, frame_kind
from fastar._data.frames import Schema
from fastar._data.labels import check_labels
from fastar._data.reading import dense, read
from fastar._data.roles import Roles
from fastar._data.streams import Stream, is_stream
from fastar.conditionals import Categorical, GaussianMixture
from fastar.conditionals._auto import asked_of_columns
from fastar.models import NADE
from fastar.models._fitting import mark_missing
from fastar.models._questions import AnswersQuestions
from fastar.models._streamed_answers import answer_streamed, is_batched
from fastar.tools._streamed import check_reads_batches, new_name, with_column

__all__ = ["ColumnClassifier", "ColumnRegressor", "as_classifier", "as_regressor"]


class _ColumnPredictor(BaseEstimator):  # type: ignore[misc]
    """Base of what predicts the column `target_` of `density_` from the others."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "density": [HasMethods(["fit"]), None],
        "n_particles": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
    }

    density_: Any
    target_: Any
    _container: Container | Schema

    def __init__(
        self, density: Any = None, *, n_particles: int = 256, random_state: Any = None
    ) -> None:
        self.density = density
        self.n_particles = n_particles
        self.random_state = random_state

    _conditional: ClassVar[Any]
    """The conditional of the column of y, where the density leaves the choice open."""

    def _fit(self, X: Any, numbers: Array) -> None:
        """Fit a clone of the density to the rows with y, as numbers, for a last column."""
        X = as_frame(X)
        table = read(self, X, reset=True, gaps=True)
        if len(numbers) != table.shape[0]:
            raise ValueError(
                f"y must have an entry for each of {table.shape[0]} rows of X. "
                f"Got {len(numbers)} instead."
            )
        density, D = self._unfitted(), table.shape[1]
        if frame_kind(X) is None:
            joined, self.target_ = np.column_stack([dense(table), numbers]), D
        else:
            self.target_ = new_name(list(X.columns))
            joined = with_column(X, self.target_, numbers)
        is_category = [has_categories(self._container, d) for d in range(D)]
        self._choose_conditionals(density, is_category, D)
        self.density_ = density.fit(joined)

    def _fit_streamed(self, X: Any, target: Any) -> None:
        """Fit a clone of the density to a table that is read batch by batch."""
        stream = Stream.of(X)
        names = stream.names()
        if not isinstance(target, str | Integral) or target not in names:
            raise ValueError(
                "y must name a column of X where X is read batch by batch. "
                f"Got {target!r:.80} instead, and columns {', '.join(map(repr, names[:10]))}."
            )
        density = self._unfitted()
        check_reads_batches(density, self)
        self.target_ = target
        self._choose_conditionals(density, [False] * (len(names) - 1), names.index(target))
        self._adopt(density.fit(stream), target)

    def _unfitted(self) -> Any:
        """Return the density to be fitted."""
        given = NADE() if self.density is None else self.density
        if not isinstance(given, AnswersQuestions):
            raise ValueError(
                f"The 'density' of {type(self).__name__} must be a model of rows of this library. "
                f"Got {type(given).__name__} instead."
            )
        density: Any = clone(given)
        set_random_states(density, check_random_state(self.random_state))
        mark_missing(density)
        return density

    def _choose_conditionals(self, density: Any, is_category: list[bool], place: int) -> None:
        """Give the target, in this place, its conditional beside those of the other columns."""
        parameters = density.get_params()
        for name in parameters:
            if name.rpartition("__")[2] == "distribution":
                chosen = self._with_target(parameters[name], is_category, place)
                density.set_params(**{name: chosen})

    def _with_target(self, given: Any, is_category: list[bool], place: int) -> Any:
        """Return the conditionals of the other columns and the target."""
        if isinstance(given, dict):
            return {**given, self.target_: self._conditional}
        if isinstance(given, str) and given == "auto":
            return {self.target_: self._conditional}
        listed = asked_of_columns(given, range(len(is_category)), is_category)
        return [*listed[:place], self._conditional, *listed[place:]]

    def _adopt(self, density: Any, target: Any) -> Self:
        """Take a fitted density as it is, to predict its column `target`."""
        place, names = find_column(density, target), column_names(density)
        self.density_, self.target_ = density, names[place]
        self.n_features_in_ = density.n_features_in_ - 1
        if hasattr(density, "feature_names_in_"):
            self.feature_names_in_ = np.delete(density.feature_names_in_, place)
        container = density._container
        if isinstance(container, Schema):
            others = (each for c, each in enumerate(container.columns) if c != place)
            self._container = Schema(container.kind, tuple(others))
        else:
            offsets: Offsets = container.offsets
            if offsets is not None:
                offsets = [*offsets[:place], *offsets[place + 1 :]]
            self._container = Container(container.kind, container.dtype, None, offsets)
        return self

    def _answered(
        self, X: Any, out: Any, columns: str | list[str], answer: Callable[[Any], Array]
    ) -> Any:
        """Return what `answer` says of rows, or write it to a file."""
        check_is_fitted(self, "density_")
        if not is_batched(X, out):
            return answer(X)
        in_frame = isinstance(self._container, Schema)
        roles = Roles(ignored=(self.target_,) if in_frame else ())
        return answer_streamed(self, X, out, columns, answer, roles)

    def _rows(self, X: Any) -> dict[str, Any]:
        """Return what a question is given: X without the target, which it may have."""
        check_is_fitted(self, "density_")
        X, D = as_frame(X), self.n_features_in_ + 1
        if frame_kind(X) is not None and self.target_ in X.columns:
            X = X[[each for each in X.columns if each != self.target_]]
        elif self.density is self.density_ and np.shape(X)[1:] == (D,):
            X = np.delete(np.asarray(X), find_column(self.density_, self.target_), axis=1)
        table = read(self, X, gaps=True)
        return {
            "X": X if frame_kind(X) is not None else dense(table),
            "target": self.target_,
            "n_particles": self.n_particles,
            "random_state": 0,
        }

    def __sklearn_tags__(self) -> Any:
        """Return scikit-learn's tags: missing values are welcome."""
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


class ColumnClassifier(ClassifierMixin, _ColumnPredictor):  # type: ignore[misc]
    """Classifier by one density of whole rows, whose last column is the label.

    p(y | x) is p(x, y) over its sum over the labels: exact where x is whole, and by particles where
    cells are missing. `as_classifier` makes one from a density that is fitted already.

    Parameters
    ----------
    density : model of rows, mixture of them, or None, default=None
        `NADE()` by default; it is cloned, and gets a `random_state` where it has None.
    n_particles : int, default=256
        Samples of what is missing in a row.
    random_state : int, RandomState instance or None, default=None

    Attributes
    ----------
    classes_ : array (K,)
    density_ : fitted density
    target_ : str or int
        The column of `density_` that is predicted.
    n_features_in_, feature_names_in_ : as in scikit-learn

    Examples
    --------
    >>> import numpy as np
    >>> from fastar import NADE, as_classifier
    >>> x = np.random.default_rng(0).integers(0, 2, (500, 2))
    >>> X = np.column_stack([x, x[:, 0] ^ x[:, 1]])
    >>> density = NADE(n_hidden=16, learning_rate_init=0.05, random_state=0).fit(X)
    >>> classifier = as_classifier(density, 2)
    >>> classifier.predict([[0, 1], [1, 1]]).tolist()
    [1, 0]
    """

    _conditional = Categorical("error")

    def fit(self, X: Any, y: Any) -> Self:
        """Fit the density of the rows and their labels.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n, D), or table read batch by batch
            NaN (None in a DataFrame) where a value is missing. What is read batch by batch, as by
            `fit` of the models of rows, has the labels among its columns.
        y : array-like of shape (n,); str or int where X is read batch by batch
            The labels, or the name of their column.

        Returns
        -------
        self
        """
        self._validate_params()
        with unchanged_on_error(self):
            if is_stream(X):
                self._fit_streamed(X, y)
                self.classes_ = self.density_.levels(y)
                return self
            y = column_or_1d(check_labels(y), warn=True)
            check_classification_targets(y)
            self.classes_, numbers = np.unique(y, return_inverse=True)
            self._fit(X, numbers)
        return self

    def predict_proba(self, X: Any, *, out: Any = None) -> Any:
        """Return p(y | x) (n, K), classes in the order of `classes_`.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n, D), or table read batch by batch
        out : path, optional
            A Parquet file to which they are written, a column a class.

        Returns
        -------
        ndarray of shape (n, K), float64; None with `out`
        """
        check_is_fitted(self, "density_")
        return self._answered(X, out, [*map(str, self.classes_.tolist())], self._probability)

    def _probability(self, X: Any) -> Array:
        asked = self._rows(X)
        probability: Array = self.density_.predict_proba(**asked)
        return probability

    def predict(self, X: Any, *, out: Any = None) -> Any:
        """Return each row's most probable class.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n, D), or table read batch by batch
        out : path, optional
            A Parquet file to which they are written, as column `prediction`.

        Returns
        -------
        ndarray of shape (n,); None with `out`
        """
        return self._answered(
            X, out, "prediction", lambda X: self.classes_[self._probability(X).argmax(axis=1)]
        )


class ColumnRegressor(RegressorMixin, _ColumnPredictor):  # type: ignore[misc]
    """Regressor by one density of whole rows, whose last column is the answer.

    `as_regressor` makes one from a density that is fitted already.

    Parameters
    ----------
    density : model of rows, mixture of them, or None, default=None
        As in `ColumnClassifier`.
    n_particles : int, default=256
        Points of a row's answer, and samples of what is missing in it.
    random_state : int, RandomState instance or None, default=None

    Attributes
    ----------
    density_, target_, n_features_in_, feature_names_in_ : as in `ColumnClassifier`

    Examples
    --------
    >>> import numpy as np
    >>> from fastar import NADE, as_regressor
    >>> x = np.random.default_rng(0).normal(size=(1000, 1))
    >>> density = NADE(activation="tanh", n_hidden=20, learning_rate_init=0.01, random_state=0)
    >>> regressor = as_regressor(density.fit(np.hstack([x, 2 * x + 1])), 1)
    >>> bool(abs(regressor.predict([[0.5]])[0] - 2) < 0.3)
    True
    """

    _conditional = GaussianMixture()

    def fit(self, X: Any, y: Any) -> Self:
        """Fit the density of the rows and their answers.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n, D), or table read batch by batch
            NaN (None in a DataFrame) where a value is missing. What is read batch by batch, as by
            `fit` of the models of rows, has the answers among its columns.
        y : array-like of shape (n,); str or int where X is read batch by batch
            The answers, or the name of their column.

        Returns
        -------
        self
        """
        self._validate_params()
        with unchanged_on_error(self):
            if is_stream(X):
                self._fit_streamed(X, y)
                return self
            y = column_or_1d(y, dtype=np.float64, warn=True)
            check_finite(y, "y")
            self._fit(X, y)
        return self

    def predict(self, X: Any, *, kind: str = "mean", quantile: float = 0.5, out: Any = None) -> Any:
        """Return each row's expected answer, or its median or another quantile.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n, D), or table read batch by batch
        kind : {"mean", "median", "quantile"}, default="mean"
        quantile : float, default=0.5
        out : path, optional
            A Parquet file to which they are written, as column `prediction`.

        Returns
        -------
        ndarray of shape (n,); None with `out`
        """

        def answer(X: Any) -> Array:
            asked = self._rows(X)
            found: Array = self.density_.predict(**asked, kind=kind, quantile=quantile)
            return found

        return self._answered(X, out, "prediction", answer)


def as_classifier(density: Any, target: Any, *, n_particles: int = 256) -> ColumnClassifier:
    """Return a fitted classifier that predicts a column of a fitted density from the others.

    Parameters
    ----------
    density : fitted model of rows, or mixture of them
        It stays as it is; it is not trained again.
    target : str or int
        The name of a column that has levels, or its place where columns have no names.
    n_particles : int, default=256
        Samples of what is missing in a row.

    Returns
    -------
    ColumnClassifier
        Its X has the other columns; the target, if it is there, is ignored.
    """
    _check_density(density, "as_classifier")
    classifier = ColumnClassifier(density, n_particles=n_particles)
    classifier.classes_ = density.levels(target)
    return classifier._adopt(density, target)


def as_regressor(density: Any, target: Any, *, n_particles: int = 256) -> ColumnRegressor:
    """Return a fitted regressor that predicts a column of a fitted density from the others.

    Parameters
    ----------
    density : fitted model of rows, or mixture of them
        It stays as it is; it is not trained again.
    target : str or int
        The name of a column of numbers, or its place where columns have no names.
    n_particles : int, default=256
        Points of a row's answer, and samples of what is missing in it.

    Returns
    -------
    ColumnRegressor
        Its X has the other columns; the target, if it is there, is ignored.
    """
    _check_density(density, "as_regressor")
    return ColumnRegressor(density, n_particles=n_particles)._adopt(density, target)


def _check_density(density: Any, name: str) -> None:
    if not isinstance(density, AnswersQuestions):
        raise TypeError(
            f"{name} needs a model of rows of this library, or a mixture of them. "
            f"Got a {type(density).__name__} instead."
        )
    check_is_fitted(density, "n_features_in_")
