"""`sciml bench`: methods compared on the same systems, every answer measured alike."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Annotated, Any

import typer

from ._condiff import condiff_config
from ._errors import INTERRUPTED, BadInput, Failure, refusals
from ._files import check_folder
from ._options import Debug
from ._output import emit
from ._progress import progress_bar

# From the easiest of the published coefficients to the hardest.
_DEFAULT = (("cubic", 0.1), ("exponential", 1.0), ("gaussian", 2.0))


def bench_condiff(
    out: Annotated[
        Path | None, typer.Option(help="Folder for the report; made if missing.")
    ] = None,
    covariance: Annotated[
        list[str] | None, typer.Option(help="cubic, exponential or gaussian; may be repeated.")
    ] = None,
    variance: Annotated[
        list[float] | None, typer.Option(help="0.1, 0.4, 1.0 or 2.0; may be repeated.")
    ] = None,
    poisson: Annotated[bool, typer.Option("--poisson", help="Constant coefficient.")] = False,
    grid: Annotated[
        list[int] | None, typer.Option(help="Inner nodes per side; may be repeated. [64]")
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Systems of each kind.")] = 3,
    rtol: Annotated[float, typer.Option(help="Relative residual asked for.")] = 1e-6,
    methods: Annotated[
        str | None, typer.Option(help="Names with commas between, see --list; all without.")
    ] = None,
    solver: Annotated[
        list[str] | None,
        typer.Option(help="One of your own, package.module:Class; may be repeated."),
    ] = None,
    max_seconds: Annotated[float, typer.Option(help="Limit for each solve.")] = 10.0,
    seed: Annotated[int, typer.Option(min=0, max=2**64 - 1, help="Seed of the systems.")] = 0,
    listed: Annotated[bool, typer.Option("--list", help="List the methods and stop.")] = False,
    debug: Debug = False,
) -> int:
    """Compare methods on diffusion systems in the style of ConDiff.

    Without --covariance, --variance and --poisson: cubic 0.1, exponential 1.0 and gaussian 2.0.
    Methods that fail are counted in the table; the exit code tells whether the benchmark ran.
    """
    if listed:
        emit(_list())
        return 0
    if out is None:
        raise BadInput("expected --out DIR for the report, got none: name a folder")
    check_folder(out, "--out")
    configs = _configs(covariance or [], variance or [], poisson, grid or [64])
    chosen = _methods(methods, solver or [])

    from rich.console import Console

    from solvers.bench import run_condiff, show

    try:
        with progress_bar("bench condiff") as bar, refusals():
            report = run_condiff(
                configs,
                samples=samples,
                rtol=rtol,
                methods=chosen,
                seed=seed,
                max_seconds=max_seconds,
                progress=bar,
            )
    except ArithmeticError as error:
        raise Failure(str(error)) from error
    show(report, Console())
    emit("\n".join(f"written     {path}" for path in report.write(out)))
    return INTERRUPTED if report.interrupted else 0


def _configs(
    covariances: list[str], variances: list[float], poisson: bool, grids: list[int]
) -> list[Any]:
    kinds: list[tuple[str | None, float | None]] = []
    if bool(covariances) != bool(variances):
        raise BadInput("expected --covariance and --variance together, got one: give both")
    kinds += itertools.product(covariances, variances)
    if not kinds and not poisson:
        kinds += _DEFAULT
    found = [condiff_config(c, v, False, grid) for grid in grids for c, v in kinds]
    if poisson:
        found += [condiff_config(None, None, True, grid) for grid in grids]
    return found


def _methods(names: str | None, own: list[str]) -> list[Any] | None:
    """The methods asked for; None stands for all. Those of --solver come beside them."""
    from solvers.bench import METHODS, load_method

    if names is None and not own:
        return None
    with refusals():
        found = list(METHODS.values())
        if names is not None:
            found = [load_method(name.strip()) for name in names.split(",") if name.strip()]
        return found + [load_method(spec) for spec in own]


def _list() -> str:
    from solvers.bench import METHODS

    return "\n".join(
        name if method.available else f"{name}  (needs {method.needs}, which is not installed)"
        for name, method in METHODS.items()
    )
