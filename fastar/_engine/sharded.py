"""Training on rows in shards, which other processes may hold."""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import numpy as np

from fastar._core.parameters import Array, zeros_aligned
from fastar._data.parts import Parts
from fastar._data.stores import TableElsewhere
from fastar._data.table import BatchOfRows, Examples
from fastar._engine.model import Composition
from fastar._engine.scores import total_log_prob
from fastar._engine.training import Training


class ShardLayout(Protocol):
    """How arrays hold the rows, or the sequences, of a shard."""

    def table(self, parts: list[Array], order: Array) -> Examples:
        """Return them as a table."""

    def weight(self, parts: list[Array]) -> Array | None:
        """Return their weights (n,), None where all are the same."""


class Shard:
    """Rows that always take part in a step together.

    Parameters
    ----------
    number : int
    model : Composition
        Without parameters.
    layout, parts : ShardLayout and list of arrays
        The rows, in the order of the table.
    """

    def __init__(
        self, number: int, model: Composition, layout: ShardLayout, parts: list[Array]
    ) -> None:
        self.number = number
        self.model = model
        self.layout = layout
        self.parts = parts
        self.table = layout.table(parts, model.order)
        self.weight = layout.weight(parts)
        self._visits: tuple[tuple[int, int], Array] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return Shard, (self.number, self.model, self.layout, self.parts)

    def __len__(self) -> int:
        return len(self.table)

    def with_parameters(self, theta: Array) -> Composition:
        """Return the model with parameters, which may be read-only."""
        own = zeros_aligned(theta.size, theta.dtype)
        own[:] = theta
        return replace(self.model, theta=own)

    def visited(self, at: Place) -> Array:
        """Return the rows that take part in a step."""
        key = at.entropy, at.epoch
        if self._visits is None or self._visits[0] != key:
            rng = np.random.default_rng([*key, self.number])
            self._visits = key, rng.permutation(len(self))
        first, last = (len(self) * step // at.n_steps for step in (at.step, at.step + 1))
        return self._visits[1][first:last]


@dataclass(frozen=True)
class Place:
    """A step of training.

    Parameters
    ----------
    entropy, epoch : int
        Seeds of the order of the rows of a shard.
    step, n_steps : int
        Which step of the epoch, and how many it has.
    n_rows : int
        Those of all shards that take part.
    member : int
        The member of the network that is trained.
    mean_weight : float
        Mean weight of the rows of all shards.
    """

    entropy: int
    epoch: int
    step: int
    n_steps: int
    n_rows: int
    member: int
    mean_weight: float = 1.0


def shard_gradient(shard: Shard, theta: Array, at: Place, n_threads: int) -> tuple[float, Array]:
    """Return a shard's part of the sum of log p(x) over a step's rows, and of the gradient."""
    rows, model = shard.visited(at), shard.with_parameters(theta)
    gradient = zeros_aligned(theta.size, theta.dtype)
    if not len(rows):
        return 0.0, gradient
    # made anew for each step, so that a step can be done again elsewhere
    rng = np.random.default_rng([at.entropy, at.epoch, shard.number, at.step])
    part = len(rows) / at.n_rows
    share = np.full(len(rows), part)
    if shard.weight is not None:
        share *= shard.weight[rows] / at.mean_weight
    total = model.gradient(
        model.network.materialise_weights(model.params, n_threads, at.member),
        model.codes(shard.table.take(rows)),
        share,
        model.layout.views(gradient),
        n_threads,
        shard.table.context(rows),
        rng,
    )
    return total / part, gradient


def _add(one: tuple[float, Array], other: tuple[float, Array]) -> tuple[float, Array]:
    return one[0] + other[0], one[1] + other[1]


def shard_log_prob(shard: Shard, theta: Array, n_threads: int) -> float:
    """Return the sum of log p(x) over the rows of a shard, each times its weight."""
    weight = np.ones(len(shard)) if shard.weight is None else shard.weight
    return total_log_prob(shard.with_parameters(theta), shard.table, weight, n_threads)


def _total_weight(shard: Shard) -> float:
    return float(len(shard) if shard.weight is None else shard.weight.sum())


def _digest_of(shard: Shard) -> bytes:
    sha = hashlib.sha256()
    for part in shard.parts:
        sha.update(np.ascontiguousarray(part).data)
    return sha.digest()


class ShardedTable(TableElsewhere):
    """The rows of all shards.

    Parameters
    ----------
    shards : Parts
        Parts that hold a `Shard` each.
    order, start : as of `TableElsewhere`
    """

    def __init__(self, shards: Parts, order: Array, start: tuple[Examples, Array]) -> None:
        super().__init__(order, start)
        self.shards = shards
        self.sizes = shards.map(len)
        self._total_weight: float = shards.reduce(_total_weight, operator.add)

    def __len__(self) -> int:
        return sum(self.sizes)

    @property
    def weight(self) -> Array:
        """Return the mean of the weights for each row (n,): their own are where the shards are."""
        return self.same_weight(self._total_weight / max(1, len(self)))

    def subset(self, which: Array) -> Examples:
        """Return rows that stand for these, as many as there are."""
        table, _ = self.start
        return table.subset(which[which < len(table)])

    def blocks(self, most: int | None = None) -> Iterator[tuple[slice, Any]]:
        """Yield blocks of rows that stand for all of them."""
        yield from self.start[0].blocks(most)

    def batches(self, rng: np.random.Generator | None, size: int) -> Generator[BatchOfRows]:
        """Yield (step, rows that take part) in place of the rows: these are where the shards are.

        Each shard's rows are shared out evenly among the steps.
        """
        n_steps = -(-len(self) // size)
        for step in range(n_steps):
            parts = (n * (step + 1) // n_steps - n * step // n_steps for n in self.sizes)
            yield step, sum(parts), None


def regrouped(
    parts: Parts,
    split: Callable[..., Any],
    join: Callable[..., Shard],
    order: Array,
    start: tuple[Examples, Array],
) -> tuple[ShardedTable, ShardedTable]:
    """Return the rows of parts to train on and those held out, each in shards.

    split, join: as of `Parts.regroup`. The shards of rows held out come after the others.
    """
    n = parts.n_shards
    shards = parts.regroup(split, join, 2 * n)
    return ShardedTable(shards[:n], order, start), ShardedTable(shards[n:], order, start)


class ShardedTraining(Training):
    """Training whose gradients and losses are sums over shards, added along a fixed tree.

    Bits therefore depend on the shards alone, not on where they are. Callbacks may have a method
    `on_step_end(training)`, after which `position` and `snapshot` are all that is needed to go on.

    Attributes
    ----------
    position : (int, float)
        Steps of this epoch that were taken, and the sum of log p(x) over their rows.
    messages : list of str
        Warnings, for whoever waits for the fit elsewhere.
    """

    table: ShardedTable

    def __init__(self, *args: Any, **how: Any) -> None:
        super().__init__(*args, **how)
        self.position = (0, 0.0)
        self.messages: list[str] = []
        self._on_step_end: list[Any] = []

    def run(self, callbacks: Iterable[Any] = ()) -> None:
        """Train until something stops it, as `Training.run` does."""
        callbacks = list(callbacks)
        self._on_step_end = [each for each in callbacks if hasattr(each, "on_step_end")]
        super().run(callbacks)

    def epoch(self) -> None:
        """Visit every row once, from the position on."""
        for batch in self.table.batches(None, self.batch_size):
            done, total = self.position
            if batch[0] < done:
                continue
            self.position = done + 1, total + self._step(batch)
            for callback in self._on_step_end:
                callback.on_step_end(self)
        _, total = self.position
        self._end_epoch(total)
        self.position = (0, 0.0)

    def gradient(self, batch: BatchOfRows) -> float:
        """Fill the gradient of the loss of a batch; return minus the loss times its rows."""
        step, n_rows, _ = batch
        progress, network = self.progress, self.model.network
        at = Place(
            self.entropy,
            progress.epoch,
            step,
            self.n_batches,
            n_rows,
            network.training_member(progress.step),
            float(self.table.weight[0]),
        )
        call = partial(shard_gradient, at=at, n_threads=self.n_threads)
        total, self._gradient[:] = self.table.shards.reduce(call, _add, self.model.theta)
        return float(total)

    def _held_out_log_prob(self) -> float:
        assert self.held_out is not None
        table, _ = self.held_out
        if not isinstance(table, ShardedTable):
            return super()._held_out_log_prob()
        call = partial(shard_log_prob, n_threads=self.n_threads)
        return float(table.shards.reduce(call, operator.add, self.model.theta))

    def _digest(self, table: Any, weight: Array, learnt: dict[str, Array] | None = None) -> str:
        if not isinstance(table, ShardedTable):
            return super()._digest(table, weight, learnt)
        sha = hashlib.sha256(b"".join(table.shards.map(_digest_of)))
        for part in (learnt or {}).values():
            sha.update(np.ascontiguousarray(part).data)
        return sha.hexdigest()

    def _warn(self, message: str) -> None:
        self.messages.append(message)
