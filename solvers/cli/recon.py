"""`sciml recon`: an image from k-space in a file."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from sciml import Status
from sciml.io import atomic_file
from sciml.io.images import write_image
from sciml.io.kspace import KSpace, write_kspace
from sciml.mri import nrmse, psnr, ssim
from solvers.mri import Method, Reconstruction, Scan, reconstruct
from solvers.mri.picture import draw
from solvers.mri.reconstruct import check_draws

from ._errors import INTERRUPTED, BadInput, refusals
from ._files import check_output
from ._options import Debug, MaxGiB, limits_of
from ._output import emit
from ._progress import Spinner
from ._recon_report import SliceReport, facts_of, report_of, text_of
from ._scan import Given, Source, read_given

if TYPE_CHECKING:
    from sciml.networks import ConvexNetwork, Denoiser

_AUTO = "auto"
_METHODS = (_AUTO, *(method.value for method in Method))
_IMAGES = (".npy", ".h5", ".cfl", ".nii", ".nii.gz", ".png")
_KSPACES = (".npy", ".h5", ".cfl")

Key = Annotated[str | None, typer.Option(help="Name of the array in that file.")]


def _method(word: str) -> Method | None:
    """What --method stands for."""
    if word not in _METHODS:
        raise typer.BadParameter(f"{word!r} is not one of {', '.join(map(repr, _METHODS))}")
    return None if word == _AUTO else Method(word)


def recon(
    file: Annotated[
        Path, typer.Argument(help="k-space: ISMRMRD, fastMRI HDF5, BART .cfl, .npy, .npz, .mat.")
    ],
    out: Annotated[Path, typer.Option(help="Image: .npy, .h5, .cfl, .nii, .nii.gz or .png.")],
    method: Annotated[
        Method | None,
        typer.Option(
            parser=_method,
            metavar=f"[{'|'.join(_METHODS)}]",
            help="Method; auto chooses, and says why.  [default: auto]",
        ),
    ] = None,
    key: Annotated[str | None, typer.Option(help="Name of k-space in the file.")] = None,
    coil_axis: Annotated[
        int | None,
        typer.Option(help="Axis of the coils as stored, from 0; found where that is plain."),
    ] = None,
    maps: Annotated[
        str, typer.Option(help="Coil sensitivities (coil, ...): a file, or auto for ESPIRiT.")
    ] = _AUTO,
    maps_key: Key = None,
    mask: Annotated[
        Path | None, typer.Option(help="Which samples count; those not zero without.")
    ] = None,
    mask_key: Key = None,
    calibration: Annotated[
        Path | None, typer.Option(help="Reference scan, k-space of the same coils.")
    ] = None,
    calibration_key: Key = None,
    lamda: Annotated[
        float | None,
        typer.Option(
            help="Weight of the prior, 0 to 1; of lpn, the noise level that its network is told, "
            "relative to the brightest tissue. Found on hidden samples without."
        ),
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(help="Images that score draws, even.  [default: 8]"),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            help="Network of score or lpn, .safetensors with its card beside it; ours without."
        ),
    ] = None,
    reference: Annotated[
        Path | None, typer.Option(help="Image to compare with, by magnitude.")
    ] = None,
    reference_key: Key = None,
    out_kspace: Annotated[
        Path | None,
        typer.Option(help="Write the full k-space that the image predicts: .npy, .h5 or .cfl."),
    ] = None,
    png: Annotated[
        bool, typer.Option("--png", help="Write a picture beside the image, .png.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the hidden samples.")] = 0,
    max_gib: MaxGiB = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    debug: Debug = False,
) -> int:
    """Reconstruct an image from k-space, and say how well it explains the data.

    The weight of the prior is found by hiding a tenth of the measured samples. Slices and other
    batch axes are reconstructed one by one. Nothing is written unless all of them are there.

    score draws images of heads from the posterior under a learned prior, and writes their mean;
    beside it NAME_std, their standard deviation, and NAME_samples (not as .png), the draws.
    lpn minimises, by plug-and-play, with a learned proximal operator of heads, and says what is
    proven of its convergence.

    Example: sciml recon scan.h5 --out image.nii.gz --png
    """
    picture = out.with_name(_stem(out) + ("_report" if out.suffix == ".png" else "") + ".png")
    beside = _beside(out) if method is Method.SCORE else {}
    _check_outputs(
        [path for path in (file, _maps_file(maps), mask, calibration, weights, reference) if path],
        out,
        out_kspace,
        picture if png else None,
        beside,
    )
    if lamda is not None and method is Method.ZERO_FILLED:
        raise BadInput("expected no --lamda with --method zero-filled, which has no prior")
    with refusals(weight="--lamda"):
        check_draws(method, lamda, samples)
    if weights is not None and method not in (Method.SCORE, Method.LPN):
        raise BadInput("expected --weights with --method score or lpn alone")
    asked = _Asked(method, lamda, samples, _network(weights, method), seed)
    with Spinner(not as_json) as spinner:
        spinner.tell(f"reading {file.name!a}")
        given = read_given(
            Source(file, key),
            coil_axis=coil_axis,
            maps=_source(_maps_file(maps), maps_key, "--maps"),
            mask=_source(mask, mask_key, "--mask"),
            calibration=_source(calibration, calibration_key, "--calibration"),
            reference=_source(reference, reference_key, "--reference"),
            limits=limits_of(max_gib),
        )
        found = _reconstructed(given, asked, spinner.tell, predicted=out_kspace is not None)
    if found is None:
        return INTERRUPTED
    scores = None if given.reference is None else _scores(found.image, given.reference)
    written = _write(found, given.kspace, out, out_kspace, beside)
    if png:
        _write_picture(picture, *found.middle, given.reference if given.count == 1 else None)
        written.append(str(picture))
    facts = facts_of(file, given.kspace, found.slices, scores, written)
    emit(json.dumps(facts, allow_nan=False) if as_json else text_of(facts))
    return 0 if all(one.ok for one in found.slices) else 1


@dataclass(frozen=True)
class _Asked:
    """What the options say of the method."""

    method: Method | None
    lamda: float | None
    samples: int | None
    network: Denoiser | ConvexNetwork | None
    seed: int


def _network(weights: Path | None, method: Method | None) -> Denoiser | ConvexNetwork | None:
    if weights is None:
        return None
    from sciml.networks import load_denoiser, load_proximal

    return load_proximal(weights) if method is Method.LPN else load_denoiser(weights)


def _stem(path: Path) -> str:
    return path.name[: -len(".nii.gz")] if path.name.endswith(".nii.gz") else path.stem


def _beside(out: Path) -> dict[str, Path]:
    """What score writes beside the mean; one picture cannot hold several draws."""
    stem, names = _stem(out), ("std",) if out.suffix.lower() == ".png" else ("std", "samples")
    return {name: out.with_name(f"{stem}_{name}{out.name[len(stem) :]}") for name in names}


def _maps_file(maps: str) -> Path | None:
    return None if maps == _AUTO else Path(maps)


def _source(path: Path | None, key: str | None, option: str) -> Source | None:
    if path is None and key is not None:
        raise BadInput(f"expected {option} FILE with {option}-key, got none: name the file")
    return None if path is None else Source(path, key)


def _check_outputs(
    inputs: list[Path],
    out: Path,
    out_kspace: Path | None,
    picture: Path | None,
    beside: dict[str, Path],
) -> None:
    """Raise BadInput unless all can be written, and none is an input or another output."""
    wanted: list[tuple[Path | None, str, tuple[str, ...]]] = [
        (out, "--out", _IMAGES),
        (out_kspace, "--out-kspace", _KSPACES),
    ]
    taken = [one for path in inputs for one in _files(path)]
    wanted += [(path, "--out", _IMAGES) for path in beside.values()]
    for path, option, suffixes in (*wanted, (picture, "--png", (".png",))):
        if path is None:
            continue
        suffix = next((s for s in suffixes if path.name.lower().endswith(s)), None)
        if suffix is None:
            raise BadInput(
                f"{path}: expected a name that ends in {', '.join(suffixes)} for {option}: "
                "rename it"
            )
        check_output(path, option, path.suffix.lower(), [])
        for one in _files(path):
            if one in taken:
                raise BadInput(f"{path}: expected a file of its own for {option}, got one in use")
            taken.append(one)


def _files(path: Path) -> list[Path]:
    """What is read or written under a name: BART's files are pairs."""
    resolved = path.resolve()
    if resolved.suffix.lower() in (".cfl", ".hdr"):
        return [resolved.with_suffix(".cfl"), resolved.with_suffix(".hdr")]
    bare = resolved.with_name(resolved.name + ".cfl")
    return [bare, resolved.with_name(resolved.name + ".hdr")] if bare.exists() else [resolved]


