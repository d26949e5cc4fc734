"""Files of fitted estimators: safetensors with a JSON header, and no code in them.

A class that derives from `Persistent` says in `_state` what a file holds of it, and in
`_from_state` how it comes back; this module knows none of the classes.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.frozen import FrozenEstimator

from fastar import conditionals, optimizers, schedules
from fastar._core.files import Step, read_arrays, write_arrays
from fastar._core.parameters import Array
from fastar._core.schema import (
    FLAG,
    OBJECT,
    SCALAR_TYPES,
    Anything,
    EntryError,
    Listed,
    Maybe,
    Named,
    Number,
    Record,
    Rule,
    Text,
    Whole,
    inside,
    require,
    within,
)
from fastar._core.validation import unwrap_frozen
from fastar._data.containers import Container
from fastar._data.frames import Schema
from fastar._data.sequence_layouts import SequenceLayout
from fastar.conditionals._gaps import ModelledGaps

__all__ = ["load", "save"]

SavedState = tuple[dict[str, Any], dict[str, Array]]
"""A header that JSON can hold, and named arrays."""


PADDED = "padded_theta"
"""Name of the parameters that have as many for every feature as the widest one needs."""

_MOST_FEATURES = 1 << 24


def _from_version_1(header: dict[str, Any], arrays: dict[str, Array]) -> SavedState:
    """Give classifiers what a missing value counts as: nothing."""
    if header.get("class") == "GenerativeClassifier":
        own = header.get("own")
        n_features = own.get("n_features_in_") if isinstance(own, dict) else None
        if isinstance(n_features, int) and 0 < n_features <= _MOST_FEATURES:
            arrays = {**arrays, "own._feature_centre": np.zeros(n_features)}
    return header, arrays


def _from_version_2(header: dict[str, Any], arrays: dict[str, Array]) -> SavedState:
    """Tell parameters with padding from those without."""
    return header, {re.sub(r"(^|\.)theta$", rf"\1{PADDED}", name): arrays[name] for name in arrays}


_STEPS: dict[int, Step] = {1: _from_version_1, 2: _from_version_2}
"""Conversions of header and arrays to the next version of the format, by version."""

FrozenMembers = Mapping[int, list[int]]
"""The places that lead to each frozen model that is a member of a mixture, by its id."""

_CONDITIONALS: dict[str, Any] = {
    **conditionals.BY_NAME,
    conditionals.Calendar.name: conditionals.Calendar,
    conditionals.Mixed.name: conditionals.Mixed,
    ModelledGaps.name: ModelledGaps,
}
_SETTINGS: dict[str, Mapping[str, Any]] = {
    "distribution": _CONDITIONALS,
    "inputs": _CONDITIONALS,
    "solver": optimizers.BY_NAME,
    "learning_rate": schedules.BY_NAME,
}
"""The classes of the objects that a parameter may be, by its name."""


def _settings_rule(kind: type[Any]) -> Record:
    """Return what the settings of an object may be: a conditional says it, others have numbers."""
    if issubclass(kind, conditionals.Conditional):
        return kind.settings_rule()
    rules: dict[str, Rule] = {
        name: FLAG if isinstance(value, bool) else Number() for name, value in vars(kind()).items()
    }
    if "patience" in rules:
        rules["patience"] = Maybe(Whole())
    return Record.of_arguments(kind, rules)


_SETTINGS_RULES = {
    name: Named({key: partial(_settings_rule, kind) for key, kind in kinds.items()})
    for name, kinds in _SETTINGS.items()
}

COUNT = Whole(0)
NUMBERS = Listed(Number())
NAMES = Listed(Anything((str, int)))
COMMON: dict[str, Rule] = {
    "class": Text(),
    "parameters": OBJECT,
    "feature_names": NAMES,
    "container": OBJECT,
}
"""Entries of every estimator's header."""


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
        self._validate_params()  # type: ignore[attr-defined]
        parameters = self.get_params(deep=False)  # type: ignore[attr-defined]
        return {name: to_json(name, value) for name, value in parameters.items()}

    @classmethod
    def _from_parameters(cls, described: dict[str, Any], members: list[Any] | None = None) -> Self:
        """Return an estimator with the parameters that `_parameters_to_json` described.

        members: of the mixture that they belong to, which they may refer to.
        """
        for name in described:
            known = cls._get_param_names()  # type: ignore[attr-defined]
            require(name, name in known, f"is no parameter of {cls.__name__}.")
        made = cls(**cls._parameters_from_json(described, members or []))
        made._validate_params()  # type: ignore[attr-defined]
        return made

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
    FileNotFoundError, PermissionError
        There is no file, or it may not be read.
    ValueError
        It is damaged, of another kind or of another version, or contradicts itself; the message
        names the entry.

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
    """Return the fitted estimator that `describe` described; EntryError if there is none."""
    Text().check(header.get("class"), "class")
    return _class_of(header["class"])._from_state(header, arrays)


