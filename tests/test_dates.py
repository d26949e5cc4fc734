"""Columns of dates, moments, times of day, durations, periods and decimals."""

import datetime as dt
import itertools
import json
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from common import fit, make
from numpy.testing import assert_allclose, assert_array_equal

import fastar
from fastar import NADE, DeepNADE, DensityImputer, DensityOutlierDetector, Mixture
from fastar._core.schema import EntryError
from fastar._data.clocks import Clock, changes, count_of
from fastar._data.frames import Schema
from fastar._data.summary import Summary
from fastar._data.table import Table
from fastar.conditionals import Calendar

N = 240
RNG = np.random.default_rng(0)
MINUTES = pd.Series(
    pd.Timestamp("2023-01-02") + pd.to_timedelta(RNG.integers(0, 400 * 24 * 60, N), unit="min")
).astype("datetime64[us]")
SECONDS = RNG.integers(0, 5000, N).tolist()
UTC = MINUTES.dt.tz_localize("UTC")


def arrow(values, type_):
    return pd.Series(pd.array(pa.array(list(values), type_), dtype=pd.ArrowDtype(type_)))


PANDAS = {
    "datetime64[ns]": MINUTES.astype("datetime64[ns]"),
    "datetime64[s]": MINUTES.astype("datetime64[s]"),
    "zone": UTC.dt.tz_convert("Europe/Berlin"),
    "midnights of a zone": MINUTES.dt.floor("D").dt.tz_localize("Asia/Kolkata"),
    "difference from UTC": UTC.dt.tz_convert("+01:00"),
    "years": MINUTES.dt.to_period("Y"),
    "quarters": MINUTES.dt.to_period("Q"),
    "months": MINUTES.dt.to_period("M"),
    "weeks": MINUTES.dt.to_period("W"),
    "days": MINUTES.dt.to_period("D"),
    "hours": MINUTES.dt.to_period("h"),
    "timedelta64": pd.Series(pd.to_timedelta(SECONDS, unit="s")),
    "date objects": MINUTES.dt.date,
    "datetime objects": pd.Series([each.to_pydatetime() for each in MINUTES], dtype=object),
    "datetime objects of a zone": pd.Series([each.to_pydatetime() for each in UTC], dtype=object),
    "time objects": MINUTES.dt.time,
    "timedelta objects": pd.Series([dt.timedelta(seconds=k) for k in SECONDS], dtype=object),
    "Decimal objects": pd.Series([Decimal(k).scaleb(-2) for k in SECONDS], dtype=object),
    "date32": arrow(MINUTES.dt.date, pa.date32()),
    "date64": arrow(MINUTES.dt.date, pa.date64()),
    "timestamp": arrow(UTC, pa.timestamp("us", "America/New_York")),
    "time32": arrow(MINUTES.dt.time, pa.time32("s")),
    "duration": arrow(SECONDS, pa.duration("s")),
    "decimal128": arrow([Decimal(k).scaleb(-2) for k in SECONDS], pa.decimal128(10, 2)),
}
OF_POLARS = pl.Series([each.to_pydatetime() for each in MINUTES])
POLARS = {
    "Date": OF_POLARS.dt.date(),
    "Datetime[ms]": OF_POLARS.cast(pl.Datetime("ms")),
    "Datetime[ns]": OF_POLARS.cast(pl.Datetime("ns")),
    "zone": OF_POLARS.dt.replace_time_zone("UTC").dt.convert_time_zone("America/New_York"),
    "Time": OF_POLARS.dt.time(),
    "Duration": pl.Series([dt.timedelta(seconds=k) for k in SECONDS]),
    "Decimal": pl.Series([Decimal(k).scaleb(-2) for k in SECONDS]),
}


def with_gap(series):
    """Return a frame of the series with a gap in row 3, and of a number."""
    y = np.arange(N) % 7 + 0.25
    if isinstance(series, pl.Series):
        frame = pl.DataFrame({"x": series, "y": y})
        gap = pl.int_range(pl.len()) == 3
        return frame.with_columns(x=pl.when(gap).then(None).otherwise(pl.col("x")))
    gap = None if series.dtype == object else pd.NA
    return pd.DataFrame({"x": series.where(np.arange(N) != 3, gap), "y": y})


def quick(frame, **settings):
    return fit(make("NADE", n_hidden=4, max_iter=1, **settings), frame)


def moments(texts, dtype="datetime64[us]"):
    return pd.DataFrame({"when": pd.to_datetime(texts, format="ISO8601").astype(dtype)})


CASES = [("pandas", name) for name in PANDAS] + [("polars", name) for name in POLARS]


