"""-div(k grad u) = 1 with a log-normal k, as those of ConDiff; reference by a certified solve."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from sciml import LinearSystem, Operator, Space, Stop, solve
from sciml.datasets import Covariance, gaussian_field

from ...krylov import GMRES
from .case import Case, Predict
from .differences import Field
from .networks import bubble, network
from .spectral import Dirichlet, chebyshev, on_square

__all__ = ["darcy"]

_CELLS, _LENGTH, _VARIANCE, _SEED = 128, 0.1, 0.4, 1
_NODES = 96


def darcy() -> Case:
    """u = 0 around the unit square; k = exp(g), g Gaussian with length 0.1 (ConDiff: 0.05)."""

    def build(dde: Any) -> Any:
        square = dde.geometry.Rectangle([0, 0], [1, 1])

        def equation(x: Tensor, u: Tensor, k: Tensor) -> Tensor:
            u_x, u_y = (dde.grad.jacobian(u, x, i=0, j=j) for j in (0, 1))
            u_xx, u_yy = (dde.grad.hessian(u, x, i=j, j=j) for j in (0, 1))
            return -k[:, 0:1] * (u_xx + u_yy) - k[:, 1:2] * u_x - k[:, 2:3] * u_y - 1

        data = dde.data.PDE(square, equation, [], 2000, 0, auxiliary_var_function=_coefficient)
        net = network(dde, [2, 24, 24, 24, 1], output=lambda x, u: 0.1 * bubble(x, u))
        return dde.Model(data, net)

    def terms(u: Sequence[Field], x: np.ndarray) -> Sequence[Sequence[np.ndarray]]:
        v = u[0]
        k, k_x, k_y = np.moveaxis(_coefficient(x.reshape(-1, 2)).reshape(*x.shape[:-1], 3), -1, 0)
        return [[-k * v.d(0, 2), -k * v.d(1, 2), -k_x * v.d(0), -k_y * v.d(1), -np.ones_like(k)]]

    return Case(
        name="darcy",
        summary="-div(k grad u) = 1 on the unit square, u = 0 around it, log-normal k",
        model="3 hidden layers of 24; 2,000 points; zero around by a factor. k is smoother than "
        "ConDiff's: its correlation length is 0.1 and not 0.05",
        build=build, low=(0.0, 0.0), high=(1.0, 1.0), reference=lambda p: _reference()(p),
        known=f"Chebyshev collocation, {_NODES + 1}² nodes, GMRES to 1e-10", terms=terms,
        grid=(201, 201), tested=(101, 101), fixed=((0, 0), (0, 1), (1, 0), (1, 1)),
        classical=("Chebyshev collocation, 65 x 65 nodes, GMRES", lambda: _collocation(64)),
    )  # fmt: skip


@functools.cache
def _logarithm() -> Any:
    """g as a quintic spline through the values that are drawn."""
    from scipy.interpolate import RectBivariateSpline

    rng = np.random.default_rng(_SEED)
    g = gaussian_field(
        _CELLS + 1, Covariance.GAUSSIAN, _VARIANCE, rng=rng, correlation_length=_LENGTH
    )
    nodes = np.linspace(0, 1, _CELLS + 1)
    return RectBivariateSpline(nodes, nodes, g, kx=5, ky=5)


def _coefficient(points: np.ndarray) -> np.ndarray:
    """k and its two derivatives, (n, 3)."""
    x, y, g = points[:, 0], points[:, 1], _logarithm()
    k = np.exp(g.ev(x, y))
    return np.stack([k, k * g.ev(x, y, dx=1), k * g.ev(x, y, dy=1)], axis=1)


@functools.cache
def _reference() -> Predict:
    return _collocation(_NODES)


class _Diffusion(Operator):
    """-div(k grad u) at the inner Chebyshev nodes of a square, (n - 1, n - 1)."""

    def __init__(self, D: np.ndarray, k: np.ndarray) -> None:
        self._D, self._D2 = D[1:-1, 1:-1], (D @ D)[1:-1, 1:-1]
        self._k, self._k_x, self._k_y = k
        space = Space(self._k.shape)
        super().__init__(space, space)

    def _apply(self, x: np.ndarray) -> np.ndarray:
        second = self._D2 @ x + x @ self._D2.T
        return -self._k * second - self._k_x * (self._D @ x) - self._k_y * (x @ self._D.T)

    def _adjoint(self, y: np.ndarray) -> np.ndarray:
        v = self._k * y
        second = self._D2.T @ v + v @ self._D2
        return -second - self._D.T @ (self._k_x * y) - (self._k_y * y) @ self._D


class _Constant(Operator):
    """The inverse for k = 1, after a division by k."""

    def __init__(self, inverse: Dirichlet, k: np.ndarray) -> None:
        self._inverse, self._k = inverse, k
        space = Space(k.shape)
        super().__init__(space, space)

    def _apply(self, x: np.ndarray) -> np.ndarray:
        return self._inverse.solve(x / self._k)

    def _adjoint(self, y: np.ndarray) -> np.ndarray:
        return self._inverse.adjoint(y) / self._k


def _collocation(n: int) -> Predict:
    x, D = chebyshev(n, 0.0, 1.0)
    inner = np.stack(np.meshgrid(x[1:-1], x[1:-1], indexing="ij"), axis=-1)
    k = np.moveaxis(_coefficient(inner.reshape(-1, 2)).reshape(*inner.shape[:-1], 3), -1, 0)
    A, M = _Diffusion(D, k), _Constant(Dirichlet(D), k[0])
    u = np.zeros((n + 1, n + 1))
    stop = Stop(rtol=1e-10, max_iters=200)
    u[1:-1, 1:-1] = solve(LinearSystem(A, np.ones(k.shape[1:])), GMRES(M=M), stop=stop).x
    return on_square(x, u)
