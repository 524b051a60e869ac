"""Systems for learned directions: pressure in boxes with and without an obstacle, and ConDiff."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import Any

import numpy as np

from sciml.operator import Operator
from sciml.operators.diffusion import Diffusion, Side

from .fields import grid_text
from .rivals import System
from .run import condiff_systems

__all__ = ["OBSTACLES", "Case", "PressureSystem", "Source", "bunny", "case"]

Shape = tuple[int, ...]


class Source(Enum):
    """Right-hand sides. Of ConDiff: those of its smooth and its white sets."""

    SMOOTH = "smooth"  # the divergence of a plume: a blob that rises, somewhere in the lower half
    RANDOM = "random"  # independent N(0, 1) in every fluid cell


@dataclass(frozen=True, eq=False)
class PressureSystem(System):
    """−Δp = b in a unit box without flux through its sides and the obstacle's surface.

    Attributes:
        solid: cells of the obstacle, None without. `k` is 1 in all cells.
    """

    solid: np.ndarray | None = field(default=None, repr=False)

    def operator(self) -> Operator:
        return Diffusion(self.k, ndim=self.k.ndim, boundary=Side.NEUMANN, solid=self.solid)


def ball(shape: Shape) -> np.ndarray:
    """A disc or ball of radius 0.2 in the middle."""
    return _ellipsoid(shape, (0.5, 0.5, 0.5), (0.2, 0.2, 0.2))


def bunny(shape: Shape) -> np.ndarray:
    """Body, head, tail and two ears, upright along the last axis; its side view in two.

    Without the pockets of fluid that they enclose on some grids, in which the mean of a right-hand
    side would have to vanish as well.
    """
    from scipy.ndimage import binary_fill_holes

    found = _ellipsoid(shape, (0.46, 0.5, 0.42), (0.20, 0.15, 0.16))
    found |= _ellipsoid(shape, (0.63, 0.5, 0.58), (0.11, 0.10, 0.10))
    found |= _ellipsoid(shape, (0.27, 0.5, 0.38), (0.06, 0.06, 0.06))
    for x, y in ((0.58, 0.45), (0.68, 0.55)):
        found |= _ellipsoid(shape, (x, y, 0.73), (0.035, 0.035, 0.13))
    return np.asarray(binary_fill_holes(found), bool)


# Name -> cells of the obstacle on a grid.
OBSTACLES: Mapping[str, Callable[[Shape], np.ndarray] | None] = MappingProxyType(
    {"box": None, "ball": ball, "bunny": bunny}
)


@dataclass(frozen=True)
class Case:
    """A kind of system on a grid.

    Attributes:
        system: a name of OBSTACLES, or of a ConDiff set without its grid, as cubic0.1.
        shape: of the grid. source: its right-hand sides.
    """

    system: str
    shape: Shape
    source: Source

    @property
    def name(self) -> str:
        """As "ball, smooth, 64³"."""
        return f"{self.system}, {self.source.value}, {grid_text(self.shape)}"

    @property
    def family(self) -> str:
        """What cases of several sizes have in common."""
        return f"{self.system}, {self.source.value}, {len(self.shape)}-D"

    @property
    def varies(self) -> bool:
        """Whether k varies."""
        return self.system not in (*OBSTACLES, "poisson")

    @property
    def empty(self) -> bool:
        """Whether there is no solid cell."""
        return OBSTACLES.get(self.system) is None

    def systems(self, samples: int, seed: int) -> Iterator[System]:
        """The same ones for the same seed; none of their right-hand sides is used in training."""
        if self.system not in OBSTACLES:
            yield from self._condiff(samples, seed)
            return
        make = OBSTACLES[self.system]
        solid = None if make is None else make(self.shape)
        fluid = np.ones(self.shape, bool) if solid is None else ~solid
        k = np.ones(self.shape)
        matrix: Any = PressureSystem("", k, k, None, None, solid).operator()
        matrix = matrix.assemble()
        for i in range(samples):
            rng = np.random.default_rng((seed, i))
            smooth = self.source is Source.SMOOTH
            b = (plume(self.shape, rng) if smooth else rng.standard_normal(self.shape)) * fluid
            b -= b[fluid].mean() * fluid  # else there would be no solution
            yield PressureSystem(f"{self.name} #{i}", k, b, None, matrix, solid)

    def _condiff(self, samples: int, seed: int) -> Iterator[System]:
        from sciml.datasets import ConDiffConfig, Rhs, Split, draw_condiff

        config = ConDiffConfig.from_name(f"{self.system}_grid{self.shape[0]}")
        rhs = Rhs.SMOOTH if self.source is Source.SMOOTH else Rhs.WHITE
        data = draw_condiff(config, samples, seed=seed, split=Split.TEST, rhs=rhs)
        yield from condiff_systems(self.name, data)


def case(system: str, shape: Shape, source: Source) -> Case | None:
    """The case of that name; None for a ConDiff set on a grid that is no square.

    Raises:
        ValueError: an unknown name.
    """
    from sciml.datasets import ConDiffConfig

    if system not in OBSTACLES:
        try:
            ConDiffConfig.from_name(f"{system}_grid64")
        except ValueError:
            raise ValueError(
                f"expected a system of {', '.join(OBSTACLES)}, or a ConDiff set such as "
                f"gaussian1.0, got {system}: choose one"
            ) from None
        if len(shape) != 2 or len(set(shape)) != 1:
            return None
    return Case(system, shape, source)


def plume(shape: Shape, rng: np.random.Generator) -> np.ndarray:
    """The divergence of a Gaussian blob that moves along the last axis, (*shape)."""
    centre = [*rng.uniform(0.35, 0.65, len(shape) - 1), rng.uniform(0.2, 0.3)]
    square, width = 0.0, rng.uniform(0.1, 0.15)
    for x, middle in zip(_places(shape), centre, strict=True):
        square = square + (x - middle) ** 2
    along = _places(shape)[-1] - centre[-1]
    return along / width**2 * np.exp(-square / (2 * width**2))


def _places(shape: Shape) -> list[np.ndarray]:
    """Of the cells' middles, one array for each axis that broadcasts to the grid."""
    return [
        ((np.arange(n) + 0.5) / n).reshape([-1 if a == axis else 1 for a in range(len(shape))])
        for axis, n in enumerate(shape)
    ]


def _ellipsoid(shape: Shape, centre: tuple[float, ...], radii: tuple[float, ...]) -> np.ndarray:
    """Its cells; in two dimensions the second of three axes is left out."""
    axes = (0, 1, 2) if len(shape) == 3 else (0, 2)
    square = 0.0
    for x, axis in zip(_places(shape), axes, strict=True):
        square = square + ((x - centre[axis]) / radii[axis]) ** 2
    return np.asarray(square < 1)