@pytest.mark.parametrize(("library", "name"), CASES)
def test_every_type_comes_back_as_it_was(library, name, tmp_path):
    frame = with_gap((PANDAS if library == "pandas" else POLARS)[name])
    model = quick(frame)
    schema, numbers = model._container, model._container.read(frame)[:]
    again = schema.wrap(numbers)
    drawn, imputed = model.sample(50, random_state=0), model.impute(frame, random_state=0)
    completed = model.complete(frame[:5])
    held = model.sample(2, evidence={"x": frame["x"][0]}, random_state=0)
    if library == "pandas":
        pd.testing.assert_frame_equal(again, frame)
        assert drawn["x"].notna().all()
        pd.testing.assert_series_equal(imputed["x"].drop(3), frame["x"].drop(3))
        assert imputed["x"].dtype == completed["x"].dtype == drawn["x"].dtype == frame["x"].dtype
        assert type(drawn["x"].iloc[0]) is type(frame["x"].iloc[0])
    else:
        assert again.equals(frame)
        assert drawn.schema == frame.schema
        assert imputed.schema == completed.schema == frame.schema
        assert imputed["x"].null_count() == 0
    assert held["x"].to_list() == [frame["x"][0]] * 2
    model.save(tmp_path / "model")
    scores = model.score_samples(frame)
    assert_array_equal(fastar.load(tmp_path / "model").score_samples(frame), scores)
    assert np.isfinite(scores).all()
    assert np.isfinite(model.score_samples(drawn)).all()
    assert len(model.predict(frame[:2], target="x", n_particles=8)) == 2


@pytest.mark.parametrize("name", ["zone", "Date", "Duration", "Datetime[ms]", "Decimal"])
def test_frames_of_the_other_library_are_taken(name):
    frame = with_gap(POLARS[name])
    model = quick(frame)
    other = frame.to_pandas()
    assert_allclose(model.score_samples(other), model.score_samples(frame))
    assert isinstance(model.impute(other, random_state=0), pd.DataFrame)


def test_arrow_tables_are_taken():
    table = pa.table({"when": pa.array(list(MINUTES.dt.date), pa.date32())})
    model = quick(table)
    assert model.sample(3, random_state=0)["when"].dtype == pl.Date
    assert np.isfinite(model.score_samples(table)).all()


@pytest.mark.parametrize("unit", ["D", "h", "s", "ns", "object"])
def test_arrays_of_times_become_frames(unit):
    X = np.column_stack([MINUTES.to_numpy(), MINUTES.to_numpy() + np.timedelta64(5, "D")])
    X = X.astype(object if unit == "object" else f"datetime64[{unit}]")
    model = quick(X)
    drawn = model.sample(3, random_state=0)
    assert list(drawn.columns) == [0, 1]
    assert (drawn.dtypes == pd.DataFrame(X).infer_objects().dtypes).all()
    assert np.isfinite(model.score_samples(X)).all()
    held = model.sample(2, evidence={1: X[0, 1]}, random_state=0)
    assert (held[1] == pd.Timestamp(X[0, 1])).all()
    assert np.isfinite(model.log_marginal(X[:3], random_state=0)).all()


# ---- clocks


@pytest.mark.parametrize(
    ("text", "resolution"),
    [
        (["2020-01-01", "2020-05-03"], "day"),
        (["2020-01-01", "2020-05-01", "2020-05-01"], "day"),
        (["2020-01-01", "2020-05-01", "2021-05-01"], "month"),
        (["2020-01-01T06", "2020-05-03T12"], "6 hours"),
        (["2020-01-01T06:00", "2020-05-03T12:30"], "30 minutes"),
        (["2020-01-01T06:00", "2020-05-03T12:16"], "4 minutes"),
        (["2020-01-01T06:00:00", "2020-05-03T12:00:07"], "second"),
        (["2020-01-01T06:00:00.125", "2020-05-03T12:00:07"], "millisecond"),
        (["2020-01-01T06:00:00.000001", "2020-05-03T12:00:07"], "microsecond"),
    ],
)
def test_the_resolution_is_the_longest_that_holds_all_values(text, resolution):
    clock = Schema.of(moments(text)).columns[0].clock
    assert clock.resolution == resolution


def test_nanoseconds_are_kept_where_they_lie_close_and_rounded_where_not():
    close = moments(["2020-01-01T00:00:00.000000001", "2020-01-20"], "datetime64[ns]")
    schema = Schema.of(close)
    pd.testing.assert_frame_equal(schema.wrap(schema.read(close)[:]), close)
    ends = ["1677-09-22T00:00:00.000000001", "2262-04-11T00:00:00.123456789"]
    wide = moments(ends, "datetime64[ns]")
    schema = Schema.of(wide)
    assert schema.columns[0].clock.is_rounded
    apart = schema.wrap(schema.read(wide)[:])["when"] - wide["when"]
    assert (apart.abs() < pd.Timedelta("10us")).all()
    assert np.isfinite(quick(wide).score_samples(wide)).all()


