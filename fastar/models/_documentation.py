"""Docstrings that models share."""

from __future__ import annotations

import inspect
from typing import TypeVar

Documented = TypeVar("Documented")


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
    "top_p_and_top_k": """\
top_p, top_k : float and int or None, default=None
    Levels, that is, values of Bernoulli and categorical conditionals and the choice among
    atoms, are drawn from the most probable ones alone: from the fewest that have the share
    top_p of the mass, and from top_k at most. Numbers, counts and ordinal levels are drawn
    as they are. The samples are not those of the density.
""",
    "exclude_and_unique": """\
exclude : array-like, DataFrame or CSR matrix of shape (m, D), optional
    Rows that no sample is to equal, such as the training table, which a fitted model does
    not keep. A sample that does is drawn anew, up to 100 times: samples are those of the
    density given that they are none of these rows.
unique : bool, default=False
    Whether no two samples may be equal, either. Needs `exclude`.
""",
    "out_of_sample": """\
out : path, optional
    A Parquet file to which the rows are written, many at a time: other ones than without
    it. `evidence` is then one row, and `unique` False.
""",
    "rows_to_impute": """\
X : array-like, DataFrame, mapping or list of mappings of shape (n, D)
    With `out` also what is read batch by batch, as in `score_samples`.
context : array-like or DataFrame of shape (n, C), optional
    As in `score_samples`.
n_draws : int, default=1
    Completions of each row.
""",
    "out_of_impute": """\
out : path, optional
    A Parquet file to which the rows are written, many at a time. Another one than that of X.
""",
    "imputed": """\
ndarray or DataFrame of shape (n, D), or ndarray of shape (n_draws, n, D) if n_draws > 1
    None with `out`.
""",
    "rows_to_score": """\
X : array-like, DataFrame, CSR matrix of shape (n, D), or table read batch by batch
    A table that is read batch by batch is a path of Parquet, or another source as in `fit`; its
    columns may have another order than in `fit`, and those of the weights of `fit` beside them.
context : array-like or DataFrame of shape (n, C), optional
    For a model that was fitted with one: of the same columns. Where X is read batch by
    batch: the names of its columns that are the context.
out : path, optional
    A Parquet file to which the scores are written batch by batch, as column `log_density`.
    Another one than that of X.
""",
    "errors_and_warnings_of_fit": """\
Raises
------
ValueError
    A parameter or an argument breaks a rule that the message names.
FloatingPointError
    The log-likelihood became NaN or infinite. A model that was fitted before stays as it
    was; another one has the last good parameters of this fit.

Warns
-----
ConvergenceWarning
    Training reached `max_iter` before it settled, with a rate that does not fall to zero
    there, or was interrupted by Ctrl-C.
""",
    "rest_of_log_marginal": """\
context : array-like or DataFrame of shape (n, C), optional
n_particles : int, default=64
random_state : int, RandomState instance or None

Returns
-------
ndarray of shape (n,), float64
    Nats. `marginal_ess_` (n,) has the effective numbers of samples at the end;
    `n_particles` where the result is exact.

References
----------
.. [1] A. Doucet, A. M. Johansen, "A tutorial on particle filtering and smoothing", Oxford
   Handbook of Nonlinear Filtering, 2011.
""",
}


def documented(given: Documented) -> Documented:
    """Put what models share into the docstring of a class or of a method."""
    doc = inspect.cleandoc(given.__doc__ or "")
    for name, text in _SHARED.items():
        doc = doc.replace("{" + name + "}", text.rstrip())
    given.__doc__ = doc
    return given
