"""Sets and intervals of dates, moments and times of day: against sums over all moments."""

import datetime as dt
import itertools
import warnings
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from common import MODELS, fit, make

from fastar import Mixture
from fastar.conditionals._stretches import DigitRegions, joined_stretches

pytestmark = pytest.mark.kernels

N, RNG = 300, np.random.default_rng(0)


def days(first, last):
    return list(pd.date_range(first, last, freq="D"))


def moment(text, zone=None):
    found = pd.Timestamp(text)
    return found if zone is None else found.tz_localize("UTC").tz_convert(zone)


# by name: values of fit, all values that have a probability to speak of, queries
WEEKS = days("2023-01-02", "2023-12-31"), days("2022-01-01", "2025-12-31")
YEARS = days("2019-01-01", "2023-12-31"), days("1990-01-01", "2060-12-31")
BERLIN = tuple(
    list(pd.date_range(first, last, freq="h", tz="Europe/Berlin"))
    for first, last in (("2023-03-20", "2023-11-05"), ("2022-01-01", "2025-06-01"))
)
KOLKATA = tuple([day.tz_localize("Asia/Kolkata") for day in each] for each in WEEKS)
TIMES = [dt.time(minute // 60, minute % 60) for minute in range(1440)]
AUTUMN = [moment(f"2023-10-29 {hour:02}:00", "Europe/Berlin") for hour in range(5)]
SPRING = [moment(f"2023-03-26 {hour:02}:00", "Europe/Berlin") for hour in range(5)]
COLUMNS = {
    "weeks": (
        *WEEKS,
        [
            (moment("2023-06-01"), moment("2023-07-01")),
            ("2023-06-07", "2023-06-08"),
            (dt.date(2023, 6, 7), dt.datetime(2023, 6, 9, 1)),
            ("2023-06-07T12:00", "2023-06-09T01:00"),
            (None, moment("2023-03-08")),
            (moment("2023-03-08"), None),
            (moment("2023-03-08"), moment("2023-03-08")),
            {moment("2023-06-07"), "2023-06-08", moment("2023-09-01")},
            {"2023-06-07"},
            set(),
        ],
    ),
    "years": (
        *YEARS,
        [("2023-06-01", "2023-07-01"), ("2020-03-03", "2022-11-04"), {"2020-02-29", "2022-02-28"}],
    ),
    "a zone with folds": (
        *BERLIN,
        [
            *[(AUTUMN[i], AUTUMN[j]) for i, j in ((0, 1), (0, 2), (1, 2), (1, 4), (0, 4))],
            (SPRING[0], SPRING[1]),
            (SPRING[2], SPRING[4]),
            {AUTUMN[0], AUTUMN[1]},
            {AUTUMN[1]},
            {AUTUMN[0], SPRING[1]},
        ],
    ),
    "midnights of a zone": (*KOLKATA, [("2023-06-01", "2023-07-01"), {"2023-06-07"}]),
    "months": (
        [moment("2021-01-01") + pd.DateOffset(months=k) for k in range(30)],
        [moment("2000-01-01") + pd.DateOffset(months=k) for k in range(900)],
        [("2021-03-01", "2021-04-01"), ("2021-03-15", "2022-02-02"), {"2021-12-01"}],
    ),
    "times of day": (
        TIMES[480:1080],
        TIMES,
        [("09:00", "12:00"), (dt.time(9, 17), dt.time(9, 18)), (dt.time(9, 17), None), {"10:10"}],
    ),
}


def frame(name):
    values = COLUMNS[name][0]
    when = [values[k] for k in RNG.integers(0, len(values), N)]
    is_late = [values.index(each) > len(values) // 2 for each in when]
    dtype = object if isinstance(when[0], dt.time) else None
    return pd.DataFrame({"when": pd.Series(when, dtype=dtype), "late": is_late})


def holds(query, value):
    """Return whether a query allows a value."""

    def read(end):
        if isinstance(end, str) and isinstance(value, dt.time):
            return dt.time.fromisoformat(end)
        if isinstance(value, dt.time):
            return end
        end = pd.Timestamp(end)
        return end.tz_localize(value.tzinfo) if value.tzinfo and end.tzinfo is None else end

    if isinstance(query, set):
        return value in {read(each) for each in query}
    low, high = query
    return (low is None or read(low) <= value) and (high is None or value < read(high))


def sums(model, span, query):
    """Return the probability of a query for each value of the other column."""
    mine = [value for value in span if holds(query, value)]
    if not mine:
        return np.zeros(2)
    rows = pd.DataFrame(
        {"when": pd.Series(mine, dtype=object if isinstance(mine[0], dt.time) else None)}
    )
    return np.array([np.exp(model.score_samples(rows.assign(late=k))).sum() for k in (False, True)])


@pytest.mark.parametrize("name", COLUMNS)
def test_an_interval_or_a_set_has_the_sum_of_its_moments(name):
    _, span, queries = COLUMNS[name]
    model = fit(make(dtype="float64"), frame(name))
    assert model.distribution_.n_features > 2
    found = np.exp(model.log_probability([{"when": query} for query in queries], n_particles=1))
    np.testing.assert_allclose(model.answer_ess_, 1)
    exact = np.array([sums(model, span, query) for query in queries])
    np.testing.assert_allclose(found, exact.sum(axis=1), rtol=2e-3, atol=1e-9)
    with_other = [{"when": query, "late": True} for query in queries]
    found = np.exp(model.log_probability(with_other, n_particles=3000, random_state=0))
    np.testing.assert_allclose(found, exact[:, 1], rtol=0.15, atol=1e-9)


@pytest.mark.parametrize("name", COLUMNS)
def test_draws_lie_within_and_follow_the_scores(name):
    _, span, queries = COLUMNS[name]
    model = fit(make(), frame(name))
    for query in queries:
        exact = sums(model, span, query)
        if not exact.any():
            with pytest.raises(ValueError, match="leave something to draw in column 'when'"):
                model.sample(1, evidence={"when": query})
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of few effective particles
            drawn = model.sample(400, evidence={"when": query}, random_state=0)
        assert all(holds(query, value) for value in drawn["when"])
        share = exact[1] / exact.sum()
        assert drawn["late"].mean() == pytest.approx(share, abs=0.12)


def test_draws_of_days_have_the_probabilities_of_scores():
    model = fit(make(), frame("weeks"))
    query = ("2023-06-07", "2023-06-21")
    span = days("2023-06-07", "2023-06-20")
    drawn = model.sample(3000, evidence={"when": query}, random_state=0)["when"]
    counts = np.array([(drawn == day).sum() for day in span])
    rows = [pd.DataFrame({"when": span, "late": k}) for k in (False, True)]
    mass = sum(np.exp(model.score_samples(each)) for each in rows)
    expected = 3000 * mass / mass.sum()
    assert counts.sum() == 3000
    assert np.abs((counts - expected) / np.sqrt(expected + 1)).max() < 5


@pytest.mark.parametrize("model", [*MODELS, "random order", "members", "Mixture"])
def test_other_models_answer_the_same_laws(model):
    _, span, queries = COLUMNS["weeks"]
    made = {
        "random order": lambda: make(order=[1, 0]),
        "members": lambda: make("MADE", n_masks=2, order_agnostic=True, order="random"),
        "Mixture": lambda: Mixture([make(), make("MADE")], weights=[0.3, 0.7], random_state=0),
    }
    density = fit(made[model]() if model in made else make(model), frame("weeks"))
    asked = [{"when": query} for query in queries] + [{"when": queries[0], "late": True}]
    found = np.exp(density.log_probability(asked, n_particles=2000, random_state=0))
    exact = [sums(density, span, query).sum() for query in queries]
    np.testing.assert_allclose(found[:-1], exact, rtol=0.1, atol=2e-3)
    assert found[-1] == pytest.approx(sums(density, span, queries[0])[1], rel=0.1)
    drawn = density.sample(20, evidence={"when": queries[0]}, random_state=0)["when"]
    assert all(holds(queries[0], value) for value in drawn)


def test_intervals_share_out_all_moments():
    """A partition has probability 1, with what is off the ticks and what clocks skip."""
    for name, ends in (
        ("weeks", ["2023-02-03T07:00", "2023-06-01", "2023-06-03"]),
        ("a zone with folds", [SPRING[0], SPRING[1], SPRING[2], AUTUMN[0], AUTUMN[1], AUTUMN[2]]),
        ("times of day", ["08:30", "08:31:30", "12:00"]),
    ):
        model = fit(make(dtype="float64"), frame(name))
        parts = zip([None, *ends], [*ends, None], strict=True)
        found = model.log_probability([{"when": part} for part in parts], n_particles=1)
        assert np.exp(found).sum() == pytest.approx(1, abs=1e-9)


def test_particles_keep_their_weights_in_single_precision():
    """Two million ticks of minutes, whose trend is far from its centre."""
    when = pd.Timestamp("1900-01-01") + pd.to_timedelta(RNG.integers(0, 60_000_000, N), unit="min")
    data = pd.DataFrame({"when": when, "late": when > pd.Timestamp("1960-01-01")})
    model = fit(make(), data)
    day = pd.Timestamp("2009-03-04")
    hours = [day + pd.Timedelta(hours=k) for k in range(25)]
    parts = [{"when": pair} for pair in itertools.pairwise(hours)]
    whole, *found = model.log_probability([{"when": (day, hours[-1])}, *parts], n_particles=1)
    np.testing.assert_allclose(np.exp(found).sum(), np.exp(whole), rtol=1e-4)
    drawn = model.sample(50, evidence={"when": (hours[3], hours[4])}, random_state=0)["when"]
    assert ((hours[3] <= drawn) & (drawn < hours[4])).all()


def test_what_is_no_interval_of_moments_is_refused_by_name():
    model = fit(make(), frame("weeks"))
    for query, message in [
        ((moment("2023-02-01"), moment("2023-01-01")), "low <= high in column 'when'"),
        ((3, 4), "in column 'when'"),
        ({moment("2023-02-01 12:00")}, "ticks of dates and times"),
        ((moment("2023-02-01"), "soon"), "in column 'when'"),
        ((pd.NaT, moment("2023-02-01")), "None for an open end in column 'when'"),
        ((np.inf, moment("2023-02-01")), "low <= high in column 'when'"),
        ({pd.NaT}, "sets without missing values in column 'when'"),
    ]:
        with pytest.raises((ValueError, TypeError), match=message):
            model.log_probability([{"when": query}])


def test_durations_and_decimals_have_intervals():
    """Real columns of steps: an interval has the numbers that are rounded to its steps."""
    n = RNG.integers(0, 40, N)
    for values, low, high in (
        (pd.to_timedelta(n, unit="min"), dt.timedelta(minutes=7), np.timedelta64(19, "m")),
        ([Decimal(int(k)) / 4 for k in n], Decimal("2.5"), 7.25),
    ):
        data = pd.DataFrame({"x": values, "y": n % 2 == 0})
        model = fit(make(), data)
        inside = (data["x"] >= low) & (data["x"] < high)
        found, open_end, *parts = np.exp(
            model.log_probability(
                [
                    {"x": (low, high)},
                    {"x": (low, np.inf)},
                    *[{"x": e} for e in ((None, low), (low, None))],
                ]
            )
        )
        assert found == pytest.approx(inside.mean(), abs=0.1)
        assert sum(parts) == pytest.approx(1, abs=1e-3)
        assert open_end == pytest.approx(parts[1])
        drawn = model.sample(30, evidence={"x": (low, high)}, random_state=0)["x"]
        assert ((drawn >= low) & (drawn < high)).all()
        with pytest.raises(ValueError, match="in column 'x'"):
            model.log_probability([{"x": ("soon", None)}])


@pytest.mark.parametrize("name", ["weeks", "a zone with folds", "times of day"])
def test_modelled_gaps_come_before_the_digits(name):
    _, span, queries = COLUMNS[name]
    data = frame(name)
    data.loc[RNG.random(N) < 0.3, "when"] = pd.NaT if name != "times of day" else None
    model = fit(make(dtype="float64", missing="modelled"), data)
    found = np.exp(model.log_probability([{"when": query} for query in queries], n_particles=1))
    exact = [sums(model, span, query).sum() for query in queries]
    np.testing.assert_allclose(found, exact, rtol=2e-3, atol=1e-9)


def test_draws_of_gaps_have_no_parts():
    """What follows depends on the hour, but not where there is none."""
    when = pd.Series(
        pd.Timestamp("2023-01-02") + pd.to_timedelta(RNG.integers(0, 9000, N), unit="h")
    )
    data = pd.DataFrame({"when": when, "late": when.dt.hour >= 12})
    gone = RNG.random(N) < 0.4
    data.loc[gone, "when"], data.loc[gone, "late"] = pd.NaT, RNG.random(gone.sum()) < 0.1
    model = fit(make(missing="modelled", max_iter=100), data)
    drawn = model.sample(4000, random_state=0)
    rows = pd.concat([data[gone][:1].assign(late=k) for k in (False, True)])
    expected = 4000 * np.exp(model.score_samples(rows))
    late = drawn["late"][drawn["when"].isna()]
    counts = np.array([(~late).sum(), late.sum()])
    assert np.abs((counts - expected) / np.sqrt(expected)).max() < 5


def test_questions_and_completions_take_intervals_of_dates():
    model = fit(make(), frame("weeks"))
    early, late = (None, "2023-03-01"), ("2023-11-01", None)
    p = model.predict_proba([{"when": early}, {"when": late}], target="late", random_state=0)
    assert p[0, 1] < 0.3 < 0.7 < p[1, 1]
    filled = model.impute([{"when": early}, {"when": late}], random_state=0)
    assert filled["when"][0] < pd.Timestamp("2023-03-01") < filled["when"][1]
    mean, error = model.expectation(
        lambda drawn: drawn["late"].to_numpy(float), evidence={"when": late}, random_state=0
    )
    assert mean > 0.7
    assert error < 0.1


@pytest.mark.parametrize("seed", range(20))
def test_regions_of_digits_hold_the_numbers_of_their_stretches(seed):
    rng = np.random.default_rng(seed)
    radix = rng.integers(2, 5, rng.integers(0, 4)).tolist()
    size = int(np.prod(radix, initial=1)) * 3
    edges = np.sort(rng.choice(size + 1, min(size, 5), replace=False))
    marks = rng.integers(-1, 3, len(edges) - 1)
    stretches = [
        (int(a), int(b), int(k)) for a, b, k in zip(edges, edges[1:], marks, strict=False) if k >= 0
    ]
    allowed = {number: mark for a, b, mark in stretches for number in range(a, b)}
    digits = DigitRegions(radix)
    digits.add(stretches)

    def mark_of(number, places):
        parts = []
        for k in reversed(radix):
            number, part = divmod(number, k)
            parts.append(part)
        at = 0
        for digit, value in enumerate([number, *reversed(parts)]):
            led = [to for a, b, to in digits.regions[digit][at] if a <= value <= b]
            if not led:
                return None
            (at,) = led
        return at

    boxes = digits.boxes()
    assert {n: mark_of(n, None) for n in range(size) if mark_of(n, None) is not None} == allowed
    found = []
    for before, place, mark in boxes:
        rest = int(np.prod(radix[len(before) :], initial=1))
        start = 0
        for digit, value in enumerate(before):
            start += value * int(np.prod(radix[digit:], initial=1))
        for first, last, _ in digits.regions[len(before)][place]:
            for number in range(start + first * rest, start + (last + 1) * rest):
                found.append((number, mark))
    assert len(found) == len(allowed)
    assert dict(found) == allowed


def test_stretches_of_readings_are_joined():
    first, end = np.array([0, 5, 3, 3, 9]), np.array([3, 8, 5, 4, 9])
    assert joined_stretches(first, end, np.array([0, 0, 1, 2, 0])) == [
        (0, 4, 0),
        (4, 5, 1),
        (5, 8, 0),
    ]
