"""Columns of any kind become numbers and come back as they were."""

import builtins
import json

import hypothesis
import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from fastar._data.columns import Columns
from fastar._data.frame_types import Column
from fastar._data.frames import Schema

pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")
pytest.importorskip("narwhals")

examples = hypothesis.settings(
    max_examples=100, suppress_health_check=list(HealthCheck), derandomize=True
)

PANDAS = {
    "kept": pd.Series([True, False, True]),
    "count": pd.Series([3, 1, 2], dtype="int16"),
    "size": pd.Series([0.5, np.nan, -2.0]),
    "colour": pd.Series(["red", None, "blue"]),
    "grade": pd.Categorical(["low", "high", None], ["low", "mid", "high"], ordered=True),
    "level": pd.Series([3, None, 1], dtype="Int64"),
    "maybe": pd.Series([None, True, False], dtype="boolean"),
}
POLARS = {
    "kept": pl.Series([True, False, True]),
    "count": pl.Series([3, 1, 2], dtype=pl.Int16),
    "size": pl.Series([0.5, None, -2.0]),
    "colour": pl.Series(["red", None, "blue"]),
    "grade": pl.Series(["low", "high", None], dtype=pl.Enum(["low", "mid", "high"])),
    "level": pl.Series([3, None, 1], dtype=pl.Int64),
    "maybe": pl.Series([None, True, False]),
}
FRAMES = {"pandas": lambda: pd.DataFrame(PANDAS), "polars": lambda: pl.DataFrame(POLARS)}
CODED = np.array(
    [
        [1, 3, 0.5, 1, 0, 3, np.nan],
        [0, 1, np.nan, np.nan, 2, np.nan, 1],
        [1, 2, -2, 0, np.nan, 1, 0],
    ]
)
of_both = pytest.mark.parametrize("kind", FRAMES)


def make(kind, columns):
    return pd.DataFrame(columns) if kind == "pandas" else pl.DataFrame(columns)


def replaced(frame, name, values):
    """Return the frame with other values in a column."""
    if isinstance(frame, pl.DataFrame):
        return frame.with_columns(pl.Series(name, values))
    frame = frame.copy()
    frame[name] = pd.Series(values)
    return frame


def assert_same_frame(actual, expected):
    assert type(actual) is type(expected)
    if isinstance(expected, pl.DataFrame):
        assert actual.schema == expected.schema
        # by value: in polars 1 the numbers of categories are each frame's own
        texts = pl.col(pl.Categorical).cast(pl.String)
        assert actual.with_columns(texts).equals(expected.with_columns(texts), null_equal=True)
    else:
        expected = expected.copy()
        for name in expected.columns[[dtype.kind == "O" for dtype in expected.dtypes]]:
            expected[name] = expected[name].where(expected[name].notna(), np.nan)
        pd.testing.assert_frame_equal(actual, expected, check_exact=True)


def restored(schema):
    return Schema.from_json(json.loads(json.dumps(schema.to_json())))


# ---- schemas


@of_both
def test_a_schema_tells_types_categories_and_what_is_missing(kind):
    schema = Schema.of(FRAMES[kind]())
    assert schema.kind == kind
    assert schema.names == ["kept", "count", "size", "colour", "grade", "level", "maybe"]
    assert [each.type for each in schema.columns] == [
        "bool",
        "integer",
        "float",
        "category",
        "category",
        "integer",
        "bool",
    ]
    assert [each.missing for each in schema.columns] == [False, False, True, True, True, True, True]
    assert schema.columns[3].categories == ("blue", "red")
    assert schema.columns[4].categories == ("low", "mid", "high")
    assert not any(schema.columns[d].categories for d in (0, 1, 2, 5, 6))


@of_both
def test_a_schema_survives_json(kind):
    schema = Schema.of(FRAMES[kind]())
    assert restored(schema) == schema
    assert isinstance(schema.columns[0], Column)


@of_both
def test_values_are_coded_and_come_back(kind):
    frame = FRAMES[kind]()
    schema = Schema.of(frame)
    columns = schema.read(frame)
    assert isinstance(columns, Columns)
    assert columns.shape == (3, 7)
    assert columns.ndim == 2
    assert columns.dtype == np.float64
    assert len(columns) == 3
    np.testing.assert_array_equal(columns[:], CODED)
    np.testing.assert_array_equal(np.asarray(columns), CODED)
    assert columns.missing.tolist() == [False, False, True, True, True, True, True]
    assert not columns.unknown.any()
    columns.check_known()
    assert_same_frame(restored(schema).wrap(columns[:]), frame)


