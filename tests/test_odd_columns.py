"""Columns and arrays of types that few tables have: read as what they hold, or refused by name."""

import datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import fastar
from fastar import NADE, DensityImputer, GenerativeClassifier, GenerativeRNN, SequenceLabeller

pytestmark = pytest.mark.kernels

N = 40
VALUES = np.arange(N) % 7 / 4
QUICK = {"n_hidden": 3, "max_iter": 1, "random_state": 0, "n_jobs": 1}
quiet = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
# NumPy 1 has strings of any length as objects alone
STRINGS = np.dtypes.StringDType() if hasattr(np.dtypes, "StringDType") else object


def plain_and_odd():
    """Yield pairs of columns that hold the same values, the second in a type of few tables."""
    yield "byte order", VALUES, VALUES.astype(VALUES.dtype.newbyteorder())
    yield "integers of another byte order", np.arange(N), np.arange(N, dtype=">i2")


@quiet
@pytest.mark.parametrize(
    ("plain", "odd"), [pytest.param(*two, id=name) for name, *two in plain_and_odd()]
)
def test_how_pandas_keeps_numbers_does_not_matter(plain, odd):
    frames = [pd.DataFrame({"x": each, "y": VALUES}) for each in (plain, odd)]
    models = [NADE(**QUICK).fit(frame) for frame in frames]
    for one in models:
        for frame in frames:
            np.testing.assert_array_equal(
                one.score_samples(frame), models[0].score_samples(frames[0])
            )
    drawn = [one.sample(5, random_state=0)["x"].to_numpy(float) for one in models]
    np.testing.assert_array_equal(*drawn)
    filled = models[1].impute(frames[1], random_state=0)["x"]
    there = ~np.isnan(np.asarray(plain, float))
    np.testing.assert_array_equal(np.asarray(filled, float)[there], np.asarray(plain, float)[there])
    assert not filled.isna().any()
    NADE(**QUICK).fit(frames[0][["y"]], context=pd.DataFrame({"x": odd}))


class Zone(datetime.tzinfo):
    """A zone as dateutil and pytz have them: without a name that is known."""

    def utcoffset(self, moment):
        return datetime.timedelta(hours=-3, minutes=-30)

    def dst(self, moment):
        return datetime.timedelta(0)

    def tzname(self, moment):
        return "Newfoundland"


@quiet
@pytest.mark.parametrize(
    ("zone", "name"),
    [
        (datetime.UTC, "UTC"),
        (datetime.timezone(datetime.timedelta(hours=1), "CET"), "UTC+01:00"),  # without summer
        (Zone(), "UTC-03:30"),
    ],
)
@pytest.mark.parametrize("as_objects", [False, True])
def test_a_zone_without_a_name_is_its_difference_from_utc(zone, name, as_objects, tmp_path):
    moments = pd.Series(pd.date_range("2024-07-01", periods=N, freq="h", tz="UTC"))
    moments = moments.dt.tz_convert(zone)
    objects = pd.Series([each.to_pydatetime() for each in moments], dtype=object)
    frame = pd.DataFrame({"when": objects if as_objects else moments, "x": VALUES})
    model = NADE(**QUICK).fit(frame)
    expected = NADE(**QUICK).fit(
        frame.assign(when=moments.dt.tz_convert(name.replace("UTC+", "+").replace("UTC-", "-")))
    )
    np.testing.assert_array_equal(model.score_samples(frame), expected.score_samples(frame))
    drawn = model.sample(5, random_state=0)["when"]
    assert (pd.to_datetime(drawn) == expected.sample(5, random_state=0)["when"]).all()
    model.save(tmp_path / "model")
    again = fastar.load(tmp_path / "model").sample(5, random_state=0)["when"]
    assert (again == drawn).all()
    assert (model.impute(frame)["when"] == frame["when"]).all()


def test_a_zone_of_seconds_is_refused_by_its_column():
    zone = datetime.timezone(datetime.timedelta(seconds=61))
    frame = pd.DataFrame({"when": pd.date_range("2024", periods=N, tz=zone)})
    with pytest.raises(TypeError, match=r"X must have a zone with a name.*Got dtype.*'when'"):
        NADE(**QUICK).fit(frame)


