"""Methods for data terms with convex priors."""

from .admm import ADMM
from .fista import FISTA
from .primal_dual import PrimalDual

__all__ = ["ADMM", "FISTA", "PrimalDual"]
