"""The kernels of a geometric multigrid on a GPU, one function each; see multigrid.cuh.

Arrays of a level are (members, ..., points of its grid with the halo), contiguous. `owners`, int64
(members of a vector,), says whose operator each member is of.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ...arrays import Array, namespace, native_dtype
from ._device import Device

__all__ = ["MOST_POINTS", "Grid", "Kernels", "chebyshev", "finest"]

# Points of one member that kernels can number.
MOST_POINTS = (1 << 31) - 1
_THREADS = 256
_PARTS = 1024  # blocks that look for the largest entry of a member
# Coarse points of a block that restricts.
_TILE_2D, _TILE_3D = (1, 8, 32), (4, 4, 16)
_SEAM, _EVEN, _ODD = 0, 1, 2
# Sources; that of the finest level alone knows vectors of another type.
_FINEST, _LEVELS = "multigrid_cycle_finest", "multigrid_cycle_levels"
_CHEBYSHEV = "multigrid_cycle_chebyshev"
_WEIGHTS, _LINKS = "multigrid_setup_weights", "multigrid_setup_links"


@dataclass(frozen=True)
class Grid:
    """One level.

    Attributes:
        shape: of its points, two or three. rings: which axes are periodic.
        halo: whether its arrays have one, as those of all levels but the finest do.
    """

    shape: tuple[int, ...]
    rings: tuple[bool, ...]
    halo: bool

    @property
    def flat(self) -> bool:
        return len(self.shape) == 2

    @property
    def links(self) -> int:
        return 4 if self.flat else 13

    @property
    def weights(self) -> int:
        """Of interpolation from this level, for a point."""
        return 5 if self.flat else 12

    @cached_property
    def n(self) -> tuple[int, int, int]:
        return (1, *self.shape) if self.flat else self.shape  # type: ignore[return-value]

    @cached_property
    def padded(self) -> tuple[int, int, int]:
        wide = 2 * self.halo
        own = tuple(n + wide for n in self.n)
        return (1, *own[1:]) if self.flat else own  # type: ignore[return-value]

    @property
    def size(self) -> int:
        """Entries of a member."""
        return math.prod(self.padded)

    @property
    def points(self) -> int:
        return math.prod(self.shape)

    @property
    def coarse(self) -> Grid:
        return Grid(tuple((n + 1) // 2 for n in self.shape), self.rings, True)

    @cached_property
    def three_rings(self) -> tuple[bool, bool, bool]:
        return (False, *self.rings) if self.flat else self.rings  # type: ignore[return-value]

    @cached_property
    def seams(self) -> tuple[bool, ...]:
        """Which of three axes are rings of odd length, whose ends are alike and neighbours."""
        pairs = zip(self.three_rings, self.n, strict=True)
        return tuple(bool(ring and n % 2 and n > 1) for ring, n in pairs)

    @cached_property
    def struct(self) -> np.ndarray:
        _, p1, p2 = self.padded
        steps = (p1 * p2, p2, 1)
        origin = self.halo * (p2 + 1 + (0 if self.flat else p1 * p2))
        return np.array((self.n, self.three_rings, self.flat, steps, self.size, origin), _grid())

    @cached_property
    def phases(self) -> tuple[np.ndarray, ...]:
        """Of a coarse level: a class along each axis, and how many points are of it."""
        axes = []
        for n, seam in zip(self.n, self.seams, strict=True):
            rest = n - seam
            counts = {_SEAM: int(seam), _EVEN: (rest + 1) // 2, _ODD: rest // 2}
            axes.append([(kind, count) for kind, count in counts.items() if count])
        combined = ((a, b, c) for a in axes[0] for b in axes[1] for c in axes[2])
        return tuple(np.array(tuple(zip(*each, strict=True)), _threes()) for each in combined)

    @cached_property
    def orders(self) -> tuple[int, ...]:
        """Of the finest level: when which points are relaxed, the last two being red and black."""
        odd = sum(4 >> axis for axis, seam in enumerate(self.seams) if seam)
        seams = [s for s in range(1, 8) if s & odd == s]
        return tuple(2 * s + colour for s in (*seams, 8) for colour in (0, 1))

    @cached_property
    def corrected(self) -> int:
        """Bits of the points 2 J + t that have a residual before the coarse correction, and that
        ask for it: all but those relaxed last before it and first after it."""
        if not self.halo and not any(self.seams):  # red ones
            return 0b1001 if self.flat else 0b1101001
        if not self.halo and self.flat:
            return 0b1111
        return 0b111 if self.flat else 0b1111111

    @property
    def everywhere(self) -> int:
        """The same bits of all points."""
        return 0b1111 if self.flat else 0b11111111

    @cached_property
    def tiles(self) -> np.ndarray:
        """Of a coarse grid: the points of a block that restricts to it, and blocks along axes."""
        most = _TILE_2D if self.flat else _TILE_3D
        shape = tuple(min(m, n) for m, n in zip(most, self.n, strict=True))
        return np.array(
            (shape, [-(-n // m) for n, m in zip(self.n, shape, strict=True)]), _threes()
        )


@dataclass(frozen=True)
class Finest:
    """The finest level: its grid, and what links are made of."""

    grid: Grid
    struct: np.ndarray


def finest(
    shape: tuple[int, ...], rings: tuple[bool, ...], weights: np.ndarray, real: np.dtype
) -> Finest:
    """weights: (axes, 3) as of `kernels.stencil.cells`, or (axes,) of nodes, with k around them."""
    grid, nodal = Grid(shape, rings, halo=False), weights.ndim == 1
    rows = np.zeros((3, 3))
    if nodal:
        rows[3 - len(shape) :, 0] = weights
    else:
        rows[3 - len(shape) :] = weights
    cells = math.prod(n + nodal for n in shape)
    found = (grid.struct[()], nodal, cells, rows)
    return Finest(grid, np.array(found, _finest(np.dtype(real))))


def chebyshev(ndim: int, real: np.dtype) -> np.ndarray:
    """`Chebyshev` of multigrid_cycle_chebyshev.cu, for two steps on eigenvalues of D^-1 A from 1/2
    (2-D) or 1/3 (3-D) to 2: those that a Laplacian's coarse level does not see, up to Gershgorin's
    bound for any links (Saad 2003, algorithm 12.1)."""
    low, high = 1 / ndim, 2.0
    middle, half = (high + low) / 2, (high - low) / 2
    before = half / middle
    now = 1 / (2 / before - before)
    found = 1 / middle, now * before, 2 * now / half
    return np.array(found, [(name, real) for name in ("first", "again", "next")])


@dataclass(frozen=True)
class Kernels:
    """Launches on a device.

    Args:
        real: of all that is stored. stored: of the vectors that a cycle takes and gives.
    """

    device: Device
    real: np.dtype
    stored: np.dtype

    def _run(self, name: str, kernel: str, jobs: int, *args: Any) -> None:
        stored = self.stored if name in (_FINEST, _CHEBYSHEV) else self.real
        threads = _threads(jobs)
        grid, given = (-(-jobs // threads), 1, 1), (*args, np.int64(jobs))
        self.device.launch(name, kernel, self.real, grid, (threads, 1, 1), given, 0, stored)

    # -- set-up: `fine` is a Finest with its k, or the Grid of a level with its links --------------

    def _set_up(self, name: str, kernel: str, fine: Finest | Grid, jobs: int, *args: Any) -> None:
        end = "level" if isinstance(fine, Grid) else "finest"
        self._run(name, f"{kernel}_{end}", jobs, fine.struct, *args)

    def weights(
        self, members: int, fine: Finest | Grid, own: Array, weights: Array, centres: Array | None,
        sweeps: bool,
    ) -> None:  # fmt: skip
        """Interpolation from the next coarser level, written: weights (members, 5 or 12, its size),
        and in three dimensions centres (members, 7, its size)."""
        grid = fine if isinstance(fine, Grid) else fine.grid
        coarse, first = grid.coarse, int(grid.flat)
        jobs = members * coarse.points
        args = (coarse.struct, own, weights)
        self._set_up(_WEIGHTS, "edges", fine, (3 - first) * jobs, *args, np.int32(first))
        if sweeps:
            # columns from rows and rows from columns, from what the direct links alone give
            for axis, direct in ((2, True), (1, False), (2, False), (1, False), (2, False)):
                which = np.int32(axis), np.int32(direct)
                self._run(_WEIGHTS, "sweep", jobs, grid.struct, *args, *which)
        passes = ((0, 1),) if grid.flat else ((0, 3), (3, 4))
        for begin, end in passes:
            which = np.int32(begin), np.int32(end)
            self._set_up(_WEIGHTS, "faces", fine, (end - begin) * jobs, *args, centres, *which)

    def links(
        self, members: int, fine: Finest | Grid, own: Array, weights: Array, centres: Array | None,
        links: Array,
    ) -> None:  # fmt: skip
        """Galerkin's links of the next coarser level, (members, 4 or 13, its size), written."""
        coarse = (fine if isinstance(fine, Grid) else fine.grid).coarse
        within = (
            n if ring or (axis == 0 and coarse.flat) else n + 2
            for axis, (n, ring) in enumerate(zip(coarse.n, coarse.three_rings, strict=True))
        )
        jobs = members * coarse.links * math.prod(within)
        self._set_up(_LINKS, "links", fine, jobs, coarse.struct, own, weights, centres, links)

    def masses(
        self, members: int, fine: Grid, weights: Array, centres: Array | None, mass: Array,
        out: Array,
    ) -> None:  # fmt: skip
        """Mass of the next coarser level."""
        coarse = fine.coarse
        args = (fine.struct, coarse.struct, weights, centres, mass, out)
        self._run(_LINKS, "masses", members * coarse.points, *args)

    def inverses(
        self, members: int, fine: Finest | Grid, own: Array, mass: Array | None, inv: Array,
        solids: Array | None = None,
    ) -> None:  # fmt: skip
        """1 / the diagonal; solids (members, points): 1 / A in solid cells, else 0."""
        grid = fine if isinstance(fine, Grid) else fine.grid
        rest = (inv,) if isinstance(fine, Grid) else (solids, inv)
        self._set_up(_LINKS, "inverses", fine, members * grid.points, own, mass, *rest)

    def dense(
        self, members: int, grid: Grid, links: Array, mass: Array | None, matrix: Array
    ) -> None:
        """The matrices of a level, (members, points, points) float64, written where not 0."""
        args = (grid.struct, links, mass, matrix)
        self._run(_LINKS, "dense", members * grid.points, *args)

    # -- a cycle ---------------------------------------------------------------------------------

    def scales(self, members: int, n: int, r: Array, scale: Array) -> None:
        """Powers of two that bring members of r, (members, n), near 1."""
        count = max(1, min(_PARTS, -(-n // _THREADS)))
        xp, like = namespace(r), r
        double = native_dtype(xp, np.dtype(np.float64))
        parts = xp.empty((members * count,), dtype=double, device=like.device)
        block, room = (_THREADS, 1, 1), 8 * _THREADS
        for name, blocks, args in (
            ("sizes", members * count, (np.int64(n), np.int32(count), r, parts)),
            ("scales", members, (np.int32(count), parts, scale)),
        ):
            grid = (blocks, 1, 1)
            self.device.launch(_FINEST, name, self.real, grid, block, args, room, self.stored)

    def enter(self, members: int, fine: Finest, *args: Any) -> None:
        """(owners, scale, k, inv, r, z): red and black from zero."""
        self._run(_FINEST, "enter", self._pairs(members, fine), fine.struct, *args)

    def relax_finest(self, members: int, fine: Finest, order: int, first: bool, *args: Any) -> None:
        """(owners, scale, k, inv, r, z): one of `Grid.orders`."""
        which, jobs = (np.int32(order), np.int32(first)), self._pairs(members, fine)
        self._run(_FINEST, "relax_finest", jobs, fine.struct, *args, *which)

    def leave(self, members: int, fine: Finest, back: float, relax: bool, *args: Any) -> None:
        """(owners, scale, k, inv, r, z, out): the answer in the caller's units."""
        which = self.stored.type(back), np.int32(relax)
        self._run(_FINEST, "leave", self._pairs(members, fine), fine.struct, *args, *which)

    def _pairs(self, members: int, fine: Finest) -> int:
        n0, n1, n2 = fine.grid.n
        return members * n0 * n1 * ((n2 + 1) // 2)

    def relax(
        self, members: int, grid: Grid, phase: np.ndarray, first: bool, owners: Array, links: Array,
        inv: Array, f: Array, u: Array,
    ) -> None:  # fmt: skip
        """One of `Grid.phases`."""
        jobs = members * math.prod(phase["second"].tolist())
        args = (grid.struct, owners, links, inv, f, u, phase, np.int32(first))
        self._run(_LEVELS, "relax_2d" if grid.flat else "relax_3d", jobs, *args)

    def restrict(
        self, members: int, fine: Finest | Grid, owners: Array, own: Array, u: Array,
        weights: Array, out: Array,
    ) -> None:  # fmt: skip
        """P^T of what is left of the residual."""
        grid, kernel = (fine, "2d" if fine.flat else "3d") if isinstance(fine, Grid) else (
            fine.grid, "finest"
        )  # fmt: skip
        args = (owners, own, u, weights, out, np.int32(grid.corrected))
        self._tiles(_LEVELS, f"restrict_{kernel}", members, fine, grid, args)

    def _tiles(
        self, name: str, kernel: str, members: int, fine: Finest | Grid, grid: Grid,
        args: tuple[Any, ...],
    ) -> None:  # fmt: skip
        coarse = grid.coarse
        shape, blocks = coarse.tiles["first"].tolist(), coarse.tiles["second"].tolist()
        room = math.prod(
            1 if axis == 0 and grid.flat else 2 * n + 1 for axis, n in enumerate(shape)
        )
        threads = _threads(math.prod(shape))
        given = (fine.struct, coarse.struct, coarse.tiles, *args)
        stored = self.stored if name == _CHEBYSHEV else self.real
        self.device.launch(
            name, kernel, self.real, (members * math.prod(blocks), 1, 1), (threads, 1, 1), given,
            room * self.real.itemsize, stored,
        )  # fmt: skip

    def correct(
        self, members: int, fine: Grid, owners: Array, weights: Array, e: Array, u: Array,
        which: int | None = None, centres: Array | None = None,
    ) -> None:  # fmt: skip
        """u += P e at the points of `which`, those of `Grid.corrected` without."""
        bits = np.int32(fine.corrected if which is None else which)
        args = (fine.struct, fine.coarse.struct, owners, weights, centres, e, u, bits)
        self._run(_LEVELS, "correct", members * fine.coarse.points, *args)

    def revisit(
        self, members: int, grid: Grid, owners: Array, links: Array, inv: Array, f: Array, u: Array,
        kept: Array,
    ) -> None:  # fmt: skip
        """kept = u and f -= A u, before u is found anew."""
        args = (grid.struct, owners, links, inv, f, u, kept)
        kernel = "revisit_2d" if grid.flat else "revisit_3d"
        self._run(_LEVELS, kernel, members * grid.points, *args)

    def add(self, entries: int, kept: Array, u: Array) -> None:
        """u += kept."""
        self._run(_LEVELS, "add", entries, kept, u)

    # -- Chebyshev's steps on the finest level; own: (owners, scale, k, inv, r, z) ----------------

    def _smooth(self, kernel: str, members: int, fine: Finest, *args: Any) -> None:
        jobs = members * fine.grid.points
        self._run(_CHEBYSHEV, kernel, jobs, fine.struct, *args)

    def enter_smooth(self, members: int, fine: Finest, steps: np.ndarray, *own: Any) -> None:
        """z = two steps from zero."""
        self._smooth("enter_smooth", members, fine, steps, *own)

    def restrict_smooth(
        self, members: int, fine: Finest, own: tuple[Any, ...], weights: Array,
        centres: Array | None, out: Array,
    ) -> None:  # fmt: skip
        """P^T of the residual of z."""
        grid = fine.grid
        args = (*own, weights, centres, out, np.int32(grid.everywhere))
        self._tiles(_CHEBYSHEV, "restrict_smooth", members, fine, grid, args)

    def smooth(self, members: int, fine: Finest, steps: np.ndarray, *args: Any) -> None:
        """(*own, y): y = one step from z."""
        self._smooth("smooth", members, fine, steps, *args)

    def leave_smooth(
        self, members: int, fine: Finest, steps: np.ndarray, back: float, *args: Any
    ) -> None:
        """(*own, y, out): the second step from y, in the caller's units."""
        self._smooth("leave_smooth", members, fine, steps, *args, self.stored.type(back))

    def solve(
        self, members: int, grid: Grid, owners: Array, inverse: Array, f: Array, u: Array
    ) -> None:
        """u = inverse f."""
        args = (grid.struct, owners, inverse, f, u)
        self._run(_LEVELS, "solve", members * grid.points, *args)


def _threads(jobs: int) -> int:
    """Of a block: whole warps."""
    return max(32, min(_THREADS, 1 << (jobs - 1).bit_length()))


@functools.cache
def _grid() -> np.dtype:
    """`Grid` of multigrid.cuh."""
    threes = [("n", "i4", (3,)), ("ring", "i4", (3,)), ("flat", "i4"), ("step", "i8", (3,))]
    return np.dtype([*threes, ("size", "i8"), ("origin", "i8")], align=True)


@functools.cache
def _finest(real: np.dtype) -> np.dtype:
    """`Finest` of multigrid.cuh."""
    rest = [("nodal", "i4"), ("cells", "i8"), ("weights", real, (3, 3))]
    return np.dtype([("grid", _grid()), *rest], align=True)


@functools.cache
def _threes() -> np.dtype:
    """`Phase` and `Tiles` of multigrid_cycle_levels.cu."""
    return np.dtype([("first", "i4", (3,)), ("second", "i4", (3,))], align=True)