@of_both
def test_rows_are_taken_by_slice_int_or_bool(kind):
    frame = FRAMES[kind]()
    columns = Schema.of(frame).read(frame)
    for rows in (
        slice(1, 3),
        slice(None, None, -1),
        slice(0, 3, 2),
        slice(2, 1),
        slice(-1, 10),
        [2, 0, 2],
        np.array([1], np.uint8),
        np.array([-1, 0]),
        np.array([True, False, True]),
        np.array([], int),
    ):
        block = columns[rows]
        assert block.dtype == np.float64
        assert block.flags.c_contiguous
        np.testing.assert_array_equal(block, CODED[rows])
    for wrong in (1, [0.5], np.zeros((2, 2), int), "a"):
        with pytest.raises(IndexError, match="rows must be a slice"):
            columns[wrong]
    with pytest.raises(IndexError, match="out of bounds"):
        columns[[3]]


@of_both
def test_many_rows_are_taken_part_after_part(kind):
    rng = np.random.default_rng(0)
    values = {"a": rng.normal(size=40_000), "b": rng.choice(["x", "y"], 40_000).tolist()}
    frame = make(kind, values)
    columns = Schema.of(frame).read(frame)
    whole = np.column_stack([values["a"], np.array(values["b"]) == "y"])
    np.testing.assert_array_equal(columns[:], whole)
    np.testing.assert_array_equal(columns[7:39_000], whole[7:39_000])
    rows = rng.permutation(40_000)
    np.testing.assert_array_equal(columns[rows], whole[rows])


@of_both
@pytest.mark.parametrize(
    ("n_categories", "storage"), [(254, "u1"), (255, "u2"), (65_534, "u2"), (65_535, "i4")]
)
def test_numbers_of_categories_are_as_narrow_as_they_can_be(kind, n_categories, storage):
    names = [f"{number:06}" for number in range(n_categories)]
    frame = make(kind, {"a": [*names, None]})
    schema = Schema.of(frame)
    assert schema.columns[0].storage == np.dtype(storage)
    columns = schema.read(frame)
    np.testing.assert_array_equal(columns[:][:, 0], [*range(n_categories), np.nan])
    assert_same_frame(schema.wrap(columns[-2:]), make(kind, {"a": [names[-1], None]}))
    unknown = schema.read(make(kind, {"a": ["new", None]}))
    np.testing.assert_array_equal(unknown[:][:, 0], [-1, np.nan])


def test_numbers_without_gaps_are_not_copied():
    values = np.random.default_rng(0).normal(size=100)
    holes = np.where(values > 1, np.nan, values)
    whole = np.arange(100, dtype=np.int16)
    pandas_frame = pd.DataFrame({"a": values, "b": holes, "c": whole}, copy=False)
    polars_frame = pl.DataFrame({"a": values, "b": holes, "c": whole})
    for frame in (pandas_frame, polars_frame):
        columns = Schema.of(frame).read(frame)
        for d, name in enumerate("abc"):
            assert np.shares_memory(columns._columns[d], frame[name].to_numpy())
        assert columns._columns[2].dtype == np.int16
    nullable = pd.DataFrame({"a": pd.array([1, 2], "Int64")})
    columns = Schema.of(nullable).read(nullable)
    assert np.shares_memory(columns._columns[0], nullable["a"].array._data)


@of_both
def test_small_integers_with_gaps_are_kept_in_four_bytes(kind):
    dtype = "Int8" if kind == "pandas" else pl.Int8
    series = (pd if kind == "pandas" else pl).Series([1, None, -5], dtype=dtype)
    frame = make(kind, {"a": series})
    columns = Schema.of(frame).read(frame)
    assert columns._columns[0].dtype == np.float32
    np.testing.assert_array_equal(columns[:][:, 0], [1, np.nan, -5])


@of_both
def test_a_minibatch_does_not_depend_on_the_number_of_rows(kind):
    values = np.random.default_rng(0).normal(size=(50, 3))
    frame = make(kind, {name: values[:, d] for d, name in enumerate("abc")})
    columns = Schema.of(frame).read(frame)
    columns[:][:] = 0  # a block is a copy
    np.testing.assert_array_equal(columns[10:20], values[10:20])


