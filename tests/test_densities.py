"""What each conditional says of a feature, against SciPy's distributions and by counting."""

from itertools import pairwise

import numpy as np
import pytest
from common import (
    CONDITIONALS,
    COUNTS,
    DATA,
    DTYPES,
    REAL,
    assert_same_bits,
    distribution,
    fit,
    make,
    ulps,
    unfitted,
)
from scipy import stats
from scipy.special import log_softmax, logsumexp, softmax
from test_conditionals import columns_of, fitted, problem_of
from test_kernels import WIDER

from fastar import conditionals
from fastar._data.table import Table

pytestmark = [pytest.mark.kernels, pytest.mark.usefixtures("threads_for_small_work")]


def one(name, X, **settings):
    """Return the conditional fitted to one column, named or an object."""
    conditional = unfitted(name, 1, **settings) if isinstance(name, str) else name
    X = np.asarray(X)[:, None]
    return conditional.fitted(Table(X, np.arange(1)), np.ones(len(X)))


def flat(raw):
    """Return raw outputs (n, D, P) as (n, D P)."""
    return np.ascontiguousarray(raw.reshape(len(raw), -1))


def log_prob(conditional, raw, x):
    """Return log p(x) (n,) of one column by raw outputs (P,), in the user's units."""
    codes = conditional.encode(np.asarray(x)[:, None], np.dtype("float64"))
    rows = np.tile(np.asarray(raw, float), (len(codes), 1))
    logp, _ = conditional.log_prob(rows, codes, 1)
    return logp[:, 0]


def described(conditional, raw, x):
    codes = conditional.encode(np.asarray(x)[:, None], np.dtype("float64"))
    rows = np.tile(np.asarray(raw, float), (len(codes), 1))
    return conditional.distribution_params(rows, codes)


class Blend:
    """A mixture of SciPy's distributions."""

    def __init__(self, weights, parts):
        self.weights, self.parts = np.asarray(weights), parts

    def logpdf(self, x):
        return logsumexp(
            [np.log(w) + each.logpdf(x) for w, each in zip(self.weights, self.parts, strict=True)],
            axis=0,
        )

    def cdf(self, x):
        return sum(w * each.cdf(x) for w, each in zip(self.weights, self.parts, strict=True))

    def mean(self):
        return self.weights @ [each.mean() for each in self.parts]

    def var(self):
        second = self.weights @ [each.var() + each.mean() ** 2 for each in self.parts]
        return second - self.mean() ** 2


def scipys(conditional, raw):
    """Return SciPy's distribution of one column by raw outputs (P,), in the user's units."""
    name, raw = conditional.name, np.asarray(raw, float)
    if name in COUNTS:
        mean = np.exp(raw[0])
        r = np.exp(raw[-1])
        return stats.poisson(mean) if name == "poisson" else stats.nbinom(r, r / (r + mean))
    floor = conditional.variance_floor
    K = getattr(conditional, "n_components", 1)
    z, mean, s = np.split(raw, 3) if name.endswith("mixture") else ([0.0], raw[:1], raw[1:])
    mean = conditional.location[0] + conditional.scale[0] * mean
    if name.startswith("gaussian"):
        law, width = stats.norm, np.sqrt(np.exp(s) + floor)
    else:
        law, width = stats.laplace, np.exp(s) + np.sqrt(floor / 2)
    parts = [law(mean[k], width[k] * conditional.scale[0]) for k in range(K)]
    return Blend(softmax(z), parts) if name.endswith("mixture") else parts[0]


# The map of a number bends: test_number.py has its laws.
STANDARDISED = [name for name in REAL if name != "number"]


def raw_of(conditional, seed=0):
    """Return raw outputs (P,) that spread a mixture's components."""
    return np.random.default_rng(seed).standard_normal(conditional.output_offsets[-1])


