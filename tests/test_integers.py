"""Whole numbers as people have them: atoms, and a probability of every integer."""

import numpy as np
import pandas as pd
import pytest
from common import assert_gradient_is_finite_differences, assert_same_bits, fit, make
from scipy import stats

import fastar
from fastar import DeepNADE, DensityOutlierDetector
from fastar._core.schema import EntryError
from fastar._data.table import Table
from fastar.conditionals import Bernoulli, Categorical, Integer

pytestmark = pytest.mark.kernels

F8 = np.dtype("float64")


def hours(n, rng):
    return np.where(rng.random(n) < 0.5, 40, rng.poisson(45, n))


def visits(n, rng):
    return rng.negative_binomial(0.5, 0.005, n)


def degrees(n, rng):
    return rng.integers(-300, 300, n)


def heavy(n, rng):
    return np.rint(1e4 * rng.standard_cauchy(n)).clip(-500_000, 500_000)


def small(n, rng):
    return rng.choice([1, 2, 3], n)


def same(n, rng):
    return np.full(n, 7)


COLUMNS = {each.__name__: each for each in (hours, visits, degrees, heavy, small, same)}
every_column = pytest.mark.parametrize("name", COLUMNS)


def column(name, n=1000):
    return COLUMNS[name](n, np.random.default_rng(0)).astype(float)


def fitted(X, weight=None, kind=Integer, **settings):
    X = np.asarray(X, float).reshape(len(X), -1)
    weight = np.ones(len(X)) if weight is None else weight
    return kind(**settings).fitted(Table(X, np.arange(X.shape[1])), weight)


def shaken(own, seed=0):
    """Return raw outputs (P,) that spread components and give each atom some mass."""
    return np.random.default_rng(seed).standard_normal(own.output_offsets[-1])