# ---- the types of the libraries

PANDAS_SERIES = {
    "bool": pd.Series([True, False]),
    "object strings": pd.Series(["b", "a", np.nan], dtype=object),
    "string": pd.Series(["b", "a", None], dtype="string"),
    "string[python]": pd.Series(["b", "a", None], dtype="string[python]"),
    "default strings": pd.Series(["b", "a", ""]),
    "float16": pd.Series([0.5, np.nan], dtype="float32"),
    "Float32": pd.Series([0.5, None], dtype="Float32"),
    "uint64": pd.Series([0, 2**53], dtype="uint64"),
    "UInt8": pd.Series([255, None], dtype="UInt8"),
    "int categories": pd.Series([3, 1, None], dtype=pd.CategoricalDtype([3, 2, 1])),
    "int8 categories": pd.Series(pd.Categorical.from_codes([0], pd.Index([3, 1], dtype="int8"))),
    "Int64 categories": pd.Series(pd.Categorical(pd.array([3, None, 1], "Int64"))),
    "float categories": pd.Series([0.5, None], dtype=pd.CategoricalDtype([0.5, 0.25], True)),
    "bool categories": pd.Series([True, None], dtype=pd.CategoricalDtype([True, False])),
    "object categories": pd.Series(
        ["a", None], dtype=pd.CategoricalDtype(pd.Index(["b", "a"], dtype=object))
    ),
    "string categories": pd.Series(
        ["a", None], dtype=pd.CategoricalDtype(pd.Index(["b", "a"], dtype="string[python]"))
    ),
    "no categories": pd.Series([None, None], dtype="category"),
    "nothing": pd.Series([None, None], dtype="Float64"),
}
POLARS_SERIES = {
    "Boolean": pl.Series([True, None]),
    "Float32": pl.Series([0.5, None], dtype=pl.Float32),
    "UInt64": pl.Series([0, 2**53], dtype=pl.UInt64),
    "String": pl.Series(["b", None, ""]),
    "Categorical": pl.Series(["b", None, "a"], dtype=pl.Categorical),
    "Enum": pl.Series(["b", None, "a"], dtype=pl.Enum(["c", "b", "a"])),
    "nothing": pl.Series([None, None], dtype=pl.Enum(["a"])),
    "no strings": pl.Series([None, None], dtype=pl.String),
    "chunks": pl.concat([pl.Series([1, 2]), pl.Series([3, None])]),
}
if hasattr(pl, "Categories"):
    named = pl.Categorical(pl.Categories("fruits", "shop", pl.UInt8))
    POLARS_SERIES["Categories"] = pl.Series(["b", None, "a"], dtype=named)
else:
    POLARS_SERIES["lexical"] = pl.Series(["b", None, "a"], dtype=pl.Categorical("lexical"))


@pytest.mark.parametrize("name", PANDAS_SERIES)
def test_types_of_pandas_come_back(name):
    frame = pd.DataFrame({"x": PANDAS_SERIES[name]})
    schema = restored(Schema.of(frame))
    assert_same_frame(schema.wrap(schema.read(frame)[:]), frame)


@pytest.mark.parametrize("name", POLARS_SERIES)
def test_types_of_polars_come_back(name):
    frame = pl.DataFrame({"x": POLARS_SERIES[name]})
    schema = restored(Schema.of(frame))
    assert_same_frame(schema.wrap(schema.read(frame)[:]), frame)


@pytest.mark.parametrize(
    "dtype",
    ["string[pyarrow]", "arrow string", "large_string", "int8[pyarrow]", "double[pyarrow]",
     "float[pyarrow]", "bool[pyarrow]", "str"],
)  # fmt: skip
def test_types_of_arrow_come_back(dtype):
    pa = pytest.importorskip("pyarrow")
    if dtype == "str" and int(pd.__version__.partition(".")[0]) < 3:
        pytest.skip("'str' is a type of pandas 3")
    arrow = {"arrow string": "string", "large_string": "large_string"}
    if dtype in arrow:
        dtype = pd.ArrowDtype(pa.type_for_alias(arrow[dtype]))
    values = ["b", "a", None] if "str" in str(dtype) else [1, 0, None]
    frame = pd.DataFrame({"x": pd.Series(values, dtype=dtype), "y": [1, 2, 3]})
    schema = restored(Schema.of(frame))
    assert_same_frame(schema.wrap(schema.read(frame)[:]), frame)


