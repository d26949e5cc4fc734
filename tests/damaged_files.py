"""Files that are signed rightly and say wrong things: each is refused by name, or loads for use.

As a program, `damaged_files.py SEED COUNT [SECONDS]` damages that many files of all classes, uses
what still loads, and prints each file with which anything else happens; SECONDS is the limit of
one file. The number of a file is printed before it is read, so that a crash names it.
"""

import copy
import faulthandler
import math
import os
import re
import signal
import sys
import tempfile
import traceback
import warnings
from contextlib import suppress
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import recorded

import fastar
from fastar import conditionals, persistence
from fastar._core import files

REFUSED = re.compile(r"The file '.*' is damaged: [^ ]+ (must|is) ", re.DOTALL)


def _frames():
    rng = np.random.default_rng(0)
    columns = {
        "kind": rng.choice(["x", "y", "z"], 40).tolist(),
        "name": rng.choice(["one", "two", None], 40).tolist(),
        "size": rng.normal(size=40),
        "count": rng.poisson(3, 40),
        "flag": rng.integers(0, 2, 40) > 0,
    }
    kind = pd.Categorical(columns["kind"], list("xyzw"))
    return pd.DataFrame({**columns, "kind": kind}), pl.DataFrame(columns)


def _times():
    when = pd.date_range("2023-03-20", periods=40, freq="7h", tz="Europe/Berlin")
    return pd.DataFrame(
        {
            "when": when,
            "month": when.tz_localize(None).to_period("M"),
            "at": when.time,
            "took": pd.to_timedelta(np.arange(40), unit="s"),
            "price": [Decimal(k).scaleb(-2) for k in range(40)],
        }
    )


def fitted():
    """Return (fitted estimator, X) pairs: all classes, networks, conditionals and containers."""
    rng, quick = np.random.default_rng(0), {"max_iter": 1, "random_state": 0, "n_jobs": 1}
    (frame, polars), X = _frames(), rng.integers(0, 3, (30, 4))
    bits = rng.integers(0, 2, (30, 4))
    reals, y = rng.normal(size=(30, 3)), np.array(["no", "yes", "maybe"])[np.arange(40) % 3]
    context = pd.DataFrame({"place": pd.Categorical(["u", "v"] * 20), "time": np.arange(40.0)})
    steps = [rng.integers(0, 3, n) for n in (3, 1, 4, 2)]
    chords = [rng.integers(0, 2, (n, 3)) for n in (3, 1, 4, 2)]
    images, many = rng.integers(0, 4, (12, 3, 4)), np.arange(120).reshape(30, 4) % 7
    holed = np.where(rng.random(many.shape) < 0.2, np.nan, many)
    nade = fastar.NADE(n_hidden=3, **quick)
    made = fastar.MADE(hidden_layer_sizes=(3, 2), **quick)
    kinds = ["poisson", conditionals.LogisticMixture(2, step=0.5), "negative_binomial", "laplace"]
    frozen = [fastar.NADE(n_hidden=2, **quick).fit(bits), fastar.FVSBN(**quick).fit(bits)]
    tools = [
        fastar.DensityOutlierDetector(nade, statistic="likelihood_ratio", random_state=0),
        fastar.DensityImputer(nade, n_draws=3, random_state=0).set_output(transform="pandas"),
        fastar.GenerativeClassifier(made, random_state=0),
        fastar.GenerativeClassifier(nade, shared=True, abstention=0.1, random_state=0),
    ]
    pairs = [
        (nade.fit(frame, context=context), frame),
        (fastar.NADE(n_hidden=3, learning_rate=fastar.schedules.Plateau(), **quick), polars),
        (fastar.NADE(n_hidden=2, **quick), _times()),
        (fastar.NADE(distribution=kinds, dtype="float64", **quick).set_params(n_hidden=2), X),
        (fastar.RNADE(n_hidden=3, n_components=2, solver=fastar.optimizers.SGD(), **quick), reals),
        (fastar.MADE(distribution=conditionals.Categorical(digits=True), **quick), many),
        (fastar.NADE(distribution="integer", missing="modelled", n_hidden=2, **quick), holed),
        (fastar.FVSBN(distribution={"size": "gaussian_mixture"}, order="random", **quick), frame),
        (fastar.MADE(hidden_layer_sizes=3, n_masks=2, order_agnostic=True, **quick), bits),
        (fastar.DeepNADE(hidden_layer_sizes=(3,), n_orders=2, **quick), X),
        (fastar.GenerativeRNN(n_hidden=3, **quick), steps),
        (fastar.GenerativeRNN(n_hidden=2, frame="nade", n_frame_hidden=2, **quick), chords),
        (fastar.GenerativeRNN(n_hidden=2, n_layers=2, cell="lstm", **quick), bits),
        (fastar.PixelRNN(n_hidden=2, n_levels=4, **quick), images),
        (fastar.PixelRNN(n_hidden=2, network="row_lstm", n_levels=4, **quick), images),
        (fastar.PixelRNN(n_hidden=2, network="diagonal_bilstm", **quick), bits),
        (fastar.Mixture([made, fastar.Mixture(nade, n_members=2)], random_state=0), frame),
        (fastar.Mixture([*map(_frozen, frozen)], weights="em"), bits),
        *((tool, frame) for tool in tools[:2]),
    ]
    for estimator, data in pairs[1:]:
        estimator.fit(data)
    for labels in (["a", "b"], ["a", "b", "c"], [3, 1]):
        labeller = fastar.SequenceLabeller(n_hidden=2, **quick)
        given = [np.resize(labels, len(each)) for each in steps]
        pairs.append((labeller.fit(steps, given), steps))
    return pairs + [(tool.fit(frame, y), frame) for tool in tools[2:]]


