"""Random calls of every public method: an answer, or an error that names what is wrong."""

import copy
import inspect
import re
import warnings
from functools import cache

import numpy as np
import pandas as pd
import pytest
from common import fit
from scipy import sparse
from sklearn.exceptions import NotFittedError
from sklearn.utils._param_validation import InvalidParameterError
from test_faces import (
    CELLS,
    CLASSES,
    CONTEXT,
    LABELS,
    QUICK,
    TOOLS,
    D,
    X,
    fitted,
    given,
    nan,
    rows,
    step_labeller,
    with_gaps,
)

import fastar

CALLS = 12
ERRORS = (ValueError, TypeError, NotFittedError, AttributeError)
# Words of other layers, which say nothing of what the user gave.
RAW = re.compile(
    "cannot reshape|broadcast|iterable|inhomogeneous|subscriptable|not supported between|unpack|"
    "has no attribute|ufunc|out of bounds|out of range|has no len|must be real number|"
    "takes no arguments|keyword argument|interpreted as an integer|not callable|zero-size|"
    "dimension mismatch|need at least one array|unsupported operand|unhashable|"
    "too many indices|all the input array|truth value|operands"
)
# scikit-learn's and NumPy's own, of tables and labels alone.
KNOWN = re.compile(
    r"Expected 2D array|Found array with|could not convert|Unknown label type|Complex data|"
    r"dtype='numeric' is not compatible|feature names|Pandas DataFrame with mixed sparse|"
    r"inconsistent numbers of samples|os.PathLike|2-dimensional container|[Uu]nsupported dtype|"
    r"Sparse data was passed|can't be used|can't handle a mix"
)
ROWS = X.astype(float)
TABLES = [
    lambda kind: rows(kind),
    lambda kind: rows(kind),
    lambda kind: rows(kind)[:3],
    lambda kind: rows(kind, with_gaps()),
    lambda kind: ROWS,
    lambda kind: ROWS[:, :-1],
    lambda kind: np.hstack([ROWS, ROWS]),
    lambda kind: ROWS[0],
    lambda kind: ROWS.reshape(60, 3, 2, 1, 1),
    lambda kind: ROWS.reshape(20, 3, 6),
    lambda kind: np.empty((0, D)),
    lambda kind: np.empty((60, 0)),
    lambda kind: np.where(ROWS == 1, np.inf, ROWS),
    lambda kind: np.full((4, D), nan),
    lambda kind: ROWS * 1e300,
    lambda kind: ROWS + 0.5,
    lambda kind: -ROWS,
    lambda kind: ROWS.astype(str),
    lambda kind: ROWS.astype(complex),
    lambda kind: ROWS.astype(object),
    lambda kind: ROWS.astype("M8[D]"),
    lambda kind: np.array(["ab", "c"], object),
    lambda kind: [[0, 1], [1]],
    lambda kind: [[0, 1, 0, 1, 0, 1], [1]],
    lambda kind: [ROWS[0], ROWS[1, :3]],
    lambda kind: [[None] * D],
    lambda kind: [{"a": 1}],
    lambda kind: [object()],
    lambda kind: sparse.csr_matrix(ROWS),
    lambda kind: pd.DataFrame(ROWS),
    lambda kind: pd.DataFrame(ROWS, columns=list("abcdef")),
    lambda kind: pd.DataFrame({"a": ["x", "y"] * 30}),
    lambda kind: pd.Series(ROWS[0]),
    lambda kind: np.ma.masked_equal(ROWS, 1),
    lambda kind: None,
    lambda kind: 3,
    lambda kind: "text",
    lambda kind: b"text",
    lambda kind: [],
    lambda kind: {},
    lambda kind: rows,
]
WEIGHTS = [None, np.ones(60), np.ones(7), -np.ones(60), np.zeros(60), ["a"] * 60, 1.0, "w"]
WEIGHTS += [np.full(60, nan), np.ones((60, 2)), [None] * 60, {}]
CONTEXTS = [CONTEXT, CONTEXT, CONTEXT[:1], CONTEXT[:7], np.hstack([CONTEXT, CONTEXT]), None]
CONTEXTS += [CONTEXT[:, 0], CONTEXT.astype(str), CONTEXT * nan, 3, "c", [], {}, [[1], [2, 3]]]
CONTEXTS += [pd.DataFrame(CONTEXT, columns=["c"]), CONTEXT[:, :, None], sparse.csr_matrix(CONTEXT)]
COUNTS = [1, 2, 3, np.int64(2), 0, -1, 2.5, "3", None, True, [1], nan, 10**12, 10**40, {}]
STATES = [0, None, np.random.RandomState(0), np.random.default_rng(0), "seed", -1, 2.5, [1], {}]
LABELLED = [LABELS, LABELS, X[:, 0], X, X.astype(float), LABELS[:7], None, 3, "y", ["a"] * 60]
LABELLED += [np.full(60, nan), [None] * 60, [[1], [2, 3]], X[:, :2], np.empty(0), {}, ROWS + 0.3]
LABELLED += [[*X], [list(LABELS)] * 60, [object()] * 60, CONTEXT]
EVIDENCE = [None, ROWS[0], np.where(ROWS[0] == 1, nan, 0), np.full(D, nan), ROWS[:3], ROWS[:2]]
EVIDENCE += [ROWS[0, :3], 3, "e", [], {}, ["a"] * D, [None] * D, ROWS[:3, :, None], [[1], [2, 3]]]
EVIDENCE += [np.full(D, np.inf), ROWS[0] + 0.5, [nan, 1, nan], with_gaps()[0].reshape(2, 3)]
MASKS = [np.eye(2, 3) > 0, [[0, 1, 1], [1, 1, 1]], True, None, "m", np.ones(6, bool), np.ones(5)]
MASKS += [
    np.ones((60, 2, 3), bool),
    np.ones((2, 3, 1), bool),
    [[1], [2, 3]],
    {},
    [],
    np.ones((3, 2)),
]


