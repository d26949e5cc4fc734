"""Clocks: ticks, zones, and moments as users write them."""

import datetime as dt

import numpy as np
import pandas as pd
import pytest
from dated_frames import UTC, moments, quick
from numpy.testing import assert_array_equal

from fastar._data.clocks import Clock, changes, count_of
from fastar._data.frames import Schema


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
