"""Damped Gauss-Newton for physics-informed losses: energy natural gradients.

For a loss ||r(theta)||² the Gram matrix of the energy natural gradient is J^T J (Müller and
Zeinhofer, Achieving High Accuracy with PINNs via Energy Natural Gradients, ICML 2023), so that its
step is a Gauss-Newton step: gradient descent preconditioned by the operator itself. Damping adapts
as in Levenberg's and Marquardt's method, and steps bend with the residuals (geodesic acceleration:
Transtrum and Sethna, Improvements to the Levenberg-Marquardt Algorithm, arXiv 1201.5885).
"""

from __future__ import annotations

import enum
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from sciml import LinearSystem, Operator, Result, Solver, Status, Stop, solve
from sciml._checks import integer, need, number
from sciml.algebra import Identity
from sciml.operators import Diagonal

from ..krylov import CG
from ..krylov._base import Krylov
from .preconditioners import Sketch, sketch
from .recorded import Jacobian
from .residuals import Residuals

__all__ = ["Ended", "GaussNewton", "Normal", "Nystrom", "Progress", "minimise"]

_EPS = 2.2e-16
# r'' is taken over this share of d.
_APART = 0.1
# Losses at the same weights, points and parameters differ by no more, relatively.
_SAME = 1e-9


class Normal(enum.Enum):
    """Where the normal equations are solved."""

    PARAMETERS = "parameters"  # (J^T J + mu) d = -J^T r by Cholesky
    SAMPLES = "samples"  # d = -J^T (J J^T + mu)^-1 r by Cholesky
    KRYLOV = "krylov"  # as PARAMETERS, by a certified Krylov solve that needs J v and J^T u only


@dataclass(frozen=True)
class Progress:
    """Where a training stands: with the parameters' values, all that it needs to go on.

    Attributes:
        damping: mu of the next step; None before the first.
        growth: the factor that mu grows by when the next step fails.
        losses: ||r||² before the first step, and after each. They never rise but at `changes`.
        stalled: steps in a row that found nothing lower.
        unsolved: linear systems whose answer was not certified, and not used.
        units: of unknown constants (`Residuals.units`), the least so far: one that nothing sees any
            more, such as the place of a source that left the domain, must not run away. () while
            constants are held.
        inner: iterations of the Krylov solver in all steps.
        changes: (steps done, ||r||²) where the loss was another one before a step than after the
            step before: weights or points were changed between them.
    """

    damping: float | None = None
    growth: float = 2.0
    losses: tuple[float, ...] = ()
    stalled: int = 0
    unsolved: int = 0
    units: tuple[float, ...] = ()
    inner: int = 0
    changes: tuple[tuple[int, float], ...] = ()

    @property
    def iterations(self) -> int:
        """Steps taken."""
        return max(0, len(self.losses) - 1)


@dataclass(frozen=True, kw_only=True)
class Nystrom:
    """A preconditioner of KRYLOV's systems: a sketch of J^T J, with the mu of each.

    The idea of NNCG (Rathore, Lei, Frangella, Lu and Udell, Challenges in Training PINNs, ICML
    2024), for Gauss-Newton's matrix. A sketch costs as much as `rank` iterations of the solver, so
    that it is made once a solve has taken as many without: at most about twice the cheaper way is
    spent. It serves the other mu of that step and no other step: an old sketch is worse than none.

    Args:
        rank: of the sketch. 8 bytes a rank and parameter are held.
        seed: each sketch is drawn from it and from the steps done, so that a resumed training draws
            the same ones.
    """

    rank: int = 50
    seed: int = 0

    def __post_init__(self) -> None:
        integer(self.rank, "rank", 1)
        integer(self.seed, "seed", 0)

    def made(self, J: Operator, step: int) -> Sketch:
        """The sketch for a step."""
        rng = np.random.default_rng((self.seed, step))
        return sketch(J.normal, min(self.rank, J.domain.size), rng=rng)


