"""MADE and FVSBN: depths, sets of masks whose densities are averaged, dropout, files.

What all models have in common is in the other files, networks and kernels in
test_masked_kernels.py.
"""

import copy
import pickle

import numpy as np
import pytest
import reference
from common import (
    CONDITIONALS,
    DATA,
    DISCRETE,
    KINDS,
    MARKOV_ORDERS,
    ORDERS,
    OUTPUTS,
    SOLVERS,
    assert_same,
    assert_same_bits,
    bits,
    distribution,
    fit,
    fitted,
    make,
    snapshot,
    states,
)
from frequencies import chi_square, counts, prefix_law
from scipy.special import logsumexp
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from test_interruptions import Stop

import fastar
from fastar import Mixture, optimizers
from fastar._core import threads
from fastar.callbacks import Checkpoint, History

pytestmark = pytest.mark.kernels

DEPTHS = {1: (9,), 2: (9, 5), 3: (3, 6, 4)}
# Of MADE: several networks that share one set of parameters ...
MEMBERS = {
    "3 sets": {"n_masks": 3},
    "3 orders": {"n_masks": 3, "order_agnostic": True},
    "unlimited sets": {"n_masks": "unlimited", "n_scoring_masks": 4},
    "unlimited orders": {"n_masks": "unlimited", "n_scoring_masks": 4, "order_agnostic": True},
}
# ... and one alone.
SINGLE = {
    "plain": {},
    "dropout": {"dropout": 0.5},
    "random degrees": {"degrees": "random"},
    "layers alone": {"direct_connections": False},
}
# By depth and name.
VARIANTS = {(0, "plain"): {}}
VARIANTS |= {
    (depth, name): settings | {"hidden_layer_sizes": DEPTHS[depth]}
    for depth in (1, 2, 3)
    for name, settings in (MEMBERS | SINGLE).items()
}
every_variant = pytest.mark.parametrize("variant", VARIANTS, ids=str)
every_members = pytest.mark.parametrize("members", MEMBERS)
every_conditional = pytest.mark.parametrize("conditional", CONDITIONALS)
every_discrete = pytest.mark.parametrize("conditional", DISCRETE)


def masked(variant, **parameters):
    """Return an unfitted model of VARIANTS; without hidden layers it is FVSBN."""
    return make("MADE" if variant[0] else "FVSBN", **VARIANTS[variant] | parameters)


def shaken(model, X):
    """Return the model after a short fit, all its parameters moved, those behind masks too."""
    fit(model.set_params(max_iter=2), X)
    model.theta_ += np.random.default_rng(7).standard_normal(model.theta_.size) / 2
    return model


def members_scores(model, X):
    """Return the textbook's log p(x_d | those before it) (M, n, D) by each set of masks.

    Columns in the model's order.
    """
    inner = model._model()
    codes = inner.codes(np.ascontiguousarray(X[:, model.order_])).astype(float)
    params = {name: array.astype(float) for name, array in inner.params.items()}
    law = reference.conditional_of(model.distribution_)
    jacobian = model.distribution_.log_jacobian(codes)
    twins = [
        reference.Masked.of(model.network_, member) for member in range(model.network_.n_members)
    ]
    input_flags = model.distribution_.inputs.input_flags
    scores = np.stack([twin.score_features(params, codes, law, input_flags) for twin in twins])
    return scores if jacobian is None else scores + jacobian


# ---- densities


@pytest.mark.parametrize("markov_order", MARKOV_ORDERS)
@every_discrete
@every_variant
def test_probabilities_of_all_states_sum_to_one(variant, conditional, markov_order):
    D = 5
    settings = {"distribution": distribution(conditional, D), "markov_order": markov_order}
    settings["dtype"] = "float64"
    model = shaken(masked(variant, **settings, order="random"), DATA[conditional](60, D))
    assert np.exp(model.score_samples(states(conditional, D))).sum() == pytest.approx(1, abs=1e-12)


