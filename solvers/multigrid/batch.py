"""The set-up of `MultigridCG`: blocks of members, their hierarchies, and who is in which lane."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from sciml.kernels._threads import in_threads
from sciml.kernels.box import batched2d, blocks2d
from sciml.problem import LinearSystem

from .coarsest import dense_inverse
from .cycle import Cycle
from .form import Form
from .hierarchy import Hierarchy
from .operator import side_by_side
from .plans import COARSEST, Plan, plans, schedule

__all__ = ["Held", "alike", "constant", "load", "pieces_of", "set_up", "systems_of"]


class Held(NamedTuple):
    """What set-up left: the operator as the kernels take it, and the hierarchies."""

    form: Form
    grid: blocks2d.Grid
    systems: blocks2d.Systems
    levels: blocks2d.Levels

    @property
    def nbytes(self) -> int:
        own = sum(a.nbytes for a in self.levels)
        return own + self.systems.mass.nbytes


def alike(a: Form, b: Form) -> bool:
    return (a.diffusion.domain, a.diffusion.batch_shape, a.diffusion.wraps) == (
        b.diffusion.domain, b.diffusion.batch_shape, b.diffusion.wraps,
    )  # fmt: skip


def systems_of(form: Form) -> blocks2d.Systems:
    ndim = form.ndim
    unit, scale = form.units
    k = form.k.reshape(-1, *form.k.shape[form.k.ndim - ndim :])
    k = np.ascontiguousarray(k, np.float64)
    mass = form.masses()
    if mass is None:
        mass = np.empty((0, 1, 1))
    else:
        mass = (unit * scale) * mass.reshape(-1, *form.diffusion.domain.shape)
    weights, none = form.weights, np.empty((2, 3))
    nodal = weights.ndim == 1
    nodes, cells = (weights, none) if nodal else (none[0], weights)
    return blocks2d.Systems(constant(k), constant(mass), nodal, unit, nodes, cells)


def constant(a: np.ndarray) -> np.ndarray:
    """A read-only view: one signature for the kernels, whoever owns the memory."""
    view = a.view()
    view.flags.writeable = False
    return view


def set_up(
    form: Form, dtype: np.dtype, cycle: tuple[Cycle, int], lanes: int
) -> tuple[blocks2d.Grid, blocks2d.Levels]:
    """The hierarchies of `form`, opened where cells are solid (see `Form.opened`)."""
    solid, diffusion = form.k == 0, form.diffusion
    form = form.opened() if math.prod(diffusion.domain.shape) > COARSEST else form
    systems = systems_of(form)
    rings = diffusion.wraps
    made, ends = plans(diffusion.domain.shape, rings, lanes)
    table = np.array([p.row for p in made])
    steps = np.array(schedule(len(made), *cycle)[1:-1], np.int64).reshape(-1, 2)
    passes = np.array(form.passes)
    grid = blocks2d.Grid(table, steps, rings, lanes, diffusion.domain.shape[1], passes)
    count = len(systems.k)
    blocks = -(-count // lanes)
    unknowns = math.prod(made[-1].shape)
    levels = blocks2d.Levels(
        members=np.resize(np.arange(count), (blocks, lanes)),
        links=np.zeros((blocks, ends.at_links), dtype),
        inv=np.zeros((blocks, ends.at_split), dtype),
        weights=np.zeros((blocks, ends.at_weights), dtype),
        mass=np.zeros((blocks, ends.at_split if systems.mass.size else 0), dtype),
        inverse=np.zeros((blocks, unknowns, unknowns * lanes), dtype),
    )
    if any(rings):
        _set_up_rings(form, systems, grid, levels)
        _shut(levels, made[0], solid, lanes)
        return grid, levels
    matrices = np.empty((blocks, lanes, unknowns, unknowns))
    singular = np.zeros((blocks, lanes), bool)
    work = blocks * lanes * diffusion.domain.size
    in_threads(blocks2d.build, blocks, work, (grid, systems, levels, matrices, singular))
    for b in np.flatnonzero(singular.any(axis=1)):
        inverse = dense_inverse(matrices[b], lanes).reshape(unknowns, unknowns, lanes)
        levels.inverse[b].reshape(inverse.shape)[..., singular[b]] = inverse[..., singular[b]]
    _shut(levels, made[0], solid, lanes)
    return grid, levels


def _shut(levels: blocks2d.Levels, finest: Plan, solid: np.ndarray, lanes: int) -> None:
    """Restrict the cycles to the fluid: 1 / diagonal is 0 in solid cells of the finest level.

    There relaxation then leaves 0, before the coarse correction and after it, as if they were held
    by an infinite pin, whose residual is what their neighbours pass on. So the cycle stays
    symmetric, and nothing goes into solid cells or comes out of them.
    """
    if not solid.any():
        return
    inv = levels.inv[:, : math.prod(finest.split)].reshape(
        len(levels.inv), *finest.split[:-1], -1, lanes
    )
    rows, columns = finest.shape
    wide = solid.reshape(-1, rows, columns)[levels.members]  # (blocks, lanes, rows, columns)
    for parity in range(2):
        part = np.moveaxis(wide[..., parity::2], 1, -1)
        inv[:, :rows, parity, 1 : 1 + part.shape[2]][part] = 0


def load(held: Held) -> None:
    """Load the kernel of the steps: without a piece of work it does nothing else."""
    none, vectors = np.empty(0), np.empty((0, *held.form.diffusion.domain.shape))
    members = np.empty((0, held.grid.lanes), np.int64)
    steps, flags = np.empty(0, np.int64), np.empty(0, np.int32)
    batched2d.advance(
        0, 0, 0, held.grid, held.systems, held.levels, steps, members, none, none, none, steps,
        none, flags, none, *[constant(vectors)] * 3, *[vectors] * 3,
    )  # fmt: skip


def _set_up_rings(
    form: Form, systems: blocks2d.Systems, grid: blocks2d.Grid, levels: blocks2d.Levels
) -> None:
    """Block by block: closing a ring is not compiled."""
    lanes, diffusion = grid.lanes, form.diffusion
    for b, members in enumerate(levels.members):
        fill = form.fill(side_by_side(systems.k[members]), lanes)
        mass = side_by_side(systems.mass[members]) if systems.mass.size else None
        made = Hierarchy(
            diffusion.domain.shape, grid.rings, levels.inv.dtype, fill, form.passes, mass=mass,
            lanes=lanes,
        )  # fmt: skip
        for name in ("links", "inv", "weights", "mass", "inverse"):
            getattr(levels, name)[b] = getattr(made, name)


def pieces_of(
    members: np.ndarray, batch_shape: tuple[int, ...], problem: LinearSystem
) -> tuple[np.ndarray, np.ndarray]:
    """(blocks, places): pieces of work (pieces,), and whose right-hand side is in each lane.

    members: (blocks, lanes), whose k it is; the lanes of one k take turns.
    """
    count = math.prod(batch_shape)
    own = np.broadcast_to(np.arange(count).reshape(batch_shape), problem.batch).reshape(-1)
    slots = np.argsort(members, axis=None, kind="stable")
    copies = np.bincount(members.reshape(-1), minlength=count)
    firsts = np.cumsum(copies) - copies
    order = np.argsort(own, kind="stable")
    sizes = np.bincount(own, minlength=count)
    rank = np.empty(len(own), np.int64)
    rank[order] = np.arange(len(own)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    rounds = int((rank // copies[own]).max(initial=-1)) + 1
    places = np.full((rounds, members.size), -1)
    places[rank // copies[own], slots[firsts[own] + rank % copies[own]]] = np.arange(len(own))
    places = places.reshape(-1, members.shape[1])
    used = (places >= 0).any(axis=1)
    return np.tile(np.arange(len(members)), rounds)[used], places[used]
