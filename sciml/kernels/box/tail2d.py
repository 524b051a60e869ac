"""Many steps of a cycle on small levels in one call: a schedule of steps over flat storage."""

from __future__ import annotations

from .._compile import borrow, jit, jit_inner
from . import lines2d
from .steps2d import DOWN, UP, step, view2, view3, view4

__all__ = ["run"]


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
    for k in range(steps.shape[0]):
        kind, level = steps[k, 0], steps[k, 1]
        if table[level, 9] and kind in (DOWN, UP):
            _lines(kind, level, table, links, weights, u, f, z, factors, spare, rings, lanes)
        else:
            step(
                kind, level, table, links, inv, mass, weights, u, f, z, kept, inverse, rings, lanes
            )


@jit_inner
def _lines(kind, level, table, links, weights, u, f, z, factors, spare, rings, lanes):
    """`step` on a level that relaxes lines."""
    one, B = links.dtype.type(1), lanes
    t, c = table[level], table[level + 1]
    rows, columns, natural, W = t[0], t[1], t[2], t[3]
    fl = view2(f, t[8], natural, columns * B)
    ll = view4(links, t[5], t[4], rows + 2, 2, W)
    ul, wl = view3(u, t[6], rows, 2, W), view3(weights, t[7], 2, c[2] + 1, W)
    x = view4(factors, t[10], 3 if rings[1] else 2, t[12], 2, t[13])
    y = view4(factors, t[11], 3 if rings[0] else 2, rows if t[9] & 2 else 0, 2, W)
    w = view3(spare, 0, rows, 2, W)
    if kind == DOWN:
        fc = view2(f, c[8], c[2], c[1] * B)
        lines2d.down(fl, ul, ll, x, y, wl, fc, w, rings, B, one)
    else:
        zl, zc = view2(z, t[8], natural, columns * B), view2(z, c[8], c[2], c[1] * B)
        lines2d.up(fl, ul, ll, x, y, wl, zc, zl, w, rings, B, one, one)