@quiet
def test_strings_of_any_length_are_text():
    texts = np.array(["a", "bb"] * (N // 2), dtype=STRINGS)
    with pytest.raises(ValueError, match=r"X must hold numbers.*Got the text 'a'"):
        NADE(**QUICK).fit(texts[:, None])
    X = VALUES[:, None]
    model = NADE(**QUICK).fit(X, context=texts)
    same = NADE(**QUICK).fit(X, context=texts.astype("U2"))
    np.testing.assert_array_equal(
        model.score_samples(X, context=texts), same.score_samples(X, context=texts.astype("U2"))
    )


def changed(at, value, dtype=np.float64):
    context = np.ones((N, 2), dtype)
    context[0] = 2
    context[at] = value
    return context


@pytest.mark.parametrize(
    ("context", "error", "message"),
    [
        (changed((3, 1), np.inf), ValueError, r"finite numbers. Got inf in row 3, column 1"),
        (changed((3, 1), np.nan), ValueError, r"Got NaN in row 3, column 1"),
        (
            np.tile([[1.0, 1e308], [2.0, 1.7e308]], (N // 2, 1)),
            ValueError,
            r"Got up to 1.7e\+308 in column 1: mend",
        ),
        (changed((3, 1), None, object), TypeError, r"Got NoneType, int in column 1 instead"),
        ({"a": VALUES}, ValueError, r"must be an array or a DataFrame.*Got dict instead"),
        ("abc", ValueError, r"must be an array or a DataFrame.*Got str instead"),
    ],
)
def test_errors_of_a_context_name_column_row_and_value(context, error, message):
    with pytest.raises(error, match=f"^context .*{message}"):
        NADE(**QUICK).fit(VALUES[:, None], context=context)


@quiet
def test_text_among_the_numbers_of_a_context_is_told():
    model = NADE(**QUICK).fit(VALUES[:, None], context=changed((0, 0), 3))
    with pytest.raises(ValueError, match=r"numbers, as in fit. Got 'q' in row 3, column 1"):
        model.score_samples(VALUES[:, None], context=changed((3, 1), "q", object))


SEQUENCES = [np.arange(1 + k % 3) % 2 for k in range(N)]


def labelled(y):
    """Yield (fitted to these labels, what its predictions are for)."""
    X = np.column_stack([VALUES, VALUES[::-1]])
    yield GenerativeClassifier(NADE(**QUICK)).fit(X, y), X
    yield (
        SequenceLabeller(n_hidden=2, max_iter=1, random_state=0, n_jobs=1).fit(SEQUENCES, y),
        SEQUENCES,
    )


@quiet
@pytest.mark.parametrize(
    ("labels", "dtype"),
    [
        (pd.Series([True, False] * (N // 2), dtype="boolean"), bool),
        (np.array([True, False] * (N // 2), dtype=object), bool),
        (np.array(["a", "b"] * (N // 2), dtype=STRINGS), object),
        (pd.Series([2**62, 2**62 + 1] * (N // 2), dtype="Int64"), np.int64),
    ],
)
def test_predictions_are_of_the_labels_own_type(labels, dtype):
    for model, X in labelled(labels):
        assert set(model.predict(X)) <= set(labels)
        assert model.classes_.dtype == dtype
        assert model.classes_.tolist() == sorted(set(labels))


@pytest.mark.parametrize("labels", [["a", 1], ("a", True), [None, "a"]])
def test_lists_of_labels_are_not_made_text(labels):
    y = type(labels)([*labels] * (N // 2))
    with pytest.raises(ValueError, match=r"y must h.*(str|None)"):
        next(labelled(y))
    with pytest.raises(ValueError, match=r"y must h.*(str|None)"):
        SequenceLabeller().fit(SEQUENCES, y)


def test_lists_of_context_are_not_made_text():
    with pytest.raises(TypeError, match="Got int, str in column 0"):
        NADE(**QUICK).fit(VALUES[:, None], context=["a", 1] * (N // 2))


def test_flags_as_objects_are_flags():
    X = np.column_stack([VALUES > 1, VALUES > 0.5]).astype(object)
    assert NADE(**QUICK).fit(X).sample(2).dtype == bool


@pytest.mark.parametrize("dtype", [int, float, bool])
def test_sequences_without_a_step_are_refused_by_fit_alone(dtype):
    empty = [np.array([], dtype)] * 3
    with pytest.raises(ValueError, match=r"X must have at least one step. Got 3 empty sequences"):
        GenerativeRNN(max_iter=1).fit(empty)
    model = GenerativeRNN(n_hidden=2, max_iter=1, random_state=0).fit([*empty, np.ones(2, dtype)])
    assert np.isfinite(model.score_samples(empty)).all()


def test_the_cell_that_is_no_number_is_told():
    with pytest.raises(ValueError, match=r"must hold sequences of numbers. Got None instead"):
        GenerativeRNN(max_iter=1).fit([[1, None, 2]] * 3)


@quiet
def test_a_column_without_a_name_stays_without_one():
    frame = pl.DataFrame({"": VALUES, "g": ["a", "b"] * (N // 2)})
    model = NADE(**QUICK).fit(frame)
    for answer in (model.sample(3), model.impute(frame), model.complete(frame)):
        assert answer.columns == ["", "g"]


@quiet
def test_places_become_names_in_polars():
    frame = pd.DataFrame({0: ["a", "b"] * (N // 2), 1: VALUES, 2: pd.Timestamp("2024-01-01")})
    imputer = DensityImputer(NADE(**QUICK), random_state=0).set_output(transform="polars")
    assert imputer.fit_transform(frame).columns == ["x0", "x1", "x2"]


def _decimals(n=60):
    return [Decimal(90 + k % 20).scaleb(-1) for k in range(n)]


NARROW = {
    "int8": pd.Series(np.arange(60) % 100 + 28, dtype="int8"),
    "UInt8": pd.Series(np.arange(60) % 100 + 196, dtype="UInt8"),
    "float16": pd.Series(6e4 - 1e3 * (np.arange(60) % 7), dtype="float16"),
    "float32": pd.Series(3e38 - 1e37 * (np.arange(60) % 7), dtype="float32"),
    "Float32": pd.Series(3e38 - 1e37 * (np.arange(60) % 7), dtype="Float32"),
    "Decimal objects": pd.Series(_decimals(), dtype=object),
    "decimal128": pd.Series(_decimals(), dtype=pd.ArrowDtype(pa.decimal128(3, 1))),
    "timedelta64": pd.Series(pd.to_timedelta(np.arange(60), unit="D")),
    "datetime64": pd.Series(pd.date_range("2262-01-01", periods=60)).astype("datetime64[ns]"),
}


@quiet
@pytest.mark.parametrize("library", ["pandas", "polars"])
@pytest.mark.parametrize("name", NARROW)
def test_what_a_type_cannot_hold_becomes_the_nearest_value_that_it_can(name, library):
    """Samples and completions never overflow, and what they are can be read again."""
    frame = pd.DataFrame({"x": NARROW[name], "y": np.arange(60) % 7 / 4})
    frame.loc[3, "y"] = np.nan
    if library == "polars":
        frame = pl.from_pandas(frame)
        if name == "decimal128":
            frame = frame.with_columns(pl.col("x").cast(pl.Decimal(3, 1)))
    model = NADE(**QUICK).fit(frame)
    schema = model._container
    far = np.array([[sign * 10.0**power, 0] for power in (5, 18, 40, 300) for sign in (-1, 1)])
    wrapped = schema.wrap(far)
    assert dict(zip(wrapped.columns, wrapped.dtypes, strict=True)) == dict(
        zip(frame.columns, frame.dtypes, strict=True)
    )
    read = schema.read(wrapped)[:]
    assert np.isfinite(read).all()
    rises = read[np.argsort(far[:, 0], kind="stable"), 0]
    assert (np.diff(rises) >= 0).all()
    drawn = model.sample(500, random_state=0)
    assert np.isfinite(schema.read(drawn)[:]).all()
    assert np.isfinite(model.score_samples(drawn)).all()


@quiet
@pytest.mark.parametrize("dtype", ["float16", "float32", "int8", "uint16"])
def test_samples_of_narrow_arrays_do_not_overflow(dtype):
    info = np.finfo(dtype) if dtype.startswith("f") else np.iinfo(dtype)
    low, high = 0.5 * float(info.max), 0.99 * float(info.max)
    X = np.random.default_rng(0).uniform(low, high, (200, 2)).astype(dtype)
    model = NADE(**QUICK).fit(X)
    drawn = model.sample(2000, random_state=0)
    assert drawn.dtype == dtype
    assert np.isfinite(drawn).all()
    assert (drawn > 0).all()
    assert np.isfinite(model.score_samples(drawn)).all()
