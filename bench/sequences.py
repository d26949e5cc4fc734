"""
Real sequences: `python bench/sequences.py SET` with jsb_chorales or tiny_shakespeare.

jsb_chorales: the mean log-likelihood of a step of the test pieces, chords of 88 keys, by a
`GenerativeRNN` whose keys are independent given the steps before, by RNN-NADE (``frame="nade"``),
and by the average of `--models` RNN-NADEs: at each step of their probabilities of the chord given
those before, which is a density of pieces, too. Settings were chosen on the validation pieces.

tiny_shakespeare: bits a character of the test text, scored as one stream, and PyTorch's figure for
the same network, first parameters, chunks, batches in the same order, rate and epochs; then
sampled text.
"""

import argparse
import os
import sys
import time
import warnings
from typing import Any

import numpy as np
from machine import cores
from scipy.special import logsumexp
from tables import table

from fastar import GenerativeRNN
from fastar.datasets import Dataset, load_dataset

CHORDS: dict[str, Any] = {
    "n_hidden": 150, "end_symbol": False, "distribution": "bernoulli", "batch_size": 8,
    "learning_rate_init": 4e-3, "dropout": 0.3, "max_iter": 200, "n_iter_no_change": 15,
}  # fmt: skip
NADES: dict[str, Any] = {"n_frame_hidden": 500, "dropout": 0.5}
PUBLISHED = "RNN -8.7, RNN-RBM -6.3, RNN-NADE -5.6 to -5.8 (N. Boulanger-Lewandowski et al., 2012)"
LENGTH, BATCH, RATE, HIDDEN = 64, 16, 4e-3, 256


def chorales(data: Dataset, options: argparse.Namespace) -> None:
    """Print the table of both frames, and of an average of models."""
    lines = []
    for frame, settings, n_models in (
        ("independent", {}, 1),
        ("nade", NADES, 1),
        ("nade", NADES, options.models),
    ):
        models, start = [], time.perf_counter()
        for seed in range(n_models):
            model = GenerativeRNN(
                frame=frame, n_jobs=options.threads, random_state=seed, **CHORDS | settings
            )
            models.append(model.fit(data.train, X_val=data.valid))
        seconds = time.perf_counter() - start
        nats = [f"{nats_a_step(models, part):.3f}" for part in (data.test, data.valid, data.train)]
        epochs = "/".join(f"{each.n_iter_} ({each.best_iter_})" for each in models)
        lines.append([f'{n_models} of frame="{frame}"', *nats, f"{seconds:.0f}", epochs])
    heads = ["", "nats a step, test", "validation", "training", "fit, s", "epochs (best)"]
    print(table(heads, lines, options.markdown))
    print(f"\nPublished: {PUBLISHED}. Bar: -5.56.")


def nats_a_step(models: list[GenerativeRNN], pieces: list[np.ndarray]) -> float:
    """Return the mean log of the models' average probability of a step given those before."""
    steps = [np.concatenate(model.score_features(pieces)) for model in models]
    return float(np.mean(logsumexp(steps, axis=0) - np.log(len(models))))


def peer(model: GenerativeRNN, first: dict[str, np.ndarray], rows: np.ndarray, order: Any,
         epochs: int, test: np.ndarray, threads: int) -> tuple[float, float]:  # fmt: skip
    """Return nats a character and seconds of PyTorch's GRU from the same parameters."""
    import torch
    from peers.torch_recurrent import set_weights

    torch.set_num_threads(threads)
    K, H = first["b"].shape[1], HIDDEN
    rnn, out = torch.nn.GRU(K, H), torch.nn.Linear(H, K)
    set_weights(rnn, out, first)
    parameters = [*rnn.parameters(), *out.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=RATE)
    eye, n_steps, done = torch.eye(K), epochs * -(-len(rows) // BATCH), 0
    start = time.perf_counter()

    def loss(batch: Any) -> Any:
        h = rnn(eye[batch[:-1]])[0]
        logits = out(torch.cat([torch.zeros(1, batch.shape[1], H), h]))
        return torch.nn.functional.cross_entropy(
            logits.reshape(-1, K), batch.reshape(-1), reduction="sum"
        )

    for epoch in range(epochs):
        places = order(epoch)
        for begin in range(0, len(rows), BATCH):
            batch = torch.tensor(rows[places[begin : begin + BATCH]].T).long()
            for group in optimizer.param_groups:
                group["lr"] = RATE * (1 - done / n_steps)
            optimizer.zero_grad()
            (loss(batch) / batch.shape[1]).backward()
            torch.nn.utils.clip_grad_norm_(parameters, model.max_gradient_norm)
            optimizer.step()
            done += 1
    seconds = time.perf_counter() - start
    with torch.no_grad():
        total = float(loss(torch.tensor(test[:, None]).long()))
    return total / len(test), seconds


class First:
    """Keep what training starts from, and the order of its batches."""

    def on_fit_begin(self, training: Any) -> None:
        self.params = {name: value.copy() for name, value in training.model.params.items()}
        self.entropy = training.entropy

    def order(self, epoch: int, n: int) -> np.ndarray:
        return np.random.default_rng([self.entropy, epoch]).permutation(n)


def shakespeare(data: Dataset, options: argparse.Namespace) -> None:
    """Print bits a character beside PyTorch's, and sampled text."""
    text = np.asarray(data.train)
    rows = text[: len(text) // LENGTH * LENGTH].reshape(-1, LENGTH)
    test, watch = np.asarray(data.test), First()
    model = GenerativeRNN(
        n_hidden=HIDDEN, batch_size=BATCH, learning_rate_init=RATE, learning_rate="linear",
        max_iter=options.epochs, early_stopping=False, tol=0, n_iter_no_change=options.epochs,
        random_state=0, n_jobs=options.threads, callbacks=[watch],
    )  # fmt: skip
    start = time.perf_counter()
    model.fit(rows)
    seconds = time.perf_counter() - start
    ours = -model.score_stream(test[None])[0].mean()
    theirs, took = peer(model, watch.params, rows, lambda epoch: watch.order(epoch, len(rows)),
                        options.epochs, test, options.threads)  # fmt: skip
    lines = [
        ["fastar", f"{ours / np.log(2):.4f}", f"{seconds:.0f}"],
        ["PyTorch", f"{theirs / np.log(2):.4f}", f"{took:.0f}"],
    ]
    print(table([f"GRU of {HIDDEN} units, {options.epochs} epochs", "bits a character, test",
                 "fit, s"], lines, options.markdown))  # fmt: skip
    drawn = model.sample(1, max_length=400, temperature=0.8, random_state=0)[0]
    print("\n" + "".join(np.array(data.vocabulary)[drawn]))


def main() -> int:
    """Run one set."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("set", choices=["jsb_chorales", "tiny_shakespeare"])
    parser.add_argument("--data", default=os.environ.get("FASTAR_DATA"), help="folder of data sets")
    parser.add_argument("--models", type=int, default=8, help="of jsb_chorales, averaged")
    parser.add_argument("--epochs", type=int, default=6, help="of tiny_shakespeare")
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--markdown", action="store_true", help="a table for RESULTS.md")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # fits end at their limit of epochs
    data = load_dataset(options.set, options.data)
    (chorales if options.set == "jsb_chorales" else shakespeare)(data, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
