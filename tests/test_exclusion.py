"""Samples that are no rows of a table: which stay, which laws they follow, when it fails."""

import numpy as np
import pandas as pd
import polars
import pytest
from common import assert_same_bits, fit, fitted, make, states
from scipy import sparse

from fastar import Mixture

D = 4


def keys(rows):
    return {tuple(row) for row in np.asarray(rows).tolist()}


def mixture():
    model, X = fitted(D=D)
    return fit(Mixture(model, n_members=2, random_state=0, n_jobs=1), X), X


@pytest.mark.parametrize("kind", ["NADE", "mixture"])
def test_samples_are_those_of_the_density_outside_the_table(kind):
    model, _ = mixture() if kind == "mixture" else fitted("NADE", D=D)
    everything = states("bernoulli", D)
    excluded = everything[:10]
    drawn = model.sample(20_000, exclude=excluded, random_state=0)
    assert drawn.dtype == excluded.dtype
    p = np.exp(model.score_samples(everything))
    p[:10] = 0
    place = drawn.astype(int) @ (2 ** np.arange(D)[::-1])
    share = np.bincount(place, minlength=2**D) / len(drawn)
    assert (share[:10] == 0).all()
    np.testing.assert_allclose(share, p / p.sum(), atol=0.015)


def test_what_is_allowed_stays_as_it_was_drawn():
    model, X = fitted("NADE", "categorical", D=D)
    plain = model.sample(200, random_state=0)
    taken = keys(X)
    drawn = model.sample(200, exclude=X, random_state=0)
    stays = np.array([tuple(row) not in taken for row in plain.tolist()])
    assert 0 < stays.sum() < 200
    np.testing.assert_array_equal(drawn[stays], plain[stays])
    assert not keys(drawn) & taken
    elsewhere = np.full((1, D), 77)
    assert_same_bits(model.sample(200, exclude=elsewhere, random_state=0), plain)


def test_unique_samples_differ_from_one_another_too():
    model, _ = fitted(D=D)
    everything = states("bernoulli", D)
    drawn = model.sample(8, exclude=everything[:6], unique=True, random_state=0)
    assert len(keys(drawn)) == 8
    assert not keys(drawn) & keys(everything[:6])


@pytest.mark.parametrize("kind", ["NADE", "mixture"])
def test_each_row_keeps_its_evidence(kind):
    model, X = mixture() if kind == "mixture" else fitted("NADE", D=D)
    evidence = np.where(np.arange(D) == 2, X[:40], np.nan)
    drawn = model.sample(40, evidence=evidence, exclude=states("bernoulli", D)[1::3])
    np.testing.assert_array_equal(drawn[:, 2], X[:40, 2])
    one = model.sample(40, evidence={2: 1}, exclude=states("bernoulli", D)[1::3], random_state=0)
    assert (one[:, 2] == 1).all()


def test_each_row_keeps_its_context():
    rng = np.random.default_rng(0)
    context = rng.integers(0, 2, (400, 1))
    X = np.where(rng.random((400, D)) < 0.97, context, 1 - context)
    model = fit(make(max_iter=200, learning_rate_init=0.05), X, context=context.astype(float))
    given = (np.arange(60) % 2)[:, None].astype(float)
    excluded = np.array([[0, 0, 0, 0], [1, 1, 1, 1]])
    drawn = model.sample(60, context=given, exclude=excluded, random_state=0)
    near = (drawn == given).sum(axis=1)
    assert (near < D).all()
    assert near.mean() > 2.5


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames_exclude_frames(library, tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({
        "state": rng.choice(["A", "B", "C"], 300),
        "many": rng.integers(0, 4, 300) + 2**60,
        "rich": rng.random(300) < 0.5,
    })  # fmt: skip
    frame = frame if library == "pandas" else polars.from_pandas(frame)
    model = fit(make(), frame)
    excluded = frame.head(9)
    drawn = model.sample(100, exclude=excluded, random_state=0)
    assert type(drawn) is type(frame)
    taken = keys(excluded.to_numpy())
    assert not keys(drawn.to_numpy()) & taken
    assert keys(model.sample(100, random_state=0).to_numpy()) & taken
    model.sample(100, exclude=excluded, random_state=0, out=tmp_path / "drawn.parquet")
    assert not keys(polars.read_parquet(tmp_path / "drawn.parquet").to_numpy()) & taken


def test_sparse_tables_exclude_sparse_tables():
    X = sparse.csr_array(fitted(D=D)[1])
    model = fit(make(), X)
    excluded = sparse.csr_array(states("bernoulli", D)[::2])
    drawn = model.sample(50, exclude=excluded, random_state=0)
    assert sparse.issparse(drawn)
    assert (drawn.toarray()[:, -1] == 1).all()


def test_zeros_of_both_signs_are_one_value():
    X = np.random.default_rng(0).choice([-1.5, 0.0, 2.5], (300, 2))
    model = fit(make(), X)
    drawn = model.sample(300, exclude=np.array([[-0.0, 0.0], [0.0, 2.5]]), random_state=0)
    assert not keys(drawn) & {(0.0, 0.0), (0.0, 2.5)}


def test_the_same_bits_for_any_threads():
    model, X = fitted("NADE", "categorical", D=D)
    found = [
        model.set_params(n_jobs=n_jobs).sample(300, exclude=X[:50], unique=False, random_state=0)
        for n_jobs in (1, 2, 3)
    ]
    assert_same_bits(found[0], found[1])
    assert_same_bits(found[0], found[2])


@pytest.mark.parametrize("kind", ["NADE", "mixture"])
def test_what_cannot_be_is_refused(kind):
    model, X = mixture() if kind == "mixture" else fitted("NADE", D=D)
    with pytest.raises(ValueError, match="'exclude': a fitted model does not keep its training"):
        model.sample(3, unique=True)
    with pytest.raises(ValueError, match="3 of 3 samples were among its 16 rows in each of 100"):
        model.sample(3, exclude=states("bernoulli", D))
    with pytest.raises(ValueError, match="or drawn before, in each of 100"):
        model.sample(17, exclude=states("bernoulli", D)[:1], unique=True)
    with pytest.raises(ValueError, match="features"):
        model.sample(3, exclude=X[:, :2])
    for n in (2, 4):
        with pytest.raises(ValueError, match="evidence must have shape"):
            model.sample(3, exclude=X[:2], evidence=np.full((n, D), np.nan))


def test_a_file_has_no_unique_rows(tmp_path):
    model, X = fitted(D=D)
    with pytest.raises(ValueError, match=r"unique must be False with 'out'. Got True"):
        model.sample(3, exclude=X, unique=True, out=tmp_path / "drawn.parquet")
