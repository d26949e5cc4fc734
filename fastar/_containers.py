"""What kind of table the user gave, so that samples come back as the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from fastar._parameters import Array


@dataclass(frozen=True)
class Container:
    """The kind of a table and the types of its columns.

    Parameters
    ----------
    kind : {"array", "csr", "pandas", "polars"}
    dtype : str
        Of an array or CSR matrix.
    columns, dtypes : list of str
        Of a frame.
    """

    kind: str
    dtype: str
    columns: list[Any]
    dtypes: list[str]

    @classmethod
    def of(cls, X: Any, checked: Any) -> Container:
        """Return the container of X; checked: X as scikit-learn's validation returned it."""
        dtype = checked.dtype.str
        package = type(X).__module__.partition(".")[0]
        if sparse.issparse(X):
            return cls("csr", dtype, [], [])
        if package in ("pandas", "polars") and hasattr(X, "columns"):
            return cls(package, dtype, list(X.columns), [str(each) for each in X.dtypes])
        return cls("array", dtype, [], [])

    def wrap(self, values: Array) -> Any:
        """Return values (n, D) as this container, in its types."""
        if self.kind == "csr":
            return sparse.csr_array(cast(values, self.dtype))
        if self.kind == "array":
            return cast(values, self.dtype)
        if self.kind == "polars":
            import polars

            types = [getattr(polars, name) for name in self.dtypes]
            series = [
                polars.Series(name, np.ascontiguousarray(cast(column, _numpy_type(kind))), kind)
                for name, column, kind in zip(self.columns, values.T, types, strict=True)
            ]
            return polars.DataFrame(series)
        import pandas

        columns = {
            name: pandas.Series(cast(column, _pandas_type(kind))).astype(kind)
            for name, column, kind in zip(self.columns, values.T, self.dtypes, strict=True)
        }
        return pandas.DataFrame(columns)


def cast(values: Array, dtype: Any) -> Array:
    """Return values as `dtype`: for integers the nearest one in its range."""
    dtype = np.dtype(dtype)
    if dtype.kind in "iu" and values.dtype.kind == "f":
        info = np.iinfo(dtype)
        top = values.dtype.type(info.max)
        if int(top) > info.max:  # the limit has no floating-point twin: take the one below
            top = np.nextafter(top, values.dtype.type(0))
        values = np.clip(np.rint(values), info.min, top)
    return values.astype(dtype, copy=False)


def _numpy_type(kind: Any) -> Any:
    name = str(kind).lower()
    return bool if name == "boolean" else name


def _pandas_type(name: str) -> Any:
    """Return NumPy's type under a pandas type such as Int64, boolean or uint8."""
    try:
        return np.dtype("bool" if name == "boolean" else name.lower())
    except TypeError:
        return np.dtype(np.float64)
