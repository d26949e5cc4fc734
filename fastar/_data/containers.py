"""What kind of array the user gave, so that samples come back as the same (frames: `_frames`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from fastar._core.parameters import Array


@dataclass(frozen=True)
class Container:
    """The kind of a table and the type of its values.

    Parameters
    ----------
    kind : {"array", "csr"}
    dtype : str
    shape : tuple of int or None
        Of what a row is as the user has it, if not (D,).
    """

    kind: str
    dtype: str
    shape: tuple[int, ...] | None = None

    @classmethod
    def of(cls, X: Any, checked: Any) -> Container:
        """Return the container of X; checked: X as scikit-learn's validation returned it."""
        shape = checked.shape[1:] if checked.ndim > 2 else None
        return cls("csr" if sparse.issparse(X) else "array", checked.dtype.str, shape)

    def wrap(self, values: Array) -> Any:
        """Return values (n, D) as this container, in its type."""
        cast_values = cast(values, self.dtype)
        if self.shape is not None:
            return cast_values.reshape(len(values), *self.shape)
        return sparse.csr_array(cast_values) if self.kind == "csr" else cast_values


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