def column_of(name):
    X = DATA[name](60, 1)[:, 0]
    return X if name in COUNTS else 3 + 1000 * X


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", [*STANDARDISED, *COUNTS])
def test_densities_moments_and_quantiles_are_scipys(name, seed):
    conditional = one(name, column_of(name))
    raw = raw_of(conditional, seed)
    law = scipys(conditional, raw)
    deviation = np.sqrt(law.var())
    x = law.mean() + deviation * np.linspace(-6, 6, 101)
    x = np.unique(np.rint(x[x >= 0])) if name in COUNTS else x
    expected = law.logpmf(x) if name in COUNTS else law.logpdf(x)
    np.testing.assert_allclose(log_prob(conditional, raw, x), expected, rtol=1e-10, atol=1e-11)
    said = described(conditional, raw, x)
    np.testing.assert_allclose(said["mean"][0, 0], law.mean(), rtol=1e-12)
    np.testing.assert_allclose(said["variance"][0, 0], law.var(), rtol=1e-9)
    np.testing.assert_allclose(said["cdf"][:, 0], law.cdf(x), rtol=1e-9, atol=1e-12)
    quantiles = said["quantiles"][0, 0]
    for quantile, share in zip(quantiles, (0.05, 0.5, 0.95), strict=True):
        if name in COUNTS:
            assert law.cdf(quantile - 1) < share <= law.cdf(quantile)
        else:
            assert law.cdf(quantile) == pytest.approx(share, abs=1e-12)


@pytest.mark.parametrize("name", STANDARDISED)
def test_a_density_integrates_to_one(name):
    conditional = one(name, column_of(name))
    raw = raw_of(conditional)
    law = scipys(conditional, raw)
    parts = law.parts if isinstance(law, Blend) else [law]
    points = np.sort([part.mean() for part in parts])
    ends = [points[0] - 80 * np.sqrt(law.var()), *points, points[-1] + 80 * np.sqrt(law.var())]
    total = 0
    x, weight = np.polynomial.legendre.leggauss(200)
    for a, b in pairwise(ends):
        for left in np.linspace(a, b, 21)[:-1]:
            half = (b - a) / 40
            inside = left + half * (x + 1)
            total += half * weight @ np.exp(log_prob(conditional, raw, inside))
    assert total == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("raw", [(2.0, 1.0), (5.0, -2.0), (-3.0, 4.0), (7.0, 7.0)])
@pytest.mark.parametrize("name", COUNTS)
def test_probabilities_of_counts_sum_to_one(name, raw):
    conditional = one(name, column_of(name))
    x = np.arange(200_000)
    logp = log_prob(conditional, raw[: conditional.output_offsets[-1]], x)
    assert np.exp(logp).sum() == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("name", COUNTS)
def test_a_count_up_to_the_largest_is_told_from_its_neighbours(name):
    rng = np.random.default_rng(0)
    column = rng.integers(0, 1 << 24, 200)
    x = np.concatenate([(1 << 24) - np.arange(100), column, np.arange(100)])
    for conditional in (one(name, column), one(name, np.arange(9))):
        for dtype in DTYPES:
            codes = conditional.encode(x[:, None], np.dtype(dtype))
            assert_same_bits(conditional.decode(codes)[:, 0], x.astype(float))
    assert conditional.unsupported(np.array([[float((1 << 24) + 1)]])).all()
    assert conditional.unsupported(np.array([[0.5]])).all()
    assert conditional.unsupported(np.array([[-1.0]])).all()


# ---- ordinal levels


def levels_of(n_levels, low=0):
    """Return the conditional of so many levels from `low` on."""
    high = low + n_levels - 1
    return one(conditionals.LogisticMixture(3, low, high), [low, high])  # codes from -1 to 1


@pytest.mark.parametrize("raw_scale", [0.3, 3.0, 30.0])
@pytest.mark.parametrize("n_levels", [1, 2, 3, 256, 1_000_000])
def test_probabilities_of_levels_sum_to_one(n_levels, raw_scale):
    conditional = levels_of(n_levels, -5)
    raw = raw_of(conditional) * raw_scale
    logp = log_prob(conditional, raw, np.arange(n_levels) - 5)
    assert (logp <= 1e-12).all()
    assert np.exp(logp).sum() == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("n_levels", [2, 3, 17, 256])
