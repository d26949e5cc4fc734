"""Bad input: each error names what is wrong, and leaves the model as it was."""

import re

import numpy as np
import pandas as pd
import pytest
from common import DATA, MODELS, REAL, assert_same, bits, fitted, levels, make, reals, snapshot
from scipy import sparse
from sklearn.exceptions import NotFittedError

from fastar import conditionals, models, optimizers, schedules

every_model = pytest.mark.parametrize("name", MODELS)


def refuse(model, call, error, match):
    """Expect the error from call(model), and the model as it was."""
    before = snapshot(model)
    with pytest.raises(error, match=match):
        call(model)
    assert_same(before, snapshot(model))


def refuse_unfitted_and_fitted(name, parameters, fit_call, error, match):
    """Expect it of a model without and with a fit behind it; X has five columns."""
    refuse(make(name, **parameters), fit_call, error, match)
    model, _ = fitted(name)
    refuse(model.set_params(**parameters), fit_call, error, match)


# ---- constructor parameters, checked in fit

#: What NADE leaves to the table with None.
BY_TABLE = [("NADE", parameter, None) for parameter in ("alpha", "n_hidden", "activation")]

BAD_PARAMETERS = [
    ("distribution", "weibull"),
    ("distribution", None),
    ("distribution", 3),
    ("distribution", conditionals.Bernoulli),
    ("order", "reversed"),
    ("order", 5),
    ("min_count", 0),
    ("min_count", 2.5),
    ("markov_order", 0),
    ("markov_order", 1.5),
    ("solver", "lbfgs"),
    ("solver", optimizers.Adam),
    ("learning_rate_init", 0),
    ("learning_rate_init", -0.1),
    ("learning_rate_init", "fast"),
    ("learning_rate_init", float("nan")),
    ("learning_rate", "exponential"),
    ("learning_rate", 0.1),
    ("learning_rate", schedules.Linear),
    ("alpha", -1e-9),
    ("alpha", None),
    ("l1_ratio", -0.1),
    ("l1_ratio", 1.1),
    ("l1_ratio", None),
    ("max_gradient_norm", 0),
    ("max_gradient_norm", float("nan")),
    ("max_gradient_norm", "small"),
    ("batch_size", 0),
    ("batch_size", 10.0),
    ("max_iter", 0),
    ("max_iter", "many"),
    ("tol", -1.0),
    ("early_stopping", "yes"),
    ("early_stopping", None),
    ("validation_fraction", 0.0),
    ("validation_fraction", 1.0),
    ("n_iter_no_change", 0),
    ("warm_start", 2),
    ("random_state", "seed"),
    ("random_state", -1),
    ("n_jobs", 0),
    ("n_jobs", 1.5),
    ("n_jobs", "all"),
    ("verbose", -1),
    ("verbose", "loud"),
    ("callbacks", 3),
    ("callbacks", "history"),
    ("dtype", "float16"),
    ("dtype", "int64"),
    ("dtype", np.float16),
    ("dtype", int),
    ("dtype", None),
    ("missing", "ignored"),
    ("missing", None),
]
OWN_BAD_PARAMETERS = {
    "NADE": [
        *[("n_hidden", value) for value in (0, 2.5, None)],
        *[("activation", value) for value in ("softmax", None)],
    ],
    "RNADE": [
        *[("n_hidden", value) for value in (0, 2.5, None)],
        *[("activation", value) for value in ("softmax", None)],
        *[("n_components", value) for value in (0, 2.5, None, 257)],
    ],
    "MADE": [
        *[("hidden_layer_sizes", value) for value in (0, 2.5, None)],
        *[("activation", value) for value in ("softmax", None)],
        ("direct_connections", "yes"),
        ("degrees", "odd"),
        *[("redrawn", value) for value in (-0.1, 1.1, "all")],
        *[("n_masks", value) for value in (0, 1.5, "many")],
        ("n_scoring_masks", 0),
        ("order_agnostic", 2),
        *[("dropout", value) for value in (-0.1, 1.0)],
    ],
    "FVSBN": [],
}
CASES = [
    (name, *case)
    for name in MODELS
    for case in BAD_PARAMETERS + OWN_BAD_PARAMETERS[name]
    if (name, *case) not in BY_TABLE
]


@pytest.mark.parametrize(("name", "parameter", "value"), CASES, ids=str)
def test_each_parameter_out_of_range_is_named_with_its_rule(name, parameter, value):
    match = rf"The '{parameter}' parameter .*must be .* Got .* instead"
    for method in ("fit", "partial_fit"):
        refuse_unfitted_and_fitted(
            name, {parameter: value}, lambda m, method=method: getattr(m, method)(bits(30, 5)),
            ValueError, match,
        )  # fmt: skip


