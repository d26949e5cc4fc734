"""
Time fastar against the same models in other frameworks: `python bench/compare.py --data FOLDER`.

Scoring and the gradient of some rows, one training step with Adam, and sampling, in float32. fastar
is timed as it is used: through `score_samples` and `sample` (validation of the input and random
numbers included), and through the training loop's own objects. The peers get tensors and random
numbers that are ready beforehand.

Every contestant lives in a process of its own, which sleeps while another one is measured, so that
no thread pool sees another; rounds go through all contestants in turn, and the smallest and the
median time of all rounds are printed. Ratios are of the smallest times. A peer whose
log-likelihoods, gradients or samples do not agree with ours gets no ratio.

The peers fall in two classes. "plain" is what one writes with the framework's automatic
differentiation. "expert" has a backward pass derived by hand, rows split over devices, or hidden
states computed only where they differ. Targets are beside the best plain peer. The modules of
`families` say which models and peers there are.

Where a peer samples by D passes that are all the same work, a part of them is timed and multiplied
accordingly; the report then says how many.
"""

import argparse
import os
import statistics
import sys

import numpy as np
from contestants import Contestant
from families import FAMILIES, OPERATIONS, Case, family
from machine import cores, rates
from tables import table

RELATIVE = 1e-3
#: Sample means of the log-likelihood may differ by so many standard errors.
ERRORS = 5
KERNELS = {"score, kernels": "score", "sample, kernels": "sample"}


def disagreement(ours: Contestant, other: Contestant, nats: float) -> str:
    """Return in what, and by how much, the other one disagrees with us, or "" if it does not."""
    difference = np.abs(ours.ask("log_likelihood") - other.ask("log_likelihood")).max()
    if not difference <= nats:
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


