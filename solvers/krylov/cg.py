"""Conjugate gradients (Hestenes and Stiefel 1952), and its flexible form (Notay 2000)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from sciml._checks import integer
from sciml.arrays import Array, ratio
from sciml.operator import Operator
from sciml.problem import LinearSystem, Problem
from sciml.result import Status

from ._base import HermitianKrylov, begin, descend, load_fused, mark, no_flag, search
from ._replay import Replaying

__all__ = ["CG", "FlexibleCG"]


class _CGState(NamedTuple):
    x: Array
    r: Array
    z: Array | None  # M r, at the start only
    p: Array | None
    rz: Array  # of the newest z
    estimate: Array
    flag: Any
    A: Operator
    M: Operator


@dataclass(frozen=True, kw_only=True)
class CG(Replaying, HermitianKrylov):
    """Preconditioned conjugate gradients for Hermitian positive definite A and M.

    Saad, Iterative Methods for Sparse Linear Systems (2003), algorithm 9.1. Curvature <p, Ap> <= 0
    or <r, Mr> < 0 ends it with INDEFINITE.
    """

    def prepare(self, problem: Problem) -> Self:
        load_fused(problem)
        return super().prepare(problem)

    def init(self, problem: LinearSystem, x0: Array | None, rng: Any = None) -> _CGState:
        x, r = begin(problem, x0)
        M = self._M(problem)
        z = M(r) if self.M else r
        rz = problem.domain.inner_real(r, z)
        estimate = problem.domain.norm(r)
        flag = mark(no_flag(estimate), rz < 0, Status.INDEFINITE)
        return _CGState(x, r, z, None, rz, estimate, flag, problem.A, M)

    def advance(self, s: _CGState, k: int) -> _CGState:
        return self.replayed(self._steps, s, k)

    def _steps(self, s: _CGState, k: int) -> _CGState:
        A, M, space = s.A, s.M, s.A.domain
        x, r, z, p, rz, estimate, flag = s[:7]
        for _ in range(k):
            beta = rz
            if z is None:  # 6 of the step before: after the last one it would be for nothing
                z = M(r) if self.M else r
                rz_new = space.inner_real(r, z) if self.M else estimate**2
                flag = mark(flag, rz_new < 0, Status.INDEFINITE)
                beta, rz = ratio(rz_new, rz), rz_new
            p, Ap, pAp = search(A, z, beta, p)  # 7, 8
            flag = mark(flag, pAp <= 0, Status.INDEFINITE)
            alpha = ratio(rz, pAp)  # 3
            x, r, estimate = descend(space, x, r, alpha, p, Ap)  # 4, 5
            z = None
        return _CGState(x, r, z, p, rz, estimate, flag, A, M)


class _FCGState(NamedTuple):
    x: Array
    r: Array
    directions: tuple[tuple[Array, Array, Array], ...]  # (d, A d, <d, A d>), newest last
    step: int
    estimate: Array
    flag: Any
    A: Operator
    M: Operator


@dataclass(frozen=True, kw_only=True)
class FlexibleCG(HermitianKrylov):
    """CG whose preconditioner may change from step to step, or be nonlinear (a network).

    Notay, Flexible Conjugate Gradients, SIAM J. Sci. Comput. 22 (2000): each direction M(r) is
    A-orthogonalised against the last max(1, k mod (truncate + 1)) directions.

    Args:
        truncate: most directions kept.
    """

    truncate: int = 20

    def __post_init__(self) -> None:
        super().__post_init__()
        integer(self.truncate, "truncate", 1)

    def check_preconditioner(self, M: Operator) -> None:
        """Any operator will do."""

    def init(self, problem: LinearSystem, x0: Array | None, rng: Any = None) -> _FCGState:
        x, r = begin(problem, x0)
        estimate = problem.domain.norm(r)
        flag = no_flag(estimate)
        return _FCGState(x, r, (), 0, estimate, flag, problem.A, self._M(problem))

    def advance(self, s: _FCGState, k: int) -> _FCGState:
        A, M, space = s.A, s.M, s.A.domain
        x, r, directions, step, estimate, flag = s[:6]
        for _ in range(k):
            z = M(r) if self.M else r
            d = z
            kept = directions[-max(1, step % (self.truncate + 1)) :]
            for di, Adi, dAd in kept:
                d = d - ratio(space.inner(Adi, d), dAd) * di
            Ad = A(d)
            dAd = space.inner_real(d, Ad)
            flag = mark(flag, dAd <= 0, Status.INDEFINITE)
            alpha = ratio(space.inner(d, r), dAd)
            x = x + alpha * d
            r = r - alpha * Ad
            estimate = space.norm(r)
            directions = (*kept, (d, Ad, dAd))
            step += 1
        return _FCGState(x, r, directions, step, estimate, flag, A, M)
