"""Masked networks with mixtures of Gaussians in PyTorch, eager and compiled."""

# Tried on 2 cores (PyTorch 2.13, float32, 63 features, 512 rectified units, 20 components, no
# direct connections, 100 rows), smallest times in milliseconds; kept are those with a star. "Order"
# is that of the outputs: parameter, component, feature; feature, parameter, component; or the
# transpose of the latter, with rows last.
#
#                                               score              train step
#   order                                 (p,k,d)  (d,p,k)^T    (p,k,d)  (d,p,k)^T
#   eager, masks in forward *                   -        2.5        9.1        8.7
#   compiled, masks in forward *              2.1        2.3        7.5        7.9
#   eager, masks after steps *                1.8        2.0        7.8        7.7
#   compiled, masks after steps *             1.6        1.9        7.1          -
#   eager, density compiled, masks in forward 2.1        2.4        9.0        8.9
#   the same, masks after steps               1.6        2.1        7.0          -

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .mixture_layers import Layers, params_of
from .torch_loops import ACTIVATIONS
from .torch_outputs import draw_mixture, mixture_log_density

__all__ = [
    "TorchMixture",
    "TorchMixtureCompiled",
    "TorchMixtureCompiledSteps",
    "TorchMixtureSteps",
]

Tensors = Sequence[Tensor]


class TorchMixture:
    """
    Weights multiplied by masks in every forward pass; gradients by autograd.

    Parameters
    ----------
    params, masks : dict of numpy.ndarray
        As `mixture_layers.Layers.of` wants them.
    activation : {"sigmoid", "tanh", "relu"}
        Activation of the hidden layers.
    variance_floor : float
        Least variance of a component.
    n_threads : int
        Threads PyTorch may use.

    Notes
    -----
    Every operation takes an array and returns arrays, or takes what `prepare` returned and
    returns tensors, so that conversions can be kept out of a timed region.
    """

    in_forward = True
    compiled = False

    def __init__(
        self,
        params: dict[str, np.ndarray],
        masks: dict[str, np.ndarray],
        activation: str,
        variance_floor: float,
        n_threads: int,
    ) -> None:
        self.n_threads = n_threads
        self.activation = activation
        self.variance_floor = variance_floor
        torch.set_num_threads(n_threads)
        self.layers = Layers.of(params, masks, "pkd")
        self.weights = [_tensor(each).requires_grad_() for each in self.layers.weights]
        self.offsets = [_tensor(each).requires_grad_() for each in self.layers.offsets]
        self.masks = [_tensor(each) for each in self.layers.masks]
        self._parameters = [*self.weights, *self.offsets]
        self.optimizer = torch.optim.Adam(self._parameters, lr=1e-3, eps=1e-8, fused=True)
        self._scores = self._made(self._log_likelihood)
        self._loss = self._made(lambda *arguments: -self._log_likelihood(*arguments).mean())

    def prepare(self, array: np.ndarray) -> Tensor:
        """Turn rows into a tensor."""
        return _tensor(array)

    def prepare_noise(self, array: np.ndarray) -> Tensor:
        """Turn random numbers (m, D, 2) into a tensor, features first."""
        return _tensor(array.swapaxes(0, 1))

    def log_likelihood(self, rows: Any) -> Any:
        """Compute log p(x) of each row."""
        torch.set_num_threads(self.n_threads)
        with torch.inference_mode():
            if isinstance(rows, np.ndarray):
                return self._scores(self.prepare(rows), *self._arguments()).numpy()
            return self._scores(rows, *self._arguments())

    def gradient(self, rows: Any) -> Any:
        """Compute the gradient of the mean negative log-likelihood."""
        torch.set_num_threads(self.n_threads)
        if isinstance(rows, Tensor):
            return self._loss_and_gradient(rows)[1]
        gradient = [each.numpy() for each in self._loss_and_gradient(self.prepare(rows))[1]]
        n = len(self.weights)
        return params_of(self.layers, gradient[:n], gradient[n:])

    def train_step(self, rows: Any) -> float:
        """Take one Adam step and return the loss before it."""
        torch.set_num_threads(self.n_threads)
        if isinstance(rows, np.ndarray):
            rows = self.prepare(rows)
        found, gradient = self._loss_and_gradient(rows)
        for parameter, value in zip(self._parameters, gradient, strict=True):
            parameter.grad = value
        self.optimizer.step()
        if not self.in_forward:
            with torch.no_grad():
                torch._foreach_mul_(self.weights, self.masks)
        return float(found)

    def sample(self, noise: Any, n_passes: int | None = None) -> Any:
        """
        Sample one row for each row of random numbers.

        With `n_passes` only so many features are drawn; each of them is the same work.
        """
        torch.set_num_threads(self.n_threads)
        with torch.inference_mode():
            if isinstance(noise, np.ndarray):
                return self._sample(self.prepare_noise(noise), n_passes).numpy()
            return self._sample(noise, n_passes)

    def _made(self, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        if not self.compiled:
            return function
        # One graph a case and operation; a pool of compilers would outlive the compilation.
        torch._dynamo.config.recompile_limit = 64
        torch._inductor.config.compile_threads = 1
        return torch.compile(function, dynamic=False)

    def _arguments(self) -> tuple[Tensors, Tensors, Tensors]:
        return self.weights, self.offsets, self.masks if self.in_forward else []

    def _loss_and_gradient(self, rows: Tensor) -> tuple[Tensor, Tensors]:
        found = self._loss(rows, *self._arguments())
        return found.detach(), torch.autograd.grad(found, self._parameters)

    def _raw(self, rows: Tensor, weights: Tensors, offsets: Tensors, masks: Tensors) -> Tensor:
        """Compute raw outputs (n, P, D)."""
        if masks:
            weights = [weight * mask for weight, mask in zip(weights, masks, strict=True)]
        hidden = rows
        for i, offset in enumerate(offsets):
            if i:
                hidden = ACTIVATIONS[self.activation](hidden)
            hidden = torch.addmm(offset, hidden, weights[i])
        if len(weights) > len(offsets):
            hidden = torch.addmm(hidden, rows, weights[-1])
        return hidden.view(len(rows), -1, rows.shape[1])

    def _log_likelihood(self, rows: Tensor, *layers: Tensors) -> Tensor:
        parts = self._raw(rows, *layers).unflatten(1, (3, -1)).unbind(1)
        found = mixture_log_density(*parts, rows[:, None], self.variance_floor, 1)
        return found.sum(1)

    def _sample(self, noise: Tensor, n_passes: int | None) -> Tensor:
        rows = noise.new_zeros(noise.shape[1], len(noise))
        for d in range(len(noise) if n_passes is None else n_passes):
            raw = self._raw(rows, *self._arguments())[:, :, d]
            rows[:, d] = draw_mixture(raw, noise[d], self.variance_floor)
        return rows


class TorchMixtureSteps(TorchMixture):
    """Weights multiplied by masks after every step of the optimizer; gradients by autograd."""

    in_forward = False


class TorchMixtureCompiled(TorchMixture):
    """Compiled, weights multiplied by masks in every forward pass."""

    compiled = True


class TorchMixtureCompiledSteps(TorchMixture):
    """Compiled, weights multiplied by masks after every step of the optimizer."""

    compiled = True
    in_forward = False


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(array, np.float32, order="C"))
