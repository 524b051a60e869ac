"""How the finest level of a multigrid on a GPU is left for the coarse ones, and come back to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from sciml.arrays import Array, namespace
from sciml.kernels.cuda import multigrid as kernels

__all__ = ["Chebyshev", "RedBlack", "Smoothing"]


@dataclass(frozen=True)
class Smoothing(ABC):
    """One half of a cycle on the finest level each; the second mirrors the first.

    `own` is (owners, scale, k, inv, r, z), as the kernels take it.
    """

    fine: kernels.Finest
    real: np.dtype
    everywhere: ClassVar[bool]  # whether all points are restricted and corrected, centres too

    @abstractmethod
    def down(
        self, run: kernels.Kernels, own: tuple[Any, ...], weights: Array, centres: Array | None,
        f: Array,
    ) -> None:  # fmt: skip
        """z from zero, and f of the first coarse level."""

    @abstractmethod
    def up(
        self, run: kernels.Kernels, own: tuple[Any, ...], weights: Array, centres: Array | None,
        e: Array, out: Array, back: float,
    ) -> None:  # fmt: skip
        """z corrected by e of the first coarse level and smoothed, to `out`."""


class RedBlack(Smoothing):
    """Gauss-Seidel on red points, then on black ones; see multigrid_cycle_finest.cu."""

    everywhere = False

    def down(
        self, run: kernels.Kernels, own: tuple[Any, ...], weights: Array, centres: Array | None,
        f: Array,
    ) -> None:  # fmt: skip
        owners, _, k, _, _, z = own
        members, grid = owners.shape[0], self.fine.grid
        if any(grid.seams):
            for order in grid.orders:
                run.relax_finest(members, self.fine, order, True, *own)
        else:
            run.enter(members, self.fine, *own)
        run.restrict(members, self.fine, owners, k, z, weights, f)

    def up(
        self, run: kernels.Kernels, own: tuple[Any, ...], weights: Array, centres: Array | None,
        e: Array, out: Array, back: float,
    ) -> None:  # fmt: skip
        members, grid = own[0].shape[0], self.fine.grid
        run.correct(members, grid, own[0], weights, e, own[-1])
        seams = any(grid.seams)
        for order in reversed(grid.orders if seams else grid.orders[1:]):
            run.relax_finest(members, self.fine, order, False, *own)
        run.leave(members, self.fine, back, not seams, *own, out)


class Chebyshev(Smoothing):
    """Two steps of Chebyshev's iteration with 1 / diagonal; see multigrid_cycle_chebyshev.cu."""

    everywhere = True

    @cached_property
    def _steps(self) -> np.ndarray:
        return kernels.chebyshev(len(self.fine.grid.shape), self.real)

    def down(
        self, run: kernels.Kernels, own: tuple[Any, ...], weights: Array, centres: Array | None,
        f: Array,
    ) -> None:  # fmt: skip
        members = own[0].shape[0]
        run.enter_smooth(members, self.fine, self._steps, *own)
        run.restrict_smooth(members, self.fine, own, weights, centres, f)

    def up(
        self, run: kernels.Kernels, own: tuple[Any, ...], weights: Array, centres: Array | None,
        e: Array, out: Array, back: float,
    ) -> None:  # fmt: skip
        members, grid, z = own[0].shape[0], self.fine.grid, own[-1]
        run.correct(members, grid, own[0], weights, e, z, grid.everywhere, centres)
        y = namespace(z).empty_like(z)
        run.smooth(members, self.fine, self._steps, *own, y)
        run.leave_smooth(members, self.fine, self._steps, back, *own, y, out)
