"""PETSc's view of our preconditioners: on stand-ins for its objects, and on itself where it is."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from sciml import Operator, Space, Trait
from sciml.operators import Diffusion, Sparse
from solvers import AMG, IC0, ILU0, SSOR, Jacobi, SuperLU
from solvers.petsc import PETScPreconditioner

N = 12


class PETScError(RuntimeError):
    """What petsc4py raises."""


class Vec:
    """A vector that PETSc has locked, as it does with the input of a preconditioner."""

    def __init__(self, values: np.ndarray, *, locked: bool = False) -> None:
        self.values, self.locked = values, locked

    def getArray(self, readonly: bool = False) -> np.ndarray:
        if self.locked and not readonly:
            raise PETScError("Vec is locked read only")
        view = self.values.view()
        view.flags.writeable = not readonly
        return view

    def setArray(self, values: np.ndarray) -> None:
        if self.locked:
            raise PETScError("Vec is locked read only")
        self.values[:] = values


class Mat:
    """An AIJ matrix, whole or this rank's rows of one on several ranks; None: a shell."""

    def __init__(
        self, csr: Any, ranks: int = 1, own: slice | None = None, hermitian: bool | None = None
    ) -> None:
        self.csr, self.ranks, self.own = csr, ranks, own or slice(0, None if csr is None else N * N)
        self.hermitian = hermitian

    def getComm(self) -> Any:
        return SimpleNamespace(getSize=lambda: self.ranks)

    def getType(self) -> str:
        return "shell" if self.csr is None else "mpiaij" if self.ranks > 1 else "seqaij"

    def getLocalSize(self) -> tuple[int, int]:
        n = N * N if self.csr is None else len(range(*self.own.indices(self.csr.shape[0])))
        return n, n

    def getDiagonalBlock(self) -> Mat:
        block = sp.csr_array(self.csr[self.own][:, self.own])
        return Mat(block, own=slice(0, block.shape[0]))

    def getValuesCSR(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        if self.csr is None:
            raise PETScError("No support for this operation for this object type")
        rows = sp.csr_array(self.csr[self.own])
        return rows.indptr.copy(), rows.indices.copy(), rows.data.copy()

    def isHermitianKnown(self) -> tuple[bool, bool]:
        return self.hermitian is not None, bool(self.hermitian)

    isSymmetricKnown = isHermitianKnown


class Options(dict):
    """The database, asked with a prefix."""

    stored: dict[str, str]

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix

    def getBool(self, name: str, default: bool) -> bool:
        return self.stored.get(self.prefix + name, str(default)).lower() in ("true", "1", "")

    def getString(self, name: str, default: str) -> str:
        return self.stored.get(self.prefix + name, default)


@pytest.fixture
def petsc(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A petsc4py of real scalars."""
    Options.stored = {}
    library = SimpleNamespace(ScalarType=np.float64, Error=PETScError, Options=Options)
    monkeypatch.setitem(sys.modules, "petsc4py", SimpleNamespace(PETSc=library))
    monkeypatch.setitem(sys.modules, "petsc4py.PETSc", library)
    return library


def _pc(matrix: Mat, prefix: str | None = None) -> Any:
    other = Mat(None)  # the operator of the Krylov method may be a shell
    return SimpleNamespace(
        getOperators=lambda: (other, matrix), getOptionsPrefix=lambda: prefix, prefix=prefix
    )


def _diffusion(seed: int = 0) -> Diffusion:
    return Diffusion(np.exp(np.random.default_rng(seed).standard_normal((N, N))))


def _applied(context: PETScPreconditioner, x: np.ndarray, *, transposed: bool = False) -> Any:
    y = Vec(np.full_like(x, np.nan))
    act = context.applyTranspose if transposed else context.apply
    act(None, Vec(x, locked=True), y)
    return y.values


def test_an_exact_recipe_inverts_petscs_matrix(petsc: Any, rng: np.random.Generator) -> None:
    matrix, x = _diffusion().assemble(), rng.standard_normal(N * N)
    context = PETScPreconditioner(SuperLU())
    context.setUp(_pc(Mat(matrix)))
    np.testing.assert_allclose(matrix @ _applied(context, x), x, rtol=1e-10)


def test_the_operator_given_is_what_the_recipe_sees(petsc: Any, rng: np.random.Generator) -> None:
    A, x = _diffusion(), rng.standard_normal((N, N))
    context = PETScPreconditioner(Jacobi(), operator=A)
    context.setUp(_pc(Mat(None)))
    np.testing.assert_allclose(_applied(context, x.ravel()), (x / A.diagonal()).ravel(), rtol=1e-14)


def test_an_operator_is_used_as_it_is(petsc: Any, rng: np.random.Generator) -> None:
    M, x = SuperLU()(_diffusion()), rng.standard_normal(N * N)
    context = PETScPreconditioner(M)
    context.setUp(_pc(Mat(sp.csr_array(sp.eye_array(N * N)))))
    assert context.M is M
    np.testing.assert_allclose(_diffusion().assemble() @ _applied(context, x), x, rtol=1e-10)


@pytest.mark.parametrize("scalar", [np.float64, np.complex128])
def test_the_transpose_is_without_conjugate(
    petsc: Any, rng: np.random.Generator, scalar: Any
) -> None:
    petsc.ScalarType = scalar
    space = Space((9,), scalar)
    matrix = sp.csr_array(space.random(rng)[:, None] * space.random(rng) + 9 * np.eye(9))
    own = slice(0, 9)
    context = PETScPreconditioner(SuperLU())
    context.setUp(_pc(Mat(matrix, own=own)))
    x = space.random(rng)
    np.testing.assert_allclose(matrix.T @ _applied(context, x, transposed=True), x, rtol=1e-10)
    np.testing.assert_allclose(matrix @ _applied(context, x), x, rtol=1e-10)


@pytest.mark.parametrize("told", [None, True, False])
def test_without_a_recipe_symmetry_decides(petsc: Any, told: bool | None) -> None:
    """What PETSc was told of the matrix counts; untold, its entries are looked at."""
    context = PETScPreconditioner()
    context.setUp(_pc(Mat(_diffusion().assemble(), hermitian=told)))
    assert context.M is not None
    assert (Trait.HERMITIAN in context.M.traits) == (told is not False)
    lopsided = _diffusion().assemble()
    lopsided.data[1] *= 2
    context = PETScPreconditioner()
    context.setUp(_pc(Mat(lopsided, hermitian=told)))
    assert context.M is not None
    assert (Trait.HERMITIAN in context.M.traits) == bool(told)


class Updated(Operator):
    """An M that remembers what it was updated to."""

    def __init__(self, A: Operator, built: int) -> None:
        self.built, self.seen = built, A
        super().__init__(A.range, A.domain)

    def _apply(self, x: Any) -> Any:
        return x

    def update(self, A: Operator) -> Updated:
        if A.work != self.seen.work:
            raise ValueError("another pattern")
        return Updated(A, self.built)


def test_changed_entries_update_and_a_new_pattern_builds(petsc: Any) -> None:
    builds = 0

    def recipe(A: Operator) -> Operator:
        nonlocal builds
        builds += 1
        return Updated(A, builds)

    context = PETScPreconditioner(recipe)
    matrix = _diffusion(0).assemble()
    context.setUp(_pc(Mat(matrix)))
    changed = _diffusion(1).assemble()
    context.setUp(_pc(Mat(changed)))
    M = context.M
    assert isinstance(M, Updated) and builds == 1 and isinstance(M.seen, Sparse)
    np.testing.assert_array_equal(M.seen.data, changed.data)
    context.setUp(_pc(Mat(sp.csr_array(matrix @ matrix))))
    assert isinstance(context.M, Updated) and context.M.built == builds == 2


def test_another_operator_takes_over(petsc: Any, rng: np.random.Generator) -> None:
    context = PETScPreconditioner(SuperLU(), operator=_diffusion(0))
    context.setUp(_pc(Mat(None)))
    context.replace(_diffusion(1))
    x = rng.standard_normal(N * N)
    np.testing.assert_allclose(_diffusion(1).assemble() @ _applied(context, x), x, rtol=1e-10)
    with pytest.raises(ValueError, match="such as"):
        context.replace(Diffusion(np.ones((3, 3))))
    with pytest.raises(TypeError, match="change PETSc's matrix"):
        PETScPreconditioner(SuperLU()).replace(_diffusion(1))


def test_options_choose_the_recipe_and_the_block(petsc: Any, rng: np.random.Generator) -> None:
    matrix = _diffusion().assemble()
    Options.stored = {"inner_pc_sciml_recipe": "Jacobi", "inner_pc_sciml_block": "true"}
    context = PETScPreconditioner()
    context.setFromOptions(_pc(Mat(matrix), "inner_"))
    own = slice(N, 5 * N)
    context.setUp(_pc(Mat(matrix, ranks=2, own=own), "inner_"))
    x = rng.standard_normal(4 * N)
    np.testing.assert_allclose(_applied(context, x), x / matrix.diagonal()[own], rtol=1e-14)
    Options.stored = {"pc_sciml_recipe": "Direct"}
    with pytest.raises(ValueError, match=r"one of .*Jacobi.*got 'Direct'"):
        PETScPreconditioner().setFromOptions(_pc(Mat(matrix)))


def test_ranks_get_their_own_block_only_when_asked(petsc: Any, rng: np.random.Generator) -> None:
    matrix, own = _diffusion().assemble(), slice(3 * N, 9 * N)
    shared = Mat(matrix, ranks=2, own=own)
    with pytest.raises(ValueError, match="block=True"):
        PETScPreconditioner(SuperLU()).setUp(_pc(shared))
    context = PETScPreconditioner(SuperLU(), block=True)
    context.setUp(_pc(shared))
    x = rng.standard_normal(6 * N)
    np.testing.assert_allclose(matrix[own][:, own] @ _applied(context, x), x, rtol=1e-10)


def test_what_does_not_fit_is_refused(petsc: Any) -> None:
    good = Mat(_diffusion().assemble())
    with pytest.raises(TypeError, match=r"IC0\(\)"):
        PETScPreconditioner(IC0)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="give one"):
        PETScPreconditioner(SuperLU()(_diffusion()), operator=_diffusion())
    with pytest.raises(TypeError, match=r"type shell.*operator="):
        PETScPreconditioner(IC0()).setUp(_pc(Mat(None)))
    with pytest.raises(ValueError, match="144 x 144"):
        PETScPreconditioner(IC0(), operator=Diffusion(np.ones((3, 3)))).setUp(_pc(good))
    with pytest.raises(TypeError, match="float64, the scalars of this real PETSc"):
        single = Diffusion(np.ones((N, N), np.float32))
        PETScPreconditioner(Jacobi(), operator=single).setUp(_pc(good))
    petsc.ScalarType = np.complex128
    with pytest.raises(TypeError, match="scalars of this complex PETSc"):
        PETScPreconditioner(Jacobi(), operator=_diffusion()).setUp(_pc(good))
    with pytest.raises(ValueError, match="set up"):
        _applied(PETScPreconditioner(IC0()), np.ones(N * N))
    petsc.ScalarType = np.float64
    with pytest.raises(np.linalg.LinAlgError, match="diagonal"):
        zero = sp.csr_array(sp.diags_array([0.0] + [1.0] * (N * N - 1)))
        PETScPreconditioner(Jacobi()).setUp(_pc(Mat(zero)))


# -- PETSc itself ----------------------------------------------------------------------------------


def _library() -> Any:
    """petsc4py's module; the test is skipped where it is not installed."""
    pytest.importorskip("petsc4py", reason="PETSc itself: petsc4py is not installed")
    from petsc4py import PETSc

    return PETSc


def _solve(library: Any, context: Any, matrix: sp.csr_array, b: np.ndarray) -> tuple[Any, Any]:
    """(ksp, x) of PETSc's CG to 1e-10."""
    scalar = library.ScalarType
    csr = (matrix.indptr, matrix.indices, matrix.data.astype(scalar))
    A = library.Mat().createAIJ(matrix.shape, csr=csr, comm=library.COMM_SELF)
    ksp = library.KSP().create(library.COMM_SELF)
    ksp.setOperators(A)
    ksp.setType("cg")
    ksp.setNormType(library.KSP.NormType.UNPRECONDITIONED)
    ksp.setTolerances(rtol=1e-10)
    ksp.pc.setType("python")
    ksp.pc.setPythonContext(context)
    x, right = A.createVecs()
    right.setArray(b)
    ksp.solve(right, x)
    return ksp, x.getArray().copy()


@pytest.mark.parametrize("recipe", [IC0(), SSOR(), SuperLU(), None])
def test_petsc_solves_with_ours(recipe: Any, rng: np.random.Generator) -> None:
    library = _library()
    matrix, b = _diffusion().assemble(), rng.standard_normal(N * N)
    ksp, x = _solve(library, PETScPreconditioner(recipe), matrix, b)
    assert ksp.getConvergedReason() > 0
    assert np.linalg.norm(matrix @ x - b) <= 1e-9 * np.linalg.norm(b)


def test_petsc_solves_with_the_multigrid_of_an_operator(rng: np.random.Generator) -> None:
    library = _library()
    if np.dtype(library.ScalarType).kind == "c":
        pytest.skip("diffusion is real, and this PETSc is complex")
    A, b = _diffusion(), rng.standard_normal(N * N)
    ksp, x = _solve(library, PETScPreconditioner(AMG(), operator=A), A.assemble(), b)
    assert 0 < ksp.getIterationNumber() < 30
    np.testing.assert_allclose(A(x.reshape(N, N)).ravel(), b, atol=1e-8)


def test_petsc_sets_up_anew_when_entries_change(rng: np.random.Generator) -> None:
    library = _library()
    b, context = rng.standard_normal(N * N), PETScPreconditioner(SuperLU())
    ksp, _ = _solve(library, context, _diffusion(0).assemble(), b)
    A = ksp.getOperators()[0]
    A.zeroEntries()
    A.setValuesCSR(*_csr(_diffusion(1).assemble(), library))
    A.assemble()
    x, right = A.createVecs()
    right.setArray(b)
    ksp.solve(right, x)
    found = x.getArray()
    assert ksp.getIterationNumber() <= 2
    np.testing.assert_allclose(_diffusion(1).assemble() @ found, b, rtol=1e-8, atol=1e-8)


def test_petsc_takes_it_by_options(rng: np.random.Generator) -> None:
    library = _library()
    options = library.Options("ours_")
    options["pc_type"] = "python"
    options["pc_python_type"] = "solvers.petsc.PETScPreconditioner"
    options["pc_sciml_recipe"] = "ILU0"
    matrix = _diffusion().assemble()
    A = library.Mat().createAIJ(matrix.shape, csr=_csr(matrix, library), comm=library.COMM_SELF)
    ksp = library.KSP().create(library.COMM_SELF)
    ksp.setOptionsPrefix("ours_")
    ksp.setOperators(A)
    ksp.setFromOptions()
    ksp.setTolerances(rtol=1e-10)
    x, right = A.createVecs()
    right.setRandom()
    ksp.solve(right, x)
    assert ksp.getConvergedReason() > 0
    plain = Sparse(matrix.astype(library.ScalarType))
    inner = ksp.pc.getPythonContext()
    y = right.duplicate()
    ksp.pc.apply(right, y)
    assert isinstance(inner, PETScPreconditioner)
    np.testing.assert_allclose(y.getArray(), ILU0()(plain)(right.getArray().copy()), rtol=1e-12)


def test_petsc_applies_the_transpose(rng: np.random.Generator) -> None:
    library = _library()
    matrix = sp.csr_array(9 * np.eye(9) + rng.standard_normal((9, 9)))
    ksp, _ = _solve(library, PETScPreconditioner(SuperLU()), matrix, rng.standard_normal(9))
    x, y = ksp.getOperators()[0].createVecs()
    x.setRandom()
    ksp.pc.applyTranspose(x, y)
    np.testing.assert_allclose(matrix.T @ y.getArray(), x.getArray(), rtol=1e-10)


def _csr(matrix: sp.csr_array, library: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return matrix.indptr, matrix.indices, matrix.data.astype(library.ScalarType)
