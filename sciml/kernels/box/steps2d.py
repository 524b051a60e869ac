"""The steps of which a cycle is made, on levels below the finest, over flat storage."""

from __future__ import annotations

from .._compile import jit, jit_inner
from .cycle2d import down, up
from .revisit2d import add, residual

__all__ = [
    "ADD",
    "DOWN",
    "RESIDUAL",
    "SOLVE",
    "UP",
    "solve_dense",
    "step",
    "view2",
    "view3",
    "view4",
]

DOWN, UP, RESIDUAL, ADD, SOLVE = 0, 1, 2, 3, 4


@jit_inner
def view2(flat, at, a, b):
    return flat[at : at + a * b].reshape(a, b)


@jit_inner
def view3(flat, at, a, b, c):
    return flat[at : at + a * b * c].reshape(a, b, c)


@jit_inner
def view4(flat, at, a, b, c, d):
    return flat[at : at + a * b * c * d].reshape(a, b, c, d)


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


@jit_inner
def step(kind, level, table, links, inv, mass, weights, u, f, z, kept, inverse, rings, lanes):
    """One step on a level that relaxes points; see `tail2d.run`."""
    one, B = inv.dtype.type(1), lanes
    t = table[level]
    rows, columns, natural, W = t[0], t[1], t[2], t[3]
    if kind == SOLVE:
        n = natural * columns * B
        solve_dense(inverse, f[t[8] : t[8] + n], z[t[8] : t[8] + n], B)
        return
    fl = view2(f, t[8], natural, columns * B)
    zl = view2(z, t[8], natural, columns * B)
    kl = view2(kept, t[8], natural, columns * B)
    if kind == ADD:
        add(zl, kl)
        return
    ll = view4(links, t[5], t[4], rows + 2, 2, W)
    if kind == RESIDUAL:
        size = rows if mass.size > 0 else 0
        residual(0, fl.shape[0], fl, zl, kl, ll, view3(mass, t[6], size, 2, W), rings, B)
        return
    c = table[level + 1]
    ul, il = view3(u, t[6], rows, 2, W), view3(inv, t[6], rows, 2, W)
    wl = view3(weights, t[7], 2, c[2] + 1, W)
    if kind == DOWN:
        down(0, c[2], fl, ul, ll, il, wl, view2(f, c[8], c[2], c[1] * B), rings, B, one)
    else:
        up(0, c[2], fl, ul, ll, il, wl, view2(z, c[8], c[2], c[1] * B), zl, rings, B, one, one)
