"""Outliers by density."""

import pickle

import numpy as np
import pandas as pd
import polars
import pytest
from common import DATA, MODELS, assert_same_bits, fit, make
from scipy import sparse, stats
from sklearn.base import BaseEstimator, clone
from sklearn.metrics import roc_auc_score
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Binarizer, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastar import NADE, DensityOutlierDetector, Mixture, conditionals
from fastar._core.random import generator

unconverged = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
STATISTICS = ["standardised", "likelihood", "typicality", "likelihood_ratio"]
every_statistic = pytest.mark.parametrize("statistic", STATISTICS)


def detector(statistic="standardised", name="NADE", **settings):
    return DensityOutlierDetector(make(name, **settings), statistic=statistic, random_state=0)


def copies(n=400, D=8, flips=0.03, seed=0):
    """Return rows that are nearly constant, as bytes."""
    rng = np.random.default_rng(seed)
    return (rng.integers(0, 2, (n, 1)) ^ (rng.random((n, D)) < flips)).astype(np.uint8)


@unconverged
@parametrize_with_checks([detector(statistic) for statistic in STATISTICS])
def test_scikit_learns_own_checks_pass(estimator, check):
    check(estimator)


@unconverged
@every_statistic
@pytest.mark.parametrize("name", MODELS)
def test_the_statistics_are_those_of_the_densities(name, statistic):
    X = copies()
    model = fit(detector(statistic, name), X)
    logp = model.density_.score_samples(X)
    if statistic == "likelihood_ratio":
        expected = logp - model.background_.score_samples(X)
        assert (model.density_.theta_ != model.background_.theta_).any()
    else:
        assert model.background_ is None
        expected = logp
    if statistic == "typicality":
        expected = -np.abs(logp - model._centre)
        assert logp.min() < model._centre < logp.max()
    if statistic == "standardised" and not np.isnan(model._feature_weight).all():
        terms = model.density_.score_features(X) - model._feature_centre
        expected = (terms * model._feature_weight).sum(axis=1)
    assert_same_bits(model.score_samples(X), expected)
    scores = model.score_samples(X)
    assert_same_bits(model.decision_function(X), scores - model.offset_)
    assert_same_bits(model.predict(X), np.where(scores >= model.offset_, 1, -1))
    assert_same_bits(fit(clone(model), X).fit_predict(X), model.predict(X))


@every_statistic
def test_p_values_are_the_ranks_among_rows_the_density_has_not_seen(statistic):
    X = copies(300)
    model = fit(detector(statistic), X)
    known = model.calibration_scores_
    assert len(known) == 60
    scores = model.score_samples(X[:50])
    expected = [(1 + (known <= score).sum()) / 61 for score in scores]
    np.testing.assert_allclose(model.p_values(X[:50]), expected)


@every_statistic
def test_p_values_of_fresh_rows_are_uniform(statistic):
    p = []
    for seed in range(150):
        X = DATA["gaussian"](101, 3, seed)
        model = DensityOutlierDetector(
            make(max_iter=3), statistic=statistic, random_state=seed, calibration_fraction=0.5
        )
        p.append(fit(model, X[:-1]).p_values(X[-1:])[0])
    # a rank among 51 that are exchangeable: uniform on 1/51 .. 1
    assert (
        stats.kstest(np.array(p) - np.random.default_rng(0).random(150) / 51, "uniform").pvalue
        > 1e-3
    )


class Normal(BaseEstimator):
    """A density of no more than a mean and a deviation of each column."""

    def fit(self, X):
        self.normal_ = stats.norm(X.mean(axis=0), X.std(axis=0) + 0.1)
        return self

    def score_samples(self, X):
        return self.normal_.logpdf(X).sum(axis=1)


@every_statistic
def test_p_values_of_few_rows_are_exact(statistic):
    p = []
    for seed in range(400):
        X = np.random.default_rng(seed).normal(size=(13, 2))
        model = DensityOutlierDetector(
            Normal(),
            statistic=statistic,
            mutation_rate=0.9,
            random_state=seed,
            calibration_fraction=0.25,
        )
        p.append(model.fit(X[:-1]).p_values(X[-1:])[0])
    counts = np.unique(p, return_counts=True)[1]
    assert len(counts) == 4  # of three rows kept
    assert stats.chisquare(counts).pvalue > 1e-3