@every_model
def test_every_shared_and_own_parameter_has_a_bad_value_here(name):
    tried = {parameter for model, parameter, _ in CASES if model == name}
    assert tried == set(models.BY_NAME[name]().get_params())


@pytest.mark.parametrize(
    "order", [[0, 1, 2, 3], [0, 1, 2, 3, 3], [1, 2, 3, 4, 5], [[0, 1, 2, 3, 4]]]
)
@every_model
def test_an_order_must_be_a_permutation_of_the_columns(name, order):
    match = r"The 'order' parameter must be .* a permutation of the columns 0 to 4\. Got"
    refuse_unfitted_and_fitted(
        name, {"order": order}, lambda m: m.fit(bits(30, 5)), ValueError, match
    )


@pytest.mark.parametrize("order", [[0.5, 1.5, 2, 3, 4], ["a", "b", "c", "d", "e"], [None] * 5])
@every_model
def test_an_order_must_hold_integers(name, order):
    match = "The 'order' parameter must be"
    refuse_unfitted_and_fitted(
        name, {"order": order}, lambda m: m.fit(bits(30, 5)), ValueError, match
    )


@pytest.mark.parametrize("floor", [0, -1.0, float("nan")])
def test_a_variance_floor_must_be_positive(floor):
    parameters = {"distribution": conditionals.Gaussian(floor)}
    match = "variance_floor of Gaussian must be at least 1e-30"
    refuse_unfitted_and_fitted("NADE", parameters, lambda m: m.fit(reals(30, 5)), ValueError, match)


@pytest.mark.parametrize("parameter", ["n_jobs"])
@every_model
def test_parameters_that_scoring_uses_are_checked_there_too(name, parameter):
    model, X = fitted(name)
    model.set_params(n_jobs=0)
    for call in (model.score_samples, model.conditionals, model.score):
        refuse(model, lambda m, call=call: call(X), ValueError, "The 'n_jobs' parameter .*must be")
    refuse(model, lambda m: m.sample(3), ValueError, "The 'n_jobs' parameter .*must be")


# ---- X


def spoil(X, value, row=7, column=2):
    X = X.astype(type(value)) if isinstance(value, float) else X.copy()
    X[row, column] = value
    return X


BAD_X = {
    "one dimension": (bits(30, 5)[0], "Expected 2D array, got 1D array instead"),
    "three dimensions": (np.zeros((2, 3, 5)), "dim 3|3D|3 dim"),
    "a number": (3.0, "Expected 2D array, got scalar array instead"),
    "no rows": (np.zeros((0, 5)), r"0 sample\(s\).* while a minimum of 1 is required"),
    "no columns": (np.zeros((5, 0)), r"0 feature\(s\).* while a minimum of 1 is required"),
    "NaN": (spoil(bits(30, 5), float("nan")), "contains NaN"),
    "infinity": (spoil(bits(30, 5), float("inf")), "contains infinity in row 7, "),
    "words": (np.array([["a"] * 5] * 3), "must hold (sequences of )?numbers.* Got (the text )?'a'"),
    "complex": (bits(30, 5) * 1j, "Complex data not supported"),
    "sparse NaN": (sparse.csr_array(spoil(bits(30, 5), float("nan"))), "contains NaN"),
}


@pytest.mark.parametrize("case", BAD_X)
@every_model
def test_fit_refuses_what_is_no_table_of_finite_numbers(name, case):
    X, match = BAD_X[case]
    refuse_unfitted_and_fitted(name, {}, lambda model: model.fit(X), ValueError, match)
    refuse_unfitted_and_fitted(name, {}, lambda model: model.partial_fit(X), ValueError, match)


@pytest.mark.parametrize("method", ["score_samples", "score", "score_features", "conditionals"])
@pytest.mark.parametrize("case", [case for case in BAD_X if case != "no columns"])
@every_model
def test_a_fitted_model_refuses_what_is_no_table_of_finite_numbers(name, case, method):
    X, match = BAD_X[case]
    model, _ = fitted(name)
    refuse(model, lambda m: getattr(m, method)(X), ValueError, match)


@pytest.mark.parametrize(
    "method", ["score_samples", "score", "score_features", "conditionals", "impute", "partial_fit"]
)
@every_model
def test_the_number_of_features_must_stay(name, method):
    model = make(name).partial_fit(bits(30, 5))
    match = "X has 4 features, but .* is expecting 5 features"
    refuse(model, lambda m: getattr(m, method)(bits(30, 4)), ValueError, match)


@every_model
def test_validation_rows_must_have_the_features_and_support_of_the_others(name):
    X = bits(30, 5)
    for X_val, match in [
        (bits(30, 4), "X_val has 4 features, but .* is expecting 5 features"),
        (spoil(X, float("nan")), "contains NaN"),
        (spoil(X, 3), "X_val must hold 0 or 1 .* Got 3 in row 7, column 2 instead"),
    ]:
        refuse_unfitted_and_fitted(
            name, {}, lambda m, V=X_val: m.fit(X, X_val=V), ValueError, match
        )


