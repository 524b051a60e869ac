"""`sciml bench deblur`: images restored from blur, few measurements or projections."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ._errors import INTERRUPTED, BadInput, refusals
from ._files import report_folder
from ._options import Debug, MethodNames, ReportFolder
from ._output import emit, emit_written
from ._progress import progress_bar

if TYPE_CHECKING:
    from sciml.networks import ConvexNetwork

_DEFAULT = "deblur-1.6"


def bench_deblur(
    images: Annotated[
        list[Path] | None,
        typer.Argument(help="Images without noise: PNG, JPEG, .npy, .mat, NIfTI."),
    ] = None,
    out: ReportFolder = None,
    problem: Annotated[
        list[str] | None,
        typer.Option(help=f"See --list, or all; may be repeated.  [default: {_DEFAULT}]"),
    ] = None,
    size: Annotated[int, typer.Option(min=16, help="Pixels along a side of a crop.")] = 256,
    crops: Annotated[int, typer.Option(min=1, max=5, help="Of each image.")] = 2,
    methods: MethodNames = None,
    weights: Annotated[
        Path | None, typer.Option(help="A convex network of your own, .safetensors.")
    ] = None,
    rtol: Annotated[float, typer.Option(help="Relative residual asked for.")] = 1e-5,
    max_iters: Annotated[int, typer.Option(min=1, help="Iterations of a solve at most.")] = 500,
    listed: Annotated[
        bool, typer.Option("--list", help="List problems and methods and stop.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of operators and noise.")] = 0,
    debug: Debug = False,
) -> int:
    """Restore images by a learned prior, total variation and wavelets: PSNR, SSIM, certificates.

    Rivals have the weight that is best by the truth, the learned prior knows the noise alone.
    Images that its network was trained on are refused.

    Example: sciml bench deblur camera.png --problem deblur-1.6 --problem cs --out report
    """
    from solvers.bench.report import text_table
    from solvers.bench.restoration import DEGRADATIONS, read_crops, run_restoration
    from solvers.bench.restoration_methods import METHODS, restorers
    from solvers.bench.restoration_report import network_note

    if listed:
        emit("\n".join((*(f"{n:12} {kind.told}" for n, kind in DEGRADATIONS.items()), *METHODS)))
        return 0
    folder = report_folder(out)
    asked = problem or [_DEFAULT]
    for name in asked:
        if name not in (*DEGRADATIONS, "all"):
            raise BadInput(f"expected --problem of those that --list prints, or all, got {name!r}")
    words = METHODS if methods is None else [word.strip() for word in methods.split(",")]
    names = list(dict.fromkeys(word for word in words if word))
    for name in names:
        if name not in METHODS:
            raise BadInput(f"expected --methods of those that --list prints, got {name!r}")
    if not images:
        raise BadInput("expected an image, got none: name one or more files")
    path, network, about = _network(weights)
    with refusals():
        cut = read_crops(images, size, crops, about)
    with progress_bar("bench deblur") as bar, refusals(network="--weights"):
        known = restorers(network)
        report = run_restoration(
            cut,
            network,
            problems=list(DEGRADATIONS) if "all" in asked else list(dict.fromkeys(asked)),
            methods={name: known[name] for name in names},
            rtol=rtol,
            max_iters=max_iters,
            seed=seed,
            progress=bar,
        )
    emit("\n".join(text_table(report.table(), words=("problem", "method", "status"))))
    for name in report.left_out():
        emit(f"{name} left out: it is for none of these problems")
    report = replace(report, notes=(network_note(path),))
    emit_written(report.write(folder))
    return INTERRUPTED if report.interrupted else 0


def _network(weights: Path | None) -> tuple[Path, ConvexNetwork, dict[str, Any]]:
    """Its weights, and what its card tells of its training."""
    from sciml.networks import PretrainedProximal, load_proximal, read_card, weights_path

    path = weights_path(PretrainedProximal.LPN_NATURAL) if weights is None else weights
    return path, load_proximal(path), read_card(path)["about"]
