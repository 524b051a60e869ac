"""Set-up of algebraic multigrid: from a matrix to the arrays that its cycle runs on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from sciml.arrays import with_precision

__all__ = ["LARGEST_INVERSE", "Coarsen", "Csr", "Structure", "Values", "build", "given", "renew"]

Csr = tuple[np.ndarray, np.ndarray, np.ndarray]  # (indptr, indices, data), indices of int32
# (A, depth) -> (P, its columns), with no columns where nothing is left to coarsen
Coarsen = Callable[[Csr, int], tuple[Csr, int]]

# Unknowns from which another level is made, and up to which the coarsest is inverted where
# coarsening came to a halt; a larger one is only smoothed. LAPACK's eigenvalues of a few more call
# on the threads of BLAS, which then spin for some 50 ms on the cores that our kernels want.
_COARSEST, LARGEST_INVERSE = 25, 1_000
_MOST_LEVELS = 30
# A coarsening that leaves more than this share of the unknowns is not worth a level.
_SHARE = 0.9
# The smoother's step in multiples of the one that is sure to lower the energy; convergent below 2.
_STEP = 1.5
# A float32 cycle is off by its eps over the least energy that a coarse level can hold, relative to
# what it was summed from (an inclusion in a much softer matrix): it is trusted down to this energy.
_SINGLE = 1e-5
# In eps: what counts as zero of a coarse matrix's diagonal, in multiples of the terms it was summed
# from; times the root of the number of unknowns that were summed up, of the eigenvalues of the
# coarsest one, where 1 is large, but no more than _WEAK.
_ZERO, _WEAK = 16.0, 1e-4


class Values(NamedTuple):
    """What of a hierarchy depends on the values of A; see `sciml.kernels.amg.v_cycle`.

    Attributes:
        data: of N = I - S A S, R = P^H and P of each level, P scaled like A.
        coarsest: (m, m), transposed inverse of the coarsest S A S, the identity on its null space;
            (0, 0) for the identity everywhere.
        scale: (n,), S on the finest level.
    """

    data: np.ndarray
    coarsest: np.ndarray
    scale: np.ndarray


@dataclass(frozen=True, eq=False)
class Structure:
    """What of a hierarchy serves every matrix of one pattern.

    Attributes:
        layout: int64 (levels, 7), see `sciml.kernels.amg`.
        indptr, indices: of N, R and P of each level.
        patterns: (indptr, indices) of A on each level.
        transfers: P of each level but the last, not scaled.
    """

    layout: np.ndarray
    indptr: np.ndarray
    indices: np.ndarray
    patterns: tuple[tuple[np.ndarray, np.ndarray], ...]
    transfers: tuple[Csr, ...]

    @property
    def nbytes(self) -> int:
        """Of all arrays."""
        arrays = [self.layout, self.indptr, self.indices]
        parts = (*self.patterns, *self.transfers)
        return sum(a.nbytes for a in (*arrays, *(a for part in parts for a in part)))


def build(A: Csr, coarsen: Coarsen, dtype: Any, eps: float) -> tuple[Structure, Values]:
    """The hierarchy of a Hermitian A.

    A is scaled to S A S with S^2 = 1.5 / (row bounds), so that the smoother is the step
    u <- u + (b - S A S u): the l1-Jacobi method (Baker, Falgout, Kolev, Yang, SIAM J. Sci. Comput.
    33, 2011), convergent for every positive definite A.

    Args:
        A: in float64 or complex128. coarsen: makes each P.
        dtype: float32 or float64, the precision of the cycle; None for float32 where that is safe.
        eps: of the precision that A's entries were rounded to.

    Raises:
        numpy.linalg.LinAlgError: A is seen not to be positive semidefinite.
    """
    from sciml.kernels.galerkin import galerkin, transposed

    matrices: list[Csr] = [A]
    restrictions: list[Csr] = []
    transfers: list[Csr] = []
    while _rows(matrices[-1]) > _COARSEST and len(matrices) < _MOST_LEVELS:
        fine = matrices[-1]
        P, columns = coarsen(fine, len(transfers))
        if not 0 < columns <= _SHARE * _rows(fine):
            break
        restrictions.append(transposed(*P, columns))
        transfers.append(P)
        matrices.append(galerkin(restrictions[-1], fine, P))
    return _finished(matrices, restrictions, transfers, dtype, eps)


def given(
    A: Csr, transfers: Sequence[tuple[Csr, int]], dtype: Any, eps: float
) -> tuple[Structure, Values]:
    """The hierarchy of a Hermitian A with these P, each with its number of columns; see `build`.

    Raises:
        numpy.linalg.LinAlgError: as for `build`.
    """
    from sciml.kernels.galerkin import galerkin, transposed

    matrices = [A]
    restrictions = [transposed(*P, columns) for P, columns in transfers]
    for R, (P, _) in zip(restrictions, transfers, strict=True):
        matrices.append(galerkin(R, matrices[-1], P))
    return _finished(matrices, restrictions, [P for P, _ in transfers], dtype, eps)


def _finished(
    matrices: list[Csr], restrictions: list[Csr], transfers: list[Csr], dtype: Any, eps: float
) -> tuple[Structure, Values]:
    stack = _interleaved(matrices, restrictions, transfers)
    patterns = tuple((A[0], A[1]) for A in matrices)
    structure = Structure(*_laid_out(stack), patterns, tuple(transfers))
    return structure, _values(matrices, restrictions, stack, dtype, eps)


def renew(old: Structure, data: np.ndarray, dtype: Any, eps: float) -> Values:
    """The values for a matrix with other data in the same pattern, with the same P.

    Raises:
        numpy.linalg.LinAlgError: as for `build`.
    """
    from sciml.kernels.galerkin import galerkin_values, transposed

    matrices: list[Csr] = [(*old.patterns[0], data)]
    restrictions = [transposed(*P, m) for P, m in zip(old.transfers, old.layout[:, 1], strict=True)]
    for R, P, pattern in zip(restrictions, old.transfers, old.patterns[1:], strict=True):
        matrices.append((*pattern, galerkin_values(R, matrices[-1], P, pattern)))
    stack = _interleaved(matrices, restrictions, old.transfers)
    return _values(matrices, restrictions, stack, dtype, eps)


def _values(
    matrices: list[Csr], restrictions: list[Csr], stack: list[Csr], dtype: Any, eps: float
) -> Values:
    scales, weakest = _scales(matrices, restrictions, eps)
    zero = min(_ZERO * eps * _rows(matrices[0]) ** 0.5, _WEAK)
    coarsest, lowest = _inverse(matrices[-1], scales[-1], zero)
    if dtype is None:
        dtype = np.float32 if min(weakest, lowest) > _SINGLE else np.float64
    dtype = with_precision(coarsest.dtype, dtype)
    return Values(_scaled(stack, scales, dtype), coarsest.astype(dtype), scales[0])


def _rows(A: Csr) -> int:
    return len(A[0]) - 1


def _interleaved(
    matrices: Sequence[Csr], restrictions: Sequence[Csr], transfers: Sequence[Csr]
) -> list[Csr]:
    """A, R, P of each level but the coarsest, in the order of the stack."""
    levels = zip(matrices[:-1], restrictions, transfers, strict=True)
    return [M for level in levels for M in level]


def _laid_out(stack: list[Csr]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(layout, indptr, indices) of the stack."""
    sizes = [len(M[1]) for M in stack]
    kind = np.int32 if sum(sizes) < 1 << 31 else np.int64
    firsts = np.cumsum([0, *sizes])
    starts = np.cumsum([0, *(len(M[0]) for M in stack)])
    indptr = [M[0].astype(kind) + kind(first) for M, first in zip(stack, firsts, strict=False)]
    rows, at = [], 0
    for i in range(0, len(stack), 3):
        n, m = _rows(stack[i]), _rows(stack[i + 1])
        rows.append((n, m, at, at + n, *starts[i : i + 3]))
        at += n
    empty = np.zeros(0, np.int32)
    return (
        np.array(rows, np.int64).reshape(-1, 7),
        np.concatenate([empty.astype(kind), *indptr]),
        np.concatenate([empty, *(M[1] for M in stack)]),
    )


