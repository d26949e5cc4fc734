"""Questions about columns given others: Bayes' rule by hand, exhaustive sums and integrals."""

import re

import numpy as np
import pandas as pd
import polars
import pytest
from common import (
    COUNTS,
    DATA,
    DEEP,
    DISCRETE,
    MASKS,
    MODELS,
    REAL,
    VARIANTS,
    fit,
    fitted,
    make,
    states,
)

from fastar import MADE, NADE, DeepNADE, GenerativeRNN, Mixture, PixelRNN
from fastar.conditionals import Categorical

D, nan = 4, np.nan


def by_bayes(model, X, column, **context):
    """Return p(level | the other cells) (n, K) from scores of whole rows."""
    parts = []
    for level in model.levels(column):
        rows = X.copy()
        rows[:, column] = level
        parts.append(np.exp(model.score_samples(rows, **context)))
    joint = np.stack(parts, axis=1)
    return joint / joint.sum(axis=1, keepdims=True)


def shares(model, row, conditional):
    """Return all rows that agree with a row, NaN where free, and p(they | it)."""
    everything = states(conditional, len(row))
    agree = everything[(np.isnan(row) | (row == everything)).all(axis=1)]
    p = np.exp(model.score_samples(agree))
    return agree, p / p.sum()


def gapped(X, *columns):
    holes = X.astype(float)
    holes[:, columns] = nan
    return holes


def mixture(conditional="bernoulli", n=300, **settings):
    X = DATA[conditional](n, D)
    members = [make("NADE", **settings), make("MADE", order=[2, 0, 3, 1], **settings)]
    return fit(Mixture(members, weights=[0.3, 0.7], random_state=0, n_jobs=1), X), X


# ---- levels


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("conditional", DISCRETE)
@pytest.mark.parametrize("name", MODELS)
def test_probabilities_are_those_of_bayes_rule(name, conditional, variant):
    model, X = fitted(name, conditional, D=D, **VARIANTS[variant])
    for column in range(D):
        found = model.predict_proba(X[:20], target=column)
        np.testing.assert_allclose(found, by_bayes(model, X[:20], column), rtol=1e-5, atol=1e-7)
        assert (model.answer_ess_ == 64).all()
        best = model.levels(column)[found.argmax(axis=1)]
        np.testing.assert_array_equal(model.predict(X[:20], target=column, kind="mode"), best)


@pytest.mark.parametrize("variant", MASKS)
@pytest.mark.parametrize("conditional", DISCRETE)
def test_members_are_averaged(conditional, variant):
    model, X = fitted("MADE", conditional, D=D, **MASKS[variant])
    for column in range(D):
        found = model.predict_proba(X[:20], target=column)
        np.testing.assert_allclose(found, by_bayes(model, X[:20], column), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("conditional", DISCRETE)
def test_a_mixture_answers_as_one_density(conditional):
    model, X = mixture(conditional)
    for column in range(D):
        found = model.predict_proba(X[:20], target=column)
        np.testing.assert_allclose(found, by_bayes(model, X[:20], column), rtol=1e-5, atol=1e-7)
    row = gapped(X[:1], 0, 3)[0]
    agree, p = shares(model, row, conditional)
    exact = [p[agree[:, 3] == level].sum() for level in model.levels(3)]
    found = model.predict_proba([row], target=3, n_particles=4000, random_state=0)[0]
    np.testing.assert_allclose(found, exact, atol=0.02)


@pytest.mark.parametrize("name", MODELS)
def test_a_context_is_given_to_every_level(name):
    X = DATA["bernoulli"](300, D)
    context = X[:, :1] + np.random.default_rng(0).normal(size=(300, 1))
    model = fit(make(name), X, context=context)
    given = {"context": context[:20]}
    for column in range(D):
        found = model.predict_proba(X[:20], target=column, **given)
        np.testing.assert_allclose(found, by_bayes(model, X[:20], column, **given), rtol=1e-4)
    found = model.predict_proba(X[:20], target=1, **given)
    other = model.predict_proba(X[:20], target=1, context=context[:20] + 1)
    assert (np.abs(other - found) > 1e-6).any()


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("conditional", DISCRETE)
def test_other_gaps_are_summed_out(name, conditional):
    model, X = fitted(name, conditional, D=D, order="random")
    rows = gapped(X[:4], 0, 2)
    found = model.predict_proba(rows, target=1, n_particles=4000, random_state=0)
    for row, p in zip(rows, found, strict=True):
        row[1] = nan
        agree, share = shares(model, row, conditional)
        exact = [share[agree[:, 1] == level].sum() for level in model.levels(1)]
        np.testing.assert_allclose(p, exact, atol=0.03)
    assert (model.answer_ess_ > 100).all()
    assert (model.answer_ess_ <= 4000).all()


@pytest.mark.parametrize("n_orders", [1, 3])
def test_a_network_of_all_orders_needs_no_particles(n_orders):
    X = DATA["categorical"](300, D)
    model = fit(DeepNADE(**DEEP, distribution=Categorical("error")), X).with_orders(n_orders)
    for rows in (X[:20], gapped(X[:20], 0, 3)):
        found = model.predict_proba(rows, target=1, n_particles=1)
        parts = []
        for level in range(3):
            one = rows.astype(float)
            one[:, 1] = level
            parts.append(np.exp(model.log_marginal(one, n_particles=1)))
        exact = np.stack(parts, axis=1)
        np.testing.assert_allclose(found, exact / exact.sum(axis=1, keepdims=True), rtol=1e-4)


def test_a_column_of_two_digits_is_one_column():
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.integers(0, 2, 400), rng.integers(0, 9, 400), rng.integers(0, 2, 400)])
    model = fit(make("NADE", distribution=Categorical("error", digits=True)), X)
    assert model.distribution_.n_features > 3
    for column in range(3):
        found = model.predict_proba(X[:20], target=column)
        np.testing.assert_allclose(found, by_bayes(model, X[:20], column), rtol=1e-5, atol=1e-7)


