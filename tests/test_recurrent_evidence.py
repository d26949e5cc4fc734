"""Sequences with gaps: marginals, completions and samples that keep what they are given."""

import itertools

import numpy as np
import pytest
from common import assert_same_bits, fit
from frequencies import chi_square
from recurrent_models import CELLS, DATA, every_cell, every_kind, make

from fastar import Mixture
from fastar._engine import particles
from fastar.conditionals import Categorical
from fastar.models.rnn import Sequences

pytestmark = pytest.mark.kernels

nan = np.nan
FRAMES = ["independent", "nade"]
every_frame = pytest.mark.parametrize("frame", FRAMES)
both_ends = pytest.mark.parametrize("ends", [False, True])


def moved(model, seed=1, scale=0.7):
    """Return the model with parameters away from their start: steps depend on each other."""
    model.theta_ += scale * np.random.default_rng(seed).standard_normal(model.theta_.size)
    return model


def of_levels(cell="gru", D=4, K=3, **settings):
    X = np.random.default_rng(0).integers(0, K, (60, D))
    settings |= {"distribution": Categorical("error"), "max_iter": 1}
    return moved(fit(make(cell, dtype="float64", **settings), X))


def of_frames(frame, ends, F=2, **settings):
    rng = np.random.default_rng(0)
    X = [rng.integers(0, 2, (length, F)) for length in rng.integers(1, 5, 60)]
    settings |= {"frame": frame, "end_symbol": ends, "n_frame_hidden": 5, "max_iter": 1}
    return moved(fit(make("gru", dtype="float64", **settings), X))


def completions(gapped, K):
    """Return all that a sequence with gaps can be."""
    gaps, found = np.isnan(gapped), []
    for values in itertools.product(range(K), repeat=int(gaps.sum())):
        found.append(gapped.copy())
        found[-1][gaps] = values
    return found


def exact(model, gapped, K, **given):
    """Return log p of what is known, by summing over all that is not."""
    return np.array(
        [np.logaddexp.reduce(model.score_samples(completions(x, K), **given)) for x in gapped]
    )


def with_gaps(X, seed=0, share=0.4):
    rng = np.random.default_rng(seed)
    return [np.where(rng.random(x.shape) < share, nan, x) for x in X]


LEVELS = np.array(
    [[nan, 1, nan, 0], [2, nan, 0, 1], [nan, nan, nan, 2], [0, nan, 1, nan], [nan, 2, 2, 2]]
)
STEPS = [
    np.array([[nan, 1.0], [0, nan], [1, 1]]),
    np.array([[0, nan], [nan, 1.0]]),
    np.array([[nan, nan], [nan, nan], [1.0, 0], [nan, 1]]),
    np.array([[nan, 0.0]]),
]


# ---- marginals


@every_kind
@both_ends
@every_frame
def test_whole_sequences_have_their_scores_bit_for_bit(kind, ends, frame):
    X = DATA[kind]()
    model = fit(make(end_symbol=ends, frame=frame, n_frame_hidden=5), X)
    gapped = [x.astype(float) for x in X]
    gapped[3][0] = nan
    found = model.log_marginal(gapped, n_particles=2, random_state=0)
    others = np.arange(len(X)) != 3
    assert_same_bits(found[others], model.score_samples(X)[others])
    assert found[3] != model.score_samples(X)[3]


@every_kind
@every_frame
def test_nothing_known_has_probability_one(kind, frame):
    X = DATA[kind]()
    model = fit(make(end_symbol=False, frame=frame, n_frame_hidden=5), X)
    found = model.log_marginal([np.full(x.shape, nan) for x in X], n_particles=1)
    np.testing.assert_array_equal(found, 0)
    np.testing.assert_array_equal(model.marginal_ess_, 1)


def test_nothing_known_but_its_length_has_the_probability_of_the_length():
    model = of_frames("independent", ends=True, F=1)
    gapped = [np.full(length, nan) for length in (1, 2, 3)]
    found = model.log_marginal(gapped, n_particles=20_000, random_state=0)
    np.testing.assert_allclose(found, exact(model, gapped, 2), atol=0.02)


