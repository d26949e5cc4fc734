"""Conditionals of steps and labels, as training and inference ask them of sequences."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastar._core.parameters import Array, Params
from fastar._data.labels import LabelledBlock, LabelledTable
from fastar._data.packed import Steps
from fastar._data.sequence_layouts import SequenceLayout, mapped
from fastar._data.sequences import Block, SequenceTable
from fastar._engine.model import Composition
from fastar.conditionals import Bernoulli, Conditional
from fastar.networks._recurrent_network import SequenceNetwork

_PART_STEPS = 1 << 15
"""Steps that pass together in training, unless those between two cuts are more."""
_BLOCK_STEPS = 1 << 13
"""Steps of a block of streams or samples, between which Ctrl-C is looked for."""


def times_of_blocks(n: int, T: int) -> Iterator[tuple[int, int]]:
    """Yield (begin, end) of the times that n sequences of T steps take together."""
    times = max(1, _BLOCK_STEPS // n)
    for begin in range(0, T, times):
        yield begin, min(begin + times, T)


def rows_of_blocks(n: int, T: int) -> Iterator[slice]:
    """Yield those of n sequences that take T steps together."""
    rows = max(1, _BLOCK_STEPS // T)
    for begin in range(0, n, rows):
        yield slice(begin, begin + rows)


def stacked(said: list[Any]) -> Any:
    """Return what is said of each of F values (N, ..) as of all (N, F, ..).

    Returned as it is where the values have different numbers of levels or components.
    """
    shapes = {str(mapped(each, np.shape)) for each in said}
    if len(shapes) > 1:
        return said
    if isinstance(said[0], dict):
        return {key: np.stack([each[key] for each in said], axis=1) for key in said[0]}
    return np.stack(said, axis=1)


def check_steps(
    conditional: Conditional, table: SequenceTable, name: str, layout: SequenceLayout
) -> None:
    """Raise ValueError where a value leaves the support, naming sequence and step.

    layout: of the sequences of `fit`.
    """
    for where, block in table.blocks():
        wrong = conditional.unsupported(block.values)
        if wrong.any():
            row, d = np.argwhere(wrong)[0]
            ends = np.cumsum(block.lengths)
            place = int(np.searchsorted(ends, row, side="right"))
            step = int(row - ends[place] + block.lengths[place])
            own, _ = conditional.of_column(int(d))
            column = int(d) - table.ends
            alone = layout.width == 1 and layout.names is None
            which = "" if alone else f"{layout.name_of(column)} of "
            raise ValueError(
                f"{name} must hold {own.support} for a {own.name} conditional. "
                f"Got {layout.shown(column, block.values[row, d])} in {which}step {step} of "
                f"sequence {where.start + place}."
            )


class StepwiseConditional:
    """A conditional of steps, as training and inference ask it of sequences.

    Parameters
    ----------
    conditional : Conditional
        Fitted, of the values of a step.
    """

    def __init__(self, conditional: Conditional) -> None:
        self.conditional = conditional
        self.zero_init_output = conditional.zero_init_output

    def __repr__(self) -> str:
        return repr(self.conditional)

    def arrays(self) -> dict[str, Array]:
        """Return what was learnt, by name."""
        return self.conditional.arrays()

    def encode(self, block: Block, dtype: np.dtype[Any]) -> Steps:
        """Return the steps of a block."""
        return Steps.of(self.conditional.encode(block.values, dtype), block.lengths)

    def constant(self, table: SequenceTable, weight: Array) -> Array:
        """Return the raw outputs of the best constant model, or a good one."""
        return self.conditional.constant(*table.steps(weight))

    def distribution_params(self, raw: Array, steps: Steps) -> Any:
        """Return what the raw outputs say of the steps (N, ..) of one sequence after the other."""
        place = np.argsort(steps.sequence, kind="stable")
        return self.conditional.distribution_params(raw[place], steps.codes[place])

    def log_prob(self, raw: Array, steps: Steps, n_threads: int) -> tuple[Array, Array]:
        """Return log-densities (N, F) of all steps, and the sums (n,) of each sequence."""
        logp, total = self.conditional.log_prob(raw, steps.codes, n_threads)
        return logp, steps.sums(total)

    def gradient(
        self, raw: Array, steps: Steps, scale: Array, n_threads: int
    ) -> tuple[Array, Array]:
        """Return the sums (n,), and scale[sequence] times the gradient by raw (N, sum of P)."""
        total, graw = self.conditional.gradient(raw, steps.codes, scale[steps.sequence], n_threads)
        return steps.sums(total), graw


@dataclass(frozen=True)
class SequenceModel(Composition):
    """A recurrent network and the conditional of its steps."""

    network: SequenceNetwork
    conditional: StepwiseConditional

    def log_prob(
        self, weights: Any, codes: Any, n_threads: int, context: Array | None = None
    ) -> tuple[Array, Array]:
        """Return log-densities (N, F) of all `Steps`, and the sums (n,) of each sequence."""
        conditional = self.conditional.conditional
        parts = [
            conditional.log_prob(raw, codes.codes[where], n_threads)
            for where, raw in self.network.bptt_segments(weights, codes, n_threads, context)
        ]
        logp, total = (np.concatenate(each) for each in zip(*parts, strict=True))
        return logp, codes.sums(total)

    def raw(self, weights: Any, codes: Any, n_threads: int, context: Array | None = None) -> Array:
        """Return the raw outputs (N, sum of P) of all `Steps`."""
        parts = self.network.bptt_segments(weights, codes, n_threads, context)
        return np.concatenate([raw for _, raw in parts])

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

        Where gradients are cut, long sequences pass in parts that end at a cut, so that memory is
        bounded by `bptt`.
        """
        parts = self._parts(codes)
        if len(parts) == 1:
            return super().gradient(weights, codes, share, grads, n_threads, context, rng)
        network, total = self.network, 0.0
        scale = (share / -len(share)).astype(self.dtype)
        of_part = {name: np.empty_like(each) for name, each in grads.items()}
        state = network.start(len(codes))
        for begin, end in parts:
            # with the step after them: the state before it continues
            part = codes.between(begin, min(end + 1, len(codes.counts)))
            raw, cache = network.forward(
                weights, part, n_threads, context=context, rng=rng, state=state
            )
            # the first step's outputs were those of the last one of the part before
            known = slice(int(part.first[1]) if begin else 0, None)
            owner = part.sequence[known]
            logp, own = self.conditional.conditional.gradient(
                raw[known], part.codes[known], scale[owner], n_threads
            )
            graw = np.zeros_like(raw)
            graw[known] = own
            assert cache is not None
            state = cache.last()
            network.backward(weights, cache, graw, of_part if begin else grads, n_threads)
            if begin:
                for name, each in grads.items():
                    each += of_part[name]
            total += float((share[owner] * logp).sum())
        return total

    def _parts(self, steps: Steps) -> list[tuple[int, int]]:
        """Return the times (begin, end) of parts through which gradients do not flow back."""
        T, times = len(steps.counts), self._part_times(len(steps), len(steps.codes))
        return [(begin, min(begin + times, T)) for begin in range(0, max(1, T - 1), times)]

    def _part_times(self, n: int, n_steps: int) -> int:
        """Return how many times n sequences of so many steps in all pass together at most."""
        bptt = self.network.bptt
        if bptt is None or n_steps <= _PART_STEPS:
            return n_steps
        return max(1, _PART_STEPS // (n * bptt)) * bptt

    def training_bytes(self, lengths: Array) -> int:
        """Return the memory that a training step of sequences of these lengths takes at least."""
        times = self._part_times(len(lengths), int(lengths.sum()))
        return int(np.minimum(lengths, times).sum()) * self.network.step_bytes


class LabelConditional(StepwiseConditional):
    """A conditional of labels, as training and inference ask it of sequences.

    Parameters
    ----------
    conditional : Conditional
        Fitted, of the numbers of the classes, which may be missing.
    inputs : Conditional
        Fitted, whose codes of a step's values enter.
    """

    def __init__(self, conditional: Conditional, inputs: Conditional) -> None:
        super().__init__(conditional)
        self.inputs = inputs

    def __repr__(self) -> str:
        return f"{self.conditional!r} of {self.inputs!r}"

    def arrays(self) -> dict[str, Array]:
        """Return what was learnt of labels and of inputs, by name."""
        inputs = {f"inputs.{name}": array for name, array in self.inputs.arrays().items()}
        return {**super().arrays(), **inputs}

    def encode(self, block: Block, dtype: np.dtype[Any]) -> Steps:
        """Return labels as steps behind one more, without a label, before anything has entered.

        A network gives what it knows before a step; so a step's label is that of the next one.
        """
        assert isinstance(block, LabelledBlock)
        packed = Steps.of(np.arange(len(block.values))[:, None], block.lengths)
        places, n = packed.codes[:, 0], len(packed)
        labels = np.concatenate([np.full(n, np.nan), block.labels[places]]).astype(dtype)
        return Steps(
            labels[:, None],
            np.append(n, packed.counts),
            np.concatenate([packed.sequence[:n], packed.sequence]),
            self.inputs.encode(block.values, dtype)[places],
        )

    def constant(self, table: SequenceTable, weight: Array) -> Array:
        """Return the raw outputs (P,) of the best constant model."""
        assert isinstance(table, LabelledTable)
        return self.conditional.constant(*table.of_labels(weight))

    def distribution_params(self, raw: Array, steps: Steps) -> Array:
        """Return logits (N, K) of the classes, step by step of one sequence after the other."""
        n = len(steps)
        return self.logits(raw[n:])[np.argsort(steps.sequence[n:], kind="stable")]

    def logits(self, raw: Array) -> Array:
        """Return float64 logits (N, K) of raw outputs (N, P), 0 for a Bernoulli's first."""
        z = raw.astype(np.float64)
        is_binary = isinstance(self.conditional, Bernoulli)
        return np.column_stack([np.zeros(len(z)), z]) if is_binary else z