@every_conditional
@every_variant
def test_a_density_is_the_mean_of_those_of_all_sets_of_masks(variant, conditional):
    X = DATA[conditional](40, 6)
    settings = {"distribution": distribution(conditional, 6), "dtype": "float64"}
    model = shaken(masked(variant, order="random", **settings), X)
    by_member = members_scores(model, X).sum(axis=2)
    M = model.get_params().get("n_masks", 1)
    assert len(by_member) == (4 if M == "unlimited" else M)
    expected = logsumexp(by_member, axis=0) - np.log(len(by_member))
    np.testing.assert_allclose(model.score_samples(X), expected, rtol=1e-9, atol=1e-9)
    assert model.score(X) == pytest.approx(expected.mean(), rel=1e-9)


@pytest.mark.parametrize("members", ["3 sets", "unlimited sets"])
@every_discrete
def test_features_scores_are_ratios_of_the_probabilities_of_prefixes(conditional, members):
    D = 4
    X = DATA[conditional](60, D)
    settings = {"distribution": distribution(conditional, D), "order": "random"}
    settings["dtype"] = "float64"
    model = shaken(masked((2, members), **settings), X)
    rows, order = states(conditional, D), model.order_
    p = np.exp(model.score_samples(rows))
    features = model.score_features(rows)
    np.testing.assert_allclose(features.sum(axis=1), np.log(p), rtol=1e-10)
    for place, column in enumerate(order):
        upto, before = (
            (rows[:, None, seen] == rows[None, :, seen]).all(axis=2) @ p
            for seen in (order[: place + 1], order[:place])
        )
        np.testing.assert_allclose(np.exp(features[:, column]), upto / before, rtol=1e-9)
    said = model.conditionals(rows)
    if isinstance(said, dict):
        for column in range(D):  # the step of the CDF from the level below
            above = np.flatnonzero(rows[:, column] > rows.min())
            below = rows[above] - np.eye(D, dtype=rows.dtype)[column]
            step = said["cdf"][above, column] - model.conditionals(below)["cdf"][:, column]
            np.testing.assert_allclose(step, np.exp(features[above, column]), rtol=1e-7)
        return
    said = np.stack([1 - said, said], axis=2) if conditional == "bernoulli" else said
    chosen = np.take_along_axis(said, rows.astype(int)[:, :, None], 2)[:, :, 0]
    np.testing.assert_allclose(chosen, np.exp(features), rtol=1e-9)
    np.testing.assert_allclose(said.sum(axis=2), 1)


@pytest.mark.parametrize("conditional", ["gaussian", "gaussian_mixture"])
def test_a_mean_of_densities_is_described_by_its_mean_variance_and_cdf(conditional):
    X = DATA["gaussian"](60, 3)
    model = shaken(masked((1, "3 sets"), distribution=conditional, dtype="float64"), X)
    said, start = model.conditionals(X[:1]), X[0]
    for column in range(3):
        mean, sd = said["mean"][0, column], np.sqrt(said["variance"][0, column])
        x = mean + sd * np.linspace(-15, 15, 4001)
        rows = np.repeat(start[None], len(x), axis=0)
        rows[:, column] = x
        p = np.exp(model.score_features(rows)[:, column]) * (x[1] - x[0])
        assert p.sum() == pytest.approx(1, abs=1e-6)
        assert p @ x == pytest.approx(mean, abs=1e-6 * sd)
        assert p @ (x - mean) ** 2 == pytest.approx(sd**2, rel=1e-5)
        cdf = model.conditionals(rows)["cdf"][:, column]
        np.testing.assert_allclose(np.cumsum(p) - p / 2, cdf, atol=1e-4)


def test_the_variance_of_a_mean_of_gaussians_does_not_drown_in_a_large_mean():
    # dyadic numbers, so that moving them rounds none
    X = np.round(np.random.default_rng(0).standard_normal((60, 3)) * 2**10) / 2**10
    near, far = (
        shaken(
            masked((1, "3 sets"), dtype="float64", distribution="gaussian"), X + shift
        ).conditionals(X + shift)
        for shift in (0, 2.0**30)
    )
    np.testing.assert_allclose(far["variance"], near["variance"], rtol=1e-4)
    np.testing.assert_allclose(far["mean"] - 2.0**30, near["mean"], atol=1e-4)


