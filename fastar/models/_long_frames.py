"""Long frames as estimators of sequences take them, beside lists and arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from fastar._core.parameters import Array
from fastar._data.frame_types import as_frame
from fastar._data.long_frames import LongFrame
from fastar._data.sequence_layouts import FrameLayout, SequenceLayout
from fastar._data.sequences import Sequences, SequenceTable, is_ragged, listed
from fastar._kernels._conditionals import OBSERVED, SAMPLED
from fastar.conditionals import Conditional
from fastar.conditionals._auto import asked_of_columns
from fastar.models._fitted import schema_entry
from fastar.models._parameters import LongFrameParameters


class LongFrames(LongFrameParameters):
    """Mixin of estimators of sequences: long frames, and sequences in other containers."""

    distribution: Any
    end_symbol: bool | None
    distribution_: Conditional
    theta_: Array
    order_: Array
    n_features_in_: int
    _container: SequenceLayout
    _read_sequences: Callable[..., Sequences]

    def _sequences(
        self, X: Any, reset: bool, name: str = "X", *, gaps: bool = False
    ) -> SequenceTable:
        """Return what the user gave, and in `fit` remember what it is."""
        if self.groups is None:
            return self._listed(X, reset, name, gaps)
        return self._long_frame(X, reset, name, gaps)

    def _prefixes(self, given: Any, n: int, name: str, *, gaps: bool) -> Sequences:
        """Return the one prefix that n samples are given, or that of each.

        gaps: it is the evidence, whole sequences in which NaN is free.
        """
        if self.groups is None:
            layout = self._container
            return layout.read_evidence(given, n) if gaps else layout.read_prefix(given, n)
        found = self._long_frame(given, False, name, gaps, returned=True).sequences
        if len(found) not in (1, n):
            raise ValueError(
                f"{name} must be one group, or one for each of {n} samples. Got {len(found)}."
            )
        return found

    def _listed(self, X: Any, reset: bool, name: str, gaps: bool) -> SequenceTable:
        """Return sequences of a list or an array."""
        if not reset and isinstance(self._container, FrameLayout):
            raise ValueError("groups must be the column that fit was given. Got None instead.")
        X = listed(X, name)
        is_list = is_ragged(X, name) or not (reset or self._container.of_rows)
        ends = is_list if self.end_symbol is None else bool(self.end_symbol)
        found = self._read_sequences(X, reset, name, listed=is_list, ends=ends, gaps=gaps)
        layout = self._container
        if reset:
            self.order_ = np.arange(layout.width + layout.ends)
        if not layout.ends and not found.lengths.all():
            raise ValueError(f"{name} must hold sequences of one step or more. Got an empty one.")
        return layout.table(found)

    def _long_frame(
        self, X: Any, reset: bool, name: str, gaps: bool, *, returned: bool = False
    ) -> SequenceTable:
        """Return the groups of a long frame; returned: samples are to hold its values."""
        X, asked = as_frame(X, name), (self.groups, self.order_by)
        frame = LongFrame.of(X, *asked, name) if reset else getattr(self._container, "frame", None)
        known = None if frame is None else (frame.groups, frame.order_by)
        if frame is None or known != asked:
            raise ValueError(f"groups and order_by must be as in fit, {known}. Got {asked}.")
        columns, rows, offsets = frame.read(X, name)
        values = frame.to_steps(columns[rows], offsets)
        if reset:
            ends = self.end_symbol is not False
            layout = self._container = FrameLayout.of(values, offsets, frame, ends)
            self.n_features_in_ = layout.n_features_in
            self.order_ = np.arange(layout.width + layout.ends)
        else:
            refused = ~self.distribution_.takes_unknown()[self._container.ends + frame.n_timed :]
            # what fit has not seen is no category of samples
            columns.check_known(None if returned else frame.by_column(refused))
        found = Sequences(values, offsets, gaps=True)
        if not gaps:
            self._container.check_gaps(found, name)
        return self._container.table(found)

    @property
    def schema_(self) -> list[dict[str, Any]]:
        """The decisions of `fit` on each value of a step of a DataFrame.

        The entries are those that models of rows have.
        """
        check_is_fitted(self, "theta_")
        layout = self._container
        if not isinstance(layout, FrameLayout):
            raise AttributeError("schema_ must be asked of a model of a DataFrame. Got arrays.")
        columns, found = layout.frame.columns, []
        is_category = [column.type == "category" for column in columns]
        names = [column.name for column in columns]
        asked = asked_of_columns(self.distribution, names, is_category)
        for d, (column, own) in enumerate(zip(columns, asked, strict=True)):
            said = self.distribution_.decided(d + layout.ends, column.offset, column)
            found.append(schema_entry(column.name, said, own))
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
