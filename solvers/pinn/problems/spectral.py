"""Chebyshev and Fourier methods: references, and what solves linear problems without a network."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

__all__ = [
    "Dirichlet",
    "chebyshev",
    "dirichlet_square",
    "etdrk4",
    "interpolation",
    "on_square",
    "periodic_course",
]

# Points are often those of a grid, which is evaluated as one up to so many times their number.
_OF_A_GRID = 4


def chebyshev(n: int, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    """Nodes in rising order, (n + 1,), and the differentiation matrix.

    Trefethen, Spectral Methods in MATLAB (2000), chapter 6.
    """
    k = np.arange(n + 1)
    x = -np.cos(np.pi * k / n)
    c = np.where((k == 0) | (k == n), 2.0, 1.0) * (-1.0) ** k
    D = np.outer(c, 1 / c) / (x[:, None] - x + np.eye(n + 1))
    D -= np.diag(D.sum(axis=1))
    half = (high - low) / 2
    return low + half * (x + 1), D / half


def interpolation(nodes: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Values at Chebyshev nodes to values at points, (points, nodes): the barycentric formula."""
    n = len(nodes) - 1
    weights = (-1.0) ** np.arange(n + 1)
    weights[[0, n]] /= 2
    gap = points[:, None] - nodes
    hit = gap == 0
    ratio = weights / np.where(hit, 1, gap)
    found = ratio / ratio.sum(axis=1, keepdims=True)
    return np.where(hit.any(axis=1, keepdims=True), hit.astype(float), found)


class Dirichlet:
    """-u_xx - u_yy - shift u = f at the inner nodes of a square, u = 0 around it.

    Lynch, Rice and Thomas, Numer. Math. 6 (1964) 185: the eigenvectors of one axis.
    """

    def __init__(self, D: np.ndarray, shift: float = 0.0) -> None:
        values, self._V = np.linalg.eig(-(D @ D)[1:-1, 1:-1])
        self._inverse = np.linalg.inv(self._V)
        self._sums = values[:, None] + values - shift

    def solve(self, f: np.ndarray) -> np.ndarray:
        c = self._inverse @ f @ self._inverse.T / self._sums
        return (self._V @ c @ self._V.T).real

    def adjoint(self, f: np.ndarray) -> np.ndarray:
        c = self._V.T @ f @ self._V / self._sums
        return (self._inverse.T @ c @ self._inverse).real


def dirichlet_square(
    n: int, low: float, high: float, f: Callable[[np.ndarray, np.ndarray], np.ndarray], shift: float
) -> Callable[[np.ndarray], np.ndarray]:
    """The same as a function of points (n, 2)."""
    x, D = chebyshev(n, low, high)
    full = np.zeros((n + 1, n + 1))
    full[1:-1, 1:-1] = Dirichlet(D, shift).solve(f(x[1:-1, None], x[None, 1:-1]))
    return on_square(x, full)


def on_square(nodes: np.ndarray, values: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Points (n, 2) -> values (n, 1), by the polynomial through the nodes of both axes."""

    def predict(points: np.ndarray) -> np.ndarray:
        (x, i), (y, j) = _coordinates(points)
        if len(x) * len(y) <= _OF_A_GRID * len(points):
            return (interpolation(nodes, x) @ values @ interpolation(nodes, y).T)[i, j][:, None]
        rows, columns = interpolation(nodes, points[:, 0]), interpolation(nodes, points[:, 1])
        return np.einsum("pi,pi->p", rows @ values, columns)[:, None]

    return predict


def etdrk4(
    u: np.ndarray,
    linear: np.ndarray,
    nonlinear: Callable[[np.ndarray], np.ndarray],
    step: float,
    steps: int,
    every: int,
) -> np.ndarray:
    """u_t = L u + N(u) for Fourier coefficients (rfft) of u, kept every so many steps.

    Kassam and Trefethen, SIAM J. Sci. Comput. 26 (2005) 1214: coefficients are means over a circle.

    Args:
        u: real values (n,). linear: L of each wave, (n / 2 + 1,). nonlinear: of coefficients.

    Returns:
        values (steps / every + 1, n), the first ones included.
    """
    n = len(u)
    circle = np.exp(2j * np.pi * (np.arange(1, 33) - 0.5) / 32)
    z = step * linear[:, None] + circle
    E, half = np.exp(step * linear), np.exp(step * linear / 2)

    def mean(values: np.ndarray) -> np.ndarray:
        found = values.mean(axis=1) * step
        return found if np.iscomplexobj(linear) else found.real

    Q = mean((np.exp(z / 2) - 1) / z)
    f1 = mean((-4 - z + np.exp(z) * (4 - 3 * z + z**2)) / z**3)
    f2 = mean((2 + z + np.exp(z) * (z - 2)) / z**3)
    f3 = mean((-4 - 3 * z - z**2 + np.exp(z) * (4 - z)) / z**3)
    v = np.fft.rfft(u)
    kept = [u]
    for k in range(1, steps + 1):
        Nv = nonlinear(v)
        a = half * v + Q * Nv
        Na = nonlinear(a)
        b = half * v + Q * Na
        Nb = nonlinear(b)
        c = half * a + Q * (2 * Nb - Nv)
        v = E * v + f1 * Nv + 2 * f2 * (Na + Nb) + f3 * nonlinear(c)
        if k % every == 0:
            kept.append(np.fft.irfft(v, n))
    return np.array(kept)


def periodic_course(values: np.ndarray, low: float, high: float, end: float):
    """Points (x, t) -> u, by quintic splines through u(t, x) (times, n), periodic in x."""
    from scipy.interpolate import RectBivariateSpline

    times, n = values.shape
    beyond = 16
    x = low + (high - low) * np.arange(-beyond, n + beyond + 1) / n
    wrapped = values[:, np.arange(-beyond, n + beyond + 1) % n]
    spline = RectBivariateSpline(np.linspace(0, end, times), x, wrapped, kx=5, ky=5)

    def predict(points: np.ndarray) -> np.ndarray:
        (x, i), (t, j) = _coordinates(points)
        if len(x) * len(t) <= _OF_A_GRID * len(points):
            return spline(t, x)[j, i][:, None]
        return spline.ev(points[:, 1], points[:, 0])[:, None]

    return predict


def _coordinates(points: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Both coordinates, each value once, and which one each point has."""
    return [np.unique(points[:, k], return_inverse=True) for k in (0, 1)]
