"""The command `fastar`: models of tables in files, without a line of Python."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from fastar.cli._arguments import parser
from fastar.cli._sources import tell

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

    def warn(message: Any, *_: Any, **__: Any) -> None:
        if not asked.quiet:
            tell(f"fastar: warning: {message}")

    with warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.showwarning = warn
        try:
            asked.run(asked)
        except BrokenPipeError:  # who reads has seen enough, as head does
            pass
        except KeyboardInterrupt:
            tell("fastar: interrupted")
            return 130
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            tell(f"fastar: error: {where}{error.strerror or error}")
            return 1
        except (ValueError, TypeError, ImportError, MemoryError) as error:
            tell(f"fastar: error: {error}")
            return 1
    return 0