def _class_of(name: str) -> type[Persistent]:
    known = f"must be of this library. Got {name!r}, which this fastar does not know."
    require("class", name in Persistent._classes, known)
    return Persistent._classes[name]


def _checked_own(estimator: Any) -> Persistent:
    """Return an estimator that a file can hold."""
    own = Persistent._classes.get(type(estimator).__name__) is type(estimator)
    if not own or not isinstance(estimator, Persistent):
        raise ValueError(f"A file cannot hold {estimator!r}: it is none of the library's own.")
    return estimator


# ---- estimators that are to be fitted


_TEMPLATE = Record({"class": Text(), "parameters": OBJECT})


def template(estimator: Any, frozen: FrozenMembers | None = None) -> dict[str, Any]:
    """Return what describes an estimator that is to be fitted: its class and parameters.

    frozen: the fitted models that are members already, which its parameters refer to.
    """
    frozen = {} if frozen is None else frozen
    fitted = unwrap_frozen(estimator)
    if isinstance(estimator, FrozenEstimator) and id(fitted) in frozen:
        return {"member": frozen[id(fitted)]}
    parameters = _checked_own(estimator)._parameters_to_json(frozen)
    return {"class": type(estimator).__name__, "parameters": parameters}


def from_template(described: dict[str, Any], members: list[Any] | None = None) -> Any:
    """Return the estimator that `template` described; members: what it may refer to."""
    if isinstance(described, dict) and "member" in described:
        Record({"member": Listed(COUNT)}).check(described, "")
        found, inner = None, members or []
        for place in described["member"]:
            require("member", place < len(inner), "must lead to a member.")
            found = inner[place]
            inner = getattr(unwrap_frozen(found), "estimators_", [])
        require("member", isinstance(found, FrozenEstimator), "must lead to a frozen member.")
        return found
    _TEMPLATE.check(described, "")
    with inside("parameters"):
        return _class_of(described["class"])._from_parameters(described["parameters"], members)


# ---- parameters, conditionals, containers


def to_json(name: str, value: Any) -> Any:
    """Return the value of a parameter as JSON can hold it."""
    if name == "callbacks" or isinstance(value, np.random.RandomState):
        return None  # neither describes the fitted model
    if isinstance(value, conditionals.Conditional):
        return conditional_to_json(value)
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
    """Return the value of a parameter that `to_json` described; EntryError if it is none."""
    if isinstance(value, list):
        Listed(_SCALAR).check(value, name)
    elif not isinstance(value, dict):
        _SCALAR.check(value, name)
    elif "tuple" in value:
        Record({"tuple": Listed(_SCALAR)}).check(value, name)
        return tuple(value["tuple"])
    elif "list" in value:
        Record({"list": Listed(Anything())}).check(value, name)
        return [from_json(name, each) for each in value["list"]]
    elif "by_column" in value:
        Record({"by_column": Listed(Listed(Anything(), 2))}).check(value, name)
        Listed(_SCALAR).check([key for key, _ in value["by_column"]], name)
        return {key: from_json(name, each) for key, each in value["by_column"]}
    else:
        require(name, name in _SETTINGS, "must be no object.")
        _SETTINGS_RULES[name].check(value, name)
        settings = dict(value)
        return _SETTINGS[name][settings.pop("name")](**settings)
    return value


_SCALAR = Maybe(Anything(SCALAR_TYPES))


def conditional_to_json(conditional: conditionals.Conditional) -> dict[str, Any]:
    """Return a conditional's name and settings."""
    return {"name": conditional.name, **conditional.settings()}


