"""Recurrent networks in PyTorch: nn.RNN, nn.GRU or nn.LSTM and a linear layer."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils import rnn as sequences

from .torch_outputs import draw_levels
from .torch_peer import TorchPeer

__all__ = ["TorchRecurrent", "TorchRecurrentPacked", "set_weights"]

KINDS = {
    "tanh": (torch.nn.RNN, torch.nn.RNNCell),
    "gru": (torch.nn.GRU, torch.nn.GRUCell),
    "lstm": (torch.nn.LSTM, torch.nn.LSTMCell),
}


def set_weights(rnn: Any, out: Any, params: Mapping[str, np.ndarray]) -> None:
    """Give a recurrent layer and a linear one the parameters of fastar's network of one layer."""
    hidden = np.zeros_like(params["c0"])
    if "d0" in params:
        hidden[2 * rnn.hidden_size :] = params["d0"]
    with torch.no_grad():
        for parameter, value in (
            (rnn.weight_ih_l0, params["W_xh0"][0].T),
            (rnn.weight_hh_l0, params["W_hh0"].T),
            (rnn.bias_ih_l0, params["c0"]),
            (rnn.bias_hh_l0, hidden),
            (out.weight, params["V"][:, 0].T),
            (out.bias, params["b"][0]),
        ):
            parameter.copy_(torch.tensor(np.ascontiguousarray(value)))


class Padded(NamedTuple):
    """Levels (T, n) of sequences, which of them count, and the sequences' lengths."""

    levels: Tensor
    mask: Tensor
    lengths: Tensor


class TorchRecurrent(TorchPeer):
    """
    Padded sequences; one-hot inputs, all outputs at once; sampling by cells.

    Parameters
    ----------
    params : dict of numpy.ndarray
        Those of a `GenerativeRNN` of one layer and one categorical value a step.
    cell : {"tanh", "gru", "lstm"}
    n_threads : int
        Threads PyTorch may use.
    """

    def __init__(self, params: dict[str, np.ndarray], cell: str, n_threads: int) -> None:
        self.H, _, self.K = params["V"].shape
        self.cell, (layer, self.step) = cell, KINDS[cell]
        self.rnn, self.out = layer(self.K, self.H), torch.nn.Linear(self.H, self.K)
        set_weights(self.rnn, self.out, params)
        modules = (self.rnn, self.out)
        super().__init__(
            {key: value for module in modules for key, value in module.named_parameters()},
            n_threads,
        )

    def prepare(self, array: Any) -> Padded:
        """Turn sequences of levels into tensors."""
        lengths = torch.tensor([len(row) for row in array])
        levels = sequences.pad_sequence([torch.tensor(row, dtype=torch.int64) for row in array])
        return Padded(levels, torch.arange(len(levels))[:, None] < lengths, lengths)

    def prepare_noise(self, array: np.ndarray) -> Tensor:
        """Turn uniform numbers (n, T) into a tensor, steps first."""
        return torch.from_numpy(np.ascontiguousarray(array.T))[:, :, None]

    def _units(self, rows: Padded) -> Tensor:
        """Return the units (T, n, H) after each step."""
        return self.rnn(functional.one_hot(rows.levels, self.K).float())[0]

    def _losses(self, rows: Padded, reduction: str) -> Tensor:
        """Return -log p of each level that counts, or their sum."""
        h = self._units(rows)
        h = torch.cat([torch.zeros(1, h.shape[1], self.H), h[:-1]])
        logits = self.out(h[rows.mask])
        return functional.cross_entropy(logits, rows.levels[rows.mask], reduction=reduction)

    def _log_likelihood(self, rows: Padded) -> Tensor:
        found = -self._losses(rows, "none")
        return found.new_zeros(rows.mask.shape).masked_scatter_(rows.mask, found).sum(0)

    def _loss(self, rows: Padded) -> Tensor:
        return self._losses(rows, "sum") / len(rows.lengths)

    def _sample(self, uniforms: Tensor) -> Tensor:
        cell = self.step(self.K, self.H)
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            getattr(cell, name).copy_(getattr(self.rnn, f"{name}_l0"))
        eye, state = torch.eye(self.K), None
        h, drawn = torch.zeros(uniforms.shape[1], self.H), []
        for numbers in uniforms.unbind():
            drawn.append(draw_levels(self.out(h), numbers)[:, 0])
            state = cell(eye[drawn[-1]], state)
            h = state[0] if isinstance(state, tuple) else state
        return torch.stack(drawn)

    def _rows(self, drawn: Tensor) -> Tensor:
        return drawn.t().contiguous()

    def _by_name(self, gradient: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        found = {
            "W_xh0": gradient["weight_ih_l0"].T[None],
            "W_hh0": gradient["weight_hh_l0"].T,
            "c0": gradient["bias_ih_l0"],
            "V": gradient["weight"].T[:, None],
            "b": gradient["bias"][None],
        }
        return found | ({"d0": gradient["bias_hh_l0"][2 * self.H :]} if self.cell == "gru" else {})


class TorchRecurrentPacked(TorchRecurrent):
    """
    Packed sequences, for an LSTM and lengths that differ.

    Equal lengths have nothing to gain, and gradients of packed sequences of other cells take 4 s
    (tanh) and more than 20 s (GRU) in place of 0.6 and 1.1 s.
    """

    def prepare(self, array: Any) -> Padded:
        """Turn sequences of levels into tensors."""
        if self.cell != "lstm" or len({len(row) for row in array}) == 1:
            raise ValueError("only an LSTM, and lengths that differ, gain by packing")
        return super().prepare(array)

    def _units(self, rows: Padded) -> Tensor:
        inputs = functional.one_hot(rows.levels, self.K).float()
        packed = sequences.pack_padded_sequence(inputs, rows.lengths, enforce_sorted=False)
        return sequences.pad_packed_sequence(self.rnn(packed)[0])[0]