def test_values_between_ticks_and_far_away_are_no_whole_numbers():
    clock = Clock("s", 60, 0)
    numbers = clock.numbers(np.array([0, 59, 60, -1, 2**62, -(2**62)]), "s")
    assert_array_equal(numbers == np.rint(numbers), [True, False, True, False, False, False])
    fine = Clock("ns", 10**9, 0)
    assert fine.numbers(np.array([2**52 * 1000 + 1]), "ns")[0] % 1 > 0
    days = Clock("us", 86_400 * 10**6, 0)
    assert_array_equal(days.numbers(np.array([0, 3]), "D"), [0, 3])
    assert_array_equal(days.numbers(np.array([1]), "h"), [1 / 24])


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe"])
def test_zones_change_where_zoneinfo_says(zone):
    from zoneinfo import ZoneInfo

    starts, ahead = (np.array(each) for each in zip(*changes(zone), strict=True))
    seconds = np.random.default_rng(0).integers(starts[0], 4_000_000_000, 2000)
    own = ahead[np.searchsorted(starts, seconds, side="right") - 1]
    known = [
        dt.datetime.fromtimestamp(each, ZoneInfo(zone)).utcoffset().total_seconds()
        for each in seconds.tolist()
    ]
    assert_array_equal(own, known)


SAME = ["2023-03-06T10:15", "2023-03-06 10:15:00", dt.datetime(2023, 3, 6, 10, 15)]
SAME += [np.datetime64("2023-03-06T10:15"), pd.Timestamp("2023-03-06 10:15")]


@pytest.mark.parametrize("value", SAME)
def test_evidence_is_told_in_any_form(value):
    schema = Schema.of(moments(["2023-01-01T00:01", "2024-01-01T00:00"]))
    wanted = schema.read(moments(["2023-03-06T10:15"]))[:]
    assert_array_equal(schema.rows({"when": value}, 1), wanted)


@pytest.mark.parametrize(
    "value", ["2023-03-06T10:15", "2023-03-06T09:15Z", UTC[0].tz_convert(None)]
)
def test_evidence_without_a_zone_is_what_the_wall_shows(value):
    clock = Clock("us", 60 * 10**6, 0, "Europe/Berlin")
    count, unit = count_of(value, clock, "moment")
    text = value if isinstance(value, str) else value.isoformat()
    local = pd.Timestamp(text)
    local = local.tz_localize("Europe/Berlin") if local.tzinfo is None else local
    assert clock.numbers(np.array([count]), unit)[0] == local.timestamp() / 60


# ---- the calendar


def calendar_of(frame, weight=None):
    """Return a fitted Calendar of a frame of one column, and the column's numbers."""
    columns = Schema.of(frame).read(frame)
    table = Table(columns, np.arange(frame.shape[1]))
    return Calendar().fitted(table, np.ones(len(columns))), columns


RANGES = {
    "days": pd.date_range("2020-01-01", "2024-12-31", freq="D"),
    "hours": pd.date_range("2020-01-01", "2020-12-31", freq="h"),
    "half hours": pd.date_range("2020-01-01", "2020-02-01", freq="30min"),
    "milliseconds": pd.date_range("2020-01-01", periods=5000, freq="37ms"),
    "nine in the morning": pd.date_range("2020-01-01 09:00", "2020-12-31", freq="D"),
    "first days of months": pd.date_range("1990-01-01", "2024-12-31", freq="MS"),
    "first days of years": pd.date_range("1990-01-01", "2024-12-31", freq="YS"),
    "Berlin": pd.date_range("2018-01-01", "2021-12-31", freq="h", tz="Europe/Berlin"),
    "Berlin's midnights": pd.date_range("2018-01-01", "2021-12-31", freq="D", tz="Europe/Berlin"),
    "Lord Howe": pd.date_range("2020-01-01", "2021-12-31", freq="15min", tz="Australia/Lord_Howe"),
}


@pytest.mark.parametrize("name", RANGES)
def test_codes_are_one_to_one(name):
    frame = pd.DataFrame({"when": RANGES[name]})
    conditional, columns = calendar_of(frame)
    codes = conditional.encode(columns[:], np.float32)
    assert not np.isnan(codes).any()
    assert len(np.unique(codes, axis=0)) == len(codes)
    assert_array_equal(conditional.decode(codes), columns[:])


def test_parts_that_do_not_vary_are_no_features():
    days = calendar_of(pd.DataFrame({"when": RANGES["days"]}))[0]
    assert days.n_features == 4  # year, week, weekday, on a tick
    morning = pd.DataFrame({"when": RANGES["nine in the morning"]})
    assert calendar_of(morning)[0].n_features == 3
    berlin = pd.DataFrame({"when": RANGES["Berlin's midnights"]})
    assert calendar_of(berlin)[0].decided(0)["why"].endswith("year as a number, week, weekday")


