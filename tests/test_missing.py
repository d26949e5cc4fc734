"""Missing values: NaN among the codes enters a network by weights of its own, and has no density.

Run under FASTAR_ISA for every instruction set by test_isa.py.
"""

import warnings

import numpy as np
import pytest
import reference
from common import CONDITIONALS, DATA, DTYPES, assert_same_bits, unfitted, walked
from sklearn.exceptions import ConvergenceWarning
from test_kernels import close

from fastar import conditionals, optimizers, schedules
from fastar._core.sharpness import AS_FITTED
from fastar._data.table import Table
from fastar._engine.model import Model
from fastar._engine.sampling import sample
from fastar._engine.scores import describe, score_features, score_rows
from fastar._engine.support import check_table_support
from fastar._engine.training import Training
from fastar._kernels import _inputs
from fastar.networks import Masked, SharedHidden

pytestmark = [pytest.mark.kernels, pytest.mark.usefixtures("threads_for_small_work")]

D = 8
NETWORKS = {
    "shared hidden layer": (SharedHidden, {"n_hidden": 5, "activation": "tanh"}),
    "relu": (SharedHidden, {"n_hidden": 17, "activation": "relu"}),
    "sigmoid": (SharedHidden, {"n_hidden": 33, "activation": "sigmoid"}),
    "linear": (Masked, {"hidden_layer_sizes": ()}),
    "deep": (Masked, {"hidden_layer_sizes": (20, 9), "activation": "tanh"}),
}
every_network = pytest.mark.parametrize("network", NETWORKS)
every_conditional = pytest.mark.parametrize("conditional", CONDITIONALS)


class Holed(np.ndarray):
    """An array that knows which of its columns have missing values."""

    @property
    def missing(self):
        return np.isnan(np.asarray(self)).any(axis=0)


def holed(conditional, n=60, share=0.3, seed=0):
    """Return data of which some values are missing, but none of the second column."""
    X = DATA[conditional](n, D).astype(np.float64)
    X[(np.random.default_rng(seed).random(X.shape) < share) & (np.arange(D) != 1)] = np.nan
    return X.view(Holed)


def composed(network, conditional, dtype="float64", markov_order=D, order=None, n=60):
    """Return a model with random parameters, its table and the codes of the table's rows."""
    order = np.arange(D) if order is None else order
    table = Table(holed(conditional, n), order)
    chosen = unfitted(conditional, D)
    if conditional == "mixed":
        chosen = conditionals.Mixed([chosen.columns[column] for column in order])
    fitted = chosen.fitted(table, np.ones(n))
    check_table_support(fitted, table)
    kind, settings = NETWORKS[network]
    settings = settings | {"markov_order": markov_order, "dtype": dtype}
    net = kind(fitted.output_offsets, fitted.inputs, **settings)
    model = Model(net, fitted, order, net.zeros())
    rng = np.random.default_rng(1)
    model.theta[:] = rng.standard_normal(model.theta.size) * 0.25
    return model, table, model.codes(table.take(slice(None)))


def twin_of(model):
    """Return the network's twin."""
    masked = isinstance(model.network, Masked)
    return (reference.Masked if masked else reference.SharedHidden).of(model.network)


def reference_raw(model, codes):
    """Return the textbook's raw outputs (n, sum P), fed with an indicator of what is missing."""
    twin = twin_of(model)
    x = twin.inputs(codes.astype(float), model.network.inputs.input_flags)
    return twin.raw_outputs(reference.as_double(model.params), x)


def forward(model, codes, n_threads=2):
    weights = model.network.materialise_weights(model.params, n_threads)
    return *model.network.forward(weights, codes, n_threads), weights


# ---- networks


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("markov_order", [D, 2])
@every_conditional
@every_network
def test_a_missing_value_enters_by_a_row_of_weights_of_its_own(
    network, conditional, markov_order, dtype
):
    model, _, codes = composed(network, conditional, dtype, markov_order)
    assert np.isnan(codes).any(axis=0).tolist() == (np.arange(D) != 1).tolist()
    rows = model.conditional.n_levels + (np.arange(D) != 1)
    np.testing.assert_array_equal(np.diff(model.network.inputs.offsets), rows)
    raw, *_ = forward(model, codes)
    close(raw, reference_raw(model, codes), dtype)
    for n_threads in (1, 3):
        assert_same_bits(forward(model, codes, n_threads)[0], raw)
    assert_same_bits(forward(model, codes[7:11].copy())[0], raw[7:11])


