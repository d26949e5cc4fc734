"""Tools and mixtures over densities of any library: they work, or say what they miss."""

import numpy as np
import pytest
from common import assert_same_bits, fit, make, reals
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastar import DensityImputer, DensityOutlierDetector, GenerativeClassifier, Mixture
from fastar.models._fitting import fit_arguments

DENSITIES = {
    "ours": make(distribution="gaussian"),
    "our mixture": Mixture([make(distribution="gaussian"), make("MADE", distribution="gaussian")]),
    "scikit-learn's mixture": GaussianMixture(2, random_state=0),
    "kernels": KernelDensity(),
    "a pipeline": make_pipeline(StandardScaler(), make(distribution="gaussian")),
}
FITTED = {
    "classifier": lambda density, X, y: GenerativeClassifier(density).fit(X, y),
    "shared classifier": lambda density, X, y: GenerativeClassifier(density, shared=True).fit(X, y),
    "detector": lambda density, X, y: DensityOutlierDetector(density, random_state=0).fit(X),
    "ratio": lambda density, X, y: DensityOutlierDetector(
        density, statistic="likelihood_ratio", random_state=0
    ).fit(X),
    "imputer": lambda density, X, y: DensityImputer(density).fit(X),
    "mixture": lambda density, X, y: Mixture([density, make()]).fit(X),
    "em": lambda density, X, y: Mixture([density, make()], weights="em").fit(X),
}
REFUSED = {
    ("classifier", "a pipeline"): "'density' of GenerativeClassifier must be no pipeline",
    ("shared classifier", "scikit-learn's mixture"): "takes a context.*Got GaussianMixture",
    ("shared classifier", "kernels"): "takes a context.*Got KernelDensity",
    ("shared classifier", "a pipeline"): "takes a context.*Got Pipeline",
    ("imputer", "scikit-learn's mixture"): "'density'.*method impute.*Got GaussianMixture",
    ("imputer", "kernels"): "'density'.*method impute.*Got KernelDensity",
    ("imputer", "a pipeline"): "'density'.*method impute.*Got Pipeline",
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("density", DENSITIES)
@pytest.mark.parametrize("tool", FITTED)
def test_every_tool_takes_every_density_or_says_what_it_misses(tool, density):
    X = reals(90, 3)
    y = (X[:, 0] > np.median(X[:, 0])).astype(int)
    if (tool, density) in REFUSED:
        with pytest.raises(ValueError, match=REFUSED[tool, density]):
            FITTED[tool](DENSITIES[density], X, y)
        return
    fitted = FITTED[tool](DENSITIES[density], X, y)
    answer = fitted.transform(X) if tool == "imputer" else fitted.score_samples(X)
    assert np.isfinite(answer).all()
    if "classifier" in tool:
        assert fitted.score(X, y) > 0.7


def test_a_classifier_without_marginals_refuses_gaps():
    X, y = reals(60, 2), np.arange(60) % 2
    classifier = GenerativeClassifier(GaussianMixture(random_state=0)).fit(X, y)
    X[3, 1] = np.nan
    with pytest.raises(ValueError, match="without log_marginal, such as GaussianMixture"):
        classifier.predict(X)


def test_each_class_is_fitted_to_its_own_rows():
    X, y = reals(80, 2), np.arange(80) % 2
    classifier = GenerativeClassifier(GaussianMixture(random_state=0)).fit(X, y)
    own = GaussianMixture(random_state=0).fit(X[y == 1])
    assert_same_bits(classifier.densities_[1].means_, own.means_)


def test_weights_reach_what_takes_them_and_are_refused_by_what_does_not():
    X, seen = reals(10, 2), np.arange(10) < 7
    weight = np.linspace(1, 2, 10)
    ours, arguments = fit_arguments(make(), X, seen, sample_weight=weight)
    assert ours is X
    assert_same_bits(arguments["sample_weight"], weight * seen)
    theirs, arguments = fit_arguments(KernelDensity(), X, seen, sample_weight=weight)
    assert_same_bits(theirs, X[:7])
    assert_same_bits(arguments["sample_weight"], weight[:7])
    with pytest.raises(ValueError, match=r"sample_weight must be None.*such as GaussianMixture"):
        fit_arguments(GaussianMixture(), X, seen, sample_weight=weight)
    with pytest.raises(ValueError, match=r"context must be None for a member.*KernelDensity"):
        fit_arguments(KernelDensity(), X, context=X, name="member")


# ---- mixtures given a context


def with_context(members, n=120, **settings):
    X = reals(n, 3)
    context = np.column_stack([X[:, 0] > X[:, 0].mean(), np.arange(n)]).astype(float)
    mixture = Mixture(
        [make(each, distribution="gaussian", random_state=k) for k, each in enumerate(members)],
        random_state=0,
        **settings,
    )
    return fit(mixture, X, context=context), X, context


@pytest.mark.parametrize("weights", ["em", [1, 2]])
def test_a_mixture_given_a_context_is_the_log_mean_of_its_members(weights):
    mixture, X, context = with_context(["NADE", "MADE"], weights=weights)
    members = [each.score_samples(X, context=context) for each in mixture.estimators_]
    expected = np.log(mixture.weights_ @ np.exp(members))
    np.testing.assert_allclose(mixture.score_samples(X, context=context), expected, rtol=1e-10)
    parts = mixture.score_features(X, context=context)
    np.testing.assert_allclose(parts.sum(axis=1), expected, rtol=1e-8)
    known = mixture.log_marginal(X, context=context, random_state=0)
    np.testing.assert_allclose(known, expected, rtol=1e-8)


def test_a_mixture_of_one_given_a_context_answers_like_its_member():
    mixture, X, context = with_context(["NADE"])
    (member,) = mixture.estimators_
    said, own = (each.conditionals(X, context=context) for each in (mixture, member))
    for name, values in said.items():
        np.testing.assert_allclose(values, own[name], rtol=1e-9, err_msg=name)
    repaired = mixture.purify(X, 0.5, context=context)
    assert_same_bits(repaired, member.purify(X, 0.5, context=context))
    X[::2, 1] = np.nan
    filled = mixture.impute(X, context=context, random_state=0)
    assert_same_bits(filled[1::2], X[1::2])
    assert np.isfinite(filled).all()


def test_samples_of_a_mixture_follow_the_context_of_their_rows():
    mixture, X, context = with_context(["NADE", "MADE"], n=400)
    drawn = mixture.sample(400, context=context, random_state=0)
    high = context[:, 0] == 1
    assert drawn[high, 0].mean() > drawn[~high, 0].mean()
    one = mixture.sample(50, context=context[:1], random_state=0)
    assert one.shape == (50, 3)
    evidence = np.full((1, 3), np.nan)
    evidence[0, 0] = X[0, 0]
    held = mixture.sample(20, context=context[:1], evidence=evidence, random_state=0)
    assert (held[:, 0] == X[0, 0]).all()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_context_is_asked_of_members_that_have_one_alone():
    X = reals(40, 2)
    with pytest.raises(ValueError, match=r"context must be None for a member.*KernelDensity"):
        Mixture([KernelDensity(), make()]).fit(X, context=X)
    mixture, X, _ = with_context(["NADE", "MADE"])
    with pytest.raises(ValueError, match="context must be given"):
        mixture.score_samples(X)


# ---- what a mixture's conditionals and repairs are


def test_conditionals_of_a_mixture_are_the_weighted_means_by_what_comes_before():
    X = (reals(200, 3) > 100).astype(np.uint8)
    mixture = fit(Mixture([make(), make("MADE")], weights=[1, 3]), X)
    found = mixture.conditionals(X)
    ones = np.where(X == 1, found, 1 - found)
    np.testing.assert_allclose(np.log(ones), mixture.score_features(X), rtol=1e-6, atol=1e-9)


def test_a_repair_by_a_mixture_is_the_best_of_its_members_repairs():
    X = reals(60, 3)
    mixture = fit(Mixture([make(distribution="gaussian"), make("MADE", distribution="laplace")]), X)
    repaired = mixture.purify(X, 0.3)
    assert (np.abs(repaired - X) <= 0.3 + 1e-9).all()
    by_member = [mixture.score_samples(each.purify(X, 0.3)) for each in mixture.estimators_]
    assert_same_bits(mixture.score_samples(repaired), np.maximum(*by_member))


def test_members_of_several_orders_or_kinds_have_no_conditionals():
    X = reals(60, 3)
    orders = fit(Mixture([make(order=[0, 1, 2]), make(order=[2, 1, 0])]), X)
    with pytest.raises(ValueError, match="conditionals must be given a mixture whose members have"):
        orders.conditionals(X)
    kinds = fit(Mixture([make(distribution="gaussian"), make(distribution="laplace")]), X)
    with pytest.raises(ValueError, match=r"one distribution a column. Got 2 kinds"):
        kinds.conditionals(X)
