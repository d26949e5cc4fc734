"""Columns of very many levels as two features, the digits of a level's number.

They are columns like any other: every level has a probability, nothing else is drawn, and what is
said of columns is said of the column as a whole.
"""

import re

import numpy as np
import pandas as pd
import polars as pl
import pytest
from common import all_states as combinations
from common import (
    assert_same,
    assert_same_bits,
    assert_slopes,
    fit,
    make,
    reals,
)
from damaged_files import REFUSED
from scipy.special import log_softmax, logsumexp
from sklearn.exceptions import ConvergenceWarning
from test_laws import chi_square, counts
from test_persistence import resign

import fastar
from fastar import conditionals
from fastar._core import threads
from fastar._core.inputs import MAY_MISS
from fastar._data.table import Table
from fastar.conditionals import Categorical
from fastar.conditionals._digits import MOST_WHOLE, base_of

pytestmark = pytest.mark.kernels

LEVELS = [3 * np.arange(23) - 5, np.array([0, 1]), np.array([-9, -4, 0, 1, 2, 30, 77])]
SPLIT = [0, 2]
MODELS = {
    "NADE": ("NADE", {}),
    "NADE relu": ("NADE", {"activation": "relu", "n_hidden": 33}),
    "RNADE": ("RNADE", {}),
    "FVSBN": ("FVSBN", {}),
    "MADE": ("MADE", {}),
    "MADE layers alone": ("MADE", {"direct_connections": False}),
    "MADE sets": ("MADE", {"n_masks": 3}),
    "MADE orders": ("MADE", {"n_masks": 4, "order_agnostic": True}),
    "MADE unlimited": ("MADE", {"n_masks": "unlimited", "n_scoring_masks": 2}),
}
every_model = pytest.mark.parametrize("kind", MODELS)
one_order = pytest.mark.parametrize("kind", [name for name in MODELS if name != "MADE orders"])
ORDERS = ["natural", [2, 0, 1], [1, 2, 0]]
every_order = pytest.mark.parametrize("order", ORDERS, ids=str)


@pytest.fixture(autouse=True)
def threads_for_small_work(monkeypatch):
    """Let every call use the threads that it is given."""
    monkeypatch.setattr(threads, "_WORTH_A_THREAD", 1)


def words(n=300, seed=0, gaps=()):
    """Return rows of 23, 2 and 7 levels that are correlated and far from equally frequent."""
    if n < 23:
        return words(23 + n, seed)[23:]
    rng = np.random.default_rng(seed)
    first = np.minimum(rng.geometric(0.15, n) - 1, 22)
    first[:23] = np.arange(23)
    second = (first + rng.integers(0, 3, n)) % 2
    third = np.where(rng.random(n) < 0.6, first % 7, rng.integers(0, 7, n))
    third[:7] = np.arange(7)
    X = np.column_stack(
        [own[each] for own, each in zip(LEVELS, (first, second, third), strict=True)]
    )
    if not gaps:
        return X
    X = X.astype(float)
    for column in gaps:
        X[23:, column][rng.random(n - 23) < 0.3] = np.nan
    return X


def every_row(*more):
    """Return every row of levels; `more`: of each column one more value, that is no level."""
    return combinations([np.append(own, more[:1]) for own in LEVELS])


def shaken(kind="NADE", X=None, *, unknown="error", digits=True, context=None, **settings):
    """Return a model of words after a short fit, with larger random parameters."""
    name, own = MODELS[kind]
    own = own | {"distribution": Categorical(unknown, digits=digits), "dtype": "float64"}
    if name == "MADE":
        own["activation"] = "tanh"
    given = {} if context is None else {"context": context}
    model = fit(
        make(name, **own | {"max_iter": 2} | settings), words() if X is None else X, **given
    )
    rng = np.random.default_rng(1)
    model.theta_ += rng.standard_normal(model.theta_.size).astype(model.theta_.dtype) * 0.4
    return model


# ---- digits


@every_order
def test_a_column_of_more_than_three_levels_is_two_features(order):
    model = shaken(order=order)
    outputs, columns = {0: [5, 5], 1: [2], 2: [3, 3]}, [0, 1, 2] if order == "natural" else order
    widths = [width for column in columns for width in outputs[column]]
    np.testing.assert_array_equal(np.diff(model.output_offsets_), widths)
    # the first digit is always there; the second is missing where a value is no level
    rows = [width + place for column in columns for place, width in enumerate(outputs[column])]
    np.testing.assert_array_equal(np.diff(model.input_offsets_), rows)
    features = [len(outputs[column]) for column in columns]
    np.testing.assert_array_equal(np.diff(model.distribution_.column_offsets), features)
    assert model.n_features_in_ == 3
    assert len(model.order_) == 3
    H = 7
    count = (sum(rows[:-1]) + 1 + sum(widths[1:])) * H + sum(widths)
    assert model.n_parameters_ == count