@pytest.mark.parametrize("s", [-9.0, -4.0, -1.0, 2.0])
def test_probabilities_of_levels_are_those_of_scipys_intervals(n_levels, s):
    conditional = levels_of(n_levels, 10)
    z, mean = np.array([0.3, -0.5, 1.0]), np.array([-0.8, 0.1, 1.3])
    raw = np.concatenate([z, mean, [s, s + 0.5, s - 1]])
    levels = np.arange(n_levels)
    ends = np.concatenate([[-np.inf], levels[:-1] + 0.5, [np.inf]])
    # a code of 2 is as wide as all levels but one
    width = (n_levels - 1) / 2
    mass = sum(
        weight * np.diff(stats.logistic.cdf(ends, (m + 1) * width, (np.exp(each) * width + 0.05)))
        for weight, m, each in zip(softmax(z), mean, raw[6:], strict=True)
    )
    logp = log_prob(conditional, raw, levels + 10)
    np.testing.assert_allclose(np.exp(logp), mass, rtol=1e-9, atol=1e-13)
    said = described(conditional, raw, levels + 10)
    np.testing.assert_allclose(said["cdf"][:, 0], np.cumsum(mass), rtol=1e-9)
    np.testing.assert_allclose(said["means"][0, 0], 10 + (mean + 1) * width, rtol=1e-12)
    np.testing.assert_allclose(said["scales"][0, 0], np.exp(raw[6:]) * width + 0.05, rtol=1e-12)
    np.testing.assert_allclose(
        said["mean"][0, 0], softmax(z) @ (10 + (mean + 1) * width), rtol=1e-12
    )


def test_far_levels_keep_their_logarithm():
    conditional = levels_of(256)
    raw = np.array([0.0, 0, 0, -1, -1, -1, *[-5.0] * 3])
    b = np.exp(-5) * 127.5 + 0.05
    logp = log_prob(conditional, raw, np.arange(100, 200))
    # the tail falls by 1 / b a level
    np.testing.assert_allclose(np.diff(logp), -1 / b, rtol=1e-9)
    assert (logp < -80).all()


def test_a_single_level_is_certain_and_teaches_nothing():
    conditional = levels_of(1, 7)
    codes = conditional.encode(np.full((4, 1), 7), np.dtype("float64"))
    raw = np.random.default_rng(0).standard_normal((4, 9)) * 5
    total, graw = conditional.kernel.gradient(raw, codes, np.ones(4), 1)
    np.testing.assert_allclose(total, 0, atol=1e-12)
    np.testing.assert_allclose(graw, 0, atol=1e-12)
    assert conditional.decode(codes).tolist() == [[7]] * 4


# ---- equalities between conditionals


