"""Columns of a table read batch by batch that are no part of its rows: contexts and weights."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

import numpy as np

from fastar._core.parameters import Array
from fastar._core.validation import weights_as_numbers
from fastar._data.frame_types import frame_kind, names_of


@dataclass(frozen=True)
class Roles:
    """Columns with a role of their own, by name, or by place in arrays.

    Parameters
    ----------
    context : tuple
        The columns of the context, in their order.
    weight : str, int or None
        That of the weights of rows.
    ignored : tuple
        Columns that a batch may have or not, and that are left out.
    """

    context: tuple[Any, ...] = ()
    weight: Any = None
    ignored: tuple[Any, ...] = ()

    @classmethod
    def of(
        cls,
        context: Any = None,
        sample_weight: Any = None,
        table: str = "X",
        context_name: str = "context",
    ) -> Roles:
        """Return the roles that arguments of methods name; ValueError if they name no columns."""
        names: tuple[Any, ...] = ()
        if context is not None:
            listed = isinstance(context, list | tuple)
            names = tuple(context) if listed else (context,)
            if not names or not all(isinstance(each, str | Integral) for each in names):
                raise _no_names(context_name, context, table, "['age', 'state']")
            if len({*names}) < len(names):
                raise ValueError(f"{context_name} must name a column once. Got {context!r}.")
        if not (sample_weight is None or isinstance(sample_weight, str | Integral)):
            raise _no_names("sample_weight", sample_weight, table, "'weight'")
        if sample_weight is not None and sample_weight in names:
            raise ValueError(
                f"sample_weight must be another column than those of {context_name}. "
                f"Got {sample_weight!r} for both."
            )
        return cls(names, sample_weight)

    def without_weights(self) -> Roles:
        """Return the roles of a table whose rows all weigh the same, with weights or without."""
        return replace(self, weight=None, ignored=() if self.weight is None else (self.weight,))

    def split(self, batch: Any) -> tuple[Any, Any, Array | None]:
        """Return the rows of a batch, their context and their weights (n,), None where not named.

        Raises
        ------
        ValueError
            A column is not there, none is left for the rows, or a weight is none.
        """
        if not (self.context or self.weight is not None or self.ignored):
            return batch, None, None
        there = names_of(batch)
        named = [*self.context, *([] if self.weight is None else [self.weight])]
        for name in named:
            if name not in there:
                raise ValueError(
                    f"X must have the columns of the context and the weights. Got no column "
                    f"{name!r} among {', '.join(map(repr, there[:10]))}"
                    f"{', ...' if len(there) > 10 else ''}."
                )
        rest = [name for name in there if name not in (*named, *self.ignored)]
        if not rest:
            raise ValueError("X must have a column beside the context and the weights. Got none.")
        context = _columns(batch, [*self.context]) if self.context else None
        if isinstance(context, np.ndarray):
            _check_finite(context, self.context)
        weight = None if self.weight is None else _weights(batch, self.weight)
        return _columns(batch, rest), context, weight


NO_ROLES = Roles()
"""The roles of a table without context and weights."""


def _no_names(argument: str, given: Any, table: str, example: str) -> ValueError:
    shown = " ".join(repr(given).split())
    return ValueError(
        f"{argument} must name columns of {table} where {table} is read batch by batch, such as "
        f"{argument}={example}. Got {type(given).__name__} {shown:.60} instead."
    )


def _columns(batch: Any, names: list[Any]) -> Any:
    return batch[names] if frame_kind(batch) else np.ascontiguousarray(batch[:, names])


def _check_finite(context: Array, places: Iterable[int]) -> None:
    if context.dtype.kind != "f" or np.isfinite(context).all():
        return
    row, d = np.argwhere(~np.isfinite(context))[0]
    raise ValueError(
        f"X must hold finite numbers in the columns of the context. Got {context[row, d]} in "
        f"column {list(places)[d]}, row {row}."
    )


def _weights(batch: Any, name: Any) -> Array:
    """Return the weights (n,) as float64."""
    column = batch[name] if frame_kind(batch) else batch[:, name]
    weight = weights_as_numbers(column, f"X must hold numbers in column {name!r}, its weights")
    wrong = ~(np.isfinite(weight) & (weight >= 0))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(
            f"X must hold weights that are finite and not negative in column {name!r}. "
            f"Got {weight[row]} in row {row}."
        )
    return weight
