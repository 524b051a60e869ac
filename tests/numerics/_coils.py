"""Small k-space with known sensitivities."""

from __future__ import annotations

import numpy as np

from sciml import Space
from sciml.operators import FFT


def to_kspace(images: np.ndarray, ndim: int) -> np.ndarray:
    space = Space(images.shape[-ndim:], images.dtype)
    return FFT(space, axes=ndim, centred=True)(images)


def compact_coils(rng: np.random.Generator, coils: int, shape: tuple[int, ...], terms: int = 3):
    """Sensitivities of `terms` Fourier coefficients along each axis: relations of k-space hold
    exactly."""
    spectrum = np.zeros((coils, *shape), complex)
    centre = tuple(slice(n // 2 - terms // 2, n // 2 - terms // 2 + terms) for n in shape)
    low = Space((coils, *(terms,) * len(shape)), complex).random(rng)
    spectrum[(slice(None), *centre)] = low
    return FFT(Space(shape, complex), centred=True).adjoint(spectrum) * np.sqrt(np.prod(shape))


def smooth_coils(coils: int, shape: tuple[int, ...]) -> np.ndarray:
    """Gaussians on a ring around the field of view, each with a phase of its own."""
    grid = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    maps = []
    for c in range(coils):
        angle = 2 * np.pi * c / coils
        centre = [1.2 * np.cos(angle), 1.2 * np.sin(angle)] + [0.4 * (-1) ** c] * (len(shape) - 2)
        distance = sum((g - p) ** 2 for g, p in zip(grid, centre, strict=True))
        along = sum(g * p for g, p in zip(grid, centre, strict=True))
        maps.append(np.exp(-distance / 2 + 1j * (angle + 0.7 * along)))
    return np.array(maps)


def disc(shape: tuple[int, ...], radius: float = 0.7) -> np.ndarray:
    """A disc or ball with a hole and a bright spot, and a smooth phase."""
    grid = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    r = np.sqrt(sum(g**2 for g in grid))
    spot = np.sqrt(sum((g - 0.25) ** 2 for g in grid))
    image = (r < radius) * (1.0 - 0.6 * (np.abs(grid[0] + 0.2) < 0.15) + 0.8 * (spot < 0.12))
    return image * np.exp(0.5j * grid[0])


def unit(maps: np.ndarray, axis: int = 0) -> np.ndarray:
    size = np.linalg.norm(maps, axis=axis, keepdims=True)
    return maps / np.where(size > 0, size, 1)


def angle_to(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Sine of the angle between the vectors over the coils (first axis) at each point."""
    overlap = np.abs((unit(found).conj() * unit(true)).sum(0))
    return np.sqrt(np.maximum(0, 1 - overlap**2))
