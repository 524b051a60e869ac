"""Operators, one module a family. Import from the modules' public names re-exported here."""

from ..algebra import Identity, block, hstack, vstack
from .channel import Pilots, PlaneWaves
from .compression import CoilCompression
from .dense import Dense, Diagonal
from .diffusion import Diffusion, NodalDiffusion, Order, Side
from .fourier import FFT
from .gradient import Gradient
from .gridding import GriddedNUFFT
from .mri import SENSE, Coils, Sampling
from .noncartesian import NonCartesianSENSE
from .nufft import NUFFT
from .off_resonance import OffResonance
from .sparse import Sparse
from .toeplitz import Toeplitz
from .wavelet import Wavelet

__all__ = [
    "FFT",
    "NUFFT",
    "SENSE",
    "CoilCompression",
    "Coils",
    "Dense",
    "Diagonal",
    "Diffusion",
    "Gradient",
    "GriddedNUFFT",
    "Identity",
    "NodalDiffusion",
    "NonCartesianSENSE",
    "OffResonance",
    "Order",
    "Pilots",
    "PlaneWaves",
    "Sampling",
    "Side",
    "Sparse",
    "Toeplitz",
    "Wavelet",
    "block",
    "hstack",
    "vstack",
]
