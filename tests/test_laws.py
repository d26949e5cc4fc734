"""The laws of autoregressive densities, over every model, conditional, order and Markov order."""

import numpy as np
import pytest
from common import (
    ACTIVATIONS,
    COMPOSITIONS,
    CONDITIONALS,
    COUNTS,
    DATA,
    DISCRETE,
    MARKOV_ORDERS,
    MODELS,
    ORDERS,
    REAL,
    all_states,
    assert_same_bits,
    assert_slopes,
    bits,
    distribution,
    fit,
    fitted,
    levels,
    make,
    reals,
    shades,
    states,
)
from frequencies import chi_square, counts, prefix_law, uniforms
from scipy import stats

from fastar._core.offsets import positions
from fastar.conditionals import Categorical

pytestmark = pytest.mark.kernels

every_model = pytest.mark.parametrize("name", MODELS)
every_conditional = pytest.mark.parametrize("conditional", CONDITIONALS)
every_composition = pytest.mark.parametrize(("name", "conditional"), COMPOSITIONS)
every_discrete = pytest.mark.parametrize("conditional", DISCRETE)
every_order = pytest.mark.parametrize("order", ORDERS)
every_markov_order = pytest.mark.parametrize("markov_order", MARKOV_ORDERS)

# For each model, settings that lead to different networks.
VARIANTS = {
    "NADE": [{"activation": activation} for activation in ACTIVATIONS],
    "RNADE": [{}],
    "MADE": [
        *[{"activation": activation} for activation in ACTIVATIONS],
        {"hidden_layer_sizes": (9,), "direct_connections": False},
        {"hidden_layer_sizes": (3, 2, 4)},
        {"degrees": "random"},
        {"n_masks": 3},
        {"n_masks": "unlimited", "order_agnostic": True, "n_scoring_masks": 2},
    ],
}
NETWORKS = [(name, variant) for name in MODELS for variant in VARIANTS.get(name, [{}])]
every_network = pytest.mark.parametrize(("name", "variant"), NETWORKS, ids=str)


def composed(name, conditional, n=12, D=6, **settings):
    """Return the composition of a fitted float64 model with larger random weights, and codes."""
    estimator, X = fitted(name, conditional, D=D, dtype="float64", max_iter=2, **settings)
    rng = np.random.default_rng(7)
    estimator.theta_ += rng.standard_normal(estimator.theta_.size) / 2
    model = estimator._model()
    return model, model.codes(np.ascontiguousarray(X[:n][:, model.order]))


def forward(model, codes):
    """Return the raw outputs of the first member, its weights, and the cache for backward."""
    weights = model.network.materialise_weights(model.params, 1)
    return *model.network.forward(weights, codes, 1), weights


def loss(model, codes, scale):
    raw, *_ = forward(model, codes)
    return (scale * model.conditional.kernel.log_prob(raw, codes, 1)[1]).sum()


def mass_of_support(model):
    """Return the probability of the values that are not left to others."""
    other = model.distribution_.arrays().get("other", np.zeros(1))
    return np.prod(1 - other)


@every_conditional
@every_markov_order
@every_network
def test_the_gradient_is_finite_differences_along_random_directions(
    name, variant, conditional, markov_order
):
    model, codes = composed(name, conditional, markov_order=markov_order, **variant)
    rng = np.random.default_rng(0)
    scale = rng.uniform(-1, 1, len(codes))
    raw, cache, weights = forward(model, codes)
    _, graw = model.conditional.kernel.gradient(raw, codes, scale, 1)
    # what no mask shows stays as it is
    gradient = (
        np.zeros_like(model.theta) if model.network.active is not None else np.nan * model.theta
    )
    model.network.backward(weights, cache, graw, model.layout.views(gradient), 1)
    assert_slopes(model, gradient, lambda: loss(model, codes, scale), rng, 6)


@every_conditional
@every_model
def test_training_descends_the_weighted_mean_negative_log_likelihood(name, conditional):
    class Watch:
        def on_fit_begin(self, training):
            rng = np.random.default_rng(0)
            theta = training.model.theta
            theta += rng.standard_normal(theta.size) / 4
            (batch,) = training.encoded(training.table.batches(None, len(training.table)))
            training.gradient(batch)
            gradient, start = training._gradient.copy(), theta.copy()
            self.checks = []
            for _ in range(4):
                direction = rng.standard_normal(theta.size)
                total = []
                for step in (1e-6, -1e-6):
                    theta[:] = start + step * direction
                    total.append(training.gradient(batch) / len(training.table))
                theta[:] = start
                self.checks.append((gradient @ direction, -(total[0] - total[1]) / 2e-6))

    X = DATA[conditional](30, 4)
    weight = np.random.default_rng(1).integers(0, 4, 30) * 0.5
    watch = Watch()
    settings = {"distribution": distribution(conditional, 4), "early_stopping": False}
    settings |= {"dtype": "float64"}
    fit(make(name, callbacks=[watch], max_iter=1, **settings), X, sample_weight=weight)
    for actual, expected in watch.checks:
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-7)


