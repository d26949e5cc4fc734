"""AutoDensity: what it ends with is a mixture, and a list of trials repeats it."""

import json
import os
import pickle
import signal
import time

import numpy as np
import pandas as pd
import pytest
from common import DATA, assert_same, assert_same_bits, bits, fit, levels, reals, snapshot, states
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.utils.estimator_checks import parametrize_with_checks

import fastar
from fastar import NADE, AutoDensity, DensityOutlierDetector, Mixture
from fastar._core.limits import BeyondMemoryError
from fastar._engine.training import Training
from fastar.conditionals import Categorical, Number
from fastar.models._candidates import _CHANGES, Candidate, first_candidates, vary
from fastar.models._search import Trial
from fastar.models._selection import select

QUICK = {"max_time": None, "max_trials": 4, "max_iter": 3, "random_state": 0, "n_jobs": 1}


def auto(**parameters):
    """Return an unfitted one that trains in some hundred milliseconds."""
    return AutoDensity(**QUICK | {"models": ["NADE", "FVSBN"]} | parameters)


@parametrize_with_checks([auto(max_trials=2, max_iter=2, models=["FVSBN"])])
def test_scikit_learns_own_checks_pass(estimator, check):
    check(estimator)


# ---- the density


@pytest.mark.parametrize("conditional", ["bernoulli", "categorical", "gaussian", "number"])
def test_the_density_is_the_weighted_sum_of_the_members(conditional):
    X = DATA[conditional](120, 4)
    model = fit(auto(models=None, max_trials=6), X)
    p = np.column_stack([np.exp(each.score_samples(X)) for each in model.estimators_])
    np.testing.assert_allclose(model.score_samples(X), np.log(p @ model.weights_), rtol=1e-9)
    assert model.weights_.sum() == pytest.approx(1)
    assert (model.weights_ > 0).all()


def test_probabilities_of_all_states_sum_to_one():
    model = fit(auto(models=None, max_trials=16), bits(200, 5))
    assert np.exp(model.score_samples(states("bernoulli", 5))).sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_on_validation_rows_it_is_not_worse_than_its_best_member(seed):
    X, valid = bits(150, 6, seed), bits(80, 6, seed + 10)
    model = fit(auto(random_state=seed, max_trials=8, max_iter=20), X, X_val=valid)
    scores = [member.score(valid) for member in model.estimators_]
    assert model.score(valid) >= max(scores) - 1e-9
    assert model.score(valid) == pytest.approx(-model.validation_curve_[-1], rel=1e-9)
    assert scores == sorted(scores, reverse=True)
    assert max(scores) == pytest.approx(model.leaderboard_[0]["score"], rel=1e-9)


def test_no_member_sees_the_rows_that_are_held_out(monkeypatch):
    X, seen = reals(60, 3), []

    def watched(self, X, **arguments):
        seen.append((X, arguments))
        return self.model.fit(X, **arguments)

    monkeypatch.setattr(Trial, "fit", watched)
    weight = np.r_[np.zeros(20), np.ones(40)]
    with pytest.raises(FloatingPointError):  # no trial has a score
        auto().fit(X, sample_weight=weight)
    for _, arguments in seen:
        trained = arguments["sample_weight"] > 0
        assert trained.sum() == 36
        assert not trained[:20].any()
        held = X[20:][~trained[20:]]
        assert_same_bits(arguments["X_val"], held)


# ---- the list of trials


def test_the_leaderboard_tells_what_was_tried():
    model = fit(auto(max_trials=7), bits(100, 4))
    board = pd.DataFrame(model.leaderboard_)
    assert list(board) == ["model", "settings", "score", "seconds", "epochs", "weight"]
    assert len(board) == 7
    assert set(board["model"]) == {"NADE", "FVSBN"}
    assert board["score"].is_monotonic_decreasing
    assert (board["seconds"] > 0).all()
    assert board["weight"].sum() == pytest.approx(1)
    assert_same_bits(board["weight"][board["weight"] > 0].to_numpy(), model.weights_)


@pytest.mark.parametrize("n_jobs", [2, 7, None])
def test_the_same_bits_for_any_number_of_threads(n_jobs):
    X = bits(300, 6)
    one = fit(auto(max_trials=9), X)
    other = fit(auto(max_trials=9, n_jobs=n_jobs), X)
    assert other.replay_ == one.replay_
    assert_same_bits(other.score_samples(X), one.score_samples(X))


