"""Evidence is honoured wherever it stands in the order, by rows as by mixtures."""

import numpy as np
import pandas as pd
import polars as pl
import pytest

from fastar import FVSBN, MADE, NADE, Mixture
from fastar.conditionals import Gaussian

QUICK = {"n_hidden": 16, "max_iter": 60, "learning_rate_init": 0.05, "random_state": 0, "n_jobs": 1}

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def _models():
    made = {key: value for key, value in QUICK.items() if key != "n_hidden"}
    yield "NADE", NADE(**QUICK)
    yield "MADE of four", MADE(hidden_layer_sizes=16, n_masks=4, order="random", **made)
    yield "FVSBN", FVSBN(order=[1, 0], **made)
    yield "mixture", Mixture([NADE(**QUICK), NADE(**QUICK, order=[1, 0])], random_state=0)


MODELS = dict(_models())


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("column", [0, 1])
def test_the_frequencies_given_evidence_are_those_of_the_model(name, column):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 3, 600)
    X = np.column_stack([x, np.where(rng.random(600) < 0.8, x, rng.integers(0, 3, 600))])
    model = MODELS[name].fit(X)
    grid = np.array([[a, b] for a in range(3) for b in range(3)])
    joint = np.exp(model.score_samples(grid)).reshape(3, 3)
    joint = joint if column == 1 else joint.T  # its second axis is what is held
    for value in range(3):
        evidence = [None, None]
        evidence[column] = value
        drawn = model.sample(2000, evidence=evidence, random_state=0)
        assert (drawn[:, column] == value).all()
        found = np.bincount(drawn[:, 1 - column], minlength=3) / 2000
        np.testing.assert_allclose(found, joint[:, value] / joint[:, value].sum(), atol=0.05)


def test_each_row_has_its_own_evidence_and_context():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, 400)
    X = pd.DataFrame({"x": x, "y": x})
    model = NADE(**QUICK).fit(X, context=np.zeros((400, 1)))
    evidence = pd.DataFrame({"x": [np.nan] * 50, "y": [0, 1] * 25})
    drawn = model.sample(50, evidence=evidence, context=np.zeros((50, 1)), random_state=0)
    assert (drawn.x == drawn.y).mean() > 0.9


@pytest.mark.parametrize("mixed", [False, True])
def test_evidence_that_hardly_any_particle_agrees_with_warns(mixed):
    x = np.random.default_rng(0).normal(size=(500, 1))
    model = NADE(**QUICK, distribution=Gaussian()).fit(np.hstack([x, x]))
    if mixed:
        model = Mixture(model, n_members=2, random_state=0).fit(np.hstack([x, x]))
    with pytest.warns(UserWarning, match="particles agrees with"):
        model.sample(20, evidence=[None, 6.0], random_state=0)


@pytest.mark.parametrize("library", ["array", "pandas", "polars"])
@pytest.mark.parametrize(
    ("dtype", "value"),
    [("uint8", 300), ("uint8", -1), ("int8", 128), ("int64", 10**19), ("float32", 1e300)],
)
def test_what_the_type_of_a_column_does_not_hold_is_refused(library, dtype, value):
    """It would come back as another value."""
    column = np.random.default_rng(0).integers(0, 120, 60).astype(dtype)
    if library == "array":
        table, name = np.column_stack([column, column[::-1]]), 0
    else:
        made = {"pandas": pd, "polars": pl}[library]
        table, name = made.DataFrame({"a": column, "b": column[::-1]}), "a"
    model = NADE(n_hidden=2, max_iter=1, random_state=0).fit(table)
    kind = "numbers" if dtype == "float32" else "whole numbers"
    rule = f"must hold {kind} .* in column '?{name}'?, which is of {dtype}. Got {value}"
    for method in (
        lambda known: model.sample(2, evidence=known),
        lambda known: model.sample(2, evidence=[known[name], None]),
        model.impute,
        lambda known: model.expectation(lambda rows: np.zeros(len(rows)), given=known),
    ):
        with pytest.raises(ValueError, match=rule.replace("+", r"\+")):
            method({name: value})


@pytest.mark.parametrize("library", [pd, pl])
def test_cells_that_are_there_come_back_whatever_their_type(library):
    column = np.random.default_rng(0).integers(0, 120, 60).astype(np.uint8)
    frame = library.DataFrame({"a": column, "x": column + 0.5})
    model = NADE(n_hidden=2, max_iter=1, random_state=0).fit(frame)
    given = library.DataFrame({"a": [300, 7], "x": [None, 2.0]})
    for filled in (model.impute(given, random_state=0), model.complete(given)):
        assert list(filled["a"]) == [300, 7]
        assert filled["x"][1] == 2


def test_an_array_of_objects_may_hold_dates():
    when = pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(60), unit="D")
    frame = pd.DataFrame({"when": when, "x": np.arange(60.0), "k": ["a", "b"] * 30})
    model = NADE(n_hidden=2, max_iter=1, random_state=0).fit(frame)
    row = frame[:1].to_numpy()
    assert model.sample(1, evidence=row).equals(frame[:1])
    row[0, 1:] = None, {"b"}
    drawn = model.sample(5, evidence=row, random_state=0)
    assert (drawn["when"] == when[0]).all()
    assert (drawn["k"] == "b").all()
