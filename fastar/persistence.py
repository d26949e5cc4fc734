"""Files of fitted models: safetensors with a JSON header, and no code in them."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_is_fitted

from fastar import conditionals, networks, optimizers, schedules
from fastar._core.files import read_arrays, write_arrays
from fastar._core.parameters import Array, zeros_aligned
from fastar._core.validation import unwrap_frozen
from fastar._data.containers import Container
from fastar._data.context import Context
from fastar._data.frames import Schema
from fastar._data.sequences import SequenceLayout
from fastar.models import BY_NAME
from fastar.models.deep_nade import DeepNADE
from fastar.models.labeller import SequenceLabeller
from fastar.models.mixture import Mixture
from fastar.models.pixel_rnn import PixelRNN
from fastar.models.rnn import GenerativeRNN
from fastar.tools.detection import DensityOutlierDetector
from fastar.tools.imputation import DensityImputer

__all__ = ["load", "save"]

_MODELS: dict[str, Any] = {
    **BY_NAME,
    "DeepNADE": DeepNADE,
    "GenerativeRNN": GenerativeRNN,
    "PixelRNN": PixelRNN,
    "SequenceLabeller": SequenceLabeller,
}
_TOOLS: dict[str, Any] = {
    "DensityOutlierDetector": DensityOutlierDetector,
    "DensityImputer": DensityImputer,
}
_CONDITIONALS = {**conditionals.BY_NAME, conditionals.Mixed.name: conditionals.Mixed}
_REGISTRIES: dict[str, dict[str, Any]] = {
    "distribution": _CONDITIONALS,
    "inputs": _CONDITIONALS,
    "solver": optimizers.BY_NAME,
    "learning_rate": schedules.BY_NAME,
}


def _to_json(name: str, value: Any) -> Any:
    if name == "callbacks" or isinstance(value, np.random.RandomState):
        return None  # neither describes the fitted model
    if isinstance(value, conditionals.Conditional):
        return {"name": value.name, **value.settings()}
    if name in ("distribution", "inputs") and isinstance(value, list | tuple):
        return {"list": [_to_json(name, each) for each in value]}
    if name == "distribution" and isinstance(value, dict):
        entries = [[np.array(key).item(), _to_json(name, each)] for key, each in value.items()]
        return {"by_column": entries}
    if isinstance(value, optimizers.Optimizer | schedules.Schedule):
        if type(value) in _REGISTRIES[name].values():
            return {"name": value.name, **vars(value)}
        raise ValueError(f"A file cannot hold {value!r}: it is none of the library's own.")
    if name == "dtype":
        return np.dtype(value).name
    if isinstance(value, tuple):
        return {"tuple": list(value)}  # JSON has lists alone
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def _from_json(name: str, value: Any) -> Any:
    if isinstance(value, dict) and "tuple" in value:
        return tuple(value["tuple"])
    if isinstance(value, dict) and "list" in value:
        return [_from_json(name, each) for each in value["list"]]
    if isinstance(value, dict) and "by_column" in value:
        return {key: _from_json(name, each) for key, each in value["by_column"]}
    if isinstance(value, dict):
        settings = dict(value)
        return _REGISTRIES[name][settings.pop("name")](**settings)
    return value


def save(estimator: Any, path: str | os.PathLike[str]) -> None:
    """Write a fitted estimator to `path`, whole or not at all.

    Parameters
    ----------
    estimator : fitted density estimator, DensityOutlierDetector or DensityImputer
    path : str or path

    Raises
    ------
    NotFittedError, ValueError
        The estimator is not fitted; it, or a part of it, is not of this library.
    """
    header, arrays = _describe(estimator)
    write_arrays(os.fspath(path), "model", header, arrays)


def _describe(estimator: Any) -> tuple[dict[str, Any], dict[str, Array]]:
    """Return the header and the arrays of a fitted estimator."""
    _check_own(estimator)
    if isinstance(estimator, Mixture):
        return _describe_mixture(estimator)
    if type(estimator).__name__ in _TOOLS:
        return _describe_tool(estimator)
    check_is_fitted(estimator, "theta_")
    conditional = estimator.distribution_
    header = {
        "class": type(estimator).__name__,
        "parameters": {
            name: _to_json(name, value) for name, value in estimator.get_params(deep=False).items()
        },
        "distribution": {"name": conditional.name, **conditional.settings()},
        "n_features": estimator.n_features_in_,
        "feature_names": list(getattr(estimator, "feature_names_in_", [])),
        "network": {"name": estimator.network_.name, **estimator.network_.settings()},
        "container": _container_to_json(estimator._container),
        "context": None if estimator.context_ is None else estimator.context_.to_json(),
        "n_iter": estimator.n_iter_,
        "best_iter": estimator.best_iter_,
        "loss_curve": estimator.loss_curve_,
        "validation_curve": estimator.validation_curve_,
    }
    arrays = {"theta": estimator.theta_, "order": np.asarray(estimator.order_, np.int64)}
    arrays |= {f"distribution.{name}": array for name, array in conditional.arrays().items()}
    if isinstance(estimator, SequenceLabeller):
        header["labelling"] = _describe_labelling(estimator)
        learnt = estimator.inputs_.arrays()
        arrays |= {f"inputs.{name}": array for name, array in learnt.items()}
    if estimator.context_ is not None:
        arrays |= {f"context.{name}": array for name, array in estimator.context_.arrays().items()}
    return header, arrays


def load(path: str | os.PathLike[str]) -> Any:
    """Read the fitted estimator that `save` wrote.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    estimator
        Of the class that was saved; callbacks and random generators are not kept.

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
    header, arrays = read_arrays(os.fspath(path), "model")
    return _restore(header, arrays, path)


