"""Physics-informed models: how well conditioned their training is, and preconditioners for it.

Importing this loads no torch.
"""

from .conditioning import Conditioning, Spectrum, conditioning, error_bound, spectrum
from .descent import GradientDescent
from .fourier import FourierModel, advection, helmholtz, poisson
from .jacobian import Quadrature, ResidualJacobian, residual_jacobian
from .preconditioners import (
    Factor,
    LowRank,
    Sketch,
    TriangularInverse,
    Weighting,
    analytic,
    best_weight,
    gram,
    nystrom,
    sketch,
)

__all__ = [
    "Conditioning",
    "Factor",
    "FourierModel",
    "GradientDescent",
    "LowRank",
    "Quadrature",
    "ResidualJacobian",
    "Sketch",
    "Spectrum",
    "TriangularInverse",
    "Weighting",
    "advection",
    "analytic",
    "best_weight",
    "conditioning",
    "error_bound",
    "gram",
    "helmholtz",
    "nystrom",
    "poisson",
    "residual_jacobian",
    "sketch",
    "spectrum",
]