# ---- supports

BAD_VALUES = [
    ("bernoulli", 2, "0 or 1 for a bernoulli conditional. Got 2 in row 7, column 2"),
    ("bernoulli", 0.5, "0 or 1 for a bernoulli conditional. Got 0.5 in row 7, column 2"),
    ("bernoulli", -1.0, "0 or 1 for a bernoulli conditional. Got -1 in row 7, column 2"),
    (
        "categorical",
        9,
        "one of the levels seen in fit for a categorical conditional. Got 9 in row 7, ",
    ),
    (
        "categorical",
        0.5,
        "one of the levels seen in fit for a categorical conditional. Got 0.5 in row 7",
    ),
]


@pytest.mark.parametrize("order", ["natural", [4, 3, 2, 1, 0]])
@pytest.mark.parametrize(
    "method", ["score_samples", "score", "score_features", "conditionals", "impute"]
)
@pytest.mark.parametrize(("conditional", "value", "match"), BAD_VALUES)
@every_model
def test_a_value_outside_the_support_is_shown_with_its_place(
    name, conditional, value, match, method, order
):
    model, X = fitted(name, conditional, n=600, order=order)
    bad = spoil(spoil(spoil(X, value), value, 7, 4), value, 400, 0)
    refuse(model, lambda m: getattr(m, method)(bad), ValueError, rf"X must hold {re.escape(match)}")


@pytest.mark.parametrize("value", [2, 0.5])
@every_model
def test_fit_refuses_values_outside_a_chosen_support(name, value):
    bad = spoil(bits(600, 5), value, 300, 1)
    match = f"X must hold 0 or 1 .* Got {value} in row 300, column 1"
    parameters = {"distribution": "bernoulli"}
    refuse_unfitted_and_fitted(name, parameters, lambda m: m.fit(bad), ValueError, match)


@every_model
def test_partial_fit_refuses_levels_that_the_first_chunk_did_not_have(name):
    known = conditionals.Categorical("error")
    model = make(name, distribution=known).partial_fit(levels(30, 5))
    bad = spoil(levels(30, 5), 9)
    match = "X must hold one of the levels seen in fit .* Got 9 in row 7, column 2"
    refuse(model, lambda m: m.partial_fit(bad), ValueError, match)


# ---- unfitted, names, weights


@pytest.mark.parametrize(
    "call",
    [
        lambda m: m.score_samples(bits(3, 5)),
        lambda m: m.score(bits(3, 5)),
        lambda m: m.score_features(bits(3, 5)),
        lambda m: m.conditionals(bits(3, 5)),
        lambda m: m.sample(),
        lambda m: m.impute(bits(3, 5)),
        lambda m: m.save("never-written"),
        lambda m: m.params_,
        lambda m: m.n_parameters_,
    ],
)
@every_model
def test_an_unfitted_model_says_so(name, call):
    refuse(make(name), call, NotFittedError, f"This {name} instance is not fitted yet")


@pytest.mark.parametrize("method", ["score_samples", "sample", "impute", "partial_fit"])
@every_model
def test_feature_names_must_stay(name, method):
    X = pd.DataFrame(bits(30, 3), columns=["a", "b", "c"])
    model = make(name).partial_fit(X)
    for columns in (["a", "b", "d"], ["c", "b", "a"]):
        other = X.set_axis(columns, axis=1)
        if method != "sample":
            refuse(model, lambda m, X=other: getattr(m, method)(X), ValueError, "feature names")
        elif "d" in columns:  # evidence may have some columns, in any order
            refuse(model, lambda m, X=other: m.sample(30, evidence=X), ValueError, "unseen .*\n- d")
        else:
            assert (model.sample(30, evidence=other)["a"] == other["a"]).all()


BAD_WEIGHTS = [
    (np.ones(29), r"sample_weight must have shape \(30,\), one weight a row. Got \(29,\) instead"),
    (np.ones((30, 1)), r"sample_weight must have shape \(30,\), one weight a row. Got \(30, 1\)"),
    (3.0, r"sample_weight must have shape \(30,\)"),
    (np.r_[-1, np.ones(29)], "sample_weight must be finite and not negative"),
    (np.r_[np.nan, np.ones(29)], "sample_weight must be finite and not negative"),
    (np.r_[np.inf, np.ones(29)], "sample_weight must be finite and not negative"),
    (np.zeros(30), "sample_weight must have a positive entry. Got zeros alone"),
    (["a"] * 30, "sample_weight must"),
]


