"""Whether a proximal method does what is proven of it: watched while it runs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from sciml._checks import need, number
from sciml.arrays import Array, doubled, dtype_of, safe_norm
from sciml.prior import Native
from sciml.problem import InverseProblem
from sciml.result import Result
from sciml.solve import Look

from ._base import Condition, Theory, Watchable, believed, margin, need_linear

__all__ = ["Convergence", "Watch"]


@dataclass(frozen=True)
class Convergence:
    """What was seen of a run, beside what is proven of it. Per member of a batch.

    Attributes:
        theory: the theorem, and its conditions checked on the operator.
        result: of the solve, with the certified residual (the gradient mapping).
        iterations: int (looks,).
        objective: float64 (looks, *batch), f + g where the proximal operator went last, g up to a
            constant; NaN where the prior has no value. At a fixed point that is result.x.
        merit: the same for what the theory says falls; NaN where it says of nothing.
        fixed_point: float64 (looks, *batch), how much the last step changed what the method's map
            acts on, relative to it; NaN where the step before was not seen.
        watched: int, steps in which the merit was compared.
        rises: int (*batch), those in which it rose. short: int (*batch), those in which it fell by
            less than is proven.
        rtol: rounding that is not counted as a rise, relative to |f| + |g|.
    """

    theory: Theory
    result: Result
    iterations: np.ndarray
    objective: np.ndarray
    merit: np.ndarray
    fixed_point: np.ndarray
    watched: int
    rises: np.ndarray
    short: np.ndarray
    rtol: float

    @property
    def ok(self) -> bool:
        """Certified, proven, and seen to do no less than that in the `watched` steps, at least one:
        see `seen`."""
        return self.result.ok and bool(self.theory.proven and self.seen)

    @property
    def seen(self) -> bool | None:
        """Whether each step that was compared did what is proven of it; None where none was, though
        the theory says what falls. True where there is nothing to see: no step was taken, or the
        theory speaks of the limit alone."""
        if np.any(self.short):
            return False
        idle = not self.theory.falls or not np.any(self.result.iterations)
        return True if idle or self.watched else None

    def explain(self) -> str:
        """A paragraph for a person."""
        parts = [self.result.explain(), *self.theory.notes]
        if not self.theory.promise:
            parts.append("No theorem holds for this method and prior.")
        else:
            said = {
                True: "Proven: {}; its conditions hold.",
                False: "Would be proven: {}, if its conditions held; they do not hold.",
                None: "Would be proven: {}, if its conditions held, which could not be decided.",
            }
            parts.append(said[self.theory.proven].format(self.theory.promise))
        words = {True: "yes", False: "NO", None: "not known"}
        parts += [f"{c.text}: {words[c.holds]}." for c in self.theory.conditions]
        if self.theory.falls and self.watched:
            rises, short = (int(np.max(n, initial=0)) for n in (self.rises, self.short))
            parts.append(
                f"Seen: {self.theory.falls} rose in {rises} of {self.watched} steps by more than "
                f"{self.rtol:.0e} of its parts, and fell by less than is proven in {short}."
            )
        elif self.theory.falls:
            parts.append(
                f"Whether {self.theory.falls} rose was not seen: no step was watched from end to "
                "end."
            )
        elif self.theory.promise:
            parts.append("Of single steps nothing is promised, and nothing was compared.")
        last = self.fixed_point[-1:]
        if last.size and np.isfinite(last).all():
            parts.append(f"Its last step changed its variables by {np.max(last):.1e}, relatively.")
        return " ".join(parts)


class Watch:
    """`solve(problem, solver, observe=watch)`; then `watch.certify(result)`.

    f + g is evaluated in float64 at each look. For a learned prior that takes no inversion after
    the first: what its f was given for x is the y with f(y) = x. Steps are compared where both ends
    were looked at: on a GPU take Stop(check_every=1).

    Args:
        problem, solver: what is solved. values: False to leave out f + g.
        start: False to leave out x0: of an image, to find the y with f(y) = x0 may take minutes.
        rtol: of what is taken for rounding in it; no less than 32 eps of the iterates.

    Raises:
        TypeError: a method without a theory, or a problem that does not suit it.
    """

    def __init__(
        self,
        problem: InverseProblem,
        solver: Watchable,
        *,
        values: bool = True,
        start: bool = True,
        rtol: float = 1e-9,
    ) -> None:
        need(solver, Watchable, "a method with a theory", "FISTA or PlugAndPlayADMM")
        need_linear(problem, "Watch")
        solver.check(problem)
        eps = float(np.finfo(problem.domain.real_dtype).eps)
        self.solver, self.rtol = solver, max(number(rtol, "rtol"), 32 * eps)
        self.theory = solver.theory(problem)
        self.values = bool(values) and hasattr(problem.prior, "value")
        self.start, self.own = bool(start), problem.domain.dtype
        self.step = solver.prox_step(problem)
        self.wide: Any = problem.to(dtype=np.float64)
        self._seen: list[_Seen] = []
        self._last: Array | None = None  # y of the last look
        self._steepest = 0.0  # slope of f that was seen, where one was told

    def __call__(self, look: Look) -> None:
        if not (look.iteration or self.start):
            return
        state, wide = look.state, self.wide
        (z, y), nothing = self.solver.valued(state), np.full(wide.batch, np.nan)
        self._last = y
        if look.iteration & (look.iteration - 1) == 0:
            self._try(y)
        x = self._rounded_anew(doubled(z), y)
        f = 0.5 * wide.misfit(x) ** 2
        g = self._value(x, y) if self.values else nothing
        merit = self.solver.merit(state, wide, f, g) if self.theory.falls else nothing
        fine = self.rtol * (abs(f) + abs(g)) + np.asarray(state.off) ** 2 / (2 * self.step)
        seen = _Seen(look.iteration, f + g, merit, fine, self.solver.moving(state), *[nothing] * 3)
        if self._seen:
            last = self._seen[-1]
            if look.iteration == last.iteration + 1:  # else a new round began, or a stride is set
                seen = self._compared(last, seen)
            self._seen[-1] = last._replace(moving=())
        self._seen.append(seen)

    def certify(self, result: Result) -> Convergence:
        """What was seen of the solve that this watched.

        An L of f that was told is compared with f' at the y of looks 1, 2, 4, 8 and so on, and of
        the last: if one is steeper, a condition of the theory fails.

        Raises:
            ValueError: it watched none.
        """
        need(result, Result, "the result of the solve")
        if not self._seen and np.any(result.iterations):
            raise ValueError(
                "expected a solve that was watched, got none: solve(..., observe=watch)"
            )
        fall, fine, moved = self._all("fall"), self._all("fine"), np.nan_to_num(self._all("moved"))
        return Convergence(
            theory=self._tried(),
            result=result,
            iterations=np.array([s.iteration for s in self._seen], int),
            objective=self._all("objective"),
            merit=self._all("merit"),
            fixed_point=self._all("fixed"),
            watched=int(np.isfinite(fall).any(axis=tuple(range(1, fall.ndim))).sum()),
            rises=(fall < -fine).sum(axis=0),
            short=(fall < self.theory.decrease * moved**2 - fine).sum(axis=0),
            rtol=self.rtol,
        )

    def _tried(self) -> Theory:
        """The theory; with a condition that fails, if f is steeper than was told."""
        self._try(self._last)
        if not self._steepest:
            return self.theory
        seen, told = self._steepest, self.wide.prior.lipschitz
        one = Condition(f"L of f <= {told:g} (seen: {seen:.4g})", margin(told, (seen, seen)))
        if one.holds:  # at these y, which proves nothing
            return self.theory
        return replace(self.theory, conditions=(*self.theory.conditions, one))

    def _try(self, y: Array | None) -> None:
        if y is not None and believed(self.wide.prior):
            self._steepest = max(self._steepest, self.wide.prior.steepness(doubled(y)))

    def _all(self, name: str) -> np.ndarray:
        """(looks, *batch)."""
        if not self._seen:  # solved before the first step
            return np.empty((0, *self.wide.batch))
        return np.stack([getattr(one, name) for one in self._seen])

    def _rounded_anew(self, x: Array, y: Array | None) -> Array:
        """f(y) in double precision for a learned prior: single rounds it so much that no y gives x,
        and one would be searched for."""
        prior, given = self.wide.prior, dtype_of(x)
        if y is None or not self.values or not isinstance(prior, Native) or given == self.own:
            return x
        return prior.prox(doubled(y), prior.native_step)

    def _value(self, x: Array, y: Array | None) -> np.ndarray:
        if y is None:
            return self.wide.prior.value(x)
        return self.wide.prior.value(x, near=doubled(y))

    def _compared(self, old: _Seen, new: _Seen) -> _Seen:
        ndim = self.wide.domain.ndim
        changes = [
            safe_norm(doubled(b) - doubled(a), ndim)
            for a, b in zip(old.moving, new.moving, strict=True)
        ]
        size = np.sqrt(sum(safe_norm(doubled(b), ndim) ** 2 for b in new.moving))
        fixed = np.sqrt(sum(c**2 for c in changes)) / np.where(size > 0, size, 1.0)
        fine = np.maximum(old.fine, new.fine)
        fall = old.merit - new.merit
        return new._replace(fixed=fixed, fall=fall, moved=changes[0], fine=fine)


class _Seen(NamedTuple):
    """One look: per member, and what the method's map acts on."""

    iteration: int
    objective: np.ndarray
    merit: np.ndarray
    fine: np.ndarray  # rounding of the merit
    moving: tuple[Array, ...]
    fixed: np.ndarray  # relative change of that since the last look
    fall: np.ndarray  # of the merit
    moved: np.ndarray  # change of x
