"""`sciml bench poisson`: fast solvers and their peers on diffusion, size by size."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ._errors import INTERRUPTED, BadInput, refusals
from ._files import check_folder
from ._options import Debug
from ._output import emit
from ._progress import progress_bar

_DEFAULT_FIELD = "exponential2"
_DEFAULT_GRIDS = ("128", "256", "512")


def bench_poisson(
    out: Annotated[
        Path | None, typer.Option(help="Folder for the report; made if missing.")
    ] = None,
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
    methods: Annotated[
        str | None, typer.Option(help="Names with commas between, see --list; all without.")
    ] = None,
    solver: Annotated[
        list[str] | None,
        typer.Option(help="One of your own, package.module:Class; may be repeated."),
    ] = None,
    max_seconds: Annotated[float, typer.Option(help="Limit for each solve.")] = 10.0,
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
    if out is None:
        raise BadInput("expected --out DIR for the report, got none: name a folder")
    check_folder(out, "--out")

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
    emit("\n".join(f"written     {path}" for path in report.write(out)))
    return INTERRUPTED if report.interrupted else 0


def _entrants(names: str | None, own: list[str]) -> list[Any] | None:
    """The methods asked for; None stands for all. Those of --solver come beside them."""
    from solvers.bench import POISSON_METHODS, Entrant, load_method

    if names is None and not own:
        return None
    found = list(POISSON_METHODS.values())
    if names is not None:
        wanted = [name.strip() for name in names.split(",") if name.strip()]
        unknown = [name for name in wanted if name not in POISSON_METHODS]
        if unknown:
            raise ValueError(
                f"expected --methods from {', '.join(POISSON_METHODS)}, got {unknown[0]!r}: "
                "choose of these"
            )
        found = [POISSON_METHODS[name] for name in wanted]
        for entrant in found:
            if not entrant.method.available:
                raise ImportError(
                    f"expected {entrant.method.needs} for {entrant.method.name}, found none: "
                    "install it, or leave the method out"
                )
    return found + [Entrant(load_method(spec)) for spec in own]


def _list() -> str:
    from solvers.bench import POISSON_METHODS
    from solvers.bench.fields import FAMILIES

    lines = [f"field   {name}" for name in FAMILIES]
    for name, entrant in POISSON_METHODS.items():
        absent = f"  (needs {entrant.method.needs}, which is not installed)"
        lines.append(f"method  {name}{'' if entrant.method.available else absent}")
    return "\n".join(lines)
