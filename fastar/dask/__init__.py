"""Fits, scores, samples and completions on clusters of Dask."""

from importlib.util import find_spec

if find_spec("dask") is None or find_spec("distributed") is None:
    raise ImportError(
        "fastar.dask needs the packages dask and distributed: pip install 'fastar-density[dask]'."
    )

from fastar.dask._answers import impute, sample, score_samples
from fastar.dask._fit import fit

__all__ = ["fit", "impute", "sample", "score_samples"]
