"""Several estimators at once, on threads that share out the cores; Ctrl-C reaches all of them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, CancelledError, Future, wait
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from sklearn import config_context, get_config
from sklearn.base import BaseEstimator

from fastar._core.threads import ThreadPool
from fastar._core.validation import unwrap_frozen
from fastar._data.table import BLOCK_ROWS
from fastar.callbacks import Checkpoint

Result = TypeVar("Result")


class Stop:
    """A callback that ends the training of every estimator that has it, before its next batch.

    Attributes
    ----------
    error : exception class or None
        Exception by which a training ends, if it has to. After KeyboardInterrupt it keeps the best
        parameters so far, after any other error none.
    """

    def __init__(self) -> None:
        self.error: type[BaseException] | None = None

    def check(self) -> None:
        """Raise the error if there is one."""
        if self.error is not None:
            raise self.error

    def on_fit_begin(self, training: Any) -> None:
        """Check before every batch: an epoch may last for hours."""
        gradient = training.gradient

        def gradient_unless_stopped(rows: Any) -> Any:
            self.check()
            return gradient(rows)

        training.gradient = gradient_unless_stopped

    def on_epoch_end(self, training: Any) -> None:
        """Check after the scores of the held-out rows."""
        self.check()

    def on_fit_end(self, training: Any) -> None:
        """Break the circle of references, so that memory is free at once."""
        vars(training).pop("gradient", None)


# The fit that the present thread works for: an outer mixture that stops, stops its inner ones.
_stop: ContextVar[Stop | None] = ContextVar("stop", default=None)
# The places of the member that the present thread fits, from the outermost mixture inwards.
_places: ContextVar[tuple[int, ...]] = ContextVar("places", default=())


def on_threads(estimator: Any, n_threads: int) -> Any:
    """Return a view on a fitted estimator that uses so many threads, if it lets itself be told."""
    estimator = unwrap_frozen(estimator)
    if "n_jobs" not in vars(estimator):
        return estimator
    # a copy that shares the parameters: another thread may be using the estimator
    view = copy.copy(estimator)
    view.n_jobs = n_threads
    return view


def _split_threads(n_threads: int, n_estimators: int) -> list[int]:
    """Return the threads of each estimator; those that run at once have `n_threads` in all."""
    share, rest = divmod(n_threads, min(n_threads, n_estimators))
    return [share + (place < rest) for place in range(n_estimators)]


def call_each(
    call: Callable[[int, Any], Result], estimators: Sequence[Any], n_threads: int, n_rows: int
) -> list[Result]:
    """Return call(place, estimator) of every fitted estimator, on `n_threads` threads in all.

    n_rows: on a few rows the estimators take turns, each with all threads.
    """
    n_workers = min(n_threads, len(estimators)) if n_rows > BLOCK_ROWS else 1
    if n_workers == 1:
        return [call(place, on_threads(one, n_threads)) for place, one in enumerate(estimators)]
    shares = _split_threads(n_threads, len(estimators))
    views = [on_threads(*pair) for pair in zip(estimators, shares, strict=True)]
    config = get_config()

    def call_as_here(place: int, view: Any) -> Result:
        with config_context(**config):
            return call(place, view)

    with ThreadPool(n_workers) as pool:
        return pool.map(call_as_here, range(len(views)), views)


def current_stop() -> Stop:
    """Return what stops the fit that the present thread works for, or a new fit."""
    return _stop.get() or Stop()


def fit_each(
    jobs: Mapping[int, tuple[Any, Any, dict[str, Any]]], n_threads: int, stop: Stop | None = None
) -> list[int]:
    """Fit estimators on `n_threads` threads in all; return the places of those that are fitted.

    jobs: at each place an estimator, X, and the keyword arguments of its `fit`. stop: the
    `current_stop`, for callers that ask it afterwards whether the fit was stopped.

    After Ctrl-C those in training end with their best parameters so far, and those not begun are
    left out; where none had begun, KeyboardInterrupt is raised. The first error ends all of them.
    """
    # Threads and not joblib, which on Ctrl-C leaves its threads to themselves and their results
    # behind.
    stop = stop or current_stop()
    shares, config, outer = _split_threads(n_threads, len(jobs)), get_config(), _places.get()
    futures: dict[int, Future[None]] = {}
    with ThreadPool(min(n_threads, len(jobs))) as pool:
        try:
            for (place, job), share in zip(jobs.items(), shares, strict=True):
                futures[place] = pool.submit(_fit, *job, share, stop, (*outer, place), config)
            _watch(set(futures.values()), stop)
        except KeyboardInterrupt:
            stop.error = KeyboardInterrupt
    errors = {place: future.exception() for place, future in futures.items()}
    for place, error in errors.items():
        if error is not None and not isinstance(error, KeyboardInterrupt | CancelledError):
            error.add_note(f"This happened in member {place}, a {type(jobs[place][0]).__name__}.")
            raise error
    fitted = [place for place, error in errors.items() if error is None]
    if stop.error is not None and (stop.error is CancelledError or not fitted):
        raise stop.error
    return fitted


def _watch(pending: set[Future[None]], stop: Stop) -> None:
    """Wait until all have ended; an error in one stops the others."""
    while pending:
        # Awake now and then: the system may hand a signal to another thread, and Python's handler
        # waits for this one.
        done, pending = wait(pending, timeout=0.2, return_when=FIRST_EXCEPTION)
        if stop.error is None and any(future.exception() is not None for future in done):
            stop.error = CancelledError


def _fit(
    estimator: Any,
    X: Any,
    arguments: dict[str, Any],
    n_threads: int,
    stop: Stop,
    places: tuple[int, ...],
    config: dict[str, Any],
) -> None:
    stop.check()
    _stop.set(stop)
    _places.set(places)
    with config_context(**config), _temporarily_configured(estimator, n_threads, stop, places):
        estimator.fit(X, **arguments)


@contextmanager
def _temporarily_configured(
    estimator: Any, n_threads: int, stop: Stop, places: tuple[int, ...]
) -> Iterator[None]:
    """Set the threads and the callbacks of an estimator, or of those inside it, for a while."""
    inside = [estimator] if "n_jobs" in vars(estimator) else estimator.get_params().values()
    owners = [each for each in inside if isinstance(each, BaseEstimator) and "n_jobs" in vars(each)]
    before = [dict(vars(owner)) for owner in owners]
    try:
        for owner in owners:
            owner.n_jobs = n_threads
            if "callbacks" in vars(owner):
                owner.callbacks = _of_member(owner.callbacks, stop, places)
        yield
    finally:
        for owner, attributes in zip(owners, before, strict=True):
            for name in {"n_jobs", "callbacks"} & attributes.keys():
                setattr(owner, name, attributes[name])


def _of_member(callbacks: Any, stop: Stop, places: tuple[int, ...]) -> Any:
    """Return the callbacks of the member at these places, and the one that stops it."""
    if callbacks is None:
        callbacks = []
    elif hasattr(callbacks, "on_epoch_end"):
        callbacks = [callbacks]
    elif not isinstance(callbacks, list | tuple):
        return callbacks  # what is no callback stays as it is, for the estimator's check to refuse
    own = [each.of_member(places) if isinstance(each, Checkpoint) else each for each in callbacks]
    return [*own, stop]
