"""Files of fitted estimators: safetensors with a JSON header, and no code in them.

A class that derives from `Persistent` says in `_state` what a file holds of it, and in
`_from_state` how it comes back; this module knows none of the classes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.frozen import FrozenEstimator

from fastar import conditionals, optimizers, schedules
from fastar._core.files import Step, read_arrays, write_arrays
from fastar._core.parameters import Array
from fastar._core.validation import unwrap_frozen
from fastar._data.containers import Container
from fastar._data.frames import Schema
from fastar._data.sequences import SequenceLayout

__all__ = ["load", "save"]

SavedState = tuple[dict[str, Any], dict[str, Array]]
"""A header that JSON can hold, and named arrays."""

_STEPS: dict[int, Step] = {}
"""By version of the file format: what makes the header and the arrays those of the next one."""

FrozenMembers = Mapping[int, list[int]]
"""By id of each frozen model that is a member of a mixture: the places that lead to it."""

_CONDITIONALS = {**conditionals.BY_NAME, conditionals.Mixed.name: conditionals.Mixed}
_SETTINGS: dict[str, Mapping[str, Any]] = {
    "distribution": _CONDITIONALS,
    "inputs": _CONDITIONALS,
    "solver": optimizers.BY_NAME,
    "learning_rate": schedules.BY_NAME,
}
"""By name of a parameter: the classes of the objects that it may be."""


class Persistent:
    """Mixin of the estimators that a file can hold; each is known by the name of its class.

    A subclass outside of the library is none of them, whatever its name.
    """

    _classes: ClassVar[dict[str, type[Persistent]]] = {}

    def __init_subclass__(cls, *, abstract: bool = False, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        if not abstract and cls.__module__.split(".")[0] == "fastar":
            Persistent._classes[cls.__name__] = cls

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write what was fitted to a file that holds no code; `fastar.load` reads it.

        Parameters
        ----------
        path : str or path
            Written beside it and renamed, so that a crash leaves no half a file.

        Raises
        ------
        NotFittedError, ValueError
            It is not fitted; it, or a part of it, is not of this library.
        """
        save(self, path)

    def _state(self) -> SavedState:
        """Return what a file holds of the fitted estimator."""
        raise NotImplementedError

    @classmethod
    def _from_state(cls, header: dict[str, Any], arrays: dict[str, Array]) -> Self:
        """Return the fitted estimator that `_state` described; ValueError if it is damaged."""
        raise NotImplementedError

    def _parameters_to_json(self, frozen: FrozenMembers) -> dict[str, Any]:
        """Return the parameters; frozen: fitted models among them that are members already."""
        parameters = self.get_params(deep=False)  # type: ignore[attr-defined]
        return {name: to_json(name, value) for name, value in parameters.items()}

    @classmethod
    def _parameters_from_json(cls, described: dict[str, Any], members: list[Any]) -> dict[str, Any]:
        """Return the parameters that `_parameters_to_json` described."""
        return {name: from_json(name, value) for name, value in described.items()}


def save(estimator: Any, path: str | os.PathLike[str]) -> None:
    """Write a fitted estimator to `path`, whole or not at all.

    Parameters
    ----------
    estimator : fitted estimator of this library
    path : str or path

    Raises
    ------
    NotFittedError, ValueError
        The estimator is not fitted; it, or a part of it, is not of this library.
    """
    write_arrays(os.fspath(path), "model", *describe(estimator))


def load(path: str | os.PathLike[str]) -> Any:
    """Read the fitted estimator that `save` wrote.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    estimator
        An object of the class that was saved, without callbacks and random generators.

    Raises
    ------
    FileNotFoundError, ValueError
        There is no file, or it is damaged, of another kind or of another version.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> import fastar
    >>> X = np.random.default_rng(0).integers(0, 2, (50, 4))
    >>> model = fastar.NADE(n_hidden=4, batch_size=2, tol=0.1, random_state=0).fit(X)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     model.save(os.path.join(folder, "model.fastar"))
    ...     again = fastar.load(os.path.join(folder, "model.fastar"))
    >>> bool((again.score_samples(X) == model.score_samples(X)).all())
    True
    """
    header, arrays = read_arrays(os.fspath(path), "model", _STEPS)
    try:
        return restore(header, arrays)
    except ValueError as error:
        raise ValueError(f"The file {os.fspath(path)!r} is damaged: {error}") from error


def describe(estimator: Any) -> SavedState:
    """Return what a file holds of a fitted estimator."""
    header, arrays = _checked_own(estimator)._state()
    return {"class": type(estimator).__name__, **header}, arrays


