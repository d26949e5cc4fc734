"""The conditionals in float64: log p of codes by raw (n, D, the largest P), gradients, draws."""

from dataclasses import dataclass

import numpy as np
from scipy import stats
from scipy.special import digamma, expit, loggamma

LOG_2PI = np.log(2 * np.pi)


def softplus(z):
    positive = np.real(z) > 0
    return np.where(positive, z, 0) + np.log1p(np.exp(np.where(positive, -z, z)))


class Bernoulli:
    P = 1

    def log_prob(self, raw, codes):
        z = raw[:, :, 0]
        return codes * z - softplus(z)

    def gradient(self, raw, codes):
        return (codes - expit(raw[:, :, 0]))[:, :, None]

    def draw(self, raw, d, noise, temperature):
        return (noise[:, 0] < expit(raw[:, 0] / temperature)) * 1.0


@dataclass
class Categorical:
    n_levels: list

    @property
    def P(self):  # noqa: N802
        return max(self.n_levels)

    def probabilities(self, raw, K, temperature=1.0):
        e = np.exp((raw[..., :K] - np.real(raw[..., :K]).max(axis=-1, keepdims=True)) / temperature)
        return e / e.sum(axis=-1, keepdims=True)

    def log_prob(self, raw, codes):
        logp = np.empty(codes.shape, raw.dtype)
        for d, K in enumerate(self.n_levels):
            top = np.real(raw[:, d, :K]).max(axis=1)
            chosen = raw[np.arange(len(raw)), d, codes[:, d].astype(int)]
            logp[:, d] = chosen - top - np.log(np.exp(raw[:, d, :K] - top[:, None]).sum(axis=1))
        return logp

    def gradient(self, raw, codes):
        gradient = np.zeros(raw.shape)
        for d, K in enumerate(self.n_levels):
            gradient[:, d, :K] = -self.probabilities(raw[:, d], K)
            gradient[np.arange(len(raw)), d, codes[:, d].astype(int)] += 1
        return gradient

    def draw(self, raw, d, noise, temperature):
        p = self.probabilities(raw, self.n_levels[d], temperature)
        level = (noise[:, :1] >= np.cumsum(p, axis=1)).sum(axis=1)
        return np.minimum(level, self.n_levels[d] - 1) * 1.0


@dataclass
class Gaussian:
    variance_floor: float = 1e-6
    P = 2

    def variance(self, s):
        return np.exp(s) + self.variance_floor

    def log_prob(self, raw, codes):
        mu, variance = raw[:, :, 0], self.variance(raw[:, :, 1])
        return -(LOG_2PI + np.log(variance) + (codes - mu) ** 2 / variance) / 2

    def gradient(self, raw, codes):
        mu, s = raw[:, :, 0], raw[:, :, 1]
        variance, deviation = self.variance(s), codes - mu
        by_s = (deviation**2 / variance - 1) * np.exp(s) / variance / 2
        return np.stack([deviation / variance, by_s], axis=2)

    def draw(self, raw, d, noise, temperature):
        return raw[:, 0] + noise[:, 0] * np.sqrt(self.variance(raw[:, 1]) * temperature)


def log_sum_exp(z):
    top = np.real(z).max(axis=-1, keepdims=True)
    return top[..., 0] + np.log(np.exp(z - top).sum(axis=-1))


@dataclass
class Laplace:
    variance_floor: float = 1e-6
    P = 2

    def scale(self, s):
        return np.exp(s) + np.sqrt(self.variance_floor / 2)

    def log_prob(self, raw, codes):
        mu, b = raw[:, :, 0], self.scale(raw[:, :, 1])
        deviation = codes - mu
        distance = np.where(np.real(deviation) < 0, -deviation, deviation)
        return -np.log(2 * b) - distance / b

    def gradient(self, raw, codes):
        mu, s = raw[:, :, 0], raw[:, :, 1]
        b, deviation = self.scale(s), codes - mu
        by_s = (np.abs(deviation) / b - 1) * np.exp(s) / b
        return np.stack([np.sign(deviation) / b, by_s], axis=2)

    def draw(self, raw, d, noise, temperature):
        b = self.scale(raw[:, 1]) * temperature
        return stats.laplace.ppf(inside(noise[:, 0]), raw[:, 0], b)


def inside(uniform):
    """Return uniforms of [0, 1) moved to the middle of the generator's steps."""
    return uniform + 2.0**-54