@dataclass(frozen=True, kw_only=True)
class GaussNewton:
    """The method: (J^T J + mu) d = -J^T r, and a line search on the loss along t d + t² a / 2.

    a is the geodesic acceleration, (J^T J + mu) a = -J^T r'' with the second derivative r'' of the
    residuals along d: where the loss has curved valleys, steps are several times as long.
    J is taken by theta / scale: steps do not depend on the units of constants. scale is Moré's (The
    Levenberg-Marquardt algorithm: implementation and theory, 1978), for constants alone.

    Args:
        normal: where the system is solved; None chooses the smaller of the two matrices, and
            KRYLOV where J has more than `entries` entries.
        hold: the first steps in which unknown constants keep their values. What a network of
            random weights says of them is noise, and a constant that has run away by a factor of
            100 does not come back.
        damping: the first mu, relative to ||J^T r||² / ||r||², which is at most ||J||².
        halvings: of the step, before mu is raised in its place.
        tries: values of mu in one step.
        bend: the most of |a| / |d| at which a is used; 0 for straight steps. KRYLOV takes those,
            since a is one more solve.
        solver, stop: for KRYLOV; the solver may hold a preconditioner. An answer that is not
            certified is not used: mu is raised, which makes the system easier.
        nystrom: for KRYLOV, a preconditioner in place of the solver's own.
        entries: the most of J as a matrix; the memory used is about 40 bytes for each.
    """

    normal: Normal | None = None
    hold: int = 15
    damping: float = 1e-3
    halvings: int = 2
    tries: int = 8
    bend: float = 0.75
    solver: Solver = field(default_factory=CG)
    stop: Stop = field(default_factory=lambda: Stop(rtol=1e-2, max_iters=500))
    nystrom: Nystrom | None = None
    entries: int = 40_000_000

    def __post_init__(self) -> None:
        if self.normal is not None:
            need(self.normal, Normal, "normal as a Normal", "Normal.SAMPLES")
        need(self.solver, Solver, "a solver", "solvers.CG()")
        need(self.stop, Stop, "stop as Stop(rtol=...)")
        if not number(self.damping, "damping") > 0:
            raise ValueError(f"expected damping > 0, got {self.damping}")
        number(self.bend, "bend")
        integer(self.hold, "hold", 0)
        integer(self.halvings, "halvings", 0)
        integer(self.tries, "tries", 1)
        integer(self.entries, "entries", 0)
        need(self.nystrom, (Nystrom, type(None)), "nystrom as Nystrom(rank=...)")
        if self.nystrom is None:
            return
        if self.normal not in (None, Normal.KRYLOV):
            raise ValueError(
                f"expected normal=Normal.KRYLOV with nystrom, got {self.normal}: the others solve "
                "by Cholesky"
            )
        if not isinstance(self.solver, Krylov) or self.solver.M is not None:
            raise ValueError(
                f"expected a Krylov solver without a preconditioner, got {self.solver!r}: leave "
                "out its M or nystrom"
            )

    def chosen(self, rows: int, columns: int) -> Normal:
        """Where J of this shape is solved for."""
        if self.normal is not None:
            return self.normal
        if rows * columns > self.entries:
            return Normal.KRYLOV
        return Normal.SAMPLES if rows < columns else Normal.PARAMETERS

    def step(self, residuals: Residuals, now: Progress) -> Progress:
        """One step; the parameters hold its outcome, or what they held if nothing was lower.

        Numbers count the lines of algorithm 1 of Müller and Zeinhofer; SAMPLES is the same step in
        the space of residuals (Jnini and Vella, arXiv 2505.21404). mu goes as in algorithm 3.16 of
        Madsen, Nielsen and Tingleff, Methods for Non-Linear Least Squares Problems (2004).

        Raises:
            FloatingPointError: r holds NaN or Inf before the step.
        """
        held = residuals.constants and not now.units and now.iterations < self.hold
        found = self._step(residuals, now, held)
        return self._step(residuals, now, False) if held and found.stalled else found

    def _step(self, residuals: Residuals, now: Progress, held: bool) -> Progress:
        theta = residuals.theta()
        r, J = residuals.linearise()
        units, scale = self._scaled(residuals, J, now, held)
        if units and not now.units:  # constants are free from here on: another problem
            now = replace(now, damping=None, growth=2.0)
        loss = float(r @ r)
        losses = now.losses or (loss,)
        if abs(loss - losses[-1]) > _SAME * loss:
            now = replace(now, changes=(*now.changes, (now.iterations, loss)))
        g = scale * J.adjoint(r)  # 1: half the gradient of ||r||²
        if not bool(g.any()):
            return replace(now, losses=(*losses, loss), stalled=now.stalled + 1)
        first = self.damping * float(g @ g) / loss if now.damping is None else now.damping
        mu, nu, unsolved = first, now.growth, now.unsolved
        system = self._system(residuals, J, scale, now.iterations)  # 2: the Gram matrix

        def move(z: Tensor) -> None:
            residuals.assign(theta + scale * z)

        try:
            for _ in range(self.tries):
                ready = system.damp(mu)
                solved = system.solve(r) if ready else None  # 3: the natural gradient, damped
                unsolved += solved is None
                found = None
                if solved is not None:
                    path = move, *solved, self._bend(residuals, system, move, r, *solved)
                    found = self._search(residuals, path, g, loss)
                if found is None:
                    residuals.assign(theta)
                    mu, nu = mu * nu, 2 * nu
                    continue
                t, new, gain = found
                if t < 1:
                    mu, nu = 2 * mu, 2.0
                else:
                    mu, nu = mu * max(1 / 3, 1 - (2 * gain - 1) ** 3), 2.0  # their (2.21)
                mu = max(mu, system.least)
                found = Progress(mu, nu, (*losses, new), 0, unsolved, units)
                return self._after(found, now, system)
        except BaseException:
            residuals.assign(theta)
            raise
        found = Progress(first, 2.0, (*losses, loss), now.stalled + 1, unsolved, units)
        return self._after(found, now, system)

    def _scaled(
        self, residuals: Residuals, J: Jacobian, now: Progress, held: bool
    ) -> tuple[tuple[float, ...], Tensor]:
        """The units of constants, () where they are held, and the scale of theta by them."""
        units = residuals.units(J)
        if held:
            return (), residuals.scale([0.0] * len(units))
        units = tuple(map(min, units, now.units)) if now.units else units
        return units, residuals.scale(units)

    def _after(self, found: Progress, before: Progress, system: _System) -> Progress:
        inner = before.inner + (system.iterations if isinstance(system, _Krylov) else 0)
        return replace(found, inner=inner, changes=before.changes)

    def _bend(
        self, residuals: Residuals, system: _System, move: _Move, r: Tensor, d: Tensor, Jd: Tensor
    ) -> Tensor | None:
        """a of Transtrum and Sethna, r'' by finite differences along d."""
        if not self.bend or isinstance(system, _Krylov):
            return None
        move(_APART * d)
        second = 2 / _APART * ((residuals.value() - r) / _APART - Jd)
        if not bool(torch.isfinite(second).all()):
            return None
        bent = system.solve(second)
        if bent is None or float(bent[0].norm()) > self.bend * float(d.norm()):
            return None
        return bent[0]

    def _search(
        self, residuals: Residuals, path: tuple[_Move, Tensor, Tensor, Tensor | None],
        g: Tensor, loss: float,
    ) -> tuple[float, float, float] | None:  # fmt: skip
        """(t, loss there, its fall over what the linear model promised); 4 and 5."""
        move, d, Jd, a = path
        slope, curvature = float(g @ d), float(Jd @ Jd)
        if not slope < 0:
            return None
        for k in range(self.halvings + 1):
            t = 0.5**k
            move(t * d if a is None else t * d + t * t / 2 * a)  # 5
            r = residuals.value()
            new = float(r @ r)
            # sufficient decrease (Armijo); NaN is not below anything
            if new < loss and loss - new >= -2e-4 * t * slope:
                return t, new, (loss - new) / (-2 * t * slope - t * t * curvature)
        return None

    def _system(self, residuals: Residuals, J: Jacobian, scale: Tensor, step: int) -> _System:
        normal = self.chosen(J.range.size, J.domain.size)
        if normal is Normal.KRYLOV:
            return _Krylov(residuals, J, scale, self, step)
        return _Cholesky(J.matrix().mul_(scale), samples=normal is Normal.SAMPLES)


