"""Sweeps over one plane of a three-dimensional level; see `cycle3d` for colours and layout."""

from __future__ import annotations

import numpy as np

from .._compile import jit, jit_inner
from .cycle2d import load, store, wrap_even, wrap_odd

__all__ = [
    "ALL",
    "correct_even",
    "correct_odd",
    "directions_of",
    "left_over",
    "relax_back",
    "relax_first",
    "row_of",
]

# Directions (di, dj, dl) of the stored links.
_SEVEN = np.array([(0, 0, 1), (0, 1, 0), (1, 0, 0)])
ALL = np.array(
    [(0, 0, 1)]
    + [(0, 1, c) for c in (-1, 0, 1)]
    + [(1, b, c) for b in (-1, 0, 1) for c in (-1, 0, 1)]
)
_EVERY = 7


@jit
def directions_of(links):
    return ALL if links.shape[0] > 3 else _SEVEN


@jit_inner
def row_of(plane, j, ring, zero):
    """Row j of a plane, or what lies there outside."""
    rows = plane.shape[0]
    if 0 <= j < rows:
        return plane[j]
    return plane[j % rows] if ring else zero


@jit_inner
def _one(own, f, d, a, x, b, y, m):
    for t in range(m):
        own[t] = (f[t] + (a[t] * x[t] + b[t] * y[t])) * d[t]


@jit_inner
def _two(own, f, d, a, x, b, y, c, z, e, w, m):
    for t in range(m):
        own[t] = (f[t] + ((a[t] * x[t] + b[t] * y[t]) + (c[t] * z[t] + e[t] * w[t]))) * d[t]


@jit_inner
def _three(own, f, d, a, x, b, y, c, z, e, w, g, u, h, v, m):
    for t in range(m):
        s = (a[t] * x[t] + b[t] * y[t]) + (c[t] * z[t] + e[t] * w[t])
        own[t] = (f[t] + (s + (g[t] * u[t] + h[t] * v[t]))) * d[t]


@jit_inner
def _add_three(own, a, x, b, y, c, z, e, w, g, u, h, v, m):
    for t in range(m):
        s = (a[t] * x[t] + b[t] * y[t]) + (c[t] * z[t] + e[t] * w[t])
        own[t] += s + (g[t] * u[t] + h[t] * v[t])


@jit_inner
def _seven(own, f, d, above, here, below, links, i, j, p, wanted, rings, zero, B, m):
    """`_relax` where a point has six neighbours."""
    west, east = p * B, (p + 1) * B
    x = here[j, 1 - p]
    lw, xw, le, xe = (
        links[0, i + 1, j + 1, 1 - p, west:],
        x[west:],
        links[0, i + 1, j + 1, p, B:],
        x[east:],
    )
    ln, ls = links[1, i + 1, j, p, B:], links[1, i + 1, j + 1, p, B:]
    xn, xs = row_of(here, j - 1, rings[1], zero)[p, B:], row_of(here, j + 1, rings[1], zero)[p, B:]
    la, lb, xa, xb = (
        links[2, i, j + 1, p, B:],
        links[2, i + 1, j + 1, p, B:],
        above[j, p, B:],
        below[j, p, B:],
    )
    if wanted == 7:
        _three(own, f, d, lw, xw, le, xe, ln, xn, ls, xs, la, xa, lb, xb, m)
    elif wanted == 6:
        _two(own, f, d, ln, xn, ls, xs, la, xa, lb, xb, m)
    elif wanted == 5:
        _two(own, f, d, lw, xw, le, xe, la, xa, lb, xb, m)
    elif wanted == 3:
        _two(own, f, d, lw, xw, le, xe, ln, xn, ls, xs, m)
    elif wanted == 4:
        _one(own, f, d, la, xa, lb, xb, m)
    elif wanted == 2:
        _one(own, f, d, ln, xn, ls, xs, m)
    elif wanted == 1:
        _one(own, f, d, lw, xw, le, xe, m)
    else:
        for t in range(m):
            own[t] = f[t] * d[t]


