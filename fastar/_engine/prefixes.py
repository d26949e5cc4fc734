"""Prefixes of sequences that samples continue."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastar._core.parameters import Array, Params
from fastar._data.packed import Steps
from fastar._data.sequences import SequenceLayout, Sequences, is_ragged
from fastar.conditionals import Conditional
from fastar.networks._recurrent_layers import State
from fastar.networks._recurrent_network import SequenceNetwork


def read_prefix(
    prefix: Any, n: int, layout: SequenceLayout, name: str = "prefix", *, gaps: bool = False
) -> Sequences:
    """Return the one sequence that n samples are given, or that of each.

    gaps: NaN is a missing value.

    Raises
    ------
    ValueError
        There are other than 1 or n, or their steps have other than F values.
    """
    if is_ragged(prefix):
        found = Sequences.of(prefix, name, gaps=gaps)
    else:
        array = np.asarray(prefix)
        rows = array.ndim == 2 and layout.length is not None
        found = Sequences.of([*array] if rows else [array], name, gaps=gaps)
    if len(found) not in (1, n) or found.values.shape[1] != layout.width:
        raise ValueError(
            f"{name} must be one sequence, or one for each of {n} samples, of {layout.width} "
            f"values a step. Got {len(found)} of {found.values.shape[1]} values a step."
        )
    layout.check_range(found.values, name)
    return found


def state_after(
    prefix: Sequences,
    n: int,
    ends: bool,
    network: SequenceNetwork,
    params: Params,
    conditional: Conditional,
    context: Array | None,
    n_threads: int,
) -> State:
    """Return the state of n samples after their prefixes, none of whose steps is an end."""
    values, lengths = prefix.values, prefix.lengths
    if ends:
        values = np.column_stack([np.zeros(len(values)), values])
    # one more step each, whatever it holds: the state after the others is that before it
    codes = conditional.encode(values, network.dtype)
    codes, lengths = np.insert(codes, np.cumsum(lengths), 0, axis=0), lengths + 1
    if context is not None and len(lengths) < n:
        codes, lengths = np.tile(codes, (n, 1)), np.tile(lengths, n)
    steps, start = Steps.of(codes, lengths), network.start(len(lengths))
    state = network.state_before_last(params, steps, start, n_threads, context)
    times = n // len(lengths)
    return [(np.repeat(h, times, axis=0), np.repeat(s, times, axis=0)) for h, s in state]


def prepend_prefix(parts: list[Array], prefix: Sequences) -> list[Array]:
    """Return samples (l, F), each after its prefix."""
    heads = np.split(prefix.values.astype(parts[0].dtype), prefix.offsets[1:-1])
    heads = heads * (len(parts) // len(heads))
    return [np.concatenate(pair) for pair in zip(heads, parts, strict=True)]
