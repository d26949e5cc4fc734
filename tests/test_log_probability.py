"""Probabilities of sets and intervals: exhaustive sums, integrals, and draws within them."""

import re

import numpy as np
import pandas as pd
import polars
import pytest
from common import (
    DATA,
    DEEP,
    DISCRETE,
    MASKS,
    MODELS,
    REAL,
    VARIANTS,
    all_states,
    assert_same_bits,
    distribution,
    fit,
    fitted,
    make,
    snapshot,
    states,
)

from fastar import DeepNADE, Mixture, PixelRNN
from fastar.conditionals import Categorical, Number

D, nan, inf = 4, np.nan, np.inf


def allowed(column, what):
    """Return which values of a column evidence allows."""
    if isinstance(what, set):
        return np.isin(column, list(what))
    if isinstance(what, tuple):
        low, high = (x if end is None else end for end, x in zip(what, (-inf, inf), strict=True))
        return (low <= column) & (column < high)
    return column == what


def by_sum(model, box, everything, context=None):
    """Return the probability of a box from the scores of all rows; context (1, C)."""
    inside = np.ones(len(everything), bool)
    for column, what in box.items():
        inside &= allowed(everything[:, column], what)
    if not inside.any():
        return 0.0
    given = None if context is None else np.repeat(context, inside.sum(), axis=0)
    return np.exp(model.score_samples(everything[inside], context=given)).sum()


def boxes(levels):
    """Return boxes over D columns that have these levels, at least two."""
    low, high = levels[0], levels[-1]
    return [
        {0: {high}},
        {0: high, 1: {low}},
        {2: (high, None)},
        {D - 1: {low}},
        {1: (None, high), 3: {low, high}},
        {0: {low}, 1: (low, high), 2: {high}, 3: (high, inf)},
        {1: high, 2: {low}},
        {0: {low, high}, 3: low},
        {c: set(levels) for c in range(D)},
        {1: (low, low), 0: {high}},
        {2: set()},
        {},
    ]


