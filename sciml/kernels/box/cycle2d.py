"""One V(1,1) cycle on a two-dimensional level: four-colour Gauss-Seidel fused with the transfers.

Colours are the parities (row, column): (0,0), the coarse points, then (0,1), (1,0), (1,1) before
the coarse correction, and in reverse order after it. Each sweep is one pass over memory in which
rows follow each other in a wavefront. Two things make it cheap:

- From a zero guess, what is left of a residual is the sum over neighbours relaxed later. Nothing is
  left at the points (1,1), so that their share of the restriction is never needed; nor is their
  interpolation, for they are relaxed first afterwards, from their neighbours alone.
- Columns of a row are stored by parity, even ones first, so that every loop has unit stride.

Layout of a level with n0 rows and n1 columns, `half` = ceil(n1 / 2) slots of `lanes` members each:
split arrays (..., 2, (half + 2) lanes) hold [parity, slot] with a halo slot at both ends, 0 or a
copy of the other end where the axis is periodic; natural arrays are (n0, n1 lanes). The residual
and the result may also be split, (n0, 2, (half + 2) lanes). Links are
what −A has off its diagonal, to the east (E), south (S), south-east (D) and south-west (U); row i
of the level is row i + 1 of the links. Links to what lies outside multiply zeros.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from .._compile import borrow, jit, jit_inner, jit_parallel

__all__ = [
    "copy",
    "down",
    "down_parallel",
    "load",
    "store",
    "up",
    "up_parallel",
    "wrap_even",
    "wrap_odd",
]

_ACROSS, _UPDOWN, _ALL = 1, 2, 3
ROWS = 8  # of scratch


@jit_inner
def _across(out, f, inv, w, xw, e, xe, m):
    for t in range(m):
        out[t] = (f[t] + (w[t] * xw[t] + e[t] * xe[t])) * inv[t]


@jit_inner
def _updown5(out, f, inv, n, xn, s, xs, m):
    for t in range(m):
        out[t] = (f[t] + (n[t] * xn[t] + s[t] * xs[t])) * inv[t]


@jit_inner
def _all5(out, f, inv, w, xw, e, xe, n, xn, s, xs, m):
    for t in range(m):
        a = w[t] * xw[t] + e[t] * xe[t]
        out[t] = (f[t] + (a + (n[t] * xn[t] + s[t] * xs[t]))) * inv[t]


@jit_inner
def _updown9(out, f, inv, n, xn, s, xs, nw, xnw, ne, xne, sw, xsw, se, xse, m):
    for t in range(m):
        a = (n[t] * xn[t] + s[t] * xs[t]) + (nw[t] * xnw[t] + ne[t] * xne[t])
        out[t] = (f[t] + (a + (sw[t] * xsw[t] + se[t] * xse[t]))) * inv[t]


@jit_inner
def _all9(out, f, inv, w, xw, e, xe, n, xn, s, xs, nw, xnw, ne, xne, sw, xsw, se, xse, m):
    for t in range(m):
        a = (n[t] * xn[t] + s[t] * xs[t]) + (nw[t] * xnw[t] + ne[t] * xne[t])
        b = (w[t] * xw[t] + e[t] * xe[t]) + (sw[t] * xsw[t] + se[t] * xse[t])
        out[t] = (f[t] + (a + b)) * inv[t]


@jit_inner
def _even(out, f, inv, which, x, n, s, links, i, B, m):
    """out = (f + links · neighbours) inv at the even columns of row i; x, n, s: the rows around."""
    E, S, N = links[0, i + 1], links[1, i + 1], links[1, i]
    o, out, f, inv = x[1], out[B:], f[B:], inv[B:]
    if which == _ACROSS:
        _across(out, f, inv, E[1], o, E[0, B:], o[B:], m)
        return
    xn, xs, ln, ls = n[0, B:], s[0, B:], N[0, B:], S[0, B:]
    if links.shape[0] == 2:
        if which == _UPDOWN:
            _updown5(out, f, inv, ln, xn, ls, xs, m)
        else:
            _all5(out, f, inv, E[1], o, E[0, B:], o[B:], ln, xn, ls, xs, m)
        return
    nw, ne, sw, se = (
        links[2, i, 1],
        links[3, i, 1, B:],
        links[3, i + 1, 0, B:],
        links[2, i + 1, 0, B:],
    )
    xnw, xne, xsw, xse = n[1], n[1, B:], s[1], s[1, B:]
    if which == _UPDOWN:
        _updown9(out, f, inv, ln, xn, ls, xs, nw, xnw, ne, xne, sw, xsw, se, xse, m)
    else:
        w, e, xe = E[1], E[0, B:], o[B:]
        _all9(out, f, inv, w, o, e, xe, ln, xn, ls, xs, nw, xnw, ne, xne, sw, xsw, se, xse, m)


@jit_inner
def _odd(out, f, inv, which, x, n, s, links, i, B, m):
    """`_even` for the odd columns."""
    E, S, N = links[0, i + 1], links[1, i + 1], links[1, i]
    e, out, f, inv = x[0], out[B:], f[B:], inv[B:]
    if which == _ACROSS:
        _across(out, f, inv, E[0, B:], e[B:], E[1, B:], e[2 * B :], m)
        return
    xn, xs, ln, ls = n[1, B:], s[1, B:], N[1, B:], S[1, B:]
    if links.shape[0] == 2:
        if which == _UPDOWN:
            _updown5(out, f, inv, ln, xn, ls, xs, m)
        else:
            _all5(out, f, inv, E[0, B:], e[B:], E[1, B:], e[2 * B :], ln, xn, ls, xs, m)
        return
    nw, ne = links[2, i, 0, B:], links[3, i, 0, 2 * B :]
    sw, se = links[3, i + 1, 1, B:], links[2, i + 1, 1, B:]
    xnw, xne, xsw, xse = n[0, B:], n[0, 2 * B :], s[0, B:], s[0, 2 * B :]
    if which == _UPDOWN:
        _updown9(out, f, inv, ln, xn, ls, xs, nw, xnw, ne, xne, sw, xsw, se, xse, m)
    else:
        w, xw, r, xr = E[0, B:], e[B:], E[1, B:], e[2 * B :]
        _all9(out, f, inv, w, xw, r, xr, ln, xn, ls, xs, nw, xnw, ne, xne, sw, xsw, se, xse, m)


@jit_inner
def copy(out, x, m):
    """out[:m] = x[:m], which takes thirty times as long to compile where it is written so."""
    for t in range(m):
        out[t] = x[t]


@jit_inner
def wrap_even(x, B, m):
    copy(x[0, m + B :], x[0, B:], B)


@jit_inner
def wrap_odd(x, B, m):
    copy(x[1], x[1, m:], B)


@jit_inner
def load(x, f, B, scale):
    """Natural row x into the split row f, times scale; a slot without a column gets 0."""
    even, odd = f[0, B:], f[1, B:]
    n = x.size // B
    if B == 1:
        for j in range(n // 2):
            even[j] = x[2 * j] * scale
            odd[j] = x[2 * j + 1] * scale
    else:
        for j in range(n // 2):
            a, b = x[2 * j * B :], x[(2 * j + 1) * B :]
            p, q = even[j * B :], odd[j * B :]
            for t in range(B):
                p[t] = a[t] * scale
                q[t] = b[t] * scale
    if n % 2:
        h = n // 2
        for t in range(B):
            even[h * B + t] = x[(n - 1) * B + t] * scale
            odd[h * B + t] = 0


@jit_inner
def store(f, x, B, scale):
    """The split row f into the natural row x, times scale."""
    even, odd = f[0, B:], f[1, B:]
    n = x.size // B
    if B == 1:
        for j in range(n // 2):
            x[2 * j] = even[j] * scale
            x[2 * j + 1] = odd[j] * scale
    else:
        for j in range(n // 2):
            a, b = x[2 * j * B :], x[(2 * j + 1) * B :]
            p, q = even[j * B :], odd[j * B :]
            for t in range(B):
                a[t] = p[t] * scale
                b[t] = q[t] * scale
    if n % 2:
        h = n // 2
        for t in range(B):
            x[(n - 1) * B + t] = even[h * B + t] * scale


@jit_inner
def _load_row(x, i, f, B, scale):
    """Row i of the natural x times scale, in the split row f, or of the split x as it is; a row
    added to make a ring even gets 0."""
    if i >= x.shape[0]:
        f[:] = 0
    elif x.ndim == 3:
        f = x[i]
    else:
        load(x[i], f, B, scale)
    return f


@jit_inner
def _store_row(f, x, i, B, scale):
    """The split row f times scale into row i of x, natural or split."""
    if x.ndim == 3:
        for p in range(2):
            a, b = f[p], x[i, p]
            for t in range(a.size):
                b[t] = a[t] * scale
    else:
        store(f, x[i], B, scale)


@jit_inner
def _relax_even_row(u, i, r, f, inv, links, zero, ring, B, m, scale):
    """Row i (even) from zero: colours (0,0), (0,1)."""
    f = _load_row(r, i, f, B, scale)
    even, f0, d0 = u[0, B:], f[0, B:], inv[i, 0, B:]
    for t in range(m):
        even[t] = f0[t] * d0[t]
    if ring:
        wrap_even(u, B, m)
    _odd(u[1], f[1], inv[i, 1], _ACROSS, u, zero, zero, links, i, B, m)
    if ring:
        wrap_odd(u, B, m)


@jit_inner
def _relax_odd_row(u, i, n, s, r, f, inv, links, ring, B, m, scale):
    """Row i (odd) from zero, between the rows n and s: colours (1,0), (1,1)."""
    f = _load_row(r, i, f, B, scale)
    _even(u[0], f[0], inv[i, 0], _UPDOWN, u, n, s, links, i, B, m)
    if ring:
        wrap_even(u, B, m)
    _odd(u[1], f[1], inv[i, 1], _ALL, u, n, s, links, i, B, m)
    if ring:
        wrap_odd(u, B, m)


@jit_inner
def _restrict(out, rest, below, above, h, v, v_above, B, m):
    """One coarse row: P^T of the residuals in a row (rest) and the odd rows around it."""
    east, r0, r1, left = h[B:], rest[0, B:], rest[1, B:], rest[1]
    vb, va, b, a = v[B:], v_above[B:], below[B:], above[B:]
    for t in range(m):
        across = east[t] * r1[t] + (1 - h[t]) * left[t]
        out[t] = r0[t] + across + (vb[t] * b[t] + (1 - va[t]) * a[t])


@jit
def down(first, last, r, u, links, inv, weights, coarse, rings, lanes, scale):
    """Pre-smoothing of r scale from zero into u, and its restricted residual: coarse rows."""
    scratch = np.zeros((ROWS, 2, inv.shape[2]), inv.dtype)
    _down(first, last, r, u, links, inv, weights, coarse, rings, lanes, scale, scratch)


@jit_inner
def _down(first, last, r, u, links, inv, weights, coarse, rings, lanes, scale, scratch):
    r, u, links, inv, weights = borrow(r), borrow(u), borrow(links), borrow(inv), borrow(weights)
    coarse, scratch = borrow(coarse), borrow(scratch)
    B, m, rows = lanes, u.shape[2] - 2 * lanes, u.shape[0]
    zero, one, f, rest = scratch[0], scratch[1], scratch[2], scratch[3]
    above, below = scratch[4], scratch[5]
    one[:] = 1
    ring0, ring1 = rings[0], rings[1]
    q, q_next = scratch[6, 0], scratch[7, 0]

    x = u[2 * first]
    _relax_even_row(x, 2 * first, r, f, inv, links, zero, ring1, B, m, scale)
    odd = zero
    if first > 0 or ring0:  # the row before, for its residual
        i = 2 * first - 1 if first > 0 else rows - 1
        _relax_even_row(below, i - 1, r, f, inv, links, zero, ring1, B, m, scale)
        odd = above
        _relax_odd_row(odd, i, below, x, r, f, inv, links, ring1, B, m, scale)
        _even(q, zero[0], one[0], _ACROSS, odd, zero, zero, links, i, B, m)
    for c in range(first, last):
        i = 2 * c
        nxt = zero
        if i + 2 < rows or ring0:
            k = i + 2 if i + 2 < rows else 0
            nxt = u[k] if c + 1 < last else below
            _relax_even_row(nxt, k, r, f, inv, links, zero, ring1, B, m, scale)
        before = odd
        if i + 1 < rows:
            odd = u[i + 1]
            _relax_odd_row(odd, i + 1, x, nxt, r, f, inv, links, ring1, B, m, scale)
            _even(q_next, zero[0], one[0], _ACROSS, odd, zero, zero, links, i + 1, B, m)
        else:
            odd = zero
            q_next[:] = 0
        _even(rest[0], zero[0], one[0], _ALL, x, before, odd, links, i, B, m)
        _odd(rest[1], zero[1], one[1], _UPDOWN, x, before, odd, links, i, B, m)
        if ring1:
            wrap_odd(rest, B, m)
        h, v, v_above = weights[0, c + 1], weights[1, c + 1], weights[1, c]
        _restrict(coarse[c], rest, q_next, q, h, v, v_above, B, coarse.shape[1])
        x = nxt
        q, q_next = q_next, q


@jit_inner
def _correct_even_row(v, u, e, h, ring, B, m):
    """v = u + P e in an even row, e the coarse row."""
    v0, v1, u0, u1, east = v[0, B:], v[1, B:], u[0, B:], u[1, B:], h[B:]
    here, beyond = e[B:], e[2 * B :]
    for t in range(m):
        v0[t] = u0[t] + here[t]
        v1[t] = u1[t] + (east[t] * here[t] + (1 - east[t]) * beyond[t])
    if ring:
        wrap_even(v, B, m)
        wrap_odd(v, B, m)


@jit_inner
def _coarse_row(correction, c, e, ring, B, m):
    """Row c of the natural coarse array into e, with its halo."""
    row = correction[c]
    copy(e[B:], row, row.size)
    if ring:
        copy(e[m + B :], e[B:], B)


@jit_inner
def _finish_odd_row(z, i, u, e, e_next, v, n, s, r, f, inv, links, ring, B, m, scale):
    """Row i (odd) corrected and relaxed: colours (1,1), (1,0)."""
    f = _load_row(r, i, f, B, scale)
    z0, u0, north, a, b = z[0, B:], u[0, B:], v[B:], e[B:], e_next[B:]
    for t in range(m):
        z0[t] = u0[t] + (north[t] * a[t] + (1 - north[t]) * b[t])
    if ring:
        wrap_even(z, B, m)
    _odd(z[1], f[1], inv[i, 1], _ALL, z, n, s, links, i, B, m)
    if ring:
        wrap_odd(z, B, m)
    _even(z[0], f[0], inv[i, 0], _ALL, z, n, s, links, i, B, m)
    if ring:
        wrap_even(z, B, m)


@jit
def up(first, last, r, u, links, inv, weights, correction, z, rings, lanes, scale, back):
    """z = what post-smoothing makes of u + P correction, times back."""
    scratch = np.zeros((ROWS, 2, inv.shape[2]), inv.dtype)
    _up(first, last, r, u, links, inv, weights, correction, z, rings, lanes, scale, back, scratch)


@jit_inner
def _up(first, last, r, u, links, inv, weights, correction, z, rings, lanes, scale, back, scratch):
    r, u, links, inv, weights = borrow(r), borrow(u), borrow(links), borrow(inv), borrow(weights)
    correction, z, scratch = borrow(correction), borrow(z), borrow(scratch)
    B, m, rows, half = lanes, u.shape[2] - 2 * lanes, u.shape[0], correction.shape[0]
    f, v, v_next = scratch[1], scratch[2], scratch[3]
    odd, odd_next = scratch[4], scratch[5]
    e, e_next = scratch[6, 0], scratch[7, 0]
    ring0, ring1 = rings[0], rings[1]

    _coarse_row(correction, first, e, ring1, B, m)
    _correct_even_row(v, u[2 * first], e, weights[0, first + 1], ring1, B, m)
    if first > 0 or ring0:
        i = 2 * first - 1 if first > 0 else rows - 1
        c = first - 1 if first > 0 else half - 1
        _coarse_row(correction, c, e_next, ring1, B, m)
        _correct_even_row(v_next, u[i - 1], e_next, weights[0, c + 1], ring1, B, m)
        w = weights[1, c + 1]
        _finish_odd_row(odd, i, u[i], e_next, e, w, v_next, v, r, f, inv, links, ring1, B, m, scale)
    for c in range(first, last):
        i = 2 * c
        if i + 2 < rows or ring0:
            k = i + 2 if i + 2 < rows else 0
            _coarse_row(correction, k // 2, e_next, ring1, B, m)
            _correct_even_row(v_next, u[k], e_next, weights[0, k // 2 + 1], ring1, B, m)
        else:
            v_next[:] = 0
            e_next[:] = 0
        if i + 1 < rows:
            w = weights[1, c + 1]
            _finish_odd_row(
                odd_next,
                i + 1,
                u[i + 1],
                e,
                e_next,
                w,
                v,
                v_next,
                r,
                f,
                inv,
                links,
                ring1,
                B,
                m,
                scale,
            )
            if i + 1 < z.shape[0]:
                _store_row(odd_next, z, i + 1, B, back)
        else:
            odd_next[:] = 0
        g = _load_row(r, i, f, B, scale)
        _odd(v[1], g[1], inv[i, 1], _ALL, v, odd, odd_next, links, i, B, m)
        if ring1:
            wrap_odd(v, B, m)
        _even(v[0], g[0], inv[i, 0], _ALL, v, odd, odd_next, links, i, B, m)
        _store_row(v, z, i, B, back)
        v, v_next = v_next, v
        odd, odd_next = odd_next, odd
        e, e_next = e_next, e


@jit_parallel
def down_parallel(chunks, r, u, links, inv, weights, coarse, rings, lanes, scale):
    n = coarse.shape[0]
    for t in prange(chunks):
        first, last = t * n // chunks, (t + 1) * n // chunks
        down(first, last, r, u, links, inv, weights, coarse, rings, lanes, scale)


@jit_parallel
def up_parallel(chunks, r, u, links, inv, weights, correction, z, rings, lanes, scale, back):
    n = correction.shape[0]
    for t in prange(chunks):
        first, last = t * n // chunks, (t + 1) * n // chunks
        up(first, last, r, u, links, inv, weights, correction, z, rings, lanes, scale, back)
