"""Every instruction set: the kernels' laws run again in processes that are forced to it.

They are the tests marked `kernels`: whole files by `pytestmark`, or one test. This file is also the
program of such a process: it writes which laws passed and which compiled functions they called.
"""

import ast
import functools
import json
import os
import platform
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path

import pytest
from common import run_python

from fastar import _kernels
from fastar._kernels import _cpu

HERE = Path(__file__).parent
ARM = platform.machine() in {"aarch64", "arm64"}
NAMES = ["baseline", "neon"] if ARM else ["baseline", "avx2", "avx512"]
OTHERS = [name for name in NAMES if name != _cpu.isa_name]
CHOSEN = "from fastar._kernels import _cpu; print(_cpu.isa_name)"
STUBS = sorted(Path(_kernels.__file__).parent.glob("_*.pyi"))
# Their subject is Python: what they call of the kernels is the same calls as the marked files make,
# or, in test_golden.py and test_formats.py, is kept for the baseline instruction set alone.
UNMARKED = {
    "test_auto_density.py",
    "test_calendar.py",
    "test_classification.py",
    "test_clocks.py",
    "test_column_questions.py",
    "test_command_line.py",
    "test_containers.py",
    "test_csv.py",
    "test_dask.py",
    "test_date_errors.py",
    "test_date_models.py",
    "test_dates.py",
    "test_defaults.py",
    "test_design.py",
    "test_detection.py",
    "test_docs.py",
    "test_durations.py",
    "test_engines.py",
    "test_entrances.py",
    "test_estimators.py",
    "test_evidence.py",
    "test_exact_integers.py",
    "test_exclusion.py",
    "test_exhaustive.py",
    "test_explain.py",
    "test_faces.py",
    "test_fitting.py",
    "test_formats.py",
    "test_frame_agreement.py",
    "test_frame_evidence.py",
    "test_frame_round_trips.py",
    "test_frame_types.py",
    "test_frames.py",
    "test_golden.py",
    "test_imputation.py",
    "test_interruptions.py",
    "test_isa.py",
    "test_joint_questions.py",
    "test_lazy.py",
    "test_limits.py",
    "test_log_probability.py",
    "test_masked_arrays.py",
    "test_messages.py",
    "test_missing_arrays.py",
    "test_mixed.py",
    "test_mixture.py",
    "test_mixture_errors.py",
    "test_mixture_files.py",
    "test_mixture_members.py",
    "test_mixture_weights.py",
    "test_onnx.py",
    "test_persistence.py",
    "test_plotting.py",
    "test_prediction.py",
    "test_questions.py",
    "test_random_calls.py",
    "test_rare_levels.py",
    "test_recipes.py",
    "test_sequences_in_parts.py",
    "test_sharded.py",
    "test_spread.py",
    "test_stream_roles.py",
    "test_streamed_answers.py",
    "test_streamed_tools.py",
    "test_streams.py",
    "test_structure.py",
    "test_summaries.py",
    "test_together.py",
    "test_training.py",
    "test_unfitted.py",
    "test_validation.py",
}


class Report:
    """A pytest plugin that notes the outcome of each law."""

    def __init__(self):
        self.outcomes = {"passed": [], "skipped": [], "failed": []}

    def pytest_runtest_logreport(self, report):
        if report.when == "call" or not report.passed:
            self.outcomes[report.outcome].append(report.nodeid)


def declared(path):
    """Return the names of the functions that the stub of a compiled module declares."""
    body = ast.parse(path.read_text()).body
    return [each.name for each in body if isinstance(each, ast.FunctionDef)]


def note_calls(called):
    """Let every compiled function add its name to the set when it is called."""

    def noted(name, function):
        @functools.wraps(function, updated=())
        def call(*arguments, **keywords):
            called.add(name)
            return function(*arguments, **keywords)

        return call

    modules = {path.stem: import_module(f"fastar._kernels.{path.stem}") for path in STUBS}
    places = [(module, *each) for module in modules.values() for each in vars(module).items()]
    for path in STUBS:
        for name in declared(path):
            function = getattr(modules[path.stem], name)
            noting = noted(f"{path.stem}.{name}", function)
            # in the function's own module, and in those that import it
            for module, place, value in places:
                if value is function:
                    setattr(module, place, noting)


