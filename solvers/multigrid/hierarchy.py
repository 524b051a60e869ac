"""Levels of a geometric multigrid on a box, their storage, and a cycle through them.

All levels lie in a few flat arrays, so that the small ones can be run by one compiled call; what
changes during a cycle is a `Workspace`, of which each thread has its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from sciml.kernels._threads import launch, parallel_section, threads
from sciml.kernels.box import blocks2d, factor2d, lines2d, steps2d

from .boxes import BOXES
from .coarsest import assemble, close_rings, dense_inverse
from .cycle import Cycle, Lines
from .lines import Factors
from .plans import Step, plans, schedule

__all__ = ["Below", "Hierarchy", "Workspace"]


class Below(Protocol):
    """What solves a level in the place of all coarser ones."""

    nbytes: int

    def __call__(self, f: np.ndarray, z: np.ndarray) -> None:
        """z is written; both are natural arrays of the level."""
        ...


class Workspace:
    """Arrays that a cycle writes: one for each thread that runs one."""

    def __init__(self, hierarchy: Hierarchy) -> None:
        split, natural = hierarchy.ends.at_split, hierarchy.ends.at_natural
        self.u = np.zeros(split, hierarchy.dtype)
        self.f, self.z, self.kept = (np.zeros(natural, hierarchy.dtype) for _ in range(3))
        self.lines = np.zeros(hierarchy.factors.scratch, hierarchy.dtype)

    @property
    def nbytes(self) -> int:
        return sum(a.nbytes for a in (self.u, self.f, self.z, self.kept, self.lines))


class Hierarchy:
    """Galerkin coarse operators of a diffusion operator for `lanes` members side by side.

    Args:
        shape: of the finest grid. rings: which axes are periodic.
        dtype: of everything stored.
        fill: writes the finest links, an array of `Plan.halo`'s shape, but not the halos of rings.
        passes: over the interpolation weights of the coarse levels, see `Form.passes`.
        mass: what multiplies u itself, (*shape, lanes), or None.
        lines: what the levels relax, from the finest on; the last entry is that of all coarser
            ones. Empty: points.
        old: a hierarchy of the same shape whose memory this one takes over.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        rings: tuple[bool, ...],
        dtype: Any,
        fill: Callable[[np.ndarray], None],
        passes: Sequence[int],
        *,
        mass: np.ndarray | None = None,
        lanes: int = 1,
        lines: Sequence[Lines] = (),
        old: Hierarchy | None = None,
    ) -> None:
        self.rings, self.dtype, self.lanes = rings, np.dtype(dtype), lanes
        self.passes = passes
        self.plans, self.ends = plans(shape, rings, lanes)
        self.box = BOXES[len(shape)]
        self.massive = mass is not None
        self._allocate(old)
        finest = self.view_links(0)
        fill(finest)
        close_rings(finest, self.plans[0], rings, lanes)
        if mass is not None:
            planes = self.view_mass(0).reshape(-1, *self.plans[0].split[-3:])
            for plane, part in zip(planes, mass.reshape(-1, *mass.shape[-2:]), strict=False):
                blocks2d.split(plane, part, lanes)  # a plane that closes a ring has no mass
        self.factors = Factors(self.plans, lines, rings, lanes, dtype)
        for level in range(len(self.plans) - 1):
            self._coarsen(level)
            if self.factors.lines[level]:
                own = (self.view_links(level), self.view_mass(level), self.view_inv(level))
                factor2d.factor(*own, *self.factors[level], self.rings, self.lanes)
        self.inverse = dense_inverse(self._coarsest(), lanes).astype(self.dtype)
        self.below: Below | None = None
        rows = zip(self.plans, self.factors.table, strict=True)
        self.table = np.array([(*plan.row, *factors) for plan, factors in rows])
        self._spare: list[Workspace] = []

    def _allocate(self, old: Hierarchy | None) -> None:
        if old is not None and (old.plans, old.dtype, old.massive) == (
            self.plans, self.dtype, self.massive,
        ):  # fmt: skip
            self.links, self.inv, self.weights = old.links, old.inv, old.weights
            self.mass = old.mass
            return
        self.links = np.zeros(self.ends.at_links, self.dtype)
        self.inv = np.zeros(self.ends.at_split, self.dtype)
        self.weights = np.zeros(self.ends.at_weights, self.dtype)
        self.mass = np.zeros(self.ends.at_split if self.massive else 0, self.dtype)

    # -- views of a level ------------------------------------------------------------------------

    def view_links(self, level: int) -> np.ndarray:
        p = self.plans[level]
        return _view(self.links, p.at_links, p.halo)

    def view_inv(self, level: int) -> np.ndarray:
        p = self.plans[level]
        return _view(self.inv, p.at_split, p.split)

    def view_mass(self, level: int) -> np.ndarray:
        p = self.plans[level]
        if not self.massive:
            return self.mass.reshape(0, *p.split[1:])
        return _view(self.mass, p.at_split, p.split)

    def view_weights(self, level: int) -> np.ndarray:
        p = self.plans[level]
        return _view(self.weights, p.at_weights, p.weights)

    # -- set-up ----------------------------------------------------------------------------------

    def _coarsen(self, level: int) -> None:
        plan, coarse = self.plans[level], self.plans[level + 1]
        weights, links = self.view_weights(level), self.view_links(level + 1)
        arguments = (
            self.view_links(level), self.view_mass(level), self.view_inv(level), weights, links,
            self.view_mass(level + 1), self.rings, plan.padded[-1], self.lanes,
        )  # fmt: skip
        work, rows = math.prod(plan.split), coarse.shape[0]
        for which in self.passes if level else ():
            edges = (which, arguments[0], weights, self.rings, plan.padded[-1], self.lanes)
            launch(*self.box.edges, work, edges, rows=rows)
        launch(self.box.coarsen, self.box.coarsen_parallel, work, arguments, rows=rows)
        if self.rings[0]:
            weights[1:, 0] = weights[1:, -1]
        close_rings(links, coarse, self.rings, self.lanes)

    def _coarsest(self) -> np.ndarray:
        """(lanes, N, N) matrices of the coarsest level."""
        last = len(self.plans) - 1
        mass = self.view_mass(last) if self.massive else None
        return assemble(self.view_links(last), mass, self.plans[last].shape, self.rings, self.lanes)

    # -- a cycle ---------------------------------------------------------------------------------

    def steps(
        self, cycle: Cycle, twice: int = 1, *, first: int = 0, last: int | None = None
    ) -> list[Step]:
        """The schedule of a cycle: steps, and runs of small ones in one.

        Args:
            first: the level where it begins; 0: below the finest, whose own steps are left out.
            last: the level that `below` solves, in the place of the coarser ones; None: all serve.
        """
        levels = len(self.plans) if last is None else last + 1
        found: list[Step] = []
        run: list[tuple[int, int]] = []
        whole = schedule(levels, cycle, twice, first)
        for step, level in whole if first else whole[1:-1]:
            alone = threads(math.prod(self.plans[level].split)) > 1 or level == last
            if not alone:
                run.append((step, level))
                continue
            if run:
                found.append(np.array(run))
                run = []
            found.append((step, level))
        if run:
            found.append(np.array(run))
        return found

    def apply(
        self,
        steps: list[Step],
        r: np.ndarray,
        z: np.ndarray,
        scale: float,
        back: float,
    ) -> None:
        """z = back · cycle(scale · r), both natural arrays of the finest level."""
        if len(self.plans) == 1:
            flat = (scale * r.reshape(-1)).astype(self.dtype)
            found = np.empty_like(flat)
            steps2d.solve_dense(self.inverse, flat, found, self.lanes)
            z[...] = (back * found.astype(z.dtype)).reshape(z.shape)
            return
        work = self._workspace()
        number = r.dtype.type  # that of r: the factors may be out of the cycle's range
        self._smooth(steps2d.DOWN, 0, r, z, work, number(scale), number(back))
        self._run(steps, work)
        self._smooth(steps2d.UP, 0, r, z, work, number(scale), number(back))
        self._spare.append(work)

    def apply_below(self, steps: list[Step], level: int, r: np.ndarray) -> np.ndarray:
        """The cycle of a coarse level and those below it, float64, on a residual of that level."""
        work = self._workspace()
        self._natural(work.f, level)[...] = r
        self._run(steps, work)
        z = self._natural(work.z, level).astype(np.float64)
        self._spare.append(work)
        return z

    def _workspace(self) -> Workspace:
        return self._spare.pop() if self._spare else Workspace(self)

    def _run(self, steps: list[Step], work: Workspace) -> None:
        for step in steps:
            if isinstance(step, np.ndarray):
                self.box.run(
                    step, self.table, self.links, self.inv, self.mass, self.weights,
                    work.u, work.f, work.z, work.kept, self.factors.flat, work.lines, self.inverse,
                    self.rings, self.lanes,
                )  # fmt: skip
            else:
                self._step(*step, work)

    def _step(self, step: int, level: int, work: Workspace) -> None:
        f, z = self._natural(work.f, level), self._natural(work.z, level)
        if step in (steps2d.DOWN, steps2d.UP):
            one = self.dtype.type(1)
            self._smooth(step, level, f, z, work, one, one)
        elif step == steps2d.RESIDUAL:
            self._residual(level, f, z, self._natural(work.kept, level))
        elif step == steps2d.SOLVE:
            assert self.below is not None
            self.below(f, z)
        else:
            z += self._natural(work.kept, level)

    def _residual(self, level: int, f: np.ndarray, z: np.ndarray, kept: np.ndarray) -> None:
        links, mass = self.view_links(level), self.view_mass(level)
        arguments = (f, z, kept, links, mass, self.rings, self.lanes)
        box, work = self.box, math.prod(self.plans[level].split)
        launch(box.residual, box.residual_parallel, work, arguments, rows=f.shape[0])

    def product(self, level: int, x: np.ndarray) -> np.ndarray:
        """A x of a level, float64, for a natural x."""
        f, z = np.zeros(x.shape, self.dtype), x.astype(self.dtype)
        self._residual(level, f, z, np.empty_like(z))
        return -f.astype(np.float64)

    def linked(self, level: int) -> np.ndarray:
        """Which points of a level have links or mass, a natural array of bool."""
        plan = self.plans[level]
        split = self.view_inv(level).reshape(*plan.split[:-1], -1, self.lanes)[..., 1:-1, :] > 0
        joined = np.moveaxis(split, -3, -2).reshape(*plan.split[:-2], -1, self.lanes)
        inside = joined[tuple(map(slice, plan.shape))]
        return inside.reshape(*plan.shape[:-1], -1)

    def _smooth(
        self,
        step: int,
        level: int,
        r: np.ndarray,
        z: np.ndarray,
        work: Workspace,
        scale: Any,
        back: Any,
    ) -> None:
        plan, lanes, lines = self.plans[level], self.lanes, bool(self.factors.lines[level])
        u = _view(work.u, plan.at_split, plan.split)
        links, weights = self.view_links(level), self.view_weights(level)
        size, rows = math.prod(plan.split), plan.coarse[0]
        kernels = lines2d if lines else self.box
        if step == steps2d.DOWN:
            serial, parallel = kernels.down, kernels.down_parallel
            ends, last = (self._natural(work.f, level + 1),), (self.rings, lanes, scale)
        else:
            serial, parallel = kernels.up, kernels.up_parallel
            ends = (self._natural(work.z, level + 1), z)
            last = (self.rings, lanes, scale, back)
        if not lines:
            rest = (r, u, links, self.view_inv(level), weights, *ends, *last)
            launch(serial, parallel, size, rest, rows=rows)
            return
        spare = _view(work.lines, 0, plan.split)
        rest = (r, u, links, *self.factors[level], weights, *ends, spare, *last)
        chunks = min(threads(size), rows)
        if chunks == 1:
            serial(*rest)
        else:
            with parallel_section():
                parallel(chunks, *rest)

    def _natural(self, flat: np.ndarray, level: int) -> np.ndarray:
        p = self.plans[level]
        return _view(flat, p.at_natural, (*p.shape[:-1], p.shape[-1] * self.lanes))

    @property
    def nbytes(self) -> int:
        """Bytes held, with one workspace."""
        own = self.links.nbytes + self.inv.nbytes + self.weights.nbytes + self.mass.nbytes
        own += self.factors.flat.nbytes
        natural, split = self.ends.at_natural, self.ends.at_split
        return (
            own
            + self.inverse.nbytes
            + (0 if self.below is None else self.below.nbytes)
            + self.dtype.itemsize * (split + 3 * natural + self.factors.scratch)
        )


def _view(flat: np.ndarray, at: int, shape: tuple[int, ...]) -> np.ndarray:
    return flat[at : at + math.prod(shape)].reshape(shape)
