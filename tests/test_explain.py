"""The log-probability of each cell given all others."""

import numpy as np
import pandas as pd
import pytest
from common import DATA, DISCRETE, MODELS, fit, fitted, make
from question_cases import D, by_bayes, gapped, mixture, nan, on_a_grid, shares

from fastar import DeepNADE, Mixture
from fastar.conditionals import Categorical


@pytest.mark.parametrize("conditional", DISCRETE)
@pytest.mark.parametrize("name", MODELS)
def test_each_cell_is_explained_by_all_others(name, conditional):
    model, X = fitted(name, conditional, D=D)
    found = model.explain(X[:10])
    for column in range(D):
        p = by_bayes(model, X[:10], column)
        at = model.levels(column).searchsorted(X[:10, column])
        np.testing.assert_allclose(found[:, column], np.log(p[np.arange(10), at]), atol=1e-5)


@pytest.mark.parametrize("kind", ["NADE", "mixture"])
def test_a_number_is_explained_by_its_density(kind):
    if kind == "mixture":
        model, X = mixture("gaussian", dtype="float64")
    else:
        model, X = fitted("NADE", "gaussian", D=D, dtype="float64")
    found = model.explain(X[:5], n_particles=8000)
    for column in range(D):
        grid, p = on_a_grid(model, X[:5], column)
        density = p / (grid[1] - grid[0])
        exact = [np.interp(x, grid, own) for x, own in zip(X[:5, column], density, strict=True)]
        np.testing.assert_allclose(found[:, column], np.log(exact), atol=0.05)


@pytest.mark.parametrize("conditional", ["bernoulli", "categorical"])
def test_cells_beside_gaps_are_explained_by_what_is_known(conditional):
    model, X = fitted("MADE", conditional, D=D)
    rows = gapped(X[:4], 1)
    found = model.explain(rows, n_particles=4000, random_state=0)
    assert np.isnan(found[:, 1]).all()
    for i, row in enumerate(rows):
        for column in (0, 2, 3):
            free = row.copy()
            free[column] = nan
            agree, p = shares(model, free, conditional)
            exact = p[agree[:, column] == row[column]].sum()
            assert np.exp(found[i, column]) == pytest.approx(exact, abs=0.03)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", MODELS)
def test_levels_among_numbers_are_explained(name, dtype):
    model, X = fitted(name, "mixed", D=8, dtype=dtype)
    found = model.explain(X[:10], n_particles=2)
    for column in (0, 3, 6):  # bits, levels and ordinal levels, with densities after them
        p = by_bayes(model, X[:10], column)
        at = model.levels(column).searchsorted(X[:10, column])
        np.testing.assert_allclose(found[:, column], np.log(p[np.arange(10), at]), atol=1e-3)


@pytest.mark.parametrize("kind", ["mixed", "bernoulli", "categorical", "gaussian"])
@pytest.mark.parametrize("name", MODELS)
def test_a_pass_that_begins_at_a_feature_is_the_end_of_a_whole_one(name, kind):
    X = DATA[kind](200, 8)
    context = X[:, :1] + np.random.default_rng(0).normal(size=(200, 1))
    for given in ({}, {"context": context}):
        estimator = fit(make(name, dtype="float64", max_iter=3), pd.DataFrame(X), **given)
        model = estimator._model()
        network, codes = model.network, model.codes(X[:, model.order])
        encoded = {"context": estimator._encoded(given.get("context"), 200)}
        weights = network.materialise_weights(model.params, 1)
        raw = network.forward(weights, codes, 1, **encoded)[0]
        for start in range(1, 8):
            other = codes.copy()
            other[:, start:] = codes[::-1, start:]
            whole, tail = network.forward_from(weights, codes, start, 1, **encoded)
            np.testing.assert_array_equal(whole, raw)
            own, later = model.conditional.output_offsets[start : start + 2]
            expected = network.forward(weights, other, 1, **encoded)[0][:, later:]
            found = tail(np.ascontiguousarray(other[:, start:]))[:, later - own :]
            np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
            assert start == 7 or (expected != raw[:, later:]).any()
        assert network.forward_from(weights, codes, 0, 1, **encoded) is None


def test_a_window_and_several_masks_are_rescored_whole():
    for name, settings in (("NADE", {"markov_order": 1}), ("MADE", {"n_masks": 2})):
        model, X = fitted(name, D=D, **settings)
        model = model._model()
        weights = model.network.materialise_weights(model.params, 1)
        assert model.network.forward_from(weights, model.codes(X), 2, 1) is None


def test_a_category_that_fit_has_not_seen_is_improbable():
    frame = pd.DataFrame({"a": list("xyxyxyxyxy") * 20, "b": list("xxyyxxyyxx") * 20})
    model = fit(make(), frame)
    odd = model.explain(pd.DataFrame({"a": ["x", "z"], "b": ["y", "y"]}))
    assert odd[1, 0] < np.log(0.05) < odd[0, 0]
    assert (odd <= 0).all()


@pytest.mark.filterwarnings("ignore:.*no level that was seen in fit")
@pytest.mark.parametrize("kind", ["NADE", "MADE", "masks", "DeepNADE", "mixture"])
def test_an_impossible_value_says_nothing_of_the_other_cells(kind):
    rng = np.random.default_rng(0)
    kinds = pd.CategoricalDtype(["x", "y", "z"], ordered=True)
    frame = pd.DataFrame({
        "a": pd.Series(rng.choice(["x", "y", "z"], 300), dtype=kinds),
        "id": 2**60 + rng.integers(0, 3, 300),
        "n": rng.normal(size=300),
    })  # fmt: skip
    settings = {"distribution": {"a": Categorical("impossible"), "id": Categorical("impossible")}}
    made = {
        "masks": lambda: make("MADE", n_masks=2, **settings),
        "DeepNADE": lambda: DeepNADE(max_iter=3, random_state=0, **settings),
        "mixture": lambda: Mixture([make(**settings), make("MADE", **settings)], random_state=0),
    }
    model = fit(made.get(kind, lambda: make(kind, **settings))(), frame)
    alien = frame[:4].astype({"a": object})
    alien.loc[0, "a"] = "q"
    alien.loc[[1, 2], "id"] = 2**60 + 9
    alien.loc[2, "a"] = "q"
    impossible = np.zeros((4, 3), bool)
    impossible[[0, 1, 2, 2], [0, 1, 0, 1]] = True
    unknown = frame[:4].astype({"a": object, "id": object})
    unknown = unknown.mask(impossible, None).astype({"a": kinds, "id": "Int64"})
    how = {"n_particles": 50, "random_state": 0}
    found, expected = model.explain(alien, **how), model.explain(unknown, **how)
    assert (found[impossible] == -np.inf).all()
    np.testing.assert_array_equal(found[~impossible], expected[~impossible])
    for column in ("a", "n"):
        mine, theirs = (model.predict(X, target=column, **how) for X in (alien, unknown))
        np.testing.assert_array_equal(mine, theirs)
    mine, theirs = (model.repair_suggestions(X, 2, **how) for X in (alien, unknown))
    for column in frame:
        np.testing.assert_array_equal(mine[column].values, theirs[column].values)
    assert (model.score_samples(alien)[:3] == -np.inf).all()
