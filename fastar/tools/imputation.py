"""Missing values as a transformer: completions by a density of whole rows."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import OneToOneFeatureMixin, TransformerMixin, clone
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils._set_output import _get_output_config
from sklearn.utils.validation import check_is_fitted

from fastar._core.estimators import BaseEstimator
from fastar._core.parameters import Array
from fastar._core.random import set_random_states
from fastar._core.schema import OBJECT, ArrayOf, Record, Rule, Whole
from fastar._core.threads import effective_n_threads
from fastar._core.validation import unchanged_on_error
from fastar._data.columns import MANY_LEVELS
from fastar._data.frame_types import as_frame, frame_kind
from fastar._data.frames import Schema, to_library
from fastar._data.parquet import parquet_file
from fastar._data.reading import dense, read, table_like
from fastar._data.streams import Stream, is_stream
from fastar._data.summary import Summary
from fastar._data.table import Table
from fastar._engine.questions import ask, levels_of
from fastar.conditionals import Categorical, Conditional
from fastar.models import NADE
from fastar.models._fitted import BY_PARAMETER
from fastar.models._fitting import check_takes_rows, mark_missing
from fastar.models._streamed import adopt_table
from fastar.models._streamed_answers import answers
from fastar.tools._persistent import PersistentTool
from fastar.tools._streamed import check_reads_batches

__all__ = ["DensityImputer"]

_WHOLE = ("logistic_mixture", "poisson", "negative_binomial", "integer", "calendar")


class DensityImputer(PersistentTool, OneToOneFeatureMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Fill missing values by what a density of whole rows thinks of them.

    The density is fitted to the rows as they are: a missing value has no term in the likelihood and
    the features after it see that it is missing, which is right where what is missing depends on
    what is there alone (missing at random). A row's missing values are then drawn jointly, given
    all that is there.

    Parameters
    ----------
    density : density estimator or None, default=None
        By default a `NADE` with the columns that have gaps at the end of its order, so that the
        others are exact evidence. It is cloned, and gets a `random_state` where it has None.
        `DeepNADE` takes all that is there into account without sampling error.
    strategy : {"estimate", "draw"}, default="estimate"
        "estimate" takes of `n_draws` completions the mean of real columns, the median of dates and
        of whole numbers, unless `distribution` says that they are categorical, and the most
        probable value of categories and of 0 and 1, by the mean of its probabilities given the
        other cells of each completion: the best guess for each cell.
        "draw" takes one completion: rows as they might have been, whose spread and correlations
        are the data's.
    n_draws : int, default=25
        Completions of a row for "estimate".
    n_particles : int, default=64
        See `impute` of the density. More count what stands after a gap more exactly.
    random_state : int, RandomState instance or None, default=None
        Seed of the density and the draws. The same row gets the same values only in the same table.

    Attributes
    ----------
    density_ : fitted estimator
    n_features_in_, feature_names_in_ : as in scikit-learn

    Examples
    --------
    >>> import numpy as np
    >>> from fastar import NADE, DensityImputer
    >>> x = np.random.default_rng(0).normal(size=1000)
    >>> X = np.column_stack([x, 2 * x + 0.1])
    >>> X[::10, 1] = np.nan
    >>> density = NADE(n_hidden=20, activation="relu", learning_rate_init=0.01, random_state=0)
    >>> filled = DensityImputer(density, random_state=0).fit_transform(X)
    >>> bool(np.abs(filled[::10, 1] - 2 * x[::10] - 0.1).max() < 0.5)
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "density": [HasMethods(["fit"]), None],
        "strategy": [StrOptions({"estimate", "draw"})],
        "n_draws": [Interval(Integral, 1, None, closed="left")],
        "n_particles": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        density: Any = None,
        *,
        strategy: str = "estimate",
        n_draws: int = 25,
        n_particles: int = 64,
        random_state: Any = None,
    ) -> None:
        self.density = density
        self.strategy = strategy
        self.n_draws = n_draws
        self.n_particles = n_particles
        self.random_state = random_state

    _densities = Record({"density_": OBJECT})
    _asked = "impute"

    @classmethod
    def _learnt_rules(cls, n_features: int) -> dict[str, Rule | ArrayOf]:
        """Return what its own attributes may be in a file."""
        return {"_seed": Whole(0, 2**32 - 1)}

    def fit(self, X: Any, y: Any = None) -> Self:
        """Fit the density.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n, D), or table read batch by batch
            NaN (None in a DataFrame) where a value is missing. Batch by batch is read what models
            of rows, and mixtures of them, read so.
        y : ignored

        Returns
        -------
        self

        Raises
        ------
        ValueError
            The density refuses X.
        """
        self._validate_params()
        with unchanged_on_error(self):
            if is_streamed := is_stream(X):
                X = Stream.of(X)
            else:
                X = as_frame(X)
                table = read(self, X, reset=True, gaps=True)
            rng = check_random_state(self.random_state)
            if self.density is not None:
                density = clone(self.density)
            else:
                density = _gaps_last(_has_gaps(X if is_streamed else table))
            if not hasattr(density, "impute"):
                raise ValueError(
                    "The 'density' of DensityImputer must have a method impute, as the models of "
                    f"this library have. Got {type(density).__name__} instead; the steps of a "
                    "pipeline go before the imputer."
                )
            check_takes_rows(density)
            if is_streamed:
                check_reads_batches(density, self)
            set_random_states(density, rng)
            mark_missing(density)
            self.density_ = density.fit(X)
            if is_streamed:
                adopt_table(self, self.density_)
            self._seed = int(rng.randint(2**31))
        return self

    def transform(self, X: Any, *, out: Any = None) -> Any:
        """Return X with its missing values filled.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n, D); with `out` also a table read batch by batch
        out : path, optional
            A Parquet file to which the rows are written, many at a time, with other draws than
            without it.

        Returns
        -------
        ndarray or DataFrame of shape (n, D)
            In the container of X; None with `out`.
        """
        check_is_fitted(self, "density_")
        if out is None:
            return self._as_wanted(self._filled(X, self._seed))
        wanted = _get_output_config("transform", self)["dense"]
        if wanted != "default":  # scikit-learn would put what is returned, nothing, into a frame
            raise ValueError(
                "out must be None where set_output asks for frames: a file has the types of X. "
                f"Got {out!r} and transform={wanted!r}; set_output(transform='default') ends it."
            )
        state = np.random.RandomState(self._seed)
        with parquet_file(out, apart_from=X) as file:
            for filled in answers(self, X, lambda rows: self._filled(rows, state)):
                file.write(filled)
        return None

    def _filled(self, X: Any, random_state: Any) -> Any:
        """Return X with its missing values filled."""
        X = as_frame(X)
        kept = ~np.isnan(dense(read(self, X, gaps=True)))
        settings = {"n_particles": self.n_particles, "random_state": random_state}
        if self.strategy == "draw" or self.n_draws == 1:
            return self.density_.impute(X, **settings)
        draws = self.density_.impute(X, n_draws=self.n_draws, **settings)
        container = self.density_._container
        if not isinstance(container, Schema):
            draws = np.stack([container.to_numbers(draw) for draw in draws])
        guesses = self._centre(draws)
        self._take_most_probable(guesses, draws, ~kept)
        return table_like(X, container, guesses, kept)

    def _as_wanted(self, filled: Any) -> Any:
        """Return a frame in the library that `set_output` asks for: scikit-learn keeps no types."""
        wanted = _get_output_config("transform", self)["dense"]
        if frame_kind(filled) is None or wanted not in ("pandas", "polars"):
            return filled
        return to_library(filled, wanted)

    def _centre(self, draws: Array) -> Array:
        """Return the best guess (n, D) by draws (n_draws, n, D)."""
        best = np.array(draws[0], np.float64)
        varied = (draws != draws[0]).any(axis=0)
        for column, centre in enumerate(self._centres()):
            rows = np.flatnonzero(varied[:, column])
            drawn = draws[:, rows, column].astype(np.float64)
            best[rows, column] = centre(drawn)
        return best

    def _take_most_probable(self, guesses: Array, draws: Array, missing: Array) -> None:
        """Guess the most probable category where cells (n, D) are missing and levels are listed.

        p(value given the known cells) is the mean over draws (n_draws, n, D) of p(value given the
        others of a draw), which varies less than the shares of the draws' own values.
        """
        if not hasattr(self.density_, "_parts"):
            return
        parts = self.density_._parts("predict")
        is_any_evidence = all(part.model.network.any_evidence for part in parts)
        for column, centre in enumerate(self._centres()):
            rows, levels = np.flatnonzero(missing[:, column]), levels_of(parts, column)
            if levels is None or not 0 < len(levels) <= MANY_LEVELS:
                continue
            if centre is not _most_frequent or not len(rows):
                continue
            values, unknown = draws[0, rows], missing[rows]
            if not is_any_evidence:  # a network of all orders needs no draws of what is missing
                values = draws[:, rows].reshape(-1, draws.shape[2])
                unknown = np.zeros(values.shape, bool)
                unknown[:, column] = True
            n_threads = effective_n_threads(self.density_.n_jobs)
            answer = ask(parts, values, unknown, column, 1, np.random.default_rng(0), n_threads)
            share = answer.share.reshape(-1, len(rows), len(levels)).mean(axis=0)
            guesses[rows, column] = levels[share.argmax(axis=1)]

    def _centres(self) -> list[Callable[[Array], Array]]:
        """Return what makes the best guesses of each column from its draws (n_draws, m)."""
        model = self.density_
        while hasattr(model, "estimators_"):
            model = model.estimators_[0]
        # steps of sequences have a conditional, but no schema
        decided = getattr(model, "schema_", [{"why": ""}] * len(model.order_))
        found = []
        for column, place in enumerate(np.argsort(model.order_).tolist()):
            conditional, at = model.distribution_.of_column(place)
            found.append(_centre_of(conditional, at, decided[column]["why"] == BY_PARAMETER))
        return found

    def __sklearn_tags__(self) -> Any:
        """Return scikit-learn's tags: missing values are welcome."""
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