def test_what_is_in_the_target_is_ignored():
    model, X = fitted("MADE", "categorical", D=D)
    expected = model.predict_proba(X[:20], target=2)
    for junk in (nan, 77.0, np.inf):
        rows = X[:20].astype(float)
        rows[:, 2] = junk
        np.testing.assert_array_equal(model.predict_proba(rows, target=2), expected)
    np.testing.assert_array_equal(model.predict_proba(np.delete(X[:20], 2, 1), target=2), expected)
    np.testing.assert_array_equal(model.predict_proba(X[:20], target=-2), expected)
    last = model.predict_proba(X[:20], target=D - 1)
    np.testing.assert_array_equal(model.predict_proba(X[:20]), last)


# ---- numbers


def on_a_grid(model, X, column, n=2401):
    """Return a grid (n,) of a column's values, and p(value | the other cells) (len(X), n)."""
    drawn = model.sample(1000, random_state=0)[:, column]
    grid = drawn.mean() + drawn.std() * np.linspace(-12, 12, n)
    rows = np.repeat(X, n, axis=0)
    rows[:, column] = np.tile(grid, len(X))
    log_p = model.score_samples(rows).reshape(len(X), n)
    return grid, np.exp(log_p - np.logaddexp.reduce(log_p, axis=1, keepdims=True))


@pytest.mark.parametrize("conditional", REAL)
@pytest.mark.parametrize("name", MODELS)
def test_numbers_are_predicted_by_integrals(name, conditional):
    model, X = fitted(name, conditional, D=2, dtype="float64")
    X = X[:5]
    for column in range(2):
        grid, p = on_a_grid(model, X, column)
        spread = np.sqrt(p @ grid**2 - (p @ grid) ** 2).max()
        settings = {"target": column, "n_particles": 4000}
        mean = model.predict(X, **settings)
        np.testing.assert_allclose(mean, p @ grid, atol=0.03 * spread)
        for q in (0.05, 0.5, 0.9):
            found = model.predict(X, kind="quantile", quantile=q, **settings)
            below = (p * (grid <= found[:, None])).sum(axis=1)
            np.testing.assert_allclose(below, q, atol=0.02)
        median = model.predict(X, kind="median", **settings)
        half = model.predict(X, kind="quantile", quantile=0.5, **settings)
        np.testing.assert_array_equal(median, half)


