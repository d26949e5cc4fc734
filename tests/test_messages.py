"""Messages speak of the user's values and columns."""

import numpy as np
import pandas as pd
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
