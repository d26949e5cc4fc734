"""Labels of the steps of sequences."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import Any, ClassVar, Self

import numpy as np
from scipy.special import log_softmax
from sklearn.base import ClassifierMixin
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted, validate_data

from fastar._core.parameters import Array, Params
from fastar._core.threads import effective_n_threads
from fastar._core.validation import check_weight, unmask
from fastar._data.labels import LabelledTable, label_numbers, read_labels
from fastar._data.sequences import SequenceLayout, Sequences, is_ragged, listed
from fastar._data.table import Table
from fastar._engine.model import Model
from fastar._engine.scores import describe
from fastar._engine.steps import LabelConditional, check_steps
from fastar.conditionals import Bernoulli, Categorical, Conditional
from fastar.conditionals._auto import choose_conditional
from fastar.models._base import FitData, TrainableModel
from fastar.models._documentation import documented
from fastar.networks import Recurrent
from fastar.networks._recurrent_layers import CELLS, State

__all__ = ["SequenceLabeller"]

Shape = tuple[int, ...] | None
"""(n, T) of sequences that came as an array, or None."""


@dataclass(frozen=True)
class LabelledFitData(FitData):
    """What `fit` is given, and what the labels may be."""

    y: Any = None
    y_val: Any = None
    classes: Any = None


@documented
class SequenceLabeller(ClassifierMixin, TrainableModel):  # type: ignore[misc]
    r"""Classifier of every step of a sequence, given the steps so far [1]_.

    .. math::
        p(y_t \mid x_1 \dots x_t) = f(y_t; b + h_t V), \quad h_t = \text{cell}(x_t, h_{t-1}),
        \quad h_0 = 0

    with f the sigmoid for two classes and the softmax for more, and the same weights at every step.
    Where y has one label a sequence, that is the label of its last step: the network reads the
    whole before it answers.

    Parameters
    ----------
    cell : {"tanh", "gru", "lstm"}, default="gru"
    n_hidden : int, default=256
        H, units of each layer of cells.
    n_layers : int, default=1
    bptt : int or None, default=None
        Steps after which gradients are cut, at its multiples.
    inputs : str, Conditional or list, default="auto"
        How the values of a step enter: as those of a model with this `distribution` do. Levels are
        one-hot ("categorical"), bits stay ("bernoulli"), other numbers are standardised
        ("gaussian", ..). "auto" takes bits where X holds 0 and 1 alone, levels for other integer
        types, and numbers for the rest; a list has one for each value.
    {training_parameters}

    Attributes
    ----------
    classes_ : array (K,)
        The labels, sorted.
    inputs_ : Conditional
        What was chosen for the values of a step, with what it learnt.
    distribution_ : Conditional
        f, over the numbers of the classes.
    of_sequences_ : bool
        Whether y had one label a sequence, and not one a step.
    params_ : dict of arrays, views on `theta_`
        As of `GenerativeRNN`, with V (H, 1, P) and b (1, P); P = 1 for two classes, else K.
    theta_ : array
        All parameters in one vector.
    n_parameters_ : int
    n_features_in_, feature_names_in_ : as in scikit-learn
        Of an array (n, T) its T; else F, the values of a step.
    n_iter_, best_iter_ : int
        Epochs trained, and the one whose parameters were kept.
    loss_curve_, validation_curve_ : list of float
        Mean -log p(y | x) of a sequence in nats, an entry an epoch.

    References
    ----------
    .. [1] A. Graves, "Supervised sequence labelling with recurrent neural networks", Springer,
       2012.

    Examples
    --------
    >>> import numpy as np
    >>> from fastar import SequenceLabeller
    >>> rng = np.random.default_rng(0)
    >>> X = [rng.integers(0, 2, rng.integers(5, 15)) for _ in range(400)]
    >>> y = [np.array(["even", "odd"])[np.cumsum(x) % 2] for x in X]  # of the ones so far
    >>> settings = {"n_hidden": 16, "learning_rate_init": 0.02, "random_state": 0}
    >>> labeller = SequenceLabeller(**settings, learning_rate="linear", max_iter=60).fit(X, y)
    >>> labeller.predict([[0, 1, 1, 1]]).tolist()
    [['even', 'odd', 'even', 'odd']]
    >>> labeller.score(X, y) > 0.99
    True
    """

    network_: Recurrent
    inputs_: Conditional
    classes_: Array
    of_sequences_: bool
    context_ = None
    _container: SequenceLayout

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **{
            name: rule
            for name, rule in TrainableModel._parameter_constraints.items()
            if name not in ("distribution", "order", "markov_order")
        },
        "cell": [StrOptions(set(CELLS))],
        "n_hidden": [Interval(Integral, 1, None, closed="left")],
        "n_layers": [Interval(Integral, 1, None, closed="left")],
        "bptt": [Interval(Integral, 1, None, closed="left"), None],
        "inputs": list(TrainableModel._parameter_constraints["distribution"][:-1]),
    }

    def __init__(
        self,
        *,
        cell: str = "gru",
        n_hidden: int = 256,
        n_layers: int = 1,
        bptt: int | None = None,
        inputs: Any = "auto",
        solver: Any = "adam",
        learning_rate_init: float | None = None,
        learning_rate: Any = "constant",
        alpha: float = 0.0,
        max_gradient_norm: float | None = 5.0,
        batch_size: int = 32,
        max_iter: int = 1000,
        tol: float = 1e-4,
        early_stopping: bool = True,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        warm_start: bool = False,
        random_state: Any = None,
        n_jobs: int | None = None,
        verbose: int = 0,
        callbacks: Any = None,
        dtype: Any = "float32",
    ) -> None:
        self.cell = cell
        self.n_hidden = n_hidden
        self.n_layers = n_layers
        self.bptt = bptt
        self.inputs = inputs
        self.solver = solver
        self.learning_rate_init = learning_rate_init
        self.learning_rate = learning_rate
        self.alpha = alpha
        self.max_gradient_norm = max_gradient_norm
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.tol = tol
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.warm_start = warm_start
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.verbose = verbose
        self.callbacks = callbacks
        self.dtype = dtype

    # ---- fitting

    def fit(
        self, X: Any, y: Any, *, sample_weight: Any = None, X_val: Any = None, y_val: Any = None
    ) -> Self:
        """Train by minibatches of sequences to the largest mean log p(y | x).

        Parameters
        ----------
        X : list of arrays of shape (l,) or (l, F), array-like of shape (n, T) or (n, T, F), \
