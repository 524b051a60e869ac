"""Poisson in one and two dimensions, and Helmholtz: exact solutions made of sines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .case import Case, Predict
from .differences import Field
from .networks import bubble, network, waves
from .spectral import chebyshev, dirichlet_square, interpolation

__all__ = ["helmholtz", "poisson_1d", "poisson_2d"]

_PI = float(np.pi)


def poisson_1d(
    name: str,
    frequencies: Sequence[int],
    *,
    widths: Sequence[int],
    points: int,
    features: Callable[[Tensor], Tensor] | None,
    nodes: int,
    model: str,
) -> Case:
    """-u'' = f on (-1, 1), u(-1) = u(1) = 0, u = sum of sin(k pi x) / k."""
    w = np.array(frequencies)

    def exact(x: np.ndarray) -> np.ndarray:
        return (np.sin(np.pi * w * x) / w).sum(axis=1, keepdims=True)

    def source(x: np.ndarray) -> np.ndarray:
        return (np.pi**2 * w * np.sin(np.pi * w * x)).sum(axis=1)

    size = float(np.sqrt(np.sum((np.pi**2 * w) ** 2) / 2))  # the RMS of f

    def build(dde: Any) -> Any:
        line = dde.geometry.Interval(-1, 1)

        def equation(x: Tensor, u: Tensor) -> Tensor:
            k = torch.tensor(frequencies, dtype=x.dtype)
            f = (_PI**2 * k * torch.sin(_PI * k * x)).sum(dim=1, keepdim=True)
            return (-dde.grad.hessian(u, x) - f) / size

        data = dde.data.PDE(line, equation, [], points, 0)
        net = network(dde, widths, features=features, output=lambda x, u: (1 - x**2) * u)
        return dde.Model(data, net)

    def terms(u: Sequence[Field], x: np.ndarray) -> Sequence[Sequence[np.ndarray]]:
        return [[-u[0].d(0, 2), -source(x)]]

    def collocation() -> Predict:
        x, D = chebyshev(nodes, -1, 1)
        u = np.zeros(nodes + 1)
        u[1:-1] = np.linalg.solve(-(D @ D)[1:-1, 1:-1], source(x[1:-1, None]))
        return lambda points: (interpolation(x, points[:, 0]) @ u)[:, None]

    told = ", ".join(map(str, frequencies))
    return Case(
        name=name,
        summary=f"-u'' = f on (-1, 1), u the sum of sin(k pi x) / k for k = {told}",
        model=f"{model}; {points:,} points; zero at both ends by a factor",
        build=build, low=(-1.0,), high=(1.0,), reference=exact, known="closed form", terms=terms,
        grid=(4001,), tested=(2001,), fixed=((0, 0), (0, 1)),
        classical=(f"Chebyshev collocation, {nodes} nodes", collocation),
    )  # fmt: skip


def poisson_2d() -> Case:
    """-Delta u = f on (0, 1)^2, u = 0 around it."""
    modes = ((1, 1, 1.0), (7, 3, 0.2), (50, 4, 0.02))

    def wave(x: np.ndarray, y: np.ndarray, power: int) -> np.ndarray:
        """(-Delta)^power u."""
        found = np.zeros(np.broadcast_shapes(x.shape, y.shape))
        for i, j, a in modes:
            k = np.pi**2 * (i * i + j * j)
            found += a * k**power * np.sin(i * np.pi * x) * np.sin(j * np.pi * y)
        return found

    size = float(np.sqrt(sum((a * np.pi**2 * (i * i + j * j)) ** 2 / 4 for i, j, a in modes)))

    def build(dde: Any) -> Any:
        square = dde.geometry.Rectangle([0, 0], [1, 1])

        def equation(x: Tensor, u: Tensor) -> Tensor:
            f = sum(
                a * _PI**2 * (i * i + j * j)
                * torch.sin(i * _PI * x[:, 0:1]) * torch.sin(j * _PI * x[:, 1:2])
                for i, j, a in modes
            )  # fmt: skip
            return (-_laplacian(dde, u, x) - f) / size

        def features(x: Tensor) -> Tensor:
            w = [_PI * k for k in (1, 3, 9, 27)]
            return torch.cat([*waves(x[:, 0:1], w), *waves(x[:, 1:2], w)], dim=1)

        data = dde.data.PDE(square, equation, [], 3000, 0)
        net = network(dde, [16, 28, 28, 1], features=features, output=bubble)
        return dde.Model(data, net)

    def source(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return wave(x, y, 1)

    def terms(u: Sequence[Field], x: np.ndarray) -> Sequence[Sequence[np.ndarray]]:
        return [[-u[0].d(0, 2), -u[0].d(1, 2), -source(x[..., 0], x[..., 1])]]

    return Case(
        name="poisson-2d",
        summary="-Delta u = f on the unit square, three modes of up to 50 half waves a side",
        model="2 hidden layers of 28, sines and cosines of pi, 3 pi, 9 pi, 27 pi in x and y "
        "for a solution of pi to 50 pi; 3,000 points; zero around by a factor",
        build=build, low=(0.0, 0.0), high=(1.0, 1.0),
        reference=lambda p: wave(p[:, 0], p[:, 1], 0)[:, None], known="closed form",
        terms=terms, grid=(401, 401), tested=(129, 129),
        fixed=((0, 0), (0, 1), (1, 0), (1, 1)),
        classical=(
            "Chebyshev collocation, 121 x 121 nodes",
            lambda: dirichlet_square(120, 0.0, 1.0, source, 0.0),
        ),
    )  # fmt: skip


def helmholtz() -> Case:
    """-Delta u - k² u = f on (0, 1)², u = 0 around it, k = 4 pi: DeepXDE's example."""
    k = 4 * _PI

    def build(dde: Any) -> Any:
        square = dde.geometry.Rectangle([0, 0], [1, 1])

        def equation(x: Tensor, u: Tensor) -> Tensor:
            f = k**2 * torch.sin(k * x[:, 0:1]) * torch.sin(k * x[:, 1:2])
            return (-_laplacian(dde, u, x) - k**2 * u - f) / k**2

        data = dde.data.PDE(square, equation, [], 1600, 0)
        net = network(dde, [2, 25, 25, 25, 1], activation="sin", output=bubble)
        return dde.Model(data, net)

    def source(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return k**2 * np.sin(k * x) * np.sin(k * y)

    def terms(u: Sequence[Field], x: np.ndarray) -> Sequence[Sequence[np.ndarray]]:
        v = u[0]
        f = source(x[..., 0], x[..., 1])
        return [[-v.d(0, 2), -v.d(1, 2), -(k**2) * v.value, -f]]

    return Case(
        name="helmholtz",
        summary="-Delta u - k² u = f on the unit square, k = 4 pi",
        model="3 hidden layers of 25, sine as activation; 1,600 points; zero around by a factor",
        build=build, low=(0.0, 0.0), high=(1.0, 1.0),
        reference=lambda p: (np.sin(k * p[:, 0]) * np.sin(k * p[:, 1]))[:, None],
        known="closed form", terms=terms, grid=(201, 201), tested=(101, 101),
        fixed=((0, 0), (0, 1), (1, 0), (1, 1)),
        classical=(
            "Chebyshev collocation, 33 x 33 nodes",
            lambda: dirichlet_square(32, 0.0, 1.0, source, k**2),
        ),
    )  # fmt: skip


def _laplacian(dde: Any, u: Tensor, x: Tensor) -> Tensor:
    return dde.grad.hessian(u, x, i=0, j=0) + dde.grad.hessian(u, x, i=1, j=1)
