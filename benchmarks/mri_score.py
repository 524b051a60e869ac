"""Posterior means with the learned prior of heads, against SENSE, L1-wavelet, TV and plug-and-play.

    python benchmarks/mri_score.py [--head FILE [--weights FILE]] [--noisy [FILE]]
                                   [--lpn [FILE]] [--kspace cartesian_ksp.npy] [--scans N]
                                   [--rivals] [--anew] [--keep DIR]

--head: a volume that the network was not trained on (its card names what it saw), for simulated
scans with a truth; --weights: another network than the package's. --noisy: draw with the network
trained on noisy images, too, of the package or of a file. --lpn: plug-and-play with a learned
proximal operator, too, of the package or of a file. --kspace: a real scan (coil, ky, kx),
judged by a tenth of its samples, hidden. Without --head and --kspace nothing is measured, and the
Markdown written anew from the JSON. Writes results/mri_score.{json,md}, after every scan; what
is there already is kept, so that folds may run one after another and go on where they stopped.
--keep: images go there too, and those that lie there are drawn in results/mri_score.png.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _mri_score_report import RESULT, draw, rewrite, write

from sciml.io import FileError, atomic_file, read_image
from sciml.mri import (
    biot_savart,
    nrmse,
    poisson_disc,
    psnr,
    random_lines,
    simulate,
    smooth_phase,
    ssim,
)
from sciml.networks import (
    ConvexNetwork,
    Denoiser,
    PretrainedDenoiser,
    PretrainedProximal,
    load_denoiser,
    load_proximal,
    read_card,
    weights_path,
)
from solvers.bench.held_out import need_unseen
from solvers.mri import Method, Reconstruction, Scan, reconstruct, scan_of
from solvers.mri.hold_out import hold_out
from solvers.proximal import Convergence

_COILS, _SAMPLES = 8, 8
_PLACES = (0.3, 0.6)  # of slices, along the part of each axis where the head is
_SIDE = 32  # matrices are the nearest multiples of it
_RIVALS = (Method.SENSE, Method.L1_WAVELET, Method.TV)
_FACTOR, _MOST = 2**0.5, 6  # between weights tried by the truth, and how many
_SPLITS = (11, 12)  # seeds of hidden samples
_SHARE = 0.1
_HEAD = 0.1  # of the brightest pixel: what is above is no air

Row = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """A simulated scan: which slice, how it is sampled, and the noise."""

    head: str
    axis: int
    index: int
    mask: str
    R: int
    snr_db: float
    seed: int

    @property
    def name(self) -> str:
        stem = self.head.split(".")[0]
        return f"{stem}-{self.axis}-{self.index}-{self.mask.split()[0]}-{self.R}-{self.snr_db:g}dB"

    def row(self) -> Row:
        return {
            "head": self.head, "axis": self.axis, "slice": self.index, "mask": self.mask,
            "R": self.R, "snr_db": self.snr_db,
        }  # fmt: skip

    def scanned(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray, Scan]:
        """(the root sum of squares of the coils without noise, complex images of the coils, a scan
        that knows k-space alone)."""
        rng = np.random.default_rng(self.seed)
        if self.mask == "Poisson disc":
            mask = poisson_disc(image.shape, self.R, rng=rng, calibration=20)
        else:
            lines = 20 if self.R < 8 else 12
            mask = random_lines(image.shape, self.R, rng=rng, calibration=lines)
        phase = smooth_phase(image.shape, rng=rng)
        maps = biot_savart(image.shape, _COILS)
        snr = 10 ** (self.snr_db / 20)
        measured = simulate(image, maps, mask, snr=snr, rng=rng, phase=phase)
        scan = scan_of(measured.kspace.astype(np.complex64), mask=measured.mask)
        return measured.reference, measured.maps * measured.image, scan


def cases_of(path: Path) -> list[tuple[Case, np.ndarray]]:
    """Two slices of each axis, each with both masks at R = 4 and 8.

    Half of the scans have 30 dB, half 20: of every mask and R one of two slices, in turns. The
    first twelve have one mask a slice, so that they are balanced by themselves.
    """
    volume = volume_of(path)
    first, second = [], []
    for k, place in enumerate(_PLACES):
        for a, axis in enumerate((2, 1, 0)):
            planes = np.moveaxis(volume, axis, 0)
            there = np.flatnonzero((planes > _HEAD).mean(axis=(1, 2)) > 0.15)
            index = int(there[int(place * len(there))])
            image = resized(planes[index])
            for m, mask in enumerate(("Poisson disc", "lines")):
                for r, R in enumerate((4, 8)):
                    snr_db = (30.0, 20.0)[(k + m + r) % 2]
                    seed = len(first) + len(second) + 1
                    case = Case(path.name, axis, index, mask, R, snr_db, seed)
                    (first if m == (k + a) % 2 else second).append((case, image))
    return first + second


def volume_of(path: Path) -> np.ndarray:
    """Magnitudes, 1 at the 99.5th percentile."""
    volume = np.abs(np.asarray(read_image(path).data, np.float64))
    return volume / np.percentile(volume[volume > 0], 99.5)


def slice_of(path: Path) -> np.ndarray:
    """The middle slice along the last axis."""
    volume = volume_of(path)
    return volume[:, :, volume.shape[2] // 2]


def resized(image: np.ndarray) -> np.ndarray:
    """Cut or filled with air at both ends, to sides that transform fast."""
    for axis, n in enumerate(image.shape):
        less = n - _SIDE * max(1, round(n / _SIDE))
        if less > 0:
            image = np.take(image, range(less // 2, less // 2 + n - less), axis)
        else:
            ends = [(0, 0)] * image.ndim
            ends[axis] = (-less // 2, -less - -less // 2)
            image = np.pad(image, ends)
    return image


@dataclass(frozen=True)
class Truth:
    """What a reconstruction of a case is measured by.

    Attributes:
        image: the root sum of squares of the coils without noise. coils: their complex images.
    """

    image: np.ndarray
    coils: np.ndarray

    def row(self, scan: Scan, found: Reconstruction, method: str) -> tuple[Row, np.ndarray]:
        """Every image counts as 0 where all of ESPIRiT's maps are, since score's is."""
        image = np.abs(found.image) * seen(scan)
        told = {
            "method": method,
            "weight": found.weight or None,
            "PSNR": psnr(image, self.image),
            "NRMSE": nrmse(image, self.image),
            "SSIM": ssim(image, self.image),
            "seconds": found.seconds,
            **certificate(found),
        }
        if found.drawn is not None:
            told["within_90"] = self.covered(scan, found)
        return told, image

    def covered(self, scan: Scan, found: Reconstruction) -> float:
        """Share of the head's pixels that lie in their discs of 90 %.

        The maps' phase is theirs: x = Σ conj(map) coil.
        """
        assert found.drawn is not None
        x = np.sum(scan.maps.conj() * self.coils, axis=0)
        head = (self.image > _HEAD * self.image.max()) & seen(scan)
        inside = np.abs(found.image - x) <= found.drawn.radius(0.9)
        return float(inside[head].mean())


def seen(scan: Scan) -> np.ndarray:
    return np.abs(scan.maps).max(axis=0) > 0


def certificate(found: Reconstruction) -> Row:
    drawn = found.drawn
    if drawn is None:
        assert found.result is not None
        told = {"status": found.result.status.name}
        return told if found.convergence is None else {**told, **watched(found.convergence)}
    return {
        "status": drawn.worst.name,
        "misfit": float(drawn.misfit),
        "mean's error / std": float(drawn.error_share),
        "calls": drawn.calls,
    }


def watched(seen: Convergence) -> Row:
    return {
        "proven": seen.theory.proven,
        "steps": seen.watched,
        "rises": int(seen.rises),
        "short": int(seen.short),
        "fixed point": float(seen.fixed_point[-1]) if len(seen.fixed_point) else None,
    }


def tuned(scan: Scan, first: Reconstruction, truth: np.ndarray) -> Reconstruction:
    """The weight of the highest PSNR, walked to from the one found on hidden samples."""

    def score(found: Reconstruction) -> float:
        return psnr(np.abs(found.image) * seen(scan), truth)

    best, left = first, _MOST
    for factor in (1 / _FACTOR, _FACTOR):
        while left:
            left -= 1
            other = reconstruct(scan, first.method, weight=min(1.0, best.weight * factor))
            if score(other) <= score(best):
                break
            best = other
        if best is not first:
            break
    return best


def with_truth(
    case: Case, image: np.ndarray, priors: dict[str, Prior], there: set[str]
) -> tuple[list[Row], dict[str, np.ndarray]]:
    """(rows of those methods that are not `there`, images by method)."""
    if {*priors, *(one.value for one in _RIVALS)} <= there:
        return [], {}
    reference, coils, scan = case.scanned(image)
    truth = Truth(reference, coils)
    rows: list[Row] = []
    images = {"truth": truth.image}

    def keep(found: Reconstruction, method: str, **more: Any) -> None:
        told, picture = truth.row(scan, found, method)
        rows.append({**case.row(), "matrix": list(image.shape), **told, **more})
        images[method] = picture
        print(rows[-1], flush=True)

    for method in _RIVALS:
        if method.value not in there:
            found = reconstruct(scan, method)
            keep(found, method.value)
            keep(tuned(scan, found, truth.image), f"{method.value}, best weight")
    for name, prior in priors.items():
        if name not in there:
            found = reconstructed(scan, prior.method, prior.network)
            keep(found, name, prior=prior.sha256)
            if found.drawn is not None:
                images[f"std of {name}"] = found.drawn.std
    return rows, images


def reconstructed(
    scan: Scan, method: Method, network: Denoiser | ConvexNetwork | None = None
) -> Reconstruction:
    samples = _SAMPLES if method is Method.SCORE else None
    return reconstruct(scan, method, samples=samples, network=network)


def without_truth(kspace: np.ndarray, lpn: Prior | None, there: list[Row]) -> list[Row]:
    """Errors on a tenth of the samples, relative to them; maps from all samples for all.

    Rows that are `there` are taken over, but for those of lpn.
    """
    whole = scan_of(kspace)
    known_rows = {(row["split"], row["method"]): row for row in there}
    rows = []
    for seed in _SPLITS:
        kept = whole.region or tuple(slice(0, 0) for _ in whole.mask.shape)
        known, held = hold_out(whole.mask, kept, _SHARE, np.random.default_rng(seed))
        scan = scan_of(whole.kspace, mask=known, maps=whole.maps)
        hidden = whole.kspace * held
        for method in (*_RIVALS, Method.SCORE, *[Method.LPN] * (lpn is not None)):
            if method is not Method.LPN and (seed, method.value) in known_rows:
                rows.append(known_rows[seed, method.value])
                continue
            network = lpn.network if lpn is not None and method is Method.LPN else None
            found = reconstructed(scan, method, network)
            error = np.linalg.norm(found.kspace * held - hidden) / np.linalg.norm(hidden)
            rows.append(
                {
                    "split": seed,
                    "method": method.value,
                    "error on hidden samples": float(error),
                    "seconds": found.seconds,
                    **certificate(found),
                }
            )
            print(rows[-1], flush=True)
    return rows


@dataclass(frozen=True)
class Prior:
    """A network with what its card says of it."""

    network: Denoiser | ConvexNetwork
    sha256: str
    about: Row

    @property
    def method(self) -> Method:
        return Method.LPN if isinstance(self.network, ConvexNetwork) else Method.SCORE

    @staticmethod
    def of(source: Path | PretrainedDenoiser | PretrainedProximal, load: Any) -> Prior:
        path = source if isinstance(source, Path) else weights_path(source)
        about = read_card(path)["about"]
        told = {name: about[name] for name in ("command", "data", "objective", "seconds")}
        told["held_out"], told["held_out_sigma"] = about["held_out"], about["held_out_sigma"]
        for curve in ("held_out_nmse_db", "held_out_psnr_db"):
            if curve in about:
                told[curve] = about[curve]
        told["shipped"] = not isinstance(source, Path)
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        return Prior(load(source), sha256, told)


def fold(record: Row, options: argparse.Namespace) -> None:
    """Add the scans of a head to the record, which is written after each of them."""
    priors = {}
    if not options.rivals:
        priors["score"] = Prior.of(options.weights or PretrainedDenoiser.SCORE_MRI, load_denoiser)
    if options.noisy is not None:
        priors["score, noisy-trained"] = Prior.of(options.noisy, load_denoiser)
    if options.lpn is not None:
        priors["lpn"] = Prior.of(options.lpn, load_proximal)
    for prior in priors.values():
        try:
            need_unseen(options.head, prior.about)
        except FileError as error:
            raise SystemExit(str(error)) from None
        record["priors"][prior.sha256] = prior.about
    record["rows"] = [
        row
        for row in record["rows"]
        if row["head"] != options.head.name or not (options.anew or outdated(row, priors))
    ]
    for case, image in cases_of(options.head)[: options.scans]:
        there = {r["method"] for r in record["rows"] if case.row().items() <= r.items()}
        rows, images = with_truth(case, image, priors, there)
        record["rows"] += rows
        if rows:
            write(record)
        if rows and options.keep is not None:
            add_images(options.keep / f"{case.name}.npz", images)


def outdated(row: Row, priors: dict[str, Prior]) -> bool:
    """Whether it is of another network than the method has now."""
    now = priors.get(row["method"])
    return now is not None and row["prior"] != now.sha256


def add_images(path: Path, images: dict[str, np.ndarray]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    older = dict(np.load(path)) if path.exists() else {}
    small = {name: image.astype(np.float16) for name, image in images.items()}
    with atomic_file(path) as handle:
        np.savez_compressed(handle, **{**older, **small})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--head", type=Path)
    parser.add_argument("--weights", type=Path)
    noisy = PretrainedDenoiser.SCORE_MRI_NOISY
    parser.add_argument("--noisy", type=Path, nargs="?", const=noisy)
    lpn = PretrainedProximal.LPN_MRI
    parser.add_argument("--lpn", type=Path, nargs="?", const=lpn)
    parser.add_argument("--kspace", type=Path)
    parser.add_argument("--scans", type=int, help="only so many of a head's 24")
    parser.add_argument("--rivals", action="store_true", help="without score")
    parser.add_argument(
        "--anew", action="store_true", help="drop what is there of this head, or of the real scan"
    )
    parser.add_argument("--keep", type=Path, metavar="DIR")
    options = parser.parse_args()
    record = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    record = {"priors": {}, "rows": [], "real": [], **record}
    if options.head is not None:
        fold(record, options)
    if options.kspace is not None:
        prior = None if options.lpn is None else Prior.of(options.lpn, load_proximal)
        there = [] if options.anew else record["real"]
        record["real"] = without_truth(np.load(options.kspace), prior, there)
    measured = options.head is not None or options.kspace is not None
    for path in (write if measured else rewrite)(record):
        print(path)
    if options.keep is not None:
        print(draw(options.keep))


if __name__ == "__main__":
    main()