@every_conditional
@every_network
def test_a_feature_and_those_after_it_leave_outputs_up_to_it_bitwise_unchanged(
    name, variant, conditional
):
    model, codes = composed(name, conditional, n=9, **variant)
    raw, *_ = forward(model, codes)
    order = model.network.member_order(0)
    for d in range(model.n_features):
        changed = codes.copy()
        changed[:, order[d:]] = codes[::-1, order[d:]]
        other, *_ = forward(model, changed)
        seen = positions(model.network.output_offsets, order[: d + 1])
        assert_same_bits(other[:, seen], raw[:, seen])


@pytest.mark.parametrize("order", ["natural", "random"])
@every_markov_order
@every_discrete
@every_model
def test_probabilities_of_all_states_sum_to_one(name, conditional, order, markov_order):
    D = 6 if conditional != "logistic_mixture" else 4
    settings = {"order": ORDERS[order](D), "markov_order": markov_order, "dtype": "float64"}
    model, _ = fitted(name, conditional, D=D, **settings)
    assert np.exp(model.score_samples(states(conditional, D))).sum() == pytest.approx(1, abs=1e-10)


@pytest.mark.parametrize("D", [1, 2, 12])
@every_discrete
@every_model
def test_probabilities_in_single_precision_sum_to_one(name, conditional, D):
    D = D if conditional == "bernoulli" else min(D, 6)
    model, _ = fitted(name, conditional, D=D)
    assert np.exp(model.score_samples(states(conditional, D))).sum() == pytest.approx(1, abs=1e-5)


def trapezoids(X, n):
    """Return the rows of a grid that covers two columns, and the area of a cell."""
    axes = [np.linspace(x.mean() - 12 * x.std(), x.mean() + 12 * x.std(), n) for x in X.T]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, X.shape[1])
    return grid, np.prod([axis[1] - axis[0] for axis in axes])


@pytest.mark.parametrize(("order", "scale"), [("natural", 1e-3), ("reversed", 1e6)])
@pytest.mark.parametrize("conditional", REAL)
@every_model
def test_a_density_integrates_to_one_in_the_users_units(name, conditional, order, scale):
    X = (reals(200, 2) - 30) * scale
    settings = {"distribution": conditional, "order": ORDERS[order](2), "dtype": "float64"}
    grid, cell = trapezoids(X, 401)
    model = fit(make(name, **settings), X)
    # the density of Laplace has a point
    tolerance = 1e-2 if "laplace" in conditional else 1e-4
    inside = mass_of_support(model)
    assert np.exp(model.score_samples(grid)).sum() * cell == pytest.approx(inside, abs=tolerance)


@pytest.mark.parametrize("conditional", REAL)
@every_model
def test_a_density_of_one_feature_integrates_to_one(name, conditional):
    X = reals(200, 1)
    model = fit(make(name, distribution=conditional), X)
    grid, cell = trapezoids(X, 20001)
    inside = mass_of_support(model)
    assert np.exp(model.score_samples(grid)).sum() * cell == pytest.approx(inside, abs=1e-4)


@every_model
@pytest.mark.parametrize("conditional", COUNTS)
def test_probabilities_of_all_counts_sum_to_one(name, conditional):
    model, _ = fitted(name, conditional, D=2, dtype="float64")
    rows = all_states([np.arange(500)] * 2)
    assert np.exp(model.score_samples(rows)).sum() == pytest.approx(1, abs=1e-9)


@every_model
def test_a_mixed_density_sums_and_integrates_to_one(name):
    X = np.column_stack([bits(200, 1), levels(200, 1), reals(200, 1), shades(200, 1)])
    chosen = ["bernoulli", Categorical("error"), "gaussian_mixture", "logistic_mixture"]
    settings = {"distribution": chosen, "order": [2, 3, 0, 1], "dtype": "float64"}
    model = fit(make(name, **settings), X)
    line, cell = trapezoids(X[:, 2:3], 4001)
    rows = all_states([[0, 1], [0, 1, 2], line[:, 0], np.unique(X[:, 3])])
    assert np.exp(model.score_samples(rows)).sum() * cell == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-12)])
