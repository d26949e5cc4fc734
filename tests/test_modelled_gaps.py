"""Gaps whose probability is part of the model: in scores, samples, marginals and questions."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from common import assert_gradient_is_finite_differences, assert_same_bits, fit, make
from scipy import stats

import fastar
from fastar import DeepNADE, DensityImputer, Mixture
from fastar._core.schema import EntryError
from fastar.conditionals import Categorical, Integer
from fastar.conditionals._gaps import ModelledGaps

pytestmark = pytest.mark.kernels

MODELS = ["NADE", "MADE", "FVSBN"]
every_model = pytest.mark.parametrize("model", MODELS)


def frame(n=1500, seed=0):
    """Return rows of every kind of column; gaps in `income` go with the colour."""
    rng = np.random.default_rng(seed)
    red = rng.random(n) < 0.5
    income = np.where(rng.random(n) < 0.3, 0.0, rng.lognormal(3, 1, n)).round(2)
    table = pd.DataFrame(
        {
            "colour": pd.Categorical(np.where(red, "red", "green")),
            "income": np.where(rng.random(n) < np.where(red, 0.6, 0.1), np.nan, income),
            "visits": pd.array(rng.negative_binomial(1, 0.005, n), "Int64"),
            "stars": pd.array(rng.integers(1, 6, n), "Int64"),
            "happy": pd.array(rng.random(n) < 0.5, "boolean"),
            "whole": rng.integers(0, 3, n),
        }
    )
    for name in ("visits", "stars", "happy"):
        table.loc[rng.random(n) < 0.2, name] = pd.NA
    return table


def modelled(model="NADE", X=None, **settings):
    settings = {"missing": "modelled", "max_iter": 15} | settings
    return fit(make(model, **settings), frame() if X is None else X)


def small(n=800, seed=0):
    """Return three columns of two and three levels with gaps, as floats."""
    rng = np.random.default_rng(seed)
    X = rng.integers(0, [2, 3, 2], (n, 3)).astype(float)
    X[:, 1] = np.where(X[:, 0] == 1, X[:, 1], 2)
    X[rng.random(n) < 0.3, 0] = np.nan
    X[(rng.random(n) < 0.5) & ~(X[:, 0] == 1), 1] = np.nan
    return X


def states():
    """Return all rows that `small` can have."""
    axes = [[0, 1, np.nan], [0, 1, 2, np.nan], [0, 1]]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)


LEVELS = [Categorical("error")] * 3


@pytest.mark.parametrize("order", ["natural", [2, 1, 0]])
@pytest.mark.parametrize("distribution", [LEVELS, ["bernoulli", LEVELS[0], "bernoulli"]])
@every_model
def test_values_and_gaps_sum_to_one(model, distribution, order):
    own = modelled(model, small(), distribution=distribution, order=order, dtype="float64")
    scores = own.score_samples(states())
    assert np.exp(scores).sum() == pytest.approx(1, abs=1e-9)
    features = own.score_features(states())
    np.testing.assert_allclose(features.sum(axis=1), scores)
    assert (features[np.isnan(states())] < 0).all()


@every_model
def test_samples_follow_the_probabilities_gaps_included(model):
    own = modelled(model, small(), distribution=LEVELS)
    rows, drawn = states(), own.sample(8000, random_state=0)
    same = np.nan_to_num(drawn, nan=-1)[:, None] == np.nan_to_num(rows, nan=-1)
    observed = same.all(axis=2).sum(axis=0)
    p = np.exp(own.score_samples(rows))
    keep = p > 1e-3
    assert observed[~keep].sum() < 200
    p = p[keep] / p[keep].sum()
    assert stats.chisquare(observed[keep], p * observed[keep].sum()).pvalue > 1e-4


def test_gaps_that_depend_on_another_column_are_learnt():
    own = modelled(max_iter=60)
    drawn = own.sample(4000, random_state=0)
    table = frame()
    assert drawn.dtypes.tolist() == table.dtypes.tolist()
    for colour in ("red", "green"):
        found, there = (each.income[each.colour == colour].isna().mean() for each in (drawn, table))
        assert found == pytest.approx(there, abs=0.06)
    for name in ("visits", "stars", "happy"):
        assert drawn[name].isna().mean() == pytest.approx(0.2, abs=0.05)
    assert not drawn[["colour", "whole"]].isna().any().any()
    said = own.conditionals(table)["income"]
    red = (table.colour == "red").to_numpy()
    assert said["missing"][red].mean() > said["missing"][~red].mean() + 0.3
    assert (drawn.income.dropna() == 0).mean() == pytest.approx(0.3, abs=0.06)


@every_model
def test_scores_count_gaps(model):
    table = frame()
    own, marked = modelled(model), modelled(model, missing="marked")
    features = own.score_features(table)
    gaps = table.isna().to_numpy()
    assert (features[gaps] < 0).all()
    assert (marked.score_features(table)[gaps] == 0).all()
    np.testing.assert_allclose(features.sum(axis=1), own.score_samples(table), rtol=1e-5)
    said = own.conditionals(table)
    for c, name in enumerate(table):
        if gaps[:, c].any():
            expected = np.log(said[name]["missing"][gaps[:, c]])
            np.testing.assert_allclose(features[gaps[:, c], c], expected, rtol=1e-4, atol=1e-5)


def test_a_column_without_gaps_in_fit_has_none_later():
    own, table = modelled(), frame(5)
    table["whole"] = table["whole"].astype("Int64")
    table.loc[2, "whole"] = pd.NA
    with pytest.raises(ValueError, match="row 2, column 'whole'"):
        own.score_samples(table)


def test_polars_frames_have_gaps_in_samples():
    table = pl.from_pandas(frame())
    drawn = modelled(X=table).sample(500, random_state=0)
    assert drawn.schema == table.schema
    assert drawn["income"].null_count() > 50


@every_model
def test_marginals_integrate_gaps_too(model):
    own = modelled(model, small(), distribution=LEVELS, dtype="float64")
    rows = states()
    scores = own.score_samples(rows)
    assert own.log_marginal([[np.nan] * 3], random_state=0)[0] == pytest.approx(0, abs=1e-9)
    for known in ([np.nan, 2, 1], [np.nan, np.nan, 0], [1, np.nan, 1]):
        at = (np.isnan(known) | (rows == known)).all(axis=1)
        exact = np.logaddexp.reduce(scores[at])
        found = own.log_marginal([known], n_particles=20_000, random_state=0)[0]
        assert found == pytest.approx(exact, abs=0.03)


@every_model
def test_completions_have_no_gaps(model):
    table = frame()
    own = modelled(model)
    filled = own.impute(table.head(50), random_state=0)
    assert not filled.isna().any().any()
    kept = table.head(50).notna()
    assert (filled[kept].isna() == table.head(50)[kept].isna()).all().all()
    best = own.complete(table.head(10))
    assert not (best[0] if isinstance(best, tuple) else best).isna().any().any()
    drawn = fit(DensityImputer(own, n_draws=3, random_state=0), table).transform(table.head(20))
    assert not drawn.isna().any().any()


def test_completions_are_those_of_complete_rows():
    own = modelled(X=small(), distribution=LEVELS, dtype="float64", max_iter=60)
    given = np.array([[1.0, np.nan, 0.0]])
    drawn = own.impute(given, n_draws=4000, n_particles=500, random_state=0)[:, 0, 1]
    rows = np.array([[1.0, level, 0.0] for level in range(3)])
    terms = own.score_features(rows)
    there = np.log1p(-own.conditionals(rows)[1]["missing"])
    share = np.exp(terms[:, 1] - there + terms[:, 2])
    observed = [(drawn == level).mean() for level in range(3)]
    np.testing.assert_allclose(observed, share / share.sum(), atol=0.06)


@every_model
def test_questions_are_about_values_that_are_there(model):
    own, table = modelled(model), frame().head(30)
    asked = table.assign(stars=pd.NA, happy=pd.NA)
    share = own.predict_proba(asked, target="stars", random_state=0)
    np.testing.assert_allclose(share.sum(axis=1), 1)
    assert np.isfinite(
        own.predict(table.assign(income=np.nan), target="income", random_state=0)
    ).all()
    cells = own.explain(table.head(5), random_state=0)
    assert (np.isnan(cells) == table.head(5).isna().to_numpy()).all()
    assert np.isfinite(own.expectation("income", evidence={"colour": "red"}, random_state=0).value)


def test_questions_about_levels_are_bayes_rule():
    own = modelled(X=small(), distribution=LEVELS, dtype="float64")
    known = np.array([[np.nan, 2.0, 1.0]])
    rows = np.array([[0, 2.0, 1], [1, 2, 1]])
    scores = own.score_samples(rows)
    expected = np.exp(scores - np.logaddexp.reduce(scores))
    np.testing.assert_allclose(own.predict_proba(known, target=0)[0], expected, rtol=1e-9)


@every_model
def test_repairs_keep_gaps(model):
    table = frame()
    own = modelled(model, table[["income", "visits", "whole"]])
    given = table[["income", "visits", "whole"]].head(40)
    repaired = own.purify(given, 1.0)
    assert (repaired.isna() == given.isna()).all().all()


def test_evidence_is_held_and_the_rest_may_be_gaps():
    own = modelled()
    drawn = own.sample(300, evidence={"whole": 2, "colour": "red"}, random_state=0)
    assert (drawn.whole == 2).all()
    assert drawn.income.isna().mean() > 0.3


@pytest.mark.parametrize("model", ["NADE", "Mixture", "several sets of masks"])
def test_files_restore_scores(model, tmp_path):
    table = frame(400)
    own = {
        "NADE": lambda: modelled(X=table),
        "Mixture": lambda: fit(Mixture(make(missing="modelled"), n_members=2), table),
        "several sets of masks": lambda: modelled("MADE", table, n_masks=2),
    }[model]()
    own.save(tmp_path / "model")
    again = fastar.load(tmp_path / "model")
    assert_same_bits(again.score_samples(table), own.score_samples(table))
    assert again.conditionals(table)["stars"].keys() == {"missing", "present"}
    assert again.sample(200, random_state=0).isna().any().any()


MOMENTS = pd.Series(pd.date_range("2020-01-30", periods=60, freq="31h"))
KINDS_OF_COLUMNS = {
    "moments": MOMENTS,
    "days": MOMENTS.dt.normalize(),
    "times": MOMENTS.dt.time,
    "durations": MOMENTS - MOMENTS[0],
    "bools": pd.Series(np.arange(60) % 3 == 0).astype("boolean"),
    "strings": pd.Series([*"abc"] * 20),
    "few whole numbers": pd.Series(np.arange(60) % 4).astype("Int64"),
    "whole numbers": pd.Series(np.arange(60) ** 2 % 977 * 7).astype("Int64"),
    "numbers": pd.Series(np.sin(np.arange(60))),
}


@pytest.mark.parametrize("kind", KINDS_OF_COLUMNS)
def test_files_hold_gaps_of_every_kind_of_column_alone(kind, tmp_path):
    column = KINDS_OF_COLUMNS[kind].copy()
    column[::5] = None
    table = pd.DataFrame({"a": column, "b": column})
    own = modelled(X=table, max_iter=1)
    own.save(tmp_path / "model")
    assert_same_bits(fastar.load(tmp_path / "model").score_samples(table), own.score_samples(table))


def test_members_probabilities_of_gaps_are_averaged():
    X = small(300)
    own = modelled("MADE", X, n_masks=2, distribution=LEVELS, dtype="float64")
    rows = states()
    assert np.exp(own.score_samples(rows)).sum() == pytest.approx(1, abs=1e-9)
    said = own.conditionals(rows)[0]
    gaps = np.isnan(rows[:, 0])
    np.testing.assert_allclose(
        np.log(said["missing"][gaps]), own.score_features(rows)[gaps, 0], rtol=1e-9
    )
    at = rows[~gaps, 0].astype(int)
    there = (1 - said["missing"][~gaps]) * said["present"][~gaps, at]
    np.testing.assert_allclose(np.log(there), own.score_features(rows)[~gaps, 0], rtol=1e-9)


def test_models_of_single_features_refuse():
    for own in (DeepNADE(missing="modelled"), make(missing="modelled", markov_order=1)):
        with pytest.raises(ValueError, match="missing='modelled' must be for a model that sees"):
            own.fit(small())
    X = np.nan_to_num(small())
    assert fit(make(missing="modelled"), X).distribution_.marks.sum() == 0


def test_schema_says_that_gaps_are_modelled():
    why = {each["column"]: each["why"] for each in modelled().schema_}
    assert "gaps are modelled" in why["income"]
    assert "gaps" not in why["whole"]


@pytest.mark.parametrize("model", MODELS)
def test_gradients_are_finite_differences(model):
    own = modelled(model, dtype="float64", max_iter=1)
    assert_gradient_is_finite_differences(own, own._read_table(frame())[:50][:, own.order_])


def test_digits_may_be_missing():
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.permutation(300) % 100, rng.integers(0, 2, 300)]).astype(float)
    X[::5, 0] = np.nan
    own = modelled(
        X=X, distribution=[Categorical("error", digits=True), LEVELS[0]], dtype="float64"
    )
    rows = np.array([[k, b] for k in [*np.unique(X[:, 0])] for b in (0.0, 1.0)])
    assert np.exp(own.score_samples(rows)).sum() == pytest.approx(1, abs=1e-9)
    drawn = own.sample(3000, random_state=0)[:, 0]
    assert np.isnan(drawn).mean() == pytest.approx(0.2, abs=0.05)


@pytest.mark.parametrize("wrong", ["another array", "another width"])
def test_a_file_that_describes_no_columns_is_refused(wrong):
    own = modelled(X=small(), distribution=[Integer()] * 3).distribution_
    arrays = own.arrays()
    if wrong == "another array":
        arrays["of.strange"] = np.zeros(3)
    else:
        arrays["of.low"] = arrays["of.low"][:2]
    with pytest.raises(EntryError):
        ModelledGaps(Integer()).check_arrays(arrays, 3)
