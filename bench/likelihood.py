"""
Fit a model to a named data set and print its test log-likelihood: `python bench/likelihood.py SET`.

`all` fits every set for which the model has a recipe. Settings were chosen on the validation rows
alone, which early stopping watches too; the test rows are scored once, at the end. A set of real
numbers has ten folds: all are fitted one by one, and the mean over folds of the test folds' mean
log-likelihoods is printed with its standard error over folds.

`--model AutoDensity --max-time SECONDS` has no recipes: the same command for every set, a fit of so
many seconds for each, or for each fold. `all` ends with a table beside the best published figures.
"""

import argparse
import json
import os
import subprocess
import sys
import time
import warnings
from collections import Counter
from typing import Any, NamedTuple

import numpy as np
from machine import cores, peak_memory
from published import BEST
from settings import add_settings
from tables import table

from fastar import Mixture
from fastar.conditionals import GaussianMixture, Number
from fastar.datasets import Dataset, load_dataset
from fastar.models import BY_NAME

#: Settings of each model on every set.
DEFAULTS: dict[str, dict[str, Any]] = {
    "NADE": {"n_hidden": 500},
    "MADE": {"hidden_layer_sizes": (500,)},
    "FVSBN": {},
    # of eight members, each with an order of its own
    "Mixture": {"order": "random"},
}

#: What mixtures are of, where not of MADEs.
MEMBERS = {"red_wine": "RNADE"}

N_MEMBERS = 8

_LINEAR = {"learning_rate": "linear"}
_DROPOUT = _LINEAR | {"dropout": 0.5, "max_iter": 60}
_SIGMOID = _LINEAR | {
    "activation": "sigmoid",
    "order": "random",
    "learning_rate_init": 4e-3,
    "max_iter": 60,
}
_ANY_ORDER = {
    "n_masks": "unlimited",
    "order": "random",
    "order_agnostic": True,
    "n_scoring_masks": 30,
    "alpha": 0.1,
}
_SGD = {"solver": "sgd", "learning_rate": "linear"}
# Columns of these sets have values in common, at which densities grow as the floor of the variance
# falls: floors are high enough for what is smooth to count.
_WINE = {
    "n_hidden": 50,
    "distribution": GaussianMixture(20, variance_floor=1e-4),
    "learning_rate_init": 3e-3,
    "learning_rate": "adaptive",
    "n_iter_no_change": 30,
    "alpha": 1.0,
}
_FEW_ROWS = _WINE | {"distribution": GaussianMixture(20, variance_floor=1e-6), "batch_size": 20}

#: Further settings by model and set. seeds: those of 200 or 500 random orders that the validation
#: rows prefer.
RECIPES: dict[tuple[str, str], dict[str, Any]] = {
    ("NADE", "binarized_mnist"): _SGD | {"learning_rate_init": 0.1, "alpha": 1e-4, "max_iter": 60},
    ("NADE", "connect4"): _SGD | {"learning_rate_init": 0.05, "batch_size": 20, "max_iter": 20},
    ("NADE", "ocr_letters"): _SGD
    | {"learning_rate_init": 0.1, "alpha": 1e-4, "batch_size": 50, "max_iter": 60},
    ("NADE", "dna_nade"): {},
    ("NADE", "nips"): {},
    ("NADE", "adult"): {
        "learning_rate_init": 2e-3,
        "learning_rate": "linear",
        "batch_size": 20,
        "max_iter": 60,
    },
}