def row_sums(rows):
    return np.asarray(rows).sum(axis=1)


TARGETS = [
    None,
    0,
    1,
    D - 1,
    -1,
    np.int64(2),
    D,
    -D - 1,
    1.5,
    "a",
    nan,
    [1],
    (),
    {},
    np.ones(2),
    len,
]
KNOWN_CELLS = [None, {0: 1}, {0: 1, 3: None}, [{0: 1}, {1: 0, 2: nan}], {9: 1}, {"a": 1}, {0: "x"}]
KNOWN_CELLS += [{0: 1 + 1j}, {0: [1]}, {0: np.inf}, [{}, 3], *EVIDENCE]
FUNCTIONS = [row_sums, 0, -1, D, "a", None, 1.5, [], {}, nan, len, sum, str, lambda: 1]
FUNCTIONS += [lambda rows: None, lambda rows: "x", lambda rows: rows, lambda rows: 1j * rows[:, 0]]
NUMBERS = [1.0, 0.5, 0, -1, nan, np.inf, "a", None, [1], np.ones(D), np.ones(D - 1), {}, 2 + 1j]
POOLS = {
    **dict.fromkeys(["context", "context_val"], CONTEXTS),
    **dict.fromkeys(["n_samples", "n_draws", "n_particles", "n_orders"], COUNTS),
    "max_length": [None, *COUNTS],
    **dict.fromkeys(["y", "y_val"], LABELLED),
    "sample_weight": WEIGHTS,
    "random_state": STATES,
    "temperature": NUMBERS,
    "top_p": [None, *NUMBERS],
    "top_k": [None, *COUNTS],
    "unique": [False, True, None, 3, "x", np.ones(2)],
    "k": COUNTS,
    "epsilon": NUMBERS,
    "threshold": [None, *NUMBERS],
    "evidence": EVIDENCE,
    "prefix": [None, *EVIDENCE],
    "mask": MASKS,
    "state": [None, "s", 3, [], {}, [(1, 2)], [(np.zeros((60, 1)), np.zeros((60, 1)))], [None]],
    "target": TARGETS,
    "given": KNOWN_CELLS,
    "function": FUNCTIONS,
    "width": COUNTS,
    "kind": ["auto", "mean", "median", "quantile", "mode", "max", None, 1, [], {}],
    "quantile": NUMBERS,
    "classes": [None, ["even", "odd"], [0, 1], [], "c", 3, [[1]], [None], {}],
    "out": [None, 3, "", b"\0", [], "/no/such/folder/at all", "."],
    "path": [None, 3, "", b"\0", [], "/no/such/folder/at all", "."],
}
ODD = [None, -1, 0, 2, 0.5, nan, np.inf, "x", "", [], [1], [1, 2], (), {}, {"a": 1}, True, b"b"]
ODD += [np.ones(2), np.array(["a"]), object(), int, len, 10**40, -(10**40), 1j, np.float64(1e308)]


def argument(kind, name, rng):
    """Return a value for a parameter of a method, more often a sensible one."""
    if name in ("X", "X_val", "images", "exclude"):
        place = int(rng.integers(len(TABLES)) if rng.random() < 0.5 else 0)
        if name in ("X_val", "exclude") and rng.random() < 0.5:
            return None
        return TABLES[place](kind)
    pool = POOLS[name]
    return pool[int(rng.integers(len(pool)) if rng.random() < 0.6 else 0)]


@cache
def told(kind):
    """Return the fitted model whose methods are called."""
    return step_labeller() if kind == "SequenceLabeller" else fitted(kind)