@every_cell
def test_a_marginal_of_what_comes_first_is_exact_with_one_particle(cell):
    model = of_levels(cell, n_layers=2)
    X = model.sample(6, random_state=0).astype(float)
    for known in range(5):
        gapped = X.copy()
        gapped[:, known:] = nan
        found = model.log_marginal(gapped, n_particles=1, random_state=known)
        np.testing.assert_allclose(found, exact(model, gapped, 3), atol=1e-9)


def test_known_values_of_the_step_that_misses_others_are_exact_as_the_frame_allows():
    gapped = [np.array([[0, 1], [nan, 1.0], [nan, nan]]), np.array([[0, 1], [1.0, nan]])]
    for frame, n_exact in (("independent", [0, 1]), ("nade", [1])):
        model = of_frames(frame, ends=False)
        found = [model.log_marginal(gapped, n_particles=1, random_state=i) for i in range(9)]
        wrong = np.abs(np.array(found) - exact(model, gapped, 2)).max(axis=0)
        np.testing.assert_array_equal(np.flatnonzero(wrong < 1e-9), n_exact)


@every_cell
def test_a_marginal_is_the_sum_over_all_completions(cell):
    model = of_levels(cell)
    found = model.log_marginal(LEVELS, n_particles=40_000, random_state=0)
    np.testing.assert_allclose(found, exact(model, LEVELS, 3), atol=0.03)
    assert (model.marginal_ess_ > 1000).all()


@every_frame
@both_ends
def test_a_marginal_of_frames_is_the_sum_over_all_completions(frame, ends):
    model = of_frames(frame, ends)
    found = model.log_marginal(STEPS, n_particles=40_000, random_state=0)
    np.testing.assert_allclose(found, exact(model, STEPS, 2), atol=0.03)


@pytest.mark.parametrize("n_particles", [1, 3])
@both_ends
def test_the_estimate_is_unbiased(n_particles, ends):
    model = of_frames("nade", ends)
    for gapped in STEPS[:3]:
        found = np.exp(model.log_marginal([gapped] * 8000, n_particles=n_particles, random_state=0))
        error = found.mean() - np.exp(exact(model, [gapped], 2)[0])
        assert abs(error) < 5 * found.std() / np.sqrt(len(found))
        assert found.std() > 0


def sticky(n=300, D=12):
    """Return a model of rows whose value seldom changes: what follows a gap tells much of it."""
    X = (np.cumsum(np.random.default_rng(0).random((n, D)) < 0.1, axis=1) % 2).astype(np.uint8)
    return fit(make(max_iter=40, n_hidden=16, learning_rate_init=0.05), X)


def test_resampling_leaves_the_estimate_unbiased_and_keeps_more_particles(monkeypatch):
    model = sticky()
    gapped = np.tile([nan, 0, nan, nan, 0, nan, nan, 1, nan, nan, 1, nan], (4000, 1))
    truth, ess = np.exp(exact(model, gapped[:1], 2)[0]), []
    for least in (0.5, 0):
        monkeypatch.setattr(particles, "LEAST_EFFECTIVE", least)
        probability = np.exp(model.log_marginal(gapped, n_particles=8, random_state=0))
        assert abs(probability.mean() - truth) < 5 * probability.std() / np.sqrt(len(gapped))
        ess.append(model.marginal_ess_.mean())
    assert ess[0] > ess[1] * 1.1


@pytest.mark.parametrize("cell", ["tanh", "gru"])
def test_particles_are_drawn_anew_with_their_states(cell):
    X = np.random.default_rng(0).integers(0, 2, (60, 9))
    model = moved(fit(make(cell, dtype="float64", max_iter=1), X), seed=0, scale=3)
    gapped = np.tile([nan, nan, 1, nan, 0, 1, nan, 1, 0], (4000, 1))
    probability = np.exp(model.log_marginal(gapped, n_particles=8, random_state=0))
    error = probability.mean() - np.exp(exact(model, gapped[:1], 2)[0])
    assert abs(error) < 5 * probability.std() / np.sqrt(len(gapped))


