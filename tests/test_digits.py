"""Columns of very many levels as two features, the digits of a level's number.

They are columns like any other: every level has a probability, nothing else is drawn, and what is
said of columns is said of the column as a whole.
"""

import re

import numpy as np
import pytest
from common import assert_same_bits, fit, make
from many_levels import (
    LEVELS,
    MODELS,
    SPLIT,
    every_model,
    every_order,
    every_row,
    shaken,
    shares_of_others,
    words,
)

from fastar._data.table import Table
from fastar.conditionals import Categorical
from fastar.conditionals._digits import MOST_WHOLE, base_of

pytestmark = [pytest.mark.kernels, pytest.mark.usefixtures("threads_for_small_work")]


one_order = pytest.mark.parametrize("kind", [name for name in MODELS if name != "MADE orders"])


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
