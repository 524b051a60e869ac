"""Posterior sampling of MIMO channels and an image against deepinv's DPS, one prior for both.

    python benchmarks/posterior.py [--channels 8] [--chains 4] [--snr 0 10 20] [--threads 1]
                                   [--priors [gaussian network]] [--head MNI152...nii.gz]
                                   [--rivals PYTHON ...] [--add]

CDL-C channels, 16 x 64, from 38 pilots, under the Gaussian prior of their exact covariance, whose
posterior mean is known, and under the network `score-mimo`; with --head a patch of a head at R = 4
under `score-mri`. deepinv runs in an interpreter that has it (--rivals), with its defaults and with
weights chosen by the truth. Writes results/posterior.{json,md}; with --add, rows of other problems
stay there.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _report import RESULTS, write_results
from _workers import run_worker

from sciml.datasets import (
    ChannelConfig,
    channel_covariance,
    draw_channels,
    noise_variance,
    qpsk_pilots,
)

_WORKER = Path(__file__).with_name("_posterior_worker.py")
_FLOOR = 1e-6  # added to the covariance, whose least eigenvalues are rounding
_CALLS = (2, 4, 10, 30)
# deepinv: weights of DPS's two forms and of DiffPIR, tried at 100 steps; the defaults are 1 and 7.
_WEIGHTS = {
    "norm": (10, 30, 100, 300),
    "annealed": (0.3, 1, 3),
    "DiffPIR": (0.3, 1, 3, 7),
}
_SIDE, _COILS, _SNR, _SCALE = 64, 8, 30.0, 1.3

Data = dict[str, np.ndarray]


@dataclass(frozen=True)
class Case:
    """One problem: its name in the table, what the worker reads, and the exact NMSE if known."""

    prior: str
    told: str
    data: Data
    bound: float | None = None


def channels_of(snr: float, prior: str, channels: int, chains: int) -> Case:
    rng = np.random.default_rng(11)
    config = ChannelConfig()
    H = draw_channels(config, channels, rng)
    P = qpsk_pilots(config.nt, 38, rng)
    variance = noise_variance(snr, config.nt)
    noise = rng.standard_normal((2, channels, config.nr, 38)) * (variance / 2) ** 0.5
    data = {
        "truth": H,
        "y": (H @ P + noise[0] + 1j * noise[1]).astype(np.complex64),
        "pilots": P,
        "sigma": np.array(variance**0.5),
        # deepinv clips real and imaginary parts at 1: at 5.7 standard deviations of theirs
        "size": np.array(4.0),
        "chains": np.array(chains),
    }
    told = f"CDL-C, {snr:g} dB"
    if prior == "network":
        return Case("score-mimo", told, {**data, "network": np.array("score-mimo")})
    C = channel_covariance(config) + _FLOOR * np.eye(config.nr * config.nt)
    powers, vectors = np.linalg.eigh(C)
    A = np.kron(np.eye(config.nr), P.T)
    seen = A @ C @ A.conj().T + variance * np.eye(len(A))
    mean = (C @ A.conj().T @ np.linalg.solve(seen, data["y"].reshape(channels, -1).T)).T
    data |= {"vectors": vectors, "powers": powers}
    return Case("Gaussian", told, data, decibels(mean.reshape(H.shape), H))


def image_of(head: Path, chains: int) -> Case:
    """The middle of a slice, eight loop coils whose maps are known, a quarter of k-space."""
    from mri_score import slice_of

    from sciml.mri import biot_savart, poisson_disc, simulate, smooth_phase

    rng = np.random.default_rng(1)
    whole = slice_of(head)
    top, left = ((size - _SIDE) // 2 for size in whole.shape)
    image = whole[top : top + _SIDE, left : left + _SIDE]
    phase = smooth_phase(image.shape, rng=rng)
    mask = poisson_disc(image.shape, 4, rng=rng, calibration=12)
    maps = biot_savart(image.shape, _COILS)
    measured = simulate(image, maps, mask, snr=_SNR, rng=rng, phase=phase)
    data = {
        "truth": (image * np.exp(1j * phase))[None],
        "y": measured.kspace.astype(np.complex64)[None],
        "maps": maps.astype(np.complex64),
        "mask": np.asarray(measured.mask, np.float32),
        "sigma": np.array(measured.sigma),
        "size": np.array(_SCALE * image.max()),
        "network": np.array("score-mri"),
        "chains": np.array(chains),
    }
    return Case("score-mri", f"head, {_SIDE} x {_SIDE}, R = 4", data)


def decibels(x: np.ndarray, truth: np.ndarray) -> float:
    """NMSE, a mean over channels."""
    square = (np.abs(x - truth) ** 2).sum(axis=(1, 2)) / (np.abs(truth) ** 2).sum(axis=(1, 2))
    return float(10 * np.log10(square.mean()))


@dataclass(frozen=True)
class Runner:
    """Runs tasks of one case."""

    case: Case
    options: argparse.Namespace
    folder: Path

    def __call__(self, library: str, tasks: list[str]) -> list[dict[str, Any]]:
        """A row for each task; none if no interpreter has the library."""
        root = str(Path(__file__).resolve().parents[1])
        environment = {"OMP_NUM_THREADS": str(self.options.threads), "PYTHONPATH": root}
        words = [library, "; ".join(tasks), self.options.threads]
        rivals = self.options.rivals
        found = run_worker(_WORKER, words, self.case.data, rivals, self.folder, environment)
        if found is None:
            return []
        rows = []
        for i, task in enumerate(tasks):
            row = {
                "prior": self.case.prior,
                "problem": self.case.told,
                "method": f"{library} {task}",
                "NMSE, dB": decibels(found["mean"][i], self.case.data["truth"]),
                "calls": int(found["calls"][i]),
                "CPU seconds": float(found["seconds"][i]),
            }
            print(row, flush=True)
            rows.append(row)
        return rows


def rivals_of(run: Runner, steps: int) -> list[dict[str, Any]]:
    """deepinv's rows: the default, and the weights that are best by the truth."""
    names = {"norm": "DPS, {}, norm, {}", "annealed": "DPS, {}, annealed, {}"}
    names["DiffPIR"] = "DiffPIR, {}, {}"
    tasks = {(kind, w): names[kind].format(100, w) for kind in names for w in _WEIGHTS[kind]}
    tried = dict(zip(tasks, run("deepinv", list(tasks.values())), strict=False))
    if not tried:
        print("deepinv is nowhere: left out")
        return []
    best = {
        kind: min(weights, key=lambda w, kind=kind: tried[kind, w]["NMSE, dB"])
        for kind, weights in _WEIGHTS.items()
    }
    chosen = [{**tried[kind, w], "weight": "best by the truth"} for kind, w in best.items()]
    w = best["norm"]
    last = run(
        "deepinv", [names["norm"].format(s, v) for s, v in ((steps, 1), (30, w), (steps, w))]
    )
    told = ("its default", "that of 100 steps", "that of 100 steps")
    last = [{**row, "weight": how} for row, how in zip(last, told, strict=True)]
    return [last[0], *chosen, *last[1:]]