@pytest.mark.parametrize("method", ["score_features", "conditionals"])
@pytest.mark.parametrize("members", ["3 orders", "unlimited orders"])
def test_a_mean_over_orders_has_no_conditionals(members, method):
    model, X = fitted("MADE", **MEMBERS[members])
    before = snapshot(model)
    with pytest.raises(ValueError, match=r"mixture over orders has no .* order_agnostic=True"):
        getattr(model, method)(X)
    assert_same(before, snapshot(model))


@every_members
def test_scores_have_the_same_bits_for_any_batch(members):
    X = bits(600, 20)
    model = shaken(masked((2, members)), X)
    methods = [model.score_samples]
    if not model.order_agnostic:
        methods += [model.score_features, model.conditionals]
    for method in methods:
        whole = method(X)
        for size in (1, 7, 255, 257):
            starts = range(0, min(600, 10 * size), size)
            some = [method(X[start : start + size]) for start in starts]
            assert_same_bits(np.concatenate(some), whole[: 10 * size])


@pytest.mark.parametrize("conditional", ["bernoulli", "gaussian"])  # listed inputs, and others
@every_members
def test_everything_has_the_same_bits_for_any_number_of_jobs(members, conditional, monkeypatch):
    monkeypatch.setattr(threads, "_WORTH_A_THREAD", 1)
    X = DATA[conditional](300, 7)
    held = np.where(np.arange(7) % 3 == 0, X[0].astype(float), np.nan)

    def life(n_jobs):
        settings = {"n_jobs": n_jobs, "distribution": conditional, "dropout": 0.3, "max_iter": 3}
        model = fit(masked((2, members), hidden_layer_sizes=(50, 33), **settings), X)
        features = [] if model.order_agnostic else [model.score_features(X), model.conditionals(X)]
        return [
            model.theta_.copy(),
            model.score_samples(X),
            *features,
            model.sample(300, random_state=1),
            model.sample(50, evidence=held, random_state=1),
            model.impute(np.repeat(held[None], 30, axis=0), random_state=1),
            model.partial_fit(X).theta_,
        ]

    alone = life(1)
    for n_jobs in (2, 3, 8):
        assert_same(life(n_jobs), alone)


# ---- samples


@every_discrete
@every_members
def test_samples_have_the_probabilities_of_the_mean(members, conditional):
    D = 4 if conditional == "bernoulli" else 3
    model = shaken(masked((1, members), distribution=conditional), DATA[conditional](60, D))
    rows = states(conditional, D)
    observed = counts(model.sample(20_000, random_state=1), rows)
    assert chi_square(observed, np.exp(model.score_samples(rows))) > 1e-4


@every_discrete
@pytest.mark.parametrize("members", ["3 sets", "unlimited sets"])
def test_what_follows_a_prefix_of_evidence_is_exact(members, conditional):
    D = 4
    X = DATA[conditional](60, D)
    model = shaken(masked((1, members), distribution=conditional, order="random"), X)
    evidence, rows, p = prefix_law(model, conditional, X[3])
    observed = counts(model.sample(10_000, evidence=evidence, random_state=0), rows)
    assert chi_square(observed, p) > 1e-4
    # a row that holds it, one that holds nothing and one that holds all, side by side
    table = np.stack([evidence, np.full(D, np.nan), X[3]] * 3_000)
    drawn = model.sample(9_000, evidence=table, random_state=0)
    assert chi_square(counts(drawn[::3], rows), p) > 1e-4
    every = states(conditional, D)
    assert chi_square(counts(drawn[1::3], every), np.exp(model.score_samples(every))) > 1e-4
    assert (drawn[2::3] == X[3]).all()
    completed = model.impute(np.repeat(evidence[None], 9_000, axis=0), n_particles=2)
    assert chi_square(counts(completed, rows), p / p.sum()) > 1e-4
    np.testing.assert_allclose(model.impute_ess_, 2)


