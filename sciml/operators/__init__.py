"""Operators, one module a family. Import from the modules' public names re-exported here."""

from ..algebra import Identity, block, hstack, vstack
from .dense import Dense, Diagonal
from .diffusion import Diffusion, NodalDiffusion, Order, Side
from .fourier import FFT
from .gradient import Gradient
from .mri import SENSE, Coils, Sampling
from .sparse import Sparse
from .wavelet import Wavelet

__all__ = [
    "FFT",
    "SENSE",
    "Coils",
    "Dense",
    "Diagonal",
    "Diffusion",
    "Gradient",
    "Identity",
    "NodalDiffusion",
    "Order",
    "Sampling",
    "Side",
    "Sparse",
    "Wavelet",
    "block",
    "hstack",
    "vstack",
]
