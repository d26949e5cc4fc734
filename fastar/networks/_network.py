"""The interface of networks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from fastar._core.inputs import Inputs
from fastar._core.lazy import lazy, state_without_lazy
from fastar._core.parameters import Array, ParamLayout, Params, zeros_aligned
from fastar._core.schema import Number, OneOf, Record, Rule, Whole

SEED = Whole(0)
DROPOUT = Number(0, 1 - 2**-53)
DTYPE = OneOf(("float32", "float64"))


@dataclass(frozen=True)
class Stages:
    """Where the particles of rows are drawn anew by weight (systematic resampling)."""

    ends: Array
    """The features (S,) before which they are."""
    noise: Array
    """A uniform number (S, n) for each stage and row."""
    least: float
    """Share of a row's particles; where fewer are effective, they are drawn anew."""

    def take(self, rows: slice) -> Stages:
        """Return those of some rows."""
        return Stages(self.ends, np.ascontiguousarray(self.noise[:, rows]), self.least)


class Network(ABC):
    """From the codes of x_<d to the raw parameters of p(x_d | x_<d), for every d at once.

    Stateless but for its sizes. Codes (n, D) and raw outputs (n, sum of P) are in model order. A
    context (n, C) enters every hidden layer and every output with weights of its own, U and B.
    """

    name: ClassVar[str]

    output_offsets: Array
    """Where the outputs of each feature begin, and the end of the last: int64 (D + 1,)."""
    inputs: Inputs
    dtype: np.dtype[Any]
    n_context: int = 0
    """C, numbers of the context of a row; 0 without one."""
    seed: int = 0
    """Seed of the random parts of its structure."""
    order_agnostic: bool = False
    """Whether members see the features in orders of their own."""
    any_evidence: bool = False
    """Whether the network sees all evidence first, whatever its place in an order."""

    weights_are_views: bool = False
    """Whether what `materialise_weights` returns shows all later changes of the parameters."""
    is_stochastic: bool = True
    """Whether `forward` draws random numbers in training."""

    def __repr__(self) -> str:
        settings = ", ".join(f"{key}={value!r}" for key, value in self.settings().items())
        return f"{type(self).__name__}({self.n_features}, {self.n_outputs}, {settings})"

    def __eq__(self, other: object) -> bool:
        return (
            type(other) is type(self)
            and repr(self) == repr(other)
            and np.array_equal(self.output_offsets, other.output_offsets)
            and np.array_equal(self.inputs.offsets, other.inputs.offsets)
        )

    __hash__ = None  # type: ignore[assignment]

    def __getstate__(self) -> dict[str, Any]:
        # some of what is computed from the rest is compiled, and cannot be pickled
        return state_without_lazy(self)

    @property
    def n_features(self) -> int:
        """D."""
        return len(self.output_offsets) - 1

    @property
    def n_outputs(self) -> int:
        """Outputs of all features."""
        return int(self.output_offsets[-1])

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Return the keyword arguments of the constructor: what a file must keep."""

    @classmethod
    def settings_rule(cls, n_parameters: int) -> Record:
        """Return what `settings` may be in a file with so many parameters.

        No size can be larger than that, so that what is made of it is no larger than the file.
        """
        common = {"n_context": Whole(0, n_parameters), "dtype": DTYPE}
        return Record.of_arguments(cls, {**cls._own_rules(Whole(1, n_parameters)), **common})

    @classmethod
    @abstractmethod
    def _own_rules(cls, size: Whole) -> dict[str, Rule]:
        """Return what its own settings may be, `size` being the rule for a number of units."""

    # ---- parameters

    @lazy
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Name and shape of every parameter, weights first."""
        return self._shapes()

    @abstractmethod
    def _shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Return the shapes of the parameters."""

    @property
    @abstractmethod
    def decayed(self) -> tuple[str, ...]:
        """Names of the weights."""

    @property
    @abstractmethod
    def output_weights(self) -> tuple[str, ...]:
        """Names of the weights that the raw outputs are linear in."""

    @property
    def active(self) -> Array | None:
        """First and last parameters (m, 2) of the stretches that are ever used; None: all."""
        return None

    @property
    def n_used(self) -> int:
        """How many parameters some member uses."""
        active = self.active
        if active is None:
            return ParamLayout(self.shapes, 0).size
        return int((active[:, 1] - active[:, 0]).sum())

    @property
    def row_work(self) -> int:
        """Multiply-adds that a sample takes, about."""
        return ParamLayout(self.shapes, 0).size

    def zeros(self) -> Array:
        """Return a flat vector for the parameters."""
        return zeros_aligned(ParamLayout(self.shapes, 0).size, self.dtype)

    @abstractmethod
    def initialise(self, params: Params, rng: np.random.Generator) -> None:
        """Fill the parameters with what training starts from."""

    def params_in_paper_layout(self, params: Params) -> Params:
        """Return the parameters with the axes that the papers give them."""
        return params

    # ---- members: networks that share the parameters and whose densities are averaged

    @property
    def n_members(self) -> int:
        """How many there are."""
        return 1

    def member_order(self, member: int) -> Array:
        """Return the feature that comes k-th for a member (D,)."""
        return np.arange(self.n_features)

    def training_member(self, step: int) -> int:
        """Return the member that this step of training trains."""
        return 0

    def materialise_weights(self, params: Params, n_threads: int, member: int = 0) -> Any:
        """Return a member's weights: what is computed once for many blocks of rows."""
        return params

    # ---- computing

    @abstractmethod
    def forward(
        self,
        weights: Any,
        codes: Array,
        n_threads: int,
        *,
        context: Array | None = None,
        rng: np.random.Generator | None = None,
    ) -> tuple[Array, Any]:
        """Return raw (n, sum of P) for codes (n, D), and the cache for `backward`.

        context (n, C). rng: in training, for its random numbers.
        """

    def forward_from(
        self,
        weights: Any,
        codes: Array,
        start: int,
        n_threads: int,
        *,
        context: Array | None = None,
    ) -> tuple[Array, Callable[[Array], Array]] | None:
        """Return raw (n, sum of P) for codes (n, D), and a function that changes some of them.

        The function gets other codes (n, D - start) of the features from `start` on, and returns
        the raw outputs of these features; those of `start` itself, which do not change, have no
        meaning there. None: a network cannot begin in the middle.
        """
        return None

    def score_levels(
        self,
        weights: Any,
        draw: object,
        codes: Array,
        feature: int,
        levels: Array,
        n_threads: int,
        *,
        context: Array | None = None,
    ) -> Array | None:
        """Return log p (n, K) of codes (n, D) with a feature at each of K levels.

        draw: the conditional's capsule. None: a network has no way of its own.
        """
        return None

    def loss_targets(self, cache: Any, codes: Array) -> tuple[Array, Array | None]:
        """Return the codes (n, D) whose log-densities training sums, NaN elsewhere, and factors.

        cache: from `forward` in training. The factors (n,), None for ones, make log p(x) the
        expectation of the sum.
        """
        return codes, None

    @abstractmethod
    def backward(
        self, weights: Any, cache: Any, graw: Array, grads: Params, n_threads: int
    ) -> None:
        """Overwrite the active part of `grads` with the gradient of sum(graw * raw).

        Uses up the cache.
        """

    @abstractmethod
    def sample(
        self,
        weights: Any,
        draw: object,
        noise: Array,
        held: Array | None,
        codes: Array,
        n_threads: int,
        *,
        context: Array | None = None,
        weight: Array | None = None,
    ) -> None:
        """Draw codes (n, D) where `held` (n, D) is SAMPLED, with noise (n, D, m).

        The log p of WEIGHTED codes is added to weight (n,). OBSERVED codes that come first cost no
        outputs, and those that come last cost nothing.
        """

    most_particles = 0
    """Particles of a row of data that `sample_particles` takes, of a network of one member."""

    def sample_particles(
        self,
        weights: Any,
        draw: object,
        noise: Array,
        held: Array,
        begun: Array,
        stages: Stages,
        codes: Array,
        weight: Array,
        n_threads: int,
        *,
        context: Array | None = None,
    ) -> None:
        """Fill the codes (n N, D) of N particles of each of n rows, and add to weight (n N,).

        As `sample` does, from codes `begun` (n, D) and flags `held` (n, D); after each of the
        stages, particles are drawn anew by weight. noise (n N, D, m), context (n N, C).
        """
        raise NotImplementedError
