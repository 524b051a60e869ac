"""Channel estimators from low to high signal-to-noise: `sciml bench channels`, results kept.

    python benchmarks/channels.py [--channels N] [--step DB] [--seed N] [FAMILY ...]

FAMILY is cdl-a, cdl-b, cdl-c, cdl-d, mixed or random. Writes results/channels-FAMILY.{json,md,png}.
"""

from __future__ import annotations

import argparse

import numpy as np
from _report import RESULTS

from sciml.datasets import CHANNEL_FAMILIES
from solvers.bench.channels import run_channels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    names = ["cdl-c", "random"]
    parser.add_argument("names", nargs="*", default=names, metavar="FAMILY")
    parser.add_argument("--channels", type=int, default=100)
    parser.add_argument("--step", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for name in options.names:
        report = run_channels(
            CHANNEL_FAMILIES[name],
            snrs=np.arange(-10, 30 + options.step / 2, options.step).tolist(),
            channels=options.channels,
            seed=options.seed,
        )
        for path in report.write(RESULTS, f"channels-{name}"):
            print(path, flush=True)


if __name__ == "__main__":
    main()
