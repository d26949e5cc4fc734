"""Kernels answer for codes that are none, and read nothing outside of their record."""

import numpy as np
import pytest
from common import DTYPES, MODELS, fitted, run_python

from fastar._kernels import _conditionals, _inputs

pytestmark = pytest.mark.kernels

ODD = [np.nan, np.inf, -np.inf, -1, -1.5, 3, 1e9, 1e38]


def kernel(kind, D, may_miss, K=3):
    features = np.zeros(D, _conditionals.FEATURE)
    features["kind"], features["count"] = _conditionals.KINDS.index(kind), K
    features["unit"] = features["floor"] = 1
    features["low"], features["high"] = (-np.inf, 0) if kind == "categorical" else (0, K - 1)
    return _conditionals.Kernel(features, 2, may_miss)


@pytest.mark.parametrize("may_miss", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_level_that_is_none_has_no_probability_and_no_gradient(dtype, may_miss):
    codes = np.array(ODD, dtype)[:, None]
    raw = np.ones((len(codes), 3), dtype)
    of_odd = kernel("categorical", 1, may_miss)
    logp, total = of_odd.log_prob(raw, codes, 1)
    missing = np.isnan(codes) & may_miss
    np.testing.assert_array_equal(logp, np.where(missing, 0, -np.inf))
    np.testing.assert_array_equal(total, logp[:, 0])
    _, graw = of_odd.gradient(raw, codes, np.ones(len(codes), dtype), 1)
    np.testing.assert_array_equal(graw, 0)


@pytest.mark.parametrize("kind", _conditionals.KINDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_mode_between_bounds_that_are_none_is_a_code(kind, dtype):
    bounds = np.array([(low, high) for low in ODD for high in ODD], dtype)
    n = len(bounds)
    raw = np.random.default_rng(0).standard_normal((n, 9)).astype(dtype)
    codes = np.full(n, 7, dtype)
    capsule = kernel(kind, 1, True).mode(np.dtype(dtype))
    _conditionals.choose(capsule, 0, raw, bounds, None, codes, np.zeros(n))
    if kind == "categorical":
        assert set(codes) <= {0, 1, 2}


@pytest.mark.parametrize("markov_order", [1, 4])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_code_that_is_no_row_adds_nothing_and_a_gap_a_row_of_its_own_feature(dtype, markov_order):
    D, Q = 4, 3
    for odd in ODD:
        codes = np.full((1, D), odd, dtype)
        flags, offsets = np.ones(D, np.uint8), np.arange(D + 1) * Q
        count, _at, row, _ = _inputs.changes(codes, flags, offsets, markov_order, 1)
        rows = row[0, : count[0]]
        assert ((rows >= 0) & (rows < D * Q)).all()
        assert (len(rows) > 0) == np.isnan(odd)


@pytest.mark.parametrize(
    ("kind", "count"), [("categorical", 0), ("gaussian_mixture", 257), ("laplace_mixture", -1)]
)
def test_a_record_that_no_kernel_can_work_with_is_refused(kind, count):
    with pytest.raises(ValueError, match="at most 256 components"):
        kernel(kind, 2, False, count)


def test_a_record_wider_than_the_outputs_is_refused():
    raw, codes = np.zeros((2, 12)), np.zeros((2, 3))
    with pytest.raises(ValueError, match=r"raw must have 15 outputs a row\. Got 12"):
        kernel("categorical", 3, False, 5).log_prob(raw, codes, 1)
    with pytest.raises(ValueError, match=r"raw must have 18 outputs a row\. Got 12"):
        kernel("gaussian_mixture", 3, False, 2).gradient(raw, codes, np.ones(2), 1)


@pytest.mark.parametrize("conditional", ["categorical", "mixed", "bernoulli"])
@pytest.mark.parametrize("name", MODELS)
def test_every_walk_survives_codes_that_are_none(name, conditional):
    fitted(name, conditional)  # what is refused here is not what the child dies of
    run_python(
        "import sys; sys.path.insert(0, chr(46)); import numpy as np\n"
        "from common import fitted\n"
        "from fastar._kernels._conditionals import OBSERVED, WEIGHTED\n"
        f"model = fitted({name!r}, {conditional!r})[0]._model()\n"
        "network, conditional, D = model.network, model.conditional, model.n_features\n"
        "weights = network.materialise_weights(model.params, 1, 0)\n"
        f"for odd in {ODD!r}:\n".replace("nan", "np.nan").replace("inf", "np.inf")
        + "    codes = np.full((70, D), odd, model.dtype)\n"
        "    network.forward(weights, codes, 1)\n"
        "    for flag in (OBSERVED, WEIGHTED):\n"
        "        flags = np.full(codes.shape, flag, np.uint8)\n"
        "        noise = np.zeros((*codes.shape, conditional.kernel.n_noise), model.dtype)\n"
        "        capsule = conditional.kernel.draw(model.dtype, 1.0)\n"
        "        weight = np.zeros(70)\n"
        "        network.sample(weights, capsule, noise, flags, codes.copy(), 1, weight=weight)"
    )
