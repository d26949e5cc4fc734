"""The compiled kernels: one module a family, bound from src/bindings."""

try:
    from fastar._kernels._cpu import isa_name
except ModuleNotFoundError as error:
    raise ImportError(
        "fastar's compiled kernels are not here. A source folder has none: install the package "
        "with 'pip install .' and import it from another folder, or install it editable with "
        "'pip install -e .'."
    ) from error

from fastar._kernels import _conditionals, _cpu, _inputs, _nade, _optimizers

__all__ = ["_conditionals", "_cpu", "_inputs", "_nade", "_optimizers", "isa_name"]
