"""The same bits for any number of threads; forks; limits; memory."""

import functools
import os
import signal
import sys
import time
import warnings

import numpy as np
import pytest
from common import (
    COMPOSITIONS,
    DATA,
    MODELS,
    N_CORES,
    assert_same,
    assert_same_bits,
    distribution,
    fit,
    make,
    run_python,
)

from fastar._core import threads
from fastar._core.threads import MAX_THREADS, effective_n_threads, useful_n_threads

every_model = pytest.mark.parametrize("name", MODELS)
every_composition = pytest.mark.parametrize(("name", "conditional"), COMPOSITIONS)
# By model: more hidden units than one thread's share.
WIDE = {
    "NADE": {"n_hidden": 261},
    "RNADE": {"n_hidden": 261},
    "MADE": {"hidden_layer_sizes": (261, 70)},
    "FVSBN": {},
}


def life(name, conditional, n_jobs):
    """Return all that a model computes in its life."""
    X = DATA[conditional](300, 7)
    settings = {"n_jobs": n_jobs, "max_iter": 3, "order": "random"}
    settings |= {"distribution": distribution(conditional, 7)}
    model = fit(make(name, **settings, **WIDE[name]), X)
    held = np.where(np.arange(7) % 3 == 0, X[0].astype(float), np.nan)
    theta = model.theta_.copy()
    return {
        "theta": theta,
        "rows": model.score_samples(X),
        "features": model.score_features(X),
        "conditionals": model.conditionals(X),
        "sample": model.sample(300, random_state=1),
        "evidence": model.sample(50, evidence=held, random_state=1),
        "imputed": model.impute(np.repeat(held[None], 30, axis=0), random_state=1),
        "partial": model.partial_fit(X).theta_,
    }


@functools.cache
def of_one_thread(name, conditional):
    return life(name, conditional, 1)


@pytest.mark.kernels
@pytest.mark.parametrize("n_jobs", [2, 3, 8, None, -1])
@every_composition
def test_everything_has_the_same_bits_for_any_number_of_jobs(
    name, conditional, n_jobs, threads_for_small_work
):
    assert_same(of_one_thread(name, conditional), life(name, conditional, n_jobs))


@pytest.mark.parametrize("activation", ["sigmoid", "relu"])
@pytest.mark.parametrize("name", MODELS)
def test_gaps_in_different_places_have_the_same_bits(name, activation, threads_for_small_work):
    X = DATA["bernoulli"](300, 40)
    own = {} if name == "FVSBN" else {"activation": activation}
    model = fit(make(name, **(WIDE[name] | own)), X)
    for n in (2, 3, 5, 9):
        rows = X[:n].astype(float)
        rows[np.arange(n), 3 + 7 * np.arange(n) % 31] = np.nan
        found = [
            model.set_params(n_jobs=n_jobs).log_marginal(rows, n_particles=3, random_state=0)
            for n_jobs in (1, 2, 3)
        ]
        np.testing.assert_array_equal(found[0], found[1])
        np.testing.assert_array_equal(found[0], found[2])


@pytest.mark.kernels
@every_model
def test_the_same_bits_for_any_batch_of_scoring(name):
    X = DATA["bernoulli"](700, 30)
    model = fit(make(name, **WIDE[name]), X)
    scores = model.score_samples(X)
    for size in (1, 7, 8, 9, 255, 256, 257):
        some = [model.score_samples(X[start : start + size]) for start in range(0, 700, size)][:20]
        assert_same_bits(np.concatenate(some), scores[: sum(map(len, some))])


def test_n_jobs_counts_like_scikit_learns():
    assert effective_n_threads(None) == effective_n_threads(-1) == N_CORES
    assert effective_n_threads(3) == 3
    assert effective_n_threads(-2) == max(1, N_CORES - 1)
    assert effective_n_threads(-100) == 1


def test_threads_are_capped_by_a_number():
    most = max(N_CORES, MAX_THREADS)
    assert [effective_n_threads(n) for n in (most, 10**5, 10**9, 10**30)] == [most] * 4


@pytest.mark.parametrize("name", MODELS)
def test_as_many_threads_as_anybody_asks_for_do_not_end_the_process(name):
    run_python(
        "import sys; sys.path.insert(0, chr(46)); import numpy as np\n"
        "from common import fitted\n"
        f"model, X = fitted({name!r}, n=2000)\n"
        "drawn = model.sample(1500, random_state=0)\n"
        "for n_jobs in (10**5, 10**9):\n"
        "    model.set_params(n_jobs=n_jobs)\n"
        "    assert (model.sample(1500, random_state=0) == drawn).all()\n"
        "    assert np.isfinite(model.score(X))"
    )


