"""Long frames as estimators of sequences take them: parameters, reading, what was decided."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from fastar._core.parameters import Array
from fastar._data.frame_types import as_frame
from fastar._data.long_frames import LongFrame
from fastar._data.sequences import (
    SequenceLayout,
    Sequences,
    SequenceTable,
    check_gaps,
    missing_columns,
)
from fastar._kernels._conditionals import OBSERVED, SAMPLED
from fastar.conditionals import Conditional
from fastar.models._fitted import BY_PARAMETER
from fastar.models._parameters import LongFrameParameters


class LongFrames(LongFrameParameters):
    """What estimators of sequences do with long frames."""

    distribution: Any
    end_symbol: bool | None
    distribution_: Conditional
    theta_: Array
    order_: Array
    n_features_in_: int
    _container: SequenceLayout

    def _long_frame(
        self, X: Any, reset: bool, name: str = "X", *, gaps: bool = False
    ) -> tuple[SequenceTable, Array]:
        """Return the sequences of a long frame, and the rows of the frame that are their steps."""
        X = as_frame(X, name)
        asked = self.groups, self.order_by
        frame = LongFrame.of(X, *asked, name) if reset else self._container.frame
        if frame is None or (frame.groups, frame.order_by) != asked:
            known = None if frame is None else (frame.groups, frame.order_by)
            raise ValueError(f"groups and order_by must be as in fit, {known}. Got {asked}.")
        columns, rows, offsets = frame.read(X, name)
        values = frame.to_steps(columns[rows], offsets)
        if reset:
            ends = self.end_symbol is not False
            missing = missing_columns(values[:, frame.n_timed :])
            layout = self._container = SequenceLayout(
                values.shape[1], ends, None, int(np.diff(offsets).max()), "<f8", frame=frame,
                missing=None if missing is None else (False,) * frame.n_timed + missing,
            )  # fmt: skip
            self.n_features_in_ = layout.width
            self.order_ = np.arange(layout.width + layout.ends)
        else:
            layout = self._container
            refused = ~self.distribution_.takes_unknown()[layout.ends + frame.n_timed :]
            columns.check_known(frame.by_column(refused))
        found = Sequences(values, offsets, gaps=True)
        if not gaps:
            check_gaps(found, layout, name)
        return SequenceTable(found, layout.ends, frame=layout.frame), rows

    @property
    def schema_(self) -> list[dict[str, Any]]:
        """What `fit` decided on each value of a step of a DataFrame.

        The entries are those that models of rows have.
        """
        check_is_fitted(self, "theta_")
        layout, asked = self._container, self.distribution
        if layout.frame is None:
            raise AttributeError("schema_ must be asked of a model of a DataFrame. Got arrays.")
        found = []
        for d, column in enumerate(layout.frame.columns):
            own = asked.get(column.name, "auto") if isinstance(asked, dict) else asked
            own = own[d] if isinstance(own, list | tuple) else own
            said = self.distribution_.decided(d + layout.ends, column.offset, column)
            if not (isinstance(own, str) and own == "auto"):
                said["why"] = BY_PARAMETER
            found.append({"column": column.name, **said})
        return found

    def _first_codes(self, n: int, T: int, *, begins: bool) -> tuple[Array, Array | None]:
        """Return codes (n, T F) to draw, and flags of those that do not apply, if there are any.

        begins: whether the first of the T steps is that of the sequences.
        """
        layout, own = self._container, self.distribution_
        codes = np.zeros((n, T, own.n_features), self.theta_.dtype)
        if not layout.n_timed:
            return codes.reshape(n, -1), None
        flags = np.full(codes.shape, SAMPLED, np.uint8)
        offsets = own.column_offsets[int(layout.ends) :]
        start, rise = slice(offsets[0], offsets[1]), slice(offsets[1], offsets[2])
        later = slice(int(begins), T)
        for steps, which in ((later, start), (slice(0, later.start), rise)):
            codes[:, steps, which], flags[:, steps, which] = np.nan, OBSERVED
        return codes.reshape(n, -1), flags.reshape(n, -1)