@pytest.mark.parametrize(
    "budget", [{"max_trials": 9}, {"max_time": 2, "max_trials": None}], ids=str
)
def test_a_replay_ends_with_the_same_bits(budget):
    X = bits(200, 5)
    one = fit(auto(models=None, max_iter=60, **budget), X)
    replay = json.loads(json.dumps(one.replay_))
    other = fit(AutoDensity(replay=replay, max_time=1e-9, random_state=7), X)
    assert other.replay_ == one.replay_
    assert_same_bits(other.weights_, one.weights_)
    assert_same_bits(other.score_samples(X), one.score_samples(X))
    without = [{k: v for k, v in line.items() if k != "seconds"} for line in one.leaderboard_]
    again = [{k: v for k, v in line.items() if k != "seconds"} for line in other.leaderboard_]
    assert without == again


def test_another_training_never_makes_a_trial_worse(monkeypatch):
    scores = {}
    trained = Trial.fit

    def watched(self, X, **arguments):
        trained(self, X, **arguments)
        scores.setdefault(id(self), []).append(self.score)

    monkeypatch.setattr(Trial, "fit", watched)
    fit(auto(max_trials=2, max_iter=30), bits(200, 5))
    assert max(len(each) for each in scores.values()) == 3
    assert all(each == sorted(each) for each in scores.values())


def test_every_setting_of_the_first_candidates_can_change():
    rng = np.random.RandomState(0)
    candidates = first_candidates(1000, 5, ("NADE", "RNADE", "MADE", "FVSBN"), "gaussian_mixture")
    changed = set()
    for candidate in candidates * 100:
        other = vary(candidate, rng)
        assert other.model == candidate.model
        assert other.settings.keys() == candidate.settings.keys()
        different = [
            name for name in other.settings if other.settings[name] != candidate.settings[name]
        ]
        assert len(different) + (other.n_epochs != candidate.n_epochs) <= 1
        changed |= set(different)
    assert changed == _CHANGES.keys()


def test_a_variation_leaves_its_parent_as_it_was():
    parent = Candidate("MADE", {"hidden_layer_sizes": [8, 8], "batch_size": 10}, 5)
    for seed in range(20):
        vary(parent, np.random.RandomState(seed))
    assert parent == Candidate("MADE", {"hidden_layer_sizes": [8, 8], "batch_size": 10}, 5)


@pytest.mark.parametrize("distribution", ["gaussian_mixture", "auto"])
def test_every_model_takes_the_distribution(distribution):
    names = ["NADE", "RNADE", "MADE", "FVSBN", "DeepNADE"]
    model = fit(
        auto(models=names, distribution=distribution, max_trials=22, max_iter=1), reals(80, 3)
    )
    assert {line["model"] for line in model.leaderboard_} == set(names)


def test_numbers_of_components_of_an_object_are_tried_its_own_first():
    given = Number(7, atoms=False)
    model = fit(auto(models=["RNADE"], distribution=given, max_trials=12), reals(80, 3))
    tried = {line["settings"]["n_components"] for line in model.leaderboard_}
    assert {7, 14} < tried
    weighed = [line["settings"] for line in model.leaderboard_ if line["weight"] > 0]
    for settings, member in zip(weighed, model.estimators_, strict=True):
        n_components = settings["n_components"]
        assert member.distribution.settings() == given.settings() | {"n_components": n_components}


def test_an_object_without_components_stays_as_it_is():
    model = fit(auto(models=None, distribution=Categorical(unknown="impossible")), levels(80, 3))
    assert not any("n_components" in line["settings"] for line in model.leaderboard_)


@pytest.fixture
def narrow(monkeypatch):
    """Return the trials that compare orders, in a list that grows."""
    found, trained = [], Trial.fit

    def watched(self, X, **arguments):
        trained(self, X, **arguments)
        if self.candidate.settings.get("hidden_layer_sizes") == [60]:
            found.append((self.score, self.model.order_.tolist()))

    monkeypatch.setattr(Trial, "fit", watched)
    return found


