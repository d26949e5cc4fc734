"""On few rows NADE starts from regressions of real columns, too, and held-out rows choose."""

import numpy as np
import pytest
from common import assert_same_bits
from scipy.stats import multivariate_normal, norm
from sklearn.exceptions import ConvergenceWarning

from fastar import NADE
from fastar._core.factors import cholesky
from fastar._core.files import read_arrays
from fastar._engine import linear_start
from fastar._engine.training import Training
from fastar.callbacks import Callback, Checkpoint
from fastar.conditionals import GaussianMixture, Number

pytestmark = pytest.mark.kernels

STANDING = {
    "learning_rate_init": 1e-9,
    "learning_rate": "constant",
    "max_iter": 1,
}
"""Settings with which parameters stay where training starts."""


def correlated(n=1500, D=5, seed=0):
    """Return rows of a Gaussian with strong correlations, and its mean log-density of them."""
    rng = np.random.default_rng(seed)
    mixing = np.tril(rng.normal(size=(D, D)), -1) * 3 + np.eye(D)
    X = rng.normal(size=(n, D)) @ mixing.T
    return X, multivariate_normal(np.zeros(D), mixing @ mixing.T).logpdf(X).mean()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("mixture", [Number(), GaussianMixture(), Number(5)])
def test_before_any_step_a_gaussian_is_nearly_known(mixture):
    """What is linear is there at the start, but for the shape of what is left."""
    X, best = correlated(900)
    model = NADE(distribution=mixture, random_state=0, **STANDING).fit(X)
    alone = norm(0, X.std(axis=0)).logpdf(X).sum(axis=1).mean()
    assert alone + 2 < best - 0.5 < model.score(X) < best + 0.1


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_positive_columns_are_regressed_on_their_own_scale():
    """What is linear between logarithms is known, in columns with zeros, too."""
    z, _ = correlated(900)
    X = np.exp(z)
    X[:30, -1] = 0
    model = NADE(random_state=0, **STANDING).fit(X)
    found = (model.score_features(X) + z)[30:].sum(axis=1).mean()
    alone = norm(0, z.std(axis=0)).logpdf(z[30:]).sum(axis=1).mean()
    assert alone + 2 < found


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_curves_are_followed_in_pieces():
    """Regions of the fit have regressions of their own."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=900)
    X = np.column_stack([x, np.exp(x) - 1 + 0.1 * rng.normal(size=900)])
    model = NADE(random_state=0, **STANDING).fit(X)
    residual = X[:, 1] - np.polyval(np.polyfit(x, X[:, 1], 1), x)
    straight = norm(0, residual.std()).logpdf(residual).mean()
    assert model.score_features(X)[:, 1].mean() > straight + 0.3


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_independent_columns_stay_constant():
    """Where regressions tell nothing, every row has the same conditionals."""
    X = np.random.default_rng(0).standard_t(2, size=(500, 3))
    model = NADE(random_state=0, **STANDING).fit(X)
    assert np.ptp(model.conditionals(X)["mean"], axis=0).max() < 1e-3


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_gaps_have_no_part_in_a_number():
    """A number is regressed over the rows where it is one."""
    X, _ = correlated(900, 2)
    gaps = np.random.default_rng(1).random(900) < 0.4
    model = NADE(random_state=0, **STANDING).fit(X[~gaps])
    with_gaps = X.copy()
    with_gaps[gaps, 1] = np.nan
    other = NADE(missing="marked", random_state=0, **STANDING).fit(with_gaps)
    means = [each.conditionals(X[~gaps])["mean"][:, 1] for each in (model, other)]
    np.testing.assert_allclose(*means, atol=0.05 * X[:, 1].std())


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_columns_of_categories_are_inputs():
    """What a category says of a number after it is there at the start."""
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 3, 900)
    X = np.column_stack([kind, 5.0 * kind + rng.normal(size=900)])
    model = NADE(distribution=["categorical", GaussianMixture()], random_state=0, **STANDING)
    known = norm(0, 1).logpdf(X[:, 1] - 5 * kind).mean()
    assert model.fit(X).score_features(X)[:, 1].mean() > known - 0.4


QUICK = {"n_hidden": 64, "max_iter": 15, "random_state": 0}


def started(monkeypatch, theta):
    """Let NADE train from parameters that a function gives of the model, too."""
    monkeypatch.setattr(NADE, "_other_start", lambda self, model, start, n_rows: theta(model))


def test_held_out_rows_choose_between_the_starts(monkeypatch):
    """Of strongly correlated columns the regressions win, and their curves stay."""
    X, _ = correlated(400)
    both = NADE(**QUICK).fit(X)
    started(monkeypatch, lambda model: None)
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

    started(monkeypatch, lambda model: None)
    alone = NADE(**QUICK).fit(X)
    started(monkeypatch, lambda model: model.theta + np.float32(3))
    beside = NADE(**QUICK, callbacks=[Watch()]).fit(X)
    assert_same_bits(beside.theta_, alone.theta_)
    assert beside.validation_curve_ == alone.validation_curve_
    assert epochs == list(range(1, alone.n_iter_ + 1))


def test_a_start_that_diverges_changes_nothing(monkeypatch):
    """Parameters of no density are as good as none."""
    X, _ = correlated(400)
    started(monkeypatch, lambda model: None)
    alone = NADE(**QUICK).fit(X)
    started(monkeypatch, lambda model: np.full_like(model.theta, np.nan))
    assert_same_bits(NADE(**QUICK).fit(X).theta_, alone.theta_)


def test_an_interruption_of_the_first_training_ends_the_fit(monkeypatch):
    """Ctrl-C keeps what there is, and begins nothing."""
    X, _ = correlated(400)
    epoch, calls = Training.epoch, []

    def interrupted(training):
        calls.append(training)
        if len(calls) == 3:
            raise KeyboardInterrupt
        epoch(training)

    monkeypatch.setattr(Training, "epoch", interrupted)
    with pytest.warns(ConvergenceWarning, match="interrupted in epoch 3"):
        model = NADE(**QUICK).fit(X)
    assert len(calls) == 3
    assert model.n_iter_ == 2


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
        started(monkeypatch, lambda model: model.theta + np.float32(shift))
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
    started(monkeypatch, given.append)
    NADE(**QUICK, early_stopping=False).fit(X)
    assert not given


def test_any_number_of_threads_gives_the_same_bits():
    """Regressions add in one order."""
    X, _ = correlated(400)
    one, two = (NADE(**QUICK, n_jobs=n).fit(X) for n in (1, 2))
    assert_same_bits(one.theta_, two.theta_)


def test_regressions_are_ridge_regressions_without_the_row_itself():
    """Slopes are those of the normal equations, errors nearly those of fits to the other rows."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 4)) @ rng.normal(size=(4, 4))
    weight, ridge = rng.uniform(0.5, 2, 60), 3.0
    own = linear_start.Projections(X, weight, ridge).regression(3)

    def fit(rows):
        w = weight[rows] / weight.mean()
        centred = X[rows] - np.average(X[rows], axis=0, weights=w)
        gram = centred[:, :3].T @ (w[:, None] * centred[:, :3]) + ridge * np.eye(3)
        slopes = np.linalg.solve(gram, centred[:, :3].T @ (w * centred[:, 3]))
        mean = np.average(X[rows], axis=0, weights=w)
        return slopes, mean[3] - slopes @ mean[:3]

    slopes, intercept = fit(np.arange(60))
    np.testing.assert_allclose(own.slopes, slopes, rtol=1e-9)
    np.testing.assert_allclose(own.intercept, intercept, rtol=1e-9, atol=1e-12)
    for row in range(60):
        slopes, intercept = fit(np.delete(np.arange(60), row))
        assert own.error[row] == pytest.approx(
            X[row, 3] - X[row, :3] @ slopes - intercept, rel=0.02
        )


def test_factor_and_inverse_are_those_of_the_matrix():
    """L L' is the matrix, and the second one L's inverse."""
    A = np.random.default_rng(0).normal(size=(30, 12))
    gram = A.T @ A + np.eye(12)
    factor, inverse = cholesky(gram)
    np.testing.assert_allclose(factor, np.linalg.cholesky(gram), atol=1e-12)
    np.testing.assert_allclose(factor @ inverse, np.eye(12), atol=1e-12)