def test_parts_are_those_of_the_clock_on_the_wall():
    when = RANGES["Berlin"]
    conditional, columns = calendar_of(pd.DataFrame({"when": when}))
    codes = conditional.encode(columns[:], np.float64)
    _, week, weekday, hour, fold, _ = codes.T
    assert_array_equal(weekday, when.day_of_week)
    assert_array_equal(hour, when.hour)
    twice = when.tz_localize(None).duplicated(keep=False)
    assert_array_equal(fold != 0, twice)
    assert_array_equal(fold == -2, when.tz_localize(None).duplicated())
    assert twice.sum() == 8
    middle = (when.isocalendar().year == 2020).to_numpy(bool)
    assert_array_equal(week[middle] % 52, (when.isocalendar().week[middle] - 1) % 52)


def off_tick(on_tick, n, size):
    """Return log p between two ticks from that of the tick before; size: values a tick."""
    other = 0.5 / (n + 1)
    return on_tick - np.log1p(-other) + np.log(other) - np.log(size - 1)


def test_first_days_of_months_are_drawn_where_there_is_nothing_else():
    frame = pd.DataFrame({"when": RANGES["first days of months"]})
    model = fit(make(max_iter=3), frame)
    assert model.schema_[0]["why"] == "dates or times: year as a number, month"
    assert (model.sample(500, random_state=0)["when"].dt.day == 1).all()
    other = pd.DataFrame({"when": pd.to_datetime(["2000-05-01 00:00:00", "2000-05-02 00:00:07"])})
    on, off = model.score_samples(other)
    size = 31 * 86_400 * (10**6 if frame["when"].dtype == "datetime64[us]" else 10**9)
    assert_allclose(off, off_tick(on, len(frame), size), rtol=1e-5)
    again = model.sample(evidence=other[1:], random_state=0)
    assert again["when"].tolist() == other["when"][1:].tolist()


def log_probabilities(model, when):
    return model.score_samples(pd.DataFrame({"when": when}))


@pytest.mark.parametrize("years", [1, 4])
def test_probabilities_of_all_days_sum_to_one(years):
    rng = np.random.default_rng(1)
    when = pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 365 * years, 300), "D")
    model = fit(make(max_iter=3), pd.DataFrame({"when": when.astype("datetime64[s]")}))
    days = np.arange("1500-01-01", "2600-01-01", dtype="datetime64[D]").astype("datetime64[s]")
    logp = log_probabilities(model, days)
    assert_allclose(np.exp(logp).sum(), 1 - 0.5 / 301, atol=2e-6)
    off = log_probabilities(model, days + np.timedelta64(1, "s"))
    assert_allclose(off, off_tick(logp, 300, 86_400), rtol=1e-5)
    assert_allclose(np.exp(logp).sum() + 86_399 * np.exp(off).sum(), 1, atol=2e-6)


def test_draws_have_the_probabilities_that_scores_give():
    rng = np.random.default_rng(1)
    start = pd.Timestamp("2020-03-01", tz="Europe/Berlin")
    when = start + pd.to_timedelta(12 * rng.integers(0, 60, 300), "h")
    model = fit(make(max_iter=3), pd.DataFrame({"when": when}))
    hours = pd.date_range("2019-01-01", "2022-01-01", freq="h", tz="Europe/Berlin")
    drawn = model.sample(20_000, random_state=0)["when"]
    counts = drawn.value_counts().reindex(hours, fill_value=0).to_numpy()
    wanted = 20_000 * np.exp(log_probabilities(model, hours)) / (1 - 0.5 / 301)
    often = wanted >= 5
    assert often.sum() > 50
    chi_square = ((counts - wanted)[often] ** 2 / wanted[often]).sum()
    assert abs(chi_square - often.sum()) < 5 * np.sqrt(2 * often.sum())
    assert counts[often].sum() > 0.8 * 20_000


def test_probabilities_of_all_hours_of_a_zone_sum_to_one_but_for_those_that_it_skips():
    rng = np.random.default_rng(1)
    start = pd.Timestamp("2020-03-01", tz="Europe/Berlin")
    when = start + pd.to_timedelta(rng.integers(0, 24 * 60, 300), "h")
    model = fit(make(max_iter=3), pd.DataFrame({"when": when}))
    hours = pd.date_range("1990-01-01", "2050-01-01", freq="h", tz="Europe/Berlin", unit="s")
    logp = log_probabilities(model, hours)
    wall = hours.tz_localize(None)
    local = pd.date_range(wall[0], wall[-1], freq="h", unit="s")
    n_skipped = len(local.difference(wall))
    missing = 1 - 0.5 / 301 - np.exp(logp).sum()  # of what lies between two hours
    assert n_skipped >= 48
    assert 0 < missing < 20 / (7 * 24 * 9)  # a reading of some weeks of the data
    first, second = np.flatnonzero(wall.duplicated(keep=False))[:2]
    assert logp[first] == logp[second]


