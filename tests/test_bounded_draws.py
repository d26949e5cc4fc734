"""Masses of regions, and draws within them, of every kind: against SciPy's distributions."""

import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp, softmax

from fastar._kernels._conditionals import BOUNDED, FEATURE, KINDS, MIXTURES, Kernel, choose

pytestmark = pytest.mark.kernels

inf = np.inf
NORMAL = {"gaussian", "gaussian_mixture"}
UNIT, LOW, HIGH = 0.25, -3.0, 4.5  # of ordinal levels: half their distance, the outer ones
RAW = {
    "gaussian": [0.3, -0.7],
    "laplace": [-0.4, 0.2],
    "gaussian_mixture": [0.5, -0.5, 1.0, -2.0, 0.0, 3.0, -1.0, -2.5, 0.5],
    "laplace_mixture": [0.5, -0.5, 1.0, -2.0, 0.0, 3.0, -1.0, -1.5, -0.5],
    "logistic_mixture": [0.5, -0.5, 1.0, -2.0, 0.0, 3.0, -1.0, -2.5, -0.5],
    "integer": [0.5, -0.5, 1.0, -2.0, 0.0, 3.0, -1.0, -2.5, -0.5],
}
INTERVALS = [(-1.0, 0.5), (2.0, inf), (-inf, -1.5), (1.0, 1.0 + 1e-9), (-inf, inf), (-0.5, 6.0)]


def feature(kind, **fields):
    found = np.zeros(1, FEATURE)
    found["kind"], found["count"], found["unit"], found["floor"] = KINDS.index(kind), 3, 1, 1e-3
    found["low"], found["high"] = -inf, 0
    for name, value in fields.items():
        found[name] = value
    return found


def draw(kind, raw, runs, n=1, *, dtype="float64", temperature=1.0, seed=0, **fields):
    """Return n codes drawn within a region, given by its runs, and the log of its mass."""
    runs = np.array(runs, float).reshape(-1, 2)
    n_noise = 2 if KINDS.index(kind) in MIXTURES else 1
    kernel = Kernel(feature(kind, **fields), n_noise, False)
    rng = np.random.default_rng(seed)
    noise = rng.random((n, n_noise))
    if kind in NORMAL:
        noise[:, -1] = rng.standard_normal(n)
    codes, weight = np.zeros(n, dtype), np.zeros(n)
    regions = np.array([0, len(runs)]), runs, np.zeros(len(runs), np.int64)
    rows = np.repeat(np.array([raw], dtype), n, axis=0)
    flags = np.full(n, BOUNDED, np.uint8)
    capsule = kernel.draw(np.dtype(dtype), temperature, regions)
    choose(capsule, 0, rows, noise.astype(dtype), flags, codes, weight)
    assert (weight == weight[0]).all()
    return codes.astype(float), weight[0]


def components(kind, temperature=1.0):
    """Return the weights and SciPy's distributions of a density's components."""
    base = kind.removesuffix("_mixture")
    if base == kind:
        weight, mean, s = np.zeros(1), *np.array(RAW[kind]).reshape(2, 1)
    else:
        weight, mean, s = np.array(RAW[kind]).reshape(3, 3)
    spread = (np.exp(s) + 1e-3) * temperature
    scale = np.sqrt(spread) if base == "gaussian" else spread
    law = {"gaussian": stats.norm, "laplace": stats.laplace, "logistic": stats.logistic}[base]
    return softmax(weight / temperature), law(mean, scale)


def cdf(kind, x, temperature=1.0):
    weight, law = components(kind, temperature)
    return (weight * law.cdf(np.asarray(x, float)[..., None])).sum(axis=-1)


@pytest.mark.parametrize("interval", INTERVALS)
@pytest.mark.parametrize("kind", ["gaussian", "laplace", "gaussian_mixture", "laplace_mixture"])
def test_an_interval_has_the_mass_of_a_density_and_its_draws(kind, interval):
    for temperature in (1.0, 0.5):
        codes, log_mass = draw(kind, RAW[kind], interval, 4000, temperature=temperature)
        low, high = interval
        assert ((low <= codes) & (codes <= high)).all()
        if high - low > 1e-6:
            ends = cdf(kind, low), cdf(kind, high)
            np.testing.assert_allclose(np.exp(log_mass), ends[1] - ends[0], rtol=1e-9)
            ends = cdf(kind, low, temperature), cdf(kind, high, temperature)
            share = (cdf(kind, codes, temperature) - ends[0]) / (ends[1] - ends[0])
            assert stats.kstest(share, "uniform").pvalue > 1e-4
        else:
            weight, law = components(kind)
            density = (weight * law.pdf(low)).sum()
            np.testing.assert_allclose(log_mass, np.log(density * (high - low)), rtol=1e-6)


