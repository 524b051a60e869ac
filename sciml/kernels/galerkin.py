"""Products of sparse matrices, the Galerkin product R A P, and the scaling of what it gives.

Matrices come as (indptr, indices, data) of a CSR form, indices of int32. Each row is summed alone
and in a fixed order, so no result depends on the number of threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from ..arrays import real_dtype
from ._compile import jit, jit_parallel
from ._threads import launch
from .sparse import unsigned

__all__ = [
    "diagonal",
    "galerkin",
    "galerkin_values",
    "product",
    "row_bounds",
    "scaled",
    "transposed",
]

_Csr = tuple[np.ndarray, np.ndarray, np.ndarray]


def product(A: _Csr, B: _Csr, columns: int) -> _Csr:
    """A B, whose rows are not sorted (Gustavson, ACM Trans. Math. Software 4, 1978).

    Args:
        columns: of B.

    Raises:
        ValueError: the product has 2^31 entries or more.
    """
    counts = np.zeros(A[0].size, np.int64)
    args = [unsigned(part) for M in (A, B) for part in M[:2]]
    launch(_count, _count_parallel, args[1].size, (*args, columns, counts))
    total = np.cumsum(counts)
    if total[-1] >= 1 << 31:
        raise ValueError(
            f"expected fewer than 2^31 entries in a product of matrices, got {total[-1]}"
        )
    indptr = total.astype(np.int32)
    indices, data = np.empty(indptr[-1], np.int32), np.empty(indptr[-1], A[2].dtype)
    args = [part for M in (A, B) for part in (unsigned(M[0]), unsigned(M[1]), M[2])]
    rest = (columns, unsigned(indptr), indices, data)
    launch(_multiply, _multiply_parallel, args[1].size, (*args, *rest))
    return indptr, indices, data


def galerkin(R: _Csr, A: _Csr, P: _Csr) -> _Csr:
    """R A P; R has as many rows as P has columns."""
    return product(R, product(A, P, R[0].size - 1), R[0].size - 1)


def galerkin_values(
    R: _Csr, A: _Csr, P: _Csr, pattern: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """The data of R A P, bit by bit, in the (indptr, indices) that `galerkin` found."""
    data = np.zeros(pattern[1].size, A[2].dtype)
    matrices = (R, product(A, P, R[0].size - 1))
    args = [part for M in matrices for part in (unsigned(M[0]), unsigned(M[1]), M[2])]
    launch(_refill, _refill_parallel, args[1].size, (*args, *map(unsigned, pattern), data))
    return data


def transposed(indptr: np.ndarray, indices: np.ndarray, data: np.ndarray, columns: int) -> _Csr:
    """(indptr, indices, data) of the conjugate transpose of a matrix with that many columns."""
    ends, rows = np.zeros(columns + 1, np.int32), np.empty(indices.size, np.int32)
    entries = np.empty_like(data)
    _transpose(indptr, indices, data, ends, rows, entries)
    return ends, rows, entries


def diagonal(A: _Csr) -> np.ndarray:
    """The real parts of the diagonal; 0 where no entry is stored."""
    out = np.zeros(A[0].size - 1, real_dtype(A[2].dtype))
    _diagonal(unsigned(A[0]), A[1], A[2], out)
    return out


def row_bounds(A: _Csr, root: np.ndarray) -> np.ndarray:
    """l_i = sum_j |a_ij| (a_ii / a_jj)^1/2, with which diag(l) - A is positive semidefinite.

    Args:
        root: a_ii^1/2, or 0 for the rows and columns to leave out.
    """
    inverse = np.divide(1, root, out=np.zeros_like(root), where=root > 0)
    out = np.empty_like(root)
    _row_bounds(unsigned(A[0]), unsigned(A[1]), A[2], root, inverse, out)
    return out


def scaled(
    A: _Csr, rows: np.ndarray, columns: np.ndarray, out: np.ndarray, *, from_identity: bool
) -> None:
    """out = the data of diag(rows) A diag(columns), or of I minus it, in the dtype of `out`."""
    _scaled(unsigned(A[0]), unsigned(A[1]), A[2], rows, columns, out, from_identity)


@jit
def _count(t: int, pieces: int, a_ptr: Any, a_ind: Any, b_ptr: Any, b_ind: Any, columns: int,
           counts: Any) -> None:  # fmt: skip
    n = a_ptr.size - 1
    seen = np.full(columns, -1, np.int32)
    for i in range(t * n // pieces, (t + 1) * n // pieces):
        found = 0
        for x in range(a_ptr[i], a_ptr[i + 1]):
            j = a_ind[x]
            for y in range(b_ptr[j], b_ptr[j + 1]):
                if seen[b_ind[y]] != i:
                    seen[b_ind[y]] = i
                    found += 1
        counts[i + 1] = found


@jit_parallel
def _count_parallel(pieces: int, a_ptr: Any, a_ind: Any, b_ptr: Any, b_ind: Any, columns: int,
                    counts: Any) -> None:  # fmt: skip
    for t in prange(pieces):
        _count(t, pieces, a_ptr, a_ind, b_ptr, b_ind, columns, counts)


@jit
def _multiply(t: int, pieces: int, a_ptr: Any, a_ind: Any, a: Any, b_ptr: Any, b_ind: Any, b: Any,
              columns: int, indptr: Any, indices: Any, data: Any) -> None:  # fmt: skip
    n = a_ptr.size - 1
    place = np.full(columns, -1, np.int64)  # of a column's entry in the current row
    for i in range(t * n // pieces, (t + 1) * n // pieces):
        start = end = np.int64(indptr[i])
        for x in range(a_ptr[i], a_ptr[i + 1]):
            j, weight = a_ind[x], a[x]
            for y in range(b_ptr[j], b_ptr[j + 1]):
                at = place[b_ind[y]]
                if at >= start:
                    data[at] += weight * b[y]
                else:
                    place[b_ind[y]] = end
                    indices[end] = b_ind[y]
                    data[end] = weight * b[y]
                    end += 1


@jit_parallel
def _multiply_parallel(pieces: int, a_ptr: Any, a_ind: Any, a: Any, b_ptr: Any, b_ind: Any, b: Any,
                       columns: int, indptr: Any, indices: Any, data: Any) -> None:  # fmt: skip
    for t in prange(pieces):
        _multiply(t, pieces, a_ptr, a_ind, a, b_ptr, b_ind, b, columns, indptr, indices, data)


@jit
def _refill(t: int, pieces: int, a_ptr: Any, a_ind: Any, a: Any, b_ptr: Any, b_ind: Any, b: Any,
            indptr: Any, indices: Any, data: Any) -> None:  # fmt: skip
    n = a_ptr.size - 1
    place = np.empty(n, np.uint32)  # R A P has as many columns as rows
    for i in range(t * n // pieces, (t + 1) * n // pieces):
        for k in range(indptr[i], indptr[i + 1]):
            place[indices[k]] = k
        for x in range(a_ptr[i], a_ptr[i + 1]):
            j, weight = a_ind[x], a[x]
            for y in range(b_ptr[j], b_ptr[j + 1]):
                data[place[b_ind[y]]] += weight * b[y]


@jit_parallel
def _refill_parallel(pieces: int, a_ptr: Any, a_ind: Any, a: Any, b_ptr: Any, b_ind: Any, b: Any,
                     indptr: Any, indices: Any, data: Any) -> None:  # fmt: skip
    for t in prange(pieces):
        _refill(t, pieces, a_ptr, a_ind, a, b_ptr, b_ind, b, indptr, indices, data)


@jit
def _transpose(indptr: Any, indices: Any, data: Any, ends: Any, rows: Any, entries: Any) -> None:
    for k in range(indices.size):
        ends[indices[k] + 1] += 1
    for j in range(ends.size - 1):
        ends[j + 1] += ends[j]
    at = ends[:-1].copy()
    for i in range(indptr.size - 1):
        for k in range(indptr[i], indptr[i + 1]):
            j = indices[k]
            rows[at[j]] = i
            entries[at[j]] = np.conj(data[k])
            at[j] += 1


@jit
def _row_bounds(indptr: Any, indices: Any, data: Any, root: Any, inverse: Any, out: Any) -> None:
    for i in range(root.size):
        total = out.dtype.type(0)
        for k in range(indptr[i], indptr[i + 1]):
            total += abs(data[k]) * inverse[indices[k]]
        out[i] = root[i] * total


@jit
def _diagonal(indptr: Any, indices: Any, data: Any, out: Any) -> None:
    for i in range(out.size):
        for k in range(indptr[i], indptr[i + 1]):
            if indices[k] == i:
                out[i] = data[k].real


@jit
def _scaled(indptr: Any, indices: Any, data: Any, rows: Any, columns: Any, out: Any,
            from_identity: bool) -> None:  # fmt: skip
    for i in range(rows.size):
        for k in range(indptr[i], indptr[i + 1]):
            value = rows[i] * data[k] * columns[indices[k]]
            if from_identity:
                value = (1 if indices[k] == i else 0) - value
            out[k] = value
