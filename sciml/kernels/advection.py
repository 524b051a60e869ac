"""Values carried along a flow on a staggered grid, on the CPU: trace back, then interpolate.

Grids are three-dimensional; a plane has one cell along its last axis. Positions are in cells from
the low corner of the box. Nodes are independent of each other, so the result does not depend on
the number of threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from ._compile import jit, jit_inner, jit_parallel
from ._threads import launch

__all__ = ["carry"]

Three = tuple[np.ndarray, np.ndarray, np.ndarray]


def carry(
    field: np.ndarray,
    known: np.ndarray,
    offset: tuple[float, float, float],
    velocity: Three,
    seen: Three,
    step: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(field where each node came from, least and largest of the values it was made of).

    Args:
        field: float64 (n0, n1, n2), at positions index + offset.
        known: booleans of that shape; the others are not looked at. A node that came from where
            nothing is known keeps its value.
        velocity, seen: each component on its faces, and which of them are known.
        step: dt / h.
    """
    out, low, high = (np.empty_like(field) for _ in range(3))
    args = (field, known, offset, velocity, seen, step, out, low, high)
    launch(_carry, _carry_parallel, 64 * field.size, args, rows=field.shape[0])
    return out, low, high


@jit
def _carry(
    first: int,
    last: int,
    field: Any,
    known: Any,
    offset: Any,
    velocity: Any,
    seen: Any,
    step: float,
    out: Any,
    low: Any,
    high: Any,
) -> None:
    a, b, c = offset
    top = (
        float(velocity[1].shape[0]),  # cells along each axis
        float(velocity[0].shape[1]),
        float(velocity[0].shape[2]),
    )
    for i in range(first, last):
        for j in range(field.shape[1]):
            for k in range(field.shape[2]):
                here = (i + a, j + b, k + c)
                middle = _back(here, _flow(velocity, seen, here), step / 2, top)
                x, y, z = _back(here, _flow(velocity, seen, middle), step, top)
                value, weight, least, most = _linear(field, known, x - a, y - b, z - c)
                if weight == 0:
                    value = least = most = field[i, j, k]
                out[i, j, k], low[i, j, k], high[i, j, k] = value, least, most


@jit_parallel
def _carry_parallel(
    pieces: int,
    field: Any,
    known: Any,
    offset: Any,
    velocity: Any,
    seen: Any,
    step: float,
    out: Any,
    low: Any,
    high: Any,
) -> None:
    rows = field.shape[0]
    for t in prange(pieces):
        first, last = t * rows // pieces, (t + 1) * rows // pieces
        _carry(first, last, field, known, offset, velocity, seen, step, out, low, high)


@jit_inner
def _flow(velocity: Any, seen: Any, at: Any) -> Any:
    """The velocity at a position; a component of which nothing is known there is 0."""
    x, y, z = at
    u = _linear(velocity[0], seen[0], x, y - 0.5, z - 0.5)[0]
    v = _linear(velocity[1], seen[1], x - 0.5, y, z - 0.5)[0]
    w = _linear(velocity[2], seen[2], x - 0.5, y - 0.5, z)[0]
    return u, v, w


@jit_inner
def _back(at: Any, flow: Any, step: float, top: Any) -> Any:
    """at - step * flow, within the box."""
    return (
        _clamped(at[0] - step * flow[0], top[0]),
        _clamped(at[1] - step * flow[1], top[1]),
        _clamped(at[2] - step * flow[2], top[2]),
    )


@jit_inner
def _clamped(x: float, top: float) -> float:
    """x within [0, top]; NaN is taken to 0, since an index is made of it."""
    if not x > 0:
        return 0.0
    return min(x, top)


@jit_inner
def _linear(field: Any, known: Any, x: float, y: float, z: float) -> Any:
    """(value, total weight, least, largest): linear, over the known ones of the eight corners."""
    x = _clamped(x, field.shape[0] - 1.0)
    y = _clamped(y, field.shape[1] - 1.0)
    z = _clamped(z, field.shape[2] - 1.0)
    i, j, k = int(x), int(y), int(z)
    total, weight, least, most = 0.0, 0.0, np.inf, -np.inf
    for di in range(2):
        wi = x - i if di else 1 - (x - i)
        if wi == 0:  # also where i + 1 is past the end
            continue
        for dj in range(2):
            wj = y - j if dj else 1 - (y - j)
            if wj == 0:
                continue
            for dk in range(2):
                wk = z - k if dk else 1 - (z - k)
                if wk == 0 or not known[i + di, j + dj, k + dk]:
                    continue
                value, w = field[i + di, j + dj, k + dk], wi * wj * wk
                total += w * value
                weight += w
                least, most = min(least, value), max(most, value)
    if weight == 0:
        return 0.0, 0.0, 0.0, 0.0
    # Rounding takes no value out of its bounds: a constant stays what it is, to the last bit.
    return min(max(total / weight, least), most), weight, least, most
