"""Masked networks in PyTorch, eager and compiled; with Bernoulli outputs."""

# Tried on 2 cores (PyTorch 2.13, float32, 784 features, 100 rows with 13 % ones), training step in
# milliseconds, best of repeats; kept are those with a star:
#
#                                                  (500,)  (1000, 1000)  (8000,)  no hidden layer
#   eager, masks in forward, float masks *             2.7           8.6       45              1.8
#   the same, weights (units, inputs)                  2.6           8.9       93              1.8
#   eager, masks after steps, multiplied *             2.4           7.6       37              1.6
#   the same, weights (units, inputs)                  2.4           7.7       39              1.6
#   the same, Boolean masks; masked_fill_         2.6; 2.5      8.6; 8.0   43; 40         1.8; 1.7
#   manual backward into kept memory *                 2.0           6.3       34              1.2
#   compiled, masks in forward *                       2.6           7.9       45              1.9
#   compiled, masks after steps *                      2.4           7.5       38              1.7
#   compiled with Adam, masks in forward               2.8                     47
#   the same, masks on the gradient                    2.6                     39
#
# Compiling for longer ("max-autotune-no-cudagraphs") or with frozen weights gave the same times.
# Sampling 1000 rows with 8000 units by full passes took 74 s, and 57 s with outputs in kept memory.

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from .masked_layers import Layers
from .torch_loops import ACTIVATIONS, IN_PLACE, INTO, backward_in_place
from .torch_peer import Gradient, TorchPeer

__all__ = [
    "MaskedPeer",
    "Tensors",
    "TorchCompiled",
    "TorchCompiledSteps",
    "TorchManual",
    "TorchMasked",
    "TorchMaskedSteps",
]

Tensors = Sequence[Tensor]

#: Numbers in a chunk's sums and activations when sampling keeps them: they then stay in the cache.
KEPT_NUMBERS = 1_000_000


