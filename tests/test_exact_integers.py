"""Integers beyond 2**53, which float64 does not tell apart, on every path; cells that come back."""

import numpy as np
import pandas as pd
import polars as pl
import pytest

import fastar
from fastar import (
    NADE,
    DensityImputer,
    GenerativeClassifier,
    GenerativeRNN,
    Mixture,
    SequenceLabeller,
    as_classifier,
)
from fastar._core.integers import add, find_offsets, subtract
from fastar.conditionals import LogisticMixture

BIG = 2**60
QUICK = {"n_hidden": 8, "max_iter": 3, "random_state": 0, "n_jobs": 1}

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

EDGES = [-(2**63), -BIG, -1, 0, 1, BIG, BIG + 1, 2**63 - 1]


@pytest.mark.parametrize("dtype", [np.int64, np.uint64])
def test_differences_and_sums_are_exact_at_the_ends_of_the_type(dtype):
    info = np.iinfo(dtype)
    table = np.array([[info.max, info.min], [info.max - 5, info.min + 7]], dtype)
    offsets = find_offsets(table)
    assert np.abs(subtract(table, offsets)).max() < 2**53
    assert (add(subtract(table, offsets), offsets, dtype) == table).all()
    # what lies beyond the type is its nearest number
    far = add(np.full((1, 2), 2.0**62), (info.max - 1, info.max - 1), dtype)
    assert (far == info.max).all()


def _table(n=200):
    rng = np.random.default_rng(0)
    return np.column_stack([BIG + rng.integers(0, 4, n), rng.integers(0, 3, n)])


@pytest.mark.parametrize("broken", [1.5, -0.25])
def test_no_fraction_passes_for_a_whole_number(broken):
    """Where a difference of 2**60 would round it away."""
    table = _table()
    array = NADE(**QUICK).fit(table)
    frames = {library: NADE(**QUICK).fit(KINDS[library](table)) for library in ("pandas", "polars")}
    rule = "hold (sets of )?(a )?whole numbers?"
    for method in (array.score_samples, array.explain, array.log_marginal, array.impute):
        with pytest.raises(ValueError, match=f"X must {rule} in column 0.* Got {broken}"):
            method(np.array([[broken, 1.0]]))
    for evidence in (
        {0: broken},
        [broken, np.nan],
        np.array([broken, None], object),
        {0: {broken}},
    ):
        with pytest.raises(ValueError, match=f"evidence must {rule} in column 0"):
            array.sample(1, evidence=evidence)
    for library, model in frames.items():
        row = KINDS[library](table[:1].astype(float))
        row = row.assign(a=broken) if library == "pandas" else row.with_columns(a=pl.lit(broken))
        with pytest.raises(ValueError, match=f"X must {rule} in column 'a'. Got {broken}"):
            model.score_samples(row)
        for evidence in ({"a": broken}, {"a": np.float32(broken)}, {"a": {broken}}):
            with pytest.raises(ValueError, match=f"evidence must {rule} in column 'a'"):
                model.sample(1, evidence=evidence)
        assert np.isfinite(model.log_probability({"a": (broken, None)}))
    given = NADE(**QUICK).fit(table[:, 1:], context=table[:, :1])
    with pytest.raises(ValueError, match=f"context must {rule}"):
        given.score_samples(table[:1, 1:], context=np.array([[broken]]))
    steps = GenerativeRNN(**QUICK).fit([table[:5, 0], table[:3, 0]])
    with pytest.raises(ValueError, match=f"X must {rule}"):
        steps.score_samples([np.array([broken, 2.0])])


KINDS = {
    "array": np.asarray,
    "objects": lambda X: X.astype(object),
    "unsigned": lambda X: X.astype(np.uint64),
    "pandas": lambda X: pd.DataFrame(X, columns=["a", "b"]),
    "pandas and a real column": lambda X: pd.DataFrame({"a": X[:, 0], "b": X[:, 1] + 0.5}),
    "nullable": lambda X: pd.DataFrame(X, columns=["a", "b"]).astype("Int64"),
    "polars": lambda X: pl.DataFrame({"a": X[:, 0], "b": X[:, 1]}),
}