@pytest.mark.parametrize("kind", ["orders", "mixture"])
def test_members_propose_numbers_together(kind):
    if kind == "mixture":
        model, X = mixture("gaussian", dtype="float64")
    else:
        model, X = fitted("MADE", "gaussian", D=D, dtype="float64", **MASKS["orders"])
    grid, p = on_a_grid(model, X[:5], 1)
    found = model.predict(X[:5], target=1, n_particles=4000)
    spread = np.sqrt(p @ grid**2 - (p @ grid) ** 2).max()
    np.testing.assert_allclose(found, p @ grid, atol=0.05 * spread)


@pytest.mark.parametrize("conditional", COUNTS)
def test_counts_are_predicted_by_sums(conditional):
    model, X = fitted("NADE", conditional, D=3)
    every = np.arange(200)
    for row in X[:4]:
        rows = np.repeat(row[None], 200, axis=0)
        rows[:, 0] = every
        p = np.exp(model.score_samples(rows))
        p /= p.sum()
        found = model.predict(row[None], target=0, n_particles=8000)[0]
        assert found == pytest.approx(p @ every, abs=0.05 * np.sqrt(p @ every**2) + 0.02)
        median = model.predict(row[None], target=0, kind="median", n_particles=8000)[0]
        assert median.dtype == X.dtype
        assert p[every <= median].sum() > 0.45
        assert p[every < median].sum() < 0.55


def test_gaps_beside_a_number_are_integrated_out():
    model, X = fitted("NADE", "gaussian", D=3, dtype="float64")
    row = X[:1].copy()
    # p(x_1 | x_0) needs no sum over x_2, which comes last
    grid = np.linspace(X[:, 1].min() - 20, X[:, 1].max() + 20, 4001)
    rows = np.repeat(row, 4001, axis=0)
    rows[:, 1] = grid
    log_p = model.score_features(rows)[:, :2].sum(axis=1)
    p = np.exp(log_p - log_p.max())
    exact = p @ grid / p.sum()
    row[0, 2] = nan
    found = model.predict(row, target=1, n_particles=20_000, random_state=0)[0]
    assert found == pytest.approx(exact, abs=0.03 * X[:, 1].std())


def test_a_network_of_all_orders_integrates_gaps_beside_a_number_exactly():
    X = DATA["gaussian"](300, 3)
    model = fit(DeepNADE(**DEEP, dtype="float64", distribution="gaussian"), X)
    grid, p = on_a_grid(model, X[:5], 1)
    found = model.predict(X[:5], target=1, n_particles=4000)
    np.testing.assert_allclose(found, p @ grid, atol=0.05 * X[:, 1].std())
    rows = gapped(X[:5], 0)
    beside = np.repeat(rows, len(grid), axis=0)
    beside[:, 1] = np.tile(grid, 5)
    log_p = model.log_marginal(beside, n_particles=1).reshape(5, -1)
    p = np.exp(log_p - np.logaddexp.reduce(log_p, axis=1, keepdims=True))
    found = model.predict(rows, target=1, n_particles=4000)
    np.testing.assert_allclose(found, p @ grid, atol=0.05 * X[:, 1].std())


@pytest.mark.parametrize("name", MODELS)
def test_a_gap_is_integrated_out_even_where_fit_had_a_mark_for_it(name):
    X = DATA["categorical"](300, D)
    holes = X.astype(float)
    holes[np.random.default_rng(0).random(X.shape) < 0.1] = nan
    model = fit(make(name, missing="marked", distribution=Categorical("error")), holes)
    whole = X[:10].astype(float)
    found = model.predict_proba(whole, target=1)
    np.testing.assert_allclose(found, by_bayes(model, whole, 1), rtol=1e-5)
    row = gapped(X[:1], 0, 1)[0]
    agree, p = shares(model, row, "categorical")
    exact = [p[agree[:, 1] == level].sum() for level in range(3)]
    found = model.predict_proba([row], target=1, n_particles=4000, random_state=0)[0]
    np.testing.assert_allclose(found, exact, atol=0.03)


def test_answers_of_whole_rows_do_not_depend_on_the_rows_beside_them():
    model, X = fitted("RNADE", "gaussian_mixture", D=D)
    whole = model.predict(X[:30], target=1)
    parts = [model.predict(X[i : i + 1], target=1)[0] for i in range(30)]
    np.testing.assert_array_equal(whole, parts)


