"""What the tests of CUDA kernels without a GPU share: where they run, and a rehearsal."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cuda._rehearsal import rehearsed
from tests.cuda._shim import COMPILER, Host

ORDERS = (0, 1, 7)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files run by the shim need its compiler."""
    if COMPILER is None:
        for item in items:
            if {"host", "rehearsal"} & set(getattr(item, "fixturenames", ())):
                item.add_marker(pytest.mark.skip(reason="no g++ to run CUDA sources on the host"))


@pytest.fixture(params=ORDERS, ids=["ascending", "descending", "shuffled"])
def host(request: pytest.FixtureRequest) -> Host:
    """A device in host memory, for each order of a block's threads."""
    return Host(request.param)


@pytest.fixture
def rehearsal() -> Iterator[Host]:
    """CPU tensors of torch take the way of CUDA tensors, to the shim in place of a GPU."""
    with rehearsed() as device:
        yield device
