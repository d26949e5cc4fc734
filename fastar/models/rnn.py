"""Generative recurrent networks: densities of sequences."""

from __future__ import annotations

from numbers import Real
from typing import Any, Self

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from fastar._core.integers import add
from fastar._core.parameters import Array
from fastar._core.random import generator
from fastar._core.schema import require
from fastar._core.sharpness import Sharpness, check_sharpness
from fastar._core.threads import effective_n_threads
from fastar._core.validation import check_count, mean_score
from fastar._data.context import Context, encode_context
from fastar._data.frame_types import as_frame
from fastar._data.parts import Parts
from fastar._data.sequences import (
    Sequences,
    SequenceTable,
    check_gaps,
    fill_gaps,
    is_ragged,
    listed,
)
from fastar._engine.prefixes import prepend_prefix, read_prefix, state_after
from fastar._engine.scores import describe, log_probs, score_rows
from fastar._engine.step_particles import (
    check_known_steps,
    complete_steps,
    sample_steps,
    step_marginals,
)
from fastar._engine.steps import (
    SequenceModel,
    StepwiseConditional,
    by_sequence,
    of_values,
    rows_of_blocks,
    stacked,
    times_of_blocks,
)
from fastar.conditionals import Bernoulli, Conditional, Mixed
from fastar.conditionals._gaps import ModelledGaps
from fastar.conditionals._mixed import said_of_column
from fastar.models._base import FitData
from fastar.models._documentation import documented
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
from fastar.networks._recurrent import CELLS, State
from fastar.networks._recurrent_network import SequenceNetwork
from fastar.persistence import sequence_layout

__all__ = ["GenerativeRNN", "Sequences"]

_WALKED_STEPS = 32  # that sequences take together, before those that have ended are left out