# ---- every cell


@pytest.mark.parametrize("conditional", DISCRETE)
@pytest.mark.parametrize("name", MODELS)
def test_each_cell_is_explained_by_all_others(name, conditional):
    model, X = fitted(name, conditional, D=D)
    found = model.explain(X[:10])
    for column in range(D):
        p = by_bayes(model, X[:10], column)
        at = model.levels(column).searchsorted(X[:10, column])
        np.testing.assert_allclose(found[:, column], np.log(p[np.arange(10), at]), atol=1e-5)


@pytest.mark.parametrize("kind", ["NADE", "mixture"])
def test_a_number_is_explained_by_its_density(kind):
    if kind == "mixture":
        model, X = mixture("gaussian", dtype="float64")
    else:
        model, X = fitted("NADE", "gaussian", D=D, dtype="float64")
    found = model.explain(X[:5], n_particles=8000)
    for column in range(D):
        grid, p = on_a_grid(model, X[:5], column)
        density = p / (grid[1] - grid[0])
        exact = [np.interp(x, grid, own) for x, own in zip(X[:5, column], density, strict=True)]
        np.testing.assert_allclose(found[:, column], np.log(exact), atol=0.05)


@pytest.mark.parametrize("conditional", ["bernoulli", "categorical"])
def test_cells_beside_gaps_are_explained_by_what_is_known(conditional):
    model, X = fitted("MADE", conditional, D=D)
    rows = gapped(X[:4], 1)
    found = model.explain(rows, n_particles=4000, random_state=0)
    assert np.isnan(found[:, 1]).all()
    for i, row in enumerate(rows):
        for column in (0, 2, 3):
            free = row.copy()
            free[column] = nan
            agree, p = shares(model, free, conditional)
            exact = p[agree[:, column] == row[column]].sum()
            assert np.exp(found[i, column]) == pytest.approx(exact, abs=0.03)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", MODELS)
def test_levels_among_numbers_are_explained(name, dtype):
    model, X = fitted(name, "mixed", D=8, dtype=dtype)
    found = model.explain(X[:10], n_particles=2)
    for column in (0, 3, 6):  # bits, levels and ordinal levels, with densities after them
        p = by_bayes(model, X[:10], column)
        at = model.levels(column).searchsorted(X[:10, column])
        np.testing.assert_allclose(found[:, column], np.log(p[np.arange(10), at]), atol=1e-3)


@pytest.mark.parametrize("kind", ["mixed", "bernoulli", "categorical", "gaussian"])
@pytest.mark.parametrize("name", MODELS)
def test_a_pass_that_begins_at_a_feature_is_the_end_of_a_whole_one(name, kind):
    X = DATA[kind](200, 8)
    context = X[:, :1] + np.random.default_rng(0).normal(size=(200, 1))
    for given in ({}, {"context": context}):
        estimator = fit(make(name, dtype="float64", max_iter=3), pd.DataFrame(X), **given)
        model = estimator._model()
        network, codes = model.network, model.codes(X[:, model.order])
        encoded = {"context": estimator._encoded(given.get("context"), 200)}
        weights = network.materialise_weights(model.params, 1)
        raw = network.forward(weights, codes, 1, **encoded)[0]
        for start in range(1, 8):
            other = codes.copy()
            other[:, start:] = codes[::-1, start:]
            whole, tail = network.forward_from(weights, codes, start, 1, **encoded)
            np.testing.assert_array_equal(whole, raw)
            own, later = model.conditional.output_offsets[start : start + 2]
            expected = network.forward(weights, other, 1, **encoded)[0][:, later:]
            found = tail(np.ascontiguousarray(other[:, start:]))[:, later - own :]
            np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
            assert start == 7 or (expected != raw[:, later:]).any()
        assert network.forward_from(weights, codes, 0, 1, **encoded) is None


def test_a_window_and_several_masks_are_rescored_whole():
    for name, settings in (("NADE", {"markov_order": 1}), ("MADE", {"n_masks": 2})):
        model, X = fitted(name, D=D, **settings)
        model = model._model()
        weights = model.network.materialise_weights(model.params, 1)
        assert model.network.forward_from(weights, model.codes(X), 2, 1) is None


