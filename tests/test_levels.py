"""Columns of levels: what values of any type are encoded to, and back."""

import tracemalloc

import numpy as np
import pytest
from common import DTYPES, assert_same_bits
from hypothesis import given
from hypothesis import strategies as st

from fastar._core.offsets import offsets_of
from fastar._data.table import Table
from fastar._kernels import _levels
from fastar.conditionals import Categorical
from fastar.conditionals._levels import LevelEncoder, distinct_values

pytestmark = pytest.mark.kernels

INTEGERS = ["int8", "uint8", "int16", "uint32", "int64", "uint64"]
VALUES = ["bool", *INTEGERS, "float16", "float32", "float64"]
FINDABLE = ["int64", "uint64", "float64"]
EDGES = {
    "int64": [-(2**63), -(2**53) - 1, -1, 0, 1, 2**53, 2**53 + 1, 2**63 - 1],
    "uint64": [0, 1, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 2, 2**64 - 1],
    "float64": [-np.inf, -1e300, -0.1, -0.0, 0.1, 1 - 2**-53, 1, 2.0**53, 1e300, np.inf],
}


def random_values(rng, dtype, shape):
    """Return values of which some are equal; floats have gaps and halves."""
    if dtype == "bool":
        return rng.random(shape) < 0.5
    values = rng.integers(0 if dtype.startswith("u") else -6, 12, shape)
    if not dtype.startswith("f"):
        return values.astype(dtype)
    return np.where(rng.random(shape) < 0.1, np.nan, values / 2).astype(dtype)


def encoder_of(columns):
    """Return the encoder of levels that are given column by column."""
    return LevelEncoder(
        np.concatenate(columns), offsets_of(np.array([len(each) for each in columns]))
    )


def searched(levels, column):
    """Return what NumPy's search says of a column: numbers of levels, -1 or NaN."""
    place = np.minimum(np.searchsorted(levels, column), len(levels) - 1)
    codes = np.where(levels[place] == column, place, -1).astype(float)
    return np.where(np.isnan(column), np.nan, codes) if column.dtype.kind == "f" else codes


@given(
    seed=st.integers(0, 2**32 - 1),
    of_levels=st.sampled_from(VALUES),
    of_values=st.sampled_from(VALUES),
    dtype=st.sampled_from(DTYPES),
    D=st.integers(1, 40),
    n_threads=st.sampled_from([1, 2, 5]),
)
def test_codes_are_those_of_numpys_search(seed, of_levels, of_values, dtype, D, n_threads):
    rng = np.random.default_rng(seed)
    known, block = random_values(rng, of_levels, (9, D)), random_values(rng, of_values, (7, D))
    columns = distinct_values(Table(known, np.arange(D)))
    columns = [each if len(each) else np.zeros(1, of_levels) for each in columns]
    codes, unknown = encoder_of(columns).encode(block, np.dtype(dtype), n_threads)
    assert codes.dtype == dtype
    expected = [searched(levels, block[:, d]) for d, levels in enumerate(columns)]
    np.testing.assert_array_equal(codes, np.transpose(expected))
    assert unknown == (codes == -1).sum()


@pytest.mark.parametrize("dtype", FINDABLE)
def test_neighbours_at_the_ends_of_a_type_are_told_apart(dtype):
    values = np.array(EDGES[dtype], dtype)
    steps = [values[:1], values[::2], values[1::2], values[-1:], values]
    encoder = encoder_of(steps)
    block = np.repeat(values[:, None], len(steps), axis=1)
    codes, unknown = encoder.encode(block, np.float64)
    expected = [searched(levels, values) for levels in steps]
    np.testing.assert_array_equal(codes, np.transpose(expected))
    assert unknown == (codes == -1).sum() > 0


@pytest.mark.parametrize("low", [-3, 0, 2**53, 2**63 - 4, -(2**63)])
def test_consecutive_integers_are_found_and_nothing_beside_them(low):
    levels = np.array([low + k for k in range(4)])
    near = [low - 2**32, low - 1, *levels.tolist(), low + 4, low + 2**32]
    near = np.array([x for x in near if -(2**63) <= x < 2**63])[:, None]
    codes, _ = encoder_of([levels]).encode(near, np.float32)
    np.testing.assert_array_equal(codes[:, 0], searched(levels, near[:, 0]))