def test_times_of_day_sum_to_one():
    times = pd.DataFrame({"at": MINUTES.dt.floor("15min").dt.time})
    model = fit(make(max_iter=3), times)
    pairs = itertools.product(range(24), range(0, 60, 15))
    every = pd.DataFrame({"at": [dt.time(hour, minute) for hour, minute in pairs]})
    assert_allclose(np.exp(model.score_samples(every)).sum(), 1 - 0.5 / (N + 1), rtol=1e-5)
    on, off = model.score_samples(pd.DataFrame({"at": [dt.time(3, 15), dt.time(3, 17)]}))
    assert_allclose(off, off_tick(on, N, 15 * 60 * 10**6), rtol=1e-5)


# ---- what models learn


@pytest.fixture(scope="module")
def office():
    """Return a model of office hours, and its rows: y is higher on Mondays."""
    rng = np.random.default_rng(0)
    day = rng.integers(0, 7 * 40, 3000)
    day = day[day % 7 < 5]
    minutes = rng.integers(9 * 60, 17 * 60, len(day))
    when = pd.Timestamp("2023-01-02") + pd.to_timedelta(24 * 60 * day + minutes, unit="min")
    y = np.where(day % 7 == 0, 5.0, 0.0) + rng.normal(size=len(day))
    frame = pd.DataFrame({"when": when.astype("datetime64[us]"), "y": y})
    settings = {"n_hidden": 30, "activation": "relu", "learning_rate_init": 0.005}
    return fit(NADE(max_iter=40, random_state=0, **settings), frame), frame


def test_weekends_and_office_hours_are_learned(office):
    model, frame = office
    asked = moments(["2023-05-06T03:00:00", "2023-05-05T11:00:00"]).assign(y=0.0)
    night, noon = model.score_features(asked)[:, 0]
    assert night < noon - 8
    drawn = model.sample(1000, random_state=0)["when"]
    assert (drawn.dt.day_of_week < 5).mean() > 0.99
    assert drawn.dt.hour.between(9, 16).mean() > 0.99
    low, high = (
        getattr(frame["when"].astype("datetime64[s]").astype(int), k)() for k in ("min", "max")
    )
    seconds = drawn.astype("datetime64[s]").astype(int)
    assert (seconds > low - 30 * 86_400).mean() > 0.99
    assert (seconds < high + 30 * 86_400).mean() > 0.99


def test_later_columns_see_the_weekday(office):
    model, _ = office
    given = moments(["2023-05-08T11:00:00", "2023-05-09T11:00:00"])
    monday, tuesday = model.predict(given, target="y")
    assert 4 < monday < 6
    assert -1 < tuesday < 1
    drawn = model.sample(200, evidence={"when": "2023-05-08T11:00"}, random_state=0)
    assert 4 < drawn["y"].mean() < 6
    assert set(drawn["when"]) == {pd.Timestamp("2023-05-08 11:00")}


def test_a_later_date_is_improbable_not_impossible(office):
    model, frame = office
    later = np.array(["2023-05-08T11", "2024-05-06T11", "9999-12-31T11"], "datetime64[us]")
    later = pd.DataFrame({"when": later})
    known, next_year, last = model.score_features(later.assign(y=0.0))[:, 0]
    assert known > next_year > last > -np.inf
    between = moments(["2023-05-08T11:00:07"]).assign(y=0.0)
    off = model.score_features(between)[0, 0]
    assert_allclose(off, off_tick(known, len(frame), 60 * 10**6), rtol=1e-5)
    held = model.sample(2, evidence=moments(["2023-05-08T11:00:07"]).assign(y=None), random_state=0)
    assert set(held["when"]) == {pd.Timestamp("2023-05-08 11:00:07")}


def test_what_no_calendar_of_fit_can_hold_is_refused():
    days = pd.DataFrame({"when": pd.Series(["2023-05-08", "2023-05-09"]).astype("datetime64[s]")})
    model = quick(days)
    far = pd.DataFrame({"when": np.array(["12023-01-01"], "datetime64[s]")})
    with pytest.raises(ValueError, match=r"from the year 1 to 9999.*column 'when'"):
        model.score_samples(far)
    dates = quick(pl.DataFrame({"when": OF_POLARS.dt.date()}))
    assert dates.distribution_.n_features == 2  # nothing is between two days
    between = pl.DataFrame({"when": OF_POLARS})
    with pytest.raises(ValueError, match=r"2023-\d\d-\d\d.*column 'when'"):
        dates.score_samples(between)


