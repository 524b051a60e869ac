"""How networks are run in host memory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["one_thread"]


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
