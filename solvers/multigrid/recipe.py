"""Geometric multigrid for diffusion on a box, as a preconditioner."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sciml._checks import integer, need, told
from sciml.operator import Operator

from ..precond import Recipe
from .cycle import Cycle, Lines, Smoother

if TYPE_CHECKING:
    from .device import DeviceMultigrid
    from .operator import MultigridOperator

__all__ = ["Multigrid"]


@dataclass(frozen=True)
class Multigrid(Recipe):
    """One cycle of black-box multigrid (Dendy, J. Comput. Phys. 48, 1982), matrix-free.

    For `Diffusion` and `NodalDiffusion` with any sides, solid cells and sizes, and for their
    positive multiples plus a mass (`a * A + Diagonal(m)`, `a * A + b * Identity(space)`), which
    implicit time stepping needs. Interpolation follows the coefficient, coarse operators are
    Galerkin's, smoothing is four-colour Gauss-Seidel, or zebra line relaxation where cells are much
    longer than wide, once before and once after: symmetric and positive, so that CG takes it.

    The coarse levels cannot hold every k: thin bodies of high k in three dimensions, layers askew
    to the grid and media of grains of a few cells in two. Where k jumps a few steps on a coarse
    level tell, and `AMG` takes the place of the first (3-D) or second (2-D) one if they are slow.

    Args:
        cycle: V, W or F, on the levels of the box; None chooses: V, W where k jumps between
            neighbours in 2-D (from the second coarse level on where that is rare), or V with AMG
            below the finest level in 3-D. The F-cycle is not symmetric: use it with FlexibleCG or
            FGMRES.
        dtype: of the cycle, float32 or float64; None is float32 unless k spreads too far for it, or
            jumps in 3-D. The answer is certified in float64 whatever the cycle's precision.
        lines: what the levels relax, from the finest on, in 2-D; the last entry is that of all
            coarser ones. None chooses: points, lines where cells are long or where k jumps.
        algebraic: the coarse level (1 or deeper) in whose place, and that of all below it, `AMG`
            is; 0 is nowhere. None chooses.
        smoother: of the finest level. CHEBYSHEV is for arrays on a GPU: fewer steps of CG for a
            little more traffic a cycle, and one more vector.

    Raises:
        TypeError, ValueError: an argument of a wrong type, or out of range.
    """

    cycle: Cycle | None = None
    dtype: Any = None
    lines: tuple[Lines, ...] | None = None
    algebraic: int | None = None
    smoother: Smoother = Smoother.GAUSS_SEIDEL

    def __post_init__(self) -> None:
        if self.cycle is not None:
            need(self.cycle, Cycle, "a Cycle, such as Cycle.V")
        if self.dtype is not None:
            if np.dtype(self.dtype) not in (np.float32, np.float64):
                raise TypeError(f"expected dtype float32, float64 or None, got {told(self.dtype)}")
            object.__setattr__(self, "dtype", np.dtype(self.dtype))
        if self.lines is not None:
            if not isinstance(self.lines, tuple) or not self.lines:
                raise TypeError(
                    f"expected lines as a tuple such as (Lines.POINTS, Lines.BOTH), got "
                    f"{told(self.lines)}"
                )
            for kind in self.lines:
                need(kind, Lines, "a Lines, such as Lines.BOTH")
        if self.algebraic is not None:
            integer(self.algebraic, "algebraic", 0)
        need(self.smoother, Smoother, "a Smoother, such as Smoother.CHEBYSHEV")

    def __call__(self, A: Operator) -> MultigridOperator | DeviceMultigrid:
        from .device import DeviceMultigrid, device_form
        from .operator import MultigridOperator

        need(A, Operator, "an Operator to precondition")
        if self.lines is not None and A.domain.ndim != 2:
            raise ValueError(f"expected lines for 2-D alone, got {A!r}: leave them out")
        there = device_form(A)
        if there is not None:
            return DeviceMultigrid(A, self, *there)
        if self.smoother is not Smoother.GAUSS_SEIDEL:
            raise ValueError(
                f"expected Smoother.GAUSS_SEIDEL, got {self.smoother} for arrays that are not on a "
                "GPU: leave it out, or move the system there with A.to(...)"
            )
        return MultigridOperator(A, self)
