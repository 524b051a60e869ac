"""Preconditioners against their definitions, and what they are worth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch

import solvers
from sciml import LinearSystem, SolveError, Status, Stop, Trait, solve
from sciml.adapters import from_scipy
from sciml.operators import FFT, Dense, Sparse
from sciml.space import Space
from sciml.testing import check_operator
from solvers.precond import Coarsening, Recipe


def laplacian(n: int, dtype: Any = np.float64) -> sp.csr_array:
    """The five-point Laplacian on n x n nodes."""
    one = sp.diags_array([-1.0, 2.0, -1.0], offsets=[-1, 0, 1], shape=(n, n))
    eye = sp.eye_array(n)
    return sp.csr_array((sp.kron(one, eye) + sp.kron(eye, one)).astype(dtype))


def hermitian(n: int) -> sp.csr_array:
    """A complex Hermitian, diagonally dominant matrix with the Laplacian's pattern."""
    A = laplacian(n, np.complex128).tocoo()
    A.data = A.data * np.exp(1j * (A.row - A.col))
    return sp.csr_array(A)


def convection(n: int) -> sp.csr_array:
    """A non-symmetric upwind convection-diffusion matrix."""
    up = sp.diags_array([-3.0, 3.0], offsets=[-1, 0], shape=(n, n))
    return sp.csr_array(laplacian(n) + sp.kron(up, sp.eye_array(n)))


MATRICES = {"real": laplacian(6), "complex": hermitian(6)}


@pytest.mark.parametrize("kind", MATRICES)
@pytest.mark.parametrize(
    "recipe",
    [solvers.Jacobi(), solvers.SSOR(), solvers.SSOR(1.5), solvers.IC0(), solvers.ILU0(),
     solvers.ILUT(), solvers.SuperLU()],
    ids=repr,
)  # fmt: skip
def test_preconditioners_keep_the_laws_of_operators(kind: str, recipe: Recipe) -> None:
    check_operator(recipe(from_scipy(MATRICES[kind])))


@pytest.mark.parametrize("omega", [0.7, 1.0, 1.6])
@pytest.mark.parametrize("kind", MATRICES)
def test_ssor_is_its_formula(kind: str, omega: float, rng: np.random.Generator) -> None:
    A = MATRICES[kind].toarray()
    D, L = np.diag(np.diag(A)), np.tril(A, -1)
    M = (D / omega + L) @ np.linalg.inv(D) @ (D / omega + L).conj().T * omega / (2 - omega)
    op = solvers.SSOR(omega)(from_scipy(MATRICES[kind]))
    r = op.domain.random(rng)
    np.testing.assert_allclose(op(r), np.linalg.solve(M, r), rtol=1e-11)


@pytest.mark.parametrize("kind", MATRICES)
def test_ic0_equals_the_matrix_on_its_pattern(kind: str) -> None:
    A = MATRICES[kind]
    op = solvers.IC0()(from_scipy(A))
    L = op.first.toarray()
    assert not np.triu(L, 1).any()
    pattern = A.toarray() != 0
    np.testing.assert_allclose((L @ L.conj().T)[pattern], A.toarray()[pattern], atol=1e-13)


def test_ilu0_equals_the_matrix_on_its_pattern_and_is_not_symmetric() -> None:
    A = convection(5)
    op = solvers.ILU0()(from_scipy(A))
    product = op.first.toarray() @ op.second.toarray().conj().T
    pattern = A.toarray() != 0
    np.testing.assert_allclose(product[pattern], A.toarray()[pattern], atol=1e-13)
    assert Trait.HERMITIAN not in op.traits


@pytest.mark.parametrize("recipe", [solvers.IC0(), solvers.ILU0(), solvers.SuperLU()], ids=repr)
def test_a_factorisation_without_fill_to_lose_is_exact(
    recipe: Recipe, rng: np.random.Generator
) -> None:
    """A tridiagonal matrix has no fill, so the incomplete factors are the complete ones."""
    A = sp.csr_array(sp.diags_array([-1.0, 2.1, -1.0], offsets=[-1, 0, 1], shape=(40, 40)))
    b = rng.standard_normal(40)
    np.testing.assert_allclose(recipe(from_scipy(A))(b), np.linalg.solve(A.toarray(), b))


def test_ic0_raises_the_diagonal_where_a_pivot_fails() -> None:
    """Kershaw's matrix is positive definite, and its IC(0) breaks down without a shift."""
    A = np.array([[3.0, -2, 0, 2], [-2, 3, -2, 0], [0, -2, 3, -2], [2, 0, -2, 3]])
    assert np.linalg.eigvalsh(A).min() > 0
    system = LinearSystem(from_scipy(sp.csr_array(A)), np.arange(4.0))
    assert solve(system, solvers.CG(M=solvers.IC0())).status == Status.CONVERGED


