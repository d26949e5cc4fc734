"""Scores do not depend on what X comes in; samples come back in the type that fit was given."""

import functools

import hypothesis
import numpy as np
import pandas as pd
import pytest
from common import (
    COMPOSITIONS,
    CONDITIONALS,
    DATA,
    MODELS,
    assert_same_bits,
    bits,
    distribution,
    fit,
    fitted,
    levels,
    make,
    reals,
)
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from scipy import sparse
from sklearn.base import clone

every_model = pytest.mark.parametrize("name", MODELS)
every_conditional = pytest.mark.parametrize("conditional", CONDITIONALS)
every_composition = pytest.mark.parametrize(("name", "conditional"), COMPOSITIONS)


def spread(X):
    """Return X as a view with gaps between rows and columns."""
    wide = np.zeros((2 * X.shape[0], 3 * X.shape[1]), X.dtype)
    wide[::2, ::3] = X
    return wide[::2, ::3]


def read_only(X):
    X = X.copy()
    X.flags.writeable = False
    return X


CONTAINERS = {
    "C": lambda X: X,
    "Fortran": np.asfortranarray,
    "read-only": read_only,
    "with gaps": spread,
    "backwards": lambda X: X[::-1].copy()[::-1],
    "lists": lambda X: X.tolist(),
    "frame": lambda X: pd.DataFrame(X, columns=[f"x{d}" for d in range(X.shape[1])]),
    "CSR array": sparse.csr_array,
    "CSR matrix": sparse.csr_matrix,
    "CSC array": sparse.csc_array,
    "COO array": sparse.coo_array,
}
BINARY_TYPES = [bool, np.uint8, np.int8, np.int64, np.float32, np.float64]
every_container = pytest.mark.parametrize("container", CONTAINERS)


def dense(X):
    return X.toarray() if sparse.issparse(X) else np.asarray(X)


@functools.cache
def from_array(name, conditional):
    """Return a model, the array that it was fitted to, and its scores of rows and features."""
    X = DATA[conditional](300, 5)
    settings = {"distribution": distribution(conditional, 5), "order": "random"}
    model = fit(make(name, **settings), X)
    return model, X, model.score_samples(X), model.score_features(X)


@every_container
@every_composition
def test_fits_and_scores_are_the_same_in_any_container(name, conditional, container):
    plain, X, rows, features = from_array(name, conditional)
    other = fit(clone(plain), CONTAINERS[container](X))
    assert_same_bits(other.theta_, plain.theta_)
    held = CONTAINERS[container](X)
    assert_same_bits(other.score_samples(held), rows)
    assert_same_bits(other.score_features(held), features)


