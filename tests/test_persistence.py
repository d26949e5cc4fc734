"""Files of models: whole or not at all, without code, refused when damaged."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from common import (
    COMPOSITIONS,
    DATA,
    MODELS,
    ORDERS,
    assert_same,
    assert_same_bits,
    bits,
    fit,
    fitted,
    make,
    run_python,
)
from damaged_files import resign
from safetensors import safe_open
from safetensors.numpy import save_file
from sklearn.exceptions import NotFittedError
from sklearn.mixture import GaussianMixture

import fastar
from fastar import Mixture, callbacks, conditionals, models, optimizers, persistence, schedules
from fastar._core import files

every_model = pytest.mark.parametrize("name", MODELS)


@pytest.mark.parametrize(
    ("order", "dtype"),
    [("natural", "float32"), ("random", "float64"), ("reversed", "float32"), ("a list", "float32")],
)
@pytest.mark.parametrize(("name", "conditional"), COMPOSITIONS)
def test_a_loaded_model_is_the_saved_one(name, conditional, order, dtype, tmp_path):
    model, X = fitted(name, conditional, order=ORDERS[order](5), markov_order=3, dtype=dtype)
    model.save(tmp_path / "model.fastar")
    again = fastar.load(tmp_path / "model.fastar")
    assert type(again) is type(model)
    for method in ("score_samples", "score_features"):
        assert_same_bits(getattr(again, method)(X), getattr(model, method)(X))
    assert_same(again.conditionals(X), model.conditionals(X))
    drawn = model.sample(20, random_state=1)
    assert_same_bits(again.sample(20, random_state=1), drawn)
    assert_same(again.params_, model.params_)
    assert_same_bits(again.order_, model.order_)
    for attribute in ("n_features_in_", "n_parameters_", "n_iter_", "best_iter_"):
        assert getattr(again, attribute) == getattr(model, attribute)
    assert again.loss_curve_ == model.loss_curve_
    assert again.validation_curve_ == model.validation_curve_
    assert repr(again.distribution_) == repr(model.distribution_)
    if order == "natural":
        assert repr(again.get_params()) == repr(model.get_params())
    assert_same_bits(fit(again, X).theta_, fit(model, X).theta_)


@every_model
def test_objects_among_the_parameters_are_saved_too(name, tmp_path):
    model = make(
        name,
        distribution=conditionals.Gaussian(0.01),
        solver=optimizers.SGD(momentum=0.5, nesterov=False),
        learning_rate=schedules.InverseScaling(0.1, 0.7),
        callbacks=[callbacks.History()],
        random_state=np.random.RandomState(0),
        dtype=np.float64,
    )
    fit(model, DATA["gaussian"](40, 3)).save(tmp_path / "model")
    again = fastar.load(tmp_path / "model")
    assert again.distribution.variance_floor == 0.01
    assert again.solver == model.solver
    assert again.learning_rate == model.learning_rate
    assert again.callbacks is None
    assert again.random_state is None
    assert again.theta_.dtype == np.float64


@every_model
def test_numpys_numbers_among_the_parameters_are_saved_as_pythons(name, tmp_path):
    # a grid search over an array hands them out
    plain = make(name, markov_order=2, alpha=0.5, early_stopping=False)
    own = plain.get_params()
    numpys = {
        key: type(value)(map(np.int64, value)) if isinstance(value, tuple) else np.array(value)[()]
        for key, value in own.items()
        if isinstance(value, bool | int | float | tuple)
    }
    X = bits(40, 5)
    model = fit(make(name, **numpys), X)
    assert model.network_ == fit(plain, X).network_
    model.save(tmp_path / "model")
    again = fastar.load(tmp_path / "model")
    assert again.get_params() == own
    assert {key: type(value) for key, value in again.get_params().items()} == {
        key: type(value) for key, value in own.items()
    }
    assert again.network_ == model.network_
    assert_same_bits(again.score_samples(X), model.score_samples(X))


@every_model
def test_feature_names_and_frames_survive(name, tmp_path):
    X = pd.DataFrame(bits(40, 3), columns=["a", "b", "c"])
    model = fit(make(name), X)
    model.save(str(tmp_path / "model"))
    again = fastar.load(str(tmp_path / "model"))
    assert again.feature_names_in_.tolist() == ["a", "b", "c"]
    pd.testing.assert_frame_equal(again.sample(5, random_state=0), model.sample(5, random_state=0))
    with pytest.raises(ValueError, match="feature names"):
        again.score(X[["c", "b", "a"]])


@every_model
def test_a_loaded_model_continues_with_partial_fit_and_warm_start(name, tmp_path):
    model, X = fitted(name, warm_start=True)
    model.save(tmp_path / "model")
    again = fastar.load(tmp_path / "model")
    assert_same_bits(fit(again, X).theta_, fit(model, X).theta_)
    before = again.theta_.copy()
    again.set_params(learning_rate_init=1e-9).partial_fit(X)
    np.testing.assert_allclose(again.theta_, before, atol=1e-6)


def test_a_process_that_only_loads_gets_the_same_bits(tmp_path):
    expected = {}
    for name in MODELS:
        model, X = fitted(name)
        model.save(tmp_path / name)
        expected[name] = model.score(X).hex()
    np.save(tmp_path / "X.npy", X)
    code = f"""
