"""Krylov methods, one screen each."""

from .bicgstab import BiCGStab
from .cg import CG, FlexibleCG
from .chebyshev import Chebyshev
from .gmres import FGMRES, GMRES
from .least_squares import LSMR, LSQR
from .minres import MINRES

__all__ = ["CG", "FGMRES", "GMRES", "LSMR", "LSQR", "MINRES", "BiCGStab", "Chebyshev", "FlexibleCG"]