@pytest.mark.parametrize("dtype", BINARY_TYPES, ids=lambda dtype: dtype.__name__)
@every_model
def test_bits_are_the_same_in_any_type(name, dtype):
    X = bits(60, 4)
    plain = fit(make(name), X)
    other = fit(make(name), X.astype(dtype))
    assert_same_bits(other.theta_, plain.theta_)
    assert_same_bits(other.score_samples(X.astype(dtype)), plain.score_samples(X))
    drawn = other.sample(10, random_state=0)
    assert drawn.dtype == dtype
    assert_same_bits(drawn, plain.sample(10, random_state=0).astype(dtype))


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64, np.float64])
@every_model
def test_levels_are_the_same_in_any_type(name, dtype):
    X = levels(60, 4)
    plain = fit(make(name, distribution="categorical"), X)
    other = fit(make(name, distribution="categorical"), X.astype(dtype))
    assert_same_bits(other.theta_, plain.theta_)
    assert_same_bits(
        other.sample(10, random_state=0), plain.sample(10, random_state=0).astype(dtype)
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@every_model
def test_samples_of_reals_have_the_type_of_the_data(name, dtype):
    X = reals(60, 4).astype(dtype)
    model = fit(make(name), X)
    assert model.sample(3, random_state=0).dtype == dtype
    held = np.array([X[0, 0], np.nan, np.nan, X[0, 3]])
    assert_same_bits(model.sample(3, evidence=held, random_state=0)[:, 0], np.repeat(X[0, 0], 3))


@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
@every_model
def test_real_samples_of_whole_numbers_are_neither_cut_nor_wrapped(name, dtype):
    X = np.random.default_rng(0).poisson(1.0, (500, 3)).astype(dtype)
    drawn = fit(make(name, distribution="gaussian"), X).sample(2000, random_state=0)
    np.testing.assert_allclose(drawn.mean(axis=0), X.mean(axis=0), atol=0.15)
    np.testing.assert_allclose(drawn.std(axis=0), X.std(axis=0), atol=0.15)


@every_conditional
@every_model
def test_a_frame_comes_back_as_a_frame(name, conditional):
    X = pd.DataFrame(DATA[conditional](60, 3), columns=["a", "b", "c"])
    settings = {"distribution": distribution(conditional, 3), "order": "random"}
    model = fit(make(name, **settings), X)
    assert model.feature_names_in_.tolist() == ["a", "b", "c"]
    drawn = model.sample(7, random_state=0)
    assert isinstance(drawn, pd.DataFrame)
    assert drawn.columns.equals(X.columns)
    assert drawn.dtypes.equals(X.dtypes)
    plain = fit(make(name, **settings), X.to_numpy())
    assert_same_bits(drawn.to_numpy(), plain.sample(7, random_state=0))


@every_model
def test_a_frame_of_several_types_keeps_each_columns_type(name):
    X = pd.DataFrame({"a": bits(60, 1)[:, 0].astype(bool), "b": bits(60, 2)[:, 1].astype(np.int64)})
    drawn = fit(make(name), X).sample(7, random_state=0)
    assert drawn.dtypes.equals(X.dtypes)


@every_model
def test_evidence_in_a_frame_may_have_none(name):
    X = pd.DataFrame(bits(60, 3), columns=["a", "b", "c"])
    model = fit(make(name), X)
    evidence = pd.DataFrame([[1, None, 0]] * 5, columns=["a", "b", "c"], dtype=object)
    drawn = model.sample(5, evidence=evidence, random_state=0)
    assert isinstance(drawn, pd.DataFrame)
    assert drawn.dtypes.equals(X.dtypes)
    assert (drawn["a"] == 1).all()
    assert (drawn["c"] == 0).all()


@pytest.mark.parametrize("kind", [sparse.csr_array, sparse.csr_matrix])
@every_model
def test_sparse_data_comes_back_sparse(name, kind):
    X = bits(60, 4)
    model = fit(make(name), kind(X))
    drawn = model.sample(9, random_state=0)
    assert sparse.issparse(drawn)
    assert drawn.format == "csr"
    assert drawn.dtype == X.dtype
    assert_same_bits(drawn.toarray(), fit(make(name), X).sample(9, random_state=0))


@every_model
def test_polars_frames_are_taken_and_come_back(name):
    polars = pytest.importorskip("polars")
    X = polars.DataFrame(bits(60, 3), schema=["a", "b", "c"])
    model = fit(make(name), X)
    assert model.feature_names_in_.tolist() == ["a", "b", "c"]
    assert_same_bits(model.theta_, fit(make(name), X.to_numpy()).theta_)
    drawn = model.sample(5, random_state=0)
    assert isinstance(drawn, polars.DataFrame)
    assert drawn.schema == X.schema


@every_conditional
@every_model
def test_imputing_fills_what_is_missing_and_keeps_the_rest(name, conditional):
    model, X = fitted(name, conditional)
    holes = X[:40].astype(float)
    holes[np.random.default_rng(0).random(holes.shape) < 0.3] = np.nan
    before = holes.copy()
    full = model.impute(holes, random_state=0)
    assert_same_bits(holes, before)
    assert full.shape == holes.shape
    known = ~np.isnan(holes)
    assert (full[known] == holes[known]).all()
    assert np.isfinite(model.score_samples(full)).all()
    assert model.impute(holes, n_draws=3, random_state=0).shape == (3, *holes.shape)
    names = list("abcde")
    model = fit(model, pd.DataFrame(X, columns=names))
    frame = model.impute(pd.DataFrame(holes, columns=names), random_state=0)
    assert frame.columns.tolist() == names
    np.testing.assert_allclose(frame.to_numpy(), full, rtol=1e-12)


@every_conditional
@every_model
def test_no_rows_score_nothing_but_an_error(name, conditional):
    model, X = fitted(name, conditional)
    with pytest.raises(ValueError, match="0 sample"):
        model.score_samples(X[:0])


# ---- hypothesis


@st.composite
def tables(draw):
    """Return a conditional's name, data, a container, a type, an order and weights."""
    conditional = draw(st.sampled_from(CONDITIONALS))
    n, D = draw(st.integers(2, 40)), draw(st.integers(1, 9))
    X = DATA[conditional](n, D, seed=draw(st.integers(0, 99)))
    if conditional == "bernoulli":
        X = X.astype(draw(st.sampled_from(BINARY_TYPES)))
    order = draw(st.permutations(range(D)))
    weights = draw(st.lists(st.sampled_from([0, 0.5, 1, 2]), min_size=n, max_size=n))
    return {
        "conditional": conditional,
        "X": X,
        "container": CONTAINERS[draw(st.sampled_from(list(CONTAINERS)))],
        "order": order,
        "weight": np.array(weights) if np.any(weights) else None,
        "markov_order": draw(st.sampled_from([None, 1, 3])),
        "batch_size": draw(st.integers(1, 50)),
    }


@every_model
@hypothesis.settings(max_examples=60, suppress_health_check=list(HealthCheck), derandomize=True)
@given(drawn=tables(), split=st.integers(1, 39))
def test_scores_are_independent_of_container_and_batch(name, drawn, split):
    chosen = {key: drawn[key] for key in ("order", "markov_order", "batch_size")}
    chosen |= {"max_iter": 2}
    chosen |= {"distribution": distribution(drawn["conditional"], drawn["X"].shape[1])}
    X, held, weight = drawn["X"], drawn["container"](drawn["X"]), drawn["weight"]
    plain = fit(make(name, **chosen), X, sample_weight=weight)
    other = fit(make(name, **chosen), held, sample_weight=weight)
    assert_same_bits(other.theta_, plain.theta_)
    scores = plain.score_samples(X)
    assert np.isfinite(scores).all()
    assert_same_bits(other.score_samples(held), scores)
    features = plain.score_features(X)
    np.testing.assert_allclose(features.sum(axis=1), scores, rtol=1e-5, atol=1e-5)
    assert_same_bits(other.score_features(held), features)
    for part in (slice(0, split), slice(split, None)):
        if len(X[part]):
            assert_same_bits(plain.score_samples(X[part]), scores[part])
    assert dense(other.sample(3, random_state=0)).shape == (3, X.shape[1])