def test_consecutive_floats_are_found_and_nothing_between_them():
    rng = np.random.default_rng(0)
    columns = [low + np.arange(5.0) for low in (0, -2, 0.5, 0.1, -1e15, 1 / 3)]
    near = np.array(
        [[x, np.nextafter(x, -9e15), np.nextafter(x, 9e15)] for x in np.r_[columns].flat]
    )
    block = rng.permuted(np.tile(near.reshape(-1, 1), len(columns)), axis=0)
    codes, unknown = encoder_of(columns).encode(block, np.float64)
    expected = [searched(levels, block[:, d]) for d, levels in enumerate(columns)]
    np.testing.assert_array_equal(codes, np.transpose(expected))
    assert 0 < unknown < codes.size


def test_integers_of_another_sign_are_no_levels():
    top, ids = np.array([[2**63 + 5]], np.uint64), np.array([[-(2**63) + 5]])
    for levels, other in [(top, ids), (ids, top)]:
        encoder = encoder_of([levels[0]])
        assert encoder.encode(levels, np.float32)[0] == 0
        codes, unknown = encoder.encode(other, np.float32)
        assert (codes[0, 0], unknown) == (-1, 1)
    assert encoder_of([np.array([3], np.uint64)]).encode(np.array([[3]]), np.float32)[0] == 0
    assert encoder_of([np.array([-1, 3])]).encode(np.array([[3]], np.uint64), np.float32)[0] == 1


@pytest.mark.parametrize("dtype", FINDABLE)
def test_hundreds_of_thousands_of_levels(dtype):
    rng, K = np.random.default_rng(0), 300_000
    many = np.unique(rng.integers(0, 2**40, K)).astype(dtype)
    columns = [many, np.arange(5, dtype=dtype), many[::2], np.arange(K).astype(dtype)]
    block = np.column_stack([rng.choice(each, 500) for each in columns])
    block[::7] += 1
    codes, _ = encoder_of(columns).encode(block, np.float32)
    expected = [searched(levels, block[:, d]) for d, levels in enumerate(columns)]
    np.testing.assert_array_equal(codes, np.transpose(expected))
    known = (codes >= 0).all(axis=1)
    np.testing.assert_array_equal(encoder_of(columns).decode(codes[known]), block[known])


@pytest.mark.parametrize("of_codes", DTYPES)
@pytest.mark.parametrize("dtype", [*VALUES, "longdouble"])
def test_decode_undoes_encode_in_any_type(dtype, of_codes):
    rng = np.random.default_rng(0)
    block = random_values(rng, "int8", (50, 6)).astype(dtype)
    columns = distinct_values(Table(block, np.arange(6)))
    encoder = encoder_of(columns)
    codes, unknown = encoder.encode(block, np.dtype(of_codes))
    assert unknown == 0
    decoded = encoder.decode(codes, 3)
    assert decoded.dtype == dtype
    np.testing.assert_array_equal(decoded, block)


def test_codes_that_are_no_level_decode_to_one():
    encoder = encoder_of([np.array([4, 7]), np.array([1, 2, 3])])
    for odd in (np.nan, -1, -np.inf, 1e30, np.inf):
        for dtype in DTYPES:
            decoded = encoder.decode(np.full((1, 2), odd, dtype))
            assert decoded[0, 0] in (4, 7)
            assert decoded[0, 1] in (1, 2, 3)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_mass_of_levels_is_the_weight_of_their_rows(dtype):
    rng = np.random.default_rng(0)
    codes = rng.integers(-1, 4, (30, 5)).astype(dtype)
    codes[rng.random(codes.shape) < 0.1] = np.nan
    offsets, weight = offsets_of(np.full(5, 4)), rng.random(30)
    expected = [[weight[codes[:, d] == k].sum() for k in range(4)] for d in range(5)]
    masses = []
    for n_threads in (1, 2, 9):
        mass = np.ones(20)
        _levels.add_mass(codes, offsets, weight, mass, n_threads)
        masses.append(mass)
        assert_same_bits(mass, masses[0])
    np.testing.assert_allclose(masses[0].reshape(5, 4), 1 + np.array(expected), rtol=1e-14)


