"""The record of how the files in format_2/ were made: ``python tests/data/make_format_2.py``.

Each is a model that `save` wrote in version 2 of the format, in which every feature had as many
parameters as the widest one; beside it lie questions and the answers of the code that wrote it.
Files that are there stay as they are: only models without a file are fitted and saved.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import recorded
from make_format_1 import (
    CHECKPOINTED,
    COMMON,
    DENSITY,
    GAPS,
    GIVEN,
    ORDERS,
    TRAINED,
    StopAfterTwo,
    bits,
    classifier,
    detector,
    images,
    imputer,
    levels,
    nade,
    numbers,
    pandas_frame,
    rnn,
    sequences,
)

from fastar import (
    FVSBN,
    MADE,
    NADE,
    RNADE,
    DeepNADE,
    Mixture,
    PixelRNN,
    SequenceLabeller,
    callbacks,
    conditionals,
)

FOLDER = Path(__file__).resolve().parent / "format_2"


def table(n=30):
    """Return columns of different widths, the last of 11 levels, of which some have gaps."""
    places = np.random.default_rng(7).permutation(np.arange(n) % 11)
    frame = pandas_frame()[["size", "colour", "is_new", "maybe", "level", "count"]]
    return frame.assign(place=pd.Categorical([f"p{place:02}" for place in places]))


def whole():
    """Return the columns without gaps as an array."""
    frame = table()
    return np.column_stack([frame["is_new"], frame["count"], frame["place"].cat.codes])


STEPS = [conditionals.GaussianMixture(n_components=2), conditionals.Categorical()]


def steps(**settings):
    """Return sequences whose steps are a real number and a level."""
    return [
        np.column_stack([x[:, 0], (np.arange(len(x)) + place) % 4])
        for place, x in enumerate(sequences(real=True, **settings))
    ]


def holed_images(shape, K):
    """Return images with a gap in every value, of which each has its own levels."""
    X = images(12, shape, K).reshape(12, -1).astype(np.float64)
    X = np.minimum(X, 1 + np.arange(X.shape[1]) % (K - 1))
    X[np.arange(X.shape[1]) % 12, np.arange(X.shape[1])] = np.nan
    return X.reshape(12, *shape)


def made(**settings):
    return MADE(hidden_layer_sizes=(4, 3), **COMMON, **settings)


def deep_nade(**settings):
    return DeepNADE(hidden_layer_sizes=(4, 3), **COMMON, **settings)


def pixel_rnn(network, shape, **settings):
    marked = {"missing": "marked", "distribution": conditionals.Categorical(), **COMMON}
    model = PixelRNN(network=network, n_hidden=2, image_shape=shape, **marked, **settings)
    return model, {"X": holed_images(shape, 4)}, GAPS


def labeller():
    X = steps()
    y = [np.array(["no", "maybe", "yes"], object)[np.arange(len(x)) % 3] for x in X]
    questions = [[name, ["X"], {}] for name in ("predict", "predict_proba")]
    return SequenceLabeller(n_hidden=3, inputs=STEPS, **COMMON), {"X": X, "y": y}, questions


def given(estimator, X):
    n = len(X)
    sample = ["sample", ["context"], {"n_samples": n, "random_state": 1}]
    return estimator, {"X": X, "context": numbers(n)}, [GIVEN[0], sample]


def cases():
    """Return every case by the name of its file: an estimator, its inputs and questions."""
    X, S, by_level = {"X": table()}, {"X": steps()}, {"distribution": "categorical"}
    return {
        "fvsbn": (FVSBN(**COMMON), X, GAPS),
        "nade": (nade(), X, GAPS),
        "nade_array": (nade(), {"X": whole()}, DENSITY),
        "nade_markov": (nade(markov_order=2, order="random"), X, GAPS),
        "nade_context": given(nade(), table()),
        "nade_float64": (nade(dtype="float64"), X, GAPS),
        "nade_one_column": (nade(**by_level), {"X": levels(D=1)}, DENSITY),
        "nade_binary_with_gaps": (nade(), {"X": table()[["is_new", "maybe"]]}, GAPS),
        "rnade": (RNADE(n_hidden=3, distribution="auto", **COMMON), X, GAPS),
        "made": (made(), X, GAPS),
        "made_masks": (made(n_masks=3, order_agnostic=True), X, ORDERS),
        "made_markov": (made(markov_order=2, order="random"), X, GAPS),
        "made_context": given(made(direct_connections=False), table()),
        "deep_nade": (deep_nade(), X, GAPS),
        "deep_nade_context": given(deep_nade(n_orders=2), table()),
        "rnn": (rnn(distribution=STEPS), S, DENSITY),
        "rnn_context": given(rnn(distribution=STEPS, cell="lstm", n_layers=2), steps(fixed=3)),
        "rnn_nade": (rnn(distribution=STEPS, frame="nade"), S, DENSITY),
        "rnn_nade_context": given(rnn(distribution=STEPS, frame="nade"), steps(fixed=3)),
        "pixel_rnn": pixel_rnn("recurrent", (1, 8, 1), cell="lstm", n_layers=2),
        "pixel_rnn_row_lstm": pixel_rnn("row_lstm", (3, 2, 2)),
        "pixel_rnn_diagonal_bilstm": pixel_rnn("diagonal_bilstm", (3, 4, 1)),
        "labeller": labeller(),
        "mixture": (Mixture([nade(), made()], random_state=0, n_jobs=1), X, GAPS),
        "mixture_nested": (
            Mixture([Mixture(nade(), n_members=2), FVSBN(**COMMON)], random_state=0, n_jobs=1),
            X,
            DENSITY,
        ),
        "detector": detector(table(), density=nade()),
        "classifier": classifier(table(), np.arange(30) % 3, density=nade()),
        "imputer": imputer(table(), density=made()),
    }


def write_answers(path, model, inputs, questions, **more):
    """Write questions to a fitted model, and its answers."""
    described = {key: recorded.encode(value) for key, value in inputs.items()}
    answers = recorded.ask(model, inputs, questions)
    recorded.write(path, {**more, "inputs": described, "questions": questions, "answers": answers})


def write_case(name):
    """Fit the model of a case and write its two files."""
    estimator, inputs, questions = cases()[name]
    recorded.fit(estimator, inputs).save(FOLDER / f"{name}.fastar")
    write_answers(FOLDER / f"{name}.json", estimator, inputs, questions)


def write_checkpoint(name):
    """Write the checkpoint of two epochs of five, and beside it the answers after five."""
    path, inputs = FOLDER / f"{name}.ckpt", {"X": {"checkpoint": bits, "padded": whole}[name]()}
    stopped = [callbacks.Checkpoint(path), StopAfterTwo()]
    recorded.fit(NADE(**CHECKPOINTED, callbacks=stopped), inputs)
    model = recorded.fit(NADE(**CHECKPOINTED), inputs)
    questions = [*DENSITY, *TRAINED]
    write_answers(FOLDER / f"{name}.ckpt.json", model, inputs, questions, parameters=CHECKPOINTED)


def write_missing():
    """Write every case that has no files yet, and return their names."""
    FOLDER.mkdir(exist_ok=True)
    missing = [name for name in cases() if not (FOLDER / f"{name}.json").exists()]
    for name in missing:
        write_case(name)
    for name in ("checkpoint", "padded"):
        if not (FOLDER / f"{name}.ckpt").exists():
            write_checkpoint(name)
            missing.append(name)
    return missing


if __name__ == "__main__":
    print(*recorded.run_pinned("make_format_2", "write_missing"), sep="\n")