def test_by_default_digits_begin_where_the_docs_say():
    for K, n_features in ((MOST_WHOLE, 1), (MOST_WHOLE + 1, 2)):
        table = Table(np.arange(K)[:, None], np.arange(1))
        assert Categorical().fitted(table, np.ones(K)).n_features == n_features
        assert Categorical(digits=False).fitted(table, np.ones(K)).n_features == 1
        assert Categorical(digits=True).fitted(table, np.ones(K)).n_features == 2
    assert f"more than {MOST_WHOLE:,} levels" in re.sub(r"\s+", " ", Categorical.__doc__)


@pytest.mark.parametrize("K", [4, 5, 7, 9, 10, 16, 17, 99, 100, 101, 5000])
def test_every_level_has_digits_of_its_own_by_frequency(K):
    rng = np.random.default_rng(K)
    column = np.repeat(rng.permutation(K), np.arange(1, K + 1) if K < 200 else 1)
    fitted = Categorical(digits=True).fitted(
        Table(column[:, None], np.arange(1)), np.ones(len(column))
    )
    base = base_of(K)
    assert base * base >= K > (base - 1) * (base - 1)
    values = np.arange(K)[:, None]
    codes = fitted.encode(values, np.dtype("float64"))
    number = codes @ [base, 1]
    assert sorted(number) == list(range(K))
    assert (codes < np.diff(fitted.output_offsets)).all()
    assert_same_bits(fitted.decode(codes), values)
    frequency = np.bincount(column, minlength=K)
    assert (np.diff(frequency[np.argsort(number)]) <= 0).all()


# ---- densities


@every_order
@every_model
def test_the_probabilities_of_all_levels_sum_to_one(kind, order):
    model, rows = shaken(kind, order=order), every_row()
    scores = model.score_samples(rows)
    assert np.isfinite(scores).all()
    assert np.exp(scores).sum() == pytest.approx(1, abs=1e-10)


def shares_of_others(model, rows):
    """Return the log of what each value (n, C) has of the share of all others, 0 of levels."""
    conditional = model.distribution_
    codes = model._model().codes(np.ascontiguousarray(rows[:, model.order_]))
    out = np.empty(rows.shape)
    out[:, model.order_] = conditional.by_column(conditional.log_jacobian(codes))
    return out


@every_order
@every_model
def test_with_the_share_of_other_values_all_sums_to_one(kind, order):
    model = shaken(kind, unknown="other", order=order)
    rows = every_row(1234)
    scores = model.score_samples(rows) - shares_of_others(model, rows).sum(axis=1)
    assert np.exp(scores).sum() == pytest.approx(1, abs=1e-10)
    known = (rows != 1234).all(axis=1)
    share = 1 / (2 * 300 + 2)
    total = np.exp(model.score_samples(rows[known])).sum()
    assert total == pytest.approx((1 - share) ** 3, abs=1e-10)


@every_order
@one_order
def test_scores_of_columns_sum_to_those_of_rows(kind, order):
    model, X = shaken(kind, unknown="other", order=order), words(90, seed=3)
    X[3, 0], X[4, 2], X[5, 1] = 1234, 1234, 1234
    features = model.score_features(X)
    assert features.shape == X.shape
    np.testing.assert_allclose(features.sum(axis=1), model.score_samples(X), rtol=1e-12)
    other = np.log(1 / (2 * 300 + 2))
    found = features - shares_of_others(model, X)
    np.testing.assert_allclose([found[3, 0], found[4, 2], found[5, 1]], other, rtol=1e-12)
    # of each column, the probabilities of its levels given the same values before them sum to one
    for column, own in enumerate(LEVELS):
        rows = np.repeat(X[:1], len(own), axis=0)
        rows[:, column] = own
        total = np.exp(model.score_features(rows)[:, column]).sum()
        assert total == pytest.approx(1 - np.exp(other), abs=1e-12)


