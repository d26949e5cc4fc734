"""Files of neighbours: what joblib and skops keep of an estimator is the same model again."""

import io

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline

import fastar

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
NUMBERS = RNG.normal(size=(120, 3))
TABLE = pd.DataFrame({"colour": RNG.choice(["a", "b"], 120), "size": NUMBERS[:, 0]})
QUICK = {"max_iter": 2, "random_state": 0}


def nade(**parameters):
    return fastar.NADE(n_hidden=5, **QUICK, **parameters)


FITTED = {
    "an array": lambda: nade().fit(NUMBERS),
    "pandas": lambda: nade().fit(TABLE),
    "polars": lambda: nade().fit(pl.from_pandas(TABLE)),
    "a context": lambda: nade().fit(NUMBERS[:, :2], context=NUMBERS[:, 2:]),
    "masks": lambda: fastar.MADE(n_masks=2, **QUICK).fit(NUMBERS),
    "orders": lambda: fastar.DeepNADE(hidden_layer_sizes=(5,), **QUICK).fit(NUMBERS),
    "steps": lambda: fastar.GenerativeRNN(n_hidden=5, **QUICK).fit([[0, 1, 1], [1, 0]] * 20),
    "a mixture": lambda: fastar.Mixture(nade(), n_members=2, random_state=0).fit(NUMBERS),
    "a detector": lambda: fastar.DensityOutlierDetector(nade(), random_state=0).fit(NUMBERS),
    "a pipeline": lambda: make_pipeline(SimpleImputer(), nade()).fit(NUMBERS),
}


def scores(name, model):
    if name == "steps":
        return model.score_samples([[0, 1], [1, 1, 1]])
    if name == "a context":
        return model.score_samples(NUMBERS[:, :2], context=NUMBERS[:, 2:])
    rows = {"pandas": TABLE, "polars": pl.from_pandas(TABLE)}.get(name, NUMBERS)
    return model.score_samples(rows)


@pytest.mark.parametrize("name", FITTED)
def test_joblib_keeps_models(name):
    model, file = FITTED[name](), io.BytesIO()
    joblib.dump(model, file)
    file.seek(0)
    np.testing.assert_array_equal(scores(name, joblib.load(file)), scores(name, model))


@pytest.mark.parametrize("name", FITTED)
def test_skops_keeps_models_and_has_to_trust_fastar_and_numpy_alone(name):
    skops = pytest.importorskip("skops.io")
    model = FITTED[name]()
    content = skops.dumps(model)
    types = skops.get_untrusted_types(data=content)
    assert [each for each in types if not each.startswith(("fastar.", "numpy."))] == []
    again = skops.loads(content, trusted=types)
    np.testing.assert_array_equal(scores(name, again), scores(name, model))