def check_boxes(model, conditional):
    everything = states(conditional, D)
    asked = boxes(np.unique(everything).tolist())
    found = np.exp(model.log_probability(asked, n_particles=3000, random_state=0))
    exact = [by_sum(model, box, everything) for box in asked]
    np.testing.assert_allclose(found, exact, atol=0.02)
    assert (found[9:11] == 0).all()
    np.testing.assert_allclose(found[[8, 11]], 1, atol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("conditional", DISCRETE)
@pytest.mark.parametrize("name", MODELS)
def test_boxes_have_the_sum_of_their_rows(name, conditional, variant):
    model, _ = fitted(name, conditional, D=D, **VARIANTS[variant])
    check_boxes(model, conditional)


@pytest.mark.parametrize("variant", MASKS)
@pytest.mark.parametrize("conditional", DISCRETE)
def test_members_are_averaged(conditional, variant):
    model, _ = fitted("MADE", conditional, D=D, **MASKS[variant])
    check_boxes(model, conditional)


@pytest.mark.parametrize("conditional", DISCRETE)
def test_a_mixture_of_models_is_averaged(conditional):
    X = DATA[conditional](300, D)
    members = [
        make(distribution=distribution(conditional, D), order=order or "natural")
        for order in (None, [2, 0, 3, 1])
    ]
    check_boxes(fit(Mixture(members, weights=[0.3, 0.7], random_state=0), X), conditional)


@pytest.mark.parametrize("conditional", DISCRETE)
@pytest.mark.parametrize("name", MODELS)
def test_one_region_after_what_is_held_is_exact(name, conditional):
    order = [2, 0, 3, 1]
    model, _ = fitted(name, conditional, D=D, order=order, dtype="float64")
    everything = states(conditional, D)
    low, high = everything.min(), everything.max()
    asked = [{2: {low}}, {2: high, 0: (low, high)}, {2: low, 0: high, 3: {high}}, {2: high, 0: low}]
    found = model.log_probability(asked, n_particles=1)
    exact = [by_sum(model, box, everything) for box in asked]
    np.testing.assert_allclose(np.exp(found), exact, rtol=1e-9)
    np.testing.assert_allclose(model.answer_ess_, 1)


def test_the_estimate_is_unbiased():
    model, _ = fitted("NADE", "categorical", D=D, order="random")
    everything = states("categorical", D)
    box = {1: {0, 2}, 2: (1, 3), 3: {1}}
    found = np.exp(model.log_probability([box] * 8000, n_particles=2, random_state=0))
    error = found.std() / np.sqrt(len(found))
    assert error > 0
    assert abs(found.mean() - by_sum(model, box, everything)) < 5 * error


@pytest.mark.parametrize("n_orders", [1, 3])
def test_a_network_of_all_orders(n_orders):
    X = DATA["categorical"](300, D)
    deep = fit(DeepNADE(**DEEP, distribution=Categorical("error")), X).with_orders(n_orders)
    everything = states("categorical", D)
    boxes = [{0: {0, 2}}, {2: 1, 1: (1, 3)}, {0: 2, 3: 0, 2: {1}}, {0: 0, 1: {1, 2}}]
    found = np.exp(deep.log_probability(boxes, n_particles=4000, random_state=0))
    for box, p in zip(boxes, found, strict=True):
        (column,) = (c for c, what in box.items() if not isinstance(what, int))
        rows = [
            [box.get(c, nan) if c != column else level for c in range(D)]
            for level in range(3)
            if allowed(np.array(level), box[column])
        ]
        exact = np.exp(deep.log_marginal(np.array(rows, float), n_particles=1)).sum()
        np.testing.assert_allclose(p, exact, atol=0.005)
    order = deep.order_ if n_orders == 1 else None
    if order is not None:  # what is known before it needs no particles
        last = {int(order[0]): 1, int(order[2]): {0, 2}}
        alone = deep.log_probability(last, n_particles=1)
        assert deep.answer_ess_ == 1
        assert_same_bits(alone, deep.log_probability(last, n_particles=50))
    whole = {c: {0, 1, 2} for c in range(D)}
    np.testing.assert_allclose(deep.log_probability(whole), 0, atol=1e-5)
    box = {0: {0, 2}, 1: (1, 3), 2: {1}, 3: {0, 1}}
    found = np.exp(deep.log_probability(box, n_particles=4000, random_state=0))
    np.testing.assert_allclose(found, by_sum(deep, box, everything), atol=0.02)


def test_images_have_boxes_of_pixels():
    X = np.random.default_rng(0).integers(0, 3, (200, 2, 2))
    model = PixelRNN(
        network="row_lstm", n_hidden=4, n_layers=1, n_levels=3, max_iter=3, random_state=0
    )
    fit(model, X)
    everything = states("categorical", 4)
    p = np.exp(model.score_samples(everything.reshape(-1, 2, 2)))
    for box in ({0: {0, 1}}, {1: {2}, 3: {0, 1}}, {0: 1, 2: {1, 2}, 3: {0}}):
        found = np.exp(model.log_marginal(box, n_particles=4000, random_state=0))
        inside = [allowed(everything[:, column], what) for column, what in box.items()]
        np.testing.assert_allclose(found, p[np.all(inside, axis=0)].sum(), atol=0.02)


@pytest.mark.parametrize("name", MODELS)
def test_a_context_is_given_to_every_query(name):
    X = DATA["categorical"](300, D)
    context = X[:, :1] + np.random.default_rng(0).normal(size=(300, 1))
    model = fit(make(name, distribution=Categorical("error")), X, context=context)
    everything = states("categorical", D)
    for box in ({0: {0, 1}}, {1: (1, 3), 3: {0, 2}}):
        found = model.log_probability(
            [box] * 2, context=context[:2], n_particles=4000, random_state=0
        )
        exact = [by_sum(model, box, everything, context[i : i + 1]) for i in range(2)]
        np.testing.assert_allclose(np.exp(found), exact, atol=0.02)
        assert abs(found[0] - found[1]) > 1e-6


# ---- columns of other kinds


def test_a_column_of_two_digits_is_one_column():
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.integers(0, 2, 400), rng.integers(0, 9, 400), rng.integers(0, 2, 400)])
    model = fit(make(distribution=Categorical("error", digits=True), order=[1, 0, 2]), X)
    assert model.distribution_.n_features > 3
    everything = all_states([range(2), range(9), range(2)])
    for box in ({1: {3}}, {1: (2, 7)}, {1: {0, 4, 8}}, {1: (0, 9)}):  # the first column
        found = model.log_probability(box, n_particles=1)
        np.testing.assert_allclose(np.exp(found), by_sum(model, box, everything), rtol=1e-5)
    for box in ({1: (2, 7), 2: {1}}, {1: {0, 4}, 0: {0, 1}}, {1: {8}, 0: 1}):
        found = model.log_probability(box, n_particles=4000, random_state=0)
        np.testing.assert_allclose(np.exp(found), by_sum(model, box, everything), atol=0.02)
    drawn = model.sample(200, evidence={1: {0, 4, 8}}, random_state=0)
    assert set(drawn[:, 1]) == {0, 4, 8}


