"""Mixtures: interruptions, errors in members, and what is refused."""

import signal
import threading
import time
import warnings

import numpy as np
import pytest
from common import assert_same, bits, fit, make, reals, snapshot, states
from mixtures import (
    Recorder,
    Unweighted,
    fitted_mixture,
    mixed,
)
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.preprocessing import StandardScaler

import fastar
from fastar import Mixture

# ---- interruptions and errors


class Interrupt:
    """Sends what Ctrl-C sends in the second epoch of the given fits, which have no end."""

    def __init__(self, fits=(1,)):
        self.fits = fits
        self.begun = 0

    def __deepcopy__(self, memo):
        return self

    def on_fit_begin(self, training):
        self.begun += 1

    def on_epoch_end(self, training):
        if self.begun in self.fits and training.progress.epoch == 2:
            signal.raise_signal(signal.SIGINT)
        elif self.begun not in self.fits and training.progress.epoch == 3:
            return True
        return None


ENDLESS = {"max_iter": 10**6, "n_iter_no_change": 10**6}


@pytest.mark.parametrize("weights", ["equal", "em", [1, 2, 5]], ids=str)
@pytest.mark.parametrize("depth", [1, 2])
def test_ctrl_c_keeps_the_members_that_had_begun(weights, depth):
    X = bits(100, 4)
    mixture = mixed(weights=weights, callbacks=Interrupt((2,)), **ENDLESS)
    if depth == 2:
        mixture = Mixture([mixture, make()], random_state=0, n_jobs=1)
    with pytest.warns(ConvergenceWarning) as caught:
        mixture.fit(X)
    messages = " ".join(str(each.message) for each in caught)
    assert "Training was interrupted in epoch" in messages
    assert "the mixture has the 2 of 3 members that had begun" in messages
    if depth == 2:
        assert "the mixture has the 1 of 2 members that had begun" in messages
        mixture = mixture.estimators_[0]
    assert len(mixture.estimators_) == len(mixture.weights_) == 2
    assert mixture.weights_.sum() == pytest.approx(1)
    assert np.exp(mixture.score_samples(states("bernoulli", 4))).sum() == pytest.approx(1, 1e-5)
    if weights == [1, 2, 5]:
        np.testing.assert_allclose(mixture.weights_, [1 / 3, 2 / 3])
    assert all(isinstance(member.callbacks, Interrupt) for member in mixture.estimators_)


class InterruptSoon(Interrupt):
    """Sends it soon after the second fit has begun."""

    def on_fit_begin(self, training):
        self.begun += 1
        if self.begun == 2:
            threading.Timer(0.2, self.send).start()

    def send(self):
        self.sent = time.monotonic()
        signal.raise_signal(signal.SIGINT)

    def on_epoch_end(self, training):
        pass


def test_ctrl_c_stops_members_in_the_midst_of_an_epoch():
    interrupt = InterruptSoon()
    settings = {"n_hidden": 50, "batch_size": 1, "max_iter": 2, "callbacks": interrupt}
    mixture = mixed(n_members=2, n_jobs=2, **settings)
    with pytest.warns(ConvergenceWarning, match="interrupted in epoch 1"):
        mixture.fit(bits(100_000, 60))
    assert time.monotonic() - interrupt.sent < 1
    assert [member.n_iter_ for member in mixture.estimators_] == [0, 0]


class Endless:
    """Notes that a training has begun that only an error elsewhere can end."""

    begun = threading.Event()

    def __deepcopy__(self, memo):
        return self

    def on_epoch_end(self, training):
        self.begun.set()


class Fail:
    def on_epoch_end(self, training):
        Endless.begun.wait(10)
        raise OSError("disk full")


def test_an_error_in_a_member_ends_all_and_changes_nothing():
    X = bits(100, 4)
    mixture = fit(mixed(), X)
    listed = [make(callbacks=Endless(), **ENDLESS), make(callbacks=[Fail()]), make()]
    mixture.set_params(estimator=listed, n_members=None, n_jobs=2)
    before = snapshot(mixture)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(OSError, match="disk full") as caught:
            mixture.fit(X)
    assert caught.value.__notes__ == ["This happened in member 1, a NADE."]
    assert_same(before["estimators_"], snapshot(mixture)["estimators_"])
    assert before.keys() == vars(mixture).keys()


def test_divergence_in_a_member_is_an_error_that_changes_nothing():
    mixture, X = fitted_mixture(conditional="gaussian", D=3)
    mixture.set_params(estimator__solver="sgd", estimator__learning_rate_init=1e30)
    before = snapshot(mixture)
    with np.errstate(all="ignore"), pytest.raises(FloatingPointError, match="learning rate"):
        fit(mixture, X)
    assert_same(before, snapshot(mixture))


def refuse(mixture, call, match, error=ValueError):
    before = snapshot(mixture)
    with pytest.raises(error, match=match):
        call(mixture)
    assert_same(before, snapshot(mixture))


