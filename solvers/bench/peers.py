"""Strong peers that need packages of their own: CHOLMOD, AMGCL and PETSc.

Each is set up as its documentation does for diffusion. All run in this process, with its threads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .rivals import Answer, System

__all__ = ["AMGCL", "CHOLMOD", "PETSc", "boomeramg", "gamg"]

_MOST_STEPS = 1000


def boomeramg(ndim: int) -> dict[str, Any]:
    """hypre's BoomerAMG with the options that benchmarks/linear.py found the fastest on diffusion.

    The first coarsening is aggressive, and the smoother goes forwards down and backwards up, which
    is half the work of hypre's symmetric sweeps.
    """
    chosen = {
        "strong_threshold": 0.25 if ndim == 2 else 0.5,
        "coarsen_type": "HMIS",
        "interp_type": "ext+i",
        "P_max": 4,
        "agg_nl": 1,
        "relax_type_down": "SOR/Jacobi",
        "relax_type_up": "backward-SOR/Jacobi",
    }
    named = {f"pc_hypre_boomeramg_{name}": value for name, value in chosen.items()}
    return {"pc_type": "hypre", "pc_hypre_type": "boomeramg", **named}


def gamg(ndim: int) -> dict[str, Any]:
    """PETSc's own smoothed aggregation."""
    return {"pc_type": "gamg", "pc_gamg_threshold": 0.01}


class CHOLMOD:
    """scikit-sparse's CHOLMOD, with its own choice of an ordering."""

    def setup(self, system: System) -> None:
        from sksparse.cholmod import cholesky

        # A is symmetric: its CSR arrays are those of its CSC form
        self.factor = cholesky(system.matrix.T.tocsc())

    def solve(self, b: np.ndarray, rtol: float) -> Answer:
        return Answer(self.factor(b), None)


@dataclass
class AMGCL:
    """pyamgcl: smoothed aggregation with SPAI-0 inside its CG.

    Args:
        coarsening: "smoothed_aggregation" or "ruge_stuben".
    """

    coarsening: str = "smoothed_aggregation"

    def setup(self, system: System) -> None:
        import pyamgcl

        how = {"coarsening.type": self.coarsening, "relax.type": "spai0", "coarse_enough": 1000}
        self.levels = pyamgcl.amg(system.matrix, how)

    def solve(self, b: np.ndarray, rtol: float) -> Answer:
        import pyamgcl

        cg = pyamgcl.solver(self.levels, {"type": "cg", "tol": rtol, "maxiter": _MOST_STEPS})
        x = cg(b)
        return Answer(x, cg.iters, cg.iters < _MOST_STEPS)


@dataclass
class PETSc:
    """petsc4py: PETSc's CG on one rank.

    Args:
        options: (dimension of the grid) -> those of the preconditioner, as on PETSc's command line.
    """

    options: Callable[[int], Mapping[str, Any]]

    def setup(self, system: System) -> None:
        from petsc4py import PETSc as lib

        A, options = system.matrix, self.options(system.k.ndim)
        self.matrix = lib.Mat().createAIJ(size=A.shape, csr=(A.indptr, A.indices, A.data))
        self.matrix.setOption(lib.Mat.Option.SPD, True)
        chosen = lib.Options()
        for name, value in options.items():
            chosen[name] = value
        self.ksp = lib.KSP().create()
        self.ksp.setOperators(self.matrix)
        self.ksp.setType("cg")
        self.ksp.setNormType(lib.KSP.NormType.UNPRECONDITIONED)
        self.ksp.setFromOptions()
        self.ksp.setUp()
        for name in options:  # they are global, and the next preconditioner has others
            chosen.delValue(name)

    def solve(self, b: np.ndarray, rtol: float) -> Answer:
        x, right = self.matrix.createVecs()
        right.setArray(b)
        self.ksp.setTolerances(rtol=rtol, atol=0.0, divtol=1e30, max_it=_MOST_STEPS)
        self.ksp.setConvergenceHistory()
        self.ksp.solve(right, x)
        steps = self.ksp.getConvergenceHistory()[1:] / np.linalg.norm(b)
        done = self.ksp.getConvergedReason() > 0
        return Answer(
            x.getArray().copy(), self.ksp.getIterationNumber(), done, tuple(map(float, steps))
        )
