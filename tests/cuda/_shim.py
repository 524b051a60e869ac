"""A `Device` in host memory: the CUDA sources compiled by g++ with shim.h, block by block."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils._python_dispatch import TorchDispatchMode

from sciml.kernels.cuda._sources import kernels, source

_HERE = Path(__file__).parent
COMPILER = shutil.which("g++")
# What was compiled, by the hash of its sources: for all tests, workers and runs.
BUILT = Path(tempfile.gettempdir()) / "sciml-cuda-on-the-host"
BUILT.mkdir(exist_ok=True)
# What of torch makes the host wait for a GPU.
WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "equal")
_C_NAMES = {np.dtype(np.float32): "float", np.dtype(np.float64): "double"}


class Host:
    """Runs kernels on NumPy arrays and CPU tensors, for what a GPU would do with them.

    Args:
        order: of a block's threads between barriers: 0 ascending, 1 descending, else a shuffle.
        most_shared: bytes of shared memory of a block; any GPU has those it has without.
    """

    def __init__(self, order: int = 0, most_shared: int = 48 * 1024) -> None:
        self.order, self.most_shared = order, most_shared
        self.launched: list[str] = []
        self.recorded: list[Any] = []  # what stands in for CUDA graphs; see _rehearsal

    def launch(
        self, name: str, kernel: str, real: np.dtype, grid: tuple[int, int, int],
        block: tuple[int, int, int], args: tuple[Any, ...], shared: int = 0,
        stored: np.dtype | None = None,
    ) -> None:  # fmt: skip
        assert all(n > 0 for n in grid) and grid[0] < 1 << 31 and max(grid[1:]) < 1 << 16
        assert 0 < np.prod(block) <= 1024 and shared <= self.most_shared
        kept = [_memory(a) for a in args]
        pointers = (ctypes.c_void_p * len(kept))(*(a.ctypes.data for a in kept))
        shape = (ctypes.c_uint * 6)(*grid, *block)
        types = (_C_NAMES[np.dtype(t)] for t in (real, real if stored is None else stored))
        run = getattr(_library(name, *types), f"host_{kernel}")
        stuck = run(shape, ctypes.c_longlong(shared), ctypes.c_int(self.order), pointers)
        assert not stuck, f"{kernel}: a barrier that not all threads of a block reach"
        self.launched.append(kernel)


class There:
    """Runs kernels on a device for arrays in host memory, which are copied there and back.

    Args:
        device: a GPU. xp: cupy.
    """

    def __init__(self, device: Any, xp: Any) -> None:
        self.device, self.xp = device, xp
        self.most_shared: int = device.most_shared
        self.launched: list[str] = []

    def launch(
        self, name: str, kernel: str, real: np.dtype, grid: tuple[int, int, int],
        block: tuple[int, int, int], args: tuple[Any, ...], shared: int = 0,
        stored: np.dtype | None = None,
    ) -> None:  # fmt: skip
        here: dict[int, np.ndarray] = {}
        given: list[Any] = []
        for a in args:
            if a is None or _by_value(a):
                given.append(a)
                continue
            view = a if isinstance(a, np.ndarray) else a.detach().numpy()
            given.append(view.ctypes.data)
            here.setdefault(view.ctypes.data, view)
        there = {address: self.xp.asarray(view) for address, view in here.items()}
        moved = tuple(there[a] if isinstance(a, int) else a for a in given)
        self.device.launch(name, kernel, real, grid, block, moved, shared, stored)
        for address, view in here.items():
            if view.flags.writeable:
                view[...] = self.xp.asnumpy(there[address])
        self.launched.append(kernel)


def _by_value(a: Any) -> bool:
    """Whether an argument is a number or a structure, and not the address of an array."""
    return isinstance(a, np.generic) or (isinstance(a, np.ndarray) and a.dtype.names is not None)


def _memory(a: Any) -> np.ndarray:
    """Where an argument lies: an address of the array, or the value itself."""
    if a is None:
        return np.zeros(1, np.intp)
    if _by_value(a):
        return np.atleast_1d(np.asarray(a))
    if isinstance(a, np.ndarray):
        assert a.flags.c_contiguous
        return np.array([a.ctypes.data], np.intp)
    assert a.is_contiguous()
    return np.array([a.data_ptr()], np.intp)


def command(real: str, stored: str) -> list[str]:
    """The compiler with what all sources need."""
    types = f"-DREAL={real}", f"-DSTORED={stored}"
    return [COMPILER or "g++", "-std=c++17", f"-I{_HERE}", *types]


def on_the_host(text: str, names: list[str]) -> str:
    """A CUDA source as C++, with a function of the host for each of its kernels."""
    return "\n".join(['#include "shim.h"', text, *(f"HOST_KERNEL({k})" for k in names)])


@functools.cache
def _library(name: str, real: str, stored: str) -> ctypes.CDLL:
    text = on_the_host(source(name), kernels(name))
    told = text + (_HERE / "shim.h").read_text() + real + stored
    key = hashlib.sha256(told.encode()).hexdigest()[:16]
    made = BUILT / f"{name}-{key}.so"
    if not made.exists():
        with tempfile.TemporaryDirectory(dir=BUILT) as scratch:
            code, built = Path(scratch) / f"{name}.cpp", Path(scratch) / "built.so"
            code.write_text(text)
            shared = ["-O1", "-shared", "-fPIC", str(code), "-o", str(built)]
            subprocess.run([*command(real, stored), *shared], check=True)
            built.replace(made)
    return ctypes.CDLL(str(made))


class Syncs(TorchDispatchMode):
    """Counts what would make the host wait for a GPU."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        self.count += name in WAITS
        return func(*args, **(kwargs or {}))