def test_models_get_orders_that_are_good_for_a_narrow_one(narrow):
    model = fit(auto(max_trials=12), bits(100, 7))
    best = [order for _, order in sorted(narrow, reverse=True)[:16]]
    assert len(narrow) > 2 * len(best)
    orders = [line["settings"]["order"] for line in model.leaderboard_]
    first = [order for order in best if order in orders]
    assert len(first) > 1
    assert first == best[: len(first)]
    assert all(order not in orders for _, order in narrow if order not in best)


def test_orders_of_few_columns_are_not_compared(narrow):
    fit(auto(max_trials=12), bits(100, 5))
    assert not narrow


# ---- time, Ctrl-C, divergence


def test_the_time_is_kept():
    X = bits(2000, 20)
    start = time.monotonic()
    model = fit(AutoDensity(max_time=2, random_state=0), X)
    # a tenth more than asked for, and what a busy machine takes
    assert time.monotonic() - start < 2 * 1.1 + 2
    assert len(model.leaderboard_) > 0


def test_it_ends_where_more_trials_bring_nothing():
    X = bits(200, 3)
    settings = {"models": ["FVSBN"], "max_trials": 40, "max_iter": 100}
    short = fit(auto(**settings, n_trials_no_change=16, tol=1e-2), X)
    assert 16 < len(short.leaderboard_) < 40
    whole = fit(auto(**settings), X)
    assert len(whole.leaderboard_) == 40
    assert whole.replay_["trials"][: len(short.leaderboard_)] == short.replay_["trials"]


def test_a_time_too_short_for_an_epoch_leaves_a_model():
    X = bits(100, 4)
    model = fit(AutoDensity(max_time=1e-9, random_state=0, n_jobs=1), X)
    assert [line["epochs"] for line in model.leaderboard_] == [1] * len(model.leaderboard_)
    assert np.isfinite(model.score_samples(X)).all()


@pytest.mark.filterwarnings("ignore:.* no level that was seen in fit")
def test_validation_rows_that_are_impossible_leave_a_model():
    X = levels(100, 3)
    distribution = Categorical(unknown="impossible")
    model = fit(AutoDensity(max_time=0.5, distribution=distribution, n_jobs=1), X, X_val=X[:9] + 99)
    assert np.isfinite(model.score_samples(X)).all()


@pytest.mark.filterwarnings("ignore:Training was interrupted")
@pytest.mark.parametrize("n_jobs", [1, 3])
def test_ctrl_c_keeps_what_was_trained(n_jobs, monkeypatch):
    trained, calls = Trial.fit, []

    def interrupted(self, X, **arguments):
        calls.append(self)
        if len(calls) == 8:
            os.kill(os.getpid(), signal.SIGINT)
        trained(self, X, **arguments)

    monkeypatch.setattr(Trial, "fit", interrupted)
    X = bits(200, 5)
    model = auto(max_trials=1000, n_jobs=n_jobs)
    with pytest.warns(ConvergenceWarning, match="search was interrupted after"):
        model.fit(X)
    assert len(calls) < 14
    again = fit(AutoDensity(replay=model.replay_), X)
    assert_same_bits(again.score_samples(X), model.score_samples(X))


def test_ctrl_c_before_anything_is_trained_is_raised(monkeypatch):
    def interrupted(self, X, **arguments):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.5)  # as long as it takes the other thread to see the signal
        raise KeyboardInterrupt

    monkeypatch.setattr(Trial, "fit", interrupted)
    model = auto()
    before = snapshot(model)
    with pytest.raises(KeyboardInterrupt):
        model.fit(bits(50, 3))
    assert_same(before, snapshot(model))


def test_a_trial_that_diverges_is_left_out(monkeypatch):
    run = Training.run

    def diverging(self, callbacks=()):
        if self.model.network.name == "masked":
            raise FloatingPointError("The log-likelihood became nan")
        run(self, callbacks)

    monkeypatch.setattr(Training, "run", diverging)
    model = fit(auto(), bits(100, 4))
    assert {line["model"] for line in model.leaderboard_} == {"NADE"}
    with pytest.raises(FloatingPointError, match="No trial could be trained"):
        auto(models=["FVSBN"]).fit(bits(100, 4))


