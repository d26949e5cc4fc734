"""The lists that every law runs over: a new model or conditional joins by an entry here."""

import copy
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.exceptions import ConvergenceWarning

from fastar import conditionals, models
from fastar._core.threads import _allowed
from fastar._kernels._conditionals import OBSERVED, SAMPLED

# ---- data: makers of n correlated rows of D features, by the conditional they are meant for


def bits(n, D, seed=0):
    rng = np.random.default_rng(seed)
    flips = rng.random((n, D)) < np.linspace(0.2, 0.45, D)
    return (np.cumsum(flips, axis=1) % 2).astype(np.uint8)


def levels(n, D, seed=0, K=3):
    rng = np.random.default_rng(seed)
    steps = rng.choice(K, (n, D), p=np.r_[0.6, np.full(K - 1, 0.4 / (K - 1))])
    X = np.cumsum(steps, axis=1) % K
    if n >= K:
        X[:K] = np.arange(K)[:, None]  # every column has every level
    return X.astype(np.int64)


def reals(n, D, seed=0):
    rng = np.random.default_rng(seed)
    steps = rng.standard_normal((n, D)) * (0.5 + rng.random((n, 1)))
    return 100 + np.cumsum(steps, axis=1) * 10.0 ** -(np.arange(D) % 3)


def differences(n, D, seed=0):
    # of both signs, so that `Number` takes them as they are: its density is as curved as its map
    return reals(n, D, seed) - 100


def whole(n, D, seed=0):
    # of both signs, so that `Integer` without atoms has no end
    return np.rint(20 * differences(n, D, seed)).astype(np.int64)


def correlated(n=1500, D=5, seed=0):
    """Return rows of a Gaussian with strong correlations, and its mean log-density of them."""
    rng = np.random.default_rng(seed)
    mixing = np.tril(rng.normal(size=(D, D)), -1) * 3 + np.eye(D)
    X = rng.normal(size=(n, D)) @ mixing.T
    return X, multivariate_normal(np.zeros(D), mixing @ mixing.T).logpdf(X).mean()


def counts(n, D, seed=0):
    rng = np.random.default_rng(seed)
    rates = rng.gamma(2.0, 1.5, (n, D)).cumsum(axis=1) / np.sqrt(np.arange(1, D + 1))
    return rng.poisson(rates)


def shades(n, D, seed=0, low=-1, K=4):
    return levels(n, D, seed, K) + low


# What the columns of a mixed table are, one after the other and again.
KINDS = [
    "bernoulli",
    "gaussian",
    "gaussian",
    "categorical",
    "poisson",
    "laplace_mixture",
    "logistic_mixture",
    "negative_binomial",
    "gaussian_mixture",
    "laplace",
    "number",
    "integer",
]


def mixed(n, D, seed=0):
    columns = [DATA[KINDS[d % len(KINDS)]](n, D, seed)[:, d] for d in range(D)]
    return np.column_stack(columns).astype(np.float64)


DATA = {
    "bernoulli": bits,
    "categorical": levels,
    "gaussian": reals,
    "laplace": reals,
    "gaussian_mixture": reals,
    "laplace_mixture": reals,
    "logistic_mixture": shades,
    "poisson": counts,
    "negative_binomial": counts,
    "number": differences,
    "integer": whole,
    "mixed": mixed,
}
CONDITIONALS = list(DATA)
DISCRETE = ["bernoulli", "categorical", "logistic_mixture"]  # of so many values
REAL = ["gaussian", "laplace", "gaussian_mixture", "laplace_mixture", "number"]
COUNTS = ["poisson", "negative_binomial"]


ONE_FEATURE = conditionals.Integer(atoms=False)


def distribution(conditional, D):
    """Return what an estimator's `distribution` is for D columns of DATA[conditional]."""
    if conditional == "mixed":
        return [distribution(KINDS[d % len(KINDS)], 1) for d in range(D)]
    # laws sum over the levels alone: no mass is left for others
    own = {"categorical": conditionals.Categorical("error"), "integer": ONE_FEATURE}
    return own.get(conditional, conditional)


