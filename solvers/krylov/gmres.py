"""GMRES (Saad and Schultz 1986) and flexible GMRES (Saad 1993), restarted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from sciml._checks import integer
from sciml.arrays import Array, dot, dtype_of, namespace, native_dtype, ratio
from sciml.operator import Operator
from sciml.problem import LinearSystem
from sciml.result import Status

from ._base import Krylov, begin, mark, no_flag

__all__ = ["FGMRES", "GMRES"]


class _State(NamedTuple):
    """A cycle after j steps. V, Z, R, Q and g are append-only: older states stay valid."""

    j: int
    x_start: Array
    V: Array  # (*batch, m + 1, n): the orthonormal basis
    Z: Array | None  # (*batch, m, n): M v_j, kept by the flexible form
    R: Array  # (*batch, m, m): Hessenberg matrix, rotated to triangular
    Q: Array  # (*batch, m, m + 1): the rows of the product of rotations that no later one changes
    q: Array  # (*batch, m + 1): its row j, which the next rotation splits
    g: Array  # (*batch, m): rotated right-hand side
    last: Array  # (*batch,): its next entry, whose modulus is the residual norm
    estimate: Array
    begun: Array  # the estimate at the start of the cycle
    flag: Any
    problem: LinearSystem
    M: Operator | None

    @property
    def x(self) -> Array:
        j = self.j
        if j == 0:
            return self.x_start
        xp = namespace(self.V)
        y = xp.zeros_like(self.g[..., :j])  # back substitution; a zero pivot (singular A) gives 0
        for i in range(j - 1, -1, -1):
            known = xp.sum(self.R[..., i, i + 1 : j] * y[..., i + 1 :], axis=-1)
            y[..., i] = ratio(self.g[..., i] - known, self.R[..., i, i])
        basis = self.V if self.Z is None else self.Z
        step = _combine(y, basis[..., :j, :])
        step = xp.reshape(step, self.x_start.shape)
        if self.Z is None and self.M is not None:
            step = self.M(step)
        return self.x_start + step


@dataclass(frozen=True, kw_only=True)
class GMRES(Krylov):
    """Generalised minimal residuals, restarted every `restart` steps, preconditioned on the right.

    Saad (2003), algorithm 9.5 with classical Gram-Schmidt done twice, which is as stable as
    modified Gram-Schmidt and made of matrix-vector products. The residual norm never grows.

    Args:
        restart: basis vectors kept.
    """

    restart: int = 50
    flexible = False

    def __post_init__(self) -> None:
        super().__post_init__()
        integer(self.restart, "restart", 1)

    def init(self, problem: LinearSystem, x0: Array | None, rng: Any = None) -> _State:
        x, r = begin(problem, x0)
        space = problem.domain
        xp = namespace(r)
        m = min(self.restart, space.size)
        batch = problem.batch
        beta = space.norm(r)
        flag = no_flag(beta)
        like = {"dtype": native_dtype(xp, space.dtype), **_on(r)}
        V = xp.empty((*batch, m + 1, space.size), **like)
        V[..., 0, :] = xp.reshape(r * ratio(beta * 0 + 1, beta), (*batch, space.size))
        Z = xp.empty((*batch, m, space.size), **like) if self.flexible and self.M else None
        R = xp.zeros((*batch, m, m), **like)
        Q = xp.zeros((*batch, m, m + 1), **like)
        q = xp.zeros((*batch, m + 1), **like)
        q[..., 0] = 1
        g = xp.zeros((*batch, m), **like)
        last = xp.reshape(xp.astype(xp.asarray(beta), g.dtype), batch)
        M = self._M(problem) if self.M else None
        return _State(0, x, V, Z, R, Q, q, g, last, beta, beta, flag, problem, M)

    def advance(self, state: _State, k: int) -> _State:
        for _ in range(k):
            if state.j == state.V.shape[-2] - 1:
                state = self._restart(state)
            state = self._step(state)
        return state

    def _restart(self, state: _State) -> _State:
        """A new cycle; a member whose cycle brought nothing is STAGNATED, for so will the next."""
        made = self.init(state.problem, state.x, None)
        barely = 1 - float(np.finfo(state.problem.domain.real_dtype).eps) ** 0.5
        stuck = (made.estimate >= barely * state.begun) & (made.estimate > 0)
        return made._replace(flag=mark(state.flag, stuck, Status.STAGNATED))

    def _step(self, state: _State) -> _State:
        j, x_start, V, Z, R, Q, q, g, last, _, begun, flag, problem, M = state
        xp, space, batch = namespace(V), problem.domain, problem.batch
        v = xp.reshape(V[..., j, :], (*batch, *space.shape))
        z = v if M is None else M(v)
        if Z is not None:
            Z[..., j, :] = xp.reshape(z, (*batch, space.size))
        w = xp.reshape(problem.A(z), (*batch, space.size))

        basis = V[..., : j + 1, :]  # Arnoldi, orthogonalised twice
        h = _coefficients(basis, w)
        w = w - _combine(h, basis)
        again = _coefficients(basis, w)
        w = w - _combine(again, basis)
        h = h + again
        low = _norm(w)
        V[..., j + 1, :] = w * ratio(xp.ones_like(low), low)[..., None]

        R[..., :j, j] = xp.matmul(Q[..., :j, : j + 1], h[..., None])[..., 0]
        a, b = xp.sum(q[..., : j + 1] * h, axis=-1), xp.astype(low, h.dtype)
        rho = xp.hypot(abs(a), low)  # rotation [[conj a, b], [-b, a]] / rho
        unit = ratio(xp.ones_like(rho), rho)
        flag = mark(flag, xp.reshape(rho == 0, _shape_of(flag)), Status.BREAKDOWN)
        R[..., j, j] = xp.astype(rho, h.dtype)
        a_conj = xp.conj(a) if space.is_complex else a
        Q[..., j, :] = (a_conj * unit)[..., None] * q
        Q[..., j, j + 1] = b * unit
        q = (-b * unit)[..., None] * q
        q[..., j + 1] = a * unit
        g[..., j] = a_conj * unit * last
        last = xp.where(rho == 0, last, -b * unit * last)  # A v = 0 brings nothing
        estimate = xp.reshape(abs(last), _shape_of(flag))
        return _State(j + 1, x_start, V, Z, R, Q, q, g, last, estimate, begun, flag, problem, M)


@dataclass(frozen=True, kw_only=True)
class FGMRES(GMRES):
    """GMRES whose preconditioner may change from step to step, or be nonlinear (a network).

    Saad, A Flexible Inner-Outer Preconditioned GMRES Algorithm, SIAM J. Sci. Comput. 14 (1993).
    """

    flexible = True

    def check_preconditioner(self, M: Operator) -> None:
        """Any operator will do."""


def _coefficients(basis: Array, w: Array) -> Array:
    """<v_i, w> for the rows v_i of the basis: (*batch, j)."""
    if isinstance(w, np.ndarray):  # a product's bits would depend on the threads of BLAS
        return dot(basis, w[..., None, :])
    xp = namespace(w)
    if dtype_of(w).kind != "c":
        return xp.matmul(basis, w[..., None])[..., 0]
    return xp.conj(xp.matmul(basis, xp.conj(w)[..., None])[..., 0])


def _norm(w: Array) -> Array:
    """||w||, (*batch,): the units of A may be such that squares overflow or vanish."""
    xp = namespace(w)
    size = xp.max(abs(w), axis=-1)
    unit = xp.where(size > 0, size, xp.ones_like(size))
    return unit * xp.linalg.vector_norm(w / unit[..., None], axis=-1)


def _combine(y: Array, basis: Array) -> Array:
    """The sum of y_i v_i: (*batch, n)."""
    return namespace(y).matmul(y[..., None, :], basis)[..., 0, :]


def _on(like: Array) -> dict[str, Any]:
    xp = namespace(like)
    return {} if xp.__name__ == "numpy" else {"device": like.device}


def _shape_of(flag: Any) -> tuple[int, ...]:
    return () if isinstance(flag, int) else tuple(flag.shape)
