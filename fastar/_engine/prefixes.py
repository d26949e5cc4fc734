"""Prefixes of sequences that samples continue."""

from __future__ import annotations

import numpy as np

from fastar._core.parameters import Array, Params
from fastar._data.packed import Steps
from fastar._data.sequences import Sequences
from fastar.conditionals import Conditional
from fastar.networks._recurrent_layers import State
from fastar.networks._recurrent_network import SequenceNetwork


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
