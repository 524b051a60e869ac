"""What the certifying driver costs: CG through `solve` against the same CG stepped by hand.

    python benchmarks/driver_overhead.py [--repeats N]

By hand means `init`, then `advance(state, 1)` and a look at the estimate until it is below the
target: the least that any driver does. Promised: at most 20 µs a step, and one application of the
operator more in each solve.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
from _report import write_results

from sciml import LinearSystem, Operator, Space, Stop, Trait, solve
from solvers import CG, Jacobi
from solvers.bench.report import Spread

SIZES = (64, 512)
RTOL = 1e-8
PROMISED = 20e-6


class Chain(Operator):
    """The 1-D Laplacian plus a multiple of I, by slices: a tiny operator, but a real one."""

    def __init__(self, n: int, shift: float, counter: list[int]) -> None:
        super().__init__(Space((n,)), traits=(Trait.POSITIVE,))
        self.shift, self.counter = shift, counter

    def _apply(self, x: np.ndarray) -> np.ndarray:
        self.counter[0] += 1
        y = (2 + self.shift) * x
        y[..., 1:] -= x[..., :-1]
        y[..., :-1] -= x[..., 1:]
        return y

    def diagonal(self) -> np.ndarray:
        return np.full(self.domain.shape, 2 + self.shift)


def _by_hand(problem: LinearSystem, solver: CG) -> int:
    target = RTOL * float(np.linalg.norm(problem.b))
    state, steps = solver.init(problem, None), 0
    while state.estimate > target:
        state = solver.advance(state, 1)
        steps += 1
    return steps


def _by_driver(problem: LinearSystem, solver: CG, most: int | None = None) -> int:
    stop = Stop(rtol=RTOL, max_iters=most)
    return int(solve(problem, solver, stop=stop, throw=most is None).iterations)


def _seconds(run: Callable[[], object]) -> float:
    """Of this thread's processor: all of it is sequential, and neighbours do not count."""
    began = time.thread_time()
    run()
    return time.thread_time() - began


def _case(n: int, jacobi: bool, repeats: int) -> dict[str, object]:
    counter = [0]
    rng = np.random.default_rng(0)
    problem = LinearSystem(Chain(n, 2e-3, counter), rng.standard_normal(n))
    solver = CG(M=Jacobi() if jacobi else None).prepare(problem)
    applied = []
    for run in (_by_hand, _by_driver):
        counter[0] = 0
        steps = run(problem, solver)
        applied.append(counter[0])
    few = steps // 4
    hand, driven, short = [], [], []
    for _ in range(repeats):
        hand.append(_seconds(lambda: _by_hand(problem, solver)))
        driven.append(_seconds(lambda: _by_driver(problem, solver)))
        short.append(_seconds(lambda: _by_driver(problem, solver, few)))
    # Each step's share is the slope between a short and a whole solve; the rest is paid once.
    h, d, s = np.array(hand), np.array(driven), np.array(short)
    slope = (d - s) / (steps - few)
    step, own = Spread.of(slope - h / steps), Spread.of(h / steps)
    whole = Spread.of((d - h) / steps)
    once = Spread.of(d - slope * steps)
    assert step and own and whole and once
    return {
        "method": "CG with Jacobi" if jacobi else "CG",
        "unknowns": n,
        "steps": steps,
        "own µs a step": 1e6 * own.median,
        "driver µs a step": 1e6 * step.median,
        "driver µs a step (quartiles)": f"{1e6 * step.low:.3g} to {1e6 * step.high:.3g}",
        "all overhead µs a step": 1e6 * whole.median,
        "µs once a solve": 1e6 * once.median,
        "applications by hand": applied[0],
        "applications by the driver": applied[1],
        "promise kept": "yes"
        if whole.median <= PROMISED and applied[1] == applied[0] + 1
        else "no",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=41)
    options = parser.parse_args()
    for n in SIZES:
        _case(n, True, 2)
    rows = [_case(n, jacobi, options.repeats) for n in SIZES for jacobi in (False, True)]
    for row in rows:
        print(", ".join(f"{k}: {v:.4g}" if isinstance(v, float) else f"{k}: {v}"
                        for k, v in row.items()), flush=True)  # fmt: skip
    notes = [
        "Medians of solves taken in turns, in processor time of the one thread they use. The "
        "driver's µs a step is the slope between a short and a whole solve, less the method's own. "
        "All overhead is (solve − by hand) / steps, with what is paid once a solve: the promise, "
        "20 µs and one application more, is on that.",
    ]
    print(write_results("driver_overhead", "Overhead of the driver", rows, notes=notes))


if __name__ == "__main__":
    main()
