"""How many threads a call may use."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, CancelledError, Future, wait
from contextvars import ContextVar, copy_context
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

import joblib

Result = TypeVar("Result")

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
    if n_jobs is not None and 0 < n_jobs <= MAX_THREADS:
        return n_jobs  # to ask for the cores takes as long as scoring a few rows
    cores = _allowed()
    if n_jobs is None:
        return cores
    return min(n_jobs, max(cores, MAX_THREADS)) if n_jobs > 0 else max(1, cores + 1 + n_jobs)


def useful_n_threads(n_threads: int, multiply_adds: float) -> int:
    """Return `n_threads`, or fewer when the work is too small to be shared."""
    return max(1, min(n_threads, int(multiply_adds / _WORTH_A_THREAD) + 1))


class ThreadPool:
    """Up to n threads, as many as the system starts; where it starts none, calls run in this one.

    Executors of the standard library raise where a thread cannot start, and may lose its call.
    An error or Ctrl-C in the thread that has the pool ends calls at their next `check_stopped`.
    """

    def __init__(self, n_threads: int) -> None:
        self._outer, self._is_stopped = _pool.get(), False
        self._calls: SimpleQueue[tuple[Future[Any], Callable[..., Any], tuple[Any, ...]] | None]
        self._calls = SimpleQueue()
        self._threads: list[Thread] = []
        for _ in range(n_threads):
            thread = Thread(target=self._work)
            try:
                thread.start()
            except RuntimeError:
                break
            self._threads.append(thread)

    def __enter__(self) -> ThreadPool:
        return self

    def __exit__(self, *error: object) -> None:
        self._is_stopped = error[0] is not None
        for _ in self._threads:
            self._calls.put(None)
        for thread in self._threads:
            thread.join()

    def submit(self, call: Callable[..., Result], *arguments: Any) -> Future[Result]:
        """Return the future of call(*arguments)."""
        future: Future[Result] = Future()
        if self._threads:
            self._calls.put((future, call, arguments))
            return future
        copy_context().run(_run, future, call, arguments)
        if isinstance(error := future.exception(), KeyboardInterrupt):
            raise error
        return future

    def map(self, call: Callable[..., Result], *arguments: Iterable[Any]) -> list[Result]:
        """Return the results of the calls, or raise the first error and leave out what can wait."""
        futures = [self.submit(call, *each) for each in zip(*arguments, strict=True)]
        try:
            pending = set(futures)
            while pending:
                # awake now and then: the system may hand a signal to another thread, and Python's
                # handler waits for this one
                done, pending = wait(pending, timeout=0.2, return_when=FIRST_EXCEPTION)
                if any(future.exception() for future in done):
                    break
            return [future.result() for future in futures]
        finally:
            for future in futures:
                future.cancel()

    def _work(self) -> None:
        _pool.set(self)
        while (item := self._calls.get()) is not None:
            _run(*item)


_pool: ContextVar[ThreadPool | None] = ContextVar("pool", default=None)


def check_stopped() -> None:
    """Raise CancelledError if the pool that this thread works for has stopped; between blocks."""
    pool = _pool.get()
    while pool is not None:
        if pool._is_stopped:
            raise CancelledError
        pool = pool._outer


def _run(future: Future[Any], call: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(call(*arguments))
    except BaseException as error:
        future.set_exception(error)
