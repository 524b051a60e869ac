"""Do draws hold the truth as often as they say? Coverage and rank histograms.

    python benchmarks/calibration.py [--problems closed mimo mri] [--channels 100] [--draws 9]
                                     [--calls 10] [--images 20] [--head MNI152...nii.gz] [--add]

closed: Gaussian and mixture priors in closed form, truths drawn from the prior, every sampler.
mimo: CDL-C channels, 16 x 64, from 38 pilots at 0, 10 and 20 dB, under `score-mimo`.
mri: procedural heads, and with --head patches of a head that `score-mri` was not trained on, R = 4.
Writes results/calibration.{json,md,png}.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _report import RESULTS, write_results
from mri_score import slice_of

from sciml import Gaussian, InverseProblem, Sampler, Samples, Space, Status, sample
from sciml.datasets import ChannelConfig, draw_channels, noise_variance, qpsk_pilots
from sciml.io import atomic_file
from sciml.mri import biot_savart, brain, poisson_disc, simulate, smooth_phase
from sciml.operators import Dense
from sciml.priors import GaussianPrior, MixturePrior
from sciml.testing import calibration, check_calibration
from solvers import DAPS, DPS, AnnealedLangevin, Covariance, DiffPIR
from solvers.channels import score
from solvers.mri import scan_of
from solvers.mri.posterior import draw_images

_RUNS, _DRAWS = 300, 20  # of the closed forms
_SIDE, _COILS, _SNR, _FULL = 48, 8, 30.0, 12
# Calls of the denoiser: few for what is exact, more for what is only in the limit.
_SAMPLERS: tuple[tuple[str, Sampler, int], ...] = (
    ("DAPS", DAPS(antithetic=False), 20),
    ("DAPS, isotropic", DAPS(antithetic=False, covariance=Covariance.ISOTROPIC), 150),
    ("DiffPIR", DiffPIR(), 150),
    ("DPS", DPS(), 150),
    ("AnnealedLangevin", AnnealedLangevin(), 600),
)


@dataclass(frozen=True)
class Found:
    """truth (runs, *shape); draws (n, runs, *shape), independent; inside: share within 90 % discs.

    statuses: of all runs.
    """

    problem: str
    sampler: str
    truth: np.ndarray
    draws: np.ndarray
    inside: float
    calls: int
    statuses: np.ndarray

    def row(self) -> dict[str, Any]:
        bins = min(10, len(self.draws) + 1)
        found = calibration(self.truth, self.draws, bins=bins)
        try:
            check_calibration(self.truth, self.draws, bins=bins)
            verdict = "calibrated"
        except AssertionError as error:
            verdict = str(error).split(": ")[-1] if "intervals" in str(error) else "uneven ranks"
        told = {
            "problem": self.problem,
            "sampler": self.sampler,
            "calls": self.calls,
            "runs": found.runs,
            "draws": found.n,
            "50 %": found.coverage[0.5],
            "90 %": found.coverage[0.9],
            "90 % discs": self.inside,
            "ranks": " ".join(f"{h:.2f}" for h in found.histogram),
            "verdict": verdict,
            "SAMPLED": int((self.statuses == Status.SAMPLED).sum()),
        }
        print(told, flush=True)
        return told


def within(found: Samples, truth: np.ndarray) -> float:
    return float(np.mean(np.abs(found.mean - truth) <= found.radius(0.9)))


def closed_forms() -> Iterator[Found]:
    space = Space((16,), np.complex128)
    wide = GaussianPrior(np.zeros(16, complex), variance=np.logspace(0, -2, 16))
    away = GaussianPrior(2 * np.ones(16) + 0j, variance=0.05)
    priors: dict[str, Any] = {"Gaussian": wide, "mixture": MixturePrior([0.5, 0.5], [wide, away])}
    for kind, prior in priors.items():
        rng = np.random.default_rng(3)
        A, noise = Dense(Space((8, 16), space.dtype).random(rng) / 4), Gaussian(0.2)
        truth = prior.random(rng, (_RUNS,))
        y = A(truth)
        problem = InverseProblem(A, y + noise.draw(y, rng), noise, prior)
        for name, sampler, calls in _SAMPLERS:
            drawn = sample(problem, sampler, n=_DRAWS, budget=calls, rng=rng, throw=False)
            told = drawn.samples, within(drawn, truth), drawn.calls, np.asarray(drawn.status)
            yield Found(f"closed form, {kind}", name, truth, *told)


def channels(count: int, draws: int, calls: int) -> Iterator[Found]:
    """Ranks among independent draws; discs of the four mirrored ones that `score` takes."""
    for snr in (0.0, 10.0, 20.0):
        rng, config = np.random.default_rng(int(7 + snr)), ChannelConfig()
        H, P = draw_channels(config, count, rng), qpsk_pilots(config.nt, 38, rng)
        sigma2 = noise_variance(snr, config.nt)
        noise = rng.standard_normal((2, count, config.nr, 38)) * (sigma2 / 2) ** 0.5
        Y = (H @ P + noise[0] + 1j * noise[1]).astype(np.complex64)
        plain = score(Y, P, sigma2, sampler=DAPS(antithetic=False), n=draws, budget=calls, rng=rng)
        usual = score(Y, P, sigma2, budget=calls, rng=rng)
        radius = usual.radius(0.9)
        assert isinstance(plain.result, Samples) and isinstance(usual.result, Samples)
        assert radius is not None
        inside = float(np.mean(np.abs(usual.H - H) <= radius))
        statuses = np.asarray(usual.result.status)
        name = f"CDL-C, {snr:g} dB, score-mimo"
        yield Found(name, "DAPS", H, plain.result.samples, inside, plain.result.calls, statuses)


def patches(head: Path | None, count: int) -> Iterator[tuple[str, list[np.ndarray]]]:
    """Images of 48 x 48: whole procedural heads, and middles of a real one, shifted."""
    rng = np.random.default_rng(5)
    yield "procedural heads", [brain((_SIDE, _SIDE), rng=rng) for _ in range(count)]
    if head is None:
        return
    whole = slice_of(head)
    room = [(size - _SIDE) // 2 for size in whole.shape]
    corners = [[r + int(rng.integers(-r // 2, r // 2)) for r in room] for _ in range(count)]
    yield "patches of a head", [whole[i : i + _SIDE, j : j + _SIDE] for i, j in corners]


def images(head: Path | None, count: int) -> Iterator[Found]:
    """As `sciml recon --method score`, maps known. Of mirrored draws one half is independent."""
    maps = biot_savart((_SIDE, _SIDE), _COILS)
    maps = (maps / np.sqrt((np.abs(maps) ** 2).sum(axis=0))).astype(np.complex64)
    for kind, truths in patches(head, count):
        rng, truth, draws, inside, statuses, calls = np.random.default_rng(6), [], [], [], [], 0
        for image in truths:
            phase = smooth_phase(image.shape, rng=rng)
            mask = poisson_disc(image.shape, 4, rng=rng, calibration=_FULL)
            measured = simulate(image, maps, mask, snr=_SNR, rng=rng, phase=phase)
            scan = scan_of(measured.kspace.astype(np.complex64), mask=measured.mask, maps=maps)
            drawn = draw_images(scan, rng=rng).samples
            truth.append(image * np.exp(1j * phase))
            draws.append(drawn.samples[: len(drawn.samples) // 2])
            inside.append(within(drawn, truth[-1]))
            statuses.append(drawn.status)
            calls = drawn.calls
        told = np.stack(truth), np.stack(draws, axis=1), float(np.mean(inside)), calls
        yield Found(f"{kind}, R = 4, score-mri", "DAPS", *told, np.array(statuses))


def draw(path: Path, rows: list[dict[str, Any]]) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    wide = 5
    high = -(-len(rows) // wide)
    figure = Figure(figsize=(2.7 * wide, 2.3 * high), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots(high, wide, squeeze=False, sharey=True).reshape(-1)
    for axis, row in zip(axes, rows, strict=False):
        ranks = [float(word) for word in row["ranks"].split()]
        axis.bar((np.arange(len(ranks)) + 0.5) / len(ranks), ranks, 0.9 / len(ranks))
        axis.axhline(1, color="black", linewidth=0.8)
        axis.set_ylim(0, 3)
        axis.set_title(f"{row['problem']}\n{row['sampler']}", fontsize=8)
        told = f"50 %: {row['50 %']:.0%}, 90 %: {row['90 %']:.0%}, discs {row['90 % discs']:.0%}"
        axis.text(0.5, 2.75, told, ha="center", fontsize=7)
        axis.tick_params(labelsize=7)
    for axis in axes[len(rows) :]:
        axis.axis("off")
    figure.supxlabel("rank of the truth among the draws", fontsize=9)
    with atomic_file(path) as handle:
        canvas.print_png(handle)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--problems", nargs="+", default=["closed", "mimo", "mri"])
    parser.add_argument("--channels", type=int, default=100)
    parser.add_argument("--draws", type=int, default=9, help="for each channel")
    parser.add_argument("--calls", type=int, default=10, help="of the channels' denoiser")
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--head", type=Path)
    parser.add_argument("--add", action="store_true", help="keep the rows of other problems")
    options = parser.parse_args()
    notes = [
        "50 %, 90 %: truths (real and imaginary parts) within central intervals of independent "
        "draws, by their rank. Ranks: how many lie in each part of the draws, 1 if calibrated; "
        "high ends are draws that are too narrow. Verdict: of `sciml.testing.check_calibration`, "
        "coverage within 5 points and even ranks.",
        "90 % discs: entries within `Samples.radius(0.9)` of the mean, of the draws that are the "
        "default: 4 mirrored for channels, 8 for images. They are exact for Gaussian posteriors.",
        f"Closed forms: 16 complex entries, 8 measured, {_RUNS} truths drawn from the prior, "
        f"{_DRAWS} draws. DAPS claims to be exact for the Gaussian, Langevin in the limit of many "
        "steps; isotropic DAPS, DiffPIR and DPS claim nothing.",
        f"Channels: {options.channels}, 16 x 64 from 38 pilots; images: {options.images} of "
        f"{_SIDE} x {_SIDE}, {_COILS} coils with known maps, SNR {_SNR:g}, noise and brightness "
        "found from k-space. Their truths are not drawn from the network's prior, so that errors "
        "of the prior and of the sampler show together.",
        "SAMPLED: runs with that status. It asks for the misfit, and of Langevin's chains for "
        "R-hat: narrow draws may explain the data.",
    ]
    parts = {
        "closed": closed_forms,
        "mimo": lambda: channels(options.channels, options.draws, options.calls),
        "mri": lambda: images(options.head, options.images),
    }
    kept = json.loads((RESULTS / "calibration.json").read_text())["rows"] if options.add else []
    starts = {"closed": "closed form", "mimo": "CDL-C", "mri": ("procedural", "patches")}
    rows: list[dict[str, Any]] = [
        row
        for row in kept
        if not any(row["problem"].startswith(starts[name]) for name in options.problems)
    ]
    for name in options.problems:
        for found in parts[name]():
            rows.append(found.row())
            written = write_results("calibration", "Calibration", rows, notes=notes)
            draw(RESULTS / "calibration.png", rows)
    print(written)


if __name__ == "__main__":
    main()