@dataclass
class LogisticLevels:
    """One logistic density over codes from low to high, each with what is within `unit` of it."""

    unit: np.ndarray
    low: np.ndarray
    high: np.ndarray
    scale_floor: float = 0.05
    P = 2

    def ends(self, raw, codes):
        b = np.exp(raw[:, :, 1]) + 2 * self.unit * self.scale_floor
        upper, lower = ((codes + side - raw[:, :, 0]) / b for side in (self.unit, -self.unit))
        return b, upper, lower, codes + self.unit > self.high, codes - self.unit < self.low

    def log_prob(self, raw, codes):
        _, upper, lower, highest, lowest = self.ends(raw, codes)
        log_below = np.where(highest, 0, -softplus(-upper))
        log_above = np.where(lowest, 0, -softplus(lower))
        # sigmoid(u) - sigmoid(l) = sigmoid(u) sigmoid(-l) (1 - exp(l - u))
        between = np.log(-expm1(np.where(lowest | highest, -1, lower - upper)))
        return log_below + log_above + np.where(lowest | highest, 0, between)

    def gradient(self, raw, codes):
        b, upper, lower, highest, lowest = self.ends(raw, codes)
        slope = np.exp(raw[:, :, 1]) / b
        above, below = np.where(highest, 0, expit(-upper)), np.where(lowest, 0, expit(lower))
        width = np.where(lowest | highest, 1, upper - lower)
        between = np.where(lowest | highest, 0, width / np.expm1(np.minimum(width, 700)))
        by_s = slope * (below * lower - above * upper - between)
        return np.stack([(below - above) / b, by_s], axis=2)

    def draw(self, raw, d, noise, temperature):
        unit = self.unit[d]
        b = np.exp(raw[:, 1]) + 2 * unit * self.scale_floor
        at = stats.logistic.ppf(inside(noise[:, 0]), raw[:, 0], b * temperature)
        low, top = self.low[d], np.rint((self.high[d] - self.low[d]) / (2 * unit))
        return low + 2 * unit * np.clip(np.rint((at - low) / (2 * unit)), 0, top)


class AsinhLevels(LogisticLevels):
    """The same over integers, whose codes are asinh of z in steps of 2 unit; low and high are z."""

    def ends(self, raw, codes):
        b = np.exp(raw[:, :, 1]) + 2 * self.unit * self.scale_floor
        z = np.sinh(codes.astype(np.longdouble))  # for differences of ends that are close
        upper, lower = (
            (np.arcsinh(z + side) - raw[:, :, 0]) / b for side in (self.unit, -self.unit)
        )
        return b, upper, lower, z + self.unit > self.high, z - self.unit < self.low

    def draw(self, raw, d, noise, temperature):
        step = 2 * self.unit[d]
        b = np.exp(raw[:, 1]) + step * self.scale_floor
        at = stats.logistic.ppf(inside(noise[:, 0]), raw[:, 0], b * temperature)
        z = step * np.rint(np.sinh(np.clip(at, -80, 80)) / step)
        return np.arcsinh(np.clip(z, self.low[d], self.high[d]))


def expm1(z):
    """Return exp(z) - 1, also of complex z that are all but real."""
    real = np.expm1(np.real(z))
    return real + np.exp(np.real(z)) * 1j * np.imag(z) if np.iscomplexobj(z) else real


@dataclass
class Mixture:
    """sum_k softmax(z)_k f(x; mu_k, s_k): raw = (z, mu, s), K each."""

    part: object
    n_components: int

    @property
    def P(self):  # noqa: N802
        return 3 * self.n_components

    def parts(self, raw):
        return np.moveaxis(raw.reshape(*raw.shape[:-1], 3, self.n_components), -1, 0)

    def joint(self, raw, codes):
        logp = [self.part.log_prob(each[:, :, 1:], codes) for each in self.parts(raw)]
        return raw[:, :, : self.n_components] + np.stack(logp, axis=2)

    def log_prob(self, raw, codes):
        return log_sum_exp(self.joint(raw, codes)) - log_sum_exp(raw[:, :, : self.n_components])

    def gradient(self, raw, codes):
        joint, z = self.joint(raw, codes), raw[:, :, : self.n_components]
        share = np.exp(joint - log_sum_exp(joint)[:, :, None])
        parts = [self.part.gradient(each[:, :, 1:], codes) for each in self.parts(raw)]
        by_parts = share[:, :, None, :] * np.stack(parts, axis=3)
        by_z = share - np.exp(z - log_sum_exp(z)[:, :, None])
        return np.concatenate([by_z, by_parts[:, :, 0], by_parts[:, :, 1]], axis=2)

    def draw(self, raw, d, noise, temperature):
        z = raw[:, : self.n_components] / temperature
        share = np.exp(z - log_sum_exp(z)[:, None])
        k = (noise[:, :1] >= np.cumsum(share, axis=1)).sum(axis=1)
        k = np.minimum(k, self.n_components - 1)
        own = np.moveaxis(self.parts(raw), 0, 1)[np.arange(len(raw)), k]
        return self.part.draw(own[:, 1:], d, noise[:, 1:], temperature)


