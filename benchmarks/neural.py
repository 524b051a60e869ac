"""Learned directions against classical methods, in two and three dimensions.

    python benchmarks/neural.py [--quick] [--bfloat16] [--samples N]

What `sciml bench neural` does, for every tolerance on boxes with and without an obstacle and on
ConDiff sets. Writes results/neural-NAME-TOLERANCE.{json,md,png}.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from solvers.bench import Source, neural_contenders, run_neural
from solvers.bench.fields import parse_grid

_OBSTACLES = ("box", "ball", "bunny")
# Name -> systems, grids, and the grids of a quick run.
_PARTS = {
    "2d": (_OBSTACLES, ("128", "256", "512", "1024"), ("64", "128")),
    "3d": (_OBSTACLES, ("64^3", "128^3"), ("16^3", "32^3")),
    "condiff": (("cubic0.1", "exponential1.0", "gaussian2.0"), ("64", "128"), ("64",)),
}
_RTOL = (1e-4, 1e-6, 1e-8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--parts", nargs="+", choices=_PARTS, default=[*_PARTS])
    parser.add_argument("--rtol", nargs="+", type=float, default=[*_RTOL])
    parser.add_argument("--samples", type=int, default=3)
    parser.add_argument("--max-seconds", type=float, default=300.0)
    parser.add_argument("--bfloat16", action="store_true", help="convolutions in bfloat16")
    parser.add_argument("--quick", action="store_true", help="small grids")
    options = parser.parse_args()
    results = Path(__file__).parent / "results"
    for name in options.parts:
        systems, large, small = _PARTS[name]
        for rtol in options.rtol:
            report = run_neural(
                systems,
                [parse_grid(text) for text in (small if options.quick else large)],
                sources=tuple(Source),
                samples=options.samples,
                rtol=rtol,
                contenders=neural_contenders(bfloat16=options.bfloat16),
                max_seconds=options.max_seconds,
                progress=lambda done, total: print(f"\r{done}/{total}", end="", flush=True),
            )
            told = f"{rtol:.0e}".replace("e-0", "e-")
            print("", *report.write(results, f"neural-{name}-{told}"), sep="\n")
            if report.interrupted:
                return


if __name__ == "__main__":
    main()
