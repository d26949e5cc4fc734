"""The named models: their parameters and documentation. All they do is done elsewhere."""

from __future__ import annotations

from numbers import Integral
from typing import Any, ClassVar

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions

from fastar._base import AutoregressiveDensity
from fastar.conditionals import Conditional
from fastar.networks import SharedHidden
from fastar.networks._shared_hidden import ACTIVATIONS

__all__ = ["BY_NAME", "NADE"]


class NADE(AutoregressiveDensity):
    r"""Neural autoregressive density estimator [1]_.

    .. math::
        p(x) = \prod_d p(x_d \mid x_{<d}), \quad h_d = g(c + \sum_{k<d} x_k W_k), \quad
        p(x_d \mid x_{<d}) = f(x_d; b_d + V_d h_d)

    with one hidden layer whose weights W serve all features, and f the conditional. Exact
    log-likelihoods and samples cost O(D H).

    Parameters
    ----------
    n_hidden : int, default=500
        H, the units of the hidden layer.
    activation : {"sigmoid", "tanh", "relu"}, default="sigmoid"
        g.
    distribution : {"auto", "bernoulli", "categorical", "gaussian"} or Conditional, default="auto"
        f. "auto" takes Bernoulli where X holds 0 and 1 alone, categorical for other integer types,
        and Gaussian for the rest.
    order : {"natural", "random"} or permutation of the columns, default="natural"
        The order of the features in the product.
    markov_order : int or None, default=None
        x_d sees only so many features before it, all of them by default.
    solver : {"sgd", "adam", "adagrad", "adadelta", "rmsprop"} or Optimizer, default="adam"
    learning_rate_init : float or None, default=None
        First learning rate; None stands for the solver's own (adam and rmsprop 0.001, sgd and
        adagrad 0.01, adadelta 1).
    learning_rate : Schedule or its name, default="constant"
        One of "constant", "invscaling", "linear", "cosine" and "adaptive".
    alpha : float, default=0
        Weight decay of W and V (a Gaussian prior): each step multiplies them by 1 - rate * alpha.
    batch_size : int, default=100
        Rows of a minibatch.
    max_iter : int, default=1000
        Most epochs.
    tol : float, default=1e-4
        Nats by which an epoch must improve on the best one to count.
    early_stopping : bool, default=True
        Hold out `validation_fraction` of the rows, stop when their log-likelihood no longer
        improves, and keep the best parameters. Without it the training log-likelihood decides when
        to stop, and the last parameters stay.
    validation_fraction : float, default=0.1
    n_iter_no_change : int, default=10
        Epochs without improvement after which training stops; an epoch of fewer than 20 minibatches
        counts for that share of 20.
    warm_start : bool, default=False
        Go on from the parameters of the last `fit`.
    random_state : int, RandomState instance or None, default=None
    n_jobs : int or None, default=None
        Threads; None and -1 stand for all cores this process may use. The results are the same for
        any number.
    verbose : int, default=0
        1 shows a progress bar.
    callbacks : list of callbacks or None, default=None
        See `fastar.callbacks`.
    dtype : {"float32", "float64"}, default="float32"
        What the parameters are kept and computed in.

    Attributes
    ----------
    params_ : dict of arrays, views on `theta_`
        W (D-1, H), row d the weights of the d-th feature in `order_` ((D-1, Q, H) for categorical
        features of up to Q levels); c (H,); V (D-1, P, H) for the second to the last feature;
        b (D, P).
    theta_ : array (n_parameters_,)
    n_parameters_ : int
    distribution_ : Conditional
        What was chosen, with what it learnt.
    order_ : int array (D,)
        order_[k] is the column that comes k-th.
    n_features_in_, feature_names_in_ : as in scikit-learn
    n_iter_, best_iter_ : int
        Epochs trained, and the one whose parameters were kept.
    loss_curve_, validation_curve_ : list of float
        Mean negative log-likelihood in nats an example, an entry an epoch: of the training rows
        while they were visited, and of the held-out rows after the epoch.
    impute_ess_ : array (n,)
        Effective sample sizes of the last `impute`.

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

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **AutoregressiveDensity._parameter_constraints,
        "n_hidden": [Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions(set(ACTIVATIONS))],
    }

    def __init__(
        self,
        *,
        n_hidden: int = 500,
        activation: str = "sigmoid",
        distribution: Any = "auto",
        order: Any = "natural",
        markov_order: int | None = None,
        solver: Any = "adam",
        learning_rate_init: float | None = None,
        learning_rate: Any = "constant",
        alpha: float = 0.0,
        batch_size: int = 100,
        max_iter: int = 1000,
        tol: float = 1e-4,
        early_stopping: bool = True,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        warm_start: bool = False,
        random_state: Any = None,
        n_jobs: int | None = None,
        verbose: int = 0,
        callbacks: Any = None,
        dtype: Any = "float32",
    ) -> None:
        self.n_hidden = n_hidden
        self.activation = activation
        self.distribution = distribution
        self.order = order
        self.markov_order = markov_order
        self.solver = solver
        self.learning_rate_init = learning_rate_init
        self.learning_rate = learning_rate
        self.alpha = alpha
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.tol = tol
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.warm_start = warm_start
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.verbose = verbose
        self.callbacks = callbacks
        self.dtype = dtype

    def _network(self, n_features: int, conditional: Conditional) -> SharedHidden:
        return SharedHidden(
            n_features,
            conditional.n_outputs,
            conditional.inputs,
            n_hidden=self.n_hidden,
            activation=self.activation,
            markov_order=n_features if self.markov_order is None else self.markov_order,
            dtype=np.dtype(self.dtype),
        )


BY_NAME: dict[str, type[AutoregressiveDensity]] = {"NADE": NADE}
