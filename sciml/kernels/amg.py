"""The V-cycle of algebraic multigrid on the CPU.

A hierarchy is a stack of CSR matrices in three flat arrays (indptr, indices, data): for each level
N, R and P in this order, each with an indptr of its own that points into the whole of `data`. A row
of `layout` tells (unknowns, coarse unknowns, offset of the level's vectors, that of the next level,
and where the indptr of N, R and P begin). Rows are summed in a fixed order, so no result depends on
the number of threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from .._memory import empty
from ._compile import jit, jit_inner, jit_parallel
from ._threads import parallel_section, threads
from .sparse import unsigned

__all__ = ["v_cycle"]

# Rows that one thread takes at a time: few enough that members of a batch find them in its cache.
_ROWS = 1024
# Entries of a matrix below which a launch costs more than a second thread brings.
_WORTH_IT = 1 << 16
# The stack holds about so many times the entries of its largest matrix.
_PASSES = 4


def v_cycle(
    stack: tuple[np.ndarray, ...],
    layout: np.ndarray,
    coarsest: np.ndarray,
    scale: np.ndarray,
    x: np.ndarray,
) -> np.ndarray:
    """S V(S x) for every member, in an array like x.

    The unknowns are scaled so that the smoother is u <- u + (b - A u). With N = I - A it gives
    u = b from zero, leaves the residual N b, and gives b + N u afterwards, so that
    V(b) = b + N (b + P V'(R N b)), where V' is the cycle of the next level.

    Args:
        stack: (indptr, indices, data). layout: int64 (levels, 7).
        coarsest: (m, m), transposed inverse on the coarsest level; (0, 0) for the identity.
        scale: (n,), S, of the real dtype of x. x: (B, n), contiguous.
    """
    indptr, indices, data = stack
    members, n = x.shape
    total = int(layout[-1, 3] + layout[-1, 1]) if layout.size else n
    b, u, e = (empty((members, total), data.dtype) for _ in range(3))
    out, unit = empty(x.shape, x.dtype), np.ones(members, scale.dtype)
    x = x.view()
    x.flags.writeable = False  # one signature, whoever owns the memory
    parallel = threads(indices.size * members // _PASSES) > 1
    if np.finfo(data.dtype).eps > np.finfo(x.dtype).eps:
        largest = np.empty((members, -(-n // _ROWS)), scale.dtype)
        _run(parallel, _sizes, _sizes_parallel, (scale, x, largest))
        unit = _units(largest.max(axis=1, initial=0))
    args = (unsigned(indptr), unsigned(indices), data, layout, coarsest, b, u, e)
    _run(parallel, _enter, _enter_parallel, (scale, x, unit, b))
    _run(parallel, _cycle, _cycle_parallel, args)
    _run(parallel, _leave, _leave_parallel, (scale, e, unit, out))
    return out


def _run(parallel: bool, serial: Any, threaded: Any, args: tuple[Any, ...]) -> None:
    if not parallel:
        serial(*args)
        return
    with parallel_section():
        threaded(*args)


def _units(largest: np.ndarray) -> np.ndarray:
    """Powers of two that bring these sizes near 1; 1 for zero, Inf and NaN."""
    usable = (largest > 0) & np.isfinite(largest)
    return np.ldexp(1.0, -np.frexp(np.where(usable, largest, 1))[1]).astype(largest.dtype)


# Serial and parallel forms are functions of their own: numba's cache does not tell two compilations
# of one function apart.


@jit_inner
def _sizes_of(scale: Any, x: Any, largest: Any, piece: int) -> None:
    first = piece * _ROWS
    for m in range(x.shape[0]):
        found = scale.dtype.type(0)
        for i in range(first, min(first + _ROWS, scale.size)):
            value = scale[i] * x[m, i]
            found = max(found, abs(value.real), abs(value.imag))
        largest[m, piece] = found


@jit
def _sizes(scale: Any, x: Any, largest: Any) -> None:
    for piece in range(largest.shape[1]):
        _sizes_of(scale, x, largest, piece)


@jit_parallel
def _sizes_parallel(scale: Any, x: Any, largest: Any) -> None:
    for piece in prange(largest.shape[1]):
        _sizes_of(scale, x, largest, piece)


@jit_inner
def _enter_piece(scale: Any, x: Any, unit: Any, b: Any, piece: int) -> None:
    first = piece * _ROWS
    for m in range(x.shape[0]):
        for i in range(first, min(first + _ROWS, scale.size)):
            b[m, i] = scale[i] * x[m, i] * unit[m]


@jit
def _enter(scale: Any, x: Any, unit: Any, b: Any) -> None:
    for piece in range((scale.size + _ROWS - 1) // _ROWS):
        _enter_piece(scale, x, unit, b, piece)


@jit_parallel
def _enter_parallel(scale: Any, x: Any, unit: Any, b: Any) -> None:
    for piece in prange((scale.size + _ROWS - 1) // _ROWS):
        _enter_piece(scale, x, unit, b, piece)


@jit_inner
def _leave_piece(scale: Any, e: Any, unit: Any, out: Any, piece: int) -> None:
    first = piece * _ROWS
    for m in range(out.shape[0]):
        for i in range(first, min(first + _ROWS, scale.size)):
            out[m, i] = scale[i] * (e[m, i] / unit[m])


@jit
def _leave(scale: Any, e: Any, unit: Any, out: Any) -> None:
    for piece in range((scale.size + _ROWS - 1) // _ROWS):
        _leave_piece(scale, e, unit, out, piece)


@jit_parallel
def _leave_parallel(scale: Any, e: Any, unit: Any, out: Any) -> None:
    for piece in prange((scale.size + _ROWS - 1) // _ROWS):
        _leave_piece(scale, e, unit, out, piece)


# -- the cycle ---------------------------------------------------------------------------------


@jit_inner
def _times_piece(ends: Any, indices: Any, data: Any, base: Any, v: Any, v_at: int, out: Any,
                 at: int, first: int) -> None:  # fmt: skip
    rows = ends[first : first + _ROWS + 1]
    size, begin = rows.size - 1, at + first
    for m in range(out.shape[0]):
        vm, om = v[m, v_at:], out[m, begin : begin + size]
        for i in range(size):
            total = data.dtype.type(0)
            if base is not None:
                total = base[m, begin + i]
            for k in range(rows[i], rows[i + 1]):
                total += data[k] * vm[indices[k]]
            om[i] = total


@jit_inner
def _times(ends: Any, indices: Any, data: Any, base: Any, v: Any, v_at: int, out: Any,
           at: int) -> None:  # fmt: skip
    """out[at:] = base[at:] + M v[v_at:] for every member; base None for zeros."""
    for piece in range((ends.size + _ROWS - 2) // _ROWS):
        _times_piece(ends, indices, data, base, v, v_at, out, at, piece * _ROWS)


@jit_parallel
def _times_parallel(ends: Any, indices: Any, data: Any, base: Any, v: Any, v_at: int, out: Any,
                    at: int) -> None:  # fmt: skip
    if (ends[ends.size - 1] - ends[0]) * out.shape[0] < _WORTH_IT:
        _times(ends, indices, data, base, v, v_at, out, at)
        return
    for piece in prange((ends.size + _ROWS - 2) // _ROWS):
        _times_piece(ends, indices, data, base, v, v_at, out, at, piece * _ROWS)


@jit_inner
def _solve_coarsest(inverse: Any, b: Any, e: Any, at: int) -> None:
    for m in range(b.shape[0]):
        bm, em = b[m, at:], e[m, at:]
        if inverse.size == 0:
            em[:] = bm
            continue
        em[:] = 0
        for j in range(inverse.shape[0]):  # column by column, which runs in vector registers
            for i in range(inverse.shape[1]):
                em[i] += inverse[j, i] * bm[j]


@jit
def _cycle(indptr: Any, indices: Any, data: Any, layout: Any, coarsest: Any, b: Any, u: Any,
           e: Any) -> None:  # fmt: skip
    bottom, levels = 0, layout.shape[0]
    for i in range(levels):
        n, m, at, below = layout[i, 0], layout[i, 1], layout[i, 2], layout[i, 3]
        N, R = indptr[layout[i, 4] :][: n + 1], indptr[layout[i, 5] :][: m + 1]
        _times(N, indices, data, None, b, at, e, at)
        _times(R, indices, data, None, e, at, b, below)
        bottom = below
    _solve_coarsest(coarsest, b, e, bottom)
    for i in range(levels - 1, -1, -1):
        n, at, below = layout[i, 0], layout[i, 2], layout[i, 3]
        N, P = indptr[layout[i, 4] :][: n + 1], indptr[layout[i, 6] :][: n + 1]
        _times(P, indices, data, b, e, below, u, at)
        _times(N, indices, data, b, u, at, e, at)


@jit
def _cycle_parallel(indptr: Any, indices: Any, data: Any, layout: Any, coarsest: Any, b: Any,
                    u: Any, e: Any) -> None:  # fmt: skip
    bottom, levels = 0, layout.shape[0]
    for i in range(levels):
        n, m, at, below = layout[i, 0], layout[i, 1], layout[i, 2], layout[i, 3]
        N, R = indptr[layout[i, 4] :][: n + 1], indptr[layout[i, 5] :][: m + 1]
        _times_parallel(N, indices, data, None, b, at, e, at)
        _times_parallel(R, indices, data, None, e, at, b, below)
        bottom = below
    _solve_coarsest(coarsest, b, e, bottom)
    for i in range(levels - 1, -1, -1):
        n, at, below = layout[i, 0], layout[i, 2], layout[i, 3]
        N, P = indptr[layout[i, 4] :][: n + 1], indptr[layout[i, 6] :][: n + 1]
        _times_parallel(P, indices, data, b, e, below, u, at)
        _times_parallel(N, indices, data, b, u, at, e, at)
