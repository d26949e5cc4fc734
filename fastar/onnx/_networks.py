"""From codes to raw outputs, as each network's `forward` does."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import numpy as np

from fastar._core.inputs import MAY_MISS, ONE_HOT, Inputs
from fastar._core.parameters import Params
from fastar.networks._masked import Masked
from fastar.networks._masked_weights import Connection
from fastar.networks._shared_hidden import SharedHidden
from fastar.onnx._graph import Graph

_ACTIVATIONS = {"sigmoid": "Sigmoid", "tanh": "Tanh", "relu": "Relu"}


def raw_outputs(g: Graph, network: Any, params: Params, codes: str) -> list[str]:
    """Return the raw outputs (n, sum of P) of each member for codes (n, D) in its float type."""
    if network.n_context:
        raise ValueError(
            "A density given a context cannot be exported: a graph has the rows for its inputs."
        )
    if isinstance(network, SharedHidden):
        return [_shared_hidden(g, network, params, codes)]
    if isinstance(network, Masked):
        entering = _entering(g, network.inputs, network.n_features, codes, network.dtype)
        several = network.n_members > 1
        shared = {
            name: g.constant(params[name].reshape(shape))
            for name, shape in _shapes(network).items()
            if several
        }
        return [
            _masked(g, network, params, entering, member, shared)
            for member in range(network.n_members)
        ]
    raise ValueError(
        f"The network {network.name!r} cannot be exported: those of NADE, RNADE, MADE and FVSBN "
        "can."
    )


def _entering(g: Graph, inputs: Inputs, n_features: int, codes: str, dtype: Any) -> str:
    """Return what multiplies each row of the input weights of the first features (n, rows)."""
    widths = np.diff(inputs.offsets)[:n_features]
    feature = np.repeat(np.arange(n_features), widths)
    place = np.arange(len(feature)) - inputs.offsets[feature]
    flags = inputs.input_flags[feature]
    missing = ((flags & MAY_MISS) > 0) & (place == widths[feature] - 1)
    level = ((flags & ONE_HOT) > 0) & ~missing
    factor = ~(level | missing)
    parts, places = [], []
    for which in (factor, level, missing):
        if not which.any():
            continue
        own = codes if factor.all() else g.columns(codes, feature[which])
        if which is factor:
            own = g("Where", g("IsNaN", own), np.array(0, dtype), own)
        elif which is level:
            own = g.cast(g("Equal", own, place[which].astype(dtype)), dtype)
        else:
            own = g.cast(g("IsNaN", own), dtype)
        parts.append(own)
        places.append(np.flatnonzero(which))
    if len(parts) == 1:
        return parts[0]
    return g.columns(g("Concat", *parts, axis=1), np.argsort(np.concatenate(places)))


# ---- NADE


def _shared_hidden(g: Graph, network: SharedHidden, params: Params, codes: str) -> str:
    """Return raw (n, sum of P): a scan carries the pre-activation from feature to feature."""
    D, H, dtype = network.n_features, network.n_hidden, network.dtype
    if network.markov_order < D - 1:
        raise ValueError(
            f"markov_order of NADE and RNADE must be None to be exported. Got "
            f"{network.markov_order} instead: MADE and FVSBN can be exported with it."
        )
    outputs, rows = network.output_offsets, network.inputs.offsets
    b = params["b"].reshape(-1)
    parts = [g.repeated(b[: outputs[1]], codes)]
    if D == 1:
        return parts[0]
    entering = _entering(g, network.inputs, D - 1, codes, dtype)
    W, V = params["W"].reshape(-1, H), params["V"].reshape(-1, H)
    state = g.repeated(params["c"], codes)

    def widths(d: int) -> tuple[int, int]:
        return int(rows[d] - rows[d - 1]), int(outputs[d + 1] - outputs[d])

    # consecutive features of the same widths are the steps of one scan
    for (Q, P), stretch in groupby(range(1, D), widths):
        steps = list(stretch)
        T, first = len(steps), steps[0]
        row, output = int(rows[first - 1]), int(outputs[first])
        x = g.reshape(g.columns(entering, np.arange(row, row + T * Q)), T, Q)
        own_V = V[output - outputs[1] :][: T * P].reshape(T, P, H)
        constants = [
            W[row : row + T * Q].reshape(T, Q, H),
            own_V.transpose(0, 2, 1),
            b[output : output + T * P].reshape(T, P),
        ]
        if network.rescaled:
            constants.append(params["rho"][first - 1 : first - 1 + T, None])
        body = _step(g, network, Q, P)
        state, raw = g.several(
            2, "Scan", state, x, *constants, body=body, num_scan_inputs=1 + len(constants),
            scan_input_axes=[1] + [0] * len(constants), scan_output_axes=[1],
        )  # fmt: skip
        parts.append(g.reshape(raw, T * P))
    return g("Concat", *parts, axis=1)


def _step(g: Graph, network: SharedHidden, Q: int, P: int) -> Any:
    """Return the step of a scan: a feature's change of the hidden layer, and the next outputs."""
    H, dtype, body = network.n_hidden, network.dtype, g.body()
    state, x = body.input(dtype, ["n", H]), body.input(dtype, ["n", Q])
    W, V, b = (body.input(dtype, shape) for shape in ([Q, H], [H, P], [P]))
    after = body("Add", state, body("MatMul", x, W))
    scaled = body("Mul", after, body.input(dtype, [1])) if network.rescaled else after
    hidden = body(_ACTIVATIONS[network.activation], scaled)
    raw = body("Add", body("MatMul", hidden, V), b)
    return body.closed("step", {after: (dtype, ["n", H]), raw: (dtype, ["n", P])})


# ---- MADE, FVSBN


def _shapes(network: Masked) -> dict[str, tuple[int, int]]:
    """Return the rows and columns of each matrix, the direct one last."""
    return {each.name: (each.stairs.rows, each.stairs.columns) for each in network.wiring(0).all}


def _masked(
    g: Graph, network: Masked, params: Params, entering: str, member: int, shared: dict[str, str]
) -> str:
    """Return raw (n, sum of P) of one member. shared: matrices for the masks of several."""
    wiring = network.wiring(member)

    def product(source: str, each: Connection) -> str:
        mask = each.mask()
        if each.name in shared:
            W: Any = g("Where", mask, shared[each.name], np.array(0, network.dtype))
        else:
            W = np.where(mask, params[each.name].reshape(mask.shape), 0)
        return g("MatMul", source, W)

    source, sums = entering, []
    for layer, each in enumerate(wiring.layers):
        before = product(source, each)
        if each is wiring.layers[-1]:
            sums.append(before)
        else:
            before = g("Add", before, params[f"c{layer}"])
            source = g(_ACTIVATIONS[network.activation], before)
    if wiring.direct is not None:
        sums.append(product(entering, wiring.direct))
    raw = sums[0] if len(sums) == 1 else g("Add", *sums)
    return g("Add", raw, params["b"].reshape(-1))
