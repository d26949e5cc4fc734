"""What every estimator says before `fit`, and of callbacks that are none."""

import inspect

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

import fastar
from fastar import NADE
from fastar.models import BY_NAME

TOOLS = ("DensityImputer", "DensityOutlierDetector", "GenerativeClassifier")
MINIMAL = {"Mixture": {"estimator": NADE()}, "PixelRNN": {"image_shape": (1, 2)}}
X = np.array([[0, 1], [1, 0]] * 10)
ARGUMENTS = {"epsilon": 0.1, "evidence": {0: 1}, "y": X[:, 0], "mask": np.ones(2, bool)}


SETTINGS = ("_", "fit", "partial_fit", "set_", "get_metadata", "get_params", "load")


def methods():
    """Return (class, method) of all that needs a fitted estimator."""
    found = []
    for name in [*BY_NAME, *TOOLS]:
        cls = getattr(fastar, name)
        for each in dir(cls):
            static = inspect.getattr_static(cls, each)
            needs = callable(static) or hasattr(static, "__get__")
            parameters = inspect.signature(cls).parameters
            if needs and not each.startswith(SETTINGS) and each not in parameters:
                found.append((name, each))
    return found


@pytest.mark.parametrize(("name", "method"), methods())
def test_what_needs_fit_says_so(name, method, tmp_path):
    estimator = getattr(fastar, name)(**MINIMAL.get(name, {}))

    def ask():
        asked = getattr(estimator, method)
        given = ARGUMENTS | {"path": tmp_path / "model"}
        parameters = inspect.signature(asked).parameters.values()
        needed = [each.name for each in parameters if each.default is each.empty]
        asked(*(given.get(each, X) for each in needed))

    with pytest.raises(NotFittedError, match=f"This {name} instance is not fitted yet"):
        ask()


@pytest.mark.parametrize("odd", [1, fastar.callbacks.History, print, [lambda training: True]])
def test_what_is_no_callback_is_refused(odd):
    with pytest.raises(ValueError, match=r"'callbacks' parameter .*must"):
        NADE(callbacks=odd).fit(X)
