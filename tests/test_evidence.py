"""Evidence is honoured wherever it stands in the order, by rows as by mixtures."""

import numpy as np
import pandas as pd
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
