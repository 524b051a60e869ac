"""Geometric multigrid for diffusion operators on boxes."""

from .batched import MultigridCG
from .cycle import Cycle
from .lines import Lines
from .recipe import Multigrid

__all__ = ["Cycle", "Lines", "Multigrid", "MultigridCG"]