@jit_inner
def _three_ways(own, x, y, links, s, i, j, a, b, p, B, m):
    """own += the links s to s + 2, in the directions (a, b, -1 to 1), and the opposite ones."""
    q, west, east = 1 - p, p * B, (p + 1) * B
    forth0, forth1 = links[s, i + 1, j + 1, p, B:], links[s + 1, i + 1, j + 1, p, B:]
    forth2 = links[s + 2, i + 1, j + 1, p, B:]
    i, j = i + 1 - a, j + 1 - b
    back0, back1, back2 = (
        links[s, i, j, q, east:],
        links[s + 1, i, j, p, B:],
        links[s + 2, i, j, q, west:],
    )
    _add_three(
        own, forth0, x[q, west:], forth1, x[p, B:], forth2, x[q, east:],
        back0, y[q, east:], back1, y[p, B:], back2, y[q, west:], m,
    )  # fmt: skip


@jit_inner
def _relax(own, f, d, above, here, below, links, i, j, p, wanted, rings, zero, B, m):
    """own = (f + Σ links · neighbours) d for the points of parity p in row (i, j).

    wanted: whose neighbours, by the axis that comes first among those along which they lie apart:
    4 planes, 2 rows, 1 columns. A colour itself tells which were relaxed before it.
    """
    if links.shape[0] == 3:
        _seven(own, f, d, above, here, below, links, i, j, p, wanted, rings, zero, B, m)
        return
    own[:m] = f[:m]
    if wanted & 1:
        x, west, east = here[j, 1 - p], p * B, (p + 1) * B
        w, e = links[0, i + 1, j + 1, 1 - p, west:], links[0, i + 1, j + 1, p, B:]
        for t in range(m):
            own[t] += w[t] * x[west + t] + e[t] * x[east + t]
    if wanted & 2:
        x, y = row_of(here, j + 1, rings[1], zero), row_of(here, j - 1, rings[1], zero)
        _three_ways(own, x, y, links, 1, i, j, 0, 1, p, B, m)
    if wanted & 4:
        for b in range(-1, 2):
            x, y = row_of(below, j + b, rings[1], zero), row_of(above, j - b, rings[1], zero)
            _three_ways(own, x, y, links, 7 + 3 * b, i, j, 1, b, p, B, m)
    for t in range(m):
        own[t] *= d[t]


@jit_inner
def left_over(rest, above, x, below, i, links, one, rings, zero, B, m):
    """What is left of the residual in plane i: the sum over neighbours that were relaxed later."""
    for j in range(x.shape[0]):
        for p in range(2):
            wanted = _EVERY ^ (4 * (i & 1) + 2 * (j & 1) + p)
            f, d, own = zero[p, B:], one[p, B:], rest[j, p, B:]
            _relax(own, f, d, above, x, below, links, i, j, p, wanted, rings, zero, B, m)
        if rings[2]:
            wrap_odd(rest[j], B, m)


@jit_inner
def _load_row(x, i, j, f, B, scale):
    """Row (i, j) of the natural x times scale, by parity in f; a row added to a ring gets 0."""
    if i < x.shape[0] and j < x.shape[1]:
        load(x[i, j], f, B, scale)
    else:
        f[:] = 0


@jit_inner
def _relax_row(x, above, below, i, j, p, wanted, f, inv, links, rings, zero, B, m):
    """The points of parity p in row j of plane i (x)."""
    own, part, d = x[j, p, B:], f[p, B:], inv[i, j, p, B:]
    _relax(own, part, d, above, x, below, links, i, j, p, wanted, rings, zero, B, m)
    if rings[2]:
        if p == 0:
            wrap_even(x[j], B, m)
        else:
            wrap_odd(x[j], B, m)


