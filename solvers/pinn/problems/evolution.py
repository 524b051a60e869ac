"""Advection, heat and Burgers on an interval, in time; exact solutions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .case import Case, Predict
from .differences import Field
from .networks import network, waves
from .spectral import chebyshev, interpolation

__all__ = ["advection", "burgers", "heat"]

_PI = float(np.pi)


def advection(beta: int) -> Case:
    """u_t + beta u_x = 0 on (0, 2 pi) with periods, u(x, 0) = sin x, to t = 1.

    Krishnapriyan et al., NeurIPS 2021: training as usual fails from beta = 30 on.
    """

    def build(dde: Any) -> Any:
        domain = _in_time(dde, 0, 2 * _PI, 1)

        def equation(x: Tensor, u: Tensor) -> Tensor:
            u_x = dde.grad.jacobian(u, x, i=0, j=0)
            u_t = dde.grad.jacobian(u, x, i=0, j=1)
            return u_t / beta + u_x

        def features(x: Tensor) -> Tensor:
            t = x[:, 1:2]
            return torch.cat([*waves(x[:, 0:1], [1.0]), t, *waves(t, [8.0, 16.0, 32.0, 64.0])], 1)

        start = dde.icbc.IC(domain, lambda x: np.sin(x[:, 0:1]), lambda x, on: on)
        data = dde.data.TimePDE(domain, equation, [start], 1500, 0, 100)
        return dde.Model(data, network(dde, [11, 24, 24, 1], features=features))

    def terms(u: Sequence[Field], x: np.ndarray) -> Sequence[Sequence[np.ndarray]]:
        return [[u[0].d(1), beta * u[0].d(0)]]

    def exact(p: np.ndarray) -> np.ndarray:
        return np.sin(p[:, :1] - beta * p[:, 1:])

    def fourier() -> Predict:
        """The first values' Fourier coefficients, turned by exp(-i k beta t)."""
        n = 16
        c = np.fft.rfft(np.sin(2 * np.pi * np.arange(n) / n)) / n
        k = np.arange(1, n // 2)

        def predict(p: np.ndarray) -> np.ndarray:
            phase = np.exp(1j * k * (p[:, :1] - beta * p[:, 1:]))
            return (c[0].real + 2 * (phase @ c[1:-1]).real)[:, None]

        return predict

    return Case(
        name=f"advection-{beta}",
        summary=f"u_t + {beta} u_x = 0 with periods, u(x, 0) = sin x, to t = 1",
        model="2 hidden layers of 24, sin x and cos x, of which the solution is made and which "
        "have its period, t, and sines and cosines of 8, 16, 32, 64 in t; 1,500 points inside, 100 "
        "at first",
        build=build, low=(0.0, 0.0), high=(2 * _PI, 1.0), reference=exact, known="closed form",
        terms=terms, grid=(129, 1025), tested=(65, 201), fixed=((1, 0),), periodic=(0,),
        classical=("Fourier series, 16 points, exact in time", fourier),
    )  # fmt: skip


def heat() -> Case:
    """u_t = a u_xx on (0, 1), u = 0 at both ends, u(x, 0) = sin(pi x): DeepXDE's example."""
    a = 0.4

    def build(dde: Any) -> Any:
        domain = _in_time(dde, 0, 1, 1)

        def equation(x: Tensor, u: Tensor) -> Tensor:
            u_t = dde.grad.jacobian(u, x, i=0, j=1)
            return u_t - a * dde.grad.hessian(u, x, i=0, j=0)

        ends = dde.icbc.DirichletBC(domain, lambda x: 0 * x[:, 0:1], lambda x, on: on)
        start = dde.icbc.IC(domain, lambda x: np.sin(np.pi * x[:, 0:1]), lambda x, on: on)
        data = dde.data.TimePDE(domain, equation, [ends, start], 500, 80, 100)
        return dde.Model(data, network(dde, [2, 20, 20, 20, 1]))

    def terms(u: Sequence[Field], x: np.ndarray) -> Sequence[Sequence[np.ndarray]]:
        return [[u[0].d(1), -a * u[0].d(0, 2)]]

    def collocation() -> Predict:
        """u(t) = exp(a t D²) u(0), by the eigenvectors of D²."""
        x, D = chebyshev(24, 0, 1)
        rates, V = np.linalg.eig(a * (D @ D)[1:-1, 1:-1])
        c = np.linalg.solve(V, np.sin(np.pi * x[1:-1]))

        def predict(p: np.ndarray) -> np.ndarray:
            inner = interpolation(x, p[:, 0])[:, 1:-1] @ V
            return np.einsum("pk,pk,k->p", inner, np.exp(p[:, 1:] * rates), c).real[:, None]

        return predict

    return Case(
        name="heat",
        summary="u_t = 0.4 u_xx on (0, 1), u(x, 0) = sin(pi x), to t = 1",
        model="3 hidden layers of 20, nothing built in; 500 points inside, 80 at the ends, 100 at "
        "first",
        build=build, low=(0.0, 0.0), high=(1.0, 1.0),
        reference=lambda p: np.exp(-a * np.pi**2 * p[:, 1:]) * np.sin(np.pi * p[:, :1]),
        known="closed form", terms=terms, grid=(201, 201), tested=(101, 101),
        fixed=((0, 0), (0, 1), (1, 0)),
        classical=("Chebyshev collocation, 25 nodes, exact in time", collocation),
    )  # fmt: skip


_NU = 0.01 / _PI
_CHUNK = 4096  # points at once


def burgers() -> Case:
    """u_t + u u_x = nu u_xx on (-1, 1), u(x, 0) = -sin(pi x), nu = 0.01 / pi (Raissi et al.)."""

    def build(dde: Any) -> Any:
        domain = _in_time(dde, -1, 1, 1)

        def equation(x: Tensor, u: Tensor) -> Tensor:
            u_x = dde.grad.jacobian(u, x, i=0, j=0)
            u_t = dde.grad.jacobian(u, x, i=0, j=1)
            return u_t + u * u_x - _NU * dde.grad.hessian(u, x, i=0, j=0)

        ends = dde.icbc.DirichletBC(domain, lambda x: 0 * x[:, 0:1], lambda x, on: on)
        start = dde.icbc.IC(domain, lambda x: -np.sin(np.pi * x[:, 0:1]), lambda x, on: on)
        # closer to the shock: what drawing points by their residual ends with
        near = domain.random_points(1000, random="Hammersley") ** [3, 1]
        data = dde.data.TimePDE(domain, equation, [ends, start], 1500, 80, 160, anchors=near)
        return dde.Model(data, network(dde, [2, 20, 20, 20, 1]))

    def terms(u: Sequence[Field], x: np.ndarray) -> Sequence[Sequence[np.ndarray]]:
        v = u[0]
        return [[v.d(1), v.value * v.d(0), -_NU * v.d(0, 2)]]

    return Case(
        name="burgers",
        summary="u_t + u u_x = 0.01 / pi u_xx on (-1, 1), u(x, 0) = -sin(pi x), to t = 1",
        model="3 hidden layers of 20; of 2,500 points inside 1,000 are drawn to x = 0, where the "
        "shock will be; 80 at the ends, 160 at first",
        build=build, low=(-1.0, 0.0), high=(1.0, 1.0), reference=_cole_hopf,
        known="Cole-Hopf, Gauss-Hermite", terms=terms, grid=(1001, 81), tested=(257, 101),
        fixed=((0, 0), (0, 1), (1, 0)),
    )  # fmt: skip


def _cole_hopf(p: np.ndarray) -> np.ndarray:
    """Basdevant et al., Computers and Fluids 14 (1986) 23."""
    z, weights = np.polynomial.hermite.hermgauss(120)
    if len(p) > _CHUNK:
        return np.concatenate([_cole_hopf(p[i : i + _CHUNK]) for i in range(0, len(p), _CHUNK)])
    x, t = p[:, :1], p[:, 1:]
    y = x - np.sqrt(4 * _NU * t) * z
    logs = -np.cos(np.pi * y) / (2 * np.pi * _NU)
    w = weights * np.exp(logs - logs.max(axis=1, keepdims=True))
    return (-(w * np.sin(np.pi * y)).sum(1) / w.sum(1))[:, None]


def _in_time(dde: Any, low: float, high: float, end: float) -> Any:
    return dde.geometry.GeometryXTime(
        dde.geometry.Interval(low, high), dde.geometry.TimeDomain(0, end)
    )
