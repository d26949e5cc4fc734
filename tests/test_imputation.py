"""Missing values as a transformer."""

import pickle

import numpy as np
import pandas as pd
import polars
import pytest
from common import DATA, MODELS, assert_same_bits, distribution, fit, make
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastar import NADE, DeepNADE, DensityImputer, Mixture
from fastar.conditionals import Categorical

unconverged = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
STRATEGIES = ["estimate", "draw"]
every_strategy = pytest.mark.parametrize("strategy", STRATEGIES)


def imputer(strategy="estimate", name="NADE", **settings):
    return DensityImputer(make(name, **settings), strategy=strategy, random_state=0)


def with_holes(X, share=0.2, seed=0):
    X = X.astype(np.float64)
    X[np.random.default_rng(seed).random(X.shape) < share] = np.nan
    return X


@unconverged
@parametrize_with_checks([imputer(strategy, distribution="gaussian") for strategy in STRATEGIES])
def test_scikit_learns_own_checks_pass(estimator, check):
    check(estimator)


@every_strategy
@pytest.mark.parametrize("conditional", ["bernoulli", "categorical", "gaussian", "mixed"])
@pytest.mark.parametrize("name", MODELS)
def test_holes_are_filled_with_values_of_the_support_and_the_rest_stays(
    name, conditional, strategy
):
    whole = DATA[conditional](200, 5)
    X = with_holes(whole)
    model = fit(imputer(strategy, name, distribution=distribution(conditional, 5)), X)
    filled = model.transform(X)
    there = ~np.isnan(X)
    assert_same_bits(filled[there], X[there])
    assert not np.isnan(filled).any()
    if conditional in ("bernoulli", "categorical"):
        assert np.isin(filled, whole).all()
    assert_same_bits(model.transform(X), filled)
    assert_same_bits(model.transform(whole.astype(float)), whole.astype(float))


@pytest.mark.parametrize(
    "density",
    [
        make(n_hidden=20, max_iter=100),
        DeepNADE(hidden_layer_sizes=(30,), max_iter=150, learning_rate_init=0.01, random_state=0),
    ],
    ids=["fixed order", "any order"],
)
def test_estimates_are_close_and_draws_keep_the_spread(density):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1500, 1))
    whole = x + 0.5 * rng.normal(size=(1500, 4))
    X = with_holes(whole, 0.15)
    holes = np.isnan(X)
    model = DensityImputer(density, random_state=0)
    estimate = fit(model, X).transform(X)
    drawn = model.set_params(strategy="draw").transform(X)
    error = (estimate - whole)[holes].std()
    assert error < 0.75  # 0.6 is what three neighbours leave; a column's own deviation is 1.1
    assert error < (drawn - whole)[holes].std() - 0.05
    assert drawn[holes].std() == pytest.approx(whole[holes].std(), rel=0.1)
    assert estimate[holes].std() < drawn[holes].std()


@every_strategy
@pytest.mark.parametrize("kind", [pd.DataFrame, polars.DataFrame])
def test_frames_keep_their_columns_types_and_names(kind, strategy):
    rng = np.random.default_rng(0)
    x = rng.normal(size=300)
    frame = kind(
        {
            "size": [None if rng.random() < 0.1 else float(each) for each in x],
            "sign": [None if rng.random() < 0.1 else "plus" if each > 0 else "minus" for each in x],
            "count": rng.poisson(2, 300),
        }
    )
    model = fit(imputer(strategy, max_iter=100, n_hidden=20), frame)
    filled = model.transform(frame)
    assert isinstance(filled, kind)
    assert list(filled.columns) == ["size", "sign", "count"]
    assert set(filled["sign"]) == {"plus", "minus"}
    truth = np.where(x > 0, "plus", "minus")
    assert (np.array(filled["sign"]) == truth).mean() > 0.95
    assert np.isfinite(np.array(filled["size"], float)).all()


def test_levels_are_the_most_frequent_and_counts_the_median():
    model = fit(
        imputer(distribution=["categorical", "poisson", "gaussian"]),
        with_holes(np.column_stack([DATA["categorical"](90, 1), DATA["poisson"](90, 2)])),
    )
    draws = np.array([[[1, 5, 1.0]], [[0, 9, 2.0]], [[1, 7, 6.0]]])
    np.testing.assert_allclose(model._centre(draws), [[1, 7, 3]])
    for n in range(1, 40, 2):
        draws = np.random.default_rng(n).poisson(20, (n, 4, 3)).astype(float)
        np.testing.assert_array_equal(
            model._centre(draws)[:, 1], np.median(draws[:, :, 1], axis=0), strict=True
        )


