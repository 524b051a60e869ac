"""Set-up of one three-dimensional level: interpolation weights and the Galerkin coarse operator.

Edges and faces are interpolated as `weights3d` says, centres from all their neighbours (Dendy, SIAM
J. Sci. Stat. Comput. 8, 1987).

The coarse links follow from the energy u^T A u = Σ c_ab (u_a − u_b)² + Σ s_a u_a² with u = P v,
cell by cell: a link c between a and b adds −c (P_ax − P_bx)(P_ay − P_by) to the link of the corners
x and y of the cell. Off-diagonal entries and the mass s (lumped) are all that is kept, in float64
until they are stored. Mass that has no links stays where it is: its point is solved exactly.

A cell (k0, k1, t) has 27 points, numbered 9 a + 3 b + c with a, b, c from 0 to 2, and the corners
4 a + 2 b + c with a, b, c from 0 to 1. A link belongs to the cell of its lower corner. Points
outside are zero: they count as coarse points with value 0. See `cycle3d` for the layout.
"""

from __future__ import annotations

import itertools

import numpy as np
from numba import prange

from .._compile import borrow, jit, jit_inner, jit_parallel
from .coarsen2d import write_row
from .cycle2d import copy
from .weights2d import row_at
from .weights3d import BETWEEN, EVEN, add, between, even_plane, stored, towards

__all__ = ["coarsen", "coarsen_parallel"]

_CENTRE = 13


def _corners(point):
    choice = [((0,), (0, 1), (1,))[x] for x in point]
    return {4 * a + 2 * b + c for a, b, c in itertools.product(*choice)}


def _tables():
    """Links of a cell: (offset, point, end a, end b, corners, up to 8 of them).

    First those of the centre, a being its neighbour, then the others that belong to the cell. Seven
    points: those along axes, offsets 1, 3 and 9; `offset` is 9 di + 3 dj + dl > 0.
    """
    centre, other = [], []
    for offset in itertools.product((-1, 0, 1), repeat=3):
        number = 9 * offset[0] + 3 * offset[1] + offset[2]
        if number <= 0:
            continue
        for point in itertools.product((0, 1, 2), repeat=3):
            end = tuple(p + o for p, o in zip(point, offset, strict=True))
            lower = [min(p, q) for p, q in zip(point, end, strict=True)]
            if not all(0 <= q <= 2 for q in end) or max(lower) > 1:
                continue
            a, b = (9 * p[0] + 3 * p[1] + p[2] for p in (point, end))
            if _CENTRE in (a, b):
                near, start = (point, a) if b == _CENTRE else (end, b)
                found = sorted(_corners(near))
                row = (number, *point, start, _CENTRE, len(found), *found)
                centre.append(row + (0,) * (15 - len(row)))
            else:
                found = sorted(_corners(point) | _corners(end))
                row = (number, *point, a, b, len(found), *found)
                other.append(row + (0,) * (15 - len(row)))
    along_axes = ([row for row in rows if row[0] in (1, 3, 9)] for rows in (centre, other))
    return tuple(np.array(rows) for rows in (*along_axes, centre, other))


_CENTRE7, _OTHER7, _CENTRE27, _OTHER27 = _tables()


# -- the energy of a row of cells -----------------------------------------------------------------


@jit_inner
def _put_edge(P, point, x, y, w, m):
    low, high = P[point, x], P[point, y]
    for t in range(m):
        low[t] = w[t]
        high[t] = 1 - w[t]


@jit_inner
def _put_face(P, point, x0, x1, x2, x3, w0, w1, w2, m):
    a, b, c, d = P[point, x0], P[point, x1], P[point, x2], P[point, x3]
    for t in range(m):
        a[t], b[t], c[t] = w0[t], w1[t], w2[t]
        d[t] = 1 - (w0[t] + w1[t] + w2[t])


