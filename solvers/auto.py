"""The solver that chooses a solver, and says why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Self

import numpy as np

from sciml.algebra import Adjoint
from sciml.arrays import host_view, namespace
from sciml.operator import Operator, Trait
from sciml.operators.diffusion import Diffusion, NodalDiffusion
from sciml.problem import LeastSquares, LinearSystem, Problem
from sciml.solver import Solver

from ._choosing import Choosing
from .direct import Direct
from .krylov import CG, GMRES, LSMR, MINRES
from .krylov._base import inconsistency
from .krylov.spectrum import STEPS, extreme_eigenvalues
from .multigrid import Multigrid, MultigridCG
from .poisson import FastPoisson
from .precond import AMG, IC0, ILU0, Jacobi

__all__ = ["Auto", "Choice"]

# Unknowns up to which a factorisation beats everything iterative on two- and three-dimensional
# problems (measured on Laplacians), and up to which it is still the robust choice.
_DIRECT_FAST = 5_000
_DIRECT_ROBUST = 20_000


class Choice(NamedTuple):
    """A solver and the reason for it, a clause that completes "chosen because ..."."""

    solver: Solver
    reason: str


@dataclass(frozen=True, kw_only=True)
class Auto(Choosing):
    """Chooses by structure, size and number of right-hand sides.

    Candidates are tried in order until one can be set up. What was chosen and why is in the
    result's notes and in `.chosen` and `.reason` of the result's solver, which serves further
    right-hand sides of the same operator; for another one it chooses anew.
    """

    reason: str = ""
    operator: Operator | None = field(default=None, repr=False)

    def check(self, problem: Problem) -> None:
        if not isinstance(problem, LinearSystem | LeastSquares):
            raise TypeError(
                f"Auto expected a LinearSystem or LeastSquares, got {type(problem).__name__}"
            )

    def prepare(self, problem: Problem) -> Self:
        A = getattr(problem, "A", None)
        if self.chosen is not None and _same(A, self.operator):
            return replace(self, chosen=self.chosen.prepare(problem))
        failures: list[str] = []
        for solver, reason in candidates(problem):
            try:
                ready = solver.prepare(problem)
            except np.linalg.LinAlgError as error:
                failures.append(f"{solver.name} could not be set up: {error}")
                continue
            why = "; ".join([reason, *failures])
            return replace(self, chosen=ready, reason=why, operator=A)
        raise np.linalg.LinAlgError("; ".join(failures))

    def adjoint(self) -> Self:
        if self.chosen is None or self.operator is None:
            return self
        return replace(self, chosen=self.chosen.adjoint(), operator=self.operator.H)

    @property
    def name(self) -> str:
        return "Auto" if self.chosen is None else self.chosen.name

    @property
    def notes(self) -> tuple[str, ...]:
        return (f"{self.name} was chosen because {self.reason}.",) if self.reason else ()


def _same(a: Operator | None, b: Operator | None) -> bool:
    """Whether two operators are one, or the adjoints of one."""
    if isinstance(a, Adjoint) and isinstance(b, Adjoint):
        return a.parts[0] is b.parts[0]
    return a is b


def candidates(problem: Problem) -> Iterator[Choice]:
    """Solvers for `problem`, best first; none is set up yet."""
    if isinstance(problem, LeastSquares):
        yield Choice(LSMR(), "it is a least-squares problem")
        return
    assert isinstance(problem, LinearSystem)
    A = problem.A
    yield from _on_a_box(problem)
    matrix = _matrix(problem)
    if matrix is None:
        yield from _matrix_free(problem)
        return
    n, members = A.domain.size, int(np.prod(problem.batch, dtype=int))
    hermitian = Trait.HERMITIAN in A.traits
    kind = "Hermitian" if hermitian else "not Hermitian"
    if _constants_in_null_space(matrix):
        why = f"A is {kind} and singular (its rows sum to zero){_inconsistency(problem, hermitian)}"
        yield Choice(MINRES() if hermitian else GMRES(), why)
        return
    if hermitian and bool((matrix.diagonal().real > 0).all()):
        definite, how = _definite(problem, matrix)
        if definite:
            why = f"A is Hermitian and positive definite ({how})"
            if n <= _DIRECT_FAST or (members > 4 and n <= _DIRECT_ROBUST):
                yield Choice(Direct(), f"{why} with {n} unknowns and {members} right-hand side(s)")
            if n > _DIRECT_FAST and _like_an_m_matrix(matrix):
                yield Choice(CG(M=AMG()), f"{why}, with mostly negative couplings")
            yield Choice(CG(M=IC0()), why)
            yield Choice(CG(M=Jacobi()), why)
            return
        kind = f"Hermitian but not positive definite ({how})"
    if n <= _DIRECT_ROBUST:
        yield Choice(Direct(), f"A is {kind}, with {n} unknowns")
    if hermitian:
        yield Choice(MINRES(), f"A is {kind}")
    else:
        yield Choice(GMRES(M=ILU0()), f"A is {kind}")
        yield Choice(GMRES(), f"A is {kind}")


def _on_a_box(problem: LinearSystem) -> Iterator[Choice]:
    """Fast Poisson and multigrid, where A is diffusion on a box in host memory."""
    from .multigrid.form import read

    A = problem.A
    if host_view(problem.b) is None:
        return
    try:
        form = read(A)
    except TypeError:
        form = None
    if isinstance(A, Diffusion | NodalDiffusion):
        low, high = A.extremes
        words = _inconsistency(problem, True) if A.singular else ""
        if low == high and not A.pins.any():
            why = "A is diffusion with a constant coefficient on a box: transforms invert it"
            yield Choice(Direct(M=FastPoisson()), f"{why}{words}")
        elif form is not None and A.batch_shape and form.ndim == 2 and not form.stretched:
            yield Choice(MultigridCG(), "A is diffusion on a box, another one for each member")
        elif form is not None and form.ndim == 3 and form.stretched:
            why = f"A is diffusion in 3-D on cells much longer than wide{words}"
            if not A.batch_shape:  # points smooth too little there
                yield Choice(CG(M=AMG()), why)
            yield Choice(CG(M=Multigrid()), why)
        elif form is not None:
            yield Choice(CG(M=Multigrid()), f"A is diffusion on a box{words}")
    elif form is not None:
        yield Choice(CG(M=Multigrid()), "A is diffusion on a box with a mass")


def _matrix_free(problem: LinearSystem) -> Iterator[Choice]:
    A, why = problem.A, "A is known by its products only"
    if A.batch_shape:
        why = "A differs from member to member"
    elif host_view(problem.b) is None:
        why = "A is not in host memory"
    if Trait.POSITIVE in A.traits:
        yield Choice(CG(M=Jacobi()) if _knows_diagonal(A) else CG(), f"{why}, and is positive")
    elif Trait.HERMITIAN in A.traits:
        yield Choice(MINRES(), f"{why}, and is Hermitian")
    else:
        yield Choice(GMRES(), why)


def _matrix(problem: LinearSystem) -> Any:
    """A's matrix in SciPy's CSR form if it has one in host memory, else None."""
    if problem.A.batch_shape or host_view(problem.b) is None:
        return None
    try:
        return problem.A.assemble()
    except TypeError:
        return None


def _knows_diagonal(A: Operator) -> bool:
    try:
        diagonal = A.diagonal()
        return not bool(namespace(diagonal).any(diagonal == 0))
    except TypeError:
        return False


def _constants_in_null_space(matrix: Any) -> bool:
    ones = np.ones(matrix.shape[1])
    eps = np.finfo(matrix.dtype).eps
    sums, sizes = abs(matrix @ ones), abs(matrix) @ ones
    return bool((sums <= 16 * eps * sizes).all())


def _inconsistency(problem: LinearSystem, hermitian: bool) -> str:
    words = inconsistency(problem) if hermitian else ""
    return f"; {words}" if words else ""


def _like_an_m_matrix(matrix: Any) -> bool:
    """Real, with off-diagonal entries of which nearly all weight is negative."""
    if np.iscomplexobj(matrix):
        return False
    off = matrix.sum() - matrix.diagonal().sum()
    size = abs(matrix).sum() - abs(matrix.diagonal()).sum()
    return bool(off <= -0.9 * size)


def _definite(problem: LinearSystem, matrix: Any) -> tuple[bool, str]:
    """Whether A looks positive definite, and how that was seen."""
    if Trait.POSITIVE in problem.A.traits:
        return True, "declared"
    diagonal = matrix.diagonal().real
    others = np.asarray(abs(matrix).sum(axis=1)).reshape(-1) - diagonal
    if (diagonal > others).all():
        return True, "strictly diagonally dominant"
    lowest, highest = extreme_eigenvalues(problem)
    low, high = float(np.min(lowest)), float(np.max(highest))
    floor = problem.domain.size * float(np.finfo(matrix.dtype).eps) * high
    steps = min(STEPS, problem.domain.size)
    return low > floor, f"{steps} Lanczos steps saw eigenvalues from {low:.2g} to {high:.2g}"
