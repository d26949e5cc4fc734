"""Recurrent networks: from the steps of a sequence before to the next one's distribution."""

from __future__ import annotations

import numpy as np

from fastar._core.parameters import Array, Params
from fastar._core.schema import Listed, Maybe, OneOf, Rule, Whole
from fastar._kernels import _recurrent
from fastar.networks._dense import product, transposed_product
from fastar.networks._network import DROPOUT
from fastar.networks._recurrent_layers import CELLS, State
from fastar.networks._recurrent_network import Cache, SequenceNetwork

__all__ = ["CELLS", "Recurrent", "State"]


class Recurrent(SequenceNetwork):
    """Cells whose state after the steps before gives the distribution of the next one.

    ``h_t = cell(x_t, h_{t-1})``, ``raw_t = b + h_{t-1} V``, with h_0 = 0; further layers take the
    units of the one before as their x. A context (n, C) adds context U to what enters the cells of
    each layer, and context B to the outputs, at every step.

    Parameters
    ----------
    output_offsets : int64 array (F + 1,)
        Where the outputs of each of F values of a step begin.
    inputs : Inputs
        How what `Steps.entering` has enters.
    cell : {"tanh", "gru", "lstm"}
    hidden_layer_sizes : tuple of int
        Units of each layer.
    bptt : int or None
        Gradients pass no further than to the last step that is a multiple of it.
    dropout : float
        Share of units that training hides from further layers and outputs.
    n_context : int
    dtype : dtype
        float32 or float64.
    """

    name = "recurrent"

    @classmethod
    def _own_rules(cls, size: Whole) -> dict[str, Rule]:
        """Return what its own settings may be, `size` being the rule for a number of units."""
        return {
            "cell": OneOf(CELLS),
            "hidden_layer_sizes": Listed(size, least=1),
            "bptt": Maybe(Whole(1)),
            "dropout": DROPOUT,
        }

    def _outputs(
        self,
        params: Params,
        h: Array,
        codes: Array,
        sequence: Array,
        context: Array | None,
        n_threads: int,
    ) -> tuple[Array, None]:
        """Return raw (N, sum of P) of units h (N, H); sequence (N,): which each step belongs to."""
        raw = product(h, params["V"], params["b"].ravel(), n_threads)
        if context is not None:
            raw += self._context_outputs(params, context, n_threads)[sequence]
        return raw, None

    def backward(
        self, params: Params, cache: Cache, graw: Array, grads: Params, n_threads: int
    ) -> None:
        """Overwrite `grads` with the gradient of sum(graw * raw)."""
        n_threads = self._threads(len(cache.steps.codes), n_threads)
        g = np.ascontiguousarray(graw)
        np.sum(g, axis=0, out=grads["b"].reshape(-1))
        gV = grads["V"].reshape(-1, g.shape[1])
        _recurrent.outer(cache.layers[-1].given, g, gV, n_threads)
        steps, context = cache.steps, cache.context
        if context is not None:
            gB = grads["B"].reshape(-1, g.shape[1])
            _recurrent.outer(np.ascontiguousarray(context[steps.sequence]), g, gB, n_threads)
        gh = transposed_product(g, params["V"], n_threads)
        self.layers.backward(params, steps, cache.layers, gh, grads, n_threads, context)

    def sample(
        self,
        params: Params,
        draw: object,
        noise: Array,
        held: Array | None,
        codes: Array,
        n_threads: int,
        *,
        context: Array | None = None,
        weight: Array | None = None,
        state: State | None = None,
    ) -> None:
        """Draw codes (n, T F) of T steps where `held` is SAMPLED, weigh those that are WEIGHTED.

        state: before the first step, and then after the last.
        """
        source = np.arange(codes.shape[1], dtype=np.int32).reshape(-1, self.n_features)
        state = self.start(len(codes)) if state is None else state
        self._walk(
            params, draw, noise, held, codes, n_threads,
            context=context, weight=weight, width=self.n_features, source=source, state=state,
        )  # fmt: skip
