"""The sparse matrix of a two-dimensional level; see `cycle2d` for the layout."""

from __future__ import annotations

import numpy as np

from .._compile import jit

__all__ = ["csr"]

# (di, dj) of the stored links: to the east, south, south-east and south-west.
_STORED = np.array([(0, 1), (1, 0), (1, 1), (1, -1)])
# The neighbours of a point by number: the link's place, and whether the other end stores it.
_AROUND = np.array([(2, 1), (1, 1), (3, 1), (0, 1), (0, 0), (3, 0), (1, 0), (2, 0)])


@jit
def csr(indptr, indices, data, links, mass, n, rings):
    """The matrix of a level of four links and one lane, by rows; links to outside are in.

    Args:
        indptr: (N + 1,), written, and indices, data: at most (9 N,), written as far as needed.
        n: its rows, columns.
    """
    at, row = 0, 0
    for i in range(n[0]):
        for j in range(n[1]):
            indptr[row] = at
            middle, diagonal = at, np.float64(0)
            if mass.size > 0:
                diagonal += mass[i, j & 1, (j >> 1) + 1]
            for k in range(8):
                if k == 4:
                    middle, at = at, at + 1
                    indices[middle] = row
                s, back = _AROUND[k, 0], _AROUND[k, 1]
                a, b = _STORED[s, 0], _STORED[s, 1]
                if back:
                    a, b = -a, -b
                    link = links[s, i + 1 + a, (j + b) & 1, ((j + b) >> 1) + 1]
                else:
                    link = links[s, i + 1, j & 1, (j >> 1) + 1]
                p, q = i + a, j + b
                if rings[0]:
                    p %= n[0]
                if rings[1]:
                    q %= n[1]
                inside = 0 <= p < n[0] and 0 <= q < n[1]
                column = p * n[1] + q if inside else -1
                if link == 0 or column == row:
                    continue
                diagonal += link
                if inside:
                    indices[at], data[at] = column, -np.float64(link)
                    at += 1
            data[middle] = diagonal if diagonal > 0 else 1.0
            row += 1
    indptr[row] = at
