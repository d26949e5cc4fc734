"""Callbacks, checkpoints, Ctrl-C and divergence."""

import copy
import signal
import time
from concurrent.futures import CancelledError
from contextlib import suppress
from threading import Event

import numpy as np
import pytest
from common import (
    CONDITIONALS,
    DATA,
    MODELS,
    SCHEDULES,
    SOLVERS,
    assert_same,
    assert_same_bits,
    bits,
    distribution,
    fit,
    levels,
    make,
    reals,
    run_python,
    snapshot,
)
from sklearn.exceptions import ConvergenceWarning
from test_training import Stop, Watch

from fastar import DeepNADE, GenerativeRNN, Mixture, PixelRNN
from fastar._core import files, threads
from fastar._data import table
from fastar._engine import sampling, steps
from fastar.callbacks import Callback, Checkpoint, History, ProgressBar
from fastar.networks import Recurrent, SharedHidden, _recurrent_layers
from fastar.networks._recurrent_layers import RecurrentLayers

every_model = pytest.mark.parametrize("name", MODELS)
every_conditional = pytest.mark.parametrize("conditional", CONDITIONALS)


# ---- callbacks


@every_model
def test_history_keeps_a_record_of_every_epoch(name):
    history = History()
    model = fit(make(name, callbacks=[history], max_iter=5), bits(90, 3))
    assert [record["epoch"] for record in history.records] == [1, 2, 3, 4, 5]
    assert [record["loss"] for record in history.records] == model.loss_curve_
    assert [record["validation_loss"] for record in history.records] == model.validation_curve_
    assert {record["learning_rate"] for record in history.records} == {0.02}
    seconds = [record["seconds"] for record in history.records]
    assert seconds == sorted(seconds)
    fit(model.set_params(early_stopping=False, max_iter=2), bits(90, 3))
    assert [record["validation_loss"] for record in history.records] == [None, None]


@every_model
def test_verbose_shows_a_progress_bar_and_silence_is_the_default(name, capsys):
    fit(make(name, max_iter=3), bits(90, 3))
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""
    fit(make(name, max_iter=3, verbose=1), bits(90, 3))
    captured = capsys.readouterr()
    assert captured.out == ""
    for shown in ("3/3", "epoch", "train=", "valid=", "rows/s="):
        assert shown in captured.err
    fit(make(name, max_iter=3, callbacks=[ProgressBar()], early_stopping=False), bits(90, 3))
    assert "valid=" not in capsys.readouterr().err


@every_model
def test_a_callback_that_returns_true_stops_training_without_a_warning(name):
    model = make(name, callbacks=[Stop(3)], max_iter=50).fit(bits(90, 3))
    assert model.n_iter_ == 3


@every_model
def test_one_callback_needs_no_list_and_few_methods(name):
    class Few:
        epochs = 0

        def on_epoch_end(self, training):
            self.epochs += 1

    few = Few()
    fit(make(name, callbacks=few, max_iter=3), bits(90, 3))
    assert few.epochs == 3
    fit(make(name, callbacks=(Callback(), few), max_iter=2), bits(90, 3))
    assert few.epochs == 5


@every_model
def test_every_callback_is_called_each_epoch_and_at_the_end(name):
    class Record:
        def __init__(self):
            self.calls = []

        def on_fit_begin(self, training):
            self.calls.append("begin")

        def on_epoch_end(self, training):
            self.calls.append(training.progress.epoch)

        def on_fit_end(self, training):
            self.calls.append("end")

    record = Record()
    make(name, callbacks=[Stop(2), record], max_iter=5).fit(bits(90, 3))
    assert record.calls == ["begin", 1, 2, "end"]


# ---- checkpoints


RESUMED = [(solver, "adaptive", True, 4) for solver in SOLVERS]
RESUMED += [("sgd", schedule, False, 4) for schedule in SCHEDULES]
RESUMED += [
    ("adam", "cosine", early_stopping, k) for early_stopping in (True, False) for k in (1, 7)
]


