"""Blocks of members side by side: how they are laid out, and the set-up of their hierarchies."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .._compile import borrow, jit, jit_inner
from .coarsen2d import coarsen
from .finest2d import links_of_cells, links_of_nodes
from .steps2d import view3, view4
from .weights2d import edges

__all__ = [
    "Grid",
    "Levels",
    "Systems",
    "assemble",
    "build",
    "finest_links",
    "gather",
    "gather_natural",
    "scatter",
    "split",
    "tie",
]

# A pivot of the scaled coarsest matrix below this may be rounding: the matrix counts as singular.
_TINY = 1e-8


class Grid(NamedTuple):
    """What all members share.

    Attributes:
        table: (levels, 9): rows, columns, natural rows, W, links, and where a block's links, inv
            (also u and mass), weights, and natural arrays begin.
        steps: (count, 2) steps and levels of a cycle, but for the finest level's.
        rings: which axes are periodic. lanes: members of a block. columns: of the finest grid.
        passes: over the weights of coarse levels, see `weights2d`.
    """

    table: Any
    steps: Any
    rings: Any
    lanes: int
    columns: int
    passes: Any


class Systems(NamedTuple):
    """The operators: −∇·(k∇u) in units that bring its links near 1, plus a mass.

    Attributes:
        k: (members, *cells). mass: (members, rows, columns) float64, or of size 0.
        nodal: k lies around nodes; else in cells. unit: brings k near 1.
        nodes, cells: weights for `finest2d.links_of_nodes` (2,) and `links_of_cells` (2, 3).
    """

    k: Any
    mass: Any
    nodal: bool
    unit: float
    nodes: Any
    cells: Any


class Levels(NamedTuple):
    """The hierarchies of all blocks, one row each; see `solvers.multigrid.hierarchy`.

    Attributes:
        members: (blocks, lanes), whose k it is. inverse: (blocks, N, N lanes).
    """

    members: Any
    links: Any
    inv: Any
    weights: Any
    mass: Any
    inverse: Any


# -- members side by side -------------------------------------------------------------------------


@jit_inner
def gather_natural(wide, k, members, scale):
    """k of the members into (rows, columns lanes), times scale."""
    B = members.size
    for i in range(k.shape[1]):
        row = wide[i]
        for q in range(B):
            a = k[members[q], i]
            for j in range(a.size):
                row[j * B + q] = a[j] * scale


@jit_inner
def gather(wide, x, places, factors, wanted):
    """x of the places into the split array `wide`, times factors; 0 where not wanted."""
    B = places.size
    for i in range(x.shape[1]):
        for q in range(B):
            if wanted[q]:
                a, c = x[places[q], i], factors[q]
                for p in range(2):
                    row = wide[i, p, B + q :]
                    for j in range((a.size + 1 - p) // 2):
                        row[j * B] = a[2 * j + p] * c
    for q in range(B):
        if not wanted[q]:
            _blank(wide, q, B)


@jit_inner
def _blank(wide, q, B):
    """0 in lane q."""
    for i in range(wide.shape[0]):
        for p in range(2):
            row = wide[i, p]
            for t in range(q, row.size, B):
                row[t] = 0


@jit_inner
def scatter(wide, x, places, factors, wanted):
    """`gather` undone; places that are not wanted are left alone."""
    B = places.size
    for i in range(x.shape[1]):
        for q in range(B):
            if wanted[q]:
                a, c = x[places[q], i], factors[q]
                for p in range(2):
                    row = wide[i, p, B + q :]
                    for j in range((a.size + 1 - p) // 2):
                        a[2 * j + p] = row[j * B] * c


# -- set-up ---------------------------------------------------------------------------------------


@jit_inner
def finest_links(links, wide, systems, rings, B):
    """Links of A from k times unit; on a ring also the row before the first."""
    if systems.nodal:
        w = systems.nodes.astype(links.dtype)
        links_of_nodes(0, wide.shape[0] - 1, wide, links, w, 1.0, rings, B)
    else:
        w = systems.cells.astype(links.dtype)
        links_of_cells(0, wide.shape[0], wide, links, w, 1.0, rings, B)


@jit_inner
def tie(A, a, b, link, B):
    """Add the links between the points a and b of each lane to A; a negative one lies outside."""
    for q in range(B):
        c = np.float64(link[q])
        if a >= 0:
            A[q, a, a] += c
        if b >= 0:
            A[q, b, b] += c
        if a >= 0 and b >= 0:
            A[q, a, b] -= c
            A[q, b, a] -= c


@jit
def assemble(A, links, mass, rows, columns, rings, B):
    """The matrices (B, N, N) of a small level; links to what lies outside are in them."""
    A[:] = 0
    for i in range(0 if rings[0] else -1, rows if rings[0] else rows + 1):
        for j in range(0 if rings[1] else -1, columns if rings[1] else columns + 1):
            at = (j // 2 + 1) * B
            a = _number(i, j, rows, columns, rings)
            for k in range(links.shape[0]):
                down, right = (0 if k == 0 else 1), (1, 0, 1, -1)[k]
                b = _number(i + down, j + right, rows, columns, rings)
                if a == b:  # a ring of one point
                    continue
                tie(A, a, b, links[k, i + 1, j % 2, at:], B)
            if mass.size > 0 and a >= 0:
                for q in range(B):
                    A[q, a, a] += mass[i, j % 2, at + q]


@jit_inner
def _number(i, j, rows, columns, rings):
    """The number of point (i, j); −1 outside."""
    if rings[0]:
        i = i % rows
    if rings[1]:
        j = j % columns
    return i * columns + j if 0 <= i < rows and 0 <= j < columns else -1


@jit_inner
def _invert(A, inverse, q, B):
    """Lane q of inverse (N, N lanes) from A, positive definite; whether a pivot was too small.

    Gauss and Jordan's elimination of the matrix scaled to a unit diagonal, without exchanges.
    """
    A, inverse = borrow(A), borrow(inverse)
    N = A.shape[0]
    root, full = np.ones(N), np.empty((N, N))
    a = borrow(full)
    for i in range(N):
        if A[i, i] > 0:
            root[i] = 1 / np.sqrt(A[i, i])
    for i in range(N):
        for j in range(N):
            a[i, j] = A[i, j] * (root[i] * root[j])
    for k in range(N):
        row = a[k]
        pivot = row[k]
        if not pivot > _TINY:
            return True
        row[k] = 1
        for j in range(N):
            row[j] /= pivot
        for i in range(N):
            if i != k:
                other = a[i]
                c = other[k]
                other[k] = 0
                for j in range(N):
                    other[j] -= c * row[j]
    for i in range(N):
        for j in range(N):
            inverse[i, j * B + q] = full[i, j] * (root[i] * root[j])
    return False


@jit
def build(first, last, grid, systems, levels, matrices, singular):
    """The hierarchies of the blocks first..last, of systems without rings.

    Args:
        levels: zeros, written. matrices: (blocks, lanes, N, N), the coarsest ones, written.
        singular: (blocks, lanes), whether `inverse` was left as it is because the matrix may be.
    """
    table, rings, B = grid.table, grid.rings, grid.lanes
    wide = np.empty((systems.k.shape[1], systems.k.shape[2] * B))
    natural = np.empty((table[0, 2], table[0, 1] * B))
    massive = systems.mass.size > 0
    for b in range(first, last):
        members = levels.members[b]
        links, inv, mass = levels.links[b], levels.inv[b], levels.mass[b]
        gather_natural(wide, systems.k, members, systems.unit)
        finest = view4(links, 0, table[0, 4], table[0, 0] + 2, 2, table[0, 3])
        finest_links(finest, wide, systems, rings, B)
        if massive:
            gather_natural(natural, systems.mass, members, 1.0)
            split(view3(mass, 0, table[0, 0], 2, table[0, 3]), natural, B)
        for level in range(table.shape[0] - 1):
            t, c = table[level], table[level + 1]
            rows, W = t[0], t[3]
            own = view4(links, t[5], t[4], rows + 2, 2, W)
            coarse = view4(links, c[5], c[4], c[0] + 2, 2, c[3])
            size, coarse_size = (rows, c[0]) if massive else (0, 0)
            weights = view3(levels.weights[b], t[7], 2, c[2] + 1, W)
            if t[4] == 4:
                for which in grid.passes:
                    edges(0, c[2], which, own, weights, rings, t[1], B)
            coarsen(
                0, c[2], own, view3(mass, t[6], size, 2, W), view3(inv, t[6], rows, 2, W),
                weights, coarse, view3(mass, c[6], coarse_size, 2, c[3]), rings, t[1], B,
            )  # fmt: skip
        t = table[-1]
        own = view4(links, t[5], t[4], t[0] + 2, 2, t[3])
        held = view3(mass, t[6], t[0] if massive else 0, 2, t[3])
        assemble(matrices[b], own, held, t[0], t[1], rings, B)
        for q in range(B):
            singular[b, q] = _invert(matrices[b, q], levels.inverse[b], q, B)


@jit
def split(mass, natural, B):
    """Natural rows by parity."""
    for i in range(natural.shape[0]):
        for j in range(natural.shape[1] // B):
            row, at = mass[i, j % 2], (j // 2 + 1) * B
            for q in range(B):
                row[at + q] = natural[i, j * B + q]