def _first(table):
    if isinstance(table, np.ndarray):
        return table[:, 0].tolist()
    return table["a"].to_list() if isinstance(table, pl.DataFrame) else table["a"].tolist()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "distribution", ["auto", "gaussian", ["categorical", "laplace"], LogisticMixture()]
)
def test_neighbours_stay_neighbours(kind, distribution, tmp_path):
    if kind == "pandas and a real column" and isinstance(distribution, LogisticMixture):
        pytest.skip("halves are no whole numbers")
    X = KINDS[kind](_table())
    for model in (NADE(**QUICK, distribution=distribution), None):
        if model is None:
            model = Mixture(NADE(**QUICK, distribution=distribution), n_members=2, random_state=0)
        model.fit(X)
        drawn = _first(model.sample(100, random_state=0))
        assert len(set(drawn)) > 2
        assert all(abs(each - BIG) < 40 for each in drawn)
        filled = model.impute(X, random_state=0)
        assert _first(filled) == _first(X)
        model.save(tmp_path / "model")
        restored = fastar.load(tmp_path / "model")
        assert _first(restored.sample(100, random_state=0)) == drawn
        scores = model.score_samples(X)
        assert (restored.score_samples(X) == scores).all()
        assert len(np.unique(scores)) > 3


@pytest.mark.parametrize("kind", KINDS)
def test_evidence_is_held_to_the_last_digit(kind):
    X = KINDS[kind](_table())
    model = NADE(**QUICK).fit(X)
    evidence = {"a": BIG + 3} if hasattr(X, "columns") else [BIG + 3, None]
    assert set(_first(model.sample(20, evidence=evidence, random_state=0))) == {BIG + 3}


def test_gaps_beside_large_integers():
    X = _table().astype(object)
    frame = (
        pd.DataFrame(X, columns=["a", "b"])
        .astype("Int64")
        .mask(np.arange(200)[:, None] % [5, 7] == 0)
    )
    model = NADE(**QUICK).fit(frame)
    filled = model.impute(frame, random_state=0)
    there = frame["a"].notna()
    assert (filled["a"][there] == frame["a"][there]).all()
    assert filled["a"].between(BIG, BIG + 3).all()
    model = NADE(**QUICK).fit(_table())
    X[::5, 1] = None
    filled = model.impute(X, random_state=0)
    assert filled[:, 0].tolist() == X[:, 0].tolist()


def test_integers_too_far_apart_for_an_offset():
    levels = np.array([-(2**62), 2**62, 2**62 + 1])
    ids = levels[np.random.default_rng(0).integers(0, 3, 200)]
    frame = pd.DataFrame({"id": ids, "x": np.arange(200.0)})
    for X in (frame, pl.from_dict({"id": ids, "x": np.arange(200.0)})):
        model = NADE(**QUICK).fit(X)
        drawn = model.sample(200, random_state=0)["id"]
        assert set(np.asarray(drawn).tolist()) == set(levels.tolist())
    many = pd.DataFrame({"id": np.random.default_rng(0).integers(-(2**62), 2**62, 300), "x": 0.5})
    model = NADE(**QUICK).fit(many)
    assert (model.impute(many, random_state=0)["id"] == many["id"]).all()
    array = np.column_stack([ids, np.arange(200)])
    mixed = NADE(**QUICK, distribution=["categorical", "gaussian"]).fit(array)
    assert set(mixed.sample(200, random_state=0)[:, 0].tolist()) == set(levels.tolist())


@pytest.mark.parametrize("kind", [np.asarray, lambda C: pd.DataFrame(C, columns=["c"])])
def test_a_context_of_large_integers(kind):
    rng = np.random.default_rng(0)
    c = rng.integers(0, 2, (400, 1))
    X = c + 0.1 * rng.normal(size=(400, 1))
    model = NADE(**{**QUICK, "max_iter": 60, "learning_rate_init": 0.02}).fit(
        X, context=kind(BIG + c)
    )
    same = model.score(X, context=kind(BIG + c))
    assert same > model.score(X, context=kind(BIG + 1 - c)) + 1


