"""Files of mixtures: what they hold of the members, and how these come back."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_is_fitted

from fastar._core.parameters import Array
from fastar._core.schema import (
    FLAG,
    OBJECT,
    ArrayOf,
    Listed,
    Maybe,
    Record,
    Rule,
    Whole,
    check_arrays,
    inside,
    require,
    within,
)
from fastar._core.validation import unwrap_frozen
from fastar._data.containers import Container
from fastar._data.frames import Schema
from fastar.persistence import (
    COMMON,
    NUMBERS,
    Persistent,
    SavedState,
    check_names,
    check_prefixes,
    container_to_json,
    describe,
    prefixed,
    restore,
    table_container,
)


class MixtureFile(Persistent, abstract=True):
    """Base of fitted mixtures that a file can hold."""

    estimators_: list[Any]
    weights_: Array
    validation_curve_: list[float]
    n_features_in_: int
    feature_names_in_: Array
    _container: Container | Schema

    def _state(self) -> SavedState:
        """Return the header and the arrays of a file; those of member k as "members.k.name"."""
        check_is_fitted(self, "estimators_")
        described = [describe(unwrap_frozen(member)) for member in self.estimators_]
        header = {
            "parameters": self._parameters_to_json(frozen_members(self)),
            "n_features": self.n_features_in_,
            "feature_names": list(getattr(self, "feature_names_in_", [])),
            "container": container_to_json(self._container),
            "members": [member for member, _ in described],
            "frozen": [isinstance(member, FrozenEstimator) for member in self.estimators_],
            "validation_curve": getattr(self, "validation_curve_", None),
        }
        arrays = {"weights": self.weights_}
        for place, (_, own) in enumerate(described):
            arrays |= prefixed(f"members.{place}.", own)
        return header, arrays

    @classmethod
    def _from_state(cls, header: dict[str, Any], arrays: dict[str, Array]) -> Self:
        """Return the fitted mixture that `_state` described; EntryError if it is damaged."""
        n_members = len(header["frozen"]) if isinstance(header.get("frozen"), list) else 0
        rules = {
            "n_features": Whole(1),
            "members": Listed(OBJECT, n_members),
            "frozen": Listed(FLAG),
            "validation_curve": Maybe(NUMBERS),
        }
        Record({**COMMON, **rules, **cls._own_rules}).check(header, "")
        own = {name: array for name, array in arrays.items() if not name.startswith("members.")}
        check_arrays(own, {"weights": ArrayOf("f", (n_members,), 0)})
        check_prefixes(arrays, tuple(f"members.{place}." for place in range(n_members)))
        require("weights", np.isclose(arrays["weights"].sum(), 1), "must sum to 1.")
        n_features, members = header["n_features"], []
        for place, described in enumerate(header["members"]):
            with inside(f"members.{place}"):
                member = restore(described, within(arrays, f"members.{place}."))
                fits = getattr(member, "n_features_in_", None) == n_features
                require("n_features", fits, f"must be {n_features}.")
                require("class", hasattr(member, "score_samples"), "must be a density.")
            members.append(FrozenEstimator(member) if header["frozen"][place] else member)
        with inside("parameters"):
            mixture = cls._from_parameters(header["parameters"], members)
        mixture.weights_, mixture.estimators_ = arrays["weights"], members
        mixture.n_features_in_ = n_features
        mixture._container = table_container(header["container"], n_features)
        check_names(header["feature_names"], mixture._container, n_features)
        if header["feature_names"]:
            mixture.feature_names_in_ = np.array(header["feature_names"], object)
        if header["validation_curve"] is not None:
            mixture.validation_curve_ = header["validation_curve"]
        mixture._restore_own(header)
        return mixture

    _own_rules: ClassVar[dict[str, Rule]] = {}
    """Rules of the entries that the header of this class alone has."""

    def _restore_own(self, header: dict[str, Any]) -> None:
        """Take up what this class alone puts into `_state`."""


def frozen_members(mixture: Any) -> dict[int, list[int]]:
    """Return by id of each frozen model where it is: the places to take from member to member."""
    found = {}
    for place, member in enumerate(mixture.estimators_):
        inside = unwrap_frozen(member)
        if member is not inside:
            found[id(inside)] = [place]
        elif isinstance(inside, MixtureFile):
            found |= {key: [place, *rest] for key, rest in frozen_members(inside).items()}
    return found
