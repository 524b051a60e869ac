"""Solvers from outside, set up as their own documentation does for diffusion, or better.

Runs in any interpreter that has NumPy, SciPy and the rival's package: nothing of sciml is imported.
Each is handed the assembled matrix in the form it takes, off the clock. Iterative methods stop at
the unpreconditioned residual of their recurrence relative to ‖b‖.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from _linear_methods import Arrays, Entry, Factoring, Ranks, Rival

_MOST_STEPS = 5000


class SciPyCG(Rival):
    """scipy.sparse.linalg.cg with the inverse diagonal."""

    def setup(self) -> None:
        self.held = sp.diags(1 / self.matrix.diagonal()).tocsr()

    def solve(self, b: np.ndarray, rtol: float) -> tuple[np.ndarray, int | None]:
        from scipy.sparse.linalg import cg

        steps = 0

        def count(_: np.ndarray) -> None:
            nonlocal steps
            steps += 1

        x, _ = cg(self.matrix, b, rtol=rtol, maxiter=100_000, M=self.held, callback=count)
        return x, steps


@dataclass
class PyAMG(Rival):
    """PyAMG's solvers with CG, a V-cycle each step.

    Args:
        builder: the function of pyamg that builds the hierarchy.
    """

    builder: str
    package = "pyamg"

    def setup(self) -> None:
        import pyamg

        self.held = getattr(pyamg, self.builder)(self.matrix)

    def solve(self, b: np.ndarray, rtol: float) -> tuple[np.ndarray, int | None]:
        seen: list[float] = []
        x = self.held.solve(b, tol=rtol, accel="cg", maxiter=_MOST_STEPS, residuals=seen)
        return x, len(seen) - 1


@dataclass
class AMGCL(Rival):
    """AMGCL's hierarchy with SPAI-0 smoothing inside its CG; all threads, by OpenMP.

    Args:
        coarsening: "smoothed_aggregation" or "ruge_stuben".
        coarsest: unknowns that are solved for directly; None is AMGCL's default, some thousands,
            which is too many for small systems and for Ruge-Stüben's dense coarse matrices in 3-D.
    """

    coarsening: str
    coarsest: int | None = None
    package = "pyamgcl"

    def setup(self) -> None:
        import pyamgcl

        how: dict[str, Any] = {"coarsening.type": self.coarsening, "relax.type": "spai0"}
        if self.coarsest is not None:
            how["coarse_enough"] = self.coarsest
        self.held = pyamgcl.amg(self.matrix, how)

    def solve(self, b: np.ndarray, rtol: float) -> tuple[np.ndarray, int | None]:
        import pyamgcl

        cg = pyamgcl.solver(self.held, {"type": "cg", "tol": rtol, "maxiter": _MOST_STEPS})
        return cg(b), cg.iters


class CHOLMOD(Factoring):
    """CHOLMOD by scikit-sparse, with the best of its own ordering strategy (AMD, else METIS).

    In a batch the symbolic analysis is done once.
    """

    package = "sksparse.cholmod"

    def setup(self) -> None:
        from sksparse.cholmod import analyze

        if self.symbolic is None:
            self.symbolic = analyze(self.columns)
        self.symbolic.cholesky_inplace(self.columns)

    def act(self, r: np.ndarray) -> np.ndarray:
        return self.symbolic(r)

    def drop(self) -> None:
        self.symbolic: Any = None


class SuperLU(Factoring):
    """scipy.sparse.linalg.splu, ordered and pivoted for a symmetric positive definite matrix."""

    def setup(self) -> None:
        from scipy.sparse.linalg import splu

        self.held = splu(
            self.columns,
            permc_spec="MMD_AT_PLUS_A",
            diag_pivot_thresh=0.0,
            options={"SymmetricMode": True},
        )

    def act(self, r: np.ndarray) -> np.ndarray:
        return self.held.solve(r)


@dataclass
class PETSc(Rival):
    """PETSc's CG over MPI ranks, each with its rows; the preconditioner is chosen by options.

    Args:
        options: (dimension of the grid) -> PETSc's options, without the leading dash.
    """

    options: Callable[[int], Mapping[str, Any]]
    package = "petsc4py"

    def begin(self, ranks: Ranks) -> None:
        super().begin(ranks)
        import petsc4py
        from petsc4py import PETSc as lib

        if lib.COMM_WORLD.size != ranks.size:
            raise ImportError(
                f"expected PETSc to see {ranks.size} ranks, got {lib.COMM_WORLD.size}: use the "
                f"mpirun of the MPI that petsc4py {petsc4py.__version__} was built with"
            )
        self.lib = lib

    def load(self, arrays: Arrays, ranks: Ranks) -> None:
        lib, n = self.lib, arrays["indptr"].size - 1
        self.drop()
        self.ndim, own = arrays["k"].ndim, ranks.share(n)
        ends = arrays["indptr"][own.start : own.stop + 1]
        inside = slice(ends[0], ends[-1])
        csr = ((ends - ends[0]), arrays["indices"][inside], arrays["data"][inside])
        size = ((own.stop - own.start, n),) * 2
        self.matrix = lib.Mat().createAIJ(size=size, csr=csr, comm=lib.COMM_WORLD)
        self.matrix.setOption(lib.Mat.Option.SPD, True)
        self.x, self.rhs = self.matrix.createVecRight(), {}
        for name, b in arrays.items():
            if name.startswith("rhs "):
                self.rhs[name[4:]] = self.matrix.createVecLeft()
                self.rhs[name[4:]].setArray(b[own])

    def wait(self) -> None:
        self.lib.COMM_WORLD.barrier()

    def drop(self) -> None:
        if getattr(self, "held", None) is not None:
            self.held.destroy()
            for name in self.options(self.ndim):  # the next set-up may be of another dimension
                self.lib.Options().delValue(name)
        self.held = None

    def setup(self) -> None:
        chosen = self.lib.Options()
        for name, value in self.options(self.ndim).items():
            chosen[name] = value
        self.held = self.lib.KSP().create(self.lib.COMM_WORLD)
        self.held.setOperators(self.matrix)
        self.held.setType("cg")
        self.held.setNormType(self.lib.KSP.NormType.UNPRECONDITIONED)
        self.held.setFromOptions()
        self.held.setUp()

    def solve(self, b: Any, rtol: float) -> tuple[np.ndarray, int | None]:
        self.held.setTolerances(rtol=rtol, atol=0.0, divtol=1e30, max_it=_MOST_STEPS)
        self.x.set(0.0)
        self.held.solve(b, self.x)
        return self.x.getArray().copy(), self.held.getIterationNumber()


def boomeramg(ndim: int) -> dict[str, Any]:
    """hypre's BoomerAMG as its manual advises: in 3-D with sparser coarse grids."""
    if ndim == 2:
        return _hypre(strong_threshold=0.25)
    return _hypre(strong_threshold=0.5, coarsen_type="HMIS", interp_type="ext+i", P_max=4)


