"""Any frame that hypothesis makes comes back."""

import hypothesis
import numpy as np
import pandas as pd
import polars as pl
import pytest
from frame_cases import assert_same_frame, make, of_both, restored, texts
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from fastar._data.frames import Schema

examples = hypothesis.settings(
    max_examples=100, suppress_health_check=list(HealthCheck), derandomize=True
)


floats = st.floats(allow_nan=False, allow_infinity=False)


def integers(bits, *, signed):
    bound = min(bits - signed, 53)  # what float64 holds
    return st.integers(-(2**bound) if signed else 0, 2**bound - 1)


def gapped(values):
    return st.one_of(st.none(), values)


@st.composite
def pandas_series(draw, n):
    sizes = [8, 16, 32, 64]

    def several(values):
        return draw(st.lists(values, min_size=n, max_size=n))

    kind = draw(st.sampled_from(["bool", "integer", "float", "string", "category"]))
    nullable, bits = draw(st.booleans()), draw(st.sampled_from(sizes))
    if kind == "bool":
        values = st.booleans()
        return (
            pd.Series(several(gapped(values)), dtype="boolean")
            if nullable
            else pd.Series(several(values), dtype=bool)
        )
    if kind == "integer":
        signed = draw(st.booleans())
        values, name = integers(bits, signed=signed), f"{'int' if signed else 'uint'}{bits}"
        if nullable:
            name = name.replace("i", "I").replace("u", "U")
            return pd.Series(several(gapped(values)), dtype=name)
        return pd.Series(np.array(several(values), name))
    if kind == "float":
        width = draw(st.sampled_from([32, 64]))
        values = several(gapped(st.floats(width=width, allow_nan=False, allow_infinity=False)))
        if nullable:
            return pd.Series(values, dtype=f"Float{width}")
        return pd.Series(np.array(values, f"float{width}"))
    if kind == "string":
        dtype = draw(st.sampled_from(["string[python]", object, None]))
        values = several(gapped(texts))
        if dtype is object:
            return pd.Series([np.nan if each is None else each for each in values], dtype=object)
        return pd.Series(values, dtype=dtype or pd.Series([""]).dtype)
    of = draw(st.sampled_from([texts, st.integers(-99, 99), floats, st.booleans()]))
    categories = draw(st.lists(of, min_size=1, max_size=9, unique=True))
    dtype = pd.CategoricalDtype(categories, ordered=draw(st.booleans()))
    return pd.Series(several(gapped(st.sampled_from(categories))), dtype=dtype)


@st.composite
def polars_series(draw, n):
    kind = draw(st.sampled_from(["bool", "integer", "float", "string", "category", "enum"]))
    if kind == "bool":
        values, dtype = st.booleans(), pl.Boolean
    elif kind == "integer":
        bits, signed = draw(st.sampled_from([8, 16, 32, 64])), draw(st.booleans())
        values = integers(bits, signed=signed)
        dtype = getattr(pl, f"{'Int' if signed else 'UInt'}{bits}")
    elif kind == "float":
        width = draw(st.sampled_from([32, 64]))
        values = st.floats(width=width, allow_nan=False, allow_infinity=False)
        dtype = getattr(pl, f"Float{width}")
    elif kind == "enum":
        categories = draw(st.lists(texts, min_size=1, max_size=9, unique=True))
        values, dtype = st.sampled_from(categories), pl.Enum(categories)
    else:
        values, dtype = texts, pl.String if kind == "string" else pl.Categorical
    return pl.Series(draw(st.lists(gapped(values), min_size=n, max_size=n)), dtype=dtype)


@st.composite
def frames(draw, kind):
    n = draw(st.integers(1, 20))
    names = draw(st.lists(texts.filter(bool), min_size=1, max_size=6, unique=True))
    of = pandas_series if kind == "pandas" else polars_series
    return make(kind, {name: draw(of(n)) for name in names})


@of_both
@examples
@given(data=st.data())
def test_any_frame_comes_back(kind, data):
    frame = data.draw(frames(kind))
    schema = restored(Schema.of(frame))
    assert schema == Schema.of(frame)
    columns = schema.read(frame)
    assert not columns.unknown.any()
    whole = columns[:]
    assert_same_frame(schema.wrap(whole), frame)
    np.testing.assert_array_equal(columns.missing, np.isnan(whole).any(axis=0))
    np.testing.assert_array_equal(columns.missing, [each.missing for each in schema.columns])
    for d in range(len(schema.columns)):
        present = np.unique(whole[~np.isnan(whole[:, d]), d])
        assert columns.n_distinct(d) == len(present)
        np.testing.assert_array_equal(np.unique(columns.present(d)), present)
    rows = data.draw(st.lists(st.integers(0, len(frame) - 1), max_size=9))
    np.testing.assert_array_equal(columns[rows], whole[rows])
    np.testing.assert_array_equal(schema.rows(frame, len(frame)), whole)
    np.testing.assert_array_equal(
        schema.rows(dict(zip(schema.names, cells(frame), strict=True)), 9), whole[:1]
    )


def cells(frame):
    """Return the values of the first row."""
    return (
        frame.row(0)
        if isinstance(frame, pl.DataFrame)
        else [frame[name].iloc[0] for name in frame.columns]
    )


@examples
@given(data=st.data())
def test_infinite_values_never_pass(data):
    frame = data.draw(frames("pandas"))
    frame["inf"] = np.r_[[0.5] * (len(frame) - 1), -np.inf]
    with pytest.raises(ValueError, match=f"column 'inf'. Got -inf in row {len(frame) - 1}"):
        Schema.of(frame).read(frame)
