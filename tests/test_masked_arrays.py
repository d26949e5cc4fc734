"""Masks of masked arrays, and columns that no row has shown."""

import numpy as np
import pandas as pd
import polars as pl
import pytest

from fastar import (
    FVSBN,
    MADE,
    NADE,
    DeepNADE,
    DensityImputer,
    DensityOutlierDetector,
    GenerativeClassifier,
    GenerativeRNN,
    Mixture,
    PixelRNN,
    SequenceLabeller,
)

QUICK = {"max_iter": 2, "random_state": 0, "n_jobs": 1}

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

ROWS = [FVSBN(**QUICK), NADE(**QUICK), MADE(**QUICK), DeepNADE(**QUICK), PixelRNN(**QUICK)]
ROWS += [Mixture(NADE(**QUICK), n_members=2), DensityOutlierDetector(NADE(**QUICK))]


def _table(kind=float, n=60):
    values = (np.random.default_rng(0).normal(size=(n, 2)) > 0).astype(kind)
    mask = np.random.default_rng(1).random(values.shape) < 0.2
    return values, mask, np.ma.array(np.where(mask, 99, values), mask=mask)


@pytest.mark.parametrize("kind", [float, int])
@pytest.mark.parametrize("model", ROWS, ids=lambda each: type(each).__name__)
def test_what_is_masked_is_refused_where_gaps_are(model, kind):
    values, _, masked = _table(kind)
    with pytest.raises(ValueError, match=r"X must not be masked.*DataFrame"):
        model.fit(masked)
    model.fit(np.ma.array(values))  # nothing is masked
    with pytest.raises(ValueError, match="X must not be masked"):
        model.score_samples(masked)


@pytest.mark.parametrize("kind", [float, int])
def test_what_is_masked_is_missing_where_gaps_are_allowed(kind):
    values, mask, masked = _table(kind)
    given = np.where(mask, np.nan, values)
    model = NADE(**QUICK).fit(values)
    for ask in (model.log_marginal, model.impute):
        assert (ask(masked, random_state=0) == ask(given, random_state=0)).all()
    assert (
        model.sample(60, evidence=masked, random_state=0)
        == model.sample(60, evidence=given, random_state=0)
    ).all()
    fill = [DensityImputer(NADE(**QUICK), random_state=0).fit_transform(X) for X in (masked, given)]
    assert (fill[0] == fill[1]).all()
    assert set(np.unique(fill[0].astype(float))) <= {0, 1}


@pytest.mark.parametrize("model", [GenerativeRNN(**QUICK), SequenceLabeller(**QUICK)])
@pytest.mark.parametrize("listed", [False, True])
def test_masked_sequences_are_refused(model, listed):
    _, _, masked = _table(int)
    y = {} if isinstance(model, GenerativeRNN) else {"y": [0, 1] * 30}
    with pytest.raises(ValueError, match=r"X(\[\d+\])? must not be masked"):
        model.fit([*masked] if listed else masked, **y)


def test_masked_contexts_weights_and_labels_are_refused():
    values, _, masked = _table()
    with pytest.raises(ValueError, match="context must not be masked"):
        NADE(**QUICK).fit(values, context=masked)
    with pytest.raises(ValueError, match="sample_weight must not be masked"):
        NADE(**QUICK).fit(values, sample_weight=masked[:, 0])
    with pytest.raises(ValueError, match="y must not be masked"):
        GenerativeClassifier(NADE(**QUICK)).fit(values, masked[:, 0])


@pytest.mark.parametrize("kind", [pd.DataFrame, pl.DataFrame])
@pytest.mark.parametrize(
    "empty", [[None] * 60, np.full(60, np.nan), pd.Categorical([None] * 60, ["u", "v"])]
)
def test_a_column_without_any_value_is_refused_by_name(kind, empty):
    if kind is pl.DataFrame and isinstance(empty, pd.Categorical):
        empty = pl.Series([None] * 60, dtype=pl.Enum(["u", "v"]))
    X = kind({"x": np.arange(60.0), "note": empty})
    for model in (
        NADE(**QUICK),
        Mixture(NADE(**QUICK), n_members=2),
        DensityImputer(NADE(**QUICK)),
    ):
        with pytest.raises((ValueError, TypeError), match="'note'"):
            model.fit(X)
    X = np.column_stack([np.arange(60.0), np.full(60, np.nan)])
    with pytest.raises(ValueError, match="none in column 1"):
        DensityImputer(NADE(**QUICK)).fit(X)
