"""Mixtures as estimators: containers, scikit-learn's tools, copies and files."""

import copy
import os
import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
from common import (
    MODELS,
    assert_same,
    assert_same_bits,
    bits,
    fit,
    fitted,
    make,
    reals,
)
from mixtures import (
    every_composition,
    every_weights,
    fitted_mixture,
    mixed,
    unconverged,
)
from scipy import sparse
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Binarizer
from sklearn.utils.estimator_checks import parametrize_with_checks

import fastar
from fastar import Mixture, conditionals
from fastar._core.files import read_arrays, write_arrays


@unconverged
@parametrize_with_checks(
    [
        mixed(name, n_members=2, n_jobs=2, weights=weights)
        for name in MODELS[:1]
        for weights in ("equal", "em")
    ]
)
def test_scikit_learns_own_checks_pass(estimator, check):
    check(estimator)


# ---- containers


@pytest.mark.parametrize("kind", ["pandas", "polars", "csr", "array"])
def test_samples_are_of_the_kind_that_fit_was_given(kind):
    X = bits(80, 3)
    table = {
        "pandas": lambda: pd.DataFrame(X, columns=["a", "b", "c"]).astype(
            {"b": bool, "c": "Int64"}
        ),
        "polars": lambda: pl.DataFrame(X, schema=["a", "b", "c"]),
        "csr": lambda: sparse.csr_array(X),
        "array": lambda: X,
    }[kind]()
    mixture = fit(mixed(weights="em"), table)
    drawn = mixture.sample(20, random_state=0)
    assert type(drawn) is type(table)
    assert drawn.shape == (20, 3)
    plain = fit(mixed(weights="em"), X)
    assert_same_bits(mixture.score_samples(table), plain.score_samples(X))
    values = drawn.toarray() if kind == "csr" else np.asarray(drawn).astype(int)
    np.testing.assert_array_equal(values, plain.sample(20, random_state=0))
    held = mixture.sample(4, evidence=[1, np.nan, 0], random_state=0)
    assert type(held) is type(table)
    if kind in ("pandas", "polars"):
        assert list(drawn.columns) == mixture.feature_names_in_.tolist() == ["a", "b", "c"]
        assert list(drawn.dtypes) == list(table.dtypes)
        assert all(
            member.feature_names_in_.tolist() == ["a", "b", "c"] for member in mixture.estimators_
        )
        with pytest.raises(ValueError, match="feature names"):
            mixture.score(table[["c", "b", "a"]])


def test_frames_may_have_validation_frames():
    frame, other = (pd.DataFrame(bits(80, 2, seed), columns=["a", "b"]) for seed in (0, 1))
    mixture = fit(mixed(weights="em"), frame, X_val=other)
    assert mixture.validation_curve_[-1] == pytest.approx(-mixture.score(other), rel=1e-9)


# ---- scikit-learn's tools


