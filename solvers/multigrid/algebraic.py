"""Algebraic multigrid in place of coarse levels of a box, where these hold k too badly.

In three dimensions thin bodies of high k wind through the box. A cell of the finest level still has
one k, and its points are smoothed well; on the levels below, two points of one body, strongly
coupled, may have no coarse point near that belongs to the body: neither relaxation nor any
interpolation between every second point then moves them together. Coarse points chosen by the
strength of the links do not have this trouble, and the first coarse level has an eighth of the
unknowns. In two dimensions layers askew to the grid, and grains of a few cells, have it from the
second coarse level on, which has a sixteenth of the unknowns.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_array

from sciml.arrays import dot
from sciml.kernels.box import assemble3d, sparse2d
from sciml.operator import Trait
from sciml.operators.sparse import Sparse

from ..precond import AMG

if TYPE_CHECKING:
    from ..precond.amg import AMGOperator
    from .hierarchy import Hierarchy
    from .plans import Step

__all__ = ["Algebraic", "slow"]

_STEPS = 8


def slow(levels: Hierarchy, level: int, steps: list[Step], singular: bool, enough: float) -> bool:
    """Whether CG on a coarse level converges slowly with the cycle `steps` of this and the lower
    ones: a few steps do not lower the energy of the residual by the factor `enough`.
    """
    linked = levels.linked(level).reshape(-1)
    shape = levels.plans[level].shape
    r = np.where(linked, np.random.default_rng(0).standard_normal(linked.size), 0)
    if singular:
        r = np.where(linked, r - r[linked].mean(), 0)
    p = z = levels.apply_below(steps, level, r.reshape(shape)).reshape(-1)
    first = rz = dot(r, z)
    for _ in range(_STEPS):
        q = levels.product(level, p.reshape(shape)).reshape(-1)
        pq = dot(p, q)
        if not pq > 0:
            break
        r = r - rz / pq * q
        z = levels.apply_below(steps, level, r.reshape(shape)).reshape(-1)
        rz, old = dot(r, z), rz
        if 0 <= rz <= enough * first:
            return False
        p = z + rz / old * p
    return True


class Algebraic:
    """z = one cycle of `AMG` of that dtype for a level of `levels`.

    Raises:
        numpy.linalg.LinAlgError: the level's matrix is seen not to be positive semidefinite.
    """

    def __init__(self, levels: Hierarchy, level: int, dtype: np.dtype | None = None) -> None:
        self.shape, self.padded = levels.plans[level].shape, levels.plans[level].padded
        self.cycle: AMGOperator = AMG(dtype=dtype)(matrix(levels, level))  # type: ignore[assignment]
        self.nbytes = self.cycle.nbytes

    def __call__(self, f: np.ndarray, z: np.ndarray) -> None:
        """f, z: natural arrays of the level; z is written."""
        b = np.zeros(self.padded)
        b[tuple(map(slice, self.shape))] = f
        x = np.asarray(self.cycle(b.reshape(-1))).reshape(self.padded)
        z[...] = x[tuple(map(slice, self.shape))]


def matrix(levels: Hierarchy, level: int) -> Sparse:
    """The matrix of a level below the finest, of its points and those that close rings.

    Diagonals are summed in float64: in float32 they would drown the weak links of strong points.
    """
    padded, links = levels.plans[level].padded, levels.view_links(level)
    N = math.prod(padded)
    indptr = np.empty(N + 1, np.int32)
    csr, most = (sparse2d.csr, 9) if len(padded) == 2 else (assemble3d.csr, 27)
    indices, data = np.empty(most * N, np.int32), np.empty(most * N)
    csr(indptr, indices, data, links, levels.view_mass(level), padded, levels.rings)
    stored = (data[: indptr[-1]], indices[: indptr[-1]], indptr)
    return Sparse(csr_array(stored, shape=(N, N)), traits={Trait.POSITIVE})
