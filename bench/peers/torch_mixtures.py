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

import numpy as np
from torch import Tensor

from .torch_masked import MaskedPeer, Tensors
from .torch_outputs import draw_mixture, mixture_log_density

__all__ = [
    "TorchMixture",
    "TorchMixtureCompiled",
    "TorchMixtureCompiledSteps",
    "TorchMixtureSteps",
]


class TorchMixture(MaskedPeer):
    """Weights multiplied by masks in every forward pass."""

    variance_floor: float

    def prepare_noise(self, array: np.ndarray) -> Tensor:
        """Turn random numbers (m, D, 2) into a tensor, features first."""
        return self.prepare(array.swapaxes(0, 1))

    def _raw(self, rows: Tensor, *layers: Tensors) -> Tensor:
        """Compute raw outputs (n, P, D)."""
        return self._outputs(rows, *layers).view(len(rows), -1, rows.shape[1])

    def _scores(self, rows: Tensor, *layers: Tensors) -> Tensor:
        parts = self._raw(rows, *layers).unflatten(1, (3, -1)).unbind(1)
        found = mixture_log_density(*parts, rows[:, None], self.variance_floor, 1)
        return found.sum(1)

    def _sample(self, noise: Tensor, n_passes: int | None = None) -> Tensor:
        rows = noise.new_zeros(noise.shape[1], len(noise))
        for d in range(len(noise) if n_passes is None else n_passes):
            raw = self._raw(rows, *self._arguments())[:, :, d]
            rows[:, d] = draw_mixture(raw, noise[d], self.variance_floor)
        return rows


class TorchMixtureSteps(TorchMixture):
    """Weights multiplied by masks after every step of the optimizer."""

    in_forward = False


class TorchMixtureCompiled(TorchMixture):
    """Compiled, weights multiplied by masks in every forward pass."""

    compiled = True


class TorchMixtureCompiledSteps(TorchMixture):
    """Compiled, weights multiplied by masks after every step of the optimizer."""

    compiled = True
    in_forward = False
