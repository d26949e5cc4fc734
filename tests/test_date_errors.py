"""Dates, clocks and calendars that are refused."""

import datetime as dt
import json
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from common import fit, make
from dated_frames import PANDAS, POLARS, RANGES, calendar_of, quick, with_gap
from numpy.testing import assert_array_equal

from fastar._core.schema import EntryError
from fastar._data.frames import Schema
from fastar.conditionals import Calendar

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
