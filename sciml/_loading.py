"""Compiled kernels are loaded at set-up, where their cost is told, and not in the first step."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .arrays import host_view
from .operator import Operator

__all__ = ["load_kernels"]

# What this process has loaded. Loading twice would cost an application and change nothing.
_LOADED: set[tuple[Any, ...]] = set()
# From this size kernels may run in parallel, which is another piece of code to load.
_LARGE = 1 << 15


def load_kernels(A: Any, batch: tuple[int, ...]) -> None:
    """Apply the compiled operators in `A` to zeros, once in a process for each kind of them.

    Args:
        A: an operator, or anything else, which is passed over. batch: of the problem.
    """
    if not isinstance(A, Operator):
        return
    members = math.prod(batch)
    for op in {id(owner): owner for owner, _, _ in A.attributes()}.values():
        if not op.compiled:
            continue
        like = op.home if op.home is not None else np.zeros(0)
        large = op.work * members >= _LARGE
        key = (type(op), op.domain.dtype, op.domain.ndim, large, members > 1)
        if key not in _LOADED and host_view(like) is not None:
            zero = op.domain.zeros(like, batch)
            op(zero)
            op.squared_misfit(zero, zero)
            _LOADED.add(key)
