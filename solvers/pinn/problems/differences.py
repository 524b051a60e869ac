"""Derivatives of what a network predicts on a grid, by finite differences: no autodiff in them."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np

__all__ = ["Field", "box", "inner"]

_WIDTH = 4  # points on each side: of order 8 for the first two derivatives, 6 for the third


def box(low: Sequence[float], high: Sequence[float], shape: Sequence[int]) -> np.ndarray:
    """The points of a regular grid with its ends, (*shape, dim)."""
    axes = [np.linspace(a, b, n) for a, b, n in zip(low, high, shape, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)


def inner(dim: int, periodic: Sequence[int] = ()) -> tuple[slice, ...]:
    """The points of a grid that fields are differentiated at: four or more from its ends.

    Of a periodic axis, all points but the last, which is the first.
    """
    whole, trimmed = slice(None, -1), slice(_WIDTH, -_WIDTH)
    return tuple(whole if axis in periodic else trimmed for axis in range(dim))


class Field:
    """Values on a regular grid with its ends. What it returns is at the points of `inner`.

    Args:
        values: of a scalar, the shape of the grid. spacing: between points, along each axis.
        periodic: axes whose last point is the first one again: differences go across the seam.
    """

    def __init__(
        self, values: np.ndarray, spacing: Sequence[float], periodic: Sequence[int] = ()
    ) -> None:
        for axis in periodic:
            once = values.take(range(values.shape[axis] - 1), axis)
            widths = [(_WIDTH, _WIDTH) if k == axis else (0, 0) for k in range(values.ndim)]
            values = np.pad(once, widths, mode="wrap")
        self._values, self._spacing = values, tuple(spacing)

    @property
    def value(self) -> np.ndarray:
        return self._values[(slice(_WIDTH, -_WIDTH),) * self._values.ndim]

    def d(self, axis: int, order: int = 1) -> np.ndarray:
        """The derivative along an axis, by central differences over nine points."""
        where = [slice(_WIDTH, -_WIDTH)] * self._values.ndim
        where[axis] = slice(None)
        values = np.moveaxis(self._values[tuple(where)], axis, -1)
        windows = np.lib.stride_tricks.sliding_window_view(values, 2 * _WIDTH + 1, axis=-1)
        found = windows @ _weights(order) / self._spacing[axis] ** order
        return np.moveaxis(found, -1, axis)


@functools.cache
def _weights(order: int) -> np.ndarray:
    """Those that are exact for polynomials of degree 8."""
    powers = np.vander(np.arange(-_WIDTH, _WIDTH + 1.0), increasing=True).T
    target = np.zeros(2 * _WIDTH + 1)
    target[order] = math.factorial(order)
    return np.linalg.solve(powers, target)
