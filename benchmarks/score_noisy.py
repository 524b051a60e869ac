"""Priors from noisy channels alone: ambient training, SURE-Score and naive training, side by side.

    python benchmarks/score_noisy.py [--channels 100] [--snr 0 10 20 ...] [--data 0 10] [--seed 0]
                                     [--work FOLDER]

For each noise of the data (--data, dB) the course of `sciml train score-mimo-noisy-*` is taken by
all three objectives from the same 10,000 channels, and then estimates CDL-C channels by 10 calls,
beside the prior from clean channels and LMMSE with a covariance from the same kind of noisy data.
Trainings are kept in --work, and taken from there by a later run. Writes
results/score_noisy.{json,md,png}.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from _report import RESULTS

from sciml.datasets import CHANNEL_FAMILIES
from sciml.networks import PretrainedDenoiser, load_denoiser, weights_path
from solvers.bench.channels import CHANNEL_ESTIMATORS, SNRS, run_channels, under_prior
from solvers.bench.channels_report import BOUND
from solvers.neural.score import Objective, score_course, train_denoiser

_CALLS = 10
_WAYS = {
    "ambient": Objective.AMBIENT,
    "sure": Objective.SURE_SCORE,
    "naive": Objective.DENOISING,
}


def trained(way: str, data: int, seed: int, work: Path) -> Path:
    """Weights from channels at `data` dB by one of _WAYS."""
    name = PretrainedDenoiser(f"score-mimo-noisy-{data}db")
    folder = work / f"{way}-{data}db-{seed}"
    made = folder / weights_path(name).name
    if not made.exists():
        course = replace(score_course(name), objective=_WAYS[way])
        told = lambda done, total: print(f"{folder.name}: {done} of {total}", end="\r", flush=True)  # noqa: E731
        train_denoiser(name, folder, taken=course, seed=seed, progress=told)
        print()
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--channels", type=int, default=100)
    parser.add_argument("--snr", type=float, nargs="+", default=list(SNRS))
    parser.add_argument("--data", type=int, nargs="+", default=[0, 10], choices=[0, 10])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path("out/score_noisy"))
    options = parser.parse_args()
    estimators = {name: CHANNEL_ESTIMATORS[name] for name in (BOUND, "score-10-calls")}
    for data in options.data:
        for way in _WAYS:
            weights = trained(way, data, options.seed, options.work)
            estimate = under_prior(load_denoiser(weights), _CALLS)
            estimators[f"{way}-{data}db"] = lambda _, estimate=estimate: estimate
        for structure in ("full", "toeplitz"):
            name = f"lmmse-{structure}-{data}db"
            estimators[name] = CHANNEL_ESTIMATORS[name]
    report = run_channels(
        CHANNEL_FAMILIES["cdl-c"],
        snrs=options.snr,
        channels=options.channels,
        estimators=estimators,
        seed=options.seed,
        progress=lambda done, total: print(f"{done} of {total}", flush=True),
    )
    note = (
        f"`ambient-N`, `sure-N` and `naive-N` are means of 4 draws by {_CALLS} calls under priors "
        "trained on the same 10,000 channels seen in noise at N: by ambient training, by "
        "SURE-Score, and by denoising score matching that takes them as clean. Each training takes "
        f"{score_course(PretrainedDenoiser.SCORE_MIMO_NOISY_0DB).plan.steps} steps."
    )
    for path in replace(report, notes=(note,)).write(RESULTS, "score_noisy"):
        print(path, flush=True)


if __name__ == "__main__":
    main()