def stirling_remainder(z):
    """Return log Gamma(z) - ((z - 1/2) log z - z + log(2 pi) / 2), by its series from 10 on."""
    far = np.where(np.real(z) < 10, 10, z)
    terms = [1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360]
    series = sum(term / far ** (2 * k + 1) for k, term in enumerate(terms))
    direct = loggamma(z) - (z - 0.5) * np.log(z) + z - LOG_2PI / 2
    return np.where(np.real(z) < 10, direct, series)


def deviance(a, b, difference):
    """Return a log(a / b) + b - a, difference = a - b, by a series where they are near."""
    v = difference / (a + b)
    near = np.abs(np.real(v)) < 0.1
    small = np.where(near, v, 0)
    series = sum(small**k / k for k in range(3, 17, 2))
    return np.where(near, v * difference + 2 * a * series, a * np.log(a / b) - difference)


@dataclass
class Poisson:
    """Counts x = code * unit of mean exp(raw), which is kept to e^-25 .. e^25."""

    unit: np.ndarray
    P = 1

    def limited(self, z, limit):
        return np.where(np.abs(np.real(z)) < limit, z, np.sign(np.real(z)) * limit)

    def counts(self, codes):
        return np.rint(codes * self.unit)

    def log_prob(self, raw, codes):
        x, mean = self.counts(codes), np.exp(self.limited(raw[:, :, 0], 25))
        some = np.maximum(x, 1)
        logp = -np.log(2 * np.pi * some) / 2 - stirling_remainder(some)
        return np.where(x > 0, logp - deviance(some, mean, some - mean), -mean)

    def gradient(self, raw, codes):
        # beyond the limit it is the limit's, which leads back
        return (self.counts(codes) - np.exp(self.limited(raw[:, :, 0], 25)))[:, :, None]

    def moments(self, raw):
        """Return mean and variance of the count that raw outputs (P,) stand for."""
        mean = np.exp(self.limited(raw[0], 25))
        return mean, mean

    def draw(self, raw, d, noise, temperature):
        unit = self.unit[d]
        return np.array(
            [
                first_beyond(self, each, uniform, temperature) / unit
                for each, uniform in zip(raw, noise[:, 0], strict=True)
            ]
        )


def first_beyond(law, raw, uniform, temperature, largest=2**24):
    """Return the draw that a uniform stands for where counts are lined up from the mode.

    That is, mode, mode + 1, ..., and then mode - 1, .., 0, with p(x) to the power 1 / temperature.
    """
    mean, variance = law.moments(raw)
    reach = 60 + 60 * np.sqrt(variance * max(1, temperature))
    k = np.arange(max(0, np.floor(mean - reach)), min(largest, mean + reach) + 1)
    codes = k[:, None] / law.unit[0]
    logp = type(law)(law.unit[:1]).log_prob(np.broadcast_to(raw, (len(k), 1, law.P)), codes)[:, 0]
    mode = int(logp.argmax())
    p = np.exp((logp - logp[mode]) / temperature)
    in_line = np.concatenate([np.arange(mode, len(k)), np.arange(mode)[::-1]])
    sums = np.cumsum(p[in_line])
    place = np.searchsorted(sums, uniform * sums[-1], side="right")
    return k[in_line[min(place, len(k) - 1)]]


@dataclass
class NegativeBinomial(Poisson):
    """Of mean m = exp(raw_0) and variance m + m^2 / r, r = exp(raw_1), kept to e^-15 .. e^15."""

    P = 2

    def log_prob(self, raw, codes):
        x, mean = self.counts(codes), np.exp(self.limited(raw[:, :, 0], 25))
        r = np.exp(self.limited(raw[:, :, 1], 15))
        some = np.maximum(x, 1)
        n, above = some + r, some - mean
        by_n, by_x = deviance(n, r + mean, above), deviance(some, mean, above)
        by_r = r * np.log(n / (r + mean))
        ways = by_n - by_x, some * (np.log1p(r / some) - np.log1p(r / mean)) + by_r
        first = np.maximum(np.real(by_n), np.real(by_x)) < np.real(r)
        logp = np.where(first, *ways) + (np.log(r / n / some) - LOG_2PI) / 2
        logp += stirling_remainder(n) - stirling_remainder(r) - stirling_remainder(some)
        return np.where(x > 0, logp, -r * np.log1p(mean / r))

    def gradient(self, raw, codes):
        x, mean = self.counts(codes), np.exp(self.limited(raw[:, :, 0], 25))
        r = np.exp(self.limited(raw[:, :, 1], 15))
        by_mean = r * (x - mean) / (r + mean)
        by_r = digamma(x + r) - digamma(r) - np.log1p(mean / r) + (mean - x) / (r + mean)
        # digamma(x + r) - digamma(r) = sum_i 1 / (r + i) = x / r - sum_i i / (r (r + i)), i < x
        i = np.arange(x.max(initial=0))
        rest = np.where(i < x[:, :, None], i / (r[:, :, None] + i), 0).sum(axis=2)
        large = deviance(r, r + mean, -mean) + (x - mean) * mean / (r + mean) - rest
        return np.stack([by_mean, np.where((r < 10) | (mean > r), r * by_r, large)], axis=2)

    def moments(self, raw):
        mean, r = np.exp(self.limited(raw[0], 25)), np.exp(self.limited(raw[1], 15))
        return mean, mean + mean**2 / r


