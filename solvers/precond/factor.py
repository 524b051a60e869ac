"""Complete factorisations: SuperLU and CHOLMOD.

Their results take other matrices of the same pattern with `update`, which keeps what the set-up
found out about the pattern.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from sciml.operator import Operator, Trait

from ._base import (
    HostPreconditioner,
    PerMember,
    Recipe,
    need_hermitian,
    per_member,
    same_pattern,
    square,
)

__all__ = ["Cholesky", "CholeskyFactor", "Factored", "LUFactor", "SuperLU", "superlu"]


@dataclass(frozen=True)
class SuperLU(Recipe):
    """Sparse LU (scipy.sparse.linalg.splu), exact to rounding; the M of `solvers.Direct`.

    A Hermitian matrix with a positive diagonal is ordered by minimum degree of A + A^H and pivoted
    on the diagonal (always if POSITIVE is declared, else unless it is a thousand times too small),
    a general one by columns (COLAMD) with partial pivoting.
    """

    def __call__(self, A: Operator) -> LUFactor | PerMember:
        if isinstance(A, Operator) and A.batch_shape:
            return per_member(A, self)
        return LUFactor(A, square(A, self.name).tocsc())


@dataclass(frozen=True)
class Cholesky(Recipe):
    """Sparse Cholesky by CHOLMOD (package scikit-sparse, extra `cholmod`), exact to rounding."""

    def __call__(self, A: Operator) -> CholeskyFactor | PerMember:
        try:
            from sksparse.cholmod import cholesky
        except ImportError:
            raise ModuleNotFoundError(
                "expected scikit-sparse for Cholesky, found none: "
                "pip install 'sciml-solvers[cholmod]', or use SuperLU()"
            ) from None
        need_hermitian(self, A)
        if A.batch_shape:
            return per_member(A, self)
        return CholeskyFactor(A, _with_real_diagonal(A), cholesky)


class Factored(HostPreconditioner):
    """x -> A^-1 x by a SuperLU object's factors."""

    def __init__(self, A: Operator, factors: Any, traits: Any) -> None:
        self.factors, self.held_in = factors, A.domain.dtype
        super().__init__(A, traits)

    def _solve(self, flat: np.ndarray, *, adjoint: bool) -> np.ndarray:
        columns = np.asarray(flat.T, self.held_in, order="F")
        return self.factors.solve(columns, trans="H" if adjoint else "N").T

    @property
    def nbytes(self) -> int:
        return int(self.factors.nnz) * (self.domain.dtype.itemsize + 4)


class _Reordered(NamedTuple):
    """A pattern with its columns (and rows, for diagonal pivots) in the order of elimination.

    Attributes:
        order: old places of the columns. take: old places of the entries.
        indptr, indices: of the reordered matrix, CSC.
    """

    order: np.ndarray
    take: np.ndarray
    indptr: np.ndarray
    indices: np.ndarray


