"""The training loop."""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from fastar._core.parameters import Array, zeros_aligned
from fastar._core.schema import ArrayOf, Listed, Number, Record, Rule, Text, Whole, check_arrays
from fastar._data.table import BLOCK_ROWS, BatchOfRows, Examples
from fastar._engine.model import Composition, Model
from fastar._engine.scores import score_rows, total_log_prob
from fastar.optimizers import Optimizer, Stretches, clip_by_norm
from fastar.schedules import Schedule

_STEPS_TO_JUDGE = 20
_DIGESTED = 1 << 16
_ENCODED = 1 << 10
"""Rows of small batches that are encoded at once: each call costs as much as many rows."""
_CLEAR = 0.5
"""Standard errors by which an alternative must be better: few rows prefer any by chance."""
_LARGEST_POWER = 1 / 4
"""The power of the largest number up to which products of few parameters do not overflow."""


@dataclass
class Progress:
    """The numbers that describe how far training has come."""

    epoch: int = 0
    step: int = 0
    n_drops: int = 0
    epochs_since_rate_drop: int = 0
    epochs_since_best: int = 0
    best_loss: float = float("inf")
    best_iter: int = 0
    cooldown_step: int = 0
    cooldown_epochs: int = 0
    loss_curve: list[float] = field(default_factory=list)
    validation_curve: list[float] = field(default_factory=list)


_PROGRESS: dict[str, Rule] = {
    name: Listed(Number()) if name.endswith("curve") else Whole(0) for name in asdict(Progress())
}
_COOLDOWN = {name: _PROGRESS.pop(name) for name in ("cooldown_step", "cooldown_epochs")}
"""Checkpoints from before there were cooldowns lack these."""
_SNAPSHOT: dict[str, Rule] = {
    "entropy": Whole(0),
    "optimizer": Text(),
    "network": Text(),
    "progress": Record({**_PROGRESS, "best_loss": Number()}, _COOLDOWN),
}
_OTHER: dict[str, Rule] = {"other_result": Text(), "other_results": Listed(Text())}
"""Rules of the entries of fits that train alternatives; earlier files have one at most."""


def _digest_of(theta: Array) -> str:
    return hashlib.sha256(theta.data).hexdigest()


def _digest(table: Any, weight: Array, learnt: dict[str, Array] | None = None) -> str:
    """Return a digest of a table's rows or sequences, contexts and weights, and what they taught.

    Rows without weight are not in the table, but may have taught levels.
    """
    sha = hashlib.sha256()

    def add(part: Array) -> None:
        sha.update(f"{part.dtype.str}{part.shape}".encode())
        for start in range(0, len(part), _DIGESTED):  # the weights of rows on disk are one number
            sha.update(np.ascontiguousarray(part[start : start + _DIGESTED]).data)

    for part in [weight, *(learnt or {}).values()]:
        add(part)
    for where, block in table.blocks():
        context = table.context(where)
        parts = [block] if isinstance(block, np.ndarray) else list(vars(block).values())
        for part in parts if context is None else [*parts, context]:
            add(part)
    return sha.hexdigest()


class _Result(NamedTuple):
    """A trained model.

    Parameters
    ----------
    model : Composition
    progress : Progress
    scores : array (m,)
        Log-densities of the held-out rows.
    """

    model: Composition
    progress: Progress
    scores: Array


