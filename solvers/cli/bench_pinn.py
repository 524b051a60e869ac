"""`sciml bench pinn`: physics-informed networks trained by several methods."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import typer

from ._errors import INTERRUPTED, refusals
from ._files import report_folder
from ._options import Debug, MethodNames, ReportFolder
from ._output import emit, emit_written
from ._progress import progress_bar

_DEFAULT = ("poisson-1d", "heat")


def bench_pinn(
    out: ReportFolder = None,
    cases: Annotated[
        str | None,
        typer.Option(
            help=f"Names with commas between, see --list, or all.  [{','.join(_DEFAULT)}]"
        ),
    ] = None,
    methods: MethodNames = None,
    seconds: Annotated[float, typer.Option(help="Processor time of each training.")] = 10.0,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings, from seeds 0, 1, ...")] = 1,
    listed: Annotated[
        bool, typer.Option("--list", help="List cases and methods and stop.")
    ] = False,
    debug: Debug = False,
) -> int:
    """Train DeepXDE's models by Gauss-Newton and its rivals: error against time.

    All have the same network, first weights, points and float64, on one thread; --list tells what
    the networks know beforehand. Rivals' settings are chosen first, which takes up to one and a
    half times --seconds more for each. Each answer has its certificate: the residual of the
    equation by finite differences.

    Example: sciml bench pinn --cases burgers --seconds 60 --out report
    """
    if listed:
        emit(_list())
        return 0
    folder = report_folder(out)
    with refusals():
        from solvers.bench.pinn import run_pinn
        from solvers.bench.pinn_methods import METHODS
        from solvers.pinn.problems import CASES

        asked = list(CASES) if cases == "all" else _names(cases, _DEFAULT)
        with progress_bar("bench pinn") as bar:
            report = run_pinn(
                asked, _names(methods, METHODS), seconds=seconds, seeds=seeds, progress=bar
            )
    for time in report.times:
        emit(f"relative L2 error after {time:g} s")
        for row in report.table(time):
            width = max(map(len, report.cases))
            emit("  ".join([f"  {row.pop('case'):{width}}", *(f"{m} {e}" for m, e in row.items())]))
    for row in report.ends():
        ended = f", ended {row['ended']}" if row["ended"] else ""
        emit(f"{row['case']}, {row['method']}: residual {row['residual']}, "
             f"conditions {row['conditions']}, steps: {row['steps']}{ended}")  # fmt: skip
    for row in report.settings():
        told = f"{row['errors after a tenth']}; whole time {row['after all']}"
        emit(f"{row['case']}, {row['method']}: {row['setting']} {row['taken']} of {told}")
    for row in report.without_network():
        emit(f"{row['case']}, {row['how']}: {row['error']} in {row['time']}")
    emit_written(report.write(folder))
    return INTERRUPTED if report.interrupted else 0


def _names(given: str | None, default: Iterable[str]) -> list[str]:
    if given is None:
        return list(default)
    return [word for part in given.split(",") if (word := part.strip())]


def _list() -> str:
    from solvers.bench.pinn_methods import METHODS
    from solvers.pinn.problems import CASES

    lines = []
    for name, case in CASES.items():
        lines += [f"case    {name:16} {case.summary}", f"{'':24} {case.model}"]
    lines += [f"method  {name:16} {method.told}" for name, method in METHODS.items()]
    return "\n".join(lines)
