"""Densities of real columns over atoms and numbers: normalised, as drawn, as told."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from common import fit, make
from real_columns import F8, KINDS, column, every_column, fitted, integral, table
from scipy import stats

pytestmark = pytest.mark.kernels


def shaken(own, seed=0):
    """Return raw outputs (P,) that spread components and give each atom some mass."""
    return np.random.default_rng(seed).standard_normal(own.output_offsets[-1])


def log_prob(own, raw, x):
    codes = own.encode(np.asarray(x, float)[:, None], F8)
    return own.log_prob(np.tile(raw, (len(x), 1)), codes, 1)[1]


def below_support(name, n=2000):
    """Return the probability of all values below the support, which columns have from 0 on."""
    return 1 / (2 * n + 2) if KINDS[name] else 0.0


@pytest.mark.parametrize("seed", range(3))
@every_column
def test_a_density_is_normalised_over_atoms_and_length(name, seed):
    own = fitted(column(name), n_components=4)
    raw = shaken(own, seed)
    atoms = own.atoms_of_columns[0]
    mass = np.exp(log_prob(own, raw, atoms)).sum() if len(atoms) else 0.0

    def density(x):  # what rounding makes of an end may be an atom
        return np.exp(np.where(np.isin(x, atoms), -np.inf, log_prob(own, raw, x)))

    assert mass + integral(own, density) == pytest.approx(1 - below_support(name), abs=1e-6)
    if KINDS[name]:
        assert np.isfinite(log_prob(own, raw, np.array([-1e300, -1.0, -5e-324]))).all()
        ends = np.append(0, own.maps.spread[0] * 2.0 ** np.arange(-10, 30))
        nodes, share = np.polynomial.legendre.leggauss(20)
        below = sum(
            (b - a) / 2 * share @ np.exp(log_prob(own, raw, -(a + b) / 2 - (b - a) / 2 * nodes))
            for a, b in pairwise(ends)
        )
        assert below == pytest.approx(below_support(name), rel=1e-6)


@pytest.mark.parametrize("seed", range(2))
@every_column
def test_what_is_said_of_a_distribution_is_that_of_its_density(name, seed):
    own = fitted(column(name), n_components=4)
    raw, atoms = shaken(own, seed), own.atoms_of_columns[0]
    x = np.quantile(column(name), np.linspace(0.02, 0.98, 9))
    codes = own.encode(x[:, None], F8)
    said = own.distribution_params(np.tile(raw, (9, 1)), codes)
    other = below_support(name)
    mass = np.exp(log_prob(own, raw, atoms)) if len(atoms) else np.zeros(0)
    np.testing.assert_allclose(said["atoms"][0][0], mass, atol=1e-12)
    for value, cdf in zip(x, said["cdf"][:, 0], strict=True):

        def below(t, value=value):
            inside = (t <= value) & ~np.isin(t, atoms)
            return np.where(inside, np.exp(log_prob(own, raw, t)), 0)

        expected = other + mass[atoms <= value].sum() + integral(own, below, 1000)
        assert cdf == pytest.approx(expected, abs=5e-3)
    quantiles = said["quantiles"][0, 0]
    assert (np.diff(quantiles) >= 0).all()
    at = own.distribution_params(np.tile(raw, (3, 1)), own.encode(quantiles[:, None], F8))["cdf"]
    before = at[:, 0] - np.array([mass[atoms == q].sum() for q in quantiles])
    share = other + (1 - other) * np.array([0.05, 0.5, 0.95])
    assert (before <= share + 1e-9).all()
    assert (at[:, 0] >= share - 1e-9).all()
    ends = np.array([[-1e300], [1e300], [np.nan]])
    cdf = own.distribution_params(np.tile(raw, (3, 1)), own.encode(ends, F8))["cdf"][:, 0]
    np.testing.assert_allclose(cdf, [0, 1, np.nan], atol=1e-9)


def test_moments_without_tails_are_the_mixtures():
    own = fitted(np.random.default_rng(0).normal(size=500), n_components=1)
    said = own.distribution_params(np.array([[0.0, 0.3, -1.0]]), np.zeros((1, 1)))
    scale = own.maps.scale[0]
    assert said["mean"][0, 0] == pytest.approx(own.maps.location[0] + 0.3 * scale)
    assert said["variance"][0, 0] == pytest.approx((np.exp(-1) + 1e-6) * scale**2)


@pytest.mark.parametrize("order", ["natural", [2, 0, 1]])
@pytest.mark.parametrize("names", [None, list("abc")])
def test_the_atoms_of_columns_are_told_by_column(names, order):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 3))
    X[:200, 0], X[:, 2] = (
        0.5,
        np.where(rng.random(400) < 0.5, [0.25] * 400, rng.choice([1, 2], 400)),
    )
    frame = X if names is None else pd.DataFrame(X, columns=names)
    own = fit(make("NADE", distribution="number", order=order, max_iter=3), frame)
    said = own.conditionals(frame)
    keys = names or [0, 1, 2]
    assert list(said["atoms"]) == keys
    assert [said["atoms"][key].shape for key in keys] == [(400, 1), (400, 0), (400, 3)]
    assert said["mean"].shape == (400, 3)
    scores = own.score_features(frame)
    at = X[:, 2] == 0.25
    np.testing.assert_allclose(np.log(said["atoms"][keys[2]][at, 0]), scores[at, 2], rtol=1e-4)
    mixed = fit(make("NADE", distribution=["number", "gaussian", "number"], order=order), frame)
    assert mixed.conditionals(frame)[keys[2]]["atoms"].shape == (400, 3)


@pytest.mark.parametrize("model", ["NADE", "MADE", "FVSBN"])
def test_samples_follow_the_density(model):
    X = table(1500)
    X[:, 3] = np.where(X[:, 1] > 0, X[:, 0], X[:, 3])  # what follows depends on atoms
    own = fit(make(model, distribution="number", max_iter=10), X)
    drawn = own.sample(4000, random_state=0)
    said = own.conditionals(drawn)
    for c, atoms in enumerate(own.distribution_.atoms_of_columns):
        upper = said["cdf"][:, c]
        jump = np.zeros(len(drawn))
        for a, atom in enumerate(atoms):
            is_atom = drawn[:, c] == atom
            mass = said["atoms"][c][:, a]
            jump[is_atom] = mass[is_atom]
            spread = np.sqrt((mass * (1 - mass)).sum())
            assert abs(is_atom.sum() - mass.sum()) < 5 * spread + 1, (c, atom)
        if own.distribution_.decimals[c] >= 0:
            continue  # samples are rounded
        uniform = upper - jump * np.random.default_rng(1).random(len(drawn))
        assert stats.kstest(uniform, "uniform").pvalue > 1e-4, c


def test_samples_look_like_the_columns():
    X = table(3000)
    drawn = fit(make("NADE", n_hidden=30, distribution="number", max_iter=60), X).sample(
        3000, random_state=0
    )
    assert (drawn[:, :3] >= 0).all()
    assert (drawn[:, 0] > 0).all()
    for c, atom in ((1, 0), (3, -3), (4, -1)):
        assert (drawn[:, c] == atom).mean() == pytest.approx((X[:, c] == atom).mean(), abs=0.05)
    np.testing.assert_array_equal(drawn[:, 2], np.round(drawn[:, 2], 1))
    for c in range(5):
        assert stats.ks_2samp(drawn[:, c], X[:, c]).statistic < 0.08, c
