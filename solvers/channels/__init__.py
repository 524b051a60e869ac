"""Estimation of channels: of MIMO ones from pilots, of subcarriers from others."""

from .covariance import Structure, sample_covariance
from .estimate import ChannelEstimate
from .linear import least_squares, lmmse
from .score import score
from .sparse import lasso, omp
from .subcarriers import (
    Interpolation,
    aligning_phases,
    delay_limited,
    interpolate,
    lmmse_subcarriers,
    score_subcarriers,
    uniform_delays,
)

__all__ = [
    "ChannelEstimate",
    "Interpolation",
    "Structure",
    "aligning_phases",
    "delay_limited",
    "interpolate",
    "lasso",
    "least_squares",
    "lmmse",
    "lmmse_subcarriers",
    "omp",
    "sample_covariance",
    "score",
    "score_subcarriers",
    "uniform_delays",
]
