"""Loops over the features of a binary NADE in PyTorch."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from .torch_peer import Gradient, TorchPeer

__all__ = ["TorchLoop", "TorchManualLoop"]

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
}
INTO: dict[str, Callable[..., Tensor]] = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    # A quarter of the time of relu's own variant with an output.
    "relu": partial(torch.clamp_min, min=0),
}
IN_PLACE: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid_,
    "tanh": torch.tanh_,
    "relu": torch.relu_,
}


def backward_in_place(activation: str, gradient: Tensor, hidden: Tensor) -> None:
    """Multiply `gradient` by the derivative of the activation, given its output."""
    if activation == "sigmoid":
        torch.ops.aten.sigmoid_backward(gradient, hidden, grad_input=gradient)
    elif activation == "tanh":
        torch.ops.aten.tanh_backward(gradient, hidden, grad_input=gradient)
    else:
        torch.ops.aten.threshold_backward(gradient, hidden, 0, grad_input=gradient)


def row_log_likelihood(logits: Tensor, rows: Tensor) -> Tensor:
    """Sum the Bernoulli log-probabilities of (rows, features) over the features."""
    return functional.logsigmoid(torch.where(rows.bool(), logits, -logits)).sum(1)


class TorchLoop(TorchPeer):
    """
    Loop over the features with an updated pre-activation; gradients by autograd.

    Parameters
    ----------
    params : dict of numpy.ndarray
        ``W (D-1, H)``, ``c (H,)``, ``V (D-1, 1, H)`` and ``b (D, 1)``.
    activation : {"sigmoid", "tanh", "relu"}
        Activation of the hidden layer.
    n_threads : int
        Threads PyTorch may use.
    """

    def __init__(self, params: dict[str, np.ndarray], activation: str, n_threads: int) -> None:
        super().__init__(params, n_threads)
        self.activation = activation

    def _leaves(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Give W, c, V without its middle axis, and b without its last one."""
        params = self.params
        return params["W"], params["c"], params["V"][:, 0], params["b"][:, 0]

    def _logits(self, columns: Tensor) -> Tensor:
        """Compute logits (D, n) from float data (D, n)."""
        weight, offset, output, bias = self._leaves()
        activate = ACTIVATIONS[self.activation]
        hidden = offset.expand(columns.shape[1], -1)
        logits = []
        for column, row, out in zip(
            columns[:-1].unbind(), weight.unbind(), output.unbind(), strict=True
        ):
            hidden = torch.addr(hidden, column, row)
            logits.append(torch.mv(activate(hidden), out))
        first = bias[:1].expand(1, columns.shape[1])
        return torch.cat([first, torch.stack(logits) + bias[1:, None]])

    def _log_likelihood(self, rows: Tensor) -> Tensor:
        return row_log_likelihood(
            self._logits(rows.t().contiguous().to(self.params["W"].dtype)).t(), rows
        )

    def _sample(self, uniforms: Tensor) -> Tensor:
        weight, offset, output, bias = self._leaves()
        # u < sigmoid(z + b) is logit(u) - b < z; one pass over u instead of two a feature.
        thresholds = torch.logit(uniforms.t().contiguous()).sub_(bias[:, None])
        samples = torch.empty_like(thresholds)
        states = offset.repeat(len(uniforms), 1)
        hidden = torch.empty_like(states)
        columns = samples.unbind()
        logits = states.new_empty(len(uniforms))
        torch.lt(thresholds[0], 0, out=columns[0])
        for column, target, threshold, row, out in zip(
            columns[:-1],
            columns[1:],
            thresholds[1:].unbind(),
            weight.unbind(),
            output.unbind(),
            strict=True,
        ):
            states.addr_(column, row)
            INTO[self.activation](states, out=hidden)
            torch.mv(hidden, out, out=logits)
            torch.lt(threshold, logits, out=target)
        return samples.t().to(torch.uint8)


class TorchManualLoop(TorchLoop):
    """Loop over the features with a hand-derived backward pass, in place throughout."""

    _store: Tensor | None = None

    @torch.no_grad()
    def _loss_and_gradient(self, rows: Tensor) -> tuple[Tensor, Gradient]:
        weight, offset, output, bias = self._leaves()
        n_rows, n_units = len(rows), len(offset)
        # Kept between calls: fresh memory of this size costs more than filling it.
        if self._store is None or self._store.shape[1] != n_rows:
            self._store = weight.new_empty(len(weight), n_rows, n_units)
        store = self._store.unbind()
        data = rows.t().contiguous().to(weight.dtype)
        columns, row_weights, outs = data.unbind(), weight.unbind(), output.unbind()
        states = offset.repeat(n_rows, 1)
        logits = bias[:, None].repeat(1, n_rows)
        for column, row, out, hidden, logit in zip(
            columns[:-1], row_weights, outs, store, logits[1:].unbind(), strict=True
        ):
            states.addr_(column, row)
            INTO[self.activation](states, out=hidden)
            logit.addmv_(hidden, out)
        delta = (torch.sigmoid(logits) - data).div_(n_rows)
        gradient = {key: torch.empty_like(value) for key, value in self.params.items()}
        torch.sum(delta, 1, keepdim=True, out=gradient["b"])
        weight_gradients = gradient["W"].unbind()
        output_gradients = gradient["V"][:, 0].unbind()
        deltas = delta[1:].unbind()
        total, term = torch.zeros_like(states), torch.empty_like(states)
        for index in range(len(weight) - 1, -1, -1):
            hidden = store[index]
            torch.mv(hidden.t(), deltas[index], out=output_gradients[index])
            torch.outer(deltas[index], outs[index], out=term)
            backward_in_place(self.activation, term, hidden)
            total += term
            torch.mv(total.t(), columns[index], out=weight_gradients[index])
        torch.sum(total, 0, out=gradient["c"])
        return -row_log_likelihood(logits.t(), rows).mean(), gradient