@pytest.mark.parametrize("conditional", ["poisson", "negative_binomial"])
def test_counts_have_sums(conditional):
    model, _ = fitted("NADE", conditional, D=2, dtype="float64")
    everything = all_states([range(150)] * 2)
    for box in ({0: (2, 6)}, {0: (None, 3), 1: (4, None)}, {1: {0, 3, 5}}, {0: 2, 1: (1, 9)}):
        found = np.exp(model.log_probability(box, n_particles=8000, random_state=0))
        np.testing.assert_allclose(found, by_sum(model, box, everything), rtol=0.03)


def grid_of(x, n):
    """Return the middles of n cells that cover a column, and their width."""
    spread = x.max() - x.min()
    edges = np.linspace(x.min() - spread, x.max() + spread, n + 1)
    return (edges[1:] + edges[:-1]) / 2, edges[1] - edges[0]


@pytest.mark.parametrize("conditional", REAL)
def test_intervals_of_one_real_column_are_integrals(conditional):
    model, X = fitted("NADE", conditional, D=1, dtype="float64")
    middle, width = grid_of(X[:, 0], 200_000)
    density = np.exp(model.score_samples(middle[:, None]))
    edges = middle - width / 2
    for low, high in [(20_000, 110_000), (90_000, 90_100), (120_000, 199_999)]:
        found = model.log_probability({0: (edges[low], edges[high])}, n_particles=1)
        exact = density[low:high].sum() * width
        np.testing.assert_allclose(np.exp(found), exact, rtol=2e-4, atol=1e-12)
    ends = model.log_probability([{0: (None, edges[90_000])}, {0: (edges[90_000], inf)}])
    np.testing.assert_allclose(np.exp(ends).sum(), 1, rtol=1e-12)


@pytest.mark.parametrize("conditional", REAL)
@pytest.mark.parametrize("name", MODELS)
def test_boxes_of_two_real_columns_are_integrals(name, conditional):
    model, X = fitted(name, conditional, D=2, dtype="float64", order=[1, 0])
    (x, dx), (y, dy) = (grid_of(X[:, c], 900) for c in range(2))
    rows = np.stack([each.ravel() for each in np.meshgrid(x, y, indexing="ij")], axis=1)
    density = np.exp(model.score_samples(rows)).reshape(900, 900)
    low, high = [390, 330], [480, 560]
    box = {
        0: (x[low[0]] - dx / 2, x[high[0]] - dx / 2),
        1: (y[low[1]] - dy / 2, y[high[1]] - dy / 2),
    }
    exact = density[low[0] : high[0], low[1] : high[1]].sum() * dx * dy
    found = np.exp(model.log_probability(box, n_particles=20_000, random_state=0))
    np.testing.assert_allclose(found, exact, rtol=0.03, atol=0.002)
    # a density over the column that is given by a value
    half = {0: x[430], 1: box[1]}
    exact = density[430, low[1] : high[1]].sum() * dy
    found = np.exp(model.log_probability(half, n_particles=20_000, random_state=0))
    np.testing.assert_allclose(found, exact, rtol=0.03, atol=0.002)


