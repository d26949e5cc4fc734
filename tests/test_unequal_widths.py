"""Networks over features that have one output, or two, or 300, or three, and as many inputs.

Orderless, recurrent and image networks; the float64 textbooks are those of their own tests.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import recurrent_models
import test_images
import test_orderless
import test_recurrent_frames
from common import assert_same_bits

from fastar import networks
from fastar._core.parameters import ParamLayout
from fastar._data.table import Table
from fastar._kernels import _conditionals
from fastar.conditionals import (
    Bernoulli,
    Categorical,
    Gaussian,
    GaussianMixture,
    Mixed,
    NegativeBinomial,
    Poisson,
)

pytestmark = pytest.mark.kernels

LAYERS = {"hidden_layer_sizes": (7, 6)}
GRID = {"image_shape": (2, 2, 1), "n_hidden": 5, "n_layers": 2}
NETWORKS = {
    "orderless": LAYERS | {"activation": "tanh", "n_orders": 2, "seed": 1},
    **{f"recurrent {cell}": LAYERS | {"cell": cell} for cell in recurrent_models.CELLS},
    "recurrent_frames": LAYERS | {"cell": "tanh", "n_frame_hidden": 5},
    "pixel_recurrent": {"image_shape": (2, 2, 1), "cell": "lstm", "hidden_layer_sizes": (7, 7)},
    "row_lstm": GRID,
    "diagonal_bilstm": GRID,
}
every_network = pytest.mark.parametrize("name", NETWORKS)
N, C = 11, 2
LEVELS = 300


def levels(rng, n, K):
    """Return levels among which all of 0 .. K - 1 are, where there is room for them."""
    return np.append(np.arange(K), rng.integers(0, K, n))[:n]


def table(name):
    """Return conditionals of four columns, and their values."""
    rng = np.random.default_rng(0)
    count, real = rng.poisson(3, LEVELS), rng.normal(size=(LEVELS, 3))
    if name == "pixel_recurrent":  # whose values enter all in one way
        columns = [Poisson(), Gaussian(), GaussianMixture(100), GaussianMixture(1)]
        return columns, np.column_stack([count, real])
    level, other = levels(rng, LEVELS, LEVELS), rng.poisson(2, LEVELS)
    values = np.column_stack([count, other, level, real[:, 0]]).astype(float)
    values[::3, 1] = values[1::5, 2] = np.nan
    return [Poisson(), NegativeBinomial(), Categorical("error", LEVELS), GaussianMixture(1)], values


def table_of_levels(name):
    """Return conditionals of four columns of 2, 300 or 3 levels, and every row of values."""
    columns = [Bernoulli(), *(Categorical("error", K) for K in (2, LEVELS, 3))]
    if name == "pixel_recurrent":
        columns[0] = Categorical("error", 2)
    grids = np.meshgrid(*(np.arange(K) for K in (2, 2, LEVELS, 3)), indexing="ij")
    return columns, np.stack(grids, axis=-1).reshape(-1, 4).astype(float)


@dataclass
class Problem:
    """A network far from its start, with what it is fed."""

    network: Any
    conditional: Any
    theta: np.ndarray
    codes: np.ndarray
    """Of rows, or of steps, N times the sequences that are as long."""
    context: np.ndarray
    n_threads: int = 1

    @property
    def params(self):
        return ParamLayout(self.network.shapes, 0).views(self.theta)

    @property
    def is_sequential(self):
        return isinstance(self.network, networks.Recurrent | networks.RecurrentFrames)

    @property
    def fed(self):
        """Steps of sequences of one length, or the codes of rows."""
        if not self.is_sequential:
            return self.codes
        n, F = len(self.context), self.codes.shape[1]
        by_sequence = self.codes.reshape(-1, n, F).swapaxes(0, 1).reshape(-1, F)
        return networks.Steps.of(by_sequence, np.full(n, len(self.codes) // n))

    def weights(self, member=0):
        return self.network.materialise_weights(self.params, self.n_threads, member)

    def forward(self, member=0, rng=None):
        return self.network.forward(
            self.weights(member), self.fed, self.n_threads, context=self.context, rng=rng
        )

    def log_prob(self, raw, codes):
        return self.conditional.kernel.log_prob(raw, codes, 1)[0]

    def gradient(self):
        """Return the log-density of a training step, and its gradient."""
        raw, cache = self.forward(rng=np.random.default_rng(3))
        targets, factor = self.network.loss_targets(cache, self.codes)
        scale = np.linspace(0.5, 1, len(raw)) * (1 if factor is None else factor)
        scale = scale.astype(self.theta.dtype)
        total, graw = self.conditional.kernel.gradient(raw, targets, scale, 1)
        found = np.full_like(self.theta, np.nan)
        views = ParamLayout(self.network.shapes, 0).views(found)
        self.network.backward(self.weights(), cache, graw, views, self.n_threads)
        return float(scale @ total), found

    def sample(self, held=None, weight=None):
        """Return codes and the noise that they were drawn by; sequences are rows of all steps."""
        n, kernel = len(self.context), self.conditional.kernel
        codes = self.codes.reshape(-1, n, self.codes.shape[1]).swapaxes(0, 1).reshape(n, -1).copy()
        noise = np.empty((len(codes), codes.shape[1], kernel.n_noise), codes.dtype)
        by_step = noise.reshape(-1, self.codes.shape[1], kernel.n_noise)
        self.conditional.fill_noise(np.random.default_rng(5), by_step, 100, 1)
        draw = kernel.draw(codes.dtype, 1.0)
        self.network.sample(
            self.weights(), draw, noise, held, codes, self.n_threads, context=self.context,
            weight=weight,
        )  # fmt: skip
        by_time = codes.reshape(n, -1, self.codes.shape[1]).swapaxes(0, 1)
        return by_time.reshape(self.codes.shape), noise


def problem(name, of=table, dtype="float64", n=N, repeats=2):
    """Return a problem of n rows, or of n sequences of so many steps."""
    kind = networks.BY_NAME[name.split()[0]]
    columns, values = of(name)
    conditional = Mixed(columns).fitted(Table(values, np.arange(4)), np.ones(len(values)))
    if kind is networks.Orderless:
        conditional = conditional.with_gaps()
    network = kind(
        conditional.output_offsets, conditional.inputs, n_context=C, dtype=dtype, **NETWORKS[name]
    )
    found = Problem(network, conditional, network.zeros(), values[:0], np.empty(0))
    rng = np.random.default_rng(1)
    found.theta[:] = 0.3 * rng.standard_normal(found.theta.size)
    rows = np.arange(n * (repeats if found.is_sequential else 1)) % len(values)
    codes = conditional.encode(values[rows], np.dtype(dtype))
    return replace(found, codes=codes, context=rng.standard_normal((n, C)).astype(dtype))


def textbook(it, codes, context, member):
    """Return raw of one row, or of the steps of one sequence, along a member's order."""
    network, params = it.network, dict(it.params)
    if isinstance(network, networks.PixelRecurrent):
        return test_images.recurrent(network, params, codes[0], context)[None]
    if isinstance(network, networks.RowLSTM | networks.DiagonalBiLSTM):
        return test_images.grid(network, params, codes[0], context)[None]
    # a context is more biases
    for name in [name for name in params if name[0] == "U"]:
        bias = f"c{name[1:]}"
        params[bias] = params[bias] + context @ params[name][-C:]
        params[name] = params[name][:-C]
    params["b"], params["B"] = params["b"] + context @ params["B"][-C:], params["B"][:-C]
    if isinstance(network, networks.Recurrent):
        return recurrent_models.textbook(network, params, codes)
    if isinstance(network, networks.RecurrentFrames):
        return test_recurrent_frames.textbook(network, params, codes)
    found, known = np.empty(network.n_outputs), np.zeros(4, bool)
    for d in network.member_order(member):
        raw = test_orderless.textbook(network, params, np.where(known, codes, np.nan))
        own = slice(*network.output_offsets[d : d + 2])
        found[own], known[d] = raw[0, own], True
    return found[None]


