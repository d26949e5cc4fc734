"""What every model learnt, scored and drew when golden.json was written, it still does.

The values are of the baseline instruction set in a process whose arithmetic is pinned (see
recorded.py). They are equal bit for bit where NumPy and the platform are those of the file.
Elsewhere NumPy's random streams may be others, and a rounding of `exp` in the last bit moves the
parameters a little and a sample perhaps to another value: there the curves of the loss, the
parameters and the scores agree to five digits, and samples are not compared.

Where features differ in width ("NADE mixed", "MADE mixed", "PixelRNN channels", "PixelRNN
recurrent", every "GenerativeRNN"), networks have no padding, so that fewer random numbers are drawn
before training than in versions that padded each feature to the widest. From a padded network's
initial weights and order of the rows, less the padding, training gives that network's own bits.
"""

import sys
from pathlib import Path

import pytest
import recorded

sys.path.append(str(Path(__file__).parent / "data"))

import make_golden

import fastar

KEPT = recorded.read(make_golden.PATH)
EXACT = KEPT.pop("platform") == recorded.PLATFORM
CASES = make_golden.cases()


@pytest.fixture(scope="module")
def values():
    return recorded.run_pinned("make_golden", "values")


@pytest.mark.parametrize("name", CASES)
def test_values_are_the_golden_ones(name, values):
    assert name in KEPT, "Add it: python tests/data/make_golden.py"
    expected = KEPT[name]
    assert values[name].keys() == expected.keys()
    for what in expected:
        if EXACT or what not in ("theta_", "samples"):
            tolerance = 0 if EXACT else 1e-5
            found = recorded.difference(values[name][what], expected[what], tolerance)
            assert not found, what + found


def test_every_model_has_golden_values():
    assert set(KEPT) == set(CASES)
    models = {name for name in fastar.__all__ if hasattr(getattr(fastar, name), "score")}
    models -= {"GenerativeClassifier"}  # its densities are among the others
    assert {type(estimator).__name__ for estimator, _ in CASES.values()} == models
