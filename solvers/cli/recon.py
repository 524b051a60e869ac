"""`sciml recon`: an image from k-space in a file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from sciml import Status, __version__
from sciml.io import atomic_file
from sciml.io.images import read_image, write_image
from sciml.io.kspace import KSpace, read_kspace, write_kspace
from sciml.mri import nrmse, psnr, ssim
from solvers.mri import Method, Reconstruction, Scan, reconstruct, scan_of
from solvers.mri.picture import draw

from ._errors import INTERRUPTED, BadInput, refusals
from ._files import check_output
from ._options import Debug
from ._output import emit, finite, one_line
from ._progress import Spinner


class Words(Enum):
    """--method."""

    AUTO = "auto"
    ZERO_FILLED = "zero-filled"
    SENSE = "sense"
    L1_WAVELET = "l1-wavelet"
    TV = "tv"
    GRAPPA = "grappa"


_IMAGES = (".npy", ".h5", ".cfl", ".nii", ".nii.gz", ".png")
_KSPACES = (".npy", ".h5", ".cfl")


def recon(
    file: Annotated[
        Path, typer.Argument(help="k-space: ISMRMRD, fastMRI HDF5, BART .cfl, .npy, .npz, .mat.")
    ],
    out: Annotated[Path, typer.Option(help="Image: .npy, .h5, .cfl, .nii, .nii.gz or .png.")],
    method: Annotated[Words, typer.Option(help="Method; auto chooses, and says why.")] = Words.AUTO,
    maps: Annotated[
        str, typer.Option(help="Coil sensitivities (coil, ...): a file, or auto for ESPIRiT.")
    ] = "auto",
    mask: Annotated[
        Path | None, typer.Option(help="Which samples count; those not zero without.")
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="Reference scan, k-space of the same coils.")
    ] = None,
    key: Annotated[str | None, typer.Option(help="Name of k-space in the file.")] = None,
    coil_axis: Annotated[
        int | None, typer.Option(help="Axis of the coils as stored; found where that is plain.")
    ] = None,
    lamda: Annotated[
        float | None,
        typer.Option(help="Weight of the prior, 0 to 1; found on hidden samples without."),
    ] = None,
    reference: Annotated[
        Path | None, typer.Option(help="Image to compare with, by magnitude.")
    ] = None,
    out_kspace: Annotated[
        Path | None,
        typer.Option(help="Write the full k-space that the image predicts: .npy, .h5 or .cfl."),
    ] = None,
    png: Annotated[
        bool, typer.Option("--png", help="Write a picture beside the image, .png.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the hidden samples.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    debug: Debug = False,
) -> int:
    """Reconstruct an image from k-space, and say how well it explains the data.

    The weight of the prior is found by hiding a tenth of the measured samples. Slices and other
    batch axes are reconstructed one by one.
    """
    picture = out.with_name(_stem(out) + ("_report" if out.suffix == ".png" else "") + ".png")
    inputs = [file, *(Path(maps),) * (maps != "auto")]
    inputs += [path for path in (mask, calibration, reference) if path is not None]
    _check_outputs(inputs, out, out_kspace, picture if png else None)
    if lamda is not None and method is Words.ZERO_FILLED:
        raise BadInput("expected no --lamda with --method zero-filled, which has no prior")
    with Spinner(not as_json) as spinner:
        spinner.tell(f"reading {file.name!a}")
        kspace = read_kspace(file, variable=key, coil_axis=coil_axis).without_oversampling()
        if not kspace.cartesian:
            raise BadInput(
                f"{file}: expected Cartesian k-space, got a trajectory: use "
                "sciml.operators.NonCartesianSENSE from Python"
            )
        given = _Given(kspace, maps, mask, calibration)
        compared = None if reference is None else _compared(reference, kspace)
        chosen = None if method is Words.AUTO else Method(method.value)
        slices: list[tuple[Scan, Reconstruction]] = []
        with refusals():
            for number, scan_now in enumerate(given.scans(spinner.tell)):
                rng = np.random.default_rng(seed)
                found = reconstruct(scan_now, chosen, weight=lamda, rng=rng, say=spinner.tell)
                if found.result is not None and found.result.status is Status.INTERRUPTED:
                    return INTERRUPTED  # half an image is none: nothing is written
                slices.append((scan_now, found))
                spinner.tell(f"slice {number + 1}")
    image = _stacked([found.image for _, found in slices], kspace.batch_shape)
    scores = None if compared is None else _scores(image, compared)
    written = _write(out, image, kspace, out_kspace, slices)
    if png:
        _write_picture(picture, *slices[len(slices) // 2], compared if len(slices) == 1 else None)
        written.append(str(picture))
    facts = _facts(file, kspace, slices, scores, written)
    emit(json.dumps(facts, allow_nan=False) if as_json else _text(facts))
    return 0 if all(found.ok for _, found in slices) else 1


def _stem(path: Path) -> str:
    return path.name[: -len(".nii.gz")] if path.name.endswith(".nii.gz") else path.stem


def _check_outputs(
    inputs: list[Path], out: Path, out_kspace: Path | None, picture: Path | None
) -> None:
    """Raise BadInput unless all can be written, and none is an input or another output."""
    wanted = [(out, "--out", _IMAGES), (out_kspace, "--out-kspace", _KSPACES)]
    taken = [one for path in inputs for one in _files(path)]
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


class _Given:
    """What the user gave, a scan for each slice."""

    def __init__(
        self, kspace: KSpace, maps: str, mask: Path | None, calibration: Path | None
    ) -> None:
        self.kspace = kspace
        self.mask = None if mask is None else np.abs(read_image(mask).data) != 0
        self.maps = None if maps == "auto" else _maps(Path(maps), kspace)
        own = kspace.calibration
        self.calibration = own if calibration is None else _reference_scan(calibration, kspace)

    def scans(self, say: Callable[[str], None]) -> Iterator[Scan]:
        """One after the other: the maps of one slice are found when it is its turn."""
        split = len(self.kspace.batch_shape)
        members = self.kspace.data.reshape(-1, *self.kspace.data.shape[split:])
        return (self._scan(i, member, say) for i, member in enumerate(members))

    def _scan(self, i: int, member: np.ndarray, say: Callable[[str], None]) -> Scan:
        full = self.kspace.data.shape[len(self.kspace.batch_shape) :]
        return scan_of(
            member,
            mask=self.mask,
            maps=_of_member(self.maps, i, len(full)),
            calibration=_of_member(self.calibration, i, len(full)),
            noise=self.kspace.noise,
            say=say,
        )


def _of_member(array: np.ndarray | None, i: int, axes: int) -> np.ndarray | None:
    """What of an array with batch axes, or without, belongs to a member."""
    if array is None or array.ndim == axes:
        return array
    members = array.reshape(-1, *array.shape[array.ndim - axes :])
    return members[i if len(members) > 1 else 0]


def _maps(path: Path, kspace: KSpace) -> np.ndarray:
    maps = read_image(path).data
    expected = (kspace.coils, *kspace.shape)
    if maps.shape[-len(expected) :] != expected:
        raise BadInput(f"{path}: expected maps (coil, ...) {expected}, got {maps.shape}")
    _check_batch(path, maps.shape[: -len(expected)], kspace)
    return maps.astype(kspace.data.dtype)


def _reference_scan(path: Path, kspace: KSpace) -> np.ndarray:
    found = read_kspace(path)
    if found.coils != kspace.coils:
        raise BadInput(
            f"{path}: expected a reference scan of {kspace.coils} coils, got {found.coils}"
        )
    _check_batch(path, found.batch_shape, kspace)
    return found.data


def _check_batch(path: Path, batch: tuple[int, ...], kspace: KSpace) -> None:
    if int(np.prod(batch)) not in (1, int(np.prod(kspace.batch_shape))):
        raise BadInput(
            f"{path}: expected one slice for all, or slices {kspace.batch_shape}, got {batch}"
        )


def _stacked(members: list[np.ndarray], batch: tuple[int, ...]) -> np.ndarray:
    return np.stack(members).reshape(*batch, *members[0].shape)


def _compared(path: Path, kspace: KSpace) -> np.ndarray:
    """The reference with the image's axes; axes of length 1 do not count."""
    expected = (*kspace.batch_shape, *kspace.shape)
    found = read_image(path).data
    if np.squeeze(found).shape != tuple(n for n in expected if n > 1):
        raise BadInput(f"{path}: expected a reference {expected}, got {found.shape}")
    return found.reshape(expected)


