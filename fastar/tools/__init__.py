"""Classifiers, regressors, detectors and imputers over any density."""

from fastar.tools.classification import GenerativeClassifier
from fastar.tools.detection import DensityOutlierDetector
from fastar.tools.imputation import DensityImputer
from fastar.tools.prediction import ColumnClassifier, ColumnRegressor, as_classifier, as_regressor

__all__ = [
    "ColumnClassifier",
    "ColumnRegressor",
    "DensityImputer",
    "DensityOutlierDetector",
    "GenerativeClassifier",
    "as_classifier",
    "as_regressor",
]