@pytest.mark.parametrize("known", [[1, 3], [3]], ids=str)
@pytest.mark.parametrize("members", ["3 sets", "3 orders"])
def test_imputed_values_have_the_posterior_of_the_mean(members, known):
    D, n = 4, 800
    X = bits(60, D)
    model = shaken(masked((1, members)), X)
    row = np.full(D, np.nan)
    row[known] = X[3][known]
    completed = model.impute(np.repeat(row[None], n, axis=0), n_particles=60, random_state=0)
    assert (completed[:, known] == X[3][known]).all()
    assert ((model.impute_ess_ >= 1) & (model.impute_ess_ <= 60 + 1e-9)).all()
    rows = states("bernoulli", D)
    rows = rows[(rows[:, known] == X[3][known]).all(axis=1)]
    p = np.exp(model.score_samples(rows))
    # the bias of resampling among 60 particles is a few percent
    np.testing.assert_allclose(counts(completed, rows) / n, p / p.sum(), atol=0.06)


def test_a_mixture_of_means_draws_exactly_what_follows_a_prefix_of_evidence():
    X = bits(60, 4)
    mixture = fit(Mixture(masked((1, "3 sets")), n_members=2, n_jobs=1, random_state=0), X)
    for place, member in enumerate(mixture.estimators_):
        rng = np.random.default_rng([2, place])
        member.theta_ += 1.5 * rng.standard_normal(member.theta_.size)
    rows = states("bernoulli", 4)
    rows = rows[(rows[:, :2] == 1).all(axis=1)]
    p = np.exp(mixture.score_samples(rows))
    drawn = mixture.sample(10_000, evidence=[1, 1, np.nan, np.nan], random_state=0)
    assert chi_square(counts(drawn, rows), p / p.sum()) > 1e-4


# ---- parameters and masks


@pytest.mark.parametrize("order", ORDERS)
@every_conditional
@pytest.mark.parametrize("D", [1, 2, 6])
def test_parameters_have_the_shapes_and_numbers_of_the_papers(D, conditional, order):
    settings = {"distribution": distribution(conditional, D), "order": ORDERS[order](D)}
    X = DATA[conditional](40, D)
    linear = fit(make("FVSBN", **settings), X)
    kinds = [KINDS[d % len(KINDS)] if conditional == "mixed" else conditional for d in range(D)]
    P = np.array([OUTPUTS[kind] for kind in kinds])[linear.order_]
    Q = np.array([3 if kind == "categorical" else 1 for kind in kinds])[linear.order_]
    outputs = (D, P[0]) if (P[0] == P).all() else (P.sum(),)
    inputs = (Q.sum(),) if (Q[0] != Q).any() else (D,) if Q[0] == 1 else (D, Q[0])
    shapes = {"L": (*outputs, *inputs), "b": outputs}
    assert {name: array.shape for name, array in linear.params_.items()} == shapes
    behind = np.repeat(np.arange(D), P)[:, None] - np.repeat(np.arange(D), Q)
    assert linear.n_parameters_ == P.sum() + (behind > 0).sum()
    if conditional == "bernoulli":
        assert linear.n_parameters_ == D * (D + 1) // 2
    L = linear.params_["L"].reshape(behind.shape)
    assert (L[behind <= 0] == 0).all()
    for d in range(1, D):
        assert (L[np.repeat(np.arange(D), P) == d] != 0).any()

    deep = fit(make("MADE", hidden_layer_sizes=(4, 3), **settings), X)
    shapes |= {"W0": (*inputs, 4), "c0": (4,), "W1": (4, 3), "c1": (3,), "W2": (3, *outputs)}
    assert {name: array.shape for name, array in deep.params_.items()} == shapes


@pytest.mark.parametrize("variant", [each for each in VARIANTS if each[0]], ids=str)
def test_masks_say_which_weights_are_used_and_counted(variant):
    X = bits(60, 6)
    model = shaken(masked(variant, dtype="float64"), X)
    several = isinstance(model.masks_, list)
    assert several == (model.n_masks != 1)
    sets = model.masks_ if several else [model.masks_]
    assert len(sets) == model.network_.n_members
    biases = [array.size for name, array in model.params_.items() if name[0] in "cb"]
    shown = {name: np.any([masks[name] for masks in sets], axis=0) for name in sets[0]}
    assert model.n_parameters_ == sum(biases) + sum(mask.sum() for mask in shown.values())
    scores = model.score_samples(X)
    for name, mask in shown.items():
        assert mask.shape == model.params_[name].shape
        model.params_[name][~mask] = np.nan
    assert_same_bits(model.score_samples(X), scores)
    assert model.sample(50, random_state=0).shape == (50, 6)


