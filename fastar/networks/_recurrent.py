"""Recurrent networks over packed sequences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from fastar._kernels import _cpu, _recurrent
from fastar._parameters import Array, Params
from fastar._threads import useful_n_threads
from fastar.networks._dense import add_product, product, weight_gradient
from fastar.networks._inputs import Inputs
from fastar.networks._network import Network

CELLS: tuple[str, ...] = _recurrent.CELLS


@dataclass(frozen=True)
class Steps:
    """How the steps of sequences lie: by time, and at each time by falling length.

    Parameters
    ----------
    first : int64 array (T + 1,)
        Row of the first sequence's step t, and N, the number of all steps. Step t has those
        sequences that are so long, which come first.
    """

    first: Array

    @classmethod
    def of(cls, lengths: Array) -> Steps:
        """Return the steps of sequences of these lengths (n,), which must fall and be positive."""
        lengths = np.asarray(lengths, np.int64)
        if not len(lengths) or lengths[-1] < 1 or (np.diff(lengths) > 0).any():
            raise ValueError("lengths must fall, and none may be less than 1")
        alive = np.searchsorted(-lengths, -np.arange(lengths[0]), side="left")
        return cls(np.concatenate(([0], np.cumsum(alive))).astype(np.int64))

    @property
    def n(self) -> int:
        """How many sequences there are."""
        return int(self.first[1])

    @property
    def size(self) -> int:
        """N."""
        return int(self.first[-1])

    @cached_property
    def sequence(self) -> Array:
        """The sequence of each step (N,)."""
        row: Array = np.arange(self.size) - np.repeat(self.first[:-1], np.diff(self.first))
        return row

    @cached_property
    def after(self) -> Array:
        """The row of the step after each step (N,); -1 - r after the last one of sequence r."""
        counts = np.diff(self.first)
        going = self.sequence < np.repeat(np.append(counts[1:], 0), counts)
        following = np.repeat(self.first[1:], counts) + self.sequence
        return np.where(going, following, -1 - self.sequence)

    def sums(self, rows: Array) -> Array:
        """Return the sums (n, ..) of rows (N, ..) over each sequence's steps, in their order."""
        total = np.zeros((self.n, *rows.shape[1:]), rows.dtype)
        for start, end in zip(self.first[:-1], self.first[1:], strict=True):
            total[: end - start] += rows[start:end]
        return total


@dataclass(frozen=True)
class Weights:
    """Parameters, and what of them is packed once for many blocks."""

    params: Params
    packed: list[Array]


@dataclass(frozen=True)
class Cache:
    """What `backward` needs of `forward`; lists have an entry a layer."""

    steps: Steps
    codes: Array
    context: Array | None
    s: list[Array]
    m: list[Array | None]
    slots: list[Array]
    below: list[Array]


