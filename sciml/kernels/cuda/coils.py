"""Coil sensitivities around Fourier transforms on a GPU; see coils.cu."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...arrays import Array, dtype_of, namespace, real_dtype
from ._device import Device, in_order

__all__ = ["gather", "serves", "spread", "weigh"]

_THREADS = 256
_MOST_BLOCKS = 65_535  # of the second axis of a grid


def serves(maps: Array, batch: tuple[int, ...], ndim: int) -> bool:
    """Whether kernels take maps (*own, coil, *shape) with images of this batch: there are some, in
    C order, and the maps' batch ends that of the images."""
    own = tuple(maps.shape[: maps.ndim - ndim - 1])
    fits = own == batch[len(batch) - len(own) :]
    return fits and ndim <= 3 and in_order(maps) and 0 not in (*batch, *maps.shape)


def spread(
    device: Device, maps: Array | None, x: Array, ndim: int, turns: Array | None = None,
    odd: Sequence[int] = (),
) -> Array:  # fmt: skip
    """S_c t x of each coil, (*batch, coil, *shape) for x (*batch, *shape); without maps t x.

    Args:
        turns: the entries that each axis's pixels are turned by, in the dtype of x, one axis after
            the other. odd: for each axis, whether it is.
    """
    batch, shape = tuple(x.shape[: x.ndim - ndim]), tuple(x.shape[x.ndim - ndim :])
    lead = batch if maps is None else (*batch, maps.shape[-1 - ndim])
    y = namespace(x).empty((*lead, *shape), dtype=x.dtype, device=x.device)
    _launch(device, "coils_spread", maps, batch, shape, odd, False, (turns, x, y))
    return y


def gather(
    device: Device, maps: Array | None, y: Array, ndim: int, turns: Array | None = None,
    odd: Sequence[int] = (), to: Array | None = None,
) -> Array:  # fmt: skip
    """Σ_c conj(S_c t) y_c, (*batch, *shape): the adjoint of `spread`; added to `to` where given."""
    shape = tuple(y.shape[y.ndim - ndim :])
    batch = tuple(y.shape[: y.ndim - ndim - (maps is not None)])
    x = to
    if x is None:
        x = namespace(y).empty((*batch, *shape), dtype=y.dtype, device=y.device)
    _launch(device, "coils_gather", maps, batch, shape, odd, to is not None, (turns, y, x))
    return x


def weigh(device: Device, y: Array, weights: Array, ndim: int, scale: float = 1.0) -> None:
    """y *= scale w in place, for y (*any axes, *shape) and real weights ([coil,] *shape), in C
    order; coils are then the axis of y before its shape."""
    size = math.prod(y.shape[y.ndim - ndim :])
    members, rows = math.prod(y.shape[: y.ndim - ndim]), math.prod(weights.shape) // size
    real = real_dtype(dtype_of(y))
    args = (np.int64(size), np.uint32(rows), np.uint32(members), real.type(scale), weights, y)
    grid, block = _grid(size, members), (_THREADS, 1, 1)
    device.launch("coils", "coils_weigh", real, grid, block, args, stored=dtype_of(weights))


def _launch(
    device: Device, kernel: str, maps: Array | None, batch: tuple[int, ...],
    shape: tuple[int, ...], odd: Sequence[int], add: bool, arrays: tuple[Any, ...],
) -> None:  # fmt: skip
    size, members, ndim = math.prod(shape), math.prod(batch), len(shape)
    real = real_dtype(dtype_of(arrays[-1]))
    coils, owners, stored = 1, 1, real
    if maps is not None:
        coils, stored = maps.shape[-1 - ndim], real_dtype(dtype_of(maps))
        owners = math.prod(maps.shape[: maps.ndim - ndim - 1])
    n0, n1, n2 = (*(0,) * (3 - ndim), *shape)  # of no entries where there is no such axis
    bits = sum(1 << (3 - ndim + a) for a, turned in enumerate(odd) if turned)
    axes = (max(n1, 1), n2, n0, n0 + n1)
    given = np.array((size, coils, *axes, members, owners, bits, add), _coils())
    grid, block = _grid(size, members), (_THREADS, 1, 1)
    device.launch("coils", kernel, real, grid, block, (given, maps, *arrays), stored=stored)


def _grid(size: int, members: int) -> tuple[int, int, int]:
    return -(-size // _THREADS), min(members, _MOST_BLOCKS), 1


@functools.cache
def _coils() -> np.dtype:
    """`Coils` of coils.cu."""
    counts = [(name, "i8") for name in ("size", "coils", "n1", "n2", "first1", "first2")]
    rest = [("members", "u4"), ("owners", "u4"), ("odd", "i4"), ("add", "i4")]
    return np.dtype([*counts, *rest], align=True)
