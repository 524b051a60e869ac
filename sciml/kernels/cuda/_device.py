"""Where kernels run: a GPU by way of CuPy, on the stream that an array's own library works on."""

from __future__ import annotations

import contextlib
import functools
from typing import Any, Protocol

import numpy as np

from ..._library import library_of
from ..._streams import stream_of
from ..._torch import plain
from ...arrays import Array, is_torch, namespace
from ._sources import OPTIONS, source

__all__ = ["Device", "contiguous", "device_of", "in_order"]

Grid = tuple[int, int, int]
_ALWAYS = 48 * 1024  # bytes of shared memory that a launch need not ask for beforehand
_C_NAMES = {np.dtype(np.float32): "float", np.dtype(np.float64): "double"}


class Device(Protocol):
    """What runs kernels on arrays that lie there."""

    @property
    def most_shared(self) -> int:
        """Bytes of shared memory that one block may have."""
        ...

    def launch(
        self, name: str, kernel: str, real: np.dtype, grid: Grid, block: Grid,
        args: tuple[Any, ...], shared: int = 0, stored: np.dtype | None = None,
    ) -> None:  # fmt: skip
        """Run a kernel of the source `name`, compiled for `real`, without waiting for it.

        Args:
            stored: the type of coefficients, if not `real`.
            args: arrays on the device, None for a null pointer, NumPy scalars, and NumPy arrays of
                one structured entry, which are passed by value.
            shared: bytes of dynamic shared memory.
        """
        ...


def device_of(*arrays: Array) -> Device | None:
    """The GPU on which kernels can run on these arrays; None where there is none, or no CuPy, or
    where torch has to see what is done to them."""
    first = arrays[0]
    if isinstance(first, np.ndarray):
        return None
    if is_torch(first):
        if first.device.type != "cuda" or not all(is_torch(a) and plain(a) for a in arrays):
            return None
        found = stream_of(first) if _usable() else None
        return None if found is None else Gpu(*found)
    if all(library_of(a) == "cupy" for a in arrays):
        return Gpu(first.device.id, None)
    return None


def contiguous(x: Array) -> Array:
    """x, or a copy in C order."""
    if is_torch(x):
        return x.contiguous()
    return namespace(x).ascontiguousarray(x)


def in_order(x: Array) -> bool:
    """Whether x is in C order without gaps."""
    return bool(x.is_contiguous() if is_torch(x) else x.flags.c_contiguous)


@functools.cache
def _usable() -> bool:
    """Whether CuPy is there and finds a GPU; that it can be imported says nothing."""
    try:
        import cupy
    except ImportError:
        return False
    return bool(cupy.is_available())


class Gpu:
    """A GPU, and the stream that kernels are put on: CuPy's current one without."""

    def __init__(self, index: int, stream: int | None) -> None:
        self.index, self.stream = index, stream

    @property
    def most_shared(self) -> int:
        return _most_shared(self.index)

    def launch(
        self, name: str, kernel: str, real: np.dtype, grid: Grid, block: Grid,
        args: tuple[Any, ...], shared: int = 0, stored: np.dtype | None = None,
    ) -> None:  # fmt: skip
        import cupy

        given = tuple(map(_argument, args))
        with cupy.cuda.Device(self.index):
            stream: Any = contextlib.nullcontext()
            if self.stream is not None:
                stream = cupy.cuda.ExternalStream(self.stream, self.index)
            with stream:
                types = _C_NAMES[real], _C_NAMES[real if stored is None else stored]
                room = shared if shared > _ALWAYS else 0
                run = _kernel(name, kernel, *types, self.index, room)
                run(grid, block, given, shared_mem=shared)


@functools.cache
def _most_shared(device: int) -> int:
    import cupy

    return int(cupy.cuda.Device(device).attributes["MaxSharedMemoryPerBlockOptin"])


@functools.cache
def _kernel(name: str, kernel: str, real: str, stored: str, device: int, room: int) -> Any:
    """A kernel of a source, which may take `room` bytes of shared memory; a look-up costs more."""
    run = _module(name, real, stored, device).get_function(kernel)
    if room:
        run.max_dynamic_shared_size_bytes = room
    return run


@functools.cache
def _module(name: str, real: str, stored: str, device: int) -> Any:
    """A source compiled for a device, which has to be the current one."""
    import cupy

    types = f"-DREAL={real}", f"-DSTORED={stored}"
    return cupy.RawModule(code=source(name), options=(*OPTIONS, *types))


def _argument(a: Any) -> Any:
    if a is None:
        return np.intp(0)
    return np.intp(a.data_ptr()) if is_torch(a) else a
