"""
Time the peers of a family without fastar, at random parameters: `python bench/peer_times.py`.

Their log-likelihoods are compared with plain NumPy in float64, their gradients with one another's,
their samples by what NumPy finds of them.
"""

import argparse
import sys

import numpy as np
from compare import ERRORS, RELATIVE, layer_sizes
from contestants import Contestant
from families import OPERATIONS, PEERS_ALONE, Case, family
from machine import cores
from tables import table


def disagreement(
    case: Case, contestant: Contestant, first: dict[str, np.ndarray], scores: list[np.ndarray]
) -> str:
    """Return in what the peer disagrees with NumPy and the first peer, or "" if it does not."""
    its = family(case.family)
    expected = its.reference(case, case.rows)
    difference = np.abs(contestant.ask("log_likelihood") - expected).max()
    if not difference <= case.nats:
        return f"log-likelihood disagrees by {difference:.2g} nats"
    gradient = contestant.ask("gradient")
    first = first or gradient
    for key, value in first.items():
        error = np.linalg.norm(gradient[key] - value) / np.linalg.norm(value)
        if not error <= RELATIVE:
            return f"gradient by {key} disagrees by {error:.2g} of its norm"
    for other in scores:
        mine = scores[-1]
        error = np.sqrt((mine.var() + other.var()) / mine.size)
        if not abs(mine.mean() - other.mean()) <= ERRORS * error:
            return "samples' mean log-likelihood disagrees"
    return ""


def play(case: Case, options: argparse.Namespace) -> list[list[str]]:
    """Check and time all peers of a case."""
    its = family(case.family)
    entries = its.PEERS
    contestants = {name: Contestant(name, options.threads) for name in entries}
    first: dict[str, np.ndarray] = {}
    scores: list[np.ndarray] = []
    notes = {}
    for name, each in contestants.items():
        each.ask("load", case)
        scores.append(its.reference(case, each.ask("sample")))
        notes[name] = disagreement(case, each, first, scores)
        first = first or each.ask("gradient")
        if case.by_passes:
            each.ask("choose_passes")
    times: dict[tuple[str, str], list[float]] = {}
    for _ in range(options.repeat):
        for key in OPERATIONS:
            for name, each in contestants.items():
                if key in entries[name].operations:
                    found = each.ask("measure", key, options.seconds, 200)
                    times.setdefault((name, key), []).extend(found)
    for each in contestants.values():
        each.close()

    def cell(name: str, key: str) -> str:
        found = times.get((name, key))
        return f"{min(found) * 1e3:.2f} ({np.median(found) * 1e3:.2f})" if found else ""

    return [
        [name, entry.kind, *(cell(name, key) for key in OPERATIONS), notes[name] or "agrees"]
        for name, entry in entries.items()
    ]


def main() -> int:
    """Print a table for each case; the exit status tells whether every peer agreed."""
    parser = argparse.ArgumentParser(description=__doc__.strip().split("\n\n")[0])
    parser.add_argument("--model", choices=(*PEERS_ALONE, "all"), default="all")
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--rows", type=int, default=100)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--hidden", type=layer_sizes, help="units of the hidden layer or layers")
    parser.add_argument("--repeat", type=int, default=5, help="rounds")
    parser.add_argument("--seconds", type=float, default=0.15, help="of each measurement")
    parser.add_argument("--markdown", action="store_true")
    options = parser.parse_args()
    heads = ["ms: smallest (median)", "class", *OPERATIONS.values(), "note"]
    agreed = True
    names = dict.fromkeys(
        module for name, module in PEERS_ALONE.items() if options.model in (name, "all")
    )
    for case in [case for name in names for case in family(name).stand_ins(options)]:
        rows = play(case, options)
        n, D = case.shape
        print(f"{case.name}: {n} rows, {len(case.uniforms)} sampled, D = {D}, {case.sizes}")
        print(table(heads, rows, options.markdown), end="\n\n", flush=True)
        agreed = agreed and all(row[-1] == "agrees" for row in rows)
    return 0 if agreed else 1


if __name__ == "__main__":
    sys.exit(main())
