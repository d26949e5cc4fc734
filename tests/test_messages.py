"""Messages speak of the user's values and columns."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from common import fit, make

from fastar import conditionals


@pytest.mark.parametrize("method", ["score_samples", "impute", "log_marginal", "purify", "fit"])
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
