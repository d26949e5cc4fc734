"""A limit of the time that training takes."""

import sys
import time
from collections.abc import Callable
from typing import Any

from fastar.callbacks import Callback

__all__ = ["TimeLimit", "seconds_a_thread"]


def seconds_a_thread(n_threads: int) -> Callable[[], float]:
    """Return a clock of what each of so many threads has computed, however busy the machine is."""
    return lambda: time.process_time() / n_threads


class TimeLimit(Callback):
    """Prints a line an epoch; stops after so many seconds of a clock."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds, self.clock = seconds, clock

    def on_fit_begin(self, training: Any) -> None:
        """Start the clock."""
        self.start = self.clock()

    def on_epoch_end(self, training: Any) -> bool:
        """Print, and return whether the time is over."""
        spent, progress = self.clock() - self.start, training.progress
        print(
            f"epoch {progress.epoch}: {spent:.0f} s, nats of training rows "
            f"{-progress.loss_curve[-1]:.2f}, of validation {-progress.validation_curve[-1]:.2f}",
            file=sys.stderr, flush=True,
        )  # fmt: skip
        return bool(spent > self.seconds)