def test_symbols_and_labels_near_2_to_60(tmp_path):
    rng = np.random.default_rng(0)
    X = [BIG + rng.integers(0, 4, length) for length in rng.integers(3, 8, 100)]
    model = GenerativeRNN(**QUICK).fit(X)
    drawn = np.concatenate(model.sample(100, random_state=0))
    assert set(drawn.tolist()) == {BIG, BIG + 1, BIG + 2, BIG + 3}
    begun = model.sample(3, prefix=np.array([BIG + 3, BIG + 1]), random_state=0)
    assert all(each[:2].tolist() == [BIG + 3, BIG + 1] for each in begun)
    kept = model.sample(3, evidence=X[:3], random_state=0)
    assert [each.tolist() for each in kept] == [each.tolist() for each in X[:3]]
    y = [each % 2 + BIG for each in X]
    labeller = SequenceLabeller(**QUICK).fit(X, y)
    assert labeller.classes_.tolist() == [BIG, BIG + 1]
    rows = rng.normal(size=(60, 2))
    classifier = GenerativeClassifier(NADE(**QUICK)).fit(rows, BIG + np.arange(60) % 3)
    assert set(classifier.predict(rows).tolist()) <= {BIG, BIG + 1, BIG + 2}


def test_counts_are_not_large():
    with pytest.raises(ValueError, match=r"poisson.*Got 1152921504606846976 in column 0"):
        NADE(**QUICK, distribution="poisson").fit(_table())


@pytest.mark.parametrize("dtype", ["float32", "float64", "longdouble", "int8", object])
def test_a_cell_that_is_there_comes_back_bit_for_bit(dtype):
    rng = np.random.default_rng(0)
    X = (rng.normal(size=(100, 3)) * 5).astype("longdouble")
    X = (X + np.longdouble(2) ** -60).astype(dtype)
    model = NADE(**QUICK).fit(X)
    gap = rng.random(X.shape) < (0.2 if X.dtype.kind in "fO" else 0)
    given = X.copy()
    given[gap] = np.nan if gap.any() else 0
    filled = model.impute(given, random_state=0)
    assert filled.dtype == given.dtype
    assert filled[~gap].tolist() == given[~gap].tolist()
    held = model.sample(100, evidence=given, random_state=0)
    assert held.dtype == model.sample(1).dtype
    if dtype == "longdouble":
        assert (held[~gap] == given[~gap]).all()
    imputer = DensityImputer(NADE(**QUICK), n_draws=3, random_state=0).fit(given)
    assert imputer.transform(given)[~gap].tolist() == given[~gap].tolist()


@pytest.mark.parametrize("kind", ["pandas", "polars", "unsigned"])
def test_answers_about_a_column_of_large_integers_are_its_values(kind):
    ids = np.random.default_rng(0).integers(0, 3, 200)
    X = KINDS[kind](np.column_stack([ids + BIG, ids]))
    model = NADE(**{**QUICK, "max_iter": 60, "learning_rate_init": 0.05}).fit(X)
    target = "a" if kind != "unsigned" else 0
    assert model.levels(target).tolist() == [BIG, BIG + 1, BIG + 2]
    predicted = np.asarray(model.predict(X, target=target))
    assert (predicted == ids.astype(predicted.dtype) + BIG).mean() > 0.9
    assert as_classifier(model, target=target).classes_.tolist() == [BIG, BIG + 1, BIG + 2]
    completed = model.complete({target: BIG + 2})
    assert _first(completed) == [BIG + 2]


@pytest.mark.parametrize("n_values", [4, 3000])
@pytest.mark.parametrize("dtype", ["uint64", "UInt64", "uint64[pyarrow]", "polars"])
def test_answers_about_unsigned_integers_are_its_values(dtype, n_values):
    steps = np.random.default_rng(0).integers(0, n_values, 200).tolist()
    values = [2**64 - n_values + step for step in steps]
    if dtype == "polars":
        X = pl.DataFrame({"a": pl.Series(values, dtype=pl.UInt64)})
    else:
        X = pd.DataFrame({"a": pd.Series(values, dtype=dtype)})
    model = NADE(**QUICK).fit(X)
    for answer in (
        model.predict(X[:5], kind="median", n_particles=8),
        model.repair_suggestions(X[:5], n_particles=8)["a"].values,
        model.levels() if n_values == 4 else model.predict(X[:5], kind="quantile", quantile=0.1),
    ):
        assert answer.dtype == np.uint64
        assert all(min(values) - 1 <= each < 2**64 for each in answer.ravel().tolist())


