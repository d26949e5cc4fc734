"""Tables that are read batch by batch: contexts and weights, which are columns of them."""

import json

import numpy as np
import pandas as pd
import polars as pl
import pytest
from local_parts import LocalParts
from streamed import LIBRARIES, assert_same_fit, assert_same_rows, cut, nade, uneven_frame

from fastar import MADE, DeepNADE, Mixture, load
from fastar._data import streams
from fastar._data.summary import Summary
from fastar.callbacks import Checkpoint
from fastar.models import _streamed, _streamed_answers

pytestmark = pytest.mark.filterwarnings(
    "ignore:Training stopped at max_iter:sklearn.exceptions.ConvergenceWarning"
)

CONTEXT = ["gaps", "word", "level", "huge"]
OTHERS = ["real", "small", "flag", "count"]
ROLES = {"context": CONTEXT, "sample_weight": "weight"}


@pytest.fixture(scope="module")
def whole():
    frame = uneven_frame(400)[[*OTHERS, *CONTEXT]]
    # neither at an end nor together
    frame.insert(3, "weight", np.random.default_rng(5).integers(0, 4, 400) / 2)
    return frame


@pytest.fixture(params=LIBRARIES)
def frame(request, whole):
    return LIBRARIES[request.param](whole)


def in_memory(frame):
    """Return what a fit in memory is given."""
    return {
        "X": frame[OTHERS],
        "context": frame[CONTEXT],
        "sample_weight": frame["weight"].to_numpy(),
    }


def assert_same_context(model, other):
    assert model.context_.to_json() == other.context_.to_json()
    for name, array in other.context_.arrays().items():
        np.testing.assert_array_equal(model.context_.arrays()[name], array)


MODELS = {
    "nade": nade,
    "made": lambda **how: MADE(hidden_layer_sizes=(8,), max_iter=2, random_state=0, **how),
    "deep nade": lambda **how: DeepNADE(hidden_layer_sizes=(8,), max_iter=2, random_state=0, **how),
}


@pytest.mark.parametrize("model", MODELS)
def test_a_fit_has_the_bits_of_one_in_memory(model, frame):
    fitted = MODELS[model](early_stopping=False).fit(**in_memory(frame))
    streamed = MODELS[model](early_stopping=False).fit(cut(frame, 90), **ROLES)
    assert_same_fit(streamed, fitted)
    assert_same_context(streamed, fitted)
    assert list(streamed.feature_names_in_) == OTHERS
    held = frame[:50]
    given = in_memory(held)
    fitted = MODELS[model]().fit(**in_memory(frame), X_val=given["X"], context_val=given["context"])
    assert_same_fit(MODELS[model]().fit(cut(frame, 90), **ROLES, X_val=cut(held, 20)), fitted)


def test_answers_pass_over_the_weights_of_fit(whole, tmp_path):
    frame = pl.from_pandas(whole.drop(columns=CONTEXT))
    frame.write_parquet(path := tmp_path / "table.parquet")
    model = nade().fit(path, sample_weight="weight")
    model.save(tmp_path / "model")
    rows = frame.drop("weight")
    for again in (model, load(tmp_path / "model")):
        np.testing.assert_array_equal(again.score_samples(path), again.score_samples(rows))
        assert again.score(path, sample_weight="weight") == pytest.approx(
            np.average(again.score_samples(rows), weights=frame["weight"])
        )
        again.impute(path, out=(out := tmp_path / "filled.parquet"), random_state=0)
        assert pl.read_parquet(out).columns == rows.columns
    mixture = Mixture(nade(), n_members=2, weights="equal").fit(path, sample_weight="weight")
    np.testing.assert_array_equal(mixture.score_samples(path), mixture.score_samples(rows))
    with pytest.raises(ValueError, match="weight"):
        nade().fit(rows).score_samples(path)


