"""Learned multigrid against our own classical solvers, on media that training has not seen.

    OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 python benchmarks/learned_multigrid.py
        [--sides 256 512] [--systems 24] [--repeats 2] [--classes NAME ...]

Every solver gets the same k and right-hand side and solves to a relative residual of 1e-6, from
nothing: set-up, solve and certification are on its clock, the network's look at k too. Classes and
seeds are those of solvers/bench/media.py. One thread; a time is processor time, the least of the
repeats. Writes results/learned_multigrid.{json,md}.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import numpy as np
from _report import RESULTS

from sciml import LinearSystem, Stop, solve
from sciml.io._atomic import atomic_file
from sciml.operators.diffusion import Diffusion
from solvers import CG, IC0, Direct
from solvers.bench.media import CLASSES, MEASURED, draw_medium
from solvers.multigrid import Bodies, Cycle, Lines, Multigrid
from solvers.neural import LearnedMultigrid
from solvers.neural.choice import SETTINGS
from solvers.precond import Recipe

_MOST = 150  # iterations
_OURS, _DEFAULT = "learned", "Multigrid()"


def solvers() -> dict[str, Any]:
    """The learned one first, then the grid of classical settings it has to beat."""
    found: dict[str, Any] = {_OURS: CG(M=LearnedMultigrid()), _DEFAULT: CG(M=Multigrid())}
    more: list[Recipe] = [
        Multigrid(algebraic=0),
        Multigrid(Cycle.W, lines=(Lines.POINTS,), algebraic=0),
        Multigrid(Cycle.W, lines=(Lines.BOTH,), algebraic=0),
        IC0(),
    ]
    for setting in (*SETTINGS, *more):
        found[text(setting)] = CG(M=setting)
    return found | {"Direct()": Direct()}


def text(setting: Recipe) -> str:
    """A setting in a few words, such as V, lines P B, AMG from 2."""
    if isinstance(setting, Bodies):
        return f"bodies, {text(setting.M)}"
    if not isinstance(setting, Multigrid) or setting.cycle is None:
        return repr(setting) if isinstance(setting, Multigrid) else f"{setting.name}()"
    kinds = " ".join(kind.name[0] for kind in setting.lines or () if kind.name)
    below = f", AMG from {setting.algebraic}" if setting.algebraic else ""
    return f"{setting.cycle.name}, lines {kinds}{below}"


def once(A: Diffusion, b: np.ndarray, solver: Any, repeats: int) -> tuple[float, int]:
    """Seconds, infinite if it fails, and iterations."""
    best, steps = np.inf, 0
    for _ in range(repeats):
        start = time.process_time()
        result = solve(LinearSystem(A, b), solver, stop=Stop(max_iters=_MOST), throw=False)
        took = time.process_time() - start
        if result.ok:
            best, steps = min(best, took), int(result.iterations)
    return best, steps


def measure(name: str, side: int, count: int, repeats: int) -> dict[str, Any]:
    """Seconds and iterations, each solver's by system."""
    table: dict[str, list[tuple[float, int]]] = {s: [] for s in solvers()}
    for number in range(count):
        k, b = draw_medium(name, side, MEASURED + number)
        A = Diffusion(k)
        for label, solver in solvers().items():
            if label == "Direct()" and side > 256:
                table[label].append((np.inf, 0))
                continue
            known = [t for t, _ in table[label]]
            hopeless = len(known) >= 6 and np.median(known) > 5 * np.median(
                [t for t, _ in table[_OURS]]
            )
            if hopeless:  # no median can bring it back to the front
                table[label].append((np.inf, 0))
                continue
            table[label].append(once(A, b, solver, repeats))
    return {"class": name, "side": side, "table": table}


def report(cases: list[dict[str, Any]]) -> str:
    """Tables in Markdown."""
    lines = [
        "# Learned multigrid against our classical solvers",
        "",
        f"{__doc__}".split("\n\n")[2].replace("\n", " "),
        "",
        "| class | grid | systems | learned, median [quartiles] | best classical setting | its "
        "median | ratio of medians | median of ratios | wins | sum / sum | default's median / ours "
        "| default's sum / ours | oracle |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for case in cases:
        times = {s: np.array([t for t, _ in rows]) for s, rows in case["table"].items()}
        ours = times.pop(_OURS)
        rival = min(times, key=lambda s: float(np.median(times[s])))
        least = np.min(np.stack(list(times.values())), axis=0)
        low, mid, high = np.percentile(ours, [25, 50, 75]) * 1e3
        best, default = times[rival], times[_DEFAULT]
        lines.append(
            f"| {case['class']} | {case['side']}² | {len(ours)} | {mid:.1f} ms "
            f"[{low:.1f}, {high:.1f}] | {rival} | {np.median(best) * 1e3:.1f} ms "
            f"| **{np.median(best) / np.median(ours):.2f}** | {np.median(best / ours):.2f} "
            f"| {int((ours < best).sum())}/{len(ours)} | {best.sum() / ours.sum():.2f} "
            f"| {np.median(default) / np.median(ours):.2f} | {default.sum() / ours.sum():.2f} "
            f"| {np.median(least) * 1e3:.1f} ms |"
        )
    lines += [
        "",
        "The best classical setting is that with the least median over the class, found after the "
        "fact. The oracle takes the best setting for each system. A solver that fails in "
        f"{_MOST} iterations counts as infinite.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Learned multigrid against classical solvers.")
    parser.add_argument("--sides", nargs="+", type=int, default=[256])
    parser.add_argument("--systems", type=int, default=24)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--classes", nargs="+", choices=list(CLASSES), default=list(CLASSES))
    asked = parser.parse_args()
    kept = RESULTS / "learned_multigrid.json"
    cases = json.loads(kept.read_text()) if kept.exists() else []
    for side in asked.sides:
        for name in asked.classes:
            cases = [c for c in cases if (c["class"], c["side"]) != (name, side)]
            cases.append(measure(name, side, asked.systems, asked.repeats))
            for suffix, content in (("json", json.dumps(cases)), ("md", report(cases))):
                with atomic_file(RESULTS / f"learned_multigrid.{suffix}", text=True) as handle:
                    handle.write(content)
            print(report(cases[-1:]).splitlines()[6], flush=True)


if __name__ == "__main__":
    main()