@dataclass
class Mixed:
    """Each feature's own conditional, of that feature alone."""

    columns: list

    @property
    def P(self):  # noqa: N802
        return max(each.P for each in self.columns)

    def log_prob(self, raw, codes):
        return np.stack(
            [
                each.log_prob(raw[:, d : d + 1, : each.P], codes[:, d : d + 1])[:, 0]
                for d, each in enumerate(self.columns)
            ],
            axis=1,
        )

    def gradient(self, raw, codes):
        gradient = np.zeros(raw.shape)
        for d, each in enumerate(self.columns):
            part = raw[:, d : d + 1, : each.P]
            gradient[:, d : d + 1, : each.P] = each.gradient(part, codes[:, d : d + 1])
        return gradient

    def draw(self, raw, d, noise, temperature):
        own = self.columns[d]
        return own.draw(raw[:, : own.P], 0, noise, temperature)


def twin_of(conditional, d):
    """Return the twin of a fitted conditional's features `d`."""
    name, settings = conditional.name, conditional.settings()
    if name == "mixed":
        own = [conditional.of_column(each) for each in np.arange(conditional.n_features)[d]]
        return Mixed([twin_of(group, slice(place, place + 1)) for group, place in own])
    if name == "bernoulli":
        return Bernoulli()
    if name == "categorical":
        return Categorical([len(each) for each in conditional.levels[d]])
    if name in ("poisson", "negative_binomial"):
        return {"poisson": Poisson, "negative_binomial": NegativeBinomial}[name](
            conditional.unit[d]
        )
    if name == "logistic_mixture":
        learnt = {key: array[d] for key, array in conditional.arrays().items()}
        low, high = ((learnt[end] - learnt["centre"]) / learnt["spread"] for end in ("low", "high"))
        part = LogisticLevels(0.5 / learnt["spread"], low, high, settings["scale_floor"])
        return Mixture(part, settings["n_components"])
    if name == "integer":  # of columns without atoms
        part = AsinhLevels(*(conditional.features()[key][d] for key in ("unit", "low", "high")))
        return Mixture(part, settings["n_components"])
    if name == "number":  # of columns without atoms
        return Mixture(Gaussian(settings["variance_floor"]), settings["n_components"])
    part = {"gaussian": Gaussian, "laplace": Laplace}[name.removesuffix("_mixture")]
    part = part(settings["variance_floor"])
    return Mixture(part, settings["n_components"]) if name.endswith("_mixture") else part


def conditional_of(fitted):
    """Return the reference's twin of a fitted conditional of fastar."""
    return twin_of(fitted, slice(None))


# By name, of any number D of features: a small one.
CONDITIONALS = {
    "bernoulli": lambda D: Bernoulli(),
    "categorical": lambda D: Categorical([3] * D),
    "gaussian": lambda D: Gaussian(),
    "laplace": lambda D: Laplace(),
    "gaussian_mixture": lambda D: Mixture(Gaussian(0.01), 3),
    "laplace_mixture": lambda D: Mixture(Laplace(0.01), 3),
    "logistic_mixture": lambda D: Mixture(
        LogisticLevels(np.full(D, 1 / 3), np.full(D, -1.0), np.full(D, 1.0)), 3
    ),
    "integer": lambda D: Mixture(
        AsinhLevels(np.full(D, 1 / 6), np.full(D, -1.0), np.full(D, 2.0)), 3
    ),
    "poisson": lambda D: Poisson(np.ones(D)),
    "negative_binomial": lambda D: NegativeBinomial(np.ones(D)),
    "mixed": lambda D: Mixed(
        [
            Bernoulli(),
            Mixture(Laplace(0.01), 2),
            NegativeBinomial(np.full(1, 2.0)),
            *[Gaussian()] * (D - 3),
        ]
    ),
}
