"""Methods that solve what `sciml` poses, and certify the answer."""

from . import _compat as _compat  # first: refuses a `sciml` of another release
from .auto import Auto, Choice
from .direct import Direct
from .krylov import CG, FGMRES, GMRES, LSMR, LSQR, MINRES, BiCGStab, Chebyshev, FlexibleCG
from .precond import AMG, IC0, ILU0, ILUT, SSOR, Cholesky, Jacobi, Recipe, SuperLU

__all__ = [
    "AMG",
    "CG",
    "FGMRES",
    "GMRES",
    "IC0",
    "ILU0",
    "ILUT",
    "LSMR",
    "LSQR",
    "MINRES",
    "SSOR",
    "Auto",
    "BiCGStab",
    "Chebyshev",
    "Choice",
    "Cholesky",
    "Direct",
    "FlexibleCG",
    "Jacobi",
    "Recipe",
    "SuperLU",
]
