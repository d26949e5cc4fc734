"""The base of all models, whatever they read: training and files."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from functools import partial
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
from fastar._core.validation import check_weight, unchanged_on_error
from fastar._data.context import Context
from fastar._data.stores import TableElsewhere
from fastar._data.table import Examples
from fastar._engine.model import Composition
from fastar._engine.sharded import ShardedTable, ShardedTraining
from fastar._engine.training import Training
from fastar.callbacks import ProgressBar, callbacks_of
from fastar.conditionals import Conditional
from fastar.models._parameters import (
    TrainingParameters,
)
from fastar.models._streamed import (
    SampledTable,
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
    check_prefixes,
    conditional_from_json,
    conditional_to_json,
    container_to_json,
    prefixed,
)


@dataclass(frozen=True)
class FitData:
    """The arguments of `fit`, read."""

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

    def _alternatives(
        self, model: Any, start: tuple[Any, Array], n_rows: int, rng: np.random.Generator
    ) -> list[Composition]:
        """Return compositions to train beside the model, of which held-out rows choose.

        start: a table and its weights.
        """
        return []

    def _adopt_network(self, network: Network) -> None:
        """Take over the settings of a network that was trained or read."""
        self.network_ = network

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
        callbacks = callbacks_of(self.callbacks)
        with unchanged_on_error(self):
            training = self._prepare(data, keep and hasattr(self, "theta_"), one_pass)
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
        model, alternatives = self._composed(self.network_.zeros()), []
        if keep:
            model.theta[:] = self.theta_
        else:
            start: tuple[Examples, Array] = (table, weight)
            if isinstance(table, TableElsewhere):
                start = table.start
            model.initialise(*start, rng)
            self._adjust_start(model, n_rows)
            if held_out is not None and not isinstance(table, ShardedTable):
                alternatives = self._alternatives(model, start, n_rows, rng.spawn(1)[0])
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
            alternatives=alternatives,
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
        self._adopt_network(training.model.network)
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
        network = model._restored_network(header["network"], theta)
        model._adopt_network(network)
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
