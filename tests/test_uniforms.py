"""Uniform random numbers: the generator, its streams, and the work space they are written to."""

import numpy as np
import pytest
from common import DTYPES, assert_same_bits
from hypothesis import given
from hypothesis import strategies as st

from fastar._kernels import _cpu, _uniforms

pytestmark = pytest.mark.kernels

STREAMS = 8


def sfc64(seeds, n):
    """Return the first n steps (n, STREAMS) of SFC64 as its author gives it, twelve steps on."""
    a, b, c = seeds.reshape(3, STREAMS)
    counter = np.ones(STREAMS, np.uint64)
    steps = []
    with np.errstate(over="ignore"):
        for _ in range(12 + n):
            steps.append(a + b + counter)
            counter = counter + np.uint64(1)
            a = b ^ (b >> np.uint64(11))
            b = c + (c << np.uint64(3))
            c = ((c << np.uint64(24)) | (c >> np.uint64(40))) + steps[-1]
    return np.array(steps[12:])


def random_seeds(n_blocks, seed=0):
    words = np.random.SFC64(seed).random_raw(n_blocks * _uniforms.N_SEEDS)
    return words.reshape(n_blocks, _uniforms.N_SEEDS)


def filled(seeds, shape, rows, dtype, n_threads=1):
    out = np.full(shape, np.nan, dtype)
    _uniforms.fill(seeds, out, rows, n_threads)
    return out


@pytest.mark.parametrize("n", [1, 7, 16, 100])
def test_numbers_are_the_highest_bits_of_sfc64(n):
    seeds = random_seeds(1)
    words = sfc64(seeds, n).ravel()
    assert_same_bits(
        filled(seeds, (1, n), 1, np.float32)[0],
        ((words.view(np.uint32) >> np.uint32(8)) * 2.0**-24).astype(np.float32)[:n],
    )
    assert_same_bits(
        filled(seeds, (1, n), 1, np.float64)[0], (words >> np.uint64(12))[:n] * 2.0**-52
    )


@given(
    n=st.integers(0, 40),
    m=st.integers(0, 40),
    rows=st.integers(1, 20),
    dtype=st.sampled_from(DTYPES),
    n_threads=st.sampled_from([2, 3, 8]),
)
def test_a_block_of_rows_knows_neither_the_others_nor_the_threads(n, m, rows, dtype, n_threads):
    seeds = random_seeds(-(-n // rows))
    all_at_once = filled(seeds, (n, m), rows, dtype, n_threads)
    for i, mine in enumerate(seeds):
        block = all_at_once[i * rows : (i + 1) * rows]
        assert_same_bits(block, filled(mine[None], block.shape, rows, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_numbers_fill_the_unit_interval_evenly(dtype):
    n = 1 << 20
    x = filled(random_seeds(4), (4, n // 4), 1, dtype).ravel()
    assert x.min() >= 0
    assert x.max() < 1
    bins = np.bincount((x * 256).astype(int), minlength=256)
    # chi-square of 255 degrees of freedom: mean 255, deviation 22.6
    assert abs(((bins - n / 256) ** 2 / (n / 256)).sum() - 255) < 6 * 22.6
    for lag in (1, 2, STREAMS, 2 * STREAMS):
        correlation = np.corrcoef(x[:-lag], x[lag:])[0, 1]
        assert abs(correlation) < 6 / np.sqrt(n)


def test_seeds_that_do_not_fit_are_refused():
    for shape in [(1, _uniforms.N_SEEDS), (3, _uniforms.N_SEEDS), (2, _uniforms.N_SEEDS - 1)]:
        out = np.zeros((5, 2))
        with pytest.raises(ValueError, match="seeds must be of shape"):
            _uniforms.fill(np.zeros(shape, np.uint64), out, 3, 1)
        assert not out.any()


def test_work_space_is_kept_for_the_next_whatever_was_kept_before():
    # as many sizes as there is room for, and more, the last of which no other can serve
    sizes = [int((1 << 15) * 1.09**power) for power in range(40)]
    for size in [*sizes, 100 << 20]:
        _cpu.aligned_empty((size,), np.uint8)[:] = 7
    assert (_cpu.aligned_empty((100 << 20,), np.uint8) == 7).all()