@pytest.mark.parametrize(("solver", "schedule", "early_stopping", "stopped"), RESUMED)
@every_model
def test_a_resumed_fit_has_the_bits_of_an_uninterrupted_one(
    name, solver, schedule, early_stopping, stopped, tmp_path
):
    settings = {"solver": solver, "learning_rate": schedule, "early_stopping": early_stopping}
    settings |= {"max_iter": 10, "batch_size": 17, "learning_rate_init": None, "order": "random"}
    X = bits(120, 4)
    whole = fit(make(name, **settings), X)
    checkpoint = Checkpoint(tmp_path / "state")
    fit(make(name, **settings, callbacks=[checkpoint, Stop(stopped)]), X)
    resumed = fit(make(name, **settings, callbacks=[Checkpoint(str(tmp_path / "state"))]), X)
    assert_same_bits(resumed.theta_, whole.theta_)
    assert resumed.loss_curve_ == whole.loss_curve_
    assert resumed.validation_curve_ == whole.validation_curve_
    assert (resumed.n_iter_, resumed.best_iter_) == (whole.n_iter_, whole.best_iter_)


@pytest.mark.parametrize("stopped", [3, 4, 6])  # before the cooldown, at its beginning, within it
@pytest.mark.parametrize("early_stopping", [True, False])
@every_model
def test_a_fit_resumed_around_its_cooldown_has_the_same_bits(
    name, early_stopping, stopped, tmp_path
):
    settings = {"learning_rate": "cooldown", "early_stopping": early_stopping, "tol": 100.0}
    settings |= {"n_iter_no_change": 3, "batch_size": 5, "learning_rate_init": 0.1}
    X = bits(120, 4)
    whole = make(name, **settings).fit(X)
    assert whole.n_iter_ == 4 + 5
    state = tmp_path / "state"
    fit(make(name, **settings, callbacks=[Checkpoint(state), Stop(stopped)]), X)
    resumed = make(name, **settings, n_jobs=2, callbacks=[Checkpoint(state)]).fit(X)
    assert_same_bits(resumed.theta_, whole.theta_)
    assert resumed.loss_curve_ == whole.loss_curve_
    assert resumed.validation_curve_ == whole.validation_curve_


@every_conditional
@every_model
def test_a_checkpoint_every_few_epochs_resumes_from_the_last_one(name, conditional, tmp_path):
    X, settings = (
        DATA[conditional](120, 4),
        {"distribution": distribution(conditional, 4), "max_iter": 9},
    )
    whole = fit(make(name, **settings), X)
    fit(make(name, **settings, callbacks=[Checkpoint(tmp_path / "state", every=3), Stop(5)]), X)
    history = History()
    resumed = fit(make(name, **settings, callbacks=[Checkpoint(tmp_path / "state"), history]), X)
    assert history.records[0]["epoch"] == 4
    assert_same_bits(resumed.theta_, whole.theta_)
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


@every_model
def test_a_finished_fit_is_not_repeated(name, tmp_path):
    settings = {"callbacks": [Checkpoint(tmp_path / "state")], "max_iter": 4}
    whole = fit(make(name, **settings), bits(90, 3))
    watch = Stop(100)
    again = fit(make(name, max_iter=4, callbacks=[*settings["callbacks"], watch]), bits(90, 3))
    assert not hasattr(watch, "theta")
    assert_same_bits(again.theta_, whole.theta_)


OTHERS = {
    "seed": {"random_state": 1},
    "no seed": {"random_state": None},
    "window": {"markov_order": 1},
    "solver": {"solver": "sgd"},
    "type": {"dtype": "float64"},
}


@pytest.mark.parametrize("other", OTHERS)
@every_model
def test_a_checkpoint_of_another_fit_is_refused(name, other, tmp_path):
    X = bits(90, 3)
    fit(make(name, callbacks=[Checkpoint(tmp_path / "state")], max_iter=2), X)
    model = make(name, **OTHERS[other], callbacks=[Checkpoint(tmp_path / "state")])
    with pytest.raises(ValueError, match=r"checkpoint .*state' is of another fit"):
        fit(model, X)
    assert not hasattr(model, "theta_")


