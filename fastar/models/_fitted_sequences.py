"""scikit-learn's interface: the methods of a fitted density of sequences."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from fastar._core.parameters import Array
from fastar._core.random import generator
from fastar._core.sharpness import Sharpness, check_sharpness
from fastar._core.threads import effective_n_threads
from fastar._core.validation import check_count, mean_score
from fastar._data.context import encode_context
from fastar._data.sequences import Sequences, SequenceTable
from fastar._engine.prefixes import state_after
from fastar._engine.scores import describe, log_probs, score_rows
from fastar._engine.step_particles import (
    check_known_steps,
    complete_steps,
    sample_steps,
    step_marginals,
)
from fastar._engine.steps import (
    SequenceModel,
    rows_of_blocks,
    stacked,
    times_of_blocks,
)
from fastar.conditionals import Mixed
from fastar.models._documentation import documented
from fastar.models._sequences import SequenceEstimator
from fastar.networks._recurrent import State

_WALKED_STEPS = 32  # that sequences take together, before those that have ended are left out


class FittedSequences(SequenceEstimator, abstract=True):
    """Base of fitted densities of sequences."""

    @abstractmethod
    def _sequences(
        self, X: Any, reset: bool, name: str = "X", *, gaps: bool = False
    ) -> SequenceTable:
        """Return what the user gave, and in `fit` remember what it is; gaps: NaN is free."""

    @abstractmethod
    def _prefixes(self, given: Any, n: int, name: str, *, gaps: bool) -> Sequences:
        """Return the one prefix that n samples are given, or that of each."""

    @abstractmethod
    def _first_codes(self, n: int, T: int, *, begins: bool) -> tuple[Array, Array | None]:
        """Return codes (n, T F) to draw, and flags of those that do not apply."""

    @abstractmethod
    def _composed(self, theta: Array) -> SequenceModel:
        """Return the composition with these parameters."""

    def _model(self) -> SequenceModel:
        check_is_fitted(self, "theta_")
        return self._composed(self.theta_)

    def _encoded(self, context: Any, n: int, name: str = "context") -> Array | None:
        return encode_context(self.context_, context, n, self.dtype, name)

    def _table(self, X: Any, context: Any = None) -> SequenceTable:
        table = self._sequences(X, reset=False)
        self._check_support(table, "X")
        return table.given(self._encoded(context, len(table)))

    # ---- scores

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
        return self._container.by_sequence(said, table.sequences.lengths + table.ends)

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
        values = said
        if layout.ends:
            values = said[1:]
            if isinstance(own, Mixed) and len(set(map(repr, own.columns[1:]))) == 1:
                values = stacked(values)
        values = layout.of_values(values)
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
        sequences, n, T, state = self._read_streams(X, state)
        if n * T == 0:
            return np.empty((n, T)), state
        table = self._container.table(sequences)
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

    # ---- samples

    @documented
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
        {top_p_and_top_k}
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
            begun = self._prefixes(prefix, n, "prefix", gaps=False)
            self._check_support(layout.table(begun), "prefix")
            known = int(begun.lengths.max())
            state = state_after(
                begun, n, layout.ends, network, model.params, self.distribution_, given, n_threads
            )
        longest = max(1, layout.longest - known) if max_length is None else max_length
        longest = check_count("max_length", longest, numbers=n * width)
        drawn, lengths = self._drawn(
            n, longest, known, state, given, sharpness, generator(random_state)
        )
        return layout.wrap([drawn[:length, i] for i, length in enumerate(lengths)], begun)

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

    @documented
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
        {rest_of_log_marginal}
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
        n_draws = check_count("n_draws", n_draws, numbers=table.sequences.values.size)
        n_particles = check_count("n_particles", n_particles, numbers=self._particle_size(table))
        drawn, self.impute_ess_ = complete_steps(
            model, table, generator(random_state), n_threads,
            n_draws=n_draws, n_particles=n_particles, complete=True,
        )  # fmt: skip
        return self._container.fill(X, table.sequences, drawn)

    def _sample_given(
        self, evidence: Any, n: int, context: Any, sharpness: Sharpness, random_state: Any
    ) -> Any:
        """Return n samples that keep their evidence."""
        layout = self._container
        found = self._prefixes(evidence, n, "evidence", gaps=True)
        if not layout.ends and not found.lengths.all():
            raise ValueError("evidence must hold sequences of one step or more. Got an empty one.")
        times = n // len(found)
        values, lengths = np.tile(found.values, (times, 1)), np.tile(found.lengths, times)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        table = layout.table(Sequences(values, offsets, gaps=True))
        check_known_steps(self.distribution_, table, "evidence", layout)
        table = table.given(self._encoded(context, n))
        n_threads = effective_n_threads(self.n_jobs)
        values = sample_steps(self._model(), table, sharpness, generator(random_state), n_threads)
        return layout.wrap(np.split(values, offsets[1:-1]))