RECIPES |= {
    ("FVSBN", "binarized_mnist"): _LINEAR
    | {
        "order": "random",
        "learning_rate_init": 2e-3,
        "max_iter": 60,
        "alpha": 0.03,
        "batch_size": 200,
    },
    ("FVSBN", "connect4"): {},
    ("FVSBN", "ocr_letters"): {},
    ("FVSBN", "dna_nade"): {"alpha": 0.1},
    ("FVSBN", "nips"): _SGD | {"learning_rate_init": 0.01, "max_iter": 40},
    ("MADE", "binarized_mnist"): _DROPOUT
    | {"hidden_layer_sizes": (6000,), "learning_rate_init": 1e-3},
    ("MADE", "baudio"): _DROPOUT,
    ("MADE", "jester"): _DROPOUT | {"alpha": 0.1, "max_iter": 40, "n_iter_no_change": 40},
    ("MADE", "bnetflix"): _DROPOUT,
    ("MADE", "accidents"): _DROPOUT
    | {
        "order": "random",
        "learning_rate_init": 2e-3,
        "alpha": 0.01,
        "batch_size": 50,
        "n_iter_no_change": 60,
        "seeds": (181,),
    },
    ("MADE", "pumsb_star"): _SIGMOID | {"alpha": 0.02, "n_iter_no_change": 60},
    ("MADE", "bbc"): _DROPOUT,
    ("MADE", "connect4"): {},
    ("MADE", "adult"): _SIGMOID | {"alpha": 0.06, "batch_size": 20, "n_iter_no_change": 60},
    ("MADE", "nips"): _ANY_ORDER,
    # Without validation, which would score every epoch by all the masks
    ("MADE", "dna_nade"): _ANY_ORDER
    | _LINEAR
    | {
        "hidden_layer_sizes": (1000,),
        "learning_rate_init": 1e-2,
        "max_iter": 1200,
        "n_scoring_masks": 100,
        "early_stopping": False,
        "n_iter_no_change": 1200,
    },
}
RECIPES |= {("Mixture", name): RECIPES["MADE", name] for name in ("jester", "bbc")}
_WIDE = _DROPOUT | {"hidden_layer_sizes": (1000,), "dropout": 0.7}
RECIPES |= {
    # 32 sets of masks in all, in four orders
    ("Mixture", "binarized_mnist"): _LINEAR
    | {
        "hidden_layer_sizes": (2000, 2000),
        "n_masks": 8,
        "redrawn": 0.2,
        "order": "random",
        "dropout": 0.2,
        "alpha": 0.15,
        "learning_rate_init": 1.5e-3,
        "max_iter": 28,
        "early_stopping": False,
        "seeds": (0, 1, 2, 3),
    },
    ("Mixture", "baudio"): _WIDE,
    ("Mixture", "bnetflix"): _WIDE | {"dropout": 0.55, "alpha": 0.05},
    ("Mixture", "accidents"): _WIDE
    | {
        "dropout": 0.4,
        "learning_rate_init": 2e-3,
        "alpha": 0.03,
        "n_iter_no_change": 60,
        "seeds": (109, 14, 16, 103, 181, 127, 177, 30),
    },
    ("Mixture", "pumsb_star"): _WIDE
    | {
        "dropout": 0.5,
        "learning_rate_init": 6e-3,
        "alpha": 0.1,
        "batch_size": 50,
        "max_iter": 52,
        "n_iter_no_change": 60,
        "seeds": (92, 91, 6, 122, 470, 292, 280, 479),
    },
}


class Bar(NamedTuple):
    """What to reach, and what was published, in nats; `seconds` bounds the fit on two cores."""

    nats: float
    published: dict[str, float]
    seconds: float | None = None


BARS: dict[tuple[str, str], Bar] = {
    ("NADE", "binarized_mnist"): Bar(-88.9, {"2011": -88.86, "later": -88.33}, 1200),
    ("NADE", "connect4"): Bar(-12.05, {"2011": -11.99}),
    ("NADE", "ocr_letters"): Bar(-27.5, {"2011": -27.22}),
    ("NADE", "dna_nade"): Bar(-84.9, {"2011": -84.81}),
    ("NADE", "nips"): Bar(-275, {"2011": -273.08}),
    ("NADE", "adult"): Bar(-13.25, {"2011": -13.19}),
}