@every_statistic
def test_noise_among_copies_is_found_and_explained(statistic):
    X, rng = copies(1500), np.random.default_rng(1)
    model = fit(detector(statistic, n_hidden=20, max_iter=60), X)
    noise = rng.integers(0, 2, (300, 8)).astype(np.uint8)
    fresh = copies(300, seed=2)
    truth = np.r_[np.zeros(300), np.ones(300)]
    if statistic != "typicality":
        assert roc_auc_score(truth, -model.score_samples(np.r_[fresh, noise])) > 0.85
    assert np.median(model.p_values(noise)) < 0.1
    odd = np.ones((8, 8), np.uint8)
    odd[np.arange(8), np.arange(8)] = 0
    blamed = model.explain(odd).argmin(axis=1)
    # the first is what all others are compared with
    assert (blamed[2:] == np.arange(2, 8)).mean() > 0.8


def test_shares_of_features_add_up_to_how_far_a_row_is_from_the_mean():
    X = copies()
    model = fit(detector("likelihood"), X)
    shares = model.explain(X)
    np.testing.assert_allclose(
        shares.sum(axis=1),
        model.score_samples(X) - model.calibration_scores_.mean(),
        atol=1e-4,
    )


def test_weights_are_those_of_the_middle_of_the_rows_fitted_to():
    X = copies(300)
    X[:, 3] = np.random.default_rng(1).integers(0, 2, 300)
    model = fit(detector(), X)
    rows = generator(np.random.RandomState(0)).permutation(300)[60:]  # the detector's own draw
    low, high = np.quantile(model.density_.score_features(X[rows]), [0.05, 0.95], axis=0)
    expected = 1 / np.sqrt(1 + ((high - low) / 3.29) ** 2)
    np.testing.assert_allclose(model._feature_weight, expected)


def test_a_noisy_column_does_not_hide_the_others():
    rng = np.random.default_rng(0)
    x, error, noise = rng.normal(size=(3, 2000))
    # the log-densities of the last lie 5 nats apart
    X = pd.DataFrame({"x": x, "y": x + 0.5 * error, "noise": np.exp(5 * noise)})
    train, test = X[:1500], X[1500:].reset_index(drop=True)
    odd = test.assign(y=test["y"].sample(frac=1, random_state=0).to_numpy())
    truth = np.repeat([0, 1], len(test))
    aucs = {
        statistic: roc_auc_score(
            truth,
            -fit(detector(statistic, max_iter=30), train).score_samples(pd.concat([test, odd])),
        )
        for statistic in ("standardised", "likelihood")
    }
    assert aucs["standardised"] > aucs["likelihood"] + 0.03


@pytest.mark.parametrize("kind", [pd.DataFrame, polars.DataFrame])
@every_statistic
def test_frames_of_any_columns(kind, statistic):
    rng = np.random.default_rng(0)
    size = rng.normal(size=300)
    frame = kind(
        {
            "size": size,
            "sign": np.where(size > 0, "plus", "minus"),
            "count": rng.poisson(3, 300),
        }
    )
    model = fit(detector(statistic, max_iter=60), frame)
    shares = model.explain(frame)
    assert isinstance(shares, kind)
    assert list(shares.columns) == ["size", "sign", "count"]
    odd = kind({"size": [2.0], "sign": ["minus"], "count": [3]})
    even = kind({"size": [2.0], "sign": ["plus"], "count": [3]})
    if statistic != "typicality":
        assert model.score_samples(odd)[0] < model.score_samples(even)[0]
    assert np.asarray(model.explain(odd))[0].argmin() == 1


