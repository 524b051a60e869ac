"""Set-up of one three-dimensional level: interpolation weights and the Galerkin coarse operator.

A point with one odd index (an edge) is interpolated from the two coarse points of its line, with
the sums of its links to either side as weights; one with two odd indices (a face) from the points
around it in its plane, with its links summed along the normal as weights; a centre from all its
neighbours (Dendy, SIAM J. Sci. Stat. Comput. 8, 1987). Constants are interpolated exactly.

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

from .._compile import borrow, jit, jit_parallel

__all__ = ["coarsen", "coarsen_parallel"]

EVEN, BETWEEN = 5, 7  # weights in an even plane, and in the odd one after it
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
    axes = (1, 3, 9)
    tables = []
    for chosen in ([r for r in rows if r[0] in axes] for rows in (centre, other)):
        tables.append(chosen)
    tables += [centre, other]
    return tuple(np.array(rows) for rows in tables)


_CENTRE7, _OTHER7, _CENTRE27, _OTHER27 = _tables()


@jit
def _at(i, rows, ring):
    """Where row (plane) i of the level is among the links; beyond the halo lies an empty row."""
    if ring:
        return i % rows + 1
    return i + 1 if -1 <= i <= rows else rows + 1


@jit
def _stored(links, number):
    """Where the link with offset 9 di + 3 dj + dl > 0 is stored."""
    if links.shape[0] > 3:
        return number - 1
    return 0 if number == 1 else (1 if number == 3 else 2)


@jit
def _link(links, i, j, p, a, b, c, B):
    """The link in direction (a, b, c) of the points of parity p in row (i, j) of the links."""
    number = 9 * a + 3 * b + c
    if number > 0:
        return links[_stored(links, number), i, j, p, B:]
    q = p + c
    return links[_stored(links, -number), i + a, j + b, q & 1, (1 + (q >> 1)) * B :]


@jit
def _add(out, x, m):
    for t in range(m):
        out[t] += np.float64(x[t])


# -- weights of interpolation ---------------------------------------------------------------------


@jit
def _sides(low, high, links, i, j, p, axis, B, m):
    """Sums of links to either side along an axis."""
    low[:], high[:] = 0, 0
    wide = 1 if links.shape[0] > 3 else 0
    for a in range(-wide, wide + 1):
        for b in range(-wide, wide + 1):
            if axis == 0:
                _add(low, _link(links, i, j, p, -1, a, b, B), m)
                _add(high, _link(links, i, j, p, 1, a, b, B), m)
            elif axis == 1:
                _add(low, _link(links, i, j, p, a, -1, b, B), m)
                _add(high, _link(links, i, j, p, a, 1, b, B), m)
            else:
                _add(low, _link(links, i, j, p, a, b, -1, B), m)
                _add(high, _link(links, i, j, p, a, b, 1, B), m)


@jit
def _edge(out, links, i, j, p, axis, g, B, m):
    """out[t]: weight of the lower coarse point; a half where there are no links."""
    low, high = g[0], g[1]
    _sides(low, high, links, i, j, p, axis, B, m)
    out = out[B:]
    for t in range(m):
        s = low[t] + high[t]
        out[t] = low[t] / s if s != 0 else 0.5


@jit
def _collapsed(out, links, i, j, p, normal, u, v, B, m):
    """Sum along the normal of links in the direction (u, v) of the other two axes."""
    out[:] = 0
    wide = 1 if links.shape[0] > 3 else 0
    for d in range(-wide, wide + 1):
        if normal == 0:
            _add(out, _link(links, i, j, p, d, u, v, B), m)
        elif normal == 1:
            _add(out, _link(links, i, j, p, u, d, v, B), m)
        else:
            _add(out, _link(links, i, j, p, u, v, d, B), m)


@jit
def _face(p0, p1, p2, links, i, j, p, normal, top, bottom, left, right, g, B, m):
    """Weights of the corners (0,0), (0,1), (1,0) of a face; (1,1) has the rest.

    top, bottom: weights of the edges at either side along the first axis of the face, left and
    right along the second.
    """
    p0, p1, p2 = p0[B:], p1[B:], p2[B:]
    n, s, w, e = g[0], g[1], g[2], g[3]
    c0, c1, c2, c3 = g[4], g[5], g[6], g[7]
    _collapsed(n, links, i, j, p, normal, -1, 0, B, m)
    _collapsed(s, links, i, j, p, normal, 1, 0, B, m)
    _collapsed(w, links, i, j, p, normal, 0, -1, B, m)
    _collapsed(e, links, i, j, p, normal, 0, 1, B, m)
    if links.shape[0] > 3:
        _collapsed(c0, links, i, j, p, normal, -1, -1, B, m)
        _collapsed(c1, links, i, j, p, normal, -1, 1, B, m)
        _collapsed(c2, links, i, j, p, normal, 1, -1, B, m)
        _collapsed(c3, links, i, j, p, normal, 1, 1, B, m)
    else:
        g[4:8] = 0
    for t in range(m):
        x0 = c0[t] + (n[t] * top[t] + w[t] * left[t])
        x1 = c1[t] + (n[t] * (1 - top[t]) + e[t] * right[t])
        x2 = c2[t] + (s[t] * bottom[t] + w[t] * (1 - left[t]))
        x3 = c3[t] + (s[t] * (1 - bottom[t]) + e[t] * (1 - right[t]))
        sum_ = (x0 + x1) + (x2 + x3)
        r = 1 / sum_ if sum_ != 0 else 0.0
        rest = 0.0 if sum_ != 0 else 0.25
        p0[t], p1[t], p2[t] = x0 * r + rest, x1 * r + rest, x2 * r + rest


@jit
def _end(w, low, high, m, B, odd, ghost, ring):
    """The ends of one weight along a row: of rings, or what points outside have."""
    if ring:
        if odd:
            w[:B] = w[m : m + B]
        else:
            w[m + B :] = w[B : 2 * B]
    elif odd:
        w[:B] = low
        if ghost:
            w[m : m + B] = high
    else:
        w[:B], w[m + B :] = low, high


@jit
def _even_plane(w, k, links, planes, n1, ghost, rings, g, B, m):
    """w (5, coarse rows + 2, W): weights in plane 2k, of coarse rows −1, 0, ...

    0: the edge along columns. 1: the edge along rows. 2 to 4: the face between them.
    """
    half1 = w.shape[1] - 2
    if rings[0]:
        k = k % ((planes + 1) // 2)
    w[:] = 0.25
    if k < 0 or 2 * k >= planes:
        return
    i = 2 * k + 1
    for c in range(half1):
        x = w[0, c + 1]
        _edge(x, links, i, 2 * c + 1, 1, 2, g, B, m)
        _end(x, 1, 0, m, B, True, ghost, rings[2])
        if 2 * c + 1 < n1:
            x = w[1, c + 1]
            _edge(x, links, i, 2 * c + 2, 0, 1, g, B, m)
            _end(x, 0.5, 0.5, m, B, False, ghost, rings[2])
        else:
            w[1, c + 1] = 0
    if rings[1]:
        w[:2, half1 + 1] = w[:2, 1]
    else:
        w[1, 0] = 1
    for c in range(half1):
        x = w[2:5, c + 1]
        if 2 * c + 1 < n1:
            top, bottom, side = w[0, c + 1, B:], w[0, c + 2, B:], w[1, c + 1, B:]
            _face(x[0], x[1], x[2], links, i, 2 * c + 2, 1, 0, top, bottom, side, side[B:], g, B, m)
            _end(x[0], 1, 0, m, B, True, ghost, rings[2])
            _end(x[1], 0, 1, m, B, True, ghost, rings[2])
            _end(x[2], 0, 0, m, B, True, ghost, rings[2])
        else:
            x[0], x[1], x[2] = 0, 0, 1
    if rings[1]:
        w[:, 0], w[:, half1 + 1] = w[:, half1], w[:, 1]
    else:
        w[2, 0], w[3:5, 0] = 1, 0


@jit
def _between(w, k, upper, lower, links, planes, n1, ghost, rings, g, B, m):
    """w (7, coarse rows + 2, W): weights in plane 2k + 1, between the even planes upper and lower.

    0: the edge along planes. 1 to 3: the face it has with columns. 4 to 6: that with rows.
    """
    half1 = w.shape[1] - 2
    if rings[0]:
        k = k % ((planes + 1) // 2)
    outside = 2 * k + 1 >= planes
    w[:] = 0
    if k < 0 or outside:
        w[0], w[3 if outside else 1], w[6 if outside else 4] = not outside, 1, 1
        return
    i = 2 * k + 2
    for c in range(half1):
        x = w[0, c + 1]
        _edge(x, links, i, 2 * c + 1, 0, 0, g, B, m)
        _end(x, 0.5, 0.5, m, B, False, ghost, rings[2])
    if rings[1]:
        w[0, half1 + 1] = w[0, 1]
    for c in range(half1):
        x, side = w[1:4, c + 1], w[0, c + 1, B:]
        top, bottom = upper[0, c + 1, B:], lower[0, c + 1, B:]
        _face(x[0], x[1], x[2], links, i, 2 * c + 1, 1, 1, top, bottom, side, side[B:], g, B, m)
        _end(x[0], 1, 0, m, B, True, ghost, rings[2])
        _end(x[1], 0, 1, m, B, True, ghost, rings[2])
        _end(x[2], 0, 0, m, B, True, ghost, rings[2])
        x = w[4:7, c + 1]
        if 2 * c + 1 < n1:
            top, bottom, other = upper[1, c + 1, B:], lower[1, c + 1, B:], w[0, c + 2, B:]
            _face(x[0], x[1], x[2], links, i, 2 * c + 2, 0, 2, top, bottom, side, other, g, B, m)
            for q in range(3):
                _end(x[q], 0.25, 0.25, m, B, False, ghost, rings[2])
        else:
            x[0], x[1], x[2] = 0, 1, 0
    if rings[1]:
        w[:, 0], w[:, half1 + 1] = w[:, half1], w[:, 1]
    else:
        w[4, 0] = 1


# -- the energy of a row of cells -----------------------------------------------------------------


@jit
def _put_edge(P, point, x, y, w, m):
    low, high = P[point, x], P[point, y]
    for t in range(m):
        low[t] = w[t]
        high[t] = 1 - w[t]


@jit
def _put_face(P, point, x0, x1, x2, x3, w0, w1, w2, m):
    a, b, c, d = P[point, x0], P[point, x1], P[point, x2], P[point, x3]
    for t in range(m):
        a[t], b[t], c[t] = w0[t], w1[t], w2[t]
        d[t] = 1 - (w0[t] + w1[t] + w2[t])


@jit
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
        f = w[4:7, c + 1, a * B :] if B > 0 else w[4:7, c + 1]
        _put_face(P, 12 + 2 * a, a, a + 2, a + 4, a + 6, f[0], f[1], f[2], m)


@jit
def _pair(out, x, y, c, B):
    """Where the link between the corners x < y of the cells of row c is summed up."""
    x0, x1, x2 = x >> 2, (x >> 1) & 1, x & 1
    y0, y1, y2 = y >> 2, (y >> 1) & 1, y & 1
    number = 9 * (y0 - x0) + 3 * (y1 - x1) + (y2 - x2)
    return out[x0, number - 1, c + 1 + x1, x2 * B :]


@jit
def _own(link, links, k, c, planes, n1, rings, B):
    """A link of the table, for the cells of row (k, c)."""
    i, j = _at(2 * k + link[1], planes, rings[0]), _at(2 * c + link[2], n1, rings[1])
    return links[_stored(links, link[0]), i, j, link[3] & 1, (link[3] >> 1) * B :]


@jit
def _copy(out, x, m):
    for t in range(m):
        out[t] = x[t]


@jit
def _weigh(q, c, p, m):
    for t in range(m):
        q[t] += c[t] * p[t]


@jit
def _take(out, c, a, b, m):
    for t in range(m):
        out[t] -= c[t] * a[t] * b[t]


@jit
def _minus(d, a, b, m):
    for t in range(m):
        d[t] = a[t] - b[t]


@jit
def _mean(p, q, w, m):
    for t in range(m):
        p[t] = q[t] / (w[t] if w[t] != 0 else 1.0)


@jit
def _star(out, p, pp, q, qq, w, m):
    for t in range(m):
        out[t] += (p[t] * qq[t] + pp[t] * q[t]) - w[t] * p[t] * pp[t]


@jit
def _centres(out, P, g, q, links, table, k, c, planes, n1, ghost, rings, B, m):
    """The centres of a row of cells: interpolation, and what their links add to the coarse."""
    link, w, n = g[0], g[1], m + B
    q[:], w[:] = 0, 0
    for s in range(len(table)):
        row = table[s]
        _copy(link, _own(row, links, k, c, planes, n1, rings, B), n)
        _add(w, link, n)
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


@jit
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


@jit
def _links(out, P, g, d, links, table, k, c, planes, n1, rings, B, m):
    """What the links between other points of a row of cells add to the coarse ones."""
    link, n = g[0], m + B
    for s in range(len(table)):
        row = table[s]
        _copy(link, _own(row, links, k, c, planes, n1, rings, B), n)
        for x in range(row[6]):
            _minus(d[x], P[row[4], row[7 + x]], P[row[5], row[7 + x]], n)
            for y in range(x):
                _take(_pair(out, row[7 + y], row[7 + x], c, B), link, d[y], d[x], n)


# -- diagonals and mass ---------------------------------------------------------------------------


@jit
def _total(out, links, i, j, p, B, m):
    """The sum of all links of the points of parity p in row (i, j) of the links."""
    out[:] = 0
    wide = 1 if links.shape[0] > 3 else 0
    for a in range(-1, 2):
        for b in range(-1, 2):
            for c in range(-1, 2):
                steps = abs(a) + abs(b) + abs(c)
                if steps == 1 or (wide and steps > 1):
                    _add(out, _link(links, i, j, p, a, b, c, B), m)


@jit
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
            s[:B], s[m + B :] = s[m : m + B], s[B : 2 * B]
        at = 9 * (point >> 2) + 3 * ((point >> 1) & 1) + (point & 1)
        for x in range(8):
            _weigh(out[x >> 2, c + 1 + ((x >> 1) & 1), (x & 1) * B :], s, P[at, x], n)


@jit
def _invert(inv, mass, g, links, k, n1, ghost, B, m):
    """1 / the diagonals of planes 2k and 2k + 1; 0 where there is no point."""
    total = g[0]
    for i in range(2 * k, min(2 * k + 2, inv.shape[0])):
        for j in range(n1):
            for p in range(2):
                _total(total, links, i + 1, j + 1, p, B, m)
                if mass.size:
                    _add(total, mass[i, j, p, B:], m)
                out = inv[i, j, p, B:]
                for t in range(m):
                    out[t] = 1 / total[t] if total[t] > 0 else 0.0
                if ghost and p == 1:
                    out[m - B : m] = 0


@jit
def _write_row(dst, src, B, half):
    """The columns −1, 0, ..., half of src (column c at (c + 1) B) by parity into the row dst."""
    even, odd = dst[0, B:], dst[1]
    for k in range((half + 3) // 2):
        a, q = src[2 * k * B :], odd[k * B :]
        for t in range(B):
            q[t] = a[t]
    for k in range(half // 2 + 1):
        b, p = src[(2 * k + 1) * B :], even[k * B :]
        for t in range(B):
            p[t] = b[t]


@jit
def coarsen(first, last, links, mass, inv, weights, coarse, coarse_mass, rings, n2, lanes):
    """Coarse planes first..last (and −1 before plane 0) of the links, with inv and weights.

    Args:
        links: (3 or 13, planes + 2, rows + 2, 2, W). mass: as inv, or of size 0. n2: columns.
        inv, weights: (planes, rows, 2, W), (12, coarse planes + 1, coarse rows + 1, W), written.
        coarse, coarse_mass: of the next level, (13, ...), written without the halos of rings.
    """
    links, mass, inv, weights = borrow(links), borrow(mass), borrow(inv), borrow(weights)
    coarse, coarse_mass = borrow(coarse), borrow(coarse_mass)
    B, W = lanes, inv.shape[3]
    m, half2, planes, n1 = W - 2 * B, W // B - 2, inv.shape[0], inv.shape[1]
    half0, half1 = weights.shape[1] - 1, weights.shape[2] - 1
    wide, massive, ghost = links.shape[0] > 3, mass.size > 0, n2 % 2 == 1
    centre, other = (_CENTRE27, _OTHER27) if wide else (_CENTRE7, _OTHER7)
    upper, lower = np.zeros((EVEN, half1 + 2, W)), np.zeros((EVEN, half1 + 2, W))
    w = np.zeros((BETWEEN, half1 + 2, W))
    out, sums = np.zeros((2, 13, half1 + 2, W)), np.zeros((2, half1 + 2, W))
    P, g, q = np.zeros((27, 8, W)), np.zeros((8, W)), np.zeros((8, W))
    for x in range(8):
        P[18 * (x >> 2) + 6 * ((x >> 1) & 1) + 2 * (x & 1), x] = 1

    _even_plane(upper, first - 1, links, planes, n1, ghost, rings, g, B, m)
    for k in range(first - 1, last):
        _even_plane(lower, k + 1, links, planes, n1, ghost, rings, g, B, m)
        _between(w, k, upper, lower, links, planes, n1, ghost, rings, g, B, m)
        for c in range(-1, half1):
            _interpolation(P, upper, lower, w, c, B, m + B)
            _centres(out, P, g, q, links, centre, k, c, planes, n1, ghost, rings, B, m)
            _links(out, P, g, q, links, other, k, c, planes, n1, rings, B, m)
            if massive:
                _spread(sums, mass, P, g, links, k, c, planes, n1, rings, B, m)
        if k >= first:
            _invert(inv, mass, g, links, k, n1, ghost, B, m)
            weights[:EVEN, k + 1], weights[EVEN:, k + 1] = upper[:, :-1], w[:, :-1]
            if massive:
                for c in range(half1):
                    _write_row(coarse_mass[k, c], sums[0, c + 1], B, half2)
        if k >= first or (k < 0 and not rings[0]):
            for s in range(13):
                for c in range(-1, half1):
                    _write_row(coarse[s, k + 1, c + 1], out[0, s, c + 1], B, half2)
        upper, lower = lower, upper
        out[0], sums[0] = out[1], sums[1]
        out[1], sums[1] = 0, 0
    if rings[0] and last == half0:
        weights[:, 0] = weights[:, last]


@jit_parallel
def coarsen_parallel(chunks, links, mass, inv, weights, coarse, coarse_mass, rings, n2, lanes):
    n = weights.shape[1] - 1
    for t in prange(chunks):
        first, last = t * n // chunks, (t + 1) * n // chunks
        coarsen(first, last, links, mass, inv, weights, coarse, coarse_mass, rings, n2, lanes)