class Match:
    """All contestants on one case."""

    def __init__(self, case: Case, options: argparse.Namespace) -> None:
        self.case = case
        self.peers = family(case.family).PEERS
        self.options = options
        n, D = case.shape
        self.title = (
            f"{case.name}: {n} rows, {len(case.uniforms)} sampled, D = {D}, {case.sizes}, "
            f"{options.threads} threads"
        )
        self.notes: dict[str, str] = {}
        self.passes: dict[str, int] = {}
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
                self.notes[peer.name] = disagreement(ours, peer, self.case.nats)
                if self.case.by_passes and not self.notes[peer.name]:
                    self.passes[peer.name] = peer.ask("choose_passes")
            except RuntimeError as error:
                self.notes[peer.name] = f"not run: {error}"
            if not self.notes[peer.name]:
                playing.append(peer)
        for _ in range(self.options.repeat):
            for key in (*OPERATIONS, *KERNELS):
                for each in playing:
                    if each is ours or key in self.peers[each.name].operations:
                        found = self.times.setdefault(each.name, {}).setdefault(key, [])
                        found.extend(self._measure(each, key))

    def _measure(self, contestant: Contestant, key: str) -> list[float]:
        return contestant.ask("measure", key, 0.02 if self.options.quick else 0.15, 200)

    def report(self, machine: dict[str, float], markdown: bool) -> str:
        """Return the tables of this case."""
        title = f"### {self.title}" if markdown else f"== {self.title} =="
        parts = [title, self._times(markdown)]
        best = {key: min(times) for key, times in self.times["fastar"].items()}
        away = max(OPERATIONS, key=lambda key: abs(best[key] / min(self.alone[key]) - 1))
        ratio = best[away] / min(self.alone[away])
        parts.append(self._scaled())
        parts.append(
            f"Before any peer had started, fastar took {1 / ratio:.2f} times as long in "
            f"{OPERATIONS[away]}, the operation where the two measurements differ most."
        )
        parts += [self._ratios(best, markdown), self._efficiency(best, machine, markdown)]
        return "\n\n".join(part for part in parts if part)

    def _scaled(self) -> str:
        """Say of whose passes of sampling only some were timed."""
        D = self.case.shape[1]
        scaled = [f"{name} {n}" for name, n in self.passes.items() if n < D]
        if not scaled:
            return ""
        return (
            f"Sampling makes {D} passes of the same work with these peers. So many of them were "
            "timed, with all rows, and multiplied accordingly: " + "; ".join(scaled) + "."
        )

    def _times(self, markdown: bool) -> str:
        def cell(times: list[float] | None) -> str:
            if not times:
                return ""
            return f"{min(times) * 1e3:.2f} ({statistics.median(times) * 1e3:.2f})"

        rows = []
        for name in ("fastar", *self.notes):
            kind = self.peers[name].kind if name in self.peers else ""
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
        targets = family(self.case.family).TARGETS.get(self.case.kind, {})
        for key, operation in OPERATIONS.items():
            row = [operation, f"{best[key] * 1e3:.2f}"]
            reached = None
            for kind in ("plain", "expert"):
                peers = {
                    name: min(times[key])
                    for name, times in self.times.items()
                    if name in self.peers and self.peers[name].kind == kind and key in times
                }
                if not peers:
                    row += ["none", ""]
                    continue
                name = min(peers, key=lambda name: peers[name])
                ratio = peers[name] / best[key]
                reached = ratio if kind == "plain" else reached
                row += [f"{name} {peers[name] * 1e3:.1f}", f"{ratio:.1f}x"]
            target = targets.get(key)
            verdict = ""
            if target and reached is not None:
                verdict = f"{target}x: " + ("reached" if reached >= target else "not reached")
            rows.append([*row, verdict])
        heads = ["", "fastar ms", "best plain peer, ms", "ratio", "best expert peer, ms", "ratio"]
        return table([*heads, "target, plain"], rows, markdown)

    def _efficiency(self, best: dict[str, float], machine: dict[str, float], markdown: bool) -> str:
        rows = []
        for key, operation in OPERATIONS.items():
            handled = self.sampled if key == "sample" else self.case.rows
            count = family(self.case.family).work(self.case, key, handled)
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
    parser.add_argument("--model", choices=(*FAMILIES, "all"), default="nade")
    parser.add_argument("--data", default=os.environ.get("FASTAR_DATA"), help="folder of data sets")
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--rows", type=int, default=100)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument(
        "--hidden", type=layer_sizes, help="units of the hidden layers, such as 1000,1000"
    )
    parser.add_argument("--repeat", type=int, help="rounds; 7, or 2 with --quick")
    parser.add_argument("--quick", action="store_true", help="short measurements")
    parser.add_argument("--markdown", action="store_true", help="tables for RESULTS.md")
    parser.add_argument(
        "--only",
        choices=("sparse", "dense", "tanh", "gru", "lstm", "equal", "spread"),
        help="of NADE's rows, of recurrent cells, or of the lengths of their sequences",
    )
    options = parser.parse_args()
    if not 1 <= options.threads <= cores():
        parser.error(f"--threads must be 1 to {cores()}, the cores this process may use")
    modules = dict.fromkeys(
        module for name, module in FAMILIES.items() if options.model in (name, "all")
    )
    if options.hidden and {"nade", "recurrent"} & {*modules} and len(options.hidden) != 1:
        parser.error("NADE and recurrent networks have one hidden layer")
    options.repeat = options.repeat or (2 if options.quick else 7)

    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load > 0.5:
        print(f"Other programs are running here (load {load:.1f}): times are not to be trusted.\n")
    seconds = 0.2 if options.quick else 1.0
    machine = measure_machine(options.threads, seconds)
    matches = [
        Match(case, options)
        for name in modules
        for case in family(name).make_cases(options)
        if options.only is None or options.only in case.kind.split()
    ]
    contestants = [Contestant("fastar", options.threads)]
    try:
        for match in matches:
            print(f"{match.title}: fastar alone", file=sys.stderr, flush=True)
            match.warm_up(contestants[0])
        for name in modules:
            for peer in family(name).PEERS:
                contestants.append(Contestant(peer, options.threads))
            for match in matches:
                if match.case.family == name:
                    print(f"{match.title}: everyone", file=sys.stderr, flush=True)
                    match.play(contestants[0], contestants[1:])
            while len(contestants) > 1:
                contestants.pop().close()
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


def layer_sizes(text: str) -> tuple[int, ...]:
    """Read sizes that are separated by commas."""
    sizes = tuple(int(each) for each in text.split(","))
    if min(sizes) < 1:
        raise ValueError
    return sizes


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
