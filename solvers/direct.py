"""Direct solves with iterative refinement."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import numpy as np

from sciml.arrays import Array, host_view
from sciml.operator import Operator
from sciml.problem import LinearSystem, Problem

from .krylov._base import Krylov, first_residual, no_flag
from .precond import Recipe, SuperLU

__all__ = ["Direct"]


class _Begun(NamedTuple):
    problem: LinearSystem
    x0: Array | None
    r: Array
    estimate: Array
    flag: Any
    M: Operator

    @property
    def x(self) -> Array:
        return self.problem.start() if self.x0 is None else self.x0


class _Solved(NamedTuple):
    x: Array
    estimate: Array
    flag: Any


@dataclass(frozen=True, kw_only=True)
class Direct(Krylov):
    """Factor A, solve, and refine: x <- x + M (b - A x) with M = A^-1 to rounding.

    A step applies M once and claims the rest to be rounding. The driver certifies that, and where
    it is not so, starts again from the true residual, evaluated in float64: that is the refinement
    (Higham, Accuracy and Stability of Numerical Algorithms, 2002, chapter 12). A second step is
    rarely needed; one that gains less than a factor of two ends as STAGNATED.

    Args:
        M: the inverse, `SuperLU()`, `Cholesky()`, or for constant k on a box `FastPoisson()`.
    """

    linear: ClassVar[bool] = True

    M: Operator | Recipe | None = field(default_factory=SuperLU)

    def check(self, problem: Problem) -> None:
        super().check(problem)
        if self.M is None:
            raise TypeError("Direct expected a factorisation M, such as SuperLU(), got None")

    def check_preconditioner(self, M: Operator) -> None:
        super().check_preconditioner(M)
        if not getattr(M, "exact", True):
            raise TypeError(
                f"Direct expected M = A^-1 to rounding, got {M!r}, which is close to it only (k is "
                "not constant): use CG with it, or Direct(M=SuperLU())"
            )

    @property
    def pace(self) -> int:
        """A step past the first does nothing."""
        return 1

    def init(self, problem: LinearSystem, x0: Array | None, rng: Any = None) -> _Begun:
        r = first_residual(problem, x0)
        estimate = problem.domain.norm(r)
        return _Begun(problem, x0, r, estimate, no_flag(estimate), self._M(problem))

    def advance(self, state: _Begun | _Solved, k: int) -> _Solved:
        if isinstance(state, _Solved):  # what is left is believed to be rounding
            return state
        x = state.M(state.r)
        if state.x0 is not None or not _apart(x, state.r):
            x = state.x + x
        rounding = float(np.finfo(state.M.domain.real_dtype).eps)
        return _Solved(x, rounding * state.estimate, state.flag)


def _apart(x: Array, y: Array) -> bool:
    """Whether two arrays are known to share no memory."""
    views = host_view(x), host_view(y)
    return views[0] is not None and views[1] is not None and not np.may_share_memory(*views)