@jit_inner
def _interpolation(P, upper, lower, w, c, B, m):
    """P[point, corner] for the cells of row c, but for their centres."""
    for a in range(2):
        x = upper if a == 0 else lower
        for b in range(2):
            _put_edge(P, 18 * a + 6 * b + 1, 4 * a + 2 * b, 4 * a + 2 * b + 1, x[0, c + 1 + b], m)
            side = x[1, c + 1, b * B :]
            _put_edge(P, 18 * a + 3 + 2 * b, 4 * a + b, 4 * a + 2 + b, side, m)
            side = w[0, c + 1 + a, b * B :]
            _put_edge(P, 9 + 6 * a + 2 * b, 2 * a + b, 4 + 2 * a + b, side, m)
        f = x[2:5, c + 1]
        _put_face(P, 18 * a + 4, 4 * a, 4 * a + 1, 4 * a + 2, 4 * a + 3, f[0], f[1], f[2], m)
        f = w[1:4, c + 1 + a]
        _put_face(P, 10 + 6 * a, 2 * a, 2 * a + 1, 2 * a + 4, 2 * a + 5, f[0], f[1], f[2], m)
        f = w[4:7, c + 1, a * B :]
        _put_face(P, 12 + 2 * a, a, a + 2, a + 4, a + 6, f[0], f[1], f[2], m)


@jit_inner
def _pair(out, x, y, c, B):
    """Where the link between the corners x < y of the cells of row c is summed up."""
    x0, x1, x2 = x >> 2, (x >> 1) & 1, x & 1
    y0, y1, y2 = y >> 2, (y >> 1) & 1, y & 1
    number = 9 * (y0 - x0) + 3 * (y1 - x1) + (y2 - x2)
    return out[x0, number - 1, c + 1 + x1, x2 * B :]


@jit_inner
def _own(link, links, k, c, planes, n1, rings, B):
    """A link of the table, for the cells of row (k, c)."""
    i = row_at(2 * k + link[1], planes, rings[0])
    j = row_at(2 * c + link[2], n1, rings[1])
    return links[stored(links, link[0]), i, j, link[3] & 1, (link[3] >> 1) * B :]


@jit_inner
def _weigh(q, c, p, m):
    for t in range(m):
        q[t] += c[t] * p[t]


@jit_inner
def _take(out, c, a, b, m):
    for t in range(m):
        out[t] -= c[t] * a[t] * b[t]


@jit_inner
def _minus(d, a, b, m):
    for t in range(m):
        d[t] = a[t] - b[t]


@jit_inner
def _mean(p, q, w, m):
    for t in range(m):
        p[t] = q[t] / (w[t] if w[t] != 0 else 1.0)


@jit_inner
def _star(out, p, pp, q, qq, w, m):
    for t in range(m):
        out[t] += (p[t] * qq[t] + pp[t] * q[t]) - w[t] * p[t] * pp[t]


@jit_inner
def _centres(out, P, g, q, links, table, k, c, planes, n1, ghost, rings, B, m):
    """The centres of a row of cells: interpolation, and what their links add to the coarse."""
    link, w, n = g[0], g[1], m + B
    q[:], w[:] = 0, 0
    for s in range(len(table)):
        row = table[s]
        copy(link, _own(row, links, k, c, planes, n1, rings, B), n)
        add(w, link, n)
        for x in range(row[6]):
            _weigh(q[row[7 + x]], link, P[row[4], row[7 + x]], n)
            for y in range(x):
                a, b = row[7 + y], row[7 + x]
                _take(_pair(out, a, b, c, B), link, P[row[4], a], P[row[4], b], n)
    p = P[_CENTRE]
    for x in range(8):
        _mean(p[x], q[x], w, n)
    _outside(p, k, c, planes, n1, ghost, rings, B, m)
    for x in range(8):
        for y in range(x):
            _star(_pair(out, y, x, c, B), p[y], p[x], q[y], q[x], w, n)


