"""Models of dates: what they learn, tools, contexts, files."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from common import fit, make
from dated_frames import OF_POLARS, RANGES, moments, off_tick, quick
from numpy.testing import assert_allclose, assert_array_equal

import fastar
from fastar import NADE, DeepNADE, DensityImputer, DensityOutlierDetector, Mixture

# ---- what models learn


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
    settings = {"n_hidden": 20, "learning_rate_init": 0.03}
    model = fit(NADE(max_iter=60, random_state=0, **settings), frame, context=when.to_frame())
    assert model.context_.size == 1 + 7 + 24
    asked = {"when": "2018-02-07T03:00"}
    assert model.sample(100, context=asked, random_state=0)["y"].mean() > 8
    asked = {"when": "2018-02-07T09:00"}
    assert model.sample(100, context=asked, random_state=0)["y"].mean() < 2
    asked = {"when": "2018-02-11T09:00"}
    assert model.sample(100, context=asked, random_state=0)["y"].mean() > 8
