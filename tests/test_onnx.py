"""ONNX graphs: they answer what `score_samples` does, and what has no graph is refused by name."""

import datetime as dt
import sys

import numpy as np
import polars as pl
import pytest
from common import COUNTS, DATA, KINDS, MODELS, SMALL, bits, counts, distribution, levels, reals
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, scale

import fastar
from fastar import MADE, NADE, AutoDensity, DensityOutlierDetector, Mixture
from fastar.conditionals import Categorical, LogisticMixture, Number
from fastar.onnx import export, register_skl2onnx
from fastar.onnx._graph import Graph, library

pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

TYPES = {"double": np.float64, "int64": np.int64, "bool": np.bool_, "string": object}
EXPORTED = [name for name in DATA if name not in COUNTS]


@pytest.fixture
def scored(tmp_path):
    """Return a function that exports a model and scores rows by the graph."""

    def score(model, X):
        path = tmp_path / "model.onnx"
        export(model, path)
        session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
        given = session.get_inputs()
        if not isinstance(X, pl.DataFrame):
            (only,) = given
            return session.run(None, {only.name: X})[0]
        assert [each.name for each in given] == X.columns
        return session.run(None, {each.name: fed(X[each.name], each.type) for each in given})[0]

    return score


def fed(column, type_):
    dtype = TYPES[type_.removeprefix("tensor(").removesuffix(")")]
    filled = column.fill_null("") if dtype is object else column
    return filled.to_numpy().astype(dtype)


def fitted(model, X, **parameters):
    settings = {"max_iter": 3, "random_state": 0, "early_stopping": False}
    return getattr(fastar, model)(**SMALL[model] | settings | parameters).fit(X)


def assert_same(found, expected):
    assert found.dtype == np.float64
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


def table(conditional, n=200, D=11):
    """Return rows and the distribution of their columns, without counts."""
    X = DATA[conditional](n, D)
    if conditional != "mixed":
        return X, distribution(conditional, D)
    kept = [d for d in range(D) if KINDS[d] not in COUNTS]
    return X[:, kept], [distribution(KINDS[d], 1) for d in kept]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("conditional", EXPORTED)
@pytest.mark.parametrize("model", MODELS)
def test_graphs_score_as_models_do(model, conditional, dtype, scored):
    X, own = table(conditional)
    trained = fitted(model, X, distribution=own, dtype=dtype, order="random")
    assert_same(scored(trained, X), trained.score_samples(X))


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu"])
@pytest.mark.parametrize("model", ["NADE", "MADE"])
def test_every_activation_has_its_operator(model, activation, scored):
    X = reals(100, 4)
    trained = fitted(model, X, activation=activation)
    assert_same(scored(trained, X), trained.score_samples(X))


@pytest.mark.parametrize("conditional", ["bernoulli", "mixed"])
@pytest.mark.parametrize("order_agnostic", [False, True])
def test_sets_of_masks_and_orders_are_averaged(order_agnostic, conditional, scored):
    X, own = table(conditional)
    trained = fitted("MADE", X, n_masks=3, order_agnostic=order_agnostic, distribution=own)
    found, alone = scored(trained, X), fitted("MADE", X, distribution=own)
    assert_same(found, trained.score_samples(X))
    assert np.abs(found - alone.score_samples(X)).max() > 1e-3


def test_a_markov_order_is_that_of_the_masks(scored):
    X = bits(100, 8)
    for model in ("MADE", "FVSBN"):
        trained = fitted(model, X, markov_order=2)
        assert_same(scored(trained, X), trained.score_samples(X))


def test_the_only_column_has_no_hidden_layer(scored):
    for model in MODELS:
        trained = fitted(model, bits(50, 1))
        assert_same(scored(trained, bits(50, 1)), trained.score_samples(bits(50, 1)))


def test_a_mixture_is_the_mean_by_its_weights(scored):
    X = reals(200, 3)
    members = [fitted("NADE", X), FrozenEstimator(fitted("MADE", X, n_masks=2))]
    mixture = Mixture(members, weights=[0.3, 0.7], random_state=0).fit(X)
    assert_same(scored(mixture, X), mixture.score_samples(X))
    nested = Mixture([FrozenEstimator(mixture), NADE(max_iter=2)], random_state=0).fit(X)
    assert_same(scored(nested, X), nested.score_samples(X))


def test_what_a_search_found_is_a_mixture(scored):
    X = reals(200, 3)
    found = AutoDensity(max_time=None, max_trials=4, max_iter=2, random_state=0).fit(X)
    assert_same(scored(found, X), found.score_samples(X))


