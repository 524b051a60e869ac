"""`sciml solve`: a linear system from a file, solved and certified."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from sciml import Look, Result, Solver, Status, Stop
from sciml import solve as run_solve
from sciml.io import atomic_file, write_npz

from ._errors import INTERRUPTED, BadInput, refusals
from ._files import check_output
from ._options import Debug, MaxGiB, Method, Precond, build_solver, check_matrix, limits_of
from ._output import emit, say
from ._progress import Spinner
from ._report import Report
from ._system import System, load_system


def solve(
    file: Annotated[Path, typer.Argument(help="Matrix: .mtx, .mtx.gz, .npz, .npy, .mat or HDF5.")],
    key: Annotated[str | None, typer.Option(help="Name of the matrix in the file.")] = None,
    rhs: Annotated[
        str | None,
        typer.Option(
            help="Right-hand side: a file, 'ones' or 'random'. Without: b, B or rhs in FILE, "
            "else ones."
        ),
    ] = None,
    rhs_key: Annotated[str | None, typer.Option(help="Its name in the file of --rhs.")] = None,
    method: Annotated[
        Method, typer.Option(help="Method; auto chooses, and says why.")
    ] = Method.AUTO,
    precond: Annotated[Precond, typer.Option(help="Preconditioner.")] = Precond.NONE,
    rtol: Annotated[float, typer.Option(help="Relative tolerance, of ||b||.")] = 1e-8,
    atol: Annotated[float, typer.Option(help="Absolute tolerance.")] = 0.0,
    max_iters: Annotated[int | None, typer.Option(help="Iteration limit.")] = None,
    max_seconds: Annotated[
        float | None, typer.Option(help="Time limit, set-up not counted.")
    ] = None,
    double: Annotated[
        bool, typer.Option("--double", help="Compute in double precision, whatever the file's.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of --rhs random.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Write x to this .npz, key x, converged or not.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Write the convergence plot, .png.")] = None,
    max_gib: MaxGiB = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    debug: Debug = False,
) -> int:
    """Solve A x = b from a file, and certify the answer.

    CONVERGED means that the true residual, evaluated in float64 on the x returned, is within the
    tolerance. A matrix that is not square is solved in the sense of least squares.
    """
    with refusals():
        stop = Stop(rtol=rtol, atol=atol, max_iters=max_iters, max_seconds=max_seconds)
    solver = build_solver(method, precond)
    _check_outputs(out, plot, [file] if rhs is None else [file, Path(rhs)])
    with Spinner(not as_json) as spinner:
        spinner.tell(f"reading {file.name!a}")
        system = load_system(
            file, key, rhs, rhs_key, seed, double=double, limits=limits_of(max_gib)
        )
        check_matrix(method, precond, system.shape, hermitian=system.hermitian)
        spinner.tell("setting up")
        result = _solve(system, solver, stop, spinner.look)
    written, failed = _write(result, out, plot)
    report = Report(system, solver, result, *written)
    emit(report.json() if as_json else report.text())
    if as_json:
        for note in report.notes:
            say(f"note: {note}")
    # The result is told before the failure to store it, which a person can then make good.
    if failed is not None:
        raise failed
    if report.status is Status.INTERRUPTED:
        return INTERRUPTED
    return 0 if report.status.ok else 1


def _check_outputs(out: Path | None, plot: Path | None, inputs: list[Path]) -> None:
    if out is not None:
        check_output(out, "--out", ".npz", inputs)
    if plot is not None:
        check_output(plot, "--plot", ".png", inputs)


def _solve(system: System, solver: Solver, stop: Stop, observe: Callable[[Look], None]) -> Result:
    """The result, whatever its status; what the solver refuses before its first step is BadInput,
    what it raises later is a defect and stays what it is."""
    stepped = False

    def look(found: Look) -> None:
        nonlocal stepped
        stepped = True
        observe(found)

    try:
        return run_solve(system.problem, solver, stop=stop, observe=look, throw=False)
    except (TypeError, ValueError, ImportError) as error:
        if stepped:
            raise
        raise BadInput(str(error)) from error


def _write(
    result: Result, out: Path | None, plot: Path | None
) -> tuple[tuple[str | None, str | None], OSError | BadInput | None]:
    """((names of what was written), the first failure)."""
    written: list[str | None] = [None, None]
    failed: OSError | BadInput | None = None
    for i, (path, write) in enumerate(((out, _write_x), (plot, _write_plot))):
        if path is None:
            continue
        try:
            write(path, result)
            written[i] = str(path)
        except OSError as error:
            failed = failed or BadInput(f"{path}: could not be written: {error.strerror or error}")
    return (written[0], written[1]), failed


def _write_x(path: Path, result: Result) -> None:
    write_npz(path, {"x": result.x})


def _write_plot(path: Path, result: Result) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    result.plot(figure.subplots())
    with atomic_file(path) as handle:
        canvas.print_png(handle)
