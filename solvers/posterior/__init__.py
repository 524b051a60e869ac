"""Samplers of the posterior p(x | y) under priors with a denoiser; see `sciml.sample`."""

from .daps import DAPS, Covariance
from .diffpir import DiffPIR
from .dps import DPS
from .langevin import AnnealedLangevin
from .reverse import TruncatedReverse

__all__ = ["DAPS", "DPS", "AnnealedLangevin", "Covariance", "DiffPIR", "TruncatedReverse"]
