"""One network for every order: its own laws, and those of every model that it must keep."""

import itertools
import pickle

import numpy as np
import pandas as pd
import pytest
from common import CONDITIONALS, DATA, DISCRETE, assert_same_bits, distribution, fit, states
from frequencies import chi_square, counts, uniforms
from reference import entered
from sklearn.utils.estimator_checks import parametrize_with_checks

import fastar
from fastar import DeepNADE
from fastar._data.table import Table
from fastar._engine.scores import total_log_prob

pytestmark = pytest.mark.kernels

unconverged = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
every_conditional = pytest.mark.parametrize("conditional", CONDITIONALS)
every_discrete = pytest.mark.parametrize("conditional", DISCRETE)
LAYERS = [(7,), (7, 6)]


def make(**settings):
    small = {"hidden_layer_sizes": (7, 6), "max_iter": 20, "learning_rate_init": 0.02}
    return DeepNADE(**small | {"random_state": 0, "n_jobs": 1} | settings)


def fitted(conditional="bernoulli", n=300, D=4, **settings):
    X = DATA[conditional](n, D)
    return fit(make(distribution=distribution(conditional, D), **settings), X), X


def own(network, raw):
    """Return each feature's own outputs (n, P) of raw (n, sum of P)."""
    return np.split(raw, network.output_offsets[1:-1], axis=1)


def textbook(network, params, codes):
    """Return raw (n, sum of P) of codes (n, D), NaN where unknown, one row at a time."""
    g = {"relu": lambda a: np.maximum(a, 0), "tanh": np.tanh}
    g["sigmoid"] = lambda a: 1 / (1 + np.exp(-a))
    out = []
    for row in codes:
        h = params["c0"].astype(np.float64).copy()
        for d, code in enumerate(row):
            h += entered(network.inputs, params["W0"], d, code)
        h = g[network.activation](h)
        for layer in range(1, len(network.hidden_layer_sizes)):
            h = g[network.activation](h @ params[f"W{layer}"] + params[f"c{layer}"])
        last = params[f"W{len(network.hidden_layer_sizes)}"]
        out.append(h @ last.reshape(len(h), -1) + params["b"].ravel())
    return np.array(out)


@unconverged
@parametrize_with_checks([make(), make(hidden_layer_sizes=(5,), n_orders=2, dtype="float64")])
def test_scikit_learns_own_checks_pass(estimator, check):
    check(estimator)


# ---- the network


@pytest.mark.parametrize("activation", ["relu", "sigmoid", "tanh"])
@pytest.mark.parametrize("layers", LAYERS)
@every_conditional
def test_outputs_are_the_textbooks_given_any_part_and_along_any_order(
    conditional, layers, activation
):
    settings = {"hidden_layer_sizes": layers, "activation": activation, "dtype": "float64"}
    estimator, X = fitted(conditional, D=5, n_orders=3, order="random", max_iter=3, **settings)
    model = estimator._model()
    codes = model.codes(X[:9, model.order])
    for member in range(3):
        weights = model.network.materialise_weights(model.params, 1, member)
        raw, cache = model.network.forward(weights, codes, 1, rng=np.random.default_rng(member))
        given = np.where(cache.known, codes, np.nan)
        np.testing.assert_allclose(raw, textbook(model.network, model.params, given), atol=1e-9)
        raw, _ = model.network.forward(weights, codes, 1)
        known = np.zeros(5, bool)
        for d in model.network.member_order(member):
            given = np.where(known, codes, np.nan)
            expected = textbook(model.network, model.params, given)
            found, expected = (own(model.network, each)[d] for each in (raw, expected))
            np.testing.assert_allclose(found, expected, atol=1e-9)
            known[d] = True


@pytest.mark.parametrize("number", [-1, -3, -1000])
def test_a_level_that_fit_has_not_seen_adds_nothing_whatever_its_number(number):
    estimator, X = fitted("categorical", D=5, n_orders=2, order="random", dtype="float64")
    model = estimator._model()
    codes = model.codes(X[:30, model.order])
    codes[np.random.default_rng(0).random(codes.shape) < 0.4] = number
    for member in range(2):
        weights = model.network.materialise_weights(model.params, 1, member)
        raw, _ = model.network.forward(weights, codes, 1)
        known = np.zeros(5, bool)
        for d in model.network.member_order(member):
            given = np.where(known, codes, np.nan)
            expected = own(model.network, textbook(model.network, model.params, given))[d]
            np.testing.assert_allclose(own(model.network, raw)[d], expected, atol=1e-9)
            known[d] = True


