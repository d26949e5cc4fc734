"""The commands: each takes what the parser read, and writes a file or text."""

from __future__ import annotations

import json
import os
import warnings
from argparse import Namespace
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import narwhals as nw
import numpy as np
from sklearn.utils._param_validation import InvalidParameterError

from fastar._data.frames import Schema
from fastar._data.parquet import is_parquet_name, is_within
from fastar._data.streams import Stream
from fastar.cli._cells import TYPES
from fastar.cli._figures import FIGURES, check_options, drawn, subject
from fastar.cli._models import (
    CommandError,
    context_schema,
    described,
    has_context,
    load_model,
    new_estimator,
    pairs,
    refuse_missing_context,
    schema_of,
    summary,
    types_of,
)
from fastar.cli._sources import Source, TableError, tell
from fastar.cli._tables import (
    check_columns,
    check_writable,
    frame_library,
    read_table,
    write_bytes,
    write_table,
    write_text,
)
from fastar.cli._values import evidence_of
from fastar.tools.detection import DensityOutlierDetector


def fit(asked: Namespace) -> None:
    """Fit a model to a table, and write it to a file."""
    check_writable(asked.output)
    _check_apart(asked, "data", "validation")
    if asked.stream:
        _fit_streamed(asked)
        return
    source = Source.of(asked.data, asked.separator)
    table = read_table(source, pairs(asked.types, "--types", TYPES))
    columns = _chosen(source, table.columns, asked)
    targets = asked.target_columns or columns
    check_columns(source, columns, targets)
    context = [name for name in columns if name not in targets]
    estimator = new_estimator(asked, has_context=bool(context))
    given = {"context": table.select(context).to_native()} if context else {}
    other = Source.of(asked.validation, asked.separator) if asked.validation else source
    if asked.validation:
        held_out = read_table(other, types_of(Schema.of(table.select(columns).to_native())))
        given["X_val"] = held_out.select(targets).to_native()
        if context:
            given["context_val"] = held_out.select(context).to_native()
    with source_named(source, other):
        estimator.fit(table.select(targets).to_native(), **given)
    estimator.save(asked.output)
    _say(asked, f"{asked.output}: {summary(estimator)}")


def score(asked: Namespace) -> None:
    """Write log p(x) of each row."""
    _check_apart(asked, "model", "data")
    model = load_model(asked.model, "score_samples")
    if isinstance(model, DensityOutlierDetector):
        raise CommandError(
            f"{asked.model} holds a DensityOutlierDetector, whose scores are no densities: "
            "fastar outliers."
        )
    if asked.stream:
        stream, context = _stream(asked, model, "by_column", "append")
        model.score_samples(stream, **context, out=asked.output)
        return
    source, table, X, context = _rows(asked, model)
    with source_named(source):
        if asked.by_column:
            scores = model.score_features(X, **context)
            found = {name: scores[:, d] for d, name in enumerate(schema_of(model).names)}
        else:
            scores = model.score_samples(X, **context)
            found = {"log_density": scores}
    _write(asked, table if asked.append else None, found)
    total = scores.sum(axis=1) if asked.by_column else scores
    _say(asked, f"mean log density of {len(total)} rows: {total.mean():.6g} nats")


def sample(asked: Namespace) -> None:
    """Write rows that are drawn from a model."""
    _check_apart(asked, "model", "context")
    model = load_model(asked.model, "sample")
    wanted: dict[str, Any] = {"temperature": asked.temperature, "random_state": asked.random_state}
    if asked.given:
        wanted["evidence"] = evidence_of(model, pairs(asked.given, "--given"))
    if asked.context:
        source = Source.of(asked.context, asked.separator)
        table = read_table(source, types_of(context_schema(model)))
        wanted["context"] = table.select(context_schema(model).names).to_native()
        with source_named(source):
            write_table(model.sample(asked.n or len(table), **wanted), asked.output)
        return
    refuse_missing_context(model, "--context FILE")
    if asked.stream:
        _check_streamed(asked)
        model.sample(asked.n or 1, out=asked.output, **wanted)
        return
    write_table(model.sample(asked.n or 1, **wanted), asked.output)


