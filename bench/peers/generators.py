"""
Generators of rows by other libraries, each by its defaults, and fastar's.

Run as a command by `bench/generators.py`, in a process of its own: `python generators.py NAME
FOLDER N SEED THREADS` reads the training rows from FOLDER/train.pkl, writes N samples to
FOLDER/drawn.pkl, and the CPU seconds of fit and sampling to FOLDER/seconds.json. Nothing but the
library that it asks for is imported. What is printed last says how far a fit has come.
"""

import json
import logging
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

Sampler = Callable[[int], pd.DataFrame]

MISSING = "missing"


def is_nominal(column: pd.Series) -> bool:
    """Return whether a column has categories or bools."""
    return isinstance(column.dtype, pd.CategoricalDtype) or column.dtype == bool


def as_text(rows: pd.DataFrame) -> pd.DataFrame:
    """Return categories and bools as text, whose gaps are a text of their own."""
    columns = {
        name: column.astype(object).where(column.notna(), MISSING).astype(str)
        if is_nominal(column)
        else column.astype("float64" if column.isna().any() else column.dtype)
        for name, column in rows.items()
    }
    return pd.DataFrame(columns)


def from_text(drawn: pd.DataFrame, like: pd.DataFrame) -> pd.DataFrame:
    """Return samples of `as_text` in the types of the training rows."""
    columns = {}
    for name, column in like.items():
        found = drawn[name].reset_index(drop=True)
        if column.dtype == bool:
            columns[name] = found.astype(str) == "True"
        elif is_nominal(column):
            text = found.astype(object).where(found.astype(str) != MISSING)
            columns[name] = pd.Series(pd.Categorical(text, column.cat.categories))
        elif column.dtype.kind == "f":
            columns[name] = found.astype(float)
        else:
            columns[name] = found.astype(float).round().astype("Int64").astype(column.dtype)
    return pd.DataFrame(columns)


def as_codes(rows: pd.DataFrame) -> tuple[np.ndarray, list[list[str] | None]]:
    """Return rows as numbers (n, D), and what the codes of categories stand for."""
    text, columns, levels = as_text(rows), [], []
    for _, column in text.items():
        is_text = column.dtype.kind not in "iuf"
        levels.append(column.value_counts().index.tolist() if is_text else None)
        columns.append(
            pd.Categorical(column, levels[-1]).codes if is_text else column.to_numpy(float)
        )
    return np.column_stack(columns).astype(float), levels


def from_codes(
    drawn: np.ndarray, levels: list[list[str] | None], like: pd.DataFrame
) -> pd.DataFrame:
    """Return samples of numbers in the types of the training rows."""
    columns = {}
    for name, values, names in zip(like.columns, drawn.T, levels, strict=True):
        if names is None:
            columns[name] = values
            continue
        codes = np.clip(np.rint(values), 0, len(names) - 1).astype(int)
        columns[name] = np.array(names, object)[codes]
    return from_text(pd.DataFrame(columns), like)


def independent(train: pd.DataFrame, seed: int, threads: int) -> Sampler:
    """Draw each column by itself: a floor to be better than."""
    rng = np.random.default_rng(seed)

    def drawn(n: int) -> pd.DataFrame:
        columns = {
            name: column.iloc[rng.integers(0, len(train), n)].reset_index(drop=True)
            for name, column in train.items()
        }
        return pd.DataFrame(columns)

    return drawn


def nade(train: pd.DataFrame, seed: int, threads: int) -> Sampler:
    """Return fastar's NADE."""
    from fastar import NADE

    model = NADE(random_state=seed, n_jobs=threads).fit(train)
    return lambda n: model.sample(n, random_state=seed)


def tabular_argn(train: pd.DataFrame, seed: int, threads: int) -> Sampler:
    """Return TabularARGN of mostlyai-engine."""
    import torch
    from mostlyai.engine import TabularARGN

    torch.set_num_threads(threads)
    model = TabularARGN(random_state=seed, verbose=1).fit(train)
    return lambda n: from_text(model.sample(n_samples=n), train)


def arf(train: pd.DataFrame, seed: int, threads: int) -> Sampler:
    """Return adversarial random forests."""
    from arfpy import arf as arfpy

    np.random.seed(seed)  # noqa: NPY002, which it draws from
    if not hasattr(np, "in1d"):  # arfpy 0.1.1 is older than NumPy 2.4
        np.in1d = np.isin  # noqa: NPY201
    text = as_text(train).astype({k: "object" for k, v in train.items() if is_nominal(v)})
    # It asks for columns by name and by place, which pandas 3 tells apart: here they are the same.
    text.columns = range(text.shape[1])
    model = arfpy.arf(text, n_jobs=threads, random_state=seed)
    model.forde()
    return lambda n: from_text(model.forge(n).set_axis(train.columns, axis=1), train)


