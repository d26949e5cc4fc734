"""Exact autoregressive density estimators for CPUs under a scikit-learn API."""

from importlib.metadata import version

from fastar.models import NADE
from fastar.persistence import load

__all__ = ["NADE", "__version__", "load"]

__version__ = version("fastar-density")
