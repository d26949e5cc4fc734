"""Settings of models, as commands take them: `--set KEY=VALUE ..`."""

import argparse
import ast
from typing import Any

__all__ = ["add_settings", "literal"]


def literal(text: str) -> Any:
    """Read a value; what is no Python literal is a string."""
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text


def setting(text: str) -> tuple[str, Any]:
    """Read one key=value."""
    key, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form key=value")
    return key, literal(value)


def add_settings(parser: argparse.ArgumentParser, meaning: str) -> None:
    """Add the option --set KEY=VALUE .., whose pairs are `changes`."""
    parser.add_argument(
        "--set",
        dest="changes",
        metavar="KEY=VALUE",
        nargs="+",
        action="extend",
        type=setting,
        default=[],
        help=meaning,
    )
