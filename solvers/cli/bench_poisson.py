"""`sciml bench poisson`: fast solvers and their peers on diffusion, size by size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ._errors import INTERRUPTED, refusals
from ._files import report_folder
from ._options import Debug, MethodNames, OwnSolvers, ReportFolder, SolveLimit
from ._output import emit, emit_written
from ._progress import progress_bar
from .bench import chosen_methods, named

if TYPE_CHECKING:
    from solvers.bench import Entrant

_DEFAULT_FIELD = "exponential2"
_DEFAULT_GRIDS = ("128", "256", "512")


def bench_poisson(
    out: ReportFolder = None,
    field: Annotated[
        list[str] | None,
        typer.Option(help=f"Kind of k, see --list; may be repeated. [{_DEFAULT_FIELD}]"),
    ] = None,
    grid: Annotated[
        list[str] | None,
        typer.Option(
            help=f"As 512, 512x300 or 64^3; may be repeated. [{', '.join(_DEFAULT_GRIDS)}]"
        ),
    ] = None,
    rhs: Annotated[str, typer.Option(help="Right-hand side: white or smooth.")] = "white",
    rtol: Annotated[float, typer.Option(help="Relative residual asked for.")] = 1e-6,
    repeats: Annotated[int, typer.Option(min=1, help="Timed runs of each method.")] = 3,
    methods: MethodNames = None,
    solver: OwnSolvers = None,
    max_seconds: SolveLimit = 10.0,
    listed: Annotated[
        bool, typer.Option("--list", help="List kinds of k and methods and stop.")
    ] = False,
    debug: Debug = False,
) -> int:
    """Compare fast solvers and installed peers on diffusion, −∇·(k∇u) = f.

    Set-up and solve are timed apart, and the residual of every answer is computed anew. Peers that
    are not installed are named. The exit code tells whether the benchmark ran.
    """
    if listed:
        emit(_list())
        return 0
    folder = report_folder(out)

    from rich.console import Console

    from solvers.bench import run_poisson, show
    from solvers.bench.fields import parse_grid

    with refusals():
        shapes = [parse_grid(text) for text in grid or _DEFAULT_GRIDS]
    entrants = _entrants(methods, solver or [])
    with progress_bar("bench poisson") as bar, refusals():
        report = run_poisson(
            field or [_DEFAULT_FIELD],
            shapes,
            rhs=rhs,
            repeats=repeats,
            rtol=rtol,
            methods=entrants,
            max_seconds=max_seconds,
            progress=bar,
        )
    show(report, Console())
    emit_written(report.write(folder))
    return INTERRUPTED if report.interrupted else 0


def _entrants(names: str | None, own: list[str]) -> list[Entrant] | None:
    """The methods asked for, and what each is for; None stands for all."""
    from solvers.bench import POISSON_METHODS, Entrant

    known = {name: entrant.method for name, entrant in POISSON_METHODS.items()}
    chosen = chosen_methods(names, own, known)
    if chosen is None:
        return None
    return [
        next((e for e in POISSON_METHODS.values() if e.method is method), Entrant(method))
        for method in chosen
    ]


def _list() -> str:
    from solvers.bench import POISSON_METHODS
    from solvers.bench.fields import FAMILIES

    lines = [f"field   {name}" for name in FAMILIES]
    lines += [f"method  {named(entrant.method)}" for entrant in POISSON_METHODS.values()]
    return "\n".join(lines)
