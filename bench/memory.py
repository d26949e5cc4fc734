"""
Print the peak memory of a fit: `python bench/memory.py`.

That of `NADE(max_iter=1).fit` on 50,000 x 784 bytes, in a fresh process, above that of the
interpreter with its imports. The array counts as part of the fit.
"""

import argparse
import json
import os
import subprocess
import sys
import warnings

BAR = 250
SHARE = 0.13


def measure(options: argparse.Namespace) -> None:
    """Print, from within the fresh process, the peaks in megabytes as one JSON line."""
    import numpy as np
    from machine import peak_memory

    from fastar import NADE
    from fastar.datasets import load_dataset

    peaks = {"imports": peak_memory()}
    if options.rows_of:
        # The file's other splits are let go; reading them counts as well.
        try:
            X = load_dataset(options.rows_of, options.data).train
        except (ValueError, FileNotFoundError) as error:
            sys.exit(str(error))
    else:
        rng = np.random.default_rng(0)
        X = np.empty((options.rows, options.features), np.uint8)
        for rows in np.array_split(X, max(1, options.rows // 500)):
            rows[...] = rng.random(rows.shape, np.float32) < SHARE
    peaks["array"] = peak_memory()
    with warnings.catch_warnings():
        # One epoch is not meant to converge.
        warnings.simplefilter("ignore")
        NADE(max_iter=1, n_jobs=options.threads).fit(X)
    peaks["fit"] = peak_memory()
    print(json.dumps({"shape": X.shape, "bytes": X.nbytes, **peaks}))


def main() -> int:
    """Start the fresh process and print what it found; the exit status says if the bar is kept."""
    parser = argparse.ArgumentParser(description=__doc__.strip().split("\n\n")[0])
    parser.add_argument(
        "--rows-of", help="a named set, such as binarized_mnist, instead of random rows"
    )
    parser.add_argument("--data", default=os.environ.get("FASTAR_DATA"), help="folder of data sets")
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--features", type=int, default=784)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        measure(options)
        return 0
    answer = subprocess.run(
        [sys.executable, __file__, *sys.argv[1:], "--inside"], stdout=subprocess.PIPE, text=True
    )
    if answer.returncode:
        return answer.returncode
    found = json.loads(answer.stdout)
    above = found["fit"] - found["imports"]
    rows, features = found["shape"]
    print(f"interpreter with its imports  {found['imports']:7.1f} MB")
    print(
        f"with the array, {rows} x {features}   {found['array']:7.1f} MB at the peak, "
        f"of which the array {found['bytes'] / 1e6:.1f} MB"
    )
    print(f"after the fit of one epoch    {found['fit']:7.1f} MB at the peak")
    print(
        f"above the interpreter         {above:7.1f} MB; the bar is {BAR} MB: "
        + ("reached" if above <= BAR else "not reached")
    )
    return 0 if above <= BAR else 1


if __name__ == "__main__":
    sys.exit(main())
