"""Files and standard input as bytes, text and records of CSV; errors with file and line."""

from __future__ import annotations

import csv
import gzip
import io
import re
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, TextIO

from fastar._core.lazy import lazy

_GZIP = b"\x1f\x8b"
_SEPARATORS = ",;\t|"


class TableError(ValueError):
    """A file is no table, or not the table that is wanted."""


def tell(message: str) -> None:
    """Print a line to standard error, if there is one: `print` would take standard output."""
    if sys.stderr is not None:
        print(message, file=sys.stderr)


@dataclass(frozen=True)
class Source:
    """A file, or the bytes of standard input; either may be packed by gzip.

    Parameters
    ----------
    name : str
        Its name in errors.
    path : str or None
        None: the content is given.
    content : bytes
    given_separator : str or None
        Between the cells of CSV; None: as `separator` finds it.
    """

    name: str
    path: str | None
    content: bytes
    given_separator: str | None

    @classmethod
    def of(cls, path: str, separator: str | None) -> Source:
        """Return the source of a path, where "-" is standard input."""
        if path == "-":
            if sys.stdin is None:
                raise TableError("standard input: it is closed.")
            return cls("standard input", None, sys.stdin.buffer.read(), separator)
        return cls(path, path, b"", separator)

    def native(self) -> Any:
        """Return the bytes, unpacked, as an open file."""
        if self._unpacked is not None:
            return io.BytesIO(self._unpacked)
        return self._given()

    def _given(self) -> Any:
        return io.BytesIO(self.content) if self.path is None else open(self.path, "rb")

    @lazy
    def _unpacked(self) -> bytes | None:
        """The bytes of what gzip packed; None of anything else."""
        with self._given() as file:
            if file.read(len(_GZIP)) != _GZIP:
                return None
            packed = _GZIP + file.read()
        try:
            return gzip.decompress(packed)
        except (EOFError, OSError, zlib.error) as error:
            raise TableError(f"{self.name}: it is no whole file of gzip: {error}.") from error

    @lazy
    def is_parquet(self) -> bool:
        """Whether it begins as Parquet does."""
        with self.native() as file:
            start: bytes = file.read(4)
        return start == b"PAR1"

    def text(self) -> TextIO:
        """Return CSV as an open text file."""
        return io.TextIOWrapper(self.native(), "utf-8-sig", newline="")

    @lazy
    def first_line(self) -> str:
        """The first line of CSV, with its end."""
        with self.text() as text:
            return text.readline()

    @lazy
    def separator(self) -> str:
        """The separator of cells: the most frequent one of the first line, outside quotes."""
        if self.given_separator:
            return self.given_separator
        bare = re.sub('"[^"]*"', "", self.first_line)
        return max(_SEPARATORS, key=bare.count)  # the first of equals

    @property
    def decimal(self) -> str:
        """The decimal mark, a comma where semicolons are between cells."""
        return "," if self.separator == ";" else "."

    def records(self, blank: bool = False) -> Iterator[tuple[int, list[str]]]:
        """Yield each record of CSV with the line on which it begins.

        blank: also lines without anything, as records without cells.
        """
        with self.text() as text:
            reader, line = csv.reader(text, delimiter=self.separator), 1
            for record in reader:
                if record or blank:
                    yield line, record
                line = reader.line_num + 1

    def place(self, row: int) -> str:
        """Return what errors call a row: its number from 0 on, and the line of CSV."""
        if self.is_parquet:
            return f"row {row}"
        line, _ = next(islice(self.records(), row + 1, None), (None, None))
        return f"row {row}" if line is None else f"row {row} (line {line})"

    def told(self, message: str) -> str:
        """Return an error's message with the file's name, and the line of the row that it names."""
        placed = re.sub(r"\brow (\d+)", lambda found: self.place(int(found[1])), message, count=1)
        return f"{self.name}: {placed}"
