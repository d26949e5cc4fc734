"""Which model answers which question: the guide's table, and a law for each of its cells."""

import copy
import inspect
import textwrap
from functools import cache
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
from common import fit

import fastar
from fastar import DensityImputer, DensityOutlierDetector, GenerativeClassifier, models

GUIDE = Path(__file__).parents[1] / "docs/guide/models.md"
BEGIN, END = "<!-- faces: printed by tests/test_faces.py -->", "<!-- end of faces -->"

TOOLS = [GenerativeClassifier, DensityOutlierDetector, DensityImputer]
CLASSES = {each.__name__: each for each in [*models.BY_NAME.values(), *TOOLS]}
DENSITIES = [name for name in models.BY_NAME if name != "SequenceLabeller"]
KEYWORDS = {"context": "c", "evidence": "e"}

OF_DENSITIES = [
    "score_samples",
    "score",
    "score_features",
    "conditionals",
    "sample",
    "log_marginal",
    "impute",
    "purify",
]
OF_CLASSES = ["predict", "predict_proba", "predict_log_proba"]
QUESTIONS = [
    "predict",
    "predict_proba",
    "log_probability",
    "levels",
    "explain",
    "repair_suggestions",
    "complete",
    "expectation",
]

ALONE = [each for each in CLASSES if each not in ("Mixture", "AutoDensity")]

# Which methods these classes do not have, and why.
ABSENT = [
    (
        ["SequenceLabeller"],
        [*(each for each in OF_DENSITIES if each != "score"), *QUESTIONS[2:]],
        "It is a classifier: it learns p(label given a sequence), and no density of sequences.",
    ),
    (
        ["GenerativeRNN"],
        ["purify"],
        "Its kernels draw and weigh steps, and do not look for the most probable value near one.",
    ),
    (
        ["GenerativeRNN"],
        QUESTIONS,
        "They are about columns, which sequences do not have.",
    ),
    (
        ["PixelRNN"],
        [each for each in QUESTIONS if each != "complete"],
        "They are about columns; its `complete` draws what a mask hides of an image.",
    ),
    (
        ["Mixture", "AutoDensity"],
        ["partial_fit"],
        "Weights may need rows that no member has seen, so `fit` takes all rows at once.",
    ),
    (
        ALONE,
        ["responsibilities"],
        "They are about members, which only mixtures have.",
    ),
    (
        ["GenerativeClassifier"],
        [*OF_DENSITIES[2:], *QUESTIONS[2:]],
        "Its densities, in `densities_`, answer these for each class.",
    ),
    (
        ["DensityOutlierDetector"],
        [
            *OF_DENSITIES[1:],
            *OF_CLASSES[1:],
            *(each for each in QUESTIONS[2:] if each != "explain"),
        ],
        "Its density, in `density_`, answers these; its own answers are p-values.",
    ),
    (
        ["DensityImputer"],
        [*OF_DENSITIES, *OF_CLASSES, *QUESTIONS[2:]],
        "It is a transformer: its density, in `density_`, answers these.",
    ),
    (
        [each.__name__ for each in TOOLS],
        ["partial_fit"],
        "They count classes, set rows aside or read columns in all rows at once.",
    ),
    (
        DENSITIES,
        ["predict_log_proba"],
        "`predict_proba` of a column has zeros where a level is impossible.",
    ),
]
NO_CONTEXT = [
    (["SequenceLabeller"], "All that a label depends on belongs to the steps."),
    ([each.__name__ for each in TOOLS], "They ask about rows of a table alone."),
]


# ---- what the classes have


def own_methods():
    """Return the public methods that this library defines, by the order of the classes."""
    found = []
    for kind in CLASSES.values():
        for base in reversed(kind.__mro__):
            if base.__module__.startswith("fastar"):
                found += [name for name, each in vars(base).items() if inspect.isfunction(each)]
    return [name for name in dict.fromkeys(found) if not name.startswith("_")]


METHODS = sorted(
    own_methods(),
    key=lambda name: [
        *("fit", "partial_fit", *OF_DENSITIES, *OF_CLASSES, *QUESTIONS, "save", name)
    ].index(name),
)
SHARED = [name for name in METHODS if sum(hasattr(kind, name) for kind in CLASSES.values()) > 1]
CELLS = [(kind, name) for kind in CLASSES for name in METHODS if hasattr(CLASSES[kind], name)]


def keywords(kind, method):
    """Return which of KEYWORDS a method takes."""
    parameters = inspect.signature(getattr(CLASSES[kind], method)).parameters
    return [each for each in KEYWORDS if each in parameters]


def answer(kind, method):
    """Return a cell of the table."""
    if not hasattr(CLASSES[kind], method):
        return ""
    return " ".join(["✓", *(KEYWORDS[each] for each in keywords(kind, method))])