def test_two_levels_are_a_bernoulli():
    rng = np.random.default_rng(0)
    X = rng.integers(0, 2, (50, 3))
    table, ones = Table(X, np.arange(3)), np.ones(50)
    bernoulli, levels = (
        unfitted(name, 3).fitted(table, ones) for name in ("bernoulli", "categorical")
    )
    z = rng.standard_normal((50, 3, 1)) * 5
    raw, z = flat(np.concatenate([np.zeros_like(z), z], axis=2)), flat(z)
    codes = X.astype(float)
    np.testing.assert_allclose(
        levels.kernel.log_prob(raw, codes, 1)[0], bernoulli.kernel.log_prob(z, codes, 1)[0],
        rtol=1e-12, atol=1e-15,
    )  # fmt: skip
    _, g2 = levels.kernel.gradient(raw, codes, np.ones(50), 1)
    _, g1 = bernoulli.kernel.gradient(z, codes, np.ones(50), 1)
    np.testing.assert_allclose(g2[:, 1::2], g1, rtol=1e-10, atol=1e-15)
    np.testing.assert_allclose(
        levels.distribution_params(raw, codes)[:, :, 1], bernoulli.distribution_params(z, codes)
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["gaussian", "laplace"])
def test_a_mixture_of_one_component_is_its_component(name, dtype):
    rng = np.random.default_rng(0)
    X = DATA["gaussian"](40, 3)
    table, ones = Table(X, np.arange(3)), np.ones(40)
    single = unfitted(name, 3, variance_floor=1e-3).fitted(table, ones)
    mixture = unfitted(f"{name}_mixture", 3, n_components=1, variance_floor=1e-3)
    mixture = mixture.fitted(table, ones)
    raw = (rng.standard_normal((40, 3, 2)) * 2).astype(dtype)
    z = (rng.standard_normal((40, 3, 1)) * 9).astype(dtype)
    both, raw = flat(np.concatenate([z, raw], axis=2)), flat(raw)
    codes, scale = single.encode(X, np.dtype(dtype)), np.linspace(-1, 1, 40).astype(dtype)
    assert_same_bits(mixture.encode(X, np.dtype(dtype)), codes)
    rtol = {"float32": 1e-4, "float64": 1e-12}[dtype]
    kernels = mixture.kernel, single.kernel
    close = {"rtol": rtol, "atol": rtol}
    np.testing.assert_allclose(
        kernels[0].log_prob(both, codes, 1)[0], kernels[1].log_prob(raw, codes, 1)[0], **close
    )
    _, graw = kernels[0].gradient(both, codes, scale, 1)
    _, expected = kernels[1].gradient(raw, codes, scale, 1)
    graw = graw.reshape(40, 3, 3)
    np.testing.assert_allclose(graw[:, :, 1:], expected.reshape(40, 3, 2), **close)
    np.testing.assert_allclose(graw[:, :, 0], 0, atol=rtol)
    said, alone = mixture.distribution_params(both, codes), single.distribution_params(raw, codes)
    for key in ("mean", "variance", "cdf", "quantiles"):
        np.testing.assert_allclose(said[key], alone[key], rtol=1e-8)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_components", [1, 2, 3, 7, 8, 16, 17, 256])
@pytest.mark.parametrize("name", ["gaussian_mixture", "laplace_mixture", "logistic_mixture"])
def test_equal_components_are_one_of_them(name, n_components, dtype):
    X = columns_of(name, 4)
    one, many = (
        unfitted(name, 4, n_components=K).fitted(Table(X, np.arange(4)), np.ones(len(X)))
        for K in (1, n_components)
    )
    rng = np.random.default_rng(0)
    raw = rng.standard_normal((len(X), 4, 3)).astype(dtype)
    repeated = np.repeat(raw, n_components, axis=2)
    repeated[:, :, :n_components] = rng.standard_normal(n_components)
    share = softmax(repeated[0, 0, :n_components].astype(float))
    raw, repeated = flat(raw), flat(repeated)
    codes = one.encode(X, np.dtype(dtype))
    tolerance = {"float32": 2e-4, "float64": 1e-11}[dtype]
    close = {"rtol": tolerance, "atol": tolerance}
    np.testing.assert_allclose(
        many.kernel.log_prob(repeated, codes, 1)[0], one.kernel.log_prob(raw, codes, 1)[0], **close
    )
    scale = np.ones(len(X), dtype)
    _, graw = many.kernel.gradient(repeated, codes, scale, 1)
    _, expected = one.kernel.gradient(raw, codes, scale, 1)
    graw, expected = (each.reshape(len(X), 4, -1) for each in (graw, expected))
    for part in (1, 2):
        own = graw[:, :, part * n_components : (part + 1) * n_components]
        np.testing.assert_allclose(own, expected[:, :, part : part + 1] * share, **close)


@pytest.mark.parametrize("n_components", [0, 257, 2.0, None])
@pytest.mark.parametrize("kind", ["GaussianMixture", "LaplaceMixture", "LogisticMixture"])
def test_a_number_of_components_is_checked(kind, n_components):
    with pytest.raises(ValueError, match=f"n_components of {kind} must be an int from 1 to 256"):
        one(getattr(conditionals, kind)(n_components), [0, 1, 2])