class Recurrent(Network):
    r"""Recurrent layers whose state before a step gives the step's outputs.

    ``h_t = f(c + W_xh x_t + W_hh h_{t-1})``, ``raw_t = b + V h_{t-1}``, with weights that all steps
    share. Here D is the number of features of one step, so that codes (N, D) and raw outputs
    (N, D, P) have a row for each step of all sequences, packed as `Steps` says. The gates of W_xh,
    W_hh and c are in the order

    - ``"tanh"``: one, ``h' = tanh(a)``;
    - ``"gru"``: n, r, z in W_xh and c, and r, z, n in W_hh, with a bias c_q of its own:
      ``n = tanh(x_n + r (h W_n + c_q))``, ``h' = (1 - z) n + z h`` [1]_;
    - ``"lstm"``: i, f, g, o: ``m' = f m + i g``, ``h' = o tanh(m')`` [2]_.

    Parameters
    ----------
    n_features, n_outputs, n_hidden : int
        D, P and H.
    inputs : Inputs
        How the codes of a step enter.
    cell : {"tanh", "gru", "lstm"}
    n_layers : int
        Layers after the first are given the states of the layer below.
    dtype : dtype
        float32 or float64.
    bptt : int
        Gradients do not flow past every so-many-th step; 0: through all time.
    n_context : int
        C: a context y (n, C), one for each sequence, adds y U to the first layer's c, and y B to b.

    References
    ----------
    .. [1] K. Cho et al., "Learning phrase representations using RNN encoder-decoder for
       statistical machine translation", EMNLP 2014.
    .. [2] S. Hochreiter, J. Schmidhuber, "Long short-term memory", Neural Computation 9, 1997.
    """

    name = "recurrent"

    def __init__(
        self,
        n_features: int,
        n_outputs: int,
        inputs: Inputs,
        *,
        n_hidden: int,
        cell: str,
        dtype: Any,
        n_layers: int = 1,
        bptt: int = 0,
        n_context: int = 0,
    ) -> None:
        if min(n_features, n_hidden, n_layers) < 1:
            raise ValueError("n_features, n_hidden and n_layers must be at least 1")
        self.n_features = n_features
        self.n_outputs = n_outputs
        self.inputs = inputs
        self.n_hidden = int(n_hidden)
        self.n_layers = int(n_layers)
        self.cell = cell
        self.bptt = int(bptt)
        self.dtype = np.dtype(dtype)
        self.n_context = int(n_context)
        self._cell = CELLS.index(cell)
        self._gates: int = _recurrent.GATES[self._cell]
        self._slots: int = _recurrent.SLOTS[self._cell]

    def settings(self) -> dict[str, Any]:
        """Return the keyword arguments of the constructor."""
        return {
            "n_hidden": self.n_hidden,
            "cell": self.cell,
            "dtype": self.dtype.name,
            "n_layers": self.n_layers,
            "bptt": self.bptt,
            "n_context": self.n_context,
        }

    # ---- parameters

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Name and shape of every parameter, weights first; layers after the first are numbered."""
        H, G = self.n_hidden, self._gates
        entering = self.n_features * self.inputs.n_inputs
        shapes: dict[str, tuple[int, ...]] = {}
        for layer in self._layers:
            shapes[f"W_xh{layer}"] = (H if layer else entering, G * H)
            shapes[f"W_hh{layer}"] = (H, G * H)
        shapes["V"] = (H, self.n_features, self.n_outputs)
        if self.n_context:
            shapes["U"] = (self.n_context, G * H)
            shapes["B"] = (self.n_context, self.n_features, self.n_outputs)
        for layer in self._layers:
            shapes[f"c{layer}"] = (G * H,)
            if self.cell == "gru":
                shapes[f"c_q{layer}"] = (H,)
        return shapes | {"b": (self.n_features, self.n_outputs)}

    @property
    def _layers(self) -> list[str]:
        return ["", *map(str, range(1, self.n_layers))]

    @property
    def decayed(self) -> tuple[str, ...]:
        """All but the biases."""
        return tuple(name for name in self.shapes if name[0] not in "cb")

    @property
    def output_weights(self) -> tuple[str, ...]:
        """V and B."""
        return ("V", "B") if self.n_context else ("V",)

    def initialise(self, params: Params, rng: np.random.Generator) -> None:
        """Fill weights with random numbers, W_hh by orthogonal gates, and the rest with zeros.

        The forget gate of an LSTM begins open, with a bias of one.
        """
        H, scale = self.n_hidden, 1 / np.sqrt(self.n_hidden)
        for name in self.shapes:
            params[name][...] = 0
            if name.startswith("W_hh"):
                for gate in range(self._gates):
                    q, r = np.linalg.qr(rng.standard_normal((H, H)))
                    params[name][:, gate * H : (gate + 1) * H] = q * np.sign(np.diag(r))
            elif name in self.decayed and name != "B":
                params[name][...] = rng.uniform(-scale, scale, params[name].shape)
            elif self.cell == "lstm" and name[0] == "c":
                params[name][H : 2 * H] = 1

    def prepare(self, params: Params, n_threads: int, member: int = 0) -> Weights:
        """Return the parameters and the packed recurrent weights."""
        packed = [_recurrent.pack(params[f"W_hh{layer}"], self._gates) for layer in self._layers]
        return Weights(params, packed)

    # ---- computing

    def steps_of(self, codes: Array, lengths: Array | None) -> Steps:
        """Return how codes (N, D) lie; without lengths each row is a sequence of one step."""
        steps = Steps.of(np.ones(len(codes), np.int64) if lengths is None else lengths)
        if steps.size != len(codes):
            raise ValueError(
                f"lengths must add up to the number of steps, {len(codes)}. "
                f"Got {steps.size} instead."
            )
        return steps

    def forward(
        self,
        weights: Weights,
        codes: Array,
        n_threads: int,
        *,
        context: Array | None = None,
        rng: np.random.Generator | None = None,
        lengths: Array | None = None,
    ) -> tuple[Array, Cache]:
        """Return raw (N, D, P) for packed codes (N, D), and the cache for `backward`.

        lengths (n,) of the sequences, falling. context (n, C).
        """
        raw, cache, _ = self._run(weights, codes, n_threads, context, lengths, None, True)
        return raw, cache

    def score(
        self,
        weights: Weights,
        codes: Array,
        n_threads: int,
        *,
        context: Array | None = None,
        lengths: Array | None = None,
        state: Array | None = None,
    ) -> tuple[Array, Array]:
        """Return raw (N, D, P) and the state (L, 2, n, H) after each sequence.

        state: that before each sequence, zeros by default.
        """
        if state is None:
            state = self.initial_state(1 if lengths is None else len(lengths))
        raw, _, after = self._run(weights, codes, n_threads, context, lengths, state, False)
        return raw, after

    def initial_state(self, n: int) -> Array:
        """Return the state (L, 2, n, H) before n sequences: h, and the cell of an LSTM."""
        return np.zeros((self.n_layers, 2, n, self.n_hidden), self.dtype)

    def _run(
        self,
        weights: Weights,
        codes: Array,
        n_threads: int,
        context: Array | None,
        lengths: Array | None,
        state: Array | None,
        keep: bool,
    ) -> tuple[Array, Cache, Array]:
        steps, params, H = self.steps_of(codes, lengths), weights.params, self.n_hidden
        n_threads = self._threads(steps.size, n_threads)
        n, N, lstm = steps.n, steps.size, self.cell == "lstm"
        before = self.initial_state(n) if state is None else state
        ends = np.zeros_like(before) if state is not None or self.n_layers > 1 else None
        cache = Cache(steps, codes, context, [], [], [], [])
        given = None
        for i, layer in enumerate(self._layers):
            s = _cpu.aligned_empty((N, H), self.dtype)
            m = _cpu.aligned_empty((N, H), self.dtype) if lstm else None
            slots = _cpu.aligned_empty((N, self._slots * H), self.dtype) if keep else None
            s[:n] = before[i, 0]
            if m is not None:
                m[:n] = before[i, 1]
            if i:
                given = product(
                    cache.below[-1], params[f"W_xh{layer}"], params[f"c{layer}"], n_threads
                )
            _recurrent.forward(
                self._weights(weights, i, context, n_threads),
                steps.first,
                None if i else codes,
                self.inputs.one_hot,
                self.inputs.n_inputs,
                given,
                s,
                m,
                slots,
                None if ends is None else ends[i, 0],
                ends[i, 1] if ends is not None and lstm else None,
                n_threads,
            )
            cache.s.append(s)
            cache.m.append(m)
            if slots is not None:
                cache.slots.append(slots)
            if i + 1 < self.n_layers:
                assert ends is not None
                cache.below.append(np.concatenate((s, ends[i, 0, ::-1]))[steps.after])
        raw = product(cache.s[-1], params["V"], params["b"].ravel(), n_threads)
        raw = raw.reshape(N, self.n_features, self.n_outputs)
        if context is not None:
            shift = np.zeros((n, *raw.shape[1:]), self.dtype)
            add_product(context, params["B"], shift, n_threads)
            raw += shift[steps.sequence]
        return raw, cache, before if ends is None else ends

    def backward(
        self, weights: Weights, cache: Cache, graw: Array, grads: Params, n_threads: int
    ) -> None:
        """Overwrite `grads` with the gradient of sum(graw * raw). Uses up the cache."""
        params, steps, H = weights.params, cache.steps, self.n_hidden
        n_threads = self._threads(steps.size, n_threads)
        G, S = self._gates, self._slots
        flat = graw.reshape(steps.size, -1)
        weight_gradient(cache.s[-1], flat, grads["V"], n_threads)
        np.sum(graw, axis=0, out=grads["b"])
        V = np.ascontiguousarray(params["V"].reshape(H, -1).T)
        gs = product(flat, V, np.zeros(H, self.dtype), n_threads)
        for i in reversed(range(self.n_layers)):
            layer, slots = self._layers[i], cache.slots[i]
            W = np.ascontiguousarray(params[f"W_hh{layer}"].T)
            _recurrent.backward(
                self._cell, _recurrent.pack(W, 1), steps.first, cache.s[i], cache.m[i], slots, gs,
                self.bptt, n_threads,
            )  # fmt: skip
            gx = np.ascontiguousarray(slots[:, : G * H])
            gh = np.ascontiguousarray(slots[:, (S - G) * H :])
            weight_gradient(cache.s[i], gh, grads[f"W_hh{layer}"], n_threads)
            np.sum(gx, axis=0, out=grads[f"c{layer}"])
            if self.cell == "gru":
                np.sum(gh[:, 2 * H :], axis=0, out=grads[f"c_q{layer}"])
            if i:
                weight_gradient(cache.below[i - 1], gx, grads[f"W_xh{layer}"], n_threads)
                W = np.ascontiguousarray(params[f"W_xh{layer}"].T)
                gbelow = product(gx, W, np.zeros(H, self.dtype), n_threads)
                going = steps.after >= 0
                gs = np.zeros_like(gs)
                gs[steps.after[going]] = gbelow[going]
            else:
                self._input_gradient(cache.codes, gx, grads["W_xh"], n_threads)
        if cache.context is not None:
            weight_gradient(cache.context, steps.sums(gx), grads["U"], n_threads)
            weight_gradient(cache.context, steps.sums(graw), grads["B"], n_threads)

    def _input_gradient(self, codes: Array, gx: Array, gW: Array, n_threads: int) -> None:
        """Write gW (F Q, G H): what each code's row was multiplied by, times gx, summed."""
        one_hot, Q = self.inputs.one_hot, self.inputs.n_inputs
        gW[...] = 0
        for f in range(self.n_features):
            code = codes[:, f]
            missing = np.isnan(code)
            hot = missing | bool(one_hot[f] & 1)
            row = np.where(missing, Q - 1, np.where(hot, code, 0)).astype(np.int64)
            value = np.where(hot, 1, code).astype(self.dtype)
            there = np.flatnonzero((row >= 0) & (value != 0))
            there = there[np.argsort(row[there], kind="stable")]
            levels, start = np.unique(row[there], return_index=True)
            for level, mine in zip(levels, np.split(there, start[1:]), strict=True):
                np.einsum("i,ij->j", value[mine], gx[mine], out=gW[f * Q + level])

    def sample(
        self,
        weights: Weights,
        draw: object,
        noise: Array,
        held: Array | None,
        codes: Array,
        n_threads: int,
        *,
        context: Array | None = None,
        weight: Array | None = None,
        state: Array | None = None,
    ) -> None:
        """Draw codes (n, T D) where `held` is FREE, and weigh those that are WEIGHED.

        state (L, 2, n, H): that before the first step, zeros by default, and then after the last.
        """
        params, n = weights.params, len(codes)
        n_threads = self._threads(codes.size, n_threads)
        b = params["b"].reshape(1, -1)
        if context is not None:
            b = product(context, params["B"], b[0], n_threads)
        if state is None:
            state = self.initial_state(n)
        layers = []
        for i, layer in enumerate(self._layers):
            layers.append(self._weights(weights, i, context, n_threads, _packed_x(params, layer)))
        V = _recurrent.pack(params["V"].reshape(self.n_hidden, -1), 1)
        _recurrent.sample(
            draw, noise, held, codes, weight, layers, self.inputs.one_hot, self.inputs.n_inputs,
            V, b, self.n_outputs, state, n_threads,
        )  # fmt: skip

    def _weights(
        self,
        weights: Weights,
        i: int,
        context: Array | None,
        n_threads: int,
        packed_x: Array | None = None,
    ) -> _recurrent.Weights:
        layer, params = self._layers[i], weights.params
        bias = params[f"c{layer}"][None]
        if context is not None and i == 0:
            bias = product(context, params["U"], bias[0], n_threads)
        x = packed_x if i else params["W_xh"]
        c_q = params.get(f"c_q{layer}")
        return _recurrent.Weights(self._cell, self.n_hidden, x, weights.packed[i], bias, c_q)

    def _threads(self, n_steps: int, n_threads: int) -> int:
        return useful_n_threads(n_threads, n_steps * self._gates * self.n_hidden**2)


def _packed_x(params: Params, layer: str) -> Array | None:
    return _recurrent.pack(params[f"W_xh{layer}"], 1) if layer else None
