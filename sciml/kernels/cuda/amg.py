"""The cycle of algebraic multigrid on a GPU; see amg.cu, sparse.cu and `kernels.amg`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...arrays import Array, dtype_of, from_host, namespace, native_dtype, real_dtype
from ._device import Device
from .sparse import Plan, ready

__all__ = ["MOST_MEMBERS", "Cycle"]

MOST_MEMBERS = 65_535  # that the second axis of a grid can count
_THREADS, _PARTS = 256, 1_024
_TAIL_THREADS = 512  # the bound of its kernels: with 1,024 they spill
# Entries of a matrix up to which one block is done with a product sooner than a launch begins.
_TAIL = 1 << 15

Held = tuple[Plan, Array]  # a matrix: its plan and its values


@dataclass(frozen=True, eq=False)
class Cycle:
    """x -> S V(S x) for a hierarchy on the device, (members, n).

    Attributes:
        large: (N, R, P) of the levels that are worth a launch for each product.
        layout, ends, indices, data: of the levels below, `size` unknowns on the coarsest and
            `total` on all of them.
        coarsest: transposed inverse; None for the identity.
    """

    large: tuple[tuple[Held, Held, Held], ...]
    layout: Array
    ends: Array
    indices: Array
    data: Array
    coarsest: Array | None
    size: int
    total: int

    @classmethod
    def of(
        cls, device: Device, layout: np.ndarray, ends: np.ndarray, n: int,
        arrays: tuple[Array, Array, Array, Array],
    ) -> Cycle:  # fmt: skip
        """The cycle of a stack as `kernels.amg` has it.

        Args:
            layout, ends: of the stack, on the host. n: unknowns.
            arrays: (indptr, indices, data, coarsest), on the device.
        """
        indptr, indices, data, coarsest = arrays
        levels = layout.tolist()
        entries = [int(ends[at + rows] - ends[at]) for rows, *_, at, _, _ in levels]
        small = (i for i, found in enumerate(entries) if found <= _TAIL)
        count = next(small, len(levels))
        large = []
        for fine, coarse, _, _, *starts in levels[:count]:
            shapes = ((fine, fine), (coarse, fine), (fine, coarse))
            parts = [
                _held(device, indptr[at : at + shape[0] + 1], indices, data, shape)
                for at, shape in zip(starts, shapes, strict=True)
            ]
            large.append(tuple(parts))
        size, rest = levels[-1][1] if levels else n, layout[count:].copy()
        total, start, first = size, len(ends), int(indices.shape[0])
        if len(rest):
            start = int(rest[0, 4])
            total, first = int(rest[-1, 3] - rest[0, 2]) + size, int(ends[start])
            rest[:, 2:4] -= rest[0, 2]
            rest[:, 4:] -= start
        return cls(
            tuple(large),
            from_host(rest, data, np.int64),
            from_host(ends[start:] - first, data, np.int32),
            indices[first:],
            data[first:],
            ready(coarsest) if coarsest.shape[0] else None,
            size,
            total,
        )

    def __call__(self, device: Device, scale: Array, x: Array) -> Array:
        """scale: (n,), S, of the real dtype of x. x: (members, n), contiguous."""
        xp, real, stored = namespace(x), real_dtype(dtype_of(x)), real_dtype(dtype_of(self.data))
        pairs = int(dtype_of(x).kind == "c")
        n, members = x.shape[1] << pairs, x.shape[0]
        grid, block = (min(_PARTS, -(-n // _THREADS)), members, 1), (_THREADS, 1, 1)
        given, room = (np.int64(n), np.int32(pairs), scale), _THREADS * real.itemsize
        unit = None
        if np.finfo(stored).eps > np.finfo(real).eps:
            parts = xp.empty((members, grid[0]), dtype=scale.dtype, device=x.device)
            unit = xp.empty((members,), dtype=scale.dtype, device=x.device)
            device.launch("amg", "sizes", real, grid, block, (*given, x, parts), room, stored)
            args = (np.int32(grid[0]), parts, unit)
            device.launch("amg", "units", real, (members, 1, 1), block, args, room, stored)
        kind = native_dtype(xp, dtype_of(self.data))
        b = xp.empty(x.shape, dtype=kind, device=x.device)
        device.launch("amg", "enter", real, grid, block, (*given, x, unit, b), 0, stored)
        e, y = self.scaled(device, b), xp.empty_like(x)
        device.launch("amg", "leave", real, grid, block, (*given, e, unit, y), 0, stored)
        return y

    def scaled(self, device: Device, b: Array) -> Array:
        """V b = b + N (b + P V'(R N b)) on scaled unknowns."""
        above = []
        for N, R, _ in self.large:
            above.append(b)
            b = _product(device, R, _product(device, N, b))
        e = self._tail(device, b)
        for N, _, P in reversed(self.large):
            b = above.pop()
            e = _product(device, N, _product(device, P, e, b), b)
        return e

    def _tail(self, device: Device, b: Array) -> Array:
        xp, members = namespace(b), b.shape[0]
        room = xp.empty((members, 3 * self.total), dtype=b.dtype, device=b.device)
        e, levels = xp.empty_like(b), np.int32(self.layout.shape[0])
        args = (
            levels, np.int64(self.total), np.int64(self.size), self.layout, self.ends, self.indices,
            self.data, self.coarsest, b, room, e,
        )  # fmt: skip
        kind = dtype_of(b)
        name = "tail_complex" if kind.kind == "c" else "tail"
        grid, block = (members, 1, 1), (_TAIL_THREADS, 1, 1)
        device.launch("sparse", name, real_dtype(kind), grid, block, args)
        return e


def _held(device: Device, ends: Array, indices: Array, data: Array, shape: tuple[int, int]) -> Held:
    plan = Plan.of(device, ends, indices, shape, dtype_of(data))
    return plan, plan.values(device, data)


def _product(device: Device, A: Held, x: Array, base: Array | None = None) -> Array:
    plan, values = A
    return plan.product(device, values, x, base)
