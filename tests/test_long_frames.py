"""Long frames: the rows of a group are the steps of a sequence, whose columns are of any kind."""

import itertools
import json

import numpy as np
import pandas as pd
import polars as pl
import pytest
from common import assert_same_bits, assert_slopes, fit
from frequencies import chi_square
from recurrent_models import make

import fastar
from fastar._core.schema import EntryError
from fastar._data.sequence_layouts import SequenceLayout
from fastar.conditionals import Categorical
from fastar.models.rnn import Sequences

pytestmark = pytest.mark.kernels

FRAMES = ["independent", "nade"]
every_frame = pytest.mark.parametrize("frame", FRAMES)
every_missing = pytest.mark.parametrize("missing", ["marked", "modelled"])
every_library = pytest.mark.parametrize("library", ["pandas", "polars"])


def visits(n=60, seed=0):
    """Return the visits of n customers, in no order: every kind of column, some with gaps."""
    rng = np.random.default_rng(seed)
    parts = []
    for customer in range(n):
        size = int(rng.integers(1, 6))
        days = np.cumsum(rng.integers(0, 9, size))
        amount = np.where(rng.random(size) < 0.3, 0, rng.lognormal(2, 1, size)).round(2)
        shop = rng.choice(["east", "north", "west"], size)
        part = {
            "day": pd.Timestamp("2024-01-31") + pd.to_timedelta(days, unit="D"),
            "customer": f"c{customer}",
            "amount": np.where(rng.random(size) < 0.2, np.nan, amount),
            "shop": pd.Categorical(shop, categories=["east", "north", "west"]),
            "items": pd.array(rng.integers(0, 400, size), "Int64"),
            "paid": rng.random(size) < 0.5,
        }
        parts.append(pd.DataFrame(part))
        parts[-1].loc[shop == "east", "items"] = pd.NA
    found = pd.concat(parts, ignore_index=True)
    return found.sample(frac=1, random_state=seed).reset_index(drop=True)


def of_visits(X=None, **settings):
    settings = {"groups": "customer", "order_by": "day", "n_frame_hidden": 6} | settings
    return fit(make(**settings), visits() if X is None else X)


def in_library(X, library):
    return X if library == "pandas" else pl.from_pandas(X)


def tiny(n=80, seed=0, gaps=True):
    """Return groups of one to three steps of two columns of few levels, and a time."""
    rng = np.random.default_rng(seed)
    size = rng.integers(1, 4, n)
    N = int(size.sum())
    when = np.concatenate([rng.integers(0, 2) + np.cumsum(rng.integers(0, 2, k)) for k in size])
    table = {
        "who": np.repeat(np.arange(n), size),
        "when": when - np.repeat(when[np.cumsum(size) - size] > 1, size),
        "colour": rng.integers(0, 3, N),
        "happy": pd.array(rng.random(N) < 0.4, "boolean"),
    }
    X = pd.DataFrame(table)
    if gaps:
        X.loc[rng.random(N) < 0.3, "happy"] = pd.NA
    return X


def of_tiny(X=None, **settings):
    """Return a model whose levels are all that there is, away from its start."""
    levels = Categorical("error")
    known = {"when": levels, "when since the step before": levels, "colour": levels}
    settings = {"groups": "who", "order_by": "when", "dtype": "float64", "max_iter": 1} | settings
    settings |= {
        "distribution": {k: v for k, v in known.items() if settings["order_by"] or k == "colour"}
    }
    X = tiny() if X is None else X
    model = fit(make(n_frame_hidden=5, **settings), X)
    model.theta_ += 0.6 * np.random.default_rng(1).standard_normal(model.theta_.size)
    return model


def all_of(length, gaps, times=True):
    """Return every group of so many steps that `of_tiny` gives a probability."""
    happy = [True, False, pd.NA] if gaps else [True, False]
    steps = list(itertools.product((0, 1), range(3), happy))
    parts = []
    for who, rows in enumerate(itertools.product(steps, repeat=length)):
        when = np.cumsum([row[0] for row in rows])
        if not times:
            when = np.zeros(length, int)
        table = {"who": who, "when": when}
        table |= {"colour": [row[1] for row in rows]}
        table |= {"happy": pd.array([row[2] for row in rows], "boolean")}
        parts.append(pd.DataFrame(table))
    return pd.concat(parts, ignore_index=True)


