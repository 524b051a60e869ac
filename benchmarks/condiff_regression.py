"""Predictions of ConDiff solutions: `sciml bench condiff --track regression`, results kept.

    python benchmarks/condiff_regression.py [--samples N] [--solves N] [--seed N] [NAME ...]

NAME is a set such as cubic0.1_grid64. Writes results/condiff-regression.{json,md,png}.
"""

from __future__ import annotations

import argparse

from _report import RESULTS
from rich.console import Console

from sciml.datasets import ConDiffConfig
from solvers.bench import run_regression


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    names = ["cubic0.1_grid64", "gaussian1.0_grid64"]
    parser.add_argument("names", nargs="*", default=names, metavar="NAME")
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--solves", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    report = run_regression(
        [ConDiffConfig.from_name(name) for name in options.names],
        samples=options.samples,
        solves=options.solves,
        seed=options.seed,
    )
    Console().print(report.table())
    for path in report.write(RESULTS):
        print(path)


if __name__ == "__main__":
    main()
