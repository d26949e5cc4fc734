"""The contents of files of tools: densities and fitted attributes."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from fastar._core.parameters import Array
from fastar._data.containers import Container
from fastar._data.frames import Schema
from fastar._data.sequences import SequenceLayout
from fastar.persistence import (
    DAMAGED,
    FrozenMembers,
    Persistent,
    SavedState,
    container_from_json,
    container_to_json,
    describe,
    from_template,
    prefixed,
    restore,
    template,
    within,
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
                header["labels"][name] = {"of": value.tolist(), "dtype": value.dtype.str}
        return header, arrays

    @classmethod
    def _from_state(cls, header: dict[str, Any], arrays: dict[str, Array]) -> Self:
        """Return the fitted tool that `_state` described."""
        tool = cls(**cls._parameters_from_json(header["parameters"], []))
        own = header["own"] | within(arrays, "own.")
        for name, each in header.get("labels", {}).items():
            own[name] = np.array(each["of"], each["dtype"])
        for name, described in header["densities"].items():
            if isinstance(described, list):
                own[name] = [
                    restore(each, within(arrays, f"{name}.{place}."))
                    for place, each in enumerate(described)
                ]
            else:
                own[name] = restore(described, within(arrays, f"{name}."))
            for density in own[name] if isinstance(described, list) else [own[name]]:
                if density.n_features_in_ != own["n_features_in_"]:
                    raise ValueError(DAMAGED)
        vars(tool).update(own)
        if header["feature_names"]:
            tool.feature_names_in_ = np.array(header["feature_names"], object)
        tool._container = container_from_json(header["container"])
        return tool

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
        return {
            name: from_template(value, members) if isinstance(value, dict) else value
            for name, value in described.items()
        }
