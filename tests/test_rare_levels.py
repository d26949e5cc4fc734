"""Rare levels become one, "other": as if the table had said so before."""

import copy
import json

import numpy as np
import pandas as pd
import polars as pl
import pytest
from common import assert_same_bits, fit

import fastar
from fastar import (
    FVSBN,
    MADE,
    NADE,
    RNADE,
    DeepNADE,
    DensityImputer,
    DensityOutlierDetector,
    GenerativeClassifier,
    GenerativeRNN,
    Mixture,
)
from fastar._core.schema import EntryError
from fastar._data.frames import Schema
from fastar.conditionals import Categorical, Gaussian

QUICK = {"max_iter": 3, "random_state": 0, "n_jobs": 1}
N = 300

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def table():
    """Return a frame whose column "s" has many levels that few rows have."""
    rng = np.random.default_rng(0)
    rare = [f"z{i // 2}" for i in range(N)]  # two rows each, before others take their places
    words = np.where(rng.random(N) < 0.8, rng.choice(["aa", "bb"], N), rare)
    return pd.DataFrame({"s": words, "x": rng.normal(size=N), "k": rng.integers(0, 3, N)})


def merged(frame, least=5):
    """Return the frame with "other" in place of rare levels, as a type that lists its levels."""
    often = (frame["s"].map(frame["s"].value_counts()) >= least) | frame["s"].isna()
    return frame.assign(s=pd.Categorical(frame["s"].where(often, "other"), ["aa", "bb", "other"]))


def with_gaps(frame):
    return frame.assign(s=frame["s"].where(np.arange(N) % 7 > 0))


KINDS = {
    "strings": lambda frame: frame,
    "objects": lambda frame: frame.astype({"s": object}),
    "string type": lambda frame: frame.astype({"s": "string"}),
    "categories": lambda frame: frame.astype({"s": "category"}),
    "gaps": with_gaps,
    "polars": pl.from_pandas,
    "polars categories": lambda frame: pl.from_pandas(frame.astype({"s": "category"})),
    "polars enum": lambda frame: pl.from_pandas(frame).with_columns(
        pl.col("s").cast(pl.Enum(sorted(set(frame["s"]))))
    ),
    "polars gaps": lambda frame: pl.from_pandas(with_gaps(frame)),
}
MODELS = {
    "NADE": lambda **more: NADE(n_hidden=4, **QUICK, **more),
    "RNADE": lambda **more: RNADE(n_hidden=4, distribution="auto", **QUICK, **more),
    "MADE": lambda **more: MADE(hidden_layer_sizes=(4,), order="random", **QUICK, **more),
    "FVSBN": lambda **more: FVSBN(**QUICK, **more),
    "DeepNADE": lambda **more: DeepNADE(hidden_layer_sizes=(4,), **QUICK, **more),
    "Mixture": lambda **more: Mixture(
        NADE(n_hidden=4, **QUICK, **more), n_members=2, weights="em", random_state=0
    ),
}


def words(frame):
    return np.asarray(frame["s"].to_list(), object)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_that_of_the_table_with_rare_levels_merged(name, kind, tmp_path):
    X = KINDS[kind](table())
    known = merged(with_gaps(table()) if "gaps" in kind else table())
    known = known.assign(s=known["s"].where(known["s"].notna(), None))
    model, expected = fit(MODELS[name](min_count=5), X), fit(MODELS[name](), known)
    scores = model.score_samples(X)
    assert_same_bits(scores, expected.score_samples(known))
    drawn = model.sample(100, random_state=0)
    assert type(drawn) is type(X)
    assert words(drawn).tolist() == words(expected.sample(100, random_state=0)).tolist()
    assert "other" in words(drawn)
    assert set(model.levels("s").tolist()) == {"aa", "bb", "other"}
    probability = model.predict_proba(X, target="s")
    assert_same_bits(probability, expected.predict_proba(known, target="s"))
    np.testing.assert_allclose(probability.sum(axis=1), 1, rtol=1e-6)
    model.save(tmp_path / "model")
    restored = fastar.load(tmp_path / "model")
    assert_same_bits(restored.score_samples(X), scores)
    assert words(restored.sample(100, random_state=0)).tolist() == words(drawn).tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_a_cell_that_is_there_comes_back_and_a_gap_may_become_other(kind):
    X = KINDS[kind](table())
    model = fit(MODELS["NADE"](min_count=5), X)
    given = words(X)
    there = np.array([isinstance(each, str) for each in given])
    for filled in (model.impute(X, random_state=0), model.complete(X)):
        assert type(filled) is type(X)
        assert words(filled)[there].tolist() == given[there].tolist()
        assert set(words(filled)[~there]) <= {"aa", "bb", "other"}
    imputer = DensityImputer(MODELS["NADE"](min_count=5), n_draws=3, random_state=0).fit(X)
    assert words(imputer.transform(X))[there].tolist() == given[there].tolist()
    purified = model.purify(X, 0.0)
    assert set(words(purified)[there]) <= {"aa", "bb", "other"} | set(given[there])


@pytest.mark.parametrize("kind", KINDS)
def test_what_fit_has_not_seen_is_other(kind):
    X = KINDS[kind](table())
    model = fit(MODELS["NADE"](min_count=5), X)
    rows = table()[:4].astype({"s": object})
    scores, further = [], []
    for value in ("other", "z1", "never seen"):
        given = rows.assign(s=value)
        given = given if isinstance(X, pd.DataFrame) else pl.from_pandas(given)
        scores.append(model.score_samples(given))
        assert (
            words(model.sample(3, evidence={"s": value}, random_state=0)).tolist() == ["other"] * 3
        )
        further.append(copy.deepcopy(model).partial_fit(given).theta_)
    for found in (scores, further):
        assert_same_bits(found[1], found[0])
        assert_same_bits(found[2], found[0])


