"""Generative recurrent networks: densities of sequences."""

from __future__ import annotations

from numbers import Real
from typing import Any, Self

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions

from fastar._core.parameters import Array
from fastar._core.schema import require
from fastar._data.context import Context
from fastar._data.parts import Parts
from fastar._data.sequences import (
    Sequences,
    SequenceTable,
)
from fastar._engine.steps import (
    SequenceModel,
    StepwiseConditional,
)
from fastar.conditionals import Bernoulli, Conditional, Mixed
from fastar.conditionals._gaps import ModelledGaps
from fastar.models._base import FitData
from fastar.models._documentation import documented
from fastar.models._fitted_sequences import FittedSequences
from fastar.models._long_frames import LongFrames
from fastar.models._parameters import (
    LAYERS,
    STEPS,
    UNITS,
    DistributionParameter,
    MissingParameter,
    parameter,
    parameters,
)
from fastar.models._sequences_in_parts import SequencesInParts
from fastar.networks import Recurrent, RecurrentFrames
from fastar.networks._recurrent import CELLS
from fastar.networks._recurrent_network import SequenceNetwork
from fastar.persistence import sequence_layout

__all__ = ["GenerativeRNN", "Sequences"]

_WALKED_STEPS = 32  # that sequences take together, before those that have ended are left out


