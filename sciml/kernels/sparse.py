"""CSR kernels for the CPU: products, incomplete factorisations, triangular solves.

Every kernel takes plain arrays and writes into the one it is given. Mixed precision is allowed:
sums run in the type of the output, which `zero` carries.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, prange

from ._compile import jit, jit_inner, jit_parallel
from ._threads import parallel_section, threads

__all__ = [
    "csr_matvec",
    "csr_matvec_ordered",
    "factor_ic0",
    "factor_ilu0",
    "solve_lower",
    "solve_lower_adjoint",
    "unsigned",
]


# Rows that one thread takes at a time, in slices: an index that starts at 0 needs no check of sign.
_ROWS = 2048


def unsigned(index: np.ndarray) -> np.ndarray:
    """A view without sign: compiled code then does not look for negative indices, twice as fast."""
    return index.view(np.uint32 if index.dtype.itemsize == 4 else np.uint64)


def _constant(a: np.ndarray) -> np.ndarray:
    """A read-only view: one signature for the kernels, whoever owns the memory."""
    view = a.view()
    view.flags.writeable = False
    return view


def csr_matvec(
    data: np.ndarray, indices: np.ndarray, indptr: np.ndarray, x: np.ndarray, y: np.ndarray
) -> None:
    """y[b] = A[b] x[b]: data (1 or B, nnz), x (B, n), y (B, m), pattern `unsigned`."""
    args = (_constant(data), indices, indptr, x, y, y.dtype.type(0))
    if threads(indices.size * x.shape[0]) == 1:
        _matvecs(*args)
    else:
        with parallel_section():
            _matvecs_parallel(*args)


def csr_matvec_ordered(
    data: np.ndarray,
    order: np.ndarray,
    indices: np.ndarray,
    indptr: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
) -> None:
    """As `csr_matvec`, where entry k of the pattern has the value conj(data[order[k]])."""
    args = (_constant(data), order, indices, indptr, x, y, y.dtype.type(0))
    if threads(indices.size * x.shape[0]) == 1:
        _ordered(*args)
    else:
        with parallel_section():
            _ordered_parallel(*args)


# Serial and parallel forms are functions of their own: numba's cache does not tell two compilations
# of one function apart, and would run the serial one for both.


@jit_inner
def _rows(data: Any, indices: Any, indptr: Any, x: Any, y: Any, zero: Any, first: int) -> None:
    ends, out = indptr[first : first + _ROWS + 1], y[first : first + _ROWS]
    for i in range(out.size):
        total = zero
        for k in range(ends[i], ends[i + 1]):
            total += data[k] * x[indices[k]]
        out[i] = total


@jit
def _matvecs(data: Any, indices: Any, indptr: Any, x: Any, y: Any, zero: Any) -> None:
    step = 0 if data.shape[0] == 1 else 1
    for b in range(x.shape[0]):
        for first in range(0, y.shape[1], _ROWS):
            _rows(data[b * step], indices, indptr, x[b], y[b], zero, first)


@jit_parallel
def _matvecs_parallel(data: Any, indices: Any, indptr: Any, x: Any, y: Any, zero: Any) -> None:
    step = 0 if data.shape[0] == 1 else 1
    pieces = (y.shape[1] + _ROWS - 1) // _ROWS
    for i in prange(x.shape[0] * pieces):
        b = i // pieces
        _rows(data[b * step], indices, indptr, x[b], y[b], zero, (i % pieces) * _ROWS)


@jit_inner
def _rows_ordered(
    data: Any, order: Any, indices: Any, indptr: Any, x: Any, y: Any, zero: Any, first: int
) -> None:
    ends, out = indptr[first : first + _ROWS + 1], y[first : first + _ROWS]
    for i in range(out.size):
        total = zero
        for k in range(ends[i], ends[i + 1]):
            total += np.conj(data[order[k]]) * x[indices[k]]
        out[i] = total


@jit
def _ordered(data: Any, order: Any, indices: Any, indptr: Any, x: Any, y: Any, zero: Any) -> None:
    step = 0 if data.shape[0] == 1 else 1
    for b in range(x.shape[0]):
        for first in range(0, y.shape[1], _ROWS):
            _rows_ordered(data[b * step], order, indices, indptr, x[b], y[b], zero, first)


@jit_parallel
def _ordered_parallel(
    data: Any, order: Any, indices: Any, indptr: Any, x: Any, y: Any, zero: Any
) -> None:
    step = 0 if data.shape[0] == 1 else 1
    pieces = (y.shape[1] + _ROWS - 1) // _ROWS
    for i in prange(x.shape[0] * pieces):
        b, first = i // pieces, (i % pieces) * _ROWS
        _rows_ordered(data[b * step], order, indices, indptr, x[b], y[b], zero, first)


@njit(nogil=True, cache=True)
def factor_ic0(data: Any, indices: Any, indptr: Any) -> bool:
    """Incomplete Cholesky in the pattern of a lower triangle, in place; False at a bad pivot.

    Rows are sorted, the diagonal entry last. L L^H equals A on the pattern (Saad 2003, 10.3.5).
    """
    n = indptr.size - 1
    for i in range(n):
        last = indptr[i + 1] - 1
        for k in range(indptr[i], last + 1):
            j = indices[k]
            total = data[k]
            p, q = indptr[i], indptr[j]
            q_end = indptr[j + 1] - 1
            while p < k and q < q_end:  # rows i and j of L, columns before j
                if indices[p] == indices[q]:
                    total -= data[p] * np.conj(data[q])
                    p += 1
                    q += 1
                elif indices[p] < indices[q]:
                    p += 1
                else:
                    q += 1
            if k < last:
                data[k] = total / np.conj(data[q_end])
            else:
                pivot = total.real
                if not (pivot > 0 and np.isfinite(pivot)):
                    return False
                data[k] = np.sqrt(pivot)
    return True


@njit(nogil=True, cache=True)
def factor_ilu0(data: Any, indices: Any, indptr: Any, diagonal: Any) -> bool:
    """Incomplete LU in the pattern of A, in place, L with unit diagonal (Saad 2003, 10.4).

    `diagonal` holds the place of each diagonal entry. False at a zero pivot.
    """
    n = indptr.size - 1
    place = np.full(n, -1, dtype=np.int64)
    for i in range(n):
        for k in range(indptr[i], indptr[i + 1]):
            place[indices[k]] = k
        for k in range(indptr[i], diagonal[i]):
            j = indices[k]
            data[k] /= data[diagonal[j]]
            for q in range(diagonal[j] + 1, indptr[j + 1]):
                p = place[indices[q]]
                if p >= 0:
                    data[p] -= data[k] * data[q]
        for k in range(indptr[i], indptr[i + 1]):
            place[indices[k]] = -1
        if not abs(data[diagonal[i]]) > 0:
            return False
    return True


@njit(nogil=True, cache=True)
def solve_lower(data: Any, indices: Any, indptr: Any, x: Any) -> None:
    """x <- L^-1 x for x (B, n); rows of L sorted, the diagonal entry last."""
    for b in range(x.shape[0]):
        for i in range(indptr.size - 1):
            last = indptr[i + 1] - 1
            total = x[b, i]
            for k in range(indptr[i], last):
                total -= data[k] * x[b, indices[k]]
            x[b, i] = total / data[last]


@njit(nogil=True, cache=True)
def solve_lower_adjoint(data: Any, indices: Any, indptr: Any, x: Any) -> None:
    """x <- L^-H x for x (B, n), column by column of L^H."""
    for b in range(x.shape[0]):
        for i in range(indptr.size - 2, -1, -1):
            last = indptr[i + 1] - 1
            value = x[b, i] / np.conj(data[last])
            x[b, i] = value
            for k in range(indptr[i], last):
                x[b, indices[k]] -= np.conj(data[k]) * value
