"""The models in float64 NumPy, written like the papers: slow, plain, and the judge of all kernels.

Arrays are in model order. codes (n, D). Networks give raw (n, sum P), the outputs of one feature
after the other; conditionals take raw (n, D, the largest P), see `padded`. The parameters of a
network are where it begins. All but gradients and samples also takes complex parameters, for
derivatives by complex steps.
"""

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from scipy import stats
from scipy.special import digamma, expit, loggamma

LOG_2PI = np.log(2 * np.pi)


def softplus(z):
    positive = np.real(z) > 0
    return np.where(positive, z, 0) + np.log1p(np.exp(np.where(positive, -z, z)))


# name: (g by a, derivative of g by h = g(a))
ACTIVATIONS = {
    "sigmoid": (lambda a: 1 / (1 + np.exp(-a)), lambda h: h * (1 - h)),
    "tanh": (np.tanh, lambda h: 1 - h**2),
    "relu": (lambda a: np.where(np.real(a) > 0, a, 0), lambda h: (h > 0) * 1.0),
}


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


def padded(raw, P):
    """Return raw (n, sum P) as (n, D, the largest P), zero beyond a feature's own. P (D,)."""
    P = np.asarray(P)
    wide = np.zeros((len(raw), len(P), P.max()), raw.dtype)
    wide[:, np.arange(P.max()) < P[:, None]] = raw
    return wide


def without_padding(wide, P):
    """Return raw (n, sum P) of an array (n, D, the largest P)."""
    return wide[:, np.arange(wide.shape[2]) < np.asarray(P)[:, None]]


def near(code, flags):
    """Return how far a number enters: at most 8 either way where its flags say so."""
    return np.clip(code, -8, 8) if flags & 4 else code


class Network:
    """What networks share.

    They have P and Q, each feature's outputs and rows of input weights (D,), and order (D,), the
    feature that comes k-th.
    """

    def entering(self, d, code, flags):
        """Return how a feature enters (n, Q_d): by its code, or by a row with a one at its level.

        The last of the Q_d stands for a missing value, NaN; an unknown level, below 0, enters by
        nothing.
        """
        x, missing, known = np.zeros((len(code), self.Q[d])), np.isnan(code), code >= 0
        if flags & 1:
            x[known, code[known].astype(int)] = 1
        else:
            x[~missing, 0] = near(code[~missing], flags)
        x[missing, -1] = 1
        return x

    def inputs(self, codes, input_flags):
        """Return what enters the network (n, sum Q)."""
        parts = [self.entering(d, codes[:, d], flags) for d, flags in enumerate(input_flags)]
        return np.concatenate(parts, axis=1)

    def by_feature(self, raw):
        """Return raw (n, sum P) as (n, D, the largest P), zero beyond a feature's own."""
        return padded(raw, self.P)

    def score_features(self, params, codes, conditional, input_flags):
        """Return log p(x_d | those before it) (n, D) of codes."""
        raw = self.raw_outputs(params, self.inputs(codes, input_flags))
        return conditional.log_prob(self.by_feature(raw), codes)

    def gradients(self, params, codes, conditional, input_flags):
        """Return the gradient of the mean negative log-likelihood by each parameter."""
        x = self.inputs(codes, input_flags)
        raw = self.by_feature(self.raw_outputs(params, x))
        graw = -without_padding(conditional.gradient(raw, codes), self.P)
        return self.backward(params, x, graw / len(codes))

    def complex_step(self, params, direction, codes, conditional, input_flags):
        """Return the derivative of the mean negative log-likelihood along `direction`."""
        moved = {name: params[name] + 1e-30j * direction[name] for name in params}
        logp = self.score_features(moved, codes, conditional, input_flags)
        return -np.imag(logp.sum()) / 1e-30 / len(codes)

    def sample(
        self, params, noise, conditional, input_flags, *, temperature=1.0, evidence=None, held=None
    ):
        """Return codes (n, D) that the noise (n, D, 1) stands for; `evidence` where `held`."""
        codes, x = np.zeros(noise.shape[:2]), np.zeros((len(noise), np.sum(self.Q)))
        by_feature = np.split(x, np.cumsum(self.Q)[:-1], axis=1)  # views
        for d in self.order:
            codes[:, d] = conditional.draw(
                self.raw_output(params, x, d), d, noise[:, d], temperature
            )
            if held is not None:
                codes[:, d] = np.where(held[:, d], evidence[:, d], codes[:, d])
            by_feature[d][:] = self.entering(d, codes[:, d], input_flags[d])
        return codes


# ---- the shared hidden layer: NADE, and RNADE, whose pre-activations are rescaled


