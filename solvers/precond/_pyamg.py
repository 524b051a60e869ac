"""A hierarchy that PyAMG set up, as a preconditioner here."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from sciml._checks import told
from sciml.operator import Trait
from sciml.operators.sparse import Sparse

from ._hierarchy import LARGEST_INVERSE, Csr, given
from .amg import AMGOperator, need_precision

__all__ = ["from_pyamg"]


def from_pyamg(ml: Any, *, dtype: Any = None) -> AMGOperator:
    """The V-cycle on the levels of a PyAMG hierarchy; `to(xp=cupy)` takes it to a GPU.

    The matrix on the finest level and every P are taken, R and the coarse matrices follow from
    them, and the coarsest level is solved directly. The smoother is the l1-Jacobi method of `AMG`,
    one step before and one after, whichever PyAMG was told: its own are closures, and Gauss-Seidel
    goes through the unknowns one by one. So `CG` takes the cycle. To 1e-8 on
    `pyamg.gallery.poisson` of 128² it takes 8 iterations with ruge_stuben_solver and 13 with
    smoothed_aggregation_solver; PyAMG's 7 and 12 with Jacobi steps of omega = 4/3, 5 and 7 with its
    Gauss-Seidel method, forth and back.

    Args:
        ml: a `pyamg.multilevel.MultilevelSolver` of a real symmetric positive (semi)definite matrix
            in float32 or float64. It is not changed, and nothing of it is kept.
        dtype: of the cycle, as for `AMG`.

    Raises:
        TypeError: ml is no hierarchy of PyAMG, complex, or of a matrix that is not symmetric.
        ValueError: R is not a multiple of P^T, a coarse matrix is not R A P, or the coarsest level
            has more than 1,000 unknowns.
        numpy.linalg.LinAlgError: the matrix is seen not to be positive semidefinite.
    """
    need_precision(dtype)
    levels = getattr(ml, "levels", None)
    if not (isinstance(levels, list) and levels and all(hasattr(one, "A") for one in levels)):
        kind_of = type(ml).__name__  # PyAMG's repr fails where there is no level
        raise TypeError(f"expected a hierarchy of PyAMG, with levels[i].A, got a {kind_of}")
    matrices = [_csr(level.A, f"A on level {i}") for i, level in enumerate(levels)]
    kind = np.dtype(levels[0].A.dtype)
    if kind not in (np.float32, np.float64):
        raise TypeError(f"expected a matrix of float32 or float64, got {kind}")
    A = Sparse(matrices[0].astype(kind))
    if Trait.HERMITIAN not in A.traits:
        raise TypeError("expected the hierarchy of a symmetric matrix, got one that is not")
    if (n := matrices[-1].shape[0]) > LARGEST_INVERSE:
        raise ValueError(
            f"expected at most {LARGEST_INVERSE} unknowns on the coarsest level, got {n}: give "
            "PyAMG a smaller max_coarse or a larger max_levels"
        )
    eps = float(np.finfo(kind).eps)
    transfers = []
    for i, (fine, coarse) in enumerate(pairwise(matrices)):
        P, R = (_csr(getattr(levels[i], name, None), f"{name} on level {i}") for name in "PR")
        _need_symmetric(fine, coarse, P, R, eps**0.5, i)
        transfers.append((_parts(P), P.shape[1]))
    structure, values = given(_parts(matrices[0]), transfers, dtype, eps)
    return AMGOperator(A, structure, values, dtype)


def _csr(matrix: Any, what: str) -> Any:
    """A sorted copy in CSR form and float64."""
    from scipy.sparse import csr_array, issparse

    if not issparse(matrix):
        raise TypeError(f"expected a sparse matrix as {what}, got {told(matrix)}")
    if matrix.dtype.kind == "c":
        raise TypeError(f"expected a real matrix as {what}, got {matrix.dtype}: use AMG")
    if matrix.nnz >= 1 << 31:
        raise ValueError(f"expected fewer than 2^31 entries in {what}, got {matrix.nnz}")
    copy = csr_array(matrix, dtype=np.float64, copy=True)
    copy.sum_duplicates()
    return copy


def _parts(matrix: Any) -> Csr:
    return matrix.indptr.astype(np.int32), matrix.indices.astype(np.int32), matrix.data


def _need_symmetric(A: Any, coarse: Any, P: Any, R: Any, near: float, level: int) -> None:
    """Refuse a level whose correction is not P (P^T A P)^-1 P^T, up to rounding."""
    shapes = (A.shape[0], coarse.shape[0])
    if P.shape != shapes or R.shape != shapes[::-1]:
        raise ValueError(f"expected P of shape {shapes} on level {level}, got {P.shape}, {R.shape}")
    scale = P.multiply(R.T).sum() / (P.data @ P.data)
    if not abs(R.T - scale * P).max() <= near * abs(scale * P).max():
        raise ValueError(
            f"expected R as a multiple of P^T on level {level}, got another: CG needs a symmetric "
            "cycle, such as those of ruge_stuben_solver and smoothed_aggregation_solver"
        )
    if not abs(R @ A @ P - coarse).max() <= near * abs(coarse).max():
        raise ValueError(f"expected A = R A P on level {level + 1}, got another matrix")
