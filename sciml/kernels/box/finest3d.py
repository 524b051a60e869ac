"""Links of the finest three-dimensional level from the coefficient k; see `cycle3d` for the layout.

As `finest2d` with one more axis: rows are computed in natural order, then stored by parity.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from .._compile import borrow, jit, jit_inner, jit_parallel
from .coarsen2d import write_row
from .finest2d import along_row, harmonic, scaled

__all__ = ["links_of_cells", "links_of_cells_parallel", "links_of_nodes", "links_of_nodes_parallel"]


@jit_inner
def _to_next(out, here, there, k, i, j, axis, w, rings, scale, B):
    """Links of row (i, j) of k, scaled in here, to the next one along an axis."""
    at = i if axis == 0 else j
    if at + 1 < k.shape[axis] or rings[axis]:
        n = (at + 1) % k.shape[axis]
        scaled(there, k[n, j] if axis == 0 else k[i, n], scale)
        harmonic(out[B:], here, there, w[0], there.size)
    else:
        scaled(out[B:], here[: there.size], w[2])


@jit
def links_of_cells(first, last, k, links, weights, unit, rings, lanes):
    """Planes first..last of the cell-centred links (harmonic means); with plane 0 also plane −1.

    Args:
        k: (planes, rows, columns lanes). links: (3, planes + 2, rows + 2, 2, W), written without
            the halos of rings.
        weights: (3, 3), per axis: of a b / (a + b) inside, of k at the low and at the high end.
        unit: power of two that brings k near 1.
    """
    k, links, weights = borrow(k), borrow(links), borrow(weights)
    B, rows, width, scale = lanes, k.shape[1], k.shape[2], np.float64(unit)
    n = width // B
    here, out = (np.zeros(width + 2 * B, links.dtype), np.zeros(width + 2 * B, links.dtype))
    there = np.zeros(width, links.dtype)
    w0, w1, w2 = weights[0], weights[1], weights[2]
    for i in range(first, last):
        for j in range(rows):
            scaled(here, k[i, j], scale)
            out[:] = 0
            if i == 0 and not rings[0]:
                scaled(out[B:], here[:width], w0[1])
                write_row(links[2, 0, j + 1], out, B, n)
            _to_next(out, here, there, k, i, j, 0, w0, rings, scale, B)
            write_row(links[2, i + 1, j + 1], out, B, n)
            if j == 0 and not rings[1]:
                scaled(out[B:], here[:width], w1[1])
                write_row(links[1, i + 1, 0], out, B, n)
            _to_next(out, here, there, k, i, j, 1, w1, rings, scale, B)
            write_row(links[1, i + 1, j + 1], out, B, n)
            along_row(out, here, w2, rings[2], B, width)
            write_row(links[0, i + 1, j + 1], out, B, n)


@jit_inner
def _sum4(out, a, b, c, d, w):
    for t in range(out.size):
        out[t] = w * ((np.float64(a[t]) + b[t]) + (np.float64(c[t]) + d[t]))


@jit
def links_of_nodes(first, last, k, links, weights, unit, rings, lanes):
    """Planes first..last of the nodal links (means over the cells around an edge); with plane 0
    also plane −1.

    Args: as `links_of_cells`, but k is (planes + 1, rows + 1, (columns + 1) lanes), weights (3,).
    """
    k, links = borrow(k), borrow(links)
    B, width, rows = lanes, k.shape[2], k.shape[1] - 1
    n = width // B - 1
    out = np.zeros(width + B, links.dtype)
    w0, w1, w2 = weights[0] * unit, weights[1] * unit, weights[2] * unit
    for i in range(-1 if first == 0 else first, last):
        for j in range(-1, rows):
            c = k[i + 1, j + 1]  # the cells around node (i, j): i, i + 1 by j, j + 1
            if j >= 0:
                d = k[i + 1, j]
                out[:] = 0
                _sum4(out[B:width], d, d[B:], c, c[B:], w0)
                write_row(links[2, i + 1, j + 1], out, B, n)
            if i < 0:
                continue
            a, b = k[i, j] if j >= 0 else c, k[i, j + 1]
            out[:] = 0
            _sum4(out[B:width], b, b[B:], c, c[B:], w1)
            write_row(links[1, i + 1, j + 1], out, B, n)
            if j >= 0:
                out[:] = 0
                _sum4(out[:width], a, b, k[i + 1, j], c, w2)
                write_row(links[0, i + 1, j + 1], out, B, n)


@jit_parallel
def links_of_cells_parallel(chunks, k, links, weights, unit, rings, lanes):
    n = k.shape[0]
    for t in prange(chunks):
        first, last = t * n // chunks, (t + 1) * n // chunks
        links_of_cells(first, last, k, links, weights, unit, rings, lanes)


@jit_parallel
def links_of_nodes_parallel(chunks, k, links, weights, unit, rings, lanes):
    n = k.shape[0] - 1
    for t in prange(chunks):
        first, last = t * n // chunks, (t + 1) * n // chunks
        links_of_nodes(first, last, k, links, weights, unit, rings, lanes)
