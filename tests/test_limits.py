"""Limits: sizes that nothing else bounds, what does not fit into memory, long sequences."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
from common import assert_same, assert_same_bits, bits, fit, make, reals, run_python, snapshot

import fastar
from fastar import AutoDensity, DeepNADE, GenerativeRNN, Mixture, PixelRNN, SequenceLabeller
from fastar._core import limits
from fastar._core.limits import MOST_LAYERS, MOST_LEVELS, MOST_MEMBERS, MOST_STEPS, MOST_UNITS
from fastar._engine import steps as engine_steps
from fastar._kernels import _cpu

QUICK = {"max_iter": 2, "random_state": 0, "n_jobs": 1}


def sequences(n=30, T=9):
    return [bits(1, T, seed=i)[0] for i in range(n)]


# ---- sizes of models

TOO_LARGE = [
    *[(name, "n_hidden", MOST_UNITS) for name in ("NADE", "RNADE")],
    *[(name, "n_hidden", MOST_UNITS) for name in ("GenerativeRNN", "PixelRNN", "SequenceLabeller")],
    *[(name, "n_layers", MOST_LAYERS) for name in ("GenerativeRNN", "PixelRNN")],
    ("SequenceLabeller", "n_layers", MOST_LAYERS),
    ("GenerativeRNN", "n_frame_hidden", MOST_UNITS),
    ("GenerativeRNN", "bptt", MOST_STEPS),
    ("MADE", "n_masks", MOST_MEMBERS),
    ("MADE", "n_scoring_masks", MOST_MEMBERS),
    ("DeepNADE", "n_orders", MOST_MEMBERS),
    ("PixelRNN", "n_levels", MOST_LEVELS),
]


def refused(model, match):
    X = bits(20, 4)
    before = snapshot(model)
    arguments = (X, X[:, 0]) if isinstance(model, SequenceLabeller) else (X,)
    with pytest.raises(ValueError, match=match):
        model.fit(*arguments)
    assert vars(model).keys() == before.keys()


@pytest.mark.parametrize("excess", [1, 10**9, 10**30])
@pytest.mark.parametrize(("name", "parameter", "most"), TOO_LARGE)
def test_a_size_beyond_its_limit_is_refused_by_name(name, parameter, most, excess):
    model = fastar.models.BY_NAME[name](**QUICK | {parameter: most + excess})
    refused(model, rf"'{parameter}' parameter .* Got {most + excess} instead")


@pytest.mark.parametrize("name", ["MADE", "DeepNADE"])
@pytest.mark.parametrize(
    "sizes", [(1,) * (MOST_LAYERS + 1), (3, MOST_UNITS + 1), MOST_UNITS + 1, (10**30,)], ids=str
)
def test_layers_beyond_their_limits_are_refused(name, sizes):
    refused(make_of(name, hidden_layer_sizes=sizes), "hidden_layer_sizes must be at most 1024 lay")


def make_of(name, **settings):
    return fastar.models.BY_NAME[name](**QUICK | settings)


def test_members_beyond_their_limits_are_refused():
    refused(Mixture(make(), n_members=MOST_MEMBERS + 1), "'n_members' parameter")
    model = fit(DeepNADE(hidden_layer_sizes=(5,), **QUICK), bits(20, 4))
    with pytest.raises(ValueError, match=r"n_orders must be an int of at most 65536\. Got 65537"):
        model.with_orders(MOST_MEMBERS + 1)


def test_counts_of_python_are_no_limit_of_the_machine():
    huge = {"batch_size": 10**30, "n_iter_no_change": 10**30, "n_jobs": 10**30}
    X = bits(40, 4)
    assert fit(make(**huge, markov_order=10**30, max_iter=2), X).n_iter_ == 2


# ---- memory


@pytest.fixture
def small_memory(monkeypatch):
    """Make believe that there is a megabyte."""
    monkeypatch.setattr(limits, "memory_bytes", lambda: 1 << 20)


GAPS = np.where(np.arange(4) == 1, np.nan, 1.0)[None]
CALLS = {
    "n_samples": lambda model, value: model.sample(value),
    "n_draws": lambda model, value: model.impute(GAPS, n_draws=value),
    "n_particles of impute": lambda model, value: model.impute(GAPS, n_particles=value),
    "n_particles of log_marginal": lambda model, value: model.log_marginal(GAPS, n_particles=value),
}
DENSITIES = {
    "NADE": lambda: make(missing="marked"),
    "MADE": lambda: make("MADE", missing="marked"),
    "DeepNADE": lambda: DeepNADE(hidden_layer_sizes=(5,), **QUICK),
    "PixelRNN": lambda: PixelRNN(n_hidden=5, **QUICK),
    "GenerativeRNN": lambda: GenerativeRNN(n_hidden=5, end_symbol=False, **QUICK),
    "Mixture": lambda: Mixture(make(), n_members=2, random_state=0),
    "AutoDensity": lambda: AutoDensity(**QUICK, max_time=None, max_trials=2, models=["FVSBN"]),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", DENSITIES)
def test_what_does_not_fit_into_memory_is_refused_before_it_is_made(name, call, small_memory):
    model = fit(DENSITIES[name](), bits(40, 4))
    argument = call.split()[0]
    with pytest.raises(ValueError, match=rf"{argument} must be so small .* Got 10000000 instead"):
        CALLS[call](model, 10**7)
    CALLS[call](model, 3)


@pytest.mark.parametrize("value", [10**15, 10**40])
@pytest.mark.parametrize("call", CALLS)
def test_no_machine_has_as_much(call, value):
    model = fit(make(), bits(40, 4))
    with pytest.raises(ValueError, match=rf"{call.split()[0]} must be so small"):
        CALLS[call](model, value)


def test_long_samples_and_many_completions_are_refused(small_memory):
    model = fit(GenerativeRNN(n_hidden=5, **QUICK), sequences())
    with pytest.raises(ValueError, match="max_length must be so small"):
        model.sample(10, max_length=10**6)
    images = fit(PixelRNN(n_hidden=5, **QUICK), bits(40, 4).reshape(40, 2, 2))
    with pytest.raises(ValueError, match="n_draws must be so small"):
        images.complete(np.ones((1, 2, 2)), [[0, 0], [0, 1]], n_draws=10**7)


@pytest.mark.skipif(sys.platform != "linux", reason="limits of a process are Linux's here")
def test_the_limit_is_that_of_the_process():
    code = """