def numbers(n=1000):
    rng = np.random.default_rng(0)
    gains = np.where(rng.random(n) < 0.4, 0.0, np.exp(rng.normal(size=n)))
    hours = np.where(rng.random(n) < 0.3, 40.0, rng.integers(1, 90, n))
    return np.column_stack([gains, hours, rng.normal(size=n)])


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0]])
def test_atoms_and_the_numbers_beside_them(order):
    X = numbers()
    model = fit(make(distribution=Number(), order=order, dtype="float64", max_iter=60), X)
    first = order[0]
    ends = [{0: 0.7, 1: 40.0, 2: 0.1}[first]]
    below, above = {first: (None, ends[0])}, {first: (ends[0], None)}
    found = np.exp(model.log_probability([below, above], n_particles=1))
    np.testing.assert_allclose(found.sum(), 1, rtol=1e-9)
    if first == 0:
        atom = model.score_features(np.array([[0.0, 40.0, 0.1]]))[0, 0]
        at = model.log_probability([{0: {0.0}}, {0: (0.0, 1e-12)}], n_particles=1)
        np.testing.assert_allclose(at, atom, rtol=1e-9)
        lowest = model.log_probability({0: (None, 0.0)}, n_particles=1)
        np.testing.assert_allclose(np.exp(lowest), 0.5 / 1001)  # what is below the support
    shares = [
        ({0: (0.5, 2.0)}, (X[:, 0] >= 0.5) & (X[:, 0] < 2)),
        ({0: {0.0}, 1: (40.0, 60.0)}, (X[:, 0] == 0) & (X[:, 1] >= 40) & (X[:, 1] < 60)),
        ({1: (30.0, 40.0)}, (X[:, 1] >= 30) & (X[:, 1] < 40)),
        ({1: {40.0}, 2: (0.0, None)}, (X[:, 1] == 40) & (X[:, 2] >= 0)),
    ]
    drawn = model.sample(40_000, random_state=0)
    for box, share in shares:
        found = np.exp(model.log_probability(box, n_particles=8000, random_state=0))[0]
        inside = np.all([allowed(drawn[:, c], what) for c, what in box.items()], axis=0)
        assert found == pytest.approx(inside.mean(), abs=0.012)
        assert found == pytest.approx(share.mean(), abs=0.08)
        kept = model.sample(300, evidence=box, random_state=0)
        assert np.all([allowed(kept[:, c], what) for c, what in box.items()])


def test_steps_beside_an_atom_are_those_that_samples_are_rounded_to():
    model = fit(make(distribution=Number(), max_iter=60), numbers()[:, 1:2])
    assert 40.0 in model.distribution_.atoms_of_columns[0]
    drawn = model.sample(100_000, random_state=0)[:, 0]
    for low in range(36, 45):
        found = np.exp(model.log_probability({0: (low, low + 1)}, n_particles=1))[0]
        assert found == pytest.approx((drawn == low).mean(), abs=0.004)
        assert (model.sample(50, evidence={0: (low, low + 1)})[:, 0] == low).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_draws_lie_in_their_region(dtype):
    model, X = fitted("NADE", "mixed", D=11, dtype=dtype)
    box = {1: (100.0, 100.5), 3: {0, 2}, 4: (2, 6), 5: (None, 101.0), 6: (0, 3), 8: (99.0, None)}
    drawn = model.sample(500, evidence=box, random_state=0)
    X = np.asarray(X[:20], float)
    rows = [{c: x for c, x in enumerate(row) if c not in box} | box for row in X]
    for values in (drawn, model.impute(rows, random_state=0)):
        for column, what in box.items():
            assert allowed(values[:, column], what).all()
    kept = model.impute(rows, random_state=0)
    free = [c for c in range(11) if c not in box]
    np.testing.assert_array_equal(kept[:, free], X[:, free])


# ---- what else takes evidence


def test_samples_are_those_of_the_density_within_the_box():
    model, _ = fitted("NADE", "categorical", D=D)
    everything = states("categorical", D)
    for box in ({0: {0, 2}}, {1: (1, 3), 3: {0, 1}}):
        inside = np.all([allowed(everything[:, c], what) for c, what in box.items()], axis=0)
        p = np.where(inside, np.exp(model.score_samples(everything)), 0)
        drawn = model.sample(8000, evidence=box, random_state=0)
        place = (drawn * 3 ** np.arange(D)[::-1]).sum(axis=1)
        share = np.bincount(place, minlength=81) / 8000
        np.testing.assert_allclose(share, p / p.sum(), atol=0.025)