import os, fastar, numpy as np
os.chdir({str(tmp_path)!r})
for name in {MODELS}:
    print(name, fastar.load(name).score(np.load("X.npy")).hex())
"""
    assert dict(line.split() for line in run_python(code).splitlines()) == expected


@every_model
def test_saving_replaces_the_old_file(name, tmp_path):
    first, _ = fitted(name)
    second, _ = fitted(name, random_state=1)
    first.save(tmp_path / "model")
    second.save(tmp_path / "model")
    assert_same_bits(fastar.load(tmp_path / "model").theta_, second.theta_)
    assert os.listdir(tmp_path) == ["model"]


@pytest.mark.parametrize("function", ["replace", "fsync"])
@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_a_crash_while_saving_leaves_the_old_file_and_no_other(
    monkeypatch, tmp_path, function, error
):
    model, _ = fitted()
    model.save(tmp_path / "model")
    before = (tmp_path / "model").read_bytes()

    def crash(*arguments):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(os, function, crash)
        with pytest.raises(type(error)):
            fitted(random_state=1)[0].save(tmp_path / "model")
    assert (tmp_path / "model").read_bytes() == before
    assert os.listdir(tmp_path) == ["model"]


def test_permissions_follow_the_umask(tmp_path):
    mask = os.umask(0o027)
    try:
        fitted()[0].save(tmp_path / "model")
    finally:
        os.umask(mask)
    assert (tmp_path / "model").stat().st_mode & 0o777 == 0o640


def test_a_link_stays_one_and_what_it_leads_to_is_written(tmp_path):
    (tmp_path / "models").mkdir()
    os.symlink("models/first", tmp_path / "model")
    for seed in (0, 1):  # the first write makes what the link leads to
        model, _ = fitted(random_state=seed)
        model.save(tmp_path / "model")
        assert os.readlink(tmp_path / "model") == "models/first"
        assert_same_bits(fastar.load(tmp_path / "models" / "first").theta_, model.theta_)
    assert os.listdir(tmp_path / "models") == ["first"]


def test_the_remains_of_killed_saves_of_the_same_path_are_removed(tmp_path):
    kept = ["model.0a1b2c3d.tmp", "other.0a1b2c3d.tmp", "model.notes.tmp", "model"]
    for name in ["model.99999999.tmp", *kept[:3]]:
        (tmp_path / name).write_bytes(b"")
        os.utime(tmp_path / name, (0, 0))
    os.utime(tmp_path / kept[0])  # of a save that may be running
    fitted()[0].save(tmp_path / "model")
    assert sorted(os.listdir(tmp_path)) == sorted(kept)


def test_a_full_disk_names_the_file(tmp_path):
    code = f"""
import errno, os, resource, signal, sys
sys.path.insert(0, {os.path.dirname(__file__)!r})
from common import fitted
model, _ = fitted()
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
try:
    model.save({str(tmp_path / "model")!r})
except OSError as error:
    print(error.errno == errno.EFBIG, error.filename == {str(tmp_path / "model")!r})