class LUFactor(Factored):
    """x -> A^-1 x by a complete LU factorisation. Built by `SuperLU`.

    Args:
        matrix: A's, CSC, sorted. known: its order, found by an earlier factorisation.
    """

    def __init__(self, A: Operator, matrix: Any, known: _Reordered | None = None) -> None:
        from scipy.sparse import csc_array
        from scipy.sparse.linalg import splu

        self.pattern, self.known = (matrix.indptr, matrix.indices), known
        how: dict[str, Any] = {"permc_spec": "COLAMD"}
        self.symmetric = _pivots_on_diagonal(A, matrix)
        if self.symmetric:
            threshold = 0.0 if Trait.POSITIVE in A.traits else 1e-3
            how = {"permc_spec": "MMD_AT_PLUS_A", "diag_pivot_thresh": threshold}
            how["options"] = {"SymmetricMode": True}
        if known is not None:
            how["permc_spec"] = "NATURAL"
            parts = (matrix.data[known.take], known.indices, known.indptr)
            matrix = csc_array(parts, shape=matrix.shape)
        traits = {Trait.HERMITIAN} if Trait.HERMITIAN in A.traits else {Trait.LINEAR}
        factors = superlu(splu, matrix, **how)
        super().__init__(A, factors, traits | (A.traits & {Trait.POSITIVE}))

    def update(self, A: Operator) -> LUFactor:
        """The factors of another matrix of the same pattern, ordered as before.

        Raises:
            ValueError: A has another pattern, shape or dtype. TypeError, numpy.linalg.LinAlgError:
            as for `SuperLU`.
        """
        matrix = square(A, "SuperLU").tocsc()
        same_pattern(A, self, matrix.indptr, matrix.indices, *self.pattern)
        if _pivots_on_diagonal(A, matrix) != self.symmetric:
            return LUFactor(A, matrix)  # for which another order is right
        return LUFactor(A, matrix, self._reordered)

    @cached_property
    def _reordered(self) -> _Reordered:
        from scipy.sparse import csc_array

        if self.known is not None:
            return self.known
        n, (indptr, indices) = self.domain.size, self.pattern
        order = np.argsort(self.factors.perm_c)
        places: Any = csc_array((np.arange(len(indices)), indices, indptr), shape=(n, n))
        places = places[:, order]
        if self.symmetric:
            places = places[order].tocsc()
        places.sort_indices()
        return _Reordered(order, places.data, places.indptr, places.indices)

    def _solve(self, flat: np.ndarray, *, adjoint: bool) -> np.ndarray:
        if self.known is None:
            return super()._solve(flat, adjoint=adjoint)
        columns = self.known.order
        rows = columns if self.symmetric else slice(None)
        given, found = (columns, rows) if adjoint else (rows, columns)
        out = np.empty_like(flat)
        out[:, found] = super()._solve(flat[:, given], adjoint=adjoint)
        return out

    @property
    def nbytes(self) -> int:
        known = self._reordered if "_reordered" in vars(self) else self.known or ()
        return super().nbytes + sum(a.nbytes for a in (*self.pattern, *known))


def _pivots_on_diagonal(A: Operator, matrix: Any) -> bool:
    return Trait.HERMITIAN in A.traits and bool((matrix.diagonal().real > 0).all())


class CholeskyFactor(HostPreconditioner):
    """x -> A^-1 x by CHOLMOD's factor. Built by `Cholesky`.

    Args:
        matrix: A's, CSC, sorted. factorise: what makes a `sksparse.cholmod.Factor` of it.
    """

    def __init__(self, A: Operator, matrix: Any, factorise: Any) -> None:
        from sksparse.cholmod import CholmodNotPositiveDefiniteError

        self.pattern = (matrix.indptr, matrix.indices)
        try:
            self.factor = factorise(matrix)
            self.entries = self.factor.L().nnz  # an indefinite L D L^H fails only here
        except CholmodNotPositiveDefiniteError as error:
            raise np.linalg.LinAlgError(f"CHOLMOD: {error}") from None
        super().__init__(A, {Trait.POSITIVE})

    def update(self, A: Operator) -> CholeskyFactor:
        """The factor of another matrix of the same pattern, which is not analysed again.

        Raises:
            ValueError: A has another pattern, shape or dtype. TypeError, numpy.linalg.LinAlgError:
            as for `Cholesky`.
        """
        need_hermitian(Cholesky(), A)
        matrix = _with_real_diagonal(A)
        same_pattern(A, self, matrix.indptr, matrix.indices, *self.pattern)
        return CholeskyFactor(A, matrix, self.factor.cholesky)

    def _solve(self, flat: np.ndarray, *, adjoint: bool) -> np.ndarray:
        return np.ascontiguousarray(self.factor(flat.T).T) if len(flat) else flat.copy()

    @property
    def nbytes(self) -> int:
        held = self.entries * (self.domain.dtype.itemsize + 4)
        return held + sum(a.nbytes for a in self.pattern)


def _with_real_diagonal(A: Operator) -> Any:
    """A's matrix, CSC; CHOLMOD calls it indefinite for an i that rounding left on the diagonal."""
    matrix = square(A, "Cholesky").tocsc()
    if matrix.diagonal().imag.any():
        matrix.setdiag(matrix.diagonal().real)
    return matrix


def superlu(factor: Any, matrix: Any, **how: Any) -> Any:
    """A factorisation of SciPy's, with its error for a singular matrix as NumPy's."""
    try:
        return factor(matrix, **how)
    except RuntimeError as error:  # "Factor is exactly singular"
        raise np.linalg.LinAlgError(f"SuperLU: {error}") from None