@pytest.mark.parametrize("copier", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
@every_weights
def test_copies_and_pickles_behave_alike(weights, copier):
    mixture, X = fitted_mixture(weights=weights)
    again = copier(mixture)
    assert_same_bits(again.score_samples(X), mixture.score_samples(X))
    assert_same_bits(again.sample(20, random_state=0), mixture.sample(20, random_state=0))


def test_a_clone_is_unfitted_and_fits_alike():
    mixture, X = fitted_mixture(weights="em")
    again = clone(mixture)
    assert not hasattr(again, "estimators_")
    assert_same_bits(fit(again, X).score_samples(X), mixture.score_samples(X))
    assert "NADE" in repr(mixture)


@unconverged
def test_grid_searches_reach_the_members_parameters():
    X = bits(120, 4)
    grid = {"estimator__learning_rate_init": [1e-7, 0.05], "n_members": [2]}
    search = GridSearchCV(mixed(), grid, cv=2).fit(X)
    assert search.best_params_ == {"estimator__learning_rate_init": 0.05, "n_members": 2}
    assert len(search.best_estimator_.estimators_) == 2
    wide = mixed().set_params(estimator__n_hidden=3).fit(X)
    assert {member.n_hidden for member in wide.estimators_} == {3}
    pipeline = make_pipeline(Binarizer(), mixed()).fit(X)
    assert pipeline.score_samples(X).shape == (120,)
    assert cross_val_score(mixed(), X, cv=2).shape == (2,)


# ---- files


def same_mixture(again, mixture, X):
    assert type(again) is Mixture
    assert_same_bits(again.score_samples(X), mixture.score_samples(X))
    assert_same_bits(again.weights_, mixture.weights_)
    assert again.n_parameters_ == mixture.n_parameters_
    assert again.n_features_in_ == mixture.n_features_in_
    assert_same(again.sample(20, random_state=0), mixture.sample(20, random_state=0))
    assert [type(member) for member in again.estimators_] == [
        type(member) for member in mixture.estimators_
    ]
    assert getattr(again, "validation_curve_", None) == getattr(mixture, "validation_curve_", None)


def described(value):
    """Return parameters with what stands for each conditional in its place."""
    if isinstance(value, dict):
        return {key: described(each) for key, each in value.items()}
    if isinstance(value, list):
        return [described(each) for each in value]
    return repr(value) if isinstance(value, conditionals.Conditional) else value


@pytest.mark.parametrize("weights", ["em", [0.2, 0, 1.3]], ids=str)
@every_composition
def test_a_loaded_mixture_is_the_saved_one(name, conditional, weights, tmp_path):
    mixture, X = fitted_mixture(name, conditional, weights=weights)
    mixture.save(tmp_path / "mixture")
    again = fastar.load(tmp_path / "mixture")
    same_mixture(again, mixture, X)
    assert os.listdir(tmp_path) == ["mixture"]
    assert_same_bits(fit(again, X).score_samples(X), fit(mixture, X).score_samples(X))
    parameters, others = again.get_params(), mixture.get_params()
    assert type(parameters.pop("estimator")) is type(others.pop("estimator"))
    assert described(parameters) == described(others)


def test_lists_frozen_members_and_mixtures_of_mixtures_are_saved_too(tmp_path):
    first, X = fitted(random_state=1)
    second, _ = fitted(random_state=2)
    inner = Mixture([make(n_hidden=3), FrozenEstimator(second)], weights=np.array([1, 3.0]))
    mixture = fit(Mixture([inner, FrozenEstimator(first), make()], weights="em", random_state=0), X)
    mixture.save(tmp_path / "mixture")
    again = fastar.load(tmp_path / "mixture")
    same_mixture(again, mixture, X)
    assert again.estimator[1] is again.estimators_[1]
    assert again.estimator[0].estimator[1] is again.estimators_[0].estimators_[1]
    assert_same_bits(again.estimators_[1].theta_, first.theta_)
    assert again.estimator[0].estimator[0].n_hidden == 3
    assert_same_bits(fit(again, X).score_samples(X), fit(mixture, X).score_samples(X))


def test_names_and_frames_survive(tmp_path):
    frame = pd.DataFrame(bits(60, 2), columns=["a", "b"])
    mixture = fit(mixed(), frame)
    mixture.save(tmp_path / "mixture")
    again = fastar.load(tmp_path / "mixture")
    assert again.feature_names_in_.tolist() == ["a", "b"]
    drawn = again.sample(5, random_state=0)
    pd.testing.assert_frame_equal(drawn, mixture.sample(5, random_state=0))
    assert_same_bits(again.score_samples(frame), mixture.score_samples(frame))


def test_what_is_not_the_librarys_is_not_saved(tmp_path):
    mixture = fit(Mixture([KernelDensity(), make()], random_state=0), reals(40, 2))
    with pytest.raises(ValueError, match=r"cannot hold KernelDensity\(\).*none of the library's"):
        mixture.save(tmp_path / "mixture")
    mixture, _ = fitted_mixture()
    mixture.set_params(estimator=[FrozenEstimator(fitted()[0])])
    with pytest.raises(ValueError, match="cannot hold FrozenEstimator"):
        mixture.save(tmp_path / "mixture")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "value", "blamed"),
    [
        ("weights", np.array([0.5, 0.5]), "weights"),
        ("weights", np.array([0.5, 0.6, -0.1]), "weights"),
        ("weights", np.array([0.5, 0.5, np.nan]), "weights"),
        ("members.1.theta", np.zeros(99, np.float32), "members.1.theta"),
        # no size is larger than all parameters together
        ("members.1.theta", np.zeros(3, np.float32), "members.1.network.n_hidden"),
        ("members.1.order", np.zeros(5, np.int64), "members.1.order"),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(name, value, blamed, tmp_path):
    path = str(tmp_path / "mixture")
    fitted_mixture()[0].save(path)
    header, arrays = read_arrays(path, "model")
    write_arrays(path, "model", header, arrays | {name: value})
    with pytest.raises(ValueError, match=rf"mixture' is damaged: {blamed} must "):
        fastar.load(path)


def test_a_crash_while_saving_leaves_the_old_file(monkeypatch, tmp_path):
    mixture, X = fitted_mixture()
    mixture.save(tmp_path / "mixture")
    before = (tmp_path / "mixture").read_bytes()

    def crash(*arguments):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", crash)
        with pytest.raises(OSError, match="disk full"):
            fit(mixture.set_params(random_state=1), X).save(tmp_path / "mixture")
    assert (tmp_path / "mixture").read_bytes() == before
    assert os.listdir(tmp_path) == ["mixture"]


def test_a_truncated_file_is_refused(tmp_path):
    fitted_mixture()[0].save(tmp_path / "mixture")
    whole = (tmp_path / "mixture").read_bytes()
    (tmp_path / "mixture").write_bytes(whole[:-7])
    with pytest.raises(ValueError, match="mixture' is damaged"):
        fastar.load(tmp_path / "mixture")
