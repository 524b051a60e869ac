"""Linear Fourier models of PDEs with constant coefficients: A in closed form, and P with it.

Features are orthonormal in L2 of a box with whole periods, and D maps the cosine and the sine of
a wave into their own span. So D^T D is diagonal, with entries |symbol|^2, and all coupling comes
from the boundary (De Ryck et al., ICLR 2024, section 3). A spectral method solves the same
equations at once, see `FourierModel.spectral`: these models show what conditioning does to
training, and are no way to solve such PDEs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from sciml._checks import integer, number
from sciml.operator import Operator
from sciml.operators import Diagonal, Sparse
from sciml.problem import LinearSystem

from .jacobian import Quadrature
from .preconditioners import analytic

if TYPE_CHECKING:
    from torch import Tensor

    from .features import FourierFeatures

__all__ = ["FourierModel", "advection", "helmholtz", "poisson"]


@dataclass(frozen=True, eq=False)
class FourierModel:
    """u(x; theta) = sum_i theta_i phi_i(x), in closed form. Made by `poisson` and its like.

    Attributes:
        name: of the problem.
        waves: (n, d) wave vectors, each but 0 twice: the cosine, then the sine.
        low, high: corners of the box.
        pde: (u, x) -> D u at one point, in torch.
        symbol: complex (n,), D e^(i waves x) = symbol e^(i waves x).
        D: coefficients -> coefficients of D u, (n, n). V: coefficients -> u on the boundary, in an
            orthonormal basis there, (b, n).
        edge: the boundary's points and weights.
    """

    name: str
    waves: np.ndarray
    low: tuple[float, ...]
    high: tuple[float, ...]
    pde: Callable[..., Any]
    symbol: np.ndarray
    D: Sparse
    V: Sparse
    edge: Quadrature

    @property
    def size(self) -> int:
        """Parameters."""
        return len(self.waves)

    @property
    def interior(self) -> Quadrature:
        """A rule by which the entries of A are exact to rounding."""
        counts = 2 * np.abs(self.waves).max(axis=0).astype(int) + 1
        return Quadrature.equispaced(self.low, self.high, counts)

    def jacobian(self, weight: float = 1.0) -> Sparse:
        """J = [D; sqrt(lambda) V]: A = J.normal."""
        from scipy.sparse import vstack

        root = math.sqrt(number(weight, "weight"))
        return Sparse(vstack([self.D.assemble(), root * self.V.assemble()]).tocsr())

    def matrix(self, weight: float = 1.0) -> Operator:
        """A = D^T D + lambda V^T V."""
        return self.jacobian(weight).normal

    def preconditioner(self, zero: float = 1.0) -> Diagonal:
        """P_kk = 1 / |symbol(k)|, and `zero` (gamma) for waves that D maps to 0."""
        return analytic(np.abs(self.symbol), zero=zero)

    def system(self, f: np.ndarray, g: np.ndarray, weight: float = 1.0) -> LinearSystem:
        """The equations A theta = b of the least loss ||D u - f||^2 + lambda ||u - g||^2.

        Args:
            f: coefficients (n,) of the source. g: (b,), the boundary's data.
        """
        J = self.jacobian(weight)
        return LinearSystem(J.normal, J.adjoint(np.concatenate([f, math.sqrt(weight) * g])))

    def spectral(self, f: np.ndarray, g: np.ndarray) -> np.ndarray:
        """The coefficients (n,) by division, without any training.

        theta = D^-1 f where D has an inverse; what it maps to 0 is fitted to the boundary.
        """
        free = self.symbol == 0
        theta = np.zeros(self.size)
        squares = np.where(free, 1.0, np.abs(self.symbol) ** 2)
        theta[~free] = (self.D.adjoint(f) / squares)[~free]
        if free.any():
            columns = self.V.assemble()[:, np.flatnonzero(free)].toarray()
            theta[free] = np.linalg.lstsq(columns, g - self.V(theta), rcond=None)[0]
        return theta

    def features(self, x: np.ndarray) -> np.ndarray:
        """phi_i at points x (m, d): (m, n)."""
        phase = x @ self.waves.T
        return self._scale * np.where(self._sines, np.sin(phase), np.cos(phase))

    def coefficients(self, function: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """<phi_i, function> (n,), for a function of points (m, d), by `interior`."""
        rule = self.interior
        return self.features(rule.points).T @ (rule.weights * function(rule.points))

    def module(self) -> FourierFeatures:
        """The same model as a torch module in float64, with theta = 0."""
        import torch

        from .features import FourierFeatures

        parts = (self.waves, self._sines, self._scale)
        return FourierFeatures(*(torch.from_numpy(part) for part in parts))

    @property
    def _sines(self) -> np.ndarray:
        """Which features are sines: (n,). The constant is first, then cosine and sine in turn."""
        place = np.arange(self.size)
        return (place % 2 == 0) & (place > 0)

    @property
    def _scale(self) -> np.ndarray:
        volume = math.prod(b - a for a, b in zip(self.low, self.high, strict=True))
        return np.sqrt(np.where(self.waves.any(axis=1), 2.0, 1.0) / volume)


def poisson(K: int) -> FourierModel:
    """-u'' = f on (-pi, pi) with u given at both ends, waves up to K: 2 K + 1 parameters.

    A = diag(k^4) + lambda V^T V: kappa grows as K^4, and with P as 1 + O(1 / gamma).
    """
    return _on_a_line("Poisson", K, lambda k: k**2, _minus_second)


def helmholtz(K: int, wavenumber: float) -> FourierModel:
    """-u'' - w^2 u = f on (-pi, pi) with u given at both ends, waves up to K.

    Args:
        wavenumber: w. Where it is a half-integer the problem has no solution or many: refused.
    """
    w = number(wavenumber, "wavenumber")
    if (2 * w).is_integer():
        raise ValueError(
            f"expected a wavenumber that is no half-integer, got {w:g}, at which (-pi, pi) "
            "resonates: a waveless part, w = 0, is poisson(K)"
        )
    return _on_a_line(
        "Helmholtz", K, lambda k: k**2 - w**2, lambda u, x: _minus_second(u, x) - w**2 * u(x)
    )


def advection(K: int, beta: int, *, M: int | None = None) -> FourierModel:
    """u_t + beta u_x = 0 on (0, 2 pi)^2, points (t, x), x periodic, with u(0, x) given.

    Waves (m, k) with |m| <= M and |k| <= K: (2 K + 1) (2 M + 1) parameters. For t there is one
    period and no condition at its end: beta is an integer, so that u(0, .) returns.

    Args:
        beta: the speed, >= 1. M: beta K if not given, the least with which all waves can travel.
    """
    K, beta = integer(K, "K", 1), integer(beta, "beta", 1)
    M = beta * K if M is None else integer(M, "M", 1)
    half = [(m, 0) for m in range(1, M + 1)]
    half += [(m, k) for k in range(1, K + 1) for m in range(-M, M + 1)]
    waves = _with_constant(np.array(half, float))
    m, k = waves.T
    symbol = 1j * (m + beta * k)
    # At t = 0 a wave is the one of x alone, in the basis 1, cos x, sin x, ..., orthonormal there.
    columns = np.arange(len(waves))
    sine = (columns > 0) & (columns % 2 == 0)
    rows = np.where(k > 0, 2 * k - 1 + sine, 0).astype(int)
    entries = np.where((m == 0) & (k == 0) | (k > 0), 1.0, math.sqrt(2)) / math.sqrt(2 * math.pi)
    kept = ~((k == 0) & sine)  # sin(m t) is 0 there
    V = _sparse(entries[kept], rows[kept], columns[kept], (2 * K + 1, len(waves)))
    line = Quadrature.equispaced((0.0,), (2 * math.pi,), (2 * K + 1,))
    edge = Quadrature(np.column_stack([np.zeros(2 * K + 1), line.points[:, 0]]), line.weights)
    corners = (0.0, 0.0), (2 * math.pi, 2 * math.pi)
    pde = partial(_transport, beta)
    return FourierModel("advection", waves, *corners, pde, symbol, _acting(symbol), V, edge)


def _on_a_line(
    name: str, K: int, symbol: Callable[[np.ndarray], np.ndarray], pde: Callable[..., Any]
) -> FourierModel:
    """A PDE on (-pi, pi) with u given at both ends."""
    waves = _with_constant(np.arange(1.0, integer(K, "K", 1) + 1)[:, None])
    k = waves[:, 0]
    values = symbol(k).astype(complex)
    ends = np.where(k > 0, np.cos(k * math.pi) / math.sqrt(math.pi), 1 / math.sqrt(2 * math.pi))
    seen = np.array([0, *range(1, len(k), 2)])  # the sines are 0 there
    rows = np.repeat([0, 1], len(seen))
    V = _sparse(np.tile(ends[seen], 2), rows, np.tile(seen, 2), (2, len(k)))
    edge = Quadrature(np.array([[-math.pi], [math.pi]]), np.ones(2))
    box = (-math.pi,), (math.pi,)
    return FourierModel(name, waves, *box, pde, values, _acting(values), V, edge)


def _with_constant(half: np.ndarray) -> np.ndarray:
    """0, and each wave of the half twice: (2 h + 1, d)."""
    return np.concatenate([np.zeros((1, half.shape[1])), np.repeat(half, 2, axis=0)])


def _acting(symbol: np.ndarray) -> Sparse:
    """D on the coefficients: with symbol a + i b, D cos = a cos - b sin, D sin = b cos + a sin."""
    n = len(symbol)
    own = np.arange(n)
    other = np.where(own == 0, 0, own + 1 - 2 * ((own + 1) % 2))  # cos 1 <-> sin 2, ...
    sign = np.where(own % 2 == 1, -1.0, 1.0)
    of_other = np.where(own == 0, 0.0, sign * np.imag(symbol))
    entries = np.concatenate([np.real(symbol), of_other])
    rows, columns = np.concatenate([own, other]), np.concatenate([own, own])
    kept = entries != 0
    return _sparse(entries[kept], rows[kept], columns[kept], (n, n))


def _sparse(
    entries: np.ndarray, rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]
) -> Sparse:
    from scipy.sparse import coo_array

    return Sparse(coo_array((entries, (rows, columns)), shape=shape).tocsr())


def _minus_second(u: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    import torch

    return -torch.func.hessian(u)(x).trace()


def _transport(beta: int, u: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    import torch

    slope = torch.func.grad(u)(x)
    return slope[0] + beta * slope[1]
