"""scikit-learn's interface to densities of rows: `fit`, `partial_fit`."""

from __future__ import annotations

from numbers import Integral
from typing import Any, ClassVar, Self

import numpy as np

from fastar._core.parameters import Array
from fastar._core.schema import (
    require,
)
from fastar._core.validation import check_order
from fastar._data.column_labels import columns_told
from fastar._data.context import Context
from fastar._data.frames import Schema
from fastar._data.roles import Roles
from fastar._data.streams import is_stream
from fastar._data.table import Table
from fastar._engine.support import check_known, check_table_support
from fastar.conditionals import Categorical, Conditional
from fastar.conditionals._auto import asked_of_columns, choose_conditional
from fastar.conditionals._gaps import ModelledGaps
from fastar.models._base import FitData, TrainableModel
from fastar.models._documentation import documented
from fastar.models._fitted import FittedDensity
from fastar.models._parameters import (
    DistributionParameter,
    LevelsParameter,
    MissingParameter,
)
from fastar.models._streamed import (
    StreamedTable,
    read_streamed,
    roles_held_out,
)
from fastar.persistence import (
    check_names,
    table_container,
)


class AutoregressiveDensity(
    FittedDensity,
    DistributionParameter,
    LevelsParameter,
    MissingParameter,
    TrainableModel,
    abstract=True,
):
    """Base of all models of rows: p(x) = prod_d p(x_d | x_<d)."""

    order: Any

    @documented
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
        """Train by minibatches to the largest mean log-likelihood, of p(x given context) if any.

        Parameters
        ----------
        X : array-like, DataFrame, CSR matrix of shape (n, D), or table read batch by batch
            The columns of a DataFrame, and with missing="marked" those of an array, may have
            missing values: they have no density, and the features after them see that they are
            missing. Read batch by batch, in bounded memory, are: the path of a Parquet file or of a
            folder of them, a Dataset of pyarrow, a LazyFrame of polars, an object with
            `__arrow_c_stream__`, a callable that returns an iterator of data frames, arrays or
            record batches, and a large memmap. `sample_weight` and `context` then name columns.
        y : ignored
        context : array-like or DataFrame of shape (n, C), optional
            Numbers, which are standardised inside, and categories (strings, objects or a
            DataFrame's category columns), which are one-hot encoded; dates of a DataFrame are a
            number, and month, weekday and hour as categories. It enters every hidden layer and
            every output. Where X is read batch by batch: the names of its columns that are the
            context (their places, of arrays), and no part of x.
        sample_weight : array-like of shape (n,), optional
            A row of weight 2 counts like two rows. Where X is read batch by batch: the name of the
            column that has them.
        X_val : array-like of shape (m, D), or table read batch by batch, optional
            Rows for early stopping; without them `validation_fraction` of X is held out.
        context_val : array-like or DataFrame of shape (m, C), optional
            The context of X_val. Where X and X_val are read batch by batch, both have the columns
            that `context` names, unless this names others.

        Returns
        -------
        self

        {errors_and_warnings_of_fit}
        """
        self._validate_params()
        data = FitData(X, context, sample_weight, X_val, context_val)
        return self._fit(data, keep=self.warm_start, one_pass=False)

    def partial_fit(
        self, X: Any, y: Any = None, *, context: Any = None, sample_weight: Any = None
    ) -> Self:
        """Take one pass over this chunk of rows; the first chunk decides on the conditional.

        Parameters
        ----------
        X : array-like, DataFrame, CSR matrix of shape (n, D), or table read batch by batch
        y : ignored
        context : array-like or DataFrame of shape (n, C), optional
            As in `fit`; the first chunk decides on its columns and categories.
        sample_weight : array-like of shape (n,), optional

        Returns
        -------
        self
        """
        self._validate_params()
        return self._fit(FitData(X, context, sample_weight), keep=True, one_pass=True)

    # ---- what the loop is given

    def _read(self, data: FitData, keep: bool, rng: np.random.Generator) -> Any:
        """Return the rows to train on, and remember what they are; keep: they are like the last."""
        if self._fits_streams and is_stream(data.X):
            return self._read_streamed(data, keep, rng)
        X = self._read_table(data.X, reset=not keep)
        if not keep:
            self.order_ = check_order(self.order, X.shape[1], rng)
            given = data.context
            self.context_ = None if given is None else Context.of(given, X.shape[0])
        return Table(X, self.order_, context=self._encoded(data.context, X.shape[0]))

    def _read_streamed(self, data: FitData, keep: bool, rng: np.random.Generator) -> StreamedTable:
        """Return what a pass over the rows finds, and remember what they are."""
        roles = Roles.of(data.context, data.sample_weight)
        found = read_streamed(self, data.X, "X", roles, reset=not keep)
        if not keep:
            self.order_ = check_order(self.order, found.X.shape[1], rng)
        return found.in_order(self.order_)

    def _read_held_out(self, data: FitData) -> Any:
        """Return the rows for early stopping."""
        if self._fits_streams and is_stream(data.X_val):
            roles = roles_held_out(data)
            found = read_streamed(self, data.X_val, "X_val", roles, reset=False)
            table, _ = found.in_order(self.order_).stored(self, 0.0, np.random.default_rng(0))
            return table
        X_val = self._read_table(data.X_val, name="X_val")
        check_known(self.distribution_, X_val, self.order_)
        context = self._encoded(data.context_val, X_val.shape[0], "context_val")
        return Table(X_val, self.order_, context=context)

    def _fitted_conditional(self, whole: Any, weight: Array, X: Any) -> Conditional:
        """Return the conditional for the rows, fitted to them."""
        names = getattr(self, "feature_names_in_", None)
        if empty := whole.empty_columns():
            raise ValueError(
                "X must have a value in every column: leave out what is missing everywhere. Got "
                f"none in column {empty[0] if names is None else names[empty[0]]!r}."
            )
        chosen = choose_conditional(
            self.distribution,
            whole,
            names,
            self._conditional,
            by_column=self._judges_columns,
            offsets=self._offsets(),
        )
        if self.missing == "modelled" and whole.missing.any():
            if not self._splits_columns:
                raise ValueError(
                    "missing='modelled' must be for a model that sees columns in one order and "
                    f"without a Markov order. Got {type(self).__name__} instead: take 'marked'."
                )
            chosen = ModelledGaps(chosen)
        with columns_told(names):
            own = chosen.fitted(whole, weight, split=self._splits_columns)
        fitted = self._fit_conditional(own)
        for place, column in enumerate(self.order_.tolist()):
            own, _ = fitted.of_column(place)
            if (offset := self._offsets()[column]) and not own.moves_with_values:
                raise ValueError(
                    f"X must hold {own.support} for a {own.name} conditional. Got {offset} in "
                    f"column {column if names is None else names[column]!r} instead."
                )
        return fitted

    def _least_counts(self, names: list[Any]) -> dict[Any, int]:
        """Return how often a level must occur to be one of its own, by the columns' names."""
        # a list of another length is refused once the conditionals are chosen
        entries = asked_of_columns(self.distribution, names, [True] * len(names))
        counts = {
            name: entry.min_count if isinstance(entry, Categorical) else self.min_count
            for name, entry in zip(names, entries, strict=False)
            if isinstance(entry, Categorical) or entry in ("auto", Categorical.name)
        }
        # others are refused once the conditional learns
        return {name: count for name, count in counts.items() if isinstance(count, Integral)}

    def _feature_name(self, d: int) -> str:
        """Return how errors call the column of a feature."""
        offsets = self.distribution_.column_offsets
        column = self.order_[np.searchsorted(offsets, d, side="right") - 1]
        return f"column {self._labels().column(int(column))}"

    _judges_columns: ClassVar[bool] = True
    """Whether the columns of an array get conditionals of their own by default."""

    _fits_streams: ClassVar[bool] = True
    """Whether `fit` reads tables batch by batch: not images, whose shape it has to find."""

    @property
    def _splits_columns(self) -> bool:
        """Whether a column may be several features: not where a Markov order counts features."""
        return getattr(self, "markov_order", None) is None

    def _fit_conditional(self, conditional: Conditional) -> Conditional:
        """Return the fitted conditional as the network wants it."""
        return conditional

    def _check_support(self, table: Any, name: str) -> None:
        check_table_support(self.distribution_, table, name, self._labels())

    def __sklearn_tags__(self) -> Any:
        """Return scikit-learn's tags: sparse input is welcome, and NaN where it marks gaps."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.allow_nan = self._marks_missing
        return tags

    @property
    def _marks_missing(self) -> bool:
        return self.missing != "error"

    def _sizes(self) -> dict[str, Any]:
        """Return the arguments that all networks have."""
        return {
            "output_offsets": self.distribution_.output_offsets,
            "inputs": self.distribution_.inputs,
            "n_context": 0 if self.context_ is None else self.context_.size,
            "dtype": np.dtype(self.dtype),
        }

    # ---- files

    def _restore_own(self, header: dict[str, Any], arrays: dict[str, Array]) -> None:
        """Take up what kind of table `fit` was given."""
        n_features = self.n_features_in_
        require("n_features", n_features == len(self.order_), "must be the length of the order.")
        self._container = table_container(header["container"], n_features)
        check_names(header["feature_names"], self._container, n_features)
        if isinstance(self._container, Schema):
            _check_categories(self._container, self.distribution_, self.order_)


def _check_categories(schema: Schema, conditional: Conditional, order: Array) -> None:
    """Raise EntryError where levels are no categories of their column."""
    for place, d in enumerate(order):
        column, (own, at) = schema.columns[d], conditional.of_column(place)
        if column.type == "category" and isinstance(own, Categorical):
            inside_it = np.isin(own.levels[at], np.arange(max(1, len(column.categories))))
            require(
                "distribution.levels",
                inside_it.all(),
                f"must be numbers of the categories of column {column.name!r}.",
            )
