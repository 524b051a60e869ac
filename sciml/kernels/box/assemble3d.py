"""The matrix of a small three-dimensional level; see `cycle3d` for the layout."""

from __future__ import annotations

from .._compile import jit
from .blocks2d import tie
from .relax3d import directions_of

__all__ = ["assemble"]


@jit
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
