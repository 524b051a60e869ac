"""What the tests of CUDA kernels without a GPU share: where they run, and a rehearsal."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sciml.kernels.cuda import _device
from tests.cuda._rehearsal import rehearsed
from tests.cuda._shim import COMPILER, Host, There

ORDERS = (0, 1, 7)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files run by the shim need its compiler."""
    if COMPILER is None:
        for item in items:
            if {"host", "rehearsal"} & set(getattr(item, "fixturenames", ())):
                item.add_marker(pytest.mark.skip(reason="no g++ to run CUDA sources on the host"))


@pytest.fixture(
    params=[*ORDERS, pytest.param("gpu", marks=pytest.mark.gpu)],
    ids=["ascending", "descending", "shuffled", "gpu"],
)
def host(request: pytest.FixtureRequest) -> Host | There:
    """A device in host memory, for each order of a block's threads; and a GPU where one is."""
    if request.param != "gpu":
        return Host(request.param)
    cupy = pytest.importorskip("cupy", exc_type=ImportError)
    return There(_device.Gpu(0, None), cupy)


@pytest.fixture
def rehearsal() -> Iterator[Host]:
    """CPU tensors of torch take the way of CUDA tensors, to the shim in place of a GPU."""
    with rehearsed() as device:
        yield device
