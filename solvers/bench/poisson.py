"""The benchmark on −∇·(k∇u) = f: fast solvers and their peers, size by size."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from sciml.operators import Diffusion
from sciml.result import Stop
from sciml.solver import Solver

from ..auto import Auto
from ..direct import Direct
from ..krylov import CG
from ..multigrid import Multigrid
from ..poisson import FastPoisson
from ..precond import AMG
from ._checks import check_unique
from .attempt import attempt, course, judged, rotated
from .fields import FAMILIES, RHS, Family, draw, grid_text
from .methods import Method
from .peers import AMGCL, CHOLMOD, PETSc, boomeramg, gamg
from .poisson_report import PoissonReport
from .report import machine, today, versions
from .results import Outcome, Run, Settings, Trace
from .rivals import CellSystem, PyAMG, ScipyCG, ScipySpsolve, System

__all__ = ["POISSON_METHODS", "Entrant", "run_poisson"]

Progress = Callable[[int, int], None]
# A method that takes longer than this, in seconds, is timed once.
_SLOW = 1.0
# What a library's threads may spin for when they have nothing to do, in the way of the next method.
_SETTLE = 0.03
_SEARCHES = 4


def _any(family: Family) -> bool:
    return True


@dataclass(frozen=True)
class Entrant:
    """A method, and the systems that it is for.

    Attributes:
        method: see there. most: unknowns up to which it is run, in two and in three dimensions.
        suits: whether it is for a family. why: said where it is not.
    """

    method: Method
    most: tuple[int, int] = (2**24, 2**24)
    suits: Callable[[Family], bool] = _any
    why: str = ""

    def takes(self, shape: tuple[int, ...]) -> bool:
        """Whether a grid is not too large for it."""
        return math.prod(shape) <= self.most[len(shape) - 2]


def _is_constant(family: Family) -> bool:
    return family.group == "constant"


def _is_smooth(family: Family) -> bool:
    return not family.jumps and not _is_constant(family)


_ALL = (
    Entrant(Method("fast-poisson", Direct(M=FastPoisson())), suits=_is_constant, why="k varies"),
    Entrant(
        Method("cg+fast-poisson", CG(M=FastPoisson())),
        suits=_is_smooth,
        why="k is constant, or jumps",
    ),
    Entrant(Method("cg+multigrid", CG(M=Multigrid()))),
    Entrant(Method("cg+amg", CG(M=AMG()))),
    Entrant(Method("direct", Direct()), most=(2**18, 2**14)),
    Entrant(Method("auto", Auto())),
    Entrant(Method("amgcl", AMGCL(), "pyamgcl")),
    Entrant(Method("petsc-hypre", PETSc(boomeramg), "petsc4py")),
    Entrant(Method("petsc-gamg", PETSc(gamg), "petsc4py")),
    Entrant(Method("pyamg-sa", PyAMG("smoothed_aggregation_solver"), "pyamg")),
    Entrant(Method("pyamg-rs", PyAMG(), "pyamg")),
    Entrant(Method("cholmod", CHOLMOD(), "sksparse"), most=(2**20, 2**17)),
    Entrant(Method("scipy-spsolve", ScipySpsolve()), most=(2**16, 2**13)),
    Entrant(Method("scipy-cg", ScipyCG(jacobi=True, most=5000)), most=(2**16, 2**18)),
)
POISSON_METHODS: Mapping[str, Entrant] = MappingProxyType({e.method.name: e for e in _ALL})


def run_poisson(
    families: Sequence[str],
    shapes: Sequence[tuple[int, ...]],
    *,
    rhs: str = "white",
    repeats: int = 3,
    rtol: float = 1e-6,
    methods: Sequence[Entrant] | None = None,
    max_seconds: float | None = 10.0,
    progress: Progress | None = None,
) -> PoissonReport:
    """Every method on diffusion with each kind of coefficient on each grid.

    Set-up and solve are timed apart, in turns, after an untimed run in which kernels are compiled.
    The residual of every answer is computed anew by one function. A peer whose own stopping test
    is looser than that is handed a smaller tolerance. Methods that are slow, fail or miss the
    tolerance have one run. Ctrl-C ends the benchmark; the report holds what was done.

    Args:
        families: names of `solvers.bench.fields.FAMILIES`. shapes: of the grids, all different.
        rhs: a name of `solvers.bench.fields.RHS`.
        repeats: timed runs of each method.
        rtol: relative residual asked for.
        methods: all of POISSON_METHODS if None. Those whose package is missing are named.
        max_seconds: limit on the iteration of each solve; peers stop by their own rules.
        progress: called with (runs done, runs in all).

    Raises:
        ValueError: no family, grid or method, one of them twice, an unknown name, a bad count or
            tolerance.
    """
    entrants = tuple(POISSON_METHODS.values() if methods is None else methods)
    names = [entrant.method.name for entrant in entrants]
    for kind, given in (("family", families), ("grid", shapes), ("method", names)):
        check_unique(kind, [grid_text(g) if isinstance(g, tuple) else g for g in given])
    for kind, given, known in (("family", families, FAMILIES), ("rhs", [rhs], RHS)):
        for name in given:
            if name not in known:
                raise ValueError(f"expected a {kind} of {', '.join(known)}, got {name}: choose one")
    if not isinstance(repeats, int) or repeats < 1:
        raise ValueError(f"expected repeats >= 1, got {repeats!r}: ask for at least one")
    present = tuple(e for e in entrants if e.method.available)
    if not present:
        raise ValueError(f"expected a method that can run, got {', '.join(names)}: install it")
    stop = Stop(rtol=rtol, max_seconds=max_seconds)
    grids = [(family, shape) for family in families for shape in shapes]
    bench = _Bench(present, stop, repeats, rhs, progress or (lambda done, total: None))
    try:
        bench.measure(grids)
    except KeyboardInterrupt:
        bench.interrupted = True
    configs = {_config(*grid): grid for grid in grids}
    return PoissonReport(
        settings=Settings(
            tuple(configs), tuple(e.method.name for e in present), repeats, rtol, 0, max_seconds
        ),
        date=today(),
        machine=machine(),
        versions=versions(("pyamgcl", "petsc4py")),
        runs=tuple(bench.runs),
        warmup=bench.warmed,
        traced=bench.traced,
        traces=tuple(bench.traces),
        floors={},
        skipped={
            e.method.name: f"it needs {e.method.needs}" for e in entrants if not e.method.available
        }
        | bench.unsuited(grids),
        interrupted=bench.interrupted,
        rhs=rhs,
        families={config: family for config, (family, _) in configs.items()},
        shapes={config: shape for config, (_, shape) in configs.items()},
        ours=tuple(e.method.name for e in present if isinstance(e.method.solver, Solver)),
        given=bench.given,
    )


def _config(family: str, shape: tuple[int, ...]) -> str:
    return f"{family}, {grid_text(shape)}"


@dataclass
class _Bench:
    """The run as it goes: what is done stays when an interruption comes."""

    entrants: tuple[Entrant, ...]
    stop: Stop
    repeats: int
    rhs: str
    progress: Progress
    runs: list[Run] = field(default_factory=list)
    warmed: dict[str, float] = field(default_factory=dict)
    given: dict[str, float] = field(default_factory=dict)
    traces: list[Trace] = field(default_factory=list)
    traced: str = ""
    interrupted: bool = False
    done: int = 0
    total: int = 0

    def measure(self, grids: Sequence[tuple[str, tuple[int, ...]]]) -> None:
        cases = [(grid, self._methods(*grid)) for grid in grids]
        self.total = sum(len(methods) for _, methods in cases) * (1 + self.repeats)
        self._step(0)
        for (family, shape), methods in cases:
            config, system = _config(family, shape), _system(family, shape, self.rhs)
            ready = [m for m in methods if self._first(m, config, system)]
            for turn in range(self.repeats):
                gc.collect()
                for method in rotated(ready, turn) if ready else ():
                    self.runs.append(self._judged(method, config, system, turn))
                    self._step()
            if (family, shape) == grids[-1]:
                self.traced = f"{config} #0"
                found = (course(m, system, self._stop(m, config)) for m in ready)
                self.traces += [trace for trace in found if trace is not None]

    def _methods(self, family: str, shape: tuple[int, ...]) -> list[Method]:
        kind = FAMILIES[family]
        return [e.method for e in self.entrants if e.takes(shape) and e.suits(kind)]

    def unsuited(self, grids: Sequence[tuple[str, tuple[int, ...]]]) -> dict[str, str]:
        """Methods that are for none of these systems, or only for the small ones, and why."""
        kinds = [FAMILIES[family] for family, _ in grids]
        found = {}
        for entrant in self.entrants:
            name = entrant.method.name
            if not any(map(entrant.suits, kinds)):
                found[name] = entrant.why
                continue
            for ndim in sorted({len(shape) for _, shape in grids if not entrant.takes(shape)}):
                limit = entrant.most[ndim - 2]
                found[f"{name} above {limit:,} unknowns in {ndim}-D"] = "it would take too long"
        return found

    def _first(self, method: Method, config: str, system: System) -> bool:
        """The untimed run. False where it is counted as the only one."""
        began = time.perf_counter()
        if isinstance(method.solver, Solver):  # kernels are compiled
            attempt(method, system.copy(), replace(self.stop, max_iters=3))
        spent = time.perf_counter() - began
        self.warmed[method.name] = self.warmed.get(method.name, 0.0) + spent
        run = self._judged(method, config, system)
        for _ in range(_SEARCHES):
            if run.outcome is not Outcome.FALSE_SUCCESS or run.residual is None:
                break
            told = self.given.get(_key(method, config), self.stop.rtol)
            self.given[_key(method, config)] = told * 0.7 * self.stop.rtol / run.residual
            run = self._judged(method, config, system)
        self._step()
        if run.outcome is Outcome.SOLVED and run.total < _SLOW:
            return True
        self.runs.append(run)
        self._step(self.repeats)
        return False

    def _judged(self, method: Method, config: str, system: System, turn: int = 0) -> Run:
        own, stop = system.copy(), self._stop(method, config)
        time.sleep(_SETTLE)
        tried = attempt(method, own, stop)
        return judged(tried, method, config, turn, system, self.stop.rtol)

    def _stop(self, method: Method, config: str) -> Stop:
        """As asked for, or the tolerance with which the method's answer is within that."""
        return replace(self.stop, rtol=self.given.get(_key(method, config), self.stop.rtol))

    def _step(self, count: int = 1) -> None:
        self.done += count
        self.progress(self.done, self.total)


def _key(method: Method, config: str) -> str:
    return f"{method.name} on {config}"


def _system(family: str, shape: tuple[int, ...], rhs: str) -> System:
    k = draw(family, shape)
    matrix = Diffusion(k, ndim=len(shape)).assemble()
    return CellSystem(f"{_config(family, shape)} #0", k, RHS[rhs](shape), None, matrix)
