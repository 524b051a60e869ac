"""Boundary and initial conditions that hold whatever the network says.

u(x) = lift(x) + distance(x) N(x): the distance vanishes on the boundary and the lift takes the data
there (Lagaris, Likas and Fotiadis, Artificial Neural Networks for Solving Ordinary and Partial
Differential Equations, IEEE Trans. Neural Networks 9, 1998). Terms of the loss for conditions are
not needed then, and A keeps the operator's part only.

net.apply_output_transform(hard_conditions(geometry, value))  # DeepXDE
Transformed(network, box_conditions([0.0], [1.0]))  # a network of your own
"""

from __future__ import annotations

import enum
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sciml._checks import need, number, told

__all__ = ["HardConditions", "Side", "Transformed", "box_conditions", "hard_conditions"]

Value = Callable[[Tensor], Tensor]  # points (n, d) -> (n, outputs)


class Side(enum.Enum):
    """Where a condition holds along one axis of a box."""

    NONE = "none"
    LOW = "low"  # as an initial condition
    HIGH = "high"
    BOTH = "both"


@dataclass(frozen=True)
class HardConditions:
    """(x, output of the network) -> u, as DeepXDE's output transforms are called.

    Args:
        distance: points (n, d) -> (n, 1), 0 where a condition holds and positive elsewhere.
        lift: points -> (n, outputs), the data there; None for 0.
    """

    distance: Value
    lift: Value | None = None

    def __call__(self, x: Tensor, output: Tensor) -> Tensor:
        u = self.distance(x) * output
        if self.lift is None:
            return u
        lifted = self.lift(x)
        if lifted.ndim != 2 or lifted.shape not in (u.shape, (len(x), 1)):
            raise ValueError(
                f"expected a value {tuple(u.shape)} for {len(x)} points, got "
                f"{tuple(lifted.shape)}: keep the last axis, x[:, 0:1]"
            )
        return lifted + u


