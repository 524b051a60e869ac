"""The staggered grid of Harlow and Welch (1965): pressure in cells, velocities on their faces."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from .._checks import is_integer, number, told
from ..operators.diffusion import Diffusion, Side

__all__ = ["MACGrid", "Velocity"]

# One component for each axis, on the faces across it: float64 (..., n + 1, ...).
Velocity = tuple[np.ndarray, ...]


@dataclass(frozen=True, eq=False)
class MACGrid:
    """A closed box of square or cubic cells, some of them solid. Axis 0 points upwards.

    Nothing flows through the sides of the box nor through a face of a solid cell; along them flow
    is free (no friction).

    Args:
        shape: cells along each axis, two or three axes.
        spacing: h, the side of a cell; 1 / shape[0] by default: a box of height 1.
        solid: booleans (*shape); None: no cell is solid.

    Raises:
        TypeError, ValueError: of another form, or without any fluid cell.
    """

    shape: tuple[int, ...]
    spacing: float | None = None
    solid: np.ndarray | None = None

    def __post_init__(self) -> None:
        given: Any = self.shape
        if not isinstance(given, tuple | list) or len(given) not in (2, 3):
            raise ValueError(f"expected a shape of two or three axes, got {told(given)}")
        if not all(is_integer(n) and n >= 1 for n in given):
            raise ValueError(f"expected axes of one or more cells, got {told(given)}")
        shape = tuple(int(n) for n in given)
        h = 1 / shape[0] if self.spacing is None else number(self.spacing, "spacing")
        if h == 0:
            raise ValueError("expected spacing > 0, got 0: give the side of a cell")
        solid = _mask(np.zeros(shape, bool) if self.solid is None else self.solid, shape, "solid")
        if solid.all():
            raise ValueError("expected at least one fluid cell, got only solid ones")
        for name, value in (("shape", shape), ("spacing", h), ("solid", solid)):
            object.__setattr__(self, name, value)

    @property
    def ndim(self) -> int:
        """2 or 3."""
        return len(self.shape)

    @property
    def h(self) -> float:
        """The side of a cell."""
        assert self.spacing is not None
        return self.spacing

    @cached_property
    def fluid(self) -> np.ndarray:
        """Booleans (*shape): cells that are not solid."""
        fluid = ~np.asarray(self.solid)
        fluid.setflags(write=False)
        return fluid

    @cached_property
    def open(self) -> tuple[np.ndarray, ...]:
        """For each axis, booleans on its faces: whether there is fluid on both sides."""
        return tuple(low & high for low, high in map(self._sides, range(self.ndim)))

    @cached_property
    def wet(self) -> tuple[np.ndarray, ...]:
        """For each axis, booleans on its faces: whether there is fluid on either side."""
        return tuple(low | high for low, high in map(self._sides, range(self.ndim)))

    @cached_property
    def pressure_operator(self) -> Diffusion:
        """−div grad, a `Diffusion` with Neumann sides; its rows in solid cells are d · p."""
        solid = self.solid if np.any(self.solid) else None
        return Diffusion(
            np.ones(self.shape),
            ndim=self.ndim,
            spacing=self.h,
            boundary=Side.NEUMANN,
            solid=solid,
        )

    def faces(self, axis: int) -> tuple[int, ...]:
        """The shape of the velocity component along `axis`."""
        return tuple(n + (a == axis) for a, n in enumerate(self.shape))

    def still(self) -> Velocity:
        """The velocity 0."""
        return tuple(np.zeros(self.faces(a)) for a in range(self.ndim))

    def divergence(self, velocity: Velocity) -> np.ndarray:
        """div u (*shape): what leaves through open faces, over the volume; 0 in solid cells."""
        self.check_velocity(velocity)
        total = np.zeros(self.shape)
        for axis, (u, free) in enumerate(zip(velocity, self.open, strict=True)):
            total += np.diff(np.where(free, u, 0.0), axis=axis) / self.h
        return total

    def gradient(self, p: np.ndarray) -> Velocity:
        """grad p on the faces, 0 on closed ones: minus the adjoint of `divergence`."""
        self.check_cells(p, "p")
        found = []
        for axis, free in enumerate(self.open):
            inner = np.diff(p, axis=axis) / self.h
            ends = [(int(a == axis),) * 2 for a in range(self.ndim)]
            found.append(np.where(free, np.pad(inner, ends), 0.0))
        return tuple(found)

    def closed(self, velocity: Velocity) -> Velocity:
        """`velocity` with 0 on every face that nothing flows through."""
        return tuple(np.where(free, u, 0.0) for free, u in zip(self.open, velocity, strict=True))

    def check_cells(self, values: Any, name: str) -> None:
        """Raise TypeError or ValueError unless `values` is float64 (*shape)."""
        _need(values, self.shape, name)

    def check_velocity(self, velocity: Any) -> None:
        """Raise TypeError or ValueError unless `velocity` has float64 components on the faces."""
        if not isinstance(velocity, tuple) or len(velocity) != self.ndim:
            raise TypeError(
                f"expected a velocity as a tuple of {self.ndim} arrays, got {told(velocity)}: "
                "start from grid.still()"
            )
        for axis, u in enumerate(velocity):
            _need(u, self.faces(axis), f"component {axis} of the velocity")

    def check_mask(self, mask: Any, name: str) -> np.ndarray:
        """A read-only copy of `mask`, booleans (*shape); TypeError or ValueError otherwise."""
        return _mask(mask, self.shape, name)

    def _sides(self, axis: int) -> tuple[np.ndarray, np.ndarray]:
        """Whether there is fluid below and above each face across `axis`."""
        none = [(0, 0)] * self.ndim
        below, above = list(none), list(none)
        below[axis], above[axis] = (1, 0), (0, 1)
        return np.pad(self.fluid, below), np.pad(self.fluid, above)


def _mask(mask: Any, shape: tuple[int, ...], name: str) -> np.ndarray:
    if not isinstance(mask, np.ndarray) or mask.dtype != np.dtype(bool):
        raise TypeError(f"expected {name} as a NumPy array of booleans, got {told(mask)}")
    if mask.shape != shape:
        raise ValueError(f"expected {name} of shape {shape}, got {mask.shape}")
    mask = mask.copy()
    mask.setflags(write=False)
    return mask


def _need(values: Any, shape: tuple[int, ...], name: str) -> None:
    if not isinstance(values, np.ndarray) or values.dtype != np.float64:
        got = f"{values.dtype}" if isinstance(values, np.ndarray) else told(values)
        raise TypeError(f"expected {name} as a NumPy array of float64, got {got}")
    if values.shape != shape:
        raise ValueError(f"expected {name} of shape {shape}, got {values.shape}")
