"""Strong peers that need packages of their own: CHOLMOD, AMGCL and PETSc.

Each is set up as its documentation does for diffusion. All run in this process, with its threads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .rivals import Answer, System

__all__ = ["AMGCL", "CHOLMOD", "GAMG", "HYPRE", "PETSc"]

_MOST_STEPS = 1000
HYPRE = {
    "pc_type": "hypre",
    "pc_hypre_type": "boomeramg",
    "pc_hypre_boomeramg_coarsen_type": "HMIS",
    "pc_hypre_boomeramg_interp_type": "ext+i",
    "pc_hypre_boomeramg_P_max": 4,
}
GAMG = {"pc_type": "gamg", "pc_gamg_threshold": 0.01}


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
        options: of the preconditioner, as on PETSc's command line.
    """

    options: Mapping[str, Any]

    def setup(self, system: System) -> None:
        from petsc4py import PETSc as lib

        A = system.matrix
        self.matrix = lib.Mat().createAIJ(size=A.shape, csr=(A.indptr, A.indices, A.data))
        self.matrix.setOption(lib.Mat.Option.SPD, True)
        chosen = lib.Options()
        for name, value in self.options.items():
            chosen[name] = value
        self.ksp = lib.KSP().create()
        self.ksp.setOperators(self.matrix)
        self.ksp.setType("cg")
        self.ksp.setNormType(lib.KSP.NormType.UNPRECONDITIONED)
        self.ksp.setFromOptions()
        self.ksp.setUp()
        for name in self.options:  # they are global, and the next preconditioner has others
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