def test_a_variation_that_does_not_fit_into_memory_is_left_out(monkeypatch):
    check = NADE._check_size

    def narrow(self, network):
        if self.n_hidden > 100:
            raise BeyondMemoryError("The model must fit into memory.")
        check(self, network)

    monkeypatch.setattr(NADE, "_check_size", narrow)
    model = fit(auto(models=["NADE"], max_trials=40, max_iter=1), bits(100, 4))
    assert max(line["settings"]["n_hidden"] for line in model.leaderboard_) == 100
    assert len(model.leaderboard_) < 40


# ---- tables of any kind


def test_frames_come_back_as_frames():
    frame = pd.DataFrame({"a": levels(90, 1)[:, 0], "b": [*"xyz"] * 30, "c": reals(90, 1)[:, 0]})
    model = fit(auto(), frame)
    assert list(model.feature_names_in_) == ["a", "b", "c"]
    drawn = model.sample(5, random_state=0)
    assert drawn.dtypes.equals(frame.dtypes)
    p = model.predict_proba(frame[:4], target="b")
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-6)


def test_the_schema_is_that_of_every_member():
    frame = pd.DataFrame({"a": levels(90, 1)[:, 0], "b": [*"xyz"] * 30, "c": reals(90, 1)[:, 0]})
    orders = [NADE(max_iter=1, order=order, random_state=0) for order in ([0, 1, 2], [2, 1, 0])]
    for model in (auto(max_trials=8), Mixture(orders), Mixture([auto(), orders[1]])):
        fit(model, frame)
        assert [each["column"] for each in model.schema_] == ["a", "b", "c"]
        assert [each["kind"] for each in model.schema_] == ["categorical", "categorical", "number"]
        for member in model.estimators_:
            assert member.schema_ == model.schema_


def test_the_schema_of_members_that_differ_is_refused():
    members = [NADE(max_iter=1), NADE(max_iter=1, distribution="laplace")]
    model = fit(Mixture(members, random_state=0), reals(60, 2))
    with pytest.raises(AttributeError, match=r"schema_ must be the same .*estimators_"):
        _ = model.schema_
    with pytest.raises(NotFittedError):
        _ = auto().schema_


def test_levels_that_few_rows_have_become_one():
    words = [*"aabb" * 20, *"zyxw"]
    frame = pd.DataFrame({"s": words, "x": reals(84, 1)[:, 0]})
    model = fit(auto(min_count=3), frame, X_val=frame)
    assert model.schema_[0]["levels"] == 3
    rare, other = frame[-1:], frame[-1:].assign(s="unseen")
    assert_same_bits(model.score_samples(rare), model.score_samples(other))
    assert set(model.sample(200, random_state=0)["s"]) <= {"a", "b", "other"}
    again = fit(AutoDensity(replay=json.loads(json.dumps(model.replay_))), frame, X_val=frame)
    assert again.schema_ == model.schema_
    assert again.replay_ == model.replay_
    assert_same_bits(again.score_samples(frame), model.score_samples(frame))
    with pytest.raises(ValueError, match="'min_count' parameter of AutoDensity"):
        auto(min_count=0).fit(frame)


def test_contexts_reach_every_member():
    X, context = bits(120, 4), reals(120, 2)
    model = fit(auto(), X, context=context)
    assert (
        model.score_samples(X, context=context) != model.score_samples(X, context=context[::-1])
    ).any()
    with pytest.raises(ValueError, match="context"):
        model.score_samples(X)
    valid = fit(auto(), X, context=context, X_val=X[:30], context_val=context[:30])
    assert np.isfinite(valid.score(X, context=context))


def test_gaps_of_arrays_are_marked_if_so_wished():
    X = reals(80, 3)
    X[::5, 1] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        auto().fit(X)
    marked, modelled = (fit(auto(missing=missing), X) for missing in ("marked", "modelled"))
    assert np.isfinite(marked.score_samples(X)).all()
    assert not np.isnan(marked.sample(100, random_state=0)).any()
    gaps = np.isnan(modelled.sample(200, random_state=0))
    assert 0.1 < gaps[:, 1].mean() < 0.3
    assert not gaps[:, [0, 2]].any()
    assert "gaps" in modelled.schema_[1]["why"]


