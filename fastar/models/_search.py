"""The search of models by validation likelihood: successive halving, then more of the best."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from fastar._core.limits import BeyondMemoryError
from fastar._core.parameters import Array
from fastar.callbacks import Callback
from fastar.models._candidates import Candidate, cost, vary
from fastar.models._parallel import current_stop, fit_each
from fastar.models._selection import mean_score, select

_BATCH = 4
"""Trials that are trained side by side before the search looks at them: for any number of threads,
so that a list of trials does not depend on it."""
_KEPT = 32
"""Trials whose parameters are kept: the best ones, of which the mixture is made."""
_ROUNDS = ((1 / 9, 0.2), (1 / 3, 0.45))
"""Rounds of the halving: the share of a long training, and the share of the time after which no
further trial of the round begins."""
_SHORTEST = 1 / 4
"""The share of a long training that is still worth beginning."""
_FEW = 4
"""How many long trainings are to fit into the time after a round of the halving; if they do not,
long trainings are shorter, down to the first round's."""
_ORDERS, _USED = 64, 16
"""Orders that are compared, and how many of them, the best ones, models then get."""
_FEW_COLUMNS = 5
"""Up to so many columns orders are not compared: models of any order are nearly the same."""
_OF_ORDERS = 0.1
"""The share of the time left that the comparison may take."""
_SAFETY = 1.15
"""How much longer than estimated a training may take."""


class Clock:
    """The time that a search has; None: any."""

    def __init__(self, seconds: float | None) -> None:
        self.start, self.seconds = time.monotonic(), math.inf if seconds is None else seconds

    def left(self, share: float = 1.0) -> float:
        """Return the seconds up to the end of a share of the time."""
        return self.start + share * self.seconds - time.monotonic()


class _Limit(Callback):
    """Stops training after so many epochs, or where another epoch would not end in time."""

    def __init__(self, n_epochs: int | None, clock: Clock) -> None:
        self.n_epochs, self.clock = n_epochs, clock

    def on_fit_begin(self, training: Any) -> None:
        """Remember when the epoch began."""
        self._began = time.monotonic()

    def on_epoch_end(self, training: Any) -> bool:
        """Return whether training is to stop."""
        before, self._began = self._began, time.monotonic()
        return training.progress.epoch == self.n_epochs or self.clock.left() < self._began - before


