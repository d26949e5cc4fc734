"""Code that densities and labellers of sequences share."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted, validate_data

from fastar._core.integers import find_offsets
from fastar._core.parameters import Array, Params
from fastar._core.validation import unmask
from fastar._data.context import Context
from fastar._data.sequences import SequenceLayout, Sequences, SequenceTable, is_ragged
from fastar._data.table import Table
from fastar._engine.model import Composition
from fastar._engine.steps import check_steps
from fastar.conditionals import Conditional
from fastar.conditionals._auto import choose_conditional
from fastar.models._base import TrainableModel
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
        is a missing value.
        """
        length = None
        if listed:
            found = Sequences.of(X if is_ragged(X) else list(X), name, gaps=gaps)
        else:
            finite: Any = "allow-nan" if gaps else True
            array = validate_data(
                self, unmask(X, name, gaps=gaps), order="C", reset=reset, ensure_all_finite=finite
            )
            n, length = array.shape
            found = Sequences(array.ravel(), np.arange(n + 1) * length, gaps=gaps)
        width = found.values.shape[1]
        if reset:
            longest = max(1, int(found.lengths.max()))
            dtype, offsets = found.values.dtype.str, find_offsets(found.values)
            self._container = SequenceLayout(width, ends, length, longest, dtype, offsets)
            self.n_features_in_ = width if length is None else length
        if width != self._container.width:
            raise ValueError(
                f"{name} must have {self._container.width} values a step, as in fit. "
                f"Got {width} instead."
            )
        return self._container.to_numbers(found)

    def _chosen(self, given: Any, sequences: Sequences, what: str) -> Conditional:
        """Return the conditional of a step's values that the parameter `what` asks for."""
        values = sequences.values
        plain = Table(values, np.arange(values.shape[1]))
        return choose_conditional(
            given, plain, None, self._conditional, by_column=False, parameter=what
        )

    def _check_support(self, table: SequenceTable, name: str) -> None:
        check_steps(self._entering, table, name)

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
