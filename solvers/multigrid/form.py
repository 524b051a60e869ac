"""What multigrid needs to know of a diffusion operator: its links, its mass, its units."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from sciml.arrays import from_host, host_view, to_numpy
from sciml.kernels._threads import launch
from sciml.operator import Operator
from sciml.operators._massive import massive
from sciml.operators.diffusion import Diffusion, NodalDiffusion, Side

from .boxes import BOXES
from .cycle import Lines

__all__ = ["LEAK", "MANY", "SOME", "Form", "read"]

# Neighbours whose k differ by more than this factor count as a jump.
_JUMP = 50.0
_SAMPLED_ROWS = 64
# From this ratio of the cells' sides on, points smooth too little along the longer one.
_STRETCHED = 2.5
# From the first share of jumps on, levels from `_DEEP` on relax lines, from the second on all but
# the finest do: measured on two phases, random blocks of two to eight cells, and white noise.
SOME, MANY = 0.001, 0.15
_DEEP = 2
# k of solid cells within the cycle, as a share of the least k of the fluid: from 1e-1 on walls one
# cell thick leak, from 1e-3 down it makes no difference.
LEAK = 1e-3


@dataclass(frozen=True, eq=False)
class Form:
    """A = factor · diffusion + diag(mass), with k and mass in host memory."""

    diffusion: Diffusion | NodalDiffusion
    k: np.ndarray  # (*batch, *cells)
    factor: float
    mass: np.ndarray | None  # broadcasts to (*batch, *shape)

    @property
    def ndim(self) -> int:
        return self.diffusion.domain.ndim

    @property
    def units(self) -> tuple[float, float]:
        """Powers of two: of k, and of the weights 1/h², that bring both near 1."""
        low, high = self.diffusion.extremes
        weight = max(1 / h**2 for h in self.diffusion.spacing)
        middle = (math.log2(low) + math.log2(high)) / 2
        return 2.0 ** -_exponent(middle), 2.0 ** -_exponent(math.log2(weight))

    @property
    def spread(self) -> float:
        """How far apart the links may lie."""
        low, high = self.diffusion.extremes
        h = self.diffusion.spacing
        return high / low * (max(h) / min(h)) ** 2

    def lines(self) -> tuple[Lines, ...]:
        """What the levels relax: lines along the axis whose cells are much shorter, else points.

        Where k jumps, lines both ways on the deeper levels: there each cell is a piece of its own,
        and points leave pairs of strongly coupled ones unsmoothed.
        """
        if self.ndim == 3:
            return ()
        if self.stretched:
            rows, columns = self.diffusion.spacing
            return (Lines.ROWS if rows > columns else Lines.COLUMNS,)
        if self.jumps <= SOME:
            return ()
        return (*[Lines.POINTS] * (1 if self.jumps > MANY else _DEEP), Lines.BOTH)

    @property
    def passes(self) -> tuple[int, ...]:
        """What finds the interpolation weights of coarse levels: numbers for their kernel."""
        return BOXES[self.ndim].passes[self.jumps > SOME]

    @property
    def stretched(self) -> bool:
        """Whether cells are much longer than wide."""
        spacing = self.diffusion.spacing
        return max(spacing) >= _STRETCHED * min(spacing)

    @cached_property
    def jumps(self) -> float:
        """The share of neighbours between which k jumps, along the axis where that is most often.

        In a sample of rows that are drawn at random: evenly spaced ones may all lie on one face.
        """
        cells = self.k.shape[-self.ndim :]
        rows = self.k.reshape(-1, cells[-1])

        def taken(which: np.ndarray) -> np.ndarray:
            return to_numpy(rows[from_host(which, rows, np.int64)])

        chosen = np.arange(len(rows))
        if len(rows) > _SAMPLED_ROWS:
            drawn = np.random.default_rng(0).choice(len(rows), _SAMPLED_ROWS, replace=False)
            chosen = np.sort(drawn)
        here = taken(chosen)
        shares = [_share_of_jumps(here[:, 1:], here[:, :-1])]
        for axis, n in enumerate(cells[:-1]):
            step = math.prod(cells[axis + 1 : -1])  # rows from one to the next along the axis
            inside = chosen // step % n < n - 1
            shares.append(_share_of_jumps(taken(chosen[inside] + step), here[inside]))
        return max(shares)

    @property
    def weights(self) -> np.ndarray:
        """What the finest level's kernels take, in the units: (ndim,) nodal, else (ndim, 3)."""
        _, scale = self.units
        diffusion = self.diffusion
        if isinstance(diffusion, NodalDiffusion):
            return np.array([scale * 2.0 ** (1 - self.ndim) / h**2 for h in diffusion.spacing])
        return np.array(
            [
                [2 * scale / h**2 * (side is not Side.NEUMANN) for side in (Side.PERIODIC, *pair)]
                for h, pair in zip(diffusion.spacing, diffusion.boundary, strict=True)
            ]
        )

    def fill(self, k: np.ndarray, lanes: int) -> Callable[..., None]:
        """A function that writes the links of k, (..., columns lanes), in the units."""
        unit, _ = self.units
        diffusion, weights = self.diffusion, self.weights
        box = BOXES[self.ndim]
        nodal = isinstance(diffusion, NodalDiffusion)
        serial, parallel = box.links_of_nodes if nodal else box.links_of_cells
        k = np.ascontiguousarray(k)

        def write(links: np.ndarray) -> None:
            rows = k.shape[0] - nodal
            args = (k, links, weights.astype(links.dtype), unit, diffusion.wraps, lanes)
            launch(serial, parallel, k.size, args, rows=rows)

        return write

    def opened(self) -> Form:
        """The same with a little k in solid cells in place of their pins.

        A coarse point within a solid cell has no links. Fluid points beside it, between two such
        points, would be interpolated from nothing, and the coarse levels could not hold a constant:
        iterations would grow with the wetted surface. Restricted to the fluid, the cycle of the
        opened box is a preconditioner of the closed one (a fictitious domain; Marchuk, Kuznetsov
        and Matsokin, Sov. J. Numer. Anal. Math. Modelling 1, 1986), and little k leaks little
        through thin walls.
        """
        solid = self.k == 0
        if not solid.any():
            return self
        space = tuple(range(-self.ndim, 0))
        least = np.where(solid, np.inf, self.k).min(axis=space, keepdims=True)
        return replace(self, k=np.where(solid, (LEAK * least).astype(self.k.dtype), self.k))

    def solids(self) -> np.ndarray | None:
        """1 / A in solid cells, which stand alone, and 0 in the others; None without any."""
        solid, held = self.k == 0, self.masses()
        if not solid.any() or held is None:
            return None
        return np.where(solid, 1 / np.where(solid, self.factor * held, 1), 0)

    def masses(self) -> np.ndarray | None:
        """The mass over factor, (*batch, *shape), with the pins of solid cells; None if all 0."""
        found: Any = None if self.mass is None else self.mass / self.factor
        if self.diffusion.pins.any() and (self.k == 0).any():
            pins = self.diffusion.pins.reshape(*self.diffusion.batch_shape, *(1,) * self.ndim)
            held = np.where(self.k == 0, pins, 0.0)
            found = held if found is None else found + held
        if found is None:
            return None
        return np.broadcast_to(found, (*self.diffusion.batch_shape, *self.diffusion.domain.shape))


