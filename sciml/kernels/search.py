"""A search direction and its image in one pass over memory: x = z + beta p, A x and <x, A x>.

Rows (in 3-D: planes) go in blocks that stay in the cache, through the stencils' own kernels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from .._memory import empty
from ._compile import jit_inner, jit_parallel
from ._nodes import nodes_2d
from ._sums import inner
from ._threads import parallel_section, threads
from .stencil import _cells_2d as cells_2d
from .stencil import _cells_3d as cells_3d

__all__ = ["search"]

# Entries of each array in a block: five arrays of it fit the second cache.
_BLOCK = 1 << 15


@jit_inner
def _combine(z, beta, p, x):
    for j in range(x.size):
        x[j] = z[j] + beta * p[j]


@jit_inner
def _edges(t, chunks, z, beta, p, x):
    """The first and last row of a chunk, which its neighbours read."""
    rows = x.shape[0]
    first, last = t * rows // chunks, (t + 1) * rows // chunks - 1
    _combine(z[first], beta, p[first], x[first])
    if last > first:
        _combine(z[last], beta, p[last], x[last])


@jit_inner
def _inside(first, last, begin, end, z, beta, p, x):
    """Rows begin..end, but for the first and last of the chunk first..last, which are done."""
    for r in range(max(begin, first + 1), min(end, last - 1)):
        _combine(z[r], beta, p[r], x[r])


@jit_inner
def _inners(begin, end, x, y, sums, zero):
    for r in range(begin, end):
        sums[r] = inner(x[r], y[r], zero)


@jit_inner
def _step(t, chunks, block, z, beta, p, x, b):
    """Forms what block b of chunk t needs: (end of the chunk, begin and end of the block)."""
    rows = x.shape[0]
    first, last = t * rows // chunks, (t + 1) * rows // chunks
    begin = first + b * block
    end = min(begin + block, last)
    _inside(first, last, begin + (b > 0), end + 1, z, beta, p, x)
    return last, begin, end


@jit_parallel
def _cells_2d(chunks, block, z, beta, p, x, sums, k, x4, y4, y, member, c, w, pins, wraps, none):
    for t in prange(chunks):
        _edges(t, chunks, z, beta, p, x)
    for t in prange(chunks):
        for b in range(sums.size):
            last, begin, end = _step(t, chunks, block, z, beta, p, x, b)
            if begin >= last:
                break
            cells_2d(begin, end, member, k, x4, y4, c, w, pins, wraps, x4, none)
            _inners(begin, end, x, y, sums, c[1])


@jit_parallel
def _cells_3d(chunks, block, z, beta, p, x, sums, k, x4, y4, y, member, c, w, pins, wraps, none):
    for t in prange(chunks):
        _edges(t, chunks, z, beta, p, x)
    for t in prange(chunks):
        for b in range(sums.size):
            last, begin, end = _step(t, chunks, block, z, beta, p, x, b)
            if begin >= last:
                break
            cells_3d(begin, end, member, k, x4, y4, c, w, pins, wraps, x4, none)
            _inners(begin, end, x, y, sums, c[1])


@jit_parallel
def _nodes_2d(chunks, block, z, beta, p, x, sums, k, x4, y4, y, member, w, none):
    for t in prange(chunks):
        _edges(t, chunks, z, beta, p, x)
    for t in prange(chunks):
        for b in range(sums.size):
            last, begin, end = _step(t, chunks, block, z, beta, p, x, b)
            if begin >= last:
                break
            nodes_2d(begin, end, member, k, x4, y4, w, x4, none)
            _inners(begin, end, x, y, sums, sums.dtype.type(0))


def search(
    kind: Any,
    k: np.ndarray,
    z: np.ndarray,
    beta: float,
    p: np.ndarray,
    rest: tuple[Any, ...],
) -> tuple[np.ndarray, np.ndarray, np.floating]:
    """(x, A x, <x, A x>) with x = z + beta p, for one member.

    Args:
        kind: of `CELLS`, `NODES`, by the number of axes. k, z, p: without batch, z and p alike.
        rest: what the stencil takes after `y`.
    """
    dtype = z.dtype
    x, y = empty(z.shape, dtype), empty(z.shape, dtype)
    rows = z.shape[0]
    width = max(1, z.size // rows)
    sums = np.empty(rows, dtype)
    flat = [a.reshape(rows, width) for a in (z, p, x, y)]
    chunks = min(threads(z.size), rows)
    with parallel_section():
        kind(
            chunks, max(1, _BLOCK // width), flat[0], dtype.type(beta), flat[1], flat[2], sums,
            k[None], x[None], y[None], flat[3], np.zeros(1, np.intp), *rest, np.empty(0, dtype),
        )  # fmt: skip
    return x, y, sums.sum()


CELLS = {2: _cells_2d, 3: _cells_3d}
NODES = {2: _nodes_2d}