def frame(n=400, seed=0):
    """Return columns of every type, most with gaps too; two have names that graphs use."""
    rng = np.random.default_rng(seed)
    size = np.where(rng.random(n) < 0.3, 0, rng.gamma(2, 3, n)).round(2)
    columns = {
        "v0": rng.choice(["a", "b", "c"], n),
        "size": size,
        "log_density": rng.integers(0, 500, n),
        "flag": rng.random(n) < 0.4,
        "id": rng.integers(0, 9, n) * 2**20 + 2**60,
        "far": rng.choice([-(2**62), 5, 2**62], n),
        "price": np.exp(rng.standard_normal(n)),
        "t": rng.standard_cauchy(n),
    }
    found = pl.DataFrame(columns)
    gaps = [
        pl.when(pl.Series(rng.random(n) < 0.2)).then(None).otherwise(pl.col(name)).alias(f"{name}?")
        for name in ("v0", "size", "log_density", "flag")
    ]
    return found.with_columns(gaps)


@pytest.mark.parametrize("model", MODELS)
def test_columns_of_frames_are_inputs_of_their_types(model, scored):
    trained = fitted(model, frame())
    assert_same(scored(trained, frame()), trained.score_samples(frame()))
    new = frame(50, seed=1)
    assert_same(scored(trained, new), trained.score_samples(new))


def test_inputs_and_other_values_have_names_of_their_own(scored):
    names = [f"v{k}" for k in range(120)]
    X = pl.DataFrame(reals(60, 120), schema=names)
    trained = fitted("NADE", X)
    assert_same(scored(trained, X), trained.score_samples(X))


def test_a_mixture_of_frames_reads_them_once(scored):
    mixture = Mixture(NADE(max_iter=2), n_members=2, random_state=0).fit(frame())
    assert_same(scored(mixture, frame()), mixture.score_samples(frame()))


def test_values_that_fit_has_not_seen_have_their_small_probability(scored):
    trained = fitted("NADE", frame())
    strange = frame(4).with_columns(
        v0=pl.Series(["zz", "a", "b", "c"]),
        size=pl.Series([-1.0, 0.0, 1e5, 1e-200]),
        t=pl.Series([0.0, 1e50, -1e30, 1e-300]),
    )
    expected = trained.score_samples(strange)
    np.testing.assert_allclose(scored(trained, strange), expected, rtol=1e-6, atol=1e-4)


def test_rare_and_unseen_categories_are_one_level(scored):
    rare = frame().with_columns(pl.col("v0", "v0?").replace({"c": None}).fill_null("a"))
    few = pl.Series(["b"] * 3 + ["x", "y"] * 2)
    table = rare.with_columns(few.extend(rare["v0"][7:]).alias("v0"))
    trained = fitted("NADE", table, min_count=10)
    assert trained.levels("v0").tolist() == ["a", "b", "other"]
    strange = table.head(8).with_columns(v0=pl.Series(["zz", "x", "y", "a", "b", "other", "", "x"]))
    for X in (table, strange):
        assert_same(scored(trained, X), trained.score_samples(X))


def test_marked_gaps_of_arrays_are_nan(scored):
    X = frame().select("size?", "flag?", "price").cast(pl.Float64).to_numpy()
    trained = fitted("NADE", X, missing="marked")
    assert np.isnan(X).any()
    assert_same(scored(trained, X), trained.score_samples(X))


def test_digits_of_levels_are_two_features(scored):
    X = np.random.default_rng(0).zipf(1.4, (1000, 2)) % 5000
    trained = fitted("NADE", X, distribution=Categorical(digits=True))
    assert trained.network_.n_features == 4
    X[0] = 10**6, X[1, 1]
    assert_same(scored(trained, X), trained.score_samples(X))


def test_whole_numbers_that_fit_has_not_seen_share_what_is_left(scored):
    rng = np.random.default_rng(0)
    X = np.column_stack(
        [
            np.where(rng.random(600) < 0.4, 40, rng.integers(0, 400, 600)),
            rng.choice([1, 2, 5, 9], 600),
            rng.choice([3, 4], 600),
            rng.integers(-(10**6), 10**9, 600),
        ]
    ).astype(float)
    trained = fitted("NADE", X)
    assert [each["kind"] for each in trained.schema_] == [
        "integer",
        *["categorical"] * 2,
        "integer",
    ]
    odd = X[:8].copy()
    odd[0], odd[1], odd[2, 1], odd[3, 2] = 10**6, -5, 7, 40
    odd[4:, 3] = 10**12, -(10**9), 123, 10**9 + 1
    assert_same(scored(trained, odd), trained.score_samples(odd))


