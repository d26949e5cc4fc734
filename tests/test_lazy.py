"""What is computed at first use is one thing for all threads, and lives while it is pointed to."""

import copy
import gc
import pickle
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from common import COMPOSITIONS, assert_same_bits, fitted

import fastar
from fastar._core.lazy import lazy
from fastar._kernels import _conditionals

N_THREADS = 8


def together(call):
    """Return what `call` gives to threads that begin at once."""
    barrier = threading.Barrier(N_THREADS)

    def begin(_):
        barrier.wait()
        return call()

    with ThreadPoolExecutor(N_THREADS) as pool:
        return list(pool.map(begin, range(N_THREADS)))


def test_all_threads_get_the_same_value():
    inside = threading.Barrier(N_THREADS, timeout=20)  # every thread computes before one is done

    class Owner:
        @lazy
        def value(self):
            """One object."""
            inside.wait()
            return object()

    owner = Owner()
    assert len({*together(lambda: owner.value), owner.value}) == 1
    assert Owner.value.__doc__ == "One object."


def test_no_lock_and_no_second_kind_of_lazy_attribute():
    root = Path(fastar.__file__).parent
    users = [path.name for path in root.rglob("*.py") if "@cached_property" in path.read_text()]
    assert users == []


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("method", ["draw", "mode"])
def test_a_capsule_keeps_what_it_points_to(method, dtype):
    class Watched(_conditionals.Kernel):
        pass

    features = np.zeros(3, _conditionals.FEATURE)
    kernel = Watched(features, 1, False)
    gone = weakref.ref(kernel)
    capsule = kernel.draw(dtype, 1.0) if method == "draw" else kernel.mode(dtype)
    del kernel
    gc.collect()
    assert gone() is not None
    del capsule
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("made", ["loaded", "unpickled", "copied"])
@pytest.mark.parametrize(("name", "conditional"), COMPOSITIONS)
def test_a_fresh_model_answers_eight_threads_at_once(name, conditional, made, tmp_path):
    model, X = fitted(name, conditional, n=80)
    model.save(tmp_path / "model")
    fresh = {
        "loaded": lambda: fastar.load(tmp_path / "model"),
        "unpickled": lambda: pickle.loads(pickle.dumps(model)),
        "copied": lambda: copy.deepcopy(model),
    }[made]
    drawn, scores = model.sample(20, random_state=0), model.score_samples(X)
    for _ in range(5):
        one = fresh()
        for each in together(lambda one=one: one.sample(20, random_state=0)):
            assert_same_bits(each, drawn)
        one = fresh()
        for each in together(lambda one=one: one.score_samples(X)):
            assert_same_bits(each, scores)