CHANGED = {
    "data": {"X": bits(90, 3, seed=1)},
    "batch_size": {"batch_size": 16},
    "learning_rate_init": {"learning_rate_init": 0.5},
    "learning_rate": {"learning_rate": "invscaling"},
    "alpha": {"alpha": 0.1},
    "l1_ratio": {"l1_ratio": 0.5},
    "max_gradient_norm": {"max_gradient_norm": 1.0},
    "tol": {"tol": 0.5},
    "n_iter_no_change": {"n_iter_no_change": 3},
    "solver": {"solver": "sgd"},
    "random_state": {"random_state": 1},
    "parameters of the network": {"markov_order": 1},
    "distribution": {"distribution": "categorical"},
    "early_stopping, validation_fraction or X_val": {"early_stopping": False},
}


@pytest.mark.parametrize("changed", CHANGED)
@every_model
def test_a_checkpoint_names_what_its_fit_had_otherwise(name, changed, tmp_path):
    new = dict(CHANGED[changed])
    X, Y = bits(90, 3), new.pop("X", bits(90, 3))
    fit(make(name, callbacks=[Checkpoint(tmp_path / "state")], max_iter=2), X)
    model = fit(make(name, **new, max_iter=2), X)
    before = model.theta_
    model.set_params(callbacks=[Checkpoint(tmp_path / "state")])
    with pytest.raises(ValueError, match=rf"state' is of another fit: it has other .*{changed}"):
        fit(model, Y)
    assert model.theta_ is before


def test_a_checkpoint_tells_weights_and_contexts_and_unweighted_levels_apart(tmp_path):
    X, weight, context = levels(90, 3), np.ones(90), np.arange(90.0)[:, None]
    weight[:5] = 0
    strange = X.copy()
    strange[0, 0] = 7
    begun = {"context": context, "sample_weight": weight}
    model = make(early_stopping=False, callbacks=[Checkpoint(tmp_path / "state")], max_iter=2)
    fit(model, X, **begun)
    fit(model, X, **begun)
    for other in ({"context": context**2}, {"sample_weight": weight + np.arange(90)}):
        with pytest.raises(ValueError, match=r"it has other .*data"):
            fit(model, X, **begun | other)
    with pytest.raises(ValueError, match=r"it has other .*data"):
        fit(model, strange, **begun)


@pytest.mark.parametrize("schedule", ["constant", "linear"])
def test_a_finished_checkpoint_goes_on_where_the_rate_does_not_depend_on_max_iter(
    schedule, tmp_path
):
    X, settings = bits(90, 3), {"learning_rate": schedule, "early_stopping": False}
    checkpoint = Checkpoint(tmp_path / "state")
    fit(make(**settings, max_iter=3, callbacks=[checkpoint]), X)
    longer = make(**settings, max_iter=6, callbacks=[checkpoint])
    if schedule == "linear":
        with pytest.raises(ValueError, match="it has other learning_rate"):
            fit(longer, X)
    else:
        assert_same_bits(fit(longer, X).theta_, fit(make(**settings, max_iter=6), X).theta_)


def counted(model, X, path):
    """Return a fitted model and how many epochs this call trained it."""
    history = History()
    fit(model.set_params(callbacks=[Checkpoint(path), history]), X)
    return model, len(history.records)


