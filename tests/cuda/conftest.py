"""What the tests of CUDA kernels without a GPU share: where they run, and a rehearsal."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest

import solvers  # noqa: F401  its modules too use what is replaced
from sciml import arrays
from sciml._torch import plain
from sciml.arrays import is_torch
from sciml.kernels import cuda
from sciml.operators import _faces
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
def rehearsal(monkeypatch: pytest.MonkeyPatch) -> Host:
    """CPU tensors of torch take the way of CUDA tensors, to the shim in place of a GPU."""
    device = Host(7)

    def device_of(*found):
        both = all(is_torch(a) for a in found)
        return device if both and all(plain(a) for a in found) else None

    def on_cpu(x):
        return not is_torch(x)

    monkeypatch.setattr(cuda, "device_of", device_of)
    _replace(monkeypatch, "on_cpu", on_cpu)
    _replace(monkeypatch, "host_view", _refusing(arrays.host_view))
    _replace(monkeypatch, "_host_views", _refusing(_faces._host_views))
    return device


def _refusing(view: Callable[..., Any]) -> Callable[..., Any]:
    """A view of host memory that torch's arrays do not have."""
    return lambda *found: None if any(map(is_torch, found)) else view(*found)


def _replace(monkeypatch: pytest.MonkeyPatch, name: str, function: Callable[..., Any]) -> None:
    """The function of this name, wherever one of our modules has it."""
    for module in list(sys.modules.values()):
        ours = getattr(module, "__name__", "").split(".")[0] in ("sciml", "solvers")
        if ours and callable(vars(module).get(name)):
            monkeypatch.setattr(module, name, function)