@dataclass(frozen=True, eq=False)
class _Found:
    """image: (*batch, *shape). kspace: as the input's data, None where nobody asked for it.
    middle: what to draw. draws: (samples, *batch, *shape) and std: real (*batch, *shape) of score,
        else None.
    """

    image: np.ndarray
    kspace: np.ndarray | None
    middle: tuple[Scan, Reconstruction]
    slices: list[SliceReport]
    draws: np.ndarray | None
    std: np.ndarray | None


def _reconstructed(
    given: Given, asked: _Asked, say: Callable[[str], None], *, predicted: bool
) -> _Found | None:
    """Slice after slice, of which images and figures are kept; None where it was interrupted."""
    kspace, count = given.kspace, given.count
    image = np.empty((count, *kspace.shape), kspace.data.dtype)
    full = np.empty((count, kspace.coils, *kspace.shape), image.dtype) if predicted else None
    middle, slices = None, []
    draws: list[np.ndarray] = []
    stds: list[np.ndarray] = []

    def tell(text: str) -> None:
        say(f"slice {len(slices) + 1} of {count}: {text}" if count > 1 else text)

    for i, scan in enumerate(given.scans(tell)):
        with refusals(weight="--lamda", network="--weights"):
            found = reconstruct(
                scan,
                asked.method,
                weight=asked.lamda,
                samples=asked.samples,
                network=asked.network,
                rng=np.random.default_rng(asked.seed),
                say=tell,
            )
        if _interrupted(found):
            return None  # half an image is none: nothing is written
        image[i] = found.image
        if found.drawn is not None:
            draws.append(found.drawn.samples)
            stds.append(found.drawn.std)
        if full is not None:
            full[i] = scan.as_measured(found.kspace)
        if i == count // 2:
            middle = scan, found
        slices.append(report_of(scan, found, given=asked.lamda is not None))
    assert middle is not None
    whole = (*kspace.batch_shape, *kspace.shape)
    return _Found(
        image.reshape(whole),
        None if full is None else full.reshape(kspace.data.shape),
        middle,
        slices,
        np.stack(draws, axis=1).reshape(-1, *whole) if draws else None,
        np.stack(stds).reshape(whole) if stds else None,
    )