@pytest.mark.parametrize("order", ["natural", [2, 0, 1]], ids=str)
@pytest.mark.parametrize("kind", ["NADE", "FVSBN", "MADE"])
def test_conditionals_are_the_distributions_of_the_digits(kind, order):
    model, X = shaken(kind, unknown="other", order=order), words(40, seed=3)
    said, scores = model.conditionals(X), model.score_features(X)
    other = 1 / (2 * 300 + 2)
    assert list(said) == [0, 1, 2]
    whole = np.exp(scores[:, 1])
    np.testing.assert_allclose(said[1][np.arange(40), X[:, 1]], whole, rtol=1e-12)
    numbers = model.distribution_.encode(X[:, model.order_], np.dtype("float64"))
    for column, base in zip(SPLIT, (5, 3), strict=True):
        first, second, probability = (
            said[column][key] for key in ("first", "second", "probability")
        )
        assert first.shape == second.shape == (40, base)
        np.testing.assert_allclose(probability, np.exp(scores[:, column]), rtol=1e-12)
        np.testing.assert_allclose(first.sum(axis=1), 1 - other, rtol=1e-12)
        np.testing.assert_allclose(second.sum(axis=1), 1, rtol=1e-12)
        place = int(model.distribution_.column_offsets[model.order_.tolist().index(column)])
        a, b = numbers[:, place].astype(int), numbers[:, place + 1].astype(int)
        product = first[np.arange(40), a] * second[np.arange(40), b]
        np.testing.assert_allclose(product, probability, rtol=1e-12)
        # the last first digit leaves fewer second ones: 23 = 4 * 5 + 3, 7 = 2 * 3 + 1
        last = a == a.max()
        assert last.any()
        left = len(LEVELS[column]) - (len(LEVELS[column]) - 1) // base * base
        assert (second[last][:, left:] == 0).all()
        assert (second[~last] > 0).all()


def test_one_column_has_the_frequencies_of_its_levels_either_way():
    x = words(400)[:, :1]
    model = shaken(X=x, activation="relu", n_hidden=5)
    whole = shaken(X=x, digits=False)
    known, frequency = np.unique(x, return_counts=True)
    expected = np.log(frequency / len(x))
    codes = model.distribution_.encode(known[:, None], np.dtype("float64")).astype(int)
    joint = np.zeros((5, 5))
    joint[codes[:, 0], codes[:, 1]] = frequency
    # a hidden unit for each first digit: the second one's outputs are a table of two axes
    weights = {"W": np.eye(5), "c": 0, "V": np.log(np.maximum(joint, 1e-9)).T}
    for name, value in weights.items():
        model.params_[name][...] = value
    model.params_["b"].reshape(-1)[:] = [*np.log(joint.sum(axis=1)), *np.zeros(5)]
    whole.params_["b"][...] = np.log(frequency)
    np.testing.assert_allclose(whole.score_samples(known[:, None]), expected, rtol=1e-12)
    np.testing.assert_allclose(model.score_samples(known[:, None]), expected, rtol=1e-9)


def test_training_learns_what_columns_tell_of_each_other():
    X = words(2000, seed=5)
    settings = {"max_iter": 60, "n_hidden": 32, "early_stopping": False, "batch_size": 50}
    model = fit(make(distribution=Categorical(digits=True), **settings), X)
    shares = [np.unique(column, return_counts=True)[1] / len(X) for column in X.T]
    assert model.score(X) > sum((p * np.log(p)).sum() for p in shares) + 0.2


# ---- kernels


def layers(model):
    inner = model._model()
    return inner, inner.network, inner.conditional


