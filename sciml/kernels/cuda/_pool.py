"""One pool of memory for CuPy and torch."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

__all__ = ["torch_memory"]


@contextlib.contextmanager
def torch_memory() -> Iterator[None]:
    """CuPy takes its memory from torch's pool meanwhile, in this thread.

    Each library keeps what it has once asked of the device: with two pools, what one keeps for
    later is lost to the other.

    Raises:
        ImportError: CuPy or torch is not installed.
        RuntimeError: they find no GPU.
    """
    import cupy
    import torch

    if not (cupy.is_available() and torch.cuda.is_available()):
        raise RuntimeError(
            "expected a GPU that CuPy and torch both find, got none: see `sciml info`"
        )

    def take(size: int, device: int) -> int:
        stream = cupy.cuda.get_current_stream().ptr
        return torch.cuda.caching_allocator_alloc(size, device, stream)

    def give_back(address: int, device: int) -> None:
        torch.cuda.caching_allocator_delete(address)

    allocator = cupy.cuda.PythonFunctionAllocator(take, give_back)
    with cupy.cuda.using_allocator(allocator.malloc):
        yield