def _interrupted(found: Reconstruction) -> bool:
    certified = found.result if found.drawn is None else found.drawn
    return certified is not None and certified.status is Status.INTERRUPTED


def _scores(image: np.ndarray, compared: np.ndarray) -> dict[str, float]:
    with refusals():
        return {
            "nrmse": nrmse(image, compared),
            "psnr": psnr(image, compared),
            "ssim": ssim(image, compared),
        }


def _write(
    found: _Found,
    kspace: KSpace,
    out: Path,
    out_kspace: Path | None,
    beside: dict[str, Path],
) -> list[str]:
    fits = kspace.voxel is not None and found.image.ndim == len(kspace.voxel)
    voxel = kspace.voxel if fits else None
    write_image(out, found.image, voxel=voxel)
    written = [str(out)]
    for name, values in (("std", found.std), ("samples", found.draws)):
        if values is not None and name in beside:
            write_image(beside[name], values, voxel=voxel if name == "std" else None)
            written.append(str(beside[name]))
    if out_kspace is not None and found.kspace is not None:
        write_kspace(out_kspace, replace(kspace, data=found.kspace))
        written.append(str(out_kspace))
    return written


def _write_picture(
    path: Path, scan: Scan, found: Reconstruction, reference: np.ndarray | None
) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 4.2), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    draw(figure, scan, found, reference)
    with atomic_file(path) as handle:
        canvas.print_png(handle)
