"""Operators, one module a family. Import from the modules' public names re-exported here."""

from ..algebra import Identity, block, hstack, vstack
from .dense import Dense, Diagonal
from .diffusion import Diffusion, NodalDiffusion, Order, Side
from .fourier import FFT
from .sparse import Sparse

__all__ = [
    "FFT",
    "Dense",
    "Diagonal",
    "Diffusion",
    "Identity",
    "NodalDiffusion",
    "Order",
    "Side",
    "Sparse",
    "block",
    "hstack",
    "vstack",
]
