"""Linear solvers on diffusion systems, against the strongest rivals there are.

    python benchmarks/linear.py [--families NAME ...] [--grids 512^2 64^3 ...] [--rtol 1e-6 1e-10]
                                [--rhs white smooth] [--methods NAME ...] [--rivals PYTHON] ...

Rivals need not be installed beside sciml: `--rivals` names other interpreters that have them. Those
found nowhere are left out with a note. docs/benchmarks.md says how the comparison is made and where
the rivals come from. `--list` prints names. Writes results/linear.{json,md,png}.
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
import tempfile
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import _linear_ours
import _linear_rivals
from _linear_case import Batch, Case, Row, Settings
from _linear_methods import Target
from _linear_report import Report
from _linear_run import Stand
from _linear_team import Quiet
from _report import RESULTS

from solvers.bench.fields import FAMILIES, RHS, parse_grid

_FAMILIES = ("constant", "exponential2", "gaussian2", "inclusions1e6", "blocks1e6")
_BATCHES = ("exponential1.0_grid64", "exponential1.0_grid128")


def grid(text: str) -> tuple[int, ...]:
    """`parse_grid` for argparse."""
    try:
        return parse_grid(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def parsed() -> argparse.Namespace:
    """The command line."""
    summary = __doc__.splitlines()[0] if __doc__ else None
    parser = argparse.ArgumentParser(description=summary)
    add = parser.add_argument
    add("--families", nargs="*", default=list(_FAMILIES), choices=list(FAMILIES), metavar="NAME")
    add("--grids", nargs="*", type=grid, default=[(512,) * 2, (1024,) * 2, (64,) * 3])
    add("--rhs", nargs="+", default=["white"], choices=list(RHS))
    add("--rtol", nargs="+", type=float, default=[1e-6, 1e-10])
    add("--methods", nargs="+", metavar="NAME", help="these only, ours and rivals")
    add("--batches", nargs="*", default=list(_BATCHES), metavar="SET", help="ConDiff sets")
    add("--members", type=int, default=256, help="systems of a batch")
    add("--repeats", type=int, default=5, help="undisturbed runs of each method")
    add("--limit", type=float, default=60.0, help="seconds a method may take to answer")
    add("--threads", type=int, default=len(os.sched_getaffinity(0)))
    add("--patience", type=float, default=300.0, help="seconds to wait for a quiet machine, in all")
    add("--rivals", nargs="+", default=[], metavar="PYTHON", help="interpreters that have rivals")
    add("--name", default="linear", help="of the results")
    add("--list", action="store_true", help="print families and methods")
    return parser.parse_args()


def main() -> None:
    options = parsed()
    if options.list:
        print("families:", *FAMILIES)
        print("ours:", *_linear_ours.SOLVERS, *_linear_ours.BATCHES, sep="\n  ")
        print("rivals:", *_linear_rivals.SOLVERS, *_linear_rivals.BATCHES, sep="\n  ")
        return
    settings = Settings(
        targets=tuple(Target(*pair) for pair in product(options.rhs, options.rtol)),
        repeats=options.repeats,
        limit=options.limit,
        threads=options.threads,
        interpreters=((sys.executable,), *(tuple(shlex.split(one)) for one in options.rivals)),
        quiet=Quiet(patience=options.patience),
        say=lambda text: print(text, flush=True),
    )
    paths: list[Path] = []
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the processes are ended
    with tempfile.TemporaryDirectory(prefix="linear-") as folder:
        for report in measured(options, settings, Path(folder)):
            paths = report.write(RESULTS, options.name)  # after each system: an end may come early
    print(*paths, sep="\n")


def measured(options: argparse.Namespace, settings: Settings, folder: Path) -> Iterator[Report]:
    """Everything that was asked for: a report after each system, the last one is whole."""
    rows: list[Row] = []
    batches: list[Row] = []
    assembly: dict[str, float] = {}
    absent: dict[str, str] = {}
    versions: dict[str, str] = {}

    def report(stand: Stand) -> Report:
        absent.update(stand.absent)
        versions.update(stand.versions())
        return Report(rows, batches, settings.threads, assembly, absent, versions)

    modules = {"_linear_ours": _linear_ours, "_linear_rivals": _linear_rivals}
    solvers = {name: ("SOLVERS", module.SOLVERS) for name, module in modules.items()}
    many = {name: ("BATCHES", module.BATCHES) for name, module in modules.items()}
    path = folder / "system.npz"
    with Stand(solvers, options.methods, settings, folder) as stand:
        for family, shape in product(options.families, options.grids):
            case = Case(family, shape, options.rhs, path)
            settings.say(f"{case.family}, {case.grid}")
            assembly[f"{case.family} {case.grid}"] = case.assembly
            rows += stand.measure(case)
            yield report(stand)
    with Stand(many, options.methods, settings, folder) as stand:
        for name in options.batches:
            settings.say(f"batch of {name}")
            batches += stand.measure_batch(Batch(name, options.members, path), options.rtol[0])
            yield report(stand)


if __name__ == "__main__":
    main()