@pytest.mark.parametrize("layers", LAYERS)
@every_conditional
def test_the_gradient_is_finite_differences(conditional, layers):
    estimator, X = fitted(
        conditional, D=5, hidden_layer_sizes=layers, activation="tanh", dtype="float64"
    )
    model = estimator._model()
    model.theta[:] += 0.1 * np.random.default_rng(1).standard_normal(model.theta.size)
    codes = model.codes(X[:9, model.order])
    weights = model.network.materialise_weights(model.params, 1)

    def loss():
        raw, cache = model.network.forward(weights, codes, 1, rng=np.random.default_rng(3))
        targets, factor = model.network.loss_targets(cache, codes)
        total, graw = model.conditional.gradient(raw, targets, factor, 1)
        return float((factor * total).sum()), cache, graw

    _, cache, graw = loss()
    gradient = np.full_like(model.theta, np.nan)
    model.network.backward(weights, cache, graw, model.layout.views(gradient), 1)
    start, eps = model.theta.copy(), 1e-6
    for k in range(5):
        direction = np.random.default_rng(k).standard_normal(start.size)
        ends = []
        for step in (eps, -eps):
            model.theta[:] = start + step * direction
            ends.append(loss()[0])
        model.theta[:] = start
        np.testing.assert_allclose(
            gradient @ direction, (ends[0] - ends[1]) / (2 * eps), rtol=1e-5, atol=1e-6
        )


