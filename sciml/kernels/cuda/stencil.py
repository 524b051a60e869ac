"""Stencils of -div(k grad u) on a GPU; see stencil.cu and nodes.cu.

Both take k as (*k_batch, *cells) and x as (*batch, *shape), where k has the batch of x or none, and
may be of the other precision. All arrays are contiguous, and on the device.
"""

from __future__ import annotations

import functools
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...arrays import Array, dtype_of, namespace
from ._device import Device, in_order
from .vectors import finish

__all__ = ["MOST_MEMBERS", "Cells", "Nodes", "serves"]

# Members that the second axis of a grid of blocks can count.
MOST_MEMBERS = 65_535
_THREADS, _COLUMNS = 256, 32
# Blocks that fill a large GPU several times; planes below which a block walks in vain, since the
# first one of a walk is read twice.
_BLOCKS, _PLANES = 2_048, 16
_PARTS = 1_024  # blocks of a member


def serves(k: Array, x: Array, ndim: int) -> bool:
    """Whether kernels take a k and an x of these batches."""
    batch, own = tuple(x.shape[: x.ndim - ndim]), tuple(k.shape[: k.ndim - ndim])
    members = math.prod(batch)
    sound = in_order(k) and 0 < members <= MOST_MEMBERS and 0 not in x.shape
    return sound and own in ((), batch)


class _Stencil(ABC):
    """The three forms of a product: written, measured, and with the search direction."""

    name: str
    launched: str

    def product(self, device: Device, k: Array, x: Array) -> Array:
        """A x."""
        y = namespace(x).empty_like(x)
        self._run(device, "", k, x, (x, y))
        return y

    def residual(self, device: Device, k: Array, x: Array, b: Array) -> Array:
        """b - A x, for b of x's shape."""
        y = namespace(x).empty_like(x)
        self._run(device, "_residual", k, x, (x, b, y))
        return y

    def misfit(self, device: Device, k: Array, x: Array, b: Array) -> Array:
        """||b - A x||^2, (members,)."""
        parts = self._parts(x)
        self._run(device, "_misfit", k, x, (x, b, parts))
        return finish(device, parts)

    def search(
        self, device: Device, k: Array, z: Array, beta: Array, p: Array
    ) -> tuple[Array, Array, Array]:
        """(x, A x, <x, A x> (members,)) with x = z + beta p; beta: (members,)."""
        xp, parts = namespace(z), self._parts(z)
        x, y = xp.empty_like(z), xp.empty_like(z)
        self._run(device, "_search", k, z, (z, beta, p, x, y, parts))
        return x, y, finish(device, parts)

    def _parts(self, x: Array) -> Array:
        grid, _ = self._shape(x)
        members = self._members(x)
        count = grid[0] * grid[1] * grid[2] // members
        return namespace(x).empty((members, count), dtype=x.dtype, device=x.device)

    def _run(self, device: Device, form: str, k: Array, x: Array, args: tuple[Any, ...]) -> None:
        (grid, block), real = self._shape(x), dtype_of(x)
        room = 4 * block[0] * block[1] * real.itemsize
        args, stored = (*self._own(k, x), *args), dtype_of(k)
        device.launch(self.name, self.launched + form, real, grid, block, args, room, stored)

    def _members(self, x: Array) -> int:
        return math.prod(x.shape[: x.ndim - self._ndim])

    _ndim: int

    @abstractmethod
    def _own(self, k: Array, x: Array) -> tuple[Any, ...]:
        """What a kernel takes before its vectors."""

    @abstractmethod
    def _shape(self, x: Array) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
        """(grid, block)."""


