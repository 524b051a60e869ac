"""Whether a matrix is Hermitian, as far as its assembly's rounding lets one see."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["equals_adjoint", "looks_hermitian"]


def equals_adjoint(A: Any) -> bool:
    """Whether A = A^H to the last bit."""
    if A.shape[0] != A.shape[1]:
        return False
    if isinstance(A, np.ndarray):
        return bool(np.array_equal(A, A.conj().T))
    return (A - A.conj().T).count_nonzero() == 0


def looks_hermitian(A: Any) -> bool:
    """Whether A = A^H entry by entry, up to eps^0.8 of the smaller of the two rows' largest entry.

    That is 3e-13 in double and 3e-6 in single precision: matrices of finite elements are symmetric
    to some hundred eps only.

    Args:
        A: (m, n) NumPy array or SciPy sparse matrix.
    """
    if A.shape[0] != A.shape[1]:
        return False
    room = float(np.finfo(A.dtype).eps) ** 0.8
    if isinstance(A, np.ndarray):
        largest = abs(A).max(axis=1)
        gap, limit = abs(A - A.conj().T), np.minimum(largest[:, None], largest)
        return bool((gap <= room * limit).all())
    difference = (A - A.conj().T).tocoo()
    if not difference.nnz:
        return True
    largest = np.asarray(abs(A).max(axis=1).todense()).reshape(-1)
    limit = np.minimum(largest[difference.row], largest[difference.col])
    return bool((abs(difference.data) <= room * limit).all())