@unconverged
def test_it_works_in_pipelines_with_names_and_as_a_pickle():
    X = with_holes(DATA["bernoulli"](300, 6))
    y = (np.nansum(X, axis=1) > 2).astype(int)
    whole = make_pipeline(imputer(), LogisticRegression()).fit(X, y)
    assert whole.score(X, y) > 0.8
    model = fit(imputer(), X)
    assert_same_bits(pickle.loads(pickle.dumps(model)).transform(X), model.transform(X))
    named = fit(imputer(), pd.DataFrame(X, columns=list("abcdef")))
    assert list(named.get_feature_names_out()) == list("abcdef")
    out = fit(imputer().set_output(transform="pandas"), X).transform(X)
    assert list(out.columns) == [f"x{d}" for d in range(6)]


def test_frames_keep_their_index():
    frame = pd.DataFrame(with_holes(DATA["gaussian"](60, 3)), columns=list("abc"))
    frame.index = np.arange(60)[::-1] // 2
    filled = fit(imputer(), frame).transform(frame)
    pd.testing.assert_index_equal(filled.index, frame.index)


def test_one_draw_is_its_own_estimate_and_a_random_state_decides_it():
    X = with_holes(DATA["gaussian"](100, 3))
    model = DensityImputer(NADE(n_hidden=4, max_iter=3), n_draws=1, random_state=0)
    filled = fit(model, X).transform(X)
    again = fit(model.set_params(strategy="draw"), X).transform(X)
    assert_same_bits(filled, again)


def test_an_ensemble_learns_from_arrays_with_gaps():
    whole = np.random.default_rng(0).normal(size=(400, 1)) * np.ones(2)
    X = with_holes(whole, 0.1)
    X = np.where(np.isnan(X).all(axis=1, keepdims=True), whole, X)
    members = [make(order=order, n_hidden=20, max_iter=200) for order in ([0, 1], [1, 0])]
    filled = fit(DensityImputer(Mixture(members), random_state=0), X).transform(X)
    assert_same_bits(filled[~np.isnan(X)], X[~np.isnan(X)])
    assert (filled - whole)[np.isnan(X)].std() < 0.5
    found = fit(DensityImputer(Mixture(members, weights="em", random_state=0)), X).density_
    assert found.weights_.sum() == pytest.approx(1)
    assert all(each.missing == "marked" for each in found.estimators_)
    assert all(each.missing == "error" for each in members)


def test_an_ensemble_fills_frames():
    frame = pd.DataFrame(DATA["gaussian"](100, 3), columns=list("abc"))
    density = Mixture(Mixture(make(max_iter=5), n_members=2), n_members=2, random_state=0)
    model = fit(DensityImputer(density, random_state=0), frame)
    gaps = frame.head(10).copy()
    gaps.loc[:, "b"] = np.nan
    assert not model.transform(gaps).isna().any().any()


@pytest.mark.parametrize(
    "settings", [{"strategy": "mean"}, {"n_draws": 0}, {"n_particles": 0}, {"density": 1}]
)
def test_parameters_that_make_no_sense_are_refused(settings):
    with pytest.raises(ValueError, match=f"'{next(iter(settings))}' parameter"):
        imputer().set_params(**settings).fit(DATA["gaussian"](20, 2))


def test_a_density_by_itself_still_refuses_an_array_with_gaps():
    with pytest.raises(ValueError, match="NaN"):
        make().fit(with_holes(DATA["gaussian"](50, 3)))


@unconverged
@pytest.mark.parametrize("source", ["pandas", "polars"])
@pytest.mark.parametrize("target", ["pandas", "polars"])
def test_set_output_keeps_the_types_of_columns(source, target):
    rng = np.random.default_rng(0)
    X = pd.DataFrame({
        "k": rng.integers(0, 5, 60).astype("int16"),
        "g": rng.choice(["u", "v"], 60),
        "x": rng.normal(size=60).astype("float32"),
        "b": rng.random(60) < 0.5,
        "n": np.where(rng.random(60) < 0.5, None, rng.integers(0, 3, 60)),
    })  # fmt: skip
    X["n"] = X["n"].astype("Int64")
    if source == "polars":
        X = polars.DataFrame({
            name: [None if each is pd.NA else each for each in X[name].tolist()] for name in X
        }, schema_overrides={"k": polars.Int16, "x": polars.Float32})  # fmt: skip
    imputer = DensityImputer(NADE(max_iter=2, random_state=0), random_state=0)
    filled = imputer.set_output(transform=target).fit_transform(X)
    NADE(max_iter=1).fit(filled)  # which takes what the imputer gives
    assert type(filled).__module__.startswith(target)
    kinds = [str(filled[name].dtype).lower() for name in filled.columns]
    assert [kinds[0], kinds[2], kinds[4]] == ["int16", "float32", "int64"]
    assert kinds[3] in ("bool", "boolean")
    assert kinds[1] in ("str", "string", "object")
    for name in "kgxb":
        assert list(filled[name]) == list(X[name])


