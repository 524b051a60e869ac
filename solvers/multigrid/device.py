"""Geometric multigrid on a GPU: the levels of a batch of operators, and the cycle."""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sciml.arrays import Array, astype, dtype_of, from_host, is_torch, namespace, native_dtype
from sciml.kernels import cuda
from sciml.kernels.cuda import multigrid as kernels
from sciml.operator import Operator, Trait
from sciml.operators._massive import massive
from sciml.operators.diffusion import Diffusion, NodalDiffusion

from .cycle import Cycle, Lines, Smoother
from .form import LEAK, SOME, Form
from .smoothing import Chebyshev, RedBlack, Smoothing

if TYPE_CHECKING:
    from sciml.kernels.cuda import Device

    from .recipe import Multigrid

__all__ = ["DeviceHierarchy", "DeviceMultigrid", "device_form"]

# Eigenvalues of the coarsest level's scaled matrix below this count as zero.
_NULL = 1e-11


def device_form(A: Operator) -> tuple[Device, Form] | None:
    """The GPU that kernels run on for A, and A as a diffusion plus a mass; None if A is no such
    operator, or kernels cannot run on its arrays.

    Raises:
        TypeError: masses below 0, or for members that A's coefficient does not have.
    """
    found = massive(A)
    if found is None or not isinstance(found.diffusion, Diffusion | NodalDiffusion):
        return None
    factor, mass = found.factor, found.mass
    diffusion: Any = found.diffusion
    arrays = (diffusion.k,) if isinstance(mass, float) else (diffusion.k, mass)
    device = cuda.device_of(*arrays)
    if device is None:
        return None
    xp = namespace(diffusion.k)
    own: Any = mass
    if isinstance(mass, float):
        own = xp.full((1,) * diffusion.domain.ndim, mass, **_as(diffusion.k)) if mass else None
    if own is not None:
        if bool(xp.any(own < 0)):
            raise TypeError(f"Multigrid expected masses of at least 0, got {A!r}")
        lead = tuple(own.shape[: own.ndim - diffusion.domain.ndim])
        if np.broadcast_shapes(lead, diffusion.batch_shape) != diffusion.batch_shape:
            raise TypeError(
                f"Multigrid expected masses for members {diffusion.batch_shape} of its operator, "
                f"got {lead}: give each member a coefficient"
            )
    return device, Form(diffusion, diffusion.k, factor, own)


class _Level(NamedTuple):
    grid: kernels.Grid
    links: Array
    inv: Array
    weights: Array  # of interpolation from this level to the finer one
    centres: Array | None = None  # the same of centres, where a cycle asks for them


