"""The calendar: codes, and probabilities of days, hours and times of day."""

import datetime as dt
import itertools

import numpy as np
import pandas as pd
import pytest
from common import fit, make
from dated_frames import MINUTES, RANGES, N, calendar_of, off_tick
from numpy.testing import assert_allclose, assert_array_equal


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
