"""Fused vector updates of Krylov methods on a GPU; see vectors.cu."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...arrays import Array, namespace
from ._device import Device

__all__ = ["add_scaled", "descend", "finish", "inner"]

_THREADS = 256
# Blocks of a member: enough to fill any GPU, few enough to add up what each has summed.
_PARTS = 1024


def descend(
    device: Device, x: Array, r: Array, p: Array, q: Array, alpha: Array
) -> tuple[Array, Array, Array]:
    """(x + alpha p, r - alpha q, ||r - alpha q||^2) for real (B, n) arrays and alpha (B,)."""
    xp = namespace(x)
    x_new, r_new = xp.empty_like(x), xp.empty_like(r)
    grid, real = _grid(x), np.dtype(str(x.dtype).rsplit(".", 1)[-1])
    parts = xp.empty((grid[1], grid[0]), dtype=x.dtype, device=x.device)
    args = (np.int64(x.shape[1]), x, r, p, q, alpha, x_new, r_new, parts)
    device.launch(
        "vectors", "descend", real, grid, (_THREADS, 1, 1), args, _THREADS * real.itemsize
    )
    return x_new, r_new, finish(device, parts)


def add_scaled(device: Device, z: Array, beta: Array, p: Array) -> Array:
    """z + beta p for real (B, n) arrays and beta (B,)."""
    out = namespace(z).empty_like(z)
    real = np.dtype(str(z.dtype).rsplit(".", 1)[-1])
    args = (np.int64(z.shape[1]), z, beta, p, out)
    device.launch("vectors", "add_scaled", real, _grid(z), (_THREADS, 1, 1), args)
    return out


def inner(device: Device, x: Array, y: Array) -> Array:
    """<x, y> of each member, for real (B, n) arrays."""
    grid, real = _grid(x), np.dtype(str(x.dtype).rsplit(".", 1)[-1])
    parts = namespace(x).empty((grid[1], grid[0]), dtype=x.dtype, device=x.device)
    args = (np.int64(x.shape[1]), x, y, parts)
    device.launch("vectors", "inner", real, grid, (_THREADS, 1, 1), args, _THREADS * real.itemsize)
    return finish(device, parts)


def finish(device: Device, parts: Array) -> Array:
    """The sums of (B, count) over the last axis, in a fixed order."""
    real: Any = np.dtype(str(parts.dtype).rsplit(".", 1)[-1])
    members, count = parts.shape
    sums = namespace(parts).empty((members,), dtype=parts.dtype, device=parts.device)
    args = (np.int64(count), parts, sums)
    device.launch(
        "vectors", "finish", real, (members, 1, 1), (_THREADS, 1, 1), args,
        _THREADS * real.itemsize,
    )  # fmt: skip
    return sums


def _grid(x: Array) -> tuple[int, int, int]:
    members, n = x.shape
    return max(1, min(_PARTS, -(-n // _THREADS))), members, 1
