"""The tree of commands, and the one call that runs it."""

from __future__ import annotations

from typing import Annotated

import typer

from ._errors import BadInput, exit_code
from ._output import emit, say
from .bench import bench_condiff
from .bench_channels import bench_channels
from .bench_deblur import bench_deblur
from .bench_mri import bench_mri
from .bench_neural import bench_neural
from .bench_pinn import bench_pinn
from .bench_poisson import bench_poisson
from .data import data_channels, data_condiff
from .demo import demo
from .estimate import estimate
from .info import info
from .recon import recon
from .solve import solve
from .train import train

app = typer.Typer(
    name="sciml",
    help="Certified solvers for inverse problems and PDEs.",
    epilog="Exit codes: 0 converged or done, 1 not converged, 2 bad input, 130 interrupted.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    invoke_without_command=True,
)
_data = typer.Typer(help="Generate data sets.", rich_markup_mode=None)
_bench = typer.Typer(help="Compare methods, each answer certified.", rich_markup_mode=None)

app.command("solve")(solve)
app.command("recon")(recon)
app.command("estimate")(estimate)
app.command("train")(train)
app.add_typer(_data, name="data")
app.add_typer(_bench, name="bench")
app.command("info")(info)
app.command("demo")(demo)


@_data.callback()
def _data_group() -> None:
    """Generate data sets."""


@_bench.callback()
def _bench_group() -> None:
    """Compare methods, each answer certified."""


_data.command("condiff")(data_condiff)
_data.command("channels")(data_channels)
_bench.command("condiff")(bench_condiff)
_bench.command("poisson")(bench_poisson)
_bench.command("mri")(bench_mri)
_bench.command("deblur")(bench_deblur)
_bench.command("channels")(bench_channels)
_bench.command("neural")(bench_neural)
_bench.command("pinn")(bench_pinn)


@app.callback()
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Certified solvers for inverse problems and PDEs."""
    if version:
        from sciml import __version__

        emit(f"sciml {__version__}")
        raise typer.Exit()
    if context.invoked_subcommand is None:
        raise BadInput("expected a command, got none: see sciml --help")


def run(argv: list[str]) -> int:
    """Run the command in `argv`; every exception becomes a line on stderr and a code."""
    import warnings

    debug = "--debug" in argv
    command = typer.main.get_command(app)
    with warnings.catch_warnings():
        if not debug:
            # Libraries' warnings are for programmers; what a user must know is in the notes.
            warnings.simplefilter("ignore")
        try:
            code = command.main(args=argv, prog_name="sciml", standalone_mode=False) or 0
        except BaseException as error:
            code = exit_code(error, debug=debug)
    if code == 130:
        say("interrupted")
    return code
