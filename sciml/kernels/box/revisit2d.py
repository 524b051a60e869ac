"""A second visit to a two-dimensional level, for W- and F-cycles; see `cycle2d` for the layout."""

from __future__ import annotations

import numpy as np
from numba import prange

from .._compile import borrow, jit, jit_inner, jit_parallel
from .cycle2d import load, store, wrap_even, wrap_odd

__all__ = ["add", "residual", "residual_parallel"]


@jit_inner
def _flux(out, f, x, w, xw, e, xe, n, xn, s, xs, nw, xnw, ne, xne, sw, xsw, se, xse, m):
    for t in range(m):
        y = x[t]
        a = n[t] * (xn[t] - y) + s[t] * (xs[t] - y)
        b = w[t] * (xw[t] - y) + e[t] * (xe[t] - y)
        c = nw[t] * (xnw[t] - y) + se[t] * (xse[t] - y)
        d = sw[t] * (xsw[t] - y) + ne[t] * (xne[t] - y)
        out[t] = f[t] + ((a + b) + (c + d))


@jit_inner
def _flux_rows(out, f, x, n, s, links, i, B, m):
    """out = f + Σ links (neighbour − x) in row i. As differences: sums over strongly coupled points
    then lose nothing to rounding, however strong the coupling, which float32 needs."""
    E, S, N = links[0, i + 1], links[1, i + 1], links[1, i]
    D, U, Dn, Un = links[2, i + 1], links[3, i + 1], links[2, i], links[3, i]
    e, o = x[0], x[1]
    xn, xs, no, so = n[0, B:], s[0, B:], n[1], s[1]
    w, r = E[1], E[0, B:]
    nw, ne, sw, se = Dn[1], Un[1, B:], U[0, B:], D[0, B:]
    _flux(
        out[0, B:], f[0, B:], e[B:], w, o, r, o[B:], N[0, B:], xn, S[0, B:], xs,
        nw, no, ne, no[B:], sw, so, se, so[B:], m,
    )  # fmt: skip
    xn, xs, ns, ss = n[1, B:], s[1, B:], n[0, B:], s[0, B:]
    w, r = E[0, B:], E[1, B:]
    nw, ne, sw, se = Dn[0, B:], Un[0, 2 * B :], U[1, B:], D[1, B:]
    _flux(
        out[1, B:], f[1, B:], o[B:], w, e[B:], r, e[2 * B :], N[1, B:], xn, S[1, B:], xs,
        nw, ns, ne, ns[B:], sw, ss, se, ss[B:], m,
    )  # fmt: skip


@jit_inner
def _split_row(x, i, rows, f, rings, B, m):
    """Row i of the natural array x with halos; zeros outside. Points that were added to close a
    ring take the mean of their two neighbours, which leaves no residual at them."""
    one = f.dtype.type(1)
    if rings[0]:
        i = (i + rows) % rows
    if 0 <= i < x.shape[0]:
        load(x[i], f, B, one)
    elif rings[0]:
        load(x[i - 1], f, B, one)
        _mean(x[0], f, B)
    else:
        f[:] = 0
        return
    if rings[1]:
        if x.shape[1] // B % 2:
            even, odd = f[0, B:], f[1, B:]
            for t in range(B):
                odd[m - B + t] = (even[m - B + t] + even[t]) / 2
        wrap_even(f, B, m)
        wrap_odd(f, B, m)


@jit_inner
def _mean(x, f, B):
    """f <- (f + x) / 2, x a natural row."""
    half = f.dtype.type(0.5)
    even, odd = f[0, B:], f[1, B:]
    for j in range(x.size // B):
        part, at = (odd if j % 2 else even), j // 2 * B
        for t in range(B):
            part[at + t] = half * (part[at + t] + x[j * B + t])


@jit
def residual(first, last, f, z, kept, links, mass, rings, lanes):
    """f <- f − A z and kept <- z in rows first..last, all natural, for a second visit."""
    f, z, kept, links, mass = borrow(f), borrow(z), borrow(kept), borrow(links), borrow(mass)
    B, m, rows = lanes, links.shape[3] - 2 * lanes, links.shape[1] - 2
    scratch = np.zeros((5, 2, links.shape[3]), links.dtype)
    before, here, after, rest, out = scratch[0], scratch[1], scratch[2], scratch[3], scratch[4]
    _split_row(z, first - 1, rows, before, rings, B, m)
    _split_row(z, first, rows, here, rings, B, m)
    for i in range(first, last):
        _split_row(z, i + 1, rows, after, rings, B, m)
        load(f[i], rest, B, f.dtype.type(1))
        _flux_rows(out, rest, here, before, after, links, i, B, m)
        if mass.size:
            for p in range(2):
                o, x, s = out[p], here[p], mass[i, p]
                for t in range(B, m + B):
                    o[t] -= s[t] * x[t]
        store(out, f[i], B, f.dtype.type(1))
        kept[i] = z[i]
        before, here, after = here, after, before


@jit_parallel
def residual_parallel(chunks, f, z, kept, links, mass, rings, lanes):
    n = f.shape[0]
    for t in prange(chunks):
        residual(t * n // chunks, (t + 1) * n // chunks, f, z, kept, links, mass, rings, lanes)


@jit_inner
def add(z, kept):
    """z <- z + kept."""
    z, kept = borrow(z), borrow(kept)
    for i in range(z.shape[0]):
        a, b = z[i], kept[i]
        for t in range(a.size):
            a[t] += b[t]
