"""Methods from outside: what a benchmark asks of them, and SciPy's and PyAMG's own.

Each runs as its own documentation runs it, with its own stopping rule. It is handed the assembled
matrix, whose assembly is not on its clock. The benchmark then measures the residual of its answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from sciml.operator import Operator

__all__ = ["Answer", "CellSystem", "PyAMG", "Rival", "ScipyCG", "ScipySpsolve", "System"]

# A residual is not told from rtol more finely than rounding in its own evaluation allows.
_ROUNDING = 8 * np.finfo(np.float64).eps


@dataclass(frozen=True, eq=False)
class System:
    """One system of a benchmark, float64.

    Attributes:
        name: "cubic0.1_grid64 #0".
        k: (n+1, n+1), the coefficient. rhs: (n, n). x: (n, n), the solution where it is known.
        matrix: scipy.sparse.csr_matrix (n², n²) on vectors in C order, `rhs.ravel()`.
    """

    name: str
    k: np.ndarray
    rhs: np.ndarray
    x: np.ndarray | None = field(repr=False)
    matrix: Any = field(repr=False)

    def operator(self) -> Operator:
        """A, as our own methods get it: from k."""
        from sciml.operators import NodalDiffusion

        return NodalDiffusion(self.k)

    def copy(self) -> System:
        """The same system in arrays of its own."""
        k, rhs, x = self.k.copy(), self.rhs.copy(), None if self.x is None else self.x.copy()
        return replace(self, k=k, rhs=rhs, x=x, matrix=self.matrix.copy())

    def blind(self) -> System:
        """The matrix and k alone, with NaN for the rest: what a rival sees before it is asked."""
        unknown = np.full_like(self.rhs, np.nan)
        return replace(self, rhs=unknown, x=unknown)

    def residual(self, x: np.ndarray) -> float:
        """‖b - A x‖ / ‖b‖ in the 2-norm, by SciPy's product with the matrix."""
        b = self.rhs.ravel()
        with np.errstate(all="ignore"):
            return float(np.linalg.norm(b - self.matrix @ x.ravel()) / np.linalg.norm(b))

    def rounding(self, x: np.ndarray) -> float:
        """What rounding may have added to `residual(x)`: 8 ε ‖|A||x| + |b|‖ / ‖b‖."""
        b = self.rhs.ravel()
        size = abs(self.matrix) @ abs(x.ravel()) + abs(b)
        return float(_ROUNDING * np.linalg.norm(size) / np.linalg.norm(b))

    def error(self, x: np.ndarray) -> float | None:
        """‖x - solution‖ / ‖solution‖ in the 2-norm; None where the solution is not known."""
        if self.x is None:
            return None
        wanted = self.x.ravel()
        with np.errstate(all="ignore"):
            return float(np.linalg.norm(x.ravel() - wanted) / np.linalg.norm(wanted))


class CellSystem(System):
    """The same for k on the cells of a grid of two or three axes, as `Diffusion` takes it."""

    def operator(self) -> Operator:
        from sciml.operators import Diffusion

        return Diffusion(self.k, ndim=self.k.ndim)


class Answer(NamedTuple):
    """What a rival hands back.

    Attributes:
        x: (n²,), the solution.
        iterations: their number; None for a direct method.
        converged: False where the method itself says that it did not reach rtol.
        residuals: relative, as it estimated them after each step, where it tells.
    """

    x: np.ndarray
    iterations: int | None
    converged: bool = True
    residuals: Sequence[float] = ()


@runtime_checkable
class Rival(Protocol):
    """Any class with these two methods takes part in a benchmark."""

    def setup(self, system: System) -> None:
        """Whatever depends on the matrix alone; `rhs` and `x` are NaN. Called before each solve."""
        ...

    def solve(self, b: np.ndarray, rtol: float) -> Answer | tuple[np.ndarray, int | None]:
        """Solve for b (n²,) to ‖b - A x‖ <= rtol ‖b‖; an (x, iterations) tuple will do."""
        ...


class ScipyCG:
    """scipy.sparse.linalg.cg on the CSR matrix.

    Args:
        jacobi: precondition by the inverse diagonal.
        most: steps; SciPy's limit, ten times the unknowns, if None.
    """

    def __init__(self, *, jacobi: bool = False, most: int | None = None) -> None:
        self.jacobi, self.most = jacobi, most

    def setup(self, system: System) -> None:
        from scipy.sparse import diags_array

        self.matrix = system.matrix
        self.M = diags_array(1 / system.matrix.diagonal()).tocsr() if self.jacobi else None

    def solve(self, b: np.ndarray, rtol: float) -> Answer:
        from scipy.sparse.linalg import cg

        steps = 0

        def count(_: np.ndarray) -> None:
            nonlocal steps
            steps += 1

        x, info = cg(self.matrix, b, rtol=rtol, maxiter=self.most, M=self.M, callback=count)
        return Answer(x, steps, info == 0)


class ScipySpsolve:
    """scipy.sparse.linalg.spsolve, ordered for a symmetric pattern; factors and solves at once."""

    def setup(self, system: System) -> None:
        self.matrix = system.matrix.tocsc()

    def solve(self, b: np.ndarray, rtol: float) -> Answer:
        from scipy.sparse.linalg import spsolve

        return Answer(np.asarray(spsolve(self.matrix, b, permc_spec="MMD_AT_PLUS_A")), None)


@dataclass
class PyAMG:
    """PyAMG's solvers with CG acceleration.

    Args:
        builder: the function of pyamg that builds the hierarchy.
    """

    builder: str = "ruge_stuben_solver"

    def setup(self, system: System) -> None:
        import pyamg

        self.levels = getattr(pyamg, self.builder)(system.matrix)

    def solve(self, b: np.ndarray, rtol: float) -> Answer:
        residuals: list[float] = []
        x, info = self.levels.solve(
            b, tol=rtol, accel="cg", maxiter=200, residuals=residuals, return_info=True
        )
        steps = np.array(residuals[1:]) / np.linalg.norm(b)
        return Answer(x, len(steps), info == 0, tuple(map(float, steps)))
