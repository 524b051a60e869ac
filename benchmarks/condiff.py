"""Solvers on ConDiff systems: `sciml bench condiff` with the results kept.

    python benchmarks/condiff.py [--samples N] [--seed N] [--rtol X] [NAME ...]

NAME is a set such as cubic0.1_grid64. Writes results/condiff.{json,md,png}.
"""

from __future__ import annotations

import argparse

from _report import RESULTS
from rich.console import Console

from sciml.datasets import ConDiffConfig
from solvers.bench import run_condiff, show

SETS = ("cubic0.1_grid64", "exponential1.0_grid64", "cubic0.1_grid128", "exponential1.0_grid128")
SETS += ("gaussian2.0_grid128",)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("names", nargs="*", default=list(SETS), metavar="NAME")
    parser.add_argument("--samples", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rtol", type=float, default=1e-6)
    options = parser.parse_args()
    report = run_condiff(
        [ConDiffConfig.from_name(name) for name in options.names],
        samples=options.samples,
        seed=options.seed,
        rtol=options.rtol,
        max_seconds=5.0,
    )
    show(report, Console())
    for path in report.write(RESULTS):
        print(path)


if __name__ == "__main__":
    main()
