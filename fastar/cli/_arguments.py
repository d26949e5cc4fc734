"""The arguments of the command line."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from fastar.cli import _commands
from fastar.cli._cells import NULLS, TYPES
from fastar.cli._figures import FIGURES, FORMATS
from fastar.cli._models import TABLE_MODELS

_EPILOG = f"""\
Tables are CSV with a header, in UTF-8, or Parquet, either packed by gzip or not; "-" is standard
input or output. Cells of CSV that are empty or {", ".join(NULLS[1:])}
are missing values. A column is of integers, numbers, true and false, or dates and times in
ISO 8601 such as 2024-05-31T09:30 where all of its cells look so, and else of categories, as are
postal codes such as 02139; --types says otherwise. Rows are counted from 0.

  fastar fit data.csv -o model.fastar
  fastar score model.fastar new.csv -o scores.csv
  fastar sample model.fastar -n 1000 --given colour=red > drawn.csv
  fastar impute model.fastar gaps.csv -o full.csv
  fastar fit data.csv --detector -o detector.fastar
  fastar outliers detector.fastar new.csv
  fastar ask model.fastar colour=red --given size=3
  fastar ask model.fastar 'colour={{red,blue}}' size=3.. --given price=10..20
  fastar plot model.fastar pairs data.csv -o pairs.png

