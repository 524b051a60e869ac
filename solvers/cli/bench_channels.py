"""`sciml bench channels`: channel estimators from low to high signal-to-noise."""

from __future__ import annotations

from typing import Annotated

import typer

from ._channels import Family
from ._errors import INTERRUPTED, BadInput, refusals
from ._files import report_folder
from ._options import Debug, MethodNames, ReportFolder
from ._output import emit, emit_written
from ._progress import progress_bar


def bench_channels(
    out: ReportFolder = None,
    family: Annotated[Family, typer.Option(help="Which channels.")] = Family.CDL_C,
    snr: Annotated[
        str, typer.Option(help="FIRST:LAST:STEP in dB, or numbers with commas between.")
    ] = "-10:30:5",
    channels: Annotated[int, typer.Option(min=2, help="Channels to estimate.")] = 100,
    nt: Annotated[int, typer.Option(min=1, help="Transmitting antennas.")] = 64,
    nr: Annotated[int, typer.Option(min=1, help="Receiving antennas.")] = 16,
    pilots: Annotated[
        int | None, typer.Option(min=1, help="Columns of P; 60 % of --nt without.")
    ] = None,
    pilot_draws: Annotated[int, typer.Option(min=1, help="Pilot matrices.")] = 4,
    methods: MethodNames = None,
    listed: Annotated[bool, typer.Option("--list", help="Print the names and stop.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of channels, pilots and noise.")] = 0,
    debug: Debug = False,
) -> int:
    """Compare channel estimators with the best linear one: NMSE, intervals, times, and a picture.

    Example: sciml bench channels --family random --out report
    """
    from solvers.bench.channels import CHANNEL_ESTIMATORS, estimators_for, run_channels

    if listed:
        emit("\n".join(CHANNEL_ESTIMATORS))
        return 0
    folder = report_folder(out)
    config = family.config(nt, nr)
    words = list(estimators_for(config)) if methods is None else methods.split(",")
    names = [word.strip() for word in words if word.strip()]
    for name in names:
        if name not in CHANNEL_ESTIMATORS:
            raise BadInput(f"expected --methods of those that --list prints, got {name!r}")
    with progress_bar("bench channels") as bar, refusals():
        report = run_channels(
            config,
            snrs=_numbers(snr),
            channels=channels,
            pilots=pilots,
            pilot_draws=pilot_draws,
            estimators={name: CHANNEL_ESTIMATORS[name] for name in dict.fromkeys(names)},
            seed=seed,
            progress=bar,
        )
    emit(report.setting())
    for row in report.table():
        name, *cells = row.values()
        emit(f"{name:22}" + " ".join(f"{cell:>8}" for cell in cells))
    emit_written(report.write(folder))
    return INTERRUPTED if report.interrupted else 0


def _numbers(text: str) -> list[float]:
    """-10:30:5 as -10, -5, ... 30."""
    advice = "expected --snr as FIRST:LAST:STEP or numbers with commas between"
    try:
        parts = [float(part) for part in text.split(":" if ":" in text else ",")]
    except ValueError:
        raise BadInput(f"{advice}, got {text!r}") from None
    if not all(abs(part) <= 300 for part in parts):
        raise BadInput(f"{advice}, from -300 to 300, got {text!r}")
    if ":" not in text:
        return parts
    if len(parts) != 3 or not parts[2] > 0 or parts[1] < parts[0]:
        raise BadInput(f"{advice}, got {text!r}")
    count = int((parts[1] - parts[0]) / parts[2] + 1e-9) + 1
    if count > 1000:
        raise BadInput(f"expected up to 1000 numbers for --snr, got {count}: take larger steps")
    return [parts[0] + i * parts[2] for i in range(count)]
