"""Estimation of MIMO channels from pilots."""

from .covariance import Structure, sample_covariance
from .estimate import ChannelEstimate
from .linear import least_squares, lmmse
from .score import score
from .sparse import lasso, omp

__all__ = [
    "ChannelEstimate",
    "Structure",
    "lasso",
    "least_squares",
    "lmmse",
    "omp",
    "sample_covariance",
    "score",
]