@pytest.mark.parametrize("floor", [0, -1.0, float("nan"), float("inf")])
@pytest.mark.parametrize("name", [*REAL, "logistic_mixture"])
def test_a_floor_is_checked(name, floor):
    kind = conditionals.BY_NAME[name]
    key = "scale_floor" if name == "logistic_mixture" else "variance_floor"
    with pytest.raises(ValueError, match=f"{key} of {kind.__name__} must be at least 1e-30"):
        one(kind(**{key: floor}), [0, 1, 2])


@pytest.mark.parametrize(("low", "high"), [(3, 2), (0, 1 << 23)])
def test_levels_are_checked(low, high):
    with pytest.raises(ValueError, match="LogisticMixture must have low <= high"):
        one(conditionals.LogisticMixture(low=low, high=high), [2, 2])


def test_levels_may_be_given_beyond_those_of_the_data():
    conditional = one(conditionals.LogisticMixture(2, 0, 9), [4, 5, 4])
    assert not conditional.unsupported(np.arange(10)[:, None]).any()
    assert conditional.unsupported(np.array([[-1], [10]])).all()


# ---- floors


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("floor", [1e-8, 1e-3, 10.0])
@pytest.mark.parametrize("name", REAL)
def test_no_density_is_narrower_than_its_floor(name, floor, dtype):
    conditional = one(name, column_of(name), variance_floor=floor)
    K = getattr(conditional, "n_components", 1)
    raw = np.zeros((5, conditional.output_offsets[-1]), dtype)
    raw[:, -K:] = -1e4
    codes = np.linspace(0, 3 * np.sqrt(floor), 5).astype(dtype)[:, None]
    logp, _ = conditional.kernel.log_prob(raw, codes, 1)
    law = stats.norm(0, np.sqrt(floor))
    if name.startswith("laplace"):
        law = stats.laplace(0, np.sqrt(floor / 2))
    np.testing.assert_allclose(logp[:, 0], law.logpdf(codes[:, 0]), rtol=1e-5, atol=1e-5)
    _, graw = conditional.kernel.gradient(raw, codes, np.ones(5, dtype), 1)
    np.testing.assert_allclose(graw[:, -K:], 0, atol=1e-28)  # a floor is not learnt


@pytest.mark.parametrize("name", [*REAL, *COUNTS, "logistic_mixture"])
def test_training_on_repeated_values_is_bounded_by_the_floor(name):
    rng = np.random.default_rng(0)
    X = np.where(rng.random((300, 3)) < 0.7, 2, rng.integers(0, 9, (300, 3)))
    X = X.astype(float) if name in REAL else X
    settings = {"distribution": name, "max_iter": 60, "learning_rate_init": 0.05}
    model = fit(make("RNADE", early_stopping=False, max_gradient_norm=10.0, **settings), X)
    assert np.isfinite(model.loss_curve_).all()
    assert model.loss_curve_[-1] < model.loss_curve_[0]
    if name in REAL:
        highest = -0.5 * np.log(2 * np.pi * model.distribution_.variance_floor)
        if name.startswith("laplace"):
            highest = -0.5 * np.log(2 * model.distribution_.variance_floor)
        # the floor is of the column's own variance
        assert (model.score_features(X) <= highest - np.log(X.std(axis=0)) + 1e-3).all()
    else:
        assert (model.score_features(X) <= 1e-6).all()


# ---- the accuracy of log, through the mass of an interval around the mean: tanh(width / 4)


@pytest.mark.parametrize("dtype", DTYPES)
def test_logarithms_of_small_masses_are_within_four_ulp(dtype):
    # codes from -1 to 1 of three levels; the middle one is as wide as 1 / scale
    conditional = one(conditionals.LogisticMixture(1, 0, 2, scale_floor=1.0), [0, 2])
    most = {"float32": 80, "float64": 600}[dtype]
    s = np.concatenate([np.linspace(-9, most, 20001), np.linspace(0, 3, 20001)]).astype(dtype)
    raw = np.stack([np.zeros_like(s), np.zeros_like(s), s], axis=1)
    logp, _ = conditional.kernel.log_prob(raw, np.zeros((len(s), 1), dtype), 1)
    width = 1 / (1 + np.exp(s.astype(WIDER[dtype])))
    expected = np.log(np.tanh(width / 4))
    assert ulps(logp[:, 0], expected).max() <= 4