def impute(asked: Namespace) -> None:
    """Write the table with its missing values drawn."""
    _check_apart(asked, "model", "data")
    model = load_model(asked.model, "impute")
    if asked.stream:
        stream, context = _stream(asked, model)
        model.impute(stream, **context, out=asked.output, random_state=asked.random_state)
        return
    source, table, X, context = _rows(asked, model)
    with source_named(source):
        filled = model.impute(X, random_state=asked.random_state, **context)
    completed = nw.from_native(filled, eager_only=True)
    write_table(table.with_columns(*completed.iter_columns()).to_native(), asked.output)


def outliers(asked: Namespace) -> None:
    """Write the rows whose p-value is at most the level, those of the lowest score first.

    The score is the statistic of the detector: fastar info names it.
    """
    _check_apart(asked, "model", "data")
    detector = load_model(asked.model)
    if not isinstance(detector, DensityOutlierDetector):
        raise CommandError(
            f"{asked.model} holds a {type(detector).__name__}. Outliers need a detector, which "
            "keeps rows to compare with: fastar fit --detector."
        )
    source, table, X, _ = _rows(asked, detector)
    with source_named(source):
        scores, p = detector.score_samples(X), detector.p_values(X)
        shares = np.asarray(detector.explain(X))
    smallest = 1 / (1 + len(detector.calibration_scores_))
    if smallest > asked.level:
        warnings.warn(
            f"No p-value is below {smallest:.3g}, for so few rows were kept from training: "
            f"--level {asked.level:g} finds nothing.",
            stacklevel=1,
        )
    rows = np.flatnonzero(p <= asked.level)
    rows = rows[np.argsort(scores[rows], kind="stable")]
    least = shares[rows].argmin(axis=1)
    found = {
        "row": rows,
        "p_value": p[rows],
        "score": scores[rows],
        "column": [schema_of(detector).names[d] for d in least],
        "column_share": shares[rows, least],
    }
    _write(asked, table[rows.tolist(), :] if asked.append else None, found)
    _say(asked, f"{len(rows)} of {len(p)} rows have a p-value of {asked.level:g} or less")


def ask(asked: Namespace) -> None:
    """Print the probability of values, sets or intervals given others; the rest is integrated out.

    COLUMN=VALUE, COLUMN={A,B} or COLUMN=LOW..HIGH, where LOW counts and HIGH does not and either
    may be left out.
    """
    model = load_model(asked.model, "log_probability")
    refuse_missing_context(model, "a table: fastar score")
    condition = pairs(asked.given, "--given")
    question = pairs(asked.values, "the question")
    both = [name for name in question if name in condition]
    if both:
        raise CommandError(f"Column {both[0]!r} is asked for and given.")
    asked_for = _log_probability(model, {**condition, **question}, asked)
    given = _log_probability(model, condition, asked) if condition else 0.0
    write_text(f"{asked_for - given:.6g}\n")
    _say(asked, "nats: the log of a probability, or of a density where a real number is asked for")


def info(asked: Namespace) -> None:
    """Print what a file holds."""
    model = load_model(asked.model)
    found = described(model)
    if asked.json:
        write_text(json.dumps(found, indent=2, default=str) + "\n")
        return
    columns = found.pop("columns")
    lines = [f"{name + ':':<14}{value}" for name, value in found.items()]
    width = max(len(str(column["name"])) for column in columns)
    lines.append("columns:")
    lines += [f"  {column['name']!s:<{width}}  {column['holds']}" for column in columns]
    write_text("\n".join(lines) + "\n")


def plot(asked: Namespace) -> None:
    """Draw a figure of a model, and write it as PNG, PDF or SVG."""
    check_options(asked)
    check_writable(asked.output)
    _check_apart(asked, "model", "data")
    model = load_model(asked.model)
    of = subject(asked, model)
    if not FIGURES[asked.figure].of_rows:
        write_bytes(drawn(asked, of, None, {}), asked.output)
        return
    source, table, X, context = _rows(asked, model)
    if "rows" in FIGURES[asked.figure].options:
        rows = asked.rows or [0]
        if max(rows) >= len(table):
            raise CommandError(f"--rows: {source.name} has no row {max(rows)}, but {len(table)}.")
        X, context = (
            nw.from_native(X, eager_only=True)[rows].to_native(),
            {
                name: nw.from_native(each, eager_only=True)[rows].to_native()
                for name, each in context.items()
            },
        )
    check_columns(source, schema_of(model).names, asked.columns or ())
    with source_named(source):
        content = drawn(asked, of, X, context)
    write_bytes(content, asked.output)


