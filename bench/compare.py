"""
Time fastar against NADE in other frameworks: `python bench/compare.py --data FOLDER`.

Scoring and the gradient of some rows, one training step with Adam, and sampling, with a hidden
layer of sigmoid units in float32. fastar is timed as it is used: through `NADE.score_samples` and
`NADE.sample` (validation of the input and random numbers included), and through the training
loop's own objects. The peers get tensors and random numbers that are ready beforehand.

Every contestant lives in a process of its own, which sleeps while another one is measured, so that
no thread pool sees another; rounds go through all contestants in turn, and the smallest and the
median time of all rounds are printed. Ratios are of the smallest times. A peer whose
log-likelihoods, gradients or samples do not agree with ours gets no ratio.

The peers fall in two classes. "plain" is what one writes with the framework's automatic
differentiation: a loop in PyTorch, a jitted scan in JAX. "expert" has a backward pass derived by
hand, rows split over devices, or hidden states computed only where they differ. PyTorch's compiled
formulations (a cumulative sum, blocks of features) were slower than its loops on every operation
and are not timed; peers/torch_nade.py has their figures.
"""

import argparse
import os
import statistics
import sys

import numpy as np
from contestants import OPERATIONS, PEERS, Case, Contestant, fit_reference
from machine import cores, rates

#: By how much ours should be faster than the best plain peer.
TARGETS = {
    "sparse": {"score": 20, "gradient": 40, "sample": 10},
    "dense": {"gradient": 12},
}
NATS = 1e-3
RELATIVE = 1e-3
#: Sample means of the log-likelihood may differ by so many standard errors.
ERRORS = 5
KERNELS = {"score, kernels": "score", "sample, kernels": "sample"}


def make_cases(options: argparse.Namespace) -> list[tuple[str, Case]]:
    """Return (class of targets, case) for each data set."""
    rng = np.random.default_rng(0)
    n_train = 1000 if options.quick else 5000
    shape = (max(n_train, options.rows), 784)
    sets = []
    if options.data:
        from fastar.datasets import load_dataset

        train = load_dataset("binarized_mnist", options.data).train
        sets.append(("sparse", "binarized_mnist", train[: shape[0]]))
    for kind, name, share in (("sparse", "independent", 0.13), ("dense", "independent", 0.5)):
        sets.append((kind, name, (rng.random(shape, np.float32) < share).astype(np.uint8)))
    cases = []
    for kind, name, train in sets:
        model = fit_reference(train, options.hidden, options.threads)
        rows = np.ascontiguousarray(train[: options.rows])
        params = {key: value.copy() for key, value in model.params_.items()}
        uniforms = rng.random((options.samples, shape[1]), np.float32)
        cases.append((kind, Case(f"{name}, {rows.mean():.0%} ones", rows, params, uniforms)))
    return cases


def disagreement(ours: Contestant, other: Contestant) -> str:
    """Return in what, and by how much, the other one disagrees with us, or "" if it does not."""
    difference = np.abs(ours.ask("log_likelihood") - other.ask("log_likelihood")).max()
    if not difference <= NATS:
        return f"log-likelihood disagrees by {difference:.2g} nats"
    gradient = other.ask("gradient")
    for key, value in ours.ask("gradient").items():
        error = np.linalg.norm(gradient[key] - value) / np.linalg.norm(value)
        if not error <= RELATIVE:
            return f"gradient by {key} disagrees by {error:.2g} of its norm"
    # Samples differ from one generator to another; how probable the model finds them does not.
    scores = [ours.ask("score_of", each.ask("sample")) for each in (ours, other)]
    error = np.sqrt(sum(each.var() / each.size for each in scores))
    difference = abs(scores[0].mean() - scores[1].mean())
    if not difference <= ERRORS * error:
        return f"samples' mean log-likelihood disagrees by {difference / error:.1f} standard errors"
    return ""


def table(heads: list[str], rows: list[list[str]], markdown: bool) -> str:
    """Return a table for people, or for RESULTS.md."""
    if markdown:
        rule = ["---", *["---:"] * (len(heads) - 1)]
        return "\n".join("| " + " | ".join(row) + " |" for row in [heads, rule, *rows])
    widths = [max(len(row[i]) for row in [heads, *rows]) for i in range(len(heads))]

    def line(row: list[str]) -> str:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        return "  ".join(cells).rstrip()

    return "\n".join([line(heads), "  ".join("-" * w for w in widths), *map(line, rows)])


