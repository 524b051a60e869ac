"""Memory that goes round within a solve.

A solve makes the same few large arrays at every step. Fresh memory costs more than the arithmetic
on it: the system zeroes each page at its first use. Within `recycling()` an array that nobody
refers to any more is handed out again; outside, `empty` is NumPy's.
"""

from __future__ import annotations

import math
import sys
import threading
from collections import defaultdict
from types import TracebackType
from typing import Any

import numpy as np

__all__ = ["empty", "recycling"]

# Below this NumPy and malloc keep memory by themselves.
_LARGE = 1 << 16
# References to an array that nobody uses: the list, the loop variable, getrefcount's argument.
_IDLE = 3
_LOCAL = threading.local()


class recycling:
    """Within this context, in this thread, `empty` hands out again what nobody refers to."""

    def __enter__(self) -> None:
        self._outer = getattr(_LOCAL, "held", None)
        if self._outer is None:
            _LOCAL.held = defaultdict(list)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _LOCAL.held = self._outer


def empty(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """As `numpy.empty`."""
    held = getattr(_LOCAL, "held", None)
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if held is None or size < _LARGE:
        return np.empty(shape, dtype)
    for flat in held[size]:
        if sys.getrefcount(flat) == _IDLE:
            return flat.view(dtype).reshape(shape)
    flat = np.empty(size, np.uint8)
    held[size].append(flat)
    return flat.view(dtype).reshape(shape)
