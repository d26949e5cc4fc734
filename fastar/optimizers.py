"""Optimizers: one fused pass over the flat vector of parameters.

To add one, write a class and list it in `BY_NAME`. Its loop has the same name in
``src/kernels/optimizers.c``; a class without one overrides `update`.

Weight decay is applied apart from the gradient, ``theta *= 1 - rate * decay`` [1]_; for plain
gradient descent this is the gradient of ``decay / 2 * |theta|^2``, a Gaussian prior. A penalty on
absolute values, ``penalty * |theta|``, a Laplace prior, is applied after the step: theta comes
nearer to zero by the penalty times what the method multiplies a lasting gradient with, and stops at
zero [2]_. (`alpha` and `l1_ratio` of the estimators: decay is ``alpha * (1 - l1_ratio)``, penalty
is ``alpha * l1_ratio``.)

References
----------
.. [1] I. Loshchilov, F. Hutter, "Decoupled weight decay regularization", ICLR 2019.
.. [2] J. Duchi, E. Hazan, Y. Singer, "Adaptive subgradient methods", JMLR 12, 2011, section 5.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from fastar._core.parameters import Array, zeros_aligned
from fastar._core.threads import useful_n_threads
from fastar._kernels import _optimizers

__all__ = ["BY_NAME", "SGD", "AdaDelta", "AdaGrad", "Adam", "Optimizer", "RMSProp"]

State = dict[str, Array]


class Step(NamedTuple):
    """One step: its number, from 1 on, rate, decay, penalty, stretches (m, 3), and threads."""

    t: int
    rate: float
    decay: float
    penalty: float
    stretches: Array
    n_threads: int


_STRETCH = 1 << 12  # parameters; a thread takes sixteen stretches at a time


class Stretches:
    """The stretches of the flat vector that steps change.

    A row of ``all`` (m, 3) is a stretch: its first parameter, its end, and the place of the first
    in the optimizer's vectors, which have all parameters in use side by side. ``decayed`` and
    ``rest`` are its parts, ``size`` is the number of parameters in use.

    Parameters
    ----------
    size : int
        Size of the vector.
    n_decayed : int
        The weights, which come first.
    active : int array (m, 2) or None
        Stretches in use; None: all. Parameters outside of them are never read.
    """

    def __init__(self, size: int, n_decayed: int, active: Array | None = None) -> None:
        given = np.array([[0, size]]) if active is None else active
        decayed = _cut(np.clip(given, 0, n_decayed))
        pieces = np.concatenate([decayed, _cut(np.clip(given, n_decayed, size))])
        lengths = pieces[:, 1] - pieces[:, 0]
        self.size = int(lengths.sum())
        self.all = np.column_stack([pieces, np.cumsum(lengths) - lengths])
        self.decayed, self.rest = self.all[: len(decayed)], self.all[len(decayed) :]


def clip_by_norm(gradient: Array, stretches: Stretches, largest: float, n_threads: int) -> None:
    """Shorten the gradient to the norm `largest` where it is longer."""
    n = useful_n_threads(n_threads, stretches.size)
    norm = math.sqrt(_optimizers.sum_of_squares(gradient, stretches.all, n))
    if largest < norm < math.inf:
        gradient *= largest / norm


def _cut(stretches: Array) -> Array:
    """Cut stretches longer than _STRETCH."""
    pieces = [
        np.stack([np.r_[a, inner], np.r_[inner, b]], axis=1)
        for a, b in stretches[stretches[:, 0] < stretches[:, 1]].tolist()
        for inner in [np.arange(a + _STRETCH, b, _STRETCH)]
    ]
    return np.concatenate([np.empty((0, 2), np.int64), *pieces])


class Optimizer:
    """How a gradient changes the parameters."""

    name: ClassVar[str]
    slots: ClassVar[tuple[str, ...]]
    """Names of the vectors that the method remembers."""
    default_rate: ClassVar[float]
    """`learning_rate_init` where the user gives none."""

    def state(self, size: int, dtype: Any) -> State:
        """Return the vectors of `slots` before the first step, zeros."""
        return {slot: zeros_aligned(size, dtype) for slot in self.slots}

    @property
    def kernel(self) -> str:
        """Name of the compiled loop."""
        return self.name

    def hyperparameters(self, rate: float, t: int) -> tuple[float, ...]:
        """Return the numbers of the loop at step t after rate, weight decay and penalty."""
        return ()

    def update(self, theta: Array, gradient: Array, slots: list[Array], step: Step) -> None:
        """Change `theta` and `slots` in place."""
        numbers = (step.rate, step.decay, step.penalty, *self.hyperparameters(step.rate, step.t))
        _optimizers.step(
            self.kernel, theta, gradient, slots, numbers, step.stretches, step.n_threads
        )

    def step(
        self,
        theta: Array,
        gradient: Array,
        state: State,
        *,
        rate: float,
        decay: float,
        penalty: float = 0.0,
        stretches: Stretches,
        t: int,
        n_threads: int,
    ) -> None:
        """Take step t on the parameters in `stretches`, shrinking the weights among them."""
        slots = [state[slot] for slot in self.slots]
        parts = [(stretches.decayed, decay, penalty), (stretches.rest, 0.0, 0.0)]
        n = useful_n_threads(n_threads, 4 * stretches.size)
        if not (decay or penalty):
            parts = [(stretches.all, 0.0, 0.0)]
        for part, its_decay, its_penalty in parts:
            if len(part):
                self.update(theta, gradient, slots, Step(t, rate, its_decay, its_penalty, part, n))


@dataclass
class SGD(Optimizer):
    """Stochastic gradient descent with (Nesterov's) momentum.

    ``v = momentum * v - rate * g``, ``theta += v``; with Nesterov
    ``theta += momentum * v - rate * g`` [1]_.

    Parameters
    ----------
    momentum : float, default=0.9
    nesterov : bool, default=True

    References
    ----------
    .. [1] I. Sutskever et al., "On the importance of initialization and momentum in deep learning",
       ICML 2013.
    """

    momentum: float = 0.9
    nesterov: bool = True

    name = "sgd"
    slots = ("velocity",)
    default_rate = 0.01

    @property
    def kernel(self) -> str:
        """Name of the compiled loop."""
        return "nesterov" if self.nesterov else "sgd"

    def hyperparameters(self, rate: float, t: int) -> tuple[float, ...]:
        """Return the momentum."""
        return (self.momentum,)


@dataclass
class Adam(Optimizer):
    """Adam [1]_ with decoupled weight decay.

    Parameters
    ----------
    beta_1, beta_2 : float, default=0.9 and 0.999
        Memory of the gradient and of its square.
    epsilon : float, default=1e-8

    References
    ----------
    .. [1] D. P. Kingma, J. Ba, "Adam: a method for stochastic optimization", ICLR 2015.
    """

    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8

    name = "adam"
    slots = ("m", "v")
    default_rate = 0.001

    def hyperparameters(self, rate: float, t: int) -> tuple[float, ...]:
        """Return rate and epsilon, both with the bias corrected, the memories, and rate * bias_2.

        The last is the rate of a gradient that lasts, whose m has no bias left.
        """
        bias_2 = math.sqrt(1 - self.beta_2**t)
        rate_t = rate * bias_2 / (1 - self.beta_1**t)
        return rate_t, self.epsilon * bias_2, self.beta_1, self.beta_2, rate * bias_2


@dataclass
class AdaGrad(Optimizer):
    """AdaGrad [1]_: each parameter's rate falls with the sum of its squared gradients.

    Parameters
    ----------
    epsilon : float, default=1e-8

    References
    ----------
    .. [1] J. Duchi, E. Hazan, Y. Singer, "Adaptive subgradient methods", JMLR 12, 2011.
    """

    epsilon: float = 1e-8

    name = "adagrad"
    slots = ("v",)
    default_rate = 0.01

    def hyperparameters(self, rate: float, t: int) -> tuple[float, ...]:
        """Return epsilon."""
        return (self.epsilon,)


@dataclass
class AdaDelta(Optimizer):
    """AdaDelta [1]_: steps in units of earlier steps.

    Parameters
    ----------
    rho : float, default=0.95
    epsilon : float, default=1e-6

    References
    ----------
    .. [1] M. D. Zeiler, "ADADELTA: an adaptive learning rate method", arXiv:1212.5701, 2012.
    """

    rho: float = 0.95
    epsilon: float = 1e-6

    name = "adadelta"
    slots = ("v", "u")
    default_rate = 1.0

    def hyperparameters(self, rate: float, t: int) -> tuple[float, ...]:
        """Return rho and epsilon."""
        return self.rho, self.epsilon


@dataclass
class RMSProp(Optimizer):
    """RMSProp [1]_: each parameter's rate falls with the running mean of its squared gradients.

    Parameters
    ----------
    rho : float, default=0.9
    epsilon : float, default=1e-8

    References
    ----------
    .. [1] T. Tieleman, G. Hinton, "Lecture 6.5: RMSProp", Neural Networks for Machine Learning,
       2012.
    """

    rho: float = 0.9
    epsilon: float = 1e-8

    name = "rmsprop"
    slots = ("v",)
    default_rate = 0.001

    def hyperparameters(self, rate: float, t: int) -> tuple[float, ...]:
        """Return rho and epsilon."""
        return self.rho, self.epsilon


BY_NAME: dict[str, type[Optimizer]] = {
    each.name: each for each in (SGD, Adam, AdaGrad, AdaDelta, RMSProp)
}