def _fit_streamed(asked: Namespace) -> None:
    """Fit a model to a table that is read batch by batch."""
    source = Source.of(asked.data, asked.separator)
    stream = _opened_stream(asked, "types", "validation")
    names = _chosen(source, stream.names(), asked)
    targets = asked.target_columns or names
    check_columns(source, names, targets)
    context = [name for name in names if name not in targets]
    estimator = new_estimator(asked, has_context=bool(context))
    estimator.fit(stream.columns(names), **({"context": context} if context else {}))
    estimator.save(asked.output)
    _say(asked, f"{asked.output}: {summary(estimator)}")


def _stream(asked: Namespace, model: Any, *without: str) -> tuple[Stream, dict[str, Any]]:
    """Return the model's columns of a table that is read, and answered in Parquet, in batches.

    The second list has the names of the columns of the context, if there is one.
    """
    _check_streamed(asked)
    names = context_schema(model).names if has_context(model) else []
    stream = _opened_stream(asked, *without).columns([*schema_of(model).names, *names])
    return stream, {"context": names} if names else {}


def _opened_stream(asked: Namespace, *without: str) -> Stream:
    """Return the stream of the table; without: options that do not go with it."""
    for option in without:
        if getattr(asked, option):
            raise CommandError(f"--stream takes no --{option.replace('_', '-')}.")
    if not (os.path.isdir(asked.data) or Source.of(asked.data, asked.separator).is_parquet):
        raise CommandError(f"--stream reads Parquet, which {asked.data} is not.")
    return Stream.of(asked.data, "the table")


_READ = {
    "data": "the table",
    "validation": "the validation rows",
    "context": "the context",
    "model": "the model",
}
"""Names of the files of options in errors."""


def _check_apart(asked: Namespace, *options: str) -> None:
    """Refuse an output in the place of a file that is read, which would be lost."""
    for option in options:
        path = getattr(asked, option)
        if path not in (None, "-") and asked.output != "-" and is_within(asked.output, path):
            place = "is in the folder of" if os.path.isdir(path) else "is"
            raise CommandError(
                f"{asked.output} {place} {_READ[option]}: give --output another name."
            )


def _check_streamed(asked: Namespace) -> None:
    if not is_parquet_name(asked.output):
        raise CommandError("--stream writes Parquet: give a name in .parquet by --output.")


def _rows(asked: Namespace, model: Any) -> tuple[Source, nw.DataFrame[Any], Any, dict[str, Any]]:
    """Return the source, the whole table, the model's columns of it, and its context if any."""
    types, context = types_of(schema_of(model)), {}
    names = schema_of(model).names
    if has_context(model):
        types |= types_of(context_schema(model))
    source = Source.of(asked.data, asked.separator)
    table = read_table(source, types)
    if has_context(model):
        context = {"context": table.select(context_schema(model).names).to_native()}
    return source, table, table.select(names).to_native(), context


def _log_probability(model: Any, texts: Mapping[str, str], asked: Namespace) -> float:
    """Return log P of what is said of some columns."""
    found = model.log_probability(
        evidence_of(model, texts), n_particles=asked.particles, random_state=asked.random_state
    )
    return float(found[0])


def _chosen(source: Source, names: list[str], asked: Namespace) -> list[str]:
    """Return the columns that a model is to be fitted to."""
    check_columns(source, names, [*(asked.columns or ()), *(asked.drop or ())])
    return [name for name in asked.columns or names if name not in (asked.drop or ())]


# ---- what the user reads


@contextmanager
def source_named(source: Source, validation: Source | None = None) -> Iterator[None]:
    """Let errors of the library about rows name the file, and the line, that they are of."""
    try:
        yield
    except InvalidParameterError:
        raise
    except (TypeError, ValueError) as error:
        held_out = str(error).startswith(("X_val", "context_val"))
        told = validation if held_out and validation else source
        raise TableError(told.told(str(error))) from error


def _write(asked: Namespace, table: nw.DataFrame[Any] | None, found: dict[str, Any]) -> None:
    """Write columns, beside those of a table if there is one."""
    columns = nw.from_dict(found, backend=frame_library())
    if table is not None:
        both = [name for name in found if name in table.columns]
        if both:
            raise CommandError(f"--append: there is a column {both[0]!r} already.")
        columns = table.with_columns(*columns.iter_columns())
    write_table(columns.to_native(), asked.output)


def _say(asked: Namespace, message: str) -> None:
    if not asked.quiet:
        tell(message)
