"""
Dynamic binarization of digits: `python bench/binarized.py --model NADE --checkpoint FILE`.

A grey level is the probability of a bit. The training rows of every epoch are bits that are drawn
anew; those of validation and test are drawn once. Prints a line an epoch, and at the end the mean
log-likelihood of the test rows beside the published one.

`--minutes` ends the training after so much time, with the best parameters so far. The same command
with the same `--checkpoint` goes on from there, as if nothing had happened.
"""

import argparse
import os
import sys
import time
import warnings
from typing import Any

import numpy as np
from machine import cores
from settings import add_settings
from tables import table
from time_limit import TimeLimit

from fastar.callbacks import Callback, Checkpoint
from fastar.datasets import load_dataset
from fastar.models import BY_NAME

COMMON: dict[str, Any] = {
    "learning_rate": "linear", "learning_rate_init": 1e-3, "batch_size": 100, "random_state": 0,
}  # fmt: skip
SETTINGS: dict[str, dict[str, Any]] = {
    "NADE": {"n_hidden": 1000, "max_iter": 400},
    "MADE": {
        "hidden_layer_sizes": (2000, 2000), "n_masks": 8, "redrawn": 0.2, "max_iter": 200,
    },
}  # fmt: skip
N_VALID = 2000
#: As they are remembered: nobody has checked them.
PUBLISHED = {"NADE": -85.65, "MADE": -84.87}


def drawn(grey: np.ndarray, seed: tuple[int, ...]) -> np.ndarray:
    """Return bits, each with the probability of its grey level."""
    rng = np.random.default_rng(seed)
    return (rng.integers(0, 255, grey.shape, np.uint8) < grey).astype(np.uint8)


class Redrawn(Callback):
    """Draws new bits for every epoch, the same whenever training comes to it."""

    def __init__(self, rows: np.ndarray, grey: np.ndarray) -> None:
        self.rows, self.grey = rows, grey

    def on_fit_begin(self, training: Any) -> None:
        """Draw those of the epoch to begin with, which a checkpoint may have set."""
        self.on_epoch_end(training)

    def on_epoch_end(self, training: Any) -> None:
        """Draw those of the next epoch into the rows that training reads."""
        self.rows[:] = drawn(self.grey, (0, training.progress.epoch))


def main() -> int:
    """Fit, score and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default=os.environ.get("FASTAR_DATA"), help="folder of data sets")
    parser.add_argument("--model", default="NADE", choices=list(SETTINGS))
    add_settings(parser, "settings in place of those written here")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--checkpoint", help="a file from which the same command goes on")
    parser.add_argument("--rows", type=int, help="most training rows")
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--markdown", action="store_true", help="a table for RESULTS.md")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # fits end at their limit of epochs
    data = load_dataset("mnist", options.data)
    grey = data.train[: options.rows]
    train, valid, test = (
        drawn(grey, (0, 0)),
        drawn(data.valid[:N_VALID], (1,)),
        drawn(data.test, (2,)),
    )
    settings = COMMON | SETTINGS[options.model] | dict(options.changes)
    settings.setdefault("n_iter_no_change", settings["max_iter"])
    # a checkpoint tells which rows it is of, and is read before these are drawn
    callbacks: list[Callback] = [Checkpoint(options.checkpoint)] if options.checkpoint else []
    callbacks += [Redrawn(train, grey), TimeLimit(60 * options.minutes)]
    model = BY_NAME[options.model](**settings, n_jobs=options.threads, callbacks=callbacks)
    start = time.perf_counter()
    model.fit(train, X_val=valid)
    seconds = time.perf_counter() - start
    scores = model.score_samples(test)
    said = ", ".join(f"{key}={value!r}" for key, value in settings.items())
    print(f"mnist, bits drawn anew: {options.model}({said}), {options.threads} threads\n")
    lines = [
        ["test", f"{scores.mean():.2f} ± {scores.std() / np.sqrt(len(scores)):.2f}"],
        ["published, as remembered", f"{PUBLISHED[options.model]:.2f}"],
        ["validation", f"{model.score(valid):.2f}"],
        ["epochs (best)", f"{model.n_iter_} ({model.best_iter_})"],
        ["parameters", f"{model.n_parameters_}"],
        ["this run, s", f"{seconds:.0f}"],
    ]
    print(table(["nats an image", ""], lines, options.markdown))
    return 0


if __name__ == "__main__":
    sys.exit(main())
