"""Parts of a table that the workers of a cluster hold."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate
from operator import getitem
from typing import Any

from distributed import CancelledError, Client, Future, KilledWorker, TimeoutError, get_worker, wait
from distributed.comm import CommClosedError

from fastar._core.parameters import Array
from fastar._data.parts import Node, Parts, merge_siblings

_ATTEMPTS = 10
LOST = (KilledWorker, CancelledError, CommClosedError)
"""Errors of futures when the workers that held the data have died."""
_SECONDS = 1.0
"""Between looks at whether the parts are still wanted."""


class DaskParts(Parts):
    """Parts that are futures.

    A call is a task, so Dask makes parts again that went with a worker, and what such a worker had
    been asked is asked again.

    Parameters
    ----------
    client : Client
        That of the worker on which the fit is coordinated.
    futures : list of Future
    name, n_shards
        As of `Parts`.
    check : callable
        Is called about every second, and raises where nobody waits for the fit any more.
    """

    def __init__(
        self,
        client: Client,
        futures: list[Future],
        name: str,
        n_shards: int,
        check: Callable[[], None],
    ) -> None:
        super().__init__(name, n_shards)
        self._client = client
        self._futures = futures
        self._check = check
        self._groups: list[tuple[str | None, list[int]]] | None = None

    @classmethod
    def of_tables(
        cls,
        client: Client,
        futures: list[Future],
        name: str,
        n_shards: int,
        check: Callable[[], None],
    ) -> DaskParts:
        """Return the parts of a table from its partitions."""
        tables = cls(client, futures, name, n_shards, check)
        starts = [0, *accumulate(tables.map(len))][:-1]
        numbered = client.map(_numbered, starts, futures, pure=False)
        return cls(client, numbered, name, n_shards, check)

    def __getitem__(self, which: slice) -> DaskParts:
        return self._of(self._futures[which])

    def _of(self, futures: list[Future]) -> DaskParts:
        return DaskParts(self._client, futures, self.name, self.n_shards, self._check)

    def map(self, call: Callable[..., Any]) -> list[Any]:
        """Return call(part) of each part."""
        return self._results(lambda: self._client.map(call, self._futures, pure=False))

    def reduce(
        self, call: Callable[..., Any], merge: Callable[[Any, Any], Any], *shared: Array
    ) -> Any:
        """Return call(part, *shared) of all parts, merged as `merge_siblings` does.

        A worker merges what it can of the parts that it holds.
        """
        n, here = len(self._futures), get_worker().address

        def ask() -> list[Future]:
            # from worker to worker: what a task is given otherwise goes by the scheduler
            arrays = [
                self._client.scatter(each, workers=[here], direct=True, hash=False)
                for each in shared
            ]
            return [
                self._client.submit(
                    _merged_here,
                    call,
                    merge,
                    places,
                    [self._futures[k] for k in places],
                    n,
                    arrays,
                    workers=None if home is None else [home],
                    allow_other_workers=home is not None,
                    pure=False,
                )
                for home, places in self._by_worker()
            ]

        answers = self._results(ask)
        planned = [home for home, _ in self._groups or []]
        if [home for home, _ in answers] != planned:  # parts have moved
            self._groups = None
        found: dict[Node, Any] = {}
        for _, each in answers:
            found |= each
        (result,) = merge_siblings(found, n, merge).values()
        return result

    def _by_worker(self) -> list[tuple[str | None, list[int]]]:
        """Return (worker, the places of the parts that it holds), None for those not made yet."""
        if self._groups is None:
            holders = self._client.who_has(self._futures)
            groups: dict[str | None, list[int]] = {}
            for place, future in enumerate(self._futures):
                home = min(holders.get(future.key, ()), default=None)
                groups.setdefault(home, []).append(place)
            self._groups = list(groups.items())
        return self._groups

    def regroup(
        self, split: Callable[[Any], list[Any]], join: Callable[[int, list[Any]], Any], n: int
    ) -> DaskParts:
        """Return n other parts, spread over the workers, and give these up."""
        client, workers = self._client, sorted(self._client.nthreads())
        # tasks like all others, so that they can be made again
        split_, join_ = (client.submit(same, each, pure=False) for each in (split, join))
        pieces = [client.submit(_call, split_, part, pure=False) for part in self._futures]
        made = []
        for k in range(n):
            # neighbours share a worker, which then merges what it finds of them
            home = workers[k % self.n_shards * len(workers) // self.n_shards]
            mine = client.map(getitem, pieces, [k] * len(pieces), pure=False)
            made.append(
                client.submit(
                    _call, join_, k, mine, workers=[home], allow_other_workers=True, pure=False
                )
            )
        parts = self._of(made)
        parts.map(len)  # raises what is wrong with the rows
        self._futures = []
        return parts

    def _results(self, ask: Callable[[], list[Future]]) -> list[Any]:
        """Return the results of tasks, and ask again where they are lost."""
        for attempt in range(_ATTEMPTS):
            self._check()
            futures = ask()
            try:
                self._wait(futures)
                results: list[Any] = self._client.gather(futures)
            except LOST:
                if attempt == _ATTEMPTS - 1 or any(each.cancelled() for each in self._futures):
                    raise  # parts that Dask knows no more can only be made from the beginning
                self._groups = None
                self._client.retry([each for each in self._futures if each.status == "error"])
            else:
                return results
        raise AssertionError

    def _wait(self, futures: list[Future]) -> None:
        while True:
            try:
                wait(futures, timeout=_SECONDS)
            except TimeoutError:
                self._check()
            else:
                return


# ---- what workers are asked


def same(thing: Any) -> Any:
    """Return a thing as it is: a task under a new key."""
    return thing


def _call(function: Callable[..., Any], *args: Any) -> Any:
    return function(*args)


def _numbered(first: int, rows: Any) -> tuple[int, Any]:
    return first, rows


def _merged_here(
    call: Callable[..., Any],
    merge: Callable[[Any, Any], Any],
    places: list[int],
    parts: list[Any],
    n: int,
    shared: list[Array],
) -> tuple[str, dict[Node, Any]]:
    """Return this worker, and what it can merge of the results of its parts."""
    results: dict[Node, Any] = {
        (0, place): call(part, *shared) for place, part in zip(places, parts, strict=True)
    }
    return get_worker().address, merge_siblings(results, n, merge)