@pytest.mark.parametrize("n_draws", [1, 4])
def test_completions_have_the_posterior_after_resampling(n_draws):
    model = sticky()
    row = np.array([nan, 0, nan, nan, 0, nan, 1, 1, nan, nan, 1, nan])
    drawn = model.impute(np.tile(row, (1000, 1)), n_draws=n_draws, n_particles=150, random_state=0)
    assert drawn.shape == ((1000, 12) if n_draws == 1 else (n_draws, 1000, 12))
    posterior(model, row, drawn.reshape(n_draws, 1000, 12)[-1], 2)


@both_ends
def test_a_marginal_density_is_an_integral_in_the_users_units(ends):
    rng = np.random.default_rng(0)
    X = [10 + 20 * np.cumsum(rng.normal(size=2)) for _ in range(60)]
    model = fit(make(dtype="float64", end_symbol=ends), X)
    grid = np.linspace(-300, 320, 6001)
    step = grid[1] - grid[0]
    for x in X[:3]:
        inside = [np.array([g, x[1]]) for g in grid]
        truth = np.log(step * np.exp(model.score_samples(inside)).sum())
        gapped = [np.array([nan, x[1]])]
        found = model.log_marginal(gapped, n_particles=20_000, random_state=0)
        np.testing.assert_allclose(found, truth, atol=0.05)
        np.testing.assert_allclose(
            model.log_marginal([np.array([x[0], nan])], n_particles=4000, random_state=0),
            np.log(np.exp(model.score_samples([np.array([x[0], g]) for g in grid])).sum() * step),
            atol=0.02 if ends else 1e-6,
        )


@every_frame
def test_a_context_is_what_marginals_and_completions_are_given(frame):
    rng = np.random.default_rng(0)
    X, context = rng.integers(0, 2, (60, 4)), rng.integers(0, 2, (60, 1)).astype(float)
    settings = {"frame": frame, "n_frame_hidden": 5, "dtype": "float64", "max_iter": 1}
    model = moved(fit(make(**settings), X, context=context))
    gapped = np.array([[nan, 1, nan, 0], [nan, 1, nan, 0], [1, nan, nan, 1]])
    own = np.array([[0.0], [1.0], [1.0]])
    found = model.log_marginal(gapped, context=own, n_particles=40_000, random_state=0)
    truth = [exact(model, [x], 2, context=c[None])[0] for x, c in zip(gapped, own, strict=True)]
    np.testing.assert_allclose(found, truth, atol=0.03)
    assert abs(truth[0] - truth[1]) > 0.1
    drawn = model.impute(
        np.repeat(gapped[:2], 3000, axis=0),
        context=np.repeat(own[:2], 3000, axis=0),
        n_particles=40,
        random_state=0,
    )
    for i in range(2):
        posterior(model, gapped[i], drawn[i * 3000 : (i + 1) * 3000], 2, context=own[i : i + 1])
    with pytest.raises(ValueError, match="context must be given"):
        model.log_marginal(gapped)


# ---- completions


def posterior(model, gapped, drawn, K, **given):
    """Check that drawn completions have the probabilities of what is missing given the rest."""
    all_of_it = completions(gapped, K)
    log_p = model.score_samples(all_of_it, **given)
    places = {each.tobytes(): place for place, each in enumerate(all_of_it)}
    observed = np.bincount([places[each.tobytes()] for each in drawn], minlength=len(all_of_it))
    assert chi_square(observed, np.exp(log_p - np.logaddexp.reduce(log_p))) > 1e-4


@every_cell
def test_completions_have_the_posterior(cell):
    model = of_levels(cell)
    for row in LEVELS:
        drawn = model.impute(np.tile(row, (2000, 1)), n_particles=100, random_state=0)
        posterior(model, row, drawn, 3)


@every_frame
@both_ends
def test_completions_of_frames_have_the_posterior(frame, ends):
    model = of_frames(frame, ends)
    for gapped in STEPS:
        drawn = model.impute([gapped] * 1500, n_particles=100, random_state=0)
        posterior(model, gapped, drawn, 2)


