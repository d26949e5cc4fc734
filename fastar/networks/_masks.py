"""Masks of a masked network: degrees of its units, and the staircases that follow from them."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from fastar._core.offsets import offsets_of
from fastar._core.parameters import Array
from fastar._kernels import _masked


def even_degrees(n_features: int, n_units: int) -> Array:
    """Return sorted degrees 1 .. D - 1 (n_units,), as evenly spread as may be, D - 1 among them."""
    steps = np.arange(1, n_units + 1) * (n_features - 1)
    degrees: Array = np.maximum(1, -(-steps // n_units))
    return degrees


def random_degrees(n_features: int, n_units: int, least: int, rng: np.random.Generator) -> Array:
    """Return degrees `least` .. D - 1 (n_units,); one is D - 1, so that the inputs keep a path."""
    degrees = rng.integers(least, max(least + 1, n_features), n_units)
    degrees[rng.integers(n_units)] = max(1, n_features - 1)
    return degrees


def windows(n_features: int, markov_order: int, n_layers: int) -> list[int]:
    """Return how many features a unit of each hidden layer sees, and last an output.

    They widen layer by layer as in a stack of causal convolutions, so that the units of degree
    d - 1 and less whose windows lie within that of x_d together see all of it.
    """
    if markov_order >= n_features - 1:
        return [n_features] * (n_layers + 1)
    return [-(-markov_order * (layer + 1) // (n_layers + 1)) for layer in range(n_layers + 1)]


def _stairs(begin: Array, end: Array, columns: int) -> _masked.Staircase:
    begin = np.minimum(begin, columns).astype(np.int64)
    return _masked.Staircase(
        begin, np.maximum(np.minimum(end, columns), begin).astype(np.int64), columns
    )


@dataclass(frozen=True)
class MaskSet:
    """One connectivity.

    A unit of degree m sees features up to the m-th, a unit of the next layer those of equal or
    smaller degree, an output those of strictly smaller degree [1]_. With the units of each layer
    sorted by degree every mask is a staircase.

    Parameters
    ----------
    input_offsets, output_offsets : int64 arrays (D + 1,)
        Where the rows of input weights, and the outputs, of each feature begin as they are stored.
    order : int array (D,)
        The feature that comes k-th.
    degrees : list of int arrays
        Degrees of the stored units of each hidden layer.
    markov_order : int
        How many features before it x_d sees.

    References
    ----------
    .. [1] M. Germain et al., "MADE: masked autoencoder for distribution estimation", ICML 2015.
    """

    input_offsets: Array
    output_offsets: Array
    order: Array
    degrees: list[Array]
    markov_order: int
    inputs: Array = field(init=False)
    outputs: Array = field(init=False)
    """The same of the feature that comes k-th (D + 1,)."""
    units: list[Array] = field(init=False)
    """For each hidden layer the stored unit that comes k-th by degree."""

    def __post_init__(self) -> None:
        inputs, outputs = (
            offsets_of(np.diff(offsets)[self.order])
            for offsets in (self.input_offsets, self.output_offsets)
        )
        units = [np.argsort(degrees, kind="stable") for degrees in self.degrees]
        for name, value in {"inputs": inputs, "outputs": outputs, "units": units}.items():
            object.__setattr__(self, name, value)

    def stairs(self) -> list[_masked.Staircase]:
        """Return the staircases into each hidden layer and into the outputs; empty without one."""
        if not self.degrees:
            return []
        D = len(self.order)
        width = windows(D, self.markov_order, len(self.degrees))
        layers = [np.sort(degrees) for degrees in self.degrees]
        d = self._input_features()
        first = layers[0]
        found = [
            _stairs(
                np.searchsorted(first, d + 1),
                np.searchsorted(first, d + width[0], side="right"),
                len(first),
            )
        ]
        for layer, (m, after) in enumerate(pairwise(layers)):
            oldest = np.maximum(0, m - width[layer])
            found.append(
                _stairs(
                    np.searchsorted(after, m),
                    np.searchsorted(after, oldest + width[layer + 1], side="right"),
                    len(after),
                )
            )
        m, oldest = layers[-1], np.maximum(0, layers[-1] - width[-2])
        return [*found, self._output_stairs(m, oldest + width[-1] + 1)]

    def direct(self) -> _masked.Staircase:
        """Return the staircase from inputs to outputs."""
        d = self._input_features()
        return self._output_stairs(d + 1, d + self.markov_order + 1)

    def _input_features(self) -> Array:
        """Return the place in the order of each row of input weights."""
        return np.repeat(np.arange(len(self.order)), np.diff(self.inputs))

    def _output_stairs(self, first: Array, last: Array) -> _masked.Staircase:
        """Return the staircase whose rows reach the outputs of features first .. last - 1."""
        D = len(self.order)
        begin, end = (self.outputs[np.minimum(place, D)] for place in (first, last))
        return _stairs(begin, end, int(self.outputs[D]))

    def finals(self) -> list[Array]:
        """Return for each hidden layer how many sorted units k features complete, (D + 1,)."""
        counts = np.arange(len(self.order) + 1)
        return [
            np.searchsorted(np.sort(degrees), counts, side="right").astype(np.int64)
            for degrees in self.degrees
        ]