def test_an_unfitted_model_has_no_masks():
    model = make("MADE")
    with pytest.raises(NotFittedError, match="This MADE instance is not fitted yet"):
        model.masks_  # noqa: B018


def test_a_seed_decides_on_the_masks_and_a_fit_keeps_them():
    X = bits(60, 6)
    for settings in ({"degrees": "random"}, {"n_masks": 3}, {"n_masks": 2, "order_agnostic": True}):
        first, same, other = (
            fit(make("MADE", random_state=seed, max_iter=2, **settings), X) for seed in (0, 0, 1)
        )
        assert_same(first.masks_, same.masks_)
        first_set, other_set = (
            each.masks_ if "n_masks" not in settings else each.masks_[0] for each in (first, other)
        )
        assert any((first_set[name] != other_set[name]).any() for name in first_set)
        before = copy.deepcopy(first.masks_)
        fit(first.set_params(warm_start=True, random_state=5), X)
        assert_same(first.masks_, before)
        first.partial_fit(X)
        assert_same(first.masks_, before)


@pytest.mark.parametrize("alpha", [0.0, 0.5])
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("variant", [(0, "plain"), (2, "plain"), (2, "random degrees")], ids=str)
def test_no_step_touches_what_the_only_mask_hides(variant, solver, alpha):
    class Mark:
        def on_fit_begin(self, training):
            self.start = training.model.theta.copy()
            hidden = np.ones(len(self.start), bool)
            for begin, end in training.model.network.active:
                hidden[begin:end] = False
            assert (self.start[hidden] == 0).all()
            training.model.theta[hidden] = np.arange(hidden.sum())
            self.hidden = hidden

    mark = Mark()
    settings = {"callbacks": [mark], "solver": solver, "alpha": alpha, "learning_rate_init": None}
    if variant[0]:
        settings["activation"] = "tanh"  # of which no unit is dead
    model = fit(masked(variant, **settings, max_iter=3), bits(60, 6))
    assert_same_bits(model.theta_[mark.hidden], np.arange(mark.hidden.sum(), dtype=np.float32))
    assert (model.theta_[~mark.hidden] != mark.start[~mark.hidden]).mean() > 0.9
    assert model.n_parameters_ == (~mark.hidden).sum()


@every_members
def test_a_step_leaves_what_its_set_of_masks_hides(members):
    class Steps:
        def on_fit_begin(self, training):
            self.thetas = [training.model.theta.copy()]

        def on_epoch_end(self, training):
            self.thetas.append(training.model.theta.copy())

    steps = Steps()
    settings = {"solver": optimizers.SGD(0.0, nesterov=False), "batch_size": 60, "max_iter": 7}
    settings |= {"early_stopping": False, "callbacks": [steps]}
    model = fit(masked((2, members), **settings), bits(60, 6))
    network, layout = model.network_, model._model().layout
    for step in range(7):
        before, after = (layout.views(theta) for theta in steps.thetas[step : step + 2])
        masks = reference.Masked.of(network, network.training_member(step)).masks
        for name, mask in masks.items():
            moved = (after[name] != before[name]).reshape(mask.shape)
            assert not moved[~mask].any()
            assert moved[mask].any()
    # what is hidden now and then keeps what it was given at other times
    W = layout.views(steps.thetas[0])["W1"]
    assert (W != 0).all()
    assert (layout.views(steps.thetas[-1])["W1"] != 0).all()


def test_dropout_changes_training_alone():
    X = bits(200, 6)
    plain, left_out = (fit(masked((2, "plain"), dropout=share), X) for share in (0.0, 0.5))
    assert (plain.theta_ != left_out.theta_).any()
    assert_same_bits(fit(masked((2, "plain"), dropout=0.5), X).theta_, left_out.theta_)
    assert_same_bits(left_out.score_samples(X), left_out.score_samples(X))
    np.testing.assert_allclose(
        left_out.score_samples(X), members_scores(left_out, X)[0].sum(axis=1), rtol=1e-4
    )


