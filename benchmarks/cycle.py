"""What one multigrid cycle costs: against products with A, and against the memory's speed.

    python benchmarks/cycle.py [--grids 512^2 64^3 ...] [--families NAME ...] [--threads N]

The limit is a STREAM triad a = b + s c over arrays as large as all that the cycle reads and writes
together. The target is a V(1,1)-cycle at no more than 8 products with A on the finest grid in the
same precision. Writes results/cycle.{json,md}.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from _report import time_in_turns, write_results
from _triad import triad

from sciml._memory import recycling
from sciml.operators import Diffusion
from solvers import Multigrid
from solvers.bench.fields import FAMILIES, RHS, draw, grid_text, parse_grid

_GRIDS = ("512^2", "1024^2", "2048^2", "64^3", "128^3")
_TARGET = 8


def measured(family: str, shape: tuple[int, ...], dtype: str, repeats: int) -> dict[str, Any]:
    """A row: one cycle, one product and one triad, in turns."""
    k, b = draw(family, shape).astype(dtype), RHS["white"](shape).astype(dtype)
    A = Diffusion(k, ndim=len(shape))
    M: Any = Multigrid()(A)
    n = b.size
    # b and k are read and x is written besides what the hierarchy holds
    bytes_held = M.nbytes + 3 * b.nbytes
    a, c, d = (np.ones(bytes_held // (3 * b.itemsize), dtype) for _ in range(3))
    cases: dict[str, Callable[[], object]] = {
        "cycle": lambda: M(b),
        "product": lambda: A(b),
        "triad": lambda: triad(a, c, d, b.dtype.type(2)),
        "set-up": lambda: Multigrid()(A),
    }
    with recycling():  # as within a solve: what is returned goes into memory that is there
        times = time_in_turns(cases, repeats=repeats)
    best, median = ({m: getattr(t, kind) for m, t in times.items()} for kind in ("best", "median"))
    speed = 3 * a.nbytes / best["triad"]
    return {
        "k": family,
        "grid": grid_text(shape),
        "dtype": dtype,
        "cycle, ms": 1e3 * median["cycle"],
        "product, ms": 1e3 * median["product"],
        "cycle / product": median["cycle"] / median["product"],
        "best runs": best["cycle"] / best["product"],
        "ns per unknown": 1e9 * median["cycle"] / n,
        "bytes held per unknown": bytes_held / n,
        "GB/s": bytes_held / best["cycle"] / 1e9,
        "triad GB/s": speed / 1e9,
        "of triad": bytes_held / best["cycle"] / speed,
        "set-up / product": median["set-up"] / median["product"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    add = parser.add_argument
    add("--grids", nargs="+", type=parse_grid, default=[*map(parse_grid, _GRIDS)])
    add("--families", nargs="+", default=["exponential2"], choices=list(FAMILIES), metavar="NAME")
    add("--dtypes", nargs="+", default=["float32", "float64"])
    add("--repeats", type=int, default=21)
    add("--threads", type=int, default=min(2, numba.get_num_threads()))
    options = parser.parse_args()
    numba.set_num_threads(options.threads)
    rows: list[dict[str, Any]] = []
    for family in options.families:
        for shape in options.grids:
            for dtype in options.dtypes:
                row = measured(family, shape, dtype, options.repeats)
                rows.append(row)
                print(
                    f"{family}, {row['grid']}, {dtype}: {row['cycle / product']:.1f} products "
                    f"({row['best runs']:.1f} in the best runs), {row['of triad']:.2f} of the "
                    f"triad, {row['bytes held per unknown']:.0f} B/unknown",
                    flush=True,
                )
    print(write_results("cycle", "One multigrid cycle", rows, notes=_notes(rows, options.threads)))


def _notes(rows: list[dict[str, Any]], threads: int) -> list[str]:
    met = sum(row["cycle / product"] <= _TARGET for row in rows)
    return [
        f"At most {_TARGET} products: {met} of {len(rows)} rows. Medians of runs in turns, "
        f"{threads} threads.",
        "The cycle is what `Multigrid()` chooses: V(1,1), but W-cycles with lines on deeper levels "
        "where k jumps often. Cycle and product write into memory that is there, as in a solve; a "
        "set-up allocates its own.",
        "Bytes held: the hierarchy, k, b and x. GB/s is these bytes, each counted once, over the "
        "time of a cycle: a lower bound of what it moves. The triad runs over as many bytes.",
    ]


if __name__ == "__main__":
    main()
