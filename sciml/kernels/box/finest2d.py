"""Links of the finest two-dimensional level from the coefficient k.

Rows are computed in natural order, then stored by parity. See `cycle2d` for the layout.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from .._compile import borrow, jit, jit_inner, jit_parallel
from .coarsen2d import write_row

__all__ = [
    "along_row",
    "harmonic",
    "links_of_cells",
    "links_of_cells_parallel",
    "links_of_nodes",
    "links_of_nodes_parallel",
    "scaled",
]


@jit_inner
def harmonic(out, a, b, w, m):
    """w a b / (a + b); 0 where either is 0."""
    for t in range(m):
        s = a[t] + b[t]
        out[t] = w * (a[t] * (b[t] / (s if s > 0 else out.dtype.type(1))))


@jit_inner
def scaled(out, a, w):
    for t in range(a.size):
        out[t] = w * a[t]


@jit_inner
def along_row(out, a, w, ring, B, width):
    """out: the links along a row of k (a, scaled) from column −1 on; w: as in `links_of_cells`."""
    harmonic(out[B:], a, a[B:], w[0], width - B)
    for t in range(B):
        low, high = a[t], a[width - B + t]
        if ring:
            s = low + high
            seam = w[0] * (low * (high / (s if s > 0 else out.dtype.type(1))))
            out[t], out[width + t] = seam, seam
        else:
            out[t], out[width + t] = w[1] * low, w[2] * high
    out[width + B :] = 0


@jit
def links_of_cells(first, last, k, links, weights, unit, rings, lanes):
    """Rows first..last of the cell-centred links (harmonic means); with row 0 also row −1.

    Args:
        k: (rows, columns lanes). links: (2, rows + 2, 2, W), written without the halos of rings.
        weights: (2, 3), per axis: of a b / (a + b) inside, of k at the low and at the high end.
        unit: power of two that brings k near 1.
    """
    k, links, weights = borrow(k), borrow(links), borrow(weights)
    B, rows, width = lanes, k.shape[0], k.shape[1]
    n = width // B
    here = np.zeros(width + 2 * B, links.dtype)
    there = np.zeros_like(here)
    out = np.zeros_like(here)
    scale = np.float64(unit)
    w0, w1 = weights[0], weights[1]
    scaled(here[B:], k[first], scale)
    if first == 0 and not rings[0]:
        scaled(out[B:], k[0], w0[1] * scale)
        write_row(links[1, 0], out, B, n)
    for i in range(first, last):
        a = here[B:]
        along_row(out, a, w1, rings[1], B, width)
        write_row(links[0, i + 1], out, B, n)
        out[:B] = 0
        if i + 1 < rows or rings[0]:
            scaled(there[B:], k[i + 1 if i + 1 < rows else 0], scale)
            harmonic(out[B:], a, there[B:], w0[0], width)
        else:
            scaled(out[B:], a[:width], w0[2])
        write_row(links[1, i + 1], out, B, n)
        here, there = there, here


@jit
def links_of_nodes(first, last, k, links, weights, unit, rings, lanes):
    """Rows first..last of the nodal links (arithmetic means); with row 0 also row −1.

    Args: as `links_of_cells`, but k is (rows + 1, (columns + 1) lanes) and weights is (2,).
    """
    k, links = borrow(k), borrow(links)
    B, width = lanes, k.shape[1]
    n = width // B - 1
    out = np.zeros(width + 2 * B, links.dtype)
    w0, w1 = weights[0] * unit, weights[1] * unit
    for i in range(first - 1 if first == 0 else first, last):
        below = k[i + 1]
        if i >= 0:
            here = k[i]
            for t in range(width):
                out[t] = w1 * (np.float64(here[t]) + below[t])
            out[width:] = 0
            write_row(links[0, i + 1], out, B, n)
        out[:B] = 0
        for t in range(width - B):
            out[t + B] = w0 * (np.float64(below[t]) + below[t + B])
        out[width:] = 0
        write_row(links[1, i + 1], out, B, n)


@jit_parallel
def links_of_cells_parallel(chunks, k, links, weights, unit, rings, lanes):
    n = k.shape[0]
    for t in prange(chunks):
        links_of_cells(
            t * n // chunks,
            (t + 1) * n // chunks,
            k,
            links,
            weights,
            unit,
            rings,
            lanes,
        )


@jit_parallel
def links_of_nodes_parallel(chunks, k, links, weights, unit, rings, lanes):
    n = k.shape[0] - 1
    for t in prange(chunks):
        links_of_nodes(
            t * n // chunks,
            (t + 1) * n // chunks,
            k,
            links,
            weights,
            unit,
            rings,
            lanes,
        )