# ---- bad settings


@pytest.mark.parametrize(
    "sizes", [(), [], (0,), (3, -1), (2.5,), (3, True), ("3",), (3, None), np.array(3)]
)
def test_layers_must_be_counted(sizes):
    match = "hidden_layer_sizes must be at least one layer, each of an int of at least 1 unit"
    refused(make("MADE", hidden_layer_sizes=sizes), match)


def test_an_order_for_each_set_of_masks_wants_several_sets():
    refused(make("MADE", order_agnostic=True), "order_agnostic=True wants more than one set")


def refused(model, match):
    """Expect fit to raise a ValueError and leave the model as it was, fitted or not."""
    before, X = snapshot(model), bits(30, 4)
    with pytest.raises(ValueError, match=match):
        model.fit(X)
    assert_same(before, snapshot(model))
    bad = model.get_params()
    fit(model.set_params(hidden_layer_sizes=(3,), order_agnostic=False), X).set_params(**bad)
    before = snapshot(model)
    with pytest.raises(ValueError, match=match):
        model.fit(X)
    assert_same(before, snapshot(model))


@pytest.mark.parametrize(
    "sizes", [5, (5,), [5], np.array([5]), np.int64(5), (np.int32(5),)], ids=repr
)
def test_layers_may_be_one_number_or_any_list(sizes, tmp_path):
    X = bits(60, 4)
    model = fit(make("MADE", hidden_layer_sizes=sizes), X)
    assert_same_bits(model.theta_, fit(make("MADE", hidden_layer_sizes=(5,)), X).theta_)
    model.save(tmp_path / "model")
    assert_same_bits(fastar.load(tmp_path / "model").score_samples(X), model.score_samples(X))


# ---- files, copies, going on


@pytest.mark.parametrize("copier", ["file", "pickle", "deepcopy"])
@pytest.mark.parametrize("variant", [each for each in VARIANTS if each[0] in (0, 2)], ids=str)
def test_a_copy_has_the_masks_and_learns_on_alike(variant, copier, tmp_path):
    X = bits(60, 6)
    model = fit(masked(variant, max_iter=4, order="random", warm_start=True), X)
    if copier == "file":
        model.save(tmp_path / "model")
        again = fastar.load(tmp_path / "model")
    else:
        again = copy.deepcopy(model) if copier == "deepcopy" else pickle.loads(pickle.dumps(model))
    assert again.network_ == model.network_
    if variant[0]:
        assert_same(again.masks_, model.masks_)
    assert_same_bits(again.score_samples(X), model.score_samples(X))
    assert_same_bits(again.sample(30, random_state=1), model.sample(30, random_state=1))
    assert again.n_parameters_ == model.n_parameters_
    for learn in ("fit", "partial_fit"):
        thetas = []
        for each in (again, model):
            fit(each, X) if learn == "fit" else each.partial_fit(X)
            thetas.append(each.theta_)
        assert_same_bits(*thetas)


@pytest.mark.parametrize(
    "later",
    [{"hidden_layer_sizes": (9, 5, 5)}, {"n_masks": 2}, {"dropout": 0.1}, {"degrees": "random"},
     {"direct_connections": False}, {"activation": "tanh"}],
    ids=str,
)  # fmt: skip
def test_going_on_with_another_network_is_refused(later):
    X = bits(60, 6)
    model = fit(masked((2, "3 sets"), warm_start=True), X).set_params(**later)
    before = snapshot(model)
    for learn in (model.fit, model.partial_fit):
        with pytest.raises(ValueError, match="parameters of its network must stay as they were"):
            learn(X)
    assert_same(before, snapshot(model))


@pytest.mark.parametrize("stopped", [1, 4])
@every_members
def test_a_resumed_fit_goes_on_with_the_same_masks_and_dropout(members, stopped, tmp_path):
    X = bits(90, 5)
    settings = {"dropout": 0.4, "max_iter": 8, "batch_size": 17}
    whole = fit(masked((2, members), **settings), X)
    checkpoint, history = Checkpoint(tmp_path / "state"), History()
    fit(masked((2, members), **settings, callbacks=[checkpoint, Stop(stopped)]), X)
    resumed = masked((2, members), **settings, callbacks=[Checkpoint(tmp_path / "state"), history])
    fit(resumed, X)
    assert history.records[0]["epoch"] == stopped + 1
    assert_same_bits(resumed.theta_, whole.theta_)
    assert resumed.loss_curve_ == whole.loss_curve_
    assert resumed.validation_curve_ == whole.validation_curve_