def _frozen(model):
    from sklearn.frozen import FrozenEstimator

    return FrozenEstimator(model)


def earlier():
    """Return ((header, arrays), X) pairs of files with parameters that have padding."""
    folder = Path(__file__).parent / "data" / "format_2"
    names = ["deep_nade", "imputer", "labeller", "made", "mixture", "nade", "pixel_rnn", "rnn_nade"]
    contents = [
        files.read_arrays(str(folder / f"{name}.fastar"), "model", persistence._STEPS)
        for name in names
    ]
    given = [recorded.read(folder / f"{name}.json")["inputs"]["X"] for name in names]
    return [*zip(contents, map(recorded.decode, given), strict=True)]


# ---- damage

VALUES = [
    *(None, True, False, -1, 0, 1, 2, 3, 7, 300, 10_000, 2**31, 10**9, 2**63, -(2**63), 10**30),
    *(0.5, -0.5, 1.5, 1e300, math.inf, -math.inf, math.nan),
    *("", "x", "object", "float64", "float32", "categorical", "<U9", "category", "a" * 1000),
    *([], {}, [1], [[]], [None], {"name": "gaussian"}, {"x": 1}, [10**9], [1e9], ["x"] * 5),
]
DTYPES = ["f2", "f4", "f8", "i1", "i4", "i8", "u1", "u8", "?"]


def places(holder):
    """Return every (holder, key) in a header."""
    entries = list(holder.items() if isinstance(holder, dict) else enumerate(holder))
    inside = [places(each) for _, each in entries if isinstance(each, dict | list)]
    return [(holder, key) for key, _ in entries] + [pair for pairs in inside for pair in pairs]


def damage_header(header, rng):
    """Change one entry in place: another value, a neighbour's, none; one more, or one deeper."""
    # how many threads there are is no matter of files
    known = [(holder, key) for holder, key in places(header) if key != "n_jobs"]
    holder, key = known[rng.integers(len(known))]
    how = rng.integers(6)
    if how <= 2:
        holder[key] = copy.deepcopy(VALUES[rng.integers(len(VALUES))])
    elif how == 3:
        other, its = known[rng.integers(len(known))]
        holder[key] = copy.deepcopy(other[its])
    elif how == 4:
        del holder[key]
    elif isinstance(holder, dict):
        holder["more"] = VALUES[rng.integers(len(VALUES))]
    else:
        holder.append(copy.deepcopy(holder[key]))


