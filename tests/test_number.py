"""Real columns as people have them: atoms, supports, tails, steps, and densities in their units."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from common import assert_gradient_is_finite_differences, fit, make
from scipy import sparse, stats

import fastar
from fastar import DeepNADE, GenerativeRNN, PixelRNN
from fastar._core.schema import EntryError
from fastar._data.table import Table
from fastar.conditionals import Integer, Number
from fastar.conditionals._maps import MAPS, Maps

pytestmark = pytest.mark.kernels

F8 = np.dtype("float64")
LARGE = [-1e300, -1e9, -7.0, -1.0, -1e-300, 0.0, 1e-300, 0.5, 1.0, 6.5, 1e9, 1e300]


def incomes(n, rng):
    return rng.lognormal(0, 2, n)


def claims(n, rng):
    return np.where(rng.random(n) < 0.7, 0, rng.gamma(2.0, 100.0, n))


def prices(n, rng):
    return np.round(rng.gamma(2.0, 3.0, n), 1)


def capped(n, rng):
    return np.clip(rng.standard_t(2, n), -3, None)


def coded(n, rng):
    return np.where(rng.random(n) < 0.2, -1.0, rng.normal(5, 3, n))


COLUMNS = {each.__name__: each for each in (incomes, claims, prices, capped, coded)}
KINDS = {"incomes": 1, "claims": 2, "prices": 2, "capped": 0, "coded": 0}
every_column = pytest.mark.parametrize("name", COLUMNS)


def table(n=2000, seed=0):
    rng = np.random.default_rng(seed)
    return np.column_stack([each(n, rng) for each in COLUMNS.values()])


def fitted(X, weight=None, **settings):
    X = np.asarray(X, float)
    X = X[:, None] if X.ndim == 1 else X
    weight = np.ones(len(X)) if weight is None else weight
    return Number(**settings).fitted(Table(X, np.arange(X.shape[1])), weight)


def column(name, n=2000):
    return COLUMNS[name](n, np.random.default_rng(0))


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


# ---- densities


def shaken(own, seed=0):
    """Return raw outputs (P,) that spread components and give each atom some mass."""
    return np.random.default_rng(seed).standard_normal(own.output_offsets[-1])


def log_prob(own, raw, x):
    codes = own.encode(np.asarray(x, float)[:, None], F8)
    return own.log_prob(np.tile(raw, (len(x), 1)), codes, 1)[1]


def below_support(name, n=2000):
    """Return the probability of all values below the support, which columns have from 0 on."""
    return 1 / (2 * n + 2) if KINDS[name] else 0.0


def integral(own, density, points=400):
    """Return the integral of density(x) over all numbers."""
    y = np.linspace(-30, 30, points + 1)
    ends = own.maps.values(y[:, None])[:, 0]
    nodes, weight = np.polynomial.legendre.leggauss(40)
    total = 0.0
    for a, b in pairwise(np.unique(ends)):
        total += (b - a) / 2 * weight @ density((a + b) / 2 + (b - a) / 2 * nodes)
    return total


@pytest.mark.parametrize("seed", range(3))
@every_column
def test_a_density_is_normalised_over_atoms_and_length(name, seed):
    own = fitted(column(name), n_components=4)
    raw = shaken(own, seed)
    atoms = own.atoms_of_columns[0]
    mass = np.exp(log_prob(own, raw, atoms)).sum() if len(atoms) else 0.0

    def density(x):  # what rounding makes of an end may be an atom
        return np.exp(np.where(np.isin(x, atoms), -np.inf, log_prob(own, raw, x)))

    assert mass + integral(own, density) == pytest.approx(1 - below_support(name), abs=1e-6)
    if KINDS[name]:
        assert np.isfinite(log_prob(own, raw, np.array([-1e300, -1.0, -5e-324]))).all()
        ends = np.append(0, own.maps.spread[0] * 2.0 ** np.arange(-10, 30))
        nodes, share = np.polynomial.legendre.leggauss(20)
        below = sum(
            (b - a) / 2 * share @ np.exp(log_prob(own, raw, -(a + b) / 2 - (b - a) / 2 * nodes))
            for a, b in pairwise(ends)
        )
        assert below == pytest.approx(below_support(name), rel=1e-6)


@pytest.mark.parametrize("seed", range(2))
@every_column
def test_what_is_said_of_a_distribution_is_that_of_its_density(name, seed):
    own = fitted(column(name), n_components=4)
    raw, atoms = shaken(own, seed), own.atoms_of_columns[0]
    x = np.quantile(column(name), np.linspace(0.02, 0.98, 9))
    codes = own.encode(x[:, None], F8)
    said = own.distribution_params(np.tile(raw, (9, 1)), codes)
    other = below_support(name)
    mass = np.exp(log_prob(own, raw, atoms)) if len(atoms) else np.zeros(0)
    np.testing.assert_allclose(said["atoms"][0][0], mass, atol=1e-12)
    for value, cdf in zip(x, said["cdf"][:, 0], strict=True):

        def below(t, value=value):
            inside = (t <= value) & ~np.isin(t, atoms)
            return np.where(inside, np.exp(log_prob(own, raw, t)), 0)

        expected = other + mass[atoms <= value].sum() + integral(own, below, 1000)
        assert cdf == pytest.approx(expected, abs=5e-3)
    quantiles = said["quantiles"][0, 0]
    assert (np.diff(quantiles) >= 0).all()
    at = own.distribution_params(np.tile(raw, (3, 1)), own.encode(quantiles[:, None], F8))["cdf"]
    before = at[:, 0] - np.array([mass[atoms == q].sum() for q in quantiles])
    share = other + (1 - other) * np.array([0.05, 0.5, 0.95])
    assert (before <= share + 1e-9).all()
    assert (at[:, 0] >= share - 1e-9).all()
    ends = np.array([[-1e300], [1e300], [np.nan]])
    cdf = own.distribution_params(np.tile(raw, (3, 1)), own.encode(ends, F8))["cdf"][:, 0]
    np.testing.assert_allclose(cdf, [0, 1, np.nan], atol=1e-9)


def test_moments_without_tails_are_the_mixtures():
    own = fitted(np.random.default_rng(0).normal(size=500), n_components=1)
    said = own.distribution_params(np.array([[0.0, 0.3, -1.0]]), np.zeros((1, 1)))
    scale = own.maps.scale[0]
    assert said["mean"][0, 0] == pytest.approx(own.maps.location[0] + 0.3 * scale)
    assert said["variance"][0, 0] == pytest.approx((np.exp(-1) + 1e-6) * scale**2)


@pytest.mark.parametrize("order", ["natural", [2, 0, 1]])
@pytest.mark.parametrize("names", [None, list("abc")])
def test_the_atoms_of_columns_are_told_by_column(names, order):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 3))
    X[:200, 0], X[:, 2] = (
        0.5,
        np.where(rng.random(400) < 0.5, [0.25] * 400, rng.choice([1, 2], 400)),
    )
    frame = X if names is None else pd.DataFrame(X, columns=names)
    own = fit(make("NADE", distribution="number", order=order, max_iter=3), frame)
    said = own.conditionals(frame)
    keys = names or [0, 1, 2]
    assert list(said["atoms"]) == keys
    assert [said["atoms"][key].shape for key in keys] == [(400, 1), (400, 0), (400, 3)]
    assert said["mean"].shape == (400, 3)
    scores = own.score_features(frame)
    at = X[:, 2] == 0.25
    np.testing.assert_allclose(np.log(said["atoms"][keys[2]][at, 0]), scores[at, 2], rtol=1e-4)
    mixed = fit(make("NADE", distribution=["number", "gaussian", "number"], order=order), frame)
    assert mixed.conditionals(frame)[keys[2]]["atoms"].shape == (400, 3)


@pytest.mark.parametrize("model", ["NADE", "MADE", "FVSBN"])
def test_samples_follow_the_density(model):
    X = table(1500)
    X[:, 3] = np.where(X[:, 1] > 0, X[:, 0], X[:, 3])  # what follows depends on atoms
    own = fit(make(model, distribution="number", max_iter=10), X)
    drawn = own.sample(4000, random_state=0)
    said = own.conditionals(drawn)
    for c, atoms in enumerate(own.distribution_.atoms_of_columns):
        upper = said["cdf"][:, c]
        jump = np.zeros(len(drawn))
        for a, atom in enumerate(atoms):
            is_atom = drawn[:, c] == atom
            mass = said["atoms"][c][:, a]
            jump[is_atom] = mass[is_atom]
            spread = np.sqrt((mass * (1 - mass)).sum())
            assert abs(is_atom.sum() - mass.sum()) < 5 * spread + 1, (c, atom)
        if own.distribution_.decimals[c] >= 0:
            continue  # samples are rounded
        uniform = upper - jump * np.random.default_rng(1).random(len(drawn))
        assert stats.kstest(uniform, "uniform").pvalue > 1e-4, c


def test_samples_look_like_the_columns():
    X = table(3000)
    drawn = fit(make("NADE", n_hidden=30, distribution="number", max_iter=60), X).sample(
        3000, random_state=0
    )
    assert (drawn[:, :3] >= 0).all()
    assert (drawn[:, 0] > 0).all()
    for c, atom in ((1, 0), (3, -3), (4, -1)):
        assert (drawn[:, c] == atom).mean() == pytest.approx((X[:, c] == atom).mean(), abs=0.05)
    np.testing.assert_array_equal(drawn[:, 2], np.round(drawn[:, 2], 1))
    for c in range(5):
        assert stats.ks_2samp(drawn[:, c], X[:, c]).statistic < 0.08, c


# ---- models


@pytest.mark.parametrize("order", ["natural", "random"])
@pytest.mark.parametrize("model", ["NADE", "MADE", "FVSBN"])
def test_gradients_are_finite_differences(model, order):
    X = table(300)
    X[::7, 1] = np.nan
    own = make(model, distribution="number", missing="marked", order=order, dtype="float64")
    own = fit(own.set_params(max_iter=1), X)
    assert_gradient_is_finite_differences(own, np.ascontiguousarray(X[:50, own.order_]))


@pytest.mark.parametrize("model", ["NADE", "MADE", "FVSBN"])
def test_terms_by_column_add_up_to_the_score(model):
    X = table(400)
    own = fit(make(model, distribution="number", order="random", max_iter=3), X)
    np.testing.assert_allclose(own.score_features(X).sum(axis=1), own.score_samples(X), rtol=1e-5)


@pytest.mark.parametrize("model", ["NADE", "RNADE", "MADE", "FVSBN"])
def test_the_last_column_sees_the_first_one_where_columns_are_several_features(model):
    X = np.random.default_rng(0).lognormal(size=(300, 4))
    model = fit(make(model, distribution="number"), X)
    assert model.network_.n_features > X.shape[1]
    other = np.column_stack([X[:, 0] * 2, X[:, 1:]])
    assert (model.score_features(X)[:, 3] != model.score_features(other)[:, 3]).mean() > 0.9


def test_a_change_of_units_is_a_jacobian():
    X = np.random.default_rng(0).lognormal(0, 1, (500, 2))
    one, other = (fit(make(distribution="number", dtype="float64"), X * unit) for unit in (1, 8))
    expected = one.score_samples(X) - 2 * np.log(8)
    np.testing.assert_allclose(other.score_samples(8 * X), expected, rtol=1e-6)


@pytest.mark.parametrize("model", ["NADE", "MADE"])
def test_weights_of_particles_are_those_of_densities(model):
    """p(x_2) is the sum over the atoms of x_1 and the integral over its other values."""
    rng = np.random.default_rng(0)
    x = claims(1000, rng)
    X = np.column_stack([x, x / 100 + rng.lognormal(0, 1, 1000)])
    own = fit(make(model, distribution="number", dtype="float64", max_iter=40), X)
    conditional = own.distribution_
    first = fitted(X[:, 0])
    for second in (0.3, 2.0, 9.0):

        def density(t, second=second):
            return np.exp(own.score_samples(np.column_stack([t, np.full(len(t), second)])))

        exact = density(np.zeros(1))[0] + integral(first, density, 600)
        row = np.array([[np.nan, second]])
        found = own.log_marginal(row, n_particles=20_000, random_state=0)[0]
        assert found == pytest.approx(np.log(exact), abs=0.05)
    assert conditional.n_features == 4


def test_evidence_is_held_and_what_is_missing_is_drawn_from_the_support():
    X = table(500)
    own = fit(make(distribution="number"), X)
    given = np.where(np.random.default_rng(0).random((40, 5)) < 0.5, np.nan, X[:40])
    for drawn in (own.sample(40, evidence=given, random_state=0), own.impute(given)):
        held = ~np.isnan(given)
        np.testing.assert_array_equal(drawn[held], given[held])
        assert np.isfinite(own.score_samples(drawn)).all()


@pytest.mark.parametrize("model", ["NADE", "MADE"])
def test_purification_keeps_atoms_and_stays_in_reach_and_support(model):
    X = table(600)
    own = fit(make(model, distribution="number"), X)
    before = own.score_samples(X[:100])
    for radius in (0, 0.1, 5.0):
        repaired = own.purify(X[:100], radius)
        assert np.abs(repaired - X[:100]).max() <= radius * (1 + 1e-6) + 1e-6
        for c, atoms in enumerate(own.distribution_.atoms_of_columns):
            was = np.isin(X[:100, c], atoms)
            np.testing.assert_array_equal(repaired[was, c], X[:100][was, c])
        assert np.isfinite(own.score_samples(repaired)).all()
    assert own.score_samples(own.purify(X[:100], 0.1)).mean() > before.mean()


def test_models_of_several_orders_take_columns_without_atoms():
    X = table(300)
    own = fit(DeepNADE(hidden_layer_sizes=(8,), distribution="number", max_iter=3), X)
    assert own.distribution_.n_features == 5
    assert own.distribution_.settings()["atoms"] is False
    assert np.isfinite(own.score_samples(X)).all()
    windowed = fit(make("NADE", distribution="number", markov_order=2), X)
    assert windowed.distribution_.n_features == 5


def test_steps_of_sequences_may_be_numbers():
    rng = np.random.default_rng(0)
    X = [rng.lognormal(0, 1, (6, 2)) for _ in range(20)]
    own = fit(GenerativeRNN(n_hidden=5, distribution="number", max_iter=3, random_state=0), X)
    assert np.isfinite(own.score_samples(X)).all()
    assert all((each > 0).all() for each in own.sample(5, max_length=4, random_state=0))


def test_gaps_contexts_frames_and_files(tmp_path):
    X = table(400)
    frame = pd.DataFrame(X, columns=list(COLUMNS))
    frame.loc[::5, "claims"] = np.nan
    frame.loc[1::3, "incomes"] = np.nan
    context = np.random.default_rng(0).normal(size=(400, 2))
    own = fit(make("NADE", distribution="number"), frame, context=context)
    scores = own.score_samples(frame, context=context)
    assert np.isfinite(scores).all()
    features = own.score_features(frame, context=context)
    np.testing.assert_array_equal(features[frame.isna().to_numpy()], 0)
    filled = own.impute(frame, context=context, random_state=0)
    assert not filled.isna().any(axis=None)
    assert (filled[["incomes", "claims"]] >= 0).all(axis=None)
    own.save(tmp_path / "model")
    again = fastar.load(tmp_path / "model")
    np.testing.assert_array_equal(again.score_samples(frame, context=context), scores)
    pd.testing.assert_frame_equal(
        again.sample(400, context=context, random_state=0),
        own.sample(400, context=context, random_state=0),
    )


@pytest.mark.parametrize(
    ("entry", "damage"),
    [
        ("atoms", lambda arrays: arrays["atoms"].__setitem__(0, -5.0)),
        ("atoms", lambda arrays: arrays["n_atoms"].__setitem__(0, 3)),
        ("map", lambda arrays: arrays["map"].__setitem__(0, 3)),
        ("other", lambda arrays: arrays["other"].__setitem__(0, 1.5)),
        ("other", lambda arrays: arrays["other"].__setitem__(4, 0.1)),
        ("scale", lambda arrays: arrays["scale"].__setitem__(1, 0.0)),
        ("decimals", lambda arrays: arrays["decimals"].__setitem__(1, 7)),
    ],
)
def test_arrays_of_damaged_files_are_refused(entry, damage):
    own = fitted(table(500))
    arrays = {key: array.copy() for key, array in own.arrays().items()}
    own.check_arrays(arrays, 5)
    damage(arrays)
    with pytest.raises(EntryError, match=entry):
        own.check_arrays(arrays, 5)


def outside():
    """Return rows of which the second and the last have values below the support."""
    X = table(4)
    X[1, 0], X[3, :3] = -2.5, [0.0, -1e300, -0.1]
    return X


@pytest.mark.parametrize("model", ["NADE", "MADE", "FVSBN"])
def test_values_below_the_support_share_a_small_probability(model):
    X = table(300)
    own = fit(make(model, distribution="number", dtype="float64"), X)
    score, terms = own.score_samples(outside()), own.score_features(outside())
    assert np.isfinite(score).all()
    np.testing.assert_allclose(terms.sum(axis=1), score)
    spread, at = own.distribution_.maps.spread, [0, 0, 1, 2]
    distance = np.array([2.5, 0, 1e300, 0.1])
    density = np.log(spread[at] / 602) - 2 * np.log(spread[at] + distance)
    np.testing.assert_allclose(terms[[1, 3, 3, 3], at], density)
    weighted = fit(
        make(model, distribution="number", dtype="float64"), X, sample_weight=np.full(300, 0.5)
    )
    ratio = weighted.score_features(outside())[1, 0] - own.score_features(outside())[1, 0]
    assert ratio == pytest.approx(np.log(602 / 302), abs=0.05)  # and their spreads differ


def test_values_below_the_support_are_held_and_others_are_drawn_above_it():
    own = fit(make("NADE", distribution="number"), table(300))
    given = outside()
    given[:, 3:] = np.nan
    given[1, 1] = np.nan
    for drawn in (own.sample(4, evidence=given, random_state=0), own.impute(given)):
        held = ~np.isnan(given)
        np.testing.assert_array_equal(drawn[held], given[held])
        assert np.isfinite(drawn).all()
        assert drawn[1, 1] >= 0
    assert np.isfinite(own.log_marginal(given, n_particles=50, random_state=0)).all()


def test_validation_rows_below_the_support_do_not_stop_training():
    own = fit(make("NADE", distribution="number"), table(300), X_val=outside())
    assert np.isfinite(own.score_samples(outside())).all()


def test_values_that_have_nothing_of_the_support_near_are_named():
    own = fit(make(distribution="number"), pd.DataFrame(table(300), columns=list(COLUMNS)))
    wrong = pd.DataFrame(outside(), columns=list(COLUMNS))
    with pytest.raises(ValueError, match=r"none below.* Got -2.5 in row 1, column 'incomes'"):
        own.purify(wrong, 0.1)
    unsplit = fit(make(distribution=Number(atoms=False)), table(300)[:, :1])
    with pytest.raises(ValueError, match=r"none below.* Got -2.5 in row 1, column 0"):
        unsplit.score_samples(outside()[:, :1])


# ---- extreme columns

EXTREMES = {
    "tiny": lambda rng: rng.lognormal(0, 1, 50) * 1e-300,
    "huge": lambda rng: rng.lognormal(0, 1, 50) * 1e299,
    "of all sizes": lambda rng: 10.0 ** rng.uniform(-300, 300, 50),
    "of all sizes and signs": lambda rng: (
        10.0 ** rng.uniform(-300, 300, 50) * rng.choice([-1, 1], 50)
    ),
    "from the smallest to the largest": lambda rng: np.array([5e-324, 1.0, 1e300]),
    "between the largest": lambda rng: np.array([-1e300, 1e300]),
    "one row": lambda rng: np.array([3.7]),
    "constant": lambda rng: np.full(50, 1e-5),
    "constant and negative": lambda rng: np.full(50, -1e5),
    "zero": lambda rng: np.zeros(50),
    "zeros but one": lambda rng: np.eye(1, 50)[0] * 5,
    "offset": lambda rng: 1.7e9 + rng.integers(0, 100, 50),
    "two atoms": lambda rng: np.repeat([0.5, -2.5], 25),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", EXTREMES)
def test_extreme_columns_have_finite_scores_and_samples_of_their_support(name, dtype):
    x = EXTREMES[name](np.random.default_rng(0))
    X = np.column_stack([x, np.arange(len(x)) % 2, x])
    own = fit(make(distribution="number", dtype=dtype, max_iter=5), X)
    assert np.isfinite(own.score_samples(X)).all()
    drawn = own.sample(200, random_state=0)
    assert np.isfinite(drawn).all()
    assert (drawn >= 0).all() or x.min() < 0
    assert np.isfinite(own.score_samples(drawn)).all()
    if name.startswith("constant"):
        assert np.abs(drawn[:, 0] / x[0] - 1).max() < 1e-2
    said = own.conditionals(X)
    assert np.isfinite(said["quantiles"]).all()
    assert ((said["cdf"] >= 0) & (said["cdf"] <= 1 + 1e-6)).all()


def test_numbers_near_the_end_of_float64_are_refused_by_name():
    X = table(50)
    X[7, 4] = -1.5e300
    with pytest.raises(ValueError, match=r"Got -1.5e\+300 in column 4"):
        fit(make(distribution="number"), X)


def test_one_cell_does_not_flatten_its_column():
    X = np.random.default_rng(0).normal(40, 5, (500, 1))
    plain = fit(make(distribution="number", max_iter=30), X).score(X[1:])
    X[0] = 999_999_999
    own = fit(make(distribution="number", max_iter=30), X)
    codes = own.distribution_.encode(X, F8)
    assert 0.5 < codes[1:, -1].std() < 2
    assert codes[0, -1] < 150
    assert own.score(X[1:]) > plain - 0.1
    assert own.score_samples(X[:1])[0] > -500


def test_a_column_with_one_value_among_gaps():
    X = table(100)
    X[1:, 0] = np.nan
    own = fit(make(distribution="number", missing="marked"), X)
    assert np.isfinite(own.score_samples(X)).all()
    drawn = own.sample(50, random_state=0)
    np.testing.assert_allclose(drawn[:, 0], X[0, 0], rtol=0.05)


# ---- defaults


def people(n=500):
    rng = np.random.default_rng(0)
    return {
        "income": rng.lognormal(0, 2, n),
        "claims": claims(n, rng),
        "children": rng.poisson(1.5, n).astype(float),
        "heaped": np.where(rng.random(n) < 0.96, rng.integers(0, 9, n), rng.integers(0, 500, n)),
        "age": rng.integers(0, 400, n).astype(float),
        "inhabitants": rng.integers(0, 10**9, n).astype(float),
    }


DECIDED = ["number", "number", "categorical", "categorical", "integer", "integer"]


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_matrix, pd.DataFrame])
def test_each_column_is_judged_for_itself(container):
    X = np.column_stack(list(people().values()))
    own = fit(make(distribution="auto", max_iter=1), container(X))
    assert [each["kind"] for each in own.schema_] == DECIDED
    assert [each["column"] for each in own.schema_] == list(range(6))
    assert own.schema_[1]["atoms"] == [0]
    assert [each["map"] for each in own.schema_][:3] == ["log", "inverse softplus", None]
    levels = [len(np.unique(X[:, 2])), len(np.unique(X[:, 3]))]
    assert [each["levels"] for each in own.schema_][2:4] == levels


def test_the_schema_says_what_was_asked_for():
    frame = pd.DataFrame(people())
    own = fit(make(distribution={"income": "gaussian"}, max_iter=1, order="random"), frame)
    assert [each["column"] for each in own.schema_] == list(frame.columns)
    assert [each["kind"] for each in own.schema_] == ["gaussian", *DECIDED[1:]]
    assert own.schema_[0]["why"] == "by `distribution`"
    assert own.schema_[1]["why"] == "real numbers, never negative"


def test_the_schema_names_levels_and_the_rule_of_each_column():
    rng = np.random.default_rng(0)
    sizes = pd.CategoricalDtype(["S", "M", "L"], ordered=True)
    frame = pd.DataFrame({
        "size": pd.Series(rng.choice(["S", "L"], 200), dtype=sizes),
        "word": rng.choice(list("abcdefgh"), 200),
        "flag": rng.random(200) < 0.5,
        "bit": rng.integers(0, 2, 200),
        "few": rng.integers(3, 5, 200),
        "id": 2**60 + rng.integers(0, 3, 200),
        "apart": rng.choice([-(2**62), 0, 2**62], 200),
        "many": rng.integers(0, 10**4, 200),
        "wait": pd.to_timedelta(rng.integers(1, 9, 200) * 60, unit="s"),
        "when": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 99, 200), unit="D"),
    })  # fmt: skip
    own = {each["column"]: each for each in fit(make(max_iter=1), frame).schema_}
    said = {name: (each["support"], each["why"]) for name, each in own.items()}
    assert said == {
        "size": ("'S', 'M', 'L'; nothing else", "categories that the type declares"),
        "word": ("'a', 'b', 'c', 'd', 'e', ... (8 levels); rarely any other value", "text"),
        "flag": ("0 or 1", "bools"),
        "bit": (
            "0, 1; rarely any other whole number",
            "0 and 1, beside columns of other kinds",
        ),
        "few": (
            "3, 4; rarely any other whole number",
            "whole numbers, at most 100 different ones",
        ),
        "id": (
            ", ".join(str(2**60 + k) for k in range(3)) + "; nothing else",
            "whole numbers, at most 100 different ones",
        ),
        "apart": (
            f"{-(2**62)}, 0, {2**62}; nothing else",
            "whole numbers beyond 2**53 and far apart, as names",
        ),
        "many": ("all whole numbers", "whole numbers, more than 100 different ones"),
        "wait": (
            own["wait"]["support"],
            "durations by the minute, never negative, in steps of 1",
        ),
        "when": (
            "moments from the year 1 to 9999, by the day",
            "dates or times: week as a number, weekday",
        ),
    }
    array = fit(make(max_iter=1), frame[["bit", "bit"]].to_numpy()).schema_
    assert array[0]["why"] == "0 and 1 alone, in a table of nothing else"
    rare = fit(make(max_iter=1, min_count=99), frame[["word"]]).schema_[0]
    assert rare["support"] == "'other'; nothing else"
    assert rare["why"] == "text, the rare values of which are one level"


def test_whole_numbers_with_gaps_stay_whole():
    frame = pd.DataFrame(people())
    frame.loc[::7, "children"] = np.nan
    own = fit(make(distribution="auto"), frame)
    filled = own.impute(frame, random_state=0)
    np.testing.assert_array_equal(filled["children"], filled["children"].round())
    assert (own.sample(500, random_state=0)[["income", "claims"]] >= 0).all(axis=None)


@pytest.mark.parametrize("given", [["a", "b"], ["a", "b", "c"], [0.0, 3.0]])
def test_a_value_that_fit_has_not_seen_has_a_small_probability(given):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.choice(given, 300), "y": rng.normal(size=300)})
    X = frame if isinstance(given[0], str) else frame.to_numpy()
    own = fit(make(distribution="auto"), X)
    other = frame[:1].copy()
    other["x"] = "else" if isinstance(given[0], str) else 9.0
    score = own.score_features(other if isinstance(given[0], str) else other.to_numpy())[0, 0]
    assert -12 < score < -5


def test_sequences_and_pixels_stay_gaussian():
    X = np.random.default_rng(0).lognormal(0, 1, (20, 4))
    rnn = fit(GenerativeRNN(n_hidden=3, max_iter=1), [each[:, None] for each in X])
    assert "Gaussian(" in repr(rnn.distribution_)
    assert "Gaussian(" in repr(fit(PixelRNN(n_hidden=3, max_iter=1), X).distribution_)
