"""From raw outputs and codes to log p(x), as the compiled conditionals do, in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastar._core.offsets import positions
from fastar._core.parameters import Array
from fastar._kernels._conditionals import KINDS
from fastar.conditionals import Conditional
from fastar.onnx._graph import Graph, asinh

_FARTHEST = 80.0
"""Codes of integers beyond it are like it, as in the kernels."""
_LOG_2, _LOG_2PI = np.log(2), np.log(2 * np.pi)


def log_density(g: Graph, conditional: Conditional, raw: str, codes: str) -> str:
    """Return the sums (n,) of the log-densities of codes (n, D), 0 where missing."""
    features, outputs = conditional.features(), conditional.output_offsets
    widths = np.diff(outputs)
    keys = np.stack([features["kind"], widths, features["last_count"] > 0], axis=1)
    total = None
    for kind, width, has_last in np.unique(keys, axis=0):
        which = np.flatnonzero((keys == (kind, width, has_last)).all(axis=1))
        own_raw = g.reshape(g.columns(raw, positions(outputs, which)), len(which), int(width))
        own = g.columns(codes, which)
        records = features[which]
        if KINDS[kind] == "categorical":
            parent = g.columns(codes, which - records["parent"]) if has_last else None
            logp = _categorical(g, records, own_raw, own, parent, int(width))
        elif KINDS[kind] == "bernoulli":
            z = g.reshape(own_raw, len(which))
            logp = g("Sub", g("Mul", own, z), _softplus(g, z))
        else:
            logp = _located(g, KINDS[kind], records, own_raw, own)
        missing = np.where(conditional.may_miss[which], 0.0, np.nan)
        sums = g.row_sums(g("Where", g("IsNaN", own), missing, logp))
        total = sums if total is None else g("Add", total, sums)
    assert total is not None
    return total


def log_sum_exp(g: Graph, values: str, axis: int) -> str:
    """Return log sum exp along an axis, which goes; -inf where all are."""
    top = g("ReduceMax", values, np.array([axis], np.int64), keepdims=1)
    finite = g("Max", top, np.array(-1e300))
    powers = g("Exp", g("Sub", values, finite))
    sums = g("ReduceSum", powers, np.array([axis], np.int64), keepdims=0)
    # top, and not finite: exp(-inf) of ONNX Runtime 1.18 exceeds 0
    return g("Add", g("Log", sums), g("Squeeze", top, np.array([axis], np.int64)))


def _softplus(g: Graph, z: str) -> str:
    """Return log(1 + exp(z))."""
    e = g("Exp", g("Neg", g("Abs", z)))
    return g("Add", g("Max", z, np.array(0.0)), g("Log", g("Add", e, np.array(1.0))))


def _categorical(
    g: Graph, records: Any, z: str, codes: str, parent: str | None, n_levels: int
) -> str:
    """Return log-densities (n, D) of levels. z (n, D, K), codes and the parents' (n, D)."""
    levels = np.arange(float(n_levels))
    axis = np.array([2], np.int64)
    is_level = g("Equal", g("Unsqueeze", codes, axis), levels)
    chosen = g("ReduceSum", g("Where", is_level, z, np.array(0.0)), axis, keepdims=0)
    if parent is not None:  # levels that the last first digit has not
        is_last = g("Unsqueeze", g("Equal", parent, records["last"].astype(np.float64)), axis)
        beyond = levels >= records["last_count"][:, None]
        z = g("Where", g("And", is_last, beyond), np.array(-np.inf), z)
    logp = g("Add", g("Sub", chosen, log_sum_exp(g, z, 2)), records["high"])
    return g("Where", g("Less", codes, np.array(0.0)), records["low"], logp)