def attempt(model, method, arguments):
    """Return what is wrong with the error of a call, None if there is none."""
    shown = ", ".join(f"{name}={value!r:.70}" for name, value in arguments.items())
    shown = f"{type(model).__name__}.{method}({shown})".replace("\n", " ")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("error", RuntimeWarning)
        try:
            getattr(model, method)(**arguments)
        except ERRORS as error:
            message = str(error)
            if isinstance(error, InvalidParameterError) or KNOWN.search(message):
                return None
            parameters = inspect.signature(getattr(model, method)).parameters
            names = [*parameters, *inspect.signature(type(model)).parameters, "offsets", "values"]
            if RAW.search(message):
                return f"{shown}\n    {type(error).__name__}: {message}"
            if not any(re.search(rf"\b{name}\b", message) for name in names):
                return f"{shown}\n    names nothing: {type(error).__name__}: {message}"
        except (OSError, FloatingPointError):  # files, and rates without sense
            return None
        except Exception as error:
            return f"{shown}\n    {type(error).__name__}: {error}"
    return None


@pytest.mark.parametrize(("kind", "method"), CELLS)
def test_a_random_call_answers_or_names_what_is_wrong(kind, method):
    model = copy.deepcopy(told(kind))
    parameters = inspect.signature(getattr(model, method)).parameters
    wrong = []
    for call in range(CALLS):
        rng = np.random.default_rng([call, *f"{kind}.{method}".encode()])
        some = [name for name in parameters if rng.random() < 0.5 or call < CALLS // 2]
        needed = [name for name, each in parameters.items() if each.default is each.empty]
        arguments = {
            name: argument(kind, name, rng) for name in parameters if name in needed + some
        }
        if call < CALLS // 2:  # one odd value alone
            odd = list(parameters)[call % len(parameters)] if parameters else None
            sensible = {name: sensible_argument(kind, method, name) for name in arguments}
            arguments = {n: v if n == odd else sensible[n] for n, v in arguments.items()}
        wrong.append(attempt(copy.copy(model), method, arguments))
    assert not [each for each in wrong if each], "\n" + "\n".join(filter(None, wrong))


def sensible_argument(kind, method, name):
    if name in ("X", "images"):
        return rows(kind)
    if name in ("context", "context_val") and kind in [each.__name__ for each in TOOLS]:
        return None
    if name == "context":
        return given(kind, method).get("context", CONTEXT) if method != "sample" else CONTEXT[:1]
    return None if name in ("X_val", "context_val", "exclude") else POOLS[name][0]


SETTINGS = [
    (kind, name)
    for kind in CLASSES
    for name in inspect.signature(CLASSES[kind]).parameters
    if name not in ("callbacks", "verbose", "max_iter", "max_trials")  # which nothing may end
]


@pytest.mark.parametrize(("kind", "name"), SETTINGS)
def test_a_random_setting_is_taken_or_refused_by_name(kind, name):
    wrong = []
    for call in range(4):
        rng = np.random.default_rng([call, *f"{kind}.{name}".encode()])
        value = ODD[int(rng.integers(len(ODD)))]
        model = copy.deepcopy(fitted(kind)).set_params(**{name: value})
        arguments = {"X": rows(kind)}
        if kind in ("SequenceLabeller", "GenerativeClassifier"):
            arguments["y"] = LABELS
        found = attempt(model, "fit", arguments)
        wrong.append(found and f"{name}={value!r}: {found}")
    assert not [each for each in wrong if each], "\n" + "\n".join(filter(None, wrong))


SHAPES = {
    "images": X.reshape(60, 2, 3),
    "images with channels": X.reshape(60, 2, 3, 1),
    "padded": np.where(np.arange(D) < 2 + np.arange(60)[:, None] % 5, X, nan),
    "lists": [row[: 2 + place % 5] for place, row in enumerate(X)],
    "frames": X.reshape(20, 6, 3),
}
PARTS = {"PixelRNN": fastar.PixelRNN, "GenerativeRNN": fastar.GenerativeRNN}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("kind", [each.__name__ for each in TOOLS] + ["Mixture"])
def test_tools_over_images_and_sequences_name_what_is_wrong(kind, part, shape):
    model, values = CLASSES[kind](PARTS[part](n_hidden=4, **QUICK)), SHAPES[shape]
    y = {"y": LABELS[: len(values)]} if kind == "GenerativeClassifier" else {}
    assert attempt(model, "fit", {"X": values, **y}) is None
    fit(model, X, **dict.fromkeys(y, LABELS))
    for method in ("predict", "score_samples", "transform"):
        if hasattr(model, method):
            assert attempt(model, method, {"X": values}) is None
