"""Versions of what a process runs, for reports of faults."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import PackageNotFoundError, version

from fastar._core.threads import effective_n_threads
from fastar._kernels import _cpu

_NEEDED = ("numpy", "scipy", "scikit-learn", "narwhals", "safetensors", "joblib", "tqdm")
_OPTIONAL = ("polars", "pandas", "pyarrow", "matplotlib")


def show_versions() -> None:
    """Print the versions of fastar, Python and the libraries, and what the kernels run on.

    Examples
    --------
    >>> import fastar
    >>> fastar.show_versions()  # doctest: +ELLIPSIS
    fastar           ...
    """
    found = {
        "fastar": _version("fastar-density"),
        "python": " ".join(sys.version.split()),
        "executable": sys.executable,
        "machine": platform.platform(),
        "instructions": _cpu.isa_name,
        "threads": f"{effective_n_threads(None)}, {'with' if _cpu.has_openmp else 'no'} OpenMP",
    }
    found |= {name: _version(name) for name in _NEEDED + _OPTIONAL}
    for name, value in found.items():
        print(f"{name:<16} {value}")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