@pytest.mark.parametrize("other", [{}, {"batch_size": 17}, {"learning_rate_init": 0.01}], ids=str)
@pytest.mark.parametrize("early_stopping", [True, False])
@every_model
def test_a_warm_start_goes_on_from_its_own_finished_checkpoint(
    name, early_stopping, other, tmp_path
):
    X, settings = bits(90, 3), {"early_stopping": early_stopping, "max_iter": 4}
    plain = fit(make(name, **settings), X)
    twice = fit(plain.set_params(warm_start=True, **other), X)
    model, first = counted(make(name, **settings), X, tmp_path / "state")
    model, second = counted(model.set_params(warm_start=True, **other), X, tmp_path / "state")
    assert (first, second) == (4, 4)
    assert_same_bits(model.theta_, twice.theta_)
    # an interrupted second fit goes on where it was
    begun = fit(make(name, **settings), X).set_params(warm_start=True, **other)
    again = copy.deepcopy(begun)
    fit(begun.set_params(callbacks=[Checkpoint(tmp_path / "other"), Stop(3)]), X)
    resumed, rest = counted(again, X, tmp_path / "other")
    assert_same_bits(resumed.theta_, twice.theta_)
    assert rest == 1 or (early_stopping and resumed.best_iter_ > 3)


def test_a_warm_start_elsewhere_refuses_the_checkpoint_by_name(tmp_path):
    X, settings = bits(90, 3), {"early_stopping": False, "max_iter": 3}
    counted(make(**settings), X, tmp_path / "state")
    other = fit(make(**settings, learning_rate_init=0.3), X)
    other.set_params(warm_start=True, learning_rate_init=0.02)
    with pytest.raises(ValueError, match=r"it has other .*parameters to start from \(warm_start\)"):
        counted(other, X, tmp_path / "state")


def test_a_checkpoint_that_does_not_know_its_data_is_refused(tmp_path):
    path, X = str(tmp_path / "state"), bits(90, 3)
    model = make(callbacks=[Checkpoint(path)], max_iter=2)
    fit(model, X)
    header, arrays = files.read_arrays(path, "checkpoint")
    del header["fit"]
    files.write_arrays(path, "checkpoint", header, arrays)
    with pytest.raises(ValueError, match="by an early fastar and does not tell of which data"):
        fit(model, X)


@pytest.mark.parametrize(
    ("entry", "value"), [("entropy", -1), ("progress", {"epoch": 1}), ("progress", 3), ("more", 1)]
)
def test_a_checkpoint_that_says_wrong_things_is_refused_by_name(entry, value, tmp_path):
    path, X = str(tmp_path / "state"), bits(90, 3)
    model = make(callbacks=[Checkpoint(path)], max_iter=2)
    fit(model, X)
    header, arrays = files.read_arrays(path, "checkpoint")
    files.write_arrays(path, "checkpoint", header | {entry: value}, arrays)
    with pytest.raises(ValueError, match=rf"state' is damaged: {entry}"):
        fit(model, X)


def test_a_checkpoint_that_cannot_be_written_warns_and_the_fit_goes_on(tmp_path):
    X = bits(90, 3)
    model = make(callbacks=[Checkpoint(tmp_path / "none" / "state")], max_iter=3)
    with pytest.warns(UserWarning, match=r"none.*state' could not be written .*goes on"):
        fit(model, X)
    assert_same_bits(model.theta_, fit(make(max_iter=3), X).theta_)