@pytest.mark.parametrize("gap", [None, np.nan, pd.NA])
@pytest.mark.parametrize(
    ("value", "dtype"),
    [(True, "boolean"), (2**60 + 1, "Int64"), (2**63 + 1, "UInt64"), (1.5, "Float64")],
)
def test_objects_of_one_kind_have_its_type(value, dtype, gap):
    frame = pd.DataFrame({"c": pd.Series([value, gap, value], dtype=object)})
    schema = Schema.of(frame)
    assert schema == Schema.of(frame.astype({"c": dtype}))
    again = schema.wrap(schema.read(frame)[:])
    assert again["c"].dtype == dtype
    assert (again["c"][0] == value, again["c"].isna().tolist()) == (True, [False, True, False])


def test_integers_as_names_come_back():
    frame = pd.DataFrame(np.array([[1.0, 0.5], [2, np.nan]]), columns=[1, 0])
    schema = restored(Schema.of(frame))
    assert_same_frame(schema.wrap(schema.read(frame)[:]), frame)


def test_what_pandas_cannot_hold_missing_gets_the_type_that_pandas_makes_of_it():
    frame = pd.DataFrame({"a": pd.Series([1, 2], dtype="uint8"), "b": [True, False]})
    drawn = Schema.of(frame).wrap(np.array([[1.4, np.nan], [np.nan, 0.0]]))
    expected = {"a": [1.0, np.nan], "b": pd.Series([np.nan, False], dtype=object)}
    assert_same_frame(drawn, pd.DataFrame(expected))


def test_polars_holds_what_is_missing_in_any_type():
    frame = pl.DataFrame({"a": pl.Series([1, 2], dtype=pl.UInt8), "b": [True, False]})
    drawn = Schema.of(frame).wrap(np.array([[1.4, np.nan], [np.nan, 0.0]]))
    expected = {"a": pl.Series([1, None], dtype=pl.UInt8), "b": [None, False]}
    assert_same_frame(drawn, pl.DataFrame(expected))


@of_both
def test_integers_are_rounded_and_kept_to_their_range(kind):
    library, dtype = (pd, "int8") if kind == "pandas" else (pl, pl.Int8)
    frame = make(kind, {"a": library.Series([1, 2], dtype=dtype), "b": [True, False]})
    drawn = Schema.of(frame).wrap(np.array([[1.6, 0.4], [-1000, 0.6], [1e30, 9]]))
    expected = {"a": library.Series([2, -128, 127], dtype=dtype), "b": [False, True, True]}
    assert_same_frame(drawn, make(kind, expected))


@of_both
@pytest.mark.parametrize("value", [2.0, -1.0, 0.5, np.inf])
def test_frames_are_made_of_known_categories_alone(kind, value):
    schema = Schema.of(make(kind, {"a": ["x", "y"]}))
    with pytest.raises(ValueError, match=rf"0 to 1, in column 'a'\. Got {value} instead"):
        schema.wrap(np.array([[0.0], [value]]))


@of_both
def test_frames_are_made_of_as_many_columns_as_fit_saw(kind):
    schema = Schema.of(make(kind, {"a": ["x", "y"]}))
    with pytest.raises(ValueError, match=r"shape \(n, 1\)\. Got \(3, 2\) instead"):
        schema.wrap(np.zeros((3, 2)))
    assert len(schema.wrap(np.zeros((0, 1)))) == 0


# ---- what is read later


@of_both
def test_numbers_that_agree_are_taken(kind):
    schema = Schema.of(make(kind, {"f": [0.5, 1.5], "i": [3, 4], "b": [True, False]}))
    for other in (
        {"f": [1, 2], "i": [3.0, None], "b": [1, 0]},
        {"f": [True, False], "i": [True, False], "b": [1.0, None]},
        {"f": [None, 1], "i": [None, None], "b": [None, None]},
    ):
        block = schema.read(make(kind, other))[:]
        expected = np.array(list(other.values()), float).T
        np.testing.assert_array_equal(block, expected)


@of_both
def test_either_library_reads_the_others_schema(kind):
    other = FRAMES["polars" if kind == "pandas" else "pandas"]()
    np.testing.assert_array_equal(Schema.of(FRAMES[kind]()).read(other)[:], CODED)


