"""
Complete half-hidden digits: `python bench/completion.py` draws `bench/completion.png`.

Test images of binarized_mnist of which the lower half, or the left half, is hidden, and completions
drawn by a NADE, for which rows above come first and which weighs other evidence by sequential Monte
Carlo, and by a DeepNADE, which takes any evidence as it is. Printed are the seconds of fit and of
completion, the test log-likelihoods, and the effective numbers of the samples that stand behind.
"""

import argparse
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from machine import cores
from tables import table

from fastar import NADE, DeepNADE
from fastar.datasets import load_dataset

PICTURE = Path(__file__).with_suffix(".png")
N_IMAGES, N_DRAWS, N_PARTICLES = 6, 4, 256


def draw(panels: dict[str, tuple[np.ndarray, np.ndarray]], shape: tuple[int, int]) -> None:
    """Write the picture: for each model and half the occluded images above their completions."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        1, len(panels), figsize=(3.6 * len(panels), 3.4), layout="constrained"
    )
    for place, (title, (occluded, completed)) in zip(axes, panels.items(), strict=True):
        rows = [np.where(np.isnan(occluded), 0.5, occluded), *completed]
        grid = np.block([[image.reshape(shape) for image in line] for line in rows])
        place.imshow(grid, cmap="gray_r", vmin=0, vmax=1)
        place.set(xticks=[], yticks=[], title=title)
    figure.savefig(PICTURE, dpi=110)


def main() -> int:
    """Fit, complete, print and draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default=os.environ.get("FASTAR_DATA"), help="folder of data sets")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--markdown", action="store_true", help="a table for RESULTS.md")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # fits end at their limit of epochs
    data = load_dataset("binarized_mnist", options.data)
    height, width = data.shape
    common: dict[str, Any] = {
        "max_iter": options.epochs, "learning_rate_init": 0.002, "learning_rate": "linear",
        "random_state": 0, "n_jobs": options.threads,
    }  # fmt: skip
    models: dict[str, Any] = {
        "NADE": NADE(n_hidden=500, **common),
        "DeepNADE": DeepNADE(hidden_layer_sizes=(500,), **common),
    }
    images = data.test[np.random.default_rng(1).permutation(len(data.test))[:N_IMAGES]]
    down, across = np.indices((height, width))
    halves = {"lower half": down >= height / 2, "left half": across < width / 2}
    lines, panels = [], {}
    for name, model in models.items():
        start = time.perf_counter()
        model.fit(data.train, X_val=data.valid[:1000])
        fitted = time.perf_counter() - start
        score = model.score(data.test[:1000])
        for half, hidden in halves.items():
            occluded = np.where(hidden.ravel(), np.nan, images)
            start = time.perf_counter()
            completed = model.impute(
                occluded, n_draws=N_DRAWS, n_particles=N_PARTICLES, random_state=0
            )
            seconds = time.perf_counter() - start
            panels[f"{name}, {half} hidden"] = (occluded, completed)
            lines.append(
                [
                    f"{name}, {half} hidden",
                    f"{score:.2f}",
                    f"{fitted:.0f}",
                    f"{seconds:.2f}",
                    f"{np.median(model.impute_ess_):.0f}",
                ]
            )
    heads = ["", "nats a test image", "fit, s", f"{N_IMAGES} x {N_DRAWS} completions, s",
             f"effective of {N_PARTICLES} samples"]  # fmt: skip
    print(table(heads, lines, options.markdown))
    draw(panels, (height, width))
    return 0


if __name__ == "__main__":
    sys.exit(main())
