"""LSQR (Paige and Saunders 1982) and LSMR (Fong and Saunders 2011): A of any shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from sciml.arrays import Array, namespace, ratio
from sciml.operator import Operator
from sciml.problem import LeastSquares, LinearSystem, Problem

from ._base import Krylov, begin, no_flag

__all__ = ["LSMR", "LSQR"]


class _Bidiagonal(NamedTuple):
    """Golub-Kahan: A v = beta u + ..., A^H u = alpha v + ..., with unit u and v."""

    u: Array
    v: Array
    alpha: Array
    beta: Array
    alpha_range: Array  # as alpha, shaped to broadcast against u


class _LSQRState(NamedTuple):
    y: Array
    w: Array
    gk: _Bidiagonal
    phibar: Array
    rhobar: Array
    estimate: Array
    flag: Any
    problem: LinearSystem | LeastSquares
    B: Operator
    M: Operator | None

    @property
    def x(self) -> Array:
        return self.y if self.M is None else self.M(self.y)


class _LSMRState(NamedTuple):
    y: Array
    h: Array
    hbar: Array
    gk: _Bidiagonal
    scalars: tuple[Array, ...]  # alphabar, zetabar, rho, rhobar, cbar, sbar
    norm_r: tuple[Array, ...]  # betadd, betad, rhodold, tautildeold, thetatilde, zeta, d
    estimate: Array
    flag: Any
    problem: LinearSystem | LeastSquares
    B: Operator
    M: Operator | None

    @property
    def x(self) -> Array:
        return self.y if self.M is None else self.M(self.y)


@dataclass(frozen=True, kw_only=True)
class _Bidiagonalising(Krylov):
    """Golub-Kahan bidiagonalisation of B = A M, x = M y (M from the right)."""

    def check(self, problem: Problem) -> None:
        self._need(problem, LinearSystem, LeastSquares)
        if self.M is not None and not isinstance(problem, LinearSystem):
            raise TypeError(
                f"{type(self).__name__} with a preconditioner expected a LinearSystem, got "
                f"{type(problem).__name__}: the residual of A M does not measure ||A^H r||, so "
                "scale the columns of A yourself"
            )
        if isinstance(problem, LinearSystem):
            super().check(problem)

    def _start(
        self, problem: LinearSystem | LeastSquares, x0: Array | None
    ) -> tuple[Array, Operator, Operator | None, _Bidiagonal]:
        if x0 is not None and self.M is not None:
            raise ValueError("expected x0 = None with a preconditioner: solve for the correction")
        y, r = begin(problem, x0)
        M = self._M(problem) if self.M else None
        B = problem.A if M is None else problem.A @ M
        beta = B.range.norm(r)
        u = r * ratio(beta * 0 + 1, beta)
        v = B.adjoint(u)
        alpha = B.domain.norm(v)
        v = v * ratio(alpha * 0 + 1, alpha)
        return y, B, M, _Bidiagonal(u, v, alpha, _like(beta, alpha), _like(alpha, beta))


def _grow(B: Operator, gk: _Bidiagonal) -> _Bidiagonal:
    """The next pair of vectors."""
    u = B(gk.v) - gk.alpha_range * gk.u
    beta = B.range.norm(u)
    u = u * ratio(beta * 0 + 1, beta)
    beta_domain = _like(beta, gk.alpha)
    v = B.adjoint(u) - beta_domain * gk.v
    alpha = B.domain.norm(v)
    v = v * ratio(alpha * 0 + 1, alpha)
    return _Bidiagonal(u, v, alpha, beta_domain, _like(alpha, beta))


def _like(values: Array, shape_of: Array) -> Array:
    """Per-member numbers of one space, shaped to broadcast in another."""
    if not getattr(values, "ndim", 0):
        return values
    return namespace(values).reshape(values, shape_of.shape)


def _hypot(a: Array, b: Array) -> Array:
    return (a * a + b * b) ** 0.5


@dataclass(frozen=True, kw_only=True)
class LSQR(_Bidiagonalising):
    """Least squares by Golub-Kahan bidiagonalisation; ||r|| never grows.

    Paige and Saunders, ACM TOMS 8 (1982), section 4. On a LinearSystem it stops on ||r||, on
    LeastSquares on ||A^H r||.
    """

    def init(
        self, problem: LinearSystem | LeastSquares, x0: Array | None, rng: Any = None
    ) -> _LSQRState:
        y, B, M, gk = self._start(problem, x0)
        estimate = gk.beta if isinstance(problem, LinearSystem) else gk.beta * gk.alpha
        flag = no_flag(estimate)
        return _LSQRState(y, gk.v, gk, gk.beta, gk.alpha, estimate, flag, problem, B, M)

    def advance(self, state: _LSQRState, k: int) -> _LSQRState:
        y, w, gk, phibar, rhobar, estimate, flag, problem, B, M = state
        for _ in range(k):
            gk = _grow(B, gk)
            rho = _hypot(rhobar, gk.beta)
            c, s = ratio(rhobar, rho), ratio(gk.beta, rho)
            theta, rhobar = s * gk.alpha, -c * gk.alpha
            phi, phibar = c * phibar, s * phibar
            y = y + ratio(phi, rho) * w
            w = gk.v - ratio(theta, rho) * w
            linear = isinstance(problem, LinearSystem)
            estimate = abs(phibar) if linear else abs(phibar * gk.alpha * c)
        return _LSQRState(y, w, gk, phibar, rhobar, estimate, flag, problem, B, M)


@dataclass(frozen=True, kw_only=True)
class LSMR(_Bidiagonalising):
    """Least squares by MINRES on the normal equations; ||A^H r|| never grows.

    Fong and Saunders, SIAM J. Sci. Comput. 33 (2011), section 2.8 without damping, with their
    estimate of ||r|| (section 3.2). It stops on ||r|| for a LinearSystem, on ||A^H r|| for
    LeastSquares.
    """

    def init(
        self, problem: LinearSystem | LeastSquares, x0: Array | None, rng: Any = None
    ) -> _LSMRState:
        y, B, M, gk = self._start(problem, x0)
        one, zero = gk.alpha * 0 + 1, gk.alpha * 0
        zetabar = gk.alpha * gk.beta
        scalars = (gk.alpha, zetabar, one, one, one, zero)
        norm_r = (gk.beta, zero, one, zero, zero, zero, zero)
        estimate = gk.beta if isinstance(problem, LinearSystem) else zetabar
        flag = no_flag(estimate)
        return _LSMRState(y, gk.v, gk.v * 0, gk, scalars, norm_r, estimate, flag, problem, B, M)

    def advance(self, state: _LSMRState, k: int) -> _LSMRState:
        y, h, hbar, gk, scalars, norm_r, estimate, flag, problem, B, M = state
        alphabar, zetabar, rho, rhobar, cbar, sbar = scalars
        betadd, betad, rhodold, tautildeold, thetatilde, zeta, d = norm_r
        for _ in range(k):
            gk = _grow(B, gk)
            rho_old, rhobar_old, zeta_old = rho, rhobar, zeta
            rho = _hypot(alphabar, gk.beta)  # rotation P_k
            c, s = ratio(alphabar, rho), ratio(gk.beta, rho)
            theta, alphabar = s * gk.alpha, c * gk.alpha
            thetabar, temp = sbar * rho, cbar * rho  # rotation Pbar_k
            rhobar = _hypot(temp, theta)
            cbar, sbar = ratio(temp, rhobar), ratio(theta, rhobar)
            zeta, zetabar = cbar * zetabar, -sbar * zetabar
            hbar = h - ratio(thetabar * rho, rho_old * rhobar_old) * hbar
            y = y + ratio(zeta, rho * rhobar) * hbar
            h = gk.v - ratio(theta, rho) * h

            betahat, betadd = c * betadd, -s * betadd  # ||r||: rotation Ptilde_{k-1}
            rhotilde = _hypot(rhodold, thetabar)
            ctilde, stilde = ratio(rhodold, rhotilde), ratio(thetabar, rhotilde)
            thetatilde_old, thetatilde = thetatilde, stilde * rhobar
            rhodold = ctilde * rhobar
            betad = -stilde * betad + ctilde * betahat
            tautildeold = ratio(zeta_old - thetatilde_old * tautildeold, rhotilde)
            taud = ratio(zeta - thetatilde * tautildeold, rhodold)
            linear = isinstance(problem, LinearSystem)
            estimate = _hypot(betad - taud, betadd) if linear else abs(zetabar)
        scalars = (alphabar, zetabar, rho, rhobar, cbar, sbar)
        norm_r = (betadd, betad, rhodold, tautildeold, thetatilde, zeta, d)
        return _LSMRState(y, h, hbar, gk, scalars, norm_r, estimate, flag, problem, B, M)
