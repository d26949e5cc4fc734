"""Networks with one shared hidden layer: NADE and RNADE."""

from __future__ import annotations

from dataclasses import replace
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions

from fastar import conditionals
from fastar._core.parameters import Array
from fastar._engine.linear_start import linear_start
from fastar._engine.model import Composition
from fastar._kernels._conditionals import MAX_COMPONENTS
from fastar.conditionals import Conditional
from fastar.models._density import AutoregressiveDensity
from fastar.models._documentation import documented
from fastar.models._parameters import (
    UNITS,
    MarkovOrderParameter,
    OrderParameter,
    parameter,
    parameters,
)
from fastar.models._questions import AnswersQuestions
from fastar.networks import Network, SharedHidden
from fastar.networks._shared_hidden import ACTIVATIONS
from fastar.optimizers import Adam, Optimizer

_FEW_ROWS = 1000
"""Fewer rows than these are few."""


@documented
@parameters
class NADE(AnswersQuestions, AutoregressiveDensity, OrderParameter, MarkovOrderParameter):
    r"""Neural autoregressive density estimator [1]_.

    .. math::
        p(x) = \prod_d p(x_d \mid x_{<d}), \quad h_d = g(c + \sum_{k<d} x_k W_k), \quad
        p(x_d \mid x_{<d}) = f(x_d; b_d + V_d h_d)

    with one hidden layer whose weights W serve all features, and f the conditional. Exact
    log-likelihoods and samples cost O(D H).

    Parameters
    ----------
    n_hidden : int or None, default=None
        H, the units of the hidden layer. None: 500 for binary data and for fewer than 1000 rows,
        128 for other tables.
    activation : {"sigmoid", "tanh", "relu"} or None, default=None
        g. None: a sigmoid for binary data, relu for other tables. With fewer than 1000 rows its
        units start linear, from c = 1, and if there are held-out rows, two alternatives are trained
        as well: one that starts from a ridge regression of each real column on the columns before,
        and a sigmoid. Either stays where held-out rows clearly prefer it.
    {shared_parameters}

    Attributes
    ----------
    n_hidden_, activation_ : int, str
        Those of the fitted network.
    params_ : dict of arrays, views on `theta_`
        W (D-1, H), row d the weights of the d-th feature in `order_`, or (D-1, Q, H) where features
        have Q rows: one a level if they are categorical, and a last one for missing values if they
        have them; c (H,); V (D-1, P, H) for the second to the last feature; b (D, P). Where
        features differ in Q or P, W (Q_1 + .. + Q_(D-1), H), V (P_2 + .. + P_D, H) and
        b (P_1 + .. + P_D,), by `input_offsets_` and `output_offsets_`.
    n_parameters_ : int
        (Q_1 + .. + Q_(D-1)) H + (P_2 + .. + P_D) H + H + P_1 + .. + P_D; 2 (D-1) H + H + D for
        binary data.
    {shared_attributes}

    References
    ----------
    .. [1] H. Larochelle, I. Murray, "The neural autoregressive distribution estimator", AISTATS
       2011.

    Examples
    --------
    >>> import numpy as np
    >>> from fastar import NADE
    >>> bits = np.random.default_rng(0).integers(0, 2, (200, 3))
    >>> X = np.column_stack([bits, bits.sum(axis=1) % 2])  # the last one is the others' parity
    >>> model = NADE(n_hidden=32, learning_rate_init=0.03, random_state=0).fit(X)
    >>> bool(model.score(X) > -2.2)  # at best -3 log 2 = -2.08; independent columns give -2.77
    True
    >>> model.sample(2, random_state=0).shape
    (2, 4)
    """

    n_hidden: int | None = parameter(default=None, constraint=[*UNITS, None])
    activation: str | None = parameter(
        default=None, constraint=[StrOptions(set(ACTIVATIONS)), None]
    )
    learning_rate_init: Any = parameter(
        default=None,
        constraint=[Interval(Real, 0, None, closed="neither"), None],
        doc="""float or None, default=None
        First learning rate. None: the solver's own (adam and rmsprop 0.001, sgd and adagrad 0.01,
        adadelta 1), but 0.002 of adam for binary data and for 1000 rows or more.""",
    )
    alpha: Any = parameter(
        default=None,
        constraint=[Interval(Real, 0, None, closed="left"), None],
        doc="""float or None, default=None
        Weight decay of the weights, not the biases (a Gaussian prior): each step multiplies them by
        1 - rate * alpha. None: 500 / rows, at most 0.1.""",
    )

    _network_kinds = (SharedHidden,)

    def _fit_settings(self, n_rows: int) -> None:
        self.activation_ = self.activation or ("sigmoid" if self._is_binary else "relu")
        self.n_hidden_ = self.n_hidden or (500 if self._is_binary or n_rows < _FEW_ROWS else 128)

    def _adjust_start(self, model: Composition, n_rows: int) -> None:
        if self._starts_linear(n_rows):
            # Bends at zero would fit few rows before what is linear in them has been learned.
            model.params["c"][...] = 1

    def _alternatives(
        self, model: Any, start: tuple[Any, Array], n_rows: int, rng: np.random.Generator
    ) -> list[Composition]:
        if not self._starts_linear(n_rows):
            return []
        network = model.network.with_activation("sigmoid")
        smooth = replace(model, network=network, theta=network.zeros())
        smooth.initialise(*start, rng)
        theta = None if self.markov_order is not None else linear_start(model, *start)
        return [smooth] if theta is None else [replace(model, theta=theta), smooth]

    def _starts_linear(self, n_rows: int) -> bool:
        return self.activation is None and not self._is_binary and n_rows < _FEW_ROWS

    def _default_rate(self, solver: Optimizer, n_rows: int) -> float:
        has_many = self._is_binary or n_rows >= _FEW_ROWS
        return 0.002 if has_many and isinstance(solver, Adam) else solver.default_rate

    def _weight_decay(self, n_rows: int) -> float:
        return min(0.1, 500 / n_rows) if self.alpha is None else self.alpha

    @property
    def _is_binary(self) -> bool:
        return isinstance(self.distribution_, conditionals.Bernoulli)

    def _adopt_network(self, network: Network) -> None:
        super()._adopt_network(network)
        assert isinstance(network, SharedHidden)
        self.activation_, self.n_hidden_ = network.activation, network.n_hidden

    def _network(self, sizes: dict[str, Any], seed: int) -> SharedHidden:
        return SharedHidden(
            n_hidden=self.n_hidden or self.n_hidden_,
            activation=self.activation or self.activation_,
            markov_order=self.markov_order or self.distribution_.n_features,
            **sizes,
        )


