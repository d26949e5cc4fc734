"""On few rows NADE trains alternatives, too, and held-out rows choose."""

from dataclasses import replace

import numpy as np
import pytest
from common import assert_same_bits, correlated
from sklearn.exceptions import ConvergenceWarning

from fastar import NADE, load
from fastar._core.files import read_arrays
from fastar._engine.training import Training
from fastar.callbacks import Callback, Checkpoint
from fastar.models import nade

pytestmark = pytest.mark.kernels

QUICK = {"n_hidden": 64, "max_iter": 15, "random_state": 0}


def start_also(monkeypatch, theta):
    """Let the one alternative of NADE start from what a function gives of the model, if any."""

    def alternatives(self, model, start, n_rows, rng):
        other = theta(model)
        return [] if other is None else [replace(model, theta=other)]

    monkeypatch.setattr(NADE, "_alternatives", alternatives)


def test_held_out_rows_choose_between_the_starts(monkeypatch):
    """Of strongly correlated columns the regressions win, and their curves stay."""
    X, _ = correlated(400)
    both = NADE(**QUICK).fit(X)
    start_also(monkeypatch, lambda model: None)
    constant = NADE(**QUICK).fit(X)
    assert min(both.validation_curve_) < min(constant.validation_curve_) - 0.5
    assert len(both.validation_curve_) == both.n_iter_


def test_a_worse_start_changes_nothing(monkeypatch):
    """The fit is the one that would have been, and callbacks see that one alone."""
    X, _ = correlated(400)
    epochs = []

    class Watch:
        def on_epoch_end(self, training):
            epochs.append(training.progress.epoch)

    start_also(monkeypatch, lambda model: None)
    alone = NADE(**QUICK).fit(X)
    start_also(monkeypatch, lambda model: model.theta + np.float32(3))
    beside = NADE(**QUICK, callbacks=[Watch()]).fit(X)
    assert_same_bits(beside.theta_, alone.theta_)
    assert beside.validation_curve_ == alone.validation_curve_
    assert epochs == list(range(1, alone.n_iter_ + 1))


def test_a_start_that_diverges_changes_nothing(monkeypatch):
    """Parameters of no density are as good as none."""
    X, _ = correlated(400)
    start_also(monkeypatch, lambda model: None)
    alone = NADE(**QUICK).fit(X)
    start_also(monkeypatch, lambda model: np.full_like(model.theta, np.nan))
    assert_same_bits(NADE(**QUICK).fit(X).theta_, alone.theta_)


@pytest.mark.parametrize("is_smooth", [False, True])
def test_the_network_that_stays_is_the_fitted_one(is_smooth, monkeypatch, tmp_path):
    """A sigmoid, where relu starts badly: in files and warm starts, too."""
    X, _ = correlated(400)
    if is_smooth:
        shift = np.float32(3)
        monkeypatch.setattr(
            NADE, "_adjust_start", lambda self, model, n: model.theta.__iadd__(shift)
        )
        monkeypatch.setattr(nade, "linear_start", lambda *start: None)
    model = NADE(**QUICK).fit(X)
    assert model.activation_ == model.network_.activation == ("sigmoid" if is_smooth else "relu")
    assert len(model.validation_curve_) == model.n_iter_
    model.save(tmp_path / "model.fastar")
    again = load(tmp_path / "model.fastar")
    assert again.activation_ == model.activation_
    assert_same_bits(again.score_samples(X), model.score_samples(X))
    before = model.score(X)
    assert model.set_params(warm_start=True).fit(X).score(X) > before - 1


@pytest.mark.parametrize("n_epochs", [2, 20])
def test_an_interruption_of_an_alternative_ends_the_fit(n_epochs, monkeypatch):
    """Ctrl-C keeps the best that there is, and begins nothing."""
    X, _ = correlated(400)
    epoch, calls = Training.epoch, []

    def interrupted(training):
        calls.append(training.progress.epoch)
        if len(calls) > n_epochs:
            raise KeyboardInterrupt
        epoch(training)

    monkeypatch.setattr(Training, "epoch", interrupted)
    with pytest.warns(ConvergenceWarning) as warned:
        model = NADE(**QUICK).fit(X)
    assert f"interrupted in epoch {calls[-1] + 1}" in str(warned[-1].message)
    assert len(calls) == n_epochs + 1
    assert model.n_iter_ == min(n_epochs, QUICK["max_iter"])  # the first alternative is the better


def test_a_callback_ends_the_alternatives_alone(monkeypatch):
    """The fit itself is as long as it would have been."""
    X, _ = correlated(400)
    seen = []

    class Limit(Callback):
        def on_alternative_begin(self, training):
            seen.append("begin")

        def on_alternative_epoch_end(self, training):
            seen.append(training.progress.epoch)
            return training.progress.epoch == 2

        def on_epoch_end(self, training):
            seen.append("epoch")

    NADE(**QUICK, callbacks=[Limit()]).fit(X)
    assert seen == ["begin", 1, 2] + ["epoch"] * QUICK["max_iter"]


class Stop(Callback):
    """Ends a fit after some epochs."""

    def on_epoch_end(self, training):
        return training.progress.epoch == 3


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("shift", [None, 3], ids=["regressions win", "constants win"])
def test_checkpoints_resume_whichever_start_wins(shift, monkeypatch, tmp_path):
    """An interrupted fit ends as one that was not, and a warm start trains what it ended with."""
    X, _ = correlated(400)
    if shift is not None:
        start_also(monkeypatch, lambda model: model.theta + np.float32(shift))
    settings = {**QUICK, "max_iter": 8}
    whole = NADE(**settings).fit(X)
    path = tmp_path / "state"
    NADE(**settings, callbacks=[Checkpoint(path), Stop()]).fit(X)
    resumed = NADE(**settings, callbacks=[Checkpoint(path)]).fit(X)
    assert_same_bits(resumed.theta_, whole.theta_)
    assert resumed.validation_curve_ == whole.validation_curve_
    _, arrays = read_arrays(path, "checkpoint")
    assert np.array_equal(arrays["best_theta"], whole.theta_) == (shift is not None)
    resumed.set_params(warm_start=True).fit(X)
    assert_same_bits(resumed.theta_, whole.set_params(warm_start=True).fit(X).theta_)


def test_without_held_out_rows_training_starts_constant(monkeypatch):
    """Nothing can choose then."""
    X, _ = correlated(400)
    given = []
    start_also(monkeypatch, given.append)
    NADE(**QUICK, early_stopping=False).fit(X)
    assert not given


def test_any_number_of_threads_gives_the_same_bits():
    """Regressions add in one order."""
    X, _ = correlated(400)
    one, two = (NADE(**QUICK, n_jobs=n).fit(X) for n in (1, 2))
    assert_same_bits(one.theta_, two.theta_)