@pytest.mark.parametrize("markov_order", [D, 2])
@every_conditional
@every_network
def test_the_gradient_with_missing_values_is_finite_differences(network, conditional, markov_order):
    model, _, codes = composed(network, conditional, markov_order=markov_order, n=20)
    scale = np.random.default_rng(0).uniform(-1, 1, len(codes))

    def loss():
        raw, *_ = forward(model, codes)
        return (scale * model.conditional.kernel.log_prob(raw, codes, 1)[1]).sum()

    raw, cache, weights = forward(model, codes)
    _, graw = model.conditional.kernel.gradient(raw, codes, scale, 1)
    of_outputs = np.repeat(np.isnan(codes), np.diff(model.network.output_offsets), axis=1)
    assert (graw[of_outputs] == 0).all()
    active = model.network.active
    gradient = np.zeros_like(model.theta) if active is not None else np.nan * model.theta
    model.network.backward(weights, cache, graw, model.layout.views(gradient), 2)
    start, rng = model.theta.copy(), np.random.default_rng(2)
    for _ in range(4):
        direction = rng.standard_normal(start.size)
        ends = []
        for step in (1e-6, -1e-6):
            model.theta[:] = start + step * direction
            ends.append(loss())
        model.theta[:] = start
        np.testing.assert_allclose(
            gradient @ direction, (ends[0] - ends[1]) / 2e-6, rtol=1e-5, atol=1e-5
        )


@every_conditional
@every_network
def test_what_is_held_as_missing_leads_on_like_the_textbook(network, conditional):
    model, _, codes = composed(network, conditional)
    held = np.random.default_rng(3).random(codes.shape) < 0.5
    kernel = model.conditional.kernel
    noise = np.empty((*codes.shape, kernel.n_noise))
    model.conditional.fill_noise(np.random.default_rng(2), noise, len(codes), 1)
    drawn = np.where(held, codes, 0)
    weights = model.network.materialise_weights(model.params, 1)
    model.network.sample(
        weights, kernel.draw(np.dtype("float64"), 1.0), noise, walked(held), drawn, 2
    )
    assert_same_bits(drawn[held], codes[held])
    assert np.isfinite(drawn[~held]).all()
    # each drawn value is the textbook's draw given what stands before it
    raw = twin_of(model).by_feature(reference_raw(model, drawn))
    twin = reference.conditional_of(model.conditional)
    expected = np.stack([twin.draw(raw[:, d], d, noise[:, d], 1.0) for d in range(D)], axis=1)
    np.testing.assert_allclose(drawn[~held], expected[~held], rtol=1e-9, atol=1e-9)


@every_network
def test_an_unknown_level_adds_nothing_to_scores_and_draws(network):
    model, _, codes = composed(network, "categorical")
    rng = np.random.default_rng(0)
    codes = np.where(rng.random(codes.shape) < 0.3, -1, codes)
    raw, *_ = forward(model, codes)
    close(raw, reference_raw(model, codes), "float64")
    held = rng.random(codes.shape) < 0.6
    kernel = model.conditional.kernel
    noise = rng.random((*codes.shape, 1))
    drawn = np.where(held, codes, 0)
    weights = model.network.materialise_weights(model.params, 1)
    model.network.sample(
        weights, kernel.draw(np.dtype("float64"), 1.0), noise, walked(held), drawn, 2
    )
    raw = twin_of(model).by_feature(reference_raw(model, drawn))
    twin = reference.conditional_of(model.conditional)
    expected = np.stack([twin.draw(raw[:, d], d, noise[:, d], 1.0) for d in range(D)], axis=1)
    assert_same_bits(drawn[~held], expected[~held])


@pytest.mark.parametrize("markov_order", [1, 3, D])
@pytest.mark.parametrize("input_flags", [0, 1])
def test_changes_list_missing_and_unknown_values(input_flags, markov_order):
    rng = np.random.default_rng(0)
    Q, flags = 4, np.full(D, input_flags | 2, np.uint8)
    codes = rng.integers(-1, 3, (30, D)).astype(float)
    codes[rng.random(codes.shape) < 0.3] = np.nan
    count, at, row, value = _inputs.changes(codes, flags, np.arange(D + 1) * Q, markov_order, 2)
    x = reference.SharedHidden([1] * D, [Q] * D).inputs(codes, flags).reshape(len(codes), D, Q)
    for r in range(len(codes)):
        seen = np.zeros((D, Q))
        for d in range(D):
            now = at[r, : count[r]] == d
            np.add.at(seen.reshape(-1), row[r, : count[r]][now], value[r, : count[r]][now])
            window = (np.arange(D) < d) & (np.arange(D) >= d - markov_order)
            assert_same_bits(seen, x[r] * window[:, None])


# ---- models


def leaves(said):
    """Return the arrays inside of what is said of columns."""
    if isinstance(said, np.ndarray):
        return [said]
    parts = said.values() if isinstance(said, dict) else said
    return [array for part in parts for array in leaves(part)]


@pytest.mark.parametrize("order", [np.arange(D), np.arange(D)[::-1].copy()], ids=["natural", "rev"])
@every_conditional
@pytest.mark.parametrize("network", ["sigmoid", "deep"])
def test_the_score_is_of_what_is_there(network, conditional, order):
    model, table, codes = composed(network, conditional, order=order)
    features = score_features(model, table, 2)
    assert (features[np.isnan(table.X)] == 0).all()
    np.testing.assert_allclose(features.sum(axis=1), score_rows(model, table, 2), rtol=1e-9)
    raw = twin_of(model).by_feature(reference_raw(model, codes))
    twin = reference.conditional_of(model.conditional)
    jacobian = model.conditional.log_jacobian(codes)
    logp = twin.log_prob(raw, np.where(np.isnan(codes), 0, codes))
    logp = logp + (0 if jacobian is None else jacobian)
    there = ~np.isnan(codes)
    expected = np.zeros(codes.shape)
    expected[:, order] = np.where(there, logp, 0)
    np.testing.assert_allclose(features, expected, rtol=1e-8, atol=1e-9)
    assert {len(each) for each in leaves(describe(model, table, 1))} == {len(table)}


