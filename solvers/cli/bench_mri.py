"""`sciml bench mri`: every reconstruction of one simulated scan."""

from __future__ import annotations

from typing import Annotated

import typer

from ._errors import refusals
from ._files import report_folder
from ._options import Debug, ReportFolder
from ._output import emit, emit_written
from ._progress import Spinner


def bench_mri(
    out: ReportFolder = None,
    size: Annotated[int, typer.Option(min=32, help="Pixels along a side.")] = 256,
    coils: Annotated[int, typer.Option(min=2, help="Coils.")] = 8,
    acceleration: Annotated[float, typer.Option(help="Of the Poisson disc mask.")] = 4.0,
    snr: Annotated[float, typer.Option(help="Signal-to-noise ratio.")] = 30.0,
    seed: Annotated[int, typer.Option(min=0, help="Of anatomy, mask and noise.")] = 42,
    debug: Debug = False,
) -> int:
    """Compare reconstructions of a simulated brain scan: error, misfit, time, and a picture."""
    folder = report_folder(out)
    from solvers.bench.mri import run_mri

    with Spinner() as spinner, refusals():
        report = run_mri(
            size=size, coils=coils, acceleration=acceleration, snr=snr, seed=seed,
            say=spinner.tell,
        )  # fmt: skip
    for row in report.rows:
        emit(
            f"{row['method']:16} NRMSE {row['NRMSE']:.4f}  SSIM {row['SSIM']:.4f}  "
            f"misfit {row['misfit']:.4f}  {row['seconds']:.2f} s"
        )
    for name, why in report.skipped.items():
        emit(f"{name:16} left out: {why}")
    emit_written(report.write(folder))
    return 0
