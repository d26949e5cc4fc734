"""The compiled kernels: one module a family, bound from src/bindings."""

import os
from importlib import import_module

# A thread of GNU OpenMP that waits for another spins for 300,000 turns, some 14 ms, before it
# sleeps. On a machine with other work it then burns the very time that the other thread waits for:
# training beside one busy process was 20 times slower. The library reads its settings once, when
# the first module is loaded.
_SPIN = "GOMP_SPINCOUNT"
_ours = not {_SPIN, "OMP_WAIT_POLICY"} & os.environ.keys()
if _ours:
    os.environ[_SPIN] = "10000"
try:
    # "from package import module" alone would raise an ImportError that speaks of circular imports
    import_module("fastar._kernels._cpu")
    from fastar._kernels import _conditionals, _cpu, _inputs, _nade, _optimizers
except ModuleNotFoundError as error:
    raise ImportError(
        "fastar's compiled kernels are not here. A source folder has none: install the package "
        "with 'pip install .' and import it from another folder, or install it editable with "
        "'pip install -e .'."
    ) from error
finally:
    if _ours:
        del os.environ[_SPIN]

__all__ = ["_conditionals", "_cpu", "_inputs", "_nade", "_optimizers"]