@dataclass
class SharedHidden(Network):
    """h_d = g(rho_d (c + sum of x_k W_k over k < d within the window)), raw_d = b_d + V_d h_d.

    And raw_d = b_d for the first feature. Parameters: W (sum Q but the last, H), c (H,),
    V (sum P but the first, H), b (sum P,); with rescaling also rho (D - 1,). Any axes that hold
    these numbers in this order will do.
    """

    P: np.ndarray
    Q: np.ndarray
    activation: str = "sigmoid"
    markov_order: int | None = None

    @property
    def order(self):
        """The feature that comes k-th."""
        return np.arange(len(self.P))

    @classmethod
    def of(cls, network):
        """Return the twin of fastar's network."""
        widths = np.diff(network.output_offsets), np.diff(network.inputs.offsets)
        return cls(*widths, network.activation, network.markov_order)

    def weights(self, params):
        """Return W_d of each feature but the last, V_d of each but the first."""
        H = len(params["c"])
        W, V = params["W"].reshape(-1, H), params["V"].reshape(-1, H)
        return np.split(W, np.cumsum(self.Q[:-1])[:-1]), np.split(V, np.cumsum(self.P[1:])[:-1])

    def window(self, d):
        """Return the features that feature d sees."""
        return range(max(0, d - (self.markov_order or d)), d)

    def pre_activation(self, params, x, d):
        """Return a_d = c + sum of x_k W_k (n, H)."""
        W, by_feature = self.weights(params)[0], np.split(x, np.cumsum(self.Q)[:-1], axis=1)
        a = np.broadcast_to(params["c"], (len(x), len(params["c"])))
        for k in self.window(d):
            a = a + by_feature[k] @ W[k]
        return a

    def hidden(self, params, x, d):
        """Return h_d = g(rho_d a_d) (n, H), d >= 1."""
        a = self.pre_activation(params, x, d)
        return ACTIVATIONS[self.activation][0](rho_of(params, d) * a)

    def raw_output(self, params, x, d):
        """Return raw_d (n, P_d) of x (n, sum Q)."""
        b = np.split(params["b"].ravel(), np.cumsum(self.P)[:-1])[d]
        if d == 0:
            return np.broadcast_to(b, (len(x), len(b)))
        return b + self.hidden(params, x, d) @ self.weights(params)[1][d - 1].T

    def raw_outputs(self, params, x):
        """Return raw_d for every d (n, sum P)."""
        return np.concatenate([self.raw_output(params, x, d) for d in range(len(self.P))], axis=1)

    def backward(self, params, x, graw):
        """Return the gradient of sum(graw * raw) by each parameter."""
        grads = {name: np.zeros(array.shape) for name, array in params.items()}
        grads["b"].reshape(-1)[:] = graw.sum(axis=0)
        _, V = self.weights(params)
        gW, gV = self.weights(grads)  # views
        codes = np.split(x, np.cumsum(self.Q)[:-1], axis=1)
        by_output = np.split(graw, np.cumsum(self.P)[:-1], axis=1)
        for d in range(1, len(self.P)):
            h = self.hidden(params, x, d)
            by_scaled = by_output[d] @ V[d - 1] * ACTIVATIONS[self.activation][1](h)
            ga = by_scaled * rho_of(params, d)
            if "rho" in params:
                grads["rho"][d - 1] = (by_scaled * self.pre_activation(params, x, d)).sum()
            gV[d - 1][:] = by_output[d].T @ h
            grads["c"] += ga.sum(axis=0)
            for k in self.window(d):
                gW[k] += codes[k].T @ ga
        return grads


def as_double(params):
    """Return a copy of fastar's params in float64."""
    return {name: np.array(array, np.float64) for name, array in params.items()}


def rho_of(params, d):
    """Return the factor of a_d, d >= 1."""
    return params["rho"][d - 1] if "rho" in params else 1.0


# ---- masked networks: MADE, and FVSBN, the one without hidden layers


def within(inner, outer):
    """Return where (a, b) one of a intervals lies within one of b intervals (firsts, lasts)."""
    return (outer[0] <= inner[0][:, None]) & (inner[1][:, None] <= outer[1])


