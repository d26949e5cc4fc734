"""Binary NADE in other frameworks, with one small interface, to time fastar against."""

from importlib import import_module

__all__ = ["MISSING", "available"]

#: Why a peer module was left out by the last call of `available`, by framework.
MISSING: dict[str, str] = {}


def available() -> list[type]:
    """
    List the peer classes whose framework can be imported.

    Returns
    -------
    list of type
        Classes taking ``(params, activation, n_threads)``. The reason for each framework
        left out is in `MISSING`.
    """
    peers: list[type] = []
    MISSING.clear()
    for framework in ("torch", "jax"):
        try:
            module = import_module(f"{__name__}.{framework}_nade")
        except (ImportError, OSError, RuntimeError, AttributeError) as error:
            MISSING[framework] = f"{type(error).__name__}: {error}"
        else:
            peers.extend(module.PEERS)
    return peers
