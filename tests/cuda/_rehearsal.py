"""CPU tensors of torch that the package takes for CUDA ones, their kernels run by the shim."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import solvers  # noqa: F401  its modules too use what is replaced
from sciml import arrays
from sciml._torch import plain
from sciml.arrays import is_torch
from sciml.kernels import cuda
from sciml.operators import _faces
from tests.cuda._shim import WAITS, Host


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
        replace_ours(stack, "on_cpu", on_cpu)
        replace_ours(stack, "host_view", _refusing(arrays.host_view))
        replace_ours(stack, "_host_views", _refusing(_faces._host_views))
        stack.enter_context(mock.patch.object(cuda, "record", Recording.of(device)))
        yield device


class Recording(TorchDispatchMode):
    """What stands in for a CUDA graph: all that torch and the shim are asked for, in order.

    As with a graph, only addresses are kept, what is read on the host is refused, and nothing
    counts that was computed while recording: memory that was asked for meanwhile is NaN after it.
    """

    def __init__(self, device: Host) -> None:
        super().__init__()
        self.device = device
        self.steps: list[Callable[[], object]] = []
        self.replays = 0
        self.born: dict[int, torch.Tensor] = {}

    @classmethod
    def of(cls, device: Host) -> Callable[..., Any]:
        """`record`, of this kind; those made are listed in `device.recorded`."""

        def record(run, like):
            made = cls(device)
            launch = device.launch
            kept = mock.patch.object(device, "launch", made.launching(launch))
            with kept, contextlib.ExitStack() as stack, made:
                replace_ours(stack, "from_host", _refused)
                replace_ours(stack, "to_numpy", _refused)
                found = run()
            for t in made.born.values():
                if t.is_floating_point() or t.is_complex():
                    t.fill_(float("nan"))
            device.recorded.append(made)
            return found, made

        return record

    def launching(self, launch: Callable[..., None]) -> Callable[..., None]:
        def launched(*args, **kwargs):
            launch(*args, **kwargs)
            self.steps.append(lambda: launch(*args, **kwargs))

        return launched

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func.overloadpacket.__name__ in WAITS:
            _refused()
        made = func(*args, **kwargs)
        assert isinstance(made, torch.Tensor), f"{func} gives {type(made)}: not recorded yet"
        if _address(made) not in {_address(a) for a in tree_leaves((args, kwargs))}:
            self.born[_address(made)] = made

        def again():
            fresh = func(*args, **kwargs)
            if fresh.data_ptr() != made.data_ptr():
                made.copy_(fresh)

        self.steps.append(again)
        return made

    def replay(self) -> None:
        for step in self.steps:
            step()
        self.replays += 1


def _address(a: Any) -> int | None:
    return a.untyped_storage().data_ptr() if isinstance(a, torch.Tensor) else None


def _refused(*found: Any) -> Any:
    raise RuntimeError("a copy between host and device while recording")


def _refusing(view: Callable[..., Any]) -> Callable[..., Any]:
    """A view of host memory that torch's arrays do not have."""
    return lambda *found: None if any(map(is_torch, found)) else view(*found)


def replace_ours(stack: contextlib.ExitStack, name: str, function: Callable[..., Any]) -> None:
    """The function of this name, wherever one of our modules has it."""
    for module in list(sys.modules.values()):
        ours = getattr(module, "__name__", "").split(".")[0] in ("sciml", "solvers")
        if ours and callable(vars(module).get(name)):
            stack.enter_context(mock.patch.object(module, name, function))
