"""Kinds of cycles."""

from __future__ import annotations

import enum

__all__ = ["Cycle"]


class Cycle(enum.Enum):
    """How often the next coarser level is visited."""

    V = "V"  # once
    W = "W"  # twice
    F = "F"  # by an F-cycle, then by a V-cycle: not symmetric, for flexible methods
