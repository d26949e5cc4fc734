"""Messages speak of the user's values and columns."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from common import fit, make
from scipy import sparse

import fastar
from fastar import (
    DensityImputer,
    DensityOutlierDetector,
    GenerativeClassifier,
    GenerativeRNN,
    Mixture,
    PixelRNN,
    SequenceLabeller,
    conditionals,
)
from fastar.tools.prediction import ColumnClassifier, ColumnRegressor

METHODS = ["score_samples", "score_features", "conditionals", "impute", "log_marginal", "explain"]
METHODS += ["complete", "purify", "fit", "partial_fit"]


@pytest.mark.parametrize("method", METHODS)
def test_messages_name_the_value_and_the_column(method):
    kind = pd.CategoricalDtype(["lo", "mid", "hi", "max"], ordered=True)
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({
        "x": rng.normal(size=60),
        "l": pd.Series(rng.choice(["lo", "mid", "hi"], 60), dtype=kind),
        "c": rng.integers(0, 9, 60),
        "id": 2**60 + rng.integers(0, 3, 60),
    })  # fmt: skip
    settings = {"c": "poisson", "id": conditionals.Categorical("error")}
    model = fit(make("NADE", distribution=settings, max_iter=2), frame)
    assert np.isfinite(
        model.score_samples(frame.assign(l=pd.Series(["max"] * 60, dtype=kind)))
    ).all()
    wrong = [("l", "zzz", "'zzz'"), ("c", -2, "-2"), ("id", 2**60 + 5, str(2**60 + 5))]
    for name, value, shown in wrong:
        rows = frame.astype({"l": object})
        rows.loc[4, name] = value
        ask = {"purify": lambda X: model.purify(X, 0.1)}.get(method)
        if method == "fit":
            ask = lambda X: model.fit(frame, X_val=X)  # noqa: E731
        with pytest.raises(ValueError, match=rf"{shown} in row 4|column '{name}'.*{shown}") as told:
            (ask or getattr(model, method))(rows)
        assert f"'{name}'" in str(told.value)


TABLE = np.column_stack([np.sin(np.arange(60)), np.arange(60) % 3])
INFINITE = TABLE.copy()
INFINITE[7, 1] = -np.inf
ASKED = ["fit", "partial_fit", "score_samples", "score_features", "conditionals", "impute"]
ASKED += ["log_marginal", "explain", "complete", "predict", "repair_suggestions", "log_probability"]


@pytest.mark.parametrize("missing", ["error", "marked"])
@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_array], ids=["array", "csr"])
def test_messages_name_an_infinity_wherever_a_table_is_read(missing, convert):
    X, y = convert(INFINITE), np.arange(60) % 2
    model = fit(make("NADE", missing=missing, max_iter=2), TABLE)
    calls = {method: getattr(model, method) for method in ASKED}
    calls |= {
        "X_val": lambda X: model.fit(TABLE, X_val=X),
        "exclude": lambda X: model.sample(2, exclude=X),
        "purify": lambda X: model.purify(X, 0.1),
        "evidence": lambda X: model.sample(60, evidence=X),
        "classifier": lambda X: GenerativeClassifier(model).fit(X, y),
        "detector": DensityOutlierDetector(model).fit,
        "imputer": DensityImputer(model).fit,
        "a column": lambda X: ColumnClassifier(model).fit(X, y),
        "mixture": Mixture(model).fit,
        "context": lambda X: model.fit(TABLE, context=X),
    }
    if convert is not np.asarray:  # is for what takes sparse tables
        calls = {name: calls[name] for name in (*ASKED[:5], "X_val", "exclude", "detector")}
    for name, call in calls.items():
        with pytest.raises(ValueError, match="-inf") as told:
            call(X)
        assert "row 7, column 1" in str(told.value), name


def test_messages_name_an_infinite_label():
    y = INFINITE[:, 1]
    for tool in (GenerativeClassifier(), ColumnClassifier(), ColumnRegressor()):
        with pytest.raises(ValueError, match=r"y contains infinity in row 7\..* Got -inf "):
            tool.fit(TABLE, y)
    with pytest.raises(ValueError, match=r"X contains infinity in row 7, step 1\..* Got -inf "):
        GenerativeRNN().fit(INFINITE)


@pytest.mark.filterwarnings("ignore:.* values are no level")
@pytest.mark.parametrize("unknown", ["other", "impossible"])
@pytest.mark.parametrize("library", ["pandas", "polars"])
@pytest.mark.parametrize("order", ["natural", [2, 1, 0]])
def test_a_repair_names_the_category_that_nothing_is_near(unknown, library, order):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({
        "x": rng.normal(size=60), "l": rng.choice(["lo", "hi"], 60), "id": 2**60 + np.arange(60) % 3
    })  # fmt: skip
    convert = pl.from_pandas if library == "polars" else lambda frame: frame
    settings = {name: conditionals.Categorical(unknown) for name in ("l", "id")}
    model = fit(make("NADE", distribution=settings, order=order, max_iter=2), convert(frame))
    for column, value in [("l", "zzz"), ("id", 2**60 + 7)]:
        for threshold in (None, np.inf):
            rows = frame.copy()
            rows.loc[[9, 11], column] = [value, rows.loc[0, column]]
            message = f"one of the levels .*{value!r} in row 9, column '{column}'"
            with pytest.raises(ValueError, match=message):
                model.purify(convert(rows), 0.1, threshold=threshold)
    # rows that stay as they are count, too
    scores = model.score_samples(convert(frame))
    worst = int(np.argmin(scores))
    rows = frame.copy()
    rows.loc[worst, "l"] = "zzz"
    with pytest.raises(ValueError, match=rf"'zzz' in row {worst}, column 'l'"):
        model.purify(convert(rows), 0.1, threshold=np.sort(scores)[1])


@pytest.mark.parametrize("unknown", ["other", "error"])
@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_further_pass_names_the_category_that_fit_has_not_seen(unknown, library):
    convert = pl.from_pandas if library == "polars" else lambda frame: frame
    frame = pd.DataFrame({"x": np.arange(40) / 8, "l": ["lo", "hi"] * 20})
    settings = {"l": conditionals.Categorical(unknown)}
    model = fit(make("NADE", distribution=settings, max_iter=2), convert(frame))
    frame.loc[7, "l"] = "zzz"
    if unknown == "error":
        with pytest.raises(ValueError, match="'zzz' in row 7, column 'l'"):
            model.partial_fit(convert(frame))
    else:
        assert np.isfinite(model.partial_fit(convert(frame)).theta_).all()


BIG = 2**60
STEPS = {
    "with ends": ({}, 0, [(1, "9 in step 1 of sequence 5")]),
    "without ends": ({"end_symbol": False}, 0, [(1, "9 in step 1 of sequence 5")]),
    "large": ({}, BIG, [(1, f"{BIG + 9} in step 1 of sequence 5")]),
    "frames": ({}, 0, [((1, 0), "9 in value 0 of step 1 of sequence 5")]),
    "large frames": ({}, BIG, [((2, 1), f"{BIG + 9} in value 1 of step 2 of sequence 5")]),
}


@pytest.mark.parametrize("method", [*METHODS[:5], "sample with a prefix", "sample with evidence"])
@pytest.mark.parametrize("case", STEPS)
def test_messages_name_the_value_and_the_step(case, method):
    settings, offset, places = STEPS[case]
    rng, shape = np.random.default_rng(0), (2,) if "frames" in case else ()
    X = [offset + rng.integers(0, 3, (length, *shape)) for length in rng.integers(3, 6, 30)]
    quick = {"n_hidden": 3, "max_iter": 2, "random_state": 0, "n_jobs": 1}
    model = fit(
        GenerativeRNN(distribution=conditionals.Categorical("error"), **quick, **settings), X
    )
    ask = {
        "sample with a prefix": lambda X: model.sample(len(X), prefix=X),
        "sample with evidence": lambda X: model.sample(len(X), evidence=X),
    }.get(method) or getattr(model, method)
    for place, said in places:
        wrong = [each.copy() for each in X]
        wrong[5][place] = offset + 9
        with pytest.raises(ValueError, match=f"Got {said}"):
            ask(wrong)


def test_messages_name_the_value_of_an_image():
    X = np.random.default_rng(0).integers(0, 3, (30, 2, 2))
    quick = {"n_hidden": 3, "max_iter": 2, "random_state": 0, "n_jobs": 1}
    model = fit(PixelRNN(distribution=conditionals.Categorical("error"), **quick), X)
    X[7, 1, 0] = 9
    for ask in (model.score_samples, model.impute, lambda X: model.complete(X, [[0, 1], [0, 1]])):
        with pytest.raises(ValueError, match="Got 9 in row 7, column 2"):
            ask(X)


@pytest.mark.parametrize(
    ("X", "said"),
    [
        ([["a", "b"], ["c", "d"]], "the text 'a'"),
        (np.array([["1", "2"]]), "the text '1'"),
        (np.array([[b"a", b"b"]]), "the text b'a'"),
        (np.array([[1.0, "much"]], object), "the text 'much'"),
        ({"a": [1, 2, 3]}, "a mapping"),
        (np.zeros(3, [("a", int), ("b", float)]), "an array with named fields"),
    ],
)
@pytest.mark.parametrize("tool", ["density", "detector", "classifier", "imputer", "mixture"])
def test_what_only_a_frame_can_hold_is_refused_with_what_to_do(X, said, tool):
    density = make("NADE")
    model = {
        "density": density,
        "detector": fastar.DensityOutlierDetector(density),
        "classifier": fastar.GenerativeClassifier(density),
        "imputer": fastar.DensityImputer(density),
        "mixture": fastar.Mixture(density),
    }[tool]
    with pytest.raises(ValueError, match=f"numbers, or be a DataFrame.* Got {said} instead"):
        model.fit(X, [0, 1, 0][: len(X)])


def test_numbers_among_objects_are_taken():
    X = np.array([["1", 2.0], [0.5, "0.25"], [1, 3]], object)
    assert np.isfinite(fit(make("NADE"), X).score(X))


@pytest.mark.parametrize("library", ["pandas", "polars", "array"])
def test_a_gap_where_fit_had_none_is_named(library):
    frame = pd.DataFrame({"x": np.arange(40) / 8, "n": np.arange(40) % 4, "l": ["lo", "hi"] * 20})
    convert = {"pandas": lambda frame: frame, "polars": pl.from_pandas}.get(library)
    if convert is None:
        frame, convert = frame[["x", "n"]], lambda frame: frame.to_numpy(float)
    model = fit(make("NADE", missing="marked", max_iter=2), convert(frame))
    for place, name in enumerate(frame.columns):
        rows = frame.astype(object) if name == "l" else frame.astype({"n": "Float64"})
        rows.loc[7, name] = None
        rows = rows.assign(x=rows["x"].astype(float), n=rows["n"].astype(float))
        called = place if library == "array" else repr(name)
        said = f"X may have missing values only in .* Got one in row 7, column {called}"
        for method in ("score_samples", "partial_fit"):
            with pytest.raises(ValueError, match=said):
                getattr(model, method)(convert(rows))


def test_collections_of_dask_are_told_where_to_go():
    dask = pytest.importorskip("dask.dataframe")
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(20, 2)), columns=["a", "b"])
    model, parts = fit(make(max_iter=1), frame), dask.from_pandas(frame, npartitions=2)
    for given in (parts, parts.to_dask_array(), parts["a"]):
        for method in (model.fit, model.score_samples, model.impute, model.explain):
            with pytest.raises(
                TypeError, match=r"X must be in memory.* of Dask.*fastar\.dask\.fit"
            ):
                method(given)
    with pytest.raises(TypeError, match=r"evidence must be in memory.* of Dask"):
        model.sample(2, evidence=parts)
    with pytest.raises(TypeError, match=r"context must be in memory.* of Dask"):
        fit(make(max_iter=1), frame, context=parts)


def test_weights_are_named_by_their_row():
    X, weight = np.random.default_rng(0).normal(size=(9, 2)), np.ones(9)
    for value in (-1.0, np.nan, np.inf):
        weight[4] = value
        with pytest.raises(ValueError, match=f"sample_weight must be finite.*Got {value} in row 4"):
            make().fit(X, sample_weight=weight)
    with pytest.raises(ValueError, match=r"sample_weight must have a finite sum.*1e\+308"):
        make().fit(X, sample_weight=np.full(9, 1e308))


@pytest.mark.parametrize("value", ["2", "a", 1j, None, np.datetime64("2026-01-05"), b"1"])
def test_weights_are_real_numbers(value):
    X = np.random.default_rng(0).normal(size=(9, 2))
    for weight in ([value] * 9, np.array([1.0] * 4 + [value] * 5, object)):
        with pytest.raises(ValueError, match=r"sample_weight must hold numbers.* in row [04]"):
            make().fit(X, sample_weight=weight)


def test_what_is_read_once_is_told_so():
    X = np.random.default_rng(0).integers(0, 2, (9, 3))
    for estimator in (make(), GenerativeRNN()):
        with pytest.raises(TypeError, match=r"X must be readable more than once.*list\(X\)"):
            estimator.fit(iter(X))
    with pytest.raises(TypeError, match="context must be readable more than once"):
        make().fit(X, context=(each for each in X))


def test_values_that_are_no_sequences_are_named():
    model = fit(GenerativeRNN(n_hidden=2, max_iter=1), [np.array([1, 2], np.uint8)] * 9)
    with pytest.raises(ValueError, match=r"X\[1\] must be a sequence. Got None instead"):
        model.score([[0, 1], None])
    for name in ("prefix", "evidence"):
        with pytest.raises(ValueError, match=f"{name} must hold whole numbers from 0 to 255.* 300"):
            model.sample(1, **{name: [300]})
        for text in ("ab", {0: 1}):
            with pytest.raises(
                ValueError, match=f"{name} must be an array.* Got {type(text).__name__}"
            ):
                model.sample(1, **{name: text})
    for method in (model.fit, model.score_samples, model.impute):
        with pytest.raises(
            ValueError, match=r"X\[1\] must be an array, whose parts.* \[\[1, 2\], "
        ):
            method([[0, 1], [[1, 2], [3]]])
        with pytest.raises(ValueError, match=r"X\[0\] must hold numbers. Got a DataFrame.*groups="):
            method([pd.DataFrame({"a": [1, 2]})] * 3)
        with pytest.raises(ValueError, match=r"X\[0\] must have a value a step or more.*\(3, 0\)"):
            method([np.zeros((3, 0))] * 2)
    with pytest.raises(
        ValueError, match=r"X\[0\] must be a sequence. Got .*2.* One sequence alone is"
    ):
        model.score_samples(np.array([2, 1, 0]).tolist())
    with pytest.raises(ValueError, match=r"X must be an array of shape.* Got DataFrame instead"):
        model.score_samples(pd.DataFrame({"a": [1, 2]}))
    fresh = GenerativeRNN(n_hidden=2, max_iter=1)
    for empty in ([[], []], [[]], [np.zeros(0)] * 3):
        with pytest.raises(
            ValueError, match=f"X must have at least one step. Got {len(empty)} empty"
        ):
            fresh.fit(empty)
    with pytest.raises(ValueError, match=r"X must hold sequences of numbers.*10000000"):
        fresh.fit([[10**30]])


@pytest.mark.parametrize("convert", [lambda frame: frame, pl.from_pandas])
@pytest.mark.parametrize("estimator", [GenerativeRNN(), SequenceLabeller()])
def test_a_frame_of_steps_is_told_of_groups(estimator, convert):
    frame = convert(pd.DataFrame({"customer": ["a", "b"] * 9, "amount": np.arange(18.0)}))
    labels = [] if isinstance(estimator, GenerativeRNN) else [[0, 1] * 9]
    with pytest.raises(ValueError, match=r"X must hold numbers.*'customer'.*category.*groups="):
        estimator.fit(frame, *labels)


@pytest.mark.parametrize(
    "cell", [[1, 2], range(1, 3), np.array([1, 2]), slice(1, 2), pd.Interval(1, 2)], ids=repr
)
def test_what_is_no_set_or_interval_is_told_how_to_be_one(cell):
    model = fit(make(max_iter=1), pd.DataFrame({"a": [1, 2, 3] * 9, "b": ["u", "v", "w"] * 9}))
    for evidence in ({"a": cell}, [{"a": cell}]):
        with pytest.raises(ValueError, match=r"evidence must hold .* a set .* \(low, high\).*'a'"):
            model.sample(1, evidence=evidence)


@pytest.mark.parametrize("gap", [np.nan, None])
def test_labels_that_are_missing_are_told_by_their_row(gap):
    y = [0.0, 1.0] * 4 + [gap]
    for estimator, X in [
        (GenerativeClassifier(make()), np.random.default_rng(0).normal(size=(9, 2))),
        (SequenceLabeller(), [[0.0, 1.0]] * 9),
    ]:
        with pytest.raises(ValueError, match=r"y must have a label everywhere.*in row 8"):
            estimator.fit(X, y)


def test_steps_that_are_not_finite_are_named():
    with pytest.raises(ValueError, match=r"X\[1\] must be finite. Got -inf in step 2"):
        GenerativeRNN().fit([[0.5], [1.0, 2.0, -np.inf]])
    with pytest.raises(ValueError, match=r"X must hold sequences of numbers. Got \{\}"):
        GenerativeRNN().fit([[{}], [{}]])


@pytest.mark.filterwarnings("ignore:X has .* as far from the median")
@pytest.mark.parametrize("settings", [{}, {"distribution": {"b": "gaussian"}}])
@pytest.mark.parametrize(("size", "shown"), [(1.5e308, "1.5e[+]308"), (1e-320, "1e-320")])
def test_numbers_of_extreme_sizes_are_named(settings, size, shown):
    x = np.random.default_rng(0).normal(size=60)
    numbers = np.where(np.arange(60) == 4, size, x) if size > 1 else np.full(60, size)
    frame = pd.DataFrame({"a": x, "b": numbers})
    if size < 1 and settings:
        assert np.isfinite(fit(make(max_iter=1, **settings), frame).score(frame))
        return
    with pytest.raises(
        ValueError, match=f"X must hold numbers.*{shown} in column 'b'.*other units"
    ):
        make(**settings).fit(frame)


def test_messages_of_names_name_the_array():
    frame = pd.DataFrame({"a": [0.0, 1.5] * 9, "b": [1.0, 2.5] * 9})
    model = fit(make("NADE", max_iter=1), frame)
    for rows in (frame[["a"]], frame[["b", "a"]], frame.assign(c=1)):
        with pytest.raises(ValueError, match="feature names of exclude should match"):
            model.sample(2, exclude=rows)
        with pytest.raises(ValueError, match="feature names of X_val should match"):
            make().fit(frame, X_val=rows)


def test_messages_of_scikit_learn_name_the_array():
    X = np.random.default_rng(0).normal(size=(9, 2))
    for held_out in (X[:, :1], X[:0]):
        with pytest.raises(ValueError, match=r"^X_val"):
            make().fit(X, X_val=held_out)
    with pytest.raises(ValueError, match=r"X must hold numbers.*Got a list of mappings"):
        make().fit([{"a": 1.0}, {"a": 2.0}])


class StreamOnly:
    """What has no more of Arrow than a stream, as a relation of DuckDB."""

    def __init__(self, table):
        self.table = table

    def __arrow_c_stream__(self, requested_schema=None):
        return self.table.__arrow_c_stream__(requested_schema)


@pytest.mark.parametrize("convert", [lambda table: table, StreamOnly], ids=["table", "stream"])
@pytest.mark.parametrize("kind", ["intervals", "unions", "runs", "zone", "decimal256"])
def test_types_of_arrow_that_polars_has_not_are_told_by_column(kind, convert):
    pa = pytest.importorskip("pyarrow")
    numbers = pa.array(range(20))
    odd = {
        "intervals": lambda: pa.array([pa.MonthDayNano([1, 2, 3])] * 20),
        "unions": lambda: pa.UnionArray.from_sparse(pa.array([0] * 20, pa.int8()), [numbers]),
        "runs": lambda: pa.RunEndEncodedArray.from_arrays([5, 20], [1, 2]),
        "zone": lambda: numbers.cast(pa.timestamp("s", "Mars/Base")),
        "decimal256": lambda: numbers.cast(pa.decimal256(40, 2)),
    }[kind]()
    table = pa.table({"x": np.arange(20.0), "strange": odd})
    told = r"must hold columns of types that polars has. Got column 'strange' of .*cast it"
    model = make(max_iter=1)
    with pytest.raises(TypeError, match=f"X {told}"):
        model.fit(convert(table))
    with pytest.raises(TypeError, match=f"context {told}"):
        model.fit(np.arange(40.0).reshape(20, 2), context=table)