def _scales(
    matrices: list[Csr], restrictions: list[Csr], eps: float
) -> tuple[list[np.ndarray], float]:
    """(S of each level, the least share that a coarse diagonal is of its terms).

    S is 0 for a coarse unknown whose row is zero up to rounding, which no share counts.
    """
    from sciml.kernels.galerkin import diagonal
    from sciml.kernels.sparse import csr_matvec, unsigned

    d = diagonal(matrices[0])
    if not (d > 0).all():
        raise np.linalg.LinAlgError("AMG needs a positive diagonal: A is not positive definite")
    scales, weakest = [_scale(matrices[0], np.sqrt(d))], 1.0
    for A, (indptr, indices, data) in zip(matrices[1:], restrictions, strict=True):
        terms = np.empty((1, len(indptr) - 1))
        csr_matvec(abs(data)[None] ** 2, unsigned(indices), unsigned(indptr), d[None], terms)
        share = np.divide(d := diagonal(A), terms[0], out=np.zeros_like(d), where=terms[0] > 0)
        if not (share >= -_ZERO * eps).all():
            raise np.linalg.LinAlgError(
                "AMG needs a positive diagonal on every level: A is not positive definite"
            )
        held = share > _ZERO * eps
        weakest = min(weakest, float(share.min(initial=1, where=held)))
        scales.append(_scale(A, np.sqrt(np.where(held, d, 0))))
    return scales, weakest


