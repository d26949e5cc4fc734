"""Single durations, as users write them: text, objects, evidence, cells of CSV."""

from datetime import timedelta

import numpy as np
import pandas as pd
import polars as pl
import pytest

from fastar import NADE
from fastar._data.durations import duration_count, duration_text
from fastar.cli import main

QUICK = {"n_hidden": 4, "max_iter": 2, "random_state": 0, "n_jobs": 1}
MINUTES = 60 * 10**9

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.mark.parametrize("units", [("us", "ns"), ("ns", "us"), ("ms", "us")])
def test_completions_take_times_of_another_unit(units):
    days = pl.Series(range(60))
    d, t = (days * 60_000).cast(pl.Duration("ms")), (days * 60_000).cast(pl.Datetime("ms"))
    kinds = [
        pl.DataFrame({"d": d.dt.cast_time_unit(unit), "t": t.dt.cast_time_unit(unit)})
        for unit in units
    ]
    model = NADE(**QUICK).fit(kinds[0])
    for given in (kinds[1], kinds[1].with_columns(pl.when(days > 3).then("d").alias("d"))):
        filled = model.impute(given, random_state=0)
        assert filled.schema == kinds[0].schema
        assert filled["t"].to_list() == kinds[1]["t"].to_list()
        there = given["d"].is_not_null()
        assert filled["d"].filter(there).to_list() == kinds[1]["d"].filter(there).to_list()


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("90 min", 90 * MINUTES),
        ("1h30m", 90 * MINUTES),
        ("1.5 hours", 90 * MINUTES),
        ("01:30:00", 90 * MINUTES),
        ("PT90M", 90 * MINUTES),
        ("P1DT2H", 26 * 60 * MINUTES),
        ("-P1W", -7 * 24 * 60 * MINUTES),
        ("1 days 00:00:00.000000001", 24 * 60 * MINUTES + 1),
        ("-1 days +23:59:00", -MINUTES),
        ("-00:01:00", -MINUTES),
        ("3 µs", 3000),
    ],
)
def test_text_is_a_duration(text, nanoseconds):
    assert duration_count(text) == (nanoseconds, "ns")
    assert pd.Timedelta("90 min" if "hours" in text else text).value == nanoseconds


@pytest.mark.parametrize(
    "value", ["", "5", "soon", "1M", "2 months", "1h x", "P", "1:2:3:4", 5, 1.5, None, "9e9 s"]
)
def test_anything_else_is_none(value):
    with pytest.raises(ValueError, match="must"):
        duration_count(value)


def test_int64_has_to_count_it():
    with pytest.raises(ValueError, match="int64"):
        duration_count(timedelta.max)
    assert duration_count("1000000 days") == (86_400 * 10**12, "us")


def test_text_of_a_duration_is_read_as_that_one():
    rng = np.random.default_rng(0)
    counts = [0, 1, -1, *10 ** np.arange(19), *rng.integers(-(10**17), 10**17, 200)]
    for count in map(int, counts):
        text = duration_text(np.timedelta64(count, "ns"))
        assert duration_count(text) == (count, "ns")
        assert pd.Timedelta(text).value == count
        assert duration_count(str(pd.Timedelta(count))) == (count, "ns")
    assert duration_text(timedelta(minutes=90)) == "PT1H30M"
    assert duration_text(np.timedelta64(-36, "h")) == "-P1DT12H"
    assert duration_text(np.timedelta64(0, "D")) == "PT0S"


def _waits(library):
    rng = np.random.default_rng(0)
    minutes = np.array(rng.integers(1, 200, 80), "m8[m]").astype("m8[us]")
    return library.DataFrame({"wait": minutes, "x": rng.normal(size=80)})


@pytest.mark.parametrize("library", [pd, pl])
@pytest.mark.parametrize(
    "value",
    [
        pd.Timedelta("5min"),
        timedelta(minutes=5),
        np.timedelta64(5, "m"),
        np.timedelta64(300_000, "ms"),
        "5min",
        "0 days 00:05:00",
        "PT5M",
    ],
)
def test_evidence_holds_any_form_of_a_duration(library, value):
    frame = _waits(library)
    model = NADE(**QUICK).fit(frame)
    drawn = model.sample(3, evidence={"wait": value}, random_state=0)
    assert set(drawn["wait"]) == {timedelta(minutes=5)}
    known = {"wait": (value, None)}, {"wait": (timedelta(minutes=5), None)}
    mine, theirs = (model.log_probability(each, random_state=0) for each in known)
    np.testing.assert_array_equal(mine, theirs)


def test_errors_name_the_column_and_what_can_be_said():
    model = NADE(**QUICK).fit(_waits(pl))
    rule = r"evidence must hold a duration, such as a timedelta or '90 min', in column 'wait'"
    for value in ("soon", 5, timedelta.max, np.timedelta64(5, "M")):
        with pytest.raises(ValueError, match=rule):
            model.sample(1, evidence={"wait": value})


def test_csv_holds_durations_as_text(tmp_path, capsys):
    data, model, out = (str(tmp_path / name) for name in ("data.csv", "model", "out.csv"))
    took = [f"{k // 60}:{k % 60:02}:00" for k in range(1, 80)]
    pl.DataFrame({"took": [*took, None]}).write_csv(data)
    asked = ["--types", "took=duration", "--set", "max_iter=2", "--random-state", "0"]
    assert main(["fit", data, "-o", model, *asked]) == 0
    assert main(["sample", model, "-n", "20", "-o", out, "--random-state", "0"]) == 0
    drawn = pl.read_csv(out)["took"].to_list()
    assert all(duration_count(text)[0] % MINUTES == 0 for text in drawn)
    assert main(["score", model, out, "-o", str(tmp_path / "scores.csv")]) == 0
    assert main(["ask", model, "took=..PT40M"]) == 0
    assert -2 < float(capsys.readouterr().out) < -0.2
    pl.DataFrame({"took": ["1:00:00", "soon"]}).write_csv(data)
    assert main(["score", model, data]) == 1
    assert "must hold durations as PT1H30M" in (told := capsys.readouterr().err)
    assert "Got 'soon' in row 1 (line 3)" in told
