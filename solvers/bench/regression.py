"""ConDiff's regression track: how well x is predicted from (k, b), and what that is worth."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from sciml._checks import integer, number
from sciml.datasets import ConDiffConfig, ConDiffData, Split, draw_condiff, k_blind_error
from sciml.operators import NodalDiffusion
from sciml.problem import LinearSystem
from sciml.result import Status, Stop
from sciml.solve import solve
from sciml.solver import Solver

from ..krylov import CG
from ..multigrid import Multigrid
from .predictions import PREDICTIONS, Entry, trained_entries
from .regression_report import Example, Forecast, RegressionReport, Start
from .report import machine, today, versions

__all__ = ["SOLVERS", "run_regression"]

# Those that a prediction is handed to as x0.
SOLVERS: dict[str, Solver] = {"cg": CG(), "cg+multigrid": CG(M=Multigrid())}
_CHUNK = 20


def run_regression(
    configs: Sequence[ConDiffConfig],
    *,
    samples: int = 200,
    solves: int = 20,
    rtol: float = 1e-6,
    entries: Sequence[Entry] | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> RegressionReport:
    """Every competitor on the same test systems: error, seconds, and what it saves as x0.

    Predictions are made one by one, as a solver would ask for them, and timed with everything they
    do. Each goes as x0 to CG and to CG with multigrid, timed with their set-up, against the same
    solvers from 0 in turns. What a competitor raises or returns wrongly is noted, not raised, and
    it is out. Ctrl-C ends the benchmark; the report holds what was done.

    Args:
        configs: all different. samples: test systems of each. solves: how many of them are solved.
        entries: PREDICTIONS and the trained networks of the package if None.
        seed: of the systems, of the split "test".
        progress: called with (systems done, systems in all).

    Raises:
        ValueError: no config or competitor, two of one name, a bad count or tolerance.
    """
    chosen = (*PREDICTIONS.values(), *trained_entries()) if entries is None else tuple(entries)
    for kind, names in (
        ("config", [c.name for c in configs]),
        ("competitor", [e.name for e in chosen]),
    ):
        if not names or len(set(names)) < len(names):
            raise ValueError(f"expected each {kind} once and at least one, got {names}")
    integer(samples, "samples", 1)
    integer(solves, "solves", 0)
    number(rtol, "rtol")
    run = _Run(chosen, samples, min(solves, samples), rtol, seed, progress or (lambda d, n: None))
    try:
        run.measure(configs)
    except KeyboardInterrupt:
        run.interrupted = True
    return RegressionReport(
        configs=tuple(c.name for c in configs),
        entries={e.name: (e.trained_on, e.training) for e in chosen},
        samples=samples,
        solves=run.solves,
        rtol=rtol,
        seed=int(seed),
        floors=run.floors,
        forecasts=tuple(run.forecasts),
        starts=tuple(run.starts),
        failures=run.failures,
        examples=run.examples,
        machine=machine(),
        versions=versions(),
        date=today(),
        interrupted=run.interrupted,
    )


@dataclass
class _Run:
    """The benchmark as it goes: what is done stays when an interruption comes."""

    entries: tuple[Entry, ...]
    samples: int
    solves: int
    rtol: float
    seed: int
    progress: Callable[[int, int], None]
    floors: dict[str, float] = field(default_factory=dict)
    forecasts: list[Forecast] = field(default_factory=list)
    starts: list[Start] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    examples: dict[str, Example] = field(default_factory=dict)
    interrupted: bool = False

    def measure(self, configs: Sequence[ConDiffConfig]) -> None:
        ready = {}
        for entry in self.entries:
            try:
                ready[entry.name] = entry.make()
            except Exception as error:  # a competitor's failure is a result
                self.failures[entry.name] = _words(error)
        total, done = self.samples * len(configs), 0
        self.progress(0, total)
        for config in configs:
            seen: list[ConDiffData] = []
            for data in _drawn(config, self.samples, self.seed):
                seen.append(data)
                self.floors[config.name] = k_blind_error(_joined(seen)).mean
                for k, b, x in zip(data.k, data.rhs, data.x, strict=True):
                    sample = done % self.samples
                    if sample == 0:  # compiled and warm before the clock starts
                        self._predict(ready, config.name, -1, k, b, x)
                        self._solve({}, config.name, -1, k, b)
                    found = self._predict(ready, config.name, sample, k, b, x)
                    if sample < self.solves:
                        self._solve(found, config.name, sample, k, b)
                    done += 1
                    self.progress(done, total)

    def _predict(
        self, ready: dict, config: str, sample: int, k: np.ndarray, b: np.ndarray, x: np.ndarray
    ) -> dict[str, tuple[np.ndarray, float]]:
        """Each competitor's answer and its seconds; sample −1 leaves no trace but failures."""
        A, found = NodalDiffusion(k), {}
        for name, predict in list(ready.items()):
            own_k, own_b = k.copy(), b.copy()
            began = time.perf_counter()
            try:
                answer = np.asarray(predict(own_k, own_b))
                seconds = time.perf_counter() - began
                if answer.shape != b.shape or not np.isfinite(answer.astype(np.float64)).all():
                    raise ValueError(
                        f"expected a finite prediction {b.shape}, got {answer.shape}: correct it"
                    )
            except Exception as error:
                self.failures[name] = _words(error)
                del ready[name]
                continue
            answer = answer.astype(np.float64)
            error = float(np.linalg.norm(answer - x) / np.linalg.norm(x))
            residual = float(np.linalg.norm(b - A(answer)) / np.linalg.norm(b))
            found[name] = (answer, seconds)
            if sample >= 0:
                self.forecasts.append(Forecast(config, sample, name, error, residual, seconds))
        if sample == 0:
            answers = {name: a for name, (a, _) in found.items()}
            self.examples[config] = Example(k.copy(), b.copy(), x.copy(), answers)
        return found

    def _solve(
        self,
        found: dict[str, tuple[np.ndarray, float]],
        config: str,
        sample: int,
        k: np.ndarray,
        b: np.ndarray,
    ) -> None:
        stop = Stop(rtol=self.rtol)
        begins = [(None, None), *((name, x0) for name, (x0, _) in found.items())]
        turn = max(sample, 0) % len(begins)
        for label, solver in SOLVERS.items():
            for name, x0 in begins[turn:] + begins[:turn]:
                began = time.perf_counter()
                result = solve(
                    LinearSystem(NodalDiffusion(k), b), solver, x0=x0, stop=stop, throw=False
                )
                seconds = time.perf_counter() - began
                if result.status is Status.INTERRUPTED:
                    raise KeyboardInterrupt
                if sample >= 0:
                    steps = int(result.iterations)
                    self.starts.append(
                        Start(config, sample, name, label, steps, bool(result.ok), seconds)
                    )


def _drawn(config: ConDiffConfig, count: int, seed: int) -> Iterator[ConDiffData]:
    for first in range(0, count, _CHUNK):
        wanted = range(first, min(first + _CHUNK, count))
        yield draw_condiff(config, wanted, seed=seed, split=Split.TEST)


def _joined(parts: list[ConDiffData]) -> ConDiffData:
    k, rhs, x = (np.concatenate([getattr(p, n) for p in parts]) for n in ("k", "rhs", "x"))
    return ConDiffData(parts[0].config, k, rhs, x)


def _words(error: Exception) -> str:
    first = (str(error).splitlines() or [""])[0]
    return f"{type(error).__name__}: {first[:160]}".rstrip(": ")
