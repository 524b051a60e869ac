"""Priors: what is known of x before it is measured."""

from .classical import L1, L1Wavelet, Tikhonov
from .variation import TotalVariation

__all__ = ["L1", "L1Wavelet", "Tikhonov", "TotalVariation"]
