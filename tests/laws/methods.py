"""Every solver of linear systems, registered once: each inherits all the laws."""

from __future__ import annotations

from dataclasses import dataclass

import torch

import solvers
from sciml import Solver
from sciml.networks import SingleLevel
from sciml.testing import Kind
from tests.laws.cases import COMPLEX, HOST, NUMPY, REAL, STRICT, TORCH


@dataclass(frozen=True)
class Method:
    """A solver as registered for the laws."""

    solver: Solver
    kind: Kind = Kind.POSITIVE
    batched: bool = True
    libraries: tuple[str, ...] = (NUMPY, TORCH, STRICT)


def _untrained(**how: int) -> SingleLevel:
    """A small network on vectors that was never trained: whatever it says, laws hold."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return SingleLevel(1, width=4, **how)


METHODS: dict[str, Method] = {
    "CG": Method(solvers.CG()),
    "CG Jacobi": Method(solvers.CG(M=solvers.Jacobi())),
    "CG Jacobi, as a graph": Method(solvers.CG(M=solvers.Jacobi(), graph=True)),
    "SmallCG": Method(solvers.SmallCG()),
    "OnHost": Method(solvers.OnHost(solvers.CG(M=solvers.Jacobi()))),
    "CG SSOR": Method(solvers.CG(M=solvers.SSOR(1.2)), batched=False, libraries=HOST),
    "CG IC0": Method(solvers.CG(M=solvers.IC0()), batched=False, libraries=HOST),
    "CG deflated": Method(solvers.CG(M=solvers.Deflation(blocks=3)), batched=False, libraries=HOST),
    "CG AMG": Method(
        solvers.CG(M=solvers.AMG(solvers.Coarsening.SMOOTHED_AGGREGATION)),
        batched=False,
        libraries=HOST,
    ),
    "FlexibleCG": Method(solvers.FlexibleCG(truncate=30)),
    "FlexibleCG Jacobi": Method(solvers.FlexibleCG(M=solvers.Jacobi())),
    "Chebyshev": Method(solvers.Chebyshev()),
    "Chebyshev Jacobi": Method(solvers.Chebyshev(M=solvers.Jacobi())),
    "MINRES": Method(solvers.MINRES(), Kind.HERMITIAN),
    "MINRES Jacobi": Method(solvers.MINRES(M=solvers.Jacobi())),
    "GMRES": Method(solvers.GMRES(), Kind.GENERAL),
    "GMRES restarted": Method(solvers.GMRES(restart=12), Kind.GENERAL),
    "GMRES ILU0": Method(
        solvers.GMRES(M=solvers.ILU0()), Kind.GENERAL, batched=False, libraries=HOST
    ),
    "FGMRES": Method(solvers.FGMRES(M=solvers.Jacobi()), Kind.GENERAL),
    "BiCGStab": Method(solvers.BiCGStab(), Kind.GENERAL),
    "BiCGStab ILUT": Method(
        solvers.BiCGStab(M=solvers.ILUT()), Kind.GENERAL, batched=False, libraries=HOST
    ),
    "LSQR": Method(solvers.LSQR(), Kind.GENERAL),
    "LSMR": Method(solvers.LSMR(), Kind.GENERAL),
    "LSMR ILU0": Method(
        solvers.LSMR(M=solvers.ILU0()), Kind.GENERAL, batched=False, libraries=HOST
    ),
    "Direct": Method(solvers.Direct(), Kind.GENERAL, batched=False, libraries=HOST),
    "NeuralDirections": Method(solvers.NeuralDirections(_untrained()), libraries=HOST),
    "NeuralDirections, impatient": Method(
        solvers.NeuralDirections(_untrained(coarse=1), window=1), libraries=HOST
    ),
    "Auto": Method(solvers.Auto(), Kind.GENERAL, batched=False),
    "Auto positive": Method(solvers.Auto(), batched=False),
}


def method_params() -> list[tuple[str, str, str]]:
    """(name, library, dtype): every dtype in NumPy, two in the other libraries."""
    return [
        (name, library, dtype)
        for name, method in METHODS.items()
        for library in method.libraries
        for dtype in (REAL + COMPLEX if library == NUMPY else ("float64", "complex64"))
    ]
