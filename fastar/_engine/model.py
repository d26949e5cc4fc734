"""A model is a composition: network, conditional, order, parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastar._core.parameters import Array, ParamLayout, Params
from fastar._data.column_labels import ColumnLabels
from fastar._data.table import Examples
from fastar._engine.support import check_support
from fastar.conditionals import Conditional
from fastar.conditionals._conditional import Likelihood
from fastar.networks import Network


@dataclass(frozen=True)
class Composition:
    """The parts of an estimator that training and scores need.

    Parameters
    ----------
    network : network
    conditional : fitted conditional, in model order; of sequences one of `steps`
    order : int array (C,)
        Column that comes k-th.
    theta : array
        The flat parameters; `params` are views on it.
    labels : ColumnLabels or None
        How errors call columns and values.
    """

    network: Network
    conditional: Likelihood
    order: Array
    theta: Array
    labels: ColumnLabels | None = None

    @property
    def n_columns(self) -> int:
        """C."""
        return len(self.order)

    @property
    def n_features(self) -> int:
        """D."""
        return self.network.n_features

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type that the kernels compute in."""
        dtype: np.dtype[Any] = self.theta.dtype
        return dtype

    @property
    def layout(self) -> ParamLayout:
        """Where the parameters lie in `theta`."""
        shapes = self.network.shapes
        decayed = ParamLayout({name: shapes[name] for name in self.network.decayed}, 0).size
        return ParamLayout(shapes, decayed)

    @property
    def params(self) -> Params:
        """Named views on `theta`."""
        return self.layout.views(self.theta)

    @property
    def n_parameters(self) -> int:
        """Numbers that a density depends on."""
        return self.network.n_used

    def initialise(self, table: Examples, weight: Array, rng: np.random.Generator) -> None:
        """Start from the best constant model, or near it."""
        params = self.params
        self.network.initialise(params, rng)
        if self.conditional.zero_init_output:
            for name in self.network.output_weights:
                params[name][...] = 0
        params["b"].reshape(-1)[...] = self.conditional.constant(table, weight)

    def check(self, block: Any, first: int) -> None:
        """Raise ValueError where a block from example `first` on leaves the support.

        Sequences are checked where they are read.
        """

    def codes(self, block: Any) -> Any:
        """Return the codes of a block of values, both in model order."""
        return self.conditional.encode(block, self.dtype)

    def log_prob(
        self, weights: Any, codes: Any, n_threads: int, context: Array | None = None
    ) -> tuple[Array, Array]:
        """Return log p(x_d | x_<d) (n, D), and row sums (n,). weights: prepared by the network."""
        raw = self.raw(weights, codes, n_threads, context)
        return self.conditional.log_prob(raw, codes, n_threads)

    def by_column(self, logp: Array) -> Array:
        """Return the terms of each column, in model order, from those of its features (n, D)."""
        return logp

    def raw(self, weights: Any, codes: Any, n_threads: int, context: Array | None = None) -> Array:
        """Return the raw outputs (n, sum of P). weights: prepared by the network."""
        raw, _ = self.network.forward(weights, codes, n_threads, context=context)
        return raw

    def gradient(
        self,
        weights: Any,
        codes: Any,
        share: Array,
        grads: Params,
        n_threads: int,
        context: Array | None,
        rng: np.random.Generator,
    ) -> float:
        """Return the sum of share (n,) times log p(x); `grads` gets its gradient over -n.

        A network of all orders has an estimate of log p(x) in its place.
        """
        network = self.network
        raw, cache = network.forward(weights, codes, n_threads, context=context, rng=rng)
        codes, factor = network.loss_targets(cache, codes)
        share = share if factor is None else share * factor
        scale = (share / -len(share)).astype(self.dtype)
        logp, graw = self.conditional.gradient(raw, codes, scale, n_threads)
        network.backward(weights, cache, graw, grads, n_threads)
        return float((share * logp).sum())

    def to_columns(self, block: Array) -> Array:
        """Return a block in model order (n, C, ...) in the order of the columns."""
        if np.array_equal(self.order, np.arange(len(self.order))):
            return block
        columns = np.empty_like(block)
        columns[:, self.order] = block
        return columns


@dataclass(frozen=True)
class Model(Composition):
    """A composition of rows, whose conditional can be sampled, too."""

    conditional: Conditional

    def check(self, block: Array, first: int) -> None:
        """Raise ValueError where a block from row `first` on leaves the support."""
        check_support(self.conditional, block, self.order, first, labels=self.labels)

    def by_column(self, logp: Array) -> Array:
        """Return the terms (n, C) of each column, in model order, from those of its features."""
        return self.conditional.by_column(logp)

    def placeholder(self) -> Array:
        """Return a row (1, C) of values of the support, in the order of the columns."""
        codes = np.zeros((1, self.n_features), self.dtype)
        return self.to_columns(self.conditional.decode(codes))

    def member_columns(self, member: int) -> Array:
        """Return the column that comes k-th (C,) for a member of the network."""
        offsets = self.conditional.column_offsets
        order = self.network.member_order(member)
        column = self.conditional.by_feature(np.arange(self.n_columns))[order]
        # a column's features stay together, in their own order
        return self.order[column[np.isin(order, offsets[:-1])]]
