"""Where the coarse unknowns of algebraic multigrid come from."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._hierarchy import Csr

__all__ = ["Aggregation", "ruge_stueben"]

# A coupling is strong from this share of the row's strongest on (Stüben 2001, section 4.1), or of
# (a_ii a_jj)^1/2, halved from level to level (Vanek, Mandel, Brezina 1996, eq. 5.1).
_OF_STRONGEST, _OF_DIAGONAL = 0.25, 0.08
# Damping of the smoothed prolongator, in multiples of 1 / (sum of the row's absolute values).
_OMEGA = 1.5


def ruge_stueben(A: Csr, depth: int) -> tuple[Csr, int]:
    """Direct interpolation from the coarse unknowns of Ruge and Stüben's two passes."""
    from sciml.kernels.coarsening import interpolation, splitting, strong_couplings

    strong = strong_couplings(*A, _OF_STRONGEST)
    kind = splitting(*strong)
    return interpolation(A, strong, kind), int(kind.sum(dtype=int))


class Aggregation:
    """Smoothed aggregation; it carries the near null space from level to level.

    PyAMG finds the aggregates and fits the near null space to them. Its own smoothing draws random
    vectors to estimate a spectral radius, so that its hierarchies differ from call to call; a
    row-wise bound does without, in a fraction of the time.

    Args:
        near: (n, k), on the finest level. block: unknowns per node there.
    """

    def __init__(self, near: np.ndarray, block: int) -> None:
        try:
            import pyamg  # noqa: F401
        except ImportError:
            raise ModuleNotFoundError(
                "expected pyamg for smoothed aggregation, found none: "
                "pip install 'sciml-solvers[amg]', or use Coarsening.RUGE_STUEBEN"
            ) from None
        self.near, self.block = near, block

    def __call__(self, A: Csr, depth: int) -> tuple[Csr, int]:
        from pyamg.aggregation.aggregate import standard_aggregation
        from pyamg.aggregation.tentative import fit_candidates
        from pyamg.strength import symmetric_strength_of_connection
        from scipy.sparse import csr_matrix

        n = len(A[0]) - 1
        matrix: Any = csr_matrix((A[2], A[1], A[0]), shape=(n, n))
        if self.block > 1:
            matrix = matrix.tobsr((self.block, self.block))
        theta: Any = _OF_DIAGONAL * 0.5**depth
        aggregates, _ = standard_aggregation(symmetric_strength_of_connection(matrix, theta))
        if not aggregates.nnz:
            return A, 0
        tentative, self.near = fit_candidates(aggregates, self.near)
        self.block = self.near.shape[1]
        T: Any = tentative.tocsr()
        parts = (T.indptr.astype(np.int32), T.indices.astype(np.int32), T.data)
        return _smoothed(A, parts, T.shape[1]), T.shape[1]


def _smoothed(A: Csr, T: Csr, columns: int) -> Csr:
    """(I - D^-1 A) T, where D = (sum of the row's absolute values) / 1.5."""
    from sciml.kernels.galerkin import product, scaled

    indptr, indices, data = A
    sums = np.add.reduceat(abs(data), indptr[:-1])
    step = np.divide(_OMEGA, sums, out=np.zeros_like(sums), where=sums > 0)
    smoother = np.empty_like(data)
    scaled(A, step, np.ones_like(step), smoother, from_identity=True)
    return product((indptr, indices, smoother), T, columns)
