"""Random generators and the random states of estimators."""

from __future__ import annotations

import threading
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils import check_random_state


class _ReusableRandomState(threading.local):
    """A RandomState to be seeded: making one takes twenty times as long."""

    def __init__(self) -> None:
        self.state = np.random.RandomState()


_REUSABLE = _ReusableRandomState()


def check_state(random_state: Any) -> np.random.RandomState:
    """Return the RandomState that a random_state stands for."""
    try:
        state: np.random.RandomState = check_random_state(random_state)
    except ValueError as error:
        raise ValueError(
            "random_state must be None, an int from 0 to 2**32 - 1 or a RandomState instance. "
            f"Got {random_state!r} instead."
        ) from error
    return state


def generator(random_state: Any) -> np.random.Generator:
    """Return a generator with a stream that the random state decides."""
    if isinstance(random_state, Integral) and 0 <= int(random_state) < 2**32:
        _REUSABLE.state.seed(int(random_state))
        random_state = _REUSABLE.state
    seed = check_state(random_state).randint(2**31, size=4)
    return np.random.Generator(np.random.SFC64(seed))


def set_random_states(estimator: Any, rng: np.random.RandomState, *, replace: bool = False) -> None:
    """Set those random_states in an estimator that are None, or `replace` them all."""
    parameters = estimator.get_params()
    seeds = {
        name: int(rng.randint(np.iinfo(np.int32).max))
        for name in sorted(parameters)
        if name.rpartition("__")[2] == "random_state" and (replace or parameters[name] is None)
    }
    if seeds:
        estimator.set_params(**seeds)