def test_a_mixture_samples_within_the_box():
    X = DATA["categorical"](300, D)
    members = [make(distribution=Categorical("error"), order=o) for o in ("natural", [3, 1, 0, 2])]
    model = fit(Mixture(members, random_state=0), X)
    everything = states("categorical", D)
    box = {1: (1, 3), 3: {0, 1}}
    inside = np.all([allowed(everything[:, c], what) for c, what in box.items()], axis=0)
    p = np.where(inside, np.exp(model.score_samples(everything)), 0)
    drawn = model.sample(8000, evidence=box, random_state=0)
    share = np.bincount((drawn * 3 ** np.arange(D)[::-1]).sum(axis=1), minlength=81) / 8000
    np.testing.assert_allclose(share, p / p.sum(), atol=0.025)
    assert (model.impute([box] * 5, n_draws=3)[:, :, 1] >= 1).all()
    same = [
        method(box, n_particles=500, random_state=0)
        for method in (model.log_marginal, model.log_probability)
    ]
    assert_same_bits(*same)


def test_predictions_and_expectations_given_a_region():
    model, _ = fitted("NADE", "categorical", D=D, order="random")
    everything = states("categorical", D)
    box = {1: (1, 3), 2: {0, 2}}
    inside = np.all([allowed(everything[:, c], what) for c, what in box.items()], axis=0)
    p = np.where(inside, np.exp(model.score_samples(everything)), 0) / 1.0
    p /= p.sum()
    exact = [p[everything[:, 0] == level].sum() for level in range(3)]
    found = model.predict_proba([box], target=0, n_particles=8000, random_state=0)[0]
    np.testing.assert_allclose(found, exact, atol=0.02)
    value, error = model.expectation(0, evidence=box, n_draws=8000, random_state=0)
    assert value == pytest.approx(np.arange(3) @ exact, abs=5 * error)
    pair = model.expectation(lambda X: X[:, 0] == X[:, 2], evidence=[box, {2: {0, 2}}])
    assert pair.value.shape == (2,)


# ---- frames


def people(n=600):
    rng = np.random.default_rng(0)
    age = rng.integers(17, 70, n)
    return pd.DataFrame(
        {
            "age": age,
            "state": rng.choice(["A", "B", "C"], n, p=[0.5, 0.3, 0.2]),
            "member": rng.random(n) < age / 100,
            "size": pd.Categorical(
                rng.choice(["S", "M", "L"], n), categories=["S", "M", "L"], ordered=True
            ),
            "income": np.exp(rng.normal(size=n) + age / 30),
        }
    )


def as_polars(frame):
    sizes = polars.Enum(["S", "M", "L"])
    return polars.from_pandas(frame.astype({"size": str})).with_columns(
        polars.col("size").cast(sizes)
    )


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_frame_is_asked_by_names(library):
    frame = people()
    model = make(max_iter=60).fit(frame if library == "pandas" else as_polars(frame))
    asked = [
        {"age": (20, 30)},
        {"state": {"A", "B"}, "member": True},
        {"size": ("M", None), "member": {True}},
        {"income": (2.0, 10.0), "age": (None, 40), "state": "C"},
        {"member": (False, True)},
    ]
    shares = [
        frame.age.between(20, 29),
        frame.state.isin(["A", "B"]) & frame.member,
        frame["size"].isin(["M", "L"]) & frame.member,
        frame.income.between(2, 10) & (frame.age < 40) & (frame.state == "C"),
        ~frame.member,
    ]
    found = np.exp(model.log_probability(asked, random_state=0))
    np.testing.assert_allclose(found, [share.mean() for share in shares], atol=0.08)
    assert found.dtype == np.float64
    drawn = model.sample(50, evidence=asked[3], random_state=0)
    assert type(drawn) is type(model.sample(1))
    drawn = drawn if library == "pandas" else drawn.to_pandas()
    assert (drawn.age < 40).all()
    assert drawn.income.between(2, 10).all()
    assert (drawn.state == "C").all()


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_frame_without_some_columns_leaves_them_free(library):
    table = people()
    model = fit(make(max_iter=5), table)
    asked = table.head(6)[["member", "age", "state"]]
    rows = asked.to_dict("records")
    frame = asked if library == "pandas" else polars.from_pandas(asked)
    for ask in (
        lambda known: model.log_probability(known, n_particles=20, random_state=0),
        lambda known: model.expectation("income", evidence=known, n_draws=20, random_state=0).value,
        lambda known: model.sample(6, evidence=known, random_state=0).income.to_numpy(),
    ):
        assert_same_bits(ask(frame), ask(rows))
    sets = pd.DataFrame({"state": [{"A", "B"}, {"C"}]})
    found = model.log_probability(sets, random_state=0)
    expected = model.log_probability(sets.to_dict("records"), random_state=0)
    assert_same_bits(found, expected)


