"""Solvers that choose another one, which takes the steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sciml.algebra import Adjoint
from sciml.arrays import Array
from sciml.operator import Operator
from sciml.problem import Problem
from sciml.solver import Solver

__all__ = ["Choosing", "same"]


@dataclass(frozen=True, kw_only=True)
class Choosing(Solver):
    """A solver whose `prepare` sets `chosen`.

    Args:
        chosen: what takes the steps, or chooses in its turn; set when the solver is prepared.
    """

    chosen: Solver | None = None

    @property
    def stepping(self) -> Solver:
        if self.chosen is None:
            own = type(self).__name__
            raise ValueError(f"expected a prepared {own}: call prepare(problem) first")
        return self.chosen.stepping

    @property
    def nbytes(self) -> int:
        return 0 if self.chosen is None else self.chosen.nbytes

    def init(self, problem: Problem, x0: Array | None, rng: Any = None) -> Any:
        return self.stepping.init(problem, x0, rng)

    def advance(self, state: Any, k: int) -> Any:
        return self.stepping.advance(state, k)


def same(a: Operator | None, b: Operator | None) -> bool:
    """Whether two operators are one, or the adjoints of one."""
    if isinstance(a, Adjoint) and isinstance(b, Adjoint):
        return a.parts[0] is b.parts[0]
    return a is b
