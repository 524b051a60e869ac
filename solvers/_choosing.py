"""Solvers that choose another one, which takes the steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sciml.arrays import Array
from sciml.problem import Problem
from sciml.solver import Solver

__all__ = ["Choosing"]


@dataclass(frozen=True, kw_only=True)
class Choosing(Solver):
    """A solver whose `prepare` sets `chosen`.

    Args:
        chosen: what takes the steps; set when the solver is prepared.
    """

    chosen: Solver | None = None

    @property
    def stepping(self) -> Solver:
        if self.chosen is None:
            own = type(self).__name__
            raise ValueError(f"expected a prepared {own}: call prepare(problem) first")
        return self.chosen

    @property
    def nbytes(self) -> int:
        return 0 if self.chosen is None else self.chosen.nbytes

    def init(self, problem: Problem, x0: Array | None, rng: Any = None) -> Any:
        return self.stepping.init(problem, x0, rng)

    def advance(self, state: Any, k: int) -> Any:
        return self.stepping.advance(state, k)