def test_a_category_that_fit_has_not_seen_is_improbable():
    frame = pd.DataFrame({"a": list("xyxyxyxyxy") * 20, "b": list("xxyyxxyyxx") * 20})
    model = fit(make(), frame)
    odd = model.explain(pd.DataFrame({"a": ["x", "z"], "b": ["y", "y"]}))
    assert odd[1, 0] < np.log(0.05) < odd[0, 0]
    assert (odd <= 0).all()


@pytest.mark.filterwarnings("ignore:.*no level that was seen in fit")
@pytest.mark.parametrize("kind", ["NADE", "MADE", "masks", "DeepNADE", "mixture"])
def test_an_impossible_value_says_nothing_of_the_other_cells(kind):
    rng = np.random.default_rng(0)
    kinds = pd.CategoricalDtype(["x", "y", "z"], ordered=True)
    frame = pd.DataFrame({
        "a": pd.Series(rng.choice(["x", "y", "z"], 300), dtype=kinds),
        "id": 2**60 + rng.integers(0, 3, 300),
        "n": rng.normal(size=300),
    })  # fmt: skip
    settings = {"distribution": {"a": Categorical("impossible"), "id": Categorical("impossible")}}
    made = {
        "masks": lambda: make("MADE", n_masks=2, **settings),
        "DeepNADE": lambda: DeepNADE(max_iter=3, random_state=0, **settings),
        "mixture": lambda: Mixture([make(**settings), make("MADE", **settings)], random_state=0),
    }
    model = fit(made.get(kind, lambda: make(kind, **settings))(), frame)
    alien = frame[:4].astype({"a": object})
    alien.loc[0, "a"] = "q"
    alien.loc[[1, 2], "id"] = 2**60 + 9
    alien.loc[2, "a"] = "q"
    impossible = np.zeros((4, 3), bool)
    impossible[[0, 1, 2, 2], [0, 1, 0, 1]] = True
    unknown = frame[:4].astype({"a": object, "id": object})
    unknown = unknown.mask(impossible, None).astype({"a": kinds, "id": "Int64"})
    how = {"n_particles": 50, "random_state": 0}
    found, expected = model.explain(alien, **how), model.explain(unknown, **how)
    assert (found[impossible] == -np.inf).all()
    np.testing.assert_array_equal(found[~impossible], expected[~impossible])
    for column in ("a", "n"):
        mine, theirs = (model.predict(X, target=column, **how) for X in (alien, unknown))
        np.testing.assert_array_equal(mine, theirs)
    mine, theirs = (model.repair_suggestions(X, 2, **how) for X in (alien, unknown))
    for column in frame:
        np.testing.assert_array_equal(mine[column].values, theirs[column].values)
    assert (model.score_samples(alien)[:3] == -np.inf).all()


# ---- completions


@pytest.mark.parametrize("kind", [*MODELS, "orders", "mixture", "DeepNADE"])
@pytest.mark.parametrize("conditional", ["bernoulli", "categorical"])
def test_a_wide_beam_finds_the_most_probable_completion(kind, conditional):
    if kind == "mixture":
        model, X = mixture(conditional)
    elif kind == "orders":
        model, X = fitted("MADE", conditional, D=D, **MASKS["orders"])
    elif kind == "DeepNADE":
        X = DATA[conditional](300, D)
        model = fit(DeepNADE(**DEEP, n_orders=2), X)
    else:
        model, X = fitted(kind, conditional, D=D, order="random")
    rows = X[:12].astype(float)
    rows[np.random.default_rng(0).random(rows.shape) < 0.5] = nan
    full = model.complete(rows, width=81)
    known = ~np.isnan(rows)
    np.testing.assert_array_equal(full[known], rows[known])
    for row, score in zip(rows, model.score_samples(full.astype(X.dtype)), strict=True):
        everything = states(conditional, D)
        agree = everything[(np.isnan(row) | (row == everything)).all(axis=1)]
        assert score == pytest.approx(model.score_samples(agree).max(), abs=1e-5)


