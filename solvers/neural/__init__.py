"""Learned solvers for linear systems on boxes. Importing this loads no torch."""

from .directions import NeuralDirections
from .learned import learned
from .multigrid import LearnedMultigrid
from .prediction import NetworkPrediction

__all__ = ["LearnedMultigrid", "NetworkPrediction", "NeuralDirections", "learned"]
