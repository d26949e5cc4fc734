"""Repair: every value is the most probable one within epsilon, given the repaired ones before."""

import numpy as np
import pandas as pd
import pytest
from common import (
    COMPOSITIONS,
    CONDITIONALS,
    COUNTS,
    DATA,
    DISCRETE,
    MODELS,
    REAL,
    distribution,
    fit,
    fitted,
    make,
    run_python,
)
from scipy import sparse

pytestmark = pytest.mark.kernels

D = 4
WHOLE = [*DISCRETE, *COUNTS]


def repaired_by_trying(model, X, candidates):
    """Return greedy repairs: candidates(value, column) are what a value may become."""
    X = X.copy()
    for column in model.order_:
        for row in X:
            tried = np.repeat(row[None], len(options := candidates(row[column], column)), axis=0)
            tried[:, column] = options
            row[column] = options[model.score_features(tried)[:, column].argmax()]
    return X


@pytest.mark.parametrize("epsilon", [0, 1, 2.5])
@pytest.mark.parametrize("conditional", WHOLE)
@pytest.mark.parametrize("name", MODELS)
def test_of_whole_numbers_every_one_is_tried(name, conditional, epsilon):
    model, X = fitted(name, conditional, D=D, order="random", dtype="float64")
    low, high = (0, 10**9) if conditional in COUNTS else (X.min(), X.max())

    def near(value, _):
        options = np.arange(value - np.floor(epsilon), value + np.floor(epsilon) + 1)
        return options[(low <= options) & (options <= high)].astype(X.dtype)

    X = X[:12].astype(np.int64)
    np.testing.assert_array_equal(model.purify(X, epsilon), repaired_by_trying(model, X, near))


@pytest.mark.parametrize("conditional", REAL)
@pytest.mark.parametrize("name", MODELS)
def test_a_real_value_is_denser_than_any_other_within_epsilon(name, conditional):
    model, X = fitted(name, conditional, D=3, dtype="float64")
    X, epsilon = X[:10], np.array([3.0, 0.5, 0.02])
    repaired = model.purify(X, epsilon)
    assert (np.abs(repaired - X) <= epsilon * (1 + 1e-12)).all()
    best = model.score_features(repaired)
    for column in range(3):
        for offset in np.linspace(-1, 1, 41) * epsilon[column]:
            other = repaired.copy()
            other[:, column] = X[:, column] + offset
            found = model.score_features(other)[:, column]
            # uphill from the best mean or end there is most often, not always, the highest mode
            slack = 0.05 if conditional in ("gaussian_mixture", "number") else 1e-9
            assert (found <= best[:, column] + slack).all()


@pytest.mark.parametrize(("name", "conditional"), COMPOSITIONS)
def test_nothing_moves_further_than_epsilon_and_rows_do_not_touch_each_other(name, conditional):
    model, X = fitted(name, conditional, D=5)
    X = X[:30]
    np.testing.assert_allclose(model.purify(X, 0), X, rtol=1e-12)
    repaired = model.set_params(n_jobs=1).purify(X, 1)
    assert np.abs(repaired.astype(float) - X).max() <= 1 + 1e-9
    np.testing.assert_array_equal(model.set_params(n_jobs=3).purify(X, 1), repaired)
    np.testing.assert_array_equal(model.purify(X[7:9], 1), repaired[7:9])
    assert model.score(repaired) > model.score(X)


@pytest.mark.parametrize("conditional", CONDITIONALS)
@pytest.mark.parametrize("name", MODELS)
def test_gaps_stay_and_what_is_beside_them_is_repaired(name, conditional):
    X = DATA[conditional](200, 5).astype(np.float64)
    X[np.random.default_rng(0).random(X.shape) < 0.2] = np.nan
    frame = pd.DataFrame(X)
    model = fit(make(name, distribution=distribution(conditional, 5)), frame)
    low, high = model._model().conditional.interval(X, np.ones(5), np.dtype("float64"))
    np.testing.assert_array_equal(np.isnan(low), np.isnan(X))
    np.testing.assert_array_equal(np.isnan(high), np.isnan(X))
    repaired = model.purify(frame, 1)
    np.testing.assert_array_equal(repaired.isna(), frame.isna())
    assert np.nanmax(np.abs(repaired.to_numpy(float) - X)) <= 1 + 1e-9
    assert model.score(repaired) > model.score(frame)


@pytest.mark.parametrize("name", MODELS)
def test_a_missing_category_does_not_end_the_process(name):
    run_python(
        "import sys; sys.path.insert(0, chr(46)); import numpy as np, pandas as pd\n"
        "from common import fit, make\n"
        "gaps = pd.Categorical(['x', 'y', None] * 20)\n"
        "X = pd.DataFrame({'a': gaps, 'b': np.arange(60.0)})\n"
        f"repaired = fit(make({name!r}), X).purify(X, 0.5)\n"
        "assert repaired['a'].equals(X['a'])"
    )


