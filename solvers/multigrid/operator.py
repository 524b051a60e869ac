"""The multigrid cycle as an operator."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sciml._memory import empty
from sciml.arrays import Array, host_view, like_host
from sciml.operator import Operator, Trait

from .algebraic import Algebraic, slow
from .cycle import Cycle
from .form import MANY, SOME, Form, read
from .hierarchy import Hierarchy

if TYPE_CHECKING:
    from .recipe import Multigrid

__all__ = ["MultigridOperator", "choose_cycle", "choose_dtype", "side_by_side"]

# Members of a batch that are computed side by side, and the largest grid for which that pays.
_LANES = 16
_SIDE_BY_SIDE = 1 << 16
# Where k jumps, the coarse grids cannot hold what the fine one does. From this share of jumps on
# all of them are visited twice, below it those from the second on.
_OFTEN = 0.03
# Largest spread of the links that a float32 cycle is trusted with.
_SINGLE = 1e16
# The coarse level that AMG takes over in 2-D and 3-D, and the factor by which a few steps of CG on
# that level must lower the energy for the box to keep it: where an algebraic set-up
# begins to pay, measured on balls, two phases, thresholds of correlated noise, layers, blocks of
# two to eight cells, checkerboards and log-normal fields, of 256^2, and of 64^3 and 128^3.
_TAKEN: Mapping[int, int] = MappingProxyType({2: 2, 3: 1})
_ENOUGH: Mapping[int, float] = MappingProxyType({2: 1e-7, 3: 2.5e-7})
# r is scaled before a float32 cycle where its largest entry lies outside these.
_SMALL, _LARGE = 1e-12, 1e12


def choose_dtype(form: Form, asked: np.dtype | None) -> np.dtype:
    """That of a cycle: `asked`, or float32 unless the links spread too far for it.

    Where k jumps in three dimensions float64 takes fewer iterations, which are as cheap.
    """
    single = asked == np.float32
    if asked is None:
        single = form.spread <= _SINGLE and (form.ndim == 2 or form.jumps <= SOME)
    return np.dtype(np.float32 if single else np.float64)


def choose_cycle(form: Form, asked: Cycle | None) -> tuple[Cycle, int]:
    """The cycle, and the first level that a W- or F-cycle visits twice: `asked` and 1, or what the
    jumps in k ask for.

    Where they are very many the lines on all coarse levels pay more; in three dimensions they ask
    for no second visit.
    """
    if asked is not None:
        return asked, 1
    if form.ndim == 3 or not SOME < form.jumps <= MANY:
        return Cycle.V, 1
    return Cycle.W, 1 if form.jumps > _OFTEN else 2


class _Block(NamedTuple):
    """Members that are computed side by side."""

    members: np.ndarray  # their numbers; the last one is repeated to fill the lanes
    count: int
    levels: Hierarchy
    steps: list[Any]


class MultigridOperator(Operator):
    """r -> one cycle from zero, close to A^-1 r. Built by `Multigrid`.

    Runs in host memory, on NumPy arrays or torch tensors. Threads may share it.
    """

    compiled = True

    def __init__(
        self, A: Operator, recipe: Multigrid, old: MultigridOperator | None = None
    ) -> None:
        closed = read(A)
        form, self.solids = closed.opened(), closed.solids()
        self.solid = None if self.solids is None else self.solids > 0
        self.recipe, self.dtype = recipe, choose_dtype(form, recipe.dtype)
        self.cycle, self.twice = choose_cycle(form, recipe.cycle)
        traits = (Trait.LINEAR,) if self.cycle is Cycle.F else (Trait.POSITIVE,)
        super().__init__(A.range, A.domain, traits=traits, batch_shape=A.batch_shape)
        unit, scale = form.units
        self.back = unit * scale / form.factor
        side_by_side = (
            bool(A.batch_shape) and A.domain.size <= _SIDE_BY_SIDE and not recipe.algebraic
        )
        self.lanes = _LANES if side_by_side else 1
        spare = iter(old._release()) if old is not None else iter(())
        self.blocks: tuple[_Block, ...] | None = tuple(
            self._build(form, spare, A.null_vector is not None)
        )

    def _build(self, form: Form, spare: Iterator[Hierarchy], singular: bool) -> Iterator[_Block]:
        unit, scale = form.units
        A, ndim, B = form.diffusion, form.ndim, self.lanes
        chosen = self.recipe.algebraic is None and self.recipe.cycle is None
        doubtful = chosen and B == 1 and form.jumps > SOME
        taken = _TAKEN[ndim]
        lines = form.lines() if self.recipe.lines is None else self.recipe.lines
        cells = form.k.shape[form.k.ndim - ndim :]
        k = form.k.reshape(-1, *cells)
        mass = form.masses()
        if mass is not None:
            mass = (unit * scale) * mass.reshape(-1, *A.domain.shape)
        for start in range(0, len(k), B):
            members = np.minimum(np.arange(start, start + B), len(k) - 1)
            own = None if mass is None else side_by_side(mass[members])
            fill = form.fill(side_by_side(k[members]), B)
            levels = Hierarchy(
                A.domain.shape, A.wraps, self.dtype, fill, form.passes, mass=own, lanes=B,
                lines=lines, old=next(spare, None),
            )  # fmt: skip
            steps = levels.steps(self.cycle, self.twice)
            last = self.recipe.algebraic
            if doubtful and len(levels.plans) > taken + 1:
                trial = levels.steps(self.cycle, self.twice, first=taken)
                last = taken if slow(levels, taken, trial, singular, _ENOUGH[ndim]) else None
            if last and last < len(levels.plans) - 1:
                with contextlib.suppress(np.linalg.LinAlgError):  # rounding; the box then serves
                    levels.below = Algebraic(levels, last, self.recipe.dtype)
                    cycle = Cycle.V if self.recipe.cycle is None else self.cycle
                    steps = levels.steps(cycle, self.twice, last=last)
            yield _Block(members, min(B, len(k) - start), levels, steps)

    def update(self, A: Operator) -> MultigridOperator:
        """The preconditioner of another A, in the memory of this one, which is used up.

        Raises:
            TypeError, ValueError: as `Multigrid`, or A acts on other spaces.
        """
        if (A.domain, A.batch_shape) != (self.domain, self.batch_shape):
            raise ValueError(f"expected an operator on {self.domain}, got {A!r}: build a new one")
        return MultigridOperator(A, self.recipe, self)

    def _release(self) -> list[Hierarchy]:
        blocks = self._held()
        object.__setattr__(self, "blocks", None)
        for block in blocks:
            block.levels.below = None  # its memory serves nobody
        return [block.levels for block in blocks]

    def _held(self) -> tuple[_Block, ...]:
        if self.blocks is None:
            raise ValueError("expected a multigrid that was not updated: use what update returned")
        return self.blocks

    @property
    def nbytes(self) -> int:
        own = 0 if self.solids is None else self.solids.nbytes + self.solids.size
        return own + sum(block.levels.nbytes for block in self.blocks or ())

    def _adjoint(self, y: Array) -> Array:
        if self.cycle is Cycle.F:
            raise TypeError("the F-cycle is not symmetric and has no adjoint here: use V or W")
        return self._apply(y)

    def _apply(self, x: Array) -> Array:
        view = host_view(x)
        if view is None:
            raise TypeError(
                f"expected an array in host memory for Multigrid, got {type(x).__name__}: use "
                "Jacobi, or move the system with A.to(...)"
            )
        blocks = self._held()
        batch = np.broadcast_shapes(view.shape[: view.ndim - self.domain.ndim], self.batch_shape)
        full = np.ascontiguousarray(np.broadcast_to(view, (*batch, *self.domain.shape)))
        if self.solid is not None:
            full = np.where(self.solid, 0, full)
        out = empty(full.shape, full.dtype)
        r, z = (a.reshape(-1, *self.domain.shape) for a in (full, out))
        for where in self._visits(batch):
            for block in blocks:
                places = where[block.members]
                if self.lanes == 1:
                    self._cycle(block, r[places[0]], z[places[0]])
                    continue
                wide = np.empty((*self.domain.shape, self.lanes), view.dtype)
                self._cycle(block, side_by_side(r[places]), wide.reshape(*wide.shape[:-2], -1))
                z[places[: block.count]] = np.moveaxis(wide, -1, 0)[: block.count]
        if self.solids is not None and self.solid is not None:
            out = np.where(self.solid, (self.solids * view).astype(view.dtype), out)
        return like_host(out, x)

    def _visits(self, batch: tuple[int, ...]) -> np.ndarray:
        """Each row: for every member of A, where in the raveled batch a right-hand side is."""
        members = np.arange(np.prod(self.batch_shape, dtype=int)).reshape(self.batch_shape)
        own = np.broadcast_to(members, batch).reshape(-1)
        return np.argsort(own, kind="stable").reshape(members.size, -1).T

    def _cycle(self, block: _Block, r: np.ndarray, z: np.ndarray) -> None:
        scale = 1.0 if self.dtype == np.float64 else _into_range(r)
        block.levels.apply(block.steps, r, z, scale, self.back / scale)


def side_by_side(members: np.ndarray) -> np.ndarray:
    """(B, ..., columns) as (..., columns B)."""
    moved = np.ascontiguousarray(np.moveaxis(members, 0, -1))
    return moved.reshape(*moved.shape[:-2], -1)


def _into_range(r: np.ndarray) -> float:
    """A power of two that brings r into the range of float32: 1 unless it is needed."""
    sample = np.abs(r[:: max(1, len(r) // 16)]).max(initial=0)
    if _SMALL < sample < _LARGE:
        return 1.0
    most = float(np.abs(r).max(initial=0))
    if _SMALL < most < _LARGE or most == 0 or not np.isfinite(most):
        return 1.0
    return 2.0 ** -np.frexp(most)[1]
