"""Fastar and its peers behind one interface, each in a process of its own, for `compare.py`."""

import multiprocessing
import os
import time
import traceback
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
from families import Case, family, fit_reference

__all__ = ["Contestant"]

#: Where some passes of a peer's sampling tell the time of all: so many seconds of them are timed,
#: and so many times what a call takes before the first, so that this may be multiplied as well.
SECONDS_OF_PASSES = 0.25
TIMES_THE_REST = 50
FEW_PASSES = 4

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


class Fastar:
    """Our side, as users and the training loop meet it, and the kernels alone beneath it."""

    def __init__(self, case: Case, threads: int) -> None:
        # The parameters alone matter; one pass over these rows builds everything around them.
        self.model = fit_reference(family(case.family).estimator(case.settings, threads), case.rows)
        for key, value in self.model.params_.items():
            value[...] = case.params[key]
        self.threads = threads
        self.rows = case.rows
        self.n_samples = len(case.uniforms)
        self.training = self._training()
        self.trained = self._training()
        self.batch = np.arange(len(self.rows))
        self.seed = 0
        # For the kernels alone: the inputs that the layers above would hand them.
        self.inner = self.training.model
        self.codes = self.inner.codes(self.training.table.take(self.batch))
        self.weights = self.inner.network.materialise_weights(self.inner.params, threads)
        self.noise = case.uniforms.reshape(*case.uniforms.shape[:2], -1)
        self.drawn = np.zeros(case.uniforms.shape[:2], self.inner.dtype)

    def _training(self) -> Any:
        """Build the training that `fit` would build, with all rows in one batch."""
        from fastar.models._base import FitData

        self.model.set_params(batch_size=len(self.rows))
        return self.model._prepare(FitData(self.rows, None, None), True, True)

    def log_likelihood(self) -> np.ndarray:
        return self.model.score_samples(self.rows)

    def gradient(self) -> dict[str, np.ndarray]:
        self._gradient()
        return self.inner.network.params_in_paper_layout(self.training._grads)

    def _gradient(self) -> None:
        rows = self.training.table.take(self.batch)
        self.training.gradient((self.batch, rows, None))

    def sample(self) -> np.ndarray:
        self.seed += 1
        return self.model.sample(self.n_samples, random_state=self.seed)

    def kernel_score(self) -> np.ndarray:
        return self.inner.log_prob(self.weights, self.codes, self.threads)[1]

    def kernel_sample(self) -> np.ndarray:
        capsule = self.model.distribution_.kernel.draw(self.inner.dtype, 1.0)
        self.inner.network.sample(self.weights, capsule, self.noise, None, self.drawn, self.threads)
        return self.drawn

    def whole(self, action: str, seconds: float) -> float:
        return seconds

    def score_of(self, rows: np.ndarray) -> np.ndarray:
        return self.model.score_samples(rows)

    def actions(self) -> dict[str, Any]:
        return {
            "score": self.log_likelihood,
            "gradient": self._gradient,
            "train": self.trained.epoch,
            "sample": self.sample,
            "score, kernels": self.kernel_score,
            "sample, kernels": self.kernel_sample,
        }


