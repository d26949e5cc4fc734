"""Learning-rate schedules. To add one, write a class and list it in `BY_NAME`.

A schedule is asked for the factor on `learning_rate_init` before each step, and told after each
epoch whether the model improved.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

__all__ = [
    "BY_NAME",
    "Constant",
    "Cooldown",
    "Cosine",
    "InverseScaling",
    "Linear",
    "Plateau",
    "Schedule",
]


class Schedule(ABC):
    """How the learning rate changes in the course of training."""

    name: ClassVar[str]

    @abstractmethod
    def factor(self, t: int, n_steps: int, n_drops: int) -> float:
        """Return the factor for step t (from 0) of n_steps, after `n_drops` plateaus."""

    complete_at_max_iter: bool = False
    """Whether `max_iter` epochs are the whole of it: training has not stopped short there."""

    patience: int | None = None
    """Epochs without improvement that make a plateau; None where the schedule ignores them."""

    def cooldown_epochs(self, n_epochs: int) -> int:
        """Return how many epochs complete a training whose best epoch so far is this.

        0: training ends at the plateau. In the cooldown t and n_steps count its own steps alone,
        and `n_drops` is 1.
        """
        return 0


@dataclass
class Constant(Schedule):
    """The same rate throughout."""

    name = "constant"

    def factor(self, t: int, n_steps: int, n_drops: int) -> float:
        """Return 1."""
        return 1.0


@dataclass
class InverseScaling(Schedule):
    """``1 / (1 + decrease * t) ** power`` at step t.

    With power 1, `decrease` is the "decrease constant" of the NADE papers.

    Parameters
    ----------
    decrease : float, default=1e-3
    power : float, default=1
    """

    decrease: float = 1e-3
    power: float = 1.0

    name = "invscaling"

    def factor(self, t: int, n_steps: int, n_drops: int) -> float:
        """Return the factor at step t."""
        return float((1 + self.decrease * t) ** -self.power)


@dataclass
class Linear(Schedule):
    """From 1 to `end` in a straight line over `max_iter` epochs.

    Parameters
    ----------
    end : float, default=0
    """

    end: float = 0.0

    name = "linear"
    complete_at_max_iter = True

    def factor(self, t: int, n_steps: int, n_drops: int) -> float:
        """Return the factor at step t."""
        return 1 + (self.end - 1) * min(t / n_steps, 1)


@dataclass
class Cosine(Schedule):
    """From 1 to `end` along half a cosine over `max_iter` epochs.

    Parameters
    ----------
    end : float, default=0
    """

    end: float = 0.0

    name = "cosine"
    complete_at_max_iter = True

    def factor(self, t: int, n_steps: int, n_drops: int) -> float:
        """Return the factor at step t."""
        return self.end + (1 - self.end) * (1 + math.cos(math.pi * min(t / n_steps, 1))) / 2


@dataclass
class Plateau(Schedule):
    """Multiplied by `drop` each time `patience` epochs pass without improvement.

    Training goes on from the best parameters if there are held-out rows.

    Parameters
    ----------
    drop : float, default=0.2
    patience : int, default=4
        Fewer than the estimator's `n_iter_no_change`, or training stops first.
    """

    drop: float = 0.2
    patience: int | None = 4

    name = "adaptive"

    def factor(self, t: int, n_steps: int, n_drops: int) -> float:
        """Return drop to the power of the number of plateaus so far."""
        return self.drop**n_drops


@dataclass
class Cooldown(Schedule):
    """The same rate until training no longer improves, then from 1 to 0 in a straight line [1]_.

    After `n_iter_no_change` epochs without improvement training goes back to the best parameters,
    if there are held-out rows, and ends with a cooldown, in which the rate falls to zero. It takes
    `share` of the epochs that the best parameters had, and at least `least` epochs. It begins
    earlier where it would not end by `max_iter`.

    Parameters
    ----------
    share : float, default=0.3
    least : int, default=5

    References
    ----------
    .. [1] A. Hägele et al., "Scaling laws and compute-optimal training beyond fixed training
       durations", NeurIPS 2024.
    """

    share: float = 0.3
    least: int = 5

    name = "cooldown"
    complete_at_max_iter = True

    def factor(self, t: int, n_steps: int, n_drops: int) -> float:
        """Return 1 before the cooldown; in it, what is left of its steps."""
        return 1.0 if n_drops == 0 else 1 - t / n_steps

    def cooldown_epochs(self, n_epochs: int) -> int:
        """Return `share` of them, at least `least`."""
        return max(self.least, math.ceil(self.share * n_epochs))


BY_NAME: dict[str, type[Schedule]] = {
    each.name: each for each in (Constant, InverseScaling, Linear, Cosine, Plateau, Cooldown)
}
