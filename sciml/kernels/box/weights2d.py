"""Interpolation at the edge points of a two-dimensional nine-point level.

The sums of an edge point's links to either side, as on a five-point level, say that a point next
to it has the value of the coarse point beside that one. At the staircases of a jump in k it has
not: the sums then tie coarse points of two pieces of high k to each other, as strongly as k is
high, and a few eigenvalues of M A near 1e-4 are left for each level. Here a link counts as much for
a coarse point as its other end is interpolated from that point. To another edge point: times that
point's own weight. To a centre: times the centre's link to the coarse point over the sum of its
links, which is what eliminating the centre leaves. So each weight depends on its neighbours': they
are found by sweeps, columns from rows and rows from columns, from the weights that the direct links
alone would give. Where k is smooth the sums do as well, or better by an iteration.

Links below 0 count as 0. See `cycle2d` for the layout.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from .._compile import borrow, jit, jit_inner, jit_parallel
from .cycle2d import copy

__all__ = [
    "JUMPS",
    "SMOOTH",
    "column_ends",
    "edges",
    "edges_parallel",
    "row_at",
    "row_ends",
]

_DIRECT, _COLUMNS, _ROWS, _SUMS = 0, 1, 2, 3
# One more sweep no longer changes the iterations; one less leaves outliers.
JUMPS = (_DIRECT, _COLUMNS, _ROWS, _COLUMNS, _ROWS)
# Where k is smooth: the sums, in one pass.
SMOOTH = (_SUMS,)


@jit_inner
def row_at(i, rows, ring):
    """Where row i of the level is among the links; what is beyond the halo is an empty row."""
    if ring:
        return i % rows + 1
    return i + 1 if -1 <= i <= rows else rows + 1


@jit_inner
def _weigh(out, a, b, m):
    """out = a / (a + b), a half where both vanish."""
    for t in range(m):
        s = a[t] + b[t]
        out[t] = a[t] / s if s > 0 else 0.5


@jit_inner
def _sum(out, a, b, c, m):
    for t in range(m):
        out[t] = a[t] + (b[t] + c[t])


@jit_inner
def _positive(out, a, m):
    for t in range(m):
        out[t] = np.maximum(a[t], 0)


@jit_inner
def _rest(out, a, m):
    for t in range(m):
        out[t] = 1 - a[t]


@jit_inner
def _shares(out, E, S_top, S, D_top, U_top, D, U, B, m):
    """1 / the sum of the links of each centre in an odd row; 0 where there are none."""
    w, e, n, s = E[0], E[1], S_top[1], S[1]
    nw, ne, sw, se = D_top[0], U_top[0, B:], U[1], D[1]
    zero = w.dtype.type(0)
    for t in range(m + B):
        a = (max(w[t], zero) + max(e[t], zero)) + (max(n[t], zero) + max(s[t], zero))
        b = (max(nw[t], zero) + max(ne[t], zero)) + (max(sw[t], zero) + max(se[t], zero))
        x = np.float64(a) + b
        out[t] = 1 / x if x > 0 else 0.0


@jit_inner
def _pull(out, direct, near, n, far, f, c_near, p, s, c_far, q, r, m):
    """out = how strongly a coarse point pulls at each edge point beside it.

    direct: its link. near, far: links to the two edge points between, whose weights for it are n
    and f. c_near, c_far: links to the two centres, which are linked to it by p and q and have the
    reciprocal sums s and r.
    """
    zero = direct.dtype.type(0)
    for t in range(m):
        x = np.float64(max(direct[t], zero))
        x += max(near[t], zero) * n[t] + max(far[t], zero) * f[t]
        x += max(c_near[t], zero) * (max(p[t], zero) * s[t])
        x += max(c_far[t], zero) * (max(q[t], zero) * r[t])
        out[t] = x


@jit_inner
def row_ends(h, B, m, ghost, ring):
    """The weights of edges in a row where there is no point: in its halo, and past its end."""
    if ring:
        copy(h, h[m:], B)
    else:
        h[:B] = 1
        if ghost:
            h[m : m + B] = 0


@jit_inner
def column_ends(v, B, m, ring):
    """The halo of the weights of edges in columns."""
    if ring:
        copy(v, v[m:], B)
        copy(v[m + B :], v[B:], B)
    else:
        v[:B], v[m + B :] = 0.5, 0.5


@jit
def edges(first, last, which, links, weights, rings, n1, lanes):
    """One pass over the weights of coarse rows first..last; each reads what the last one wrote.

    Args:
        links: (4, rows + 2, 2, W), with halos. n1: columns.
        weights: (2, coarse rows + 1, W), written: of the edges in rows, of those in columns.
    """
    links, weights = borrow(links), borrow(weights)
    B, W, rows = lanes, weights.shape[2], links.shape[1] - 2
    m, ghost, ring0, ring1 = W - 2 * B, n1 % 2 == 1, rings[0], rings[1]
    E, S, D, U = links[0], links[1], links[2], links[3]
    coarse = weights.shape[1] - 1
    here, there, a, b = np.zeros(W), np.zeros(W), np.zeros(W), np.zeros(W)
    x, y, left, right = np.zeros(W), np.zeros(W), np.zeros(W), np.zeros(W)
    for k in range(first, last):
        # rows 2k - 2, ..., 2k + 1 of the links
        over, up = row_at(2 * k - 2, rows, ring0), row_at(2 * k - 1, rows, ring0)
        top, mid = row_at(2 * k, rows, ring0), row_at(2 * k + 1, rows, ring0)
        h, v = weights[0, k + 1], weights[1, k + 1]
        if which == _SUMS:
            _sum(a, E[top, 0], D[up, 0], U[top, 1], m + B)
            _sum(b, E[top, 1], U[up, 0, B:], D[top, 1], m + B)
            _weigh(h, a, b, m + B)
            row_ends(h, B, m, ghost, ring1)
            _sum(a, S[top, 0, B:], D[top, 1], U[top, 1, B:], m)
            _sum(b, S[mid, 0, B:], U[mid, 0, B:], D[mid, 0, B:], m)
            _weigh(v[B:], a, b, m)
            column_ends(v, B, m, ring1)
            if 2 * k + 1 >= rows:
                v[:] = 0
            continue
        if which == _DIRECT:
            _positive(a, E[top, 0], m + B)
            _positive(b, E[top, 1], m + B)
            _weigh(h, a, b, m + B)
            row_ends(h, B, m, ghost, ring1)
            continue
        _shares(y, E[mid], S[top], S[mid], D[top], U[top], D[mid], U[mid], B, m)
        if which == _COLUMNS:
            if 2 * k + 1 >= rows:
                v[:] = 0
                continue
            copy(here, h, W)
            there[:] = 0.5
            if k + 1 < coarse or ring0:
                copy(there, weights[0, (k + 1) % coarse + 1], W)
            _rest(left, here, W)
            _rest(right, there, W)
            w, e = E[mid, 1], E[mid, 0, B:]
            _pull(
                a, S[top, 0, B:], D[top, 1], left, U[top, 1, B:], here[B:],
                w, U[top, 0, B:], y, e, D[top, 0, B:], y[B:], m,
            )  # fmt: skip
            _pull(
                b, S[mid, 0, B:], U[mid, 0, B:], right, D[mid, 0, B:], there[B:],
                w, D[mid, 1], y, e, U[mid, 1, B:], y[B:], m,
            )  # fmt: skip
            _weigh(v[B:], a, b, m)
            column_ends(v, B, m, ring1)
            continue
        _shares(x, E[up], S[over], S[up], D[over], U[over], D[up], U[up], B, m)
        here[:] = 0  # a row outside pulls nowhere
        if k > 0 or ring0:
            _rest(here, weights[1, k if k > 0 else coarse], W)
        copy(there, v, W)
        n, s = S[up, 1], S[top, 1]
        _pull(
            a, E[top, 0], D[up, 0], here, U[top, 1], there,
            n, U[up, 1], x, s, D[top, 0], y, m + B,
        )  # fmt: skip
        _pull(
            b, E[top, 1], U[up, 0, B:], here[B:], D[top, 1], there[B:],
            n, D[up, 1], x, s, U[top, 0, B:], y, m + B,
        )  # fmt: skip
        _weigh(h, a, b, m + B)
        row_ends(h, B, m, ghost, ring1)


@jit_parallel
def edges_parallel(chunks, which, links, weights, rings, n1, lanes):
    n = weights.shape[1] - 1
    for t in prange(chunks):
        first, last = t * n // chunks, (t + 1) * n // chunks
        edges(first, last, which, links, weights, rings, n1, lanes)