or Sequences
        y : list of arrays of shape (l,), array-like of shape (n, T) or (n,)
            A label for each step, or one for each sequence.
        sample_weight : array-like of shape (n,), optional
            A sequence of weight 2 counts like two.
        X_val, y_val : as X and y, optional
            Sequences for early stopping; without them `validation_fraction` of X is held out.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            A parameter or an argument breaks a rule that the message names.
        FloatingPointError
            The log-likelihood became NaN or infinite; the last good parameters are kept.

        Warns
        -----
        ConvergenceWarning
            Training reached `max_iter` before it settled, or was interrupted by Ctrl-C.
        """
        self._validate_params()
        if (X_val is None) != (y_val is None):
            raise ValueError("X_val and y_val must be given together. Got one of them.")
        data = LabelledFitData(X, None, sample_weight, X_val, y=y, y_val=y_val)
        return self._fit(data, keep=self.warm_start, one_pass=False)

    def partial_fit(
        self, X: Any, y: Any, classes: Any = None, *, sample_weight: Any = None
    ) -> Self:
        """Take one pass over these sequences; the first call decides on inputs and classes.

        Parameters
        ----------
        X, y : as in `fit`
        classes : array-like of shape (K,), optional
            All labels that will come; by default those of the first call.
        sample_weight : array-like of shape (n,), optional

        Returns
        -------
        self
        """
        self._validate_params()
        data = LabelledFitData(X, None, sample_weight, y=y, classes=classes)
        return self._fit(data, keep=True, one_pass=True)

    def _sequences(self, X: Any, reset: bool, name: str = "X") -> tuple[Sequences, Shape]:
        """Return what the user gave, and (n, T) if an array; in `fit` remember its kind."""
        X = listed(X, name)
        shape: Shape = None if is_ragged(X) else np.asarray(X).shape[:2]
        length, is_deep = None, shape is not None and np.asarray(X).ndim == 3
        if shape is None or is_deep or not (reset or self._container.length is not None):
            found = Sequences.of(X if isinstance(X, Sequences) else list(X), name)
        else:
            array = validate_data(self, unmask(X, name), order="C", reset=reset)
            n, length = shape = array.shape
            found = Sequences(array.ravel(), np.arange(n + 1) * length)
        width = found.values.shape[1]
        if reset:
            longest = int(found.lengths.max())
            self._container = SequenceLayout(width, False, length, longest, found.values.dtype.str)
            self.n_features_in_ = width if length is None else length
        if width != self._container.width:
            raise ValueError(
                f"{name} must have {self._container.width} values a step, as in fit. "
                f"Got {width} instead."
            )
        if not found.lengths.all():
            raise ValueError(
                f"{name} must hold sequences of one step or more. Got none in sequence "
                f"{int(np.argmin(found.lengths))}."
            )
        return found, shape

    def _read(self, data: FitData, keep: bool, rng: np.random.Generator) -> LabelledTable:
        assert isinstance(data, LabelledFitData)
        sequences, _ = self._sequences(data.X, reset=not keep)
        labels, of_sequences = read_labels(data.y, sequences)
        if not keep:
            self.order_, self.of_sequences_ = np.arange(1), of_sequences
            self.classes_ = np.unique(labels if data.classes is None else data.classes)
        elif data.classes is not None and not np.array_equal(
            self.classes_, np.unique(data.classes)
        ):
            raise ValueError(
                f"classes must stay {self.classes_.tolist()}. Got {list(data.classes)!r}."
            )
        return self._labelled(sequences, labels, of_sequences, "y")

    def _read_held_out(self, data: FitData) -> LabelledTable:
        assert isinstance(data, LabelledFitData)
        sequences, _ = self._sequences(data.X_val, reset=False, name="X_val")
        return self._labelled(sequences, *read_labels(data.y_val, sequences, "y_val"), "y_val")

    def _labelled(
        self, sequences: Sequences, labels: Array, of_sequences: bool, name: str
    ) -> LabelledTable:
        if of_sequences != self.of_sequences_:
            raise ValueError(
                f"{name} must have a label for each {'sequence' if self.of_sequences_ else 'step'},"
                f" as in fit. Got one for each {'sequence' if of_sequences else 'step'}."
            )
        return LabelledTable.of(sequences, label_numbers(labels, self.classes_, name), of_sequences)

    def _fitted_conditional(self, whole: LabelledTable, weight: Array, X: Any) -> Conditional:
        plain = Table(whole.sequences.values, np.arange(whole.sequences.values.shape[1]))
        chosen = choose_conditional(self.inputs, plain, None, False, self._conditional, "inputs")
        self.inputs_ = chosen.fitted(*whole.steps(weight))
        K = len(self.classes_)
        labels = Bernoulli() if K == 2 else Categorical(cardinality=K)
        return labels.fitted(*whole.of_labels(weight)).with_gaps()

    def _check_support(self, table: LabelledTable, name: str) -> None:
        check_steps(self.inputs_, table, name)

    def _sizes(self) -> dict[str, Any]:
        return {
            "n_features": 1,
            "n_outputs": self.distribution_.n_outputs,
            "inputs": self.inputs_.inputs,
            "dtype": np.dtype(self.dtype),
        }

    def _network(self, sizes: dict[str, Any], seed: int) -> Recurrent:
        layers = (self.n_hidden,) * self.n_layers
        return Recurrent(cell=self.cell, hidden_layer_sizes=layers, bptt=self.bptt, **sizes)

    def _composed(self, theta: Array) -> Model:
        conditional = LabelConditional(self.distribution_, self.inputs_)
        return Model(self.network_, conditional, self.order_, theta)  # type: ignore[arg-type]

    # ---- the fitted model

    def _model(self) -> Model:
        check_is_fitted(self, "theta_")
        return self._composed(self.theta_)

    @property
    def params_(self) -> Params:
        """Named views on `theta_`, in the letters of the papers."""
        return self._model().params

    @property
    def n_parameters_(self) -> int:
        """How many numbers the model has learnt."""
        return self._model().n_parameters

    def predict_log_proba(self, X: Any) -> Any:
        """Return log p(y_t = k | x_1 .. x_t) of each step and class, in nats.

        Parameters
        ----------
        X : list of arrays of shape (l,) or (l, F), array-like of shape (n, T) or (n, T, F), \
