"""How networks are run on arrays of any library."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from .arrays import Array, is_torch, namespace

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["one_thread", "plain", "returned", "tensor_of", "version"]


def tensor_of(x: Array) -> Tensor:
    """x as a tensor, which shares its memory, on a GPU too.

    DLPack makes torch's current stream wait for what x's library still has to do.
    """
    import torch

    if is_torch(x):
        return x
    if isinstance(x, np.ndarray | np.generic):
        return torch.from_numpy(np.ascontiguousarray(x))
    return torch.from_dlpack(x)


def returned(t: Tensor, like: Array) -> Array:
    """A tensor in the library of `like`, sharing memory: the way back from `tensor_of`."""
    if is_torch(like):
        return t
    if isinstance(like, np.ndarray | np.generic):
        return t.detach().resolve_conj().resolve_neg().numpy()
    return namespace(like).from_dlpack(t.detach().resolve_conj().resolve_neg())


@contextlib.contextmanager
def one_thread(like: Tensor) -> Iterator[int]:
    """Torch on one thread, where `like` is in host memory; gives how many it had.

    The last bits of a convolution depend on how many threads there are.
    """
    import torch

    threads = torch.get_num_threads()
    if like.device.type != "cpu" or threads == 1:
        yield 1
        return
    torch.set_num_threads(1)
    try:
        yield threads
    finally:
        torch.set_num_threads(threads)


def plain(x: Tensor) -> bool:
    """Whether a tensor's memory may be worked on behind torch's back."""
    import torch
    from torch.autograd.forward_ad import unpack_dual

    if (torch.is_grad_enabled() and x.requires_grad) or x.is_conj() or x.is_neg():
        return False
    if unpack_dual(x).tangent is not None:
        return False
    try:
        return x.data_ptr() != 0 or not x.numel()
    except RuntimeError:  # a tensor of torch.func, which has no memory of its own
        return False


def version(x: Array) -> int:
    """A number that grows when torch changes x in place; 0 of other arrays, which are not to."""
    return x._version if is_torch(x) and not x.is_inference() else 0
