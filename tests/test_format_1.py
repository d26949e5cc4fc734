"""Files that earlier code wrote in version 1 of the format load to the same bits."""

import sys
from pathlib import Path

import pytest
import recorded

import fastar
from fastar import callbacks

FOLDER = Path(__file__).parent / "data" / "format_1"
NAMES = sorted(path.stem for path in FOLDER.glob("*.fastar"))
RANDOM = {"sample", "impute", "log_marginal", "transform"}
# What a fit learns otherwise since: levels that it does not see have a probability by default.
OTHER_FITS = {
    "classifier_shared",
    "deep_nade_polars",
    "detector_pandas",
    "made_pandas",
    "made_unlimited",
    "mixture_pandas",
    "nade_objects",
    "nade_pandas",
    "nade_polars",
    "rnn",
    "rnn_context",
    "rnn_fixed_length",
}
# What is answered otherwise since: in rows with gaps a missing value counts as a usual one.
OTHER_ANSWERS = {"detector_pandas"}


def differences(name):
    """Return what a loaded model answers otherwise than the saved one, before and after a fit."""
    kept, model = recorded.read(FOLDER / f"{name}.json"), fastar.load(FOLDER / f"{name}.fastar")
    found = [] if name in OTHER_ANSWERS else compare(model, kept, "answers")
    if kept["platform"] == recorded.PLATFORM and name not in OTHER_FITS:
        # a fit asks for all parameters, among them what scoring does not
        recorded.fit(model, decoded(kept["inputs"]))
        found += compare(model, kept, "answers_after_fit")
    return found


def decoded(inputs):
    return {key: recorded.decode(value) for key, value in inputs.items()}


def compare(model, kept, answers):
    exact = kept["platform"] == recorded.PLATFORM
    pairs = zip(
        kept["questions"],
        recorded.ask(model, decoded(kept["inputs"]), kept["questions"]),
        kept[answers],
        strict=True,
    )
    found = [
        (f"{answers}: {question[0]}", recorded.difference(actual, answer, 0 if exact else 1e-5))
        for question, actual, answer in pairs
        if exact or question[0] not in RANDOM
    ]
    return [name + difference for name, difference in found if difference]


def all_differences():
    """Return the differences by the name of the file, and the class of what it held."""
    return {
        name: [differences(name), type(fastar.load(FOLDER / f"{name}.fastar")).__name__]
        for name in NAMES
    }


@pytest.fixture(scope="module")
def loaded():
    return recorded.run_pinned("test_format_1", "all_differences")


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_format_1_loads_to_the_same_bits(name, loaded):
    found, _ = loaded[name]
    assert not found


def test_every_class_that_can_be_saved_has_a_file(loaded):
    savable = {name for name in fastar.__all__ if hasattr(getattr(fastar, name), "save")}
    assert {kind for _, kind in loaded.values()} == savable


def test_every_file_has_its_answers():
    assert NAMES
    assert {path.stem for path in FOLDER.glob("*.json")} == {*NAMES, "checkpoint.ckpt"}


def test_a_checkpoint_that_does_not_tell_its_data_is_refused(tmp_path):
    kept, path = recorded.read(FOLDER / "checkpoint.ckpt.json"), tmp_path / "checkpoint"
    path.write_bytes((FOLDER / "checkpoint.ckpt").read_bytes())
    model = fastar.NADE(**kept["parameters"], callbacks=[callbacks.Checkpoint(path)])
    with pytest.raises(ValueError, match=r"written by an early fastar .* remove the file"):
        recorded.fit(model, decoded(kept["inputs"]))


def test_a_changed_bit_is_found():
    kept = recorded.read(FOLDER / "nade.json")["answers"][0]
    changed = {**kept, "array": [*kept["array"]]}
    changed["array"][3] *= 1 + sys.float_info.epsilon
    assert recorded.difference(changed, kept)
    assert recorded.difference(kept, kept) is None
