"""Transport along a flow: semi-Lagrangian (Stam 1999) and MacCormack (Selle et al. 2008)."""

from __future__ import annotations

import enum

import numpy as np

from .._checks import need, number
from .grid import MACGrid, Velocity

__all__ = ["Advection", "advect_cells", "advect_faces"]


class Advection(enum.Enum):
    """How values are carried along. Neither makes a new extremum, whatever the time step."""

    SEMI_LAGRANGIAN = "semi-lagrangian"  # first order, smooths
    MACCORMACK = "maccormack"  # second order where the field is smooth, with a limiter
    MACCORMACK_UNLIMITED = "maccormack-unlimited"  # without the limiter: may overshoot


def advect_cells(
    grid: MACGrid,
    values: np.ndarray,
    velocity: Velocity,
    dt: float,
    scheme: Advection = Advection.MACCORMACK,
) -> np.ndarray:
    """What lies in the cells, a time dt later; 0 in solid cells.

    Args:
        values: float64 (*shape). velocity: carries them; constant over the step.
        dt: in the unit of time of the velocity.

    Raises:
        TypeError, ValueError: arguments of another form, or not finite.
    """
    grid.check_cells(values, "values")
    offset = np.full(3, 0.5)
    moved = _advect(grid, values, grid.fluid, offset, velocity, dt, scheme)
    return np.where(grid.fluid, moved, 0.0)


def advect_faces(
    grid: MACGrid,
    carried: Velocity,
    velocity: Velocity,
    dt: float,
    scheme: Advection = Advection.MACCORMACK,
) -> Velocity:
    """A velocity field carried along by another (or by itself); 0 on closed faces.

    Args, Raises: as `advect_cells`.
    """
    grid.check_velocity(carried)
    moved = []
    for axis, u in enumerate(carried):
        offset = np.where(np.arange(3) == axis, 0.0, 0.5)
        moved.append(_advect(grid, u, grid.wet[axis], offset, velocity, dt, scheme))
    return grid.closed(tuple(moved))


def _advect(
    grid: MACGrid,
    field: np.ndarray,
    known: np.ndarray,
    offset: np.ndarray,
    velocity: Velocity,
    dt: float,
    scheme: Advection,
) -> np.ndarray:
    """Selle, Fedkiw, Kim, Liu and Rossignac, An unconditionally stable MacCormack method, 2008."""
    from ..kernels.advection import carry

    grid.check_velocity(velocity)
    need(scheme, Advection, "an Advection")
    step = number(dt, "dt") / grid.h
    for name, arrays in (("the values carried", (field,)), ("the velocity", velocity)):
        if not all(np.isfinite(a).all() for a in arrays):
            raise ValueError(f"expected {name} finite, got NaN or Inf: shorten the time step")

    # A plane has one cell along its last axis, and no flow along it.
    shape = (*field.shape, 1)[:3]
    flow, seen = [*velocity], [*grid.wet]
    if grid.ndim == 2:
        flow.append(np.zeros((*grid.shape, 2)))
        seen.append(np.broadcast_to(grid.fluid[..., None], (*grid.shape, 2)))
        flow[:2], seen[:2] = ([a[..., None] for a in pair[:2]] for pair in (flow, seen))
    known = np.ascontiguousarray(known.reshape(shape))
    rest = (
        tuple(map(float, offset)),
        tuple(np.ascontiguousarray(a) for a in flow),
        tuple(np.ascontiguousarray(a) for a in seen),
    )
    now = np.ascontiguousarray(field.reshape(shape))
    moved, low, high = carry(now, known, *rest, step)  # type: ignore[arg-type]
    if scheme is Advection.SEMI_LAGRANGIAN:
        return moved.reshape(field.shape)
    returned = carry(moved, known, *rest, -step)[0]  # type: ignore[arg-type]
    better = moved + (now - returned) / 2
    if scheme is Advection.MACCORMACK:  # the limiter: no value that was not around the departure
        better = np.clip(better, low, high)
    return better.reshape(field.shape)