def test_a_level_that_one_row_has_is_a_level_by_default():
    X = table().assign(s=[f"only {i}" for i in range(N)])
    model = fit(MODELS["NADE"](), X)
    assert len(model.levels("s")) == N
    assert "only 7" in model.levels("s")


def test_nothing_is_merged_where_all_levels_are_common():
    X = table()[["x", "k"]].assign(s=["aa", "bb", "other"] * (N // 3))
    model, plain = fit(MODELS["NADE"](min_count=100), X), fit(MODELS["NADE"](), X)
    assert_same_bits(model.score_samples(X), plain.score_samples(X))
    assert not model._container.columns[2].has_other
    assert fit(MODELS["NADE"](min_count=101), X).levels("s").tolist() == ["other"]


def test_what_is_called_other_is_among_the_rare():
    X = table()
    X.loc[:9, "s"] = "other"  # often enough to be a level of its own
    model = fit(MODELS["NADE"](min_count=5), X)
    assert model.levels("s").tolist() == ["aa", "bb", "other"]
    assert len({model.score_samples(X[:1].assign(s=w))[0] for w in ("other", "z1")}) == 1


def test_weights_do_not_count():
    X = table()
    weight = np.where(X["s"] == "aa", 0.0, 1.0)
    model = fit(MODELS["NADE"](min_count=5), X, sample_weight=weight)
    assert model.levels("s").tolist() == ["aa", "bb", "other"]


@pytest.mark.parametrize(
    ("distribution", "levels"),
    [
        ("auto", 3),
        ({"s": "categorical"}, 3),
        ({"s": Categorical(min_count=10**6)}, 1),
        ({"s": Categorical()}, None),
        (["categorical", "gaussian", "categorical"], 3),
        ([Categorical(min_count=5), "gaussian", "categorical"], 3),
    ],
)
def test_a_conditional_of_ones_own_has_a_count_of_its_own(distribution, levels):
    X = table()
    model = fit(MODELS["NADE"](min_count=5, distribution=distribution), X)
    assert len(model.levels("s")) == (levels or X["s"].nunique())
    assert model.levels("k").tolist() == [0, 1, 2]


def test_tools_compare_densities_of_the_same_levels():
    X, y = table(), np.arange(N) % 3
    density = MODELS["NADE"](min_count=5)
    classifier = fit(GenerativeClassifier(density, random_state=0), X, y=y)
    again = fit(GenerativeClassifier(MODELS["NADE"](), random_state=0), merged(X), y=y)
    assert_same_bits(classifier.predict_proba(X), again.predict_proba(merged(X)))
    detector = fit(DensityOutlierDetector(density, random_state=0), X)
    again = fit(DensityOutlierDetector(MODELS["NADE"](), random_state=0), merged(X))
    assert_same_bits(detector.p_values(X), again.p_values(merged(X)))


REFUSED = [
    (Categorical(min_count=0), "s", "min_count of Categorical must be an int of at least 1. Got 0"),
    (Categorical(min_count=2.5), "s", "must be an int of at least 1. Got 2.5"),
    (Categorical(min_count="5"), "s", "must be an int of at least 1. Got '5'"),
    (Categorical(min_count=True), "s", "must be an int of at least 1. Got True"),
    (Categorical("error", min_count=2), "s", "must be 1 beside .* Got 2"),
    (Categorical("impossible", min_count=2), "s", "must be 1 beside .* Got 2"),
    (Categorical(cardinality=3, min_count=2), "k", "must be 1 beside .* Got 2"),
    (Categorical(min_count=2), "k", "columns of strings in a DataFrame.* Got 2 for column 'k'"),
]


@pytest.mark.parametrize(("conditional", "column", "said"), REFUSED)
def test_a_count_that_makes_no_sense_is_refused(conditional, column, said):
    with pytest.raises(ValueError, match=said):
        NADE(distribution={column: conditional}).fit(table())


def test_numbers_have_no_name_for_what_is_rare():
    X, own = np.arange(30).reshape(15, 2) % 5, Categorical(min_count=2)
    for model, given in [
        (NADE(distribution=own), X),
        (MADE(distribution=[own, Gaussian()]), X),
        (GenerativeRNN(distribution=own), [*X]),
        (NADE(distribution={"c": own}), pd.DataFrame({"c": pd.Categorical([1, 2, 3] * 5)})),
    ]:
        with pytest.raises(ValueError, match="columns of strings in a DataFrame"):
            model.fit(given)
    assert np.isfinite(fit(NADE(min_count=10, **QUICK), X).score(X))  # keeps all its levels


def test_a_schema_says_what_is_the_rest():
    schema = Schema.of(table(), least_counts={"s": 5})
    described = json.loads(json.dumps(schema.to_json()))
    assert Schema.from_json(described) == schema
    described["columns"][0]["categories"] = ["aa", "other", "bb"]
    with pytest.raises(EntryError, match="must end with 'other'"):
        Schema.from_json(described)


def test_members_that_merge_otherwise_answer_no_questions_together():
    X = table()
    mixed = Mixture([MODELS["NADE"](min_count=5), MODELS["FVSBN"]()], random_state=0)
    with pytest.raises(ValueError, match="members that were fitted to frames of the same columns"):
        fit(mixed, X).log_marginal(X)
