"""From values to codes, as each conditional's `encode` does."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import singledispatch

import numpy as np

from fastar._core.parameters import Array
from fastar.conditionals import (
    Bernoulli,
    Categorical,
    Conditional,
    Integer,
    LogisticMixture,
    Mixed,
    Number,
)
from fastar.conditionals._conditional import share_beyond
from fastar.conditionals._maps import LEAST, MAPS, TAIL, Maps
from fastar.conditionals._real import Standardised
from fastar.onnx._graph import Graph, asinh

_NAN = np.array(np.nan)


@dataclass
class Coded:
    """Codes (n, D), and what they add to log p(x) beside the densities of codes.

    Parameters
    ----------
    codes : str
    terms : list of str
        Values (n, any): logarithms of the slopes of maps, and -inf outside the support.
    """

    codes: str
    terms: list[str] = field(default_factory=list)


@singledispatch
def coded(conditional: Conditional, g: Graph, values: str) -> Coded:
    """Return the codes of values (n, C), both in model order."""
    raise ValueError(
        f"The conditional {conditional!r} cannot be exported. Bernoulli, Categorical, Gaussian, "
        "Laplace, their mixtures, LogisticMixture, Integer and Number can."
    )


def _outside(g: Graph, wrong: str) -> str:
    """Return -inf (n, C) where values are wrong, 0 elsewhere."""
    return g("Where", wrong, np.array(-np.inf), np.array(0.0))


def _concatenated(g: Graph, parts: list[str], places: list[Array]) -> str:
    """Return matrices (n, m_i) whose columns go to these places as one (n, sum of m)."""
    whole = parts[0] if len(parts) == 1 else g("Concat", *parts, axis=1)
    order = np.argsort(np.concatenate(places))
    return whole if (order == np.arange(len(order))).all() else g.columns(whole, order)


@coded.register
def _(conditional: Mixed, g: Graph, values: str) -> Coded:
    found = [coded(group, g, g.columns(values, columns)) for group, columns in conditional.groups]
    codes = _concatenated(g, [each.codes for each in found], conditional.features_of_groups)
    return Coded(codes, [term for each in found for term in each.terms])


@coded.register
def _(conditional: Bernoulli, g: Graph, values: str) -> Coded:
    zero, one = (g("Equal", values, np.array(each)) for each in (0.0, 1.0))
    wrong = g("Not", g("Or", g("Or", zero, one), g("IsNaN", values)))
    return Coded(values, [_outside(g, wrong)])


@coded.register
def _(conditional: Standardised, g: Graph, values: str) -> Coded:
    centred = g("Sub", values, conditional.location)
    # as `encode` does, where squares would overflow
    codes = g("Clip", g("Div", centred, conditional.scale), np.array(-1e18), np.array(1e18))
    slope = g("Where", g("IsNaN", codes), np.array(0.0), -np.log(conditional.scale))
    return Coded(codes, [slope, _outside(g, g("IsInf", values))])


@coded.register
def _(conditional: LogisticMixture, g: Graph, values: str) -> Coded:
    learnt = conditional.arrays()
    steps = values
    if conditional.step != 1:
        steps = g("Div", values, np.array(conditional.step))
        nearest = g("Round", steps)
        reach = g("Mul", g("Max", g("Abs", steps), np.array(1.0)), np.array(1e-6))
        near = g("LessOrEqual", g("Abs", g("Sub", steps, nearest)), reach)
        steps = g("Where", near, nearest, steps)
    whole = g("Equal", steps, g("Floor", steps))
    wide = g("And", g("GreaterOrEqual", steps, learnt["low"]), whole)
    inside = g("And", wide, g("LessOrEqual", steps, learnt["high"]))
    wrong = g("Not", g("Or", inside, g("IsNaN", steps)))
    codes = g("Div", g("Sub", steps, learnt["centre"]), learnt["spread"])
    return Coded(codes, [_outside(g, wrong)])


@coded.register
def _(conditional: Categorical, g: Graph, values: str) -> Coded:
    if conditional.value_dtype.kind != "f":
        raise ValueError(
            "A categorical column of integers beyond 2**53 cannot be exported: use a DataFrame, in "
            "which they are categories."
        )
    alike: dict[bytes, list[int]] = {}
    for c, levels in enumerate(conditional.levels):
        alike.setdefault(levels.astype(np.float64).tobytes(), []).append(c)
    parts, places = [], []
    for columns in alike.values():
        levels = conditional.levels[columns[0]].astype(np.float64)
        own = g.columns(values, np.array(columns))
        keys = np.append(levels, np.nan)
        parts.append(g.looked_up(own, keys, np.append(np.arange(len(levels)), np.nan), -1.0))
        places.append(np.array(columns))
    levels_found = _concatenated(g, parts, places)
    terms = [_share_of_unknown(g, conditional, values, levels_found)]
    learnt = conditional.arrays()
    if "base" not in learnt:
        return Coded(levels_found, terms)
    numbers = np.split(learnt["number"], np.cumsum(conditional.n_levels_of_columns)[:-1])
    digits = []
    for c, (base, number) in enumerate(zip(learnt["base"], numbers, strict=True)):
        place = g.columns(levels_found, np.array([c]))
        digits += _digits(g, place, float(base), number) if base else [place]
    return Coded(g("Concat", *digits, axis=1), terms)


def _share_of_unknown(g: Graph, conditional: Categorical, values: str, places: str) -> str:
    """Return the log of the share (n, C) that a whole number has of all that are no level, or 0."""
    low, high = conditional._ranges
    s = np.maximum(high - low, 1)
    gaps = np.where(conditional.whole, high - low + 1 - conditional.n_levels_of_columns, 0)
    inside = np.where(gaps > 0, np.log(0.5 / np.maximum(gaps, 1)), share_beyond(1.0, s))
    r = _distance(g, values, low, high)
    beyond = g("Add", _share_beyond(g, r, s), np.log(np.where(gaps > 0, 0.5, 1)))
    share = g("Where", g("Greater", r, np.array(0.0)), beyond, inside)
    is_other = g("And", g("Less", places, np.array(0.0)), conditional.whole)
    return g("Where", is_other, share, np.array(0.0))


def _distance(g: Graph, values: str, low: Array, high: Array) -> str:
    """Return how far (n, C) values lie below the lowest or above the highest number, or 0."""
    outside = g("Max", g("Sub", low, values), g("Sub", values, high))
    return g("Round", g("Max", outside, np.array(0.0)))


def _share_beyond(g: Graph, r: str, s: Array) -> str:
    """Return what `share_beyond` does, of distances of 1 or less those of 1."""
    far = g("Add", g("Max", r, np.array(1.0)), s)
    logs = g("Add", g("Log", far), g("Log", g("Sub", far, np.array(1.0))))
    return g("Sub", np.log(s / 2), logs)


def _digits(g: Graph, place: str, base: float, number: Array) -> list[str]:
    """Return the two digits (n, 1) of a level's number: NaN where missing, -1 and NaN of others."""
    known = g("GreaterOrEqual", place, np.array(0.0))
    at = g.cast(g("Where", known, place, np.array(0.0)), np.int64)
    own = g("Gather", number.astype(np.float64), at)
    first = g("Floor", g("Div", own, np.array(base)))
    second = g("Sub", own, g("Mul", first, np.array(base)))
    return [g("Where", known, first, place), g("Where", known, second, _NAN)]


