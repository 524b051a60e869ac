"""Conjugate gradients for many small systems on a GPU, a block of threads each; see small.cu."""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np

from ...arrays import Array, dtype_of, namespace
from ._device import Device

__all__ = ["Members", "Systems", "advance", "fits"]

_THREADS, _WARP = 512, 32
_POINTS = 4  # of a thread: fewer leave a processor with too few threads to hide what it waits for
_SUMS = 3 * _THREADS // _WARP


class Systems(NamedTuple):
    """A of each owner, on the device.

    Attributes:
        shape: (n0, n1). rings: which axes are periodic.
        down, across: coefficients of faces, (owners, n0 + 1, n1) and (owners, n0, n1 + 1).
        mass: (owners, n0, n1), or None.
    """

    shape: tuple[int, ...]
    rings: tuple[bool, bool]
    down: Array
    across: Array
    mass: Array | None

    @property
    def nbytes(self) -> int:
        return _bytes(self.down, self.across, *(() if self.mass is None else (self.mass,)))


class Members(NamedTuple):
    """How far each member is, on the device.

    Attributes:
        vectors: x, r and p, (members, 3, n0, n1).
        before: <r, z> of the step before, 0 at first. estimate: the norm of r.
        flag: int32, 0 while running. steps: int64.
    """

    vectors: Array
    before: Array
    estimate: Array
    flag: Array
    steps: Array

    @property
    def nbytes(self) -> int:
        return _bytes(*self)


def fits(device: Device, shape: tuple[int, ...], real: np.dtype) -> bool:
    """Whether a block's shared memory holds a system."""
    return _room(shape, real) <= device.most_shared


def advance(
    device: Device, systems: Systems, owners: Array, goal: Array, members: Members, most: int,
    curved: int,
) -> Members:  # fmt: skip
    """Each member up to `most` steps on.

    Args:
        owners: int64 (members,), whose A it is. goal: float64 (members,), of the norm of r.
        curved: the flag of a member whose A is found not to be positive.
    """
    xp, real = namespace(members.vectors), dtype_of(members.vectors)
    left = Members(*(xp.empty_like(a) for a in members))
    plane = np.array((*systems.shape, *systems.rings), _plane())
    args = (
        plane, np.int64(most), np.int32(curved), owners, systems.down, systems.across,
        systems.mass, goal, members.vectors, members.before, members.flag, members.steps, *left,
    )  # fmt: skip
    grid, room = (owners.shape[0], 1, 1), _room(systems.shape, real)
    device.launch("small", "conjugate", real, grid, _block(systems.shape), args, room)
    return left


def _bytes(*arrays: Array) -> int:
    return sum(math.prod(a.shape) * dtype_of(a).itemsize for a in arrays)


def _room(shape: tuple[int, ...], real: np.dtype) -> int:
    """Bytes: both kinds of faces, 1 / diagonal, x, r, p and A p, and the sums of warps."""
    return (7 * math.prod(shape) + sum(shape) + _SUMS) * real.itemsize


def _block(shape: tuple[int, ...]) -> tuple[int, int, int]:
    points = -(-math.prod(shape) // _POINTS)
    threads = max(_WARP, min(_THREADS, _power(points)))
    columns = min(_WARP, _power(shape[1]))
    return columns, threads // columns, 1


def _power(n: int) -> int:
    """The least power of two that is not below n."""
    return 1 << max(0, n - 1).bit_length()


@functools.cache
def _plane() -> np.dtype:
    """`Plane` of small.cu."""
    return np.dtype([(name, "i4") for name in ("n0", "n1", "ring0", "ring1")])