def test_a_narrow_beam_is_at_least_greedy_and_a_wider_one_no_worse():
    X = DATA["categorical"](400, 8)
    model = fit(make(max_iter=60), X)
    rows = gapped(X[:50], 1, 2, 4, 6)
    scores = [
        model.score_samples(model.complete(rows, width=width).astype(int)) for width in (1, 4, 81)
    ]
    assert scores[0].mean() <= scores[1].mean() + 1e-6 <= scores[2].mean() + 2e-6
    drawn = model.score_samples(model.impute(rows, random_state=0).astype(int))
    assert (scores[2] >= drawn - 1e-5).all()


def test_numbers_are_completed_near_their_mode():
    model, X = fitted("NADE", "gaussian", D=3, dtype="float64")
    rows = gapped(X[:10], 2)
    found = model.score_samples(model.complete(rows))
    draws = [model.score_samples(model.impute(rows, random_state=seed)) for seed in range(20)]
    assert (found >= np.max(draws, axis=0) - 0.05).all()


# ---- expectations


@pytest.mark.parametrize("kind", [*MODELS, "mixture"])
def test_an_expectation_is_within_its_error(kind):
    model, _ = mixture("categorical") if kind == "mixture" else fitted(kind, "categorical", D=D)
    for given in ({}, {0: 1}, {3: 2}, {1: 0, 3: 0}):
        row = np.array([given.get(column, nan) for column in range(D)])
        agree, p = shares(model, row, "categorical")
        value, error = model.expectation(
            lambda rows: rows[:, 0] + rows[:, 2] ** 2, evidence=given, n_draws=4000, random_state=0
        )
        exact = p @ (agree[:, 0] + agree[:, 2] ** 2)
        assert abs(value - exact) < 5 * error
        assert error < 0.1


def test_the_standard_error_is_that_of_many_repetitions():
    model, _ = fitted("NADE", "categorical", D=D, max_iter=60)
    found = [
        model.expectation(0, evidence={3: 1}, n_draws=300, random_state=seed) for seed in range(200)
    ]
    values, errors = np.array(found).T
    assert values.std() == pytest.approx(errors.mean(), rel=0.3)


def test_each_row_of_evidence_has_an_expectation():
    model, X = fitted("NADE", "categorical", D=D)
    rows = gapped(X[:5], 2, 3)
    value, error = model.expectation(2, evidence=rows, random_state=0)
    assert value.shape == error.shape == model.answer_ess_.shape == (5,)
    np.testing.assert_allclose(model.expectation(0, evidence=rows).value, rows[:, 0])
    one = model.expectation(2, evidence=rows[0], random_state=0)
    assert isinstance(one.value, float)
    assert abs(one.value - value[0]) < 5 * (one.standard_error + error[0])


# ---- frames and evidence by name


@pytest.fixture(scope="module", params=["pandas", "polars"])
def framed(request):
    rng = np.random.default_rng(0)
    n = 400
    state = np.array(["CA", "NY", "TX"])[rng.integers(0, 3, n)]
    values = {
        "age": rng.integers(20, 24, n),
        "state": state,
        "rich": (state == "NY") ^ (rng.random(n) < 0.2),
        "price": rng.normal(size=n) + 3 * (state == "TX"),
    }
    frame = pd.DataFrame(values) if request.param == "pandas" else polars.DataFrame(values)
    return fit(make(max_iter=80, n_hidden=20), frame), frame


def test_a_frame_is_asked_by_name(framed):
    model, frame = framed
    head = frame.head(50)
    p = model.predict_proba(head, target="state")
    assert model.levels("state").tolist() == ["CA", "NY", "TX"]
    np.testing.assert_allclose(p.sum(axis=1), 1)
    guess = model.predict(head, target="state")
    assert (guess == p.argmax(axis=1).choose(np.array([["CA"], ["NY"], ["TX"]]))).all()
    assert (guess == np.asarray(head["state"])).mean() > 0.6
    rich = model.predict(head, target="rich")
    assert rich.dtype == bool
    assert (rich == np.asarray(head["rich"])).mean() > 0.6
    assert model.predict(head, target="age").dtype.kind == "i"
    mean = model.predict(head, target="age", kind="mean")
    expected = model.predict_proba(head, target="age") @ model.levels("age")
    np.testing.assert_allclose(mean, expected, rtol=1e-3)
    prices = model.predict(head, target="price")
    assert prices[guess == "TX"].mean() > prices[guess == "CA"].mean() + 1
    assert model.explain(head).shape == (50, 4)