def test_columns_of_arrays_have_roles_by_place():
    X = np.random.default_rng(0).normal(size=(300, 5))
    X[:, 4] = np.random.default_rng(1).integers(0, 3, 300)
    fitted = nade(early_stopping=False).fit(
        X[:, [0, 2]], context=X[:, [3, 1]], sample_weight=X[:, 4]
    )
    streamed = nade(early_stopping=False).fit(cut(X, 70), context=[3, 1], sample_weight=4)
    assert_same_fit(streamed, fitted)
    np.testing.assert_array_equal(
        streamed.score_samples(cut(X[:, :4], 90), context=[3, 1]),
        fitted.score_samples(X[:, [0, 2]], context=X[:, [3, 1]]),
    )
    whole = (2**60 + np.arange(300)[:, None] * [1, 7, 3]) % [2, 2**62, 5]
    fitted = nade(early_stopping=False).fit(whole[:, ::2], context=whole[:, [1]])
    streamed = nade(early_stopping=False).fit(cut(whole, 70), context=1)
    assert_same_context(streamed, fitted)
    assert_same_fit(streamed, fitted)


@pytest.mark.usefixtures("small_blocks", "few_sampled")
@pytest.mark.parametrize("early_stopping", [True, False])
def test_a_fit_does_not_depend_on_the_cut(frame, early_stopping, tmp_path):
    model = nade(early_stopping=early_stopping).fit(lambda: [frame], **ROLES)
    backwards = frame[50:][list(frame.columns)[::-1]]
    sources = [cut(frame, 7), cut(frame, 133), lambda: iter([frame[:50], backwards])]
    if isinstance(frame, pl.DataFrame):
        frame.write_parquet(tmp_path / "t.parquet", row_group_size=61)
        sources.append(tmp_path / "t.parquet")
    for source in sources:
        streamed = nade(early_stopping=early_stopping).fit(source, **ROLES)
        assert_same_fit(streamed, model)
        assert_same_context(streamed, model)