class _Cholesky:
    """Solves with one J and any mu; the Gram matrix is made once."""

    def __init__(self, J: Tensor, *, samples: bool) -> None:
        self.J, self.samples = J, samples
        self.gram = _gram(J if samples else J.T)
        self.least = _EPS * float(torch.linalg.diagonal(self.gram).max())
        self.factor = self.gram

    def damp(self, mu: float) -> bool:
        """Set mu; False where the Gram matrix + mu is not positive definite in float64."""
        shifted = self.gram.clone()
        shifted.diagonal().add_(max(mu, self.least))
        self.factor, failed = torch.linalg.cholesky_ex(shifted)
        return not bool(failed)

    def solve(self, r: Tensor) -> tuple[Tensor, Tensor] | None:
        """(d, J d) with (J^T J + mu) d = -J^T r."""
        b = r if self.samples else self.J.T @ r
        x = -torch.cholesky_solve(b[:, None], self.factor)[:, 0]
        d = self.J.T @ x if self.samples else x
        return d, self.J @ d


class _Krylov:
    """The same by certified solves, from J v and J^T u."""

    least = 0.0

    def __init__(
        self, residuals: Residuals, J: Jacobian, scale: Tensor, method: GaussNewton, step: int
    ) -> None:
        self.residuals, self.J, self.method, self.step = residuals, J, method, step
        self.S, self.mu, self.iterations = Diagonal(scale), 0.0, 0
        self.sketch: Sketch | None = None

    def damp(self, mu: float) -> bool:
        self.mu = mu
        return True

    def solve(self, r: Tensor) -> tuple[Tensor, Tensor] | None:
        """None where the solve was not certified."""
        J = (self.J if self.J.current else self.residuals.linearise()[1]) @ self.S
        system = LinearSystem(J.normal + self.mu * Identity(J.domain), -J.H(r))
        solver, stop, nystrom = self.method.solver, self.method.stop, self.method.nystrom
        if nystrom is None or not isinstance(solver, Krylov):
            found = self._run(system, solver, stop, None)
        else:
            found, x = None, None
            if self.sketch is None:
                few = nystrom.rank if stop.max_iters is None else min(nystrom.rank, stop.max_iters)
                trial = replace(stop, max_iters=few)
                found = self._run(system, solver, trial, None)
                x = found.x if found.status == Status.MAX_ITERS else None
            if found is None or not found.ok:
                self.sketch = self.sketch or nystrom.made(J, self.step)
                M = self.sketch.inverse(self.mu)
                found = self._run(system, replace(solver, M=M), stop, x)
        return (found.x, J(found.x)) if found.ok else None

    def _run(self, system: LinearSystem, solver: Solver, stop: Stop, x0: Tensor | None) -> Result:
        found = solve(system, solver, x0=x0, stop=stop, throw=False)
        self.iterations += int(found.iterations)
        if found.status == Status.INTERRUPTED:
            raise KeyboardInterrupt
        return found