import resource
resource.setrlimit(resource.RLIMIT_AS, (1 << 32, 1 << 32))
from fastar._core.limits import memory_bytes
print(memory_bytes() <= 1 << 32)
"""
    assert run_python(code, OMP_NUM_THREADS="1").strip() == "True"


def test_work_space_that_is_not_there_is_an_error_with_a_text():
    with pytest.raises(MemoryError, match=r"Unable to allocate 4e\+05 GB of work space\."):
        _cpu.aligned_empty((10**14,), np.float32)


def test_every_memory_error_of_the_bindings_has_a_text():
    files = [*(Path(__file__).parent.parent / "src/bindings").glob("*.pyx")]
    assert files
    raised = [
        re.findall("raise (MemoryError|no_memory)\\b(.*)", path.read_text()) for path in files
    ]
    assert {kind for found in raised for kind, _ in found} == {"no_memory"}
    assert all("sizeof(" in size or size == "(size)" for found in raised for _, size in found)


# ---- long sequences


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("kind", [GenerativeRNN, SequenceLabeller])
def test_a_step_that_does_not_fit_into_memory_is_refused(kind, method, small_memory):
    x = bits(1, 100_000)[0]
    X = [x, x[:10]]
    arguments = {"X": X, "y": X} if kind is SequenceLabeller else {"X": X}
    match = "up to 100000 steps, and 2 of them take .* GB. Set bptt"
    model = kind(n_hidden=256, early_stopping=False, **QUICK)
    with pytest.raises(ValueError, match=match):
        getattr(model, method)(**arguments)
    assert not hasattr(model, "theta_")
    fit(model, **{name: given[1:] for name, given in arguments.items()})
    before = snapshot(model)
    with pytest.raises(ValueError, match=match):
        getattr(model, method)(**arguments)
    assert_same(before, snapshot(model))


@pytest.mark.parametrize("dropout", [0, 0.5])
@pytest.mark.parametrize("cell", ["tanh", "gru", "lstm"])
def test_the_bytes_of_a_training_step_are_those_of_its_arrays(cell, dropout, monkeypatch):
    X = [bits(1, length)[0] for length in (300, 200, 10)]
    fitted = fit(GenerativeRNN(n_hidden=40, cell=cell, n_layers=2, dropout=dropout, **QUICK), X)
    model, table = fitted._model(), fitted._table(X, None)
    steps, rng = model.codes(table.take(slice(None))), np.random.default_rng(0)
    raw, cache = model.network.forward(model.params, steps, 1, rng=rng)
    arrays = [array for each in cache.layers for array in (each.h, each.s, each.slots, each.mask)]
    unique = {id(array): array.nbytes for array in arrays if array is not None}
    gradients = raw.nbytes + cache.layers[-1].h.nbytes
    total = sum(unique.values()) + raw.nbytes + gradients
    lengths = table.sequences.lengths + table.ends
    assert total < model.training_bytes(lengths) < 1.02 * total  # first steps have no slots
    cut = fit(fitted.set_params(bptt=5), X)._model()
    assert cut.training_bytes(lengths) == model.training_bytes(lengths)
    monkeypatch.setattr(engine_steps, "_PART_STEPS", 30)
    assert cut.training_bytes(lengths) == model.training_bytes(np.full(3, 10))


def long_ones(kind):
    """Return a model that cuts gradients, X, and what else `fit` takes."""
    rng = np.random.default_rng(0)
    if kind == "labels":
        X = [rng.integers(0, 2, length) for length in (41, 40, 13, 1)]
        y = [np.cumsum(each) % 2 for each in X]
        return SequenceLabeller(n_hidden=5, bptt=4, dtype="float64", **QUICK), X, {"y": y}
    if kind == "frames":
        X = [rng.integers(0, 2, (length, 3)) for length in (41, 40, 13, 1)]
        model = GenerativeRNN(n_hidden=5, bptt=4, dtype="float64", frame="nade", **QUICK)
        return model, X, {}
    X = [np.cumsum(rng.normal(size=length)) for length in (41, 40, 13, 1)]
    model = GenerativeRNN(n_hidden=5, n_layers=2, bptt=4, dtype="float64", **QUICK)
    return model, X, {"context": rng.normal(size=(4, 2))}


@pytest.mark.parametrize("most", [1, 30, 60])
@pytest.mark.parametrize("kind", ["labels", "frames", "numbers with a context"])
def test_gradients_of_parts_between_cuts_are_those_of_the_whole(kind, most, monkeypatch):
    model, X, more = long_ones(kind)
    settings = {"early_stopping": False, "alpha": 0.1, "solver": "sgd"}
    whole = fit(model.set_params(**settings), X, **more)
    theta, curve = whole.theta_.copy(), whole.loss_curve_
    monkeypatch.setattr(engine_steps, "_PART_STEPS", most)
    parts = fit(model, X, **more)
    np.testing.assert_allclose(parts.theta_, theta, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(parts.loss_curve_, curve, rtol=1e-9)


MILLION = """
import resource, sys, warnings
import numpy as np
import fastar
warnings.simplefilter("ignore")
T, H = 200_000, 64
settings = {"n_hidden": H, "bptt": 100, "max_iter": 1, "random_state": 0, "n_jobs": 1}
x = np.random.default_rng(0).integers(0, 2, T)
model = fastar.GenerativeRNN(end_symbol=False, **settings).fit([x[:300]])
labeller = fastar.SequenceLabeller(**settings).fit([x[:300]], [x[:300]])
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
before = peak()
gap = np.append(x[:-1].astype(float), np.nan)
model.fit([x]), model.score_samples([x]), model.score_features([x]), model.score_stream(x[None])
model.sample(1, prefix=x, max_length=2), model.impute([gap]), model.log_marginal([gap])
labeller.fit([x], [x]), labeller.predict([x]), labeller.predict_stream(x[None])
print((peak() - before) / (T * H * 4))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss has other units elsewhere")
def test_memory_of_a_long_sequence_is_bounded_by_where_gradients_are_cut():
    # the states of all steps would be 1, what gradients need of them and their own 6 more
    assert float(run_python(MILLION)) < 3.5