class Transformed(nn.Module):
    """A network with an output transform: x -> transform(x, network(x))."""

    def __init__(self, network: nn.Module, transform: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.network, self.transform = network, transform

    def forward(self, x: Tensor) -> Tensor:
        """x (points, dim) -> u (points, outputs)."""
        return self.transform(x, self.network(x))


@dataclass(frozen=True)
class _Box:
    """Sides of a box: how far they are, and data blended from them."""

    low: tuple[float, ...]
    high: tuple[float, ...]
    sides: tuple[Side, ...]

    def _share(self, x: Tensor, axis: int) -> Tensor:
        """0 at the low side, 1 at the high one, exactly: (n, 1)."""
        low, high = self.low[axis], self.high[axis]
        return (x[:, axis : axis + 1] - low) / (high - low)

    def distance(self, x: Tensor) -> Tensor:
        self._fits(x)
        found = torch.ones_like(x[:, :1])
        for axis, side in enumerate(self.sides):
            s = self._share(x, axis)
            if side is Side.BOTH:
                found = found * (4 * s * (1 - s))
            elif side is not Side.NONE:
                found = found * (s if side is Side.LOW else 1 - s)
        return found

    def blended(self, x: Tensor, value: Value) -> Tensor:
        """Transfinite interpolation of the data on the sides (Gordon and Hall, 1973).

        With P_i the interpolation along axis i from the data on its sides, 1 - prod(1 - P_i): it
        reads `value` on sides only, and equals it on all of them.
        """
        self._fits(x)
        total = None
        for choice in itertools.product(*(self._places(x, axis) for axis in range(x.shape[1]))):
            chosen = [(axis, place) for axis, place in enumerate(choice) if place is not None]
            if not chosen:
                continue
            weight, columns = x.new_tensor(-1.0), list(x.split(1, dim=1))
            for axis, (at, share) in chosen:
                weight = -weight * share
                columns[axis] = torch.full_like(columns[axis], at)
            part = weight * value(torch.cat(columns, dim=1))
            total = part if total is None else total + part
        assert total is not None  # a side holds a condition
        return total

    def _places(self, x: Tensor, axis: int) -> list[tuple[float, Any] | None]:
        """None for the point's own place, else (coordinate of a side, its share)."""
        side, low, high = self.sides[axis], self.low[axis], self.high[axis]
        if side is Side.BOTH:
            s = self._share(x, axis)
            return [None, (low, 1 - s), (high, s)]
        return {Side.NONE: [None], Side.LOW: [None, (low, 1.0)], Side.HIGH: [None, (high, 1.0)]}[
            side
        ]

    def _fits(self, x: Tensor) -> None:
        if x.ndim != 2 or x.shape[1] != len(self.low):
            raise ValueError(f"expected points (n, {len(self.low)}), got {tuple(x.shape)}")


def box_conditions(
    low: Sequence[float],
    high: Sequence[float],
    value: Value | None = None,
    *,
    sides: Sequence[Side] | None = None,
) -> HardConditions:
    """u = value on sides of a box, for any network.

    Args:
        low, high: the box's corners, (d,) each; time is an axis as others.
        value: the data, read on the sides only, at points (n, d); it has to be continuous where
            sides meet. 0 without.
        sides: which sides of each axis; BOTH of all without. Of a time axis that is LOW; of a
            periodic one NONE.
    """
    low, high = tuple(map(float, low)), tuple(map(float, high))
    chosen = (Side.BOTH,) * len(low) if sides is None else tuple(sides)
    for side in chosen:
        need(side, Side, "sides as members of Side", "Side.BOTH")
    if not low or not len(low) == len(high) == len(chosen):
        raise ValueError(
            f"expected low, high and sides of one length, got {len(low)}, {len(high)} and "
            f"{len(chosen)}"
        )
    if not all(number(b - a, "high - low") > 0 for a, b in zip(low, high, strict=True)):
        raise ValueError(f"expected low < high along each axis, got {low} and {high}")
    if all(side is Side.NONE for side in chosen):
        raise ValueError("expected a side on which a condition holds, got NONE for all axes")
    box = _Box(low, high, chosen)
    return HardConditions(box.distance, None if value is None else lambda x: box.blended(x, value))


def hard_conditions(
    geometry: Any, value: Value | None = None, *, sides: Sequence[Side] | None = None
) -> HardConditions:
    """u = value on the boundary of a geometry of DeepXDE, and at the initial time.

    Intervals, rectangles, cuboids and hypercubes, with or without time: as `box_conditions`. Others
    (disks, balls, triangles, polygons, ...): by DeepXDE's `boundary_constraint_factor`, and `value`
    has to be smooth on the whole domain, of which it takes the boundary's values.

    Args:
        geometry: a `deepxde.geometry.Geometry` or `GeometryXTime`.
        value, sides: see `box_conditions`; of time LOW without. `sides` is for boxes.

    Raises:
        TypeError: no geometry. ValueError: a geometry without a distance to its boundary.
    """
    from .deepxde import load_deepxde

    shapes = load_deepxde().geometry
    need(geometry, (shapes.geometry.Geometry, shapes.GeometryXTime), "a geometry of DeepXDE")
    timed = isinstance(geometry, shapes.GeometryXTime)
    space = geometry.geometry if timed else geometry
    corners = _corners(shapes, space)
    if corners is not None:
        low, high = corners
        known = [Side.BOTH] * len(low)
        if isinstance(space, shapes.TimeDomain):
            known = [Side.LOW]
        if timed:
            low = [*low, float(geometry.timedomain.t0)]
            high = [*high, float(geometry.timedomain.t1)]
            known.append(Side.LOW)
        return box_conditions(low, high, value, sides=known if sides is None else sides)
    if sides is not None:
        raise ValueError(f"expected a box with sides, got {told(type(space).__name__)}")
    # a method that some shapes have, and the base class has to say that it is missing
    factor: Any = getattr(space, "boundary_constraint_factor", None)
    if factor is None or factor.__func__ is shapes.geometry.Geometry.boundary_constraint_factor:
        raise ValueError(
            f"expected a geometry with boundary_constraint_factor, got {type(space).__name__}: "
            "give HardConditions a distance of your own"
        )

    def distance(x: Tensor) -> Tensor:
        found = factor(x[:, :-1] if timed else x, smoothness="Cinf")
        return found * (x[:, -1:] - geometry.timedomain.t0) if timed else found

    return HardConditions(distance, value)


def _corners(shapes: Any, space: Any) -> tuple[list[float], list[float]] | None:
    """(low, high) of a box, None for other shapes."""
    if isinstance(space, shapes.Interval):
        return [float(space.l)], [float(space.r)]
    if isinstance(space, shapes.Hypercube):
        return space.xmin.astype(float).tolist(), space.xmax.astype(float).tolist()
    return None
