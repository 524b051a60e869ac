"""CUDA graphs: what was launched once is launched again as one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from ...arrays import Array, is_torch

__all__ = ["Graph", "record"]

T = TypeVar("T")


class Graph(Protocol):
    """Kernels with their arguments, which keep the memory that they work on."""

    def replay(self) -> None:
        """Put them on the current stream of the arrays' library, without waiting for them."""
        ...


def record(run: Callable[[], T], like: Array) -> tuple[T, Graph]:
    """(what `run` gives, the graph of what it launches) on the GPU of `like`.

    Nothing is computed yet: what `run` gives is filled by each replay. The memory that it asks for
    belongs to the graph, so that nobody else is given what replays write to.

    Args:
        run: it was run before, since a first launch compiles; and reads nothing on the host.

    Raises:
        RuntimeError: it does what a graph cannot hold, such as a copy to the host. CuPy's calls of
            cuBLAS, cuSPARSE and cuSOLVER are refused so too.
    """
    return _by_torch(run, like) if is_torch(like) else _by_cupy(run, like)


def _by_torch(run: Callable[[], T], like: Array) -> tuple[T, Graph]:
    import torch

    graph, own = torch.cuda.CUDAGraph(), torch.cuda.Stream(like.device)
    # "thread_local": what other threads allocate meanwhile is no error here
    capturing = torch.cuda.graph(graph, stream=own, capture_error_mode="thread_local")
    with torch.cuda.device(like.device), capturing:
        made = run()
    return made, graph


def _by_cupy(run: Callable[[], T], like: Any) -> tuple[T, Graph]:
    import cupy

    with cupy.cuda.Device(like.device.id):
        pool, stream = cupy.cuda.MemoryPool(), cupy.cuda.Stream(non_blocking=True)
        with stream, cupy.cuda.using_allocator(pool.malloc):
            stream.begin_capture()
            try:
                made = run()
            except BaseException:
                with contextlib.suppress(RuntimeError):  # of a capture that is spoilt already
                    stream.end_capture()
                raise
            graph = stream.end_capture()
    return made, _OfCuPy(graph, pool)


class _OfCuPy:
    """A graph of CuPy's with the pool that its kernels' memory is from."""

    def __init__(self, graph: Any, pool: Any) -> None:
        self.graph, self.pool = graph, pool

    def replay(self) -> None:
        self.graph.launch()
