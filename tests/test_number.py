"""What a real column is: its map, atoms, support, steps."""

import numpy as np
import pandas as pd
import pytest
from common import fit, make
from real_columns import F8, KINDS, column, every_column, fitted, table
from scipy import stats

from fastar._data.table import Table
from fastar.conditionals import Integer, Number
from fastar.conditionals._maps import MAPS, Maps

pytestmark = pytest.mark.kernels


LARGE = [-1e300, -1e9, -7.0, -1.0, -1e-300, 0.0, 1e-300, 0.5, 1.0, 6.5, 1e9, 1e300]


def maps(kind, spread=2.0, location=0.5, scale=3.0):
    return Maps(*(np.array([each]) for each in (MAPS.index(kind), spread, location, scale)))


# ---- maps


@pytest.mark.parametrize("scale", [1e-300, 1e-9, 1.0, 1e9, 1e300])
@pytest.mark.parametrize("kind", MAPS)
def test_maps_rise_and_are_inverted_from_the_smallest_numbers_to_the_largest(kind, scale):
    x = np.array(LARGE)
    x = x if kind == "identity" else x[x > 0]
    own = maps(kind, spread=scale, location=scale / 2, scale=scale)
    if kind == "log":
        own = maps(kind, scale=max(1e-3, min(scale, 1e3)))
    y = own.codes(x[:, None])
    assert np.isfinite(y).all()
    assert np.isfinite(own.log_slope(y)).all()
    assert (np.diff(y[:, 0]) >= 0).all()
    back = own.values(y)[:, 0]
    # numbers near the location are known to its rounding, or to the rounding of their codes
    reach = 1e-15 * scale if kind == "identity" else 0
    np.testing.assert_allclose(back, x, rtol=1e-10, atol=reach)


@pytest.mark.parametrize("kind", MAPS)
def test_the_slope_is_the_difference_quotient(kind):
    own = maps(kind)
    x = np.array([0.01, 0.3, 1, 4, 18, 18.4, 60, 1e4])
    x = (x if kind != "log" else np.concatenate([x, [1e-9, 1e30]]))[:, None]
    step = 1e-6 * x
    quotient = (own.codes(x + step) - own.codes(x - step)) / (2 * step)
    np.testing.assert_allclose(np.exp(own.log_slope(own.codes(x))), quotient, rtol=1e-6)


def test_beyond_six_deviations_codes_grow_like_a_logarithm():
    own = maps("identity", location=0.0, scale=1.0)
    x = np.array([[5.0], [6.0], [6.0 * np.e], [-6.0 * np.e**2]])
    np.testing.assert_allclose(own.codes(x)[:, 0], [5, 6, 12, -18], rtol=1e-12)


@every_column
def test_each_column_gets_the_map_that_makes_it_most_like_a_gaussian(name):
    assert fitted(column(name)).maps.kind[0] == KINDS[name]


def test_what_looks_gaussian_on_a_scale_is_taken_there():
    z = np.random.default_rng(0).standard_normal(3000)
    assert MAPS[fitted(np.exp(z)).maps.kind[0]] == "log"
    assert MAPS[fitted(5 + z).maps.kind[0]] == "inverse softplus"
    assert MAPS[fitted(z).maps.kind[0]] == "identity"
    np.testing.assert_allclose(
        np.quantile(fitted(z).encode(z[:, None], F8), [0.25, 0.75]), stats.norm.ppf([0.25, 0.75]),
        atol=0.05,
    )  # fmt: skip


def test_weights_count_like_repeated_rows():
    X = table(400)[:, [0, 1, 3, 4]]
    weight = np.random.default_rng(1).integers(0, 4, 400)
    weight[X[:, 1] == 0] = 1
    one, other = fitted(X, weight.astype(float)), fitted(np.repeat(X, weight, axis=0))
    np.testing.assert_array_equal(one.maps.kind, other.maps.kind)
    np.testing.assert_allclose(one.maps.location, other.maps.location)
    np.testing.assert_allclose(one.maps.scale, other.maps.scale)


# ---- what is learnt


def test_an_atom_is_what_a_thousandth_of_the_rows_have_and_noise_does_not_explain():
    X = np.random.default_rng(0).normal(size=(18_001, 2))
    X[:18, 0], X[:17, 1] = 0.5, 0.5  # 17 and 16 more than usual: 4.01 and 3.9 errors
    assert [list(each) for each in fitted(X[:18_000]).atoms_of_columns] == [[0.5], []]
    assert [list(each) for each in fitted(X).atoms_of_columns] == [[], []]
    assert fitted(X, atoms=False).n_features == 2


