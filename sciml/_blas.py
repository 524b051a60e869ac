"""BLAS and LAPACK on one thread."""

from __future__ import annotations

import contextlib
from typing import Any

__all__ = ["one_blas_thread"]


def one_blas_thread() -> contextlib.AbstractContextManager[Any]:
    """A context in which NumPy's and SciPy's BLAS use one thread.

    LAPACK's eigenvectors of matrices from order 26 on depend, in their last bits, on the number of
    threads; and a matrix of some hundred rows takes longer on several threads than on one.
    """
    from threadpoolctl import threadpool_limits

    return threadpool_limits(1, user_api="blas")
