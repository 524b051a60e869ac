"""Conjugate gradients for batches of small systems, which on a GPU never leave shared memory."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import numpy as np

from sciml.arrays import Array, astype, from_host, namespace, to_numpy
from sciml.operator import Operator
from sciml.operators._massive import Massive, massive
from sciml.operators.diffusion import Diffusion, NodalDiffusion
from sciml.problem import LinearSystem, Problem
from sciml.result import Status
from sciml.solver import Solver

from ._choosing import Choosing
from .krylov import CG
from .krylov._base import first_residual, null_space
from .precond import Jacobi

if TYPE_CHECKING:
    from sciml.kernels.cuda import Device
    from sciml.kernels.cuda.small import Members, Systems

__all__ = ["SmallCG"]


@dataclass(frozen=True, kw_only=True)
class SmallCG(Choosing):
    """`CG(M=Jacobi())`, which on a GPU solves small diffusion systems in shared memory.

    There a block of threads takes each member of the batch from its first step to its last without
    memory beyond its own, and each member stops by itself when it claims its tolerance. For
    `Diffusion` and `NodalDiffusion` in two dimensions, and their positive multiples plus a mass, up
    to what a block holds: 7 numbers a point, which on an H100 is 64² in float64 and 90² in float32.
    Anything else, anywhere, is solved by `CG(M=Jacobi())` itself, with the same steps. Many small
    systems in host memory are better off with `MultigridCG`.

    In shared memory the driver looks every 1,024 steps: limits of seconds and Ctrl-C take effect
    there.

    Raises:
        TypeError: with `solve`: A is not Hermitian.
    """

    @property
    def _usual(self) -> CG:
        return self.chosen if isinstance(self.chosen, CG) else CG(M=Jacobi())

    def check(self, problem: Problem) -> None:
        self._usual.check(problem)

    def prepare(self, problem: Problem) -> Self:
        assert isinstance(problem, LinearSystem)
        shared = _shared(problem.A)
        if shared is None:
            return replace(self, chosen=self._usual.prepare(problem))
        return replace(self, chosen=replace(shared, remark=null_space(problem)))

    def adjoint(self) -> Self:
        return self if self.chosen is None else replace(self, chosen=self.chosen.adjoint())

    @property
    def notes(self) -> tuple[str, ...]:
        return () if self.chosen is None else self.chosen.notes


class _State(NamedTuple):
    base: Array | None  # x0
    members: Members
    owners: Array
    goal: Array
    back: float
    problem: LinearSystem

    @property
    def x(self) -> Array:
        space = self.problem.domain
        found = self.back * self.members.vectors[:, 0]
        found = found.reshape((*self.problem.batch, *space.shape))
        return found if self.base is None else self.base + found

    @property
    def estimate(self) -> Array:
        return self.members.estimate

    @property
    def flag(self) -> Array:
        return self.members.flag

    @property
    def steps(self) -> np.ndarray:
        return to_numpy(self.members.steps)


@dataclass(frozen=True, kw_only=True)
class _Shared(Solver):
    """Steps in shared memory.

    Args:
        systems: A of each member, in units. batch_shape: of A.
        back: from the x of `systems` to that of A.
    """

    stride: ClassVar[int] = 1024

    device: Device = field(compare=False, repr=False)
    systems: Systems = field(compare=False, repr=False)
    batch_shape: tuple[int, ...]
    back: float
    goal: np.ndarray | None = field(default=None, compare=False, repr=False)
    remark: str = ""

    def toward(self, goal: np.ndarray) -> Self:
        return replace(self, goal=goal)

    @property
    def nbytes(self) -> int:
        return self.systems.nbytes

    @property
    def notes(self) -> tuple[str, ...]:
        own = "Each system was solved by one block of threads, in its shared memory."
        return (own, self.remark) if self.remark else (own,)

    def init(self, problem: LinearSystem, x0: Array | None, rng: Any = None) -> _State:
        from sciml.kernels.cuda.small import Members

        space = problem.domain
        r = first_residual(problem, x0)
        xp, count = namespace(r), math.prod(problem.batch)
        r = r.reshape((count, *space.shape))
        vectors = xp.stack([xp.zeros_like(r), r, xp.zeros_like(r)], axis=1)
        estimate = space.norm(r)
        flag = from_host(np.zeros(count, np.int32), r, np.int32)
        none = from_host(np.zeros(count, np.int64), r, np.int64)
        own = np.arange(math.prod(self.batch_shape)).reshape(self.batch_shape)
        owners = np.broadcast_to(own, problem.batch).flatten()
        goal = np.zeros(count) if self.goal is None else np.array(self.goal, float)
        members = Members(vectors, xp.zeros_like(estimate), estimate, flag, none)
        there = from_host(owners, r, np.int64), from_host(goal, r, np.float64)
        return _State(x0, members, *there, self.back, problem)

    def advance(self, state: _State, k: int) -> _State:
        from sciml.kernels.cuda.small import advance

        if not len(state.members.estimate):
            return state
        left = advance(
            self.device, self.systems, state.owners, state.goal, state.members, k,
            int(Status.INDEFINITE),
        )  # fmt: skip
        return state._replace(members=left)


def _shared(A: Operator) -> _Shared | None:
    """The solver in shared memory; None where A is not of its kind, too large, or not on a GPU."""
    found = massive(A)
    if found is None or not isinstance(found.diffusion, Diffusion | NodalDiffusion):
        return None
    k: Any = found.diffusion.k
    if A.domain.ndim != 2 or isinstance(k, np.ndarray):
        return None
    from sciml.kernels import cuda
    from sciml.kernels.cuda.small import fits

    arrays = (k,) if isinstance(found.mass, float) else (k, found.mass)
    device = cuda.device_of(*arrays)
    if device is None or not fits(device, A.domain.shape, A.domain.dtype):
        return None
    return _in_units(A, found, device)


def _in_units(A: Operator, found: Massive, device: Device) -> _Shared | None:
    from sciml.kernels.cuda import contiguous
    from sciml.kernels.cuda.small import Systems

    from .multigrid.form import Form

    diffusion: Any = found.diffusion
    unit, scale = Form(diffusion, diffusion.k, found.factor, None).units
    units = unit * scale
    if not 0 < units < math.inf:
        return None
    xp, members = namespace(diffusion.k), math.prod(A.batch_shape)

    def laid_out(values: Array) -> Array:
        shape = tuple(values.shape[values.ndim - 2 :])
        full = xp.broadcast_to(astype(values, A.domain.dtype), (*A.batch_shape, *shape))
        return contiguous(full).reshape((members, *shape))

    down, across = (laid_out(units * c) for c in diffusion.faces())
    mass = _masses(A, found)
    if mass is not None:
        mass = laid_out(units / found.factor * mass)
    rows, columns = diffusion.wraps
    systems = Systems(A.domain.shape, (rows, columns), down, across, mass)
    back = units / found.factor
    return _Shared(device=device, systems=systems, batch_shape=A.batch_shape, back=back)


def _masses(A: Operator, found: Massive) -> Array | None:
    """What A has on its diagonal beside the faces, (*batch, *shape): its mass, and pins in solid
    cells; None if that is nothing."""
    diffusion: Any = found.diffusion
    k, mass, shape = diffusion.k, found.mass, A.domain.shape
    xp, pinned = namespace(k), None
    if diffusion.pins.any():
        column = diffusion.pins.reshape(*diffusion.batch_shape, 1, 1)
        pins = from_host(found.factor * column, k, A.domain.dtype)
        pinned = xp.where(k == 0, pins, xp.zeros_like(pins))
    if isinstance(mass, float):
        if not mass:
            return pinned
        full = from_host(np.full(shape, mass), k, A.domain.dtype)
    else:
        values: Any = mass
        full = xp.broadcast_to(values, (*values.shape[: values.ndim - 2], *shape))
    return full if pinned is None else pinned + full
