"""Many tridiagonal systems side by side: (T + diag(mu_j)) y_j = x_j, one for each column j.

T is the second difference: 2 on the diagonal, −1 beside it, and at the two ends 1 + low and
1 + high. A periodic T has −1 in its corners too.

Gaussian elimination of columns in blocks that stay in the cache. Pivots are 1 + s with
s_i = mu + s_{i−1} / (1 + s_{i−1}): nothing is subtracted, so that they are exact to rounding
however small mu is. Sums run in float64, whatever the columns are stored in.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ._compile import borrow, jit, jit_inner
from ._threads import in_threads

__all__ = ["solve_columns"]

_COLUMNS = 32  # in a block: a few vector registers, and whole cache lines


def solve_columns(
    x: np.ndarray, mu: np.ndarray, ends: tuple[int, int] | None, scale: np.ndarray
) -> None:
    """x[b, :, j] <- scale[b] (T + mu[j])^-1 x[b, :, j] in place; a singular column becomes NaN.

    Args:
        x: (B, n, m) float32 or float64, C-contiguous; n >= 2 where T is periodic.
        mu: (m,) float64, >= 0.
        ends: (low, high), 0 for a Neumann end, 1 for a node held beyond it, 2 for a face held on
            it; None for a periodic T.
        scale: (B,) float64.
    """
    low, high = (1.0, 1.0) if ends is None else (float(ends[0]), float(ends[1]))
    blocks = x.shape[0] * (-(-x.shape[2] // _COLUMNS))
    if blocks:
        in_threads(_solve, blocks, x.size, (x, mu, low, high, ends is None, scale))


@jit
def _solve(start: Any, stop: Any, x: Any, mu: Any, low: Any, high: Any, ring: Any, scale: Any):
    """Blocks start..stop, counted through the whole batch."""
    n, m = x.shape[1], x.shape[2]
    work = np.empty((3 if ring else 2, n, _COLUMNS))
    rows = np.empty((4, _COLUMNS))
    across = (m + _COLUMNS - 1) // _COLUMNS
    for k in range(start, stop):
        b, first = k // across, (k % across) * _COLUMNS
        last = min(first + _COLUMNS, m)
        if ring:
            _block_ring(x[b], mu, first, last, work, rows, scale[b])
        else:
            _block(x[b], mu, first, last, low, high, work, rows, scale[b])


@jit_inner
def _block(
    x: Any, mu: Any, first: Any, last: Any, low: Any, high: Any, work: Any, rows: Any, scale: Any
):
    x, mu, work, rows = borrow(x), borrow(mu), borrow(work), borrow(rows)
    n, width, m = x.shape[0], last - first, mu[first:last]
    inverse, partial, t, z = work[0], work[1], rows[0], rows[1]
    t[:] = low
    z[:] = 0
    for i in range(n - 1):
        xi, pi, zi = x[i, first:last], inverse[i], partial[i]
        for j in range(width):
            s = m[j] + t[j]
            p = 1 / (1 + s)
            v = (xi[j] + z[j]) * p
            t[j], z[j], pi[j], zi[j] = s * p, v, p, v
    xi = x[n - 1, first:last]
    for j in range(width):
        z[j] = (xi[j] + z[j]) / (m[j] + t[j] + high)
        xi[j] = scale * z[j]
    for i in range(n - 2, -1, -1):
        xi, pi, zi = x[i, first:last], inverse[i], partial[i]
        for j in range(width):
            z[j] = zi[j] + pi[j] * z[j]
            xi[j] = scale * z[j]


@jit_inner
def _block_ring(x: Any, mu: Any, first: Any, last: Any, work: Any, rows: Any, scale: Any):
    """The last unknown g is solved for last: y = y' + g (1 − w), where T' has not its row,
    T' y' = x and T' w = mu; with w no sum has terms of both signs.
    """
    x, mu, work, rows = borrow(x), borrow(mu), borrow(work), borrow(rows)
    n, width, m = x.shape[0] - 1, last - first, mu[first:last]
    inverse, partial, defect = work[0], work[1], work[2]
    t, z, w, g = rows[0], rows[1], rows[2], rows[3]
    t[:] = 1
    z[:] = 0
    w[:] = 0
    for i in range(n):
        xi, pi, zi, wi = x[i, first:last], inverse[i], partial[i], defect[i]
        for j in range(width):
            s = m[j] + t[j]
            p = 1 / (1 + s)
            v, d = (xi[j] + z[j]) * p, (m[j] + w[j]) * p
            t[j], z[j], w[j] = s * p, v, d
            pi[j], zi[j], wi[j] = p, v, d
    for i in range(n - 2, -1, -1):
        pi, zi, wi = inverse[i], partial[i], defect[i]
        for j in range(width):
            z[j] = zi[j] + pi[j] * z[j]
            w[j] = wi[j] + pi[j] * w[j]
            zi[j], wi[j] = z[j], w[j]
    xi, zl, wl = x[n, first:last], partial[n - 1], defect[n - 1]
    for j in range(width):
        g[j] = (xi[j] + z[j] + zl[j]) / (m[j] + w[j] + wl[j])
        xi[j] = scale * g[j]
    for i in range(n):
        xi, zi, wi = x[i, first:last], partial[i], defect[i]
        for j in range(width):
            xi[j] = scale * (zi[j] + (1 - wi[j]) * g[j])
