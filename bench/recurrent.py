"""
Speed of recurrent networks beside PyTorch's: `python bench/recurrent.py`.

64 sequences of 784 steps, or of lengths spread evenly from 1 to 784, 256 levels, 256 units, in
single precision: one gradient of the mean log-likelihood of the batch, its scores, and sampling 64
sequences. PyTorch has the same weights in nn.RNN, nn.GRU or nn.LSTM and a linear layer; where
lengths differ, packed sequences or padded ones, whichever is faster; it samples by cells without
gradients. No ratio is printed for a peer whose log-likelihoods differ from ours by more than 1e-3
nats a step. The floor is the multiply-adds over the rate of SGEMM.
"""

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from machine import cores, rates
from tables import table

from fastar import GenerativeRNN
from fastar._sequences import Sequences, SequenceTable

B, T, H, K = 64, 784, 256, 256
KINDS = {"tanh": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}
BARS = {
    "gradient": (1.5, 1.5, 1.3),
    "scoring": (1.5, 1.5, 1.5),
    "sampling": (4, 4, 4),
    "ragged": (2.5, 2.5, 2.5),
}


class Ours:
    """A fitted model and what training does with it."""

    def __init__(self, cell: str, threads: int) -> None:
        rng = np.random.default_rng(0)
        self.threads = threads
        known = np.arange(K)[rng.integers(0, K, (4, T))]
        known[0, :K] = np.arange(K)
        estimator = GenerativeRNN(
            cell=cell, n_hidden=H, max_iter=1, learning_rate="linear",
            early_stopping=False, random_state=0, n_jobs=threads,
        ).fit(known)  # fmt: skip
        self.estimator, self.model = estimator, estimator._model()
        self.grads = self.model.layout.views(np.zeros_like(self.model.theta))

    def steps(self, sequences: Sequences) -> Any:
        """Return codes of sequences."""
        return self.model.codes(SequenceTable(sequences, ends=False).take(slice(None)))

    def score(self, steps: Any) -> np.ndarray:
        """Return log-likelihoods."""
        raw, _ = self.model.network.forward(self.model.params, steps, self.threads)
        return self.model.conditional.log_prob(raw, steps, self.threads)[1]

    def gradient(self, steps: Any) -> None:
        """Compute the gradient of the mean log-likelihood."""
        model = self.model
        raw, cache = model.network.forward(
            model.params, steps, self.threads, rng=np.random.default_rng(0)
        )
        scale = np.full(len(steps), -1 / len(steps), np.float32)
        _, graw = model.conditional.gradient(raw, steps, scale, self.threads)
        model.network.backward(model.params, cache, graw, self.grads, self.threads)

    def sample(self) -> None:
        """Draw sequences."""
        self.estimator.sample(B, max_length=T, random_state=0)


class Torch:
    """The same in PyTorch."""

    def __init__(self, cell: str, ours: Ours, sequences: Sequences, threads: int) -> None:
        torch.set_num_threads(threads)
        self.kind, p = KINDS[cell], ours.model.params
        self.rnn, self.out = self.kind(K, H, batch_first=False), torch.nn.Linear(H, K)
        hidden = np.zeros_like(p["c0"])
        if cell == "gru":
            hidden[2 * H :] = p["d0"]
        with torch.no_grad():
            self.rnn.weight_ih_l0.copy_(torch.tensor(p["W_xh0"][0].T))
            self.rnn.weight_hh_l0.copy_(torch.tensor(p["W_hh0"].T))
            self.rnn.bias_ih_l0.copy_(torch.tensor(p["c0"]))
            self.rnn.bias_hh_l0.copy_(torch.tensor(hidden))
            self.out.weight.copy_(torch.tensor(p["V"][:, 0].T))
            self.out.bias.copy_(torch.tensor(p["b"][0]))
        lengths = sequences.lengths
        flat = torch.tensor(sequences.values[:, 0]).long()
        self.parts = list(torch.split(flat, lengths.tolist()))
        self.padded = torch.nn.utils.rnn.pad_sequence(self.parts)
        self.mask = torch.arange(len(self.padded))[:, None] < torch.tensor(lengths)
        self.lengths = torch.tensor(lengths)

    def _logp(self, packed: bool) -> Any:
        """Return log p of each step (T, B), 0 beyond the end."""
        inputs = torch.nn.functional.one_hot(self.padded, K).float()
        if packed:
            packed_inputs = torch.nn.utils.rnn.pack_padded_sequence(
                inputs, self.lengths, enforce_sorted=False
            )
            h, _ = torch.nn.utils.rnn.pad_packed_sequence(self.rnn(packed_inputs)[0])
        else:
            h, _ = self.rnn(inputs)
        h = torch.cat([torch.zeros(1, h.shape[1], H), h[:-1]])
        logits = self.out(h[self.mask])
        return -torch.nn.functional.cross_entropy(logits, self.padded[self.mask], reduction="none")

    def score(self, packed: bool) -> float:
        """Return the sum of all log-likelihoods."""
        with torch.no_grad():
            return float(self._logp(packed).sum())

    def gradient(self, packed: bool) -> None:
        """Compute the gradient of the mean log-likelihood."""
        self.rnn.zero_grad()
        self.out.zero_grad()
        (-self._logp(packed).sum() / len(self.parts)).backward()

    def sample(self) -> None:
        """Draw sequences by cells."""
        cell = {torch.nn.RNN: torch.nn.RNNCell, torch.nn.GRU: torch.nn.GRUCell}.get(
            self.kind, torch.nn.LSTMCell
        )(K, H)
        with torch.no_grad():
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                getattr(cell, name).copy_(getattr(self.rnn, f"{name}_l0"))
            eye, state = torch.eye(K), None
            h = torch.zeros(B, H)
            for _ in range(T):
                x = torch.multinomial(torch.softmax(self.out(h), 1), 1)[:, 0]
                state = cell(eye[x], state)
                h = state[0] if isinstance(state, tuple) else state


