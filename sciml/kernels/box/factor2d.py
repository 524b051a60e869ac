"""Factors of the lines of a two-dimensional level, for zebra line relaxation (`lines2d`).

A line is L D L^T with the inverse pivots p = 1 / D and l = −L, stored with k, the last row of −L,
where the line is a ring. With s the sum of a row of what is left, D = s + c for a link c to the
next point, and the next s is s c / D plus its own: nothing is subtracted, and pivots are exact to
rounding however strong the links. A line ends at points that do not exist: p = l = 0.

A single lane has its rows in groups of GROUP of one colour, interleaved as if they were lanes.
"""

from __future__ import annotations

import numpy as np

from .._compile import borrow, jit, jit_inner
from .cycle2d import copy

__all__ = ["GROUP", "blocks", "factor"]

GROUP = 8  # what `lines2d` computes side by side


@jit
def blocks(rows, colour, lanes):
    """Groups of rows of one colour."""
    count = (rows + 1 - colour) // 2
    return count if lanes > 1 else (count + GROUP - 1) // GROUP


@jit_inner
def _own(out, i, p, along, links, mass, B, m):
    """Row i, parity p of A summed over what is not on its line, with its mass."""
    o, w, e, c = 1 - p, p * B, p * B + B, B
    E, S, N = links[0, i + 1], links[1, i + 1], links[1, i]
    a, b = (E[o, w:], E[p, c:]) if along else (N[p, c:], S[p, c:])
    for t in range(m):
        out[t] = np.float64(a[t]) + np.float64(b[t])
    if links.shape[0] == 4:
        D, U, Dn, Un = (
            links[2, i + 1, p, c:],
            links[3, i + 1, p, c:],
            links[2, i, o, w:],
            links[3, i, o, e:],
        )
        for t in range(m):
            out[t] += (np.float64(D[t]) + U[t]) + (np.float64(Dn[t]) + Un[t])
    if mass.size > 0:
        k = mass[i, p, c:]
        for t in range(m):
            out[t] += k[t]


@jit_inner
def _pivot(p, low, s, own, c, inv, m):
    """One point of lines side by side: own sums, links c onwards; s: left by those before."""
    for t in range(m):
        left, link = s[t] + own[t], np.float64(c[t])
        d = left + link
        q = 1 / d if d > 0 and inv[t] != 0 else 0.0
        p[t], low[t] = q, link * q
        s[t] = left * (link * q) if inv[t] != 0 else link


@jit_inner
def _pivot_ring(p, low, k, s, far, end, own, c, inv, last, m):
    """`_pivot` on a ring; far: links to its end; end: what the points before left to that."""
    for t in range(m):
        left, link, beyond = s[t] + own[t], np.float64(c[t]), far[t]
        if last:
            link, beyond = 0.0, beyond + link
        d = left + (link + beyond)
        here = inv[t] != 0
        q = 1 / d if d > 0 and here else 0.0
        p[t], low[t], k[t] = q, link * q, beyond * q
        s[t] = left * (link * q) if here else link
        end[t] += left * (beyond * q) if here else beyond
        far[t] = beyond * (link * q)


@jit_inner
def _factor_columns(p, links, mass, inv, y, rings, B):
    """Columns of parity p."""
    rows, W = inv.shape[0], inv.shape[2]
    m = W - 2 * B
    scratch = np.zeros((5, W))
    own, s, far, end = scratch[0, B:], scratch[1, B:], scratch[2, B:], scratch[3, B:]
    for t in range(m):
        if rings[0]:
            far[t] = links[1, rows, p, B + t]
        else:
            s[t] = links[1, 0, p, B + t]
    for i in range(rows):
        _own(own, i, p, True, links, mass, B, m)
        c, v = links[1, i + 1, p, B:], inv[i, p, B:]
        if not rings[0]:
            _pivot(y[0, i, p, B:], y[1, i, p, B:], s, own, c, v, m)
        elif i + 1 < rows:
            k = y[2, i, p, B:]
            _pivot_ring(y[0, i, p, B:], y[1, i, p, B:], k, s, far, end, own, c, v, i + 2 == rows, m)
        else:
            _pivot(y[0, i, p, B:], y[1, i, p, B:], end, own, scratch[4], v, m)


@jit_inner
def _factor_rows(colour, links, mass, inv, x, rings, B):
    """Rows of one colour, group by group."""
    rows, W = inv.shape[0], inv.shape[2]
    m, group = W - 2 * B, 1 if B > 1 else GROUP
    L, skip = group * B, blocks(rows, 0, B) if colour else 0
    own = np.zeros(W)
    scratch, ends = np.zeros((3, 2, W * group)), np.zeros((4, L))
    none = ends[3]
    for b in range(blocks(rows, colour, B)):
        line = x[:, skip + b]
        scratch[:] = 0
        for k in range(group):
            i = colour + 2 * (group * b + k)
            if i >= rows:
                break
            for p in range(2):
                _own(own[B:], i, p, False, links, mass, B, m)
                for t in range(W):
                    at = t * group + k
                    scratch[0, p, at] = own[t]
                    scratch[1, p, at] = links[0, i + 1, p, t]
                    scratch[2, p, at] = inv[i, p, t]
        sums, c, v = scratch[0], scratch[1], scratch[2]
        ends[:] = 0
        s, far, end = ends[0], ends[1], ends[2]
        if rings[1]:
            copy(far, c[1, m * group :], L)
        else:
            copy(s, c[1], L)
        for a in range(L, m * group + L, L):
            for p in range(2):
                P, low, own_, link, here = (
                    line[0, p, a:],
                    line[1, p, a:],
                    sums[p, a:],
                    c[p, a:],
                    v[p, a:],
                )
                if not rings[1]:
                    _pivot(P, low, s, own_, link, here, L)
                elif a < m * group or p == 0:
                    last = a == m * group
                    _pivot_ring(P, low, line[2, p, a:], s, far, end, own_, link, here, last, L)
                else:
                    _pivot(P, low, end, own_, none, here, L)


@jit
def factor(links, mass, inv, x, y, rings, lanes):
    """Factors of the lines along rows into x and of those along columns into y, where not empty.

    Args:
        links, mass, inv: of the level, as in `coarsen2d.coarsen`.
        x: (2 or 3, groups of even rows and of odd ones, 2, (half + 2) lanes or (half + 2) GROUP),
            p, l and, for a ring, k; y: (2 or 3, rows, 2, W). In both the halos are 0.
    """
    links, mass, inv, x, y = borrow(links), borrow(mass), borrow(inv), borrow(x), borrow(y)
    for p in range(2):
        if x.size > 0:
            _factor_rows(p, links, mass, inv, x, rings, lanes)
        if y.size > 0:
            _factor_columns(p, links, mass, inv, y, rings, lanes)
