"""Our preconditioners inside PETSc, through petsc4py's PC of type "python".

    ksp.pc.setType("python")
    ksp.pc.setPythonContext(PETScPreconditioner(IC0()))

or, without a line of Python, by options:

    -pc_type python -pc_python_type solvers.petsc.PETScPreconditioner -pc_sciml_recipe IC0

petsc4py is imported when PETSc sets the preconditioner up, not before.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sciml._checks import need, told
from sciml.operator import Operator, Trait
from sciml.operators.sparse import Sparse

from .krylov._base import Recipe
from .precond import IC0, ILU0

__all__ = ["PETScPreconditioner"]


class PETScPreconditioner:
    """The context of a PETSc preconditioner: y = M x with one of ours.

    PETSc calls `setUp` before the first solve and whenever the entries of its matrix have changed.
    An M with `update` is then updated, which keeps its memory and its pattern; where that is
    refused (a new pattern), and for all other recipes, M is built anew.

    On several MPI ranks each M would act on its rank's own diagonal block, which is block Jacobi
    and needs more iterations the more ranks there are; so that must be asked for.

    Args:
        M: a recipe such as `IC0()`, or an Operator close to A^-1, which is used as it is. Without
            one: the option `-pc_sciml_recipe NAME`, a recipe in `solvers`; else IC(0) for a
            Hermitian A, ILU(0) for others.
        operator: what the recipe is given, e.g. a `Diffusion`; PETSc's vectors are then its
            vectors in C order, `x.ravel()`. Without one: PETSc's matrix (the second one of
            `ksp.setOperators(A, P)`), whose entries PETSc hands out as a copy. With one, changed
            entries of PETSc's matrix mean nothing: say `replace(operator)`.
        block: act on each rank's diagonal block; the option `-pc_sciml_block` does the same. An
            operator is then that of the block.

    Raises, when PETSc sets it up:
        TypeError: the operator's numbers are not PETSc's scalars, PETSc's matrix has no entries,
            or the recipe does not suit the operator.
        ValueError: sizes differ, or several ranks without `block`.
        numpy.linalg.LinAlgError: the recipe failed (a zero pivot, say).
    """

    def __init__(
        self,
        M: Operator | Recipe | None = None,
        *,
        operator: Operator | None = None,
        block: bool = False,
    ) -> None:
        if isinstance(M, type) or not (M is None or isinstance(M, Operator) or callable(M)):
            raise TypeError(
                f"expected M as an Operator or a recipe such as solvers.IC0(), got {told(M)}"
            )
        if operator is not None:
            need(operator, Operator, "operator as an Operator")
        if isinstance(M, Operator) and operator is not None:
            raise TypeError("expected a recipe M with an operator, got M as an Operator: give one")
        self.operator, self.block = operator, bool(block)
        self._recipe, self._M = (None, M) if isinstance(M, Operator) else (M, None)
        self._fixed = isinstance(M, Operator)

    @property
    def M(self) -> Operator | None:
        """The preconditioner at work; None before PETSc has set it up."""
        return self._M

    def replace(self, operator: Operator) -> None:
        """Go on with the preconditioner of another operator of the same size, from now on.

        Raises:
            TypeError: M was given as an Operator, or the new one is of another kind.
        """
        need(operator, Operator, "an Operator")
        if self._fixed or self.operator is None:
            raise TypeError(
                "expected a context made with operator=, got one without: change PETSc's matrix"
            )
        if (operator.domain, operator.range) != (self.operator.domain, self.operator.range):
            raise ValueError(f"expected an operator such as {self.operator!r}, got {operator!r}")
        self.operator = operator
        if self._M is not None:
            self._M = self._renewed(operator)

    # -- what PETSc calls ------------------------------------------------------------------------

    def setFromOptions(self, pc: Any) -> None:
        """Read `-pc_sciml_recipe` and `-pc_sciml_block`, with the solver's prefix."""
        from petsc4py import PETSc

        options = PETSc.Options(pc.getOptionsPrefix() or "")
        self.block = options.getBool("pc_sciml_block", self.block)
        name = options.getString("pc_sciml_recipe", "")
        if name:
            self._recipe, self._M, self._fixed = _recipe(name), None, False

    def setUp(self, pc: Any) -> None:
        """Build M, or update it to changed entries."""
        from petsc4py import PETSc

        _, matrix = pc.getOperators()
        ranks = matrix.getComm().getSize()
        if ranks > 1 and not self.block:
            raise ValueError(
                f"expected one MPI rank, got {ranks}: the preconditioner would be block Jacobi "
                "with one block a rank; say block=True or -pc_sciml_block if that is wanted"
            )
        if self._fixed:
            assert self._M is not None
            _check_fits(self._M, matrix, PETSc)
        elif self.operator is None:
            self._M = self._renewed(_operator(matrix, ranks, PETSc))
        else:
            _check_fits(self.operator, matrix, PETSc)
            if self._M is None:
                self._M = self._renewed(self.operator)

    def apply(self, pc: Any, x: Any, y: Any) -> None:
        """y = M x."""
        M = self._ready()
        y.setArray(M(_own(x, M.domain.shape)).reshape(-1))

    def applyTranspose(self, pc: Any, x: Any, y: Any) -> None:
        """y = M^T x, which for complex numbers is conj(M^H conj(x))."""
        M = self._ready()
        y.setArray(M.adjoint(_own(x, M.range.shape).conj()).conj().reshape(-1))

    def view(self, pc: Any, viewer: Any) -> None:
        """What `-ksp_view` prints of it."""
        recipe = self._recipe
        name = getattr(recipe, "name", type(recipe).__name__) if recipe is not None else "Operator"
        viewer.printfASCII(f"  sciml: {name}, {self._M!r}\n")

    # --------------------------------------------------------------------------------------------

    def _ready(self) -> Operator:
        if self._M is None:
            raise ValueError("expected a preconditioner that was set up: call pc.setUp() first")
        return self._M

    def _renewed(self, A: Operator) -> Operator:
        """M of `A`, from the old one where it can be."""
        update = getattr(self._M, "update", None)
        if update is not None:
            try:
                return update(A)
            except ValueError:  # another pattern
                pass
        recipe = self._recipe
        if recipe is None:
            recipe = IC0() if Trait.HERMITIAN in A.traits else ILU0()
        M = recipe(A)
        need(M, Operator, "a recipe that returns an Operator")
        return M


