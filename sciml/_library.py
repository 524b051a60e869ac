"""Which package an array is of, by its type alone: nothing is imported."""

from __future__ import annotations

from typing import Any

__all__ = ["library_of"]


def library_of(x: Any) -> str:
    """The top-level package of x's type: numpy, torch, cupy, cupyx (its sparse matrices), ..."""
    return type(x).__module__.split(".")[0]
