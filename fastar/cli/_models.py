"""Models as commands see them: made by name, read from files, described."""

from __future__ import annotations

import ast
import sys
import time
from argparse import Namespace
from collections.abc import Iterable
from typing import Any

from fastar._data.frames import Schema
from fastar.callbacks import Callback, ProgressBar
from fastar.models import BY_NAME
from fastar.persistence import load
from fastar.tools.detection import DensityOutlierDetector

TABLE_MODELS = ("NADE", "RNADE", "MADE", "FVSBN", "DeepNADE")
"""The models of tables that are fitted without others."""


class CommandError(ValueError):
    """The command cannot be carried out; the message says why."""


class Deadline(Callback):
    """Stops training after the first epoch that ends so many seconds after it began."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end: float | None = None

    def on_fit_begin(self, training: Any) -> None:
        """Start the clock, unless an alternative has."""
        if self._end is None:
            self._end = time.monotonic() + self.seconds

    def on_epoch_end(self, training: Any) -> bool:
        """Return whether the time is over."""
        return self._end is not None and time.monotonic() >= self._end

    def on_fit_end(self, training: Any) -> None:
        """Stop the clock."""
        self._end = None

    on_alternative_begin, on_alternative_epoch_end = on_fit_begin, on_epoch_end


def new_estimator(asked: Namespace, has_context: bool) -> Any:
    """Return the estimator that is to be fitted."""
    name = asked.model
    settings = {key: _literal(text) for key, text in pairs(asked.set, "--set").items()}
    known = BY_NAME[name]._get_param_names()
    unknown = [key for key in settings if key not in known]
    if unknown:
        raise CommandError(
            f"--set: {name} has no parameter {unknown[0]!r}. It has {', '.join(known)}."
        )
    settings.setdefault("random_state", asked.random_state)
    settings.setdefault("n_jobs", asked.n_jobs)
    callbacks: list[Callback] = [Deadline(asked.max_time)] if asked.max_time else []
    if not asked.quiet and sys.stderr is not None and sys.stderr.isatty():
        callbacks.append(ProgressBar())
    model = BY_NAME[name](**{"callbacks": callbacks, **settings})
    if not asked.detector:
        return model
    if has_context or asked.validation:
        raise CommandError("--detector takes neither --target-columns nor --validation.")
    return DensityOutlierDetector(model, random_state=asked.random_state)


def load_model(path: str, method: str = "save") -> Any:
    """Return the estimator of a file; CommandError where it cannot answer about tables."""
    model = load(path)
    if not hasattr(model, method):
        raise CommandError(f"{path} holds a {type(model).__name__}, which has no {method}.")
    if not isinstance(getattr(model, "_container", None), Schema):
        raise CommandError(
            f"{path} holds a {type(model).__name__} that was not fitted to a table of named "
            "columns. The command line answers about these alone."
        )
    return model


def schema_of(model: Any) -> Schema:
    """Return the columns that a model was fitted to."""
    schema: Schema = model._container
    return schema


def context_schema(model: Any) -> Schema:
    """Return the columns of a model's context."""
    context = getattr(model, "context_", None)
    if context is None or context.schema is None:
        raise CommandError(
            f"This {type(model).__name__} was fitted without named context columns, by which a "
            "table could give a context: leave out --context."
        )
    schema: Schema = context.schema
    return schema


def has_context(model: Any) -> bool:
    """Return whether a model is conditioned on other columns."""
    return getattr(model, "context_", None) is not None


def refuse_missing_context(model: Any, remedy: str) -> None:
    """Raise CommandError where a model needs a context."""
    if has_context(model):
        names = ", ".join(map(repr, context_schema(model).names))
        raise CommandError(f"The model is conditioned on {names}: give {remedy}.")


def types_of(schema: Schema) -> dict[str, str]:
    """Return what each column is to be read as, as `read_table` takes it."""
    types = {}
    for column in schema.columns:
        text = column.type == "category" and all(isinstance(k, str) for k in column.categories)
        # Categories that are no strings were integers in the file.
        types[column.name] = column.type if column.type != "category" or text else "integer"
    return types


def described(model: Any) -> dict[str, Any]:
    """Return what is to be told of a model."""
    density = getattr(model, "density_", model)
    found: dict[str, Any] = {"model": type(model).__name__}
    if density is not model:
        found["density"] = type(density).__name__
    if hasattr(model, "statistic"):
        found["score"] = model.statistic
    for name in ("n_parameters_", "n_iter_"):
        if hasattr(density, name):
            found[name.rstrip("_")] = getattr(density, name)
    curve = getattr(density, "validation_curve_", None)
    if curve is not None and len(curve):
        found["held_out"] = f"{-min(curve):.6g} nats a row"
    if has_context(density):
        found["context"] = ", ".join(map(str, context_schema(density).names))
    found["columns"] = [
        {"name": column.name, "holds": _holds(column)} for column in schema_of(model).columns
    ]
    return found


def _holds(column: Any) -> str:
    text: str = column.type
    if column.type == "category":
        text = f"one of {len(column.categories)} categories"
    return text + (", or nothing" if column.missing else "")


def summary(model: Any) -> str:
    """Return a line about a model."""
    told = described(model)
    told["columns"] = len(told["columns"])
    return ", ".join(f"{name} {value}" for name, value in told.items())


# ---- what the user wrote


def pairs(texts: Iterable[str], option: str, allowed: Iterable[str] = ()) -> dict[str, str]:
    """Return the names and values of texts "name=value"."""
    found: dict[str, str] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign:
            raise CommandError(f"{option} takes NAME=VALUE. Got {text!r} instead.")
        if allowed and value not in allowed:
            raise CommandError(
                f"{option} must be one of {', '.join(allowed)}. Got {text!r} instead."
            )
        if name in found:
            raise CommandError(
                f"{option} must say {name} once. Got {text!r} beside {found[name]!r}."
            )
        found[name] = value
    return found


def _literal(text: str) -> Any:
    """Return the number, flag, tuple or list of Python that a text is, or the text."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
