"""Trajectories of non-Cartesian k-space, and the weights of their samples.

Coordinates are float64, (shots, samples, d), in cycles per pixel, within [-1/2, 1/2): the sample k
of an image x is Σ_r x[r] exp(-2πi k·(r - n // 2)), with the axes of k in the order of the image's.
Multiplied by n they are in cycles per field of view.
"""

from __future__ import annotations

import math

import numpy as np

from .._checks import integer, number
from ..arrays import Array, astype, namespace
from ..operator import Operator

__all__ = ["cartesian", "koosh_ball", "pipe_menon", "radial", "ramp", "spiral"]

_GOLDEN = (math.sqrt(5) - 1) / 2
# Golden means of two dimensions: Chan et al., Magn. Reson. Med. 61 (2009) 354.
_GOLDEN_POLAR, _GOLDEN_AZIMUTH = 0.4656, 0.6823


def cartesian(shape: tuple[int, ...]) -> np.ndarray:
    """The grid of the centred Fourier transform: (*shape, d), (index - n // 2) / n."""
    axes = [(np.arange(n) - n // 2) / n for n in (integer(n, "a length", 1) for n in shape)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)


def radial(spokes: int, samples: int, *, golden: bool = False) -> np.ndarray:
    """Spokes through the origin, (spokes, samples, 2).

    Sample j of a spoke lies at (j - samples // 2) / samples along (cos θ, sin θ). Angles divide the
    half circle evenly, θ = πi / spokes, or advance by the golden angle of 111.25° (Winkelmann et
    al., IEEE Trans. Med. Imaging 26 (2007) 68).

    Some scanners' files hold both ends of a spoke instead and count in cycles per field of view:
    those are n · linspace(1/2, -1/2, samples) along (cos θ, -sin θ), n the image's length. Divide
    by n; `ramp` takes such spokes, too.
    """
    i = np.arange(integer(spokes, "spokes", 1))
    angle = math.pi * (i * _GOLDEN if golden else i / spokes)
    return _diameters(np.stack([np.cos(angle), np.sin(angle)], axis=-1), samples)


def koosh_ball(spokes: int, samples: int, *, golden: bool = False) -> np.ndarray:
    """Spokes through the origin in three dimensions, (spokes, samples, 3).

    Directions lie on a half sphere: evenly along a Fibonacci spiral, or by golden means (Chan et
    al., Magn. Reson. Med. 61 (2009) 354), of which any leading part is even, too. The first axis is
    that of the poles.
    """
    i = np.arange(integer(spokes, "spokes", 1))
    height = (i * _GOLDEN_POLAR) % 1 if golden else (i + 0.5) / spokes
    azimuth = 2 * math.pi * i * (_GOLDEN_AZIMUTH if golden else _GOLDEN)
    ring = np.sqrt(1 - height**2)
    return _diameters(
        np.stack([height, ring * np.cos(azimuth), ring * np.sin(azimuth)], axis=-1), samples
    )


def spiral(interleaves: int, samples: int, *, turns: float, exponent: float = 1.0) -> np.ndarray:
    """Spirals from the origin outwards, (interleaves, samples, 2).

    k(t) = t^exponent / 2 · exp(2πi (turns t + l / interleaves)), t = j / samples: Kim et al., Magn.
    Reson. Med. 50 (2003) 214, eq. 2. exponent 1 is Archimedes', greater ones sample the middle more
    densely. Turns of one image of length n are at most a cycle per field of
    view apart where interleaves · turns >= exponent · n / 2.

    Raises:
        ValueError: turns or exponent not positive.
    """
    if not (number(turns, "turns") > 0 and number(exponent, "exponent") > 0):
        raise ValueError(f"expected turns and exponent > 0, got {turns:g} and {exponent:g}")
    t = np.arange(integer(samples, "samples", 1)) / samples
    first = np.arange(integer(interleaves, "interleaves", 1))[:, None] / interleaves
    angle = 2 * math.pi * (turns * t + first)
    return t[:, None] ** exponent / 2 * np.stack([np.cos(angle), np.sin(angle)], axis=-1)


def ramp(coords: np.ndarray) -> np.ndarray:
    """Density compensation of spokes through the origin: the area each sample stands for.

    The integral of |k|^(d-1) over the interval around a sample, times π / spokes in two dimensions
    and 2π / spokes in three; in units of (cycles per pixel)^d, so that all weights of `radial` sum
    to about π/4 and of `koosh_ball` to π/6, and Σ w s exp(2πi k·r) is the image within the disc.

    Args:
        coords: (spokes, samples, d) with d = 2 or 3, samples at equal distances along a diameter.

    Returns:
        float64, (spokes, samples).

    Raises:
        ValueError: another shape, or fewer than two samples.
    """
    coords = np.asarray(coords, np.float64)
    if coords.ndim != 3 or coords.shape[-1] not in (2, 3) or coords.shape[1] < 2:
        raise ValueError(
            f"expected coords (spokes, samples >= 2, 2 or 3), got shape {coords.shape}"
        )
    k = np.linalg.norm(coords, axis=-1)
    half = np.linalg.norm(coords[:, 1] - coords[:, 0], axis=-1)[:, None] / 2
    if coords.shape[-1] == 3:
        return 2 * math.pi / len(coords) * (2 * half * k**2 + 2 / 3 * half**3)
    return math.pi / len(coords) * np.where(k < half, half**2 + k**2, 2 * half * k)


def pipe_menon(A: Operator, *, iterations: int = 30, like: Array | None = None) -> Array:
    """Density compensation of any trajectory: w <- w / |A A^H w| from w = 1.

    Pipe and Menon, Magn. Reson. Med. 41 (1999) 179, eq. 10. In the end A^H diag(w) A is about the
    identity: for an orthonormal A the weights are those of `ramp` times the number of pixels.

    Args:
        A: one coil's operator, image -> samples, complex. For the best weights let its image be
            as long as the distance of the samples allows, 1 / |k[j + 1] - k[j]| pixels.
        iterations: how many, >= 1.
        like: an array of the library and device to work in; those of A's parameters, or NumPy.

    Returns:
        Real weights, A.range.shape, in A's precision.

    Raises:
        ValueError: iterations below 1. TypeError: A is not complex.
    """
    if not A.range.is_complex:
        raise TypeError(f"expected a complex operator, got {A!r}")
    if like is None:
        like = np.zeros(1) if A.home is None else A.home
    weights = A.range.zeros(like) + 1
    xp = namespace(weights)
    for _ in range(integer(iterations, "iterations", 1)):
        size = xp.abs(A(A.adjoint(weights)))
        # a sample that nothing reaches, itself included, keeps its weight
        weights = weights / astype(xp.where(size > 0, size, xp.ones_like(size)), A.range.dtype)
    return xp.real(weights)


def _diameters(directions: np.ndarray, samples: int) -> np.ndarray:
    """(spokes, d) unit vectors -> (spokes, samples, d)."""
    n = integer(samples, "samples", 1)
    along = (np.arange(n) - n // 2) / n
    return directions[:, None, :] * along[:, None]
