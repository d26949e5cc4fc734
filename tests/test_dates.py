"""Columns of dates, moments, times of day, durations, periods and decimals."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from dated_frames import MINUTES, PANDAS, POLARS, UTC, N, quick, with_gap
from numpy.testing import assert_allclose, assert_array_equal

import fastar
from fastar import NADE
from fastar._data.frames import Schema
from fastar._data.summary import Summary

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
