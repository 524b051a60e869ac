"""What must not happen while a CUDA graph is recorded."""

from __future__ import annotations

from typing import Any

from ._library import library_of

__all__ = ["refuse_copies"]


def refuse_copies(x: Any) -> None:
    """Refuse a copy from host memory to where x is, while CuPy records a CUDA graph there: the copy
    would spoil it, and CuPy would never give the memory between back. Torch refuses by itself.

    Raises:
        RuntimeError: in words.
    """
    if library_of(x) != "cupy":
        return
    import cupy

    stream = cupy.cuda.get_current_stream(x.device.id)
    if stream.ptr and stream.is_capturing():
        raise RuntimeError("a copy from host memory while a CUDA graph is recorded")