def aggressive_boomeramg(ndim: int) -> dict[str, Any]:
    """The fastest of some twenty settings tried on diffusion, in two and in three dimensions.

    The first coarsening is aggressive, and the smoother goes forwards down and backwards up, which
    is half the work of hypre's symmetric sweeps.
    """
    return _hypre(
        strong_threshold=0.25 if ndim == 2 else 0.5,
        coarsen_type="HMIS",
        interp_type="ext+i",
        P_max=4,
        agg_nl=1,
        relax_type_down="SOR/Jacobi",
        relax_type_up="backward-SOR/Jacobi",
    )


def _hypre(**chosen: Any) -> dict[str, Any]:
    named = {f"pc_hypre_boomeramg_{name}": value for name, value in chosen.items()}
    return {"pc_type": "hypre", "pc_hypre_type": "boomeramg", **named}


def gamg(ndim: int) -> dict[str, Any]:
    """PETSc's own smoothed aggregation."""
    return {"pc_type": "gamg", "pc_gamg_threshold": 0.01}


def _petsc(options: Callable[[int], Mapping[str, Any]], ranks: int) -> Entry:
    return Entry(lambda: PETSc(options), ranks, ranks > 1, packages=("petsc4py",))


_DIRECT = (2**20, 2**18)

SOLVERS: dict[str, Entry] = {
    "AMGCL SA-CG": Entry(lambda: AMGCL("smoothed_aggregation"), packages=("pyamgcl",)),
    "AMGCL RS-CG": Entry(lambda: AMGCL("ruge_stuben", 1000), packages=("pyamgcl",)),
    "hypre-CG, 2 ranks": _petsc(boomeramg, 2),
    "hypre-CG aggressive, 2 ranks": _petsc(aggressive_boomeramg, 2),
    "hypre-CG aggressive, 1 rank": _petsc(aggressive_boomeramg, 1),
    "GAMG-CG, 2 ranks": _petsc(gamg, 2),
    "PyAMG SA-CG": Entry(lambda: PyAMG("smoothed_aggregation_solver"), packages=("pyamg",)),
    "PyAMG RS-CG": Entry(lambda: PyAMG("ruge_stuben_solver"), packages=("pyamg",)),
    "CHOLMOD": Entry(CHOLMOD, most=_DIRECT, packages=("scikit-sparse",)),
    "SuperLU": Entry(SuperLU, most=(2**20, 2**16), packages=("scipy",)),
    "SciPy Jacobi-CG": Entry(SciPyCG, most=(2**16, 2**18), packages=("scipy",)),
}

# Independent systems: a process for each core is what serves a rival best.
BATCHES: dict[str, Entry] = {
    "splu": Entry(SuperLU, 2, packages=("scipy",)),
    "CHOLMOD, analysed once": Entry(CHOLMOD, 2, packages=("scikit-sparse",)),
    "AMGCL SA-CG": Entry(lambda: AMGCL("smoothed_aggregation", 1000), 2, packages=("pyamgcl",)),
    "AMGCL RS-CG": Entry(lambda: AMGCL("ruge_stuben", 1000), 2, packages=("pyamgcl",)),
}
