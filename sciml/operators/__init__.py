"""Operators, one module a family. Import from the modules' public names re-exported here."""

from ..algebra import Identity, block, hstack, vstack
from .blur import Blur, Boundary, Downsample, gaussian_kernel
from .channel import Pilots, PlaneWaves
from .circulant import RandomCirculant, Spectrum
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
from .radon import Filter, Radon, filtered_back_projection
from .sparse import Sparse
from .toeplitz import Toeplitz
from .wavelet import Wavelet

__all__ = [
    "FFT",
    "NUFFT",
    "SENSE",
    "Blur",
    "Boundary",
    "CoilCompression",
    "Coils",
    "Dense",
    "Diagonal",
    "Diffusion",
    "Downsample",
    "Filter",
    "Gradient",
    "GriddedNUFFT",
    "Identity",
    "NodalDiffusion",
    "NonCartesianSENSE",
    "OffResonance",
    "Order",
    "Pilots",
    "PlaneWaves",
    "Radon",
    "RandomCirculant",
    "Sampling",
    "Side",
    "Sparse",
    "Spectrum",
    "Toeplitz",
    "Wavelet",
    "block",
    "filtered_back_projection",
    "gaussian_kernel",
    "hstack",
    "vstack",
]