@documented
@parameters
class GenerativeRNN(
    DistributionParameter, MissingParameter, LongFrames, FittedSequences, SequencesInParts
):
    r"""Density of sequences by a recurrent network [1]_.

    .. math::
        p(x) = \prod_t p(x_t \mid x_{<t}), \quad h_t = \text{cell}(x_t, h_{t-1}), \quad
        p(x_t \mid x_{<t}) = f(x_t; b + h_{t-1} V), \quad h_0 = 0

    with the same weights at every step. A step has one value or F values, which are independent
    given the steps before, or, with ``frame="nade"``, have a NADE whose biases h_{t-1} gives [2]_.
    With an end symbol, a further value of each step says whether the sequence ends there, and p is
    a distribution over sequences of every length. With a context the density is p(x | context): it
    enters the cells of each layer and the outputs at every step.

    With `groups`, X is a long DataFrame: each row is a step, and the rows with the same value in
    the column `groups` are one sequence, sorted by the column `order_by`. The other columns are the
    values of a step. They may have any type that models of rows take, and missing values.
    Contexts and results have an entry for each group, in the order in which groups first occur.
    Samples are long DataFrames whose groups are numbered from 0; a sequence without a step has no
    row.

    Parameters
    ----------
    cell : {"tanh", "gru", "lstm"}, default="gru"
    n_hidden : int, default=256
        H, units of each layer of cells.
    n_layers : int, default=1
    end_symbol : bool or None, default=None
        Whether sequences have an end symbol; None: those of a list do, rows of an array do not.
    frame : {"auto", "independent", "nade"}, default="auto"
        Whether the F values of a step are independent given the steps before, or have a NADE.
        "auto" takes a NADE for the steps of DataFrames only.
    n_frame_hidden : int, default=100
        Hidden units of that NADE.
    bptt : int or None, default=None
        Truncated backpropagation: gradients are cut after every `bptt` steps; None: never.
    dropout : float, default=0
        Share of units that training hides from further layers and from the outputs.
    {shared_parameters}

    Attributes
    ----------
    params_ : dict of arrays, views on `theta_`
        W_xh0 (F, Q, G H) of the first layer, W_xhl (H, G H) of layer l; W_hhl (H, G H), cl (G H,),
        and for a GRU dl (H,), the candidate's bias behind the reset gate; V (H, F, P); b (F, P);
        and for a context Ul (C, G H) and B (C, F, P).
        Gates in the order r z n (GRU) and i f g o (LSTM). With ``frame="nade"`` the parameters of
        `NADE` replace V; U (H + C, K) and B (H + C, F, P) lead from the cells and the context to
        its K hidden units and its outputs.
    n_parameters_ : int
    {shared_attributes}

    References
    ----------
    .. [1] A. Graves, "Generating sequences with recurrent neural networks", arXiv:1308.0850, 2013.
    .. [2] N. Boulanger-Lewandowski, Y. Bengio, P. Vincent, "Modeling temporal dependencies in
       high-dimensional sequences", ICML 2012.

    Examples
    --------
    >>> import numpy as np
    >>> from fastar import GenerativeRNN
    >>> rng = np.random.default_rng(0)
    >>> X = [np.arange(rng.integers(3, 9)) % 3 for _ in range(300)]  # 0 1 2 0 1 2 ..
    >>> model = GenerativeRNN(
    ...     n_hidden=16, learning_rate_init=0.02, learning_rate="linear", max_iter=30,
    ...     random_state=0,
    ... ).fit(X)
    >>> model.score_samples([[0, 1, 2, 0], [0, 2, 2, 0]]).round(-1).tolist()
    [-0.0, -10.0]
    >>> drawn = model.sample(50, random_state=0)
    >>> bool(np.mean([(each == np.arange(len(each)) % 3).all() for each in drawn]) > 0.8)
    True
    """

    cell: str = parameter(default="gru", constraint=[StrOptions(set(CELLS))])
    n_hidden: int = parameter(default=256, constraint=UNITS)
    n_layers: int = parameter(default=1, constraint=LAYERS)
    end_symbol: bool | None = parameter(default=None, constraint=["boolean", None])
    frame: str = parameter(default="auto", constraint=[StrOptions({"auto", "independent", "nade"})])
    n_frame_hidden: int = parameter(default=100, constraint=UNITS)
    bptt: int | None = parameter(default=None, constraint=[*STEPS, None])
    dropout: float = parameter(default=0.0, constraint=[Interval(Real, 0, 1, closed="left")])
    max_gradient_norm: float | None = 5.0
    batch_size: int = 32

    # ---- fitting

    @documented
    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        context: Any = None,
        sample_weight: Any = None,
        X_val: Any = None,
        context_val: Any = None,
    ) -> Self:
        """Train by minibatches of sequences to the largest mean log-likelihood.

        Parameters
        ----------
        X : array-like of shape (n, D), list of arrays (l,) or (l, F), Sequences or DataFrame
        y : ignored
        context : array-like or DataFrame of shape (n, C), optional
            Context of each sequence: numbers, which are standardised inside, and categories,
            which become one-hot. It enters every layer and every output at every step.
        sample_weight : array-like of shape (n,), optional
        X_val, context_val : as X and context, optional
            Sequences for early stopping.

        Returns
        -------
        self

        {errors_and_warnings_of_fit}
        """
        self._validate_params()
        data = FitData(X, context, sample_weight, X_val, context_val)
        return self._fit(data, keep=self.warm_start, one_pass=False)

    def partial_fit(
        self, X: Any, y: Any = None, *, context: Any = None, sample_weight: Any = None
    ) -> Self:
        """Take one pass over these sequences; the first ones decide on the conditional.

        Parameters
        ----------
        X : array-like of shape (n, D), list of arrays (l,) or (l, F), Sequences or DataFrame
        y : ignored
        context : array-like or DataFrame of shape (n, C), optional
        sample_weight : array-like of shape (n,), optional

        Returns
        -------
        self
        """
        self._validate_params()
        return self._fit(FitData(X, context, sample_weight), keep=True, one_pass=True)

    def _read(self, data: FitData, keep: bool, rng: np.random.Generator) -> SequenceTable:
        if isinstance(data.X, Parts):
            return self._read_parts(data, keep)
        table, given = self._sequences(data.X, reset=not keep), data.context
        if not keep:
            self.context_ = None if given is None else Context.of(given, len(table))
        return table.given(self._encoded(given, len(table)))

    def _read_held_out(self, data: FitData) -> Any:
        if isinstance(data.X_val, Parts):
            return self._parts_held_out(data)
        table = self._sequences(data.X_val, reset=False, name="X_val")
        return table.given(self._encoded(data.context_val, len(table), "context_val"))

    def _fitted_conditional(self, whole: SequenceTable, weight: Array, X: Any) -> Conditional:
        layout = self._container
        chosen = self._chosen(self.distribution, whole.sequences, "distribution")
        if layout.ends:
            columns = chosen.columns if isinstance(chosen, Mixed) else [chosen] * layout.width
            chosen = Mixed([Bernoulli(), *columns])
        splits = layout.names is not None
        if self.missing == "modelled" and layout.missing is not None:
            chosen = ModelledGaps(
                chosen if splits else chosen.unsplit(), ends=layout.ends, skipped=layout.n_timed
            )
            splits = True
        return chosen.fitted(*whole.steps(weight), split=splits)

    @property
    def _entering(self) -> Conditional:
        return self.distribution_

    _network_kinds = (Recurrent, RecurrentFrames)

    def _network(self, sizes: dict[str, Any], seed: int) -> SequenceNetwork:
        cells: dict[str, Any] = {
            "cell": self.cell,
            "hidden_layer_sizes": (self.n_hidden,) * self.n_layers,
            "bptt": self.bptt,
            "dropout": self.dropout,
        }
        is_nade = self.frame == "nade" or (
            self.frame == "auto" and self._container.names is not None
        )
        if is_nade:
            return RecurrentFrames(n_frame_hidden=self.n_frame_hidden, **cells, **sizes)
        return Recurrent(**cells, **sizes)

    def _composed(self, theta: Array) -> SequenceModel:
        conditional = StepwiseConditional(self.distribution_)
        return SequenceModel(self.network_, conditional, self.order_, theta)

    # ---- files

    def _restore_own(self, header: dict[str, Any], arrays: dict[str, Array]) -> None:
        """Take up what the sequences were."""
        layout = self._container = sequence_layout(header["container"], self.n_features_in_)
        natural = np.array_equal(self.order_, np.arange(layout.width + layout.ends))
        require("order", natural, "must be natural, with a value for each of a step and its end.")
        end, own = self.distribution_.of_column(0)[0], self.distribution_
        whole = own.of if isinstance(own, ModelledGaps) else own
        begins = isinstance(end, Bernoulli) and isinstance(whole, Mixed)
        require("distribution", begins or not layout.ends, "must begin with that of ends.")
