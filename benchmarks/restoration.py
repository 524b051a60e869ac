"""Images restored by the learned prior, total variation, wavelets and BM3D: `sciml bench deblur`.

    python benchmarks/restoration.py [--images FILE ...] [--problems NAME ...] [--size 256]
                                     [--crops 1] [--weights FILE] [--max-iters N] [--rivals PYTHON]
                                     [--name restoration]

The images have to be ones that the network was not trained on: its card names those by SHA-256.
BM3D runs in an interpreter that has the package bm3d (--rivals), whose licence allows
non-commercial use alone; the noise level that it is told is tuned by the truth. Writes
results/NAME.{json,md,png}: another name leaves what was measured on other images where it is.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from _report import RESULTS
from _workers import run_worker

from sciml.networks import PretrainedProximal, load_proximal, read_card, weights_path
from sciml.operators import Blur
from solvers.bench.restoration import DEGRADATIONS, read_crops, run_restoration
from solvers.bench.restoration_methods import Case, Judge, Restored, restorers
from solvers.bench.restoration_report import LEARNED, network_note

_WORKER = Path(__file__).with_name("_bm3d_worker.py")
_IMAGES = Path(__file__).resolve().parents[2] / "shared" / "data" / "images"
_HELD_OUT = ("camera", "chelsea", "coins")
_LEVELS = (0.5, 0.7, 1.0, 1.4, 2.0, 2.8)  # of the noise that BM3D is told, in units of sigma
_SEEN = "Which kind of network to take for `learned` was seen on the images of this table."
_THREADS = tuple(name for name in os.environ if name.endswith("_NUM_THREADS"))


def bm3d(case: Case, judge: Judge, *, rivals: list[str], folder: Path) -> Restored | None:
    """At the noise level and profile of the highest PSNR; None where it does not apply or is not
    there."""
    if type(case.A) is not Blur:
        return None
    sigmas = case.sigma * np.array(_LEVELS)
    data = {"y": case.y, "kernel": np.asarray(case.A.kernel), "sigmas": sigmas}
    same = {name: os.environ[name] for name in _THREADS}
    found = run_worker(_WORKER, ["bm3d"], data, rivals, folder, same)
    if found is None:
        return None
    images = found["images"].astype(case.y.dtype)
    best = max(range(len(images)), key=lambda i: judge(images[i]))
    told = {"level": float(found["levels"][best]), "profile": str(found["profiles"][best])}
    return Restored(images[best], None, float(found["seconds"][best]), certificate=told)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    files = [_IMAGES / f"{name}.png" for name in _HELD_OUT]
    parser.add_argument("--images", type=Path, nargs="+", default=files)
    parser.add_argument("--problems", nargs="+", default=list(DEGRADATIONS), choices=DEGRADATIONS)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--crops", type=int, default=1)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--rtol", type=float, default=1e-4)
    parser.add_argument("--max-iters", type=int, default=300)
    parser.add_argument("--rivals", nargs="+", default=[], metavar="PYTHON")
    parser.add_argument("--name", default="restoration", help="of the files in results")
    options = parser.parse_args()
    weights = options.weights or weights_path(PretrainedProximal.LPN_NATURAL)
    network, about = load_proximal(weights), read_card(weights)["about"]
    try:
        crops = read_crops(options.images, options.size, options.crops, about)
    except ValueError as error:
        raise SystemExit(str(error)) from None
    with tempfile.TemporaryDirectory(prefix="restoration-") as name:
        methods = restorers(network)
        mine = methods.pop(LEARNED)
        methods["bm3d"] = partial(bm3d, rivals=options.rivals, folder=Path(name))
        report = run_restoration(
            crops,
            network,
            problems=options.problems,
            methods={**methods, LEARNED: mine},
            rtol=options.rtol,
            max_iters=options.max_iters,
            progress=lambda done, total: print(f"{done} of {total}", flush=True),
        )
    there = any(row.method == "bm3d" for row in report.rows)
    told = (
        "`bm3d` is the package of that name, for comparison alone (its licence is non-commercial), "
        f"with the noise level that is best by the truth out of {', '.join(map(str, _LEVELS))} "
        "sigma, and the better one of its profiles `np` and `deb`."
        if there
        else "BM3D was in no interpreter: left out."
    )
    notes = (told, _SEEN, network_note(weights))
    for path in replace(report, notes=notes).write(RESULTS, options.name):
        print(path, flush=True)


if __name__ == "__main__":
    main()
