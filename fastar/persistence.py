"""Files of fitted models: safetensors with a JSON header, and no code in them."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from fastar import conditionals, networks, optimizers, schedules
from fastar._base import AutoregressiveDensity
from fastar._containers import Container
from fastar._files import read_arrays, write_arrays
from fastar._parameters import empty_vector
from fastar.models import BY_NAME

__all__ = ["load", "save"]

_REGISTRIES: dict[str, dict[str, Any]] = {
    "distribution": conditionals.BY_NAME,
    "solver": optimizers.BY_NAME,
    "learning_rate": schedules.BY_NAME,
}


def _to_json(name: str, value: Any) -> Any:
    if name == "callbacks" or isinstance(value, np.random.RandomState):
        return None  # neither describes the fitted model
    if isinstance(value, conditionals.Conditional):
        return {"name": value.name, **value.settings()}
    if isinstance(value, optimizers.Optimizer | schedules.Schedule):
        if type(value) in _REGISTRIES[name].values():
            return {"name": value.name, **vars(value)}
        raise ValueError(f"A file cannot hold {value!r}: it is none of the library's own.")
    if name == "dtype":
        return np.dtype(value).name
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def _from_json(name: str, value: Any) -> Any:
    if isinstance(value, dict):
        settings = dict(value)
        return _REGISTRIES[name][settings.pop("name")](**settings)
    return value


def save(estimator: AutoregressiveDensity, path: str | os.PathLike[str]) -> None:
    """Write a fitted estimator to `path`, whole or not at all.

    Parameters
    ----------
    estimator : fitted density estimator
    path : str or path

    Raises
    ------
    NotFittedError
    """
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
        "container": asdict(estimator._container),
        "n_iter": estimator.n_iter_,
        "best_iter": estimator.best_iter_,
        "loss_curve": estimator.loss_curve_,
        "validation_curve": estimator.validation_curve_,
    }
    arrays = {"theta": estimator.theta_, "order": np.asarray(estimator.order_, np.int64)}
    arrays |= {f"distribution.{name}": array for name, array in conditional.arrays().items()}
    write_arrays(os.fspath(path), "model", header, arrays)


def load(path: str | os.PathLike[str]) -> AutoregressiveDensity:
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
    if header["class"] not in BY_NAME:
        raise ValueError(
            f"The file {os.fspath(path)!r} holds a {header['class']!r}, "
            "which this fastar does not know."
        )
    parameters = {name: _from_json(name, value) for name, value in header["parameters"].items()}
    estimator = BY_NAME[header["class"]](**parameters)
    conditional = _from_json("distribution", header["distribution"])
    learnt = {
        name.removeprefix("distribution."): array for name, array in arrays.items() if "." in name
    }
    estimator.distribution_ = conditional.restored(learnt, header["n_features"])
    estimator.order_ = arrays["order"].astype(np.intp)
    estimator.theta_ = empty_vector(arrays["theta"].size, arrays["theta"].dtype)
    estimator.theta_[:] = arrays["theta"]
    estimator.n_features_in_ = header["n_features"]
    if header["feature_names"]:
        estimator.feature_names_in_ = np.array(header["feature_names"], object)
    estimator._container = Container(**header["container"])
    settings = header["network"]
    estimator.network_ = networks.BY_NAME[settings.pop("name")](
        header["n_features"],
        estimator.distribution_.n_outputs,
        estimator.distribution_.inputs,
        **settings,
    )
    fits = estimator.network_.zeros().shape == arrays["theta"].shape
    if not fits or not np.array_equal(np.sort(estimator.order_), np.arange(header["n_features"])):
        raise ValueError(
            f"The file {os.fspath(path)!r} is damaged: its arrays do not fit together."
        )
    estimator.n_iter_, estimator.best_iter_ = header["n_iter"], header["best_iter"]
    estimator.loss_curve_, estimator.validation_curve_ = (
        header["loss_curve"],
        header["validation_curve"],
    )
    return estimator
