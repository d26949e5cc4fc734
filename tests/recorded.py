"""Answers in files: values of any kind as JSON, and processes that give the same bits anywhere.

Bits depend on more than the code: NumPy, BLAS and the C library choose loops by what the processor
has, and versions of NumPy differ in their random streams and in the last bit of `exp`. A pinned
process forbids what can be forbidden: it runs the baseline instruction set of every one of these.
What remains is `PLATFORM`: where it is the one of the file, answers are the same bit for bit;
elsewhere training from other roundings ends a little apart, so that scores agree to some digits,
and a random draw may fall on the other side of a threshold, so that samples are not compared.
"""

import inspect
import json
import math
import os
import platform
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning

HERE = Path(__file__).parent
PLATFORM = {
    "machine": platform.machine(),
    "libc": " ".join(platform.libc_ver()),
    "numpy": np.__version__,
}

# ---- values


def encode(value):
    """Return a value as JSON, of which each bit and type can be told."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, np.ndarray | np.generic):
        value = np.asarray(value)
        kind = "object" if value.dtype == object else value.dtype.str
        return {"array": _plain(value.ravel().tolist()), "dtype": kind, "shape": [*value.shape]}
    if isinstance(value, list | tuple):
        return {"list": [encode(each) for each in value]}
    if isinstance(value, dict):
        return {"dict": [[key, encode(each)] for key, each in value.items()]}
    if sparse.issparse(value):
        parts = [encode(each) for each in (value.data, value.indices, value.indptr)]
        return {"csr": parts, "shape": [*value.shape]}
    if isinstance(value, pd.DataFrame):
        return {"pandas": [_of_pandas(str(name), column) for name, column in value.items()]}
    if isinstance(value, pl.DataFrame):
        return {"polars": [_of_polars(column) for column in value]}
    raise TypeError(type(value))


def decode(value):
    """Return the value that `encode` was given."""
    if not isinstance(value, dict):
        return value
    if "array" in value:
        return np.array(value["array"], value["dtype"]).reshape(value["shape"])
    if "list" in value:
        return [decode(each) for each in value["list"]]
    if "dict" in value:
        return {key: decode(each) for key, each in value["dict"]}
    if "csr" in value:
        return sparse.csr_array(tuple(map(decode, value["csr"])), shape=value["shape"])
    if "pandas" in value:
        columns = {name: _to_pandas(dtype, values) for name, dtype, values in value["pandas"]}
        return pd.DataFrame(columns)
    return pl.DataFrame(
        [pl.Series(name, values, _polars_dtype(dtype)) for name, dtype, values in value["polars"]]
    )


def _plain(values):
    return [None if each is pd.NA else each for each in values]


def _of_pandas(name, column):
    values = [None if pd.isna(each) else each for each in column.tolist()]
    if isinstance(column.dtype, pd.CategoricalDtype):
        dtype = {"categories": column.cat.categories.tolist(), "ordered": bool(column.cat.ordered)}
    else:
        dtype = str(column.dtype)
    return [name, dtype, values]


def _to_pandas(dtype, values):
    if isinstance(dtype, dict):
        return pd.Categorical(values, **dtype)
    return pd.Series(values, dtype=dtype)


def _of_polars(column):
    dtype = column.dtype
    named = {"enum": dtype.categories.to_list()} if isinstance(dtype, pl.Enum) else str(dtype)
    return [column.name, named, column.to_list()]


def _polars_dtype(named):
    return pl.Enum(named["enum"]) if isinstance(named, dict) else getattr(pl, named)


# ---- comparisons


def difference(actual, expected, rtol=0.0):
    """Return where two encoded values differ first, or None; rtol 0: in any bit."""
    if isinstance(actual, dict) and isinstance(expected, dict) and actual.keys() == expected.keys():
        pairs = [(key, actual[key], expected[key]) for key in actual]
    elif isinstance(actual, list) and isinstance(expected, list) and len(actual) == len(expected):
        pairs = [(i, *pair) for i, pair in enumerate(zip(actual, expected, strict=True))]
    elif rtol and isinstance(actual, float) and isinstance(expected, float):
        both_missing = math.isnan(actual) and math.isnan(expected)
        if both_missing or math.isclose(actual, expected, rel_tol=rtol, abs_tol=rtol):
            return None
        return f": {actual!r}, not {expected!r}"
    else:
        same = json.dumps(actual) == json.dumps(expected)
        return None if same else f": {str(actual)[:100]}, not {str(expected)[:100]}"
    for key, *pair in pairs:
        found = difference(*pair, rtol)
        if found:
            return f"[{key!r}]{found}"
    return None


# ---- questions to a model


def ask(estimator, inputs, questions):
    """Return the encoded answers to questions, each an attribute or a method and its arguments.

    inputs: what arguments are called in the file, and their values.
    """
    answers = []
    for name, arguments, settings in questions:
        thing = getattr(estimator, name)
        if callable(thing):
            thing = thing(**{key: inputs[key] for key in arguments}, **settings)
        answers.append(encode(thing))
    return answers


def fit(estimator, inputs):
    """Fit to those of the inputs that `fit` takes, however far from convergence training ends."""
    taken = inspect.signature(estimator.fit).parameters
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return estimator.fit(**{key: value for key, value in inputs.items() if key in taken})


# ---- files


def read(path):
    """Return what `write` wrote."""
    return json.loads(Path(path).read_text())


def write(path, content):
    """Write JSON with the platform, an entry a line."""
    content = {"platform": PLATFORM} | content
    lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(each)}" for key, each in content.items())
    Path(path).write_text(f"{{\n{lines}\n}}\n")


# ---- processes


def _environment():
    found = np.show_config(mode="dicts")["SIMD Extensions"]["found"]
    pinned = {
        "FASTAR_ISA": "baseline",
        "NPY_DISABLE_CPU_FEATURES": " ".join(found),
        "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX512F,-AVX2,-FMA,-FMA4",
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "passive",
    }
    if PLATFORM["machine"] in ("x86_64", "AMD64"):
        pinned["OPENBLAS_CORETYPE"] = "Nehalem"
    return os.environ | pinned


def run_pinned(module, call, *arguments):
    """Return the JSON that ``module.call(*arguments)`` gives in a process with pinned arithmetic.

    module: one of tests/ or tests/data/.
    """
    code = (
        "import json, sys; sys.path[:0] = json.loads(sys.argv[1])\n"
        f"import {module}; print(json.dumps({module}.{call}(*json.loads(sys.argv[2]))))"
    )
    folders = json.dumps([str(HERE), str(HERE / "data")])
    done = subprocess.run(
        [sys.executable, "-P", "-W", "error", "-c", code, folders, json.dumps(arguments)],
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