def rows_of(case: Case, options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Ours before and after the rivals: seconds are the mean of both."""
    run = Runner(case, options, folder)
    tasks = [f"DAPS, {calls}" for calls in _CALLS]
    tasks += ["DAPS in Fourier space, 150"] if case.prior == "Gaussian" else []
    before = run("sciml", tasks)
    theirs = rivals_of(run, options.steps)
    after = run("sciml", tasks)
    mine = [
        {**a, "CPU seconds": (a["CPU seconds"] + b["CPU seconds"]) / 2}
        for a, b in zip(before, after, strict=True)
    ]
    for row in theirs:
        as_good = [m for m in mine if m["NMSE, dB"] <= row["NMSE, dB"]]
        if as_good:
            first = min(as_good, key=lambda m: m["calls"])
            row["as good"] = first["method"].removeprefix("sciml ")
            row["calls, ratio"] = row["calls"] / first["calls"]
            row["seconds, ratio"] = row["CPU seconds"] / first["CPU seconds"]
        else:
            row["as good"] = "none"
    columns = ("weight", "as good", "calls, ratio", "seconds, ratio")
    rows = [{**row, **{c: row.get(c, "") for c in columns}} for row in (*mine, *theirs)]
    if case.bound is not None:
        rows = [{**row, "above exact, dB": row["NMSE, dB"] - case.bound} for row in rows]
    else:
        rows = [{**row, "above exact, dB": ""} for row in rows]
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--channels", type=int, default=8)
    parser.add_argument("--chains", type=int, default=4)
    parser.add_argument("--snr", type=float, nargs="+", default=[0.0, 10.0, 20.0])
    parser.add_argument("--priors", nargs="*", default=["gaussian", "network"])
    parser.add_argument("--head", type=Path, help="a volume that score-mri was not trained on")
    parser.add_argument("--steps", type=int, default=1000, help="of deepinv's DPS by default")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rivals", nargs="+", default=[], metavar="PYTHON")
    parser.add_argument("--add", action="store_true", help="keep the rows of other problems")
    options = parser.parse_args()
    cases = [
        channels_of(snr, prior, options.channels, options.chains)
        for prior in options.priors
        for snr in options.snr
    ]
    cases += [] if options.head is None else [image_of(options.head, options.chains)]
    notes = [
        f"{options.channels} CDL-C channels, 16 x 64, 38 pilots, {options.chains} chains each (the "
        "mean is theirs), all at once; one thread for all, complex64. Gaussian: the denoiser is "
        "exact, and the posterior mean is known.",
        "Calls are forward ones, all chains together making one; deepinv's DPS differentiates "
        "each of its calls as well. Seconds are the processor's, in sampling alone, without "
        "loading or set-up of priors; ours are the mean of a run before deepinv's and one after.",
        "Weight: deepinv's DPS as it comes has 1,000 steps and weight 1 (norm); DiffPIR 100 and 7. "
        "Best: by the NMSE against the truth, which no user has, at 100 steps; the same weight at "
        "other numbers of steps.",
        "As good: the fewest calls of DAPS whose NMSE is equal or better; ratios are deepinv's "
        "over those. DAPS knows no truth and has no weight.",
        "In Fourier space: as for a prior that knows no basis of its own.",
    ]
    measured = {(case.prior, case.told) for case in cases}
    path = RESULTS / "posterior.json"
    kept = json.loads(path.read_text())["rows"] if options.add else []
    rows = [row for row in kept if (row["prior"], row["problem"]) not in measured]
    with tempfile.TemporaryDirectory(prefix="posterior-") as name:
        for case in cases:
            rows += rows_of(case, options, Path(name))
            print(write_results("posterior", "Posterior sampling", rows, notes=notes))


if __name__ == "__main__":
    main()
