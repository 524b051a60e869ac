"""The stream of a GPU on which an array's own library works."""

from __future__ import annotations

import sys

import numpy as np

from .arrays import Array, is_torch

__all__ = ["stream_of", "wait"]


def stream_of(x: Array) -> tuple[int, int] | None:
    """(device, address of the stream); None of an array in host memory."""
    if is_torch(x):
        if x.device.type != "cuda":
            return None
        stream = sys.modules["torch"].cuda.current_stream(x.device)
        return stream.device.index, stream.cuda_stream
    if isinstance(x, np.ndarray) or not type(x).__module__.startswith("cupy"):
        return None
    import cupy

    index = x.device.id
    return index, cupy.cuda.get_current_stream(index).ptr


def wait(x: Array) -> None:
    """Until all is done that x's library was asked for on its stream."""
    found = stream_of(x)
    if found is None:
        return
    if is_torch(x):
        sys.modules["torch"].cuda.current_stream(x.device).synchronize()
        return
    import cupy

    cupy.cuda.get_current_stream(found[0]).synchronize()
