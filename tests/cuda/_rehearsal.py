"""CPU tensors of torch that the package takes for CUDA ones, their kernels run by the shim."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

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
        for crossing in (arrays.to_numpy, arrays.from_host):
            replace_ours(stack, crossing.__name__, _copying(crossing))
        replace_ours(stack, "on_cpu", on_cpu)
        replace_ours(stack, "host_view", _refusing(arrays.host_view))
        replace_ours(stack, "_host_views", _refusing(_faces._host_views))
        stack.enter_context(mock.patch.object(cuda, "record", Recording.of(device)))
        yield device


class Recording(TorchDispatchMode):
    """What stands in for a CUDA graph: all that torch and the shim are asked for, in order.

    As with a graph, only addresses are kept of what was there before, and a replay fails if such
    memory was given back; what is read on the host is refused; and nothing counts that was computed
    while recording: memory that was asked for meanwhile is NaN, or a nonsense number, after it.
    """

    nbytes = 0

    def __init__(self, device: Host) -> None:
        super().__init__()
        self.device = device
        self.steps: list[Callable[[], object]] = []
        self.replays = 0
        self.born: dict[int, torch.Tensor] = {}
        self.lent: dict[int, StorageWeakRef] = {}

    @classmethod
    def of(cls, device: Host) -> Callable[..., Any]:
        """`record`, of this kind; those made are listed in `device.recorded`."""

        def record(run, like):
            made = cls(device)
            launch = device.launch
            kept = mock.patch.object(device, "launch", made.launching(launch))
            with kept, contextlib.ExitStack() as stack, made:
                for name in ("from_host", "to_numpy"):
                    replace_ours(stack, name, _refused)
                for owner, name in _CROSSINGS:
                    stack.enter_context(mock.patch.object(owner, name, _refused))
                found = run()
            for t in made.born.values():
                whole = torch.empty(0, dtype=torch.uint8).set_(t.untyped_storage())
                whole.fill_(0xFF)  # NaN as a float, -1 as an integer
            device.recorded.append(made)
            return found, made

        return record

    def launching(self, launch: Callable[..., None]) -> Callable[..., None]:
        def launched(name, kernel, real, grid, block, args, *more, **kwargs):
            launch(name, kernel, real, grid, block, args, *more, **kwargs)
            there = tuple(map(self._address_of, args))
            self.steps.append(
                lambda: launch(name, kernel, real, grid, block, there, *more, **kwargs)
            )

        return launched

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func.overloadpacket.__name__ in WAITS:
            _refused()
        made = func(*args, **kwargs)
        assert isinstance(made, torch.Tensor), f"{func} gives {type(made)}: not recorded yet"
        if _address(made) not in {_address(a) for a in tree_leaves((args, kwargs))}:
            self.born[_address(made)] = made

        there, named = tree_map(self._address_of, (args, kwargs))
        target = self._address_of(made)

        def again():
            fresh = func(*there, **named)
            if fresh.data_ptr() != target.data_ptr():
                target.copy_(fresh)

        self.steps.append(again)
        return made

    def _address_of(self, a: Any) -> Any:
        """A tensor as a graph holds it: by its address, if it was there before the recording."""
        if not isinstance(a, torch.Tensor) or _address(a) in self.born or not a.numel():
            return a
        storage = a.untyped_storage()
        self.lent.setdefault(storage.data_ptr(), StorageWeakRef(storage))
        bytes_there = (ctypes.c_ubyte * storage.nbytes()).from_address(storage.data_ptr())
        with torch.utils._python_dispatch._disable_current_modes():
            flat = torch.frombuffer(bytes_there, dtype=a.dtype)
            return flat.as_strided(a.shape, a.stride(), a.storage_offset())

    def replay(self) -> None:
        assert not any(held.expired() for held in self.lent.values()), "memory was given back"
        with torch.inference_mode():  # memory has no modes
            for step in self.steps:
                step()
        self.replays += 1


# How torch takes numbers to the host and from it but by an operation that would be seen.
_CROSSINGS = (
    *((torch.Tensor, name) for name in ("tolist", "numpy", "cpu")),
    *((torch, name) for name in ("tensor", "from_numpy")),
)


def _address(a: Any) -> int | None:
    return a.untyped_storage().data_ptr() if isinstance(a, torch.Tensor) else None


def _refused(*found: Any) -> Any:
    raise RuntimeError("a copy between host and device while recording")


def _copying(crossing: Callable[..., Any]) -> Callable[..., Any]:
    """What goes between host and device, of which neither then sees what the other does."""

    def copied(*args, **kwargs):
        found = crossing(*args, **kwargs)
        if any(map(is_torch, (*args, *kwargs.values()))):
            return found.clone() if is_torch(found) else np.array(found)
        return found

    return copied


def _refusing(view: Callable[..., Any]) -> Callable[..., Any]:
    """A view of host memory that torch's arrays do not have."""
    return lambda *found: None if any(map(is_torch, found)) else view(*found)


def replace_ours(stack: contextlib.ExitStack, name: str, function: Callable[..., Any]) -> None:
    """The function of this name, wherever one of our modules has it."""
    for module in list(sys.modules.values()):
        ours = getattr(module, "__name__", "").split(".")[0] in ("sciml", "solvers")
        if ours and callable(vars(module).get(name)):
            stack.enter_context(mock.patch.object(module, name, function))