class Trial:
    """A candidate, and the trainings that its model has had, each from the parameters of the last.

    Attributes
    ----------
    trainings : list of [int, int]
        The epochs that the schedule of each was made for, and the epochs that it had.
    scores : array (m,) or None
        log p of the validation rows; None before the first training and after an error in it.
    """

    def __init__(self, candidate: Candidate, seed: int, model: Any, row_weight: Array) -> None:
        self.candidate, self.seed, self.model, self.row_weight = candidate, seed, model, row_weight
        self.trainings: list[list[int]] = []
        self.scores: Array | None = None
        self.score, self.seconds, self.seconds_an_epoch = -math.inf, 0.0, math.nan
        self._n_useful = 0.0

    def get_params(self) -> dict[str, Any]:
        """Return what `fit_each` gives threads and callbacks to."""
        return {"model": self.model}

    def prepare(self, n_epochs: int, limit: _Limit, begins: Callable[[], bool]) -> None:
        """Set up the next training; begins: tells whether there is time for it when its turn comes.

        Without improvement for a third of its epochs it ends.
        """
        self._begins = begins
        self.model.set_params(
            max_iter=n_epochs,
            n_iter_no_change=max(3, -(-n_epochs // 3)),
            warm_start=self.scores is not None,
            callbacks=[limit],
        )

    def fit(self, X: Any, **arguments: Any) -> None:
        """Train the model; where it becomes no better it stays as it was."""
        if not self._begins():
            return
        before, start = dict(vars(self.model)), time.monotonic()
        scores = self._trained_scores(X, arguments)
        seconds = time.monotonic() - start
        self.seconds += seconds
        if scores is None:
            self._give_back(before)
            return
        planned, n_done, n_best = (
            getattr(self.model, name) for name in ("max_iter", "n_iter_", "best_iter_")
        )
        self.trainings.append([planned, n_done])
        self.seconds_an_epoch = seconds / n_done
        score = mean_score(scores, self.row_weight)
        if self.scores is not None and score <= self.score:
            self._give_back(before)
        else:
            self.scores, self.score = scores, score
            # of a training whose rate falls to zero in them, and sums up to the same
            self._n_useful += n_best * (2 - n_best / planned)
        if n_best < 0.8 * planned:
            n_epochs = min(self.candidate.n_epochs, max(1, math.ceil(self._n_useful)))
            self.candidate = replace(self.candidate, n_epochs=n_epochs)

    def _trained_scores(self, X: Any, arguments: dict[str, Any]) -> Array | None:
        """Return the scores of the validation rows after training, None where there was none."""
        try:
            self.model.fit(X, **arguments)
        except (FloatingPointError, BeyondMemoryError):
            return None
        if not self.model.n_iter_:
            return None
        context = arguments.get("context_val")
        found: Array = self.model.score_samples(arguments["X_val"], context=context)
        return found

    def _give_back(self, attributes: dict[str, Any]) -> None:
        vars(self.model).clear()
        vars(self.model).update(attributes)


class Search:
    """A list of trials that grows.

    Parameters
    ----------
    make : callable
        Returns the unfitted model of a candidate and a seed.
    arguments : callable
        Returns X and the keyword arguments of `fit` for a model, X_val among them.
    row_weight : array (m,)
        Weights of the validation rows.
    n_members : int
        Most members of the mixture.
    max_trials, max_iter : int
        The most trials, and the most epochs of a training.
    n_trials_no_change : int
        After so many trials that raised the mixture's score by less than `tol` in all, it ends.
    tol : float
        In nats.
    clock : Clock
    rng : RandomState
    n_threads : int
    verbose : bool
    """

    def __init__(
        self,
        make: Callable[[Candidate, int], Any],
        arguments: Callable[[Any], tuple[Any, dict[str, Any]]],
        row_weight: Array,
        *,
        n_members: int,
        max_trials: int,
        max_iter: int,
        n_trials_no_change: int,
        tol: float,
        clock: Clock,
        rng: np.random.RandomState,
        n_threads: int,
        verbose: bool,
    ) -> None:
        self.make, self.arguments, self.row_weight = make, arguments, row_weight
        self.n_members = n_members
        self.max_trials, self.max_iter = max_trials, max_iter
        self.n_trials_no_change, self.tol = n_trials_no_change, tol
        self.clock, self.rng, self.n_threads = clock, rng, n_threads
        self.trials: list[Trial] = []
        self.is_interrupted, self._scale = False, 1.0
        self._narrow: Candidate | None = None
        self._orders: list[list[int]] = []
        self._progress: list[tuple[int, float]] = []
        self._line = tqdm(desc="AutoDensity", unit=" trainings", disable=not verbose)

    def run(self, candidates: Sequence[Candidate], narrow: Candidate) -> None:
        """Compare the candidates, then train variations of the best until the budget is spent.

        narrow: what orders are compared by. Ctrl-C ends it; KeyboardInterrupt is raised where
        nothing was trained by then.
        """
        if len(narrow.settings["order"]) > _FEW_COLUMNS:
            self._narrow = narrow
        with self._line:
            try:
                self._grow(self._halve(candidates))
            except KeyboardInterrupt:
                if not self.kept:
                    raise
                self.is_interrupted = True

    def replay(self, trials: Sequence[tuple[Candidate, int, list[list[int]]]]) -> None:
        """Train what another search trained."""
        with self._line:
            for start in range(0, len(trials), _BATCH):
                batch = [
                    (Trial(candidate, seed, self.make(candidate, seed), self.row_weight), trainings)
                    for candidate, seed, trainings in trials[start : start + _BATCH]
                ]
                self.trials += [trial for trial, _ in batch]
                for turn in range(max(len(trainings) for _, trainings in batch)):
                    due = [(trial, *each[turn]) for trial, each in batch if turn < len(each)]
                    again, n_epochs, stops = zip(*due, strict=True)
                    self._train(again, n_epochs, stops)

    @property
    def kept(self) -> list[Trial]:
        """The trials that have a model with parameters, the best first."""
        found = [trial for trial in self.trials if trial.scores is not None]
        return sorted(found, key=lambda trial: -trial.score)[:_KEPT]

    def weights(self) -> tuple[Array, list[float]]:
        """Return the weights of the mixture of `kept`, and the curve of their selection."""
        scores = [trial.scores for trial in self.kept if trial.scores is not None]
        return select(np.column_stack(scores), self.row_weight, self.n_members)

    # ---- the rounds

    def _halve(self, candidates: Sequence[Candidate]) -> list[Trial]:
        """Train the candidates in rounds of fewer trials and more epochs; return the best ones."""
        n_first = min(len(candidates), self.max_trials - self.max_trials // 2)
        trials = [self._made(candidate) for candidate in candidates[:n_first]]
        self.trials += trials
        for share, end in _ROUNDS:
            n_epochs = self._affordable(trials, share, end)
            self._train(trials[: len(n_epochs)], n_epochs, end=end)
            trials = [trial for trial in self.kept if trial in trials][: -(-len(trials) // 2)]
            if trials and self.clock.seconds < math.inf:
                capacity = self.clock.left() * self.n_threads
                seconds = _SAFETY * trials[0].seconds_an_epoch * trials[0].candidate.n_epochs
                self._scale = float(np.clip(capacity / (_FEW * seconds), _ROUNDS[0][0], 1))
        return trials

    def _grow(self, best: list[Trial]) -> None:
        """Train the best trial to the end, and variations of those that the mixture has."""
        going_on = best[:1]
        while best:
            weights, curve = self.weights()
            if self._has_converged(-curve[-1]):
                return
            n_new = min(_BATCH - len(going_on), self.max_trials - len(self.trials))
            batch = going_on + self._children(n_new, weights)
            n_epochs = self._affordable(batch, 1.0)
            if not n_epochs:
                if batch:  # it is the time that is over
                    self._finish()
                return
            batch, going_on = batch[: len(n_epochs)], []
            self.trials += [trial for trial in batch if trial not in self.trials]
            self._train(batch, n_epochs)

    def _has_converged(self, score: float) -> bool:
        """Return whether the last trials brought the mixture, of this score, next to nothing."""
        n_trials = len(self.trials)
        self._progress.append((n_trials, score))
        before = [each for n, each in self._progress if n <= n_trials - self.n_trials_no_change]
        has_converged = bool(before) and score - before[-1] < self.tol
        if has_converged:
            self._tell(f"no better for {self.n_trials_no_change} trials")
        return has_converged

    def _finish(self) -> None:
        """Train the best trial for what time is left."""
        best = self.kept[0]
        n_epochs = int(self.clock.left() / (_SAFETY * best.seconds_an_epoch))
        if n_epochs > 0:
            self._train([best], [min(n_epochs, self._n_epochs(best.candidate, 1.0))])

    def _children(self, number: int, weights: Array) -> list[Trial]:
        """Return variations of the trials kept, drawn by their weights in the mixture so far.

        Each has another seed, two times out of three another order of those that are good for a
        narrow model, and half the time another setting.
        """
        kept = self.kept
        parents = (kept[self.rng.choice(len(kept), p=weights)] for _ in range(number))
        return [self._child(parent) for parent in parents]

    def _child(self, parent: Trial) -> Trial:
        settings = dict(parent.candidate.settings)
        if not self.rng.randint(3):
            settings["order"] = parent.model.order_.tolist()
        else:
            settings["order"] = "random" if "order_agnostic" in settings else self._next_order()
        candidate = replace(parent.candidate, settings=settings)
        child = self._made(vary(candidate, self.rng) if self.rng.randint(2) else candidate)
        ratio = cost(child.candidate) / cost(parent.candidate)
        child.seconds_an_epoch = parent.seconds_an_epoch * ratio
        return child

    def _next_order(self) -> Any:
        """Return the best order that no trial has yet."""
        if not self._orders and self._narrow is not None:
            self._orders = self._good_orders(self._narrow)
        return self._orders.pop(0) if self._orders else "random"

    def _good_orders(self, narrow: Candidate) -> list[list[int]]:
        """Return random orders, those first with which a narrow model is best in a short time."""
        n_epochs = min(narrow.n_epochs, self.max_iter)
        least = _BATCH * n_epochs * self.kept[0].seconds_an_epoch / self.n_threads
        left = self.clock.left()
        n_orders = min(_ORDERS, 4 * self.max_trials) if least <= _OF_ORDERS * left else 0
        found: list[tuple[float, list[int]]] = []
        while len(found) < n_orders and self.clock.left() >= (1 - _OF_ORDERS) * left:
            batch = [self._made(self._shuffled(narrow)) for _ in range(_BATCH)]
            self._train(batch, [n_epochs] * _BATCH)
            found += [(trial.score, trial.candidate.settings["order"]) for trial in batch]
        return [order for _, order in sorted(found, reverse=True)[:_USED]]

    def _shuffled(self, candidate: Candidate) -> Candidate:
        order = self.rng.permutation(candidate.settings["order"]).tolist()
        return replace(candidate, settings={**candidate.settings, "order": order})

    def _made(self, candidate: Candidate) -> Trial:
        seed = int(self.rng.randint(2**31 - 1))
        return Trial(candidate, seed, self.make(candidate, seed), self.row_weight)

    def _affordable(self, trials: list[Trial], share: float, end: float = 1.0) -> list[int]:
        """Return the epochs of the first trials, of as many as there is time for.

        share: of a long training, shortened where there is not time enough; end: the share of the
        time by which they are to end. Where epochs were not timed yet, all have all.
        """
        n_epochs = [self._n_epochs(trial.candidate, share) for trial in trials]
        seconds = [
            _SAFETY * n * trial.seconds_an_epoch for n, trial in zip(n_epochs, trials, strict=True)
        ]
        if self.clock.seconds == math.inf or not np.isfinite(seconds).all():
            return n_epochs
        left = max(0.0, self.clock.left(end))
        for n in range(len(trials), 0, -1):
            part = min(1.0, left * min(n, self.n_threads) / sum(seconds[:n]))
            if part == 1 or (n <= self.n_threads and part >= _SHORTEST):
                return [max(1, int(part * each)) for each in n_epochs[:n]]
        return []

    def _n_epochs(self, candidate: Candidate, share: float) -> int:
        """Return the epochs of a share of a long training."""
        return min(max(1, round(share * self._scale * candidate.n_epochs)), self.max_iter)

    def _train(
        self,
        trials: Sequence[Trial],
        n_epochs: Sequence[int],
        stops: Sequence[int | None] | None = None,
        end: float = 1.0,
    ) -> None:
        """Train each trial for so many epochs, on all threads together.

        stops: the epochs after which training stops short, if it does. end: the share of the time
        after which no training begins, if there is a model.
        """
        if not trials:
            return
        self._tell(f"{len(trials)} of up to {max(n_epochs)} epochs")

        def is_due() -> bool:
            return self.clock.left(end) > 0 or not self.kept

        for place, trial in enumerate(trials):
            limit = _Limit(stops[place] if stops else None, self.clock)
            trial.prepare(n_epochs[place], limit, is_due)
        jobs = {place: (trial, *self.arguments(trial.model)) for place, trial in enumerate(trials)}
        stop = current_stop()
        try:
            fit_each(jobs, self.n_threads, stop)
        finally:
            for trial in trials:
                trial.model.set_params(callbacks=None)
        self._line.update(len(trials))
        self._tell("weights")
        if stop.error is not None:
            raise stop.error
        self._forget()

    def _forget(self) -> None:
        """Drop the parameters of all but the best trials, and the newest, which may go on."""
        kept = self.kept
        for trial in self.trials[:-_BATCH]:
            if trial.trainings and trial not in kept:
                trial.model = trial.scores = None

    def _tell(self, doing: str) -> None:
        """Show on the line of progress what comes next."""
        kept = self.kept
        best = f"best {kept[0].score:.4f} nats, " if kept else ""
        left = (
            f", {max(0.0, self.clock.left()):.0f} s left" if self.clock.seconds < math.inf else ""
        )
        self._line.set_postfix_str(best + doing + left)