The exit code is 0, or 1 after an error of data or files, or 2 after one of the command line.
"""


def parser() -> argparse.ArgumentParser:
    """Return the parser; `run` of what it reads is the function of the command."""
    whole = argparse.ArgumentParser(
        prog="fastar",
        description="Exact densities of tables: fit, score, sample, impute, find outliers.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    whole.add_argument("--version", action="version", version=f"fastar {version('fastar-density')}")
    commands = whole.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(run: Callable[..., None], summary: str) -> Any:
        own = commands.add_parser(run.__name__, help=summary, description=run.__doc__)
        own.set_defaults(run=run)
        own.add_argument("-q", "--quiet", action="store_true", help="tell errors alone")
        return own

    _fit(command(_commands.fit, "fit a model to a table"))
    score = _of_table(command(_commands.score, "log-density of each row"))
    either = score.add_mutually_exclusive_group()
    either.add_argument("--by-column", action="store_true", help="a term for each column")
    _append(either)
    _streamed(score)
    sample = _of_model(command(_commands.sample, "draw rows"))
    sample.add_argument(
        "-n", type=_count, help="rows; by default 1, or those of the context", metavar="ROWS"
    )
    _given(sample, "values that all rows have")
    sample.add_argument("--context", metavar="FILE", help="a table of the context, if there is one")
    sample.add_argument("--temperature", type=_positive, default=1.0, metavar="T")
    _separator(sample)
    _output(sample)
    _streamed(sample)
    _seed(sample)
    impute = _of_table(command(_commands.impute, "draw missing values, given those that are there"))
    _streamed(impute)
    _seed(impute)
    outliers = _of_table(command(_commands.outliers, "improbable rows, with p-values"))
    outliers.add_argument(
        "--level", type=_share, default=0.01, help="largest p-value, by default 0.01", metavar="P"
    )
    _append(outliers)
    ask = _of_model(command(_commands.ask, "log-probability of values of some columns"))
    ask.add_argument("values", nargs="+", metavar="COLUMN=VALUE")
    _given(ask, "values that are known")
    ask.add_argument(
        "--particles", type=_count, default=1024, help="samples, where no sum is exact", metavar="N"
    )
    _seed(ask)
    _plot(_of_model(command(_commands.plot, "draw a figure of a model")))
    info = _of_model(command(_commands.info, "what a file of a model holds"))
    info.add_argument("--json", action="store_true", help="print JSON")
    return whole


def _fit(own: Any) -> None:
    own.add_argument("data", metavar="DATA", help="table to fit to")
    own.add_argument("-o", "--output", required=True, metavar="MODEL", help="file to write")
    own.add_argument("--model", choices=TABLE_MODELS, default="NADE", help="by default NADE")
    own.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=VALUE",
        help="parameters of the model, as n_hidden=200",
    )
    own.add_argument("--detector", action="store_true", help="fit a detector of outliers")
    own.add_argument("--columns", type=_names, metavar="A,B", help="columns to use, by default all")
    own.add_argument("--drop", type=_names, metavar="A,B", help="columns to leave out")
    own.add_argument(
        "--target-columns",
        type=_names,
        metavar="A,B",
        help="columns whose density is fitted, given all others as context",
    )
    own.add_argument(
        "--types",
        type=_names,
        default=[],
        metavar="A=TYPE,B=TYPE",
        help=f"what columns hold, where it is not as it seems: {', '.join(TYPES)}",
    )
    own.add_argument("--validation", metavar="FILE", help="a table for early stopping")
    own.add_argument(
        "--max-time", type=_positive, metavar="SECONDS", help="stop after an epoch that ends later"
    )
    own.add_argument("--n-jobs", type=int, metavar="N", help="threads, by default all cores")
    _streamed(own)
    _separator(own)
    _seed(own)


def _plot(own: Any) -> None:
    told = "; ".join(f"{name}: {figure.summary}" for name, figure in FIGURES.items())
    own.add_argument("figure", choices=FIGURES, help=told)
    own.add_argument("data", nargs="?", metavar="DATA", help="table, for a figure of rows")
    own.add_argument(
        "-o", "--output", required=True, metavar="FILE", help=f"to write, {', '.join(FORMATS)}"
    )
    own.add_argument("--columns", type=_names, metavar="A,B", help="columns to draw")
    own.add_argument("--rows", type=_row_numbers, metavar="N,M", help="rows to draw, by default 0")
    _separator(own)
    _seed(own)


def _streamed(own: Any) -> None:
    own.add_argument(
        "--stream",
        action="store_true",
        help="read and write Parquet batch by batch, in bounded memory",
    )


def _of_model(own: Any) -> Any:
    own.add_argument("model", metavar="MODEL", help="file that fit wrote")
    return own


def _of_table(own: Any) -> Any:
    _of_model(own)
    own.add_argument("data", metavar="DATA", help="table with the columns that the model knows")
    _separator(own)
    _output(own)
    return own


def _output(own: Any) -> None:
    own.add_argument(
        "-o",
        "--output",
        default="-",
        metavar="FILE",
        help="table to write, by default CSV on standard output",
    )


def _append(own: Any) -> None:
    own.add_argument("--append", action="store_true", help="write the columns of DATA as well")


def _separator(own: Any) -> None:
    own.add_argument(
        "--separator",
        type=_character,
        metavar="C",
        help="of CSV, by default the one of comma, semicolon, tab and bar in its header",
    )


def _seed(own: Any) -> None:
    own.add_argument(
        "--random-state", type=_seed_number, metavar="N", help="for the same draws again"
    )


def _given(own: Any, summary: str) -> None:
    own.add_argument(
        "--given", nargs="+", action="extend", default=[], metavar="COLUMN=VALUE", help=summary
    )


# ---- values


def _names(text: str) -> list[str]:
    return text.split(",")


def _row_numbers(text: str) -> list[int]:
    if not all(each.isdecimal() for each in text.split(",")):
        raise argparse.ArgumentTypeError(f"must be whole numbers, as 0,5. Got {text!r} instead.")
    return [int(each) for each in text.split(",")]


def _character(text: str) -> str:
    character = {"\\t": "\t", "tab": "\t"}.get(text, text)
    if len(character.encode()) != 1:
        raise argparse.ArgumentTypeError(f"must be one character. Got {text!r} instead.")
    return character


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 on. Got {text!r} instead.")
    return int(text)


def _seed_number(text: str) -> int:
    if not text.isdecimal() or int(text) >= 1 << 32:
        raise argparse.ArgumentTypeError(
            f"must be a whole number below 2**32. Got {text!r} instead."
        )
    return int(text)


def _positive(text: str) -> float:
    number = _number(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"must be more than 0. Got {text!r} instead.")
    return number


def _share(text: str) -> float:
    number = _number(text)
    if not 0 < number <= 1:
        raise argparse.ArgumentTypeError(f"must be more than 0, at most 1. Got {text!r} instead.")
    return number


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
