"""What tests of tables that are read batch by batch share."""

from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
from polars.testing import assert_frame_equal

from fastar import NADE


def uneven_frame(n=3000, seed=0):
    """Return a pandas frame with a column of each kind, some with gaps."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "real": rng.normal(size=n),
            "single": rng.normal(size=n).astype(np.float32),
            "gaps": np.where(rng.random(n) < 0.1, np.nan, rng.normal(size=n)),
            "whole": rng.integers(0, 9, n).astype(float),
            "small": rng.integers(0, 50, n),
            "huge": 2**60 + rng.integers(0, 2**40, n),
            "apart": rng.choice([-(2**62), 5, 2**62], n),
            "word": rng.choice(["no", "yes", "perhaps"], n, p=[0.7, 0.299, 0.001]),
            "flag": rng.random(n) < 0.3,
        }
    )
    frame["level"] = pd.Categorical(rng.choice(list("xyz"), n), categories=list("zyxw"))
    counts = pd.array(rng.integers(0, 300, n), dtype="Int64")
    counts[rng.random(n) < 0.2] = pd.NA
    frame["count"] = counts
    return frame


def calendar_frame(n=400):
    """Return a pandas frame with times of each kind, and decimals."""
    rng = np.random.default_rng(0)
    start = np.datetime64("2021-03-05")
    seconds = rng.integers(0, 10**8, n).astype("timedelta64[s]")
    frame = pd.DataFrame(
        {
            "moment": (start + seconds).astype("datetime64[us]"),
            "day": (start + rng.integers(0, 900, n)).astype("datetime64[s]"),
            "month": (np.datetime64("2001-02") + rng.integers(0, 90, n)).astype("datetime64[us]"),
            "wait": (60 * rng.integers(-90, 900, n)).astype("timedelta64[s]"),
        }
    )
    frame["zoned"] = frame["moment"].dt.tz_localize("UTC").dt.tz_convert("Europe/Berlin")
    frame["price"] = [Decimal(int(cents)) / 100 for cents in rng.integers(0, 9999, n)]
    frame.loc[rng.random(n) < 0.1, "day"] = pd.NaT
    return frame


LIBRARIES = {"pandas": lambda frame: frame, "polars": pl.from_pandas}


def cut(table, size):
    """Return a callable that gives the table in batches of so many rows."""
    return lambda: (table[k : k + size] for k in range(0, len(table), size))


def nade(**how):
    settings = {"n_hidden": 4, "max_iter": 3, "batch_size": 50, "learning_rate": "constant"}
    return NADE(**settings | {"random_state": 0} | how)


def assert_same_fit(model, other):
    np.testing.assert_array_equal(model.theta_, other.theta_)
    assert model.loss_curve_ == other.loss_curve_
    assert model.validation_curve_ == other.validation_curve_
    mine, theirs = model.distribution_.arrays(), other.distribution_.arrays()
    assert mine.keys() == theirs.keys()
    for name, array in mine.items():
        np.testing.assert_array_equal(array, theirs[name])


def assert_same_rows(found, expected):
    """Fail unless two frames of polars are equal.

    Categories are compared as text: before 1.32 polars compares their numbers, whatever these
    stand for.
    """
    assert_frame_equal(found, expected, check_exact=True, categorical_as_str=True)
