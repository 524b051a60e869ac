"""Deflation: what a few vectors span is solved for exactly, and iterations see the rest of A."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sciml._checks import integer, told
from sciml.arrays import Array, is_array, to_numpy
from sciml.operator import Operator, Trait

from ._base import HostPreconditioner, Recipe, need_hermitian, square
from .incomplete import IC0

__all__ = ["Coarse", "Deflation", "vectors"]

# Eigenvalues of the coarse matrix below this share of the largest are those of null spaces.
_NULL = 1e-12


@dataclass(frozen=True, eq=False)
class Deflation(Recipe):
    """CG on what is left of A when a small space is solved for exactly.

    With the space's basis W, E = Wᴴ A W, Q = W E⁺ Wᴴ and P = I − A Q it is M = Pᴴ M₀ P + Q. From
    any start conjugate gradients take the steps of deflated CG preconditioned by M₀ from its
    special start, whose eigenvalues are those of M₀ P A, and M is positive as M₀ is (Nicolaides,
    SIAM J. Numer. Anal. 24 (1987) 355; Frank and Vuik, SIAM J. Sci. Comput. 23 (2001) 442; Tang,
    Nabben, Vuik and Erlangga, J. Sci. Comput. 39 (2009) 340: A-BNN and theorem 3.4).

    It pays where few eigenvectors are slow and W is close to them: with m vectors of n entries a
    step costs 8 m n operations more, and the set-up m products with A and 2 m² n operations.

    Args:
        W: (m, *shape), real or complex as A; it need be neither orthogonal nor independent. None
            for the means over blocks of the grid, which are 1 on one box of cells and 0 elsewhere.
        blocks: along each axis, for W None; fewer where there are fewer cells.
        M: M₀, by a recipe that gives a Hermitian one.

    Raises:
        TypeError, ValueError: an argument of a wrong type, or W of another shape or not finite.
        numpy.linalg.LinAlgError: with `A`: it is not positive on W.
    """

    W: Array | None = None
    blocks: int = 8
    M: Callable[[Operator], Operator] = field(default_factory=IC0)

    def __post_init__(self) -> None:
        integer(self.blocks, "blocks", 1)
        if self.W is not None and not is_array(self.W):
            raise TypeError(f"expected W as an array (m, *shape) or None, got {told(self.W)}")
        if isinstance(self.M, Operator | type) or not callable(self.M):
            raise TypeError(f"expected M as a recipe such as IC0(), got {told(self.M)}")

    @property
    def name(self) -> str:
        return f"deflated {getattr(self.M, 'name', type(self.M).__name__)}"

    def __call__(self, A: Operator) -> Operator:
        need_hermitian(self, A)
        A = A.to(xp=np)
        W = _indicators(A, self.blocks) if self.W is None else vectors(A, self.W)
        return _Deflated(A, self.M(A), Coarse(A, W))


class Coarse:
    """A on the span of W: W as rows (m, n), A W likewise, and E⁺, each made in double precision.

    W is dense, or the sparse one of blocks.
    """

    def __init__(self, A: Operator, W: Any) -> None:
        if isinstance(W, np.ndarray):
            wide = A.to(dtype=np.float64)
            AW = np.asarray(wide(W.reshape(-1, *A.domain.shape))).reshape(W.shape)
        else:
            AW = (square(A, "Deflation") @ W.T).T.tocsr()
        E = W.conj() @ AW.T
        E = E if isinstance(E, np.ndarray) else E.toarray()
        values, vectors = np.linalg.eigh((E + E.conj().T) / 2)
        least = _NULL * abs(values).max(initial=0.0)
        if (values < -least).any():
            raise np.linalg.LinAlgError("Deflation needs A positive on W, and it is not definite")
        kept = values > least
        self.inverse = (vectors[:, kept] / values[kept]) @ vectors[:, kept].conj().T
        self.W, self.AW = W.astype(A.domain.dtype), AW.astype(A.domain.dtype)
        twice = A.domain.is_complex
        self.WH, self.AWH = (M.conj() if twice else M for M in (self.W, self.AW))

    def down(self, WH: Any, flat: np.ndarray) -> np.ndarray:
        """Wᴴ r of each row of (B, n): (B, m)."""
        return (WH @ flat.T).T

    def up(self, W: Any, c: np.ndarray) -> np.ndarray:
        """W c of each row of (B, m): (B, n)."""
        return (W.T @ c.T).T.astype(W.dtype, copy=False)

    def solve(self, c: np.ndarray) -> np.ndarray:
        """E⁺ c of each row."""
        return c @ self.inverse.T


class _Deflated(HostPreconditioner):
    """r -> Pᴴ M₀ P r + Q r."""

    def __init__(self, A: Operator, inner: Operator, coarse: Coarse) -> None:
        if Trait.HERMITIAN not in inner.traits:
            raise TypeError(f"expected M as a recipe for a Hermitian operator, got {inner!r}")
        positive = Trait.POSITIVE in inner.traits
        super().__init__(A, traits={Trait.POSITIVE if positive else Trait.HERMITIAN})
        self.inner, self.coarse = inner, coarse

    def _solve(self, flat: np.ndarray, *, adjoint: bool) -> np.ndarray:
        coarse = self.coarse  # M is Hermitian: its own adjoint
        c = coarse.solve(coarse.down(coarse.WH, flat))  # Q r = W c
        left = flat - coarse.up(coarse.AW, c)  # P r
        z = to_numpy(self.inner(left.reshape(-1, *self.domain.shape))).reshape(flat.shape)
        c = c - coarse.solve(coarse.down(coarse.AWH, z))  # Pᴴ z = z − W E⁺ (A W)ᴴ z
        return z + coarse.up(coarse.W, c)

    @property
    def nbytes(self) -> int:
        parts = (self.coarse.W, self.coarse.AW)
        dense = (p if isinstance(p, np.ndarray) else p.data for p in parts)
        return self.inner.nbytes + self.coarse.inverse.nbytes + sum(p.nbytes for p in dense)


def vectors(A: Operator, W: Array) -> np.ndarray:
    """W as (m, n) rows of norm 1 in double precision; rows of zeros are left out.

    Raises:
        TypeError, ValueError: not fit for A.
    """
    host, space = to_numpy(W), A.domain
    if A.batch_shape:
        raise TypeError(f"expected one matrix to deflate, got {A!r}: take its members one by one")
    if host.ndim != 1 + space.ndim or host.shape[1:] != space.shape or not len(host):
        wanted = ", ".join(map(str, space.shape))
        raise ValueError(f"expected W of shape (m, {wanted}) with m >= 1, got {host.shape}")
    if host.dtype.kind not in ("fc" if space.is_complex else "f"):
        raise TypeError(f"expected W of a dtype like A's, {space.dtype}, got {host.dtype}")
    if not np.isfinite(host).all():
        raise ValueError("expected finite W, got NaN or Inf in it")
    flat = host.reshape(len(host), -1).astype(np.complex128 if space.is_complex else np.float64)
    norms = np.linalg.norm(flat, axis=1)
    return flat[norms > 0] / norms[norms > 0, None]


def _indicators(A: Operator, blocks: int) -> Any:
    """(boxes, n) csr_array: 1 where a fluid cell lies in a box; boxes without any are left out."""
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
    cells = np.flatnonzero(fluid)
    _, rows = np.unique(box.ravel()[cells], return_inverse=True)
    ones = np.ones(cells.size)
    return csr_array((ones, (rows, cells)), shape=(rows.max() + 1, A.domain.size))