def test_whole_numbers_are_guessed_by_the_median_and_categories_by_the_mode():
    rng = np.random.default_rng(0)
    n = 400
    u = rng.random(n)
    frame = pd.DataFrame(
        {
            "stars": pd.array(np.where(u < 0.4, 1, rng.integers(3, 6, n)), "Int64"),
            "whole": np.where(u < 0.4, 1.0, rng.integers(3, 6, n)),
            "kind": pd.Categorical(np.where(u < 0.4, "a", rng.choice([*"bcd"], n))),
        }
    )
    own = DensityImputer(make(order=[2, 1, 0], max_iter=1), n_draws=401, random_state=0)
    fit(own, frame)
    own.density_.theta_[:] = 0  # every level is as likely as any other one
    empty = frame.head(1).copy()
    empty.loc[0, ["stars", "whole", "kind"]] = [pd.NA, np.nan, None]
    filled = own.set_params(n_particles=2000).transform(empty)
    assert filled["stars"][0] in (3, 4)
    assert filled["whole"][0] in (3.0, 4.0)
    nominal = DensityImputer(make(distribution="categorical"), random_state=0)
    assert fit(nominal, frame[["whole"]])._centres()[0].__name__ == "_most_frequent"


def test_integers_that_fit_did_not_see_are_no_error():
    X = np.random.default_rng(0).integers(0, 50, (200, 2))
    frame = pd.DataFrame(X, columns=["a", "b"]).astype("Int64")
    own = fit(DensityImputer(make(), random_state=0), frame)
    unseen = pd.DataFrame({"a": pd.array([77, -1000], "Int64"), "b": pd.array([pd.NA, 3], "Int64")})
    filled = own.transform(unseen)
    assert filled["a"].tolist() == [77, -1000]
    assert filled["b"].notna().all()


def test_the_default_density_takes_the_columns_with_gaps_last():
    X = np.random.default_rng(0).integers(0, 2, (60, 4)).astype(float)
    X[::3, 0] = X[::4, 2] = np.nan
    own = fit(DensityImputer(random_state=0, n_draws=2), X)
    assert own.density_.order_.tolist() == [1, 3, 0, 2]


@pytest.mark.parametrize("name", ["NADE", "DeepNADE"])
def test_categories_are_the_most_probable_ones_given_what_is_known(name):
    rng = np.random.default_rng(0)
    X = rng.integers(0, 3, (300, 3)).astype(float)
    X[rng.random(X.shape) < 0.3] = np.nan
    kind = {"NADE": NADE, "DeepNADE": DeepNADE}[name]
    density = kind(distribution=Categorical("error"), max_iter=5, random_state=0, n_jobs=1)
    model = fit(DensityImputer(density, n_draws=200, random_state=0), X)
    density = model.density_
    density.theta_ += 0.3 * rng.standard_normal(density.theta_.size).astype(np.float32)
    states = np.stack(np.meshgrid(*[[0.0, 1, 2]] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    gapped = X[np.isnan(X).any(axis=1)]
    p = np.exp(density.score_samples(states))
    filled, n_clear = model.transform(gapped), 0
    for row, guess in zip(gapped, filled, strict=True):
        known = ~np.isnan(row)
        agree = (states[:, known] == row[known]).all(axis=1)
        for d in np.flatnonzero(~known):
            share = np.array([p[agree & (states[:, d] == k)].sum() for k in range(3)])
            if name == "DeepNADE":  # what it says of rows of which something is not known
                share = density.predict_proba(row[None], target=d)[0]
            second, first = np.sort(share / share.sum())[1:]
            if first - second > 0.06:
                n_clear += 1
                assert guess[d] == share.argmax()
    assert n_clear > 50
