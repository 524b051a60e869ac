"""Learned solvers for linear systems on boxes. Importing this loads no torch."""

from .multigrid import LearnedMultigrid

__all__ = ["LearnedMultigrid"]