class Training:
    """One run of minibatch training; callbacks are handed this object.

    Parameters
    ----------
    model : Composition
        Its `theta` is trained in place.
    optimizer : Optimizer
    schedule : Schedule
    table, weight : Examples and array (n,)
        Training rows and their weights.
    held_out : (Examples, array (m,)) or None
        Rows for early stopping, and their weights.
    entropy : int
        Seed of the order of the rows and of the draws of networks; epoch k has a stream of its own.
    learning_rate, alpha, l1_ratio, max_gradient_norm, batch_size, max_iter, tol, n_iter_no_change
        As the estimators have them.
    n_threads : int
    is_warm : bool
        Whether `model` has the parameters of a fit, from which this one goes on.
    alternatives : sequence of compositions
        To train, too, from the parameters they have: held-out rows, if there are any, say which
        result stays, and `model` is then that one.
    """

    def __init__(
        self,
        model: Composition,
        optimizer: Optimizer,
        schedule: Schedule,
        table: Examples,
        weight: Array,
        held_out: tuple[Examples, Array] | None,
        *,
        entropy: int,
        learning_rate: float,
        alpha: float,
        l1_ratio: float,
        max_gradient_norm: float | None,
        batch_size: int,
        max_iter: int,
        tol: float,
        n_iter_no_change: int,
        n_threads: int,
        is_warm: bool = False,
        alternatives: Sequence[Composition] = (),
    ) -> None:
        self.optimizer = optimizer
        self.schedule = schedule
        self.table = table
        self.held_out = held_out
        self._has_judged = False
        self.entropy = entropy
        self.learning_rate = learning_rate
        self.alpha, self.l1_ratio = alpha, l1_ratio
        self.max_gradient_norm = max_gradient_norm
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.n_threads = n_threads
        self.start = _digest_of(model.theta) if is_warm else None
        self.alternatives = alternatives
        self._other_results: list[str] = []
        self.rate = learning_rate
        # The loss of a batch is the sum over its rows of weight / mean weight, divided by the size
        # of a batch: a row of weight 2 then counts like two rows, whichever batch it falls into.
        mean = float(weight.mean())
        self._share = weight if mean == 1 else weight / mean
        self._rng = np.random.default_rng(0)
        self._begin(model)

    def _begin(self, model: Composition) -> None:
        """Train this model from now on, from the parameters it has."""
        self.model = model
        self.progress = Progress()
        self.best_theta = model.theta.copy()
        self._gradient = zeros_aligned(model.theta.size, model.dtype)
        self._layout = model.layout
        self._params = model.params
        self._weights: Any = None
        self._grads = self._layout.views(self._gradient)
        self._stretches = Stretches(model.theta.size, self._layout.n_decayed, model.network.active)
        self.optimizer_state = self.optimizer.state(self._stretches.size, model.dtype)

    @property
    def n_batches(self) -> int:
        """Steps of one epoch."""
        return -(-len(self.table) // self.batch_size)

    def snapshot(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """Return the whole state as a JSON header and named arrays."""
        arrays = {"theta": self.model.theta, "best_theta": self.best_theta}
        arrays |= {f"optimizer.{slot}": vector for slot, vector in self.optimizer_state.items()}
        header = {
            "entropy": self.entropy,
            "optimizer": self.optimizer.name,
            "network": repr(self.model.network),
            "progress": asdict(self.progress),
        }
        if self._other_results:
            header["other_results"] = self._other_results
        return header, arrays

    def identity(self) -> dict[str, Any]:
        """Return, by what the user gave, all that decides how training goes on from a state.

        The data are a digest: two fits with equal identities end with the same bits.
        """
        schedule = repr(self.schedule)
        if self.schedule.complete_at_max_iter:
            schedule += f" of max_iter={self.max_iter}"
        return {
            "random_state": self.entropy,
            "parameters to start from (warm_start)": self.start,
            "solver": repr(self.optimizer),
            "parameters of the network": repr(self.model.network),
            "distribution": repr(self.model.conditional),
            "learning_rate_init": self.learning_rate,
            "learning_rate": schedule,
            "alpha": self.alpha,
            "l1_ratio": self.l1_ratio or None,  # as in earlier files, which do not tell of it
            "max_gradient_norm": self.max_gradient_norm,
            "batch_size": self.batch_size,
            "tol": self.tol,
            "n_iter_no_change": self.n_iter_no_change,
            "data": self._digest(self.table, self._share, self.model.conditional.arrays()),
            "early_stopping, validation_fraction or X_val": (
                None if self.held_out is None else self._digest(*self.held_out)
            ),
        }

    def _digest(self, table: Any, weight: Array, learnt: dict[str, Array] | None = None) -> str:
        return _digest(table, weight, learnt)

    def check_snapshot(self, header: dict[str, Any], arrays: dict[str, Array]) -> None:
        """Raise EntryError unless a file's state is one that `snapshot` returns."""
        Record(_SNAPSHOT, _OTHER).check(header, "")
        theta = ArrayOf("f", self.model.theta.shape)
        slot = ArrayOf("f", (self._stretches.size,))
        slots = {f"optimizer.{name}": slot for name in self.optimizer_state}
        check_arrays(arrays, {"theta": theta, "best_theta": theta, **slots})

    def goes_on_from(self, header: dict[str, Any], arrays: dict[str, Array]) -> bool:
        """Return whether this is a warm start from what the fit of a file's state ended with."""
        ends = [_digest_of(arrays[name]) for name in ("theta", "best_theta") if name in arrays]
        others = [header.get("other_result"), *header.get("other_results", [])]
        return self.start is not None and self.start in ends + others

    def restore(self, header: dict[str, Any], arrays: dict[str, Array]) -> None:
        """Take up the state that `snapshot` returned."""
        self.entropy = header["entropy"]
        self.progress = Progress(**header["progress"])
        self.model.theta[:] = arrays["theta"]
        self.best_theta[:] = arrays["best_theta"]
        for slot, vector in self.optimizer_state.items():
            vector[:] = arrays[f"optimizer.{slot}"]

    def run(self, callbacks: Iterable[Any] = ()) -> None:
        """Train until something stops it; `theta` ends as the best seen.

        It is stopped by a limit, a plateau, a callback, Ctrl-C or a NaN. Alternatives are trained
        first, and callbacks see them by hooks of their own. The result of one stays where held-out
        rows clearly prefer it to the model and to the alternatives before it.
        """
        callbacks, model, results, goes_on = list(callbacks), self.model, [], True
        watch = _OfAlternatives(callbacks)
        for alternative in () if self.held_out is None else self.alternatives:
            self._begin(alternative)
            with suppress(FloatingPointError):
                goes_on = self._run([watch])
            results.append(self._result())
            self._other_results.append(_digest_of(alternative.theta))
            if watch.is_over or not goes_on:
                break
        if results and goes_on:
            self._begin(model)
        if goes_on:
            self._run(callbacks)
        if results:
            best = self._result()
            for result in results:
                if self._exceeds(result.scores, best.scores):
                    best = result
            self.model, self.progress = best.model, best.progress

    def _result(self) -> _Result:
        """Return what training has come to, and what held-out rows say of it."""
        assert self.held_out is not None
        scores = score_rows(self.model, self.held_out[0], self.n_threads)
        return _Result(self.model, self.progress, scores)

    def _exceeds(self, scores: Array, others: Array) -> bool:
        """Return whether scores of the held-out rows are clearly higher, by standard errors."""
        assert self.held_out is not None
        share = self.held_out[1] / self.held_out[1].sum()
        with np.errstate(invalid="ignore"):  # of two that are infinite
            difference = scores - others
            mean = (share * difference).sum()
            error = np.sqrt((share**2 * (difference - mean) ** 2).sum())
        return bool(mean > _CLEAR * error)

    def _run(self, callbacks: list[Any]) -> bool:
        """Train from where the parameters are; return whether Ctrl-C did not end it."""
        _call(callbacks, "on_fit_begin", self)
        try:
            while self.progress.epoch < self.max_iter and not self._has_converged():
                self.epoch()
                self._update_best()
                if any(_call(callbacks, "on_epoch_end", self)):
                    break
            else:
                if self.held_out is None:
                    self._check_last_step()
                if not self._has_converged() and not self.schedule.complete_at_max_iter:
                    self._warn(f"Training stopped at max_iter={self.max_iter} before it converged.")
        except FloatingPointError:
            self.model.theta[:] = self.best_theta
            raise
        except KeyboardInterrupt:
            self._warn(
                f"Training was interrupted in epoch {self.progress.epoch + 1}; "
                "the best model so far is kept."
            )
            return False
        finally:
            if self.held_out is not None:
                self.model.theta[:] = self.best_theta
            _call(callbacks, "on_fit_end", self)
        return True

    def epoch(self) -> None:
        """Visit every row once."""
        progress = self.progress
        rng, total = None, 0.0  # a single batch has no order
        if self.n_batches > 1 or self.model.network.is_stochastic:
            rng = self._rng = np.random.default_rng([self.entropy, progress.epoch])
        with closing(self.table.batches(rng, self.batch_size)) as batches:
            for batch in self.encoded(batches):
                total += self._step(batch)
        self._end_epoch(total)

    def encoded(self, batches: Iterable[BatchOfRows]) -> Iterator[BatchOfRows]:
        """Yield the batches with codes in place of values.

        Small batches of rows are read ahead, but not where the network draws numbers of its own:
        tables on disk draw theirs from the same generator, in turns.
        """
        model, n_together = self.model, _ENCODED // self.batch_size
        if not isinstance(model, Model) or model.network.is_stochastic or n_together < 2:
            for rows, block, context in batches:
                yield rows, model.codes(block), context
            return
        batches = iter(batches)
        while some := list(islice(batches, n_together)):
            codes, start = model.codes(np.concatenate([block for _, block, _ in some])), 0
            for rows, block, context in some:
                yield rows, codes[start : start + len(block)], context
                start += len(block)

    def _end_epoch(self, total: float) -> None:
        """Count an epoch; total: the sum of log p(x) over its rows, each before its own step."""
        self._check_parameters()
        self.progress.epoch += 1
        self.progress.loss_curve.append(-total / len(self.table))

    def one_pass(self) -> None:
        """Visit every row once, outside of any run."""
        self.best_theta[:] = self.model.theta
        try:
            self.epoch()
            self._check_last_step()
        except FloatingPointError:
            self.model.theta[:] = self.best_theta
            raise

    def gradient(self, batch: BatchOfRows) -> float:
        """Fill the gradient of the loss of a batch; return minus the loss times its rows.

        batch: as `encoded` yields it.
        """
        model, (rows, codes, context) = self.model, batch
        return model.gradient(
            self._member_weights(), codes, self._share[rows], self._grads, self.n_threads, context,
            self._rng,
        )  # fmt: skip

    def _member_weights(self) -> Any:
        """Return the weights of the member that this step trains."""
        if self._weights is not None:
            return self._weights
        network = self.model.network
        member = network.training_member(self.progress.step)
        weights = network.materialise_weights(self._params, self.n_threads, member)
        if network.weights_are_views:
            self._weights = weights
        return weights

    def _step(self, batch: BatchOfRows) -> float:
        progress = self.progress
        total = self.gradient(batch)
        self._check_finite(total, progress.epoch + 1)
        if self.max_gradient_norm is not None:
            clip_by_norm(self._gradient, self._stretches, self.max_gradient_norm, self.n_threads)
        epochs = progress.cooldown_epochs or self.max_iter
        self.rate = self.learning_rate * self.schedule.factor(
            progress.step - progress.cooldown_step, epochs * self.n_batches, progress.n_drops
        )
        progress.step += 1
        self.optimizer.step(
            self.model.theta,
            self._gradient,
            self.optimizer_state,
            rate=self.rate,
            decay=self.alpha * (1 - self.l1_ratio),
            penalty=self.alpha * self.l1_ratio,
            stretches=self._stretches,
            t=progress.step,
            n_threads=self.n_threads,
        )
        return total

    def _check_finite(self, total: float, epoch: int) -> None:
        if not math.isfinite(total):
            raise self._divergence(f"The log-likelihood became {total}", epoch)

    def _check_parameters(self) -> None:
        """Check what the steps of an epoch have left, before it may count as the best so far."""
        theta = self.model.theta
        largest = max(float(theta.max()), -float(theta.min()))
        if not largest <= float(np.finfo(theta.dtype).max) ** _LARGEST_POWER:
            raise self._divergence(f"A parameter became {largest:.3g}", self.progress.epoch + 1)

    def _divergence(self, what: str, epoch: int) -> FloatingPointError:
        return FloatingPointError(
            f"{what} in epoch {epoch} with learning rate {self.rate:.3g}. A model that was fitted "
            "before stays as it was, another one has the last good parameters. A smaller "
            "'learning_rate_init' may help."
        )

    def _check_last_step(self) -> None:
        """Check the parameters of the last step, which no later step checks."""
        table = self.table.subset(np.arange(min(len(self.table), BLOCK_ROWS)))
        total = total_log_prob(self.model, table, np.ones(len(table)), self.n_threads)
        self._check_finite(total, self.progress.epoch)

    def _update_best(self) -> None:
        """Compare the model with the best so far."""
        progress = self.progress
        if self.held_out is None:
            loss = progress.loss_curve[-1]
        else:
            loss = -self._held_out_log_prob() / float(self.held_out[1].sum())
            progress.validation_curve.append(loss)
        improved = loss < progress.best_loss - self.tol
        if loss < progress.best_loss:
            progress.best_loss, progress.best_iter = loss, progress.epoch
            self.best_theta[:] = self.model.theta
        progress.epochs_since_best = 0 if improved else progress.epochs_since_best + 1
        progress.epochs_since_rate_drop = 0 if improved else progress.epochs_since_rate_drop + 1
        if (
            self.schedule.patience is not None
            and progress.epochs_since_rate_drop >= self.schedule.patience
        ):
            progress.epochs_since_rate_drop = 0
            self._drop_rate()
        if not progress.cooldown_epochs:
            n_left = self.max_iter - progress.epoch
            n_epochs = min(self.schedule.cooldown_epochs(progress.best_iter), n_left)
            if n_epochs and (n_epochs == n_left or self._is_on_plateau()):
                progress.cooldown_epochs, progress.cooldown_step = n_epochs, progress.step
                self._drop_rate()

    def _drop_rate(self) -> None:
        """Count a drop of the rate, before which training goes back to the best parameters."""
        self.progress.n_drops += 1
        if self.held_out is not None:
            self.model.theta[:] = self.best_theta

    def _held_out_log_prob(self) -> float:
        """Return the sum of weight * log p(x) over the rows for early stopping."""
        assert self.held_out is not None
        table, weight = self.held_out
        total = total_log_prob(self.model, table, weight, self.n_threads)
        is_first, self._has_judged = not self._has_judged, True
        if total > -math.inf or not is_first or self.model.network.any_evidence:
            return total
        # levels that have no probability whatever the parameters would end training at once
        scores = score_rows(self.model, table, self.n_threads)
        possible = np.flatnonzero(scores > -math.inf)
        if not weight[possible].any():
            return total
        self.held_out = table.subset(possible), weight[possible]
        return float(weight[possible] @ scores[possible])

    def _is_on_plateau(self) -> bool:
        # An epoch of a few steps is too short to judge by; _STEPS_TO_JUDGE count as one.
        epochs = self.progress.epochs_since_best * min(1.0, self.n_batches / _STEPS_TO_JUDGE)
        return epochs >= self.n_iter_no_change

    def _has_converged(self) -> bool:
        progress = self.progress
        if progress.cooldown_epochs:
            n_steps = progress.cooldown_epochs * self.n_batches
            return progress.step - progress.cooldown_step >= n_steps
        return self._is_on_plateau()

    def _warn(self, message: str) -> None:
        warnings.warn(message, ConvergenceWarning, stacklevel=4)


class _OfAlternatives:
    """The hooks of callbacks for the training of alternatives."""

    def __init__(self, callbacks: list[Any]) -> None:
        self.callbacks = callbacks
        self.is_over = False

    def on_fit_begin(self, training: Training) -> None:
        """Tell them that one begins."""
        _call(self.callbacks, "on_alternative_begin", training)

    def on_epoch_end(self, training: Training) -> bool:
        """Return whether any of them ends the alternatives."""
        self.is_over = any(_call(self.callbacks, "on_alternative_epoch_end", training))
        return self.is_over


def _call(callbacks: list[Any], hook: str, training: Training) -> list[Any]:
    return [getattr(callback, hook)(training) for callback in callbacks if hasattr(callback, hook)]
