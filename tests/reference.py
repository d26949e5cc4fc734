"""The models in float64 NumPy, written like the papers: slow, plain, and the judge of all kernels.

Arrays are in model order. codes (n, D). NADE's parameters: W (D - 1, Q, H), c (H,),
V (D - 1, P, H), b (D, P), with RNADE's rescaling also rho (D - 1,); those of masked networks are
where they begin. All but gradients and samples also takes complex parameters, for derivatives by
complex steps.
"""

from dataclasses import dataclass, field
from itertools import pairwise

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


def pre_activation(params, x, d, markov_order):
    """Return a_d = c + sum of x_k W_k over k < d within the window (n, H)."""
    a = np.broadcast_to(params["c"], (len(x), len(params["c"])))
    for k in range(max(0, d - (markov_order or d)), d):
        a = a + x[:, k] @ params["W"][k]
    return a


def rho_of(params, d):
    """Return the factor of a_d, d >= 1."""
    return params["rho"][d - 1] if "rho" in params else 1.0


def hidden(params, x, d, activation, markov_order):
    """Return h_d = g(rho_d a_d) (n, H)."""
    a = pre_activation(params, x, d, markov_order)
    return ACTIVATIONS[activation][0](rho_of(params, d) * a)


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
        by_scaled = graw[:, d] @ params["V"][d - 1] * ACTIVATIONS[activation][1](h)
        ga = by_scaled * rho_of(params, d)
        if "rho" in params:
            grads["rho"][d - 1] = (by_scaled * pre_activation(params, x, d, markov_order)).sum()
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


# ---- masked networks: MADE, and FVSBN, the one without hidden layers


def within(inner, outer):
    """Return where (a, b) one of a intervals lies within one of b intervals (firsts, lasts)."""
    return (outer[0] <= inner[0][:, None]) & (inner[1][:, None] <= outer[1])


@dataclass
class Masked:
    """A dense network with one mask for every matrix of weights.

    order (D,): the feature that comes k-th. degrees: of the units of each hidden layer.

    Parameters: W0 (D, Q, H_1) with c0 (H_1,), .., the last W (H_L, D, P); from inputs to outputs
    L (D, Q, D, P); b (D, P). Any axes that hold these numbers in this order will do.
    """

    order: np.ndarray
    degrees: list
    P: int = 1
    Q: int = 1
    activation: str = "relu"
    markov_order: int | None = None
    direct: bool = True
    masks: dict = field(init=False)

    def __post_init__(self):
        # The features, counted from 1 in their order, that each unit sees form an interval. One of
        # degree m sees those up to m, an output those before its own; each no more than its layer's
        # window. A unit feeds another if it sees nothing that the other may not.
        D, depth = len(self.order), len(self.degrees)
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
            chosen.order, chosen.degrees, network.n_outputs, network.inputs.n_inputs,
            network.activation, network.markov_order, network.direct_connections,
        )  # fmt: skip

    def shown(self, params, name):
        """Return a matrix of weights, zero where its mask hides it, whatever it holds there."""
        mask = self.masks[name]
        return np.where(mask, params[name].reshape(mask.shape), 0)

    def layers(self, params, x, kept):
        """Return for each hidden layer g(a), and what the next layer gets of it."""
        g = ACTIVATIONS[self.activation][0]
        active, given = [], [x.reshape(len(x), -1)]
        for layer in range(len(self.degrees)):
            a = params[f"c{layer}"] + given[-1] @ self.shown(params, f"W{layer}")
            active.append(g(a))
            given.append(active[-1] * kept[layer] if kept else active[-1])
        return active, given

    def raw_outputs(self, params, x, kept=()):
        """Return raw_d for every d (n, D, P) of x (n, D, Q).

        kept: what dropout multiplies each hidden layer by, (n, H) each.
        """
        _, given = self.layers(params, x, kept)
        raw = np.broadcast_to(params["b"].ravel(), (len(x), params["b"].size))
        if self.degrees:
            raw = raw + given[-1] @ self.shown(params, f"W{len(self.degrees)}")
        if self.direct:
            raw = raw + given[0] @ self.shown(params, "L")
        return raw.reshape(len(x), len(self.order), self.P)

    def backward(self, params, x, graw, kept=()):
        """Return the gradient of sum(graw * raw) by each parameter, zero where a mask hides it."""
        active, given = self.layers(params, x, kept)
        ga = graw.reshape(len(x), -1)
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

    def score_features(self, params, codes, conditional, one_hot):
        """Return log p(x_d | those before it) (n, D) of codes."""
        return conditional.log_prob(self.raw_outputs(params, inputs(codes, one_hot, self.Q)), codes)

    def gradients(self, params, codes, conditional, one_hot):
        """Return the gradient of the mean negative log-likelihood by each parameter."""
        x = inputs(codes, one_hot, self.Q)
        graw = -conditional.gradient(self.raw_outputs(params, x), codes) / len(codes)
        return self.backward(params, x, graw)

    def complex_step(self, params, direction, codes, conditional, one_hot):
        """Return the derivative of the mean negative log-likelihood along `direction`."""
        moved = {name: params[name] + 1e-30j * direction[name] for name in params}
        logp = self.score_features(moved, codes, conditional, one_hot)
        return -np.imag(logp.sum()) / 1e-30 / len(codes)

    def sample(
        self, params, noise, conditional, one_hot, *, temperature=1.0, evidence=None, held=None
    ):
        """Return codes (n, D) that the noise (n, D, 1) stands for, by D passes over the network."""
        codes = np.zeros(noise.shape[:2])
        for position, d in enumerate(self.order):
            raw = self.raw_outputs(params, inputs(codes, one_hot, self.Q))[:, d]
            # random numbers come in the order of drawing
            codes[:, d] = conditional.draw(raw, d, noise[:, position], temperature)
            if held is not None:
                codes[:, d] = np.where(held[:, d], evidence[:, d], codes[:, d])
        return codes
