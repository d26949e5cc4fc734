"""Tables and sequences in other containers: taken as what they hold, or refused with what to do."""

import narwhals
import numpy as np
import pandas as pd
import polars as pl
import pytest
from common import assert_same_bits, fit, make

from fastar import (
    DensityImputer,
    DensityOutlierDetector,
    GenerativeClassifier,
    GenerativeRNN,
    Mixture,
    SequenceLabeller,
)

pyarrow = pytest.importorskip("pyarrow")
QUICK = {"n_hidden": 4, "max_iter": 2, "random_state": 0, "n_jobs": 1}
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

FRAME = pl.DataFrame(
    {"x": np.random.default_rng(0).normal(size=60), "g": ["u", "v", "w"] * 20, "k": [3, 4, 5] * 20}
)
SAME = {
    "table": lambda frame: frame.to_arrow(),
    "batch": lambda frame: frame.to_arrow().combine_chunks().to_batches()[0],
    "narwhals": narwhals.from_native,
}


@pytest.mark.parametrize("kind", SAME)
def test_what_holds_a_frame_is_taken_as_it(kind):
    given = SAME[kind](FRAME)
    for make_model in (lambda: make(max_iter=2), lambda: Mixture(make(max_iter=2), random_state=0)):
        model, known = fit(make_model(), given), fit(make_model(), FRAME)
        assert_same_bits(model.score_samples(given), known.score_samples(FRAME))
        assert model.impute(given, random_state=0).equals(FRAME)
        assert model.sample(3, random_state=0).equals(known.sample(3, random_state=0))
    detector = fit(DensityOutlierDetector(make(max_iter=2), random_state=0), given)
    assert set(detector.predict(given)) == {1, -1}
    assert len(detector.explain(given)) == 60
    imputer = DensityImputer(make(max_iter=2), random_state=0).fit(given)
    assert imputer.transform(given).equals(FRAME)
    classifier = GenerativeClassifier(make(max_iter=2)).fit(given, [0, 1] * 30)
    assert len(classifier.predict(given)) == 60
    context = fit(make(max_iter=2), np.eye(60)[:, :4], context=given)
    assert np.isfinite(context.score_samples(np.eye(60)[:, :4], context=given)).all()


def test_lazy_frames_are_refused_with_what_to_do_where_they_are_not_read():
    asked = make().fit(FRAME).score_features, make().fit
    for ask, lazy in zip(asked, (FRAME.lazy(), narwhals.from_native(FRAME.lazy())), strict=True):
        with pytest.raises(TypeError, match=r"LazyFrame instead: call its collect\(\)"):
            ask(lazy)


def _sequences():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 3, length) for length in rng.integers(2, 8, 40)]


LABELLED = [(GenerativeRNN(**QUICK), False), (SequenceLabeller(**QUICK), True)]


@pytest.mark.parametrize(("model", "labelled"), LABELLED)
def test_sequences_in_arrays_of_objects_and_series(model, labelled):
    X = _sequences()
    y = {"y": [int(each[0]) for each in X]} if labelled else {}
    ask = model.fit(X, **y).predict if labelled else model.fit(X, **y).score_samples
    known = np.asarray(ask(X))
    objects = np.empty(40, object)
    objects[:] = X
    lists = pl.Series([each.tolist() for each in X])
    for given in (objects, pd.Series(X), lists, lists.to_arrow(), tuple(X)):
        again = model.fit(given, **y)
        found = again.predict(given) if labelled else again.score_samples(given)
        assert_same_bits(np.asarray(found), known)


@pytest.mark.parametrize(("model", "labelled"), LABELLED)
@pytest.mark.parametrize(
    ("X", "said"),
    [
        ([], "at least one sequence"),
        (["abc", "ab"], "sequences of numbers.*'abc'"),
        ([b"abc", b"ab"], "sequences of numbers.*b'abc'"),
        ([["a", "b"], ["c"]], "sequences of numbers.*'a'"),
        ("abc", "sequences of numbers.*'abc'"),
    ],
)
def test_what_is_no_sequence_of_numbers_is_refused(model, labelled, X, said):
    with pytest.raises(ValueError, match=said):
        model.fit(X, **({"y": [0, 1]} if labelled else {}))


