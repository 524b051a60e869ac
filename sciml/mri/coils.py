"""Sensitivities of coils around an object, from the laws of magnetism.

By reciprocity a coil receives with the field it would make: S = Bx - i By for a main field along
the axis of the cylinder on which the coils lie (Roemer et al., Magn. Reson. Med. 16 (1990) 192).
The unit of length is half the image's longest side; pixels are square. The cylinder's axis runs
through the origin: along the first axis of a volume (z, y, x), across the plane of a slice (y, x).
"""

from __future__ import annotations

import math

import numpy as np

from .._checks import integer, number

__all__ = ["biot_savart", "birdcage", "loop_field"]


def birdcage(
    shape: tuple[int, ...], coils: int, *, radius: float = 1.5, dtype: type = np.complex64
) -> np.ndarray:
    """The rungs of a birdcage: straight wires on a cylinder, (coil, *shape).

    The field of a wire at w is Bx - i By ~ 1 / (w - z) with z = x + iy, and wire c lies at
    w = radius exp(2πi c / coils). A volume's slices are alike.
    The maps are scaled so that their root sum of squares is 1 at the origin.

    Args:
        shape: (y, x) or (z, y, x). coils: >= 1. dtype: complex64 or complex128.
        radius: of the cylinder; above the distance of the corners, 1.42, no pixel meets a wire.

    Raises:
        ValueError: neither two nor three axes, or a radius below 1.
    """
    points = _points(shape)
    z = points[-1] + 1j * points[-2]
    turns = np.arange(integer(coils, "coils", 1)) / coils
    wires = _radius(radius) * np.exp(2j * np.pi * turns).reshape(-1, *(1,) * len(shape))
    return _scaled(np.broadcast_to(1 / (wires - z), (coils, *shape)), dtype)


def biot_savart(
    shape: tuple[int, ...],
    coils: int,
    *,
    rings: int = 1,
    radius: float = 1.5,
    loop: float | None = None,
    height: float = 1.0,
    segments: int = 48,
    dtype: type = np.complex64,
) -> np.ndarray:
    """Circular loops on a cylinder, (coil, *shape): the integral of Biot and Savart.

    The loops face the axis, coils / rings of them evenly around each ring, rings evenly between
    -height and height along the axis, every second one turned by half a loop. The maps are scaled
    so that their root sum of squares is 1 at the origin, and have a phase that varies in space.

    Args:
        shape: (y, x), the slice across the middle of the cylinder, or (z, y, x).
        coils: >= 1. rings: that divide them. radius: distance of the loops' centres from the axis.
        loop: radius of a loop; if not given, that at which the loops of a ring overlap a little.
        height: of the outermost rings. segments: of the sum over a loop.
        dtype: complex64 or complex128.

    Raises:
        ValueError: neither two nor three axes, a radius below 1, or rings that do not divide coils.
    """
    each, rest = divmod(integer(coils, "coils", 1), integer(rings, "rings", 1))
    if rest:
        raise ValueError(f"expected rings that divide {coils} coils, got {rings}")
    size = 1.1 * math.pi * _radius(radius) / max(each, 3) if loop is None else number(loop, "loop")
    z, y, x = np.broadcast_arrays(
        *_points(shape)[-3:] if len(shape) == 3 else (0.0, *_points(shape))
    )
    points = np.stack([x, y, z], axis=-1)
    levels = np.linspace(-height, height, rings) if rings > 1 else [0.0]
    maps = []
    for ring, level in enumerate(levels):
        for c in range(each):
            angle = 2 * math.pi * (c + 0.5 * (ring % 2)) / each
            outward = np.array([math.cos(angle), math.sin(angle), 0.0])
            centre = radius * outward + [0, 0, level]
            field = loop_field(points, centre, -outward, size, segments=segments)
            maps.append(field[..., 0] - 1j * field[..., 1])
    return _scaled(np.stack(maps), dtype)


def loop_field(
    points: np.ndarray,
    centre: np.ndarray,
    normal: np.ndarray,
    radius: float,
    *,
    segments: int = 48,
) -> np.ndarray:
    """Field of a circular loop with the current 4π / μ0, (..., 3): ∮ dl × (p - l) / |p - l|³.

    The midpoint rule around a circle converges exponentially away from the wire: with 48 segments
    to 1e-6 half a radius from it. On the axis the field is 2π R² / (R² + h²)^(3/2).

    Args:
        points: (..., 3). centre: (3,). normal: (3,), the direction of the field in the middle.
    """
    normal = np.asarray(normal, np.float64) / np.linalg.norm(normal)
    first = np.cross(normal, np.eye(3)[np.argmin(np.abs(normal))])
    first /= np.linalg.norm(first)
    second = np.cross(normal, first)
    bx, by, bz = (np.zeros(points.shape[:-1]) for _ in range(3))
    for angle in 2 * np.pi * (np.arange(segments) + 0.5) / segments:
        spot = centre + radius * (math.cos(angle) * first + math.sin(angle) * second)
        tx, ty, tz = (2 * np.pi * radius / segments) * (
            math.cos(angle) * second - math.sin(angle) * first
        )
        dx, dy, dz = (points[..., i] - spot[i] for i in range(3))
        cubed = (dx * dx + dy * dy + dz * dz) ** -1.5
        bx += (ty * dz - tz * dy) * cubed
        by += (tz * dx - tx * dz) * cubed
        bz += (tx * dy - ty * dx) * cubed
    return np.stack([bx, by, bz], axis=-1)


def _points(shape: tuple[int, ...]) -> list[np.ndarray]:
    """Coordinates along the axes, y upwards, that broadcast to `shape`."""
    if len(shape) not in (2, 3):
        raise ValueError(f"expected a shape (y, x) or (z, y, x), got {shape}")
    scale = max(shape) / 2
    axes = [(np.arange(integer(n, "a length of the shape", 1)) - n // 2) / scale for n in shape]
    axes[-2] = -axes[-2]
    return list(np.meshgrid(*axes, indexing="ij", sparse=True))


def _radius(radius: float) -> float:
    return number(radius, "radius of the cylinder", least=1.0)


def _scaled(maps: np.ndarray, dtype: type) -> np.ndarray:
    if np.dtype(dtype) not in (np.complex64, np.complex128):
        raise ValueError(f"expected dtype complex64 or complex128, got {np.dtype(dtype)}")
    origin = maps[(slice(None), *(n // 2 for n in maps.shape[1:]))]
    return (maps / np.linalg.norm(origin)).astype(dtype)
