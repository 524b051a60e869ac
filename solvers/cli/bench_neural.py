"""`sciml bench neural`: learned directions against classical methods, training counted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ._errors import INTERRUPTED, BadInput, refusals
from ._files import report_folder
from ._options import Debug, MethodNames, ReportFolder, SolveLimit
from ._output import emit, emit_written
from ._progress import progress_bar
from .bench import chosen_methods

if TYPE_CHECKING:
    from solvers.bench.neural_methods import Contender

_DEFAULT_SYSTEMS = ("box", "ball")
_DEFAULT_GRIDS = ("128", "256", "32^3", "64^3")
_DEFAULT_SOURCES = ("smooth",)


def bench_neural(
    out: ReportFolder = None,
    system: Annotated[
        list[str] | None,
        typer.Option(
            help="box, ball, bunny, or a ConDiff set such as gaussian1.0; may be repeated. "
            f"[{', '.join(_DEFAULT_SYSTEMS)}]"
        ),
    ] = None,
    grid: Annotated[
        list[str] | None,
        typer.Option(
            help=f"As 512, 512x300 or 64^3; may be repeated. [{', '.join(_DEFAULT_GRIDS)}]"
        ),
    ] = None,
    rhs: Annotated[
        list[str] | None,
        typer.Option(help=f"smooth or random; may be repeated. [{', '.join(_DEFAULT_SOURCES)}]"),
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Right-hand sides of each kind.")] = 3,
    rtol: Annotated[float, typer.Option(help="Relative residual asked for.")] = 1e-4,
    methods: MethodNames = None,
    weights: Annotated[
        list[Path] | None,
        typer.Option(help="A network of your own, .safetensors; may be repeated."),
    ] = None,
    bfloat16: Annotated[
        bool, typer.Option("--bfloat16", help="Run the networks' convolutions in bfloat16.")
    ] = False,
    max_seconds: SolveLimit = 30.0,
    seed: Annotated[int, typer.Option(min=0, max=2**64 - 1, help="Seed of the systems.")] = 0,
    listed: Annotated[
        bool, typer.Option("--list", help="List systems and methods and stop.")
    ] = False,
    debug: Debug = False,
) -> int:
    """Compare learned search directions with classical solvers.

    Boxes with and without an obstacle, and ConDiff sets. Training is counted: the report tells
    after how many solves it has paid against each rival. The exit code tells whether the benchmark
    ran.
    """
    if listed:
        emit(_list(bfloat16))
        return 0
    folder = report_folder(out)

    from rich.console import Console

    from solvers.bench import run_neural, show
    from solvers.bench.fields import parse_grid
    from solvers.bench.neural_systems import Source

    known = {source.value: source for source in Source}
    for name in rhs or ():
        if name not in known:
            raise BadInput(f"expected --rhs as one of {', '.join(known)}, got {name}: choose one")
    with refusals():
        shapes = [parse_grid(text) for text in grid or _DEFAULT_GRIDS]
        contenders = _contenders(methods, weights or [], bfloat16)
    with progress_bar("bench neural") as bar, refusals():
        report = run_neural(
            system or _DEFAULT_SYSTEMS,
            shapes,
            sources=[known[name] for name in rhs or _DEFAULT_SOURCES],
            samples=samples,
            rtol=rtol,
            contenders=contenders,
            seed=seed,
            max_seconds=max_seconds,
            progress=bar,
        )
    show(report, Console())
    emit_written(report.write(folder))
    return INTERRUPTED if report.interrupted else 0


def _contenders(names: str | None, weights: list[Path], bfloat16: bool) -> list[Contender]:
    """The methods asked for, and those of the weights given."""
    from solvers.bench.neural import neural_contenders
    from solvers.bench.neural_methods import learned_methods

    known = {c.method.name: c for c in neural_contenders(bfloat16=bfloat16)}
    known |= {c.method.name: c for c in learned_methods(weights, bfloat16=bfloat16)}
    chosen = chosen_methods(names, [], {name: c.method for name, c in known.items()})
    return list(known.values()) if chosen is None else [known[m.name] for m in chosen]


def _list(bfloat16: bool) -> str:
    from sciml.datasets import CONFIGS
    from solvers.bench.neural import neural_contenders
    from solvers.bench.neural_systems import OBSTACLES

    sets = dict.fromkeys(config.name.partition("_grid")[0] for config in CONFIGS)
    lines = [f"system  {name}" for name in (*OBSTACLES, *sets)]
    lines += [f"method  {c.method.name}" for c in neural_contenders(bfloat16=bfloat16)]
    return "\n".join(lines)