_System = _Cholesky | _Krylov
_Move = Callable[[Tensor], None]  # z -> the parameters hold theta + scale z


def _gram(J: Tensor) -> Tensor:
    """J J^T."""
    if J.device.type != "cpu":
        return J @ J.T
    rows = J.numpy()
    return torch.from_numpy(rows @ rows.T)  # NumPy knows it for symmetric: half of the work


class Ended(enum.Enum):
    """Why a minimisation ended."""

    ITERATIONS = "the iterations were spent"
    TARGET = "the loss reached its target"
    STALLED = "no step lowers the loss in float64"
    INTERRUPTED = "interrupted: the parameters are those of the last step"


def minimise(
    residuals: Residuals,
    method: GaussNewton,
    *,
    iterations: int,
    target: float = 0.0,
    start: Progress | None = None,
    progress: Callable[[int, int], None] | None = None,
    max_seconds: float | None = None,
) -> tuple[Progress, Ended]:
    """Minimise ||r(theta)||² in place, from the parameters' present values.

    A run in parts, each from the `Progress` of the one before, ends with the same bits as a run in
    one. Losses never rise, so that Ctrl-C keeps the best parameters.

    Args:
        iterations: further steps.
        target: stop at ||r||² below it.
        start: where a run before ended.
        progress: called with (steps done, steps).
        max_seconds: no step begins later; it counts as ITERATIONS.

    Raises:
        FloatingPointError: r holds NaN or Inf at the start.
    """
    need(residuals, Residuals, "Residuals")
    need(method, GaussNewton, "a method", "GaussNewton()")
    integer(iterations, "iterations", 0)
    number(target, "target")
    limit = float("inf") if max_seconds is None else number(max_seconds, "max_seconds")
    now = Progress() if start is None else start
    began = time.perf_counter()
    try:
        for done in range(iterations):
            if time.perf_counter() - began >= limit:
                break
            now = method.step(residuals, now)
            if progress is not None:
                progress(done + 1, iterations)
            if now.losses[-1] <= target:
                return now, Ended.TARGET
            if now.stalled:  # the next step would be the same
                return now, Ended.STALLED
    except KeyboardInterrupt:
        return now, Ended.INTERRUPTED
    return now, Ended.ITERATIONS