def test_the_target_may_be_absent_or_anything(framed):
    model, frame = framed
    head = frame.head(20)
    expected = model.predict_proba(head, target="state")
    if isinstance(frame, pd.DataFrame):
        absent, odd = head.drop(columns="state"), head.assign(state="XX")
    else:
        absent, odd = head.drop("state"), head.with_columns(polars.lit("XX").alias("state"))
    np.testing.assert_array_equal(model.predict_proba(absent, target="state"), expected)
    np.testing.assert_array_equal(model.predict_proba(odd, target="state"), expected)


def test_evidence_by_name_is_one_thing_everywhere(framed):
    model, frame = framed
    known = {"state": "TX", "rich": False}
    drawn = model.sample(30, evidence=known, random_state=0)
    assert (np.asarray(drawn["state"]) == "TX").all()
    assert not np.asarray(drawn["rich"]).any()
    found = model.log_marginal([known, {"state": "NY", "rich": None}], random_state=0)
    assert found.shape == (2,)
    full = model.impute(known, random_state=0)
    assert type(full) is type(frame)
    assert full.shape == (1, 4)
    assert model.complete([known, known]).shape == (2, 4)
    assert model.predict_proba(known, target="state").shape == (1, 3)
    value, error = model.expectation("price", evidence={"state": "TX"}, random_state=0)
    assert abs(value - 3) < 1
    assert error < 0.5
    share, _ = model.expectation(lambda rows: np.asarray(rows["rich"]), evidence={"state": "NY"})
    assert share > 0.5


@pytest.mark.parametrize("kind", ["NADE", "mixture"])
def test_columns_without_names_are_named_by_their_places(kind):
    model, _ = mixture() if kind == "mixture" else fitted("NADE", D=D)
    row = [1, nan, 0, nan]
    named = {0: 1, 2: 0}
    for method in ("impute", "log_marginal", "complete", "explain"):
        settings = {} if method == "complete" else {"random_state": 0}
        listed = getattr(model, method)([row, row], **settings)
        found = getattr(model, method)([named, named], **settings)
        np.testing.assert_array_equal(found, listed)
    drawn = model.sample(20, evidence=named, random_state=0)
    np.testing.assert_array_equal(drawn, model.sample(20, evidence=row, random_state=0))


ODD = [
    ({"evidence": {"colour": 1}}, "evidence must name columns .*colour"),
    ({"evidence": {"age": "old"}}, "evidence must hold .* column 'age'. Got 'old'"),
    ({"evidence": {"age": [20, 30]}}, r"evidence must hold .* column 'age'. Got \[20, 30\]"),
    ({"evidence": {"state": ["CA"]}}, r"column 'state'.* Got \['CA'\]"),
    ({"evidence": [{"age": 20}] * 3}, "evidence must be one mapping, or 5 of them. Got 3"),
]


@pytest.mark.parametrize(("settings", "message"), ODD)
def test_odd_evidence_is_refused_by_name(framed, settings, message):
    with pytest.raises(ValueError, match=re.compile(message, re.DOTALL)):
        framed[0].sample(5, **settings)


def test_odd_evidence_about_an_array_is_refused_by_place():
    model, _ = fitted("NADE", D=D)
    with pytest.raises(ValueError, match=r"X must name columns of fit. Got 'age'"):
        model.impute({"age": 1})
    with pytest.raises(ValueError, match=r"X must hold a value, .* in column 2. Got \[0, 1\]"):
        model.log_marginal([{2: [0, 1]}])
    with pytest.raises(ValueError, match=r"evidence must hold 0 or 1 .* column 1"):
        model.expectation(0, evidence={1: 5})


# ---- what is refused


