"""Masked networks with Bernoulli outputs in PyTorch, eager and compiled."""

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

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from .masked_layers import layers_of, params_of
from .torch_loops import ACTIVATIONS, IN_PLACE, INTO, backward_in_place

__all__ = ["TorchCompiled", "TorchCompiledSteps", "TorchManual", "TorchMasked", "TorchMaskedSteps"]

Tensors = Sequence[Tensor]

#: Numbers in a chunk's sums and activations when sampling keeps them: they then stay in the cache.
KEPT_NUMBERS = 1_000_000


def logits(
    activation: str, rows: Tensor, weights: Tensors, offsets: Tensors, masks: Tensors
) -> Tensor:
    """Compute logits (n, D) from float rows (n, D); without masks the weights are masked."""
    hidden = rows
    for i, (weight, offset) in enumerate(zip(weights, offsets, strict=True)):
        if i:
            hidden = ACTIVATIONS[activation](hidden)
        hidden = torch.addmm(offset, hidden, weight * masks[i] if masks else weight)
    return hidden


def negative_log_likelihood(
    reduction: str,
    activation: str,
    rows: Tensor,
    weights: Tensors,
    offsets: Tensors,
    masks: Tensors,
) -> Tensor:
    """Compute -log p of each value, or their sum."""
    found = logits(activation, rows, weights, offsets, masks)
    return functional.binary_cross_entropy_with_logits(found, rows, reduction=reduction)


def scores(activation: str, rows: Tensor, *layers: Tensors) -> Tensor:
    """Compute log p(x) of each row."""
    return -negative_log_likelihood("none", activation, rows, *layers).sum(1)


def loss(activation: str, rows: Tensor, *layers: Tensors) -> Tensor:
    """Compute the mean of -log p(x)."""
    return negative_log_likelihood("sum", activation, rows, *layers) / len(rows)


class TorchMasked:
    """
    Weights multiplied by masks in every forward pass; gradients by autograd.

    Parameters
    ----------
    params, masks : dict of numpy.ndarray
        As `masked_layers.layers_of` wants them.
    activation : {"sigmoid", "tanh", "relu"}
        Activation of the hidden layers.
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
        n_threads: int,
    ) -> None:
        self.n_threads = n_threads
        self.activation = activation
        torch.set_num_threads(n_threads)
        self.layers = layers_of(params, masks)
        self.weights = [_tensor(layer.weight).requires_grad_() for layer in self.layers]
        self.offsets = [_tensor(layer.offset).requires_grad_() for layer in self.layers]
        # Float masks: with Boolean ones eager multiplication takes more than twice as long.
        self.masks = [_tensor(layer.mask.astype(np.float32)) for layer in self.layers]
        self._parameters = [*self.weights, *self.offsets]
        self.optimizer = torch.optim.Adam(self._parameters, lr=1e-3, eps=1e-8, fused=True)
        self._scores = self._made(partial(scores, activation))
        self._loss = self._made(partial(loss, activation))
        self._logits = self._made(partial(logits, activation))

    def prepare(self, array: np.ndarray) -> Tensor:
        """Turn data or uniform numbers into a tensor."""
        return torch.from_numpy(np.ascontiguousarray(array, np.float32))

    def log_likelihood(self, rows: Any) -> Any:
        """Compute log p(x) of each row."""
        torch.set_num_threads(self.n_threads)
        with torch.no_grad():
            if isinstance(rows, np.ndarray):
                return self._scores(self.prepare(rows), *self._arguments()).numpy()
            return self._scores(rows, *self._arguments())

    def gradient(self, rows: Any) -> Any:
        """Compute the gradient of the mean negative log-likelihood."""
        torch.set_num_threads(self.n_threads)
        if isinstance(rows, Tensor):
            return self._loss_and_gradient(rows)[1]
        gradient = [each.numpy() for each in self._loss_and_gradient(self.prepare(rows))[1]]
        n = len(self.layers)
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

    def sample(self, uniforms: Any, n_passes: int | None = None) -> Any:
        """
        Sample one row of zeros and ones for each row of uniform numbers.

        With `n_passes` only so many features are drawn; each of them is the same work.
        """
        torch.set_num_threads(self.n_threads)
        with torch.no_grad():
            if isinstance(uniforms, np.ndarray):
                return self._sample(self.prepare(uniforms), n_passes).to(torch.uint8).numpy()
            return self._sample(uniforms, n_passes)

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

    def _sample(self, uniforms: Tensor, n_passes: int | None) -> Tensor:
        # u < sigmoid(z) is logit(u) < z.
        thresholds = torch.logit(uniforms)
        rows = torch.zeros_like(uniforms)
        for d in range(uniforms.shape[1] if n_passes is None else n_passes):
            torch.lt(thresholds[:, d], self._pass(rows)[:, d], out=rows[:, d])
        return rows

    def _pass(self, rows: Tensor) -> Tensor:
        return self._logits(rows, *self._arguments())


class TorchMaskedSteps(TorchMasked):
    """Weights multiplied by masks after every step of the optimizer; gradients by autograd."""

    in_forward = False
    _outputs: Sequence[Tensor] = ()

    def _pass(self, rows: Tensor) -> Tensor:
        # Kept between calls: fresh memory of this size costs as much as a tenth of the product.
        if not len(self._outputs) or len(self._outputs[0]) != len(rows):
            self._outputs = [rows.new_empty(len(rows), len(each)) for each in self.offsets]
        hidden = rows
        for i, target in enumerate(self._outputs):
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

    _hidden: Sequence[Tensor] = ()

    @torch.no_grad()
    def _loss_and_gradient(self, rows: Tensor) -> tuple[Tensor, Tensors]:
        if not len(self._hidden) or len(self._hidden[0]) != len(rows):
            self._hidden = [rows.new_empty(len(rows), len(each)) for each in self.offsets]
            self._deltas = [torch.empty_like(each) for each in self._hidden]
            self._gradient = [torch.empty_like(each) for each in self._parameters]
        n = len(self.layers)
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
        return found / len(rows), self._gradient

    def _sample(self, uniforms: Tensor, n_passes: int | None) -> Tensor:
        n_chunk = max(64, KEPT_NUMBERS // (2 * len(self.offsets[0])))
        outputs = self.weights[-1].t().contiguous() if len(self.layers) > 1 else None
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


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(array, np.float32, order="C"))