def ctgan(train: pd.DataFrame, seed: int, threads: int) -> Sampler:
    """Return CTGAN."""
    import torch
    from ctgan import CTGAN

    torch.set_num_threads(threads)
    model = CTGAN(enable_gpu=False, verbose=True)
    model.set_random_state(seed)
    nominal = [name for name, column in train.items() if is_nominal(column)]
    model.fit(as_text(train), nominal)
    return lambda n: from_text(model.sample(n), train)


def gaussian_copula(train: pd.DataFrame, seed: int, threads: int) -> Sampler:
    """Return the Gaussian copula of copulas, of categories by their frequency."""
    from copulas.multivariate import GaussianMultivariate

    logging.basicConfig(format="%(message)s")
    logging.getLogger("copulas").setLevel(logging.DEBUG)  # it names each column that it fits
    codes, levels = as_codes(train)
    model = GaussianMultivariate(random_state=seed)
    model.fit(pd.DataFrame(codes, columns=list(train.columns)))
    return lambda n: from_codes(model.sample(n).to_numpy(float), levels, train)


def forest_flow(train: pd.DataFrame, seed: int, threads: int) -> Sampler:
    """Return Forest flow."""
    from ForestDiffusion import ForestDiffusionModel

    codes, levels = as_codes(train)
    counts = [0 if names is None else len(names) for names in levels]
    whole = [d for d, column in enumerate(codes.T) if not counts[d] and (column % 1 == 0).all()]

    class Told(ForestDiffusionModel):
        def train_iterator(self, *args: Any, t: float, **settings: Any) -> Any:
            print(f"noise level {t:.3f} of 1 in {self.n_t} steps")
            return super().train_iterator(*args, t=t, **settings)

    model = Told(
        codes,
        bin_indexes=[d for d, count in enumerate(counts) if count == 2],
        cat_indexes=[d for d, count in enumerate(counts) if count > 2],
        int_indexes=whole,
        n_jobs=threads,
        seed=seed,
    )
    return lambda n: from_codes(np.asarray(model.generate(batch_size=n), float), levels, train)


def unmasking_trees(train: pd.DataFrame, seed: int, threads: int) -> Sampler:
    """Return unmasking trees."""
    from sklearn.utils.validation import validate_data
    from utrees import UnmaskingTrees
    from utrees.kdi_quantizer import KDIQuantizer

    KDIQuantizer._validate_data = validate_data  # a method until scikit-learn 1.7
    codes, levels = as_codes(train)
    kinds = [
        "categorical" if names else "integer" if (column % 1 == 0).all() else "continuous"
        for names, column in zip(levels, codes.T, strict=True)
    ]
    model = UnmaskingTrees(random_state=seed, xgboost_kwargs={"n_jobs": threads})
    model.fit(codes, quantize_cols=kinds)
    return lambda n: from_codes(np.asarray(model.generate(n_generate=n), float), levels, train)


GENERATORS: dict[str, tuple[str, Callable[[pd.DataFrame, int, int], Sampler]]] = {
    "independent columns": ("pandas", independent),
    "fastar NADE()": ("fastar", nade),
    "TabularARGN": ("mostlyai.engine", tabular_argn),
    "ARF": ("arfpy", arf),
    "CTGAN": ("ctgan", ctgan),
    "Gaussian copula": ("copulas", gaussian_copula),
    "Forest flow": ("ForestDiffusion", forest_flow),
    "unmasking trees": ("utrees", unmasking_trees),
}
"""By title: the module that has to be there, and what fits and returns a sampler."""


def cpu_seconds() -> float:
    """Return the CPU seconds of this process and those of its own that have ended."""
    return sum(os.times()[:4])


def main(name: str, folder: Path, n: int, seed: int, threads: int) -> None:
    """Fit, sample, and write what was drawn."""
    train = pd.read_pickle(folder / "train.pkl")
    start = cpu_seconds()
    sampler = GENERATORS[name][1](train, seed, threads)
    fitted = cpu_seconds()
    print("fitted, draws samples")
    drawn = sampler(n)
    seconds = {"fit": fitted - start, "sample": cpu_seconds() - fitted}
    drawn.to_pickle(folder / "drawn.pkl")
    (folder / "seconds.json").write_text(json.dumps(seconds))


if __name__ == "__main__":
    tempfile.tempdir = sys.argv[2]  # what libraries leave behind goes with the folder
    main(sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:6]))
