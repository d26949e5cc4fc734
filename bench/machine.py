"""Print what a reader of timings must know about this machine: `python bench/machine.py`."""

import os
import platform
import re
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import numpy as np

__all__ = ["cores", "cpu_seconds", "facts", "markdown", "peak_memory", "rates"]

MEGABYTE = 1e6


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpu_name() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        text = ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    if found:
        return found[1].strip()
    return platform.processor() or platform.machine()


def _caches() -> str:
    """Return the sizes of the caches that the first core sees."""
    parts = []
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        try:
            level, kind, size = (
                (index / key).read_text().strip() for key in ("level", "type", "size")
            )
        except OSError:
            continue
        if kind != "Instruction":
            parts.append(f"L{level} {size}")
    return ", ".join(parts)


def _compiler() -> str:
    """Return the first line of what the C compiler that Python knows of says of itself."""
    command = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()
    try:
        answer = subprocess.run(
            [command[0], "--version"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return answer.stdout.splitlines()[0].strip()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _memory() -> str:
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return "unknown"
    return f"{size / 2**30:.0f} GiB"


def facts() -> dict[str, str]:
    """Return the facts, in the order in which they are printed."""
    from fastar._kernels import _cpu

    found = {
        "Processor": _cpu_name(),
        "Cores that may be used": str(cores()),
        "Caches": _caches() or "unknown",
        "Memory": _memory(),
        "System": " ".join([platform.system(), platform.machine(), *platform.libc_ver()]).strip(),
        "Instruction set of fastar": _cpu.isa_name,
        "C compiler": _compiler(),
        "Python": platform.python_version(),
    }
    for package in ("fastar-density", "numpy", "scipy", "scikit-learn", "torch", "jax"):
        version = _version(package)
        if version:
            found[package] = version
    found["Date"] = datetime.now(UTC).date().isoformat()
    return found


def markdown() -> str:
    """Return the facts as a table."""
    lines = [f"| {key} | {value} |" for key, value in facts().items()]
    return "\n".join(["| | |", "|---|---|", *lines])


def peak_memory(process: int | None = None) -> float:
    """
    Return a process's peak resident memory so far in megabytes (10^6 bytes), by default this one's.

    Of another process that has ended, or where there is no /proc, it is 0.
    """
    try:
        # Unlike ru_maxrss this does not begin with the peak of the process that started this one.
        status = Path(f"/proc/{process or 'self'}/status").read_text()
        found = re.search(r"^VmHWM:\s*(\d+) kB$", status, re.MULTILINE)
    except OSError:
        found = None
    if found:
        return int(found[1]) * 1024 / MEGABYTE
    if process is not None:
        return 0.0
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MEGABYTE


def cpu_seconds(process: int) -> float:
    """Return the CPU seconds of a process so far; 0 if it has ended or there is no /proc."""
    try:
        # The name, in brackets, may hold spaces; user and system time are fields 14 and 15.
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _best(action: Callable[[], object], seconds: float) -> float:
    times: list[float] = []
    action()
    while len(times) < 3 or sum(times) < seconds:
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return min(times)


def rates(threads: int, seconds: float = 0.5) -> dict[str, float]:
    """
    Measure what this machine does at best with so many threads, in float32.

    Parameters
    ----------
    threads : int
        Must not be more than the number NumPy's BLAS was started with.
    seconds : float
        How long to measure each rate.

    Returns
    -------
    dict
        ``sgemm``: multiply-adds a second of NumPy's matrix product; ``exp``: exponentials a
        second of `numpy.exp` on a buffer in the cache; ``bytes``: bytes a second, read and written,
        of copies of a buffer of the size of the parameters.
    """
    rng = np.random.default_rng(0)
    size = 1536
    a, b = rng.random((2, size, size), np.float32)
    out = np.empty_like(a)
    sgemm = size**3 / _best(lambda: np.matmul(a, b, out=out), seconds)

    # Two lengths, so that the interpreter's share of a call drops out. As only one thread at a
    # time has the interpreter, one is measured and multiplied.
    def exponentials(n: int) -> float:
        source, target = rng.random(n, np.float32), np.empty(n, np.float32)
        return _best(lambda: [np.exp(source, out=target) for _ in range(500)], seconds / 2) / 500

    exp = threads * (16384 - 4096) / (exponentials(16384) - exponentials(4096))

    n = 784 * 500 * 2
    pairs = [(rng.random(n, np.float32), np.empty(n, np.float32)) for _ in range(threads)]

    def copies(pair: tuple[np.ndarray, np.ndarray]) -> None:
        for _ in range(50):
            np.copyto(pair[1], pair[0])

    with ThreadPoolExecutor(threads) as pool:
        copied = _best(lambda: list(pool.map(copies, pairs)), seconds)
    return {"sgemm": sgemm, "exp": exp, "bytes": threads * 50 * 2 * 4 * n / copied}


if __name__ == "__main__":
    print(markdown())
