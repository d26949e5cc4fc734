"""Parts of a table that other processes may hold."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

from fastar._core.parameters import Array

Node = tuple[int, int]
"""A node of a binary tree: its height above the leaves, and its place from the left."""


class Parts(ABC):
    """Parts of a table, or of what is made of it, in order; calls go to where the parts are.

    Parts of a table are pairs (number of the first row, rows), without rows perhaps.

    Parameters
    ----------
    name : str
        Name of the table in errors.
    n_shards : int
        Shards that training divides the table's rows into.
    """

    def __init__(self, name: str, n_shards: int) -> None:
        self.name = name
        self.n_shards = n_shards

    @abstractmethod
    def __getitem__(self, which: slice) -> Parts:
        """Return some of the parts."""

    @abstractmethod
    def map(self, call: Callable[..., Any]) -> list[Any]:
        """Return call(part) of each part."""

    @abstractmethod
    def reduce(
        self, call: Callable[..., Any], merge: Callable[[Any, Any], Any], *shared: Array
    ) -> Any:
        """Return call(part, *shared) of all parts, merged as `merge_siblings` does."""

    @abstractmethod
    def regroup(
        self, split: Callable[[Any], list[Any]], join: Callable[[int, list[Any]], Any], n: int
    ) -> Parts:
        """Return n other parts: the k-th is join(k, [split(part)[k] for each part])."""


def merge_siblings(
    found: Mapping[Node, Any], n: int, merge: Callable[[Any, Any], Any]
) -> dict[Node, Any]:
    """Merge results of n parts along the binary tree whose leaves they are.

    Whoever has results of neighbours can merge them, and another one goes on with what remains:
    what is merged with what depends on n alone.

    Parameters
    ----------
    found : mapping
        The results at hand.
    n : int
        Leaves of the tree.
    merge : callable
        From two results, the left one first, to one.

    Returns
    -------
    dict
        One result, that of the root, if those of all leaves were at hand.
    """
    rest, height = dict(found), 0
    while n > 1:
        for k in range(0, n, 2):
            left, right, parent = (height, k), (height, k + 1), (height + 1, k // 2)
            if left in rest and right in rest:
                rest[parent] = merge(rest.pop(left), rest.pop(right))
            elif left in rest and k + 1 == n:  # it has no sibling
                rest[parent] = rest.pop(left)
        n, height = (n + 1) // 2, height + 1
    return rest
