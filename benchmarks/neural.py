"""Learned directions against classical methods, in two and three dimensions.

    OMP_NUM_THREADS=1 python benchmarks/neural.py [--bfloat16] [--samples N] [--parts NAME ...]

What `sciml bench neural` does, on boxes with and without an obstacle and on ConDiff sets. Large
grids get fewer kinds of systems. Networks run on one thread, so that one thread for all is fair.
Writes results/neural-PART-TOLERANCE.{json,md,png}.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from solvers.bench import Source, neural_contenders, run_neural
from solvers.bench.fields import parse_grid

_OBSTACLES = ("box", "ball", "bunny")


@dataclass(frozen=True)
class Part:
    """One report for each tolerance.

    Attributes:
        systems, grids: as in `run_neural`. quick: grids of a quick run. tolerances: asked for.
        sources: of right-hand sides. max_seconds: limit on each solve.
    """

    systems: tuple[str, ...]
    grids: tuple[str, ...]
    quick: tuple[str, ...]
    tolerances: tuple[float, ...]
    sources: tuple[Source, ...] = tuple(Source)
    max_seconds: float = 20.0


_PARTS = {
    "condiff": Part(("cubic0.1", "exponential1.0", "gaussian2.0"), ("64", "128"), ("64",), (1e-6,)),
    "3d": Part(_OBSTACLES, ("64^3",), ("16^3", "32^3"), (1e-4, 1e-8), max_seconds=60.0),
    "3d-large": Part(
        _OBSTACLES[:2], ("128^3",), ("32^3",), (1e-4,), (Source.SMOOTH,), max_seconds=240.0
    ),
    "2d": Part(_OBSTACLES[:2], ("128", "256", "512"), ("64", "128"), (1e-6,)),
    "2d-bunny": Part(_OBSTACLES[2:], ("128", "256", "512"), ("64", "128"), (1e-6,)),
    "2d-large": Part(_OBSTACLES[:2], ("1024",), ("128",), (1e-6,), (Source.SMOOTH,)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--parts", nargs="+", choices=_PARTS, default=[*_PARTS])
    parser.add_argument("--rtol", nargs="+", type=float, help="in place of those of the parts")
    parser.add_argument("--samples", type=int, default=3)
    parser.add_argument("--bfloat16", action="store_true", help="convolutions in bfloat16")
    parser.add_argument("--quick", action="store_true", help="small grids")
    options = parser.parse_args()
    results = Path(__file__).parent / "results"
    for name in options.parts:
        part = _PARTS[name]
        for rtol in options.rtol or part.tolerances:
            report = run_neural(
                part.systems,
                [parse_grid(text) for text in (part.quick if options.quick else part.grids)],
                sources=part.sources,
                samples=options.samples,
                rtol=rtol,
                contenders=neural_contenders(bfloat16=options.bfloat16),
                max_seconds=part.max_seconds,
                progress=lambda done, total: print(f"\r{done}/{total}", end="", flush=True),
            )
            told = f"{rtol:.0e}".replace("e-0", "e-")
            print("", *report.write(results, f"neural-{name}-{told}"), sep="\n")
            if report.interrupted:
                return


if __name__ == "__main__":
    main()
