"""What all peers in PyTorch do alike: the interface that `contestants.py` times, and Adam."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["Gradient", "TorchPeer"]

Gradient = dict[str, Tensor]


class TorchPeer:
    """
    Parameters, Adam, and gradients by autograd.

    A subclass has `_log_likelihood` and `_sample`, and gradients of its own if it likes.

    Parameters
    ----------
    params : dict of numpy.ndarray or Tensor
        What is trained; tensors as they are.
    n_threads : int
        Threads PyTorch may use.

    Notes
    -----
    Every operation takes an array and returns arrays, or takes what `prepare` returned and
    returns tensors, so that conversions can be kept out of a timed region.
    """

    compiled = False
    without_gradients: Callable[[], Any] = torch.inference_mode

    def __init__(self, params: Mapping[str, Any], n_threads: int) -> None:
        self.n_threads = n_threads
        torch.set_num_threads(n_threads)
        self.params = {
            key: value if isinstance(value, Tensor) else torch.tensor(value).requires_grad_()
            for key, value in params.items()
        }
        self.optimizer = torch.optim.Adam(self.params.values(), lr=1e-3, eps=1e-8, fused=True)

    def prepare(self, array: np.ndarray) -> Any:
        """Turn rows into tensors."""
        return torch.from_numpy(np.ascontiguousarray(array))

    def prepare_noise(self, array: np.ndarray) -> Any:
        """Turn random numbers into a tensor."""
        return self.prepare(array)

    def log_likelihood(self, rows: Any) -> Any:
        """Compute log p(x) of each row."""
        torch.set_num_threads(self.n_threads)
        with self.without_gradients():
            if isinstance(rows, np.ndarray | list):
                return self._log_likelihood(self.prepare(rows)).numpy()
            return self._log_likelihood(rows)

    def gradient(self, rows: Any) -> Any:
        """Compute the gradient of the mean negative log-likelihood."""
        torch.set_num_threads(self.n_threads)
        if not isinstance(rows, np.ndarray | list):
            return self._loss_and_gradient(rows)[1]
        gradient = self._loss_and_gradient(self.prepare(rows))[1]
        return self._by_name({key: value.numpy() for key, value in gradient.items()})

    def train_step(self, rows: Any) -> float:
        """Take one Adam step and return the loss before it."""
        torch.set_num_threads(self.n_threads)
        if isinstance(rows, np.ndarray | list):
            rows = self.prepare(rows)
        loss, gradient = self._loss_and_gradient(rows)
        for key, value in gradient.items():
            self.params[key].grad = value
        self.optimizer.step()
        self._after_step()
        return float(loss)

    def sample(self, noise: Any, *passes: int) -> Any:
        """
        Sample one row for each row of random numbers.

        Where each feature is the same work, only so many are drawn if their number is given.
        """
        torch.set_num_threads(self.n_threads)
        with torch.inference_mode():
            if isinstance(noise, np.ndarray):
                return self._rows(self._sample(self.prepare_noise(noise), *passes)).numpy()
            return self._sample(noise, *passes)

    def _log_likelihood(self, rows: Any) -> Tensor:
        raise NotImplementedError

    def _sample(self, noise: Any, *passes: int) -> Tensor:
        raise NotImplementedError

    def _loss(self, rows: Any) -> Tensor:
        return -self._log_likelihood(rows).mean()

    def _loss_and_gradient(self, rows: Any) -> tuple[Tensor, Gradient]:
        loss = self._loss(rows)
        gradients = torch.autograd.grad(loss, list(self.params.values()))
        return loss.detach(), dict(zip(self.params, gradients, strict=True))

    def _by_name(self, gradient: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return a gradient by fastar's parameters."""
        return gradient

    def _after_step(self) -> None:
        """Do what must follow each step of the optimizer."""

    def _rows(self, drawn: Tensor) -> Tensor:
        """Return what was drawn in the type and order of rows."""
        return drawn

    def _made(self, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """Return the function, compiled if this peer is."""
        if not self.compiled:
            return function
        # One graph a case and operation; a pool of compilers would outlive the compilation.
        torch._dynamo.config.recompile_limit = 64
        torch._inductor.config.compile_threads = 1
        return torch.compile(function, dynamic=False)
