"""Methods for data terms with priors that have a proximal operator."""

from .admm import ADMM
from .convergence import Convergence, Watch
from .fista import FISTA
from .pnp import PlugAndPlayADMM
from .primal_dual import PrimalDual

__all__ = ["ADMM", "FISTA", "Convergence", "PlugAndPlayADMM", "PrimalDual", "Watch"]
