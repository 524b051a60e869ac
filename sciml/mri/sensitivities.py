"""Sensitivity maps from low-resolution images: adaptive combination, and the plain ratio."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from .._checks import integer
from ..arrays import Array, astype, dtype_of, from_host, host_view, like_host, namespace
from ..operators.fourier import FFT
from ..space import Space
from ._pointwise import leading, rotate, virtual_coil
from .calibration import calibration_data, check_kspace

__all__ = ["low_resolution", "walsh"]


def walsh(
    kspace: Array, *, calibration: Array | None = None, window: int = 5, width: int = 32
) -> Array:
    """Sensitivity maps by adaptive combination.

    At each point, the leading eigenvector of the covariance of the coils' images over a box around
    it (Walsh, Gmitro, Marcellin, Magn. Reson. Med. 43 (2000) 682, with white noise). The images
    are those of the calibration region. The phase is as for `espirit`. Vectors of norm 1
    everywhere, of no meaning outside the object.

    Args:
        kspace: complex, (coil, *shape), centred; unmeasured samples are 0.
        calibration: a reference scan, as for `espirit`.
        window: side of the box in pixels, odd.
        width: largest side of the calibration region that is used.

    Returns:
        Maps, complex, (coil, *shape), in the dtype, library and device of `kspace`.

    Raises:
        TypeError: k-space is not complex.
        ValueError: a bad argument, or no calibration region.
    """
    if integer(window, "window", 1) % 2 == 0:
        raise ValueError(f"expected window odd, got {window}")
    images, data, like = _images(kspace, calibration, width)
    xp = namespace(like)
    coils, *shape = images.shape
    images = xp.moveaxis(images, 0, -1)
    means = [from_host(_mean(n, window), like, dtype_of(like)) for n in shape]

    def covariance(first: int, last: int) -> Array:
        low, high = max(0, first - window), min(shape[0], last + window)
        near = images[low:high, ...]
        C = xp.expand_dims(near, axis=-1) * xp.conj(xp.expand_dims(near, axis=-2))
        done = 1
        for mean in (means[0][first:last, low:high], *means[1:]):
            C = xp.matmul(mean, xp.reshape(C, (done, mean.shape[1], -1)))
            done *= mean.shape[0]
        return xp.reshape(C, (last - first, *shape[1:], coils, coils))

    _, vectors = leading(covariance, tuple(shape), coils, 1, like)
    maps = rotate(vectors[0, ...], virtual_coil(data), len(shape))
    return maps if like is kspace else like_host(maps, kspace)


def low_resolution(kspace: Array, *, calibration: Array | None = None, width: int = 32) -> Array:
    """Sensitivity maps as low-resolution images over their root-sum-of-squares.

    (McKenzie, Yeh, Ohliger, Price, Sodickson, Magn. Reson. Med. 47 (2002) 529.) The images are
    those of the calibration region under a Hann window. The phase is as for `espirit`. Vectors of
    norm 1, of no meaning outside the object.

    Args:
        kspace: complex, (coil, *shape), centred; unmeasured samples are 0.
        calibration: a reference scan, as for `espirit`.
        width: largest side of the calibration region that is used.

    Returns:
        Maps, complex, (coil, *shape), in the dtype, library and device of `kspace`.

    Raises:
        TypeError: k-space is not complex.
        ValueError: a bad argument, or no calibration region.
    """
    images, data, like = _images(kspace, calibration, width)
    xp = namespace(like)
    size = xp.sqrt(xp.sum(xp.real(images * xp.conj(images)), axis=0))
    some = size > 0
    maps = images * xp.where(some, 1 / xp.where(some, size, xp.ones_like(size)), size)
    maps = rotate(astype(maps, dtype_of(like)), virtual_coil(data), images.ndim - 1)
    return maps if like is kspace else like_host(maps, kspace)


def _images(
    kspace: Array, calibration: Array | None, width: int
) -> tuple[Array, np.ndarray, Array]:
    """Low-resolution images, (coil, *shape); the data they are from; an array of their kind."""
    check_kspace(kspace, "k-space")
    shape = tuple(kspace.shape[1:])
    least = (2,) * len(shape) if min(shape) > 1 else (1,) * len(shape)
    data = calibration_data(kspace, calibration, least=least, width=integer(width, "width", 2))
    padded = np.zeros(kspace.shape, np.complex128)
    starts = [n // 2 - s // 2 for n, s in zip(shape, data.shape[1:], strict=True)]
    box = [slice(a, a + s) for a, s in zip(starts, data.shape[1:], strict=True)]
    padded[(slice(None), *box)] = data * _hann(data.shape[1:])
    host = host_view(kspace)
    like = kspace if host is None else host
    scale = np.abs(padded).max() or 1.0  # squares of tiny samples must not vanish in float32
    padded = from_host(padded / scale, like, dtype_of(like))
    return FFT(Space(shape, dtype_of(like)), centred=True).adjoint(padded), data, like


def _hann(shape: Sequence[int]) -> np.ndarray:
    """A Hann window, centred at n // 2 and positive to its ends."""
    out = np.ones(())
    for n in shape:
        offset = np.arange(n) - n // 2
        out = out[..., None] * (0.5 + 0.5 * np.cos(math.pi * offset / (n // 2 + 1)))
    return out


def _mean(n: int, window: int) -> np.ndarray:
    """The matrix of running means over a window that is cut at the ends."""
    near = np.abs(np.subtract.outer(np.arange(n), np.arange(n))) <= window // 2
    return near / near.sum(axis=1, keepdims=True)