# ---- the density


@every_frame
@every_missing
def test_the_probabilities_of_all_groups_sum_to_one(frame, missing):
    model = of_tiny(frame=frame, missing=missing)
    total = 0.0
    for length in (1, 2):
        terms = model.score_features(all_of(length, gaps=missing == "modelled"))
        total += sum(np.exp(each.sum()) for each in terms)
    # those that are longer: they begin so, and do not end there
    total += sum(np.exp(each[:-1].sum()) * (1 - np.exp(each[-1])) for each in terms)
    first = model.conditionals(tiny().iloc[:1])[0]["end"][0]  # groups without a row
    assert total + first == pytest.approx(1, abs=1e-9)


@every_frame
def test_a_step_sees_those_before_it_alone(frame):
    X = visits()
    model = of_visits(X, frame=frame, missing="modelled")
    one = X[X.customer == X.customer.value_counts().index[0]].sort_values("day")
    changed = one.copy()
    changed.loc[changed.index[2], ["amount", "shop", "paid"]] = [3.0, "west", True]
    before, after = model.score_features(one)[0], model.score_features(changed)[0]
    assert_same_bits(before[:2], after[:2])
    assert (before[2:] != after[2:]).all()
    assert before.sum() == pytest.approx(model.score_samples(one)[0], abs=1e-4)


def test_values_of_a_step_follow_one_another_in_a_nade_alone():
    X = visits()
    one = X[X.shop.notna()].iloc[:1]
    for frame, same in (("independent", True), ("nade", False), ("auto", False)):
        model = of_visits(X, frame=frame)
        found = [
            model.conditionals(one.assign(shop=pd.Categorical([shop], X.shop.cat.categories)))
            for shop in ("north", "west")
        ]
        found = [each[0]["values"]["paid"][0] for each in found]
        assert (found[0] == found[1]) == same


def test_a_frame_of_one_column_is_the_list_of_its_groups():
    rng = np.random.default_rng(0)
    sequences = [rng.integers(0, 3, length) for length in rng.integers(1, 6, 40)]
    who = np.repeat(np.arange(40), [len(each) for each in sequences])
    frame = pd.DataFrame({"who": who, "level": np.concatenate(sequences)})
    settings = {"frame": "independent", "distribution": "categorical"}
    of_list = fit(make(**settings), sequences)
    of_frame = fit(make(groups="who", **settings), frame)
    assert_same_bits(of_list.theta_, of_frame.theta_)
    assert_same_bits(of_list.score_samples(sequences), of_frame.score_samples(frame))
    drawn = of_frame.sample(9, random_state=0)
    for i, each in enumerate(of_list.sample(9, random_state=0)):
        np.testing.assert_array_equal(drawn.level[drawn.who == i], each)


@every_frame
@every_missing
def test_the_gradient_is_finite_differences(frame, missing):
    X = visits(30)
    X["amount"] = X.amount.astype(str)  # levels: differences of mixtures are rounded more
    estimator = of_visits(X, frame=frame, missing=missing, dtype="float64", max_iter=1)
    model = estimator._model()
    table = estimator._sequences(X, reset=False)
    codes = model.codes(table.take(slice(None)))
    rng, share = np.random.default_rng(0), np.random.default_rng(1).uniform(0.5, 1.5, 30)
    gradient = np.zeros_like(model.theta)
    grads = model.layout.views(gradient)
    value = model.gradient(model.params, codes, share, grads, 1, None, rng)
    assert value == pytest.approx(share @ estimator.score_samples(X), rel=1e-9)

    def loss():
        return share @ model.log_prob(model.params, codes, 1)[1] / -len(share)

    assert_slopes(model, gradient, loss, rng, rtol=1e-4, atol=1e-5)


def test_order_by_decides_and_rows_do_not():
    X = visits()
    model = of_visits(X)
    order = X.sort_values(["customer", "day"], kind="stable").index
    first = X.customer.drop_duplicates().tolist()
    scores = dict(zip(first, model.score_samples(X), strict=True))
    again = X.loc[order]
    found = dict(zip(again.customer.unique(), model.score_samples(again), strict=True))
    assert scores == pytest.approx(found, abs=1e-4)
    late = X.assign(day=X.day + pd.Timedelta(3, "D"))
    assert (model.score_samples(late) != model.score_samples(X)).all()


