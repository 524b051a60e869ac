"""One V(1,1) cycle on a three-dimensional level: eight-colour Gauss-Seidel and the transfers.

Colours are the parities (plane, row, column), from (0,0,0), the coarse points, to (1,1,1) before
the coarse correction, and in reverse order after it. As in two dimensions (`cycle2d`), each sweep
is one pass over memory, here with planes in a wavefront, and from a zero guess what is left of a
residual is the sum over neighbours relaxed later. Nothing is left at the points (1,1,1), so that
their share of the restriction is never needed; nor is their interpolation, for they are relaxed
first afterwards, from their neighbours alone.

Layout: as in `cycle2d` with one more axis in front. Split arrays are (planes, rows, 2, W). Links
are what −A has off its diagonal, in the directions 9 di + 3 dj + dl > 0: three (along columns,
rows, planes) or all thirteen in order; the point (i, j) is row (i + 1, j + 1) of the links. See
`relax3d` for the sweeps, `weights3d` for the weights.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from .._compile import borrow, jit, jit_inner, jit_parallel
from .cycle2d import copy
from .relax3d import correct_even, correct_odd, left_over, relax_back, relax_first, row_of

__all__ = ["down", "down_parallel", "up", "up_parallel"]


@jit_inner
def _from_plane(out, here, before, after, w, c, B, m):
    """out: from what is left in a row of an even plane, and in the odd rows around it."""
    e, n, s = w[0, c], w[1, c], w[1, c - 1]
    p0, p1, p2 = w[2, c], w[3, c], w[4, c - 1]
    q0, q1, q2 = w[2, c - 1], w[3, c - 1], w[4, c - 1]
    h0, h1, a0, a1, b0, b1 = here[0], here[1], after[0], after[1], before[0], before[1]
    for t in range(m):
        o = t + B
        across = e[o] * h1[o] + (1 - e[t]) * h1[t]
        rows = n[o] * a0[o] + (1 - s[o]) * b0[o]
        faces = (p0[o] * a1[o] + p1[t] * a1[t]) + p2[o] * b1[o]
        rest = (1 - ((q0[t] + q1[t]) + q2[t])) * b1[t]
        out[t] = h0[o] + ((across + rows) + (faces + rest))


@jit_inner
def _from_below(out, here, before, after, w, c, B, m):
    """out += from the odd plane after it."""
    v, p0, p1, q0, q1 = w[5, c], w[6, c], w[7, c], w[9, c], w[10, c - 1]
    h0, h1, a0, b0 = here[0], here[1], after[0], before[0]
    for t in range(m):
        o = t + B
        faces = (p0[o] * h1[o] + p1[t] * h1[t]) + (q0[o] * a0[o] + q1[o] * b0[o])
        out[t] += v[o] * h0[o] + faces


@jit_inner
def _from_above(out, here, before, after, w, c, B, m):
    """out += from the odd plane before it, which has the weights w."""
    v, p0, p1, p2 = w[5, c], w[6, c], w[7, c], w[8, c]
    q0, q1, q2, q = w[9, c - 1], w[10, c - 1], w[11, c - 1], w[11, c]
    h0, h1, a0, b0 = here[0], here[1], after[0], before[0]
    for t in range(m):
        o = t + B
        across = p2[o] * h1[o] + (1 - ((p0[t] + p1[t]) + p2[t])) * h1[t]
        rows = q[o] * a0[o] + (1 - ((q0[o] + q1[o]) + q2[o])) * b0[o]
        out[t] += (1 - v[o]) * h0[o] + (across + rows)


@jit_inner
def _restrict(out, above, rest, below, w, w_above, d, ring, zero, B):
    """Row d of a coarse plane: P^T of what is left in its plane and the odd ones around it.

    w, w_above: (12, coarse rows + 1, W), weights of the plane and of the one before.
    """
    m, c, j = out.size, d + 1, 2 * d
    inside = j + 1 < rest.shape[0]
    before, after = row_of(rest, j - 1, ring, zero), rest[j + 1] if inside else zero
    _from_plane(out, rest[j], before, after, w, c, B, m)
    before, after = row_of(below, j - 1, ring, zero), below[j + 1] if inside else zero
    _from_below(out, below[j], before, after, w, c, B, m)
    before, after = row_of(above, j - 1, ring, zero), above[j + 1] if inside else zero
    _from_above(out, above[j], before, after, w_above, c, B, m)


@jit
def down(first, last, r, u, links, inv, weights, coarse, rings, lanes, scale):
    """Pre-smoothing of r scale from zero into u, and its restricted residual: coarse planes.

    Args:
        r: (planes, rows, columns lanes). u, inv: (planes, rows, 2, W).
        weights: (12, coarse planes + 1, coarse rows + 1, W). coarse: as r, written.
    """
    rows, W = inv.shape[1], inv.shape[3]
    scratch = np.zeros((6, rows, 2, W), inv.dtype)
    _down(first, last, r, u, links, inv, weights, coarse, rings, lanes, scale, scratch)


@jit_inner
def _down(first, last, r, u, links, inv, weights, coarse, rings, lanes, scale, scratch):
    r, u, links = borrow(r), borrow(u), borrow(links)
    inv, weights = borrow(inv), borrow(weights)
    coarse, scratch = borrow(coarse), borrow(scratch)
    B, m, planes = lanes, u.shape[3] - 2 * lanes, u.shape[0]
    none, spare, ahead, rest = scratch[0], scratch[1], scratch[2], scratch[3]
    q, q_next, zero = scratch[4], scratch[5], scratch[0, 0]
    f, one = np.zeros((2, inv.shape[3]), inv.dtype), np.ones((2, inv.shape[3]), inv.dtype)

    x = u[2 * first]
    relax_first(x, none, none, 2 * first, r, f, inv, links, rings, zero, B, m, scale)
    odd = none
    if first > 0 or rings[0]:  # the plane before, for its residual
        i = 2 * first - 1 if first > 0 else planes - 1
        relax_first(ahead, none, none, i - 1, r, f, inv, links, rings, zero, B, m, scale)
        odd = spare
        relax_first(odd, ahead, x, i, r, f, inv, links, rings, zero, B, m, scale)
        left_over(q, none, odd, none, i, links, one, rings, zero, B, m)
    for k in range(first, last):
        i = 2 * k
        nxt = none
        if i + 2 < planes or rings[0]:
            n = i + 2 if i + 2 < planes else 0
            nxt = u[n] if k + 1 < last else ahead
            relax_first(nxt, none, none, n, r, f, inv, links, rings, zero, B, m, scale)
        before = odd
        if i + 1 < planes:
            odd = u[i + 1]
            relax_first(odd, x, nxt, i + 1, r, f, inv, links, rings, zero, B, m, scale)
            left_over(q_next, none, odd, none, i + 1, links, one, rings, zero, B, m)
        else:
            odd = none
            q_next[:] = 0
        left_over(rest, before, x, odd, i, links, one, rings, zero, B, m)
        w, w_above = weights[:, k + 1], weights[:, k]
        for d in range(coarse.shape[1]):
            _restrict(coarse[k, d], q, rest, q_next, w, w_above, d, rings[1], zero, B)
        x = nxt
        q, q_next = q_next, q


@jit_inner
def _coarse_plane(correction, k, e, rings, B, m):
    """Plane k of the natural coarse array into e, (coarse rows + 1, W), with what it meets next."""
    rows = correction.shape[1]
    for d in range(rows):
        row = correction[k, d]
        copy(e[d, B:], row, row.size)
        if rings[2]:
            copy(e[d, m + B :], e[d, B:], B)
    if rings[1]:
        copy(e[rows], e[0], e.shape[1])


@jit
def up(first, last, r, u, links, inv, weights, correction, z, rings, lanes, scale, back):
    """z = what post-smoothing makes of u + P correction, times back."""
    rows, W = inv.shape[1], inv.shape[3]
    scratch = np.zeros((5, rows, 2, W), inv.dtype)
    coarse = np.zeros((3, correction.shape[1] + 1, W), inv.dtype)
    _up(
        first, last, r, u, links, inv, weights, correction, z, rings, lanes, scale, back, scratch,
        coarse,
    )  # fmt: skip


@jit_inner
def _up(
    first, last, r, u, links, inv, weights, correction, z, rings, lanes, scale, back,
    scratch, coarse,
):  # fmt: skip
    r, u, links = borrow(r), borrow(u), borrow(links)
    inv, weights = borrow(inv), borrow(weights)
    correction, z, scratch, coarse = borrow(correction), borrow(z), borrow(scratch), borrow(coarse)
    B, m, planes = lanes, u.shape[3] - 2 * lanes, u.shape[0]
    none, v, v_next = scratch[0], scratch[1], scratch[2]
    odd, odd_next = scratch[3], scratch[4]
    e, e_next, nothing, zero = coarse[0], coarse[1], coarse[2], scratch[0, 0]
    f = np.zeros((2, inv.shape[3]), inv.dtype)
    unstored = z[:0]

    _coarse_plane(correction, first, e, rings, B, m)
    correct_even(v, u[2 * first], e, weights[:, first + 1], rings, B, m)
    before = none
    if first > 0 or rings[0]:
        i = 2 * first - 1 if first > 0 else planes - 1
        _coarse_plane(correction, i // 2, e_next, rings, B, m)
        w = weights[:, i // 2 + 1]
        correct_even(v_next, u[i - 1], e_next, w, rings, B, m)
        correct_odd(odd, u[i], e_next, e, w, rings, B, m)
        relax_back(
            odd, v_next, v, i, r, f, inv, links, rings, zero, B, m, scale, unstored, back
        )  # fmt: skip
        before = odd
    for k in range(first, last):
        i = 2 * k
        after, beyond, e_after = none, none, nothing
        if i + 2 < planes or rings[0]:
            n = i + 2 if i + 2 < planes else 0
            after, e_after = v_next, e_next
            _coarse_plane(correction, n // 2, e_after, rings, B, m)
            correct_even(after, u[n], e_after, weights[:, n // 2 + 1], rings, B, m)
        if i + 1 < planes:
            beyond = odd_next
            correct_odd(beyond, u[i + 1], e, e_after, weights[:, k + 1], rings, B, m)
            relax_back(
                beyond, v, after, i + 1, r, f, inv, links, rings, zero, B, m, scale, z, back
            )  # fmt: skip
        relax_back(v, before, beyond, i, r, f, inv, links, rings, zero, B, m, scale, z, back)
        before = beyond
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