class DeviceHierarchy:
    """Galerkin's coarse operators of a batch of diffusion operators, on a GPU.

    Args:
        form: k and mass on the device, each member with a k of its own.
        dtype: of all that is stored. smoother: of the finest level.
    """

    def __init__(
        self, device: Device, form: Form, dtype: np.dtype,
        smoother: Smoother = Smoother.GAUSS_SEIDEL,
    ) -> None:  # fmt: skip
        diffusion, ndim = form.diffusion, form.ndim
        shape, rings = diffusion.domain.shape, tuple(map(bool, diffusion.wraps))
        self.dtype = np.dtype(dtype)
        self.members = math.prod(diffusion.batch_shape)
        run = kernels.Kernels(device, self.dtype, self.dtype)
        self.fine = kernels.finest(shape, rings, form.weights, self.dtype)
        unit, scale = form.units
        k = form.k
        xp = namespace(k)
        solid = k == 0
        held = self._held(form, solid, unit * scale)
        if held is not None:
            space = tuple(range(-ndim, 0))
            least = xp.amin(xp.where(solid, math.inf, k), **_over(k, space))
            k = xp.where(solid, LEAK * least, k)  # see Form.opened
        self.k = cuda.contiguous(astype(unit * k, self.dtype)).reshape(self.members, -1)
        mass = None
        if form.mass is not None:
            mass = self._full(form, unit * scale / form.factor * form.mass)
        self.inv = self._empty(self.fine.grid.points)
        run.inverses(self.members, self.fine, self.k, mass, self.inv, held)
        self.levels: list[_Level] = []
        own = Chebyshev if smoother is Smoother.CHEBYSHEV else RedBlack
        self.smoothing: Smoothing = own(self.fine, self.dtype)
        self._coarsen(run, mass, bool(form.jumps > SOME))

    def _held(self, form: Form, solid: Array, unit: float) -> Array | None:
        """1 / A in solid cells, in the units, and 0 elsewhere; None if none is solid."""
        diffusion = form.diffusion
        if not diffusion.pins.any() or not bool(namespace(solid).any(solid)):
            return None
        xp = namespace(form.k)
        pins = from_host(diffusion.pins.reshape(*diffusion.batch_shape, *(1,) * form.ndim), form.k)
        total = pins + (0.0 if form.mass is None else form.mass / form.factor)
        found = xp.where(solid, 1 / (unit * xp.where(solid, total, xp.ones_like(total))), 0.0)
        return self._full(form, found)

    def _full(self, form: Form, values: Array) -> Array:
        xp, space = namespace(values), form.diffusion.domain
        full = xp.broadcast_to(values, (*form.diffusion.batch_shape, *space.shape))
        return cuda.contiguous(astype(full, self.dtype)).reshape(self.members, -1)

    def _empty(self, *shape: int, zero: bool = False, dtype: Any = None) -> Array:
        xp = namespace(self.k)
        make = xp.zeros if zero else xp.empty
        return make((self.members, *shape), **_as(self.k, dtype))

    def _coarsen(self, run: kernels.Kernels, mass: Array | None, sweeps: bool) -> None:
        """All levels, down to a few unknowns that a dense inverse solves."""
        from .plans import COARSEST

        fine: Any = self.fine
        grid, own, members = self.fine.grid, self.k, self.members
        while grid.points > COARSEST:
            coarse = grid.coarse
            weights = self._empty(grid.weights, coarse.size, zero=True)
            centres = None if grid.flat else self._empty(7, coarse.size, zero=True)
            links = self._empty(grid.links, coarse.size, zero=True)
            run.weights(members, fine, own, weights, centres, sweeps and grid.flat and fine is grid)
            run.links(members, fine, own, weights, centres, links)
            if mass is not None:
                finer, mass = mass, self._empty(coarse.size, zero=True)
                run.masses(members, grid, weights, centres, finer, mass)
            inv = self._empty(coarse.size, zero=True)
            run.inverses(members, coarse, links, mass, inv)
            kept = centres if fine is self.fine and self.smoothing.everywhere else None
            self.levels.append(_Level(coarse, links, inv, weights, kept))
            fine = grid = coarse
            own = links
        last = self.levels[-1]
        n = last.grid.points
        matrix = self._empty(n, n, zero=True, dtype=np.float64)
        run.dense(members, last.grid, last.links, mass, matrix)
        self.inverse = astype(pseudo_inverse(matrix), self.dtype)

    @property
    def nbytes(self) -> int:
        arrays = [self.k, self.inv, self.inverse]
        arrays += [a for level in self.levels for a in level[1:] if a is not None]
        return sum(math.prod(a.shape) * dtype_of(a).itemsize for a in arrays)

    # -- a cycle ---------------------------------------------------------------------------------

    def apply(
        self, device: Device, steps: list[tuple[int, int]], r: Array, owners: Array, back: float
    ) -> Array:
        """back · cycle(r): r (members of the vector, points), owners (members of the vector,)."""
        from sciml.kernels.box import steps2d

        xp, members, stored = namespace(r), r.shape[0], dtype_of(r)
        run = kernels.Kernels(device, self.dtype, stored)
        scale = None
        if self.dtype == np.float32:
            scale = xp.empty((members,), **_as(r))
            run.scales(members, r.shape[1], r, scale)
        z = xp.empty((members, r.shape[1]), **_as(r, self.dtype))
        again = any(step == steps2d.RESIDUAL for step, _ in steps)
        f, u, kept = self._vectors(members, again)
        own = (owners, scale, self.k, self.inv, r, z)
        for step, level in steps:
            if level == 0:
                first = self.levels[0]
                if step == steps2d.DOWN:
                    self.smoothing.down(run, own, first.weights, first.centres, f[0])
                else:
                    out = xp.empty_like(r)
                    self.smoothing.up(run, own, first.weights, first.centres, u[0], out, back)
                    return out
                continue
            here, at = self.levels[level - 1], level - 1
            args = (owners, here.links, here.inv, f[at], u[at])
            if step == steps2d.DOWN:
                for phase in here.grid.phases:
                    run.relax(members, here.grid, phase, True, *args)
                weights = self.levels[level].weights
                run.restrict(members, here.grid, owners, here.links, u[at], weights, f[level])
            elif step == steps2d.UP:
                run.correct(members, here.grid, owners, self.levels[level].weights, u[level], u[at])
                for phase in reversed(here.grid.phases):
                    run.relax(members, here.grid, phase, False, *args)
            elif step == steps2d.SOLVE:
                run.solve(members, here.grid, owners, self.inverse, f[at], u[at])
            elif step == steps2d.RESIDUAL:
                run.revisit(members, here.grid, *args, kept[at])
            else:
                run.add(members * here.grid.size, kept[at], u[at])
        raise AssertionError("a cycle ends on the finest level")

    def _vectors(self, members: int, again: bool) -> list[list[Array]]:
        """f, u and kept of the coarse levels, 0 in their halos: made anew, so that threads and
        streams may share the levels."""
        sizes = [members * level.grid.size for level in self.levels]
        xp = namespace(self.k)
        flat = xp.zeros(((3 if again else 2) * sum(sizes),), **_as(self.k))
        found, at = [], 0
        for _ in range(3 if again else 2):
            found.append([])
            for size in sizes:
                found[-1].append(flat[at : at + size])
                at += size
        return found if again else [*found, []]


