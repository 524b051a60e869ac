"""The benchmark of learned directions: against classical methods, training counted."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from sciml.result import Stop

from ._checks import check_unique
from .attempt import attempt, judged, rotated
from .methods import Method
from .neural_methods import Contender, classical, learned_methods, shipped
from .neural_report import NeuralReport
from .neural_systems import Case, Source, case
from .report import machine, today, versions
from .results import Run, Settings
from .rivals import System

__all__ = ["neural_contenders", "run_neural"]

Progress = Callable[[int, int], None]
# Enough steps to compile every kernel; at large sizes each costs a call of the network.
_WARMUP_STEPS = 2
_PRODUCTS = 5


def neural_contenders(*, bfloat16: bool = False) -> tuple[Contender, ...]:
    """The classical methods, and the learned ones with all weights of the package."""
    return (*classical(), *learned_methods(list(shipped().values()), bfloat16=bfloat16))


def run_neural(
    systems: Sequence[str],
    shapes: Sequence[tuple[int, ...]],
    *,
    sources: Sequence[Source] = (Source.SMOOTH,),
    samples: int = 3,
    rtol: float = 1e-4,
    contenders: Sequence[Contender] | None = None,
    seed: int = 0,
    max_seconds: float | None = 30.0,
    progress: Progress | None = None,
) -> NeuralReport:
    """Every method on each kind of system and grid, timed in turns and measured alike.

    The order rotates from right-hand side to right-hand side. Set-up and solve are timed apart,
    after a short untimed run of each method in which kernels are compiled. The residual of every
    answer is computed anew by one function. Ctrl-C ends the benchmark; the report holds what was
    done.

    Args:
        systems: names of `OBSTACLES`, or of ConDiff sets without their grids, as gaussian1.0.
        shapes: of the grids. A ConDiff set has squares only; other grids are left out for it.
        sources: of right-hand sides.
        samples: right-hand sides of each kind; for ConDiff, coefficients too.
        rtol: relative residual asked for.
        contenders: `neural_contenders()` if None.
        seed: of the right-hand sides and coefficients.
        max_seconds: limit on the iteration of each solve.
        progress: called with (runs done, runs in all).

    Raises:
        ValueError: no system, grid or method, one of them twice, an unknown name, no case, a bad
            count, seed or tolerance.
    """
    given = neural_contenders() if contenders is None else tuple(contenders)
    for kind, names in (
        ("system", systems),
        ("grid", shapes),
        ("source", sources),
        ("method", [c.method.name for c in given]),
    ):
        check_unique(kind, names)
    for name, count, least in (("samples", samples, 1), ("seed", seed, 0)):
        if not isinstance(count, int) or count < least:
            raise ValueError(f"expected {name} >= {least}, got {count!r}: choose another")
    found = [case(name, s, source) for name in systems for s in shapes for source in sources]
    cases = [c for c in found if c is not None]
    if not cases:
        raise ValueError("expected a square grid for a ConDiff set, got none: name one")
    used = [c for c in given if any(map(c.suits, cases))]
    if not used:
        raise ValueError("expected a method for these grids, got none: name others")
    stop = Stop(rtol=rtol, max_seconds=max_seconds)
    bench = _Bench(tuple(used), stop, progress or (lambda done, total: None))
    try:
        bench.measure(cases, samples, seed)
    except KeyboardInterrupt:
        bench.interrupted = True
    return NeuralReport(
        settings=Settings(
            tuple(c.name for c in cases),
            tuple(c.method.name for c in used),
            samples,
            rtol,
            seed,
            max_seconds,
        ),
        date=today(),
        machine=machine(),
        versions=versions(),
        runs=tuple(bench.runs),
        warmup=bench.warmed,
        traced="",
        traces=(),
        floors={},
        skipped={c.method.name: c.why for c in given if c not in used},
        interrupted=bench.interrupted,
        families={c.name: c.family for c in cases},
        shapes={c.name: c.shape for c in cases},
        training={c.method.name: c.training for c in used if c.training is not None},
        products={name: float(np.median(times)) for name, times in bench.products.items()},
    )


@dataclass
class _Bench:
    """The run as it goes: what is done stays when an interruption comes."""

    contenders: tuple[Contender, ...]
    stop: Stop
    progress: Progress
    runs: list[Run] = field(default_factory=list)
    warmed: dict[str, float] = field(default_factory=dict)
    products: dict[str, list[float]] = field(default_factory=dict)
    interrupted: bool = False

    def measure(self, cases: Sequence[Case], samples: int, seed: int) -> None:
        plan = [(one, [c.method for c in self.contenders if c.suits(one)]) for one in cases]
        total = samples * sum(len(methods) for _, methods in plan)
        self.progress(0, total)
        for one, methods in plan:
            for sample, system in enumerate(one.systems(samples, seed)):
                if sample == 0:
                    self._warm_up(methods, system)
                self.products.setdefault(one.name, []).extend(_products(system))
                for method in rotated(methods, sample) if methods else ():
                    gc.collect()
                    tried = attempt(method, system.copy(), self.stop)
                    self.runs.append(
                        judged(tried, method, one.name, sample, system, self.stop.rtol)
                    )
                    self.progress(len(self.runs), total)

    def _warm_up(self, methods: Sequence[Method], system: System) -> None:
        brief = replace(self.stop, max_iters=_WARMUP_STEPS)
        for method in methods:
            began = time.perf_counter()
            attempt(method, system.copy(), brief)
            spent = time.perf_counter() - began
            self.warmed[method.name] = self.warmed.get(method.name, 0.0) + spent


def _products(system: System) -> list[float]:
    """Seconds of products with A, as our methods apply it, after one that nobody times."""
    A, times = system.operator(), []
    for _ in range(1 + _PRODUCTS):
        began = time.perf_counter()
        A(system.rhs)
        times.append(time.perf_counter() - began)
    return times[1:]
