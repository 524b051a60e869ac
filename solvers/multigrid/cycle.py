"""Kinds of cycles, of smoothers, and of what their levels relax."""

from __future__ import annotations

import enum

__all__ = ["Cycle", "Lines", "Smoother"]


class Cycle(enum.Enum):
    """How often the next coarser level is visited."""

    V = "V"  # once
    W = "W"  # twice
    F = "F"  # by an F-cycle, then by a V-cycle: not symmetric, for flexible methods


class Lines(enum.IntFlag):
    """What a level relaxes."""

    POINTS = 0
    ROWS = 1  # points (i, ·): strong coupling along the last axis
    COLUMNS = 2  # points (·, j): strong coupling along the first axis
    BOTH = 3


class Smoother(enum.Enum):
    """What smooths the finest level."""

    GAUSS_SEIDEL = "Gauss-Seidel"  # in colours, each of points that are not linked
    CHEBYSHEV = "Chebyshev"  # two steps with 1 / diagonal; on a GPU