def test_questions_are_answered_in_the_users_terms(office):
    model, frame = office
    for kind in ("mean", "median", "auto"):
        told = model.predict(frame[:3], target="when", kind=kind)
        assert told.dtype == frame["when"].to_numpy().dtype
        assert (told > np.datetime64("2023-01-01")).all()
    with pytest.raises(AttributeError, match=r"predict_proba"):  # no column has levels
        model.predict_proba(frame[:3], target="when")
    with pytest.raises(ValueError, match=r"column of levels, and column 'when'"):
        model.predict(frame[:3], target="when", kind="mode")
    with pytest.raises(ValueError, match=r"Got 'when', which has dates"):
        model.expectation("when")
    weekday = model.expectation(lambda rows: rows["when"].dt.day_of_week, random_state=0)
    assert 1.8 < weekday.value < 2.2
    explained = model.explain(frame[:20])
    assert explained.shape == (20, 2)
    assert np.isfinite(explained).all()
    said = model.conditionals(frame[:20])["when"]
    assert list(said) == ["probability", "weekday", "hour", "minute"]
    assert_allclose(said["hour"].sum(axis=1), 1, rtol=1e-5)
    assert_allclose(np.log(said["probability"]), model.score_features(frame[:20])[:, 0], rtol=1e-4)
    purified = model.purify(frame[:20], 0.5)
    pd.testing.assert_series_equal(purified["when"], frame["when"][:20])
    told = model.schema_[0]
    assert told["kind"] == "calendar"
    assert told["why"] == "dates or times: week as a number, weekday, hour, minute"


def test_seasons_are_learned():
    rng = np.random.default_rng(0)
    day = rng.integers(0, 365 * 4, 4000)
    summer = np.cos(2 * np.pi * (day % 365.25) / 365.25) < -0.5
    y = np.where(summer, 20.0, 0.0) + rng.normal(size=len(day))
    when = pd.Timestamp("2020-01-01") + pd.to_timedelta(day, unit="D")
    frame = pd.DataFrame({"when": when.astype("datetime64[s]"), "y": y})
    model = fit(NADE(n_hidden=30, activation="relu", max_iter=20, random_state=0), frame)
    asked = moments(["2021-07-01", "2022-07-01", "2021-01-10", "2023-12-10"], "datetime64[s]")
    told = model.predict(asked, target="y")
    assert_allclose(told, [20, 20, 0, 0], atol=2)


# ---- models, tools, files


@pytest.mark.parametrize(
    "model",
    [
        make("MADE", max_iter=2),
        make("MADE", max_iter=2, n_masks=2),
        make("NADE", max_iter=2, markov_order=1),
        make("FVSBN", max_iter=2),
        DeepNADE(hidden_layer_sizes=(7,), max_iter=2, random_state=0),
        Mixture(make("NADE", max_iter=2), n_members=2, random_state=0),
        DensityOutlierDetector(make("NADE", max_iter=2)),
        DensityImputer(make("NADE", max_iter=2)),
    ],
    ids=lambda model: type(model).__name__,
)
def test_other_models_and_tools_take_dates(model, office, tmp_path):
    frame = office[1][:300]
    with_gaps = frame.copy()
    with_gaps.loc[[3, 5], "when"] = pd.NaT
    fit(model, with_gaps)
    model.save(tmp_path / "model")
    fastar.load(tmp_path / "model")
    if hasattr(model, "score_samples"):
        assert np.isfinite(model.score_samples(frame)).all()
    if hasattr(model, "transform"):
        filled = model.transform(with_gaps)
        assert filled["when"].dtype == frame["when"].dtype
        assert filled["when"].notna().all()
    if hasattr(model, "sample"):
        drawn = model.sample(20, random_state=0)["when"]
        assert drawn.dtype == frame["when"].dtype
        assert (drawn == drawn.dt.floor("min")).all()


def test_threads_and_batches_do_not_change_bits(office):
    model, frame = office
    scores = model.score_samples(frame)
    assert_array_equal(model.score_samples(frame[1000:]), scores[1000:])
    try:
        model.n_jobs = 2
        assert_array_equal(model.score_samples(frame), scores)
        two = model.sample(500, random_state=1)
        model.n_jobs = 1
        pd.testing.assert_frame_equal(model.sample(500, random_state=1), two)
    finally:
        model.n_jobs = None


def test_contexts_may_have_dates(office):
    frame = office[1][:300]
    model = fit(make("NADE", max_iter=2), frame[["y"]], context=frame[["when"]])
    assert np.isfinite(model.score_samples(frame[["y"]], context=frame[["when"]])).all()
    assert len(model.sample(3, context={"when": "2023-05-08"}, random_state=0)) == 3


