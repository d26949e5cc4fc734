"""The values in golden.json: ``python tests/data/make_golden.py`` adds those that it lacks.

To change a value on purpose, delete its line first and say in the commit why it changes.
"""

import hashlib
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import recorded
from common import CONDITIONALS, DATA, bits, distribution, levels, reals

import fastar
from fastar import optimizers, schedules

PATH = Path(__file__).resolve().parent / "golden.json"
COMMON = {"max_iter": 2, "learning_rate_init": 0.02, "batch_size": 16, "random_state": 0}
COMMON |= {"n_jobs": 2, "learning_rate": "constant"}
NETWORKS = ["recurrent", "row_lstm", "diagonal_bilstm"]
CELLS = ["tanh", "gru", "lstm"]


def make(name, **settings):
    """Return a small estimator."""
    small = {
        "FVSBN": {},
        "NADE": {"n_hidden": 17, "activation": "sigmoid", "alpha": 0.0},
        "RNADE": {"n_hidden": 17, "n_components": 3},
        "MADE": {"hidden_layer_sizes": (17, 6)},
        "DeepNADE": {"hidden_layer_sizes": (17, 6)},
        "GenerativeRNN": {"n_hidden": 9},
        "PixelRNN": {"n_hidden": 5},
        "SequenceLabeller": {"n_hidden": 9},
    }
    return getattr(fastar, name)(**small[name] | COMMON | settings)


def lists(n=40, seed=0):
    """Return sequences of 1 to 8 levels."""
    rng = np.random.default_rng(seed)
    return [np.cumsum(rng.integers(0, 2, length)) % 3 for length in rng.integers(1, 9, n)]


def cases():
    """Return by name an unfitted estimator and what `fit` is given."""
    rows, images = bits(100, 6), bits(40, 12).reshape(40, 3, 4)
    labels = [np.cumsum(x) % 2 for x in lists()]
    found = {
        "FVSBN": (make("FVSBN"), {"X": rows}),
        "NADE float64": (make("NADE", dtype="float64", order="random"), {"X": rows}),
        "NADE context": (make("NADE"), {"X": rows, "context": reals(100, 2)}),
        "NADE markov": (make("NADE", markov_order=2), {"X": rows}),
        "NADE defaults": (make("NADE", activation=None, alpha=None), {"X": reals(60, 5)}),
        "MADE masks": (make("MADE", n_masks=3, order_agnostic=True, dropout=0.2), {"X": rows}),
        "MADE unlimited": (make("MADE", n_masks="unlimited", dtype="float64"), {"X": rows}),
        "DeepNADE": (make("DeepNADE", n_orders=2), {"X": levels(100, 6)}),
        "RNADE": (make("RNADE"), {"X": reals(100, 5)}),
        "SequenceLabeller": (make("SequenceLabeller"), {"X": lists(), "y": labels}),
        "GenerativeRNN frames": (
            make("GenerativeRNN", frame="nade", n_frame_hidden=5, bptt=3),
            {"X": [reals(4, 3, seed) for seed in range(20)]},
        ),
        "PixelRNN channels": (
            make("PixelRNN", n_levels=3, n_layers=2),
            {"X": levels(40, 8).reshape(40, 2, 2, 2)},
        ),
        "Mixture": (
            fastar.Mixture([make("NADE"), make("FVSBN")], weights="em", random_state=0, n_jobs=1),
            {"X": rows},
        ),
    }
    found["AutoDensity"] = (
        fastar.AutoDensity(
            max_time=None, max_trials=5, max_iter=2, models=["NADE", "MADE"], random_state=0
        ),
        {"X": rows},
    )
    for cell in CELLS:
        found[f"GenerativeRNN {cell}"] = (make("GenerativeRNN", cell=cell), {"X": lists()})
    for network in NETWORKS:
        found[f"PixelRNN {network}"] = (make("PixelRNN", network=network), {"X": images})
    for kind in CONDITIONALS:
        for name in ("NADE", "MADE"):
            estimator = make(name, distribution=distribution(kind, 5))
            found[f"{name} {kind}"] = (estimator, {"X": DATA[kind](60, 5)})
    for name, solver in optimizers.BY_NAME.items():
        found[f"solver {name}"] = (make("NADE", solver=solver()), {"X": rows})
    for name, schedule in schedules.BY_NAME.items():
        found[f"schedule {name}"] = (make("NADE", learning_rate=schedule()), {"X": rows})
    brief = {"n_iter_no_change": 1, "tol": 100.0, "batch_size": 4, "max_iter": 10}
    found["schedule cooldown"] = (make("NADE", learning_rate="cooldown", **brief), {"X": rows})
    return found


def value(estimator, inputs):
    """Return what a fitted estimator has learnt, its scores of four rows and some samples."""
    recorded.fit(estimator, inputs)
    members = getattr(estimator, "estimators_", [estimator])
    theta = np.concatenate([member.theta_ for member in members])
    found = {
        "theta_": hashlib.sha256(theta.tobytes()).hexdigest(),
        "some of theta_": recorded.encode(theta[:: max(1, len(theta) // 4)]),
        "loss_curve_": [member.loss_curve_ for member in members],
    }
    few = {key: each[:4] for key, each in inputs.items() if key != "y"}
    if "y" in inputs:
        return found | {"scores": recorded.encode(estimator.predict_proba(**few))}
    given = {"context": few["context"]} if "context" in few else {}
    drawn = estimator.sample(4, random_state=1, **given)
    scores = estimator.score_samples(**few)
    return found | {"scores": recorded.encode(scores), "samples": recorded.encode(drawn)}


def values(names=None):
    """Return the values of the cases of these names, or of all."""
    return {name: value(*case) for name, case in cases().items() if names is None or name in names}


if __name__ == "__main__":
    kept = recorded.read(PATH) if PATH.exists() else {}
    if kept and kept["platform"] != recorded.PLATFORM:
        sys.exit(f"The values must be of one platform: {kept['platform']}.")
    lacking = [name for name in cases() if name not in kept]
    recorded.write(PATH, kept | recorded.run_pinned("make_golden", "values", lacking))
    print(*lacking, sep="\n")
