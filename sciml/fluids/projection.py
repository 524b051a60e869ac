"""Pressure projection: a velocity without divergence, by any solver, with a certificate."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from .._checks import number
from ..problem import LinearSystem
from ..result import Result, Stop
from ..solve import solve
from ..solver import Solver
from .grid import MACGrid, Velocity

__all__ = ["Divergence", "Projected", "pressure_system", "project"]

# The divergence of a rounded velocity is known to a few units in its last place.
_ROUNDING = 4 * float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Divergence:
    """div u · dt over the fluid cells, without unit: the share of a cell's volume lost in a step.

    Attributes:
        max, rms: as measured on the velocity that was returned.
        bound: what the certificate of the solve promises for `rms`, rounding aside.
    """

    max: float
    rms: float
    bound: float


@dataclass(frozen=True)
class Projected:
    """A projected velocity.

    Attributes:
        velocity: u − dt grad p, 0 on closed faces. pressure: p (*shape), for a density of 1.
        divergence: what is left. result: the certified solve; its `solver` serves further steps.
    """

    velocity: Velocity
    pressure: np.ndarray
    divergence: Divergence
    result: Result


def pressure_system(grid: MACGrid, velocity: Velocity, dt: float) -> LinearSystem:
    """−div grad p = −div u / dt, whose solution makes u − dt grad p free of divergence.

    Chorin, Numerical solution of the Navier-Stokes equations (1968). No flow through the walls
    makes the right-hand side sum to 0 over the fluid but for rounding, which is taken away.
    """
    if number(dt, "dt") == 0:
        raise ValueError("expected dt > 0, got 0: a projection needs a time step")
    A = grid.pressure_operator
    b = -grid.divergence(velocity) / dt
    constants = A.null_vector
    assert constants is not None  # Neumann all around
    return LinearSystem(A, b - A.domain.project(b, constants)[0])


def project(
    grid: MACGrid,
    velocity: Velocity,
    dt: float,
    solver: Solver,
    *,
    p0: np.ndarray | None = None,
    stop: Stop | None = None,
    throw: bool = True,
) -> Projected:
    """Take the divergence out of `velocity`.

    The residual of the system is −div(u − dt grad p) / dt: what `solve` certifies is the
    divergence that is left, ||div u||₂ <= max(rtol ||div u before||₂, atol dt). An atol below what
    the rounding of the velocity allows is raised to that.

    Args:
        velocity: float64 on the faces; what it has on closed faces is dropped.
        dt: the time step, > 0.
        solver: any that takes a `LinearSystem`; one that was prepared skips its set-up.
        p0: (*shape), a first guess, such as the pressure of the last step.
        stop: tolerances of the pressure solve. throw: as in `solve`.

    Raises:
        SolveError: it did not converge (throw=True).
        TypeError, ValueError: bad arguments, before any work.
    """
    system = pressure_system(grid, velocity, dt)
    stop = Stop() if stop is None else stop
    fluid = int(np.count_nonzero(grid.fluid))
    largest = max(float(np.abs(u).max()) for u in velocity)
    floor = _ROUNDING * largest / (grid.h * dt) * math.sqrt(fluid)
    if math.isfinite(floor):  # where it is not, the solve names the bad input
        stop = replace(stop, atol=max(stop.atol, floor))
    result = solve(system, solver, x0=p0, stop=stop, throw=throw)
    slope = grid.gradient(result.x)
    found = tuple(u - dt * g for u, g in zip(grid.closed(velocity), slope, strict=True))
    left = grid.divergence(found)[grid.fluid] * dt
    asked = max(stop.rtol * float(system.scale), stop.atol)
    divergence = Divergence(
        float(np.abs(left).max()),
        float(np.sqrt(np.mean(left**2))),
        dt**2 * asked / math.sqrt(fluid),
    )
    return Projected(found, result.x, divergence, result)
