"""The networks in float64: raw outputs (n, sum P), one feature after the other, and gradients."""

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

# name: (g by a, derivative of g by h = g(a))
ACTIVATIONS = {
    "sigmoid": (lambda a: 1 / (1 + np.exp(-a)), lambda h: h * (1 - h)),
    "tanh": (np.tanh, lambda h: 1 - h**2),
    "relu": (lambda a: np.where(np.real(a) > 0, a, 0), lambda h: (h > 0) * 1.0),
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