@dataclass
class Masked(Network):
    """A dense network with one mask for every matrix of weights.

    order (D,): the feature that comes k-th. degrees: of the units of each hidden layer. P, Q: of
    all features, or (D,).

    Parameters: W0 (sum Q, H_1) with c0 (H_1,), .., the last W (H_L, sum P); from inputs to outputs
    L (sum Q, sum P); b (sum P,). Any axes that hold these numbers in this order will do.
    """

    order: np.ndarray
    degrees: list
    P: int | np.ndarray = 1
    Q: int | np.ndarray = 1
    activation: str = "relu"
    markov_order: int | None = None
    direct: bool = True
    masks: dict = field(init=False)

    def __post_init__(self):
        # The features, counted from 1 in their order, that each unit sees form an interval. One of
        # degree m sees those up to m, an output those before its own; each no more than its layer's
        # window. A unit feeds another if it sees nothing that the other may not.
        D, depth = len(self.order), len(self.degrees)
        self.P, self.Q = np.broadcast_to(self.P, D), np.broadcast_to(self.Q, D)
        place = np.argsort(self.order) + 1
        lasts = [*map(np.asarray, self.degrees), np.repeat(place, self.P) - 1]
        inputs = np.repeat(place, self.Q)
        layers = [(inputs, inputs)]
        for layer, last in enumerate(lasts, 1):
            window = D
            if self.markov_order is not None and self.markov_order < D - 1:
                window = int(np.ceil(self.markov_order * layer / (depth + 1)))
            layers.append((np.maximum(1, last - window + 1), last))
        self.masks = {}
        if depth:
            for layer, pair in enumerate(pairwise(layers)):
                self.masks[f"W{layer}"] = within(*pair)
        if self.direct:
            self.masks["L"] = within(layers[0], layers[-1])

    @classmethod
    def of(cls, network, member=0):
        """Return the twin of a member of fastar's network, with its order and degrees."""
        chosen = network.masks(member)
        return cls(
            chosen.order, chosen.degrees, np.diff(network.output_offsets),
            np.diff(network.inputs.offsets), network.activation, network.markov_order,
            network.direct_connections,
        )  # fmt: skip

    def shown(self, params, name):
        """Return a matrix of weights, zero where its mask hides it, whatever it holds there."""
        mask = self.masks[name]
        return np.where(mask, params[name].reshape(mask.shape), 0)

    def layers(self, params, x, kept):
        """Return for each hidden layer g(a), and what the next layer gets of it."""
        g = ACTIVATIONS[self.activation][0]
        active, given = [], [x]
        for layer in range(len(self.degrees)):
            a = params[f"c{layer}"] + given[-1] @ self.shown(params, f"W{layer}")
            active.append(g(a))
            given.append(active[-1] * kept[layer] if kept else active[-1])
        return active, given

    def raw_outputs(self, params, x, kept=()):
        """Return raw_d for every d (n, sum P) of x (n, sum Q).

        kept: what dropout multiplies each hidden layer by, (n, H) each.
        """
        _, given = self.layers(params, x, kept)
        raw = np.broadcast_to(params["b"].ravel(), (len(x), params["b"].size))
        if self.degrees:
            raw = raw + given[-1] @ self.shown(params, f"W{len(self.degrees)}")
        if self.direct:
            raw = raw + given[0] @ self.shown(params, "L")
        return raw

    def backward(self, params, x, graw, kept=()):
        """Return the gradient of sum(graw * raw) by each parameter, zero where a mask hides it."""
        active, given = self.layers(params, x, kept)
        ga = graw
        grads = {"b": ga.sum(axis=0)}
        if self.direct:
            grads["L"] = given[0].T @ ga * self.masks["L"]
        for layer in reversed(range(len(self.degrees) + 1)) if self.degrees else ():
            grads[f"W{layer}"] = given[layer].T @ ga * self.masks[f"W{layer}"]
            if layer:
                gh = ga @ self.shown(params, f"W{layer}").T
                if kept:
                    gh = gh * kept[layer - 1]
                ga = gh * ACTIVATIONS[self.activation][1](active[layer - 1])
                grads[f"c{layer - 1}"] = ga.sum(axis=0)
        return {name: grads[name].reshape(array.shape) for name, array in params.items()}

    def raw_output(self, params, x, d):
        """Return raw_d (n, P_d) of x (n, sum Q)."""
        return np.split(self.raw_outputs(params, x), np.cumsum(self.P)[:-1], axis=1)[d]


# ---- networks of rows and steps, fed code by code


def by_feature(array, offsets):
    """Return each feature's own rows of an array whose first axes are those of `offsets`."""
    return np.split(array.reshape(offsets[-1], -1), offsets[1:-1])


def entered(inputs, W, d, code):
    """Return what the code of feature d adds; the first axes of W are those of its rows."""
    own = by_feature(W, inputs.offsets)[d]
    if np.isnan(code):
        return own[-1]
    flags = inputs.input_flags[d]
    if flags & 1:
        return own[int(code)] if code >= 0 else 0 * own[0]
    return near(code, flags) * own[0]