# ---- the networks


def test_widths_are_as_unequal_as_they_should_be():
    for name in NETWORKS:
        for of, expected in ((table, [1, 2, LEVELS, 3]), (table_of_levels, [1, 2, LEVELS, 3])):
            it = problem(name, of)
            if of is table_of_levels and name == "pixel_recurrent":
                expected = [2, *expected[1:]]
            assert np.diff(it.network.output_offsets).tolist() == expected
            assert it.network.n_outputs == sum(expected)
            assert it.params["b"].shape == (sum(expected),)
    assert np.isnan(problem("orderless").codes).any()


@every_network
def test_outputs_are_the_textbooks(name):
    it = problem(name)
    for member in range(it.network.n_members):
        raw, _ = it.forward(member)
        assert raw.shape == (len(it.codes), it.network.n_outputs)
        for r in range(N):
            expected = textbook(it, it.codes[r::N], it.context[r], member)
            np.testing.assert_allclose(raw[r::N], expected, rtol=1e-9, atol=1e-11)


@every_network
def test_the_gradient_is_finite_differences(name):
    it = problem(name)
    _, gradient = it.gradient()
    assert np.isfinite(gradient).all()
    start, rng = it.theta.copy(), np.random.default_rng(0)
    for _ in range(4):
        direction, ends = rng.standard_normal(start.size), []
        for step in (1e-6, -1e-6):
            it.theta[:] = start + step * direction
            ends.append(it.gradient()[0])
        it.theta[:] = start
        slope = (ends[0] - ends[1]) / 2e-6
        np.testing.assert_allclose(gradient @ direction, slope, rtol=1e-5, atol=1e-6)


