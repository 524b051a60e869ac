"""Deflated conjugate gradients, as a preconditioner: a classical rival of learned directions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sciml._checks import integer
from sciml.arrays import to_numpy
from sciml.operator import Operator, Trait

from ..precond import IC0, Recipe
from ..precond._base import OnHost, need_hermitian, square

__all__ = ["Deflation"]

# Eigenvalues of the coarse matrix below this share of the largest are those of A's null space.
_NULL = 1e-12


@dataclass(frozen=True)
class Deflation(Recipe):
    """CG on what is left of A when the means over blocks of the grid are solved for exactly.

    W holds the indicators of boxes of cells (Nicolaides, SIAM J. Numer. Anal. 24 (1987) 355), E =
    WᵀAW, Q = W E⁺ Wᵀ and P = I − AQ. With M = Pᵀ M₀ P + Q conjugate gradients take the steps of
    deflated CG preconditioned by M₀ from its special start, for any start, and M is symmetric
    positive (Tang, Nabben, Vuik and Erlangga, J. Sci. Comput. 39 (2009) 340, BNN and theorem 3.4).

    Args:
        blocks: along each axis; fewer where there are fewer cells.
        M: M₀, by a recipe that gives a symmetric positive one.
    """

    blocks: int = 8
    M: Callable[[Operator], Operator] = field(default_factory=IC0)

    def __post_init__(self) -> None:
        integer(self.blocks, "blocks", 1)

    def __call__(self, A: Operator) -> Operator:
        need_hermitian(self, A)
        return _Deflated(A, self.M(A), _indicators(A, self.blocks))


class _Deflated(OnHost):
    """r -> Pᵀ M₀ P r + Q r."""

    def __init__(self, A: Operator, inner: Operator, W: Any) -> None:
        super().__init__(A, traits={Trait.POSITIVE})
        self.inner, self.W = inner, W
        self.WT = W.T.tocsr()
        self.AW = (square(A, "Deflation") @ W).tocsr()
        self.AWT = self.AW.T.tocsr()
        values, vectors = np.linalg.eigh((self.WT @ self.AW).toarray())
        kept = values > _NULL * values.max()
        self.coarse = (vectors[:, kept] / values[kept]) @ vectors[:, kept].T

    def _solve(self, flat: np.ndarray, *, adjoint: bool) -> np.ndarray:
        out = np.empty_like(flat)  # symmetric: its own adjoint
        for r, z in zip(flat, out, strict=True):
            z[:] = self._one(r)
        return out

    def _one(self, r: np.ndarray) -> np.ndarray:
        part = self.coarse @ (self.WT @ r)
        left = r - self.AW @ part
        z = to_numpy(self.inner(left.reshape(self.domain.shape))).ravel()
        return z + self.W @ (part - self.coarse @ (self.AWT @ z))

    @property
    def nbytes(self) -> int:
        sparse = (self.W, self.WT, self.AW, self.AWT)
        return self.inner.nbytes + self.coarse.nbytes + sum(m.data.nbytes for m in sparse)


def _indicators(A: Operator, blocks: int) -> Any:
    """(n, boxes) csr_array: 1 where a fluid cell lies in a box; boxes without any are left out."""
    from scipy.sparse import csr_array

    shape = A.domain.shape
    box = np.zeros(shape, int)
    for axis, n in enumerate(shape):
        count = min(blocks, n)
        place = np.arange(n) * count // n
        box = box * count + place.reshape([-1 if a == axis else 1 for a in range(len(shape))])
    fluid = np.ones(shape, bool)
    pins = getattr(A, "pins", np.zeros(()))
    if pins.any():
        fluid = to_numpy(A.k) > 0  # type: ignore[attr-defined]
    rows = np.flatnonzero(fluid)
    _, columns = np.unique(box.ravel()[rows], return_inverse=True)
    ones = np.ones(rows.size, A.domain.dtype)
    return csr_array((ones, (rows, columns)), shape=(A.domain.size, columns.max() + 1))
