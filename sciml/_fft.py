"""Orthonormal Fourier transforms in every library, by the fastest code there is for each."""

from __future__ import annotations

import numpy as np

from .arrays import Array, astype, dtype_of, namespace

__all__ = ["fft", "ifft", "in_torch", "torch_pays"]

# Entries from which torch's transforms (MKL's, where it is built with them) are two to three times
# faster than SciPy's, by more than the hand-over costs.
_TORCH_ABOVE = 1 << 15


def fft(x: Array, axes: tuple[int, ...]) -> Array:
    """The transform along some axes, in the dtype of the complex x."""
    return _transform(x, axes, inverse=False)


def ifft(x: Array, axes: tuple[int, ...]) -> Array:
    """Its inverse, which is its adjoint."""
    return _transform(x, axes, inverse=True)


def _transform(x: Array, axes: tuple[int, ...], *, inverse: bool) -> Array:
    xp = namespace(x)
    if 0 in x.shape:  # torch refuses to transform an empty batch
        return xp.zeros_like(x)
    if torch_pays(x):
        return _transform(in_torch(x), axes, inverse=inverse).numpy()
    act = xp.fft.ifftn if inverse else xp.fft.fftn
    return astype(act(x, axes=axes, norm="ortho"), dtype_of(x))


def torch_pays(x: Array) -> bool:
    """Whether x is a NumPy array that is worth the hand-over."""
    return isinstance(x, np.ndarray) and x.size >= _TORCH_ABOVE


def in_torch(x: np.ndarray) -> Array:
    """x as a tensor on the same memory; a copy where torch knows no such array: read-only ones, and
    those that run backwards through memory.
    """
    import torch

    x = np.ascontiguousarray(x)
    return torch.from_numpy(x if x.flags.writeable else x.copy())
