"""
Time recurrent layers against PyTorch's: `python bench/recurrent.py`.

The gradient, scoring and sampling of B sequences of T symbols out of K, H hidden units, float32:
all of length T, and of lengths spread evenly from 1 to T. PyTorch has its fused RNN, GRU and LSTM,
with a linear layer and the cross-entropy; ragged batches go in packed, and padded, and the faster
one counts. Its sampler is a loop of fused cells without gradients.

Each contestant lives in a process of its own, which sleeps while the other one is measured. Rounds
take turns, and the smallest times are compared, after both sides gave the same log-likelihoods and
gradients.
"""

import argparse
import multiprocessing
import time

import numpy as np

B, T, H, K = 64, 784, 256, 256
CELLS = ("tanh", "gru", "lstm")
#: What PyTorch calls our gates, in our order: of W_xh, and of W_hh.
ORDER = {"tanh": ([0], [0]), "gru": ([2, 0, 1], [0, 1, 2]), "lstm": ([0, 1, 2, 3], [0, 1, 2, 3])}


def problem(ragged):
    """Return lengths, and symbols (B, T) of which those beyond a length do not count."""
    lengths = np.linspace(1, T, B).astype(int)[::-1].copy() if ragged else np.full(B, T)
    return lengths, np.random.default_rng(1).integers(0, K, (B, T))


def packed(symbols, lengths):
    return np.concatenate([symbols[: (lengths > t).sum(), t] for t in range(T)])


class Ours:
    def __init__(self, cell, n_threads):
        from fastar._parameters import Layout
        from fastar._table import Table
        from fastar.conditionals import Categorical
        from fastar.networks._recurrent import Recurrent

        table = Table(np.arange(K)[:, None], np.arange(1))
        self.conditional = Categorical().fitted(table, np.ones(K))
        self.network = Recurrent(
            1, K, self.conditional.inputs, n_hidden=H, cell=cell, dtype="float32"
        )
        theta = self.network.zeros()
        self.params = Layout(self.network.shapes, 0).views(theta)
        self.network.initialise(self.params, np.random.default_rng(0))
        self.gradient_ = self.network.zeros()
        self.grads = Layout(self.network.shapes, 0).views(self.gradient_)
        self.n_threads = n_threads

    def load(self, ragged):
        self.lengths, symbols = problem(ragged)
        self.codes = packed(symbols, self.lengths).astype("float32")[:, None]
        self.scale = np.full(len(self.codes), 1 / B, "float32")

    def weights(self):
        return {name: value.copy() for name, value in self.params.items()}

    def score(self):
        prepared = self.network.prepare(self.params, self.n_threads)
        raw, _ = self.network.score(prepared, self.codes, self.n_threads, lengths=self.lengths)
        logp, _ = self.conditional.log_prob(raw, self.codes, self.n_threads)
        return float(logp.sum(dtype=np.float64))

    def gradient(self):
        network, n_threads = self.network, self.n_threads
        prepared = network.prepare(self.params, n_threads)
        raw, cache = network.forward(prepared, self.codes, n_threads, lengths=self.lengths)
        _, graw = self.conditional.gradient(raw, self.codes, self.scale, n_threads)
        network.backward(prepared, cache, graw, self.grads, n_threads)
        return {name: self.grads[name].reshape(-1) for name in ("W_xh", "W_hh", "V", "c", "b")}

    def sample(self):
        noise = np.random.default_rng(2).random((B, T, 1), "float32")
        codes = np.empty((B, T), "float32")
        draw = self.conditional.kernel.draw(self.network.dtype, 1.0)
        prepared = self.network.prepare(self.params, self.n_threads)
        self.network.sample(prepared, draw, noise, None, codes, self.n_threads)
        return codes