@every_conditional
@every_network
def test_models_with_missing_values_draw_whole_rows(network, conditional):
    model, table, _ = composed(network, conditional)
    drawn = sample(model, 50, None, None, AS_FITTED, np.random.default_rng(1), 2)
    assert not np.isnan(np.asarray(drawn, float)).any()
    assert not model.conditional.unsupported(drawn[:, table.order].astype(float)).any()


@every_conditional
def test_a_value_may_be_missing_where_one_was_in_fit(conditional):
    model, table, _ = composed("relu", conditional)
    X = np.asarray(table.X)
    wrong = model.conditional.unsupported(X)
    assert not wrong.any()
    X = X.copy()
    X[3, 1] = np.nan  # the column that had none
    X[4] = np.nan
    wrong = model.conditional.unsupported(X)
    assert np.argwhere(wrong).tolist() == [[3, 1], [4, 1]]


def trained(network, X, conditional, **settings):
    """Return a model after training on a table with holes, and its curve."""
    order, n = np.arange(X.shape[1]), len(X)
    table, weight = Table(X.view(Holed), order), np.ones(n)
    fitted = unfitted(conditional, len(order)).fitted(table, weight)
    kind, own = NETWORKS[network]
    own = own | {"markov_order": D, "dtype": "float32"}
    net = kind(fitted.output_offsets, fitted.inputs, **own)
    model = Model(net, fitted, order, net.zeros())
    model.initialise(table, weight, np.random.default_rng(0))
    training = Training(
        model, optimizers.Adam(), schedules.BY_NAME["constant"](), table, weight, None,
        entropy=0, learning_rate=0.03, alpha=0.0, l1_ratio=0.0, max_gradient_norm=5.0,
        batch_size=50, max_iter=40, tol=0.0, n_iter_no_change=100, n_threads=1,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        training.run()
    return model, training.progress.loss_curve


@every_conditional
@pytest.mark.parametrize("network", ["shared hidden layer", "deep"])
def test_training_with_missing_values_lowers_the_loss(network, conditional):
    model, curve = trained(network, np.asarray(holed(conditional, 200)), conditional)
    assert np.isfinite(curve).all()
    assert min(curve[-5:]) < curve[0]
    assert np.isfinite(model.theta).all()


@every_network
def test_that_a_value_is_missing_tells_later_columns(network):
    rng = np.random.default_rng(0)
    hidden = rng.random(600) < 0.5
    first = np.where(hidden, np.nan, rng.integers(0, 2, 600))
    X = np.column_stack([first, np.where(rng.random(600) < 0.9, hidden, ~hidden)])
    model, _ = trained(network, X, "bernoulli")
    rows = np.array([[np.nan, 1], [0, 1], [1, 1]])
    said = describe(model, Table(rows, np.arange(2)), 1)[:, 1]
    np.testing.assert_allclose(said, [0.9, 0.1, 0.1], atol=0.08)


@every_conditional
def test_what_is_missing_teaches_a_conditional_nothing(conditional):
    X = np.asarray(holed(conditional, 200))
    X = np.where(np.arange(200)[:, None] < 100, DATA[conditional](200, D), np.nan)
    table = Table(X.view(Holed), np.arange(D))
    with_holes = unfitted(conditional, D).fitted(table, np.ones(200))
    plain_table = Table(np.ascontiguousarray(X[:100]), np.arange(D))
    plain = unfitted(conditional, D).fitted(plain_table, np.ones(100))
    assert with_holes.missing.all()
    assert not plain.missing.any()
    for name, array in plain.arrays().items():
        if not name.endswith("missing"):
            np.testing.assert_allclose(with_holes.arrays()[name], array, rtol=1e-12)
    codes = plain.encode(plain_table.take(slice(None)), np.dtype("float64"))
    begin = [
        np.repeat(constant[None], 100, axis=0)
        for constant in (
            with_holes.constant(table, np.ones(200)),
            plain.constant(plain_table, np.ones(100)),
        )
    ]
    logp = [plain.kernel.log_prob(raw, codes, 1)[0].mean(axis=0) for raw in begin]
    np.testing.assert_allclose(logp[0], logp[1], atol=0.02)


@every_conditional
@every_network
def test_a_column_that_is_missing_altogether_can_be_trained(network, conditional):
    X = np.asarray(holed(conditional, 100)).copy()
    X[:, 3] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model, curve = trained(network, X, conditional)
    assert np.isfinite(curve).all()
    drawn = sample(model, 20, None, None, AS_FITTED, np.random.default_rng(0), 1)
    assert np.isfinite(np.asarray(drawn, float)).all()