@every_kind
@both_ends
@pytest.mark.parametrize("cell", CELLS[1:])
def test_what_is_there_stays_and_all_gaps_are_filled(kind, ends, cell):
    X = DATA[kind]()
    model = fit(make(cell, end_symbol=ends), X)
    gapped = with_gaps(X)
    gapped[1] = X[1]  # without a gap, in its own type
    full = model.impute(gapped, n_particles=3, random_state=0)
    assert isinstance(full, list)
    for given, found in zip(gapped, full, strict=True):
        known = ~np.isnan(given)
        assert found.dtype == given.dtype
        assert_same_bits(found[known], given[known])
        assert np.isfinite(found).all()
    scores = model.score_samples(full)  # what was drawn lies in the support
    assert np.isfinite(scores).all()
    twice = model.impute(gapped, n_draws=2, n_particles=3, random_state=0)
    assert [len(each) for each in twice] == [len(X), len(X)]
    assert_same_bits(twice[0][0], full[0])


def test_containers_of_completions_are_those_given():
    model = of_levels()
    assert model.impute(LEVELS).shape == LEVELS.shape
    assert model.impute(LEVELS, n_draws=2).shape == (2, *LEVELS.shape)
    assert model.impute(LEVELS.tolist()).shape == LEVELS.shape
    lists = model.impute([[0, nan], [1, nan, 2.0]], random_state=0)
    assert [type(each) for each in lists] == [np.ndarray, np.ndarray]
    gapped = Sequences([nan, 1, 2, nan], [0, 3, 4], gaps=True)
    assert [each.shape for each in model.impute(gapped)] == [(3,), (1,)]
    np.testing.assert_allclose(
        model.log_marginal(gapped, n_particles=20_000, random_state=0),
        model.log_marginal([[nan, 1, 2], [nan]], n_particles=20_000, random_state=0),
    )
    with pytest.raises(ValueError, match="values must be finite"):
        Sequences([nan, 1], [0, 2])


# ---- samples given evidence


def test_evidence_is_kept_and_the_rest_drawn_given_what_is_before_it():
    model = of_levels()
    row = np.array([1, nan, 2, nan])
    drawn = model.sample(6000, evidence=row, random_state=0)
    assert drawn.dtype == np.int64
    assert drawn.shape == (6000, 4)
    p = np.array(
        [np.exp(model.score_features(np.array([[1, a, 2, b] for b in range(3)]))) for a in range(3)]
    )
    law = p[:, 0, 1, None] * p[:, :, 3]  # p(x_1 | x_0) p(x_3 | x_0 x_1 x_2): nothing weighs x_1
    assert_same_bits(drawn[:, [0, 2]], np.tile([1, 2], (6000, 1)))
    assert chi_square(np.bincount(drawn[:, 1] * 3 + drawn[:, 3], minlength=9), law.ravel()) > 1e-4


@every_cell
def test_evidence_that_comes_first_is_a_prefix(cell):
    model = of_levels(cell)
    drawn = model.sample(6000, evidence=[2, 0, nan, nan], random_state=0)
    posterior(model, np.array([2, 0, nan, nan]), drawn.astype(float), 3)


@every_frame
@both_ends
def test_evidence_of_sequences_has_their_lengths(frame, ends):
    model = of_frames(frame, ends)
    drawn = model.sample(8, evidence=STEPS * 2, temperature=0.7, random_state=0)
    for given, found in zip(STEPS * 2, drawn, strict=True):
        assert found.shape == given.shape
        assert found.dtype == np.int64
        np.testing.assert_array_equal(found[~np.isnan(given)], given[~np.isnan(given)])
        assert np.isin(found, [0, 1]).all()
    one = model.sample(5, evidence=STEPS[0], random_state=0)
    assert [each.shape for each in one] == [(3, 2)] * 5
    whole = model.sample(2, evidence=[np.ones((3, 2)), np.zeros((1, 2))])
    np.testing.assert_array_equal(whole[0], np.ones((3, 2)))


def test_low_temperatures_draw_the_most_probable():
    model = of_levels()
    drawn = model.sample(40, evidence=[1, nan, nan, nan], temperature=1e-4, random_state=0)
    assert len(np.unique(drawn, axis=0)) == 1


# ---- the same bits, whatever the work is cut into; refusals


