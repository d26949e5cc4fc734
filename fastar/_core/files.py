"""Files of named arrays with a JSON header: written whole or not at all, checked when read."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from tempfile import TemporaryFile
from typing import Any, BinaryIO

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as parse
from safetensors.numpy import save

from fastar._core.parameters import Array

FORMAT_VERSION = 3

MOST_NESTED = 64
"""How deep the header may be nested: a mixture in a mixture adds up to three."""

OLD_SECONDS = 600
"""A temporary file that was not written to for so long has no writer any more."""

Contents = tuple[dict[str, Any], dict[str, Array]]
Step = Callable[[dict[str, Any], dict[str, Array]], Contents]
"""From the header and the arrays of one version of the format to those of the next."""


def _digest(header: str, arrays: dict[str, Array]) -> str:
    sha = hashlib.sha256(header.encode())
    for name in sorted(arrays):
        sha.update(f"{name}{arrays[name].dtype.str}{arrays[name].shape}".encode())
        sha.update(np.ascontiguousarray(arrays[name]).data)
    return sha.hexdigest()


def write_arrays(path: str, kind: str, header: dict[str, Any], arrays: dict[str, Array]) -> None:
    """Write a file whole, so that a crash leaves the old one or none."""
    text = json.dumps(header, default=np.generic.item)  # of NumPy's numbers Python's
    if _depth(text) > MOST_NESTED:
        raise ValueError(
            f"A file holds what is nested {MOST_NESTED} deep at most; {path!r} would be deeper."
        )
    metadata = {
        "fastar": kind,
        "version": str(FORMAT_VERSION),
        "header": text,
        "sha256": _digest(text, arrays),
    }
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    with whole_file(path) as file:
        file.write(save(arrays, metadata))


@contextmanager
def whole_file(path: str) -> Iterator[BinaryIO]:
    """Open a file beside `path` to write, and rename it in the end: no half a file is seen.

    A symbolic link stays one: what it leads to is written. A device or a pipe stays what it is and
    is written to in the end: a file in its place would be no device.
    """
    if _is_device(path):
        with TemporaryFile() as file:
            yield file
            file.seek(0)
            with _named_errors(path), open(path, "wb") as device:
                shutil.copyfileobj(file, device)
        return
    target = os.path.realpath(path)
    temporary = f"{target}.{secrets.token_hex(4)}.tmp"
    try:
        with _named_errors(path):
            _remove_remains(target)
            # not by tempfile: the user's umask decides who may read a model
            with open(temporary, "xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)


def _is_device(path: str) -> bool:
    """Return whether a path is that of what can be written to but is neither file nor folder."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


@contextmanager
def _named_errors(path: str) -> Iterator[None]:
    """Let errors of the system name the file, which that of a full disk does not."""
    try:
        yield
    except OSError as error:
        raise type(error)(error.errno, error.strerror or str(error), path) from error


def _remove_remains(target: str) -> None:
    """Remove the temporary files that writers of this path, killed some time ago, left behind."""
    folder, name = os.path.split(target)
    pattern = re.compile(re.escape(name) + r"\.[0-9a-f]{8}\.tmp")
    with suppress(OSError):  # another writer may tidy as well, or the folder be unreadable
        for each in filter(pattern.fullmatch, os.listdir(folder)):
            path = os.path.join(folder, each)
            if time.time() - os.lstat(path).st_mtime > OLD_SECONDS:
                os.unlink(path)


def _depth(text: str) -> int:
    """Return how deep lists and objects are nested in JSON."""
    deepest = depth = 0
    for bracket in re.findall(r"[\[\]{}]", re.sub(r'"(?:[^"\\]|\\.)*"', "", text)):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


def read_arrays(path: str, kind: str, steps: Mapping[int, Step] | None = None) -> Contents:
    """Return header and arrays of a file that `write_arrays` wrote; ValueError for any other.

    steps: by version, how files of older versions become those of the next one.
    """
    metadata, arrays = _read(path)
    if metadata.get("fastar") != kind:
        raise ValueError(
            f"The file {path!r} must be a fastar {kind}. Got {metadata.get('fastar')!r} instead."
        )
    versions = range(1, FORMAT_VERSION + 1)
    if metadata.get("version") not in [str(version) for version in versions]:
        raise ValueError(
            f"The file {path!r} has format version {metadata.get('version')}; "
            f"this fastar reads {' to '.join(str(each) for each in sorted({1, FORMAT_VERSION}))}."
        )
    text = metadata.get("header", "")
    if _digest(text, arrays) != metadata.get("sha256"):
        raise ValueError(f"The file {path!r} is damaged: its checksum does not fit its contents.")
    try:
        header: Any = json.loads(text) if _depth(text) <= MOST_NESTED else None
    except ValueError as error:
        raise ValueError(f"The file {path!r} is damaged: its header is no JSON.") from error
    if not isinstance(header, dict):
        raise ValueError(
            f"The file {path!r} is damaged: its header must be a JSON object that is nested "
            f"{MOST_NESTED} deep at most."
        )
    for version in range(int(metadata["version"]), FORMAT_VERSION):
        step = (steps or {}).get(version)
        header, arrays = (header, arrays) if step is None else step(header, arrays)
    return header, arrays


def _read(path: str) -> tuple[dict[str, str], dict[str, Array]]:
    """Return the metadata and the arrays of a file of safetensors."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # to open a pipe would wait for a writer
            raise ValueError(f"The file {path!r} must be a regular file. Got another kind.")
        # read, not mapped: what is mapped is gone when somebody shortens the file meanwhile
        with open(path, "rb") as file:
            content = file.read()
    except FileNotFoundError as error:
        raise FileNotFoundError(f"There is no file {path!r}.") from error
    try:
        arrays = parse(content)
        metadata = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"The file {path!r} is damaged or not a fastar file ({error}).") from error
    return metadata.get("__metadata__") or {}, arrays