def _restore(header: dict[str, Any], arrays: dict[str, Array], path: str | os.PathLike[str]) -> Any:
    """Return the fitted estimator that `_describe` described."""
    if header["class"] == "Mixture":
        return _restore_mixture(header, arrays, path)
    if header["class"] in _TOOLS:
        return _restore_tool(header, arrays, path)
    if header["class"] not in _MODELS:
        raise ValueError(
            f"The file {os.fspath(path)!r} holds a {header['class']!r}, "
            "which this fastar does not know."
        )
    parameters = {name: _from_json(name, value) for name, value in header["parameters"].items()}
    estimator = _MODELS[header["class"]](**parameters)
    conditional = _from_json("distribution", header["distribution"])
    learnt = _within(arrays, "distribution.")
    n_values = len(arrays["order"])  # those of a row, or of a step
    estimator.distribution_ = conditional.restored(learnt, n_values)
    described = header.get("context")
    estimator.context_ = (
        None if described is None else Context.restored(described, _within(arrays, "context."))
    )
    estimator.order_ = arrays["order"].astype(np.intp)
    estimator.theta_ = zeros_aligned(arrays["theta"].size, arrays["theta"].dtype)
    estimator.theta_[:] = arrays["theta"]
    estimator.n_features_in_ = header["n_features"]
    if header["feature_names"]:
        estimator.feature_names_in_ = np.array(header["feature_names"], object)
    estimator._container = _container_from_json(header["container"])
    if "labelling" in header:
        _restore_labelling(estimator, header["labelling"], _within(arrays, "inputs."))
    settings = header["network"]
    if "image_shape" in settings:
        estimator.image_shape_ = tuple(settings["image_shape"])
    estimator.network_ = networks.BY_NAME[settings.pop("name")](
        n_values,
        estimator.distribution_.n_outputs,
        estimator._sizes()["inputs"],
        **settings,
    )
    fits = estimator.network_.zeros().shape == arrays["theta"].shape
    if not fits or not np.array_equal(np.sort(estimator.order_), np.arange(n_values)):
        raise _damaged(path)
    estimator.n_iter_, estimator.best_iter_ = header["n_iter"], header["best_iter"]
    estimator.loss_curve_, estimator.validation_curve_ = (
        header["loss_curve"],
        header["validation_curve"],
    )
    return estimator