@pytest.mark.parametrize(("order", "k"), [("natural", 1), ("random", 2), ("a list", 4)])
@every_composition
def test_a_conditional_sees_the_markov_window_and_nothing_else(
    name, k, order, conditional, dtype, tolerance
):
    D = 6
    settings = {"order": ORDERS[order](D), "markov_order": k, "dtype": dtype}
    model, X = fitted(name, conditional, D=D, **settings)
    before = model.conditionals(X[:40])
    for position, column in enumerate(model.order_):
        outside = model.order_[: max(0, position - k)]
        inside = model.order_[max(0, position - k) : position]
        for others, sees in ((outside, False), (inside, len(inside) > 0)):
            changed = X[:40].copy()
            changed[:, others] = X[100:140][:, others]
            both = (before, model.conditionals(changed))
            said = [numbers_of(model, each, X.std(axis=0), column) for each in both]
            assert (np.abs(said[0] - said[1]).max() > tolerance) == sees


def numbers_of(model, said, scale, column):
    """Return the parameters of the column's conditional, in units of the column.

    said: what `conditionals` returned.
    """
    if model.distribution_.name == "mixed":
        said = said[column]
    elif isinstance(said, dict):
        atoms = {key: each[column] for key, each in said.items() if key == "atoms"}
        said = {key: each[:, column] for key, each in said.items() if key != "atoms"} | atoms
    else:
        said = said[:, column]
    if not isinstance(said, dict):
        return said
    numbers = [said["mean"] / scale[column]]
    if "variance" in said:
        numbers.append(np.log(said["variance"]))
    return np.stack(numbers, axis=1)


# ---- samples


@pytest.mark.parametrize("order", ["natural", "random"])
@every_discrete
@every_model
def test_samples_have_the_models_own_probabilities(name, conditional, order):
    D = 4 if conditional == "bernoulli" else 3
    model, _ = fitted(name, conditional, D=D, order=ORDERS[order](D), max_iter=60)
    rows = states(conditional, D)
    observed = counts(model.sample(20_000, random_state=1), rows)
    assert chi_square(observed, np.exp(model.score_samples(rows))) > 1e-4


@pytest.mark.parametrize("conditional", [*REAL, *COUNTS, "logistic_mixture", "integer", "mixed"])
@every_model
def test_samples_have_the_models_own_distribution(name, conditional):
    D = 8 if conditional == "mixed" else 3
    model, _ = fitted(name, conditional, D=D, order="random", max_iter=60)
    uniform = uniforms(model, model.sample(4_000, random_state=1))
    for column in uniform.T:
        assert stats.kstest(column, "uniform").pvalue > 1e-4
    pairs = stats.spearmanr(uniform)
    assert (pairs.pvalue[~np.eye(D, dtype=bool)] > 1e-5).all()


@pytest.mark.parametrize("conditional", ["bernoulli", "categorical"])
@every_model
def test_temperature_sharpens_each_conditional(name, conditional):
    model, _ = fitted(name, conditional, D=3, max_iter=60)
    rows = states(conditional, 3)
    p = model.conditionals(rows)
    p = np.stack([1 - p, p], axis=2) if p.ndim == 2 else p
    for temperature in (0.5, 2.0):
        sharp = p ** (1 / temperature)
        sharp /= sharp.sum(axis=2, keepdims=True)
        chosen = np.take_along_axis(sharp, rows.astype(int)[:, :, None], 2)[:, :, 0].prod(axis=1)
        observed = counts(model.sample(10_000, temperature=temperature, random_state=1), rows)
        assert chi_square(observed, chosen) > 1e-4


@pytest.mark.parametrize("conditional", COUNTS)
@every_model
def test_temperature_sharpens_the_probabilities_of_counts(name, conditional):
    model, _ = fitted(name, conditional, D=1, max_iter=60)
    rows = np.arange(400)[:, None]
    logp = model.score_samples(rows)
    for temperature in (0.5, 2.0):
        sharp = np.exp(logp / temperature)
        observed = counts(model.sample(10_000, temperature=temperature, random_state=1), rows)
        assert chi_square(observed, sharp / sharp.sum()) > 1e-4


# By conditional: the standardised density, and the power of the temperature that widens it.
WIDENED = {"gaussian": ("norm", 0.5, 1.0), "laplace": ("laplace", 1.0, 2**-0.5)}


@pytest.mark.parametrize("conditional", WIDENED)
@every_model
def test_temperature_widens_a_density(name, conditional):
    law, power, scale = WIDENED[conditional]
    model, _ = fitted(name, conditional, D=2, max_iter=60)
    X = model.sample(5_000, temperature=0.25, random_state=1)
    said = model.conditionals(X)
    z = (X - said["mean"]) / np.sqrt(said["variance"]) / 0.25**power / scale
    assert all(stats.kstest(column, law).pvalue > 1e-4 for column in z.T)


