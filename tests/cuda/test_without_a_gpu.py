"""CuPy that can be imported but finds no GPU, and its memory pool."""

from __future__ import annotations

import contextlib
import importlib
import importlib.machinery
import sys
import types
from typing import Any

import numpy as np
import pytest
import torch

from sciml import LinearSystem, _streams, solve
from sciml._streams import stream_of, wait
from sciml.kernels import cuda
from sciml.kernels.cuda import _device
from sciml.operators import Diffusion
from solvers import CG, Jacobi
from solvers.cli import main
from tests.cuda._shim import COMPILER, Host, There


@pytest.fixture
def cupy(monkeypatch: pytest.MonkeyPatch) -> Any:
    """CuPy as it is without a driver: whatever asks for the device raises."""

    def fails(*given: Any, **named: Any) -> Any:
        raise RuntimeError("cudaErrorInsufficientDriver")

    made: Any = types.ModuleType("cupy")
    made.__spec__ = importlib.machinery.ModuleSpec("cupy", None)
    made.is_available = lambda: False
    made.zeros = made.asarray = made.RawModule = fails
    made.cuda = types.SimpleNamespace(runtime=types.SimpleNamespace(getDeviceCount=fails))
    monkeypatch.setitem(sys.modules, "cupy", made)
    _device._usable.cache_clear()
    yield made
    _device._usable.cache_clear()


def test_everything_runs_beside_a_cupy_without_a_gpu(cupy, rng, capsys):
    b = rng.standard_normal((8, 9))
    A = Diffusion(np.exp(rng.standard_normal((8, 9))))
    assert solve(LinearSystem(A, b), CG()).ok
    assert solve(LinearSystem(A.to(xp=torch), torch.from_numpy(b)), CG()).ok
    assert not _device._usable() and cuda.device_of(torch.zeros(2)) is None
    assert main(["info"]) == 0


def test_cuda_tensors_without_cupy_go_the_way_of_torch(monkeypatch):
    class Elsewhere(torch.Tensor):
        device = torch.device("cuda", 0)  # type: ignore[assignment]

    monkeypatch.setitem(sys.modules, "cupy", None)  # importing it raises ImportError
    _device._usable.cache_clear()
    try:
        x = torch.ones(3).as_subclass(Elsewhere)
        assert x.device.type == "cuda" and cuda.device_of(x) is None
    finally:
        _device._usable.cache_clear()


def test_the_pool_of_torch_needs_a_gpu(cupy):
    with pytest.raises(RuntimeError, match="sciml info"), cuda.torch_memory():
        pass


def test_cupy_takes_and_gives_back_memory_of_torch(cupy, monkeypatch):
    asked = []
    cupy.is_available = lambda: True
    cupy.cuda.get_current_stream = lambda: types.SimpleNamespace(ptr=11)
    cupy.cuda.PythonFunctionAllocator = lambda take, give: types.SimpleNamespace(
        malloc=lambda size: (take(size, 0), give(77, 0))
    )

    @contextlib.contextmanager
    def using(malloc):
        asked.append(malloc(64))
        yield

    cupy.cuda.using_allocator = using
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(
        torch.cuda, "caching_allocator_alloc", lambda *a: asked.append(a) or 77, raising=False
    )
    monkeypatch.setattr(torch.cuda, "caching_allocator_delete", asked.append, raising=False)
    with cuda.torch_memory():
        pass
    assert asked == [(64, 0, 11), 77, (77, None)]


def test_torch_s_own_functions_exist():
    assert callable(torch.cuda.caching_allocator_alloc)
    assert callable(torch.cuda.caching_allocator_delete)


def test_streams_are_those_of_the_arrays_library(cupy, monkeypatch):
    waited = []

    def current(index=-1):
        return types.SimpleNamespace(ptr=11 + index, synchronize=lambda: waited.append(index))

    cupy.cuda.get_current_stream = current
    held = type("ndarray", (), {"__module__": "cupy"})()
    held.device = types.SimpleNamespace(id=3)
    assert stream_of(held) == (3, 14)
    wait(held)
    assert waited == [3]
    for x in (np.zeros(2), torch.zeros(2)):
        assert stream_of(x) is None and wait(x) is None
    stream = types.SimpleNamespace(
        device=torch.device("cuda", 2), cuda_stream=5, synchronize=lambda: waited.append("torch")
    )
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: stream)
    monkeypatch.setattr(_streams, "is_torch", lambda x: True)
    there = types.SimpleNamespace(device=torch.device("cuda", 2))
    assert stream_of(there) == (2, 5)
    wait(there)
    assert waited == [3, "torch"]


def test_set_up_is_waited_for(monkeypatch):
    """Else what a set-up has launched would be counted to the steps."""
    driver, waited = importlib.import_module("sciml.solve"), []
    monkeypatch.setattr(driver, "wait", lambda x: waited.append(tuple(x.shape)))
    b = np.ones((8, 8))
    assert solve(LinearSystem(Diffusion(np.ones((8, 8)), ndim=2), b), CG(M=Jacobi())).ok
    assert waited == [(8, 8)]


def test_a_launch_asks_for_shared_memory_beyond_the_usual(cupy, monkeypatch):
    """CUDA refuses a launch that has more than 48 KiB of it and did not say so before."""
    asked, kernel = [], types.SimpleNamespace(max_dynamic_shared_size_bytes=48 * 1024)

    class Kernel:
        def __call__(self, grid, block, given, shared_mem):
            assert shared_mem <= kernel.max_dynamic_shared_size_bytes

        def __setattr__(self, name, value):
            asked.append(value)
            setattr(kernel, name, value)

    def device(index):
        found: Any = contextlib.nullcontext()
        found.attributes = {"MaxSharedMemoryPerBlockOptin": 99 * 1024}
        return found

    cupy.cuda.Device = device
    monkeypatch.setattr(
        _device, "_module", lambda *given: types.SimpleNamespace(get_function=lambda name: Kernel())
    )
    _device._kernel.cache_clear()
    gpu = _device.Gpu(0, None)
    for room in (0, 48 * 1024, 80 * 1024):
        gpu.launch("small", "conjugate", np.dtype("f4"), (1, 1, 1), (32, 1, 1), (), room)
    assert asked == [80 * 1024] and gpu.most_shared == 99 * 1024
    _device._most_shared.cache_clear()
    _device._kernel.cache_clear()


@pytest.mark.skipif(COMPILER is None, reason="no g++ to run CUDA sources on the host")
def test_kernels_can_be_run_elsewhere_for_arrays_in_host_memory(rng):
    """As tests do on a GPU; here a second place in host memory is the device."""
    elsewhere = types.SimpleNamespace(asarray=np.copy, asnumpy=np.copy)
    device = There(Host(), elsewhere)
    x, r, p, q = (torch.from_numpy(rng.standard_normal((2, 700))) for _ in range(4))
    alpha = torch.from_numpy(rng.standard_normal(2))
    found = cuda.vectors.descend(device, x, r, p, q, alpha)
    for a, b in zip(found, cuda.vectors.descend(Host(), x, r, p, q, alpha), strict=True):
        assert torch.equal(a, b)
    assert device.launched == ["descend", "finish"] and device.most_shared == 48 * 1024
