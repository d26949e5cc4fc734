"""scikit-learn's interface to training: parameters, `fit`, `partial_fit`."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from functools import partial
from numbers import Integral
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from fastar import conditionals, networks, optimizers, schedules
from fastar._core.estimators import BaseEstimator, DensityMixin
from fastar._core.limits import BeyondMemoryError, beyond_memory
from fastar._core.parameters import Array, ParamLayout, zeros_aligned
from fastar._core.random import generator
from fastar._core.schema import (
    OBJECT,
    ArrayOf,
    Maybe,
    Named,
    Record,
    Rule,
    Whole,
    check_arrays,
    inside,
    require,
    within,
)
from fastar._core.threads import effective_n_threads
from fastar._core.validation import check_order, check_weight, unchanged_on_error
from fastar._data.column_labels import columns_told
from fastar._data.context import Context
from fastar._data.frames import Schema
from fastar._data.roles import Roles
from fastar._data.stores import TableElsewhere
from fastar._data.streams import is_stream
from fastar._data.table import Examples, Table
from fastar._engine.model import Composition
from fastar._engine.sharded import ShardedTable, ShardedTraining
from fastar._engine.support import check_known, check_table_support
from fastar._engine.training import Training
from fastar.callbacks import ProgressBar
from fastar.conditionals import Categorical, Conditional
from fastar.conditionals._auto import choose_conditional
from fastar.conditionals._gaps import ModelledGaps
from fastar.models._fitted import FittedDensity
from fastar.models._parameters import (
    DistributionParameter,
    LevelsParameter,
    MissingParameter,
    TrainingParameters,
)
from fastar.models._streamed import (
    SampledTable,
    StreamedTable,
    read_streamed,
    roles_held_out,
)
from fastar.networks import Network
from fastar.networks._padding import padded_size, without_padding
from fastar.optimizers import Optimizer
from fastar.persistence import (
    COMMON,
    COUNT,
    NUMBERS,
    PADDED,
    Persistent,
    SavedState,
    check_names,
    check_prefixes,
    conditional_from_json,
    conditional_to_json,
    container_to_json,
    prefixed,
    table_container,
)


@dataclass(frozen=True)
class FitData:
    """What `fit` is given."""

    X: Any
    context: Any
    sample_weight: Any
    X_val: Any = None
    context_val: Any = None


class TrainableModel(TrainingParameters, Persistent, DensityMixin, BaseEstimator, abstract=True):
    """Base of the estimators that the training loop fits.

    A subclass declares its parameters, makes its network in `_network`, and reads its data.
    """

    network_: Network
    distribution_: Conditional
    theta_: Array
    order_: Array
    context_: Context | None
    n_features_in_: int
    feature_names_in_: Array
    _container: Any
    _training_state: tuple[dict[str, Any], dict[str, Array]]

    @abstractmethod
    def _network(self, sizes: dict[str, Any], seed: int) -> Network:
        """Return the network with these arguments and those of the model's own parameters.

        sizes: n_features and the rest of `_sizes`. seed: of the random parts of its structure.
        """

    @abstractmethod
    def _read(self, data: FitData, keep: bool, rng: np.random.Generator) -> Any:
        """Return the rows to train on, and remember what they are; keep: they are like the last."""

    @abstractmethod
    def _read_held_out(self, data: FitData) -> Any:
        """Return the rows for early stopping."""

    @abstractmethod
    def _fitted_conditional(self, whole: Any, weight: Array, X: Any) -> Conditional:
        """Return the conditional for the rows, fitted to them."""

    @abstractmethod
    def _check_support(self, table: Any, name: str) -> None:
        """Raise ValueError where values have no density."""

    @abstractmethod
    def _composed(self, theta: Array) -> Composition:
        """Return the composition with these parameters."""

    @abstractmethod
    def _sizes(self) -> dict[str, Any]:
        """Return the arguments that all networks have."""

    def _fit_settings(self, n_rows: int) -> None:
        """Decide on the network's settings that depend on the table, given the conditional."""

    def _adjust_start(self, model: Composition, n_rows: int) -> None:
        """Change the parameters that training of so many rows starts from."""

    def _other_start(self, model: Any, start: tuple[Any, Array], n_rows: int) -> Array | None:
        """Return parameters to train from, too; start: a table and its weights."""
        return None

    def _default_rate(self, solver: Optimizer, n_rows: int) -> float:
        """Return the first learning rate for so many rows."""
        return solver.default_rate

    def _weight_decay(self, n_rows: int) -> float:
        """Return `alpha` for so many rows."""
        return self.alpha

    def _conditional(self, name: str) -> Conditional:
        """Return the conditional of this name, with its settings among the parameters."""
        return conditionals.from_name(name)

    # ---- fitting

    def _fit(self, data: FitData, *, keep: bool, one_pass: bool) -> Self:
        """Train, from the fitted parameters if there are any and `keep`; or take one pass alone.

        A model that was fitted before is the same after any error.
        """
        diverged, was_fitted = None, hasattr(self, "theta_")
        with unchanged_on_error(self):
            training = self._prepare(data, keep and hasattr(self, "theta_"), one_pass)
            callbacks = (
                self.callbacks if isinstance(self.callbacks, list | tuple) else [self.callbacks]
            )
            callbacks = [callback for callback in callbacks if callback is not None]
            try:
                if one_pass:
                    state = getattr(self, "_training_state", None)
                    if state and state[0]["optimizer"] == training.optimizer.name:
                        training.restore(*state)
                        training.model.theta[:] = self.theta_
                    training.one_pass()
                    self._training_state = training.snapshot()
                else:
                    self.__dict__.pop("_training_state", None)
                    training.run([*callbacks, ProgressBar()] if self.verbose else callbacks)
            except FloatingPointError as error:
                if was_fitted:
                    raise
                diverged = error
            self._set_fitted_attributes(training)
        if diverged is not None:
            raise diverged
        return self

    def _prepare(self, data: FitData, keep: bool, one_pass: bool) -> Training:
        """Return the training to run; keep: continue from the fitted model."""
        rng = generator(self.random_state)
        whole = self._read(data, keep, rng)
        weight = self._weight(whole, data)
        n_rows = self._n_rows(whole, weight)
        if not keep:
            self.distribution_ = self._fitted_conditional(whole, weight, data.X)
            self._fit_settings(n_rows)
            # spawned, so that networks without a random structure leave the stream as it is
            seed = int(rng.spawn(1)[0].integers(2**31))
            self.network_ = self._network(self._sizes(), seed)
            self._check_size(self.network_)
        elif (asked := self._rebuild_network()) != self.network_:
            raise ValueError(
                "To go on from a fitted model (warm_start, partial_fit), the parameters of its "
                f"network must stay as they were: {self.network_}. "
                f"Got {asked} instead."
            )
        self._check_support(whole, "X")
        if not weight.all():  # rows without weight count for levels and scales alone
            whole, weight = whole.subset(np.flatnonzero(weight)), weight[weight > 0]
        table, weight, held_out = self._split(whole, weight, data, one_pass, rng)
        model, other_start = self._composed(self.network_.zeros()), None
        if keep:
            model.theta[:] = self.theta_
        else:
            start: tuple[Examples, Array] = (table, weight)
            if isinstance(table, TableElsewhere):
                start = table.start
            model.initialise(*start, rng)
            self._adjust_start(model, n_rows)
            if held_out is not None and not isinstance(table, ShardedTable):
                other_start = self._other_start(model, start, n_rows)
        solver, schedule = self._solver(), self.learning_rate
        kind = ShardedTraining if isinstance(table, ShardedTable) else Training
        return kind(
            model,
            solver,
            schedules.BY_NAME[schedule]() if isinstance(schedule, str) else schedule,
            table,
            weight,
            held_out,
            entropy=int(rng.integers(2**63)),
            learning_rate=float(self.learning_rate_init or self._default_rate(solver, n_rows)),
            alpha=self._weight_decay(n_rows),
            l1_ratio=self.l1_ratio,
            max_gradient_norm=self.max_gradient_norm,
            batch_size=self.batch_size,
            max_iter=self.max_iter,
            tol=self.tol,
            n_iter_no_change=self.n_iter_no_change,
            n_threads=effective_n_threads(self.n_jobs),
            is_warm=keep,
            other_start=other_start,
        )

    def _weight(self, whole: Any, data: FitData) -> Array:
        """Return the weights of the rows, or of those that stand for them."""
        if isinstance(whole, SampledTable):
            return whole.weight
        return check_weight(data.sample_weight, len(whole))

    def _n_rows(self, whole: Any, weight: Array) -> int:
        """Return how many rows have a weight."""
        return whole.n_rows if isinstance(whole, SampledTable) else int(np.count_nonzero(weight))

    def _check_size(self, network: Network) -> None:
        """Raise ValueError if training would need more memory than there is."""
        n_parameters = ParamLayout(network.shapes, 0).size
        # the parameters, the best ones, the gradient, what the optimizer keeps, and the result
        n_bytes = (4 + len(self._solver().slots)) * n_parameters * network.dtype.itemsize
        beyond = beyond_memory(n_bytes)
        if beyond is None:
            return
        widths = np.diff(network.output_offsets)
        wide = [d for d in np.argsort(-widths, kind="stable")[:3] if widths[d] >= 100]
        asks = ", ".join(f"{self._feature_name(d)} with {widths[d]} outputs" for d in wide)
        raise BeyondMemoryError(
            f"The model must fit into memory. Its {n_parameters:,} parameters take {beyond} in "
            "training. "
            + (f"Most is asked for by {asks}. " if asks else "")
            + "Give it fewer hidden units, components or levels, or leave columns out."
        )

    def _feature_name(self, d: int) -> str:
        """Return how errors call the column of a feature."""
        return f"feature {d}"

    def _rebuild_network(self) -> Network:
        """Return the network that the present parameters ask for, structured as the fitted one."""
        return self._network(self._sizes(), self.network_.seed)

    def _split(
        self,
        whole: Examples,
        weight: Array,
        data: FitData,
        one_pass: bool,
        rng: np.random.Generator,
    ) -> tuple[Examples, Array, tuple[Examples, Array] | None]:
        """Return the training rows, their weights, and the rows held out for early stopping."""
        held_out: tuple[Examples, Array] | None = None
        is_split = self.early_stopping and not one_pass and data.X_val is None
        if isinstance(whole, SampledTable):
            table, held = whole.stored(self, self.validation_fraction if is_split else 0.0, rng)
            whole, weight = table, table.weight
            held_out = None if held is None else (held, held.weight)
        elif is_split and len(whole) > 1:
            rows = rng.permutation(len(whole))
            n_held = min(max(1, round(self.validation_fraction * len(rows))), len(rows) - 1)
            out, rest = np.sort(rows[:n_held]), np.sort(rows[n_held:])
            held_out = whole.subset(out), weight[out]
            whole, weight = whole.subset(rest), weight[rest]
        if data.X_val is not None and not one_pass:
            given = self._read_held_out(data)
            self._check_support(given, "X_val")
            held_out = given, np.ones(len(given))
        return whole, weight, held_out

    def _solver(self) -> Optimizer:
        return optimizers.BY_NAME[self.solver]() if isinstance(self.solver, str) else self.solver

    def _set_fitted_attributes(self, training: Training) -> None:
        progress = training.progress
        self.theta_ = training.model.theta
        self.n_iter_ = progress.epoch
        self.best_iter_ = progress.best_iter if training.held_out is not None else progress.epoch
        self.loss_curve_ = progress.loss_curve
        self.validation_curve_ = progress.validation_curve

    # ---- files

    def _state(self) -> SavedState:
        """Return the header and the arrays of a file."""
        check_is_fitted(self, "theta_")
        header = {
            "parameters": self._parameters_to_json({}),
            "distribution": conditional_to_json(self.distribution_),
            "n_features": self.n_features_in_,
            "feature_names": list(getattr(self, "feature_names_in_", [])),
            "network": {"name": self.network_.name, **self.network_.settings()},
            "container": container_to_json(self._container),
            "context": None if self.context_ is None else self.context_.to_json(),
            "n_iter": self.n_iter_,
            "best_iter": self.best_iter_,
            "loss_curve": self.loss_curve_,
            "validation_curve": self.validation_curve_,
        }
        arrays = {"theta": self.theta_, "order": np.asarray(self.order_, np.int64)}
        arrays |= prefixed("distribution.", self.distribution_.arrays())
        if self.context_ is not None:
            arrays |= prefixed("context.", self.context_.arrays())
        return header, arrays

    @classmethod
    def _header_rules(cls) -> dict[str, Rule]:
        """Return what the header must have beside the parameters; "context" may be absent."""
        return {
            **COMMON,
            "distribution": OBJECT,
            "n_features": Whole(1),
            "network": OBJECT,
            "n_iter": COUNT,
            "best_iter": COUNT,
            "loss_curve": NUMBERS,
            "validation_curve": NUMBERS,
        }

    @classmethod
    def _from_state(cls, header: dict[str, Any], arrays: dict[str, Array]) -> Self:
        """Return the fitted model that `_state` described; EntryError if it is damaged."""
        Record(cls._header_rules(), {"context": Maybe(OBJECT)}).check(header, "")
        parameters = PADDED if PADDED in arrays else "theta"
        check_arrays(
            {name: array for name, array in arrays.items() if "." not in name},
            {parameters: ArrayOf("f", (None,)), "order": ArrayOf("i", (None,), 0)},
        )
        check_prefixes(arrays, cls._array_prefixes)
        with inside("parameters"):
            model = cls._from_parameters(header["parameters"])
        order, theta, described = arrays["order"], arrays[parameters], header.get("context")
        n_values = len(order)  # those of a row, or of a step
        sorts = np.array_equal(np.sort(order), np.arange(n_values))
        require("order", n_values > 0 and sorts, "must be a permutation.")
        model.order_ = order.astype(np.intp)
        model.distribution_ = conditional_from_json(
            "distribution", header["distribution"], arrays, n_values
        )
        with inside("context"):
            own = within(arrays, "context.")
            require("arrays", not own or described is not None, "must be none without a context.")
            model.context_ = None if described is None else Context.restored(described, own)
        model.n_features_in_ = header["n_features"]
        if header["feature_names"]:
            model.feature_names_in_ = np.array(header["feature_names"], object)
        model._restore_own(header, arrays)
        network = model.network_ = model._restored_network(header["network"], theta)
        is_padded = parameters == PADDED
        size = padded_size(network) if is_padded else ParamLayout(network.shapes, 0).size
        require("theta", size == theta.size, f"must be {size} numbers. Got {theta.size} instead.")
        if is_padded:
            theta = without_padding(network, theta)
        model.theta_ = zeros_aligned(theta.size, theta.dtype)
        model.theta_[:] = theta
        model.n_iter_, model.best_iter_ = header["n_iter"], header["best_iter"]
        model.loss_curve_, model.validation_curve_ = (
            header["loss_curve"],
            header["validation_curve"],
        )
        return model

    def _restored_network(self, described: dict[str, Any], theta: Array) -> Network:
        """Return the network that a file with these parameters describes."""
        kinds = {kind.name: partial(kind.settings_rule, theta.size) for kind in self._network_kinds}
        Named(kinds).check(described, "network")
        settings, sizes = dict(described), self._sizes()
        n_values = self.distribution_.n_columns
        require("order", len(self.order_) == n_values, f"must have {n_values} entries.")
        kind = networks.BY_NAME[settings.pop("name")]
        with inside("network"):
            network: Network = kind(sizes["output_offsets"], sizes["inputs"], **settings)
        for name, found in (("dtype", theta.dtype), ("n_context", sizes.get("n_context", 0))):
            require(f"network.{name}", getattr(network, name) == found, f"must be {found}.")
        return network

    _network_kinds: ClassVar[tuple[type[Network], ...]]
    """Those that `_network` may return."""
    _array_prefixes: ClassVar[tuple[str, ...]] = ("distribution.", "context.")
    """How the names of the arrays of a file begin, but for theta and order."""

    @abstractmethod
    def _restore_own(self, header: dict[str, Any], arrays: dict[str, Array]) -> None:
        """Take up the container, and what this class alone puts into `_state`."""


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

        Raises
        ------
        ValueError
            A parameter or an argument breaks a rule that the message names.
        FloatingPointError
            The log-likelihood became NaN or infinite. A model that was fitted before stays as it
            was; another one has the last good parameters of this fit.

        Warns
        -----
        ConvergenceWarning
            Training reached `max_iter` before it settled, with a rate that does not fall to zero
            there, or was interrupted by Ctrl-C.
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
        given = self.distribution
        if isinstance(given, dict):
            entries = [given.get(each, "auto") for each in names]
        else:
            is_list = isinstance(given, list | tuple) and len(given) == len(names)
            entries = list(given) if is_list else [given] * len(names)
        counts = {
            name: entry.min_count if isinstance(entry, Categorical) else self.min_count
            for name, entry in zip(names, entries, strict=True)
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