def test_the_loss_of_random_parts_is_the_mean_over_all_orders():
    estimator, X = fitted("categorical", D=3, dtype="float64")
    model = estimator._model()
    X = X[:4]
    codes, by_order = model.codes(X), []
    for order in itertools.permutations(range(3)):
        total, known = np.zeros(4), np.zeros(3, bool)
        for d in order:
            raw = textbook(model.network, model.params, np.where(known, codes, np.nan))
            own = np.where(np.arange(3) == d, codes, np.nan)
            total += model.conditional.log_prob(raw, own, 1)[1]
            known[d] = True
        by_order.append(total)
    weights = model.network.materialise_weights(model.params, 1)
    drawn = []
    for k in range(20_000 // 4):
        raw, cache = model.network.forward(weights, codes, 1, rng=np.random.default_rng(k))
        targets, factor = model.network.loss_targets(cache, codes)
        drawn.append(factor * model.conditional.log_prob(raw, targets, 1)[1])
    error = np.std(drawn, axis=0) / np.sqrt(len(drawn))
    assert (np.abs(np.mean(drawn, axis=0) - np.mean(by_order, axis=0)) < 5 * error).all()
    # what decides when training stops estimates the same
    many = Table(np.repeat(X, 2000, axis=0), model.order)
    estimate = total_log_prob(model, many, np.ones(8000), 1) / 8000
    assert estimate == pytest.approx(np.mean(by_order), rel=0.02)


# ---- the density


@pytest.mark.parametrize("n_orders", [1, 3])
@every_discrete
def test_probabilities_sum_to_one_and_samples_have_them(conditional, n_orders):
    model, _ = fitted(conditional, D=3, n_orders=n_orders, order="random", max_iter=60)
    rows = states(conditional, 3)
    probability = np.exp(model.score_samples(rows))
    assert probability.sum() == pytest.approx(1, abs=1e-5)
    observed = counts(model.sample(10_000, random_state=1), rows)
    assert chi_square(observed, probability) > 1e-4


@pytest.mark.parametrize("conditional", ["gaussian", "laplace_mixture", "poisson", "mixed"])
def test_samples_have_the_models_own_distribution(conditional):
    from scipy import stats

    model, _ = fitted(conditional, D=4, order="random", max_iter=60)
    for column in uniforms(model, model.sample(4_000, random_state=1)).T:
        assert stats.kstest(column, "uniform").pvalue > 1e-4


@every_conditional
def test_scores_of_features_and_rows_agree(conditional):
    model, X = fitted(conditional, order="random", dtype="float64")
    rows = model.score_samples(X)
    np.testing.assert_allclose(model.score_features(X).sum(axis=1), rows, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("n_orders", [1, 3])
@every_discrete
def test_any_evidence_is_exact_in_the_order_that_begins_with_it(conditional, n_orders):
    model, X = fitted(conditional, D=4, n_orders=n_orders, dtype="float64", max_iter=60)
    row = X[:1].astype(float)
    row[0, [0, 2]] = np.nan
    inner, network = model._model(), model.network_
    codes = inner.codes(row)
    joint = []
    for member in range(n_orders):
        given, total = np.full((1, 4), np.nan), 0.0
        for d in network.member_order(member):
            if d in (1, 3):
                raw = textbook(network, inner.params, given)
                own = np.where(np.arange(4) == d, codes, np.nan)
                total += inner.conditional.log_prob(raw, own, 1)[1][0]
                given[0, d] = codes[0, d]
        joint.append(total)
    exact = np.logaddexp.reduce(joint) - np.log(n_orders)
    assert model.log_marginal(row, n_particles=1)[0] == pytest.approx(exact, rel=1e-9)
    # completions are exact draws: of p(x0, x2 | x1, x3) along the order
    completed = model.impute(np.repeat(row, 6000, axis=0), random_state=0)
    assert (completed[:, [1, 3]] == row[0, [1, 3]]).all()
    np.testing.assert_allclose(model.impute_ess_, 16)
    levels = np.unique(X)
    share = np.exp(joint - np.logaddexp.reduce(joint))
    expected = np.zeros(len(levels))
    for member, own in enumerate(share):
        first = next(d for d in network.member_order(member) if d in (0, 2))
        if first == 0:
            tried = np.repeat(codes, len(levels), axis=0)
            tried[:, 0] = inner.codes(np.repeat(levels[:, None], 4, axis=1))[:, 0]
            raw = textbook(network, inner.params, codes)
            logp = inner.conditional.kernel.log_prob(
                np.repeat(raw, len(levels), axis=0), np.ascontiguousarray(tried), 1
            )[0][:, 0]
            expected += own * np.exp(logp)
        else:
            return  # x0 then depends on the draw of x2: the samples' law covers it
    assert chi_square((completed[:, :1] == levels).sum(axis=0), expected) > 1e-4


def test_a_sample_given_evidence_does_not_depend_on_where_the_evidence_stands():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, (800, 1))
    X = np.concatenate([x, rng.integers(0, 2, (800, 2)), x], axis=1)
    model = fit(make(hidden_layer_sizes=(30,), max_iter=150), X)
    for first, last in ((0, 3), (3, 0)):
        evidence = np.full(4, np.nan)
        evidence[first] = 1
        assert model.sample(500, evidence=evidence, random_state=0)[:, last].mean() > 0.9


def test_more_orders_cost_no_training():
    model, X = fitted("bernoulli", D=6, max_iter=40)
    ensemble = model.with_orders(8)
    assert ensemble.n_orders == 8
    assert model.n_orders == 1
    assert_same_bits(ensemble.theta_, model.theta_)
    assert_same_bits(ensemble.with_orders(1).score_samples(X), model.score_samples(X))
    assert np.exp(ensemble.score_samples(states("bernoulli", 6))).sum() == pytest.approx(
        1, abs=1e-5
    )
    with pytest.raises(ValueError, match="n_orders must be an int"):
        model.with_orders(0)


@every_conditional
def test_bits_are_the_same_for_any_threads_and_rows_beside(conditional):
    model, X = fitted(conditional, n_orders=2)
    X = X[:50]
    everything = [
        (
            model.set_params(n_jobs=n_jobs).score_samples(X),
            model.sample(40, random_state=0),
            fit(make(n_jobs=n_jobs, max_iter=3), DATA["bernoulli"](300, 5)).theta_,
        )
        for n_jobs in (1, 3)
    ]
    for one, other in zip(*everything, strict=True):
        assert_same_bits(one, other)
    assert_same_bits(model.score_samples(X[7:9]), everything[0][0][7:9])


def test_a_context_enters_every_layer_and_output():
    y = np.arange(400) % 2
    X = np.column_stack([y, 1 - y, y]).astype(np.uint8)
    model = fit(make(max_iter=80), X, context=y.astype(object))
    assert {"U0", "U1", "B"} <= set(model.params_)
    assert model.score(X, context=y.astype(object)) > -0.3
    drawn = model.sample(100, context=np.array([[1]], object), random_state=0)
    assert (drawn == [1, 0, 1]).mean() > 0.9
    total = np.exp(
        model.score_samples(states("bernoulli", 3), context=np.zeros((8, 1), object))
    ).sum()
    assert total == pytest.approx(1, abs=1e-5)


def test_gaps_in_a_frame_are_features_that_stay_unknown():
    rng = np.random.default_rng(0)
    x = rng.normal(size=400)
    frame = pd.DataFrame({"a": x, "b": x + 0.1 * rng.normal(size=400), "c": x > 0})
    frame.loc[::5, "b"] = np.nan
    model = fit(make(max_iter=60), frame)
    full = frame.dropna().head(20)
    part = full.assign(b=np.nan)
    np.testing.assert_allclose(model.score_samples(part), model.log_marginal(part), rtol=1e-6)
    assert not model.impute(part, random_state=0).isna().any().any()


def test_it_is_saved_pickled_and_goes_on(tmp_path):
    model, X = fitted("categorical", n_orders=2, warm_start=True)
    model.save(tmp_path / "model.fastar")
    for again in (fastar.load(tmp_path / "model.fastar"), pickle.loads(pickle.dumps(model))):
        assert_same_bits(again.score_samples(X), model.score_samples(X))
        assert_same_bits(again.sample(20, random_state=0), model.sample(20, random_state=0))
    before = model.theta_.copy()
    assert (fit(model, X).theta_ != before).any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden_layer_sizes": ()}, "hidden_layer_sizes must be at least one layer"),
        ({"hidden_layer_sizes": (3, 0)}, "hidden_layer_sizes"),
        ({"n_orders": 0}, "'n_orders' parameter"),
        ({"activation": "gelu"}, "'activation' parameter"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        make(**settings).fit(DATA["bernoulli"](20, 3))