@pytest.mark.parametrize("kind", ["gaussian", "laplace", "gaussian_mixture", "laplace_mixture"])
def test_several_intervals_add_up(kind):
    runs = [(-3.0, -2.0), (-0.1, 0.4), (3.0, inf)]
    codes, log_mass = draw(kind, RAW[kind], runs, 6000)
    each = np.array([draw(kind, RAW[kind], run)[1] for run in runs])
    np.testing.assert_allclose(log_mass, logsumexp(each), rtol=1e-12)
    counts = [((low <= codes) & (codes <= high)).sum() for low, high in runs]
    assert sum(counts) == 6000
    assert stats.chisquare(counts, 6000 * np.exp(each - log_mass)).pvalue > 1e-4


@pytest.mark.parametrize("side", [-1, 1])
@pytest.mark.parametrize("distance", [3.0, 8.0, 29.9, 30.1, 45.0, 200.0])
def test_the_tails_of_a_gaussian_keep_their_digits(distance, side):
    raw, scale = [0.0, 0.0], np.sqrt(1 + 1e-3)
    low = distance * scale
    for width in (0.01, 1.0, inf):
        run = sorted([side * low, side * (low + width)])
        codes, log_mass = draw("gaussian", raw, run, 2000)
        tail = stats.norm.logsf(distance), stats.norm.logsf(distance + width / scale)
        exact = tail[0] + np.log(-np.expm1(tail[1] - tail[0]))
        np.testing.assert_allclose(log_mass, exact, rtol=1e-10)
        assert ((run[0] <= codes) & (codes <= run[1])).all()
        reached = stats.norm.logsf(np.abs(codes) / scale)
        share = -np.expm1(reached - tail[0]) / -np.expm1(tail[1] - tail[0])
        assert stats.kstest(share, "uniform").pvalue > 1e-4


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_levels_of_a_logistic_mixture_reach_beyond_the_outer_ones(dtype):
    fields = {"unit": UNIT, "low": LOW, "high": HIGH, "dtype": dtype}
    levels = np.arange(LOW, HIGH + UNIT, 2 * UNIT)
    kind, raw = "logistic_mixture", RAW["logistic_mixture"]
    each = np.array([draw(kind, raw, (x, x), **fields)[1] for x in levels])
    edges = np.append(-inf, np.append(levels[:-1] + UNIT, inf))
    np.testing.assert_allclose(np.exp(each), np.diff(cdf(kind, edges)), atol=1e-7)
    np.testing.assert_allclose(np.exp(each).sum(), 1, rtol=1e-6)
    assert draw(kind, raw, (LOW, HIGH), **fields)[1] == pytest.approx(0, abs=1e-12)
    for first, last in [(0, 2), (4, 9), (10, 15), (0, 14)]:
        run = (levels[first], levels[last])
        codes, log_mass = draw(kind, raw, run, 4000, **fields)
        np.testing.assert_allclose(log_mass, logsumexp(each[first : last + 1]), rtol=1e-5)
        place = np.rint((codes - LOW) / (2 * UNIT)).astype(int)
        np.testing.assert_allclose(codes, levels[place], atol=1e-6)
        counts = np.bincount(place - first, minlength=last + 1 - first)
        expected = 4000 * np.exp(each[first : last + 1] - log_mass)
        assert len(counts) == last + 1 - first
        assert np.abs((counts - expected) / np.sqrt(expected + 1)).max() < 5


LEVELS = np.array([0.3, -1.0, 2.0, -60.0, 0.0, 1.0, -0.5])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("runs", [[(0, 0)], [(1, 3), (5, 6)], [(0, 6)], [(3, 3)], [(0, 1), (4, 4)]])
def test_a_set_of_levels_has_their_mass_and_draws(runs, temperature, dtype):
    fields = {"count": 7, "dtype": dtype}
    allowed = np.concatenate([np.arange(a, b + 1) for a, b in runs])
    codes, log_mass = draw("categorical", LEVELS, runs, 4000, temperature=temperature, **fields)
    exact = logsumexp(LEVELS[allowed]) - logsumexp(LEVELS)
    np.testing.assert_allclose(log_mass, exact, rtol=1e-6, atol=1e-7)
    assert np.isin(codes, allowed).all()
    counts = np.bincount(codes.astype(int), minlength=7)[allowed]
    expected = 4000 * softmax(LEVELS[allowed] / temperature)
    assert np.abs((counts - expected) / np.sqrt(expected + 1)).max() < 5


def test_what_is_no_level_has_a_run_of_its_own():
    other = 0.2
    fields = {"count": 7, "low": np.log(other), "high": np.log(1 - other)}
    codes, log_mass = draw("categorical", LEVELS, [(-1, -1), (2, 2)], 4000, **fields)
    level = (1 - other) * softmax(LEVELS)[2]
    np.testing.assert_allclose(np.exp(log_mass), other + level, rtol=1e-9)
    assert set(codes) == {-1, 2}
    assert (codes == -1).mean() == pytest.approx(other / (other + level), abs=0.04)
    assert draw("categorical", LEVELS, [(-1, -1), (0, 6)], **fields)[1] == pytest.approx(0)
    assert draw("categorical", LEVELS, [(0, 6)], **fields)[1] == pytest.approx(np.log(0.8))


