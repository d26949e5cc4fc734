"""Answers beside sums over every row that there can be: bits, levels, small whole numbers."""

import numpy as np
import pytest
from common import DATA, DEEP, MODELS, distribution, fit, fitted, make, states

from fastar import DeepNADE, Mixture, PixelRNN
from fastar.conditionals import Categorical

nan, inf = np.nan, np.inf
SIZES = {"bernoulli": 12, "categorical": 7, "logistic_mixture": 6}  # 4,096 rows, 2,187 and 4,096
ROWS = {kind: states(kind, D) for kind, D in SIZES.items()}
VARIANTS = {
    "natural": lambda D: {},
    "random order": lambda D: {"order": "random"},
    "reversed": lambda D: {"order": np.arange(D)[::-1].copy()},
    "a window": lambda D: {"markov_order": 2, "order": "random"},
}
MASKS = {
    "sets of masks": {"n_masks": 3},
    "orders": {"n_masks": 3, "order_agnostic": True},
    "windows": {"n_masks": 2, "markov_order": 2},
}


def queries(conditional, n, seed=0):
    """Return n mappings with values, sets and intervals in some columns, and the rows in them."""
    rng, everything = np.random.default_rng(seed), ROWS[conditional]
    levels = np.unique(everything)
    found = []
    for _ in range(n):
        row, query, inside = rng.choice(everything), {}, np.ones(len(everything), bool)
        for c in rng.permutation(SIZES[conditional])[: rng.integers(1, SIZES[conditional] + 1)]:
            x, column, kind = row[c], everything[:, c], rng.integers(4)
            low, high = np.sort(rng.choice([*levels, levels[-1] + 1], 2))
            if kind == 0:
                query[int(c)], allowed = x, column == x
            elif kind == 1:
                own = {x, *levels[rng.random(len(levels)) < 0.5]}
                query[int(c)], allowed = own, np.isin(column, [*own])
            elif kind == 2:
                query[int(c)], allowed = (None, x + 1), column <= x
            else:
                low, high = min(low, x), max(high, x + 1)
                query[int(c)], allowed = (low, high), (low <= column) & (column < high)
            inside &= allowed
        found.append((query, inside))
    return found