@every_model
def test_the_gradient_is_finite_differences(kind):
    X = words(60, gaps=[0, 1])
    X[30, 2] = 1234
    model = shaken(kind, words(gaps=[0, 1]), unknown="other", missing="marked")
    inner, network, conditional = layers(model)
    codes = inner.codes(X[:, model.order_])
    scale = np.random.default_rng(0).uniform(-1, 1, 60)

    def loss():
        weights = network.materialise_weights(inner.params, 2, 0)
        raw, cache = network.forward(weights, codes, 2)
        return (scale * conditional.kernel.log_prob(raw, codes, 2)[1]).sum(), raw, cache, weights

    _, raw, cache, weights = loss()
    total, graw = conditional.kernel.gradient(raw, codes, scale, 2)
    np.testing.assert_allclose(total, conditional.kernel.log_prob(raw, codes, 1)[1], rtol=1e-12)
    gradient = np.zeros_like(inner.theta)
    network.backward(weights, cache, graw, inner.layout.views(gradient), 2)
    rng = np.random.default_rng(2)
    assert_slopes(inner, gradient, lambda: loss()[0], rng, 4, step=1e-7, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_log_probabilities_are_softmaxes_over_the_digits_that_exist(dtype):
    X = words(50, seed=2)[:, :1]
    fitted = Categorical(digits=True).fitted(Table(words()[:, :1], np.arange(1)), np.ones(300))
    codes = fitted.encode(np.append(X, [[999]], axis=0), np.dtype(dtype))
    raw = (np.random.default_rng(0).standard_normal((51, 10)) * 3).astype(dtype)
    logp, total = fitted.kernel.log_prob(raw, codes, 1)
    other = 1 / (2 * 300 + 2)
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    for r in range(50):
        a, b = codes[r].astype(int)
        first = log_softmax(raw[r, :5].astype(float))[a] + np.log1p(-other)
        second = log_softmax(raw[r, 5 : 5 + (3 if a == 4 else 5)].astype(float))[b]
        np.testing.assert_allclose(logp[r], [first, second], rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(logp[50], [np.log(other), 0], rtol=tolerance)
    np.testing.assert_allclose(total, logp.astype(float).sum(axis=1), rtol=1e-12)
    _, graw = fitted.kernel.gradient(raw, codes, np.ones(51, dtype), 1)
    assert (graw[50] == 0).all()
    assert (graw[:50][codes[:50, 0] == 4, 8:] == 0).all()
    np.testing.assert_allclose(graw[:, :5].sum(axis=1), 0, atol=tolerance)
    np.testing.assert_allclose(graw[:, 5:].sum(axis=1), 0, atol=tolerance)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@every_model
def test_everything_has_the_same_bits_for_any_number_of_jobs(kind, dtype):
    def life(n_jobs):
        X = words(gaps=[0, 2])
        model = shaken(kind, X, unknown="other", missing="marked", dtype=dtype, n_jobs=n_jobs)
        fit(model.set_params(warm_start=True), X)
        drawn = model.sample(150, random_state=1)
        held = model.sample(80, evidence=[np.nan, 1, 30], random_state=1)
        return [model.theta_, model.score_samples(X), drawn, held, model.score_samples(drawn)]

    alone = life(1)
    for n_jobs in (2, 3):
        assert_same(life(n_jobs), alone)


@every_order
@every_model
def test_no_column_reaches_the_outputs_before_it(kind, order):
    model = shaken(kind, unknown="other", order=order)
    inner, network, conditional = layers(model)
    rows, other = every_row()[::5], every_row()[::-5]
    codes, changes = (inner.codes(X[:, model.order_]) for X in (rows, other))
    assert len(codes) == len(changes)
    for member in range(network.n_members):
        weights, own = (
            network.materialise_weights(inner.params, 2, member),
            network.member_order(member),
        )
        raw, _ = network.forward(weights, codes, 2)
        columns = conditional.by_feature(np.arange(3))[own]
        # digits of a column stay together, in their own order
        starts = np.flatnonzero(np.isin(own, conditional.column_offsets[:-1]))
        assert len(starts) == 3
        for place, d in enumerate(own):
            if d not in conditional.column_offsets:
                assert own[place - 1] == d - 1
                assert columns[place - 1] == columns[place]
            changed = codes.copy()
            changed[:, own[place:]] = changes[:, own[place:]]
            found, _ = network.forward(weights, changed, 2)
            for seen in own[: place + 1]:
                where = slice(*network.output_offsets[seen : seen + 2])
                assert_same_bits(found[:, where], raw[:, where])


# ---- samples


@pytest.mark.parametrize("order", ["natural", [2, 0, 1]], ids=str)
@every_model
def test_samples_are_levels_as_often_as_the_density_says(kind, order):
    model, rows = shaken(kind, unknown="other", order=order), every_row()
    drawn = model.sample(20_000, random_state=0)
    p = np.exp(model.score_samples(rows))
    assert chi_square(counts(drawn, rows), p / p.sum()) > 1e-4


@pytest.mark.parametrize("temperature", [0.3, 1.0, 5.0])
@pytest.mark.parametrize("kind", ["NADE", "MADE", "FVSBN"])
def test_only_levels_are_drawn_at_any_temperature(kind, temperature):
    model = shaken(kind)
    # the second digits that stand for no level would be most probable
    model.params_["b"].reshape(-1)[[8, 9]] = 50
    drawn = model.sample(3000, temperature=temperature, random_state=0)
    for column, own in zip(drawn.T, LEVELS, strict=True):
        assert set(np.unique(column)) <= set(own)
    assert np.isfinite(model.score_samples(drawn)).all()


@pytest.mark.parametrize("kind", ["NADE", "RNADE", "FVSBN", "MADE", "MADE sets"])
def test_evidence_in_front_is_exact(kind):
    model, rows = shaken(kind, unknown="other"), every_row()
    drawn = model.sample(10_000, evidence=[LEVELS[0][4], np.nan, np.nan], random_state=0)
    assert (drawn[:, 0] == LEVELS[0][4]).all()
    scores = np.where(rows[:, 0] == LEVELS[0][4], model.score_samples(rows), -np.inf)
    p = np.exp(scores - logsumexp(scores))
    assert chi_square(counts(drawn, rows), p) > 1e-4
    held = model.sample(20, evidence=[1234, np.nan, np.nan], random_state=0)
    assert (held[:, 0] == 1234).all()
    assert np.isin(held[:, 2], LEVELS[2]).all()


@pytest.mark.parametrize("free", [[0], [0, 1], [1, 2], [2], [0, 2]], ids=str)
@every_model
def test_marginals_are_sums_over_what_is_free(kind, free):
    model, rows = shaken(kind, unknown="other"), every_row()
    given = words(60, seed=9)[50:56].astype(float)
    p, expected = model.score_samples(rows), []
    for row in given:
        fits = (np.delete(rows, free, axis=1) == np.delete(row, free)).all(axis=1)
        expected.append(logsumexp(p[fits]))
    given[:, free] = np.nan
    found = model.log_marginal(given, n_particles=4000, random_state=0)
    # other values of what is free have a small share, too
    np.testing.assert_allclose(found, expected, atol=0.12)
    if free in ([2], [1, 2]) and kind != "MADE orders":
        exact = np.log(1 - 1 / 602) * len(free)
        np.testing.assert_allclose(found + exact, expected, atol=1e-9)


@every_model
def test_gaps_are_imputed_by_levels_as_often_as_the_density_says(kind):
    model, rows = shaken(kind), every_row()
    row = words(40, seed=4)[31].astype(float)
    for free in ([2], [0]):
        gapped = row.copy()
        gapped[free] = np.nan
        drawn = model.impute(
            np.tile(gapped, (2000, 1)), n_particles=1 if free == [2] else 60, random_state=0
        )
        kept = np.delete(np.arange(3), free)
        assert (drawn[:, kept] == row[kept]).all()
        assert np.isin(drawn[:, free[0]], LEVELS[free[0]]).all()
        if kind == "MADE orders" and free == [2]:
            continue  # of which one particle knows nothing
        fits = (rows[:, kept] == row[kept]).all(axis=1)
        scores = np.where(fits, model.score_samples(rows), -np.inf)
        p = np.exp(scores - logsumexp(scores))
        seen = counts(drawn.astype(int), rows) / 2000
        assert np.abs(seen - p).max() < 0.05
        if free == [2]:
            assert chi_square(counts(drawn.astype(int), rows), p) > 1e-4


# ---- missing values


@every_order
@every_model
def test_a_column_of_digits_may_have_gaps(kind, order):
    X = words(gaps=[0, 1, 2])
    model = shaken(kind, X, missing="marked", order=order)
    flags = model.network_.inputs.input_flags
    assert (flags & MAY_MISS).all()
    rows = every_row().astype(float)
    assert np.exp(model.score_samples(rows)).sum() == pytest.approx(1, abs=1e-10)
    rows = combinations([[np.nan], *LEVELS[1:]])
    total = np.exp(model.score_samples(rows)).sum()
    assert total == pytest.approx(1, abs=1e-10)  # given that there is a gap
    if kind != "MADE orders":
        features = model.score_features(X)
        assert (features[np.isnan(X)] == 0).all()
        total = features.sum(axis=1)
        np.testing.assert_allclose(total, model.score_samples(X), rtol=1e-12, atol=1e-12)
    drawn = model.sample(500, random_state=0)
    for column, own in zip(drawn.T, LEVELS, strict=True):
        assert np.isin(column, own).all()
    filled = model.impute(X[:60], random_state=0)
    there = ~np.isnan(X[:60])
    assert (filled[there] == X[:60][there]).all()
    assert np.isin(filled[:, 0], LEVELS[0]).all()


# ---- values that are no level


def test_an_unknown_level_is_an_error_by_name():
    model, X = shaken(unknown="error"), words(5)
    X[3, 2] = 1234
    with pytest.raises(ValueError, match=r"one of the levels .*Got 1234 in row 3, column 2"):
        model.score_samples(X)


def test_an_impossible_level_has_no_probability_and_tells_later_columns_nothing():
    model, X = shaken(unknown="impossible"), words(5)
    clean = model.score_features(X)
    X[3, 0] = 1234
    with pytest.warns(UserWarning, match="1 values are no level"):
        scores = model.score_features(X)
    assert scores[3, 0] == -np.inf
    assert np.isfinite(scores[3, 1:]).all()
    assert_same_bits(np.delete(scores, 3, axis=0), np.delete(clean, 3, axis=0))


@pytest.mark.parametrize("kind", ["NADE", "FVSBN", "MADE"])
def test_all_other_values_are_alike(kind):
    model, X = shaken(kind, unknown="other"), words(3)
    X[:, 0] = [1234, -77, 60]
    X[:, 1:] = X[0, 1:]
    scores = model.score_features(X)
    assert_same_bits(scores[1:2, 1:], scores[:1, 1:])  # to what follows
    assert_same_bits(scores[2:, 1:], scores[:1, 1:])
    scores -= shares_of_others(model, X)
    np.testing.assert_allclose(scores[:, 0], scores[0, 0], rtol=1e-12)
    assert scores[0, 0] == pytest.approx(-np.log(602), rel=1e-12)


# ---- repair


@pytest.mark.parametrize("kind", ["NADE", "MADE", "MADE sets"])
def test_repair_keeps_the_values_of_digits_and_repairs_the_rest(kind):
    model, X = shaken(kind, words(gaps=[2]), missing="marked"), words(60, seed=8, gaps=[2])
    repaired = model.purify(X, 1)
    assert_same_bits(repaired[:, SPLIT], X[:, SPLIT])
    changed = X.copy()
    changed[:, 1] = 1 - X[:, 1]
    better = np.maximum(model.score_features(X)[:, 1], model.score_features(changed)[:, 1])
    if kind != "MADE sets":
        np.testing.assert_allclose(model.score_features(repaired)[:, 1], better, rtol=1e-12)
    X[3, 0] = 1234
    with pytest.raises(ValueError, match=r"Got 1234.* in row 3, column 0"):
        model.purify(X, 1)


# ---- files


@every_model
def test_a_saved_model_is_the_same(kind, tmp_path):
    X = words(gaps=[0])
    model = shaken(kind, X, unknown="other", missing="marked")
    model.save(tmp_path / "model")
    again = fastar.load(tmp_path / "model")
    assert repr(again.distribution_) == repr(model.distribution_)
    assert_same_bits(again.score_samples(X), model.score_samples(X))
    assert_same_bits(again.sample(50, random_state=0), model.sample(50, random_state=0))
    assert_same_bits(again.output_offsets_, model.output_offsets_)


def swap(array, a, b):
    array[[a, b]] = array[[b, a]]


WRONG = {
    "distribution.number must have 0 .. n_levels - 1": lambda a: a["distribution.number"].fill(0),
    "distribution.number must be as many": lambda a: a.update(
        {"distribution.number": a["distribution.number"][:-1]}
    ),
    "distribution.number": lambda a: a["distribution.number"].__setitem__(0, -1),
    "distribution.number must": lambda a: swap(a["distribution.number"], 0, 24),
    "distribution.base must be at most n_levels": lambda a: a["distribution.base"].fill(30),
    "distribution.base": lambda a: a["distribution.base"].fill(-1),
    "distribution.base must be": lambda a: a.update(
        {"distribution.base": a["distribution.base"][:2]}
    ),
    "distribution": lambda a: a.pop("distribution.base"),
    "theta": lambda a: a["distribution.base"].fill(0),
}


@pytest.mark.parametrize("entry", WRONG)
def test_damaged_digits_are_refused_by_name(entry, tmp_path):
    shaken(unknown="other").save(tmp_path / "model")
    resign(tmp_path / "model", lambda header, arrays: WRONG[entry](arrays))
    with pytest.raises(ValueError, match=rf"model' is damaged: {re.escape(entry)}") as found:
        fastar.load(tmp_path / "model")
    assert REFUSED.match(str(found.value))


# ---- models that see columns in several orders, by a window, or as steps


def test_deep_nade_markov_orders_sequences_and_images_split_no_column(monkeypatch):
    monkeypatch.setattr("fastar.conditionals._categorical.MOST_WHOLE", 5)
    X, quick = words(), {"max_iter": 1, "random_state": 0}
    lists = [np.arange(9), np.arange(4)]
    images = np.arange(48).reshape(6, 2, 4) % 9
    assert fit(fastar.NADE(distribution="categorical", **quick), X).network_.n_features == 5
    whole = [
        (fastar.DeepNADE(distribution="categorical", **quick), X),
        (fastar.NADE(distribution="categorical", markov_order=1, **quick), X),
        (fastar.GenerativeRNN(distribution="categorical", **quick), lists),
        (fastar.PixelRNN(distribution="categorical", **quick), images),
    ]
    for model, data in whole:
        fit(model, data)
        assert model.distribution_.n_features == model.distribution_.n_columns
    labels = [np.array(list("abcdefghi")), np.array(list("abcd"))]
    labeller = fastar.SequenceLabeller(max_iter=1, random_state=0).fit(lists, labels)
    for known in (labeller.inputs_, labeller._model().conditional.conditional):
        assert known.n_features == known.n_columns == 1


@pytest.mark.parametrize(
    ("model", "X"),
    [
        (fastar.DeepNADE(), words()),
        (fastar.NADE(markov_order=1), words()),
        (fastar.MADE(markov_order=2), words()),
        (fastar.GenerativeRNN(), [np.arange(9), np.arange(4)]),
        (fastar.PixelRNN(), np.arange(48).reshape(6, 2, 4) % 9),
    ],
    ids=lambda each: type(each).__name__,
)
def test_digits_that_a_model_cannot_have_are_refused(model, X):
    model.set_params(distribution=Categorical(digits=True))
    with pytest.raises(ValueError, match="digits of Categorical must not be True"):
        model.fit(X)
    assert not hasattr(model, "theta_")
    with pytest.raises(ValueError, match="digits of Categorical must be 'auto', True or False"):
        fastar.NADE(distribution=Categorical(digits="two")).fit(words())


# ---- contexts, mixtures, frames, columns of other kinds


@pytest.mark.parametrize("kind", ["NADE", "RNADE", "FVSBN", "MADE", "MADE orders"])
def test_given_any_context_all_sums_to_one(kind):
    context = reals(300, 2)
    model, rows = shaken(kind, unknown="other", context=context), every_row(1234)
    for y in (context[:1], context[:1] + 30):
        given = np.repeat(y, len(rows), axis=0)
        scores = model.score_samples(rows, context=given)
        scores -= shares_of_others(model, rows).sum(axis=1)
        assert np.exp(scores).sum() == pytest.approx(1, abs=1e-10)
    drawn = model.sample(9000, context=context[:1], random_state=0)
    p = np.exp(model.score_samples(every_row(), context=np.repeat(context[:1], 322, axis=0)))
    assert chi_square(counts(drawn, every_row()), p / p.sum()) > 1e-4


@pytest.mark.parametrize("weights", ["em", "equal"])
def test_mixtures_have_digits(weights):
    X, rows = words(), every_row()
    kind = Categorical("error", digits=True)
    members = [make("NADE", distribution=kind), make("MADE", distribution=Categorical("error"))]
    model = fastar.Mixture(members, weights=weights, random_state=0)
    fit(model, X)
    assert [each.network_.n_features for each in model.estimators_] == [5, 3]
    p = np.exp(model.score_samples(rows))
    assert p.sum() == pytest.approx(1, abs=1e-6)
    assert chi_square(counts(model.sample(20_000, random_state=0), rows), p / p.sum()) > 1e-4
    given = rows[:4].astype(float)
    given[:, 2] = np.nan
    assert np.isfinite(model.log_marginal(given, random_state=0)).all()


NAMES = np.array([f"word {k:02}" for k in range(23)])


def frame_of(library, X):
    columns = {
        "word": [NAMES[(x + 5) // 3] for x in X[:, 0]],
        "flag": X[:, 1] > 0,
        "size": X[:, 2] / 2,
    }
    columns["word"][40] = None
    return pd.DataFrame(columns) if library == "pandas" else pl.DataFrame(columns)


@pytest.mark.parametrize("kind", ["NADE", "MADE", "FVSBN"])
@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames_have_columns_of_many_strings(library, kind, tmp_path, monkeypatch):
    monkeypatch.setattr("fastar.conditionals._categorical.MOST_WHOLE", 20)
    name, own = MODELS[kind]
    X = frame_of(library, words())
    model = fit(make(name, missing="marked", order=[1, 0, 2], **own), X)
    assert model.network_.n_features == 5  # two digits; which atom of size, and its number
    assert model.score_features(X).shape == (300, 3)
    assert list(model.conditionals(X)) == ["word", "flag", "size"]
    drawn = model.sample(400, random_state=0)
    assert type(drawn) is type(X)
    assert set(drawn["word"]) <= set(NAMES)
    assert len(set(drawn["word"])) > 5
    filled = model.impute(X, random_state=0)
    assert filled["word"][40] in set(NAMES)
    assert filled["word"].to_list()[:40] == X["word"].to_list()[:40]
    other = X[:2].copy() if library == "pandas" else X[:2].clone()
    if library == "pandas":
        other.loc[0, "word"] = "never seen"
    else:
        other = other.with_columns(pl.Series("word", ["never seen", NAMES[0]]))
    score = model.score_features(other)[0, 0]
    assert score == pytest.approx(-np.log(602), rel=1e-6)
    model.save(tmp_path / "model")
    again = fastar.load(tmp_path / "model")
    assert_same_bits(again.score_samples(X), model.score_samples(X))
    assert again.sample(9, random_state=0).equals(model.sample(9, random_state=0))


@every_order
@pytest.mark.parametrize("kind", ["NADE", "RNADE", "FVSBN", "MADE", "MADE sets"])
def test_columns_of_other_kinds_stand_beside_digits(kind, order, tmp_path):
    X = words(gaps=[0])
    rng = np.random.default_rng(0)
    X[:, 1], X[:, 2] = rng.poisson(2, 300), X[:, 2] / 9 + rng.standard_normal(300)
    parts = [Categorical("error", digits=True), "poisson", conditionals.GaussianMixture(2)]
    name, own = MODELS[kind]
    settings = own | {"distribution": parts, "missing": "marked", "order": order}
    model = fit(make(name, **settings, dtype="float64", max_iter=3), X)
    assert model.network_.n_features == 4
    features = model.score_features(X)
    np.testing.assert_allclose(features.sum(axis=1), model.score_samples(X), rtol=1e-10)
    assert (features[np.isnan(X)] == 0).all()
    rows = np.repeat(X[:1], 23, axis=0)
    rows[:, 0] = LEVELS[0]
    assert np.exp(model.score_features(rows)[:, 0]).sum() == pytest.approx(1, abs=1e-9)
    said = model.conditionals(X[20:60])
    assert set(said[0]) - {"second"} == {"first", "probability"}
    assert ("second" in said[0]) == (kind != "MADE sets")
    there = ~np.isnan(X[20:60, 0])
    assert not there.all()
    np.testing.assert_allclose(
        said[0]["probability"], np.where(there, np.exp(features[20:60, 0]), np.nan), rtol=1e-9
    )
    drawn = model.sample(200, random_state=0)
    assert np.isin(drawn[:, 0], LEVELS[0]).all()
    # by particles where something free comes first
    held = model.sample(30, evidence=[LEVELS[0][7], np.nan, 0.5], random_state=0)
    assert (held[:, [0, 2]] == [LEVELS[0][7], 0.5]).all()
    kept = model.purify(X[:20], [1, 1, 0.1])
    assert_same_bits(kept[:, 0], X[:20, 0])
    model.save(tmp_path / "model")
    assert_same_bits(fastar.load(tmp_path / "model").score_samples(X), model.score_samples(X))


def test_partial_fit_goes_on_with_the_digits_of_its_first_chunk():
    X = words()
    model = make(distribution=Categorical(digits=True))
    model.partial_fit(X)
    digits = model.distribution_.arrays()
    model.partial_fit(X[:40])
    assert_same(model.distribution_.arrays(), digits)
    assert np.isfinite(model.score(X))


def test_tools_take_columns_as_wholes():
    X = words()
    nade = make(distribution=Categorical(digits=True))
    detector = fastar.DensityOutlierDetector(nade, random_state=0)
    fit(detector, X)
    assert detector.explain(X[:5]).shape == (5, 3)
    bayes = fastar.GenerativeClassifier(nade, random_state=0)
    with pytest.warns(ConvergenceWarning):
        bayes.fit(X[:, [0, 2]], X[:, 1])
    assert bayes.predict_proba(X[:7, [0, 2]]).shape == (7, 2)