FEW = """
import sys, threading
sys.path.insert(0, chr(46))
from common import DATA, fit, make
from fastar import Mixture
from fastar._core import threads
threads._WORTH_A_THREAD = 1
start = threading.Thread.start
def start_few(thread):
    global left
    if left == 0:
        raise RuntimeError("can't start new thread")
    left -= 1
    start(thread)
threading.Thread.start = start_few
X = DATA["gaussian"](600, 3)
members = [make("NADE", distribution="gaussian", random_state=seed) for seed in range(4)]
left = LEFT
model = fit(Mixture(members, n_jobs=4, random_state=0), X)
left = LEFT
print(*(member.theta_.tobytes().hex() for member in model.estimators_))
print(model.score_samples(X).tobytes().hex())
left = LEFT
print(model.estimators_[0].set_params(n_jobs=4).sample(2000, random_state=0).tobytes().hex())
"""


@pytest.mark.parametrize("left", [0, 1, 2])
def test_where_the_system_starts_few_threads_fewer_do_the_same(left):
    # a mock: the system's own limit does not bind the superuser
    assert run_python(FEW.replace("LEFT", str(left))) == run_python(FEW.replace("LEFT", "100"))


def test_a_pool_raises_the_error_of_a_call():
    for n_threads in (0, 2):
        with pytest.raises(ZeroDivisionError), threads.ThreadPool(n_threads) as pool:
            pool.map(lambda x: 1 // x, [1, 0, 2])


def test_small_work_has_one_thread():
    assert useful_n_threads(8, 100) == 1
    assert useful_n_threads(8, 1e12) == 8
    assert useful_n_threads(1, 1e12) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@every_model
def test_a_child_made_by_fork_can_fit_score_and_sample(name, threads_for_small_work):
    X = DATA["bernoulli"](300, 7)
    model = fit(make(name, n_jobs=2, **WIDE[name]), X)
    scores, drawn = model.score_samples(X), model.sample(50, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # Python 3.12 on forks of threaded processes
        child = os.fork()
    if child == 0:  # no assert, no exit handler: only a status
        status = 1
        try:
            same = (model.score_samples(X) == scores).all() and (
                model.sample(50, random_state=0) == drawn
            ).all()
            again = fit(make(name, n_jobs=2, **WIDE[name]), X)
            status = 0 if same and (again.theta_ == model.theta_).all() else 2
        finally:
            os._exit(status)
    deadline = time.monotonic() + 30
    while (done := os.waitpid(child, os.WNOHANG)) == (0, 0) and time.monotonic() < deadline:
        time.sleep(0.01)
    if done == (0, 0):
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        pytest.fail("the child hangs")
    assert os.waitstatus_to_exitcode(done[1]) == 0


COUNT = """
import os
import numpy as np
from common import fit, make
from fastar._core import threads
X = np.random.default_rng(0).integers(0, 2, (500, 50), dtype=np.uint8)
before = len(os.listdir("/proc/self/task"))
model = fit(make(n_hidden=200, n_jobs=None, max_iter=2), X)
model.score(X)
model.sample(100)
print(before, len(os.listdir("/proc/self/task")), threads.effective_n_threads(None))
print(model.theta_.sum(), model.score(X))
"""
on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
with_common = {"PYTHONPATH": os.path.dirname(__file__)}


def count_threads(**environment):
    code = f"import sys; sys.path.append({os.path.dirname(__file__)!r})\n{COUNT}"
    first, second = run_python(code, **environment).splitlines()
    return [int(number) for number in first.split()], second


@on_linux
def test_omp_num_threads_limits_the_threads_and_changes_no_bits():
    (before, after, allowed), numbers = count_threads(OMP_NUM_THREADS="1")
    assert (after, allowed) == (before, 1)
    (_, _, allowed), same = count_threads()
    assert allowed == N_CORES or "OMP_NUM_THREADS" in os.environ
    assert same == numbers


MEMORY = """
import resource
import sys
import numpy as np
from common import fit, make

small = {"max_iter": 1, "n_jobs": 2, **SETTINGS}

def peak():
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

X = np.random.default_rng(0).integers(0, 2, (20_000, 784), dtype=np.uint8)
few = X[:200]
model = fit(make(NAME, **small), few)
model.score(few)
model.sample(300)
before = peak()
model.score(X)
model.score_samples(X)
print(peak() - before)
before = peak()
drawn = model.sample(20_000, random_state=0)
print(peak() - before - drawn.nbytes)
before = peak()
fit(make(NAME, batch_size=1000, **small), X)
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="has no resource module")
@pytest.mark.parametrize(
    ("name", "settings"), [("NADE", {"n_hidden": 20}), ("MADE", {"hidden_layer_sizes": (20,)})]
)
def test_memory_is_bounded_by_a_block(name, settings):
    pytest.importorskip("resource")
    code = f"import sys; sys.path.append({os.path.dirname(__file__)!r})\n"
    code += MEMORY.replace("NAME", repr(name)).replace("SETTINGS", repr(settings))
    score, sample, train = (int(line) / 1e6 for line in run_python(code).split())
    assert score < 60
    assert sample < 60  # beside what it returns
    assert train < 60  # four times the bytes of X would be 63