BAD_PARAMETERS = [
    ("estimator", None),
    ("estimator", "NADE"),
    ("estimator", fastar.NADE),
    ("estimator", []),
    ("estimator", [make(), StandardScaler()]),
    ("estimator", [make(), 3]),
    ("n_members", 0),
    ("n_members", 2.5),
    ("weights", "uniform"),
    ("weights", None),
    ("weights", [1, 2]),
    ("weights", [1, 2, -1]),
    ("weights", [0, 0, 0]),
    ("weights", [1, 2, np.inf]),
    ("weights", ["a", "b", "c"]),
    ("weights", [[1, 2, 3]]),
    ("validation_fraction", 0.0),
    ("validation_fraction", 1),
    ("random_state", "seed"),
    ("n_jobs", 0),
    ("n_jobs", 1.5),
]


@pytest.mark.parametrize(("parameter", "value"), BAD_PARAMETERS, ids=str)
def test_each_parameter_out_of_range_is_named_with_its_rule(parameter, value):
    match = rf"The '{parameter}' parameter .*must be .* Got .*"
    refuse(mixed().set_params(**{parameter: value}), lambda m: m.fit(bits(30, 5)), match)
    mixture, X = fitted_mixture()
    refuse(mixture.set_params(**{parameter: value}), lambda m: m.fit(X), match)


def test_every_parameter_has_a_bad_value_here():
    assert {name for name, _ in BAD_PARAMETERS} == set(mixed().get_params(deep=False))


def test_n_members_must_fit_a_list():
    mixture = Mixture([make(), make()], n_members=3)
    refuse(mixture, lambda m: m.fit(bits(30, 3)), r"None or the length of the list.* 2\. Got 3")
    assert len(fit(mixture.set_params(n_members=2), bits(30, 3)).estimators_) == 2


def test_a_members_bad_parameter_is_named():
    mixture, X = fitted_mixture()
    mixture.set_params(estimator__alpha=-1.0)
    refuse(mixture, lambda m: m.fit(X), "The 'alpha' parameter of NADE must be")
    mixture.set_params(estimator__alpha=0.0, estimator__callbacks=3)
    refuse(mixture, lambda m: m.fit(X), "The 'callbacks' parameter of NADE must be")


BAD_CALLS = {
    "NaN in X": (lambda m, X: m.fit(np.where(X, np.nan, 0)), "contains NaN"),
    "X of one dimension": (lambda m, X: m.fit(X[0]), "Expected 2D array"),
    "X_val of other columns": (lambda m, X: m.fit(X, X_val=X[:, :3]), "X has 3 features"),
    "NaN in X_val": (lambda m, X: m.fit(X, X_val=np.where(X, np.nan, 0)), "contains NaN"),
    "support of X_val": (lambda m, X: m.fit(X, X_val=X + 1), "X_val must hold 0 or 1 .* Got 2"),
    "support": (lambda m, X: m.score_samples(X + 1), "X must hold 0 or 1 .* Got 2 in row 0"),
    "columns": (lambda m, X: m.score_samples(X[:, :3]), "X has 3 features, but Mixture"),
    "sample_weight": (lambda m, X: m.fit(X, sample_weight=[1, 2]), "sample_weight must have shape"),
    "negative weight": (lambda m, X: m.fit(X, sample_weight=-np.ones(300)), "not negative"),
    "n_samples": (lambda m, X: m.sample(0), r"n_samples must be an int of at least 1\. Got 0"),
    "temperature": (lambda m, X: m.sample(temperature=0), "temperature must be a finite number"),
    "evidence": (lambda m, X: m.sample(evidence=[1, 0]), r"evidence must have shape \(5,\)"),
    "its support": (lambda m, X: m.sample(evidence=[7, *[np.nan] * 4]), "evidence must hold 0 or"),
    "n_draws": (lambda m, X: m.impute(X, n_draws=0), "n_draws must be an int of at least 1"),
    "n_particles": (lambda m, X: m.impute(X, n_particles=0), "n_particles must be an int"),
    "impute": (lambda m, X: m.impute(X + 7.0), "X must hold 0 or 1"),
}


@pytest.mark.parametrize("case", BAD_CALLS)
def test_bad_input_is_refused_and_changes_nothing(case):
    mixture, X = fitted_mixture()
    call, match = BAD_CALLS[case]
    refuse(mixture, lambda m: call(m, X), match)


def test_an_unfitted_mixture_says_so():
    mixture, X = mixed(), bits(10, 3)
    for call in (
        lambda m: m.score_samples(X),
        lambda m: m.score(X),
        lambda m: m.responsibilities(X),
        lambda m: m.score_features(X),
        lambda m: m.sample(),
        lambda m: m.impute(X),
        lambda m: m.save("nowhere"),
        lambda m: m.n_parameters_,
    ):
        refuse(mixture, call, "not fitted", NotFittedError)


def test_em_needs_rows_to_hold_out():
    mixture, X = fitted_mixture(weights="em")
    refuse(mixture, lambda m: m.fit(X[:1]), r"rows to hold out.* Got n_samples=1")
    weight = np.zeros(len(X))
    weight[3] = 1
    refuse(mixture, lambda m: m.fit(X, sample_weight=weight), r"Got n_samples=1")


def test_members_that_take_no_weights_are_given_none():
    mixture = Mixture([Recorder(), Unweighted()])
    X = reals(10, 2)
    match = "sample_weight must be None .* such as Unweighted"
    refuse(mixture, lambda m: m.fit(X, sample_weight=np.ones(10)), match)
