"""Masked networks: MADE, and FVSBN, the one without a hidden layer."""

from __future__ import annotations

from numbers import Real
from typing import Any

from sklearn.utils._param_validation import Interval, StrOptions

from fastar._core.parameters import Params
from fastar._core.validation import check_layer_sizes
from fastar.models._density import AutoregressiveDensity
from fastar.models._documentation import documented
from fastar.models._parameters import (
    COUNT,
    MEMBERS,
    MarkovOrderParameter,
    OrderParameter,
    parameter,
    parameters,
)
from fastar.models._questions import AnswersQuestions
from fastar.networks import Masked
from fastar.networks._shared_hidden import ACTIVATIONS


@documented
@parameters
class MADE(AnswersQuestions, AutoregressiveDensity, OrderParameter, MarkovOrderParameter):
    r"""Masked autoencoder for distribution estimation [1]_.

    .. math::
        h_l = g(c_l + h_{l-1} W_{l-1}), \quad h_0 = x, \quad
        p(x_d \mid x_{<d}) = f(x_d; b_d + (h_L W_L + x L)_d)

    where masks hide those weights that would let an output of x_d see x_d or a feature after it: a
    unit of degree m sees the first m features in the order, units of smaller or equal degree in the
    layer before, and is seen by outputs from the m + 1-st on. All conditionals come from one pass.
    With several sets of masks p is the mean of the densities that each of them gives. With a
    Markov order k, x_d sees exactly the k features before it if there are direct connections or at
    least D - 1 evenly spread units a layer.

    Parameters
    ----------
    hidden_layer_sizes : tuple of int, default=(500,)
        Units of each hidden layer.
    activation : {"sigmoid", "tanh", "relu"}, default="relu"
        g.
    direct_connections : bool, default=True
        Whether there is L, from inputs to outputs.
    degrees : {"even", "random"}, default="even"
        Degrees of a layer's units: spread evenly over 1 .. D - 1, or drawn.
    redrawn : float, default=1
        Share of a layer's units to which each of several sets of masks gives degrees of its own.
        The others have the same degrees in all sets: with less than the paper's 1, units can
        specialise, and the sets, though less different, learn more in the same time.
    n_masks : int or "unlimited", default=1
        Sets of masks through which training cycles, at most 65,536; "unlimited" draws another one
        for each step.
    n_scoring_masks : int, default=10
        Sets whose densities are averaged with unlimited masks; otherwise all `n_masks` are.
    order_agnostic : bool, default=False
        Each set of masks has a random order of its own. Needs more than one set.
    dropout : float, default=0
        Probability with which a step of training leaves out a hidden unit, in steps of 1 / 65536.
    {shared_parameters}

    Attributes
    ----------
    params_ : dict of arrays, views on `theta_`
        W0 (D, H_1) ((D, Q, H_1) where features have Q rows, as in `NADE`), c0 (H_1,), .., the last
        W (H_L, D, P), b (D, P); with direct connections L (D, P, D) (or (D, P, D, Q)), row d
        the weights for x_d. Features in `order_`, units by rising degree. Where features differ in
        P or Q, these two axes are one of sum P, or sum Q, by `output_offsets_`, `input_offsets_`.
    masks_ : dict of Boolean arrays, or a list of them
        Which weights a set of masks shows, for each W and L; a list if there are several sets.
    n_parameters_ : int
        Biases, and weights that a mask shows.
    {shared_attributes}

    References
    ----------
    .. [1] M. Germain, K. Gregor, I. Murray, H. Larochelle, "MADE: masked autoencoder for
       distribution estimation", ICML 2015.

    Examples
    --------
    >>> import numpy as np
    >>> from fastar import MADE
    >>> bits = np.random.default_rng(0).integers(0, 2, (200, 3))
    >>> X = np.column_stack([bits, bits.sum(axis=1) % 2])  # the last one is the others' parity
    >>> model = MADE(hidden_layer_sizes=(32, 32), learning_rate_init=0.01, random_state=0).fit(X)
    >>> bool(model.score(X) > -2.2)  # at best -3 log 2 = -2.08; independent columns give -2.77
    True
    """

    hidden_layer_sizes: Any = parameter(default=(500,), constraint=["array-like", *COUNT])
    activation: str = parameter(default="relu", constraint=[StrOptions(set(ACTIVATIONS))])
    direct_connections: bool = parameter(default=True, constraint=["boolean"])
    degrees: str = parameter(default="even", constraint=[StrOptions({"even", "random"})])
    redrawn: float = parameter(default=1.0, constraint=[Interval(Real, 0, 1, closed="both")])
    n_masks: int | str = parameter(default=1, constraint=[*MEMBERS, StrOptions({"unlimited"})])
    n_scoring_masks: int = parameter(default=10, constraint=MEMBERS)
    order_agnostic: bool = parameter(default=False, constraint=["boolean"])
    dropout: float = parameter(default=0.0, constraint=[Interval(Real, 0, 1, closed="left")])

    _network_kinds = (Masked,)

    def _network(self, sizes: dict[str, Any], seed: int) -> Masked:
        return Masked(
            hidden_layer_sizes=check_layer_sizes(self.hidden_layer_sizes),
            activation=self.activation,
            direct_connections=self.direct_connections,
            degrees=self.degrees,
            redrawn=self.redrawn,
            n_masks=self.n_masks,
            n_scoring_masks=self.n_scoring_masks,
            order_agnostic=self.order_agnostic,
            dropout=self.dropout,
            seed=seed,
            markov_order=self.markov_order or self.distribution_.n_features,
            **sizes,
        )

    @property
    def masks_(self) -> Params | list[Params]:
        """Which weights are shown, by name; a list of such dicts if there are several sets."""
        network = self._model().network
        assert isinstance(network, Masked)
        masks = network.mask_arrays()
        return masks[0] if network.n_masks == 1 else masks


@documented
@parameters
class FVSBN(AnswersQuestions, AutoregressiveDensity, OrderParameter, MarkovOrderParameter):
    r"""Fully visible sigmoid belief network [1]_ [2]_: one linear model a feature.

    .. math::
        p(x_d \mid x_{<d}) = f(x_d; b_d + \sum_{k<d} L_{dk} x_k)

    for binary data a logistic regression of each feature on those before it.

    Parameters
    ----------
    {shared_parameters}

    Attributes
    ----------
    params_ : dict of arrays, views on `theta_`
        L (D, P, D), strictly lower triangular in `order_` ((D, P, D, Q) where features have Q
        rows, as in `NADE`); b (D, P).
    n_parameters_ : int
        D (D + 1) / 2 for binary data.
    {shared_attributes}

    References
    ----------
    .. [1] R. M. Neal, "Connectionist learning of belief networks", Artificial Intelligence 56,
       1992.
    .. [2] B. J. Frey, G. E. Hinton, P. Dayan, "Does the wake-sleep algorithm produce good density
       estimators?", NIPS 1995.

    Examples
    --------
    >>> import numpy as np
    >>> from fastar import FVSBN
    >>> x = np.random.default_rng(0).integers(0, 2, (200, 1))
    >>> X = np.column_stack([x, x])  # the second copies the first
    >>> model = FVSBN(solver="adam", learning_rate_init=0.1, random_state=0).fit(X)
    >>> bool(model.score(X) > -0.75)  # at best -log 2 = -0.69; independent columns give -1.39
    True
    """

    _network_kinds = (Masked,)

    def _network(self, sizes: dict[str, Any], seed: int) -> Masked:
        return Masked(
            markov_order=self.markov_order or self.distribution_.n_features,
            **sizes,
        )
