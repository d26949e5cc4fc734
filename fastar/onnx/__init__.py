"""Fitted models as ONNX graphs, which score rows without Python. Needs onnx.

The library onnx is imported where a graph is written, not where this module is imported.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from fastar._core.files import whole_file
from fastar._core.validation import unwrap_frozen
from fastar._data.containers import Container
from fastar._data.frames import Schema
from fastar.models import Mixture
from fastar.models._fitted import FittedDensity
from fastar.onnx._codes import coded
from fastar.onnx._densities import log_density, log_sum_exp
from fastar.onnx._graph import IR_VERSION, OPSETS, Graph, library
from fastar.onnx._networks import raw_outputs
from fastar.onnx._rows import check_same_numbers, numbers

__all__ = ["export"]


def export(model: Any, path: str | os.PathLike[str]) -> None:
    """Write a graph of log p(x) of rows, which is what `score_samples` returns, to an ONNX file.

    A model that was fitted to an array has one input, ``X`` (n, D), of the array's type. One that
    was fitted to a DataFrame has an input (n,) for each column, by its name: float64, int64, bool,
    or string or int64 for categories. Where a column may miss values, numbers and bools are
    float64, with NaN for a missing value, and a missing string is empty.

    The output, ``log_density`` (n,), is float64: nats, in the user's units. It is -inf where
    `score_samples` refuses a value outside the support, and NaN where it refuses a missing one.

    Parameters
    ----------
    model : NADE, RNADE, MADE, FVSBN, or Mixture of them
        Fitted, without a context. NADE and RNADE without a Markov order. Conditionals may be any
        but Poisson, NegativeBinomial, Calendar, and modelled gaps.
    path : str or path-like
        The file, written whole or not at all.

    Raises
    ------
    ImportError
        onnx is not installed.
    NotFittedError
        The model is not fitted.
    TypeError
        The model is of another class.
    ValueError
        Something of the model, which is named, cannot be exported.

    Notes
    -----
    The graph needs operator set 18, and 4 of ai.onnx.ml, which ONNX Runtime has from 1.17 on. The
    network computes in the model's `dtype`, all else in float64. Memory grows with the rows of a
    call times the sum of the columns' outputs and input weights: call it for some thousand rows at
    a time.

    Examples
    --------
    >>> import os
    >>> import tempfile
    >>> import numpy as np
    >>> import onnxruntime
    >>> from fastar import NADE
    >>> from fastar.onnx import export
    >>> X = np.random.default_rng(0).normal(size=(200, 3))
    >>> model = NADE(n_hidden=8, random_state=0).fit(X)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "model.onnx")
    ...     export(model, path)
    ...     session = onnxruntime.InferenceSession(path)
    >>> (log_density,) = session.run(None, {"X": X})
    >>> bool(np.abs(log_density - model.score_samples(X)).max() < 1e-4)
    True
    """
    onnx = library()
    _check_class(model)
    check_is_fitted(model)
    g, container = Graph(), model._container
    values = numbers(g, container, model.n_features_in_)
    total = g.named(_log_density(g, model, container, values), "log_density")
    made = onnx.helper.make_model(
        g.closed("score_samples", {total: (np.float64, ["n"])}),
        opset_imports=[onnx.helper.make_opsetid(*each) for each in OPSETS.items()],
        ir_version=IR_VERSION,
        producer_name="fastar",
    )
    onnx.checker.check_model(made)
    with whole_file(os.fspath(path)) as file:
        file.write(made.SerializeToString())


def _check_class(model: Any) -> None:
    if not isinstance(model, FittedDensity | Mixture):
        raise TypeError(
            "NADE, RNADE, MADE, FVSBN and mixtures of them can be exported. "
            f"Got {type(model).__name__} instead."
        )


def _log_density(g: Graph, model: Any, container: Container | Schema, values: str) -> str:
    """Return log p(x) (n,) of values (n, C); container: of what the values were read from."""
    model = unwrap_frozen(model)
    _check_class(model)
    if isinstance(model, Mixture):
        pairs = zip(model.weights_, model.estimators_, strict=True)
        joint = [
            g("Add", _log_density(g, member, container, values), np.log(weight))
            for weight, member in pairs
            if weight > 0
        ]
        return _log_of_sum(g, joint)
    check_same_numbers(container, model._container, type(model).__name__)
    composed = model._model()
    found = coded(composed.conditional, g, g.columns(values, composed.order))
    codes = g.cast(found.codes, composed.dtype)
    members = raw_outputs(g, composed.network, composed.params, codes)
    rounded = g.cast(codes, np.float64)  # the numbers whose densities the kernels compute
    scores = [
        log_density(g, composed.conditional, g.cast(raw, np.float64), rounded) for raw in members
    ]
    total = g("Sub", _log_of_sum(g, scores), np.log(len(scores)))
    for term in found.terms:
        total = g("Add", total, g.row_sums(term))
    return total


def _log_of_sum(g: Graph, logarithms: list[str]) -> str:
    """Return the logarithm (n,) of the sum of what has these logarithms."""
    if len(logarithms) == 1:
        return logarithms[0]
    columns = [g("Unsqueeze", each, np.array([1], np.int64)) for each in logarithms]
    return log_sum_exp(g, g("Concat", *columns, axis=1), 1)
