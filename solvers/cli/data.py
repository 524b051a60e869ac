"""`sciml data`: data sets made on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ._channels import Family
from ._condiff import condiff_config
from ._errors import BadInput, Failure, refusals
from ._files import check_folder, check_output
from ._options import Debug
from ._output import emit, say
from ._progress import progress_bar

Covariance = Annotated[
    str | None, typer.Option(help="Of the log-coefficient: cubic, exponential or gaussian.")
]
Variance = Annotated[float | None, typer.Option(help="0.1, 0.4, 1.0 or 2.0.")]


def data_condiff(
    out: Annotated[Path, typer.Option(help="Folder; made if missing.")],
    covariance: Covariance = None,
    variance: Variance = None,
    poisson: Annotated[bool, typer.Option("--poisson", help="Constant coefficient.")] = False,
    grid: Annotated[int, typer.Option(help="Inner nodes per side.")] = 128,
    samples: Annotated[int, typer.Option(min=0, help="Training samples.")] = 10,
    test_samples: Annotated[int, typer.Option(min=0, help="Test samples.")] = 0,
    smooth_rhs: Annotated[
        bool, typer.Option("--smooth-rhs", help="Smooth right-hand sides, not white noise.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, max=2**64 - 1, help="Seed.")] = 42,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    debug: Debug = False,
) -> int:
    """Generate diffusion systems in the style of ConDiff, with their solutions.

    Run it again after an interruption, and it goes on where it was.
    """
    config = condiff_config(covariance, variance, poisson, grid)
    if samples + test_samples == 0:
        raise BadInput("expected --samples or --test-samples above 0, got 0 of both: raise one")
    check_folder(out, "--out")
    from sciml.datasets import Rhs, generate_condiff

    rhs = Rhs.SMOOTH if smooth_rhs else Rhs.WHITE
    out.mkdir(parents=True, exist_ok=True)
    try:
        with progress_bar(config.name) as bar, refusals():
            paths = generate_condiff(
                config,
                out,
                train=samples,
                test=test_samples,
                seed=seed,
                workers=workers,
                rhs=rhs,
                progress=bar,
            )
    except (ArithmeticError, RuntimeError) as error:
        raise Failure(str(error)) from error
    except KeyboardInterrupt:
        say("what is done is kept: run the same command again to go on")
        raise
    emit("\n".join(str(path) for path in paths))
    return 0


def data_channels(
    out: Annotated[Path, typer.Option(help="File, .npz or .h5.")],
    family: Annotated[Family, typer.Option(help="Which channels.")] = Family.CDL_C,
    channels: Annotated[int, typer.Option(min=1, help="How many.")] = 100,
    nt: Annotated[int, typer.Option(min=1, help="Transmitting antennas.")] = 64,
    nr: Annotated[int, typer.Option(min=1, help="Receiving antennas.")] = 16,
    pilots: Annotated[int, typer.Option(min=1, help="Random QPSK pilots.")] = 38,
    snr: Annotated[float, typer.Option(help="Signal-to-noise ratio, dB.")] = 10.0,
    seed: Annotated[int, typer.Option(min=0, help="Of channels, pilots and noise.")] = 42,
    debug: Debug = False,
) -> int:
    """Draw MIMO channels of 3GPP TR 38.901, and what is received of pilots sent through them.

    Writes H (channels, Nr, Nt) of mean power 1, P (Nt, Np), Y = H P + noise and sigma2, the noise
    variance Nt 10^(-S / 10) of an entry of Y, for `sciml estimate`.

    Example: sciml data channels --family cdl-c --channels 1000 --out training.npz
    """
    suffix = out.suffix.lower()
    if suffix not in (".npz", ".h5"):
        raise BadInput(f"{out}: expected a name that ends in .npz or .h5 for --out: rename it")
    check_output(out, "--out", suffix, [])
    from sciml.datasets import simulate_pilots
    from sciml.io.channels import write_arrays

    with refusals():
        arrays = simulate_pilots(family.config(nt, nr), channels, pilots=pilots, snr=snr, seed=seed)
    write_arrays(out, arrays)
    emit(str(out))
    return 0
