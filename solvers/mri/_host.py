"""The door of methods that gather samples on the CPU."""

from __future__ import annotations

import numpy as np

from sciml.arrays import Array, host_view, to_numpy
from sciml.operators.mri import checked_mask

__all__ = ["mask_of", "on_host"]


def on_host(x: Array, name: str, method: str) -> np.ndarray:
    """`x` as a NumPy view.

    Raises:
        TypeError: it is on a device, or autograd watches it.
    """
    view = host_view(x)
    if view is None:
        raise TypeError(
            f"expected {name} in host memory and without gradients for {method}, got it on "
            f"{getattr(x, 'device', 'a device')}: move or detach it explicitly"
        )
    return view


def mask_of(mask: Array, shape: tuple[int, ...]) -> np.ndarray:
    """A mask of measured samples as bool, of `shape`.

    Raises:
        ValueError: it does not broadcast, holds other values than 0 and 1, or is empty.
    """
    given = checked_mask(to_numpy(mask), shape, np.dtype(np.float32))
    return np.broadcast_to(given != 0, shape)
