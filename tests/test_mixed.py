"""Tables whose columns have conditionals of their own, as users see them."""

import pickle
import re

import numpy as np
import pandas as pd
import pytest
from common import (
    DATA,
    KINDS,
    MODELS,
    ORDERS,
    assert_same,
    assert_same_bits,
    bits,
    distribution,
    fit,
    levels,
    make,
    reals,
)
from sklearn.base import clone

import fastar
from fastar import conditionals

every_model = pytest.mark.parametrize("name", MODELS)
every_order = pytest.mark.parametrize("order", ORDERS)
D = len(KINDS)


def kinds_of(model):
    """Return the name of each column's conditional, in the order of the columns."""
    own = [model.distribution_.of_column(place)[0].name for place in range(len(model.order_))]
    return [own[place] for place in np.argsort(model.order_)]


@every_order
@every_model
def test_a_list_names_each_columns_conditional_whatever_the_order(name, order):
    X, chosen = DATA["mixed"](60, D), distribution("mixed", D)
    settings = {"order": ORDERS[order](D), "max_iter": 2}
    model = fit(make(name, distribution=chosen, **settings), X)
    assert kinds_of(model) == [getattr(each, "name", each) for each in chosen]
    assert model.distribution == chosen
    by_tuple = fit(make(name, distribution=tuple(chosen), **settings), X)
    by_dict = fit(make(name, distribution=dict(enumerate(chosen)), **settings), X)
    for other in (by_tuple, by_dict):
        assert_same_bits(other.theta_, model.theta_)
        assert_same_bits(other.score_samples(X), model.score_samples(X))


@every_order
def test_objects_and_names_may_be_mixed_and_keep_their_settings(order):
    X = DATA["mixed"](60, 4)
    chosen = [
        "bernoulli",
        conditionals.Gaussian(0.5),
        conditionals.GaussianMixture(2, 0.01),
        conditionals.Categorical("impossible"),
    ]
    model = fit(make(distribution=chosen, order=ORDERS[order](4)), X)
    own = [model.distribution_.of_column(place)[0] for place in np.argsort(model.order_)]
    assert [repr(each) for each in own] == ["Bernoulli()", *map(repr, chosen[1:])]


def test_a_dict_by_number_or_name_leaves_other_columns_to_the_data():
    X = np.column_stack([bits(60, 2), reals(60, 2)])
    model = fit(make(distribution={2: "laplace"}), X)
    assert kinds_of(model) == ["categorical", "categorical", "laplace", "number"]
    whole = levels(60, 3)
    assert kinds_of(fit(make(distribution={0: "poisson"}), whole)) == [
        *["poisson", "categorical", "categorical"]
    ]
    frame = pd.DataFrame(X, columns=["a", "b", "c", "d"])
    by_name = fit(make(distribution={"c": "laplace"}), frame)
    assert kinds_of(by_name) == kinds_of(model)
    assert_same_bits(by_name.score_samples(frame), model.score_samples(X))


def test_one_conditional_for_all_columns_is_no_mixed_one():
    X = reals(60, 3)
    plain = fit(make(distribution="laplace"), X)
    for chosen in (["laplace"] * 3, dict.fromkeys(range(3), "laplace")):
        model = fit(make(distribution=chosen), X)
        assert model.distribution_.name == "laplace"
        assert_same_bits(model.theta_, plain.theta_)
    assert fit(make(distribution=["auto"] * 3), X).distribution_.name == "number"


def test_names_in_a_list_have_the_number_of_components_of_rnade():
    model = fit(make("RNADE", distribution=["gaussian_mixture", "laplace"]), reals(60, 2))
    assert repr(model.distribution_.of_column(0)[0]) == (
        "GaussianMixture(n_components=3, variance_floor=1e-06)"
    )


BAD = [
    (["bernoulli"] * 4, "'distribution' must have an entry for each of 5 columns. Got 4 instead"),
    ([], "'distribution' must have an entry for each of 5 columns. Got 0 instead"),
    (
        ["bernoulli"] * 4 + ["weibull"],
        "'distribution' of a column must be .* Got 'weibull' instead",
    ),
    (["bernoulli"] * 4 + [None], "'distribution' of a column must be .* Got None instead"),
    ({7: "bernoulli"}, "'distribution' must have columns of X as its keys. Got 7, which is none"),
    ({"a": "poisson"}, "'distribution' must have columns of X as its keys. Got 'a', which is none"),
    ({0: "weibull"}, "'distribution' of a column must be .* Got 'weibull' instead"),
    (conditionals.Mixed(["bernoulli"] * 3), "must have one for each of 5 columns. Got 3 instead"),
]


@pytest.mark.parametrize(("chosen", "match"), BAD, ids=str)
@every_model
def test_bad_lists_and_dicts_are_named_with_their_rule(name, chosen, match):
    model = make(name, distribution=chosen)
    before = dict(vars(model))
    for method in ("fit", "partial_fit"):
        with pytest.raises(ValueError, match=match):
            getattr(model, method)(bits(30, 5))
        assert vars(model) == before