class Torch:
    def __init__(self, cell, n_threads):
        import torch

        torch.set_num_threads(n_threads)
        self.torch, self.cell = torch, cell
        kind = {"tanh": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}[cell]
        self.rnn, self.linear = kind(K, H), torch.nn.Linear(H, K)
        self.padded = False

    def set_weights(self, weights):
        torch, (order_x, order_h) = self.torch, ORDER[self.cell]

        def gates(name, order):
            parts = np.split(weights[name], len(order), axis=-1)
            return torch.from_numpy(np.concatenate([parts[i] for i in order], axis=-1).T.copy())

        with torch.no_grad():
            self.rnn.weight_ih_l0.copy_(gates("W_xh", order_x))
            self.rnn.weight_hh_l0.copy_(gates("W_hh", order_h))
            self.rnn.bias_ih_l0.copy_(gates("c", order_x))
            self.rnn.bias_hh_l0.zero_()
            self.linear.weight.copy_(torch.from_numpy(weights["V"].reshape(H, K).T.copy()))
            self.linear.bias.copy_(torch.from_numpy(weights["b"].ravel()))

    def load(self, ragged):
        """Build the input beforehand: the one-hot rows that fused layers multiply."""
        torch = self.torch
        self.lengths, symbols = problem(ragged)
        self.target = torch.from_numpy(packed(symbols, self.lengths))
        one_hot = torch.nn.functional.one_hot(torch.from_numpy(symbols.T.copy()), K).float()
        # the first step's outputs see no symbol: they come from the bias alone
        self.first = torch.from_numpy(symbols[:, 0].copy())
        lengths = torch.from_numpy(self.lengths)
        self.later = lengths - 1
        n = int((self.later > 0).sum())
        inputs = one_hot[:-1, :n]
        self.mask = torch.arange(T - 1)[:, None] < self.later[None, :n]
        self.following = torch.from_numpy(symbols.T.copy())[1:, :n]
        self.whole = inputs.contiguous()
        self.packed = torch.nn.utils.rnn.pack_padded_sequence(inputs, self.later[:n])
        self.packed_target = torch.from_numpy(packed(symbols[:n, 1:], self.lengths[:n] - 1))
        self.ragged = ragged

    def loss(self):
        entropy = self.torch.nn.functional.cross_entropy
        total = entropy(self.linear.bias.expand(B, K), self.first, reduction="sum")
        if self.ragged and not self.padded:
            states, targets = self.rnn(self.packed)[0].data, self.packed_target
        else:
            states, targets = self.rnn(self.whole)[0], self.following
            if self.ragged:
                states, targets = states[self.mask], targets[self.mask]
        outputs = self.linear(states.reshape(-1, H))
        return total + entropy(outputs, targets.reshape(-1), reduction="sum")

    def score(self):
        with self.torch.inference_mode():
            return -float(self.loss())

    def gradient(self):
        modules = (self.rnn, self.linear)
        for module in modules:
            module.zero_grad(set_to_none=True)
        (-self.loss() / B).backward()
        order_x, order_h = (np.argsort(order) for order in ORDER[self.cell])

        def gates(tensor, order):
            parts = np.split(tensor.grad.numpy(), len(order))
            return np.concatenate([parts[i] for i in order]).T.reshape(-1)

        return {
            "W_xh": gates(self.rnn.weight_ih_l0, order_x),
            "W_hh": gates(self.rnn.weight_hh_l0, order_h),
            "V": self.linear.weight.grad.numpy().T.reshape(-1),
            "c": gates(self.rnn.bias_ih_l0, order_x),
            "b": self.linear.bias.grad.numpy(),
        }

    def sample(self):
        """Rows of the input weights, one product a step, and the cell by hand."""
        torch = self.torch
        with torch.inference_mode():
            rows = (self.rnn.weight_ih_l0.T + self.rnn.bias_ih_l0).contiguous()
            W, V = self.rnn.weight_hh_l0.T.contiguous(), self.linear.weight.T.contiguous()
            h, m = torch.zeros(B, H), torch.zeros(B, H)
            codes = torch.empty(T, B, dtype=torch.int64)
            for t in range(T):
                p = torch.softmax(torch.addmm(self.linear.bias, h, V), dim=1)
                codes[t] = drawn = torch.multinomial(p, 1)[:, 0]
                x = rows[drawn]
                if self.cell == "tanh":
                    h = torch.tanh(torch.addmm(x, h, W))
                elif self.cell == "gru":
                    a, q = x.chunk(3, 1), (h @ W).chunk(3, 1)
                    r, z = torch.sigmoid(a[0] + q[0]), torch.sigmoid(a[1] + q[1])
                    new = torch.tanh(torch.addcmul(a[2], r, q[2]))
                    h = torch.lerp(new, h, z)
                else:
                    i, f, g, o = torch.addmm(x, h, W).chunk(4, 1)
                    m = torch.sigmoid(f) * m + torch.sigmoid(i) * torch.tanh(g)
                    h = torch.sigmoid(o) * torch.tanh(m)
        return codes.T.numpy()


