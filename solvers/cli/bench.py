"""`sciml bench`: methods compared on the same systems, every answer measured alike."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ._condiff import condiff_config
from ._errors import INTERRUPTED, BadInput, Failure, refusals
from ._files import report_folder
from ._options import Debug, MethodNames, OwnSolvers, ReportFolder, SolveLimit, Track
from ._output import emit, emit_written
from ._progress import progress_bar
from .bench_regression import bench_regression, predictions

if TYPE_CHECKING:
    from solvers.bench import Method

_SAMPLES = 3
# From the easiest of the published coefficients to the hardest.
_DEFAULT = (("cubic", 0.1), ("exponential", 1.0), ("gaussian", 2.0))
_REGRESSION = (("cubic", 0.1), ("gaussian", 1.0))


def bench_condiff(
    out: ReportFolder = None,
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
    samples: Annotated[
        int | None, typer.Option(min=1, help="Systems of each kind. [3; regression: 200]")
    ] = None,
    rtol: Annotated[float, typer.Option(help="Relative residual asked for.")] = 1e-6,
    methods: MethodNames = None,
    solver: OwnSolvers = None,
    max_seconds: SolveLimit = 10.0,
    seed: Annotated[int, typer.Option(min=0, max=2**64 - 1, help="Seed of the systems.")] = 0,
    track: Annotated[
        Track, typer.Option(help="solvers, or regression: networks and others that predict x.")
    ] = Track.SOLVERS,
    listed: Annotated[bool, typer.Option("--list", help="List the methods and stop.")] = False,
    debug: Debug = False,
) -> int:
    """Compare methods on diffusion systems in the style of ConDiff.

    Without --covariance, --variance and --poisson: cubic 0.1, exponential 1.0 and gaussian 2.0.
    Methods that fail are counted in the table; the exit code tells whether the benchmark ran.

    With --track regression, predictions of x from (k, b) are compared with the true x, and as
    first guesses of CG and multigrid: on cubic 0.1 and gaussian 1.0 unless told otherwise. --solver
    then takes package.module:name of a function (k, b) -> x, or a .safetensors file.
    """
    regression = track is Track.REGRESSION
    if listed:
        emit(predictions() if regression else _list())
        return 0
    folder = report_folder(out)
    kinds = _REGRESSION if regression else _DEFAULT
    configs = _configs(covariance or [], variance or [], poisson, grid or [64], kinds)
    if regression:
        return bench_regression(
            configs, folder, samples=samples, rtol=rtol, names=methods, own=solver or [], seed=seed
        )

    from rich.console import Console

    from solvers.bench import METHODS, run_condiff, show

    chosen = chosen_methods(methods, solver or [], METHODS)

    try:
        with progress_bar("bench condiff") as bar, refusals():
            report = run_condiff(
                configs,
                samples=_SAMPLES if samples is None else samples,
                rtol=rtol,
                methods=chosen,
                seed=seed,
                max_seconds=max_seconds,
                progress=bar,
            )
    except ArithmeticError as error:
        raise Failure(str(error)) from error
    show(report, Console())
    emit_written(report.write(folder))
    return INTERRUPTED if report.interrupted else 0


def _configs(
    covariances: list[str],
    variances: list[float],
    poisson: bool,
    grids: list[int],
    default: tuple[tuple[str, float], ...],
) -> list[Any]:
    kinds: list[tuple[str | None, float | None]] = []
    if bool(covariances) != bool(variances):
        raise BadInput("expected --covariance and --variance together, got one: give both")
    kinds += itertools.product(covariances, variances)
    if not kinds and not poisson:
        kinds += default
    found = [condiff_config(c, v, False, grid) for grid in grids for c, v in kinds]
    if poisson:
        found += [condiff_config(None, None, True, grid) for grid in grids]
    return found


def chosen_methods(
    names: str | None, own: list[str], known: Mapping[str, Method]
) -> list[Method] | None:
    """The methods asked for; None stands for all. Those of --solver come beside them."""
    from solvers.bench import load_method

    if names is None and not own:
        return None
    with refusals():
        found = list(known.values())
        if names is not None:
            wanted = [name.strip() for name in names.split(",") if name.strip()]
            found = [load_method(name, known) for name in wanted]
        return found + [load_method(spec) for spec in own]


def named(method: Method) -> str:
    """A method's name, and what it lacks."""
    absent = f"  (needs {method.needs}, which is not installed)"
    return f"{method.name}{'' if method.available else absent}"


def _list() -> str:
    from solvers.bench import METHODS

    return "\n".join(map(named, METHODS.values()))
