"""Smoke that rises: transport, buoyancy, projection (Fedkiw, Stam and Jensen 2001)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .._checks import need, number
from ..result import Stop
from ..solver import Solver
from .advection import Advection, advect_cells, advect_faces
from .grid import MACGrid, Velocity
from .projection import Projected, project

__all__ = ["Flow", "Plume"]


@dataclass(frozen=True, eq=False)
class Flow:
    """The state at a time. velocity on the faces; pressure and smoke (*shape), float64."""

    velocity: Velocity
    pressure: np.ndarray
    smoke: np.ndarray
    time: float = 0.0


@dataclass(frozen=True, eq=False)
class Plume:
    """A scene: warm smoke flows in somewhere in a closed box and rises around what is solid.

    du/dt + u · grad u + grad p = buoyancy · smoke · up, div u = 0, without friction; smoke goes
    with u. Time is in units that follow from those of h and buoyancy.

    Args:
        grid: the box. inflow: booleans (*shape), fluid cells whose smoke is held at 1.
        buoyancy: acceleration of a cell full of smoke along axis 0.
        advection: how smoke and velocity are carried.

    Raises:
        TypeError, ValueError: arguments of another form, or inflow in solid cells.
    """

    grid: MACGrid
    inflow: np.ndarray
    buoyancy: float = 1.0
    advection: Advection = Advection.MACCORMACK

    def __post_init__(self) -> None:
        need(self.grid, MACGrid, "a MACGrid")
        need(self.advection, Advection, "an Advection")
        number(self.buoyancy, "buoyancy", least=-float(np.finfo(float).max))
        inflow = self.grid.check_mask(self.inflow, "inflow")
        if (inflow & ~self.grid.fluid).any():
            raise ValueError("expected inflow in fluid cells, got some that are solid")
        object.__setattr__(self, "inflow", inflow)

    def start(self) -> Flow:
        """At rest, with smoke in the inflow alone."""
        return Flow(self.grid.still(), np.zeros(self.grid.shape), self.inflow.astype(float))

    def tentative(self, flow: Flow, dt: float) -> Flow:
        """A step without its projection: `velocity` has a divergence, `pressure` is the old one."""
        grid = self.grid
        smoke = advect_cells(grid, flow.smoke, flow.velocity, dt, self.advection)
        smoke = np.where(self.inflow, 1.0, smoke)
        up, *others = advect_faces(grid, flow.velocity, flow.velocity, dt, self.advection)
        # The mean of the smoke on both sides of a face; there are no open faces at the ends.
        lifted = np.zeros_like(up)
        lifted[1:-1] = (smoke[:-1] + smoke[1:]) / 2
        up = up + np.where(grid.open[0], dt * self.buoyancy * lifted, 0.0)
        return Flow((up, *others), flow.pressure, smoke, flow.time + dt)

    def step(
        self, flow: Flow, dt: float, solver: Solver, *, stop: Stop | None = None
    ) -> tuple[Flow, Projected]:
        """The flow a time dt later, and how its pressure was found.

        Args:
            solver, stop: as in `project`; the last pressure is the first guess.
        """
        before = self.tentative(flow, dt)
        after = project(self.grid, before.velocity, dt, solver, p0=flow.pressure, stop=stop)
        return Flow(after.velocity, after.pressure, before.smoke, before.time), after
