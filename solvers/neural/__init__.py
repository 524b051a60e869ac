"""Learned solvers for linear systems on boxes. Importing this loads no torch."""

from .directions import NeuralDirections
from .learned import learned

__all__ = ["NeuralDirections", "learned"]
