"""The training loop: closed forms, weights, early stopping, errors."""

import numpy as np
import pytest
from common import (
    CONDITIONALS,
    DATA,
    DTYPES,
    MODELS,
    SCHEDULES,
    SOLVERS,
    assert_same_bits,
    bits,
    distribution,
    fit,
    fitted,
    levels,
    make,
    reals,
)
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from fastar import NADE, optimizers, schedules
from fastar.conditionals import Categorical

every_model = pytest.mark.parametrize("name", MODELS)
every_conditional = pytest.mark.parametrize("conditional", CONDITIONALS)
# Every row in every step, and no rounding to speak of.
WHOLE = {"early_stopping": False, "batch_size": 1000, "dtype": "float64", "tol": 0.0}


class Stop:
    """Stops, or raises, after some epochs."""

    def __init__(self, after, error=None):
        self.after, self.error = after, error

    def on_epoch_end(self, training):
        self.theta = training.model.theta.copy()
        if training.progress.epoch == self.after and self.error is not None:
            raise self.error
        return training.progress.epoch == self.after


class Watch:
    """Keeps the running training, and the parameters at its beginning."""

    def on_fit_begin(self, training):
        self.training, self.start = training, training.model.theta.copy()


# ---- closed forms


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("heads", "n"), [(3, 4), (1, 10), (7, 20), (500, 1000), (1, 2)])
@every_model
def test_a_coin_has_the_share_of_heads(name, heads, n, dtype):
    X = (np.arange(n)[:, None] < heads).astype(np.uint8)
    settings = {"early_stopping": False, "dtype": dtype, "max_iter": 200}
    coin = fit(make(name, **settings | {"learning_rate_init": None}), X)
    assert coin.conditionals(X)[0, 0] == pytest.approx(heads / n, abs=1e-3)
    p = heads / n
    assert coin.score(X) == pytest.approx(p * np.log(p) + (1 - p) * np.log(1 - p), abs=1e-5)


@every_model
def test_a_coin_is_learnt_from_a_wrong_start(name):
    X = np.array([[1], [0], [1], [1]])

    class Spoil:
        def on_fit_begin(self, training):
            training.model.theta[:] = -2.0

    settings = {"early_stopping": False, "max_iter": 1000, "tol": 0.0, "callbacks": [Spoil()]}
    coin = fit(make(name, **settings), X)
    assert coin.conditionals(X)[0, 0] == pytest.approx(3 / 4, abs=1e-3)


@every_model
def test_one_gaussian_column_has_the_mean_and_variance_of_the_data(name):
    X = reals(200, 1)
    model = fit(make(name, early_stopping=False, batch_size=200, max_iter=100), X)
    said = model.conditionals(X[:1])
    assert said["mean"][0, 0] == pytest.approx(X.mean(), abs=1e-2 * X.std())
    assert said["variance"][0, 0] == pytest.approx(X.var(), rel=1e-2)


# ---- weights


def weighted_pair(name, X, weight, **settings):
    """Return theta of a fit to weighted rows, and of one to each row as often as it weighs."""
    settings |= WHOLE | {"solver": "sgd"}  # Adam would enlarge the rounding of gradients near zero
    first = fit(make(name, **settings), X, sample_weight=weight)
    second = fit(make(name, **settings), np.repeat(X, weight, axis=0))
    return first, second


@every_conditional
@every_model
def test_a_weight_of_two_is_the_row_twice_and_of_zero_no_row(name, conditional):
    X = DATA[conditional](40, 4)
    weight = np.random.default_rng(0).integers(0, 3, 40)
    # every level, and what a column never goes below, is seen in either case
    weight[[0, 1, 2, *X.argmin(axis=0)]] = 1
    settings = {"distribution": distribution(conditional, 4)}
    if name == "RNADE":
        settings["activation"] = "sigmoid"  # relu's slope at zero is a matter of rounding
    first, second = weighted_pair(name, X, weight, **settings)
    # of mixtures of Laplace densities some begin with their points on values
    rough = 1e3 if conditional == "laplace_mixture" else 1
    np.testing.assert_allclose(first.theta_, second.theta_, rtol=1e-6 * rough, atol=1e-8 * rough)
    np.testing.assert_allclose(first.loss_curve_, second.loss_curve_, rtol=1e-8 * rough)