class DeviceMultigrid(Operator):
    """r -> one cycle from zero, close to A^-1 r, on the GPU where A's arrays are. Built by
    `Multigrid`.

    As `MultigridOperator` but that points alone are relaxed, which smooths little where cells are
    much longer than wide, that there is no AMG below the box, and that the finest level may be
    smoothed by Chebyshev's steps. Nothing waits for the GPU within an application.

    Raises:
        ValueError: lines, an algebraic level, or a grid of 2^31 points or more is asked for.
    """

    costly = True

    def __init__(self, A: Operator, recipe: Multigrid, device: Device, form: Form) -> None:
        from .operator import choose_cycle, choose_dtype
        from .plans import COARSEST, schedule

        _check(A, recipe)
        self.recipe, self.dtype = recipe, choose_dtype(form, recipe.dtype)
        self.cycle, twice = choose_cycle(form, recipe.cycle)
        traits = (Trait.LINEAR,) if self.cycle is Cycle.F else (Trait.POSITIVE,)
        super().__init__(A.range, A.domain, traits=traits, batch_shape=A.batch_shape)
        unit, scale = form.units
        self.back = unit * scale / form.factor
        self.like = form.k
        self.levels: DeviceHierarchy | None = None
        self.inverse: Array | None = None
        if A.domain.size <= COARSEST:
            self.inverse = pseudo_inverse(_matrix(A, form.k))
        else:
            self.levels = DeviceHierarchy(device, form, self.dtype, recipe.smoother)
            self.steps = schedule(len(self.levels.levels) + 1, self.cycle, twice)
        self._owners = cache(self._find_owners)  # graphs hold their addresses

    def update(self, A: Operator) -> Operator:
        """The preconditioner of another A.

        Raises:
            TypeError, ValueError: as `Multigrid`, or A acts on other spaces.
        """
        if (A.domain, A.batch_shape) != (self.domain, self.batch_shape):
            raise ValueError(f"expected an operator on {self.domain}, got {A!r}: build a new one")
        return self.recipe(A)

    @property
    def nbytes(self) -> int:
        if self.levels is not None:
            return self.levels.nbytes
        assert self.inverse is not None
        return 8 * math.prod(self.inverse.shape)

    def _find_owners(self, batch: tuple[int, ...]) -> Array:
        """Whose operator each member of a vector is of."""
        xp = namespace(self.like)
        count = math.prod(self.batch_shape)
        members = xp.arange(count, **_as(self.like, np.int64)).reshape(self.batch_shape)
        return cuda.contiguous(xp.broadcast_to(members, batch)).reshape(-1)

    def _adjoint(self, y: Array) -> Array:
        if self.cycle is Cycle.F:
            raise TypeError("the F-cycle is not symmetric and has no adjoint here: use V or W")
        return self._apply(y)

    def _apply(self, x: Array) -> Array:
        device = cuda.device_of(x, self.like)
        if device is None:
            raise TypeError(
                f"expected an array on the GPU of Multigrid's operator, and none that autograd "
                f"watches, got {type(x).__name__}: move it, or use torch.no_grad()"
            )
        xp, shape = namespace(x), self.domain.shape
        batch = np.broadcast_shapes(tuple(x.shape[: x.ndim - len(shape)]), self.batch_shape)
        full = cuda.contiguous(xp.broadcast_to(x, (*batch, *shape)))
        members = math.prod(batch)
        if not members:
            return xp.empty_like(full)
        owners, r = self._owners(batch), full.reshape(members, -1)
        if self.levels is None:
            assert self.inverse is not None
            z = xp.matmul(self.inverse[owners], astype(r, np.float64)[..., None])[..., 0]
            return astype(z, dtype_of(x)).reshape(full.shape)
        return self.levels.apply(device, self.steps, r, owners, self.back).reshape(full.shape)


