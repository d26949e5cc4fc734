"""
Tables beyond memory: `python bench/out_of_core.py` makes one in Parquet, fits it and asks for more.

A table of 30 mixed columns is made in pieces: ten categories, ten real columns, some with gaps and
one with zeros, five columns of integers, and five of bools, which all depend on hidden classes. A
process of its own then fits a NADE to the file, scores it into another file, or draws as many rows
as it has. Printed are the rows a second, beside those of the same model on the first rows of the
table in memory, and the most memory that the process had, less what it had after it had imported
fastar, pyarrow and polars.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from machine import cores, peak_memory
from tables import table

PIECE = 1 << 18
N_CLASSES = 12
TASKS = ("fit", "score", "sample")


def piece(k: int, n: int) -> Any:
    """Return rows of the table as a polars frame; k: which ones."""
    import polars as pl

    shape = np.random.default_rng(0)  # the same classes in every piece
    rng = np.random.default_rng([1, k])
    kind = rng.integers(N_CLASSES, size=n)
    columns: dict[str, Any] = {}
    for d in range(10):
        levels = np.array([f"level {j}" for j in range(3 + 5 * d)])
        favourite = shape.integers(len(levels), size=N_CLASSES)
        own = np.where(rng.random(n) < 0.7, favourite[kind], rng.integers(len(levels), size=n))
        columns[f"category_{d}"] = pl.Series(levels)[own].cast(pl.Enum(levels.tolist()))
    for d in range(10):
        centre, width = shape.normal(size=(2, N_CLASSES))
        values = centre[kind] + np.exp(0.3 * width[kind]) * rng.normal(size=n)
        if d < 3:
            values = np.exp(values)
        if d == 0:
            values[rng.random(n) < 0.2] = 0.0
        series = pl.Series(values.astype(np.float32 if d % 2 else np.float64))
        columns[f"real_{d}"] = series.scatter(np.flatnonzero(rng.random(n) < 0.05 * (d > 7)), None)
    for d in range(5):
        mean = shape.gamma(2.0, 10.0 * (d + 1), size=N_CLASSES)
        columns[f"integer_{d}"] = rng.poisson(mean[kind])
    for d in range(5):
        columns[f"bool_{d}"] = rng.random(n) < shape.random(N_CLASSES)[kind]
    return pl.DataFrame(columns)


def make(path: Path, n_rows: int) -> None:
    """Write the table, a piece at a time."""
    import pyarrow.parquet as pq

    writer = None
    for k, start in enumerate(range(0, n_rows, PIECE)):
        rows = piece(k, min(PIECE, n_rows - start)).to_arrow()
        writer = writer or pq.ParquetWriter(path, rows.schema)
        writer.write_table(rows)
    assert writer is not None
    writer.close()


def run(task: str, folder: Path, hidden: int, epochs: int, in_memory: int) -> dict[str, float]:
    """Return rows a second and peak memory of a task in this process; in_memory: its rows, or 0."""
    import polars as pl
    import pyarrow.dataset  # noqa: F401

    from fastar import NADE, load

    warnings.simplefilter("ignore")  # fits end at their limit of epochs
    path, saved = folder / "table.parquet", folder / "model.fastar"
    X: Any = pl.read_parquet(path, n_rows=in_memory) if in_memory else path
    model = NADE(n_hidden=hidden, max_iter=epochs, random_state=0)
    model = model if task == "fit" else load(saved)
    n = in_memory or pl.scan_parquet(path).select(pl.len()).collect().item()
    before, start, seconds = peak_memory(), time.perf_counter(), 0.0
    if task == "fit":
        clock = Clock()
        model.set_params(callbacks=clock).fit(X)
        model.set_params(callbacks=None).save(saved)
        seconds, n = clock.seconds, n * epochs
    elif task == "score":
        model.score_samples(X, **({} if in_memory else {"out": folder / "scores.parquet"}))
    else:
        model.sample(n, **({} if in_memory else {"out": folder / "samples.parquet"}))
    whole = time.perf_counter() - start
    return {"rows": n / (seconds or whole), "whole": whole, "MB": peak_memory() - before}


class Clock:
    """A callback that measures the seconds of all epochs."""

    def on_fit_begin(self, training: Any) -> None:
        self._start = time.perf_counter()

    def on_epoch_end(self, training: Any) -> None:
        """Go on."""

    def on_fit_end(self, training: Any) -> None:
        self.seconds = time.perf_counter() - self._start


def asked(task: str, options: argparse.Namespace, folder: Path, in_memory: int) -> dict[str, Any]:
    """Return what `run` returns in a process of its own."""
    command = [sys.executable, "-P", __file__, "--task", task, "--folder", str(folder)]
    command += ["--hidden", str(options.hidden), "--epochs", str(options.epochs)]
    command += ["--in-memory", str(in_memory)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}
    environment["PYTHONPATH"] = str(Path(__file__).parent)
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> int:
    """Make the table, run the tasks, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--in-memory", type=int, default=1_000_000, help="rows to compare with")
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--folder", type=Path, help="where files are kept; a new one by default")
    parser.add_argument("--task", choices=TASKS, help=argparse.SUPPRESS)
    parser.add_argument("--markdown", action="store_true", help="a table for RESULTS.md")
    options = parser.parse_args()
    if options.task:
        found = run(options.task, options.folder, options.hidden, options.epochs, options.in_memory)
        print(json.dumps(found))
        return 0
    with tempfile.TemporaryDirectory() as made:
        folder = options.folder or Path(made)
        path = folder / "table.parquet"
        if not path.exists():
            make(path, options.rows)
        print(f"{options.rows} rows, {path.stat().st_size / 1e6:.0f} MB of Parquet", flush=True)
        lines = []
        for task in TASKS:
            memory = asked(task, options, folder, min(options.in_memory, options.rows))
            stream = asked(task, options, folder, 0)
            share = f"{stream['rows'] / memory['rows']:.2f}"
            shown = [f"{found['rows']:.0f}" for found in (stream, memory)]
            rest = [f"{stream['whole']:.0f}", f"{stream['MB']:.0f}"]
            lines.append([task, *shown, share, *rest])
        heads = ["task", "rows / s", "in memory", "share", "s in all", "peak MB"]
        print(table(heads, lines, options.markdown))
    return 0


if __name__ == "__main__":
    sys.exit(main())
