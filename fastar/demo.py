"""A demonstration on digits: likelihoods beside other density estimators, samples, completions.

Run ``fastar-demo`` or ``python -P -m fastar.demo``. It downloads nothing.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from scipy.special import log_ndtr, logsumexp
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity

from fastar._core.parameters import Array
from fastar.datasets import load_binary_digits
from fastar.models import NADE

__all__ = ["main"]

LogProb = Callable[[Array], Array]


def independent_bernoullis(X: Array) -> LogProb:
    """Return log p(x) of independent columns, with one row of ones and one of zeros added to X.

    Examples
    --------
    >>> import numpy as np
    >>> log_prob = independent_bernoullis(np.array([[1, 0], [1, 1]]))
    >>> np.exp(log_prob(np.array([[1, 1]]))).round(3)
    array([0.375])
    """
    p = (X.sum(axis=0) + 1) / (len(X) + 2)
    weight, constant = np.log(p / (1 - p)), np.log1p(-p).sum()
    return lambda rows: rows @ weight + constant


def kernel_density(X: Array, bandwidth: float) -> LogProb:
    r"""Return log p(x) over the 0/1 vectors, in proportion to a Gaussian kernel density at them.

    On 0/1 vectors the kernel is a function of the number of columns that differ, so its sum over
    all of them is :math:`(1 + e^{-1 / (2 h^2)})^D` times its peak: the probabilities are exact.

    Examples
    --------
    >>> import itertools
    >>> import numpy as np
    >>> states = np.array(list(itertools.product([0, 1], repeat=3)))
    >>> log_prob = kernel_density(np.array([[0, 0, 1], [0, 1, 1]]), bandwidth=0.4)
    >>> float(np.exp(log_prob(states)).sum().round(9))
    1.0
    """
    estimator = KernelDensity(bandwidth=bandwidth).fit(X)
    origin = np.zeros((1, X.shape[1]))
    log_peak = float(KernelDensity(bandwidth=bandwidth).fit(origin).score_samples(origin)[0])
    log_sum = log_peak + X.shape[1] * np.log1p(np.exp(-0.5 / bandwidth**2))
    return lambda rows: np.asarray(estimator.score_samples(rows)) - log_sum


def gaussian_mixture_cells(X: Array, n_components: int, variance: float) -> LogProb:
    """Return log p(x), the mass of a diagonal Gaussian mixture on the values that round to x.

    Each column is cut at 1/2: the masses are exact and sum to one.

    Examples
    --------
    >>> import itertools
    >>> import numpy as np
    >>> states = np.array(list(itertools.product([0, 1], repeat=3)))
    >>> log_prob = gaussian_mixture_cells(states[:6], n_components=2, variance=0.1)
    >>> float(np.exp(log_prob(states)).sum().round(9))
    1.0
    """
    mixture = GaussianMixture(
        n_components, covariance_type="diag", reg_covar=variance, random_state=0
    ).fit(X)
    z = (mixture.means_ - 0.5) / np.sqrt(mixture.covariances_)
    log_one, log_zero = log_ndtr(z).T, log_ndtr(-z).T
    log_weight = np.log(mixture.weights_)
    return lambda rows: np.asarray(
        logsumexp(rows @ log_one + (1 - rows) @ log_zero + log_weight, axis=1)
    )


def gaussian_mixture_bound(X: Array, n_components: int, variance: float) -> LogProb:
    """Return a lower bound on log p(x): the mean log-density of x + u by a full Gaussian mixture.

    With u uniform on the unit cube, p(x) is the mean density of x + u, and the logarithm of a mean
    is no less than the mean of the logarithms [1]_. It is taken over 20 draws of u.

    References
    ----------
    .. [1] L. Theis, A. van den Oord, M. Bethge, "A note on the evaluation of generative models",
       ICLR 2016.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).integers(0, 2, (500, 2))
    >>> bound = gaussian_mixture_bound(X, n_components=1, variance=1e-3)
    >>> bool(bound(X).mean() < -2 * np.log(2))
    True
    """
    rng = np.random.default_rng(0)
    mixture = GaussianMixture(n_components, reg_covar=variance, random_state=0)
    mixture.fit(X + rng.random(X.shape))

    def log_prob(rows: Array) -> Array:
        draws = [mixture.score_samples(rows + rng.random(rows.shape)) for _ in range(20)]
        return np.asarray(np.mean(draws, axis=0))

    return log_prob


def best_on(rows: Array, candidates: Iterable[LogProb]) -> LogProb:
    """Return the candidate with the largest mean log-probability of `rows`."""
    return max(candidates, key=lambda log_prob: float(log_prob(rows).mean()))


def compare(train: Array, valid: Array, test: Array) -> tuple[NADE, list[tuple[str, str, str]]]:
    """Fit every model; return the NADE and the lines (model, nats, meaning) of the table."""
    started = time.perf_counter()
    nade = NADE(
        learning_rate_init=0.01,
        learning_rate="cosine",
        max_iter=100,
        verbose=1,
        random_state=0,
    )
    with warnings.catch_warnings():
        # the rate falls to nothing over max_iter epochs: training is meant to use them all
        warnings.simplefilter("ignore", ConvergenceWarning)
        nade.fit(train, X_val=valid)
        seconds = time.perf_counter() - started
        bernoullis = independent_bernoullis(train)
        kernels = best_on(valid, (kernel_density(train, h / 100) for h in range(36, 48, 2)))
        cells = best_on(
            valid,
            (
                gaussian_mixture_cells(train, k, v)
                for k in (30, 60, 100)
                for v in (0.02, 0.03, 0.05)
            ),
        )
        bound = best_on(
            valid,
            (gaussian_mixture_bound(train, k, v) for k in (1, 3, 5) for v in (0.01, 0.03, 0.1)),
        )
    exact = "exact probability"
    return nade, [
        ("NADE, fastar", _nats(nade.score_samples, test), f"{exact}; trained in {seconds:.1f} s"),
        ("Independent Bernoullis", _nats(bernoullis, test), exact),
        ("KernelDensity", _nats(kernels, test), f"{exact} [1]"),
        ("GaussianMixture, diagonal", _nats(cells, test), f"{exact} [2]"),
        ("GaussianMixture, full", _nats(bound, test), "lower bound [3]"),
        ("BernoulliRBM", f"{'-':>8}", "none to be had [4]"),
    ]


NOTES = """\
[1] Its density at each 0/1 image, divided by the sum over all 2^64 of them (a closed form).
[2] Its mass on the values that round to the image.
[3] Its mean log-density of image + uniform noise: at most the log-probability of the image.
[4] Its likelihood needs a sum over all 2^64 images; its score_samples is a pseudo-likelihood.
Settings of the models of scikit-learn were chosen on the validation rows."""


def _nats(log_prob: LogProb, rows: Array) -> str:
    scores = log_prob(rows)
    return f"{scores.mean():8.2f} +- {scores.std() / np.sqrt(len(scores)):.2f}"


def as_text(images: Array, shape: tuple[int, ...]) -> str:
    """Return black and white images side by side as text.

    Examples
    --------
    >>> import numpy as np
    >>> print(as_text(np.array([[1, 0, 0, 1], [1, 1, 1, 1]]), (2, 2)))
    ##..  ####
    ..##  ####
    """
    pixels = np.where(images.reshape(-1, *shape) > 0, "##", "..")
    return "\n".join("  ".join("".join(row) for row in line) for line in pixels.swapaxes(0, 1))


def draw_png(path: str, panels: Sequence[tuple[str, Array]], shape: tuple[int, ...]) -> bool:
    """Write titled grids of images to a PNG; return False where matplotlib is not installed."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure: Any = Figure(figsize=(4 * len(panels), 4.3), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (title, images) in zip(figure.subplots(1, len(panels)), panels, strict=True):
        grid = np.pad(images.reshape(-1, *shape), [(0, 0), (1, 1), (1, 1)])
        side = round(len(grid) ** 0.5)
        height, width = grid.shape[1:]
        tiled = grid.reshape(side, side, height, width).swapaxes(1, 2)
        axes.imshow(tiled.reshape(side * height, side * width), cmap="gray_r")
        axes.set_title(title)
        axes.set_axis_off()
    figure.savefig(path, dpi=150)
    return True


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the demonstration.

    Parameters
    ----------
    arguments : list of str, optional
        Arguments of the command line; those of the process by default.
    """
    parser = argparse.ArgumentParser(
        prog="fastar-demo", description="Density estimation of digits."
    )
    parser.add_argument("--output", default="fastar-digits.png", help="picture to write")
    output = parser.parse_args(arguments).output

    digits = load_binary_digits()
    train, valid, test = (np.asarray(part) for part in (digits.train, digits.valid, digits.test))
    print(
        f"{len(train)} digits of 8 x 8 pixels, black or white, to train on; {len(test)} to test on."
    )
    nade, lines = compare(train, valid, test)

    print("\nMean log-likelihood of the test digits in nats, with its standard error:\n")
    for model, nats, meaning in lines:
        print(f"  {model:<26} {nats:<16}  {meaning}")
    print(f"\n{NOTES}\n")

    drawn = nade.sample(64, random_state=0)
    lower = np.arange(train.shape[1]) >= train.shape[1] // 2
    originals = test[:64]
    evidence = np.where(lower, np.nan, originals)
    completed = nade.sample(64, evidence=evidence, random_state=0)
    panels = [
        ("drawn from the model", drawn),
        ("test digits", originals),
        ("lower halves drawn, given the upper", completed),
    ]
    if draw_png(output, panels, digits.shape):
        print(f"Samples and completions are in {output}.")
    else:
        for title, images in panels:
            print(f"{title.capitalize()}:\n\n{as_text(images[:5], digits.shape)}\n")
        print("With matplotlib installed, this would have been a picture.")


if __name__ == "__main__":
    main()
