"""
Images pixel by pixel: `python bench/pixels.py SET` with mnist, frey_faces or binarized_mnist.

Fits `PixelRNN` to the training images, stopped early by the validation images, and prints nats an
image and bits a pixel of the test images, epochs and seconds, how long samples and completions
take, and where the seconds of a step of training go. Draws samples, and completions of test images
whose lower half is hidden, to `bench/pixels_SET.png`. `--minutes` bounds the time that all threads
together compute: so many minutes on each, however busy the machine is.

`--orders K` fits K models, each of which reads the images turned or mirrored in another way, and
adds the mean of their densities. With `--checkpoint FILE` the same command goes on where it ended.
"""

import argparse
import cProfile
import os
import pstats
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from machine import cores
from settings import add_settings
from tables import table
from time_limit import TimeLimit, seconds_a_thread

from fastar import PixelRNN
from fastar.callbacks import Callback, Checkpoint
from fastar.datasets import load_dataset

COMMON: dict[str, Any] = {"learning_rate": "linear", "batch_size": 32, "random_state": 0}
SETTINGS: dict[str, dict[str, Any]] = {
    "binarized_mnist": {
        "network": "diagonal_bilstm", "n_hidden": 64, "learning_rate_init": 2e-3, "max_iter": 18,
    },
    "mnist": {"cell": "gru", "n_hidden": 128, "learning_rate_init": 2e-3, "max_iter": 8},
    "frey_faces": {
        "network": "row_lstm", "distribution": "logistic_mixture", "n_hidden": 64,
        "learning_rate_init": 2e-3, "max_iter": 60,
    },
}  # fmt: skip
N_VALID, N_SHOWN, N_DRAWS = 2000, 8, 6
#: Quarter turns, and whether left and right change places: those first that share least.
ORDERS = [
    (0, False),
    (2, False),
    (1, True),
    (3, True),
    (0, True),
    (2, True),
    (1, False),
    (3, False),
]


def turned(X: np.ndarray, order: int) -> np.ndarray:
    """Return the images as the model of this order reads them."""
    turns, mirrored = ORDERS[order]
    return np.ascontiguousarray(np.rot90(X[:, :, ::-1] if mirrored else X, turns, (1, 2)))


def log_mean(scores: np.ndarray) -> np.ndarray:
    """Return the log of the mean density of models (models, n) -> (n,)."""
    return np.logaddexp.reduce(scores, 0) - np.log(len(scores))


def profile(model: PixelRNN, X: np.ndarray) -> list[list[str]]:
    """Return the functions in which two steps of training spend most."""
    again = PixelRNN(**model.get_params() | {"max_iter": 1, "early_stopping": False})
    again.set_params(callbacks=None)
    watch = cProfile.Profile()
    watch.enable()
    again.fit(X)
    watch.disable()
    stats: Any = pstats.Stats(watch)
    found = sorted(((own, name) for name, (_, _, own, _, _) in stats.stats.items()), reverse=True)
    total = sum(own for own, _ in found)
    return [[f"{name[2]}", f"{100 * own / total:.0f} %"] for own, name in found[:8]]