def log_prob(own, raw, x):
    parts = []
    for some in np.array_split(np.asarray(x, float), len(x) // 100_000 + 1):
        codes = own.encode(some[:, None], F8)
        parts.append(own.log_prob(np.tile(raw, (len(some), 1)), codes, 1)[1])
    return np.concatenate(parts)


def integers_of(own):
    """Return all integers of the range."""
    return np.arange(own.arrays()["low"][0], own.arrays()["high"][0] + 1)


# ---- what is learnt


def test_an_atom_stands_out_among_the_integers_around():
    rng = np.random.default_rng(0)
    X = rng.integers(0, 1000, (1000, 3))
    X[:, :2][X[:, :2] == 500] = 501
    X[:20, 0], X[:9, 1] = 500, 500
    X[:30, 2] = np.repeat(np.arange(500, 510), 3)  # common, but no more than their neighbours
    assert [list(each) for each in fitted(X).atoms_of_columns] == [[500], [], []]
    assert fitted(X, atoms=False).n_features == 3


def test_weights_count_like_repeated_rows():
    X = np.column_stack([column(name, 400) for name in ("hours", "visits", "degrees")])
    weight = np.random.default_rng(1).integers(0, 3, 400)
    one, other = fitted(X, weight.astype(float)), fitted(np.repeat(X, weight, axis=0))
    for key in ("location", "scale", "atoms", "other"):
        np.testing.assert_allclose(one.arrays()[key], other.arrays()[key])


@every_column
def test_codes_are_decoded_to_the_same_integers(name):
    X = column(name)[:, None]
    for own in (fitted(X), fitted(X, atoms=False)):
        for dtype in ("float32", "float64"):
            np.testing.assert_array_equal(own.decode(own.encode(X, np.dtype(dtype))), X)


def test_an_outlier_flattens_nothing():
    X = column("hours")
    spoilt = X.copy()
    spoilt[3] = 999_999_999
    one, other = fitted(X).arrays(), fitted(spoilt).arrays()
    np.testing.assert_allclose(one["scale"], other["scale"], rtol=0.05)
    assert abs(fitted(spoilt).encode(spoilt[:, None], F8)[3, 1]) < 25


def test_ends_that_single_precision_does_not_know_are_none():
    rng = np.random.default_rng(0)
    wide = np.r_[rng.integers(0, 100, 999), 999_999_999].astype(float)
    own = fitted(wide, n_components=3)
    raw = shaken(own)
    raw[-2] = np.log(1e-4)  # a needle of a component on the last of all
    raw[-4] = own.encode(wide[-1:, None], F8)[0, 1]
    codes = own.encode(999_999_999 - np.arange(5000.0)[:, None], np.dtype("float32"))
    p = np.exp(own.log_prob(np.tile(raw.astype("float32"), (5000, 1)), codes, 1)[1])
    assert p.sum() < 1
    assert own.unsupported(np.array([[-5.0, 2e9]])[:, :1]).sum() == 0
    assert own.decode(np.array([[0, 80.0]]))[0, 0] == 999_999_999


# ---- densities


@pytest.mark.parametrize("seed", range(3))
@every_column
def test_the_probabilities_of_all_integers_sum_to_one(name, seed):
    own = fitted(column(name), n_components=4)
    raw, k = shaken(own, seed), integers_of(own)
    other, s = own.arrays()["other"][0], own.arrays()["scale"][0]
    assert np.exp(log_prob(own, raw, k)).sum() == pytest.approx(1 - other, abs=1e-9)
    r = np.arange(1, 10_001)
    beyond = sum(np.exp(log_prob(own, raw, at)).sum() for at in (k[0] - r, k[-1] + r))
    assert beyond == pytest.approx(other * (1 - s / (s + len(r))), rel=1e-9)
    far = log_prob(own, raw, [-(2.0**53), -(2.0**31), 2.0**31, 2.0**53, 1e300])
    assert np.isfinite(far).all()


@pytest.mark.parametrize("name", ["hours", "degrees", "small"])
def test_without_atoms_a_column_is_one_feature_that_sums_to_one(name):
    X = column(name)
    own = fitted(X, n_components=3, atoms=False)
    raw = shaken(own)
    raw[-3:] = -1.5  # light tails, so that few integers are all but all
    k = np.arange(0 if X.min() >= 0 else -200_000, 200_000)
    assert np.exp(log_prob(own, raw, k)).sum() == pytest.approx(1, abs=1e-4)
    assert own.unsupported(np.array([[-1.0]]))[0, 0] == (X.min() >= 0)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", ["hours", "visits", "degrees", "small", "same"])
def test_what_is_said_of_a_distribution_is_that_of_its_probabilities(name, seed):
    own = fitted(column(name), n_components=4)
    raw, k = shaken(own, seed), integers_of(own)
    p, other = np.exp(log_prob(own, raw, k)), own.arrays()["other"][0]
    said = own.distribution_params(np.tile(raw, (len(k), 1)), own.encode(k[:, None], F8))
    np.testing.assert_allclose(said["cdf"][:, 0], other / 2 + np.cumsum(p), atol=1e-9)
    below = np.cumsum(p) / p.sum()
    quantiles = [k[np.searchsorted(below, q)] for q in (0.05, 0.5, 0.95)]
    np.testing.assert_array_equal(said["quantiles"][0, 0], quantiles)
    mean = (p * k).sum() / p.sum()
    deviation = np.sqrt((p * k**2).sum() / p.sum() - mean**2)
    assert said["mean"][0, 0] == pytest.approx(mean, abs=0.05 * deviation)
    assert np.sqrt(said["variance"][0, 0]) == pytest.approx(deviation, rel=0.1)
    for atom, mass in zip(own.atoms_of_columns[0], said["atoms"][0][0], strict=True):
        assert mass == pytest.approx(p[k == atom][0])
    ends = k[[0, -1]] + [-3, 3]
    cdf = own.distribution_params(
        np.tile(raw, (3, 1)), own.encode(np.r_[ends, np.nan][:, None], F8)
    )
    s = own.arrays()["scale"][0]
    beyond = other / 2 * s / (s + np.array([2, 3]))
    np.testing.assert_allclose(cdf["cdf"][:, 0], [beyond[0], 1 - beyond[1], np.nan], rtol=1e-12)


@pytest.mark.parametrize("name", ["hours", "visits", "degrees"])
def test_draws_follow_the_probabilities(name):
    X = column(name)
    model = fit(make(distribution="integer", max_iter=20), X[:, None])
    drawn = model.sample(4000, random_state=0)[:, 0]
    own = model.distribution_
    k = integers_of(own)
    assert np.isin(drawn, k).all()
    p = np.exp(model.score_samples(k[:, None].astype(X.dtype)))
    edges = np.unique(np.searchsorted(np.cumsum(p) / p.sum(), np.linspace(0, 1, 21)[1:-1]))
    cell = np.searchsorted(edges, np.searchsorted(k, drawn), side="left")
    expected = np.add.reduceat(p, np.r_[0, edges + 1][: len(edges) + 1])
    observed = np.bincount(cell, minlength=len(expected))
    assert stats.chisquare(observed, expected / expected.sum() * len(drawn)).pvalue > 1e-4


@pytest.mark.parametrize("model", ["NADE", "MADE", "FVSBN"])
def test_gradients_are_finite_differences(model):
    X = np.column_stack([column(name, 200) for name in ("hours", "visits", "heavy", "degrees")])
    X[::7, 1] = np.nan
    own = fit(make(model, distribution="integer", missing="marked", dtype="float64", max_iter=1), X)
    assert_gradient_is_finite_differences(own, X[:50])


# ---- models


def test_a_marginal_sums_over_the_integers():
    rng = np.random.default_rng(0)
    x = hours(600, rng)
    X = np.column_stack([x, np.where(x == 40, 3, x % 5) + rng.poisson(100, 600)])
    own = fit(make(distribution="integer", dtype="float64", max_iter=30), X)
    first = integers_of(own.distribution_)
    for second in (95, 104):
        rows = np.column_stack([first, np.full(len(first), second)]).astype(int)
        exact = np.logaddexp.reduce(own.score_samples(rows))
        row = np.array([[np.nan, second]])
        assert own.log_marginal(row, n_particles=20_000, random_state=0)[0] == pytest.approx(
            exact, abs=0.05
        )
        share = np.exp(own.score_samples(rows) - exact)
        said = own.predict_proba(row, target=0)[0] if len(first) < 1024 else share
        np.testing.assert_allclose(said[: len(share)], share, atol=1e-6)


@pytest.mark.parametrize("model", ["NADE", "MADE"])
def test_purification_takes_the_most_probable_integer_near_and_keeps_atoms(model):
    X = np.column_stack([column(name, 300) for name in ("hours", "degrees", "visits")])
    own = fit(make(model, distribution="integer"), X)
    repaired = own.purify(X[:60], 3)
    assert np.abs(repaired - X[:60]).max() <= 3
    assert (repaired == np.rint(repaired)).all()
    assert (repaired[X[:60, 0] == 40, 0] == 40).all()
    assert (repaired[X[:60, 0] != 40, 0] != 40).all()
    best, first = np.full(60, -np.inf), X[:60].copy()
    at = np.full(60, np.nan)
    for shift in range(-3, 4):
        moved = first.copy()
        moved[:, 0] += shift
        usable = (moved[:, 0] != 40) & (moved[:, 0] >= X[:, 0].min())
        score = np.where(usable, own.score_features(moved)[:, 0], -np.inf)
        at, best = np.where(score > best, moved[:, 0], at), np.maximum(score, best)
    free = X[:60, 0] != 40
    np.testing.assert_array_equal(repaired[free, 0], at[free])


def test_evidence_beyond_the_range_is_held():
    X = np.column_stack([column(name, 300) for name in ("hours", "degrees")])
    own = fit(make(distribution="integer"), X)
    drawn = own.sample(20, evidence=[999_999, np.nan], random_state=0)
    assert (drawn[:, 0] == 999_999).all()
    assert np.isfinite(own.score_samples(drawn)).all()


@pytest.mark.parametrize("model", ["DeepNADE", "NADE with a Markov order"])
def test_models_of_single_features_take_any_integer_too(model):
    X = np.column_stack([column(name, 300) for name in ("degrees", "heavy")])
    own = (
        DeepNADE(hidden_layer_sizes=(8,), max_iter=2)
        if model == "DeepNADE"
        else make(markov_order=1)
    )
    own = fit(own, X)
    assert own.network_.n_features == 2
    assert np.isfinite(own.score_samples(X[:1] + 10.0**6)).all()


def test_a_file_restores_the_scores(tmp_path):
    X = np.column_stack([column(name, 300) for name in ("hours", "visits", "heavy")])
    own = fit(make(distribution="integer"), X)
    own.save(tmp_path / "model")
    again = fastar.load(tmp_path / "model")
    np.testing.assert_array_equal(again.score_samples(X + 7), own.score_samples(X + 7))
    assert again.schema_ == own.schema_


@pytest.mark.parametrize(
    ("name", "wrong"),
    [("low", 0.5), ("high", -1e9), ("atoms", 1e9), ("scale", 0.5), ("location", 1.5)],
)
def test_a_file_that_describes_no_column_is_refused(name, wrong):
    own = fitted(column("hours"))
    arrays = own.arrays()
    arrays[name] = np.full_like(arrays[name], wrong)
    with pytest.raises(EntryError):
        own.check_arrays(arrays, 1)


# ---- the default


def test_what_columns_get_by_default():
    n, rng = 1000, np.random.default_rng(0)
    gains = np.where(rng.random(n) < 0.9, 0, 500 * rng.integers(1, 150, n))
    frame = pd.DataFrame(
        {
            "visits": visits(n, rng),
            "hours": hours(n, rng).astype(float),
            "gains": gains,
            "id": 2**60 + rng.permutation(n),
            "survived": rng.integers(0, 2, n),
            "alive": rng.random(n) < 0.5,
        }
    )
    own = fit(make(), frame)
    kinds = [each["kind"] for each in own.schema_]
    assert kinds == ["integer", "categorical", "categorical", "integer", "categorical", "bernoulli"]
    row = frame.head(1).copy()
    for name, value in {"visits": -3, "hours": 10**6, "gains": 7, "id": 3, "survived": 2}.items():
        other = row.assign(**{name: value})
        assert np.isfinite(own.score_samples(other)).all(), name
    assert own.impute(own.sample(5, random_state=0))["id"].min() >= 2**60
    exact = own.sample(3, evidence={"id": 2**60 + 3}, random_state=0)["id"]
    assert exact.tolist() == [2**60 + 3] * 3


def test_a_table_of_bits_alone_stays_bernoulli():
    X = np.random.default_rng(0).integers(0, 2, (200, 3))
    model = fit(make(), X)
    assert isinstance(model.distribution_, Bernoulli)
    odd = X[:3].copy()
    odd[1, 2] = 2
    with pytest.raises(ValueError, match="Got 2 in row 1, column 2"):
        model.score_samples(odd)
    detector = fit(DensityOutlierDetector(make()), X)
    assert detector.predict(odd)[1] == -1


def test_levels_of_whole_numbers_share_with_all_integers():
    X = np.array([0, 3, 3, 7, 8] * 20)
    own = fitted(X, kind=Categorical)
    other, raw = own.arrays()["other"][0], shaken(own)
    levels = np.exp(log_prob(own, raw, [0, 3, 7, 8]))
    assert levels.sum() == pytest.approx(1 - other)
    between = np.exp(log_prob(own, raw, [1, 2, 4, 5, 6]))
    np.testing.assert_allclose(between, other / 2 / 5)
    r = np.arange(1, 10_001)
    beyond = sum(np.exp(log_prob(own, raw, at)).sum() for at in (-r, 8 + r))
    assert beyond == pytest.approx(other / 2 * (1 - 8 / (8 + len(r))), rel=1e-6)
    dense = fitted(np.arange(5), kind=Categorical)
    r = np.exp(log_prob(dense, shaken(dense), [5, -1]))
    np.testing.assert_allclose(r, dense.arrays()["other"][0] * 4 / (2 * 4 * 5))


def test_levels_of_a_frame_that_are_no_numbers_have_no_distance():
    frame = pd.DataFrame({"colour": ["red", "green", "blue"] * 30})
    own = fit(make(), frame)
    score = own.score_samples(pd.DataFrame({"colour": ["mauve"]}))[0]
    assert score == pytest.approx(-np.log(2 * 90 + 2))


def test_scores_have_the_same_bits_for_any_threads():
    X = visits(500, np.random.default_rng(0))[:, None].repeat(3, axis=1)
    one, other = (fit(make(n_jobs=n_jobs), X).score_samples(X) for n_jobs in (1, 3))
    assert_same_bits(one, other)


def test_a_default_fit_of_small_integers_takes_any():
    X = np.random.default_rng(0).integers(-5, 5, (50, 2)).astype("int8")
    own = fit(make(), X)
    assert np.isfinite(own.score_samples(np.array([[-128, 127]], "int8"))).all()
    assert own.sample(3, random_state=0).dtype == np.int8
