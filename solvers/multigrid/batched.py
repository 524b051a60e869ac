"""Conjugate gradients with multigrid, compiled as one, for batches of small diffusion systems."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from sciml._checks import need, told
from sciml.arrays import Array, host_view, is_torch, like_host
from sciml.kernels._threads import in_threads, threads
from sciml.kernels.box import batched2d, blocks2d
from sciml.operator import Operator
from sciml.problem import LinearSystem, Problem
from sciml.result import Status
from sciml.solver import Solver

from ..krylov._base import first_residual
from .coarsest import dense_inverse
from .form import Form, read
from .hierarchy import Cycle, Hierarchy, plans, schedule
from .operator import choose_cycle, choose_dtype

__all__ = ["MultigridCG"]

# Numbers in a row of a block: loops over fewer do not pay, more members do not fit into a core's
# cache.
_ROW = 512
# Unknowns of one compiled call, between which Ctrl-C is heard.
_CALL = 1 << 24


class _Held(NamedTuple):
    """What set-up left: the operator as the kernels take it, and the hierarchies."""

    form: Form
    grid: blocks2d.Grid
    systems: blocks2d.Systems
    levels: blocks2d.Levels

    @property
    def nbytes(self) -> int:
        own = sum(a.nbytes for a in self.levels)
        return own + self.systems.mass.nbytes


class _State(NamedTuple):
    """Vectors are (members, rows, columns) float64; r and p as the kernel left them."""

    base: Array | None  # x0
    correction: np.ndarray  # of size 0 before the first step
    r: np.ndarray
    p: np.ndarray
    rz: np.ndarray
    estimate: np.ndarray
    flag: np.ndarray
    steps: np.ndarray
    into: np.ndarray
    pieces: tuple[np.ndarray, np.ndarray]
    problem: LinearSystem

    @property
    def x(self) -> Array:
        if not self.correction.size:
            return self.problem.start() if self.base is None else self.base
        space = self.problem.domain
        full = self.correction.reshape(*self.problem.batch, *space.shape)
        found = like_host(full.astype(space.dtype, copy=False), self.problem.b)
        return found if self.base is None else self.base + found


@dataclass(frozen=True, kw_only=True)
class MultigridCG(Solver):
    """CG with one cycle of black-box multigrid, for many diffusion systems on one small grid.

    Takes the steps of `CG(M=Multigrid())`, but a block of members at a time, in a core's cache, and
    as one compiled loop: each member stops by itself when it claims its tolerance. For `Diffusion`
    and `NodalDiffusion` in two dimensions with k for each member, or one k and many right-hand
    sides, and for their positive multiples plus a mass (see `Multigrid`). Runs in host memory, on
    NumPy arrays or torch tensors, in as many threads as numba is given; results do not depend on
    their number, nor on what else is in the batch beyond the choice of cycle and dtype.

    The driver looks every `stride` steps: limits of seconds and Ctrl-C take effect there.

    Args:
        cycle: V or W; None chooses W where k jumps often between neighbours, else V.
        dtype: of the cycle, float32 or float64; None is float32 unless k spreads too far for it.
            CG is in float64 in any case, for float32 systems too.

    Raises:
        TypeError: with `solve`: A is no such operator, or not in host memory.
    """

    linear: ClassVar[bool] = True
    stride: ClassVar[int] = 16

    cycle: Cycle | None = None
    dtype: Any = None
    held: _Held | None = field(default=None, repr=False, compare=False)
    goal: np.ndarray | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.cycle is not None:
            need(self.cycle, Cycle, "a Cycle, such as Cycle.V")
            if self.cycle is Cycle.F:
                raise ValueError(
                    "expected Cycle.V or Cycle.W, got Cycle.F, which is not symmetric: use "
                    "FlexibleCG(M=Multigrid(cycle=Cycle.F))"
                )
        if self.dtype is not None:
            if np.dtype(self.dtype) not in (np.float32, np.float64):
                raise TypeError(f"expected dtype float32, float64 or None, got {told(self.dtype)}")
            object.__setattr__(self, "dtype", np.dtype(self.dtype))

    def check(self, problem: Problem) -> None:
        need(problem, LinearSystem, "a LinearSystem")
        if any(is_torch(a) and a.requires_grad for a in problem.inputs().values()):
            return  # the driver solves, and checks, again without gradients
        form = _form(problem.A)  # type: ignore[attr-defined]
        if host_view(problem.b) is None:  # type: ignore[attr-defined]
            raise TypeError("MultigridCG expected b in host memory: use CG(M=Jacobi())")
        if self.held is not None and not _alike(self.held.form, form):
            raise ValueError(
                f"expected an operator of the shape and batch that MultigridCG was set up for, "
                f"{self.held.form.diffusion!r}, got {form.diffusion!r}: use a new MultigridCG()"
            )

    def prepare(self, problem: Problem) -> Self:
        form = _form(problem.A)  # type: ignore[attr-defined]
        systems = _systems(form)
        if self.held is not None:  # the hierarchies serve; A is what the problem says
            return replace(self, held=self.held._replace(form=form, systems=systems))
        dtype, cycle = choose_dtype(form, self.dtype), choose_cycle(form, self.cycle)
        members = math.prod(problem.batch)
        size = form.diffusion.domain.size
        even = -(-members // threads(members * size))  # a block for every thread
        lanes = max(1, min(_ROW // form.diffusion.domain.shape[1], even))
        grid, levels = _set_up(form, systems, dtype, cycle, lanes)
        held = _Held(form, grid, systems, levels)
        _load(held)
        return replace(self, held=held)

    def toward(self, goal: np.ndarray) -> Self:
        return replace(self, goal=goal)

    @property
    def nbytes(self) -> int:
        return 0 if self.held is None else self.held.nbytes

    def init(self, problem: LinearSystem, x0: Array | None, rng: Any = None) -> _State:
        ready = self if self.held is not None else self.prepare(problem)
        assert ready.held is not None
        r = first_residual(problem, x0)
        view = host_view(r)
        assert view is not None
        shape, none = problem.domain.shape, np.empty((0, 1, 1))
        flat = np.ascontiguousarray(view, np.float64).reshape(-1, *shape)
        square = np.einsum("bij,bij->b", flat, flat)
        estimate = np.sqrt(square)
        known = np.where(np.isfinite(estimate) & (estimate > 0), estimate, 1.0)
        into = np.ldexp(1.0, -np.frexp(known)[1])
        steps, flag = np.zeros(len(flat), np.int64), np.zeros(len(flat), np.int32)
        pieces = _pieces(ready.held.levels.members, ready.held.form.diffusion.batch_shape, problem)
        rz = np.zeros(len(flat))
        return _State(x0, none, flat, none, rz, estimate, flag, steps, into, pieces, problem)

    def advance(self, state: _State, k: int) -> _State:
        assert self.held is not None
        held, count = self.held, len(state.r)
        goal = np.zeros(count) if self.goal is None else np.ascontiguousarray(self.goal, float)
        blocks, places = state.pieces
        unit, scale = held.form.units
        back = unit * scale / held.form.factor / state.into
        estimate, flag, steps, rz = (
            a.copy() for a in (state.estimate, np.zeros_like(state.flag), state.steps, state.rz)
        )
        given = [_constant(a) for a in (state.r, state.p, state.correction)]
        fresh = [np.empty(state.r.shape) for _ in range(3)]
        ended = state.flag != 0
        goal = np.where(ended, np.inf, goal)
        size = held.form.diffusion.domain.size
        group = max(1, _CALL // (size * held.grid.lanes))
        for start in range(0, len(blocks), group):
            part = slice(start, start + group)
            arguments = (
                k, held.grid, held.systems, held.levels, blocks[part], places[part], state.into,
                back, goal, steps, estimate, flag, rz, *given, *fresh,
            )  # fmt: skip
            pieces = len(blocks[part])
            in_threads(batched2d.advance, pieces, pieces * size * held.grid.lanes, arguments)
        status = np.where(ended, state.flag, 0)
        status = np.where(flag == batched2d.CURVED, int(Status.INDEFINITE), status)
        r, p, x = fresh
        return state._replace(
            correction=x, r=r, p=p, rz=rz, estimate=estimate, flag=status, steps=steps
        )


def _form(A: Operator) -> Form:
    """What is to be known of A.

    Raises:
        TypeError: A is no two-dimensional diffusion operator, or not in host memory.
    """
    form = read(A)
    if form.ndim != 2:
        raise TypeError(
            f"MultigridCG expected a grid of two dimensions, got {A!r}: use CG with a "
            "preconditioner"
        )
    return form


def _alike(a: Form, b: Form) -> bool:
    return (a.diffusion.domain, a.diffusion.batch_shape, a.diffusion.wraps) == (
        b.diffusion.domain, b.diffusion.batch_shape, b.diffusion.wraps,
    )  # fmt: skip


def _systems(form: Form) -> blocks2d.Systems:
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
    return blocks2d.Systems(_constant(k), _constant(mass), nodal, unit, nodes, cells)


def _constant(a: np.ndarray) -> np.ndarray:
    """A read-only view: one signature for the kernels, whoever owns the memory."""
    view = a.view()
    view.flags.writeable = False
    return view


def _set_up(
    form: Form, systems: blocks2d.Systems, dtype: np.dtype, cycle: Cycle, lanes: int
) -> tuple[blocks2d.Grid, blocks2d.Levels]:
    diffusion = form.diffusion
    rings = diffusion.wraps
    made, ends = plans(diffusion.domain.shape, rings, lanes)
    table = np.array([(p.padded[0], p.shape[1], p.shape[0], p.width, *p[3:]) for p in made])
    steps = np.array(schedule(len(made), cycle)[1:-1], np.int64).reshape(-1, 2)
    grid = blocks2d.Grid(table, steps, rings, lanes, diffusion.domain.shape[1])
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
        return grid, levels
    matrices = np.empty((blocks, lanes, unknowns, unknowns))
    singular = np.zeros((blocks, lanes), bool)
    work = blocks * lanes * diffusion.domain.size
    in_threads(blocks2d.build, blocks, work, (grid, systems, levels, matrices, singular))
    for b in np.flatnonzero(singular.any(axis=1)):
        inverse = dense_inverse(matrices[b], lanes).reshape(unknowns, unknowns, lanes)
        levels.inverse[b].reshape(inverse.shape)[..., singular[b]] = inverse[..., singular[b]]
    return grid, levels


def _load(held: _Held) -> None:
    """Load the kernel of the steps: without a piece of work it does nothing else."""
    none, vectors = np.empty(0), np.empty((0, *held.form.diffusion.domain.shape))
    members = np.empty((0, held.grid.lanes), np.int64)
    steps, flags = np.empty(0, np.int64), np.empty(0, np.int32)
    batched2d.advance(
        0, 0, 0, held.grid, held.systems, held.levels, steps, members, none, none, none, steps,
        none, flags, none, *[_constant(vectors)] * 3, *[vectors] * 3,
    )  # fmt: skip


def _set_up_rings(
    form: Form, systems: blocks2d.Systems, grid: blocks2d.Grid, levels: blocks2d.Levels
) -> None:
    """Block by block: closing a ring is not compiled."""
    lanes, diffusion = grid.lanes, form.diffusion
    for b, members in enumerate(levels.members):
        fill = form.fill(_side_by_side(systems.k[members]), grid.rings, lanes)
        mass = _side_by_side(systems.mass[members]) if systems.mass.size else None
        made = Hierarchy(
            diffusion.domain.shape, grid.rings, levels.inv.dtype, fill, mass=mass, lanes=lanes
        )
        for name in ("links", "inv", "weights", "mass", "inverse"):
            getattr(levels, name)[b] = getattr(made, name)


def _side_by_side(members: np.ndarray) -> np.ndarray:
    """(B, rows, columns) as (rows, columns B)."""
    return np.moveaxis(members, 0, -1).reshape(*members.shape[1:-1], -1)


def _pieces(
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