def work(case: Case, operation: str, sampled: np.ndarray) -> dict[str, float]:
    """Count what an operation cannot do without, in a run-aware scheme."""
    rows = sampled if operation == "sample" else case.rows
    n, D = rows.shape
    H = case.params["c"].size
    changes = int(np.count_nonzero(rows[:, :-1]))
    adds = n * (D - 1) * H + changes * H
    n_params = sum(value.size for value in case.params.values())
    # Adam reads parameters, gradient and two moments, and writes all but the gradient.
    passes = {"score": 1, "gradient": 2, "train": 9, "sample": 1}[operation]
    return {
        "adds": adds * (3 if operation in ("gradient", "train") else 1),
        "activations": (n + changes) * H,
        "bytes": 4 * n_params * passes,
    }


class Match:
    """All contestants on one case."""

    def __init__(self, kind: str, case: Case, options: argparse.Namespace) -> None:
        self.kind = kind
        self.case = case
        self.options = options
        self.notes: dict[str, str] = {}
        self.alone: dict[str, list[float]] = {}
        self.times: dict[str, dict[str, list[float]]] = {}

    def warm_up(self, ours: Contestant) -> None:
        """Time fastar before any peer has started."""
        ours.ask("load", self.case)
        self.sampled = ours.ask("sample")
        for _ in range(self.options.repeat):
            for key in OPERATIONS:
                self.alone.setdefault(key, []).extend(self._measure(ours, key))

    def play(self, ours: Contestant, peers: list[Contestant]) -> None:
        """Check that the peers agree, then time everyone."""
        ours.ask("load", self.case)
        playing = [ours]
        for peer in peers:
            try:
                peer.ask("load", self.case)
                self.notes[peer.name] = disagreement(ours, peer)
            except RuntimeError as error:
                self.notes[peer.name] = f"not run: {error}"
            if not self.notes[peer.name]:
                playing.append(peer)
        for _ in range(self.options.repeat):
            for key in (*OPERATIONS, *KERNELS):
                for each in playing:
                    if key in OPERATIONS or each is ours:
                        found = self.times.setdefault(each.name, {}).setdefault(key, [])
                        found.extend(self._measure(each, key))

    def _measure(self, contestant: Contestant, key: str) -> list[float]:
        return contestant.ask("measure", key, 0.02 if self.options.quick else 0.15, 200)

    def report(self, machine: dict[str, float], markdown: bool) -> str:
        """Return the tables of this case."""
        n, D = self.case.rows.shape
        title = (
            f"{self.case.name}: {n} rows, {len(self.case.uniforms)} sampled, D = {D}, "
            f"H = {self.options.hidden}, {self.options.threads} threads"
        )
        parts = [f"### {title}" if markdown else f"== {title} ==", self._times(markdown)]
        best = {key: min(times) for key, times in self.times["fastar"].items()}
        away = max(OPERATIONS, key=lambda key: abs(best[key] / min(self.alone[key]) - 1))
        ratio = best[away] / min(self.alone[away])
        parts.append(
            f"Before any peer had started, fastar took {1 / ratio:.2f} times as long in "
            f"{OPERATIONS[away]}, the operation where the two measurements differ most."
        )
        parts += [self._ratios(best, markdown), self._efficiency(best, machine, markdown)]
        return "\n\n".join(parts)

    def _times(self, markdown: bool) -> str:
        def cell(times: list[float] | None) -> str:
            if not times:
                return ""
            return f"{min(times) * 1e3:.2f} ({statistics.median(times) * 1e3:.2f})"

        rows = []
        for name in ("fastar", *self.notes):
            kind = PEERS[name][2] if name in PEERS else ""
            times = self.times.get(name, {})
            cells = [cell(times.get(key)) for key in OPERATIONS]
            rows.append([name, kind, *cells, self.notes.get(name, "")])
        inner = {plain: self.times["fastar"][key] for key, plain in KERNELS.items()}
        cells = [cell(inner.get(key)) for key in OPERATIONS]
        rows.insert(1, ["fastar, kernels alone", "", *cells, ""])
        heads = ["ms: smallest (median)", "class", *OPERATIONS.values(), "note"]
        if not any(row[-1] for row in rows):
            heads, rows = heads[:-1], [row[:-1] for row in rows]
        return table(heads, rows, markdown)

    def _ratios(self, best: dict[str, float], markdown: bool) -> str:
        rows = []
        for key, operation in OPERATIONS.items():
            row = [operation, f"{best[key] * 1e3:.2f}"]
            reached = None
            for kind in ("plain", "expert"):
                peers = {
                    name: min(times[key])
                    for name, times in self.times.items()
                    if name in PEERS and PEERS[name][2] == kind
                }
                if not peers:
                    row += ["none", ""]
                    continue
                name = min(peers, key=lambda name: peers[name])
                ratio = peers[name] / best[key]
                reached = ratio if kind == "plain" else reached
                row += [f"{name} {peers[name] * 1e3:.1f}", f"{ratio:.1f}x"]
            target = TARGETS[self.kind].get(key)
            verdict = ""
            if target and reached is not None:
                verdict = f"{target}x: " + ("reached" if reached >= target else "not reached")
            rows.append([*row, verdict])
        heads = ["", "fastar ms", "best plain peer, ms", "ratio", "best expert peer, ms", "ratio"]
        return table([*heads, "target, plain"], rows, markdown)

    def _efficiency(self, best: dict[str, float], machine: dict[str, float], markdown: bool) -> str:
        rows = []
        for key, operation in OPERATIONS.items():
            count = work(self.case, key, self.sampled)
            rate = count["adds"] / best[key]
            floor = (
                count["adds"] / machine["sgemm"]
                + count["activations"] / machine["exp"]
                + count["bytes"] / machine["bytes"]
            )
            rows.append(
                [
                    operation,
                    f"{count['adds'] / 1e6:.1f}",
                    f"{2e-9 * rate:.1f}",
                    f"{rate / machine['sgemm']:.0%}",
                    f"{floor * 1e3:.2f}",
                    f"{best[key] / floor:.1f}",
                ]
            )
        heads = [
            "",
            "useful multiply-adds, 10^6",
            "GFLOP/s",
            "of SGEMM",
            "floor ms",
            "ours / floor",
        ]
        return table(heads, rows, markdown)