def table():
    """Return the table model x method, and why some cells are empty, in Markdown."""
    columns = [(kind, [answer(kind, method) for method in METHODS]) for kind in CLASSES]
    groups = [(list(each), cells) for cells, each in groupby(columns, key=lambda pair: pair[1])]
    names = [" ".join(f"`{kind}`" for kind, _ in each) for each, _ in groups]
    lines = ["| | " + " | ".join(names) + " |", "|---" * (len(groups) + 1) + "|"]
    for row, method in enumerate(METHODS):
        lines.append(f"| `{method}` | " + " | ".join(cells[row] for _, cells in groups) + " |")
    lines += [
        "",
        "✓: it answers; c: given `context=`; e: given `evidence=`. What is not there:",
        "",
    ]
    gaps = [*ABSENT, *((kinds, ["context"], why) for kinds, why in NO_CONTEXT)]
    for kinds, names, why in gaps:
        subject = "Densities" if kinds == DENSITIES else listed(kinds)
        if kinds == ALONE:
            subject = "All but mixtures"
        reason = f"- {subject}: no {listed(names)}. {why}"
        lines.append(textwrap.fill(reason, 115, subsequent_indent="  ", break_on_hyphens=False))
    return "\n".join(lines)


def listed(names):
    return ", ".join(f"`{name}`" for name in names)


def test_the_guide_has_the_table():
    text = GUIDE.read_text()
    assert text[text.index(BEGIN) + len(BEGIN) : text.index(END)].strip() == table()


def test_every_absence_has_one_reason():
    absent = [
        (kind, name) for kind in CLASSES for name in SHARED if not hasattr(CLASSES[kind], name)
    ]
    given = [(kind, name) for kinds, names, _ in ABSENT for kind in kinds for name in names]
    assert sorted(given) == sorted(absent)
    # methods of one class alone are its own
    assert not {name for _, name in given} - set(SHARED)


def test_every_density_takes_a_context_wherever_it_looks_at_rows():
    without = [
        (kind, name)
        for kind, name in CELLS
        if "context" not in keywords(kind, name) and name not in ("save", "with_orders", "levels")
    ]
    assert {kind for kind, _ in without} == {kind for kinds, _ in NO_CONTEXT for kind in kinds}
    assert all("evidence" in keywords(kind, "sample") for kind in DENSITIES)


# ---- a law for each cell: of 60 rows of bits, images or sequences, given a number

D, nan = 6, np.nan
X = (np.cumsum(np.random.default_rng(0).random((60, D)) < 0.3, axis=1) % 2).astype(np.int64)
LABELS = np.array(["even", "odd"])[X.sum(axis=1) % 2]
CONTEXT = X[:, :1] + np.random.default_rng(1).normal(size=(60, 1))
SHAPES = {"PixelRNN": (2, 3)}
QUICK = {"max_iter": 3, "random_state": 0, "n_jobs": 1}


def rows(kind, values=X):
    return values.reshape(len(values), *SHAPES.get(kind, (D,)))


def flat(values):
    return np.asarray(values).reshape(len(values), -1)


@cache
def fitted(kind):
    """Return a small fitted model."""
    density = fastar.NADE(n_hidden=5, **QUICK)
    if kind in [each.__name__ for each in TOOLS]:
        model = CLASSES[kind](density, random_state=0)
    elif kind == "Mixture":
        model = fastar.Mixture(density, n_members=2, random_state=0)
    elif kind == "AutoDensity":
        model = fastar.AutoDensity(**QUICK, max_time=None, max_trials=2, models=["FVSBN"])
    else:
        bits = {"distribution": "bernoulli"} if kind == "RNADE" else {}
        model = CLASSES[kind](**QUICK | bits)
    if kind in ("SequenceLabeller", "GenerativeClassifier"):
        return fit(model, rows(kind), y=LABELS)
    return fit(model, rows(kind), **given(kind, "fit"))


def given(kind, method, n=60):
    """Return the context that a method takes."""
    return {"context": CONTEXT[:n]} if "context" in keywords(kind, method) else {}


def ask(kind, method, *arguments, n=60, **settings):
    return getattr(fitted(kind), method)(*arguments, **given(kind, method, n) | settings)


def with_gaps():
    gapped = X.astype(float)
    gapped[np.random.default_rng(2).random(X.shape) < 0.3] = nan
    return gapped


def law_fit(kind):
    assert fitted(kind).n_features_in_ == D
    again = copy.deepcopy(fitted(kind))
    y = LABELS if kind in ("SequenceLabeller", "GenerativeClassifier") else None
    assert fit(again, rows(kind), y=y, **given(kind, "fit")) is again


