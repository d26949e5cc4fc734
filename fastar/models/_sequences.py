"""Code that densities and labellers of sequences share."""

from __future__ import annotations

from sklearn.utils.validation import check_is_fitted

from fastar._core.parameters import Array, Params
from fastar._data.context import Context
from fastar._data.sequences import SequenceLayout
from fastar._engine.model import Model
from fastar.models._base import TrainableModel
from fastar.networks import Recurrent, RecurrentFrames


class SequenceEstimator(TrainableModel, abstract=True):
    """Base of what reads sequences by a recurrent network."""

    network_: Recurrent | RecurrentFrames
    order_: Array
    context_: Context | None
    n_features_in_: int
    _container: SequenceLayout

    def _model(self) -> Model:
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
