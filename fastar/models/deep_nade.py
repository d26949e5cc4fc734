"""Deep NADE: one network for every order of the features."""

from __future__ import annotations

import copy
from typing import Any, Self

from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import check_is_fitted

from fastar._core.limits import MOST_MEMBERS
from fastar._core.validation import check_count, check_layer_sizes
from fastar.conditionals import Conditional
from fastar.models._density import AutoregressiveDensity
from fastar.models._documentation import documented
from fastar.models._parameters import COUNT, MEMBERS, OrderParameter, parameter, parameters
from fastar.models._questions import AnswersQuestions
from fastar.networks import Orderless
from fastar.networks._orderless import ACTIVATIONS

__all__ = ["DeepNADE"]


@documented
@parameters
class DeepNADE(AnswersQuestions, AutoregressiveDensity, OrderParameter):
    r"""Order-agnostic autoregressive density estimator of any depth [1]_.

    .. math::
        p_o(x) = \prod_d p(x_{o_d} \mid x_{o_{<d}}), \quad
        p(x_d \mid x_{\text{known}}) = f(x_d; (b + h_L W_L)_d), \quad
        h_l = g(c_l + h_{l-1} W_{l-1})

    where h_0 has the known features and an indicator of each unknown one. A step of
    training takes a random part of each row as known and weighs the others so that the expectation
    is the mean of log p_o over all orders o. Afterwards the network serves any order: any evidence
    is conditioned on exactly, `log_marginal`, `impute` and `sample(evidence=..)` have no sampling
    error in what is known, and an ensemble over orders costs no training.

    A score along an order takes D passes over the hidden layers but the first, O(D H^2) a row where
    there are more than one; O(D H) where there is one.

    Parameters
    ----------
    hidden_layer_sizes : tuple of int, default=(500, 500)
        Units of each hidden layer.
    activation : {"sigmoid", "tanh", "relu"}, default="relu"
        g.
    n_orders : int, default=1
        Orders, at most 65,536, whose densities are averaged in scores and among which samples
        choose: that of `order`, and random ones; see `with_orders`.
    {shared_parameters}

    Attributes
    ----------
    params_ : dict of arrays, views on `theta_`
        W0 (D, Q, H_1), the last of a feature's Q rows for its being unknown; c0 (H_1,), .., the
        last W (H_L, D, P); b (D, P). Features in `order_`. Where features differ in Q or P, one
        axis of sum Q, or sum P, by `input_offsets_` and `output_offsets_`.
    n_parameters_ : int
    {shared_attributes}
        The held-out rows' entry is an estimate of the mean over all orders.

    References
    ----------
    .. [1] B. Uria, I. Murray, H. Larochelle, "A deep and tractable density estimator", ICML 2014.

    Examples
    --------
    >>> import numpy as np
    >>> from fastar import DeepNADE
    >>> x = np.random.default_rng(0).integers(0, 2, (500, 1))
    >>> X = np.column_stack([x, 1 - x, x])
    >>> model = DeepNADE(hidden_layer_sizes=(32,), learning_rate_init=0.01, random_state=0).fit(X)
    >>> model.impute([[np.nan, np.nan, 1.0]]).tolist()
    [[1.0, 0.0, 1.0]]
    """

    hidden_layer_sizes: Any = parameter(default=(500, 500), constraint=["array-like", *COUNT])
    activation: str = parameter(default="relu", constraint=[StrOptions(set(ACTIVATIONS))])
    n_orders: int = parameter(default=1, constraint=MEMBERS)

    def with_orders(self, n_orders: int) -> Self:
        """Return a copy of the fitted model that averages over so many orders.

        Parameters
        ----------
        n_orders : int

        Returns
        -------
        DeepNADE
            With the same parameters and the same first orders.
        """
        check_is_fitted(self, "theta_")
        new = copy.copy(self)
        new.n_orders = check_count("n_orders", n_orders, most=MOST_MEMBERS)
        new.network_ = new._rebuild_network()
        return new

    def _fit_conditional(self, conditional: Conditional) -> Conditional:
        return conditional.with_gaps()

    _network_kinds = (Orderless,)

    _splits_columns = False  # one pass shows every subset of the features, not of the columns

    def _network(self, sizes: dict[str, Any], seed: int) -> Orderless:
        return Orderless(
            hidden_layer_sizes=check_layer_sizes(self.hidden_layer_sizes),
            activation=self.activation,
            n_orders=self.n_orders,
            seed=seed,
            **sizes,
        )