# ---- draws of models set by hand, against SciPy's distributions


def hand_set(name, X, raw, **settings):
    """Return a model of one column whose raw outputs are `raw`."""
    model = fit(make("NADE", distribution=unfitted(name, 1, **settings), max_iter=1), X[:, None])
    model.params_["b"][...] = raw
    return model


@pytest.mark.parametrize("name", STANDARDISED)
def test_draws_follow_scipys_distribution(name):
    settings = {"n_components": 3} if name.endswith("mixture") else {}
    X = column_of(name)
    conditional = one(name, X, **settings)
    raw = raw_of(conditional, 1)
    drawn = hand_set(name, X, raw, **settings).sample(20_000, random_state=0)[:, 0]
    assert stats.kstest(drawn, scipys(conditional, raw).cdf).pvalue > 1e-4


def assert_counts_follow(drawn, logp, x):
    """Compare draws with the probabilities of values by a chi-square test."""
    observed = np.bincount(np.searchsorted(x, drawn), minlength=len(x))
    expected = np.exp(logp) * len(drawn)
    # pool neighbours until each class has enough
    classes = np.floor(np.cumsum(expected) / 30).astype(int)
    observed, expected = (np.bincount(classes, weights=each) for each in (observed, expected))
    keep = expected > 5
    expected = expected[keep] * observed[keep].sum() / expected[keep].sum()
    assert observed[~keep].sum() < 60
    assert stats.chisquare(observed[keep], expected).pvalue > 1e-4


@pytest.mark.parametrize("temperature", [1.0, 3.0])
@pytest.mark.parametrize("raw", [(-2.0, 0.0), (1.5, 1.0), (4.0, -1.0), (9.0, 3.0), (8.0, 1.0)])
@pytest.mark.parametrize("name", COUNTS)
def test_draws_of_counts_follow_scipys_probabilities(name, raw, temperature):
    X = column_of(name)
    raw = np.array(raw[: one(name, X).output_offsets[-1]])
    model = hand_set(name, X, raw)
    drawn = model.sample(4_000, temperature=temperature, random_state=0)[:, 0]
    law = scipys(one(name, X), raw)
    x = np.arange(int(law.mean() + 20 * temperature * law.std()) + 50)
    logp = law.logpmf(x) / temperature
    assert_counts_follow(drawn, log_softmax(logp), x)


@pytest.mark.parametrize("raw", [(25.0, -15.0), (1e4, -1e4), (25.0, 0.0), (1e4, 1e4), (16.0, -3.0)])
@pytest.mark.parametrize("name", COUNTS)
def test_draws_of_any_counts_take_little_time_and_stay_in_the_support(name, raw):
    X = column_of(name)
    model = hand_set(name, X, np.array(raw[: one(name, X).output_offsets[-1]]))
    for temperature in (1.0, 0.1, 100.0):
        drawn = model.sample(300, temperature=temperature, random_state=0)
        assert not one(name, X).unsupported(drawn).any()
        assert np.isfinite(model.score_samples(drawn)).all()


@pytest.mark.parametrize("n_levels", [2, 5, 300])
def test_draws_of_levels_follow_their_probabilities(n_levels):
    settings = {"n_components": 3, "low": 0, "high": n_levels - 1}
    conditional = one("logistic_mixture", [0, n_levels - 1], **settings)
    raw = raw_of(conditional, 2)
    model = hand_set("logistic_mixture", np.array([0, n_levels - 1] * 5), raw, **settings)
    drawn = model.sample(20_000, random_state=0)[:, 0]
    x = np.arange(n_levels)
    assert_counts_follow(drawn, log_prob(conditional, raw, x), x)


# ---- mixed columns


