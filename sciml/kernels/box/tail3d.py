"""Many steps of a cycle on small three-dimensional levels in one call, over flat storage."""

from __future__ import annotations

from .._compile import borrow, jit, jit_inner
from .cycle3d import down, up
from .revisit2d import add
from .revisit3d import residual
from .steps2d import ADD, DOWN, RESIDUAL, SOLVE, solve_dense, view2, view3, view4

__all__ = ["run"]


@jit_inner
def _step(kind, level, table, links, inv, mass, weights, u, f, z, kept, inverse, rings, lanes):
    one, B = inv.dtype.type(1), lanes
    t = table[level]
    planes, rows, n0, n1, n2, W = t[0], t[1], t[2], t[3], t[4], t[5]
    if kind == SOLVE:
        n = n0 * n1 * n2 * B
        solve_dense(inverse, f[t[10] : t[10] + n], z[t[10] : t[10] + n], B)
        return
    fl, zl = view3(f, t[10], n0, n1, n2 * B), view3(z, t[10], n0, n1, n2 * B)
    if kind == ADD:
        add(view2(z, t[10], n0 * n1, n2 * B), view2(kept, t[10], n0 * n1, n2 * B))
        return
    size = t[6] * (planes + 2) * (rows + 2) * 2 * W
    ll = links[t[7] : t[7] + size].reshape(t[6], planes + 2, rows + 2, 2, W)
    if kind == RESIDUAL:
        massive = planes if mass.size > 0 else 0
        kl = view3(kept, t[10], n0, n1, n2 * B)
        residual(0, fl.shape[0], fl, zl, kl, ll, view4(mass, t[8], massive, rows, 2, W), rings, B)
        return
    c = table[level + 1]
    ul, il = view4(u, t[8], planes, rows, 2, W), view4(inv, t[8], planes, rows, 2, W)
    wl = view4(weights, t[9], 12, c[2] + 1, c[3] + 1, W)
    if kind == DOWN:
        fc = view3(f, c[10], c[2], c[3], c[4] * B)
        down(0, c[2], fl, ul, ll, il, wl, fc, rings, B, one)
    else:
        zc = view3(z, c[10], c[2], c[3], c[4] * B)
        up(0, c[2], fl, ul, ll, il, wl, zc, zl, rings, B, one, one)


@jit
def run(
    steps, table, links, inv, mass, weights, u, f, z, kept, factors, spare, inverse, rings, lanes
):  # fmt: skip
    """Steps (step, level) of a cycle, all but the finest level's, on flat storage.

    Takes what `tail2d.run` takes; there are no lines here.

    Args:
        steps: (count, 2). table: (levels, 11): planes and rows with those added to rings; planes,
            rows, columns; W; number of links; where links, inv (also u and mass), weights and
            natural arrays (f, z, kept) begin.
        inverse: of the coarsest level, (N, N lanes).
    """
    links, inv, mass, weights = (borrow(links), borrow(inv), borrow(mass), borrow(weights))
    u, f, z, kept = borrow(u), borrow(f), borrow(z), borrow(kept)
    for k in range(steps.shape[0]):
        kind, level = steps[k, 0], steps[k, 1]
        _step(kind, level, table, links, inv, mass, weights, u, f, z, kept, inverse, rings, lanes)