def unfitted(conditional, D, **settings):
    """Return the conditional itself; settings: of those of its columns that have them."""
    if conditional == "mixed":
        kinds = (KINDS[d % len(KINDS)] for d in range(D))
        return conditionals.Mixed([unfitted(each, 1, **settings) for each in kinds])
    return conditionals.from_name(conditional, **{"unknown": "error", "atoms": False} | settings)


OUTPUTS = {"bernoulli": 1, "categorical": 3, "gaussian": 2, "laplace": 2}
OUTPUTS |= {"poisson": 1, "negative_binomial": 2}
OUTPUTS |= {f"{name}_mixture": 30 for name in ("gaussian", "laplace", "logistic")}
OUTPUTS |= {"number": 60, "integer": 30}


def sizes(conditional, D):
    """Return P and Q of D columns of DATA[conditional]: outputs and rows of input weights (D,)."""
    kinds = [KINDS[d % len(KINDS)] if conditional == "mixed" else conditional for d in range(D)]
    rows = [3 if kind == "categorical" else 1 for kind in kinds]
    return np.array([OUTPUTS[kind] for kind in kinds]), np.array(rows)


def walked(held):
    """Return what a walk does with each code: keeps it where held, draws it elsewhere."""
    return np.where(held, OBSERVED, SAMPLED).astype(np.uint8)


# ---- parameters

ACTIVATIONS = ["sigmoid", "tanh", "relu"]
DTYPES = ["float32", "float64"]
ORDERS = {
    "natural": lambda D: "natural",
    "random": lambda D: "random",
    "reversed": lambda D: np.arange(D)[::-1].copy(),
    "a list": lambda D: [*range(1, D), 0],
}
# Settings of models of four columns, over which laws of questions run.
VARIANTS = {
    "natural": {},
    "random order": {"order": "random"},
    "reversed": {"order": ORDERS["reversed"](4)},
    "a window": {"markov_order": 1},
    "float64": {"dtype": "float64"},
}
MASKS = {
    "sets of masks": {"n_masks": 3},
    "orders": {"n_masks": 3, "order_agnostic": True, "order": "random"},
}
DEEP = {"hidden_layer_sizes": (7,), "max_iter": 10, "random_state": 0, "n_jobs": 1}
MARKOV_ORDERS = [None, 1, 2]
SOLVERS = ["sgd", "adam", "adagrad", "adadelta", "rmsprop"]
SCHEDULES = ["constant", "invscaling", "linear", "cosine", "adaptive", "cooldown"]

# ---- models: for each class what makes an instance small and fast

SMALL = {
    "NADE": {"n_hidden": 7, "activation": "sigmoid"},
    # finite differences have no place for the bends of its own relu; NADE's laws run over that
    "RNADE": {"n_hidden": 7, "activation": "tanh", "n_components": 3, "distribution": "auto"},
    "MADE": {"hidden_layer_sizes": (7, 6)},
    "FVSBN": {},
}
MODELS = list(SMALL)


def make(model="NADE", **parameters):
    """Return a small estimator that trains in some milliseconds."""
    settings = {"max_iter": 20, "learning_rate_init": 0.02, "learning_rate": "constant"}
    settings |= {"alpha": 0.0, "random_state": 0, "n_jobs": 1}
    return models.BY_NAME[model](**settings | SMALL[model] | parameters)


# Where every model with every conditional would take long: what differs most with every model, and
# each other conditional with one of them.
COMPOSITIONS = [
    *[
        (name, kind)
        for kind in ("bernoulli", "categorical", "gaussian", "mixed")
        for name in MODELS
    ],
    ("RNADE", "laplace"),
    ("RNADE", "gaussian_mixture"),
    ("NADE", "number"),
    ("MADE", "laplace_mixture"),
    ("NADE", "logistic_mixture"),
    ("FVSBN", "poisson"),
    ("MADE", "negative_binomial"),
]

ESTIMATORS = [make(name) for name in MODELS]
ids = [type(estimator).__name__ for estimator in ESTIMATORS]