or Sequences

        Returns
        -------
        list of arrays (l, K), or array (n, T, K) where X is an array
            In the order of `classes_`. An array (n, K) if `fit` was given one label a sequence.

        Raises
        ------
        NotFittedError, ValueError
            The model is not fitted; X has another width, or values that cannot enter.
        """
        model = self._model()
        sequences, shape = self._sequences(X, reset=False)
        table = LabelledTable.of(sequences, None, False)
        self._check_support(table, "X")
        found = describe(model, table, effective_n_threads(self.n_jobs))  # type: ignore[arg-type]
        by_step: Array = log_softmax(found, axis=1)
        if self.of_sequences_:
            return by_step[sequences.offsets[1:] - 1]
        if shape is not None:
            return by_step.reshape(*shape, -1)
        return np.split(by_step, sequences.offsets[1:-1])

    def predict_proba(self, X: Any) -> Any:
        """Return p(y_t = k | x_1 .. x_t) of each step and class.

        Parameters
        ----------
        X : as in `predict_log_proba`

        Returns
        -------
        list of arrays (l, K), or array (n, T, K) or (n, K)
            As of `predict_log_proba`.
        """
        return _each(np.exp, self.predict_log_proba(X))

    def predict(self, X: Any) -> Any:
        """Return the most probable label of each step, given the steps so far.

        Parameters
        ----------
        X : as in `predict_log_proba`

        Returns
        -------
        list of arrays (l,), or array (n, T) where X is an array
            An array (n,) if `fit` was given one label a sequence.
        """
        return _each(self._most_probable, self.predict_log_proba(X))

    def _most_probable(self, log_p: Array) -> Array:
        labels: Array = self.classes_[log_p.argmax(axis=-1)]
        return labels

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the share of labels that `predict` finds, over all steps of all sequences.

        Parameters
        ----------
        X : as in `predict_log_proba`
        y : as in `fit`
        sample_weight : array-like of shape (n,), optional
            Of the sequences.

        Returns
        -------
        float
        """
        predicted = self.predict(X)
        sequences, _ = self._sequences(X, reset=False)
        labels, of_sequences = read_labels(y, sequences)
        if of_sequences != self.of_sequences_:
            raise ValueError(
                "y must have labels of the kind of those in fit, a step or a sequence."
            )
        right = np.concatenate([np.ravel(each) for each in predicted]) == labels
        weight = check_weight(sample_weight, len(sequences))
        return float(
            np.average(right, weights=np.repeat(weight, 1 if of_sequences else sequences.lengths))
        )

    def predict_stream(self, X: Any, state: State | None = None) -> tuple[Array, State]:
        """Return labels of the next steps of long streams, chunk by chunk.

        Parameters
        ----------
        X : array-like of shape (n, T) or (n, T, F)
            The next steps of n streams.
        state : what the last call returned, or None
            None at the beginning of the streams.

        Returns
        -------
        labels : array of shape (n, T)
            The same as of `predict`, whatever the chunks.
        state : object
            For the next call.
        """
        log_p, state = self.predict_log_proba_stream(X, state)
        return self._most_probable(log_p), state

    def predict_log_proba_stream(self, X: Any, state: State | None = None) -> tuple[Array, State]:
        """Return log p(y_t = k | all steps so far) of the next steps of long streams.

        Parameters
        ----------
        X, state : as in `predict_stream`

        Returns
        -------
        log_p : array of shape (n, T, K)
        state : object
            For the next call.
        """
        model, network = self._model(), self.network_
        conditional: Any = model.conditional
        array = np.asarray(X)
        n, T = array.shape[:2]
        state = network.start(n) if state is None else state
        if n * T == 0:
            return np.empty((n, T, len(self.classes_))), state
        sequences = Sequences(array.reshape(n * T, -1), np.arange(n + 1) * T)
        table = LabelledTable.of(sequences, None, False)
        self._check_support(table, "X")
        steps = conditional.encode(table.take(slice(None)), model.dtype)
        n_threads = effective_n_threads(self.n_jobs)
        raw, state = network.unroll(model.params, steps, state, n_threads)
        by_step: Array = log_softmax(conditional.logits(raw[n:]), axis=1)
        return np.ascontiguousarray(by_step.reshape(T, n, -1).swapaxes(0, 1)), state


def _each(of_one: Any, found: Any) -> Any:
    """Return a function of an array, or of each array of a list."""
    return [of_one(each) for each in found] if isinstance(found, list) else of_one(found)