def test_a_time_is_a_beginning_and_rises():
    model = of_visits()
    names = [each["column"] for each in model.schema_]
    assert names == ["day", "day since the step before", "amount", "shop", "items", "paid"]
    assert [each["kind"] for each in model.schema_][:2] == ["calendar", "categorical"]
    assert model.schema_[3]["support"].startswith("'east', 'north', 'west'")
    one = visits().query("customer == 'c3'").sort_values("day")
    later = one.assign(day=one.day + pd.Timedelta(1, "D"))
    (before,), (after,) = model.score_features(one), model.score_features(later)
    assert before[0] != after[0]


def test_without_order_by_rows_are_in_their_order():
    X = visits()
    model = of_visits(X, order_by=None)
    names = [each["column"] for each in model.schema_]
    assert names == ["day", "amount", "shop", "items", "paid"]
    one = X[X.customer == X.customer.value_counts().index[0]]
    assert model.score_samples(one)[0] != model.score_samples(one.iloc[::-1])[0]


@pytest.mark.parametrize("n_threads", [2, 3])
def test_bits_do_not_depend_on_threads(n_threads):
    X = visits()
    one, other = (of_visits(X, n_jobs=n, missing="modelled") for n in (1, n_threads))
    assert_same_bits(one.theta_, other.theta_)
    assert one.sample(20, random_state=0).equals(other.sample(20, random_state=0))
    assert one.impute(X, random_state=0).equals(other.impute(X, random_state=0))


def test_a_context_has_a_row_for_each_group():
    X = visits()
    names = X.customer.unique()
    age = np.random.default_rng(0).normal(40, 10, (len(names), 1))
    model = fit(make(groups="customer", order_by="day", n_frame_hidden=6), X, context=age)
    assert len(model.score_samples(X, context=age)) == len(names)
    assert model.sample(len(names), context=age, random_state=0).customer.max() < len(names)
    with pytest.raises(ValueError, match="context"):
        model.score_samples(X, context=age[:-1])


# ---- samples


@every_library
@every_missing
def test_samples_are_frames_of_the_same_types_in_order(library, missing):
    X = in_library(visits(), library)
    model = of_visits(X, missing=missing)
    drawn = model.sample(60, random_state=0)
    assert list(drawn.columns) == list(X.columns)
    same = [drawn[name].dtype == X[name].dtype for name in X.columns if name != "customer"]
    assert all(same)
    assert np.isfinite(model.score_samples(drawn)).all()
    table = drawn if library == "pandas" else drawn.to_pandas()
    assert set(table.customer) <= set(range(60))
    assert (table.customer.diff().dropna() >= 0).all()
    assert table.groupby("customer").day.is_monotonic_increasing.all()
    assert table["items"].isna().any() == (missing == "modelled")
    assert table["shop"].notna().all()


@every_library
@pytest.mark.parametrize("kind", ["float", "integer", "large", "second", "zone"])
def test_samples_are_in_order_whatever_time_is(kind, library):
    rng = np.random.default_rng(0)
    size = rng.integers(2, 6, 80)
    rises = rng.exponential(400, size.sum())
    rises[rng.random(len(rises)) < 0.2] = 0
    time = np.concatenate(
        [100 * rng.normal() + np.cumsum(each) for each in np.split(rises, np.cumsum(size)[:-1])]
    )
    whole = np.rint(time).astype(np.int64)
    moments = pd.Series(pd.Timestamp("2025-03-29") + pd.to_timedelta(whole, "s"))
    columns = {
        "float": time,
        "integer": whole,
        "large": whole + 2**60 + 1,
        "second": moments,
        "zone": moments.dt.tz_localize("UTC").dt.tz_convert("Europe/Berlin"),
    }
    X = pd.DataFrame({"at": columns[kind], "who": np.repeat(np.arange(80), size)})
    X = in_library(X.assign(level=rng.integers(0, 3, len(X))), library)
    model = fit(make(groups="who", order_by="at", n_frame_hidden=6), X)
    assert np.isfinite(model.score_samples(X)).all()
    drawn = model.sample(100, random_state=0)
    assert drawn["at"].dtype == X["at"].dtype
    table = drawn if library == "pandas" else drawn.to_pandas()
    assert table.groupby("who")["at"].is_monotonic_increasing.all()
    ranges = [(each["at"].min(), each["at"].max()) for each in (drawn, X)]
    assert ranges[0][0] <= ranges[1][1]
    assert ranges[1][0] <= ranges[0][1]
    assert np.isfinite(model.score_samples(drawn)).all()


