"""Geometric multigrid for diffusion operators on boxes."""

from .batched import MultigridCG
from .bodies import Bodies
from .cycle import Cycle, Lines, Smoother
from .recipe import Multigrid

__all__ = ["Bodies", "Cycle", "Lines", "Multigrid", "MultigridCG", "Smoother"]
