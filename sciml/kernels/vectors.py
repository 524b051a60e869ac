"""Fused vector updates for the CPU: each array is read once and written once.

Complex arrays come as views of twice as many real numbers, which a real factor allows. Sums run in
fixed chunks, so the result does not depend on the number of threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from .._memory import empty
from ._compile import jit, jit_inner, jit_parallel
from ._sums import inner
from ._threads import parallel_section, threads

__all__ = ["add_scaled", "descend", "load"]

_CHUNK = 8192
_NEAR = 512  # entries summed while they are still in the nearest cache


def descend(
    x: np.ndarray, r: np.ndarray, p: np.ndarray, q: np.ndarray, alpha: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(x + alpha p, r - alpha q, ||r - alpha q||^2) for real (B, n) arrays and alpha (B,)."""
    x_new, r_new = empty(x.shape, x.dtype), empty(r.shape, r.dtype)
    sums = np.empty((x.shape[0], -(-x.shape[1] // _CHUNK)), x.dtype)
    _launch(_descend, _descend_parallel, x.size, (x, r, p, q, alpha, x_new, r_new, sums))
    return x_new, r_new, sums.sum(axis=1)


def add_scaled(z: np.ndarray, beta: np.ndarray, p: np.ndarray) -> np.ndarray:
    """z + beta p for real (B, n) arrays and beta (B,)."""
    out = empty(z.shape, z.dtype)
    _launch(_add_scaled, _add_scaled_parallel, z.size, (z, beta, p, out))
    return out


def load(dtype: np.dtype) -> None:
    """Compile or load the kernels for this real dtype, serial and parallel."""
    rows, one = np.zeros((1, 1), dtype), np.zeros(1, dtype)
    args = (rows, rows, rows, rows, one, rows.copy(), rows.copy(), rows.copy())
    _descend(*args)
    _add_scaled(rows, one, rows, rows.copy())
    with parallel_section():
        _descend_parallel(*args)
        _add_scaled_parallel(rows, one, rows, rows.copy())


def _launch(serial: Any, parallel: Any, work: int, args: tuple[Any, ...]) -> None:
    if threads(work) == 1:
        serial(*args)
    else:
        with parallel_section():
            parallel(*args)


@jit_inner
def _descend_chunk(
    x: Any, r: Any, p: Any, q: Any, alpha: Any, x_new: Any, r_new: Any, sums: Any, i: int
) -> None:
    b, c = i // sums.shape[1], i % sums.shape[1]
    a, first = alpha[b], c * _CHUNK
    last = min(first + _CHUNK, x.shape[1])
    total = zero = sums.dtype.type(0)
    for start in range(first, last, _NEAR):
        stop = min(start + _NEAR, last)
        for j in range(start, stop):
            x_new[b, j] = x[b, j] + a * p[b, j]
            r_new[b, j] = r[b, j] - a * q[b, j]
        row = r_new[b, start:stop]
        total += inner(row, row, zero)
    sums[b, c] = total


@jit
def _descend(x: Any, r: Any, p: Any, q: Any, alpha: Any, x_new: Any, r_new: Any, sums: Any) -> None:
    for i in range(sums.size):
        _descend_chunk(x, r, p, q, alpha, x_new, r_new, sums, i)


@jit_parallel
def _descend_parallel(
    x: Any, r: Any, p: Any, q: Any, alpha: Any, x_new: Any, r_new: Any, sums: Any
) -> None:
    for i in prange(sums.size):
        _descend_chunk(x, r, p, q, alpha, x_new, r_new, sums, i)


@jit_inner
def _add_scaled_chunk(z: Any, beta: Any, p: Any, out: Any, i: int, chunks: int) -> None:
    b, first = i // chunks, (i % chunks) * _CHUNK
    for j in range(first, min(first + _CHUNK, z.shape[1])):
        out[b, j] = z[b, j] + beta[b] * p[b, j]


@jit
def _add_scaled(z: Any, beta: Any, p: Any, out: Any) -> None:
    chunks = (z.shape[1] + _CHUNK - 1) // _CHUNK
    for i in range(z.shape[0] * chunks):
        _add_scaled_chunk(z, beta, p, out, i, chunks)


@jit_parallel
def _add_scaled_parallel(z: Any, beta: Any, p: Any, out: Any) -> None:
    chunks = (z.shape[1] + _CHUNK - 1) // _CHUNK
    for i in prange(z.shape[0] * chunks):
        _add_scaled_chunk(z, beta, p, out, i, chunks)