@coded.register
def _(conditional: Number, g: Graph, values: str) -> Coded:
    learnt, maps, C = conditional.arrays(), conditional.maps, conditional.n_columns
    atoms, counts = conditional.atoms_of_columns, np.diff(conditional.column_offsets)
    has_zero = np.array([len(each) > 0 and each[0] == 0 for each in atoms])
    negative = g("Less", values, np.array(0.0))
    zero = g("And", g("Equal", values, np.array(0.0)), ~has_zero)
    below = g("And", g("Or", negative, zero), maps.is_positive)
    wrong = g("Or", g("And", below, learnt["other"] == 0), g("IsInf", values))
    # the place of the atom from 1, 0 of other numbers, -1 below a support, NaN where missing
    choices = [
        g.looked_up(
            g.columns(values, np.array([c])),
            np.append(own, np.nan),
            np.append(np.arange(1.0, len(own) + 1), np.nan),
            0.0,
        )
        for c, own in enumerate(atoms)
    ]
    chosen = g("Where", g("And", below, counts == 2), np.array(-1.0), g("Concat", *choices, axis=1))
    is_number = g("Equal", chosen, np.array(0.0))
    y, log_slope = _mapped(g, maps, values)
    y = g("Where", is_number, y, _NAN)
    log_slope = g("Where", is_number, log_slope, np.array(0.0))
    features = [[c, C + c] if counts[c] == 2 else [C + c] for c in range(C)]
    codes = g.columns(g("Concat", chosen, y, axis=1), np.concatenate(features))
    # where a value lies among all that are below a support
    z = g("Div", g("Clip", g("Neg", values), np.array(0.0), np.array(1e300)), maps.spread)
    log_height = g("Mul", g("Log", g("Add", z, np.array(1.0))), np.array(-2.0))
    density = g("Sub", log_height, np.log(maps.spread))
    place = g("Where", g("And", below, counts == 2), density, np.array(0.0))
    return Coded(codes, [log_slope, place, _outside(g, wrong)])


