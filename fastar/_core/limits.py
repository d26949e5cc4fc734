"""How large a model may be, and what a call may ask of memory: the one place that decides.

Sizes whose cost follows from no array, such as a number of layers, have a fixed limit. What a call
returns, or needs at once, must fit into the memory of the process, and is refused before it is
made.
"""

from __future__ import annotations

import os
from typing import Any

MOST_LAYERS = 1 << 10
"""Hidden layers."""
MOST_UNITS = 1 << 24
"""Units of a hidden layer."""
MOST_MEMBERS = 1 << 16
"""Sets of masks, orders, or members of a mixture: each takes as long as a model of its own."""
MOST_LEVELS = 1 << 16
"""Levels of a value of an image: those of 16 bits."""
MOST_STEPS = 1 << 31
"""Steps of a sequence, and values of a step."""

_FITS = 1 << 26
"""Bytes for which the system is not asked: that takes as long as a small call."""
_OF_CONTAINERS = (
    "/sys/fs/cgroup/memory.max",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
)


def memory_bytes() -> int | None:
    """Return the memory that this process may use at most; None where the system does not tell.

    That of the machine, or less where a container or the user's limits allow less.
    """
    found = []
    if hasattr(os, "sysconf"):
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for path in _OF_CONTAINERS:
        try:
            with open(path) as file:
                found.append(int(file.read()))
        except (OSError, ValueError):  # there is no such limit
            continue
    try:
        import resource
    except ImportError:
        pass
    else:
        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        found += [limit] if limit != resource.RLIM_INFINITY else []
    return min((each for each in found if each > 0), default=None)


class BeyondMemoryError(ValueError):
    """A model, and the vectors of its training, do not fit into memory."""


def beyond_memory(n_bytes: int) -> str | None:
    """Return how many bytes these are of those that there are; None where they fit."""
    most = memory_bytes() if n_bytes > _FITS else None
    if most is None or n_bytes <= most:
        return None
    return f"{n_bytes / 1e9:.3g} GB of {most / 1e9:.3g} GB"


def check_memory(name: str, value: Any, n_bytes: int) -> None:
    """Raise ValueError if what the argument asks for does not fit into memory."""
    if beyond := beyond_memory(n_bytes):
        raise ValueError(
            f"{name} must be so small that the call fits into memory. Got {value!r} instead, for "
            f"which it takes {beyond}."
        )
