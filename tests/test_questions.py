"""Questions in any form: frames and evidence by name, what is refused, threads."""

import re

import numpy as np
import pandas as pd
import polars
import pytest
from common import DATA, fit, fitted, make
from question_cases import D, by_bayes, mixture, nan

from fastar import MADE, NADE, GenerativeRNN, Mixture, PixelRNN

# ---- frames and evidence by name


@pytest.fixture(scope="module", params=["pandas", "polars"])
def framed(request):
    rng = np.random.default_rng(0)
    n = 400
    state = np.array(["CA", "NY", "TX"])[rng.integers(0, 3, n)]
    values = {
        "age": rng.integers(20, 24, n),
        "state": state,
        "rich": (state == "NY") ^ (rng.random(n) < 0.2),
        "price": rng.normal(size=n) + 3 * (state == "TX"),
    }
    frame = pd.DataFrame(values) if request.param == "pandas" else polars.DataFrame(values)
    return fit(make(max_iter=80, n_hidden=20), frame), frame


def test_a_frame_is_asked_by_name(framed):
    model, frame = framed
    head = frame.head(50)
    p = model.predict_proba(head, target="state")
    assert model.levels("state").tolist() == ["CA", "NY", "TX"]
    np.testing.assert_allclose(p.sum(axis=1), 1)
    guess = model.predict(head, target="state")
    assert (guess == p.argmax(axis=1).choose(np.array([["CA"], ["NY"], ["TX"]]))).all()
    assert (guess == np.asarray(head["state"])).mean() > 0.6
    rich = model.predict(head, target="rich")
    assert rich.dtype == bool
    assert (rich == np.asarray(head["rich"])).mean() > 0.6
    assert model.predict(head, target="age").dtype.kind == "i"
    mean = model.predict(head, target="age", kind="mean")
    expected = model.predict_proba(head, target="age") @ model.levels("age")
    np.testing.assert_allclose(mean, expected, rtol=1e-3)
    prices = model.predict(head, target="price")
    assert prices[guess == "TX"].mean() > prices[guess == "CA"].mean() + 1
    assert model.explain(head).shape == (50, 4)


def test_the_target_may_be_absent_or_anything(framed):
    model, frame = framed
    head = frame.head(20)
    expected = model.predict_proba(head, target="state")
    if isinstance(frame, pd.DataFrame):
        absent, odd = head.drop(columns="state"), head.assign(state="XX")
    else:
        absent, odd = head.drop("state"), head.with_columns(polars.lit("XX").alias("state"))
    np.testing.assert_array_equal(model.predict_proba(absent, target="state"), expected)
    np.testing.assert_array_equal(model.predict_proba(odd, target="state"), expected)


def test_evidence_by_name_is_one_thing_everywhere(framed):
    model, frame = framed
    known = {"state": "TX", "rich": False}
    drawn = model.sample(30, evidence=known, random_state=0)
    assert (np.asarray(drawn["state"]) == "TX").all()
    assert not np.asarray(drawn["rich"]).any()
    found = model.log_marginal([known, {"state": "NY", "rich": None}], random_state=0)
    assert found.shape == (2,)
    full = model.impute(known, random_state=0)
    assert type(full) is type(frame)
    assert full.shape == (1, 4)
    assert model.complete([known, known]).shape == (2, 4)
    assert model.predict_proba(known, target="state").shape == (1, 3)
    value, error = model.expectation("price", evidence={"state": "TX"}, random_state=0)
    assert abs(value - 3) < 1
    assert error < 0.5
    share, _ = model.expectation(lambda rows: np.asarray(rows["rich"]), evidence={"state": "NY"})
    assert share > 0.5


@pytest.mark.parametrize("kind", ["NADE", "mixture"])
def test_columns_without_names_are_named_by_their_places(kind):
    model, _ = mixture() if kind == "mixture" else fitted("NADE", D=D)
    row = [1, nan, 0, nan]
    named = {0: 1, 2: 0}
    for method in ("impute", "log_marginal", "complete", "explain"):
        settings = {} if method == "complete" else {"random_state": 0}
        listed = getattr(model, method)([row, row], **settings)
        found = getattr(model, method)([named, named], **settings)
        np.testing.assert_array_equal(found, listed)
    drawn = model.sample(20, evidence=named, random_state=0)
    np.testing.assert_array_equal(drawn, model.sample(20, evidence=row, random_state=0))


ODD = [
    ({"evidence": {"colour": 1}}, "evidence must name columns .*colour"),
    ({"evidence": {"age": "old"}}, "evidence must hold .* column 'age'. Got 'old'"),
    ({"evidence": {"age": [20, 30]}}, r"evidence must hold .* column 'age'. Got \[20, 30\]"),
    ({"evidence": {"state": ["CA"]}}, r"column 'state'.* Got \['CA'\]"),
    ({"evidence": [{"age": 20}] * 3}, "evidence must be one mapping, or 5 of them. Got 3"),
]


@pytest.mark.parametrize(("settings", "message"), ODD)
def test_odd_evidence_is_refused_by_name(framed, settings, message):
    with pytest.raises(ValueError, match=re.compile(message, re.DOTALL)):
        framed[0].sample(5, **settings)


def test_odd_evidence_about_an_array_is_refused_by_place():
    model, _ = fitted("NADE", D=D)
    with pytest.raises(ValueError, match=r"X must name columns of fit. Got 'age'"):
        model.impute({"age": 1})
    with pytest.raises(ValueError, match=r"X must hold a value, .* in column 2. Got \[0, 1\]"):
        model.log_marginal([{2: [0, 1]}])
    with pytest.raises(ValueError, match=r"evidence must hold 0 or 1 .* column 1"):
        model.expectation(0, evidence={1: 5})