@of_both
def test_categories_agree_by_value(kind):
    schema = Schema.of(make(kind, {"a": ["x", "y", "z"]}))
    if kind == "pandas":
        series = pd.Series(["z", None, "x"], dtype=pd.CategoricalDtype(["q", "z", "x"]))
    else:
        series = pl.Series(["z", None, "x"], dtype=pl.Enum(["q", "z", "x"]))
    columns = schema.read(make(kind, {"a": series}))
    np.testing.assert_array_equal(columns[:][:, 0], [2, np.nan, 0])
    assert not columns.unknown.any()  # "q" is declared but does not occur


@of_both
def test_unknown_categories_are_marked_and_told(kind):
    schema = Schema.of(make(kind, {"n": [1, 2, 3], "a": ["x", "y", None]}))
    columns = schema.read(make(kind, {"n": [1, 2, 3], "a": ["x", None, "new"]}), "X_val")
    assert columns.unknown.tolist() == [False, True]
    assert columns.first_unknown == {1: (2, "new")}
    np.testing.assert_array_equal(columns[:][:, 1], [0, np.nan, -1])
    message = r"X_val must hold categories .* in column 'a': 'x', 'y'\. Got 'new' in row 2 instead"
    with pytest.raises(ValueError, match=message):
        columns.check_known()


@of_both
def test_python_objects_are_read_by_their_values(kind):
    schema = Schema.of(FRAMES["pandas"]())
    frame = FRAMES["pandas"]().astype(object)
    np.testing.assert_array_equal(schema.read(frame)[:], CODED)
    holes = frame.mask(pd.DataFrame(np.ones(frame.shape, bool), columns=frame.columns))
    assert np.isnan(schema.read(holes)[:]).all()


@of_both
@pytest.mark.parametrize(
    ("column", "values", "error", "message"),
    [
        ("colour", [0.5, 1.0, 2.0], TypeError, "categories in column 'colour', as in fit. Got"),
        ("size", ["a", "b", "c"], TypeError, "numbers in column 'size', as in fit. Got"),
        ("kept", ["a", "b", "c"], TypeError, "bools in column 'kept', as in fit. Got"),
        ("count", [1.0, 2.5, 3.0], ValueError, "whole numbers in column 'count'. Got 2.5 in row 1"),
        ("kept", [0, 1, 2], ValueError, "bools in column 'kept'. Got 2 in row 2"),
        ("kept", [0.0, None, 0.5], ValueError, "bools in column 'kept'. Got 0.5 in row 2"),
        ("size", [0.0, None, np.inf], ValueError, "finite numbers in column 'size'. Got inf in"),
    ],
)
def test_columns_that_do_not_agree_are_named(kind, column, values, error, message):
    frame = FRAMES[kind]()
    schema = Schema.of(frame)
    with pytest.raises(error, match=f"X_val must hold {message}"):
        schema.read(replaced(frame, column, values), "X_val")


@of_both
def test_names_must_be_those_of_fit(kind):
    schema = Schema.of(make(kind, {"a": [1], "b": [2]}))
    with pytest.raises(ValueError, match=r"(?s)names of X should.*unseen at fit time:\n- c\n$"):
        schema.read(make(kind, {"a": [1], "b": [2], "c": [3]}))
    with pytest.raises(ValueError, match=r"(?s)seen at fit time, yet now missing:\n- b\n$"):
        schema.read(make(kind, {"a": [1]}))
    with pytest.raises(ValueError, match=r"must be in the same order as they were in fit"):
        schema.read(make(kind, {"b": [1], "a": [2]}))
    many = {f"c{number}": [0] for number in range(9)}
    with pytest.raises(ValueError, match=r"(?s)- c4\n- \.\.\.\nFeature names seen at fit time"):
        schema.read(make(kind, many))


def test_names_must_be_different_and_of_one_kind():
    twice = pd.DataFrame(np.zeros((2, 2)), columns=["a", "a"])
    with pytest.raises(ValueError, match=r"The columns of X must have different names\. Got 'a'"):
        Schema.of(twice)
    once = Schema.of(pd.DataFrame({"a": [1.0]}))
    with pytest.raises(ValueError, match=r"occur more than once:\n- a"):
        once.read(twice)
    with pytest.raises(TypeError, match=r"all have int names\. Got int, str instead"):
        Schema.of(pd.DataFrame({"a": [1], 0: [2]}))
    with pytest.raises(TypeError, match=r"Got tuple instead"):
        Schema.of(pd.DataFrame(np.zeros((1, 1)), columns=pd.MultiIndex.from_tuples([(1, 2)])))