def _has_gaps(table: Any) -> Array:
    """Return which columns (D,) of a table as `read` returns it, or of a stream, have gaps."""
    if not isinstance(table, Stream):
        return Table(table, np.arange(table.shape[1])).missing
    summary = Summary(table.name, n_sampled=1)
    for first, batch in table:
        summary.update(batch, first)
    return summary.missing


def _gaps_last(has_gaps: Array) -> NADE:
    """Return a model that takes the columns without gaps first."""
    return NADE(order=np.argsort(has_gaps, kind="stable"))


def _centre_of(conditional: Conditional, at: int, is_given: bool) -> Callable[[Array], Array]:
    """Return what makes the best guesses of a column at a place of its conditional.

    is_given: whether the user chose the conditional.
    """
    if isinstance(conditional, Categorical):
        return _median if conditional.whole[at] and not is_given else _most_frequent
    if conditional.name in _WHOLE:
        return _median
    return _most_frequent if conditional.name == "bernoulli" else _mean


def _mean(drawn: Array) -> Array:
    """Return the mean of each column of draws (n_draws, m)."""
    return np.asarray(drawn.mean(axis=0))


def _median(drawn: Array) -> Array:
    """Return a median that is a value of each column of draws (n_draws, m)."""
    return np.asarray(np.quantile(drawn, 0.5, axis=0, method="inverted_cdf"))


def _most_frequent(drawn: Array) -> Array:
    """Return the most frequent value of each column of draws (n_draws, m)."""
    levels = np.unique(drawn)
    if not len(levels):
        return np.empty(0)
    counts = np.stack([(drawn == level).sum(axis=0) for level in levels])
    return np.asarray(levels[counts.argmax(axis=0)])