@pytest.mark.parametrize(("conditional", "step"), [(Number(), 0.01), (Integer(), 1)])
def test_atoms_beside_one_another_stand_out_and_noise_does_not(conditional, step):
    """Whatever the scale of the weights, and where these differ."""
    rng = np.random.default_rng(0)
    X = np.rint(rng.normal(0, 40, (20_000, 2)))
    X[:, 1] = np.where(rng.random(20_000) < 0.15, rng.choice([50, 51, 52, 70], 20_000), X[:, 1])
    for weight in (np.ones(20_000), np.full(20_000, 1e-3), rng.uniform(0.5, 2, 20_000)):
        own = conditional.fitted(Table(X * step, np.arange(2)), weight)
        found = [np.rint(each / step).tolist() for each in own.atoms_of_columns]
        assert found == [[], [50, 51, 52, 70]]


def test_values_of_a_column_in_steps_are_atoms_where_they_stand_out():
    rng = np.random.default_rng(0)
    X = np.round(rng.normal(0, 2, (1000, 2)), 1)
    X[:100, 1] = 0.7
    assert [list(each) for each in fitted(X).atoms_of_columns] == [[], [0.7]]
    few = rng.choice([-0.25, 0.5, 2.75], 1000, p=[0.985, 0.01, 0.005])
    few[:15] = 0.5
    assert list(fitted(few).atoms_of_columns[0]) == [-0.25, 0.5]


def test_a_zero_of_a_column_that_is_never_negative_is_an_atom_wherever_it_occurs():
    X = np.random.default_rng(0).gamma(2, 1, (500, 2))
    X[7, 0] = 0
    own = fitted(X)
    assert [list(each) for each in own.atoms_of_columns] == [[0], []]
    block = np.array([[0.0, 0.0], [-1.0, 3.0], [0.0, -5e-324], [2.0, 1e-300]])
    choices = own.encode(block, F8)[:, ::2]
    below = -1 - np.log1p(1 / own.maps.spread[0])
    np.testing.assert_allclose(choices, [[1, -1], [below, 0], [1, -1], [0, 0]])


def test_what_a_column_takes_depends_on_whether_it_can_say_that_a_value_is_below():
    X = np.random.default_rng(0).gamma(2, 1, (500, 1))
    block = np.array([[3.0], [0.0], [-1.0], [np.inf], [-np.inf], [np.nan]])
    wrong = [False, False, False, True, True, True]
    assert fitted(X).unsupported(block)[:, 0].tolist() == wrong
    assert fitted(X - 5).unsupported(block)[:, 0].tolist() == wrong
    wrong[1] = wrong[2] = True
    assert fitted(X, atoms=False).unsupported(block)[:, 0].tolist() == wrong


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("p", range(5))
def test_steps_are_powers_of_ten(p, dtype):
    rng = np.random.default_rng(0)
    X = (rng.integers(-300, 300, 1000) / 10**p).astype(dtype).astype(float)
    own = fitted(X)
    assert own.decimals[0] == p
    codes = own.encode(X[:, None], np.dtype("float32"))
    np.testing.assert_array_equal(own.decode(codes).astype(dtype)[:, 0], X.astype(dtype))
    assert fitted(X + rng.normal(size=1000) * 1e-6).decimals[0] == -1
    assert fitted(np.unique(X)[:50]).decimals[0] == -1  # nothing is repeated


def test_numbers_are_rounded_to_steps_that_are_in_the_support_and_no_atoms():
    X = np.round(np.random.default_rng(0).gamma(1, 3, 3000), 1)
    own = fitted(X)
    assert 0 in own.atoms_of_columns[0]
    y = np.linspace(-6, 4, 1001)
    values = own.decode(np.column_stack([np.zeros(1001), y]))[:, 0]
    np.testing.assert_array_equal(values, np.round(values, 1))
    assert (values > 0).all()
    assert not np.isin(values, own.atoms_of_columns[0]).any()
    unrounded = own.maps.values(y[:, None])[:, 0]
    assert np.abs(values - unrounded)[unrounded >= 0.05].max() < 0.05 + 1e-9


@pytest.mark.parametrize("sentinel", [999_999_999, -1e12])
@pytest.mark.parametrize("kind", ["number", "integer"])
def test_a_cell_that_stands_for_a_missing_value_is_told_and_flattens_nothing(kind, sentinel):
    rng = np.random.default_rng(0)
    age = rng.normal(50, 15, 1000) if kind == "number" else rng.integers(0, 300, 1000)
    frame = pd.DataFrame({"group": rng.choice(["a", "b"], 1000), "age": age})
    spoilt = frame.astype({"age": float})
    spoilt.loc[7, "age"] = sentinel
    with pytest.warns(UserWarning, match=rf"X has {int(sentinel)} in column 'age', 1000 times"):
        model = fit(make(max_iter=30, learning_rate_init=0.01), spoilt)
    assert model.schema_[1]["kind"] == kind
    alone = fit(make(max_iter=30, learning_rate_init=0.01), frame)
    rest = np.arange(1000) != 7
    assert model.score(spoilt[rest]) == pytest.approx(alone.score(frame[rest]), abs=0.15)
    assert np.isfinite(model.score_samples(spoilt)).all()