_MINUTE = 60
BARS |= {
    ("FVSBN", name): Bar(nats, {"published": published}, _MINUTE)
    for name, nats, published in (
        ("binarized_mnist", -97.5, -97.45),
        ("dna_nade", -83.9, -83.64),
        ("nips", -276.8, -276.88),
        ("connect4", -12.4, -12.39),
        ("ocr_letters", -39.4, -39.30),
    )
}
BARS |= {
    ("MADE", name): Bar(nats, {"best known": published}, _MINUTE)
    for name, nats, published in (
        ("baudio", -38.7, -38.95),
        ("jester", -51.6, -52.23),
        ("bnetflix", -54.75, -55.16),
        ("accidents", -26.2, -26.42),
        ("pumsb_star", -21.7, -22.30),
        ("bbc", -243, -242.40),
        ("connect4", -11.95, -11.90),
        ("adult", -13.15, -13.12),
        ("dna_nade", -79.7, -79.66),
        ("nips", -277, -277.28),
    )
}
BARS["MADE", "binarized_mnist"] = Bar(-88.4, {"one layer": -88.40}, 60 * _MINUTE)
BARS["Mixture", "binarized_mnist"] = Bar(-86.7, {"two layers, 32 masks": -86.64}, 60 * _MINUTE)
BARS |= {
    ("Mixture", name): Bar(nats, {"best tractable": published}, _MINUTE)
    for name, nats, published in (
        ("baudio", -38.6, -39.02),
        ("jester", -51.45, -51.93),
        ("bnetflix", -54.6, -55.31),
        ("accidents", -25.9, -26.74),
        ("pumsb_star", -21.3, -22.40),
        ("bbc", -238.5, -240.19),
    )
}
#: By how much another training of a network may differ from the published one.
_NEAR = 0.3

BARS |= {
    ("RNADE", name): Bar(nats - _NEAR, {"2013": nats})
    for name, nats in (
        ("red_wine", -9.36),
        ("parkinsons", -0.90),
        ("ionosphere", -2.50),
        ("boston_housing", -0.64),
    )
} | {("Mixture", "red_wine"): Bar(-8.76 - _NEAR, {"ensemble over orders": -8.76})}

RECIPES |= {
    ("RNADE", "red_wine"): _WINE,
    ("RNADE", "parkinsons"): _LINEAR
    | {
        "n_hidden": 200,
        "distribution": GaussianMixture(20, variance_floor=1e-4),
        "learning_rate_init": 0.01,
        "max_iter": 50,
        "n_iter_no_change": 50,
        "alpha": 0.03,
    },
    ("RNADE", "ionosphere"): _FEW_ROWS,
    ("RNADE", "boston_housing"): _FEW_ROWS,
    ("Mixture", "red_wine"): _WINE,
}


BARS |= {
    ("AutoDensity", name): Bar(best.nats, {"best exact": best.nats}) for name, best in BEST.items()
}

#: What AutoDensity is told of sets of real numbers: published figures are densities of numbers
#: alone, without probabilities of values that many rows share.
REALS = {"distribution": Number(atoms=False)}


def make(name: str, settings: dict[str, Any], options: argparse.Namespace) -> Any:
    """Return the estimator."""
    settings = dict(settings)
    seeds = settings.pop("seeds", None)
    if name == "Mixture":
        # members are trained side by side, the best parameters of each kept by the same rows
        kind = BY_NAME[MEMBERS.get(options.set_name, "MADE")]
        return Mixture(
            [kind(**settings, random_state=seed) for seed in seeds or [None] * N_MEMBERS],
            random_state=options.seed,
            n_jobs=options.threads,
        )
    return BY_NAME[name](
        **settings,
        random_state=seeds[0] if seeds else options.seed,
        n_jobs=options.threads,
        verbose=int(options.verbose),
    )