def test_a_conditional_that_is_none_is_refused():
    with pytest.raises(ValueError, match=r"A conditional must be one of .* Got 'weibull' instead"):
        conditionals.Mixed(["bernoulli", "weibull"])


@pytest.mark.parametrize("order", ["natural", "reversed"])
def test_a_value_outside_the_support_is_told_by_its_own_columns_rule(order):
    X = DATA["mixed"](60, D)
    model = fit(make(distribution=distribution("mixed", D), order=ORDERS[order](D)), X)
    for column, value, rule in [
        (0, 2.0, "0 or 1 for a bernoulli conditional"),
        (3, 9.0, "one of the levels seen in fit for a categorical conditional"),
        (4, 0.5, "whole numbers from 0 to 16777216 for a poisson conditional"),
        (4, -1.0, "whole numbers from 0 to 16777216 for a poisson conditional"),
        (6, 99.0, "whole numbers between the lowest and the highest level"),
    ]:
        bad = X.copy()
        bad[7, column] = value
        match = rf"X must hold {re.escape(rule)}.* Got {value} in row 7, column {column} instead"
        with pytest.raises(ValueError, match=match):
            model.score_samples(bad)
        evidence = np.where(np.arange(D) == column, value, np.nan)
        with pytest.raises(ValueError, match=f"evidence must hold {re.escape(rule)}"):
            model.sample(evidence=evidence)


@every_order
@every_model
def test_models_of_mixed_columns_are_cloned_pickled_and_saved(name, order, tmp_path):
    X = DATA["mixed"](60, D)
    chosen = [*distribution("mixed", D)]
    chosen[5] = conditionals.LaplaceMixture(2, 0.01)
    settings = {"order": ORDERS[order](D), "max_iter": 3}
    model = fit(make(name, distribution=chosen, **settings), X)
    model.save(tmp_path / "model")
    again = fit(clone(model), X)
    for other in (again, pickle.loads(pickle.dumps(model)), fastar.load(tmp_path / "model")):
        assert_same_bits(other.score_samples(X), model.score_samples(X))
        assert_same(other.conditionals(X), model.conditionals(X))
        drawn = other.sample(9, random_state=0)
        assert_same_bits(drawn, model.sample(9, random_state=0))
        assert kinds_of(other) == kinds_of(model)
        assert_same_bits(fit(other, X).theta_, model.theta_)


@pytest.mark.parametrize(
    "chosen",
    [
        {0: "bernoulli", 2: "laplace"},
        {np.int64(0): "bernoulli"},
        ("bernoulli", "gaussian", "gaussian"),
        conditionals.Mixed(["bernoulli", "gaussian", conditionals.GaussianMixture(2)]),
    ],
    ids=str,
)
def test_what_was_asked_for_is_saved_as_it_was(chosen, tmp_path):
    X = DATA["mixed"](60, 3)
    model = fit(make(distribution=chosen), X)
    model.save(tmp_path / "model")
    again = fastar.load(tmp_path / "model")
    expected = list(chosen) if isinstance(chosen, tuple) else chosen
    assert repr(again.distribution) == repr(expected).replace("np.int64(0)", "0")
    assert_same_bits(fit(again, X).theta_, model.theta_)


@every_order
@every_model
def test_rows_are_drawn_and_completed_in_the_support_of_each_column(name, order):
    X = DATA["mixed"](100, D)
    chosen = distribution("mixed", D)
    model = fit(make(name, distribution=chosen, order=ORDERS[order](D), max_iter=5), X)
    holes = X[:40].copy()
    holes[np.random.default_rng(0).random(holes.shape) < 0.4] = np.nan
    there = ~np.isnan(holes)
    evidence = np.where(np.arange(D) % 2, X[0], np.nan)
    for drawn, held, known in [
        (model.sample(200, random_state=0), None, None),
        (model.sample(40, evidence=holes, random_state=0), there, holes),
        (model.sample(40, evidence=evidence, random_state=0), ~np.isnan(evidence), evidence),
        (model.impute(holes, random_state=0), there, holes),
    ]:
        assert drawn.dtype == np.float64
        assert np.isfinite(model.score_samples(drawn)).all()
        if held is not None:
            held, known = np.broadcast_to(held, drawn.shape), np.broadcast_to(known, drawn.shape)
            assert_same_bits(drawn[held], known[held])
    assert model.impute(holes, n_draws=3, random_state=0).shape == (3, 40, D)


def test_counts_depend_on_reals_before_them():
    rng = np.random.default_rng(0)
    x = rng.standard_normal(2_000)
    X = np.column_stack([x, rng.poisson(np.exp(1 + 0.7 * x)), x + rng.random(2_000) < 0.5])
    settings = {"distribution": ["gaussian", "poisson", "bernoulli"], "max_iter": 60}
    model = fit(make(n_hidden=20, **settings), X)
    said = model.conditionals(np.column_stack([[-1.0, 0, 1], [1.0, 2, 5], [1, 1, 0]]))
    np.testing.assert_allclose(np.log(said[1]["mean"]), [0.3, 1, 1.7], atol=0.25)
    assert said[2][0] > 0.9
    assert said[2][2] < 0.1
