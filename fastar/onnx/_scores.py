"""From values to log p(x), of a model and of mixtures."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastar._core.validation import unwrap_frozen
from fastar._data.containers import Container
from fastar._data.frames import Schema
from fastar.models._fitted import FittedDensity
from fastar.models._fitted_mixture import FittedMixture
from fastar.onnx._codes import coded
from fastar.onnx._densities import log_density, log_sum_exp
from fastar.onnx._graph import Graph
from fastar.onnx._networks import raw_outputs
from fastar.onnx._rows import check_same_numbers


def check_class(model: Any) -> None:
    """Raise TypeError unless a model is of a class that graphs are written for."""
    if not isinstance(model, FittedDensity | FittedMixture):
        raise TypeError(
            "NADE, RNADE, MADE, FVSBN and mixtures of them can be exported. "
            f"Got {type(model).__name__} instead."
        )


def log_density_of(g: Graph, model: Any, container: Container | Schema, values: str) -> str:
    """Return log p(x) (n,) of values (n, C); container: of what the values were read from."""
    model = unwrap_frozen(model)
    check_class(model)
    if isinstance(model, FittedMixture):
        pairs = zip(model.weights_, model.estimators_, strict=True)
        joint = [
            g("Add", log_density_of(g, member, container, values), np.log(weight))
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