@pytest.mark.parametrize("dtype", DTYPES)
def test_columns_of_a_mixed_table_have_the_bits_of_tables_of_their_own(dtype):
    mixed, raw, codes = problem_of("mixed", 30, 20, dtype)
    scale = np.linspace(0.5, 1, 30).astype(dtype)
    logp, _ = mixed.kernel.log_prob(raw, codes, 2)
    _, graw = mixed.kernel.gradient(raw, codes, scale, 2)
    for d in range(20):
        group, place = mixed.of_column(d)
        alone = group.restored(group.arrays(), group.n_features)
        features = group.features()[place : place + 1]
        kernel = type(alone.kernel)(features, 2, False)
        own = slice(*mixed.output_offsets[d : d + 2])
        part = raw[:, own].copy(), codes[:, d : d + 1].copy()
        assert_same_bits(kernel.log_prob(*part, 1)[0][:, 0], logp[:, d])
        assert_same_bits(kernel.gradient(*part, scale, 1)[1], graw[:, own].copy())


@pytest.mark.parametrize("order", ["natural", "reversed"])
@pytest.mark.parametrize("name", ["NADE", "MADE", "FVSBN"])
def test_without_connections_columns_are_scored_and_described_like_alone(name, order):
    D = 10
    X, kinds = DATA["mixed"](80, D), distribution("mixed", D)
    order = np.arange(D)[::-1].copy() if order == "reversed" else np.arange(D)
    model = fit(make(name, distribution=kinds, order=order, max_iter=3, dtype="float64"), X)
    biases = model.params_["b"].copy()
    model.theta_[:] = 0
    model.params_["b"][...] = biases
    features, said = model.score_features(X), model.conditionals(X)
    for column, kind in enumerate(kinds):
        own = X[:, column : column + 1]
        alone = fit(make("NADE", distribution=kind, max_iter=1, dtype="float64"), own)
        place = int(np.flatnonzero(order == column)[0])
        alone.params_["b"][...] = biases[slice(*model.output_offsets_[place : place + 2])]
        np.testing.assert_allclose(features[:, column], alone.score_samples(own), rtol=1e-10)
        expected = alone.conditionals(own)
        if isinstance(expected, dict):
            assert said[column].keys() == expected.keys()
            for key, array in expected.items():
                np.testing.assert_allclose(said[column][key], array[:, 0], rtol=1e-9)
        else:
            np.testing.assert_allclose(said[column], expected[:, 0], rtol=1e-9)


# ---- missing codes


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CONDITIONALS)
def test_a_missing_code_has_no_density_and_leaves_the_others_their_bits(name, dtype):
    conditional, raw, codes = problem_of(name, 40, 21, dtype)
    missing = np.random.default_rng(0).random(codes.shape) < 0.3
    missing[0], missing[1] = True, False
    holed = conditional.restored(conditional.arrays() | {"missing": np.ones(21, bool)}, 21)
    if name == "mixed":
        arrays = {
            key: np.ones_like(array) if key.endswith("missing") else array
            for key, array in conditional.arrays().items()
        }
        holed = conditional.restored(arrays, 21)
    scale = np.linspace(0.5, 1, 40).astype(dtype)
    plain, _ = fitted(name, 21).kernel.log_prob(raw, codes, 1)
    _, slopes = fitted(name, 21).kernel.gradient(raw, codes, scale, 1)
    spoilt = np.where(missing, np.nan, codes).astype(dtype)
    logp, total = holed.kernel.log_prob(raw, spoilt, 2)
    assert holed.missing.all()
    assert_same_bits(logp, np.where(missing, 0, plain).astype(dtype))
    np.testing.assert_allclose(total, logp.astype(float).sum(axis=1), rtol=1e-12)
    other, graw = holed.kernel.gradient(raw, spoilt, scale, 2)
    assert_same_bits(other, total)
    # a lane's rounding must not depend on its neighbours
    of_outputs = np.repeat(missing, np.diff(holed.output_offsets), axis=1)
    assert_same_bits(graw, np.where(of_outputs, 0, slopes).astype(dtype))
    assert (holed.log_prob(raw, spoilt, 1)[0][missing] == 0).all()


