"""The lid-driven cavity at Re = 100, as PINNacle poses it; reference by a spectral method."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from .case import Case, Predict
from .differences import Field
from .networks import network
from .spectral import chebyshev, on_square

__all__ = ["cavity"]

_RE = 100.0
_NODES = 32


def cavity() -> Case:
    """Navier-Stokes on the unit square, the lid moving with 4 x (1 - x); outputs u, v, p."""

    def build(dde: Any) -> Any:
        square = dde.geometry.Rectangle([0, 0], [1, 1])

        def equations(x: Tensor, y: Tensor) -> list[Tensor]:
            u, v = y[:, 0:1], y[:, 1:2]
            d = lambda i, j: dde.grad.jacobian(y, x, i=i, j=j)  # noqa: E731
            laplacian = lambda i: sum(  # noqa: E731
                dde.grad.hessian(y, x, component=i, i=j, j=j) for j in (0, 1)
            )
            return [
                u * d(0, 0) + v * d(0, 1) + d(2, 0) - laplacian(0) / _RE,
                u * d(1, 0) + v * d(1, 1) + d(2, 1) - laplacian(1) / _RE,
                d(0, 0) + d(1, 1),
            ]

        def lid(x: np.ndarray) -> np.ndarray:
            return np.where(x[:, 1:2] > 1 - 1e-9, 4 * x[:, 0:1] * (1 - x[:, 0:1]), 0.0)

        around = lambda x, on: on  # noqa: E731
        data = dde.data.PDE(
            square,
            equations,
            [
                dde.icbc.DirichletBC(square, lid, around, component=0),
                dde.icbc.DirichletBC(square, lambda x: 0 * x[:, 0:1], around, component=1),
                dde.icbc.PointSetBC(np.zeros((1, 2)), np.zeros((1, 1)), component=2),
            ],
            1200, 240,
        )  # fmt: skip
        return dde.Model(data, network(dde, [2, 24, 24, 24, 3]))

    def terms(fields: Sequence[Field], x: np.ndarray) -> Sequence[Sequence[np.ndarray]]:
        u, v, p = fields
        return [
            [u.value * w.d(0), v.value * w.d(1), p.d(axis), -w.d(0, 2) / _RE, -w.d(1, 2) / _RE]
            for axis, w in enumerate((u, v))
        ] + [[u.d(0), v.d(1)]]

    return Case(
        name="cavity",
        summary="Navier-Stokes in the unit square at Re = 100 under a lid of speed 4 x (1 - x)",
        model="3 hidden layers of 24, nothing built in; 1,200 points inside, 240 around",
        build=build, low=(0.0, 0.0), high=(1.0, 1.0), reference=lambda q: _reference()(q),
        known=f"Chebyshev collocation of the stream function, {_NODES + 1}² nodes", terms=terms,
        grid=(151, 151), tested=(101, 101), fixed=((0, 0), (0, 1), (1, 0), (1, 1)), judged=2,
    )  # fmt: skip


@functools.cache
def _reference() -> Predict:
    """(u, v, p): Newton's method for psi, u = psi_y, v = -psi_x, from rest.

    psi is 0 on the walls. Its inner values are as many as the equation at nodes that are two away
    from the walls and the speed of the walls together, if corners count for two of the walls.
    """
    n = _NODES
    x, D = chebyshev(n, 0.0, 1.0)
    D2 = D @ D
    one, inner = np.eye(n + 1), np.arange(1, n)
    d = {
        (i, j): np.kron(_power(D, i), _power(D, j))
        for i, j in ((1, 0), (0, 1), (2, 0), (0, 2), (3, 0), (2, 1), (1, 2), (0, 3))
    }
    biharmonic = np.kron(D2 @ D2, one) + 2 * np.kron(D2, D2) + np.kron(one, D2 @ D2)
    number = np.arange((n + 1) ** 2).reshape(n + 1, n + 1)
    unknown = number[np.ix_(inner, inner)].ravel()
    deep = number[2:-2, 2:-2].ravel()
    sides = number[[0, n], 1:-1].ravel()
    ends = number[2:-2, [0, n]].ravel()
    wall = np.concatenate([d[1, 0][sides], d[0, 1][ends]])
    speed = np.zeros((n + 1, n + 1))
    speed[:, n] = 4 * x * (1 - x)
    moving = np.concatenate([np.zeros(len(sides)), speed.ravel()[ends]])
    psi = np.zeros((n + 1) ** 2)
    for _ in range(20):
        u, v = d[0, 1] @ psi, -(d[1, 0] @ psi)
        w_x, w_y = (d[3, 0] + d[1, 2]) @ psi, (d[2, 1] + d[0, 3]) @ psi
        r = u * w_x + v * w_y - biharmonic @ psi / _RE  # the equation of the vorticity
        J = (
            u[deep, None] * (d[3, 0] + d[1, 2])[deep] + v[deep, None] * (d[2, 1] + d[0, 3])[deep]
            + w_x[deep, None] * d[0, 1][deep] - w_y[deep, None] * d[1, 0][deep]
            - biharmonic[deep] / _RE
        )  # fmt: skip
        system = np.concatenate([J, wall])[:, unknown]
        step = np.linalg.solve(system, -np.concatenate([r[deep], wall @ psi - moving]))
        psi[unknown] += step
        if np.linalg.norm(step) <= 1e-10 * np.linalg.norm(psi):
            break
    u, v = d[0, 1] @ psi, -(d[1, 0] @ psi)
    forces = []
    for speed in (u, v):
        change = (d[2, 0] + d[0, 2]) @ speed / _RE - u * (d[1, 0] @ speed) - v * (d[0, 1] @ speed)
        forces.append(change.reshape(n + 1, n + 1))
    fields = [on_square(x, f.reshape(n + 1, n + 1)) for f in (u, v)]
    fields.append(on_square(x, _pressure(D, *forces)))
    return lambda points: np.concatenate([f(points) for f in fields], axis=1)


def _power(D: np.ndarray, k: int) -> np.ndarray:
    return np.linalg.matrix_power(D, k)


def _pressure(D: np.ndarray, f: np.ndarray, g: np.ndarray) -> np.ndarray:
    """p with grad p = (f, g) in the sense of least squares, 0 at the origin."""
    values, V = np.linalg.eigh(D.T @ D)
    total = values[:, None] + values
    total[0, 0] = np.inf  # constants
    right = V.T @ (D.T @ f + g @ D) @ V
    p = V @ (right / total) @ V.T
    return p - p[0, 0]