def test_sparse_rows_ensembles_pipelines_and_pickles():
    X = copies()
    model = fit(detector(), X)
    assert_same_bits(fit(detector(), sparse.csr_array(X)).p_values(X), model.p_values(X))
    ensemble = DensityOutlierDetector(Mixture(make(max_iter=5), n_members=2), random_state=0)
    assert fit(ensemble, X).explain(X).shape == X.shape
    with pytest.warns(match="converge"):
        whole = make_pipeline(Binarizer(), detector()).fit(X)
    assert set(whole.predict(X)) <= {-1, 1}
    again = pickle.loads(pickle.dumps(model))
    assert_same_bits(again.p_values(X), model.p_values(X))


def test_a_random_state_decides_all():
    X = copies(100)
    density = NADE(n_hidden=4, max_iter=3)  # without a state of its own
    pair = [
        DensityOutlierDetector(density, statistic="likelihood_ratio", random_state=0)
        for _ in range(2)
    ]
    first, second = (fit(model, X).score_samples(X) for model in pair)
    assert_same_bits(first, second)


@every_statistic
def test_what_cannot_be_is_an_outlier_with_the_least_p_value(statistic):
    X = DATA["categorical"](300, 3)
    density = make(distribution=conditionals.Categorical(unknown="impossible"))
    model = fit(DensityOutlierDetector(density, statistic=statistic, random_state=0), X)
    strange = X[:1].copy()
    strange[0, 1] = 9
    with pytest.warns(match="-inf"):
        assert_same_bits(model.p_values(strange), np.array([1 / 61]))
    with pytest.warns(match="-inf"):
        assert_same_bits(model.predict(strange), np.array([-1]))
    with pytest.warns(match="-inf"):
        assert model.explain(strange)[0].argmin() == 1


def test_a_missing_value_is_no_reason():
    X = 1e-3 * DATA["gaussian"](300, 2)  # small units: log-densities far above the 0 of a gap
    X[::5, 0] = np.nan
    frame = pd.DataFrame(X, columns=["a", "b"])
    model = fit(detector(), frame)
    shares = model.explain(frame)
    assert (shares.loc[::5, "a"] == 0).all()
    assert abs(shares.loc[frame["a"].notna(), "a"].mean()) < 0.5  # counted as observed, all give 1


@every_statistic
@pytest.mark.parametrize(
    "density", [GaussianMixture(2), make_pipeline(StandardScaler(), make(max_iter=3))]
)
def test_densities_that_take_no_weights_are_fitted_to_fewer_rows(density, statistic):
    X = DATA["gaussian"](100, 3)
    model = fit(DensityOutlierDetector(density, statistic=statistic, random_state=0), X)
    assert len(model.calibration_scores_) == 20
    assert ((model.p_values(X) > 0) & (model.p_values(X) <= 1)).all()
    with pytest.raises(AttributeError, match="score_features"):
        model.explain(X)


def test_the_background_may_be_another_model():
    X = copies()
    model = detector("likelihood_ratio").set_params(background=make("FVSBN"))
    assert type(fit(model, X).background_).__name__ == "FVSBN"


@pytest.mark.parametrize(
    "settings",
    [
        {"contamination": 0.0},
        {"contamination": 0.6},
        {"statistic": "odds"},
        {"calibration_fraction": 1.0},
        {"mutation_rate": 0.0},
        {"density": "NADE"},
    ],
)
def test_parameters_that_make_no_sense_are_refused(settings):
    with pytest.raises(ValueError, match=f"'{next(iter(settings))}' parameter"):
        detector().set_params(**settings).fit(copies(20))


@pytest.mark.parametrize("density", [make(), Mixture(make(), n_members=2)])
def test_one_odd_row_does_not_spoil_a_batch(density):
    rng = np.random.default_rng(0)
    kind = pd.CategoricalDtype(["u", "v", "w"])
    frame = pd.DataFrame({
        "age": rng.integers(18, 80, 400),
        "flag": rng.integers(0, 2, 400),
        "group": pd.Series(rng.choice(["u", "v"], 400), dtype=kind),
        "n": rng.integers(0, 3000, 400),
    })  # fmt: skip
    model = fit(DensityOutlierDetector(density, random_state=0), frame)
    usual = model.score_samples(frame)
    odd = {"age": 97, "flag": 2, "group": "zzz", "n": 10**6}
    for name, value in odd.items():
        rows = frame.astype({"group": object})
        rows.loc[3, name] = value
        scores = model.score_samples(rows)
        assert_same_bits(np.delete(scores, 3), np.delete(usual, 3))
        assert model.predict(rows)[3] == -1 or name == "age"
        assert scores[3] < usual[3]
        assert np.isfinite(scores[3]) == (name != "group")
        assert model.explain(rows).iloc[3].argmin() in (frame.columns.get_loc(name), 0)


