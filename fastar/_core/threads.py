"""How many threads a call may use."""

from __future__ import annotations

import os

import joblib

_forked = False

# Multiply-adds below which waking a thread costs more than it saves (a few microseconds).
_WORTH_A_THREAD = 200_000

MAX_THREADS = 256
"""The most threads that a call uses, unless there are more cores: each has a stack of its own."""


def _after_fork() -> None:
    # GNU OpenMP's pool does not survive a fork: a child that enters a parallel region of more than
    # one thread waits for ever.
    global _forked
    _forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _allowed() -> int:
    cores: int = joblib.cpu_count()
    limit = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return min(cores, int(limit)) if limit.isdigit() and int(limit) > 0 else cores


def effective_n_threads(n_jobs: int | None) -> int:
    """Return the number of threads for `n_jobs`: all cores for None and -1, all but one for -2.

    It is at most `MAX_THREADS`, or the number of cores where that is larger.
    """
    if n_jobs == 0:
        raise ValueError(
            "The 'n_jobs' parameter must be None or an int other than 0. Got 0 instead."
        )
    if _forked:
        return 1
    cores = _allowed()
    if n_jobs is None:
        return cores
    return min(n_jobs, max(cores, MAX_THREADS)) if n_jobs > 0 else max(1, cores + 1 + n_jobs)


def useful_n_threads(n_threads: int, multiply_adds: float) -> int:
    """Return `n_threads`, or fewer when the work is too small to be shared."""
    return max(1, min(n_threads, int(multiply_adds / _WORTH_A_THREAD) + 1))
