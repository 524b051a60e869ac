"""CPU tensors of torch that the package takes for CUDA ones, their kernels run by the shim."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import solvers  # noqa: F401  its modules too use what is replaced
from sciml import arrays
from sciml._torch import plain
from sciml.arrays import is_torch
from sciml.kernels import cuda
from sciml.operators import _faces
from tests.cuda._shim import Host


@contextlib.contextmanager
def rehearsed(order: int = 7) -> Iterator[Host]:
    """Within it CPU tensors take the way of CUDA tensors; NumPy's arrays stay where they are.

    Args:
        order: see `Host`.
    """
    device = Host(order)

    def device_of(*found):
        both = all(is_torch(a) for a in found)
        return device if both and all(plain(a) for a in found) else None

    def on_cpu(x):
        return not is_torch(x)

    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(cuda, "device_of", device_of))
        _replace(stack, "on_cpu", on_cpu)
        _replace(stack, "host_view", _refusing(arrays.host_view))
        _replace(stack, "_host_views", _refusing(_faces._host_views))
        yield device


def _refusing(view: Callable[..., Any]) -> Callable[..., Any]:
    """A view of host memory that torch's arrays do not have."""
    return lambda *found: None if any(map(is_torch, found)) else view(*found)


def _replace(stack: contextlib.ExitStack, name: str, function: Callable[..., Any]) -> None:
    """The function of this name, wherever one of our modules has it."""
    for module in list(sys.modules.values()):
        ours = getattr(module, "__name__", "").split(".")[0] in ("sciml", "solvers")
        if ours and callable(vars(module).get(name)):
            stack.enter_context(mock.patch.object(module, name, function))
