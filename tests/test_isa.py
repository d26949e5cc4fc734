"""Every instruction set: the kernels' tests run again in a process that is forced to it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from common import run_python

from fastar._kernels import _cpu

HERE = Path(__file__).parent
FILES = [
    "test_kernels.py",
    "test_masked_kernels.py",
    "test_conditionals.py",
    "test_densities.py",
    "test_missing.py",
    "test_optimizers.py",
    "test_recurrent.py",
    "test_recurrent_kernels.py",
]
NAMES = ["baseline", "avx2", "avx512"]


def run_tests(isa):
    return subprocess.run(
        [sys.executable, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        + [str(HERE / name) for name in FILES],
        env=os.environ | {"FASTAR_ISA": isa, "OMP_WAIT_POLICY": "passive"},
        cwd=HERE,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.parametrize("isa", [name for name in NAMES if name != _cpu.isa_name])
def test_kernels_agree_with_the_textbook_on_every_instruction_set(isa):
    done = run_tests(isa)
    if "but this processor runs" in done.stdout + done.stderr:
        pytest.skip(f"this processor does not run {isa}")
    assert done.returncode == 0, done.stdout


def test_fastar_isa_forces_an_instruction_set():
    code = "from fastar._kernels import _cpu; print(_cpu.isa_name)"
    assert run_python(code, FASTAR_ISA="baseline").strip() == "baseline"


def test_an_unknown_fastar_isa_is_refused_with_the_choices():
    code = "try: import fastar\nexcept ImportError as error: print(error)"
    message = run_python(code, FASTAR_ISA="mmx")
    assert "FASTAR_ISA must be one of baseline, avx2, avx512. Got 'mmx' instead." in message
