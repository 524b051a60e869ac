"""Channel estimators from low to high signal-to-noise: `sciml bench channels`, results kept.

    python benchmarks/channels.py [--channels N] [--step DB] [--seed N] [--methods NAME,... [--add]]
                                  [--snr DB ...] [FAMILY ...]

FAMILY is cdl-a, cdl-b, cdl-c, cdl-d, mixed or random. Writes results/channels-FAMILY.{json,md,png}.
With --add, methods are added to the results that are there, on the same channels, pilots and noise:
`genie` runs again, and has to find what it found.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from _report import RESULTS

from sciml.datasets import CHANNEL_FAMILIES
from solvers.bench.channels import estimators_for, run_channels
from solvers.bench.channels_report import BOUND, ChannelsReport, Score


def added(report: ChannelsReport, path: Path) -> ChannelsReport:
    """The results at `path` with those of `report`, which replace older ones of the same name."""
    record = json.loads(path.read_text())
    older = [
        Score(
            row["estimator"], row["snr"], np.array(row["errors"]), row["seconds"], row["setup"],
            row["within_90"],
        )
        for row in record["rows"]
    ]  # fmt: skip
    for score in older:
        again = report.score(BOUND, score.snr) if score.estimator == BOUND else None
        if again is not None and not np.allclose(again.errors, score.errors, rtol=1e-3):
            raise SystemExit(f"{path}: expected results of the same channels: run all methods")
    new = {(s.estimator, s.snr) for s in report.scores if s.estimator != BOUND}
    kept = [score for score in older if (score.estimator, score.snr) not in new]
    names = ", ".join(f"`{name}`" for name in report.estimators if name != BOUND)
    note = f"Run later than the others, on the same channels, pilots and noise: {names}."
    scores = (*kept, *(s for s in report.scores if (s.estimator, s.snr) in new))
    notes = dict.fromkeys((*record.get("notes", ()), note))
    return replace(report, scores=scores, notes=tuple(notes))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    names = ["cdl-c", "random"]
    parser.add_argument("names", nargs="*", default=names, metavar="FAMILY")
    parser.add_argument("--channels", type=int, default=100)
    parser.add_argument("--step", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--methods", help="names with commas between; all without")
    parser.add_argument("--snr", type=float, nargs="+", help="in place of -10 to 30 by --step")
    parser.add_argument("--add", action="store_true", help="to the results that are there")
    options = parser.parse_args()
    for name in options.names:
        estimators = estimators_for(CHANNEL_FAMILIES[name])
        if options.methods is not None:
            asked = options.methods.split(",")
            estimators = {word: estimators[word] for word in dict.fromkeys([BOUND, *asked])}
        report = run_channels(
            CHANNEL_FAMILIES[name],
            snrs=options.snr or np.arange(-10, 30 + options.step / 2, options.step).tolist(),
            channels=options.channels,
            estimators=estimators,
            seed=options.seed,
            progress=lambda done, total: print(f"{done} of {total}", flush=True),
        )
        if options.add:
            report = added(report, RESULTS / f"channels-{name}.json")
        for path in report.write(RESULTS, f"channels-{name}"):
            print(path, flush=True)


if __name__ == "__main__":
    main()
