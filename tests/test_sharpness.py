"""Samples from the most probable levels alone."""

import numpy as np
import pytest
from common import DATA, MODELS, assert_same_bits, fit, fitted, make, states

from fastar import GenerativeRNN, Mixture
from fastar._kernels._conditionals import FEATURE, KINDS, Kernel, choose
from fastar.conditionals import Categorical

pytestmark = pytest.mark.kernels


def cut(p, top_p=None, top_k=None):
    """Return a distribution of the most probable levels; equal ones stay together."""
    above = np.array([p[p > each].sum() for each in p])
    more = np.array([(p > each).sum() for each in p])
    kept = (above < (1 if top_p is None else top_p)) & (more < (len(p) if top_k is None else top_k))
    return np.where(kept, p, 0) / p[kept].sum()


def drawn(raw, n=20_000, dtype="float64", temperature=1.0, **settings):
    """Return the shares of levels that the kernel draws."""
    feature = np.zeros(1, FEATURE)
    feature["kind"] = KINDS.index("categorical" if len(raw) > 1 else "bernoulli")
    feature["count"], feature["low"] = len(raw), -np.inf
    kernel = Kernel(feature, 1, False)
    codes, rng = np.zeros(n, dtype), np.random.default_rng(0)
    capsule = kernel.draw(np.dtype(dtype), temperature, None, *settings.values())
    rows = np.repeat(np.array([raw], dtype), n, axis=0)
    choose(capsule, 0, rows, rng.random((n, 1)).astype(dtype), None, codes, np.zeros(n))
    return np.bincount(codes.astype(int), minlength=max(2, len(raw))) / n


RAW = [0.4, 2.0, -1.0, 2.0, -30.0, 1.0, 0.0]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("temperature", [1.0, 0.5])
@pytest.mark.parametrize("top_p", [1.0, 0.95, 0.8, 0.5, 1e-9])
@pytest.mark.parametrize("top_k", [0, 1, 2, 3, 5, 100])
def test_levels_are_drawn_from_the_most_probable_ones(top_p, top_k, temperature, dtype):
    p = np.exp(np.array(RAW) / temperature)
    exact = cut(p / p.sum(), top_p, top_k or None)
    found = drawn(RAW, dtype=dtype, temperature=temperature, top_p=top_p, top_k=top_k)
    assert (found[exact == 0] == 0).all()
    np.testing.assert_allclose(found, exact, atol=0.02)


@pytest.mark.parametrize(("top_p", "top_k"), [(1.0, 0), (0.6, 0), (0.8, 0), (1.0, 1), (1.0, 2)])
@pytest.mark.parametrize("z", [-1.0, 0.0, 1.0])
def test_bits_are_levels(z, top_p, top_k):
    p = np.array([1 / (1 + np.exp(z)), 1 / (1 + np.exp(-z))])
    found = drawn([z], top_p=top_p, top_k=top_k)
    np.testing.assert_allclose(found, cut(p, top_p, top_k or None), atol=0.02)


@pytest.mark.parametrize("conditional", ["bernoulli", "categorical"])
@pytest.mark.parametrize("name", MODELS)
def test_every_conditional_of_a_row_is_cut(name, conditional):
    model, _ = fitted(name, conditional, D=2)
    everything = states(conditional, 2)
    K = int(everything.max()) + 1
    p = np.exp(model.score_samples(everything)).reshape(K, K)
    for settings in ({"top_k": 1}, {"top_p": 0.6}, {"top_p": 0.9, "top_k": 2}):
        first = cut(p.sum(axis=1), **settings)
        exact = [q * cut(row / row.sum(), **settings) for q, row in zip(first, p, strict=True)]
        rows = model.sample(8000, random_state=0, **settings).astype(int)
        found = np.bincount(rows @ [K, 1], minlength=K * K) / 8000
        np.testing.assert_allclose(found, np.ravel(exact), atol=0.025)


def test_nothing_is_cut_by_what_leaves_everything():
    model, _ = fitted("NADE", "categorical", D=4)
    plain = model.sample(50, random_state=0)
    assert_same_bits(model.sample(50, top_p=1.0, random_state=0), plain)
    np.testing.assert_array_equal(model.sample(50, top_k=3, random_state=0), plain)


def test_other_conditionals_are_drawn_as_they_are():
    model, _ = fitted("NADE", "gaussian", D=3)
    plain = model.sample(50, random_state=0)
    assert_same_bits(model.sample(50, top_p=0.1, top_k=1, random_state=0), plain)


def test_evidence_and_threads_and_mixtures():
    X = DATA["categorical"](300, 4)
    members = [make(model, distribution=Categorical("error")) for model in ("NADE", "MADE")]
    mixture = fit(Mixture(members, random_state=0), X)
    settings = {"top_k": 1, "random_state": 0}
    assert len(np.unique(mixture.sample(200, **settings), axis=0)) <= 2
    held = mixture.sample(50, evidence={3: 1}, **settings)
    assert (held[:, 3] == 1).all()
    member = mixture.estimators_[0]
    one, two = (member.set_params(n_jobs=n).sample(300, top_p=0.7, random_state=0) for n in (1, 2))
    assert_same_bits(one, two)


def test_texts_are_drawn_from_the_most_probable_letters():
    text = [np.frombuffer(b"abcabcabc", np.uint8)] * 20
    settings = {"n_hidden": 8, "max_iter": 60, "learning_rate_init": 0.05, "random_state": 0}
    model = fit(GenerativeRNN(**settings), text)
    first = model.sample(20, top_k=1, random_state=0)
    assert all((each == first[0]).all() for each in first)
    kept = model.sample(3, evidence=[text[0]] * 3, top_p=0.5, random_state=0)
    assert all((each == text[0]).all() for each in kept)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"top_p": 0}, "top_p must be None, or above 0 and at most 1. Got 0"),
        ({"top_p": 1.5}, "top_p must be .* Got 1.5"),
        ({"top_p": np.nan}, "top_p must be .* Got nan"),
        ({"top_k": 0}, "top_k must be None or an int of at least 1. Got 0"),
        ({"top_k": 2.5}, "top_k must be .* Got 2.5"),
        ({"top_k": True}, "top_k must be .* Got True"),
        ({"top_k": 2, "evidence": {0: {0, 1}}}, "top_p and top_k must be None where evidence has"),
    ],
)
def test_odd_arguments_are_refused(settings, message):
    model, _ = fitted("NADE", "categorical", D=3)
    with pytest.raises(ValueError, match=message):
        model.sample(5, **settings)