# ---- what is refused

QUESTIONS = [
    (lambda model, X: model.predict(X, target=9), "target must be a place from 0 to 3. Got 9"),
    (lambda model, X: model.predict(X, target="x"), "target must be a place .* Got 'x'"),
    (lambda model, X: model.predict(X, target=0, kind="best"), "kind must be one of .* 'best'"),
    (lambda model, X: model.predict(X, quantile=2), "quantile must be a number from 0 to 1. Got 2"),
    (lambda model, X: model.predict(X, n_particles=0), "n_particles must be"),
    (lambda model, X: model.levels(0), "must be about a column of levels"),
    (lambda model, X: model.predict(X, kind="mode"), "must be about a column of levels"),
    (lambda model, X: model.complete(X, width=0), "width must be"),
    (lambda model, X: model.expectation(9), "function must be a place"),
    (lambda model, X: model.expectation(lambda rows: rows), "function must return one number"),
]


@pytest.mark.parametrize("kind", ["NADE", "mixture"])
@pytest.mark.parametrize(("question", "message"), QUESTIONS)
def test_bad_questions_are_refused(kind, question, message):
    model, X = mixture("gaussian") if kind == "mixture" else fitted("NADE", "gaussian", D=D)
    with pytest.raises(ValueError, match=message):
        question(model, X[:3])


ODD = [pd.NA, pd.Series([1]), pd.DataFrame({"x": [1]}), polars.Series([1]), np.array([1, 2]), {1}]


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: type(odd).__name__)
@pytest.mark.parametrize("kind", ["array", "frame"])
def test_arguments_that_are_no_words_are_refused_by_name(kind, odd):
    X = DATA["categorical"](60, 3)
    X = X if kind == "array" else pd.DataFrame(X, columns=list("abc"))
    model = fit(make(max_iter=1), X)
    for name, ask in {
        "target": lambda: model.predict(X, target=odd),
        "target ": lambda: model.predict_proba(X, target=odd),
        "target  ": lambda: model.levels(odd),
        "kind": lambda: model.predict(X, kind=odd),
        "function": lambda: model.expectation(odd),
    }.items():
        with pytest.raises(ValueError, match=f"^{name.strip()} must be "):
            ask()
    with pytest.raises((TypeError, ValueError), match=r"^evidence must "):
        model.sample(3, evidence=pd.NA)


def test_probabilities_are_of_columns_that_have_levels(framed):
    model, frame = framed
    with pytest.raises(ValueError, match="must be about a column of levels, and column 'price'"):
        model.predict_proba(frame, target="price")
    head = frame.head(5)
    last = model.predict_proba(head, target="rich")
    np.testing.assert_array_equal(model.predict_proba(head), last)
    assert model.levels().tolist() == [False, True]
    numbers, X = fitted("NADE", "gaussian", D=D)
    assert not hasattr(numbers, "predict_proba")
    assert numbers.predict(X[:3]).shape == (3,)


def test_categories_have_no_mean(framed):
    model, frame = framed
    with pytest.raises(ValueError, match=r"kind must be 'mode' .* 'state'. Got 'mean'"):
        model.predict(frame, target="state", kind="mean")
    with pytest.raises(ValueError, match="Got 'state', which has categories"):
        model.expectation("state")
    with pytest.raises(ValueError, match=r"the name of a column of fit. Got 'colour'"):
        model.predict(frame, target="colour")


def test_few_effective_points_warn():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 1))
    X = np.hstack([x, x + 0.001 * rng.normal(size=(500, 1))])
    model = fit(make(max_iter=200, distribution="gaussian"), X)
    row = np.array([[0.0, X[:, 1].max() + 3]])
    with pytest.warns(UserWarning, match="of their 64 particles.* `n_particles`") as told:
        model.predict(row, target=0, n_particles=64)
    assert told[0].filename == __file__
    assert model.answer_ess_[0] < 3.2


@pytest.mark.parametrize("model", [GenerativeRNN(), PixelRNN()])
def test_sequences_and_images_have_other_questions(model):
    assert not hasattr(model, "predict_proba")
    assert not hasattr(model, "expectation")


# ---- threads


@pytest.mark.parametrize("kind", ["NADE", "MADE", "mixture"])
@pytest.mark.parametrize("conditional", ["categorical", "gaussian"])
def test_answers_have_the_same_bits_for_any_threads(kind, conditional):
    model, X = mixture(conditional) if kind == "mixture" else fitted(kind, conditional, D=D)
    rows = X[:40].astype(float)
    rows[::2, 0] = nan
    rows[::3, 2] = nan
    answers = []
    for n_jobs in (1, 2, 3):
        model.set_params(n_jobs=n_jobs)
        predicted = model.predict(rows, target=1, n_particles=20, random_state=0)
        explained = model.explain(rows, n_particles=10, random_state=0)
        expected = model.expectation(0, evidence=rows[:6], n_draws=50, random_state=0)
        answers.append([predicted, explained, *expected, model.complete(rows, width=3)])
    for other in answers[1:]:
        for a, b in zip(answers[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_the_same_models_answer_whatever_their_class():
    X = DATA["bernoulli"](200, D)
    for model in (NADE(n_hidden=5, max_iter=3), MADE(hidden_layer_sizes=4, max_iter=3)):
        one = fit(model.set_params(random_state=0), X)
        alone = fit(Mixture(model, n_members=1, random_state=0), X)
        for each in (one, alone):
            p = each.predict_proba(X[:9], target=0)
            np.testing.assert_allclose(p, by_bayes(each, X[:9], 0), rtol=1e-5)
