"""Incompressible flow on staggered grids in 2-D and 3-D, with smoke, walls and solid obstacles."""

from .advection import Advection, advect_cells, advect_faces
from .grid import MACGrid, Velocity
from .obstacles import ball, bunny
from .plume import Flow, Plume
from .projection import Divergence, Projected, pressure_system, project

__all__ = [
    "Advection",
    "Divergence",
    "Flow",
    "MACGrid",
    "Plume",
    "Projected",
    "Velocity",
    "advect_cells",
    "advect_faces",
    "ball",
    "bunny",
    "pressure_system",
    "project",
]
