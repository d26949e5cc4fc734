"""Docstrings that models share."""

from __future__ import annotations

import inspect
from typing import TypeVar

from fastar.models._base import AutoregressiveDensity

Model = TypeVar("Model", bound=AutoregressiveDensity)


_SHARED = {
    "shared_parameters": """\
distribution : str, Conditional, list or dict, default={distribution}
    f: "bernoulli", "categorical", "gaussian", "laplace", "gaussian_mixture", "laplace_mixture",
    "logistic_mixture", "poisson", "negative_binomial", an object of `fastar.conditionals`, or
    "auto", which takes Bernoulli where X holds 0 and 1 alone, categorical for other integer types,
    and Gaussian for the rest. A DataFrame is judged column by column: strings and categories are
    categorical too, integers of more than 100 values logistic mixtures. A list has one of these
    for each column, a dict has them by column; what it leaves out is "auto".
order : {"natural", "random"} or permutation of the columns, default="natural"
    The order of the features in the product.
{training_parameters}""",
    "training_parameters": """\
solver : {"sgd", "adam", "adagrad", "adadelta", "rmsprop"} or Optimizer, default="adam"
learning_rate_init : float or None, default=None
    First learning rate; None stands for the solver's own (adam and rmsprop 0.001, sgd and
    adagrad 0.01, adadelta 1).
learning_rate : Schedule or its name, default="constant"
    One of "constant", "invscaling", "linear", "cosine" and "adaptive".
alpha : float, default=0
    Weight decay of the weights, not the biases (a Gaussian prior): each step multiplies them by
    1 - rate * alpha.
max_gradient_norm : float or None, default={max_gradient_norm}
    Longer gradients are shortened to this norm before a step.
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
    any number; more than 256 (or than there are cores) are never started.
verbose : int, default=0
    1 shows a progress bar.
callbacks : list of callbacks or None, default=None
    See `fastar.callbacks`.
dtype : {"float32", "float64"}, default="float32"
    What the parameters are kept and computed in.
""",
    "markov_order": """\
markov_order : int or None, default=None
    x_d sees only so many features before it, all of them by default.
""",
    "shared_attributes": """\
theta_ : array
    All parameters in one vector.
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
""",
}


def documented(cls: type[Model]) -> type[Model]:
    """Put what all models share into the docstring."""
    doc = inspect.cleandoc(cls.__doc__ or "")
    for name, text in _SHARED.items():
        doc = doc.replace("{" + name + "}", text.rstrip())
    for name, parameter in inspect.signature(cls).parameters.items():
        doc = doc.replace("default={" + name + "}", f"default={parameter.default!r}")
    cls.__doc__ = doc
    return cls
