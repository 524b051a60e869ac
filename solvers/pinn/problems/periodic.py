"""Allen-Cahn and Korteweg-de Vries with periods; references by a Fourier method."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .case import Case, Predict, Terms
from .differences import Field
from .networks import network, waves
from .spectral import etdrk4, periodic_course

__all__ = ["allen_cahn", "kdv"]

_PI = float(np.pi)
# The weight of the first values, as is usual for both; the same for every method.
_START = 100.0


def allen_cahn() -> Case:
    """u_t = 1e-4 u_xx + 5 (u - u³) on (-1, 1), u(x, 0) = x² cos(pi x) (Raissi et al.)."""

    def rate(dde: Any, x: Tensor, u: Tensor) -> Tensor:
        return 1e-4 * dde.grad.hessian(u, x, i=0, j=0) + 5 * (u - u**3)

    def terms(u: Sequence[Field], x: np.ndarray) -> Sequence[Sequence[np.ndarray]]:
        v = u[0]
        return [[v.d(1), -1e-4 * v.d(0, 2), -5 * v.value, 5 * v.value**3]]

    @functools.cache
    def course() -> Predict:
        n = 1024
        x = -1 + 2 * np.arange(n) / n
        k = np.pi * np.arange(n // 2 + 1)

        def cubic(v: np.ndarray) -> np.ndarray:
            return -5 * np.fft.rfft(np.fft.irfft(v, n) ** 3)

        start = x**2 * np.cos(np.pi * x)
        values = etdrk4(start, 5 - 1e-4 * k**2, cubic, 1 / 800, 800, 4)
        return periodic_course(values, -1, 1, 1)

    return _case(
        "allen-cahn",
        "u_t = 1e-4 u_xx + 5 (u - u³) with periods, u(x, 0) = x² cos(pi x), to t = 1",
        rate, lambda x: x**2 * np.cos(np.pi * x), lambda p: course()(p), terms, 2500,
    )  # fmt: skip


def kdv() -> Case:
    """u_t + u u_x + 0.0025 u_xxx = 0 on (-1, 1), u(x, 0) = cos(pi x) (Raissi et al.)."""

    def rate(dde: Any, x: Tensor, u: Tensor) -> Tensor:
        u_x = dde.grad.jacobian(u, x, i=0, j=0)
        u_xx = dde.grad.jacobian(u_x, x, i=0, j=0)
        return -u * u_x - 0.0025 * dde.grad.jacobian(u_xx, x, i=0, j=0)

    def terms(u: Sequence[Field], x: np.ndarray) -> Sequence[Sequence[np.ndarray]]:
        v = u[0]
        return [[v.d(1), v.value * v.d(0), 0.0025 * v.d(0, 3)]]

    @functools.cache
    def course() -> Predict:
        n = 512
        x = -1 + 2 * np.arange(n) / n
        k = np.pi * np.arange(n // 2 + 1)

        def flux(v: np.ndarray) -> np.ndarray:
            return -0.5j * k * np.fft.rfft(np.fft.irfft(v, n) ** 2)

        values = etdrk4(np.cos(np.pi * x), 0.0025j * k**3, flux, 1 / 2000, 2000, 5)
        return periodic_course(values, -1, 1, 1)

    return _case(
        "kdv",
        "u_t + u u_x + 0.0025 u_xxx = 0 with periods, u(x, 0) = cos(pi x), to t = 1",
        rate, lambda x: np.cos(np.pi * x), lambda p: course()(p), terms, 1500,
    )  # fmt: skip


def _case(
    name: str,
    summary: str,
    rate: Callable[[Any, Tensor, Tensor], Tensor],
    start: Callable[[np.ndarray], np.ndarray],
    reference: Predict,
    terms: Terms,
    points: int,
) -> Case:
    """u_t = rate, periodic by the network's features, its first values in the loss."""

    def build(dde: Any) -> Any:
        domain = dde.geometry.GeometryXTime(
            dde.geometry.Interval(-1, 1), dde.geometry.TimeDomain(0, 1)
        )

        def equation(x: Tensor, u: Tensor) -> Tensor:
            return dde.grad.jacobian(u, x, i=0, j=1) - rate(dde, x, u)

        def features(x: Tensor) -> Tensor:
            return torch.cat([*waves(x[:, 0:1], [_PI, 2 * _PI]), x[:, 1:2]], dim=1)

        first = dde.icbc.IC(domain, lambda x: start(x[:, 0:1]), lambda x, on: on)
        data = dde.data.TimePDE(domain, equation, [first], points, 0, 200)
        model = dde.Model(data, network(dde, [5, 24, 24, 24, 1], features=features))
        model.loss_weights = [1.0, _START]
        return model

    return Case(
        name=name, summary=summary,
        model="3 hidden layers of 24, sines and cosines of pi and 2 pi in x, which have the "
        f"solution's period; {points:,} points inside, 200 at first, whose values count "
        f"{_START:g}-fold",
        build=build, low=(-1.0, 0.0), high=(1.0, 1.0),
        reference=reference, known="Fourier and ETDRK4", terms=terms, grid=(513, 201),
        tested=(257, 101), fixed=((1, 0),), periodic=(0,),
    )  # fmt: skip