def test_contexts_show_weekday_and_hour(office):
    when = pd.Series(RANGES["Berlin"][:2000], name="when")
    y = np.where((when.dt.hour < 6) | (when.dt.day_of_week == 6), 10.0, 0.0)
    frame = pd.DataFrame({"y": y + np.random.default_rng(0).normal(size=len(y))})
    settings = {"n_hidden": 20, "activation": "relu", "learning_rate_init": 0.01}
    model = fit(NADE(max_iter=30, random_state=0, **settings), frame, context=when.to_frame())
    assert model.context_.size == 1 + 7 + 24
    asked = {"when": "2018-02-07T03:00"}
    assert model.sample(100, context=asked, random_state=0)["y"].mean() > 8
    asked = {"when": "2018-02-07T09:00"}
    assert model.sample(100, context=asked, random_state=0)["y"].mean() < 2
    asked = {"when": "2018-02-11T09:00"}
    assert model.sample(100, context=asked, random_state=0)["y"].mean() > 8


ENTRIES = {
    "unit": "fortnight",
    "tick": 7,
    "origin": 1.5,
    "zone": "Mars/Olympus",
    "is_rounded": None,
    "by_month": 2,
}


@pytest.mark.parametrize("entry", ENTRIES)
def test_damaged_clocks_are_refused(entry, office):
    schema = office[0]._container.to_json()
    schema = json.loads(json.dumps(schema))
    assert Schema.from_json(schema) == office[0]._container
    schema["columns"][0]["clock"][entry] = ENTRIES[entry]
    with pytest.raises(ValueError, match=rf"columns\.0\.clock\.{entry}"):
        Schema.from_json(schema)


def test_a_clock_stands_with_times_alone(office):
    schema = json.loads(json.dumps(office[0]._container.to_json()))
    schema["columns"][0]["clock"] = None
    with pytest.raises(ValueError, match=r"columns\.0\.clock must be there for times alone"):
        Schema.from_json(schema)


# ---- errors


def test_zones_and_gaps_must_be_those_of_fit(office):
    model, frame = office
    aware = frame.assign(when=frame["when"].dt.tz_localize("UTC"))
    with pytest.raises(TypeError, match=r"no zone, in column 'when', as in fit.*UTC"):
        model.score_samples(aware)
    with pytest.raises(TypeError, match=r"dates or moments in column 'when', as in fit"):
        model.score_samples(frame.assign(when=1.0))
    with pytest.raises(TypeError, match=r"numbers in column 'y', as in fit"):
        model.score_samples(frame.assign(y=frame["when"]))
    with pytest.raises(ValueError, match=r"columns that had some in fit.*row 2, column 'when'"):
        model.score_samples(frame.assign(when=frame["when"].mask(frame.index == 2)))
    for value in ("yesterday", 3, dt.timedelta(1), pd.Timestamp("2023-01-01", tz="UTC")):
        with pytest.raises(ValueError, match=r"evidence must hold a moment in column 'when'"):
            model.sample(evidence={"when": value})
    empty = pd.DataFrame({"when": pd.Series([pd.NaT] * 3, dtype="datetime64[s]"), "y": 1.0})
    with pytest.raises(ValueError, match=r"none in column 'when'"):
        quick(empty)


def test_strange_zones_periods_and_decimals_are_refused_by_name():
    zones = [dt.datetime(2020, 1, 1, tzinfo=dt.UTC), dt.datetime(2020, 1, 1)]
    with pytest.raises(TypeError, match=r"X must have one zone, or none.*column 'x'"):
        Schema.of(pd.DataFrame({"x": pd.Series(zones, dtype=object)}))
    periods = pd.DataFrame({"x": pd.period_range("2020", periods=3, freq="2M")})
    with pytest.raises(TypeError, match=r"X must have periods of one year.*column 'x'"):
        Schema.of(periods)
    digits = pd.Series([Decimal("12345678901234567.89")], dtype=object)
    with pytest.raises(TypeError, match=r"X must hold decimals of at most.*column 'x'"):
        Schema.of(pd.DataFrame({"x": digits}))


@pytest.mark.parametrize("name", ["NADE", "MADE", "masks"])
def test_a_date_far_from_all_others_says_no_more_than_that(name):
    """Later columns see it as one that lies a bit beyond the others, in scores and in draws."""
    rng = np.random.default_rng(0)
    day = np.sort(rng.integers(0, 7 * 40, 400))
    when = pd.Timestamp("2024-01-01") + pd.to_timedelta(day, unit="D")
    frame = pd.DataFrame({"when": when, "x": day / 100 + 0.1 * rng.normal(size=400)})
    frame["c"] = np.where(rng.random(400) < day / 280, "a", "b")
    several = name == "masks"
    model = fit(
        make("MADE" if several else name, max_iter=20, **({"n_masks": 2} if several else {})), frame
    )
    late = np.datetime64("2262-01-06", "s") + np.array([0, 1000]) * np.timedelta64(7, "D")
    rows = pd.concat([frame[:1], frame[:1]], ignore_index=True)
    rows["when"] = pd.Series(late)
    far = model.score_features(rows)[:, 1:]
    assert (far > -100).all()  # thousands, were it to enter as what it is
    drawn = [model.sample(50, evidence={"when": each}, random_state=0)["x"] for each in late]
    assert (abs(drawn[0]) < 30).all()
    if several:  # the date decides on the weights of the members
        return
    assert_array_equal(far[0], far[1])
    for target in ("x", "c"):  # points are drawn by the kernels
        answers = model.predict(rows, target=target, random_state=0)
        assert answers[0] == answers[1]
    assert_array_equal(drawn[0], drawn[1])


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_answers_keep_the_zone(library):
    frame = with_gap(PANDAS["zone"] if library == "pandas" else POLARS["zone"])
    model = quick(frame)
    answer = model.predict(frame[:3], target="x", random_state=0)
    suggested = model.repair_suggestions(frame[:3], 2, random_state=0)["x"].values
    assert suggested.shape == (3, 2)
    zone = model._container.columns[0].clock.zone
    assert zone is not None
    assert {str(each.tzinfo) for each in [*answer, *suggested.ravel()]} == {zone}


