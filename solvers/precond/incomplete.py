"""Jacobi, SSOR and incomplete factorisations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sciml._checks import need, told
from sciml.arrays import namespace
from sciml.operator import Operator, Trait
from sciml.operators.dense import Diagonal

from ._base import HostPreconditioner, Recipe, csr_bytes, need_hermitian, square
from .factor import Factored, superlu

__all__ = ["IC0", "ILU0", "ILUT", "SSOR", "Jacobi"]


@dataclass(frozen=True)
class Jacobi(Recipe):
    """M = diag(A)^-1."""

    def __call__(self, A: Operator) -> Operator:
        need(A, Operator, "an Operator to precondition")
        diagonal = A.diagonal()
        xp = namespace(diagonal)
        # In a batch the members with a zero fail by themselves, and spoil no other.
        if not A.batch_shape and bool(xp.any(diagonal == 0)):
            raise np.linalg.LinAlgError("Jacobi needs a diagonal without zeros")
        if Trait.HERMITIAN in A.traits and A.domain.is_complex:
            diagonal = xp.astype(xp.real(diagonal), diagonal.dtype)  # free of rounding's i
        return Diagonal(1 / diagonal, ndim=A.domain.ndim)


@dataclass(frozen=True)
class SSOR(Recipe):
    """Symmetric successive over-relaxation, for Hermitian A (Saad 2003, section 10.2).

    M^-1 = (D/w + L) D^-1 (D/w + L)^H w / (2 - w), with A = L + D + L^H.

    Args:
        omega: relaxation w, 0 < omega < 2; 1 is symmetric Gauss-Seidel.
    """

    omega: float = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.omega, float | int) or not 0 < self.omega < 2:
            raise ValueError(f"expected omega strictly between 0 and 2, got {told(self.omega)}")

    def __call__(self, A: Operator) -> Operator:
        need_hermitian(self, A)
        lower, diagonal = _lower_triangle(A, self.name)
        lower.data[lower.indptr[1:] - 1] = diagonal / self.omega
        middle = diagonal * ((2 - self.omega) / self.omega)
        traits = {Trait.POSITIVE} if (np.real(diagonal) > 0).all() else {Trait.HERMITIAN}
        return _Triangles(A, lower, lower, middle, traits)


@dataclass(frozen=True)
class IC0(Recipe):
    """Incomplete Cholesky without fill, for Hermitian positive definite A (Saad 2003, 10.3.5).

    Where a pivot fails, the diagonal is raised and the factorisation done again (Manteuffel 1980):
    by the factor 1 + shift, with shift 1e-3, 2e-3, 4e-3 ... until it succeeds.
    """

    def __call__(self, A: Operator) -> Operator:
        from sciml.kernels.sparse import factor_ic0

        need_hermitian(self, A)
        lower, diagonal = _lower_triangle(A, self.name)
        if not (np.real(diagonal) > 0).all():
            raise np.linalg.LinAlgError("IC0 needs a positive diagonal, so A is not definite")
        last = lower.indptr[1:] - 1
        entries = lower.data.copy()
        shift = 0.0
        while not factor_ic0(lower.data, lower.indices, lower.indptr):
            shift = 2 * shift or 1e-3
            if shift > 4:
                raise np.linalg.LinAlgError("IC0 found no usable pivots")
            lower.data[:] = entries
            lower.data[last] *= 1 + shift
        return _Triangles(A, lower, lower, None, {Trait.POSITIVE})


@dataclass(frozen=True)
class ILU0(Recipe):
    """Incomplete LU without fill, for general A (Saad 2003, section 10.3.2)."""

    def __call__(self, A: Operator) -> Operator:
        from scipy.sparse import csr_array, tril, triu

        from sciml.kernels.sparse import factor_ilu0

        matrix = square(A, self.name)
        n = matrix.shape[0]
        rows = np.repeat(np.arange(n), np.diff(matrix.indptr))
        place = np.flatnonzero(rows == matrix.indices)
        if place.size != n:
            raise np.linalg.LinAlgError("ILU0 needs a stored diagonal entry in every row")
        if not factor_ilu0(matrix.data, matrix.indices, matrix.indptr, place):
            raise np.linalg.LinAlgError("ILU0 met a zero pivot")
        lower = csr_array(tril(matrix, format="csr"))
        lower.data[lower.indptr[1:] - 1] = 1
        upper_h = csr_array(triu(matrix, format="csr").conj().T)
        upper_h.sort_indices()
        return _Triangles(A, lower, upper_h, None, {Trait.LINEAR})


@dataclass(frozen=True)
class ILUT(Recipe):
    """SuperLU's incomplete LU with threshold (scipy.sparse.linalg.spilu).

    Args:
        drop_tol: entries below this share of their column's norm are dropped.
        fill_factor: most entries, in multiples of those of A.
    """

    drop_tol: float = 1e-4
    fill_factor: float = 10.0

    def __call__(self, A: Operator) -> Operator:
        from scipy.sparse.linalg import spilu

        matrix = square(A, self.name).tocsc()
        factors = superlu(spilu, matrix, drop_tol=self.drop_tol, fill_factor=self.fill_factor)
        return Factored(A, factors, {Trait.LINEAR})


class _Triangles(HostPreconditioner):
    """x -> G^-H D F^-1 x for lower triangles F and G in CSR form, diagonal entries last."""

    compiled = True

    def __init__(self, A: Operator, first: Any, second: Any, middle: Any, traits: Any) -> None:
        self.first, self.second, self.middle = first, second, middle
        super().__init__(A, traits)

    def _solve(self, flat: np.ndarray, *, adjoint: bool) -> np.ndarray:
        from sciml.kernels.sparse import solve_lower, solve_lower_adjoint

        f, g = (self.second, self.first) if adjoint else (self.first, self.second)
        x = flat.copy()
        solve_lower(f.data, f.indices, f.indptr, x)
        if self.middle is not None:
            x *= self.middle.conj() if adjoint else self.middle
        solve_lower_adjoint(g.data, g.indices, g.indptr, x)
        return x

    @property
    def nbytes(self) -> int:
        parts = {id(m): m for m in (self.first, self.second)}.values()
        return sum(map(csr_bytes, parts))


def _lower_triangle(A: Operator, name: str) -> tuple[Any, np.ndarray]:
    """(lower triangle with the diagonal entry last in each row, diagonal)."""
    from scipy.sparse import csr_array, tril

    lower: Any = csr_array(tril(square(A, name), format="csr"))
    lower.sort_indices()
    n = lower.shape[0]
    filled = np.diff(lower.indptr) > 0
    if not filled.all() or not (lower.indices[lower.indptr[1:] - 1] == np.arange(n)).all():
        raise np.linalg.LinAlgError(f"{name} needs a stored diagonal entry in every row")
    diagonal = lower.data[lower.indptr[1:] - 1].copy()
    if not abs(diagonal).min() > 0:
        raise np.linalg.LinAlgError(f"{name} needs a diagonal without zeros")
    return lower, diagonal
