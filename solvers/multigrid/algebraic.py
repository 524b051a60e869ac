"""Algebraic multigrid in place of the coarse levels of a box, where these hold k too badly.

In three dimensions thin bodies of high k wind through the box. A cell of the finest level still has
one k, and its points are smoothed well; on the levels below, two points of one body, strongly
coupled, may have no coarse point near that belongs to the body: neither relaxation nor any
interpolation between every second point then moves them together. Coarse points chosen by the
strength of the links do not have this trouble, and the first coarse level has an eighth of the
unknowns.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_array

from sciml.arrays import dot
from sciml.kernels.box.assemble3d import csr
from sciml.operator import Trait
from sciml.operators.sparse import Sparse

from ..precond import AMG

if TYPE_CHECKING:
    from ..precond.amg import AMGOperator
    from .hierarchy import Hierarchy
    from .plans import Step

__all__ = ["Algebraic", "slow"]

# Within this many steps CG lowers the energy of the residual by this factor, or the levels are
# slow: measured on balls, two phases, blocks of two to eight cells, checkerboards and log-normal
# fields of 64^3 and 128^3, it is where an algebraic set-up begins to pay.
_STEPS, _ENOUGH = 8, 2.5e-7


def slow(levels: Hierarchy, steps: list[Step], singular: bool) -> bool:
    """Whether CG on the first coarse level converges slowly with the cycle of this and the lower
    ones, which `steps` are.
    """
    linked = levels.linked(1).reshape(-1)
    shape = levels.plans[1].shape
    r = np.where(linked, np.random.default_rng(0).standard_normal(linked.size), 0)
    if singular:
        r = np.where(linked, r - r[linked].mean(), 0)
    p = z = levels.apply_below(steps, r.reshape(shape)).reshape(-1)
    first = rz = dot(r, z)
    for _ in range(_STEPS):
        q = levels.product(1, p.reshape(shape)).reshape(-1)
        pq = dot(p, q)
        if not pq > 0:
            break
        r = r - rz / pq * q
        z = levels.apply_below(steps, r.reshape(shape)).reshape(-1)
        rz, old = dot(r, z), rz
        if 0 <= rz <= _ENOUGH * first:
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
    """The matrix of a three-dimensional level, of its points and those that close rings.

    Diagonals are summed in float64: in float32 they would drown the weak links of strong points.
    """
    padded, links = levels.plans[level].padded, levels.view_links(level)
    N = math.prod(padded)
    indptr = np.empty(N + 1, np.int32)
    indices, data = np.empty(27 * N, np.int32), np.empty(27 * N)
    csr(indptr, indices, data, links, levels.view_mass(level), padded, levels.rings)
    stored = (data[: indptr[-1]], indices[: indptr[-1]], indptr)
    return Sparse(csr_array(stored, shape=(N, N)), traits={Trait.POSITIVE})