@every_network
def test_probabilities_sum_to_one(name):
    it, n = problem(name, table_of_levels), 4 * LEVELS * 3
    rows = it.conditional.encode(table_of_levels(name)[1], it.codes.dtype)
    before = np.repeat(it.codes[7:8], n, axis=0)
    codes = np.concatenate([before, rows]) if it.is_sequential else rows
    it = replace(it, codes=codes, context=np.repeat(it.context[:1], n, axis=0))
    for member in range(it.network.n_members):
        raw, _ = it.forward(member)
        logp = it.log_prob(raw, codes).sum(axis=1)[-n:]
        assert np.exp(logp).sum() == pytest.approx(1, abs=1e-9)


@every_network
def test_no_value_reaches_what_comes_before(name):
    it = problem(name)
    ends, n_levels = it.network.output_offsets[1:], np.diff(it.network.inputs.offsets)
    is_level = it.network.inputs.input_flags & 1
    for member in range(it.network.n_members):
        raw, _ = it.forward(member)
        order = it.network.member_order(member)
        for t in range(len(it.codes) // N):
            for k, d in enumerate(order):
                codes, rows = it.codes.copy(), slice(t * N, (t + 1) * N)
                changed = np.nan_to_num(codes[rows, d]) + 1
                codes[rows, d] = changed % (n_levels[d] - 1) if is_level[d] else changed
                found, _ = replace(it, codes=codes).forward(member)
                known = np.concatenate(
                    [np.arange(ends[e - 1] if e else 0, ends[e]) for e in order[: k + 1]]
                )
                assert_same_bits(found[: t * N], raw[: t * N])
                assert_same_bits(found[rows][:, known], raw[rows][:, known])
                if k + 1 < len(order) and not isinstance(it.network, networks.Recurrent):
                    later = np.setdiff1d(np.arange(ends[-1]), known)
                    assert (found[rows][:, later] != raw[rows][:, later]).any(axis=1).all()


# ---- walks


@every_network
def test_a_walk_draws_from_the_outputs_that_forward_gives_its_codes(name):
    it = problem(name)
    codes, noise = it.sample()
    raw, _ = replace(it, codes=codes).forward()
    by_time = noise.reshape(N, -1, 4, noise.shape[2]).swapaxes(0, 1).reshape(-1, *noise.shape[1:])
    if it.is_sequential:
        by_time = by_time.reshape(-1, 4, noise.shape[2])
    draw, expected = it.conditional.kernel.draw(codes.dtype, 1.0), np.empty_like(codes)
    for d in range(4):
        own = np.ascontiguousarray(raw[:, slice(*it.network.output_offsets[d : d + 2])])
        drawn = np.empty(len(codes))
        random = np.ascontiguousarray(by_time[:, d])
        _conditionals.choose(draw, d, own, random, None, drawn, np.zeros(len(codes)))
        expected[:, d] = drawn
    np.testing.assert_allclose(codes, expected, rtol=1e-9, atol=1e-9)


@every_network
def test_what_is_held_stays_and_is_weighed(name):
    it, weight = problem(name), np.zeros(N)
    held = np.full((N, len(it.codes) // N * 4), _conditionals.WEIGHTED, np.uint8)
    held[:, 1::4] = _conditionals.OBSERVED
    codes, _ = it.sample(held, weight)
    assert_same_bits(codes, it.codes)
    raw, _ = it.forward()
    if name == "orderless":  # which sees what is observed from the start
        return
    logp = it.log_prob(raw, codes)
    logp[:, 1] = 0
    np.testing.assert_allclose(weight, logp.reshape(-1, N, 4).sum(axis=(0, 2)), rtol=1e-9)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@every_network
def test_bits_are_the_same_for_any_threads_and_rows_beside(name, dtype, monkeypatch):
    for module in ("_orderless", "_recurrent_network", "_grid"):  # however small the problem
        monkeypatch.setattr(
            f"fastar.networks.{module}.useful_n_threads", lambda n_threads, _: n_threads
        )
    it = problem(name, dtype=dtype, n=53)
    one = [it.forward()[0], it.gradient()[1], it.sample()[0]]
    for n_threads in (2, 3):
        other = replace(it, n_threads=n_threads)
        for mine, its in zip(
            one, [other.forward()[0], other.gradient()[1], other.sample()[0]], strict=True
        ):
            assert_same_bits(its, mine)
    few = [*range(7, 11), *range(60, 64)] if it.is_sequential else [*range(7, 11)]
    part = replace(it, codes=it.codes[few], context=it.context[7:11])
    assert_same_bits(part.forward()[0], one[0][few])
