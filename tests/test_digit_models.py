"""Models, mixtures, frames and tools with columns of two digits; what cannot have them."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from common import assert_same, assert_same_bits, fit, make, reals
from frequencies import chi_square, counts
from many_levels import LEVELS, MODELS, every_order, every_row, shaken, shares_of_others, words
from sklearn.exceptions import ConvergenceWarning

import fastar
from fastar import conditionals
from fastar.conditionals import Categorical

pytestmark = [pytest.mark.kernels, pytest.mark.usefixtures("threads_for_small_work")]


# ---- models that see columns in several orders, by a window, or as steps


def test_deep_nade_markov_orders_sequences_and_images_split_no_column(monkeypatch):
    monkeypatch.setattr("fastar.conditionals._categorical.MOST_WHOLE", 5)
    X, quick = words(), {"max_iter": 1, "random_state": 0}
    lists = [np.arange(9), np.arange(4)]
    images = np.arange(48).reshape(6, 2, 4) % 9
    assert fit(fastar.NADE(distribution="categorical", **quick), X).network_.n_features == 5
    whole = [
        (fastar.DeepNADE(distribution="categorical", **quick), X),
        (fastar.NADE(distribution="categorical", markov_order=1, **quick), X),
        (fastar.GenerativeRNN(distribution="categorical", **quick), lists),
        (fastar.PixelRNN(distribution="categorical", **quick), images),
    ]
    for model, data in whole:
        fit(model, data)
        assert model.distribution_.n_features == model.distribution_.n_columns
    labels = [np.array(list("abcdefghi")), np.array(list("abcd"))]
    labeller = fastar.SequenceLabeller(max_iter=1, random_state=0).fit(lists, labels)
    for known in (labeller.inputs_, labeller._model().conditional.conditional):
        assert known.n_features == known.n_columns == 1


@pytest.mark.parametrize(
    ("model", "X"),
    [
        (fastar.DeepNADE(), words()),
        (fastar.NADE(markov_order=1), words()),
        (fastar.MADE(markov_order=2), words()),
        (fastar.GenerativeRNN(), [np.arange(9), np.arange(4)]),
        (fastar.PixelRNN(), np.arange(48).reshape(6, 2, 4) % 9),
    ],
    ids=lambda each: type(each).__name__,
)
def test_digits_that_a_model_cannot_have_are_refused(model, X):
    model.set_params(distribution=Categorical(digits=True))
    with pytest.raises(ValueError, match="digits of Categorical must not be True"):
        model.fit(X)
    assert not hasattr(model, "theta_")
    with pytest.raises(ValueError, match="digits of Categorical must be 'auto', True or False"):
        fastar.NADE(distribution=Categorical(digits="two")).fit(words())


# ---- contexts, mixtures, frames, columns of other kinds


@pytest.mark.parametrize("kind", ["NADE", "RNADE", "FVSBN", "MADE", "MADE orders"])
def test_given_any_context_all_sums_to_one(kind):
    context = reals(300, 2)
    model, rows = shaken(kind, unknown="other", context=context), every_row(1234)
    for y in (context[:1], context[:1] + 30):
        given = np.repeat(y, len(rows), axis=0)
        scores = model.score_samples(rows, context=given)
        scores -= shares_of_others(model, rows).sum(axis=1)
        assert np.exp(scores).sum() == pytest.approx(1, abs=1e-10)
    drawn = model.sample(9000, context=context[:1], random_state=0)
    p = np.exp(model.score_samples(every_row(), context=np.repeat(context[:1], 322, axis=0)))
    assert chi_square(counts(drawn, every_row()), p / p.sum()) > 1e-4


@pytest.mark.parametrize("weights", ["em", "equal"])
def test_mixtures_have_digits(weights):
    X, rows = words(), every_row()
    kind = Categorical("error", digits=True)
    members = [make("NADE", distribution=kind), make("MADE", distribution=Categorical("error"))]
    model = fastar.Mixture(members, weights=weights, random_state=0)
    fit(model, X)
    assert [each.network_.n_features for each in model.estimators_] == [5, 3]
    p = np.exp(model.score_samples(rows))
    assert p.sum() == pytest.approx(1, abs=1e-6)
    assert chi_square(counts(model.sample(20_000, random_state=0), rows), p / p.sum()) > 1e-4
    given = rows[:4].astype(float)
    given[:, 2] = np.nan
    assert np.isfinite(model.log_marginal(given, random_state=0)).all()


NAMES = np.array([f"word {k:02}" for k in range(23)])


def frame_of(library, X):
    columns = {
        "word": [NAMES[(x + 5) // 3] for x in X[:, 0]],
        "flag": X[:, 1] > 0,
        "size": X[:, 2] / 2,
    }
    columns["word"][40] = None
    return pd.DataFrame(columns) if library == "pandas" else pl.DataFrame(columns)


@pytest.mark.parametrize("kind", ["NADE", "MADE", "FVSBN"])
@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames_have_columns_of_many_strings(library, kind, tmp_path, monkeypatch):
    monkeypatch.setattr("fastar.conditionals._categorical.MOST_WHOLE", 20)
    name, own = MODELS[kind]
    X = frame_of(library, words())
    model = fit(make(name, missing="marked", order=[1, 0, 2], **own), X)
    assert model.network_.n_features == 5  # two digits; which atom of size, and its number
    assert model.score_features(X).shape == (300, 3)
    assert list(model.conditionals(X)) == ["word", "flag", "size"]
    drawn = model.sample(400, random_state=0)
    assert type(drawn) is type(X)
    assert set(drawn["word"]) <= set(NAMES)
    assert len(set(drawn["word"])) > 5
    filled = model.impute(X, random_state=0)
    assert filled["word"][40] in set(NAMES)
    assert filled["word"].to_list()[:40] == X["word"].to_list()[:40]
    other = X[:2].copy() if library == "pandas" else X[:2].clone()
    if library == "pandas":
        other.loc[0, "word"] = "never seen"
    else:
        other = other.with_columns(pl.Series("word", ["never seen", NAMES[0]]))
    score = model.score_features(other)[0, 0]
    assert score == pytest.approx(-np.log(602), rel=1e-6)
    model.save(tmp_path / "model")
    again = fastar.load(tmp_path / "model")
    assert_same_bits(again.score_samples(X), model.score_samples(X))
    assert again.sample(9, random_state=0).equals(model.sample(9, random_state=0))


@every_order
@pytest.mark.parametrize("kind", ["NADE", "RNADE", "FVSBN", "MADE", "MADE sets"])
def test_columns_of_other_kinds_stand_beside_digits(kind, order, tmp_path):
    X = words(gaps=[0])
    rng = np.random.default_rng(0)
    X[:, 1], X[:, 2] = rng.poisson(2, 300), X[:, 2] / 9 + rng.standard_normal(300)
    parts = [Categorical("error", digits=True), "poisson", conditionals.GaussianMixture(2)]
    name, own = MODELS[kind]
    settings = own | {"distribution": parts, "missing": "marked", "order": order}
    model = fit(make(name, **settings, dtype="float64", max_iter=3), X)
    assert model.network_.n_features == 4
    features = model.score_features(X)
    np.testing.assert_allclose(features.sum(axis=1), model.score_samples(X), rtol=1e-10)
    assert (features[np.isnan(X)] == 0).all()
    rows = np.repeat(X[:1], 23, axis=0)
    rows[:, 0] = LEVELS[0]
    assert np.exp(model.score_features(rows)[:, 0]).sum() == pytest.approx(1, abs=1e-9)
    said = model.conditionals(X[20:60])
    assert set(said[0]) - {"second"} == {"first", "probability"}
    assert ("second" in said[0]) == (kind != "MADE sets")
    there = ~np.isnan(X[20:60, 0])
    assert not there.all()
    np.testing.assert_allclose(
        said[0]["probability"], np.where(there, np.exp(features[20:60, 0]), np.nan), rtol=1e-9
    )
    drawn = model.sample(200, random_state=0)
    assert np.isin(drawn[:, 0], LEVELS[0]).all()
    # by particles where something free comes first
    held = model.sample(30, evidence=[LEVELS[0][7], np.nan, 0.5], random_state=0)
    assert (held[:, [0, 2]] == [LEVELS[0][7], 0.5]).all()
    kept = model.purify(X[:20], [1, 1, 0.1])
    assert_same_bits(kept[:, 0], X[:20, 0])
    model.save(tmp_path / "model")
    assert_same_bits(fastar.load(tmp_path / "model").score_samples(X), model.score_samples(X))


def test_partial_fit_goes_on_with_the_digits_of_its_first_chunk():
    X = words()
    model = make(distribution=Categorical(digits=True))
    model.partial_fit(X)
    digits = model.distribution_.arrays()
    model.partial_fit(X[:40])
    assert_same(model.distribution_.arrays(), digits)
    assert np.isfinite(model.score(X))


def test_tools_take_columns_as_wholes():
    X = words()
    nade = make(distribution=Categorical(digits=True))
    detector = fastar.DensityOutlierDetector(nade, random_state=0)
    fit(detector, X)
    assert detector.explain(X[:5]).shape == (5, 3)
    bayes = fastar.GenerativeClassifier(nade, random_state=0)
    with pytest.warns(ConvergenceWarning):
        bayes.fit(X[:, [0, 2]], X[:, 1])
    assert bayes.predict_proba(X[:7, [0, 2]]).shape == (7, 2)
