"""Geometric multigrid for diffusion operators on boxes."""

from .batched import MultigridCG
from .hierarchy import Cycle
from .recipe import Multigrid

__all__ = ["Cycle", "Multigrid", "MultigridCG"]
