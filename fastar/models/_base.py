"""The estimator's face: scikit-learn's conventions in terms of model, training and inference."""

from __future__ import annotations

import os
from abc import abstractmethod
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.utils._param_validation import HasMethods, Interval, Options, StrOptions

from fastar import conditionals, optimizers, schedules
from fastar._core.parameters import Array
from fastar._core.random import generator
from fastar._core.threads import effective_n_threads
from fastar._core.validation import check_order, check_weight, unchanged_on_error
from fastar._data.context import Context
from fastar._data.frame_types import as_frame, frame_kind
from fastar._data.table import Table
from fastar._engine.model import Model
from fastar._engine.support import check_known, check_table_support
from fastar._engine.training import Training
from fastar.callbacks import ProgressBar
from fastar.conditionals import Conditional
from fastar.conditionals._auto import choose_conditional
from fastar.models._fitted import FittedDensity
from fastar.networks import Network
from fastar.optimizers import Optimizer
from fastar.schedules import Schedule


@dataclass(frozen=True)
class FitData:
    """What `fit` is given."""

    X: Any
    context: Any
    sample_weight: Any
    X_val: Any = None
    context_val: Any = None
    gaps: bool = False
    """Whether NaN in an array stands for a missing value, as it does in a DataFrame."""


class TrainableModel(DensityMixin, BaseEstimator):  # type: ignore[misc]
    """Base of what is trained by the one loop.

    A subclass says in `_network` what computes the parameters of each factor, lists its parameters,
    and reads its data.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "distribution": [
            StrOptions({"auto", *conditionals.BY_NAME}),
            Conditional,
            list,
            tuple,
            dict,
        ],
        "order": [StrOptions({"natural", "random"}), "array-like"],
        "markov_order": [Interval(Integral, 1, None, closed="left"), None],
        "solver": [StrOptions(set(optimizers.BY_NAME)), Optimizer],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither"), None],
        "learning_rate": [StrOptions(set(schedules.BY_NAME)), Schedule],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "max_gradient_norm": [Interval(Real, 0, None, closed="neither"), None],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "warm_start": ["boolean"],
        "random_state": ["random_state"],
        "n_jobs": [Integral, None],
        "verbose": ["verbose"],
        "callbacks": [list, tuple, HasMethods("on_epoch_end"), None],
        "dtype": [
            StrOptions({"float32", "float64"}),
            Options(type, {np.float32, np.float64}),
            Options(np.dtype, {np.dtype("float32"), np.dtype("float64")}),
        ],
    }

    network_: Network
    distribution_: Conditional
    theta_: Array
    _training_state: tuple[dict[str, Any], dict[str, Array]]

    def __init__(
        self,
        *,
        distribution: Any,
        solver: Any,
        learning_rate_init: float | None,
        learning_rate: Any,
        alpha: float,
        max_gradient_norm: float | None,
        batch_size: int,
        max_iter: int,
        tol: float,
        early_stopping: bool,
        validation_fraction: float,
        n_iter_no_change: int,
        warm_start: bool,
        random_state: Any,
        n_jobs: int | None,
        verbose: int,
        callbacks: Any,
        dtype: Any,
    ) -> None:
        self.distribution = distribution
        self.solver = solver
        self.learning_rate_init = learning_rate_init
        self.learning_rate = learning_rate
        self.alpha = alpha
        self.max_gradient_norm = max_gradient_norm
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.tol = tol
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.warm_start = warm_start
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.verbose = verbose
        self.callbacks = callbacks
        self.dtype = dtype

    @abstractmethod
    def _network(self, sizes: dict[str, Any], seed: int) -> Network:
        """Return the network with these arguments, and what the model's own parameters say.

        sizes: n_features and what else `_sizes` gives. seed: of what is random in its structure.
        """

    @abstractmethod
    def _read(self, data: FitData, keep: bool, rng: np.random.Generator) -> Any:
        """Return the rows to train on, and remember what they are; keep: they are like the last."""

    @abstractmethod
    def _read_held_out(self, data: FitData) -> Any:
        """Return the rows for early stopping."""

    @abstractmethod
    def _fitted_conditional(self, whole: Any, weight: Array, X: Any) -> Conditional:
        """Return the conditional that the rows ask for, with what it learns of them."""

    @abstractmethod
    def _check_support(self, table: Any, name: str) -> None:
        """Raise ValueError where values have no density."""

    @abstractmethod
    def _composed(self, theta: Array) -> Model:
        """Return the composition with these parameters."""

    @abstractmethod
    def _sizes(self) -> dict[str, Any]:
        """Return what every network is told beside its own parameters."""

    def _conditional(self, name: str) -> Conditional:
        """Return the conditional of this name, with what the parameters say of it."""
        return conditionals.from_name(name)

    # ---- fitting

    def _fit(self, data: FitData, *, keep: bool, one_pass: bool) -> Self:
        """Train, from the fitted parameters if there are any and `keep`; or take one pass alone."""
        diverged = None
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
                diverged = error
            self._set_fitted_attributes(training)
        if diverged is not None:
            raise diverged
        return self

    def _prepare(self, data: FitData, keep: bool, one_pass: bool) -> Training:
        """Return the training that is asked for; keep: go on from the fitted model."""
        rng = generator(self.random_state)
        whole = self._read(data, keep, rng)
        weight = check_weight(data.sample_weight, len(whole))
        if not keep:
            self.distribution_ = self._fitted_conditional(whole, weight, data.X)
            # spawned, so that networks without a random structure leave the stream as it is
            seed = int(rng.spawn(1)[0].integers(2**31))
            self.network_ = self._network(self._sizes(), seed)
        elif (asked := self._rebuild_network()) != self.network_:
            raise ValueError(
                "To go on from a fitted model (warm_start, partial_fit), the parameters of its "
                f"network must stay as they were: {self.network_}. "
                f"Got {asked} instead."
            )
        self._check_support(whole, "X")
        if not weight.all():  # what has no weight teaches levels and scales alone
            whole, weight = whole.subset(np.flatnonzero(weight)), weight[weight > 0]
        table, weight, held_out = self._split(whole, weight, data, one_pass, rng)
        model = self._composed(self.network_.zeros())
        if keep:
            model.theta[:] = self.theta_
        else:
            model.initialise(table, weight, rng)
        solver, schedule = self._solver(), self.learning_rate
        return Training(
            model,
            solver,
            schedules.BY_NAME[schedule]() if isinstance(schedule, str) else schedule,
            table,
            weight,
            held_out,
            entropy=int(rng.integers(2**63)),
            learning_rate=float(self.learning_rate_init or solver.default_rate),
            alpha=self.alpha,
            max_gradient_norm=self.max_gradient_norm,
            batch_size=self.batch_size,
            max_iter=self.max_iter,
            tol=self.tol,
            n_iter_no_change=self.n_iter_no_change,
            n_threads=effective_n_threads(self.n_jobs),
        )

    def _rebuild_network(self) -> Network:
        """Return the network that the present parameters ask for, structured as the fitted one."""
        return self._network(self._sizes(), self.network_.seed)

    def _split(
        self, whole: Table, weight: Array, data: FitData, one_pass: bool, rng: np.random.Generator
    ) -> tuple[Table, Array, tuple[Table, Array] | None]:
        """Return the training rows, their weights, and the rows held out for early stopping."""
        if one_pass:
            return whole, weight, None
        if data.X_val is not None:
            held_out = self._read_held_out(data)
            self._check_support(held_out, "X_val")
            return whole, weight, (held_out, np.ones(len(held_out)))
        if self.early_stopping and len(whole) > 1:
            rows = rng.permutation(len(whole))
            n_held = min(max(1, round(self.validation_fraction * len(rows))), len(rows) - 1)
            held, rest = np.sort(rows[:n_held]), np.sort(rows[n_held:])
            return whole.subset(rest), weight[rest], (whole.subset(held), weight[held])
        return whole, weight, None

    def _solver(self) -> Optimizer:
        return optimizers.BY_NAME[self.solver]() if isinstance(self.solver, str) else self.solver

    def _set_fitted_attributes(self, training: Training) -> None:
        progress = training.progress
        self.theta_ = training.model.theta
        self.n_iter_ = progress.epoch
        self.best_iter_ = progress.best_iter if training.held_out is not None else progress.epoch
        self.loss_curve_ = progress.loss_curve
        self.validation_curve_ = progress.validation_curve

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted model to a file that holds no code; `fastar.load` reads it.

        Parameters
        ----------
        path : str or path
            Written beside it and renamed, so that a crash leaves no half a model.
        """
        from fastar.persistence import save

        save(self, path)


