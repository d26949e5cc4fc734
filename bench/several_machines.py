"""
Several machines: `python bench/several_machines.py` fits a table on local clusters of workers.

Each worker is a process with one thread. Printed are, by the batch and the number of hidden units,
the milliseconds of a step in memory and on each cluster, and the speed-up over one thread in
memory beside that of the formula in docs/guide/large_data.md. The formula's overhead is what a step
of one worker takes more than one in memory; its bandwidth is `--bandwidth`.
"""

import argparse
import sys
import warnings
from typing import Any

import numpy as np
from machine import cores
from tables import table

N_EPOCHS = 3


def step_ms(model: Any, n_rows: int) -> float:
    """Return the milliseconds of a step after the first epoch, validation aside."""
    seconds = [record["seconds"] for record in model.callbacks[0].records]
    n_steps = -(-n_rows // model.batch_size) * (N_EPOCHS - 1)
    return 1000 * (seconds[-1] - seconds[0]) / n_steps


def speed_up(compute: float, overhead: float, n_bytes: int, n_workers: int, rate: float) -> float:
    """Return the modelled speed-up; times in ms, rate in bytes a second."""
    traffic = 1000 * 2 * n_bytes * (n_workers - 1) / rate
    return compute / (compute / n_workers + traffic + overhead)


def main() -> int:
    """Fit on each cluster, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=40_000)
    parser.add_argument("--columns", type=int, default=200)
    parser.add_argument("--hidden", type=int, nargs="+", default=[50, 500])
    parser.add_argument("--batch", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--workers", type=int, nargs="+", default=[*range(1, cores() + 1)])
    parser.add_argument("--bandwidth", type=float, default=2e9, help="bytes a second")
    parser.add_argument("--markdown", action="store_true", help="a table for RESULTS.md")
    options = parser.parse_args()
    import dask.array as da
    from distributed import Client, LocalCluster

    import fastar.dask
    from fastar import NADE
    from fastar.callbacks import History

    warnings.simplefilter("ignore")  # fits end at their limit of epochs
    rng = np.random.default_rng(0)
    shape = options.rows, options.columns
    X = (rng.random(shape) < rng.random((1, options.columns))).astype(np.uint8)
    data = da.from_array(X, chunks=(-(-options.rows // 8), options.columns))
    lines = []
    for hidden in options.hidden:
        for batch in options.batch:
            how = {"n_hidden": hidden, "batch_size": batch, "max_iter": N_EPOCHS, "n_jobs": 1}
            model = NADE(early_stopping=False, callbacks=[History()], random_state=0, **how)
            memory = step_ms(model.fit(X), options.rows)
            n_bytes, overhead = model.theta_.nbytes, 0.0
            for n_workers in options.workers:
                with (
                    LocalCluster(
                        n_workers=n_workers,
                        threads_per_worker=1,
                        host="127.0.0.1",
                        dashboard_address="127.0.0.1:0",
                    ) as cluster,
                    Client(cluster) as client,
                ):
                    there = step_ms(fastar.dask.fit(client, model, data), options.rows)
                if n_workers == 1:
                    overhead = max(0.0, there - memory)
                paper = speed_up(memory, overhead, n_bytes, n_workers, options.bandwidth)
                figures = [f"{memory:.1f}", f"{there:.1f}", f"{memory / there:.2f}", f"{paper:.2f}"]
                sizes = [f"{hidden}", f"{batch}", f"{n_bytes / 1e6:.2f}", f"{n_workers}"]
                lines.append([*sizes, *figures])
                print(" ".join(lines[-1]), file=sys.stderr, flush=True)
    heads = ["hidden", "batch", "MB", "workers", "ms in memory", "ms", "speed-up", "modelled"]
    print(table(heads, lines, options.markdown))
    return 0


if __name__ == "__main__":
    sys.exit(main())