class Peer:
    """One peer; conversions of its inputs are kept out of what is timed."""

    def __init__(self, name: str, case: Case, threads: int) -> None:
        its = family(case.family)
        entry = its.PEERS[name]
        # The package is found beside the script that was started.
        make = getattr(import_module(f"peers.{entry.module}"), entry.cls)
        self.case = case
        self.peer = its.build(make, case, threads)
        self.trained = its.build(make, case, threads)
        self.rows = self.peer.prepare(case.rows)
        self.trained_rows = self.trained.prepare(case.rows)
        self.uniforms = self.peer.prepare_noise(case.uniforms)
        self.n_passes: int | None = None

    def log_likelihood(self) -> np.ndarray:
        return self.peer.log_likelihood(self.case.rows)

    def gradient(self) -> dict[str, np.ndarray]:
        return self.peer.gradient(self.case.rows)

    def sample(self) -> np.ndarray:
        return self.peer.sample(self.case.uniforms[: self.case.n_checked])

    def choose_passes(self) -> int:
        """Decide on how many of the passes of sampling are timed, and say so."""
        rest, few = (
            min(_measure(partial(self.peer.sample, self.uniforms, n), 0.05, 20))
            for n in (0, FEW_PASSES)
        )
        # Disturbed measurements must not make a pass look as if it took no time.
        one = max(few - rest, few / 10) / FEW_PASSES
        wanted = max(SECONDS_OF_PASSES, TIMES_THE_REST * rest) / one
        self.n_passes = min(self.case.uniforms.shape[1], max(FEW_PASSES, round(wanted)))
        return self.n_passes

    def whole(self, action: str, seconds: float) -> float:
        """Return what an action takes as a whole, from what was measured."""
        if action != "sample" or self.n_passes is None:
            return seconds
        return seconds * self.case.uniforms.shape[1] / self.n_passes

    def actions(self) -> dict[str, Any]:
        passes = () if self.n_passes is None else (self.n_passes,)
        return {
            "score": lambda: self.peer.log_likelihood(self.rows),
            "gradient": lambda: self.peer.gradient(self.rows),
            "train": lambda: self.trained.train_step(self.trained_rows),
            "sample": lambda: self.peer.sample(self.uniforms, *passes),
        }


def _measure(action: Any, seconds: float, most: int) -> list[float]:
    """Time calls for about so many seconds, at least two, after one that is not timed."""
    action()
    times: list[float] = []
    while len(times) < 2 or (sum(times) < seconds and len(times) < most):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return times


def _serve(pipe: Any, name: str, threads: int) -> None:
    """Do what the parent asks, until it closes the pipe."""
    if hasattr(os, "sched_setaffinity"):
        # JAX's pool takes all cores it sees: show every contestant the same number.
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    held: Any = None
    while True:
        try:
            command, *arguments = pipe.recv()
        except (EOFError, KeyboardInterrupt):
            return
        try:
            if command == "load":
                held = None
                case = arguments[0]
                held = Fastar(case, threads) if name == "fastar" else Peer(name, case, threads)
                result: Any = True
            elif command == "measure":
                action, seconds, most = arguments
                times = _measure(held.actions()[action], seconds, most)
                result = [held.whole(action, each) for each in times]
            else:
                result = getattr(held, command)(*arguments)
        except Exception as error:
            traceback.clear_frames(error.__traceback__)
            pipe.send((f"{type(error).__name__}: {error}", None))
        else:
            pipe.send((None, result))


class Contestant:
    """
    A process that computes when it is asked to, and otherwise sleeps on a pipe.

    Parameters
    ----------
    name : str
        "fastar" or a peer of the family whose cases it is given.
    threads : int
        Threads, and cores, that it may use.
    """

    def __init__(self, name: str, threads: int) -> None:
        self.name = name
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        before = {key: os.environ.get(key) for key in THREAD_VARIABLES}
        os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
        try:
            self._process = context.Process(target=_serve, args=(theirs, name, threads))
            self._process.start()
        finally:
            for key, value in before.items():
                os.environ.pop(key) if value is None else os.environ.update({key: value})
        theirs.close()

    def ask(self, command: str, *arguments: Any) -> Any:
        """Return what the process answers; raise RuntimeError with what went wrong there."""
        try:
            self._pipe.send((command, *arguments))
            error, result = self._pipe.recv()
        except (EOFError, OSError) as problem:
            raise RuntimeError(f"the process of {self.name} ended") from problem
        if error is not None:
            raise RuntimeError(error)
        return result

    def close(self) -> None:
        """End the process."""
        self._pipe.close()
        self._process.join(10)
        if self._process.is_alive():
            self._process.terminate()
