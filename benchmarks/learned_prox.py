"""Seconds of one learned proximal operator of an image, on one thread and on two.

    python benchmarks/learned_prox.py [--size 256] [--repeats 15]

Networks that come with the package, in float32. Writes results/learned_prox.{json,md}.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from _report import time_in_turns, write_results

from sciml import Space
from sciml.networks import PretrainedProximal, load_proximal
from sciml.priors import LearnedProximal
from solvers import CG

_NETWORKS = (PretrainedProximal.LPN_NATURAL, PretrainedProximal.LPN_MRI)
_THREADS = (1, 2)
_SETTLE = 0.05  # seconds in which OpenMP's idle threads stop to spin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    space = Space((options.size, options.size), np.float32)
    rng = np.random.default_rng(0)
    image = rng.random(space.shape, np.float32)
    before = torch.get_num_threads()
    cases = {}
    for name in _NETWORKS:
        prior = LearnedProximal(load_proximal(name), space, sigma=0.1, solver=CG())
        for threads in _THREADS:

            def run(prior: LearnedProximal = prior, threads: int = threads) -> None:
                torch.set_num_threads(threads)
                prior.prox(image, prior.native_step)

            cases[name.value, threads] = run
    timed = time_in_turns(
        {f"{name}, {n}": run for (name, n), run in cases.items()},
        repeats=options.repeats, settle=_SETTLE,
    )  # fmt: skip
    torch.set_num_threads(before)
    rows = []
    for name, threads in cases:
        t = timed[f"{name}, {threads}"]
        rows.append(
            {
                "network": name,
                "threads": threads,
                "median, ms": 1e3 * t.median,
                "quartiles, ms": f"{1e3 * t.low:.0f} to {1e3 * t.high:.0f}",
                "fastest, ms": 1e3 * t.best,
            }
        )
    print(
        write_results(
            "learned_prox",
            f"One learned proximal operator of {options.size} x {options.size} pixels",
            rows,
            notes=[
                "float32, at the native step, where a prox is one evaluation of f.",
                "Strips of rows that fit a core's cache go side by side on as many threads as "
                "there are, each of 12 of the 48 dimensions of a patch: the rank of a class.",
            ],
            packages=["torch"],
        )
    )


if __name__ == "__main__":
    main()
