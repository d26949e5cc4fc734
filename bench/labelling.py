"""
Restore the capitals of a text read from left to right: `python bench/labelling.py`.

Each character of tiny_shakespeare, lower-cased, gets the label whether it was upper case, given the
characters so far. A GRU of 128 units reads stretches of 200 characters, in batches of 32, for three
epochs of Adam with gradients shortened to norm 5. PyTorch has the same network, first weights and
steps, but an order of the batches of its own; before it trains, its log-probabilities with our
trained weights must agree with ours to 1e-4. LogisticRegression sees this character and the eleven
before it, one-hot. Of the test text: accuracy, F1 of the capitals, and nats a character.
"""

import argparse
import os
import sys
import time
import warnings
from typing import Any

import numpy as np
import torch
from machine import cores
from peers.torch_recurrent import set_weights
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score, log_loss
from tables import table

from fastar import SequenceLabeller
from fastar.callbacks import Callback
from fastar.datasets import load_dataset

T, H, EPOCHS, BATCH, RATE, SEEN = 200, 128, 3, 32, 0.004, 12


def text(folder: str | None, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Return lower-cased characters (n, T), numbered, and whether each was a capital."""
    data = load_dataset("tiny_shakespeare", folder)
    numbers, vocabulary = getattr(data, split), data.vocabulary
    lower = [each.lower() for each in vocabulary]
    known = sorted(set(lower))
    small = np.array([known.index(each) for each in lower])[numbers]
    capital = np.array([each.isupper() for each in vocabulary])[numbers]
    n = len(numbers) // T * T
    return small[:n].reshape(-1, T), capital[:n].reshape(-1, T)


class Torch:
    """The same network in PyTorch, with a labeller's weights."""

    def __init__(self, labeller: SequenceLabeller, threads: int) -> None:
        torch.set_num_threads(threads)
        p = labeller.params_
        self.K = p["W_xh0"].shape[1]
        self.rnn = torch.nn.GRU(self.K, H, batch_first=True)
        self.out = torch.nn.Linear(H, 1)
        set_weights(self.rnn, self.out, p)
        self.parameters = [*self.rnn.parameters(), *self.out.parameters()]

    def logits(self, X: Any) -> Any:
        """Return the log-odds (n, T) of a capital."""
        codes = torch.nn.functional.one_hot(X, self.K).float()
        return self.out(self.rnn(codes)[0])[:, :, 0]

    def proba(self, X: np.ndarray) -> np.ndarray:
        """Return p(capital) (n, T)."""
        with torch.no_grad():
            return torch.sigmoid(self.logits(torch.tensor(X)).double()).numpy()

    def fit(self, X: np.ndarray, y: np.ndarray) -> None:
        """Take the steps that the labeller takes, in another order."""
        inputs, labels = torch.tensor(X), torch.tensor(y).float()
        adam, step = torch.optim.Adam(self.parameters, RATE), 0
        n_steps = EPOCHS * -(-len(X) // BATCH)
        for _ in range(EPOCHS):
            for rows in torch.split(torch.randperm(len(X)), BATCH):
                adam.param_groups[0]["lr"] = RATE * (1 - step / n_steps)
                adam.zero_grad()
                loss = torch.nn.functional.binary_cross_entropy_with_logits(
                    self.logits(inputs[rows]), labels[rows], reduction="sum"
                )
                (loss / len(rows)).backward()
                torch.nn.utils.clip_grad_norm_(self.parameters, 5.0)
                adam.step()
                step += 1


class First(Callback):
    """Keeps the parameters that training starts from."""

    def on_fit_begin(self, training: Any) -> None:
        """Copy them."""
        self.theta = training.model.theta.copy()


def windows(X: np.ndarray, K: int) -> Any:
    """Return one-hot rows of each character and those before it in its stretch."""
    padded = np.pad(X, ((0, 0), (SEEN - 1, 0)), constant_values=K)
    seen = np.lib.stride_tricks.sliding_window_view(padded, SEEN, axis=1).reshape(-1, SEEN)
    columns = (seen + (K + 1) * np.arange(SEEN)).ravel()
    starts = np.arange(len(seen) + 1) * SEEN
    shape = (len(seen), SEEN * (K + 1))
    return sparse.csr_matrix((np.ones(len(columns)), columns, starts), shape=shape)


def row(title: str, y: np.ndarray, p: np.ndarray, seconds: float) -> list[str]:
    """Return what p(capital) is worth."""
    y, p = y.ravel(), p.ravel()
    figures = [
        f"{accuracy_score(y, p > 0.5):.4f}", f"{f1_score(y, p > 0.5):.3f}",
        f"{log_loss(y, p):.4f}", f"{seconds:.1f}",
    ]  # fmt: skip
    print(title, *figures, file=sys.stderr, flush=True)
    return [title, *figures]


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default=os.environ.get("FASTAR_DATA"), help="folder of data sets")
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--markdown", action="store_true", help="a table for RESULTS.md")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # logistic regression ends at its limit of steps
    torch.manual_seed(0)
    X, y = text(options.data, "train")
    X_test, y_test = text(options.data, "test")
    settings: dict[str, Any] = {
        "n_hidden": H, "batch_size": BATCH, "learning_rate_init": RATE, "learning_rate": "linear",
        "early_stopping": False, "random_state": 0, "n_jobs": options.threads,
    }  # fmt: skip

    first, start = First(), time.perf_counter()
    ours = SequenceLabeller(max_iter=EPOCHS, callbacks=[first], **settings).fit(X, y)
    seconds, p = time.perf_counter() - start, ours.predict_proba(X_test)[:, :, 1]
    differ = np.abs(np.log(Torch(ours, options.threads).proba(X_test)) - np.log(p)).max()
    print(f"log-probabilities differ from PyTorch's by {differ:.1e} at most")
    if differ > 1e-4:
        return 1
    rows = [row(f"SequenceLabeller, GRU of {H}", y_test, p, seconds)]

    ours.theta_[:] = first.theta
    peer, start = Torch(ours, options.threads), time.perf_counter()
    peer.fit(X, y)
    seconds = time.perf_counter() - start
    rows.append(row("PyTorch, the same", y_test, peer.proba(X_test), seconds))

    K, start = int(X.max()) + 1, time.perf_counter()
    logistic = LogisticRegression(max_iter=100).fit(windows(X, K), y.ravel())
    seconds = time.perf_counter() - start
    p = logistic.predict_proba(windows(X_test, K))[:, 1]
    rows.append(row(f"LogisticRegression, {SEEN} characters", y_test, p, seconds))
    share = np.full(y_test.shape, y.mean())
    rows.append(row("share of capitals", y_test, share, 0.0))
    print(table(["", "accuracy", "F1", "nats", "fit, s"], rows, options.markdown))
    return 0


if __name__ == "__main__":
    sys.exit(main())