def draw(model: PixelRNN, X: np.ndarray, path: Path) -> list[list[str]]:
    """Draw the picture; return the seconds of samples and completions."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    from fastar import plotting

    X = X[np.random.default_rng(0).permutation(len(X))[:N_SHOWN]]
    height, width = X.shape[1:3]
    hidden = np.arange(height)[:, None] >= np.full(width, height // 2)
    start = time.perf_counter()
    drawn = model.sample(64, random_state=0)
    sampled = time.perf_counter() - start
    start = time.perf_counter()
    completed = model.complete(X, hidden, n_draws=N_DRAWS, random_state=0)
    completion = time.perf_counter() - start
    figure, axes = pyplot.subplots(1, 2, figsize=(13, 6.5), layout="constrained")
    shade = {"vmin": 0, "vmax": max(1, int(drawn.max()))}
    plotting.image_grid(drawn, ax=axes[0], **shade)
    plotting.completion_grid(X, hidden, completed, ax=axes[1], **shade)
    axes[0].set_title("samples")
    axes[1].set_title(f"what is seen, {N_DRAWS} completions, the image")
    figure.savefig(path, dpi=80)
    return [["64 samples, s", f"{sampled:.2f}"],
            [f"{N_SHOWN} x {N_DRAWS} completions, s", f"{completion:.2f}"]]  # fmt: skip


HEADER = ["turns, mirrored", "nats a validation image", "nats a test image", "bits a pixel",
          "epochs (best)", "s of each thread"]  # fmt: skip


def figures(valid: np.ndarray, test: np.ndarray, D: int) -> list[str]:
    """Return the columns that tell of scores."""
    nats = test.mean()
    return [f"{valid.mean():.2f}", f"{nats:.2f} ± {test.std() / np.sqrt(len(test)):.2f}",
            f"{-nats / D / np.log(2):.3f}"]  # fmt: skip


def fit_orders(
    train: np.ndarray,
    valid: np.ndarray,
    test: np.ndarray,
    settings: dict[str, Any],
    options: argparse.Namespace,
) -> tuple[list[PixelRNN], list[list[str]]]:
    """Fit a model an order; return them, and a line for each and for the mean density so far."""
    clock, D = seconds_a_thread(options.threads), test[0].size
    members: list[PixelRNN] = []
    scores: list[list[np.ndarray]] = []
    lines: list[list[str]] = []
    for order in range(options.orders):
        callbacks: list[Callback] = []
        if options.checkpoint:
            callbacks.append(Checkpoint(f"{options.checkpoint}.{order}"))
        callbacks.append(TimeLimit(60 * options.minutes, clock))
        member = PixelRNN(n_jobs=options.threads, callbacks=callbacks, **settings)
        start = clock()
        member.fit(turned(train, order), X_val=turned(valid[:N_VALID], order))
        members.append(member)
        scores.append([member.score_samples(turned(X, order)) for X in (valid, test)])
        ends = [f"{member.n_iter_} ({member.best_iter_})", f"{clock() - start:.0f}"]
        lines.append([f"{ORDERS[order]}", *figures(*scores[-1], D), *ends])
        if order:
            mean = [log_mean(np.array(each)) for each in zip(*scores, strict=True)]
            lines.append([f"mean of {order + 1}", *figures(*mean, D), "", ""])
        print("  ".join(lines[-1]), file=sys.stderr, flush=True)
    return members, lines


def main() -> int:
    """Fit, score, draw and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("set", choices=list(SETTINGS))
    parser.add_argument("--data", default=os.environ.get("FASTAR_DATA"), help="folder of data sets")
    add_settings(parser, "settings in place of those written here")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--orders", type=int, default=1, choices=range(1, len(ORDERS) + 1))
    parser.add_argument("--checkpoint", help="the beginning of the files to go on from")
    parser.add_argument("--save", help="a file for the fitted model")
    parser.add_argument("--markdown", action="store_true", help="a table for RESULTS.md")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # fits end at their limit of epochs
    data = load_dataset(options.set, options.data)
    train, valid, test = (
        each.reshape(-1, *data.shape) for each in (data.train, data.valid, data.test)
    )
    settings = COMMON | SETTINGS[options.set] | dict(options.changes)
    said = ", ".join(f"{key}={value!r}" for key, value in settings.items())
    print(f"{options.set}: PixelRNN({said}), {options.threads} threads\n")
    members, lines = fit_orders(train, valid, test, settings, options)
    print(table(HEADER, lines, options.markdown), end="\n\n")
    model = members[0]
    if options.save:
        model.save(options.save)
    drawn = draw(model, test, Path(__file__).with_name(f"pixels_{options.set}.png"))
    drawn.append(["parameters", f"{model.n_parameters_}"])
    print(table(["", ""], drawn, options.markdown), end="\n\n")
    shares = profile(model, train[: 8 * model.batch_size])
    print(table(["part of a step of training", "share"], shares, options.markdown))
    return 0


if __name__ == "__main__":
    sys.exit(main())
