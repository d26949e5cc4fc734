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

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from .torch_loops import ACTIVATIONS, IN_PLACE
from .torch_outputs import draw_levels, draw_mixture, level_log_prob, mixture_log_density
from .torch_peer import TorchPeer

__all__ = ["TorchWideCompiled", "TorchWideLoop", "TorchWideStates"]

Params = dict[str, Tensor]


class TorchWideLoop(TorchPeer):
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
    """

    def __init__(
        self,
        params: dict[str, np.ndarray],
        activation: str,
        variance_floor: float | None,
        n_threads: int,
    ) -> None:
        super().__init__(params, n_threads)
        self.activation = activation
        self.variance_floor = variance_floor
        self._made_scores = self._made(self._scores)
        self._made_loss = self._made(lambda params, columns: -self._scores(params, columns).mean())

    def prepare(self, array: np.ndarray) -> Tensor:
        """Turn rows into a tensor, features first."""
        kind = np.int64 if self.variance_floor is None else np.float32
        return torch.from_numpy(np.ascontiguousarray(array.T, kind))

    def prepare_noise(self, array: np.ndarray) -> Tensor:
        """Turn random numbers (m, D) or (m, D, 2) into a tensor, features first."""
        return torch.from_numpy(np.ascontiguousarray(array.swapaxes(0, 1), np.float32))

    def _log_likelihood(self, rows: Tensor) -> Tensor:
        return self._made_scores(self.params, rows)

    def _loss(self, rows: Tensor) -> Tensor:
        return self._made_loss(self.params, rows)

    def _rows(self, drawn: Tensor) -> Tensor:
        return drawn.t().contiguous()

    def _scores(self, params: Params, columns: Tensor) -> Tensor:
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