def conditional_from_json(
    name: str, described: Any, arrays: dict[str, Array], n_features: int
) -> conditionals.Conditional:
    """Return a fitted conditional of so many features; arrays: those that begin with its name."""
    _SETTINGS_RULES["distribution"].check(described, name)
    settings = dict(described)
    own = within(arrays, f"{name}.")
    with inside(name):
        conditional: conditionals.Conditional = _CONDITIONALS[settings.pop("name")](**settings)
        conditional.check_arrays(own, n_features)
        return conditional.restored(own, n_features)


def prefixed(prefix: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Return the arrays, with a prefix before their names."""
    return {f"{prefix}{name}": array for name, array in arrays.items()}


def container_to_json(container: Container | Schema | SequenceLayout) -> dict[str, Any]:
    """Return what `fit` was given as JSON can hold it."""
    if isinstance(container, SequenceLayout):
        return {"sequences": container.to_json()}
    return {"frame": container.to_json()} if isinstance(container, Schema) else asdict(container)


def container_from_json(described: dict[str, Any]) -> Container | Schema | SequenceLayout:
    """Return the container that `container_to_json` described; EntryError if it is none."""
    for name, kind in (("frame", Schema), ("sequences", SequenceLayout)):
        if name in described:
            Record({name: OBJECT}).check(described, "container")
            with inside(f"container.{name}"):
                return kind.from_json(described[name])
    with inside("container"):
        return Container.from_json(described)


def table_container(described: dict[str, Any], n_features: int) -> Container | Schema:
    """Return the container of a table of so many columns; EntryError if it is another one."""
    container = container_from_json(described)
    if isinstance(container, Schema):
        n_columns = len(container.columns)
    else:
        require("container", isinstance(container, Container), "must be that of a table.")
        assert isinstance(container, Container)
        n_columns = n_features if container.shape is None else math.prod(container.shape)
        n_offsets = n_columns if container.offsets is None else len(container.offsets)
        require("container.offsets", n_offsets == n_columns, f"must be {n_columns} of them.")
        flat = container.kind == "array" or container.shape is None
        require("container.shape", flat, "must be null for sparse matrices.")
    require("container", n_columns == n_features, f"must be of {n_features} columns.")
    return container


def sequence_layout(described: dict[str, Any], n_features: int) -> SequenceLayout:
    """Return the layout of sequences; EntryError if it is that of a table."""
    layout = container_from_json(described)
    require("container", isinstance(layout, SequenceLayout), "must be that of sequences.")
    assert isinstance(layout, SequenceLayout)
    fits = layout.n_features_in == n_features and (layout.width == 1 or not layout.of_rows)
    require("container.sequences", fits, f"must be of {n_features} features.")
    return layout


def check_names(names: list[Any], container: Container | Schema, n_features: int) -> None:
    """Raise EntryError unless there is a name for each feature, or none."""
    fits = len(names) in (0, n_features)
    require("feature_names", fits, f"must be none or {n_features}. Got {len(names)}.")
    if names and isinstance(container, Schema):
        require("feature_names", names == container.names, "must be those of the columns.")


def check_prefixes(arrays: Mapping[str, Array], prefixes: tuple[str, ...]) -> None:
    """Raise EntryError for an array whose name has a prefix, which is none of these."""
    for name in arrays:
        known = "." not in name or name.startswith(prefixes)
        require(name, known, "is no array that this fastar knows.")


def labels_to_json(labels: Array) -> dict[str, Any]:
    """Return labels of classes as JSON can hold them."""
    return {"of": labels.tolist(), "dtype": labels.dtype.str}


def labels_from_json(name: str, described: Any) -> Array:
    """Return the labels that `labels_to_json` described; EntryError if these are none."""
    _LABELS.check(described, name)
    given = described["of"]
    require(name, len({type(each) for each in given}) == 1, "must be labels of one type.")
    try:
        labels = np.array(given, described["dtype"])
    except (OverflowError, TypeError, ValueError) as error:
        raise EntryError(f"{name}.dtype", f"must be a type of the labels: {error}") from error
    require(name, (labels[1:] > labels[:-1]).all(), "must be sorted and different.")
    return labels


_LABELS = Record(
    {"of": Listed(Anything(SCALAR_TYPES)), "dtype": Text(r"[<|]([biuf]\d{1,2}|U\d{1,4}|O)")}
)