@every_members
def test_passes_of_partial_fit_are_the_epochs_of_fit(members):
    X = bits(50, 4)
    settings = {"early_stopping": False, "batch_size": 50, "dtype": "float64", "tol": 0.0}
    model = masked((1, members), **settings)
    for _ in range(5):
        model.partial_fit(X)
    whole = fit(masked((1, members), max_iter=5, **settings), X)
    np.testing.assert_allclose(model.theta_, whole.theta_, rtol=1e-9, atol=1e-11)


# ---- FVSBN


@pytest.mark.parametrize("markov_order", [None, 2])
@pytest.mark.parametrize("order", ["natural", [3, 1, 4, 0, 2]], ids=str)
@pytest.mark.parametrize("alpha", [0.05, 0.5])
def test_fvsbn_is_a_logistic_regression_of_each_feature(alpha, order, markov_order):
    X = bits(200, 5)
    settings = {"order": order, "markov_order": markov_order, "alpha": alpha, "dtype": "float64"}
    settings |= {"solver": optimizers.SGD(0.0, nesterov=False), "learning_rate_init": 1.5}
    settings |= {"batch_size": 200, "early_stopping": False, "tol": 0.0, "max_iter": 500}
    model = fit(make("FVSBN", **settings, n_iter_no_change=10_000), X)
    p, sorted_X = model.conditionals(X)[:, model.order_], X[:, model.order_]
    for d in range(1, 5):
        seen = sorted_X[:, max(0, d - (markov_order or 5)) : d]
        # scikit-learn's C weighs the sum of n losses against |w|^2 / 2
        regression = LogisticRegression(C=1 / (200 * alpha), tol=1e-10, max_iter=1000)
        regression.fit(seen, sorted_X[:, d])
        np.testing.assert_allclose(p[:, d], regression.predict_proba(seen)[:, 1], atol=1e-4)
        L = model.params_["L"][d, 0, :d][-seen.shape[1] :]
        np.testing.assert_allclose(L, regression.coef_[0], atol=1e-4)
        assert model.params_["b"][d, 0] == pytest.approx(regression.intercept_[0], abs=1e-4)
    assert p[0, 0] == pytest.approx(sorted_X[:, 0].mean(), abs=1e-6)


SPARSE = {  # solvers, and rates that converge
    "sgd": (optimizers.SGD(0.0, nesterov=False), 1.5),
    "momentum": (optimizers.SGD(0.5), 0.5),
    "adagrad": ("adagrad", 0.5),
    "adam": ("adam", 0.004),
}


@pytest.mark.parametrize("solver", SPARSE)
def test_fvsbn_with_a_penalty_minimises_it_and_has_weights_of_zero(solver):
    X, alpha = bits(200, 5), 0.03
    X[:, 4] = X[:, 0] ^ (np.arange(200) % 7 == 0)
    solver, rate = SPARSE[solver]
    settings = {"alpha": alpha, "l1_ratio": 1.0, "solver": solver, "learning_rate_init": rate}
    settings |= {"batch_size": 200, "early_stopping": False, "tol": 0.0, "max_iter": 4000}
    settings |= {"dtype": "float64", "n_iter_no_change": 10_000}
    model = fit(make("FVSBN", **settings), X)
    # where the subgradient of mean loss + alpha |L| holds zero
    slope = (model.conditionals(X) - X).T @ X / len(X)
    L, below = model.params_["L"][:, 0, :4], np.tril(np.ones((5, 4), bool), -1)
    at_zero = below & (L == 0)
    assert (np.abs(slope[:, :4][at_zero]) < alpha).all()
    np.testing.assert_allclose(
        -slope[:, :4][below & (L != 0)], alpha * np.sign(L[below & (L != 0)]), atol=1e-4
    )
    assert 0 < at_zero.sum() < below.sum()
