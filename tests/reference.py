"""NADE in float64 NumPy, written like the textbook: slow, plain, and the judge of all kernels.

Arrays are in model order. codes (n, D); W (D - 1, Q, H), c (H,), V (D - 1, P, H), b (D, P).
All but `gradients` and `sample` also takes complex parameters, for derivatives by complex steps.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

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
        return np.minimum((noise >= np.cumsum(p, axis=1)).sum(axis=1), self.n_levels[d] - 1) * 1.0


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


CONDITIONALS = {"bernoulli": Bernoulli, "categorical": Categorical, "gaussian": Gaussian}


def conditional_of(fitted):
    """Return the reference's twin of a fitted conditional of fastar."""
    if fitted.name == "categorical":
        return Categorical([len(each) for each in fitted.levels])
    return CONDITIONALS[fitted.name](**fitted.settings())


def inputs(codes, one_hot, Q):
    """Return what enters the network (n, D, Q): the code, or a row with a one at its level."""
    x = np.zeros((*codes.shape, Q))
    for d, hot in enumerate(one_hot):
        if hot:
            x[np.arange(len(codes)), d, codes[:, d].astype(int)] = 1
        else:
            x[:, d, 0] = codes[:, d]
    return x


def as_double(params, Q):
    """Return a copy of fastar's params in float64, W with an axis of Q inputs."""
    double = {name: np.array(array, np.float64) for name, array in params.items()}
    D, H = len(double["b"]), len(double["c"])
    double["W"] = double["W"].reshape(D - 1, Q, H)
    return double


def hidden(params, x, d, activation, markov_order):
    """Return h_d = g(c + sum of x_k W_k over k < d within the window) (n, H)."""
    a = np.broadcast_to(params["c"], (len(x), len(params["c"])))
    for k in range(max(0, d - (markov_order or d)), d):
        a = a + x[:, k] @ params["W"][k]
    return ACTIVATIONS[activation][0](a)


def raw_output(params, x, d, activation="sigmoid", markov_order=None):
    """Return raw_d = b_d + V_d h_d, and raw_d = b_d for the first feature (n, P)."""
    if d == 0:
        return np.broadcast_to(params["b"][0], (len(x), params["b"].shape[1]))
    return params["b"][d] + hidden(params, x, d, activation, markov_order) @ params["V"][d - 1].T


def raw_outputs(params, x, activation="sigmoid", markov_order=None):
    """Return raw_d for every d (n, D, P)."""
    D = x.shape[1]
    return np.stack([raw_output(params, x, d, activation, markov_order) for d in range(D)], axis=1)


def backward(params, x, graw, activation="sigmoid", markov_order=None):
    """Return the gradient of sum(graw * raw) by each parameter."""
    grads = {name: np.zeros(array.shape) for name, array in params.items()}
    grads["b"][:] = graw.sum(axis=0)
    for d in range(1, x.shape[1]):
        h = hidden(params, x, d, activation, markov_order)
        ga = graw[:, d] @ params["V"][d - 1] * ACTIVATIONS[activation][1](h)
        grads["V"][d - 1] = graw[:, d].T @ h
        grads["c"] += ga.sum(axis=0)
        for k in range(max(0, d - (markov_order or d)), d):
            grads["W"][k] += x[:, k].T @ ga
    return grads


def score_features(params, codes, conditional, one_hot, Q, activation="sigmoid", markov_order=None):
    """Return log p(x_d | x_<d) (n, D) of codes."""
    raw = raw_outputs(params, inputs(codes, one_hot, Q), activation, markov_order)
    return conditional.log_prob(raw, codes)


def gradients(params, codes, conditional, one_hot, Q, activation="sigmoid", markov_order=None):
    """Return the gradient of the mean negative log-likelihood by each parameter."""
    x = inputs(codes, one_hot, Q)
    raw = raw_outputs(params, x, activation, markov_order)
    graw = -conditional.gradient(raw, codes) / len(codes)
    return backward(params, x, graw, activation, markov_order)


def complex_step(params, direction, codes, conditional, one_hot, Q, **settings):
    """Return the derivative of the mean negative log-likelihood along `direction`."""
    moved = {name: params[name] + 1e-30j * direction[name] for name in params}
    logp = score_features(moved, codes, conditional, one_hot, Q, **settings)
    return -np.imag(logp.sum()) / 1e-30 / len(codes)


def sample(
    params, noise, conditional, one_hot, Q, *, activation="sigmoid", markov_order=None,
    temperature=1.0, evidence=None, held=None,
):  # fmt: skip
    """Return codes (n, D) that the noise (n, D, 1) stands for; `evidence` where `held`."""
    n, D = noise.shape[:2]
    codes, x = np.zeros((n, D)), np.zeros((n, D, Q))
    for d in range(D):
        raw = raw_output(params, x, d, activation, markov_order)
        codes[:, d] = conditional.draw(raw, d, noise[:, d], temperature)
        if held is not None:
            codes[:, d] = np.where(held[:, d], evidence[:, d], codes[:, d])
        x[:, d] = inputs(codes[:, d : d + 1], one_hot[d : d + 1], Q)[:, 0]
    return codes
