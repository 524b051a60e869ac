"""CUDA graphs: what was launched once is launched again as one."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from ...arrays import Array, is_torch

__all__ = ["Graph", "record"]

T = TypeVar("T")
_ALONE = threading.Lock()


class Graph(Protocol):
    """Kernels with their arguments, which keep the memory that they work on."""

    @property
    def nbytes(self) -> int:
        """Bytes on the device that nobody else is given."""
        ...

    def replay(self) -> None:
        """Put them on the current stream of the arrays' library, without waiting for them."""
        ...


def record(run: Callable[[], T], like: Array) -> tuple[T, Graph]:
    """(what `run` gives, the graph of what it launches) on the GPU of `like`.

    Nothing is computed yet: what `run` gives is filled by each replay. The memory that it asks for
    belongs to the graph, so that nobody else is given what replays write to. One thread records at
    a time; another one that waits for the whole device meanwhile spoils it.

    Args:
        run: it was run before, since a first launch compiles; and reads nothing on the host.

    Raises:
        RuntimeError: it does what a graph cannot hold, such as a copy to the host. CuPy's calls of
            cuBLAS, cuSPARSE and cuSOLVER are refused so too.
    """
    with _ALONE:
        return _by_torch(run, like) if is_torch(like) else _by_cupy(run, like)


def _by_torch(run: Callable[[], T], like: Array) -> tuple[T, Graph]:
    import torch

    graph, own = torch.cuda.CUDAGraph(), torch.cuda.Stream(like.device)
    # "thread_local": what other threads allocate meanwhile is no error here
    capturing = torch.cuda.graph(graph, stream=own, capture_error_mode="thread_local")
    # after a capture that failed torch stays on its stream: the one before is put back here
    before = torch.cuda.stream(torch.cuda.current_stream(like.device))
    with torch.cuda.device(like.device), before, capturing:
        at_first = torch.cuda.memory_reserved(like.device)
        made = run()
        taken = torch.cuda.memory_reserved(like.device) - at_first
    return made, _Kept(graph.replay, taken, graph)


def _by_cupy(run: Callable[[], T], like: Any) -> tuple[T, Graph]:
    import cupy

    with cupy.cuda.Device(like.device.id):
        cupy.get_default_memory_pool().free_all_blocks()  # the graph's own pool cannot ask for them
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
        held = pool.total_bytes()

    def replay() -> None:
        with cupy.cuda.Device(like.device.id):
            graph.launch()

    return made, _Kept(replay, held, graph, pool)


class _Kept:
    """A graph with all that has to live as long."""

    def __init__(self, replay: Callable[[], None], nbytes: int, *kept: Any) -> None:
        self.replay, self.nbytes, self.kept = replay, nbytes, kept