class MaskedPeer(TorchPeer):
    """
    Weights multiplied by masks in every forward pass, or after every step of the optimizer.

    A subclass has `_scores` and `_sample`.

    Parameters
    ----------
    params, masks : dict of numpy.ndarray
        As `masked_layers.Layers.of` wants them.
    activation : {"sigmoid", "tanh", "relu"}
        Activation of the hidden layers.
    variance_floor : float or None
        Least variance of a component, where outputs are mixtures of Gaussians.
    n_threads : int
        Threads PyTorch may use.
    """

    in_forward = True

    def __init__(
        self,
        params: dict[str, np.ndarray],
        masks: dict[str, np.ndarray],
        activation: str,
        variance_floor: float | None,
        n_threads: int,
    ) -> None:
        self.activation = activation
        self.variance_floor = variance_floor
        layers = self.layers = Layers.of(params, masks, "pkd")
        keys, arrays = layers.keys + layers.offset_keys, layers.weights + layers.offsets
        super().__init__(dict(zip(keys, arrays, strict=True)), n_threads)
        self.weights = [self.params[key] for key in layers.keys]
        self.offsets = [self.params[key] for key in layers.offset_keys]
        # Float masks: with Boolean ones eager multiplication takes more than twice as long.
        self.masks = [torch.tensor(mask, dtype=torch.float32) for mask in layers.masks]
        self._made_scores = self._made(self._scores)
        self._made_loss = self._made(self._mean_loss)
        self._made_outputs = self._made(self._outputs)

    def prepare(self, array: np.ndarray) -> Tensor:
        """Turn rows or random numbers into a tensor."""
        return torch.from_numpy(np.ascontiguousarray(array, np.float32))

    def _scores(self, rows: Tensor, *layers: Tensors) -> Tensor:
        """Compute log p(x) of each row."""
        raise NotImplementedError

    def _mean_loss(self, rows: Tensor, *layers: Tensors) -> Tensor:
        """Compute the mean of -log p(x)."""
        return -self._scores(rows, *layers).mean()

    def _outputs(self, rows: Tensor, weights: Tensors, offsets: Tensors, masks: Tensors) -> Tensor:
        """Compute outputs (n, P D) from float rows (n, D); without masks the weights are masked."""
        hidden = rows
        for i, weight in enumerate(weights):
            shown = weight * masks[i] if masks else weight
            if i == len(offsets):
                hidden = torch.addmm(hidden, rows, shown)
            else:
                entering = ACTIVATIONS[self.activation](hidden) if i else hidden
                hidden = torch.addmm(offsets[i], entering, shown)
        return hidden

    def _arguments(self) -> tuple[Tensors, Tensors, Tensors]:
        return self.weights, self.offsets, self.masks if self.in_forward else []

    def _log_likelihood(self, rows: Tensor) -> Tensor:
        return self._made_scores(rows, *self._arguments())

    def _loss(self, rows: Tensor) -> Tensor:
        return self._made_loss(rows, *self._arguments())

    def _by_name(self, gradient: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        values, n = list(gradient.values()), len(self.weights)
        return self.layers.params(values[:n], values[n:])

    def _after_step(self) -> None:
        if not self.in_forward:
            with torch.no_grad():
                torch._foreach_mul_(self.weights, self.masks)


class TorchMasked(MaskedPeer):
    """Bernoulli outputs, weights multiplied by masks in every forward pass."""

    def _scores(self, rows: Tensor, *layers: Tensors) -> Tensor:
        found = self._outputs(rows, *layers)
        return -functional.binary_cross_entropy_with_logits(found, rows, reduction="none").sum(1)

    def _mean_loss(self, rows: Tensor, *layers: Tensors) -> Tensor:
        found = self._outputs(rows, *layers)
        total = functional.binary_cross_entropy_with_logits(found, rows, reduction="sum")
        return total / len(rows)

    def _sample(self, uniforms: Tensor, n_passes: int | None = None) -> Tensor:
        # u < sigmoid(z) is logit(u) < z.
        thresholds = torch.logit(uniforms)
        rows = torch.zeros_like(uniforms)
        for d in range(uniforms.shape[1] if n_passes is None else n_passes):
            torch.lt(thresholds[:, d], self._pass(rows)[:, d], out=rows[:, d])
        return rows

    def _pass(self, rows: Tensor) -> Tensor:
        return self._made_outputs(rows, *self._arguments())

    def _rows(self, drawn: Tensor) -> Tensor:
        return drawn.to(torch.uint8)


class TorchMaskedSteps(TorchMasked):
    """Weights multiplied by masks after every step of the optimizer; gradients by autograd."""

    in_forward = False
    _kept: Tensors = ()

    def _pass(self, rows: Tensor) -> Tensor:
        # Kept between calls: fresh memory of this size costs as much as a tenth of the product.
        if not len(self._kept) or len(self._kept[0]) != len(rows):
            self._kept = [rows.new_empty(len(rows), len(each)) for each in self.offsets]
        hidden = rows
        for i, target in enumerate(self._kept):
            if i:
                hidden = IN_PLACE[self.activation](hidden)
            hidden = torch.addmm(self.offsets[i], hidden, self.weights[i], out=target)
        return hidden


class TorchCompiled(TorchMasked):
    """Compiled, weights multiplied by masks in every forward pass."""

    compiled = True


class TorchCompiledSteps(TorchMasked):
    """Compiled, weights multiplied by masks after every step of the optimizer."""

    compiled = True
    in_forward = False


class TorchManual(TorchMaskedSteps):
    """
    Backward pass derived by hand into memory that is kept; sums kept in sampling.

    The sums of the first hidden layer change by one row of weights a feature, and one output is
    computed for each. Without hidden layers the outputs are those sums.
    """

    _hidden: Tensors = ()

    @torch.no_grad()
    def _loss_and_gradient(self, rows: Tensor) -> tuple[Tensor, Gradient]:
        if not len(self._hidden) or len(self._hidden[0]) != len(rows):
            self._hidden = [rows.new_empty(len(rows), len(each)) for each in self.offsets]
            self._deltas = [torch.empty_like(each) for each in self._hidden]
            self._gradient = [torch.empty_like(each) for each in self.params.values()]
        n = len(self.weights)
        source = rows
        for i, target in enumerate(self._hidden):
            torch.addmm(self.offsets[i], source, self.weights[i], out=target)
            source = target if i == n - 1 else IN_PLACE[self.activation](target)
        found = functional.binary_cross_entropy_with_logits(source, rows, reduction="sum")
        torch.sigmoid(source, out=self._deltas[-1])
        self._deltas[-1].sub_(rows).div_(len(rows))
        for i in range(n - 1, -1, -1):
            delta, source = self._deltas[i], self._hidden[i - 1] if i else rows
            torch.mm(source.t(), delta, out=self._gradient[i])
            torch.sum(delta, 0, out=self._gradient[n + i])
            if i:
                torch.mm(delta, self.weights[i].t(), out=self._deltas[i - 1])
                backward_in_place(self.activation, self._deltas[i - 1], source)
        return found / len(rows), dict(zip(self.params, self._gradient, strict=True))

    def _sample(self, uniforms: Tensor, n_passes: int | None = None) -> Tensor:
        n_chunk = max(64, KEPT_NUMBERS // (2 * len(self.offsets[0])))
        outputs = self.weights[-1].t().contiguous() if len(self.weights) > 1 else None
        chunks = [self._sample_chunk(each, outputs, n_passes) for each in uniforms.split(n_chunk)]
        return torch.cat(chunks, 1).t()

    def _sample_chunk(
        self, uniforms: Tensor, outputs: Tensor | None, n_passes: int | None
    ) -> Tensor:
        """Return samples (D, n); a row of `outputs` is the weights of one output."""
        thresholds = torch.logit(uniforms.t().contiguous())
        columns = torch.zeros_like(thresholds)
        sums = self.offsets[0].repeat(len(uniforms), 1)
        hidden = [sums.new_empty(len(sums), len(each)) for each in self.offsets[:-1]]
        found = sums.new_empty(len(sums))
        for d in range(len(columns) if n_passes is None else n_passes):
            if outputs is None:
                torch.lt(thresholds[d], sums[:, d], out=columns[d])
            else:
                INTO[self.activation](sums, out=hidden[0])
                for i in range(1, len(hidden)):
                    torch.addmm(self.offsets[i], hidden[i - 1], self.weights[i], out=hidden[i])
                    IN_PLACE[self.activation](hidden[i])
                torch.addmv(self.offsets[-1][d], hidden[-1], outputs[d], out=found)
                torch.lt(thresholds[d], found, out=columns[d])
            # A quarter faster than addr_.
            sums.addcmul_(columns[d][:, None], self.weights[0][d])
        return columns
