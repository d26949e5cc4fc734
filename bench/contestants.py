"""Fastar and its peers behind one interface, each in a process of its own, for `compare.py`."""

import multiprocessing
import os
import time
import traceback
from importlib import import_module
from typing import Any

import numpy as np

__all__ = ["OPERATIONS", "PEERS", "Case", "Contestant", "fit_reference"]

#: What is timed, and how the tables call it.
OPERATIONS = {
    "score": "scoring",
    "gradient": "gradient",
    "train": "training step",
    "sample": "sampling",
}

#: Module and class of each peer, and whether it is what one writes with automatic
#: differentiation ("plain") or what an expert makes of that framework ("expert").
PEERS = {
    "torch eager loop": ("torch_nade", "TorchLoop", "plain"),
    "jax jit scan": ("jax_nade", "JaxScan", "plain"),
    "torch eager loop, manual backward": ("torch_nade", "TorchManualLoop", "expert"),
    "torch eager segments": ("torch_nade", "TorchSegments", "expert"),
    "jax sharded scan, manual backward": ("jax_nade", "JaxShardedScan", "expert"),
}

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


class Case:
    """
    One data set and the parameters at which all contestants compute.

    Parameters
    ----------
    name : str
        How the tables call it.
    rows : numpy.ndarray
        The rows (n, D), uint8, that are scored and differentiated.
    params : dict of numpy.ndarray
        ``W``, ``c``, ``V`` and ``b`` as `NADE.params_` has them.
    uniforms : numpy.ndarray
        Numbers (m, D), float32, from which the peers draw m samples.
    """

    def __init__(
        self, name: str, rows: np.ndarray, params: dict[str, np.ndarray], uniforms: np.ndarray
    ) -> None:
        self.name = name
        self.rows = rows
        self.params = params
        self.uniforms = uniforms


def fit_reference(rows: np.ndarray, n_hidden: int, threads: int | None) -> Any:
    """Train for one pass, so that parameters and samples look like those of a real model."""
    from fastar import NADE

    model = NADE(n_hidden=n_hidden, activation="sigmoid", random_state=0, n_jobs=threads)
    return model.partial_fit(rows)


class Fastar:
    """Our side, as users and the training loop meet it, and the kernels alone beneath it."""

    def __init__(self, case: Case, threads: int) -> None:
        # The parameters alone matter; one pass over these rows builds everything around them.
        self.model = fit_reference(case.rows, case.params["c"].size, threads)
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
        self.codes = self.inner.codes(self.rows)
        self.kernel = self.inner.conditional.kernel
        self.noise = case.uniforms[:, :, None]
        self.drawn = np.zeros(case.uniforms.shape, self.inner.dtype)

    def _training(self) -> Any:
        """Build the training that `fit` would build, with all rows in one batch."""
        self.model.set_params(batch_size=len(self.rows))
        return self.model._prepare(self.rows, None, None, True, True)

    def log_likelihood(self) -> np.ndarray:
        return self.model.score_samples(self.rows)

    def gradient(self) -> dict[str, np.ndarray]:
        self.training.gradient(self.batch)
        return self.training._grads

    def train_step(self) -> None:
        self.trained.epoch()

    def sample(self) -> np.ndarray:
        self.seed += 1
        return self.model.sample(self.n_samples, random_state=self.seed)

    def kernel_score(self) -> np.ndarray:
        raw, _ = self.inner.network.forward(self.inner.params, self.codes, self.threads)
        return self.kernel.log_prob(raw, self.codes, self.threads)[1]

    def kernel_sample(self) -> np.ndarray:
        capsule = self.kernel.draw(self.inner.dtype, 1.0)
        self.inner.network.sample(
            self.inner.params, capsule, self.noise, None, self.drawn, self.threads
        )
        return self.drawn

    def score_of(self, rows: np.ndarray) -> np.ndarray:
        return self.model.score_samples(rows)

    def actions(self) -> dict[str, Any]:
        return {
            "score": self.log_likelihood,
            "gradient": self.gradient,
            "train": self.train_step,
            "sample": self.sample,
            "score, kernels": self.kernel_score,
            "sample, kernels": self.kernel_sample,
        }


class Peer:
    """One peer; conversions of its inputs are kept out of what is timed."""

    def __init__(self, name: str, case: Case, threads: int) -> None:
        module, cls, _ = PEERS[name]
        # The package is found beside the script that was started.
        make = getattr(import_module(f"peers.{module}"), cls)
        self.case = case
        self.peer = make(case.params, "sigmoid", threads)
        self.trained = make(case.params, "sigmoid", threads)
        self.rows = self.peer.prepare(case.rows)
        self.trained_rows = self.trained.prepare(case.rows)
        self.uniforms = self.peer.prepare(case.uniforms)

    def log_likelihood(self) -> np.ndarray:
        return self.peer.log_likelihood(self.case.rows)

    def gradient(self) -> dict[str, np.ndarray]:
        return self.peer.gradient(self.case.rows)

    def sample(self) -> np.ndarray:
        return self.peer.sample(self.case.uniforms)

    def actions(self) -> dict[str, Any]:
        return {
            "score": lambda: self.peer.log_likelihood(self.rows),
            "gradient": lambda: self.peer.gradient(self.rows),
            "train": lambda: self.trained.train_step(self.trained_rows),
            "sample": lambda: self.peer.sample(self.uniforms),
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
                result = _measure(held.actions()[action], seconds, most)
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
        "fastar" or a key of `PEERS`.
    threads : int
        Threads, and cores, that it may use.
    """

    def __init__(self, name: str, threads: int) -> None:
        self.name = name
        self.kind = "" if name == "fastar" else PEERS[name][2]
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