@of_both
def test_frames_need_rows_and_columns(kind):
    frame = FRAMES[kind]()
    with pytest.raises(ValueError, match=r"found 0 sample\(s\)"):
        Schema.of(frame[:0])
    with pytest.raises(ValueError, match=r"found 0 sample\(s\)"):
        Schema.of(frame).read(frame[:0])
    with pytest.raises(ValueError, match=r"X must not be empty"):
        Schema.of(make(kind, {}))


@pytest.mark.parametrize(
    "value", [np.zeros((2, 2)), [[1]], pd.Series([1]), pl.LazyFrame({"a": []})]
)
def test_nothing_but_frames_is_taken(value):
    with pytest.raises(TypeError, match=r"X must be a pandas or polars DataFrame\. Got"):
        Schema.of(value)
    with pytest.raises(TypeError, match=r"X_val must be a pandas or polars DataFrame, as in fit"):
        Schema.of(pd.DataFrame({"a": [1]})).read(value, "X_val")


OTHER_PANDAS = {
    "complex128": pd.Series([1j]),
    "objects such as 1, 'a'": pd.Series([1, "a"], dtype=object),
    "objects": pd.Series([["a"]]),
    "objects such as 'a', 1": pd.Series(["a"] * 200 + [1], dtype=object),
    r"objects such as \['a'\]": pd.Series([None] * 200 + [["a"]], dtype=object),
    "objects such as 20000000000000000000000": pd.Series([2 * 10**22, None], dtype=object),
    "objects such as 10000000000000000000000": pd.Series([10**22], dtype=object),
    "Sparse": pd.Series([1.0], dtype="Sparse[float]"),
    "interval": pd.Series([pd.Interval(0, 1)]),
}
OTHER_POLARS = {
    "List": pl.Series([[1]]),
    "Struct": pl.Series([{"a": 1}]),
    "Binary": pl.Series([b"a"]),
    "Null": pl.Series([None]),
    "objects such as|Object": pl.Series([object()], dtype=pl.Object),
}


@pytest.mark.parametrize(
    ("dtype", "series"), [*OTHER_PANDAS.items(), *OTHER_POLARS.items()]
)  # fmt: skip
def test_columns_of_other_kinds_are_named(dtype, series):
    frame = (
        pd.DataFrame({"x": series})
        if isinstance(series, pd.Series)
        else pl.DataFrame({"x": series})
    )
    with pytest.raises(TypeError, match=rf"(?s)X must hold bool.*column 'x' of.*({dtype})"):
        Schema.of(frame)


@pytest.mark.parametrize(
    "categories", [[1, "a"], [pd.Timestamp(0)], pd.interval_range(0, 2), [True, "a"], [0.5, "a"]]
)
def test_categories_are_of_one_kind(categories):
    frame = pd.DataFrame({"x": pd.Categorical([categories[0]], categories=categories)})
    with pytest.raises(TypeError, match=r"X must hold categories that are all str.*column 'x'"):
        Schema.of(frame)


def test_narwhals_is_asked_for(monkeypatch):
    original = builtins.__import__

    def without(name, *rest, **settings):
        if name == "narwhals":
            raise ImportError(name)
        return original(name, *rest, **settings)

    frame = pd.DataFrame({"a": [1]})
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match="need the package narwhals"):
        Schema.of(frame)


# ---- counting


@of_both
def test_distinct_values_are_counted_up_to_a_limit(kind):
    n = 5000
    values = {
        "a": np.arange(n),
        "b": [None, *np.tile([0.5, 1.5, 2.5], n)[: n - 1].tolist()],
        "c": [None, *np.tile(["x", "y"], n)[: n - 1].tolist()],
        "d": [None] * n,
    }
    frame = make(kind, values)
    if kind == "pandas":
        frame["d"] = frame["d"].astype("Float64")
    else:
        frame = frame.with_columns(pl.col("d").cast(pl.Float64))
    columns = Schema.of(frame).read(frame)
    assert [columns.n_distinct(d) for d in range(4)] == [n, 3, 2, 0]
    assert [columns.n_distinct(d, 2) for d in range(4)] == [3, 3, 2, 0]
    assert [columns.n_distinct(d, 100) for d in range(4)] == [101, 3, 2, 0]