def _scores(image: np.ndarray, compared: np.ndarray) -> dict[str, float]:
    with refusals():
        return {
            "nrmse": nrmse(image, compared),
            "psnr": psnr(image, compared),
            "ssim": ssim(image, compared),
        }


def _write(
    out: Path,
    image: np.ndarray,
    kspace: KSpace,
    out_kspace: Path | None,
    slices: list[tuple[Scan, Reconstruction]],
) -> list[str]:
    voxel = None if kspace.voxel is None or image.ndim != len(kspace.voxel) else kspace.voxel
    write_image(out, image, voxel=voxel)
    if out_kspace is None:
        return [str(out)]
    full = _stacked([scan.as_measured(f.kspace) for scan, f in slices], kspace.batch_shape)
    write_kspace(out_kspace, replace(kspace, data=full.astype(kspace.data.dtype)))
    return [str(out), str(out_kspace)]


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


def _facts(
    file: Path,
    kspace: KSpace,
    slices: list[tuple[Scan, Reconstruction]],
    scores: dict[str, float] | None,
    written: list[str],
) -> dict[str, Any]:
    """The report; of several slices one that failed, else the middle one, with the worst misfit."""
    failed = [pair for pair in slices if not pair[1].ok]
    scan, found = failed[0] if failed else slices[len(slices) // 2]
    result = found.result
    return {
        "file": str(file),
        "format": None if kspace.format is None else kspace.format.value,
        "coils": kspace.coils,
        "shape": list(kspace.shape),
        "slices": len(slices),
        "sampled": float(scan.mask.mean()),
        "calibration": None if scan.region is None else [s.stop - s.start for s in scan.region],
        "method": found.method.value,
        "reason": found.reason or None,
        "weight": finite(found.weight),
        "weights_tried": [] if found.search is None else list(found.search.weights),
        "errors_on_hidden": [] if found.search is None else list(found.search.errors),
        "status": "CLOSED_FORM" if result is None else Status(result.status).name,
        "residual": None if result is None else finite(result.residual),
        "iterations": None if result is None else int(result.iterations),
        "misfit": max(finite(f.misfit) or 0.0 for _, f in slices),
        "noise": None if found.noise is None else finite(found.noise),
        "noise_is": scan.sigma_is,
        "seconds": sum(f.seconds for _, f in slices),
        "scores": scores,
        "written": written,
        "notes": [*kspace.notes, *_remarks(found)],
        "version": __version__,
    }


def _remarks(found: Reconstruction) -> list[str]:
    if found.search is not None and found.search.at_end:
        return ["the smallest weight that was tried predicts best: a smaller --lamda may be better"]
    return []


def _text(facts: dict[str, Any]) -> str:
    size = " x ".join(map(str, facts["shape"]))
    several = f", {facts['slices']} slices" if facts["slices"] > 1 else ""
    lines = [
        ("k-space", f"{facts['file']} ({facts['format']})"),
        ("", f"{facts['coils']} coils, {size}{several}, {facts['sampled']:.1%} sampled"),
        ("method", facts["method"]),
    ]
    if facts["reason"]:
        lines.append(("", f"chosen because {facts['reason']}"))
    if facts["weight"]:
        hidden = facts["errors_on_hidden"]
        how = f", found: error {min(hidden):.4f} on hidden samples" if hidden else ", as given"
        lines.append(("weight", f"{facts['weight']:.2e}{how}"))
    if facts["residual"] is not None:
        lines.append(("status", facts["status"]))
        lines.append(("", f"{facts['iterations']} iterations, gap {facts['residual']:.1e}"))
    noise = ""
    if facts["noise"] is not None:
        noise = f"; noise {facts['noise']:.4f} by {facts['noise_is']}"
    lines.append(("misfit", f"{facts['misfit']:.4f} of ||y||{noise}"))
    if facts["scores"] is not None:
        scores = facts["scores"]
        told = f"NRMSE {scores['nrmse']:.4f}, PSNR {scores['psnr']:.2f} dB"
        lines.append(("reference", f"{told}, SSIM {scores['ssim']:.4f}, of magnitudes"))
    lines.append(("time", f"{facts['seconds']:.3g} s"))
    lines += [("written", path) for path in facts["written"]]
    lines += [("note", note) for note in facts["notes"]]
    return "\n".join(f"{name:<11} {one_line(words)}" for name, words in lines)
