"""Optimizers and schedules against their formulas."""

import math

import numpy as np
import pytest
from common import DTYPES, SCHEDULES, SOLVERS, assert_same_bits

from fastar import optimizers, schedules
from fastar._core import threads

pytestmark = pytest.mark.kernels

RATE, DECAY, PENALTY = 0.05, 0.3, 0.2


def shrunk(theta, threshold):
    return np.sign(theta) * np.maximum(np.abs(theta) - threshold, 0)


def sgd(theta, g, state, t, decay, penalty, momentum=0.9, nesterov=True):
    v = state["velocity"] = momentum * state["velocity"] - RATE * g
    theta = (1 - RATE * decay) * theta + (momentum * v - RATE * g if nesterov else v)
    return shrunk(theta, RATE * penalty / (1 - momentum))


def adam(theta, g, state, t, decay, penalty, beta_1=0.9, beta_2=0.999, epsilon=1e-8):
    state["m"] = beta_1 * state["m"] + (1 - beta_1) * g
    state["v"] = beta_2 * state["v"] + (1 - beta_2) * g**2
    m, v = state["m"] / (1 - beta_1**t), state["v"] / (1 - beta_2**t)
    theta = (1 - RATE * decay) * theta - RATE * m / (np.sqrt(v) + epsilon)
    return shrunk(theta, RATE * penalty / (np.sqrt(v) + epsilon))


def adagrad(theta, g, state, t, decay, penalty, epsilon=1e-8):
    state["v"] = state["v"] + g**2
    rate = RATE / (np.sqrt(state["v"]) + epsilon)
    return shrunk((1 - RATE * decay) * theta - rate * g, rate * penalty)


def adadelta(theta, g, state, t, decay, penalty, rho=0.95, epsilon=1e-6):
    state["v"] = rho * state["v"] + (1 - rho) * g**2
    step = np.sqrt(state["u"] + epsilon) / np.sqrt(state["v"] + epsilon) * g
    state["u"] = rho * state["u"] + (1 - rho) * step**2
    rate = RATE * np.sqrt(state["u"] + epsilon) / np.sqrt(state["v"] + epsilon)
    return shrunk((1 - RATE * decay) * theta - RATE * step, rate * penalty)


def rmsprop(theta, g, state, t, decay, penalty, rho=0.9, epsilon=1e-8):
    state["v"] = rho * state["v"] + (1 - rho) * g**2
    rate = RATE / (np.sqrt(state["v"]) + epsilon)
    return shrunk((1 - RATE * decay) * theta - rate * g, rate * penalty)


FORMULAS = {"sgd": sgd, "adam": adam, "adagrad": adagrad, "adadelta": adadelta, "rmsprop": rmsprop}

CASES = [(name, {}) for name in SOLVERS] + [
    ("sgd", {"nesterov": False}),
    ("sgd", {"momentum": 0.0, "nesterov": False}),
    ("adam", {"beta_1": 0.5, "beta_2": 0.7, "epsilon": 1e-2}),
    ("adagrad", {"epsilon": 0.1}),
    ("adadelta", {"rho": 0.5, "epsilon": 1e-3}),
    ("rmsprop", {"rho": 0.5, "epsilon": 0.1}),
]


def run(name, settings, size, dtype, n_threads, n_steps=5, n_decayed=None, penalty=PENALTY):
    """Return theta after some steps, and each gradient that was taken."""
    rng = np.random.default_rng(size)
    optimizer = optimizers.BY_NAME[name](**settings)
    theta = rng.standard_normal(size).astype(dtype)
    start, state, gradients = theta.copy(), optimizer.state(size, np.dtype(dtype)), []
    stretches = optimizers.Stretches(size, size // 3 if n_decayed is None else n_decayed)
    for t in range(1, n_steps + 1):
        g = rng.standard_normal(size).astype(dtype)
        shrinks = {"decay": DECAY, "penalty": penalty}
        optimizer.step(
            theta, g, state, rate=RATE, **shrinks, stretches=stretches, t=t, n_threads=n_threads
        )
        gradients.append(g)
    return start, gradients, theta


def test_every_solver_and_schedule_has_an_entry_here():
    assert set(SOLVERS) == set(optimizers.BY_NAME) == set(FORMULAS)
    assert set(SCHEDULES) == set(schedules.BY_NAME)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1, 2, 17, 1000])