@documented
@parameters
class GenerativeRNN(DistributionParameter, MissingParameter, LongFrames, SequencesInParts):
    r"""Density of sequences by a recurrent network [1]_.

    .. math::
        p(x) = \prod_t p(x_t \mid x_{<t}), \quad h_t = \text{cell}(x_t, h_{t-1}), \quad
        p(x_t \mid x_{<t}) = f(x_t; b + h_{t-1} V), \quad h_0 = 0

    with the same weights at every step. A step has one value or F values, which are independent
    given the steps before, or, with ``frame="nade"``, have a NADE whose biases h_{t-1} gives [2]_.
    With an end symbol, another value of each step that tells whether the sequence ends there, p is
    a distribution over sequences of every length. A context makes it p(x | context): it enters the
    cells of each layer and the outputs at every step.

    With `groups`, X is a long DataFrame: a row is a step, and the rows that have the same value in
    the column `groups` are one sequence, in the order of the column `order_by`. The other columns,
    of any type that models of rows take, are the values of a step; gaps in them are missing values.
    A context has a row for each group, in the order in which groups first occur, and so has what
    methods return. Samples are long DataFrames whose groups are numbered from 0; a sequence without
    a step has no row.

    Parameters
    ----------
    cell : {"tanh", "gru", "lstm"}, default="gru"
    n_hidden : int, default=256
        H, units of each layer of cells.
    n_layers : int, default=1
    end_symbol : bool or None, default=None
        Whether sequences end by themselves; None: those of a list do, rows of an array do not.
    frame : {"auto", "independent", "nade"}, default="auto"
        Whether the F values of a step are independent given those before, or follow one another in
        a NADE. "auto" takes a NADE for steps of DataFrames alone.
    n_frame_hidden : int, default=100
        Hidden units of that NADE.
    bptt : int or None, default=None
        Steps after which gradients are cut, at its multiples.
    dropout : float, default=0
        Share of units that training hides from further layers and from the outputs.
    {shared_parameters}

    Attributes
    ----------
    params_ : dict of arrays, views on `theta_`
        W_xh0 (F, Q, G H) of the first layer, W_xhl (H, G H) of layer l; W_hhl (H, G H), cl (G H,),
        and for a GRU dl (H,), the candidate's bias behind the reset gate; V (H, F, P); b (F, P);
        and for a context Ul (C, G H) and B (C, F, P).
        Gates in the order r z n (GRU) and i f g o (LSTM). With ``frame="nade"`` those of `NADE` in
        the place of V, with U (H + C, K) and B (H + C, F, P) from the cells and the context to its
        K hidden units and its outputs.
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
            What each sequence is given: numbers, which are standardised inside, and categories,
            which become one-hot. It enters every layer and every output at every step.
        sample_weight : array-like of shape (n,), optional
        X_val, context_val : as X and context, optional
            Sequences for early stopping.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            A parameter or an argument breaks a rule that the message names.
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

    def _sequences(
        self, X: Any, reset: bool, name: str = "X", *, gaps: bool = False
    ) -> SequenceTable:
        """Return what the user gave, and in `fit` remember its kind."""
        if self.groups is not None:
            return self._long_frame(X, reset, name, gaps=gaps)[0]
        if not reset and self._container.frame is not None:
            raise ValueError("groups must be the column that fit was given. Got None instead.")
        X = listed(X, name)
        is_list = is_ragged(X) or (not reset and self._container.length is None)
        ends = is_list if self.end_symbol is None else bool(self.end_symbol)
        found = self._read_sequences(X, reset, name, listed=is_list, ends=ends, gaps=gaps)
        layout = self._container
        if reset:
            self.order_ = np.arange(layout.width + layout.ends)
        if not layout.ends and not found.lengths.all():
            raise ValueError(f"{name} must hold sequences of one step or more. Got an empty one.")
        return SequenceTable(found, layout.ends)

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

    def _encoded(self, context: Any, n: int, name: str = "context") -> Array | None:
        return encode_context(self.context_, context, n, self.dtype, name)

    def _fitted_conditional(self, whole: SequenceTable, weight: Array, X: Any) -> Conditional:
        layout = self._container
        chosen = self._chosen(self.distribution, whole.sequences, "distribution")
        if layout.ends:
            columns = chosen.columns if isinstance(chosen, Mixed) else [chosen] * layout.width
            chosen = Mixed([Bernoulli(), *columns])
        splits = layout.frame is not None
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
        if self.frame == "nade" or (self.frame == "auto" and self._container.frame is not None):
            return RecurrentFrames(n_frame_hidden=self.n_frame_hidden, **cells, **sizes)
        return Recurrent(**cells, **sizes)

    def _composed(self, theta: Array) -> SequenceModel:
        conditional = StepwiseConditional(self.distribution_)
        return SequenceModel(self.network_, conditional, self.order_, theta)

    # ---- the fitted model

    def _model(self) -> SequenceModel:
        check_is_fitted(self, "theta_")
        return self._composed(self.theta_)

    def _table(self, X: Any, context: Any = None) -> SequenceTable:
        table = self._sequences(X, reset=False)
        self._check_support(table, "X")
        return table.given(self._encoded(context, len(table)))

    def score_samples(self, X: Any, *, context: Any = None) -> Array:
        """Return log p(x) of each sequence, its end among it if it has one.

        Parameters
        ----------
        X : array-like of shape (n, D), list of arrays (l,) or (l, F), Sequences or DataFrame
        context : array-like or DataFrame of shape (n, C), optional

        Returns
        -------
        ndarray of shape (n,), float64
            Nats; for real values of a density in their units.

        Raises
        ------
        NotFittedError, ValueError
            The model is not fitted; X has values outside the support.
        """
        model = self._model()
        scores: Array = score_rows(model, self._table(X, context), effective_n_threads(self.n_jobs))
        return scores

    def score(
        self, X: Any, y: Any = None, *, context: Any = None, sample_weight: Any = None
    ) -> float:
        """Return the mean log p(x) of a sequence, in nats.

        Parameters
        ----------
        X : array-like of shape (n, D), list of arrays (l,) or (l, F), Sequences or DataFrame
        y : ignored
        context : array-like or DataFrame of shape (n, C), optional
        sample_weight : array-like of shape (n,), optional

        Returns
        -------
        float
        """
        return mean_score(self.score_samples(X, context=context), sample_weight)

    def score_features(self, X: Any, *, context: Any = None) -> Any:
        """Return log p(x_t | those before it) of each step; they sum to `score_samples`.

        Parameters
        ----------
        X : array-like of shape (n, D), list of arrays (l,) or (l, F), Sequences or DataFrame
        context : array-like or DataFrame of shape (n, C), optional

        Returns
        -------
        ndarray of shape (n, D) or list of arrays (l,), float64
            Nats. With an end symbol one entry more, log p of ending there.
        """
        model, table = self._model(), self._table(X, context)
        found: list[Array] = []
        for where, logp, _ in log_probs(model, table, effective_n_threads(self.n_jobs)):
            steps = model.codes(table.take(where))
            place = np.argsort(steps.sequence, kind="stable")
            found.append(logp.sum(axis=1, dtype=np.float64)[place])
        return self._by_sequence(np.concatenate(found), table)

    def _by_sequence(self, said: Any, table: SequenceTable) -> Any:
        lengths = table.sequences.lengths + table.ends
        is_array = self._container.length is not None and len({*lengths.tolist()}) == 1
        return by_sequence(said, lengths, is_array)

    def conditionals(self, X: Any, *, context: Any = None) -> Any:
        """Return the parameters of each p(x_t | those before it).

        Parameters
        ----------
        X : array-like of shape (n, D), list of arrays (l,) or (l, F), Sequences or DataFrame
        context : array-like or DataFrame of shape (n, C), optional

        Returns
        -------
        list, or array or dict of arrays where `fit` was given an array
            An entry for each sequence, as models of rows have one for each row: probabilities of
            one (l,) or (l, F) for Bernoulli values, probabilities of levels (l, K) or (l, F, K), or
            a dict of named arrays; a dict of these by place if values have conditionals of their
            own. For an array (n, D) arrays (n, D) or (n, D, K). With an end symbol a dict:
            "end", the probability (l + 1,) of ending there, and "values" of l + 1 steps, given that
            the sequence does not end there.
        """
        model, table = self._model(), self._table(X, context)
        said = describe(model, table, effective_n_threads(self.n_jobs))
        layout, own = self._container, self.distribution_
        values = said[1:] if layout.ends else said
        if layout.frame is not None:
            if not isinstance(values, list):
                values = [said_of_column(values, d) for d in range(layout.width)]
            values = dict(zip((each.name for each in layout.frame.columns), values, strict=True))
        else:
            if layout.ends and isinstance(own, Mixed) and len(set(map(repr, own.columns[1:]))) == 1:
                values = stacked(values)
            values = of_values(values, layout.width)
        return self._by_sequence(
            {"end": said[0], "values": values} if layout.ends else values, table
        )

    def score_stream(
        self, X: Any, state: State | None = None, *, context: Any = None
    ) -> tuple[Array, State]:
        """Return log p of each step of long streams, chunk by chunk.

        Parameters
        ----------
        X : array-like of shape (n, T) or (n, T, F)
            The next steps of n streams.
        state : what the last call returned, or None
            None at the start of the streams.
        context : array-like or DataFrame of shape (n, C), optional

        Returns
        -------
        scores : ndarray of shape (n, T), float64
            Nats; the same numbers, whatever the chunks.
        state : object
            For the next call.

        Raises
        ------
        ValueError
            The model has an end symbol: streams have no end.
        """
        model, network = self._model(), self.network_
        if self._container.frame is not None:
            raise ValueError(
                "score_stream must have a model of arrays. Got one of a DataFrame, whose groups "
                "score_samples takes whole."
            )
        if self._container.ends:
            raise ValueError("score_stream must have a model with end_symbol=False. Got ends.")
        sequences, n, T, state = self._read_streams(X, state)
        if n * T == 0:
            return np.empty((n, T)), state
        table = SequenceTable(sequences, ends=False)
        self._check_support(table, "X")
        n_threads = effective_n_threads(self.n_jobs)
        steps, given = model.codes(table.take(slice(None))), self._encoded(context, n)
        scores = []
        for begin, end in times_of_blocks(n, T):
            part = steps.between(begin, end)
            raw, state = network.step(model.params, part, state, n_threads, given)
            logp, _ = self.distribution_.log_prob(raw, part.codes, n_threads)
            # in the order of score_features
            scores.append(logp.sum(axis=1, dtype=np.float64).reshape(-1, n))
        return np.ascontiguousarray(np.concatenate(scores).T), state

    def sample(
        self,
        n_samples: int = 1,
        *,
        context: Any = None,
        evidence: Any = None,
        prefix: Any = None,
        max_length: int | None = None,
        temperature: float = 1.0,
        top_p: float | None = None,
        top_k: int | None = None,
        random_state: Any = None,
    ) -> Any:
        """Draw sequences, step by step, from their start or from a prefix.

        Parameters
        ----------
        n_samples : int, default=1
        context : array-like or DataFrame of shape (n_samples, C) or (1, C), optional
        evidence : array-like of shape (l,) or (l, F), or list of n_samples of them, optional
            Whole sequences, NaN where a value is free; the samples have their lengths. Each free
            value is drawn given those *before* it: exact where the known values come first, see
            `impute` for weights where they do not. Where `fit` was given an array (n, D), also an
            array of shape (n_samples, D).
        prefix : array-like of shape (l,) or (l, F), or list of n_samples of them, optional
            First steps of each; the rest is drawn from p(rest | prefix). Where `fit` was given an
            array also an array (n_samples, l).
        max_length : int or None, default=None
            Steps after the prefix after which a sequence is cut; by default those up to the length
            of the longest in `fit`, but at least one.
        temperature : float, default=1
            Each conditional is raised to the power 1 / temperature and normalised.
        top_p, top_k : float and int or None, default=None
            Levels, that is, values of Bernoulli and categorical conditionals and the choice among
            atoms, are drawn from the most probable ones alone: from the fewest that have the share
            top_p of the mass, and from top_k at most. Numbers, counts and ordinal levels are drawn
            as they are. The samples are not those of the density.
        random_state : int, RandomState instance or None

        Returns
        -------
        ndarray of shape (n_samples, max_length), or list of arrays (l,) or (l, F)
            In the container that `fit` was given: a list with an end symbol. Prefixes are included.
        """
        model, network = self._model(), self.network_
        width = self._container.width
        n = check_count("n_samples", n_samples, numbers=width)
        sharpness = check_sharpness(temperature, top_p, top_k)
        if evidence is not None:
            if prefix is not None or max_length is not None:
                raise ValueError(
                    "prefix and max_length must be None with evidence, which has the beginning and "
                    f"the length of each sample. Got prefix={prefix!r}, max_length={max_length!r}."
                )
            return self._sample_given(evidence, n, context, sharpness, random_state)
        given, n_threads = self._encoded(context, n), effective_n_threads(self.n_jobs)
        layout, begun, state, known = self._container, None, network.start(n), 0
        if prefix is not None:
            begun = self._beginnings(prefix, n, "prefix")
            self._check_support(SequenceTable(begun, layout.ends), "prefix")
            known = int(begun.lengths.max())
            state = state_after(
                begun, n, layout.ends, network, model.params, self.distribution_, given, n_threads
            )
        longest = max(1, layout.longest - known) if max_length is None else max_length
        longest = check_count("max_length", longest, numbers=n * width)
        drawn, lengths = self._drawn(
            n, longest, known, state, given, sharpness, generator(random_state)
        )
        return self._like_fit(drawn, lengths, begun)

    def _drawn(
        self,
        n: int,
        longest: int,
        known: int,
        state: State,
        context: Array | None,
        sharpness: Sharpness,
        rng: np.random.Generator,
    ) -> tuple[Array, Array]:
        """Return steps (T, n, F) after `known` ones, from a state on, and how many are a sample's.

        T is `longest`; context (n, C).
        """
        model, network, layout = self._model(), self.network_, self._container
        n_threads = effective_n_threads(self.n_jobs)
        capsule = sharpness.draw(self.distribution_.kernel, model.dtype)
        alive, drawn = np.arange(n), np.zeros((longest, n, layout.width))
        lengths = np.full(n, longest)
        for first in range(0, longest, _WALKED_STEPS):
            T, F = min(_WALKED_STEPS, longest - first), network.n_features
            noise = np.empty((len(alive) * T, F, self.distribution_.kernel.n_noise), model.dtype)
            self.distribution_.fill_noise(rng, noise, len(noise), 1)
            codes, flags = self._first_codes(len(alive), T, begins=first + known == 0)
            noise = noise.reshape(len(alive), T * F, -1)
            for rows in rows_of_blocks(len(alive), T):
                network.sample(
                    model.params, capsule, noise[rows], None if flags is None else flags[rows],
                    codes[rows], n_threads,
                    context=None if context is None else context[alive[rows]],
                    state=[(h[rows], s[rows]) for h, s in state],
                )  # fmt: skip
            values = self.distribution_.decode(codes.reshape(-1, F))
            values = values.reshape(-1, T, len(self.order_))
            drawn[first : first + T, alive] = values[:, :, int(layout.ends) :].swapaxes(0, 1)
            if layout.ends:
                stops = values[:, :, 0] == 1
                going = ~stops.any(axis=1)
                lengths[alive[~going]] = first + stops[~going].argmax(axis=1)
                alive, state = alive[going], [(h[going], s[going]) for h, s in state]
                if not len(alive):
                    break
        return drawn, lengths

    def _beginnings(self, given: Any, n: int, name: str, *, gaps: bool = False) -> Sequences:
        """Return the one sequence that n samples are given, or that of each; gaps: NaN is free."""
        layout = self._container
        if layout.frame is None:
            marked = gaps or layout.missing is not None
            begun = read_prefix(given, n, layout, name, gaps=marked)
            if not gaps:
                check_gaps(begun, layout, name)
            return layout.to_numbers(begun)
        found = self._sequences(given, reset=False, name=name, gaps=gaps).sequences
        if len(found) not in (1, n):
            raise ValueError(
                f"{name} must be one group, or one for each of {n} samples. Got {len(found)}."
            )
        return found

    def _like_fit(self, drawn: Array, lengths: Array, begun: Sequences | None) -> Any:
        """Return draws (T, n, F), after their beginnings, as what `fit` was given."""
        layout = self._container
        if layout.frame is not None:
            parts = [drawn[:length, i] for i, length in enumerate(lengths)]
            parts = parts if begun is None else prepend_prefix(parts, begun)
            return layout.frame.wrap(np.concatenate(parts), np.array([len(each) for each in parts]))
        values = drawn
        if layout.offsets is None:
            values = drawn.astype(np.dtype(layout.dtype))
        parts = [values[:length, i] for i, length in enumerate(lengths)]
        if begun is not None:
            parts = prepend_prefix(parts, begun)
        if layout.offsets is not None:
            parts = [add(part, layout.offsets, layout.dtype) for part in parts]
        if self._container.width == 1:
            parts = [part[:, 0] for part in parts]
        is_array = self._container.length is not None and not self._container.ends
        return np.array(parts) if is_array and len({*map(len, parts)}) == 1 else parts

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

    # ---- sequences with gaps

    def _gapped(self, X: Any, context: Any) -> SequenceTable:
        table = self._sequences(X, reset=False, gaps=True)
        check_known_steps(self.distribution_, table, "X", self._container)
        return table.given(self._encoded(context, len(table)))

    def _particle_size(self, table: SequenceTable) -> int:
        """Return how many numbers one particle of the longest sequence has, with its state."""
        network = self.network_
        longest = int(table.sequences.lengths.max()) + table.ends
        return longest * network.n_features + 2 * sum(network.hidden_layer_sizes)

    def log_marginal(
        self, X: Any, *, context: Any = None, n_particles: int = 64, random_state: Any = None
    ) -> Array:
        r"""Return log p of the known values of each sequence: those missing are integrated out.

        Exact where the known values come first. Else the logarithm of an unbiased estimate, by
        sequential Monte Carlo: `n_particles` samples a sequence of what is missing go through time,
        weighed by the probability that they give to what is known, and are resampled where few of
        them have most of the weight [1]_. The length of a sequence is always known: with an end
        symbol, it is part of what has a probability.

        Parameters
        ----------
        X : array-like of shape (n, D), list of arrays (l,) or (l, F), Sequences or DataFrame
            NaN where a value is to be integrated out.
        context : array-like or DataFrame of shape (n, C), optional
        n_particles : int, default=64
        random_state : int, RandomState instance or None

        Returns
        -------
        ndarray of shape (n,), float64
            Nats. `marginal_ess_` (n,) has the effective numbers of samples at the end;
            `n_particles` where the result is exact.

        References
        ----------
        .. [1] A. Doucet, A. M. Johansen, "A tutorial on particle filtering and smoothing", Oxford
           Handbook of Nonlinear Filtering, 2011.
        """
        model = self._model()
        table, n_threads = self._gapped(X, context), effective_n_threads(self.n_jobs)
        n_particles = check_count("n_particles", n_particles, numbers=self._particle_size(table))
        rng = generator(random_state)
        scores, self.marginal_ess_ = step_marginals(model, table, n_particles, rng, n_threads)
        return scores

    def impute(
        self,
        X: Any,
        *,
        context: Any = None,
        n_draws: int = 1,
        n_particles: int = 16,
        random_state: Any = None,
    ) -> Any:
        """Return X with each missing value (NaN) drawn given the values that are there.

        The values of a sequence are drawn jointly. What is known before a missing value is exact.
        For what is known after it, `n_particles` samples a sequence go through time, weighed and
        resampled as in `log_marginal`; `impute_ess_` tells their effective number at the end.

        Parameters
        ----------
        X : array-like of shape (n, D), list of arrays (l,) or (l, F), Sequences or DataFrame
        context : array-like or DataFrame of shape (n, C), optional
        n_draws : int, default=1
            Completions of each sequence.
        n_particles : int, default=16
            Samples from which a sequence's completions are drawn; more are more exact.
        random_state : int, RandomState instance or None

        Returns
        -------
        ndarray of shape (n, D), or list of arrays (l,) or (l, F)
            As X; if n_draws > 1, an array (n_draws, n, D) or a list of n_draws lists.
        """
        model = self._model()
        table, n_threads = self._gapped(X, context), effective_n_threads(self.n_jobs)
        frame = self._container.frame
        n_draws = check_count("n_draws", n_draws, numbers=table.sequences.values.size)
        n_particles = check_count("n_particles", n_particles, numbers=self._particle_size(table))
        drawn, self.impute_ess_ = complete_steps(
            model, table, generator(random_state), n_threads,
            n_draws=n_draws, n_particles=n_particles, complete=True,
        )  # fmt: skip
        if frame is not None:
            X = as_frame(X)
            _, rows, offsets = frame.read(X, "X")
            filled = [frame.fill(X, rows, values, offsets) for values in drawn]
            return filled[0] if n_draws == 1 else filled
        is_array = not is_ragged(X) and self._container.length is not None
        completed = [fill_gaps(X, table.sequences, values) for values in drawn]
        found = [np.array(each) for each in completed] if is_array else completed
        if n_draws == 1:
            return found[0]
        return np.array(found) if is_array else found

    def _sample_given(
        self, evidence: Any, n: int, context: Any, sharpness: Sharpness, random_state: Any
    ) -> Any:
        """Return n samples that keep their evidence."""
        layout = self._container
        found = self._beginnings(evidence, n, "evidence", gaps=True)
        is_array = layout.length is not None and not is_ragged(evidence)
        if is_array and (found.lengths != layout.length).any():
            raise ValueError(
                f"evidence must have shape ({layout.length},) or ({n}, {layout.length}). "
                f"Got {np.shape(evidence)} instead."
            )
        if not layout.ends and not found.lengths.all():
            raise ValueError("evidence must hold sequences of one step or more. Got an empty one.")
        times = n // len(found)
        values, lengths = np.tile(found.values, (times, 1)), np.tile(found.lengths, times)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        table = SequenceTable(
            Sequences(values, offsets, gaps=True), layout.ends, frame=layout.frame
        )
        check_known_steps(self.distribution_, table, "evidence", layout)
        table = table.given(self._encoded(context, n))
        n_threads = effective_n_threads(self.n_jobs)
        values = sample_steps(self._model(), table, sharpness, generator(random_state), n_threads)
        drawn = np.zeros((n, int(lengths.max()), layout.width))
        drawn[np.arange(drawn.shape[1]) < lengths[:, None]] = values
        return self._like_fit(drawn.swapaxes(0, 1), lengths, None)
