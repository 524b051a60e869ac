"""Sums over a row in a fixed order: eight side by side.

They run in vector registers all the same. Left to the compiler (reassoc), the order would depend on
where the arrays happen to lie.
"""

from __future__ import annotations

from ._compile import jit_inner

__all__ = ["distance", "inner"]


@jit_inner
def inner(x, y, zero):
    """<x, y>."""
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = zero
    whole = y.size - y.size % 8
    for j in range(0, whole, 8):
        s0 += x[j] * y[j]
        s1 += x[j + 1] * y[j + 1]
        s2 += x[j + 2] * y[j + 2]
        s3 += x[j + 3] * y[j + 3]
        s4 += x[j + 4] * y[j + 4]
        s5 += x[j + 5] * y[j + 5]
        s6 += x[j + 6] * y[j + 6]
        s7 += x[j + 7] * y[j + 7]
    for j in range(whole, y.size):
        s0 += x[j] * y[j]
    return ((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7))


@jit_inner
def distance(b, y, zero):
    """Σ (b − y)²."""
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = zero
    whole = y.size - y.size % 8
    for j in range(0, whole, 8):
        s0 += (b[j] - y[j]) * (b[j] - y[j])
        s1 += (b[j + 1] - y[j + 1]) * (b[j + 1] - y[j + 1])
        s2 += (b[j + 2] - y[j + 2]) * (b[j + 2] - y[j + 2])
        s3 += (b[j + 3] - y[j + 3]) * (b[j + 3] - y[j + 3])
        s4 += (b[j + 4] - y[j + 4]) * (b[j + 4] - y[j + 4])
        s5 += (b[j + 5] - y[j + 5]) * (b[j + 5] - y[j + 5])
        s6 += (b[j + 6] - y[j + 6]) * (b[j + 6] - y[j + 6])
        s7 += (b[j + 7] - y[j + 7]) * (b[j + 7] - y[j + 7])
    for j in range(whole, y.size):
        s0 += (b[j] - y[j]) * (b[j] - y[j])
    return ((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7))
