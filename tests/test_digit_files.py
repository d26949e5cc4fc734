"""Files of models with columns of two digits."""

import re

import pytest
from common import assert_same_bits
from damaged_files import REFUSED, resign
from many_levels import every_model, shaken, words

import fastar

pytestmark = [pytest.mark.kernels, pytest.mark.usefixtures("threads_for_small_work")]


@every_model
def test_a_saved_model_is_the_same(kind, tmp_path):
    X = words(gaps=[0])
    model = shaken(kind, X, unknown="other", missing="marked")
    model.save(tmp_path / "model")
    again = fastar.load(tmp_path / "model")
    assert repr(again.distribution_) == repr(model.distribution_)
    assert_same_bits(again.score_samples(X), model.score_samples(X))
    assert_same_bits(again.sample(50, random_state=0), model.sample(50, random_state=0))
    assert_same_bits(again.output_offsets_, model.output_offsets_)


def swap(array, a, b):
    array[[a, b]] = array[[b, a]]


WRONG = {
    "distribution.number must have 0 .. n_levels - 1": lambda a: a["distribution.number"].fill(0),
    "distribution.number must be as many": lambda a: a.update(
        {"distribution.number": a["distribution.number"][:-1]}
    ),
    "distribution.number": lambda a: a["distribution.number"].__setitem__(0, -1),
    "distribution.number must": lambda a: swap(a["distribution.number"], 0, 24),
    "distribution.base must be at most n_levels": lambda a: a["distribution.base"].fill(30),
    "distribution.base": lambda a: a["distribution.base"].fill(-1),
    "distribution.base must be": lambda a: a.update(
        {"distribution.base": a["distribution.base"][:2]}
    ),
    "distribution": lambda a: a.pop("distribution.base"),
    "theta": lambda a: a["distribution.base"].fill(0),
}


@pytest.mark.parametrize("entry", WRONG)
def test_damaged_digits_are_refused_by_name(entry, tmp_path):
    shaken(unknown="other").save(tmp_path / "model")
    resign(tmp_path / "model", lambda header, arrays: WRONG[entry](arrays))
    with pytest.raises(ValueError, match=rf"model' is damaged: {re.escape(entry)}") as found:
        fastar.load(tmp_path / "model")
    assert REFUSED.match(str(found.value))