@every_frame
def test_samples_follow_the_density(frame):
    model = of_tiny(frame=frame, missing="modelled", end_symbol=False)
    X = all_of(2, gaps=True)
    p = np.exp(model.score_samples(X))
    assert p.sum() == pytest.approx(1, abs=1e-9)
    drawn = model.sample(30_000, max_length=2, random_state=0)

    def code(table):
        happy = table.happy.astype("Float64").fillna(2).to_numpy(float)
        rises = table.when.groupby(table.who).diff().fillna(table.when)
        steps = (rises * 9 + table.colour * 3 + happy).to_numpy(int).reshape(-1, 2)
        return steps @ [18, 1]

    place = np.full(18**2, -1)
    place[code(X)] = np.arange(len(p))
    counts = np.bincount(place[code(drawn)], minlength=len(p))
    assert chi_square(counts, p) > 1e-3


def test_samples_keep_prefixes_and_evidence():
    X = visits()
    model = of_visits(X, missing="modelled")
    one = X[X.customer == X.customer.value_counts().index[0]].sort_values("day")
    drawn = model.sample(8, prefix=one.iloc[:2], random_state=0)
    for _, each in drawn.groupby("customer"):
        same = each.iloc[:2].drop(columns="customer").reset_index(drop=True)
        pd.testing.assert_frame_equal(
            same, one.iloc[:2].drop(columns="customer").reset_index(drop=True)
        )
    free = one.assign(amount=np.nan, paid=pd.array([pd.NA] * len(one), "boolean"))
    drawn = model.sample(8, evidence=free, random_state=0)
    assert len(drawn) == 8 * len(one)
    for _, each in drawn.groupby("customer"):
        for name in ("day", "shop"):
            assert each[name].tolist() == one[name].tolist()
    assert drawn.paid.nunique() == 2


# ---- what is not known


@every_frame
@every_missing
def test_a_marginal_is_the_sum_over_what_is_not_known(frame, missing):
    model = of_tiny(frame=frame, missing=missing)
    X = tiny(gaps=False).query("who in [0, 1, 2, 3]")
    gapped = X.astype({"colour": "Int64"})
    gapped.loc[gapped.index[::2], "colour"] = pd.NA
    found = model.log_marginal(gapped, n_particles=20_000, random_state=0)
    for i, (_, group) in enumerate(gapped.groupby("who", sort=False)):
        free = np.flatnonzero(group.colour.isna())
        whole = []
        for values in itertools.product(range(3), repeat=len(free)):
            filled = group.copy()
            filled.iloc[free, filled.columns.get_loc("colour")] = values
            whole.append(model.score_samples(filled)[0])
        assert found[i] == pytest.approx(np.logaddexp.reduce(whole), abs=0.03)


@every_library
def test_imputation_fills_gaps_and_leaves_the_rest(library):
    X = in_library(visits(), library)
    model = of_visits(X, missing="modelled")
    filled = model.impute(X, random_state=0)
    before, after = (each if library == "pandas" else each.to_pandas() for each in (X, filled))
    assert after.notna().all().all()
    assert list(filled.columns) == list(X.columns)
    assert [filled[each].dtype for each in X.columns] == [X[each].dtype for each in X.columns]
    there = before.notna()
    assert after.where(there).equals(before.where(there))
    several = model.impute(X, n_draws=3, random_state=0)
    assert len(several) == 3
    assert not several[0].equals(several[1])


def test_imputation_keeps_the_index():
    X = visits().set_index(pd.Index(np.random.default_rng(0).permutation(len(visits()))))
    assert of_visits(X).impute(X, random_state=0).index.equals(X.index)


