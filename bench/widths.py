"""
Time models of tables whose columns differ in width: `python bench/widths.py --data FOLDER`.

Two kinds of tables. `adult_mixed` without its rows that have gaps, as numbers: categories are
levels, the others Gaussian, default NADE and MADE, and the NADE of 500 sigmoid units that was the
default before, for ratios to older versions. And 20 real columns beside one of K levels.
Printed are the time of a training step of 100 rows, of scoring and of sampling a row, the number of
parameters and the peak memory of the fit above the interpreter. `--other PYTHON` runs the same
under another interpreter, say one in whose environment an older version is installed, and prints
ratios; `--torch` times the same network with a head a column in PyTorch, after checking that its
log-likelihoods are ours.

A floor is printed beside each step: multiplications with additions of the output layer and its two
gradients at the machine's rate of matrix products, and 28 bytes a parameter for Adam at its rate of
copying.
"""

import argparse
import json
import os
import subprocess
import sys
import time
import warnings
from typing import Any

import numpy as np

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "NADE": ("NADE", {}),
    "NADE of 500": ("NADE", {"n_hidden": 500, "activation": "sigmoid"}),
    "MADE": ("MADE", {}),
}
LEVELS = (10, 2000, 20_000, 200_000)
N_ROWS, N_COLUMNS, BATCH = 20_000, 21, 100

#: An older version that pads columns takes minutes with more levels, and gigabytes.
MOST_OF_OTHER = 10


