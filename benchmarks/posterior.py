"""Posterior sampling of MIMO channels against deepinv's DPS, with one prior for both.

    python benchmarks/posterior.py [--channels 8] [--chains 4] [--snr 0 10 20] [--threads 1]
                                   [--weights W ...] [--rivals PYTHON ...]

CDL-C channels, 16 x 64, from 38 pilots, and the Gaussian prior of their exact covariance: the mean
that is wanted is known. deepinv runs in an interpreter that has it (--rivals), with its default of
1,000 steps and four weights of the data term. Writes results/posterior.{json,md}.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from _posterior_worker import STEPS, WEIGHTS
from _report import write_results
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

Data = dict[str, np.ndarray]


def case(snr: float, channels: int, chains: int) -> Data:
    """Channels, their data, the eigenvectors of their covariance, and the exact posterior mean."""
    rng = np.random.default_rng(11)
    config = ChannelConfig()
    C = channel_covariance(config) + _FLOOR * np.eye(config.nr * config.nt)
    powers, vectors = np.linalg.eigh(C)
    H = draw_channels(config, channels, rng)
    P = qpsk_pilots(config.nt, 38, rng)
    variance = noise_variance(snr, config.nt)
    noise = rng.standard_normal((2, channels, config.nr, 38)) * (variance / 2) ** 0.5
    y = (H @ P + noise[0] + 1j * noise[1]).astype(np.complex64)
    A = np.kron(np.eye(config.nr), P.T)
    seen = A @ C @ A.conj().T + variance * np.eye(len(A))
    mean = (C @ A.conj().T @ np.linalg.solve(seen, y.reshape(channels, -1).T)).T
    return {
        "truth": H,
        "y": y,
        "pilots": P,
        "sigma": np.array(variance**0.5),
        "vectors": vectors,
        "powers": powers,
        "exact": mean.reshape(H.shape),
        "chains": np.array(chains),
    }


def run(library: str, task: str, data: Data, options: argparse.Namespace, folder: Path) -> Any:
    root = str(Path(__file__).resolve().parents[1])
    environment = {"OMP_NUM_THREADS": str(options.threads), "PYTHONPATH": root}
    words = [library, task, options.threads]
    return run_worker(_WORKER, words, data, options.rivals, folder, environment)


def decibels(x: np.ndarray, truth: np.ndarray) -> float:
    """NMSE, a mean over channels."""
    square = (np.abs(x - truth) ** 2).sum(axis=(1, 2)) / (np.abs(truth) ** 2).sum(axis=(1, 2))
    return float(10 * np.log10(square.mean()))


def rows_of(snr: float, options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    data = case(snr, options.channels, options.chains)
    truth = data["truth"]
    tasks = [("sciml", f"DAPS, {calls}") for calls in (10, 30)]
    tasks += [("sciml", f"DAPS in Fourier space, {calls}") for calls in (30, 150)]
    tasks += [("deepinv", f"DPS, {weight}") for weight in options.weights]
    rows: list[dict[str, Any]] = []
    bound = decibels(data["exact"], truth)
    for library, task in tasks:
        found = run(library, task, data, options, folder)
        if found is None:
            print(f"{library} is nowhere: left out")
            break
        off = np.linalg.norm(found["mean"] - data["exact"]) / np.linalg.norm(data["exact"])
        row = {
            "SNR, dB": snr,
            "method": f"{library} {task}",
            "NMSE, dB": decibels(found["mean"], truth),
            "above the exact mean, dB": decibels(found["mean"], truth) - bound,
            "mean off the exact one": float(off),
            "denoiser calls": int(found["calls"]),
            "seconds": float(found["seconds"]),
        }
        rows.append(row)
        print(row, flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--channels", type=int, default=8)
    parser.add_argument("--chains", type=int, default=4)
    parser.add_argument("--snr", type=float, nargs="+", default=[0.0, 10.0, 20.0])
    parser.add_argument("--weights", type=float, nargs="+", default=WEIGHTS, help="of deepinv")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rivals", nargs="+", default=[], metavar="PYTHON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="posterior-") as name:
        rows = [row for snr in options.snr for row in rows_of(snr, options, Path(name))]
    notes = [
        f"{options.channels} CDL-C channels, 16 x 64, 38 pilots, {options.chains} chains each (the "
        "mean is theirs), all at once; one thread for all, complex64. The denoiser is exact, so "
        "that the posterior mean is known.",
        "Calls are forward ones, all chains together making one; deepinv differentiates each of "
        "its calls as well. Seconds include everything but the reading of the data.",
        "In Fourier space: as for a prior that knows no basis of its own.",
        f"deepinv: DPS as it comes, {STEPS} steps, with the weight given; 1 is its default, and "
        "none was chosen for it.",
    ]
    print(write_results("posterior", "Posterior sampling", rows, notes=notes))


if __name__ == "__main__":
    main()