def test_arrow_integers_too_far_apart_are_read_again(tmp_path):
    values = np.random.default_rng(0).integers(-(2**62), 2**62, 60)
    frames = [pd.DataFrame({"a": pd.Series(values, dtype=d)}) for d in ("int64", "int64[pyarrow]")]
    scores = []
    for frame in frames:
        model = NADE(**QUICK).fit(frame)
        scores.append(model.score_samples(frame))
        assert (model.sample(3, random_state=0).dtypes == frame.dtypes).all()
        assert (model.impute(frame, random_state=0) == frame).all().all()
        model.save(tmp_path / "model")
        assert (fastar.load(tmp_path / "model").score_samples(frame) == scores[-1]).all()
    assert (scores[0] == scores[1]).all()


LABELS = {
    "nullable": lambda y: pd.array(y, dtype="Int64"),
    "a nullable series": lambda y: pd.Series(y, dtype="Int64"),
    "of Arrow": lambda y: pd.Series(y, dtype="int64[pyarrow]"),
    "polars": pl.Series,
    "objects": lambda y: y.astype(object),
    "a list": lambda y: y.tolist(),
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels_stay_integers_whatever_holds_them(kind):
    X, y = np.random.default_rng(0).normal(size=(60, 2)), np.arange(60) % 3 + BIG
    known = [BIG, BIG + 1, BIG + 2]
    given = LABELS[kind](y)
    assert GenerativeClassifier(NADE(**QUICK)).fit(X, given).classes_.tolist() == known
    assert SequenceLabeller(**QUICK).fit([*X[:, :, None]], given).classes_.tolist() == known


def test_labels_beyond_the_signed_integers():
    X, y = np.random.default_rng(0).normal(size=(60, 2)), np.arange(60, dtype=np.uint64) % 3
    y += np.uint64(2**63)
    classifier = GenerativeClassifier(NADE(**QUICK)).fit(X, y)
    assert set(classifier.predict(X).tolist()) <= {2**63, 2**63 + 1, 2**63 + 2}
    labeller = SequenceLabeller(**QUICK).fit([*X[:, :, None]], y)
    assert labeller.classes_.tolist() == [2**63, 2**63 + 1, 2**63 + 2]


@pytest.mark.parametrize("low", [-(2**63), 2**63 - 4, 2**64 - 4])
@pytest.mark.parametrize("kind", ["array", "pandas", "polars", "context", "sequences"])
def test_files_hold_integers_at_the_ends_of_64_bits(low, kind, tmp_path):
    values = np.array([low + k % 4 for k in range(40)], "u8" if low > 0 else "i8")
    X = np.column_stack([values, values[::-1]])
    given = {"array": X, "pandas": pd.DataFrame(X), "polars": pl.DataFrame(X, schema=["a", "b"])}
    settings = {"n_hidden": 3, "max_iter": 1, "random_state": 0}
    if kind == "sequences":
        model, rows, context = GenerativeRNN(**settings), np.split(values, 8), {}
    elif kind == "context":
        model, rows, context = NADE(**settings), np.eye(40), {"context": pd.DataFrame(X)}
    else:
        model, rows, context = NADE(**settings), given[kind], {}
    model.fit(rows, **context).save(tmp_path / "model")
    again = fastar.load(tmp_path / "model")
    n = 40 if context else 3
    scores = [each.score_samples(rows, **context) for each in (model, again)]
    np.testing.assert_array_equal(*scores)
    drawn = [each.sample(n, random_state=0, **context) for each in (model, again)]
    flat = np.concatenate if kind == "sequences" else np.asarray
    np.testing.assert_array_equal(*map(flat, drawn))
