"""Files that earlier code wrote in earlier versions of the format load and answer as before."""

import sys
from pathlib import Path

import pytest
import recorded

import fastar
from fastar import callbacks

FOLDER = Path(__file__).parent / "data"
FORMATS = ["format_1", "format_2"]
NAMES = sorted(
    f"{name}/{path.stem}" for name in FORMATS for path in FOLDER.glob(f"{name}/*.fastar")
)
RANDOM = {"sample", "impute", "log_marginal", "transform"}
# What had parameters for every feature as the widest one has: a fit begins with other ones since.
PADDED = {
    "deep_nade_polars",
    "imputer_pandas",
    "made_pandas",
    "nade_conditionals",
    "nade_context_frame",
    "nade_distribution_dict",
    "nade_distribution_places",
    "nade_pandas",
    "nade_polars",
    "pixel_rnn",
    "pixel_rnn_channels",
    "pixel_rnn_context",
    "pixel_rnn_lstm",
    "rnn",
    "rnn_context",
    "rnn_fixed_length",
    "rnn_nade",
}
PADDED = {f"format_1/{name}" for name in PADDED}
# What a fit learns otherwise since: levels that it does not see have a probability by default,
# whole floats are levels, and the densities that tools choose are trained in another way.
OTHER_FITS = {
    "classifier_shared",
    "detector",
    "detector_pandas",
    "imputer_mixture",
    "made_unlimited",
    "mixture_pandas",
    "nade_objects",
}
OTHER_FITS = {f"format_1/{name}" for name in OTHER_FITS} | PADDED
# What is answered otherwise since: in rows with gaps a missing value counts as a usual one; best
# guesses of categories are the most probable ones, not the most frequent of some draws.
IMPUTERS = {"format_1/imputer", "format_2/imputer"}
# The p-value of a row that is as probable as another one is decided by the last bit.
OTHER_ANSWERS = {"format_1/detector_pandas", "format_2/detector"} | IMPUTERS
OTHER_FITS |= IMPUTERS


def differences(name):
    """Return what a loaded model answers otherwise than the saved one, before and after a fit."""
    kept, model = recorded.read(FOLDER / f"{name}.json"), fastar.load(FOLDER / f"{name}.fastar")
    found = [] if name in OTHER_ANSWERS else compare(model, kept, "answers", name)
    refits = "answers_after_fit" in kept and name not in OTHER_FITS
    if refits and kept["platform"] == recorded.PLATFORM:
        # a fit asks for all parameters, among them what scoring does not
        recorded.fit(model, decoded(kept["inputs"]))
        found += compare(model, kept, "answers_after_fit", name)
    return found


def decoded(inputs):
    return {key: recorded.decode(value) for key, value in inputs.items()}


def compare(model, kept, answers, name):
    exact = kept["platform"] == recorded.PLATFORM
    # kernels sum and take logarithms in another order since: scores differ in their last bits
    rtol = 1e-6 if exact else 1e-5
    other = {*([] if exact else RANDOM), *(["n_parameters_"] if name in PADDED else [])}
    pairs = zip(
        kept["questions"],
        recorded.ask(model, decoded(kept["inputs"]), kept["questions"]),
        kept[answers],
        strict=True,
    )
    found = [
        (f"{answers}: {question[0]}", recorded.difference(actual, answer, rtol))
        for question, actual, answer in pairs
        if question[0] not in other
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
    return recorded.run_pinned("test_formats", "all_differences")


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_an_earlier_format_loads_to_the_same_answers(name, loaded):
    found, _ = loaded[name]
    assert not found


def test_every_class_that_can_be_saved_has_a_file(loaded):
    savable = {name for name in fastar.__all__ if hasattr(getattr(fastar, name), "save")}
    newer = {"AutoDensity"}  # no file of an earlier format holds one
    assert {kind for _, kind in loaded.values()} == savable - newer


@pytest.mark.parametrize(
    ("folder", "checkpoints"),
    [("format_1", {"checkpoint.ckpt"}), ("format_2", {"checkpoint.ckpt", "padded.ckpt"})],
)
def test_every_file_has_its_answers(folder, checkpoints):
    names = {path.stem for path in (FOLDER / folder).glob("*.fastar")}
    assert names
    assert {path.stem for path in (FOLDER / folder).glob("*.json")} == names | checkpoints


#: Defaults of training when the checkpoints were written.
EARLIER = {"learning_rate": "constant", "alpha": 0.0}


def go_on(checkpoint, folder):
    """Return what a fit that goes on from a copy of a checkpoint answers otherwise."""
    kept, path = recorded.read(FOLDER / f"{checkpoint}.json"), Path(folder) / "state"
    path.write_bytes((FOLDER / checkpoint).read_bytes())
    model = fastar.NADE(**EARLIER | kept["parameters"], callbacks=[callbacks.Checkpoint(path)])
    recorded.fit(model, decoded(kept["inputs"]))
    return compare(model, kept, "answers", checkpoint)


def test_a_fit_goes_on_from_a_checkpoint_of_an_earlier_format(tmp_path):
    assert not recorded.run_pinned(
        "test_formats", "go_on", "format_2/checkpoint.ckpt", str(tmp_path)
    )


def test_a_checkpoint_that_does_not_tell_its_data_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"written by an early fastar .* remove the file"):
        go_on("format_1/checkpoint.ckpt", tmp_path)


def test_a_checkpoint_of_parameters_with_padding_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"columns had as many parameters .* Remove the file"):
        go_on("format_2/padded.ckpt", tmp_path)


def test_a_changed_bit_is_found():
    kept = recorded.read(FOLDER / "format_1/nade.json")["answers"][0]
    changed = {**kept, "array": [*kept["array"]]}
    changed["array"][3] *= 1 + sys.float_info.epsilon
    assert recorded.difference(changed, kept)
    assert recorded.difference(kept, kept) is None