def test_what_does_not_apply_is_not_missing():
    X = tiny(gaps=False)
    model = of_tiny(X)
    assert_same_bits(model.log_marginal(X, random_state=0), model.score_samples(X))
    pd.testing.assert_frame_equal(model.impute(X, random_state=0), X)


# ---- files


@every_missing
@every_library
def test_files(tmp_path, missing, library):
    X = in_library(visits(), library)
    model = of_visits(X, missing=missing)
    model.save(tmp_path / "model")
    again = fastar.load(tmp_path / "model")
    assert_same_bits(model.score_samples(X), again.score_samples(X))
    assert model.sample(5, random_state=0).equals(again.sample(5, random_state=0))
    assert model.schema_ == again.schema_


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ("place", 99),
        ("groups", "amount"),
        ("order_by", "shop"),
        ("order_by", "nothing"),
        ("schema", 3),
    ],
)
def test_damaged_layouts_are_refused(entry, value):
    described = json.loads(json.dumps(of_visits()._container.to_json()))
    SequenceLayout.from_json(described)
    described["frame"] = described["frame"] | {entry: value}
    with pytest.raises(EntryError):
        SequenceLayout.from_json(described)


def test_go_on_from_a_fitted_model():
    X = visits()
    model = of_visits(X, warm_start=True, missing="modelled")
    before = model.score(X)
    fit(model, X)
    assert model.score(X) > before
    model.partial_fit(X)


# ---- errors


def test_errors_say_what_is_wrong():
    X, model = visits(), of_visits()
    with pytest.raises(ValueError, match=r"groups must be a column of X. Got 'nobody'"):
        of_visits(groups="nobody")
    with pytest.raises(ValueError, match="order_by must be a column of X beside 'customer'"):
        of_visits(order_by="customer")
    with pytest.raises(ValueError, match=r"order_by must be a column of numbers.*'shop'"):
        of_visits(order_by="shop")
    with pytest.raises(TypeError, match="X must be a pandas or polars DataFrame where 'groups'"):
        of_visits([[0, 1]])
    with pytest.raises(ValueError, match="a column beside that of the groups, 'customer'"):
        of_visits(X[["customer"]], order_by=None)
    with pytest.raises(ValueError, match=r"X must have a group in every row of 'customer'.*row 4"):
        model.score_samples(X.assign(customer=X.customer.where(X.index != 4)))
    with pytest.raises(ValueError, match=r"X must have a value in every row of 'day'.*row 2"):
        model.score_samples(X.assign(day=X.day.where(X.index != 2)))
    one = X[X.customer == "c3"].sort_values("day")
    with pytest.raises(ValueError, match=r"missing in fit. Got one in 'paid' of step 0"):
        model.score_samples(one.assign(paid=pd.array([pd.NA] * len(one), "boolean")))
    with pytest.raises(ValueError, match="feature names"):
        model.score_samples(X.drop(columns="amount"))
    with pytest.raises(ValueError, match="prefix must be one group, or one for each of 4"):
        model.sample(4, prefix=X)
    for name in ("prefix", "evidence"):
        with pytest.raises(ValueError, match=f"{name} must hold categories.*'shop'.*'south'"):
            model.sample(2, **{name: one.assign(shop="south")})
    with pytest.raises(ValueError, match="score_stream"):
        model.score_stream(X)
    with pytest.raises(ValueError, match="groups and order_by must be as in fit"):
        model.set_params(order_by=None).score_samples(X)
    with pytest.raises(ValueError, match="groups must be the column that fit was given"):
        model.set_params(groups=None).score_samples(X)
    strict = of_visits(distribution={"shop": Categorical("error")}, order_by=None)
    strange = X.assign(shop=X.shop.astype(object).where(X.index != 1, "south"))
    with pytest.raises(ValueError, match="'south'"):
        strict.score_samples(strange)


def test_what_is_missing_everywhere_is_refused():
    X = visits()
    with pytest.raises(ValueError, match="a value somewhere in 'amount'"):
        of_visits(X.assign(amount=np.nan))
    with pytest.raises(ValueError, match="a group of two rows or more"):
        of_visits(X.drop_duplicates("customer"))
    with pytest.raises(ValueError, match="a value somewhere in value 1 of a step"):
        fit(make(missing="marked"), [np.array([[0, np.nan], [1, np.nan]])] * 5)