def law_partial_fit(kind):
    model = copy.deepcopy(fitted(kind))
    y = LABELS if kind == "SequenceLabeller" else None
    assert model.partial_fit(rows(kind), y, **given(kind, "partial_fit")) is model
    assert np.isfinite(model.theta_).all()
    assert (model.theta_ != fitted(kind).theta_).any()


def law_score_samples(kind):
    found = ask(kind, "score_samples", rows(kind))
    assert found.shape == (60,)
    assert np.isfinite(found).all()
    if "context" in keywords(kind, "score_samples"):
        other = ask(kind, "score_samples", rows(kind), context=CONTEXT + 1)
        assert (other != found).all()


def law_score(kind):
    if kind in DENSITIES:
        mean = ask(kind, "score_samples", rows(kind)).mean()
        assert ask(kind, "score", rows(kind)) == pytest.approx(mean)
    else:
        right = ask(kind, "predict", rows(kind)) == LABELS
        assert ask(kind, "score", rows(kind), LABELS) == pytest.approx(right.mean())


def law_score_features(kind):
    terms = ask(kind, "score_features", rows(kind))
    assert flat(terms).shape == (60, D)
    total = ask(kind, "score_samples", rows(kind))
    if kind == "DeepNADE":  # one order's terms, and the mean over several
        assert np.isfinite(terms).all()
        total = fitted(kind).with_orders(1).score_samples(rows(kind), context=CONTEXT)
    np.testing.assert_allclose(flat(terms).sum(axis=1), total, rtol=1e-4)


def law_conditionals(kind):
    p = flat(ask(kind, "conditionals", rows(kind)))
    logp = np.log(np.where(X == 1, p, 1 - p))
    np.testing.assert_allclose(logp, flat(ask(kind, "score_features", rows(kind))), rtol=1e-4)


def law_sample(kind):
    evidence = rows(kind, with_gaps())[0]
    drawn = ask(kind, "sample", 5, n=5, evidence=evidence, random_state=0)
    assert drawn.shape == (5, *evidence.shape)
    known = ~np.isnan(evidence)
    assert (drawn[:, known] == evidence[known]).all()
    assert np.isin(drawn, [0, 1]).all()
    free = [ask(kind, "sample", 60, random_state=seed) for seed in (0, 0, 1)]
    assert (free[0] == free[1]).all()
    assert (free[0] != free[2]).any()


def law_log_marginal(kind):
    some = X.astype(float)
    some[30:] = nan
    found = ask(kind, "log_marginal", rows(kind, some), random_state=0)
    np.testing.assert_allclose(found[:30], ask(kind, "score_samples", rows(kind))[:30])
    np.testing.assert_allclose(found[30:], 0, atol=1e-9)


def law_impute(kind):
    gapped = rows(kind, with_gaps())
    full = ask(kind, "impute", gapped, random_state=0)
    known = ~np.isnan(gapped)
    assert full.shape == gapped.shape
    assert (full[known] == gapped[known]).all()
    assert np.isin(full, [0, 1]).all()


def law_purify(kind):
    np.testing.assert_array_equal(ask(kind, "purify", rows(kind), 0.0), rows(kind))
    assert np.isin(ask(kind, "purify", rows(kind), 1.0), [0, 1]).all()


def law_predict(kind):
    if kind in DENSITIES:
        p = ask(kind, "predict_proba", rows(kind), target=2)
        np.testing.assert_array_equal(ask(kind, "predict", rows(kind), target=2), p.argmax(axis=1))
        return
    classes = [-1, 1] if kind == "DensityOutlierDetector" else fitted(kind).classes_
    assert np.isin(ask(kind, "predict", rows(kind)), classes).all()
    assert len(ask(kind, "predict", rows(kind))) == 60


def law_predict_proba(kind):
    p = ask(kind, "predict_proba", rows(kind))
    np.testing.assert_allclose(p.sum(axis=-1), 1, rtol=1e-5)
    if kind in DENSITIES:
        zeros, ones = X.copy(), X.copy()
        zeros[:, -1], ones[:, -1] = 0, 1
        odds = ask(kind, "score_samples", ones) - ask(kind, "score_samples", zeros)
        np.testing.assert_allclose(np.log(p[:, 1] / p[:, 0]), odds, rtol=1e-3, atol=1e-5)
        return
    best = fitted(kind).classes_[p.argmax(axis=-1)]
    assert (best == ask(kind, "predict", rows(kind))).all()


def law_predict_log_proba(kind):
    p = ask(kind, "predict_proba", rows(kind))
    np.testing.assert_allclose(np.exp(ask(kind, "predict_log_proba", rows(kind))), p, rtol=1e-5)


