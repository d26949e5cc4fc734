"""NADE and MADE of a mixed table in PyTorch: one network with a head a column."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from .torch_loops import ACTIVATIONS
from .torch_peer import TorchPeer

__all__ = ["TorchMixedMADE", "TorchMixedNADE"]


class TorchMixed(TorchPeer):
    """
    What both networks do alike: how codes enter, and what the heads say.

    Parameters
    ----------
    params : dict of numpy.ndarray
        fastar's `params_`, with one axis for all outputs and one for all rows of input weights.
    outputs, inputs : int arrays (D + 1,)
        `output_offsets_` and `input_offsets_`.
    is_level : bool array (D,)
        Which columns are categorical; the others are Gaussian.
    activation : str
    n_threads : int
    """

    VARIANCE_FLOOR = 1e-6

    def __init__(
        self,
        params: dict[str, np.ndarray],
        outputs: np.ndarray,
        inputs: np.ndarray,
        is_level: np.ndarray,
        activation: str,
        n_threads: int,
    ) -> None:
        super().__init__(params, n_threads)
        self.widths = np.diff(outputs).tolist()
        self.outputs, self.inputs = outputs.tolist(), inputs.tolist()
        self.is_level = is_level
        self.activation = ACTIVATIONS[activation]

    def heads_log_prob(self, raw: Tensor, codes: Tensor) -> Tensor:
        """Return log p (n,) of all columns' heads."""
        total = torch.zeros(len(codes))
        for d, head in enumerate(raw.split(self.widths, dim=1)):
            x = codes[:, d]
            if self.is_level[d]:
                total = total - functional.cross_entropy(head, x.long(), reduction="none")
            else:
                variance = head[:, 1].exp() + self.VARIANCE_FLOOR
                square = (x - head[:, 0]) ** 2 / variance
                total = total - 0.5 * (square + variance.log() + np.log(2 * np.pi))
        return total

    def rows_of(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Return the rows (n, D) of input weights that codes add, and their factors."""
        first = torch.tensor(self.inputs[:-1])
        level = torch.tensor(self.is_level)
        rows = first + torch.where(level, codes, torch.zeros(())).long()
        return rows, torch.where(level, torch.ones(()), codes)


class TorchMixedNADE(TorchMixed):
    """The pre-activation is a cumulative sum over the columns; each column's head sees its own."""

    def _log_likelihood(self, codes: Tensor) -> Tensor:
        p = self.params
        rows, factor = self.rows_of(codes)
        changes = p["W"][rows[:, :-1]] * factor[:, :-1, None]
        a = p["c"] + changes.cumsum(dim=1)
        h = self.activation(a)
        start = self.outputs[1]
        b0 = p["b"][:start].expand(len(codes), -1)
        later = [
            h[:, d - 1] @ p["V"][self.outputs[d] - start : self.outputs[d + 1] - start].T
            for d in range(1, len(self.widths))
        ]
        raw = torch.cat([b0, torch.cat(later, dim=1) + p["b"][start:]], dim=1)
        return self.heads_log_prob(raw, codes)


class TorchMixedMADE(TorchMixed):
    """Products with masked weights; the input layer is a sum of embeddings."""

    def __init__(self, params: dict[str, np.ndarray], masks: dict[str, Any], *args: Any) -> None:
        super().__init__(params, *args)
        self.masks = {key: torch.tensor(mask, dtype=torch.float32) for key, mask in masks.items()}

    def _log_likelihood(self, codes: Tensor) -> Tensor:
        p = {key: self.params[key] * self.masks[key] for key in self.masks}
        rows, factor = self.rows_of(codes)

        def entered(W: Tensor) -> Tensor:
            return functional.embedding_bag(rows, W, per_sample_weights=factor, mode="sum")

        h = self.activation(entered(p["W0"]) + self.params["c0"])
        raw = h @ p["W1"] + self.params["b"]
        if "L" in p:
            raw = raw + entered(p["L"].T)
        return self.heads_log_prob(raw, codes)