def worker(kind, cell, n_threads, pipe):
    side = kind(cell, n_threads)
    while (order := pipe.recv()) is not None:
        method, arguments = order
        start = time.perf_counter()
        answer = getattr(side, method)(*arguments)
        seconds = time.perf_counter() - start
        pipe.send((answer, seconds))


class Contestant:
    """One side in a process of its own."""

    def __init__(self, kind, cell, n_threads):
        self.pipe, theirs = multiprocessing.Pipe()
        context = multiprocessing.get_context("spawn")
        self.process = context.Process(
            target=worker, args=(kind, cell, n_threads, theirs), daemon=True
        )
        self.process.start()

    def ask(self, method, *arguments):
        self.pipe.send((method, arguments))
        return self.pipe.recv()

    def close(self):
        self.pipe.send(None)
        self.process.join()


def agree(ours, torch):
    """Raise an error where the log-likelihoods or the gradients differ."""
    mine, its = ours.ask("score")[0], torch.ask("score")[0]
    if not abs(mine - its) <= 1e-5 * abs(its):
        raise SystemExit(f"log-likelihoods disagree: {mine} and {its}")
    mine, its = ours.ask("gradient")[0], torch.ask("gradient")[0]
    for name, value in its.items():
        error = np.linalg.norm(mine[name] - value) / np.linalg.norm(value)
        if not error <= 1e-3:
            raise SystemExit(f"gradient by {name} disagrees by {error:.2g} of its norm")


def fastest(ours, torch, method, rounds, padded):
    """Return the smallest seconds of ours and of PyTorch's best way."""
    mine, its = [], []
    for _ in range(rounds):
        mine.append(ours.ask(method)[1])
        for way in padded:
            torch.ask("__setattr__", "padded", way)
            its.append(torch.ask(method)[1])
    return min(mine), min(its)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=CELLS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    print(f"B = {B}, T = {T}, H = {H}, K = {K}, float32, {options.threads} threads, seconds\n")
    print("| cell | operation | fastar | PyTorch | ratio | at least |")
    print("|---|---|---:|---:|---:|---:|")
    bars = {"tanh": 1.5, "gru": 1.5, "lstm": 1.3}
    for cell in options.cells:
        ours, torch = (Contestant(kind, cell, options.threads) for kind in (Ours, Torch))
        torch.ask("set_weights", ours.ask("weights")[0])
        for ragged in (False, True):
            for side in (ours, torch):
                side.ask("load", ragged)
            agree(ours, torch)
            rows = {"gradient": 2.5 if ragged else bars[cell], "score": 1.5}
            if not ragged:
                rows["sample"] = 4.0
            for method, bar in rows.items():
                ways = (False, True) if ragged else (False,)
                mine, its = fastest(ours, torch, method, options.rounds, ways)
                name = f"{method}, lengths 1 to T" if ragged else method
                print(
                    f"| {cell} | {name} | {mine:.3f} | {its:.3f} | {its / mine:.2f} | {bar} |",
                    flush=True,
                )
        for side in (ours, torch):
            side.close()


if __name__ == "__main__":
    main()