@every_model
def test_a_weight_of_two_is_the_row_twice_also_where_a_column_is_constant(name):
    X = bits(20, 4)
    X[:, 1] = 1
    first, second = weighted_pair(name, X, np.full(20, 2))
    np.testing.assert_allclose(first.theta_, second.theta_, rtol=1e-6, atol=1e-8)


@every_model
def test_batches_of_weighted_rows_add_up_to_the_weighted_mean(name):
    X, watch = bits(60, 4), Watch()
    weight = np.random.default_rng(0).integers(0, 3, 60).astype(float)
    settings = {"early_stopping": False, "batch_size": 7, "max_iter": 1, "callbacks": [watch]}
    model = fit(
        make(name, dtype="float64", learning_rate_init=1e-12, **settings), X, sample_weight=weight
    )
    assert model.loss_curve_[0] == pytest.approx(-model.score(X, sample_weight=weight), rel=1e-9)


@every_model
def test_held_out_rows_keep_their_weights(name):
    X, watch = bits(200, 4), Watch()
    weight = np.random.default_rng(0).integers(0, 3, 200).astype(float)
    model = fit(make(name, callbacks=[watch], dtype="float64"), X, sample_weight=weight)
    table, held = watch.training.held_out
    n = np.count_nonzero(weight)  # a row without weight is none
    assert len(table) == round(0.1 * n)
    assert len(watch.training.table) == n - len(table)
    loss = -model.score(table.take(slice(None)), sample_weight=held)
    assert loss == pytest.approx(min(model.validation_curve_), rel=1e-9)


# ---- going on


@every_model
def test_warm_start_goes_on_from_the_last_fit(name):
    X, watch = bits(200, 4), Watch()
    model = fit(make(name, warm_start=True, max_iter=5, callbacks=[watch]), X)
    before = model.theta_.copy()
    fit(model, X)
    assert_same_bits(watch.start, before)
    fit(model.set_params(warm_start=False), X)
    assert (watch.start != before).any()
    fit(model.set_params(warm_start=True), bits(50, 4))
    with pytest.raises(ValueError, match="4 features"):
        model.fit(bits(200, 5))


@every_model
def test_fitting_again_forgets_the_first_fit(name):
    model, _ = fitted(name, D=7)
    X = bits(100, 4)
    assert_same_bits(fit(model, X).theta_, fit(make(name, distribution="bernoulli"), X).theta_)


