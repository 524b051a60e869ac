"""The stream of a GPU on which an array's own library works."""

from __future__ import annotations

import sys
from typing import Any

from ._library import library_of
from .arrays import Array, is_torch

__all__ = ["stream_of", "wait"]


def stream_of(x: Array) -> tuple[int, int] | None:
    """(device, address of the stream); None of an array in host memory."""
    stream = _current(x)
    if stream is None:
        return None
    if is_torch(x):
        return stream.device.index, stream.cuda_stream
    there: Any = x.device
    return there.id, stream.ptr


def wait(x: Array) -> None:
    """Until all is done that x's library was asked for on its stream."""
    if (stream := _current(x)) is not None:
        stream.synchronize()


def _current(x: Array) -> Any:
    """The library's own object."""
    if is_torch(x):
        on_gpu = x.device.type == "cuda"
        return sys.modules["torch"].cuda.current_stream(x.device) if on_gpu else None
    if library_of(x) != "cupy":
        return None
    import cupy

    return cupy.cuda.get_current_stream(x.device.id)
