"""Frames with a column of each type of dates and times."""

import datetime as dt
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
from common import fit, make

from fastar import NADE
from fastar._data.frames import Schema
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


def off_tick(on_tick, n, size):
    """Return log p between two ticks from that of the tick before; size: values a tick."""
    other = 0.5 / (n + 1)
    return on_tick - np.log1p(-other) + np.log(other) - np.log(size - 1)


def office_hours():
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