def best(function: Callable[[], Any], times: int) -> float:
    """Return the seconds of the quickest call."""
    function()
    found = []
    for _ in range(times):
        start = time.perf_counter()
        function()
        found.append(time.perf_counter() - start)
    return min(found)


def compare(cell: str, options: argparse.Namespace, sgemm: float) -> list[list[str]]:
    """Return the rows of one cell."""
    rng, rows = np.random.default_rng(1), []
    ours = Ours(cell, options.threads)
    gates = {"tanh": 1, "gru": 3, "lstm": 4}[cell]
    place = list(KINDS).index(cell)
    for ragged in (False, True):
        lengths = np.linspace(1, T, B).astype(int) if ragged else np.full(B, T)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        sequences = Sequences(rng.integers(0, K, offsets[-1]), offsets)
        steps, peer = ours.steps(sequences), Torch(cell, ours, sequences, options.threads)
        agree = abs(ours.score(steps).sum() - peer.score(ragged)) < 1e-3 * len(steps.codes)
        products = len(steps.codes) * (H * gates * H + H * K) / 1e9
        work = {
            "scoring": (partial(ours.score, steps), peer.score, products),
            "gradient": (partial(ours.gradient, steps), peer.gradient, 3 * products),
        }
        for name, (own, other, floor) in work.items():
            if ragged and name == "scoring":
                continue
            mine = best(own, options.times)
            theirs = min(best(partial(other, each), options.times) for each in {ragged, False})
            bar = BARS["ragged" if ragged else name][place]
            title = f"{cell}: {name}{', lengths 1 to 784' if ragged else ''}"
            ratio = f"{theirs / mine:.2f}x" if agree else "none: disagrees"
            rows.append(
                [
                    title,
                    f"{mine:.3f}",
                    f"{theirs:.3f}",
                    ratio,
                    f"{bar}x",
                    f"{2 * floor / sgemm:.3f}",
                    f"{mine * sgemm / 2 / floor:.1f}",
                ]
            )
        if not ragged:
            mine, theirs = best(ours.sample, options.times), best(peer.sample, options.times)
            rows.append(
                [
                    f"{cell}: sampling",
                    f"{mine:.3f}",
                    f"{theirs:.3f}",
                    f"{theirs / mine:.2f}x" if agree else "none: disagrees",
                    f"{BARS['sampling'][place]}x",
                    f"{2 * products / sgemm:.3f}",
                    f"{mine * sgemm / 2 / products:.1f}",
                ]
            )
    return rows


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cells", nargs="+", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--markdown", action="store_true", help="a table for RESULTS.md")
    options = parser.parse_args()
    sgemm = 2e-9 * rates(options.threads)["sgemm"]
    print(f"SGEMM {sgemm:.0f} GFLOP/s, {options.threads} threads\n")
    rows = [row for cell in options.cells for row in compare(cell, options, sgemm)]
    heads = ["", "ours, s", "PyTorch, s", "ratio", "bar", "floor, s", "ours / floor"]
    print(table(heads, rows, options.markdown))
    return 0


if __name__ == "__main__":
    sys.exit(main())
