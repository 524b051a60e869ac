"""Data sets: generated in the published style, and read safely from the published files."""

from ._condiff_files import read_condiff
from ._condiff_run import generate_condiff, generate_condiff_file
from ._fields import CirculantEmbedding, Covariance, gaussian_field
from ._floor import KBlindError, k_blind_error
from ._stencil import Order, condiff_matrix
from .condiff import (
    CONFIGS,
    ConDiffConfig,
    ConDiffData,
    Rhs,
    Source,
    Split,
    draw_condiff,
)

__all__ = [
    "CONFIGS",
    "CirculantEmbedding",
    "ConDiffConfig",
    "ConDiffData",
    "Covariance",
    "KBlindError",
    "Order",
    "Rhs",
    "Source",
    "Split",
    "condiff_matrix",
    "draw_condiff",
    "gaussian_field",
    "generate_condiff",
    "generate_condiff_file",
    "k_blind_error",
    "read_condiff",
]