@pytest.mark.parametrize("n", [32])
def test_they_save_iterations_as_the_literature_says(n: int) -> None:
    """On the Laplacian IC(0) takes about a third of CG's steps, SSOR and ILU about a half."""
    system = LinearSystem(from_scipy(laplacian(n)), np.ones(n * n))

    def steps(M: Recipe | None) -> int:
        return int(solve(system, solvers.CG(M=M), stop=Stop(rtol=1e-8)).iterations)

    plain = steps(None)
    assert steps(solvers.Jacobi()) == plain  # a constant diagonal
    assert steps(solvers.SSOR()) < 0.75 * plain
    assert steps(solvers.IC0()) < 0.5 * plain
    assert steps(solvers.AMG()) < 0.25 * plain
    assert steps(solvers.SuperLU()) == 1
    gmres = solve(LinearSystem(from_scipy(convection(n)), np.ones(n * n)),
                  solvers.GMRES(M=solvers.ILU0()))  # fmt: skip
    assert gmres.iterations < 40


@pytest.mark.parametrize("recipe", [solvers.IC0(), solvers.SSOR(), solvers.AMG()], ids=repr)
def test_recipes_for_hermitian_matrices_refuse_others(recipe: Recipe) -> None:
    with pytest.raises(TypeError, match=r"expected an operator with the trait HERMITIAN, got"):
        recipe(from_scipy(convection(4)))


@pytest.mark.parametrize(
    "recipe", [solvers.IC0(), solvers.SSOR(), solvers.ILU0(), solvers.SuperLU(), solvers.Jacobi()],
    ids=repr,
)  # fmt: skip
def test_operators_without_a_matrix_are_refused(recipe: Recipe) -> None:
    F = FFT(Space((8,), np.complex128)).H @ FFT(Space((8,), np.complex128))
    with pytest.raises(TypeError, match=r"does not know its|without a matrix|HERMITIAN"):
        recipe(F)


@pytest.mark.parametrize(
    "recipe", [solvers.IC0(), solvers.ILU0(), solvers.SSOR(), solvers.Jacobi(), solvers.SuperLU()],
    ids=repr,
)  # fmt: skip
def test_a_zero_pivot_is_a_breakdown_with_a_reason(recipe: Recipe) -> None:
    A = sp.csr_array(np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]))
    with pytest.raises(np.linalg.LinAlgError):
        recipe(from_scipy(A))
    with pytest.raises(SolveError) as failed:
        solve(LinearSystem(from_scipy(A), np.ones(3)), solvers.GMRES(M=recipe))
    assert failed.value.result.status == Status.BREAKDOWN
    assert "Set-up failed" in failed.value.result.explain()


def test_flexible_methods_take_a_nonlinear_preconditioner_and_others_refuse_it() -> None:
    class Network(Dense):
        def __init__(self) -> None:
            super().__init__(np.eye(9), traits=())

        def _apply(self, x: np.ndarray) -> np.ndarray:
            return np.tanh(x / np.linalg.norm(x)) * np.linalg.norm(x)

    system = LinearSystem(from_scipy(laplacian(3)), np.arange(9.0))
    for flexible in (solvers.FlexibleCG(M=Network()), solvers.FGMRES(M=Network())):
        assert solve(system, flexible).status == Status.CONVERGED
    for rigid in (solvers.CG, solvers.MINRES, solvers.GMRES, solvers.BiCGStab, solvers.LSQR):
        with pytest.raises(TypeError, match="expected a linear preconditioner, got nonlinear"):
            solve(system, rigid(M=Network()))


def test_factors_serve_torch_tensors_in_host_memory_and_refuse_others() -> None:
    A = laplacian(5)
    csr = torch.sparse_csr_tensor(
        torch.tensor(A.indptr), torch.tensor(A.indices), torch.tensor(A.data), size=A.shape
    )
    system = LinearSystem(Sparse(csr, traits={Trait.POSITIVE}), torch.ones(25).double())
    result = solve(system, solvers.CG(M=solvers.IC0()))
    assert isinstance(result.x, torch.Tensor)
    assert result.iterations == result.applies.M
    import array_api_strict as strict

    op = solvers.IC0()(from_scipy(A))
    with pytest.raises(TypeError, match="expected an array in host memory"):
        op(strict.ones(25, dtype=strict.float64))


def test_cholmod_where_it_is_installed() -> None:
    pytest.importorskip("sksparse", reason="scikit-sparse is not installed")
    for matrix in MATRICES.values():
        check_operator(solvers.Cholesky()(from_scipy(matrix)))
    for bad in (np.diag([1.0, -1.0, 2.0]), np.zeros((3, 3)), np.array([[1.0, 2.0], [2.0, 1.0]])):
        with pytest.raises(np.linalg.LinAlgError, match="CHOLMOD"):
            solvers.Cholesky()(from_scipy(sp.csr_array(bad)))


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "sksparse", None)
    monkeypatch.setitem(sys.modules, "sksparse.cholmod", None)
    monkeypatch.setitem(sys.modules, "pyamg", None)
    aggregation = solvers.AMG(Coarsening.SMOOTHED_AGGREGATION)
    for recipe, extra in ((solvers.Cholesky(), "cholmod"), (aggregation, "amg")):
        with pytest.raises(ModuleNotFoundError, match=f"sciml-solvers\\[{extra}\\]"):
            recipe(from_scipy(laplacian(3)))
    solvers.AMG()(from_scipy(laplacian(3)))  # needs none
