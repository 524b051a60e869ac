"""The solver that chooses a solver, and says why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from sciml.arrays import Array, doubled, dtype_of, host_view, namespace, on_cpu
from sciml.operator import Operator, Trait
from sciml.operators._massive import massive
from sciml.operators.diffusion import Diffusion, NodalDiffusion
from sciml.operators.sparse import Sparse
from sciml.problem import LeastSquares, LinearSystem, Problem
from sciml.solver import Solver

from ._choosing import Choosing, same
from .direct import Direct
from .krylov import CG, GMRES, LSMR, MINRES
from .krylov._base import inconsistency
from .krylov.spectrum import STEPS, extreme_eigenvalues
from .multigrid import Multigrid, MultigridCG
from .on_host import COPIES, OnHost, in_host_memory
from .poisson import FastPoisson
from .precond import AMG, IC0, ILU0, Jacobi

if TYPE_CHECKING:
    from .multigrid.form import Form

__all__ = ["GAINS_FROM", "Auto", "Choice"]

# Unknowns up to which a factorisation beats everything iterative on two- and three-dimensional
# problems (measured on Laplacians), and up to which it is still the robust choice.
_DIRECT_FAST = 5_000
_DIRECT_ROBUST = 20_000
# Unknowns of all members from which on a GPU is taken for faster than the CPU beside it: below, a
# step costs its launches and not its work. An estimate until `benchmarks/gpu.py` has found where
# they cross.
GAINS_FROM = 1 << 15
# Entries that set-ups on the host can count.
_MOST_ENTRIES = 1 << 31


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
    place: tuple[bool, bool] = field(default=(False, True), repr=False)

    def check(self, problem: Problem) -> None:
        if not isinstance(problem, LinearSystem | LeastSquares):
            raise TypeError(
                f"Auto expected a LinearSystem or LeastSquares, got {type(problem).__name__}"
            )

    def prepare(self, problem: Problem) -> Self:
        A = getattr(problem, "A", None)
        place = _small(problem), on_cpu(problem.b)  # type: ignore[attr-defined]
        if self.chosen is not None and same(A, self.operator) and place == self.place:
            return replace(self, chosen=self.chosen.prepare(problem))
        failures: list[str] = []
        for solver, reason in candidates(problem):
            try:
                ready = solver.prepare(problem)
            except np.linalg.LinAlgError as error:
                failures.append(f"{solver.name} could not be set up: {error}")
                continue
            why = "; ".join([reason, *failures])
            return replace(self, chosen=ready, reason=why, operator=A, place=place)
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
        told = (f"{self.name} was chosen because {self.reason}.",) if self.reason else ()
        return (*told, COPIES) if isinstance(self.chosen, OnHost) else told


def candidates(problem: Problem) -> Iterator[Choice]:
    """Solvers for `problem`, best first; none is set up yet."""
    assert isinstance(problem, LinearSystem | LeastSquares)
    yield from _in_host_memory(problem)
    if isinstance(problem, LeastSquares):
        yield Choice(LSMR(), "it is a least-squares problem")
        return
    A = problem.A
    yield from _on_a_box(problem)
    matrix = _matrix(problem)
    if matrix is None:
        yield from _sparse_on_a_device(problem)
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
            if n > _DIRECT_FAST and _mostly_negative(matrix.data, matrix.diagonal()):
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


def _in_host_memory(problem: LinearSystem | LeastSquares) -> Iterator[Choice]:
    """What the host would choose, for a system on a device that is too small to gain there: one of
    diffusion or of a sparse matrix. Of others a step is not known to be short."""
    A = problem.A
    grid = isinstance(A, Sparse) or (isinstance(problem, LinearSystem) and massive(A) is not None)
    if on_cpu(problem.b) or not grid or not _small(problem):
        return
    try:
        there = in_host_memory(problem)
    except (TypeError, MemoryError):
        return
    unknowns = _unknowns(problem)
    for solver, reason in candidates(there):
        why = f"{unknowns} unknowns in all are too few to gain from a GPU, and on the host {reason}"
        yield Choice(OnHost(solver), why)


def _unknowns(problem: LinearSystem | LeastSquares) -> int:
    """Of all members; those that are fitted, or the entries of b where these are more."""
    size = max(problem.domain.size, problem.codomain.size)
    return size * int(np.prod(problem.batch, dtype=int))


def _small(problem: Any) -> bool:
    """Whether it is too small to gain from a GPU; nine entries a row are those of a grid."""
    members = int(np.prod(problem.batch, dtype=int))
    return _unknowns(problem) < GAINS_FROM and problem.A.work * members < 9 * GAINS_FROM


def _on_a_box(problem: LinearSystem) -> Iterator[Choice]:
    """Fast Poisson and multigrid, where A is diffusion on a box in host memory or on a GPU."""
    A, on_host = problem.A, host_view(problem.b) is not None
    if not on_host and on_cpu(problem.b):  # of a library that neither kernels nor BLAS reach
        return
    form = _form(A, on_host=on_host)
    if isinstance(A, Diffusion | NodalDiffusion):
        low, high = A.extremes
        words = _inconsistency(problem, True) if A.singular else ""
        if low == high and not A.pins.any():
            why = "A is diffusion with a constant coefficient on a box: transforms invert it"
            yield Choice(Direct(M=FastPoisson()), f"{why}{words}")
        elif form is not None and on_host and _many_planes(A, form):
            yield Choice(MultigridCG(), "A is diffusion on a box, another one for each member")
        elif form is not None and form.stretched and (form.ndim == 3 or not on_host):
            why = f"A is diffusion in {form.ndim}-D on cells much longer than wide{words}"
            # points smooth too little there, and lines are for 2-D in host memory
            if not A.batch_shape and (2 * form.ndim + 1) * A.domain.size < _MOST_ENTRIES:
                yield Choice(CG(M=AMG()), why)
            yield Choice(CG(M=Multigrid()), why)
        elif form is not None:
            yield Choice(CG(M=Multigrid()), f"A is diffusion on a box{words}")
    elif form is not None:
        yield Choice(CG(M=Multigrid()), "A is diffusion on a box with a mass")


def _form(A: Operator, *, on_host: bool) -> Form | None:
    """A as multigrid takes it; None where it does not."""
    from .multigrid.device import device_form
    from .multigrid.form import read

    try:
        if on_host:
            return read(A)
        found = device_form(A)
    except TypeError:
        return None
    return None if found is None or A.domain.size >= _MOST_ENTRIES else found[1]


def _many_planes(A: Operator, form: Form) -> bool:
    """Whether `MultigridCG` serves A: diffusion in 2-D, another one for each member."""
    return bool(A.batch_shape) and form.ndim == 2 and not form.stretched


def _sparse_on_a_device(problem: LinearSystem) -> Iterator[Choice]:
    """Algebraic multigrid for a matrix on a device that is known to be positive."""
    A = problem.A
    if on_cpu(problem.b) or not isinstance(A, Sparse) or A.batch_shape:
        return
    if Trait.POSITIVE not in A.traits or A.work >= _MOST_ENTRIES:
        return
    if _mostly_negative(A.data, A.diagonal()):
        why = "A is sparse and positive definite (declared), with mostly negative couplings"
        yield Choice(CG(M=AMG()), why)


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


def _mostly_negative(entries: Array, diagonal: Array) -> bool:
    """Whether a matrix is real, with off-diagonal entries of which nearly all weight is negative.

    Args:
        entries: all that are stored. diagonal: of the matrix.
    """
    if dtype_of(entries).kind == "c":
        return False
    xp, stored, own = namespace(entries), doubled(entries), doubled(diagonal)
    off = float(xp.sum(stored)) - float(xp.sum(own))
    return off <= -0.9 * (float(xp.sum(abs(stored))) - float(xp.sum(abs(own))))


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
