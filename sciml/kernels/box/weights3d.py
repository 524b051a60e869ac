"""Interpolation weights of one three-dimensional level (Dendy, SIAM J. Sci. Stat. Comput. 8, 1987).

A point with one odd index (an edge) is interpolated from the two coarse points of its line, with
the sums of its links to either side as weights; one with two odd indices (a face) from the points
around it in its plane, with its links summed along the normal as weights. Constants are
interpolated exactly. Points outside are zero: they count as coarse points with value 0.

Weights that are stored, 12 for a cell: 0 to 4 of its even plane (the edge along columns, that
along rows, three of the four corners of the face between them), 5 to 11 of the odd plane after it
(the edge along planes, three corners of the face it has with columns, three of that with rows).
"""

from __future__ import annotations

import numpy as np

from .._compile import jit_inner
from .cycle2d import copy

__all__ = ["BETWEEN", "EVEN", "add", "between", "even_plane", "stored", "towards"]

EVEN, BETWEEN = 5, 7  # weights in an even plane, and in the odd one after it


@jit_inner
def stored(links, number):
    """Where the link with offset 9 di + 3 dj + dl > 0 is stored."""
    if links.shape[0] > 3:
        return number - 1
    return 0 if number == 1 else (1 if number == 3 else 2)


@jit_inner
def towards(links, i, j, p, a, b, c, B):
    """The link in direction (a, b, c) of the points of parity p in row (i, j) of the links."""
    number = 9 * a + 3 * b + c
    if number > 0:
        return links[stored(links, number), i, j, p, B:]
    q = p + c
    return links[stored(links, -number), i + a, j + b, q & 1, (1 + (q >> 1)) * B :]


@jit_inner
def add(out, x, m):
    for t in range(m):
        out[t] += np.float64(x[t])


@jit_inner
def _sides(low, high, links, i, j, p, axis, B, m):
    """Sums of links to either side along an axis."""
    low[:], high[:] = 0, 0
    wide = 1 if links.shape[0] > 3 else 0
    for a in range(-wide, wide + 1):
        for b in range(-wide, wide + 1):
            if axis == 0:
                add(low, towards(links, i, j, p, -1, a, b, B), m)
                add(high, towards(links, i, j, p, 1, a, b, B), m)
            elif axis == 1:
                add(low, towards(links, i, j, p, a, -1, b, B), m)
                add(high, towards(links, i, j, p, a, 1, b, B), m)
            else:
                add(low, towards(links, i, j, p, a, b, -1, B), m)
                add(high, towards(links, i, j, p, a, b, 1, B), m)


@jit_inner
def _edge(out, links, i, j, p, axis, g, B, m):
    """out[t]: weight of the lower coarse point; a half where there are no links."""
    low, high = g[0], g[1]
    _sides(low, high, links, i, j, p, axis, B, m)
    out = out[B:]
    for t in range(m):
        s = low[t] + high[t]
        out[t] = low[t] / s if s != 0 else 0.5


@jit_inner
def _collapsed(out, links, i, j, p, normal, u, v, B, m):
    """Sum along the normal of links in the direction (u, v) of the other two axes."""
    out[:] = 0
    wide = 1 if links.shape[0] > 3 else 0
    for d in range(-wide, wide + 1):
        if normal == 0:
            add(out, towards(links, i, j, p, d, u, v, B), m)
        elif normal == 1:
            add(out, towards(links, i, j, p, u, d, v, B), m)
        else:
            add(out, towards(links, i, j, p, u, v, d, B), m)


@jit_inner
def _face(x, links, i, j, p, normal, top, bottom, left, right, g, B, m):
    """x (3, W): weights of the corners (0,0), (0,1), (1,0) of a face; (1,1) has the rest.

    top, bottom: weights of the edges at either side along the first axis of the face, left and
    right along the second.
    """
    p0, p1, p2 = x[0, B:], x[1, B:], x[2, B:]
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


@jit_inner
def _end(w, low, high, m, B, odd, ghost, ring):
    """The ends of one weight along a row: of rings, or what points outside have."""
    for t in range(B):
        if ring:
            w[t] = w[m + t]
            if not odd:
                w[m + B + t] = w[B + t]
        else:
            w[t] = low
            if not odd:
                w[m + B + t] = high
            elif ghost:
                w[m + t] = high


@jit_inner
def _close(w, half1):
    """The rows beyond the ends of a ring of rows."""
    for q in range(w.shape[0]):
        copy(w[q, 0], w[q, half1], w.shape[2])
        copy(w[q, half1 + 1], w[q, 1], w.shape[2])


@jit_inner
def _column_face(x, links, i, j, normal, top, bottom, side, ghost, rings, g, B, m):
    """`_face` for faces between columns, with their ends; side: weights of the edges at columns."""
    _face(x, links, i, j, 1, normal, top, bottom, side, side[B:], g, B, m)
    _end(x[0], 1.0, 0.0, m, B, True, ghost, rings[2])
    _end(x[1], 0.0, 1.0, m, B, True, ghost, rings[2])
    _end(x[2], 0.0, 0.0, m, B, True, ghost, rings[2])


@jit_inner
def even_plane(w, k, links, planes, n1, ghost, rings, g, B, m):
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
        _end(x, 1.0, 0.0, m, B, True, ghost, rings[2])
        if 2 * c + 1 < n1:
            x = w[1, c + 1]
            _edge(x, links, i, 2 * c + 2, 0, 1, g, B, m)
            _end(x, 0.5, 0.5, m, B, False, ghost, rings[2])
        else:
            w[1, c + 1] = 0
    if rings[1]:
        for q in range(2):
            copy(w[q, half1 + 1], w[q, 1], w.shape[2])
    else:
        w[1, 0] = 1
    for c in range(half1):
        x = w[2:5, c + 1]
        if 2 * c + 1 < n1:
            top, bottom, side = w[0, c + 1, B:], w[0, c + 2, B:], w[1, c + 1, B:]
            _column_face(x, links, i, 2 * c + 2, 0, top, bottom, side, ghost, rings, g, B, m)
        else:
            x[0], x[1], x[2] = 0, 0, 1
    if rings[1]:
        _close(w, half1)
    else:
        w[2, 0], w[3:5, 0] = 1, 0


@jit_inner
def between(w, k, upper, lower, links, planes, n1, ghost, rings, g, B, m):
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
        copy(w[0, half1 + 1], w[0, 1], w.shape[2])
    for c in range(half1):
        x, side = w[1:4, c + 1], w[0, c + 1, B:]
        top, bottom = upper[0, c + 1, B:], lower[0, c + 1, B:]
        _column_face(x, links, i, 2 * c + 1, 1, top, bottom, side, ghost, rings, g, B, m)
        x = w[4:7, c + 1]
        if 2 * c + 1 < n1:
            top, bottom, other = upper[1, c + 1, B:], lower[1, c + 1, B:], w[0, c + 2, B:]
            _face(x, links, i, 2 * c + 2, 0, 2, top, bottom, side, other, g, B, m)
            for q in range(3):
                _end(x[q], 0.25, 0.25, m, B, False, ghost, rings[2])
        else:
            x[0], x[1], x[2] = 0, 1, 0
    if rings[1]:
        _close(w, half1)
    else:
        w[4, 0] = 1
