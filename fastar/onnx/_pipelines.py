"""Densities at the end of scikit-learn's pipelines, for skl2onnx."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from fastar._data.containers import Container
from fastar._data.frames import Schema
from fastar.models import FVSBN, MADE, NADE, RNADE, AutoDensity, Mixture
from fastar.onnx._graph import OPSETS, Graph, library
from fastar.onnx._scores import log_density_of


def register_skl2onnx() -> None:
    """Let skl2onnx convert pipelines that end with a density of this library.

    The density's output, ``log_density`` (n,), is float64: log p in nats of the rows that the steps
    before it give, which is what `Pipeline.score_samples` returns. Classes are NADE, RNADE, MADE,
    FVSBN, Mixture and AutoDensity; what `export` refuses is refused here too, and so are densities
    that were fitted to categories of a DataFrame, for a step gives numbers.

    Raises
    ------
    ImportError
        skl2onnx is not installed.

    See Also
    --------
    export : Write a density alone, with the user's own columns as inputs.

    Notes
    -----
    Graphs need a target of operator set 18 or later. Steps before the density compute in the type
    of the example that skl2onnx is given: with float64, they give what scikit-learn's steps do.

    Examples
    --------
    >>> import numpy as np
    >>> import onnxruntime
    >>> from skl2onnx import to_onnx
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from fastar import NADE
    >>> from fastar.onnx import register_skl2onnx
    >>> register_skl2onnx()
    >>> X = np.random.default_rng(0).normal(5, 2, size=(200, 3))
    >>> model = make_pipeline(StandardScaler(), NADE(n_hidden=8, random_state=0)).fit(X)
    >>> graph = to_onnx(model, X[:1])
    >>> session = onnxruntime.InferenceSession(graph.SerializeToString())
    >>> (log_density,) = session.run(["log_density"], {"X": X})
    >>> bool(np.abs(log_density - model.score_samples(X)).max() < 1e-4)
    True
    """
    try:
        from skl2onnx import update_registered_converter
    except ImportError as error:
        raise ImportError(
            "fastar.onnx.register_skl2onnx needs skl2onnx: pip install skl2onnx."
        ) from error
    for kind in (NADE, RNADE, MADE, FVSBN, Mixture, AutoDensity):
        name = f"Fastar{kind.__name__}"
        update_registered_converter(kind, name, _set_shapes, _convert, parser=_parse)


def _parse(scope: Any, model: Any, inputs: list[Any], custom_parsers: Any = None) -> list[Any]:
    """Return the variables that a density gives to a graph."""
    from skl2onnx import get_model_alias
    from skl2onnx.common.data_types import DoubleTensorType

    check_is_fitted(model)
    operator = scope.declare_local_operator(get_model_alias(type(model)), model)
    operator.inputs = inputs
    operator.outputs.append(scope.declare_local_variable("log_density", DoubleTensorType()))
    found: list[Any] = operator.outputs
    return found


def _set_shapes(operator: Any) -> None:
    """Check the inputs of a density, and set the shape of its output."""
    model = operator.raw_operator
    _check_container(model._container)
    widths = [each.type.shape[1] for each in operator.inputs]
    if None not in widths and sum(widths) != model.n_features_in_:
        raise ValueError(
            f"{type(model).__name__} was fitted to {model.n_features_in_} columns. Got "
            f"{sum(widths)} from the step before it."
        )
    operator.outputs[0].type.shape = [None]


def _check_container(container: Container | Schema) -> None:
    """Raise ValueError unless a density was fitted to numbers that a step can give."""
    if isinstance(container, Schema):
        coded = [
            column.name
            for column in container.columns
            if column.type == "category" or column.offset
        ]
        if coded:
            raise ValueError(
                f"Column {coded[0]!r} has categories, or integers beyond 2**53: no step of a "
                "pipeline gives them to a graph. Write the density alone with fastar.onnx.export."
            )
    elif container.offsets is not None:
        raise ValueError(
            "X of fit has integers beyond 2**53, which no step of a pipeline gives to a graph. "
            "Write the density alone with fastar.onnx.export."
        )


def _convert(scope: Any, operator: Any, container: Any) -> None:
    """Add the nodes of a density to skl2onnx's container."""
    if container.target_opset < OPSETS[""]:
        raise ValueError(
            f"target_opset must be {OPSETS['']} or more. Got {container.target_opset} instead."
        )
    model, g = operator.raw_operator, Graph()
    given = [g.input(np.float64, ["n", None]) for _ in operator.inputs]
    values = given[0] if len(given) == 1 else g("Concat", *given, axis=1)
    total = log_density_of(g, model, model._container, values)
    prefix = scope.get_unique_operator_name(type(model).__name__) + "_"
    closed = g.closed("score_samples", {total: (np.float64, ["n"])})
    graph = library().compose.add_prefix_graph(closed, prefix)
    double = library().TensorProto.DOUBLE
    for variable, name in zip(operator.inputs, given, strict=True):
        container.add_node("Cast", variable.full_name, prefix + name, to=double)
    container.nodes.extend(graph.node)
    container.initializers.extend(graph.initializer)
    container.add_node("Identity", prefix + total, operator.outputs[0].full_name)
    container.node_domain_version_pair_sets.add(("", OPSETS[""]))
