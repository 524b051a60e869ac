"""Priors of closed form."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._checks import need, number
from ..algebra import Identity
from ..arrays import Array, from_host, namespace, to_numpy
from ..operators.wavelet import Wavelet
from ..space import Space

__all__ = ["L1", "L1Wavelet", "Tikhonov", "shrink"]


class Tikhonov:
    """g(x) = weight / 2 ||x||².

    Args:
        weight: positive. space: of x.
    """

    def __init__(self, weight: float, space: Space) -> None:
        self.weight, self.space = number(weight, "weight"), need_space(space)

    def to(self, *, dtype: Any) -> Tikhonov:
        """The same prior in another precision."""
        return Tikhonov(self.weight, self.space.to(dtype))

    def value(self, x: Array) -> np.ndarray:
        return 0.5 * self.weight * sums(abs(x) ** 2, self.space.ndim)

    def grad(self, x: Array) -> Array:
        return self.weight * x

    def prox(self, x: Array, step: float) -> Array:
        return x / (1 + step * self.weight)


class L1:
    """g(x) = weight ||x||_1, of moduli where x is complex.

    Args:
        weight: positive, in units of 1 / x where the data term is ½ ||S^-1/2 (y − A x)||².
        space: of x.
    """

    def __init__(self, weight: float, space: Space) -> None:
        self.weight, self.space = number(weight, "weight"), need_space(space)

    def to(self, *, dtype: Any) -> L1:
        """The same prior in another precision."""
        return L1(self.weight, self.space.to(dtype))

    @property
    def K(self) -> Identity:
        """What the prior is a norm of, as for TotalVariation."""
        return Identity(self.space)

    def lengths(self, p: Array) -> Array:
        """What the norm sums up: real."""
        return abs(p)

    def project(self, p: Array, radius: Any) -> Array:
        """The nearest p of moduli up to `radius`."""
        return p - shrink(p, radius)

    def value(self, x: Array) -> np.ndarray:
        return self.weight * sums(abs(x), self.space.ndim)

    def prox(self, x: Array, step: float) -> Array:
        return shrink(x, step * self.weight)


class L1Wavelet:
    """g(x) = weight ||W x||_1 with an orthonormal wavelet transform W.

    The averages of the last level hold the image's brightness, not its edges: they are left out of
    the norm unless `averages` asks for them (as BART and SigPy do).

    Args:
        weight: positive, in units of 1 / x where the data term is ½ ||S^-1/2 (y − A x)||².
        transform: W. averages: count them too.
    """

    def __init__(self, weight: float, transform: Wavelet, *, averages: bool = False) -> None:
        need(transform, Wavelet, "a Wavelet as the transform")
        self.weight, self.transform = number(weight, "weight"), transform
        self.averages = bool(averages)
        kept = np.ones(transform.domain.shape, transform.domain.real_dtype)
        if not averages:
            kept[(..., *transform.averages)] = 0
        self._kept = kept

    def to(self, *, dtype: Any) -> L1Wavelet:
        """The same prior in another precision."""
        wide: Any = self.transform.to(dtype=dtype)
        return L1Wavelet(self.weight, wide, averages=self.averages)

    @property
    def K(self) -> Wavelet:
        """What the prior is a norm of, as for TotalVariation."""
        return self.transform

    def lengths(self, p: Array) -> Array:
        """What the norm sums up, of wavelet coefficients: real."""
        size = abs(p)
        return size * from_host(self._kept, size)

    def project(self, p: Array, radius: Any) -> Array:
        """The nearest coefficients of modulus up to `radius`, 0 where the norm does not count."""
        return from_host(self._kept, p) * (p - shrink(p, radius))

    def value(self, x: Array) -> np.ndarray:
        size = abs(self.transform(x))
        return self.weight * sums(size * from_host(self._kept, size), self.transform.domain.ndim)

    def prox(self, x: Array, step: float) -> Array:
        w = self.transform(x)
        least = from_host(self._kept, w) * (step * self.weight)
        return self.transform.adjoint(shrink(w, least))


def shrink(w: Array, least: Any) -> Array:
    """Soft thresholding, of the modulus where w is complex."""
    xp = namespace(w)
    size = abs(w)
    return w * (xp.clip(size - least, 0, None) / xp.where(size > 0, size, size + 1))


def sums(x: Array, ndim: int) -> np.ndarray:
    """Sum over the last ndim axes, host float64."""
    host = np.asarray(to_numpy(x), dtype=np.float64)
    return host.sum(axis=tuple(range(-ndim, 0)))


def need_space(space: Any) -> Space:
    need(space, Space, "a Space", "Space(shape, dtype)")
    return space
