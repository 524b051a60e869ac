"""Solid shapes on the cells of a grid. Lengths are in units of the height, shape[0] cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .._checks import number, told

__all__ = ["ball", "bunny"]

# Ellipsoids that make up a shape like a sitting rabbit, seen from the side: (up, right, away) of
# the centre, the half-axes, and by how much the first axis leans to the right. The ears stand side
# by side in the third direction; a plane shows each cut through its middle.
_BUNNY = (
    ((-0.10, 0.05, 0.0), (0.38, 0.42, 0.34), 0.0),  # body
    ((0.32, -0.30, 0.0), (0.23, 0.27, 0.22), 0.0),  # head
    ((0.74, -0.26, 0.11), (0.34, 0.12, 0.13), 0.1),  # ears
    ((0.66, -0.02, -0.11), (0.34, 0.12, 0.13), 0.5),
    ((-0.12, 0.50, 0.0), (0.13, 0.13, 0.13), 0.0),  # tail
    ((-0.40, -0.22, 0.0), (0.12, 0.28, 0.26), 0.0),  # paws
)


def ball(shape: Sequence[int], centre: Sequence[float], radius: float) -> np.ndarray:
    """Booleans (*shape): cells whose centre lies in a disc or ball.

    Args:
        centre: one coordinate for each axis, from the low corner. radius: > 0 for any cell.
    """
    r = number(radius, "radius")
    square = sum((d**2 for d in _from(shape, centre)), start=np.zeros(tuple(shape)))
    return square <= r**2


def bunny(shape: Sequence[int], centre: Sequence[float], size: float) -> np.ndarray:
    """Booleans (*shape): a shape like a sitting rabbit, made of ellipsoids.

    Its axes are axis 0 (up), the last axis (it looks towards lower indices) and, in 3-D, axis 1.

    Args:
        centre: of the body, one coordinate for each axis. size: about half its height.
    """
    scale = number(size, "size")
    if scale == 0:
        raise ValueError("expected size > 0, got 0: it is about half the height of the shape")
    up, *others = (d / scale for d in _from(shape, centre))
    away, right = others if len(others) == 2 else (np.zeros(1), others[0])
    found = np.zeros(tuple(shape), bool)
    for (a, b, c), (ra, rb, rc), lean in _BUNNY:
        flat = 0.0 if len(others) == 1 else c
        tall = up - a
        across = right - b - lean * tall
        found |= (tall / ra) ** 2 + (across / rb) ** 2 + ((away - flat) / rc) ** 2 <= 1
    return found


def _from(shape: Any, centre: Any) -> list[np.ndarray]:
    """Distances of the cells' centres from `centre` along each axis, ready to broadcast."""
    if len(shape) not in (2, 3) or len(centre) != len(shape):
        raise ValueError(
            f"expected two or three axes and a centre with as many coordinates, got "
            f"{told(shape)} and {told(centre)}"
        )
    at = [(np.arange(n) + 0.5) / shape[0] - number(c, "centre", least=-1e6)
          for n, c in zip(shape, centre, strict=True)]  # fmt: skip
    return list(np.meshgrid(*at, indexing="ij", sparse=True))
