"""Physics-informed networks by Gauss-Newton, Adam, L-BFGS and NNCG: error against time.

    python benchmarks/pinn.py [--cases NAME ...] [--methods NAME ...] [--seconds 60] [--seeds 5]

Each training is kept in results/pinn.json as soon as it is complete, and is not done again: the
benchmark can be stopped and called again, for further cases, methods, seeds and lengths. Table and
picture are of all that is there. One thread; seconds are processor time.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

from _report import RESULTS

from sciml.io import write_json
from solvers.bench.pinn import run_pinn
from solvers.bench.pinn_methods import METHODS
from solvers.bench.pinn_report import PinnReport, read_rows
from solvers.pinn.problems import CASES

_STEM = "pinn"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    path = RESULTS / f"{_STEM}.json"

    def whole(report: PinnReport) -> PinnReport:
        """With what another process has stored in the meantime."""
        rows = {row.key: row for row in (*read_rows(path), *report.rows)}
        return replace(report, rows=tuple(rows.values()))

    def save(report: PinnReport) -> None:
        write_json(path, whole(report).record())
        last = report.rows[-1]
        print(
            f"{last.case:16} {last.method:14} {last.seed} {last.trained.errors[-1]:.1e}", flush=True
        )

    report = run_pinn(
        options.cases,
        options.methods,
        seconds=options.seconds,
        seeds=options.seeds,
        known=read_rows(path),
        save=save,
    )
    for written in whole(report).write(RESULTS, _STEM):
        print(written, flush=True)


if __name__ == "__main__":
    main()
