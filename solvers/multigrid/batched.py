"""Conjugate gradients with multigrid, compiled as one, for batches of small diffusion systems."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import numpy as np

from sciml._checks import need, told
from sciml.arrays import Array, host_view, is_torch, like_host
from sciml.problem import LinearSystem, Problem
from sciml.result import Status
from sciml.solver import Solver

from ..krylov._base import first_residual
from .cycle import Cycle

if TYPE_CHECKING:
    from . import batch

__all__ = ["MultigridCG"]

# Numbers in a row of a block: loops over fewer do not pay, more members do not fit into a core's
# cache.
_ROW = 512
# Unknowns of one compiled call, between which Ctrl-C is heard.
_CALL = 1 << 24


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
    their number, nor on what else is in the batch beyond the choice of cycle, weights and dtype.

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
    held: batch.Held | None = field(default=None, repr=False, compare=False)
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
        from . import batch
        from .form import read

        need(problem, LinearSystem, "a LinearSystem")
        if any(is_torch(a) and a.requires_grad for a in problem.inputs().values()):
            return  # the driver solves, and checks, again without gradients
        form = read(problem.A)  # type: ignore[attr-defined]
        if form.ndim != 2:
            raise TypeError(
                f"MultigridCG expected diffusion in 2-D, got {problem.A!r}: use CG(M=Multigrid())"  # type: ignore[attr-defined]
            )
        if host_view(problem.b) is None:  # type: ignore[attr-defined]
            raise TypeError("MultigridCG expected b in host memory: use CG(M=Jacobi())")
        if self.held is not None and not batch.alike(self.held.form, form):
            raise ValueError(
                f"expected an operator of the shape and batch that MultigridCG was set up for, "
                f"{self.held.form.diffusion!r}, got {form.diffusion!r}: use a new MultigridCG()"
            )

    def prepare(self, problem: Problem) -> Self:
        from sciml.kernels._threads import threads

        from . import batch
        from .form import read
        from .operator import choose_cycle, choose_dtype

        form = read(problem.A)  # type: ignore[attr-defined]
        systems = batch.systems_of(form)
        if self.held is not None:  # the hierarchies serve; A is what the problem says
            return replace(self, held=self.held._replace(form=form, systems=systems))
        opened = form.opened()
        dtype, cycle = choose_dtype(opened, self.dtype), choose_cycle(opened, self.cycle)
        members = math.prod(problem.batch)
        size = form.diffusion.domain.size
        even = -(-members // threads(members * size))  # a block for every thread
        lanes = max(1, min(_ROW // form.diffusion.domain.shape[1], even))
        grid, levels = batch.set_up(form, dtype, cycle, lanes)
        held = batch.Held(form, grid, systems, levels)
        batch.load(held)
        return replace(self, held=held)

    def toward(self, goal: np.ndarray) -> Self:
        return replace(self, goal=goal)

    @property
    def nbytes(self) -> int:
        return 0 if self.held is None else self.held.nbytes

    def init(self, problem: LinearSystem, x0: Array | None, rng: Any = None) -> _State:
        from . import batch

        ready = self if self.held is not None else self.prepare(problem)
        assert ready.held is not None
        r = first_residual(problem, x0)
        view = host_view(r)
        assert view is not None
        shape, none = problem.domain.shape, np.empty((0, 1, 1))
        own = np.asarray(view, np.float64)
        solids = ready.held.form.solids()
        if solids is not None:  # they stand alone: solved here, and left out of all steps
            apart = like_host((solids * own).astype(problem.domain.dtype), problem.b)
            x0 = apart if x0 is None else x0 + apart
            own = np.where(solids > 0, 0, own)
        flat = np.ascontiguousarray(own).reshape(-1, *shape)
        square = np.einsum("bij,bij->b", flat, flat)
        estimate = np.sqrt(square)
        known = np.where(np.isfinite(estimate) & (estimate > 0), estimate, 1.0)
        into = np.ldexp(1.0, -np.frexp(known)[1])
        steps, flag = np.zeros(len(flat), np.int64), np.zeros(len(flat), np.int32)
        pieces = batch.pieces_of(
            ready.held.levels.members, ready.held.form.diffusion.batch_shape, problem
        )
        rz = np.zeros(len(flat))
        return _State(x0, none, flat, none, rz, estimate, flag, steps, into, pieces, problem)

    def advance(self, state: _State, k: int) -> _State:
        from sciml.kernels._threads import in_threads
        from sciml.kernels.box import batched2d

        from . import batch

        assert self.held is not None
        held, count = self.held, len(state.r)
        goal = np.zeros(count) if self.goal is None else np.ascontiguousarray(self.goal, float)
        blocks, places = state.pieces
        unit, scale = held.form.units
        back = unit * scale / held.form.factor / state.into
        estimate, flag, steps, rz = (
            a.copy() for a in (state.estimate, np.zeros_like(state.flag), state.steps, state.rz)
        )
        given = [batch.constant(a) for a in (state.r, state.p, state.correction)]
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