@pytest.mark.parametrize("density", [make(), Mixture(make(), n_members=2)])
@pytest.mark.parametrize("column", ["x", "group", "when"])
def test_a_gap_where_fit_had_none_is_an_outlier(density, column):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({
        "x": rng.normal(size=200),
        "group": rng.choice(["u", "v"], 200),
        "when": pd.date_range("2024-01-01", periods=200),
    })  # fmt: skip
    model = fit(DensityOutlierDetector(density, random_state=0), frame)
    rows = frame.copy()
    rows.loc[3, column] = None
    scores = model.score_samples(rows)
    assert_same_bits(np.delete(scores, 3), np.delete(model.score_samples(frame), 3))
    assert scores[3] == -np.inf
    assert model.predict(rows)[3] == -1
    assert (model.explain(rows).iloc[3] == -np.inf).all()


@every_statistic
@pytest.mark.parametrize(
    ("column", "number"), [("x", np.inf), ("n", 2.5), ("n", -np.inf), ("b", 3)]
)
def test_a_number_that_a_column_cannot_have_is_an_outlier(statistic, column, number, tmp_path):
    rng = np.random.default_rng(0)
    n = 200
    frame = pd.DataFrame({
        "x": rng.normal(size=n), "n": rng.poisson(3, n), "b": rng.random(n) < 0.5
    })  # fmt: skip
    model = fit(DensityOutlierDetector(make(), statistic=statistic, random_state=0), frame)
    usual = model.score_samples(frame)
    rows = frame.astype({column: float})
    rows.loc[[3, 7], column] = number
    rows.to_parquet(tmp_path / "rows.parquet")
    for given in (rows, polars.from_pandas(rows), tmp_path / "rows.parquet"):
        scores = model.score_samples(given)
        assert_same_bits(np.delete(scores, [3, 7]), np.delete(usual, [3, 7]))
        assert (scores[[3, 7]] == -np.inf).all()
        assert (model.predict(given)[[3, 7]] == -1).all()
        assert (model.p_values(given)[[3, 7]] == model.p_values(rows.loc[[3]])).all()
    told = model.explain(rows)
    assert (told.loc[[3, 7]] == -np.inf).all(axis=None)
    assert np.isfinite(told.drop([3, 7])).all(axis=None)
    with pytest.raises(TypeError, match="column 'x'"):
        model.predict(rows.astype({"x": str}))
    if np.isinf(number):
        with pytest.raises(ValueError, match=f"column '{column}'. Got -?inf in row 3"):
            model.fit(rows)


@every_statistic
def test_verdicts_on_rows_with_gaps_depend_on_neither_units_nor_their_number(statistic):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 4))
    gap = rng.random(X.shape) < 0.3
    gap[:, 0] = False
    found = []
    for unit in (1.0, 1e-3, 1e6):
        frame = pd.DataFrame(X * unit, columns=list("abcd")).mask(gap)
        n_gaps = gap.sum(axis=1)
        model = fit(DensityOutlierDetector(make(), statistic=statistic, random_state=0), frame)
        verdicts = model.predict(frame) == -1
        found.append([verdicts[n_gaps == k].mean() for k in range(3)])
        complete = frame[~gap.any(axis=1)]
        if statistic == "likelihood":
            assert_same_bits(model.score_samples(complete), model.density_.score_samples(complete))
        p = model.p_values(frame)
        assert all(0.3 < p[n_gaps == k].mean() < 0.7 for k in range(3))
    np.testing.assert_allclose(found[1:], [found[0]] * 2, atol=0.02)
    assert np.max(found) < 0.25