def prepare(data: Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return training, validation and test rows as the published figures have them."""
    if data.kind == "real":
        # Densities are those of rows scaled by the mean and deviation of nine folds, the training
        # part of the published figures; the one of them that stops the training is not fitted.
        part = np.concatenate([data.train, data.valid])
        mean, deviation = part.mean(axis=0), part.std(axis=0)
        return tuple((rows - mean) / deviation for rows in (data.train, data.valid, data.test))
    if isinstance(data.train, list):
        raise ValueError(f"{data.name} has rows of different lengths; this script is for tables")
    return data.train, data.valid, data.test


def run(options: argparse.Namespace, settings: dict[str, Any], fold: int) -> dict[str, Any]:
    """Fit once, and return what is to be known about it."""
    train, valid, test = prepare(load_dataset(options.set_name, options.data, fold=fold))
    model = make(options.model, settings, options)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        start = time.perf_counter()
        model.fit(train, X_val=valid if settings.get("early_stopping", True) else None)
        seconds = time.perf_counter() - start
    scores = model.score_samples(test)
    members = getattr(model, "estimators_", [model])
    return {
        "test": float(scores.mean()),
        "test_error": float(scores.std(ddof=1) / np.sqrt(len(scores))),
        "valid": model.score(valid),
        "train": model.score(train),
        "seconds": seconds,
        "epochs": [each.n_iter_ for each in members],
        "members": dict(Counter(type(each).__name__ for each in members)),
        "best_epoch": [each.best_iter_ for each in members],
        "n_parameters": model.n_parameters_,
        "warnings": [str(warning.message) for warning in caught],
    }


def combine(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Average over folds; the error is then that of the mean over folds."""
    if len(runs) == 1:
        return runs[0]
    tests = [each["test"] for each in runs]
    means = {
        key: float(np.mean([each[key] for each in runs])) for key in ("test", "valid", "train")
    }
    return {
        **means,
        "test_error": float(np.std(tests, ddof=1) / np.sqrt(len(tests))),
        "seconds": sum(each["seconds"] for each in runs),
        "epochs": [epoch for each in runs for epoch in each["epochs"]],
        "members": dict(sum((Counter(each["members"]) for each in runs), Counter())),
        "best_epoch": [epoch for each in runs for epoch in each["best_epoch"]],
        "n_parameters": runs[0]["n_parameters"],
        "warnings": sorted({text for each in runs for text in each["warnings"]}),
        "test_of_folds": tests,
    }


def judge(found: dict[str, Any], bar: Bar | None) -> None:
    """Print the figures beside what is published."""
    folds = found.get("test_of_folds", ())
    of_folds = f", mean and standard error of {len(folds)} folds" if folds else ""
    print(f"test        {found['test']:9.3f} +- {found['test_error']:.3f} nats{of_folds}")
    if bar:
        published = ", ".join(f"{value} ({source})" for source, value in bar.published.items())
        verdict = "reached" if found["test"] >= bar.nats else "not reached"
        print(f"  bar       {bar.nats:9.3f} {verdict}; published {published}")
    print(f"validation  {found['valid']:9.3f}")
    print(f"training    {found['train']:9.3f}")
    limit = ""
    if bar and bar.seconds:
        kept = found["seconds"] <= bar.seconds
        limit = f", {'within' if kept else 'beyond'} the {bar.seconds:.0f} s of the bar"
    epochs, best = ("/".join(map(str, found[key])) for key in ("epochs", "best_epoch"))
    print(f"fit         {found['seconds']:9.1f} s{limit}; {epochs} epochs, best {best}")
    if sum(found["members"].values()) > 1:
        print(
            "members     "
            + ", ".join(f"{count} {name}" for name, count in found["members"].items())
        )
    print(f"memory      {found['peak_memory_mb']:9.1f} MB at the peak of the process")
    for text in found["warnings"]:
        print(f"note: {text}")


def run_all(options: argparse.Namespace) -> int:
    """Run every set in a process of its own, so that peaks of memory are its own."""
    status, found = 0, {}
    arguments = list(sys.argv[1:])
    place = arguments.index("all")
    is_search = options.model == "AutoDensity"
    for name in BEST if is_search else [name for model, name in RECIPES if model == options.model]:
        arguments[place] = name
        command = [sys.executable, __file__, *arguments]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            line = ""
            for line in process.stdout:
                print(line, end="", flush=True)
        status |= process.returncode
        if line.startswith("{"):
            found[name] = json.loads(line)
    if is_search:
        print(beside_published(found, options.markdown))
    return status


def beside_published(found: dict[str, dict[str, Any]], markdown: bool) -> str:
    """Return a table of what was reached and the best published figures."""
    rows, n_ahead = [], 0
    for name, one in found.items():
        best = BEST[name]
        n_ahead += one["test"] > best.nats
        rows.append(
            [
                name,
                f"{one['test']:.3f}",
                f"{one['test_error']:.3f}",
                f"{best.nats:.2f}" + ("" if best.checked else " ?") + f" {best.aside}".rstrip(),
                f"{one['test'] - best.nats:+.3f}",
                f"{one['seconds']:.0f}",
            ]
        )
    heads = ["set", "test", "error", "best published", "difference", "seconds"]
    lines = [
        table(heads, rows, markdown),
        f"Ahead on {n_ahead} of {len(found)}. ?: not checked against a paper.",
    ]
    return "\n\n".join(lines)


def main() -> int:
    """Fit and print; the exit status tells whether the bar was reached."""
    parser = argparse.ArgumentParser(description=__doc__.strip().split("\n\n")[0])
    parser.add_argument("set_name", metavar="SET", help="a set's name, or 'all'")
    parser.add_argument("--data", default=os.environ.get("FASTAR_DATA"), help="folder of data sets")
    parser.add_argument("--model", default="NADE", choices=sorted({*BY_NAME, "Mixture"}))
    add_settings(parser, "settings in place of the recipe's")
    parser.add_argument("--fold", type=int, help="of a set with folds; all of them by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--max-time", type=float, help="seconds of a fit of AutoDensity")
    parser.add_argument("--markdown", action="store_true", help="print tables for RESULTS.md")
    parser.add_argument("--verbose", action="store_true", help="show the progress of the fit")
    options = parser.parse_args()
    if options.max_time and options.model != "AutoDensity":
        parser.error("--max-time is for --model AutoDensity")
    if options.set_name == "all":
        return run_all(options)

    key = (options.model, options.set_name)
    settings = DEFAULTS.get(options.model, {}) | RECIPES.get(key, {}) | dict(options.changes)
    try:
        data = load_dataset(options.set_name, options.data)
    except (ValueError, FileNotFoundError) as error:
        parser.error(str(error))
    folds = [options.fold or 0]
    if data.kind == "real" and options.fold is None:
        folds = list(range(10))
    if options.model == "AutoDensity":
        chosen = {"max_time": options.max_time or 60} | (REALS if data.kind == "real" else {})
        settings = chosen | settings
    del data
    text = ", ".join(f"{name}={value!r}" for name, value in settings.items())
    print(f"{options.set_name}: {options.model}({text}), {options.threads} threads", flush=True)
    found = combine([run(options, settings, fold) for fold in folds])
    found["peak_memory_mb"] = peak_memory()
    bar = BARS.get(key)
    judge(found, bar)
    record = {
        "set": options.set_name,
        "model": options.model,
        "settings": settings,
        "seed": options.seed,
        "threads": options.threads,
        "folds": folds,
        "bar": bar and bar.nats,
        "published": bar and bar.published,
        **found,
    }
    print(json.dumps(record, default=repr), flush=True)
    return 0 if bar is None or found["test"] >= bar.nats else 1


if __name__ == "__main__":
    sys.exit(main())
