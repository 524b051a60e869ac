"""Physics-informed networks by Gauss-Newton, Adam, L-BFGS, SSBroyden and NNCG: error against time.

    python benchmarks/pinn.py [--cases NAME ...] [--methods NAME ...] [--seconds 10 60] [--seeds 5]
        [--settings-of 60]

Lengths are runs of their own, since schedules are shares of them. Each training, and each choice of
a rival's setting, is kept in results/pinn.json as soon as it is complete, and is not done again:
the benchmark can be stopped and called again, for further cases, methods, seeds and lengths. Tables
and picture are of all that is there. One thread; seconds are processor time.
"""

from __future__ import annotations

import argparse
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from _report import RESULTS

from sciml.io import write_json
from solvers.bench.pinn import run_pinn
from solvers.bench.pinn_methods import METHODS
from solvers.bench.pinn_report import Choice, PinnReport, Row, current, read_rows
from solvers.pinn.problems import CASES

_STEM = "pinn"


@contextmanager
def _alone() -> Iterator[None]:
    """No other process of this benchmark reads and writes the results meanwhile."""
    folder = os.open(RESULTS, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--seconds", nargs="+", type=float, default=[60.0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--settings-of", type=float, help="take those chosen for so many seconds")
    options = parser.parse_args()
    path = RESULTS / f"{_STEM}.json"

    def whole(report: PinnReport, *new: Row | Choice) -> PinnReport:
        """With what is stored by now, of other processes too."""
        before, chosen = read_rows(path)
        rows = {row.key: row for row in (*before, *(n for n in new if isinstance(n, Row)))}
        choices = {c.key: c for c in (*chosen, *(n for n in new if isinstance(n, Choice)))}
        kept = current(rows.values(), choices.values())
        return replace(report, rows=tuple(kept), choices=tuple(choices.values()))

    def save(report: PinnReport, new: Row | Choice) -> None:
        with _alone():
            write_json(path, whole(report, new).record())
        if isinstance(new, Choice):
            what = f"{METHODS[new.method].setting} {new.best:g}"
        else:
            what = f"{new.seed} {new.trained.errors[-1]:.1e}"
        print(f"{new.case:16} {new.method:14} {new.seconds:g} s  {what}", flush=True)

    for seconds in options.seconds:
        known, chosen = read_rows(path)
        report = run_pinn(
            options.cases,
            options.methods,
            seconds=seconds,
            seeds=options.seeds,
            settings_of=options.settings_of,
            known=known,
            chosen=chosen,
            save=save,
        )
        if report.interrupted:
            break
    for written in whole(report).write(RESULTS, _STEM):
        print(written, flush=True)


if __name__ == "__main__":
    main()
