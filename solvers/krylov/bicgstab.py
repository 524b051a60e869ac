"""BiCGStab (van der Vorst 1992) for general A."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from sciml.arrays import Array, ratio
from sciml.operator import Operator
from sciml.problem import LinearSystem
from sciml.result import Status

from ._base import Krylov, begin, mark, no_flag
from ._replay import Replaying

__all__ = ["BiCGStab"]


class _State(NamedTuple):
    x: Array
    r: Array
    shadow: Array
    p: Array
    v: Array
    rho: Array
    alpha: Array
    omega: Array
    estimate: Array
    flag: Any
    A: Operator
    M: Operator


@dataclass(frozen=True, kw_only=True)
class BiCGStab(Replaying, Krylov):
    """Stabilised bi-conjugate gradients, preconditioned from the right.

    van der Vorst, SIAM J. Sci. Stat. Comput. 13 (1992). A step is two applications of A. A
    vanishing rho, <shadow, v> or omega is a BREAKDOWN, from which the driver restarts while it
    gains.
    """

    def init(self, problem: LinearSystem, x0: Array | None, rng: Any = None) -> _State:
        x, r = begin(problem, x0)
        estimate = problem.domain.norm(r)
        rho = problem.domain.inner(r, r)
        one = rho * 0 + 1
        return _State(
            x, r, r, r, r * 0, rho, one, one, estimate, no_flag(estimate), problem.A,
            self._M(problem),
        )  # fmt: skip

    def advance(self, state: _State, k: int) -> _State:
        return self.replayed(self._steps, state, k)

    def _steps(self, state: _State, k: int) -> _State:
        A, M, space = state.A, state.M, state.A.domain
        x, r, shadow, p, v, rho, alpha, omega, estimate, flag = state[:10]
        eps2 = float(np.finfo(space.real_dtype).eps) ** 2
        size = space.norm(shadow)
        for _ in range(k):
            p_hat = M(p) if self.M else p
            v = A(p_hat)
            shadow_v = space.inner(shadow, v)
            flag = mark(flag, abs(shadow_v) <= eps2 * size * space.norm(v), Status.BREAKDOWN)
            alpha = ratio(rho, shadow_v)
            s = r - alpha * v
            s_hat = M(s) if self.M else s
            t = alpha * A(s_hat)  # alpha A has size 1: <t, t> cannot overflow or vanish
            tt = space.inner_real(t, t)
            omega = ratio(space.inner(t, s), tt)  # the paper's omega is alpha times this one
            x = x + alpha * (p_hat + omega * s_hat)
            r = s - omega * t
            estimate = space.norm(r)
            rho_new = space.inner(shadow, r)
            stuck = (abs(rho_new) <= eps2 * size * estimate) | (omega == 0)
            flag = mark(flag, stuck & (estimate > 0), Status.BREAKDOWN)
            beta = ratio(ratio(rho_new, rho), omega)
            p = r + beta * (p - (alpha * omega) * v)
            rho = rho_new
        return _State(x, r, shadow, p, v, rho, alpha, omega, estimate, flag, A, M)
