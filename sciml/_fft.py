"""Fourier transforms and convolutions in every library, by the fastest code there is for each."""

from __future__ import annotations

import numpy as np

from .arrays import Array, astype, dtype_of, from_host, namespace, with_precision

__all__ = ["fft", "filtered", "ifft", "in_torch", "response", "torch_pays"]

# Entries from which torch's transforms (MKL's, where it is built with them) are two to three times
# faster than SciPy's, by more than the hand-over costs.
_TORCH_ABOVE = 1 << 15


def fft(x: Array, axes: tuple[int, ...]) -> Array:
    """The transform along some axes, in the dtype of the complex x."""
    return _transform(x, axes, inverse=False)


def ifft(x: Array, axes: tuple[int, ...]) -> Array:
    """Its inverse, which is its adjoint."""
    return _transform(x, axes, inverse=True)


def response(h: Array, shape: tuple[int, ...], real: bool) -> Array:
    """What `filtered` multiplies by to convolve with h on a ring of this shape, complex.

    h lies in the first entries of the last axes; real: of real arrays, the half that says all.
    """
    xp, axes = namespace(h), tuple(range(-len(shape), 0))
    if real:
        return xp.fft.rfftn(h, s=shape, axes=axes)
    return xp.fft.fftn(astype(h, with_precision(np.complex64, dtype_of(h))), s=shape, axes=axes)


def filtered(x: Array, spectrum: Array, shape: tuple[int, ...]) -> Array:
    """x, with zeros behind it up to `shape` along its last axes, its spectrum multiplied.

    Args:
        x: real or complex; the result has its dtype.
        spectrum: as `response` gives it, in the precision of x, or real.
    """
    xp, d = namespace(x), len(shape)
    lead = tuple(x.shape[: x.ndim - d])
    if 0 in lead:  # torch refuses to transform an empty batch
        return from_host(np.zeros((*lead, *shape)), x, dtype_of(x))
    if torch_pays(x):
        return filtered(in_torch(x), in_torch(spectrum), shape).numpy()
    axes = tuple(range(-d, 0))
    if dtype_of(x).kind == "f":
        forth, back = xp.fft.rfftn, xp.fft.irfftn
    else:
        forth, back = xp.fft.fftn, xp.fft.ifftn
    z = forth(x, s=shape, axes=axes) * spectrum
    return astype(back(z, s=shape, axes=axes), dtype_of(x))


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