def fit(estimator, X, **arguments):
    """Fit, however far from convergence training ends."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return estimator.fit(X, **arguments)


def fitted(model="NADE", conditional="bernoulli", n=300, D=5, **parameters):
    """Return a fitted small model and its data."""
    X = DATA[conditional](n, D)
    chosen = distribution(conditional, D)
    return fit(make(model, distribution=chosen, **parameters), X), X


def all_states(levels_of_columns):
    """Return every combination of the columns' levels, a row each."""
    grid = np.meshgrid(*levels_of_columns, indexing="ij")
    return np.stack([axis.ravel() for axis in grid], axis=1)


def states(conditional, D):
    """Return every row that a model of these D discrete columns can draw."""
    X = DATA[conditional](50, 1)
    return all_states([np.unique(X)] * D).astype(X.dtype)


# ---- states of an estimator


def snapshot(estimator):
    """Return a deep copy of what the estimator holds."""
    return copy.deepcopy(vars(estimator))


def assert_same(before, after, path="state"):
    """Compare values of any depth bit for bit."""
    assert type(before) is type(after), path
    if isinstance(before, np.ndarray):
        np.testing.assert_array_equal(before, after, err_msg=path, strict=True)
    elif isinstance(before, dict):
        assert before.keys() == after.keys(), path
        for key in before:
            assert_same(before[key], after[key], f"{path}.{key}")
    elif isinstance(before, list | tuple):
        assert len(before) == len(after), path
        for i, pair in enumerate(zip(before, after, strict=True)):
            assert_same(*pair, f"{path}[{i}]")
    elif hasattr(before, "__dict__"):
        assert_same(vars(before), vars(after), path)
    else:
        assert before == after or before != before, path


def assert_same_fit(one, other):
    np.testing.assert_array_equal(one.theta_, other.theta_)
    assert one.loss_curve_ == other.loss_curve_
    assert one.validation_curve_ == other.validation_curve_


def assert_same_bits(actual, expected):
    np.testing.assert_array_equal(actual, expected, strict=True)


def ulps(actual, expected):
    """Return |actual - expected| in units in the last place of `actual`'s type."""
    place = np.spacing(np.abs(expected).astype(actual.dtype))
    return np.abs(actual.astype(expected.dtype) - expected) / place


def assert_slopes(model, gradient, loss, rng, times=5, *, step=1e-6, rtol=1e-5, atol=1e-6):
    """Compare a gradient by theta with differences of `loss()` along random directions."""
    start = model.theta.copy()
    for _ in range(times):
        direction, ends = rng.standard_normal(start.size), []
        for end in (step, -step):
            model.theta[:] = start + end * direction
            ends.append(loss())
        model.theta[:] = start
        slope = (ends[0] - ends[1]) / (2 * step)
        np.testing.assert_allclose(gradient @ direction, slope, rtol=rtol, atol=atol)


def assert_gradient_is_finite_differences(model, values):
    """Check a fitted float64 model's gradient at values (50, C) in model order."""
    inner, rng = model._model(), np.random.default_rng(0)
    codes = inner.codes(values)
    network, share = inner.network, rng.uniform(0.5, 1.5, 50)

    def loss():
        weights = network.materialise_weights(inner.params, 1)
        raw, cache = network.forward(weights, codes, 1)
        return share @ inner.conditional.log_prob(raw, codes, 1)[1], (raw, cache, weights)

    value, (raw, cache, weights) = loss()
    total, graw = inner.conditional.gradient(raw, codes, share, 1)
    assert share @ total == pytest.approx(value, rel=1e-12)
    gradient = np.zeros_like(inner.theta)
    network.backward(weights, cache, graw, inner.layout.views(gradient), 1)
    assert_slopes(inner, gradient, lambda: loss()[0], rng, atol=1e-12)


# ---- other processes


def run_python(code, timeout=120, **environment):
    """Return what a fresh interpreter prints; fail where it fails."""
    env = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        env=env | environment,
        cwd=os.path.dirname(__file__),
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


N_CORES = _allowed()
