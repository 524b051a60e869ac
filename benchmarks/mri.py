"""Cartesian and radial MRI against SigPy, deepinv and BART, on the same data, maps and weights.

    python benchmarks/mri.py [--size 320] [--coils 8] [--repeats N] [--threads N]
                             [--rivals PYTHON ...]

Each library runs in an interpreter that has it (--rivals: others than this one); BART is the
program `bart`. What a process of BART costs that takes one step less is taken away from its times.
Writes results/mri.{json,md}.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from _mri_worker import GROWING, LEVELS, MANY, STEPS
from _report import write_results
from _workers import run_worker

from sciml.mri import equispaced, poisson_disc, radial, simulate
from sciml.mri.brain import Contrast, brain, smooth_phase
from sciml.mri.coils import birdcage
from sciml.operators import SENSE, Wavelet
from sciml.priors import L1Wavelet
from solvers.mri import Method, reconstruct, scan_of
from solvers.mri.reconstruct import largest_coefficient

_WORKER = Path(__file__).with_name("_mri_worker.py")
_LAMDA = 1e-3  # Tikhonov's, for maps of norm one
_EQUAL = 1.01  # reconstructions within this of the worst library's best error count as equal
_NEAR = 0.01  # how far above its least an objective may be, as a share of it
# BART gives out what its last gradient step made, before the threshold: with the threshold of its
# step (0.95 over the largest eigenvalue, 1 here) it is the iterate that others give out.
_STEP_OF_BART = 0.95

Data = dict[str, np.ndarray]


def case(kind: str, size: int, coils: int) -> Data:
    """Simulated data, with maps of norm one and the weight that self-validation finds."""
    rng = np.random.default_rng(7)
    shape = (size, size)
    maps = birdcage(shape, coils)
    maps = (maps / np.sqrt((np.abs(maps) ** 2).sum(axis=0))).astype(np.complex64)
    if kind == "lines":
        lines = equispaced(shape, 4) | equispaced(shape, size / 24, calibration=24)
        mask = np.broadcast_to(lines, shape)
    else:
        mask = poisson_disc(shape, 4.0, calibration=24, rng=rng)
    image = brain(shape, Contrast.T1, rng=rng)
    measured = simulate(image, maps, mask, snr=30, rng=rng, phase=smooth_phase(shape, rng=rng))
    kspace = measured.kspace.astype(np.complex64)
    scan = scan_of(kspace, mask=measured.mask, maps=maps)
    found = reconstruct(scan, Method.L1_WAVELET)
    A = SENSE(maps, scan.mask)
    most = largest_coefficient(Wavelet(A.domain), A.adjoint(scan.kspace))
    return {
        "kspace": kspace,
        "maps": maps,
        "mask": np.ascontiguousarray(measured.mask),
        "image": measured.image.astype(np.complex64),
        "lamda": np.array(_LAMDA),
        "lamda_l1": np.array(found.weight * most),
    }


def radial_case() -> Data:
    """256², 8 coils, 201 spokes of 512 samples."""
    maps = birdcage((256, 256), 8).astype(np.complex64)
    image = brain((256, 256), Contrast.T1, rng=np.random.default_rng(7)).astype(np.complex64)
    return {"maps": maps, "image": image, "coords": radial(201, 512)}


def run(library: str, data: Data, options: argparse.Namespace, folder: Path) -> Data | None:
    words = [library, options.threads, options.repeats]
    environment = {"OMP_NUM_THREADS": str(options.threads)}
    return run_worker(_WORKER, words, data, options.rivals, folder, environment)


def seconds(found: Data, task: str) -> float:
    """The median; of BART without what starting costs."""
    starts = {"sense": "start", "l1": "l1 start", "haar": "haar start"}
    start = f"times {starts.get(task.split()[0], '')}"
    less = np.median(found[start]) if start in found else 0.0
    return float(np.median(found[f"times {task}"]) - less)


def error(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.linalg.norm(x - y) / np.linalg.norm(y))


def to_equal(found: dict[str, Data], image: np.ndarray) -> dict[str, float]:
    """Seconds until each library's L1-wavelet image is as good as the worst one's best."""
    errors = {
        library: [error(data[f"image l1 {n}"], image) for n in GROWING]
        for library, data in found.items()
        if f"image l1 {GROWING[0]}" in data
    }
    level = _EQUAL * max(min(each) for each in errors.values())
    reached = {}
    for library, each in errors.items():
        first = next(n for n, one in zip(GROWING, each, strict=True) if one <= level)
        reached[library] = seconds(found[library], f"l1 {first}")
    return reached


def with_haar(found: dict[str, Data], data: Data) -> tuple[dict[str, float], dict[str, float]]:
    """(seconds until the objective with Haar is near its least, the end's distance from ours)."""
    A, lamda = SENSE(data["maps"], data["mask"]), float(data["lamda_l1"])
    prior = L1Wavelet(lamda, Wavelet(A.domain, "haar", levels=LEVELS), averages=True)
    y = data["kspace"] * data["mask"]

    def image(library: str, task: str) -> np.ndarray:
        x = found[library][f"image {task}"]
        return prior.prox(x, _STEP_OF_BART) if library == "bart" else x

    def objective(x: np.ndarray) -> float:
        return float(0.5 * np.linalg.norm(A(x) - y) ** 2 + prior.value(x))

    libraries = [one for one in found if "image haar agreed" in found[one]]
    least = min(objective(image(one, "haar agreed")) for one in libraries)
    times, apart = {}, {}
    for one in libraries:
        apart[one] = error(image(one, "haar agreed"), image("sciml", "haar agreed"))
        near = (n for n in GROWING if objective(image(one, f"haar {n}")) <= (1 + _NEAR) * least)
        times[one] = seconds(found[one], f"haar {next(near)}")
    return times, apart


def rows_of(kind: str, options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    data = case(kind, options.size, options.coils)
    libraries = ["sciml", "sigpy", "deepinv", *(["bart"] if shutil.which("bart") else [])]
    found = {one: run(one, data, options, folder) for one in libraries}
    there = {one: data for one, data in found.items() if data is not None}
    pairs = run("transforms", data, options, folder) or {}
    ours = there["sciml"]
    fastest = min(
        seconds(ours, "pair"), *(seconds(pairs, n[6:]) for n in pairs if n.startswith("times"))
    )
    wavelets = to_equal(there, data["image"])
    haar, apart = with_haar(there, data)
    rows = []
    for library, one in there.items():
        row: dict[str, Any] = {"mask": kind, "library": library}
        if "times normal" in one:
            row["normal, ms"] = 1e3 * seconds(one, "normal")
            row["normal / transforms"] = seconds(one, "normal") / fastest
        row[f"CG, {STEPS} steps, ms"] = 1e3 * seconds(one, "sense")
        row["CG / ours"] = seconds(one, "sense") / seconds(ours, "sense")
        if "image sense agreed" in one:
            row["CG off ours"] = error(one["image sense agreed"], ours["image sense agreed"])
        if library in haar:
            row["Haar, ms"] = 1e3 * haar[library]
            row["Haar / ours"] = haar[library] / haar["sciml"]
            row["Haar off ours"] = apart[library]
        if library in wavelets:
            row["L1-wavelet, ms"] = 1e3 * wavelets[library]
            row["L1 / ours"] = wavelets[library] / wavelets["sciml"]
            row["NRMSE"] = min(error(one[f"image l1 {n}"], data["image"]) for n in GROWING)
        rows.append(row)
        print(row, flush=True)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return [{name: row.get(name, "") for name in columns} for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--coils", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--rivals", nargs="+", default=[], metavar="PYTHON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mri-") as name:
        folder = Path(name)
        rows = [row for kind in ("lines", "Poisson disc") for row in rows_of(kind, options, folder)]
        round_trip = run("radial", radial_case(), options, folder)
    notes = [
        f"{options.size}² x {options.coils} coils, R = 4, complex64, {options.threads} threads for "
        f"all, medians of {options.repeats}. CG: {STEPS} steps on A^H A + {_LAMDA:g} I; ours with "
        "its certificate. deepinv's "
        "damping cannot be set: the same work, another image. BART: less a run of one step.",
        f"Off ours: after {MANY} steps. BART's Haar image after the threshold of its own step: it "
        "gives out what its last gradient step made.",
        f"Haar: the same problem for all ({LEVELS} levels, BART without random shifts), time until "
        f"the objective is within {_NEAR:.0%} of the least that anyone reached.",
        "L1-wavelet: as each library does it (ours and SigPy db4; BART its own, randomly shifted), "
        "one weight for all: time until the image is as good as the worst library's best one.",
        "SigPy transforms by NumPy, which has one thread and no setting for more.",
        "Transforms: the fastest of torch (in our process and in one of its own), ducc0 and pyfftw "
        "for all coils, there and back.",
    ]
    if round_trip is not None:
        toeplitz, twice = (1e3 * seconds(round_trip, one) for one in ("toeplitz", "twice"))
        notes.append(
            f"Radial, 256², 8 coils, 201 spokes: normal operator {toeplitz:.1f} ms as a Toeplitz "
            f"matrix, {twice:.1f} ms by two transforms of finufft ({twice / toeplitz:.1f} times)."
        )
    print(write_results("mri", "MRI reconstruction", rows, notes=notes, packages=("finufft",)))


if __name__ == "__main__":
    main()
