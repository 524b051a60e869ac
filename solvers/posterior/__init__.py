"""Samplers of the posterior p(x | y) under priors with a denoiser; see `sciml.sample`."""

from .daps import DAPS, Covariance
from .diffpir import DiffPIR
from .langevin import AnnealedLangevin

__all__ = ["DAPS", "AnnealedLangevin", "Covariance", "DiffPIR"]
