"""Words of the command line, and the methods and preconditioners they stand for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

import solvers
from sciml.io import Limits
from sciml.solver import Solver

from ._errors import BadInput

Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
MaxGiB = Annotated[
    float | None,
    typer.Option(
        min=0.001, help="Trust files that decode to so much memory, in GiB; at most 8 without."
    ),
]
# Of the benchmarks.
ReportFolder = Annotated[Path | None, typer.Option(help="Folder for the report; made if missing.")]
MethodNames = Annotated[
    str | None, typer.Option(help="Names with commas between, see --list; all without.")
]
OwnSolvers = Annotated[
    list[str] | None,
    typer.Option(help="One of your own, package.module:Class; may be repeated."),
]
SolveLimit = Annotated[float, typer.Option(help="Limit for each solve.")]


class Track(Enum):
    """--track of `bench condiff`."""

    SOLVERS = "solvers"
    REGRESSION = "regression"


class Method(Enum):
    """--method."""

    AUTO = "auto"
    CG = "cg"
    FCG = "fcg"
    MINRES = "minres"
    GMRES = "gmres"
    FGMRES = "fgmres"
    BICGSTAB = "bicgstab"
    LSQR = "lsqr"
    LSMR = "lsmr"
    CHEBYSHEV = "chebyshev"
    DIRECT = "direct"


class Precond(Enum):
    """--precond."""

    NONE = "none"
    JACOBI = "jacobi"
    SSOR = "ssor"
    IC0 = "ic0"
    ILU0 = "ilu0"
    ILUT = "ilut"
    AMG = "amg"
    SUPERLU = "superlu"
    CHOLESKY = "cholesky"


class Takes(Enum):
    """Which preconditioners a method takes."""

    NOTHING = "none"
    HERMITIAN = "Hermitian"
    ANY = "any"


@dataclass(frozen=True)
class _Method:
    make: Callable[..., Solver]
    takes: Takes
    hermitian: bool = False  # needs a Hermitian matrix
    rectangular: bool = False  # takes one that is not square, as least squares


@dataclass(frozen=True)
class _Precond:
    make: Callable[[], solvers.Recipe]
    needs_hermitian: bool
    is_hermitian: bool


_METHODS = {
    Method.AUTO: _Method(solvers.Auto, Takes.NOTHING, rectangular=True),
    Method.CG: _Method(solvers.CG, Takes.HERMITIAN, hermitian=True),
    Method.FCG: _Method(solvers.FlexibleCG, Takes.ANY, hermitian=True),
    Method.MINRES: _Method(solvers.MINRES, Takes.HERMITIAN, hermitian=True),
    Method.GMRES: _Method(solvers.GMRES, Takes.ANY),
    Method.FGMRES: _Method(solvers.FGMRES, Takes.ANY),
    Method.BICGSTAB: _Method(solvers.BiCGStab, Takes.ANY),
    Method.LSQR: _Method(solvers.LSQR, Takes.ANY, rectangular=True),
    Method.LSMR: _Method(solvers.LSMR, Takes.ANY, rectangular=True),
    Method.CHEBYSHEV: _Method(solvers.Chebyshev, Takes.HERMITIAN, hermitian=True),
    Method.DIRECT: _Method(solvers.Direct, Takes.NOTHING),
}

_PRECONDS = {
    Precond.JACOBI: _Precond(solvers.Jacobi, needs_hermitian=False, is_hermitian=True),
    Precond.SSOR: _Precond(solvers.SSOR, needs_hermitian=True, is_hermitian=True),
    Precond.IC0: _Precond(solvers.IC0, needs_hermitian=True, is_hermitian=True),
    Precond.ILU0: _Precond(solvers.ILU0, needs_hermitian=False, is_hermitian=False),
    Precond.ILUT: _Precond(solvers.ILUT, needs_hermitian=False, is_hermitian=False),
    Precond.AMG: _Precond(solvers.AMG, needs_hermitian=True, is_hermitian=True),
    Precond.SUPERLU: _Precond(solvers.SuperLU, needs_hermitian=False, is_hermitian=True),
    Precond.CHOLESKY: _Precond(solvers.Cholesky, needs_hermitian=True, is_hermitian=True),
}


def build_solver(method: Method, precond: Precond) -> Solver:
    """The solver for these words.

    Raises BadInput for a preconditioner that the method does not take whatever the matrix.
    """
    kind = _METHODS[method]
    if precond is Precond.NONE:
        return kind.make()
    if method is Method.AUTO:
        raise BadInput(
            f"expected no --precond with --method auto, which chooses one, got {precond.value}: "
            "name the method too, e.g. --method cg"
        )
    if kind.takes is Takes.NOTHING:
        raise BadInput(
            f"expected no --precond with --method {method.value}, which takes none, got "
            f"{precond.value}: leave it out"
        )
    if kind.takes is Takes.HERMITIAN and not _PRECONDS[precond].is_hermitian:
        fitting = ", ".join(p.value for p, made in _PRECONDS.items() if made.is_hermitian)
        raise BadInput(
            f"expected a Hermitian --precond for --method {method.value}, got {precond.value}: "
            f"use one of {fitting}, or --method fcg or fgmres"
        )
    return kind.make(M=_PRECONDS[precond].make())


def check_matrix(
    method: Method, precond: Precond, shape: tuple[int, int], *, hermitian: bool
) -> None:
    """Raise BadInput where the method or preconditioner does not suit the matrix."""
    kind, (rows, columns) = _METHODS[method], shape
    if rows != columns:
        if not kind.rectangular:
            raise BadInput(
                f"expected a square matrix for --method {method.value}, got {rows} x {columns}: "
                "use --method lsqr or lsmr (least squares)"
            )
        if precond is not Precond.NONE:
            raise BadInput(
                f"expected no --precond for least squares, got {precond.value} with a matrix of "
                f"{rows} x {columns}: leave it out"
            )
    if kind.hermitian and not hermitian:
        raise BadInput(
            f"expected a Hermitian matrix for --method {method.value}, got one that is not: "
            "use --method gmres, bicgstab, direct or auto"
        )
    if precond is not Precond.NONE and _PRECONDS[precond].needs_hermitian and not hermitian:
        raise BadInput(
            f"expected a Hermitian matrix for --precond {precond.value}, got one that is not: "
            "use --precond ilu0, ilut or superlu"
        )


def words(solver: Any) -> tuple[str, str | None]:
    """(method, preconditioner) of a solver as the command line calls them."""
    while isinstance(solver, solvers.Auto) and solver.chosen is not None:
        solver = solver.chosen
    method = next((m.value for m, k in _METHODS.items() if type(solver) is k.make), None)
    recipe = getattr(solver, "recipe", None) or getattr(solver, "M", None)
    precond = next((p.value for p, k in _PRECONDS.items() if type(recipe) is k.make), None)
    return method or type(solver).__name__, precond


def limits_of(max_gib: float | None) -> Limits | None:
    """What a reader may spend; None for its own caution."""
    if max_gib is None:
        return None
    return Limits(max_bytes=int(max_gib * 2**30), max_datasets=1 << 30, max_ratio=1 << 60)
