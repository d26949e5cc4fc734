"""The conditional that a column gets by itself, and what `schema_` says of it."""

import numpy as np
import pandas as pd
import pytest
from common import fit, make
from real_columns import claims
from scipy import sparse

from fastar import GenerativeRNN, PixelRNN
from fastar.conditionals import BY_NAME
from fastar.tools.prediction import ColumnClassifier

pytestmark = pytest.mark.kernels


def people(n=500):
    rng = np.random.default_rng(0)
    return {
        "income": rng.lognormal(0, 2, n),
        "claims": claims(n, rng),
        "children": rng.poisson(1.5, n).astype(float),
        "heaped": np.where(rng.random(n) < 0.96, rng.integers(0, 9, n), rng.integers(0, 500, n)),
        "age": rng.integers(0, 400, n).astype(float),
        "inhabitants": rng.integers(0, 10**9, n).astype(float),
    }


DECIDED = ["number", "number", "categorical", "categorical", "integer", "integer"]


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_matrix, pd.DataFrame])
def test_each_column_is_judged_for_itself(container):
    X = np.column_stack(list(people().values()))
    own = fit(make(distribution="auto", max_iter=1), container(X))
    assert [each["kind"] for each in own.schema_] == DECIDED
    assert [each["column"] for each in own.schema_] == list(range(6))
    assert own.schema_[1]["atoms"] == [0]
    assert [each["map"] for each in own.schema_][:3] == ["log", "inverse softplus", None]
    levels = [len(np.unique(X[:, 2])), len(np.unique(X[:, 3]))]
    assert [each["levels"] for each in own.schema_][2:4] == levels


def test_the_schema_says_what_was_asked_for():
    frame = pd.DataFrame(people())
    own = fit(make(distribution={"income": "gaussian"}, max_iter=1, order="random"), frame)
    assert [each["column"] for each in own.schema_] == list(frame.columns)
    assert [each["kind"] for each in own.schema_] == ["gaussian", *DECIDED[1:]]
    assert own.schema_[0]["why"] == "by `distribution`"
    assert own.schema_[1]["why"] == "real numbers, never negative"


OF_NUMBERS = [name for name, kind in BY_NAME.items() if not kind.has_levels]


def words(n=60):
    """Return a column of categories and one of counts."""
    words = pd.Series(np.resize(["b", "a", "c"], n)).where(np.arange(n) % 7 > 0)
    return pd.DataFrame({"word": words, "count": np.arange(n) % 5})


@pytest.mark.parametrize("distribution", OF_NUMBERS)
@pytest.mark.parametrize("missing", ["error", "modelled"])
def test_categories_keep_their_levels_under_a_conditional_of_numbers(distribution, missing):
    frame = words()
    own = fit(make(distribution=distribution, max_iter=1, missing=missing), frame)
    assert [each["kind"] for each in own.schema_] == ["categorical", distribution]
    assert not own.schema_[0]["why"].startswith("by `distribution`")
    assert own.schema_[1]["why"].startswith("by `distribution`")
    assert set(own.sample(50, random_state=0)["word"].dropna()) <= {*"abc"}
    assert set(own.complete(frame.head(8))["word"]) <= {*"abc"}
    assert set(own.predict(frame.head(8), target="word")) <= {*"abc"}