@jit_inner
def _outside(p, k, c, planes, n1, ghost, rings, B, m):
    """A centre outside takes the value of a corner that is outside too: 0."""
    low = (k < 0 and not rings[0]) or (c < 0 and not rings[1])
    if low or 2 * k + 1 >= planes or 2 * c + 1 >= n1:
        p[:] = 0
        p[0 if low else (4 if 2 * k + 1 >= planes else 2)] = 1
    elif not rings[2]:
        p[:, :B] = 0
        p[0, :B] = 1
        if ghost:
            p[:, m : m + B] = 0
            p[1, m : m + B] = 1


@jit_inner
def _links(out, P, g, d, links, table, k, c, planes, n1, rings, B, m):
    """What the links between other points of a row of cells add to the coarse ones."""
    link, n = g[0], m + B
    for s in range(len(table)):
        row = table[s]
        copy(link, _own(row, links, k, c, planes, n1, rings, B), n)
        for x in range(row[6]):
            _minus(d[x], P[row[4], row[7 + x]], P[row[5], row[7 + x]], n)
            for y in range(x):
                _take(_pair(out, row[7 + y], row[7 + x], c, B), link, d[y], d[x], n)


# -- diagonals and mass ---------------------------------------------------------------------------


@jit_inner
def _total(out, links, i, j, p, B, m):
    """The sum of all links of the points of parity p in row (i, j) of the links."""
    out[:] = 0
    wide = 1 if links.shape[0] > 3 else 0
    for a in range(-1, 2):
        for b in range(-1, 2):
            for c in range(-1, 2):
                steps = abs(a) + abs(b) + abs(c)
                if steps == 1 or (wide and steps > 1):
                    add(out, towards(links, i, j, p, a, b, c, B), m)


@jit_inner
def _spread(out, mass, P, g, links, k, c, planes, n1, rings, B, m):
    """The mass of a row of cells, given to their corners; what has no links keeps it."""
    total, s, n = g[0], g[1], m + B
    for point in range(8):
        i, j, p = 2 * k + (point >> 2), 2 * c + ((point >> 1) & 1), point & 1
        inside0, inside1 = rings[0] or 0 <= i < planes, rings[1] or 0 <= j < n1
        if not (inside0 and inside1):
            continue
        i, j = i % planes, j % n1
        _total(total, links, i + 1, j + 1, p, B, m)
        s[:] = 0
        own = mass[i, j, p, B:]
        for t in range(m):
            s[B + t] = own[t] if total[t] != 0 or point == 0 else 0.0
        if rings[2]:
            copy(s, s[m:], B)
            copy(s[m + B :], s[B:], B)
        at = 9 * (point >> 2) + 3 * ((point >> 1) & 1) + (point & 1)
        for x in range(8):
            _weigh(out[x >> 2, c + 1 + ((x >> 1) & 1), (x & 1) * B :], s, P[at, x], n)


@jit_inner
def _invert(inv, mass, g, links, k, n1, ghost, B, m):
    """1 / the diagonals of planes 2k and 2k + 1; 0 where there is no point."""
    total = g[0]
    for i in range(2 * k, min(2 * k + 2, inv.shape[0])):
        for j in range(n1):
            for p in range(2):
                _total(total, links, i + 1, j + 1, p, B, m)
                if mass.size:
                    add(total, mass[i, j, p, B:], m)
                out = inv[i, j, p, B:]
                for t in range(m):
                    out[t] = 1 / total[t] if total[t] > 0 else 0.0
                if ghost and p == 1:
                    out[m - B : m] = 0