def check(model, conditional, n=24, context=None):
    """Compare the model's answers with sums; context (1, C)."""
    everything, D = ROWS[conditional], SIZES[conditional]
    rows = {} if context is None else {"context": np.repeat(context, len(everything), axis=0)}
    p = np.exp(model.score_samples(everything, **rows))
    assert p.sum() == pytest.approx(1, abs=1e-4)
    asked = queries(conditional, n)
    given = {} if context is None else {"context": np.repeat(context, n, axis=0)}
    given |= {"random_state": 0}
    found = model.log_probability([query for query, _ in asked], n_particles=3000, **given)
    error = found - np.log([p[inside].sum() for _, inside in asked])
    assert np.abs(error).max() < 0.25
    assert np.abs(error).mean() < 0.04
    # the same, said in the other ways: values alone, a column given the rest, its mean
    known = [query for query, _ in asked[: n // 2]]
    values = np.array([[_value(query.get(c)) for c in range(D)] for query in known])
    agree = (np.isnan(values)[:, None] | (values[:, None] == everything)).all(axis=2)
    given |= {} if context is None else {"context": np.repeat(context, n // 2, axis=0)}
    found = model.log_marginal(values, n_particles=3000, **given)
    np.testing.assert_allclose(found, np.log([p[each].sum() for each in agree]), atol=0.25)
    target = D // 2
    free = values.copy()
    free[:, target] = nan
    agree = (np.isnan(free)[:, None] | (free[:, None] == everything)).all(axis=2)
    levels = model.levels(target)
    share = np.array([[(p * (everything[:, target] == k))[a].sum() for k in levels] for a in agree])
    share /= share.sum(axis=1, keepdims=True)
    found = model.predict_proba(free, target=target, n_particles=1000, **given)
    np.testing.assert_allclose(found, share, atol=0.08)
    mean, error = model.expectation(target, evidence=free, n_draws=1000, **given)
    assert (np.abs(mean - share @ levels) < 6 * error + 0.05).all()
    given |= {} if context is None else {"context": np.repeat(context, 50, axis=0)}
    whole = everything[:: len(everything) // 50][:50]
    found = model.predict_proba(whole, target=target, **given)
    joint = np.stack([p[_place(whole, everything, target, k)] for k in levels], axis=1)
    np.testing.assert_allclose(found, joint / joint.sum(axis=1, keepdims=True), rtol=1e-3)


def _value(what):
    """Return what is known of a column by value, NaN where it is not."""
    return nan if what is None or isinstance(what, set | tuple) else what


def _place(rows, everything, column, level):
    """Return where among all rows those are that have a level in a column."""
    rows = rows.copy()
    rows[:, column] = level
    places = {row.tobytes(): i for i, row in enumerate(everything)}
    return [places[row.tobytes()] for row in rows]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("conditional", SIZES)
@pytest.mark.parametrize("name", MODELS)
def test_answers_are_sums_over_all_rows(name, conditional, variant):
    D = SIZES[conditional]
    model, _ = fitted(name, conditional, D=D, **VARIANTS[variant](D))
    check(model, conditional)


@pytest.mark.parametrize("variant", MASKS)
@pytest.mark.parametrize("conditional", SIZES)
def test_members_answer_as_their_mean(conditional, variant):
    model, _ = fitted("MADE", conditional, D=SIZES[conditional], **MASKS[variant])
    check(model, conditional)


@pytest.mark.parametrize("conditional", SIZES)
def test_mixtures_answer_as_one_density(conditional):
    D = SIZES[conditional]
    own = {"distribution": distribution(conditional, D)}
    members = [
        make("NADE", **own),
        make("MADE", order="random", **own),
        make("FVSBN", markov_order=2, **own),
    ]
    mixture = Mixture(members, weights=[0.2, 0.5, 0.3], random_state=0, n_jobs=1)
    check(fit(mixture, DATA[conditional](300, D)), conditional)


@pytest.mark.parametrize("name", ["NADE", "MADE"])
def test_answers_given_a_context_are_sums(name):
    X = DATA["bernoulli"](300, 12)
    context = X[:, :1] + np.random.default_rng(0).normal(size=(300, 1))
    model = fit(make(name), X, context=context)
    check(model, "bernoulli", context=context[:1])


def test_a_column_of_two_digits_is_summed():
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.integers(0, k, 400) for k in (2, 9, 3, 9, 2)])
    model = fit(make(distribution=Categorical("error", digits=True), order="random"), X)
    assert model.distribution_.n_features == 7
    grid = np.meshgrid(*map(np.arange, (2, 9, 3, 9, 2)), indexing="ij")
    everything = np.stack([axis.ravel() for axis in grid], axis=1)
    p = np.exp(model.score_samples(everything))
    assert p.sum() == pytest.approx(1, abs=1e-4)
    asked = [{1: {0, 3, 8}, 3: (2, 7)}, {3: 4, 0: {1}}, {1: (None, 5), 2: 1, 4: 0}, {3: (6, None)}]
    found = model.log_probability(asked, n_particles=3000, random_state=0)
    for query, log_p in zip(asked, found, strict=True):
        inside = np.ones(len(everything), bool)
        for c, what in query.items():
            column = everything[:, c]
            if isinstance(what, tuple):
                low, high = what
                inside &= (-inf if low is None else low) <= column
                inside &= column < (inf if high is None else high)
            else:
                inside &= np.isin(column, [*what] if isinstance(what, set) else [what])
        assert log_p == pytest.approx(np.log(p[inside].sum()), abs=0.1)


def test_images_answer_as_rows():
    X = DATA["bernoulli"](200, 9).reshape(-1, 3, 3)
    settings = {"n_hidden": 4, "n_layers": 1, "n_levels": 2, "max_iter": 3, "random_state": 0}
    model = fit(PixelRNN(network="row_lstm", **settings), X)
    everything = states("bernoulli", 9)
    p = np.exp(model.score_samples(everything.reshape(-1, 3, 3)))
    assert p.sum() == pytest.approx(1, abs=1e-4)
    for query in ({0: 1, 4: {0}}, {8: 1, 3: 0}, {2: (1, None), 7: 0, 5: 1}):
        inside = np.ones(len(everything), bool)
        for c, what in query.items():
            inside &= everything[:, c] == (what if isinstance(what, int) else c == 2)
        found = model.log_marginal(query, n_particles=3000, random_state=0)
        np.testing.assert_allclose(found, np.log(p[inside].sum()), atol=0.1)


@pytest.mark.parametrize("n_orders", [1, 2])
def test_a_network_of_all_orders_is_normalised_whatever_is_known(n_orders):
    D = 10
    model = fit(DeepNADE(**DEEP), DATA["bernoulli"](300, D)).with_orders(n_orders)
    everything = states("bernoulli", D)
    p = np.exp(model.score_samples(everything))
    assert p.sum() == pytest.approx(1, abs=1e-4)
    # its networks agree on no sum over columns, but each is normalised given any others
    known = {1: 1, 6: 0}
    joint = np.exp(model.log_probability([known | {4: k} for k in range(2)], n_particles=1))
    share = model.predict_proba(known, target=4)[0]
    np.testing.assert_allclose(share, joint / joint.sum(), rtol=1e-4)
    found = model.log_probability({c: {0, 1} for c in range(D)}, random_state=0)
    np.testing.assert_allclose(found, 0, atol=1e-4)
