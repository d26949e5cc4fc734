"""The estimator's face: scikit-learn's conventions in terms of model, training and inference."""

from __future__ import annotations

import os
from abc import abstractmethod
from functools import partial
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import HasMethods, Interval, Options, StrOptions
from sklearn.utils.validation import _check_feature_names, check_is_fitted

from fastar import _inference, conditionals, optimizers, schedules
from fastar._frames import Schema, frame_kind
from fastar._model import Model
from fastar._parameters import Array, Params
from fastar._reading import dense, read, table_like
from fastar._table import Table
from fastar._threads import effective_n_threads
from fastar._training import Training
from fastar._validation import (
    check_count,
    check_evidence,
    check_known,
    check_order,
    check_table_support,
    check_temperature,
    check_weight,
    choose_conditional,
    missing_to_held,
    unchanged_on_error,
)
from fastar.callbacks import ProgressBar
from fastar.conditionals import Conditional
from fastar.networks import Network
from fastar.optimizers import Optimizer
from fastar.schedules import Schedule


def _generator(random_state: Any) -> np.random.Generator:
    seed = check_random_state(random_state).randint(2**31, size=4)
    return np.random.Generator(np.random.SFC64(seed))


class AutoregressiveDensity(DensityMixin, BaseEstimator):  # type: ignore[misc]
    """Base of all models: p(x) = prod_d p(x_d | x_<d).

    A subclass says in `_network` what computes the parameters of each factor, and lists its
    parameters.
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

    _training_state: tuple[dict[str, Any], dict[str, Array]]

    def __init__(
        self,
        *,
        distribution: Any,
        order: Any,
        markov_order: int | None,
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
        self.order = order
        self.markov_order = markov_order
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
    def _network(self, n_features: int, conditional: Conditional, seed: int) -> Network:
        """Return the network for this many features and this conditional's inputs and outputs.

        seed: of what is random in its structure.
        """

    def _conditional(self, name: str) -> Conditional:
        """Return the conditional of this name, with what the parameters say of it."""
        return conditionals.named(name)

    # ---- fitting

    def fit(self, X: Any, y: Any = None, *, sample_weight: Any = None, X_val: Any = None) -> Self:
        """Train by minibatches to the largest mean log-likelihood.

        Parameters
        ----------
        X : array-like, DataFrame or CSR matrix of shape (n, D)
        y : ignored
        sample_weight : array-like of shape (n,), optional
            A row of weight 2 counts like two rows.
        X_val : array-like of shape (m, D), optional
            Rows for early stopping; without them `validation_fraction` of X is held out.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            A parameter, X, X_val or sample_weight breaks a rule that the message names.
        FloatingPointError
            The log-likelihood became NaN or infinite; the last good parameters are kept.

        Warns
        -----
        ConvergenceWarning
            Training reached `max_iter` before it settled, or was interrupted by Ctrl-C.
        """
        self._validate_params()
        return self._fit(X, sample_weight, X_val, keep=self.warm_start, one_pass=False)

    def partial_fit(self, X: Any, y: Any = None, *, sample_weight: Any = None) -> Self:
        """Take one pass over this chunk of rows; the first chunk decides on the conditional.

        Parameters
        ----------
        X : array-like, DataFrame or CSR matrix of shape (n, D)
        y : ignored
        sample_weight : array-like of shape (n,), optional

        Returns
        -------
        self
        """
        self._validate_params()
        return self._fit(X, sample_weight, None, keep=True, one_pass=True)

    def _fit(self, X: Any, sample_weight: Any, X_val: Any, *, keep: bool, one_pass: bool) -> Self:
        """Train, from the fitted parameters if there are any and `keep`; or take one pass alone."""
        diverged = None
        with unchanged_on_error(self):
            training = self._prepare(
                X, sample_weight, X_val, keep and hasattr(self, "theta_"), one_pass
            )
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
            self._adopt(training)
        if diverged is not None:
            raise diverged
        return self

    def _prepare(
        self, X: Any, sample_weight: Any, X_val: Any, keep: bool, one_pass: bool
    ) -> Training:
        """Return the training that is asked for; keep: go on from the fitted model."""
        is_frame, rng = frame_kind(X) is not None, _generator(self.random_state)
        X = read(self, X, reset=not keep)
        weight = check_weight(sample_weight, X.shape[0])
        if not keep:
            self.order_ = check_order(self.order, X.shape[1], rng)
            table = Table(X, self.order_)
            names = getattr(self, "feature_names_in_", None)
            chosen = choose_conditional(
                self.distribution, table, names, is_frame, self._conditional
            )
            self.distribution_ = chosen.fitted(table, weight)
            # spawned, so that networks without a random structure leave the stream as it is
            seed = int(rng.spawn(1)[0].integers(2**31))
            self.network_ = self._network(self.n_features_in_, self.distribution_, seed)
        elif (asked := self._network_again()) != self.network_:
            raise ValueError(
                "To go on from a fitted model (warm_start, partial_fit), the parameters of its "
                f"network must stay as they were: {self.network_}. "
                f"Got {asked} instead."
            )
        check_table_support(self.distribution_, Table(X, self.order_), "X")
        table, weight, held_out = self._split(X, weight, X_val, one_pass, rng)
        model = Model(self.network_, self.distribution_, self.order_, self.network_.zeros())
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

    def _network_again(self) -> Network:
        """Return the network that the present parameters ask for, structured as the fitted one."""
        return self._network(self.n_features_in_, self.distribution_, self.network_.seed)

    def _split(
        self, X: Any, weight: Array, X_val: Any, one_pass: bool, rng: np.random.Generator
    ) -> tuple[Table, Array, tuple[Table, Array] | None]:
        """Return the training rows, their weights, and the rows held out for early stopping."""
        whole = Table(X, self.order_)
        if one_pass:
            return whole, weight, None
        if X_val is not None:
            X_val = read(self, X_val, name="X_val")
            held_out = Table(X_val, self.order_)
            check_table_support(self.distribution_, held_out, "X_val")
            return whole, weight, (held_out, np.ones(len(held_out)))
        if self.early_stopping and len(whole) > 1:
            rows = rng.permutation(len(whole))
            n_held = min(max(1, round(self.validation_fraction * len(rows))), len(rows) - 1)
            held, rest = np.sort(rows[:n_held]), np.sort(rows[n_held:])
            if weight[held].any() and weight[rest].any():
                return (
                    Table(X, self.order_, rest),
                    weight[rest],
                    (Table(X, self.order_, held), weight[held]),
                )
        return whole, weight, None

    def _solver(self) -> Optimizer:
        return optimizers.BY_NAME[self.solver]() if isinstance(self.solver, str) else self.solver

    def _adopt(self, training: Training) -> None:
        progress = training.progress
        self.theta_ = training.model.theta
        self.n_iter_ = progress.epoch
        self.best_iter_ = progress.best_iter if training.held_out is not None else progress.epoch
        self.loss_curve_ = progress.loss_curve
        self.validation_curve_ = progress.validation_curve

    # ---- the fitted model

    def _model(self) -> Model:
        check_is_fitted(self, "theta_")
        return Model(self.network_, self.distribution_, self.order_, self.theta_)

    @property
    def params_(self) -> Params:
        """Named views on `theta_`, in the letters of the papers."""
        model = self._model()
        return model.network.textbook(model.params)

    @property
    def n_parameters_(self) -> int:
        """How many numbers the model has learnt."""
        return self._model().n_parameters

    def _rows(self, X: Any) -> tuple[Model, Table]:
        model = self._model()
        table = Table(read(self, X), model.order)
        check_known(model.conditional, table)
        return model, table

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
            The model is not fitted; X has another shape, other names or values outside the support.
        """
        return _inference.score_rows(*self._rows(X), effective_n_threads(self.n_jobs))

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
        return float(
            np.average(
                scores,
                weights=None if sample_weight is None else check_weight(sample_weight, len(scores)),
            )
        )

    def score_features(self, X: Any) -> Array:
        """Return log p(x_d | those before it in `order_`), whose rows sum to `score_samples`.

        Parameters
        ----------
        X : array-like, DataFrame or CSR matrix of shape (n, D)

        Returns
        -------
        ndarray of shape (n, D), float64
            Nats, in the order of the columns of X.
        """
        return _inference.score_features(*self._rows(X), effective_n_threads(self.n_jobs))

    def conditionals(self, X: Any) -> Any:
        """Return the parameters of each p(x_d | those before it in `order_`).

        Parameters
        ----------
        X : array-like, DataFrame or CSR matrix of shape (n, D)

        Returns
        -------
        ndarray or dict
            Bernoulli: probabilities of one (n, D). Categorical: probabilities (n, D, K) of the
            levels, in sorted order. Densities: a dict of named arrays (n, D) or (n, D, K): mean and
            variance, the CDF at the values of X, quantiles (5, 50 and 95 %), and of mixtures what
            their components are. In the order of the columns of X. If columns have conditionals of
            their own, a dict with each column's, by name or place, without the axis of columns.
        """
        said = _inference.describe(*self._rows(X), effective_n_threads(self.n_jobs))
        names = getattr(self, "feature_names_in_", range(self.n_features_in_))
        return dict(zip(names, said, strict=True)) if isinstance(said, list) else said

    def sample(
        self,
        n_samples: int = 1,
        *,
        evidence: Any = None,
        temperature: float = 1.0,
        random_state: Any = None,
    ) -> Any:
        """Draw rows; a hidden unit is computed once, so that a sample costs one forward pass.

        Parameters
        ----------
        n_samples : int, default=1
        evidence : array-like of shape (D,) or (n_samples, D), optional
            Values to hold, NaN (or None) where free. Each free value is drawn given those *before*
            it in `order_`: exact where the held columns come first, see `impute` for weights where
            they do not.
        temperature : float, default=1
            Each conditional is raised to the power 1 / temperature and normalised.
        random_state : int, RandomState instance or None

        Returns
        -------
        ndarray, DataFrame or CSR matrix of shape (n_samples, D)
            Of the type that `fit` was given.
        """
        model = self._model()
        n_samples = check_count("n_samples", n_samples)
        temperature = check_temperature(temperature)
        if isinstance(self._container, Schema) and evidence is not None:
            evidence = self._container.rows(evidence, n_samples)
        elif hasattr(evidence, "columns"):
            _check_feature_names(self, evidence, reset=False)
        values, held = check_evidence(evidence, n_samples, model)
        n_threads = effective_n_threads(self.n_jobs)
        rng = _generator(random_state)
        drawn = _inference.sample(model, n_samples, values, held, temperature, rng, n_threads)
        return self._container.wrap(drawn)

    def impute(
        self, X: Any, *, n_draws: int = 1, n_particles: int = 16, random_state: Any = None
    ) -> Any:
        """Return X with each missing value (NaN) drawn given the values that are there.

        Evidence before a missing value in `order_` is exact. For evidence after it, each row's
        `n_particles` samples are resampled by the probability they give that evidence (sampling
        importance resampling [1]_); `impute_ess_` tells each row's effective number of samples.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n, D)
        n_draws : int, default=1
            Completions of each row.
        n_particles : int, default=16
            Samples from which a row's completions are drawn; more are more exact.
        random_state : int, RandomState instance or None

        Returns
        -------
        ndarray or DataFrame of shape (n, D), or ndarray of shape (n_draws, n, D) if n_draws > 1

        References
        ----------
        .. [1] D. B. Rubin, "Using the SIR algorithm to simulate posterior distributions", Bayesian
           Statistics 3, 1988.
        """
        model = self._model()
        n_draws = check_count("n_draws", n_draws)
        n_particles = check_count("n_particles", n_particles)
        given, X = X, dense(read(self, X, gaps=True))
        values, held = check_evidence(X, X.shape[0], model, name="X")
        assert values is not None
        assert held is not None
        rng, n_threads = _generator(random_state), effective_n_threads(self.n_jobs)
        propose = partial(
            _inference.particles, model, n_particles=n_particles, rng=rng, n_threads=n_threads
        )
        completed, self.impute_ess_ = _inference.impute(
            propose, np.where(held, X, values), ~missing_to_held(X), n_draws, n_particles, rng
        )
        if n_draws > 1:
            return completed
        return table_like(given, self._container, completed[0])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted model to a file that holds no code; `fastar.load` reads it.

        Parameters
        ----------
        path : str or path
            Written beside it and renamed, so that a crash leaves no half a model.
        """
        from fastar.persistence import save

        save(self, path)

    def __sklearn_tags__(self) -> Any:
        """Return scikit-learn's tags: sparse input is welcome."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