@pytest.mark.parametrize("settings", [{"n_masks": 3}, {"n_masks": 3, "order_agnostic": True}])
def test_of_several_networks_the_most_probable_repair_is_taken(settings):
    model, X = fitted("MADE", "categorical", D=D, dtype="float64", **settings)
    repaired = model.purify(X[:40], 1)
    assert np.abs(repaired - X[:40]).max() <= 1
    assert (model.score_samples(repaired) >= model.score_samples(X[:40]) - 0.5).all()
    assert model.score(repaired) > model.score(X[:40])


def test_probable_rows_stay_where_a_threshold_says_so():
    model, X = fitted("NADE", D=8)
    scores = model.score_samples(X)
    threshold = np.median(scores)
    repaired, everything = model.purify(X, 1, threshold=threshold), model.purify(X, 1)
    np.testing.assert_array_equal(repaired[scores >= threshold], X[scores >= threshold])
    np.testing.assert_array_equal(repaired[scores < threshold], everything[scores < threshold])
    assert (everything[scores >= threshold] != X[scores >= threshold]).any()


def test_small_changes_are_undone():
    rng = np.random.default_rng(0)
    X = rng.integers(0, 2, (500, 1)).repeat(12, axis=1) * 10 + rng.integers(0, 2, (500, 12))
    model = fit(make("NADE", n_hidden=20, max_iter=60, distribution="categorical"), X)
    noisy = X[:100] + rng.integers(-3, 4, (100, 12))  # mostly no level that fit has seen
    repaired = model.purify(noisy, 3)
    assert np.isin(repaired, X).all()
    assert model.score(repaired) >= model.score(X[:100])


def test_a_context_tells_what_is_probable():
    y = np.arange(400) % 2
    X = np.repeat(y[:, None], 3, axis=1).astype(np.uint8)
    model = fit(make("NADE", max_iter=100), X, context=y.astype(object))
    repaired = model.purify(np.ones((2, 3), np.uint8), 1, context=np.array([0, 1], object))
    np.testing.assert_array_equal(repaired, [[0, 0, 0], [1, 1, 1]])


def test_of_a_frame_categories_stay_and_gaps_stay_gaps():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "size": rng.normal(size=200).round(2),
            "kind": rng.choice(["a", "b"], 200, p=[0.9, 0.1]),
            "age": rng.integers(0, 9, 200),
        }
    )
    frame.loc[::7, "size"] = np.nan
    model = fit(make("NADE"), frame)
    repaired = model.purify(frame, [0.5, 5, 1])
    assert repaired.dtypes.equals(frame.dtypes)
    pd.testing.assert_series_equal(repaired["kind"], frame["kind"])
    np.testing.assert_array_equal(repaired["size"].isna(), frame["size"].isna())
    assert (repaired["size"] - frame["size"]).abs().max() <= 0.5 + 1e-9
    assert (repaired["age"] != frame["age"]).any()
    free = model.purify(frame, [0.5, np.inf, 1])
    assert (free["kind"] == "a").all()


def test_a_sparse_matrix_stays_one():
    model, X = fitted("FVSBN", D=6)
    repaired = model.purify(sparse.csr_array(X), 1)
    assert sparse.issparse(repaired)
    np.testing.assert_array_equal(repaired.toarray(), model.purify(X, 1))


@pytest.mark.parametrize(
    ("X", "epsilon", "message"),
    [
        ([[0, 1, 1, 0]], -1, "epsilon must be 0 or more"),
        ([[0, 1, 1, 0]], [1, 1], r"epsilon must be a number, or have shape \(4,\)"),
        ([[0, 1, 1, 0]], "much", "epsilon must be a number"),
        ([[0, 1, 1, 0]], np.nan, "epsilon must be 0 or more"),
        ([[0, 1, 7, 0]], 2, r"within epsilon .* Got 7 in row 0, column 2"),
    ],
)
def test_what_makes_no_sense_is_refused(X, epsilon, message):
    model, _ = fitted("NADE", D=4)
    with pytest.raises(ValueError, match=message):
        model.purify(np.array(X), epsilon)


@pytest.mark.parametrize("threshold", ["low", np.nan, [1.0], 1j])
def test_a_threshold_is_a_number(threshold):
    model, X = fitted("NADE", D=4)
    with pytest.raises(ValueError, match="threshold must be None or a number"):
        model.purify(X, 1, threshold=threshold)
