"""The estimator's face: scikit-learn's conventions in terms of model, training and inference."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from fastar import conditionals, networks, optimizers, schedules
from fastar._core.estimators import BaseEstimator, DensityMixin
from fastar._core.parameters import Array, zeros_aligned
from fastar._core.random import generator
from fastar._core.threads import effective_n_threads
from fastar._core.validation import check_order, check_weight, unchanged_on_error
from fastar._data.context import Context
from fastar._data.frame_types import frame_kind
from fastar._data.table import Examples, Table
from fastar._engine.model import Composition
from fastar._engine.support import check_table_support
from fastar._engine.training import Training
from fastar.callbacks import ProgressBar
from fastar.conditionals import Conditional
from fastar.conditionals._auto import choose_conditional
from fastar.models._fitted import FittedDensity
from fastar.models._parameters import DistributionParameter, MissingParameter, TrainingParameters
from fastar.networks import Network
from fastar.optimizers import Optimizer
from fastar.persistence import (
    DAMAGED,
    Persistent,
    SavedState,
    conditional_to_json,
    container_from_json,
    container_to_json,
    from_json,
    prefixed,
    within,
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
    """Base of what is trained by the one loop.

    A subclass says in `_network` what computes the parameters of each factor, lists its parameters,
    and reads its data.
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
    def _composed(self, theta: Array) -> Composition:
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
        self,
        whole: Examples,
        weight: Array,
        data: FitData,
        one_pass: bool,
        rng: np.random.Generator,
    ) -> tuple[Examples, Array, tuple[Examples, Array] | None]:
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
    def _from_state(cls, header: dict[str, Any], arrays: dict[str, Array]) -> Self:
        """Return the fitted model that `_state` described."""
        model = cls(**cls._parameters_from_json(header["parameters"], []))
        n_values = len(arrays["order"])  # those of a row, or of a step
        conditional = from_json("distribution", header["distribution"])
        model.distribution_ = conditional.restored(within(arrays, "distribution."), n_values)
        described = header.get("context")
        model.context_ = (
            None if described is None else Context.restored(described, within(arrays, "context."))
        )
        model.order_ = arrays["order"].astype(np.intp)
        model.theta_ = zeros_aligned(arrays["theta"].size, arrays["theta"].dtype)
        model.theta_[:] = arrays["theta"]
        model.n_features_in_ = header["n_features"]
        if header["feature_names"]:
            model.feature_names_in_ = np.array(header["feature_names"], object)
        model._container = container_from_json(header["container"])
        model._restore_own(header, arrays)
        settings = dict(header["network"])
        model.network_ = networks.BY_NAME[settings.pop("name")](
            n_values, model.distribution_.n_outputs, model._sizes()["inputs"], **settings
        )
        fits = model.network_.zeros().shape == arrays["theta"].shape
        if not fits or not np.array_equal(np.sort(model.order_), np.arange(n_values)):
            raise ValueError(DAMAGED)
        model.n_iter_, model.best_iter_ = header["n_iter"], header["best_iter"]
        model.loss_curve_, model.validation_curve_ = (
            header["loss_curve"],
            header["validation_curve"],
        )
        return model

    def _restore_own(self, header: dict[str, Any], arrays: dict[str, Array]) -> None:
        """Take up what this class alone puts into `_state`."""


class AutoregressiveDensity(
    FittedDensity, DistributionParameter, MissingParameter, TrainableModel, abstract=True
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
        X : array-like, DataFrame or CSR matrix of shape (n, D)
            The columns of a DataFrame, and with missing="marked" those of an array, may have
            missing values: they have no density, and the features after them see that they are
            missing.
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
        X = self._read_table(data.X, reset=not keep)
        if not keep:
            self.order_ = check_order(self.order, X.shape[1], rng)
            given = data.context
            self.context_ = None if given is None else Context.of(given, X.shape[0])
        return Table(X, self.order_, context=self._encoded(data.context, X.shape[0]))

    def _read_held_out(self, data: FitData) -> Any:
        """Return the rows for early stopping."""
        X_val = self._read_table(data.X_val, name="X_val")
        context = self._encoded(data.context_val, X_val.shape[0], "context_val")
        return Table(X_val, self.order_, context=context)

    def _fitted_conditional(self, whole: Any, weight: Array, X: Any) -> Conditional:
        """Return the conditional that the rows ask for, with what it learns of them."""
        names = getattr(self, "feature_names_in_", None)
        chosen = choose_conditional(
            self.distribution, whole, names, frame_kind(X) is not None, self._conditional
        )
        return self._fit_conditional(chosen.fitted(whole, weight))

    def _fit_conditional(self, conditional: Conditional) -> Conditional:
        """Return the fitted conditional as the network wants it."""
        return conditional

    def _check_support(self, table: Any, name: str) -> None:
        check_table_support(self.distribution_, table, name)

    def __sklearn_tags__(self) -> Any:
        """Return scikit-learn's tags: sparse input is welcome, and NaN where it marks gaps."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.allow_nan = self._marks_missing
        return tags

    @property
    def _marks_missing(self) -> bool:
        return self.missing == "marked"

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