def damage_arrays(arrays, rng):
    """Change one array in place of the other: its name, type, shape or values."""
    name = sorted(arrays)[rng.integers(len(arrays))]
    array = arrays[name].copy()
    how = rng.integers(8)
    if how == 0:
        del arrays[name]
        return
    if how == 1:
        arrays[name + str(rng.choice([".x", "2", ".missing"]))] = arrays.pop(name)
        return
    with np.errstate(all="ignore"):
        if how == 2:
            array = array.astype(rng.choice(DTYPES))
        elif how == 3:
            array = array.ravel()[: rng.integers(array.size + 1)]
        elif how == 4:
            array = np.concatenate([array.ravel(), array.ravel()])
        elif how == 5:
            array = array.reshape(rng.choice([(-1, 1), (1, -1)]))
        elif array.size and array.dtype.kind == "b":
            array.view(np.uint8).ravel()[rng.integers(array.size)] = rng.choice([0, 1, 2, 255])
        elif array.size:
            bad = rng.choice([np.nan, np.inf, -1.0, 0.0, 1e30, 1e300, -7.0, 300.0, 2**31])
            array.ravel()[rng.integers(array.size)] = np.array(bad).astype(array.dtype)
    arrays[name] = array


# ---- use


def use(estimator, X):
    """Ask for what it can do, however little; what it refuses, as other columns, is all right."""
    few = X if isinstance(X, list) else X[:4]
    settings = {}
    if getattr(estimator, "context_", None) is not None:
        row = pd.DataFrame({"place": pd.Categorical(["u"]), "time": [1.0]})
        settings["context"] = pd.concat([row] * len(few))
    repr(estimator)
    for method in ("score_samples", "score_features", "predict", "transform", "conditionals"):
        if hasattr(estimator, method):
            given = settings if method not in ("predict", "transform") else {}
            with suppress(ValueError):
                getattr(estimator, method)(few, **given)
    if isinstance(estimator, fastar.GenerativeRNN):
        settings["max_length"] = 5
    if hasattr(estimator, "sample"):
        given = {name: each[:3] if name == "context" else each for name, each in settings.items()}
        with suppress(ValueError):
            estimator.sample(3, random_state=0, **given)


def outcome(path, X, seconds):
    """Return what is wrong with how a file is received; None if nothing is."""

    def late(*_):
        raise TimeoutError

    signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        try:
            estimator = fastar.load(path)
        except ValueError as error:
            return None if REFUSED.match(str(error)) else f"unclear: {error}"
        use(estimator, X)
    except Exception:
        return traceback.format_exc()
    finally:
        signal.alarm(0)
    return None


def resign(path, change):
    """Write the file again, its header and arrays changed, with a checksum that fits."""
    header, arrays = files.read_arrays(str(path), "model")
    change(header, arrays)
    files.write_arrays(str(path), "model", header, arrays)


def main(seed, count, seconds):
    """Damage `count` files; return how many were received wrongly."""
    faulthandler.enable()
    warnings.simplefilter("ignore")
    files.MOST_NESTED = 10**6  # for writing; each file is read under the limit
    rng = np.random.default_rng(seed)
    sources = [(persistence.describe(estimator), X) for estimator, X in fitted()] + earlier()
    n_wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.fastar")
        for number in range(count):
            (header, arrays), X = sources[rng.integers(len(sources))]
            header, arrays = copy.deepcopy(header), dict(arrays)
            kind = header["class"]
            for _ in range(rng.integers(1, 3)):
                if rng.random() < 0.65:
                    damage_header(header, rng)
                elif arrays:
                    damage_arrays(arrays, rng)
            try:
                files.write_arrays(path, "model", header, arrays)
            except (TypeError, ValueError):
                continue
            print(f"{number}\r", end="", file=sys.stderr, flush=True)
            wrong = outcome(path, X, seconds)
            if wrong is not None:
                n_wrong += 1
                print(f"file {number} of seed {seed}, {kind}: {wrong}", flush=True)
    return n_wrong


if __name__ == "__main__":
    given = [int(each) for each in sys.argv[1:]]
    sys.exit(main(given[0], given[1], given[2] if len(given) > 2 else 10) > 0)