QUESTIONS = [
    (lambda model, X: model.predict(X, target=9), "target must be a place from 0 to 3. Got 9"),
    (lambda model, X: model.predict(X, target="x"), "target must be a place .* Got 'x'"),
    (lambda model, X: model.predict(X, target=0, kind="best"), "kind must be one of .* 'best'"),
    (lambda model, X: model.predict(X, quantile=2), "quantile must be a number from 0 to 1. Got 2"),
    (lambda model, X: model.predict(X, n_particles=0), "n_particles must be"),
    (lambda model, X: model.levels(0), "must be about a column of levels"),
    (lambda model, X: model.predict(X, kind="mode"), "must be about a column of levels"),
    (lambda model, X: model.complete(X, width=0), "width must be"),
    (lambda model, X: model.expectation(9), "function must be a place"),
    (lambda model, X: model.expectation(lambda rows: rows), "function must return one number"),
]


@pytest.mark.parametrize("kind", ["NADE", "mixture"])
@pytest.mark.parametrize(("question", "message"), QUESTIONS)
def test_bad_questions_are_refused(kind, question, message):
    model, X = mixture("gaussian") if kind == "mixture" else fitted("NADE", "gaussian", D=D)
    with pytest.raises(ValueError, match=message):
        question(model, X[:3])


def test_probabilities_are_of_columns_that_have_levels(framed):
    model, frame = framed
    with pytest.raises(ValueError, match="must be about a column of levels, and column 'price'"):
        model.predict_proba(frame, target="price")
    head = frame.head(5)
    last = model.predict_proba(head, target="rich")
    np.testing.assert_array_equal(model.predict_proba(head), last)
    assert model.levels().tolist() == [False, True]
    numbers, X = fitted("NADE", "gaussian", D=D)
    assert not hasattr(numbers, "predict_proba")
    assert numbers.predict(X[:3]).shape == (3,)


def test_categories_have_no_mean(framed):
    model, frame = framed
    with pytest.raises(ValueError, match=r"kind must be 'mode' .* 'state'. Got 'mean'"):
        model.predict(frame, target="state", kind="mean")
    with pytest.raises(ValueError, match="Got 'state', which has categories"):
        model.expectation("state")
    with pytest.raises(ValueError, match=r"the name of a column of fit. Got 'colour'"):
        model.predict(frame, target="colour")


def test_few_effective_points_warn():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 1))
    X = np.hstack([x, x + 0.001 * rng.normal(size=(500, 1))])
    model = fit(make(max_iter=200, distribution="gaussian"), X)
    row = np.array([[0.0, X[:, 1].max() + 3]])
    with pytest.warns(UserWarning, match="hardly any of their 64 particles"):
        model.predict(row, target=0, n_particles=64)
    assert model.answer_ess_[0] < 3.2


@pytest.mark.parametrize("model", [GenerativeRNN(), PixelRNN()])
def test_sequences_and_images_have_other_questions(model):
    assert not hasattr(model, "predict_proba")
    assert not hasattr(model, "expectation")


# ---- threads


@pytest.mark.parametrize("kind", ["NADE", "MADE", "mixture"])
@pytest.mark.parametrize("conditional", ["categorical", "gaussian"])
def test_answers_have_the_same_bits_for_any_threads(kind, conditional):
    model, X = mixture(conditional) if kind == "mixture" else fitted(kind, conditional, D=D)
    rows = X[:40].astype(float)
    rows[::2, 0] = nan
    rows[::3, 2] = nan
    answers = []
    for n_jobs in (1, 2, 3):
        model.set_params(n_jobs=n_jobs)
        predicted = model.predict(rows, target=1, n_particles=20, random_state=0)
        explained = model.explain(rows, n_particles=10, random_state=0)
        expected = model.expectation(0, evidence=rows[:6], n_draws=50, random_state=0)
        answers.append([predicted, explained, *expected, model.complete(rows, width=3)])
    for other in answers[1:]:
        for a, b in zip(answers[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_the_same_models_answer_whatever_their_class():
    X = DATA["bernoulli"](200, D)
    for model in (NADE(n_hidden=5, max_iter=3), MADE(hidden_layer_sizes=4, max_iter=3)):
        one = fit(model.set_params(random_state=0), X)
        alone = fit(Mixture(model, n_members=1, random_state=0), X)
        for each in (one, alone):
            p = each.predict_proba(X[:9], target=0)
            np.testing.assert_allclose(p, by_bayes(each, X[:9], 0), rtol=1e-5)
