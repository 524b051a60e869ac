"""Bases made of matrices that are kept in the precision in which they are applied."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ..arrays import Array, astype, dtype_of, from_host, with_precision
from ..operator import Operator

__all__ = ["Fixed"]


class Fixed(Operator):
    """An operator with matrices of NumPy, listed in `fixed`, for x of any library."""

    fixed: ClassVar[tuple[str, ...]] = ()

    def _with_precision(self, dtype: np.dtype) -> Operator:
        made = super()._with_precision(dtype)
        for name in self.fixed:
            matrix = getattr(self, name)
            cast = astype(matrix, with_precision(matrix.dtype, dtype))
            object.__setattr__(made, name, cast)
        return made

    @staticmethod
    def like(matrix: np.ndarray, x: Array) -> Array:
        """The matrix in the library of x, without a copy where there need be none."""
        return from_host(matrix, x, dtype_of(x))
