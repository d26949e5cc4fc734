"""
Images pixel by pixel: `python bench/pixels.py SET` with mnist, frey_faces or binarized_mnist.

Fits `PixelRNN` to the training images, stopped early by the validation images, and prints nats an
image and bits a pixel of the test images, epochs and seconds, how long samples and completions
take, and where the seconds of a step of training go. Draws samples, and completions of test images
whose lower half is hidden, to `bench/pixels_SET.png`. `--minutes` bounds the time that all threads
together compute: so many minutes on each, however busy the machine is.
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
    parser.add_argument("--save", help="a file for the fitted model")
    parser.add_argument("--markdown", action="store_true", help="a table for RESULTS.md")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # fits end at their limit of epochs
    data = load_dataset(options.set, options.data)
    train, valid, test = (
        each.reshape(-1, *data.shape) for each in (data.train, data.valid, data.test)
    )
    settings = COMMON | SETTINGS[options.set] | dict(options.changes)
    limit = TimeLimit(60 * options.minutes, seconds_a_thread(options.threads))
    model = PixelRNN(n_jobs=options.threads, callbacks=[limit], **settings)
    start = time.perf_counter()
    model.fit(train, X_val=valid[:N_VALID])
    seconds = time.perf_counter() - start
    if options.save:
        model.save(options.save)
    scores = model.score_samples(test)
    nats, D = scores.mean(), data.test.shape[1]
    said = ", ".join(f"{key}={value!r}" for key, value in settings.items())
    print(f"{options.set}: PixelRNN({said}), {options.threads} threads\n")
    lines = [
        ["nats a test image", f"{nats:.2f} ± {scores.std() / np.sqrt(len(scores)):.2f}"],
        ["bits a pixel", f"{-nats / D / np.log(2):.3f}"],
        ["parameters", f"{model.n_parameters_}"],
        ["epochs (best)", f"{model.n_iter_} ({model.best_iter_})"],
        ["fit, s", f"{seconds:.0f}"],
        *draw(model, test, Path(__file__).with_name(f"pixels_{options.set}.png")),
    ]
    print(table(["", ""], lines, options.markdown), end="\n\n")
    shares = profile(model, train[: 8 * model.batch_size])
    print(table(["part of a step of training", "share"], shares, options.markdown))
    return 0


if __name__ == "__main__":
    sys.exit(main())
