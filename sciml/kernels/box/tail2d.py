"""Many steps of a cycle on small levels in one call: a schedule of steps over flat storage."""

from __future__ import annotations

from .._compile import borrow, jit
from . import lines2d
from .cycle2d import add, down, residual, up

__all__ = ["ADD", "DOWN", "RESIDUAL", "SOLVE", "UP", "run"]

DOWN, UP, RESIDUAL, ADD, SOLVE = 0, 1, 2, 3, 4


@jit
def _view3(flat, at, a, b, c):
    return flat[at : at + a * b * c].reshape(a, b, c)


@jit
def _view4(flat, at, a, b, c, d):
    return flat[at : at + a * b * c * d].reshape(a, b, c, d)


@jit
def _view2(flat, at, a, b):
    return flat[at : at + a * b].reshape(a, b)


@jit
def solve_dense(inverse, f, z, lanes):
    """z = inverse f for each lane: inverse (N, N lanes), f and z (N lanes)."""
    B = lanes
    for i in range(inverse.shape[0]):
        row, out = inverse[i], z[i * B :]
        for t in range(B):
            out[t] = 0
        for j in range(inverse.shape[0]):
            a, x = row[j * B :], f[j * B :]
            for t in range(B):
                out[t] += a[t] * x[t]


@jit
def run(
    steps, table, links, inv, mass, weights, u, f, z, kept, factors, spare, inverse, rings, lanes
):  # fmt: skip
    """Steps (step, level) of a cycle, all but the finest level's, on flat storage.

    Args:
        steps: (count, 2). table: (levels, 14): rows, columns, natural rows, W, links, where links,
            inv (also u and mass), weights and natural arrays (f, z, kept) begin, and where lines
            are relaxed: `Lines`, where the factors along rows and along columns begin, and the
            number and width of the groups along rows.
        spare: of the size of u on the finest level with lines.
        inverse: of the coarsest level, (N, N lanes).
    """
    links, inv, mass, weights = borrow(links), borrow(inv), borrow(mass), borrow(weights)
    u, f, z, kept = borrow(u), borrow(f), borrow(z), borrow(kept)
    factors, spare = borrow(factors), borrow(spare)
    one, B = inv.dtype.type(1), lanes
    for k in range(steps.shape[0]):
        step, level = steps[k, 0], steps[k, 1]
        t = table[level]
        rows, columns, natural, W = t[0], t[1], t[2], t[3]
        fl = _view2(f, t[8], natural, columns * B)
        zl = _view2(z, t[8], natural, columns * B)
        if step == SOLVE:
            n = natural * columns * B
            solve_dense(inverse, f[t[8] : t[8] + n], z[t[8] : t[8] + n], B)
            continue
        if step == ADD:
            add(zl, _view2(kept, t[8], natural, columns * B))
            continue
        ll = _view4(links, t[5], t[4], rows + 2, 2, W)
        if step == RESIDUAL:
            size = rows if mass.size > 0 else 0
            ml = _view3(mass, t[6], size, 2, W)
            residual(fl, zl, _view2(kept, t[8], natural, columns * B), ll, ml, rings, B)
            continue
        c = table[level + 1]
        ul, il = _view3(u, t[6], rows, 2, W), _view3(inv, t[6], rows, 2, W)
        wl = _view3(weights, t[7], 2, c[2] + 1, W)
        if t[9]:
            x = _view4(factors, t[10], 3 if rings[1] else 2, t[12], 2, t[13])
            y = _view4(factors, t[11], 3 if rings[0] else 2, rows if t[9] & 2 else 0, 2, W)
            w = _view3(spare, 0, rows, 2, W)
        if step == DOWN:
            fc = _view2(f, c[8], c[2], c[1] * B)
            if t[9]:
                lines2d.down(fl, ul, ll, x, y, wl, fc, w, rings, B, one)
            else:
                down(0, c[2], fl, ul, ll, il, wl, fc, rings, B, one)
        else:
            zc = _view2(z, c[8], c[2], c[1] * B)
            if t[9]:
                lines2d.up(fl, ul, ll, x, y, wl, zc, zl, w, rings, B, one, one)
            else:
                up(0, c[2], fl, ul, ll, il, wl, zc, zl, rings, B, one, one)
