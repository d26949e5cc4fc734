"""
Attack a classifier, see it in p-values, and repair the images: `python bench/pixeldefend.py`.

scikit-learn's handwritten digits (17 grey levels), an MLPClassifier on them, and a density of the
clean images. Attacks move every pixel by up to epsilon levels: at random, or by the sign of the
gradient of the classifier's loss (FGSM, I. J. Goodfellow, J. Shlens, C. Szegedy, ICLR 2015).
Printed are the classifier's accuracy, the median p-value of the images under the density and the
share with p below 5 %, each before and after `purify`; the adaptive repair leaves alone what is as
probable as the upper 90 % of clean images. `bench/pixeldefend.png` has the histograms of p-values
and some images (Y. Song et al., "PixelDefend", ICLR 2018, figures 2 and 4).

An attacker who knows the density can aim at both; nothing here speaks of that.
"""

import argparse
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from machine import cores
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier
from tables import table

from fastar import NADE, DensityOutlierDetector
from fastar.conditionals import LogisticMixture

TOP = 16  # the highest grey level
PICTURE = Path(__file__).with_suffix(".png")


def gradient(network: MLPClassifier, X: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the gradient of the cross-entropy of a ReLU network by its inputs (n, D)."""
    layers = [X]
    for W, b in zip(network.coefs_[:-1], network.intercepts_[:-1], strict=True):
        layers.append(np.maximum(layers[-1] @ W + b, 0))
    z = layers[-1] @ network.coefs_[-1] + network.intercepts_[-1]
    p = np.exp(z - z.max(axis=1, keepdims=True))
    g = p / p.sum(axis=1, keepdims=True) - (y[:, None] == network.classes_)
    for W, h in zip(reversed(network.coefs_[1:]), reversed(layers[1:]), strict=True):
        g = (g @ W.T) * (h > 0)
    return g @ network.coefs_[0].T


def attacks(
    network: MLPClassifier, X: np.ndarray, y: np.ndarray, epsilon: int
) -> dict[str, np.ndarray]:
    """Return the images clean and attacked, as grey levels."""
    rng = np.random.default_rng(0)
    moves = {
        "clean": np.zeros_like(X),
        "random noise": rng.integers(-epsilon, epsilon + 1, X.shape),
        "FGSM": epsilon * np.sign(gradient(network, X / TOP, y)).astype(X.dtype),
    }
    return {name: np.clip(X + move, 0, TOP) for name, move in moves.items()}


def draw(p: dict[str, np.ndarray], images: dict[str, np.ndarray]) -> None:
    """Write the picture."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure = pyplot.figure(figsize=(12, 4.5), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=[1, 1.3])
    axes = left.subplots()
    for name, values in p.items():
        axes.hist(values, np.linspace(0, 1, 21), histtype="step", linewidth=2, label=name)
    axes.set(xlabel="p-value under the density of clean images", ylabel="images")
    axes.legend()
    grid = right.subplots(len(images), 10)
    for (name, rows), line in zip(images.items(), grid, strict=True):
        for pixels, place in zip(rows, line, strict=False):
            place.imshow(pixels.reshape(8, 8), cmap="gray_r", vmin=0, vmax=TOP)
            place.set(xticks=[], yticks=[])
        line[0].set_ylabel(name, rotation=0, ha="right", va="center")
    figure.savefig(PICTURE, dpi=110)


def main() -> int:
    """Attack, detect, repair, print and draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epsilon", type=int, default=3, help="grey levels of an attack")
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--markdown", action="store_true", help="a table for RESULTS.md")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    X, y = load_digits(return_X_y=True)
    X = X.astype(np.int64)
    rows = np.random.default_rng(0).permutation(len(X))
    train, test = rows[:1200], rows[1200:]
    network = MLPClassifier((100,), max_iter=500, random_state=0).fit(X[train] / TOP, y[train])

    start = time.perf_counter()
    density = NADE(
        n_hidden=200, distribution=LogisticMixture(10, low=0, high=TOP), alpha=0.02,
        learning_rate_init=0.002, max_iter=300, random_state=0, n_jobs=options.threads,
    )  # fmt: skip
    detector = DensityOutlierDetector(density, statistic="likelihood", random_state=0).fit(X[train])
    density = detector.density_
    fitted = time.perf_counter() - start
    print(f"density: {density.score(X[test]):.2f} nats a test image, fit in {fitted:.1f} s\n")
    threshold = float(np.quantile(detector.calibration_scores_, 0.1))
    lines, p, shown = [], {}, {}
    for name, images in attacks(network, X[test], y[test], options.epsilon).items():
        start = time.perf_counter()
        repaired = density.purify(images, options.epsilon)
        seconds = time.perf_counter() - start
        adaptive = density.purify(images, options.epsilon, threshold=threshold)
        p[name], shown[name] = detector.p_values(images), images[:10]
        if name != "clean":
            shown[f"{name}, repaired"] = repaired[:10]
        for title, each in (("", images), (", repaired", repaired), (", adaptively", adaptive)):
            own = detector.p_values(each)
            accuracy = network.score(each / TOP, y[test])
            lines.append(
                [
                    f"{name}{title}",
                    f"{accuracy:.3f}",
                    f"{np.median(own):.3f}",
                    f"{np.mean(own < 0.05):.3f}",
                    f"{seconds:.3f}" if "re" in title else "",
                ]
            )
    print(table(["", "accuracy", "median p", "p < 0.05", "seconds"], lines, options.markdown))
    draw(p, shown)
    return 0


if __name__ == "__main__":
    sys.exit(main())
