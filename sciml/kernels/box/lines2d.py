"""V(1,1) on a two-dimensional level with zebra line relaxation: along rows, columns, or both.

Even lines first, then odd ones, rows before columns; in reverse order after the coarse correction.
Line relaxation smooths what points do not: strong coupling along one axis, and coefficients that
jump at random (Brandt, Math. Comput. 31, 1977, section 3.3; Dendy, J. Comput. Phys. 48, 1982).

Residuals. The lines relaxed last, the odd ones, have none. At an even line the sum over the odd
neighbours is left, of their values where the sweep began from zero and of their last change where
the rows were relaxed before. So only residuals on even lines are restricted, and only even lines
are corrected: odd ones are relaxed first afterwards, from their neighbours alone.

Along columns the recurrence runs down the rows, side by side over slots. Along rows it runs over
lanes side by side; a single lane takes GROUP rows of one colour instead, whose values are
interleaved as if they were lanes: lanes are 1 or a multiple of 8. See `factor2d` for the factors of
a line, and `cycle2d` for the layout of a level.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from .._compile import borrow, jit, jit_inner, jit_parallel
from .beside2d import add_above, add_beside, around, load_part
from .cycle2d import copy, store, wrap_even, wrap_odd
from .factor2d import GROUP, blocks

__all__ = ["down", "down_parallel", "up", "up_parallel"]

_1, _2, _3, _4, _5, _6, _7 = (np.uint64(i) for i in range(1, 8))
_SLOTS = 128  # entries of a row that a block of columns holds


# -- lines along rows -----------------------------------------------------------------------------


@jit_inner
def _get(v, t):
    """Eight numbers of v from t on, which stay side by side in a register."""
    t = np.uint64(t)  # which numba does not check for being negative
    return v[t], v[t + _1], v[t + _2], v[t + _3], v[t + _4], v[t + _5], v[t + _6], v[t + _7]


@jit_inner
def _put(v, t, a):
    t = np.uint64(t)
    v[t], v[t + _1], v[t + _2], v[t + _3], v[t + _4], v[t + _5], v[t + _6], v[t + _7] = a


@jit_inner
def _times(a, b):
    a0, a1, a2, a3, a4, a5, a6, a7 = a
    b0, b1, b2, b3, b4, b5, b6, b7 = b
    return a0 * b0, a1 * b1, a2 * b2, a3 * b3, a4 * b4, a5 * b5, a6 * b6, a7 * b7


@jit_inner
def _plus(a, b):
    a0, a1, a2, a3, a4, a5, a6, a7 = a
    b0, b1, b2, b3, b4, b5, b6, b7 = b
    return a0 + b0, a1 + b1, a2 + b2, a3 + b3, a4 + b4, a5 + b5, a6 + b6, a7 + b7


@jit_inner
def _solve_row(g, x, L, q):
    """g <- (line)^-1 g for the lanes q, ..., q + 7 of L."""
    m = g.shape[1] - 2 * L
    e, o, pe, po, le, lo = g[0], g[1], x[0, 0], x[0, 1], x[1, 0], x[1, 1]
    c = _get(lo, q)  # 0
    for a in range(L + q, m + L, L):
        c = _plus(_get(e, a), _times(_get(lo, a - L), c))
        _put(e, a, c)
        c = _plus(_get(o, a), _times(_get(le, a), c))
        _put(o, a, c)
    c = _get(lo, q)
    for a in range(m + q, q, -L):
        c = _plus(_times(_get(po, a), _get(o, a)), _times(_get(lo, a), c))
        _put(o, a, c)
        c = _plus(_times(_get(pe, a), _get(e, a)), _times(_get(le, a), c))
        _put(e, a, c)


@jit_inner
def _solve_ring(g, x, L, q):
    """`_solve_row` where the last point, an odd one, meets the first."""
    m = g.shape[1] - 2 * L
    e, o, pe, po, le, lo, ke, ko = g[0], g[1], x[0, 0], x[0, 1], x[1, 0], x[1, 1], x[2, 0], x[2, 1]
    c = end = _get(lo, q)  # 0
    for a in range(L + q, m + L, L):
        c = _plus(_get(e, a), _times(_get(lo, a - L), c))
        _put(e, a, c)
        end = _plus(end, _times(_get(ke, a), c))
        c = _plus(_get(o, a), _times(_get(le, a), c))
        _put(o, a, c)
        end = _plus(end, _times(_get(ko, a), c))
    _put(o, m + q, _plus(c, end))
    end = _times(_get(po, m + q), _get(o, m + q))
    c = _get(lo, q)
    for a in range(m + q, q, -L):
        c = _plus(_times(_get(po, a), _get(o, a)), _times(_get(lo, a), c))
        c = _plus(c, _times(_get(ko, a), end))
        _put(o, a, c)
        c = _plus(_times(_get(pe, a), _get(e, a)), _times(_get(le, a), c))
        c = _plus(c, _times(_get(ke, a), end))
        _put(e, a, c)


@jit_inner
def _interleave(g, u, first, m):
    """Rows first, first + 2, ... of u, of one lane, as lanes of g; 0 beyond the last row."""
    count = min(GROUP, (u.shape[0] + 1 - first) // 2)
    for p in range(2):
        y = g[p, GROUP:]
        if count < GROUP:
            y[:] = 0
            for k in range(count):
                x, z = u[first + 2 * k, p, 1:], y[k:]
                for t in range(m):
                    z[t * GROUP] = x[t]
            continue
        a, b, c, d = u[first, p, 1:], u[first + 2, p, 1:], u[first + 4, p, 1:], u[first + 6, p, 1:]
        rest = u[first + 8 :]
        e, f, h, i = rest[0, p, 1:], rest[2, p, 1:], rest[4, p, 1:], rest[6, p, 1:]
        for t in range(m):  # eight stores side by side, which the compiler turns into shuffles
            k = 8 * t
            y[k], y[k + 1], y[k + 2], y[k + 3] = a[t], b[t], c[t], d[t]
            y[k + 4], y[k + 5], y[k + 6], y[k + 7] = e[t], f[t], h[t], i[t]


@jit_inner
def _separate(g, u, first, m):
    """`_interleave` undone."""
    for k in range(min(GROUP, (u.shape[0] + 1 - first) // 2)):
        for p in range(2):
            x, y = u[first + 2 * k, p, 1:], g[p, GROUP + k :]
            for t in range(m):
                x[t] = y[t * GROUP]


@jit
def _rows(first, last, colour, fresh, r, u, links, x, rings, B, scale):
    """Relax rows of one colour, groups first..last; fresh: all other rows count as 0."""
    r, u, links, x = borrow(r), borrow(u), borrow(links), borrow(x)
    rows, W = u.shape[0], u.shape[2]
    m, group = W - 2 * B, 1 if B > 1 else GROUP
    L, skip = group * B, blocks(rows, 0, B) if colour else 0
    zero, buffer = np.zeros((2, W), u.dtype), np.zeros((2, W // B * L), u.dtype)
    for b in range(first, last):
        start = colour + 2 * group * b
        for i in range(start, min(start + 2 * group, rows), 2):
            before, after = around(i, rows, rings[0])
            n, s = u[before] if before >= 0 else zero, u[after] if after >= 0 else zero
            for p in range(2):
                load_part(u[i, p, B:], r, i, p, 0, m, B, scale)
                if not fresh:
                    add_above(u[i, p, B:], p, n, s, links, i, m, B)
        line = x[:, skip + b]
        g = u[start] if group == 1 else buffer
        if group > 1:
            _interleave(g, u, start, m)
        for q in range(0, L, 8):
            if rings[1]:
                _solve_ring(g, line, L, q)
            else:
                _solve_row(g, line, L, q)
        if group > 1:
            _separate(g, u, start, m)
        if rings[1]:
            for i in range(start, min(start + 2 * group, rows), 2):
                wrap_even(u[i], B, m)
                wrap_odd(u[i], B, m)


# -- lines along columns --------------------------------------------------------------------------


@jit_inner
def _multiply_add(out, a, x, m):
    for t in range(m):
        out[t] += a[t] * x[t]


@jit_inner
def _back(o, p, v, low, after, m):
    for t in range(m):
        o[t] = p[t] * v[t] + low[t] * after[t]


@jit_inner
def _back_with_change(o, p, v, low, after, m):
    for t in range(m):
        x = p[t] * v[t] + low[t] * after[t]
        v[t] = x - o[t]
        o[t] = x


@jit
def _columns(first, last, p, fresh, keep, r, u, links, y, w, rings, B, scale):
    """Relax columns of parity p, blocks of slots first..last; fresh: all others count as 0; keep: w
    gets the changes. In w, (rows, 2, W), lie the values on their way.
    """
    r, u, links, y, w = borrow(r), borrow(u), borrow(links), borrow(y), borrow(w)
    rows, W, ring = u.shape[0], u.shape[2], rings[0]
    zero = np.zeros((2, W), u.dtype)
    for b in range(first, last):
        a = b * _SLOTS
        m, c = min(_SLOTS, W - 2 * B - a), a + B
        for i in range(rows):
            o = w[i, p, c:]
            load_part(o, r, i, p, a, m, B, scale)
            if not fresh:
                before, after = around(i, rows, ring)
                n, s = u[before] if before >= 0 else zero, u[after] if after >= 0 else zero
                add_beside(o, p, u[i], n, s, links, i, a, m, B)
            if i > 0:
                _multiply_add(o, y[1, i - 1, p, c:], w[i - 1, p, c:], m)
        if ring:
            _close_columns(w, y, p, c, m)
        for i in range(rows - 1, -1, -1):
            o, v, pivot, low = u[i, p, c:], w[i, p, c:], y[0, i, p, c:], y[1, i, p, c:]
            after = u[i + 1, p, c:] if i + 1 < rows else zero[0, c:]
            if keep:
                _back_with_change(o, pivot, v, low, after, m)
            else:
                _back(o, pivot, v, low, after, m)
            if ring and i + 1 < rows:
                far, end = y[2, i, p, c:], u[rows - 1, p, c:]
                _multiply_add(o, far, end, m)
                if keep:
                    _multiply_add(v, far, end, m)


@jit_inner
def _close_columns(w, y, p, c, m):
    """Between the sweeps: the last row of a ring gets what the others leave it."""
    end = w.shape[0] - 1
    for i in range(end):
        _multiply_add(w[end, p, c:], y[2, i, p, c:], w[i, p, c:], m)


@jit_inner
def _edges(u, p, ring, B, m):
    """What is read beyond the ends of the columns of parity p."""
    for i in range(u.shape[0]):
        if p == 0:
            halo, end = u[i, 0, m + B :], u[i, 0, B : 2 * B]
        else:
            halo, end = u[i, 1], u[i, 1, m : m + B]
        for t in range(B):
            halo[t] = end[t] if ring else 0


# -- transfers ------------------------------------------------------------------------------------


@jit_inner
def _residual_beside(out, i, d, links, zero, rings, m, B):
    """The residual in the even columns of row i: links · d at the odd ones."""
    before, after = around(i, d.shape[0], rings[0])
    n, s = d[before] if before >= 0 else zero, d[after] if after >= 0 else zero
    out[:] = 0
    add_beside(out, 0, d[i], n, s, links, i, 0, m, B)


@jit_inner
def _restrict_columns(first, last, d, links, weights, coarse, rings, B):
    """Coarse rows from residuals in the even columns."""
    d, links, weights, coarse = borrow(d), borrow(links), borrow(weights), borrow(coarse)
    rows, m = d.shape[0], d.shape[2] - 2 * B
    zero, scratch = np.zeros((2, d.shape[2]), d.dtype), np.zeros((3, m), d.dtype)
    above, here, below = scratch[0], scratch[1], scratch[2]
    if first > 0 or rings[0]:
        i = 2 * first - 1 if first > 0 else rows - 1
        _residual_beside(above, i, d, links, zero, rings, m, B)
    for c in range(first, last):
        _residual_beside(here, 2 * c, d, links, zero, rings, m, B)
        if 2 * c + 1 < rows:
            _residual_beside(below, 2 * c + 1, d, links, zero, rings, m, B)
        else:
            below[:] = 0
        out, north, south = coarse[c], weights[1, c, B:], weights[1, c + 1, B:]
        for t in range(m):
            out[t] = here[t] + (south[t] * below[t] + (1 - north[t]) * above[t])
        above, below = below, above


@jit_inner
def _restrict_rows(first, last, d, links, weights, coarse, rings, B):
    """Coarse rows from residuals in the even rows."""
    d, links, weights, coarse = borrow(d), borrow(links), borrow(weights), borrow(coarse)
    rows, W = d.shape[0], d.shape[2]
    m = W - 2 * B
    zero, rest = np.zeros((2, W), d.dtype), np.zeros((2, W), d.dtype)
    for c in range(first, last):
        before, after = around(2 * c, rows, rings[0])
        n, s = d[before] if before >= 0 else zero, d[after] if after >= 0 else zero
        rest[:] = 0
        for p in range(2):
            add_above(rest[p, B:], p, n, s, links, 2 * c, m, B)
        if rings[1]:
            wrap_even(rest, B, m)
            wrap_odd(rest, B, m)
        out, r0, r1, left = coarse[c], rest[0, B:], rest[1, B:], rest[1]
        west, east = weights[0, c + 1], weights[0, c + 1, B:]
        for t in range(m):
            out[t] = r0[t] + (east[t] * r1[t] + (1 - west[t]) * left[t])


@jit_inner
def _correct_columns(first, last, u, correction, weights, rings, B):
    """u += P correction in the even columns, below coarse rows first..last."""
    u, correction, weights = borrow(u), borrow(correction), borrow(weights)
    m, end = u.shape[2] - 2 * B, correction.shape[0]
    zero = np.zeros(m, u.dtype)
    for c in range(first, last):
        e, x = correction[c], u[2 * c, 0, B:]
        for t in range(m):
            x[t] += e[t]
        if 2 * c + 1 < u.shape[0]:
            _, after = around(c, end, rings[0])
            f, v, x = (
                correction[after] if after >= 0 else zero,
                weights[1, c + 1, B:],
                u[2 * c + 1, 0, B:],
            )
            for t in range(m):
                x[t] += v[t] * e[t] + (1 - v[t]) * f[t]


@jit_inner
def _correct_rows(first, last, u, correction, weights, rings, B):
    """u += P correction in the even rows."""
    u, correction, weights = borrow(u), borrow(correction), borrow(weights)
    m = u.shape[2] - 2 * B
    row = np.zeros(m + B, u.dtype)
    for c in range(first, last):
        copy(row, correction[c], m)
        if rings[1]:
            copy(row[m:], row, B)
        h, x, y, after = weights[0, c + 1, B:], u[2 * c, 0, B:], u[2 * c, 1, B:], row[B:]
        for t in range(m):
            x[t] += row[t]
            y[t] += h[t] * row[t] + (1 - h[t]) * after[t]
        if rings[1]:
            wrap_even(u[2 * c], B, m)
            wrap_odd(u[2 * c], B, m)


# -- a visit to a level ---------------------------------------------------------------------------


@jit
def _column_blocks(m):
    return (m + _SLOTS - 1) // _SLOTS


@jit
def down(r, u, links, x, y, weights, coarse, w, rings, lanes, scale):
    """Pre-smoothing of r scale from zero into u, and its restricted residual.

    Args:
        x, y: factors of the rows and of the columns from `factor2d`; at least one is not empty.
        w: as u, overwritten. The others: as in `cycle2d.down`.
    """
    B, m = lanes, u.shape[2] - 2 * lanes
    by_rows, by_columns = x.size > 0, y.size > 0
    if by_rows:
        for p in range(2):
            _rows(0, blocks(u.shape[0], p, B), p, p == 0, r, u, links, x, rings, B, scale)
    if by_columns:
        for p in range(2):
            fresh = p == 0 and not by_rows
            keep = p == 1 and by_rows
            _columns(0, _column_blocks(m), p, fresh, keep, r, u, links, y, w, rings, B, scale)
            _edges(u, p, rings[1], B, m)
        if by_rows:
            _edges(w, 1, rings[1], B, m)
        _restrict_columns(0, coarse.shape[0], w if by_rows else u, links, weights, coarse, rings, B)
    else:
        _restrict_rows(0, coarse.shape[0], u, links, weights, coarse, rings, B)


@jit
def up(r, u, links, x, y, weights, correction, z, w, rings, lanes, scale, back):
    """z = what post-smoothing makes of u + P correction, times back; u is overwritten."""
    B, m, half = lanes, u.shape[2] - 2 * lanes, correction.shape[0]
    if y.size > 0:
        _correct_columns(0, half, u, correction, weights, rings, B)
        _edges(u, 0, rings[1], B, m)
        for p in (1, 0):
            _columns(0, _column_blocks(m), p, False, False, r, u, links, y, w, rings, B, scale)
            _edges(u, p, rings[1], B, m)
    else:
        _correct_rows(0, half, u, correction, weights, rings, B)
    if x.size > 0:
        for p in (1, 0):
            _rows(0, blocks(u.shape[0], p, B), p, False, r, u, links, x, rings, B, scale)
    _give(0, z.shape[0], u, z, B, back)


@jit_inner
def _give(first, last, u, z, B, back):
    u, z = borrow(u), borrow(z)
    for i in range(first, last):
        store(u[i], z[i], B, back)


@jit_parallel
def down_parallel(chunks, r, u, links, x, y, weights, coarse, w, rings, lanes, scale):
    B, m, half = lanes, u.shape[2] - 2 * lanes, coarse.shape[0]
    by_rows, by_columns = x.size > 0, y.size > 0
    if by_rows:
        for p in range(2):
            n = blocks(u.shape[0], p, B)
            for t in prange(chunks):
                first, last = t * n // chunks, (t + 1) * n // chunks
                _rows(first, last, p, p == 0, r, u, links, x, rings, B, scale)
    if not by_columns:
        for t in prange(chunks):
            first, last = t * half // chunks, (t + 1) * half // chunks
            _restrict_rows(first, last, u, links, weights, coarse, rings, B)
        return
    n = _column_blocks(m)
    for p in range(2):
        fresh, keep = p == 0 and not by_rows, p == 1 and by_rows
        for t in prange(chunks):
            first, last = t * n // chunks, (t + 1) * n // chunks
            _columns(first, last, p, fresh, keep, r, u, links, y, w, rings, B, scale)
        _edges(u, p, rings[1], B, m)
    if by_rows:
        _edges(w, 1, rings[1], B, m)
    d = w if by_rows else u
    for t in prange(chunks):
        first, last = t * half // chunks, (t + 1) * half // chunks
        _restrict_columns(first, last, d, links, weights, coarse, rings, B)


@jit_parallel
def up_parallel(chunks, r, u, links, x, y, weights, correction, z, w, rings, lanes, scale, back):
    B, m, half = lanes, u.shape[2] - 2 * lanes, correction.shape[0]
    if y.size > 0:
        n = _column_blocks(m)
        for t in prange(chunks):
            first, last = t * half // chunks, (t + 1) * half // chunks
            _correct_columns(first, last, u, correction, weights, rings, B)
        _edges(u, 0, rings[1], B, m)
        for q in range(2):
            for t in prange(chunks):
                first, last = t * n // chunks, (t + 1) * n // chunks
                _columns(first, last, 1 - q, False, False, r, u, links, y, w, rings, B, scale)
            _edges(u, 1 - q, rings[1], B, m)
    else:
        for t in prange(chunks):
            first, last = t * half // chunks, (t + 1) * half // chunks
            _correct_rows(first, last, u, correction, weights, rings, B)
    if x.size > 0:
        for q in range(2):
            n = blocks(u.shape[0], 1 - q, B)
            for t in prange(chunks):
                first, last = t * n // chunks, (t + 1) * n // chunks
                _rows(first, last, 1 - q, False, r, u, links, x, rings, B, scale)
    for t in prange(chunks):
        first, last = t * z.shape[0] // chunks, (t + 1) * z.shape[0] // chunks
        _give(first, last, u, z, B, back)