# ---- levels that fit has not seen


def levelled(unknown):
    X = DATA["categorical"](90, 3)
    kind = conditionals.Categorical(unknown)
    return fit(make("NADE", distribution=kind, dtype="float64", max_iter=5), X), X


def test_an_impossible_level_warns_and_tells_later_columns_nothing():
    model, X = levelled("impossible")
    rows = X[:4].copy()
    rows[1, 0], rows[2, 2] = 77, -1
    with pytest.warns(UserWarning, match=r"2 values are no level that was seen in fit"):
        scores = model.score_samples(rows)
    assert np.isneginf(scores).tolist() == [False, True, True, False]
    assert_same_bits(scores[[0, 3]], model.score_samples(X[[0, 3]]))
    with pytest.warns(UserWarning, match="no level"):
        features = model.score_features(rows)
    assert np.isneginf(features).sum() == 2
    # what follows is as if the unknown level had no row of weights
    blind = model.params_["W"].copy()
    model.params_["W"][0] = 0
    zeroed = model.score_features(X[:4])
    model.params_["W"][...] = blind
    np.testing.assert_allclose(features[1, 1], zeroed[1, 1], rtol=1e-12)
    with pytest.warns(UserWarning, match="no level"):
        drawn = model.sample(5, evidence=[77, np.nan, np.nan], random_state=0)
    assert (drawn[:, 0] == 77).all()


def test_an_unknown_level_may_be_an_error():
    model, X = levelled("error")
    with pytest.raises(ValueError, match="must hold one of the levels seen in fit"):
        model.score_samples(np.where(X == 1, 9, X))
    with pytest.raises(ValueError, match="unknown of Categorical must be 'other', 'error' or"):
        levelled("maybe")


def test_other_levels_share_a_mass_and_all_sums_to_one():
    model, X = levelled("other")
    rows = np.repeat(X[:1], 5, axis=0)
    rows[:, 1] = [0, 1, 2, 77, -5]
    scores = model.score_features(rows)
    other = 1 / (2 * len(X) + 2)
    np.testing.assert_allclose(np.exp(scores[:3, 1]).sum(), 1 - other)
    # all are whole numbers: half of what lies beyond is above
    r, s = np.array([75, 5]), 2
    np.testing.assert_allclose(np.exp(scores[3:, 1]), other * s / (2 * (s + r - 1) * (s + r)))
    np.testing.assert_allclose(scores.sum(axis=1), model.score_samples(rows))
    assert set(np.unique(model.sample(2000, random_state=0))) <= {0, 1, 2}
    held = model.sample(5, evidence=[None, 77, None], random_state=0)
    assert (held[:, 1] == 77).all()
    assert np.isfinite(model.log_marginal([[np.nan, 77, 1]], random_state=0)).all()
    narrow = conditionals.Categorical(cardinality=300)
    with pytest.raises(ValueError, match=r"cardinality .* at most 256 for columns of uint8.*300"):
        make("NADE", distribution=narrow).fit(X.astype(np.uint8))


# ---- what fit learns is not kept from another fit


@pytest.mark.parametrize("name", CONDITIONALS)
def test_a_fitted_conditional_may_be_fitted_to_other_data(name):
    first = fitted(name, 6)
    assert first.kernel is not None
    assert first.inputs is not None
    X = columns_of(name, 9)
    kind = unfitted(name, 9)
    if name == "mixed":
        first.columns = kind.columns
    again = first.fitted(Table(X, np.arange(9)), np.ones(len(X)))
    fresh = kind.fitted(Table(X, np.arange(9)), np.ones(len(X)))
    assert len(again.inputs.input_flags) == 9
    codes = fresh.encode(X, np.dtype("float64"))
    raw = np.random.default_rng(0).standard_normal((len(X), fresh.output_offsets[-1]))
    assert_same_bits(again.log_prob(raw, codes, 1)[0], fresh.log_prob(raw, codes, 1)[0])