def test_it_is_a_density_to_tools_and_mixtures():
    X = bits(120, 4)
    detector = fit(DensityOutlierDetector(auto(), random_state=0), X)
    assert np.isin(detector.predict(X), [-1, 1]).all()
    mixture = fit(Mixture([auto(), auto(random_state=1)], n_jobs=2), X)
    assert np.exp(mixture.score_samples(states("bernoulli", 4))).sum() == pytest.approx(1, abs=1e-5)
    gapped = X.astype(float)
    gapped[:, 1] = np.nan
    assert np.isin(mixture.impute(gapped, random_state=0), [0, 1]).all()


def test_files_and_pickles_hold_all_of_it(tmp_path):
    X = levels(100, 4)
    model = fit(auto(replay=None), X)
    model.save(tmp_path / "model")
    for again in (fastar.load(tmp_path / "model"), pickle.loads(pickle.dumps(model))):
        assert_same_bits(again.score_samples(X), model.score_samples(X))
        assert again.leaderboard_ == model.leaderboard_
        assert again.replay_ == model.replay_
        assert again.get_params() == model.get_params()
    repeated = fit(AutoDensity(replay=model.replay_), X)
    repeated.save(tmp_path / "repeated")
    loaded = fastar.load(tmp_path / "repeated")
    assert loaded.replay == model.replay_
    assert_same_bits(fit(clone(loaded), X).score_samples(X), model.score_samples(X))


# ---- errors


@pytest.mark.parametrize(
    ("parameters", "match"),
    [
        ({"max_time": 0}, "The 'max_time' parameter .*must be"),
        ({"max_trials": 0}, "The 'max_trials' parameter .*must be"),
        ({"max_time": None, "max_trials": None}, "'max_time' or the 'max_trials' parameter .*None"),
        ({"n_trials_no_change": 0}, "The 'n_trials_no_change' parameter .*must be"),
        ({"tol": -1}, "The 'tol' parameter .*must be"),
        ({"models": []}, r"The 'models' parameter .*Got \[\] instead"),
        ({"models": ["PixelRNN"]}, "The 'models' parameter .*'NADE'.*'PixelRNN'"),
        ({"replay": {}}, "'replay' parameter of AutoDensity.random_state must be among"),
        (
            {"replay": {"random_state": 0, "trials": []}},
            r"AutoDensity.trials must be a list of 1 or more entries. Got \[\]",
        ),
    ],
    ids=str,
)
def test_what_breaks_a_rule_is_named(parameters, match):
    model = auto(**parameters)
    before = snapshot(model)
    with pytest.raises(ValueError, match=match):
        model.fit(bits(40, 3))
    assert_same(before, snapshot(model))


def test_an_unfitted_one_says_so():
    for ask in (lambda: auto().score(bits(4, 3)), lambda: auto().sample(2)):
        with pytest.raises(NotFittedError):
            ask()


# ---- the selection


def test_a_selection_is_not_worse_than_the_best_and_grows():
    rng = np.random.default_rng(0)
    for n_members in (1, 3, 20):
        scores, weight = rng.normal(-5, 1, (50, 8)), rng.random(50)
        weights, curve = select(scores, weight, n_members)
        assert np.count_nonzero(weights) <= n_members
        found = -np.average(np.log(np.exp(scores) @ weights), weights=weight)
        assert found == pytest.approx(curve[-1], rel=1e-12)
        assert curve[0] == pytest.approx(-np.average(scores, axis=0, weights=weight).max())
        assert curve[-1] == min(curve)


def test_a_selection_finds_the_share_of_each_member():
    # a quarter of the rows are of the second one, and impossible for the first
    scores = np.log(np.repeat([[0.5, 1e-9], [1e-9, 0.5]], [75, 25], axis=0))
    weights, _ = select(scores, np.ones(100), 2)
    np.testing.assert_allclose(weights, [0.75, 0.25], atol=0.03)


def test_rows_that_are_impossible_for_all_count_for_none():
    scores = np.array([[-1.0, -2.0], [-2.0, -1.5], [-np.inf, -np.inf]])
    np.testing.assert_array_equal(
        select(scores, np.ones(3), 2)[0], select(scores[:2], np.ones(2), 2)[0]
    )