def test_a_weight_of_two_is_two_rows(whole):
    counts = np.random.default_rng(0).integers(0, 3, len(whole))
    frame = whole.assign(weight=counts)
    rows = whole.loc[np.repeat(np.arange(len(whole)), counts)].drop(columns="weight")
    # one step of all rows
    how = {"batch_size": 1000, "early_stopping": False, "solver": "sgd", "max_iter": 2}
    how |= {"distribution": "gaussian", "dtype": "float64"}
    columns = ["real", "count"]
    weighted = nade(**how).fit(
        cut(frame[[*columns, "weight"]].dropna(), 90), sample_weight="weight"
    )
    repeated = nade(**how).fit(cut(rows[columns].dropna(), 90))
    np.testing.assert_allclose(weighted.theta_, repeated.theta_, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(weighted.loss_curve_, repeated.loss_curve_, rtol=1e-12)


def test_few_rows_with_a_weight_are_all_sampled(whole, monkeypatch):
    monkeypatch.setattr(_streamed, "Summary", lambda name: Summary(name, n_sampled=20))
    rare = whole.assign(weight=np.where(np.arange(400) % 80 == 7, 2.0, 0.0))
    how = {"distribution": "gaussian", "early_stopping": False}
    rare = rare[["real", "small", "weight"]]
    fitted = nade(**how).fit(rare[["real", "small"]], sample_weight=rare["weight"])
    streamed = nade(**how).fit(cut(rare, 90), sample_weight="weight")
    np.testing.assert_allclose(streamed.theta_, fitted.theta_, rtol=1e-6)
    assert_same_fit(nade(**how).fit(cut(rare, 7), sample_weight="weight"), streamed)


def test_a_fit_in_parts_does_not_depend_on_the_partitions(frame):
    for early_stopping in (True, False):
        fitted = nade(early_stopping=early_stopping).fit(LocalParts.of([frame]), **ROLES)
        parts = [frame[:10], frame[10:10], frame[10:11], frame[11:]]
        parted = nade(early_stopping=early_stopping).fit(LocalParts.of(parts), **ROLES)
        assert_same_fit(parted, fitted)
        assert_same_context(parted, fitted)


def test_a_step_of_all_rows_in_parts_is_that_of_a_table_in_memory(frame):
    how = {"batch_size": 400, "early_stopping": False, "solver": "sgd", "max_iter": 4}
    memory = nade(**how, dtype="float64").fit(**in_memory(frame))
    parted = nade(**how, dtype="float64").fit(LocalParts.of([frame]), **ROLES)
    np.testing.assert_allclose(parted.theta_, memory.theta_, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(parted.loss_curve_, memory.loss_curve_, rtol=1e-12)


def test_held_out_rows_in_parts_weigh_what_they_do_on_disk(frame):
    how = {"batch_size": 400, "solver": "sgd", "max_iter": 3, "dtype": "float64"}
    stored = nade(**how).fit(cut(frame, 90), **ROLES)
    parted = nade(**how).fit(LocalParts.of([frame]), **ROLES)
    np.testing.assert_allclose(parted.validation_curve_, stored.validation_curve_, rtol=1e-9)


def test_a_checkpoint_resumes_to_the_same_bits(frame, tmp_path):
    whole = nade(max_iter=4).fit(cut(frame, 90), **ROLES)
    for n_epochs in (2, 4):
        model = nade(max_iter=n_epochs, callbacks=Checkpoint(str(tmp_path / "c")))
        model.fit(cut(frame, 90), **ROLES)
    assert_same_fit(model, whole)
    for roles in ({"context": CONTEXT}, {**ROLES, "context": [*CONTEXT[:3], "count"]}):
        other = nade(max_iter=5, callbacks=Checkpoint(str(tmp_path / "c")))
        with pytest.raises(ValueError, match=r"is of another fit: it has other .*data"):
            other.fit(cut(frame, 90), **roles)


def test_partial_fit_and_warm_start_keep_what_contexts_are(frame):
    given = in_memory(frame)
    fitted = nade().partial_fit(**given).partial_fit(**given)
    streamed = nade().partial_fit(cut(frame, 90), **ROLES).partial_fit(cut(frame, 70), **ROLES)
    np.testing.assert_array_equal(streamed.theta_, fitted.theta_)
    assert_same_context(streamed, fitted)
    later = nade(warm_start=True, early_stopping=False).fit(cut(frame, 90), **ROLES)
    swapped = {**ROLES, "context": CONTEXT[::-1]}
    again = nade(warm_start=True, early_stopping=False).fit(**given).fit(**given)
    assert_same_fit(later.fit(cut(frame, 90), **swapped), again)


# ---- scores, samples, completions


@pytest.fixture
def model(frame):
    return nade(max_iter=1).fit(cut(frame, 90), **ROLES)


def test_scores_have_the_context_of_the_file(frame, model, tmp_path):
    given = in_memory(frame)
    expected = model.score_samples(given["X"], context=given["context"])
    source = cut(frame[[*OTHERS, *CONTEXT]], 33)
    np.testing.assert_array_equal(model.score_samples(source, context=CONTEXT), expected)
    assert model.score(cut(frame, 33), **ROLES) == model.score(**given)
    out = tmp_path / "scores.parquet"
    model.score_samples(source, context=CONTEXT, out=out)
    np.testing.assert_array_equal(pl.read_parquet(out)["log_density"], expected)
    model.score_samples(given["X"], context=given["context"], out=out)
    np.testing.assert_array_equal(pl.read_parquet(out)["log_density"], expected)


def test_completions_and_samples_have_the_context_of_the_file(frame, model, tmp_path, monkeypatch):
    monkeypatch.setattr(streams, "BATCH_ROWS", 150)
    outs = [tmp_path / f"{k}.parquet" for k in range(3)]
    rows = frame[[*OTHERS, *CONTEXT]]
    for size, out in zip((7, 133, 400), outs, strict=True):
        model.impute(cut(rows, size), context=CONTEXT, out=out, random_state=0)
    found = [pl.read_parquet(out) for out in outs]
    assert found[0].columns == OTHERS
    assert_same_rows(found[0], found[1])
    assert_same_rows(found[0], found[2])
    monkeypatch.setattr(_streamed_answers, "batch_rows", lambda n_columns: 150)
    model.sample(400, context=frame[CONTEXT], out=outs[0], random_state=0)
    state = np.random.RandomState(0)
    drawn = [
        model.sample(len(each), context=each, random_state=state)
        for each in (frame[CONTEXT][k : k + 150] for k in range(0, 400, 150))
    ]
    expected = np.concatenate([each["real"].to_numpy() for each in drawn])
    np.testing.assert_array_equal(pl.read_parquet(outs[0])["real"], expected)
    model.sample(400, context=frame[CONTEXT][:1], out=outs[0], random_state=0)
    assert len(pl.read_parquet(outs[0])) == 400


def test_a_file_keeps_what_the_context_was(frame, model, tmp_path):
    model.save(tmp_path / "m.fastar")
    read = load(tmp_path / "m.fastar")
    rows = cut(frame[[*OTHERS, *CONTEXT]], 90)
    np.testing.assert_array_equal(
        read.score_samples(rows, context=CONTEXT), model.score_samples(rows, context=CONTEXT)
    )
    assert json.dumps(read.context_.to_json()) == json.dumps(model.context_.to_json())


# ---- errors


@pytest.mark.parametrize(
    ("roles", "message"),
    [
        ({"context": ["age"]}, r"Got no column 'age' among 'real', 'small'"),
        ({"sample_weight": "age"}, r"Got no column 'age'"),
        ({"context": np.ones((400, 1))}, r"context must name columns of X .* Got ndarray"),
        ({"sample_weight": np.ones(400)}, r"sample_weight must name columns of X .* Got ndarray"),
        ({"context": []}, r"context must name columns"),
        ({"context": ["word", "word"]}, r"must name a column once"),
        ({"context": ["weight"], "sample_weight": "weight"}, r"Got 'weight' for both"),
        ({"context": [*OTHERS, *CONTEXT, "weight"]}, r"must have a column beside the context"),
        ({"sample_weight": "word"}, r"must hold numbers in column 'word', its weights"),
        ({"sample_weight": "real"}, r"not negative in column 'real'. Got -.* in row \d+"),
    ],
)
def test_roles_that_are_none(frame, roles, message):
    with pytest.raises(ValueError, match=message):
        nade().fit(cut(frame, 90), **roles)


def test_weights_that_are_none_are_told_by_the_row_of_the_table(whole):
    frame = whole.assign(weight=np.where(np.arange(400) == 277, np.nan, 1.0))
    with pytest.raises(ValueError, match=r"in column 'weight'. Got nan in row 277"):
        nade().fit(cut(frame, 90), **ROLES)
    with pytest.raises(ValueError, match=r"positive entry. Got zeros alone"):
        nade().fit(cut(whole.assign(weight=0.0), 90), **ROLES)
    few = whole.assign(weight=np.where(np.arange(400) == 277, 1.0, 0.0))
    with pytest.raises(ValueError, match=r"rows to hold out.* Got 1 rows with a positive weight"):
        nade().fit(cut(few, 90), **ROLES)


def test_contexts_of_later_rows_must_be_those_of_fit(frame, model):
    rows = frame[[*OTHERS, *CONTEXT]]
    with pytest.raises(ValueError, match="context must be given for a model of p"):
        model.score_samples(cut(rows, 90))
    with pytest.raises(ValueError, match="must be None for a model that was fitted without"):
        nade(max_iter=1).fit(frame[OTHERS]).score_samples(cut(rows, 90), context=CONTEXT)
    if isinstance(frame, pd.DataFrame):
        strange = rows.copy()
        strange.loc[277, "word"] = "maybe"
        for ask in (model.score_samples, model.set_params(warm_start=True).fit):
            with pytest.raises((TypeError, ValueError), match=r"Got 'maybe'.*row 277"):
                ask(cut(strange, 90), context=CONTEXT)
