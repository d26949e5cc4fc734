"""Tables that several estimators see, each as it knows them, and rows held out from all."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import has_fit_parameter

from fastar._core.parameters import Array
from fastar._data.columns import Columns
from fastar.models._fitting import fit_arguments


class Rows:
    """A table as the user gave it, whose columns may have names, and as the array in it."""

    def __init__(self, given: Any, checked: Any, context: Any = None) -> None:
        self.given, self.checked, self.context = given, checked, context

    def __len__(self) -> int:
        return int(self.checked.shape[0])

    def as_known(self, named: bool) -> Any:
        """Return the table for an estimator that knows names of the columns, or does not."""
        return self.given if named or isinstance(self.checked, Columns) else self.checked

    def known_to(self, member: Any) -> Any:
        """Return the table for a fitted estimator."""
        return self.as_known(hasattr(member, "feature_names_in_"))

    @property
    def given_context(self) -> dict[str, Any]:
        """The context, if there is one, as a keyword argument."""
        return {} if self.context is None else {"context": self.context}

    def take(self, which: Array) -> Rows:
        """Return some of the rows."""
        checked = self.checked[which]
        framed = hasattr(self.given, "columns")
        context = None if self.context is None else _safe_indexing(self.context, which)
        return Rows(_safe_indexing(self.given, which) if framed else checked, checked, context)


def held_out(weight: Array, share: float, rng: np.random.RandomState, purpose: str) -> Array:
    """Return the rows that no estimator is trained on: a share of those with a positive weight."""
    rows = rng.permutation(np.flatnonzero(weight))
    if len(rows) < 2:
        raise ValueError(
            f"{purpose} needs rows to hold out: X_val, or at least 2 rows of a positive "
            f"weight in X. Got n_samples={len(rows)} instead."
        )
    n_held = min(max(1, round(share * len(rows))), len(rows) - 1)
    return np.sort(rows[:n_held])


def member_arguments(
    member: Any,
    rows: Rows,
    sample_weight: Array | None,
    rows_val: Rows | None,
    held: Array,
    named: bool,
) -> tuple[Any, dict[str, Any]]:
    """Return X and keyword arguments of `fit` for an estimator that is not to see the rows `held`.

    rows_val: for its early stopping, where it has one. named: whether the columns have names.
    """
    seen = None
    if len(held):
        seen = np.ones(len(rows), bool)
        seen[held] = False
    X, arguments = fit_arguments(
        member,
        rows.as_known(named),
        seen,
        sample_weight=sample_weight,
        context=rows.context,
        name="member",
    )
    if rows_val is not None and has_fit_parameter(member, "X_val"):
        arguments["X_val"] = rows_val.as_known(named)
        if rows_val.context is not None:
            arguments["context_val"] = rows_val.context
    return X, arguments