@pytest.mark.parametrize("penalty", [0.0, PENALTY])
@pytest.mark.parametrize(("name", "settings"), CASES)
def test_steps_follow_the_formula_and_shrink_a_prefix_alone(name, settings, penalty, size, dtype):
    start, gradients, theta = run(name, settings, size, dtype, 2, penalty=penalty)
    expected = start.astype(np.float64)
    decay, penalty = (np.where(np.arange(size) < size // 3, each, 0) for each in (DECAY, penalty))
    state = {slot: np.zeros(size) for slot in optimizers.BY_NAME[name].slots}
    for t, g in enumerate(gradients, 1):
        expected = FORMULAS[name](
            expected, g.astype(np.float64), state, t, decay, penalty, **settings
        )
    tolerance = 1e-12 if dtype == "float64" else 5e-6
    np.testing.assert_allclose(theta, expected, rtol=tolerance, atol=tolerance)
    assert ((theta == 0) == (expected == 0)).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SOLVERS)
def test_steps_have_the_same_bits_for_any_thread_count(name, dtype):
    size = 3 * 2**14 + 5
    alone = run(name, {}, size, dtype, 1, n_steps=2)[2]
    for n_threads in (2, 3, 8):
        assert_same_bits(run(name, {}, size, dtype, n_threads, n_steps=2)[2], alone)


@pytest.mark.parametrize("name", SOLVERS)
def test_no_parameters_need_no_step(name):
    assert run(name, {}, 0, "float32", 2)[2].size == 0
    run(name, {}, 3, "float32", 2, n_decayed=0)
    run(name, {}, 3, "float32", 2, n_decayed=3)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SOLVERS)