@pytest.mark.parametrize("n_jobs", [1, 3])
def test_members_of_mixtures_have_checkpoints_of_their_own(n_jobs, tmp_path):
    X = bits(90, 3)

    def mixture(**settings):
        one = make(max_iter=4, random_state=None, **settings)
        return Mixture([one, Mixture(one, n_members=2)], random_state=0, n_jobs=n_jobs)

    whole = fit(mixture(), X)
    checkpoint = Checkpoint(tmp_path / "state")
    fit(mixture(callbacks=[checkpoint, Stop(2)]), X)
    names = ["state.0", "state.1.0", "state.1.1"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    again = fit(mixture(callbacks=[checkpoint]), X)
    assert_same_bits(again.score_samples(X), whole.score_samples(X))


@every_model
def test_a_damaged_checkpoint_is_refused(name, tmp_path):
    (tmp_path / "state").write_bytes(b"nonsense")
    with pytest.raises(ValueError, match=r"state' is damaged or not a fastar file"):
        make(name, callbacks=[Checkpoint(tmp_path / "state")]).fit(bits(90, 3))


# ---- Ctrl-C


@pytest.mark.parametrize("early_stopping", [True, False])
@every_model
def test_ctrl_c_keeps_the_best_model_so_far_and_warns(name, early_stopping):
    X, stop = bits(120, 4), Stop(4, KeyboardInterrupt())
    model = make(
        name, callbacks=[stop], early_stopping=early_stopping, max_iter=50, dtype="float64"
    )
    with pytest.warns(
        ConvergenceWarning, match="interrupted in epoch 5; the best model so far is kept"
    ):
        model.fit(X, X_val=X[:40] if early_stopping else None)
    assert model.n_iter_ == 4
    if early_stopping:
        assert model.score(X[:40]) == pytest.approx(-min(model.validation_curve_), rel=1e-9)
    else:
        assert_same_bits(model.theta_, stop.theta)


@every_model
def test_ctrl_c_within_the_first_epoch_leaves_a_finite_model(name, monkeypatch):
    from fastar._engine.training import Training

    step, calls = Training._step, []

    def interrupted(self, rows):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return step(self, rows)

    monkeypatch.setattr(Training, "_step", interrupted)
    model = make(name, batch_size=10)
    with pytest.warns(ConvergenceWarning, match="interrupted in epoch 1"):
        model.fit(bits(90, 3))
    assert np.isfinite(model.score(bits(90, 3)))


@every_model
def test_an_error_in_a_callback_leaves_the_model_as_it_was(name):
    model = fit(make(name), bits(90, 3))
    before = model.theta_.copy()
    model.set_params(callbacks=[Stop(2, RuntimeError("mine"))], warm_start=True)
    with pytest.raises(RuntimeError, match="mine"):
        model.fit(bits(90, 3))
    assert_same_bits(model.theta_, before)


# ---- Ctrl-C after fit: it is looked for between blocks, and blocks change no bit

GAPS = np.where(np.random.default_rng(0).random((400, 4)) < 0.4, np.nan, bits(400, 4))
OF_ROWS = {
    "score_samples": lambda model: model.score_samples(bits(400, 4)),
    "sample": lambda model: model.sample(400, random_state=0),
    "evidence": lambda model: model.sample(400, evidence=[np.nan, 1, np.nan, 0], random_state=0),
    "impute": lambda model: model.impute(GAPS, random_state=0),
    "log_marginal": lambda model: model.log_marginal(GAPS, random_state=0),
    "purify": lambda model: model.purify(bits(400, 4), 0.5),
}
DENSITIES = {
    "NADE": lambda: make(missing="marked", max_iter=2),
    "MADE": lambda: make("MADE", missing="marked", max_iter=2),
    "PixelRNN": lambda: PixelRNN(n_hidden=5, max_iter=2, random_state=0, n_jobs=1),
    "DeepNADE": lambda: DeepNADE(hidden_layer_sizes=(5,), max_iter=2, random_state=0, n_jobs=1),
}


def interrupted_at(call, kind, method, monkeypatch, turn=2):
    """Return after how many calls of a network's method a signal in one of them ends `call`."""
    original, calls = getattr(kind, method), []

    def watched(self, *arguments, **more):
        calls.append(1)
        if len(calls) == turn:
            signal.raise_signal(signal.SIGINT)
        return original(self, *arguments, **more)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(kind, method, watched)
            with pytest.raises(KeyboardInterrupt):
                call()
    finally:
        signal.signal(signal.SIGINT, before)
    return len(calls)


@pytest.mark.parametrize("method", OF_ROWS)
@pytest.mark.parametrize("name", DENSITIES)
def test_ctrl_c_ends_every_method_between_blocks_that_change_no_bit(name, method, monkeypatch):
    model = fit(DENSITIES[name](), bits(60, 4))
    call = OF_ROWS[method]
    whole = call(model)
    before = snapshot(model)
    monkeypatch.setattr(sampling, "_WALK_WORK", 1)
    monkeypatch.setattr(table, "block_rows", lambda n_features: 256)
    np.testing.assert_array_equal(call(model), whole)
    scores = ["score_samples", *(["log_marginal"] if name == "DeepNADE" else [])]
    part = "forward" if method in scores else "sample"
    if (name, method) == ("NADE", "impute"):
        part = "sample_particles"
    assert interrupted_at(lambda: call(model), type(model.network_), part, monkeypatch) == 2
    assert_same(before, snapshot(model))


OF_SEQUENCES = {
    "score_samples": lambda model, X: model.score_samples(X),
    "conditionals": lambda model, X: model.conditionals(X),
    "stream": lambda model, X: model.score_stream(np.stack(X))[0],
    "sample": lambda model, X: np.array(model.sample(30, random_state=0)),
    "prefix": lambda model, X: np.array(model.sample(30, prefix=X, max_length=3, random_state=0)),
}


@pytest.mark.parametrize("method", OF_SEQUENCES)
def test_ctrl_c_ends_methods_of_sequences_between_blocks(method, monkeypatch):
    X = [*bits(30, 20)]
    model = GenerativeRNN(n_hidden=5, end_symbol=False, max_iter=2, random_state=0, n_jobs=1)
    fit(model, X)
    whole = OF_SEQUENCES[method](model, X)
    monkeypatch.setattr(steps, "_BLOCK_STEPS", 100)
    monkeypatch.setattr(_recurrent_layers, "_ROWS", 100)
    np.testing.assert_array_equal(OF_SEQUENCES[method](model, X), whole)
    kind, part = (Recurrent, "sample") if method == "sample" else (RecurrentLayers, "forward")
    assert interrupted_at(lambda: OF_SEQUENCES[method](model, X), kind, part, monkeypatch) == 2


def test_ctrl_c_ends_what_other_threads_do_for_the_call_at_their_next_block():
    ended = []

    def work():
        try:
            while True:
                threads.check_stopped()
                begun.set()
        except CancelledError:
            ended.append(1)
            raise

    def interrupted():
        with threads.ThreadPool(2) as pool:
            futures.extend([pool.submit(nested_work, work), pool.submit(work)])
            begun.wait()
            raise KeyboardInterrupt

    begun, futures = Event(), []
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert len(ended) == 3
    assert all(isinstance(future.exception(), CancelledError) for future in futures)


def nested_work(work):
    with threads.ThreadPool(2) as pool:
        return [future.result() for future in [pool.submit(work), pool.submit(work)]]


def test_members_of_a_mixture_stop_at_the_next_block(monkeypatch):
    X = bits(3000, 4)
    model = fit(Mixture(make(max_iter=2), n_members=3, random_state=0, n_jobs=3), X)
    monkeypatch.setattr(table, "block_rows", lambda n_features: 256)
    original, calls = SharedHidden.forward, []

    def watched(self, *arguments, **more):
        calls.append(1)
        if len(calls) == 4:
            signal.raise_signal(signal.SIGINT)
        time.sleep(0.02)
        return original(self, *arguments, **more)

    monkeypatch.setattr(SharedHidden, "forward", watched)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            model.score_samples(X)
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(calls) < 3 * 12


SLOW = """
import signal, threading, time, warnings
import numpy as np
import fastar
warnings.simplefilter("ignore")
signal.signal(signal.SIGINT, signal.default_int_handler)
X = [np.arange(40) % 2] * 20
model = fastar.GenerativeRNN(max_iter=1, random_state=0).fit(X)
sent = []
def send():
    sent.append(time.monotonic())
    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
threading.Timer(1, send).start()
try:
    model.sample(1_000_000)
except KeyboardInterrupt:
    print(time.monotonic() - sent[0])
"""


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no signals to threads here")
def test_ctrl_c_ends_many_samples_of_sequences_soon():
    # minutes in all; what is left of the block is a fraction of a second on an idle machine
    assert float(run_python(SLOW)) < 10


# ---- divergence

DIVERGING = [
    {"solver": "sgd", "learning_rate_init": 1e30},
    {"solver": "sgd", "learning_rate_init": 1e20},
    {"solver": "adam", "learning_rate_init": 1e38},
    {"solver": "adam", "learning_rate_init": 1e25},
    {"solver": "rmsprop", "learning_rate_init": 1e25},
]


@pytest.mark.parametrize("early_stopping", [True, False])
@pytest.mark.parametrize("settings", DIVERGING, ids=str)
@every_model
def test_divergence_names_epoch_and_rate_and_keeps_the_last_good_parameters(
    name, settings, early_stopping
):
    X = reals(120, 5)
    model = make(name, **settings, batch_size=20, early_stopping=early_stopping)
    if "activation" in model.get_params():
        model.set_params(activation="relu")
    with np.errstate(all="ignore"), pytest.raises(FloatingPointError) as caught:
        fit(model, X)
    message = str(caught.value)
    assert (
        "in epoch 1 with learning rate " in message or "in epoch 2 with learning rate " in message
    )
    assert f"learning rate {settings['learning_rate_init']:.3g}" in message
    assert np.isfinite(model.theta_).all()
    assert np.isfinite(model.score(X))


@pytest.mark.parametrize("rate", [1e3, 1e10, 1e38, 1e100, 1e300])
@pytest.mark.parametrize("solver", ["sgd", "rmsprop", "adagrad"])
@pytest.mark.parametrize("name", MODELS)
def test_absurd_rates_leave_finite_parameters_and_samples(name, solver, rate):
    laplace = {"distribution": "laplace", "dtype": "float64" if rate > 1e38 else "float32"}
    for settings in ({"early_stopping": True}, {"early_stopping": False}, laplace):
        X = reals(100, 4)
        model = make(name, solver=solver, learning_rate_init=rate, batch_size=20, **settings)
        with np.errstate(all="ignore"):
            with suppress(FloatingPointError):
                fit(model.set_params(max_iter=4), X)
            assert np.isfinite(model.theta_).all()
            assert np.isfinite(model.sample(300, random_state=1)).all()
            assert not np.isnan(model.score_samples(X)).any()


@every_model
def test_divergence_after_good_epochs_keeps_their_parameters(name):
    class Explode:
        def on_epoch_end(self, training):
            if training.progress.epoch == 3:
                self.theta = training.model.theta.copy()
                training.learning_rate = 1e35

    explode, X = Explode(), reals(120, 5)
    model = make(
        name, callbacks=[explode], solver="sgd", learning_rate_init=1e-3, early_stopping=False
    )
    with np.errstate(all="ignore"), pytest.raises(FloatingPointError, match=r"epoch [45] "):
        fit(model, X)
    assert np.isfinite(model.score(X))


@pytest.mark.parametrize("method", ["fit", "go on", "partial_fit"])
@every_model
def test_divergence_leaves_a_fitted_model_bit_for_bit(name, method):
    X = reals(120, 5)
    activation = {"activation": "relu"} if name != "FVSBN" else {}
    model = fit(make(name, batch_size=20, **activation), X)
    model.set_params(solver="sgd", learning_rate_init=1e30, warm_start=method == "go on")
    before = snapshot(model)
    with np.errstate(all="ignore"), pytest.raises(FloatingPointError, match="learning rate 1e"):
        model.partial_fit(X + 1) if method == "partial_fit" else fit(model, X + 1)
    assert_same(before, snapshot(model))


@every_model
def test_parts_of_training_can_be_watched(name):
    watch = Watch()
    model = fit(make(name, callbacks=[watch]), bits(90, 3))
    assert watch.training.model.theta is model.theta_
    assert watch.training.progress.epoch == model.n_iter_