@documented
@parameters
class RNADE(AnswersQuestions, AutoregressiveDensity, OrderParameter, MarkovOrderParameter):
    r"""Real-valued neural autoregressive density estimator [1]_.

    .. math::
        a_d = c + \sum_{k<d} x_k W_k, \quad h_d = g(\rho_d a_d), \quad
        p(x_d \mid x_{<d}) = f(x_d; b_d + V_d h_d)

    `NADE` for real data: each conditional is a mixture, and each pre-activation, which sums more
    and more terms, is rescaled by a learned factor. Columns are standardised inside; densities are
    those of the user's own units.

    Parameters
    ----------
    n_hidden : int, default=500
        H, the units of the hidden layer.
    activation : {"sigmoid", "tanh", "relu"}, default="relu"
        g.
    n_components : int, default=10
        Components of a mixture that `distribution` gives by name.
    {shared_parameters}

    Attributes
    ----------
    params_ : dict of arrays, views on `theta_`
        W, c, V and b as those of `NADE`; rho (D-1,) for the second to the last feature.
    n_parameters_ : int
    {shared_attributes}

    References
    ----------
    .. [1] B. Uria, I. Murray, H. Larochelle, "RNADE: the real-valued neural autoregressive
       density-estimator", NIPS 2013.

    Examples
    --------
    >>> import numpy as np
    >>> from fastar import RNADE
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(500, 1))
    >>> X = np.hstack([x, x**2 + 0.1 * rng.normal(size=(500, 1))])
    >>> model = RNADE(n_hidden=32, n_components=4, learning_rate_init=0.01, random_state=0).fit(X)
    >>> bool(model.score(X) > -1)  # a Gaussian of two dimensions has -3.2
    True
    >>> model.sample(2, random_state=0).shape
    (2, 2)
    """

    n_hidden: int = parameter(default=500, constraint=UNITS)
    activation: str = parameter(default="relu", constraint=[StrOptions(set(ACTIVATIONS))])
    n_components: int = parameter(
        default=10, constraint=[Interval(Integral, 1, MAX_COMPONENTS, closed="both")]
    )
    distribution: Any = "gaussian_mixture"
    max_gradient_norm: float | None = 10.0

    def _conditional(self, name: str) -> Conditional:
        return conditionals.from_name(name, n_components=self.n_components)

    _network_kinds = (SharedHidden,)

    def _network(self, sizes: dict[str, Any], seed: int) -> SharedHidden:
        return SharedHidden(
            n_hidden=self.n_hidden,
            activation=self.activation,
            rescaled=True,
            markov_order=self.markov_order or self.distribution_.n_features,
            **sizes,
        )
