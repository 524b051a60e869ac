"""Direct solves with iterative refinement."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sciml.arrays import Array
from sciml.operator import Operator
from sciml.problem import LinearSystem, Problem

from .krylov._base import Krylov, begin, no_flag
from .precond import Recipe, SuperLU

__all__ = ["Direct"]


class _State(NamedTuple):
    x: Array
    r: Array
    estimate: Array
    flag: Any
    A: Operator
    M: Operator


@dataclass(frozen=True, kw_only=True)
class Direct(Krylov):
    """Factor A, solve, and refine: x <- x + M (b - A x) with M = A^-1 to rounding.

    One step is one solve with the factors; a second one is rarely needed (Higham, Accuracy and
    Stability of Numerical Algorithms, 2002, chapter 12).

    Args:
        M: the factorisation, `SuperLU()` or `Cholesky()`.
    """

    M: Operator | Recipe | None = field(default_factory=SuperLU)

    def check(self, problem: Problem) -> None:
        super().check(problem)
        if self.M is None:
            raise TypeError("Direct expected a factorisation M, such as SuperLU(), got None")

    def init(self, problem: LinearSystem, x0: Array | None, rng: Any = None) -> _State:
        x, r = begin(problem, x0)
        estimate = problem.domain.norm(r)
        return _State(x, r, estimate, no_flag(estimate), problem.A, self._M(problem))

    def advance(self, state: _State, k: int) -> _State:
        x, r, estimate, flag, A, M = state
        for _ in range(k):
            correction = M(r)
            x = x + correction
            r = r - A(correction)
            estimate = A.range.norm(r)
        return _State(x, r, estimate, flag, A, M)