def test_a_frame_with_other_columns_is_refused():
    table = people()
    model = fit(make(max_iter=5), table)
    with pytest.raises(ValueError, match="colour"):
        model.log_probability(table.assign(colour=1)[["age", "colour"]])
    with pytest.raises(ValueError, match="age"):
        model.log_probability(table.iloc[:, [0, 0]])


def test_given_is_another_name_of_evidence():
    model, _ = fitted("NADE", "categorical", D=D)
    found = [
        model.expectation(0, **{name: {1: 2}}, random_state=0) for name in ("evidence", "given")
    ]
    assert found[0] == found[1]
    with pytest.raises(ValueError, match="given must be None where there is evidence"):
        model.expectation(0, evidence={1: 2}, given={1: 2})


def test_rows_with_strings_are_a_query_each():
    table = pd.DataFrame({"a": ["x", "y"] * 20, "b": np.arange(40) % 3})
    model = fit(make(max_iter=5), table)
    np.testing.assert_allclose(model.log_probability(table), model.score_samples(table), rtol=1e-6)


def test_a_frame_of_queries_and_a_list_are_the_same():
    model = make(max_iter=5)
    fit(model, people())
    asked = [
        {"age": (20, 30), "state": {"A", "B"}},
        {"age": 25, "member": True},
        {"income": (1, 2)},
    ]
    frame = pd.DataFrame(asked, columns=["age", "state", "member", "size", "income"])
    found = [model.log_probability(each, random_state=0) for each in (asked, frame)]
    assert_same_bits(*found)
    for queries in (asked[:1], asked[0]):
        assert_same_bits(
            model.log_probability(queries, random_state=0),
            model.log_probability(asked[:1], random_state=0),
        )


def test_values_alone_are_a_marginal():
    model = fit(make(max_iter=5), people())
    asked = [{"age": 30, "income": 2.0}, {"state": "A"}]
    settings = {"n_particles": 100, "random_state": 0}
    assert_same_bits(
        model.log_probability(asked, **settings), model.log_marginal(asked, **settings)
    )
    one, of_set = model.log_probability([{"age": 30}, {"age": {30}}])
    np.testing.assert_allclose(one, of_set, rtol=1e-5)


def test_missing_cells_of_fit_change_nothing_about_regions():
    frame = people().astype({"member": object})
    frame.loc[::7, "state"] = None
    frame.loc[::5, "income"] = nan
    model = fit(make(max_iter=60, missing="marked"), frame.astype({"member": bool}))
    found = np.exp(model.log_probability([{"state": {"A", "B", "C"}}, {"income": (0, None)}]))
    np.testing.assert_allclose(found, 1, atol=2e-3)


# ---- laws of the whole


@pytest.mark.parametrize("name", [*MODELS, "Mixture"])
def test_the_same_bits_for_any_threads(name):
    X = DATA["mixed"](300, 7)
    members = [make(model, distribution=distribution("mixed", 7)) for model in ("NADE", "MADE")]
    model = Mixture(members) if name == "Mixture" else members[0]
    if name in MODELS:
        model = make(name, distribution=distribution("mixed", 7))
    fit(model, X)
    asked = [{0: {1}, 2: (99.0, 101.0), 3: (0, 2), 6: {0, 1}}, {4: (2, 9), 5: (None, 100.0)}] * 20
    found = [
        model.set_params(n_jobs=n_jobs).log_probability(asked, n_particles=50, random_state=0)
        for n_jobs in (1, 2, 3)
    ]
    assert_same_bits(found[0], found[1])
    assert_same_bits(found[0], found[2])