@pytest.mark.parametrize("kind", ["labels", "numbers"])
def test_streams_have_the_same_bits_in_blocks(kind, monkeypatch):
    X = bits(3, 50) if kind == "labels" else reals(3, 50)
    if kind == "labels":
        model = fit(SequenceLabeller(n_hidden=5, **QUICK), X, y=X)
        call = model.predict_log_proba_stream
    else:
        model = fit(GenerativeRNN(n_hidden=5, **QUICK), X)
        call = model.score_stream
    found, state = call(X)
    monkeypatch.setattr(engine_steps, "_BLOCK_STEPS", 7)
    again, last = call(X)
    assert_same_bits(again, found)
    for pair, expected in zip(last, state, strict=True):
        for one, other in zip(pair, expected, strict=True):
            assert_same_bits(one, other)


@pytest.mark.parametrize(
    "state",
    [
        0,
        "begin",
        [],
        [(np.zeros((3, 5)),)],
        [(np.zeros((2, 5)), np.zeros((2, 5)))],
        [(np.zeros((3, 4)), np.zeros((3, 4)))],
        [(np.zeros((3, 5)), None)],
        [(np.zeros((3, 5)), np.zeros((3, 5)))] * 2,
    ],
)
def test_a_state_is_what_the_last_call_returned(state):
    X = bits(3, 50)
    labeller = fit(SequenceLabeller(n_hidden=5, **QUICK), X, y=X)
    density = fit(GenerativeRNN(n_hidden=5, end_symbol=False, **QUICK), X)
    for call in (labeller.predict_stream, labeller.predict_log_proba_stream, density.score_stream):
        with pytest.raises(ValueError, match="state must be None, or what the last call returned"):
            call(X, state)