def _located(g: Graph, kind: str, records: Any, raw: str, codes: str) -> str:
    """Return log-densities (n, D) of numbers, alone or in mixtures. raw (n, D, P)."""
    is_mixture = kind.endswith("_mixture") or kind == "integer"
    *z, mean, s = g.several(2 + is_mixture, "Split", raw, axis=2, num_outputs=2 + is_mixture)
    x = g("Unsqueeze", codes, np.array([2], np.int64))

    scale = g("Add", g("Exp", s), records["floor"][:, None])
    logp = _COMPONENTS[kind.removesuffix("_mixture")](g, records, x, mean, scale)
    if not is_mixture:
        return g("Squeeze", logp, np.array([2], np.int64))
    joint = log_sum_exp(g, g("Add", z[0], logp), 2)
    return g("Sub", joint, log_sum_exp(g, z[0], 2))


def _gaussian(g: Graph, records: Any, x: str, mean: str, variance: str) -> str:
    deviation = g("Sub", x, mean)
    square = g("Div", g("Mul", deviation, deviation), variance)
    doubled = g("Add", g("Add", g("Log", variance), square), np.array(_LOG_2PI))
    return g("Mul", doubled, np.array(-0.5))


def _laplace(g: Graph, records: Any, x: str, mean: str, scale: str) -> str:
    distance = g("Div", g("Abs", g("Sub", x, mean)), scale)
    return g("Neg", g("Add", g("Add", g("Log", scale), distance), np.array(_LOG_2)))


def _logistic(g: Graph, records: Any, x: str, mean: str, scale: str) -> str:
    """Return the mass of the cell of a level."""
    unit = records["unit"][:, None]
    ends = g("Sub", x, unit), g("Add", x, unit)
    return _cell_mass(g, records, ends, ends, 2 * unit, mean, scale)


def _integer(g: Graph, records: Any, x: str, mean: str, scale: str) -> str:
    """Return the mass of the cell of an integer, whose code is asinh(z)."""
    unit, one = records["unit"][:, None], np.array(1.0)
    code = g("Clip", x, np.array(-_FARTHEST), np.array(_FARTHEST))
    z = g("Mul", g("Sub", g("Exp", code), g("Exp", g("Neg", code))), np.array(0.5))
    steps = g("Sub", z, unit), g("Add", z, unit)
    ends = asinh(g, steps[0]), asinh(g, steps[1])
    slope = g("Div", one, g("Add", g("Mul", z, z), one))
    is_flat = g("Less", g("Mul", slope, unit**2), np.array(1e-9))
    flat = g("Mul", g("Sqrt", slope), 2 * unit)
    width = g("Where", is_flat, flat, g("Sub", ends[1], ends[0]))
    return _cell_mass(g, records, steps, ends, width, mean, scale)


def _cell_mass(
    g: Graph,
    records: Any,
    steps: tuple[str, str],
    ends: tuple[str, str],
    width: str | Array,
    mean: str,
    scale: str,
) -> str:
    """Return the mass of a cell, to infinity from the lowest level and the highest.

    steps: its ends, of which the records tell the outermost. ends: the same as codes.
    """
    (lowest, highest), (lower, upper), zero = steps, ends, np.array(0.0)
    is_highest = g("Greater", highest, records["high"][:, None])
    is_lowest = g("Less", lowest, records["low"][:, None])
    a, b = (g("Div", g("Sub", end, mean), scale) for end in (upper, lower))
    above = g("Where", is_highest, zero, g("Neg", _softplus(g, g("Neg", a))))
    under = g("Where", is_lowest, zero, g("Neg", _softplus(g, b)))
    decay = g("Exp", g("Neg", g("Div", width, scale)))
    within = g("Log", g("Max", g("Sub", np.array(1.0), decay), np.array(1e-300)))
    rest = g("Where", g("Or", is_highest, is_lowest), zero, within)
    return g("Add", g("Add", above, under), rest)


_COMPONENTS: dict[str, Callable[[Graph, Any, str, str, str], str]] = {
    "gaussian": _gaussian,
    "laplace": _laplace,
    "logistic": _logistic,
    "integer": _integer,
}