def law_save(kind, path):
    fitted(kind).save(path)
    again = fastar.load(path)
    method = next(
        each for each in ("score_samples", "predict_log_proba", "transform") if hasattr(again, each)
    )
    found = getattr(again, method)(rows(kind), **given(kind, method))
    np.testing.assert_array_equal(found, ask(kind, method, rows(kind)))


def law_with_orders(kind):
    more = fitted(kind).with_orders(3)
    assert np.isfinite(more.score_samples(X, context=CONTEXT)).all()


def law_score_stream(kind):
    head, state = ask(kind, "score_stream", X[:, :2])
    tail, _ = ask(kind, "score_stream", X[:, 2:], state)
    np.testing.assert_array_equal(np.hstack([head, tail]), ask(kind, "score_features", X))


def law_levels(kind):
    assert fitted(kind).levels(0).tolist() == [0, 1]


def law_log_probability(kind):
    boxes = [{0: {0, 1}}, {1: {1}, 2: (0, 1)}, {1: 1, 2: 0}]
    found = ask(kind, "log_probability", boxes, n=1, n_particles=4000, random_state=0)
    np.testing.assert_allclose(found[0], 0, atol=1e-6)
    np.testing.assert_allclose(found[1], found[2], atol=0.05)


def law_repair_suggestions(kind):
    found = ask(kind, "repair_suggestions", rows(kind), 2)
    for column, (values, log_p) in found.items():
        p = ask(kind, "predict_proba", rows(kind), target=column)
        np.testing.assert_allclose(np.exp(log_p), np.sort(p, axis=1)[:, ::-1], rtol=1e-5)
        np.testing.assert_array_equal(values[:, 0], p.argmax(axis=1))


def law_expectation(kind):
    value, error = ask(kind, "expectation", 0, evidence=X[0], n=1)
    assert (value, error) == (X[0, 0], 0)
    value, error = ask(kind, "expectation", 0, evidence={1: 1}, n=1, random_state=0)
    assert 0 < value < 1
    assert 0 < error < 0.1


def law_complete(kind):
    if kind != "PixelRNN":
        full = ask(kind, "complete", with_gaps())
        known = ~np.isnan(with_gaps())
        assert (full[known] == X[known]).all()
        assert np.isin(full, [0, 1]).all()
        return
    hidden = np.array([[False, True, False], [True, True, True]])
    drawn = ask(kind, "complete", rows(kind), hidden, n_draws=2, random_state=0)
    assert drawn.shape == (60, 2, 2, 3)
    assert (drawn[:, :, ~hidden] == rows(kind)[:, None, ~hidden]).all()


@cache
def step_labeller():
    """Return a labeller of each step, for streams."""
    return fit(fastar.SequenceLabeller(**QUICK), X, y=np.cumsum(X, axis=1) % 2)


def law_predict_stream(kind):
    head, state = step_labeller().predict_stream(X[:, :2])
    tail, _ = step_labeller().predict_stream(X[:, 2:], state)
    np.testing.assert_array_equal(np.hstack([head, tail]), step_labeller().predict(X))


def law_predict_log_proba_stream(kind):
    found, _ = step_labeller().predict_log_proba_stream(X)
    np.testing.assert_allclose(found, step_labeller().predict_log_proba(X), rtol=1e-5)


def law_responsibilities(kind):
    np.testing.assert_allclose(ask(kind, "responsibilities", X).sum(axis=1), 1)


def law_abstains(kind):
    below = ask(kind, "score_samples", X) < fitted(kind).threshold_
    np.testing.assert_array_equal(ask(kind, "abstains", X), below)


def law_decision_function(kind):
    inside = ask(kind, "decision_function", X) >= 0
    np.testing.assert_array_equal(ask(kind, "predict", X), np.where(inside, 1, -1))


def law_p_values(kind):
    p = ask(kind, "p_values", X)
    assert (p > 0).all()
    assert (p <= 1).all()


def law_explain(kind):
    found = ask(kind, "explain", X)
    assert found.shape == X.shape
    if kind in DENSITIES:
        p = ask(kind, "predict_proba", X, target=1)
        np.testing.assert_allclose(np.exp(found[:, 1]), p[np.arange(60), X[:, 1]], rtol=1e-4)


def law_transform(kind):
    gapped = with_gaps()
    full = ask(kind, "transform", gapped)
    assert (full[~np.isnan(gapped)] == gapped[~np.isnan(gapped)]).all()
    assert np.isfinite(full).all()


@pytest.mark.parametrize(("kind", "method"), CELLS)
def test_every_cell_answers(kind, method, tmp_path):
    law = globals()[f"law_{method}"]
    law(kind, tmp_path / "model.fastar") if method == "save" else law(kind)
