"""The command `fastar`: models of tables in files, without a line of Python."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from fastar.cli._arguments import parser

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    arguments : list of str, optional
        Arguments of the command line; those of the process by default.

    Returns
    -------
    int
        The exit code: 0, or 1 after an error, which is told in a line of standard error.
    """
    asked = parser().parse_args(arguments)

    def tell(message: Any, *_: Any, **__: Any) -> None:
        if not asked.quiet:
            print(f"fastar: warning: {message}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.showwarning = tell
        try:
            asked.run(asked)
        except BrokenPipeError:  # who reads has seen enough, as head does
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except KeyboardInterrupt:
            print("fastar: interrupted", file=sys.stderr)
            return 130
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            print(f"fastar: error: {where}{error.strerror or error}", file=sys.stderr)
            return 1
        except (ValueError, TypeError, ImportError, MemoryError) as error:
            print(f"fastar: error: {error}", file=sys.stderr)
            return 1
    return 0