@dataclass(frozen=True)
class Cells(_Stencil):
    """The stencil of `Diffusion`.

    Attributes:
        shape: of the grid. weights: (axes, 3), as of `kernels.stencil.cells`. wraps: rings.
        unit: a power of two that brings k near 1. pins: one a member of k, on the device, or None.
    """

    shape: tuple[int, ...]
    weights: tuple[tuple[float, float, float], ...]
    wraps: tuple[bool, ...]
    unit: float
    pins: Array | None

    name, launched = "stencil", "cells"

    @property
    def _ndim(self) -> int:
        return len(self.shape)

    def _own(self, k: Array, x: Array) -> tuple[Any, ...]:
        members, shared = self._members(x), k.ndim == self._ndim
        n0, n1, n2 = _solid(self.shape, 1)
        weights = _solid(self.weights, (0.0, 0.0, 0.0))
        steps, rings = (n1 * n2, n2, 1), _solid(self.wraps, False)
        axes = [
            (n, step, *w, ring)
            for n, step, w, ring in zip((n0, n1, n2), steps, weights, rings, strict=True)
        ]
        depth, pieces = self._pieces(members)
        box = (axes, depth, pieces, members, shared, self.unit)
        return np.array(box, _box(dtype_of(x))), k, self.pins

    def _block(self) -> tuple[int, int, int]:
        _, n1, n2 = _solid(self.shape, 1)
        most = _THREADS // 2 if len(self.shape) == 2 else _COLUMNS
        columns = min(most, _power(n2))
        return columns, min(_THREADS // columns, _power(n1)), 1

    def _pieces(self, members: int) -> tuple[int, int]:
        """(planes of a piece, pieces of a member)."""
        n0, n1, n2 = _solid(self.shape, 1)
        columns, rows, _ = self._block()
        tiles = -(-n1 // rows) * -(-n2 // columns)
        wanted = -(-_BLOCKS // (tiles * members))
        depth = min(n0, max(_PLANES, -(-n0 // wanted)))
        return depth, -(-n0 // depth)

    def _shape(self, x: Array) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
        _, n1, n2 = _solid(self.shape, 1)
        members, block = self._members(x), self._block()
        pieces = self._pieces(members)[1]
        jobs = min(members * pieces, MOST_MEMBERS)
        return (-(-n2 // block[0]), -(-n1 // block[1]), jobs), block

    def _parts(self, x: Array) -> Array:
        grid, _ = self._shape(x)
        members = self._members(x)
        count = grid[0] * grid[1] * self._pieces(members)[1]
        return namespace(x).empty((members, count), dtype=x.dtype, device=x.device)


@dataclass(frozen=True)
class Nodes(_Stencil):
    """The stencil of `NodalDiffusion`.

    Attributes:
        shape: of the grid of nodes. weights: per axis, what multiplies the sum of an edge's cells.
    """

    shape: tuple[int, ...]
    weights: tuple[float, ...]

    name, launched = "nodes", "nodes"

    @property
    def _ndim(self) -> int:
        return len(self.shape)

    def _own(self, k: Array, x: Array) -> tuple[Any, ...]:
        flat = len(self.shape) == 2
        grid = (
            *_solid(self.shape, 1), self._members(x), k.ndim == self._ndim, flat,
            _solid(self.weights, 0.0),
        )  # fmt: skip
        return np.array(grid, _grid(dtype_of(x))), k

    def _shape(self, x: Array) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
        blocks = max(1, min(_PARTS, -(-math.prod(self.shape) // _THREADS)))
        return (blocks, self._members(x), 1), (_THREADS, 1, 1)


def _solid(axes: tuple[Any, ...], flat: Any) -> tuple[Any, Any, Any]:
    """One entry for each of three axes; `flat` for the middle one in two dimensions."""
    return axes if len(axes) == 3 else (axes[0], flat, axes[1])


def _power(n: int) -> int:
    """The least power of two that is not below n."""
    return 1 << max(0, n - 1).bit_length()


@functools.cache
def _box(real: np.dtype) -> np.dtype:
    """`Box` of stencil.cu."""
    weights = [(name, real) for name in ("inner", "low", "high")]
    axis = np.dtype([("n", "i8"), ("step", "i8"), *weights, ("ring", "i4")], align=True)
    rest = [("depth", "i8"), ("pieces", "i8"), ("members", "i8"), ("shared", "i4"), ("unit", real)]
    return np.dtype([("axes", axis, (3,)), *rest], align=True)


@functools.cache
def _grid(real: np.dtype) -> np.dtype:
    """`Grid` of nodes.cu."""
    counts = [(name, "i8") for name in ("n0", "n1", "n2", "members")]
    flags = [("shared", "i4"), ("flat", "i4")]
    return np.dtype([*counts, *flags, ("weights", real, (3,))], align=True)