def test_integers_beyond_float64_are_differences(scored):
    X = np.random.default_rng(0).integers(0, 9, (200, 2)) + np.array([2**60, 0])
    trained = fitted("NADE", X)
    assert_same(scored(trained, X), trained.score_samples(X))


def test_measurements_in_steps_are_levels(scored):
    X = reals(200, 3).round(2)
    trained = fitted("NADE", X, distribution=LogisticMixture(step=0.01))
    assert_same(scored(trained, X), trained.score_samples(X))


@pytest.mark.parametrize(
    ("X", "own", "wrong"),
    [
        (bits(50, 3).astype(float), "bernoulli", 0.5),
        (levels(50, 3).astype(float), Categorical("error"), 9.0),
        (reals(50, 3), "gaussian", np.inf),
        (np.exp(reals(50, 3) - 100), Number(atoms=False), -1.0),
        (levels(50, 3).astype(float), "logistic_mixture", 0.5),
    ],
)
def test_what_score_samples_refuses_has_no_probability(X, own, wrong, scored):
    trained = fitted("NADE", X, distribution=own)
    X = X.copy()
    X[0, 1], X[1, 2] = wrong, np.nan
    for row in X[:2]:
        with pytest.raises(ValueError, match="X"):
            trained.score_samples(row[None])
    found = scored(trained, X)
    assert found[0] == -np.inf
    assert np.isnan(found[1])
    assert_same(found[2:], trained.score_samples(X[2:]))


def test_what_is_impossible_in_all_members_is_so_in_the_mixture(scored):
    X = levels(60, 3)
    members = [NADE(max_iter=2, distribution=Categorical("impossible")) for _ in range(2)]
    mixture = Mixture(members, random_state=0).fit(X)
    X[0, 0] = 9
    with pytest.warns(UserWarning, match="no level"):
        expected = mixture.score_samples(X)
    assert expected[0] == -np.inf
    assert_same(scored(mixture, X), expected)


def test_inputs_have_the_type_of_fit(tmp_path):
    for dtype, told in {"uint8": "uint8", "bool": "bool", "float32": "float"}.items():
        export(fitted("NADE", bits(50, 3).astype(dtype)), tmp_path / "model.onnx")
        (given,) = runtime.InferenceSession(tmp_path / "model.onnx").get_inputs()
        assert (given.type, given.shape) == (f"tensor({told})", ["n", 3])


REFUSED = [
    (lambda: NADE(markov_order=1).fit(bits(50, 4)), ValueError, "markov_order of NADE .* Got 1"),
    (lambda: NADE(distribution="poisson").fit(counts(50, 2)), ValueError, r"Poisson\(\)"),
    (lambda: fastar.DeepNADE(max_iter=1).fit(bits(50, 4)), ValueError, "'orderless'"),
    (lambda: NADE().fit(bits(50, 4), context=reals(50, 2)), ValueError, "context"),
    (lambda: DensityOutlierDetector(NADE()).fit(bits(50, 4)), TypeError, "DensityOutlierDetector"),
    (lambda: MADE(), NotFittedError, "not fitted"),
    (lambda: NADE().fit(reals(50, 2).astype(np.uint64) + 2**60), ValueError, "Got uint64"),
    *(
        (
            lambda values=values: NADE(max_iter=1).fit(pl.DataFrame({"when": [values(1, 2)] * 9})),
            ValueError,
            f"Column 'when' has values of type {kind}, for which ONNX has none",
        )
        for kind, values in [
            ("moment", lambda *d: dt.datetime(2026, *d)),
            ("duration", dt.timedelta),
            ("time", dt.time),
        ]
    ),
    (
        lambda: NADE(max_iter=1).fit(pl.DataFrame({"c": ["", "a", None, "a"]})),
        ValueError,
        "Column 'c' has missing values among categories",
    ),
]