def _share_of_jumps(a: np.ndarray, b: np.ndarray) -> float:
    """Of pairs without solid cells."""
    solid = (a == 0) | (b == 0)
    jump = (a > _JUMP * b) | (b > _JUMP * a)
    return float((jump & ~solid).mean()) if jump.size else 0.0


def _exponent(log2: float) -> int:
    return max(-1000, min(1000, round(log2)))


def read(A: Operator) -> Form:
    """A as a positive multiple of a diffusion operator plus a mass.

    Raises:
        TypeError: it is not, or its arrays are not in host memory.
    """
    found = massive(A)
    if found is None:
        raise _refusal(A)
    diffusion, factor, mass = found
    assert isinstance(diffusion, Diffusion | NodalDiffusion)
    k = host_view(diffusion.k)
    if isinstance(mass, float):
        own = np.full((1,) * diffusion.domain.ndim, mass) if mass else None
    else:
        own = host_view(mass)
        if own is None:
            raise _refusal(A)
    if k is None or (own is not None and (own < 0).any()):
        raise _refusal(A)
    if own is not None:
        lead = own.shape[: own.ndim - diffusion.domain.ndim]
        if np.broadcast_shapes(lead, diffusion.batch_shape) != diffusion.batch_shape:
            raise TypeError(
                f"Multigrid expected masses for members {diffusion.batch_shape} of its operator, "
                f"got {lead}: give each member a coefficient"
            )
    return Form(diffusion, k, factor, own)


def _refusal(A: Operator) -> TypeError:
    return TypeError(
        f"Multigrid expected a Diffusion or NodalDiffusion in host memory, or a positive multiple "
        f"of one plus a mass (a * A + b * Identity(space)), got {A!r}: use AMG for a sparse matrix"
    )
