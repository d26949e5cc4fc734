"""Files of named arrays with a JSON header: written whole or not at all, checked when read."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from fastar._core.parameters import Array

FORMAT_VERSION = 1

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
    """Write a file beside `path` and rename it, so that a crash leaves the old one or none."""
    text = json.dumps(header, default=np.generic.item)  # of NumPy's numbers Python's
    metadata = {
        "fastar": kind,
        "version": str(FORMAT_VERSION),
        "header": text,
        "sha256": _digest(text, arrays),
    }
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    temporary = f"{path}.{secrets.token_hex(4)}.tmp"
    try:
        # not by tempfile: the user's umask decides who may read a model
        with open(temporary, "xb") as file:
            file.write(save(arrays, metadata))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise


def read_arrays(path: str, kind: str, steps: Mapping[int, Step] | None = None) -> Contents:
    """Return header and arrays of a file that `write_arrays` wrote; ValueError for any other.

    steps: by version, how files of older versions become those of the next one.
    """
    if not os.path.exists(path):
        raise FileNotFoundError(f"There is no file {path!r}.")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, TypeError, ValueError) as error:
        raise ValueError(f"The file {path!r} is damaged or not a fastar file ({error}).") from error
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
    header: dict[str, Any] = json.loads(text)
    for version in range(int(metadata["version"]), FORMAT_VERSION):
        header, arrays = (steps or {})[version](header, arrays)
    return header, arrays
