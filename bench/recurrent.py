"""
Speed of recurrent networks beside PyTorch's and JAX's: `python bench/recurrent.py`.

64 sequences of 784 steps, or of lengths spread evenly from 1 to 784, 256 levels, 256 units, in
single precision: one gradient of the mean log-likelihood of the batch, its scores, and sampling 64
sequences. The peers have the same weights and begin with tensors of levels; each is taken in the
formulation that is fastest, and all take turns. A ratio is to the faster peer of those whose
log-likelihoods differ from ours by less than 1e-3 nats a step and whose gradients by W_hh by less
than a thousandth. The floor is the multiply-adds over the rate of SGEMM.
"""

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from machine import cores, rates
from peers.recurrent_jax import JaxRecurrent
from peers.recurrent_torch import TorchRecurrent
from tables import table

from fastar import GenerativeRNN
from fastar._data.sequences import Sequences, SequenceTable

B, T, H, K = 64, 784, 256, 256
CELLS = ("tanh", "gru", "lstm")
LENGTHS = ("equal", "spread")
PEERS = (TorchRecurrent, JaxRecurrent)


class Operation(NamedTuple):
    """What is timed: passes over the weights, and the ratios it should reach, by cell."""

    title: str
    method: str
    passes: int
    ragged: bool
    bars: tuple[float, ...]


OPERATIONS = (
    Operation("scoring", "score", 1, False, (1.5, 1.5, 1.5)),
    Operation("gradient", "gradient", 3, False, (1.5, 1.5, 1.3)),
    Operation("sampling", "sample", 1, False, (4, 4, 4)),
    Operation("gradient, lengths 1 to 784", "gradient", 3, True, (2.5, 2.5, 2.5)),
)


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
        return self.model.log_prob(self.model.params, steps, self.threads)[1]

    def gradient(self, steps: Any) -> None:
        """Compute the gradient of the mean log-likelihood."""
        model = self.model
        raw, cache = model.network.forward(
            model.params, steps, self.threads, rng=np.random.default_rng(0)
        )
        scale = np.full(len(steps), -1 / len(steps), np.float32)
        _, graw = model.conditional.gradient(raw, steps, scale, self.threads)
        model.network.backward(model.params, cache, graw, self.grads, self.threads)

    def sample(self, steps: Any) -> None:
        """Draw as many sequences."""
        self.estimator.sample(len(steps), max_length=T, random_state=0)


def alternate(work: dict[str, Callable[[], Any]], times: int) -> dict[str, float]:
    """Return the seconds of the quickest call of each, one after the other in turns.

    The first call may compile, allocate and fill caches: it is never the quickest of several.
    """
    found = dict.fromkeys(work, float("inf"))
    for _ in range(times):
        for name, function in work.items():
            start = time.perf_counter()
            function()
            found[name] = min(found[name], time.perf_counter() - start)
    return found


def agree(ours: Ours, steps: Any, peer: Any) -> bool:
    """Return whether a peer finds our log-likelihood and our gradient by W_hh."""
    total = ours.score(steps).sum()
    ours.gradient(steps)
    own = ours.grads["W_hh0"]
    return all(
        abs(total - peer.score(each)) < 1e-3 * len(steps.codes)
        and np.linalg.norm(own - peer.gradient(each)) < 1e-3 * np.linalg.norm(own)
        for each in peer.formulations
    )


def calls(peer: Any, method: str) -> dict[str, Callable[[], Any]]:
    """Return a peer's ways to do something."""
    if method == "sample":
        return {peer.name: peer.sample}
    return {
        f"{peer.name} {each}": partial(getattr(peer, method), each) for each in peer.formulations
    }


def compare(cell: str, options: argparse.Namespace, sgemm: float) -> list[list[str]]:
    """Return the rows of one cell."""
    rng, rows, ours = np.random.default_rng(1), [], Ours(cell, options.threads)
    gates = {"tanh": 1, "gru": 3, "lstm": 4}[cell]
    for ragged in (each == "spread" for each in options.lengths):
        lengths = np.linspace(1, T, B).astype(int) if ragged else np.full(B, T)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        sequences = Sequences(rng.integers(0, K, offsets[-1]), offsets)
        steps, parts = ours.steps(sequences), np.split(sequences.values[:, 0], offsets[1:-1])
        peers = [peer(cell, ours.model.params, parts, options.threads) for peer in PEERS]
        fair = [peer.name for peer in peers if agree(ours, steps, peer)]
        for operation in OPERATIONS:
            if operation.ragged != ragged:
                continue
            work = {"ours": partial(getattr(ours, operation.method), steps)}
            for peer in peers:
                work |= calls(peer, operation.method)
            seconds = alternate(work, options.times)
            quickest = {
                peer.name: min(seconds[key] for key in calls(peer, operation.method))
                for peer in peers
            }
            best = min((quickest[name] for name in fair), default=None)
            floor = 2e-9 * operation.passes * len(steps.codes) * H * (gates * H + K) / sgemm
            rows.append(
                [
                    f"{cell}: {operation.title}",
                    f"{seconds['ours']:.3f}",
                    *(f"{each:.3f}" for each in quickest.values()),
                    f"{best / seconds['ours']:.2f}x" if best else "none: they disagree",
                    f"{operation.bars[CELLS.index(cell)]}x",
                    f"{floor:.3f}",
                    f"{seconds['ours'] / floor:.1f}",
                ]
            )
    return rows


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cells", nargs="+", default=CELLS, choices=CELLS)
    parser.add_argument("--lengths", nargs="+", default=LENGTHS, choices=LENGTHS)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--markdown", action="store_true", help="a table for RESULTS.md")
    options = parser.parse_args()
    sgemm = 2e-9 * rates(options.threads)["sgemm"]
    print(f"SGEMM {sgemm:.0f} GFLOP/s, {options.threads} threads\n")
    rows = [row for cell in options.cells for row in compare(cell, options, sgemm)]
    theirs = [f"{peer.name}, s" for peer in PEERS]
    heads = ["", "ours, s", *theirs, "ratio", "bar", "floor, s", "ours / floor"]
    print(table(heads, rows, options.markdown))
    return 0


if __name__ == "__main__":
    sys.exit(main())
