"""A physics-informed network as guess and as coarse space, against none and against classical ones.

    python benchmarks/pinn_guess.py [--members 32] [--weights FILE]

One network is trained for a whole family of Darcy problems (see _darcy_family.py), without a
single solution. For members held out, CG with IC0 and with multigrid begins from 0, from the
network, from the network with its features deflated, from a coarse grid's solution, from 0 with
sines or means over blocks deflated, and from reduced bases made of solutions. Writes
results/pinn_guess.{json,md}.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import _darcy_family as family
import numpy as np
from _report import write_results
from scipy.interpolate import RectBivariateSpline

from sciml import LinearSystem, Stop, solve
from solvers import CG, IC0, Deflation, Direct, Multigrid
from solvers.pinn.guess import certify, coarse_space, fitted
from solvers.precond import Recipe
from solvers.reduced import galerkin, principal

_SEED, _HELD_OUT, _SNAPSHOTS = 0, 1000, 2000  # of the training, the members and the snapshots
_LOOSE, _TIGHT = 1e-6, 1e-8
_FEW, _MANY, _KEPT = 20, 200, 40  # snapshots of the two bases, vectors of the larger
_COARSER = 4  # of the classical guess from a coarser grid
_SIDE = 4  # sines, or blocks, along each axis
SOLVERS: Mapping[str, Recipe] = {"CG, IC0": IC0(), "CG, multigrid": Multigrid()}

# x0, and what makes a preconditioner of M₀ if not M₀ alone
Start = tuple[np.ndarray | None, Callable[[Recipe], Recipe] | None]


@dataclass(frozen=True)
class Way:
    """How a solve begins.

    Attributes:
        start: (p, problem) -> how it starts, on the clock of every solve.
        ahead: seconds that were spent once, for the whole family on one grid.
    """

    name: str
    start: Callable[[np.ndarray, LinearSystem], Start]
    ahead: float = 0.0


@dataclass(frozen=True)
class Run:
    """One solve: iterations and seconds of the processor to both tolerances, with all it needs."""

    iterations: tuple[int, int]
    seconds: tuple[float, float]
    begun: float  # relative residual of x0


def ways(n: int, found: family.Trained) -> list[Way]:
    """All that is compared on n² nodes; the first is without a guess."""
    points = family.nodes(n)
    began = time.process_time()
    on_grid = found.network.on(points)
    ready = found.seconds + time.process_time() - began
    inputs = family.with_parameters(points, np.full(len(family.MODES), 0.5))
    W = coarse_space(found.network, inputs)
    deflating = found.seconds + time.process_time() - began

    def network(p: np.ndarray, problem: LinearSystem) -> Start:
        return fitted(on_grid(p), problem), None

    def deflated(p: np.ndarray, problem: LinearSystem) -> Start:
        return network(p, problem)[0], partial(_deflate, W)

    made = [
        Way("none", lambda p, problem: (None, None)),
        Way(f"grid {n // _COARSER}²", lambda p, problem: (coarser(n, p), None)),
        Way("network", network, ready),
        Way(f"network, {len(W)} features deflated", deflated, deflating),
        Way(f"0, {_SIDE**2} means deflated", lambda p, problem: (None, _means)),
    ]
    waves = sines(points)
    name = f"0, {len(waves)} sines deflated"
    made.append(Way(name, lambda p, problem: (None, partial(_deflate, waves))))
    reduced_basis(n, 2, 2)  # what it compiles or loads at first is not its time
    for count, most in ((_FEW, _FEW), (_MANY, _KEPT)):
        V, spent = reduced_basis(n, count, most)
        name = f"POD, {len(V)} of {count}"
        made.append(Way(name, lambda p, problem, V=V: (galerkin(V, problem), None), spent))
        deflate = partial(_deflate, V)
        made.append(Way(f"{name}, deflated", lambda p, problem, d=deflate: (None, d), spent))
    return made


def _deflate(W: np.ndarray, M: Recipe) -> Recipe:
    return Deflation(W, M=M)


def _means(M: Recipe) -> Recipe:
    return Deflation(blocks=_SIDE, M=M)


def sines(points: np.ndarray) -> np.ndarray:
    """The first eigenvectors for constant k, in closed form: what costs no training at all."""
    waves = [np.sin(a * np.pi * points) for a in range(1, _SIDE + 1)]
    return np.stack([x[..., 0] * y[..., 1] for x in waves for y in waves])


def coarser(n: int, p: np.ndarray) -> np.ndarray:
    """The solution on a grid with a quarter of the nodes along each axis, by a cubic spline."""
    few = n // _COARSER
    found = solve(family.system(few, p), Direct()).x
    held, at = (np.arange(m + 2) / (m + 1) for m in (few, n))
    return RectBivariateSpline(held, held, np.pad(found, 1))(at[1:-1], at[1:-1])


def reduced_basis(n: int, count: int, most: int) -> tuple[np.ndarray, float]:
    """The POD of `count` solutions, each to 1e-8 by the fastest classical way; its seconds."""
    members = family.draw(np.random.default_rng(_SNAPSHOTS), count)
    began = time.process_time()
    method = CG(M=Multigrid())
    stop = Stop(rtol=_TIGHT)
    solutions = [solve(family.system(n, p), method, stop=stop).x for p in members]
    return principal(np.stack(solutions), most=most), time.process_time() - began


def run(way: Way, recipe: Recipe, p: np.ndarray, n: int) -> Run:
    """One certified solve to the tighter tolerance; when the other was met is read off its way."""
    problem = family.system(n, p)
    first: list[tuple[int, float]] = []
    began = time.process_time()

    def look(seen: Any) -> None:
        if not first and seen.estimate <= _LOOSE:
            first.append((seen.iteration, time.process_time() - began))

    x0, deflate = way.start(p, problem)
    M = recipe if deflate is None else deflate(recipe)
    found = solve(problem, CG(M=M), x0=x0, stop=Stop(rtol=_TIGHT), observe=look)
    seconds = time.process_time() - began
    met, when = first[0] if first else (int(found.iterations), seconds)
    start = problem.b if x0 is None else problem.residual(x0)
    share = float(np.linalg.norm(start) / np.linalg.norm(problem.b))
    return Run((met, int(found.iterations)), (when, seconds), share)


def rows_of(n: int, found: family.Trained, members: np.ndarray) -> list[dict[str, Any]]:
    chosen = ways(n, found)
    rows = []
    for label, recipe in SOLVERS.items():
        runs: dict[str, list[Run]] = {way.name: [] for way in chosen}
        for i, p in enumerate((members[0], *members)):
            for way in chosen:
                done = run(way, recipe, p, n)
                if i:  # the first is compiled and warm then
                    runs[way.name].append(done)
        plain = runs["none"]
        for way in chosen:
            rows.append(row(f"{n}²", label, way, runs[way.name], plain))
            print(*rows[-1].values(), sep=" | ", flush=True)
    return rows


def row(grid: str, label: str, way: Way, runs: list[Run], plain: list[Run]) -> dict[str, Any]:
    """One line: totals over the members; seconds are all that a solve took, x0 and W included."""
    made: dict[str, Any] = {
        "grid": grid,
        "solver": label,
        "begins from": way.name,
        "‖b − A x0‖ / ‖b‖": f"{np.median([r.begun for r in runs]):.1e}",
    }
    for which, tolerance in enumerate(("1e-6", "1e-8")):
        total, before = (sum(r.iterations[which] for r in found) for found in (runs, plain))
        spent, without = (sum(r.seconds[which] for r in found) for found in (runs, plain))
        made[f"iterations, {tolerance}"] = f"{total / len(runs):.1f} ({_saved(total, before)})"
        made[f"ms, {tolerance}"] = f"{1e3 * spent / len(runs):.1f} ({_saved(spent, without)})"
    spent, without = (sum(r.seconds[0] for r in found) for found in (runs, plain))
    made["s ahead"] = f"{way.ahead:.0f}"
    gain = (without - spent) / len(runs)
    paid = "never" if gain <= 0 else f"{way.ahead / gain:.0f} solves"
    made["paid after, 1e-6"] = "-" if way.ahead == 0 else paid
    return made


def _saved(value: float, before: float) -> str:
    return f"{100 * (value / before - 1):+.0f} %"


def answers(n: int, found: family.Trained, members: np.ndarray) -> str:
    """What the network's own answers are worth, certified."""
    residuals, errors = [], []
    for p in members:
        problem = family.system(n, p)
        own = certify(found.network, family.with_parameters(family.nodes(n), p), problem)
        x = solve(problem, CG(M=Multigrid()), stop=Stop(rtol=1e-10)).x
        residuals.append(float(own.residual))
        errors.append(float(np.linalg.norm(own.x - x) / np.linalg.norm(x)))
    return (
        f"The network's own answers on {n}² nodes, certified: true relative residual "
        f"{np.median(residuals):.1e} (worst {max(residuals):.1e}), relative error "
        f"{np.median(errors):.1e} (worst {max(errors):.1e})."
    )


