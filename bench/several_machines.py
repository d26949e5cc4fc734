"""
Several machines: `python bench/several_machines.py` fits a table on local clusters of workers.

Each worker is a process with one thread. Printed are, by the number of hidden units and the batch,
the bytes that a step sends, the milliseconds of a step in memory and on each cluster, the speed-up
over one thread in memory, and that of the formula in docs/guide/large_data.md:

    C / (C / W + traffic / B + L)

with C the step in memory, W workers, and L what a step of one worker takes more than one in memory.
The measured clusters have a bandwidth B of `--bandwidth`; the last column is for `--machines` that
are on a network of `--network`, one worker each, on paper. `--figure` draws it all.
"""

import argparse
import sys
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from machine import cores
from tables import table

N_EPOCHS = 3


@dataclass
class Setting:
    """What was measured for a size of the model and of the batch; times in ms."""

    n_hidden: int
    n_parameters: int
    n_bytes: int
    batch: int
    memory: float
    clusters: dict[int, float]

    @property
    def overhead(self) -> float:
        """What a step of one worker takes more than one in memory."""
        fewest = min(self.clusters)
        return max(0.0, self.clusters[fewest] - self.memory / fewest)

    def traffic(self, n_workers: int) -> int:
        """Return the bytes that a step sends: parameters to all but one worker, gradients back."""
        return 2 * self.n_bytes * (n_workers - 1)

    def speed_up(self, n_workers: int, rate: float) -> float:
        """Return the modelled speed-up; rate in bytes a second."""
        sent = 1000 * self.traffic(n_workers) / rate
        return self.memory / (self.memory / n_workers + sent + self.overhead)


def step_ms(model: Any, n_rows: int) -> float:
    """Return the milliseconds of a step after the first epoch, validation aside."""
    seconds = [record["seconds"] for record in model.callbacks[0].records]
    n_steps = -(-n_rows // model.batch_size) * (N_EPOCHS - 1)
    return 1000 * (seconds[-1] - seconds[0]) / n_steps


def measured(options: argparse.Namespace) -> list[Setting]:
    """Fit in memory, and on each cluster."""
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
    models, settings = [], []
    for hidden in options.hidden:
        for batch in options.batch:
            how = {"n_hidden": hidden, "batch_size": batch, "max_iter": N_EPOCHS, "n_jobs": 1}
            model = NADE(early_stopping=False, callbacks=[History()], random_state=0, **how)
            memory = step_ms(model.fit(X), options.rows)
            models.append(model)
            of_model = model.n_parameters_, model.theta_.nbytes
            settings.append(Setting(hidden, *of_model, batch, memory, {}))
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
            for model, setting in zip(models, settings, strict=True):
                fitted = fastar.dask.fit(client, model, data)
                setting.clusters[n_workers] = step_ms(fitted, options.rows)
                print(setting, file=sys.stderr, flush=True)
    return settings


def draw(settings: list[Setting], options: argparse.Namespace) -> None:
    """Draw measured and modelled speed-ups, for each size of the batch by itself."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    batches = sorted({each.batch for each in settings})
    figure, axes = pyplot.subplots(
        1, len(batches), figsize=(4 * len(batches), 3.5), squeeze=False, layout="constrained"
    )
    machines = np.arange(1, options.machines + 1)
    for axis, batch in zip(axes[0], batches, strict=True):
        for k, each in enumerate(one for one in settings if one.batch == batch):
            colour, name = f"C{k}", f"{each.n_parameters:,} parameters"
            found = sorted(each.clusters.items())
            axis.plot(
                *zip(*((n, each.memory / ms) for n, ms in found), strict=True),
                "o",
                color=colour,
                label=f"{name}, measured here",
            )
            axis.plot(
                machines,
                [each.speed_up(int(n), options.network) for n in machines],
                color=colour,
                label=f"{name}, on paper",
            )
        axis.plot(machines, machines, ":", color="grey", label="ideal")
        axis.set_xscale("log", base=2)
        axis.set_yscale("log", base=2)
        axis.set(title=f"batches of {batch:,} rows", xlabel="machines", ylabel="speed-up")
        axis.legend(fontsize="x-small")
    figure.savefig(options.figure)


def main() -> int:
    """Fit on each cluster, print, and draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=40_000)
    parser.add_argument("--columns", type=int, default=200)
    parser.add_argument("--hidden", type=int, nargs="+", default=[50, 500])
    parser.add_argument("--batch", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--workers", type=int, nargs="+", default=[*range(1, cores() + 1)])
    parser.add_argument("--bandwidth", type=float, default=2e9, help="bytes a second, here")
    parser.add_argument("--machines", type=int, default=8, help="on paper")
    parser.add_argument("--network", type=float, default=1.25e9, help="bytes a second, on paper")
    parser.add_argument("--figure", metavar="FILE", help="a plot, by matplotlib")
    parser.add_argument("--markdown", action="store_true", help="a table for RESULTS.md")
    options = parser.parse_args()
    settings = measured(options)
    lines = []
    for each in settings:
        for n_workers, ms in sorted(each.clusters.items()):
            sizes = [each.n_hidden, each.n_parameters, each.batch, n_workers]
            times = [each.memory, ms]
            gains = [each.memory / ms, each.speed_up(n_workers, options.bandwidth)]
            lines.append(
                [
                    *(f"{size:,}" for size in [*sizes, each.traffic(n_workers)]),
                    *(f"{time:.1f}" for time in times),
                    *(f"{gain:.2f}" for gain in gains),
                    f"{each.speed_up(options.machines, options.network):.2f}",
                ]
            )
    heads = ["hidden", "parameters", "batch", "workers", "bytes a step", "ms in memory", "ms"]
    heads += ["speed-up", "modelled", f"{options.machines} machines, modelled"]
    print(table(heads, lines, options.markdown))
    if options.figure:
        draw(settings, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