def test_stretches_change_as_the_whole_does_and_the_rest_stays(name, dtype):
    size = 70_000
    rng = np.random.default_rng(0)
    cuts = np.sort(rng.choice(size, 40, replace=False)).reshape(-1, 2)
    start, g = rng.standard_normal((2, size)).astype(dtype)
    inside = np.zeros(size, bool)
    for begin, end in cuts:
        inside[begin:end] = True
    thetas = []
    for active in (None, cuts):
        optimizer, theta = optimizers.BY_NAME[name](), start.copy()
        stretches = optimizers.Stretches(size, size // 3, active)
        state = optimizer.state(stretches.size, np.dtype(dtype))
        for t in (1, 2):
            shrinks = {"decay": DECAY, "penalty": 1e-3}
            optimizer.step(
                theta, g, state, rate=RATE, **shrinks, stretches=stretches, t=t, n_threads=2
            )
        thetas.append(theta)
    whole, part = thetas
    assert_same_bits(part[inside], whole[inside])
    assert_same_bits(part[~inside], start[~inside])
    assert not (whole == start).any()


@pytest.mark.parametrize("name", SOLVERS)
def test_vectors_of_different_sizes_are_refused(name):
    optimizer = optimizers.BY_NAME[name]()
    slots = [np.zeros(4, np.float32) for _ in optimizer.slots]
    step = optimizers.Step(1, 0.1, 0.0, 0.0, np.array([[0, 4, 0]]), 1)
    with pytest.raises(ValueError, match="differ in size"):
        optimizer.update(np.zeros(4, np.float32), np.zeros(3, np.float32), slots, step)
    for wrong, place in (([0, 5, 0], "theta"), ([0, 4, 1], "state"), ([0, 4, -1], "state")):
        step = optimizers.Step(1, 0.1, 0.0, 0.0, np.array([wrong]), 1)
        with pytest.raises(ValueError, match=f"outside of .*{place}"):
            optimizer.update(np.zeros(4, np.float32), np.zeros(4, np.float32), slots, step)


@pytest.mark.parametrize("t", [0, 1, 10, 999, 1000, 5000])
def test_schedules_follow_their_formulas(t):
    n, s = 1000, t / 1000
    s = min(s, 1)
    assert schedules.Constant().factor(t, n, 3) == 1
    assert schedules.InverseScaling(0.01, 0.5).factor(t, n, 0) == pytest.approx(
        (1 + 0.01 * t) ** -0.5
    )
    assert schedules.InverseScaling().factor(t, n, 0) == pytest.approx(1 / (1 + 1e-3 * t))
    assert schedules.Linear(0.2).factor(t, n, 0) == pytest.approx(1 - 0.8 * s)
    assert schedules.Cosine(0.2).factor(t, n, 0) == pytest.approx(0.6 + 0.4 * math.cos(math.pi * s))
    assert schedules.Plateau(0.5, 3).factor(t, n, 4) == pytest.approx(0.5**4)
    assert schedules.Cooldown().factor(t, n, 0) == 1
    assert schedules.Cooldown().factor(t, t + n, 1) == pytest.approx(n / (t + n))


def test_a_cooldown_is_a_share_of_the_epochs_before_it_and_not_too_short():
    cooldown = schedules.Cooldown(share=0.25, least=3)
    assert [cooldown.cooldown_epochs(n) for n in (0, 12, 13, 40)] == [3, 3, 4, 10]
    assert schedules.Constant().cooldown_epochs(40) == 0


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_begin_at_the_initial_rate(name):
    assert schedules.BY_NAME[name]().factor(0, 100, 0) == 1


# ---- the norm of the gradient


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1, 17, 100_001])
def test_a_gradient_is_shortened_to_the_largest_norm_and_no_more(size, dtype):
    g = np.random.default_rng(0).standard_normal(size).astype(dtype)
    stretches = optimizers.Stretches(size, size // 3)
    norm = math.sqrt((g.astype(float) ** 2).sum())
    for share in (0.25, 0.9):
        clipped = g.copy()
        optimizers.clip_by_norm(clipped, stretches, share * norm, 2)
        np.testing.assert_allclose(clipped, share * g, rtol=1e-6 if dtype == "float32" else 1e-14)
    for largest in (1.01 * norm, math.inf):
        clipped = g.copy()
        optimizers.clip_by_norm(clipped, stretches, largest, 2)
        assert_same_bits(clipped, g)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_norm_counts_what_is_active_alone(dtype):
    g = np.arange(1, 9).astype(dtype)
    stretches = optimizers.Stretches(8, 4, np.array([[0, 2], [3, 6]]))
    norm = math.sqrt(1 + 4 + 16 + 25 + 36)
    g[[2, 6, 7]] = np.nan  # never read
    clipped = g.copy()
    optimizers.clip_by_norm(clipped, stretches, 1.0, 1)
    np.testing.assert_allclose(clipped[[0, 1, 3, 4, 5]], g[[0, 1, 3, 4, 5]] / norm, rtol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_clipped_gradient_has_the_same_bits_for_any_thread_count(dtype, monkeypatch):
    monkeypatch.setattr(threads, "_WORTH_A_THREAD", 1)
    g = np.random.default_rng(0).standard_normal(200_003).astype(dtype)
    stretches = optimizers.Stretches(len(g), 70_000)
    found = []
    for n_threads in (1, 2, 3, 8):
        clipped = g.copy()
        optimizers.clip_by_norm(clipped, stretches, 0.7, n_threads)
        found.append(clipped)
    for other in found[1:]:
        assert_same_bits(other, found[0])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_gradient_that_is_not_finite_is_left_to_be_noticed(value):
    g = np.array([1.0, value, 2.0])
    clipped = g.copy()
    optimizers.clip_by_norm(clipped, optimizers.Stretches(3, 1), 0.1, 1)
    assert_same_bits(clipped, g)


def test_squares_that_overflow_in_single_precision_are_added_in_double():
    g = np.array([3e30, 4e30], np.float32)
    optimizers.clip_by_norm(g, optimizers.Stretches(2, 1), 5.0, 1)
    np.testing.assert_allclose(g, [3, 4], rtol=1e-6)