def _describe_labelling(labeller: SequenceLabeller) -> dict[str, Any]:
    classes, inputs = labeller.classes_, labeller.inputs_
    return {
        "inputs": {"name": inputs.name, **inputs.settings()},
        "classes": {"of": classes.tolist(), "dtype": classes.dtype.str},
        "of_sequences": labeller.of_sequences_,
    }


def _restore_labelling(
    labeller: SequenceLabeller, described: dict[str, Any], learnt: dict[str, Array]
) -> None:
    inputs, classes = _from_json("inputs", described["inputs"]), described["classes"]
    labeller.inputs_ = inputs.restored(learnt, labeller._container.width)
    labeller.classes_ = np.array(classes["of"], classes["dtype"])
    labeller.of_sequences_ = described["of_sequences"]


def _within(arrays: dict[str, Array], prefix: str) -> dict[str, Array]:
    """Return the arrays whose names begin so, by the rest of their names."""
    return {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix)
    }


def _container_to_json(container: Container | Schema | SequenceLayout) -> dict[str, Any]:
    if isinstance(container, SequenceLayout):
        return {"sequences": asdict(container)}
    return {"frame": container.to_json()} if isinstance(container, Schema) else asdict(container)


def _container_from_json(described: dict[str, Any]) -> Container | Schema | SequenceLayout:
    if "frame" in described:
        return Schema.from_json(described["frame"])
    if "sequences" in described:
        return SequenceLayout(**described["sequences"])
    shape = described.get("shape")
    return Container(**described | {"shape": None if shape is None else tuple(shape)})


def _class(name: str) -> Any:
    return Mixture if name == "Mixture" else _MODELS.get(name, _TOOLS.get(name))


def _check_own(estimator: Any) -> None:
    if _class(type(estimator).__name__) is not type(estimator):
        raise ValueError(f"A file cannot hold {estimator!r}: it is none of the library's own.")


def _damaged(path: str | os.PathLike[str]) -> ValueError:
    return ValueError(f"The file {os.fspath(path)!r} is damaged: its arrays do not fit together.")


# ---- mixtures: the members one after the other, and what they were cloned from


def _describe_mixture(mixture: Mixture) -> tuple[dict[str, Any], dict[str, Array]]:
    """Return header and arrays; those of member k as "members.k.name"."""
    check_is_fitted(mixture, "estimators_")
    frozen = _frozen(mixture)
    described = [_describe(unwrap_frozen(member)) for member in mixture.estimators_]
    header = {
        **_template(mixture, frozen),
        "n_features": mixture.n_features_in_,
        "feature_names": list(getattr(mixture, "feature_names_in_", [])),
        "container": _container_to_json(mixture._container),
        "members": [member for member, _ in described],
        "frozen": [isinstance(member, FrozenEstimator) for member in mixture.estimators_],
        "validation_curve": getattr(mixture, "validation_curve_", None),
    }
    arrays = {"weights": mixture.weights_}
    for place, (_, own) in enumerate(described):
        arrays |= {f"members.{place}.{name}": array for name, array in own.items()}
    return header, arrays


def _restore_mixture(
    header: dict[str, Any], arrays: dict[str, Array], path: str | os.PathLike[str]
) -> Mixture:
    members = []
    for place, (member, is_frozen) in enumerate(
        zip(header["members"], header["frozen"], strict=True)
    ):
        prefix = f"members.{place}."
        fitted = _restore(member, _within(arrays, prefix), path)
        members.append(FrozenEstimator(fitted) if is_frozen else fitted)
    mixture: Mixture = _from_template(header, members)
    weights = mixture.weights_ = arrays["weights"]
    fits = all(member.n_features_in_ == header["n_features"] for member in members)
    shaped = weights.shape == (len(members),)
    if not (fits and shaped and (weights >= 0).all() and np.isclose(weights.sum(), 1)):
        raise _damaged(path)
    mixture.estimators_ = members
    mixture.n_features_in_ = header["n_features"]
    if header["feature_names"]:
        mixture.feature_names_in_ = np.array(header["feature_names"], object)
    mixture._container = _container_from_json(header["container"])
    if header["validation_curve"] is not None:
        mixture.validation_curve_ = header["validation_curve"]
    return mixture


