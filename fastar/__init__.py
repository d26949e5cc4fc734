"""Exact autoregressive density estimators for CPUs under a scikit-learn API."""

from importlib.metadata import version

from fastar._core.versions import show_versions
from fastar.models import (
    FVSBN,
    MADE,
    NADE,
    RNADE,
    AutoDensity,
    DeepNADE,
    GenerativeRNN,
    Mixture,
    PixelRNN,
    SequenceLabeller,
)
from fastar.persistence import load
from fastar.tools import (
    DensityImputer,
    DensityOutlierDetector,
    GenerativeClassifier,
    as_classifier,
    as_regressor,
)

__all__ = [
    "FVSBN",
    "MADE",
    "NADE",
    "RNADE",
    "AutoDensity",
    "DeepNADE",
    "DensityImputer",
    "DensityOutlierDetector",
    "GenerativeClassifier",
    "GenerativeRNN",
    "Mixture",
    "PixelRNN",
    "SequenceLabeller",
    "__version__",
    "as_classifier",
    "as_regressor",
    "load",
    "show_versions",
]

__version__ = version("fastar-density")