def test_calendars_are_of_times_alone():
    frame = pd.DataFrame({"x": np.arange(5.0)})
    with pytest.raises(ValueError, match=r"moments or times of day"):
        fit(make("NADE", distribution=Calendar()), frame)


def test_durations_are_never_negative_where_fit_saw_none():
    frame = with_gap(PANDAS["timedelta64"])
    model = quick(frame)
    assert (model.sample(500, random_state=0)["x"] >= pd.Timedelta(0)).all()
    assert model.schema_[0]["kind"] == "number"


@pytest.mark.parametrize(
    ("entry", "damage"),
    [
        ("radix", lambda arrays: arrays["radix"].__setitem__(0, 1)),
        ("part", lambda arrays: arrays["part"].__setitem__(0, 50)),
        ("part", lambda arrays: arrays["n_parts"].__setitem__(0, 2)),
        ("trend", lambda arrays: arrays["trend"].__setitem__(0, 3)),
        ("phase", lambda arrays: arrays["phase"].__setitem__(0, 24)),
        ("high", lambda arrays: arrays["high"].__setitem__(0, -(10**9))),
        ("radix", lambda arrays: arrays["high"].__setitem__(0, 2**61)),
        ("other", lambda arrays: arrays["size"].__setitem__(0, 1)),
        ("spread", lambda arrays: arrays["spread"].__setitem__(0, 0.0)),
        ("change", lambda arrays: arrays["change"].__setitem__(3, arrays["change"][2])),
        ("change", lambda arrays: arrays["n_changes"].__setitem__(0, 3)),
    ],
)
def test_arrays_of_damaged_files_are_refused(entry, damage):
    conditional, _ = calendar_of(pd.DataFrame({"when": RANGES["Berlin"]}))
    arrays = {key: array.copy() for key, array in conditional.arrays().items()}
    conditional.check_arrays(arrays, 1)
    damage(arrays)
    with pytest.raises(EntryError, match=entry):
        conditional.check_arrays(arrays, 1)


# ---- tables that are read batch by batch


@pytest.mark.parametrize(
    ("library", "name"),
    [("pandas", each) for each in PANDAS] + [("polars", each) for each in POLARS],
)
def test_any_batches_tell_what_the_whole_column_is(library, name):
    series = PANDAS[name] if library == "pandas" else POLARS[name]
    frame = with_gap(series)
    whole = Schema.of(frame)
    for size in (7, 100, N):
        parts = [(start, frame[start : start + size]) for start in range(0, N, size)]
        summary = Summary()
        for start, part in reversed(parts):
            summary.update(part, start)
        assert summary.container() == whole
    sample = summary.sample(whole)
    assert_array_equal(sample.X[:], whole.read(frame)[:][sample.rows])


def test_batches_of_other_units_are_refused():
    summary = Summary("table")
    summary.update(pd.DataFrame({"when": MINUTES[:9]}), 0)
    for other, said in (
        (MINUTES.astype("datetime64[ns]"), "ns with no"),
        (UTC, "us with zone UTC"),
    ):
        with pytest.raises(TypeError, match=rf"'when'.*in us with no zone from.*in {said}"):
            summary.update(pd.DataFrame({"when": other[9:19]}), 9)


@pytest.mark.parametrize(
    "column",
    [
        pd.Series([pd.Timestamp("1900-01-01")] * 200),
        pd.Series([pd.Timestamp("2024-05-31T09:30:07", tz="Asia/Tokyo")] * 200),
        pd.Series(pd.PeriodIndex(["2024-05"] * 200, freq="M")),
    ],
)
def test_a_constant_column_is_sampled_constant(column):
    model = NADE(n_hidden=2, max_iter=5, random_state=0).fit(pd.DataFrame({"when": column}))
    drawn = model.sample(2000, random_state=0)["when"]
    assert (drawn == column[0]).mean() > 0.96
