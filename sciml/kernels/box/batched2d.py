"""Conjugate gradients with multigrid for many systems of one grid, a block of members at a time.

The members of a block lie side by side in `lanes`, as everywhere in this package. All that a block
works on fits into a core's cache, and stays there for all its steps: vectors and links of A in
float64, the cycle in the dtype of its levels. Vectors are split by parity (see `cycle2d`), so that
every loop over a row has unit stride, whatever the number of lanes.

A member's numbers are its own: sums run over the slots of a row, then over the rows, in an order
that does not depend on lanes, so results do not depend on which members share a block.
"""

from __future__ import annotations

import numpy as np

from .._compile import borrow, jit, jit_inner
from .blocks2d import finest_links, gather, gather_natural, scatter, split
from .cycle2d import copy, down, up, wrap_even, wrap_odd
from .steps2d import solve_dense, step, view2, view3, view4

__all__ = ["BROKEN", "CURVED", "advance"]

# Flags of members: what was no number, and no positive curvature.
BROKEN, CURVED = -1, 1


# -- one cycle ------------------------------------------------------------------------------------


@jit_inner
def _solve_split(inverse, r, z, columns, work, B):
    """`solve_dense` on split vectors, where the finest level is the coarsest."""
    f, e = work[0], work[1]
    for i in range(r.shape[0]):
        for j in range(columns):
            at = (j // 2 + 1) * B
            copy(f[(i * columns + j) * B :], r[i, j % 2, at:], B)
    solve_dense(inverse, f, e, B)
    for i in range(r.shape[0]):
        for j in range(columns):
            at = (j // 2 + 1) * B
            copy(z[i, j % 2, at:], e[(i * columns + j) * B :], B)


@jit_inner
def _cycle(r, z, grid, links, inv, weights, mass, inverse, u, work):
    """z = one cycle on the split r, from zero. work: (3, size of the natural arrays)."""
    table, steps, rings, B = grid.table, grid.steps, grid.rings, grid.lanes
    one = inv.dtype.type(1)
    f, e, kept = work[0], work[1], work[2]
    t = table[0]
    if table.shape[0] == 1:
        _solve_split(inverse, r, z, t[1], work, B)
        return
    c = table[1]
    finest = view4(links, 0, t[4], t[0] + 2, 2, t[3])
    first, w = view3(inv, 0, t[0], 2, t[3]), view3(weights, 0, 2, c[2] + 1, t[3])
    v = view3(u, 0, t[0], 2, t[3])
    down(0, c[2], r, v, finest, first, w, view2(f, c[8], c[2], c[1] * B), rings, B, one)
    for k in range(steps.shape[0]):
        step(
            steps[k, 0], steps[k, 1], table, links, inv, mass, weights, u, f, e, kept, inverse,
            rings, B,
        )  # fmt: skip
    ec = view2(e, c[8], c[2], c[1] * B)
    up(0, c[2], r, v, finest, first, w, ec, z, rings, B, one, one)


# -- conjugate gradients --------------------------------------------------------------------------


@jit_inner
def _repeat(row, values):
    """One number for each lane, repeated along a row."""
    B = values.size
    for a in range(0, row.size, B):
        part = row[a:]
        for q in range(B):
            part[q] = values[q]


@jit_inner
def _per_lane(total, sums):
    """total[q] = Σ over the slots of `sums` in lane q."""
    B = total.size
    total[:] = 0
    for a in range(0, sums.size, B):
        part = sums[a:]
        for q in range(B):
            total[q] += part[q]


# Loops over a row: the fewer arrays in one, the better it is vectorised.
@jit_inner
def _add_product(sums, a, b, m):
    for t in range(m):
        sums[t] += a[t] * b[t]


@jit_inner
def _add_scaled(x, alpha, p, m):
    for t in range(m):
        x[t] += alpha[t] * p[t]


@jit_inner
def _subtract_scaled(r, alpha, y, m):
    for t in range(m):
        r[t] -= alpha[t] * y[t]


@jit_inner
def _scale_and_add(p, beta, z, m):
    for t in range(m):
        p[t] = z[t] + beta[t] * p[t]


@jit_inner
def _flux(y, x, a, na, b, nb, m):
    for t in range(m):
        c = np.float64(x[t])
        y[t] = a[t] * (c - np.float64(na[t])) + b[t] * (c - np.float64(nb[t]))


@jit_inner
def _add_flux(y, x, a, na, b, nb, m):
    for t in range(m):
        c = np.float64(x[t])
        y[t] += a[t] * (c - np.float64(na[t])) + b[t] * (c - np.float64(nb[t]))


@jit_inner
def _inner(sums, r, z, B, m):
    """sums[t] = Σ over rows and parities of r z."""
    sums, r, z = borrow(sums), borrow(r), borrow(z)
    sums[:] = 0
    for i in range(r.shape[0]):
        for k in range(2):
            _add_product(sums, r[i, k, B:], z[i, k, B:], m)


@jit_inner
def _new_direction(p, z, beta, rings, columns, B, m):
    """p = z + beta p in one row, with its halos on a ring."""
    for k in range(2):
        _scale_and_add(p[k, B:], beta, z[k, B:], m)
    if rings[1]:
        if columns % 2:  # the slot beyond the last column stands for the first one
            copy(p[1, m:], p[0, B:], B)
            copy(p[1], p[0, m:], B)
        else:
            wrap_even(p, B, m)
            wrap_odd(p, B, m)


@jit_inner
def _apply_row(y, x, north, south, E, N, S, mass, sums, columns, B, m):
    """y = A x in one row between north and south, and sums += x y."""
    e, o, last = x[0], x[1], m - B
    _flux(y[0, B:], e[B:], E[1], o, E[0, B:], o[B:], m)
    _flux(y[1, B:], o[B:], E[0, B:], e[B:], E[1, B:], e[2 * B :], m)
    for k in range(2):
        a, b = y[k, B:], x[k, B:]
        _add_flux(a, b, N[k, B:], north[k, B:], S[k, B:], south[k, B:], m)
        if mass.size > 0:
            _add_scaled(a, mass[k, B:], b, m)
        if k == 1 and columns % 2:
            a[last:m] = 0
        _add_product(sums, a, b, m)


@jit_inner
def _direct(p, z, beta, y, links, mass, sums, grid, m):
    """p = z + beta p, y = A p, sums[t] = Σ p y. p: (rows + 2, 2, W), a row of halo at both ends."""
    p, z, beta, y, sums = borrow(p), borrow(z), borrow(beta), borrow(y), borrow(sums)
    links, mass = borrow(links), borrow(mass)
    rings, columns, B, rows = grid.rings, grid.columns, grid.lanes, z.shape[0]
    sums[:] = 0
    ring = 1 if rings[0] else 0
    if ring:
        _new_direction(p[rows], z[rows - 1], beta, rings, columns, B, m)
        p[0] = p[rows]
    if rows > ring:
        _new_direction(p[1], z[0], beta, rings, columns, B, m)
    if ring:
        p[rows + 1] = p[1]
    for i in range(rows):
        if i + 1 < rows - ring:
            _new_direction(p[i + 2], z[i + 1], beta, rings, columns, B, m)
        own = mass[i] if mass.size > 0 else mass[:, 0]
        _apply_row(
            y[i], p[i + 1], p[i], p[i + 2], links[0, i + 1], links[1, i], links[1, i + 1], own,
            sums, columns, B, m,
        )  # fmt: skip


@jit_inner
def _descend(x, r, p, y, f, alpha, sums, B, m):
    """x += alpha p, r −= alpha y, f = r in the dtype of the cycle, sums[t] = Σ r²."""
    x, r, p, y, f = borrow(x), borrow(r), borrow(p), borrow(y), borrow(f)
    alpha, sums = borrow(alpha), borrow(sums)
    sums[:] = 0
    for i in range(x.shape[0]):
        for k in range(2):
            b, g = r[i, k, B:], f[i, k, B:]
            _add_scaled(x[i, k, B:], alpha, p[i + 1, k, B:], m)
            _subtract_scaled(b, alpha, y[i, k, B:], m)
            _add_product(sums, b, b, m)
            for t in range(m):
                g[t] = b[t]


@jit
def advance(
    first, last, steps, grid, systems, levels, blocks, places, into, back, goal, taken, estimate,
    flag, rz, r, p, x, new_r, new_p, new_x,
):  # fmt: skip
    """Up to `steps` steps for each running member of the pieces first..last of a batch.

    Saad, Iterative Methods for Sparse Linear Systems (2003), algorithm 9.1, with the
    preconditioner at the beginning of a step. A member runs while its estimate is above its goal
    and its flag is 0; others keep what they have.

    Args:
        blocks: (pieces,) whose levels. places: (pieces, lanes) of the members in the batch, −1 for
            none. into: (members,) what brings r to size 1. back: x in units of the vectors here.
        goal, taken, estimate, flag, rz: (members,); the last four are updated. flag: CURVED or
            BROKEN; the estimate of the latter is NaN.
        r, p, x: (members, rows, columns) float64. Before the first step p and x are of size 0, and
            r is b; later r and p are as they were left, in the units here.
        new_r, new_p, new_x: as these, written; the first two where a member still runs.
    """
    if first == last:
        return
    table, B = grid.table, grid.lanes
    rows, columns, W = r.shape[1], r.shape[2], table[0, 3]
    m, fresh, dtype = W - 2 * B, x.size == 0, levels.inv.dtype
    massive = systems.mass.size > 0
    wide = np.empty((systems.k.shape[1], systems.k.shape[2] * B))
    links = np.zeros((2, rows + 2, 2, W))
    natural = np.empty((rows if massive else 0, columns * B))
    mass = np.zeros((rows if massive else 0, 2, W))
    xs, rs, ys = np.zeros((rows, 2, W)), np.zeros((rows, 2, W)), np.zeros((rows, 2, W))
    ps, f = np.zeros((rows + 2, 2, W), dtype), np.zeros((rows, 2, W), dtype)
    end = table[-1, 8] + table[-1, 2] * table[-1, 1] * B
    u, work = np.zeros(levels.inv.shape[1], dtype), np.zeros((3, end), dtype)
    sums, alpha, beta = np.zeros(m), np.zeros(m), np.zeros(m)
    own, ones, factor, total = np.zeros(B), np.ones(B), np.zeros(B), np.zeros(B)
    running, wanted = np.zeros(B, np.bool_), np.zeros(B, np.bool_)

    for piece in range(first, last):
        at, b = places[piece], blocks[piece]
        going = 0
        for q in range(B):
            j = at[q]
            running[q] = j >= 0 and flag[j] == 0 and estimate[j] > goal[j]
            wanted[q] = running[q]
            going += running[q]
            if j >= 0 and not running[q]:
                if fresh:
                    new_x[j] = 0
                else:
                    new_x[j] = x[j]
        if going == 0:
            continue
        gather_natural(wide, systems.k, levels.members[b], systems.unit)
        finest_links(links, wide, systems, grid.rings, B)
        if grid.rings[0]:
            links[1, 0] = links[1, rows]
        if massive:
            gather_natural(natural, systems.mass, levels.members[b], 1.0)
            split(mass, natural, B)
        for q in range(B):
            factor[q] = into[at[q]] if fresh else 1.0
            own[q] = rz[at[q]]
        gather(rs, r, at, factor, wanted)
        if fresh:
            xs[:] = 0
            ps[:] = 0
        else:
            gather(ps[1 : rows + 1], p, at, ones, wanted)
            for q in range(B):
                factor[q] = 1 / back[at[q]]
            gather(xs, x, at, factor, wanted)
        f[:] = rs

        for _ in range(steps):
            _cycle(
                f, f, grid, levels.links[b], levels.inv[b], levels.weights[b], levels.mass[b],
                levels.inverse[b], u, work,
            )  # fmt: skip
            _inner(sums, rs, f, B, m)
            _per_lane(total, sums)
            for q in range(B):
                factor[q] = 0
                if running[q]:
                    if total[q] >= 0:
                        factor[q] = total[q] / own[q] if own[q] > 0 else 0.0
                        own[q] = total[q]
                    else:
                        running[q] = False
                        flag[at[q]] = CURVED if total[q] < 0 else BROKEN
            _repeat(beta, factor)
            _direct(ps, f, beta, ys, links, mass, sums, grid, m)
            _per_lane(total, sums)
            for q in range(B):
                factor[q] = 0
                if running[q]:
                    taken[at[q]] += 1
                    if total[q] > 0:
                        factor[q] = own[q] / total[q]
                    else:
                        running[q] = False
                        flag[at[q]] = CURVED if total[q] <= 0 else BROKEN
            _repeat(alpha, factor)
            _descend(xs, rs, ps, ys, f, alpha, sums, B, m)
            _per_lane(total, sums)
            going = 0
            for q in range(B):
                if running[q]:
                    j = at[q]
                    estimate[j] = np.sqrt(total[q]) / into[j]
                    running[q] = estimate[j] > goal[j]
                    going += running[q]
            if going == 0:
                break

        for q in range(B):
            factor[q] = back[at[q]]
            if wanted[q] and flag[at[q]] == BROKEN:
                estimate[at[q]] = np.nan
        scatter(xs, new_x, at, factor, wanted)
        if going > 0:
            scatter(rs, new_r, at, ones, running)
            scatter(ps[1 : rows + 1], new_p, at, ones, running)
            for q in range(B):
                if running[q]:
                    rz[at[q]] = own[q]