def main(isa, path):
    """Run the marked laws, and write what they did."""
    report, called = Report(), set()
    note_calls(called)
    options = ["-q", "-m", "kernels", "-k", "not scikit_learns_own_checks"]
    status = pytest.main([str(HERE), "-p", "no:cacheprovider", *options], plugins=[report])
    done = {"isa": _cpu.isa_name, "called": sorted(called)} | report.outcomes
    Path(path).write_text(json.dumps(done))
    return status


def run_laws(isa, path):
    done = subprocess.run(
        [sys.executable, __file__, isa, path],
        env=os.environ | {"FASTAR_ISA": isa, "OMP_WAIT_POLICY": "passive"},
        cwd=HERE,
        capture_output=True,
        text=True,
        timeout=1200,
    )
    if f"FASTAR_ISA is {isa!r}, but this processor runs" in done.stderr:
        return None
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """Return by instruction set what its process wrote; two processes run at a time."""
    folder = tmp_path_factory.mktemp("reports")
    with ThreadPoolExecutor(2) as pool:
        started = {isa: pool.submit(run_laws, isa, folder / isa) for isa in OTHERS}
    return started


@pytest.fixture(params=OTHERS)
def report(request, reports):
    report = reports[request.param].result()
    if report is None:
        pytest.skip(f"this processor does not run {request.param}")
    assert report["isa"] == request.param
    return report


def test_the_kernels_laws_hold_on_every_instruction_set(report, capsys):
    with capsys.disabled():
        print(f"\n{report['isa']}: {len(report['passed'])} laws passed")
    assert not report["failed"]
    assert not report["skipped"]
    files = {law.split("::")[0].rpartition("/")[2] for law in report["passed"]}
    assert files == {path.name for path in HERE.glob("test_*.py")} - UNMARKED


def test_every_instruction_set_runs_the_same_laws(reports):
    passed = [report.result()["passed"] for report in reports.values() if report.result()]
    for each in passed:
        assert len(each) == len(passed[0])
        assert set(each) == set(passed[0])


def test_every_compiled_function_is_called_on_every_instruction_set(report):
    there = {f"{path.stem}.{name}" for path in STUBS for name in declared(path)}
    assert {name.split(".")[0] for name in there} == {path.stem for path in STUBS}
    assert there == set(report["called"])


def test_fastar_isa_forces_an_instruction_set():
    assert run_python(CHOSEN, FASTAR_ISA="baseline").strip() == "baseline"


def test_the_instruction_set_is_the_best_that_the_system_lists():
    if ARM:
        assert run_python(CHOSEN, FASTAR_ISA="").strip() == "neon"
        return
    if platform.machine() != "x86_64" or not Path("/proc/cpuinfo").exists():
        pytest.skip("no list of flags of x86-64")
    flags = set(re.search(r"flags\s*:(.*)", Path("/proc/cpuinfo").read_text())[1].split())
    needs = {"avx512": {"avx512f", "avx512dq", "avx512vl", "avx512bw"}, "avx2": {"avx2", "fma"}}
    best = next((name for name, needed in needs.items() if needed <= flags), "baseline")
    assert run_python(CHOSEN, FASTAR_ISA="").strip() == best


def test_an_instruction_set_of_other_processors_is_refused():
    code = "try: import fastar\nexcept ImportError as error: print(error)"
    message = run_python(code, FASTAR_ISA="avx2" if ARM else "neon")
    assert re.search(
        "FASTAR_ISA is '[a-z0-9]+', but this processor runs '[a-z0-9]+' at best", message
    )


def test_an_unknown_fastar_isa_is_refused_with_the_choices():
    code = "try: import fastar\nexcept ImportError as error: print(error)"
    message = run_python(code, FASTAR_ISA="mmx")
    assert "FASTAR_ISA must be one of baseline, avx2, avx512, neon. Got 'mmx' instead." in message


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
