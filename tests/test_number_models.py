"""Models of real columns: scores, evidence, files, values below the support."""

import numpy as np
import pandas as pd
import pytest
from common import assert_gradient_is_finite_differences, fit, make
from real_columns import COLUMNS, claims, fitted, integral, table

import fastar
from fastar import DeepNADE, GenerativeRNN
from fastar._core.schema import EntryError
from fastar.conditionals import Number

pytestmark = pytest.mark.kernels


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
