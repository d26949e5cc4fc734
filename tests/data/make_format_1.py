"""The record of how the files in format_1/ were made: ``python tests/data/make_format_1.py``.

Each is a fitted model that `save` wrote in version 1 of the format; beside it lie what it was
fitted to, questions, and the answers of the code that wrote it. Files that are there stay as they
are: only models without a file are fitted and saved.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
from scipy import sparse
from sklearn.frozen import FrozenEstimator

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import recorded

from fastar import (
    FVSBN,
    MADE,
    NADE,
    RNADE,
    DeepNADE,
    DensityImputer,
    DensityOutlierDetector,
    GenerativeClassifier,
    GenerativeRNN,
    Mixture,
    PixelRNN,
    SequenceLabeller,
    callbacks,
    conditionals,
    optimizers,
    schedules,
)

FOLDER = Path(__file__).resolve().parent / "format_1"
COMMON = {"max_iter": 2, "learning_rate_init": 0.02, "batch_size": 8, "random_state": 0}
COMMON |= {"n_jobs": 1}
NAMES = ["red", "green", "blue"]

# ---- data: some thirty rows


def bits(n=30, D=4, seed=0):
    flips = np.random.default_rng(seed).random((n, D)) < np.linspace(0.2, 0.45, D)
    return (np.cumsum(flips, axis=1) % 2).astype(np.uint8)


def levels(n=30, D=4, K=3, seed=1):
    X = np.cumsum(np.random.default_rng(seed).integers(0, 2, (n, D)), axis=1) % K
    X[:K] = np.arange(K)[:, None]
    return X


def reals(n=30, D=3, seed=2):
    return 10 + np.cumsum(np.random.default_rng(seed).standard_normal((n, D)), axis=1)


def holed(X, seed=3):
    X = X.astype(np.float64)
    X[np.random.default_rng(seed).random(X.shape) < 0.25] = np.nan
    return X


def columns(n=30, seed=4):
    """Return lists of values with gaps, by the columns of a frame."""
    rng = np.random.default_rng(seed)

    def with_gaps(values):
        return [
            None if gap else value for value, gap in zip(values, rng.random(n) < 0.2, strict=True)
        ]

    places = rng.integers(0, 3, n)
    return {
        "size": with_gaps((places + rng.standard_normal(n)).tolist()),
        "colour": with_gaps([NAMES[place] for place in places]),
        "grade": with_gaps([["low", "mid", "high"][place] for place in places]),
        "is_new": (places > 0).tolist(),
        "maybe": with_gaps((places > 1).tolist()),
        "level": with_gaps((places + rng.integers(0, 2, n)).tolist()),
        "text": [f"t{place}" for place in places],
        "count": rng.poisson(3, n).tolist(),
    }


def pandas_frame():
    given = columns()
    return pd.DataFrame(
        {
            "size": pd.Series(given["size"], dtype="float64"),
            "colour": pd.Categorical(given["colour"], sorted(NAMES)),
            "grade": pd.Categorical(given["grade"], ["low", "mid", "high"], ordered=True),
            "is_new": pd.Series(given["is_new"], dtype="bool"),
            "maybe": pd.Series(given["maybe"], dtype="boolean"),
            "level": pd.Series(given["level"], dtype="Int64"),
            "text": pd.Series(given["text"], dtype="object"),
            "string": pd.Series(given["text"], dtype="string"),
            "count": pd.Series(given["count"], dtype="int32"),
        }
    )


def polars_frame():
    given = columns()
    return pl.DataFrame(
        [
            pl.Series("size", given["size"], pl.Float32),
            pl.Series("colour", given["colour"], pl.Categorical),
            pl.Series("grade", given["grade"], pl.Enum(["low", "mid", "high"])),
            pl.Series("is_new", given["is_new"], pl.Boolean),
            pl.Series("maybe", given["maybe"], pl.Boolean),
            pl.Series("level", given["level"], pl.Int64),
            pl.Series("text", given["text"], pl.String),
            pl.Series("count", given["count"], pl.Int32),
        ]
    )


def sequences(n=16, fixed=None, seed=5, real=False):
    rng = np.random.default_rng(seed)
    lengths = [fixed] * n if fixed else rng.integers(1, 6, n)
    if real:
        return [np.cumsum(rng.standard_normal((length, 2)), axis=0) for length in lengths]
    return [np.cumsum(rng.integers(0, 2, length)) % 3 for length in lengths]


def images(n=12, shape=(3, 4), K=2):
    return levels(n, int(np.prod(shape)), K).reshape(n, *shape).astype(np.uint8)


def numbers(n=30, seed=6):
    return np.random.default_rng(seed).standard_normal((n, 2))


def context_frame(n=30):
    return pandas_frame()[["is_new", "string"]].iloc[:n].assign(real=numbers(n)[:, 0])


# ---- models. A case is an unfitted estimator, its inputs and what it is asked.

SCORES = ["score_samples", ["X"], {}]
SAMPLE = ["sample", [], {"n_samples": 6, "random_state": 1}]
FEATURES = ["score_features", ["X"], {}]
IMPUTE = ["impute", ["X"], {"random_state": 1, "n_particles": 4}]
MARGINAL = ["log_marginal", ["X"], {"random_state": 1, "n_particles": 4}]
DENSITY = [SCORES, FEATURES, SAMPLE]
GAPS = [*DENSITY, IMPUTE, MARGINAL]
ORDERS = [each for each in GAPS if each is not FEATURES]
GIVEN = [
    ["score_samples", ["X", "context"], {}],
    ["sample", ["context"], {"n_samples": 30, "random_state": 1}],
]
TRAINED = [[name, [], {}] for name in ("loss_curve_", "validation_curve_", "n_iter_", "best_iter_")]
TRAINED += [["order_", [], {}], ["n_parameters_", [], {}]]
LABELS = [[name, ["X"], {}] for name in ("predict", "predict_proba")]
LABELS += [["classes_", [], {}]]


def density(estimator, X, questions=DENSITY, **inputs):
    return estimator, {"X": X, **inputs}, [*questions, *TRAINED]


def given(estimator, X, context):
    return density(estimator, X, GIVEN, context=context)


def nade(**settings):
    return NADE(n_hidden=3, **COMMON | settings)


def rnn(**settings):
    return GenerativeRNN(n_hidden=3, **COMMON | settings)


def pixel_rnn(**settings):
    return PixelRNN(n_hidden=2, **COMMON | settings)


def each_conditional():
    """Return columns for every conditional, one the other way round from the defaults."""
    X = np.column_stack([bits(D=1), levels(D=2), reals(D=5), levels(D=2), levels(D=2)])
    distribution = [
        conditionals.Bernoulli(),
        conditionals.Categorical(unknown="impossible"),
        conditionals.Categorical(cardinality=4),
        conditionals.Gaussian(variance_floor=1e-3),
        conditionals.Laplace(),
        conditionals.GaussianMixture(n_components=2),
        conditionals.LaplaceMixture(n_components=3, variance_floor=1e-4),
        "gaussian_mixture",
        conditionals.LogisticMixture(n_components=2, low=-1, high=5),
        "logistic_mixture",
        conditionals.Poisson(),
        conditionals.NegativeBinomial(),
    ]
    return density(nade(distribution=distribution), X)


def labels_of_steps(X, names=None):
    y = [(np.cumsum(x) // 2) % 2 for x in X]
    return y if names is None else [np.array(names, dtype=object)[each] for each in y]


def labeller(X, y, **settings):
    return SequenceLabeller(n_hidden=3, **COMMON | settings), {"X": X, "y": y}, [*LABELS, *TRAINED]


def mixture(estimator, X=None, questions=GAPS, **settings):
    X = bits() if X is None else X
    asked = [*questions, ["weights_", [], {}], ["responsibilities", ["X"], {}]]
    return Mixture(estimator, random_state=0, n_jobs=1, **settings), {"X": X}, asked


def frozen():
    return FrozenEstimator(recorded.fit(nade(random_state=5), {"X": bits()}))


def detector(X, questions=(), **settings):
    asked = ["score_samples", "decision_function", "p_values", "predict", *questions]
    asked = [[name, ["X"], {}] for name in asked]
    return DensityOutlierDetector(random_state=0, **settings), {"X": X}, asked


def imputer(X, **settings):
    asked = [["transform", ["X"], {}]]
    settings = {"n_draws": 3, "n_particles": 4, "random_state": 0} | settings
    return DensityImputer(**settings), {"X": X}, asked


def classifier(X, y, **settings):
    asked = [[name, ["X"], {}] for name in ("score_samples", "abstains")]
    estimator = GenerativeClassifier(n_particles=4, random_state=0, **settings)
    return estimator, {"X": X, "y": y}, [*LABELS, *asked]


def cases():
    """Return every case by the name of its file."""
    frame, small = pandas_frame(), pandas_frame()[["size", "colour", "is_new"]]
    of_rows, of_sequences = numbers(), numbers(16)
    return {
        "fvsbn": density(FVSBN(**COMMON), bits()),
        "fvsbn_markov": density(FVSBN(markov_order=2, **COMMON), bits()),
        "nade": density(nade(), bits()),
        "nade_purified": density(nade(), bits(), [*DENSITY, ["purify", ["X"], {"epsilon": 0.2}]]),
        "nade_float64": density(nade(dtype="float64", order="random"), bits()),
        "nade_markov": density(nade(markov_order=2, order=[3, 1, 0, 2]), bits()),
        "nade_objects": density(
            nade(
                solver=optimizers.SGD(momentum=0.5, nesterov=False),
                learning_rate=schedules.InverseScaling(0.1, 0.7),
                activation="tanh",
                max_gradient_norm=2.0,
            ),
            levels(),
        ),
        "nade_adadelta": density(
            nade(solver=optimizers.AdaDelta(rho=0.9), learning_rate=schedules.Cosine(0.1)), bits()
        ),
        "nade_adagrad": density(
            nade(solver=optimizers.AdaGrad(1e-6), learning_rate=schedules.Plateau(0.5, None)),
            bits(),
        ),
        "nade_rmsprop": density(
            nade(solver=optimizers.RMSProp(0.8), learning_rate=schedules.Linear(0.2)), bits()
        ),
        "nade_adam": density(
            nade(solver=optimizers.Adam(0.8, 0.9), learning_rate=schedules.Constant()), bits()
        ),
        "nade_conditionals": each_conditional(),
        "nade_distribution_object": density(
            nade(distribution=conditionals.Gaussian(0.01)), reals()
        ),
        "nade_distribution_dict": density(
            nade(distribution={"size": "laplace", "count": conditionals.Poisson()}),
            frame[["size", "count", "is_new"]].dropna().reset_index(drop=True),
        ),
        "nade_distribution_places": density(
            nade(distribution={0: "gaussian_mixture", 2: conditionals.Laplace()}), reals()
        ),
        "nade_csr": density(nade(), sparse.csr_array(bits())),
        "nade_pandas": density(nade(order="random"), frame, GAPS),
        "nade_polars": density(nade(), polars_frame(), GAPS),
        "nade_context_array": given(nade(), bits(), of_rows),
        "nade_context_frame": given(nade(), small, context_frame()),
        "nade_context_frame_gaps": given(nade(), bits(), frame[["size", "grade", "maybe"]]),
        "nade_context_polars": given(nade(), bits(), polars_frame()[["size", "grade", "text"]]),
        "nade_context_labels": given(nade(), bits(), np.array(NAMES, object)[levels()[:, 0]]),
        "rnade": density(RNADE(n_hidden=3, n_components=2, **COMMON), reals()),
        "rnade_context": given(RNADE(n_hidden=3, n_components=2, **COMMON), reals(), of_rows),
        "made": density(MADE(hidden_layer_sizes=(4, 3), **COMMON), bits()),
        "made_masks": density(
            MADE(hidden_layer_sizes=(4,), n_masks=3, order_agnostic=True, **COMMON), bits(), ORDERS
        ),
        "made_unlimited": density(
            MADE(
                hidden_layer_sizes=(4, 4),
                n_masks="unlimited",
                n_scoring_masks=3,
                degrees="random",
                redrawn=0.5,
                direct_connections=False,
                activation="tanh",
                dropout=0.1,
                **COMMON,
            ),
            levels(),
        ),
        "made_pandas": density(MADE(hidden_layer_sizes=(4,), n_masks=2, **COMMON), frame, GAPS),
        "made_context": given(MADE(hidden_layer_sizes=(4,), **COMMON), bits(), context_frame()),
        "deep_nade": density(DeepNADE(hidden_layer_sizes=(4, 3), **COMMON), bits(), GAPS),
        "deep_nade_orders": density(
            DeepNADE(hidden_layer_sizes=(4,), n_orders=3, order="random", **COMMON), bits(), ORDERS
        ),
        "deep_nade_polars": density(
            DeepNADE(hidden_layer_sizes=(4,), **COMMON), polars_frame(), GAPS
        ),
        "deep_nade_context": given(DeepNADE(hidden_layer_sizes=(4,), **COMMON), bits(), of_rows),
        "rnn": density(rnn(), sequences()),
        "rnn_fixed_length": density(
            rnn(cell="lstm", n_layers=2, bptt=2, dropout=0.1), sequences(fixed=4)
        ),
        "rnn_array": density(rnn(cell="tanh"), bits()),
        "rnn_nade": density(
            rnn(frame="nade", n_frame_hidden=3, dtype="float64"), sequences(real=True)
        ),
        "rnn_context": density(
            rnn(),
            sequences(),
            [GIVEN[0], ["sample", ["context"], {"n_samples": 16, "random_state": 1}]],
            context=of_sequences,
        ),
        "rnn_context_frame": density(
            rnn(end_symbol=False, distribution="gaussian"),
            sequences(real=True, fixed=3),
            [GIVEN[0], ["sample", ["context"], {"n_samples": 16, "random_state": 1}]],
            context=context_frame(16),
        ),
        "pixel_rnn": density(pixel_rnn(), images()),
        "pixel_rnn_lstm": density(
            pixel_rnn(cell="lstm", n_layers=2, image_shape=(3, 4)), images().reshape(12, 12)
        ),
        "pixel_rnn_channels": density(
            pixel_rnn(n_levels=3, dtype="float64"), images(shape=(2, 2, 2), K=3), DENSITY
        ),
        "pixel_rnn_row_lstm": density(pixel_rnn(network="row_lstm"), images()),
        "pixel_rnn_diagonal_bilstm": density(
            pixel_rnn(network="diagonal_bilstm", n_levels=3), images(shape=(2, 2, 2), K=3)
        ),
        "pixel_rnn_context": density(
            pixel_rnn(),
            images(),
            [GIVEN[0], ["sample", ["context"], {"n_samples": 12, "random_state": 1}]],
            context=numbers(12),
        ),
        "labeller_steps": labeller(sequences(), labels_of_steps(sequences())),
        "labeller_sequences": labeller(
            sequences(real=True), np.arange(16) % 3, cell="lstm", n_layers=2
        ),
        "labeller_strings": labeller(
            sequences(), labels_of_steps(sequences(), ["no", "yes"]), cell="tanh", bptt=2
        ),
        "labeller_inputs": labeller(
            sequences(real=True),
            np.array(["a", "b"])[np.arange(16) % 2],
            inputs=[conditionals.Gaussian(), "laplace"],
        ),
        "mixture_members": mixture([nade(), FVSBN(**COMMON)], weights=[1.0, 3.0]),
        "mixture_n_members": mixture(
            nade(order="random"), questions=ORDERS, n_members=3, weights="em"
        ),
        "mixture_frozen": mixture([frozen(), FVSBN(**COMMON)], weights="em"),
        "mixture_nested": mixture(
            [Mixture([frozen(), nade()], random_state=0), Mixture(FVSBN(**COMMON), n_members=2)]
        ),
        "mixture_pandas": mixture([nade(), FVSBN(**COMMON)], frame),
        "detector": detector(bits()),
        "detector_pandas": detector(
            small, ["explain"], density=nade(), statistic="typicality", contamination=0.2
        ),
        "detector_ratio": detector(
            bits(), density=nade(), statistic="likelihood_ratio", background=FVSBN(**COMMON)
        ),
        "detector_mixture": detector(bits(), density=Mixture([nade(), FVSBN(**COMMON)])),
        "classifier": classifier(bits(), np.arange(30) % 3, density=nade()),
        "classifier_shared": classifier(
            frame, np.array(NAMES)[np.arange(30) % 3], density=nade(), shared=True
        ),
        "classifier_abstains": classifier(
            bits(),
            np.array(["no", "yes"], object)[np.arange(30) % 2],
            density=Mixture([nade(), FVSBN(**COMMON)]),
            abstention=0.2,
        ),
        "imputer": imputer(holed(bits())),
        "imputer_pandas": imputer(frame, density=nade(), strategy="draw"),
        "imputer_mixture": imputer(holed(levels()), density=Mixture(nade(), n_members=2)),
    }


def write_case(name):
    """Fit the model of a case and write its two files."""
    estimator, inputs, questions = cases()[name]
    recorded.fit(estimator, inputs).save(FOLDER / f"{name}.fastar")
    answers = recorded.ask(estimator, inputs, questions)
    recorded.fit(estimator, inputs)
    recorded.write(
        FOLDER / f"{name}.json",
        {
            "inputs": {key: recorded.encode(value) for key, value in inputs.items()},
            "questions": questions,
            "answers": answers,
            "answers_after_fit": recorded.ask(estimator, inputs, questions),
        },
    )


# ---- a checkpoint of a fit that was stopped, and what the whole fit ends with

CHECKPOINTED = {"n_hidden": 3, "solver": "adam", "early_stopping": True, "order": "random"}
CHECKPOINTED |= COMMON | {"max_iter": 5}


class StopAfterTwo(callbacks.Callback):
    """Stops training after two epochs."""

    n_epochs = 0

    def on_epoch_end(self, training):
        self.n_epochs += 1
        return self.n_epochs == 2


def write_checkpoint():
    """Write the checkpoint of two epochs of five, and beside it the answers after five."""
    path, inputs = FOLDER / "checkpoint.ckpt", {"X": bits()}
    recorded.fit(
        NADE(**CHECKPOINTED, callbacks=[callbacks.Checkpoint(path), StopAfterTwo()]), inputs
    )
    model = recorded.fit(NADE(**CHECKPOINTED), inputs)
    questions = [*DENSITY, *TRAINED]
    recorded.write(
        FOLDER / "checkpoint.ckpt.json",
        {
            "parameters": CHECKPOINTED,
            "inputs": {"X": recorded.encode(inputs["X"])},
            "questions": questions,
            "answers": recorded.ask(model, inputs, questions),
        },
    )


def write_missing():
    """Write every case that has no files yet, and return their names."""
    FOLDER.mkdir(exist_ok=True)
    missing = [name for name in cases() if not (FOLDER / f"{name}.json").exists()]
    for name in missing:
        write_case(name)
    if not (FOLDER / "checkpoint.ckpt").exists():
        write_checkpoint()
        missing.append("checkpoint")
    return missing


if __name__ == "__main__":
    print(*recorded.run_pinned("make_format_1", "write_missing"), sep="\n")
