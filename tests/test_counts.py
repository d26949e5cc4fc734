"""Counts' log-probabilities, their gradients and CDFs against arithmetic of 60 digits."""

from decimal import Context, Decimal, localcontext

import numpy as np
import pytest
import reference

from fastar import conditionals
from fastar._data.table import Table

pytestmark = pytest.mark.kernels

EPS = np.finfo(float).eps
SIZES = np.array([-25.0, -8, -1, 0, 1, 3, 6, 9, 14, 25])  # log means
SHAPES = np.array([-15.0, -6, -1, 0, 1, 2.2, 2.4, 5, 9, 15])  # log r
COUNTS = [0, 1, 2, 9, 10, 11, 12, 50, 399, 5000]


def exact_log_prob(x, log_mean, log_r=None):
    """Return log p(x); Poisson's if `log_r` is None."""
    with localcontext(Context(prec=60)):
        mean, product = Decimal(log_mean).exp(), Decimal(1)
        if log_r is None:
            for i in range(x):
                product *= mean / (i + 1)
            return product.ln() - mean
        r = Decimal(log_r).exp()
        success = mean / (r + mean)
        for i in range(x):
            product *= (r + i) * success / (i + 1)
        return product.ln() + r * (r / (r + mean)).ln()


def exact_slope(x, log_mean, log_r):
    """Return d log p(x) / d log r."""
    with localcontext(Context(prec=60)):
        mean, r = Decimal(log_mean).exp(), Decimal(log_r).exp()
        rising = sum((1 / (r + i) for i in range(x)), Decimal(0))
        return r * (rising + (r / (r + mean)).ln() + (mean - x) / (r + mean))


def fitted(name):
    """Return a conditional whose codes are the counts."""
    X = np.repeat([[0.0], [1.0]], 5, axis=0)  # of a variance below 1, so that the unit is 1
    conditional = getattr(conditionals, name)()
    return conditional.fitted(Table(X, np.arange(1)), np.ones(len(X)))


def problem(name):
    """Return counts and raw outputs of each, as tuples."""
    shapes = SHAPES if name == "NegativeBinomial" else [None]
    means = [(a, int(np.exp(a)) + x) for a in SIZES if a < 9.5 for x in (-100, -3, 0, 1, 90)]
    means += [(a, x) for a in SIZES for x in COUNTS]
    return [(max(x, 0), a, b) for a, x in means for b in shapes]


def near(actual, expected, slopes):
    """Assert equality but for roundings of the value, and of mean and r by which it slopes."""
    allowed = 16 * EPS * (1 + np.abs(expected) + slopes)
    worst = (np.abs(actual - expected) / allowed).argmax()
    assert abs(actual[worst] - expected[worst]) <= allowed[worst], worst


@pytest.mark.parametrize("name", ["Poisson", "NegativeBinomial"])
@pytest.mark.parametrize("judge", ["kernel", "textbook"])
def test_log_probabilities_and_gradients_are_exact_for_any_mean_and_r(name, judge):
    cases, conditional = problem(name), fitted(name)
    codes = np.array([[float(x)] for x, _, _ in cases])
    raw = np.array([case[1 : 1 + conditional.output_offsets[-1]] for case in cases])
    if judge == "kernel":
        logp, _ = conditional.kernel.log_prob(raw, codes, 1)
        _, gradient = conditional.kernel.gradient(raw, codes, np.ones(len(cases)), 1)
    else:
        textbook = reference.conditional_of(conditional)
        logp, gradient = (
            textbook.log_prob(raw[:, None], codes),
            textbook.gradient(raw[:, None], codes),
        )
        gradient = gradient[:, 0]
    expected = np.array([float(exact_log_prob(*case)) for case in cases])
    mean, x = np.exp(raw[:, 0]), codes[:, 0]
    if name == "Poisson":
        near(logp[:, 0], expected, np.abs(x - mean))
        return
    r = np.exp(raw[:, 1])
    by_mean, by_r = r * (x - mean) / (r + mean), np.array([float(exact_slope(*c)) for c in cases])
    near(logp[:, 0], expected, np.abs(by_mean) + np.abs(by_r))
    # where r is large the terms are no larger than x and the mean; the kernel's are its value's
    terms = np.minimum(r, mean + x) if judge == "textbook" else np.where(r < 10, r, 0)
    near(gradient[:, 1], by_r, np.abs(by_mean) + terms)


def test_the_negative_binomials_cdf_is_exact_for_large_r():
    conditional = fitted("NegativeBinomial")
    raw = np.array([(a, b) for a in (-25.0, -8, -1, 2, 4) for b in (-6.0, 0, 5, 9, 15)])
    for x in (0, 1, 3, 40):
        params = conditional.distribution_params(raw, np.full((len(raw), 1), float(x)))
        with localcontext(Context(prec=60)):
            exact = [
                float(sum(exact_log_prob(k, *each).exp() for k in range(x + 1))) for each in raw
            ]
        np.testing.assert_allclose(params["cdf"][:, 0], exact, rtol=1e-12)
        np.testing.assert_allclose(params["mean"], np.exp(raw[:, :1]), rtol=1e-15)