def narrow_and_wide(K: int) -> tuple[np.ndarray, list[bool]]:
    """Return rows of real columns beside one of K levels, in the middle."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((N_ROWS, N_COLUMNS))
    share = 1 / np.arange(1, K + 1)
    rows[:, N_COLUMNS // 2] = rng.choice(K, N_ROWS, p=share / share.sum())
    return rows, [d == N_COLUMNS // 2 for d in range(N_COLUMNS)]


def adult(folder: str | None) -> tuple[np.ndarray, list[bool]]:
    """Return the rows of adult_mixed that have no gap, and which columns are levels."""
    from fastar.datasets import load_dataset

    data = load_dataset("adult_mixed", folder)
    rows = np.asarray(data.train)
    rows = rows[~np.isnan(rows).any(axis=1)]
    return rows[:N_ROWS], [kind == "categorical" for kind in data.column_kinds]


def made(name: str, is_level: list[bool], K: int | None, threads: int) -> Any:
    """Return the model, not yet fitted."""
    import fastar
    from fastar.conditionals import Categorical, Gaussian

    level = Categorical(cardinality=K) if K else Categorical()
    cls, settings = MODELS[name]
    return getattr(fastar, cls)(
        distribution=[level if each else Gaussian() for each in is_level],
        early_stopping=False,
        batch_size=BATCH,
        random_state=0,
        n_jobs=threads,
        **settings,
    )


def best(action: Any, repeat: int) -> float:
    """Return the smallest time of some calls."""
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return min(times)


def measured(name: str, rows: np.ndarray, is_level: list[bool], K: int | None, options: Any) -> Any:
    """Return what a model takes, in seconds and megabytes."""
    from machine import peak_memory

    model = made(name, is_level, K, options.threads)
    before = peak_memory()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # two lengths of training differ by their steps alone
        short = best(lambda: model.set_params(max_iter=1).fit(rows), options.repeat)
        long = best(lambda: model.set_params(max_iter=4).fit(rows), options.repeat)
    found = {
        "parameters": model.n_parameters_,
        "weights": sum(value.size for key, value in model.params_.items() if key in ("V", "W1")),
        "memory": peak_memory() - before,
        "step": (long - short) / (3 * len(rows) / BATCH),
        "score": best(lambda: model.score_samples(rows[:5000]), 5) / 5000,
        "sample": best(lambda: model.sample(2000, random_state=0), 5) / 2000,
    }
    if options.torch:
        found["torch step"] = torch_step(name, model, rows, is_level, options.threads)
    return found


def torch_step(name: str, model: Any, rows: np.ndarray, is_level: list[bool], threads: int) -> Any:
    """Return the time of a step in PyTorch, or in what it disagrees with ours."""
    from peers.torch_mixed import TorchMixedMADE, TorchMixedNADE

    order = model.order_
    levels = np.array(is_level)[order]
    if model.distribution_.n_features != len(order):
        return "digits"
    copied = {key: np.array(value) for key, value in model.params_.items()}
    activation = getattr(model, "activation_", model.activation)
    sizes = (model.output_offsets_, model.input_offsets_, levels, activation, threads)
    if MODELS[name][0] == "NADE":
        peer: Any = TorchMixedNADE(copied, *sizes)
    else:
        peer = TorchMixedMADE(copied, model.masks_, *sizes)
    codes = model._model().codes(np.ascontiguousarray(rows[:BATCH][:, order]))
    own = model.score_samples(rows[:BATCH]) - model._model().conditional.log_jacobian(codes).sum(
        axis=1
    )
    apart = float(np.abs(peer.log_likelihood(codes) - own).max())
    if not apart < 1e-2:
        return f"apart by {apart:.2g} nats"
    batch = peer.prepare(codes)
    return best(lambda: peer.train_step(batch), 50)


def one(options: argparse.Namespace) -> None:
    """Print the measurement of one table and model as JSON."""
    name, table, K = options.one
    levels = None if table == "adult" else int(K)
    rows, is_level = adult(options.data) if table == "adult" else narrow_and_wide(int(K))
    print(json.dumps(measured(name, rows, is_level, levels, options)))


def run(
    python: str, name: str, table: str, K: int, options: argparse.Namespace, torch: bool
) -> Any:
    """Return a measurement of its own process, under an interpreter."""
    command = [python, __file__, "--one", name, table, str(K), "--threads", str(options.threads)]
    command += ["--repeat", str(options.repeat)] + (["--torch"] if torch else [])
    command += ["--data", options.data] if options.data else []
    environment = os.environ | dict.fromkeys(THREADS, str(options.threads))
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or [f"ended by {done.returncode}"])[-1]}
    return json.loads(done.stdout.splitlines()[-1])


def line_of(
    name: str, which: str, K: int, options: argparse.Namespace, rates: dict[str, float]
) -> list[str]:
    """Return a line of the table."""
    title = f"{name}, adult_mixed" if which == "adult" else f"{name}, K = {K:,}"
    ours = run(sys.executable, name, which, K, options, options.torch)
    if "error" in ours:
        return [title, ours["error"], *[""] * 9]
    # the output layer forward and its two gradients; what Adam reads and writes
    floor = 3 * BATCH * ours["weights"] / rates["sgemm"] + 28 * ours["parameters"] / rates["bytes"]
    line = [title, f"{ours['parameters']:,}", f"{ours['memory']:.0f}", f"{ours['step'] * 1e3:.2f}"]
    line += [f"{ours['step'] / floor:.1f}"]
    line += [f"{ours[each] * 1e6:.1f}" for each in ("score", "sample")]
    torch = ours.get("torch step", "")
    line.append(f"{torch / ours['step']:.1f}" if isinstance(torch, float) else torch)
    asked = options.other and (which == "adult" or K <= MOST_OF_OTHER)
    other = run(options.other, name, which, K, options, False) if asked else {}
    for each in ("step", "score", "sample"):
        line.append(f"{other[each] / ours[each]:.1f}" if each in other else "")
    return line


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", help="folder of the data sets")
    parser.add_argument("--other", help="interpreter of another environment")
    parser.add_argument("--torch", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--levels", type=int, nargs="*", default=list(LEVELS))
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        one(options)
        return
    from machine import rates
    from tables import table

    measured_rates = rates(options.threads)
    tables = [("adult", 0), *(("levels", K) for K in options.levels)]
    lines = [
        line_of(name, which, K, options, measured_rates) for name in MODELS for which, K in tables
    ]
    heads = ["table", "parameters", "MB", "step, ms", "of floor", "score, us", "sample, us"]
    heads += ["PyTorch / step", "other / step", "other / score", "other / sample"]
    print(table(heads, lines, options.markdown))


if __name__ == "__main__":
    main()
