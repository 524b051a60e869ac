"""Coefficients of every kind on any grid, and right-hand sides.

A family gives k on the cells of the unit square or cube, float64. Two-phase media are functions of
the place: a finer grid shows the same medium. What is built of pixels (checkerboard, blocks) keeps
their number of cells, so that a finer grid shows a finer medium.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from sciml.datasets import Covariance, gaussian_field

__all__ = ["FAMILIES", "RHS", "Family", "draw", "grid_text", "parse_grid"]

Shape = tuple[int, ...]
_PIXEL = 8  # cells along the side of a pixel


class Family(NamedTuple):
    """A kind of coefficient.

    make: (shape, rng) -> k of that shape. group: the panel of the picture it belongs to. jumps:
    whether k jumps by orders of magnitude from one cell to the next.
    """

    make: Callable[[Shape, np.random.Generator], np.ndarray]
    group: str
    jumps: bool = False


def constant(shape: Shape, rng: np.random.Generator) -> np.ndarray:
    """k = 1."""
    return np.ones(shape)


def log_normal(
    shape: Shape, rng: np.random.Generator, covariance: Covariance, variance: float
) -> np.ndarray:
    """exp(g), g Gaussian with correlation length 0.05."""
    return np.exp(gaussian_field(shape, covariance, variance, rng=rng))


def inclusions(shape: Shape, rng: np.random.Generator, contrast: float) -> np.ndarray:
    """k = contrast in overlapping balls of radius 0.02 to 0.08, about a third of the box; else 1.

    A box of more than two axes gets as many balls as fill the same share.
    """
    ndim = len(shape)
    ball = np.pi * 0.0028 if ndim == 2 else 4 / 3 * np.pi * 0.00017  # means of r², r³
    inside = np.zeros(shape, bool)
    for _ in range(round(0.4 / ball)):
        centre, radius = rng.random(ndim), rng.uniform(0.02, 0.08)
        box, square = [], np.zeros((1,) * ndim)
        for axis, n in enumerate(shape):
            low = max(0, int((centre[axis] - radius) * n))
            high = min(n, int((centre[axis] + radius) * n) + 1)
            box.append(slice(low, high))
            place = (np.arange(low, high) + 0.5) / n - centre[axis]
            square = square + (place**2).reshape([-1 if a == axis else 1 for a in range(ndim)])
        inside[tuple(box)] |= square < radius**2
    return np.where(inside, contrast, 1.0)


def checkerboard(shape: Shape, rng: np.random.Generator, contrast: float) -> np.ndarray:
    """1 and contrast in turns, in pixels of 8 cells a side."""
    parity = sum(np.ogrid[tuple(slice(n) for n in shape)][a] // _PIXEL for a in range(len(shape)))
    return np.where(parity % 2 == 1, contrast, 1.0)


def blocks(shape: Shape, rng: np.random.Generator, contrast: float) -> np.ndarray:
    """Pixels of 8 cells a side, each with a k of its own, log-uniform from 1 to contrast."""
    coarse = contrast ** rng.random(tuple(-(-n // _PIXEL) for n in shape))
    for axis in range(len(shape)):
        coarse = coarse.repeat(_PIXEL, axis=axis)
    return np.ascontiguousarray(coarse[tuple(slice(n) for n in shape)])


def _families() -> dict[str, Family]:
    found = {"constant": Family(constant, "constant")}
    for covariance in (Covariance.EXPONENTIAL, Covariance.GAUSSIAN, Covariance.CUBIC):
        for variance in (0.5, 1.0, 2.0):
            make = partial(log_normal, covariance=covariance, variance=variance)
            name = f"{covariance.value}{variance:g}"
            found[name] = Family(make, f"exp(g), {covariance.value} covariance")
    for power in (4, 6):
        found[f"inclusions1e{power}"] = Family(
            partial(inclusions, contrast=10.0**power), "two-phase inclusions", jumps=True
        )
    for make in (checkerboard, blocks):
        found[f"{make.__name__}1e6"] = Family(
            partial(make, contrast=1e6), "pixels, contrast 1e6", jumps=True
        )
    return found


FAMILIES: Mapping[str, Family] = MappingProxyType(_families())


def draw(family: str, shape: Shape) -> np.ndarray:
    """k of a family on a grid: always the same one; balls are the same on every grid."""
    key = zlib.crc32(family.encode())
    return FAMILIES[family].make(shape, np.random.default_rng(key))


def white(shape: Shape) -> np.ndarray:
    """Independent N(0, 1) in every cell."""
    return np.random.default_rng(zlib.crc32(b"white")).standard_normal(shape)


def smooth(shape: Shape) -> np.ndarray:
    """Sines of one to four half waves along each axis, with N(0, 1) coefficients."""
    rng = np.random.default_rng(zlib.crc32(b"smooth"))
    found = rng.standard_normal((4,) * len(shape))
    for axis, n in enumerate(shape):
        waves = np.sin(np.pi * np.outer(np.arange(1, 5), (np.arange(n) + 0.5) / n))
        found = np.moveaxis(np.tensordot(waves, found, axes=(0, axis)), 0, axis)
    return found


RHS: Mapping[str, Callable[[Shape], np.ndarray]] = MappingProxyType(
    {"white": white, "smooth": smooth}
)


def parse_grid(text: str) -> Shape:
    """512^2, 64^3 or 512x256 as a shape; a number alone is the side of a square.

    Raises:
        ValueError: it is none of these.
    """
    base, hat, power = text.partition("^")
    try:
        sides = [int(side) for side in base.split("x")]
        if len(sides) == 1:
            sides *= int(power) if hat else 2
        elif hat:
            sides = []
    except ValueError:
        sides = []
    if len(sides) not in (2, 3) or min(sides) < 1:
        raise ValueError(f"expected a grid such as 512, 64^3 or 512x256, got {text!r}")
    return tuple(sides)


def grid_text(shape: Shape) -> str:
    """As 512², 64³ or 512×256."""
    if len(set(shape)) == 1:
        return f"{shape[0]}{'²' if len(shape) == 2 else '³'}"
    return "×".join(map(str, shape))
