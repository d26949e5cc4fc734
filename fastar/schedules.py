"""Learning-rate schedules. To add one, write a class and list it in `BY_NAME`.

A schedule is asked for the factor on `learning_rate_init` before each step, and told after each
epoch whether the model improved.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

__all__ = ["BY_NAME", "Constant", "Cosine", "InverseScaling", "Linear", "Plateau", "Schedule"]


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


BY_NAME: dict[str, type[Schedule]] = {
    each.name: each for each in (Constant, InverseScaling, Linear, Cosine, Plateau)
}
