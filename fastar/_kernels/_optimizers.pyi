"""Optimizer updates, each one pass over flat arrays shared among threads."""

from typing import Any

from numpy.typing import NDArray

Vector = NDArray[Any]

def sgd(
    theta: Vector,
    g: Vector,
    velocity: Vector,
    rate: float,
    decay: float,
    momentum: float,
    stretches: NDArray[Any],
    n_threads: int,
) -> None:
    """Take a step of gradient descent with momentum."""

def nesterov(
    theta: Vector,
    g: Vector,
    velocity: Vector,
    rate: float,
    decay: float,
    momentum: float,
    stretches: NDArray[Any],
    n_threads: int,
) -> None:
    """Take a step of gradient descent with Nesterov's momentum."""

def adam(
    theta: Vector,
    g: Vector,
    m: Vector,
    v: Vector,
    rate: float,
    decay: float,
    rate_t: float,
    epsilon_t: float,
    beta_1: float,
    beta_2: float,
    stretches: NDArray[Any],
    n_threads: int,
) -> None:
    """Take a step of Adam; rate_t, epsilon_t: with the corrections of the bias folded in."""

def adagrad(
    theta: Vector,
    g: Vector,
    v: Vector,
    rate: float,
    decay: float,
    epsilon: float,
    stretches: NDArray[Any],
    n_threads: int,
) -> None:
    """Take a step of AdaGrad."""

def adadelta(
    theta: Vector,
    g: Vector,
    v: Vector,
    u: Vector,
    rate: float,
    decay: float,
    rho: float,
    epsilon: float,
    stretches: NDArray[Any],
    n_threads: int,
) -> None:
    """Take a step of AdaDelta."""

def rmsprop(
    theta: Vector,
    g: Vector,
    v: Vector,
    rate: float,
    decay: float,
    rho: float,
    epsilon: float,
    stretches: NDArray[Any],
    n_threads: int,
) -> None:
    """Take a step of RMSProp."""

def sum_of_squares(g: Vector, stretches: NDArray[Any], n_threads: int) -> float:
    """Return the sum of squares of what lies in the stretches."""
