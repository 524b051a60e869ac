"""A second visit to a three-dimensional level, for W- and F-cycles; layout as in `cycle3d`."""

from __future__ import annotations

import numpy as np
from numba import prange

from .._compile import borrow, jit, jit_inner, jit_parallel
from .cycle2d import load, store, wrap_even, wrap_odd
from .relax3d import directions_of, row_of

__all__ = ["residual", "residual_parallel"]


@jit_inner
def _ends(i, n, padded):
    """The points whose mean the point i is: itself, or the two around one that closes a ring."""
    return (i, i) if i < n else (i - 1, (i + 1) % padded)


@jit_inner
def _split_plane(x, i, f, row, padded, rings, B, m):
    """Plane i of the natural array x with halos; zeros outside. Points that were added to close a
    ring take the mean of their two neighbours, which leaves no residual at them."""
    if rings[0]:
        i = i % padded
    elif not 0 <= i < x.shape[0]:
        f[:] = 0
        return
    a, b = _ends(i, x.shape[0], padded)
    for j in range(f.shape[0]):
        c, d = _ends(j, x.shape[1], f.shape[0])
        p, q, r, s = x[a, c], x[b, c], x[a, d], x[b, d]
        for t in range(row.size):
            row[t] = ((p[t] + q[t]) + (r[t] + s[t])) / 4
        load(row, f[j], B, f.dtype.type(1))
        if rings[2]:
            if row.size // B % 2:
                even, odd = f[j, 0, B:], f[j, 1, B:]
                for t in range(B):
                    odd[m - B + t] = (even[m - B + t] + even[t]) / 2
            wrap_even(f[j], B, m)
            wrap_odd(f[j], B, m)


@jit_inner
def _flux(out, own, a, x, b, y, m):
    for t in range(m):
        out[t] += a[t] * (x[t] - own[t]) + b[t] * (y[t] - own[t])


@jit_inner
def _flux_row(out, above, here, below, links, i, j, p, rings, zero, B, m):
    """out += Σ links (neighbour − own) for the points of parity p in row (i, j). As differences:
    sums over strongly coupled points then lose nothing to rounding, which float32 needs."""
    directions, own = directions_of(links), here[j, p, B:]
    for s in range(links.shape[0]):
        a, b, c = directions[s, 0], directions[s, 1], directions[s, 2]
        x = row_of(below if a else here, j + b, rings[1], zero)
        y = row_of(above if a else here, j - b, rings[1], zero)
        q, o = p + c, p - c
        at, back = (1 + (q >> 1)) * B, (1 + (o >> 1)) * B
        opposite = links[s, i + 1 - a, j + 1 - b, o & 1, back:]
        forth = links[s, i + 1, j + 1, p, B:]
        _flux(out, own, forth, x[q & 1, at:], opposite, y[o & 1, back:], m)


@jit
def residual(first, last, f, z, kept, links, mass, rings, lanes):
    """f <- f − A z and kept <- z in planes first..last, all natural, for a second visit."""
    f, z, kept, links, mass = (borrow(f), borrow(z), borrow(kept), borrow(links), borrow(mass))
    B, m, one = lanes, links.shape[4] - 2 * lanes, f.dtype.type(1)
    padded, rows = links.shape[1] - 2, links.shape[2] - 2
    scratch = np.zeros((3, rows, 2, links.shape[4]), links.dtype)
    out = np.zeros((2, links.shape[4]), links.dtype)
    zero, row = np.zeros_like(out), np.zeros(z.shape[2], links.dtype)
    before, here, after = scratch[0], scratch[1], scratch[2]
    _split_plane(z, first - 1, before, row, padded, rings, B, m)
    _split_plane(z, first, here, row, padded, rings, B, m)
    for i in range(first, last):
        _split_plane(z, i + 1, after, row, padded, rings, B, m)
        for j in range(f.shape[1]):
            load(f[i, j], out, B, one)
            for p in range(2):
                _flux_row(out[p, B:], before, here, after, links, i, j, p, rings, zero, B, m)
                if mass.size:
                    o, x, s = out[p], here[j, p], mass[i, j, p]
                    for t in range(B, m + B):
                        o[t] -= s[t] * x[t]
            store(out, f[i, j], B, one)
        kept[i] = z[i]
        before, here, after = here, after, before


@jit_parallel
def residual_parallel(chunks, f, z, kept, links, mass, rings, lanes):
    n = f.shape[0]
    for t in prange(chunks):
        residual(t * n // chunks, (t + 1) * n // chunks, f, z, kept, links, mass, rings, lanes)