@every_frame
def test_answers_have_the_same_bits_on_any_threads(frame):
    X = DATA["frames of bits"]()
    model = fit(make("lstm", n_layers=2, frame=frame, n_hidden=40), X)
    gapped = with_gaps(X)
    answers = []
    for n_jobs in (1, 2, 3):
        model.set_params(n_jobs=n_jobs)
        answers.append(
            [
                model.log_marginal(gapped, n_particles=9, random_state=0),
                np.concatenate(model.impute(gapped, n_particles=9, random_state=0)),
                np.concatenate(model.sample(len(X), evidence=gapped, random_state=0)),
            ]
        )
    for other in answers[1:]:
        for mine, theirs in zip(answers[0], other, strict=True):
            assert_same_bits(mine, theirs)


def test_work_space_holds_a_block_of_particles():
    model = fit(make(), DATA["levels"]())
    gapped = [np.full(12, nan) for _ in range(200)]
    for each in gapped:
        each[-1] = 1
    found = model.log_marginal(gapped, n_particles=500, random_state=0)
    assert np.ptp(found) < 0.2  # 200 estimates of one number, of several blocks
    assert len(np.unique(found)) > 150


REFUSED = {
    "other levels": (lambda m: m.log_marginal([[nan, 7.0, 1, 1]]), "X must hold one of the levels"),
    "another width": (lambda m: m.log_marginal(np.zeros((2, 5))), "X has 5 features"),
    "infinity": (lambda m: m.impute([np.array([nan, np.inf])]), r"X\[0\] must be finite or NaN"),
    "an empty sequence": (lambda m: m.impute([[nan], np.zeros(0)]), "X must hold sequences of one"),
    "frames": (lambda m: m.impute([np.zeros((2, 2)), np.zeros((1, 2))]), "X must have 1 values a"),
    "no draws": (lambda m: m.impute(LEVELS, n_draws=0), "n_draws must be"),
    "no particles": (lambda m: m.log_marginal(LEVELS, n_particles=0), "n_particles must be"),
    "evidence of other length": (
        lambda m: m.sample(2, evidence=[[nan, 1, 1]] * 2),
        r"evidence must have shape \(4,\) or \(2, 4\). Got \(2, 3\)",
    ),
    "evidence of others": (
        lambda m: m.sample(2, evidence=np.zeros((3, 4))),
        "evidence must be one sequence, or one for each of 2 samples",
    ),
    "evidence of other levels": (
        lambda m: m.sample(2, evidence=[nan, 7, 1, 1]),
        "evidence must hold one of the levels .* Got 7 in step 1",
    ),
    "an empty evidence": (
        lambda m: m.sample(1, evidence=[np.zeros(0)]),
        "evidence must hold sequences of one step",
    ),
    "a prefix too": (
        lambda m: m.sample(2, evidence=[nan, 1, 1, 1], prefix=[1]),
        "prefix and max_length must be None with evidence",
    ),
    "a length too": (
        lambda m: m.sample(2, evidence=[nan, 1, 1, 1], max_length=3),
        "prefix and max_length must be None with evidence",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_answered_is_refused(case):
    ask, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        ask(of_levels())


def test_gaps_are_for_marginals_and_completions_alone():
    model = of_levels()
    for ask in (model.score_samples, model.score_features, model.conditionals, model.fit):
        with pytest.raises(ValueError, match=r"NaN"):
            ask(LEVELS)


def test_what_is_impossible_has_no_probability():
    X = np.random.default_rng(0).integers(0, 3, (60, 4))
    model = fit(make(distribution=Categorical(unknown="impossible")), X)
    gapped = np.array([[7, nan, 1, 1], [nan, 1, 7, nan], [nan, 1, 1, nan]])
    with pytest.warns(UserWarning, match="log-probability is -inf"):
        found = model.log_marginal(gapped, random_state=0)
    np.testing.assert_array_equal(np.isfinite(found), [False, False, True])


def test_mixtures_say_that_their_members_must_be_of_rows():
    X = np.random.default_rng(0).integers(0, 2, (60, 4))
    mixture = fit(Mixture(make(), n_members=2, random_state=0), X)
    with pytest.raises(TypeError, match=r"models of rows of this library\. Got a GenerativeRNN"):
        mixture.log_marginal(np.full((1, 4), nan))
