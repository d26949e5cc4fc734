"""Code that densities and labellers of sequences share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from numbers import Real
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted, validate_data

from fastar._core.integers import find_offsets
from fastar._core.limits import beyond_memory
from fastar._core.parameters import Array, Params
from fastar._core.validation import check_finite, unmask
from fastar._data.context import Context
from fastar._data.frame_types import frame_kind
from fastar._data.sequence_layouts import ArrayLayout, SequenceLayout, missing_columns
from fastar._data.sequences import (
    Sequences,
    SequenceTable,
    check_any_step,
    check_numbers_of_frame,
    is_ragged,
)
from fastar._data.stores import TableElsewhere
from fastar._engine.model import Composition
from fastar._engine.steps import SequenceModel, check_steps
from fastar._engine.training import Training
from fastar.conditionals import Conditional
from fastar.conditionals._auto import choose_conditional
from fastar.models._base import FitData, TrainableModel
from fastar.networks._recurrent_layers import State
from fastar.networks._recurrent_network import SequenceNetwork


class SequenceEstimator(TrainableModel, abstract=True):
    """Base of what reads sequences by a recurrent network."""

    network_: SequenceNetwork
    order_: Array
    context_: Context | None
    n_features_in_: int
    _container: SequenceLayout

    @property
    @abstractmethod
    def _entering(self) -> Conditional:
        """The fitted conditional whose codes of a step's values enter the network."""

    # ---- fitting

    def _read_sequences(
        self,
        X: Any,
        reset: bool,
        name: str,
        *,
        listed: bool,
        ends: bool = False,
        gaps: bool = False,
    ) -> Sequences:
        """Return what the user gave, and in `fit` remember its kind.

        listed: it is sequences, not rows of one length. ends: they have an end symbol. gaps: NaN
        stands for a value that is not known.
        """
        marked = getattr(self, "missing", "error") != "error"
        asked, gaps = gaps, gaps or marked
        if listed:
            found, length = _of_list(X, name, gaps), None
        else:
            found, length = self._of_array(X, name, reset, gaps)
        if reset:
            self._remember_layout(found, length, name, ends, marked)
        layout = self._container
        layout.check_width(found, name)
        if not asked:
            layout.check_gaps(found, name)
        return layout.to_numbers(found)

    def _of_array(self, X: Any, name: str, reset: bool, gaps: bool) -> tuple[Sequences, int]:
        """Return the rows of a table as sequences, and their length."""
        check_numbers_of_frame(X, name)
        if isinstance(X, list | tuple):
            check_any_step(sum(map(np.size, X)), len(X), name)
        array = validate_data(
            self, unmask(X, name, gaps=gaps), order="C", reset=reset, ensure_all_finite=False
        )
        if array.dtype.kind not in "biuf":
            others = (each for each in array.flat if not isinstance(each, Real))
            cell = next(others, array.flat[0])  # as of integers that no type of NumPy holds
            raise ValueError(
                f"{name} must hold sequences of numbers. Got {cell!r:.80} instead, of no "
                "type of numbers of NumPy."
            )
        check_finite(array, name, ("row", "step"), gaps=True)
        n, length = array.shape
        if not gaps and array.dtype.kind == "f" and np.isnan(array).any():
            row, step = np.argwhere(np.isnan(array))[0]
            raise ValueError(
                f"Input {name} contains NaN in row {row}, step {step}. Sequences of several "
                "lengths are a list of arrays, without padding."
            )
        return Sequences(array.ravel(), np.arange(n + 1) * length, gaps=gaps), length

    def _remember_layout(
        self, found: Sequences, length: int | None, name: str, ends: bool, marked: bool
    ) -> None:
        """Keep the kind of the sequences of `fit`. length: that of all where they are an array."""
        check_any_step(len(found.values), len(found), name)
        kind: Callable[..., SequenceLayout] = (
            SequenceLayout if length is None else partial(ArrayLayout, length=length)
        )
        self._container = kind(
            width=found.values.shape[1],
            ends=ends,
            longest=max(1, int(found.lengths.max())),
            dtype=found.values.dtype.str,
            offsets=find_offsets(found.values),
            missing=missing_columns(found.values) if marked else None,
        )
        self.n_features_in_ = self._container.n_features_in

    def _read_streams(self, X: Any, state: Any) -> tuple[Sequences, int, int, State]:
        """Return the next steps (n T, F) of n streams, n, T, and the state before them."""
        sequences, n, T = self._container.read_streams(X)
        if state is None:
            state = self.network_.start(n)
        elif not _is_state(state, [(n, H) for H in self.network_.hidden_layer_sizes]):
            raise ValueError(
                f"state must be None, or what the last call returned for the same {n} streams. "
                f"Got {state!r:.80} instead."
            )
        return sequences, n, T, state

    def _chosen(self, given: Any, sequences: Sequences, what: str) -> Conditional:
        """Return the conditional of a step's values that the parameter `what` asks for."""
        values, layout = sequences.values, self._container
        layout.check_columns(values)
        return choose_conditional(
            given,
            layout.steps(values),
            layout.names,
            self._conditional,
            by_column=layout.missing is not None,  # whole numbers are floats beside NaN
            offsets=layout.value_offsets,
            parameter=what,
        )

    def _check_support(self, table: SequenceTable, name: str) -> None:
        check_steps(self._entering, table, name, self._container)

    def _prepare(self, data: FitData, keep: bool, one_pass: bool) -> Training:
        """Return the training to run; ValueError if a step of it would not fit into memory."""
        training = super()._prepare(data, keep, one_pass)
        table, model = training.table, training.model
        if isinstance(table, TableElsewhere):
            table, _ = table.start
        assert isinstance(table, SequenceTable)
        assert isinstance(model, SequenceModel)
        batch = np.sort(table.sequences.lengths[table.rows])[-training.batch_size :]
        if beyond := beyond_memory(model.training_bytes(batch)):
            raise ValueError(
                f"The sequences of a batch must fit into memory in training. Those of X have up to "
                f"{batch[-1]} steps, and {len(batch)} of them take {beyond}. Set bptt, which cuts "
                "gradients, so that parts of a sequence pass one after the other, or lower "
                "batch_size or n_hidden."
            )
        return training

    def _sizes(self) -> dict[str, Any]:
        return {
            "output_offsets": self.distribution_.output_offsets,
            "inputs": self._entering.inputs,
            "n_context": 0 if self.context_ is None else self.context_.size,
            "dtype": np.dtype(self.dtype),
        }

    # ---- the fitted model

    def _model(self) -> Composition:
        check_is_fitted(self, "theta_")
        return self._composed(self.theta_)

    @property
    def params_(self) -> Params:
        """Named views on `theta_`, in the letters of the papers."""
        return self._model().params

    @property
    def n_parameters_(self) -> int:
        """The number of parameters in use."""
        return self._model().n_parameters


def _is_state(state: Any, shapes: list[tuple[int, int]]) -> bool:
    """Return whether it has what a state of layers of these shapes has."""
    if not isinstance(state, list) or len(state) != len(shapes):
        return False
    return all(
        isinstance(pair, tuple)
        and len(pair) == 2
        and all(isinstance(each, np.ndarray) and each.shape == shape for each in pair)
        for pair, shape in zip(state, shapes, strict=True)
    )


def _of_list(X: Any, name: str, gaps: bool) -> Sequences:
    """Return an iterable of sequences as such."""
    is_several = (
        isinstance(X, Iterable)
        and not isinstance(X, Mapping)
        and frame_kind(X) is None
        and getattr(X, "ndim", 1) != 0
    )
    return Sequences.of(list(X) if is_several and not is_ragged(X) else X, name, gaps=gaps)