def _frozen(mixture: Mixture) -> dict[int, list[int]]:
    """Return by id of each frozen model where it is: the places to take from member to member."""
    found = {}
    for place, member in enumerate(mixture.estimators_):
        inside = unwrap_frozen(member)
        if member is not inside:
            found[id(inside)] = [place]
        elif isinstance(inside, Mixture):
            found |= {key: [place, *rest] for key, rest in _frozen(inside).items()}
    return found


def _template(estimator: Any, frozen: dict[int, list[int]]) -> dict[str, Any]:
    """Return what describes an estimator that is to be fitted: its class and parameters.

    frozen: the fitted models that are members already, which its parameters refer to.
    """
    inside = unwrap_frozen(estimator)
    if inside is not estimator and id(inside) in frozen:
        return {"member": frozen[id(inside)]}
    _check_own(estimator)
    parameters = estimator.get_params(deep=False)
    described = {key: _to_json(key, value) for key, value in parameters.items()}
    if isinstance(estimator, Mixture):
        given, weights = estimator.estimator, estimator.weights
        described["estimator"] = (
            [_template(each, frozen) for each in given]
            if isinstance(given, list | tuple)
            else _template(given, frozen)
        )
        described["weights"] = (
            weights if isinstance(weights, str) else np.asarray(weights, float).tolist()
        )
    return {"class": type(estimator).__name__, "parameters": described}


def _from_template(template: Any, members: list[Any]) -> Any:
    """Return the estimator, or list of them, that `_template` described."""
    if isinstance(template, list):
        return [_from_template(each, members) for each in template]
    if "member" in template:
        place, *rest = template["member"]
        found = members[place]
        for place in rest:
            found = found.estimators_[place]
        return found
    parameters = {
        name: _from_template(value, members) if name == "estimator" else _from_json(name, value)
        for name, value in template["parameters"].items()
    }
    return _class(template["class"])(**parameters)


# ---- tools over densities: these, and what the tool itself has learnt


def _describe_tool(tool: Any) -> tuple[dict[str, Any], dict[str, Array]]:
    """Return header and arrays; those of its densities as "density_.name"."""
    check_is_fitted(tool, "density_")
    parameters = {
        name: _template(value, {}) if isinstance(value, BaseEstimator) else _to_json(name, value)
        for name, value in tool.get_params(deep=False).items()
    }
    learnt = {name: value for name, value in vars(tool).items() if name not in parameters}
    header: dict[str, Any] = {
        "class": type(tool).__name__,
        "parameters": parameters,
        "container": _container_to_json(learnt.pop("_container")),
        "feature_names": list(learnt.pop("feature_names_in_", [])),
        "densities": {},
    }
    arrays: dict[str, Array] = {}
    for name in [name for name, value in learnt.items() if isinstance(value, BaseEstimator)]:
        header["densities"][name], own = _describe(learnt.pop(name))
        arrays |= {f"{name}.{key}": array for key, array in own.items()}
    arrays |= {
        f"own.{key}": value for key, value in learnt.items() if isinstance(value, np.ndarray)
    }
    header["own"] = {key: each for key, each in learnt.items() if f"own.{key}" not in arrays}
    return header, arrays


def _restore_tool(
    header: dict[str, Any], arrays: dict[str, Array], path: str | os.PathLike[str]
) -> Any:
    tool = _TOOLS[header["class"]](
        **{
            name: _from_template(value, []) if isinstance(value, dict) else value
            for name, value in header["parameters"].items()
        }
    )
    densities = {
        name: _restore(described, _within(arrays, f"{name}."), path)
        for name, described in header["densities"].items()
    }
    if any(each.n_features_in_ != header["own"]["n_features_in_"] for each in densities.values()):
        raise _damaged(path)
    vars(tool).update(header["own"] | _within(arrays, "own.") | densities)
    if header["feature_names"]:
        tool.feature_names_in_ = np.array(header["feature_names"], object)
    tool._container = _container_from_json(header["container"])
    return tool