def _check(A: Operator, recipe: Multigrid) -> None:
    if recipe.lines is not None and any(kind is not Lines.POINTS for kind in recipe.lines):
        raise ValueError(
            f"expected points on a GPU, got lines={recipe.lines}: leave them out, or move the "
            "system to host memory with A.to(...)"
        )
    if recipe.algebraic:
        raise ValueError(
            f"expected no algebraic level on a GPU, got {recipe.algebraic}: leave it out, or use "
            "AMG for all levels"
        )
    if A.domain.size > kernels.MOST_POINTS:
        raise ValueError(f"expected less than 2^31 unknowns of a member, got {A.domain.size}")


def _matrix(A: Operator, like: Array) -> Array:
    """(members, N, N) float64 of a small symmetric operator."""
    xp, n = namespace(like), A.domain.size
    unit = xp.eye(n, **_as(like, A.domain.dtype))
    columns = A(unit.reshape(n, *(1,) * len(A.batch_shape), *A.domain.shape))
    columns = astype(columns, np.float64).reshape(n, -1, n)
    return xp.permute_dims(columns, (1, 0, 2))


def pseudo_inverse(matrix: Array) -> Array:
    """Of (members, N, N) positive semidefinite matrices, float64."""
    xp = namespace(matrix)
    diagonal = xp.linalg.diagonal(matrix)
    root = xp.where(diagonal > 0, diagonal, xp.ones_like(diagonal)) ** -0.5
    values, vectors = xp.linalg.eigh(root[:, :, None] * matrix * root[:, None, :])
    keep = values > _NULL * values[:, -1:]
    inverse = xp.where(keep, 1 / xp.where(keep, values, xp.ones_like(values)), 0.0)
    scaled = root[:, :, None] * vectors
    return xp.matmul(scaled * inverse[:, None, :], xp.matrix_transpose(scaled))


def _as(like: Array, dtype: Any = None) -> dict[str, Any]:
    """Where and of what an array like that is made."""
    kind = like.dtype if dtype is None else native_dtype(namespace(like), np.dtype(dtype))
    return {"dtype": kind, "device": like.device}


def _over(like: Array, axes: tuple[int, ...]) -> dict[str, Any]:
    """These axes, kept, as the library calls them."""
    if is_torch(like):
        return {"dim": axes, "keepdim": True}
    return {"axis": axes, "keepdims": True}
