"""What a solve found: status, certified residual, and words for a person."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ._checks import integer, number
from .arrays import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Applies", "Result", "Seconds", "SolveError", "SolveInterrupted", "Status", "Stop"]


class Status(enum.IntEnum):
    """How a member of a solve ended. Each carries `.advice`."""

    CONVERGED = 0
    MAX_ITERS = 1
    MAX_SECONDS = 2
    STAGNATED = 3
    DIVERGED = 4
    BREAKDOWN = 5
    INDEFINITE = 6
    NONFINITE_INPUT = 7
    NONFINITE_OUTPUT = 8
    INTERRUPTED = 9
    SAMPLED = 10
    MISFIT = 11
    UNMIXED = 12

    @property
    def ok(self) -> bool:
        """CONVERGED or SAMPLED."""
        return self in (Status.CONVERGED, Status.SAMPLED)

    @property
    def advice(self) -> str:
        """What happened and what to try, in a sentence or two."""
        return _ADVICE[self]


_ADVICE = {
    Status.CONVERGED: "The true residual of the returned x is within the tolerance.",
    Status.MAX_ITERS: "The iteration limit came first: raise Stop.max_iters, or use a better "
    "preconditioner.",
    Status.MAX_SECONDS: "The time limit came first: raise Stop.max_seconds, or use a better "
    "preconditioner or solver.",
    Status.STAGNATED: "The residual does not go lower with this method in this precision: try "
    "another method or preconditioner, or float64, or check that a singular system is consistent.",
    Status.DIVERGED: "The residual grew without bound: the method does not suit this system "
    "(check symmetry and definiteness) or its parameters are wrong.",
    Status.BREAKDOWN: "Set-up met a pivot it cannot use, or the recurrence divided by zero "
    "(numerically): the system may be singular or inconsistent; try GMRES, MINRES, a direct "
    "solver, or another x0.",
    Status.INDEFINITE: "Zero or negative curvature: A or the preconditioner is not positive "
    "definite in this precision; use MINRES or GMRES, and a positive definite preconditioner.",
    Status.NONFINITE_INPUT: "The input holds NaN or Inf, so nothing was computed: clean the named "
    "input.",
    Status.NONFINITE_OUTPUT: "NaN or Inf came out of the operator or preconditioner during the "
    "solve: the last finite x is returned.",
    Status.INTERRUPTED: "Interrupted: the best x so far is returned.",
    Status.SAMPLED: "The draws explain the data as its noise would; chains that go on have mixed.",
    Status.MISFIT: "The draws do not explain the data as its noise would, or explain it too "
    "well, or they contradict the prior: check the noise's sigma, raise the budget, or the prior "
    "does not suit these data.",
    Status.UNMIXED: "The chains do not agree, are too short, or did not come to their end: "
    "raise the budget.",
}


@dataclass(frozen=True)
class Stop:
    """When to stop: ||residual(x)||_2 <= max(rtol * scale, atol), or a limit.

    Args:
        rtol: relative to `problem.scale` (||b|| for a linear system).
        atol: absolute, in the units of the residual.
        max_iters: steps over all restarts; None means 10 n, between 1,000 and 100,000.
        max_seconds: wall clock of the iteration; set-up (a factorisation, say) is not counted and
            not limited.
        check_every: steps between looks; None means 1 on the CPU, and on a GPU 16, or 1 with a
            preconditioner that costs more than a look, such as a cycle of multigrid.
    """

    rtol: float = 1e-6
    atol: float = 0.0
    max_iters: int | None = None
    max_seconds: float | None = None
    check_every: int | None = None

    def __post_init__(self) -> None:
        number(self.rtol, "rtol")
        number(self.atol, "atol")
        if self.max_seconds is not None:
            number(self.max_seconds, "max_seconds")
        if self.max_iters is not None:
            integer(self.max_iters, "max_iters", 0)
        if self.check_every is not None:
            integer(self.check_every, "check_every", 1)


@dataclass(frozen=True)
class Applies:
    """Applications of each operator (a batched application counts once), certification included.

    `fallbacks` counts the steps, over all members, in which a learned method took a classical
    direction and not its network's.
    """

    A: int = 0
    A_H: int = 0
    M: int = 0
    certify: int = 0
    fallbacks: int = 0


@dataclass(frozen=True)
class Seconds:
    """Wall-clock seconds."""

    setup: float = 0.0
    solve: float = 0.0


@dataclass(frozen=True)
class Result:
    """The answer and its certificate. Per member of a batch where the problem has one.

    Attributes:
        x: (*batch, *shape), of the input's dtype, library and device. The best iterate found.
        status: a Status, or a host array of Status (*batch) for a batched problem.
        iterations: int, or int array (*batch).
        residual: ||residual(x)|| / scale, evaluated in float64 on the returned x.
        estimate: the same ratio as the method itself believed it, at its last step.
        target: the ratio that had to be reached, max(rtol, atol / scale).
        history: float64 (looks, *batch), the estimate at each look, relative to scale.
        looks: int (looks,), the iteration of each entry of history.
        restarts: restarts from the true residual, after the method's claim proved false.
        applies, seconds, memory: cost; memory in bytes of iteration state and set-up.
        certified_in: dtype in which the certificate was evaluated.
        solver: the record that solved it, set-up included: it serves further right-hand sides.
        notes: further findings in words (which input was not finite, what was chosen and why).
    """

    x: Array
    status: Any
    iterations: Any
    residual: Any
    estimate: Any
    target: Any
    history: np.ndarray
    looks: np.ndarray
    restarts: int
    applies: Applies
    seconds: Seconds
    memory: int
    certified_in: np.dtype
    solver: Any
    notes: tuple[str, ...] = field(default=())

    @property
    def ok(self) -> bool:
        """Whether every member converged."""
        return bool(np.all(np.asarray(self.status) == Status.CONVERGED))

    @property
    def worst(self) -> Status:
        """The status of the unbatched solve, or of the member furthest from its target."""
        statuses = np.asarray(self.status).reshape(-1)
        if statuses.size == 0:
            return Status.CONVERGED
        target = np.maximum(np.asarray(self.target, dtype=float), np.finfo(float).tiny)
        ratio = (np.asarray(self.residual) / target).reshape(-1)
        excess = np.where(statuses == Status.CONVERGED, -np.inf, ratio)
        excess = np.where(np.isnan(excess), np.inf, excess)
        return Status(int(statuses[int(np.argmax(excess))]))

    def explain(self) -> str:
        """A paragraph for a person."""
        method = self.solver.name
        statuses = np.asarray(self.status).reshape(-1)
        residual = np.asarray(self.residual, dtype=float).reshape(-1)
        if statuses.size == 0:
            return f"{method}: the batch is empty, so there was nothing to solve."
        target = float(np.max(self.target))
        known = residual[np.isfinite(residual)]
        if np.ndim(self.status) == 0:
            head = (
                f"{method} ended with {self.worst.name} after {int(self.iterations)} iterations: "
                f"true relative residual {residual[0]:.2e} (asked for {target:.2e})."
            )
        else:
            counts = {Status(s).name: int((statuses == s).sum()) for s in np.unique(statuses)}
            told = ", ".join(f"{n} {name}" for name, n in counts.items())
            head = (
                f"{method} on {statuses.size} systems: {told}; largest true relative residual "
                f"{np.max(known, initial=0.0):.2e} (asked for {target:.2e}), at most "
                f"{int(np.max(self.iterations))} iterations."
            )
        parts = [head]
        if not self.ok:
            parts.append(self.worst.advice)
        estimate = float(np.max(np.asarray(self.estimate, dtype=float)))
        if np.isfinite(estimate) and np.max(residual) > 10 * estimate > 0:
            parts.append(f"The method itself believed {estimate:.2e}.")
        if self.restarts:
            times = "once" if self.restarts == 1 else f"{self.restarts} times"
            parts.append(f"It was restarted from the true residual {times}.")
        a = self.applies
        parts.append(
            f"Cost: {a.A} A, {a.A_H} A^H, {a.M} M and {a.certify} certifying applications; "
            f"set-up {self.seconds.setup:.3g} s, solve {self.seconds.solve:.3g} s."
        )
        if a.fallbacks:
            parts.append(f"{a.fallbacks} steps were classical ones, not the network's.")
        if a.certify:
            parts.append(f"The residual was evaluated in {self.certified_in}.")
        return " ".join([*parts, *self.notes])

    def plot(self, ax: Axes | None = None) -> Axes:
        """The history of the estimate, with the true residual at the end as a marker."""
        import matplotlib.pyplot as plt

        if ax is None:
            ax = plt.subplots()[1]
        if self.looks.size:
            ax.semilogy(self.looks, self.history.reshape(self.looks.size, -1), lw=1)
        ends = np.asarray(self.iterations).reshape(-1)
        ax.semilogy(ends, np.asarray(self.residual).reshape(-1), "ko", ms=4, label="true residual")
        if np.ndim(self.target) == 0 and self.target > 0:
            ax.axhline(float(self.target), color="0.6", lw=0.8, ls="--", label="asked for")
        ax.set_xlabel("iteration")
        ax.set_ylabel("relative residual")
        ax.legend(frameon=False)
        return ax


class SolveError(RuntimeError):
    """A solve that did not converge. `.result` holds what was found."""

    def __init__(self, result: Result) -> None:
        super().__init__(result.explain())
        self.result = result


class SolveInterrupted(SolveError, KeyboardInterrupt):
    """A solve stopped by Ctrl-C. `.result.x` is the best iterate so far."""