@jit
def coarsen(first, last, links, mass, inv, weights, coarse, coarse_mass, rings, n2, lanes):
    """Coarse planes first..last (and −1 before plane 0) of the links, with inv and weights.

    Args:
        links: (3 or 13, planes + 2, rows + 2, 2, W). mass: as inv, or of size 0. n2: columns.
        inv, weights: (planes, rows, 2, W), (12, coarse planes + 1, coarse rows + 1, W), written.
        coarse, coarse_mass: of the next level, (13, ...), written without the halos of rings.
    """
    W, half1 = inv.shape[3], weights.shape[2] - 1
    planes = np.zeros((2 * EVEN + BETWEEN, half1 + 2, W))
    out = np.zeros((2, 14, half1 + 2, W))
    P, scratch = np.zeros((27, 8, W)), np.zeros((2, 8, W))
    own = (links, mass, inv, weights, coarse, coarse_mass)
    _coarsen(first, last, *own, rings, n2, lanes, planes, out, P, scratch)


@jit_inner
def _coarsen(
    first, last, links, mass, inv, weights, coarse, coarse_mass, rings, n2, lanes, weigh, out, P, g
):
    links, mass, inv, weights = (borrow(links), borrow(mass), borrow(inv), borrow(weights))
    coarse, coarse_mass, weigh = borrow(coarse), borrow(coarse_mass), borrow(weigh)
    out, P, g = borrow(out), borrow(P), borrow(g)
    B, W = lanes, inv.shape[3]
    m, half2, planes, n1 = W - 2 * B, W // B - 2, inv.shape[0], inv.shape[1]
    half0, half1 = weights.shape[1] - 1, weights.shape[2] - 1
    wide, massive, ghost = links.shape[0] > 3, mass.size > 0, n2 % 2 == 1
    centre, other = (_CENTRE27, _OTHER27) if wide else (_CENTRE7, _OTHER7)
    upper, lower, w = weigh[:EVEN], weigh[EVEN : 2 * EVEN], weigh[2 * EVEN :]
    g, q = g[0], g[1]
    for x in range(8):
        P[18 * (x >> 2) + 6 * ((x >> 1) & 1) + 2 * (x & 1), x] = 1

    even_plane(upper, first - 1, links, planes, n1, ghost, rings, g, B, m)
    for k in range(first - 1, last):
        even_plane(lower, k + 1, links, planes, n1, ghost, rings, g, B, m)
        between(w, k, upper, lower, links, planes, n1, ghost, rings, g, B, m)
        for c in range(-1, half1):
            _interpolation(P, upper, lower, w, c, B, m + B)
            _centres(out, P, g, q, links, centre, k, c, planes, n1, ghost, rings, B, m)
            _links(out, P, g, q, links, other, k, c, planes, n1, rings, B, m)
            if massive:
                _spread(out[:, 13], mass, P, g, links, k, c, planes, n1, rings, B, m)
        if k >= first:
            _invert(inv, mass, g, links, k, n1, ghost, B, m)
            for s in range(EVEN + BETWEEN):
                for c in range(half1 + 1):
                    own = upper[s, c] if s < EVEN else w[s - EVEN, c]
                    copy(weights[s, k + 1, c], own, W)
            if massive:
                for c in range(half1):
                    write_row(coarse_mass[k, c], out[0, 13, c + 1], B, half2)
        if k >= first or (k < 0 and not rings[0]):
            for s in range(13):
                for c in range(-1, half1 + 1):
                    write_row(coarse[s, k + 1, c + 1], out[0, s, c + 1], B, half2)
        upper, lower = lower, upper
        out[0], out[1] = out[1], 0
    if rings[0] and last == half0:
        for s in range(EVEN + BETWEEN):
            for c in range(half1 + 1):
                copy(weights[s, 0, c], weights[s, last, c], W)


@jit_parallel
def coarsen_parallel(chunks, links, mass, inv, weights, coarse, coarse_mass, rings, n2, lanes):
    n = weights.shape[1] - 1
    for t in prange(chunks):
        first, last = t * n // chunks, (t + 1) * n // chunks
        coarsen(first, last, links, mass, inv, weights, coarse, coarse_mass, rings, n2, lanes)