def write(rows: list[dict[str, Any]], notes: list[str]) -> str:
    title = "A physics-informed network as guess and as coarse space"
    return write_results("pinn_guess", title, rows, notes=notes).read_text()


def about(found: family.Trained, members: np.ndarray) -> list[str]:
    parameters = sum(p.numel() for p in found.network.parameters())
    contrast = [np.exp(np.ptp(np.log(family.cells(64, p)))) for p in members]
    return [
        f"−∇·(k∇u) = f on the unit square, u = 0 on its boundary, log k = {family.SIZE} Σ p_i φ_i, "
        f"φ_i = cos aπx cos bπy for (a, b) in {list(family.MODES)}, p uniform in [−1, 1]^5, f a "
        f"Gaussian bump of width {family.SPREAD} in the middle. {len(members)} members held out, "
        f"max k / min k from {min(contrast):.0f} to {max(contrast):.0f}.",
        f"Network: {parameters} parameters, {family.RANK} products of a function of x and one of "
        f"p, zero on the boundary; {found.steps} Gauss-Newton steps on {found.points} points drawn "
        f"anew every {family.STEPS_ON_THEM}, {found.seconds:.0f} s; root mean square of the "
        f"residual at new points {np.sqrt(found.loss):.1e}. On a grid its functions of x are "
        "evaluated once, so that a guess is one product with a matrix, and one with A to fit it.",
        "In brackets: against no guess. Milliseconds of the processor are means and hold the "
        "guess, the products A W, the preconditioner and the solve; the seconds ahead are spent "
        "once, and paid back after so many solves to 1e-6. Solves run to 1e-8, certified; when "
        "1e-6 was met is read off the recurrence.",
        f"Sines: sin aπx sin bπy with a, b ≤ {_SIDE}; means: over {_SIDE} × {_SIDE} blocks. POD, m "
        f"of n: Galerkin's guess from the first m vectors of n solutions (seed {_SNAPSHOTS}); they "
        "are known at the nodes of one grid only. Grid m²: the solution there, interpolated by "
        "cubic splines; nothing is made ahead.",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--members", type=int, default=32, help="held out, on each grid")
    parser.add_argument("--grids", type=int, nargs="+", default=[128, 256])
    parser.add_argument("--steps", type=int, default=160, help="of the training")
    parser.add_argument("--points", type=int, default=4000, help="of a new training")
    parser.add_argument("--weights", type=Path, help="kept here; a training goes on")
    given = parser.parse_args()
    known = given.weights is not None and given.weights.exists()
    begun = family.load(given.weights) if known else family.untrained(_SEED, given.points)

    def keep(now: family.Trained) -> None:
        print(
            f"{now.steps} of {given.steps} steps, {now.seconds:.0f} s, {now.loss:.1e}", flush=True
        )
        if given.weights is not None:
            family.save(given.weights, now)

    found = family.train(begun, given.steps, keep)
    members = family.draw(np.random.default_rng(_HELD_OUT), given.members)
    rows, notes, text = [], about(found, members), ""
    for n in given.grids:
        rows += rows_of(n, found, members)
        notes.append(answers(n, found, members))
        text = write(rows, notes)
    print(text)


if __name__ == "__main__":
    main()
