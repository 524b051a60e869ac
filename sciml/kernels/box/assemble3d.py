"""The matrix of a three-dimensional level, dense or sparse; see `cycle3d` for the layout."""

from __future__ import annotations

import numpy as np

from .._compile import jit, jit_inner
from .blocks2d import tie
from .relax3d import ALL, directions_of

__all__ = ["assemble", "csr"]


@jit_inner
def _number(i, j, k, n, rings):
    """The number of a point; −1 if it lies outside."""
    if rings[0]:
        i %= n[0]
    if rings[1]:
        j %= n[1]
    if rings[2]:
        k %= n[2]
    inside = 0 <= i < n[0] and 0 <= j < n[1] and 0 <= k < n[2]
    return (i * n[1] + j) * n[2] + k if inside else -1


@jit
def assemble(A, links, mass, n, rings, lanes):
    """A: (lanes, N, N), written; n: its planes, rows, columns. Links to outside are in."""
    A[:] = 0
    B, directions = lanes, directions_of(links)
    for i in range(0 if rings[0] else -1, n[0]):
        for j in range(0 if rings[1] else -1, n[1] + (0 if rings[1] else 1)):
            for k in range(0 if rings[2] else -1, n[2] + (0 if rings[2] else 1)):
                at = (k // 2 + 1) * B
                a = _number(i, j, k, n, rings)
                for s in range(links.shape[0]):
                    d = directions[s]
                    b = _number(i + d[0], j + d[1], k + d[2], n, rings)
                    if a == b:  # a ring of one point, or both outside
                        continue
                    tie(A, a, b, links[s, i + 1, j + 1, k % 2, at:], B)
                if mass.size > 0 and a >= 0:
                    for q in range(B):
                        A[q, a, a] += mass[i, j, k % 2, at + q]


@jit
def csr(indptr, indices, data, links, mass, n, rings):
    """The matrix of a level of thirteen links and one lane, by rows; links to outside are in.

    Args:
        indptr: (N + 1,), written, and indices, data: at most (27 N,), written as far as needed.
    """
    at, row = 0, 0
    for i in range(n[0]):
        for j in range(n[1]):
            for k in range(n[2]):
                indptr[row] = at
                middle, diagonal = at, np.float64(0)
                if mass.size > 0:
                    diagonal += mass[i, j, k & 1, (k >> 1) + 1]
                for s in range(-13, 14):
                    if s == 0:
                        middle, at = at, at + 1
                        indices[middle] = row
                        continue
                    sign = 1 if s > 0 else -1
                    d = ALL[abs(s) - 1]
                    a, b, c = sign * d[0], sign * d[1], sign * d[2]
                    if s > 0:
                        link = links[s - 1, i + 1, j + 1, k & 1, (k >> 1) + 1]
                    else:
                        q = k + c
                        link = links[-s - 1, i + 1 + a, j + 1 + b, q & 1, (q >> 1) + 1]
                    column = _number(i + a, j + b, k + c, n, rings)
                    if link == 0 or column == row:
                        continue
                    diagonal += link
                    if column >= 0:
                        indices[at], data[at] = column, -np.float64(link)
                        at += 1
                data[middle] = diagonal if diagonal > 0 else 1.0
                row += 1
    indptr[row] = at
