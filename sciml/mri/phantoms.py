"""The phantoms of Shepp and Logan, with their Fourier transform in closed form.

Axes are (y, x) or (z, y, x): y runs down the image's rows, as patients are shown, and the origin
lies at index n // 2 of each axis. The field of view is [-1, 1) along each axis.
"""

from __future__ import annotations

import math

import numpy as np

from .._checks import integer

__all__ = ["shepp_logan", "shepp_logan_kspace"]

# intensity; half axes (x, y); centre (x, y), y upwards; angle in degrees, anticlockwise.
# Geometry: Shepp and Logan, IEEE Trans. Nucl. Sci. 21 (1974) 21. Intensities: P. Toft, The Radon
# Transform, PhD thesis, Technical University of Denmark 1996, p. 199.
_ELLIPSES = (
    (1.0, (0.69, 0.92), (0.0, 0.0), 0.0),
    (-0.8, (0.6624, 0.874), (0.0, -0.0184), 0.0),
    (-0.2, (0.11, 0.31), (0.22, 0.0), -18.0),
    (-0.2, (0.16, 0.41), (-0.22, 0.0), 18.0),
    (0.1, (0.21, 0.25), (0.0, 0.35), 0.0),
    (0.1, (0.046, 0.046), (0.0, 0.1), 0.0),
    (0.1, (0.046, 0.046), (0.0, -0.1), 0.0),
    (0.1, (0.046, 0.023), (-0.08, -0.605), 0.0),
    (0.1, (0.023, 0.023), (0.0, -0.606), 0.0),
    (0.1, (0.023, 0.046), (0.06, -0.605), 0.0),
)
# The same with (x, y, z); the angle is about z. Geometry: A. C. Kak and M. Slaney, Principles of
# Computerized Tomographic Imaging, IEEE Press 1988, p. 102. Intensities: H. Yu, Y. Ye and G. Wang,
# Proc. SPIE 5535 (2004) 550, who raise the contrast as Toft does.
_ELLIPSOIDS = (
    (1.0, (0.69, 0.92, 0.9), (0.0, 0.0, 0.0), 0.0),
    (-0.8, (0.6624, 0.874, 0.88), (0.0, 0.0, 0.0), 0.0),
    (-0.2, (0.41, 0.16, 0.21), (-0.22, 0.0, -0.25), 108.0),
    (-0.2, (0.31, 0.11, 0.22), (0.22, 0.0, -0.25), 72.0),
    (0.2, (0.21, 0.25, 0.5), (0.0, 0.35, -0.25), 0.0),
    (0.2, (0.046, 0.046, 0.046), (0.0, 0.1, -0.25), 0.0),
    (0.1, (0.046, 0.023, 0.02), (-0.08, -0.65, -0.25), 0.0),
    (0.1, (0.046, 0.023, 0.02), (0.06, -0.65, -0.25), 90.0),
    (0.2, (0.056, 0.04, 0.1), (0.06, -0.105, 0.625), 90.0),
    (-0.2, (0.056, 0.056, 0.1), (0.0, 0.1, 0.625), 0.0),
)


def shepp_logan(shape: tuple[int, ...]) -> np.ndarray:
    """The head phantom in two or three dimensions, sampled at the pixels' centres.

    Two axes: the ten ellipses of Shepp and Logan with Toft's intensities ("modified"). Three axes:
    the ten ellipsoids of Kak and Slaney with the intensities of Yu, Ye and Wang; the first axis
    runs from the feet to the head.

    Returns:
        float64, `shape`, from 0 to 1: 1 in the skull, 0.2 in the brain.

    Raises:
        ValueError: neither two nor three axes.
    """
    shape = _shape(shape)
    axes = [(np.arange(n) - n // 2) / (n / 2) for n in shape]
    axes[-2] = -axes[-2]  # y upwards
    points = np.meshgrid(*axes[::-1], indexing="ij", sparse=True)  # x first
    image = np.zeros(shape[::-1])
    for intensity, half, centre, degrees in _table(shape):
        local = _rotated([p - c for p, c in zip(points, centre, strict=True)], degrees)
        inside = sum((q / a) ** 2 for q, a in zip(local, half, strict=True)) <= 1
        image += intensity * inside
    image = np.where(np.abs(image) < 1e-12, 0.0, image)  # 1 - 0.8 - 0.2 is a rounding error
    return np.ascontiguousarray(image.T)


def shepp_logan_kspace(coords: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """k-space of `shepp_logan(shape)` in closed form, as a scanner would measure it.

    An ellipsoid of half axes a and centre c has the transform
    Π a · J_{d/2}(2π s) / s^{d/2} · exp(-2πi k·c) with s = |(a_j k_j)_j| in its own axes: in two
    dimensions the Bessel function J_1 (Van de Walle et al., IEEE Trans. Med. Imaging 19 (2000)
    1160), in three dimensions eq. 8 of Koay et al., Magn. Reson. Med. 58 (2007) 430.

    The scale is that of the centred orthonormal Fourier transform of an image of `shape`, from
    which the values differ by that transform's aliasing.

    Args:
        coords: (..., d) in cycles per pixel of the image's axes (y, x) or (z, y, x).
        shape: of the image whose pixels are meant, d = 2 or 3 axes.

    Returns:
        complex128, coords.shape[:-1].

    Raises:
        ValueError: neither two nor three axes, or coords of another dimension.
    """
    shape = _shape(shape)
    coords = np.asarray(coords, np.float64)
    if coords.ndim == 0 or coords.shape[-1] != len(shape):
        raise ValueError(f"expected coords (..., {len(shape)}), got shape {coords.shape}")
    # cycles per pixel -> cycles per unit of length, of which the field of view has two
    k = [coords[..., -1 - axis] * (shape[-1 - axis] / 2) for axis in range(len(shape))]
    k[1] = -k[1]
    total = np.zeros(coords.shape[:-1], np.complex128)
    for intensity, half, centre, degrees in _table(shape):
        size = np.sqrt(sum((q * a) ** 2 for q, a in zip(_rotated(k, degrees), half, strict=True)))
        shift = sum(q * c for q, c in zip(k, centre, strict=True))
        total += intensity * math.prod(half) * _ball(size, len(shape)) * np.exp(-2j * np.pi * shift)
    pixel = math.prod(2 / n for n in shape)
    return total / pixel / math.sqrt(math.prod(shape))


def _ball(s: np.ndarray, d: int) -> np.ndarray:
    """J_{d/2}(2π s) / s^{d/2}: the transform of the unit ball, its volume at 0."""
    from scipy.special import jv

    safe = np.where(s > 0, s, 1.0)
    volume = math.pi ** (d / 2) / math.gamma(d / 2 + 1)
    return np.where(s > 0, jv(d / 2, 2 * np.pi * safe) / safe ** (d / 2), volume)


def _rotated(v: list[np.ndarray], degrees: float) -> list[np.ndarray]:
    """Components (x, y, ...) along axes that were turned anticlockwise about z."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return [c * v[0] + s * v[1], c * v[1] - s * v[0], *v[2:]]


def _table(shape: tuple[int, ...]) -> tuple:
    return _ELLIPSES if len(shape) == 2 else _ELLIPSOIDS


def _shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    lengths = tuple(integer(n, "a length of the shape", 1) for n in shape)
    if len(lengths) not in (2, 3):
        raise ValueError(f"expected a shape of two or three axes, got {shape}")
    return lengths
