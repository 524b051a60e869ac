"""The benchmark on ConDiff systems: same systems, same run, one measure."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from sciml.result import Stop
from sciml.solver import Solver

from ._checks import check_unique
from .attempt import attempt, course, judged, rotated
from .methods import METHODS, Method
from .report import machine, today, versions
from .results import BenchReport, Run, Settings, Trace
from .rivals import System

if TYPE_CHECKING:
    from sciml.datasets import ConDiffConfig, ConDiffData

__all__ = ["condiff_systems", "run_condiff"]

Progress = Callable[[int, int], None]
# Enough steps to compile every kernel; a warm-up need not solve anything.
_WARMUP_STEPS = 3


def run_condiff(
    configs: Sequence[ConDiffConfig],
    *,
    samples: int = 3,
    rtol: float = 1e-6,
    methods: Sequence[Method] | None = None,
    seed: int = 0,
    max_seconds: float | None = 10.0,
    progress: Progress | None = None,
    warmup: bool = True,
) -> BenchReport:
    """Every method on the same ConDiff systems, timed in turns and measured alike.

    The order of methods rotates from system to system, so that a drift of the machine favours none.
    Set-up and solve are timed apart. Failures and exceptions are counted, never raised. Ctrl-C
    ends the benchmark; the report holds what was done.

    Args:
        configs: sciml.datasets.ConDiffConfig, all different. The convergence drawn is that of the
            first system of the last one.
        samples: systems of each config.
        rtol: relative residual asked for.
        methods: all of METHODS if None. Those whose package is missing are left out, and named.
        seed: of the systems, as in `draw_condiff`.
        max_seconds: limit on the iteration of each solve; rivals from outside stop by their rules.
        progress: called with (runs done, runs in all).
        warmup: give each method one untimed run for each grid first, so that no compilation is
            timed.

    Raises:
        ValueError: no config or method, two of one name, a bad count, tolerance or seed.
    """
    given = tuple(METHODS.values() if methods is None else methods)
    present = tuple(m for m in given if m.available)
    names = tuple(config.name for config in configs)
    _check(names, [m.name for m in given], present, samples)
    stop = Stop(rtol=rtol, max_seconds=max_seconds)
    settings = Settings(
        names, tuple(m.name for m in present), samples, rtol, int(seed), max_seconds
    )
    bench = _Bench(present, stop, len(names) * samples, progress or (lambda done, total: None))
    try:
        bench.measure(configs, samples, seed, warmup)
    except KeyboardInterrupt:
        bench.interrupted = True
    return BenchReport(
        settings=settings,
        date=today(),
        machine=machine(),
        versions=versions(),
        runs=tuple(bench.runs),
        warmup=bench.warmed,
        traced=bench.traced,
        traces=tuple(bench.traces),
        floors=bench.floors,
        skipped={m.name: f"it needs {m.needs}" for m in given if not m.available},
        interrupted=bench.interrupted,
    )


def _check(
    configs: Sequence[str], given: Sequence[str], present: Sequence[Method], samples: int
) -> None:
    for kind, names in (("config", configs), ("method", given)):
        check_unique(kind, names)
    if not present:
        raise ValueError(f"expected a method that can run, got {', '.join(given)}: install pyamg")
    if not isinstance(samples, int) or samples < 1:
        raise ValueError(f"expected samples >= 1, got {samples!r}: ask for at least one")


@dataclass
class _Bench:
    """The run as it goes: what is done stays when an interruption comes."""

    methods: tuple[Method, ...]
    stop: Stop
    systems: int
    progress: Progress
    runs: list[Run] = field(default_factory=list)
    warmed: dict[str, float] = field(default_factory=dict)
    traces: list[Trace] = field(default_factory=list)
    traced: str = ""
    floors: dict[str, float] = field(default_factory=dict)
    interrupted: bool = False

    def measure(
        self, configs: Sequence[ConDiffConfig], samples: int, seed: int, warmup: bool
    ) -> None:
        from sciml.datasets import draw_condiff, k_blind_error

        total = self.systems * len(self.methods)
        self.progress(0, total)
        turn, warm_grids = 0, set()
        for config in configs:
            data = draw_condiff(config, samples, seed=seed)
            self.floors[config.name] = k_blind_error(data).mean
            for sample, system in enumerate(condiff_systems(config.name, data)):
                if warmup and config.grid not in warm_grids:
                    warm_grids.add(config.grid)
                    self._warm_up(system)
                for method in rotated(self.methods, turn):
                    self._time(method, config.name, sample, system)
                    self.progress(len(self.runs), total)
                turn += 1
                first_of_last = config is configs[-1] and sample == 0
                if first_of_last:
                    self._trace(system)

    def _warm_up(self, system: System) -> None:
        brief = replace(self.stop, max_iters=_WARMUP_STEPS)
        for method in self.methods:
            began = time.perf_counter()
            attempt(method, system.copy(), brief)
            spent = time.perf_counter() - began
            self.warmed[method.name] = self.warmed.get(method.name, 0.0) + spent

    def _time(self, method: Method, config: str, sample: int, system: System) -> None:
        tried = attempt(method, system.copy(), self.stop)
        self.runs.append(judged(tried, method, config, sample, system, self.stop.rtol))

    def _trace(self, system: System) -> None:
        """The course of each iterative method of our kind, in a run of its own."""
        self.traced = system.name
        own = [method for method in self.methods if isinstance(method.solver, Solver)]
        found = (course(method, system, self.stop) for method in own)
        self.traces += [trace for trace in found if trace is not None]


def condiff_systems(name: str, data: ConDiffData) -> Iterator[System]:
    """The systems of `data`, called NAME #0 and so on."""
    from scipy.sparse import csr_matrix

    from sciml.datasets import Order, condiff_matrix

    for s in range(len(data)):
        k = np.ascontiguousarray(data.k[s])
        matrix = csr_matrix(condiff_matrix(k, Order.C))
        yield System(f"{name} #{s}", k, data.rhs[s], data.x[s], matrix)