# ---- evidence


@of_both
def test_evidence_may_be_a_frame_a_mapping_or_values(kind):
    frame = FRAMES[kind]()
    schema = Schema.of(frame)
    np.testing.assert_array_equal(schema.rows(frame, 3), CODED)
    np.testing.assert_array_equal(schema.rows(frame[:1], 5), CODED[:1])
    free = np.full(7, np.nan)
    named = free.copy()
    named[[0, 4]] = 1, 2
    np.testing.assert_array_equal(schema.rows({"grade": "high", "kept": True}, 4), [named])
    np.testing.assert_array_equal(schema.rows({}, 4), [free])
    np.testing.assert_array_equal(schema.rows({"size": None, "colour": np.nan}, 4), [free])
    values = [True, 3, 0.5, "red", "low", 3.0, None]
    np.testing.assert_array_equal(schema.rows(values, 4), CODED[:1])
    np.testing.assert_array_equal(schema.rows(tuple(values), 4), CODED[:1])
    np.testing.assert_array_equal(schema.rows([values, values], 2), CODED[[0, 0]])
    np.testing.assert_array_equal(schema.rows(np.array(values, object), 4), CODED[:1])
    values = [np.True_, np.int8(3), np.float32(0.5), np.str_("red"), pd.NA, pd.NaT, np.nan]
    expected = CODED[0].copy()
    expected[4:] = np.nan
    np.testing.assert_array_equal(schema.rows(values, 4), [expected])


def test_evidence_may_be_a_row_of_a_frame():
    frame = FRAMES["pandas"]()
    np.testing.assert_array_equal(Schema.of(frame).rows(frame.iloc[0], 4), CODED[:1])
    frame = FRAMES["polars"]()
    np.testing.assert_array_equal(Schema.of(frame).rows(frame.row(0), 4), CODED[:1])


def test_evidence_may_be_an_array_of_numbers():
    schema = Schema.of(pd.DataFrame({"a": [0.5], "b": [1]}))
    values = np.array([[0.25, np.nan], [np.nan, 3.0]])
    np.testing.assert_array_equal(schema.rows(values, 2), values)


@of_both
@pytest.mark.parametrize(
    ("evidence", "message"),
    [
        (
            {"colour": "green"},
            "held must hold categories .* column 'colour': 'blue', 'red'. Got",
        ),
        ({"grade": 3}, r"column 'grade': 'low', 'mid', 'high'\. Got 3 instead"),
        ({"grade": ["low"]}, r"Got \['low'\] instead"),
        ({"count": 1.5}, r"held must hold a whole number in column 'count'\. Got 1.5 instead"),
        ({"kept": 2}, r"held must hold a bool in column 'kept'\. Got 2 instead"),
        ({"size": "big"}, r"held must hold a finite number in column 'size'\. Got 'big' instead"),
        ({"size": np.inf}, r"a finite number in column 'size'\. Got inf instead"),
        ({"weight": 1}, r"(?s)held must name columns .*unseen at fit time:\n- weight\n"),
        ([1, 2], r"held must have shape \(7,\) or \(4, 7\)\. Got \(1, 2\) instead"),
        ([[None] * 7] * 3, r"held must have shape \(7,\) or \(4, 7\)\. Got \(3, 7\) instead"),
        ("red", r"held must have shape"),
        ([[1, 2], [1]], "held must"),
    ],
)
def test_wrong_evidence_is_told(kind, evidence, message):
    with pytest.raises(ValueError, match=message):
        Schema.of(FRAMES[kind]()).rows(evidence, 4, "held")


@of_both
def test_wrong_frames_of_evidence_are_told(kind):
    frame = FRAMES[kind]()
    schema = Schema.of(frame)
    with pytest.raises(ValueError, match=r"evidence must have shape \(7,\) or \(2, 7\)"):
        schema.rows(frame, 2)
    with pytest.raises(ValueError, match=r"column 'colour': 'blue', 'red'\. Got 'green' in row"):
        schema.rows(replaced(frame, "colour", ["red", "green", None]), 3)


# ---- hypothesis

texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5)
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