def test_the_schema_is_that_of_frames():
    with pytest.raises(AttributeError, match="schema_"):
        _ = fit(make(), [[0, 1], [1]]).schema_


# ---- gaps in the steps of arrays and lists


def gapped(n=60, F=2, seed=0, share=0.3):
    rng = np.random.default_rng(seed)
    X = [rng.integers(0, 3, (length, F)).astype(float) for length in rng.integers(1, 4, n)]
    for each in X:
        each[rng.random(len(each)) < share, 0] = np.nan
    return X


def of_gaps(X=None, **settings):
    settings = {"distribution": Categorical("error"), "max_iter": 1, "dtype": "float64"} | settings
    model = fit(make(n_frame_hidden=5, **settings), gapped() if X is None else X)
    model.theta_ += 0.6 * np.random.default_rng(1).standard_normal(model.theta_.size)
    return model


@every_frame
@every_missing
@pytest.mark.parametrize("ends", [True, False])
def test_the_probabilities_of_all_sequences_with_gaps_sum_to_one(frame, missing, ends):
    model = of_gaps(frame=frame, missing=missing, end_symbol=ends)
    first = [0, 1, 2, np.nan] if missing == "modelled" else [0, 1, 2]
    steps = list(itertools.product(first, range(3)))
    whole = [np.array(rows, float) for rows in itertools.product(steps, repeat=2)]
    total = sum(np.exp(each[:2].sum()) for each in model.score_features(whole))
    if ends:  # those that end before they have two steps
        shorter = [np.empty((0, 2)), *(np.array([step], float) for step in steps)]
        total += np.exp(model.score_samples(shorter)).sum()
    assert total == pytest.approx(1, abs=1e-9)


@every_frame
def test_gaps_that_are_modelled_come_back_in_samples(frame):
    X = gapped(400, share=0.5)
    model = fit(make(frame=frame, missing="modelled", max_iter=30), X)
    drawn = np.concatenate(model.sample(500, random_state=0))
    assert np.isnan(drawn[:, 0]).mean() == pytest.approx(0.5, abs=0.1)
    assert not np.isnan(drawn[:, 1]).any()
    filled = np.concatenate(model.impute(X, random_state=0))
    assert not np.isnan(filled).any()


@every_missing
def test_gaps_of_rows_and_streams(missing):
    rng = np.random.default_rng(0)
    X = rng.integers(0, 3, (60, 5)).astype(float)
    X[rng.random(X.shape) < 0.2] = np.nan
    model = of_gaps(X, missing=missing)
    scores = model.score_features(X)
    streamed, _ = model.score_stream(X)
    assert_same_bits(scores, streamed)
    known = X[~np.isnan(X)]
    assert_same_bits(model.impute(X, random_state=0)[~np.isnan(X)], known)
    if missing == "marked":
        assert (scores[np.isnan(X)] == 0).all()
    else:
        assert (model.conditionals(X)["missing"] > 0).all()


def test_gaps_are_errors_by_default_and_where_fit_had_none():
    with pytest.raises(ValueError, match="finite"):
        fit(make(), gapped())
    found = Sequences(np.array([0, np.nan, 1]), [0, 3], gaps=True)
    with pytest.raises(ValueError, match="Got one in value 0 of step 1 of sequence 0"):
        fit(make(), found)
    model = of_gaps(missing="marked")
    with pytest.raises(ValueError, match="Got one in value 1 of step 1 of sequence 0"):
        model.score_samples([np.array([[0, 1], [1, np.nan]])])
    with pytest.raises(ValueError, match="Got one in value 1 of step 0 of sequence 0"):
        model.sample(2, prefix=np.array([[0, np.nan]]))


def test_files_of_gaps(tmp_path):
    for missing, ends in itertools.product(("marked", "modelled"), (True, False)):
        model = of_gaps(missing=missing, end_symbol=ends)
        model.save(tmp_path / "model")
        again = fastar.load(tmp_path / "model")
        assert_same_bits(model.score_samples(gapped()), again.score_samples(gapped()))
        with pytest.raises(ValueError, match="value 1 of step 0"):
            again.score_samples([np.array([[0, np.nan]])])