@pytest.mark.parametrize("tool", [GenerativeClassifier, DensityOutlierDetector, DensityImputer])
def test_tools_over_rows_refuse_sequences(tool):
    X = _sequences()
    with pytest.raises(ValueError, match="Got sequences of several lengths"):
        tool(GenerativeRNN(**QUICK) if tool is not DensityImputer else None).fit(X, [0, 1] * 20)


@pytest.mark.parametrize(
    "tool", [GenerativeClassifier, DensityOutlierDetector, DensityImputer, Mixture]
)
def test_estimators_over_rows_refuse_densities_of_groups_of_rows(tool):
    frame = pd.DataFrame({"who": np.repeat(np.arange(10), 4), "x": np.arange(40.0)})
    asked = {"y": [0, 1] * 20} if tool is GenerativeClassifier else {}
    with pytest.raises(ValueError, match=r"take single rows.*GenerativeRNN with groups='who'"):
        tool(GenerativeRNN(groups="who", **QUICK)).fit(frame, **asked)


@pytest.mark.parametrize("gap", [None, pd.NA, pd.NaT, np.nan])
def test_missing_labels_are_named(gap):
    X, y = np.random.default_rng(0).normal(size=(30, 2)), np.array(["a", "b", gap] * 10, object)
    with pytest.raises(
        ValueError, match=r"y must have a label everywhere\. Got a missing one.*row 2"
    ):
        GenerativeClassifier(make()).fit(X, y)
    with pytest.raises(
        ValueError, match=r"y must have a label everywhere\. Got a missing one.*row 2"
    ):
        SequenceLabeller(**QUICK).fit([each[:, None] for each in X], y)


@pytest.mark.parametrize("kind", [pd.Series, np.asarray, pl.Series])
def test_missing_dates_are_no_labels(kind):
    X = np.random.default_rng(0).normal(size=(30, 2))
    y = kind(np.array(["2020-01-01", "2020-01-02", "NaT"] * 10, "M8[us]"))
    with pytest.raises(ValueError, match=r"y must have a label everywhere\. .*row 2"):
        GenerativeClassifier(make()).fit(X, y)


@pytest.mark.parametrize(("model", "labelled"), LABELLED)
@pytest.mark.parametrize("X", [3, None, {"a": [1, 2]}, np.float64(3), np.array(3)])
def test_what_has_no_parts_is_no_list_of_sequences(model, labelled, X):
    known = _sequences()
    model = model.fit(known, **({"y": [int(each[0]) for each in known]} if labelled else {}))
    with pytest.raises(ValueError, match=rf"a list of arrays.* Got {type(X).__name__} instead"):
        (model.predict if labelled else model.score_samples)(X)


def test_names_that_occur_twice_are_named():
    model = fit(make(max_iter=2), pd.DataFrame({"a": [1, 2, 3] * 20, "b": [1.5, 2.5] * 30}))
    twice = pd.DataFrame([[1, 2.5]], columns=["a", "a"])
    for call in (model.score_samples, model.impute, lambda X: model.predict(X, target="a")):
        with pytest.raises(ValueError, match=r"must have different names\. Got 'a' twice"):
            call(twice)


@pytest.mark.parametrize("kind", [pd.Series, pl.Series])
def test_a_series_is_no_context_of_several_columns(kind):
    X, context = np.eye(60)[:, :4], pd.DataFrame({"a": ["u", "v", "w"] * 20, "b": np.arange(60.0)})
    model = fit(make(max_iter=2), X, context=context)
    series = context["a"] if kind is pd.Series else pl.from_pandas(context["a"])
    with pytest.raises(ValueError, match="names of context should match"):
        model.score_samples(X, context=series)
    row = model.sample(3, context=context.iloc[0], random_state=0)  # a row of it is one
    assert_same_bits(row, model.sample(3, context=dict(context.iloc[0]), random_state=0))
