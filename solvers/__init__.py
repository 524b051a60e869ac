"""Methods that solve what `sciml` poses, and certify the answer."""

from . import _compat as _compat  # first: refuses a `sciml` of another release
from .auto import Auto, Choice
from .direct import Direct
from .krylov import CG, FGMRES, GMRES, LSMR, LSQR, MINRES, BiCGStab, Chebyshev, FlexibleCG
from .multigrid import Bodies, Cycle, Lines, Multigrid, MultigridCG, Smoother
from .neural import LearnedMultigrid, NeuralDirections, learned
from .on_host import OnHost
from .poisson import FastPoisson
from .posterior import DAPS, DPS, AnnealedLangevin, Covariance, DiffPIR, TruncatedReverse
from .precond import (
    AMG,
    IC0,
    ILU0,
    ILUT,
    SSOR,
    Cholesky,
    Coarsening,
    Deflation,
    Jacobi,
    Recipe,
    SuperLU,
    from_pyamg,
)
from .proximal import ADMM, FISTA, PlugAndPlayADMM, PrimalDual
from .small import SmallCG

__all__ = [
    "ADMM",
    "AMG",
    "CG",
    "DAPS",
    "DPS",
    "FGMRES",
    "FISTA",
    "GMRES",
    "IC0",
    "ILU0",
    "ILUT",
    "LSMR",
    "LSQR",
    "MINRES",
    "SSOR",
    "AnnealedLangevin",
    "Auto",
    "BiCGStab",
    "Bodies",
    "Chebyshev",
    "Choice",
    "Cholesky",
    "Coarsening",
    "Covariance",
    "Cycle",
    "Deflation",
    "DiffPIR",
    "Direct",
    "FastPoisson",
    "FlexibleCG",
    "Jacobi",
    "LearnedMultigrid",
    "Lines",
    "Multigrid",
    "MultigridCG",
    "NeuralDirections",
    "OnHost",
    "PlugAndPlayADMM",
    "PrimalDual",
    "Recipe",
    "SmallCG",
    "Smoother",
    "SuperLU",
    "TruncatedReverse",
    "from_pyamg",
    "learned",
]