def modes(model, said, column):
    """Return the modes that a column's conditional has, by what `conditionals` says of it."""
    if not isinstance(said, dict):
        return said > 0.5 if said.ndim == 1 else said.argmax(axis=1)
    if "weights" in said:
        heaviest = said["weights"].argmax(axis=1)
        means = said["means"][np.arange(len(heaviest)), heaviest]
        if "scales" in said:
            low, high = (model.distribution_.arrays()[end][column] for end in ("low", "high"))
            return np.clip(np.rint(means), low, high)
        return means
    if model.distribution_.name in COUNTS:
        excess = said["variance"] - said["mean"]
        r = np.where(excess > 0, said["mean"] ** 2 / np.maximum(excess, 1e-12), np.inf)
        return np.maximum(0, np.floor(said["mean"] * (1 - 1 / r) + 1e-6))
    return said["mean"]


# A number does not say its components, of which one is the mode on the mapped scale alone.
UNSAID = ("mixed", "number", "integer")


@pytest.mark.parametrize("conditional", [k for k in CONDITIONALS if k not in UNSAID])
@every_model
def test_temperature_to_zero_gives_the_mode_of_each_conditional(name, conditional):
    model, _ = fitted(name, conditional, max_iter=60)
    X = model.sample(20, temperature=1e-9, random_state=3)
    said = model.conditionals(X)
    for d in range(X.shape[1]):
        own = {k: v[:, d] for k, v in said.items()} if isinstance(said, dict) else said[:, d]
        expected = modes(model, own, d)
        if conditional in REAL:
            np.testing.assert_allclose(X[:, d], expected, rtol=1e-5)
        else:
            assert (X[:, d] == X[0, d]).all()
            assert (X[:, d] == expected).all()


# ---- evidence


@every_composition
@every_order
def test_evidence_is_held(name, order, conditional):
    model, X = fitted(name, conditional, order=ORDERS[order](5))
    row = X[0].astype(float)
    row[[0, 3]] = np.nan
    drawn = model.sample(50, evidence=row, random_state=0)
    assert_same_bits(drawn[:, [1, 2, 4]], np.repeat(X[:1, [1, 2, 4]], 50, axis=0))
    table = X[:50].astype(float)
    table[np.random.default_rng(0).random(table.shape) < 0.5] = np.nan
    drawn = model.sample(50, evidence=table, random_state=0)
    held = ~np.isnan(table)
    assert_same_bits(drawn[held], X[:50][held])
    assert_same_bits(model.sample(50, evidence=X[:50], random_state=0), X[:50])


@every_discrete
@pytest.mark.parametrize("order", ["random", "reversed"])
@every_model
def test_what_follows_a_prefix_of_evidence_is_exact(name, order, conditional):
    D = 4
    model, X = fitted(name, conditional, D=D, order=ORDERS[order](D), max_iter=60)
    evidence, rows, p = prefix_law(model, conditional, X[3])
    observed = counts(model.sample(10_000, evidence=evidence, random_state=0), rows)
    assert chi_square(observed, p) > 1e-4


@every_discrete
@every_model
def test_imputed_values_have_the_posterior_given_any_evidence(name, conditional):
    D, n = 4, 2_000
    model, X = fitted(name, conditional, D=D, max_iter=60)
    missing, known = [0, 2], [1, 3]
    row = X[3].astype(float)
    row[missing] = np.nan
    completed = model.impute(np.repeat(row[None], n, axis=0), n_particles=60, random_state=0)
    assert (completed[:, known] == X[3][known]).all()
    assert model.impute_ess_.shape == (n,)
    assert ((model.impute_ess_ >= 1) & (model.impute_ess_ <= 60 + 1e-9)).all()
    rows = states(conditional, D)
    rows = rows[(rows[:, known] == X[3][known]).all(axis=1)]
    p = np.exp(model.score_samples(rows))
    observed = counts(completed.astype(rows.dtype), rows)
    # the bias of resampling among 60 particles is a few percent
    np.testing.assert_allclose(observed / n, p / p.sum(), atol=0.04)


@every_model
def test_a_model_learns_what_independent_columns_cannot_say(name):
    X = bits(400, 3)
    X[:, 2] = X[:, 0] ^ X[:, 1]
    if name == "FVSBN":  # linear in the features: give it the product to be linear in
        X = np.column_stack([X[:, :2], X[:, 0] & X[:, 1], X[:, 2]])
    wide = {
        "NADE": {"n_hidden": 20},
        "RNADE": {"n_hidden": 20},
        "MADE": {"hidden_layer_sizes": (30,)},
        "FVSBN": {},
    }[name]
    model = fit(make(name, max_iter=300, **wide, learning_rate_init=0.05), X)
    share = X.mean(axis=0)
    independent = (X * np.log(share) + (1 - X) * np.log(1 - share)).sum(axis=1).mean()
    assert model.score(X) > independent + 0.4