@pytest.mark.parametrize("runs", [[(0, 0)], [(1, 1)], [(0, 1)]])
def test_a_bit_has_the_mass_of_its_values(runs):
    z = -0.8
    p = np.array([1 - 1 / (1 + np.exp(-z)), 1 / (1 + np.exp(-z))])
    codes, log_mass = draw("bernoulli", [z], runs, 4000)
    (low, high) = runs[0]
    np.testing.assert_allclose(np.exp(log_mass), p[low : high + 1].sum(), rtol=1e-12)
    assert set(codes) == set(range(low, high + 1))
    if low < high:
        assert codes.mean() == pytest.approx(p[1], abs=0.03)


COUNTED = {
    "poisson": [([1.2], stats.poisson(np.exp(1.2))), ([8.0], stats.poisson(np.exp(8.0)))],
    "negative_binomial": [
        ([m, s], stats.nbinom(np.exp(s), np.exp(s) / (np.exp(s) + np.exp(m))))
        for m, s in [(1.2, 0.3), (3.0, -1.0), (7.0, 2.0)]
    ],
}


@pytest.mark.parametrize("kind", COUNTED)
def test_counts_have_the_mass_of_their_runs(kind):
    for raw, law in COUNTED[kind]:
        middle = int(law.median())
        runs = [
            (0, 0),
            (0, middle),
            (middle, 2**24),
            (middle // 2, middle + 3),
            (2 * middle + 9,) * 2,
        ]
        for run in runs:
            codes, log_mass = draw(kind, raw, np.array(run) / 4.0, 3000, unit=4.0)
            counts = codes * 4
            every = np.arange(run[0], min(run[1], 60_000) + 1)
            log_p = law.logpmf(every)
            np.testing.assert_allclose(log_mass, logsumexp(log_p), rtol=1e-5, atol=2e-5)
            assert (counts == np.rint(counts)).all()
            assert ((run[0] <= counts) & (counts <= run[1])).all()
            mean = softmax(log_p) @ every
            deviation = np.sqrt(softmax(log_p) @ (every - mean) ** 2)
            assert abs(counts.mean() - mean) < 5 * deviation / np.sqrt(3000) + 1e-9
        pair = [(0, middle // 2), (middle + 2, middle + 5)]
        each = [draw(kind, raw, np.array(run) / 4.0, unit=4.0)[1] for run in pair]
        codes, log_mass = draw(kind, raw, np.array(pair) / 4.0, 3000, unit=4.0)
        np.testing.assert_allclose(log_mass, logsumexp(each), rtol=1e-9)
        share = (codes * 4 <= middle // 2).mean()
        assert share == pytest.approx(np.exp(each[0] - log_mass), abs=0.05)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_has_no_mass_and_leaves_a_code(kind):
    raw = RAW.get(kind, {"categorical": [0.1, 0.2, 0.3], "negative_binomial": [0.1, 0.2]}.get(kind))
    raw = [0.1] if raw is None else raw
    codes, log_mass = draw(kind, raw, [], 3, unit=UNIT, low=LOW, high=HIGH)
    assert log_mass == -inf
    assert np.isfinite(codes).all()


@pytest.mark.parametrize("kind", ["gaussian", "gaussian_mixture", "laplace", "logistic_mixture"])
def test_parameters_that_make_no_sense_give_no_nan(kind):
    for size in (1e30, -1e30):
        raw = np.array(RAW[kind]) * size
        codes, log_mass = draw(
            kind, raw, (-1.0, 0.5), 5, dtype="float32", unit=UNIT, low=LOW, high=HIGH
        )
        assert not np.isnan(log_mass)
        assert log_mass <= 1e-6
        assert ((codes >= -1.0) & (codes <= 0.5)).all()


def test_too_few_outputs_are_refused():
    with pytest.raises(ValueError, match="each output of the feature"):
        draw("integer", RAW["integer"][:8], (0.0, 1.0), unit=UNIT, low=LOW, high=HIGH)


def test_regions_must_fit_together():
    kernel = Kernel(feature("gaussian"), 1, False)
    for begin, runs in [([0, 2], [[0.0, 1.0]]), ([0], np.empty((0, 2))), ([0, 1, 0], [[0.0, 1.0]])]:
        with pytest.raises(ValueError, match="regions must"):
            kernel.draw(
                np.float64, 1.0, (np.array(begin), np.array(runs), np.zeros(len(runs), np.int64))
            )
