"""Densities of images, pixel by pixel."""

from __future__ import annotations

from dataclasses import replace
from math import isqrt
from numbers import Integral
from typing import Any, cast

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions

from fastar._core.limits import MOST_LEVELS
from fastar._core.parameters import Array
from fastar._core.random import generator
from fastar._core.sharpness import check_sharpness
from fastar._core.threads import effective_n_threads
from fastar._core.validation import as_array, check_count, unmask
from fastar._data.containers import Container
from fastar._data.regions import Regions
from fastar._engine.sampling import sample
from fastar._engine.support import check_evidence
from fastar.conditionals import Categorical, Conditional, LogisticMixture
from fastar.models._density import AutoregressiveDensity
from fastar.models._documentation import documented
from fastar.models._parameters import LAYERS, UNITS, parameter, parameters
from fastar.networks import DiagonalBiLSTM, PixelRecurrent, RowLSTM
from fastar.networks._network import Network
from fastar.networks._recurrent_layers import CELLS

__all__ = ["PixelRNN"]

_GRIDS: dict[str, Any] = {grid.name: grid for grid in (RowLSTM, DiagonalBiLSTM)}


@documented
@parameters
class PixelRNN(AutoregressiveDensity):
    r"""Density of images by recurrence through their pixels in raster order [1]_.

    .. math::
        p(x) = \prod_d p(x_d \mid x_{<d}), \quad p(x_d \mid x_{<d}) = f(x_d; b_d + h_d V)

    with d from left to right and from top to bottom, channel by channel within a pixel, and f a
    softmax over the levels, or another conditional.

    Parameters
    ----------
    image_shape : tuple of int or None, default=None
        Height and width, or height, width and channels. None: that of X in `fit`; where X has rows,
        these are square images if D is a square number, else images of one row.
    n_levels : int, default=256
        Levels of values that are whole numbers, 0 to n_levels - 1, at most 65,536: of
        "categorical", a softmax over them, and of "logistic_mixture".
    network : {"recurrent", "row_lstm", "diagonal_bilstm"}, default="recurrent"
        Network that computes h. "recurrent": cells one after the other through all values, which
        are given the value before, the one above, and the place. The others are LSTMs, given the
        values up to 3 rows above and 3 columns to each side: "row_lstm" through the rows, each
        pixel after the three above it; "diagonal_bilstm" after the pixels above and before, and,
        for the row below, above and after.
    cell : {"tanh", "gru", "lstm"}, default="gru"
        Cells of "recurrent".
    n_hidden : int, default=256
        H, units of each layer.
    n_layers : int, default=1
    {shared_parameters}

    Attributes
    ----------
    image_shape_ : tuple of int
        Height, width, channels.
    params_ : dict of arrays, views on `theta_`
        V (H, P), b (D, P); with a context (n, C) its weights B (C, P), and U (C, G H) of layers.
        The layers of "recurrent" have what `GenerativeRNN` has, with W_xh0 (E, Q, G H) for the E
        things that enter. Those of the others: W_xh0 (E, 1, 4 H) for the E values around, of layer
        l W_xhl (taps, H, 4 H), of the pixel and the one before it; W_hhl (neighbours, H, 4 H), the
        neighbours above and then that in the row; cl (4 H,). Names of the pass that runs backwards
        end in _back.
    n_parameters_ : int
    {shared_attributes}

    References
    ----------
    .. [1] A. van den Oord, N. Kalchbrenner, K. Kavukcuoglu, "Pixel recurrent neural networks",
       ICML 2016.

    Examples
    --------
    >>> import numpy as np
    >>> from fastar import PixelRNN
    >>> rng = np.random.default_rng(0)
    >>> X = (np.arange(6)[:, None] < rng.integers(1, 6, (300, 1, 5))).astype(np.uint8)  # bars
    >>> model = PixelRNN(n_hidden=16, learning_rate_init=0.02, max_iter=60, random_state=0).fit(X)
    >>> hidden = np.arange(6)[:, None] >= np.array([3] * 5)  # the lower half
    >>> model.complete(X[:2], hidden, n_draws=4, random_state=0).shape
    (2, 4, 6, 5)
    """

    order = "natural"

    image_shape: Any = parameter(default=None, constraint=["array-like", None])
    n_levels: int = parameter(
        default=256, constraint=[Interval(Integral, 2, MOST_LEVELS, closed="both")]
    )
    network: str = parameter(default="recurrent", constraint=[StrOptions({"recurrent", *_GRIDS})])
    cell: str = parameter(default="gru", constraint=[StrOptions(set(CELLS))])
    n_hidden: int = parameter(default=256, constraint=UNITS)
    n_layers: int = parameter(default=1, constraint=LAYERS)
    max_gradient_norm: float | None = 5.0
    batch_size: int = 32

    # ---- images as rows

    def _read_table(self, X: Any, **how: Any) -> Any:
        X = unmask(X, how.get("name", "X"), gaps=how.get("gaps") or self._marks_missing)
        if len(getattr(X, "shape", ())) <= 2 and not _is_nested(X):
            table = super()._read_table(X, **how)
            if how.get("reset"):
                self.image_shape_ = self._checked_shape(None, table.shape[1])
            return table
        name, reset = how.get("name", "X"), how.get("reset")
        array = as_array(X, name)
        if not array.size:
            raise ValueError(f"{name} must have a pixel or more. Got none, in shape {array.shape}.")
        shape = self._checked_shape(array.shape[1:], None) if reset else self.image_shape_
        if array.shape[1:] not in (shape, shape[:2] if shape[2] == 1 else shape):
            raise ValueError(
                f"{name} must have images of shape {shape}, as in fit. "
                f"Got {array.shape[1:]} instead."
            )
        table = super()._read_table(array.reshape(len(array), -1), **how)
        if reset:
            self.image_shape_ = shape
            assert isinstance(self._container, Container)
            self._container = replace(self._container, shape=array.shape[1:])
        return table

    def _checked_shape(self, found: tuple[int, ...] | None, D: int | None) -> tuple[int, int, int]:
        """Return height, width and channels of images of the shape `found`, or of rows of D."""
        if self.image_shape is None:
            if found is None:
                assert D is not None
                side = isqrt(D)
                found = (side, side) if side * side == D else (1, D)
        else:
            sizes = np.ravel(as_array(self.image_shape, "image_shape"))
            # what are no ints is no shape either
            given = tuple(int(each) if isinstance(each, Integral) else 0 for each in sizes.tolist())
            n = int(np.prod(found if D is None else D))  # type: ignore[arg-type]
            if (
                len(given) not in (2, 3)
                or min(given) < 1
                or (D is not None and int(np.prod(given)) != n)
            ):
                raise ValueError(
                    "image_shape must be the height and width, or height, width and channels, of "
                    f"images of {n} values. Got {self.image_shape!r} instead."
                )
            if found is not None and (*found, 1)[:3] != (*given, 1)[:3]:
                raise ValueError(
                    f"X must have images of shape {given}, by image_shape. Got {found} instead."
                )
            found = given
        if len(found) not in (2, 3):
            raise ValueError(
                "X must have two axes (rows), three (images) or four (their channels, too). "
                f"Got {len(found) + 1}."
            )
        height, width, *channels = found
        return height, width, *(channels or [1])  # type: ignore[return-value]

    def _read_evidence(self, evidence: Any, n: int) -> tuple[Any, Regions | None]:
        array = None if evidence is None else as_array(evidence, "evidence")
        if array is not None and array.ndim >= 2:
            for shape in {self.image_shape_, self.image_shape_[:2]}:
                if array.shape == shape or (array.ndim > 2 and array.shape[1:] == shape):
                    evidence = array.reshape(-1, self.n_features_in_)
        return super()._read_evidence(evidence, n)

    # ---- the composition

    def _fit_conditional(self, conditional: Conditional) -> Conditional:
        # the values of an image enter a recurrence all in one way
        shares = self.network == "recurrent" and conditional.missing.any()
        return conditional.with_gaps() if shares else conditional

    def _conditional(self, name: str) -> Conditional:
        if name == "categorical":
            return Categorical(cardinality=self.n_levels)
        if name == "logistic_mixture":
            return LogisticMixture(low=0, high=self.n_levels - 1)
        return super()._conditional(name)

    _network_kinds = (PixelRecurrent, *_GRIDS.values())
    _splits_columns = _judges_columns = False  # pixels share their weights
    _fits_streams = False

    def _network(self, sizes: dict[str, Any], seed: int) -> Network:
        if self.network in _GRIDS:
            grid: Network = _GRIDS[self.network](
                image_shape=self.image_shape_,
                n_hidden=self.n_hidden,
                n_layers=self.n_layers,
                **sizes,
            )
            return grid
        return PixelRecurrent(
            image_shape=self.image_shape_,
            cell=self.cell,
            hidden_layer_sizes=(self.n_hidden,) * self.n_layers,
            **sizes,
        )

    # ---- completion

    def complete(
        self,
        images: Any,
        mask: Any,
        *,
        n_draws: int = 4,
        context: Any = None,
        n_particles: int = 16,
        random_state: Any = None,
    ) -> Array:
        """Return images with their hidden pixels drawn given the others.

        Exact where all hidden pixels come after all others, as the lower half of an image does;
        else by `impute`, with `n_particles` samples.

        Parameters
        ----------
        images : array of shape (n, height, width), (n, height, width, channels) or (n, D)
        mask : bool array of the shape of an image, (height, width), or of images
            True where a pixel is hidden.
        n_draws : int, default=4
            Completions of each image.
        context : array-like or DataFrame of shape (n, C) or (1, C), optional
        n_particles : int, default=16
        random_state : int, RandomState instance or None

        Returns
        -------
        array of shape (n, n_draws, height, width) or with channels
            In the type of the images of `fit`.

        Raises
        ------
        ValueError
            mask is not of the shape of an image or of the images.
        """
        model, array = self._model(), self._read_images(images)
        n_draws = check_count("n_draws", n_draws, numbers=array.size)
        n_particles = check_count("n_particles", n_particles, numbers=2 * model.n_features)
        hidden = self._hidden(array, mask)
        values = np.where(hidden, np.nan, array.reshape(len(array), -1).astype(np.float64))
        given, _ = self._read_evidence(values, len(values))
        known, held = check_evidence(given, len(values), model, name="images")
        encoded, rng = self._encoded(context, len(array)), generator(random_state)
        if (np.diff(hidden.astype(np.int8), axis=1) >= 0).all():
            known, held, encoded = (
                None if each is None else np.repeat(each, n_draws, axis=0)
                for each in (known, held, encoded)
            )
            drawn = sample(
                model, len(array) * n_draws, known, held, check_sharpness(1.0, None, None),
                generator(_seed(rng)), effective_n_threads(self.n_jobs), encoded,
            )  # fmt: skip
        else:
            drawn = self.impute(
                values, context=context, n_draws=n_draws,
                n_particles=max(n_particles, n_draws), random_state=_seed(rng),
            )  # fmt: skip
            drawn = np.moveaxis(drawn.reshape(n_draws, len(array), -1), 0, 1)
            drawn = drawn.reshape(len(array) * n_draws, model.n_features)
        return np.asarray(self._container.wrap(drawn)).reshape(
            len(array), n_draws, *array.shape[1:]
        )

    def _read_images(self, images: Any) -> Array:
        """Return images, or rows of their values, as an array of numbers."""
        array, shape = as_array(unmask(images, "images"), "images"), self.image_shape_
        shapes = [shape, (self.n_features_in_,), *([shape[:2]] if shape[2] == 1 else [])]
        known = array.ndim > 1 and array.shape[1:] in shapes and len(array) > 0
        if not known or array.dtype.kind not in "biuf":
            raise ValueError(
                f"images must be numbers in an array of images of shape {shape}, as in fit, or of "
                f"rows of {self.n_features_in_} values. Got {array.dtype} of shape {array.shape} "
                "instead."
            )
        return array

    def _hidden(self, images: Array, mask: Any) -> Array:
        """Return where (n, D) images are hidden."""
        hidden, shape = as_array(mask, "mask"), self.image_shape_
        if hidden.dtype.kind not in "biuf":
            raise ValueError(f"mask must hold True and False. Got {hidden.dtype} instead.")
        wrong = (hidden != 0) & (hidden != 1)
        if wrong.any():
            raise ValueError(
                f"mask must hold True and False, or 1 and 0. Got {hidden[wrong][0]} instead."
            )
        hidden = hidden.astype(bool)
        n, D = len(images), self.n_features_in_
        if shape[2] > 1 and hidden.shape in (shape[:2], (n, *shape[:2])):
            hidden = np.repeat(hidden[..., None], shape[2], axis=-1)
        if hidden.size not in (D, n * D):
            raise ValueError(
                f"mask must have the shape of an image, {shape[:2]}, or of all {n} images. "
                f"Got {np.shape(mask)} instead."
            )
        return np.broadcast_to(hidden.reshape(-1, D), (n, D))

    def _restored_network(self, described: dict[str, Any], theta: Array) -> Network:
        """Return the network that a file with these parameters describes."""
        network: Any = super()._restored_network(described, theta)
        self.image_shape_ = network.image_shape
        return cast(Network, network)


def _is_nested(X: Any) -> bool:
    """Return whether X is a list of images, not of rows."""
    return isinstance(X, list | tuple) and len(X) > 0 and as_array(X[0], "X[0]").ndim > 1


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))