class AutoregressiveDensity(FittedDensity, TrainableModel):
    """Base of all models of rows: p(x) = prod_d p(x_d | x_<d)."""

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
        X : array-like, DataFrame or CSR matrix of shape (n, D)
            The columns of a DataFrame may have missing values: they have no density, and the
            features after them see that they are missing.
        y : ignored
        context : array-like or DataFrame of shape (n, C), optional
            What each row is given: numbers, which are standardised inside, and categories, which
            are strings, objects or a DataFrame's category columns and become one-hot. It enters
            every hidden layer and every output.
        sample_weight : array-like of shape (n,), optional
            A row of weight 2 counts like two rows.
        X_val : array-like of shape (m, D), optional
            Rows for early stopping; without them `validation_fraction` of X is held out.
        context_val : array-like or DataFrame of shape (m, C), optional
            The context of X_val.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            A parameter or an argument breaks a rule that the message names.
        FloatingPointError
            The log-likelihood became NaN or infinite; the last good parameters are kept.

        Warns
        -----
        ConvergenceWarning
            Training reached `max_iter` before it settled, or was interrupted by Ctrl-C.
        """
        self._validate_params()
        data = FitData(X, context, sample_weight, X_val, context_val)
        return self._fit(data, keep=self.warm_start, one_pass=False)

    def _fit_with_gaps(self, X: Any) -> Self:
        """Do what `fit` does, for an array with NaN where values are missing."""
        self._validate_params()
        return self._fit(FitData(X, None, None, gaps=True), keep=False, one_pass=False)

    def partial_fit(
        self, X: Any, y: Any = None, *, context: Any = None, sample_weight: Any = None
    ) -> Self:
        """Take one pass over this chunk of rows; the first chunk decides on the conditional.

        Parameters
        ----------
        X : array-like, DataFrame or CSR matrix of shape (n, D)
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
        X = self._read_table(data.X, reset=not keep, gaps=data.gaps)
        if not keep:
            self.order_ = check_order(self.order, X.shape[1], rng)
            given = data.context
            self.context_ = None if given is None else Context.of(given, X.shape[0])
        return Table(X, self.order_, context=self._encoded(data.context, X.shape[0]))

    def _read_held_out(self, data: FitData) -> Any:
        """Return the rows for early stopping."""
        X_val = self._read_table(data.X_val, name="X_val")
        check_known(self.distribution_, X_val, self.order_)
        context = self._encoded(data.context_val, X_val.shape[0], "context_val")
        return Table(X_val, self.order_, context=context)

    def _fitted_conditional(self, whole: Any, weight: Array, X: Any) -> Conditional:
        """Return the conditional that the rows ask for, with what it learns of them."""
        names = getattr(self, "feature_names_in_", None)
        if empty := whole.empty_columns():
            raise ValueError(
                "X must have a value in every column: leave out what is missing everywhere. Got "
                f"none in column {empty[0] if names is None else names[empty[0]]!r}."
            )
        chosen = choose_conditional(
            self.distribution, whole, names, frame_kind(as_frame(X)) is not None, self._conditional
        )
        fitted = self._fit_conditional(chosen.fitted(whole, weight))
        for place, column in enumerate(self.order_.tolist()):
            own, _ = fitted.of_column(place)
            if (offset := self._offsets()[column]) and not own.moves_with_values:
                raise ValueError(
                    f"X must hold {own.support} for a {own.name} conditional. Got {offset} in "
                    f"column {column if names is None else names[column]!r} instead."
                )
        return fitted

    def _fit_conditional(self, conditional: Conditional) -> Conditional:
        """Return the fitted conditional as the network wants it."""
        return conditional

    def _check_support(self, table: Any, name: str) -> None:
        check_table_support(self.distribution_, table, name, self._labels())

    def __sklearn_tags__(self) -> Any:
        """Return scikit-learn's tags: sparse input is welcome."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def _sizes(self) -> dict[str, Any]:
        """Return what every network is told beside its own parameters."""
        D = self.n_features_in_
        return {
            "n_features": D,
            "n_outputs": self.distribution_.n_outputs,
            "inputs": self.distribution_.inputs,
            "n_context": 0 if self.context_ is None else self.context_.size,
            "dtype": np.dtype(self.dtype),
        }