def _scale(A: Csr, root: np.ndarray) -> np.ndarray:
    """S for a matrix with this root of its diagonal."""
    from sciml.kernels.galerkin import row_bounds

    bounds = row_bounds(A, root)
    return np.sqrt(np.divide(_STEP, bounds, out=np.zeros_like(bounds), where=bounds > 0))


def _scaled(stack: list[Csr], scales: list[np.ndarray], dtype: np.dtype) -> np.ndarray:
    """The data of the stack: I - S A S, and P scaled so that it maps between scaled unknowns."""
    from sciml.kernels.galerkin import scaled

    data = np.empty(sum(len(M[1]) for M in stack), dtype)
    at = 0
    for i, M in enumerate(stack):
        fine, coarse = scales[i // 3], scales[i // 3 + 1]
        inverse = np.divide(1, fine, out=np.zeros_like(fine), where=fine > 0)
        left, right = ((fine, fine), (coarse, inverse), (inverse, coarse))[i % 3]
        scaled(M, left, right, data[at : at + len(M[1])], from_identity=i % 3 == 0)
        at += len(M[1])
    return data


def _inverse(A: Csr, scale: np.ndarray, zero: float) -> tuple[np.ndarray, float]:
    """((S A S)^-1 transposed, the smallest eigenvalue of S A S but 0), I on its null space.

    zero: eigenvalues of this size are rounding.

    (0, 0) where A is too large for it.
    """
    from scipy.sparse import csr_array

    n = _rows(A)
    if n > LARGEST_INVERSE:
        return np.zeros((0, 0), A[2].dtype), 1.0
    dense = csr_array((A[2], A[1], A[0]), shape=(n, n)).toarray() * scale[:, None] * scale
    values, vectors = np.linalg.eigh((dense + dense.conj().T) / 2)
    if not values[0] >= -zero:
        raise np.linalg.LinAlgError(
            f"AMG found the eigenvalue {values[0]:.1e} on its coarsest level, where 1 is large: "
            "A is not positive definite"
        )
    kept = values > zero
    inverse = np.divide(1, values, out=np.ones_like(values), where=kept)
    product = (vectors * inverse) @ vectors.conj().T
    return np.ascontiguousarray(product.T), float(values.min(initial=1, where=kept))
