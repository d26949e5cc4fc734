"""The models: a network, a conditional, an order and an optimizer each, or several models."""

from typing import Any

from fastar.models.auto_density import AutoDensity
from fastar.models.deep_nade import DeepNADE
from fastar.models.labeller import SequenceLabeller
from fastar.models.made import FVSBN, MADE
from fastar.models.mixture import Mixture
from fastar.models.nade import NADE, RNADE
from fastar.models.pixel_rnn import PixelRNN
from fastar.models.rnn import GenerativeRNN, Sequences

_MODELS: tuple[type[Any], ...] = (
    FVSBN,
    NADE,
    RNADE,
    MADE,
    DeepNADE,
    GenerativeRNN,
    PixelRNN,
    SequenceLabeller,
    Mixture,
    AutoDensity,
)
BY_NAME: dict[str, type[Any]] = {model.__name__: model for model in _MODELS}

__all__ = [
    "BY_NAME",
    "FVSBN",
    "MADE",
    "NADE",
    "RNADE",
    "AutoDensity",
    "DeepNADE",
    "GenerativeRNN",
    "Mixture",
    "PixelRNN",
    "SequenceLabeller",
    "Sequences",
]
