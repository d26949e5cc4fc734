"""Fitted models as ONNX graphs, which score rows without Python. Needs onnx.

The library onnx is imported where a graph is written, not where this module is imported.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from fastar._core.files import whole_file
from fastar.onnx._graph import IR_VERSION, OPSETS, Graph, library
from fastar.onnx._pipelines import register_skl2onnx
from fastar.onnx._rows import numbers
from fastar.onnx._scores import check_class, log_density_of

__all__ = ["export", "register_skl2onnx"]


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
    model : NADE, RNADE, MADE, FVSBN, or Mixture or AutoDensity of them
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
    check_class(model)
    check_is_fitted(model)
    g, container = Graph(), model._container
    values = numbers(g, container, model.n_features_in_)
    total = g.named(log_density_of(g, model, container, values), "log_density")
    made = onnx.helper.make_model(
        g.closed("score_samples", {total: (np.float64, ["n"])}),
        opset_imports=[onnx.helper.make_opsetid(*each) for each in OPSETS.items()],
        ir_version=IR_VERSION,
        producer_name="fastar",
    )
    onnx.checker.check_model(made)
    with whole_file(os.fspath(path)) as file:
        file.write(made.SerializeToString())