@pytest.mark.parametrize("dtype", [*FINDABLE, "float32"])
@pytest.mark.parametrize("n", [0, 1, 2, 100])
def test_any_number_of_threads_gives_the_same_codes(n, dtype):
    rng = np.random.default_rng(0)
    columns = distinct_values(Table(random_values(rng, dtype, (99, 20)), np.arange(20)))
    encoder = encoder_of(columns)
    block = random_values(rng, dtype, (n, 20))
    codes, unknown = encoder.encode(block, np.dtype("float32"))
    for n_threads in (2, 3, 8):
        again, count = encoder.encode(block, np.dtype("float32"), n_threads)
        assert count == unknown
        assert_same_bits(again, codes)
        assert_same_bits(encoder.decode(codes, n_threads), encoder.decode(codes))


def test_arrays_that_do_not_fit_are_refused():
    levels, offsets = np.arange(5.0), np.array([0, 2, 5])
    for wrong in ([0, 2, 4], [0, 5, 5], [1, 2, 5], [0]):
        with pytest.raises(ValueError, match="as many as offsets"):
            _levels.Finder(levels, np.array(wrong))
    with pytest.raises(ValueError, match="of float64, int64 or uint64"):
        _levels.Finder(levels.astype(np.int32), offsets)
    finder, codes = _levels.Finder(levels, offsets), np.zeros((3, 2))
    with pytest.raises(ValueError, match="must be of float64"):
        finder.encode(np.zeros((3, 2), np.int64), codes, 1)
    for shape in [(3, 1), (2, 2), (6,)]:
        with pytest.raises(ValueError, match="differ in shape"):
            finder.encode(np.zeros(shape), codes, 1)
    with pytest.raises(ValueError, match="differ in shape"):
        finder.encode(np.zeros((2, 3)).T, codes, 1)
    with pytest.raises(ValueError, match="differ in shape"):
        _levels.decode(levels[:4], offsets, codes, 1)
    with pytest.raises(ValueError, match="differ in shape"):
        _levels.add_mass(codes, offsets, np.ones(3), np.zeros(4), 1)


# ---- what `fit` learns


@pytest.mark.parametrize("dtype", VALUES)
def test_distinct_values_are_numpys_whatever_the_blocks(dtype, monkeypatch):
    monkeypatch.setattr("fastar._data.table.block_rows", lambda n_features: 7)
    X = random_values(np.random.default_rng(0), dtype, (200, 5))
    order = np.array([3, 0, 4, 1, 2])
    for values, d in zip(distinct_values(Table(X, order)), order, strict=True):
        expected = np.unique(X[:, d])
        np.testing.assert_array_equal(values, expected[expected == expected])
        assert values.dtype == dtype


@pytest.mark.parametrize("dtype", ["int64", "uint64"])
def test_distinct_values_keep_every_digit(dtype):
    X = np.array(EDGES[dtype], dtype)[:, None]
    assert distinct_values(Table(X, np.arange(1)))[0].tolist() == X[:, 0].tolist()


def test_distinct_values_need_memory_by_their_number_not_by_the_rows():
    X = np.tile(np.arange(1000), 4000)[:, None]  # 32 MB
    tracemalloc.start()
    found = distinct_values(Table(X, np.arange(1)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found[0]) == 1000
    assert peak < 3 * 8 * (1 << 20)  # a block, and its copy that is sorted


# ---- the conditional


@pytest.mark.parametrize("cardinality", [None, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32])
def test_unknown_values_are_an_error_or_counted_in_a_warning(cardinality, dtype):
    X, block = np.arange(4, dtype=dtype)[:, None], np.array([[3], [9], [9], [0]], dtype)
    strict, lax = (
        Categorical(unknown, cardinality).fitted(Table(X, np.arange(1)), np.ones(4))
        for unknown in ("error", "impossible")
    )
    assert strict.unsupported(block).tolist() == [[False], [True], [True], [False]]
    assert not lax.unsupported(block).any()
    with pytest.warns(UserWarning, match="2 values are no level"):
        codes = lax.encode(block, np.dtype(np.float32))
    assert codes[:, 0].tolist() == [3, -1, -1, 0]
