"""NADE with several outputs a feature in PyTorch: RNADE with mixtures, and categorical NADE."""

# Tried on 2 cores (PyTorch 2.13, float32, 100 rows), smallest times in milliseconds; kept are those
# with a star. RNADE: 63 features, 512 rectified units, 20 components; NADE: 100 features of 16
# levels, 500 sigmoid units. "states" is how the sums of all features come about; their outputs are
# one batched product then. Layout (n, D, P) unless said otherwise.
#
#                                                   RNADE           categorical NADE
#                                               score  train step    score  train step
#   eager, loop over features *                   5.6        21        4.9        21
#   eager, states by a loop *                     4.9        19        5.4        19
#   the same, outputs (D, P, n)                   4.8        24
#   eager, states by a cumulative sum            18.5        31
#   eager, states by a product with masked rows   5.1        19
#   compiled, states by a cumulative sum          7.2        21        7.0        27
#   compiled, states by a product with masked
#     rows * (RNADE)                              4.2        15
#   the same, outputs (D, P, n)                   4.0        43
#   compiled, one-hot product, unrolled sums * (NADE)                  5.0        16
#   compiled, states by an unrolled loop                               5.7        19

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from .torch_loops import ACTIVATIONS, IN_PLACE
from .torch_outputs import draw_levels, draw_mixture, level_log_prob, mixture_log_density

__all__ = ["TorchWideCompiled", "TorchWideLoop", "TorchWideStates"]

Params = dict[str, Tensor]