"""
    assert run_python(code).split() == ["True", "True"]
    assert not os.listdir(tmp_path)


def test_a_file_that_may_not_be_read_says_so(monkeypatch, tmp_path):
    fitted()[0].save(tmp_path / "model")
    (tmp_path / "model").chmod(0)
    if os.geteuid() == 0:  # who may read everything
        real = open

        def closed(path, *arguments):
            if str(path) == str(tmp_path / "model"):
                raise PermissionError(13, "Permission denied", path)
            return real(path, *arguments)

        monkeypatch.setattr("builtins.open", closed)
    with pytest.raises(PermissionError, match=r"model"):
        fastar.load(tmp_path / "model")


# ---- files that are refused


@pytest.fixture
def saved(tmp_path):
    fitted()[0].save(tmp_path / "model")
    return tmp_path / "model"


def test_a_file_that_is_overwritten_after_loading_changes_no_model(tmp_path):
    model, X = fitted("NADE", "gaussian")
    path = tmp_path / "model"
    model.save(path)
    loaded, scores = fastar.load(path), model.score_samples(X)
    with open(path, "r+b") as file:  # a file that is mapped would end the process
        file.truncate(10)
    assert_same_bits(loaded.score_samples(X), scores)
    assert_same_bits(loaded.sample(5, random_state=0), model.sample(5, random_state=0))


def test_there_must_be_a_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"There is no file .*nothing"):
        fastar.load(tmp_path / "nothing")


@pytest.mark.parametrize("make_it", [os.mkdir, os.mkfifo])
def test_what_is_no_file_is_refused_at_once(make_it, tmp_path):
    make_it(tmp_path / "it")
    with pytest.raises(ValueError, match=r"it' must be a regular file"):
        fastar.load(tmp_path / "it")


@pytest.mark.parametrize("kept", [0, 1, 7, 8, 100, -1, -50])
def test_truncated_files_are_refused(saved, kept):
    saved.write_bytes(saved.read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"model' is damaged"):
        fastar.load(saved)


def test_a_changed_byte_anywhere_is_refused_or_changes_nothing(saved):
    whole = saved.read_bytes()
    theta = fastar.load(saved).theta_
    rng = np.random.default_rng(0)
    for place in [*range(0, 16), *rng.integers(16, len(whole), 150)]:
        spoilt = bytearray(whole)
        spoilt[place] ^= 1 << int(rng.integers(8))
        saved.write_bytes(spoilt)
        try:
            again = fastar.load(saved)
        except ValueError as error:
            assert "model'" in str(error)  # noqa: PT017
        else:
            assert_same_bits(again.theta_, theta)


@pytest.mark.parametrize(
    "content", [b"", b"hello", bytes(1000), b"\x80\x04cos\nsystem\n", b"PK\x03\x04"]
)
def test_foreign_files_are_refused(tmp_path, content):
    (tmp_path / "model").write_bytes(content)
    with pytest.raises(ValueError, match="damaged or not a fastar file"):
        fastar.load(tmp_path / "model")


def rewrite(path, **changes):
    """Write the file again with other metadata, its checksum left as it was."""
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata() | changes
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(arrays, path, metadata)


def test_other_safetensors_files_are_refused(tmp_path):
    save_file({"a": np.zeros(3)}, tmp_path / "model")
    with pytest.raises(ValueError, match=r"must be a fastar model\. Got None instead"):
        fastar.load(tmp_path / "model")


def test_a_checkpoint_is_no_model(tmp_path):
    fit(make(callbacks=[callbacks.Checkpoint(tmp_path / "state")]), bits(30, 3))
    with pytest.raises(ValueError, match=r"must be a fastar model\. Got 'checkpoint' instead"):
        fastar.load(tmp_path / "state")


def test_other_versions_are_refused(saved):
    rewrite(saved, version="999")
    with pytest.raises(ValueError, match="has format version 999; this fastar reads"):
        fastar.load(saved)


def test_a_changed_header_is_refused(saved):
    with safe_open(saved, framework="numpy") as file:
        header = json.loads(file.metadata()["header"])
    header["n_features"] = 6
    rewrite(saved, header=json.dumps(header))
    with pytest.raises(ValueError, match="checksum does not fit"):
        fastar.load(saved)


def test_an_unknown_class_is_refused_and_no_code_runs(saved, monkeypatch):
    monkeypatch.delitem(persistence.Persistent._classes, "NADE")
    with pytest.raises(ValueError, match="Got 'NADE', which this fastar does not know"):
        fastar.load(saved)


def test_a_class_of_a_users_own_does_not_take_the_place_of_ours(saved, tmp_path):
    class NADE(fastar.NADE):
        pass

    with pytest.raises(ValueError, match="none of the library's own"):
        fit(NADE(max_iter=1), bits(30, 3)).save(tmp_path / "other")
    assert type(fastar.load(saved)) is fastar.NADE


def test_a_file_of_an_older_version_goes_through_every_step_to_the_present_one(saved, monkeypatch):
    def second(header, arrays):
        return header | {"seen": [2]}, arrays

    def third(header, arrays):
        assert header.pop("seen") == [2]
        return header, arrays | {"theta": arrays["theta"] + 1}

    before = fastar.load(saved).theta_
    rewrite(saved, version="1")
    monkeypatch.setattr(files, "FORMAT_VERSION", 3)
    monkeypatch.setattr(persistence, "_STEPS", {1: second, 2: third})
    assert_same_bits(fastar.load(saved).theta_, before + 1)


def test_everything_that_can_be_saved_is_known_by_its_class():
    known = set(persistence.Persistent._classes)
    tools = {"DensityOutlierDetector", "DensityImputer", "GenerativeClassifier"}
    assert known == set(models.BY_NAME) | tools


WRONG = {
    "network.dtype": lambda header, arrays: header["network"].update(dtype="object"),
    "network.dtype must be float32": lambda h, a: h["network"].update(dtype="float64"),
    "network.n_hidden": lambda header, arrays: header["network"].update(n_hidden=10**8),
    "network.n_masks is no entry": lambda header, arrays: header["network"].update(n_masks=2),
    "network must be among": lambda header, arrays: header.pop("network"),
    "n_features": lambda header, arrays: header.update(n_features="5"),
    "parameters.max_iters is no parameter": lambda h, a: h["parameters"].update(max_iters=3),
    "parameters is refused: The 'tol'": lambda h, a: h["parameters"].update(tol=-1),
    "distribution.n_levels must hold": lambda h, a: a["distribution.n_levels"].fill(0),
    "distribution.levels must be as many": lambda h, a: a["distribution.n_levels"].fill(9),
    "distribution.levels must be sorted": lambda h, a: a["distribution.levels"].sort(),
    "distribution.cardinality": lambda h, a: h["distribution"].update(cardinality=0),
    "distribution.levels must be 0 to 8": lambda h, a: h["distribution"].update(cardinality=9),
    "order must be a permutation": lambda header, arrays: arrays["order"].fill(0),
    "theta must hold finite": lambda header, arrays: arrays["theta"].fill(np.nan),
    "theta must be": lambda header, arrays: arrays.update(theta=arrays["theta"][:-1]),
    "extra is no array": lambda header, arrays: arrays.update(extra=arrays["theta"]),
    "distribution.more is no array": lambda h, a: a.update({"distribution.more": a["theta"]}),
}


@pytest.mark.parametrize("entry", WRONG)
def test_what_contradicts_itself_is_refused_by_the_name_of_the_entry(entry, tmp_path):
    fitted(conditional="categorical")[0].save(tmp_path / "model")
    resign(tmp_path / "model", WRONG[entry])
    with pytest.raises(ValueError, match=rf"model' is damaged: {re.escape(entry)}"):
        fastar.load(tmp_path / "model")


@pytest.mark.parametrize("depth", [70, 10_000])
def test_what_is_nested_too_deep_is_neither_written_nor_read(depth, saved, monkeypatch):
    header, arrays = files.read_arrays(str(saved), "model")
    header["container"] = "deep"
    inner = "[" * depth + "]" * depth
    text = json.dumps(header).replace('"deep"', inner)
    with monkeypatch.context() as patch:
        patch.setattr(files, "_depth", lambda text: 1)
        patch.setattr(json, "dumps", lambda *arguments, **settings: text)
        files.write_arrays(str(saved), "model", header, arrays)
    with pytest.raises(ValueError, match="nested 64 deep at most"):
        fastar.load(saved)
    with monkeypatch.context() as patch:
        patch.setattr(json, "dumps", lambda *arguments, **settings: text)
        with pytest.raises(ValueError, match="nested 64 deep at most"):
            files.write_arrays(str(saved), "model", header, arrays)


def test_damaged_files_of_every_class_are_refused_by_name_or_load_for_use():
    # in processes of their own: what a wrong size does to a kernel ends the process
    program = [sys.executable, "damaged_files.py"]
    children = [
        subprocess.Popen(
            [*program, str(seed), "1000"],
            cwd=os.path.dirname(__file__),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for seed in (0, 1)
    ]
    for child in children:
        found, steps = child.communicate(timeout=300)
        assert child.returncode == 0, found + steps[-2000:]


# ---- tools over densities


CLASSIFIERS = {
    "a density a class": {"density": make()},
    "one for all classes": {"density": make("MADE"), "shared": True},
    "mixtures": {"density": Mixture([make(max_iter=3), make("FVSBN")])},
    "that abstains": {"density": make("RNADE"), "abstention": 0.1},
    "by default": {},
}


@pytest.mark.parametrize("labels", [["a", "b", "a longer name"], [3, 1, 2**60 + 1]], ids=str)
@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_a_loaded_classifier_is_the_saved_one(kind, labels, tmp_path):
    X = pd.DataFrame(bits(90, 4), columns=list("abcd"))
    y = np.array(labels)[np.arange(90) % 3]
    tool = fastar.GenerativeClassifier(**CLASSIFIERS[kind], random_state=0)
    fit(tool, X, y=y).save(tmp_path / "tool")
    again = fastar.load(tmp_path / "tool")
    assert repr(again) == repr(tool)
    assert_same(vars(again)["classes_"], tool.classes_)
    assert_same_bits(again.predict_log_proba(X), tool.predict_log_proba(X))
    assert_same_bits(again.abstains(X), tool.abstains(X))
    assert_same_bits(fit(again, X, y=y).predict_log_proba(X), tool.predict_log_proba(X))


def test_a_classifier_over_an_object_array_of_labels_has_a_file(tmp_path):
    X, y = bits(40, 3), np.array(["no", "yes"] * 20, object)
    tool = fit(fastar.GenerativeClassifier(make(), random_state=0), X, y=y)
    tool.save(tmp_path / "tool")
    assert_same_bits(fastar.load(tmp_path / "tool").predict(X), tool.predict(X))


@pytest.mark.parametrize(
    "statistic", ["standardised", "likelihood", "typicality", "likelihood_ratio"]
)
@pytest.mark.parametrize(
    "density", [None, make(order="random"), Mixture([make(max_iter=3), make("FVSBN")])]
)
def test_a_loaded_detector_is_the_saved_one(density, statistic, tmp_path):
    X = pd.DataFrame(bits(60, 4), columns=list("abcd"))
    tool = fastar.DensityOutlierDetector(
        density, statistic=statistic, background=make("FVSBN"), random_state=0
    )
    fit(tool, X).save(tmp_path / "tool")
    again = fastar.load(tmp_path / "tool")
    assert repr(again) == repr(tool)
    assert_same_bits(again.p_values(X), tool.p_values(X))
    assert_same_bits(again.decision_function(X), tool.decision_function(X))
    pd.testing.assert_frame_equal(again.explain(X), tool.explain(X))
    assert_same_bits(fit(again, X).p_values(X), tool.p_values(X))


@pytest.mark.parametrize("strategy", ["estimate", "draw"])
def test_a_loaded_imputer_is_the_saved_one(strategy, tmp_path):
    X = DATA["mixed"](80, 4)
    X[::3, 1] = np.nan
    density = make(distribution=["bernoulli", "gaussian", "laplace", "categorical"])
    tool = fastar.DensityImputer(density, strategy=strategy, random_state=0)
    fit(tool.set_output(transform="pandas"), X).save(tmp_path / "tool")
    again = fastar.load(tmp_path / "tool")
    pd.testing.assert_frame_equal(again.transform(X), tool.transform(X))
    assert repr(again) == repr(tool)


@pytest.mark.parametrize(
    "tool",
    [
        *(fastar.DensityOutlierDetector(statistic=each) for each in ("typicality", "standardised")),
        fastar.DensityImputer(strategy="draw"),
        *(fastar.GenerativeClassifier(shared=each) for each in (False, True)),
    ],
    ids=str,
)
def test_columns_named_like_what_files_hold_are_columns(tool, tmp_path):
    """Parameters, attributes and entries of files are no columns, whatever these are called."""
    tool.set_params(density=make(max_iter=3), random_state=0)
    held = ["theta", "parameters", "own.offset_", "density_.theta", "densities.density_", "order"]
    names = [*tool.get_params(deep=False), "classes_", "offset_", "feature_names_in_", *held]
    rng = np.random.default_rng(0)
    values = [rng.normal(size=60), rng.choice(["u", "v"], 60)]
    frame = pd.DataFrame({name: values[k % 2] for k, name in enumerate(names)})
    fit(tool, frame, y=rng.integers(0, 2, 60))
    tool.save(tmp_path / "tool")
    again = fastar.load(tmp_path / "tool")
    assert again.feature_names_in_.tolist() == names
    assert repr(again.get_params()) == repr(tool.get_params())
    if isinstance(tool, fastar.DensityImputer):
        pd.testing.assert_frame_equal(again.transform(frame), tool.transform(frame))
    else:
        assert_same_bits(again.score_samples(frame), tool.score_samples(frame))


def test_a_tool_over_a_foreign_density_has_no_file(tmp_path):
    tool = fastar.DensityOutlierDetector(GaussianMixture()).fit(DATA["gaussian"](40, 2))
    with pytest.raises(ValueError, match="GaussianMixture"):
        tool.save(tmp_path / "tool")
    with pytest.raises(NotFittedError):
        fastar.DensityImputer().save(tmp_path / "tool")
    assert not list(tmp_path.iterdir())
