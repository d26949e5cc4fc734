"""The contents of files of tools: densities and fitted attributes."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from fastar._core.parameters import Array
from fastar._core.schema import (
    OBJECT,
    ArrayOf,
    OneOf,
    Record,
    Rule,
    Whole,
    check_arrays,
    inside,
    require,
    within,
)
from fastar._data.containers import Container
from fastar._data.frames import Schema
from fastar._data.sequence_layouts import SequenceLayout
from fastar.persistence import (
    COMMON,
    FrozenMembers,
    Persistent,
    SavedState,
    check_names,
    check_prefixes,
    container_to_json,
    describe,
    from_json,
    from_template,
    labels_from_json,
    labels_to_json,
    prefixed,
    restore,
    table_container,
    template,
)


class PersistentTool(Persistent, abstract=True):
    """Mixin of tools over densities: all that `fit` learnt is in their attributes."""

    feature_names_in_: Array
    _container: Container | Schema | SequenceLayout

    @property
    def _marks_missing(self) -> bool:
        """Whether NaN in an array is a missing value to the density."""
        return bool(getattr(self.density, "_marks_missing", False))  # type: ignore[attr-defined]

    def _state(self) -> SavedState:
        """Return the header and the arrays; those of a density as "attribute.name"."""
        check_is_fitted(self)
        parameters = self.get_params(deep=False)  # type: ignore[attr-defined]
        learnt = {name: value for name, value in vars(self).items() if name not in parameters}
        header: dict[str, Any] = {
            "parameters": self._parameters_to_json({}),
            "container": container_to_json(learnt.pop("_container")),
            "feature_names": list(learnt.pop("feature_names_in_", [])),
            "densities": {},
            "labels": {},
            "own": {},
        }
        arrays: dict[str, Array] = {}
        for name, value in learnt.items():
            if isinstance(value, BaseEstimator):
                header["densities"][name], own = describe(value)
                arrays |= prefixed(f"{name}.", own)
            elif isinstance(value, list):
                described = [describe(density) for density in value]
                header["densities"][name] = [each for each, _ in described]
                for place, (_, own) in enumerate(described):
                    arrays |= prefixed(f"{name}.{place}.", own)
            elif not isinstance(value, np.ndarray):
                header["own"][name] = value
            elif value.dtype.kind in "biuf":
                arrays[f"own.{name}"] = value
            else:
                header["labels"][name] = labels_to_json(value)
        return header, arrays

    @classmethod
    def _learnt_rules(cls, n_features: int) -> dict[str, Rule | ArrayOf]:
        """Return what its own attributes may be that are numbers, None, arrays or labels."""
        raise NotImplementedError

    _densities: ClassVar[Record]
    """Rules of the densities in its attributes."""
    _asked: ClassVar[str] = "score_samples"
    """A method that they must have."""
    _labels: ClassVar[Record] = Record({})
    """Which of its own arrays may be labels that are no numbers."""

    @classmethod
    def _from_state(cls, header: dict[str, Any], arrays: dict[str, Array]) -> Self:
        """Return the fitted tool that `_state` described; EntryError if it is damaged."""
        rules = {"densities": cls._densities, "own": OBJECT}
        Record({**COMMON, **rules}, {"labels": cls._labels}).check(header, "")
        with inside("parameters"):
            tool = cls._from_parameters(header["parameters"])
        with inside("own"):
            n_features = header["own"].get("n_features_in_")
            _N_FEATURES.check(n_features, "n_features_in_")
            cls._check_learnt(header, within(arrays, "own."), n_features)
        own = header["own"] | within(arrays, "own.")
        for name, each in header.get("labels", {}).items():
            own[name] = labels_from_json(f"labels.{name}", each)
        prefixes = ["own."]
        with inside("densities"):
            for name, described in header["densities"].items():
                if not isinstance(described, list):
                    own[name] = cls._density(name, described, arrays, n_features)
                    prefixes.append(f"{name}.")
                    continue
                places = [f"{name}.{place}" for place in range(len(described))]
                own[name] = [
                    cls._density(place, each, arrays, n_features)
                    for place, each in zip(places, described, strict=True)
                ]
                prefixes += [f"{place}." for place in places]
        check_arrays({name: array for name, array in arrays.items() if "." not in name}, {})
        check_prefixes(arrays, tuple(prefixes))
        vars(tool).update(own)
        tool._check_densities()
        container = tool._container = table_container(header["container"], n_features)
        check_names(header["feature_names"], container, n_features)
        if header["feature_names"]:
            tool.feature_names_in_ = np.array(header["feature_names"], object)
        return tool

    @classmethod
    def _check_learnt(
        cls, header: dict[str, Any], arrays: dict[str, Array], n_features: int
    ) -> None:
        """Raise EntryError unless all that it learnt is there, as number, array or labels."""
        elsewhere = {*header["densities"], *header.get("labels", {})}
        rules = {"n_features_in_": _N_FEATURES, **cls._learnt_rules(n_features)}
        rules = {name: rule for name, rule in rules.items() if name not in elsewhere}
        numbers = {name: rule for name, rule in rules.items() if isinstance(rule, Rule)}
        Record(numbers, _OUTPUT).check(header["own"], "")
        check_arrays(
            arrays, {name: rule for name, rule in rules.items() if isinstance(rule, ArrayOf)}
        )

    @classmethod
    def _density(cls, place: str, described: Any, arrays: dict[str, Array], n_features: int) -> Any:
        """Return a density; EntryError if it is none, or not of the tool's features."""
        with inside(place):
            density = restore(described, within(arrays, f"{place}."))
            fits = getattr(density, "n_features_in_", None) == n_features
            require("n_features", fits, f"must be {n_features}.")
            require("class", hasattr(density, cls._asked), f"must have a method {cls._asked}.")
        return density

    def _check_densities(self) -> None:
        """Raise EntryError where the densities are not those that the tool has."""

    def _parameters_to_json(self, frozen: FrozenMembers) -> dict[str, Any]:
        """Return the parameters, with templates of the densities that were given."""
        parameters = self.get_params(deep=False)  # type: ignore[attr-defined]
        given = {key: each for key, each in parameters.items() if isinstance(each, BaseEstimator)}
        return super()._parameters_to_json(frozen) | {
            name: template(density, frozen) for name, density in given.items()
        }

    @classmethod
    def _parameters_from_json(cls, described: dict[str, Any], members: list[Any]) -> dict[str, Any]:
        """Return the parameters that `_parameters_to_json` described."""
        found = {}
        for name, value in described.items():
            if isinstance(value, dict):
                with inside(name):
                    found[name] = from_template(value, members)
            else:
                found[name] = from_json(name, value)
        return found


_N_FEATURES = Whole(1)
_CONTAINERS = OneOf(("default", "pandas", "polars", None))
_OUTPUT = {"_sklearn_output_config": Record({}, {"transform": _CONTAINERS})}
"""The entry that scikit-learn keeps of `set_output`, if it was called."""
