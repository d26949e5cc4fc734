import os
import signal
from functools import partial

import hypothesis
import pytest

# How long a case takes says what else the machine does.
hypothesis.settings.register_profile("fastar", deadline=None)
hypothesis.settings.load_profile("fastar")

# Read when the OpenMP runtime is loaded: threads that wait do not spin, so that the suite's time
# does not depend on what else the machine does.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# A shell starts what runs in the background with this signal ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def small_blocks(monkeypatch):
    """Shuffle few rows of a stream at a time, so that small tables fill several buffers."""
    from fastar._data import stores

    monkeypatch.setattr(stores, "BLOCK_ROWS", 16)
    monkeypatch.setattr(stores, "BUFFER_ROWS", 64)


@pytest.fixture
def few_sampled(monkeypatch):
    """Learn what columns of a stream are like from few rows."""
    from fastar.models import _streamed

    monkeypatch.setattr(_streamed, "Summary", partial(_streamed.Summary, n_sampled=100))


@pytest.fixture
def threads_for_small_work(monkeypatch):
    """Let every call use the threads that it is given."""
    from fastar._core import threads

    monkeypatch.setattr(threads, "_WORTH_A_THREAD", 1)


@pytest.fixture(scope="module")
def office():
    """Return a model of office hours, and its rows."""
    from dated_frames import office_hours

    return office_hours()
