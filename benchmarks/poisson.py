"""The fast Poisson solver against bare transforms of SciPy.

    python benchmarks/poisson.py [--grids 128^2 64^3 ...] [--repeats N] [--threads N]

Bare: forward transforms along all axes, a division by the eigenvalues, transforms back, with the
eigenvalues prepared. It knows the boundary, the spacing and k, and checks nothing. The target is a
solve within 1.1 times of that. Writes results/poisson.{json,md}.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from _report import time_in_turns, write_results

from sciml import LinearSystem, Stop, solve
from sciml.operators import Diffusion
from sciml.operators.diffusion import Side
from solvers import Direct, FastPoisson
from solvers.bench.fields import grid_text, parse_grid

_GRIDS = ("128^2", "256^2", "512^2", "1024^2", "2048^2", "64^3", "128^3")
_RTOL = {"float64": 1e-10, "float32": 1e-4}
_TARGET = 1.1

Solve = Callable[[np.ndarray], np.ndarray]


def bare(shape: tuple[int, ...], side: Side, dtype: str, workers: int) -> Solve:
    """b -> x by SciPy's transforms for k = 1 on the unit box; of mean 0 where nothing holds x."""
    from scipy import fft

    total: Any = np.zeros((1,) * len(shape))
    for axis, n in enumerate(shape):
        j = np.arange(n) + (side is Side.DIRICHLET)
        if side is Side.PERIODIC and axis == len(shape) - 1:
            j = j[: n // 2 + 1]
        waves = 4 * n**2 * np.sin(np.pi * j / (n if side is Side.PERIODIC else 2 * n)) ** 2
        total = total + waves.reshape([-1 if a == axis else 1 for a in range(len(shape))])
    if side is not Side.DIRICHLET:
        total.flat[0] = np.inf
    inverse = (1 / total).astype(dtype)
    if side is Side.PERIODIC:

        def by_fft(b: np.ndarray) -> np.ndarray:
            y = fft.rfftn(b, workers=workers)
            y *= inverse
            return fft.irfftn(y, s=shape, overwrite_x=True, workers=workers)

        return by_fft
    forth, back = (fft.dstn, fft.idstn) if side is Side.DIRICHLET else (fft.dctn, fft.idctn)

    def by_trigonometry(b: np.ndarray) -> np.ndarray:
        y = forth(b, 2, workers=workers)
        y *= inverse
        return back(y, 2, overwrite_x=True, workers=workers)

    return by_trigonometry


def measured(
    shape: tuple[int, ...], side: Side, dtype: str, repeats: int, threads: int
) -> dict[str, Any]:
    """A row: times of one problem."""
    A = Diffusion(np.ones(shape, dtype), boundary=side, ndim=len(shape))
    b = np.random.default_rng(0).standard_normal(shape)
    b = (b - b.mean() if A.singular else b).astype(dtype)
    stop, problem = Stop(rtol=_RTOL[dtype]), LinearSystem(A, b)
    recipe = FastPoisson()
    ready = Direct(M=recipe).prepare(problem)
    M, plain = recipe(A), bare(shape, side, dtype, threads)

    def certified() -> Any:
        return solve(problem, ready, stop=stop)

    result = certified()
    cases: dict[str, Callable[[], object]] = {
        "bare": lambda: plain(b),
        "ours": lambda: M(b),
        "certified": certified,
        "set-up": lambda: recipe(A),
        "bare set-up": lambda: bare(shape, side, dtype, threads),
    }
    times = time_in_turns(cases, repeats=repeats, settle=0.01)
    off = np.linalg.norm(plain(b) - result.x) / np.linalg.norm(result.x)
    if off > 1e4 * np.finfo(dtype).eps:
        raise ArithmeticError(f"the two solutions differ by {off:.1e}")
    return {
        "sides": side.value,
        "grid": grid_text(shape),
        "dtype": dtype,
        "bare set-up, ms": 1e3 * times["bare set-up"].median,
        "set-up, ms": 1e3 * times["set-up"].median,
        "bare, ms": 1e3 * times["bare"].median,
        "ours, ms": 1e3 * times["ours"].median,
        "certified, ms": 1e3 * times["certified"].median,
        "ours / bare": times["ours"].median / times["bare"].median,
        "certified / bare": times["certified"].median / times["bare"].median,
        "best runs": times["ours"].best / times["bare"].best,
        "best runs, certified": times["certified"].best / times["bare"].best,
        "residual": float(result.residual),
        "refinements": result.restarts,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--grids", nargs="+", type=parse_grid, default=[*map(parse_grid, _GRIDS)])
    parser.add_argument("--sides", nargs="+", type=Side, default=list(Side), metavar="SIDE")
    parser.add_argument("--repeats", type=int, default=21)
    parser.add_argument("--threads", type=int, default=min(2, numba.get_num_threads()))
    options = parser.parse_args()
    numba.set_num_threads(options.threads)
    rows = []
    for shape in options.grids:
        for side in options.sides:
            for dtype in _RTOL:
                began = time.perf_counter()
                rows.append(measured(shape, side, dtype, options.repeats, options.threads))
                row, spent = rows[-1], time.perf_counter() - began
                print(
                    f"{row['sides']}, {row['grid']}, {dtype}: bare {row['bare, ms']:.3g} ms, ours "
                    f"{row['ours, ms']:.3g} ms, certified {row['certified, ms']:.3g} ms "
                    f"({row['ours / bare']:.2f}, {row['certified / bare']:.2f}; {spent:.0f} s)",
                    flush=True,
                )
                path = write_results("poisson", "Fast Poisson", rows, notes=_notes(rows, options))
    print(path)


def _notes(rows: list[dict[str, Any]], options: argparse.Namespace) -> list[str]:
    met = sum(row["ours / bare"] <= _TARGET for row in rows)
    certified = sum(row["certified / bare"] <= _TARGET for row in rows)
    return [
        f"Within {_TARGET} times of bare transforms: {met} of {len(rows)} rows without, "
        f"{certified} with the certificate.",
        f"{options.threads} threads for both. Medians of runs in turns; `best runs` is the ratio "
        "of the fastest ones. Sides: of the box, all alike; k = 1; white right-hand side.",
        "Certified: `solve` with `Direct(M=FastPoisson())`, set up before. It checks b, measures "
        "‖b − Ax‖ in float64 and refines where rtol (1e-10; 1e-4 in single precision) asks for it.",
    ]


if __name__ == "__main__":
    main()
