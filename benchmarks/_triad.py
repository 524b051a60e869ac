"""A STREAM triad on all threads: the speed of the memory."""

from __future__ import annotations

import numba

__all__ = ["triad"]


@numba.njit(parallel=True, fastmath={"contract"})
def triad(a, b, c, s):
    """a = b + s c, one-dimensional arrays of one dtype."""
    for i in numba.prange(a.size):
        a[i] = b[i] + s * c[i]