def test_few_effective_particles_are_told():
    rng = np.random.default_rng(0)
    x = rng.normal(size=1000)
    X = np.column_stack([x, x + 0.1 * rng.normal(size=1000)])
    model = fit(make(distribution="gaussian", max_iter=60), X)
    with pytest.warns(UserWarning, match="of their 50 particles.* `n_particles`") as told:
        model.log_probability({1: (2.6, 2.65)}, n_particles=50, random_state=0)
    assert told[0].filename == __file__
    assert model.answer_ess_.shape == (1,)


# ---- errors


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ({"age": (30, 20)}, "low <= high in column 'age'. Got (30, 20)"),
        ({"age": (1, 2, 3)}, "intervals (low, high), or sets of values in column 'age'"),
        ({"age": ("x", 3)}, "column 'age'. Got ('x', 3)"),
        ({"age": (nan, 3)}, "column 'age'. Got (nan, 3)"),
        ({"state": ("A", "B")}, "categories without an order, in column 'state'"),
        ({"state": {"A", "Z"}}, "column 'state': 'A', 'B', 'C'. Got 'Z'"),
        ({"state": {"A", None}}, "sets without missing values in column 'state'"),
        ({"size": ("S", "XL")}, "column 'size': 'S', 'M', 'L'. Got 'XL'"),
        ({"size": ("L", "S")}, "low <= high in column 'size'. Got ('L', 'S')"),
        ({"income": {1.5}}, "a probability of their own, in column 'income'"),
        ({"weight": (1, 2)}, "weight"),
        ({"age": [20, 30]}, "age"),
    ],
)
def test_errors_name_the_column_and_what_was_got(what, message):
    model = fit(make(max_iter=3), people())
    before = snapshot(model)
    for ask in (
        model.log_probability,
        model.log_marginal,
        lambda box: model.sample(3, evidence=box),
        lambda box: model.expectation("age", evidence=box),
        lambda box: model.impute([box]),
    ):
        with pytest.raises((ValueError, TypeError), match=re.escape(message)):
            ask(what)
    assert vars(model).keys() == before.keys()


def test_columns_without_names_are_told_by_their_place():
    model, _ = fitted("NADE", "gaussian", D=3)
    for what, message in [
        ({1: (3, 2)}, "column 1. Got (3, 2)"),
        ({1: {"x"}}, "sets of numbers in column 1"),
        ({1: {2.0}}, "in column 1"),
        ({"x": (1, 2)}, "must name columns of fit. Got 'x'"),
    ]:
        with pytest.raises(ValueError, match=re.escape(message)):
            model.log_probability(what)


def test_nothing_cannot_be_drawn():
    model, _ = fitted("NADE", "categorical", D=3)
    for box in ({1: set()}, {1: (2, 2)}, {1: (5, None)}):
        assert model.log_probability(box) == -inf
        with pytest.raises(ValueError, match="leave something to draw in column 1"):
            model.sample(3, evidence=box)
        with pytest.raises(ValueError, match="leave something to draw in column 1"):
            model.impute([box])


def test_answers_about_cells_take_no_regions():
    model, _ = fitted("NADE", "categorical", D=3)
    for ask in (model.explain, model.complete):
        with pytest.raises(ValueError, match="must hold values, no sets or intervals"):
            ask([{0: {1, 2}}])


def test_integers_beyond_float64_have_exact_ends():
    start = 2**60
    X = start + np.random.default_rng(0).integers(0, 20, (400, 2))
    model = fit(make(max_iter=3), X)
    inside, below = model.log_probability([{0: (start + 5, start + 12)}, {0: (None, start + 5)}])
    above = model.log_probability({0: (start + 12, None)})[0]
    np.testing.assert_allclose(np.exp([inside, below, above]).sum(), 1, atol=3e-3)
    drawn = model.sample(100, evidence={1: (start + 5, start + 7)}, random_state=0)
    assert set(drawn[:, 1].tolist()) == {start + 5, start + 6}
