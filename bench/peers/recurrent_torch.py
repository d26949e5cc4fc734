"""Recurrent networks in PyTorch: nn.RNN, nn.GRU or nn.LSTM and a linear layer."""

from typing import Any

import numpy as np
import torch

__all__ = ["TorchRecurrent"]

KINDS = {
    "tanh": (torch.nn.RNN, torch.nn.RNNCell),
    "gru": (torch.nn.GRU, torch.nn.GRUCell),
    "lstm": (torch.nn.LSTM, torch.nn.LSTMCell),
}


class TorchRecurrent:
    """
    Sequences padded, or packed; one-hot inputs, all outputs at once; sampling by cells.

    Packed where an LSTM's lengths differ: equal ones have nothing to gain, and gradients of packed
    sequences of other cells take 4 s (tanh) and more than 20 s (GRU) in place of 0.6 and 1.1 s.

    Parameters
    ----------
    cell : {"tanh", "gru", "lstm"}
    params : dict of numpy.ndarray
        Those of a `GenerativeRNN` of one layer and one categorical value a step.
    parts : list of numpy.ndarray
        Sequences of levels.
    n_threads : int
    """

    name = "PyTorch"

    def __init__(
        self, cell: str, params: dict[str, np.ndarray], parts: list[np.ndarray], n_threads: int
    ) -> None:
        torch.set_num_threads(n_threads)
        self.K, self.H = params["V"].shape[-1], len(params["V"])
        layer, self.step = KINDS[cell]
        self.rnn, self.out = layer(self.K, self.H), torch.nn.Linear(self.H, self.K)
        hidden = np.zeros_like(params["c0"])
        if cell == "gru":
            hidden[2 * self.H :] = params["d0"]
        with torch.no_grad():
            self.rnn.weight_ih_l0.copy_(torch.tensor(params["W_xh0"][0].T))
            self.rnn.weight_hh_l0.copy_(torch.tensor(params["W_hh0"].T))
            self.rnn.bias_ih_l0.copy_(torch.tensor(params["c0"]))
            self.rnn.bias_hh_l0.copy_(torch.tensor(hidden))
            self.out.weight.copy_(torch.tensor(params["V"][:, 0].T))
            self.out.bias.copy_(torch.tensor(params["b"][0]))
        self.lengths = torch.tensor([len(part) for part in parts])
        self.padded = torch.nn.utils.rnn.pad_sequence([torch.tensor(part) for part in parts])
        differ = cell == "lstm" and len(set(map(len, parts))) > 1
        self.formulations = ("padded", "packed") if differ else ("padded",)
        self.mask = torch.arange(len(self.padded))[:, None] < self.lengths

    def _total(self, formulation: str) -> Any:
        """Return the log-likelihood of all sequences."""
        inputs = torch.nn.functional.one_hot(self.padded, self.K).float()
        if formulation == "packed":
            packed = torch.nn.utils.rnn.pack_padded_sequence(
                inputs, self.lengths, enforce_sorted=False
            )
            h, _ = torch.nn.utils.rnn.pad_packed_sequence(self.rnn(packed)[0])
        else:
            h, _ = self.rnn(inputs)
        h = torch.cat([torch.zeros(1, h.shape[1], self.H), h[:-1]])
        targets = self.padded[self.mask]
        return -torch.nn.functional.cross_entropy(self.out(h[self.mask]), targets, reduction="sum")

    def score(self, formulation: str) -> float:
        """Return the log-likelihood of all sequences."""
        with torch.no_grad():
            return float(self._total(formulation))

    def gradient(self, formulation: str) -> np.ndarray:
        """Compute the gradient of the mean negative log-likelihood; return that by W_hh."""
        self.rnn.zero_grad()
        self.out.zero_grad()
        (-self._total(formulation) / len(self.lengths)).backward()
        return self.rnn.weight_hh_l0.grad.numpy().T

    def sample(self) -> None:
        """Draw as many sequences as there are, as long as the longest."""
        cell = self.step(self.K, self.H)
        with torch.no_grad():
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                getattr(cell, name).copy_(getattr(self.rnn, f"{name}_l0"))
            eye, state = torch.eye(self.K), None
            h = torch.zeros(len(self.lengths), self.H)
            for _ in range(len(self.padded)):
                x = torch.multinomial(torch.softmax(self.out(h), 1), 1)[:, 0]
                state = cell(eye[x], state)
                h = state[0] if isinstance(state, tuple) else state
