"""Set-up of one two-dimensional level: interpolation weights and the Galerkin coarse operator.

An edge point (0,1) or (1,0) is interpolated from the two coarse points of its line, on a five-point
level with its links to them as weights, on a nine-point one as `weights2d` says; a centre (1,1)
from all its neighbours, with its links as weights (Dendy, J. Comput. Phys. 48, 1982). Constants are
interpolated exactly.

The coarse links follow from the energy u^T A u = Σ c_ab (u_a − u_b)² + Σ s_a u_a² with u = P v,
cell by cell. With p the weights of a centre, c_j its links and w their sum, its links contribute
w p_x p_y − Σ_j c_j P_jx P_jy to the link of the corners x and y. Off-diagonal entries and the mass
s (lumped) are all that is kept, in float64 until they are stored: so a strong coupling never
swallows a weak one, which decides about convergence at contrast 1e6.

Points outside are zero: they count as coarse points with value 0. See `cycle2d` for the layout.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from .._compile import borrow, jit, jit_inner, jit_parallel
from .weights2d import column_ends, row_at, row_ends

__all__ = ["coarsen", "coarsen_parallel", "write_row"]


@jit_inner
def _share(a, b):
    """a / (a + b), a half where both vanish."""
    s = a + b
    return a / s if s != 0 else 0.5


@jit_inner
def _row_weights(h, E, B, m, ghost, ring):
    """h[t]: weight of the western coarse point for odd slot J = t/B − 1 of an even row."""
    west, east = E[0], E[1]
    for t in range(m + B):
        h[t] = _share(np.float64(west[t]), np.float64(east[t]))
    row_ends(h, B, m, ghost, ring)


@jit_inner
def _column_weights(v, S, S_up, B, m, ring):
    """v[t]: weight of the northern coarse point for even slot J = t/B − 1 of an odd row."""
    north, south, inner = S_up[0, B:], S[0, B:], v[B:]
    for t in range(m):
        inner[t] = _share(np.float64(north[t]), np.float64(south[t]))
    column_ends(v, B, m, ring)


@jit_inner
def _found(out, weights, k, ring):
    """The weights of row k that `weights2d` found; a half in a row outside."""
    n = weights.shape[0] - 1
    if ring:
        out[:] = weights[k % n + 1]
    elif 0 <= k < n:
        out[:] = weights[k + 1]
    else:
        out[:] = 0.5


@jit_inner
def _centres(p, q, c, E, S_top, S, D_top, U_top, D, U, h, g, v, B, m):
    """For cell t: p, the weights of its centre at its corners (0 north-west, 1 north-east, 2
    south-west, 3 south-east), q = Σ_j c_j P_j, and c: its link to N, S, W, E, and their sum."""
    n_, s_, w_, e_ = S_top[1], S[1], E[0], E[1]
    a_, b_, c_, d_ = D_top[0], U_top[0, B:], U[1], D[1]
    q0, q1, q2, q3 = q[0], q[1], q[2], q[3]
    p0, p1, p2, p3, total = p[0], p[1], p[2], p[3], c[4]
    east = v[B:]
    for t in range(m + B):
        n, s, w, e = np.float64(n_[t]), np.float64(s_[t]), np.float64(w_[t]), np.float64(e_[t])
        x0 = np.float64(a_[t]) + (n * h[t] + w * v[t])
        x1 = np.float64(b_[t]) + (n * (1 - h[t]) + e * east[t])
        x2 = np.float64(c_[t]) + (s * g[t] + w * (1 - v[t]))
        x3 = np.float64(d_[t]) + (s * (1 - g[t]) + e * (1 - east[t]))
        sum_ = (x0 + x1) + (x2 + x3)
        r = 1 / sum_ if sum_ != 0 else 0.0
        q0[t], q1[t], q2[t], q3[t], total[t] = x0, x1, x2, x3, sum_
        p0[t], p1[t], p2[t], p3[t] = x0 * r, x1 * r, x2 * r, x3 * r


@jit_inner
def _outside(p, B, m, top, bottom, ghost, ring):
    """A centre outside takes the value of a corner that is outside too: 0."""
    if top or bottom:
        p[:] = 0
        p[0 if top else 2] = 1
        return
    if not ring:
        p[:, :B] = 0
        p[0, :B] = 1
        if ghost:
            p[:, m : m + B] = 0
            p[1, m : m + B] = 1


@jit_inner
def _pairs(x, p, q, c, E, S_top, S, D_top, U_top, D, U, h, g, v, B, m):
    """x[k, t]: what cell t adds to the links of its corners. k: 0 north (0-1), 1 south (2-3),
    2 west (0-2), 3 east (1-3), 4 the falling diagonal (0-3), 5 the rising one (1-2, a slot on)."""
    n_, s_, w_, e_ = S_top[1], S[1], E[0], E[1]
    nw_, ne_, sw_, se_ = U_top[1], D_top[1], D[0], U[0, B:]
    q0, q1, q2, q3 = q[0], q[1], q[2], q[3]
    p0, p1, p2, p3, total = p[0], p[1], p[2], p[3], c[4]
    x0, x1, x2, x3, x4, x5 = x[0], x[1], x[2], x[3], x[4], x[5, B:]
    east = v[B:]
    for t in range(m + B):
        a, b, c2, d = p0[t], p1[t], p2[t], p3[t]
        qa, qb, qc, qd, w = q0[t], q1[t], q2[t], q3[t], total[t]
        ht, gt, vt, wt = h[t], g[t], v[t], east[t]
        h1, g1, v1, w1 = 1 - ht, 1 - gt, 1 - vt, 1 - wt
        nw, ne = np.float64(nw_[t]), np.float64(ne_[t])
        sw, se = np.float64(sw_[t]), np.float64(se_[t])
        # the links of the centre
        north = (a * qb + b * qa) - w * a * b - np.float64(n_[t]) * ht * h1
        south = (c2 * qd + d * qc) - w * c2 * d - np.float64(s_[t]) * gt * g1
        west = (a * qc + c2 * qa) - w * a * c2 - np.float64(w_[t]) * vt * v1
        right = (b * qd + d * qb) - w * b * d - np.float64(e_[t]) * wt * w1
        fall = (a * qd + d * qa) - w * a * d
        rise = (b * qc + c2 * qb) - w * b * c2
        # the four links between edge points
        north += nw * (vt - ht) * h1 + ne * ht * (wt - h1)
        south += sw * (v1 - gt) * g1 + se * gt * (w1 - g1)
        west += nw * (ht - vt) * v1 + sw * vt * (gt - v1)
        right += ne * (h1 - wt) * w1 + se * wt * (g1 - w1)
        fall += ne * ht * w1 + sw * vt * g1
        rise += nw * h1 * v1 + se * wt * gt
        x0[t], x1[t], x2[t], x3[t], x4[t], x5[t] = north, south, west, right, fall, rise


@jit_inner
def write_row(dst, src, B, half):
    """The columns -1, 0, ..., half of src (column c at (c + 1) B) by parity into the row dst."""
    even, odd = dst[0, B:], dst[1]
    if B == 1:
        for k in range(half // 2 + 1):
            even[k] = src[2 * k + 1]
            odd[k] = src[2 * k]
        if half % 2:
            odd[half // 2 + 1] = src[half + 1]
        return
    for k in range(half // 2 + 1):
        a, b, p, q = src[(2 * k + 1) * B :], src[2 * k * B :], even[k * B :], odd[k * B :]
        for t in range(B):
            p[t] = a[t]
            q[t] = b[t]
    if half % 2:
        q, b = odd[(half // 2 + 1) * B :], src[(half + 1) * B :]
        for t in range(B):
            q[t] = b[t]


@jit_inner
def _invert(inv, E, S, S_up, D, U, D_up, U_up, mass, B, m, ghost):
    """1 / the diagonal of one row; 0 where there is no point."""
    e0, e1, s0, s1, n0, n1 = E[0, B:], E[1, B:], S[0, B:], S[1, B:], S_up[0, B:], S_up[1, B:]
    d0, d1, u0, u1 = D[0, B:], D[1, B:], U[0, B:], U[1, B:]
    a0, a1, b0, b1 = D_up[0, B:], D_up[1], U_up[0, 2 * B :], U_up[1, B:]
    w = E[1]
    i0, i1, k0, k1 = inv[0, B:], inv[1, B:], mass[0, B:], mass[1, B:]
    for t in range(m):
        x = (np.float64(e0[t]) + w[t]) + (np.float64(s0[t]) + n0[t])
        x += (np.float64(d0[t]) + u0[t]) + (np.float64(a1[t]) + b1[t]) + k0[t]
        y = (np.float64(e0[t]) + e1[t]) + (np.float64(s1[t]) + n1[t])
        y += (np.float64(d1[t]) + u1[t]) + (np.float64(a0[t]) + b0[t]) + k1[t]
        i0[t] = 1 / x if x > 0 else 0.0
        i1[t] = 1 / y if y > 0 else 0.0
    a0 = D_up[0, B:]
    if ghost:
        i1[m - B : m] = 0


@jit_inner
def _spread(x, p, mass_top, mass, h, g, v, B, m):
    """x[k, t]: the mass that cell t gives to its corners k, that of its north and west side too."""
    a, b, c, d, east = x[0], x[1], x[2], x[3], mass[1]
    for t in range(m + B):
        n, w, z = np.float64(mass_top[1, t]), np.float64(mass[0, t]), np.float64(east[t])
        a[t] = np.float64(mass_top[0, t]) + n * h[t] + w * v[t] + z * p[0, t]
        b[t] = n * (1 - h[t]) + z * p[1, t]
        c[t] = w * (1 - v[t]) + z * p[2, t]
        d[t] = z * p[3, t]


@jit
def coarsen(first, last, links, mass, inv, weights, coarse, coarse_mass, rings, n1, lanes):
    """Coarse rows first..last (and −1 before row 0) of the links, this level's inv and weights.

    Args:
        links: (2 or 4, rows + 2, 2, W). mass: as inv, or of size 0. n1: columns.
        inv: (rows, 2, W), written. weights: (2, coarse rows + 1, W), written where there are two
            links, else read.
        coarse, coarse_mass: of the next level, written without the halos of rings.
    """
    links, mass, inv, weights = borrow(links), borrow(mass), borrow(inv), borrow(weights)
    coarse, coarse_mass = borrow(coarse), borrow(coarse_mass)
    B, W = lanes, inv.shape[2]
    m, half, rows = W - 2 * B, W // B - 2, inv.shape[0]
    nine, massive, ghost = links.shape[0] == 4, mass.size > 0, n1 % 2 == 1
    ring0, ring1 = rings[0], rings[1]
    none = np.zeros((2, W), links.dtype)
    p, q, c = np.zeros((4, W)), np.zeros((4, W)), np.zeros((5, W))
    x, x_old = np.zeros((6, W)), np.zeros((6, W))
    y, y_old, out = np.zeros((4, W)), np.zeros((4, W)), np.zeros(W)
    h, g, v = np.zeros(W), np.zeros(W), np.zeros(W)

    start = first - 1
    for k in range(start, last):
        # rows 2k (top), 2k + 1 (mid), 2k + 2 (low) of the links
        top = row_at(2 * k, rows, ring0)
        mid, low = row_at(2 * k + 1, rows, ring0), row_at(2 * k + 2, rows, ring0)
        E, S = links[0], links[1]
        D_top = links[2, top] if nine else none
        U_top = links[3, top] if nine else none
        D = links[2, mid] if nine else none
        U = links[3, mid] if nine else none
        if nine:
            _found(h, weights[0], k, ring0)
            _found(g, weights[0], k + 1, ring0)
            _found(v, weights[1], k, ring0)
        else:
            if k == start:
                _row_weights(h, E[top], B, m, ghost, ring1)
            _row_weights(g, E[low], B, m, ghost, ring1)
            _column_weights(v, S[mid], S[top], B, m, ring1)
        above, below = k < 0 and not ring0, 2 * k + 1 >= rows
        if above:
            v[:] = 1
        elif below:
            v[:] = 0
        _centres(p, q, c, E[mid], S[top], S[mid], D_top, U_top, D, U, h, g, v, B, m)
        _outside(p, B, m, above, below, ghost, ring1)
        _pairs(x, p, q, c, E[mid], S[top], S[mid], D_top, U_top, D, U, h, g, v, B, m)
        if massive:
            j = 2 * k + 1
            mass_top = none if above else mass[2 * k % rows]
            mass_mid = none if above or below else mass[j % rows]
            _spread(y, p, mass_top, mass_mid, h, g, v, B, m)
        if k >= first:
            _level_rows(
                inv, weights, mass if massive else inv[:0], k, links, none, h, v, B, m, ghost, ring0
            )
            _coarse_row(coarse, k, E[top], S[top], S[mid], h, v, x, x_old, out, B, m, half)
            if massive:
                _coarse_mass(coarse_mass, k, y, y_old, out, B, m, half, ring1)
        elif k < 0 and not ring0:
            _coarse_row(coarse, k, none, none, S[mid], h, v, x, x_old, out, B, m, half)
            weights[1, 0] = 1
        x, x_old = x_old, x
        y, y_old = y_old, y
        h, g = g, h


@jit_inner
def _level_rows(inv, weights, mass, k, links, none, h, v, B, m, ghost, ring0):
    """Weights of cell row k, and the inverse diagonals of fine rows 2k and 2k + 1."""
    nine, rows = links.shape[0] == 4, inv.shape[0]
    if not nine:
        weights[0, k + 1] = h
        weights[1, k + 1] = v
    for i in range(2 * k, min(2 * k + 2, rows)):
        E, S, S_up = links[0, i + 1], links[1, i + 1], links[1, i]
        D = links[2, i + 1] if nine else none
        U = links[3, i + 1] if nine else none
        D_up = links[2, i] if nine else none
        U_up = links[3, i] if nine else none
        s = mass[i] if mass.size > 0 else none
        _invert(inv[i], E, S, S_up, D, U, D_up, U_up, s, B, m, ghost)


@jit_inner
def _coarse_row(coarse, k, E, S_top, S, h, v, x, x_old, out, B, m, half):
    """Row k of the coarse links from the cells of rows k (x) and k − 1 (x_old)."""
    e0, e1, s0, s1 = E[0], E[1], S_top[0], S[0]
    north, south = x[0], x_old[1]
    for t in range(m + B):
        own = np.float64(e0[t]) * (1 - h[t]) ** 2 + np.float64(e1[t]) * h[t] ** 2
        out[t] = own + (north[t] + south[t])
    out[m + B :] = 0
    write_row(coarse[0, k + 1], out, B, half)
    west, east = x[2], x[3]
    out[:B] = 0
    s0, s1, v, west, inner = s0[B:], s1[B:], v[B:], west[B:], out[B:]
    for t in range(m):
        own = np.float64(s0[t]) * (1 - v[t]) ** 2 + np.float64(s1[t]) * v[t] ** 2
        inner[t] = own + (west[t] + east[t])
    write_row(coarse[1, k + 1], out, B, half)
    x[4, m + B :] = 0
    write_row(coarse[2, k + 1], x[4], B, half)
    write_row(coarse[3, k + 1], x[5], B, half)


@jit_inner
def _coarse_mass(mass, k, y, y_old, out, B, m, half, ring):
    """Row k of the coarse mass."""
    out[:] = 0
    a, b, c, d, inner = y[0, B:], y[1], y_old[2, B:], y_old[3], out[B:]
    for t in range(m):
        inner[t] = (a[t] + b[t]) + (c[t] + d[t])
    write_row(mass[k], out, B, half)


@jit_parallel
def coarsen_parallel(chunks, links, mass, inv, weights, coarse, coarse_mass, rings, n1, lanes):
    n = weights.shape[1] - 1
    for t in prange(chunks):
        first, last = t * n // chunks, (t + 1) * n // chunks
        coarsen(first, last, links, mass, inv, weights, coarse, coarse_mass, rings, n1, lanes)
