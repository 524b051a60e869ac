"""Products with sparse matrices on a GPU; see sparse.cu."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...arrays import Array, astype, dtype_of, is_torch, namespace, real_dtype
from ._device import Device, in_order

__all__ = ["MOST_COLUMNS", "Plan", "ready", "serves"]

MOST_COLUMNS = 1 << 31  # that an index of four bytes can tell apart
_THREADS = 256
_TILE = 4  # members that share a look at an entry
_MOST_BLOCKS = 65_535  # of the second axis of a grid
# ELL reads its padding too: in CSR about that share of the lanes would have idled.
_PADDING = 1.25


def serves(x: Array, columns: int) -> bool:
    """Whether kernels take vectors x (*batch, columns): there are some, and indices reach."""
    return math.prod(x.shape) > 0 and columns < MOST_COLUMNS


def ready(x: Array) -> Array:
    """x as kernels read it: in C order, complex numbers where their size divides the address."""
    there = x.data_ptr() if is_torch(x) else x.data.ptr if hasattr(x, "get") else x.ctypes.data
    if in_order(x) and there % x.itemsize == 0:
        return x
    return x.clone().contiguous() if is_torch(x) else namespace(x).asarray(x, order="C", copy=True)


@dataclass(frozen=True, eq=False)
class Plan:
    """How one pattern is multiplied by, made once; its values are given to each product.

    Attributes:
        shape: (rows, columns) of the matrix.
        lanes: threads of a row; 0 for ELL.
        width: columns of ELL.
        ends: of CSR's rows, int32 or int64; the first may be any place in indices and values.
        indices: of CSR, or of ELL, (width, rows).
    """

    shape: tuple[int, int]
    lanes: int
    width: int
    ends: Array
    indices: Array

    @classmethod
    def of(
        cls, device: Device, ends: Array, indices: Array, shape: tuple[int, int],
        dtype: np.dtype, *, alone: bool = True,
    ) -> Plan:  # fmt: skip
        """The plan for a CSR pattern on the device. One wait for it, to know the longest row.

        Args:
            ends: (rows + 1,). indices: (entries,), below `MOST_COLUMNS`; integers of any kind.
            dtype: of the values. alone: whether there is one value for each entry, and not one for
                each member of a batch, which ELL does not take.
        """
        xp, rows = namespace(ends), shape[0]
        narrow = indices.shape[0] < 1 << 31
        ends = astype(ends, np.int32 if narrow else np.int64)
        indices = ready(astype(indices, np.int32))
        lengths = ends[1:] - ends[:-1]
        total, longest = (int(n) for n in (lengths.sum(), xp.max(lengths))) if rows else (0, 0)
        if alone and narrow and longest * rows <= _PADDING * total:
            columns = xp.empty((longest, rows), dtype=ends.dtype, device=ends.device)
            made = cls(shape, 0, longest, ready(ends), columns)
            made._fill(device, dtype, indices, None, columns, None)
            return made
        return cls(shape, _lanes(total / max(rows, 1)), 0, ready(ends), indices)

    def values(self, device: Device, data: Array) -> Array:
        """CSR's values, (entries,) or (members, entries), as `product` takes them."""
        if self.lanes:
            return ready(data)
        out = namespace(data).empty(self.indices.shape, dtype=data.dtype, device=data.device)
        self._fill(device, dtype_of(data), None, ready(data), None, out)
        return out

    def product(self, device: Device, values: Array, x: Array, base: Array | None = None) -> Array:
        """base + A x, (members, rows), without base A x, for x (members, columns) and its dtype.

        values: as `values` gives them; of x's kind, real or complex, in any precision.
        """
        (rows, columns), members = self.shape, x.shape[0]
        y = namespace(x).empty((members, rows), dtype=x.dtype, device=x.device)
        if not rows:
            return y
        each = values.shape[-1] if self.lanes and values.ndim == 2 else 0
        matrix = np.array((rows, columns, members, each, self.lanes, self.width), _MATRIX)
        tail = (values, base, x, y)
        args = (self.indices, *tail) if not self.lanes else (self.ends, self.indices, *tail)
        kernel = ("csr" if self.lanes else "ell") + ("_complex" if _is_complex(x) else "")
        if self.lanes and dtype_of(self.ends).itemsize == 8:
            kernel += "_long"
        tiles = min(-(-members // _TILE), _MOST_BLOCKS)
        grid, block = (_blocks(rows * max(self.lanes, 1)), tiles, 1), (_THREADS, 1, 1)
        real, stored = real_dtype(dtype_of(x)), real_dtype(dtype_of(values))
        device.launch("sparse", kernel, real, grid, block, (matrix, *args), stored=stored)
        return y

    def _fill(self, device: Device, dtype: np.dtype, *arrays: Array | None) -> None:
        indices, data, columns, values = arrays
        rows, name = self.shape[0], "fill_complex" if dtype.kind == "c" else "fill"
        matrix = np.array((rows, self.shape[1], 1, 0, 0, self.width), _MATRIX)
        if not rows or not self.width:
            return
        args = (matrix, self.ends, indices, data, columns, values)
        grid, block = (_blocks(rows), 1, 1), (_THREADS, 1, 1)
        device.launch("sparse", name, real_dtype(dtype), grid, block, args)


def _lanes(mean: float) -> int:
    """Threads of a row of so many entries: at least two entries for each, where there are."""
    return 1 << min(5, max(0, math.ceil(mean / 2) - 1).bit_length())


def _blocks(threads: int) -> int:
    return -(-threads // _THREADS)


def _is_complex(x: Array) -> bool:
    return dtype_of(x).kind == "c"


@functools.cache
def _matrix() -> np.dtype:
    """`Matrix` of sparse.cu."""
    counts = [(name, "i8") for name in ("rows", "columns", "members", "entries")]
    return np.dtype([*counts, ("lanes", "i4"), ("width", "i4")], align=True)


_MATRIX: Any = _matrix()
