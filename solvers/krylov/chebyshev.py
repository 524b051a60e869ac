"""Chebyshev iteration (Golub and Varga 1961): CG without inner products."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

import numpy as np

from sciml.arrays import Array
from sciml.operator import Operator
from sciml.problem import LinearSystem, Problem

from ._base import Krylov, begin, no_flag
from .spectrum import extreme_eigenvalues

__all__ = ["Chebyshev"]


class _State(NamedTuple):
    x: Array
    r: Array
    d: Array
    rho: float
    estimate: Array
    flag: Any
    A: Operator
    M: Operator


@dataclass(frozen=True, kw_only=True)
class Chebyshev(Krylov):
    """Chebyshev iteration for Hermitian positive definite A and M.

    Saad (2003), algorithm 12.1 on M A. Inner products are needed only for the residual norm.

    Args:
        bounds: (lowest, highest) eigenvalue of M A. Found by Lanczos when the solver is prepared
            if not given, and widened (lowest by a half, highest by a tenth), because Lanczos
            approaches them from inside.
    """

    bounds: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bounds is not None and not 0 < self.bounds[0] < self.bounds[1]:
            raise ValueError(f"expected bounds 0 < lowest < highest, got {self.bounds}")

    def check(self, problem: Problem) -> None:
        super().check(problem)
        self._need_hermitian(problem)

    def check_preconditioner(self, M: Operator) -> None:
        super().check_preconditioner(M)
        self._need_hermitian_M(M)

    def prepare(self, problem: Problem) -> Self:
        ready = super().prepare(problem)
        if ready.bounds is not None:
            return ready
        M = ready.M if isinstance(ready.M, Operator) else None
        low, high = extreme_eigenvalues(problem, M)
        if not low > 0:
            raise np.linalg.LinAlgError(
                f"expected a positive definite A, but Lanczos found the eigenvalue {low:.3g}"
            )
        return replace(ready, bounds=(0.5 * low, 1.1 * high))

    def init(self, problem: LinearSystem, x0: Array | None, rng: Any = None) -> _State:
        if self.bounds is None:
            raise ValueError("expected a prepared Chebyshev: call prepare(problem) first")
        low, high = self.bounds
        x, r = begin(problem, x0)
        M = self._M(problem)
        theta, delta = (high + low) / 2, (high - low) / 2
        z = M(r) if self.M else r
        estimate = problem.domain.norm(r)
        return _State(
            x, r, z * (1 / theta), delta / theta, estimate, no_flag(estimate), problem.A, M
        )

    def advance(self, state: _State, k: int) -> _State:
        assert self.bounds is not None
        low, high = self.bounds
        theta, delta = (high + low) / 2, (high - low) / 2
        sigma = theta / delta
        A, M, space = state.A, state.M, state.A.domain
        x, r, d, rho, estimate, flag = state[:6]
        for _ in range(k):
            x = x + d
            r = r - A(d)
            z = M(r) if self.M else r
            rho_new = 1 / (2 * sigma - rho)
            d = (rho_new * rho) * d + (2 * rho_new / delta) * z
            rho = rho_new
            estimate = space.norm(r)
        return _State(x, r, d, rho, estimate, flag, A, M)
