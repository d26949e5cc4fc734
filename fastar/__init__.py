"""Exact autoregressive density estimators for CPUs under a scikit-learn API."""

from importlib.metadata import version

from fastar.classification import GenerativeClassifier
from fastar.detection import DensityOutlierDetector
from fastar.images import PixelRNN
from fastar.imputation import DensityImputer
from fastar.labelling import SequenceLabeller
from fastar.mixture import Mixture
from fastar.models import FVSBN, MADE, NADE, RNADE
from fastar.orderless import DeepNADE
from fastar.persistence import load
from fastar.sequences import GenerativeRNN

__all__ = [
    "FVSBN",
    "MADE",
    "NADE",
    "RNADE",
    "DeepNADE",
    "DensityImputer",
    "DensityOutlierDetector",
    "GenerativeClassifier",
    "GenerativeRNN",
    "Mixture",
    "PixelRNN",
    "SequenceLabeller",
    "__version__",
    "load",
]

__version__ = version("fastar-density")
