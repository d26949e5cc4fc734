"""Small recurrent models, sequences for them, and their formulas."""

import numpy as np
import pytest
from reference import entered

from fastar import GenerativeRNN

unconverged = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
CELLS = ["tanh", "gru", "lstm"]
every_cell = pytest.mark.parametrize("cell", CELLS)
every_depth = pytest.mark.parametrize("layers", [1, 2])


def make(cell="gru", **settings):
    small = {"n_hidden": 7, "max_iter": 5, "learning_rate_init": 0.02}
    return GenerativeRNN(cell=cell, **small | {"random_state": 0, "n_jobs": 1} | settings)


def sequences(n=60, longest=9, seed=0, K=3):
    rng = np.random.default_rng(seed)
    return [np.cumsum(rng.integers(0, 2, length)) % K for length in rng.integers(1, longest, n)]


def frames(n=40, F=4, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 2, (length, F)).astype(np.uint8) for length in rng.integers(1, 8, n)]


def reals(n=40, seed=0):
    rng = np.random.default_rng(seed)
    return [np.cumsum(rng.normal(size=length)) for length in rng.integers(2, 8, n)]


DATA = {"levels": sequences, "frames of bits": frames, "real": reals}
every_kind = pytest.mark.parametrize("kind", DATA)


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def lstm(a, s):
    """Return units and memory after the pre-activations a of the gates."""
    i, f, g, o = a.reshape(4, -1)
    s = sigmoid(f) * s + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(s), s


def cell_step(cell, x, a, d, h, s):
    """Return units and memory after a step; x: what enters, a: h W_hh, d: of GRU, or None."""
    if cell == "tanh":
        return np.tanh(x + a), s
    H = len(h)
    if cell == "gru":
        r, z = sigmoid(x + a)[: 2 * H].reshape(2, H)
        n = np.tanh(x[2 * H :] + r * (a[2 * H :] + d))
        return (1 - z) * n + z * h, s
    return lstm(x + a, s)


def textbook(network, params, codes):
    """Return raw (l, sum of P) of the steps (l, F) of one sequence."""
    sizes, out = network.hidden_layer_sizes, []
    h, s = [np.zeros(H) for H in sizes], [np.zeros(H) for H in sizes]
    for step in codes:
        V = params["V"].reshape(sizes[-1], -1)
        out.append(h[-1] @ V + params["b"].ravel())
        x = np.zeros(params["W_xh0"].shape[-1])
        for f, code in enumerate(step):
            x += entered(network.inputs, params["W_xh0"], f, code)
        for layer in range(len(sizes)):
            if layer:
                x = h[layer - 1] @ params[f"W_xh{layer}"]
            x = x + params[f"c{layer}"]
            a = h[layer] @ params[f"W_hh{layer}"]
            d = params.get(f"d{layer}")
            h[layer], s[layer] = cell_step(network.cell, x, a, d, h[layer], s[layer])
    return np.array(out)
