"""Labels of the steps of sequences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy.special import log_softmax
from sklearn.utils._param_validation import StrOptions

from fastar._core.estimators import ClassifierMixin
from fastar._core.parameters import Array
from fastar._core.schema import FLAG, OBJECT, Record, Rule, require
from fastar._core.threads import effective_n_threads
from fastar._core.validation import check_weight
from fastar._data.labels import LabelledTable, label_numbers, read_labels
from fastar._data.sequences import Sequences, is_ragged, listed
from fastar._engine.scores import describe
from fastar._engine.steps import LabelConditional, SequenceModel, times_of_blocks
from fastar.conditionals import Bernoulli, Categorical, Conditional
from fastar.models._base import FitData
from fastar.models._documentation import documented
from fastar.models._parameters import DISTRIBUTION, LAYERS, STEPS, UNITS, parameter, parameters
from fastar.models._sequences import SequenceEstimator
from fastar.networks import Recurrent
from fastar.networks._recurrent_layers import CELLS, State
from fastar.persistence import (
    SavedState,
    conditional_from_json,
    conditional_to_json,
    labels_from_json,
    labels_to_json,
    prefixed,
    sequence_layout,
)

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
@parameters
class SequenceLabeller(ClassifierMixin, SequenceEstimator):
    r"""Classifier of every step of a sequence, given the steps so far [1]_.

    .. math::
        p(y_t \mid x_1 \dots x_t) = f(y_t; b + h_t V), \quad h_t = \text{cell}(x_t, h_{t-1}),
        \quad h_0 = 0

    with f the sigmoid for two classes and the softmax for more, and the same weights at every step.
    Where y has one label a sequence, it is taken as the label of the last step, at which the
    network has read the whole sequence.

    Parameters
    ----------
    cell : {"tanh", "gru", "lstm"}, default="gru"
    n_hidden : int, default=256
        H, units of each layer of cells.
    n_layers : int, default=1
    bptt : int or None, default=None
        Truncated backpropagation: gradients are cut after every `bptt` steps; None: never.
    inputs : str, Conditional or list, default="auto"
        How the values of a step enter the network, by the name of a conditional: one-hot
        ("categorical"), as 0 and 1 ("bernoulli"), or standardised ("gaussian", ..). "auto" takes
        "bernoulli" where X holds only 0 and 1, "categorical" for other integer types, and
        "gaussian" otherwise. A list has one for each value of a step.
    {shared_parameters}

    Attributes
    ----------
    classes_ : array (K,)
        The labels, sorted.
    inputs_ : Conditional
        The fitted conditional of the values of a step.
    distribution_ : Conditional
        f, over the numbers of the classes.
    of_sequences_ : bool
        Whether y had one label for each sequence instead of one for each step.
    params_ : dict of arrays, views on `theta_`
        As of `GenerativeRNN`, with V (H, 1, P) and b (1, P); P = 1 for two classes, else K.
    theta_ : array
        All parameters in one vector.
    n_parameters_ : int
    n_features_in_, feature_names_in_ : as in scikit-learn
        T of an array (n, T); else F, the values of a step.
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

    context_ = None

    cell: str = parameter(default="gru", constraint=[StrOptions(set(CELLS))])
    n_hidden: int = parameter(default=256, constraint=UNITS)
    n_layers: int = parameter(default=1, constraint=LAYERS)
    bptt: int | None = parameter(default=None, constraint=[*STEPS, None])
    inputs: Any = parameter(default="auto", constraint=DISTRIBUTION)
    max_gradient_norm: float | None = 5.0
    batch_size: int = 32

    # ---- fitting

    @documented
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

        {errors_and_warnings_of_fit}
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
        whole: Shape = None if is_ragged(X) else getattr(X, "shape", None) or np.asarray(X).shape
        is_list = whole is None or len(whole) == 3
        is_list = is_list or not (reset or self._container.of_rows)
        found = self._read_sequences(X, reset, name, listed=is_list)
        if not found.lengths.all():
            raise ValueError(
                f"{name} must hold sequences of one step or more. Got none in sequence "
                f"{int(np.argmin(found.lengths))}."
            )
        return found, None if whole is None else whole[:2]

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
        chosen = self._chosen(self.inputs, whole.sequences, "inputs")
        self.inputs_ = chosen.fitted(*whole.steps(weight), split=False)
        K = len(self.classes_)
        labels = Bernoulli() if K == 2 else Categorical(cardinality=K)
        return labels.fitted(*whole.of_labels(weight), split=False).with_gaps()

    @property
    def _entering(self) -> Conditional:
        return self.inputs_

    _network_kinds = (Recurrent,)

    def _network(self, sizes: dict[str, Any], seed: int) -> Recurrent:
        layers = (self.n_hidden,) * self.n_layers
        return Recurrent(cell=self.cell, hidden_layer_sizes=layers, bptt=self.bptt, **sizes)

    def _composed(self, theta: Array) -> SequenceModel:
        conditional = LabelConditional(self.distribution_, self.inputs_)
        return SequenceModel(self.network_, conditional, self.order_, theta)

    # ---- the fitted model

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
        found = describe(model, table, effective_n_threads(self.n_jobs))
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
            Weights of the sequences.

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
            None at the start of the streams.

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
        conditional = model.conditional
        assert isinstance(conditional, LabelConditional)
        sequences, n, T, state = self._read_streams(X, state)
        if n * T == 0:
            return np.empty((n, T, len(self.classes_))), state
        table = LabelledTable.of(sequences, None, False)
        self._check_support(table, "X")
        steps = model.codes(table.take(slice(None)))
        n_threads = effective_n_threads(self.n_jobs)
        found = []
        for begin, end in times_of_blocks(n, T):
            # the label of a step is that of the next one
            part = steps.between(begin, end + 1)
            raw, state = network.unroll(model.params, part, state, n_threads)
            logits = conditional.logits(raw[n:]).reshape(end - begin, n, -1)
            found.append(log_softmax(logits, axis=-1))
        return np.ascontiguousarray(np.concatenate(found).swapaxes(0, 1)), state

    # ---- files

    def _state(self) -> SavedState:
        """Return the header and the arrays of a file."""
        header, arrays = super()._state()
        header["labelling"] = {
            "inputs": conditional_to_json(self.inputs_),
            "classes": labels_to_json(self.classes_),
            "of_sequences": self.of_sequences_,
        }
        return header, arrays | prefixed("inputs.", self.inputs_.arrays())

    def _restore_own(self, header: dict[str, Any], arrays: dict[str, Array]) -> None:
        """Take up classes, and what is known of the values that enter."""
        self._container = sequence_layout(header["container"], self.n_features_in_)
        require("container.sequences.ends", not self._container.ends, "must be false.")
        described = header["labelling"]
        self.inputs_ = conditional_from_json(
            "inputs", described["inputs"], arrays, self._container.width
        )
        self.classes_ = labels_from_json("labelling.classes", described["classes"])
        self.of_sequences_ = described["of_sequences"]
        K, labels = len(self.classes_), self.distribution_
        fits = labels.cardinality == K if isinstance(labels, Categorical) else K == 2
        known = isinstance(labels, Bernoulli | Categorical) and labels.missing.all()
        require("distribution", fits and known, f"must be that of {K} classes.")

    @classmethod
    def _header_rules(cls) -> dict[str, Rule]:
        """Return what the header must have beside the parameters."""
        own = {"inputs": OBJECT, "classes": OBJECT, "of_sequences": FLAG}
        return {**super()._header_rules(), "labelling": Record(own)}

    _array_prefixes = (*SequenceEstimator._array_prefixes, "inputs.")


def _each(of_one: Any, found: Any) -> Any:
    """Return a function of an array, or of each array of a list."""
    return [of_one(each) for each in found] if isinstance(found, list) else of_one(found)
