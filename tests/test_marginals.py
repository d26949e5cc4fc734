"""log p of part of a row: exhaustive sums and integrals, in all orders."""

import numpy as np
import pandas as pd
import pytest
from common import COMPOSITIONS, DATA, DISCRETE, MODELS, ORDERS, fit, fitted, make, states

from fastar import Mixture
from fastar._engine import particles
from fastar._kernels._conditionals import OBSERVED, SAMPLED, WEIGHTED
from fastar.conditionals import Categorical

pytestmark = pytest.mark.kernels

D = 5
VARIANTS = {
    "one network": {},
    "sets of masks": {"n_masks": 3},
    "orders": {"n_masks": 3, "order_agnostic": True},
}


def with_holes(X, seed=0, share=0.4):
    holes = np.random.default_rng(seed).random(X.shape) < share
    holes[:, 0] |= ~holes.any(axis=1)
    return np.where(holes, np.nan, X.astype(float))


def by_exhaustion(model, X, conditional):
    everything = states(conditional, X.shape[1])
    scores = model.score_samples(everything)
    agree = (np.isnan(X)[:, None] | (X[:, None] == everything)).all(axis=2)
    return np.array([np.logaddexp.reduce(scores[each]) for each in agree])


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("conditional", DISCRETE)
@pytest.mark.parametrize("name", MODELS)
def test_a_marginal_is_the_sum_over_all_that_is_missing(name, conditional, variant):
    if variant != "one network" and name != "MADE":
        return
    model, X = fitted(name, conditional, D=D, order="random", **VARIANTS[variant])
    X = with_holes(X[:8])
    estimate = model.log_marginal(X, n_particles=15_000, random_state=0)
    # some evidence is so unlikely that few samples carry its weight
    np.testing.assert_allclose(estimate, by_exhaustion(model, X, conditional), atol=0.15)
    assert (model.marginal_ess_ > 1000).all()


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("conditional", DISCRETE)
@pytest.mark.parametrize("name", MODELS)
def test_a_marginal_of_what_comes_first_is_exact_with_one_particle(name, conditional, order):
    model, X = fitted(name, conditional, D=D, order=ORDERS[order](D), dtype="float64")
    for known in range(D + 1):
        partial = X[:10].astype(float)
        partial[:, model.order_[known:]] = np.nan
        exact = by_exhaustion(model, partial, conditional)
        for random_state in range(2):
            found = model.log_marginal(partial, n_particles=1, random_state=random_state)
            np.testing.assert_allclose(found, exact, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("n_particles", [1, 3])
@pytest.mark.parametrize(("name", "settings"), [("MADE", VARIANTS["orders"]), ("NADE", {})])
def test_the_estimate_is_unbiased(name, settings, n_particles):
    model, X = fitted(name, D=D, **settings)
    row = with_holes(X[:1], seed=1, share=0.6)
    found = model.log_marginal(np.repeat(row, 20_000, axis=0), n_particles=n_particles)
    probability = np.exp(found)
    error = probability.mean() - np.exp(by_exhaustion(model, row, "bernoulli")[0])
    assert abs(error) < 5 * probability.std() / np.sqrt(len(probability))
    assert probability.std() > 0


def test_resampling_leaves_the_estimate_unbiased_and_keeps_more_particles(monkeypatch):
    rng = np.random.default_rng(0)
    X = (np.cumsum(rng.random((500, 12)) < 0.1, axis=1) % 2).astype(np.uint8)
    model = fit(make("NADE", n_hidden=20, max_iter=100), X)
    row = X[:1].astype(float)
    row[0, ::3] = np.nan
    rows = np.repeat(row, 3000, axis=0)
    ess = {}
    for stages in (1, 3):
        monkeypatch.setattr(particles, "_STAGES", stages)
        probability = np.exp(model.log_marginal(rows, n_particles=8, random_state=0))
        error = probability.mean() - np.exp(by_exhaustion(model, row, "bernoulli")[0])
        assert abs(error) < 5 * probability.std() / np.sqrt(len(probability))
        ess[stages] = model.marginal_ess_.mean()
    assert ess[3] > ess[1] * 1.05


@pytest.mark.parametrize("name", MODELS)
def test_a_marginal_density_is_an_integral_in_the_users_units(name):
    model, X = fitted(name, "gaussian", D=2, dtype="float64")
    X = X[:5].copy()
    step = (X[:, 0].max() - X[:, 0].min() + 200) / 4000
    grid = X[:, 0].min() - 100 + step * np.arange(4000)
    exact = [
        np.log(step * np.exp(model.score_samples(np.column_stack([grid, [x] * 4000]))).sum())
        for x in X[:, 1]
    ]
    X[:, 0] = np.nan
    estimate = model.log_marginal(X, n_particles=4000, random_state=0)
    np.testing.assert_allclose(estimate, exact, atol=0.15)


@pytest.mark.parametrize(("name", "conditional"), COMPOSITIONS)
def test_whole_rows_have_their_score_and_empty_rows_nothing(name, conditional):
    model, X = fitted(name, conditional, D=D)
    rows = X[:4].astype(float)
    rows[2:] = np.nan
    found = model.log_marginal(rows, n_particles=3)
    np.testing.assert_array_equal(found[:2], model.score_samples(X[:2]))
    np.testing.assert_allclose(found[2:], 0, atol=1e-12)
    np.testing.assert_allclose(model.marginal_ess_, 3)


@pytest.mark.parametrize(("name", "conditional"), COMPOSITIONS)
def test_a_marginal_has_the_same_bits_for_any_threads(name, conditional):
    model, X = fitted(name, conditional, D=D)
    X = with_holes(X[:40])
    found = [
        model.set_params(n_jobs=n_jobs).log_marginal(X, n_particles=5, random_state=0)
        for n_jobs in (1, 2, 3)
    ]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_none_in_a_frame_is_integrated_out():
    X = DATA["categorical"](300, 3)
    frame = pd.DataFrame({name: np.array(list("abc"))[X[:, d]] for d, name in enumerate("xyz")})
    model, _ = fitted("NADE", "categorical", D=3, dtype="float64")
    of_frame = fit(make(dtype="float64", distribution=Categorical("error")), frame)
    gaps = frame.head(10).copy()
    gaps.loc[:, "z"] = None
    known = model.log_marginal(np.c_[X[:10, :2], [np.nan] * 10], n_particles=1)
    np.testing.assert_allclose(of_frame.log_marginal(gaps, n_particles=1), known, rtol=1e-9)


@pytest.mark.parametrize(("name", "conditional"), COMPOSITIONS)
def test_what_a_walk_weighs_is_the_density_of_what_is_held(name, conditional):
    fit_model, X = fitted(name, conditional, D=D, dtype="float64")
    model = fit_model._model()
    network, kernel = model.network, model.conditional.kernel
    codes = model.codes(X[:23, model.order])
    noise = np.full((23, D, kernel.n_noise), 0.4)
    rng = np.random.default_rng(0)
    flags = rng.choice([SAMPLED, OBSERVED, WEIGHTED], (23, D)).astype(np.uint8)
    weight = np.ones(23)
    weights = network.materialise_weights(model.params, 1)
    network.sample(weights, kernel.draw(model.dtype, 1.0), noise, flags, codes, 1, weight=weight)
    raw, _ = network.forward(weights, codes, 1)
    logp, _ = kernel.log_prob(raw, codes, 1)
    np.testing.assert_allclose(weight - 1, (logp * (flags == WEIGHTED)).sum(axis=1), atol=1e-9)
    kept = flags != SAMPLED
    np.testing.assert_array_equal(codes[kept], model.codes(X[:23, model.order])[kept])


@pytest.mark.parametrize("bad", [0, 1.5, "many"])
def test_a_count_of_particles_that_is_none_is_refused(bad):
    model, X = fitted()
    with pytest.raises((ValueError, TypeError), match="n_particles"):
        model.log_marginal(X, n_particles=bad)


def test_a_mixtures_marginal_is_that_of_all_it_can_be():
    X = DATA["bernoulli"](200, D)
    mixture = fit(Mixture(make("NADE", order="random"), n_members=3, random_state=0), X)
    gaps = with_holes(X[:10])
    exact = by_exhaustion(mixture, gaps, "bernoulli")
    found = mixture.log_marginal(gaps, n_particles=5000, random_state=0)
    np.testing.assert_allclose(found, exact, atol=0.05)
    np.testing.assert_allclose(mixture.log_marginal(X[:10]), mixture.score_samples(X[:10]))


@pytest.mark.parametrize("settings", [{}, {"markov_order": 2}, {"order": "random"}])
@pytest.mark.parametrize(("name", "conditional"), COMPOSITIONS)
def test_rows_that_share_a_walk_have_the_bits_of_rows_alone(name, conditional, settings):
    estimator, X = fitted(name, conditional, D=8, **settings)
    model = estimator._model()
    network, kernel = model.network, model.conditional.kernel
    rng = np.random.default_rng(0)
    # groups of particles that agree up to a gap of their own, some with other neighbours between
    codes = np.repeat(model.codes(X[:20, model.order]), rng.integers(1, 20, 20), axis=0)
    flags = rng.choice([SAMPLED, OBSERVED, WEIGHTED], codes.shape, p=[0.2, 0.3, 0.5])
    flags = flags.astype(np.uint8)[np.repeat(np.arange(len(codes) // 8 + 1), 8)[: len(codes)]]
    flags[:, 0] = SAMPLED  # what comes before all that is wanted is added up in one
    noise = rng.random((*codes.shape, kernel.n_noise)).astype(model.dtype)
    capsule, weights = kernel.draw(model.dtype, 1.0), network.materialise_weights(model.params, 1)
    together, weight = codes.copy(), np.zeros(len(codes))
    network.sample(weights, capsule, noise, flags, together, 1, weight=weight)
    for row in range(len(codes)):
        alone, own = codes[row : row + 1].copy(), np.zeros(1)
        one = slice(row, row + 1)
        network.sample(weights, capsule, noise[one], flags[one], alone, 1, weight=own)
        np.testing.assert_array_equal(alone[0], together[row])
        assert own[0] == weight[row]


@pytest.mark.parametrize("settings", [{}, {"markov_order": 2}, {"order": "random"}])
@pytest.mark.parametrize(
    ("name", "conditional"), [each for each in COMPOSITIONS if each[0] in ("NADE", "RNADE")]
)
def test_particles_that_take_all_stages_at_once_are_those_that_take_one_by_one(
    name, conditional, settings, monkeypatch
):
    estimator, X = fitted(name, conditional, D=8, dtype="float64", **settings)
    model = estimator._model()
    model.params["W"][...] *= 5  # so that few particles are effective
    rows = X[:30].astype(float)
    missing = np.random.default_rng(1).random(rows.shape) < 0.4

    def walk(n_particles, **how):
        rng = np.random.default_rng(0)
        return particles.particles(
            model, rows, missing, n_particles=n_particles, rng=rng, n_threads=1, **how
        )

    for n_particles in (1, 3, 16):
        monkeypatch.undo()
        at_once = walk(n_particles)
        marginal = walk(n_particles, marginal=True).log_weight
        monkeypatch.setattr(type(model.network), "most_particles", 0)
        by_stage = walk(n_particles)
        np.testing.assert_array_equal(at_once.codes, by_stage.codes)
        np.testing.assert_allclose(at_once.log_weight, by_stage.log_weight, atol=1e-9)
        by_stage = walk(n_particles, marginal=True)
        np.testing.assert_allclose(marginal, by_stage.log_weight, atol=1e-9)