class TorchWideLoop:
    """
    Loop over the features with an updated pre-activation; gradients by autograd.

    Parameters
    ----------
    params : dict of numpy.ndarray
        ``W (D-1, H)``, or ``(D-1, Q, H)`` where inputs are levels; ``c (H,)``, ``V (D-1, P, H)``,
        ``b (D, P)``, and maybe ``rho (D-1,)``, by which the pre-activations are multiplied.
    activation : {"sigmoid", "tanh", "relu"}
        Activation of the hidden layer.
    variance_floor : float or None
        Of the mixtures of Gaussians; None where outputs are levels.
    n_threads : int
        Threads PyTorch may use.

    Notes
    -----
    Every operation takes an array and returns arrays, or takes what `prepare` returned and
    returns tensors, so that conversions can be kept out of a timed region.
    """

    compiled = False

    def __init__(
        self,
        params: dict[str, np.ndarray],
        activation: str,
        variance_floor: float | None,
        n_threads: int,
    ) -> None:
        self.n_threads = n_threads
        self.activation = activation
        self.variance_floor = variance_floor
        torch.set_num_threads(n_threads)
        self.params = {key: torch.tensor(value).requires_grad_() for key, value in params.items()}
        self.optimizer = torch.optim.Adam(self.params.values(), lr=1e-3, eps=1e-8, fused=True)
        self._scores = self._made(self._log_likelihood)
        self._loss = self._made(
            lambda params, columns: -self._log_likelihood(params, columns).mean()
        )

    def prepare(self, array: np.ndarray) -> Tensor:
        """Turn rows into a tensor, features first."""
        kind = np.int64 if self.variance_floor is None else np.float32
        return torch.from_numpy(np.ascontiguousarray(array.T, kind))

    def prepare_noise(self, array: np.ndarray) -> Tensor:
        """Turn random numbers (m, D) or (m, D, 2) into a tensor, features first."""
        return torch.from_numpy(np.ascontiguousarray(array.swapaxes(0, 1), np.float32))

    def log_likelihood(self, rows: Any) -> Any:
        """Compute log p(x) of each row."""
        torch.set_num_threads(self.n_threads)
        with torch.inference_mode():
            if isinstance(rows, np.ndarray):
                return self._scores(self.params, self.prepare(rows)).numpy()
            return self._scores(self.params, rows)

    def gradient(self, rows: Any) -> Any:
        """Compute the gradient of the mean negative log-likelihood."""
        torch.set_num_threads(self.n_threads)
        if isinstance(rows, np.ndarray):
            gradient = self._loss_and_gradient(self.prepare(rows))[1]
            return {key: value.numpy() for key, value in gradient.items()}
        return self._loss_and_gradient(rows)[1]

    def train_step(self, rows: Any) -> float:
        """Take one Adam step and return the loss before it."""
        torch.set_num_threads(self.n_threads)
        if isinstance(rows, np.ndarray):
            rows = self.prepare(rows)
        loss, gradient = self._loss_and_gradient(rows)
        for key, value in gradient.items():
            self.params[key].grad = value
        self.optimizer.step()
        return float(loss)

    def sample(self, noise: Any) -> Any:
        """Sample one row for each row of random numbers."""
        torch.set_num_threads(self.n_threads)
        with torch.inference_mode():
            if isinstance(noise, np.ndarray):
                return self._sample(self.prepare_noise(noise)).t().contiguous().numpy()
            return self._sample(noise)

    def _made(self, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        if not self.compiled:
            return function
        # One graph a case and operation; a pool of compilers would outlive the compilation.
        torch._dynamo.config.recompile_limit = 64
        torch._inductor.config.compile_threads = 1
        return torch.compile(function, dynamic=False)

    def _loss_and_gradient(self, columns: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        loss = self._loss(self.params, columns)
        gradients = torch.autograd.grad(loss, list(self.params.values()))
        return loss.detach(), dict(zip(self.params, gradients, strict=True))

    def _log_likelihood(self, params: Params, columns: Tensor) -> Tensor:
        """Compute log p(x) of columns (D, n)."""
        raw = self._raw(params, columns)
        if self.variance_floor is None:
            return level_log_prob(raw, columns).sum(0)
        parts = raw.unflatten(-1, (3, -1)).unbind(-2)
        return mixture_log_density(*parts, columns[:, :, None], self.variance_floor, -1).sum(0)

    def _raw(self, params: Params, columns: Tensor) -> Tensor:
        """Compute raw outputs (D, n, P)."""
        first = params["b"][0].expand(columns.shape[1], -1)
        outputs, offsets = params["V"].unbind(), params["b"][1:].unbind()
        raw = [first]
        for d, sums in enumerate(self._sums(params, columns)):
            if "rho" in params:
                sums = params["rho"][d] * sums
            hidden = ACTIVATIONS[self.activation](sums)
            raw.append(torch.addmm(offsets[d], hidden, outputs[d].t()))
        return torch.stack(raw)

    def _sums(self, params: Params, columns: Tensor) -> list[Tensor]:
        """Compute c + sum_{k<d} x_k W_k for the second to the last feature."""
        sums = params["c"].expand(columns.shape[1], -1)
        found = []
        for column, weight in zip(columns[:-1].unbind(), params["W"].unbind(), strict=True):
            if weight.ndim == 1:
                sums = torch.addr(sums, column, weight)
            else:
                sums = sums + functional.embedding(column, weight)
            found.append(sums)
        return found

    def _sample(self, noise: Tensor) -> Tensor:
        params = self.params
        n_rows = noise.shape[1]
        sums = params["c"].repeat(n_rows, 1)
        hidden = torch.empty_like(sums)
        raw = params["b"][0].repeat(n_rows, 1)
        columns = [self._draw(raw, noise[0])]
        rho = params["rho"].tolist() if "rho" in params else None
        for d, (weight, output, offset) in enumerate(
            zip(params["W"].unbind(), params["V"].unbind(), params["b"][1:].unbind(), strict=True)
        ):
            if weight.ndim == 1:
                sums.addr_(columns[-1], weight)
            else:
                sums += weight.index_select(0, columns[-1])
            if rho:
                torch.mul(sums, rho[d], out=hidden)
            else:
                hidden.copy_(sums)
            IN_PLACE[self.activation](hidden)
            torch.addmm(offset, hidden, output.t(), out=raw)
            columns.append(self._draw(raw, noise[d + 1]))
        return torch.stack(columns)

    def _draw(self, raw: Tensor, noise: Tensor) -> Tensor:
        if self.variance_floor is None:
            return draw_levels(raw, noise[:, None])[:, 0]
        return draw_mixture(raw, noise, self.variance_floor)


class TorchWideStates(TorchWideLoop):
    """Pre-activations by a loop, the outputs of all features by one batched product."""

    def _raw(self, params: Params, columns: Tensor) -> Tensor:
        sums = self._all_sums(params, columns)
        if "rho" in params:
            sums = params["rho"][:, None, None] * sums
        hidden = ACTIVATIONS[self.activation](sums)
        rest = torch.baddbmm(params["b"][1:, None], hidden, params["V"].transpose(1, 2))
        first = params["b"][:1, None].expand(-1, columns.shape[1], -1)
        return torch.cat([first, rest])

    def _all_sums(self, params: Params, columns: Tensor) -> Tensor:
        return torch.stack(self._sums(params, columns))


class TorchWideCompiled(TorchWideStates):
    """Compiled, with pre-activations by products: of masked rows, or of one-hot rows and summed."""

    compiled = True

    def _all_sums(self, params: Params, columns: Tensor) -> Tensor:
        weight, offset = params["W"], params["c"]
        if weight.ndim == 2:
            below = columns.new_ones(len(weight), len(weight)).tril()
            masked = below[:, None] * columns[:-1].t()
            product = torch.addmm(offset, masked.flatten(0, 1), weight)
            return product.view(len(weight), -1, len(offset))
        codes = functional.one_hot(columns[:-1], weight.shape[1]).to(weight.dtype)
        found = []
        sums = offset
        for each in torch.bmm(codes, weight).unbind():
            sums = sums + each
            found.append(sums)
        return torch.stack(found)