def restore(header: dict[str, Any], arrays: dict[str, Array]) -> Any:
    """Return the fitted estimator that `describe` described."""
    return _class_of(header["class"])._from_state(header, arrays)


def _class_of(name: str) -> type[Persistent]:
    if name not in Persistent._classes:
        raise ValueError(f"it holds a {name!r}, which this fastar does not know.")
    return Persistent._classes[name]


def _checked_own(estimator: Any) -> Persistent:
    """Return an estimator that a file can hold."""
    own = Persistent._classes.get(type(estimator).__name__) is type(estimator)
    if not own or not isinstance(estimator, Persistent):
        raise ValueError(f"A file cannot hold {estimator!r}: it is none of the library's own.")
    return estimator


DAMAGED = "its arrays do not fit together."
"""What is said of a file whose parts contradict each other."""


# ---- estimators that are to be fitted


def template(estimator: Any, frozen: FrozenMembers | None = None) -> dict[str, Any]:
    """Return what describes an estimator that is to be fitted: its class and parameters.

    frozen: the fitted models that are members already, which its parameters refer to.
    """
    frozen = {} if frozen is None else frozen
    inside = unwrap_frozen(estimator)
    if isinstance(estimator, FrozenEstimator) and id(inside) in frozen:
        return {"member": frozen[id(inside)]}
    parameters = _checked_own(estimator)._parameters_to_json(frozen)
    return {"class": type(estimator).__name__, "parameters": parameters}


def from_template(described: dict[str, Any], members: list[Any] | None = None) -> Any:
    """Return the estimator that `template` described; members: what it may refer to."""
    members = [] if members is None else members
    if "member" in described:
        place, *rest = described["member"]
        found = members[place]
        for place in rest:
            found = found.estimators_[place]
        return found
    cls = _class_of(described["class"])
    return cls(**cls._parameters_from_json(described["parameters"], members))


# ---- parameters, conditionals, containers


def to_json(name: str, value: Any) -> Any:
    """Return the value of a parameter as JSON can hold it."""
    if name == "callbacks" or isinstance(value, np.random.RandomState):
        return None  # neither describes the fitted model
    if isinstance(value, conditionals.Conditional):
        return {"name": value.name, **value.settings()}
    if name in ("distribution", "inputs") and isinstance(value, list | tuple):
        return {"list": [to_json(name, each) for each in value]}
    if name == "distribution" and isinstance(value, dict):
        entries = [[np.array(key).item(), to_json(name, each)] for key, each in value.items()]
        return {"by_column": entries}
    if isinstance(value, optimizers.Optimizer | schedules.Schedule):
        if type(value) in _SETTINGS[name].values():
            return {"name": value.name, **vars(value)}
        raise ValueError(f"A file cannot hold {value!r}: it is none of the library's own.")
    if name == "dtype":
        return np.dtype(value).name
    if isinstance(value, tuple):
        return {"tuple": list(value)}  # JSON has lists alone
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def from_json(name: str, value: Any) -> Any:
    """Return the value of a parameter that `to_json` described."""
    if isinstance(value, dict) and "tuple" in value:
        return tuple(value["tuple"])
    if isinstance(value, dict) and "list" in value:
        return [from_json(name, each) for each in value["list"]]
    if isinstance(value, dict) and "by_column" in value:
        return {key: from_json(name, each) for key, each in value["by_column"]}
    if isinstance(value, dict):
        settings = dict(value)
        return _SETTINGS[name][settings.pop("name")](**settings)
    return value


def conditional_to_json(conditional: conditionals.Conditional) -> dict[str, Any]:
    """Return a conditional's name and settings."""
    return {"name": conditional.name, **conditional.settings()}


def prefixed(prefix: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Return the arrays, with a prefix before their names."""
    return {f"{prefix}{name}": array for name, array in arrays.items()}


def within(arrays: dict[str, Array], prefix: str) -> dict[str, Array]:
    """Return the arrays whose names begin so, by the rest of their names."""
    return {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix)
    }


def container_to_json(container: Container | Schema | SequenceLayout) -> dict[str, Any]:
    """Return what `fit` was given as JSON can hold it."""
    if isinstance(container, SequenceLayout):
        return {"sequences": asdict(container)}
    return {"frame": container.to_json()} if isinstance(container, Schema) else asdict(container)


def container_from_json(described: dict[str, Any]) -> Container | Schema | SequenceLayout:
    """Return the container that `container_to_json` described."""
    if "frame" in described:
        return Schema.from_json(described["frame"])
    if "sequences" in described:
        return SequenceLayout(**described["sequences"])
    shape = described.get("shape")
    return Container(**described | {"shape": None if shape is None else tuple(shape)})