def _recipe(name: str) -> Recipe:
    """The recipe of that name in `solvers`.

    Raises:
        ValueError: there is none.
    """
    import solvers

    found = getattr(solvers, name, None)
    if not (isinstance(found, type) and issubclass(found, solvers.Recipe)):
        recipes = [n for n in solvers.__all__ if _is_recipe(getattr(solvers, n))]
        raise ValueError(f"expected -pc_sciml_recipe as one of {', '.join(recipes)}, got {name!r}")
    return found()


def _is_recipe(found: Any) -> bool:
    import solvers

    return isinstance(found, type) and issubclass(found, solvers.Recipe) and found != solvers.Recipe


def _operator(matrix: Any, ranks: int, PETSc: Any) -> Sparse:
    """The entries of PETSc's matrix on this rank's unknowns."""
    from scipy.sparse import csr_array

    own = matrix.getDiagonalBlock() if ranks > 1 else matrix
    try:
        indptr, indices, data = own.getValuesCSR()
    except PETSc.Error:
        raise TypeError(
            f"expected a PETSc matrix with entries (AIJ), got type {own.getType()}: give the "
            "preconditioner its operator with operator=, or a matrix as P in setOperators(A, P)"
        ) from None
    csr = csr_array((data, indices, indptr), shape=tuple(own.getLocalSize()))
    return Sparse(csr, traits=_declared(matrix, PETSc))


def _declared(matrix: Any, PETSc: Any) -> set[Trait] | None:
    """What PETSc was told of the matrix; None: nothing, so that it is looked at."""
    known, hermitian = matrix.isHermitianKnown()
    if not known and np.dtype(PETSc.ScalarType).kind == "f":
        known, hermitian = matrix.isSymmetricKnown()
    if not known:
        return None
    return {Trait.HERMITIAN if hermitian else Trait.LINEAR}


def _check_fits(A: Operator, matrix: Any, PETSc: Any) -> None:
    scalar = np.dtype(PETSc.ScalarType)
    if A.domain.dtype != scalar:
        kind = "complex" if scalar.kind == "c" else "real"
        raise TypeError(
            f"expected an operator on {scalar}, the scalars of this {kind} PETSc, got {A!r}: "
            f"A.to(dtype=...), or a PETSc built for {A.domain.dtype}"
        )
    rows, columns = matrix.getLocalSize()
    if (A.range.size, A.domain.size) != (rows, columns):
        raise ValueError(
            f"expected an operator of {rows} x {columns}, as PETSc's matrix on this rank, got {A!r}"
        )


def _own(x: Any, shape: tuple[int, ...]) -> np.ndarray:
    """A copy of a PETSc vector: PETSc locks its own, and kernels are compiled for writable ones."""
    return np.array(x.getArray(readonly=True)).reshape(shape)
