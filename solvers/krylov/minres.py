"""MINRES (Paige and Saunders 1975) for Hermitian, possibly indefinite A."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from sciml.arrays import Array, namespace, ratio
from sciml.operator import Operator
from sciml.problem import LinearSystem
from sciml.result import Status

from ._base import HermitianKrylov, begin, mark, no_flag, root
from ._replay import Replaying

__all__ = ["MINRES"]


class _State(NamedTuple):
    x: Array
    estimate: Array
    flag: Any
    r: Array  # the residual, carried only with a preconditioner
    v: tuple[Array, Array]  # Lanczos vectors v_j, v_{j-1}, not normalised
    z: Array  # M v_j
    w: tuple[Array, Array]
    gamma: tuple[Array, Array]
    eta: Array
    c: tuple[Array, Array]
    s: tuple[Array, Array]
    size: Array  # of A, seen so far
    begun: Array  # the estimate at the start
    A: Operator
    M: Operator


@dataclass(frozen=True, kw_only=True)
class MINRES(Replaying, HermitianKrylov):
    """Minimal residuals for Hermitian A, with a Hermitian positive definite preconditioner.

    Elman, Silvester and Wathen, Finite Elements and Fast Iterative Solvers (2014), algorithm 4.1.
    Without a preconditioner the residual norm never grows. Where A r vanishes against A (singular
    and inconsistent: r is least) it ends with STAGNATED; ||A r|| as in Paige and Saunders (1975).
    """

    def init(self, problem: LinearSystem, x0: Array | None, rng: Any = None) -> _State:
        x, r = begin(problem, x0)
        M, space = self._M(problem), problem.domain
        z = M(r) if self.M else r
        square = space.inner_real(z, r)
        estimate = space.norm(r)
        flag = mark(no_flag(estimate), square < 0, Status.INDEFINITE)
        gamma = root(square)
        one, zero, o = estimate * 0 + 1, estimate * 0, r * 0
        return _State(
            x, estimate, flag, r, (r, o), z, (o, o), (gamma, one), gamma, (one, one),
            (zero, zero), zero, estimate, problem.A, M,
        )  # fmt: skip

    def advance(self, state: _State, k: int) -> _State:
        return self.replayed(self._steps, state, k)

    def _steps(self, state: _State, k: int) -> _State:
        A, M, space = state.A, state.M, state.A.domain
        x, estimate, flag, r, (v, v_old), z, (w, w_old) = state[:7]
        (gamma, gamma_old), eta, (c, c_old), (s, s_old), size, begun = state[7:13]
        eps = float(np.finfo(space.real_dtype).eps)
        for _ in range(k):
            q = z * ratio(1.0 + 0 * gamma, gamma)
            Aq = A(q)
            delta = space.inner_real(q, Aq)
            v_new = Aq - ratio(delta, gamma) * v - ratio(gamma, gamma_old) * v_old
            z_new = M(v_new) if self.M else v_new
            square = space.inner_real(z_new, v_new)
            flag = mark(flag, square < 0, Status.INDEFINITE)
            gamma_new = root(square)
            size = _larger(size, abs(delta) + gamma_new)

            a0 = c * delta - c_old * s * gamma
            least = (a0 * a0 + (c * gamma_new) ** 2) <= (8 * eps * size) ** 2  # ||A r|| / ||r||
            flag = mark(flag, least & (eta != 0), Status.STAGNATED)
            a1 = root(a0 * a0 + gamma_new * gamma_new)
            a2 = s * delta + c_old * c * gamma
            a3 = s_old * gamma
            flag = mark(flag, a1 == 0, Status.BREAKDOWN)
            c_old, c, s_old, s = c, ratio(a0, a1), s, ratio(gamma_new, a1)
            w_old, w = w, (q - a3 * w_old - a2 * w) * ratio(1.0 + 0 * a1, a1)
            x_new = x + (c * eta) * w
            if not self.M:
                # Rounding an x so large costs the residual a good part of what there was: in an
                # inconsistent singular system x grows without end. The step is not taken.
                vain = eps**0.8 * space.norm(size * x_new) >= begun
                flag = mark(flag, vain & (eta != 0), Status.STAGNATED)
                x_new = _where(vain, x, x_new)
            x = x_new
            eta = -s * eta
            if self.M:
                r = (s * s) * r + (c * eta * ratio(1.0 + 0 * gamma_new, gamma_new)) * v_new
                estimate = space.norm(r)
            else:
                estimate = abs(eta)
            v_old, v, z = v, v_new, z_new
            gamma_old, gamma = gamma, gamma_new
        return _State(
            x, estimate, flag, r, (v, v_old), z, (w, w_old), (gamma, gamma_old), eta,
            (c, c_old), (s, s_old), size, begun, A, M,
        )  # fmt: skip


def _larger(a: Array, b: Array) -> Array:
    return max(a, b) if isinstance(a, np.generic) else namespace(a, b).maximum(a, b)


def _where(hit: Array, yes: Array, no: Array) -> Array:
    if isinstance(hit, np.generic):
        return yes if hit else no
    return namespace(yes).where(hit, yes, no)
