"""An ONNX graph that is being written."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

import numpy as np

from fastar._core.parameters import Array

OPSETS = {"": 18, "ai.onnx.ml": 4}
IR_VERSION = 9


def library() -> Any:
    """Return the module onnx; ImportError that says how to get it."""
    try:
        import onnx
    except ImportError as error:
        raise ImportError("fastar.onnx needs onnx: pip install 'fastar-density[onnx]'.") from error
    return onnx


class Graph:
    """Nodes, constants and inputs, in the order in which they are added.

    Parameters
    ----------
    outer : Graph, optional
        The graph that this is a body of: no name is in both.
    """

    def __init__(self, outer: Graph | None = None) -> None:
        self._onnx = library()
        self._numbers: Iterator[int] = outer._numbers if outer else count()
        self._taken: set[str] = outer._taken if outer else set()
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._inputs: list[Any] = []

    def _name(self) -> str:
        return self._free(map("v{}".format, self._numbers))

    def _free(self, names: Iterator[str]) -> str:
        return next(name for name in names if name not in self._taken)

    def _tensor_type(self, dtype: Any) -> int:
        kind: int = self._onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return kind

    def input(self, dtype: Any, shape: list[Any], name: str | None = None) -> str:
        """Add an input of this type (object: strings) and shape, and return its name."""
        name = self._name() if name is None else name
        self._taken.add(name)
        describe = self._onnx.helper.make_tensor_value_info
        self._inputs.append(describe(name, self._tensor_type(dtype), shape))
        return name

    def constant(self, array: Array) -> str:
        """Add a constant, and return its name."""
        name = self._name()
        tensor = self._onnx.numpy_helper.from_array(np.asarray(array, order="C"), name)
        self._constants.append(tensor)
        return name

    def __call__(self, operator: str, *inputs: str | Array, **attributes: Any) -> str:
        """Add a node of one output, and return its name. inputs: names, or arrays of constants."""
        return self.several(1, operator, *inputs, **attributes)[0]

    def several(
        self, n_outputs: int, operator: str, *inputs: str | Array, **attributes: Any
    ) -> list[str]:
        """Add a node of several outputs, and return their names."""
        given = [each if isinstance(each, str) else self.constant(each) for each in inputs]
        outputs = [self._name() for _ in range(n_outputs)]
        # named, for ONNX Runtime 1.18 makes names of those of nodes, and wants no name twice
        node = self._onnx.helper.make_node(operator, given, outputs, name=outputs[0], **attributes)
        self._nodes.append(node)
        return outputs

    def named(self, value: str, name: str) -> str:
        """Return a value under this name, with underscores behind it if an input has the name."""
        own = self._free(name + "_" * length for length in count())
        self._nodes.append(self._onnx.helper.make_node("Identity", [value], [own]))
        return own

    def cast(self, value: str, dtype: Any) -> str:
        """Return a value as another type."""
        return self("Cast", value, to=self._tensor_type(dtype))

    def columns(self, value: str, which: Array) -> str:
        """Return some of the columns (n, m) of a matrix."""
        return self("Gather", value, np.asarray(which, np.int64), axis=1)

    def reshape(self, value: str, *axes: int) -> str:
        """Return rows of another shape: (n, *axes)."""
        return self("Reshape", value, np.array([0, *axes], np.int64))

    def row_sums(self, value: str) -> str:
        """Return the sums (n,) of the rows of a matrix."""
        return self("ReduceSum", value, np.array([1], np.int64), keepdims=0)

    def repeated(self, row: Array, like: str) -> str:
        """Return a row (m,) as often as a value has rows: (n, m)."""
        n = self("Shape", like, start=0, end=1)
        shape = self("Concat", n, np.array([len(row)], np.int64), axis=0)
        return self("Expand", row[None], shape)

    def looked_up(self, value: str, keys: Array, found: Array, default: float) -> str:
        """Return the float64 that goes with each value among the keys, `default` with others."""
        if keys.dtype.kind == "f":
            return self._searched(value, keys, found, default)
        tensor = self._onnx.numpy_helper.from_array
        return self(
            "LabelEncoder",
            value,
            domain="ai.onnx.ml",
            keys_tensor=tensor(keys, "keys"),
            values_tensor=tensor(found.astype(np.float64), "values"),
            default_tensor=tensor(np.array([default]), "default"),
        )

    def _searched(self, value: str, keys: Array, found: Array, default: float) -> str:
        """Return what `looked_up` does, for keys of which one may be NaN, by bisection.

        The operator for it takes float64 from version 4 of ai.onnx.ml on, which skl2onnx lacks.
        """
        is_nan = np.isnan(keys)
        order = np.argsort(keys[~is_nan])
        size = 1 << max(len(order) - 1, 0).bit_length()
        padded = np.full((2, size), [[np.inf], [default]])
        padded[:, : len(order)] = keys[~is_nan][order], found[~is_nan][order]
        own_keys, own_found = (self.constant(each) for each in padded)
        place = self.constant(np.zeros((), np.int64))
        while size := size // 2:
            ahead = self("Add", place, np.array(size))
            reached = self("GreaterOrEqual", value, self("Gather", own_keys, ahead))
            place = self("Where", reached, ahead, place)
        hit = self("Equal", value, self("Gather", own_keys, place))
        known = self("Where", hit, self("Gather", own_found, place), np.array(default))
        if not is_nan.any():
            return known
        return self("Where", self("IsNaN", value), found[is_nan].astype(np.float64), known)

    def body(self) -> Graph:
        """Return an empty graph for what a node repeats."""
        return Graph(self)

    def closed(self, name: str, outputs: dict[str, tuple[Any, list[Any]]]) -> Any:
        """Return ONNX's graph with these outputs, each of a type and shape."""
        describe = self._onnx.helper.make_tensor_value_info
        told = [
            describe(each, self._tensor_type(dtype), shape)
            for each, (dtype, shape) in outputs.items()
        ]
        return self._onnx.helper.make_graph(
            self._nodes, name, self._inputs, told, initializer=self._constants
        )


def asinh(g: Graph, x: str) -> str:
    """Return asinh(x), of which runtimes have none in double precision."""
    size = g("Abs", x)
    near = g("Min", size, np.array(1e8))  # whose square is finite
    root = g("Sqrt", g("Add", g("Mul", near, near), np.array(1.0)))
    small = g("Log", g("Add", near, root))
    large = g("Add", g("Log", g("Max", size, np.array(1.0))), np.array(np.log(2)))
    own = g("Where", g("Greater", size, np.array(1e8)), large, small)
    return g("Mul", g("Sign", x), own)