def main() -> int:
    """Run the comparison; the exit status tells whether every peer agreed."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default=os.environ.get("FASTAR_DATA"), help="folder of data sets")
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--rows", type=int, default=100)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--hidden", type=int, default=500)
    parser.add_argument("--repeat", type=int, help="rounds; 7, or 2 with --quick")
    parser.add_argument("--quick", action="store_true", help="short measurements")
    parser.add_argument("--markdown", action="store_true", help="tables for RESULTS.md")
    parser.add_argument("--only", choices=("sparse", "dense"), help="leave out the other rows")
    options = parser.parse_args()
    if not 1 <= options.threads <= cores():
        parser.error(f"--threads must be 1 to {cores()}, the cores this process may use")
    options.repeat = options.repeat or (2 if options.quick else 7)

    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load > 0.5:
        print(f"Other programs are running here (load {load:.1f}): times are not to be trusted.\n")
    seconds = 0.2 if options.quick else 1.0
    machine = measure_machine(options.threads, seconds)
    matches = [
        Match(kind, case, options)
        for kind, case in make_cases(options)
        if options.only in (None, kind)
    ]
    contestants = [Contestant("fastar", options.threads)]
    try:
        for match in matches:
            print(f"{match.case.name}: fastar alone", file=sys.stderr, flush=True)
            match.warm_up(contestants[0])
        for name in PEERS:
            contestants.append(Contestant(name, options.threads))
        for match in matches:
            print(f"{match.case.name}: everyone", file=sys.stderr, flush=True)
            match.play(contestants[0], contestants[1:])
    finally:
        for each in contestants:
            each.close()
    # Before and after: neighbours slow a machine down, and nothing makes it faster.
    again = measure_machine(options.threads, seconds)
    machine = {key: max(machine[key], again[key]) for key in machine}
    print(
        f"Best of this machine with {options.threads} threads: NumPy's SGEMM "
        f"{2e-9 * machine['sgemm']:.0f} GFLOP/s, numpy.exp {1e-9 * machine['exp']:.1f} 10^9 a "
        f"second, copies {1e-9 * machine['bytes']:.0f} GB/s (read and written). The floor adds the "
        "times that these rates give for the multiply-adds, the activations and the bytes of the "
        "parameters; it is an estimate, not a bound: an exponential faster than NumPy's beats it.\n"
    )
    for match in matches:
        print(match.report(machine, options.markdown), end="\n\n")
    return 1 if any("disagrees" in note for m in matches for note in m.notes.values()) else 0


def measure_machine(threads: int, seconds: float) -> dict[str, float]:
    """Measure the rates of the machine with NumPy's BLAS held to so many threads."""
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        return rates(threads, seconds)
    with threadpool_limits(threads):
        return rates(threads, seconds)


if __name__ == "__main__":
    sys.exit(main())
