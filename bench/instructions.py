"""
Count instructions under callgrind: `python bench/instructions.py`.

Unlike times, counts do not depend on what else the machine does. Each operation of a small fixed
case runs k times and then 2k times in one process on one thread; the difference is what k calls
cost, without what happens once. Valgrind does not know AVX-512, so that the AVX2 and the baseline
kernels are counted.
"""

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

OPERATIONS = ("forward", "gradient", "sample")
ISAS = ("avx2", "baseline")
#: Of NADE, and of MADE.
NETWORKS = ("shared_hidden", "masked")
#: Calls that are not counted, in which the interpreter and the allocator settle.
WARM_UP = 8
#: By how much of itself a count may change from run to run: the interpreter's share is not quite
#: the same every time.
TOLERANCE = 5e-3


def work(case: dict[str, Any], repeats: int) -> None:
    """Run, from within callgrind, every operation k and 2k times between calls that it dumps at."""
    import gc

    import numpy as np

    from fastar.conditionals import Bernoulli
    from fastar.networks import BY_NAME

    n, D, H = case["rows"], case["features"], case["hidden"]
    rng = np.random.default_rng(0)
    conditional = Bernoulli().restored({}, D)
    own = {"n_hidden": H, "activation": "sigmoid"}
    if case["network"] == "masked":
        own = {"hidden_layer_sizes": (H,), "activation": "relu", "direct_connections": False}
    network = BY_NAME[case["network"]](
        conditional.output_offsets,
        conditional.inputs,
        **own,
        markov_order=D,
        dtype=np.dtype("float32"),
    )
    params, grads = (
        {key: np.zeros(shape, np.float32) for key, shape in network.shapes.items()}
        for _ in range(2)
    )
    network.initialise(params, rng)
    weights = network.materialise_weights(params, 1)
    params["b"][...] = np.log(0.13 / 0.87)
    kernel = conditional.kernel
    codes = (rng.random((n, D)) < 0.13).astype(np.float32)
    noise = np.empty((n, D, kernel.n_noise), codes.dtype)
    conditional.fill_noise(rng, noise, n, 1)
    scale = np.full(n, -1 / n, np.float32)
    drawn, capsule = np.zeros_like(codes), kernel.draw(codes.dtype, 1.0)

    def forward() -> None:
        raw, _ = network.forward(weights, codes, 1)
        kernel.log_prob(raw, codes, 1)

    def gradient() -> None:
        raw, cache = network.forward(weights, codes, 1)
        _, graw = kernel.gradient(raw, codes, scale, 1)
        network.backward(weights, cache, graw, grads, 1)

    def sample() -> None:
        network.sample(weights, capsule, noise, None, drawn, 1)

    actions = {"forward": forward, "gradient": gradient, "sample": sample}
    gc.disable()
    for operation in OPERATIONS:
        for _ in range(WARM_UP):
            actions[operation]()
        for times in (repeats, 2 * repeats):
            os.getppid()  # callgrind writes and clears its counts here
            for _ in range(times):
                actions[operation]()
        os.getppid()


def counted(text: str) -> int:
    """Return the instructions of one dump."""
    found = re.search(r"^(?:totals|summary): (\d+)", text, re.MULTILINE)
    if not found:
        raise RuntimeError("callgrind wrote a file without a total")
    return int(found[1])


def count(isa: str, case: dict[str, Any], repeats: int) -> dict[str, float]:
    """Return the instructions of one call of every operation."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "counts"
        command = [
            "valgrind",
            "--tool=callgrind",
            "--dump-before=getppid",
            f"--callgrind-out-file={out}",
            sys.executable,
            __file__,
            "--inside",
            json.dumps(case),
            "--repeat",
            str(repeats),
        ]
        if shutil.which("setarch"):
            # The same addresses every time.
            command = ["setarch", platform.machine(), "-R", *command]
        one = {"PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        environment = {**os.environ, **one, "FASTAR_ISA": isa}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"callgrind failed with {isa}:\n{done.stderr[-2000:]}")
        # Dump number i holds what ran before the i-th getppid; the first is all that came before.
        parts = [counted(Path(f"{out}.{i + 1}").read_text()) for i in range(3 * len(OPERATIONS))]
    return {
        operation: (parts[3 * i + 2] - parts[3 * i + 1]) / repeats
        for i, operation in enumerate(OPERATIONS)
    }


def main() -> int:
    """Count, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.strip().split("\n\n")[0])
    parser.add_argument("--network", choices=NETWORKS, default="shared_hidden")
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--features", type=int, default=784)
    parser.add_argument("--hidden", type=int, default=500)
    parser.add_argument("--repeat", type=int, default=3, help="k")
    parser.add_argument("--check", action="store_true", help="count twice and compare")
    parser.add_argument("--markdown", action="store_true", help="a table for RESULTS.md")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        work(json.loads(options.inside), options.repeat)
        return 0
    if not shutil.which("valgrind"):
        parser.error("valgrind is not installed")
    case = {key: getattr(options, key) for key in ("network", "rows", "features", "hidden")}
    jobs = ISAS * (2 if options.check else 1)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda isa: count(isa, case, options.repeat), jobs))
    print(
        f"Instructions of one call, {case['network']}, {case['rows']} rows with 13 % ones, "
        f"D = {case['features']}, H = {case['hidden']}, float32, one thread\n"
    )
    heads = ["", *(f"{isa}, 10^6" for isa in ISAS), *(f"{isa}, a unit" for isa in ISAS)]
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)]]
    units = case["rows"] * case["features"] * case["hidden"]
    for operation in OPERATIONS:
        counts = [each[operation] for each in found[: len(ISAS)]]
        cells = [f"{each / 1e6:.3f}" for each in counts] + [
            f"{each / units:.3f}" for each in counts
        ]
        lines.append([operation, *cells])
    for line in lines:
        if options.markdown:
            print("| " + " | ".join(line) + " |")
        elif "---" not in line:
            print(line[0].ljust(10) + "".join(cell.rjust(18) for cell in line[1:]))
    print("\nA unit is one of the rows x features x hidden units of the dense computation.")
    if options.check:
        change = {
            f"{key} with {isa}": abs(found[i + len(ISAS)][key] / found[i][key] - 1)
            for i, isa in enumerate(ISAS)
            for key in OPERATIONS
        }
        most = max(change, key=lambda key: change[key])
        worst = change[most]
        print(f"Counted twice; the counts differ by {worst:.1e} at most, of {most}.")
        return 0 if worst < TOLERANCE else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