@jit_inner
def relax_first(x, above, below, i, r, f, inv, links, rings, zero, B, m, scale):
    """Plane i from zero: the colours in order, each from those before it."""
    for odd in range(2):
        for j in range(odd, x.shape[0], 2):
            _load_row(r, i, j, f, B, scale)
            for p in range(2):
                colour = 4 * (i & 1) + 2 * odd + p
                _relax_row(x, above, below, i, j, p, colour, f, inv, links, rings, zero, B, m)


@jit_inner
def relax_back(x, above, below, i, r, f, inv, links, rings, zero, B, m, scale, z, back):
    """Plane i after the correction: the colours in reverse; into z, times back."""
    for even in range(2):
        for j in range(1 - even, x.shape[0], 2):
            _load_row(r, i, j, f, B, scale)
            for k in range(2):
                _relax_row(x, above, below, i, j, 1 - k, _EVERY, f, inv, links, rings, zero, B, m)
            if i < z.shape[0] and j < z.shape[1]:
                store(x[j], z[i, j], B, back)


@jit_inner
def _close(row, rings, B, m):
    if rings[2]:
        wrap_even(row, B, m)
        wrap_odd(row, B, m)


@jit_inner
def _edge(out, u, w, low, high, m):
    for t in range(m):
        out[t] = u[t] + (w[t] * low[t] + (1 - w[t]) * high[t])


@jit_inner
def _face(out, u, w0, w1, w2, x0, x1, x2, x3, m):
    for t in range(m):
        a, b, c = w0[t], w1[t], w2[t]
        rest = 1 - ((a + b) + c)
        out[t] = u[t] + ((a * x0[t] + b * x1[t]) + (c * x2[t] + rest * x3[t]))


@jit_inner
def correct_even(v, u, e, w, rings, B, m):
    """v = u + P e in an even plane; e: (coarse rows + 1, W), w: (12, coarse rows + 1, W)."""
    for d in range(e.shape[0] - 1):
        x, c = e[d], d + 1
        for t in range(m):
            v[2 * d, 0, B + t] = u[2 * d, 0, B + t] + x[B + t]
        _edge(v[2 * d, 1, B:], u[2 * d, 1, B:], w[0, c, B:], x[B:], x[2 * B :], m)
        _close(v[2 * d], rings, B, m)
        if 2 * d + 1 < v.shape[0]:
            out, own, y = v[2 * d + 1], u[2 * d + 1], e[d + 1]
            _edge(out[0, B:], own[0, B:], w[1, c, B:], x[B:], y[B:], m)
            w0, w1, w2 = w[2, c, B:], w[3, c, B:], w[4, c, B:]
            _face(out[1, B:], own[1, B:], w0, w1, w2, x[B:], x[2 * B :], y[B:], y[2 * B :], m)
            _close(out, rings, B, m)


@jit_inner
def correct_odd(v, u, e, below, w, rings, B, m):
    """v = u + P e in an odd plane between the coarse planes e and below, but for its centres."""
    for d in range(e.shape[0] - 1):
        x, y, c = e[d], below[d], d + 1
        _edge(v[2 * d, 0, B:], u[2 * d, 0, B:], w[5, c, B:], x[B:], y[B:], m)
        w0, w1, w2 = w[6, c, B:], w[7, c, B:], w[8, c, B:]
        out, own = v[2 * d, 1, B:], u[2 * d, 1, B:]
        _face(out, own, w0, w1, w2, x[B:], x[2 * B :], y[B:], y[2 * B :], m)
        _close(v[2 * d], rings, B, m)
        if 2 * d + 1 < v.shape[0]:
            w0, w1, w2 = w[9, c, B:], w[10, c, B:], w[11, c, B:]
            out, own = v[2 * d + 1, 0, B:], u[2 * d + 1, 0, B:]
            _face(out, own, w0, w1, w2, x[B:], e[d + 1, B:], y[B:], below[d + 1, B:], m)
            if rings[2]:
                wrap_even(v[2 * d + 1], B, m)
