"""One method on one system: run, timed, and judged by what it hands back."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from sciml.problem import LinearSystem
from sciml.result import Applies, Status, Stop
from sciml.solve import Look, solve
from sciml.solver import Solver

from .methods import Method
from .results import Outcome, Run, Trace
from .rivals import Answer, Rival, System

__all__ = ["Attempt", "attempt", "course", "judged", "rotated"]

T = TypeVar("T")
# Of a course: evenly spaced in the logarithm of the step, ends included.
_MOST_POINTS = 400


@dataclass
class Attempt:
    """What a method did, before anybody has measured it."""

    x: np.ndarray | None = None
    iterations: int | None = None
    claimed: bool = False
    failed: bool = False
    setup: float = 0.0
    solve: float = 0.0
    residuals: Sequence[float] = ()
    detail: str = ""
    applies: Applies = field(default_factory=Applies)


def attempt(
    method: Method,
    system: System,
    stop: Stop,
    observe: Callable[[Look], None] | None = None,
) -> Attempt:
    """Set up and solve, timed apart. What a method raises is noted, but for Ctrl-C."""
    tried = Attempt()
    began = time.perf_counter()
    try:
        if isinstance(method.solver, Solver):
            _run_solver(method.solver, system, stop, observe, tried)
        else:
            _run_rival(method.solver, system, stop.rtol, tried)
    except Exception as error:  # a competitor's failure is a result, not ours to raise
        tried.failed = True
        first = (str(error).splitlines() or [""])[0]
        tried.detail = f"{type(error).__name__}: {first[:160]}".rstrip(": ")
        spent = time.perf_counter() - began
        if tried.setup:
            tried.solve = spent - tried.setup
        else:
            tried.setup = spent
    return tried


def _run_solver(
    solver: Solver,
    system: System,
    stop: Stop,
    observe: Callable[[Look], None] | None,
    tried: Attempt,
) -> None:
    began = time.perf_counter()
    problem = LinearSystem(system.operator(), system.rhs)
    solver.check(problem)
    ready = solver.prepare(LinearSystem(problem.A, np.ones_like(system.rhs)))  # not the real one
    tried.setup = time.perf_counter() - began
    began = time.perf_counter()
    result = solve(problem, ready, stop=stop, observe=observe, throw=False)
    tried.solve = time.perf_counter() - began
    if result.status is Status.INTERRUPTED:
        raise KeyboardInterrupt
    tried.x, tried.iterations, tried.claimed = result.x, int(result.iterations), result.ok
    tried.detail = " ".join(ready.notes) if result.ok else result.status.name
    tried.applies = result.applies


def _run_rival(rival: Rival, system: System, rtol: float, tried: Attempt) -> None:
    blind = system.blind()
    began = time.perf_counter()
    rival.setup(blind)
    tried.setup = time.perf_counter() - began
    b = system.rhs.ravel()
    began = time.perf_counter()
    given = rival.solve(b, rtol)
    tried.solve = time.perf_counter() - began
    answer = given if isinstance(given, Answer) else Answer(*given)
    x = np.asarray(answer.x, dtype=np.float64)
    if x.size != b.size:
        raise ValueError(f"expected an answer of {b.size} entries, got shape {x.shape}")
    tried.x, tried.claimed = x, bool(answer.converged)
    tried.iterations = None if answer.iterations is None else int(answer.iterations)
    tried.residuals = answer.residuals
    tried.detail = "" if tried.claimed else "it said so"


def judged(
    tried: Attempt, method: Method, config: str, sample: int, system: System, rtol: float
) -> Run:
    """What the answer is worth by its true residual, whatever the method says of itself."""
    residual = _finite(None if tried.x is None else system.residual(tried.x))
    error = None if residual is None or tried.x is None else _finite(system.error(tried.x))
    within = (
        tried.x is not None and residual is not None and residual <= rtol + system.rounding(tried.x)
    )
    detail = tried.detail
    if tried.failed:
        outcome = Outcome.EXCEPTION
    elif within:
        outcome = Outcome.SOLVED
    elif not tried.claimed:
        outcome = Outcome.NOT_CONVERGED
    else:
        outcome = Outcome.FALSE_SUCCESS
        level = "not finite" if residual is None else f"{residual:.1e}"
        detail = f"claimed success; the true residual is {level}"
    return Run(
        config,
        sample,
        method.name,
        outcome,
        tried.iterations,
        tried.setup,
        tried.solve,
        residual,
        error,
        detail,
        tried.applies.M,
        tried.applies.fallbacks,
    )


def _finite(value: float | None) -> float | None:
    return value if value is not None and np.isfinite(value) else None


def rotated(methods: Sequence[T], turn: int) -> Sequence[T]:
    """The methods from another one on each turn, so that none is always the first."""
    first = turn % len(methods)
    return [*methods[first:], *methods[:first]]


def course(method: Method, system: System, stop: Stop) -> Trace | None:
    """How a method comes to its answer, in a run of its own: looking costs time.

    None for direct methods, and for those that do not tell. The steps of a rival that tells its
    residuals are taken for equally long.
    """
    looks: list[Look] = []
    tried = attempt(method, system.copy(), stop, looks.append)
    seconds, residuals = [look.seconds for look in looks], [float(look.estimate) for look in looks]
    if not looks:
        residuals = list(tried.residuals)
        seconds = list(tried.solve * np.arange(1, len(residuals) + 1) / max(1, len(residuals)))
    if len(residuals) < 3:
        return None
    level = None if tried.x is None else _finite(system.residual(tried.x))
    wanted = np.geomspace(1, len(residuals), min(len(residuals), _MOST_POINTS))
    picked = np.unique(np.round(wanted).astype(int)) - 1
    kept = [i for i in picked if np.isfinite(residuals[i])]
    times = tuple(tried.setup + float(seconds[i]) for i in kept)
    return Trace(method.name, times, tuple(residuals[i] for i in kept), level)