@coded.register
def _(conditional: Integer, g: Graph, values: str) -> Coded:
    learnt, C = conditional.arrays(), conditional.n_columns
    low, high = conditional._limits
    zero, has_choice = np.array(0.0), np.diff(conditional.column_offsets) == 2
    choices, places = [], []
    for c, atoms in enumerate(conditional.atoms_of_columns):
        own = g.columns(values, np.array([c]))
        found = np.append(np.arange(1.0, len(atoms) + 1), np.nan)
        choices.append(g.looked_up(own, np.append(atoms, np.nan), found, 0.0))
        if len(atoms):  # places are counted without the atoms
            below = g.cast(g("Greater", own, atoms), np.float64)
            own = g("Sub", own, g("ReduceSum", below, np.array([1], np.int64), keepdims=1))
        places.append(own)
    r = _distance(g, values, low, high)
    is_beyond = g("And", g("Greater", r, zero), has_choice)
    chosen = g("Where", is_beyond, np.array(-1.0), g("Concat", *choices, axis=1))
    deviations = g("Sub", g("Concat", *places, axis=1), learnt["location"])
    y = asinh(g, g("Div", deviations, learnt["scale"]))
    y = g("Where", g("Or", g("Equal", chosen, zero), ~has_choice), y, _NAN)
    allowed = g("Or", g("GreaterOrEqual", values, low), learnt["other"] > 0)
    is_whole = g("And", g("Equal", values, g("Round", values)), g("Not", g("IsInf", values)))
    wrong = g("Not", g("Or", g("And", is_whole, allowed), g("IsNaN", values)))
    features = [[c, C + c] if has_choice[c] else [C + c] for c in range(C)]
    codes = g.columns(g("Concat", chosen, y, axis=1), np.concatenate(features))
    share = g("Where", is_beyond, _share_beyond(g, r, learnt["scale"]), zero)
    return Coded(codes, [share, _outside(g, wrong)])


def _mapped(g: Graph, maps: Maps, values: str) -> tuple[str, str]:
    """Return y (n, C) of values and log dy / dx, as `Maps` does."""
    t, log_slope = values, None
    x = g("Max", values, np.array(LEAST))
    if (is_log := maps.kind == MAPS.index("log")).any():
        log_x = g("Log", x)
        t = g("Where", is_log, log_x, t)
        log_slope = g("Where", is_log, g("Neg", log_x), np.array(0.0))
    if (is_softplus := maps.kind == MAPS.index("inverse softplus")).any():
        v = g("Div", x, maps.spread)
        log_v = g("Sub", g("Log", x), np.log(maps.spread))
        # log(1 - exp(-v)), by its series where v is small
        small = g("Add", g("Mul", v, np.array(-0.5)), log_v)
        large = g("Log", g("Sub", np.array(1.0), g("Exp", g("Neg", v))))
        rest = g("Where", g("Less", v, np.array(1e-6)), small, large)
        t = g("Where", is_softplus, g("Add", x, g("Mul", rest, maps.spread)), t)
        # log(1 + exp(-t / s)) is -log(1 - exp(-x / s))
        own = g("Where", is_softplus, g("Neg", rest), np.array(0.0))
        log_slope = own if log_slope is None else g("Add", log_slope, own)
    u = g("Div", g("Sub", t, maps.location), maps.scale)
    size = g("Div", g("Abs", u), np.array(TAIL))
    is_far = g("Greater", size, np.array(1.0))
    log_size = g("Log", g("Max", size, np.array(1.0)))
    far = g("Mul", g("Sign", u), g("Add", g("Mul", log_size, np.array(TAIL)), np.array(TAIL)))
    bend = g("Sub", g("Neg", log_size), np.log(maps.scale))
    return g("Where", is_far, far, u), bend if log_slope is None else g("Add", bend, log_slope)