@pytest.mark.parametrize(("make", "error", "message"), REFUSED)
def test_what_cannot_be_exported_is_named(make, error, message, tmp_path):
    model = make()
    with pytest.raises(error, match=message):
        export(model, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_member_of_another_table_is_refused(tmp_path):
    strings = pl.DataFrame({"c": ["a", "b", "a", "b"] * 10})
    other = FrozenEstimator(NADE(max_iter=1, early_stopping=False).fit(strings[::-1]))
    more = strings.with_columns(c=pl.lit("z"))
    mixture = Mixture([other, NADE(max_iter=1)], random_state=0).fit(pl.concat([strings, more]))
    with pytest.raises(ValueError, match="members that were fitted to a table like its own"):
        export(mixture, tmp_path / "model.onnx")


# ---- numbers by their keys


@pytest.mark.parametrize("n_keys", [0, 1, 2, 3, 4, 9, 16, 33])
@pytest.mark.parametrize("has_nan", [False, True])
def test_numbers_are_looked_up_among_any_count_of_keys(n_keys, has_nan):
    rng = np.random.default_rng(n_keys)
    keys = np.append(rng.choice(100, n_keys, replace=False) - 50.0, [np.nan] * has_nan)
    found, g, onnx = rng.normal(size=len(keys)), Graph(), library()
    value = g.input(np.float64, ["n", 1])
    total = g.looked_up(value, keys, found, -7.0)
    graph = g.closed("looked_up", {total: (np.float64, ["n", 1])})
    sets = [onnx.helper.make_opsetid("", 18)]
    model = onnx.helper.make_model(graph, opset_imports=sets, ir_version=9)
    session = runtime.InferenceSession(model.SerializeToString())
    x = np.concatenate([np.arange(-60, 61), [np.inf, -np.inf, np.nan, 0.5, -0.0]])
    known = {float(key): each for key, each in zip(keys[:n_keys], found, strict=False)}
    expected = np.array([known.get(each, -7.0) for each in x])
    if has_nan:
        expected[np.isnan(x)] = found[-1]
    np.testing.assert_array_equal(session.run(None, {value: x[:, None]})[0][:, 0], expected)


# ---- pipelines of scikit-learn


@pytest.fixture
def piped():
    """Return a function that converts a pipeline by skl2onnx and scores rows by the graph."""
    skl2onnx = pytest.importorskip("skl2onnx")
    register_skl2onnx()

    def score(pipeline, X, **how):
        graph = skl2onnx.to_onnx(pipeline, X[:1], **how)
        session = runtime.InferenceSession(graph.SerializeToString())
        (only,) = session.get_inputs()
        return session.run(["log_density"], {only.name: X})[0]

    return score


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("model", MODELS)
def test_pipelines_that_end_with_a_density_are_converted(model, dtype, piped):
    # centred, for graphs of float32 round the means of the scaler, and older scikit-learn does not
    X = (scale(reals(200, 4)) * 3 + 5).astype(dtype)
    pipeline = make_pipeline(StandardScaler(), fitted(model, X)).fit(X)
    assert_same(piped(pipeline, X), pipeline.score_samples(X))


def test_pipelines_may_end_with_mixtures_of_any_columns(piped):
    X, own = table("mixed")
    member = fitted("NADE", X, distribution=own)
    for density in (
        Mixture([member, NADE(max_iter=2)], random_state=0),
        AutoDensity(max_time=None, max_trials=3, max_iter=2, random_state=0),
    ):
        pipeline = make_pipeline(density).fit(X)
        assert_same(piped(pipeline, X), pipeline.score_samples(X))


def test_steps_may_give_frames_of_numbers(piped):
    X = reals(200, 3)
    pipeline = make_pipeline(StandardScaler(), NADE(max_iter=2)).set_output(transform="pandas")
    pipeline.fit(X)
    assert list(pipeline[-1].feature_names_in_) == ["x0", "x1", "x2"]
    assert_same(piped(pipeline, X), pipeline.score_samples(X))


def test_what_no_step_gives_is_refused_by_pipelines(piped):
    X = reals(100, 3)
    pipeline = make_pipeline(StandardScaler(), fitted("NADE", X)).fit(X)
    with pytest.raises(ValueError, match="target_opset must be 18 or more"):
        piped(pipeline, X, target_opset=15)
    coded = make_pipeline(fitted("NADE", frame()))
    with pytest.raises(ValueError, match="Column 'v0' has categories"):
        piped(coded, reals(5, 12))
    far = make_pipeline(fitted("NADE", np.arange(2**60, 2**60 + 50)[:, None]))
    with pytest.raises(ValueError, match=r"integers beyond 2\*\*53"):
        piped(far, reals(5, 1))
    with pytest.raises(ValueError, match=r"fitted to 3 columns\. Got 2 from the step"):
        piped(make_pipeline(fitted("NADE", X)), X[:, :2])


def test_skl2onnx_is_asked_for_by_name(monkeypatch):
    monkeypatch.setitem(sys.modules, "skl2onnx", None)
    with pytest.raises(ImportError, match="pip install skl2onnx"):
        register_skl2onnx()
