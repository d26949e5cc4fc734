"""Attributes that are computed when they are first asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Self, TypeVar, overload

Value = TypeVar("Value")


class lazy(Generic[Value]):  # noqa: N801, in the manner of property
    """A property that is computed once and then kept, for objects that threads share.

    Threads that ask at once may compute it more than once, and all of them get the value that is
    kept. There is no lock, which a child forked meanwhile would inherit and wait for (as that of
    `functools.cached_property` before Python 3.12, which since then keeps the last value).
    """

    def __init__(self, compute: Callable[[Any], Value]) -> None:
        self.compute = compute
        self.__doc__ = compute.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        """Take the name under which the value is kept."""
        self.name = name

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type) -> Value: ...
    def __get__(self, instance: object | None, owner: type) -> Self | Value:
        """Compute the value; once it is kept, Python finds it without asking here."""
        if instance is None:
            return self
        value: Value = vars(instance).setdefault(self.name, self.compute(instance))
        return value


def state_without_lazy(instance: Any) -> dict[str, Any]:
    """Return the attributes of an object but those that it computes, for copies and pickles."""
    kind = type(instance)
    return {
        key: value
        for key, value in vars(instance).items()
        if not isinstance(getattr(kind, key, None), lazy)
    }
