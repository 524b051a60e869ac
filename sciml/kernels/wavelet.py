"""One level of an orthonormal wavelet transform along an axis, in place, on the CPU.

Complex arrays come as views of real ones with the parts side by side, which real filters allow.
Lines are independent of each other, so the result does not depend on the number of threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from ._compile import jit, jit_inner, jit_parallel
from ._threads import parallel_section, threads

__all__ = ["join", "split"]

_BLOCK = 64  # entries side by side that are worked on together: their lines stay in the cache


def split(x: np.ndarray, axis: int, low: np.ndarray, high: np.ndarray) -> None:
    """Averages, the odd entry if there is one, and details along an axis of a real array.

    averages[i] = Σ_k low[k] x[2 i + L / 2 − k] with periodic ends, details by `high`.
    """
    _along(_split, _split_parallel, x, axis, (low, high))


def join(x: np.ndarray, axis: int, low: np.ndarray, high: np.ndarray) -> None:
    """What `split` takes back: its adjoint."""
    _along(_join, _join_parallel, x, axis, (low, high))


def _along(
    serial: Any, parallel: Any, x: np.ndarray, axis: int, filters: tuple[np.ndarray, np.ndarray]
) -> None:
    """One launch for each index of the axes that are more than the kernels' four."""
    if x.shape[axis] < 2 or not x.size:
        return
    moved = np.moveaxis(x, axis, -2)
    moved = moved.reshape((1,) * max(0, 4 - moved.ndim) + moved.shape)
    work = x.size * filters[0].size
    for index in np.ndindex(moved.shape[:-4]):
        if threads(work) == 1:
            serial(moved[index], *filters)
        else:
            with parallel_section():
                parallel(moved[index], *filters)


@jit_inner
def _blocks(x: Any) -> int:
    return x.shape[0] * x.shape[1] * ((x.shape[3] + _BLOCK - 1) // _BLOCK)


@jit_inner
def _lines(x: Any, i: int) -> Any:
    """Block i: all entries along axis 2 of a few neighbours along axis 3."""
    blocks = (x.shape[3] + _BLOCK - 1) // _BLOCK
    first, rest = (i % blocks) * _BLOCK, i // blocks
    return x[rest // x.shape[1], rest % x.shape[1], :, first : min(first + _BLOCK, x.shape[3])]


@jit_inner
def _wrap(a: Any, count: int, pad: int) -> None:
    """Periodic ends around the rows pad, ..., pad + count − 1."""
    for i in range(pad):
        a[pad - 1 - i] = a[pad + count - 1 - i % count]
        a[pad + count + i] = a[pad + i % count]


@jit_inner
def _filter(out: Any, a: Any, h: Any, parity: int, pad: int, sign: int) -> None:
    """out[i] += Σ h[k] a[i ± shift of k], over the k of one parity, two of them at a time."""
    width, middle = a.shape[1], h.size // 2
    flat, target = a.reshape(-1), out.reshape(-1)
    k = (middle - parity) % 2
    while k < h.size:
        one = (pad + sign * ((middle - k - parity) // 2)) * width
        if k + 2 < h.size:
            two = one - sign * width
            for j in range(target.size):
                target[j] += h[k] * flat[one + j] + h[k + 2] * flat[two + j]
        else:
            for j in range(target.size):
                target[j] += h[k] * flat[one + j]
        k += 4


@jit_inner
def _split_one(x: Any, low: Any, high: Any, i: int) -> None:
    lines = _lines(x, i)
    n, width, pad = lines.shape[0], lines.shape[1], low.size // 2
    half = n // 2
    a = np.empty((half + 2 * pad, width), x.dtype)
    averages, details = np.zeros((half, width), x.dtype), np.zeros((half, width), x.dtype)
    for parity in range(2):
        for j in range(half):
            for w in range(width):  # a slice would cost more than the few entries in it
                a[pad + j, w] = lines[2 * j + parity, w]
        _wrap(a, half, pad)
        _filter(averages, a, low, parity, pad, 1)
        _filter(details, a, high, parity, pad, 1)
    if n % 2:
        lines[half] = lines[n - 1]
    for j in range(half):
        for w in range(width):
            lines[j, w] = averages[j, w]
            lines[n - half + j, w] = details[j, w]


@jit_inner
def _join_one(x: Any, low: Any, high: Any, i: int) -> None:
    lines = _lines(x, i)
    n, width, pad = lines.shape[0], lines.shape[1], low.size // 2
    half = n // 2
    averages = np.empty((half + 2 * pad, width), x.dtype)
    details = np.empty((half + 2 * pad, width), x.dtype)
    for j in range(half):
        for w in range(width):
            averages[pad + j, w] = lines[j, w]
            details[pad + j, w] = lines[n - half + j, w]
    _wrap(averages, half, pad)
    _wrap(details, half, pad)
    if n % 2:
        lines[n - 1] = lines[half]
    for parity in range(2):
        out = np.zeros((half, width), x.dtype)
        _filter(out, averages, low, parity, pad, -1)
        _filter(out, details, high, parity, pad, -1)
        for j in range(half):
            for w in range(width):
                lines[2 * j + parity, w] = out[j, w]


@jit
def _split(x: Any, low: Any, high: Any) -> None:
    for i in range(_blocks(x)):
        _split_one(x, low, high, i)


@jit_parallel
def _split_parallel(x: Any, low: Any, high: Any) -> None:
    for i in prange(_blocks(x)):
        _split_one(x, low, high, i)


@jit
def _join(x: Any, low: Any, high: Any) -> None:
    for i in range(_blocks(x)):
        _join_one(x, low, high, i)


@jit_parallel
def _join_parallel(x: Any, low: Any, high: Any) -> None:
    for i in prange(_blocks(x)):
        _join_one(x, low, high, i)
