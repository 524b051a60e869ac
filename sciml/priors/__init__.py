"""Priors: what is known of x before it is measured."""

from .classical import L1, L1Wavelet, Tikhonov
from .gaussian import GaussianPrior
from .mixture import MixturePrior
from .proximal import LearnedProximal
from .score import ScorePrior
from .variation import TotalVariation

__all__ = [
    "L1",
    "GaussianPrior",
    "L1Wavelet",
    "LearnedProximal",
    "MixturePrior",
    "ScorePrior",
    "Tikhonov",
    "TotalVariation",
]