@pytest.mark.parametrize("distribution", OF_NUMBERS)
def test_a_conditional_of_numbers_for_categories_by_name_is_refused(distribution):
    for given in ({"word": distribution}, [BY_NAME[distribution](), "auto"]):
        with pytest.raises(ValueError, match=f"categories .* Got '{distribution}' .* 'word'"):
            fit(make(distribution=given, max_iter=1), words())


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_steps_and_classifiers_keep_levels_under_a_conditional_of_numbers():
    frame = words().assign(group=np.arange(60) // 6).fillna("a")
    steps = fit(GenerativeRNN(groups="group", distribution="gaussian", max_iter=1), frame)
    assert [each["kind"] for each in steps.schema_] == ["categorical", "gaussian"]
    assert set(steps.sample(5, random_state=0)["word"]) <= {*"abc"}
    classifier = ColumnClassifier(make(distribution="laplace", max_iter=1), random_state=0)
    own = classifier.fit(frame, frame["count"] > 2)
    kinds = [each["kind"] for each in own.density_.schema_]
    assert kinds == ["categorical", "laplace", "laplace", "categorical"]


def test_the_schema_names_levels_and_the_rule_of_each_column():
    rng = np.random.default_rng(0)
    sizes = pd.CategoricalDtype(["S", "M", "L"], ordered=True)
    frame = pd.DataFrame({
        "size": pd.Series(rng.choice(["S", "L"], 200), dtype=sizes),
        "word": rng.choice(list("abcdefgh"), 200),
        "flag": rng.random(200) < 0.5,
        "bit": rng.integers(0, 2, 200),
        "few": rng.integers(3, 5, 200),
        "id": 2**60 + rng.integers(0, 3, 200),
        "apart": rng.choice([-(2**62), 0, 2**62], 200),
        "many": rng.integers(0, 10**4, 200),
        "wait": pd.to_timedelta(rng.integers(1, 9, 200) * 60, unit="s"),
        "when": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 99, 200), unit="D"),
    })  # fmt: skip
    own = {each["column"]: each for each in fit(make(max_iter=1), frame).schema_}
    said = {name: (each["support"], each["why"]) for name, each in own.items()}
    assert said == {
        "size": ("'S', 'M', 'L'; nothing else", "categories that the type declares"),
        "word": ("'a', 'b', 'c', 'd', 'e', ... (8 levels); rarely any other value", "text"),
        "flag": ("0 or 1", "bools"),
        "bit": (
            "0, 1; rarely any other whole number",
            "0 and 1, beside columns of other kinds",
        ),
        "few": (
            "3, 4; rarely any other whole number",
            "whole numbers, at most 100 different ones",
        ),
        "id": (
            ", ".join(str(2**60 + k) for k in range(3)) + "; nothing else",
            "whole numbers, at most 100 different ones",
        ),
        "apart": (
            f"{-(2**62)}, 0, {2**62}; nothing else",
            "whole numbers beyond 2**53 and far apart, as names",
        ),
        "many": ("all whole numbers", "whole numbers, more than 100 different ones"),
        "wait": (
            own["wait"]["support"],
            "durations by the minute, never negative, in steps of 1",
        ),
        "when": (
            "moments from the year 1 to 9999, by the day",
            "dates or times: week as a number, weekday",
        ),
    }
    array = fit(make(max_iter=1), frame[["bit", "bit"]].to_numpy()).schema_
    assert array[0]["why"] == "0 and 1 alone, in a table of nothing else"
    rare = fit(make(max_iter=1, min_count=99), frame[["word"]]).schema_[0]
    assert rare["support"] == "'other'; nothing else"
    assert rare["why"] == "text, the rare values of which are one level"


def test_whole_numbers_with_gaps_stay_whole():
    frame = pd.DataFrame(people())
    frame.loc[::7, "children"] = np.nan
    own = fit(make(distribution="auto"), frame)
    filled = own.impute(frame, random_state=0)
    np.testing.assert_array_equal(filled["children"], filled["children"].round())
    assert (own.sample(500, random_state=0)[["income", "claims"]] >= 0).all(axis=None)


@pytest.mark.parametrize("given", [["a", "b"], ["a", "b", "c"], [0.0, 3.0]])
def test_a_value_that_fit_has_not_seen_has_a_small_probability(given):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.choice(given, 300), "y": rng.normal(size=300)})
    X = frame if isinstance(given[0], str) else frame.to_numpy()
    own = fit(make(distribution="auto"), X)
    other = frame[:1].copy()
    other["x"] = "else" if isinstance(given[0], str) else 9.0
    score = own.score_features(other if isinstance(given[0], str) else other.to_numpy())[0, 0]
    assert -12 < score < -5


def test_sequences_and_pixels_stay_gaussian():
    X = np.random.default_rng(0).lognormal(0, 1, (20, 4))
    rnn = fit(GenerativeRNN(n_hidden=3, max_iter=1), [each[:, None] for each in X])
    assert "Gaussian(" in repr(rnn.distribution_)
    assert "Gaussian(" in repr(fit(PixelRNN(n_hidden=3, max_iter=1), X).distribution_)