@pytest.mark.parametrize("solver", SOLVERS)
@every_conditional
@every_model
def test_passes_of_partial_fit_are_the_epochs_of_fit(name, conditional, solver):
    X, settings = DATA[conditional](50, 4), WHOLE | {"solver": solver, "alpha": 0.1}
    settings |= {"distribution": distribution(conditional, 4)}
    model = make(name, **settings)
    for _ in range(4):
        model.partial_fit(X)
    whole = fit(make(name, max_iter=4, **settings), X)
    np.testing.assert_allclose(model.theta_, whole.theta_, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(model.loss_curve_, whole.loss_curve_)
    assert model.n_iter_ == 4


@every_model
def test_partial_fit_takes_chunks_of_any_size_and_improves(name):
    X = bits(600, 5)
    model = make(name)
    assert model.partial_fit(X[:50]) is model
    first = model.score(X)
    for start in range(0, 600, 37):
        model.partial_fit(X[start : start + 37])
    assert model.score(X) > first
    fit(model, X[:100])
    assert model.n_iter_ <= 20


@every_model
def test_partial_fit_goes_on_from_a_fit(name):
    model, X = fitted(name)
    before = model.theta_.copy()
    model.set_params(learning_rate_init=1e-9).partial_fit(X)
    np.testing.assert_allclose(model.theta_, before, atol=1e-6)


# ---- solvers, schedules, alpha


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("solver", SOLVERS)
@every_model
def test_every_solver_and_schedule_lowers_the_loss(name, solver, schedule):
    X = bits(300, 5)
    model = make(name, solver=solver, learning_rate=schedule, learning_rate_init=None)
    fit(model.set_params(early_stopping=False), X)
    assert model.loss_curve_[-1] < model.loss_curve_[0] - 1e-3


@pytest.mark.parametrize(
    "solver", [optimizers.SGD(0.5, nesterov=False), optimizers.Adam(beta_1=0.5)]
)
@every_model
def test_a_solver_may_be_an_object_and_is_not_changed(name, solver):
    before = vars(solver).copy()
    model, _ = fitted(name, solver=solver, learning_rate=schedules.Linear(0.1))
    assert vars(solver) == before
    assert model.loss_curve_[-1] < model.loss_curve_[0]


@every_model
def test_the_schedule_sets_the_rate_of_each_step(name):
    class Rates:
        seen = ()

        def on_epoch_end(self, training):
            self.seen = (*self.seen, training.rate)

    rates = Rates()
    settings = {"batch_size": 30, "max_iter": 5, "learning_rate_init": 0.5}
    settings |= {"learning_rate": "linear", "early_stopping": False, "callbacks": [rates]}
    fit(make(name, **settings), bits(90, 3))
    assert rates.seen == pytest.approx([0.5 * (1 - (3 * k - 1) / 15) for k in range(1, 6)])


@every_model
def test_a_plateau_drops_the_rate(name):
    rates = []

    class Rates:
        def on_epoch_end(self, training):
            rates.append(training.rate)

    settings = {"learning_rate": schedules.Plateau(0.1, 2), "tol": 100.0, "callbacks": [Rates()]}
    fit(make(name, learning_rate_init=1e-3, max_iter=7, **settings), bits(90, 3))
    # epoch 1 improves on nothing; epochs 2 and 3 do not improve
    assert rates == pytest.approx([1e-3, 1e-3, 1e-3, 1e-4, 1e-4, 1e-5, 1e-5])


class Steps:
    """Keeps the rate and the parameters after each epoch."""

    def __init__(self):
        self.rates, self.thetas = [], []

    def on_epoch_end(self, training):
        self.rates.append(training.rate)
        self.thetas.append(training.model.theta.copy())


@every_model
def test_a_cooldown_ends_training_after_its_plateau(name):
    steps = Steps()
    settings = {"learning_rate": schedules.Cooldown(share=0.5, least=4), "batch_size": 4}
    settings |= {"tol": 100.0, "n_iter_no_change": 3, "learning_rate_init": 1.0}
    settings |= {"solver": optimizers.SGD(momentum=0), "callbacks": [steps], "max_iter": 100}
    model = make(name, **settings).fit(bits(90, 3))  # it is complete: nothing is warned of
    n = -(-81 // 4)  # steps of an epoch
    fall = [1 - (k * n - 1) / (4 * n) for k in (1, 2, 3, 4)]
    # epoch 1 improves on nothing, three more do not improve enough
    assert steps.rates == pytest.approx([1, 1, 1, 1, *fall])
    assert model.n_iter_ == 8


@pytest.mark.parametrize(("max_iter", "fall"), [(1, 0), (4, 3), (30, 7)])
@every_model
def test_a_cooldown_ends_by_max_iter(name, max_iter, fall):
    steps = Steps()
    settings = {"learning_rate": "cooldown", "solver": optimizers.SGD(momentum=0), "tol": 0.0}
    settings |= {
        "learning_rate_init": 1e-3,
        "max_iter": max_iter,
        "callbacks": [steps],
        "early_stopping": False,
    }
    model = make(name, **settings).fit(bits(90, 3))  # it is complete: nothing is warned of
    assert model.n_iter_ == max_iter
    falling = [1e-3 * (1 - k / fall) for k in range(fall)]  # one step an epoch
    assert steps.rates == pytest.approx([1e-3] * (max_iter - fall) + falling)


@pytest.mark.parametrize("schedule", [schedules.Cooldown(), schedules.Plateau(0.1, 2)], ids=str)
@every_model
def test_the_rate_drops_at_the_best_parameters_so_far(name, schedule):
    steps = Steps()
    settings = {"learning_rate": schedule, "batch_size": 4, "n_iter_no_change": 2, "max_iter": 60}
    if isinstance(schedule, schedules.Plateau):
        settings["n_iter_no_change"] = 10
    X = bits(160, 4)
    model = make(name, learning_rate_init=0.3, callbacks=[steps], **settings)
    fit(model, X[:90], X_val=X[90:])
    drop = int(np.argmax(np.array(steps.rates) < 0.3))  # the first epoch with a lower rate
    best = int(np.argmin(model.validation_curve_[:drop]))
    assert best < drop - 1  # so that going back is something else than going on
    assert_same_bits(steps.thetas[drop - 1], steps.thetas[best])


@every_model
def test_a_cooldown_without_held_out_rows_goes_on_from_the_last_parameters(name):
    steps = Steps()
    settings = {"learning_rate": "cooldown", "n_iter_no_change": 2, "early_stopping": False}
    settings |= {"batch_size": 4, "learning_rate_init": 0.3, "max_iter": 200}
    model = make(name, callbacks=[steps], **settings).fit(bits(90, 4))
    assert_same_bits(model.theta_, steps.thetas[-1])
    assert len({each.tobytes() for each in steps.thetas}) == model.n_iter_
    assert steps.rates[-1] < 0.3 / 20


@every_model
def test_alpha_shrinks_the_weights_and_spares_the_biases(name):
    X, watch = bits(100, 4), Watch()
    plain, decayed = (
        fit(make(name, max_iter=1, alpha=alpha, solver="sgd", callbacks=[watch], **WHOLE), X)
        for alpha in (0.0, 3.0)
    )
    layout = watch.training.model.layout
    shrunk = plain.theta_ - 0.02 * 3.0 * watch.start * (np.arange(layout.size) < layout.n_decayed)
    np.testing.assert_allclose(decayed.theta_, shrunk, rtol=1e-12, atol=1e-15)
    assert 0 < layout.n_decayed < layout.size
    norms = [
        np.linalg.norm(fitted(name, alpha=alpha, max_iter=60)[0].theta_[: layout.n_decayed])
        for alpha in (0.0, 1.0, 10.0)  # a weaker one changes when training stops, too
    ]
    assert norms == sorted(norms, reverse=True)


# ---- stopping


@every_conditional
@every_model
def test_early_stopping_keeps_the_best_parameters(name, conditional):
    X = DATA[conditional](160, 4)
    settings = {"learning_rate_init": 0.1, "max_iter": 100, "dtype": "float64", "batch_size": 3}
    settings |= {"distribution": distribution(conditional, 4)}
    model = fit(make(name, **settings), X[:60], X_val=X[60:])
    curve = model.validation_curve_
    assert model.score(X[60:]) == pytest.approx(-min(curve), rel=1e-9)
    assert model.best_iter_ == np.argmin(curve) + 1
    assert model.n_iter_ == len(curve) < 100
    assert curve[-1] > min(curve)


@every_model
def test_training_stops_after_n_iter_no_change_epochs_without_tol(name):
    for n_iter_no_change in (1, 4):
        settings = {"tol": 100.0, "n_iter_no_change": n_iter_no_change, "batch_size": 4}
        assert make(name, **settings).fit(bits(90, 3)).n_iter_ == 1 + n_iter_no_change
        early = {"early_stopping": False}
        assert make(name, **settings, **early).fit(bits(90, 3)).n_iter_ == 1 + n_iter_no_change


@every_model
def test_an_epoch_of_one_step_is_a_twentieth_of_an_epoch_to_judge_by(name):
    model = make(name, tol=100.0, n_iter_no_change=2, batch_size=90, max_iter=100)
    assert model.fit(bits(90, 3)).n_iter_ == 1 + 2 * 20


@every_model
def test_without_early_stopping_every_row_trains_and_the_last_parameters_stay(name):
    watch, stop = Watch(), Stop(6)
    model = fit(make(name, early_stopping=False, callbacks=[watch, stop]), bits(90, 3))
    assert len(watch.training.table) == 90
    assert model.validation_curve_ == []
    assert_same_bits(model.theta_, stop.theta)
    assert model.best_iter_ == model.n_iter_ == 6


@every_model
def test_validation_rows_may_have_another_container(name):
    X = bits(160, 4)
    plain = fit(make(name), X[:60], X_val=X[60:])
    other = fit(make(name), X[:60], X_val=X[60:].astype(float).tolist())
    assert_same_bits(plain.theta_, other.theta_)


@pytest.mark.filterwarnings("ignore:.* no level that was seen in fit")
def test_validation_rows_of_levels_without_a_probability_do_not_count():
    X = levels(160, 3)
    model = NADE(distribution=Categorical(unknown="impossible"), max_iter=8, random_state=0)
    plain = fit(clone(model), X[:100], X_val=X[100:])
    other = fit(clone(model), X[:100], X_val=np.vstack([X[100:120], X[:1] + 99, X[120:]]))
    assert plain.best_iter_ > 0
    assert other.validation_curve_ == pytest.approx(plain.validation_curve_, rel=1e-12)
    assert_same_bits(other.theta_, plain.theta_)
    none = fit(clone(model), X[:100], X_val=X[:5] + 99)  # there is nothing to judge by
    assert none.validation_curve_ == [np.inf] * none.n_iter_


@every_model
def test_reaching_max_iter_warns(name):
    with pytest.warns(ConvergenceWarning, match="max_iter=2 before it converged"):
        make(name, max_iter=2).fit(bits(90, 3))


@every_model
def test_one_row_can_be_fitted(name):
    model = fit(make(name), bits(1, 3))
    assert np.isfinite(model.score(bits(1, 3)))


@every_conditional
@every_model
def test_a_constant_column_keeps_likelihoods_finite(name, conditional):
    X = DATA[conditional](60, 3)
    X[:, 1] = X[0, 1]
    model = fit(make(name, distribution=distribution(conditional, 3)), X)
    assert np.isfinite(model.score_samples(X)).all()
    drawn = model.sample(20, random_state=0)[:, 1]
    if conditional in ("bernoulli", "categorical", "logistic_mixture"):
        assert (drawn == X[0, 1]).mean() > 0.5
    assert np.isfinite(drawn).all()


@every_model
def test_no_step_is_longer_than_the_largest_norm_of_the_gradient_allows(name):
    class Steps:
        def on_fit_begin(self, training):
            self.before, self.longest = training.model.theta.copy(), 0

        def on_epoch_end(self, training):
            step = training.model.theta - self.before
            self.longest = max(self.longest, np.sqrt((step.astype(float) ** 2).sum()))
            self.before = training.model.theta.copy()

    X, steps = bits(60, 4), Steps()
    settings = WHOLE | {"learning_rate_init": 0.5, "callbacks": [steps]}
    settings["solver"] = optimizers.SGD(momentum=0.0, nesterov=False)
    plain = fit(make(name, **settings), X)
    free = steps.longest
    fit(make(name, max_gradient_norm=1e-3, **settings), X)
    assert steps.longest == pytest.approx(0.5e-3, rel=1e-6)
    assert steps.longest < free
    loose = fit(make(name, max_gradient_norm=1e9, **settings), X)
    assert_same_bits(loose.theta_, plain.theta_)
