"""Docstrings that models share."""

from __future__ import annotations

import inspect
from typing import TypeVar

from fastar.models._base import TrainableModel

Model = TypeVar("Model", bound=TrainableModel)


_SHARED = {
    "shared_attributes": """\
theta_ : array
    All parameters in one vector.
distribution_ : Conditional
    The fitted conditional.
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
    cls.__doc__ = doc
    return cls
