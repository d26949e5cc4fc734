"""Mixtures of small models, for their tests."""

import numpy as np
import pytest
from common import COMPOSITIONS, DATA, DISCRETE, MODELS, bits, distribution, fit, make
from scipy import stats
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.frozen import FrozenEstimator

from fastar import Mixture

every_model = pytest.mark.parametrize("name", MODELS)
every_composition = pytest.mark.parametrize(("name", "conditional"), COMPOSITIONS)
every_discrete = pytest.mark.parametrize("conditional", DISCRETE)
every_weights = pytest.mark.parametrize("weights", ["equal", "em", [0.2, 0, 1.3]], ids=str)
unconverged = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def mixed(name="NADE", n_members=3, weights="equal", n_jobs=1, **parameters):
    """Return an unfitted mixture of small models with orders of their own."""
    member = make(name, **{"order": "random"} | parameters)
    settings = {"n_members": n_members, "weights": weights, "n_jobs": n_jobs}
    return Mixture(member, **settings, random_state=0)


def fitted_mixture(name="NADE", conditional="bernoulli", n=300, D=5, **parameters):
    """Return a fitted one and its data."""
    X = DATA[conditional](n, D)
    chosen = distribution(conditional, D)
    return fit(mixed(name, distribution=chosen, **parameters), X), X


def frozen(*members, weights="equal", X=None):
    """Return a mixture of members that are fitted already."""
    D = members[0].n_features_in_
    listed = [FrozenEstimator(member) for member in members]
    return Mixture(listed, weights=weights, n_jobs=1).fit(bits(4, D) if X is None else X)


def members_scores(mixture, X):
    return np.column_stack([member.score_samples(X) for member in mixture.estimators_])


def assert_follows(drawn, rows, probability, significance=1e-3):
    """Compare drawn rows with the probabilities of all `rows` there can be by a chi-square test."""
    found, counts = np.unique(drawn, axis=0, return_counts=True)
    observed = np.zeros(len(rows))
    for row, count in zip(found, counts, strict=True):
        observed[(rows == row).all(axis=1)] = count
    assert observed.sum() == len(drawn)
    expected = probability / probability.sum() * len(drawn)
    rare = expected < 5
    if rare.any():
        observed = np.append(observed[~rare], observed[rare].sum())
        expected = np.append(expected[~rare], expected[rare].sum())
    assert stats.chisquare(observed, expected).pvalue > significance


def biased(p, D=3, **parameters):
    """Return a model of independent columns of which a share p is one."""
    X = (np.arange(200)[:, None] % 100 < 100 * p).repeat(D, axis=1).astype(np.uint8)
    rng = np.random.default_rng(0)
    X = rng.permuted(X, axis=0)
    model = fit(make("NADE", early_stopping=False, max_iter=1, **parameters), X)
    model.theta_[:] = 0
    model.params_["b"][:] = np.log(p / (1 - p))
    return model


class Recorder(DensityMixin, BaseEstimator):
    """Remembers what it was fitted with."""

    def fit(self, X, y=None, sample_weight=None):
        self.X_, self.sample_weight_ = X, sample_weight
        return self

    def score_samples(self, X):
        return np.zeros(len(X))


class Unweighted(Recorder):
    def fit(self, X, y=None):
        return super().fit(X)