@pytest.mark.parametrize(("weight", "match"), BAD_WEIGHTS)
@every_model
def test_weights_must_be_one_a_row_and_not_negative(name, weight, match):
    X = bits(30, 5)
    for method in ("fit", "partial_fit"):
        refuse_unfitted_and_fitted(
            name, {}, lambda m, method=method: getattr(m, method)(X, sample_weight=weight),
            ValueError, match,
        )  # fmt: skip
    model, _ = fitted(name)
    refuse(model, lambda m: m.score(X, sample_weight=weight), ValueError, match)


# ---- sample and impute

BAD_SAMPLE = [
    ({"n_samples": 0}, "n_samples must be an int of at least 1. Got 0 instead"),
    ({"n_samples": -3}, "n_samples must be an int of at least 1"),
    ({"n_samples": 2.0}, "n_samples must be an int of at least 1. Got 2.0 instead"),
    ({"n_samples": True}, "n_samples must be an int of at least 1"),
    ({"n_samples": "3"}, "n_samples must be an int of at least 1. Got '3' instead"),
    ({"temperature": 0}, "temperature must be a finite number above 0. Got 0 instead"),
    ({"temperature": -1.0}, "temperature must be a finite number above 0"),
    ({"temperature": np.inf}, "temperature must be a finite number above 0"),
    ({"temperature": np.nan}, "temperature must be a finite number above 0"),
    ({"temperature": "hot"}, "temperature must be a finite number above 0. Got 'hot' instead"),
    ({"random_state": "seed"}, "seed"),
    ({"evidence": np.zeros(4)}, r"evidence must have shape \(5,\) or \(1, 5\). Got \(4,\) instead"),
    ({"evidence": np.zeros((2, 5)), "n_samples": 3}, r"\(5,\) or \(3, 5\). Got \(2, 5\) instead"),
    ({"evidence": np.zeros((2, 2, 5))}, r"evidence must have shape"),
    ({"evidence": np.full(5, 3.0)}, "evidence must hold 0 or 1 .* Got 3 in row 0, column 0"),
    ({"evidence": [None, 7, None, 2, None]}, "evidence must hold 0 or 1 .* in row 0, column 1"),
    ({"evidence": [np.nan, np.inf] + [np.nan] * 3}, "evidence must hold 0 or 1 .* Got inf"),
    ({"evidence": ["a"] * 5}, "evidence must"),
]


@pytest.mark.parametrize(("arguments", "match"), BAD_SAMPLE)
@every_model
def test_sample_names_the_bad_argument(name, arguments, match):
    model, _ = fitted(name)
    refuse(model, lambda m: m.sample(**arguments), ValueError, match)


@pytest.mark.parametrize("value", [np.inf, -np.inf])
@every_model
def test_gaussian_evidence_must_be_finite(name, value):
    model, _ = fitted(name, "gaussian")
    evidence = [np.nan, value, np.nan, 1.0, np.nan]
    match = "evidence must hold finite numbers .* in row 0, column 1"
    refuse(model, lambda m: m.sample(evidence=evidence), ValueError, match)


@pytest.mark.parametrize("argument", ["n_draws", "n_particles"])
@pytest.mark.parametrize("value", [0, -1, 1.5, "2", True])
@every_model
def test_impute_names_the_bad_argument(name, argument, value):
    model, X = fitted(name)
    match = f"{argument} must be an int of at least 1. Got {value!r} instead"
    refuse(model, lambda m: m.impute(X, **{argument: value}), ValueError, match)


@pytest.mark.parametrize("conditional", DATA)
@every_model
def test_a_message_about_a_numpy_value_reads_like_a_number(name, conditional):
    model, X = fitted(name, conditional)
    bad = X.astype(float)
    bad[0, 0] = np.inf
    with pytest.raises(ValueError, match="inf") as caught:
        model.score(bad)
    assert "np.float" not in str(caught.value)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore:X has .* as far from the median:UserWarning")
@pytest.mark.parametrize("conditional", [*REAL, "auto"])
@pytest.mark.parametrize("size", [1e150, 1e200, 1e290, 1e307, 1.7e308])
@every_model
def test_huge_numbers_are_modelled_or_refused_by_name(name, size, conditional):
    X = np.random.default_rng(0).normal(size=(60, 3))
    for huge in (spoil(X, size), np.where(np.arange(3) == 2, X / 4 * size, X)):
        model = make(name, distribution=conditional, max_iter=3)
        said = ""
        try:
            model.fit(huge)
        except ValueError as error:
            said = str(error)
        if said:
            assert re.search(r"X must .* column 2", said)
            assert not hasattr(model, "theta_")
        else:
            assert np.isfinite(model.sample(50, random_state=0)).all()
            assert np.isfinite(model.score_samples(huge)).all()
