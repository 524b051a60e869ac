"""Loops of the nodal stencil with arithmetic means; called through `stencil.nodes`.

Weights multiply each k before they are added: float32 coefficients are then widened exactly.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from ._compile import borrow, jit, jit_inner, jit_parallel
from ._sums import distance

__all__ = ["nodes_2d", "nodes_2d_parallel", "nodes_3d", "nodes_3d_parallel"]


@jit_inner
def _node_row_2d(kl, kh, x, xn, y, f, w0, w1):
    """One row of nodes between the rows `kl` and `kh` of cells."""
    last = x.size - 1
    before = -(w1 * kl[0] + w1 * kh[0]) * x[0]
    for j in range(last):
        g = (w1 * kl[j + 1] + w1 * kh[j + 1]) * (x[j] - x[j + 1])
        v = (w0 * kh[j] + w0 * kh[j + 1]) * (x[j] - xn[j])
        y[j] = (g - before) + (v - f[j])
        before = g
        f[j] = v
    g = (w1 * kl[last + 1] + w1 * kh[last + 1]) * x[last]
    v = (w0 * kh[last] + w0 * kh[last + 1]) * (x[last] - xn[last])
    y[last] = (g - before) + (v - f[last])
    f[last] = v


@jit
def nodes_2d(start, stop, member, k, x, y, w, b, sums):
    """Rows start..stop, counted through the whole batch; for `sums` see `stencil._cells_2d`."""
    lines = np.zeros((3, x.shape[2]), y.dtype)
    out = np.empty((1, 1, x.shape[2]), y.dtype) if sums.size else y
    _rows_of_nodes(start, stop, member, k, x, out, lines, w, b, sums)


@jit_inner
def _rows_of_nodes(start, stop, member, k, x, y, lines, w, b, sums):
    k, x, y, lines, b = borrow(k), borrow(x), borrow(y), borrow(lines), borrow(b)
    f, ghost, scratch = lines[0], lines[1], lines[2]
    n0 = x.shape[1]
    for r in range(start, stop):
        m, i = r // n0, r % n0
        km, xm = k[member[m]], x[m]
        if i == 0 or r == start:  # the row before, for its fluxes to this one
            xp = xm[i - 1] if i > 0 else ghost
            _node_row_2d(km[i], km[i], xp, xm[i], scratch, f, w[0], w[1])
        xn = xm[i + 1] if i + 1 < n0 else ghost
        out = y[0, 0] if sums.size else y[m, i]
        _node_row_2d(km[i], km[i + 1], xm[i], xn, out, f, w[0], w[1])
        if sums.size:
            sums[r] = distance(b[m, i], out, sums.dtype.type(0))


@jit_inner
def _node_row_3d(kll, klh, khl, khh, x, xn, xu, y, f, e, w0, w1, w2):
    """One row of nodes: khl is the row of cells above in axis 0 and below in axis 1."""
    last = x.size - 1
    before = -((w2 * kll[0] + w2 * klh[0]) + (w2 * khl[0] + w2 * khh[0])) * x[0]
    for j in range(last):
        g = ((w2 * kll[j + 1] + w2 * klh[j + 1]) + (w2 * khl[j + 1] + w2 * khh[j + 1])) * (
            x[j] - x[j + 1]
        )
        v = ((w1 * klh[j] + w1 * klh[j + 1]) + (w1 * khh[j] + w1 * khh[j + 1])) * (x[j] - xn[j])
        u = ((w0 * khl[j] + w0 * khl[j + 1]) + (w0 * khh[j] + w0 * khh[j + 1])) * (x[j] - xu[j])
        y[j] = (g - before) + (v - f[j]) + (u - e[j])
        before = g
        f[j] = v
        e[j] = u
    h = last + 1
    g = ((w2 * kll[h] + w2 * klh[h]) + (w2 * khl[h] + w2 * khh[h])) * x[last]
    v = ((w1 * klh[last] + w1 * klh[h]) + (w1 * khh[last] + w1 * khh[h])) * (x[last] - xn[last])
    u = ((w0 * khl[last] + w0 * khl[h]) + (w0 * khh[last] + w0 * khh[h])) * (x[last] - xu[last])
    y[last] = (g - before) + (v - f[last]) + (u - e[last])
    f[last] = v
    e[last] = u


@jit_inner
def _node_plane(kl, kh, x, xu, y, e, ghost, lines, w):
    """One plane of nodes between the planes `kl` and `kh` of cells."""
    n1 = x.shape[0]
    f, d, scratch = lines[0], lines[1], lines[2]
    _node_row_3d(  # the boundary below row 0, for its fluxes
        kl[0], kl[0], kh[0], kh[0], ghost[0], x[0], ghost[0], scratch, f, d, w[0], w[1], w[2]
    )
    for j in range(n1):
        xn = x[j + 1] if j + 1 < n1 else ghost[0]
        _node_row_3d(
            kl[j], kl[j + 1], kh[j], kh[j + 1], x[j], xn, xu[j], y[j], f, e[j], w[0], w[1], w[2]
        )


@jit
def nodes_3d(start, stop, member, k, x, y, w, b, sums):
    """Planes start..stop, as `nodes_2d` does rows."""
    planes, lines = np.zeros((3, *x.shape[2:]), y.dtype), np.zeros((3, x.shape[3]), y.dtype)
    out = np.empty((1, 1, *x.shape[2:]), y.dtype) if sums.size else y
    _planes_of_nodes(start, stop, member, k, x, out, planes, lines, w, b, sums)


@jit_inner
def _planes_of_nodes(start, stop, member, k, x, y, planes, lines, w, b, sums):
    k, x, y, planes, lines = borrow(k), borrow(x), borrow(y), borrow(planes), borrow(lines)
    b = borrow(b)
    e, ghost, scratch = planes[0], planes[1], planes[2]
    n0 = x.shape[1]
    for r in range(start, stop):
        m, i = r // n0, r % n0
        km, xm = k[member[m]], x[m]
        if i == 0 or r == start:
            xp = xm[i - 1] if i > 0 else ghost
            _node_plane(km[i], km[i], xp, xm[i], scratch, e, ghost, lines, w)
        xu = xm[i + 1] if i + 1 < n0 else ghost
        out = y[0, 0] if sums.size else y[m, i]
        _node_plane(km[i], km[i + 1], xm[i], xu, out, e, ghost, lines, w)
        if sums.size:
            total = zero = sums.dtype.type(0)
            for j in range(x.shape[2]):
                total += distance(b[m, i, j], out[j], zero)
            sums[r] = total


@jit_parallel
def nodes_2d_parallel(chunks, rows, member, k, x, y, w, b, sums):
    for t in prange(chunks):
        nodes_2d(t * rows // chunks, (t + 1) * rows // chunks, member, k, x, y, w, b, sums)


@jit_parallel
def nodes_3d_parallel(chunks, rows, member, k, x, y, w, b, sums):
    for t in prange(chunks):
        nodes_3d(t * rows // chunks, (t + 1) * rows // chunks, member, k, x, y, w, b, sums)
