"""Fused vector updates of Krylov methods on a GPU; see vectors.cu."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...arrays import Array, dtype_of, is_torch, namespace, real_dtype
from ._device import Device

__all__ = ["add_scaled", "as_complex", "as_reals", "descend", "finish", "inner"]

_THREADS = 256
# Blocks of a member: enough to fill any GPU, few enough to add up what each has summed.
_PARTS = 1024


def descend(
    device: Device, x: Array, r: Array, p: Array, q: Array, alpha: Array
) -> tuple[Array, Array, Array]:
    """(x + alpha p, r - alpha q, ||r - alpha q||^2) for real (B, n) arrays and alpha (B,)."""
    xp = namespace(x)
    x_new, r_new, parts = xp.empty_like(x), xp.empty_like(r), _parts(x, x.shape[1])
    _launch(device, "descend", x, x.shape[1], (x, r, p, q, alpha, x_new, r_new, parts))
    return x_new, r_new, finish(device, parts)


def add_scaled(device: Device, z: Array, beta: Array, p: Array) -> Array:
    """z + beta p for real (B, n) arrays and beta (B,)."""
    out = namespace(z).empty_like(z)
    _launch(device, "add_scaled", z, z.shape[1], (z, beta, p, out))
    return out


def inner(device: Device, x: Array, y: Array) -> Array:
    """sum conj(x) y of each member, (B,), for (B, n) arrays."""
    if dtype_of(x).kind != "c":
        parts = _parts(x, x.shape[1])
        _launch(device, "inner", x, x.shape[1], (x, y, parts))
        return finish(device, parts)
    members, n = x.shape
    xs, ys = as_reals(x), as_reals(y)
    parts = _parts(xs, n, 2)
    _launch(device, "inner_complex", xs, n, (xs, ys, parts))
    return as_complex(finish(device, parts), x).reshape(members)


def finish(device: Device, parts: Array) -> Array:
    """The sums of (B, count) over the last axis, in a fixed order."""
    members, count = parts.shape
    sums = namespace(parts).empty((members,), dtype=parts.dtype, device=parts.device)
    real, room = dtype_of(parts), _THREADS * dtype_of(parts).itemsize
    args = (np.int64(count), parts, sums)
    device.launch("vectors", "finish", real, (members, 1, 1), (_THREADS, 1, 1), args, room)
    return sums


def as_reals(x: Array) -> Array:
    """(B, n) complex numbers as (B, 2 n) real ones, sharing memory; real ones as they are."""
    kind = dtype_of(x)
    if kind.kind != "c":
        return x
    if is_torch(x):
        import torch

        return torch.view_as_real(x).reshape(len(x), -1)
    return x.view(real_dtype(kind))


def as_complex(rows: Array, like: Array) -> Array:
    """Real numbers as what `like` holds, in pairs if it is complex, sharing memory."""
    if dtype_of(like).kind != "c":
        return rows
    if is_torch(rows):
        import torch

        return torch.view_as_complex(rows.reshape(-1, 2))
    return rows.view(like.dtype)


def _parts(x: Array, n: int, each: int = 1) -> Array:
    blocks = _blocks(n)
    shape = (each * x.shape[0], blocks)
    return namespace(x).empty(shape, dtype=x.dtype, device=x.device)


def _blocks(n: int) -> int:
    return max(1, min(_PARTS, -(-n // _THREADS)))


def _launch(device: Device, kernel: str, x: Array, n: int, args: tuple[Any, ...]) -> None:
    real = dtype_of(x)
    grid, room = (_blocks(n), x.shape[0], 1), _THREADS * real.itemsize
    device.launch("vectors", kernel, real, grid, (_THREADS, 1, 1), (np.int64(n), *args), room)
